package main

import (
	"os/exec"
	"testing"
	"time"

	"vipd/cmd/internal/figures"
)

func TestABusyHostIsAnExcuse(t *testing.T) {
	for _, test := range []struct {
		name string
		disturbance
		want bool
	}{
		{"a quiet one", disturbance{CPUs: 0.05, Late: 0.02}, false},
		{"one with a processor for others", disturbance{CPUs: 1}, true},
		{"one that stands still", disturbance{Late: 1}, true},
	} {
		if got := test.excuses(); got != test.want {
			t.Errorf("%s: got %t", test.name, got)
		}
	}
}

func TestWhatOthersUseIsWhatIsLeft(t *testing.T) {
	for _, test := range []struct {
		name           string
		all, own, took time.Duration
		want           float64
	}{
		{"half of one processor", 900 * time.Millisecond, 400 * time.Millisecond, time.Second, 0.5},
		{"nothing, less a rounding", 390 * time.Millisecond, 400 * time.Millisecond, time.Second, 0},
		{"a machine has ended, and its time is not ours yet", time.Second, -20 * time.Second, time.Second, 0},
		{"no time has passed", time.Second, 0, 0, 0},
	} {
		if got := share(test.all, test.own, test.took); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestTheWorstOfARoundIsWhatCounts(t *testing.T) {
	began := time.Now()
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	n := &noise{looks: []span{
		{at(0), at(1), disturbance{CPUs: 2}},
		{at(1), at(2), disturbance{CPUs: 0.5, Late: 0.1}},
		{at(2), at(3), disturbance{CPUs: 0.1, Late: 0.3}},
		{at(3), at(4), disturbance{Late: 5}},
	}}
	if got, want := n.between(at(1), at(3)), (disturbance{CPUs: 0.5, Late: 0.3}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := (*noise)(nil).between(at(0), at(4)); got != (disturbance{}) {
		t.Errorf("nobody has looked, and there is %v", got)
	}
}

func TestAFailedAttemptCountsUnlessTheHostIsToBlame(t *testing.T) {
	busy, still := disturbance{CPUs: 1}, disturbance{}
	for _, test := range []struct {
		name          string
		attempts, all int
		host          []disturbance // of one attempt after the other
		counted       int           // when it is over
	}{
		{"on a quiet host", 3, sparesAll, []disturbance{still, still, still}, 3},
		{"once, if so it was wanted", 1, sparesAll, []disturbance{busy}, 1},
		{"on a host that is busy twice", 2, sparesAll, []disturbance{busy, still, busy, still}, 2},
		{"on one that always is", 3, sparesAll, []disturbance{busy, busy, busy, busy, busy, busy, busy}, 3},
		{"when others have used up what is spare", 3, 1, []disturbance{busy, busy, busy, busy}, 3},
	} {
		spares := test.all
		tally := tallyFor(test.attempts, &spares)
		counted := 0
		for i, d := range test.host {
			counts, more := tally.again(d)
			if counts {
				counted++
			}
			if last := i == len(test.host)-1; more == last {
				t.Errorf("%s: attempt %d of %d, and another one: %t", test.name, i+1, len(test.host), more)
			}
		}
		if counted != test.counted {
			t.Errorf("%s: %d counted, want %d", test.name, counted, test.counted)
		}
	}
}

func TestWhatThisProgramHasStartedIsNoNoise(t *testing.T) {
	// Without what the test itself uses.
	started := func() time.Duration {
		_, own := used()
		return own - figures.OwnTime()
	}
	before := started()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ok, err := until(t.Context(), time.Minute, func() (bool, error) {
		return started()-before >= 50*time.Millisecond, nil
	})
	if err != nil || !ok {
		t.Errorf("a busy loop that was started here is not ours: %v", err)
	}
}

func TestTheHostIsLookedAtUntilItIsStopped(t *testing.T) {
	began := time.Now()
	n := listen()
	ok, err := until(t.Context(), time.Minute, func() (bool, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.looks) >= 2, nil
	})
	if err != nil || !ok {
		t.Fatalf("it is not looked: %t, %v", ok, err)
	}
	n.stop()
	for _, l := range n.looks {
		if l.from.Before(began) || l.to.Sub(l.from) < noiseLook {
			t.Errorf("a look of %v", l.to.Sub(l.from))
		}
	}
	if err := n.quiet(t.Context()); err != nil {
		t.Error(err)
	}
}
