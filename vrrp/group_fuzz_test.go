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
//     those of the others in their order, and the group's one transition last.
func FuzzGroupKeepsItsInvariants(f *testing.F) {
	two := []byte{1, 0, 100, 1, 0, 0, 100, 1, 0}
	f.Add(two, []byte{0, 0, 9, 0, 2, 0, 11, 0, 2, 0, 11, 0})
	f.Add(two, []byte{0, 0, 9, 0, 2, 0, 11, 0, 3, 200, 5, 1, 14, 0, 1, 250})
	f.Add([]byte{2, 1, 255, 1, 1, 1, 255, 2, 1, 0, 255, 3, 33}, []byte{0, 0, 9, 0, 18, 0, 6, 66, 15, 130, 24, 1, 7, 128})
	f.Add([]byte{1, 0, 100, 1, 2, 0, 200, 1, 16}, []byte{15, 64, 0, 0, 9, 0, 15, 0, 2, 0, 11, 0, 16, 200, 2, 0, 10, 255, 1, 255})
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
	g       *vrrp.Group
	members []*checker
	owners  bool
	state   vrrp.State // as the group's transitions have it
}

var memberNames = []string{"VI_1", "VI_2", "VI_3"}

func newGroupChecker(t *testing.T, configs []vrrp.Config) *groupChecker {
	g := &groupChecker{T: t, owners: true}
	var members []vrrp.GroupMember
	for i, cfg := range configs {
		c := newChecker(t, cfg)
		g.members = append(g.members, c)
		g.owners = g.owners && cfg.Priority == vrrp.PriorityOwner && cfg.StartMaster
		members = append(members, vrrp.GroupMember{Name: memberNames[i], Machine: c.m})
	}
	g.g = vrrp.NewGroup("VG_1", members)
	return g
}

func (g *groupChecker) run(script []byte) {
	now := g.members[0].now
	for ; len(script) >= 2; script = script[2:] {
		member := int(script[0]/9) % len(g.members)
		c := g.members[member]
		c.now = now.Add(time.Duration(script[1]%64) * 17 * time.Millisecond)
		ev := c.event(script[0]%9, script[1])
		now = c.now
		g.step(now, member, ev)
	}
}

func (g *groupChecker) step(now time.Time, member int, ev vrrp.Event) {
	olds, want := make([]before, len(g.members)), make([]bool, len(g.members))
	for i, c := range g.members {
		olds[i], want[i] = c.condition(), c.m.Snapshot().WantsMaster
	}
	old := g.state
	actions := slices.Clone(g.g.Step(now, member, ev))
	g.members[member].happened(ev, olds[member])

	all := make([][]vrrp.Action, len(g.members))
	for at, a := range actions {
		if a.Member < 0 {
			g.transition(ev, a, at == len(actions)-1)
			continue
		}
		all[a.Member] = append(all[a.Member], a.Action)
	}
	g.inOrder(ev, member, old, actions)
	for i, c := range g.members {
		for _, a := range all[i] {
			c.did(ev, &olds[i], a, all[i])
		}
		c.holds(ev, olds[i])
		g.mayDo(ev, member, i, olds[i].was, all[i], want)
	}
	if isShutdown(ev) {
		g.members[member].ended = true
	}
	g.agree(ev)
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
	if !slices.IsSorted(got) || slices.Contains(got, member) && state != vrrp.Init {
		g.Fatalf("%v for member %d: wrong order: %v", ev, member, actions)
	}
}

// mayDo checks what a member does against what the others were like.
func (g *groupChecker) mayDo(ev vrrp.Event, member, i int, was vrrp.State, actions []vrrp.Action, want []bool) {
	c := g.members[i]
	stopping := slices.ContainsFunc(g.members, func(c *checker) bool { return c.ended })
	is := c.m.State()
	if is == vrrp.Master && was != vrrp.Master {
		for j, wants := range want {
			if !wants && j != member && !g.owners {
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
		if a == (vrrp.SendAdvertisement{Priority: vrrp.PriorityStop}) && is != vrrp.FaultState && is != vrrp.Init {
			g.Fatalf("%v: member %d sends priority 0 on its way to %s", ev, i, is)
		}
	}
}

// agree checks that the members do.
func (g *groupChecker) agree(ev vrrp.Event) {
	var states []vrrp.State
	begun, ended, faults, pending := true, false, false, false
	for _, c := range g.members {
		s := c.m.Snapshot()
		begun, ended = begun && c.begun, ended || c.ended
		faults, pending = faults || len(s.Faults) > 0, pending || len(s.Pending) > 0
		if !c.ended {
			states = append(states, s.State)
		}
	}
	if s := g.g.Snapshot(); s.State != g.state || s.State != vrrp.Init && s.Reason.Kind == 0 {
		g.Fatalf("%v: the group is %+v, its transitions say %s", ev, s, g.state)
	}
	if !begun {
		if slices.ContainsFunc(states, func(s vrrp.State) bool { return s != vrrp.Init && s != vrrp.FaultState }) {
			g.Fatalf("%v: %v before all members are started", ev, states)
		}
		return
	}
	slices.Sort(states)
	if states = slices.Compact(states); ended {
		if len(states) == 0 && g.state != vrrp.Init {
			g.Fatalf("%v: all are shut down, but the group is %s", ev, g.state)
		}
		return
	}
	mixed := slices.Equal(states, []vrrp.State{vrrp.Init, vrrp.FaultState}) && g.state == vrrp.Init
	if !mixed && (len(states) != 1 || states[0] != g.state) {
		g.Fatalf("%v: the group is %s, its members are %v", ev, g.state, states)
	}
	waits := g.state == vrrp.Init || g.state == vrrp.FaultState
	if waits && !faults && !pending || !waits && faults || g.state == vrrp.Init && faults {
		g.Fatalf("%v: the group is %s; faults: %v, pending: %v", ev, g.state, faults, pending)
	}
}
