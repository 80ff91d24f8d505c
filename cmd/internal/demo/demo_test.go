package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

func TestMain(m *testing.M) { rig.Main(m) }

// options are those of a demonstration that takes a few seconds.
func options(t *testing.T) Options {
	t.Helper()
	netiftest.Require(t)
	return Options{AdvertInterval: "0.1", Version: 3, High: 150, Low: 100, Preempt: true, Program: rig.BuildVIPD(t), Out: &bytes.Buffer{}}
}

// leavesNothing runs f and then looks for files and processes of
// demonstrations.
func leavesNothing(t *testing.T, f func()) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v %v", left, err)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(commands) == 0 {
		t.Fatalf("no processes found: %v", err)
	}
	for _, file := range commands {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), dir) {
			t.Errorf("a process is left: %q", b)
		}
	}
}

func TestADemonstrationMeasuresWhatTheProtocolPromises(t *testing.T) {
	leavesNothing(t, func() { t.Run("each", measuresWhatTheProtocolPromises) })
}

func measuresWhatTheProtocolPromises(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Options)
	}{
		{"with preemption", func(*Options) {}},
		{"without preemption", func(o *Options) { o.Preempt = false }},
		{"with IPv6", func(o *Options) { o.IPv6 = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			c.edit(&o)
			result, err := Run(t.Context(), o)
			if err != nil {
				t.Fatalf("%v\n%s", err, o.Out)
			}
			if len(result.Events) != 4 {
				t.Fatalf("%d events, want 4", len(result.Events))
			}
			const slack = 3 * time.Second // of a busy machine
			for _, e := range result.Events {
				if gap, bound := e.Gap.Duration(), e.Bound.Duration(); gap > bound+slack || bound > 0 && gap < bound/4 {
					t.Errorf("%s: the client had no answer for %s, by the rule it is %s", e.Name, gap, bound)
				}
				if e.Reason == "" || !strings.Contains(o.Out.(*bytes.Buffer).String(), e.Reason) {
					t.Errorf("%s: the reason %q is not shown", e.Name, e.Reason)
				}
			}
			want := []string{"r1", "r2", "r1", "r2"}
			if !o.Preempt {
				want = []string{"r1", "r2", "r2", "r1"}
			}
			for i, e := range result.Events {
				if e.Master != want[i] {
					t.Errorf("after %s the master is %s, want %s", e.Name, e.Master, want[i])
				}
			}
		})
	}
}

// A trigger is a writer that calls a function at the first line with a word.
type trigger struct {
	word string
	once sync.Once
	call func()
}

func (w *trigger) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.word)) {
		w.once.Do(w.call)
	}
	return len(p), nil
}

func TestAnInterruptedDemonstrationLeavesNothing(t *testing.T) {
	leavesNothing(t, func() { t.Run("each", endsWhenItIsInterrupted) })
}

func endsWhenItIsInterrupted(t *testing.T) {
	for _, moment := range []string{"START", "POWER CUT", "RETURN", "PLANNED STOP"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := options(t)
			o.Out = &trigger{word: moment, call: cancel}
			if _, err := Run(ctx, o); !errors.Is(err, ErrInterrupted) {
				t.Errorf("the error is %v, want %v", err, ErrInterrupted)
			}
		})
	}
}

func TestPrioritiesThatMakeNoDemonstrationAreRefused(t *testing.T) {
	for _, o := range []Options{{High: 100, Low: 100}, {High: 255, Low: 100}, {High: 100, Low: 0}} {
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--priority-high") {
			t.Errorf("priorities %d and %d: %v", o.High, o.Low, err)
		}
	}
}
