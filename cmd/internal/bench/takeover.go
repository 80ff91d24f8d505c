package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The priority of what is measured; the imaginary router's is higher.
const backupPriority = 100

// Names of rows that occur in several measures.
const (
	rowOverBound = "first advert over the bound"
	rowAnnounce  = "first advert → first announcement"
	rowLast      = "first advert → last announcement (round 1)"
	rowAdvertGap = "longest advert gap"
	rowClientGap = "client's gap"
	rowSuccessor = "priority 0 → successor's announcement"
	rowOverSkew  = "successor's first advert over the bound"
	rowExit      = "priority 0 → process ended"
)

// takeover measures a backup whose master falls silent: the imaginary router
// sends a few advertisements and then no more, as one does that is stopped.
func takeover(name string, interval time.Duration, times int) measure {
	return measure{
		name:  name,
		title: fmt.Sprintf("a master falls silent, adverts every %v", interval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowOverBound, "ms", noWorse())
			out.row(rowAnnounce, "ms", noWorse())
			s := setup{interval: interval, priority: backupPriority, interfaces: 1, vrids: 1, vips: 1}
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			if err := b.startBothParked(ctx, both); err != nil {
				return err
			}
			return b.pairs(ctx, out, times*b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
				return silence(ctx, both[r])
			})
		},
	}
}

// silence takes one sample of a takeover on a parked daemon, and parks it.
func silence(ctx context.Context, st *stand) (sample, error) {
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	defer w.close()
	for range 3 {
		if err := st.say(senderPriority, st.setup.interval); err != nil {
			return nil, err
		}
		if err := sleep(ctx, min(st.setup.interval, 50*time.Millisecond)); err != nil {
			return nil, err
		}
	}
	bound := masterDown(st.setup.interval, st.setup.priority)
	if err := w.wait(ctx, bound+2*time.Second, "an announcement", from(0, announcement)); err != nil {
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
	return takeoverTimes(seen, bound)
}

// takeoverTimes finds in a recording what the daemon did after the imaginary
// router's last advertisement before it.
func takeoverTimes(seen []sighting, bound time.Duration) (sample, error) {
	var last, first time.Time
	for _, s := range seen {
		switch {
		case s.kind == advert && s.from == senderMAC && first.IsZero():
			last = s.at
		case s.kind == advert && s.from == routerMAC(0) && first.IsZero():
			first = s.at
		case s.kind == announcement && s.from == routerMAC(0):
			if first.IsZero() || last.IsZero() {
				return nil, errors.New("an announcement came before the first advertisement")
			}
			return sample{
				rowOverBound: {milliseconds(first.Sub(last) - bound)},
				rowAnnounce:  {milliseconds(s.at.Sub(first))},
			}, nil
		}
	}
	return nil, errors.New("no takeover was seen")
}
