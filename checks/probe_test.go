package checks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
		a := p.Once(t.Context())
		if a.OK || a.Duration != time.Minute || a.Detail != "timed out after 1m0s" {
			t.Errorf("once is %+v", a)
		}
	})
}
