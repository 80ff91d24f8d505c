package main

import (
	"context"
	"fmt"
	"time"

	"vipd/cmd/internal/figures"
)

const (
	rowScriptCPU = "CPU per run of a script, the script's own included"
	rowScriptRSS = "resident memory"
	// scriptTolerance is how much more a run may cost than keepalived's.
	scriptTolerance = 1.2
)

// scripts measures what running so many scripts every second costs, and whether
// the advertisements of a master suffer. Both daemons run theirs all the time,
// the one that is parked too.
func scripts(count int) measure {
	const interval = 100 * time.Millisecond
	return measure{
		name:  fmt.Sprintf("scripts-%d", count),
		title: fmt.Sprintf("%d scripts (/bin/true) every second, adverts every %v", count, interval),
		run: func(ctx context.Context, b *bench, out *outcome) error {
			out.row(rowScriptCPU, "ms", atMostTimes(scriptTolerance, 0))
			out.row(rowGap, "ms").byP99()
			out.row(rowExpiries, "per turn", noMore()).byMax()
			out.row(rowScriptRSS, "MiB").byMax()
			s := setup{interval: interval, priority: backupPriority, interfaces: 1, vrids: 1, vips: 1, oneBlock: true, scripts: count}
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			if err := b.startBothParked(ctx, both); err != nil {
				return err
			}
			window := costWindow
			if b.opts.quick {
				window = costQuick
			}
			return b.pairs(ctx, out, b.opts.pairs, func(ctx context.Context, r rival) (sample, error) {
				return scriptCosts(ctx, both[r], window)
			})
		},
	}
}

// scriptCosts takes one sample of a parked daemon, and parks it.
func scriptCosts(ctx context.Context, st *stand, window time.Duration) (sample, error) {
	pids := st.processes[0].pids()[:daemonProcesses[st.rival]]
	before, err := timeWithReaped(pids)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	got, err := adverts(ctx, st, window)
	if err != nil {
		return nil, err
	}
	after, err := timeWithReaped(pids)
	if err != nil {
		return nil, err
	}
	runs := time.Since(begun).Seconds() * float64(st.setup.scripts)
	f, err := memory(pids)
	if err != nil {
		return nil, err
	}
	return sample{
		rowScriptCPU: {milliseconds(after-before) / runs},
		rowGap:       got[rowGap],
		rowExpiries:  got[rowExpiries],
		rowScriptRSS: {f.rss},
	}, nil
}

// daemonProcesses is how many processes a daemon consists of; those after them
// among its descendants are scripts.
var daemonProcesses = [2]int{keepalived: 2, vipd: 1}

// timeWithReaped returns the processor time of processes and of all children
// that they have waited for.
func timeWithReaped(pids []int) (time.Duration, error) {
	total, err := figures.ProcessorTime(pids)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		_, reaped, err := figures.Times(pid)
		if err != nil {
			return 0, err
		}
		total += reaped
	}
	return total, nil
}
