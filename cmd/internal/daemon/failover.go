package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/vrrp"
)

var _ control.Failoverer = (*Daemon)(nil)

// Failover implements control.Failoverer: instances hand mastership over because
// the operator wants it so, or with end do not leave it to others any more.
func (d *Daemon) Failover(ctx context.Context, names []string, end bool) ([]control.FailoverResult, error) {
	d.changing.RLock()
	defer d.changing.RUnlock()
	d.mu.RLock()
	cfg, instances := d.cfg, d.instances
	d.mu.RUnlock()
	chosen := make(map[string]bool)
	for _, name := range names {
		known := slices.ContainsFunc(instances, func(inst *instance) bool { return inst.shared().cfg.Name == name })
		if known {
			chosen[name] = true
		}
		for _, g := range cfg.SyncGroups {
			if g.Name == name && !known {
				known = true
				for _, m := range g.Members {
					chosen[m] = true
				}
			}
		}
		if !known {
			return nil, &control.UnknownNameError{Name: name}
		}
	}
	// A sync group hands over as a whole.
	for _, g := range cfg.SyncGroups {
		if slices.ContainsFunc(g.Members, func(m string) bool { return chosen[m] }) {
			for _, m := range g.Members {
				chosen[m] = true
			}
		}
	}
	refused := d.refuseFailover(cfg, instances, end)
	var results []control.FailoverResult
	answers := make(map[string]chan control.FailoverResult)
	// Members of one group are stepped in one turn of their loop.
	byLoop := make(map[*loop][]*instance)
	for _, inst := range instances {
		if name := inst.shared().cfg.Name; chosen[name] && refused[name] == "" {
			answers[name] = make(chan control.FailoverResult, 1)
			byLoop[inst.loop()] = append(byLoop[inst.loop()], inst)
		}
	}
	for l, some := range byLoop {
		l.post(func() {
			for _, inst := range some {
				r := control.FailoverResult{Name: inst.cfg.Name}
				r.Done, r.Text = inst.failover(end)
				answers[inst.cfg.Name] <- r
			}
		})
	}
	for _, inst := range instances {
		name := inst.shared().cfg.Name
		answer := answers[name]
		if answer == nil {
			if chosen[name] {
				results = append(results, control.FailoverResult{Name: name, Text: refused[name]})
			}
			continue
		}
		select {
		case r := <-answer:
			results = append(results, r)
			d.log.Info("failover", "instance", r.Name, "end", end, "result", r.Text)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return results, nil
}

// refuseFailover says what keeps instances from handing over, by name: addresses that
// stay on this host whoever is master, their own or of another member of their group.
func (d *Daemon) refuseFailover(cfg *config.Config, instances []*instance, end bool) map[string]string {
	refused := make(map[string]string)
	s := d.links.current.Load()
	if s == nil || end {
		return refused
	}
	find := finder(s)
	for _, inst := range instances {
		set := inst.shared()
		for _, a := range set.order {
			if _, there := find(a); there && !d.journal.owns(a, find) {
				refused[set.cfg.Name] = fmt.Sprintf("is not handed over: %s is an address of this host itself, which stays when %s is handed over", a, set.cfg.Name)
			}
		}
	}
	for _, g := range cfg.SyncGroups {
		why := ""
		for _, m := range g.Members {
			why = cmp.Or(why, refused[m])
		}
		for _, m := range g.Members {
			if why != "" {
				refused[m] = why
			}
		}
	}
	return refused
}

// failover hands the instance over, and says what that means for it.
func (inst *instance) failover(end bool) (done bool, text string) {
	before := inst.m.Snapshot()
	inst.loop().step(inst, time.Now(), vrrp.Failover{End: end})
	switch {
	case end && !before.Yielded:
		return false, "it leaves mastership to nobody in particular"
	case end:
		return true, "the priorities decide again"
	case before.State == vrrp.Master:
		return true, "hands over"
	case before.State == vrrp.Backup:
		return true, "is backup, and leaves mastership to others from now on"
	}
	return false, fmt.Sprintf("is in %s: there is nothing to hand over", before.State)
}
