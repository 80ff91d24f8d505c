// Package sim runs virtual routers in a simulated world and looks whether an
// address ever has two owners, or none.
//
// A [History] is made of a seed: 2 to 16 routers on one or two LANs, and what
// happens to them. The routers are real: [vrrp.Machine] and [vrrp.Group], the codec,
// and the receive checks of vrrpconn. Around each is a model of what the daemon and
// the kernel do: sockets that fill while the process is stopped, a worker that puts
// addresses in place and sometimes fails, addresses whose lifetime the kernel
// counts, announcements that others hear. All of its time is virtual and all of
// its chance comes from the seed, so that a history always runs in the same way.
package sim

import (
	"fmt"
	"reflect"
	"strings"
)

// Stats count what was seen. A field that is zero after many histories means that
// something was not tried.
type Stats struct {
	Elections, Preemptions, HandOvers, Failovers, Heals, Expiries  int
	Resumes, LateRestarts, Gaps, Contests, Holds, Restores, Faults int
	Advertisements                                                 int
}

// Add adds what another run has seen.
func (s *Stats) Add(t Stats) {
	a, b := reflect.ValueOf(s).Elem(), reflect.ValueOf(t)
	for i := range a.NumField() {
		a.Field(i).SetInt(a.Field(i).Int() + b.Field(i).Int())
	}
}

// Missing names what was not seen.
func (s *Stats) Missing() []string {
	var out []string
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if v.Field(i).Int() == 0 {
			out = append(out, words(v.Type().Field(i).Name))
		}
	}
	return out
}

// String lists all of it.
func (s *Stats) String() string {
	var b strings.Builder
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %s", v.Field(i).Int(), words(v.Type().Field(i).Name))
	}
	return b.String()
}

// words writes the name of a field as words.
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// A bug is a mistake that is made on purpose, to see that it is found.
type bug uint8

const (
	noBug             bug = iota
	bugRenewsAlways       // leases are renewed without advertisements
	bugRenewsLate         // a renewal is carried out after the process was stopped
	bugAnnouncesEarly     // an address is announced before it is in place
	bugForgetsRemoval     // addresses are not removed
	bugRepairsExpiry      // an address that has expired is put back
	bugLateResume         // a process goes on as master however late it is
)

// Run lets a history happen. It returns what was seen, and the first violation of
// an invariant or nil.
func (h *History) Run() (Stats, *Violation) {
	w := h.run(noBug, false)
	return w.stats, w.check.violation
}

// Trace is Run with a trace of all that happens, in the style of
// [vrrptest.Trace].
func (h *History) Trace() ([]string, *Violation) {
	w := h.run(noBug, true)
	return w.lines, w.check.violation
}

func (h *History) run(b bug, tracing bool) *world {
	w := newWorld(h, b, tracing)
	w.run()
	w.stats.Faults = len(h.Faults)
	return w
}

// Shrink returns a history with as few faults as it can find in which the same
// invariant is violated.
func (h *History) Shrink(v *Violation) (*History, *Violation) { return h.shrink(v, noBug) }

func (h *History) shrink(v *Violation, b bug) (*History, *Violation) {
	best := *h
	best.Length = v.At + 1
	try := func(faults []Fault) bool {
		next := best
		next.Faults = faults
		if w := next.run(b, false); w.check.violation != nil && w.check.violation.Invariant == v.Invariant {
			v = w.check.violation
			next.Length = v.At + 1
			best = next
			return true
		}
		return false
	}
	for size := len(best.Faults); size > 0; {
		removed := false
		for from := len(best.Faults) - size; from >= 0; from -= size {
			faults := append([]Fault(nil), best.Faults[:from]...)
			if try(append(faults, best.Faults[from+size:]...)) {
				removed = true
			}
		}
		switch {
		case size > len(best.Faults):
			size = len(best.Faults)
		case !removed || size > 1:
			size /= 2
		}
	}
	return &best, v
}

// Report describes a violation: the seed, the history with as few faults as
// possible, and the last lines of its trace.
func (h *History) Report(v *Violation, lines int) string {
	return h.report(v, noBug, lines)
}

func (h *History) report(v *Violation, b bug, lines int) string {
	small, v := h.shrink(v, b)
	w := small.run(b, true)
	var out strings.Builder
	fmt.Fprintf(&out, "%v\n%v\n", v, small)
	for _, f := range small.Faults {
		fmt.Fprintf(&out, "  %v\n", f)
	}
	out.WriteString(last(w.lines, lines))
	return out.String()
}
