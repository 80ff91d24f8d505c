package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hostNet is an address on its own, for the netlink library.
func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// A cgroup bounds the memory of some processes.
type cgroup struct{ dir string }

// memoryLimit is more than both daemons need.
const memoryLimit = 64 << 20

// newCgroup makes a control group with that limit, of whichever version this host
// has.
func newCgroup() (cgroup, error) {
	var errs []error
	for _, v := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir, err := os.MkdirTemp(v.root, "vipd-reliability-")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		// A file that does not exist must not be made: here it would be refused,
		// and on any other file system it would say nothing.
		f, err := os.OpenFile(filepath.Join(dir, v.limit), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(strconv.Itoa(memoryLimit))
			err = errors.Join(err, f.Close())
		}
		if err == nil {
			return cgroup{dir}, nil
		}
		errs = append(errs, err, os.Remove(dir))
	}
	return cgroup{}, fmt.Errorf("no control group for memory: %w", errors.Join(errs...))
}

// remove removes the group when the last of its processes has gone.
func (c cgroup) remove() error {
	end := time.Now().Add(5 * time.Second)
	for {
		err := os.Remove(c.dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) || time.Now().After(end) {
			return err
		}
		time.Sleep(look)
	}
}

// add moves a process into the group, and says how ready the kernel is to kill
// it.
func (c cgroup) add(pid, score int) error {
	return errors.Join(
		os.WriteFile(filepath.Join(c.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0),
		os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(score)), 0))
}

// outOfMemory has the kernel kill the daemon. Of keepalived it kills the process
// that does VRRP, which its parent starts again; vipd is started again as a
// service manager does it.
func outOfMemory(ctx context.Context, s *stand, r *round) error {
	victim := s.routers[faulted]
	group, err := newCgroup()
	if err != nil {
		r.note("killed with SIGKILL: %v", err)
		if err := victim.kill(); err != nil {
			return err
		}
		return s.startAgain(ctx, r)
	}
	s.tidy = append(s.tidy, group.remove)
	pid := victim.cmd.Process.Pid
	if victim.kind == keepalived {
		children := victim.children()
		if len(children) != 1 {
			return fmt.Errorf("%s has %d children", victim, len(children))
		}
		pid = children[0]
	}
	const first, next = 1000, -500
	if err := group.add(pid, first); err != nil {
		return err
	}
	began := time.Now()
	// It reads zeros, and keeps them for the end that does not come.
	hog := victim.node.Command(ctx, "sh", "-c", fmt.Sprintf("echo $$ >%s/cgroup.procs; echo %d >/proc/self/oom_score_adj; exec tail /dev/zero", group.dir, next))
	if err := hog.Start(); err != nil {
		return err
	}
	gone := func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, found := strings.Cut(string(stat), ") ")
		return err != nil || found && state[0] == 'Z'
	}
	if !s.until(ctx, 10*time.Second, gone) {
		hog.Stop()
		return fmt.Errorf("process %d of %s was not killed", pid, victim)
	}
	hog.Stop()
	r.note("killed after %v", time.Since(began).Round(time.Millisecond))
	if victim.kind == keepalived {
		s.repaired(r)
		if err := wait(ctx, s.masterDown()); err != nil {
			return err
		}
		return s.recovered(ctx, r)
	}
	<-victim.cmd.Done()
	return s.startAgain(ctx, r)
}

// startAgain is what a service manager does, by default after 100 ms.
func (s *stand) startAgain(ctx context.Context, r *round) error {
	if err := wait(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	if err := s.routers[faulted].start(ctx); err != nil {
		return err
	}
	s.repaired(r)
	if err := wait(ctx, s.masterDown()); err != nil {
		return err
	}
	return s.recovered(ctx, r)
}
