package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vipd/cmd/internal/vlanlab/ping"
	"vipd/vrrp"
)

// An outcome is what was seen of one round. Times are in seconds, and those of the
// address that was worst off.
type outcome struct {
	Scenario string `json:"scenario"`
	Pair     string `json:"pair"` // the first of the two is the one with the fault
	// Two is how long two routers answered for an address that the client reached, None
	// how long it reached none: until the fault was repaired, and from then on.
	Two       float64 `json:"two_owners_s"`
	TwoAfter  float64 `json:"two_owners_after_repair_s"`
	None      float64 `json:"no_owner_s"`
	NoneAfter float64 `json:"no_owner_after_repair_s"`
	// Apart is how long two answered, of which the client reached one at most.
	Apart float64 `json:"two_owners_apart_s"`
	// Taken is how long the other router answered.
	Taken     float64 `json:"peer_answered_s"`
	Lost      int     `json:"lost_pings"`
	LostAfter int     `json:"lost_pings_after_repair"`
	Gap       float64 `json:"longest_gap_s"`
	GapAfter  float64 `json:"longest_gap_after_repair_s"`
	// Late is how long the client was held up itself, by the host.
	Late      float64     `json:"client_late_s"`
	Addresses []addressed `json:"addresses"`
	Lasted    float64     `json:"lasted_s"`
	Attempts  int         `json:"attempts"` // until the promises were kept
	Excused   int         `json:"attempts_not_counted"`
	disturbance
	Notes   []string `json:"notes,omitempty"`
	Error   string   `json:"error,omitempty"`
	Missed  []string `json:"missed,omitempty"` // promises
	tracked bool
}

// An addressed is what was seen of one address.
type addressed struct {
	Addr      netip.Addr `json:"address"`
	Two       float64    `json:"two_owners_s"`
	None      float64    `json:"no_owner_s"`
	Lost      int        `json:"lost_pings"`
	Gap       float64    `json:"longest_gap_s"`
	LostAfter int        `json:"lost_pings_after_repair"`
	GapAfter  float64    `json:"longest_gap_after_repair_s"`
}

// judge measures a round, after the pings have ended.
func (s *stand) judge(j job, r *round, report ping.Report) outcome {
	o := outcome{Scenario: j.name, Pair: j.pair.String(), Notes: r.notes, Missed: r.broken, Lasted: r.ended.Sub(r.began).Seconds(), Late: report.Late, tracked: true}
	before, after := s.prober.Between(r.began, r.repaired), s.prober.Between(r.repaired, r.ended)
	o.Taken = s.prober.Answered(peer, r.began, r.ended).Seconds()
	at := func(t time.Time) time.Duration { return t.Sub(report.Began) }
	for i, one := range s.plan.instances {
		a := addressed{Addr: one.vip.Addr(), Two: (before[i].Two + after[i].Two).Seconds(), None: (before[i].None + after[i].None).Seconds()}
		o.Two, o.TwoAfter = max(o.Two, before[i].Two.Seconds()), max(o.TwoAfter, after[i].Two.Seconds())
		o.None, o.NoneAfter = max(o.None, before[i].None.Seconds()), max(o.NoneAfter, after[i].None.Seconds())
		o.Apart = max(o.Apart, (before[i].Apart + after[i].Apart).Seconds())
		if i < len(report.Addresses) {
			var gap time.Duration
			a.Lost, gap = report.Addresses[i].Between(at(r.began), at(r.repaired))
			a.Gap = gap.Seconds()
			a.LostAfter, gap = report.Addresses[i].Between(at(r.repaired), at(r.ended))
			a.GapAfter = gap.Seconds()
		}
		o.Lost, o.Gap = max(o.Lost, a.Lost), max(o.Gap, a.Gap)
		o.LostAfter, o.GapAfter = max(o.LostAfter, a.LostAfter), max(o.GapAfter, a.GapAfter)
		o.Addresses = append(o.Addresses, a)
	}
	limits := j.limits()
	if r.promise != nil {
		limits = *r.promise
	}
	o.Missed = append(o.Missed, o.breaks(limits)...)
	for _, i := range r.unharmed {
		if a := o.Addresses[i]; a.Lost+a.LostAfter > lostSlack && r.faulted == vipd {
			o.Missed = append(o.Missed, fmt.Sprintf("%v was not touched, and lost %d pings", a.Addr, a.Lost+a.LostAfter))
		}
	}
	return o
}

// A promise says what vipd guarantees of an outcome. What is nil is not promised.
type promise struct {
	two      *time.Duration // until the repair
	twoAfter *time.Duration
	gap      *time.Duration // in all
	taken    *time.Duration // the other router answered
	lost     *int           // in all
	before   *int           // lost until the repair
	back     *int           // lost after it
}

// never is the limit of what must not last at all.
const never time.Duration = 0

// atMost is a limit.
func atMost[T cmp.Ordered](limit T) *T { return &limit }

// How exactly all this is known. A machine that is emulated, on two processors with
// two others, does nothing for some hundredths of a second now and then, and what
// takes a daemon some milliseconds elsewhere takes it as long. A keepalived that stops
// leaves a gap of 0.6 s.
const (
	granularity = 200 * time.Millisecond
	lostSlack   = 25 // pings, each of them 10 ms
)

// breaks says which limits an outcome exceeds.
func (o outcome) breaks(p promise) []string {
	var broken []string
	times := func(what string, got float64, limit *time.Duration) {
		if limit != nil && got > (*limit+granularity).Seconds() {
			broken = append(broken, fmt.Sprintf("%s for %.2f s, promised %.2f s", what, got, limit.Seconds()))
		}
	}
	counts := func(what string, got int, limit *int) {
		if limit != nil && got > *limit+lostSlack {
			broken = append(broken, fmt.Sprintf("%d %s, promised %d", got, what, *limit))
		}
	}
	times("two owners", o.Two, p.two)
	times("two owners after the repair", o.TwoAfter, p.twoAfter)
	times("no answer", max(o.Gap, o.GapAfter), p.gap)
	times("the other router answered", o.Taken, p.taken)
	counts("lost pings", o.Lost+o.LostAfter, p.lost)
	counts("lost pings until the repair", o.Lost, p.before)
	counts("lost pings after the repair", o.LostAfter, p.back)
	return broken
}

// handoverOverlap is for how long both routers may answer when one takes over from
// the other in good order.
const handoverOverlap = 100 * time.Millisecond

// overlap is for how long a vipd that does nothing any more shares its addresses with
// its successor, at most.
func (p plan) overlap() time.Duration {
	return max(vrrp.LeaseOverlap(vrrp.LeaseLength(vrrp.V3, high, p.interval, 3), p.interval, 3), 500*time.Millisecond)
}

// planned is what holds when the daemon is told to stop, or gives way.
func planned(k pair, _ plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(handoverOverlap), twoAfter: atMost(handoverOverlap), lost: atMost(0)}
}

// undisturbed is what holds when nothing happens, for any two.
func undisturbed(pair, plan) promise {
	return promise{two: atMost(never), twoAfter: atMost(never), taken: atMost(never), lost: atMost(0)}
}

// crash is what holds when the daemon dies and is started again at once.
func crash(k pair, _ plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(never), twoAfter: atMost(never), taken: atMost(never), gap: atMost(200 * time.Millisecond)}
}

// dead is what holds when the daemon does nothing any more, or the machine; when it is
// there again, the addresses are given back in good order.
func dead(k pair, p plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(p.overlap()), twoAfter: atMost(handoverOverlap), back: atMost(0)}
}

// bootPings is how many pings may be lost when a machine takes its addresses back that
// still boots: all that starts then shares its one processor with whoever answers.
const bootPings = 100

// rebooted is planned, and then a boot.
func rebooted(k pair, p plan) promise {
	out := planned(k, p)
	if out.lost != nil {
		out.before, out.back, out.lost = out.lost, atMost(bootPings), nil
	}
	return out
}

// deadMachine is dead, and then a boot.
func deadMachine(k pair, p plan) promise {
	out := dead(k, p)
	if out.back != nil {
		out.back = atMost(bootPings)
	}
	return out
}

// paused is what holds when the machine stands still with its clock, and goes on as if
// nothing had been: both are master until the first advertisement of one of them.
func paused(k pair, p plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(p.overlap()), twoAfter: atMost(p.interval + handoverOverlap), back: atMost(0)}
}

// pausedQuick is paused with adverts so often that an emulated machine may miss three
// at any time: what comes after the repair is not promised.
func pausedQuick(k pair, p plan) promise { return promise{two: paused(k, p).two} }

// healed is what holds when two parts of a network come together: both have a master
// until the first advertisement has crossed.
func healed(k pair, p plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(never), twoAfter: atMost(p.interval + handoverOverlap), back: atMost(0)}
}

// healedAlone is what holds when only the master stood apart, and the others heard it
// all the time.
func healedAlone(k pair, _ plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(never), twoAfter: atMost(never), taken: atMost(never), back: atMost(0)}
}

// oneWayPromise is what holds when a backup does not hear a master whom the client
// hears: it is master as well, which nobody can keep it from, and the client has one of
// them. Then it is as after a partition.
func oneWayPromise(k pair, p plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{twoAfter: healed(k, p).twoAfter, lost: atMost(0)}
}

// unfit is what holds when the router is not fit to be master any more: it lets go at
// once, and the other one waits for its skew time. When it is fit again, nothing is
// lost.
func unfit(k pair, p plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(handoverOverlap), twoAfter: atMost(handoverOverlap), gap: atMost(p.interval), back: atMost(0)}
}

// touched is what holds when something else removes the addresses, the router's own
// among them: they are put back, and nobody takes over. Nobody answers as long as the
// interface has no address of its own, as there is no route for the answer.
func touched(k pair, _ plan) promise {
	if k.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(never), twoAfter: atMost(never), taken: atMost(never), gap: atMost(300 * time.Millisecond)}
}

// String is a line for a table.
func (o outcome) String() string {
	if !o.tracked {
		return fmt.Sprintf("%-20s %-22s NOT TRIED: %s", o.Scenario, o.Pair, o.Error)
	}
	line := fmt.Sprintf("%-20s %-22s %6.2f %6.2f %6.2f %6.2f %6.2f %5d %5d %7.2f %7.2f", o.Scenario, o.Pair,
		o.Two, o.TwoAfter, o.None, o.NoneAfter, o.Apart, o.Lost, o.LostAfter, o.Gap, o.GapAfter)
	for _, more := range [][]string{o.Missed, o.Notes} {
		if len(more) > 0 {
			line += "  " + strings.Join(more, "; ")
		}
	}
	if o.Error != "" {
		line += "  ERROR: " + o.Error
	}
	return line
}
