package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the files that tests compare with")

// golden compares got with a file, or rewrites it under -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite with -update):\n%s", name, lineDiff(string(want), got))
	}
}

// lineDiff shows the lines that only one of two texts has.
func lineDiff(want, got string) string {
	var b strings.Builder
	only := func(mark, a, other string) {
		has := make(map[string]bool)
		for line := range strings.Lines(other) {
			has[line] = true
		}
		for line := range strings.Lines(a) {
			if !has[line] {
				b.WriteString(mark + line)
			}
		}
	}
	only("want: ", want, got)
	only("got:  ", got, want)
	return b.String()
}

// glob returns the files that match, of which there must be some.
func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s matches nothing: %v", pattern, err)
	}
	return files
}

func TestEachBadFileGetsExactlyTheseMessages(t *testing.T) {
	t.Chdir("testdata/bad")
	for _, file := range glob(t, "*.yaml") {
		t.Run(file, func(t *testing.T) {
			c, diags := loadYAML(file)
			if len(diags) == 0 {
				t.Fatal("nothing is reported")
			}
			if (c == nil) != diags.HasErrors() {
				t.Errorf("config is nil: %t, but there are errors: %t", c == nil, diags.HasErrors())
			}
			if warnings := strings.HasPrefix(file, "warning"); warnings == diags.HasErrors() {
				t.Errorf("there are errors: %t", diags.HasErrors())
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".want", diags.String())
		})
	}
}

func TestEveryExpectedMessageHasItsFile(t *testing.T) {
	for _, want := range glob(t, "testdata/bad/*.want") {
		if _, err := os.Stat(strings.TrimSuffix(want, ".want") + ".yaml"); err != nil {
			t.Error(err)
		}
	}
}

func TestPositionsAreThoseOfTheSource(t *testing.T) {
	// Wherever a message quotes a word, the position is that of the word.
	t.Chdir("testdata/bad")
	checked := 0
	for _, file := range glob(t, "*.yaml") {
		_, diags := loadYAML(file)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(data), "\n")
		for _, d := range diags {
			_, rest, quoted := strings.Cut(d.Message, `"`)
			word, _, _ := strings.Cut(rest, `"`)
			if !quoted || word == "" || d.File != file || strings.ContainsAny(word, `\ `) || strings.HasPrefix(d.Message, "not valid") {
				continue
			}
			at := []rune(lines[d.Line-1])[d.Col-1:]
			text := strings.TrimLeft(string(at), `"`)
			if _, after, slash := strings.Cut(text, "/"); slash && strings.Contains(d.Message, "prefix length") && !strings.HasPrefix(text, word) {
				text = after
			}
			if !strings.HasPrefix(text, word) {
				t.Errorf("%s: there is %q", d, string(at))
			}
			checked++
		}
	}
	if checked < 50 {
		t.Errorf("only %d positions were checked", checked)
	}
}
