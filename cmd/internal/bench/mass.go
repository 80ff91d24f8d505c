package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	rowSpread    = "first … last announcement"
	rowWorstLate = "worst announcement after its own bound"
	rowFirstLate = "first advert after its bound"
	rowStartLast = "start → last router's first advert, over the bound"
)

// A routerKey names a virtual router.
type routerKey struct {
	network int
	vrid    uint8
}

// massFailover measures a backup of many virtual routers whose masters all fall
// silent at once.
func massFailover(routers int, spread float64) measure {
	return measure{
		name:  fmt.Sprintf("failover-%d", routers),
		title: fmt.Sprintf("the masters of %d virtual routers fall silent, adverts every %v", routers, costInterval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowSpread, "ms", noWorse(), atMost(spread))
			out.row(rowWorstLate, "ms", noWorse())
			out.row(rowFirstLate, "ms", noWorse()).byP99()
			s := scale(routers)
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			if err := b.startBothParked(ctx, both); err != nil {
				return err
			}
			return b.pairs(ctx, out, b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
				return massSilence(ctx, both[r])
			})
		},
	}
}

// massSilence takes one sample on a parked daemon, and parks it.
func massSilence(ctx context.Context, st *stand) (sample, error) {
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	defer w.close()
	for range 2 {
		if err := st.say(senderPriority, st.setup.interval); err != nil {
			return nil, err
		}
		if err := sleep(ctx, st.setup.interval/2); err != nil {
			return nil, err
		}
	}
	bound := masterDown(st.setup.interval, st.setup.priority)
	if err := w.everyRouter(ctx, bound+5*time.Second, announcement); err != nil {
		return nil, err
	}
	if err := st.park(); err != nil {
		return nil, err
	}
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return nil, err
	}
	seen, err := w.stop()
	if err != nil {
		return nil, err
	}
	return massTimes(seen, bound, st.setup)
}

// massTimes finds in a recording when each virtual router was taken over, each
// by the time its own master was heard last.
func massTimes(seen []sighting, bound time.Duration, s setup) (sample, error) {
	last, first := make(map[routerKey]time.Time), make(map[routerKey]time.Time)
	announced := make(map[routerKey]time.Time)
	for _, got := range seen {
		k := routerKey{got.network, got.vrid}
		switch {
		case got.kind == advert && got.from == senderMAC && first[k].IsZero():
			last[k] = got.at
		case from(0, advert)(got) && first[k].IsZero() && !last[k].IsZero():
			first[k] = got.at
		case from(0, announcement)(got):
			k.vrid = got.address.As4()[3]
			if announced[k].IsZero() {
				announced[k] = got.at
			}
		}
	}
	if len(announced) != s.routers() || len(first) != s.routers() {
		return nil, fmt.Errorf("%d advertised and %d announced of %d", len(first), len(announced), s.routers())
	}
	got := make(sample)
	var begin, end time.Time
	worst := time.Duration(0)
	for k, at := range announced {
		if begin.IsZero() || at.Before(begin) {
			begin = at
		}
		if at.After(end) {
			end = at
		}
		worst = max(worst, at.Sub(last[k])-bound)
		got[rowFirstLate] = append(got[rowFirstLate], milliseconds(first[k].Sub(last[k])-bound))
	}
	got[rowSpread] = []float64{milliseconds(end.Sub(begin))}
	got[rowWorstLate] = []float64{milliseconds(worst)}
	return got, nil
}

// massStart measures how long after its start a daemon is master of many virtual
// routers that have no other.
func massStart(routers int) measure {
	return measure{
		name:  fmt.Sprintf("start-%d", routers),
		title: fmt.Sprintf("start with %d virtual routers, adverts every %v", routers, costInterval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowStartLast, "ms", noWorse())
			s := scale(routers)
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			return b.pairs(ctx, out, b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
				return b.startAll(ctx, both[r])
			})
		},
	}
}

// startAll takes one sample: it starts the daemon, and ends it.
func (b *bench) startAll(ctx context.Context, st *stand) (sample, error) {
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	defer w.close()
	p, err := b.launch(ctx, st.routers[0], st.rival, st.setup)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	bound := masterDown(st.setup.interval, st.setup.priority)
	if err := w.everyRouter(ctx, bound+10*time.Second, advert); err != nil {
		return nil, fmt.Errorf("%w; it said: %s", err, p.tail())
	}
	seen, err := w.stop()
	if err != nil {
		return nil, err
	}
	heard := make(map[routerKey]bool)
	for _, s := range seen {
		if !from(0, advert)(s) {
			continue
		}
		if heard[routerKey{s.network, s.vrid}] = true; len(heard) == st.setup.routers() {
			return sample{rowStartLast: {milliseconds(s.at.Sub(p.began.Round(0)) - bound)}}, nil
		}
	}
	return nil, errors.New("not every virtual router was heard of")
}
