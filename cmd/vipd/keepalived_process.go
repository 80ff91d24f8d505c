package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/legacy"
	"vipd/cmd/internal/sdnotify"
)

// The default PID files. keepalived has one for each of its processes; vipd is
// one process and writes the same number into both.
const (
	defaultPIDFile     = "/run/keepalived.pid"
	defaultVRRPPIDFile = "/run/keepalived_vrrp.pid"
)

// pidPath returns the default of a PID file: in a network namespace they have a
// directory of their own.
func pidPath(file, namespace string) string {
	if namespace == "" {
		return file
	}
	return filepath.Join("/run/keepalived", namespace, filepath.Base(file))
}

// runningProcess returns the process that a PID file names, and its name, if it
// is a keepalived or a vipd that runs, and not this one. After a crash, or in a
// container that was started again, the number may be that of any process.
func runningProcess(file string) (pid int, name string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, ""
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 0 || pid == os.Getpid() {
		return 0, ""
	}
	raw, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return 0, ""
	}
	program, _, _ := bytes.Cut(raw, []byte{0})
	switch name = filepath.Base(string(program)); name {
	case "keepalived", "vipd":
		return pid, name
	}
	return 0, ""
}

// writePIDFile writes the number of this process into a file, and makes its
// directory if need be. A device in its place, such as /dev/null, means that
// nobody wants to know.
func writePIDFile(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("writing the PID file: %w", err)
	}
	err := legacy.Replace(file, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644)
	if err != nil && !errors.Is(err, legacy.ErrNotRegular) {
		return fmt.Errorf("writing the PID file: %w", err)
	}
	return nil
}

// removePIDFile removes a PID file unless it names another process by now.
func removePIDFile(file string) {
	raw, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(raw)) == strconv.Itoa(os.Getpid()) {
		_ = os.Remove(file)
	}
}

// readyEnv names the descriptor by which a daemon in the background tells the
// one who started it how it went.
const readyEnv = "VIPD_READY_FD"

// readyTimeout is how long a daemon in the background may take to start before
// the one who started it waits no longer.
const readyTimeout = 60 * time.Second

// readyWord is the last that comes through the pipe when the daemon runs. Before
// it, and without it, come the lines of the log that somebody should see.
const readyWord = "ready\n"

// A readyPipe leads to the process that started this one in the background. It
// takes lines of logging.Journal for it; those that come when that process has
// gone are dropped.
type readyPipe struct {
	mu sync.Mutex
	w  *os.File // nil: closed
}

// Write implements io.Writer.
func (p *readyPipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		for line := range bytes.Lines(b) {
			_, line = severity(line)
			if _, err := p.w.Write(line); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

// ready says that the daemon runs.
func (p *readyPipe) ready() {
	_, _ = io.WriteString(p, readyWord)
	p.close()
}

func (p *readyPipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		_ = p.w.Close()
		p.w = nil
	}
}

// takeReadyPipe returns the pipe to the process that started this one in the
// background, or nil if none did. Programs that this one starts see nothing of
// it.
func takeReadyPipe() *readyPipe {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	_ = os.Unsetenv(readyEnv)
	if err != nil || fd <= 2 {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	unix.CloseOnExec(fd)
	return &readyPipe{w: os.NewFile(uintptr(fd), "ready")}
}

// A backgroundError is how a daemon failed to start in the background.
type backgroundError struct {
	code int
	text string
}

// Error returns what the daemon said.
func (e *backgroundError) Error() string { return e.text }

// background starts this program again, in a session of its own and without a
// terminal, and waits until it runs. A Go program cannot fork: its threads would
// be gone.
func background(ctx context.Context, stderr io.Writer) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting in the background: %w", err)
	}
	defer r.Close()
	// Not by its name, which may lead to another program by now.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.ExtraFiles = []*os.File{w}
	// A watchdog of the service manager is then the daemon's (sd_watchdog_enabled(3)).
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "WATCHDOG_PID=") })
	cmd.Env = append(env, readyEnv+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("starting in the background: %w", err)
	}
	// Who wants it to stop while it starts wants it not to run.
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })()
	if err := r.SetReadDeadline(time.Now().Add(readyTimeout)); err != nil {
		return fmt.Errorf("starting in the background: %w", err)
	}
	said, err := io.ReadAll(r)
	before, runs := bytes.CutSuffix(said, []byte(readyWord))
	switch {
	case runs:
		_, _ = stderr.Write(before)
		// To a service manager that waits for this one it would be a daemon that has
		// ended before it was ready, and the other one nobody's.
		if err := sdnotify.MainProcess(cmd.Process.Pid); err != nil {
			_, _ = fmt.Fprintln(stderr, err)
		}
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("process %d in the background has not said within %v that it runs; it may still start", cmd.Process.Pid, readyTimeout)
	}
	// It has ended, or is about to.
	failure := &backgroundError{code: keepalivedFailed, text: strings.TrimSpace(string(said))}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok {
		if code := exit.ExitCode(); code > 0 {
			failure.code = code
		}
		failure.text = cmp.Or(failure.text, "the daemon ended before it ran: "+exit.String())
	}
	failure.text = cmp.Or(failure.text, "the daemon ended before it ran")
	return failure
}

// restoreName gives this process its name back, by which pgrep and killall find
// it: the kernel takes it from the path, which was /proc/self/exe.
func restoreName() {
	const file = "/proc/self/comm"
	if raw, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(raw)) == "exe" {
		_ = os.WriteFile(file, []byte(filepath.Base(os.Args[0])), 0)
	}
}

// namespaceDir is where `ip netns` keeps network namespaces.
const namespaceDir = "/run/netns"

// enterNamespace has this program run in a network namespace: a namespace is a
// thread's, so one thread enters it and starts the program anew. It returns nil
// when it is inside.
func enterNamespace(name string) error {
	wrap := func(err error) error { return fmt.Errorf("entering network namespace %s: %w", name, err) }
	ns, err := os.Open(filepath.Join(namespaceDir, name))
	if err != nil {
		return wrap(err)
	}
	defer ns.Close()
	there, err := ns.Stat()
	if err != nil {
		return wrap(err)
	}
	here, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return wrap(err)
	}
	if os.SameFile(here, there) {
		return nil
	}
	// Not unlocked: a thread that cannot be taken back must end.
	runtime.LockOSThread()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return wrap(err)
	}
	return wrap(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}
