package netiftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// stopGrace is how long a process may take to end after SIGTERM.
	stopGrace = 3 * time.Second
	// pipeGrace is how long the output of a process that has ended is still read;
	// a child that it left behind may hold the other end.
	pipeGrace = time.Second
)

// A Cmd is a program to run inside a namespace. It is used as an [exec.Cmd] is;
// the process is waited for as soon as it starts, and killed if this process
// dies.
type Cmd struct {
	*exec.Cmd
	node  *Node
	pipes []*os.File // the program's ends of its pipes
	done  chan struct{}
	once  sync.Once
	err   error // how the process ended; read after done
}

// Command returns a program to run inside the namespace. It is killed when ctx
// ends, and ended when the Lab is closed.
func (n *Node) Command(ctx context.Context, name string, args ...string) *Cmd {
	c := &Cmd{Cmd: exec.CommandContext(ctx, name, args...), node: n, done: make(chan struct{})}
	c.WaitDelay = pipeGrace
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return c
}

// Start starts the program.
func (c *Cmd) Start() error {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	started := make(chan error, 1)
	go func() {
		defer close(c.done)
		ran := false
		// The thread stays until the process has ended: the kernel sends the death
		// signal when the parent thread ends, not when the parent process does.
		err := inNamespace(n.fd, func() error {
			err := c.Cmd.Start()
			for _, p := range c.pipes {
				_ = p.Close()
			}
			if err != nil {
				return err
			}
			ran = true
			started <- nil
			return c.Cmd.Wait()
		})
		if !ran {
			started <- err
			return
		}
		c.err = err
		n.mu.Lock()
		delete(n.cmds, c)
		n.mu.Unlock()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("netiftest: starting %s on %s: %w", c.Path, n.name, err)
	}
	n.cmds[c] = struct{}{}
	return nil
}

// Done returns a channel that is closed when the process has ended.
func (c *Cmd) Done() <-chan struct{} { return c.done }

// Wait waits until the process has ended, and returns how. Unlike that of
// exec.Cmd it may be called more than once.
func (c *Cmd) Wait() error {
	if c.Process == nil {
		return errors.New("netiftest: not started")
	}
	<-c.done
	return c.err
}

// Run starts the program and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout = &b
	err := c.Run()
	return b.Bytes(), err
}

// CombinedOutput runs the program and returns its standard output and error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// StdoutPipe returns the program's standard output, to be read until its end and
// closed. It may be read after the process has ended.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) { return c.pipe(&c.Stdout) }

// StderrPipe returns the program's standard error, to be read until its end and
// closed. It may be read after the process has ended.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) { return c.pipe(&c.Stderr) }

func (c *Cmd) pipe(out *io.Writer) (io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("netiftest: %w", err)
	}
	*out = w
	c.pipes = append(c.pipes, w)
	return r, nil
}

// Signal sends a signal to the process, not to its children. It does nothing if
// the process has ended.
func (c *Cmd) Signal(sig syscall.Signal) error {
	if c.Process == nil {
		return errors.New("netiftest: not started")
	}
	err := c.Process.Signal(sig)
	select {
	case <-c.done:
		return nil
	default:
		return err
	}
}

// Stop ends the process, and those of its children that are still in its
// process group: with SIGTERM, and after some seconds with SIGKILL.
func (c *Cmd) Stop() {
	if c.Process == nil {
		return
	}
	c.once.Do(func() {
		group := -c.Process.Pid
		_ = c.Signal(syscall.SIGTERM)
		grace := time.NewTimer(stopGrace)
		defer grace.Stop()
		select {
		case <-c.done:
		case <-grace.C:
			_ = syscall.Kill(group, syscall.SIGKILL)
		}
	})
	<-c.done
}
