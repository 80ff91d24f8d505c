package main

import (
	"math"
	"slices"
	"time"
)

// quantile returns the smallest value that at least the share q of the values
// does not exceed (nearest rank), NaN if there are none. With fewer than a
// hundred values the 0.99 quantile is the largest.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(s))))
	return s[min(max(rank, 1), len(s))-1]
}

// median returns the middle value, the mean of the two in the middle if their
// number is even, NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// A pair is what the two rivals showed one after the other.
type pair [2]float64

// ratios returns vipd's share of keepalived's value, for each pair in which that
// makes sense.
func ratios(pairs []pair) []float64 {
	var r []float64
	for _, p := range pairs {
		if p[keepalived] > 0 && p[vipd] >= 0 {
			r = append(r, p[vipd]/p[keepalived])
		}
	}
	return r
}

// differences returns by how much vipd's value is larger, for each pair.
func differences(pairs []pair) []float64 {
	d := make([]float64, 0, len(pairs))
	for _, p := range pairs {
		d = append(d, p[vipd]-p[keepalived])
	}
	return d
}

// turns returns who goes first in the nth pair, and who second: A B, B A, A B …
func turns(n int) [2]rival {
	if n%2 == 0 {
		return [2]rival{keepalived, vipd}
	}
	return [2]rival{vipd, keepalived}
}

// gaps returns by how much the time between neighbours exceeds the interval.
func gaps(at []time.Time, interval time.Duration) []time.Duration {
	var g []time.Duration
	for i := 1; i < len(at); i++ {
		g = append(g, at[i].Sub(at[i-1])-interval)
	}
	return g
}

// longestGap returns the longest time between neighbours.
func longestGap(at []time.Time) time.Duration {
	longest := time.Duration(0)
	for i := 1; i < len(at); i++ {
		longest = max(longest, at[i].Sub(at[i-1]))
	}
	return longest
}

// lateness returns how late each event is by an absolute schedule of the given
// interval, which begins so that the most punctual event is not late at all.
// Nothing is expected of the first event: it may itself be late.
func lateness(at []time.Time, interval time.Duration) []time.Duration {
	if len(at) == 0 {
		return nil
	}
	late := make([]time.Duration, len(at))
	for i := range at {
		late[i] = at[i].Sub(at[0]) - time.Duration(i)*interval
	}
	least := slices.Min(late)
	for i := range late {
		late[i] -= least
	}
	return late
}

// drift returns by how much a schedule falls behind with each event. It looks at
// the most punctual event of the first and of the last quarter, so that single
// late ones do not count.
func drift(at []time.Time, interval time.Duration) time.Duration {
	q := len(at) / 4
	if q == 0 {
		return 0
	}
	late := lateness(at, interval)
	first, last := 0, len(late)-q
	for i := range q {
		if late[i] < late[first] {
			first = i
		}
		if late[len(late)-q+i] < late[last] {
			last = len(late) - q + i
		}
	}
	return (late[last] - late[first]) / time.Duration(last-first)
}

// masterDown returns the time after the last advertisement at which a backup
// takes over (RFC 9568 §6.1).
func masterDown(interval time.Duration, priority uint8) time.Duration {
	return 3*interval + skew(interval, priority)
}

// skew returns the Skew_Time of version 3 (RFC 9568 §6.1).
func skew(interval time.Duration, priority uint8) time.Duration {
	return interval * (256 - time.Duration(priority)) / 256
}

// milliseconds returns d as a number of milliseconds.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// allMilliseconds converts a list.
func allMilliseconds(ds []time.Duration) []float64 {
	ms := make([]float64, len(ds))
	for i, d := range ds {
		ms[i] = milliseconds(d)
	}
	return ms
}
