package netif

import (
	"math/bits"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linkMessage builds a message about a link as the kernel does.
func linkMessage(typ uint16, family byte, index int, flags uint32, attrs ...[]byte) message {
	b := make([]byte, unix.SizeofIfInfomsg)
	b[0] = family
	native.PutUint32(b[4:], uint32(index))
	native.PutUint32(b[8:], flags)
	return message{typ: typ, body: slices.Concat(append([][]byte{b}, attrs...)...)}
}

// named builds the attributes of a link with a name and of a kind.
func named(name, kind string, parent int) []byte {
	b := appendText(nil, unix.IFLA_IFNAME, name)
	if parent != 0 {
		b = appendUint32(b, unix.IFLA_LINK, uint32(parent))
	}
	if kind != "" {
		b = appendAttr(b, unix.IFLA_LINKINFO, appendText(nil, unix.IFLA_INFO_KIND, kind))
	}
	return b
}

// addrMessage builds a message about an address as the kernel does.
func addrMessage(typ uint16, index int, prefix string, flags uint32) message {
	p := netip.MustParsePrefix(prefix)
	b := appendIfAddr(nil, p.Addr(), p.Bits(), 0, index)
	b = appendAttr(b, unix.IFA_ADDRESS, p.Addr().AsSlice())
	if p.Addr().Is4() {
		b = appendAttr(b, unix.IFA_LOCAL, p.Addr().AsSlice())
	}
	b = appendUint32(b, unix.IFA_FLAGS, flags)
	return message{typ: typ, body: b}
}

const up = unix.IFF_UP | unix.IFF_RUNNING

func TestASnapshotDoesNotChangeWhenTheStateDoes(t *testing.T) {
	s := newState()
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, up, named("eth0", "", 0)))
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/24", 0))
	before := s.snapshot()
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, 0, named("lan", "", 0)))
	s.apply(addrMessage(unix.RTM_DELADDR, 2, "10.0.0.1/24", 0))
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.2/24", 0))
	after := s.snapshot()

	if !before.Up("eth0") || before.Up("lan") || !before.Has(2, netip.MustParseAddr("10.0.0.1")) || before.Has(2, netip.MustParseAddr("10.0.0.2")) {
		t.Errorf("the old snapshot has changed: %+v", before)
	}
	if _, ok := after.Link("eth0"); ok || after.Up("lan") || after.Has(2, netip.MustParseAddr("10.0.0.1")) || !after.Has(2, netip.MustParseAddr("10.0.0.2")) {
		t.Errorf("the new snapshot is old: %+v", after)
	}
}

func TestSnapshotsShareWhatHasNotChanged(t *testing.T) {
	s := newState()
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, up, named("eth0", "", 0)))
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/24", 0))
	s.apply(addrMessage(unix.RTM_NEWADDR, 3, "10.0.1.1/24", 0))
	a := s.snapshot()
	if b := s.snapshot(); a != b {
		t.Error("a second snapshot of the same state is another one")
	}
	if got := s.apply(addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/24", 0)); got != 0 {
		t.Errorf("hearing the same again is change %d", got)
	}
	if b := s.snapshot(); a != b {
		t.Error("hearing the same again makes another snapshot")
	}
	s.apply(addrMessage(unix.RTM_NEWADDR, 3, "10.0.1.2/24", 0))
	b := s.snapshot()
	if a.addrs[2] != b.addrs[2] {
		t.Error("the addresses of an interface that has not changed were copied")
	}
	if a.addrs[3] == b.addrs[3] {
		t.Error("the addresses of an interface that has changed were not copied")
	}
}

func TestMessagesOfABridgeAboutItsPortsAreNotAboutLinks(t *testing.T) {
	s := newState()
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, up, named("eth0", "", 0)))
	if got := s.apply(linkMessage(unix.RTM_DELLINK, unix.AF_BRIDGE, 2, up, named("eth0", "", 0))); got != 0 {
		t.Errorf("leaving a bridge is change %d", got)
	}
	if !s.snapshot().Up("eth0") {
		t.Error("an interface that left a bridge is gone")
	}
}

func TestAMessageWithoutANameLeavesTheRestAsItWas(t *testing.T) {
	s := newState()
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 1, up, named("eth0", "", 0)))
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, up, named("wlan0.1", "macvlan", 1), appendUint32(nil, unix.IFLA_MTU, 1400)))
	before, _ := s.snapshot().Link("wlan0.1")
	if before.Kind != "macvlan" || before.Parent != 1 || before.MTU != 1400 {
		t.Fatalf("the link is %+v", before)
	}
	// Wireless drivers tell of their events so.
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, up, appendAttr(nil, unix.IFLA_WIRELESS, []byte{1, 2, 3, 4})))
	if after, _ := s.snapshot().Link("wlan0.1"); after != before {
		t.Errorf("the link is %+v, want %+v", after, before)
	}
}

func TestAnInterfaceWithABaseIsReadyOnlyIfItsBaseIs(t *testing.T) {
	tests := []struct {
		name        string
		kind        string
		parentFlags uint32
		elsewhere   bool
		want        bool
	}{
		{"a macvlan whose base is ready", "macvlan", up, false, true},
		{"a macvlan whose base is switched off", "macvlan", 0, false, false},
		{"a macvlan whose base has no carrier", "macvlan", unix.IFF_UP, false, false},
		{"an ipvlan whose base has no carrier", "ipvlan", unix.IFF_UP, false, false},
		{"a macvlan whose base is in another namespace", "macvlan", 0, true, true},
		{"a veth whose other end is switched off, by its own flags", "veth", 0, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newState()
			extra := []byte{}
			if tt.elsewhere {
				extra = appendUint32(nil, unix.IFLA_LINK_NETNSID, 0)
			}
			s.apply(linkMessage(unix.RTM_NEWLINK, 0, 3, up, named("x0", tt.kind, 2), extra))
			s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, tt.parentFlags, named("eth0", "", 0)))
			if got := s.snapshot().Up("x0"); got != tt.want {
				t.Errorf("ready is %v, want %v", got, tt.want)
			}
			if tt.elsewhere || tt.kind == "veth" {
				return
			}
			s.apply(linkMessage(unix.RTM_DELLINK, 0, 2, 0, named("eth0", "", 0)))
			if s.snapshot().Up("x0") {
				t.Error("ready although the base is gone")
			}
		})
	}
}

func TestThePrimaryAddressIsTheOneKeepalivedSendsFrom(t *testing.T) {
	type entry struct {
		prefix string
		flags  uint32
	}
	tests := []struct {
		name    string
		has     []entry
		family  Family
		exclude string
		want    string // "" for none
	}{
		{"no address", nil, IPv4, "", ""},
		{"the first of several", []entry{{"10.0.0.2/24", 0}, {"10.0.0.1/16", 0}}, IPv4, "", "10.0.0.2"},
		{"a primary before a secondary", []entry{{"10.0.0.2/24", unix.IFA_F_SECONDARY}, {"10.0.0.1/24", 0}}, IPv4, "", "10.0.0.1"},
		{"a secondary if there is nothing else", []entry{{"10.0.0.2/24", unix.IFA_F_SECONDARY}, {"fe80::1/64", 0}}, IPv4, "", "10.0.0.2"},
		{"a virtual address is passed over", []entry{{"10.0.0.2/24", 0}, {"10.0.0.3/24", unix.IFA_F_SECONDARY}}, IPv4, "10.0.0.2", "10.0.0.3"},
		{"only the virtual address is left", []entry{{"10.0.0.2/24", 0}}, IPv4, "10.0.0.2", ""},
		{"IPv6 wants a link-local address", []entry{{"fd00::1/64", 0}, {"fe80::1/64", 0}}, IPv6, "", "fe80::1"},
		{"a global IPv6 address does not do", []entry{{"fd00::1/64", 0}, {"10.0.0.1/24", 0}}, IPv6, "", ""},
		{"a tentative address does not do", []entry{{"fe80::1/64", unix.IFA_F_TENTATIVE}}, IPv6, "", ""},
		{"a duplicate address does not do", []entry{{"fe80::1/64", unix.IFA_F_DADFAILED | unix.IFA_F_TENTATIVE}, {"fe80::2/64", 0}}, IPv6, "", "fe80::2"},
		{"a virtual link-local address is passed over", []entry{{"fe80::54/128", 0}, {"fe80::2/64", 0}}, IPv6, "fe80::54", "fe80::2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newState()
			for _, e := range tt.has {
				s.apply(addrMessage(unix.RTM_NEWADDR, 2, e.prefix, e.flags))
			}
			var exclude func(netip.Addr) bool
			if tt.exclude != "" {
				exclude = func(a netip.Addr) bool { return a == netip.MustParseAddr(tt.exclude) }
			}
			got, ok := s.snapshot().Primary(2, tt.family, exclude)
			if ok != (tt.want != "") || ok && got != netip.MustParseAddr(tt.want) {
				t.Errorf("got %v, %v, want %q", got, ok, tt.want)
			}
		})
	}
}

func TestAddressesKeepTheirOrderThroughManyDeletions(t *testing.T) {
	s := newState()
	nth := func(i int) string {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32).String()
	}
	const n = 1000
	for i := range n {
		s.apply(addrMessage(unix.RTM_NEWADDR, 2, nth(i), 0))
	}
	var want []string
	for i := range n {
		if i%10 == 0 {
			want = append(want, nth(i))
			continue
		}
		s.apply(addrMessage(unix.RTM_DELADDR, 2, nth(i), 0))
	}
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, nth(1), 0))
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, nth(20), unix.IFA_F_SECONDARY)) // keeps its place
	want = append(want, nth(1))
	var got []string
	for _, a := range s.snapshot().AddressesOf(2) {
		got = append(got, a.Prefix.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if slots := len(s.addrs[2].slots); slots > n/2 {
		t.Errorf("%d slots for %d addresses", slots, len(want))
	}
}

// leased builds a message about an address with a lifetime in seconds and times of
// creation and update in hundredths of seconds.
func leased(typ uint16, prefix string, seconds, created, updated uint32) message {
	m := addrMessage(typ, 2, prefix, 0)
	var ci []byte
	for _, v := range []uint32{seconds, seconds, created, updated} {
		ci = native.AppendUint32(ci, v)
	}
	m.body = appendAttr(m.body, unix.IFA_CACHEINFO, ci)
	return m
}

func TestARenewedLifetimeIsInTheNextSnapshotButNoNews(t *testing.T) {
	s := newState()
	s.apply(leased(unix.RTM_NEWADDR, "fd00::1/64", 100, 50, 50))
	if got := s.apply(leased(unix.RTM_NEWADDR, "fd00::1/64", 200, 50, 150)); got != 0 {
		t.Errorf("a renewed lifetime is change %d", got)
	}
	got := s.snapshot().AddressesOf(2)[0]
	if got.Valid != 200*time.Second || got.Created != 500*time.Millisecond || got.Updated != 1500*time.Millisecond {
		t.Errorf("the address is %+v, want it with 200 s of life from 1.5 s on", got)
	}
}

func TestAnAddressThatWasMadeAgainUnseenIsNews(t *testing.T) {
	s := newState()
	s.apply(leased(unix.RTM_NEWADDR, "10.0.0.1/24", 100, 50, 50))
	before := s.snapshot()
	if got := s.apply(leased(unix.RTM_NEWADDR, "10.0.0.1/24", 100, 150, 150)); got != addressesChanged {
		t.Errorf("another time of creation is change %d, want %d", got, addressesChanged)
	}
	if a, b := before.AddressesOf(2)[0].Created, s.snapshot().AddressesOf(2)[0].Created; a == b {
		t.Errorf("both snapshots say that it was made at %v", a)
	}
}

func TestAnAddressHasExpiredWhenItsLeaseWasOver(t *testing.T) {
	const given = time.Hour // when the lease was, on the kernel's clock
	present := func(valid time.Duration) *PresentAddress {
		return &PresentAddress{Valid: valid, Updated: given}
	}
	for _, tt := range []struct {
		name   string
		left   time.Duration // as the kernel said with the removal
		before *PresentAddress
		age    time.Duration
		want   bool
	}{
		{"nothing was left", 0, present(3 * time.Second), 3 * time.Second, true},
		{"nothing was left of a lease nobody knew of", 0, nil, 3 * time.Second, true},
		{"the kernel was some hundredths early", time.Second, present(3 * time.Second), 2980 * time.Millisecond, true},
		{"the kernel was early and its news heard late", time.Second, present(3 * time.Second), 8 * time.Second, true},
		{"half a second was left", time.Second, present(3 * time.Second), 2500 * time.Millisecond, false},
		{"two seconds were left, and it was heard late", 2 * time.Second, present(3 * time.Second), 8 * time.Second, false},
		{"a lease of one second was just given", time.Second, present(time.Second), 0, false},
		{"it was permanent", Forever, present(Forever), time.Hour, false},
		{"nobody knew of it", time.Second, nil, time.Second, false},
		{"another lease was known of", time.Second, &PresentAddress{Valid: time.Second, Updated: given - time.Second}, time.Second, false},
	} {
		if got := expired(PresentAddress{Valid: tt.left, Updated: given}, tt.before, tt.age); got != tt.want {
			t.Errorf("%s: expired is %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestOnlyTheLastRemovalsAreKept(t *testing.T) {
	nth := func(i int) ownedAddr {
		return ownedAddr{2, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
	}
	var l removalLog
	const n = 3*maxRemovals + 10
	often := ownedAddr{index: 3}
	for i := range n {
		l.note(nth(i), Removal{Port: uint32(i)})
		// One that comes again and again takes no more room.
		l.note(often, Removal{Port: uint32(i)})
	}
	for i := range n {
		got, ok := l.last[nth(i)]
		if want := i > n-maxRemovals/2; want && (!ok || got.Port != uint32(i)) {
			t.Fatalf("removal %d of %d is %+v, %v", i, n, got, ok)
		}
		if i < n-maxRemovals && ok {
			t.Fatalf("removal %d of %d is still known", i, n)
		}
	}
	if got := l.last[often].Port; got != n-1 {
		t.Errorf("of an address removed often, removal %d is known, want the last, %d", got, n-1)
	}
	if len(l.last) > maxRemovals || len(l.ring) > maxRemovals {
		t.Errorf("%d removals are kept in a ring of %d, want at most %d", len(l.last), len(l.ring), maxRemovals)
	}
}

func TestTheClockOfTicksIsReadWhateverTheirRate(t *testing.T) {
	for _, hz := range tickRates {
		for _, up := range []time.Duration{0, time.Second, 299 * time.Second, 301 * time.Second, 24 * time.Hour, 1000 * 24 * time.Hour} {
			// As the kernel does it.
			ticks := 1<<32 - 300*hz + uint64(up/time.Millisecond)*hz/1000
			length := (1_000_000_000 + hz/2) / hz
			hi, lo := bits.Mul64(ticks, length)
			times, _ := bits.Div64(hi, lo, 10_000_000)
			for _, off := range []time.Duration{0, time.Second, -time.Hour} {
				if got := ticksSinceBoot(times, up+off); (got - up).Abs() > 2*stampUnit {
					t.Errorf("with %d ticks a second and CLOCK_MONOTONIC %v off, %v after the start it is %v", hz, off, up, got)
				}
			}
		}
	}
	if got := ticksSinceBoot(12345, time.Hour); got != time.Hour {
		t.Errorf("where times(2) counts something else it is %v, want %v", got, time.Hour)
	}
}

func TestASocketIsFoundByItsPort(t *testing.T) {
	table := []byte(`sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
000000003ca81311 4   613        00000000 0        0        0     2        0        19000
00000000e1a3c4d1 0   613        00000551 0        0        0     2        0        19613
00000000e1a3c4d2 0   2674342756 00000000 0        0        0     2        0        19614
0000000000000000 0   7
`)
	for port, want := range map[uint32]string{613: "19613", 2674342756: "19614", 61: "", 7: ""} {
		if got, ok := inodeOfPort(table, port); got != want || ok != (want != "") {
			t.Errorf("the socket of port %d is %q, %v, want %q", port, got, ok, want)
		}
	}
}

func TestANeighbourIsOneWithAKnownEthernetAddress(t *testing.T) {
	entry := func(state uint16, attrs ...[]byte) []byte {
		b := make([]byte, unix.SizeofNdMsg)
		native.PutUint16(b[8:], state)
		return slices.Concat(append([][]byte{b}, attrs...)...)
	}
	mac := appendAttr(nil, unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 7})
	for _, tt := range []struct {
		name string
		body []byte
		want bool
	}{
		{"reachable", entry(unix.NUD_REACHABLE, mac), true},
		{"stale", entry(unix.NUD_STALE, mac), true},
		{"permanent", entry(unix.NUD_PERMANENT, mac), true},
		{"asked for", entry(unix.NUD_INCOMPLETE, mac), false},
		{"failed", entry(unix.NUD_FAILED, mac), false},
		{"without an address", entry(unix.NUD_REACHABLE), false},
		{"with an address of another kind", entry(unix.NUD_REACHABLE, appendAttr(nil, unix.NDA_LLADDR, make([]byte, 20))), false},
		{"of zeros", entry(unix.NUD_NOARP, appendAttr(nil, unix.NDA_LLADDR, make([]byte, 6))), false},
		{"cut off", entry(unix.NUD_REACHABLE)[:10], false},
	} {
		if got, ok := parseNeighbor(tt.body); ok != tt.want || ok && got != [6]byte{2, 0, 0, 0, 0, 7} {
			t.Errorf("%s: got %x, %v, want %v", tt.name, got, ok, tt.want)
		}
	}
}

func TestTheLossOfAnInterfaceIsTheLossOfItsAddresses(t *testing.T) {
	s := newState()
	s.apply(linkMessage(unix.RTM_NEWLINK, 0, 2, up, named("eth0", "", 0)))
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/24", 0))
	s.snapshot()
	if got := s.apply(linkMessage(unix.RTM_DELLINK, 0, 2, 0, named("eth0", "", 0))); got != linksChanged|addressesChanged {
		t.Errorf("the loss of an interface is change %d", got)
	}
	if n := s.snapshot(); n.Has(2, netip.MustParseAddr("10.0.0.1")) || len(n.Links()) != 0 || n.AddressesOf(2) != nil {
		t.Errorf("left is %+v", n)
	}
}

func TestAnAddressIsComparedInItsPlainForm(t *testing.T) {
	s := newState()
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/24", 0))
	s.apply(addrMessage(unix.RTM_NEWADDR, 2, "fe80::1/64", 0))
	n := s.snapshot()
	for _, a := range []string{"10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fe80::1%eth0"} {
		if !n.Has(2, netip.MustParseAddr(a)) {
			t.Errorf("%s is not there", a)
		}
	}
	if n.Has(3, netip.MustParseAddr("10.0.0.1")) || n.Has(2, netip.MustParseAddr("10.0.0.2")) {
		t.Error("an address is there that is not")
	}
}

// FuzzMessages feeds the decoder with what no kernel sends: it must neither panic
// nor hang nor make up an address.
func FuzzMessages(f *testing.F) {
	frame := func(m message) []byte {
		b := appendHeader(nil, m.typ, 0, 1)
		b = append(b, m.body...)
		finish(b, 0)
		return b
	}
	f.Add(frame(linkMessage(unix.RTM_NEWLINK, 0, 2, up, named("eth0", "macvlan", 1))))
	f.Add(frame(linkMessage(unix.RTM_DELLINK, 0, 2, up, named("eth0", "", 0))))
	f.Add(frame(addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/24", 0)))
	f.Add(frame(addrMessage(unix.RTM_DELADDR, 2, "fd00::1/64", 0)))
	f.Add(frame(message{typ: unix.NLMSG_ERROR, flags: unix.NLM_F_ACK_TLVS, body: make([]byte, 40)}))
	f.Add([]byte{16, 0, 0, 0})       // a header that ends early
	f.Add([]byte{0, 0, 0, 0, 20, 0}) // a length of nothing
	// A prefix longer than an address.
	long := addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/24", 0)
	long.body[1] = 200
	f.Add(frame(long))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newState()
		w := Watcher{state: s}
		for m := range messages(b) {
			w.noteRemoval(m, time.Time{})
			s.apply(m)
			parseAck(m)
			parseNeighbor(m.body)
		}
		n := s.snapshot()
		for i := range n.addrs {
			for _, a := range n.AddressesOf(i) {
				if !a.Prefix.IsValid() || a.Peer != (netip.Prefix{}) && !a.Peer.IsValid() {
					t.Errorf("address %+v", a)
				}
				if !n.Has(i, a.Addr()) {
					t.Errorf("%v is listed and not there", a.Addr())
				}
			}
		}
		for _, l := range n.Links() {
			if got, ok := n.LinkByIndex(l.Index); !ok || got != l {
				t.Errorf("link %+v", l)
			}
		}
	})
}
