package checks

import (
	"context"
	"time"

	"vipd/checks/command"
)

// stopGrace is how long after SIGTERM a script is killed that still runs when
// nobody wants its result any more. keepalived sends SIGTERM and does not wait.
const stopGrace = 200 * time.Millisecond

// ScriptConfig says how a script is run and when its results count.
type ScriptConfig struct {
	Spec              command.Spec  // its Timeout is set from the one below
	Interval, Timeout time.Duration // more than 0
	Rise, Fall        int           // at least 1
	// IgnoreUnrunnable has a script that cannot be run count for nothing
	// rather than as failed (unrunnable: ignore).
	IgnoreUnrunnable bool
}

// A Script is a Tracker that runs a program at intervals; its exit code is the
// result (keepalived: vrrp_script).
type Script struct {
	progress
	config ScriptConfig
	run    func(context.Context, *command.Spec) command.Result
}

var _ Tracker = (*Script)(nil)

// NewScript returns a script that r runs.
func NewScript(r *command.Runner, c ScriptConfig) *Script { return newScript(r.Run, c) }

func newScript(run func(context.Context, *command.Spec) command.Result, c ScriptConfig) *Script {
	c.Spec.Timeout, c.Spec.Grace = c.Timeout, stopGrace
	return &Script{config: c, run: run}
}

// Once runs the script once, outside its schedule.
func (s *Script) Once(ctx context.Context) (Attempt, command.Result) {
	r := s.run(ctx, &s.config.Spec)
	return s.outcome(r).Attempt, r
}

func (s *Script) outcome(r command.Result) outcome {
	o := outcome{
		Attempt: Attempt{
			Started:  r.Started,
			Duration: r.Duration,
			OK:       r.OK(),
			Detail:   r.String(),
			Exit:     r.Exit,
			Signal:   r.Signal,
			Output:   r.Output,
		},
		timedOut: r.TimedOut,
		hint:     s.config.Spec.FailureHint(r),
	}
	if r.Problem != nil {
		o.unrunnable = r.Problem.Error()
	}
	return o
}

// Run runs the script at once, and then every interval from the start of the
// first run, so that it does not drift. While it still runs it is not run again.
// When ctx ends it is told to end.
func (s *Script) Run(ctx context.Context, report func(Report)) {
	var (
		r         Report
		results   = NewHysteresis(s.config.Rise, s.config.Fall)
		done      = make(chan command.Result, 1)
		start     = func() { done <- s.run(ctx, &s.config.Spec) }
		running   = true
		lingering <-chan struct{} // of a run that cannot be ended
	)
	tick := time.NewTicker(s.config.Interval)
	defer tick.Stop()
	defer s.end()
	s.begin()
	go start()
	for {
		select {
		case <-ctx.Done():
			if running && lingering == nil {
				<-done
			}
			return
		case <-tick.C:
			if running {
				s.skip(&r)
				continue
			}
			running = true
			s.begin()
			go start()
		case <-lingering:
			running, lingering = false, nil
			s.end()
		case result := <-done:
			// A run that cannot be ended has failed, but is not doubled.
			lingering = result.Lingering
			running = lingering != nil
			if !running {
				s.end()
			}
			if ctx.Err() != nil {
				return // it was told to end, and that is no result
			}
			o := s.outcome(result)
			r.add(o)
			state := Ignored
			if o.unrunnable == "" || !s.config.IgnoreUnrunnable {
				results.Add(o.OK)
				state = results.State()
			} else {
				// What was known before is too old to go by.
				results = NewHysteresis(s.config.Rise, s.config.Fall)
			}
			if state != r.State {
				r.State, r.Since = state, time.Now()
			}
			report(r)
		}
	}
}
