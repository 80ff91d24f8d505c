package fabric

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// maxFrame is the longest datagram that is read.
	maxFrame = 1 << 16
	// queueLen is how many frames wait for a machine that does not take them, as many
	// as the ring of an ordinary network card holds. What comes on top is lost.
	queueLen = 256
	// patience is how long one frame is kept for a machine that stands still, before
	// it is looked whether the machine is still the same.
	patience = time.Second
)

// A Direction is one of the two ways through a port.
type Direction uint8

// The directions, as the switch sees them.
const (
	In   Direction = 1 << iota // from the machine into the switch
	Out                        // from the switch to the machine
	Both = In | Out
)

// A Switch passes frames between its ports. Every port is a trunk: frames keep their
// tags, and those without one are in a VLAN of their own.
type Switch struct {
	dir string

	mu      sync.Mutex
	ports   []*Port
	table   map[station]*Port
	deaf    map[[2]*Port]bool // who does not hear whom
	capture *Capture
	prober  *Prober
	closed  bool
	wg      sync.WaitGroup
}

// A station is where a hardware address was seen. What was learnt is not forgotten:
// a run is shorter than the five minutes after which others do.
type station struct {
	vlan uint16
	mac  mac
}

// A Port is where a machine is plugged in.
type Port struct {
	// Name is that of the machine.
	Name string
	// Machine is the socket on which QEMU listens, and Switch the one it sends to.
	Machine, Switch string

	sw  *Switch
	in  *net.UnixConn
	out chan []byte

	// With the lock of the switch.
	dead bool
	cuts map[uint16]Direction
	lost int // frames for which there was no room
}

// New returns a switch without ports. Its sockets are made in a directory whose path
// must be short, as those of sockets may have no more than 107 octets.
func New(dir string) *Switch {
	return &Switch{dir: dir, table: make(map[station]*Port), deaf: make(map[[2]*Port]bool)}
}

// Port makes a port.
func (s *Switch) Port(name string) (*Port, error) {
	p := &Port{
		Name:    name,
		Machine: filepath.Join(s.dir, name+".machine"),
		Switch:  filepath.Join(s.dir, name+".switch"),
		sw:      s,
		out:     make(chan []byte, queueLen),
		cuts:    make(map[uint16]Direction),
	}
	var err error
	if p.in, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: p.Switch, Net: "unixgram"}); err != nil {
		return nil, fmt.Errorf("fabric: making a port for %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(errors.New("fabric: the switch is closed"), p.in.Close(), os.Remove(p.Switch))
	}
	s.ports = append(s.ports, p)
	s.wg.Go(p.read)
	s.wg.Go(p.write)
	return p, nil
}

// Close removes all ports.
func (s *Switch) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	prober := s.prober
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.in.Close(), os.Remove(p.Switch))
		close(p.out)
	}
	s.mu.Unlock()
	if prober != nil {
		prober.Stop()
	}
	s.wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("fabric: closing: %w", err)
	}
	return nil
}

// read takes frames from the machine until the port is closed.
func (p *Port) read() {
	b := make([]byte, maxFrame)
	for {
		n, err := p.in.Read(b)
		if err != nil {
			return // nothing but Close ends a socket on which others send
		}
		p.sw.forward(p, slices.Clone(b[:n]), time.Now())
	}
}

// write gives frames to the machine until the port is closed. A machine that was
// switched on again has another socket with the same name.
func (p *Port) write() {
	var conn *net.UnixConn
	drop := func() {
		if conn != nil {
			_ = conn.Close()
			conn = nil
		}
	}
	defer drop()
	for frame := range p.out {
		if conn == nil {
			var err error
			if conn, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: p.Machine, Net: "unixgram"}); err != nil {
				conn = nil
				continue // it is switched off
			}
		}
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := conn.Write(frame); err != nil {
			drop()
		}
	}
}

// forward passes a frame on.
func (s *Switch) forward(from *Port, frame []byte, at time.Time) {
	h, payload, ok := parse(frame)
	if !ok || h.src.group() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.prober.take(from, h, payload, at) {
		return
	}
	if s.capture != nil {
		s.capture.add(frame, at)
	}
	if !from.passes(h.vlan, In) {
		return
	}
	s.table[station{h.vlan, h.src}] = from
	if to, known := s.table[station{h.vlan, h.dst}]; known && !h.dst.group() {
		s.send(from, to, h.vlan, frame)
		return
	}
	for _, to := range s.ports {
		s.send(from, to, h.vlan, frame)
	}
}

// send puts a frame into the queue of another port, with the lock held.
func (s *Switch) send(from, to *Port, vlan uint16, frame []byte) {
	if from == to || !to.passes(vlan, Out) || s.deaf[[2]*Port{to, from}] {
		return
	}
	to.enqueue(frame)
}

// enqueue leaves a frame for the machine, with the lock held.
func (p *Port) enqueue(frame []byte) {
	select {
	case p.out <- frame:
	default:
		p.lost++
	}
}

// passes reports whether frames of a VLAN pass the port, with the lock held.
func (p *Port) passes(vlan uint16, d Direction) bool { return !p.dead && p.cuts[vlan]&d == 0 }

// SetDead has the port lose everything, or ends that. The machine's carrier stays.
func (p *Port) SetDead(dead bool) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.dead = dead
}

// Cut has the port lose the frames of a VLAN in a direction.
func (p *Port) Cut(vlan uint16, d Direction) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.cuts[vlan] |= d
}

// Heal ends all that a port loses.
func (p *Port) Heal() {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.dead = false
	clear(p.cuts)
	for pair := range p.sw.deaf {
		if pair[0] == p {
			delete(p.sw.deaf, pair)
		}
	}
}

// Deafen has what one machine sends not reach the port, until it is healed. Others
// hear that machine, and it hears this one.
func (p *Port) Deafen(speaker *Port) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.sw.deaf[[2]*Port{p, speaker}] = true
}

// Lost returns how many frames found no room in the port's queue.
func (p *Port) Lost() int {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	return p.lost
}

// connected reports whether two ports reach each other in a VLAN, both ways, with
// the lock held.
func (s *Switch) connected(a, b *Port, vlan uint16) bool {
	return a.passes(vlan, Both) && b.passes(vlan, Both) && !s.deaf[[2]*Port{a, b}] && !s.deaf[[2]*Port{b, a}]
}
