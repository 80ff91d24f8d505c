package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
	"vipd/vrrp/vrrptest"
)

const (
	// travel is how long everything travels on a link where nothing is wrong.
	travel = 200 * time.Microsecond
	// firstVIP is the last octet of the first address.
	firstVIP = 100
)

// A world is a history that is running.
type world struct {
	hist  *History
	bug   bug
	clock *clock
	lans  []*vrrptest.LAN
	hosts []*host
	// A client on each LAN, and what it has learned: which host has an address.
	clients []*vrrptest.Port
	learned [][]int
	asked   []time.Time

	active      []*Fault            // those of links
	links       [][][]vrrptest.Link // by LAN, from and to; the client is the last
	changedAt   [][][]time.Time     // when each link changed last
	lasting     int                 // how many faults last at the time
	disturbedAt time.Time           // when something happened last

	// What bounds the times that are allowed.
	intervalMost, delayMost, workMost, downMost time.Duration

	check *checker
	stats Stats

	tracing bool
	lines   []string
}

func newWorld(hist *History, b bug, tracing bool) *world {
	w := &world{hist: hist, bug: b, clock: &clock{now: epoch}, tracing: tracing, disturbedAt: epoch}
	w.check = newChecker(w)
	w.intervalMost, w.delayMost, w.workMost = hist.Interval, time.Millisecond, 20*time.Millisecond
	for i := range hist.Faults {
		switch f := &hist.Faults[i]; f.Kind {
		case OtherInterval:
			w.intervalMost = max(w.intervalMost, hist.otherInterval(f))
		case Slow:
			w.delayMost = max(w.delayMost, 2*hist.slowness(f)+time.Millisecond)
		case AddressTrouble:
			w.workMost = 100 * time.Millisecond
		}
	}
	w.downMost = time.Duration(hist.Adverts)*w.intervalMost + w.skewMost()
	n := hist.Routers + 1
	for l := range hist.LANs {
		lan := vrrptest.NewLANWithClock(hist.Seed+uint64(l), w.clock)
		w.lans = append(w.lans, lan)
		links, changed := make([][]vrrptest.Link, n), make([][]time.Time, n)
		for i := range n {
			links[i], changed[i] = make([]vrrptest.Link, n), make([]time.Time, n)
		}
		w.links, w.changedAt = append(w.links, links), append(w.changedAt, changed)
		learned := make([]int, hist.VIPs)
		for i := range learned {
			learned[i] = -1
		}
		w.learned = append(w.learned, learned)
	}
	w.asked = make([]time.Time, hist.LANs)
	for i := range hist.Routers {
		w.hosts = append(w.hosts, newHost(w, i))
	}
	for l, lan := range w.lans {
		w.clients = append(w.clients, lan.Port(netip.AddrFrom4([4]byte{10, byte(l), 0, 250})))
	}
	w.relink()
	for _, h := range w.hosts {
		w.clock.AfterFunc(h.between(0, hist.Interval/2), func() { newProcess(h) })
	}
	for i := range hist.Faults {
		f := &hist.Faults[i]
		w.clock.AfterFunc(f.At, func() { w.begin(f) })
	}
	w.ask()
	w.check.tick()
	return w
}

// run lets everything happen.
func (w *world) run() {
	end := epoch.Add(w.hist.Length)
	for w.check.violation == nil && w.clock.step(end) {
	}
}

// skewMost is the longest skew time.
func (w *world) skewMost() time.Duration {
	return vrrp.SkewTime(w.hist.Version, 0, w.intervalMost)
}

// address returns an address.
func (w *world) address(lan, vip int) vrrp.Address {
	return vrrp.Address{IP: netip.AddrFrom4([4]byte{10, byte(lan), 0, byte(firstVIP + vip)})}
}

func (w *world) vip(lan, vip int) string { return w.address(lan, vip).String() }

// place is the reverse of address.
func (w *world) place(a netip.Addr) int { return int(a.As4()[3]) - firstVIP }

// addresses returns those of a virtual router.
func (w *world) addresses(lan int, fewer bool) []vrrp.Address {
	n := w.hist.VIPs
	if fewer && n > 1 {
		n--
	}
	out := make([]vrrp.Address, n)
	for i := range out {
		out[i] = w.address(lan, i)
	}
	return out
}

// all returns the places of all addresses.
func (w *world) all(int) []int {
	out := make([]int, w.hist.VIPs)
	for i := range out {
		out[i] = i
	}
	return out
}

// announce has everybody on the LAN hear who has an address.
func (w *world) announce(h *host, lan, vip int) {
	w.check.announced(h, lan, vip)
	if w.tracing {
		w.say(h, "announces %s", w.vip(lan, vip))
	}
	for _, g := range w.hosts {
		if g != h {
			w.lans[lan].Carry(h.ports[lan], g.ports[lan], func() { g.hear(lan, vip, h.mac) })
		}
	}
	w.lans[lan].Carry(h.ports[lan], w.clients[lan], func() { w.learned[lan][vip] = h.id })
}

// ask has the client ask who has an address, now and then.
func (w *world) ask() {
	d := w.hosts[0].between(time.Second, 60*time.Second)
	w.clock.AfterFunc(d, func() {
		for l, lan := range w.lans {
			w.asked[l] = w.clock.now
			for _, h := range w.hosts {
				lan.Carry(w.clients[l], h.ports[l], func() {
					for vip := range w.hist.VIPs {
						if h.has(l, vip) {
							lan.Carry(h.ports[l], w.clients[l], func() { w.learned[l][vip] = h.id })
						}
					}
				})
			}
		}
		w.ask()
	})
}

// relink makes every link what the faults make of it.
func (w *world) relink() {
	n := len(w.hosts)
	port := func(l, i int) *vrrptest.Port {
		if i == n {
			return w.clients[l]
		}
		return w.hosts[i].ports[l]
	}
	dead := func(l, i int) bool { return i < n && (!w.hosts[i].on() || w.hosts[i].down[l] > 0) }
	for l, lan := range w.lans {
		for from := range n + 1 {
			for to := range n + 1 {
				if from == to {
					continue
				}
				link := vrrptest.Link{Delay: travel, Cut: dead(l, from) || dead(l, to)}
				for _, f := range w.active {
					if f.LAN < 0 || f.LAN == l {
						w.hist.apply(f, &link, from, to)
					}
				}
				if link != w.links[l][from][to] {
					w.links[l][from][to] = link
					w.changedAt[l][from][to] = w.clock.now
					lan.SetLink(port(l, from), port(l, to), link)
				}
			}
		}
	}
	w.check.coverage()
}

// slowness is by how much a fault of that kind delays.
func (h *History) slowness(f *Fault) time.Duration {
	return time.Duration(f.Amount * float64(min(h.Interval/4, 100*time.Millisecond)))
}

// apply does to a link what a fault does.
func (h *History) apply(f *Fault, link *vrrptest.Link, from, to int) {
	side := func(i int) bool {
		if i == h.Routers {
			return f.other
		}
		return f.Hosts>>i&1 != 0
	}
	switch f.Kind {
	case Loss:
		link.Loss = max(link.Loss, f.Amount)
	case LinkLoss:
		if from == f.Host && to == f.Other {
			link.Loss = max(link.Loss, f.Amount)
		}
	case OneWay:
		link.Cut = link.Cut || from == f.Host && to == f.Other
	case Slow:
		link.Delay += h.slowness(f)
		link.Jitter = max(link.Jitter, h.slowness(f))
	case Duplication:
		link.Duplicate = max(link.Duplicate, f.Amount)
	case Partition:
		link.Cut = link.Cut || side(from) != side(to)
	}
}

// otherInterval is the interval that such a fault sets.
func (h *History) otherInterval(f *Fault) time.Duration {
	if h.Version == vrrp.V2 {
		return h.Interval + time.Duration(1+int(f.Amount*2))*time.Second
	}
	d := time.Duration((0.5 + f.Amount) * float64(h.Interval)).Truncate(10 * time.Millisecond)
	return min(max(d, 10*time.Millisecond), vrrp.MaxIntervalV3)
}

// disturbed notes that something has happened to a host.
func (h *host) disturbed() { h.disturbedAt = h.w.clock.now }

// later undoes a fault after its time.
func (w *world) later(f *Fault, undo func()) {
	w.lasting++
	w.clock.AfterFunc(f.For, func() {
		w.lasting--
		w.disturbedAt = w.clock.now
		if w.tracing {
			w.lines = append(w.lines, fmt.Sprintf("# end of %s", f))
		}
		undo()
	})
}

// begin lets a fault happen.
func (w *world) begin(f *Fault) {
	h := w.hosts[f.Host]
	p := h.proc
	if w.tracing {
		w.lines = append(w.lines, "# "+f.String())
	}
	if f.Kind != Crash && f.Kind != Restart && f.Kind != Failover {
		w.disturbedAt = w.clock.now
	}
	// change has the process read its configuration anew, and mends it later.
	change := func(set, unset func()) {
		both := func(f func()) {
			f()
			h.disturbed()
			if h.proc != nil {
				h.proc.reload()
			}
		}
		both(set)
		w.later(f, func() { both(unset) })
	}
	switch f.Kind {
	case Loss, LinkLoss, Slow, Duplication, OneWay, Partition:
		w.active = append(w.active, f)
		w.relink()
		w.later(f, func() {
			for i, g := range w.active {
				if g == f {
					w.active = append(w.active[:i:i], w.active[i+1:]...)
					break
				}
			}
			w.relink()
			if f.Kind == OneWay || f.Kind == Partition {
				w.check.healed()
			}
		})
	case Pause:
		if p == nil || !h.on() {
			return
		}
		p.stops++
		h.disturbed()
		w.check.stops(h)
		w.later(f, func() {
			h.disturbed()
			if p.stops--; !p.dead && p.stops == 0 && h.on() {
				p.goOn()
				w.check.goesOn(p, f.For)
			}
		})
	case Suspend, Freeze:
		if !h.on() {
			return
		}
		h.turnOff()
		h.disturbed()
		w.check.stops(h)
		w.later(f, func() {
			h.disturbed()
			h.turnOn(f.For, f.Kind == Suspend)
			if h.running() {
				w.check.goesOn(h.proc, f.For)
			}
		})
	case Crash:
		if p == nil || !h.on() {
			return
		}
		w.disturbedAt = w.clock.now
		h.crashedAt, h.resumedAt = w.clock.now, time.Time{}
		h.crashInterval = h.interval
		copy(h.lastWords, h.spokeAt)
		h.disturbed()
		p.kill()
		w.clock.AfterFunc(f.For, func() {
			h.when(func() {
				if h.proc == nil {
					w.disturbedAt = w.clock.now
					h.disturbed()
					newProcess(h)
				}
			})
		})
	case Restart:
		if !h.running() || p.stopping {
			return
		}
		p.shutDown()
		w.clock.AfterFunc(f.For, func() {
			h.when(func() {
				w.disturbedAt = w.clock.now
				h.disturbed()
				if h.proc == nil {
					newProcess(h)
				} else if h.proc.stopping {
					h.restarts = true
				}
			})
		})
	case Failover:
		if !h.running() || p.stopping {
			return
		}
		p.post(func() {
			w.check.handsOver(p)
			for _, i := range p.insts {
				p.step(i, vrrp.Failover{})
			}
		})
		if f.other {
			w.clock.AfterFunc(f.For, func() {
				w.disturbedAt = w.clock.now
				if h.proc != nil {
					h.proc.tell(func(*instance) vrrp.Event { return vrrp.Failover{End: true} })
				}
			})
		}
	case ClockStep:
		h.stepAt, h.stepBy = w.clock.now, time.Duration((f.Amount-0.5)*float64(20*w.downMost))
	case LowerPriority, CheckFails:
		count := &h.lowered
		if f.Kind == CheckFails {
			count = &h.checksFail
		}
		change := func(by int) {
			*count += by
			h.disturbed()
			if h.proc != nil {
				h.proc.tell(func(*instance) vrrp.Event { return h.health() })
			}
		}
		change(1)
		w.later(f, func() { change(-1) })
	case InterfaceDown:
		change := func(by int) {
			h.down[f.LAN] += by
			h.disturbed()
			w.relink()
			if p := h.proc; p != nil {
				p.post(func() { p.step(p.insts[f.LAN], p.linkEvent(p.insts[f.LAN])) })
			}
		}
		change(1)
		w.later(f, func() { change(-1) })
	case AddressDeleted:
		vip := int(f.Amount * float64(w.hist.VIPs))
		if h.table[f.LAN][vip].present {
			h.disturbed()
			h.remove(f.LAN, vip)
			h.tellGone(f.LAN, vip)
		}
	case Reload:
		if h.set.Priority == vrrp.PriorityOwner {
			return
		}
		was := h.set.Priority
		change(func() { h.set.Priority = uint8(1 + f.Amount*253) }, func() { h.set.Priority = was })
	case OtherInterval:
		change(func() { h.interval = w.hist.otherInterval(f) }, func() { h.interval = w.hist.Interval })
	case OtherAddresses:
		change(func() { h.fewer++ }, func() { h.fewer-- })
	case AddressTrouble:
		h.trouble = append(h.trouble, f.Amount)
		h.disturbed()
		w.later(f, func() {
			h.trouble = h.trouble[:len(h.trouble)-1]
			h.disturbed()
		})
	case Noise:
		on := true
		w.later(f, func() { on = false })
		w.noise(f, &on, 0)
	}
}

// noise puts invalid advertisements on the LANs, 20 a second.
func (w *world) noise(f *Fault, on *bool, n int) {
	if !*on {
		return
	}
	for l, lan := range w.lans {
		if f.LAN >= 0 && f.LAN != l {
			continue
		}
		src, dst := netip.AddrFrom4([4]byte{10, byte(l), 0, 200}), vrrp.IPv4.Group()
		adv := vrrp.Advertisement{Version: w.hist.Version, VRID: 51, Priority: 254, Interval: w.hist.Interval, Addrs: []netip.Addr{w.address(l, 0).IP}}
		if n%2 == 0 {
			adv.Priority = vrrp.PriorityStop
		}
		payload, err := adv.AppendTo(nil, src, dst, vrrp.ChecksumPseudoHeader)
		if err != nil {
			continue
		}
		d := vrrpconn.Datagram{Src: src, Dst: dst, TTL: vrrp.HopLimit, HeaderLen: 20, TotalLen: 20 + len(payload), Payload: payload}
		switch n % 4 {
		case 0, 1:
			d.TTL--
		case 2:
			payload[len(payload)-1] ^= 1
		default:
			payload[7] ^= 1
		}
		lan.Inject(d)
	}
	w.clock.AfterFunc(50*time.Millisecond, func() { w.noise(f, on, n+1) })
}

// stamp writes a time as what has passed.
func (w *world) stamp(t time.Time) string { return t.Sub(epoch).String() }

// say adds a line to the trace.
func (w *world) say(h *host, format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf("at %s r%d ", w.stamp(w.clock.now), h.id+1)+fmt.Sprintf(format, args...))
}

// sayMore adds what follows from the last line.
func (w *world) sayMore(format string, args ...any) {
	w.lines = append(w.lines, "  "+fmt.Sprintf(format, args...))
}

// last returns the last lines of the trace, those that open a fault among them.
func last(lines []string, n int) string {
	var b strings.Builder
	if len(lines) > n {
		fmt.Fprintf(&b, "... %d lines before\n", len(lines)-n)
		lines = lines[len(lines)-n:]
	}
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}
