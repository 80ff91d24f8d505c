package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
)

// How long one turn of a master's advertisements is recorded.
const (
	punctualWindow = 2 * time.Second
	punctualQuick  = time.Second // where a second holds a hundred adverts
	busyLoops      = 4
	maxDrift       = 0.01 // ms per advert: what is left of twenty adverts that are each a little late
)

const (
	rowGap      = "later than interval after the one before"
	rowLateness = "behind an absolute schedule"
	rowDrift    = "drift per advert"
	rowExpiries = "gaps that a backup takes for a failure"
)

// punctual measures when a master's advertisements come.
func punctual(name string, interval time.Duration, busy bool, realTime int) measure {
	title := fmt.Sprintf("how punctual a master's adverts are, every %v", interval)
	if busy {
		title += fmt.Sprintf(", %d busy loops on %d CPUs", busyLoops, runtime.NumCPU())
	}
	if realTime > 0 {
		title += fmt.Sprintf(", vrrp_rt_priority %d", realTime)
	}
	return measure{name: name, title: title, run: func(ctx context.Context, b *bench, out *outcome) error {
		out.row(rowGap, "ms", noWorse()).byP99()
		out.row(rowLateness, "ms", noWorse()).byP99()
		goals := []goal{noWorse()}
		if !busy {
			// Where hardly any advert is punctual, drift is not told from lateness.
			goals = append(goals, atMostAway(maxDrift))
		}
		out.row(rowDrift, "ms", goals...)
		out.row(rowExpiries, "per turn", noMore()).byMax()
		s := setup{interval: interval, priority: backupPriority, interfaces: 1, vrids: 1, vips: 1, realTime: realTime, oneBlock: true}
		lab, both, err := stands(ctx, s, 1)
		if err != nil {
			return err
		}
		defer lab.Close()
		if err := b.startBothParked(ctx, both); err != nil {
			return err
		}
		if busy {
			if err := b.loops(ctx, both[keepalived], busyLoops); err != nil {
				return err
			}
		}
		window := punctualWindow
		if b.opts.quick && interval < 100*time.Millisecond {
			window = punctualQuick
		}
		return b.pairs(ctx, out, b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
			return adverts(ctx, both[r], window)
		})
	}}
}

// loops starts processes that use all the time they get. They end with the lab.
func (b *bench) loops(ctx context.Context, st *stand, n int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range n {
		p := &process{Cmd: st.client.Command(ctx, self, busyArgument)}
		if err := p.Start(); err != nil {
			return err
		}
		b.track(p)
	}
	return nil
}

// adverts takes one sample on a parked daemon, and parks it.
func adverts(ctx context.Context, st *stand, window time.Duration) (sample, error) {
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := st.say(senderPriority, st.setup.interval); err != nil {
		return nil, err
	}
	bound := masterDown(st.setup.interval, st.setup.priority)
	if err := w.wait(ctx, bound+2*time.Second, "an advertisement", from(0, advert)); err != nil {
		return nil, err
	}
	if err := sleep(ctx, window); err != nil {
		return nil, err
	}
	if err := st.park(); err != nil {
		return nil, err
	}
	if err := sleep(ctx, 30*time.Millisecond); err != nil {
		return nil, err
	}
	seen, err := w.stop()
	if err != nil {
		return nil, err
	}
	return punctuality(seen, st.setup.interval)
}

// punctuality finds in a recording how regular the daemon's advertisements are.
// The first few, beside which addresses are added, do not count, and nothing
// does from the parking on.
func punctuality(seen []sighting, interval time.Duration) (sample, error) {
	const skip = 3
	var at []time.Time
	for _, s := range seen {
		switch {
		case from(0, advert)(s):
			at = append(at, s.at)
		case s.kind == advert && len(at) > 0:
			seen = nil
		}
		if seen == nil {
			break
		}
	}
	if len(at) < skip+8 {
		return nil, errors.New("hardly any advertisement was seen")
	}
	at = at[skip:]
	over := gaps(at, interval)
	expired := 0
	for _, g := range over {
		if g+interval > masterDown(interval, backupPriority) {
			expired++
		}
	}
	return sample{
		rowGap:      allMilliseconds(over),
		rowLateness: allMilliseconds(lateness(at, interval)),
		rowDrift:    {milliseconds(drift(at, interval))},
		rowExpiries: {float64(expired)},
	}, nil
}
