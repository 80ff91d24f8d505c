package daemon

import (
	"container/heap"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"vipd/arp"
	"vipd/vrrp"
)

// announceChunk is how many announcements go out before the sender looks again
// for what else it should do: a stop must not wait for thousands of frames.
const announceChunk = 64

// A frameSender transmits whole Ethernet frames on one interface.
type frameSender interface {
	Send(frames [][]byte) (int, error)
	Close() error
}

// announceLink is what has to be known of an interface to announce on it.
type announceLink struct {
	index  int
	mac    arp.MAC
	noARP  bool        // IFF_NOARP: nobody resolves addresses there
	router func() bool // forwards IPv6: sets the router flag (RFC 4861 §4.4)
}

// A garper sends gratuitous ARP and unsolicited neighbour advertisements for
// all instances, in a goroutine of its own, when their schedules say.
type garper struct {
	log    *slog.Logger
	lookup func(iface string) (announceLink, bool)
	open   func(index int) (frameSender, error)
	gaps   func(iface string) (garp, gna time.Duration)
	inbox  *mailbox[func()]
	ended  chan struct{}

	// Only the garper's goroutine uses what follows.
	masters map[*instance]*herald
	due     heraldHeap
	senders map[int]frameSender // by interface index
	limits  map[string]*arp.Limiter
	frames  [][]byte
}

// A herald holds the announcement schedules of one master. There is one, in
// keepalived's order over all addresses, unless the gap between announcements
// is limited: then each interface and kind waits for its own turn only.
type herald struct {
	inst      *instance
	schedules map[scheduleKey]*arp.Schedule[vrrp.Address]
	order     []scheduleKey
	settled   bool
	at        time.Time
	heapAt    int
}

type scheduleKey struct {
	iface string
	kind  arp.Kind
}

var _ announcer = (*garper)(nil)

func newGarper(log *slog.Logger, lookup func(string) (announceLink, bool), open func(int) (frameSender, error), gaps func(string) (garp, gna time.Duration)) *garper {
	return &garper{
		log: log, lookup: lookup, open: open, gaps: gaps, inbox: newMailbox[func()](), ended: make(chan struct{}),
		masters: make(map[*instance]*herald), senders: make(map[int]frameSender), limits: make(map[string]*arp.Limiter),
	}
}

func (g *garper) announce(inst *instance, addrs []vrrp.Address, settled bool) {
	g.inbox.put(func() {
		h := g.masters[inst]
		if h == nil {
			h = &herald{inst: inst, schedules: make(map[scheduleKey]*arp.Schedule[vrrp.Address]), heapAt: -1}
			g.masters[inst] = h
		}
		now := time.Now()
		for _, a := range addrs {
			h.schedule(g.key(a), now).Ready(now, a)
		}
		if settled {
			h.settled = true
			for _, s := range h.schedules {
				s.Settled(now)
			}
		}
		// Where many instances become master together, the first announcement of
		// each goes before the repeated ones of any.
		if s := h.schedules[scheduleKey{}]; s != nil && len(addrs) > 0 {
			g.transmit(inst, s.Due(now, len(addrs)))
		}
		g.reschedule(h)
	})
}

// announceSource announces once the address that an instance sends from, as
// keepalived does when a unicast instance leaves the fault state.
func (g *garper) announceSource(inst *instance, addr vrrp.Address) {
	g.inbox.put(func() { g.transmitOn(inst, addr.Interface, []vrrp.Address{addr}) })
}

// probe asks once who else has an IPv4 address.
func (g *garper) probe(inst *instance, addr vrrp.Address) {
	g.inbox.put(func() {
		link, ok := g.lookup(addr.Interface)
		if !ok || link.noARP || !addr.IP.Is4() {
			return
		}
		sender, err := g.sender(link.index)
		if err != nil {
			return // announcements cannot be sent either, and say so
		}
		_, _ = sender.Send([][]byte{arp.AppendProbe(nil, link.mac, addr.IP)})
	})
}

func (g *garper) reannounce(inst *instance) {
	g.inbox.put(func() {
		h := g.masters[inst]
		if h == nil {
			return
		}
		now := time.Now()
		for _, s := range h.schedules {
			s.LowerPriority(now)
		}
		g.reschedule(h)
	})
}

func (g *garper) lost(inst *instance, addrs []vrrp.Address) {
	g.inbox.put(func() {
		h := g.masters[inst]
		if h == nil {
			return
		}
		// The gap between announcements may have been limited since.
		for _, s := range h.schedules {
			for _, a := range addrs {
				s.Lost(a)
			}
		}
		g.reschedule(h)
	})
}

func (g *garper) stop(inst *instance) {
	g.inbox.put(func() {
		if h := g.masters[inst]; h != nil {
			delete(g.masters, inst)
			if h.heapAt >= 0 {
				heap.Remove(&g.due, h.heapAt)
			}
		}
	})
}

// key returns which schedule of its instance an address belongs to.
func (g *garper) key(a vrrp.Address) scheduleKey {
	if garp, gna := g.gaps(a.Interface); garp > 0 || gna > 0 {
		return scheduleKey{a.Interface, arp.KindOf(a.IP)}
	}
	return scheduleKey{}
}

func (h *herald) schedule(k scheduleKey, now time.Time) *arp.Schedule[vrrp.Address] {
	s := h.schedules[k]
	if s == nil {
		s = arp.NewSchedule[vrrp.Address](announceTiming(h.inst.shared().cfg))
		if h.settled {
			s.Settled(now)
		}
		h.schedules[k] = s
		h.order = append(h.order, k)
	}
	return s
}

// reschedule puts the herald where the earliest of its schedules belongs.
func (g *garper) reschedule(h *herald) {
	h.at = time.Time{}
	for k, s := range h.schedules {
		if at, ok := s.Next(); ok {
			if k != (scheduleKey{}) {
				at = g.limit(k.iface).Next(at, k.kind)
			}
			if h.at.IsZero() || at.Before(h.at) {
				h.at = at
			}
		}
	}
	switch {
	case h.at.IsZero() && h.heapAt >= 0:
		heap.Remove(&g.due, h.heapAt)
	case h.at.IsZero():
	case h.heapAt >= 0:
		heap.Fix(&g.due, h.heapAt)
	default:
		heap.Push(&g.due, h)
	}
}

func (g *garper) limit(iface string) *arp.Limiter {
	l := g.limits[iface]
	if l == nil {
		l = arp.NewLimiter(g.gaps(iface))
		g.limits[iface] = l
	}
	return l
}

// run is the garper's goroutine; it ends with the context.
func (g *garper) run(ctx context.Context) {
	defer close(g.ended)
	defer func() {
		for _, s := range g.senders {
			_ = s.Close()
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var spent []func()
	for {
		spent = g.inbox.take(spent)
		for _, f := range spent {
			f()
		}
		wait := time.Hour
		if len(g.due) > 0 {
			if wait = time.Until(g.due[0].at); wait <= 0 {
				g.send(g.due[0])
				continue
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-g.inbox.waiting():
		case <-timer.C:
		}
	}
}

// send transmits one portion of what is due of a herald and puts it back in
// line.
func (g *garper) send(h *herald) {
	now := time.Now()
	for _, k := range h.order {
		s := h.schedules[k]
		if k == (scheduleKey{}) {
			g.transmit(h.inst, s.Due(now, announceChunk))
			continue
		}
		l := g.limit(k.iface)
		if at, ok := s.Next(); !ok || at.After(now) || l.Next(now, k.kind).After(now) {
			continue
		}
		most := l.Most(k.kind)
		if most == 0 {
			most = announceChunk
		}
		g.transmit(h.inst, s.Due(now, most))
		l.Sent(now, k.kind)
	}
	g.reschedule(h)
}

// transmit sends one announcement for each address, in order: neighbours of one
// family on one interface share a call.
func (g *garper) transmit(inst *instance, addrs []vrrp.Address) {
	if !inst.lively() {
		// The process was stopped, and goes on to do what is overdue: the addresses
		// may be another router's by now. The loop will find out.
		return
	}
	for len(addrs) > 0 {
		iface, family := addrs[0].Interface, vrrp.FamilyOf(addrs[0].IP)
		n := 1
		for n < len(addrs) && addrs[n].Interface == iface && vrrp.FamilyOf(addrs[n].IP) == family {
			n++
		}
		g.transmitOn(inst, iface, addrs[:n])
		addrs = addrs[n:]
	}
}

func (g *garper) transmitOn(inst *instance, iface string, addrs []vrrp.Address) {
	link, ok := g.lookup(iface)
	if !ok || link.noARP {
		return
	}
	sender, err := g.sender(link.index)
	if err != nil {
		inst.shared().log.Warn("cannot announce addresses", "on", iface, "error", err)
		return
	}
	for len(g.frames) < len(addrs) {
		g.frames = append(g.frames, nil)
	}
	frames := g.frames[:len(addrs)]
	router := vrrp.FamilyOf(addrs[0].IP) == vrrp.IPv6 && link.router()
	for i, a := range addrs {
		frames[i] = arp.AppendAnnouncement(frames[i][:0], link.mac, a.IP, router)
	}
	n, err := sender.Send(frames)
	inst.announced.Add(uint64(n))
	if err != nil {
		inst.shared().log.Warn("cannot announce addresses", "on", iface, "error", err)
		// The interface may have gone and come back under the same index.
		_ = sender.Close()
		delete(g.senders, link.index)
	}
}

// sender returns the socket of an interface, and opens it if there is none yet.
func (g *garper) sender(index int) (frameSender, error) {
	if s := g.senders[index]; s != nil {
		return s, nil
	}
	s, err := g.open(index)
	if err == nil {
		g.senders[index] = s
	}
	return s, err
}

// follow opens sockets on the interfaces where addresses belong, because doing
// so at a takeover can cost it many milliseconds, and closes those of
// interfaces that are no longer there.
func (g *garper) follow(wanted []int, exists func(index int) bool) {
	g.inbox.put(func() {
		for _, index := range wanted {
			// An interface that cannot be had now is tried again when it is
			// needed, and reported then.
			_, _ = g.sender(index)
		}
		for index, s := range g.senders {
			if !exists(index) {
				_ = s.Close()
				delete(g.senders, index)
			}
		}
	})
}

// limitAnew has the gaps between announcements asked for again.
func (g *garper) limitAnew() { g.inbox.put(func() { clear(g.limits) }) }

// announceCount is how many announcements were sent for an instance.
type announceCount = atomic.Uint64

// heraldHeap orders heralds by when they next have something to send.
type heraldHeap []*herald

func (h heraldHeap) Len() int           { return len(h) }
func (h heraldHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h heraldHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}

// Push implements heap.Interface.
func (h *heraldHeap) Push(x any) {
	e := x.(*herald)
	e.heapAt = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *heraldHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.heapAt = -1
	return e
}

// retime gives an instance's announcements the times of new settings. What has
// been announced is not announced again for that.
func (g *garper) retime(inst *instance, timing arp.Timing) {
	g.inbox.put(func() {
		h := g.masters[inst]
		if h == nil {
			return
		}
		now := time.Now()
		for _, s := range h.schedules {
			s.Retime(now, timing)
		}
		g.reschedule(h)
	})
}
