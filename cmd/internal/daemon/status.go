package daemon

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

var _ control.Source = (*Daemon)(nil)

// Status implements control.Source. Every loop describes its own instances; one
// that does not answer in time fails the whole.
func (d *Daemon) Status(ctx context.Context) (control.Status, error) {
	d.changing.RLock()
	defer d.changing.RUnlock()
	d.mu.RLock()
	cfg, loops, trackers, told, lastReload := d.cfg, d.loops, d.trackers, d.told, d.lastReload
	d.mu.RUnlock()
	s := control.Status{
		Time: time.Now(),
		Daemon: control.Daemon{
			Version: d.opts.Version, PID: os.Getpid(), RouterID: cfg.Global.RouterID, Started: d.started,
			ConfigFile: d.opts.ConfigFile, RunDir: d.opts.RunDir,
		},
	}
	s.Daemon.Host, _ = os.Hostname()
	s.Daemon.Reload = lastReload
	if lastReload != nil && lastReload.Error != "" {
		s.Daemon.Degraded = true
		s.Daemon.Reasons = append(s.Daemon.Reasons, "the last reload was refused, and the configuration before it runs: "+lastReload.Error)
	}
	if d.unrecorded != "" {
		s.Daemon.Degraded = true
		s.Daemon.Reasons = append(s.Daemon.Reasons, "after a crash nothing would be cleaned up before the leases end: "+d.unrecorded)
	}
	byName := make(map[string]control.Instance)
	groups := make(map[string]control.SyncGroup)
	type answer struct {
		instances []control.Instance
		groups    []control.SyncGroup
	}
	answers := make(chan answer, len(loops))
	for _, l := range loops {
		l.post(func() {
			var out answer
			for _, inst := range l.instances {
				if inst.removing {
					continue // one of the same name may have taken its place
				}
				out.instances = append(out.instances, inst.status())
				if inst.group != nil && inst.member == 0 {
					out.groups = append(out.groups, inst.group.status())
				}
			}
			answers <- out
		})
	}
	for range loops {
		select {
		case out := <-answers:
			for _, inst := range out.instances {
				byName[inst.Name] = inst
			}
			for _, g := range out.groups {
				groups[g.Name] = g
			}
		case <-ctx.Done():
			return control.Status{}, ctx.Err()
		}
	}
	for _, l := range cfg.LeftOut {
		s.Daemon.Degraded = true
		s.Daemon.Reasons = append(s.Daemon.Reasons, fmt.Sprintf("%s: vrrp_instance %s is left out: %s", l.Pos, l.Name, l.Reason))
	}
	for _, g := range cfg.SyncGroups {
		if g, ok := groups[g.Name]; ok {
			s.SyncGroups = append(s.SyncGroups, g)
		}
	}
	for _, w := range trackers.watches {
		check := w.status()
		if check.Unrunnable != "" {
			s.Daemon.Degraded = true
			s.Daemon.Reasons = append(s.Daemon.Reasons, check.Name+" cannot be run: "+check.Unrunnable)
		}
		s.Checks = append(s.Checks, check)
	}
	if troubles := told.troubles(); len(troubles) > 0 {
		s.Daemon.Degraded = true
		s.Daemon.Reasons = append(s.Daemon.Reasons, troubles...)
	}
	for _, c := range cfg.Instances {
		inst := byName[c.Name]
		// All instances stand still together, but not all can tell.
		s.Daemon.Gaps.Count = max(s.Daemon.Gaps.Count, inst.Gaps.Count)
		s.Daemon.Gaps.Longest = max(s.Daemon.Gaps.Longest, inst.Gaps.Longest)
		if inst.Gaps.Last.After(s.Daemon.Gaps.Last) {
			s.Daemon.Gaps.Last = inst.Gaps.Last
		}
		if inst.Degraded {
			s.Daemon.Degraded = true
			s.Daemon.Reasons = append(s.Daemon.Reasons, inst.Name+": "+inst.DegradedText)
		}
		s.Instances = append(s.Instances, inst)
	}
	return s, nil
}

// status describes the instance for the control API.
func (inst *instance) status() control.Instance {
	cfg, s := inst.cfg, inst.m.Snapshot()
	out := control.Instance{
		Name: cfg.Name, Interface: cfg.Interface, VRID: cfg.VRID, Family: control.FamilyIPv4, Version: uint8(cfg.Version),
		State: control.State(s.State.String()), Since: s.Since, Reason: reason(s.Reason),
		Priority: s.Priority, BasePriority: cfg.Priority, Want: control.StateBackup, Owner: cfg.Priority == vrrp.PriorityOwner,
		AdvertInterval: control.Seconds(cfg.AdvertInterval), Preempt: cfg.Preempt, PreemptDelay: control.Seconds(cfg.PreemptDelay),
		SourceAddress: s.Source,
		Timers:        control.Timers{MasterDownAt: s.MasterDownAt, AdvertAt: s.AdvertAt, PreemptAt: s.PreemptAt},
		Counters:      inst.counterStatus(),
		Tracks:        inst.trackStatus(), Pending: s.Pending, SyncGroup: cfg.SyncGroup,
		Notifications: inst.told.history(false, cfg.Name), Advice: inst.advice(),
	}
	out.Arithmetic = control.Arithmetic(cfg.Priority, s.Priority, out.Tracks, time.Now())
	if cfg.Family == vrrp.IPv6 {
		out.Family = control.FamilyIPv6
	}
	if cfg.StartMaster {
		out.Want = control.StateMaster
	}
	for _, p := range cfg.Peers {
		out.Peers = append(out.Peers, p.Addr)
	}
	switch {
	case s.State == vrrp.Master:
		out.Master = &control.Master{Self: true, Address: s.Source, Priority: s.Priority, Interval: control.Seconds(cfg.AdvertInterval)}
	case s.Lower.At.After(s.Master.At):
		out.Master = master(s.Lower)
	case s.Master.Addr.IsValid():
		out.Master = master(s.Master)
	}
	for _, f := range s.Faults {
		out.Faults = append(out.Faults, control.Fault{Kind: f.Kind.String(), Name: f.Name, Text: f.String(), Since: inst.faultSince[faultKey{f.Kind, f.Name}]})
	}
	missing := inst.addressStatus(&out)
	if s.State == vrrp.Master && missing > 0 {
		degrade(&out, degradedText(missing, len(out.Addresses)))
	}
	inst.foreignStatus(&out)
	inst.graceStatus(&out)
	inst.mismatchStatus(&out)
	inst.ownership(&out, &s)
	for _, t := range inst.history {
		out.History = append(out.History, control.Transition{
			At: t.at, From: control.State(t.From.String()), To: control.State(t.To.String()), Reason: reason(t.Reason),
		})
	}
	return out
}

// ownership adds who has the addresses besides this router, or is about to.
func (inst *instance) ownership(out *control.Instance, s *vrrp.Snapshot) {
	out.HandingOver, out.Yielded, out.Gaps, out.Events = s.HandingOver, s.Yielded, inst.gaps, slices.Clone(inst.events)
	out.Lease = &control.Lease{Length: control.Seconds(inst.lease)}
	switch {
	case inst.lease == 0:
		out.Lease.Off = "vip_lease is off"
	default:
		if overlap, ok := inst.cfg.LeaseOverlap(); ok {
			out.Lease.Overlap = control.Seconds(overlap)
		}
		inst.leaseStatus(out.Lease)
	}
	if time.Now().Before(s.HeldUntil) && s.Held.IsValid() {
		out.Held = &control.Held{Peer: s.Held, Until: s.HeldUntil}
		degrade(out, fmt.Sprintf("cannot take over: %s is heard, and its configuration differs", s.Held))
	}
	if s.State == vrrp.Master && inst.fights() {
		degrade(out, "another program keeps removing its addresses, which are put back once a second")
	}
	known := make(map[vrrp.MAC]bool) // routers
	for _, mac := range inst.macs {
		known[mac] = true
	}
	for _, r := range s.Rivals {
		rival := control.Rival{Address: r.Addr, Priority: r.Priority, VIP: r.Address.IP, Since: r.Since, LastHeard: r.Last}
		mac := r.MAC
		if r.Addr.IsValid() {
			mac = inst.macs[r.Addr]
		}
		if mac != (vrrp.MAC{}) {
			rival.MAC = mac.String()
		}
		if !r.Addr.IsValid() && known[mac] {
			continue // the router of that address, once more
		}
		out.Contested = append(out.Contested, rival)
		text := fmt.Sprintf("contested by %s", r.MAC)
		if r.Addr.IsValid() {
			text = fmt.Sprintf("contested by %s, priority %d", r.Addr, r.Priority)
		}
		degrade(out, text)
	}
}

// degrade adds a reason why an instance does not work as it should.
func degrade(out *control.Instance, text string) {
	if out.Degraded {
		text = out.DegradedText + "; " + text
	}
	out.Degraded, out.DegradedText = true, text
}

// leaseStatus adds why addresses have no lease although the instance has one. If none
// has there is none.
func (inst *instance) leaseStatus(l *control.Lease) {
	without := 0
	for _, a := range inst.order {
		why := ""
		as := inst.addresses[a]
		switch {
		case inst.leaseOf(a) == 0:
			why = fmt.Sprintf("there are more than %d IPv6 addresses on %s", config.MaxLeasedIPv6, a.Interface)
		case inst.noLease != nil && hasSiblings(&as):
			if err := inst.noLease(a.Interface); err != "" {
				why = fmt.Sprintf("IPv4 addresses on %s get none, as promote_secondaries is off there and cannot be set (%s), so that others of their subnets would expire with them; set it from outside: sysctl -w net.ipv4.conf.%s.promote_secondaries=1", a.Interface, err, a.Interface)
			}
		}
		if why != "" {
			l.Off = cmp.Or(l.Off, why)
			without++
		}
	}
	if without > 0 && without == len(inst.order) {
		l.Length, l.Overlap = 0, 0
	}
}

// addressStatus adds the addresses, and returns how many of them a master
// lacks.
func (inst *instance) addressStatus(out *control.Instance) int {
	missing := 0
	add := func(a config.Address, advertised bool) {
		key := vrrp.Address{IP: a.Prefix.Addr(), Interface: a.Interface}
		ready, err := inst.m.Address(key)
		row := control.Address{Address: a.Prefix, Interface: a.Interface, Label: a.Label, Advertised: advertised}
		if inst.view.find != nil {
			var there netif.PresentAddress
			there, row.Present = inst.view.find(key)
			// How long it has left is not known from there: who renews it does so
			// without waking anybody.
			if end := inst.leased.Load(); row.Present && there.Valid != netif.Forever && addedByVipd(there) && end > 0 {
				row.Lease = control.Seconds(max(0, time.Duration(end)-time.Since(inst.born)).Round(10 * time.Millisecond))
			}
		}
		if err != nil {
			row.Error = err.Error()
		}
		if !ready {
			missing++
		}
		out.Addresses = append(out.Addresses, row)
	}
	for i, a := range inst.cfg.Addresses {
		add(a, i < inst.advertised)
	}
	for _, a := range inst.cfg.Excluded {
		add(a, false)
	}
	return missing
}

// foreignStatus tells of addresses that are on the host, but not by vipd's doing: they
// stay there when another router is master. Those of an owner are meant to.
func (inst *instance) foreignStatus(out *control.Instance) {
	if inst.cfg.Priority == vrrp.PriorityOwner || inst.view.find == nil || inst.m.HandingOver() {
		return
	}
	var foreign []vrrp.Address
	for _, a := range inst.order {
		there, present := inst.view.find(a)
		if present && (out.State == control.StateMaster && inst.foreign[a] || out.State == control.StateBackup && !addedByVipd(there)) {
			foreign = append(foreign, a)
		}
	}
	was, stays, it := "was", "stays", "it"
	if len(foreign) > 1 {
		was, stays, it = "were", "stay", "them"
	}
	switch {
	case len(foreign) == 0:
	case out.State == control.StateMaster:
		degrade(out, fmt.Sprintf("%s %s not put there by vipd, and %s when this node is not master: remove %s", joined(foreign), was, stays, it))
	default:
		degrade(out, fmt.Sprintf("%s %s not put there by vipd, and this node is not master, so that two hosts answer: remove %s", joined(foreign), was, it))
	}
}

// status describes the group for the control API.
func (g *syncGroup) status() control.SyncGroup {
	s := g.g.Snapshot()
	return control.SyncGroup{
		Name: g.cfg.Name, State: control.State(s.State.String()), Since: s.Since, Reason: reason(s.Reason),
		Members: g.cfg.Members, Notifications: g.told.history(true, g.cfg.Name),
	}
}

func degradedText(missing, of int) string {
	if of == 1 {
		return "the address is not in place"
	}
	return fmt.Sprintf("%d of %d addresses are not in place", missing, of)
}

func reason(r vrrp.Reason) control.Reason {
	if r.Kind == 0 {
		return control.Reason{}
	}
	return control.Reason{Kind: r.Kind.String(), Text: r.String()}
}

func master(p vrrp.Peer) *control.Master {
	return &control.Master{Address: p.Addr, Priority: p.Priority, Interval: control.Seconds(p.Interval), LastHeard: p.At}
}

func (inst *instance) counterStatus() control.Counters {
	c := inst.counters
	out := control.Counters{
		Received: c.received, Sent: c.sent, BecomeMaster: c.becameMaster, ReleaseMaster: c.releasedMaster,
		PriorityZeroReceived: c.priorityZeroReceived, PriorityZeroSent: c.priorityZero, SendErrors: c.sendErrors,
		AnnouncementsSent: inst.announced.Load(), Restored: c.restored, LeaseExpired: c.expired, Resumed: c.resumed,
		HandedOver: c.handedOver, Contested: c.contested, Gaps: inst.gaps.Count, Drops: make(map[string]uint64),
	}
	for drop, n := range c.drops {
		if n > 0 {
			out.Drops[strings.ReplaceAll(vrrpconn.Drop(drop).String(), " ", "_")] = n
		}
	}
	if p := inst.port; p != nil {
		out.SocketDrops, out.UnknownVRID = p.conn.Drops(), p.unknown
		if p.short > 0 {
			out.Drops["truncated"] += p.short
		}
	}
	return out
}
