package interop

import (
	"encoding/binary"
	"net/netip"
	"time"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// An advert is an advertisement on the wire.
type advert struct {
	vrrp.Advertisement
	at       time.Time
	outgoing bool // sent by the node that captured it
	src, dst netip.Addr
	pdu      []byte
}

// adverts returns the advertisements among captured frames from a time on.
func adverts(frames []netiftest.Frame, since time.Time) []advert {
	var list []advert
	for _, f := range frames {
		if f.At.Before(since) {
			continue
		}
		if a, ok := parseAdvert(f); ok {
			list = append(list, a)
		}
	}
	return list
}

func parseAdvert(f netiftest.Frame) (advert, bool) {
	const ethernet, v4, v6 = 14, 20, 40
	a := advert{at: f.At, outgoing: f.Outgoing}
	if len(f.Data) < ethernet {
		return a, false
	}
	family := vrrp.IPv4
	switch ip := f.Data[ethernet:]; {
	case f.EtherType() == 0x0800 && len(ip) >= v4 && ip[9] == vrrp.Protocol:
		a.src, a.dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		header, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if header < v4 || total < header || len(ip) < total {
			return a, false
		}
		a.pdu = ip[header:total]
	case f.EtherType() == 0x86dd && len(ip) >= v6 && ip[6] == vrrp.Protocol:
		family = vrrp.IPv6
		a.src, a.dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		length := int(binary.BigEndian.Uint16(ip[4:]))
		if len(ip) < v6+length {
			return a, false
		}
		a.pdu = ip[v6 : v6+length]
	default:
		return a, false
	}
	var err error
	a.Advertisement, err = vrrp.ParseAdvertisement(a.pdu, family)
	return a, err == nil
}
