package arp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// A Claim is one frame in which a station says that it has an address.
type Claim struct {
	Addr netip.Addr // without zone
	// MAC is the hardware address that the frame says to send to: that is what
	// the caches of the neighbours take up. In an ARP it is the sender's, in an
	// advertisement that of the target link-layer address option, or the source
	// of the frame if there is none, as an answer may have it (RFC 4861 §4.4).
	MAC MAC
	// Kind is how it was said. GARP stands for any ARP here.
	Kind Kind
	// Gratuitous says that nobody had asked: the sender and the target of the
	// ARP are the same, or the advertisement is not marked as solicited.
	Gratuitous bool
	// At is when the kernel received it, as a time with a monotonic reading.
	// It is never in the future, and stepping the wall clock does not move it
	// further than the frame had waited to be read.
	At time.Time
}

// More values of fields, of what others may send.
const (
	hardwareIEEE802 = 6 // RFC 826 has only Ethernet; hosts take both, as does Linux
	operationReply  = 2
	flagSolicited   = 0x40
	naHeaderLen     = 24 // an advertisement without options
)

// parseClaim returns what a whole Ethernet frame claims and the station that
// sent it. It reports false for what a host would not learn from either.
// An advertisement must be as RFC 4861 §7.1.2 wants it and follow the IPv6
// header at once: no host puts anything between them.
func parseClaim(frame []byte) (claim Claim, source MAC, ok bool) {
	if len(frame) < ethernetLen {
		return Claim{}, MAC{}, false
	}
	source = MAC(frame[6:12])
	switch payload := frame[ethernetLen:]; binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeARP:
		claim, ok = parseARP(payload)
	case etherTypeIPv6:
		claim, ok = parseNA(payload, source)
	}
	if !ok || claim.MAC == (MAC{}) {
		return Claim{}, MAC{}, false
	}
	return claim, source, true
}

// parseARP parses an ARP packet. A probe (RFC 5227 §2.1.1) has no sender
// address and so claims nothing.
func parseARP(b []byte) (Claim, bool) {
	if len(b) < arpLen {
		return Claim{}, false
	}
	be := binary.BigEndian
	hardware, operation := be.Uint16(b), be.Uint16(b[6:])
	if hardware != hardwareEthernet && hardware != hardwareIEEE802 ||
		operation != operationRequest && operation != operationReply ||
		be.Uint32(b[2:]) != arpLayout {
		return Claim{}, false
	}
	sender, target := netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	if sender.IsUnspecified() {
		return Claim{}, false
	}
	return Claim{Addr: sender, MAC: MAC(b[8:]), Kind: GARP, Gratuitous: sender == target}, true
}

// arpLayout is the protocol and the lengths of both kinds of address, the four
// octets from the third of an ARP on.
const arpLayout = etherTypeIPv4<<16 | 6<<8 | 4

// parseNA parses an IPv6 packet that is a neighbour advertisement, from the
// given station.
func parseNA(b []byte, source MAC) (Claim, bool) {
	if len(b) < ipv6Len+naHeaderLen || b[0]>>4 != 6 || b[6] != protocolICMPv6 || b[7] != hopLimitNDP {
		return Claim{}, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < naHeaderLen || n > len(b)-ipv6Len {
		return Claim{}, false
	}
	// What follows is the padding of Ethernet.
	message := b[ipv6Len : ipv6Len+n]
	sum := addWords(protocolICMPv6+uint32(n), b[8:ipv6Len])
	sum = addWords(sum, message)
	if n%2 == 1 {
		sum += uint32(message[n-1]) << 8
	}
	if fold(sum) != 0 || message[0] != typeNeighborAdvertisement || message[1] != 0 {
		return Claim{}, false
	}
	target, destination := netip.AddrFrom16([16]byte(message[8:])), netip.AddrFrom16([16]byte(b[24:]))
	solicited := message[4]&flagSolicited != 0
	if target.IsMulticast() || target.IsUnspecified() || solicited && destination.IsMulticast() {
		return Claim{}, false
	}

	mac := source
	for options := message[naHeaderLen:]; len(options) > 0; {
		if len(options) < 2 {
			return Claim{}, false
		}
		size := int(options[1]) * 8
		if size == 0 || size > len(options) {
			return Claim{}, false
		}
		if options[0] == optionTargetLinkLayer {
			mac = MAC(options[2:])
		}
		options = options[size:]
	}
	return Claim{Addr: target, MAC: mac, Kind: NA, Gratuitous: !solicited}, true
}
