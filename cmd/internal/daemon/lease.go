package daemon

import (
	"errors"
	"maps"
	"slices"
	"time"

	"vipd/netif"
	"vipd/vrrp"
)

// The addresses of a master have a lease (vip_lease): the kernel removes them
// unless they are renewed, and they are renewed only while their instance
// advertises. So a process that was killed, stopped or starved, or whose loop
// hangs, loses them, and no second router answers for longer than
// vrrp.LeaseOverlap after another one has taken over.
//
// There is one keeper and one round for all leases of the host. The kernel looks
// for addresses whose time is up at most once a second: of leases that end at
// different fractions of one, some would end too late.

// roundDelay is how long after an advertisement the round comes that goes by it.
const roundDelay = 8 * time.Millisecond

// alignAgain is how often at most an instance is made to advertise together with
// another one.
const alignAgain = 10 * time.Second

// leaseGain is by how much longer an IPv4 address is to live for its renewal to be
// worth it, if it is not in danger.
const leaseGain = 5 * time.Second

// fewAddresses is how many addresses of the host are renewed more often than they
// must.
const fewAddresses = 100

// refusedRetry is how soon a round follows one in which an instance had not
// advertised for too long.
const refusedRetry = 200 * time.Millisecond

// renewalTimeout is how long after it was decided a renewal may still be sent. A
// process that is stopped in between must not renew what others have taken over.
const renewalTimeout = 100 * time.Millisecond

// withLifetime returns an address as it is to be added by a hold of that age.
func (h *hold) withLifetime(a vrrp.Address, as netif.Address, age time.Duration) netif.Address {
	s := h.settings
	if s.leaseOf(a) == 0 {
		return as
	}
	lifetime, ok := vrrp.LeaseLifetime(s.lease, s.cfg.AdvertInterval, age)
	if !ok {
		lifetime = s.lease // it is not added, see mayAdd
	}
	as.ValidLifetime = lifetime
	return as
}

// leaseOf returns the length of the lease of an address; 0 is none.
func (s *settings) leaseOf(a vrrp.Address) time.Duration {
	if _, crowded := s.unleased[a.Interface]; crowded && a.IP.Is6() {
		return 0
	}
	return s.lease
}

// schedule has the next round come in time for a hold.
func (k *keeper) schedule(h *hold) {
	h.tellEnd()
	if h.settings.lease == 0 || len(h.added) == 0 {
		return
	}
	interval := h.settings.cfg.AdvertInterval
	at := nextRound(time.Now(), vrrp.LeaseRound(h.settings.lease, interval), interval, h.inst.silence())
	if k.round.IsZero() || at.Before(k.round) {
		k.round = at
	}
}

// tellEnd lets the instance know when the first of its addresses is gone unless it
// is renewed: what is missing after that was not removed by anybody else.
func (h *hold) tellEnd() {
	var first time.Time
	for _, p := range h.added {
		if !p.until.IsZero() && (first.IsZero() || p.until.Before(first)) {
			first = p.until
		}
	}
	if first.IsZero() {
		h.inst.leased.Store(0)
		return
	}
	h.inst.leased.Store(int64(first.Sub(h.inst.born)))
}

// renewIfDue renews leases if it is time.
func (k *keeper) renewIfDue() {
	if now := time.Now(); !k.round.IsZero() && !now.Before(k.round) {
		k.renew(now)
	}
}

// renew is a round: it renews the leases that are worth it.
func (k *keeper) renew(now time.Time) {
	var leased []*hold
	var all []renewal
	var anchor *hold // whose advertisements the rounds go by
	period, count := time.Duration(0), 0
	for _, h := range k.holds {
		if h.settings.lease == 0 || !h.wanted || len(h.added) == 0 {
			continue
		}
		if p := vrrp.LeaseRound(h.settings.lease, h.settings.cfg.AdvertInterval); period == 0 || p < period {
			period = p
		}
		if anchor == nil || h.before(anchor) {
			anchor = h
		}
		leased = append(leased, h)
		count += len(h.added)
	}
	few := count <= fewAddresses
	if few && period < time.Second {
		// A process that does not run for half a second can be forgiven.
		period /= 2
	}
	refused := false
	for _, h := range leased {
		some, ok := k.due(h, now, period, few)
		all, refused = append(all, some...), refused || !ok
	}
	k.round = time.Time{}
	if anchor == nil {
		return
	}
	refused = !k.carryOut(all, now) || refused
	if few {
		k.align(leased, anchor, now)
	}
	if refused {
		// Its advertisement may only be late: soon after it, the lease may not live
		// to see another round.
		k.round = time.Now().Add(refusedRetry)
		return
	}
	k.round = nextRound(time.Now(), period, anchor.settings.cfg.AdvertInterval, anchor.inst.silence())
	// A lease that was given late is short, and one that was not worth a renewal when
	// rounds went by another instance may end before the next round.
	if ends := soonest(leased); !ends.IsZero() {
		if at := ends.Add(-period / 2); at.Before(k.round) {
			k.round = later(at, time.Now().Add(refusedRetry))
		}
	}
}

// soonest returns when the first lease ends unless it is renewed.
func soonest(leased []*hold) (ends time.Time) {
	for _, h := range leased {
		for a, p := range h.added {
			if p.ours && !p.until.IsZero() && (ends.IsZero() || p.until.Before(ends)) && !slices.Contains(h.leaving, a) {
				ends = p.until
			}
		}
	}
	return ends
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// align has the other instances that advertise as often as the one that rounds go by
// do so at the same time, by one advertisement that comes early. A lease has whole
// seconds: given half an interval after the advertisement it is a second shorter,
// and this process may be held up for that much less. A thousand at a time would be
// more than those who listen have room for.
func (k *keeper) align(leased []*hold, anchor *hold, now time.Time) {
	interval, silence := anchor.settings.cfg.AdvertInterval, anchor.inst.silence()
	if interval < time.Second || silence > interval {
		return
	}
	for _, h := range leased {
		s := h.settings
		if h == anchor || s.cfg.AdvertInterval != interval || now.Sub(h.aligned) < alignAgain {
			continue
		}
		if lifetime, ok := vrrp.LeaseLifetime(s.lease, interval, h.inst.silence()); !ok || lifetime >= s.lease {
			continue
		}
		h.aligned = now
		inst := h.inst
		time.AfterFunc(interval-silence+alignDelay, func() {
			inst.post(func(inst *instance) {
				if inst.m.State() == vrrp.Master {
					inst.loop().step(inst, time.Now(), vrrp.Reconfigure{Config: inst.machine, Advertise: true})
				}
			})
		})
	}
}

// alignDelay is how long after the advertisement that it goes by such a one comes.
const alignDelay = time.Millisecond

// before puts those first whose advertisements are more frequent, and otherwise in
// one order: rounds that went by one and then by another would be too far apart.
func (h *hold) before(other *hold) bool {
	a, b := &h.settings.cfg, &other.settings.cfg
	return a.AdvertInterval < b.AdvertInterval || a.AdvertInterval == b.AdvertInterval && a.Name < b.Name
}

// nextRound returns when the next round is: after about a period, and right after
// an advertisement of the instance that was silent for so long, if it advertises
// less often than that. Then the lease is the longest there can be.
func nextRound(now time.Time, period, interval, silence time.Duration) time.Time {
	next := now.Add(period)
	if interval < period || silence < 0 || silence > 2*interval {
		return next
	}
	at := now.Add(interval - silence + roundDelay)
	for at.Before(now.Add(period / 2)) {
		at = at.Add(interval)
	}
	if at.After(now.Add(period + period/2)) {
		return next
	}
	return at
}

// A renewal is one address to renew.
type renewal struct {
	h  *hold
	a  vrrp.Address
	as netif.Address
}

// due returns what of a hold is to be renewed now, and reports whether that is all
// that needs it: who does not advertise in time is looked at again soon.
func (k *keeper) due(h *hold, now time.Time, period time.Duration, few bool) (out []renewal, ok bool) {
	s := h.settings
	lifetime, ok := vrrp.LeaseLifetime(s.lease, s.cfg.AdvertInterval, h.inst.silence())
	if !ok {
		return nil, false // it does not advertise
	}
	for a, p := range h.added {
		left := p.until.Sub(now)
		if !p.ours || s.leaseOf(a) == 0 || !h.worth(a, left, lifetime, period, few) || slices.Contains(h.leaving, a) {
			continue
		}
		if lifetime <= left {
			// The advertisement is late. What it was given after the one before is as
			// right, and longer.
			ok = false
			continue
		}
		as := k.where(h, p.as)
		as.ValidLifetime = lifetime
		out = append(out, renewal{h, a, as})
	}
	return out, true
}

// worth reports whether an address is to be renewed that is there for so long yet
// and could be for the lifetime.
func (h *hold) worth(a vrrp.Address, left, lifetime, period time.Duration, few bool) bool {
	switch {
	case left <= 0:
		// Too late: another router may have taken over. Whether the kernel has
		// been there yet makes no difference.
		return false
	case left < period+period*7/10:
		return true // it might not live to see the round after the next
	case a.IP.Is4() && few:
		// As often as it advertises the lease could be longer, and outlast a restart
		// after a crash.
		return lifetime-left >= min(h.settings.cfg.AdvertInterval, leaseGain)*4/5
	}
	// The kernel compares an IPv6 address that is renewed with all others, and
	// reports its multicast groups to the network again: not before half of its
	// lease is over, and right after an advertisement if it lives to see the next,
	// since then it lasts longest.
	whole := lifetime+period >= h.settings.lease
	return left <= h.settings.lease/2 && (whole || left < h.settings.cfg.AdvertInterval-h.inst.silence()+2*period)
}

// carryOut renews leases, which was decided at a time, and reports whether all could
// be sent in time. Many take a while: what is left is decided anew.
func (k *keeper) carryOut(all []renewal, decided time.Time) bool {
	inTime := true
	for len(all) > 0 {
		n := min(len(all), chunk(all[0].a.IP))
		inTime = k.renewSome(all[:n], decided) && inTime
		decided = time.Now()
		all = k.redecide(all[n:], decided)
	}
	return inTime
}

// redecide returns the renewals that still make sense, with their lifetimes from now.
func (k *keeper) redecide(all []renewal, now time.Time) []renewal {
	var h *hold
	var lifetime time.Duration
	var ok bool
	left := all[:0]
	for _, r := range all {
		if r.h != h {
			h = r.h
			lifetime, ok = vrrp.LeaseLifetime(h.settings.lease, h.settings.cfg.AdvertInterval, h.inst.silence())
		}
		if ok && r.h.added[r.a].until.After(now) {
			r.as.ValidLifetime = lifetime
			left = append(left, r)
		}
	}
	return left
}

// renewSome renews leases in one go.
func (k *keeper) renewSome(some []renewal, decided time.Time) (inTime bool) {
	addrs := make([]netif.Address, len(some))
	for i, r := range some {
		addrs[i] = r.as
	}
	inst := some[0].h.inst
	at := inst.clock() - time.Since(decided) // by the clock that shows a suspend
	results := k.table.RenewFunc(addrs, func() bool { return inst.clock()-at < renewalTimeout })
	inTime = true
	var last *hold
	for i, res := range results {
		r := some[i]
		switch {
		case res.Err == nil:
			p := r.h.added[r.a]
			p.until = decided.Add(r.as.ValidLifetime)
			r.h.added[r.a] = p
			if last != nil && last != r.h {
				last.tellEnd()
			}
			last = r.h
		case errors.Is(res.Err, netif.ErrCalledOff):
			inTime = false
		case errors.Is(res.Err, netif.ErrNotPresent):
			// It is missed otherwise; see instance.reconcile.
		default:
			r.h.settings.log.Warn("cannot renew the lease of an address", "address", r.as.Prefix, "error", res.Err)
		}
	}
	if last != nil {
		last.tellEnd()
	}
	return inTime
}

// adjustLease gives the addresses of an instance the lifetimes that its settings
// ask for, if they were other ones before. Without settings from before they are
// not known.
func (k *keeper) adjustLease(h *hold, was *settings) {
	s := h.settings
	if was != nil && was.lease == s.lease && maps.Equal(was.unleased, s.unleased) {
		return
	}
	now := time.Now()
	lifetime, ok := vrrp.LeaseLifetime(s.lease, s.cfg.AdvertInterval, h.inst.silence())
	if !ok {
		lifetime = s.lease
	}
	var all []renewal
	for a, p := range h.added {
		if !p.ours || slices.Contains(h.leaving, a) {
			continue
		}
		as := k.where(h, p.as)
		if s.leaseOf(a) > 0 {
			as.ValidLifetime = lifetime
		}
		all = append(all, renewal{h, a, as})
	}
	var leased []renewal
	var free []netif.Address
	for _, r := range all {
		p := h.added[r.a]
		if r.as.ValidLifetime > 0 {
			leased = append(leased, r)
			if p.until.IsZero() {
				p.until = now.Add(lifetime) // also if this renewal is called off: the next may not be
			}
		} else {
			free = append(free, r.as)
			p.until = time.Time{}
		}
		h.added[r.a] = p
	}
	k.carryOut(leased, now)
	for i, res := range k.inChunks(free, func(some []netif.Address) []netif.Result { return k.table.RenewFunc(some, nil) }) {
		if res.Err != nil && !errors.Is(res.Err, netif.ErrNotPresent) {
			s.log.Warn("cannot end the lease of an address", "address", free[i].Prefix, "error", res.Err)
		}
	}
	k.schedule(h)
}

// keepForGood ends all leases and waits until that is done: the addresses are to
// outlive this process.
func (k *keeper) keepForGood() {
	done := make(chan struct{})
	k.inbox.put(func() {
		defer close(done)
		k.round = time.Time{}
		for _, h := range k.holds {
			var addrs []netif.Address
			for _, p := range h.added {
				if p.ours && h.mayAdd() { // else they may be another router's by now
					addrs = append(addrs, k.where(h, p.as))
				}
			}
			for i, res := range k.table.RenewFunc(addrs, nil) {
				if res.Err != nil {
					h.settings.log.Error("cannot end the lease of an address, which goes with it", "address", addrs[i].Prefix, "error", res.Err)
				}
			}
		}
	})
	select {
	case <-done:
	case <-time.After(stopTimeout):
	}
}
