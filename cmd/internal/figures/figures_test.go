package figures

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const mark = Mark("<!-- somebody writes from here -->")

func TestTablesGoBetweenTheMarkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "document.md")
	if err := os.WriteFile(file, []byte("before\n"+string(mark)+"\nold\n"+markEnd+"\nafter\n"+markEnd+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tables := range []string{"one\n", "two\n"} { // the second time takes the place of the first
		if err := mark.WriteInto(file, []byte(tables)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := "before\n" + string(mark) + "\n\n" + tables + "\n" + markEnd + "\nafter\n" + markEnd + "\n"; string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestADocumentWithoutMarkersStaysAsItIs(t *testing.T) {
	for _, text := range []string{"", "no markers", string(mark) + "\n", markEnd + "\n" + string(mark) + "\n"} {
		file := filepath.Join(t.TempDir(), "document.md")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := mark.WriteInto(file, []byte("tables")); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: the error is %v, want one that names the file", text, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("it was %q and is %q, %v", text, got, err)
		}
	}
	if err := mark.WriteInto(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a document that is not there is written into")
	}
}

func TestWhatIsNoJSONIsNotWritten(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, map[string]int{"a": 1}); err != nil || b.String() != "{\n \"a\": 1\n}\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
	if err := WriteJSON(&b, math.NaN()); err == nil {
		t.Error("NaN is written")
	}
}

func TestTheKernelHasAVersion(t *testing.T) {
	if got := Kernel(); !strings.Contains(got, ".") {
		t.Errorf("got %q", got)
	}
}

func TestTheMachinesTimeLeavesOutIdlenessAndInterrupts(t *testing.T) {
	got, err := parseMachineTime([]byte("cpu  100 20 30 4000 500 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n"))
	if want := 1580 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2 3\n", "cpu a b c d e f g h i\n"} {
		if got, err := parseMachineTime([]byte(text)); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestTheTimesOfAProcessAreItsOwnAndItsChildren(t *testing.T) {
	const head = "42 (a ) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 "
	own, reaped, err := parseTimes([]byte(head + "150 50 30 7 20 0 1 0\n"))
	if err != nil || own != 2*time.Second || reaped != 370*time.Millisecond {
		t.Errorf("got %v and %v, %v", own, reaped, err)
	}
	for _, bad := range []string{"", "42 (x) S 1 2 3", head + "150 x 30 7 20\n"} {
		if own, reaped, err := parseTimes([]byte(bad)); err == nil {
			t.Errorf("%q: got %v and %v", bad, own, reaped)
		}
	}
	if _, _, err := Times(os.Getpid()); err != nil {
		t.Error(err)
	}
}

func TestTheTimeOfAChildIsItsOwnUntilItEndsAndThenOurs(t *testing.T) {
	before := OwnTime()
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; read line")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if !slices.Contains(Descendants(os.Getpid()), pid) {
		t.Errorf("%d is not among the descendants", pid)
	}
	used, err := ProcessorTime([]int{pid})
	if err != nil || used <= 0 {
		t.Errorf("it has used %v, %v", used, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // read fails at the end of its input
	// Of a process that has ended the kernel gives what the two kinds of time are
	// together, rounded.
	if got := OwnTime() - before; got < used/2 {
		t.Errorf("ours has grown by %v, the child had used %v", got, used)
	}
	if _, err := ProcessorTime([]int{pid}); err == nil {
		t.Error("a process that has ended has a time")
	}
}

func TestTheMachineHasWorked(t *testing.T) {
	if got, err := MachineTime(); err != nil || got <= 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
