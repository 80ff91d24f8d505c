package view

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"vipd/cmd/internal/control"
)

// Bounds on what is shown of checks and scripts.
const (
	maxChecks        = 20  // lines of the table
	maxTracks        = 8   // tracked objects in trouble, and names of those that are not
	maxNotifications = 3   // runs of notify scripts
	maxOutput        = 5   // last lines that a program wrote
	maxNotifyOutput  = 3   // the same of a notify script
	maxLine          = 300 // runes of such a line
)

// minus is the sign that people expect; a hyphen is hard to see beside digits.
const minus = "−"

// signed writes what is added to something.
func signed(n int) string {
	if n < 0 {
		return number(n)
	}
	return "+" + number(n)
}

// number writes a number with that sign.
func number(n int) string { return strings.Replace(fmt.Sprint(n), "-", minus, 1) }

// spoken reports whether results of a kind are said to succeed and to fail;
// other objects are up or down.
func spoken(kind string) bool { return kind == control.KindScript || kind == control.KindCheck }

// trackName names a tracked object. Scripts and checks need no word for what
// they are.
func trackName(kind, name string) string {
	if spoken(kind) {
		return clean(name)
	}
	return clean(kind + " " + name)
}

// checkWord is the state of a tracked object in capitals.
func checkWord(kind string, state control.CheckState, value *int) string {
	switch {
	case kind == control.KindFile && value != nil:
		return "HOLDS " + number(*value)
	case state == control.CheckUp && spoken(kind):
		return "OK"
	case state == control.CheckDown && spoken(kind):
		return "FAILING"
	case state == control.CheckUnknown:
		return "NO RESULT"
	}
	return strings.ToUpper(cmp.Or(clean(string(state)), "unknown"))
}

func checkState(c *control.Check) string {
	switch {
	case c.Unrunnable != "" && c.State == control.CheckIgnored:
		return "UNRUNNABLE, IGNORED"
	case c.Unrunnable != "":
		return "UNRUNNABLE"
	}
	return checkWord(c.Kind, c.State, c.Value)
}

// wanted reports whether a state is the one that is good for an instance; for
// an object that is tracked in reverse that is down.
func wanted(kind string, state control.CheckState, reverse bool) bool {
	switch {
	case kind == control.KindFile, state == control.CheckUnknown:
		return true
	case reverse:
		return state != control.CheckUp
	}
	return state != control.CheckDown
}

// ill reports whether an operator has to look at a tracked object.
func (p *printer) ill(c *control.Check) bool {
	return c.Unrunnable != "" || c.State == control.CheckIgnored || !wanted(c.Kind, c.State, p.reversed[objectKey{c.Kind, c.Name}])
}

func (p *printer) checkStyle(c *control.Check) style {
	switch {
	case p.ill(c) && c.State == control.CheckIgnored:
		return alert
	case p.ill(c):
		return bad
	case c.State == control.CheckUnknown:
		return alert
	case c.Kind == control.KindFile:
		return plain
	}
	return good
}

// An objectKey names a tracked object: each kind has its own names.
type objectKey struct{ kind, name string }

// onlyReversed returns the objects that are tracked in reverse by all that track
// them.
func onlyReversed(ins []control.Instance) map[objectKey]bool {
	reversed := make(map[objectKey]bool)
	for i := range ins {
		for _, t := range ins[i].Tracks {
			k := objectKey{t.Kind, t.Name}
			was, known := reversed[k]
			reversed[k] = t.Reverse && (was || !known)
		}
	}
	return reversed
}

// checks shows all tracked objects: a table if there are several, and those in
// trouble in full.
func (p *printer) checks(cs []control.Check) {
	// Those in trouble first, else in the order of the configuration.
	rank := func(c *control.Check) int {
		switch {
		case c.Unrunnable != "" && p.ill(c):
			return 0
		case p.ill(c):
			return 1
		case c.State == control.CheckUnknown:
			return 2
		}
		return 3
	}
	sorted := slices.Clone(cs)
	slices.SortStableFunc(sorted, func(a, b control.Check) int { return rank(&a) - rank(&b) })
	shown := sorted
	if !p.o.All {
		shown = sorted[:min(len(sorted), maxChecks)]
	}
	if len(cs) > 1 {
		p.blank()
		p.checkTable(shown)
	}
	if rest := sorted[len(shown):]; len(rest) > 0 {
		sick := 0
		for i := range rest {
			if p.ill(&rest[i]) {
				sick++
			}
		}
		s, st := "none of them in trouble", plain
		if sick > 0 {
			s, st = fmt.Sprintf("%d of them in trouble", sick), alert
		}
		p.paragraph("", 0, fmt.Sprintf("and %d more, %s (--all shows every one)", len(rest), s), st)
	}
	full, hidden := 0, 0
	for i := range shown {
		c := &shown[i]
		switch {
		case !p.o.All && len(cs) > 1 && !p.ill(c):
		case !p.o.All && full >= maxFull:
			hidden++
		default:
			p.blank()
			p.check(c)
			full++
		}
	}
	if hidden > 0 {
		p.blank()
		p.text(fmt.Sprintf("%s in trouble %s not shown in full (--all shows every one).", count(hidden, "more check"), isAre(hidden)))
	}
}

func (p *printer) checkTable(cs []control.Check) {
	rows := [][]string{{"CHECK", "KIND", "STATE", "FOR", "RESULT", "USED BY"}}
	for i := range cs {
		c := &cs[i]
		rows = append(rows, []string{
			cmp.Or(clean(c.Name), "(no name)"), cmp.Or(clean(c.Kind), "-"), checkState(c), p.since(c.Since),
			cmp.Or(clip(clean(p.result(c)), 60), "-"), users(c.UsedBy),
		})
	}
	p.grid(rows, func(row, column int) style {
		if column == 2 {
			return p.checkStyle(&cs[row-1])
		}
		return plain
	})
}

// result says in a few words what is known of a check.
func (p *printer) result(c *control.Check) string {
	if s, _ := p.running(c); s != "" && c.State == control.CheckUnknown {
		return "running " + s
	}
	return cmp.Or(c.Unrunnable, c.Detail)
}

// running says of an attempt that is going on since when, and when its result is
// due: if it is the first, or takes long. It is overdue if it should have been
// ended by now.
func (p *printer) running(c *control.Check) (s string, overdue bool) {
	first, timeout := c.Runs == 0, c.Timeout.Duration()
	if c.RunningSince.IsZero() || !first && p.o.Now.Sub(c.RunningSince) < timeout/2 {
		return "", false
	}
	s = "since " + p.clock(c.RunningSince)
	if timeout <= 0 {
		return s, false
	}
	what, due := "result", c.RunningSince.Add(timeout)
	if first {
		what = "first result"
	}
	if p.o.Now.After(due) {
		return s + ", " + what + " was due by " + p.clock(due), true
	}
	return s + ", " + what + " due by " + p.clock(due), false
}

// clock writes a time, without the date if it is today's.
func (p *printer) clock(t time.Time) string {
	t = t.In(p.o.Now.Location())
	if t.Format(time.DateOnly) == p.o.Now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return p.stamp(t)
}

func users(names []string) string {
	switch {
	case len(names) == 0:
		return "-"
	case len(names) > 3:
		return count(len(names), "instance")
	}
	return clean(strings.Join(names, ", "))
}

// check shows one tracked object in full.
func (p *printer) check(c *control.Check) {
	head := p.paint(cmp.Or(clean(c.Name), "(no name)"), strong) + "  " + p.paint(checkState(c), p.checkStyle(c))
	if !c.Since.IsZero() {
		head += fmt.Sprintf(" for %s, since %s", p.since(c.Since), p.stamp(c.Since))
	}
	p.b.WriteString(head + "\n")

	reason, st := c.Detail, plain
	if p.ill(c) {
		st = p.checkStyle(c)
	}
	switch {
	case c.Unrunnable != "" && c.State == control.CheckIgnored:
		reason = "cannot be run: " + c.Unrunnable + "; it counts for nothing (unrunnable: ignore)"
	case c.Unrunnable != "":
		reason = "cannot be run: " + c.Unrunnable + "; it counts as failed"
	case c.State == control.CheckUnknown:
		reason = cmp.Or(reason, "there was no result yet")
	}
	if reason != "" {
		p.row("why", reason, st)
	}
	if h := cmp.Or(c.Hint, p.checkHint(c)); h != "" {
		p.row("", "do: "+h, plain)
	}
	if c.Last != nil && c.Unrunnable == "" {
		p.row("last", p.attempt(c), plain)
		p.output(c.Last.Output)
	}
	p.row(subjectLabel(c.Kind), checkSubject(c), plain)
	if c.Interval > 0 {
		p.row("runs", checkRuns(c), plain)
	}
	if s, overdue := p.running(c); s != "" {
		st := plain
		if overdue {
			st = alert
		}
		p.row("running", s, st)
	}
	if len(c.UsedBy) == 0 {
		p.row("used by", "no instance", alert)
	} else {
		p.row("used by", strings.Join(c.UsedBy, ", "), plain)
	}
}

// defaultRunDir is where commands look for a daemon unless told otherwise.
const defaultRunDir = "/run/vipd"

func (p *printer) checkHint(c *control.Check) string {
	if c.State == control.CheckDown && c.Unrunnable == "" && spoken(c.Kind) && c.Name != "" {
		command := "vipd check run " + c.Name
		if p.runDir != "" && p.runDir != defaultRunDir {
			command += " --run-dir " + p.runDir
		}
		return fmt.Sprintf("`%s` runs it once, as vipd does, and says everything about it", command)
	}
	return ""
}

// attempt says how the last attempt ended.
func (p *printer) attempt(c *control.Check) string {
	a := c.Last
	s := "took " + short(a.Duration.Duration())
	if result := attemptResult(a); result != c.Detail {
		s = result + ", " + s
	}
	if !a.Started.IsZero() {
		s += fmt.Sprintf(", started %s ago", p.since(a.Started))
	}
	if c.Streak > 1 {
		s += fmt.Sprintf("; %d in a row", c.Streak)
	}
	return s
}

// attemptResult says how an attempt ended, in the words of who made it if there
// are any.
func attemptResult(a *control.Attempt) string {
	switch {
	case a.Detail != "":
		return a.Detail
	case a.Signal != "":
		return "killed by " + a.Signal
	case a.Exit != nil:
		return fmt.Sprintf("exit code %d", *a.Exit)
	case a.OK:
		return "succeeded"
	}
	return "failed"
}

func subjectLabel(kind string) string {
	switch kind {
	case control.KindScript:
		return "command"
	case control.KindProcess, control.KindFile:
		return kind
	}
	return "asks"
}

// checkSubject says what is looked at, and how.
func checkSubject(c *control.Check) string {
	s := c.What
	if len(c.Command) > 0 {
		s = strings.TrimSpace(s + " " + ShellWords(c.Command))
	}
	if c.User != "" {
		s += " as " + c.User
	}
	if c.Mechanism != "" {
		s += ", by " + c.Mechanism
	}
	return cmp.Or(s, c.Kind, "unknown")
}

func checkRuns(c *control.Check) string {
	s := "every " + c.Interval.String()
	if c.Timeout > 0 {
		s += ", timeout " + c.Timeout.String()
	}
	s += fmt.Sprintf(", rise %d, fall %d; ", c.Rise, c.Fall)
	if c.Runs == 0 && !c.RunningSince.IsZero() {
		return s + "no run has ended yet" + skipped(c)
	} else if c.Runs == 0 {
		return s + "did not run yet"
	}
	s += fmt.Sprintf("ran %s, failed %s", times(c.Runs), times(c.Failures))
	if c.Timeouts > 0 {
		s += ", timed out " + times(c.Timeouts)
	}
	return s + skipped(c)
}

func skipped(c *control.Check) string {
	if c.Skipped == 0 {
		return ""
	}
	return ", skipped " + times(c.Skipped) + " as the run before was not over"
}

// output shows the end of what a program wrote.
func (p *printer) output(text string) {
	lines, more := lastLines(text, maxOutput)
	label := "output"
	if more {
		p.row(label, fmt.Sprintf("(the last %d lines)", len(lines)), faint)
		label = ""
	}
	for _, l := range lines {
		p.row(label, l, plain)
		label = ""
	}
}

// escapes are the control sequences by which programs colour what they write.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// lastLines returns the last lines of text that are not empty, fit for a
// terminal, and whether there were more.
func lastLines(text string, n int) (lines []string, more bool) {
	text = escapes.ReplaceAllString(strings.ReplaceAll(text, "\r", "\n"), "")
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(clean(line), " "); line != "" {
			lines = append(lines, clip(line, maxLine))
		}
	}
	if len(lines) > n {
		return lines[len(lines)-n:], true
	}
	return lines, false
}

// clip shortens s to at most n runes.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// plainWord is what a shell takes as one word as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// ShellWords writes a command as it would be typed into a shell.
func ShellWords(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		if !plainWord.MatchString(w) {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}

// tracks shows what an instance tracks: what is not as it should be, and a line
// for the rest. What is a fault stands among the faults.
func (p *printer) tracks(in *control.Instance) {
	var sick, fine []string
	for i := range in.Tracks {
		t := &in.Tracks[i]
		switch {
		case t.Fault && slices.ContainsFunc(in.Faults, func(f control.Fault) bool { return f.Name == t.Name }):
		case t.Fault || !wanted(t.Kind, t.State, t.Reverse) || t.State == control.CheckIgnored:
			sick = append(sick, p.sickTrack(t))
		default:
			fine = append(fine, fineTrack(t))
		}
	}
	label := "tracks"
	for _, s := range sick[:min(len(sick), maxTracks)] {
		p.row(label, s, alert)
		label = ""
	}
	if n := len(sick) - maxTracks; n > 0 {
		p.row(label, fmt.Sprintf("and %d more in trouble", n), alert)
	}
	if len(fine) > 0 {
		s := strings.Join(fine[:min(len(fine), maxTracks)], ", ")
		if n := len(fine) - maxTracks; n > 0 {
			s += fmt.Sprintf(" and %d more", n)
		}
		p.row(label, s, plain)
	}
}

func (p *printer) sickTrack(t *control.Track) string {
	s := trackName(t.Kind, t.Name) + " " + checkWord(t.Kind, t.State, t.Value)
	if !t.Since.IsZero() {
		s += " for " + p.since(t.Since)
	}
	if t.Detail != "" {
		s += ": " + t.Detail
	}
	var effects []string
	switch {
	case t.State == control.CheckIgnored:
		effects = append(effects, "counts for nothing")
	case t.Fault:
		effects = append(effects, "a fault")
	case t.Delta != 0:
		effects = append(effects, signed(t.Delta))
	case t.Weight > 0 && !t.Reverse:
		effects = append(effects, "without its "+signed(t.Weight))
	}
	effects = append(effects, trackMarks(t)...)
	if len(effects) > 0 {
		s += " (" + strings.Join(effects, ", ") + ")"
	}
	return s
}

func fineTrack(t *control.Track) string {
	s := trackName(t.Kind, t.Name) + " " + strings.ToLower(checkWord(t.Kind, t.State, t.Value))
	var marks []string
	if t.Delta != 0 {
		marks = append(marks, signed(t.Delta))
	}
	if marks = append(marks, trackMarks(t)...); len(marks) > 0 {
		s += " (" + strings.Join(marks, ", ") + ")"
	}
	return s
}

// trackMarks are what sets a reference apart.
func trackMarks(t *control.Track) []string {
	var s []string
	if t.Reverse {
		s = append(s, "reverse")
	}
	if t.Group != "" {
		s = append(s, "by "+t.Group)
	}
	return s
}

// failed reports whether a notify script did not do what it was run for, as far
// as can be told.
func failed(n *control.Notification) bool {
	switch {
	case n.Skipped:
		return false
	case n.TimedOut:
		return true
	case n.Running:
		return false
	}
	return n.Exit == nil || *n.Exit != 0
}

// lastFailed reports whether the last run of a notify script failed.
func lastFailed(ns []control.Notification) bool {
	for i := len(ns) - 1; i >= 0; i-- {
		if !ns[i].Skipped {
			return failed(&ns[i])
		}
	}
	return false
}

// notifications shows the last runs of notify scripts, the newest first, and in
// any case the last one that failed.
func (p *printer) notifications(ns []control.Notification) {
	label, trouble := "notify", false
	for i := len(ns) - 1; i >= 0; i-- {
		n := &ns[i]
		if !p.o.All && len(ns)-i > maxNotifications && (trouble || !failed(n)) {
			continue
		}
		st := plain
		switch {
		case failed(n):
			st, trouble = bad, true
		case n.Skipped:
			st = alert
		case n.Running:
		default:
			st = faint
		}
		p.row(label, p.notification(n), st)
		label = ""
		if failed(n) {
			lines, _ := lastLines(n.Output, maxNotifyOutput)
			for _, l := range lines {
				p.row("", "> "+l, plain)
			}
		}
	}
}

func (p *printer) notification(n *control.Notification) string {
	s := p.stamp(n.At) + " " + cmp.Or(n.State, "(no state)") + ": " + cmp.Or(ShellWords(n.Command), "(no command)")
	if n.User != "" {
		s += " as " + n.User
	}
	s += ": "
	took := short(n.Duration.Duration())
	switch {
	case n.Skipped:
		return s + "skipped: " + cmp.Or(n.Detail, "a later state had come")
	case n.Running && n.TimedOut:
		return s + "TIMED OUT, still running after " + p.since(n.At) + ", not waited for any more"
	case n.Running:
		return s + "running for " + p.since(n.At)
	case n.TimedOut:
		return s + "TIMED OUT, ended after " + took + detailOf(n.Detail)
	case n.Signal != "":
		return s + "FAILED: " + cmp.Or(n.Detail, "killed by "+n.Signal) + " after " + took
	case n.Exit == nil:
		return s + "FAILED: " + cmp.Or(n.Detail, "it did not exit by itself")
	case *n.Exit != 0:
		return s + "FAILED: " + cmp.Or(n.Detail, fmt.Sprintf("exit code %d", *n.Exit)) + " after " + took
	}
	return s + "done in " + took
}

func detailOf(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// groups shows the sync groups. Where there are many, those with nothing to
// report are only counted.
func (p *printer) groups(s *control.Status) {
	hidden := 0
	for i := range s.SyncGroups {
		g := &s.SyncGroups[i]
		if p.o.All || len(s.SyncGroups) <= maxFull || p.groupTroubled(g) {
			p.blank()
			p.group(g)
		} else {
			hidden++
		}
	}
	if hidden > 0 {
		p.blank()
		p.text(fmt.Sprintf("%s with nothing to report %s not shown in full (--all shows every one).", count(hidden, "sync group"), isAre(hidden)))
	}
}

func (p *printer) groupTroubled(g *control.SyncGroup) bool {
	return g.State != control.StateMaster && g.State != control.StateBackup || lastFailed(g.Notifications)
}

func (p *printer) group(g *control.SyncGroup) {
	head := p.paint(cmp.Or(clean(g.Name), "(no name)"), strong) + "  " + p.paint(stateWord(g.State), stateStyle(g.State))
	if !g.Since.IsZero() {
		head += fmt.Sprintf(" for %s, since %s", p.since(g.Since), p.stamp(g.Since))
	}
	p.b.WriteString(head + "  (sync group)\n")
	p.row("why", why(g.Reason, g.State), plain)
	label := "members"
	for _, name := range g.Members {
		s, st := name, plain
		if in := p.instances[name]; in != nil {
			s += " " + stateOf(in)
			if own := ownTrouble(in, g); own != "" {
				s, st = s+": "+own, bad
			}
		}
		p.row(label, s, st)
		label = ""
	}
	if len(g.Members) == 0 {
		p.row(label, "none", alert)
	}
	p.notifications(g.Notifications)
}

// ownTrouble says what keeps a member, and so its group, down: faults that it
// does not have from another member, and results that it waits for.
func ownTrouble(in *control.Instance, g *control.SyncGroup) string {
	var s []string
	for _, f := range in.Faults {
		if f.Name != in.Name && slices.Contains(g.Members, f.Name) {
			continue
		}
		s = append(s, cmp.Or(f.Text, strings.TrimSpace(f.Kind+" "+f.Name)))
	}
	if waits(in) {
		s = append(s, waitsFor(in))
	}
	return strings.Join(s, "; ")
}

// waits reports whether an instance is held back until checks have a result.
// One that is in the election already is not.
func waits(in *control.Instance) bool {
	return len(in.Pending) > 0 && in.State != control.StateMaster && in.State != control.StateBackup
}

func waitsFor(in *control.Instance) string {
	names := in.Pending[:min(len(in.Pending), maxTracks)]
	s := "waits for the first result of " + strings.Join(names, ", ")
	if n := len(in.Pending) - len(names); n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// grid writes rows in columns; the first row is the head. A last column that is
// empty leaves nothing at the end of its line.
func (p *printer) grid(rows [][]string, styleOf func(row, column int) style) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for c, cell := range r {
			widths[c] = max(widths[c], len([]rune(cell)))
		}
	}
	for i, r := range rows {
		var line strings.Builder
		for c, cell := range r {
			pad := strings.Repeat(" ", widths[c]-len([]rune(cell))+2)
			st := faint
			if i > 0 {
				st = styleOf(i, c)
			}
			line.WriteString(p.paint(cell, st) + pad)
		}
		p.b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
