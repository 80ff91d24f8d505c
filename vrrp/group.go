package vrrp

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Group is a set of virtual routers that are master together or not at all
// (keepalived: vrrp_sync_group). It is not safe for concurrent use: the
// goroutine that owns it owns the machines in it.
//
// A backup whose master-down timer runs out becomes master only if the timers
// of all others have run out, too, and no master was accepted since; then it
// takes all with it. A master that yields makes all yield, without priority 0. A
// fault of one is a fault of all, of kind [FaultGroup]; and Init and FaultState
// are left together, when no member has a fault or a check without a result.
// Owners are masters at once only if all members are owners that start as
// master; one that is not makes all of them wait.
//
// These hold between steps, until the first member is shut down: all members
// are in the same state, and so is the group; thus either all members want their
// addresses or none does. Only while the group is in Init, at the start, some
// members may be in FaultState already. Once the first was shut down, none
// becomes master any more, and backup only one that was master; a master remains
// one until its own [Shutdown].
//
// A group whose members change is made anew by [Adopt]. Members of such a group
// that have not been started take no part until they are, except that backups
// wait for them, and that their faults count.
type Group struct {
	name    string
	members []GroupMember

	state  State
	since  time.Time
	reason Reason

	// What the members' own conditions are, as of the last step, and how many
	// have a fault, wait for a check, and do not take part.
	conditions              []condition
	faulty, pending, absent int

	out []GroupAction
}

// A GroupMember is a virtual router of a [Group], and the name by which the
// others speak of it.
type GroupMember struct {
	Name    string
	Machine *Machine
}

// A GroupAction is what one member of a group has to do.
type GroupAction struct {
	// Member is its place in the list given to [NewGroup], or -1 when the
	// group itself changes its state: then Action is a [Transition].
	Member int
	Action Action
}

// A GroupSnapshot is the condition of a group.
type GroupSnapshot struct {
	State  State
	Since  time.Time
	Reason Reason // of the last transition
}

// A condition is what a member has to say to the rest of its group.
type condition struct {
	fault   Fault // its own faults as one; the zero value for none
	pending bool  // it waits for a check
	absent  bool  // it has not been started, or was shut down
}

// NewGroup returns a group of machines that have not been started and are in no
// other group.
func NewGroup(name string, members []GroupMember) *Group {
	g := &Group{name: name, members: slices.Clone(members), conditions: make([]condition, len(members))}
	for i, mem := range g.members {
		mem.Machine.sync = membership{g, i}
		g.observe(i)
	}
	return g
}

// owners reports whether all members are owners that start as master.
func (g *Group) owners() bool {
	for _, mem := range g.members {
		if m := mem.Machine; !m.isOwner() || !m.cfg.StartMaster {
			return false
		}
	}
	return true
}

// Step applies one event to a member, as [Machine.Step] does, and then lets the
// others follow. The actions are in order: those of the member first, then those
// of the others as they are in the list, then the group's own transition. At a
// [Startup] all members leave Init as they are in the list; if some of them were
// running already, what Adopt says follows. Times must not run backwards. The
// result is valid until the next step.
func (g *Group) Step(now time.Time, member int, ev Event) []GroupAction {
	g.out = g.out[:0]
	m := g.members[member].Machine
	before, wasFaulty, wasHeld := m.state, g.faulty > 0, g.held()
	for _, a := range m.Step(now, ev) {
		g.do(member, a)
	}
	heardLower := slices.ContainsFunc(g.out, func(a GroupAction) bool {
		note, ok := a.Action.(Note)
		return ok && note.Reason.Kind == ReasonLowerPriorityMaster
	})
	old := g.observe(member)
	if m.state == before && !heardLower && wasFaulty == (g.faulty > 0) && wasHeld == g.held() {
		return g.out // as after nearly every event
	}
	recovered := wasFaulty && g.faulty == 0
	if recovered {
		g.reason.Faults = []Fault{old.fault} // the last to go
	}
	why := g.causedBy(member)
	visit := func(i int) {
		g.let(i, func(other *Machine) {
			if recovered && i != member && other.state == FaultState {
				other.reason.Faults = g.reason.Faults
			}
			other.checkFaults(now)
			switch {
			case i == member:
			case before == Backup && m.state == Master && other.state == Backup:
				other.becomeMaster(now, why)
			case before == Master && m.state == Backup && other.state == Master:
				other.yield(now, why)
			case heardLower && other.state == Master:
				// The other router was master of all of them, but of the rest
				// nothing more is heard once it has yielded.
				other.reannounce()
			}
		})
	}
	starting := false
	switch ev.(type) {
	case Startup, Resume:
		starting = true
	}
	if !starting {
		visit(member)
	}
	for i := range g.members {
		if starting || i != member {
			visit(i)
		}
	}
	if starting && g.converge(now) {
		member = -1
	}
	g.agree(now, member)
	return g.out
}

// Snapshot returns the group's condition.
func (g *Group) Snapshot() GroupSnapshot {
	s := GroupSnapshot{State: g.state, Since: g.since, Reason: g.reason}
	if g.state == FaultState && g.faulty > 0 {
		s.Reason.Faults = g.faults(-1)
	}
	return s
}

func (g *Group) do(member int, a Action) {
	g.out = append(g.out, GroupAction{Member: member, Action: a})
}

// let changes a member outside of its own Step.
func (g *Group) let(member int, f func(*Machine)) {
	m := g.members[member].Machine
	if m.stopped {
		return
	}
	m.out = m.out[:0]
	f(m)
	for _, a := range m.out {
		g.do(member, a)
	}
}

// observe brings what is known of a member's condition up to date and returns
// what it was. The faults of one that is shut down stay as they were, so that
// the others stay where they are.
func (g *Group) observe(member int) (old condition) {
	mem := g.members[member]
	now := condition{pending: len(mem.Machine.pending) > 0, absent: !mem.Machine.started || mem.Machine.stopped}
	if own := mem.Machine.ownFaults(); len(own) > 0 {
		now.fault = Fault{Kind: FaultGroup, Name: mem.Name, Detail: faultList(own)}
	}
	old, g.conditions[member] = g.conditions[member], now
	g.faulty += one(now.faulty()) - one(old.faulty())
	g.pending += one(now.pending) - one(old.pending)
	g.absent += one(now.absent) - one(old.absent)
	return old
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *condition) faulty() bool { return c.fault.Kind != 0 }

// held reports whether members in Init and FaultState stay there, faults or not.
func (g *Group) held() bool { return g.pending > 0 || g.absent > 0 }

// faults returns the faults of all members but one, a fault for each.
func (g *Group) faults(but int) []Fault {
	if g.faulty == 0 {
		return nil
	}
	var out []Fault
	for i := range g.conditions {
		if c := &g.conditions[i]; i != but && c.faulty() {
			out = append(out, c.fault)
		}
	}
	return out
}

// agree gives the group the state that its members have in common: those that
// were not shut down, as long as there are any. It is because of a member, or of
// a new configuration if that is -1.
func (g *Group) agree(now time.Time, member int) {
	to, found := Init, false
	for _, mem := range g.members {
		switch m := mem.Machine; {
		case m.stopped:
		case !found:
			to, found = m.state, true
		case m.state != to:
			return
		}
	}
	if to == g.state {
		return
	}
	from, why := g.state, g.transitionReason(to, member)
	g.state, g.since, g.reason = to, now, why
	g.do(-1, Transition{From: from, To: to, Reason: why})
}

// transitionReason says why the group changes its state.
func (g *Group) transitionReason(to State, member int) Reason {
	switch {
	case to == Init:
		return Reason{Kind: ReasonShutdown}
	case to == FaultState:
		return Reason{Kind: ReasonFault, Faults: g.faults(-1)}
	case member < 0:
		return Reason{Kind: ReasonReconfigured}
	}
	switch kind := g.members[member].Machine.reason.Kind; {
	case kind == ReasonRecovered:
		return Reason{Kind: ReasonRecovered, Faults: g.reason.Faults}
	case g.state == Init:
		return Reason{Kind: kind}
	}
	why := g.causedBy(member)
	why.Group = ""
	return why
}

// causedBy says that one member is why the others do something.
func (g *Group) causedBy(member int) Reason {
	cause := g.members[member].Machine.reason
	return Reason{Kind: ReasonGroup, Group: g.name, Member: g.members[member].Name, Cause: &cause}
}

// A membership is a machine's view of its group. The zero value is that of a
// machine without one.
type membership struct {
	group  *Group
	member int
}

// startsAsMaster reports whether the group, too, has nobody to wait for.
func (s membership) startsAsMaster() bool { return s.group == nil || s.group.owners() }

// startupUntil returns the end of the last member's startup delay, given the
// machine's own.
func (s membership) startupUntil(until time.Time) time.Time {
	if s.group != nil {
		for _, mem := range s.group.members {
			if t := mem.Machine.startupUntil; t.After(until) {
				until = t
			}
		}
	}
	return until
}

// faults returns those of the other members.
func (s membership) faults() []Fault {
	if s.group == nil {
		return nil
	}
	return s.group.faults(s.member)
}

func (s membership) held() bool { return s.group != nil && s.group.held() }

// ending reports whether members were shut down, or are still to be started.
func (s membership) ending() bool { return s.group != nil && s.group.absent > 0 }

// pending returns the checks that the other members wait for.
func (s membership) pending() []string {
	if !s.held() {
		return nil
	}
	var out []string
	for i, mem := range s.group.members {
		if i != s.member {
			out = append(out, mem.Machine.pending...)
		}
	}
	return out
}

// unwilling names the other members that are not ready to be master.
func (s membership) unwilling() string {
	if s.group == nil {
		return ""
	}
	var names []string
	for i, mem := range s.group.members {
		if i != s.member && !mem.Machine.wants {
			names = append(names, mem.Name)
		}
	}
	if n := len(names); n > unwillingNamed {
		names = append(names[:unwillingNamed], fmt.Sprintf("%d more", n-unwillingNamed))
	}
	return strings.Join(names, ", ")
}

// unwillingNamed is how many members are named at most: groups can be large.
const unwillingNamed = 5

// yield makes a master backup because another member of its group yielded.
// Nobody is known to take over here, and priority 0 would call on someone who
// may not be allowed to.
func (m *Machine) yield(now time.Time, why Reason) {
	timer := downWhole
	switch cause := why.Cause; cause.Kind {
	case ReasonGap:
		timer = downListen
		m.giveUp()
	case ReasonLeaseExpired:
		// The others' group takes over when the timers of all its members have run out.
		timer = downListen
		m.sayStop()
		m.giveUp()
	case ReasonAddressLost:
		// keepalived has all members resign.
		timer = downSkew
		m.sayStop()
		m.giveUp()
	case ReasonHandedOver:
		if !cause.Peer.IsValid() {
			m.sayStop()
		}
		m.release(now)
	default:
		m.release(now)
	}
	m.forgetPeers()
	m.becomeBackup(now, now, why)
	m.startDownTimer(now, timer)
}
