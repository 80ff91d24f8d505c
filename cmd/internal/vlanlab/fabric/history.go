package fabric

import (
	"math/bits"
	"time"
)

// A Set is some of the routers that a prober asks, as bits, in their order.
type Set uint32

// Count returns how many there are.
func (s Set) Count() int { return bits.OnesCount32(uint32(s)) }

// Has reports whether a router is among them.
func (s Set) Has(router int) bool { return s&(1<<router) != 0 }

// A sample is what was found at one moment, by target.
type sample struct {
	at       time.Time
	asked    Set // who was sent the question
	answered []Set
	reached  []Set // by the client, whether they answer or not
}

// A history is the samples in their order. Question n was asked by station n modulo
// their number.
type history []sample

// note adds an answer to a station: to its last question, or to the one that was the
// last when it came, if it is late. Who answers has the address at that moment, and was
// perhaps held up before.
func (h history) note(station byte, router, target int, at time.Time) {
	newest := -1
	for i := len(h) - 1; i >= 0 && i >= len(h)-stations; i-- {
		if h[i].at.After(at) {
			continue
		}
		if newest < 0 {
			newest = i
		}
		if i%stations == int(station) {
			if at.Sub(h[i].at) <= Settled && h[i].asked.Has(router) {
				newest = i
			}
			h[newest].answered[target] |= 1 << router
			return
		}
	}
}

// Times are how long in all an address was in a state.
type Times struct {
	Two   time.Duration // two routers answered that the client reaches
	Apart time.Duration // two answered, and the client reaches one of them, or none
	None  time.Duration // nobody answered whom the client reaches
}

// between adds up the states of a target. A sample holds until the next one; the time
// before the first is not known, and counts for nothing.
func (h history) between(target int, from, to time.Time) (t Times) {
	h.each(from, to, func(s sample, d time.Duration) {
		owners := s.answered[target] & s.reached[target]
		switch {
		case owners.Count() > 1:
			t.Two += d
		case s.answered[target].Count() > 1:
			t.Apart += d
		}
		if owners == 0 {
			t.None += d
		}
	})
	return t
}

// held adds up how long a router answered for a target.
func (h history) held(target, router int, from, to time.Time) (t time.Duration) {
	h.each(from, to, func(s sample, d time.Duration) {
		if s.answered[target].Has(router) {
			t += d
		}
	})
	return t
}

// each calls f for every sample with how long it held between two moments.
func (h history) each(from, to time.Time, f func(sample, time.Duration)) {
	for i, s := range h {
		begin, end := s.at, to
		if i+1 < len(h) && h[i+1].at.Before(to) {
			end = h[i+1].at
		}
		if begin.Before(from) {
			begin = from
		}
		if begin.Before(end) {
			f(s, end.Sub(begin))
		}
	}
}
