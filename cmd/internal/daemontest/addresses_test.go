package daemontest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

// several returns an instance with virtual addresses, each a line as in
// keepalived.conf.
func several(lines ...string) string {
	yaml := strings.Replace(fast, "    virtual_ipaddress: [192.0.2.10/24]\n", "    virtual_ipaddress:\n", 1)
	for _, l := range lines {
		yaml += "      - " + l + "\n"
	}
	return yaml
}

// everySecond has adverts every second: a machine that is held up for some tenths of one
// loses no mastership, and no lease.
func everySecond(yaml string) string {
	return strings.Replace(yaml, "advert_int: 100ms", "advert_int: 1", 1)
}

func TestAVirtualAddressThatSomebodyDeletesIsBackAtOnce(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, everySecond(several("192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24 no_track")))
	check(t, r.RemoveAddr("eth0", prefix("192.0.2.12/24")))
	for _, a := range []string{"192.0.2.10", "192.0.2.11", "192.0.2.10"} {
		since := time.Now()
		check(t, r.RemoveAddr("eth0", prefix(a+"/24")))
		rig.Eventually(t, quick, a+" is back", func() bool { return has(r, "eth0", a) })
		if got := s.wire.announcement(a, since); got.at.Sub(since) > quick {
			t.Errorf("%s is announced after %s", a, got.at.Sub(since))
		}
	}
	d.logs(1, "WARN", "192.0.2.10", "putting them back")
	i := d.instance("")
	if got := path(i); got != "init backup master" {
		t.Errorf("it went %s", got)
	}
	if sent := s.wire.adverts(stops("192.0.2.1", time.Time{})); len(sent) > 0 {
		t.Errorf("it advertised priority 0")
	}
	if has(r, "eth0", "192.0.2.12") {
		t.Error("the address with no_track is back")
	}

	// The next mastership brings what is not tracked, too.
	check(t, s.Cut(r, "eth0"))
	d.is(control.StateFault)
	check(t, s.Heal(r, "eth0"))
	d.is(control.StateMaster)
	rig.Eventually(t, quick, "all addresses are in place", func() bool {
		return has(r, "eth0", "192.0.2.10") && has(r, "eth0", "192.0.2.11") && has(r, "eth0", "192.0.2.12")
	})
}

func TestAProgramThatKeepsDeletingAnAddressFillsNoLog(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, everySecond(fast))
	for n := range 15 {
		rig.Eventually(t, patience, fmt.Sprintf("the address is back for the %d. time", n), func() bool { return has(r, "eth0", "192.0.2.10") })
		check(t, r.RemoveAddr("eth0", prefix("192.0.2.10/24")))
	}
	rig.Eventually(t, patience, "the address is back in the end", func() bool { return has(r, "eth0", "192.0.2.10") })
	if got := path(d.instance("")); got != "init backup master" {
		t.Errorf("it went %s", got)
	}
	d.logs(1, "ERROR", "another program keeps removing addresses")
	if n := strings.Count(d.Log(), "\n"); n > 10 {
		t.Errorf("it has logged %d lines", n)
	}
}

func TestAllAddressesThatSomebodyFlushesAreBackAtOnce(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	check(t, r.Sysctl("net.ipv4.conf.eth0.promote_secondaries", "1"))
	var lines []string
	for n := range 100 {
		lines = append(lines, fmt.Sprintf("198.51.100.%d/32", n+1))
	}
	d := s.masterOf(r, everySecond(several(lines...)))
	for n := range 100 {
		check(t, r.RemoveAddr("eth0", prefix(fmt.Sprintf("198.51.100.%d/32", n+1))))
	}
	rig.Eventually(t, patience, "all are back", func() bool {
		for n := range 100 {
			if !has(r, "eth0", fmt.Sprintf("198.51.100.%d", n+1)) {
				return false
			}
		}
		return true
	})
	if got := path(d.instance("")); got != "init backup master" {
		t.Errorf("it went %s", got)
	}
}

func TestAnAddressThatWasThereBeforeIsNeverRemoved(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.node("router", "192.0.2.1/24", "192.0.2.10/24", "2001:db8::10/64")
	d := start(t, r, several("192.0.2.10/24", "192.0.2.11/24")+"    virtual_ipaddress_excluded: [2001:db8::10/64]\n")
	rig.Eventually(t, patience, "it is master, and says what will stay", func() bool {
		i := d.instance("")
		return i.State == control.StateMaster && has(r, "eth0", "192.0.2.11") &&
			i.DegradedText == "192.0.2.10 on eth0, 2001:db8::10 on eth0 were not put there by vipd, and stay when this node is not master: remove them"
	})
	rig.Eventually(t, quick, "the log says so", func() bool { return d.lines("WARN", "192.0.2.10/24", "will not remove it") > 0 })
	there := func(when string) {
		t.Helper()
		rig.Eventually(t, quick, when+": its own address is gone", func() bool { return !has(r, "eth0", "192.0.2.11") })
		if !has(r, "eth0", "192.0.2.10") || !has(r, "eth0", "2001:db8::10") {
			t.Fatalf("%s: an address of the host's own is gone", when)
		}
	}
	check(t, s.Cut(r, "eth0"))
	d.is(control.StateFault)
	there("in fault")
	check(t, s.Heal(r, "eth0"))
	d.is(control.StateMaster)

	d.Kill(t)
	d = start(t, r, strings.Replace(several("192.0.2.10/24", "192.0.2.11/24"), "advert_int: 100ms", "advert_int: 10", 1)+
		"    virtual_ipaddress_excluded: [2001:db8::10/64]\n", rig.WithRunDir(d.RunDir))
	there("killed and started again")
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	there("stopped")
}

func TestAKilledDaemonsAddressesAreRemovedBeforeTheFirstElection(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "eth1")
	d := s.masterOf(r, several("192.0.2.10/24", "192.0.2.11", "192.0.2.12/24 dev eth1 label eth1:vip")+
		"    virtual_ipaddress_excluded: [2001:db8::10/64, 2001:db8::11]\n")
	d.Kill(t)
	ours := [][2]string{{"eth0", "192.0.2.10"}, {"eth0", "192.0.2.11"}, {"eth1", "192.0.2.12"}, {"eth0", "2001:db8::10"}, {"eth0", "2001:db8::11"}}
	for _, a := range ours {
		if !has(r, a[0], a[1]) {
			t.Fatalf("%s went with the process: the test tests nothing", a[1])
		}
	}
	// What an operator adds meanwhile is the operator's, although the next
	// configuration names it.
	check(t, r.AddAddr("eth0", prefix("192.0.2.20/24")))
	check(t, r.AddAddr("eth0", prefix("192.0.2.21/24")))
	theirs := []string{"192.0.2.1", "192.0.2.20", "192.0.2.21"}

	// Nobody is elected within ten seconds, and one address is not configured
	// any more.
	yaml := strings.Replace(several("192.0.2.10/24", "192.0.2.20/24", "192.0.2.12/24 dev eth1 label eth1:vip"), "advert_int: 100ms", "advert_int: 4", 1)
	d = start(t, r, yaml, rig.WithRunDir(d.RunDir))
	for _, a := range ours {
		if has(r, a[0], a[1]) {
			t.Errorf("%s is still on %s", a[1], a[0])
		}
	}
	for _, a := range theirs {
		if !has(r, "eth0", a) {
			t.Errorf("%s is gone, and was not vipd's", a)
		}
	}
	d.logs(len(ours), "WARN", "removed an address that an earlier run left")
	if i := d.instance(""); i.State != control.StateBackup {
		t.Errorf("it is %s: that took too long to tell anything", i.State)
	}
	// What vipd knows of the operator's address it also knows after a stop.
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !has(r, "eth0", "192.0.2.20") {
		t.Error("192.0.2.20 is gone, and was not vipd's")
	}
}

func TestASecondDaemonIsRefusedAndTheFirstDoesNotNotice(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	for _, tt := range []struct {
		name, yaml string
		opts       []rig.Option
		want       []string
	}{
		{"the same run directory", strings.Replace(fast, "51", "52", 1), []rig.Option{rig.WithRunDir(d.RunDir)}, []string{"another vipd", fmt.Sprintf("pid %d", d.PID()), d.RunDir, "--run-dir"}},
		{"the same virtual router", fast, nil, []string{"IPv4 virtual router 51 on eth0", fmt.Sprintf("pid %d", d.PID())}},
	} {
		second := rig.StartVIPD(t, r, tt.yaml, tt.opts...)
		if code := second.WaitExit(t, patience); code != 2 {
			t.Errorf("%s: exit code %d, want 2", tt.name, code)
		}
		for _, want := range tt.want {
			if !strings.Contains(second.Log(), want) {
				t.Errorf("%s: the error does not say %q:\n%s", tt.name, want, second.Log())
			}
		}
	}
	if i := d.instance(""); path(i) != "init backup master" || !address(t, i, "192.0.2.10").Present {
		t.Errorf("the first went %s, its address is present: %t", path(i), address(t, i, "192.0.2.10").Present)
	}
	// Another VRID, another family, another namespace: all in order.
	start(t, r, strings.NewReplacer("51", "52", "192.0.2.10", "192.0.2.52").Replace(fast)).is(control.StateMaster)
	start(t, r, strings.NewReplacer("192.0.2.10/24", "fe80::51/64").Replace(fast)).is(control.StateMaster)
	start(t, s.router(2), strings.Replace(fast, "200", "100", 1)).is(control.StateBackup)
}

func TestAnAddressOfTheHostOutlivesAVirtualOneOfItsSubnet(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	check(t, r.Sysctl("net.ipv4.conf.eth0.promote_secondaries", "0"))
	d := s.masterOf(r, several("198.51.100.10/24"))
	// The virtual address is the primary of this subnet. What comes later is
	// secondary to it, and the kernel takes those away with their primary.
	check(t, r.AddAddr("eth0", prefix("198.51.100.20/24")))
	check(t, s.Cut(r, "eth0"))
	d.is(control.StateFault)
	rig.Eventually(t, quick, "the virtual address is gone", func() bool { return !has(r, "eth0", "198.51.100.10") })
	if !has(r, "eth0", "198.51.100.20") {
		t.Error("an address of the host went with the virtual one")
	}
	d.Stop(t)
	if got, err := r.GetSysctl("net.ipv4.conf.eth0.promote_secondaries"); err != nil || got != "0" {
		t.Errorf("promote_secondaries is %s (%v), want what it was", got, err)
	}
}

func TestAStopGivesTheAddressesUpAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := newSegment(t)
			r := s.router(1)
			// Many, so that removing them takes some time.
			var lines []string
			for n := range 200 {
				lines = append(lines, fmt.Sprintf("198.51.100.%d", n+1))
			}
			d := s.masterOf(r, several(lines...)+"    virtual_ipaddress_excluded: [2001:db8::10/64]\n")
			before, err := r.Addrs("eth0")
			check(t, err)
			if len(before) < 200 {
				t.Fatalf("there are %d addresses", len(before))
			}
			gone := firstRemoval(t, r)
			asked := time.Now()
			d.Signal(t, sig)
			if code := d.WaitExit(t, patience); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(asked); took > quick {
				t.Errorf("the end took %s", took)
			}
			s.wire.advert("of priority 0", stops("192.0.2.1", time.Time{}))
			sent := s.wire.adverts(stops("192.0.2.1", time.Time{}))
			if len(sent) != 1 {
				t.Fatalf("priority 0 was advertised %d times", len(sent))
			}
			// The removal was noted after it happened, the advertisement when it
			// arrived: what is found here can only be too lenient.
			if at := <-gone; !sent[0].at.Before(at) {
				t.Errorf("the first address was gone %s before priority 0 was heard", sent[0].at.Sub(at))
			}
			after, err := r.Addrs("eth0")
			check(t, err)
			for _, a := range after {
				if a.Addr() != addr("192.0.2.1") && !a.Addr().IsLinkLocalUnicast() {
					t.Errorf("%s is left behind", a)
				}
			}
			if late := s.wire.adverts(from("192.0.2.1", sent[0].at)); len(late) > 0 {
				t.Errorf("%d advertisements followed priority 0", len(late))
			}
			left, err := os.ReadDir(d.RunDir)
			check(t, err)
			for _, f := range left {
				if f.Name() != "vipd.lock" {
					t.Errorf("%s is left in the run directory", f.Name())
				}
			}
		})
	}
}

func TestAStopInTheMiddleOfAddingLeavesNothing(t *testing.T) {
	t.Parallel()
	const many = 2000
	var lines []string
	for n := range many {
		lines = append(lines, fmt.Sprintf("10.1.%d.%d", n/250, n%250+1))
	}
	s := newSegment(t)
	r := s.router(1)
	count := func() int {
		t.Helper()
		addrs, err := r.Addrs("eth0")
		check(t, err)
		return len(addrs)
	}
	before := count()
	d := start(t, r, several(lines...))
	s.wire.announcement(lines[0], time.Time{})
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := count(); n != before {
		t.Errorf("%d addresses are left behind", n-before)
	}

	// And killed there, the next start cleans up.
	since := time.Now()
	d = start(t, r, several(lines...))
	s.wire.announcement(lines[0], since)
	d.Kill(t)
	t.Logf("killed, it leaves %d of %d addresses", count()-before, many)
	if count() == before {
		t.Error("nothing is left: the test tests nothing")
	}
	start(t, r, strings.Replace(several(lines...), "advert_int: 100ms", "advert_int: 10", 1), rig.WithRunDir(d.RunDir))
	if n := count(); n != before {
		t.Errorf("%d addresses are left behind", n-before)
	}
}

// changes returns the changes of addresses on a node from now on.
func changes(t *testing.T, n *netiftest.Node) <-chan netlink.AddrUpdate {
	t.Helper()
	updates := make(chan netlink.AddrUpdate, 1024)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	check(t, n.Do(func() error { return netlink.AddrSubscribe(updates, done) }))
	return updates
}

// added waits until an address is added and returns when that was noticed.
func added(t *testing.T, updates <-chan netlink.AddrUpdate, a string) time.Time {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case u := <-updates:
			if u.NewAddr && u.LinkAddress.IP.String() == a {
				return time.Now()
			}
		case <-late.C:
			t.Fatalf("%s is not added", a)
		}
	}
}

// firstRemoval returns a channel on which comes when the first removal of an
// address of the node was noticed.
func firstRemoval(t *testing.T, n *netiftest.Node) <-chan time.Time {
	t.Helper()
	updates := changes(t, n)
	at := make(chan time.Time, 1)
	go func() {
		noted := false
		for u := range updates {
			if !u.NewAddr && !noted {
				noted = true
				at <- time.Now()
			}
		}
	}()
	return at
}

func TestAnAddressThatIsDeletedAsSoonAsItIsThereIsPutBackToo(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	updates := changes(t, r)
	d := start(t, r, fast)
	added(t, updates, "192.0.2.10")
	check(t, r.RemoveAddr("eth0", prefix("192.0.2.10/24")))
	added(t, updates, "192.0.2.10")
	if got := path(d.instance("")); got != "init backup master" {
		t.Errorf("it went %s", got)
	}
}

func TestAMasterAdvertisesBeforeItAddsItsAddresses(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	updates := changes(t, r)
	s.masterOf(r, fast)
	there := added(t, updates, "192.0.2.10")
	first := s.wire.advert("of the new master", from("192.0.2.1", time.Time{}))
	if !first.at.Before(there) {
		t.Errorf("the address was added %s before the first advertisement", first.at.Sub(there))
	}
	if a := s.wire.announcement("192.0.2.10", time.Time{}); !first.at.Before(a.at) {
		t.Errorf("the address was announced %s before the first advertisement", first.at.Sub(a.at))
	}
}

func TestAnAddressThatCannotBeAddedLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	check(t, r.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1"))
	d := start(t, r, fast+"    virtual_ipaddress_excluded: [2001:db8::10/64, 192.0.2.11/24]\n")
	d.is(control.StateMaster)
	var i control.Instance
	rig.Eventually(t, quick, "it is degraded", func() bool {
		i = d.instance("")
		return i.Degraded && address(t, i, "2001:db8::10").Error != ""
	})
	if want := "1 of 3 addresses"; !strings.Contains(i.DegradedText, want) {
		t.Errorf("degraded: %q, want %q in it", i.DegradedText, want)
	}
	bad := address(t, i, "2001:db8::10")
	if bad.Present || !strings.Contains(bad.Error, "disable_ipv6") && !strings.Contains(bad.Error, "IPv6 is disabled") {
		t.Errorf("the address is present: %t, the error is %q, which does not say why", bad.Present, bad.Error)
	}
	if st := d.status(); !st.Daemon.Degraded || len(st.Daemon.Reasons) != 1 {
		t.Errorf("the daemon is degraded: %t, for %q", st.Daemon.Degraded, st.Daemon.Reasons)
	}
	for _, a := range []string{"192.0.2.10", "192.0.2.11"} {
		s.wire.announcement(a, time.Time{})
		rig.Eventually(t, quick, a+" is in place", func() bool { return has(r, "eth0", a) })
	}
	d.logs(1, "ERROR", "2001:db8::10")

	// It is tried again.
	since := time.Now()
	check(t, r.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "0"))
	rig.Eventually(t, patience, "all is well", func() bool { return !d.instance("").Degraded && has(r, "eth0", "2001:db8::10") })
	s.wire.announcement("2001:db8::10", since)
	if got := path(d.instance("")); got != "init backup master" {
		t.Errorf("it went %s", got)
	}
}

func TestAMasterThatCannotAddAnyAddressIsInFault(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "eth1")
	check(t, r.Sysctl("net.ipv6.conf.eth1.disable_ipv6", "1"))
	d := start(t, r, several("2001:db8::10/64 dev eth1", "2001:db8::11/64 dev eth1"))
	f := d.fault("addresses")
	for _, want := range []string{"none of the addresses could be added", "IPv6 is disabled on eth1"} {
		if !strings.Contains(f.Text, want) {
			t.Errorf("the fault is %q, want %q in it", f.Text, want)
		}
	}
	d.logs(2, "ERROR", "cannot add an address")
	// Whoever heard of this master hears that it is none.
	s.wire.advert("of priority 0", func(a advert) bool { return a.Priority == 0 })

	check(t, r.Sysctl("net.ipv6.conf.eth1.disable_ipv6", "0"))
	i := d.is(control.StateMaster)
	if !strings.HasSuffix(path(i), "fault backup master") {
		t.Errorf("it went %s", path(i))
	}
	rig.Eventually(t, quick, "both addresses are in place", func() bool { return has(r, "eth1", "2001:db8::10") && has(r, "eth1", "2001:db8::11") })
}

func TestNoMoreAddressesAreAdvertisedThanFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mtu, want int
		warning   string
	}{
		{1500, 255, "the other 45 are held, but not advertised"}, // what can be counted
		{576, 137, "the rest is held without being advertised"},  // what a packet holds
	} {
		t.Run(fmt.Sprintf("MTU %d", tt.mtu), func(t *testing.T) {
			t.Parallel()
			s := newSegment(t)
			r := s.router(1)
			check(t, r.Netlink().LinkSetMTU(link(t, r, "eth0"), tt.mtu))
			var lines []string
			for n := range 300 {
				lines = append(lines, fmt.Sprintf("198.51.%d.%d", 100+n/200, n%200+1))
			}
			d := s.masterOf(r, several(lines...))
			a := s.wire.advert("", from("192.0.2.1", time.Time{}))
			if len(a.Addrs) != tt.want {
				t.Errorf("%d addresses are advertised, want %d", len(a.Addrs), tt.want)
			}
			for n, ip := range a.Addrs {
				if want := addr(lines[n]); ip != want {
					t.Fatalf("address %d is %s, want %s", n, ip, want)
				}
			}
			advertised := 0
			for _, row := range d.instance("").Addresses {
				if row.Advertised {
					advertised++
				}
				if !row.Present {
					t.Errorf("%s is not present", row.Address)
				}
			}
			if advertised != tt.want {
				t.Errorf("the status says that %d are advertised, want %d", advertised, tt.want)
			}
			last := lines[len(lines)-1]
			if !has(r, "eth0", last) {
				t.Errorf("%s is not on the interface", last)
			}
			s.wire.announcement(last, time.Time{})
			d.logs(1, "WARN", tt.warning)
		})
	}
}

func TestAddressesHaveTheAttributesThatWereAskedFor(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.masterOf(r, several("198.51.100.10/24 brd 198.51.100.255 label eth0:web scope link", "192.0.2.11", "192.0.2.12 peer 203.0.113.1/32")+
		"    virtual_ipaddress_excluded: [2001:db8::10, 2001:db8::11/64]\n")
	list, err := r.Netlink().AddrList(link(t, r, "eth0"), netlink.FAMILY_ALL)
	check(t, err)
	got := make(map[string]netlink.Addr)
	for _, a := range list {
		got[a.IP.String()] = a
	}
	if a := got["198.51.100.10"]; a.Label != "eth0:web" || a.Scope != unix.RT_SCOPE_LINK || a.Broadcast.String() != "198.51.100.255" || a.Mask.String() != "ffffff00" {
		t.Errorf("198.51.100.10 has label %q, scope %d, broadcast %s, mask %s", a.Label, a.Scope, a.Broadcast, a.Mask)
	}
	if a := got["192.0.2.11"]; a.Scope != unix.RT_SCOPE_UNIVERSE || len(a.Broadcast) > 0 || a.Mask.String() != "ffffffff" || a.Label != "eth0" {
		t.Errorf("192.0.2.11 has label %q, scope %d, broadcast %s, mask %s", a.Label, a.Scope, a.Broadcast, a.Mask)
	}
	if a := got["192.0.2.12"]; a.Peer == nil || a.Peer.String() != "203.0.113.1/32" {
		t.Errorf("192.0.2.12 has the peer %v", a.Peer)
	}
	if a := got["2001:db8::10"]; a.Flags&unix.IFA_F_NODAD == 0 || a.Flags&unix.IFA_F_DEPRECATED == 0 {
		t.Errorf("2001:db8::10 has the flags %#x, want no duplicate address detection, and deprecated", a.Flags)
	}
	if a := got["2001:db8::11"]; a.Flags&unix.IFA_F_NODAD == 0 || a.Flags&unix.IFA_F_DEPRECATED != 0 {
		t.Errorf("2001:db8::11 has the flags %#x, want no duplicate address detection, and not deprecated", a.Flags)
	}
}
