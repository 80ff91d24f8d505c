package checks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Prober asks a service once whether it is there.
type Prober interface {
	// Probe returns nil if the service is as it should be. What it returns says
	// in a few words what was seen. It ends with ctx, and nothing of it is left.
	Probe(ctx context.Context) (detail string, err error)
	// String names what is asked: "tcp 192.0.2.1:80".
	String() string
}

// An UnrunnableError is the result of a Prober that could not even ask.
type UnrunnableError struct {
	Reason string
	Hint   string // what can be done about it; may be empty
}

// Error returns the reason.
func (e *UnrunnableError) Error() string { return e.Reason }

// A ProbeConfig says what a Probe asks and when answers count.
type ProbeConfig struct {
	Prober            Prober
	Interval, Timeout time.Duration // more than 0
	Rise, Fall        int           // at least 1
}

// A Probe is a Tracker that asks a service again and again.
type Probe struct {
	progress
	config ProbeConfig
}

var _ Tracker = (*Probe)(nil)

// NewProbe returns a Probe.
func NewProbe(c ProbeConfig) *Probe { return &Probe{config: c} }

// Once asks once, outside the schedule. The error is not nil if it could not even
// ask.
func (p *Probe) Once(ctx context.Context) (Attempt, *UnrunnableError) {
	o := p.attempt(ctx)
	if o.unrunnable == "" {
		return o.Attempt, nil
	}
	return o.Attempt, &UnrunnableError{Reason: o.unrunnable, Hint: o.hint}
}

// Inspect says without asking anybody whether a Prober could ask from this host as
// it is now, as far as that is known. It returns nil if it could.
func Inspect(p Prober) *UnrunnableError {
	i, ok := p.(interface{ inspect() error })
	if !ok {
		return nil
	}
	u, _ := errors.AsType[*UnrunnableError](i.inspect())
	return u
}

// An outcome is an attempt with what only a Report says of it.
type outcome struct {
	Attempt
	timedOut   bool
	unrunnable string
	hint       string
}

func (p *Probe) attempt(ctx context.Context) outcome {
	o := outcome{Attempt: Attempt{Started: time.Now(), Exit: -1}}
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	detail, err := p.config.Prober.Probe(ctx)
	o.Duration = time.Since(o.Started)
	if err == nil {
		o.OK, o.Detail = true, plain(detail)
		return o
	}
	o.Detail = plain(err.Error())
	// The network may notice the deadline before the context does.
	if errors.Is(err, context.DeadlineExceeded) {
		o.timedOut = true
		o.Detail = fmt.Sprintf("timed out after %v", p.config.Timeout)
	}
	o.timedOut = o.timedOut || errors.Is(ctx.Err(), context.DeadlineExceeded)
	if u, ok := errors.AsType[*UnrunnableError](err); ok {
		o.unrunnable, o.hint = plain(u.Reason), u.Hint
	}
	return o
}

// detailLen is how much of a detail is kept. Servers can say a lot.
const detailLen = 400

// plain makes what a server may have written fit to be shown in a line.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > detailLen {
		return string(runes[:detailLen]) + "…"
	}
	return s
}

// Run asks at once, and then every interval from the start of the attempt
// before, as scripts are run. An attempt that is still going on is not joined
// by another one.
func (p *Probe) Run(ctx context.Context, report func(Report)) {
	var (
		r       Report
		results = NewHysteresis(p.config.Rise, p.config.Fall)
		done    = make(chan outcome, 1)
		running = true
		start   = func() { done <- p.attempt(ctx) }
	)
	tick := time.NewTicker(p.config.Interval)
	defer tick.Stop()
	defer p.end()
	p.begin()
	go start()
	for {
		select {
		case <-ctx.Done():
			if running {
				<-done // the end of ctx has ended it
			}
			return
		case <-tick.C:
			if running {
				p.skip(&r)
				continue
			}
			running = true
			p.begin()
			go start()
		case o := <-done:
			running = false
			p.end()
			if ctx.Err() != nil {
				return
			}
			if results.Add(o.OK) {
				r.Since = time.Now()
			}
			r.State = results.State()
			r.add(o)
			report(r)
		}
	}
}

// add counts an attempt.
func (r *Report) add(o outcome) {
	r.Runs++
	if !o.OK {
		r.Failures++
	}
	if o.timedOut {
		r.Timeouts++
	}
	if r.Last == nil || r.Last.OK != o.OK {
		r.Streak = 0
	}
	r.Streak++
	last := o.Attempt
	r.Last = &last
	r.Detail, r.Unrunnable, r.Hint = o.Detail, o.unrunnable, o.hint
}
