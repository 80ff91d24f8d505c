package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"vipd/vrrp"
	"vipd/vrrp/vrrptest"
)

// leaseLate is by how much the kernel is late at most when it removes an address
// whose lifetime is over.
const leaseLate = 450 * time.Millisecond

// A host is a machine with its kernel, and the process that may run on it.
type host struct {
	w   *world
	id  int
	mac vrrp.MAC
	rng *rand.Rand // how long things take

	offs    int           // what keeps it from running
	lag     time.Duration // by which its clocks are behind
	onAt    time.Time     // when it ran again
	waiting []func()      // what is to be done once it runs again
	stepAt  time.Time     // when the wall clock was stepped last
	stepBy  time.Duration

	ports  []*vrrptest.Port
	source []netip.Addr
	table  [][]address // by LAN and VIP
	sentAt []time.Time // on each LAN, the last advertisement; this host's time

	proc               *process
	restarts           bool   // to be started again once it has ended
	masterOf           []bool // the record of what it is master of, which outlives it
	crashedAt          time.Time
	crashInterval      time.Duration
	spokeAt, lastWords []time.Time // on each LAN, simulated time: the last advertisement, and the last before the crash
	resumedAt          time.Time   // zero: it was not, since then

	// The configuration file, and what the checks say.
	set         Setting
	interval    time.Duration
	fewer       int // counts what takes the last VIP out
	lowered     int
	checksFail  int
	pending     bool  // a check has no result yet
	down        []int // by LAN
	trouble     []float64
	disturbedAt time.Time // when something happened to it last
	entered     time.Time // when it entered the election last
	heardAt     time.Time // when it heard another router last, as a backup
	uncoveredAt time.Time // since when it neither owns nor hears an owner; zero: it does
}

// An address is an entry of the kernel's table.
type address struct {
	present bool
	since   time.Time // simulated time
	goneAt  time.Time // simulated time
	endedAt time.Time // the same on this host's clock
	expires time.Time // this host's time; zero: never
	renewed time.Time // this host's time
	mustGo  time.Duration
	arm     uint64
	expired bool // it is gone because its lifetime was over
}

func newHost(w *world, id int) *host {
	hist := w.hist
	h := &host{
		w: w, id: id, mac: vrrp.MAC{0x02, 0, 0, 0, 0, byte(id + 1)},
		rng: rand.New(rand.NewPCG(hist.Seed, uint64(100+id))),
		set: hist.Settings[id], interval: hist.Interval,
		sentAt: make([]time.Time, hist.LANs), spokeAt: make([]time.Time, hist.LANs), lastWords: make([]time.Time, hist.LANs), masterOf: make([]bool, hist.LANs), down: make([]int, hist.LANs),
		disturbedAt: epoch,
	}
	for l, lan := range w.lans {
		h.source = append(h.source, netip.AddrFrom4([4]byte{10, byte(l), 0, byte(1 + id)}))
		h.ports = append(h.ports, lan.Port(h.source[l]))
		h.ports[l].Notify(func() {
			if h.proc != nil {
				h.proc.kick()
			}
		})
		h.table = append(h.table, make([]address, hist.VIPs))
	}
	return h
}

// time is what the clocks of the host show.
func (h *host) time() time.Time { return h.w.clock.now.Add(-h.lag) }

func (h *host) on() bool { return h.offs == 0 }

// running reports whether its process does anything.
func (h *host) running() bool { return h.on() && h.proc != nil && h.proc.stops == 0 }

// between returns a random duration.
func (h *host) between(least, most time.Duration) time.Duration {
	return least + time.Duration(h.rng.Int64N(int64(most-least)+1))
}

// has reports whether the host answers for an address.
func (h *host) has(lan, vip int) bool { return h.offs == 0 && h.table[lan][vip].present }

// when calls f once the host runs.
func (h *host) when(f func()) {
	if h.on() {
		f()
	} else {
		h.waiting = append(h.waiting, f)
	}
}

// config returns the configuration of the virtual router on one LAN.
func (h *host) config(lan int) vrrp.Config {
	s := h.set
	return vrrp.Config{
		Version: h.w.hist.Version, VRID: 51, Priority: s.Priority, StartMaster: s.StartMaster, Interval: h.interval,
		DownTimerAdverts: h.w.hist.Adverts, NoPreempt: s.NoPreempt, PreemptDelay: s.PreemptDelay, StartupDelay: s.StartupDelay,
		LowerPriorityNoAdvert: s.LowerPriorityNoAdvert, HigherPrioritySendAdvert: !s.NoLastAdvert,
		Handover: !s.NoHandover, ResignOnLoss: s.ResignOnLoss, Addresses: h.w.addresses(lan, h.fewer > 0),
	}
}

// lease is how long the kernel keeps its addresses without a renewal, 0 for ever.
func (h *host) lease() time.Duration {
	if !h.w.hist.Leases {
		return 0
	}
	return vrrp.LeaseLength(h.w.hist.Version, h.set.Priority, h.interval, h.w.hist.Adverts)
}

// add puts an address into the table, or gives one that is there another
// lifetime. It reports whether it was there.
func (h *host) add(lan, vip int, lifetime time.Duration) (existed bool) {
	a := &h.table[lan][vip]
	existed = a.present
	if lifetime > 0 {
		h.w.check.renewal(h, lan)
	}
	if !existed {
		h.w.check.created(h, lan, vip)
		a.expired = false
		a.present, a.since = true, h.w.clock.now
	}
	a.renewed, a.expires = h.time(), time.Time{}
	if lifetime > 0 {
		a.expires = a.renewed.Add(lifetime)
		a.mustGo = vrrp.LeaseOverlap(h.lease(), h.interval, 0)
	}
	h.arm(lan, vip)
	if !existed {
		h.w.check.changed(lan, vip)
		h.w.check.places(h)
	}
	return existed
}

// arm has an address expire when its time comes.
func (h *host) arm(lan, vip int) {
	a := &h.table[lan][vip]
	a.arm++
	if !a.present || a.expires.IsZero() {
		return
	}
	n := a.arm
	h.w.clock.AfterFunc(a.expires.Sub(h.time())+h.between(0, leaseLate), func() {
		if a.arm != n || !h.on() {
			return
		}
		h.w.stats.Expiries++
		if h.w.tracing {
			h.w.say(h, "the kernel removes %s, whose lifetime is over", h.w.vip(lan, vip))
		}
		h.w.check.expires(h, lan, vip)
		h.remove(lan, vip)
		a.expired = h.proc == nil || !h.proc.insts[lan].held[vip].failing
		h.tellGone(lan, vip)
	})
}

// remove takes an address out of the table.
func (h *host) remove(lan, vip int) {
	a := &h.table[lan][vip]
	if !a.present {
		return
	}
	a.present, a.goneAt, a.endedAt = false, h.w.clock.now, h.time()
	a.arm++
	h.w.check.changed(lan, vip)
	h.w.check.places(h)
}

// tellGone tells the process that an address is gone that it did not remove.
func (h *host) tellGone(lan, vip int) {
	if p := h.proc; p != nil {
		p.after(h.between(0, 2*time.Millisecond), func() {
			p.post(func() { p.gone(lan, vip) })
		})
	}
}

// hear is ARP that says who has an address.
func (h *host) hear(lan, vip int, mac vrrp.MAC) {
	p := h.proc
	if p == nil || !h.on() {
		return
	}
	at := h.time()
	p.post(func() { p.foreign(lan, vip, mac, at) })
}

// turnOff stops the whole host, and turnOn lets it go on: as if no time had passed
// if it was suspended.
func (h *host) turnOff() {
	h.offs++
	for lan := range h.table {
		for vip := range h.table[lan] {
			h.w.check.changed(lan, vip)
		}
	}
	h.w.relink()
}

func (h *host) turnOn(length time.Duration, suspended bool) {
	h.offs--
	if suspended {
		h.lag += length
		if h.proc != nil {
			h.proc.gap += length
		}
	}
	h.w.relink()
	if !h.on() {
		return
	}
	h.onAt = h.w.clock.now
	for lan := range h.table {
		for vip := range h.table[lan] {
			h.arm(lan, vip)
			h.table[lan][vip].since = h.w.clock.now
			h.w.check.changed(lan, vip)
		}
	}
	if h.proc != nil {
		h.proc.goOn()
	}
	waiting := h.waiting
	h.waiting = nil
	for _, f := range waiting {
		f()
	}
}
