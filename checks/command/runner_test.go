package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheResultSaysHowAProgramEnded(t *testing.T) {
	r := newTestRunner(t)
	for _, tt := range []struct {
		name   string
		script string
		ok     bool
		text   string
		output string
	}{
		{"success", "echo fine", true, "exit code 0", "fine\n"},
		{"failure", "echo bad >&2; exit 3", false, "exit code 3", "bad\n"},
		{"a signal", "kill -SEGV $$", false, "killed by SIGSEGV", ""},
		{"standard input is empty", "wc -c", true, "exit code 0", "0\n"},
		{"both outputs in one order", "echo a; echo b >&2; echo c", true, "exit code 0", "a\nb\nc\n"},
		{"it runs in the root directory", "pwd", true, "exit code 0", "/\n"},
		{"SIGPIPE ends a program, though the daemon ignores it", "sh -c 'kill -PIPE $$'; echo $?", true, "exit code 0", "141\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := r.Run(t.Context(), shell(tt.script, 10*time.Second))
			if got.OK() != tt.ok || got.String() != tt.text || got.Output != tt.output {
				t.Errorf("got %v %q with output %q, want %v %q %q", got.OK(), got, got.Output, tt.ok, tt.text, tt.output)
			}
			if got.Path != "/bin/sh" || got.Started.IsZero() || got.Duration <= 0 || got.Truncated {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOnlyTheEndOfTheOutputIsKept(t *testing.T) {
	r := newTestRunner(t)
	got := r.Run(t.Context(), shell("seq 100000; echo the end", 20*time.Second))
	if !got.OK() || !got.Truncated || len(got.Output) != keep || !strings.HasSuffix(got.Output, "\n99999\n100000\nthe end\n") {
		t.Errorf("got %v, truncated %v, %d octets ending in %q", got, got.Truncated, len(got.Output), got.Output[max(0, len(got.Output)-30):])
	}
}

func TestTheTailIsTheEndOfWhatWasWritten(t *testing.T) {
	for _, size := range []int{1, 7, keep - 1, keep, keep + 1, 2 * keep, 3*keep + 5} {
		var got tail
		var all strings.Builder
		for i := range 20 {
			chunk := strings.Repeat(string(rune('a'+i)), size)
			all.WriteString(chunk)
			got.add([]byte(chunk))
		}
		want := all.String()[max(0, all.Len()-keep):]
		if got.String() != want || got.total != int64(all.Len()) {
			t.Errorf("chunks of %d: wrong end", size)
		}
		if cap(got.buf) > 4*keep {
			t.Errorf("chunks of %d: the buffer has grown to %d", size, cap(got.buf))
		}
	}
}

func TestAProgramGetsACleanStart(t *testing.T) {
	t.Setenv("LD_PRELOAD_TEST", "x")
	t.Setenv("IFS", "x")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		t.Setenv(name, "1")
	}
	t.Setenv("HOME", "/daemon")
	t.Setenv("KEPT", "daemon")
	t.Setenv("OVERRIDDEN", "daemon")
	// A descriptor that whoever started the daemon has left open.
	stray, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(stray) }()

	r := newTestRunner(t)
	s := shell("", 10*time.Second)
	s.Env = []string{"OVERRIDDEN=spec", "ADDED=spec", "LD_LIBRARY_PATH=/evil"}

	run := func(argv ...string) string {
		t.Helper()
		s.Argv = argv
		got := r.Run(t.Context(), s)
		if !got.OK() {
			t.Fatalf("%v: %v, %s", argv, got, got.Output)
		}
		return got.Output
	}
	env := strings.Split(strings.TrimSpace(run("/usr/bin/env")), "\n")
	for _, want := range []string{"KEPT=daemon", "OVERRIDDEN=spec", "ADDED=spec", "HOME=/daemon"} {
		if !slices.Contains(env, want) {
			t.Errorf("the environment has no %s", want)
		}
	}
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(kv, "LD_") || strings.HasPrefix(kv, "LISTEN_") || strings.HasPrefix(kv, "WATCHDOG_") ||
			name == "IFS" || name == "NOTIFY_SOCKET" || kv == "OVERRIDDEN=daemon" {
			t.Errorf("the environment has %s", kv)
		}
	}
	for line := range strings.Lines(run("/bin/cat", "/proc/self/status")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		if !slices.Contains([]string{"SigBlk", "SigIgn", "SigPnd"}, key) {
			continue
		}
		mask, err := strconv.ParseUint(value, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		// Signals 32 and 33 are the C library's, which has them ignored in what it
		// spawns, such as make does: nobody else can change that.
		if mask &^= 1<<31 | 1<<32; mask != 0 {
			t.Errorf("%s is %s", key, value)
		}
	}
	// 3 is the directory ls reads.
	if got := strings.Fields(run("/bin/ls", "/proc/self/fd")); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
		t.Errorf("open descriptors: %v", got)
	}
	stat := strings.Fields(run("/bin/cat", "/proc/self/stat"))
	if stat[0] != stat[4] {
		t.Errorf("process %s is in the group %s", stat[0], stat[4])
	}
}

func TestAProgramRunsAsTheUserAskedFor(t *testing.T) {
	needRoot(t)
	r := newTestRunner(t)
	id := shell("id -u; id -g; id -G", 10*time.Second)
	for _, tt := range []struct {
		as   Credential
		want string
	}{
		{Credential{UID: 65534, GID: 65534}, "65534\n65534\n65534\n"},
		{Credential{UID: 1, GID: 2, Groups: []uint32{3, 4}}, "1\n2\n2 3 4\n"},
		{Credential{}, "0\n0\n0\n"},
	} {
		id.As = tt.as
		if got := r.Run(t.Context(), id); got.Output != tt.want {
			t.Errorf("as %+v: %v, output %q, want %q", tt.as, got, got.Output, tt.want)
		}
	}
}

func TestAProgramOfAnotherUserIsAtHomeThere(t *testing.T) {
	needRoot(t)
	t.Setenv("HOME", "/daemon")
	t.Setenv("USER", "vipd")
	t.Setenv("LOGNAME", "vipd")
	r := newTestRunner(t)
	for _, tt := range []struct {
		name string
		as   Credential
		env  []string
		want string
	}{
		{"the daemon's own user", Credential{Name: "root", Home: "/root"}, nil, "/daemon vipd vipd\n"},
		{"another", Credential{Name: "postgres", UID: 65534, GID: 65534, Home: "/var/lib/postgresql"}, nil, "/var/lib/postgresql postgres postgres\n"},
		{"one without an entry", Credential{UID: 65534, GID: 65534}, nil, "/ 65534 65534\n"},
		{"what the Spec says counts more", Credential{Name: "postgres", UID: 65534, GID: 65534}, []string{"HOME=/spec"}, "/spec postgres postgres\n"},
	} {
		s := shell(`echo "$HOME $USER $LOGNAME"`, 10*time.Second)
		s.As, s.Env = tt.as, tt.env
		if got := r.Run(t.Context(), s); got.Output != tt.want {
			t.Errorf("%s: %v, output %q, want %q", tt.name, got, got.Output, tt.want)
		}
	}
	if got, err := Lookup("root", "", false); err != nil || got.Home == "" {
		t.Errorf("the home of root is not known: %+v, %v", got, err)
	}
}

func TestAProgramThatHangsIsEnded(t *testing.T) {
	const timeout = time.Second
	for _, tt := range []struct {
		name   string
		script string
		text   string // how what is said of it begins
		least  time.Duration
		most   time.Duration
	}{
		{"at the timeout", "sleep 300", "", timeout, timeout + killDelay},
		{"with what it has started", "sleep 300 & sh -c 'sleep 300 & sleep 300' & wait", "", timeout, timeout + killDelay},
		{"while stopped", "kill -STOP $$; sleep 300", "", timeout, timeout + killDelay},
		{"though it ignores SIGTERM", "trap '' TERM; sleep 300", "not done within 1s, killed after 3.", timeout + killDelay, timeout + 2*killDelay},
		{"and success is too late then", "trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done", "not done within 1s, ended after 1.", timeout, timeout + killDelay},
		{"and children that ignore SIGTERM with it", "sh -c \"trap '' TERM; sleep 300\" & sleep 300", "", timeout, timeout + killDelay},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestRunner(t)
			group := filepath.Join(t.TempDir(), "group")
			got := r.Run(t.Context(), shell("echo $$ >"+group+"; "+tt.script, timeout))
			// A busy host may take its time over ending a program that obeys.
			said := strings.HasPrefix(got.String(), tt.text)
			if tt.text == "" {
				said = got.String() == "timed out after 1s" || strings.HasPrefix(got.String(), "not done within 1s, ended after ")
			}
			if got.OK() || !got.TimedOut || got.Canceled || !said {
				t.Errorf("got %v: %+v", got, got)
			}
			if got.Duration < tt.least || got.Duration > tt.most {
				t.Errorf("it took %v, want %v to %v", got.Duration, tt.least, tt.most)
			}
			pid := readPID(t, group)
			eventually(t, "the group has ended", func() bool {
				return groupEnded(t, pid)
			})
		})
	}
}

// groupEnded reports whether no process but zombies is in a group.
func groupEnded(t *testing.T, group int) bool {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if f[2] == strconv.Itoa(group) && f[0] != "Z" {
			return false
		}
	}
	return true
}

func TestTheEndOfTheContextEndsAProgram(t *testing.T) {
	r := newTestRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "pid")
	done := make(chan Result, 1)
	go func() { done <- r.Run(ctx, shell("echo $$ >"+started+"; sleep 300", 0)) }()
	readPID(t, started)
	cancel()
	if got := <-done; got.OK() || !got.Canceled || got.TimedOut || !strings.HasPrefix(got.String(), "stopped after ") {
		t.Errorf("got %v: %+v", got, got)
	}
	if got := r.Run(ctx, shell("true", 0)); !got.Canceled || got.OK() {
		t.Errorf("with a context that had ended: %+v", got)
	}
}

func TestWhoHasGraceIsKilledSoonAfterTheContextHasEnded(t *testing.T) {
	const grace = 200 * time.Millisecond
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		until   func(started time.Time) time.Duration // when the context ends
	}{
		{"by the end of the context", time.Minute, func(time.Time) time.Duration { return 0 }},
		{"while it is given its time after the timeout", 100 * time.Millisecond, func(time.Time) time.Duration { return 300 * time.Millisecond }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestRunner(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			path := filepath.Join(t.TempDir(), "pid")
			s := shell("trap '' TERM; echo $$ >"+path+"; while :; do sleep 0.05; done", tt.timeout)
			s.Grace = grace
			done := make(chan Result, 1)
			go func() { done <- r.Run(ctx, s) }()
			readPID(t, path)
			wait := time.NewTimer(tt.until(time.Now()))
			<-wait.C
			begin := time.Now()
			cancel()
			got := <-done
			if got.OK() || got.Signal != syscall.SIGKILL {
				t.Errorf("got %v: %+v", got, got)
			}
			if took := time.Since(begin); took < grace || took >= killDelay {
				t.Errorf("it took %v, want some more than %v", took, grace)
			}
		})
	}
}

func TestWhatIsSaidOfAProgramThatWasNotDoneInTime(t *testing.T) {
	r := Result{Path: "/x", TimedOut: true, Timeout: time.Second, Exit: -1}
	for _, tt := range []struct {
		name string
		in   func(*Result)
		want string
	}{
		{"it obeys", func(r *Result) { r.Duration, r.Signal = 1003*time.Millisecond, syscall.SIGTERM }, "timed out after 1s"},
		{"it takes its time", func(r *Result) { r.Duration, r.Exit = 1500*time.Millisecond, 0 }, "not done within 1s, ended after 1.5s"},
		{"it does not obey", func(r *Result) { r.Duration, r.Signal = 3001*time.Millisecond, syscall.SIGKILL }, "not done within 1s, killed after 3.0s"},
		{"it cannot be killed", func(r *Result) { r.Duration, r.Lingering = 7*time.Second, make(chan struct{}) }, "timed out after 1s, cannot be killed"},
		{"its turn did not come", func(r *Result) { r.Path, r.Duration = "", 10*time.Second }, "not started within 10.0s, as many others were to be"},
	} {
		got := r
		tt.in(&got)
		if got.String() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got.String(), tt.want)
		}
	}
}

func TestAFloodOfOutputCostsNoMemory(t *testing.T) {
	r := newTestRunner(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	got := r.Run(t.Context(), shell("head -c 1073741824 /dev/zero; echo end", time.Minute))
	runtime.ReadMemStats(&after)
	if !got.OK() || !got.Truncated || !strings.HasSuffix(got.Output, "\x00end\n") {
		t.Errorf("got %v, %d octets", got, len(got.Output))
	}
	if after.HeapSys > before.HeapSys+16<<20 {
		t.Errorf("the heap has grown from %d to %d", before.HeapSys, after.HeapSys)
	}
}

func TestAFloodWithoutEndIsEndedAtTheTimeout(t *testing.T) {
	r := newTestRunner(t)
	got := r.Run(t.Context(), shell("cat /dev/zero & cat /dev/zero", 300*time.Millisecond))
	if !got.TimedOut || got.Duration > killDelay {
		t.Errorf("got %v", got)
	}
}

func TestChildrenThatHoldTheOutput(t *testing.T) {
	t.Run("do not delay the result, and may go on writing", func(t *testing.T) {
		r := newTestRunner(t)
		dir := t.TempDir()
		script := fmt.Sprintf(`cd %s; (trap 'touch pipe' PIPE; until [ -e go ]; do sleep 0.01; done
			for i in 1 2 3 4 5 6 7 8 9 10; do head -c 20000 /dev/zero; done; touch written; sleep 300) & echo $! >pid; echo done`, dir)
		got := r.Run(t.Context(), shell(script, 10*time.Second))
		if !got.OK() || !strings.HasSuffix(got.Output, "done\n") {
			t.Errorf("got %v with %q", got, got.Output)
		}
		pid := readPID(t, filepath.Join(dir, "pid"))
		if !alive(pid) {
			t.Fatal("what was left behind was ended")
		}
		if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the child has written more than a pipe holds", func() bool {
			_, err := os.Stat(filepath.Join(dir, "written"))
			return err == nil
		})
		if _, err := os.Stat(filepath.Join(dir, "pipe")); err == nil {
			t.Error("the child got SIGPIPE")
		}
		killGroup(t, pid)
	})
	t.Run("are read for up to a bound", func(t *testing.T) {
		r := newTestRunner(t)
		before := countDescriptors(t)
		dir := t.TempDir()
		var pids []int
		for i := range maxLeftovers + 20 {
			path := filepath.Join(dir, strconv.Itoa(i))
			if got := r.Run(t.Context(), shell("sleep 300 & echo $! >"+path, 10*time.Second)); !got.OK() {
				t.Fatalf("run %d: %v", i, got)
			}
			pids = append(pids, readPID(t, path))
		}
		eventually(t, "no more pipes are open", func() bool { return countDescriptors(t) <= before+maxLeftovers })
		if got := countDescriptors(t); got < before+maxLeftovers {
			t.Errorf("only %d pipes are open", got-before)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		eventually(t, "no pipe is open when nobody holds it", func() bool { return countDescriptors(t) <= before })
	})
}

// killGroup ends what a run has left behind.
func killGroup(t *testing.T, pid int) {
	t.Helper()
	group, err := syscall.Getpgid(pid)
	if err != nil {
		t.Fatal(err)
	}
	if group == syscall.Getpgrp() {
		t.Fatal("what was left behind is in the group of the test")
	}
	if err := syscall.Kill(-group, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestRunsLeaveNothingBehind(t *testing.T) {
	r := newTestRunner(t)
	run := func(n int) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if got := r.Run(t.Context(), shell("echo x", 10*time.Second)); !got.OK() || got.Output != "x\n" {
					t.Errorf("got %v, output %q", got, got.Output)
				}
			})
		}
		wg.Wait()
	}
	run(50)
	descriptors := countDescriptors(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 10 {
		run(50)
	}
	eventually(t, "no more descriptors than before", func() bool { return countDescriptors(t) <= descriptors })
	runtime.GC()
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc+1<<20 {
		t.Errorf("the heap has grown from %d to %d", before.HeapAlloc, after.HeapAlloc)
	}
	if got := children(t); len(got) != 0 {
		t.Errorf("children are left: %v", got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.children) != 0 || len(r.leftovers) != 0 {
		t.Errorf("the runner remembers %v and %v", r.children, r.leftovers)
	}
}

func TestWithoutPidfdsTheEndIsSeenAllTheSame(t *testing.T) {
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit 7"}, &syscall.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{pid: pid, dead: make(chan struct{})}
	p.watch(-1)
	<-p.dead
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 7 {
		t.Errorf("its exit status was taken: %v, %v", status.ExitStatus(), err)
	}
}

func TestWhatCannotBeExecutedIsNeverASuccess(t *testing.T) {
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		content string
		mode    os.FileMode
		reason  string // after the path
		hint    string // PATH stands for the path
	}{
		{"not executable", "#!/bin/sh\n", 0o644, "not executable", "chmod +x PATH"},
		{"empty", "", 0o755, "exec format error: the file is empty", ""},
		{"no interpreter line", "echo hello\n", 0o755, "exec format error: it does not begin with #! and an interpreter", "make #!/bin/sh its first line"},
		{"an interpreter that does not exist", "#!/no/such\n", 0o755, "its interpreter cannot be run: /no: does not exist", ""},
		{"an interpreter that is a directory", "#! /usr\n", 0o755, "its interpreter cannot be run: /usr: is a directory", ""},
		{"line ends of DOS", "#!/bin/sh\r\nexit 0\r\n", 0o755, "has DOS line ends, so that its interpreter /bin/sh is not found", `sed -i 's/\r$//' PATH`},
		{"a truncated binary", string(program[:100]), 0o755, "exec format error", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestRunner(t)
			path := file(t, "script", tt.content, tt.mode)
			s := &Spec{Argv: []string{path}, As: Own(), Timeout: 10 * time.Second}
			if s.As.UID != 0 && tt.mode == 0o644 {
				tt.reason += " for user " + s.As.String()
			}
			got := r.Run(t.Context(), s)
			if got.OK() || got.Problem == nil {
				t.Fatalf("got %+v", got)
			}
			hint := strings.ReplaceAll(tt.hint, "PATH", path)
			if got.String() != path+": "+tt.reason || got.Problem.Hint != hint || s.FailureHint(got) != hint {
				t.Errorf("got  %q (%s)\nwant %q (%s)", got, got.Problem.Hint, path+": "+tt.reason, hint)
			}
			// What shows without running it is the same.
			_, _, err := s.Inspect()
			if tt.name == "a truncated binary" {
				if err != nil {
					t.Errorf("Inspect sees what only the kernel knows: %v", err)
				}
			} else if p, ok := errors.AsType[*Problem](err); !ok || *p != *got.Problem {
				t.Errorf("Inspect: %v", err)
			}
		})
	}
}

func TestWhatIsNoProgram(t *testing.T) {
	r := newTestRunner(t)
	dir := openDir(t)
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{nil, "there is no command"},
		{[]string{""}, "there is no command"},
		{[]string{dir}, dir + ": is a directory"},
		{[]string{dir + "/a/b"}, dir + "/a: does not exist"},
		{[]string{"/bin/sh/x"}, "not a directory"},
		{[]string{"/dev/null"}, "/dev/null: not a regular file"},
		{[]string{"no-such-command"}, "no-such-command: not found in PATH ("},
		{[]string{"/bin/true", "a\x00b"}, "/bin/true: cannot be started: invalid argument"},
	} {
		got := r.Run(t.Context(), &Spec{Argv: tt.argv, As: Own()})
		if got.OK() || got.Problem == nil || !strings.Contains(got.String(), tt.want) {
			t.Errorf("%q: got %v, want %s", tt.argv, got, tt.want)
		}
	}
}

func TestAScriptThatIsDeletedWhileItRuns(t *testing.T) {
	r := newTestRunner(t)
	path := file(t, "script", "#!/bin/sh\nrm -- \"$0\"\necho deleted\n", 0o755)
	s := &Spec{Argv: []string{path}, As: Own(), Timeout: 10 * time.Second}
	if got := r.Run(t.Context(), s); !got.OK() || got.Output != "deleted\n" {
		t.Errorf("the run: %v, %q", got, got.Output)
	}
	if got := r.Run(t.Context(), s); got.OK() || got.String() != path+": does not exist" {
		t.Errorf("the next run: %v", got)
	}
}

func TestAScriptThatIsBeingWritten(t *testing.T) {
	r := newTestRunner(t)
	path := file(t, "script", "#!/bin/sh\n", 0o755)
	s := &Spec{Argv: []string{path}, As: Own(), Timeout: 10 * time.Second}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Run(t.Context(), s); got.OK() || got.String() != path+": cannot be started: text file busy" {
		t.Errorf("with a writer: %v", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.Run(t.Context(), s); !got.OK() {
		t.Errorf("without one: %v", got)
	}
}

func TestANameIsFoundInPATH(t *testing.T) {
	r := newTestRunner(t)
	dir, second := openDir(t), openDir(t)
	for _, d := range []string{dir, second} {
		mode := os.FileMode(0o755)
		if d == dir {
			mode = 0o644
		}
		if err := os.WriteFile(d+"/probe", []byte("#!/bin/sh\necho \"$0 $1\"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	s := &Spec{Argv: []string{"probe", "x"}, As: Own()}
	t.Setenv("PATH", "relative:"+dir+":"+second)
	if got := r.Run(t.Context(), s); got.Output != second+"/probe x\n" || got.Path != second+"/probe" {
		t.Errorf("got %v: %+v", got, got)
	}
	if path, _, err := s.Inspect(); err != nil || path != second+"/probe" {
		t.Errorf("Inspect: %s, %v", path, err)
	}
	t.Setenv("PATH", dir)
	if got := r.Run(t.Context(), s); got.OK() || !strings.HasPrefix(got.String(), dir+"/probe: not executable") {
		t.Errorf("got %v", got)
	}
	if err := os.Unsetenv("PATH"); err != nil {
		t.Fatal(err)
	}
	s.Argv = []string{"true"}
	if got := r.Run(t.Context(), s); !got.OK() {
		t.Errorf("without PATH: %v", got)
	}
}

func TestWhenAStartHangsOthersAreStillRun(t *testing.T) {
	needRoot(t)
	path := file(t, "script", "#!/bin/sh\n", 0o755)
	// The kernel asks us before it opens the file, and waits.
	guard, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err == nil {
		err = unix.FanotifyMark(guard, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path)
	}
	if err != nil {
		unavailable(t, "fanotify: "+err.Error())
	}
	release := sync.OnceFunc(func() { _ = unix.Close(guard) }) // allows it
	defer release()

	r := newTestRunner(t)
	defer release() // before the runner is looked at

	hung := r.Run(t.Context(), &Spec{Argv: []string{path}, As: Own(), Timeout: 100 * time.Millisecond})
	if hung.OK() || !hung.TimedOut || hung.Lingering == nil || hung.Duration > patience || !strings.HasSuffix(hung.String(), ", cannot be killed") {
		t.Errorf("got %v: %+v", hung, hung)
	}
	if got := r.Run(t.Context(), shell("echo x", 2*patience)); !got.OK() {
		t.Errorf("another program: %v", got)
	}
	// Nor is the runtime held up, which needs all threads for this.
	runtime.GC()
	select {
	case <-hung.Lingering:
		t.Error("the program that hangs has ended")
	default:
	}
	release()
	<-hung.Lingering
}

func helpRealTime() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	r := NewRunner(slog.New(slog.DiscardHandler))
	defer r.Close()
	// After the runner has made its thread, as a reload might.
	for range 2 {
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				return err
			}
			attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
			if err := unix.SchedSetAttr(tid, &attr, 0); err != nil {
				return err
			}
		}
		if tasks, err = os.ReadDir("/proc/self/task"); err != nil {
			return err
		}
	}
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	got := r.Run(context.Background(), &Spec{Argv: []string{"/bin/cat", "/proc/self/stat"}, As: Own(), Timeout: 10 * time.Second})
	if !got.OK() {
		return errors.New(got.String())
	}
	fmt.Println(scheduling(string(own)), scheduling(got.Output))
	return nil
}

// scheduling returns nice value and policy of a process.
func scheduling(stat string) string {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return f[16] + " " + f[38]
}

func TestAProgramOfARealTimeDaemonIsNotRealTime(t *testing.T) {
	needRoot(t)
	out, err := helper(t, "real time").CombinedOutput()
	if err != nil {
		unavailable(t, fmt.Sprintf("SCHED_RR: %v: %s", err, out))
	}
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	// The daemon keeps the nice value that it was started with.
	nice, _, _ := strings.Cut(scheduling(string(own)), " ")
	if want := nice + " 2 0 0\n"; string(out) != want {
		t.Errorf("nice and policy of the daemon and of the program: %q, want %q", out, want)
	}
}

func helpVictim() error {
	r := NewRunner(slog.New(slog.DiscardHandler))
	r.Run(context.Background(), shell("echo $$ >"+os.Args[1]+"; exec sleep 300", 0))
	return errors.New("the program has ended")
}

func TestProgramsEndWhenTheDaemonIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	daemon := helper(t, "victim", path)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	pid := readPID(t, path)
	if !alive(pid) {
		t.Fatal("the program does not run")
	}
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	eventually(t, "the program has ended", func() bool { return !alive(pid) })
}
