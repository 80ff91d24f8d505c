package daemon

import (
	"slices"
	"time"

	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// A process that dies as master, and is started again before another router can
// have missed it, goes on as master. That it was master, and until when, no record
// of its own says, which would have to be written for every advertisement, but the
// kernel: addresses with a lease, and when they were renewed last. The record in
// the run directory says whose they are.

// journalRouters returns what is to be recorded of instances.
func journalRouters(cfg *config.Config) []journalRouter {
	out := make([]journalRouter, 0, len(cfg.Instances))
	for i := range cfg.Instances {
		inst := &cfg.Instances[i]
		r := identity(inst)
		r.Interval, r.Lease = inst.AdvertInterval, inst.LeaseLength()
		for _, set := range [][]config.Address{inst.Addresses, inst.Excluded} {
			for _, a := range set {
				r.Addresses = append(r.Addresses, journalEntry{Prefix: a.Prefix, Interface: a.Interface})
			}
		}
		out = append(out, r)
	}
	return out
}

// identity returns what makes an instance the same virtual router as before.
func identity(inst *config.Instance) journalRouter {
	r := journalRouter{Name: inst.Name, Interface: inst.Interface, Family: inst.Family, VRID: inst.VRID}
	if inst.Interface == "" {
		r.Source = inst.SourceIP
	}
	return r
}

func (r *journalRouter) same(s *journalRouter) bool {
	return r.Name == s.Name && r.Interface == s.Interface && r.Family == s.Family && r.VRID == s.VRID && r.Source == s.Source
}

// resumable returns the names of the instances that go on as master, and their
// addresses that are in place, as they were listed after asOf on the kernel's clock. The members of a sync group do all together or not
// at all.
func resumable(cfg *config.Config, was journalFile, find addressFinder, asOf time.Duration) (names map[string]bool, keep map[vrrp.Address]bool) {
	names, keep = make(map[string]bool), make(map[vrrp.Address]bool)
	if was.Ending {
		return names, keep
	}
	places := make(map[string][]vrrp.Address)
	for i := range cfg.Instances {
		inst := &cfg.Instances[i]
		now := identity(inst)
		j := slices.IndexFunc(was.Routers, func(r journalRouter) bool { return r.same(&now) })
		if j < 0 {
			continue
		}
		interval := min(was.Routers[j].Interval, inst.AdvertInterval)
		configured := make(map[vrrp.Address]bool)
		for _, set := range [][]config.Address{inst.Addresses, inst.Excluded} {
			for _, a := range set {
				configured[vrrp.Address{IP: a.Prefix.Addr(), Interface: a.Interface}] = true
			}
		}
		for _, e := range was.Routers[j].Addresses {
			a := vrrp.Address{IP: e.Prefix.Addr(), Interface: e.Interface}
			p, ok := find(a)
			if !ok || p.Prefix != e.Prefix || p.Valid == netif.Forever || !addedByVipd(p) || !slices.Contains(was.Addresses, e) {
				continue
			}
			if configured[a] { // what is not goes
				places[inst.Name] = append(places[inst.Name], a)
			}
			since := netif.KernelSince(p.Updated)
			// What was left of it when the kernel said so, not before asOf, and what
			// had passed by then: whole seconds, both.
			lifetime := p.Valid + max(0, since-netif.KernelSince(asOf)).Truncate(time.Second)
			if vrrp.MayResume(interval, inst.DownTimerAdverts, since+vrrp.LeaseSilence(was.Routers[j].Lease, interval, lifetime)) {
				names[inst.Name] = true
			}
		}
	}
	for _, g := range cfg.SyncGroups {
		lacks := func(name string) bool { return !names[name] }
		if slices.ContainsFunc(g.Members, lacks) {
			for _, name := range g.Members {
				delete(names, name)
			}
		}
	}
	for name := range names {
		for _, a := range places[name] {
			keep[a] = true
		}
	}
	return names, keep
}

// resume has the instances that were master a moment ago go on, before anything
// that takes time.
func (d *Daemon) resume(names map[string]bool) {
	for _, l := range d.loops {
		l.post(func() {
			for _, inst := range l.instances {
				if names[inst.cfg.Name] {
					l.step(inst, time.Now(), inst.health)
					l.step(inst, time.Now(), vrrp.Resume{})
				}
			}
		})
	}
}
