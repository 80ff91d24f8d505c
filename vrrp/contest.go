package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// contestGrace is how many intervals a master is not contested: whoever it
	// has taken over from has a last word.
	contestGrace = 2
	// announceGrace bounds that for who announces an address, which no interval
	// delays.
	announceGrace = 2 * time.Second
	// contestSilence is for how long at least somebody who announces an address
	// of ours stays a rival after that. There is no interval in which it has to.
	contestSilence = 5 * time.Second
	// defence is how often at most a contested master announces its addresses
	// again.
	defence = time.Second
	// noteAgain is how often at most a rival is worth another word when its
	// priority changes.
	noteAgain = time.Second
	// rivalsMost bounds how many rivals are told apart.
	rivalsMost = 8
	// heldAdverts is how many advertisements of a router with another
	// configuration may be missed before it does not hold the election any more.
	heldAdverts = 3
)

// receivedDifferent takes notice of an advertisement that is not to be followed,
// but shows that its sender lives.
func (m *Machine) receivedDifferent(now time.Time, p Peer) {
	switch {
	case m.state == Master && m.over.offered:
		if p.Priority != PriorityStop {
			m.takenOver(now, p)
		}
	case m.state == Master && p.Priority == PriorityStop:
		m.stopsContest(p.Addr)
	case m.state == Master:
		m.contest(now, Rival{Addr: p.Addr, Priority: p.Priority, Interval: p.Interval, Last: p.At})
	case p.Priority == PriorityStop:
		if m.other.Addr == p.Addr {
			m.other, m.heldUntil = Peer{}, time.Time{}
			m.stopHeard = p.Addr
			m.startDownTimer(p.At, downSkew)
		}
	default:
		m.other = p
		m.heldUntil = p.At.Add(heldAdverts * max(m.masterInterval, p.Interval))
	}
}

// holds reports whether the master-down timer ran out in vain, because a router
// with another configuration is master. The owner of the addresses waits for
// nobody.
func (m *Machine) holds(now time.Time) bool {
	if m.isOwner() || !now.Before(m.heldUntil) {
		return false
	}
	m.startDownTimer(m.heldUntil, downNone)
	if !m.heldNoted {
		m.heldNoted = true
		m.note(Reason{Kind: ReasonHeld, Peer: m.other.Addr, PeerPriority: m.other.Priority})
	}
	return true
}

// foreignOwner takes notice of an announcement of one of the addresses.
func (m *Machine) foreignOwner(now time.Time, ev ForeignOwner) {
	at := ev.At
	if at.IsZero() || at.After(now) {
		at = now
	}
	switch {
	case m.state == Master && m.over.offered:
		// Its advertisement waits in another socket.
		m.takenOver(now, Peer{At: at})
		m.handOver(now, ev.Addr)
	case m.over.active():
		m.handOver(now, ev.Addr)
	case m.state == Master:
		if _, ok := m.index[ev.Addr]; ok {
			m.contest(now, Rival{MAC: ev.MAC, Address: ev.Addr, Last: at})
		}
	}
}

// same reports whether r and s are the same rival, as far as can be told.
func (r *Rival) same(s *Rival) bool { return r.Addr == s.Addr && r.MAC == s.MAC }

// contest takes note of a rival that was just heard.
func (m *Machine) contest(now time.Time, r Rival) {
	grace := contestGrace * m.cfg.Interval
	if !r.Addr.IsValid() {
		grace = min(grace, announceGrace)
	}
	if r.Last.Sub(m.since) < grace {
		return
	}
	why := Reason{Kind: ReasonContested, Peer: r.Addr, PeerPriority: r.Priority, MAC: r.MAC}
	if !r.Addr.IsValid() {
		why.Addrs = []Address{r.Address}
	}
	i := slices.IndexFunc(m.rivals, func(s Rival) bool { return s.same(&r) })
	switch {
	case i < 0 && len(m.rivals) >= rivalsMost:
	case i < 0:
		r.Since, r.noted, r.notedAt = r.Last, r.Priority, r.Last
		m.rivals = append(m.rivals, r)
		m.note(why)
		if !r.Addr.IsValid() {
			// Whoever is heard by advertisements is answered anyway.
			m.defend(now)
		}
	default:
		old := &m.rivals[i]
		r.Since, r.noted, r.notedAt = old.Since, old.noted, old.notedAt
		if r.Priority != r.noted && r.Last.Sub(r.notedAt) >= noteAgain {
			r.noted, r.notedAt = r.Priority, r.Last
			m.note(why)
		}
		m.rivals[i] = r
	}
}

// defend has the addresses announced again after an advertisement of a master that
// is contested: the rival yields to that at the latest, and may not say so.
func (m *Machine) defend(now time.Time) {
	if len(m.rivals) > 0 && now.Sub(m.defendedAt) >= defence {
		m.defendedAt = now
		m.reannounce()
	}
}

// endContests forgets the rivals that are not heard any more. When the last one
// is gone, whoever listened to it learns again where the addresses are.
func (m *Machine) endContests(now time.Time) {
	m.endContest(func(r *Rival) bool {
		silence := heldAdverts * max(m.cfg.Interval, r.Interval)
		if !r.Addr.IsValid() {
			silence = max(silence, contestSilence)
		}
		return now.Sub(r.Last) > silence
	})
}

// stopsContest ends the contest with a router that has advertised priority 0.
func (m *Machine) stopsContest(addr netip.Addr) {
	m.endContest(func(r *Rival) bool { return r.Addr == addr })
}

func (m *Machine) endContest(over func(*Rival) bool) {
	if len(m.rivals) == 0 {
		return
	}
	m.rivals = slices.DeleteFunc(m.rivals, func(r Rival) bool {
		if !over(&r) {
			return false
		}
		m.note(Reason{Kind: ReasonContestEnded, Peer: r.Addr, PeerPriority: r.Priority, MAC: r.MAC})
		return true
	})
	if len(m.rivals) == 0 {
		m.reannounce()
	}
}
