// Package vrrptest helps to test virtual routers: an in-memory LAN on which
// real octets travel, and a printer of what a machine does, for golden files.
package vrrptest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// A LAN carries datagrams between its ports, to a multicast group or to one
// address, as a switched network does. It can delay them, lose them, and be cut
// in two. All of its time is the runtime's, so that in a bubble of
// testing/synctest it is virtual.
//
// A LAN is safe for concurrent use.
type LAN struct {
	mu    sync.Mutex
	rng   *rand.Rand
	ports []*Port
	delay time.Duration
	loss  float64
	side  map[*Port]int
}

// NewLAN returns a LAN without delay, loss or partition. The seed decides which
// datagrams are lost once loss is asked for.
func NewLAN(seed uint64) *LAN {
	return &LAN{rng: rand.New(rand.NewPCG(seed, 0)), side: make(map[*Port]int)}
}

// SetDelay sets how long every datagram travels.
func (l *LAN) SetDelay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// SetLoss sets the probability, 0 to 1, with which each datagram is lost on its
// way to each receiver.
func (l *LAN) SetLoss(p float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loss = p
}

// Partition separates the given ports from all others.
func (l *LAN) Partition(ports ...*Port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.side)
	for _, p := range ports {
		l.side[p] = 1
	}
}

// Heal ends a partition.
func (l *LAN) Heal() { l.Partition() }

// Port connects a router that sends from addr.
func (l *LAN) Port(addr netip.Addr) *Port {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &Port{lan: l, addr: addr, signal: make(chan struct{}, 1), closed: make(chan struct{})}
	l.ports = append(l.ports, p)
	return p
}

// A Port is a router's socket on a LAN. Its methods are those of
// [vrrpconn.Conn].
type Port struct {
	lan    *LAN
	addr   netip.Addr
	signal chan struct{}
	closed chan struct{}

	mu    sync.Mutex
	queue []vrrpconn.Datagram
	drops uint64
	gone  bool
}

// queueLimit is how many datagrams a port holds before it drops, as a socket
// with its buffer full does.
const queueLimit = 4096

// Wait blocks until something can be received or the port is closed.
func (p *Port) Wait() error {
	for {
		p.mu.Lock()
		n, gone := len(p.queue), p.gone
		p.mu.Unlock()
		if gone {
			return net.ErrClosed
		}
		if n > 0 {
			return nil
		}
		select {
		case <-p.signal:
		case <-p.closed:
		}
	}
}

// Recv fills ds with what has arrived and never blocks.
func (p *Port) Recv(ds []vrrpconn.Datagram) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return 0, net.ErrClosed
	}
	n := copy(ds, p.queue)
	p.queue = append(p.queue[:0], p.queue[n:]...)
	return n, nil
}

// Send puts messages on the LAN.
func (p *Port) Send(ms []vrrpconn.Message) (int, error) {
	p.lan.mu.Lock()
	defer p.lan.mu.Unlock()
	p.mu.Lock()
	gone := p.gone
	p.mu.Unlock()
	if gone {
		return 0, net.ErrClosed
	}
	for _, m := range ms {
		d := vrrpconn.Datagram{Src: m.Src, Dst: m.Dst, TTL: m.TTL, Payload: append([]byte(nil), m.Payload...)}
		if vrrp.FamilyOf(m.Dst) == vrrp.IPv4 {
			d.HeaderLen, d.TotalLen = 20, 20+len(d.Payload)
		}
		p.lan.deliver(p, d)
	}
	return len(ms), nil
}

// Inject puts a datagram on the LAN as if it came from elsewhere.
func (l *LAN) Inject(d vrrpconn.Datagram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deliver(nil, d)
}

// deliver sends a datagram on its way to everyone it is for.
func (l *LAN) deliver(from *Port, d vrrpconn.Datagram) {
	for _, to := range l.ports {
		if to == from || !d.Dst.IsMulticast() && d.Dst != to.addr {
			continue
		}
		if from != nil && l.side[from] != l.side[to] || l.loss > 0 && l.rng.Float64() < l.loss {
			continue
		}
		if l.delay > 0 {
			time.AfterFunc(l.delay, func() { to.arrive(d) })
			continue
		}
		to.arrive(d)
	}
}

func (p *Port) arrive(d vrrpconn.Datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	if len(p.queue) >= queueLimit {
		p.drops++
		return
	}
	d.At = time.Now()
	p.queue = append(p.queue, d)
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// Drops returns how many datagrams found the queue full.
func (p *Port) Drops() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drops
}

// Close disconnects the port, as pulling the cable does.
func (p *Port) Close() error {
	p.lan.mu.Lock()
	for i, q := range p.lan.ports {
		if q == p {
			p.lan.ports = append(p.lan.ports[:i:i], p.lan.ports[i+1:]...)
			break
		}
	}
	p.lan.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		p.gone = true
		close(p.closed)
	}
	return nil
}
