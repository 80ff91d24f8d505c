package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"vipd/netif"
)

// After the takeover, how long advertisements are watched: all daemons are done
// with adding and announcing by then.
const addressWatch = time.Second

// addresses measures a takeover of one virtual router with many addresses.
func addresses(vips int, goals ...goal) measure {
	return measure{
		name:  fmt.Sprintf("vips-%d", vips),
		title: fmt.Sprintf("a master falls silent, %d addresses in one virtual router, adverts every %v", vips, costInterval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowOverBound, "ms", noWorse())
			out.row(rowAnnounce, "ms", append([]goal{noWorse()}, goals...)...)
			out.row(rowLast, "ms", noWorse())
			out.row(rowAdvertGap, "ms", noWorse())
			s := setup{interval: costInterval, priority: backupPriority, interfaces: 1, vrids: 1, vips: vips}
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			limit, err := kernelAdds(both[vipd])
			if err != nil {
				return err
			}
			out.Notes = append(out.Notes, fmt.Sprintf("the kernel alone needs %s ms to add %d addresses (median of %d)", figure(median(limit)), vips, len(limit)))
			if err := b.startBothParked(ctx, both); err != nil {
				return err
			}
			return b.pairs(ctx, out, b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
				return manyAddresses(ctx, both[r])
			})
		},
	}
}

// kernelAdds returns how many milliseconds the kernel needs to add the addresses
// when it is asked for all at once and nothing else happens: no daemon can have
// the last one in place before.
func kernelAdds(st *stand) ([]float64, error) {
	const times = 5
	var took []float64
	err := st.routers[0].Do(func() error {
		h, err := netif.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		list := make([]netif.Address, st.setup.vips)
		for n := range list {
			list[n] = netif.Address{Prefix: netip.PrefixFrom(st.setup.vip(0, 1, n), 32), Interface: "eth0"}
		}
		for range times {
			begun := time.Now()
			for _, r := range h.Add(list) {
				err = errors.Join(err, r.Err)
			}
			took = append(took, milliseconds(time.Since(begun)))
			for _, r := range h.Remove(list) {
				err = errors.Join(err, r.Err)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return took, err
}

// manyAddresses takes one sample on a parked daemon, and parks it.
func manyAddresses(ctx context.Context, st *stand) (sample, error) {
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	defer w.close()
	for range 3 {
		if err := st.say(senderPriority, st.setup.interval); err != nil {
			return nil, err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	bound := masterDown(st.setup.interval, st.setup.priority)
	if err := w.everyRouter(ctx, bound+5*time.Second, announcement); err != nil {
		return nil, err
	}
	if err := sleep(ctx, addressWatch); err != nil {
		return nil, err
	}
	if err := st.park(); err != nil {
		return nil, err
	}
	if err := st.cleared(ctx); err != nil {
		return nil, err
	}
	seen, err := w.stop()
	if err != nil {
		return nil, err
	}
	return addressTimes(seen, bound, st.setup.vips)
}

// addressTimes finds in a recording when the first and the last of so many
// addresses was announced for the first time, and the longest gap between
// advertisements of the daemon as master.
func addressTimes(seen []sighting, bound time.Duration, vips int) (sample, error) {
	got, err := takeoverTimes(seen, bound)
	if err != nil {
		return nil, err
	}
	adverts := times(seen, from(0, advert))
	announced := make(map[netip.Addr]bool)
	var last time.Time
	for _, s := range seen {
		if from(0, announcement)(s) && !announced[s.address] {
			announced[s.address] = true
			last = s.at
		}
	}
	if len(announced) != vips {
		return nil, fmt.Errorf("%d of %d addresses were announced", len(announced), vips)
	}
	if len(adverts) < 2 {
		return nil, errors.New("only one advertisement was seen")
	}
	got[rowLast] = []float64{milliseconds(last.Sub(adverts[0]))}
	got[rowAdvertGap] = []float64{milliseconds(longestGap(adverts))}
	return got, nil
}
