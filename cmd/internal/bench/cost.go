package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"vipd/cmd/internal/figures"
)

// How long the processor time of a daemon is watched.
const (
	costWindow = 5 * time.Second
	costQuick  = 2 * time.Second
)

const (
	rowMasterCPU   = "CPU as master"
	rowBackupCPU   = "CPU as backup"
	rowRSS         = "resident memory"
	rowPSS         = "proportional memory"
	costInterval   = 100 * time.Millisecond
	maxVRIDs       = 200
	pairsForCost   = 3
	injectSlots    = 50 // portions of the interval in which the imaginary routers speak
	costSettleTime = 700 * time.Millisecond
)

// scale returns a setup with so many virtual routers: 200 on an interface at
// most.
func scale(routers int) setup {
	s := setup{interval: costInterval, priority: backupPriority, interfaces: 1, vrids: routers, vips: 1, oneBlock: true}
	if routers > maxVRIDs {
		s.interfaces, s.vrids = routers/maxVRIDs, maxVRIDs
	}
	return s
}

// cost measures processor time and memory of so many virtual routers, first as
// master of all, then as backup of as many imaginary masters, whose
// advertisements are spread evenly over the interval.
func cost(routers int, cpu, rss []goal) measure {
	return measure{
		name:  fmt.Sprintf("cost-%d", routers),
		title: fmt.Sprintf("what %d virtual routers cost, adverts every %v", routers, costInterval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowMasterCPU, "% of a CPU", cpu...)
			out.row(rowBackupCPU, "% of a CPU", cpu...)
			out.row(rowRSS, "MiB", rss...).byMax()
			out.row(rowPSS, "MiB").byMax()
			s := scale(routers)
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			if err := b.startBothParked(ctx, both); err != nil {
				return err
			}
			n, window := pairsForCost, costWindow
			if b.opts.quick {
				n, window = 1, costQuick
			}
			return b.pairs(ctx, out, n, func(ctx context.Context, r rival) (sample, error) {
				return costs(ctx, both[r], window)
			})
		},
	}
}

// costs takes one sample of a parked daemon, and parks it.
func costs(ctx context.Context, st *stand, window time.Duration) (sample, error) {
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := st.say(senderPriority, st.setup.interval); err != nil {
		return nil, err
	}
	// Nothing is recorded while the daemon's time is taken.
	if err := w.everyRouter(ctx, 5*time.Second, announcement); err != nil {
		return nil, err
	}
	w.close()
	if err := sleep(ctx, costSettleTime); err != nil {
		return nil, err
	}
	pids := st.processes[0].pids()
	got := make(sample)
	if got[rowMasterCPU], err = usage(ctx, pids, window); err != nil {
		return nil, err
	}

	speaking, cancel := context.WithCancel(ctx)
	defer cancel()
	var spoken error
	var wg sync.WaitGroup
	wg.Go(func() { spoken = st.speak(speaking) })
	if err := sleep(ctx, costSettleTime); err != nil {
		return nil, err
	}
	got[rowBackupCPU], err = usage(ctx, pids, window)
	cancel()
	wg.Wait()
	if err != nil {
		return nil, err
	}
	if spoken != nil {
		return nil, spoken
	}
	f, err := memory(pids)
	if err != nil {
		return nil, err
	}
	got[rowRSS], got[rowPSS] = []float64{f.rss}, []float64{f.pss}
	if err := st.park(); err != nil {
		return nil, err
	}
	return got, sleep(ctx, 200*time.Millisecond)
}

// usage returns how many percent of a processor some processes use.
func usage(ctx context.Context, pids []int, window time.Duration) ([]float64, error) {
	before, err := figures.ProcessorTime(pids)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := sleep(ctx, window); err != nil {
		return nil, err
	}
	after, err := figures.ProcessorTime(pids)
	if err != nil {
		return nil, err
	}
	return []float64{100 * (after - before).Seconds() / time.Since(begun).Seconds()}, nil
}

// speak has the imaginary routers advertise until ctx ends, in portions spread
// evenly over the interval.
func (st *stand) speak(ctx context.Context) error {
	list, err := st.speech(said{senderPriority, st.setup.interval})
	if err != nil {
		return err
	}
	var slots [injectSlots][]outgoing
	for k, m := range list {
		slots[k%injectSlots] = append(slots[k%injectSlots], m)
	}
	next := time.Now()
	for n := 0; ; n++ {
		if err := st.send(slots[n%injectSlots]); err != nil {
			return err
		}
		next = next.Add(st.setup.interval / injectSlots)
		if sleep(ctx, time.Until(next)) != nil {
			return nil
		}
	}
}
