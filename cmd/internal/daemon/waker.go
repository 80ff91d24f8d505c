package daemon

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A waker tells a loop when the earliest of its timers runs out.
type waker interface {
	// C receives at or soon after the time that was set. It may receive
	// without cause.
	C() <-chan struct{}
	// Set replaces the time. The zero time stands for never.
	Set(at time.Time)
	Close() error
}

// timerfdWaker is a waker on a timer of the kernel's. Go's own timers are
// handed to the kernel as the timeout of the poller, in milliseconds: they are
// late by half of one in the middle and by more than two every hundredth time,
// which shows at advertisement intervals of 10 ms.
type timerfdWaker struct {
	fd int // for setting; owned by f
	f  *os.File
	c  chan struct{}
}

var _ waker = (*timerfdWaker)(nil)

func newTimerfdWaker() (*timerfdWaker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("daemon: creating a timer: %w", os.NewSyscallError("timerfd_create", err))
	}
	w := &timerfdWaker{fd: fd, f: os.NewFile(uintptr(fd), "timerfd"), c: make(chan struct{}, 1)}
	go w.run()
	return w, nil
}

// run ends when Close makes the read fail.
func (w *timerfdWaker) run() {
	var expirations [8]byte
	for {
		if _, err := w.f.Read(expirations[:]); err != nil {
			return
		}
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

func (w *timerfdWaker) C() <-chan struct{} { return w.c }

func (w *timerfdWaker) Set(at time.Time) {
	var spec unix.ItimerSpec
	if !at.IsZero() {
		// A zero value would disarm the timer.
		spec.Value = unix.NsecToTimespec(max(1, int64(time.Until(at))))
	}
	// The only errors are a bad descriptor and a bad time: neither can be.
	_ = unix.TimerfdSettime(w.fd, 0, &spec, nil)
}

func (w *timerfdWaker) Close() error { return w.f.Close() }
