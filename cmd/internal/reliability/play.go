package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A job is a fault on a pair, some rounds of it on one stand.
type job struct {
	fault
	setup
	rounds int
}

// healRounds is how many heals there are on one stand.
const healRounds = 10

// jobs returns what is to be done.
func (o options) jobs() []job {
	var list []job
	for _, f := range faults() {
		for _, p := range pairs {
			if !o.only.MatchString(f.name) || !o.pairs.MatchString(p.String()) || f.pairs != nil && !f.pairs(p) {
				continue
			}
			j := job{fault: f, setup: setup{pair: p, interval: time.Second, version: 3}, rounds: 1}
			if f.setup != nil {
				f.setup(&j.setup)
			}
			times := max(o.repeat, 1)
			if f.heals {
				// Where nothing is promised each takes long, and proves nothing.
				if o.repeat == 0 && j.limits() != (promise{}) {
					times = f.rounds
				}
				j.rounds = min(times, healRounds)
				times = (times + healRounds - 1) / healRounds
			}
			for range times {
				list = append(list, j)
			}
		}
	}
	return list
}

// String names the job.
func (j job) String() string { return j.name + " " + j.pair.String() }

// play does all jobs, so many side by side, and returns what came of them in the
// order of the jobs.
func (o options) play(ctx context.Context, b binaries, dir string, progress io.Writer) []outcome {
	jobs := o.jobs()
	found := make([][]outcome, len(jobs))
	var mu sync.RWMutex // whoever must be alone has it for writing
	var wg sync.WaitGroup
	places := make(chan struct{}, o.atOnce)
	var said sync.Mutex
	done := 0
	for i, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if j.alone {
				mu.Lock()
				defer mu.Unlock()
			} else {
				mu.RLock()
				defer mu.RUnlock()
			}
			found[i] = j.play(ctx, b, filepath.Join(dir, fmt.Sprint(i)), o.logs)
			said.Lock()
			defer said.Unlock()
			done++
			fmt.Fprintf(progress, "%d of %d: %v\n", done, len(jobs), j)
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}

// play makes the rounds of a job. What could not be done is said in the last
// outcome.
func (j job) play(ctx context.Context, b binaries, dir, logs string) []outcome {
	list, err := j.outcomes(ctx, b, dir, logs)
	if err == nil {
		return list
	}
	if len(list) == 0 {
		list = []outcome{{Fault: j.name, Pair: j.pair.String()}}
	}
	list[len(list)-1].Error = err.Error()
	return list
}

// outcomes makes the rounds of a job, and returns what came of those that came to
// an end.
func (j job) outcomes(ctx context.Context, b binaries, dir, logs string) ([]outcome, error) {
	began := time.Now()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	s, err := newStand(ctx, b, j.setup, dir)
	if err != nil {
		return nil, err
	}
	var rounds []*round
	if err = s.begin(ctx); err == nil {
		rounds, err = j.all(ctx, s)
	}
	// What the peer says it did can only be asked while it runs.
	counts := make([]int, len(rounds))
	for i, r := range rounds {
		n, asked := s.routers[peer].transitions(ctx, r.began, r.ended)
		counts[i], err = n, errors.Join(err, asked)
	}
	err = errors.Join(err, s.owners.failed(), s.close())
	var list []outcome
	for i, r := range rounds {
		o := s.judge(j, r)
		o.Transitions = counts[i]
		p := j.limits()
		if o.healed && silent(j.setup) && o.First != routerNames[peer] {
			p.misled = nil // it did not come as it was meant to
		}
		o.Missed = o.breaks(p)
		list = append(list, o)
	}
	if logs != "" {
		err = errors.Join(err, s.keep(filepath.Join(logs, fmt.Sprintf("%s-%s-%s", j.name, j.pair, filepath.Base(dir))), began))
	}
	return list, err
}

// all makes the rounds, and returns those that came to an end.
func (j job) all(ctx context.Context, s *stand) ([]*round, error) {
	var rounds []*round
	for i := range j.rounds {
		if i > 0 {
			if err := s.settle(ctx); err != nil {
				return rounds, err
			}
		}
		r := &round{began: s.routers[peer].now()}
		if err := j.happen(ctx, s, r); err != nil {
			return rounds, err
		}
		r.ended = s.routers[peer].now()
		if r.repaired.at.IsZero() {
			r.repaired = r.ended
		}
		rounds = append(rounds, r)
	}
	return rounds, nil
}

// limits are what is promised for the pair of a job.
func (j job) limits() promise {
	if j.promise == nil {
		return promise{}
	}
	return j.promise(j.setup)
}

// keep writes what the daemons said, and who had the addresses.
func (s *stand) keep(prefix string, began time.Time) error {
	var errs []error
	for i, r := range s.routers {
		errs = append(errs, os.WriteFile(fmt.Sprintf("%s.%s.log", prefix, routerNames[i]), []byte(r.log.String()), 0o644))
	}
	return errors.Join(append(errs, os.WriteFile(prefix+".owners", []byte(s.owners.story(began)+s.client.story(began)), 0o644))...)
}
