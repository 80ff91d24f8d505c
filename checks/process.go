package checks

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Match says how the arguments of a process are compared.
type Match uint8

// The ways to compare arguments (keepalived: param_match).
const (
	MatchNone  Match = iota // not at all: the name is enough
	MatchExact              // they are those given
	// MatchPartial has the arguments given come first; others may follow
	// (keepalived: param_match partial).
	MatchPartial
	// MatchInitial is MatchPartial, and the last one given may be longer
	// (keepalived: param_match initial).
	MatchInitial
)

// commLen is how much of a process's name the kernel keeps.
const commLen = 15

// A ProcessConfig says which processes a Process counts and how many there
// should be.
type ProcessConfig struct {
	Argv   []string // the program's name, and the arguments if Match is not MatchNone
	Match  Match
	Quorum int // least number of processes
	// QuorumMax is the largest number of processes; -1: any.
	QuorumMax      int
	ForkDelay      time.Duration // how long a change because of more processes must last
	TerminateDelay time.Duration // how long a change because of fewer processes must last
	// FullCommand compares the first word of the command line, as the process
	// shows it, rather than the name that the kernel keeps of it. So does any
	// Match but MatchNone.
	FullCommand bool
}

// byCommand reports whether command lines are compared rather than names.
func (c *ProcessConfig) byCommand() bool { return c.FullCommand || c.Match != MatchNone }

// matchesComm compares the name that the kernel keeps.
func (c *ProcessConfig) matchesComm(comm string) bool {
	name := c.Argv[0]
	return comm == name[:min(len(name), commLen)]
}

// matchesCommand compares a command line: words that each end with a zero.
func (c *ProcessConfig) matchesCommand(line []byte) bool {
	want := c.Argv[0]
	if c.Match != MatchNone {
		want = strings.Join(c.Argv, "\x00")
	}
	got, found := strings.CutPrefix(string(line), want)
	if !found {
		return false
	}
	switch c.Match {
	case MatchExact:
		return got == "" || got == "\x00"
	case MatchInitial:
		if len(c.Argv) > 1 {
			return true
		}
	}
	return got == "" || got[0] == 0
}

// commandLen is how much of a command line has to be read to compare it.
func (c *ProcessConfig) commandLen() int {
	n := 2
	for _, a := range c.Argv {
		n += len(a) + 1
	}
	return n
}

// A quorum is the pure part of a Process: what number of processes it has seen,
// and what state follows.
type quorum struct {
	config *ProcessConfig
	state  State
	count  int
	due    time.Time // when state is to change, zero: not
}

// enough reports whether the number of processes is right.
func (c *ProcessConfig) enough(n int) bool {
	return n >= c.Quorum && (c.QuorumMax < 0 || n <= c.QuorumMax)
}

// set takes the number of processes, and tick what the time alone changes. Both
// report whether the state is another one. The first number decides at once.
func (q *quorum) set(now time.Time, n int) bool {
	rising := n > q.count
	q.count = n
	want := Down
	if q.config.enough(n) {
		want = Up
	}
	switch {
	case q.state == want:
		q.due = time.Time{}
		return false
	case q.state == Unknown:
		q.state = want
		return true
	case q.due.IsZero():
		delay := q.config.TerminateDelay
		if rising {
			delay = q.config.ForkDelay
		}
		q.due = now.Add(delay)
	}
	return q.tick(now)
}

func (q *quorum) tick(now time.Time) bool {
	if q.due.IsZero() || now.Before(q.due) {
		return false
	}
	q.due = time.Time{}
	q.state = Up
	if !q.config.enough(q.count) {
		q.state = Down
	}
	return true
}

// detail says what was counted: "1 process, at least 2 needed".
func (q *quorum) detail() string {
	s := fmt.Sprintf("%d processes", q.count)
	switch q.count {
	case 0:
		s = "no process"
	case 1:
		s = "1 process"
	}
	switch {
	case q.count < q.config.Quorum:
		s += fmt.Sprintf(", at least %d needed", q.config.Quorum)
	case !q.config.enough(q.count) && q.config.QuorumMax == 0:
		s += ", none allowed"
	case !q.config.enough(q.count):
		s += fmt.Sprintf(", at most %d allowed", q.config.QuorumMax)
	}
	if !q.due.IsZero() {
		s += fmt.Sprintf("; still %v for a moment", q.state)
	}
	return s
}

// A census is what a ProcessMonitor knows for one Process.
type census struct {
	known     bool
	count     int
	mechanism string
	// problem says why the count cannot be had.
	problem, hint string
}

// A Process is a Tracker of the number of running processes (keepalived:
// vrrp_track_process). A process that ends and starts again within an instant
// may not be seen as a change. Threads are not processes, and what has ended and
// was not waited for does not count.
type Process struct {
	config ProcessConfig

	mu   sync.Mutex
	last census
	wake chan struct{}
}

var _ Tracker = (*Process)(nil)

// put hands what is known to Run.
func (p *Process) put(c census) {
	p.mu.Lock()
	changed := p.last != c
	p.last = c
	p.mu.Unlock()
	if changed {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// Count returns how many processes there were when they were last counted.
func (p *Process) Count() int { return p.get().count }

func (p *Process) get() census {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Run reports each change of the number of processes. It gets it from the
// ProcessMonitor, which has to run, too.
func (p *Process) Run(ctx context.Context, report func(Report)) {
	q := quorum{config: &p.config}
	var since time.Time
	delay := time.NewTimer(0)
	delay.Stop()
	defer delay.Stop()
	for {
		if c := p.get(); c.known {
			now := time.Now()
			r := Report{Mechanism: c.mechanism, Unrunnable: c.problem, Hint: c.hint}
			changed := false
			if c.problem == "" {
				changed = q.set(now, c.count)
				r.Detail = q.detail()
				if c.count == 0 && !p.config.byCommand() && strings.Contains(p.config.Argv[0], "/") {
					r.Hint = "names of processes have no directory: give the name alone, or full_command"
				}
			} else {
				changed = q.state != Down
				q = quorum{config: &p.config, state: Down}
				r.Detail = c.problem
			}
			if changed {
				since = now
			}
			r.State, r.Since = q.state, since
			report(r)
			delay.Stop()
			if !q.due.IsZero() {
				delay.Reset(q.due.Sub(now))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-delay.C:
		}
	}
}

// A ProcessMonitor counts processes for all that track some. It is told by the
// kernel's process events where that is permitted, which is to a privileged
// program in the initial namespaces, and looks through /proc each second where
// it is not.
type ProcessMonitor struct {
	log     *slog.Logger
	tracked []*Process
	proc    procfs
	open    func() (*procEvents, error)
}

// NewProcessMonitor returns a ProcessMonitor that counts nothing yet.
func NewProcessMonitor(log *slog.Logger) *ProcessMonitor {
	return &ProcessMonitor{log: log, proc: procfs{root: "/proc"}, open: openProcEvents}
}

// Track adds processes to count. It must be called before Run.
func (m *ProcessMonitor) Track(c ProcessConfig) *Process {
	c.Argv = slices.Clone(c.Argv)
	p := &Process{config: c, wake: make(chan struct{}, 1)}
	m.tracked = append(m.tracked, p)
	return p
}

const (
	procScan = time.Second // between scans of /proc without events
	// procRescan is between scans with events: processes may change their
	// command line, of which there is no event.
	procRescan = time.Minute
	// procSettle is the least time between scans because events were lost.
	procSettle = time.Second
)

// Run counts until ctx ends. Its error is always nil: what it cannot know is
// reported by those who track it.
func (m *ProcessMonitor) Run(ctx context.Context) error {
	if len(m.tracked) == 0 {
		<-ctx.Done()
		return nil
	}
	events, err := m.open()
	if err == nil {
		err = m.listen(ctx, events)
		events.close()
		if ctx.Err() != nil {
			return nil
		}
		m.log.Warn("process events have ended", "err", err)
	}
	m.scan(ctx, fmt.Sprintf("scan of /proc every %v (no process events: %v)", procScan, err))
	return nil
}

// scan counts by looking through /proc.
func (m *ProcessMonitor) scan(ctx context.Context, mechanism string) {
	t := newProcTable(m.proc, m.tracked)
	tick := time.NewTicker(procScan)
	defer tick.Stop()
	for {
		m.publish(t, t.scan(), mechanism)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listen counts by events until ctx ends or there are no more, which is an
// error. The events were asked for before the first scan, so that nothing is
// missed between the two; those that the scan has seen already do no harm.
func (m *ProcessMonitor) listen(ctx context.Context, events *procEvents) error {
	const mechanism = "process events"
	t := newProcTable(m.proc, m.tracked)
	err := t.rescan()
	m.publish(t, err, mechanism)
	scanned := time.Now()
	rescan := time.NewTimer(procRescan)
	defer rescan.Stop()
	lost := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rescan.C:
			if lost {
				m.log.Info("process events were lost, scanned /proc")
				lost = false
			}
			err = t.rescan()
			scanned = time.Now()
			if err != nil {
				rescan.Reset(procScan)
			} else {
				rescan.Reset(procRescan)
			}
		case batch, open := <-events.batches:
			if !open {
				return events.err
			}
			for _, e := range batch.events {
				t.apply(e)
			}
			if batch.lost && !lost {
				lost = true
				rescan.Reset(max(0, time.Until(scanned.Add(procSettle))))
			}
			events.recycle(batch)
		}
		m.publish(t, err, mechanism)
	}
}

// publish hands the counts to those who track them.
func (m *ProcessMonitor) publish(t *procTable, err error, mechanism string) {
	for i, p := range m.tracked {
		c := census{known: true, count: t.counts[i], mechanism: mechanism}
		const hidden = "/proc hides processes of other users (hidepid)"
		const cure = "run vipd as root, or in the group of /proc's mount option gid"
		switch {
		case err != nil:
			c.problem, c.hint = "processes cannot be seen: "+err.Error(), "vipd needs /proc"
		case t.hidden && (c.count < p.config.Quorum || p.config.QuorumMax >= 0 && c.count <= p.config.QuorumMax):
			// There may be more of them. What is not known is not a success.
			c.problem, c.hint = hidden, cure
		case t.hidden:
			c.mechanism += ", " + hidden
		}
		p.put(c)
	}
}
