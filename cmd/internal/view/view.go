// Package view shows the documents of the control API to people at a terminal.
package view

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
)

// Options are how to show something.
type Options struct {
	Color bool      // with ANSI colours
	Width int       // of the terminal in columns; 0: lines are not broken
	Now   time.Time // what times are relative to, in its zone; zero: now
	// All shows every instance in full, also where there are many and most
	// have nothing to report.
	All bool
}

// Terminal returns the options that fit a file: its width if it is a terminal,
// and colour if it is one that can and the user did not refuse it (NO_COLOR, see
// no-color.org).
func Terminal(f *os.File) Options {
	fd := int(f.Fd())
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return Options{}
	}
	o := Options{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
		o.Width = int(ws.Col)
	}
	return o
}

// Bounds on what is listed when there is a lot of it.
const (
	maxFull      = 8  // instances shown in full though they have nothing to report
	maxAddresses = 20 // addresses of one instance; those in trouble are always shown first
	maxHistory   = 4  // transitions before the present state
	maxEvents    = 6  // other events
	maxRivals    = 8  // other routers that own the same
)

// RenderStatus writes a status for an operator: a table if there are several
// instances, then what there is to know about each, then the sync groups and the
// checks.
func RenderStatus(w io.Writer, s control.Status, o Options) error { return RenderPart(w, s, s, o) }

// RenderPart writes a part of a status as [RenderStatus] does. Of the whole it
// takes what the part refers to.
func RenderPart(w io.Writer, s, whole control.Status, o Options) error {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	p := newPrinter(o, &whole)
	p.runDir = whole.Daemon.RunDir
	p.daemon(s.Daemon)
	if len(s.Instances) == 0 {
		p.blank()
		p.text("No instance is configured.")
	}
	if len(s.Instances) > 1 {
		p.blank()
		p.table(s.Instances)
	}
	hidden := 0
	for i := range s.Instances {
		if in := &s.Instances[i]; o.All || len(s.Instances) <= maxFull || troubled(in) {
			p.blank()
			p.instance(in)
		} else {
			hidden++
		}
	}
	if hidden > 0 {
		p.blank()
		p.text(fmt.Sprintf("%s with nothing to report %s not shown in full (--all shows every one).", count(hidden, "instance"), isAre(hidden)))
	}
	p.groups(&s)
	p.checks(s.Checks)
	if _, err := w.Write(p.b.Bytes()); err != nil {
		return fmt.Errorf("view: %w", err)
	}
	return nil
}

// troubled reports whether an operator has to look at an instance.
func troubled(in *control.Instance) bool {
	if contested(in) || in.Yielded || in.Held != nil {
		return true
	}
	if in.Degraded || len(in.Faults) > 0 || len(in.Mismatches) > 0 || len(in.Advice) > 0 || lastFailed(in.Notifications) {
		return true
	}
	return in.State != control.StateMaster && in.State != control.StateBackup ||
		slices.ContainsFunc(in.Addresses, func(a control.Address) bool { return misplaced(in, a) })
}

// misplaced reports whether an address is missing where it should be, or the
// reverse. The owner's addresses are its own, master or not.
func misplaced(in *control.Instance, a control.Address) bool {
	if a.Error != "" {
		return true
	}
	if in.State == control.StateMaster {
		return !a.Present
	}
	return a.Present && !in.Owner && !in.HandingOver
}

// A style is how a piece of text looks; its value is an ANSI SGR parameter.
type style string

const (
	plain  style = ""
	strong style = "1"
	faint  style = "2"
	good   style = "32"
	alert  style = "33"
	bad    style = "1;31"
)

func stateStyle(s control.State) style {
	switch s {
	case control.StateMaster:
		return good
	case control.StateBackup:
		return plain
	case control.StateFault:
		return bad
	}
	return alert
}

// A printer collects the text. Everything that did not come from this package
// passes through clean.
type printer struct {
	o      Options
	b      bytes.Buffer
	runDir string // of the daemon

	instances map[string]*control.Instance
	groupsBy  map[string]*control.SyncGroup
	late      map[string]string  // what running says of checks without a result, by name
	reversed  map[objectKey]bool // see onlyReversed
}

func newPrinter(o Options, s *control.Status) *printer {
	p := &printer{
		o:         o,
		instances: make(map[string]*control.Instance, len(s.Instances)),
		groupsBy:  make(map[string]*control.SyncGroup, len(s.SyncGroups)),
		late:      make(map[string]string),
		reversed:  onlyReversed(s.Instances),
	}
	for i := range s.Instances {
		p.instances[s.Instances[i].Name] = &s.Instances[i]
	}
	for i := range s.SyncGroups {
		p.groupsBy[s.SyncGroups[i].Name] = &s.SyncGroups[i]
	}
	for i := range s.Checks {
		if c := &s.Checks[i]; c.State == control.CheckUnknown {
			p.late[c.Name], _ = p.running(c)
		}
	}
	return p
}

// labelWidth is the width of the column of labels, with the indent before and
// the gap behind it.
const labelWidth = 13

// minText is the width below which a line is not broken any more.
const minText = 24

func (p *printer) blank() { p.b.WriteByte('\n') }

// paint returns s in a style. s must have its final width already.
func (p *printer) paint(s string, st style) string {
	if !p.o.Color || st == plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

// text writes a paragraph.
func (p *printer) text(s string) { p.paragraph("", 0, s, plain) }

// row writes a label and, beside it, a paragraph. An empty label continues the
// row above.
func (p *printer) row(label, s string, st style) {
	label = fmt.Sprintf("%-*s", labelWidth, "  "+label)
	p.paragraph(p.paint(label, faint), labelWidth, s, st)
}

func (p *printer) paragraph(lead string, indent int, s string, st style) {
	width := 0
	if p.o.Width > 0 {
		width = max(p.o.Width-indent, minText)
	}
	for i, line := range wrap(clean(s), width) {
		if i == 0 {
			p.b.WriteString(lead)
		} else {
			p.b.WriteString(strings.Repeat(" ", indent))
		}
		p.b.WriteString(p.paint(line, st) + "\n")
	}
}

func (p *printer) daemon(d control.Daemon) {
	s := "vipd " + cmp.Or(d.Version, "(unknown version)")
	if d.Host != "" {
		s += " on " + d.Host
	}
	s += fmt.Sprintf(", pid %d", d.PID)
	if !d.Started.IsZero() {
		s += ", up " + age(p.o.Now.Sub(d.Started))
	}
	if d.ConfigFile != "" {
		s += ", " + d.ConfigFile
	}
	p.text(s + ", at " + p.o.Now.Format("2006-01-02 15:04:05 MST"))
	reasons := d.Reasons
	if d.Degraded && len(reasons) == 0 {
		reasons = []string{"no reason given"}
	}
	for _, r := range reasons {
		p.paragraph("", 2, "degraded: "+r, alert)
	}
	if d.Gaps.Count > 0 {
		p.paragraph("", 2, "stood still "+p.gapsText(d.Gaps), p.gapStyle(d.Gaps))
	}
}

func (p *printer) table(ins []control.Instance) {
	rows := [][]string{{"INSTANCE", "STATE", "FOR", "PRIORITY", "INTERFACE", "VRID", "MASTER", "ADDRESSES", "NOTES"}}
	for i := range ins {
		in := &ins[i]
		rows = append(rows, []string{
			instanceName(in), stateOf(in), p.since(in.Since), priorityShort(in), cmp.Or(clean(in.Interface), "-"),
			fmt.Sprintf("%d %s", in.VRID, familyName(in.Family)), masterShort(in), presence(in), notes(in),
		})
	}
	p.grid(rows, func(row, column int) style {
		switch column {
		case 1:
			return styleOf(&ins[row-1])
		case len(rows[0]) - 1:
			return alert
		}
		return plain
	})
}

func (p *printer) instance(in *control.Instance) {
	head := p.paint(instanceName(in), strong) + "  " + p.paint(stateOf(in), styleOf(in))
	if !in.Since.IsZero() {
		head += fmt.Sprintf(" for %s, since %s", p.since(in.Since), p.stamp(in.Since))
	}
	p.b.WriteString(head + "\n")

	p.row("why", why(in.Reason, in.State), plain)
	p.ownership(in)
	p.faults(in)
	if waits(in) {
		p.row("waits", strings.TrimPrefix(waitsFor(in), "waits ")+"; it does not take part until then", alert)
		for _, name := range in.Pending[:min(len(in.Pending), maxTracks)] {
			if s := p.late[name]; s != "" {
				p.row("", name+" is running "+s, alert)
			}
		}
	}
	if in.Degraded {
		p.row("degraded", cmp.Or(in.DegradedText, "no reason given"), alert)
	}
	for _, m := range in.Mismatches {
		s := m.Peer.String()
		if !m.Since.IsZero() {
			s += ", for " + p.since(m.Since)
		}
		p.row("mismatch", s+": "+m.Text, alert)
	}
	p.row("master", p.master(in), plain)
	st := plain
	if in.Arithmetic != "" && in.Priority < in.BasePriority {
		st = alert
	}
	p.row("priority", priorityLong(in), st)
	p.tracks(in)
	for _, a := range in.Advice {
		p.row("advice", a, alert)
	}
	if in.SyncGroup != "" {
		p.row("sync group", p.groupOf(in), plain)
	}
	p.row("router", router(in), plain)
	p.lease(in.Lease)
	p.addresses(in)
	p.counters(in.Counters)
	p.gaps(in.Gaps)
	p.notifications(in.Notifications)
	p.history(in.History)
	p.events(in.Events)
}

func (p *printer) groupOf(in *control.Instance) string {
	if g := p.groupsBy[in.SyncGroup]; g != nil {
		return in.SyncGroup + " " + stateWord(g.State)
	}
	return in.SyncGroup
}

func (p *printer) faults(in *control.Instance) {
	for _, f := range in.Faults {
		s := cmp.Or(f.Text, strings.TrimSpace(f.Kind+" "+f.Name))
		if !f.Since.IsZero() {
			s += fmt.Sprintf(", for %s, since %s", p.since(f.Since), p.stamp(f.Since))
		}
		p.row("fault", s, bad)
		if h := cmp.Or(f.Hint, hint(f)); h != "" {
			p.row("", "do: "+h, plain)
		}
	}
}

// master says who is master and what comes next.
func (p *printer) master(in *control.Instance) string {
	m := in.Master
	var s string
	switch {
	case m == nil && in.Held != nil:
		s = "none whose configuration agrees"
	case m == nil && in.State == control.StateBackup:
		s = "none heard yet"
	case m == nil:
		s = "unknown"
	case m.Self:
		s = fmt.Sprintf("this node, %s, priority %d", m.Address, m.Priority)
		if !m.Address.IsValid() {
			s = fmt.Sprintf("this node, priority %d", m.Priority)
		}
	default:
		s = fmt.Sprintf("%s, priority %d", m.Address, m.Priority)
		if m.Interval > 0 {
			s += ", advertises every " + m.Interval.String()
		}
		if !m.LastHeard.IsZero() {
			s += fmt.Sprintf(", heard %s ago", p.since(m.LastHeard))
		}
	}
	t := in.Timers
	if !t.AdvertAt.IsZero() {
		s += "; next advertisement in " + p.until(t.AdvertAt)
	}
	if !t.MasterDownAt.IsZero() && in.Held == nil { // whoever is held waits for longer, and says so
		s += "; this node takes over in " + p.until(t.MasterDownAt) + " unless it hears more"
	}
	if !t.PreemptAt.IsZero() {
		s += "; this node may preempt in " + p.until(t.PreemptAt)
	}
	return s
}

func (p *printer) addresses(in *control.Instance) {
	if len(in.Addresses) == 0 {
		p.row("addresses", "none", alert)
		return
	}
	// Those in trouble first, else in the order of the configuration.
	addrs := slices.Clone(in.Addresses)
	slices.SortStableFunc(addrs, func(a, b control.Address) int {
		switch am, bm := misplaced(in, a), misplaced(in, b); {
		case am == bm:
			return 0
		case am:
			return -1
		}
		return 1
	})
	shown := addrs[:min(len(addrs), maxAddresses)]
	width := 0
	for _, a := range shown {
		width = max(width, len([]rune(addressText(in, a))))
	}
	label := "addresses"
	for _, a := range shown {
		st := plain
		if misplaced(in, a) {
			st = alert
		}
		text, state := addressText(in, a), addressState(in, a)
		// A line that fits is aligned with the others; one that does not is
		// a paragraph.
		aligned := fmt.Sprintf("%-*s  %s", width, text, state)
		if p.o.Width == 0 || len([]rune(aligned)) <= p.o.Width-labelWidth {
			p.row(label, strings.ReplaceAll(aligned, " ", string(nbsp)), st)
		} else {
			p.row(label, text+" "+state, st)
		}
		label = ""
	}
	if rest := addrs[len(shown):]; len(rest) > 0 {
		wrong := 0
		for _, a := range rest {
			if misplaced(in, a) {
				wrong++
			}
		}
		what, st := "as they should be", plain
		if wrong > 0 {
			what, st = fmt.Sprintf("%d of them not as they should be", wrong), alert
		}
		p.row("", fmt.Sprintf("and %d more, %s", len(rest), what), st)
	}
}

func (p *printer) counters(c control.Counters) {
	s := fmt.Sprintf("received %d, sent %d, became master %s, gave it up %s", c.Received, c.Sent, times(c.BecomeMaster), times(c.ReleaseMaster))
	if c.PriorityZeroReceived > 0 || c.PriorityZeroSent > 0 {
		s += fmt.Sprintf(", priority 0 received %d and sent %d", c.PriorityZeroReceived, c.PriorityZeroSent)
	}
	if c.AnnouncementsSent > 0 {
		s += fmt.Sprintf(", announcements %d", c.AnnouncementsSent)
	}
	p.row("packets", s, plain)
	if c.Restored > 0 {
		what := "1 address"
		if c.Restored > 1 {
			what = fmt.Sprintf("%d addresses", c.Restored)
		}
		p.row("restored", what+" that something else on this host had removed", alert)
	}

	if c.LeaseExpired > 0 {
		p.row("expired", fmt.Sprintf("%s not renewed in time, and removed by the kernel", wereCount(c.LeaseExpired)), alert)
	}
	var past []string
	for _, l := range []struct {
		n    uint64
		text string
	}{
		{c.Contested, "contested "},
		{c.HandedOver, "handed over by the operator "},
		{c.Resumed, "resumed after the process had died "},
	} {
		if l.n > 0 {
			past = append(past, l.text+times(l.n))
		}
	}
	if len(past) > 0 {
		p.row("so far", strings.Join(past, ", "), plain)
	}

	var drops []string
	for _, reason := range slices.Sorted(maps.Keys(c.Drops)) {
		if n := c.Drops[reason]; n > 0 {
			drops = append(drops, fmt.Sprintf("%s %d", reason, n))
		}
	}
	if len(drops) > 0 {
		p.row("refused", strings.Join(drops, ", "), alert)
	}
	var lost []string
	for _, l := range []struct {
		n    uint64
		text string
	}{
		{c.SocketDrops, "%d by the kernel, as the socket was full"},
		{c.UnknownVRID, "%d for virtual routers that are not configured here"},
		{c.SendErrors, "%d could not be sent"},
	} {
		if l.n > 0 {
			lost = append(lost, fmt.Sprintf(l.text, l.n))
		}
	}
	if len(lost) > 0 {
		p.row("lost", strings.Join(lost, ", "), alert)
	}
}

// history shows what came before the present state, the newest first. The
// present state is the last transition and stands in the block's head.
func (p *printer) history(h []control.Transition) {
	label := "before"
	for i := len(h) - 2; i >= 0 && i >= len(h)-1-maxHistory; i-- {
		t := h[i]
		p.row(label, fmt.Sprintf("%s %s -> %s: %s", p.stamp(t.At), t.From, t.To, cmp.Or(t.Reason.Text, t.Reason.Kind)), faint)
		label = ""
	}
}

func (p *printer) since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return age(p.o.Now.Sub(t))
}

func (p *printer) until(t time.Time) string { return short(max(t.Sub(p.o.Now), 0)) }

func (p *printer) stamp(t time.Time) string {
	return t.In(p.o.Now.Location()).Format("2006-01-02 15:04:05")
}
