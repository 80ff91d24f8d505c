package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"vipd/cmd/internal/control"
)

// gapsMatter is for how long a gap is something to look into.
const gapsMatter = 24 * time.Hour

// rivals are the other owners, each of them once: a router that advertises is not
// told a second time by its hardware address.
func rivals(in *control.Instance) []control.Rival {
	routers := make(map[string]bool)
	for _, r := range in.Contested {
		if r.Address.IsValid() && r.MAC != "" {
			routers[strings.ToLower(r.MAC)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(in.Contested), func(r control.Rival) bool {
		return !r.Address.IsValid() && routers[strings.ToLower(r.MAC)]
	})
}

// contested reports whether another router owns what this one owns.
func contested(in *control.Instance) bool { return len(in.Contested) > 0 }

// stateOf is the state, and what is wrong with it that nobody may overlook.
func stateOf(in *control.Instance) string {
	s := stateWord(in.State)
	switch {
	case contested(in):
		s += " (contested)"
	case in.HandingOver:
		s += " (handing over)"
	}
	return s
}

func styleOf(in *control.Instance) style {
	switch {
	case contested(in):
		return bad
	case in.HandingOver:
		return alert
	}
	return stateStyle(in.State)
}

// rivalName names another owner as briefly as it can be.
func rivalName(r control.Rival) string {
	if r.Address.IsValid() {
		return r.Address.String()
	}
	return cmp.Or(clean(r.MAC), "an unknown host")
}

// ownership says who else has, or is to have, what the instance owns.
func (p *printer) ownership(in *control.Instance) {
	others := rivals(in)
	for _, r := range others[:min(len(others), maxRivals)] {
		p.row("contested", p.rival(in, r), bad)
	}
	if n := len(others) - maxRivals; n > 0 {
		p.row("", fmt.Sprintf("and by %s more", count(n, "router")), bad)
	}
	isRouter := func(r control.Rival) bool { return r.Address.IsValid() }
	if slices.ContainsFunc(others, isRouter) {
		p.row("", "do: find out why the routers do not hear each other, or do not agree: a packet filter that drops protocol 112, the switch, or another configuration there", plain)
	}
	if slices.ContainsFunc(others, func(r control.Rival) bool { return !isRouter(r) }) {
		// It may be the rightful master, if it is this router that hears nobody.
		p.row("", "do: another host has the address: find it by the hardware address (`ip neigh`, the switch's table); if it is a router of this virtual router, find out why it is not heard (protocol 112), if not, take the address away there", plain)
	}
	if in.HandingOver {
		p.row("handover", "another router takes over; the addresses are answered for until it has announced them", alert)
	}
	if in.Yielded {
		p.row("yielded", "left to others by the operator; `"+p.failoverEnd(in)+"` ends that", alert)
	}
	if in.Held != nil {
		p.row("held", p.held(in), alert)
	}
}

// failoverEnd is the command that ends a failover.
func (p *printer) failoverEnd(in *control.Instance) string {
	s := "vipd failover --end " + ShellWords([]string{in.Name})
	if p.runDir != "" && p.runDir != defaultRunDir {
		s += " --run-dir " + ShellWords([]string{p.runDir})
	}
	return s
}

// quiet reports whether a rival was not heard when it should have been, if it was
// still there. Before it is forgotten that has to be so for longer.
func (p *printer) quiet(in *control.Instance, r control.Rival) bool {
	interval := in.AdvertInterval.Duration()
	if !r.Address.IsValid() {
		interval = 2 * time.Second // as often as it is asked
	}
	return !r.LastHeard.IsZero() && p.o.Now.Sub(r.LastHeard) > interval*3/2
}

// rival says who else is master, or answers for an address.
func (p *printer) rival(in *control.Instance, r control.Rival) string {
	is, answers, quiet := "is", "answers", p.quiet(in, r)
	if quiet {
		is, answers = "was", "answered"
	}
	var s string
	switch {
	case r.Address.IsValid():
		s = fmt.Sprintf("%s %s master too, with priority %d", r.Address, is, r.Priority)
		if r.MAC != "" {
			s += ", and " + r.MAC + " " + answers
			if r.VIP.IsValid() {
				s += " for " + r.VIP.String()
			}
		}
	default:
		s = rivalName(r) + " " + answers
		if r.VIP.IsValid() {
			s += " for " + r.VIP.String()
		}
	}
	if !r.Since.IsZero() {
		s += fmt.Sprintf(", for %s, since %s", p.since(r.Since), p.stamp(r.Since))
	}
	switch {
	case quiet:
		s += fmt.Sprintf("; last heard %s ago: it may be over", p.since(r.LastHeard))
	case !r.LastHeard.IsZero():
		s += fmt.Sprintf(", heard %s ago", p.since(r.LastHeard))
	}
	return s
}

// held says who keeps a backup from taking over, and why that is so.
func (p *printer) held(in *control.Instance) string {
	s := fmt.Sprintf("%s is heard but its configuration differs", in.Held.Peer)
	for _, m := range in.Mismatches {
		if m.Peer == in.Held.Peer {
			s += ": " + m.Text
			break
		}
	}
	if !in.Held.Until.IsZero() {
		s += "; this node does not take over before it has been silent for " + p.until(in.Held.Until) + " more"
	}
	return s
}

// leaseOff is why there is no lease if none is wanted.
const leaseOff = "vip_lease is off"

// lease says what becomes of the addresses when the process dies.
func (p *printer) lease(l *control.Lease) {
	if l == nil {
		return
	}
	s, st := fmt.Sprintf("%s: ", l.Length), plain
	switch {
	case l.Length == 0:
		s = "none: after a crash two routers answer until somebody removes the addresses here"
	case l.Overlap == 0:
		s += "the addresses are gone before another router takes over after a crash"
	default:
		s += "two routers answer for at most " + short(l.Overlap.Duration()) + " after a crash"
	}
	if l.Off != "" {
		s += " (" + l.Off + ")"
		if l.Off != leaseOff {
			st = alert
		}
	}
	p.row("lease", s, st)
}

// gaps says that the instance did not run for a time.
func (p *printer) gaps(g control.Gaps) {
	if g.Count > 0 {
		p.row("gaps", "stood still "+p.gapsText(g), p.gapStyle(g))
	}
}

func (p *printer) gapsText(g control.Gaps) string {
	s := times(g.Count)
	if g.Longest > 0 {
		s += ", for " + short(g.Longest.Duration())
		if g.Count > 1 {
			s += " at most"
		}
	}
	if !g.Last.IsZero() {
		s += fmt.Sprintf(", last %s ago", p.since(g.Last))
	}
	return s
}

// gapStyle makes a gap of late stand out.
func (p *printer) gapStyle(g control.Gaps) style {
	if p.o.Now.Sub(g.Last) < gapsMatter {
		return alert
	}
	return plain
}

// events shows what happened besides transitions, the newest first.
func (p *printer) events(events []control.Event) {
	label := "events"
	for i := len(events) - 1; i >= max(0, len(events)-maxEvents); i-- {
		e := events[i]
		p.row(label, fmt.Sprintf("%s %s", p.stamp(e.At), cmp.Or(e.Text, strings.ReplaceAll(string(e.Kind), "-", " "))), faint)
		label = ""
	}
}

// wereCount is the number of addresses something was done to.
func wereCount(n uint64) string {
	if n == 1 {
		return "1 address was"
	}
	return fmt.Sprintf("%d addresses were", n)
}
