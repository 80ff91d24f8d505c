package checks

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vipd/checks/command"
)

// A fakeRun is how long a program takes and what comes of it.
type fakeRun struct {
	takes  time.Duration
	result command.Result
}

// trackFake runs a script whose programs are fakes, the last one again and again,
// for a time, and returns what it reported, and when programs were started. It
// belongs in a bubble.
func trackFake(t *testing.T, c ScriptConfig, length time.Duration, runs ...fakeRun) (reports []Report, starts []time.Duration) {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	run := func(ctx context.Context, spec *command.Spec) command.Result {
		if spec.Timeout != c.Timeout {
			t.Errorf("the timeout is %v, want %v", spec.Timeout, c.Timeout)
		}
		next := runs[min(len(starts), len(runs)-1)]
		starts = append(starts, time.Since(begin))
		res := next.result
		res.Started = time.Now()
		select {
		case <-time.After(next.takes):
		case <-ctx.Done():
			res.Canceled = true
		}
		res.Duration = time.Since(res.Started)
		return res
	}
	newScript(run, c).Run(ctx, func(r Report) { reports = append(reports, r) })
	return reports, starts
}

func everySecond() ScriptConfig {
	return ScriptConfig{Interval: time.Second, Timeout: 3 * time.Second, Rise: 1, Fall: 1}
}

func TestAScriptIsRunAtOnceAndThenEveryIntervalWithoutDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports, starts := trackFake(t, everySecond(), 4500*time.Millisecond, fakeRun{takes: 300 * time.Millisecond})
		want := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}
		if !slices.Equal(starts, want) {
			t.Errorf("it was run after %v, want %v", starts, want)
		}
		if len(reports) != 5 {
			t.Fatalf("got %d reports, want 5", len(reports))
		}
		last := reports[4]
		if last.State != Up || last.Runs != 5 || last.Failures != 0 || last.Skipped != 0 || last.Streak != 5 || last.Last == nil || !last.Last.OK || last.Last.Duration != 300*time.Millisecond {
			t.Errorf("got %+v", last)
		}
		if !last.Since.Equal(reports[0].Since) {
			t.Error("Since has changed without the state")
		}
	})
}

func TestAScriptThatStillRunsIsNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports, starts := trackFake(t, everySecond(), 7500*time.Millisecond, fakeRun{takes: 2500 * time.Millisecond})
		if want := []time.Duration{0, 3 * time.Second, 6 * time.Second}; !slices.Equal(starts, want) {
			t.Errorf("it was run after %v, want %v", starts, want)
		}
		// The third run was told to end, which is no result.
		if len(reports) != 2 || reports[1].Skipped != 4 || reports[1].Runs != 2 {
			t.Errorf("got %+v", reports)
		}
	})
}

func TestResultsOfScriptsCountByRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := everySecond()
		c.Rise, c.Fall = 2, 3
		bad, good := fakeRun{result: command.Result{Exit: 1}}, fakeRun{}
		reports, _ := trackFake(t, c, 7500*time.Millisecond, good, bad, bad, bad, good, good, bad, good)
		var states []State
		var streaks []int
		for _, r := range reports {
			states = append(states, r.State)
			streaks = append(streaks, r.Streak)
		}
		if want := []State{Up, Up, Up, Down, Down, Up, Up, Up}; !slices.Equal(states, want) {
			t.Errorf("the states are %v, want %v", states, want)
		}
		if want := []int{1, 1, 2, 3, 1, 2, 1, 1}; !slices.Equal(streaks, want) {
			t.Errorf("the streaks are %v, want %v", streaks, want)
		}
		if got := reports[5].Since.Sub(reports[0].Since); got != 5*time.Second {
			t.Errorf("up again after %v", got)
		}
		if got := reports[3].Detail; got != "exit code 1" {
			t.Errorf("the detail is %q", got)
		}
	})
}

func TestATimeoutIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports, _ := trackFake(t, everySecond(), 500*time.Millisecond, fakeRun{takes: 300 * time.Millisecond, result: command.Result{TimedOut: true}})
		if len(reports) != 1 || reports[0].State != Down || reports[0].Failures != 1 || reports[0].Timeouts != 1 || reports[0].Detail != "timed out after 300ms" {
			t.Errorf("got %+v", reports)
		}
	})
}

func TestARunThatCannotBeEndedHasFailedAndIsNotDoubled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		time.AfterFunc(5500*time.Millisecond, func() { close(ended) })
		reports, starts := trackFake(t, everySecond(), 6500*time.Millisecond,
			fakeRun{takes: 1500 * time.Millisecond, result: command.Result{TimedOut: true, Lingering: ended}}, fakeRun{})
		if want := []time.Duration{0, 6 * time.Second}; !slices.Equal(starts, want) {
			t.Errorf("it was run after %v, want %v", starts, want)
		}
		if len(reports) != 2 || reports[0].State != Down || reports[0].Detail != "timed out after 1.5s, cannot be killed" || reports[1].State != Up || reports[1].Skipped != 5 {
			t.Errorf("got %+v", reports)
		}
		// One that never ends does not keep Run from returning.
		reports, _ = trackFake(t, everySecond(), 6500*time.Millisecond, fakeRun{result: command.Result{TimedOut: true, Lingering: make(chan struct{})}})
		if len(reports) != 1 {
			t.Errorf("got %+v", reports)
		}
	})
}

func TestAScriptThatCannotBeRun(t *testing.T) {
	problem := fakeRun{result: command.Result{Exit: -1, Problem: &command.Problem{Path: "/x", Reason: "not executable", Hint: "chmod +x /x"}}}
	good, bad := fakeRun{}, fakeRun{result: command.Result{Exit: 1}}
	for _, tt := range []struct {
		name   string
		ignore bool
		want   []State
	}{
		{"counts as failed", false, []State{Up, Up, Down, Down, Up, Up}},
		{"counts for nothing if that is wanted, and its next result decides at once", true, []State{Up, Ignored, Ignored, Down, Down, Up}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := everySecond()
				c.Rise, c.Fall, c.IgnoreUnrunnable = 2, 2, tt.ignore
				runs := []fakeRun{good, problem, problem, good, good, bad}
				if tt.ignore {
					runs = []fakeRun{good, problem, problem, bad, good, good}
				}
				reports, _ := trackFake(t, c, 5500*time.Millisecond, runs...)
				var got []State
				for _, r := range reports {
					got = append(got, r.State)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				if r := reports[1]; r.Unrunnable != "/x: not executable" || r.Hint != "chmod +x /x" || r.Failures != 1 {
					t.Errorf("got %+v", r)
				}
				if r := reports[4]; r.Unrunnable != "" || r.Hint != "" {
					t.Errorf("it can be run again, and the report says %q", r.Unrunnable)
				}
			})
		})
	}
}

func newRunner(t *testing.T) *command.Runner {
	t.Helper()
	r := command.NewRunner(slog.New(slog.DiscardHandler))
	t.Cleanup(r.Close)
	return r
}

func writeScript(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAScriptFollowsWhatItsProgramSees(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "flag")
	s := NewScript(newRunner(t), ScriptConfig{
		Spec:     command.Spec{Argv: []string{writeScript(t, "echo looking; test -e "+flag+"\n")}, As: command.Own()},
		Interval: 20 * time.Millisecond, Timeout: 10 * time.Second, Rise: 1, Fall: 2,
	})
	rec := record(t, s)
	first := rec.until("there is a result", func(Report) bool { return true })
	if first.State != Down || first.Last.Exit != 1 || first.Last.Output != "looking\n" || first.Runs != 1 {
		t.Errorf("got %+v, %+v", first, first.Last)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rec.until("it is up", func(r Report) bool { return r.State == Up })
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	down := rec.until("it is down", func(r Report) bool { return r.State == Down })
	if down.Streak < 2 {
		t.Errorf("it went down after %d failures", down.Streak)
	}
	if a, res := s.Once(t.Context()); a.OK || a.Exit != 1 || a.Detail != "exit code 1" || res.Exit != 1 {
		t.Errorf("by itself: %+v, %+v", a, res)
	}
}

func TestHostileScriptsHarmOnlyTheirOwnVerdict(t *testing.T) {
	r := newRunner(t)
	script := func(body string, timeout time.Duration) ScriptConfig {
		return ScriptConfig{
			Spec:     command.Spec{Argv: []string{writeScript(t, body)}, As: command.Own()},
			Interval: 50 * time.Millisecond, Timeout: timeout, Rise: 1, Fall: 1,
		}
	}
	// One that behaves keeps to its schedule beside all the others.
	good := record(t, NewScript(r, script("exit 0\n", 10*time.Second)))
	for _, tt := range []struct {
		name   string
		c      ScriptConfig
		state  State
		detail string
	}{
		{"hangs", script("sleep 300\n", 100*time.Millisecond), Down, "timed out after"},
		{"hangs with children", script("sleep 300 & (sleep 300 & sleep 300) & wait\n", 100*time.Millisecond), Down, "timed out after"},
		{"ignores SIGTERM", script("trap '' TERM\nwhile :; do sleep 1; done\n", 100*time.Millisecond), Down, "not done within 100ms, killed after 2."},
		{"floods its output", script("head -c 268435456 /dev/zero\n", 30*time.Second), Up, "exit code 0"},
		{"floods for ever", script("cat /dev/zero\n", 100*time.Millisecond), Down, "timed out after"},
		{"deletes itself", script("rm -- \"$0\"\n", 10*time.Second), Down, "does not exist"},
		{"has no first line", func() ScriptConfig {
			c := script("", 10*time.Second)
			if err := os.WriteFile(c.Spec.Argv[0], []byte("exit 0\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			return c
		}(), Down, "exec format error"},
		{"crashes", script("kill -SEGV $$\n", 10*time.Second), Down, "killed by SIGSEGV"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := record(t, NewScript(r, tt.c))
			got := rec.until("the verdict is as wanted", func(r Report) bool {
				return r.State == tt.state && strings.Contains(r.Detail, tt.detail)
			})
			if got.Last == nil || got.Last.OK != (tt.state == Up) {
				t.Errorf("got %+v", got)
			}
		})
	}
	before := good.until("there is a report", func(Report) bool { return true }).Runs
	after := good.until("it has run more", func(r Report) bool { return r.Runs > before+5 })
	if after.State != Up || after.Failures != 0 {
		t.Errorf("the script that behaves: %+v", after)
	}
}

func TestTheEndOfTheContextEndsARunningScript(t *testing.T) {
	for name, body := range map[string]string{
		"that obeys":           "echo $$ >%s\nexec sleep 300\n",
		"that ignores SIGTERM": "trap '' TERM\necho $$ >%s\nwhile :; do sleep 0.05; done\n",
	} {
		t.Run(name, func(t *testing.T) { testEndOfScript(t, body) })
	}
}

// testEndOfScript ends a script that writes its number to a file.
func testEndOfScript(t *testing.T, body string) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	body = fmt.Sprintf(body, pidFile)
	s := NewScript(newRunner(t), ScriptConfig{
		Spec:     command.Spec{Argv: []string{writeScript(t, body)}, As: command.Own()},
		Interval: time.Second, Timeout: time.Minute, Rise: 1, Fall: 1,
	})
	rec := record(t, s)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(patience); ; <-tick.C {
		if b, err := os.ReadFile(pidFile); err == nil && len(b) > 1 {
			break
		}
		if time.Now().After(late) {
			t.Fatal("the script was not started")
		}
	}
	begin := time.Now()
	rec.stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.reports) != 0 {
		t.Errorf("its end was reported: %+v", <-rec.reports)
	}
	// On a busy machine the end can come before the runner knows that it has
	// started the script, which is then ended after it.
	process := "/proc/" + strings.TrimSpace(string(b))
	for late := time.Now().Add(patience); ; <-tick.C {
		if _, err := os.Stat(process); err != nil {
			break // not even a zombie
		}
		if time.Now().After(late) {
			t.Fatalf("process %s is left", b)
		}
	}
}
