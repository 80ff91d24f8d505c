package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// Offsets in Ethernet, IPv4 and ARP.
const (
	etherLen  = 14
	ipv4Len   = 20
	arpLen    = 28
	typeIPv4  = 0x0800
	typeARP   = 0x0806
	arpSender = etherLen + 14
	arpTarget = etherLen + 24
)

// A kind is what a frame of interest is.
type kind uint8

// The kinds of frames.
const (
	_ kind = iota
	advert
	announcement // gratuitous ARP
)

// A sighting is a frame of interest as the client received it.
type sighting struct {
	at       time.Time
	kind     kind
	from     [6]byte // Ethernet source
	network  int     // which of the segments
	vrid     uint8
	priority uint8
	address  netip.Addr // the source of an advert, what an announcement announces
}

// sight decodes a frame; most frames are not of interest.
func sight(f netiftest.Frame, network int) (sighting, bool) {
	b := f.Data
	s := sighting{at: f.At, network: network}
	if len(b) < etherLen {
		return s, false
	}
	copy(s.from[:], b[6:12])
	switch f.EtherType() {
	case typeIPv4:
		if len(b) < etherLen+ipv4Len || b[etherLen+9] != vrrp.Protocol {
			return s, false
		}
		header := int(b[etherLen]&0xf) * 4
		if header < ipv4Len || len(b) < etherLen+header {
			return s, false
		}
		adv, err := vrrp.ParseAdvertisement(b[etherLen+header:min(len(b), etherLen+int(binary.BigEndian.Uint16(b[etherLen+2:])))], vrrp.IPv4)
		if err != nil {
			return s, false
		}
		s.kind, s.vrid, s.priority = advert, adv.VRID, adv.Priority
		s.address = netip.AddrFrom4([4]byte(b[etherLen+12:]))
		return s, true
	case typeARP:
		if len(b) < etherLen+arpLen || [4]byte(b[arpSender:]) != [4]byte(b[arpTarget:]) {
			return s, false
		}
		s.kind = announcement
		s.address = netip.AddrFrom4([4]byte(b[arpSender:]))
		return s, true
	}
	return s, false
}

// advertFrame returns a whole frame with an advertisement to the group.
func advertFrame(mac [6]byte, src netip.Addr, adv *vrrp.Advertisement) ([]byte, error) {
	dst := vrrp.IPv4.Group()
	octets := dst.As4()
	b := make([]byte, 0, etherLen+ipv4Len+8+4*len(adv.Addrs))
	// RFC 1112 §6.4: the group's lower 23 bits.
	b = append(b, 0x01, 0x00, 0x5e, octets[1]&0x7f, octets[2], octets[3])
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, typeIPv4)
	b = append(b, 0x45, 0xc0)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4Len+8+4*len(adv.Addrs)))
	b = append(b, 0, 1, 0, 0, vrrp.HopLimit, vrrp.Protocol, 0, 0)
	from := src.As4()
	b = append(b, from[:]...)
	b = append(b, octets[:]...)
	binary.BigEndian.PutUint16(b[etherLen+10:], ^onesSum(b[etherLen:]))
	b, err := adv.AppendTo(b, src, dst, vrrp.ChecksumPseudoHeader)
	if err != nil {
		return nil, fmt.Errorf("building an advertisement: %w", err)
	}
	return b, nil
}

// onesSum returns the ones' complement sum (RFC 1071) of an even number of octets.
func onesSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
