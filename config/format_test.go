package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestYAMLIsLaidOut(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"nothing but a comment", "\n\n#  x  \n\n", "#  x\n"},
		{"indentation", "a:\n    b:\n          c: 1\n", "a:\n  b:\n    c: 1\n"},
		{"lists that are not indented", "a:\n- 1\n-   2\nb:\n    -  c: 1\n       d: 2\n", "a:\n  - 1\n  - 2\nb:\n  - c: 1\n    d: 2\n"},
		{"blanks behind a colon", "a:   1\nb:    # x\n  c:  'd'   # y\n", "a: 1\nb:    # x\n  c: 'd'    # y\n"},
		{"comments before statements", "a:\n      # one\n      b: 1\n  # two\n      # three\n      c: 2\n# four\nd: 3\n", "a:\n  # one\n  b: 1\n  # two\n  # three\n  c: 2\n# four\nd: 3\n"},
		{"comments that end a list", "a:\n    - 1\n    # - 2\nb: 1\n", "a:\n  - 1\n  # - 2\nb: 1\n"},
		{"comments at the end", "a:\n    b: 1\n    # c: 2\n# end\n", "a:\n  b: 1\n  # c: 2\n# end\n"},
		{"empty lines", "\n\na: 1\n\n\n\nb: 2\n\n\n", "a: 1\n\nb: 2\n"},
		{"line ends of Windows", "\ufeffa: 1  \r\nb: 2", "a: 1\nb: 2\n"},
		{"flow collections over lines", "a:\n    b: [1,\n        2,\n\n        3]\n    c: {d: 1}\n", "a:\n  b: [1,\n      2,\n\n      3]\n  c: {d: 1}\n"},
		{"block scalars", "a:\n    b: |\n        x  # no comment\n\n\n          # nor this\n        y\n    c: 1\n", "a:\n  b: |\n      x  # no comment\n\n\n        # nor this\n      y\n  c: 1\n"},
		{"values on their own line", "a:\n        b\nc:   'd\n  e'\n", "a:\n        b\nc: 'd\n  e'\n"},
		{"dash on a line of its own", "a:\n    -\n        b: 1\n        c: 2\n", "a:\n  -\n    b: 1\n    c: 2\n"},
		{"document start", "---\na:\n   b: 1\n", "---\na:\n  b: 1\n"},
		{"quoted keys", "'a b':\n      \"c\":   1\n", "'a b':\n  \"c\":   1\n"},
		{"letters of several octets", "ä:\n      ö:   ü     # ß\n", "ä:\n  ö: ü       # ß\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FormatYAML("t", []byte(tt.text))
			if err != nil || string(got) != tt.want {
				t.Fatalf("got %v:\n%s\nwant:\n%s", err, got, tt.want)
			}
			again, err := FormatYAML("t", got)
			if err != nil || string(again) != tt.want {
				t.Errorf("again: got %v:\n%s", err, again)
			}
		})
	}
}

func TestWhatIsNotOneYAMLDocumentIsNotLaidOut(t *testing.T) {
	for text, want := range map[string]string{
		"a: [":               "not valid YAML",
		"a: 1\n---\nb: 2\n":  "more than one document",
		"global_defs {\n}\n": "it is keepalived.conf",
		"a: 1\n---\nb: [\n":  "not valid YAML",
	} {
		if _, err := FormatYAML("t", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestALaidOutConfigurationIsTheSame(t *testing.T) {
	count := 0
	for _, pattern := range []string{"testdata/*.yaml", "testdata/*/*.yaml", "../examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := FormatYAML(file, data)
			if err != nil {
				continue // not YAML, which is what some are for
			}
			count++
			again, err := FormatYAML(file, got)
			if err != nil || string(again) != string(got) {
				t.Errorf("%s: again: %v\n%s", file, err, again)
			}
			want, _ := Parse(file, data)
			have, diags := Parse(file, got)
			if diff := Difference(want, have); diff != "" {
				t.Errorf("%s: %s\n%s%s", file, diff, diags, got)
			}
			if strings.Contains(file, "examples") && string(got) != string(data) {
				t.Errorf("%s is not formatted; it would be:\n%s", file, got)
			}
		}
	}
	if count < 30 {
		t.Errorf("only %d files were laid out", count)
	}
}
