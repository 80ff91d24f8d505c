package arp_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	mdarp "github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"

	"vipd/arp"
)

func TestFramesAreTheseOctets(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ip     string
		router bool
		want   string
	}{
		{
			name: "a gratuitous ARP is a broadcast request with a broadcast target",
			ip:   "192.168.50.100",
			want: `ffffffffffff 02000000000a 0806
				0001 0800 06 04 0001 02000000000a c0a83264 ffffffffffff c0a83264`,
		},
		{
			name: "an IPv4 address in IPv6 notation is announced by ARP",
			ip:   "::ffff:192.168.50.100",
			want: `ffffffffffff 02000000000a 0806
				0001 0800 06 04 0001 02000000000a c0a83264 ffffffffffff c0a83264`,
		},
		{
			name:   "the router flag does not reach an ARP",
			ip:     "192.168.50.100",
			router: true,
			want: `ffffffffffff 02000000000a 0806
				0001 0800 06 04 0001 02000000000a c0a83264 ffffffffffff c0a83264`,
		},
		{
			name: "an advertisement from a host overrides and no more",
			ip:   "fe80::54",
			want: `333300000001 02000000000a 86dd
				60000000 0020 3a ff fe800000000000000000000000000054 ff020000000000000000000000000001
				88 00 56ec 20000000 fe800000000000000000000000000054 02 01 02000000000a`,
		},
		{
			name:   "an advertisement from a router says so",
			ip:     "fe80::54",
			router: true,
			want: `333300000001 02000000000a 86dd
				60000000 0020 3a ff fe800000000000000000000000000054 ff020000000000000000000000000001
				88 00 d6eb a0000000 fe800000000000000000000000000054 02 01 02000000000a`,
		},
		{
			name: "the zone of a link-local address is not on the wire",
			ip:   "fe80::54%eth0",
			want: `333300000001 02000000000a 86dd
				60000000 0020 3a ff fe800000000000000000000000000054 ff020000000000000000000000000001
				88 00 56ec 20000000 fe800000000000000000000000000054 02 01 02000000000a`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := octets(t, tt.want)
			got := arp.AppendAnnouncement([]byte("before"), router, netip.MustParseAddr(tt.ip), tt.router)
			if !bytes.HasPrefix(got, []byte("before")) {
				t.Fatalf("what was in the buffer is gone: %x", got)
			}
			if got = got[len("before"):]; !bytes.Equal(got, want) {
				t.Errorf("\n got %x\nwant %x", got, want)
			}
		})
	}
}

func TestAProbeAsksAndTellsNothing(t *testing.T) {
	want := octets(t, `ffffffffffff 02000000000a 0806 0001 0800 06 04 0001 02000000000a 00000000 000000000000 c0000264`)
	if got := arp.AppendProbe(nil, router, netip.MustParseAddr("192.0.2.100")); !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
}

func TestAnAddressOfTheWrongFamilyAppendsNothing(t *testing.T) {
	v4, v6, in6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1")
	for _, tt := range []struct {
		name string
		got  []byte
	}{
		{"ARP for IPv6", arp.AppendGratuitous(nil, router, v6)},
		{"ARP for no address", arp.AppendGratuitous(nil, router, netip.Addr{})},
		{"probe for IPv6", arp.AppendProbe(nil, router, v6)},
		{"advertisement for IPv4", arp.AppendUnsolicitedNA(nil, router, v4, false)},
		{"advertisement for IPv4 in IPv6", arp.AppendUnsolicitedNA(nil, router, in6, false)},
		{"advertisement for no address", arp.AppendUnsolicitedNA(nil, router, netip.Addr{}, false)},
		{"announcement of no address", arp.AppendAnnouncement(nil, router, netip.Addr{}, false)},
	} {
		if len(tt.got) != 0 {
			t.Errorf("%s: %x", tt.name, tt.got)
		}
	}
}

func TestAKindAndAnAddressHaveNames(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{arp.KindOf(netip.MustParseAddr("192.0.2.1")).String(), "GARP"},
		{arp.KindOf(netip.MustParseAddr("::ffff:192.0.2.1")).String(), "GARP"},
		{arp.KindOf(netip.MustParseAddr("2001:db8::1")).String(), "NA"},
		{arp.Kind(9).String(), "Kind(9)"},
		{router.String(), "02:00:00:00:00:0a"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

// FuzzFrames holds the frames against the parsers and builders of other
// libraries, for any address.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 0, 10}, []byte{192, 168, 50, 100}, false)
	f.Add([]byte{2, 0, 0, 0, 0, 10}, netip.MustParseAddr("fe80::54").AsSlice(), true)
	// The checksum is zero: unlike UDP, ICMPv6 does not turn that into all ones.
	f.Add([]byte{2, 0, 0, 0, 0, 10}, netip.MustParseAddr("2001:db8::fc91").AsSlice(), false)
	f.Fuzz(func(t *testing.T, macBytes, ipBytes []byte, isRouter bool) {
		ip, ok := netip.AddrFromSlice(ipBytes)
		if !ok || len(macBytes) != 6 || ip.Is4In6() {
			t.Skip()
		}
		mac := arp.MAC(macBytes)
		got := arp.AppendAnnouncement(nil, mac, ip, isRouter)
		if ip.Is4() {
			checkARP(t, got, mac, ip)
			return
		}
		checkNA(t, got, mac, ip, isRouter)
	})
}

// checkARP compares a frame with what mdlayher/arp and mdlayher/ethernet make of
// the same fields.
func checkARP(t *testing.T, got []byte, mac arp.MAC, ip netip.Addr) {
	t.Helper()
	p, err := mdarp.NewPacket(mdarp.OperationRequest, mac[:], ip, ethernet.Broadcast, ip)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	header := ethernet.Frame{Destination: ethernet.Broadcast, Source: mac[:], EtherType: ethernet.EtherTypeARP}
	want, err := header.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	want = append(want[:14], payload...) // the library pads, keepalived does not
	if !bytes.Equal(got, want) {
		t.Errorf("ARP for %s at %s:\n got %x\nwant %x", ip, mac, got, want)
	}
}

// checkNA compares the ICMPv6 message of a frame, with its checksum, with what
// mdlayher/ndp makes of the same fields, and reads the header in front of it.
func checkNA(t *testing.T, got []byte, mac arp.MAC, ip netip.Addr, isRouter bool) {
	t.Helper()
	want, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Router:        isRouter,
		Override:      true,
		TargetAddress: ip,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac[:]}},
	}, ip, netip.MustParseAddr("ff02::1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 14+40+len(want) || !bytes.Equal(got[54:], want) {
		t.Fatalf("NA for %s at %s:\n got %x\nwant %x at 54", ip, mac, got, want)
	}
	var header ethernet.Frame
	if err := header.UnmarshalBinary(got); err != nil {
		t.Fatal(err)
	}
	if header.Destination.String() != "33:33:00:00:00:01" || !bytes.Equal(header.Source, mac[:]) || header.EtherType != ethernet.EtherTypeIPv6 {
		t.Errorf("Ethernet header %x", got[:14])
	}
	if src, dst := net.IP(got[22:38]), net.IP(got[38:54]); !bytes.Equal(src, ip.AsSlice()) || dst.String() != "ff02::1" {
		t.Errorf("from %s to %s, want %s and ff02::1", src, dst, ip)
	}
}
