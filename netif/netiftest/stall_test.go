package netiftest

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTestsThatFailRunAgainOnlyIfTheMachineStoodStill(t *testing.T) {
	const calm, late = stoodStill - 1, stoodStill
	for _, tt := range []struct {
		name  string
		codes []int           // of one run after the other
		stood []time.Duration // in each
		runs  int
		want  int
	}{
		{"they pass", []int{0}, []time.Duration{calm}, 1, 0},
		{"they pass although it stood still", []int{0}, []time.Duration{late}, 1, 0},
		{"they fail", []int{1}, []time.Duration{calm}, 1, 1},
		{"they fail when it stands still", []int{1, 0}, []time.Duration{late, calm}, 2, 0},
		{"they fail again, without it", []int{1, 1}, []time.Duration{late, calm}, 2, 1},
		{"it stands still all the time", []int{1, 1, 1}, []time.Duration{late, late, late}, 3, 1},
		{"they panic", []int{2}, []time.Duration{late}, 1, 2},
		{"a data race was seen", []int{66}, []time.Duration{late}, 1, 66},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			runs := 0
			code, err := patiently(
				func() (int, error) { runs++; return tt.codes[runs-1], nil },
				func() func() time.Duration { return func() time.Duration { return tt.stood[runs-1] } }, &log)
			if err != nil || code != tt.want || runs != tt.runs {
				t.Errorf("they ran %d times and ended with %d, %v; want %d and %d", runs, code, err, tt.runs, tt.want)
			}
			if said := strings.Count(log.String(), "\n"); said != tt.runs-1 {
				t.Errorf("it said %q", log.String())
			}
		})
	}
	reason := errors.New("no namespaces")
	if _, err := patiently(func() (int, error) { return failed, reason }, watchMachine, nil); !errors.Is(err, reason) {
		t.Errorf("tests that could not be run end with %v, want %v", err, reason)
	}
}

func TestAMachineThatStandsStillIsSeen(t *testing.T) {
	for _, stood := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			longest := watchClock(func() time.Time {
				now := time.Now()
				if now.Sub(start) > time.Minute {
					now = now.Add(stood)
				}
				return now
			})
			time.Sleep(time.Hour)
			if got := longest(); got != stood {
				t.Errorf("it says %v, want %v", got, stood)
			}
		})
	}
}
