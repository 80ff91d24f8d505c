package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// pingInterval is how exactly the client's gaps are known.
const pingInterval = 10 * time.Millisecond

// A client pings all virtual addresses, and records what passes its interface.
type client struct {
	node    *netiftest.Node
	routers [2][6]byte // by hardware address
	wire    *netiftest.Capture
	pings   []*netiftest.Pinger
	heard   []netiftest.PingReport // when it has stopped
	adverts []advert
	talks   []talk
}

// An advert is an advertisement that reached the client.
type advert struct {
	at     time.Time
	router int
	vrid   uint8
}

// A talk is a ping on its way to a router.
type talk struct {
	at     time.Time
	vip    int
	router int // -1 for neither
}

// listen begins to record. The pings come later, so that nobody asks for an
// address that is not there yet.
func (c *client) listen() (err error) {
	c.wire, err = c.node.Capture("eth0")
	return err
}

// begin begins to ping.
func (c *client) begin(ctx context.Context) error {
	for _, v := range vips {
		p, err := c.node.Ping(ctx, netiftest.PingConfig{Target: v.Addr(), Interval: pingInterval})
		if err != nil {
			return err
		}
		c.pings = append(c.pings, p)
	}
	return nil
}

// content reports whether all addresses have answered of late.
func (c *client) content() bool {
	const late = 20 // pings
	return !slices.ContainsFunc(c.pings, func(p *netiftest.Pinger) bool {
		probes := p.Report().Probes
		probes = probes[:max(0, len(probes)-2)] // may still be answered
		return len(probes) < late || slices.ContainsFunc(probes[len(probes)-late:], func(p netiftest.Probe) bool { return p.Answered.IsZero() })
	})
}

// stop ends everything.
func (c *client) stop() error {
	for _, p := range c.pings {
		c.heard = append(c.heard, p.Stop())
	}
	c.pings = nil
	if c.wire == nil {
		return nil
	}
	frames, err := c.wire.Stop()
	c.wire = nil
	c.adverts, c.talks = c.decode(frames)
	return err
}

// seen returns the advertisements that have reached the client by now.
func (c *client) seen() []advert {
	adverts, _ := c.decode(c.wire.Frames())
	return adverts
}

func (c *client) decode(frames []netiftest.Frame) (adverts []advert, talks []talk) {
	for _, f := range frames {
		if a, ok := c.advert(f); ok {
			adverts = append(adverts, a)
		} else if t, ok := c.talk(f); ok {
			talks = append(talks, t)
		}
	}
	return adverts, talks
}

// Lengths and numbers of Ethernet, IPv4, IPv6 and ICMP.
const (
	etherLen = 14
	ipv4Len  = 20
	ipv6Len  = 40

	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd

	icmp4, echo4 = 1, 8
	icmp6, echo6 = 58, 128
)

// payload returns the protocol, the destination and what follows the IP header.
func payload(f netiftest.Frame) (protocol byte, dst netip.Addr, rest []byte) {
	b := f.Data
	switch f.EtherType() {
	case typeIPv4:
		if len(b) < etherLen+ipv4Len {
			return 0, dst, nil
		}
		header := int(b[etherLen]&0xf) * 4
		if header < ipv4Len || len(b) < etherLen+header {
			return 0, dst, nil
		}
		return b[etherLen+9], netip.AddrFrom4([4]byte(b[etherLen+16:])), b[etherLen+header:]
	case typeIPv6:
		if len(b) < etherLen+ipv6Len {
			return 0, dst, nil
		}
		return b[etherLen+6], netip.AddrFrom16([16]byte(b[etherLen+24:])), b[etherLen+ipv6Len:]
	}
	return 0, dst, nil
}

// advert decodes an advertisement of one of the routers.
func (c *client) advert(f netiftest.Frame) (advert, bool) {
	protocol, _, b := payload(f)
	if f.Outgoing || protocol != vrrp.Protocol || len(b) < 2 {
		return advert{}, false
	}
	router := slices.Index(c.routers[:], [6]byte(f.Data[6:]))
	return advert{f.At, router, b[1]}, router >= 0
}

// talk decodes a ping of the client.
func (c *client) talk(f netiftest.Frame) (talk, bool) {
	protocol, dst, b := payload(f)
	if !f.Outgoing || len(b) == 0 || (protocol != icmp4 || b[0] != echo4) && (protocol != icmp6 || b[0] != echo6) {
		return talk{}, false
	}
	vip := slices.IndexFunc(vips, func(p netip.Prefix) bool { return p.Addr() == dst })
	return talk{f.At, vip, slices.Index(c.routers[:], [6]byte(f.Data))}, vip >= 0
}

// lost returns how many of the pings sent between two moments were not answered,
// and the longest time without an answer among them: those of the address that
// was worst off.
func (c *client) lost(from, to time.Time) (lost int, gap time.Duration) {
	for _, r := range c.heard {
		n := 0
		answers := []time.Time{from, to}
		for _, p := range r.Probes {
			switch {
			case p.Sent.Before(from) || p.Sent.After(to):
			case p.Answered.IsZero():
				n++
			default:
				answers = append(answers, p.Answered)
			}
		}
		slices.SortFunc(answers, time.Time.Compare)
		for i := range answers[1:] {
			gap = max(gap, answers[i+1].Sub(answers[i]))
		}
		lost = max(lost, n)
	}
	return lost, gap
}

// talksTo returns which routers the last ping to each address before a moment
// went to.
func (c *client) talksTo(at time.Time) set {
	last := make(map[int]int)
	for _, t := range c.talks {
		if t.at.After(at) {
			break
		}
		last[t.vip] = t.router
	}
	var s set
	for _, r := range last {
		if r >= 0 {
			s |= 1 << r
		}
	}
	return s
}

// crossed returns when, after a moment, the first advertisement of an instance
// reached the client, and whose that was.
func (c *client) crossed(vrid uint8, after time.Time) (advert, bool) {
	i := slices.IndexFunc(c.adverts, func(a advert) bool { return a.vrid == vrid && a.at.After(after) })
	if i < 0 {
		return advert{}, false
	}
	return c.adverts[i], true
}

// misled returns for how long after a heal the client talked to another router
// than the winner: from the first advertisement of the instance that crossed to
// the last ping that went astray, for the address that was worst off. first is
// whose advertisements those were.
func (c *client) misled(winner int, healed, to time.Time) (wrong time.Duration, first set) {
	for v, p := range vips {
		i := slices.IndexFunc(instances, func(i instance) bool { return slices.Contains(i.vips, p) })
		a, ok := c.crossed(instances[i].vrid, healed)
		if !ok {
			continue
		}
		first |= 1 << a.router
		for _, t := range c.talks {
			if t.vip == v && t.router != winner && t.at.After(a.at) && !t.at.After(to) {
				wrong = max(wrong, t.at.Sub(a.at))
			}
		}
	}
	return wrong, first
}

// story tells which pings were lost and when the client turned to another router.
func (c *client) story(since time.Time) string {
	var b strings.Builder
	for vip, r := range c.heard {
		for _, p := range r.Probes {
			if p.Answered.IsZero() {
				fmt.Fprintf(&b, "%+9.3fs %v: a ping was lost\n", p.Sent.Sub(since).Seconds(), vips[vip].Addr())
			}
		}
	}
	last := make(map[int]int)
	for _, t := range c.talks {
		if was, known := last[t.vip]; known && was == t.router {
			continue
		}
		last[t.vip] = t.router
		name := "somebody else"
		if t.router >= 0 {
			name = routerNames[t.router]
		}
		fmt.Fprintf(&b, "%+9.3fs %v: the client talks to %s\n", t.at.Sub(since).Seconds(), vips[t.vip].Addr(), name)
	}
	return b.String()
}
