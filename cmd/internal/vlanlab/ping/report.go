package ping

import (
	"net/netip"
	"slices"
	"time"
)

// notable is how many intervals without an answer are a gap. A machine that is
// emulated does nothing for some milliseconds now and then.
const notable = 5

// A Report is what a client noticed. Times are in seconds.
type Report struct {
	Began  time.Time `json:"began"`
	Lasted float64   `json:"lasted_s"`
	// Late is the longest time by which the client itself missed its schedule: a gap of
	// about as long may be its own.
	Late      float64   `json:"late_s"`
	Addresses []Address `json:"addresses"`
}

// An Address is what a client noticed of one address.
type Address struct {
	Addr netip.Addr `json:"address"`
	Sent int        `json:"sent"`
	// Lost counts the pings without an answer. An answer that comes late, because the
	// ping waited for a neighbour to be found, is no loss; the gap shows it.
	Lost int `json:"lost"`
	// Longest is the longest time in which no answer arrived: between two answers,
	// before the first or after the last. Without any trouble it is about the interval.
	Longest float64 `json:"longest_gap_s"`
	Total   float64 `json:"gaps_s"` // all Gaps together
	Gaps    []Gap   `json:"gaps,omitempty"`
	// Interval is that of the pings.
	Interval float64 `json:"interval_s"`
	// Losses are when the pings without an answer were sent.
	Losses []float64 `json:"lost_at_s,omitempty"`
}

// A Gap is a time of five intervals or more in which no answer arrived.
type Gap struct {
	At     float64 `json:"at_s"` // since Began
	Lasted float64 `json:"lasted_s"`
}

// measure makes a report of the pings to one address.
func measure(a netip.Addr, pings []ping, ended, interval time.Duration) Address {
	r := Address{Addr: a, Sent: len(pings), Interval: interval.Seconds()}
	arrivals := []time.Duration{0, ended}
	for _, p := range pings {
		if p.answered == 0 {
			r.Lost++
			r.Losses = append(r.Losses, p.sent.Seconds())
			continue
		}
		arrivals = append(arrivals, p.answered)
	}
	slices.Sort(arrivals)
	for i, at := range arrivals[1:] {
		d := at - arrivals[i]
		r.Longest = max(r.Longest, d.Seconds())
		if d >= notable*interval {
			r.Gaps = append(r.Gaps, Gap{arrivals[i].Seconds(), d.Seconds()})
			r.Total += d.Seconds()
		}
	}
	return r
}

// Between returns how many of the pings that were sent between two times since the
// beginning were lost, and the longest gap that began between them: when an answer was
// due. A gap of less than five intervals counts as none.
func (a Address) Between(from, to time.Duration) (lost int, gap time.Duration) {
	within := func(at float64) bool { return at >= from.Seconds() && at < to.Seconds() }
	for _, at := range a.Losses {
		if within(at) {
			lost++
		}
	}
	for _, g := range a.Gaps {
		if within(g.At + notable*a.Interval) {
			gap = max(gap, time.Duration(g.Lasted*float64(time.Second)))
		}
	}
	return lost, gap
}
