package command

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// reapInterval is how often orphans are looked for.
const reapInterval = time.Second

// Reap waits for processes whose parents have ended, until ctx ends, if that is
// up to this process: if it is process 1, as in a container. Otherwise it returns
// at once.
//
// Their exit status must not be confused with that of what this process has
// started itself, by a Runner or by os/exec. There is no wait for orphans only,
// so nothing is waited for but by its number, and only if all of this holds:
//
//   - It is a child of the main thread. Those are the orphans, and what happened
//     to be started on that thread.
//   - It is none of the Runner's.
//   - It has ended, and had so already at the last look, a second ago. Who
//     started something waits for it, and takes its status at once.
func (r *Runner) Reap(ctx context.Context) {
	if os.Getpid() != 1 {
		return
	}
	ticker := time.NewTicker(reapInterval)
	defer ticker.Stop()
	seen := map[int]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			seen = r.reapOrphans(seen)
		}
	}
}

// reapOrphans waits for the zombies that were there at the last look, and
// returns those that it leaves for the next.
func (r *Runner) reapOrphans(before map[int]bool) map[int]bool {
	now := map[int]bool{}
	for _, pid := range mainThreadChildren() {
		r.mu.Lock()
		_, ours := r.children[pid]
		r.mu.Unlock()
		if ours || !isZombie(pid) {
			continue
		}
		if !before[pid] {
			now[pid] = true
			continue
		}
		for {
			_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
			if err != unix.EINTR {
				break
			}
		}
	}
	return now
}

// isZombie reports whether a child has ended, without waiting for it.
func isZombie(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// mainThreadChildren returns the children of the main thread. Where the kernel
// has no such list it returns all children of the process.
func mainThreadChildren() []int {
	self := strconv.Itoa(os.Getpid())
	var out []int
	if list, err := os.ReadFile("/proc/self/task/" + self + "/children"); err == nil {
		for _, field := range bytes.Fields(list) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				out = append(out, pid)
			}
		}
		return out
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// The name is in parentheses and may contain anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == self {
			out = append(out, pid)
		}
	}
	return out
}
