package fabric

import (
	"encoding/binary"
	"net/netip"
)

// The prober asks in turn as one of so many stations, each with addresses of its
// own, so that an answer shows which question it belongs to.
const stations = 32

// stationMAC returns the hardware address of a station, which is locally
// administered.
func stationMAC(n byte) mac { return mac{0x02, 'p', 'r', 'o', 'b', n} }

// stationAddr returns the link-local address of a station.
func stationAddr(n byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: 'p', 9: 'r', 10: 'o', 11: 'b', 15: n})
}

// stationOf returns which station has a hardware address.
func stationOf(m mac) (n byte, ok bool) {
	n = m[macLen-1]
	return n, n < stations && m == stationMAC(n)
}

// stationAt returns which station has a link-local address.
func stationAt(a netip.Addr) (n byte, ok bool) {
	b := a.As16()
	n = b[15]
	return n, n < stations && a == stationAddr(n)
}

// Lengths and values of ARP (RFC 826) for IPv4 on Ethernet.
const (
	arpLen     = 28
	arpRequest = 1
	arpReply   = 2
)

// arpPrefix are the hardware and protocol types and lengths.
var arpPrefix = [6]byte{0, 1, 0x08, 0, macLen, 4}

// Lengths and values of neighbour discovery (RFC 4861).
const (
	ipv6Len    = 40
	protoICMP6 = 58
	// Others have passed a router, and are no neighbours.
	hopLimit = 255

	solicitation  = 135
	advertisement = 136
	discoveryLen  = 24 // of both, without options
	optionLen     = 8  // of a link-layer address

	optionSource = 1
	optionTarget = 2

	flagSolicited = 0x40
	flagOverride  = 0x20
)

// question returns the frame in which a station asks for an address. The kernel
// answers an ARP request from nobody without learning anything, and a solicitation
// from a station to that station only; without a station it would tell everybody.
func question(n byte, t Target) []byte {
	me := stationMAC(n)
	if t.Addr.Is4() {
		vip := t.Addr.As4()
		b := append(make([]byte, 0, arpLen), arpPrefix[:]...)
		b = append(b, 0, arpRequest)
		b = append(b, me[:]...)
		b = append(b, 0, 0, 0, 0) // RFC 5227: no sender
		b = append(b, make([]byte, macLen)...)
		b = append(b, vip[:]...)
		return header{dst: mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src: me, vlan: t.VLAN, protocol: typeARP}.build(b)
	}
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	vip := t.Addr.As16()
	copy(group[13:], vip[13:])
	return discovery(solicitation, 0, t.VLAN, me, mac{0x33, 0x33, 0xff, vip[13], vip[14], vip[15]}, stationAddr(n), netip.AddrFrom16(group), t.Addr, optionSource)
}

// discovery returns a frame of neighbour discovery.
func discovery(kind, flags byte, vlan uint16, from, to mac, src, dst, target netip.Addr, option byte) []byte {
	s, d, t := src.As16(), dst.As16(), target.As16()
	const length = discoveryLen + optionLen
	b := append(make([]byte, 0, ipv6Len+length), 0x60, 0, 0, 0, 0, length, protoICMP6, hopLimit)
	b = append(append(b, s[:]...), d[:]...)
	b = append(b, kind, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, t[:]...)
	b = append(append(b, option, 1), from[:]...)
	binary.BigEndian.PutUint16(b[ipv6Len+2:], checksum6(b))
	return header{dst: to, src: from, vlan: vlan, protocol: typeIPv6}.build(b)
}

// checksum6 returns the checksum of an ICMPv6 packet whose field for it is zero.
func checksum6(packet []byte) uint16 {
	sum := uint32(len(packet)-ipv6Len) + protoICMP6
	for b := packet[8:]; len(b) > 0; b = b[min(2, len(b)):] {
		word := uint32(b[0]) << 8
		if len(b) > 1 {
			word |= uint32(b[1])
		}
		sum += word
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// answered returns for which address a frame is an answer.
func answered(h header, payload []byte) (netip.Addr, bool) {
	switch h.protocol {
	case typeARP:
		if len(payload) < arpLen || [6]byte(payload) != arpPrefix || binary.BigEndian.Uint16(payload[6:]) != arpReply {
			return netip.Addr{}, false
		}
		return netip.AddrFrom4([4]byte(payload[14:])), true
	case typeIPv6:
		_, target, ok := discovered(payload, advertisement)
		return target, ok
	}
	return netip.Addr{}, false
}

// asked returns which station a frame asks for, and who asks.
func asked(h header, payload []byte) (n byte, by netip.Addr, ok bool) {
	if h.protocol != typeIPv6 {
		return 0, by, false
	}
	by, target, ok := discovered(payload, solicitation)
	if !ok {
		return 0, by, false
	}
	n, ok = stationAt(target)
	return n, by, ok
}

// discovered returns the source and the target of a packet of neighbour discovery.
func discovered(packet []byte, kind byte) (src, target netip.Addr, ok bool) {
	if len(packet) < ipv6Len+discoveryLen || packet[6] != protoICMP6 || packet[ipv6Len] != kind {
		return src, target, false
	}
	return netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[ipv6Len+8:])), true
}
