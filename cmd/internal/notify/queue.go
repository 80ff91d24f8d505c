package notify

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"vipd/checks/command"
)

// lowerPriority is the event of a master that hears one of lower priority.
const lowerPriority = "MASTER_RX_LOWER_PRI"

// A job is an event in a queue.
type job struct {
	Event
	at time.Time
}

// urgent reports whether j overtakes.
func (j *job) urgent() bool {
	return j.Urgent || j.State == "STOP" || j.State == "DELETED"
}

// isState reports whether j is a state that the next one makes pointless.
func (j *job) isState() bool {
	return j.State == "MASTER" || j.State == "BACKUP" || j.State == "FAULT"
}

// A queue holds the events of one instance or group whose scripts are to be run.
// Its fields are guarded by the Notifier's mu.
type queue struct {
	n   *Notifier
	key key
	log *slog.Logger

	// waiting are the events no script of which has been started: at most one
	// state and one MASTER_RX_LOWER_PRI.
	waiting []*job
	working bool // work runs
	urgent  []*job
	// hurrying is set while hurry runs. Then nothing of waiting is started.
	hurrying bool
	// overtaken counts the urgent events, overtaker is the state of the last. An
	// event that was begun before one has its other scripts skipped.
	overtaken int
	overtaker string
	overdue   []*execution // the oldest first
	records   []*Record    // the oldest first
	mailed    string       // the state that the last mail was about
}

// add takes an event in. n.mu is held.
func (q *queue) add(j *job) {
	switch {
	case j.urgent():
		for _, w := range q.waiting {
			q.skip(w, w.Scripts, j.State)
		}
		q.waiting = nil
		q.overtaken++
		q.overtaker = j.State
		if len(j.Scripts) == 0 {
			return
		}
		q.urgent = append(q.urgent, j)
		if !q.hurrying {
			q.hurrying = true
			q.n.busy++
			go q.hurry()
		}
		return
	case j.isState():
		q.waiting = slices.DeleteFunc(q.waiting, func(w *job) bool {
			if !w.isState() {
				return false
			}
			q.skip(w, w.Scripts, j.State)
			return true
		})
	case j.State == lowerPriority:
		// It comes with each advert of the other master.
		for i, w := range q.waiting {
			if w.State == lowerPriority {
				q.waiting[i] = j
				return
			}
		}
	default:
		// Changes of priority are for pipes only (keepalived:
		// notify_priority_changes).
		return
	}
	if len(j.Scripts) == 0 {
		return
	}
	q.waiting = append(q.waiting, j)
	q.resume()
}

// resume starts work if there is something to do. n.mu is held.
func (q *queue) resume() {
	if q.working {
		return
	}
	if j := q.next(); j != nil {
		q.working = true
		q.n.busy++
		go q.work(j, q.overtaken)
	}
}

// next takes out the event whose scripts are to be run now, nil if there is
// none. From then on it does not wait, and no state makes it pointless.
// n.mu is held.
func (q *queue) next() *job {
	if len(q.waiting) == 0 || q.hurrying {
		return nil
	}
	j := q.waiting[0]
	q.waiting = q.waiting[1:]
	return j
}

// work runs the scripts of j, one after the other, and then those of what waits
// until nothing does. overtaken is what it was when j was taken out.
func (q *queue) work(j *job, overtaken int) {
	n := q.n
	n.mu.Lock()
	defer n.mu.Unlock()
	for ; j != nil; j, overtaken = q.next(), q.overtaken {
		for i, s := range j.Scripts {
			if q.overtaken != overtaken {
				q.skip(j, j.Scripts[i:], q.overtaker)
				break
			}
			if n.ctx.Err() != nil {
				q.skip(j, j.Scripts[i:], "the end of vipd")
				break
			}
			x := q.start(n.ctx, j, s)
			n.mu.Unlock()
			q.await(x)
			n.mu.Lock()
		}
	}
	q.working = false
	n.release()
}

// await waits until x has ended, or until it has had its time.
func (q *queue) await(x *execution) {
	timer := time.NewTimer(q.n.timeout)
	defer timer.Stop()
	select {
	case <-x.done:
		return
	case <-timer.C:
	}
	q.n.mu.Lock()
	defer q.n.mu.Unlock()
	if !x.record.Running {
		return
	}
	x.record.Overdue = true
	q.log.Warn("notify script has not ended in time; not waiting for it any longer",
		"state", x.record.State, "script", x.name(), "after", q.n.timeout)
	q.overdue = append(q.overdue, x)
	if len(q.overdue) > maxOverdue {
		oldest := q.overdue[0]
		q.overdue = q.overdue[1:]
		q.log.Warn("too many notify scripts have not ended; ending the oldest",
			"state", oldest.record.State, "script", oldest.name(), "started", oldest.record.Started)
		oldest.cancel()
	}
}

// hurry runs the scripts of urgent events. All scripts of one have urgentTimeout
// together: each of them holds up the next for its share of it, then they run
// beside each other, and what has not ended is killed.
func (q *queue) hurry() {
	n := q.n
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(q.urgent) > 0 {
		j := q.urgent[0]
		q.urgent = q.urgent[1:]
		n.mu.Unlock()
		q.rush(j)
		n.mu.Lock()
	}
	q.hurrying = false
	q.resume()
	n.release()
}

// rush runs the scripts of one urgent event.
func (q *queue) rush(j *job) {
	share := urgentTimeout / time.Duration(len(j.Scripts))
	started := make([]*execution, len(j.Scripts))
	for i, s := range j.Scripts {
		q.n.mu.Lock()
		// From its turn to be started on: there may be a thousand of them.
		s.Spec.Kill, s.Spec.Timeout = true, urgentTimeout-time.Duration(i)*share
		started[i] = q.start(q.n.ctx, j, s)
		q.n.mu.Unlock()
		select {
		case <-started[i].done:
		case <-time.After(share):
		}
	}
	late := time.After(reapTimeout)
	for _, x := range started {
		select {
		case <-x.done:
		case <-late:
			return
		}
	}
}

// skip records scripts that are not run, because of what happened later.
// n.mu is held.
func (q *queue) skip(j *job, scripts []Script, because string) {
	for _, s := range scripts {
		r := &Record{At: j.at, State: j.State, Argv: q.argv(j, s), Skipped: true, Exit: -1}
		q.record(r)
		q.log.Info("notify script skipped; a later event has overtaken it",
			"state", j.State, "script", strings.Join(r.Argv, " "), "later", because)
	}
}

// record keeps r and forgets the oldest of too many. n.mu is held.
func (q *queue) record(r *Record) {
	if len(q.records) == maxRecords {
		q.records = slices.Delete(q.records, 0, 1)
	}
	q.records = append(q.records, r)
}

// argv returns the words of the command for an event, as keepalived has them.
func (q *queue) argv(j *job, s Script) []string {
	if !s.Arguments {
		return slices.Clone(s.Spec.Argv)
	}
	return slices.Concat(s.Spec.Argv, []string{q.key.kind(), j.Name, j.State, strconv.Itoa(j.Priority)})
}

// An execution is one run of one script.
type execution struct {
	q      *queue
	spec   command.Spec
	record *Record       // guarded by the Notifier's mu
	done   chan struct{} // closed at its end
	cancel context.CancelFunc
}

// name returns the command for the log.
func (x *execution) name() string { return strings.Join(x.spec.Argv, " ") }

// start has a script run. n.mu is held.
func (q *queue) start(ctx context.Context, j *job, s Script) *execution {
	x := &execution{q: q, spec: s.Spec, done: make(chan struct{})}
	x.spec.Argv = q.argv(j, s)
	x.spec.Env = slices.Concat(s.Spec.Env, j.Env)
	if !j.urgent() {
		// One that takes long is left alone, and checks go before it: where a
		// thousand instances change their state at once, they decide.
		x.spec.Timeout, x.spec.Background = 0, true
	}
	x.record = &Record{At: j.at, State: j.State, Argv: x.spec.Argv, Started: time.Now(), Running: true, Exit: -1}
	q.record(x.record)
	ctx, x.cancel = context.WithCancel(ctx)
	q.n.runs.Go(func() { x.run(ctx) })
	return x
}

// run runs the script and says what became of it.
func (x *execution) run(ctx context.Context) {
	defer close(x.done)
	defer x.cancel()
	res := x.q.n.run.Run(ctx, &x.spec)
	detail := ""
	if !res.OK() {
		detail = res.String()
	}

	x.q.n.mu.Lock()
	r := x.record
	r.Running = false
	if !res.Started.IsZero() {
		r.Started = res.Started
	}
	r.Exit, r.Duration, r.Detail = res.Exit, res.Duration, detail
	r.Output = tail(res.Output, res.Truncated, maxOutput)
	overdue := r.Overdue
	x.q.overdue = slices.DeleteFunc(x.q.overdue, func(o *execution) bool { return o == x })
	x.q.n.mu.Unlock()

	log := x.q.log.With("state", r.State, "script", x.name())
	if hint := x.spec.FailureHint(res); hint != "" {
		log = log.With("hint", hint)
	}
	output := tail(res.Output, res.Truncated, len(res.Output))
	switch {
	case res.Problem != nil:
		log.Warn("notify script cannot be run", "reason", detail)
	case detail != "":
		log.Warn("notify script failed", "result", detail, "duration", res.Duration, "output", output)
	case overdue:
		log.Info("notify script has ended after all", "duration", res.Duration, "output", output)
	case output != "":
		log.Info("notify script wrote", "duration", res.Duration, "output", output)
	default:
		log.Debug("notify script done", "duration", res.Duration)
	}
}
