package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/netif/netiftest"
)

// A watch follows which nodes hold virtual addresses, by what the kernel reports
// of every change; what lasts for a microsecond is not missed. A node holds an
// address if it has it on an interface that is running: one without carrier
// answers nobody, and FRR's backups keep their addresses on an interface that is
// held down.
type watch struct {
	nodes []*netiftest.Node
	vips  []netip.Addr

	mu      sync.Mutex
	holders []holders // by address, as of now
	changes []change
}

// holders is a set of nodes, as bits.
type holders uint

func (h holders) count() int {
	n := 0
	for ; h != 0; h &= h - 1 {
		n++
	}
	return n
}

// A change is when the holders of one address changed.
type change struct {
	at   time.Time
	vip  int
	held holders // from then on
}

// startWatch begins to follow who holds the addresses, until the test ends.
func startWatch(t *testing.T, nodes []*netiftest.Node, vips []netip.Addr) *watch {
	t.Helper()
	w := &watch{nodes: nodes, vips: vips, holders: make([]holders, len(vips))}
	done := make(chan struct{})
	var wg sync.WaitGroup
	t.Cleanup(func() {
		close(done)
		wg.Wait()
	})
	for i, n := range nodes {
		addrs, links := make(chan netlink.AddrUpdate, 64), make(chan netlink.LinkUpdate, 64)
		lost := func(err error) {
			select {
			case <-done:
			default:
				t.Errorf("watching %s: %v", n.Name(), err)
			}
		}
		if err := n.Do(func() error {
			if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ListExisting: true, ErrorCallback: lost}); err != nil {
				return err
			}
			return netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ListExisting: true, ErrorCallback: lost})
		}); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { w.follow(i, addrs, links) })
	}
	return w
}

// follow keeps up with one node until both channels are closed.
func (w *watch) follow(node int, addrs <-chan netlink.AddrUpdate, links <-chan netlink.LinkUpdate) {
	type place struct {
		addr netip.Addr
		link int
	}
	has, running := make(map[place]bool), make(map[int]bool)
	for addrs != nil || links != nil {
		select {
		case u, ok := <-addrs:
			if !ok {
				addrs = nil
				continue
			}
			if a, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok {
				has[place{a.Unmap(), u.LinkIndex}] = u.NewAddr
			}
		case u, ok := <-links:
			if !ok {
				links = nil
				continue
			}
			running[int(u.Index)] = u.Header.Type == unix.RTM_NEWLINK && u.IfInfomsg.Flags&unix.IFF_RUNNING != 0
		}
		for i, vip := range w.vips {
			held := false
			for p, is := range has {
				held = held || is && p.addr == vip && running[p.link]
			}
			w.note(i, node, held)
		}
	}
}

// note records whether a node holds an address.
func (w *watch) note(vip, node int, held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.holders[vip] &^ (1 << node)
	if held {
		now |= 1 << node
	}
	if now != w.holders[vip] {
		w.holders[vip] = now
		w.changes = append(w.changes, change{time.Now(), vip, now})
	}
}

// sole reports whether a node holds all addresses, and no other node any.
func (w *watch) sole(n *netiftest.Node) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := holders(1) << slices.Index(w.nodes, n)
	return !slices.ContainsFunc(w.holders, func(h holders) bool { return h != want })
}

// quiet reports whether nothing has changed since a time.
func (w *watch) quiet(since time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.changes) == 0 || w.changes[len(w.changes)-1].at.Before(since)
}

// worst returns the longest times between two moments for which any one address
// was held by more than one node, and by none.
func (w *watch) worst(from, to time.Time) (overlap, gap time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for vip := range w.vips {
		at, held := from, holders(0)
		end := func(next time.Time) {
			switch lasted := next.Sub(at); {
			case held.count() > 1:
				overlap = max(overlap, lasted)
			case held == 0:
				gap = max(gap, lasted)
			}
		}
		for _, c := range w.changes {
			switch {
			case c.vip != vip || c.at.After(to):
			case c.at.Before(from):
				held = c.held
			default:
				end(c.at)
				at, held = c.at, c.held
			}
		}
		end(to)
	}
	return overlap, gap
}

// story tells all changes since a time, for a test that has failed.
func (w *watch) story(since time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, c := range w.changes {
		var names []string
		for i, n := range w.nodes {
			if c.held&(1<<i) != 0 {
				names = append(names, n.Name())
			}
		}
		fmt.Fprintf(&b, "%+9.3fs %v held by %v\n", c.at.Sub(since).Seconds(), w.vips[c.vip], names)
	}
	return b.String()
}
