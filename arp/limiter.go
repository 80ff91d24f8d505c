package arp

import "time"

// A Limiter keeps a minimum gap between the announcements of one kind on one
// physical interface (keepalived's garp_interval and gna_interval): some
// switches take no more than a few a second from one port. It has no clock.
//
// The schedules of an interface share its Limiter. One that holds addresses of
// both families would make one kind wait for the other; a schedule for each
// family does not.
type Limiter struct {
	gap  [2]time.Duration
	free [2]time.Time // when the next of a kind may go; zero: at once
}

// NewLimiter returns a Limiter with the given gaps between gratuitous ARPs and
// between neighbour advertisements. A gap of 0 or less means no limit.
func NewLimiter(garp, gna time.Duration) *Limiter {
	return &Limiter{gap: [2]time.Duration{GARP: max(0, garp), NA: max(0, gna)}}
}

// Next returns the earliest time, not before now, at which an announcement of
// kind k may be sent.
func (l *Limiter) Next(now time.Time, k Kind) time.Time {
	if free := l.free[k&1]; free.After(now) {
		return free
	}
	return now
}

// Most returns how many announcements of kind k may be sent at one time: 1 if
// there is a gap to keep, and otherwise 0, which means any number, as it does
// for [Schedule.Due].
func (l *Limiter) Most(k Kind) int {
	if l.gap[k&1] > 0 {
		return 1
	}
	return 0
}

// Sent records that an announcement of kind k was sent at the time at.
func (l *Limiter) Sent(at time.Time, k Kind) {
	if gap := l.gap[k&1]; gap > 0 {
		l.free[k&1] = at.Add(gap)
	}
}
