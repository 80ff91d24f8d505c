package arp

import (
	"container/heap"
	"time"
)

// A Timing says how often the addresses of an instance are announced. The
// fields are keepalived's keywords. A count below 1 means never, a duration of
// 0 or less leaves out what it would time.
type Timing struct {
	MasterDelay  time.Duration // garp_master_delay: from the first block to the second
	MasterRepeat int           // garp_master_repeat: rounds in each of the two

	Refresh       time.Duration // garp_master_refresh: period while master
	RefreshRepeat int           // garp_master_refresh_repeat: rounds each time

	LowerPrioDelay  time.Duration // garp_lower_prio_delay: from the first block to the second
	LowerPrioRepeat int           // garp_lower_prio_repeat: rounds in each of the two
}

// A Schedule decides when each address of one instance is announced while the
// instance is master. K is whatever the caller tells addresses apart by.
//
// A Schedule has no clock: every method is told the time. It knows only
// addresses that are in place, so it cannot announce one that is not. It is not
// safe for use by several goroutines.
//
// An announcement belongs to a block: a number of rounds over a list of
// addresses, the rounds one after the other, so that with two addresses the
// order is A B A B and not A A B B. A block that was only partly taken by
// [Schedule.Due] goes on where it was left.
type Schedule[K comparable] struct {
	timing  Timing
	settled bool

	// order holds the ready addresses in the order in which they became so, and
	// those lost since that have not been swept out; index holds the ready ones
	// only. A block refers to a part of order, so order is only ever appended to
	// or replaced, never changed in place.
	order []*entry[K]
	index map[K]*entry[K]

	blocks blockHeap[K]
	seq    uint64

	refreshAt time.Time // zero: no refresh
	refresh   *block[K] // the refresh that is under way, if any
	lowNow    *block[K] // the immediate block of LowerPriority, if not done
	lowLater  *block[K] // the delayed one
}

// An entry is one stay of an address in the schedule. An address that is lost
// and comes back gets a new entry, so that what was pending stays forgotten.
type entry[K comparable] struct {
	key  K
	lost bool
}

// A block is a number of rounds over a list of addresses that become due
// together.
type block[K comparable] struct {
	at  time.Time
	seq uint64 // among blocks due at one time, the first asked for goes first
	pos int    // place in the heap, -1 outside

	rounds  int
	begun   bool        // entries, next and left are set
	entries []*entry[K] // with begun false and nil: what is ready at the beginning
	next    int         // entry whose turn it is
	left    int         // announcements left, those of lost entries included
}

// NewSchedule returns a Schedule in which no address is ready.
func NewSchedule[K comparable](t Timing) *Schedule[K] {
	return &Schedule[K]{timing: t, index: make(map[K]*entry[K])}
}

// Ready says that the addresses keys are in place now. Before [Schedule.Settled]
// each has its first round at once; the others follow when it is known which
// addresses there are. After it, the addresses have the whole burst, and again
// after the delay, to themselves. A key that is ready already is left alone.
func (s *Schedule[K]) Ready(now time.Time, keys ...K) {
	if len(s.index) == 0 {
		s.pass(now)
	}
	added := make([]*entry[K], 0, len(keys))
	for _, k := range keys {
		if _, ok := s.index[k]; ok {
			continue
		}
		e := &entry[K]{key: k}
		s.index[k] = e
		added = append(added, e)
	}
	s.order = append(s.order, added...)

	if !s.settled {
		s.add(now, min(1, s.timing.MasterRepeat), added)
		return
	}
	s.add(now, s.timing.MasterRepeat, added)
	if s.timing.MasterDelay > 0 {
		s.add(now.Add(s.timing.MasterDelay), s.timing.MasterRepeat, added)
	}
}

// Settled says that every address of the instance has been tried: those that
// are ready have the rounds after their first now, the second block after
// garp_master_delay, and are refreshed from then on. A second Settled without a
// [Schedule.Stop] between changes nothing.
func (s *Schedule[K]) Settled(now time.Time) {
	if s.settled {
		return
	}
	s.settled = true

	all := s.order[:len(s.order):len(s.order)]
	s.add(now, s.timing.MasterRepeat-1, all)
	if s.timing.MasterDelay > 0 {
		s.add(now.Add(s.timing.MasterDelay), s.timing.MasterRepeat, all)
	}
	if s.timing.Refresh > 0 && s.timing.RefreshRepeat > 0 {
		s.refreshAt = now.Add(max(0, s.timing.MasterDelay) + s.timing.Refresh)
	}
}

// LowerPriority says that this master has heard an advertisement of a lower
// priority: hosts may have learnt the other's address, so all ready addresses
// are announced now and again after garp_lower_prio_delay.
//
// However often it is called there is at most one immediate and one delayed
// block. An immediate block that has not been taken whole starts counting
// again from where it is, and not from its first address: under a rate limit
// the last address would never have its turn.
func (s *Schedule[K]) LowerPriority(now time.Time) {
	if s.timing.LowerPrioRepeat < 1 {
		return
	}
	if s.lowNow == nil && s.lowLater != nil && s.lowLater.begun {
		s.lowNow, s.lowLater = s.lowLater, nil
	}
	if b := s.lowNow; b != nil {
		b.left = b.rounds * len(b.entries)
	} else {
		s.lowNow = s.push(now, s.timing.LowerPrioRepeat, nil)
	}

	if s.lowLater != nil {
		heap.Remove(&s.blocks, s.lowLater.pos)
		s.lowLater = nil
	}
	if s.timing.LowerPrioDelay > 0 {
		s.lowLater = s.push(now.Add(s.timing.LowerPrioDelay), s.timing.LowerPrioRepeat, nil)
	}
}

// Lost says that the addresses keys are no longer in place: nothing that was
// pending for them is announced.
func (s *Schedule[K]) Lost(keys ...K) {
	for _, k := range keys {
		if e, ok := s.index[k]; ok {
			e.lost = true
			delete(s.index, k)
		}
	}
	// The sweep costs as much as there is; putting it off until most of it is
	// waste makes losing addresses one by one cheap.
	if waste := len(s.order) - len(s.index); waste > 64 && waste > len(s.order)/2 {
		s.sweep()
	}
}

// Stop forgets everything: the instance is no longer master. The Schedule can
// be used again for the next time.
func (s *Schedule[K]) Stop() {
	*s = Schedule[K]{timing: s.timing, seq: s.seq, index: make(map[K]*entry[K])}
}

// Retime gives the schedule other times. What is pending stays as it is, but for
// the refresh, which is due a new period after now if its period has changed.
func (s *Schedule[K]) Retime(now time.Time, t Timing) {
	changed := t.Refresh != s.timing.Refresh
	s.timing = t
	switch {
	case !s.settled || !changed:
	case t.Refresh > 0 && t.RefreshRepeat > 0:
		s.refreshAt = now.Add(t.Refresh)
	default:
		s.refreshAt = time.Time{}
	}
}

// Len returns the number of addresses that are ready.
func (s *Schedule[K]) Len() int { return len(s.index) }

// Next returns the time at which the next announcement is due. It returns false
// if none is pending. [Schedule.Due] at that time returns at least one key.
func (s *Schedule[K]) Next() (time.Time, bool) {
	b := s.first()
	switch {
	case s.refreshPending() && (b == nil || s.refreshAt.Before(b.at)):
		return s.refreshAt, true
	case b != nil:
		return b.at, true
	default:
		return time.Time{}, false
	}
}

// Due returns the keys to announce now, in their order, at most most of them; 0
// or less means all. The rest stays due. A key is returned once for each
// announcement, so it can occur several times.
func (s *Schedule[K]) Due(now time.Time, most int) []K {
	s.startRefresh(now)

	var due []K
	for most <= 0 || len(due) < most {
		b := s.first()
		if b == nil || b.at.After(now) {
			break
		}
		if !b.begun {
			b.begin(s.order[:len(s.order):len(s.order)])
		}
		if due == nil {
			due = make([]K, 0, size(b.left, most))
		}
		for b.left > 0 && (most <= 0 || len(due) < most) {
			if e := b.entries[b.next]; !e.lost {
				due = append(due, e.key)
			}
			b.step()
		}
		if b.left == 0 {
			s.drop(b)
		}
	}
	return due
}

// size returns how much to allocate for left announcements of which at most
// most are taken.
func size(left, most int) int {
	if most > 0 {
		return min(left, most)
	}
	return left
}

// refreshPending reports whether the refresh timer would announce anything.
func (s *Schedule[K]) refreshPending() bool {
	return !s.refreshAt.IsZero() && len(s.index) > 0
}

// startRefresh begins the refresh that is due, if one is. A refresh that comes
// due while the last has not been taken whole is left out, or a rate limit that
// needs longer than the period would let them pile up; so are those that were
// slept through.
func (s *Schedule[K]) startRefresh(now time.Time) {
	if !s.refreshPending() || s.refreshAt.After(now) {
		return
	}
	if s.refresh == nil {
		s.refresh = s.push(s.refreshAt, s.timing.RefreshRepeat, nil)
	}
	s.nextRefresh(now)
}

// nextRefresh moves the refresh timer to its first time after now, in step with
// its period.
func (s *Schedule[K]) nextRefresh(now time.Time) {
	periods := now.Sub(s.refreshAt)/s.timing.Refresh + 1
	s.refreshAt = s.refreshAt.Add(periods * s.timing.Refresh)
}

// add schedules a block over entries, unless it would be empty.
func (s *Schedule[K]) add(at time.Time, rounds int, entries []*entry[K]) {
	if rounds > 0 && len(entries) > 0 {
		s.push(at, rounds, entries)
	}
}

// push schedules a block. With nil entries it is over all addresses that are
// ready when it begins.
func (s *Schedule[K]) push(at time.Time, rounds int, entries []*entry[K]) *block[K] {
	s.seq++
	b := &block[K]{at: at, seq: s.seq, rounds: rounds}
	if entries != nil {
		b.begin(entries)
	}
	heap.Push(&s.blocks, b)
	return b
}

// first returns the block that is due first and has something to announce. If
// it has begun, the turn is at an address that is in place. Blocks that have
// nothing left are dropped on the way.
func (s *Schedule[K]) first() *block[K] {
	if len(s.index) == 0 {
		return nil
	}
	for len(s.blocks) > 0 {
		b := s.blocks[0]
		if !b.begun {
			return b // over all that are ready, and there is one
		}
		for b.left > 0 && b.entries[b.next].lost {
			b.step()
		}
		if b.left > 0 {
			return b
		}
		s.drop(b)
	}
	return nil
}

// pass drops what has come due while no address was ready to be announced.
func (s *Schedule[K]) pass(now time.Time) {
	for len(s.blocks) > 0 && !s.blocks[0].at.After(now) {
		s.drop(s.blocks[0])
	}
	if !s.refreshAt.IsZero() && !s.refreshAt.After(now) {
		s.nextRefresh(now)
	}
}

// drop takes b out of the schedule.
func (s *Schedule[K]) drop(b *block[K]) {
	heap.Remove(&s.blocks, b.pos)
	switch b {
	case s.refresh:
		s.refresh = nil
	case s.lowNow:
		s.lowNow = nil
	case s.lowLater:
		s.lowLater = nil
	}
}

// sweep forgets lost entries, and the blocks that have no other.
func (s *Schedule[K]) sweep() {
	kept := make([]*entry[K], 0, len(s.index))
	for _, e := range s.order {
		if !e.lost {
			kept = append(kept, e)
		}
	}
	s.order = kept

	var dead []*block[K]
	for _, b := range s.blocks {
		if b.begun && !b.alive() {
			dead = append(dead, b)
		}
	}
	for _, b := range dead {
		s.drop(b)
	}
}

// begin fixes the addresses of b.
func (b *block[K]) begin(entries []*entry[K]) {
	b.begun = true
	b.entries = entries
	b.left = b.rounds * len(entries)
}

// step passes the turn on.
func (b *block[K]) step() {
	b.left--
	if b.next++; b.next == len(b.entries) {
		b.next = 0
	}
}

// alive reports whether any address of b is still in place.
func (b *block[K]) alive() bool {
	for _, e := range b.entries {
		if !e.lost {
			return true
		}
	}
	return false
}

// A blockHeap is a heap.Interface of blocks, the one due first at the top.
type blockHeap[K comparable] []*block[K]

var _ heap.Interface = (*blockHeap[int])(nil)

// Len implements sort.Interface.
func (h blockHeap[K]) Len() int { return len(h) }

// Less implements sort.Interface.
func (h blockHeap[K]) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

// Swap implements sort.Interface.
func (h blockHeap[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

// Push implements heap.Interface.
func (h *blockHeap[K]) Push(x any) {
	b := x.(*block[K])
	b.pos = len(*h)
	*h = append(*h, b)
}

// Pop implements heap.Interface.
func (h *blockHeap[K]) Pop() any {
	old := *h
	b := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	b.pos = -1
	return b
}
