package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"vipd/cmd/internal/figures"
)

// An emulated machine on a host that does other things stands still for tenths of a
// second, and what is measured is as long. So the lab looks what else the host does. A
// promise that is broken meanwhile is tried again without counting, some times: one
// that vipd breaks is broken on a quiet host as well.
const (
	// noiseLook is how often it is looked, and lateLook how often whether the host runs
	// this program at all.
	noiseLook = 500 * time.Millisecond
	lateLook  = 50 * time.Millisecond
	// noisy is how many processors others may use, and tooLate how late this program may
	// be, without the host being to blame.
	noisy   = 0.25
	tooLate = 200 * time.Millisecond
	// sparesEach is how many attempts of one job do not count, and sparesAll of all.
	sparesEach, sparesAll = 4, 12
	// calm is for how long it is waited for the host to be quiet before an attempt that
	// such one is to be followed by.
	calm = 20 * time.Second
)

// A disturbance is what the host did to a round: of all looks the worst.
type disturbance struct {
	// CPUs is how many processors others used, or the hypervisor took away.
	CPUs float64 `json:"others_cpus"`
	// Late is by how much this program was late.
	Late float64 `json:"host_late_s"`
}

// excuses reports whether the host may be to blame for what was measured.
func (d disturbance) excuses() bool { return d.CPUs > noisy || d.Late > tooLate.Seconds() }

// String says what there was.
func (d disturbance) String() string {
	return fmt.Sprintf("others used %.2f processors, and the host was late by %.2f s", d.CPUs, d.Late)
}

// A span is what was found in a part of the time.
type span struct {
	from, to time.Time
	disturbance
}

// A noise looks what the host does, from its beginning until it is stopped.
type noise struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	looks []span
}

// listen begins to look.
func listen() *noise {
	ctx, cancel := context.WithCancel(context.Background())
	n := &noise{cancel: cancel, done: make(chan struct{})}
	go n.run(ctx)
	return n
}

func (n *noise) stop() {
	n.cancel()
	<-n.done
}

func (n *noise) run(ctx context.Context) {
	defer close(n.done)
	tick := time.NewTicker(lateLook)
	defer tick.Stop()
	all, own := used()
	began, last := time.Now(), time.Now()
	longest := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		longest = max(longest, now.Sub(last)-lateLook)
		last = now
		if now.Sub(began) < noiseLook {
			continue
		}
		all2, own2 := used()
		n.add(span{began, now, disturbance{share(all2-all, own2-own, now.Sub(began)), longest.Seconds()}})
		began, longest, all, own = now, 0, all2, own2
	}
}

// used returns how long all processors have worked, and how long for this program and
// what it has started.
func used() (all, own time.Duration) {
	all, err := figures.MachineTime()
	if err != nil {
		return 0, 0 // nothing is known, and nothing excused
	}
	own = figures.OwnTime()
	for _, pid := range figures.Descendants(os.Getpid())[1:] {
		// Those of an emulator's threads that have ended count as well.
		if t, reaped, err := figures.Times(pid); err == nil {
			own += t + reaped
		}
	}
	return all, own
}

// share returns how many processors others have used. While a machine loses its power
// its time is neither its own nor ours, and there seems to be less: then nothing is
// known.
func share(all, own, took time.Duration) float64 {
	if own < 0 || took <= 0 {
		return 0
	}
	return max(0, (all-own).Seconds()/took.Seconds())
}

func (n *noise) add(l span) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looks = append(n.looks, l)
}

// between returns the worst of what there was between two moments.
func (n *noise) between(from, to time.Time) (worst disturbance) {
	if n == nil {
		return worst
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.looks {
		if l.to.After(from) && l.from.Before(to) {
			worst.CPUs, worst.Late = max(worst.CPUs, l.CPUs), max(worst.Late, l.Late)
		}
	}
	return worst
}

// quiet waits until the host does nothing else for a moment, but not for ever.
func (n *noise) quiet(ctx context.Context) error {
	_, err := until(ctx, calm, func() (bool, error) {
		now := time.Now()
		return !n.between(now.Add(-2*noiseLook), now).excuses(), nil
	})
	return err
}

// A tally counts the attempts of a job.
type tally struct {
	left  int  // that count
	spare int  // of those that do not, for this job
	all   *int // and for all jobs
}

// again notes an attempt that has failed, and reports whether it counts and whether
// there is to be another one.
func (t *tally) again(d disturbance) (counts, more bool) {
	if d.excuses() && t.spare > 0 && *t.all > 0 {
		t.spare--
		*t.all--
		return false, true
	}
	t.left--
	return true, t.left > 0
}

// tallyFor is that of a job with so many attempts. Who wants one has one.
func tallyFor(attempts int, all *int) *tally {
	t := &tally{left: attempts, all: all}
	if attempts > 1 {
		t.spare = sparesEach
	}
	return t
}
