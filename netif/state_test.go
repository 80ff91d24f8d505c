package netif

import (
	"net/netip"
	"slices"
	"testing"

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

func TestARenewedLifetimeIsInTheNextSnapshotButNoNews(t *testing.T) {
	with := func(seconds uint32) message {
		m := addrMessage(unix.RTM_NEWADDR, 2, "fd00::1/64", 0)
		ci := native.AppendUint32(nil, seconds)
		ci = native.AppendUint32(ci, seconds)
		m.body = appendAttr(m.body, unix.IFA_CACHEINFO, append(ci, make([]byte, 8)...))
		return m
	}
	s := newState()
	s.apply(with(100))
	if got := s.apply(with(200)); got != 0 {
		t.Errorf("a renewed lifetime is change %d", got)
	}
	if got := s.snapshot().AddressesOf(2)[0].Valid.Seconds(); got != 200 {
		t.Errorf("the lifetime is %v s, want 200", got)
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
		for m := range messages(b) {
			s.apply(m)
			parseAck(m)
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
