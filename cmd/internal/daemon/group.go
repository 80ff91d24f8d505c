package daemon

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"vipd/cmd/internal/logging"
	"vipd/cmd/internal/notify"
	"vipd/config"
	"vipd/vrrp"
)

// A syncGroup is a vrrp_sync_group: its members share a loop, whose goroutine
// owns them and it.
type syncGroup struct {
	cfg     config.SyncGroup
	log     *slog.Logger
	g       *vrrp.Group
	members []*instance
	told    *notifications
	// New masters whose addresses are not all in place yet, in the order in
	// which they became master; untold is the group's own event, after theirs.
	settling []*instance
	untold   []notify.Event
	last     vrrp.Transition

	dissolved vrrp.GroupSnapshot // what it was when its members left
}

// join makes a group of instances of one loop, before any of them is stepped.
func join(cfg config.SyncGroup, members []*instance, log *slog.Logger, told *notifications) *syncGroup {
	g := &syncGroup{cfg: cfg, log: log.With("sync_group", cfg.Name), members: members, told: told}
	machines := make([]vrrp.GroupMember, len(members))
	for i, inst := range members {
		inst.group, inst.member = g, i
		machines[i] = vrrp.GroupMember{Name: inst.cfg.Name, Machine: inst.m}
	}
	g.g = vrrp.NewGroup(cfg.Name, machines)
	return g
}

// transition logs and tells a change of the state of the group as a whole.
func (g *syncGroup) transition(t vrrp.Transition) {
	level := logging.LevelNotice
	if t.To == vrrp.FaultState {
		level = slog.LevelWarn
	}
	g.log.Log(context.Background(), level, "transition", "from", t.From.String(), "to", t.To.String(), "reason", t.Reason.String())
	g.told.group(g, t)
}

// stepGroup feeds one event to the machine of an instance in a group, queues the
// advertisements that its members want and keeps their other actions.
func (l *loop) stepGroup(inst *instance, now time.Time, ev vrrp.Event) {
	g := inst.group
	others := false
	for _, a := range g.g.Step(now, inst.member, ev) {
		if a.Member < 0 {
			l.effects = append(l.effects, effect{group: g, action: a.Action})
			continue
		}
		others = others || a.Member != inst.member
		l.want(now, g.members[a.Member], a.Action)
	}
	l.wakeAsWanted(inst)
	if !others {
		return // nothing has changed for them
	}
	for _, member := range g.members {
		l.wakeAsWanted(member)
		member.dateFaults()
	}
}

// loopNames says for every instance which loop it runs on: one per interface,
// but one for all interfaces that a sync group joins. An instance without an
// interface that is in no group has a loop of its own.
func loopNames(cfg *config.Config) map[string]string {
	names := make(map[string]string, len(cfg.Instances))
	for _, inst := range cfg.Instances {
		names[inst.Name] = inst.Interface
		if inst.Interface == "" {
			names[inst.Name] = "instance " + inst.Name
		}
	}
	for _, g := range cfg.SyncGroups {
		var joined []string
		for _, member := range g.Members {
			if name, ok := names[member]; ok && !slices.Contains(joined, name) {
				joined = append(joined, name)
			}
		}
		if len(joined) < 2 {
			continue
		}
		for inst, name := range names {
			if slices.Contains(joined, name) {
				names[inst] = joined[0]
			}
		}
	}
	return names
}

// adopt makes a group of instances of one loop that may run already; was is the
// state of the group that it continues. The loop's goroutine calls it.
func adopt(cfg config.SyncGroup, members []*instance, was vrrp.GroupSnapshot, log *slog.Logger, told *notifications) *syncGroup {
	now := time.Now()
	g := &syncGroup{cfg: cfg, log: log.With("sync_group", cfg.Name), members: members, told: told}
	machines := make([]vrrp.GroupMember, len(members))
	for i, inst := range members {
		if inst.group != nil {
			inst.leaveGroup(now)
		}
		inst.group, inst.member = g, i
		machines[i] = vrrp.GroupMember{Name: inst.cfg.Name, Machine: inst.m}
	}
	var actions []vrrp.GroupAction
	g.g, actions = vrrp.Adopt(now, cfg.Name, was, machines)
	l := members[0].loop()
	for _, a := range actions {
		if a.Member < 0 {
			l.effects = append(l.effects, effect{group: g, action: a.Action})
			continue
		}
		l.want(now, members[a.Member], a.Action)
	}
	for _, inst := range members {
		l.wakeAsWanted(inst)
		inst.dateFaults()
	}
	return g
}

// leaveGroup makes the instance independent of its group, which is dissolved.
func (inst *instance) leaveGroup(now time.Time) {
	g := inst.group
	if g.dissolved.Since.IsZero() {
		g.dissolved = g.g.Snapshot()
	}
	if len(inst.untold) > 0 {
		g.told.flush(inst)
	}
	inst.group = nil
	l := inst.loop()
	for _, a := range inst.m.Leave(now) {
		l.want(now, inst, a)
	}
	l.wakeAsWanted(inst)
	inst.dateFaults()
}
