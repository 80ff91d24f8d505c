package netif_test

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/netif"
	"vipd/netif/netiftest"
)

func TestTheFirstSnapshotIsComplete(t *testing.T) {
	_, n, _ := lan(t)
	check(t, n.AddAddr("eth0", prefix("10.0.0.1/24")))
	check(t, n.AddAddr("eth0", prefix("fd00::1/64")))
	w := watch(t, n, netif.Watch)
	s := w.Snapshot()
	ifi, err := n.Interface("eth0")
	check(t, err)
	l, ok := s.Link("eth0")
	if !ok {
		t.Fatalf("no eth0 among %+v", s.Links())
	}
	want := netif.Link{
		Index: ifi.Index, Name: "eth0", MAC: [6]byte(ifi.HardwareAddr), MTU: 1500, Kind: "veth",
		Up: true, Running: true, Multicast: true,
	}
	if l != want || !l.Ready() || !s.Up("eth0") {
		t.Errorf("eth0 is %+v, want %+v, and ready", l, want)
	}
	if lo, ok := s.Link("lo"); !ok || !lo.Loopback || !lo.Up {
		t.Errorf("lo is %+v", lo)
	}
	for _, a := range []string{"10.0.0.1", "fd00::1"} {
		if !s.Has(l.Index, addr(a)) {
			t.Errorf("%s is missing among %+v", a, s.AddressesOf(l.Index))
		}
	}
	if s.Has(l.Index, addr("10.0.0.2")) || s.Has(99, addr("10.0.0.1")) {
		t.Error("an address is there that is not")
	}
}

func TestChangesOfALinkAreSeen(t *testing.T) {
	lab, n, _ := lan(t)
	nl := n.Netlink()
	w := watch(t, n, netif.Watch)
	link, err := nl.LinkByName("eth0")
	check(t, err)

	check(t, lab.Cut(n, "eth0"))
	s := until(t, w, "eth0 has no carrier", func(s *netif.Snapshot) bool { return !s.Up("eth0") })
	if l, _ := s.Link("eth0"); !l.Up || l.Running {
		t.Errorf("after a cut eth0 is %+v, want it up and not running", l)
	}
	check(t, lab.Heal(n, "eth0"))
	until(t, w, "eth0 is ready again", func(s *netif.Snapshot) bool { return s.Up("eth0") })

	check(t, nl.LinkSetMTU(link, 1400))
	until(t, w, "the MTU is 1400", func(s *netif.Snapshot) bool { l, _ := s.Link("eth0"); return l.MTU == 1400 })

	mac := net.HardwareAddr{2, 1, 2, 3, 4, 5}
	check(t, nl.LinkSetHardwareAddr(link, mac))
	until(t, w, "the MAC is another", func(s *netif.Snapshot) bool { l, _ := s.Link("eth0"); return l.MAC == [6]byte(mac) })

	check(t, nl.LinkSetDown(link))
	until(t, w, "eth0 is switched off", func(s *netif.Snapshot) bool { l, ok := s.Link("eth0"); return ok && !l.Up })
	check(t, nl.LinkSetName(link, "lan0"))
	s = until(t, w, "eth0 is called lan0", func(s *netif.Snapshot) bool { _, ok := s.Link("lan0"); return ok })
	if _, ok := s.Link("eth0"); ok {
		t.Error("after the renaming eth0 is still there")
	}
}

func TestAnInterfaceThatIsDeletedAndMadeAgainIsFoundByName(t *testing.T) {
	lab, n, b := lan(t)
	check(t, n.AddAddr("eth0", prefix("10.0.0.1/24")))
	w := watch(t, n, netif.Watch)
	old, ok := w.Snapshot().Link("eth0")
	if !ok {
		t.Fatal("no eth0")
	}
	link, err := n.Netlink().LinkByName("eth0")
	check(t, err)
	check(t, n.Netlink().LinkDel(link))
	s := until(t, w, "eth0 is gone", func(s *netif.Snapshot) bool { _, ok := s.Link("eth0"); return !ok })
	if s.Up("eth0") || s.Has(old.Index, addr("10.0.0.1")) {
		t.Error("the deleted interface is up or has an address")
	}
	check(t, lab.Connect(n, "eth0", b, netiftest.Port{}))
	s = until(t, w, "eth0 is ready", func(s *netif.Snapshot) bool { return s.Up("eth0") })
	if l, _ := s.Link("eth0"); l.Index == old.Index {
		t.Errorf("the new eth0 has the index of the old, %d", l.Index)
	}
}

func TestAMacvlanFollowsItsBase(t *testing.T) {
	lab, n, _ := lan(t)
	base, err := n.Netlink().LinkByName("eth0")
	check(t, err)
	mv := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "vrrp.51", ParentIndex: base.Attrs().Index}, Mode: netlink.MACVLAN_MODE_PRIVATE}
	check(t, n.Netlink().LinkAdd(mv))
	check(t, n.Netlink().LinkSetUp(mv))
	w := watch(t, n, netif.Watch)
	s := until(t, w, "the macvlan is ready", func(s *netif.Snapshot) bool { return s.Up("vrrp.51") })
	if l, _ := s.Link("vrrp.51"); l.Kind != "macvlan" || l.Parent != base.Attrs().Index {
		t.Errorf("the macvlan is %+v, want its parent to be %d", l, base.Attrs().Index)
	}
	check(t, lab.Cut(n, "eth0"))
	until(t, w, "the macvlan is not ready", func(s *netif.Snapshot) bool { return !s.Up("vrrp.51") })
	check(t, lab.Heal(n, "eth0"))
	until(t, w, "the macvlan is ready again", func(s *netif.Snapshot) bool { return s.Up("vrrp.51") })
}

func TestAPortThatLeavesItsBridgeIsStillThere(t *testing.T) {
	_, n, _ := lan(t)
	nl := n.Netlink()
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	check(t, nl.LinkAdd(br))
	link, err := nl.LinkByName("eth0")
	check(t, err)
	w := watch(t, n, netif.Watch)
	check(t, nl.LinkSetMaster(link, br))
	s := until(t, w, "eth0 is a port", func(s *netif.Snapshot) bool { l, _ := s.Link("eth0"); return l.Master != 0 })
	if l, _ := s.Link("br0"); l.Kind != "bridge" {
		t.Errorf("br0 is %+v", l)
	}
	check(t, nl.LinkSetNoMaster(link))
	s = until(t, w, "eth0 is no port", func(s *netif.Snapshot) bool { l, _ := s.Link("eth0"); return l.Master == 0 })
	if !s.Up("eth0") {
		t.Error("eth0 is gone or not ready")
	}
}

func TestAnAddressDeletedByAnybodyIsMissed(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	w := watch(t, n, netif.Watch)
	l, _ := w.Snapshot().Link("eth0")
	vips := []netif.Address{
		{Prefix: prefix("10.0.0.10/24"), Interface: "eth0"},
		{Prefix: prefix("10.0.0.11/24"), Interface: "eth0"},
		{Prefix: prefix("fd00::10/64"), Interface: "eth0"},
	}
	checkResults(t, h.Add(vips))
	until(t, w, "all are there", func(s *netif.Snapshot) bool {
		return !slices.ContainsFunc(vips, func(a netif.Address) bool { return !s.Has(l.Index, a.Prefix.Addr()) })
	})
	// The first is the primary of the second, which goes with it.
	check(t, n.Sysctl("net.ipv4.conf.all.promote_secondaries", "0"))
	check(t, n.Sysctl("net.ipv4.conf.eth0.promote_secondaries", "0"))
	check(t, n.RemoveAddr("eth0", prefix("10.0.0.10/24")))
	check(t, n.RemoveAddr("eth0", prefix("fd00::10/64")))
	until(t, w, "none is there", func(s *netif.Snapshot) bool {
		return !slices.ContainsFunc(vips, func(a netif.Address) bool { return s.Has(l.Index, a.Prefix.Addr()) })
	})
}

func TestThePrimaryAddressWaitsForDuplicateAddressDetection(t *testing.T) {
	lab, n, b := lan(t)
	w := watch(t, n, netif.Watch)
	for _, s := range [][2]string{{"accept_dad", "1"}, {"dad_transmits", "1"}} {
		check(t, n.Sysctl("net.ipv6.conf.default."+s[0], s[1]))
	}
	check(t, lab.Connect(n, "eth1", b, netiftest.Port{}))
	own := func(s *netif.Snapshot) (a netif.PresentAddress, ok bool) {
		l, _ := s.Link("eth1")
		for _, a := range s.AddressesOf(l.Index) {
			if a.Addr().IsLinkLocalUnicast() {
				return a, true
			}
		}
		return netif.PresentAddress{}, false
	}
	s := until(t, w, "eth1 has a link-local address", func(s *netif.Snapshot) bool { _, ok := own(s); return ok })
	l, _ := s.Link("eth1")
	if a, _ := own(s); !a.Usable() {
		if got, ok := s.Primary(l.Index, netif.IPv6, nil); ok {
			t.Errorf("the tentative address %v is primary", got)
		}
	}
	s = until(t, w, "the detection has ended", func(s *netif.Snapshot) bool { a, _ := own(s); return a.Usable() })
	a, _ := own(s)
	if got, ok := s.Primary(l.Index, netif.IPv6, nil); !ok || got != a.Addr() {
		t.Errorf("primary is %v, %v, want %v", got, ok, a.Addr())
	}
}

func TestThousandsOfChangesAreFewSignals(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	w := watch(t, n, netif.Watch)
	l, _ := w.Snapshot().Link("eth0")
	addrs := many(5000, 24, "eth0")
	added := make(chan time.Duration, 1)
	start := time.Now()
	go func() {
		h.Add(addrs)
		added <- time.Since(start)
	}()
	signals := 0
	complete := func(s *netif.Snapshot) bool {
		signals++
		return len(s.AddressesOf(l.Index)) >= len(addrs) && s.Has(l.Index, addrs[len(addrs)-1].Prefix.Addr())
	}
	s := until(t, w, "all addresses are there", complete)
	for _, a := range addrs {
		if !s.Has(l.Index, a.Prefix.Addr()) {
			t.Fatalf("%v is missing", a.Prefix)
		}
	}
	took := <-added
	// One signal in 5 ms, and some at either end.
	if most := int(time.Since(start)/(5*time.Millisecond)) + 5; signals > most {
		t.Errorf("%d signals, want at most %d", signals, most)
	}
	t.Logf("%d addresses added in %v, %d signals", len(addrs), took, signals)
	checkResults(t, h.Remove(addrs))
	until(t, w, "all addresses are gone", func(s *netif.Snapshot) bool {
		return !s.Has(l.Index, addrs[0].Prefix.Addr()) && len(s.AddressesOf(l.Index)) <= 1
	})
}

func TestAfterLostNotificationsTheTablesAreReadAfresh(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	w := watch(t, n, func(ctx context.Context) (*netif.Watcher, error) { return netif.WatchWithBuffer(ctx, 1) })
	l, _ := w.Snapshot().Link("eth0")
	addrs := many(2000, 24, "eth0")
	for range 3 {
		checkResults(t, h.Add(addrs))
		until(t, w, "all addresses are there", func(s *netif.Snapshot) bool {
			return !slices.ContainsFunc(addrs, func(a netif.Address) bool { return !s.Has(l.Index, a.Prefix.Addr()) })
		})
		checkResults(t, h.Remove(addrs))
		until(t, w, "all addresses are gone", func(s *netif.Snapshot) bool {
			return !slices.ContainsFunc(addrs, func(a netif.Address) bool { return s.Has(l.Index, a.Prefix.Addr()) })
		})
	}
	check(t, w.Close())
	if w.Overruns() == 0 {
		t.Error("the receive buffer was never overrun, so nothing was tried")
	}
}

func TestAWatcherEndsWithItsContext(t *testing.T) {
	_, n, _ := lan(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := watch(t, n, func(context.Context) (*netif.Watcher, error) { return netif.Watch(ctx) })
	cancel()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case _, open := <-w.C():
			if open {
				continue
			}
			if err := w.Err(); err != nil {
				t.Errorf("the error is %v, want none", err)
			}
			if _, ok := w.Snapshot().Link("eth0"); !ok {
				t.Error("the last snapshot is lost")
			}
			check(t, w.Close())
			return
		case <-late.C:
			t.Fatal("the watcher goes on")
		}
	}
}
