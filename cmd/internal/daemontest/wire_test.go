package daemontest

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd
)

// A wire is what an interface hears.
type wire struct {
	t *testing.T
	*netiftest.Capture
}

func (s *segment) listen(n *netiftest.Node, ifname string) *wire {
	s.t.Helper()
	c, err := n.Capture(ifname)
	check(s.t, err)
	return &wire{s.t, c}
}

// An advert is an advertisement as it was on the wire.
type advert struct {
	at       time.Time
	src, dst netip.Addr
	ttl      int
	vrrp.Advertisement
}

// parseAdvert returns the advertisement in a frame.
func parseAdvert(f netiftest.Frame) (advert, bool) {
	a := advert{at: f.At}
	b := f.Data
	if len(b) < 14 {
		return a, false
	}
	family := vrrp.IPv4
	switch b = b[14:]; {
	case f.EtherType() == etherTypeIPv4 && len(b) >= 20 && b[9] == vrrp.Protocol:
		header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
		if header > total || total > len(b) {
			return a, false
		}
		a.src, a.dst, a.ttl = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), int(b[8])
		b = b[header:total]
	case f.EtherType() == etherTypeIPv6 && len(b) >= 40 && b[6] == vrrp.Protocol:
		family = vrrp.IPv6
		a.src, a.dst, a.ttl = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), int(b[7])
		b = b[40:]
	default:
		return a, false
	}
	var err error
	a.Advertisement, err = vrrp.ParseAdvertisement(b, family)
	return a, err == nil
}

// adverts returns the advertisements that are wanted, in order.
func (w *wire) adverts(wanted func(advert) bool) []advert {
	var list []advert
	for _, f := range w.Frames() {
		if a, ok := parseAdvert(f); ok && wanted(a) {
			list = append(list, a)
		}
	}
	return list
}

// advert waits for the first advertisement that is wanted.
func (w *wire) advert(what string, wanted func(advert) bool) advert {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	f, err := w.Wait(ctx, func(f netiftest.Frame) bool {
		a, ok := parseAdvert(f)
		return ok && wanted(a)
	})
	if err != nil {
		w.t.Fatalf("no advertisement %s: %v", what, err)
	}
	a, _ := parseAdvert(f)
	return a
}

// from selects the advertisements of a router that were sent after a time.
func from(src string, after time.Time) func(advert) bool {
	return func(a advert) bool { return a.src == addr(src) && a.at.After(after) }
}

// stops selects those of priority 0.
func stops(src string, after time.Time) func(advert) bool {
	return func(a advert) bool { return from(src, after)(a) && a.Priority == vrrp.PriorityStop }
}

// An announcement is a gratuitous ARP or an unsolicited neighbour
// advertisement.
type announcement struct {
	at       time.Time
	ip       netip.Addr
	mac      net.HardwareAddr
	ethernet net.HardwareAddr // who sent the frame
}

func parseAnnouncement(f netiftest.Frame) (announcement, bool) {
	a := announcement{at: f.At}
	b := f.Data
	if len(b) < 14 {
		return a, false
	}
	a.ethernet = b[6:12]
	switch b = b[14:]; {
	case f.EtherType() == etherTypeARP && len(b) >= 28 && bytes.Equal(b[14:18], b[24:28]):
		a.ip, a.mac = netip.AddrFrom4([4]byte(b[14:])), b[8:14]
		return a, true
	case f.EtherType() == etherTypeIPv6 && len(b) >= 72 && b[6] == 58 && b[40] == 136 && b[64] == 2:
		a.ip, a.mac = netip.AddrFrom16([16]byte(b[48:])), b[66:72]
		return a, netip.AddrFrom16([16]byte(b[24:])) == addr("ff02::1")
	}
	return a, false
}

// announcements returns those of an address after a time, in order.
func (w *wire) announcements(ip string, after time.Time) []announcement {
	var list []announcement
	for _, f := range w.Frames() {
		if a, ok := parseAnnouncement(f); ok && a.ip == addr(ip) && a.at.After(after) {
			list = append(list, a)
		}
	}
	return list
}

// announcement waits for the first announcement of an address after a time.
func (w *wire) announcement(ip string, after time.Time) announcement {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	f, err := w.Wait(ctx, func(f netiftest.Frame) bool {
		a, ok := parseAnnouncement(f)
		return ok && a.ip == addr(ip) && a.at.After(after)
	})
	if err != nil {
		w.t.Fatalf("no announcement of %s: %v", ip, err)
	}
	a, _ := parseAnnouncement(f)
	return a
}

// A packet is an IPv4 packet to be injected.
type packet struct {
	src, dst netip.Addr
	ttl      uint8
	total    int // total length in the header; 0: what it is
	payload  []byte
}

// groupMAC is the Ethernet address of 224.0.0.18.
var groupMAC = [6]byte{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}

// frame returns the whole Ethernet frame.
func (p packet) frame() []byte {
	b := append(make([]byte, 0, 14+20+len(p.payload)), groupMAC[:]...)
	b = append(b, 2, 0, 0, 0, 0xff, 1)
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
	total := p.total
	if total == 0 {
		total = 20 + len(p.payload)
	}
	h := make([]byte, 20)
	h[0], h[1], h[8], h[9] = 0x45, 0xc0, p.ttl, vrrp.Protocol
	binary.BigEndian.PutUint16(h[2:], uint16(total))
	copy(h[12:], p.src.AsSlice())
	copy(h[16:], p.dst.AsSlice())
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
	return append(append(b, h...), p.payload...)
}

// encode returns the octets of an advertisement to the group.
func encode(t *testing.T, a vrrp.Advertisement, src netip.Addr) []byte {
	t.Helper()
	b, err := a.AppendTo(nil, src, vrrp.IPv4.Group(), vrrp.ChecksumPseudoHeader)
	check(t, err)
	return b
}

// say sends an advertisement from src to the group.
func say(t *testing.T, i *netiftest.Injector, src string, a vrrp.Advertisement) {
	t.Helper()
	check(t, i.Send(packet{src: addr(src), dst: vrrp.IPv4.Group(), ttl: vrrp.HopLimit, payload: encode(t, a, addr(src))}.frame()))
}

// injector opens the host for sending frames.
func (s *segment) injector() *netiftest.Injector {
	s.t.Helper()
	i, err := s.host.Injector("eth0")
	check(s.t, err)
	s.t.Cleanup(func() { _ = i.Close() })
	return i
}
