package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// The router that the fault happens to, and the other.
const (
	faulted = 0
	peer    = 1
)

var routerNames = [2]string{"a", "b"}

// A stand is the network of a run: two routers and a client on one segment.
type stand struct {
	setup
	lab     *netiftest.Lab
	lan     *netiftest.Bridge
	routers [2]*router
	client  *client
	owners  *owners
	tidy    []func() error // in reverse order, when nothing runs any more
}

// address returns the address of a host.
func address(number byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, number}), 24)
}

// port returns the interface of a host.
func port(number byte) netiftest.Port {
	six := netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: number})
	return netiftest.Port{MAC: []byte{2, 0, 0, 0, 1, number}, Addrs: []netip.Prefix{address(number), netip.PrefixFrom(six, 64)}}
}

// newStand builds the network. Nothing runs in it yet.
func newStand(ctx context.Context, b binaries, s setup, dir string) (*stand, error) {
	lab, err := netiftest.New(ctx)
	if err != nil {
		return nil, err
	}
	st := &stand{setup: s, lab: lab}
	if err := st.build(b, dir); err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

func (s *stand) build(b binaries, dir string) error {
	var err error
	if s.lan, err = s.lab.Bridge("lan"); err != nil {
		return err
	}
	host := func(name string, number byte) (*netiftest.Node, error) {
		n, err := s.lab.Node(name)
		if err != nil {
			return nil, err
		}
		return n, s.lab.Connect(n, "eth0", s.lan, port(number))
	}
	c := &client{}
	var nodes []*netiftest.Node
	for i, k := range []kind{s.faulted, s.peer} {
		n, err := host(routerNames[i], byte(i+1))
		if err != nil {
			return err
		}
		c.routers[i] = [6]byte(port(byte(i + 1)).MAC)
		if s.routers[i], err = newRouter(b, s.setup, n, c.routers[i], k, priorities[i], dir); err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	if s.smallDisk {
		dir := s.routers[faulted].dir
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			return fmt.Errorf("mounting a small file system: %w", err)
		}
		s.tidy = append(s.tidy, func() error { return unix.Unmount(dir, unix.MNT_DETACH) })
	}
	if c.node, err = host("client", 9); err != nil {
		return err
	}
	s.client = c
	if s.owners, err = watchOwners(nodes, vipAddrs()); err != nil {
		return err
	}
	return c.listen()
}

// fill leaves no room in the file system of a directory.
func fill(dir string) error {
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 4096; size > 0; {
		switch _, err := f.Write(make([]byte, size)); {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			return err
		}
	}
	return nil
}

// close ends and removes everything. It may be called more than once.
func (s *stand) close() error {
	var errs []error
	if s.client != nil {
		errs = append(errs, s.client.stop())
	}
	if s.owners != nil {
		s.owners.stop()
	}
	for _, r := range s.routers {
		if r != nil && r.cmd != nil {
			_ = r.signal(syscall.SIGCONT) // it may have ended
		}
		if r != nil {
			r.api.Close()
		}
	}
	errs = append(errs, s.lab.Close())
	for i := len(s.tidy) - 1; i >= 0; i-- {
		errs = append(errs, s.tidy[i]())
	}
	s.tidy = nil
	return errors.Join(errs...)
}

// masterDown is how long the longest of the routers and instances waits for a
// master.
func (s *stand) masterDown() time.Duration {
	return max(vrrp.MasterDownInterval(vrrp.Version(s.version), priorities[peer], s.interval, 3),
		vrrp.MasterDownInterval(vrrp.V3, priorities[peer], s.interval, 3))
}

// patience is how long a router may take to become master when nothing is in its
// way.
func (s *stand) patience() time.Duration { return 2*s.masterDown() + 5*time.Second }

// begin starts the routers and waits until the one that the fault will happen to
// is master, and the client content.
func (s *stand) begin(ctx context.Context) error {
	for _, i := range []int{peer, faulted} {
		if err := s.routers[i].start(ctx); err != nil {
			return err
		}
	}
	if !s.until(ctx, s.patience()+5*time.Second, func() bool { return s.owners.sole(faulted) }) {
		return fmt.Errorf("%s has not become master alone: %w", s.routers[faulted], s.why())
	}
	if err := s.client.begin(ctx); err != nil {
		return err
	}
	return s.settle(ctx)
}

// settle waits until the client is content, until a master that has announced its
// addresses has done so a second time, and for a random part of an interval: the
// fault shall come at any moment between two advertisements.
func (s *stand) settle(ctx context.Context) error {
	if !s.until(ctx, 10*time.Second, s.client.content) {
		return fmt.Errorf("the client has no answers from %s: %w", s.routers[faulted], s.why())
	}
	if s.early {
		return wait(ctx, rand.N(s.interval))
	}
	// keepalived's garp_master_delay, and vipd's.
	const again = 5 * time.Second
	return wait(ctx, again+rand.N(s.interval))
}

// why says what may be the reason for not getting anywhere.
func (s *stand) why() error {
	var words []string
	for _, r := range s.routers {
		select {
		case <-r.cmd.Done():
			words = append(words, fmt.Sprintf("%s has ended (%v): %s", r, r.cmd.Wait(), tail(r.log.String())))
		default:
		}
	}
	who, _ := s.owners.answers()
	return errors.Join(fmt.Errorf("%v has addresses. %s", who, strings.Join(words, ". ")), s.owners.failed())
}

// tail returns the end of a log.
func tail(log string) string {
	const shown = 4 << 10
	return strings.TrimSpace(log[max(0, len(log)-shown):])
}

// look is how often a condition is looked at.
const look = 5 * time.Millisecond

// until waits until a condition is true, and reports whether it came true in
// time.
func (s *stand) until(ctx context.Context, limit time.Duration, condition func() bool) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-late.C:
			return condition()
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tool runs a program in a router's namespace.
func (s *stand) tool(ctx context.Context, router int, input, name string, args ...string) error {
	cmd := s.routers[router].node.Command(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// deafen has a router lose what comes from the other one: everything, or so many
// of a hundred frames.
func (s *stand) deafen(ctx context.Context, router, percent int) error {
	mac := s.client.routers[1-router]
	rule := fmt.Sprintf("ether saddr %02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
	if percent < 100 {
		rule += fmt.Sprintf(" numgen random mod 100 < %d", percent)
	}
	return s.tool(ctx, router, fmt.Sprintf(`table netdev loss {
	chain in {
		type filter hook ingress device "eth0" priority 0;
		%s drop
	}
}`, rule), "nft", "-f", "-")
}

// undeafen ends it.
func (s *stand) undeafen(ctx context.Context, router int) error {
	return s.tool(ctx, router, "", "nft", "delete", "table", "netdev", "loss")
}
