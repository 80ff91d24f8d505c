package machine

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/vlanlab/agent/wire"
)

// An emulation is a machine that has power.
type emulation struct {
	cmd     *exec.Cmd
	client  *wire.Client
	monitor *monitor
	sockets [2]net.Conn

	done   chan struct{} // closed when the emulator has ended
	err    error         // how; valid after done
	stderr bytes.Buffer  // valid after done
}

// emulate starts the emulator. It ends with this program, even if that is killed.
func emulate(args []string) (*emulation, error) {
	e := &emulation{done: make(chan struct{})}
	e.cmd = exec.Command(emulator, args...)
	e.cmd.Stderr = &e.stderr
	// In a process group of its own: an interrupt from the terminal is for us, and
	// we end the machines in good order.
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	for i := range e.sockets {
		ours, theirs, err := socketPair()
		if err != nil {
			return nil, errors.Join(err, e.hangUp())
		}
		defer theirs.Close()
		e.sockets[i] = ours
		e.cmd.ExtraFiles = append(e.cmd.ExtraFiles, theirs)
	}

	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that started a process for the end of
		// its parent: this one stays as long as the emulator.
		runtime.LockOSThread()
		err := e.cmd.Start()
		started <- err
		if err == nil {
			e.err = e.cmd.Wait()
			close(e.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("starting the emulator: %w", err), e.hangUp())
	}
	e.client = wire.NewClient(e.sockets[agentFD-monitorFD])
	e.monitor = newMonitor(e.sockets[0], func(event string) {
		if event == "RESET" {
			e.client.Lost()
		}
	})
	return e, nil
}

// kill ends the emulator as a power cut does, and waits until it has ended.
func (e *emulation) kill() error {
	err := e.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-e.done
	return errors.Join(err, e.hangUp())
}

// hangUp closes the sockets.
func (e *emulation) hangUp() error {
	var errs []error
	for _, s := range e.sockets {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// socketPair returns two connected sockets.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "emulator")
	f := os.NewFile(uintptr(fds[0]), "machine")
	defer f.Close() // FileConn has its own copy
	ours, err := net.FileConn(f)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("making a pair of sockets: %w", err), theirs.Close())
	}
	return ours, theirs, nil
}
