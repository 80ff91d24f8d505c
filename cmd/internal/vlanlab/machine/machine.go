package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"vipd/cmd/internal/vlanlab/agent/wire"
)

const (
	// AgentPath is the agent's program inside a machine, for its sub-commands.
	AgentPath = "/run/vlanlab-agent"
	// shownConsole is how much of the console an error shows.
	shownConsole = 4 << 10
)

// ErrLost is the error of what was asked of a machine that went down, or was
// reset, before it answered.
var ErrLost = wire.ErrLost

// A Result is what a command wrote and how it ended.
type Result = wire.Result

// A Machine is a QEMU machine. Its methods may be called at once.
type Machine struct {
	img Image
	c   Config

	mu sync.Mutex
	e  *emulation // nil without power
}

// New returns a machine without power. Its disk begins as the image.
func New(img Image, c Config) (*Machine, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("machine: %w", err)
	}
	m := &Machine{img: img, c: c}
	cmd := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", img.Disk, c.overlay())
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, m.wrap("making the disk", fmt.Errorf("qemu-img: %w: %s", err, strings.TrimSpace(string(out))))
	}
	return m, nil
}

// wrap says which machine an error is about, and what was done.
func (m *Machine) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("machine: %s: %s: %w", m.c.Name, doing, err)
}

// Name returns the machine's host name.
func (m *Machine) Name() string { return m.c.Name }

// PowerOn starts the machine, which boots. WaitUp waits for it.
func (m *Machine) PowerOn(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.e != nil {
		select {
		case <-m.e.done: // it switched itself off
			if err := m.e.hangUp(); err != nil {
				return m.wrap("switching on", err)
			}
		default:
			return m.wrap("switching on", errors.New("it is on"))
		}
	}
	e, err := emulate(arguments(m.img, m.c))
	if err != nil {
		return m.wrap("switching on", err)
	}
	m.e = e
	// The monitor does nothing before this, and answers when the machine runs.
	if _, err := e.monitor.call(ctx, "qmp_capabilities", nil); err != nil {
		return m.wrap("switching on", m.explain(e, err))
	}
	return nil
}

// emulation returns what runs, if something does.
func (m *Machine) emulation() (*emulation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.e == nil {
		return nil, fmt.Errorf("it is off: %w", ErrLost)
	}
	return m.e, nil
}

// explain adds to an error that the emulator has ended, and what the machine said
// at last.
func (m *Machine) explain(e *emulation, err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-e.done:
	default:
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return fmt.Errorf("%w\nend of the console:\n%s", err, m.Console())
	}
	how := "switched itself off"
	if e.err != nil {
		how = fmt.Sprintf("died (%v): %s", e.err, strings.TrimSpace(e.stderr.String()))
	}
	return fmt.Errorf("%w; the emulator %s\nend of the console:\n%s", err, how, m.Console())
}

// WaitUp waits until the agent of the machine answers.
func (m *Machine) WaitUp(ctx context.Context) error {
	e, err := m.emulation()
	if err == nil {
		err = m.explain(e, e.client.WaitUp(ctx))
	}
	return m.wrap("waiting until it is up", err)
}

// PowerCut takes the power away. What the machine had flushed is on its disk.
func (m *Machine) PowerCut() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.e == nil {
		return nil
	}
	err := m.e.kill()
	m.e = nil
	return m.wrap("cutting the power", err)
}

// Close takes the power away. The directory stays.
func (m *Machine) Close() error { return m.PowerCut() }

// Run runs a command to its end: sh -c. If the context ends before, so does the
// command.
func (m *Machine) Run(ctx context.Context, command string) (Result, error) {
	e, err := m.emulation()
	if err != nil {
		return Result{}, m.wrap(fmt.Sprintf("running %q", command), err)
	}
	result, err := e.client.Run(ctx, command)
	return result, m.wrap(fmt.Sprintf("running %q", command), m.explain(e, err))
}

// A Job is a command that runs in a machine while other things happen. Its methods
// are for one goroutine.
type Job struct {
	m       *Machine
	e       *emulation
	job     *wire.Job
	command string
}

// Start starts a command: sh -c.
func (m *Machine) Start(ctx context.Context, command string) (*Job, error) {
	e, err := m.emulation()
	if err != nil {
		return nil, m.wrap(fmt.Sprintf("starting %q", command), err)
	}
	j, err := e.client.Start(ctx, command)
	if err != nil {
		return nil, m.wrap(fmt.Sprintf("starting %q", command), m.explain(e, err))
	}
	return &Job{m: m, e: e, job: j, command: command}, nil
}

func (j *Job) wrap(doing string, err error) error {
	return j.m.wrap(fmt.Sprintf("%s %q", doing, j.command), j.m.explain(j.e, err))
}

// Wait waits until the command has ended. When the context ends before, it may be
// called again.
func (j *Job) Wait(ctx context.Context) (Result, error) {
	result, err := j.job.Wait(ctx)
	return result, j.wrap("waiting for", err)
}

// Output returns what the command has written so far.
func (j *Job) Output(ctx context.Context) (Result, error) {
	result, err := j.job.Output(ctx)
	return result, j.wrap("reading the output of", err)
}

// Signal sends a signal to all processes of the command.
func (j *Job) Signal(ctx context.Context, sig syscall.Signal) error {
	return j.wrap("signalling", j.job.Signal(ctx, sig))
}

// Put writes a file. It is in place when it is whole, and on the disk.
func (m *Machine) Put(ctx context.Context, path string, mode fs.FileMode, data []byte) error {
	e, err := m.emulation()
	if err == nil {
		err = m.explain(e, e.client.Put(ctx, path, mode, data))
	}
	return m.wrap("writing "+path, err)
}

// Get reads a file.
func (m *Machine) Get(ctx context.Context, path string) ([]byte, error) {
	e, err := m.emulation()
	if err != nil {
		return nil, m.wrap("reading "+path, err)
	}
	data, err := e.client.Get(ctx, path)
	return data, m.wrap("reading "+path, m.explain(e, err))
}

// Reboot reboots the machine in good order. It returns when the old boot is over;
// WaitUp then waits for the new one.
func (m *Machine) Reboot(ctx context.Context) error {
	return m.wrap("rebooting", m.leave(ctx, "systemctl reboot"))
}

// Panic has the kernel panic, and reboot a second later. It returns when the old
// boot is over.
func (m *Machine) Panic(ctx context.Context) error {
	return m.wrap("panicking", m.leave(ctx, "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger"))
}

// leave runs a command that ends the boot.
func (m *Machine) leave(ctx context.Context, command string) error {
	e, err := m.emulation()
	if err != nil {
		return err
	}
	boot := e.client.Boot()
	if boot == "" {
		return m.explain(e, ErrLost)
	}
	result, err := e.client.Run(ctx, command)
	switch {
	case errors.Is(err, ErrLost):
	case err != nil:
		return m.explain(e, err)
	case result.Code != 0:
		return fmt.Errorf("%q: code %d: %s", command, result.Code, result.Stderr)
	}
	return m.explain(e, e.client.WaitGone(ctx, boot))
}

// control gives the emulator a command.
func (m *Machine) control(ctx context.Context, doing, command string, arguments any) error {
	e, err := m.emulation()
	if err == nil {
		_, err = e.monitor.call(ctx, command, arguments)
		err = m.explain(e, err)
	}
	return m.wrap(doing, err)
}

// SetLink pulls the cable of the network card, or puts it in: the machine sees its
// carrier go or come. It is in after PowerOn.
func (m *Machine) SetLink(ctx context.Context, up bool) error {
	return m.control(ctx, fmt.Sprintf("setting the link up=%t", up), "set_link", map[string]any{"name": nic, "up": up})
}

// Pause holds the machine up, as a hypervisor does that moves it or has no time
// for it. Its clock stops as well.
func (m *Machine) Pause(ctx context.Context) error { return m.control(ctx, "pausing", "stop", nil) }

// Resume lets the machine go on.
func (m *Machine) Resume(ctx context.Context) error { return m.control(ctx, "resuming", "cont", nil) }

// Console returns the end of what the machine has written to its serial console.
func (m *Machine) Console() string {
	text, err := tail(m.c.console(), shownConsole)
	if err != nil {
		return err.Error()
	}
	return text
}

// tail returns the last n octets of a file, from the beginning of a line.
func tail(path string, n int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	from := max(0, size-n)
	b, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	text := string(b)
	if from > 0 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text, err
}
