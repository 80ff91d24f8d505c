package fabric

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Target is an address that is asked for.
type Target struct {
	VLAN uint16
	Addr netip.Addr
}

// A Prober asks several machines again and again whether they answer for some
// addresses. It asks each by itself, through the port as it is plugged in: whatever
// the switch has cut, the machine hears the question, so that who owns an address
// behind a dead port is known as well. Its questions and the answers to them pass no
// other port, and nothing is learnt from them.
//
// All machines are asked at the same moment. What is in between is as it was when
// they were asked, so that everything is known to one period.
type Prober struct {
	sw      *Switch
	routers []*Port
	client  *Port
	targets []Target
	every   time.Duration
	cancel  context.CancelFunc
	done    chan struct{}
	once    sync.Once

	samples history // with the lock of the switch
}

// fewWaiting is how many frames may wait for a machine that is asked. One that stands
// still would answer when it goes on, for a time in which it did not.
const fewWaiting = 8

// Probe begins to ask the routers for the targets. The client tells which of them can
// be reached: what a switch has cut off is no owner to others. A switch has one
// prober: it takes the place of the one before.
func (s *Switch) Probe(routers []*Port, client *Port, targets []Target, every time.Duration) *Prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Prober{sw: s, routers: routers, client: client, targets: targets, every: every, cancel: cancel, done: make(chan struct{})}
	s.mu.Lock()
	before := s.prober
	s.prober = p
	s.mu.Unlock()
	if before != nil {
		before.Stop()
	}
	go p.run(ctx)
	return p
}

// Stop ends the questions. What was found stays.
func (p *Prober) Stop() {
	p.once.Do(p.cancel)
	<-p.done
}

func (p *Prober) run(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		p.ask()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask asks everybody for everything.
func (p *Prober) ask() {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	if p.sw.closed {
		return
	}
	n := byte(len(p.samples) % stations)
	s := sample{at: time.Now(), answered: make([]Set, len(p.targets)), reached: make([]Set, len(p.targets))}
	for r, router := range p.routers {
		if len(router.out) < fewWaiting {
			s.asked |= 1 << r
		}
	}
	for i, t := range p.targets {
		frame := question(n, t)
		for r, router := range p.routers {
			if p.sw.connected(router, p.client, t.VLAN) {
				s.reached[i] |= 1 << r
			}
			if s.asked.Has(r) {
				router.enqueue(frame)
			}
		}
	}
	p.samples = append(p.samples, s)
}

// take notes an answer, and reports whether a frame is between a machine and the
// prober, so that nobody else is to see it. The lock of the switch is held. It may be
// called of none, for what machines say to one that is there no more.
func (p *Prober) take(from *Port, h header, payload []byte, at time.Time) bool {
	if n, by, ok := asked(h, payload); ok {
		// A router looks from time to time whether a station that it has answered is
		// still there.
		me := stationMAC(n)
		if by.IsLinkLocalUnicast() || by.IsGlobalUnicast() {
			from.enqueue(discovery(advertisement, flagSolicited|flagOverride, h.vlan, me, h.src, stationAddr(n), by, stationAddr(n), optionTarget))
		}
		return true
	}
	n, ok := stationOf(h.dst)
	if !ok || p == nil {
		return ok
	}
	router := slices.Index(p.routers, from)
	addr, ok := answered(h, payload)
	target := slices.Index(p.targets, Target{h.vlan, addr})
	if router >= 0 && ok && target >= 0 {
		p.samples.note(n, router, target, at)
	}
	return true
}

// Settled is how long after a question an answer to it may come. What comes later
// answers the present.
const Settled = 200 * time.Millisecond

// Between returns for every target how long it was in which state between two
// moments.
func (p *Prober) Between(from, to time.Time) []Times {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	list := make([]Times, len(p.targets))
	for i := range p.targets {
		list[i] = p.samples.between(i, from, to)
	}
	return list
}

// Answered returns for how long a router answered for any of the targets between two
// moments, whoever reached it.
func (p *Prober) Answered(router int, from, to time.Time) time.Duration {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	longest := time.Duration(0)
	for i := range p.targets {
		longest = max(longest, p.samples.held(i, router, from, to))
	}
	return longest
}

// Since returns for every target when a router began to answer for it after a moment,
// the zero time if it did not.
func (p *Prober) Since(router int, from time.Time) []time.Time {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	list := make([]time.Time, len(p.targets))
	for i := range p.targets {
		for _, s := range p.samples {
			if !s.at.Before(from) && s.answered[i].Has(router) {
				list[i] = s.at
				break
			}
		}
	}
	return list
}

// Now returns who has answered for each target of late, and is reached by the client.
func (p *Prober) Now() []Set {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	list := make([]Set, len(p.targets))
	since := time.Now().Add(-Settled)
	for i := range p.targets {
		for _, s := range slices.Backward(p.samples) {
			if s.at.Before(since) {
				break
			}
			list[i] |= s.answered[i] & s.reached[i]
		}
	}
	return list
}

// Changes tells when others answered than before, one line each. Who answered and
// could not be reached by the client is in brackets.
func (p *Prober) Changes(since time.Time) string {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	var b strings.Builder
	for i, t := range p.targets {
		first, last := true, ""
		for _, s := range p.samples {
			if now := p.names(s, i); first || now != last {
				fmt.Fprintf(&b, "%+9.3fs %v: %s\n", s.at.Sub(since).Seconds(), t.Addr, now)
				first, last = false, now
			}
		}
	}
	return b.String()
}

// names says who answers for a target in a sample.
func (p *Prober) names(s sample, target int) string {
	var words []string
	for r, router := range p.routers {
		switch {
		case s.answered[target]&(1<<r) == 0:
		case s.reached[target]&(1<<r) == 0:
			words = append(words, "("+router.Name+")")
		default:
			words = append(words, router.Name)
		}
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, " and ")
}
