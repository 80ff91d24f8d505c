package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"vipd/netif/netiftest"
)

const (
	rowGapNone   = "no reload: longest gap of any, over the interval"
	rowGapSame   = "unchanged file: longest gap of any, over the interval"
	rowGapAdded  = "one more: longest gap of the others, over the interval"
	rowMoreSame  = "unchanged file: adverts out of turn"
	rowLostPings = "pings lost in all reloads"
)

// How long is recorded of each reload, and how much of it before.
const (
	reloadBefore = 500 * time.Millisecond
	reloadAfter  = 1500 * time.Millisecond
)

// reload measures what a reload (SIGHUP) does to the advertisements of many
// masters: of an unchanged file, and of one with one virtual router more.
func reload(routers int) measure {
	return measure{
		name:  fmt.Sprintf("reload-%d", routers),
		title: fmt.Sprintf("a master of %d virtual routers reloads (SIGHUP), adverts every %v", routers, costInterval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowGapNone, "ms")
			out.row(rowGapSame, "ms", noWorse())
			out.row(rowGapAdded, "ms", noWorse())
			out.row(rowMoreSame, "adverts")
			out.row(rowLostPings, "pings", noMore())
			s := scale(routers)
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			return b.pairs(ctx, out, b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
				return b.reloads(ctx, both[r])
			})
		},
	}
}

// reloads takes one sample: it starts the daemon, reloads it, and ends it.
func (b *bench) reloads(ctx context.Context, st *stand) (sample, error) {
	p, err := b.launch(ctx, st.routers[0], st.rival, st.setup)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	err = w.everyRouter(ctx, masterDown(st.setup.interval, st.setup.priority)+10*time.Second, announcement)
	w.close()
	if err != nil {
		return nil, fmt.Errorf("%w; it said: %s", err, p.tail())
	}
	if err := sleep(ctx, time.Second); err != nil { // until it is at rest
		return nil, err
	}
	ping, err := st.client.Ping(ctx, netiftest.PingConfig{Target: st.setup.vip(0, 1, 0), Interval: 10 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer ping.Stop()
	more := st.setup
	more.more = 1
	got := make(sample)
	for _, scene := range []struct {
		gap, adverts string
		file         *setup
	}{
		{rowGapNone, "", nil},
		{rowGapSame, rowMoreSame, &st.setup},
		{rowGapAdded, "", &more},
	} {
		w, err := st.watch()
		if err != nil {
			return nil, err
		}
		err = b.scene(ctx, st, p, scene.file)
		var seen []sighting
		if err == nil {
			seen, err = w.stop()
		}
		w.close()
		if err != nil {
			return nil, err
		}
		gap, early, err := reloadTimes(seen, st.setup)
		if err != nil {
			return nil, fmt.Errorf("%w; it said: %s", err, p.tail())
		}
		got[scene.gap] = []float64{milliseconds(gap)}
		if scene.adverts != "" {
			got[scene.adverts] = []float64{float64(early)}
		}
	}
	got[rowLostPings] = []float64{float64(ping.Stop().Lost)}
	return got, nil
}

// scene has the daemon read a file, unless that is nil.
func (b *bench) scene(ctx context.Context, st *stand, p *process, file *setup) error {
	if err := sleep(ctx, reloadBefore); err != nil {
		return err
	}
	if file != nil {
		if err := os.WriteFile(p.file, []byte(file.text(st.rival)), 0o600); err != nil {
			return err
		}
		if err := p.Signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
	return sleep(ctx, reloadAfter)
}

// reloadTimes finds in a recording the longest time that any of the virtual
// routers was silent, over the interval, and how many advertisements came out of
// turn: within half an interval after the one before.
func reloadTimes(seen []sighting, s setup) (gap time.Duration, early int, err error) {
	at := make(map[routerKey][]time.Time)
	for _, got := range seen {
		if from(0, advert)(got) && int(got.vrid) <= s.vrids {
			k := routerKey{got.network, got.vrid}
			at[k] = append(at[k], got.at)
		}
	}
	if len(at) != s.routers() {
		return 0, 0, fmt.Errorf("%d of %d virtual routers advertise", len(at), s.routers())
	}
	end := seen[len(seen)-1].at
	for _, times := range at {
		// One that never speaks again is silent until the end.
		gap = max(gap, longestGap(append(times, end))-s.interval)
		for i := 1; i < len(times); i++ {
			if times[i].Sub(times[i-1]) < s.interval/2 {
				early++
			}
		}
	}
	return gap, early, nil
}
