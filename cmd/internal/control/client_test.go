package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAProcessThatIsStoppedIsToldAtOnce(t *testing.T) {
	t.Parallel()
	runDir := t.TempDir()
	cmd, stdin := startHolder(t, runDir, "", nil)
	defer stdin.Close()
	pid := cmd.Process.Pid
	c := NewClient(runDir)
	defer c.Close()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := c.Status(t.Context())
	took := time.Since(began)
	unreachable, ok := errors.AsType[*UnreachableError](err)
	if !ok || unreachable.PID != pid || unreachable.State != "T" || took < patience || took >= requestTimeout {
		t.Errorf("after %v: %#v", took, err)
	}
	for _, want := range []string{fmt.Sprintf("process %d is there", pid), "stopped (state T)", fmt.Sprintf("kill -CONT %d", pid), SocketPath(runDir)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the message does not say %q: %v", want, err)
		}
	}

	// One that runs may only be slow: it has all of the time.
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience+2*lookAgain)
	defer cancel()
	began = time.Now()
	_, err = c.Status(ctx)
	unreachable, ok = errors.AsType[*UnreachableError](err)
	if took := time.Since(began); !ok || unreachable.PID != pid || unreachable.State != "S" || took < patience+2*lookAgain {
		t.Errorf("after %v: %#v", took, err)
	}
	if want := fmt.Sprintf("process %d is there (state S)", pid); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the message does not say %q: %v", want, err)
	}
}
