package netiftest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The ICMP types used (RFC 792, RFC 4443).
const (
	icmp4EchoReply   = 0
	icmp4EchoRequest = 8
	icmp6EchoRequest = 128
	icmp6EchoReply   = 129
)

// Offsets within an echo message. A reply is told from others' by a cookie and
// matched with its request by a number, both in the payload: the sequence
// number of 16 bits would wrap within minutes.
const (
	echoCookie = 8
	echoNumber = 16
	echoLen    = 24
)

// pingLinger is how long the last answers are waited for.
const pingLinger = time.Second

// A PingConfig says what to ping and how often.
type PingConfig struct {
	Target    netip.Addr
	Interval  time.Duration // 0: 10 ms
	Interface string        // only needed for a link-local target
}

// A Probe is one echo request.
type Probe struct {
	Sent     time.Time
	Answered time.Time // the kernel's time stamp of the first answer; zero if there was none
	Err      error     // why it could not be sent, if so
}

// A PingReport is what a Pinger has seen.
type PingReport struct {
	Probes   []Probe
	Answered int
	// Lost counts the probes without an answer. An answer that comes late, because
	// the request waited for an address to be resolved, is no loss; the gap shows it.
	Lost int
	// LongestGap is the longest time in which no answer arrived: between two
	// answers, before the first or after the last. Without any trouble it is about
	// the interval.
	LongestGap time.Duration
	// GapStart and GapEnd are its ends.
	GapStart, GapEnd time.Time
}

// A Pinger sends echo requests at fixed intervals.
type Pinger struct {
	cfg    PingConfig
	socket *socket
	to     unix.Sockaddr
	cookie uint64
	cancel context.CancelFunc
	wg     sync.WaitGroup // sender and receiver
	sent   chan struct{}  // closed when the sender has ended

	mu      sync.Mutex
	probes  []Probe
	arrived chan struct{} // an answer has come
}

// Ping begins to ping until ctx ends or Stop is called.
func (n *Node) Ping(ctx context.Context, cfg PingConfig) (*Pinger, error) {
	if cfg.Interval <= 0 {
		cfg.Interval = 10 * time.Millisecond
	}
	cfg.Target = cfg.Target.Unmap()
	p := &Pinger{cfg: cfg, cookie: rand.Uint64(), sent: make(chan struct{}), arrived: make(chan struct{}, 1)}
	domain, proto := unix.AF_INET, unix.IPPROTO_ICMP
	p.to = &unix.SockaddrInet4{Addr: v4(cfg.Target)}
	if cfg.Target.Is6() {
		domain, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		to := &unix.SockaddrInet6{Addr: cfg.Target.As16()}
		if cfg.Interface != "" {
			ifi, err := n.Interface(cfg.Interface)
			if err != nil {
				return nil, err
			}
			to.ZoneId = uint32(ifi.Index)
		}
		p.to = to
	} else if !cfg.Target.Is4() {
		return nil, errors.New("netiftest: nothing to ping")
	}
	var err error
	p.socket, err = n.openSocket(domain, unix.SOCK_RAW, proto, func(fd int) error {
		setReceiveBuffer(fd, 4<<20)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("time stamps: %w", err)
		}
		if domain == unix.AF_INET6 {
			var f unix.ICMPv6Filter // a set bit blocks the type
			for i := range f.Data {
				f.Data[i] = ^uint32(0)
			}
			f.Data[icmp6EchoReply/32] &^= 1 << (icmp6EchoReply % 32)
			return unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &f)
		}
		const icmpFilter = 1 // ICMP_FILTER of linux/icmp.h
		return unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, ^(1 << icmp4EchoReply))
	})
	if err != nil {
		return nil, fmt.Errorf("netiftest: pinging %v from %s: %w", cfg.Target, n.name, err)
	}
	ctx, p.cancel = context.WithCancel(ctx)
	p.wg.Go(func() { p.send(ctx) })
	p.wg.Go(p.receive)
	return p, nil
}

// send keeps to the schedule by the time it began; what it missed it leaves out.
func (p *Pinger) send(ctx context.Context) {
	defer close(p.sent)
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p.mu.Lock()
		i := len(p.probes)
		now := time.Now()
		p.probes = append(p.probes, Probe{Sent: now})
		p.mu.Unlock()
		if err := p.socket.send(p.request(uint64(i)), p.to); err != nil {
			p.mu.Lock()
			p.probes[i].Err = err
			p.mu.Unlock()
		}
		if next = next.Add(p.cfg.Interval); next.Before(now) {
			next = now.Add(p.cfg.Interval)
		}
		timer.Reset(time.Until(next))
	}
}

// request builds one echo request.
func (p *Pinger) request(number uint64) []byte {
	b := make([]byte, echoLen)
	b[0] = icmp4EchoRequest
	if p.cfg.Target.Is6() {
		b[0] = icmp6EchoRequest // the kernel adds the checksum
	}
	binary.BigEndian.PutUint16(b[4:], uint16(p.cookie))
	binary.BigEndian.PutUint16(b[6:], uint16(number))
	binary.BigEndian.PutUint64(b[echoCookie:], p.cookie)
	binary.BigEndian.PutUint64(b[echoNumber:], number)
	if p.cfg.Target.Is4() {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// receive takes answers until the socket is closed.
func (p *Pinger) receive() {
	b := make([]byte, 2048)
	oob := make([]byte, unix.CmsgSpace(64))
	for {
		n, oobn, _, err := p.socket.receive(b, oob)
		if err != nil {
			// An ICMP error is reported once and the socket goes on; a closed one does not.
			if _, transient := errors.AsType[unix.Errno](err); transient {
				continue
			}
			return
		}
		number, ok := p.answer(b[:min(n, len(b))])
		if !ok {
			continue
		}
		at, ok := stamp(oob[:oobn])
		if !ok {
			at = time.Now()
		}
		p.mu.Lock()
		if number < uint64(len(p.probes)) && p.probes[number].Answered.IsZero() {
			p.probes[number].Answered = monotonic(at)
		}
		p.mu.Unlock()
		select {
		case p.arrived <- struct{}{}:
		default:
		}
	}
}

// answer returns the number of the probe that a datagram answers.
func (p *Pinger) answer(b []byte) (uint64, bool) {
	reply := byte(icmp6EchoReply)
	if p.cfg.Target.Is4() {
		// A raw IPv4 socket gives the IP header too.
		if len(b) < 20 || len(b) < int(b[0]&0xf)*4 {
			return 0, false
		}
		b = b[int(b[0]&0xf)*4:]
		reply = icmp4EchoReply
	}
	if len(b) < echoLen || b[0] != reply || binary.BigEndian.Uint64(b[echoCookie:]) != p.cookie {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[echoNumber:]), true
}

// Report returns what has been seen up to now. The newest probes may still be
// answered.
func (p *Pinger) Report() PingReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return report(slices.Clone(p.probes))
}

// Stop ends the pinging, waits a little for the last answers, and reports.
func (p *Pinger) Stop() PingReport {
	p.cancel()
	<-p.sent
	linger := time.NewTimer(pingLinger)
	defer linger.Stop()
wait:
	for !p.lastAnswered() {
		select {
		case <-p.arrived:
		case <-linger.C:
			break wait
		}
	}
	_ = p.socket.close()
	p.wg.Wait()
	return p.Report()
}

// lastAnswered reports whether there is no answer left to wait for.
func (p *Pinger) lastAnswered() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Now().Add(-pingLinger)
	for _, probe := range slices.Backward(p.probes) {
		if probe.Sent.Before(since) {
			break
		}
		if probe.Answered.IsZero() && probe.Err == nil {
			return false
		}
	}
	return true
}

// report sums up probes.
func report(probes []Probe) PingReport {
	r := PingReport{Probes: probes}
	if len(probes) == 0 {
		return r
	}
	var answers []time.Time
	for _, p := range probes {
		if p.Answered.IsZero() {
			r.Lost++
			continue
		}
		r.Answered++
		answers = append(answers, p.Answered)
	}
	slices.SortFunc(answers, time.Time.Compare)
	last := probes[0].Sent
	gap := func(to time.Time) {
		if d := to.Sub(last); d > r.LongestGap {
			r.LongestGap, r.GapStart, r.GapEnd = d, last, to
		}
		last = to
	}
	for _, a := range answers {
		gap(a)
	}
	gap(probes[len(probes)-1].Sent)
	return r
}

// checksum returns the Internet checksum (RFC 1071) of an even number of octets.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// v4 returns the octets of an IPv4 address, zeros for any other.
func v4(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}
