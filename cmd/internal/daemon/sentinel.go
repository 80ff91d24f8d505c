package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"vipd/arp"
	"vipd/vrrp"
)

const (
	// claimPause is for how long claims of the same address by the same station
	// are not passed on again: they come in bursts, and from whoever likes.
	claimPause = 20 * time.Millisecond
	// claimsRemembered bounds how many stations and addresses are told apart for
	// that.
	claimsRemembered = 1024
	// sentinelRetry is how long after a failure an interface is listened on again,
	// and sentinelPatience how long after that was not possible.
	sentinelRetry    = time.Second
	sentinelPatience = 10 * time.Second
)

// A claimListener hears other stations claim addresses. *arp.Listener is one.
type claimListener interface {
	Watch([]netip.Addr) error
	Read() (arp.Claim, error)
	Close() error
}

var _ claimListener = (*arp.Listener)(nil)

// A sentinel tells masters, and those that hand over, when another station says
// that it has one of their addresses. It listens on every interface that an
// address belongs on, in a goroutine for each.
type sentinel struct {
	log   *slog.Logger
	open  func(index int) (claimListener, error)
	inbox *mailbox[func()]
	ended chan struct{}

	// Only the sentinel's goroutine uses what follows.
	wanted map[int]*guarded
	posts  map[int]*outpost
	waits  bool // a timer runs for what could not be opened
}

// guarded is what is listened for on one interface.
type guarded struct {
	name   string
	addrs  []netip.Addr // in order, each once
	owners map[netip.Addr][]*instance
}

// An outpost listens on one interface.
type outpost struct {
	l     claimListener
	addrs []netip.Addr
	now   atomic.Pointer[guarded]
}

func newSentinel(log *slog.Logger, open func(index int) (claimListener, error)) *sentinel {
	return &sentinel{log: log, open: open, inbox: newMailbox[func()](), ended: make(chan struct{}), posts: make(map[int]*outpost)}
}

// guard returns what is to be listened for because of instances, by interface.
func guard(instances []*instance) map[string]*guarded {
	out := make(map[string]*guarded)
	for _, inst := range instances {
		for _, a := range inst.shared().order {
			g := out[a.Interface]
			if g == nil {
				g = &guarded{name: a.Interface, owners: make(map[netip.Addr][]*instance)}
				out[a.Interface] = g
			}
			if g.owners[a.IP] == nil {
				g.addrs = append(g.addrs, a.IP)
			}
			g.owners[a.IP] = append(g.owners[a.IP], inst)
		}
	}
	for _, g := range out {
		slices.SortFunc(g.addrs, netip.Addr.Compare)
	}
	return out
}

// follow replaces what is listened for, by the index of the interface. It does not
// block.
func (s *sentinel) follow(wanted map[int]*guarded) {
	s.inbox.put(func() {
		s.wanted = wanted
		s.arrange()
	})
}

// run is the sentinel's goroutine; it ends with the context.
func (s *sentinel) run(ctx context.Context) {
	defer close(s.ended)
	defer func() {
		for _, p := range s.posts {
			_ = p.l.Close()
		}
	}()
	var spent []func()
	for {
		spent = s.inbox.take(spent)
		for _, f := range spent {
			f()
		}
		select {
		case <-ctx.Done():
			return
		case <-s.inbox.waiting():
		}
	}
}

// arrange opens and closes listeners, and tells those that stay what has changed.
func (s *sentinel) arrange() {
	for index, p := range s.posts {
		if s.wanted[index] == nil {
			delete(s.posts, index)
			_ = p.l.Close()
		}
	}
	for index, g := range s.wanted {
		p := s.posts[index]
		if p == nil {
			l, err := s.open(index)
			if err != nil {
				// Not every interface is an Ethernet.
				s.log.Debug("cannot listen to who announces addresses", "interface", g.name, "error", err)
				s.tryAgain()
				continue
			}
			p = &outpost{l: l}
			p.now.Store(g)
			s.posts[index] = p
			go s.listen(index, p)
		}
		p.now.Store(g)
		if slices.Equal(p.addrs, g.addrs) {
			continue
		}
		p.addrs = g.addrs
		if err := p.l.Watch(g.addrs); err != nil {
			s.log.Warn("cannot listen to who announces addresses", "interface", g.name, "error", err)
			s.abandon(index, p)
		}
	}
}

// abandon gives a listener up and has another one opened later.
func (s *sentinel) abandon(index int, p *outpost) {
	if s.posts[index] != p {
		return
	}
	delete(s.posts, index)
	_ = p.l.Close()
	time.AfterFunc(sentinelRetry, func() { s.inbox.put(s.arrange) })
}

// tryAgain has listeners that could not be opened tried again.
func (s *sentinel) tryAgain() {
	if s.waits {
		return
	}
	s.waits = true
	time.AfterFunc(sentinelPatience, func() {
		s.inbox.put(func() {
			s.waits = false
			s.arrange()
		})
	})
}

// A claimant is a station that claims an address.
type claimant struct {
	addr netip.Addr
	mac  arp.MAC
}

// listen passes on what is heard on one interface, until its listener is closed.
func (s *sentinel) listen(index int, p *outpost) {
	last := make(map[claimant]time.Time)
	for {
		c, err := p.l.Read()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Debug("cannot listen to who announces addresses any more", "interface", p.now.Load().name, "error", err)
				s.inbox.put(func() { s.abandon(index, p) })
			}
			return
		}
		who, now := claimant{c.Addr, c.MAC}, time.Now()
		if now.Sub(last[who]) < claimPause {
			continue
		}
		if len(last) >= claimsRemembered {
			clear(last)
		}
		last[who] = now
		g := p.now.Load()
		ev := vrrp.ForeignOwner{Addr: vrrp.Address{IP: c.Addr, Interface: g.name}, MAC: vrrp.MAC(c.MAC), At: c.At}
		for _, inst := range g.owners[c.Addr] {
			inst.post(func(inst *instance) {
				if p := inst.port; p != nil {
					// Its advertisement came first, but by another socket.
					inst.loop().drain(p, time.Now())
				}
				if inst.m.State() == vrrp.Master || inst.m.HandingOver() {
					inst.loop().step(inst, time.Now(), ev)
				}
			})
		}
	}
}
