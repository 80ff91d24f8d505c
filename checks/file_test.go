package checks

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTheFirstNumberIsReadAsCDoes(t *testing.T) {
	tests := []struct {
		text string
		want int
		ok   bool
	}{
		{"20\n", 20, true},
		{"-20", -20, true},
		{"+5", 5, true},
		{" \t\n\v\f\r7 apples", 7, true},
		{"010", 8, true},
		{"09", 0, true},
		{"0x10", 16, true},
		{"-0XfFg", -255, true},
		{"0x", 0, true},
		{"0xg", 0, true},
		{"0", 0, true},
		{"-0", 0, true},
		{"12abc", 12, true},
		{"1.9", 1, true},
		{"", 0, false},
		{"-", 0, false},
		{"- 1", 0, false},
		{"abc", 0, false},
		{"++1", 0, false},
		{"2147483647", math.MaxInt32, true},
		{"-2147483648", math.MinInt32, true},
		{"\u00a05", 0, false},
		{"5\x006", 5, true},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%q", test.text), func(t *testing.T) {
			got, ok, fits := leadingNumber([]byte(test.text))
			if got != test.want || ok != test.ok || !fits {
				t.Errorf("got %d, %v, fits %v; want %d, %v", got, ok, fits, test.want, test.ok)
			}
		})
	}
	for _, text := range []string{"2147483648", "-2147483649", "-99999999999999999999999999999999999", "0xffffffffffffffffffffffff"} {
		if _, _, fits := leadingNumber([]byte(text)); fits {
			t.Errorf("%s is taken to fit 32 bits", text)
		}
	}
}

// must fails the test for an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// replace writes a file elsewhere and moves it there, as careful programs do.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	must(t, os.Rename(path+".new", path))
}

func value(n int) func(Report) bool {
	return func(r Report) bool { return r.State == Up && r.Value == n }
}

func TestAFileIsFollowedWhateverIsDoneToIt(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b")
	path := filepath.Join(dir, "prio")
	r := record(t, NewFile(FileConfig{Path: path}))
	first := r.until("nothing is there", value(0))
	if first.Detail != "does not exist, counts as 0" || first.Mechanism != "file events" || first.Since.IsZero() {
		t.Errorf("the first report is %+v", first)
	}
	must(t, os.MkdirAll(dir, 0o755))
	write(t, path, "20\n")
	if got := r.until("directories and file are there", value(20)); got.Detail != "contains 20" {
		t.Errorf("detail is %q", got.Detail)
	}
	write(t, path, "-3")
	r.until("it is written again", value(-3))
	replace(t, path, "4")
	r.until("it is replaced", value(4))
	must(t, os.Rename(path, path+".away"))
	r.until("it is moved away", value(0))
	must(t, os.Link(path+".away", path))
	r.until("it is linked", value(4))
	must(t, os.Remove(path))
	r.until("it is removed", value(0))
	must(t, os.Rename(filepath.Join(top, "a"), filepath.Join(top, "old")))
	must(t, os.MkdirAll(dir, 0o755))
	replace(t, path, "5")
	r.until("its directory is replaced", value(5))
	write(t, filepath.Join(top, "old", "b", "prio"), "99")
	must(t, os.RemoveAll(filepath.Join(top, "a")))
	r.until("the directories are removed", value(0))
	must(t, os.MkdirAll(dir, 0o755))
	write(t, path, "6")
	r.until("they come again", value(6))
	write(t, path, "")
	if got := r.until("it is empty", value(0)); got.Detail != "is empty, counts as 0" {
		t.Errorf("detail is %q", got.Detail)
	}
	write(t, path, "up")
	r.until("it is no number", func(r Report) bool { return r.Detail == "contains no number, counts as 0" })
	must(t, os.Remove(path))
	must(t, syscall.Mkfifo(path, 0o600))
	r.until("it is a pipe that nobody writes to", func(r Report) bool { return r.Detail == "is not a regular file, counts as 0" })
}

func TestAFileBehindSymbolicLinksIsFollowed(t *testing.T) {
	// As Kubernetes lays out a ConfigMap, and changes it.
	dir := t.TempDir()
	version := func(name, text string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		write(t, filepath.Join(dir, name, "prio"), text)
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..2026_1", "10")
	must(t, os.Symlink("..data/prio", filepath.Join(dir, "prio")))
	r := record(t, NewFile(FileConfig{Path: filepath.Join(dir, "prio")}))
	r.until("there is a first version", value(10))
	for i := 2; i < 6; i++ {
		version(fmt.Sprintf("..2026_%d", i), fmt.Sprint(10*i))
		must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", i-1))))
		r.until("there is another version", value(10*i))
	}
	write(t, filepath.Join(dir, "..2026_5", "prio"), "7")
	r.until("the target itself is written", value(7))
	must(t, os.Remove(filepath.Join(dir, "prio")))
	must(t, os.Symlink("prio", filepath.Join(dir, "prio")))
	r.until("the link leads to itself", value(0))
	must(t, os.Remove(filepath.Join(dir, "prio")))
	other := filepath.Join(t.TempDir(), "prio")
	must(t, os.Symlink(other, filepath.Join(dir, "prio")))
	write(t, other, "8")
	r.until("it leads elsewhere", value(8))
}

func TestHalfANumberIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prio")
	write(t, path, "100")
	r := record(t, NewFile(FileConfig{Path: path}))
	r.until("there is a number", value(100))
	for n := 200; n < 220; n++ {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		for _, c := range fmt.Sprint(n) {
			_, err := f.WriteString(string(c))
			must(t, err)
		}
		// What only touches the directory does not make it be read.
		write(t, filepath.Join(filepath.Dir(path), "other"), "x")
		must(t, f.Close())
		got := r.until("it has changed", func(r Report) bool { return r.Value != n-1 })
		if got.Value != n {
			t.Fatalf("read %d (%s), want %d", got.Value, got.Detail, n)
		}
	}
}

func TestAStormOfChangesMakesFewReports(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prio")
	r := record(t, NewFile(FileConfig{Path: path}))
	r.until("nothing is there", value(0))
	const writes = 5000
	for i := range writes {
		write(t, path, fmt.Sprint(i%2+1))
	}
	write(t, path, "77")
	count := 0
	r.until("the last one is read", func(r Report) bool {
		count++
		return r.Value == 77
	})
	if count > writes/4 {
		t.Errorf("%d reports for %d writes", count, writes)
	}
	write(t, path, "77")
	write(t, path, " 77 ")
	write(t, path, "78")
	got := r.until("there is another number", func(Report) bool { return true })
	if got.Value != 78 {
		t.Errorf("reported %+v though nothing changed", got)
	}
}

func TestTheFirstNumberIsWrittenAsConfigured(t *testing.T) {
	ten := 10
	tests := []struct {
		name      string
		before    string // "-": no file
		init      *int
		overwrite bool
		want      string
	}{
		{"no file and nothing to write", "-", nil, false, "-"},
		{"no file", "-", &ten, false, "10\n"},
		{"no file, overwrite", "-", &ten, true, "10\n"},
		{"a file", "5", &ten, false, "5"},
		{"a file, overwrite", "500000", &ten, true, "10\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "prio")
			if test.before != "-" {
				write(t, path, test.before)
			}
			r := record(t, NewFile(FileConfig{Path: path, Init: test.init, InitOverwrite: test.overwrite}))
			rep := r.until("it was looked at", func(r Report) bool { return r.State == Up })
			got, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				got = []byte("-")
			} else {
				must(t, err)
			}
			if string(got) != test.want || rep.Hint != "" {
				t.Errorf("file is %q, want %q; report %+v", got, test.want, rep)
			}
		})
	}
	t.Run("it cannot be written", func(t *testing.T) {
		r := record(t, NewFile(FileConfig{Path: filepath.Join(t.TempDir(), "none", "prio"), Init: &ten}))
		rep := r.until("it was looked at", func(r Report) bool { return r.State == Up })
		if !strings.Contains(rep.Hint, "init_file was not written: no such file") {
			t.Errorf("got %+v", rep)
		}
	})
	t.Run("a link is not followed to overwrite", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "shadow"), "secret")
		must(t, os.Symlink("shadow", filepath.Join(dir, "prio")))
		r := record(t, NewFile(FileConfig{Path: filepath.Join(dir, "prio"), Init: &ten, InitOverwrite: true}))
		r.until("the refusal is told", func(r Report) bool { return r.Hint != "" })
		got, err := os.ReadFile(filepath.Join(dir, "shadow"))
		must(t, err)
		if string(got) != "secret" {
			t.Errorf("the target was overwritten with %q", got)
		}
	})
}

func TestAFileIsReadAgainAndAgainWhereItCannotBeWatched(t *testing.T) {
	r := record(t, NewFile(FileConfig{Path: "/proc/self/oom_score_adj"}))
	rep := r.until("it was read", func(r Report) bool { return r.State == Up })
	if !strings.HasPrefix(rep.Mechanism, "reading every 1s (") {
		t.Errorf("mechanism is %q", rep.Mechanism)
	}
	old, err := os.ReadFile("/proc/self/oom_score_adj")
	must(t, err)
	t.Cleanup(func() { _ = os.WriteFile("/proc/self/oom_score_adj", old, 0) })
	write(t, "/proc/self/oom_score_adj", "321")
	r.until("the other number is read", value(321))
}

func TestNothingIsLeftOfAFile(t *testing.T) {
	before := descriptors(t)
	for range 20 {
		r := record(t, NewFile(FileConfig{Path: filepath.Join(t.TempDir(), "prio")}))
		r.until("it was looked at", value(0))
		r.stop()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}
