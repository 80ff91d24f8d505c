// Package ping is the client of the VLAN lab: it pings addresses at fixed intervals
// through the kernel's own neighbour cache, and says when no answer came.
package ping

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// linger is how long the last answers are waited for.
const linger = time.Second

// The payload of an echo: whose it is, which address it went to, and its number. The
// sequence number of 16 bits would be used twice within a run.
const (
	cookieLen  = 8
	addressLen = 4
	payloadLen = cookieLen + addressLen + 8
)

// The protocol numbers under which messages are parsed.
const (
	protoICMP  = 1
	protoICMP6 = 58
)

// A Pinger has the sockets that pings go through: those of an administrator, which
// hear all answers of their family.
type Pinger struct {
	addrs  []netip.Addr
	cookie uint64
	four   *icmp.PacketConn // nil without addresses of the family
	six    *icmp.PacketConn

	mu    sync.Mutex
	began time.Time
	late  time.Duration
	pings [][]ping // by address
}

// A ping is one echo request. Times are counted from the beginning.
type ping struct {
	sent, answered time.Duration // answered is 0 if it was not
}

// Open makes the sockets in the present network namespace.
func Open(addrs []netip.Addr) (*Pinger, error) {
	if len(addrs) == 0 {
		return nil, errors.New("ping: no address")
	}
	p := &Pinger{addrs: addrs, cookie: rand.Uint64(), pings: make([][]ping, len(addrs))}
	var err error
	for _, a := range addrs {
		switch {
		case err != nil:
		case a.Is4() && p.four == nil:
			if p.four, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0"); err != nil {
				break
			}
			var f ipv4.ICMPFilter
			f.SetAll(true)
			f.Accept(ipv4.ICMPTypeEchoReply)
			err = p.four.IPv4PacketConn().SetICMPFilter(&f)
		case a.Is6() && p.six == nil:
			if p.six, err = icmp.ListenPacket("ip6:ipv6-icmp", "::"); err != nil {
				break
			}
			var f ipv6.ICMPFilter
			f.SetAll(true)
			f.Accept(ipv6.ICMPTypeEchoReply)
			err = p.six.IPv6PacketConn().SetICMPFilter(&f)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ping: opening a socket: %w", err), p.Close())
	}
	return p, nil
}

// Close closes the sockets.
func (p *Pinger) Close() error {
	var errs []error
	for _, c := range []*icmp.PacketConn{p.four, p.six} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Run pings all addresses until ctx ends, waits a little for the last answers, and
// reports. A Pinger runs once.
func (p *Pinger) Run(ctx context.Context, interval time.Duration) Report {
	p.began = time.Now()
	var wg sync.WaitGroup
	for _, c := range []*icmp.PacketConn{p.four, p.six} {
		if c != nil {
			wg.Go(func() { p.receive(c) })
		}
	}
	p.send(ctx, interval)
	ended := time.Since(p.began)
	for _, c := range []*icmp.PacketConn{p.four, p.six} {
		if c != nil {
			_ = c.SetReadDeadline(time.Now().Add(linger))
		}
	}
	wg.Wait()
	r := Report{Began: p.began, Lasted: ended.Seconds(), Late: p.late.Seconds()}
	for i, a := range p.addrs {
		r.Addresses = append(r.Addresses, measure(a, p.pings[i], ended, interval))
	}
	return r
}

// send keeps to the schedule by the time it began; what it missed it leaves out.
func (p *Pinger) send(ctx context.Context, interval time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := p.began; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p.late = max(p.late, time.Since(next))
		for i := range p.addrs {
			p.request(i)
		}
		if next = next.Add(interval); time.Until(next) < 0 {
			next = time.Now()
		}
		timer.Reset(time.Until(next))
	}
}

// request sends one ping. One that cannot be sent, because the address has no owner
// that the kernel finds, is not answered.
func (p *Pinger) request(i int) {
	p.mu.Lock()
	number := len(p.pings[i])
	p.pings[i] = append(p.pings[i], ping{sent: time.Since(p.began)})
	p.mu.Unlock()
	data := binary.BigEndian.AppendUint64(make([]byte, 0, payloadLen), p.cookie)
	data = binary.BigEndian.AppendUint32(data, uint32(i))
	data = binary.BigEndian.AppendUint64(data, uint64(number))
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(p.cookie & 0xffff), Seq: number & 0xffff, Data: data}}
	conn := p.four
	if p.addrs[i].Is6() {
		m.Type, conn = ipv6.ICMPTypeEchoRequest, p.six // the kernel adds the checksum
	}
	b, err := m.Marshal(nil)
	if err != nil {
		return // an echo can be marshalled
	}
	_, _ = conn.WriteTo(b, &net.IPAddr{IP: p.addrs[i].AsSlice()})
}

// receive takes answers until the deadline that Run sets.
func (p *Pinger) receive(c *icmp.PacketConn) {
	protocol := protoICMP
	if c == p.six {
		protocol = protoICMP6
	}
	b := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(b)
		at := time.Since(p.began)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.answer(protocol, b[:n], at)
		}
	}
}

// answer notes an answer, if that is what the octets are.
func (p *Pinger) answer(protocol int, b []byte, at time.Duration) {
	m, err := icmp.ParseMessage(protocol, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
		return
	}
	echo, ok := m.Body.(*icmp.Echo)
	if !ok || len(echo.Data) != payloadLen || binary.BigEndian.Uint64(echo.Data) != p.cookie {
		return
	}
	i := binary.BigEndian.Uint32(echo.Data[cookieLen:])
	number := binary.BigEndian.Uint64(echo.Data[cookieLen+addressLen:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(i) >= len(p.pings) || number >= uint64(len(p.pings[i])) {
		return
	}
	if one := &p.pings[i][number]; one.answered == 0 {
		one.answered = at
	}
}
