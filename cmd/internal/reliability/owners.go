package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/netif/netiftest"
)

// owners follows which routers answer for the virtual addresses, by what the
// kernel reports of every change; what lasts for a microsecond is not missed. A
// router answers for an address that it has on an interface that is running, as
// long as it is on the client's segment.
type owners struct {
	vips []netip.Addr
	done chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	has      []set // by address: who has it
	detached set   // who is on no segment with the client
	held     []set // by address: who answers
	changes  []change
	err      error
}

// A set is some of the routers, as bits.
type set uint

func (s set) count() int {
	n := 0
	for ; s != 0; s &= s - 1 {
		n++
	}
	return n
}

// String names the routers: "a", "a and b", "nobody".
func (s set) String() string {
	var names []string
	for i := range 2 {
		if s&(1<<i) != 0 {
			names = append(names, routerNames[i])
		}
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, " and ")
}

// A change is when those who answer for an address changed.
type change struct {
	at   time.Time
	vip  int
	held set // from then on
}

// receiveBuffer holds what the kernel reports while a flood is under way.
const receiveBuffer = 64 << 20

// watchOwners begins to follow.
func watchOwners(nodes []*netiftest.Node, vips []netip.Addr) (*owners, error) {
	o := &owners{vips: vips, done: make(chan struct{}), has: make([]set, len(vips)), held: make([]set, len(vips))}
	for i, n := range nodes {
		addrs, links := make(chan netlink.AddrUpdate, 1024), make(chan netlink.LinkUpdate, 64)
		lost := func(err error) {
			select {
			case <-o.done:
			default:
				o.mu.Lock()
				o.err = fmt.Errorf("watching %s: %w", n.Name(), err)
				o.mu.Unlock()
			}
		}
		err := n.Do(func() error {
			if err := netlink.LinkSubscribeWithOptions(links, o.done, netlink.LinkSubscribeOptions{ListExisting: true, ErrorCallback: lost}); err != nil {
				return err
			}
			options := netlink.AddrSubscribeOptions{ListExisting: true, ErrorCallback: lost, ReceiveBufferSize: receiveBuffer, ReceiveBufferForceSize: true}
			err := netlink.AddrSubscribeWithOptions(addrs, o.done, options)
			if err != nil { // without privileges over the machine: what is allowed
				options.ReceiveBufferForceSize = false
				err = netlink.AddrSubscribeWithOptions(addrs, o.done, options)
			}
			return err
		})
		if err != nil {
			o.stop()
			return nil, fmt.Errorf("watching %s: %w", n.Name(), err)
		}
		o.wg.Go(func() { o.follow(i, addrs, links) })
	}
	return o, nil
}

// stop ends the following. It may be called more than once.
func (o *owners) stop() {
	select {
	case <-o.done:
	default:
		close(o.done)
	}
	o.wg.Wait()
}

// follow keeps up with one router until both channels are closed.
func (o *owners) follow(node int, addrs <-chan netlink.AddrUpdate, links <-chan netlink.LinkUpdate) {
	type place struct{ vip, link int }
	has, running := make(map[place]bool), make(map[int]bool)
	for addrs != nil || links != nil {
		select {
		case u, ok := <-addrs:
			if !ok {
				addrs = nil
				continue
			}
			a, ok := netip.AddrFromSlice(u.LinkAddress.IP)
			vip := slices.Index(o.vips, a.Unmap())
			if !ok || vip < 0 {
				continue
			}
			has[place{vip, u.LinkIndex}] = u.NewAddr
		case u, ok := <-links:
			if !ok {
				links = nil
				continue
			}
			running[int(u.Index)] = u.Header.Type == unix.RTM_NEWLINK && u.IfInfomsg.Flags&unix.IFF_RUNNING != 0
		}
		at := time.Now()
		o.mu.Lock()
		for i := range o.vips {
			o.has[i] &^= 1 << node
			for p, is := range has {
				if is && p.vip == i && running[p.link] {
					o.has[i] |= 1 << node
				}
			}
		}
		o.note(at)
		o.mu.Unlock()
	}
}

// detach says that a router has no connection to the client from now on, and
// attach that it has one again. The kernel tells of a lost carrier up to a second
// late.
func (o *owners) detach(node int) { o.connect(func() { o.detached |= 1 << node }) }

func (o *owners) attach(node int) { o.connect(func() { o.detached &^= 1 << node }) }

func (o *owners) connect(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
	o.note(time.Now())
}

// note records the changes.
func (o *owners) note(at time.Time) {
	for i, has := range o.has {
		if now := has &^ o.detached; now != o.held[i] {
			o.held[i] = now
			o.changes = append(o.changes, change{at, i, now})
		}
	}
}

// sole reports whether a router answers for all addresses, and no other for any.
func (o *owners) sole(node int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !slices.ContainsFunc(o.held, func(h set) bool { return h != 1<<node })
}

// answers returns who answers at present for any of the addresses, and whether
// it is the same for all of them.
func (o *owners) answers() (s set, same bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range o.held {
		s |= h
	}
	return s, !slices.ContainsFunc(o.held, func(h set) bool { return h != s })
}

// failed returns why the changes are not known, if so.
func (o *owners) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// between returns for how long in all, between two moments, an address had more
// than one owner, and none: that of the address which was worst off.
func (o *owners) between(from, to time.Time) (two, none time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for vip := range o.vips {
		var double, gone time.Duration
		at, held := from, set(0)
		end := func(next time.Time) {
			switch held.count() {
			case 0:
				gone += next.Sub(at)
			case 2:
				double += next.Sub(at)
			}
			at = next
		}
		for _, c := range o.changes {
			switch {
			case c.vip != vip || c.at.After(to):
			case c.at.Before(from):
				held = c.held
			default:
				end(c.at)
				held = c.held
			}
		}
		end(to)
		two, none = max(two, double), max(none, gone)
	}
	return two, none
}

// story tells all changes since a time.
func (o *owners) story(since time.Time) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for _, c := range o.changes {
		fmt.Fprintf(&b, "%+9.3fs %v: %v\n", c.at.Sub(since).Seconds(), o.vips[c.vip], c.held)
	}
	return b.String()
}
