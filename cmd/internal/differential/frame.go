package differential

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A Kind sorts the frames that a router sends.
type Kind uint8

// The kinds of frames. The zero value is for what nobody expects.
const (
	KindOther  Kind = iota
	KindAdvert      // a VRRP advertisement
	KindARP         // a gratuitous ARP
	KindNA          // an unsolicited neighbour advertisement
	KindKernel      // sent by the kernel on its own; see kernelRules
)

// String returns the name of k.
func (k Kind) String() string {
	switch k {
	case KindAdvert:
		return "advertisement"
	case KindARP:
		return "gratuitous ARP"
	case KindNA:
		return "unsolicited neighbour advertisement"
	case KindKernel:
		return "frame of the kernel"
	}
	return "other frame"
}

// A Frame is one frame as a router sent it.
type Frame struct {
	At   time.Time // the kernel's time stamp
	Kind Kind
	Text string // what it is in few words: "v2 advert 100", "arp 192.0.2.10"

	// Octets is the whole frame without what is left out of the comparison:
	// the IPv4 identification with the header checksum that follows from it,
	// which is verified instead, and the IPv6 flow label. They are zero.
	Octets []byte

	// Of an IPv4 advertisement. Identifications are compared by CheckIDs.
	ID       uint16
	Src, Dst netip.Addr
	VRID     uint8
}

// What frames consist of.
const (
	ethernetLen = 14
	arpLen      = 28
	ipv4Len     = 20
	ipv6Len     = 40

	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	protocolIGMP   = 2
	protocolAH     = 51
	protocolICMPv6 = 58
	protocolVRRP   = 112
	hopByHop       = 0

	icmpv6Router                = 133 // router solicitation
	icmpv6NeighborSolicitation  = 135
	icmpv6NeighborAdvertisement = 136
	flagSolicited               = 0x40
)

// kernelRules says which frames the kernel sends on its own, whatever runs.
// They are left out of the comparison: when they are sent depends on what the
// host did before, and no daemon has a hand in it.
var kernelRules = []struct {
	name  string
	match func(b []byte) bool // b has an Ethernet header
}{
	{"IGMP: membership of multicast groups", func(b []byte) bool {
		return etherType(b) == etherTypeIPv4 && len(b) >= ethernetLen+ipv4Len && b[ethernetLen+9] == protocolIGMP
	}},
	{"MLD: the same for IPv6, behind a router alert option", func(b []byte) bool {
		return etherType(b) == etherTypeIPv6 && len(b) >= ethernetLen+ipv6Len+8 && b[ethernetLen+6] == hopByHop &&
			b[ethernetLen+ipv6Len] == protocolICMPv6
	}},
	{"router solicitation", func(b []byte) bool { return icmpv6(b) == icmpv6Router }},
	{"neighbour solicitation: resolution and duplicate address detection", func(b []byte) bool {
		return icmpv6(b) == icmpv6NeighborSolicitation
	}},
	{"neighbour advertisement in answer to a solicitation", func(b []byte) bool {
		return icmpv6(b) == icmpv6NeighborAdvertisement && len(b) > ethernetLen+ipv6Len+4 && b[ethernetLen+ipv6Len+4]&flagSolicited != 0
	}},
	{"ARP of one address about another: resolution and its answers", func(b []byte) bool {
		if etherType(b) != etherTypeARP || len(b) < ethernetLen+arpLen {
			return false
		}
		return !bytes.Equal(b[ethernetLen+14:ethernetLen+18], b[ethernetLen+24:ethernetLen+28])
	}},
}

// etherType returns the protocol of a frame that has an Ethernet header.
func etherType(b []byte) uint16 { return binary.BigEndian.Uint16(b[12:]) }

// icmpv6 returns the type of an ICMPv6 message directly behind the IPv6 header,
// or -1.
func icmpv6(b []byte) int {
	if etherType(b) != etherTypeIPv6 || len(b) < ethernetLen+ipv6Len+4 || b[ethernetLen+6] != protocolICMPv6 {
		return -1
	}
	return int(b[ethernetLen+ipv6Len])
}

// Why a frame cannot be compared.
var (
	errShort    = errors.New("differential: frame is too short")
	errChecksum = errors.New("differential: IPv4 header checksum is wrong")
)

// Decode says what a frame is, and masks what is not compared. It keeps no part
// of b.
func Decode(b []byte, at time.Time) (Frame, error) {
	f := Frame{At: at, Octets: bytes.Clone(b)}
	if len(b) < ethernetLen {
		return f, errShort
	}
	for _, rule := range kernelRules {
		if rule.match(b) {
			f.Kind, f.Text = KindKernel, rule.name
			return f, nil
		}
	}
	p := f.Octets[ethernetLen:]
	switch etherType(b) {
	case etherTypeARP:
		if len(p) < arpLen {
			return f, errShort
		}
		f.Kind = KindARP
		f.Text = fmt.Sprint("arp ", netip.AddrFrom4([4]byte(p[14:18])))
		return f, nil
	case etherTypeIPv4:
		return f, f.decodeIPv4(p)
	case etherTypeIPv6:
		return f, f.decodeIPv6(p)
	}
	f.Text = fmt.Sprintf("frame of type %#04x", etherType(b))
	return f, nil
}

func (f *Frame) decodeIPv4(p []byte) error {
	if len(p) < ipv4Len {
		return errShort
	}
	header := int(p[0]&0x0f) * 4
	if header < ipv4Len || len(p) < header {
		return errShort
	}
	if internetChecksum(p[:header]) != 0 {
		return errChecksum
	}
	f.ID = binary.BigEndian.Uint16(p[4:])
	f.Src, f.Dst = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	clear(p[4:6])
	clear(p[10:12])
	return f.decodePayload(p[9], p[header:])
}

func (f *Frame) decodeIPv6(p []byte) error {
	if len(p) < ipv6Len {
		return errShort
	}
	f.Src, f.Dst = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	p[1] &= 0xf0
	clear(p[2:4])
	if icmpv6(f.Octets) == icmpv6NeighborAdvertisement {
		if len(p) < ipv6Len+24 {
			return errShort
		}
		f.Kind = KindNA
		f.Text = fmt.Sprint("na ", netip.AddrFrom16([16]byte(p[ipv6Len+8:ipv6Len+24])))
		return nil
	}
	return f.decodePayload(p[6], p[ipv6Len:])
}

func (f *Frame) decodePayload(protocol uint8, p []byte) error {
	switch protocol {
	case protocolVRRP:
		if len(p) < 8 {
			return errShort
		}
		f.Kind, f.VRID = KindAdvert, p[1]
		f.Text = fmt.Sprintf("v%d advert %d", p[0]>>4, p[2])
	case protocolAH:
		f.Kind, f.Text = KindAdvert, "advert authenticated by AH"
	default:
		f.Text = fmt.Sprintf("packet of protocol %d", protocol)
		return nil
	}
	if !f.Dst.IsMulticast() {
		f.Text += fmt.Sprint(" to ", f.Dst)
	}
	return nil
}

// internetChecksum returns the checksum of RFC 1071; over octets that contain
// their own it is zero.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// CheckIDs says whether the IPv4 identifications of one router's advertisements
// are those of keepalived: each virtual router counts from 1, one for each
// advertisement, which has the same number for each of its unicast peers. With
// gaps, some may be missing: those that could not be sent count as well.
func CheckIDs(frames []Frame, gaps bool) error {
	type router struct {
		src  netip.Addr
		vrid uint8
	}
	type last struct {
		id uint16
		to []netip.Addr
	}
	seen := map[router]*last{}
	for i, f := range frames {
		if f.Kind != KindAdvert || !f.Src.Is4() {
			continue
		}
		l := seen[router{f.Src, f.VRID}]
		if l == nil {
			l = &last{}
			seen[router{f.Src, f.VRID}] = l
		}
		again := false // the same advertisement to another peer
		if f.ID == l.id && !f.Dst.IsMulticast() {
			again = true
			for _, to := range l.to {
				again = again && to != f.Dst
			}
		}
		switch next := max(l.id+1, 1); {
		case again:
			l.to = append(l.to, f.Dst)
		case f.ID == next, gaps && f.ID > next:
			l.id, l.to = f.ID, []netip.Addr{f.Dst}
		default:
			return fmt.Errorf("differential: frame %d, %s of virtual router %d, has the identification %d after %d", i+1, f.Text, f.VRID, f.ID, l.id)
		}
	}
	return nil
}
