// Command sim runs many simulated histories of virtual routers and looks whether
// an address ever has two owners, or none; see package vipd/vrrp/vrrptest/sim.
//
// Each history is made of a seed. A violation is printed with the seed, the few
// faults that lead to it, and what the routers did last. It fails as well if
// something was never seen: a resume, a healed partition.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vipd/vrrp/vrrptest/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	histories := flags.Int("histories", 10000, "how many histories to run")
	first := flags.Uint64("first", 1, "the seed of the first; those of the others follow")
	seed := flags.Uint64("seed", 0, "run only the history of this seed, and print its trace")
	lines := flags.Int("lines", 60, "how many lines of the trace to print at most; 0 for all")
	failures := flags.Int("failures", 3, "stop after so many violations")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || *histories < 1 {
		flags.Usage()
		return 2
	}
	if *seed != 0 {
		return replay(*seed, *lines, stdout)
	}

	began := time.Now()
	total, violated, ran := runAll(ctx, *first, *histories, *failures)
	reported := map[string]int{}
	for _, f := range violated {
		if reported[f.violation.Invariant]++; reported[f.violation.Invariant] == 1 {
			fmt.Fprintln(stdout, f.history.Report(f.violation, *lines))
			continue
		}
		fmt.Fprintf(stdout, "seed %d: %v\n", f.history.Seed, f.violation) // one of a kind is enough to read
	}
	fmt.Fprintf(stdout, "%d histories in %s: %s\n", ran, time.Since(began).Round(time.Millisecond), &total)
	switch missing := total.Missing(); {
	case len(violated) > 0:
		fmt.Fprintf(stdout, "at least %d violations\n", len(violated))
		return 1
	case ran < *histories:
		fmt.Fprintln(stderr, "sim: interrupted")
		return 1
	case len(missing) > 0:
		fmt.Fprintf(stdout, "none of a kind was seen: %v\n", missing)
		return 1
	}
	return 0
}

// A failure is a violation and the history it was seen in.
type failure struct {
	history   *sim.History
	violation *sim.Violation
}

// runAll runs histories on all processors until there are too many failures, and
// returns how many it ran.
func runAll(ctx context.Context, first uint64, histories, failures int) (total sim.Stats, violated []failure, ran int) {
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1) - 1
				mu.Lock()
				enough := n >= int64(histories) || len(violated) >= failures
				mu.Unlock()
				if enough {
					return
				}
				h := sim.NewHistory(first + uint64(n))
				stats, v := h.Run()
				mu.Lock()
				total.Add(stats)
				ran++
				if v != nil {
					violated = append(violated, failure{h, v})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(violated, func(a, b failure) int { return int(a.history.Seed) - int(b.history.Seed) })
	return total, violated, ran
}

// replay prints one history.
func replay(seed uint64, lines int, stdout io.Writer) int {
	h := sim.NewHistory(seed)
	trace, v := h.Trace()
	fmt.Fprintln(stdout, h)
	if lines > 0 && len(trace) > lines {
		fmt.Fprintf(stdout, "... %d lines before\n", len(trace)-lines)
		trace = trace[len(trace)-lines:]
	}
	for _, line := range trace {
		fmt.Fprintln(stdout, line)
	}
	if v != nil {
		fmt.Fprintln(stdout, v)
		return 1
	}
	return 0
}
