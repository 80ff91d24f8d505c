package checks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vipd/checks/command"
)

// A scripted Prober takes as long and ends as it is told.
type scripted struct {
	steps []scriptedStep
	next  int
}

type scriptedStep struct {
	takes time.Duration
	err   error
}

func (s *scripted) String() string { return "scripted" }

func (s *scripted) Probe(ctx context.Context) (string, error) {
	step := s.steps[min(s.next, len(s.steps)-1)]
	s.next++
	select {
	case <-time.After(step.takes):
		return "fine", step.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func TestProbesKeepTheScheduleOfScripts(t *testing.T) {
	bad := errors.New("bad")
	const ms = time.Millisecond
	tests := []struct {
		name   string
		config ProbeConfig
		steps  []scriptedStep
		want   []string
	}{
		{"at once, and then each interval from the start of the one before",
			ProbeConfig{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1},
			[]scriptedStep{{0, nil}, {900 * ms, nil}, {100 * ms, bad}, {0, nil}},
			[]string{
				"0s up since 0s, 1 alike, fine, took 0s, 1/0/0/0",
				"1.9s up since 0s, 2 alike, fine, took 900ms, 2/0/0/0",
				"2.1s down since 2.1s, 1 alike, bad, took 100ms, 3/1/0/0",
				"3s up since 3s, 1 alike, fine, took 0s, 4/1/0/0",
			}},
		{"one at a time, and a timeout is a failure",
			ProbeConfig{Interval: time.Second, Timeout: 2500 * ms, Rise: 1, Fall: 1},
			[]scriptedStep{{0, nil}, {time.Hour, nil}, {1500 * ms, nil}, {0, nil}},
			[]string{
				"0s up since 0s, 1 alike, fine, took 0s, 1/0/0/0",
				"3.5s down since 3.5s, 1 alike, timed out after 2.5s, took 2.5s, 2/1/1/2",
				"5.5s up since 5.5s, 1 alike, fine, took 1.5s, 3/1/1/3",
				"6s up since 5.5s, 2 alike, fine, took 0s, 4/1/1/3",
			}},
		{"the first result decides, later ones by rise and fall",
			ProbeConfig{Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 2},
			[]scriptedStep{{0, bad}, {0, nil}, {0, nil}, {0, bad}, {0, bad}},
			[]string{
				"0s down since 0s, 1 alike, bad, took 0s, 1/1/0/0",
				"1s down since 0s, 1 alike, fine, took 0s, 2/1/0/0",
				"2s up since 2s, 2 alike, fine, took 0s, 3/1/0/0",
				"3s up since 2s, 1 alike, bad, took 0s, 4/2/0/0",
				"4s down since 4s, 2 alike, bad, took 0s, 5/3/0/0",
			}},
		{"what cannot be asked has failed",
			ProbeConfig{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1},
			[]scriptedStep{{0, fmt.Errorf("asking: %w", &UnrunnableError{"no bus", "get one"})}, {0, nil}},
			[]string{
				"0s down since 0s, 1 alike, asking: no bus, took 0s, 1/1/0/0, unrunnable: no bus; get one",
				"1s up since 1s, 1 alike, fine, took 0s, 2/1/0/0",
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.config.Prober = &scripted{steps: test.steps}
				ctx, cancel := context.WithCancel(t.Context())
				start := time.Now()
				var got []string
				NewProbe(test.config).Run(ctx, func(r Report) {
					s := fmt.Sprintf("%v %v since %v, %d alike, %s, took %v, %d/%d/%d/%d", time.Since(start), r.State, r.Since.Sub(start),
						r.Streak, r.Detail, r.Last.Duration, r.Runs, r.Failures, r.Timeouts, r.Skipped)
					if r.Unrunnable != "" {
						s += ", unrunnable: " + r.Unrunnable + "; " + r.Hint
					}
					if got = append(got, s); len(got) == len(test.want) {
						cancel()
					}
					if r.Last.Exit != -1 || r.Last.OK == (r.Detail != "fine") {
						t.Errorf("last is %+v", r.Last)
					}
				})
				if g, w := strings.Join(got, "\n"), strings.Join(test.want, "\n"); g != w {
					t.Errorf("got\n%s\nwant\n%s", g, w)
				}
			})
		})
	}
}

func TestAProbeEndsAtOnceAndSaysNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewProbe(ProbeConfig{Prober: &scripted{steps: []scriptedStep{{takes: time.Hour}}}, Interval: time.Second, Timeout: time.Minute, Rise: 1, Fall: 1})
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		time.AfterFunc(1500*time.Millisecond, cancel)
		p.Run(ctx, func(r Report) { t.Errorf("reported %+v", r) })
		if d := time.Since(start); d != 1500*time.Millisecond {
			t.Errorf("ended after %v", d)
		}
		a, u := p.Once(t.Context())
		if a.OK || a.Duration != time.Minute || a.Detail != "timed out after 1m0s" || u != nil {
			t.Errorf("once is %+v, %v", a, u)
		}
	})
}

func TestAProbeThatCannotAskSaysSoByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prober := &scripted{steps: []scriptedStep{{0, fmt.Errorf("asking: %w", &UnrunnableError{"no bus", "get one"})}}}
		a, u := NewProbe(ProbeConfig{Prober: prober, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}).Once(t.Context())
		if a.OK || a.Detail != "asking: no bus" || u == nil || u.Reason != "no bus" || u.Hint != "get one" {
			t.Errorf("once is %+v, %+v", a, u)
		}
	})
}

func TestWhatAHostCannotAskIsKnownBeforehand(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	must(t, os.WriteFile(empty, nil, 0o600))
	bus := startBus(t, &fakeBus{})
	for _, tt := range []struct {
		name   string
		prober Prober
		want   string // begins so; empty: it can be asked
		hint   string // holds this
	}{
		{"a port", &TCP{"192.0.2.1:80"}, "", ""},
		{"a page", &HTTP{URL: "https://192.0.2.1/", Verify: true}, "", ""},
		{"no file of authorities", &HTTP{URL: "https://192.0.2.1/", Verify: true, CAFile: dir + "/absent"}, "ca_file: open " + dir + "/absent: no such file", "PEM"},
		{"an empty file of authorities", &HTTP{URL: "https://192.0.2.1/", Verify: true, CAFile: empty}, "ca_file: no certificate in " + empty, "PEM"},
		{"one that is not needed", &HTTP{URL: "https://192.0.2.1/", CAFile: dir + "/absent"}, "", ""},
		{"a bus", &SystemdUnit{Unit: "ssh.service", Bus: bus.path}, "", ""},
		{"no bus", &SystemdUnit{Unit: "ssh.service", Bus: dir + "/absent"}, "no D-Bus at " + dir + "/absent: ", "mounted"},
	} {
		got := Inspect(tt.prober)
		if tt.want == "" {
			if got != nil {
				t.Errorf("%s: got %v", tt.name, got)
			}
		} else if got == nil || !strings.HasPrefix(got.Reason, tt.want) || !strings.Contains(got.Hint, tt.hint) {
			t.Errorf("%s: got %+v, want %s", tt.name, got, tt.want)
		}
	}
}

// watched is a Tracker that can be asked how far it is.
type watched interface {
	Tracker
	Progress() Progress
}

func TestARunThatGoesOnCanBeSeen(t *testing.T) {
	const takes = 2500 * time.Millisecond
	run := func(context.Context, *command.Spec) command.Result {
		time.Sleep(takes)
		return command.Result{}
	}
	for _, tt := range []struct {
		name string
		make func() watched
	}{
		{"of a script", func() watched {
			return newScript(run, ScriptConfig{Interval: time.Second, Timeout: time.Minute, Rise: 1, Fall: 1})
		}},
		{"of a probe", func() watched {
			return NewProbe(ProbeConfig{Prober: &scripted{steps: []scriptedStep{{takes: takes}}}, Interval: time.Second, Timeout: time.Minute, Rise: 1, Fall: 1})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := tt.make()
				ctx, cancel := context.WithCancel(t.Context())
				begin := time.Now()
				at := func(d time.Duration) Progress {
					time.Sleep(time.Until(begin.Add(d)))
					synctest.Wait()
					return w.Progress()
				}
				if got := w.Progress(); got != (Progress{}) {
					t.Errorf("before it was begun: %+v", got)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					w.Run(ctx, func(Report) {})
				}()
				for _, want := range []struct {
					at      time.Duration
					since   time.Duration // after the begin; below 0: it does not run
					skipped uint64
				}{
					{500 * time.Millisecond, 0, 0},
					{2100 * time.Millisecond, 0, 2},
					{2600 * time.Millisecond, -1, 2},
					{4100 * time.Millisecond, 3 * time.Second, 3},
				} {
					got := at(want.at)
					if want.since < 0 != got.RunningSince.IsZero() || want.since >= 0 && !got.RunningSince.Equal(begin.Add(want.since)) || got.Skipped != want.skipped {
						t.Errorf("after %v: running since %v, %d skipped; want %v, %d", want.at, got.RunningSince.Sub(begin), got.Skipped, want.since, want.skipped)
					}
				}
				cancel()
				<-done
				if got := w.Progress(); !got.RunningSince.IsZero() {
					t.Errorf("after its end: %+v", got)
				}
			})
		})
	}
}
