package vrrp

import (
	"reflect"
	"slices"
	"time"
)

// reconfigure goes on with another configuration, as [Reconfigure] has it.
func (m *Machine) reconfigure(now time.Time, ev Reconfigure) {
	if ev.Health != nil {
		m.health, m.pending = slices.Clone(ev.Health.Faults), slices.Clone(ev.Health.Pending)
		if len(m.health) > 0 {
			// It fails with what it has advertised, and gives that up.
			m.checkFaults(now)
		}
	}
	cfg, index := complete(ev.Config)
	old, addrs := m.cfg, cfg.Addresses
	moved := !slices.Equal(old.Addresses, addrs)
	cfg.Addresses = old.Addresses
	m.cfg = cfg

	before := m.priority
	m.setPriority(ev.priority(before, old.Priority))
	if other := !reflect.DeepEqual(cfg, old); other {
		m.adjustTimers(now, &old)
	}
	tells := ev.Advertise || moved || before != m.priority || cfg.Version != old.Version || cfg.Interval != old.Interval
	if m.state == Master && tells {
		m.advertise(now)
	}
	if moved {
		m.moveAddresses(addrs, index)
	}
	m.checkFaults(now)
}

// priority returns the effective priority after the change, or 0 for the
// configured one.
func (e *Reconfigure) priority(effective, configured uint8) uint8 {
	switch {
	case e.Health != nil:
		return e.Health.Priority
	case effective == configured:
		return 0
	}
	p := int(effective) + int(e.Config.Priority) - int(configured)
	return uint8(min(max(p, 1), PriorityOwner-1))
}

// adjustTimers makes the timers of a backup what they would be, had the
// configuration always been this one. A master's are its next advertisement
// only, which is not put off.
func (m *Machine) adjustTimers(now time.Time, old *Config) {
	cfg := &m.cfg
	learned := m.state == Backup && m.masterInterval == m.master.Interval && old.Version == V3
	if !learned || cfg.Version != V3 {
		m.masterInterval = cfg.Interval
	}
	if m.state != Backup {
		return
	}
	switch {
	case cfg.NoPreempt || cfg.PreemptDelay == 0:
		m.preemptAt = time.Time{}
	case !m.preemptAt.IsZero():
		m.preemptAt = m.preemptAt.Add(cfg.PreemptDelay - old.PreemptDelay)
	}
	if m.downTimer == downNone && now.Before(m.startupUntil) && !m.startsAsMaster() {
		m.downTimer = downWhole // an owner was to be master after the startup delay
	}
	m.startDownTimer(m.downFrom, m.downTimer)
	if m.lower.At.After(m.downFrom) && cfg.Version == old.Version {
		// A master that was to be replaced may have to be respected now.
		m.receivedAsBackup(now, m.lower)
	}
	if m.masterDownAt.Before(now) {
		m.masterDownAt = now
	}
}

// moveAddresses goes on with other addresses. A master asks for what is new
// before it has anything removed: an address may only change its interface.
func (m *Machine) moveAddresses(addrs []Address, index map[Address]int) {
	if m.state != Master {
		m.giveUp() // those that are left of a hand-over are not these
	}
	was, wasIndex, wasPlaces := m.cfg.Addresses, m.index, m.places
	m.cfg.Addresses, m.index, m.places = addrs, index, make([]place, len(addrs))
	m.counts = [4]int{}
	var added, removed []Address
	for i, a := range addrs {
		if old, ok := wasIndex[a]; ok {
			m.places[i] = wasPlaces[old]
		} else {
			added = append(added, a)
			if m.state == Master {
				m.places[i].state = placePending
			}
		}
		m.counts[m.places[i].state]++
	}
	for _, a := range was {
		if _, ok := index[a]; !ok {
			removed = append(removed, a)
		}
	}
	if m.addressErr != nil {
		m.addressErr, m.addressTries = nil, 0 // these may be had
	}
	if m.state != Master {
		return
	}
	if len(added) > 0 {
		m.epoch++
		for _, a := range added {
			m.places[index[a]].epoch = m.epoch
		}
		m.settled = m.settled && len(was) > 0
		m.do(AddAddresses{Epoch: m.epoch, Addrs: added})
	}
	if len(removed) > 0 {
		m.do(RemoveAddresses{Addrs: removed})
	}
	if m.counts[placePending] > 0 {
		return
	}
	if failed := m.counts[placeFailed]; failed > 0 && failed == len(addrs) {
		m.addressErr = m.places[0].err // none of those that are left is in place
		return
	}
	if !m.settled {
		m.settled = true
		m.do(Announce{Settled: true})
	}
}

// Leave takes a machine out of its sync group. It keeps its state, but for a
// fault of others that it was in, and for others that it waited for. The group
// must not be stepped any more: the rest of its members leave as well, are given
// to [Adopt], or end with a [Shutdown] of their own. The result is valid until
// the next step.
func (m *Machine) Leave(now time.Time) []Action {
	m.out = m.out[:0]
	m.patience = m.sync.offerTime()
	m.sync = membership{}
	if m.stopped {
		return nil
	}
	m.checkFaults(now)
	m.goOn(now)
	return m.out
}

// goOn has a backup that only waited for its group, which nobody holds back any
// more, be master at its next wake.
func (m *Machine) goOn(now time.Time) {
	if m.state == Backup && m.wants && m.sync.unwilling() == "" {
		m.startDownTimer(now, downNone)
	}
}

// Adopt returns a group of machines that may be running, and what has to be done
// so that they agree. They may come from other groups, each of which must not be
// stepped any more; none has been shut down. A machine that is not running yet
// may be started before or, with a Startup, after.
//
// If all are in the same state nothing is done. Otherwise, with as little
// disturbance as there can be:
//
//   - If one has a fault, all are in fault, as ever.
//   - If some are master and some are not, all become master, unless one of the
//     others is a backup of a master that it hears and accepts: then the masters
//     yield, with priority 0, for nobody has taken over from them yet.
//   - One that only waits for a check without a result, in Init or FaultState,
//     does as those do that are running. So does one that is started later.
//
// The snapshot is what the group was before, by this or another name, or the zero
// value for a group that is new: the group's transition is from there.
func Adopt(now time.Time, name string, was GroupSnapshot, members []GroupMember) (*Group, []GroupAction) {
	g := NewGroup(name, members)
	g.state, g.since, g.reason = was.State, was.Since, was.Reason
	for i := range g.members {
		g.let(i, func(m *Machine) { m.checkFaults(now) })
	}
	g.converge(now)
	for i := range g.members {
		g.let(i, func(m *Machine) { m.goOn(now) })
	}
	g.agree(now, -1)
	return g, g.out
}

// converge has members that are in different states agree, and reports whether
// they did not: see [Adopt]. What they do about faults they have done.
func (g *Group) converge(now time.Time) bool {
	master, obstacle := -1, -1     // the first of each
	masters, backups := true, true // all of them
	running := false
	for i, mem := range g.members {
		m := mem.Machine
		switch {
		case m.stopped:
			return false
		case !m.started:
			continue
		case m.state == Master && master < 0:
			master = i
		case m.respects() && obstacle < 0:
			obstacle = i
		}
		running = running || m.state == Backup || m.state == Master
		masters, backups = masters && m.state == Master, backups && m.state == Backup
	}
	if g.faulty > 0 || !running || masters || backups {
		return false
	}
	toMaster, why := master >= 0 && obstacle < 0, Reason{}
	if toMaster {
		why = g.reconfigured(master)
	} else if obstacle >= 0 {
		why = g.reconfigured(obstacle)
		other := g.members[obstacle].Machine.master
		why.Cause.Peer, why.Cause.PeerPriority = other.Addr, other.Priority
	}
	for i := range g.members {
		g.let(i, func(m *Machine) {
			switch {
			case !m.started:
			case toMaster && m.state != Master:
				m.startupUntil = time.Time{} // the network is there: others are master
				m.becomeMaster(now, why)
			case !toMaster && m.state == Master:
				m.do(SendAdvertisement{Priority: PriorityStop})
				m.yield(now, why)
			case !toMaster && m.state != Backup:
				m.masterInterval = m.cfg.Interval
				m.forgetPeers()
				m.becomeBackup(now, now, g.reconfigured(i))
			}
		})
	}
	return true
}

// reconfigured says that the members agree because of one of them.
func (g *Group) reconfigured(member int) Reason {
	return Reason{Kind: ReasonGroup, Group: g.name, Member: g.members[member].Name, Cause: &Reason{Kind: ReasonReconfigured}}
}

// respects reports whether a backup has a master that it hears and accepts: the
// last that its timer was started by.
func (m *Machine) respects() bool {
	return m.state == Backup && m.master.Addr.IsValid() && m.downFrom.Equal(m.master.At) && !m.lower.At.After(m.master.At)
}
