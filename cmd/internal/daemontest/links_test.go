package daemontest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// fast is an instance on eth0 that is elected within half a second.
const fast = `
vrrp_instance:
  VI:
    interface: eth0
    virtual_router_id: 51
    priority: 200
    advert_int: 100ms
    virtual_ipaddress: [192.0.2.10/24]
`

// masterOf starts fast, or another configuration, and waits until it is master
// and its first address is in place.
func (s *segment) masterOf(n *netiftest.Node, yaml string, opts ...rig.Option) *daemon {
	s.t.Helper()
	d := start(s.t, n, yaml, opts...)
	d.is(control.StateMaster)
	rig.Eventually(s.t, quick, "the addresses are in place", func() bool { return !d.instance("").Degraded })
	return d
}

// fault waits until the only instance is in fault for a reason of a kind, and
// returns it.
func (d *daemon) fault(kind string) control.Fault {
	d.t.Helper()
	var found control.Fault
	rig.Eventually(d.t, patience, d.Node().Name()+" is in fault for "+kind, func() bool {
		i := d.instance("")
		for _, f := range i.Faults {
			if f.Kind == kind {
				found = f
				return i.State == control.StateFault
			}
		}
		return false
	})
	return found
}

// backAgain waits until the instance is master again after a fault, by way of
// backup, with its address in place, announced and advertised.
func (s *segment) backAgain(d *daemon, since time.Time) {
	s.t.Helper()
	i := d.is(control.StateMaster)
	if got, want := path(i), "fault backup master"; !strings.HasSuffix(got, want) {
		s.t.Errorf("it went %s, want … %s", got, want)
	}
	rig.Eventually(s.t, quick, "the address is in place", func() bool { return has(d.Node(), "eth0", "192.0.2.10") })
	s.wire.advert("after the fault", from(i.SourceAddress.String(), since))
	a := s.wire.announcement("192.0.2.10", since)
	if want := hardware(s.t, d.Node(), "eth0"); !bytes.Equal(a.mac, want) {
		s.t.Errorf("%s is announced at %s, the interface has %s", a.ip, a.mac, want)
	}
	if i := d.instance(""); len(i.Faults) > 0 || i.Degraded {
		s.t.Errorf("it is not well: faults %+v, degraded %q", i.Faults, i.DegradedText)
	}
}

func TestALinkThatComesBackIsUsedAgainByWayOfBackup(t *testing.T) {
	t.Parallel()
	setUp := func(s *segment, r *netiftest.Node, up bool) {
		l := link(s.t, r, "eth0")
		if up {
			check(s.t, r.Netlink().LinkSetUp(l))
		} else {
			check(s.t, r.Netlink().LinkSetDown(l))
		}
	}
	for _, tt := range []struct {
		name       string
		fault      string
		text       string // of the fault
		away, back func(s *segment, r *netiftest.Node)
		said       bool // neighbours hear priority 0: the link works
	}{
		{
			name: "the carrier is lost", fault: "interface-down", text: "interface eth0 is down (no carrier)",
			away: func(s *segment, r *netiftest.Node) { check(s.t, s.Cut(r, "eth0")) },
			back: func(s *segment, r *netiftest.Node) { check(s.t, s.Heal(r, "eth0")) },
		},
		{
			name: "the administrator takes it down", fault: "interface-down", text: "interface eth0 is down (administratively)",
			away: func(s *segment, r *netiftest.Node) { setUp(s, r, false) },
			back: func(s *segment, r *netiftest.Node) { setUp(s, r, true) },
		},
		{
			name: "it is deleted and made anew", fault: "interface-missing", text: "interface eth0 does not exist",
			away: func(s *segment, r *netiftest.Node) { check(s.t, r.Netlink().LinkDel(link(s.t, r, "eth0"))) },
			back: func(s *segment, r *netiftest.Node) { s.plug(r, "eth0", "192.0.2.1/24") },
		},
		{
			name: "it is renamed and renamed back", fault: "interface-missing", text: "interface eth0 does not exist", said: true,
			away: func(s *segment, r *netiftest.Node) { rename(s.t, r, "eth0", "wan0") },
			back: func(s *segment, r *netiftest.Node) { rename(s.t, r, "wan0", "eth0") },
		},
		{
			name: "its last address is removed", fault: "no-source-address", text: "no source address on eth0", said: true,
			away: func(s *segment, r *netiftest.Node) { check(s.t, r.RemoveAddr("eth0", prefix("192.0.2.1/24"))) },
			back: func(s *segment, r *netiftest.Node) { check(s.t, r.AddAddr("eth0", prefix("192.0.2.1/24"))) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSegment(t)
			r := s.router(1)
			before := link(t, r, "eth0").Attrs().Index
			d := s.masterOf(r, fast)
			for round := range 2 {
				tt.away(s, r)
				if f := d.fault(tt.fault); !strings.HasPrefix(f.Text, tt.text) {
					t.Errorf("round %d: the fault is %q, want %q", round, f.Text, tt.text)
				}
				rig.Eventually(t, quick, "the address is gone", func() bool {
					return !has(r, "eth0", "192.0.2.10") && !has(r, "wan0", "192.0.2.10")
				})
				since := time.Now()
				tt.back(s, r)
				s.backAgain(d, since)
			}
			if got := len(s.wire.adverts(stops("192.0.2.1", time.Time{}))) > 0; got != tt.said {
				t.Errorf("priority 0 was heard: %t, want %t", got, tt.said)
			}
			if d.lines("cannot") > 0 {
				t.Error("the log complains about what follows from the fault")
			}
			if tt.name == "it is deleted and made anew" && link(t, r, "eth0").Attrs().Index == before {
				t.Error("the interface still has the index it had: the test tests nothing")
			}
			if code := d.Stop(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// rename renames an interface. Kernels before 6.2 want it to be down for that.
func rename(t *testing.T, n *netiftest.Node, from, to string) {
	t.Helper()
	l := link(t, n, from)
	nl := n.Netlink()
	if err := nl.LinkSetName(l, to); err != unix.EBUSY {
		check(t, err)
		return
	}
	check(t, nl.LinkSetDown(l))
	check(t, nl.LinkSetName(l, to))
	check(t, nl.LinkSetUp(l))
}

func TestAnInterfaceReplacedBehindItsBackIsNoticed(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	// What it finds then is an interface of the same name and address.
	d.Pause(t)
	check(t, r.Netlink().LinkDel(link(t, r, "eth0")))
	s.plug(r, "eth0", "192.0.2.1/24")
	since := time.Now()
	d.Continue(t)
	rig.Eventually(t, patience, "the address is on the new interface", func() bool { return has(r, "eth0", "192.0.2.10") })
	s.wire.advert("from the new interface", from("192.0.2.1", since))
	a := s.wire.announcement("192.0.2.10", since)
	if want := hardware(t, r, "eth0"); !bytes.Equal(a.mac, want) {
		t.Errorf("the address is announced at %s, the interface has %s", a.mac, want)
	}
	// It hears there, too.
	say(t, s.injector(), "192.0.2.2", vrrp.Advertisement{
		Version: vrrp.V3, VRID: 51, Priority: 250, Interval: 100 * time.Millisecond, Addrs: []netip.Addr{addr("192.0.2.10")},
	})
	rig.Eventually(t, patience, "it yields to a better master", func() bool { return strings.Contains(path(d.instance("")), "master backup") })
}

func TestALinkThatFlapsEndsInGoodOrder(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	for range 50 {
		check(t, s.Cut(r, "eth0"))
		check(t, s.Heal(r, "eth0"))
	}
	check(t, s.Cut(r, "eth0"))
	d.fault("interface-down")
	rig.Eventually(t, quick, "the address is gone", func() bool { return !has(r, "eth0", "192.0.2.10") })
	since := time.Now()
	check(t, s.Heal(r, "eth0"))
	s.backAgain(d, since)
}

func TestAMasterWithoutCarrierIsReplacedAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r1, r2 := s.router(1), s.router(2)
	d1 := s.masterOf(r1, fast)
	d2 := start(t, r2, strings.Replace(fast, "200", "100", 1))
	rig.Eventually(t, patience, "the backup has heard the master", func() bool { return d2.instance("").Master != nil })

	check(t, s.Cut(r1, "eth0"))
	i := d2.is(control.StateMaster)
	if i.Reason.Kind != "master-silent" {
		t.Errorf("the backup took over for %q, want master-silent", i.Reason.Kind)
	}
	d1.is(control.StateFault)
	check(t, s.Heal(r1, "eth0"))
	d1.is(control.StateMaster)
	d2.is(control.StateBackup)
	rig.Eventually(t, quick, "the address is on the first router only", func() bool {
		return has(r1, "eth0", "192.0.2.10") && !has(r2, "eth0", "192.0.2.10")
	})
}

func TestAnInterfaceThatIsMissingAtTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r, err := s.Node("router")
	check(t, err)
	d := start(t, r, fast)
	if f, want := d.fault("interface-missing"), "interface eth0 does not exist"; f.Text != want {
		t.Errorf("the fault is %q, want %q", f.Text, want)
	}
	d.logs(1, "WARN", "transition", "interface eth0 does not exist")
	since := time.Now()
	s.plug(r, "eth0", "192.0.2.1/24")
	s.backAgain(d, since)
}

func TestAnInterfaceThatGetsItsAddressLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.node("router")
	d := start(t, r, fast)
	d.fault("no-source-address")
	since := time.Now()
	check(t, r.AddAddr("eth0", prefix("192.0.2.1/24")))
	s.backAgain(d, since)
}

// slowly is fast with more time between advertisements: a machine may stand still for
// a second without a consequence. Nothing but the daemon removes its address.
var slowly = strings.Replace(fast, "100ms", "400ms", 1) + "    vip_lease: off\n"

// glance returns the status of the only instance, as far as it is to be had: a busy
// machine does not always answer in time.
func (d *daemon) glance() control.Instance {
	s, err := d.Status()
	if err != nil || len(s.Instances) != 1 {
		return control.Instance{}
	}
	return s.Instances[0]
}

// well waits until the only instance is master and lacks nothing.
func (d *daemon) well() control.Instance {
	d.t.Helper()
	var i control.Instance
	rig.Eventually(d.t, patience, "all is well", func() bool {
		i = d.glance()
		return i.State == control.StateMaster && !i.Degraded && has(d.Node(), "eth0", "192.0.2.10")
	})
	return i
}

func TestAnAddressThatIsGoneForAMomentIsGoneOnWithout(t *testing.T) {
	t.Parallel()
	const (
		attempts = 20
		// A machine that stands still for longer than that shows nothing.
		promptly = 1100 * time.Millisecond
		says     = "its source address 192.0.2.1 has been gone since"
	)
	for _, tt := range []struct {
		name    string
		more    string // configuration
		promote string // whether the virtual address outlasts it
	}{
		{"multicast", "", "1"},
		{"unicast", "    unicast_peer: [192.0.2.100]\n", "1"},
		{"it takes the virtual one along", "", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSegment(t)
			r := s.router(1)
			check(t, r.Sysctl("net.ipv4.conf.eth0.promote_secondaries", tt.promote))
			d := s.masterOf(r, slowly+tt.more)
			for attempt := 1; ; attempt++ {
				before := d.well()
				since := time.Now()
				late := func() bool { return time.Since(since) > promptly }
				check(t, r.RemoveAddr("eth0", prefix("192.0.2.1/24")))
				var gone control.Instance
				rig.Eventually(t, patience, "the loss is noticed", func() bool {
					gone = d.glance()
					return strings.Contains(gone.DegradedText, says) || gone.State == control.StateFault || late()
				})
				noticed := time.Now()
				rig.Eventually(t, patience, "it advertises", func() bool {
					return len(s.wire.adverts(from("192.0.2.1", noticed))) > 0 || late()
				})
				check(t, r.AddAddr("eth0", prefix("192.0.2.1/24")))
				after := d.well()
				if late() {
					if attempt == attempts {
						t.Fatalf("in %d attempts it was never well again within %v", attempts, promptly)
					}
					continue
				}
				if len(after.History) != len(before.History) || after.SourceAddress != addr("192.0.2.1") {
					t.Errorf("it went %s, and sends from %s", path(after), after.SourceAddress)
				}
				if !strings.Contains(gone.DegradedText, says) || len(gone.Faults) > 0 {
					t.Errorf("status says degraded: %q, faults: %v", gone.DegradedText, gone.Faults)
				}
				for _, a := range s.wire.adverts(func(a advert) bool { return a.at.After(since) }) {
					if a.src != addr("192.0.2.1") || a.Priority != 200 {
						t.Errorf("it has sent priority %d from %s", a.Priority, a.src)
					}
				}
				if put := after.Counters.Restored - before.Counters.Restored; (put > 0) != (tt.promote == "0") {
					t.Errorf("it has put the virtual address back %d times", put)
				}
				if d.lines("cannot send") > 0 {
					t.Error("the log complains of what it cannot send")
				}
				if attempt == 1 {
					d.logs(1, "WARN", "its source address is gone")
					d.logs(1, "INFO", "there is a source address again")
				}
				return
			}
		})
	}
}

func TestAnAddressThatStaysAwayIsAFaultAfterTheGrace(t *testing.T) {
	t.Parallel()
	const (
		attempts = 10
		grace    = 2 * time.Second
	)
	s := newSegment(t)
	r := s.router(1)
	check(t, r.Sysctl("net.ipv4.conf.eth0.promote_secondaries", "1"))
	d := s.masterOf(r, slowly)
	for attempt := 1; ; attempt++ {
		d.well()
		since := time.Now()
		check(t, r.RemoveAddr("eth0", prefix("192.0.2.1/24")))
		var i control.Instance
		rig.Eventually(t, patience, "it is in fault", func() bool {
			i = d.glance()
			return i.State == control.StateFault
		})
		last := i.History[len(i.History)-1]
		if last.From != control.StateMaster && attempt < attempts {
			// The machine stood still for so long that it had given way before.
			check(t, r.AddAddr("eth0", prefix("192.0.2.1/24")))
			continue
		}
		if took := last.At.Sub(since); took < grace || last.From != control.StateMaster {
			t.Errorf("%v after the address went it went from %s to %s: %s", took, last.From, last.To, last.Reason.Text)
		}
		if len(i.Faults) != 1 || i.Faults[0].Kind != "no-source-address" || i.Degraded {
			t.Errorf("the faults are %v, and it is degraded: %q", i.Faults, i.DegradedText)
		}
		s.wire.advert("that it gives up", stops("192.0.2.1", since.Add(grace)))
		check(t, r.AddAddr("eth0", prefix("192.0.2.1/24")))
		d.well()
		return
	}
}

func TestAnotherAddressOfTheInterfaceTakesOverAsSource(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.node("router", "192.0.2.1/24", "192.0.2.2/24")
	check(t, r.Sysctl("net.ipv4.conf.eth0.promote_secondaries", "1"))
	d := s.masterOf(r, fast)
	s.wire.advert("from the primary address", from("192.0.2.1", time.Time{}))
	check(t, r.RemoveAddr("eth0", prefix("192.0.2.1/24")))
	s.wire.advert("from the other address", from("192.0.2.2", time.Time{}))
	if i := d.instance(""); path(i) != "init backup master" || i.SourceAddress != addr("192.0.2.2") {
		t.Errorf("it went %s and has the source %s", path(i), i.SourceAddress)
	}
	if !has(r, "eth0", "192.0.2.10") {
		t.Error("the virtual address is gone")
	}
}

func TestAVirtualAddressIsNeverTheSource(t *testing.T) {
	t.Parallel()
	// In the subnet of the interface, one below and one above its own address,
	// and one with the interface's scope: whatever a kernel would choose.
	const yaml = `
vrrp_instance:
  VI:
    interface: eth0
    virtual_router_id: 51
    priority: 200
    advert_int: 100ms
    virtual_ipaddress: [192.0.2.3/24, 192.0.2.200/24, 192.0.2.201]
`
	s := newSegment(t)
	r := s.node("router", "192.0.2.50/24")
	check(t, r.Sysctl("net.ipv4.conf.eth0.promote_secondaries", "1"))
	d := s.masterOf(r, yaml)

	// Its own address goes, so that a virtual one becomes the primary.
	check(t, r.RemoveAddr("eth0", prefix("192.0.2.50/24")))
	d.fault("no-source-address")
	rig.Eventually(t, quick, "all virtual addresses are gone", func() bool {
		return !has(r, "eth0", "192.0.2.3") && !has(r, "eth0", "192.0.2.200") && !has(r, "eth0", "192.0.2.201")
	})
	check(t, r.AddAddr("eth0", prefix("192.0.2.50/24")))
	d.is(control.StateMaster)

	// And killed, its virtual addresses are there before its own.
	d.Kill(t)
	check(t, r.RemoveAddr("eth0", prefix("192.0.2.50/24")))
	check(t, r.AddAddr("eth0", prefix("192.0.2.50/24")))
	d = s.masterOf(r, yaml, rig.WithRunDir(d.RunDir))
	if got := d.instance("").SourceAddress; got != addr("192.0.2.50") {
		t.Errorf("the source is %s", got)
	}
	for _, a := range s.wire.adverts(func(advert) bool { return true }) {
		if a.src != addr("192.0.2.50") {
			t.Fatalf("an advertisement came from %s", a.src)
		}
	}
}

func TestAVirtualLinkLocalAddressIsNeverTheSource(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r, err := s.Node("router")
	check(t, err)
	s.plug(r, "eth0", "fe80::ffff/64")
	own := []string{"fe80::ffff/64"}
	addrs, err := r.Addrs("eth0")
	check(t, err)
	for _, a := range addrs {
		if a.Addr().IsLinkLocalUnicast() && a.String() != own[0] {
			own = append(own, a.String())
		}
	}
	d := s.masterOf(r, several("fe80::51/64"))
	for _, a := range own {
		check(t, r.RemoveAddr("eth0", prefix(a)))
	}
	d.fault("no-source-address")
	if d.lines("its source address is gone") > 0 {
		t.Error("it goes on without a link-local address, from which it cannot send")
	}
	rig.Eventually(t, quick, "the virtual address is gone", func() bool { return !has(r, "eth0", "fe80::51") })
	check(t, r.AddAddr("eth0", prefix("fe80::ffff/64")))
	if i := d.is(control.StateMaster); i.SourceAddress != addr("fe80::ffff") {
		t.Errorf("the source is %s", i.SourceAddress)
	}
	d.Kill(t)
	if d = s.masterOf(r, several("fe80::51/64"), rig.WithRunDir(d.RunDir)); d.instance("").SourceAddress != addr("fe80::ffff") {
		t.Errorf("after it was killed the source is %s", d.instance("").SourceAddress)
	}
	for _, a := range s.wire.adverts(func(a advert) bool { return a.dst == addr("ff02::12") }) {
		if a.src == addr("fe80::51") {
			t.Fatal("an advertisement came from the virtual address")
		}
	}
}

func TestAnnouncementsCarryTheHardwareAddressOfNow(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast+"    garp_master_refresh: 1\n    garp_master_delay: 0\n")
	mac := net.HardwareAddr{2, 0, 0, 0xaa, 0xbb, 0xcc}
	check(t, r.Netlink().LinkSetHardwareAddr(link(t, r, "eth0"), mac))
	since := time.Now()
	// One may have been made before the news arrived.
	rig.Eventually(t, patience, "the new hardware address is announced", func() bool {
		for _, a := range s.wire.announcements("192.0.2.10", since) {
			if bytes.Equal(a.mac, mac) && bytes.Equal(a.ethernet, mac) {
				return true
			}
		}
		return false
	})
	if got := path(d.instance("")); got != "init backup master" {
		t.Errorf("it went %s", got)
	}
}

func TestALinkLocalAddressIsWaitedForUntilItIsProven(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r, err := s.Node("router")
	check(t, err)
	// Three probes, a second apart.
	for key, value := range map[string]string{"accept_dad": "1", "dad_transmits": "3"} {
		check(t, r.Sysctl("net.ipv6.conf.default."+key, value))
	}
	s.plug(r, "eth0")
	d := start(t, r, `
vrrp_instance:
  VI:
    interface: eth0
    virtual_router_id: 51
    advert_int: 100ms
    virtual_ipaddress: [2001:db8::10/64]
`)
	// How long it takes to come here is not known, but not longer than that.
	if f := d.fault("no-source-address"); !strings.Contains(f.Text, "duplicate address detection") {
		t.Errorf("the fault is %q", f.Text)
	}
	i := d.is(control.StateMaster)
	if got, want := path(i), "init fault backup master"; got != want {
		t.Errorf("it went %s, want %s", got, want)
	}
	a := s.wire.advert("from the router", func(advert) bool { return true })
	if a.src != i.SourceAddress || !a.src.IsLinkLocalUnicast() || a.dst != addr("ff02::12") || a.ttl != 255 {
		t.Errorf("it advertises from %s to %s with hop limit %d", a.src, a.dst, a.ttl)
	}
}

func TestAnAddressOnAnotherInterfaceFollowsThatInterface(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "eth1")
	d := s.masterOf(r, strings.Replace(fast, "192.0.2.10/24", "192.0.2.10/24 dev eth1, 192.0.2.11/24", 1))
	if !has(r, "eth1", "192.0.2.10") || has(r, "eth0", "192.0.2.10") || !has(r, "eth0", "192.0.2.11") {
		t.Fatal("the addresses are not where they belong")
	}
	if a := s.wire.announcement("192.0.2.10", time.Time{}); !bytes.Equal(a.mac, hardware(t, r, "eth1")) {
		t.Errorf("the address on eth1 is announced at %s", a.mac)
	}
	for _, tt := range []struct {
		name       string
		away, back func()
	}{
		{"its carrier is lost", func() { check(t, s.Cut(r, "eth1")) }, func() { check(t, s.Heal(r, "eth1")) }},
		{"it is deleted", func() { check(t, r.Netlink().LinkDel(link(t, r, "eth1"))) }, func() { s.plug(r, "eth1") }},
	} {
		tt.away()
		d.fault("tracked-interface")
		rig.Eventually(t, quick, tt.name+": the other address is gone, too", func() bool { return !has(r, "eth0", "192.0.2.11") })
		tt.back()
		d.is(control.StateMaster)
		rig.Eventually(t, quick, tt.name+" and comes back: both addresses are", func() bool {
			return has(r, "eth1", "192.0.2.10") && has(r, "eth0", "192.0.2.11")
		})
	}
}

func TestATrackedInterfaceDecidesAndAnUntrackedOneDoesNot(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "eth1")
	d := s.masterOf(r, steady(200, "track_interface: [eth1]", "dont_track_primary: true"))
	check(t, s.Cut(r, "eth1"))
	if f, want := d.fault("tracked-interface"), "tracked interface eth1 is down (no carrier)"; f.Text != want {
		t.Errorf("the fault is %q, want %q", f.Text, want)
	}
	check(t, s.Heal(r, "eth1"))
	d.is(control.StateMaster)

	check(t, s.Cut(r, "eth0"))
	d.stays(control.StateMaster, 500*time.Millisecond)
	since := time.Now()
	check(t, s.Heal(r, "eth0"))
	s.wire.advert("after the carrier is back", from("192.0.2.1", since))
	if got, want := path(d.instance("")), "init backup master fault backup master"; got != want {
		t.Errorf("it went %s, want %s", got, want)
	}
}

func TestAnInterfaceOnTopOfAnotherFollowsIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		link func(netlink.LinkAttrs) netlink.Link
	}{
		{"a macvlan interface", func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE}
		}},
		{"a VLAN interface", func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.Vlan{LinkAttrs: a, VlanId: 7, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSegment(t)
			r := s.router(1)
			add := func() {
				t.Helper()
				nl := r.Netlink()
				err := nl.LinkAdd(tt.link(netlink.LinkAttrs{Name: "eth0.7", ParentIndex: link(t, r, "eth0").Attrs().Index}))
				if err == unix.EOPNOTSUPP {
					t.Skip("this kernel has no such interfaces")
				}
				check(t, err)
				check(t, nl.LinkSetUp(link(t, r, "eth0.7")))
				check(t, r.AddAddr("eth0.7", prefix("198.51.100.1/24")))
			}
			add()
			d := s.masterOf(r, strings.NewReplacer("eth0", "eth0.7", "192.0.2.10/24", "198.51.100.10/24").Replace(fast))
			check(t, s.Cut(r, "eth0"))
			d.fault("interface-down")
			check(t, s.Heal(r, "eth0"))
			d.is(control.StateMaster)
			// An interface that goes takes along what is on top of it.
			check(t, r.Netlink().LinkDel(link(t, r, "eth0")))
			d.fault("interface-missing")
			s.plug(r, "eth0")
			add()
			d.is(control.StateMaster)
			rig.Eventually(t, quick, "the address is in place", func() bool { return has(r, "eth0.7", "198.51.100.10") })
		})
	}
}

func TestManyChangesBySomebodyElseConfuseNobody(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "other")
	other := link(t, r, "other")
	d := s.masterOf(r, everySecond(fast))
	nl := r.Netlink()
	// The list of what is there grows and shrinks, and each change is news.
	churn := func(n int) {
		t.Helper()
		for i := range n {
			a, err := netlink.ParseAddr(fmt.Sprintf("10.%d.%d.%d/32", i%7, i>>8&0xff, i&0xff))
			check(t, err)
			check(t, nl.AddrAdd(other, a))
			if i%3 != 0 || i > 600 {
				check(t, nl.AddrDel(other, a))
			}
		}
	}
	churn(2500)
	if got := path(d.instance("")); got != "init backup master" {
		t.Fatalf("it went %s", got)
	}

	// While it is stopped, more happens than the kernel keeps for it: the news
	// of what was done to its own address are lost with the rest.
	d.Pause(t)
	churnMany(t, r, other)
	if has(r, "eth0", "192.0.2.10") { // else its lease is over
		check(t, r.RemoveAddr("eth0", prefix("192.0.2.10/24")))
	}
	churnMany(t, r, other)
	if lost(t, d.PID()) == 0 {
		t.Error("the kernel has lost no news: the test tests nothing")
	}
	since := time.Now()
	d.Continue(t)
	rig.Eventually(t, patience, "the address is back", func() bool { return has(r, "eth0", "192.0.2.10") })
	s.wire.advert("after the pause", from("192.0.2.1", since))
	d.is(control.StateMaster)
}

// churnMany makes more changes than a netlink socket holds news of.
func churnMany(t *testing.T, n *netiftest.Node, l netlink.Link) {
	t.Helper()
	nl := n.Netlink()
	a, err := netlink.ParseAddr("10.9.9.9/32")
	check(t, err)
	for range 8000 {
		check(t, nl.AddrAdd(l, a))
		check(t, nl.AddrDel(l, a))
	}
}

// lost reads how many messages the netlink sockets of a process have lost.
func lost(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netlink", pid))
	check(t, err)
	total := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[2] == "Pid" {
			continue
		}
		var drops int
		if _, err := fmt.Sscan(f[8], &drops); err == nil {
			total += drops
		}
	}
	return total
}
