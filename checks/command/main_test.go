package command

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperEnv makes this program something else than a test.
const helperEnv = "COMMAND_TEST_HELPER"

func TestMain(m *testing.M) {
	helpers := map[string]func() error{
		"real time": helpRealTime,
		"victim":    helpVictim,
		"init":      helpInit,
	}
	if help, ok := helpers[os.Getenv(helperEnv)]; ok {
		if err := help(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// As the daemon does; children must not inherit it.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(m.Run())
}

// helper returns the command that runs one of the helpers.
func helper(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	return cmd
}

// unavailable skips a test for want of something, and fails it where nothing may
// be wanting.
func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "needs root")
	}
}

// eventually waits for what must happen.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const generous = 20 * time.Second
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(generous); !ok(); <-tick.C {
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s", generous, what)
		}
	}
}

// newTestRunner returns a runner of which nothing may be left when the test ends:
// no child, no descriptor, no goroutine.
func newTestRunner(t *testing.T) *Runner {
	t.Helper()
	// The goroutine that delivers signals stays for ever, and so does the
	// descriptor of the poller.
	NewRunner(slog.New(slog.DiscardHandler)).Close()
	eventually(t, "the first runner is gone", func() bool {
		return !bytes.Contains(stacks(), []byte("command.(*Runner)"))
	})
	descriptors := countDescriptors(t)
	r := NewRunner(slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		eventually(t, "no child is left", func() bool { return len(children(t)) == 0 })
		r.Close()
		eventually(t, "no goroutine is left", func() bool {
			return !bytes.Contains(stacks(), []byte("vipd/checks/command.(*"))
		})
		eventually(t, fmt.Sprintf("%d descriptors are open, as before", descriptors), func() bool {
			return countDescriptors(t) <= descriptors
		})
	})
	return r
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// children returns the children of this process, zombies included.
func children(t *testing.T) []int {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Fatalf("/proc lists no children: %v", err)
	}
	var out []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pid)
		}
	}
	return out
}

// shell is a spec that runs a shell command as this process.
func shell(script string, timeout time.Duration) *Spec {
	return &Spec{Argv: []string{"/bin/sh", "-c", script}, As: Own(), Timeout: timeout}
}

// file writes a file and returns its path. Its directory is one that every user
// may enter.
func file(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(openDir(t), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir returns a directory of the test's own that every user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return string(fields[0]) != "Z"
}

// readPID waits until a process has written its number to a file.
func readPID(t *testing.T, path string) int {
	t.Helper()
	var pid int
	eventually(t, path+" holds a number", func() bool {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(b, []byte("\n")) {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	return pid
}
