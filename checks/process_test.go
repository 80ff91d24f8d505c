package checks

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var quiet = slog.New(slog.DiscardHandler)

func TestProcessesAreComparedAsKeepalivedDoes(t *testing.T) {
	const z = "\x00"
	tests := []struct {
		name   string
		config ProcessConfig
		comm   string
		line   string
		want   bool
	}{
		{"the name", ProcessConfig{Argv: []string{"haproxy"}}, "haproxy", "/usr/sbin/haproxy" + z + "-W" + z, true},
		{"a longer name", ProcessConfig{Argv: []string{"haproxy"}}, "haproxy2", "", false},
		{"a shorter name", ProcessConfig{Argv: []string{"sshd"}}, "ssh", "", false},
		{"a name that the kernel cuts", ProcessConfig{Argv: []string{"a-very-long-name"}}, "a-very-long-nam", "", true},
		{"the name is not the command line", ProcessConfig{Argv: []string{"nginx"}}, "x", "nginx" + z, false},
		{"the full command", ProcessConfig{Argv: []string{"/usr/sbin/haproxy"}, FullCommand: true}, "haproxy", "/usr/sbin/haproxy" + z + "-W" + z, true},
		{"the full command has to be whole", ProcessConfig{Argv: []string{"/usr/sbin/haproxy"}, FullCommand: true}, "", "/usr/sbin/haproxy2" + z, false},
		{"the full command without its end", ProcessConfig{Argv: []string{"nginx: master"}, FullCommand: true}, "", "nginx: master", true},
		{"no command line, as of the kernel's threads", ProcessConfig{Argv: []string{"kthreadd"}, FullCommand: true}, "kthreadd", "", false},
		{"exact arguments", ProcessConfig{Argv: []string{"a", "b", "c d"}, Match: MatchExact}, "", "a" + z + "b" + z + "c d" + z, true},
		{"words are not joined", ProcessConfig{Argv: []string{"a", "b", "c d"}, Match: MatchExact}, "", "a" + z + "b" + z + "c" + z + "d" + z, false},
		{"exact, and one more follows", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchExact}, "", "a" + z + "b" + z + "c" + z, false},
		{"exact, and an empty one follows", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchExact}, "", "a" + z + "b" + z + z, false},
		{"exact, and one is missing", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchExact}, "", "a" + z, false},
		{"exactly no arguments", ProcessConfig{Argv: []string{"a"}, Match: MatchExact}, "", "a" + z, true},
		{"exactly no arguments, and there is one", ProcessConfig{Argv: []string{"a"}, Match: MatchExact}, "", "a" + z + "b" + z, false},
		{"partial, and others follow", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchPartial}, "", "a" + z + "b" + z + "c" + z, true},
		{"partial, and the last is longer", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchPartial}, "", "a" + z + "bc" + z, false},
		{"partial without arguments", ProcessConfig{Argv: []string{"a"}, Match: MatchPartial}, "", "a" + z + "b" + z, true},
		{"initial, and the last is longer", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchInitial}, "", "a" + z + "bc" + z + "d" + z, true},
		{"initial, and the last is equal", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchInitial}, "", "a" + z + "b" + z, true},
		{"initial, and the first differs", ProcessConfig{Argv: []string{"a", "b"}, Match: MatchInitial}, "", "ab" + z + "b" + z, false},
		{"initial without arguments compares the whole name", ProcessConfig{Argv: []string{"a"}, Match: MatchInitial}, "", "ab" + z, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// As much of it as would be read.
			line := []byte(test.line[:min(len(test.line), test.config.commandLen())])
			got := test.config.byCommand() && test.config.matchesCommand(line) || !test.config.byCommand() && test.config.matchesComm(test.comm)
			if got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestTheNumberOfProcessesDecidesTheState(t *testing.T) {
	type at struct {
		after  time.Duration
		count  int // -1: only time passes
		want   State
		detail string
	}
	const s = time.Second
	tests := []struct {
		name   string
		config ProcessConfig
		steps  []at
	}{
		{"one is enough", ProcessConfig{Quorum: 1, QuorumMax: -1}, []at{
			{0, 0, Down, "no process, at least 1 needed"}, {0, 1, Up, "1 process"}, {0, 5, Up, "5 processes"}, {0, 0, Down, "no process, at least 1 needed"},
		}},
		{"two to three", ProcessConfig{Quorum: 2, QuorumMax: 3}, []at{
			{0, 1, Down, "1 process, at least 2 needed"}, {0, 2, Up, "2 processes"}, {0, 4, Down, "4 processes, at most 3 allowed"}, {0, 3, Up, "3 processes"},
		}},
		{"none may run", ProcessConfig{Quorum: 0, QuorumMax: 0}, []at{
			{0, 0, Up, "no process"}, {0, 1, Down, "1 process, none allowed"}, {0, 0, Up, "no process"},
		}},
		{"the first number decides at once", ProcessConfig{Quorum: 1, QuorumMax: -1, ForkDelay: s, TerminateDelay: s}, []at{
			{0, 1, Up, "1 process"},
		}},
		{"a fall must last", ProcessConfig{Quorum: 1, QuorumMax: -1, TerminateDelay: 2 * s}, []at{
			{0, 1, Up, "1 process"}, {0, 0, Up, "no process, at least 1 needed; still up for a moment"},
			{s, 1, Up, "1 process"}, {s, 0, Up, "no process, at least 1 needed; still up for a moment"},
			{s, -1, Up, ""}, {s, -1, Down, ""}, {0, 1, Up, "1 process"},
		}},
		{"a rise must last", ProcessConfig{Quorum: 2, QuorumMax: -1, ForkDelay: 2 * s}, []at{
			{0, 0, Down, ""}, {0, 2, Down, "2 processes; still down for a moment"}, {s, 3, Down, ""}, {s, -1, Up, ""}, {0, 1, Down, ""},
		}},
		{"too many because of a fork", ProcessConfig{Quorum: 1, QuorumMax: 1, ForkDelay: s}, []at{
			{0, 1, Up, ""}, {0, 2, Up, "2 processes, at most 1 allowed; still up for a moment"}, {s / 2, 1, Up, "1 process"},
			{0, 2, Up, ""}, {s, -1, Down, ""}, {0, 1, Up, ""},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			q := quorum{config: &test.config}
			for i, step := range test.steps {
				now = now.Add(step.after)
				before := q.state
				var changed bool
				if step.count < 0 {
					changed = q.tick(now)
				} else {
					changed = q.set(now, step.count)
				}
				if q.state != step.want || step.detail != "" && q.detail() != step.detail {
					t.Fatalf("step %d: %v, %q; want %v, %q", i, q.state, q.detail(), step.want, step.detail)
				}
				if changed != (q.state != before) {
					t.Errorf("step %d: changed is %v", i, changed)
				}
			}
		})
	}
}

func TestDelaysOfProcessesAreKeptToTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewProcessMonitor(quiet)
		p := m.Track(ProcessConfig{Argv: []string{"x"}, Quorum: 1, QuorumMax: -1, ForkDelay: 3 * time.Second, TerminateDelay: 5 * time.Second})
		start := time.Now()
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Run(ctx, func(rep Report) {
				got = append(got, fmt.Sprintf("%v %v since %v: %s", time.Since(start), rep.State, rep.Since.Sub(start), rep.Detail))
			})
		}()
		synctest.Wait()
		for _, n := range []int{1, 0, 1, 0} {
			p.put(census{known: true, count: n})
			synctest.Wait()
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		p.put(census{known: true, count: 2})
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		want := []string{
			"0s up since 0s: 1 process",
			"1s up since 0s: no process, at least 1 needed; still up for a moment",
			"2s up since 0s: 1 process",
			"3s up since 0s: no process, at least 1 needed; still up for a moment",
			"8s down since 8s: no process, at least 1 needed",
			"14s down since 8s: 2 processes; still down for a moment",
			"17s up since 17s: 2 processes",
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("got\n%s\nwant\n%s", g, w)
		}
	})
}

// A fakeProc is a directory that looks like /proc.
type fakeProc struct {
	t    *testing.T
	root string
}

func newFakeProc(t *testing.T) *fakeProc {
	f := &fakeProc{t, t.TempDir()}
	f.set(1, "init", 'S', "/sbin/init")
	return f
}

func (f *fakeProc) set(pid int, comm string, state byte, argv ...string) {
	f.t.Helper()
	dir := filepath.Join(f.root, strconv.Itoa(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	line := ""
	if len(argv) > 0 && state != 'Z' {
		line = strings.Join(argv, "\x00") + "\x00"
	}
	flags := 0
	if len(argv) == 0 {
		flags = 0x00200000
	}
	for name, text := range map[string]string{
		"stat":    fmt.Sprintf("%d (%s) %c 1 %d 1 0 -1 %d 5 5 0\n", pid, comm, state, pid, flags),
		"comm":    comm + "\n",
		"cmdline": line,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fakeProc) gone(pid int) {
	f.t.Helper()
	if err := os.RemoveAll(filepath.Join(f.root, strconv.Itoa(pid))); err != nil {
		f.t.Fatal(err)
	}
}

func newTable(f *fakeProc, configs ...ProcessConfig) *procTable {
	m := NewProcessMonitor(quiet)
	for _, c := range configs {
		c.Quorum, c.QuorumMax = 1, -1
		m.Track(c)
	}
	return newProcTable(procfs{f.root}, m.tracked)
}

func TestScansSeeWhatProcessesBecome(t *testing.T) {
	f := newFakeProc(t)
	tab := newTable(f, ProcessConfig{Argv: []string{"web"}}, ProcessConfig{Argv: []string{"/bin/web", "-a"}, Match: MatchExact})
	scan := func(what string, comm, line int) {
		t.Helper()
		if err := tab.scan(); err != nil {
			t.Fatal(err)
		}
		if tab.counts[0] != comm || tab.counts[1] != line {
			t.Errorf("%s: counted %v, want %d and %d", what, tab.counts, comm, line)
		}
	}
	scan("nothing runs", 0, 0)
	f.set(10, "web", 'S', "/bin/web", "-a")
	f.set(11, "web", 'S', "/bin/web", "-b")
	f.set(12, "we) b", 'S', "/bin/web", "-a")
	f.set(13, "web", 'S')
	scan("some run", 3, 2)
	f.set(10, "web", 'Z', "/bin/web", "-a")
	scan("one is a zombie", 2, 1)
	f.gone(10)
	f.gone(12)
	f.gone(13)
	scan("some are gone", 1, 0)
	f.set(11, "sh", 'S', "/bin/sh")
	scan("one became another program", 0, 0)
	for range 10 {
		scan("time passes", 0, 0)
	}
	f.set(11, "web", 'S', "/bin/web", "-a")
	scan("an old one became what counts", 1, 1)
	f.set(11, "web", 'S', "/bin/web", "-c")
	scan("its arguments changed", 1, 0)
}

func TestEventsOfTheTimeBeforeTheScanDoNoHarm(t *testing.T) {
	f := newFakeProc(t)
	f.set(10, "web", 'S', "web")
	f.set(12, "sh", 'S', "sh")
	tab := newTable(f, ProcessConfig{Argv: []string{"web"}}, ProcessConfig{Argv: []string{"sh"}})
	want := func(what string, web, sh int) {
		t.Helper()
		if tab.counts[0] != web || tab.counts[1] != sh {
			t.Fatalf("%s: counted %v, want %d and %d", what, tab.counts, web, sh)
		}
	}
	if err := tab.rescan(); err != nil {
		t.Fatal(err)
	}
	want("the scan", 1, 1)
	if len(tab.entries) != 2 {
		t.Errorf("%d processes are remembered, of which 2 count", len(tab.entries))
	}
	tab.apply(procEvent{what: procFork, parent: 10, pid: 12}) // 12 has become sh since
	want("a fork seen already", 1, 1)
	tab.apply(procEvent{what: procExec, pid: 12})
	want("its exec", 1, 1)
	tab.apply(procEvent{what: procFork, parent: 10, pid: 13})
	want("a new child", 2, 1)
	tab.apply(procEvent{what: procFork, parent: 99, pid: 14})
	want("a child of no interest", 2, 1)
	f.set(13, "sh", 'S', "sh")
	tab.apply(procEvent{what: procExec, pid: 13})
	want("the child becomes sh", 1, 2)
	f.set(13, "cat", 'S', "cat")
	tab.apply(procEvent{what: procComm, pid: 13})
	want("it gives itself a name", 1, 1)
	tab.apply(procEvent{what: procExec, pid: 77})
	want("an exec of a process that is gone", 1, 1)
	tab.apply(procEvent{what: procExit, pid: 10})
	tab.apply(procEvent{what: procExit, pid: 10})
	want("an exit, twice", 0, 1)
}

func TestLostEventsAreMadeUpForByAScan(t *testing.T) {
	f := newFakeProc(t)
	f.set(10, "web", 'S', "web")
	synctest.Test(t, func(t *testing.T) {
		m := NewProcessMonitor(quiet)
		m.proc.root = f.root
		p := m.Track(ProcessConfig{Argv: []string{"web"}, Quorum: 1, QuorumMax: -1})
		events := &procEvents{batches: make(chan procEventBatch)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.listen(ctx, events) }()
		synctest.Wait()
		count := func(want int) {
			t.Helper()
			synctest.Wait()
			if c := p.get(); c.count != want || c.mechanism != "process events" {
				t.Fatalf("known is %+v, want %d", c, want)
			}
		}
		count(1)
		f.gone(10)
		time.Sleep(2 * time.Second)
		count(1)
		events.batches <- procEventBatch{lost: true}
		time.Sleep(time.Millisecond)
		count(0) // the last scan is long ago
		f.set(11, "web", 'S', "web")
		events.batches <- procEventBatch{lost: true}
		count(0) // but this one is not
		time.Sleep(procSettle)
		count(1)
		f.gone(11)
		time.Sleep(procRescan)
		count(0) // once a minute in any case
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestHiddenProcessesAreNotASuccess(t *testing.T) {
	f := newFakeProc(t)
	f.gone(1)
	f.set(10, "web", 'S', "web")
	tests := []struct {
		name        string
		quorum, max int
		state       State
		unrunnable  bool
	}{
		{"enough are seen", 1, -1, Up, false},
		{"there may be enough", 2, -1, Down, true},
		{"there may be too many", 0, 1, Down, true},
		{"too many are seen", 0, 0, Down, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := NewProcessMonitor(quiet)
			m.proc.root = f.root
			m.open = func() (*procEvents, error) { return nil, errors.New("not here") }
			p := m.Track(ProcessConfig{Argv: []string{"web"}, Quorum: test.quorum, QuorumMax: test.max})
			go func() { _ = m.Run(t.Context()) }()
			r := record(t, p).until("something is known", func(Report) bool { return true })
			if r.State != test.state || (r.Unrunnable != "") != test.unrunnable || (r.Hint != "") != test.unrunnable {
				t.Errorf("got %+v", r)
			}
			if all := r.Mechanism + r.Unrunnable; !strings.Contains(all, "hidepid") {
				t.Errorf("%q does not say why", all)
			}
		})
	}
	t.Run("there is no /proc at all", func(t *testing.T) {
		m := NewProcessMonitor(quiet)
		m.proc.root = filepath.Join(f.root, "none")
		m.open = func() (*procEvents, error) { return nil, errors.New("not here") }
		p := m.Track(ProcessConfig{Argv: []string{"web"}, Quorum: 1, QuorumMax: -1})
		go func() { _ = m.Run(t.Context()) }()
		r := record(t, p).until("something is known", func(Report) bool { return true })
		if r.State != Down || !strings.Contains(r.Unrunnable, "no such file") {
			t.Errorf("got %+v", r)
		}
	})
}

// Messages of Linux 6.18 on x86, little-endian.
var recordedProc = []struct {
	name, octets string
	want         procEvent
	ok           bool
}{
	{"answer", "4c000000030000000000000000000000010000000100000000000000010000002800000000000000000000001e02e1161c0b0000000000000000000000000000000000000000000000000000", procEvent{}, false},
	{"fork of a process", "4c000000030000000100000000000000010000000100000001000000000000002800000001000000000000002d75d2281c0b0000ee2e0000eb2e0000ef2e0000ef2e00000000000000000000", procEvent{what: procFork, parent: 0x2eeb, pid: 0x2eef}, true},
	{"fork of a thread", "4c000000030000000100000000000000010000000100000001000000000000002800000001000000000000002d75d2281c0b0000ee2e0000eb2e0000f02e0000ef2e00000000000000000000", procEvent{}, false},
	{"exec", "4c000000030000000000000000000000010000000100000000000000000000002800000002000000010000007396db281c0b0000f02e0000f02e000000000000000000000000000000000000", procEvent{what: procExec, pid: 0x2ef0}, true},
	{"exit of a process", "4c0000000300000002000000000000000100000001000000020000000000000028000000000000800000000075e6d3281c0b0000ef2e0000ef2e00000000000000000000ee2e0000eb2e0000", procEvent{what: procExit, pid: 0x2eef}, true},
	{"exit of a thread", "4c0000000300000002000000000000000100000001000000020000000000000028000000000000800000000075e6d3281c0b0000ef2e0000ee2e00000000000000000000ee2e0000eb2e0000", procEvent{}, false},
	{"name given by itself", "4c0000000300000002000000000000000100000001000000020000000000000028000000000200000000000075e6d3281c0b0000ef2e0000ef2e00006e67696e78000000000000000000000000", procEvent{what: procComm, pid: 0x2eef}, true},
	{"change of user", "4c0000000300000002000000000000000100000001000000020000000000000028000000040000000000000075e6d3281c0b0000ef2e0000ef2e00000000000000000000ee2e0000eb2e0000", procEvent{}, false},
	{"too short", "4c000000030000000200", procEvent{}, false},
}

func TestRecordedProcessEventsAreUnderstood(t *testing.T) {
	little(t)
	filter, err := bpf.NewVM(procFilter())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range recordedProc {
		t.Run(test.name, func(t *testing.T) {
			b, err := hex.DecodeString(test.octets)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := parseProcEvent(b)
			if ok != test.ok || ok && got != test.want {
				t.Errorf("got %+v, %v; want %+v, %v", got, ok, test.want, test.ok)
			}
			n, err := filter.Run(b)
			if err != nil {
				t.Fatal(err)
			}
			if passes := n > 0; passes != (test.ok || test.name == "answer") {
				t.Errorf("the filter passes it: %v", passes)
			}
			ack, errno := isAck(b, 0)
			if ack != (test.name == "answer") || errno != 0 {
				t.Errorf("is an answer: %v, %v", ack, errno)
			}
			if ack, _ := isAck(b, 7); ack {
				t.Error("is taken for the answer to another request")
			}
		})
	}
}

// little skips the test where recorded messages are of another order.
func little(t *testing.T) {
	t.Helper()
	switch runtime.GOARCH {
	case "ppc64", "s390x", "mips", "mips64":
		t.Skip("the messages were recorded on a little-endian machine")
	}
}

// copyHelper copies this program under another name.
func copyHelper(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	path := filepath.Join(t.TempDir(), name)
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A helper is this program doing something else.
type helper struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startHelper(t *testing.T, mode, path string, args ...string) *helper {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+mode)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &helper{cmd, in}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return h
}

// watchProcesses starts, changes and ends processes under the eyes of a monitor.
func watchProcesses(t *testing.T, m *ProcessMonitor, mechanism string) {
	name := fmt.Sprintf("chk%d", os.Getpid())
	program, other := copyHelper(t, name), copyHelper(t, name+"-other")
	byName := m.Track(ProcessConfig{Argv: []string{name}, Quorum: 1, QuorumMax: -1})
	two := m.Track(ProcessConfig{Argv: []string{name}, Quorum: 2, QuorumMax: -1})
	byArgs := m.Track(ProcessConfig{Argv: []string{program, "left", "ri"}, Match: MatchInitial, Quorum: 1, QuorumMax: -1})
	first := startHelper(t, "wait", program)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	names, twos, args := record(t, byName), record(t, two), record(t, byArgs)
	r := names.until("the running process is found", func(r Report) bool { return r.State == Up })
	if !strings.HasPrefix(r.Mechanism, mechanism) {
		t.Errorf("mechanism is %q, want %q", r.Mechanism, mechanism)
	}
	twos.until("one is not enough", func(r Report) bool { return r.State == Down && strings.HasPrefix(r.Detail, "1 process,") })
	args.until("the arguments differ", func(r Report) bool { return r.State == Down })

	second := startHelper(t, "wait", program, "left", "right", "more")
	twos.until("there are two", func(r Report) bool { return r.State == Up && r.Detail == "2 processes" })
	args.until("the arguments match", func(r Report) bool { return r.State == Up })

	// It is not waited for: what is left does not count.
	_ = second.in.Close()
	twos.until("one has ended", func(r Report) bool { return r.State == Down })
	args.until("it has ended", func(r Report) bool { return r.State == Down })
	_ = second.cmd.Wait()

	third := startHelper(t, "become", program, other)
	twos.until("there are two again", func(r Report) bool { return r.State == Up })
	if _, err := third.in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	twos.until("one is another program", func(r Report) bool { return r.State == Down })
	_ = first.in.Close()
	names.until("none is left", func(r Report) bool { return r.State == Down && r.Detail == "no process, at least 1 needed" })
}

func TestProcessesAreCountedByScans(t *testing.T) {
	m := NewProcessMonitor(quiet)
	m.open = func() (*procEvents, error) { return nil, errors.New("not here") }
	watchProcesses(t, m, "scan of /proc every 1s (no process events: not here)")
}

func TestProcessesAreCountedByEvents(t *testing.T) {
	m := NewProcessMonitor(quiet)
	m.open = func() (e *procEvents, err error) {
		// Events are for the initial network namespace, where the tests came from.
		err = inNamespaceOf(os.Getppid(), func() (err error) {
			e, err = openProcEvents()
			return err
		})
		return e, err
	}
	e, err := m.open()
	if err != nil {
		t.Skipf("no process events: %v", err)
	}
	e.close()
	watchProcesses(t, m, "process events")
}

// inNamespaceOf runs fn in the network namespace of a process.
func inNamespaceOf(pid int, fn func() error) error {
	errs := make(chan error, 1)
	go func() {
		// The thread ends with the goroutine and takes the namespace with it.
		runtime.LockOSThread()
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			errs <- err
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			errs <- err
			return
		}
		errs <- fn()
	}()
	return <-errs
}

func TestProcessEventsAreRefusedInOtherNamespacesWithAReason(t *testing.T) {
	loopback(t)
	e, err := openProcEvents()
	if err == nil {
		e.close()
		t.Fatal("there are process events in a network namespace of our own")
	}
	if !strings.Contains(err.Error(), "initial") {
		t.Errorf("got %q", err)
	}
}

func BenchmarkScanOfProc(b *testing.B) {
	m := NewProcessMonitor(quiet)
	m.Track(ProcessConfig{Argv: []string{"haproxy"}, Quorum: 1, QuorumMax: -1})
	t := newProcTable(m.proc, m.tracked)
	for b.Loop() {
		if err := t.scan(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(t.pids)), "processes")
}
