package sim

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"vipd/arp"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// batchWindow is by how much an advertisement may be early.
const batchWindow = time.Millisecond

// A process is what runs the virtual routers of a host: it does what the daemon
// does, in the same order. In each turn it takes what was received, what the
// effectors report, and then the timers that ran out, but not before it has taken
// what was received until then; then all advertisements go out, and only after
// them the effects are carried out.
type process struct {
	w     *world
	h     *host
	insts []*instance
	group *vrrp.Group

	dead     bool
	stops    int // SIGSTOP
	stopping bool
	kicked   bool
	gap      time.Duration // for which the host did not run and no clock shows
	deferred []func()      // what could not run while it was stopped
	inbox    []func()
	out      []outgoing
	effects  []effect
	busyTo   time.Time // of the worker
	pending  int       // what the worker has to do
	refused  bool      // leases were not renewed, for want of advertisements
	wakeAt   time.Time
	wakeSeq  uint64
}

// An instance is a virtual router, and what the process knows of it.
type instance struct {
	p      *process
	lan    int
	m      *vrrp.Machine
	cfg    vrrp.Config
	expect vrrpconn.Expect

	sent      time.Time // the last advertisement; this host's time
	lastEmpty time.Time // when nothing waited to be received

	// The keeper of addresses.
	epoch    uint64
	held     []hold // by VIP
	schedule *arp.Schedule[int]
	silent   bool // it was told to stop announcing

	// What is checked.
	linkFaults, checkFaults int
	stoppedAs               vrrp.State
	since                   time.Time // of the state; simulated time
	offered                 time.Time // when it was seen to hand over last
	handing                 time.Time // since when it hands over

	mismatchAt []time.Time // by VIP, since when the table is not as the state
	heard      []contest   // by host
	differed   difference
	over       offer
}

// A hold is what the keeper knows of one address.
type hold struct {
	wanted, placed bool
	failing        bool
	deadline       time.Time // this host's time
}

type outgoing struct {
	inst     *instance
	priority uint8
}

type effect struct {
	inst   *instance
	action vrrp.Action
}

// newProcess starts a process: it goes on as master if the kernel's record allows
// it, or removes what an earlier one has left.
func newProcess(h *host) *process {
	p := &process{w: h.w, h: h}
	h.restarts = false
	hist := p.w.hist
	resume := true
	for lan := range h.table {
		age, there := time.Duration(0), false
		for vip := range h.table[lan] {
			if a := &h.table[lan][vip]; a.present {
				age, there = max(age, h.time().Sub(a.renewed)+vrrp.LeaseSilence(h.lease(), h.interval, a.expires.Sub(a.renewed).Truncate(time.Second))), true
			}
		}
		resume = resume && there && h.masterOf[lan] && (vrrp.MayResume(h.interval, hist.Adverts, age) || p.w.bug == bugLateResume)
	}
	resume = resume && h.checksFail == 0
	var members []vrrp.GroupMember
	for lan := range h.table {
		i := &instance{p: p, lan: lan, held: make([]hold, hist.VIPs), mismatchAt: make([]time.Time, hist.VIPs), heard: make([]contest, hist.Routers)}
		i.schedule = arp.NewSchedule[int](arp.Timing{MasterDelay: 5 * time.Second, MasterRepeat: 1, Refresh: hist.Refresh, RefreshRepeat: 1, LowerPrioDelay: 5 * time.Second, LowerPrioRepeat: 1})
		i.setConfig(h.config(lan))
		i.m = vrrp.New(i.cfg)
		members = append(members, vrrp.GroupMember{Name: "lan" + string(rune('0'+lan)), Machine: i.m})
		p.insts = append(p.insts, i)
		p.drain(i, true) // what came before there was a socket
	}
	h.proc = p
	for _, i := range p.insts {
		for vip := range h.table[i.lan] {
			if a := &h.table[i.lan][vip]; a.present && resume && vip < len(i.cfg.Addresses) {
				i.held[vip].placed = true
				i.held[vip].deadline = a.expires
			} else if a.present {
				h.remove(i.lan, vip)
			}
		}
	}
	if len(members) > 1 {
		p.group = vrrp.NewGroup("group", members)
	}
	switch {
	case resume:
		h.resumedAt = p.w.clock.now
		p.w.check.resumed(h)
	case slices.Contains(h.masterOf, true):
		p.w.stats.LateRestarts++
	}
	h.disturbed()
	p.w.disturbedAt = p.w.clock.now
	h.pending = h.rng.IntN(4) == 0
	for _, i := range p.insts {
		p.step(i, p.linkEvent(i))
		p.step(i, h.health())
	}
	for _, i := range p.insts {
		if resume {
			p.step(i, vrrp.Resume{})
		} else {
			clear(h.masterOf)
			p.step(i, vrrp.Startup{})
		}
	}
	if resume {
		p.w.check.hasResumed(p)
	}
	if h.pending {
		p.after(h.between(0, 3*time.Second), func() {
			h.pending = false
			h.disturbed()
			p.tell(func(*instance) vrrp.Event { return h.health() })
		})
	}
	p.round(h.between(0, 500*time.Millisecond))
	p.kick()
	return p
}

func (i *instance) setConfig(cfg vrrp.Config) {
	i.cfg = cfg
	i.expect = vrrpconn.Expect{
		VRID: cfg.VRID, Version: cfg.Version, Family: vrrp.IPv4, Interval: cfg.Interval, Multicast: true, Group: vrrp.IPv4.Group(),
	}
	for _, a := range cfg.Addresses {
		i.expect.Addrs = append(i.expect.Addrs, a.IP)
	}
}

// after runs f in the process, once it runs at all.
func (p *process) after(d time.Duration, f func()) {
	p.w.clock.AfterFunc(d, func() { p.now(f) })
}

func (p *process) now(f func()) {
	switch {
	case p.dead:
	case p.stops > 0 || !p.h.on():
		p.deferred = append(p.deferred, f)
	default:
		f()
	}
}

// goOn runs what could not run meanwhile.
func (p *process) goOn() {
	deferred := p.deferred
	p.deferred = nil
	for _, f := range deferred {
		p.now(f)
	}
	if !p.dead {
		p.kick()
	}
}

// post has f run in the loop.
func (p *process) post(f func()) {
	p.inbox = append(p.inbox, f)
	p.kick()
}

// kick makes a turn of the loop soon.
func (p *process) kick() {
	if p.kicked || p.dead {
		return
	}
	p.kicked = true
	p.after(p.h.between(10*time.Microsecond, 200*time.Microsecond), func() {
		p.kicked = false
		p.turn()
	})
}

// turn does everything that is due now.
func (p *process) turn() {
	if p.gap > 0 {
		gap := p.gap
		p.gap = 0
		for _, i := range p.insts {
			p.step(i, vrrp.Gap{Length: gap})
		}
	}
	// Which of the two is first is left to chance.
	first := p.h.rng.IntN(2) == 0
	if first {
		p.takeInbox()
	}
	for _, i := range p.insts {
		p.drain(i, false)
	}
	if !first {
		p.takeInbox()
	}
	p.timers()
	for len(p.out) > 0 || len(p.effects) > 0 {
		p.flush()
		p.carryOut()
	}
	p.wake()
	if p.stopping && p.pending == 0 && !p.handsOver() {
		p.end()
	}
	p.w.check.turn(p.h)
}

func (p *process) takeInbox() {
	inbox := p.inbox
	p.inbox = nil
	for _, f := range inbox {
		f()
	}
}

func (p *process) handsOver() bool {
	return slices.ContainsFunc(p.insts, func(i *instance) bool { return i.m.HandingOver() })
}

// timers wakes the machines whose time has come.
func (p *process) timers() {
	drained := false
	for again := true; again; {
		again = false
		for _, i := range p.insts {
			at, ok := i.m.NextWake()
			if !ok {
				continue
			}
			early := time.Duration(0)
			if i.m.State() == vrrp.Master {
				early = batchWindow
			}
			now := p.h.time()
			if now.Add(early).Before(at) || now.Before(at) && i.m.HandingOver() {
				continue
			}
			if !drained {
				drained, again = true, true
				for _, j := range p.insts {
					p.drain(j, false)
				}
				break // the drain may have moved the timer
			}
			p.step(i, vrrp.Wake{Early: early})
			if next, ok := i.m.NextWake(); ok && !next.After(at) && !next.After(now) {
				p.w.check.fail("a wake that is due does nothing", p.h, "next wake is %s, now is %s", p.w.stamp(next), p.w.stamp(now))
				return
			}
			again = true
		}
	}
}

// wake asks for a turn when the next timer runs out.
func (p *process) wake() {
	var first time.Time
	for _, i := range p.insts {
		if at, ok := i.m.NextWake(); ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
		if at, ok := i.schedule.Next(); ok && !i.silent && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.Equal(p.wakeAt) {
		return
	}
	p.wakeAt = first
	p.wakeSeq++
	if first.IsZero() {
		return
	}
	n := p.wakeSeq
	p.after(first.Sub(p.h.time())+p.h.between(0, 100*time.Microsecond), func() {
		if n == p.wakeSeq {
			p.wakeAt = time.Time{}
			p.announceDue()
			p.turn()
		}
	})
}

// drain takes what waits in a socket.
func (p *process) drain(i *instance, discard bool) {
	var batch [8]vrrpconn.Datagram
	for {
		n, err := p.h.ports[i.lan].Recv(batch[:])
		if err != nil {
			return
		}
		for k := range batch[:n] {
			if !discard {
				p.receive(i, &batch[k])
			}
		}
		if n < len(batch) {
			i.lastEmpty = p.h.time()
			return
		}
	}
}

// receive hands an advertisement on that passes every check.
func (p *process) receive(i *instance, d *vrrpconn.Datagram) {
	if s := i.m.State(); s != vrrp.Backup && s != vrrp.Master && !i.m.HandingOver() {
		return
	}
	adv, _, err := i.expect.Check(d)
	differs := false
	if err != nil {
		drop, ok := errors.AsType[*vrrpconn.DropError](err)
		if !ok || !drop.Otherwise {
			return
		}
		differs = true
	}
	// The kernel stamps by the wall clock. Whoever reads that knows only what it
	// shows now, and when nothing waited.
	at, now := d.At.Add(-p.h.lag), p.h.time()
	if d.At.Before(p.h.stepAt) {
		at = at.Add(-p.h.stepBy)
	}
	if at.Before(i.lastEmpty) {
		at = i.lastEmpty
	}
	if at.After(now) {
		at = now
	}
	p.w.check.receives(i, d.Src, adv.Priority, at.Add(3*max(i.cfg.Interval, adv.Interval)), differs)
	p.step(i, vrrp.Received{Src: d.Src, Adv: adv, At: at, Differs: differs})
	p.w.check.received(i, d.Src, adv.Priority, adv.Interval)
}

// step feeds one event to a machine.
func (p *process) step(i *instance, ev vrrp.Event) {
	now := p.h.time()
	if p.w.tracing {
		p.w.say(p.h, "%s%s", i.label(), ev)
	}
	switch ev := ev.(type) {
	case vrrp.Link:
		i.linkFaults = len(ev.Faults)
	case vrrp.Health:
		i.checkFaults = len(ev.Faults)
	}
	if p.group == nil {
		for _, a := range i.m.Step(now, ev) {
			p.want(i, a)
		}
		p.w.check.stepped(i)
		return
	}
	for _, a := range p.group.Step(now, i.lan, ev) {
		if a.Member >= 0 {
			p.want(p.insts[a.Member], a.Action)
		}
	}
	for _, j := range p.insts {
		p.w.check.stepped(j)
	}
}

// label names the member of a group.
func (i *instance) label() string {
	if i.p.group == nil {
		return ""
	}
	return "lan" + string(rune('0'+i.lan)) + " "
}

// want takes one action.
func (p *process) want(i *instance, a vrrp.Action) {
	if p.w.tracing {
		p.w.sayMore("%s%s", i.label(), a)
	}
	p.w.check.action(i, a)
	if send, ok := a.(vrrp.SendAdvertisement); ok {
		p.out = append(p.out, outgoing{i, send.Priority})
		return
	}
	p.effects = append(p.effects, effect{i, a})
}

// flush sends what waits.
func (p *process) flush() {
	for _, o := range p.out {
		i := o.inst
		src, dst := p.h.source[i.lan], vrrp.IPv4.Group()
		adv := vrrp.Advertisement{Version: i.cfg.Version, VRID: i.cfg.VRID, Priority: o.priority, Interval: i.cfg.Interval, Addrs: i.expect.Addrs}
		payload, err := adv.AppendTo(nil, src, dst, vrrp.ChecksumPseudoHeader)
		if err != nil {
			p.w.check.fail("advertisements can be encoded", p.h, "%v", err)
			return
		}
		if p.h.down[i.lan] > 0 {
			continue // it cannot be sent
		}
		i.sent = p.h.time()
		p.h.sentAt[i.lan], p.h.spokeAt[i.lan] = i.sent, p.w.clock.now
		if _, err := p.h.ports[i.lan].Send([]vrrpconn.Message{{Src: src, Dst: dst, TTL: vrrp.HopLimit, Payload: payload}}); err != nil {
			p.w.check.fail("advertisements can be sent", p.h, "%v", err)
		}
	}
	p.out = p.out[:0]
	if p.refused && p.h.lease() > 0 {
		p.refused = false
		p.renew()
	}
}

// carryOut does what waits for the advertisements to be out.
func (p *process) carryOut() {
	effects := p.effects
	p.effects = nil
	for _, e := range effects {
		i := e.inst
		switch a := e.action.(type) {
		case vrrp.AddAddresses:
			if a.Restore {
				i.schedule.Lost(i.vips(a.Addrs)...)
			}
			i.hold(a)
		case vrrp.RemoveAddresses:
			if a.Addrs == nil {
				i.schedule.Stop()
				i.silent = false
				if p.w.bug != bugForgetsRemoval {
					i.release(p.w.all(i.lan))
				}
				continue
			}
			vips := i.vips(a.Addrs)
			i.schedule.Lost(vips...)
			i.release(vips)
		case vrrp.Announce:
			i.announce(i.vips(a.Addrs), a.Settled)
		case vrrp.Reannounce:
			p.h.masterOf[i.lan] = true
			if i.silent {
				var placed []int
				for vip := range i.held {
					if i.held[vip].placed {
						placed = append(placed, vip)
					}
				}
				i.announce(placed, true)
				continue
			}
			i.schedule.LowerPriority(p.h.time())
			i.send()
		case vrrp.StopAnnouncing:
			p.h.masterOf[i.lan] = false
			i.schedule.Stop()
			i.silent = true
		case vrrp.Transition:
			p.h.masterOf[i.lan] = a.To == vrrp.Master
		}
	}
}

// announce gives addresses to the schedule of announcements.
func (i *instance) announce(vips []int, settled bool) {
	i.silent = false
	now := i.p.h.time()
	i.schedule.Ready(now, vips...)
	if settled {
		i.schedule.Settled(now)
	}
	i.send()
}

// send sends the announcements that are due.
func (i *instance) send() {
	now := i.p.h.time()
	for _, vip := range i.schedule.Due(now, 0) {
		// After a stop it may have expired, and that is not known yet.
		if until := i.held[vip].deadline; until.IsZero() || now.Before(until) || i.p.w.bug == bugAnnouncesEarly {
			i.p.w.announce(i.p.h, i.lan, vip)
		}
	}
}

func (p *process) announceDue() {
	for _, i := range p.insts {
		if !i.silent {
			i.send()
		}
	}
}

// vips returns the places of addresses.
func (i *instance) vips(addrs []vrrp.Address) []int {
	out := make([]int, len(addrs))
	for k, a := range addrs {
		out[k] = i.p.w.place(a.IP)
	}
	return out
}

// work has the worker do something: one thing after the other.
func (p *process) work(f func()) {
	now := p.w.clock.now
	if p.busyTo.Before(now) {
		p.busyTo = now
	}
	most := 2 * time.Millisecond
	if len(p.h.trouble) > 0 {
		most = 10 * time.Millisecond
	}
	p.busyTo = p.busyTo.Add(p.h.between(100*time.Microsecond, most))
	p.pending++
	p.after(p.busyTo.Sub(now), func() {
		p.pending--
		f()
		if p.stopping {
			p.kick()
		}
	})
}

// hold has addresses put in place.
func (i *instance) hold(a vrrp.AddAddresses) {
	i.epoch = a.Epoch
	vips := i.vips(a.Addrs)
	for _, vip := range vips {
		i.held[vip].wanted, i.held[vip].failing = true, false
	}
	if i.p.w.bug == bugAnnouncesEarly {
		i.announce(vips, false)
	}
	for _, vip := range vips {
		i.p.work(func() { i.place(vip) })
	}
}

// errTrouble is why an address cannot be added.
var errTrouble = errors.New("no buffer space available")

// place puts one address in place, and tries again later if that fails.
func (i *instance) place(vip int) {
	p, h := i.p, i.p.h
	hold := &i.held[vip]
	if !hold.wanted {
		return
	}
	again := func(d time.Duration) {
		p.after(d, func() {
			if hold.wanted && !hold.placed {
				p.work(func() { i.place(vip) })
			}
		})
	}
	lifetime := time.Duration(0)
	if length := h.lease(); length > 0 {
		var ok bool
		if lifetime, ok = vrrp.LeaseLifetime(length, i.cfg.Interval, h.time().Sub(i.sent)); !ok {
			again(100 * time.Millisecond) // it was kept from its work
			return
		}
	}
	epoch, addrs := i.epoch, []vrrp.Address{p.w.address(i.lan, vip)}
	if n := len(h.trouble); n > 0 && h.rng.Float64() < h.trouble[n-1] {
		hold.failing = true
		p.post(func() { p.step(i, vrrp.AddressReady{Epoch: epoch, Addrs: addrs, Err: errTrouble}) })
		again(time.Second)
		return
	}
	h.add(i.lan, vip, lifetime)
	hold.placed, hold.failing, hold.deadline = true, false, h.table[i.lan][vip].expires
	p.post(func() { p.step(i, vrrp.AddressReady{Epoch: epoch, Addrs: addrs}) })
}

// release has addresses removed.
func (i *instance) release(vips []int) {
	for _, vip := range vips {
		hold := &i.held[vip]
		hold.wanted, hold.failing = false, false
		if !hold.placed {
			continue
		}
		i.p.work(func() {
			if hold.wanted || !hold.placed {
				return
			}
			hold.placed = false
			i.p.w.check.removing(i, vip)
			i.p.h.remove(i.lan, vip)
		})
	}
}

// round renews the leases, of all virtual routers in one phase.
func (p *process) round(in time.Duration) {
	if p.h.lease() == 0 {
		return
	}
	p.after(in, func() {
		p.renew()
		// Its schedule is absolute, but for what holds a process up.
		next := vrrp.LeaseRound(p.h.lease(), p.h.interval)
		p.round(p.h.time().Truncate(next).Add(next).Sub(p.h.time()) + p.h.between(0, 2*time.Millisecond))
	})
}

// renew gives the addresses of those that advertise their lifetimes anew. Those of
// who was late have to wait for the next advertisement, but not for another round.
func (p *process) renew() {
	length, now := p.h.lease(), p.h.time()
	for _, i := range p.insts {
		lifetime, ok := vrrp.LeaseLifetime(length, i.cfg.Interval, now.Sub(i.sent))
		if p.w.bug == bugRenewsAlways {
			lifetime, ok = length, true
		}
		if !ok {
			p.refused = true
			continue
		}
		for vip := range i.held {
			hold := &i.held[vip]
			if !hold.wanted || !hold.placed || !hold.deadline.IsZero() && !now.Before(hold.deadline) {
				continue // or it has expired, and that is not known yet
			}
			renew := func() {
				if !p.h.add(i.lan, vip, lifetime) {
					// It was gone: the machine has to know.
					p.post(func() { p.gone(i.lan, vip) })
				}
				hold.deadline = p.h.table[i.lan][vip].expires
			}
			if p.w.bug == bugRenewsLate {
				p.after(200*time.Millisecond, renew)
			} else {
				renew()
			}
		}
	}
}

// gone takes notice of an address that somebody else has removed, or that has
// expired.
func (p *process) gone(lan, vip int) {
	i := p.insts[lan]
	hold := &i.held[vip]
	if !hold.placed {
		return
	}
	addrs := []vrrp.Address{p.w.address(lan, vip)}
	if p.h.table[lan][vip].present {
		// The renewal has put it back, before anybody knew.
		p.step(i, vrrp.AddressLost{Addrs: addrs})
		return
	}
	hold.placed = false
	i.schedule.Lost(vip)
	if a := p.h.table[lan][vip]; !hold.deadline.IsZero() && !a.endedAt.Before(hold.deadline) && p.w.bug != bugRepairsExpiry {
		p.step(i, vrrp.AddressExpired{Addrs: addrs})
		return
	}
	p.step(i, vrrp.AddressLost{Addrs: addrs})
}

// foreign takes notice of an announcement.
func (p *process) foreign(lan, vip int, mac vrrp.MAC, at time.Time) {
	i := p.insts[lan]
	if !slices.ContainsFunc(i.cfg.Addresses, func(a vrrp.Address) bool { return p.w.place(a.IP) == vip }) {
		return
	}
	if s := i.m.State(); s != vrrp.Master && !i.m.HandingOver() {
		return
	}
	p.step(i, vrrp.ForeignOwner{Addr: p.w.address(lan, vip), MAC: mac, At: at})
	p.w.check.foreign(i, mac, at)
}

// linkEvent says in which condition an interface is.
func (p *process) linkEvent(i *instance) vrrp.Link {
	ev := vrrp.Link{Source: p.h.source[i.lan]}
	if p.h.down[i.lan] > 0 {
		ev.Faults = []vrrp.Fault{{Kind: vrrp.FaultInterfaceDown, Name: "eth"}}
	}
	return ev
}

// health says what the checks say.
func (h *host) health() vrrp.Health {
	ev := vrrp.Health{}
	if h.lowered > 0 {
		ev.Priority = uint8(max(1, int(h.set.Priority)-60*h.lowered))
	}
	if h.checksFail > 0 {
		ev.Faults = []vrrp.Fault{{Kind: vrrp.FaultCheck, Name: "check"}}
	}
	if h.pending {
		ev.Pending = []string{"another check"}
	}
	return ev
}

// tell gives an event to all virtual routers.
func (p *process) tell(ev func(i *instance) vrrp.Event) {
	p.post(func() {
		for _, i := range p.insts {
			p.step(i, ev(i))
		}
	})
}

// shutDown stops the process properly.
func (p *process) shutDown() {
	p.post(func() {
		p.stopping = true
		p.w.check.handsOver(p)
		for _, i := range p.insts {
			p.step(i, vrrp.Shutdown{})
		}
	})
}

// end is the end of a process that was stopped properly.
func (p *process) end() {
	for _, i := range p.insts {
		for vip := range i.held {
			if p.h.table[i.lan][vip].present {
				p.w.check.fail(leaves, p.h, "%s is still there", p.w.vip(i.lan, vip))
			}
		}
	}
	p.kill()
	clear(p.h.masterOf)
	if p.h.restarts {
		p.h.restarts = false
		newProcess(p.h)
	}
}

// kill ends the process.
func (p *process) kill() {
	p.dead = true
	p.h.proc = nil
	if p.w.tracing {
		p.w.say(p.h, "the process ends")
	}
}

// reload reads the configuration file anew.
func (p *process) reload() {
	p.post(func() {
		for _, i := range p.insts {
			cfg := p.h.config(i.lan)
			health := p.h.health()
			i.checkFaults = len(health.Faults)
			i.setConfig(cfg)
			p.step(i, vrrp.Reconfigure{Config: cfg, Health: &health})
		}
	})
}

// addrOf returns the sender's place.
func hostOf(a netip.Addr) int { return int(a.As4()[3]) - 1 }
