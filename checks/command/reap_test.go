package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// helpInit is process 1 of a container.
func helpInit() error {
	if os.Getpid() != 1 {
		return errors.New("not process 1")
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	r := NewRunner(slog.New(slog.DiscardHandler))
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go r.Reap(ctx)

	var wg sync.WaitGroup
	errs := make(chan error, 1000)
	// Programs of ours that leave orphans behind, in their group and outside it.
	for range 20 {
		wg.Go(func() {
			res := r.Run(ctx, shell("(sleep 0.3; exit 9) & setsid sh -c 'sleep 0.2 & sleep 0.1' & exit 5", 10*time.Second))
			if res.Exit != 5 {
				errs <- fmt.Errorf("the runner's program: %v", res)
			}
		})
	}
	// Programs that somebody else has started and waits for.
	for i := range 20 {
		wg.Go(func() {
			err := exec.CommandContext(ctx, "/bin/sh", "-c", fmt.Sprintf("sleep 0.%02d; exit 6", 10*i)).Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 6 {
				errs <- fmt.Errorf("the program of os/exec: %w", err)
			}
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	// The orphans end by and by, and then nothing is left.
	var left []string
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if left = otherProcesses(); len(left) == 0 {
			fmt.Println("nothing is left")
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("processes are left: %v", left)
		}
	}
}

// otherProcesses returns every process but this one, with its state.
func otherProcesses() []string {
	var out []string
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err == nil && !strings.HasPrefix(string(b), strconv.Itoa(os.Getpid())+" ") {
			out = append(out, strings.Join(strings.Fields(string(b))[:4], " "))
		}
	}
	return out
}

func TestProcessOneReapsOrphansAndStealsNobodysStatus(t *testing.T) {
	cmd := helper(t, "init")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) || strings.Contains(string(out), "mounting /proc") {
		unavailable(t, fmt.Sprintf("namespaces: %v: %s", err, out))
	}
	if err != nil || string(out) != "nothing is left\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReapReturnsAtOnceInAnyOtherProcess(t *testing.T) {
	if os.Getpid() == 1 {
		t.Skip("this is process 1")
	}
	newTestRunner(t).Reap(context.Background())
}
