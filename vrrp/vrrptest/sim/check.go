package sim

import (
	"fmt"
	"net/netip"
	"time"

	"vipd/vrrp"
)

const (
	// overlap is for how long an old master answers after the first
	// advertisement of the new one.
	overlap = 50 * time.Millisecond
	// offerMargin is how much longer than the longest skew time a master waits
	// for somebody who takes over.
	offerMargin = 100 * time.Millisecond
	// slack is what the scheduling of a process may add to every bound.
	slack = 20 * time.Millisecond
	// healing is within what time of the first advertisement that crosses a
	// client has to talk to the winner.
	healing = 200 * time.Millisecond
)

// A Violation is an invariant that does not hold.
type Violation struct {
	// Invariant is what should hold, Detail what is wrong.
	Invariant, Detail string
	At                time.Duration
}

// Error says what is wrong and when.
func (v *Violation) Error() string {
	return fmt.Sprintf("at %s: %s: %s", v.At, v.Invariant, v.Detail)
}

// The invariants.
const (
	oneOwner    = "an address has one owner"
	leaseEnds   = "a router that does nothing loses its addresses"
	someOwner   = "an address has an owner"
	contested   = "who hears another master is contested"
	announces   = "only what is in place is announced"
	renews      = "a lease is renewed with advertisements only"
	keeps       = "who advertises keeps its addresses"
	listens     = "an expiry is not repaired"
	heals       = "after healing the client talks to the winner"
	inPlace     = "addresses are in place while master"
	resumes     = "nobody notices a resume"
	handsOver   = "a hand-over leaves no moment without an owner"
	ends        = "a hand-over ends"
	order       = "the higher priority and address stays"
	faultless   = "a router with a fault is not master"
	holds       = "a mismatch is not an absence"
	leaves      = "a stopped router leaves no address"
	lateNotDead = "who was away listens first"
)

// A checker looks whether the invariants hold.
type checker struct {
	w         *world
	violation *Violation
	owners    [][][]int // by LAN and VIP: the hosts that answer for it
	doubles   int       // how many of them have several
	healing   *crossing
}

// crossing is a heal whose first advertisement is waited for.
type crossing struct {
	at   time.Time
	a, b int
}

// An offer is a hand-over that somebody is able to accept.
type offer struct {
	at        time.Time
	disturbed time.Time // when something had happened last
	successor bool
	yields    bool // nobody asked for it: another master has the higher priority
}

// A difference is the last advertisement of a router whose configuration differs.
type difference struct {
	from  netip.Addr
	until time.Time // it holds the election; this host's time
}

// A contest counts the advertisements of another master.
type contest struct {
	count int
	last  time.Time
}

func newChecker(w *world) *checker {
	c := &checker{w: w}
	for range w.hist.LANs {
		c.owners = append(c.owners, make([][]int, w.hist.VIPs))
	}
	return c
}

// fail notes the first violation.
func (c *checker) fail(invariant string, h *host, format string, args ...any) {
	if c.violation != nil {
		return
	}
	detail := fmt.Sprintf(format, args...)
	if h != nil {
		detail = fmt.Sprintf("r%d: %s", h.id+1, detail)
	}
	c.violation = &Violation{Invariant: invariant, Detail: detail, At: c.w.clock.now.Sub(epoch)}
}

// now returns the simulated time.
func (c *checker) now() time.Time { return c.w.clock.now }

// latest returns the last of some times.
func latest(times ...time.Time) time.Time {
	var out time.Time
	for _, t := range times {
		if t.After(out) {
			out = t
		}
	}
	return out
}

// tick looks at everything now and then, also when nothing happens.
func (c *checker) tick() {
	c.w.clock.AfterFunc(min(max(c.w.hist.Interval/3, 50*time.Millisecond), time.Second), func() {
		c.all()
		for _, h := range c.w.hosts {
			if h.running() {
				c.places(h)
				c.rivals(h)
			}
		}
		c.tick()
	})
}

// all looks at what is between hosts.
func (c *checker) all() {
	if c.doubles > 0 {
		c.twoOwners()
	}
	c.dead()
	c.noOwner()
}

// turn looks at a host whose process has just done something.
func (c *checker) turn(h *host) {
	c.places(h)
	if c.doubles > 0 {
		c.twoOwners()
	}
	if !h.uncoveredAt.IsZero() {
		c.noOwner()
	}
}

// changed notes that an address has come or gone.
func (c *checker) changed(lan, vip int) {
	was := len(c.owners[lan][vip])
	owners := c.owners[lan][vip][:0]
	for _, h := range c.w.hosts {
		if h.has(lan, vip) {
			owners = append(owners, h.id)
		}
	}
	c.owners[lan][vip] = owners
	if was > 1 {
		c.doubles--
	}
	if len(owners) > 1 {
		c.doubles++
	}
	c.coverage()
}

// clean reports whether everything that one host sends to another arrives, and
// since when it is as it is.
func (w *world) clean(lan, from, to int) (time.Time, bool) {
	l := &w.links[lan][from][to]
	return w.changedAt[lan][from][to], !l.Cut && l.Loss == 0
}

// twoOwners checks that of two hosts which hear each other, and whose processes
// run, only one answers for an address.
// A process that does not run is the business of dead.
//
// If both are master, the one that has to yield does so at the first
// advertisement of the other: after an interval, and twice the delay of the
// network if that is an answer. It answers for 50 ms more, so that there is always
// somebody who does (handover). This is from when the two can hear each other, run,
// agree about the configuration, and have the address. Whoever comes into a
// mastership by an election is bounded more narrowly, since its first act is to
// advertise.
func (c *checker) twoOwners() {
	w := c.w
	bound := w.intervalMost + 2*w.delayMost + overlap + w.workMost + slack
	for lan := range c.owners {
		for vip, owners := range c.owners[lan] {
			for i, a := range owners {
				for _, b := range owners[i+1:] {
					g, h := w.hosts[a], w.hosts[b]
					there, hears := w.clean(lan, a, b)
					back, heard := w.clean(lan, b, a)
					if !hears || !heard || !g.running() || !h.running() || w.hist.Version == vrrp.V2 && g.interval != h.interval {
						continue
					}
					since := latest(there, back, g.disturbedAt, h.disturbedAt, g.table[lan][vip].since, h.table[lan][vip].since)
					if d := c.now().Sub(since); d > bound {
						c.fail(oneOwner, g, "r%d has %s as well, for %s, at most %s", h.id+1, w.vip(lan, vip), d, bound)
					}
				}
			}
		}
	}
}

// dead checks that the kernel removes the addresses of a process that is stopped
// or dead: LeaseOverlap after its last advertisement, if no advertisement may be
// missed. That bounds how long it owns what another router has taken over, to
// LeaseOverlap with the number that may be.
func (c *checker) dead() {
	if !c.w.hist.Leases {
		return
	}
	for _, h := range c.w.hosts {
		if h.running() || !h.on() {
			continue
		}
		for lan := range h.table {
			for vip := range h.table[lan] {
				a := &h.table[lan][vip]
				if age := h.time().Sub(h.sentAt[lan]); a.present && age > a.mustGo+slack && age > h.time().Sub(c.w.turnedOn(h))+a.mustGo {
					c.fail(leaseEnds, h, "%s is still there %s after the last advertisement, at most %s", c.w.vip(lan, vip), age, a.mustGo)
				}
			}
		}
	}
}

// turnedOn returns when a host last began to run, on its own clock: a frozen
// kernel is later than others.
func (w *world) turnedOn(h *host) time.Time {
	if h.onAt.IsZero() {
		return epoch
	}
	return h.onAt.Add(-h.lag)
}

// claims reports whether a host owns an address, or is about to.
func (w *world) claims(h *host, lan, vip int) bool {
	if h.has(lan, vip) {
		return true
	}
	if !h.running() {
		return false
	}
	hold := &h.proc.insts[lan].held[vip]
	return hold.wanted && !hold.placed
}

// covered reports whether a host owns the addresses of a LAN, or hears somebody
// who does. Those that are not everywhere do not count.
func (w *world) covered(h *host, lan int) bool {
	for vip := range max(1, w.hist.VIPs-1) {
		ok := false
		for _, o := range w.hosts {
			if (o == h || !w.links[lan][o.id][h.id].Cut) && w.claims(o, lan, vip) {
				ok = true
				break
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// coverage brings up to date since when hosts have no owner.
func (c *checker) coverage() {
	for _, h := range c.w.hosts {
		covered := false
		for lan := range h.ports {
			covered = covered || c.w.covered(h, lan)
		}
		switch {
		case covered:
			h.uncoveredAt = time.Time{}
		case h.uncoveredAt.IsZero():
			h.uncoveredAt = c.now()
		}
	}
}

// noOwner checks that a router which neither owns its addresses, nor could hear
// who does, owns them soon: the master-down interval after the last advertisement; with the longest
// interval there is, since it may have learned that; and, if a router whose
// configuration differs was heard, not before three of the longer intervals. A sync
// group counts as one: it waits as long as there is an owner on any of its LANs.
func (c *checker) noOwner() {
	w := c.w
	c.coverage()
	for _, h := range w.hosts {
		if h.uncoveredAt.IsZero() {
			continue
		}
		bound := w.downMost + w.delayMost + w.workMost + slack + h.set.StartupDelay
		if w.hist.Version == vrrp.V2 && w.intervalMost != w.hist.Interval {
			bound = max(bound, 3*w.intervalMost+w.delayMost+w.workMost+slack)
		}
		d := c.now().Sub(latest(h.uncoveredAt, h.disturbedAt, h.heardAt, h.entered))
		if d <= bound || !c.able(h) {
			continue
		}
		c.fail(someOwner, h, "it could be master, and nobody it hears is, for %s, at most %s", d, bound)
	}
}

// able reports whether a router can be master.
func (c *checker) able(h *host) bool {
	if !h.running() || h.proc.stopping || h.checksFail > 0 || h.pending || len(h.trouble) > 0 {
		return false
	}
	for _, i := range h.proc.insts {
		if h.down[i.lan] > 0 {
			return false
		}
		for _, f := range i.m.Snapshot().Faults {
			if f.Kind == vrrp.FaultAddresses || f.Kind == vrrp.FaultGroup {
				return false
			}
		}
	}
	return true
}

// places checks that the addresses of a host are in place exactly while it is
// master, or hands over; and that it does that for no longer than the slowest backup
// needs, the margin, and 50 ms after that one has advertised.
func (c *checker) places(h *host) {
	p := h.proc
	if p == nil || !h.running() {
		return
	}
	bound := c.w.workMost + 150*time.Millisecond
	for _, i := range p.insts {
		state, handing := i.m.State(), i.m.HandingOver()
		if !handing {
			i.handing = time.Time{}
		} else if i.handing.IsZero() {
			i.handing = c.now()
		} else if d := c.now().Sub(latest(i.handing, h.disturbedAt)); d > c.w.skewMost()+offerMargin+overlap+slack {
			c.fail(ends, h, "it hands over for %s", d)
		}
		for vip := range i.held {
			there, hold := h.table[i.lan][vip].present, &i.held[vip]
			configured := vip < len(i.cfg.Addresses)
			wrong := false
			switch {
			case handing, hold.failing:
			case state == vrrp.Master && configured:
				wrong = !there
			default:
				wrong = there
			}
			switch {
			case !wrong:
				i.mismatchAt[vip] = time.Time{}
			case i.mismatchAt[vip].IsZero():
				i.mismatchAt[vip] = c.now()
			default:
				if d := c.now().Sub(latest(i.mismatchAt[vip], h.disturbedAt)); d > bound {
					c.fail(inPlace, h, "it is %s, and %s is in place: %t, for %s", state, c.w.vip(i.lan, vip), there, d)
				}
			}
		}
	}
}

// rivals checks that nobody is contested by who is not heard any more.
func (c *checker) rivals(h *host) {
	for _, i := range h.proc.insts {
		if i.m.HandingOver() {
			i.offered = c.now()
		}
		if i.m.State() != vrrp.Master || i.m.HandingOver() || c.now().Sub(i.offered) <= 2*i.cfg.Interval {
			continue
		}
		for _, r := range i.m.Snapshot().Rivals {
			most := 3 * max(i.cfg.Interval, r.Interval)
			if r.MAC != (vrrp.MAC{}) {
				most = max(most, 5*time.Second)
			}
			if d := h.time().Sub(r.Last); d > most+i.cfg.Interval+slack && c.now().Sub(h.disturbedAt) > i.cfg.Interval+slack {
				c.fail(contested, h, "it still is by %v %v, heard last %s ago", r.Addr, r.MAC, d)
			}
		}
	}
}

// receives notes that a backup is about to hear somebody whose configuration
// differs: for three of the longer intervals that one is not taken for dead.
func (c *checker) receives(i *instance, src netip.Addr, priority uint8, until time.Time, differs bool) {
	switch {
	case !differs || i.m.State() != vrrp.Backup || c.now().Sub(i.p.h.entered) <= i.cfg.StartupDelay: // it does not listen
	case priority > vrrp.PriorityStop:
		i.differed = difference{src, until}
	case src == i.differed.from:
		i.differed = difference{}
	}
}

// received checks that a master which hears another one is contested, or is not
// master any more. The first advertisements after it has become master, or after
// something has happened to it, do not count.
func (c *checker) received(i *instance, src netip.Addr, priority uint8, interval time.Duration) {
	h := i.p.h
	if from := hostOf(src); from < len(c.w.hosts) && h.running() {
		if x := c.healing; x != nil && (x.a == from && x.b == h.id || x.b == from && x.a == h.id) {
			c.crossed(x)
		}
		if priority == vrrp.PriorityStop {
			i.heard[from] = contest{}
			return
		}
		if i.m.State() == vrrp.Backup {
			h.heardAt = c.now()
		}
		if i.m.State() != vrrp.Master || i.m.HandingOver() {
			return
		}
		s := i.m.Snapshot()
		if h.time().Sub(s.Since) <= 2*i.cfg.Interval+c.w.delayMost+slack || c.now().Sub(h.disturbedAt) <= slack {
			i.heard[from] = contest{}
			return
		}
		k := &i.heard[from]
		if k.last.Before(s.Since) || c.now().Sub(k.last) > 3*max(i.cfg.Interval, interval) {
			k.count = 0
		}
		k.count++
		k.last = c.now()
		if k.count < 2 {
			return
		}
		for _, r := range s.Rivals {
			if r.Addr == src || len(s.Rivals) == toldApart {
				return
			}
		}
		c.fail(contested, h, "it is master since %s, and hears r%d, but is not contested", c.w.stamp(s.Since), from+1)
	}
}

// toldApart is how many rivals a machine knows at most.
const toldApart = 8

// foreign is received for an announcement of one of the addresses.
func (c *checker) foreign(i *instance, mac vrrp.MAC, at time.Time) {
	s := i.m.Snapshot()
	if s.State != vrrp.Master || s.HandingOver || at.Sub(s.Since) <= 2*i.cfg.Interval {
		return
	}
	for _, r := range s.Rivals {
		if r.MAC == mac || len(s.Rivals) == toldApart {
			return
		}
	}
	c.fail(contested, i.p.h, "it is master since %s, and %s announces one of its addresses, but it is not contested", c.w.stamp(s.Since), mac)
}

// announced checks that what a host announces is there. What somebody else has
// removed is known a moment later.
func (c *checker) announced(h *host, lan, vip int) {
	a := &h.table[lan][vip]
	if !a.present && c.now().Sub(latest(a.goneAt, h.disturbedAt)) > 10*time.Millisecond {
		c.fail(announces, h, "it announces %s, which it does not have", c.w.vip(lan, vip))
	}
}

// renewal checks that a lease is given to who advertises only.
func (c *checker) renewal(h *host, lan int) {
	limit := h.interval + max(h.interval/2, 200*time.Millisecond) + time.Millisecond
	if h.proc != nil { // it may not have read its configuration anew
		limit = max(limit, c.w.intervalMost+max(c.w.intervalMost/2, 200*time.Millisecond)+time.Millisecond)
	}
	if age := h.time().Sub(h.sentAt[lan]); h.sentAt[lan].IsZero() || age > limit {
		c.fail(renews, h, "the last advertisement was sent %s before, at most %s", age, limit)
	}
}

// expires checks that no lease ends while its router does all that it has to.
func (c *checker) expires(h *host, lan, vip int) {
	if !h.running() || c.now().Sub(latest(h.disturbedAt, h.onAt)) < h.table[lan][vip].mustGo+time.Second {
		return
	}
	if i := h.proc.insts[lan]; i.m.State() == vrrp.Master && !i.m.HandingOver() && i.held[vip].wanted {
		c.fail(keeps, h, "%s expires, and the last advertisement was sent %s before", c.w.vip(lan, vip), h.time().Sub(i.sent))
	}
}

// created checks that an address which has expired is not put back by a router that
// has been master all the time: somebody else may be by now.
func (c *checker) created(h *host, lan, vip int) {
	if a := &h.table[lan][vip]; a.expired && h.proc != nil && h.proc.insts[lan].since.Before(a.goneAt) {
		c.fail(listens, h, "%s expired at %s, and is added by the same master", c.w.vip(lan, vip), c.w.stamp(a.goneAt))
	}
}

// healed notes that the last of the faults which cut the LANs is over. If there
// are two owners then, the client is looked at later.
func (c *checker) healed() {
	c.healing = nil
	if c.w.lasting > 0 {
		return
	}
	owners := c.owners[0][0]
	if len(owners) != 2 {
		return
	}
	a, b := c.w.hosts[owners[0]], c.w.hosts[owners[1]]
	for _, h := range []*host{a, b} {
		if !h.running() || h.set.NoLastAdvert {
			return
		}
		for _, i := range h.proc.insts {
			if i.m.State() != vrrp.Master || i.m.HandingOver() {
				return
			}
		}
	}
	if a.interval != b.interval {
		return
	}
	c.healing = &crossing{at: c.now(), a: a.id, b: b.id}
}

// crossed notes that the two sides hear each other.
func (c *checker) crossed(x *crossing) {
	c.healing = nil
	w := c.w
	if !w.disturbedAt.Equal(x.at) || w.lasting > 0 {
		return
	}
	crossed := c.now()
	w.clock.AfterFunc(healing, func() {
		if !w.disturbedAt.Equal(x.at) || w.lasting > 0 {
			return
		}
		for lan := range c.owners {
			if !w.asked[lan].Before(crossed.Add(-slack)) {
				continue // it may have been told by both
			}
			for vip, owners := range c.owners[lan] {
				if len(owners) != 1 || owners[0] != x.a && owners[0] != x.b {
					continue
				}
				if got := w.learned[lan][vip]; got != owners[0] {
					c.fail(heals, w.hosts[owners[0]], "it has won at %s, but the client has r%d for %s", w.stamp(crossed), got+1, w.vip(lan, vip))
				}
			}
		}
		w.stats.Heals++
	})
}

// inherits reports whether a router has become master only because another one did
// not advertise any more when its process had died: it heard all until then.
func (c *checker) inherits(g, h *host, lan int) bool {
	since, clean := c.w.clean(lan, h.id, g.id)
	i := g.proc.insts[lan]
	s := i.m.Snapshot()
	said := h.lastWords[lan]
	return clean && since.Before(said) && g.disturbedAt.Before(said) && h.crashInterval == h.interval &&
		s.State == vrrp.Master && s.Reason.Kind == vrrp.ReasonMasterSilent && s.Reason.Peer == h.source[lan] && i.since.After(h.crashedAt)
}

// resumed checks that nobody else is master when a router goes on as such.
func (c *checker) resumed(h *host) {
	for _, g := range c.w.hosts {
		if g == h || !g.running() {
			continue
		}
		for lan := range g.proc.insts {
			if c.inherits(g, h, lan) {
				c.fail(resumes, h, "it goes on as master %s after its last advertisement, but r%d is master since %s",
					h.time().Sub(h.sentAt[lan]), g.id+1, c.w.stamp(g.proc.insts[lan].since))
			}
		}
	}
}

// hasResumed checks that a router has resumed.
func (c *checker) hasResumed(p *process) {
	for _, i := range p.insts {
		if s := i.m.Snapshot(); p.h.down[i.lan] == 0 && p.h.allUp() && (s.State != vrrp.Master || s.Reason.Kind != vrrp.ReasonResumed) {
			c.fail(resumes, p.h, "it resumed, and is %s: %s", s.State, s.Reason)
		}
	}
}

// allUp reports whether no cable is pulled.
func (h *host) allUp() bool {
	for _, n := range h.down {
		if n > 0 {
			return false
		}
	}
	return true
}

// handsOver notes that a router is about to hand over, and whether somebody is
// there to take over.
func (c *checker) handsOver(p *process) {
	w, h := c.w, p.h
	quiet := w.lasting == 0 && c.now().Sub(w.disturbedAt) > 3*w.downMost+w.delayMost+time.Second && w.delayMost < 10*time.Millisecond
	w.disturbedAt = c.now()
	o := offer{at: c.now(), disturbed: c.now()}
	wait := vrrp.SkewTime(w.hist.Version, 0, h.interval)
	for _, g := range w.hosts {
		o.successor = o.successor || quiet && g != h && c.ready(g) && wait < 19*time.Second && c.now().Sub(g.disturbedAt) > 3*w.downMost+g.set.StartupDelay
	}
	for _, i := range p.insts {
		i.over = offer{}
		if i.m.State() == vrrp.Master && !i.m.HandingOver() && !h.set.NoHandover {
			i.over = o
		}
	}
	h.disturbed()
}

// yields notes that a master leaves its addresses to another one, which is about
// to have them.
func (c *checker) yields(i *instance, to int) {
	w, h := c.w, i.p.h
	i.over = offer{}
	if h.set.NoHandover || w.lasting > 0 || w.delayMost > 10*time.Millisecond || to >= len(w.hosts) || w.hosts[to].interval != h.interval {
		return
	}
	g := w.hosts[to]
	_, hears := w.clean(i.lan, to, h.id)
	if !hears || !g.running() || len(g.trouble) > 0 || c.now().Sub(latest(g.disturbedAt, h.disturbedAt)) < slack {
		return
	}
	if other := g.proc.insts[i.lan]; other.m.State() == vrrp.Master && !other.m.HandingOver() && !g.proc.failing() {
		i.over = offer{at: c.now(), disturbed: w.disturbedAt, successor: true, yields: true}
	}
}

// failing reports whether there are addresses that could not be added.
func (p *process) failing() bool {
	for _, i := range p.insts {
		for vip := range i.held {
			if i.held[vip].failing {
				return true
			}
		}
	}
	return false
}

// ready reports whether a backup takes over when it is asked to.
func (c *checker) ready(h *host) bool {
	if !c.able(h) {
		return false
	}
	for _, i := range h.proc.insts {
		if s := i.m.Snapshot(); s.State != vrrp.Backup || s.HeldUntil.After(h.time()) {
			return false
		}
	}
	return true
}

// removing checks that somebody else has an address when a hand-over ends.
func (c *checker) removing(i *instance, vip int) {
	w, h := c.w, i.p.h
	if i.over.at.IsZero() || !w.disturbedAt.Equal(i.over.disturbed) || vip >= len(i.cfg.Addresses) {
		return
	}
	others := 0
	for _, o := range c.owners[i.lan][vip] {
		if o != h.id {
			others++
		}
	}
	if others > 0 {
		if !i.over.yields {
			w.stats.HandOvers++
		}
	} else if i.over.successor {
		c.fail(handsOver, h, "it removes %s %s after it has given it up, and nobody has it, although somebody could", w.vip(i.lan, vip), c.now().Sub(i.over.at))
	}
}

// stops notes that a process does not run any more.
func (c *checker) stops(h *host) {
	p := h.proc
	if p == nil || p.stops+h.offs > 1 {
		return
	}
	for _, i := range p.insts {
		i.stoppedAs = i.m.State()
	}
}

// goesOn checks what a process does first that did not run for long: it is not
// master in its first turn, whatever it was before.
func (c *checker) goesOn(p *process, away time.Duration) {
	c.w.clock.AfterFunc(time.Millisecond, func() {
		if p.dead || !p.h.running() {
			return
		}
		for _, i := range p.insts {
			down := vrrp.MasterDownInterval(c.w.hist.Version, 1, c.w.intervalMost, c.w.hist.Adverts)
			limit := 2*down + slack
			if i.stoppedAs == vrrp.Master {
				limit = down + c.w.intervalMost + slack
			}
			if i.m.State() == vrrp.Master && away > limit && p.h.set.Priority != vrrp.PriorityOwner {
				c.fail(lateNotDead, p.h, "it is master right after it did not run for %s", away)
			}
		}
	})
}

// stepped checks what has to hold after every step.
func (c *checker) stepped(i *instance) {
	if i.m.State() == vrrp.Master && i.linkFaults+i.checkFaults > 0 {
		c.fail(faultless, i.p.h, "it is master with %d faults", i.linkFaults+i.checkFaults)
	}
}

// action takes in what a machine wants, and counts.
func (c *checker) action(i *instance, a vrrp.Action) {
	h, s := i.p.h, &c.w.stats
	switch a := a.(type) {
	case vrrp.Transition:
		c.transition(i, a)
	case vrrp.SendAdvertisement:
		s.Advertisements++
	case vrrp.Note:
		switch a.Reason.Kind {
		case vrrp.ReasonContested:
			s.Contests++
		case vrrp.ReasonHeld:
			s.Holds++
		case vrrp.ReasonGap:
			s.Gaps++
		case vrrp.ReasonNobodyTookOver:
			if i.over.successor && c.w.disturbedAt.Equal(i.over.disturbed) {
				c.fail(handsOver, h, "nobody took over, although somebody could")
			}
		case vrrp.ReasonLowerPriorityMaster:
			c.inOrder(h, h.source[i.lan], a.Reason.Priority, a.Reason.Peer, a.Reason.PeerPriority)
		}
	case vrrp.AddAddresses:
		if a.Restore {
			s.Restores++
		}
	}
}

// inOrder checks who is the higher of two masters (RFC 9568 §6.4.3).
func (c *checker) inOrder(h *host, winner netip.Addr, wins uint8, loser netip.Addr, loses uint8) {
	if wins < loses || wins == loses && winner.Less(loser) {
		c.fail(order, h, "%s with priority %d wins over %s with %d", winner, wins, loser, loses)
	}
}

// transition takes in a change of state.
func (c *checker) transition(i *instance, t vrrp.Transition) {
	h, s := i.p.h, &c.w.stats
	if t.To == vrrp.Master && h.time().Before(i.differed.until) && h.set.Priority != vrrp.PriorityOwner {
		c.fail(holds, h, "it becomes master (%s), although it has just heard %s", t.Reason, i.differed.from)
	}
	was := i.since
	i.since, i.differed = c.now(), difference{}
	if t.From == vrrp.Init || t.From == vrrp.FaultState {
		h.entered = c.now()
	}
	switch t.Reason.Kind {
	case vrrp.ReasonPreempt:
		s.Preemptions++
	case vrrp.ReasonHandedOver:
		s.Failovers++
	case vrrp.ReasonGap:
		s.Gaps++
	case vrrp.ReasonResumed:
		s.Resumes++
	case vrrp.ReasonHigherPriority, vrrp.ReasonHigherAddress:
		c.inOrder(h, t.Reason.Peer, t.Reason.PeerPriority, h.source[i.lan], t.Reason.Priority)
		if c.now().Sub(was) > c.w.workMost+slack { // it has them, and knows that
			c.yields(i, hostOf(t.Reason.Peer))
		}
	case vrrp.ReasonNobodyHeard, vrrp.ReasonMasterSilent:
		s.Elections++
		for _, g := range c.w.hosts {
			if g != h && !g.resumedAt.IsZero() && c.now().Sub(g.resumedAt) < g.interval && c.inherits(h, g, i.lan) {
				c.fail(resumes, h, "%s, although r%d has resumed at %s", t.Reason, g.id+1, c.w.stamp(g.resumedAt))
			}
		}
	}
}
