package netiftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// envInside tells a re-executed test binary that it is inside namespaces of its
// own. The value is empty if they could be made, else why they could not.
const envInside = "NETIFTEST_INSIDE"

// Main is for TestMain. It runs the tests in a process with a network and a mount
// namespace of its own, as root of a user namespace if the caller is not root, so
// that tests that need namespaces need no privileges. It does not return.
//
//	func TestMain(m *testing.M) { netiftest.Main(m) }
//
// If namespaces cannot be made, the tests run all the same, and those that call
// [Require] say so.
func Main(m interface{ Run() int }) { os.Exit(Tests(m)) }

// Tests is [Main] for a TestMain that has something left to do: it returns the
// exit code, inside the namespaces as well as in the process that made them.
//
// Tests that fail while the machine stands still, as a virtual machine does whose
// processors are given to another, run again, and that is said.
func Tests(m interface{ Run() int }) int {
	return inside(m, func() (int, error) { return patiently(reexec, watchMachine, os.Stderr) })
}

// Run is [Tests] for a program: what it returns is final.
func Run(m interface{ Run() int }) int { return inside(m, reexec) }

func inside(m interface{ Run() int }, reexec func() (int, error)) int {
	if _, inside := os.LookupEnv(envInside); inside {
		prepare()
		return m.Run()
	}
	code, err := reexec()
	if err != nil {
		_ = os.Setenv(envInside, err.Error())
		code = m.Run()
	}
	return code
}

// reexec runs this program again in namespaces of its own and returns its exit
// code.
func reexec() (int, error) {
	const namespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	if os.Geteuid() == 0 {
		code, err := run(&syscall.SysProcAttr{Cloneflags: namespaces})
		if err == nil {
			return code, nil
		}
	}
	return run(&syscall.SysProcAttr{
		Cloneflags:  namespaces | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	})
}

func run(attr *syscall.SysProcAttr) (int, error) {
	attr.Pdeathsig = syscall.SIGKILL
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), envInside+"=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	// What is sent to us is meant for the tests: the dump of goroutines when time
	// runs out, and the end.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("making namespaces: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		fmt.Fprintln(os.Stderr, "netiftest: the tests ended by", exit)
		return 2, nil
	}
	return 0, err
}

// prepare makes the namespaces fit for tests. What fails here shows where it is
// needed, with its reason.
func prepare() {
	// Mounts made by tests stay in here.
	_ = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	var fs unix.Statfs_t
	if unix.Statfs("/proc/sys", &fs) == nil && fs.Flags&unix.ST_RDONLY != 0 {
		_ = unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "")
	}
}

// A TB is the part of testing.TB that is used here; this package is part of a
// program that is not a test.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// possible tries once whether a Lab can be made.
var possible = sync.OnceValue(func() error {
	reason, inside := os.LookupEnv(envInside)
	switch {
	case !inside:
		return errors.New("the package's TestMain does not call netiftest.Main")
	case reason != "":
		return errors.New(reason)
	}
	l, err := New(context.Background())
	if err != nil {
		return err
	}
	return l.Close()
})

// Require skips the test if no Lab can be made here, saying why. Where the
// environment says CI=true the test fails instead: there, a test that does not
// run is a mistake.
func Require(t TB) {
	t.Helper()
	if err := possible(); err != nil {
		skip(t, "no network namespaces: "+strings.TrimPrefix(err.Error(), "netiftest: "))
	}
}

// RequireProgram is Require for a program to test against; it returns its path.
func RequireProgram(t TB, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		skip(t, fmt.Sprintf("%s is not installed", name))
	}
	return file
}

func skip(t TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s", reason)
	}
	t.Skipf("%s", reason)
}

// Start returns a Lab for the time of a test, after Require.
func Start(t TB) *Lab {
	t.Helper()
	Require(t)
	l, err := New(t.Context())
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return l
}
