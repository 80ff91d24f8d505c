package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// An outcome is what was seen of one round. Times are in seconds, and those of
// the address that was worst off.
type outcome struct {
	Fault string `json:"fault"`
	Pair  string `json:"pair"` // the first of the two is the one with the fault
	// Two is how long two routers answered for an address, None how long none
	// did: until the fault was repaired, and from then on.
	Two       float64 `json:"two_owners_s"`
	TwoAfter  float64 `json:"two_owners_after_repair_s"`
	None      float64 `json:"no_owner_s"`
	NoneAfter float64 `json:"no_owner_after_repair_s"`
	Lost      int     `json:"lost_pings"`
	LostAfter int     `json:"lost_pings_after_repair"` // of those
	Gap       float64 `json:"longest_gap_s"`
	// Transitions are the peer's changes of state, all its instances together.
	Transitions int `json:"peer_transitions"`
	// Owner is who answers for the addresses in the end, TalksTo whom the client
	// sends to.
	Owner   string `json:"owner"`
	TalksTo string `json:"client_talks_to"`
	// Misled is, after a heal, for how long the client still talked to the loser
	// after the first advertisement that crossed, and First whose that was.
	Misled  float64  `json:"client_misled_s"`
	First   string   `json:"first_to_cross,omitempty"`
	Lasted  float64  `json:"lasted_s"` // as long as was looked on
	Notes   []string `json:"notes,omitempty"`
	Error   string   `json:"error,omitempty"`
	Missed  []string `json:"missed,omitempty"` // promises
	healed  bool
	tracked bool
}

// judge measures a round, after everything has stopped.
func (s *stand) judge(j job, r *round) outcome {
	o := outcome{Fault: j.name, Pair: j.pair.String(), Notes: r.notes, healed: r.healed, tracked: true}
	two, none := s.owners.between(r.began.at, r.repaired.at)
	twoAfter, noneAfter := s.owners.between(r.repaired.at, r.ended.at)
	from := r.began.at
	if r.healed {
		// Who was parted from the client lost nothing by what is looked at here.
		from = r.repaired.at
		wrong, first := s.client.misled(r.winner, r.repaired.at, r.ended.at)
		o.Misled, o.First = wrong.Seconds(), first.String()
	}
	lost, gap := s.client.lost(from, r.ended.at)
	o.LostAfter, _ = s.client.lost(r.repaired.at, r.ended.at)
	o.Two, o.None, o.TwoAfter, o.NoneAfter = two.Seconds(), none.Seconds(), twoAfter.Seconds(), noneAfter.Seconds()
	o.Lost, o.Gap = lost, gap.Seconds()
	o.Owner = s.owners.at(r.ended.at).String()
	o.TalksTo = s.client.talksTo(r.ended.at).String()
	o.Lasted = r.ended.at.Sub(r.began.at).Seconds()
	return o
}

// at returns who answered for any of the addresses at a moment.
func (o *owners) at(when time.Time) set {
	o.mu.Lock()
	defer o.mu.Unlock()
	held := make([]set, len(o.vips))
	for _, c := range o.changes {
		if !c.at.After(when) {
			held[c.vip] = c.held
		}
	}
	var all set
	for _, h := range held {
		all |= h
	}
	return all
}

// A promise says what vipd guarantees of an outcome. What is nil is not promised.
type promise struct {
	two         *time.Duration // in all, or until the repair if there is one of its own for after it
	twoAfter    *time.Duration
	none        *time.Duration
	gap         *time.Duration
	misled      *time.Duration
	lost        *int
	lostAfter   *int
	transitions *int
}

// never is the limit of what must not last at all.
const never time.Duration = 0

// atMost is a limit.
func atMost[T cmp.Ordered](limit T) *T { return &limit }

// granularity is how exactly all this is known: a ping more or less, and two
// kernels' reports that were read in another order than they were made.
const granularity = 2 * pingInterval

// breaks says which limits an outcome exceeds.
func (o outcome) breaks(p promise) []string {
	var broken []string
	times := func(what string, got float64, limit *time.Duration) {
		if limit != nil && got > (*limit+granularity).Seconds() {
			broken = append(broken, fmt.Sprintf("%s for %.3f s, promised %.3f s", what, got, limit.Seconds()))
		}
	}
	counts := func(what string, got int, limit *int) {
		if limit != nil && got > *limit {
			broken = append(broken, fmt.Sprintf("%d %s, promised %d", got, what, *limit))
		}
	}
	two := o.Two
	if p.twoAfter == nil {
		two += o.TwoAfter
	}
	times("two owners", two, p.two)
	times("two owners after the repair", o.TwoAfter, p.twoAfter)
	times("no owner", o.None+o.NoneAfter, p.none)
	times("no answer", o.Gap, p.gap)
	times("the client talked to the loser", o.Misled, p.misled)
	counts("lost pings", o.Lost, p.lost)
	counts("lost pings after the repair", o.LostAfter, p.lostAfter)
	counts("transitions of the peer", o.Transitions, p.transitions)
	return broken
}

// String is a line for a table.
func (o outcome) String() string {
	if !o.tracked {
		return fmt.Sprintf("%-22s %-22s NOT TRIED: %s", o.Fault, o.Pair, o.Error)
	}
	line := fmt.Sprintf("%-22s %-22s %7.3f %7.3f %7.3f %7.3f %6d %7.3f %5d  %-7s %-7s", o.Fault, o.Pair,
		o.Two, o.TwoAfter, o.None, o.NoneAfter, o.Lost, o.Gap, o.Transitions, o.Owner, o.TalksTo)
	if o.healed {
		line += fmt.Sprintf(" %7.3f after %s", o.Misled, o.First)
	}
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
