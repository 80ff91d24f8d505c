package vrrp_test

import (
	"slices"
	"testing"
	"time"

	"vipd/vrrp"
)

// FuzzGroupKeepsItsInvariants drives a group of one to three machines with
// arbitrary events for any of them. After each step it checks what is promised of
// each machine and, besides:
//
//   - as long as the group is in Init, which it is before the last member is
//     started, its members are in Init or FaultState; from then until the first
//     is shut down all are in the same state, and so is the group, so that all
//     hold addresses or none does;
//   - master they become only when all others want to be, or all are owners;
//   - backup and master means that no member has a fault; a group stays in
//     FaultState, or once started in Init, only for a fault, a check without
//     result or a member that was shut down;
//   - priority 0 is sent only on the way to FaultState or Init;
//   - once one was shut down, none becomes master or leaves FaultState but for
//     Init;
//   - the actions of the member that was stepped come first, except at the start,
//     those of the others in their order, and the group's one transition last;
//   - the same holds of a group that adopts machines, as soon as it has them, but
//     for those that have not been started: who was in no other state than the
//     rest keeps it, and masters yield or get company;
//   - a machine that leaves keeps its state, but for the faults of others.
func FuzzGroupKeepsItsInvariants(f *testing.F) {
	two := []byte{1, 0, 100, 1, 0, 0, 100, 1, 0}
	f.Add(two, []byte{0, 0, 9, 0, 2, 0, 11, 0, 2, 0, 11, 0})
	f.Add(two, []byte{0, 0, 9, 0, 2, 0, 11, 0, 3, 200, 5, 1, 14, 0, 1, 250})
	f.Add([]byte{2, 1, 255, 1, 1, 1, 255, 2, 1, 0, 255, 3, 33}, []byte{0, 0, 9, 0, 18, 0, 6, 66, 15, 130, 24, 1, 7, 128})
	f.Add([]byte{1, 0, 100, 1, 2, 0, 200, 1, 16}, []byte{15, 64, 0, 0, 9, 0, 15, 0, 2, 0, 11, 0, 16, 200, 2, 0, 10, 255, 1, 255})
	// one leaves, becomes master alone, and comes back
	f.Add(two, []byte{0, 0, 9, 0, 243, 1, 2, 0, 243, 3, 243, 67})
	// a member that has not been started joins masters, and starts
	f.Add(two, []byte{243, 1, 0, 0, 2, 0, 243, 3, 9, 0, 2, 0})
	// both were master alone; one hears a better master and they are put together
	f.Add(two, []byte{243, 0, 0, 0, 9, 0, 2, 0, 11, 0, 12, 200, 244, 3, 0, 98, 9, 99})
	f.Fuzz(func(t *testing.T, setting, script []byte) {
		if len(setting) == 0 {
			return
		}
		n := 1 + int(setting[0]%3)
		if len(setting) < 1+4*n {
			return
		}
		var configs []vrrp.Config
		for i := range n {
			configs = append(configs, fuzzConfig(setting[1+4*i:]))
		}
		newGroupChecker(t, configs).run(script)
	})
}

// A groupChecker is a driver that believes nothing of its group.
type groupChecker struct {
	*testing.T
	all     []*checker
	g       *vrrp.Group // nil: all machines are alone
	members []*checker
	state   vrrp.State // as the group's transitions have it
	names   map[*checker]string
}

func newGroupChecker(t *testing.T, configs []vrrp.Config) *groupChecker {
	g := &groupChecker{T: t, names: make(map[*checker]string)}
	var members []vrrp.GroupMember
	for i, cfg := range configs {
		c := newChecker(t, cfg)
		g.all = append(g.all, c)
		g.names[c] = []string{"VI_1", "VI_2", "VI_3"}[i]
		members = append(members, vrrp.GroupMember{Name: g.names[c], Machine: c.m})
	}
	g.g, g.members = vrrp.NewGroup("VG_1", members), slices.Clone(g.all)
	return g
}

func (g *groupChecker) run(script []byte) {
	now := g.all[0].now
	for ; len(script) >= 2; script = script[2:] {
		now = now.Add(time.Duration(script[1]%64) * 17 * time.Millisecond)
		if script[0] >= 243 {
			g.regroup(now, script[0], script[1])
			continue
		}
		c := g.all[int(script[0]/9)%len(g.all)]
		c.now = now
		ev := g.event(c, script[0], script[1])
		now = c.now
		if member := slices.Index(g.members, c); member >= 0 {
			g.step(now, member, ev)
			continue
		}
		c.step(ev)
	}
}

// owners reports whether nobody in the group has to wait for anybody.
func (g *groupChecker) owners() bool {
	return !slices.ContainsFunc(g.members, func(c *checker) bool { return c.cfg.Priority != vrrp.PriorityOwner || !c.cfg.StartMaster })
}

// regroup makes a group of some of the machines, perhaps in another order; the
// others are alone.
func (g *groupChecker) regroup(now time.Time, kind, arg byte) {
	var was vrrp.GroupSnapshot
	if g.g != nil && arg < 128 {
		was = g.g.Snapshot()
	}
	var in []*checker
	for i, c := range g.all {
		c.now = now
		if arg>>i&1 == 1 && !c.ended {
			in = append(in, c)
		} else if slices.Contains(g.members, c) {
			g.leave(c)
		}
	}
	if kind%2 == 0 {
		slices.Reverse(in)
	}
	g.g, g.members, g.state = nil, in, was.State
	if len(in) == 0 {
		return
	}
	var members []vrrp.GroupMember
	olds := make([]before, len(in))
	for i, c := range in {
		members = append(members, vrrp.GroupMember{Name: g.names[c], Machine: c.m})
		olds[i] = c.condition()
	}
	var actions []vrrp.GroupAction
	g.g, actions = vrrp.Adopt(now, "VG_2", was, members)
	ev := adoption{}
	all := g.each(ev, slices.Clone(actions))
	masters, states := 0, make(map[vrrp.State]bool)
	for i, c := range in {
		for _, a := range all[i] {
			c.did(ev, &olds[i], a, all[i])
		}
		c.holds(ev, olds[i])
		if c.begun {
			states[olds[i].was] = true
		}
		if olds[i].was == vrrp.Master {
			masters++
		}
	}
	faulty := slices.ContainsFunc(in, func(c *checker) bool { return len(c.m.Snapshot().Faults) > 0 })
	if len(states) == 1 && !faulty && !states[vrrp.FaultState] && !states[vrrp.Init] {
		for i, c := range in {
			if c.begun && len(all[i]) > 0 {
				g.Fatalf("all are in the same state, but member %d does %v", i, all[i])
			}
		}
	}
	for i, c := range in {
		if c.m.State() == vrrp.Master && olds[i].was != vrrp.Master && masters == 0 && !g.owners() {
			g.Fatalf("member %d becomes master, but no other was", i)
		}
	}
	g.agree(ev)
}

// An adoption stands for the event there is none of.
type adoption struct{ vrrp.Reconfigure }

func (g *groupChecker) leave(c *checker) {
	old := c.condition()
	actions := c.m.Leave(c.now)
	c.stepped(adoption{}, old, actions)
	if is := c.m.State(); is != old.was && old.was != vrrp.FaultState && old.was != vrrp.Init {
		g.Fatalf("a machine that leaves goes from %s to %s", old.was, is)
	}
}

func (g *groupChecker) step(now time.Time, member int, ev vrrp.Event) {
	olds, want := make([]before, len(g.members)), make([]bool, len(g.members))
	for i, c := range g.members {
		c.now = now
		olds[i], want[i] = c.condition(), c.m.Snapshot().WantsMaster
	}
	old := g.state
	actions := slices.Clone(g.g.Step(now, member, ev))
	g.members[member].happened(ev, olds[member])
	all := g.each(ev, actions)
	g.inOrder(ev, member, old, actions)
	for i, c := range g.members {
		for _, a := range all[i] {
			c.did(ev, &olds[i], a, all[i])
		}
		c.holds(ev, olds[i])
		if ev, ok := ev.(vrrp.Reconfigure); ok && i == member {
			c.reconfigured(ev, olds[i], all[i])
		}
		g.mayDo(ev, member, i, olds, all[i], want)
	}
	if isShutdown(ev) {
		g.members[member].ended = true
	}
	g.agree(ev)
}

// each returns the actions of each member, and checks those of the group.
func (g *groupChecker) each(ev vrrp.Event, actions []vrrp.GroupAction) [][]vrrp.Action {
	all := make([][]vrrp.Action, len(g.members))
	for at, a := range actions {
		if a.Member < 0 {
			g.transition(ev, a, at == len(actions)-1)
			continue
		}
		all[a.Member] = append(all[a.Member], a.Action)
	}
	return all
}

// transition checks the group's own action.
func (g *groupChecker) transition(ev vrrp.Event, a vrrp.GroupAction, last bool) {
	tr, ok := a.Action.(vrrp.Transition)
	if !ok || !last || tr.From != g.state || tr.To == tr.From || tr.Reason.Kind == 0 || tr.Reason.String() == "" {
		g.Fatalf("%v: the group, in %s, does %v (last: %v)", ev, g.state, a.Action, last)
	}
	g.state = tr.To
}

// inOrder checks in which order the members act.
func (g *groupChecker) inOrder(ev vrrp.Event, member int, state vrrp.State, actions []vrrp.GroupAction) {
	var got []int
	for _, a := range actions {
		if a.Member >= 0 && (len(got) == 0 || got[len(got)-1] != a.Member) {
			got = append(got, a.Member)
		}
	}
	if len(got) > 0 && got[0] == member {
		got = got[1:]
	}
	if _, starting := ev.(vrrp.Startup); starting && state != vrrp.Init {
		return // one that joins, and then those that it makes yield
	}
	if !slices.IsSorted(got) || slices.Contains(got, member) && state != vrrp.Init {
		g.Fatalf("%v for member %d: wrong order: %v", ev, member, actions)
	}
}

// mayDo checks what a member does against what the others were like.
func (g *groupChecker) mayDo(ev vrrp.Event, member, i int, olds []before, actions []vrrp.Action, want []bool) {
	c, was := g.members[i], olds[i].was
	_, starting := ev.(vrrp.Startup)
	joining := starting && slices.ContainsFunc(olds, func(b before) bool { return b.was == vrrp.Master })
	stopping := slices.ContainsFunc(g.members, func(c *checker) bool { return c.ended })
	is := c.m.State()
	if is == vrrp.Master && was != vrrp.Master {
		for j, wants := range want {
			if !wants && j != member && !g.owners() && !joining {
				g.Fatalf("%v: member %d becomes master, but %d did not want to", ev, i, j)
			}
		}
		if stopping {
			g.Fatalf("%v: member %d becomes master after another was shut down", ev, i)
		}
	}
	if stopping && was == vrrp.FaultState && is != was && is != vrrp.Init {
		g.Fatalf("%v: member %d goes from %s to %s after another was shut down", ev, i, was, is)
	}
	for _, a := range actions {
		if a == (vrrp.SendAdvertisement{Priority: vrrp.PriorityStop}) && is != vrrp.FaultState && is != vrrp.Init && !joining && !g.offers(ev) {
			g.Fatalf("%v: member %d sends priority 0 on its way to %s", ev, i, is)
		}
	}
}

// offers reports whether masters give way for nobody in particular.
func (g *groupChecker) offers(ev vrrp.Event) bool {
	switch ev.(type) {
	case vrrp.AddressLost, vrrp.Failover:
		return true
	}
	return false
}

// agree checks that the members do.
func (g *groupChecker) agree(ev vrrp.Event) {
	var states []vrrp.State
	begun, ended, faults, pending := true, false, false, false
	for _, c := range g.members {
		s := c.m.Snapshot()
		begun, ended = begun && c.begun, ended || c.ended
		faults, pending = faults || len(s.Faults) > 0, pending || len(s.Pending) > 0
		if !c.ended && c.begun {
			states = append(states, s.State)
		}
		if !c.begun && s.State != vrrp.Init {
			g.Fatalf("%v: %s before it is started", ev, s.State)
		}
	}
	if s := g.g.Snapshot(); s.State != g.state || s.State != vrrp.Init && s.Reason.Kind == 0 {
		g.Fatalf("%v: the group is %+v, its transitions say %s", ev, s, g.state)
	}
	if ended {
		if len(states) == 0 && begun && g.state != vrrp.Init {
			g.Fatalf("%v: all are shut down, but the group is %s", ev, g.state)
		}
		return
	}
	slices.Sort(states)
	states = slices.Compact(states)
	waiting := slices.Equal(states, []vrrp.State{vrrp.Init, vrrp.FaultState})
	if len(states) > 1 && !waiting {
		g.Fatalf("%v: the members are %v", ev, states)
	}
	if !begun {
		return // it is what those that are running are only when all are
	}
	if !(waiting && g.state == vrrp.Init) && (len(states) != 1 || states[0] != g.state) {
		g.Fatalf("%v: the group is %s, its members are %v", ev, g.state, states)
	}
	waits := g.state == vrrp.Init || g.state == vrrp.FaultState
	if waits && !faults && !pending || !waits && faults || g.state == vrrp.Init && faults {
		g.Fatalf("%v: the group is %s; faults: %v, pending: %v", ev, g.state, faults, pending)
	}
}

// event returns an event for a member. Resume is for all members or none, which is
// no arbitrary event.
func (g *groupChecker) event(c *checker, kind, arg byte) vrrp.Event {
	ev := c.event(kind, arg)
	if _, resumes := ev.(vrrp.Resume); resumes {
		return vrrp.Startup{}
	}
	return ev
}
