package sim

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vipd/vrrp"
)

// runPart runs the first histories and returns what was seen in all of them.
func runPart(t *testing.T) Stats {
	t.Helper()
	const workers = 2
	var mu sync.Mutex
	var total Stats
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for seed := uint64(1 + n); seed <= part; seed += workers {
				h := NewHistory(seed)
				stats, v := h.Run()
				mu.Lock()
				total.Add(stats)
				mu.Unlock()
				if v != nil {
					t.Errorf("seed %d: %s", seed, h.Report(v, 60))
					return
				}
			}
		})
	}
	wg.Wait()
	return total
}

func TestAnAddressHasOneOwnerWhateverHappens(t *testing.T) {
	total := runPart(t)
	t.Log(&total)
	if missing := total.Missing(); len(missing) > 0 && !t.Failed() {
		t.Errorf("none of a kind was seen: %v", missing)
	}
}

func TestASeedAlwaysGivesTheSameHistory(t *testing.T) {
	events := 0
	for seed := uint64(1); seed <= 6; seed++ {
		once, v := NewHistory(seed).Trace()
		again, w := NewHistory(seed).Trace()
		if !slices.Equal(once, again) {
			for i := range min(len(once), len(again)) {
				if once[i] != again[i] {
					t.Fatalf("seed %d, line %d: %q, and then %q", seed, i+1, once[i], again[i])
				}
			}
			t.Fatalf("seed %d: %d lines, and then %d", seed, len(once), len(again))
		}
		if (v == nil) != (w == nil) || v != nil && *v != *w {
			t.Errorf("seed %d: %v, and then %v", seed, v, w)
		}
		events += len(once)
	}
	if events == 0 {
		t.Error("nothing happened")
	}
}

func TestATraceChangesNothing(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		h := NewHistory(seed)
		if with, without := h.run(noBug, true).stats, h.run(noBug, false).stats; with != without {
			t.Errorf("seed %d: %v with a trace, %v without", seed, &with, &without)
		}
	}
}

// scripted returns a history of two routers, in which one thing happens to the
// master again and again.
func scripted(interval time.Duration, kind FaultKind, lasts time.Duration) *History {
	h := &History{
		Seed: 1, Length: 100 * time.Second, Routers: 2, LANs: 1, Version: vrrp.V3, Interval: interval, Adverts: 3, VIPs: 1,
		Leases: true, Settings: []Setting{{Priority: 200}, {Priority: 100}},
	}
	for at := 10 * time.Second; at < h.Length; at += 7130 * time.Millisecond {
		h.Faults = append(h.Faults, Fault{Kind: kind, At: at, For: lasts, LAN: -1, Other: 1})
	}
	return h
}

func TestAPlantedBugIsFound(t *testing.T) {
	const short, long = 100 * time.Millisecond, time.Second
	for _, tc := range []struct {
		name string
		bug  bug
		h    *History
		want []string // one of them
	}{
		{"leases are renewed without advertisements", bugRenewsAlways, scripted(long, Pause, 1300*time.Millisecond), []string{renews}},
		{"a renewal is carried out after the process was stopped", bugRenewsLate, scripted(long, Pause, 5*time.Second), []string{renews, oneOwner}},
		{"addresses are announced before they are in place", bugAnnouncesEarly, scripted(long, Restart, time.Second), []string{announces}},
		{"addresses are not removed when another master is higher", bugForgetsRemoval, scripted(long, Pause, 5*time.Second), []string{inPlace}},
		{"addresses are not removed at the end", bugForgetsRemoval, scripted(long, Restart, 5*time.Second), []string{leaves}},
		{"an address that has expired is put back", bugRepairsExpiry, scripted(long, Pause, 2500*time.Millisecond), []string{listens}},
		{"a process resumes however late it is", bugLateResume, scripted(short, Crash, 800*time.Millisecond), []string{resumes}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v := tc.h.run(noBug, false).check.violation; v != nil {
				t.Fatalf("without the bug: %s", tc.h.Report(v, 60))
			}
			v := tc.h.run(tc.bug, false).check.violation
			if v == nil || !slices.Contains(tc.want, v.Invariant) {
				t.Fatalf("got %v, want that %q", v, tc.want)
			}
			report := tc.h.report(v, tc.bug, 30)
			for _, want := range []string{v.Invariant, "seed 1: ", "\nat "} {
				if !strings.Contains(report, want) {
					t.Errorf("the report does not say %q:\n%s", want, report)
				}
			}
		})
	}
}

func TestAViolationIsShrunkToTheFaultsThatMatter(t *testing.T) {
	h := scripted(100*time.Millisecond, Crash, 800*time.Millisecond)
	for _, f := range h.Faults {
		f.At += 3 * time.Second
		f.Kind = ClockStep
		h.Faults = append(h.Faults, f)
	}
	v := h.run(bugLateResume, false).check.violation
	if v == nil {
		t.Fatal("nothing is wrong")
	}
	small, w := h.shrink(v, bugLateResume)
	if len(small.Faults) != 1 || small.Faults[0].Kind != Crash {
		t.Errorf("%d faults, of %d, are left: %v", len(small.Faults), len(h.Faults), small.Faults)
	}
	if w.Invariant != v.Invariant {
		t.Errorf("the invariant is %q, was %q", w.Invariant, v.Invariant)
	}
	if again := small.run(bugLateResume, false).check.violation; again == nil || *again != *w {
		t.Errorf("the smaller history gives %v, want %v", again, w)
	}
}

func TestWhatWasNotSeenIsNamed(t *testing.T) {
	s := Stats{Elections: 1, HandOvers: 2}
	s.Add(Stats{HandOvers: 3, LateRestarts: 1})
	if got := s.String(); !strings.HasPrefix(got, "1 elections, 0 preemptions, 5 hand overs, 0 failovers") {
		t.Errorf("got %q", got)
	}
	missing := s.Missing()
	if slices.Contains(missing, "hand overs") || slices.Contains(missing, "late restarts") || !slices.Contains(missing, "resumes") {
		t.Errorf("got %q", missing)
	}
}
