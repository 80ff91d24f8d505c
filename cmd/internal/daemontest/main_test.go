package daemontest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/rig"
)

// testsAtOnce is how many tests run side by side. They wait, mostly, and the
// number of processors, which package testing would go by, says nothing about
// that.
const testsAtOnce = "8"

// envWithout makes this binary drop the capabilities that it lists, by number,
// and become the program that its arguments name.
const envWithout = "DAEMONTEST_WITHOUT"

func TestMain(m *testing.M) {
	if list, ok := os.LookupEnv(envWithout); ok {
		fmt.Fprintln(os.Stderr, "daemontest:", becomeWithout(strings.Fields(list)))
		os.Exit(125)
	}
	if err := flag.Set("test.parallel", testsAtOnce); err != nil {
		fmt.Fprintln(os.Stderr, "daemontest:", err)
		os.Exit(2)
	}
	rig.Main(m)
}

// becomeWithout takes capabilities out of the bounding set, so that not even root
// has them after an exec, and becomes another program. It returns only with an
// error.
func becomeWithout(capabilities []string) error {
	runtime.LockOSThread() // the bounding set is the thread's, and what it executes inherits it
	for _, c := range capabilities {
		n, err := strconv.Atoi(c)
		if err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %d: %w", n, err)
		}
	}
	if len(os.Args) < 2 {
		return errors.New("nothing to run")
	}
	if err := os.Unsetenv(envWithout); err != nil {
		return err
	}
	return syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
}
