package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// The master that is stopped is an owner, so that it is master at once when it is
// started; its backup has backupPriority.
const plannedPriority = vrrp.PriorityOwner

// plannedStop measures what a client notices when a master is told to stop and a
// backup of the same kind follows.
func plannedStop(name string, interval time.Duration, times int) measure {
	return measure{
		name:  name,
		title: fmt.Sprintf("a master is stopped (SIGTERM), adverts every %v", interval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowSuccessor, "ms", noWorse())
			out.row(rowOverSkew, "ms", noWorse())
			out.row(rowClientGap, "ms", noWorse())
			out.row(rowExit, "ms")
			s := setup{interval: interval, priority: plannedPriority, interfaces: 1, vrids: 1, vips: 1}
			lab, both, err := stands(ctx, s, 2)
			if err != nil {
				return err
			}
			defer lab.Close()
			for r, st := range both {
				successor := s
				successor.priority = backupPriority
				if _, err := b.launch(ctx, st.routers[1], rival(r), successor); err != nil {
					return err
				}
			}
			return b.pairs(ctx, out, times*b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
				return b.stopping(ctx, both[r])
			})
		},
	}
}

// pingInterval is how exactly a client's gap is known.
const pingInterval = 500 * time.Microsecond

// stopping starts a master, waits until it has taken over, and stops it.
func (b *bench) stopping(ctx context.Context, st *stand) (sample, error) {
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
	if err := w.wait(ctx, masterDown(st.setup.interval, st.setup.priority)+5*time.Second, "an announcement", from(0, announcement)); err != nil {
		return nil, fmt.Errorf("%w; it said: %s", err, p.tail())
	}
	ping, err := st.client.Ping(ctx, netiftest.PingConfig{Target: st.setup.vip(0, 1, 0), Interval: pingInterval})
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			ping.Stop()
		}
	}()
	if err := sleep(ctx, 150*time.Millisecond); err != nil {
		return nil, err
	}
	gone := make(chan time.Time, 1)
	go func() {
		<-p.Done()
		gone <- time.Now().Round(0)
	}()
	if err := p.terminate(); err != nil {
		return nil, err
	}
	// The successor's, not one from before.
	told := time.Now().Round(0)
	err = w.wait(ctx, skew(st.setup.interval, backupPriority)+5*time.Second, "the successor's announcement",
		func(s sighting) bool { return from(1, announcement)(s) && s.at.After(told) })
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, 100*time.Millisecond); err != nil {
		return nil, err
	}
	heard := ping.Stop()
	stopped = true
	ended := <-gone
	seen, err := w.stop()
	if err != nil {
		return nil, err
	}
	return stopTimes(seen, told, ended, heard, skew(st.setup.interval, backupPriority))
}

// stopTimes finds in a recording what followed a master's last advertisement.
func stopTimes(seen []sighting, told, ended time.Time, heard netiftest.PingReport, bound time.Duration) (sample, error) {
	var zero, first, announced time.Time
	for _, s := range seen {
		switch {
		case from(0, advert)(s) && s.priority == 0 && s.at.After(told.Add(-time.Millisecond)) && zero.IsZero():
			zero = s.at
		case zero.IsZero():
		case from(1, advert)(s) && first.IsZero():
			first = s.at
		case from(1, announcement)(s) && announced.IsZero():
			announced = s.at
		}
	}
	if zero.IsZero() || first.IsZero() || announced.IsZero() {
		return nil, errors.New("no priority 0, or no successor, was seen")
	}
	return sample{
		rowSuccessor: {milliseconds(announced.Sub(zero))},
		rowOverSkew:  {milliseconds(first.Sub(zero) - bound)},
		rowClientGap: {milliseconds(heard.LongestGap)},
		rowExit:      {milliseconds(ended.Sub(zero))},
	}, nil
}
