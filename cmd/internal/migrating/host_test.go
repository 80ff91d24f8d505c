package migrating

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

const (
	// envHost makes this binary the first process of a host, with the directory
	// that its file systems are in.
	envHost = "MIGRATING_HOST"
	// patience is how long a test waits for what must happen.
	patience = 30 * time.Second
)

// written are the directories of a host that the document's commands write to,
// or could by a link. Each host has its own copy; nothing of the machine's is
// changed.
var written = []string{"/etc", "/usr"}

// beHost makes the mount namespace of this process that of a host, and looks
// after the processes that nobody waits for, as the first process does.
func beHost(dir string) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	for i, to := range written {
		upper, work := filepath.Join(state, fmt.Sprint("upper", i)), filepath.Join(state, fmt.Sprint("work", i))
		if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
			return err
		}
		if err := unix.Mount("overlay", to, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", to, upper, work)); err != nil {
			return fmt.Errorf("mounting an overlay over %s: %w", to, err)
		}
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// This machine may have a systemd, and may have keepalived masked.
	for _, name := range []string{"/usr/bin/systemctl", "/usr/bin/apt", filepath.Join(unitDir, "keepalived.service"), filepath.Join(wantsDir, "keepalived.service")} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.MkdirAll(unitDir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"/usr/bin/systemctl", "/usr/bin/apt"} {
		if err := os.Symlink(self, name); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o644); err != nil {
		return err
	}
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid == 0 {
			<-ended // one more
		}
	}
}

// A host is a router with files, processes and services of its own.
type host struct {
	*netiftest.Node
	t    *testing.T
	addr netip.Addr
	dir  string // where its administrator is, and has the package
	pid  int    // of its first process
}

// newHost makes a host of a node.
func newHost(t *testing.T, node *netiftest.Node, addr netip.Addr) *host {
	t.Helper()
	h := &host{Node: node, t: t, addr: addr, dir: t.TempDir()}
	self, err := os.Executable()
	check(t, err)
	c := node.Command(context.WithoutCancel(t.Context()), netiftest.RequireProgram(t, "unshare"), "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", self)
	c.Env = append(os.Environ(), envHost+"="+h.dir)
	said := &strings.Builder{}
	c.Stderr = said
	check(t, c.Start())
	t.Cleanup(c.Stop)
	ended := false
	rig.Eventually(t, patience, "a host", func() bool {
		select {
		case <-c.Done():
			ended = true
			return true
		default:
			_, err := os.Stat(filepath.Join(h.dir, "ready"))
			return err == nil
		}
	})
	if ended {
		reason := "a host with file systems of its own cannot be made: " + said.String()
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.Process.Pid))
	check(t, err)
	h.pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := h.sh("tail -n 40 " + unitState + "/*.log")
			t.Logf("logs of %s:\n%s", h.Name(), out)
		}
	})
	return h
}

// sh runs a command on the host, as root in a shell, and returns what it says.
func (h *host) sh(line string) (string, error) {
	c := h.Command(context.WithoutCancel(h.t.Context()), "nsenter", "--target", strconv.Itoa(h.pid), "--pid", "--mount", "sh", "-c", "cd "+h.dir+" && "+line)
	// GORACE is for systemctl and apt, which are this binary.
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "GORACE=" + os.Getenv("GORACE")}
	out, err := c.CombinedOutput()
	return string(out), err
}

// must is sh for what must not fail.
func (h *host) must(line string) string {
	h.t.Helper()
	out, err := h.sh(line)
	if err != nil {
		h.t.Fatalf("%s: %s: %v\n%s", h.Name(), line, err, out)
	}
	return out
}

// write writes a file of the host.
func (h *host) write(file, text string, mode os.FileMode) {
	h.t.Helper()
	// Its root directory is that of its first process.
	file = filepath.Join("/proc", strconv.Itoa(h.pid), "root", file)
	check(h.t, os.MkdirAll(filepath.Dir(file), 0o755))
	check(h.t, os.WriteFile(file, []byte(text), mode))
	check(h.t, os.Chmod(file, mode))
}

// copyTo copies a file of the tree to where the administrator is.
func (h *host) copyTo(name, from string, mode os.FileMode) {
	h.t.Helper()
	text, err := os.ReadFile(from)
	check(h.t, err)
	to := filepath.Join(h.dir, name)
	check(h.t, os.MkdirAll(filepath.Dir(to), 0o755))
	check(h.t, os.WriteFile(to, text, mode))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
