package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vipd/cmd/internal/vlanlab/fabric"
	"vipd/cmd/internal/vlanlab/machine"
	"vipd/cmd/internal/vlanlab/ping"
)

// A job is a scenario for a pair.
type job struct {
	scenario
	pair
}

// String names the job.
func (j job) String() string { return j.name + " " + j.pair.String() }

// plan is what the routers run.
func (j job) plan() plan {
	if j.scenario.plan == nil {
		return basic()
	}
	return j.scenario.plan()
}

// limits are what is promised for the pair of a job.
func (j job) limits() promise {
	if j.promise == nil {
		return promise{}
	}
	return j.promise(j.pair, j.plan())
}

// isFor reports whether a scenario is for a pair.
func (s scenario) isFor(p pair) bool {
	if s.pairs == nil {
		return p.faulted == p.peer
	}
	return s.pairs(p)
}

// jobs returns what is to be done, pair after pair: what runs goes on.
func (o options) jobs() []job {
	var list []job
	for _, p := range pairs {
		for _, s := range scenarios() {
			if o.only.MatchString(s.name) && o.pairs.MatchString(p.String()) && s.isFor(p) {
				list = append(list, job{s, p})
			}
		}
	}
	return list
}

// A lab has a stand, another one after something went wrong with it.
type lab struct {
	img      machine.Image
	deb      []byte
	dir      string
	logs     string // empty: none are kept, unless a promise is broken
	stand    *stand
	stands   int
	noise    *noise // nil: nobody looks
	progress io.Writer
}

// ready makes a stand if there is none.
func (l *lab) ready(ctx context.Context) (err error) {
	if l.stand != nil {
		return nil
	}
	l.stands++
	dir := filepath.Join(l.dir, fmt.Sprint(l.stands))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	l.stand, err = newStand(ctx, l.img, l.deb, dir, l.progress)
	return err
}

// close ends the stand.
func (l *lab) close() error {
	if l.stand == nil {
		return nil
	}
	err := l.stand.close()
	l.stand = nil
	return err
}

// defaultAttempts is how often a promise may be tried before the host is not to blame any
// more: emulated machines on a host that is busy with other things stand still for
// seconds.
const defaultAttempts = 3

// play does all jobs one after the other, and returns what came of them.
func (l *lab) play(ctx context.Context, jobs []job, attempts int) []outcome {
	l.noise = listen()
	defer l.noise.stop()
	var list []outcome
	spares := sparesAll
	for i, j := range jobs {
		var o outcome
		t := tallyFor(attempts, &spares)
		for n, excused, more := 1, 0, true; more && ctx.Err() == nil; n++ {
			began := time.Now()
			var err error
			o, err = l.one(ctx, j, n)
			if err != nil {
				o.Error = errors.Join(err, l.close()).Error() // who knows what it is like
				o.disturbance = l.noise.between(began, time.Now())
			}
			counts := true
			if more = o.Error != "" || len(o.Missed) > 0; more {
				counts, more = t.again(o.disturbance)
			}
			if !counts {
				excused++
			}
			o.Attempts, o.Excused = n, excused
			fmt.Fprintf(l.progress, "%d of %d, attempt %d, %.0f s: %v\n", i+1, len(jobs), n, time.Since(began).Seconds(), o)
			if !counts {
				fmt.Fprintf(l.progress, "this attempt does not count: %v\n", o.disturbance)
				if l.noise.quiet(ctx) != nil {
					break // interrupted
				}
			}
		}
		list = append(list, o)
	}
	return list
}

// one does one job, for the n-th time.
func (l *lab) one(ctx context.Context, j job, n int) (outcome, error) {
	o := outcome{Scenario: j.name, Pair: j.pair.String()}
	if err := l.ready(ctx); err != nil {
		return o, err
	}
	s := l.stand
	if err := s.prepare(ctx, j); err != nil {
		return o, err
	}
	r, report, err := s.round(ctx, j)
	if err == nil {
		o = s.judge(j, r, report)
		o.disturbance = l.noise.between(r.began, r.ended)
	}
	broken := len(o.Missed) > 0 || err != nil
	if r.began.IsZero() || l.logs == "" && !broken {
		return o, err
	}
	if l.logs == "" {
		dir, made := os.MkdirTemp("", "vipd-vlanlab-logs-")
		if made != nil {
			return o, errors.Join(err, made)
		}
		l.logs = dir
	}
	prefix := filepath.Join(l.logs, j.name+"-"+j.pair.String())
	if n > 1 {
		prefix += fmt.Sprintf("-%d", n)
	}
	err = errors.Join(err, s.keep(ctx, prefix, r, report))
	if broken {
		l.show(prefix)
	}
	return o, err
}

// round makes what happens, while the client pings.
func (s *stand) round(ctx context.Context, j job) (*round, ping.Report, error) {
	r := &round{pair: j.pair}
	p, err := s.ping(ctx)
	if err != nil {
		return r, ping.Report{}, err
	}
	// The first pings wait for the neighbours to be found.
	if err := wait(ctx, 500*time.Millisecond); err != nil {
		return r, ping.Report{}, err
	}
	r.began = time.Now()
	err = j.happen(ctx, s, r)
	if r.ended.IsZero() {
		r.ended = time.Now()
	}
	if r.repaired.IsZero() {
		r.repaired = r.ended
	}
	// The last answers are on their way.
	err = errors.Join(err, wait(ctx, fabric.Settled))
	report, stopped := p.stop(ctx)
	return r, report, errors.Join(err, stopped)
}

// shown is how much of a log is shown of a broken promise.
const shown = 3 << 10

// show prints the ends of what was kept.
func (l *lab) show(prefix string) {
	files, err := filepath.Glob(prefix + ".*")
	if err != nil {
		return // the pattern is well formed
	}
	for _, f := range files {
		if strings.HasSuffix(f, ".pcap") || strings.HasSuffix(f, ".client") {
			fmt.Fprintf(l.progress, "--- %s\n", f)
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(l.progress, "--- %s\n%s\n", f, text[max(0, len(text)-shown):])
	}
}
