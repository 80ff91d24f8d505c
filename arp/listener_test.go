package arp_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/arp"
)

// patience is how long a test waits for what should take microseconds.
const patience = 10 * time.Second

var (
	vip4 = netip.MustParseAddr("192.0.2.1")
	vip6 = netip.MustParseAddr("2001:db8::1")
	// marker is claimed last, so that all before it has been read.
	marker = netip.MustParseAddr("192.0.2.99")
)

// A heard is what Read returned.
type heard struct {
	claim arp.Claim
	err   error
}

// hearing opens a Listener on an interface and reads from it until it is
// closed.
func hearing(t *testing.T, index int, addrs ...netip.Addr) (*arp.Listener, <-chan heard) {
	t.Helper()
	l, err := arp.Listen(index)
	if err != nil {
		t.Fatal(err)
	}
	// Watching begins when Read already waits, in most runs.
	got := make(chan heard, 1000)
	go func() {
		defer close(got)
		for {
			claim, err := l.Read()
			got <- heard{claim, err}
			if errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for range got {
		}
	})
	if err := l.Watch(addrs); err != nil {
		t.Fatal(err)
	}
	return l, got
}

// next returns what is heard next.
func next(t *testing.T, got <-chan heard) heard {
	t.Helper()
	select {
	case h := <-got:
		return h
	case <-time.After(patience):
		t.Fatal("nothing is heard")
	}
	return heard{}
}

// wantClaims reads claims of these addresses in this order.
func wantClaims(t *testing.T, got <-chan heard, addrs ...netip.Addr) {
	t.Helper()
	for i, addr := range addrs {
		if h := next(t, got); h.err != nil || h.claim.Addr != addr {
			t.Fatalf("claim %d: got %+v, %v, want one of %v", i, h.claim, h.err, addr)
		}
	}
}

// say sends frames from an interface.
func say(t *testing.T, index int, frames ...[]byte) {
	t.Helper()
	conn, err := arp.Open(index)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	if n, err := conn.Send(frames); n != len(frames) || err != nil {
		t.Fatalf("sent %d of %d: %v", n, len(frames), err)
	}
}

// announce returns the frames with which station announces addrs.
func announce(station arp.MAC, addrs ...netip.Addr) [][]byte {
	frames := make([][]byte, len(addrs))
	for i, a := range addrs {
		frames[i] = arp.AppendAnnouncement(nil, station, a, false)
	}
	return frames
}

// many returns n addresses from first on.
func many(first netip.Addr, n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i], first = first, first.Next()
	}
	return addrs
}

func TestEveryWayToClaimAnAddressIsHeard(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	_, got := hearing(t, c.near.Attrs().Index, vip4, netip.MustParseAddr("2001:db8::1%near"), vip4)
	// The near end is 02:00:00:00:00:0a.
	solicited := patched(na(t, toHost, "60", naTarget, ""), 0, router[:]...)
	relay := arp.MAC(solicited[6:])
	for _, tt := range []struct {
		name  string
		frame []byte
		want  arp.Claim
	}{
		{"a gratuitous request", octets(t, gratuitousRequest), arp.Claim{Addr: vip4, MAC: rival, Gratuitous: true}},
		{"a gratuitous reply", octets(t, gratuitousReply), arp.Claim{Addr: vip4, MAC: rival, Gratuitous: true}},
		{"a request", octets(t, request), arp.Claim{Addr: vip4, MAC: rival}},
		{"a reply to us", octets(t, reply), arp.Claim{Addr: vip4, MAC: rival}},
		{"our kind of announcement", arp.AppendAnnouncement(nil, rival, vip4, false), arp.Claim{Addr: vip4, MAC: rival, Gratuitous: true}},
		{"our kind of advertisement", arp.AppendAnnouncement(nil, rival, vip6, true), arp.Claim{Addr: vip6, MAC: rival, Kind: arp.NA, Gratuitous: true}},
		{"an advertisement to us without option", solicited, arp.Claim{Addr: vip6, MAC: relay, Kind: arp.NA}},
	} {
		before := time.Now()
		say(t, c.far.Attrs().Index, tt.frame)
		h := next(t, got)
		at := h.claim.At
		h.claim.At = time.Time{}
		if h.err != nil || h.claim != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, h.claim, h.err, tt.want)
		}
		if at.Before(before) || at.After(time.Now()) {
			t.Errorf("%s: received %v after it was sent", tt.name, at.Sub(before))
		}
	}
}

func TestWhatIsNotOfInterestStopsInTheKernel(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	last6 := netip.MustParseAddr("2001:db8::99")
	l, got := hearing(t, c.near.Attrs().Index, vip4, vip6, marker, last6)
	say(t, c.far.Attrs().Index,
		arp.AppendGratuitous(nil, rival, netip.MustParseAddr("192.0.2.2")),
		patched(octets(t, reply), 28, 192, 0, 2, 2),
		octets(t, probe),
		arp.AppendUnsolicitedNA(nil, rival, netip.MustParseAddr("2001:db8::2"), false),
		arp.AppendUnsolicitedNA(nil, rival, netip.MustParseAddr("2001:db9::1"), false),
		sealNA(patched(na(t, toAll, "20", naTarget, naMACOption), 54, 135)), // a solicitation for the address
		octets(t, `333300000001 02000000000b 86dd 60000000 0000 3bff 20010db8000000000000000000000001 ff020000000000000000000000000001`))
	say(t, c.far.Attrs().Index, announce(rival, last6, marker)...)
	for range 2 {
		if h := next(t, got); h.claim.Addr != marker && h.claim.Addr != last6 {
			t.Errorf("got %+v, %v", h.claim, h.err)
		}
	}
	if arps, nas := l.Kept(); arps != 1 || nas != 1 {
		t.Errorf("the kernel has kept %d ARP packets and %d advertisements, want one of each", arps, nas)
	}
}

func TestMalformedClaimsArePassedOver(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	_, got := hearing(t, c.near.Attrs().Index, vip4, vip6, marker)
	good := na(t, toAll, "20", naTarget, naMACOption)
	say(t, c.far.Attrs().Index,
		patched(octets(t, reply), 20, 0, 9),
		octets(t, reply)[:40],
		patched(good, 56, good[56]+1),
		sealNA(append(patched(good, 18, 0x03, 0xe8), make([]byte, 1000-32)...))) // an option of no length
	say(t, c.far.Attrs().Index, announce(rival, vip6)...)
	wantClaims(t, got, vip6)
	say(t, c.far.Attrs().Index, announce(rival, marker)...)
	wantClaims(t, got, marker)
}

func TestWhatWeSayIsNotHeardEvenWhenItComesBack(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	l, got := hearing(t, c.near.Attrs().Index, vip4, marker)
	say(t, c.near.Attrs().Index, octets(t, gratuitousRequest)) // whatever its source
	say(t, c.far.Attrs().Index,
		arp.AppendGratuitous(nil, router, vip4),
		patched(octets(t, reply), 6, router[:]...),
		patched(octets(t, reply), 22, router[:]...))
	say(t, c.far.Attrs().Index, announce(rival, marker)...)
	wantClaims(t, got, marker)
	if arps, _ := l.Kept(); arps != 4 {
		t.Errorf("the kernel has kept %d ARP packets, want the three that came back and one more", arps)
	}

	// Our address is the one that the interface has now.
	if err := netlink.LinkSetHardwareAddr(c.near, net.HardwareAddr{2, 0, 0, 0, 0, 0x0d}); err != nil {
		t.Fatal(err)
	}
	say(t, c.far.Attrs().Index, announce(arp.MAC{2, 0, 0, 0, 0, 0x0d}, vip4)...)
	say(t, c.far.Attrs().Index, announce(router, marker)...)
	wantClaims(t, got, marker)
}

// tagged returns an announcement of vip4 with an IEEE 802.1Q tag.
func tagged(id byte) []byte {
	b := arp.AppendGratuitous(nil, rival, vip4)
	return append(append(bytes.Clone(b[:12]), 0x81, 0, 0, id), b[12:]...)
}

func TestAFrameOfAVLANThatWeAreNotInIsNotTakenForOurs(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	_, got := hearing(t, c.near.Attrs().Index, vip4, marker)
	say(t, c.far.Attrs().Index, tagged(200))
	say(t, c.far.Attrs().Index, announce(rival, marker)...)
	wantClaims(t, got, marker)
	// The tag of VLAN 0 is a priority and no more.
	say(t, c.far.Attrs().Index, tagged(0))
	say(t, c.far.Attrs().Index, announce(rival, marker)...)
	wantClaims(t, got, vip4, marker)
}

// newLink makes an interface and returns its index.
func newLink(t *testing.T, link netlink.Link) int {
	t.Helper()
	if err := netlink.LinkAdd(link); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skipf("the kernel has no interfaces of type %s", link.Type())
		}
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(link.Attrs().Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !isUp(t, link); {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come up", link.Attrs().Name)
		}
	}
	return link.Attrs().Index
}

func TestAFrameOfAVLANIsHeardOnItsInterfaceAndOnNoOther(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	vlan := func(name string, parent netlink.Link) int {
		return newLink(t, &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent.Attrs().Index}, VlanId: 100})
	}
	near, far := vlan("near.100", c.near), vlan("far.100", c.far)
	_, got := hearing(t, c.near.Attrs().Index, vip4, vip6, marker)
	_, gotVLAN := hearing(t, near, vip4, vip6, marker)

	say(t, far, announce(rival, vip6)...)
	wantClaims(t, gotVLAN, vip6)
	say(t, far, announce(rival, vip4)...)
	say(t, c.far.Attrs().Index, tagged(100))
	wantClaims(t, gotVLAN, vip4, vip4)
	say(t, c.far.Attrs().Index, announce(rival, marker)...)
	wantClaims(t, got, marker)
	say(t, far, announce(rival, marker)...)
	wantClaims(t, gotVLAN, marker)
}

func TestAFrameForAnotherStationOnTheSameInterfaceIsNotHeard(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	// The kernel gives a socket on the near end what is for an interface on top
	// of it.
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x1a}
	macvlan := newLink(t, &netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE,
		LinkAttrs: netlink.LinkAttrs{Name: "macvlan", ParentIndex: c.near.Attrs().Index, HardwareAddr: mac}})
	l, got := hearing(t, c.near.Attrs().Index, vip4, marker)
	_, gotMacvlan := hearing(t, macvlan, vip4, marker)
	if err := netlink.SetPromiscOn(c.near); err != nil {
		t.Fatal(err)
	}
	say(t, c.far.Attrs().Index,
		patched(octets(t, reply), 0, mac...),
		patched(octets(t, reply), 0, 2, 0, 0, 0, 0, 0x2a)) // of nobody here
	say(t, c.far.Attrs().Index, announce(rival, marker)...)
	wantClaims(t, got, marker)
	wantClaims(t, gotMacvlan, vip4, marker)
	if arps, _ := l.Kept(); arps != 1 {
		t.Errorf("the kernel has kept %d ARP packets, want one", arps)
	}
}

func TestMoreAddressesThanTheFilterHoldsAreHeardWhenAnnounced(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	four, six := many(netip.MustParseAddr("10.0.0.1"), 300), many(netip.MustParseAddr("2001:db8:1::1"), 300)
	for _, n := range []int{arp.MaxExact, arp.MaxExact + 1, len(four)} {
		l, got := hearing(t, c.near.Attrs().Index, append(append([]netip.Addr{marker}, four[:n-1]...), six[:n]...)...)
		say(t, c.far.Attrs().Index,
			arp.AppendGratuitous(nil, rival, vip4), // of no interest
			arp.AppendUnsolicitedNA(nil, rival, vip6, false),
			patched(octets(t, request), 28, 10, 0, 0, 1))
		if n <= arp.MaxExact {
			wantClaims(t, got, four[0]) // by asking for another
		}
		// The sockets are two: what comes to one is not in order with the other.
		say(t, c.far.Attrs().Index, announce(rival, six[:n]...)...)
		wantClaims(t, got, six[:n]...)
		say(t, c.far.Attrs().Index, announce(rival, four[:n-1]...)...)
		wantClaims(t, got, four[:n-1]...)
		say(t, c.far.Attrs().Index, announce(rival, marker)...)
		wantClaims(t, got, marker)
		wantARPs, wantNAs := n+1, n
		if n > arp.MaxExact {
			wantNAs++ // the one of no interest, compared in user space
		}
		if arps, nas := l.Kept(); int(arps) != wantARPs || int(nas) != wantNAs {
			t.Errorf("%d addresses: the kernel has kept %d ARP packets and %d advertisements, want %d and %d", n, arps, nas, wantARPs, wantNAs)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWatchReplacesTheAddresses(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	l, got := hearing(t, c.near.Attrs().Index)
	watch := func(addrs ...netip.Addr) {
		t.Helper()
		if err := l.Watch(addrs); err != nil {
			t.Fatal(err)
		}
	}
	far := c.far.Attrs().Index
	say(t, far, announce(rival, vip4, vip6)...)
	watch(marker)
	say(t, far, announce(rival, vip4, vip6, marker)...)
	wantClaims(t, got, marker)
	watch(vip6, marker)
	say(t, far, announce(rival, vip4, vip6)...)
	wantClaims(t, got, vip6)
	watch(vip4)
	say(t, far, announce(rival, marker, vip6, vip4)...)
	wantClaims(t, got, vip4)
	if err := l.Watch([]netip.Addr{marker, {}}); err == nil {
		t.Error("no error for what is not an address")
	}
	watch()
	say(t, far, announce(rival, vip4)...)
	watch(marker)
	say(t, far, announce(rival, marker)...)
	wantClaims(t, got, marker)
}

func TestALinkThatIsDownIsHeardAgainAndOneThatIsGoneIsSaidOnce(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	for _, down := range []bool{false, true} {
		downAndGone(t, down)
	}
}

func downAndGone(t *testing.T, down bool) {
	t.Helper()
	c := newCable(t)
	index := c.near.Attrs().Index
	l, got := hearing(t, index, vip4, vip6)
	if err := netlink.LinkSetDown(c.near); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(c.near); err != nil {
		t.Fatal(err)
	}
	c.wait(t)
	say(t, c.far.Attrs().Index, announce(rival, vip4)...)
	wantClaims(t, got, vip4)
	say(t, c.far.Attrs().Index, announce(rival, vip6)...)
	wantClaims(t, got, vip6)

	// Gone at once, or first down for as long as you like.
	if down {
		if err := netlink.LinkSetDown(c.near); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkDel(c.near); err != nil {
		t.Fatal(err)
	}
	if h := next(t, got); !errors.Is(h.err, unix.ENODEV) {
		t.Errorf("gone: got %+v, %v, want %v", h.claim, h.err, unix.ENODEV)
	}
	if err := l.Watch([]netip.Addr{vip4}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("watching what is gone: %v, want %v", err, unix.ENODEV)
	}
	if _, err := arp.Listen(index); !errors.Is(err, unix.ENODEV) {
		t.Errorf("listening on what is gone: %v, want %v", err, unix.ENODEV)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if h := next(t, got); !errors.Is(h.err, net.ErrClosed) {
		t.Errorf("closed: got %+v, %v, want %v and nothing before it", h.claim, h.err, net.ErrClosed)
	}
	if err := l.Watch(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("watching after Close: %v, want %v", err, net.ErrClosed)
	}
}

func TestCloseWakesRead(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	for i := range 30 {
		l, got := hearing(t, c.near.Attrs().Index, many(vip4, i%3)...)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if h := next(t, got); !errors.Is(h.err, net.ErrClosed) {
			t.Fatalf("got %+v, %v, want %v", h.claim, h.err, net.ErrClosed)
		}
	}
}

func TestAnInterfaceWithoutHardwareAddressIsRefused(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(tun); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no such interface: %v", err)
		}
		t.Skipf("no such interface: %v", err)
	}
	link, err := netlink.LinkByName("tun0")
	if err != nil {
		t.Fatal(err)
	}
	if l, err := arp.Listen(link.Attrs().Index); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("got %v, %v, want %v", l, err, unix.EAFNOSUPPORT)
	}
}

func TestWhatKeepalivedAnnouncesIsHeard(t *testing.T) {
	program, err := exec.LookPath("keepalived")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("keepalived is not installed")
		}
		t.Skip("keepalived is not installed")
	}
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	if err := netlink.LinkSetHardwareAddr(c.far, net.HardwareAddr(rival[:])); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"192.0.2.11/24", "fe80::b/64"} {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(c.far, addr); err != nil {
			t.Fatal(err)
		}
	}
	_, got := hearing(t, c.near.Attrs().Index, vip4, vip6)

	dir := t.TempDir()
	conf := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(conf, []byte(`
vrrp_instance four {
    version 3
    interface far
    virtual_router_id 51
    priority 150
    advert_int 0.05
    virtual_ipaddress {
        192.0.2.1/24
    }
}
vrrp_instance six {
    version 3
    interface far
    virtual_router_id 51
    priority 150
    advert_int 0.05
    virtual_ipaddress {
        fe80::54
        2001:db8::1/64
    }
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	keepalived := exec.Command(program, "--dont-fork", "--log-console", "--no-syslog", "--vrrp", "--use-file", conf,
		"--pid", filepath.Join(dir, "pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"), "--checkers_pid", filepath.Join(dir, "checkers.pid"))
	keepalived.Stdout, keepalived.Stderr = &log, &log
	keepalived.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := keepalived.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := keepalived.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := keepalived.Wait(); err != nil {
			t.Errorf("keepalived: %v\n%s", err, log.String())
		}
		if t.Failed() {
			t.Logf("%s", log.String())
		}
	}()
	want := map[netip.Addr]arp.Claim{
		vip4: {Addr: vip4, MAC: rival, Gratuitous: true},
		vip6: {Addr: vip6, MAC: rival, Kind: arp.NA, Gratuitous: true},
	}
	for seen := map[netip.Addr]bool{}; len(seen) < len(want); {
		h := next(t, got)
		h.claim.At = time.Time{}
		if h.err != nil || h.claim != want[h.claim.Addr] {
			t.Fatalf("got %+v, %v, want %+v", h.claim, h.err, want[h.claim.Addr])
		}
		seen[h.claim.Addr] = true
	}
}
