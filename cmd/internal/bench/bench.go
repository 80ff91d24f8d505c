package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"vipd/cmd/internal/figures"
)

// A bench runs measures.
type bench struct {
	opts     options
	dir      string // for everything that is written while measuring
	binaries [2]string
	report   report
	progress io.Writer
	patience time.Duration // what is left of it

	mu      sync.Mutex
	running map[*process]struct{} // for noise: what is ours
}

// newBench finds both daemons, building vipd if need be.
func newBench(ctx context.Context, o options, progress io.Writer) (*bench, error) {
	b := &bench{opts: o, progress: progress, patience: patience, running: make(map[*process]struct{})}
	if o.quick {
		b.patience = patienceQuick
	}
	var err error
	if b.binaries[keepalived], err = exec.LookPath(o.keepalived); err != nil {
		return nil, fmt.Errorf("keepalived is what vipd is measured beside: %w (apt-get install keepalived, or --keepalived FILE)", err)
	}
	if b.dir, err = os.MkdirTemp("", "vipd-bench-"); err != nil {
		return nil, err
	}
	if b.binaries[vipd] = o.vipd; o.vipd == "" {
		b.binaries[vipd] = filepath.Join(b.dir, "vipd")
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binaries[vipd], "vipd/cmd/vipd")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			b.close()
			return nil, fmt.Errorf("building vipd: %w: %s", err, text)
		}
	}
	info, err := os.Stat(b.binaries[vipd])
	if err != nil {
		b.close()
		return nil, err
	}
	b.report = describe(ctx, b, float64(info.Size()))
	return b, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

// track remembers a process as ours until it ends.
func (b *bench) track(p *process) {
	b.mu.Lock()
	b.running[p] = struct{}{}
	b.mu.Unlock()
	go func() {
		<-p.Done()
		b.mu.Lock()
		delete(b.running, p)
		b.mu.Unlock()
	}()
}

// foreign returns a clock of what everything but this program and what it has
// started uses of the processors. It is as exact as the kernel's ticks.
func (b *bench) foreign() (time.Duration, error) {
	all, err := figures.MachineTime()
	if err != nil {
		return 0, err
	}
	own := figures.OwnTime()
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range b.running {
		pids := p.pids()
		if used, err := figures.ProcessorTime(pids); err == nil {
			own += used
		}
		for _, pid := range pids {
			if _, used, err := figures.Times(pid); err == nil {
				own += used // scripts that have ended
			}
		}
	}
	return all - own, nil
}

// A measure is one question, asked of both rivals.
type measure struct {
	name  string
	title string
	run   func(ctx context.Context, b *bench, out *outcome) error
}

// measure runs one measure. An error is returned with what was found before it.
func (b *bench) measure(ctx context.Context, m measure) (*outcome, error) {
	out := &outcome{Name: m.name, Title: m.title, index: make(map[string]*row)}
	begun := time.Now()
	fmt.Fprintf(b.progress, "%s …\n", m.name)
	err := m.run(ctx, b, out)
	out.Seconds = time.Since(begun).Seconds()
	return out, err
}

// A sample is what one rival showed in one turn: for each row the values, of
// which there may be many.
type sample map[string][]float64

// errLimit is how many pairs may fail before a measure is given up.
const errLimit = 3

// pairs takes n pairs of samples in turns. A pair in which something failed, or
// during which other programs used the machine, is rejected as a whole, kept
// with the reason, and taken again, as often as there are pairs.
func (b *bench) pairs(ctx context.Context, out *outcome, n int, take func(ctx context.Context, r rival) (sample, error)) error {
	accepted, failures := 0, 0
	for attempt := 0; accepted < n && attempt < 2*n; attempt++ {
		var got [2]sample
		var reasons []string
		for _, r := range turns(attempt) {
			before, err := b.foreign()
			if err != nil {
				return err
			}
			begun := time.Now()
			got[r], err = take(ctx, r)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				reasons = append(reasons, fmt.Sprintf("%v: %v", r, err))
				if failures++; failures >= errLimit {
					return fmt.Errorf("%v: %w", r, err)
				}
				continue
			}
			after, err := b.foreign()
			if err != nil {
				return err
			}
			// Shorter times than this are beyond the kernel's ticks.
			if took := time.Since(begun); took > 0 {
				share := (after - before).Seconds() / max(took, 200*time.Millisecond).Seconds()
				out.Foreign = append(out.Foreign, share)
				if share > b.opts.noise {
					reasons = append(reasons, fmt.Sprintf("%v: other programs used %.2f CPUs", r, share))
				}
			}
		}
		if len(reasons) > 0 {
			out.reject(attempt, strings.Join(reasons, "; "), got)
			if err := b.quiet(ctx); err != nil {
				return err
			}
			continue
		}
		accepted++
		out.accept(got)
	}
	if accepted == 0 {
		return errors.New("every pair was rejected (--noise raises the limit)")
	}
	if accepted < n {
		out.Notes = append(out.Notes, fmt.Sprintf("only %d of %d pairs were accepted", accepted, n))
	}
	return nil
}

// After a pair was rejected, others are given time to come to an end: so much in
// the whole run.
const (
	patience      = 3 * time.Minute
	patienceQuick = 30 * time.Second
	quietLook     = 500 * time.Millisecond
)

// quiet waits until other programs leave the machine alone, but not for ever.
func (b *bench) quiet(ctx context.Context) error {
	for ; b.patience > 0; b.patience -= quietLook {
		before, err := b.foreign()
		if err != nil {
			return err
		}
		if err := sleep(ctx, quietLook); err != nil {
			return err
		}
		after, err := b.foreign()
		if err != nil {
			return err
		}
		if (after - before).Seconds() <= b.opts.noise*quietLook.Seconds() {
			return nil
		}
	}
	return nil
}
