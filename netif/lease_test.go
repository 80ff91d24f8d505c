package netif_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/netif"
	"vipd/netif/netiftest"
)

// leased returns one address of every kind, with a lease.
func leased(lease time.Duration) []netif.Address {
	list := []netif.Address{
		{Prefix: prefix("10.0.0.10/24"), Label: "eth0:x", Broadcast: addr("10.0.0.255")},
		{Prefix: prefix("10.0.0.11/32")},
		{Prefix: prefix("10.0.1.10/24"), Scope: unix.RT_SCOPE_LINK, Broadcast: addr("10.0.1.77")},
		{Prefix: prefix("10.0.2.10/24")},
		{Prefix: prefix("10.0.2.11/24"), Label: "eth0:y"},
		{Prefix: prefix("10.0.3.49/32"), Peer: prefix("10.0.3.50/32")},
		{Prefix: prefix("10.0.4.1/30"), Peer: prefix("10.0.4.2/30"), Broadcast: addr("10.0.4.3")},
		{Prefix: prefix("10.0.5.1/24"), NoPrefixRoute: true},
		{Prefix: prefix("fd00::10/64")},
		{Prefix: prefix("fd00::11/128"), Deprecated: true},
		{Prefix: prefix("fd01::10/64")},
		{Prefix: prefix("fd01::11/64"), PreferredLifetime: 2 * time.Hour},
		{Prefix: prefix("fd01::12/64"), PreferredLifetime: time.Minute},
		{Prefix: prefix("fd02::10/64"), NoPrefixRoute: true},
		{Prefix: prefix("fd03::10/64"), HomeAddress: true},
		{Prefix: prefix("fd04::10/128"), Peer: prefix("fd04:1::7/128"), Deprecated: true},
		{Prefix: prefix("fd05::10/64"), DAD: true},
		{Prefix: prefix("fe80::54/128"), Deprecated: true},
	}
	for i := range list {
		list[i].Interface = "eth0"
		list[i].ValidLifetime = lease
	}
	return list
}

// settled waits until duplicate address detection has ended, and until every IPv6
// address has its local route: the kernel makes both in a worker of its own, after
// it has said that the address was added, even without detection (addrconf_dad_work).
func settled(t *testing.T, n *netiftest.Node) {
	t.Helper()
	w := watch(t, n, netif.Watch)
	until(t, w, "all addresses may be used", func(s *netif.Snapshot) bool {
		for _, l := range s.Links() {
			if slices.ContainsFunc(s.AddressesOf(l.Index), func(a netif.PresentAddress) bool { return !a.Usable() }) {
				return false
			}
		}
		return true
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		addrs, err := n.Netlink().AddrList(nil, netlink.FAMILY_V6)
		check(t, err)
		routes, err := n.Netlink().RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
		check(t, err)
		missing := slices.DeleteFunc(addrs, func(a netlink.Addr) bool {
			return slices.ContainsFunc(routes, func(r netlink.Route) bool {
				return r.Type == unix.RTN_LOCAL && r.Dst != nil && r.Dst.IP.Equal(a.IP)
			})
		})
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no local route for %v", missing)
		}
	}
}

// everything describes all addresses, in the kernel's order, and all routes. What
// a renewal is to change is left out.
func everything(t *testing.T, n *netiftest.Node, h *netif.Handle) []string {
	t.Helper()
	list, err := h.Addresses()
	check(t, err)
	var out []string
	for _, a := range list {
		a.Preferred, a.Valid, a.Updated = 0, 0, 0
		out = append(out, fmt.Sprintf("address %+v", a))
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := n.Netlink().RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		check(t, err)
		for _, r := range routes {
			out = append(out, fmt.Sprintf("route %v src %v via %v dev %d metric %d scope %d table %d type %d protocol %d flags %x",
				r.Dst, r.Src, r.Gw, r.LinkIndex, r.Priority, r.Scope, r.Table, r.Type, r.Protocol, r.Flags))
		}
	}
	return out
}

func TestALeasedAddressHasTheLifetimeAskedFor(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	const lease = time.Hour
	addrs := leased(lease)
	checkResults(t, h.Add(addrs))
	near := func(got, want time.Duration) bool { return got <= want && got > want-10*time.Second }
	for _, a := range addrs {
		got := find(t, h, a.Prefix.Addr())
		want := lease // preferred, too
		switch {
		case a.Deprecated:
			want = 0
		case a.PreferredLifetime > 0:
			want = min(lease, a.PreferredLifetime)
		}
		if !near(got.Valid, lease) || !(near(got.Preferred, want) || want == got.Preferred) {
			t.Errorf("%v is preferred for %v and valid for %v, want %v and %v", a.Prefix, got.Preferred, got.Valid, want, lease)
		}
		if got.Flags&unix.IFA_F_PERMANENT != 0 {
			t.Errorf("%v is permanent", a.Prefix)
		}
		if got.Deprecated() != a.Deprecated {
			t.Errorf("%v is deprecated: %v, want %v", a.Prefix, got.Deprecated(), a.Deprecated)
		}
	}
}

func TestALeaseIsOfWholeSeconds(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	for _, lease := range []time.Duration{time.Millisecond, 1500 * time.Millisecond, -time.Second} {
		a := []netif.Address{{Prefix: prefix("10.0.0.1/24"), Interface: "eth0", ValidLifetime: lease}}
		const want = "netif: adding 10.0.0.1/24 to eth0: not a valid address (a lifetime is a whole number of seconds)"
		if err := h.Add(a)[0].Err; !errors.Is(err, netif.ErrInvalid) || err.Error() != want {
			t.Errorf("with a lease of %v the error is %v, want %s", lease, err, want)
		}
	}
}

func TestARenewalChangesNothingButLifetimes(t *testing.T) {
	_, n, _ := lan(t)
	check(t, n.AddAddr("eth0", prefix("10.0.0.1/24")))
	check(t, n.AddAddr("eth0", prefix("fd00::1/64")))
	h := handle(t, n)
	for _, tt := range []struct {
		name  string
		renew func(addrs []netif.Address) []netif.Result
	}{
		{"as it is", h.Renew},
		{"by a kernel that takes no guard", func(addrs []netif.Address) []netif.Result {
			h.RefuseGuards()
			return h.Renew(addrs)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addrs := leased(100 * time.Second)
			checkResults(t, h.Add(addrs))
			settled(t, n)
			before := everything(t, n, h)
			for i := range addrs {
				addrs[i].ValidLifetime = time.Hour
			}
			checkResults(t, tt.renew(addrs))
			if after := everything(t, n, h); !slices.Equal(before, after) {
				t.Errorf("before the renewal\n%s\nafter it\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			for _, a := range addrs {
				if got := find(t, h, a.Prefix.Addr()).Valid; got > time.Hour || got < time.Hour-10*time.Second {
					t.Errorf("%v is valid for %v, want an hour", a.Prefix, got)
				}
			}
			checkResults(t, h.Remove(addrs))
		})
	}
}

func TestARenewalWithoutALifetimeMakesTheAddressPermanent(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	plain := func() (out []string) {
		for _, a := range leased(0) {
			p := find(t, h, a.Prefix.Addr())
			p.Created, p.Updated, p.Preferred = 0, 0, p.Preferred.Round(time.Minute)
			out = append(out, fmt.Sprintf("%+v", p))
		}
		return out
	}
	checkResults(t, h.Add(leased(0)))
	settled(t, n)
	want := plain()
	checkResults(t, h.Remove(leased(0)))

	checkResults(t, h.Add(leased(100*time.Second)))
	settled(t, n)
	checkResults(t, h.Renew(leased(0)))
	if got := plain(); !slices.Equal(got, want) {
		t.Errorf("added with a lease and made permanent they are\n%s\nadded so they are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestALeaseGivenToAPermanentAddressLeavesTheRoutesOfTheHost(t *testing.T) {
	t.Parallel() // it waits for the end of a lease
	_, n, _ := lan(t)
	own := []netip.Prefix{prefix("10.0.0.1/24"), prefix("fd00::1/64")}
	for _, p := range own {
		check(t, n.AddAddr("eth0", p))
	}
	h := handle(t, n)
	vips := []netif.Address{
		{Prefix: prefix("10.0.0.10/24"), Interface: "eth0"},
		{Prefix: prefix("fd00::10/64"), Interface: "eth0"},
		{Prefix: prefix("fd01::10/64"), Interface: "eth0"}, // alone in its prefix
	}
	checkResults(t, h.Add(vips))
	settled(t, n)
	reached := func(when string, list ...string) {
		t.Helper()
		for _, a := range list {
			if _, err := n.Netlink().RouteGet(net.IP(addr(a).AsSlice())); err != nil {
				t.Errorf("%s, the way to %s: %v", when, a, err)
			}
		}
	}
	reached("before", "10.0.0.99", "fd00::99", "fd01::99")
	before := everything(t, n, h)
	lease := func(d time.Duration) {
		for i := range vips {
			vips[i].ValidLifetime = d
		}
	}
	lease(time.Hour)
	renewed := func(when string) {
		t.Helper()
		checkResults(t, h.Renew(vips))
		reached(when, "10.0.0.99", "fd00::99", "fd01::99")
		after := everything(t, n, h)
		routes := func(s string) bool { return !strings.HasPrefix(s, "route") }
		if a, b := slices.DeleteFunc(slices.Clone(before), routes), slices.DeleteFunc(after, routes); !slices.Equal(sorted(a), sorted(b)) {
			t.Errorf("%s, the routes are\n%s\nand were\n%s", when, strings.Join(b, "\n"), strings.Join(a, "\n"))
		}
		for _, a := range vips {
			if p := find(t, h, a.Prefix.Addr()); p.Flags&(unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_PERMANENT) != 0 || p.Valid > time.Hour {
				t.Errorf("%s, the address is %+v", when, p)
			}
		}
	}
	renewed("after the lease was given")
	renewed("after it was renewed")

	w := watch(t, n, netif.Watch)
	l, _ := w.Snapshot().Link("eth0")
	lease(time.Second)
	checkResults(t, h.Renew(vips))
	until(t, w, "the leases are over", func(s *netif.Snapshot) bool {
		return !slices.ContainsFunc(vips, func(a netif.Address) bool { return s.Has(l.Index, a.Prefix.Addr()) })
	})
	reached("after the lease was over", "10.0.0.99", "fd00::99")
	for _, p := range own {
		if !w.Snapshot().Has(l.Index, p.Addr()) {
			t.Errorf("the host's own address %v went, too", p)
		}
	}
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

func TestAnAddressThatIsGoneIsNotMadeByItsRenewal(t *testing.T) {
	for _, prior := range []string{"nothing was ever renewed", "another was renewed before"} {
		t.Run(prior, func(t *testing.T) {
			_, n, _ := lan(t)
			h := handle(t, n)
			addrs := leased(100 * time.Second)
			if prior == "another was renewed before" {
				own := []netif.Address{
					{Prefix: prefix("10.9.0.1/32"), Interface: "eth0", ValidLifetime: time.Minute},
					{Prefix: prefix("fd09::1/128"), Interface: "eth0", ValidLifetime: time.Minute},
				}
				checkResults(t, h.Add(own))
				checkResults(t, h.Renew(own))
			}
			for i, r := range h.Renew(addrs) {
				if !errors.Is(r.Err, netif.ErrNotPresent) {
					t.Errorf("%v: got %v, want %v", addrs[i].Prefix, r.Err, netif.ErrNotPresent)
				}
				if has, err := n.HasAddr(addrs[i].Prefix.Addr()); err != nil || has {
					t.Errorf("%v is there: %v, %v", addrs[i].Prefix, has, err)
				}
			}
		})
	}
}

func TestOneThatIsGoneDoesNotKeepTheOthersFromBeingRenewed(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	addrs := many(600, 32, "eth0")
	for i := range addrs {
		addrs[i].ValidLifetime = 100 * time.Second
	}
	checkResults(t, h.Add(addrs))
	want := make([]error, len(addrs))
	var gone []netif.Address
	for i := range addrs {
		addrs[i].ValidLifetime = time.Hour
		switch {
		case i%7 == 0:
			gone = append(gone, addrs[i])
			want[i] = netif.ErrNotPresent
		case i%11 == 0:
			addrs[i].Interface = "eth7"
			want[i] = netif.ErrNoInterface
		}
	}
	checkResults(t, h.Remove(gone))
	results := h.Renew(addrs)
	list, err := h.Addresses()
	check(t, err)
	valid := make(map[netip.Addr]time.Duration)
	for _, a := range list {
		valid[a.Addr()] = a.Valid
	}
	for i, r := range results {
		if !errors.Is(r.Err, want[i]) {
			t.Errorf("address %d: got %v, want %v", i, r.Err, want[i])
		}
		got, there := valid[addrs[i].Prefix.Addr()]
		if renewed := got > 50*time.Minute; there != (i%7 != 0) || renewed != (want[i] == nil) {
			t.Errorf("address %d is there: %v, with a lifetime of %v; its result is %v", i, there, got, r.Err)
		}
	}
	if got, want := results[0].Err.Error(), "netif: renewing 10.128.0.0/32 on eth0: the address is not there"; got != want {
		t.Errorf("the error is %q, want %q", got, want)
	}
}

func TestAKernelThatTakesNoGuardIsFoundOut(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	addrs := leased(100 * time.Second)
	checkResults(t, h.Add(addrs))
	missing := netif.Address{Prefix: prefix("10.8.0.1/24"), Interface: "eth0", ValidLifetime: time.Minute}
	addrs = append(addrs, missing)
	for i := range addrs {
		addrs[i].ValidLifetime = time.Hour
	}
	results := h.ClearAsIfRefused(addrs)
	checkResults(t, results[:len(results)-1])
	if err := results[len(results)-1].Err; !errors.Is(err, netif.ErrNotPresent) {
		t.Errorf("the result of what is not there is %v, want %v", err, netif.ErrNotPresent)
	}
	for _, a := range addrs[:len(addrs)-1] {
		if got := find(t, h, a.Prefix.Addr()).Valid; got < 50*time.Minute {
			t.Errorf("%v is valid for %v, want an hour", a.Prefix, got)
		}
	}
	if !h.GuardsRefused() {
		t.Error("the next renewal has guards again")
	}
}

func TestARenewalCalledOffIsNotSent(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	addrs := many(1000, 32, "eth0")
	for i := range addrs {
		addrs[i].ValidLifetime = 100 * time.Second
	}
	checkResults(t, h.Add(addrs))
	for i := range addrs {
		addrs[i].ValidLifetime = time.Hour
	}
	asked := 0
	results := h.RenewFunc(addrs, func() bool {
		asked++
		return asked == 1
	})
	if asked < 2 {
		t.Fatalf("it was asked %d times whether to send, want before each batch", asked)
	}
	list, err := h.Addresses()
	check(t, err)
	valid := make(map[netip.Addr]time.Duration)
	for _, a := range list {
		valid[a.Addr()] = a.Valid
	}
	sent := 0
	for i, r := range results {
		if r.Err == nil {
			sent++
		} else if !errors.Is(r.Err, netif.ErrCalledOff) {
			t.Errorf("address %d: %v, want %v", i, r.Err, netif.ErrCalledOff)
		}
		if renewed := valid[addrs[i].Prefix.Addr()] > 50*time.Minute; renewed != (r.Err == nil) {
			t.Errorf("address %d was renewed: %v, its result is %v", i, renewed, r.Err)
		}
	}
	if sent == 0 || sent == len(addrs) {
		t.Errorf("%d of %d were renewed, want those of the first batch", sent, len(addrs))
	}
	// And the next time all is well.
	checkResults(t, h.Renew(addrs))
}

func TestTheKernelSaysWhenAnAddressWasMadeAndRenewed(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	for _, a := range []string{"10.0.0.10/24", "fd00::10/64"} {
		list := []netif.Address{{Prefix: prefix(a), Interface: "eth0", ValidLifetime: time.Minute}}
		// Times are to 10 ms, and those of the kernel in the past by up to one tick.
		const grain = 30 * time.Millisecond
		begin := time.Now()
		checkResults(t, h.Add(list))
		first := find(t, h, list[0].Prefix.Addr())
		if age, most := netif.KernelSince(first.Created), time.Since(begin)+grain; age > most || first.Updated != first.Created {
			t.Errorf("%s was made %v ago and renewed at %v, want within %v, and at %v", a, age, first.Updated, most, first.Created)
		}
		for netif.KernelSince(first.Updated) < 100*time.Millisecond {
			find(t, h, list[0].Prefix.Addr())
		}
		if age, most := time.Since(begin), 100*time.Millisecond-grain; age < most {
			t.Errorf("the kernel's clock says that 100 ms have passed, after %v", age)
		}
		begin = time.Now()
		checkResults(t, h.Renew(list))
		second := find(t, h, list[0].Prefix.Addr())
		if age, most := netif.KernelClock()-second.Updated, time.Since(begin)+grain; age > most || age < 0 {
			t.Errorf("%s was renewed %v ago, want within %v", a, age, most)
		}
		if second.Created != first.Created {
			t.Errorf("%s was made at %v and after a renewal at %v", a, first.Created, second.Created)
		}
	}
}

func TestARenewalWakesNobody(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	addrs := leased(100 * time.Second)
	checkResults(t, h.Add(addrs))
	settled(t, n)
	w := watch(t, n, netif.Watch)
	l, _ := w.Snapshot().Link("eth0")
	for i := range addrs {
		addrs[i].ValidLifetime = time.Hour
	}
	checkResults(t, h.Renew(addrs))
	// What is added later is known later, so the renewal is known by then.
	mark := netif.Address{Prefix: prefix("10.9.0.1/32"), Interface: "eth0"}
	checkResults(t, h.Add([]netif.Address{mark}))
	signals := 0
	s := until(t, w, "the later address is there", func(s *netif.Snapshot) bool {
		signals++
		return s.Has(l.Index, mark.Prefix.Addr())
	})
	if signals > 2 { // once before any signal
		t.Errorf("%d signals, want that of the later address only", signals-1)
	}
	for _, a := range addrs {
		if got, ok := s.Find(l.Index, a.Prefix.Addr()); !ok || got.Valid < 50*time.Minute {
			t.Errorf("%v is there: %v, with %v to live, want an hour", a.Prefix, ok, got.Valid)
		}
	}
}

func TestARemovalTellsAnExpiryFromADeletion(t *testing.T) {
	t.Parallel() // it waits for the end of a lease
	_, n, _ := lan(t)
	h := handle(t, n)
	w := watch(t, n, netif.Watch)
	l, _ := w.Snapshot().Link("eth0")
	gone := func(what string, addrs ...netif.Address) {
		t.Helper()
		until(t, w, what, func(s *netif.Snapshot) bool {
			return !slices.ContainsFunc(addrs, func(a netif.Address) bool { return s.Has(l.Index, a.Prefix.Addr()) })
		})
	}
	removal := func(a netif.Address, want netif.Removal) {
		t.Helper()
		got, ok := w.Removal(l.Index, a.Prefix.Addr())
		if age := time.Since(got.At); !ok || age < 0 || age > patience {
			t.Errorf("the removal of %v is %+v, %v", a.Prefix, got, ok)
		}
		if got.At = want.At; got != want {
			t.Errorf("the removal of %v is %+v, want %+v", a.Prefix, got, want)
		}
	}
	v4 := netif.Address{Prefix: prefix("10.0.0.10/32"), Interface: "eth0", ValidLifetime: time.Hour}
	v6 := netif.Address{Prefix: prefix("fd00::10/128"), Interface: "eth0", ValidLifetime: time.Hour, Deprecated: true}
	if _, ok := w.Removal(l.Index, v4.Prefix.Addr()); ok {
		t.Error("an address that never was was removed")
	}
	added := func() {
		t.Helper()
		checkResults(t, h.Add([]netif.Address{v4, v6}))
		until(t, w, "both are there", func(s *netif.Snapshot) bool {
			return s.Has(l.Index, v4.Prefix.Addr()) && s.Has(l.Index, v6.Prefix.Addr())
		})
	}
	added()
	v4.ValidLifetime, v6.ValidLifetime = time.Second, time.Second
	checkResults(t, h.Renew([]netif.Address{v4, v6}))
	gone("both have expired", v4, v6)
	removal(v4, netif.Removal{Expired: true})
	removal(v6, netif.Removal{Expired: true})

	v4.ValidLifetime, v6.ValidLifetime = time.Hour, 0
	added()
	checkResults(t, h.Remove([]netif.Address{v4, v6}))
	gone("both are deleted", v4, v6)
	removal(v4, netif.Removal{Port: h.PortID()})
	removal(v6, netif.Removal{}) // the kernel does not tell

	v6.ValidLifetime = time.Hour
	added()
	link, err := n.Netlink().LinkByName("eth0")
	check(t, err)
	check(t, n.Netlink().LinkDel(link))
	gone("both went with their interface", v4, v6)
	removal(v4, netif.Removal{})
	removal(v6, netif.Removal{})
}

func TestTheProcessOfAPortIsFoundWhileItLives(t *testing.T) {
	_, n, _ := lan(t)
	comm, err := os.ReadFile("/proc/self/comm")
	check(t, err)
	want := strings.TrimSpace(string(comm))
	is := func(port uint32) {
		t.Helper()
		pid, name, ok := netif.ProcessOfPort(port)
		if !ok || pid != os.Getpid() || name != want {
			t.Errorf("port %d is of process %d, %q, %v, want %d, %q", port, pid, name, ok, os.Getpid(), want)
		}
	}
	check(t, n.Do(func() error {
		// The first socket of a process in a namespace has the process's number for
		// a port, and the others have not.
		var ports []uint32
		var handles []*netif.Handle
		for range 2 {
			h, err := netif.NewHandle()
			if err != nil {
				return err
			}
			handles, ports = append(handles, h), append(ports, h.PortID())
			is(h.PortID())
		}
		if ports[1] == uint32(os.Getpid()) {
			t.Errorf("the ports are %v, so none had to be searched for", ports)
		}
		is(uint32(os.Getpid()))
		for i, h := range handles {
			check(t, h.Close())
			if pid, name, ok := netif.ProcessOfPort(ports[i]); ok && ports[i] != uint32(os.Getpid()) {
				t.Errorf("port %d is of process %d, %q, after it was closed", ports[i], pid, name)
			}
		}
		if pid, name, ok := netif.ProcessOfPort(0); ok {
			t.Errorf("the kernel is process %d, %q", pid, name)
		}
		return nil
	}))
}

func TestTheKernelIsAskedForANeighbour(t *testing.T) {
	_, n, _ := lan(t)
	h := handle(t, n)
	ifi, err := n.Interface("eth0")
	check(t, err)
	mac := [6]byte{2, 0, 0, 0, 0, 7}
	for _, a := range []string{"10.0.0.7", "fd00::7"} {
		family := netlink.FAMILY_V4
		if addr(a).Is6() {
			family = netlink.FAMILY_V6
		}
		if got, ok, err := h.Neighbor(ifi.Index, addr(a)); ok || err != nil {
			t.Errorf("before %s is known it is %x, %v, %v", a, got, ok, err)
		}
		entry := netlink.Neigh{LinkIndex: ifi.Index, Family: family, IP: net.IP(addr(a).AsSlice()), State: netlink.NUD_STALE, HardwareAddr: mac[:]}
		check(t, n.Netlink().NeighSet(&entry))
		if got, ok, err := h.Neighbor(ifi.Index, addr(a)); got != mac || !ok || err != nil {
			t.Errorf("%s is %x, %v, %v, want %x", a, got, ok, err, mac)
		}
		entry.State = netlink.NUD_FAILED
		check(t, n.Netlink().NeighSet(&entry))
		if got, ok, err := h.Neighbor(ifi.Index, addr(a)); ok || err != nil {
			t.Errorf("after %s has failed it is %x, %v, %v", a, got, ok, err)
		}
	}
	if _, ok, err := h.Neighbor(99, addr("10.0.0.7")); ok || !errors.Is(err, netif.ErrNoInterface) {
		t.Errorf("on an interface that is not there the result is %v, %v, want %v", ok, err, netif.ErrNoInterface)
	}
	if _, ok, err := h.Neighbor(ifi.Index, netip.Addr{}); ok || !errors.Is(err, netif.ErrInvalid) {
		t.Errorf("for no address the result is %v, %v, want %v", ok, err, netif.ErrInvalid)
	}
}

// BenchmarkRenew measures the renewal of the leases of many addresses.
func BenchmarkRenew(b *testing.B) {
	for _, count := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("IPv4 %d", count), func(b *testing.B) {
			benchmarkRenew(b, many(count, 32, "eth0"))
		})
	}
	for _, count := range []int{1, 100, 300} {
		b.Run(fmt.Sprintf("IPv6 %d", count), func(b *testing.B) {
			addrs := make([]netif.Address, count)
			for i := range addrs {
				a := netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)})
				addrs[i] = netif.Address{Prefix: netip.PrefixFrom(a, 128), Interface: "eth0", Deprecated: true}
			}
			benchmarkRenew(b, addrs)
		})
	}
}

func benchmarkRenew(b *testing.B, addrs []netif.Address) {
	_, n, _ := lan(b)
	h := handle(b, n)
	for i := range addrs {
		addrs[i].ValidLifetime = time.Hour
	}
	checkResults(b, h.Add(addrs))
	for b.Loop() {
		checkResults(b, h.Renew(addrs))
	}
}
