package netiftest

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// errExited is the result of a function that ended its goroutine.
var errExited = errors.New("the function did not return")

// openNamespace returns a descriptor of the calling thread's network namespace.
func openNamespace() (int, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the network namespace: %w", err)
	}
	return fd, nil
}

// onThread runs enter and then fn on a thread of their own and takes the thread
// back to where it was. It goes back, rather than ending the thread, because the
// thread may be the process's first, which never ends and would keep the
// namespace.
func onThread(enter, fn func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errExited
		defer func() { result <- err }()
		runtime.LockOSThread()
		home, e := openNamespace()
		if e != nil {
			runtime.UnlockOSThread()
			err = e
			return
		}
		defer func() {
			// A thread that cannot go back stays locked and so ends with its goroutine.
			if unix.Setns(home, unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			_ = unix.Close(home)
		}()
		if e := enter(); e != nil {
			err = e
			return
		}
		err = fn()
	}()
	return <-result
}

// newNamespace makes a network namespace and returns a descriptor of it.
func newNamespace() (int, error) {
	fd := -1
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		return nil
	}, func() (err error) {
		fd, err = openNamespace()
		return err
	})
	return fd, err
}

// inNamespace runs fn on a thread inside the namespace.
func inNamespace(fd int, fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the network namespace: %w", err)
		}
		return nil
	}, fn)
}
