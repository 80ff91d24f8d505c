package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// differencesFile lists what vipd does otherwise than keepalived.
const differencesFile = "../../../docs/differences.md"

// A difference is a section of that file.
type difference struct {
	id, title string
	fields    map[string]string
}

// differences reads the file. Anything in a section that is neither its heading
// nor a field is an error, so that other tests can rely on the form.
func differences(t *testing.T) []difference {
	t.Helper()
	b, err := os.ReadFile(differencesFile)
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`^## (D\d{3}) (\S.*)$`)
	field := regexp.MustCompile(`^- \*\*([^*]+):\*\* (\S.*)$`)
	var ds []difference
	for i, line := range strings.Split(string(b), "\n") {
		switch h, f := heading.FindStringSubmatch(line), field.FindStringSubmatch(line); {
		case h != nil:
			ds = append(ds, difference{id: h[1], title: h[2], fields: map[string]string{}})
		case len(ds) == 0 || line == "":
		case f == nil:
			t.Errorf("%s:%d: neither a heading nor a field: %s", differencesFile, i+1, line)
		default:
			ds[len(ds)-1].fields[f[1]] = f[2]
		}
	}
	return ds
}

func TestEveryDifferenceHasItsNumberAndItsFields(t *testing.T) {
	ds := differences(t)
	if len(ds) == 0 {
		t.Fatal("no differences were found")
	}
	for i, d := range ds {
		if want := fmt.Sprintf("D%03d", i+1); d.id != want {
			t.Errorf("%s stands where %s should", d.id, want)
		}
		for _, name := range []string{"Keyword", "keepalived", "vipd", "Why", "Seen by"} {
			if d.fields[name] == "" {
				t.Errorf("%s (%s) has no field %q", d.id, d.title, name)
			}
		}
		if len(d.fields) != 5 {
			t.Errorf("%s (%s) has %d fields, want 5", d.id, d.title, len(d.fields))
		}
	}
}

func TestEveryTestThatADifferenceNamesExists(t *testing.T) {
	reference := regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9]+)`(?: \\(([^)]+)\\))?")
	for _, d := range differences(t) {
		refs := reference.FindAllStringSubmatch(d.fields["Seen by"], -1)
		if len(refs) == 0 {
			t.Errorf("%s is seen by no test: %s", d.id, d.fields["Seen by"])
		}
		for _, ref := range refs {
			if !defines(t, ref[1], ref[2]) {
				t.Errorf("%s names %s.%s, which does not exist", d.id, ref[1], ref[2])
			}
			if ref[3] == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join("../../..", ref[1], "testdata/traces", ref[3])); err != nil {
				t.Errorf("%s: %v", d.id, err)
			}
		}
	}
}

// defines reports whether the tests of a package have the function.
func defines(t *testing.T, pkg, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(t ") {
			return true
		}
	}
	return false
}
