// Package notify tells the outside of what happens to instances and sync
// groups: by scripts, named pipes and mail (keepalived: notify_…, notify_fifo,
// smtp_alert).
//
// Nothing here ever holds up the caller. Scripts of one instance run one after
// the other in the order of the events, a pipe gets one line for each event, and
// mail is sent when the server takes it.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vipd/checks/command"
)

const (
	// defaultTimeout is Config.Timeout if that is not given.
	defaultTimeout = 30 * time.Second
	// urgentTimeout is for how long the scripts of an urgent event may run, all
	// together. keepalived gives those of STOP as long.
	urgentTimeout = time.Second
	// reapTimeout is for how long the end of killed scripts, and of those that
	// wait to be started, is waited for before they are left to themselves: one
	// may be in the middle of something that the kernel does not interrupt.
	reapTimeout = 10 * time.Second
	// maxOverdue is how many scripts of one queue may run on after their
	// time. keepalived has no bound.
	maxOverdue = 8
	// maxRecords is how many records one queue keeps, maxOutput how many octets
	// of output are kept with each: there may be thousands of queues.
	maxRecords = 10
	maxOutput  = 512
)

// A runner runs programs; it is a command.Runner.
type runner interface {
	Run(ctx context.Context, s *command.Spec) command.Result
}

var _ runner = (*command.Runner)(nil)

// Config says how to notify.
type Config struct {
	Runner *command.Runner
	Log    *slog.Logger
	// Timeout is for how long a script may hold up the next one of its queue
	// (notify_timeout); 0: 30 s.
	Timeout time.Duration
	FIFOs   []FIFO
	Mailer  Mailer // nil: no mail
}

// An Event is something that happened to an instance or a group.
type Event struct {
	Group bool // Name is a sync group's, not an instance's
	Name  string
	// State is MASTER, BACKUP, FAULT, STOP, DELETED, MASTER_RX_LOWER_PRI,
	// MASTER_PRIORITY or BACKUP_PRIORITY.
	State    string
	Priority int      // the effective one; 0 for groups
	Scripts  []Script // in the order to run them: the specific one, then the generic one
	Env      []string // added to the environment of each
	// Mail is what to send (keepalived: smtp_alert); nil: nothing. Mail about
	// the state that the last one was about is not sent.
	Mail *Message
	// NoFIFO keeps the event out of the pipes.
	NoFIFO bool
	// Urgent events skip what waits, do not wait for what runs, and are given
	// 1 s. STOP and DELETED always are.
	Urgent bool
}

// A Script is a program to run on an event.
type Script struct {
	Spec command.Spec // its Timeout does not matter
	// Arguments appends INSTANCE or GROUP, the name, the state and the priority
	// to the words of the command (keepalived: notify).
	Arguments bool
}

// A Record says what became of one script of one event.
type Record struct {
	At       time.Time // of the event
	State    string    // of the event
	Argv     []string
	Started  time.Time // zero if Skipped
	Running  bool      // Exit and what follows are not known yet
	Skipped  bool      // a later event made it pointless; it was never started
	Overdue  bool      // it was over the timeout; the next did not wait for it any longer
	Exit     int       // -1 if it did not exit by itself
	Duration time.Duration
	Detail   string // why it failed, in a few words; empty: it did not
	Output   string // the end of what it wrote, bounded, not cleaned of control characters
}

// A key names a queue.
type key struct {
	group bool
	name  string
}

func (k key) kind() string {
	if k.group {
		return "GROUP"
	}
	return "INSTANCE"
}

// A Notifier carries out notifications. Its methods may be called from any
// goroutine. It has no goroutine for a queue in which nothing is to be done.
type Notifier struct {
	run     runner
	log     *slog.Logger
	timeout time.Duration
	fifos   []*fifo
	outbox  *outbox // nil: no mail

	ctx    context.Context // of all scripts
	cancel context.CancelFunc
	runs   sync.WaitGroup // scripts, overdue ones too

	mu     sync.Mutex
	closed bool
	queues map[key]*queue
	busy   int           // queues' goroutines
	idle   chan struct{} // is closed when closed is set and busy is 0
}

// New returns a Notifier and opens its pipes. A pipe that cannot be opened is
// logged, shown by FIFOs and left out, as by keepalived: the router matters more.
func New(c Config) (*Notifier, error) {
	if c.Runner == nil || c.Log == nil {
		return nil, errors.New("notify: a runner and a log are needed")
	}
	return newNotifier(c, c.Runner), nil
}

func newNotifier(c Config, r runner) *Notifier {
	n := &Notifier{
		run:     r,
		log:     c.Log,
		timeout: c.Timeout,
		queues:  make(map[key]*queue),
		idle:    make(chan struct{}),
	}
	if n.timeout <= 0 {
		n.timeout = defaultTimeout
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if c.Mailer != nil {
		n.outbox = newOutbox(c.Mailer, c.Log)
	}
	for _, f := range c.FIFOs {
		n.fifos = append(n.fifos, openFIFO(f, r, c.Log))
	}
	return n
}

// Notify has an event told to all that want to know. It does not block. After
// Close it does nothing.
func (n *Notifier) Notify(e Event) {
	j := &job{Event: e, at: time.Now()}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		n.log.Debug("notification after the end", "name", e.Name, "state", e.State)
		return
	}
	q := n.queue(key{e.Group, e.Name})
	if !e.NoFIFO && len(n.fifos) > 0 {
		line := fmt.Sprintf("%s \"%s\" %s %d\n", q.key.kind(), e.Name, e.State, e.Priority)
		for _, f := range n.fifos {
			f.push(line)
		}
	}
	if e.Mail != nil && n.outbox != nil && q.mailed != e.State {
		q.mailed = e.State
		n.outbox.push(*e.Mail)
	}
	q.add(j)
}

// queue returns the queue of k, a new one if there is none. n.mu is held.
func (n *Notifier) queue(k key) *queue {
	q := n.queues[k]
	if q == nil {
		what := "instance"
		if k.group {
			what = "group"
		}
		q = &queue{n: n, key: k, log: n.log.With(what, k.name)}
		n.queues[k] = q
	}
	return q
}

// History returns what became of the last scripts of an instance or group, the
// newest last. The order is that of the starts.
func (n *Notifier) History(group bool, name string) []Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.queues[key{group, name}]
	if q == nil {
		return nil
	}
	records := make([]Record, len(q.records))
	for i, r := range q.records {
		records[i] = *r
	}
	return records
}

// Retain forgets the history of all instances and groups but those named, once
// they have nothing left to do.
func (n *Notifier) Retain(instances, groups []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.queues, func(k key, q *queue) bool {
		names := instances
		if k.group {
			names = groups
		}
		return !slices.Contains(names, k.name) && !q.working && !q.hurrying && len(q.overdue) == 0
	})
}

// Close waits for the scripts that run or wait, except overdue ones, then ends
// the scripts of pipes, and closes the pipes. What is not done when ctx ends is
// given up: scripts get SIGTERM.
func (n *Notifier) Close(ctx context.Context) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	if n.busy == 0 {
		close(n.idle)
	}
	n.mu.Unlock()

	var mail sync.WaitGroup
	if n.outbox != nil {
		mail.Go(func() { n.outbox.close(ctx) })
	}
	select {
	case <-n.idle:
	case <-ctx.Done():
		n.log.Warn("notify scripts have not ended in time; ending them")
	}
	n.cancel()

	var rest sync.WaitGroup
	for _, f := range n.fifos {
		rest.Go(func() { f.close(ctx) })
	}
	rest.Wait()
	mail.Wait()
	ended := make(chan struct{})
	go func() {
		n.runs.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// release counts a goroutine of a queue as ended. n.mu is held.
func (n *Notifier) release() {
	n.busy--
	if n.closed && n.busy == 0 {
		close(n.idle)
	}
}

// tail returns the end of output, at most max octets of it, as one line's worth
// of text.
func tail(output string, truncated bool, max int) string {
	output = strings.TrimSpace(output)
	if len(output) > max {
		output, truncated = strings.ToValidUTF8(output[len(output)-max:], ""), true
	}
	if truncated && output != "" {
		output = "…" + output
	}
	return output
}
