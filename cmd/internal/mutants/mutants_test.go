package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryPatchAppliesAndCompiles keeps the patches from growing old between two
// runs of the command.
func TestEveryPatchAppliesAndCompiles(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	all, err := load(filepath.Join(root, patches))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			changed, err := m.files(root)
			if err != nil {
				t.Fatal(err)
			}
			// The compiler takes the files from elsewhere: a whole copy of the source
			// would have everything compiled anew.
			dir := t.TempDir()
			replace := map[string]string{}
			for name, text := range changed {
				write(t, dir, name, text)
				replace[filepath.Join(root, name)] = filepath.Join(dir, name)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": replace})
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, "overlay.json", string(overlay))
			c := treeCopy{root}
			args := append([]string{"build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", os.DevNull}, m.packages()...)
			if out, err := c.command(t.Context(), args...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// diff is the smallest patch there is, but for its header.
const diff = "--- a/f.go\n+++ b/f.go\n@@\n-old\n+new\n"

func TestAPatchSaysWhatItIsAboutAndChangesSomething(t *testing.T) {
	const bug, finder = "It forgets\nto remove.\n", "Found by: go test ./x -run TestY\n"
	m, err := parse("n", bug+"\n"+finder+"\ndiff --git a/f.go b/f.go\n"+strings.Replace(diff, "-old", " kept\n\n-old", 1)+"@@ -8 +9 @@ func g\n x\n+more\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(m.finder, " "), "test ./x -run TestY"; got != want {
		t.Errorf("found by %q, want %q", got, want)
	}
	if !strings.HasPrefix(m.bug, "It forgets to remove.") || len(m.changes) != 2 || len(m.changes[0].old) != 3 || len(m.changes[1].new) != 2 {
		t.Errorf("%+v", m)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "does not say what the bug is"},
		{"no bug", finder + diff, "does not say what the bug is"},
		{"no finder", bug + diff, "does not say what it is found by"},
		{"two finders", bug + finder + finder + diff, "line 4: it is found by two commands"},
		{"another finder", bug + "Found by: make test\n" + diff, `line 3: it is found by "make test"`},
		{"every test", bug + "Found by: go test\n" + diff, `line 3: it is found by "go test"`},
		{"no change", bug + finder, "changes nothing"},
		{"no hunk", bug + finder + "--- a/f\n+++ b/f\n", "changes nothing"},
		{"the same as before", bug + finder + strings.Replace(diff, "+new", "+old", 1), "line 6: it changes nothing"},
		{"nowhere", bug + finder + strings.Replace(diff, "-old\n", "", 1), "line 6: it changes nothing, or says not where"},
		{"a new file", bug + finder + strings.Replace(diff, "a/f.go", "/dev/null", 1), "line 4: it makes"},
		{"another file", bug + finder + strings.ReplaceAll(diff, "f.go", "../f.go"), "line 4: it makes"},
		{"no diff", bug + finder + diff + "\\ No newline at end of file\n", `line 9: "\\ No newline`},
	} {
		if _, err := parse("n", tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the error is %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestAPatchAppliesWhereItsLinesAreOnce(t *testing.T) {
	m, err := parse("n", "A bug.\nFound by: go test .\n"+diff)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, want, err string }{
		{"alone", "old\n", "new\n", ""},
		{"first", "old\nb\n", "new\nb\n", ""},
		{"last", "a\nolder\nold\n", "a\nolder\nnew\n", ""},
		{"gone", "a\nolder\nsold\n", "", "line 5: f.go does not have these lines"},
		{"twice", "old\nold\n", "", "line 5: f.go has these lines more than once"},
	} {
		dir := t.TempDir()
		write(t, dir, "f.go", tt.text)
		got, err := m.files(dir)
		switch {
		case tt.err == "" && (err != nil || got["f.go"] != tt.want):
			t.Errorf("%s: %q, %v, want %q", tt.name, got["f.go"], err, tt.want)
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%s: the error is %v, want %s", tt.name, err, tt.err)
		}
	}
	if _, err := m.files(t.TempDir()); err == nil {
		t.Error("a file that is not there is changed")
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyATestThatFailsHasFoundABug runs the command on a module with one
// function.
func TestOnlyATestThatFailsHasFoundABug(t *testing.T) {
	t.Parallel()
	const (
		found  = "found "
		header = "--- a/f.go\n+++ b/f.go\n@@\n"
		change = "Found by: go test .\n" + header + "-\treturn a + b\n+\treturn "
		within = "Found by: go test .\n" + header + " func sum(a, b int) int {\n+\t"
		other  = header + "-\treturn a + b\n+\treturn a - b\n"
	)
	dir := t.TempDir()
	write(t, dir, "go.mod", "module m\n\ngo 1.26\n")
	write(t, dir, "f.go", "package m\n\nimport \"os\"\n\nvar _ = os.Args\n\nfunc sum(a, b int) int {\n\treturn a + b\n}\n")
	write(t, dir, "f_test.go", "package m\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tif sum(2, 1) != 3 {\n\t\tt.Error(\"wrong\")\n\t}\n}\n")
	write(t, dir, "bad/f_test.go", "package bad\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Error(\"bad\") }\n")
	write(t, dir, "worse/f_test.go", "package worse\n\nimport \"testing\"\n\nfunc TestWorse(t *testing.T) { worse() }\n")
	mutants := []struct{ name, patch, want string }{
		{"wrong", change + "a - b\n", found},
		{"panics", change + "[]int{}[a]\n", found},
		{"ends", within + "os.Exit(3)\n", found},
		{"hangs", within + "select {}\n", found},
		{"harmless", change + "b + a\n", "SURVIVED "},
		{"compiler", change + "c\n", "UNKNOWN: the patch is not for this source"},
		{"elsewhere", "Found by: go test .\n" + header + "-\treturn c\n+\treturn d\n", "UNKNOWN: the patch is not for this source"},
		{"no-test", "Found by: go test . -run TestNone\n" + other, "UNKNOWN: without the bug there is no such test"},
		{"fails-always", "Found by: go test ./bad\n" + other, "UNKNOWN: without the bug a test fails"},
		{"cannot-be-built", "Found by: go test ./worse\n" + other, "UNKNOWN: without the bug the tests cannot be run"},
	}
	missed := 0
	for _, m := range mutants {
		write(t, dir, patches+"/"+m.name+".patch", "It is wrong.\n"+m.patch)
		if m.want != found {
			missed++
		}
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), dir, []string{"-timeout", "1s", "-v"}, &stdout, &stderr)
	if want := fmt.Sprintf("mutants: %d of %d were not found\n", missed, len(mutants)); code != 1 || stderr.String() != want {
		t.Errorf("exit code %d, want 1; it says %q, want %q", code, stderr.String(), want)
	}
	for _, m := range mutants {
		line := regexp.MustCompile(`(?m)^` + m.name + ` .*`).FindString(stdout.String())
		if _, rest, _ := strings.Cut(line, " "); !strings.HasPrefix(strings.TrimSpace(rest), m.want) {
			t.Errorf("%s: %q, want %q", m.name, line, m.want)
		}
	}
	if t.Failed() {
		t.Log(stdout.String())
	}
}

func TestANameThatNoMutantHasIsAnError(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), ".", []string{"no such name"}, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), "no mutant") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}
