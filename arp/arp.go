// Package arp tells the neighbours on a link where an address lives now: it
// builds gratuitous ARP requests and unsolicited neighbour advertisements,
// decides when each is due, and puts them on the wire. And it hears which other
// station claims the same address.
//
// The frames, the [Schedule] and the [Limiter] are pure: no clock, no
// goroutine, no socket. Of the two parts with I/O, [Conn] only sends and
// [Listener] only receives.
package arp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A MAC is the hardware address of an Ethernet interface.
type MAC [6]byte

// String returns m in the usual notation, 02:00:00:00:00:0a.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// broadcast is the Ethernet broadcast address.
var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// A Kind says how an address is announced: ARP for IPv4, neighbour discovery
// for IPv6. The two are rate limited apart (garp_interval, gna_interval).
type Kind uint8

// The two kinds of announcement.
const (
	GARP Kind = iota // gratuitous ARP, IPv4
	NA               // unsolicited neighbour advertisement, IPv6
)

// String returns the short name of k.
func (k Kind) String() string {
	switch k {
	case GARP:
		return "GARP"
	case NA:
		return "NA"
	default:
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
}

// KindOf returns the kind of announcement that ip needs.
func KindOf(ip netip.Addr) Kind {
	if ip.Unmap().Is4() {
		return GARP
	}
	return NA
}

// The values of the fields that never differ. RFC 826 for ARP, RFC 8200 for
// the IPv6 header, RFC 4861 §4.4 and §4.6.1 for the advertisement.
const (
	etherTypeARP  = 0x0806
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd

	hardwareEthernet = 1
	operationRequest = 1

	protocolICMPv6 = 58
	hopLimitNDP    = 255 // RFC 4861 §7.1.2: anything else was forwarded, and is dropped

	typeNeighborAdvertisement = 136
	flagRouter                = 0x80
	flagOverride              = 0x20
	optionTargetLinkLayer     = 2

	ethernetLen = 14
	arpLen      = 28
	ipv6Len     = 40
	naLen       = 32 // 24 octets and the 8 of the target link-layer address option
)

// AppendAnnouncement appends the frame that announces ip at mac: a gratuitous
// ARP for an IPv4 address, an unsolicited neighbour advertisement for an IPv6
// one. The router flag matters to IPv6 only. It appends nothing if ip is not
// valid.
func AppendAnnouncement(b []byte, mac MAC, ip netip.Addr, router bool) []byte {
	if ip.Unmap().Is4() {
		return AppendGratuitous(b, mac, ip)
	}
	return AppendUnsolicitedNA(b, mac, ip, router)
}

// AppendGratuitous appends the whole Ethernet frame of a gratuitous ARP for ip
// at mac, 42 octets without padding. It appends nothing if ip is not an IPv4
// address.
//
// It is a request, not a reply, and its target hardware address is the
// broadcast address, not zero. RFC 5227 §3 leaves that field open; keepalived
// fills it so, and equipment that has learnt from keepalived must see no
// difference.
func AppendGratuitous(b []byte, mac MAC, ip netip.Addr) []byte {
	ip = ip.Unmap()
	if !ip.Is4() {
		return b
	}
	addr := ip.As4()

	b = appendEthernet(b, broadcast, mac, etherTypeARP)
	b = binary.BigEndian.AppendUint16(b, hardwareEthernet)
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
	b = append(b, byte(len(mac)), byte(len(addr)))
	b = binary.BigEndian.AppendUint16(b, operationRequest)
	b = append(b, mac[:]...)
	b = append(b, addr[:]...)
	b = append(b, broadcast[:]...)
	return append(b, addr[:]...)
}

// AppendProbe appends the whole Ethernet frame of an ARP probe (RFC 5227 §1.1) from
// mac: it asks who has ip, and tells nobody anything. It appends nothing if ip is not
// an IPv4 address.
func AppendProbe(b []byte, mac MAC, ip netip.Addr) []byte {
	ip = ip.Unmap()
	if !ip.Is4() {
		return b
	}
	addr := ip.As4()

	b = appendEthernet(b, broadcast, mac, etherTypeARP)
	b = binary.BigEndian.AppendUint16(b, hardwareEthernet)
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
	b = append(b, byte(len(mac)), byte(len(addr)))
	b = binary.BigEndian.AppendUint16(b, operationRequest)
	b = append(b, mac[:]...)
	b = append(b, make([]byte, len(addr)+len(mac))...)
	return append(b, addr[:]...)
}

// AppendUnsolicitedNA appends the whole Ethernet frame of an unsolicited
// neighbour advertisement for ip at mac, 86 octets. It appends nothing if ip is
// not an IPv6 address.
//
// The source is the announced address itself, the destination all nodes
// (RFC 4861 §7.2.6), so it can be sent before duplicate address detection would
// allow the kernel to. Override is always set, or caches would keep the old
// link-layer address; router says whether this host forwards IPv6 on the
// interface, because a neighbour that sees a router lose that flag drops it
// from its default routes (RFC 4861 §7.3.3).
func AppendUnsolicitedNA(b []byte, mac MAC, ip netip.Addr, router bool) []byte {
	if !ip.Is6() || ip.Is4In6() {
		return b
	}
	addr := ip.As16()
	allNodes := [16]byte{0: 0xff, 1: 0x02, 15: 0x01}

	b = appendEthernet(b, MAC{0x33, 0x33, 0, 0, 0, 1}, mac, etherTypeIPv6)

	b = binary.BigEndian.AppendUint32(b, 6<<28) // version 6, traffic class and flow label 0
	b = binary.BigEndian.AppendUint16(b, naLen)
	b = append(b, protocolICMPv6, hopLimitNDP)
	b = append(b, addr[:]...)
	b = append(b, allNodes[:]...)

	flags := byte(flagOverride)
	if router {
		flags |= flagRouter
	}
	message := len(b)
	b = append(b, typeNeighborAdvertisement, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, addr[:]...)
	b = append(b, optionTargetLinkLayer, 1) // the length counts units of 8 octets
	b = append(b, mac[:]...)

	// RFC 8200 §8.1: the pseudo header holds both addresses, the length and the
	// next header.
	sum := uint32(naLen + protocolICMPv6)
	sum = addWords(sum, addr[:])
	sum = addWords(sum, allNodes[:])
	sum = addWords(sum, b[message:])
	binary.BigEndian.PutUint16(b[message+2:], fold(sum))
	return b
}

// appendEthernet appends an Ethernet II header.
func appendEthernet(b []byte, dst, src MAC, etherType uint16) []byte {
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

// addWords adds the 16-bit words of b, whose length is even, to the running sum
// of an Internet checksum (RFC 1071).
func addWords(sum uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return sum
}

// fold ends an Internet checksum: carries added back, complemented.
func fold(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
