package vrrpconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"vipd/vrrp"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// A situation is what a virtual router expects and what it receives. Unchanged
// from how a constructor returns it, the datagram is accepted.
type situation struct {
	expect Expect
	adv    vrrp.Advertisement
	d      Datagram
	mode   vrrp.Checksum           // of the sender
	group  netip.Addr              // for the checksum instead of the destination
	octets func(pdu []byte)        // changes the message, then the checksum is computed again
	after  func(d *Datagram)       // changes what arrives
	keep   bool                    // leave the checksum after octets
	resize func(pdu []byte) []byte // changes the message, checksum left
}

func multicast(v vrrp.Version, f vrrp.Family) *situation {
	s := &situation{
		expect: Expect{VRID: 51, Version: v, Family: f, Interval: time.Second, Multicast: true, Group: f.Group(),
			Addrs: []netip.Addr{addr("192.0.2.10"), addr("192.0.2.11")}},
		d: Datagram{Src: addr("192.0.2.1"), Dst: f.Group(), TTL: 255},
	}
	if f == vrrp.IPv6 {
		s.expect.Addrs = []netip.Addr{addr("fe80::10"), addr("2001:db8::10")}
		s.d.Src = addr("fe80::1")
	}
	s.adv = vrrp.Advertisement{Version: v, VRID: 51, Priority: 100, Interval: time.Second, Addrs: s.expect.Addrs}
	return s
}

func unicast(v vrrp.Version, f vrrp.Family) *situation {
	s := multicast(v, f)
	s.expect.Multicast, s.expect.Group = false, netip.Addr{}
	s.d.Dst, s.d.TTL = addr("192.0.2.2"), 64
	if f == vrrp.IPv6 {
		s.d.Dst = addr("fe80::2")
	}
	s.expect.Peers = []Peer{{Addr: s.d.Src, MinTTL: -1, MaxTTL: -1}}
	return s
}

// datagram returns what arrives.
func (s *situation) datagram(t testing.TB) *Datagram {
	t.Helper()
	dst := s.d.Dst
	if s.group.IsValid() {
		dst = s.group
	}
	pdu, err := s.adv.AppendTo(nil, s.d.Src, dst, s.mode)
	if err != nil {
		t.Fatal(err)
	}
	if s.octets != nil {
		s.octets(pdu)
		if !s.keep {
			pdu[6], pdu[7] = 0, 0
			fixChecksum(t, pdu, s.d.Src, dst, s.mode)
		}
	}
	if s.resize != nil {
		pdu = s.resize(pdu)
	}
	d := s.d
	d.Payload = pdu
	if s.expect.Family == vrrp.IPv4 {
		d.HeaderLen = 20
		d.TotalLen = 20 + len(pdu)
	}
	if s.after != nil {
		s.after(&d)
	}
	return &d
}

// fixChecksum finds the checksum of a message that cannot be encoded, by
// trying: what verifies is right by definition.
func fixChecksum(t testing.TB, pdu []byte, src, dst netip.Addr, mode vrrp.Checksum) {
	t.Helper()
	for c := range 0x10000 {
		binary.BigEndian.PutUint16(pdu[6:], uint16(c))
		if vrrp.VerifyChecksum(pdu, src, dst, mode) {
			return
		}
	}
	t.Fatal("no checksum verifies")
}

func with(s *situation, change func(*situation)) *situation {
	change(s)
	return s
}

const v2, v3 = vrrp.V2, vrrp.V3

func password(s string) (b [8]byte) {
	copy(b[:], s)
	return b
}

func TestADatagramIsDroppedForTheFirstCheckItFails(t *testing.T) {
	pad := func(n int) func(*Datagram) {
		return func(d *Datagram) { d.Payload = append(d.Payload, make([]byte, n)...) }
	}
	for _, tt := range []struct {
		name   string
		s      *situation
		want   Drop
		detail string
	}{
		// Row 0.
		{"truncated by the kernel", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.after = func(d *Datagram) { d.Truncated = true }
		}), Truncated, "datagram is longer than any advertisement, or has no whole IP header"},
		{"shorter than the header", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.resize = func(b []byte) []byte { return b[:7] }
		}), Truncated, "message is 7 octets, its header alone is 8"},
		// Row 2.
		{"another virtual router", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.adv.VRID = 52 }),
			WrongVRID, "message is for VRID 52, ours is 51"},
		// Row 6.
		{"an address missing", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.resize = func(b []byte) []byte { return b[:12] }
		}), WrongLength, "VRRPv3 message with 2 addresses is 12 octets, must be 16"},
		{"version 2 without authentication data", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.resize = func(b []byte) []byte { return b[:16] }
		}), WrongLength, "VRRPv2 message with 2 addresses is 16 octets, must be 24"},
		{"longer than it says, to the end of the packet", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.resize = func(b []byte) []byte { return append(b, 0, 0, 0, 0) }
		}), WrongLength, "VRRPv3 message with 2 addresses is 20 octets, must be 16"},
		{"longer than a padded frame", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.after = pad(11) }),
			WrongLength, "VRRPv3 message with 2 addresses is 27 octets, must be 16"},
		{"longer than it says on IPv6", with(multicast(v3, vrrp.IPv6), func(s *situation) { s.after = pad(4) }),
			WrongLength, "VRRPv3 message with 2 addresses is 44 octets, must be 40"},
		{"with the trailer of auth_hmac", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.resize = func(b []byte) []byte { return append(b, make([]byte, 28)...) }
		}), WrongLength, "VRRPv3 message with 2 addresses is 44 octets, must be 16; 28 octets more is what keepalived's auth_hmac adds, which is not supported"},
		{"length before TTL", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.d.TTL = 254
			s.resize = func(b []byte) []byte { return b[:12] }
		}), WrongLength, "VRRPv3 message with 2 addresses is 12 octets, must be 16"},
		// Row 7.
		{"forwarded by a router", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.d.TTL = 254 }),
			WrongTTL, "TTL is 254, must be 255: a router forwarded the message, or its sender is misconfigured"},
		{"forwarded by a router on IPv6", with(multicast(v3, vrrp.IPv6), func(s *situation) { s.d.TTL = 64 }),
			WrongTTL, "hop limit is 64, must be 255: a router forwarded the message, or its sender is misconfigured"},
		{"of unknown TTL", with(multicast(v3, vrrp.IPv6), func(s *situation) { s.d.TTL = -1 }),
			WrongTTL, "hop limit is not known, must be 255: a router forwarded the message, or its sender is misconfigured"},
		{"TTL before version", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.adv.Version, s.d.TTL = v2, 1 }),
			WrongTTL, "TTL is 1, must be 255: a router forwarded the message, or its sender is misconfigured"},
		// Row 8.
		{"version 2 where 3 is spoken", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.adv.Version = v2 }),
			WrongVersion, "peer sends VRRPv2, this node expects VRRPv3 (vrrp_version)"},
		{"version 3 where 2 is spoken", with(multicast(v2, vrrp.IPv4), func(s *situation) { s.adv.Version = v3 }),
			WrongVersion, "peer sends VRRPv3, this node expects VRRPv2 (vrrp_version)"},
		{"a version of the future", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.octets = func(b []byte) { b[0] = 0x41 }
		}), WrongVersion, "peer sends VRRPv4, this node expects VRRPv3 (vrrp_version)"},
		// Row 10.
		{"an authentication type that does not exist", with(multicast(v2, vrrp.IPv4), func(s *situation) { s.adv.AuthType = 3 }),
			WrongAuthType, "authentication type is 3, must be 0, 1 or 2"},
		// Row 11.
		{"a password where none is expected", with(multicast(v2, vrrp.IPv4), func(s *situation) { s.adv.AuthType = vrrp.AuthPass }),
			AuthTypeMismatch, "peer uses authentication PASS, this node none (auth_type)"},
		{"no password where one is expected", with(multicast(v2, vrrp.IPv4), func(s *situation) { s.expect.AuthType = vrrp.AuthPass }),
			AuthTypeMismatch, "peer uses authentication none, this node PASS (auth_type)"},
		// Row 12.
		{"another password", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.expect.AuthType, s.expect.AuthData = vrrp.AuthPass, password("right")
			s.adv.AuthType, s.adv.AuthData = vrrp.AuthPass, password("wrong")
		}), AuthFailed, "password differs (auth_pass; its first 8 octets count)"},
		{"password before interval", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.expect.AuthType, s.expect.AuthData = vrrp.AuthPass, password("right")
			s.adv.AuthType, s.adv.Interval = vrrp.AuthPass, 2*time.Second
		}), AuthFailed, "password differs (auth_pass; its first 8 octets count)"},
		// Row 13.
		{"an authentication header, even if expected", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.expect.AuthType, s.adv.AuthType = vrrp.AuthAH, vrrp.AuthAH
		}), AuthFailed, "IP Authentication Header is not supported"},
		// Row 14.
		{"another interval in version 2", with(multicast(v2, vrrp.IPv4), func(s *situation) { s.adv.Interval = 2 * time.Second }),
			IntervalMismatch, "advertisement interval is 2s, ours is 1s"},
		{"interval of version 2 before type", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.adv.Interval = 2 * time.Second
			s.octets = func(b []byte) { b[0] = 0x22 }
		}), IntervalMismatch, "advertisement interval is 2s, ours is 1s"},
		// Row 15.
		{"not an advertisement", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.octets = func(b []byte) { b[0] = 0x32 } }),
			WrongType, "message type is 2, must be 1 (advertisement)"},
		// Row 16.
		{"a total length below the message", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.after = func(d *Datagram) { d.TotalLen -= 4 }
		}), TotalLength, "total length in the IPv4 header is 32, the message has 36 with it"},
		{"a total length beyond what arrived", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.after = func(d *Datagram) { d.TotalLen += 4 }
		}), TotalLength, "total length in the IPv4 header is 40, the message has 36 with it"},
		{"a padded message that the total length cuts", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.after = func(d *Datagram) { pad(10)(d); d.TotalLen = 30 }
		}), TotalLength, "total length in the IPv4 header is 30, the message has 36 with it"},
		// Row 17.
		{"an interval that cannot be learned", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.adv.Interval = 0 }),
			ZeroInterval, "advertisement interval is 0, ours is 1s"},
		// Row 18.
		{"a bad checksum of version 3", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.keep, s.octets = true, func(b []byte) { b[6], b[7] = 0xde, 0xad }
		}), BadChecksum, "checksum 0xdead does not verify"},
		{"a bad checksum of version 2", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.keep, s.octets = true, func(b []byte) { b[6], b[7] = 0xde, 0xad }
		}), BadChecksum, "checksum 0xdead does not verify"},
		{"a bad checksum on IPv6", with(multicast(v3, vrrp.IPv6), func(s *situation) {
			s.keep, s.octets = true, func(b []byte) { b[6], b[7] = 0xde, 0xad }
		}), BadChecksum, "checksum 0xdead does not verify"},
		{"a checksum without pseudo-header", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.mode = vrrp.ChecksumPlain }),
			BadChecksum, "checksum 0xe64f does not verify; peer seems to compute it without pseudo-header; set v3_checksum_as_v2"},
		{"a checksum with pseudo-header where none is expected", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.expect.Checksum = vrrp.ChecksumPlain }),
			BadChecksum, "checksum 0x43bb does not verify; peer seems to compute it with pseudo-header; set v3_checksum_as_v2 there, or unset it here"},
		{"the unicast checksum of an old keepalived", with(unicast(v3, vrrp.IPv4), func(s *situation) { s.group = addr("224.0.0.18") }),
			BadChecksum, "checksum 0x43bb does not verify; peer seems to compute it for the multicast group, as keepalived until 1.3.6 (old_unicast_checksum)"},
		// Rows 4 and 19.
		{"unicast where multicast is used", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.d.Dst = addr("192.0.2.2") }),
			WrongDestination, "message was sent to 192.0.2.2, this node uses multicast group 224.0.0.18"},
		{"another group", with(multicast(v3, vrrp.IPv6), func(s *situation) { s.d.Dst = addr("ff02::13") }),
			WrongDestination, "message was sent to ff02::13, this node uses multicast group ff02::12"},
		{"multicast where unicast is used", with(unicast(v3, vrrp.IPv6), func(s *situation) { s.d.Dst = addr("ff02::12") }),
			WrongDestination, "message was sent to multicast group ff02::12, this node uses unicast"},
		// Row 23.
		{"a stranger, with check_unicast_src", with(unicast(v3, vrrp.IPv4), func(s *situation) {
			s.expect.CheckUnicastSource, s.d.Src = true, addr("192.0.2.66")
		}), UnknownSource, "sender is not among the unicast peers"},
		{"a stranger, where a peer has a bound for its TTL", with(unicast(v3, vrrp.IPv4), func(s *situation) {
			s.expect.Peers[0].MinTTL, s.d.Src = 64, addr("192.0.2.66")
		}), UnknownSource, "sender is not among the unicast peers"},
		{"a peer that is too far away", with(unicast(v3, vrrp.IPv4), func(s *situation) {
			s.expect.Peers[0].MinTTL, s.d.TTL = 254, 253
		}), PeerTTL, "TTL is 253, must be at least 254 for this peer"},
		{"a peer that is too near", with(unicast(v3, vrrp.IPv6), func(s *situation) {
			s.expect.Peers[0].MaxTTL, s.d.TTL = 63, 64
		}), PeerTTL, "hop limit is 64, must be at most 63 for this peer"},
		{"a peer out of two bounds", with(unicast(v3, vrrp.IPv4), func(s *situation) {
			s.expect.Peers[0].MinTTL, s.expect.Peers[0].MaxTTL, s.d.TTL = 60, 62, 64
		}), PeerTTL, "TTL is 64, must be from 60 to 62 for this peer"},
		{"a peer with a bound, of unknown TTL", with(unicast(v3, vrrp.IPv6), func(s *situation) {
			s.expect.Peers[0].MaxTTL, s.d.TTL = 63, -1
		}), PeerTTL, "hop limit is not known, must be at most 63 for this peer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			adv, mismatches, err := tt.s.expect.Check(tt.s.datagram(t))
			var got *DropError
			if !errors.As(err, &got) {
				t.Fatalf("got %+v and error %v, want a *DropError", adv, err)
			}
			if got.Drop != tt.want || got.Detail != tt.detail {
				t.Errorf("got %v: %s\nwant %v: %s", got.Drop, got.Detail, tt.want, tt.detail)
			}
			if mismatches != nil || !got.Otherwise && !reflect.DeepEqual(adv, vrrp.Advertisement{}) {
				t.Errorf("got %+v and %v with an error", adv, mismatches)
			}
		})
	}
}

func TestADatagramThatPassesIsReturnedWithWhatDiffers(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    *situation
		want []Mismatch
	}{
		{"version 2", multicast(v2, vrrp.IPv4), nil},
		{"version 3 on IPv4", multicast(v3, vrrp.IPv4), nil},
		{"version 3 on IPv6", multicast(v3, vrrp.IPv6), nil},
		{"unicast of any TTL", with(unicast(v3, vrrp.IPv4), func(s *situation) { s.d.TTL = 3 }), nil},
		{"unicast from a stranger, as keepalived", with(unicast(v2, vrrp.IPv4), func(s *situation) { s.d.Src = addr("192.0.2.66") }), nil},
		{"unicast from a peer, with check_unicast_src", with(unicast(v3, vrrp.IPv6), func(s *situation) { s.expect.CheckUnicastSource = true }), nil},
		{"unicast from a peer with a zone", with(unicast(v3, vrrp.IPv6), func(s *situation) {
			s.expect.CheckUnicastSource, s.expect.Peers[0].Addr = true, addr("fe80::1%eth0")
		}), nil},
		{"a peer within its bounds", with(unicast(v3, vrrp.IPv4), func(s *situation) {
			s.expect.Peers[0].MinTTL, s.expect.Peers[0].MaxTTL, s.d.TTL = 62, 64, 64
		}), nil},
		{"the right password", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.expect.AuthType, s.expect.AuthData = vrrp.AuthPass, password("right")
			s.adv.AuthType, s.adv.AuthData = vrrp.AuthPass, password("right")
		}), nil},
		{"authentication data without authentication", with(multicast(v2, vrrp.IPv4), func(s *situation) { s.adv.AuthData = password("noise") }), nil},
		{"no pseudo-header, as agreed", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.expect.Checksum, s.mode = vrrp.ChecksumPlain, vrrp.ChecksumPlain
		}), nil},
		{"a frame padded to what Ethernet asks for", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.after = func(d *Datagram) { d.Payload = append(d.Payload, make([]byte, 10)...) }
		}), nil},
		{"a padded frame of version 2", with(multicast(v2, vrrp.IPv4), func(s *situation) {
			s.expect.AuthType, s.expect.AuthData = vrrp.AuthPass, password("right")
			s.adv.AuthType, s.adv.AuthData = vrrp.AuthPass, password("right")
			s.after = func(d *Datagram) { d.Payload = append(d.Payload, 1, 2) }
		}), nil},
		{"priority 0", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.adv.Priority = 0 }), nil},
		{"the addresses in another order", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.adv.Addrs = []netip.Addr{addr("192.0.2.11"), addr("192.0.2.10")}
		}), nil},
		{"another interval in version 3", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.adv.Interval = 300 * time.Millisecond }),
			[]Mismatch{{MismatchInterval, "advertisement interval is 300ms, ours is 1s"}}},
		{"another address", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.adv.Addrs = []netip.Addr{addr("192.0.2.11")}
			s.expect.Addrs = []netip.Addr{addr("192.0.2.10")}
		}), []Mismatch{{MismatchAddresses, "peer advertises 192.0.2.11, which this node does not have; this node has 192.0.2.10, which the peer does not advertise"}}},
		{"an address too few, in version 2", with(multicast(v2, vrrp.IPv4), func(s *situation) { s.adv.Addrs = s.adv.Addrs[:1] }),
			[]Mismatch{{MismatchAddresses, "this node has 192.0.2.11, which the peer does not advertise"}}},
		{"two addresses too many", with(multicast(v3, vrrp.IPv6), func(s *situation) { s.expect.Addrs = nil }),
			[]Mismatch{{MismatchAddresses, "peer advertises fe80::10 and 2001:db8::10, which this node does not have"}}},
		{"many addresses too many", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.adv.Addrs = nil
			for i := range 7 {
				s.adv.Addrs = append(s.adv.Addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}))
			}
		}), []Mismatch{{MismatchAddresses, "peer advertises 192.0.2.12, 192.0.2.13, 192.0.2.14, 192.0.2.15 and 192.0.2.16, which this node does not have"}}},
		{"very many addresses too many", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.adv.Addrs = nil
			for i := range 9 {
				s.adv.Addrs = append(s.adv.Addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}))
			}
		}), []Mismatch{{MismatchAddresses, "peer advertises 192.0.2.12, 192.0.2.13, 192.0.2.14, 192.0.2.15 and 3 more, which this node does not have"}}},
		{"an address twice", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.adv.Addrs = append(slices.Clone(s.adv.Addrs), s.adv.Addrs[0])
		}), []Mismatch{{MismatchAddresses, "peer advertises 3 addresses, this node has 2, some more than once"}}},
		{"both", with(multicast(v3, vrrp.IPv4), func(s *situation) { s.adv.Addrs, s.adv.Interval = s.adv.Addrs[:1], 2*time.Second }),
			[]Mismatch{{MismatchInterval, "advertisement interval is 2s, ours is 1s"},
				{MismatchAddresses, "this node has 192.0.2.11, which the peer does not advertise"}}},
		{"other addresses of a master whose list was compared before", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.adv.Addrs, s.expect.SkipAddrCheckFrom = s.adv.Addrs[:1], s.d.Src
		}), nil},
		{"other addresses of another master", with(multicast(v3, vrrp.IPv4), func(s *situation) {
			s.adv.Addrs, s.expect.SkipAddrCheckFrom = s.adv.Addrs[:1], addr("192.0.2.66")
		}), []Mismatch{{MismatchAddresses, "this node has 192.0.2.11, which the peer does not advertise"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			adv, got, err := tt.s.expect.Check(tt.s.datagram(t))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(adv, tt.s.adv) {
				t.Errorf("got %+v, want %+v", adv, tt.s.adv)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestAnIntervalMismatchSaysWhetherTheRestWasRight(t *testing.T) {
	slow := func(change func(*situation)) *situation {
		s := multicast(v2, vrrp.IPv4)
		s.adv.Interval = 2 * time.Second
		s.expect.AuthType, s.expect.AuthData = vrrp.AuthPass, password("right")
		s.adv.AuthType, s.adv.AuthData = vrrp.AuthPass, password("right")
		change(s)
		return s
	}
	for _, tt := range []struct {
		name string
		s    *situation
		want bool
	}{
		{"all else right", slow(func(*situation) {}), true},
		{"addresses differ, which is no reason", slow(func(s *situation) { s.adv.Addrs = nil }), true},
		{"checksum wrong", slow(func(s *situation) { s.keep, s.octets = true, func(b []byte) { b[7]++ } }), false},
		{"not an advertisement", slow(func(s *situation) { s.octets = func(b []byte) { b[0] = 0x22 } }), false},
		{"from elsewhere", slow(func(s *situation) { s.d.Dst = addr("192.0.2.2") }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			adv, _, err := tt.s.expect.Check(tt.s.datagram(t))
			var got *DropError
			if !errors.As(err, &got) || got.Drop != IntervalMismatch {
				t.Fatalf("got error %v, want an interval mismatch", err)
			}
			want := vrrp.Advertisement{}
			if tt.want {
				want = tt.s.adv
			}
			if got.Otherwise != tt.want || !reflect.DeepEqual(adv, want) {
				t.Errorf("got %v and %+v, want %v and %+v", got.Otherwise, adv, tt.want, want)
			}
		})
	}
}

func TestTheVRIDIsKnownBeforeAnyCheck(t *testing.T) {
	for _, tt := range []struct {
		payload []byte
		want    uint8
		ok      bool
	}{{nil, 0, false}, {[]byte{0x31}, 0, false}, {[]byte{0x31, 51}, 51, true}, {[]byte{0xff, 255, 0}, 255, true}} {
		if got, ok := VRID(&Datagram{Payload: tt.payload}); got != tt.want || ok != tt.ok {
			t.Errorf("%x: got %d, %v, want %d, %v", tt.payload, got, ok, tt.want, tt.ok)
		}
	}
}

func TestEveryDropHasANameOfItsOwn(t *testing.T) {
	seen := map[string]Drop{}
	for d := Drop(1); d < NumDrops; d++ {
		name := d.String()
		if before, dup := seen[name]; dup || name == "" {
			t.Errorf("%d: got name %q, as %d", uint8(d), name, before)
		}
		seen[name] = d
	}
	if got, want := Drop(200).String(), "Drop(200)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzWhatIsAcceptedIsOursAndIntact(f *testing.F) {
	for i, s := range []*situation{multicast(v2, vrrp.IPv4), multicast(v3, vrrp.IPv4), multicast(v3, vrrp.IPv6),
		unicast(v2, vrrp.IPv4), unicast(v3, vrrp.IPv4), unicast(v3, vrrp.IPv6)} {
		d := s.datagram(f)
		f.Add(uint8(i), d.Payload, d.TTL, d.TotalLen, d.HeaderLen, false)
		f.Add(uint8(i), append(slices.Clone(d.Payload), 0, 0), d.TTL, d.TotalLen, d.HeaderLen, false)
		f.Add(uint8(i|8), d.Payload, d.TTL, d.TotalLen, d.HeaderLen, true)
	}
	f.Fuzz(func(t *testing.T, kind uint8, payload []byte, ttl, total, header int, truncated bool) {
		v, family := v3, vrrp.IPv4
		switch kind & 3 {
		case 0, 3:
			v = v2
		case 2:
			family = vrrp.IPv6
		}
		s := multicast(v, family)
		if kind&4 != 0 {
			s = unicast(v, family)
		}
		if kind&8 != 0 {
			s.expect.Checksum, s.expect.CheckUnicastSource = vrrp.ChecksumPlain, true
			s.expect.AuthType, s.expect.AuthData = vrrp.AuthPass, password("fuzz")
		}
		d := s.d
		d.Payload, d.TTL, d.TotalLen, d.HeaderLen, d.Truncated = payload, ttl, total, header, truncated
		adv, _, err := s.expect.Check(&d)
		if err != nil {
			var fail *DropError
			if !errors.As(err, &fail) || fail.Drop == 0 || fail.Drop >= NumDrops || fail.Detail == "" {
				t.Fatalf("got error %v, want a *DropError with a reason", err)
			}
			return
		}
		pdu, err := adv.AppendTo(nil, d.Src, d.Dst, s.expect.Checksum)
		if err != nil {
			t.Fatalf("accepted %+v, which does not encode: %v", adv, err)
		}
		if len(pdu) > len(payload) || !vrrp.VerifyChecksum(payload[:len(pdu)], d.Src, d.Dst, s.expect.Checksum) {
			t.Fatalf("accepted a wrong checksum in %x", payload)
		}
		id, _ := VRID(&d)
		if truncated || adv.VRID != 51 || id != 51 || adv.Version != v || v == v2 && adv.Interval != time.Second || adv.Interval == 0 ||
			s.expect.Multicast && ttl != 255 || v == v2 && adv.AuthType != s.expect.AuthType {
			t.Fatalf("accepted %+v with TTL %d", adv, ttl)
		}
	})
}

func ExampleExpect_Check() {
	expect := Expect{
		VRID: 51, Version: vrrp.V3, Family: vrrp.IPv4, Interval: time.Second,
		Multicast: true, Group: vrrp.IPv4.Group(), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.10")},
	}
	// What keepalived sends every 300 ms.
	sent := vrrp.Advertisement{Version: vrrp.V3, VRID: 51, Priority: 150, Interval: 300 * time.Millisecond, Addrs: expect.Addrs}
	d := Datagram{Src: netip.MustParseAddr("192.0.2.1"), Dst: expect.Group, TTL: 255, HeaderLen: 20, TotalLen: 32}
	d.Payload, _ = sent.AppendTo(nil, d.Src, d.Dst, vrrp.ChecksumPseudoHeader)

	adv, mismatches, err := expect.Check(&d)
	fmt.Println(adv.Priority, mismatches, err)

	d.TTL = 254
	_, _, err = expect.Check(&d)
	fmt.Println(err)
	// Output:
	// 150 [advertisement interval is 300ms, ours is 1s] <nil>
	// wrong TTL: TTL is 254, must be 255: a router forwarded the message, or its sender is misconfigured
}
