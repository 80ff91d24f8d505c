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
// in two; and it can do something else on every link. Its time is the runtime's,
// so that in a bubble of testing/synctest it is virtual, unless it was given a
// [Clock] of its own.
//
// A LAN is safe for concurrent use.
type LAN struct {
	clock Clock
	mu    sync.Mutex
	rng   *rand.Rand
	ports []*Port
	delay time.Duration
	loss  float64
	side  map[*Port]int
	links map[route]Link
}

// A Clock is the time of a LAN.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once d has passed.
	AfterFunc(d time.Duration, f func())
}

// runtimeClock is the clock of the runtime.
type runtimeClock struct{}

func (runtimeClock) Now() time.Time                      { return time.Now() }
func (runtimeClock) AfterFunc(d time.Duration, f func()) { time.AfterFunc(d, f) }

// A Link is what becomes of everything that travels from one port to another.
// The other direction is a link of its own. The zero value is a perfect one.
type Link struct {
	// Cut lets nothing through.
	Cut bool
	// Loss and Duplicate are probabilities, 0 to 1, for each datagram.
	Loss, Duplicate float64
	// Delay is how long everything travels, and Jitter by how much longer at
	// most: what was sent later may then arrive earlier.
	Delay, Jitter time.Duration
}

// route names a link.
type route struct{ from, to *Port }

// NewLAN returns a LAN without delay, loss or partition. The seed decides which
// datagrams are lost once loss is asked for.
func NewLAN(seed uint64) *LAN { return NewLANWithClock(seed, runtimeClock{}) }

// NewLANWithClock is NewLAN with another time than the runtime's. If the clock
// calls one function after the other, what happens on the LAN is decided by the
// seed alone.
func NewLANWithClock(seed uint64, clock Clock) *LAN {
	return &LAN{clock: clock, rng: rand.New(rand.NewPCG(seed, 0)), side: make(map[*Port]int), links: make(map[route]Link)}
}

// SetLink gives a link its own delay and loss, in place of the LAN's. A partition
// applies all the same.
func (l *LAN) SetLink(from, to *Port, link Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.links[route{from, to}] = link
}

// Carry has f called when something that one port sends to another now arrives:
// never if it is lost, and twice if it is duplicated. It is for what has no
// datagrams, such as ARP.
func (l *LAN) Carry(from, to *Port, f func()) {
	l.mu.Lock()
	var now int
	l.travel(from, to, f, &now)
	l.mu.Unlock()
	for range now {
		f()
	}
}

// travel has f called when something arrives. What arrives at once is only
// counted.
func (l *LAN) travel(from, to *Port, f func(), now *int) {
	if from != nil && l.side[from] != l.side[to] {
		return
	}
	link, ok := l.links[route{from, to}]
	if !ok {
		link = Link{Loss: l.loss, Delay: l.delay}
	}
	if link.Cut || link.Loss > 0 && l.rng.Float64() < link.Loss {
		return
	}
	times := 1
	if link.Duplicate > 0 && l.rng.Float64() < link.Duplicate {
		times++
	}
	for range times {
		d := link.Delay
		if link.Jitter > 0 {
			d += time.Duration(l.rng.Int64N(int64(link.Jitter) + 1))
		}
		if d > 0 {
			l.clock.AfterFunc(d, f)
		} else {
			*now++
		}
	}
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
	told  func()
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

// Notify has f called whenever something has arrived, in place of waiting for it.
// f must not receive or send by itself.
func (p *Port) Notify(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = f
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
		var now int
		l.travel(from, to, func() { to.arrive(d) }, &now)
		for range now {
			to.arrive(d)
		}
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
	d.At = p.lan.clock.Now()
	p.queue = append(p.queue, d)
	if p.told != nil {
		p.told()
		return
	}
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
