package vrrp

import "time"

const (
	// overlap is for how long at most, after the first advertisement of a new
	// master, the old one goes on to answer. A new master announces its addresses
	// within a few milliseconds; who asks for one while two answer may learn the
	// old hardware address.
	overlap = 50 * time.Millisecond
	// overlapMost bounds the overlap of all addresses of a router, when those that
	// are left wait for announcements of a new master that has many to add.
	overlapMost = time.Second
	// offerMargin is how much later than it should a backup may take over from a
	// master that has advertised priority 0.
	offerMargin = 100 * time.Millisecond
	// offerMost bounds how long a master waits for another one: a service
	// manager does not wait for its end for ever.
	offerMost = 20 * time.Second
)

// A handover is the time between two masters, in which the old one does not
// advertise any more, but answers for its addresses. The zero value is none.
type handover struct {
	until time.Time // then it ends
	// offered is set while the router is master yet, and will stay it if
	// nobody takes over.
	offered bool
	most    time.Time        // until is never put off beyond that; zero: it is not
	left    map[Address]bool // those in place; nil: all of them
}

func (h *handover) active() bool { return !h.until.IsZero() }

// HandingOver reports whether the router keeps addresses only until another one
// has taken them over. After [Shutdown] the machine has to be stepped as long as
// it does.
func (m *Machine) HandingOver() bool { return m.over.active() }

// offer goes on to answer for the addresses until another router does: for as
// long as the slowest backup waits after priority 0 (RFC 9568 §6.4.2). Backups
// are silent, so whether there is one cannot be known.
func (m *Machine) offer(now time.Time) {
	if !m.cfg.Handover {
		m.giveUp()
		return
	}
	m.do(StopAnnouncing{})
	wait := max(m.offerTime(), m.sync.offerTime(), m.patience)
	m.over = handover{until: now.Add(min(wait+offerMargin, offerMost)), offered: true}
}

// offerTime returns how long the slowest backup waits after priority 0.
func (m *Machine) offerTime() time.Duration {
	return SkewTime(m.cfg.Version, 0, m.cfg.Interval)
}

// offerTime returns the longest of all members: a group that takes over does so
// when the timers of all of its members have run out.
func (s membership) offerTime() time.Duration {
	var longest time.Duration
	if s.group != nil {
		for _, mem := range s.group.members {
			longest = max(longest, mem.Machine.offerTime())
		}
	}
	return longest
}

// release gives the addresses up to a master whose advertisement was received at
// that time.
func (m *Machine) release(at time.Time) {
	if !m.cfg.Handover || m.counts[placeReady] == 0 {
		m.giveUp()
		return
	}
	m.do(StopAnnouncing{})
	m.dropUnready()
	m.over = handover{until: at.Add(overlap), most: at.Add(overlapMost)}
}

// dropUnready has the addresses given up that are not in place: what is added, or put
// back, from now on would be beside the new master.
func (m *Machine) dropUnready() {
	if m.counts[placeReady] == len(m.places) {
		return
	}
	var rest []Address
	for i, a := range m.cfg.Addresses {
		if m.places[i].state != placeReady {
			rest = append(rest, a)
		}
	}
	m.do(RemoveAddresses{Addrs: rest})
}

// sayStop advertises priority 0, unless that was done for a hand-over that goes
// on: said again, it would make the others wait again.
func (m *Machine) sayStop() {
	if !m.over.offered {
		m.do(SendAdvertisement{Priority: PriorityStop})
	}
}

// giveUp has addresses removed, if there may be any, without waiting for
// anybody.
func (m *Machine) giveUp() {
	if m.state == Master || m.over.active() {
		m.do(RemoveAddresses{})
	}
	m.over = handover{}
}

// failover does what [Failover] says.
func (m *Machine) failover(now time.Time, ev Failover) {
	if ev.End {
		m.yielded = false
		return
	}
	switch {
	case m.state == Master && m.over.offered:
		return
	case m.state == Master:
		m.sayStop()
		m.offer(now)
		if !m.over.offered {
			m.becomeBackup(now, now, Reason{Kind: ReasonHandedOver})
		}
	case m.state != Backup:
		return // there is nothing to hand over, nor anybody to leave it to
	case !m.yielded:
		m.note(Reason{Kind: ReasonHandedOver})
	}
	m.yielded = true
}

// takenOver ends the mastership of a router that has offered it.
func (m *Machine) takenOver(now time.Time, p Peer) {
	m.release(p.At)
	m.forgetPeers()
	if p.Addr.IsValid() {
		m.learn(p)
	}
	m.becomeBackup(now, p.At, Reason{Kind: ReasonHandedOver, Peer: p.Addr, PeerPriority: p.Priority})
}

// overlapEnds ends the time between two masters.
func (m *Machine) overlapEnds(now time.Time) {
	if !m.over.offered {
		m.giveUp()
		return
	}
	m.over, m.yielded = handover{}, false
	m.advertise(now)
	var ready []Address
	for i, a := range m.cfg.Addresses {
		if m.places[i].state == placeReady {
			ready = append(ready, a)
		}
	}
	m.do(Announce{Addrs: ready, Settled: m.settled})
	m.note(Reason{Kind: ReasonNobodyTookOver})
}

// finish is a step of a machine that was shut down.
func (m *Machine) finish(now time.Time, ev Event) {
	if !m.over.active() {
		return
	}
	switch ev := ev.(type) {
	case Received:
		if ev.Adv.Priority != PriorityStop {
			at := ev.At
			if at.IsZero() || at.After(now) || at.Before(m.since) {
				at = now
			}
			if m.over.most.IsZero() {
				m.over.until, m.over.most = minTime(m.over.until, at.Add(overlap)), at.Add(overlapMost)
				m.note(Reason{Kind: ReasonHandedOver, Peer: ev.Src.WithZone(""), PeerPriority: ev.Adv.Priority})
			}
		}
	case ForeignOwner:
		m.handOver(now, ev.Addr)
	case Link:
		if len(ev.Faults) > 0 {
			m.giveUp()
		}
	case Shutdown, Gap:
		m.giveUp()
	}
	if m.over.active() && !now.Before(m.over.until) {
		if m.over.most.IsZero() && m.over.left == nil {
			m.note(Reason{Kind: ReasonNobodyTookOver})
		}
		m.giveUp()
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// handOver gives up one address, which another router has announced. The others
// have until it must have announced them, too.
func (m *Machine) handOver(now time.Time, a Address) {
	if _, ok := m.index[a]; !ok || !m.over.active() {
		return
	}
	if m.over.left == nil {
		m.over.left = make(map[Address]bool, len(m.cfg.Addresses))
		for _, a := range m.cfg.Addresses {
			m.over.left[a] = true
		}
	}
	if !m.over.left[a] {
		return
	}
	delete(m.over.left, a)
	if until := now.Add(overlap); until.After(m.over.until) && until.Before(m.over.most) {
		m.over.until = until
	}
	if len(m.over.left) == 0 {
		m.giveUp()
		return
	}
	m.do(RemoveAddresses{Addrs: []Address{a}})
}

// noticeGap finds out whether the router did not run for so long that others must
// have taken it for dead, or that it may have missed them. It comes before
// anything that was received meanwhile: a master that has been replaced must not
// answer those who did.
func (m *Machine) noticeGap(now time.Time) {
	switch m.state {
	case Master:
		from := m.spokeAt
		if m.over.offered {
			from = m.over.until // it is silent on purpose until then
		}
		if away := now.Sub(from); away > m.masterDown() {
			m.gap(now, away)
		}
	case Backup:
		if late := now.Sub(m.masterDownAt); late > m.masterDown() {
			m.gap(now, late)
		}
	}
}

// away takes in a time that does not show otherwise.
func (m *Machine) away(now time.Time, length time.Duration) {
	switch {
	case m.state == Master && m.over.offered:
		m.over.until = m.over.until.Add(-length)
	case m.state == Master:
		m.spokeAt = m.spokeAt.Add(-length) // there may be some that shows, too
	case m.state == Backup && length > m.masterDown():
		m.gap(now, length)
		return
	}
	m.noticeGap(now)
}

// gap has the router listen after it did not run.
func (m *Machine) gap(now time.Time, length time.Duration) {
	m.awakeSince = now
	why := Reason{Kind: ReasonGap, Elapsed: length}
	switch m.state {
	case Master:
		m.loseTouch(now, why)
	case Backup:
		if m.over.active() {
			m.giveUp()
		}
		m.startDownTimer(now, downWhole)
		m.note(why)
	}
}

// loseTouch makes a master backup that does not know what has happened
// meanwhile. If there is a master it will be heard within an interval.
func (m *Machine) loseTouch(now time.Time, why Reason) {
	m.giveUp()
	m.forgetPeers()
	m.becomeBackup(now, now, why)
	m.startDownTimer(now, downListen)
}

// addressExpired does what [AddressExpired] says.
func (m *Machine) addressExpired(now time.Time, ev AddressExpired) {
	if m.state != Master {
		return
	}
	var gone []Address
	for _, a := range ev.Addrs {
		if i, ok := m.index[a]; ok && m.places[i].state == placeReady {
			gone = append(gone, a)
		}
	}
	if len(gone) > 0 {
		// A backup that has not taken over yet would wait for nothing until its timer
		// runs out. A router that is master by now answers with an advertisement.
		m.sayStop()
		m.loseTouch(now, Reason{Kind: ReasonLeaseExpired, Addrs: gone})
	}
}
