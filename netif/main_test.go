package netif_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"vipd/netif"
	"vipd/netif/netiftest"
)

func TestMain(m *testing.M) { netiftest.Main(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// lan returns a lab with one node, whose eth0 is connected to a bridge.
func lan(t netiftest.TB) (*netiftest.Lab, *netiftest.Node, *netiftest.Bridge) {
	t.Helper()
	lab := netiftest.Start(t)
	n, err := lab.Node("router")
	check(t, err)
	b, err := lab.Bridge("lan")
	check(t, err)
	check(t, lab.Connect(n, "eth0", b, netiftest.Port{}))
	return lab, n, b
}

// handle returns a Handle inside the node.
func handle(t netiftest.TB, n *netiftest.Node) *netif.Handle {
	t.Helper()
	var h *netif.Handle
	check(t, n.Do(func() (err error) {
		h, err = netif.NewHandle()
		return err
	}))
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("closing the handle: %v", err)
		}
	})
	return h
}

// watch returns a Watcher inside the node.
func watch(t netiftest.TB, n *netiftest.Node, open func(context.Context) (*netif.Watcher, error)) *netif.Watcher {
	t.Helper()
	var w *netif.Watcher
	check(t, n.Do(func() (err error) {
		w, err = open(t.Context())
		return err
	}))
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// until takes signals from a Watcher until a snapshot is as wanted.
func until(t testing.TB, w *netif.Watcher, what string, ok func(*netif.Snapshot) bool) *netif.Snapshot {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		if s := w.Snapshot(); ok(s) {
			return s
		}
		select {
		case _, open := <-w.C():
			if !open {
				t.Fatalf("the watcher ended before %s: %v", what, w.Err())
			}
		case <-late.C:
			t.Fatalf("no snapshot where %s, the last is %+v", what, w.Snapshot().Links())
		}
	}
}

func check(t netiftest.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// checkResults fails the test for any result that is an error.
func checkResults(t netiftest.TB, rs []netif.Result) {
	t.Helper()
	for i, r := range rs {
		if r.Err != nil {
			t.Fatalf("result %d: %v", i, r.Err)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// many returns n addresses of 10.128.0.0/9 on an interface.
func many(n, bits int, ifname string) []netif.Address {
	list := make([]netif.Address, n)
	for i := range list {
		a := netip.AddrFrom4([4]byte{10, 128 + byte(i>>16), byte(i >> 8), byte(i)})
		list[i] = netif.Address{Prefix: netip.PrefixFrom(a, bits), Interface: ifname}
	}
	return list
}
