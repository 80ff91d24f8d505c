package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/netif/netiftest"
)

const (
	// poll is how often a condition is looked at.
	poll = 20 * time.Millisecond
	// stopTimeout is how long a daemon may take to end in good order. keepalived
	// waits a second for its multicast leave to be sent.
	stopTimeout = 15 * time.Second
	// shownLog is how much of its log a daemon shows when the test has failed.
	shownLog = 8 << 10
)

// A Daemon is a router daemon that runs in a node, of whichever kind.
type Daemon interface {
	// Name names the daemon and its node, for messages.
	Name() string
	// Node is where the daemon runs.
	Node() *netiftest.Node
	// State returns the state of a vrrp_instance, empty if it is not known.
	State(instance string) control.State
	// WaitState waits until a vrrp_instance is in a state, and fails the test
	// if that takes too long.
	WaitState(t testing.TB, instance string, want control.State, timeout time.Duration)
	// Log returns everything that the daemon has logged.
	Log() string
	// Pause holds the daemon up, with all its processes, as SIGSTOP does.
	Pause(t testing.TB)
	// Continue lets it go on.
	Continue(t testing.TB)
	// Signal sends a signal to the daemon's first process.
	Signal(t testing.TB, sig syscall.Signal)
	// Stop ends the daemon in good order and returns its exit code.
	Stop(t testing.TB) int
	// Kill ends it, with all its processes, at once.
	Kill(t testing.TB)
}

var (
	_ Daemon = (*Vipd)(nil)
	_ Daemon = (*Keepalived)(nil)
	_ Daemon = (*FRR)(nil)
)

// A process is a daemon's first process and its children, which are in its
// process group.
type process struct {
	name string
	node *netiftest.Node
	cmd  *netiftest.Cmd
	log  *record
}

// start starts a program. It ends with the test at the latest; if the test has
// failed by then, the log is shown.
func start(t testing.TB, node *netiftest.Node, program string, args ...string) *process {
	t.Helper()
	p := &process{
		name: fmt.Sprintf("%s on %s", filepath.Base(program), node.Name()),
		node: node,
		cmd:  node.Command(t.Context(), program, args...),
		log:  &record{},
	}
	// One writer for both keeps the lines in order.
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.group(syscall.SIGCONT)
		p.cmd.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", p.name, tail(p.Log()))
		}
	})
	return p
}

// tail returns the end of a log, from the beginning of a line.
func tail(log string) string {
	if len(log) <= shownLog {
		return log
	}
	_, log, _ = strings.Cut(log[len(log)-shownLog:], "\n")
	return "…\n" + log
}

// Name returns the name of the program and of the node.
func (p *process) Name() string { return p.name }

// Node returns where the daemon runs.
func (p *process) Node() *netiftest.Node { return p.node }

// Log returns everything that has been logged.
func (p *process) Log() string { return p.log.String() }

// PID returns the number of the daemon's first process.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the daemon has ended.
func (p *process) Done() <-chan struct{} { return p.cmd.Done() }

// group sends a signal to all processes of the daemon.
func (p *process) group(sig syscall.Signal) error {
	select {
	case <-p.cmd.Done():
		return syscall.ESRCH // the number may be somebody else's by now
	default:
		return syscall.Kill(-p.PID(), sig)
	}
}

// Pause holds up all processes of the daemon.
func (p *process) Pause(t testing.TB) {
	t.Helper()
	if err := p.group(syscall.SIGSTOP); err != nil {
		t.Fatalf("holding %s up: %v", p.name, err)
	}
}

// Continue lets all processes of the daemon go on.
func (p *process) Continue(t testing.TB) {
	t.Helper()
	if err := p.group(syscall.SIGCONT); err != nil {
		t.Fatalf("letting %s go on: %v", p.name, err)
	}
}

// Signal sends a signal to the first process.
func (p *process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Signal(sig); err != nil {
		t.Fatalf("sending %v to %s: %v", sig, p.name, err)
	}
}

// Stop sends SIGTERM and returns the exit code.
func (p *process) Stop(t testing.TB) int {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.WaitExit(t, stopTimeout)
}

// WaitExit waits until the daemon has ended by itself or by a signal, and
// returns its exit code, -1 if it was a signal that ended it.
func (p *process) WaitExit(t testing.TB, timeout time.Duration) int {
	t.Helper()
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-p.cmd.Done():
	case <-late.C:
		t.Fatalf("%s has not ended after %v", p.name, timeout)
	}
	err := p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	return 0
}

// Kill ends all processes of the daemon at once.
func (p *process) Kill(t testing.TB) {
	t.Helper()
	if err := p.group(syscall.SIGKILL); err != nil {
		t.Fatalf("killing %s: %v", p.name, err)
	}
	<-p.cmd.Done()
}

// waitState is WaitState with the daemon's own way to tell its state.
func (p *process) waitState(t testing.TB, state func(string) control.State, instance string, want control.State, timeout time.Duration) {
	t.Helper()
	ended := false
	got := control.State("")
	if until(t, timeout, func() bool {
		select {
		case <-p.cmd.Done():
			ended = true
			return true
		default:
		}
		got = state(instance)
		return got == want
	}) && !ended {
		return
	}
	if ended {
		t.Fatalf("%s has ended (%v) while waiting for %s to be %s", p.name, p.cmd.Wait(), instance, want)
	}
	t.Fatalf("%s: %s is %q after %v, want %q", p.name, instance, got, timeout, want)
}

// A record is a log in memory that can be read while it is written.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds to the record.
func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// String returns the record.
func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// Eventually fails the test if a condition is not true within a time. what says
// what is waited for: "the client reaches the address".
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	if !until(t, timeout, condition) {
		t.Fatalf("not after %v: %s", timeout, what)
	}
}

// until polls a condition and reports whether it became true in time.
func until(t testing.TB, timeout time.Duration, condition func() bool) bool {
	late := time.NewTimer(timeout)
	defer late.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-late.C:
			// It may have come true while this process did not run.
			return condition()
		case <-t.Context().Done():
			return false
		}
	}
	return true
}
