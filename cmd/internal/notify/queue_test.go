package notify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vipd/checks/command"
)

// A fakeRunner runs programs that only take time. What they do is in their
// first word: "name" ends at once, "name:5s" after 5 s, "name:5s:3" with exit
// code 3.
type fakeRunner struct {
	start time.Time

	mu     sync.Mutex
	events []string
	specs  []command.Spec
}

func newFakeRunner() *fakeRunner { return &fakeRunner{start: time.Now()} }

func (f *fakeRunner) note(what string, s *command.Spec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name, _, _ := strings.Cut(strings.Join(s.Argv, " "), ":")
	f.events = append(f.events, fmt.Sprintf("%v %s %s", time.Since(f.start), what, name))
	if what == "start" {
		f.specs = append(f.specs, *s)
	}
}

// Run implements runner.
func (f *fakeRunner) Run(ctx context.Context, s *command.Spec) command.Result {
	f.note("start", s)
	r := command.Result{Path: s.Argv[0], Started: time.Now()}
	parts := strings.Split(s.Argv[0], ":")
	var takes time.Duration
	if len(parts) > 1 {
		takes, _ = time.ParseDuration(parts[1])
	}
	var timeout <-chan time.Time
	if s.Timeout > 0 {
		timeout = time.After(s.Timeout)
	}
	select {
	case <-timeout:
		r.TimedOut, r.Exit, r.Signal = true, -1, syscall.SIGKILL
		f.note("kill", s)
	case <-time.After(takes):
		if len(parts) > 2 {
			_, _ = fmt.Sscan(parts[2], &r.Exit)
			r.Output = "it went wrong\n"
		}
		f.note("end", s)
	case <-ctx.Done():
		r.Canceled, r.Exit, r.Signal = true, -1, syscall.SIGTERM
		f.note("kill", s)
	}
	r.Duration = time.Since(r.Started)
	return r
}

// trace returns what has happened, with the time since the beginning.
func (f *fakeRunner) trace() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.events, "\n")
}

// lines is for expected traces.
func lines(l ...string) string { return strings.Join(l, "\n") }

// plain returns a script without arguments.
func plain(word string) Script { return Script{Spec: command.Spec{Argv: []string{word}}} }

// state returns an event of instance VI_1 with the scripts given.
func state(s string, words ...string) Event {
	e := Event{Name: "VI_1", State: s, Priority: 100}
	for _, w := range words {
		e.Scripts = append(e.Scripts, plain(w))
	}
	return e
}

// want compares a trace.
func want(t *testing.T, f *fakeRunner, expected ...string) {
	t.Helper()
	synctest.Wait()
	if got := f.trace(); got != lines(expected...) {
		t.Errorf("got:\n%s\nwant:\n%s", got, lines(expected...))
	}
}

// outline returns a history in short: state, first word, and what became of it.
func outline(records []Record) []string {
	var all []string
	for _, r := range records {
		name, _, _ := strings.Cut(r.Argv[0], ":")
		what := fmt.Sprintf("exit %d", r.Exit)
		switch {
		case r.Skipped:
			what = "skipped"
		case r.Running:
			what = "running"
		}
		if r.Overdue {
			what = "overdue, " + what
		}
		all = append(all, r.State+" "+name+" "+what)
	}
	return all
}

func wantHistory(t *testing.T, n *Notifier, expected ...string) {
	t.Helper()
	synctest.Wait()
	if got := outline(n.History(false, "VI_1")); !slices.Equal(got, expected) {
		t.Errorf("history:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(expected, "\n"))
	}
}

// queues runs a test in virtual time. As nothing is closed at the end unless the
// test does it, it also shows that no goroutine is left when nothing is to do.
func queues(t *testing.T, test func(t *testing.T, n *Notifier, f *fakeRunner, log *logBuffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		logger, buf := newLog(t)
		f := newFakeRunner()
		test(t, newNotifier(Config{Log: logger, Timeout: 30 * time.Second}, f), f, buf)
	})
}

func TestTheSpecificScriptRunsBeforeTheGenericOneAndEventsInTheirOrder(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		any := Script{Spec: command.Spec{Argv: []string{"any:2s", "fixed arg"}, Env: []string{"A=1"}}, Arguments: true}
		e := state("BACKUP", "backup:3s")
		e.Scripts = append(e.Scripts, any)
		e.Env = []string{"VIPD_TO=BACKUP"}
		n.Notify(e)
		time.Sleep(1500 * time.Millisecond)
		e = state("MASTER", "master:1s")
		e.Scripts = append(e.Scripts, any)
		n.Notify(e)
		n.Notify(Event{Group: true, Name: "SG_1", State: "MASTER", Scripts: []Script{any}})
		time.Sleep(time.Minute)
		want(t, f,
			"0s start backup",
			"1.5s start any", // of the group, which does not wait for the instance
			"3s end backup",
			"3s start any",
			"3.5s end any",
			"5s end any",
			"5s start master",
			"6s end master",
			"6s start any",
			"8s end any",
		)
		var got []string
		for _, s := range f.specs {
			got = append(got, fmt.Sprintf("%q %q", s.Argv, s.Env))
		}
		expected := []string{
			`["backup:3s"] ["VIPD_TO=BACKUP"]`,
			`["any:2s" "fixed arg" "GROUP" "SG_1" "MASTER" "0"] ["A=1"]`,
			`["any:2s" "fixed arg" "INSTANCE" "VI_1" "BACKUP" "100"] ["A=1" "VIPD_TO=BACKUP"]`,
			`["master:1s"] []`,
			`["any:2s" "fixed arg" "INSTANCE" "VI_1" "MASTER" "100"] ["A=1"]`,
		}
		if !slices.Equal(got, expected) {
			t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(expected, "\n"))
		}
	})
}

func TestStatesThatPileUpAreSkippedButNeverTheLast(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, log *logBuffer) {
		n.Notify(state("BACKUP", "first:10s"))
		synctest.Wait()
		for _, s := range []string{"MASTER", "FAULT", "BACKUP", "MASTER"} {
			n.Notify(state(s, strings.ToLower(s)+":1s"))
		}
		time.Sleep(time.Minute)
		want(t, f, "0s start first", "10s end first", "10s start master", "11s end master")
		wantHistory(t, n,
			"BACKUP first exit 0", "MASTER master skipped", "FAULT fault skipped", "BACKUP backup skipped", "MASTER master exit 0")
		if got := log.count("level=INFO", "skipped", "instance=VI_1"); got != 3 {
			t.Errorf("%d lines about skipped scripts, want 3", got)
		}
	})
}

func TestAStateThatWaitsForNothingIsNotSkipped(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("BACKUP", "backup"))
		n.Notify(state("MASTER", "master"))
		want(t, f, "0s start backup", "0s end backup", "0s start master", "0s end master")
	})
}

func TestAStateWithoutScriptsMakesTheOneThatWaitsPointless(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("FAULT", "fault:10s"))
		synctest.Wait()
		n.Notify(state("MASTER", "promote"))
		n.Notify(state("BACKUP"))
		time.Sleep(time.Minute)
		want(t, f, "0s start fault", "10s end fault")
		wantHistory(t, n, "FAULT fault exit 0", "MASTER promote skipped")
	})
}

func TestAMasterThatHearsLowerPrioritiesAllTheTimeHasOneScriptWaiting(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("MASTER", "master:5s"))
		for range 100 {
			n.Notify(state("MASTER_RX_LOWER_PRI", "lower:1s"))
		}
		n.Notify(state("BACKUP", "backup"))
		time.Sleep(time.Minute)
		// It is not a state: no state makes it pointless, and it makes none so.
		want(t, f, "0s start master", "5s end master", "5s start lower", "6s end lower", "6s start backup", "6s end backup")
		if got := len(n.History(false, "VI_1")); got != 3 {
			t.Errorf("%d records, want 3", got)
		}
	})
}

func TestAChangeOfPriorityRunsNoScript(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("MASTER_PRIORITY", "no"))
		n.Notify(state("BACKUP_PRIORITY", "no"))
		want(t, f)
	})
}

func TestAScriptOverTheTimeoutHoldsUpNothingAndIsLeftRunning(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, log *logBuffer) {
		n.Notify(state("MASTER", "slow:100s:3", "any:1s"))
		n.Notify(state("BACKUP", "backup:1s"))
		time.Sleep(50 * time.Second)
		want(t, f, "0s start slow", "30s start any", "31s end any", "31s start backup", "32s end backup")
		wantHistory(t, n, "MASTER slow overdue, running", "MASTER any exit 0", "BACKUP backup exit 0")
		if got := log.count("level=WARN", "has not ended in time", "slow:100s", "after=30s"); got != 1 {
			t.Errorf("%d lines about the slow script, want 1", got)
		}
		time.Sleep(time.Minute)
		wantHistory(t, n, "MASTER slow overdue, exit 3", "MASTER any exit 0", "BACKUP backup exit 0")
		if r := n.History(false, "VI_1")[0]; r.Duration != 100*time.Second || r.Output != "it went wrong" || r.Detail == "" {
			t.Errorf("the record of the slow script is %+v", r)
		}
		if got := log.count("level=WARN", "failed", "slow:100s", "it went wrong"); got != 1 {
			t.Errorf("%d lines about the failure, want 1", got)
		}
	})
}

func TestOfTooManyScriptsThatDoNotEndTheOldestIsEnded(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, log *logBuffer) {
		for i := range maxOverdue + 2 {
			n.Notify(state("MASTER", fmt.Sprintf("hang%d:1h", i)))
			time.Sleep(31 * time.Second)
		}
		synctest.Wait()
		got := strings.Count(f.trace(), "kill")
		if got != 2 || !strings.Contains(f.trace(), "kill hang0\n") || !strings.Contains(f.trace(), "kill hang1\n") && !strings.HasSuffix(f.trace(), "kill hang1") {
			t.Errorf("trace:\n%s\nwant hang0 and hang1 killed, and no other", f.trace())
		}
		if got := log.count("too many notify scripts", "hang0"); got != 1 {
			t.Errorf("%d lines about hang0, want 1", got)
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestStopOvertakesWhatWaitsAndDoesNotWaitForWhatRuns(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("MASTER", "master:10s", "any"))
		synctest.Wait()
		n.Notify(state("MASTER_RX_LOWER_PRI", "lower"))
		n.Notify(state("FAULT", "fault"))
		time.Sleep(time.Second)
		n.Notify(state("STOP", "stop:200ms", "any-stop"))
		time.Sleep(time.Minute)
		want(t, f,
			"0s start master",
			"1s start stop", "1.2s end stop", "1.2s start any-stop", "1.2s end any-stop",
			"10s end master")
		wantHistory(t, n,
			"MASTER master exit 0", "MASTER_RX_LOWER_PRI lower skipped", "FAULT fault skipped",
			"STOP stop exit 0", "STOP any-stop exit 0", "MASTER any skipped")
	})
}

func TestAllScriptsOfStopRunAndHaveOneSecondTogether(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("STOP", "hang:1h", "any:300ms"))
		time.Sleep(time.Minute)
		want(t, f, "0s start hang", "500ms start any", "800ms end any", "1s kill hang")
		wantHistory(t, n, "STOP hang exit -1", "STOP any exit 0")
	})
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("STOP", "hang:1h", "too:1h"))
		time.Sleep(time.Minute)
		got := strings.Split(f.trace(), "\n")
		slices.Sort(got) // both are killed at the same time
		if w := []string{"0s start hang", "1s kill hang", "1s kill too", "500ms start too"}; !slices.Equal(got, w) {
			t.Errorf("got %q, want %q", got, w)
		}
	})
}

func TestWhatComesAfterStopWaitsForIt(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("DELETED", "deleted:700ms"))
		n.Notify(state("BACKUP", "backup"))
		n.Notify(state("STOP", "stop"))
		n.Notify(state("MASTER", "master"))
		time.Sleep(time.Minute)
		want(t, f, "0s start deleted", "700ms end deleted", "700ms start stop", "700ms end stop", "700ms start master", "700ms end master")
		wantHistory(t, n, "BACKUP backup skipped", "DELETED deleted exit 0", "STOP stop exit 0", "MASTER master exit 0")
	})
}

func TestCloseWaitsForStopButNotForScriptsThatAreOverdue(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("MASTER", "hang:1h"))
		time.Sleep(40 * time.Second)
		n.Notify(state("STOP", "stop:800ms"))
		start := time.Now()
		n.Close(within(t, 5*time.Second))
		if got := time.Since(start); got != 800*time.Millisecond {
			t.Errorf("Close took %v", got)
		}
		n.Notify(state("MASTER", "late"))
		n.Close(t.Context())
		want(t, f, "0s start hang", "40s start stop", "40.8s end stop", "40.8s kill hang")
	})
}

func TestCloseGivesUpWhatRunsWhenItsTimeIsOver(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		n.Notify(state("MASTER", "slow:10s", "any"))
		synctest.Wait()
		n.Notify(state("BACKUP", "backup"))
		start := time.Now()
		n.Close(within(t, 3*time.Second))
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("Close took %v", got)
		}
		want(t, f, "0s start slow", "3s kill slow")
		wantHistory(t, n, "MASTER slow exit -1", "MASTER any skipped", "BACKUP backup skipped")
	})
}

func TestHistoryIsBoundedAndForgottenOnRequestOnly(t *testing.T) {
	queues(t, func(t *testing.T, n *Notifier, f *fakeRunner, _ *logBuffer) {
		for i := range 3 * maxRecords {
			n.Notify(state("MASTER", fmt.Sprintf("s%d", i)))
			synctest.Wait()
		}
		h := n.History(false, "VI_1")
		if len(h) != maxRecords || h[len(h)-1].Argv[0] != fmt.Sprintf("s%d", 3*maxRecords-1) {
			t.Errorf("history: %v", outline(h))
		}
		n.Retain([]string{"VI_1"}, nil)
		if got := len(n.History(false, "VI_1")); got != maxRecords {
			t.Errorf("%d records after Retain, want %d", got, maxRecords)
		}
		if n.History(true, "VI_1") != nil {
			t.Error("a group has the history of the instance of its name")
		}
		n.Retain(nil, []string{"VI_1"})
		if got := n.History(false, "VI_1"); got != nil {
			t.Errorf("%v is left of an instance that is gone", outline(got))
		}
	})
}

func TestNotifyMayBeCalledFromManyGoroutines(t *testing.T) {
	logger, _ := newLog(t)
	f := newFakeRunner()
	n := newNotifier(Config{Log: logger}, f)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			name := fmt.Sprintf("VI_%d", i)
			for j := range 20 {
				n.Notify(Event{Name: name, State: "MASTER", Scripts: []Script{plain(fmt.Sprintf("%s/%d", name, j))}})
				n.History(false, name)
				n.Notify(Event{Name: name, State: "MASTER_RX_LOWER_PRI", Scripts: []Script{plain(name + "/lower")}})
			}
			n.Notify(Event{Name: name, State: "STOP", Scripts: []Script{plain(name + "/stop")}})
		})
	}
	all.Wait()
	n.Close(within(t, 20*time.Second))

	f.mu.Lock()
	defer f.mu.Unlock()
	last := map[string]int{}
	stopped := 0
	for _, s := range f.specs {
		name, what, _ := strings.Cut(s.Argv[0], "/")
		var i int
		switch what {
		case "lower":
			continue
		case "stop":
			// It may run beside the one before it.
			stopped++
			continue
		default:
			if _, err := fmt.Sscan(what, &i); err != nil {
				t.Fatal(err)
			}
		}
		if before, ok := last[name]; ok && before >= i {
			t.Errorf("%s: %d started after %d", name, i, before)
		}
		last[name] = i
	}
	if stopped != 50 {
		t.Errorf("%d of 50 have been told to stop", stopped)
	}
}
