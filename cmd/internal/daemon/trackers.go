package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vipd/checks"
	"vipd/checks/command"
	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/vrrp"
)

// firstReports is for how long the start waits for the objects whose state is
// known at once: processes and files.
const firstReports = time.Second

// A track is one object that an instance tracks, as the instance sees it. The
// goroutine of its loop owns it.
type track struct {
	cfg    config.Track
	input  checks.Input
	term   checks.Term
	detail string
	since  time.Time
}

// A watch is a tracked object: it is watched once, however many instances track
// it.
type watch struct {
	kind    config.TrackKind
	name    string
	tracker checks.Tracker
	shown   control.Check // what of it never changes
	log     *slog.Logger
	first   chan struct{} // closed at the first report

	mu     sync.Mutex
	users  []*instance
	usedBy []string // their names
	report checks.Report
	known  bool // there was a report

	// Only who starts and ends watches uses what follows.
	cancel context.CancelFunc // nil: it does not run
	ended  chan struct{}      // closed when nothing of it is left
}

// A monitor is a ProcessMonitor that runs, or is about to.
type monitor struct {
	*checks.ProcessMonitor
	cancel context.CancelFunc // nil: it does not run
	ended  chan struct{}
}

// trackers watch all objects that some instance tracks.
type trackers struct {
	log     *slog.Logger
	watches []*watch
	monitor *monitor // nil: no process is tracked
}

// newTrackers makes a watch for every object that an instance tracks. Of those
// that were watched before, the ones that kept names go on, with what is known.
// of returns the settings that an instance has with the new configuration.
func newTrackers(cfg *config.Config, programs *programs, instances []*instance, of func(*instance) *settings, before *trackers, kept func(config.TrackKind, string) bool, log *slog.Logger) *trackers {
	t := &trackers{log: log}
	users := make(map[config.Track][]*instance)
	for _, inst := range instances {
		for _, track := range of(inst).cfg.Tracks {
			key := config.Track{Kind: track.Kind, Name: track.Name}
			users[key] = append(users[key], inst)
		}
	}
	add := func(kind config.TrackKind, name string, keep bool, fill func(*watch)) {
		using := users[config.Track{Kind: kind, Name: name}]
		if len(using) == 0 {
			return
		}
		w := before.find(kind, name)
		if w == nil || !keep || !kept(kind, name) {
			old := w
			w = &watch{
				kind: kind, name: name, first: make(chan struct{}), log: log.With("check", name),
				shown: control.Check{Name: name, Kind: kind.String()},
			}
			if old != nil { // until its first result, what was known holds
				old.mu.Lock()
				w.report = old.report
				old.mu.Unlock()
			}
			fill(w)
		}
		w.mu.Lock()
		w.users, w.usedBy = using, nil
		for _, u := range using {
			if name := of(u).cfg.Name; !slices.Contains(w.usedBy, name) {
				w.usedBy = append(w.usedBy, name)
			}
		}
		w.mu.Unlock()
		t.watches = append(t.watches, w)
	}
	for _, c := range cfg.Scripts {
		add(config.TrackScript, c.Name, true, func(w *watch) {
			w.tracker = programs.script(c)
			w.shown.Command, w.shown.User = c.Argv, c.User
			w.timing(c.Timing)
		})
	}
	for _, c := range cfg.Checks {
		add(config.TrackCheck, c.Name, true, func(w *watch) {
			prober := proberOf(c)
			w.tracker = checks.NewProbe(probeConfig(c, prober))
			w.shown.What = prober.String()
			w.timing(c.Timing)
		})
	}
	// A monitor follows a fixed set of processes: if one is new, all begin anew.
	same := before != nil && before.monitor != nil
	for _, c := range cfg.Processes {
		same = same && before.find(config.TrackProcess, c.Name) != nil && kept(config.TrackProcess, c.Name)
	}
	if same {
		t.monitor = before.monitor
	}
	for _, c := range cfg.Processes {
		add(config.TrackProcess, c.Name, same, func(w *watch) {
			if t.monitor == nil {
				t.monitor = &monitor{ProcessMonitor: checks.NewProcessMonitor(log)}
			}
			w.tracker = t.monitor.Track(processConfig(c))
			w.shown.Command = c.Argv
		})
	}
	for _, c := range cfg.TrackedFiles {
		add(config.TrackFile, c.Name, true, func(w *watch) {
			w.tracker = checks.NewFile(checks.FileConfig{Path: c.Path, Init: c.Init, InitOverwrite: c.InitOverwrite})
			w.shown.What = c.Path
		})
	}
	return t
}

// find returns the watch of an object, or nil.
func (t *trackers) find(kind config.TrackKind, name string) *watch {
	if t == nil {
		return nil
	}
	for _, w := range t.watches {
		if w.kind == kind && w.name == name {
			return w
		}
	}
	return nil
}

func (w *watch) timing(c config.Timing) {
	w.shown.Interval, w.shown.Timeout = control.Seconds(c.Interval), control.Seconds(c.Timeout)
	w.shown.Rise, w.shown.Fall = c.Rise, c.Fall
}

// start starts what does not run yet.
func (t *trackers) start(ctx context.Context) {
	for _, w := range t.watches {
		if w.cancel != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		w.cancel, w.ended = cancel, make(chan struct{})
		go func() {
			defer close(w.ended)
			w.tracker.Run(ctx, w.take)
		}()
	}
	if m := t.monitor; m != nil && m.cancel == nil {
		ctx, cancel := context.WithCancel(ctx)
		m.cancel, m.ended = cancel, make(chan struct{})
		go func() {
			defer close(m.ended)
			if err := m.Run(ctx); err != nil {
				t.log.Error("processes are not tracked", "error", err)
			}
		}()
	}
}

// end ends what is not in next, which may be nil, and returns a function that
// waits until nothing of it is left.
func (t *trackers) end(next *trackers) (wait func()) {
	var ending []chan struct{}
	for _, w := range t.watches {
		if w.cancel != nil && (next == nil || !slices.Contains(next.watches, w)) {
			w.mu.Lock()
			w.users = nil
			w.mu.Unlock()
			w.cancel()
			ending = append(ending, w.ended)
		}
	}
	if m := t.monitor; m != nil && m.cancel != nil && (next == nil || next.monitor != m) {
		m.cancel()
		ending = append(ending, m.ended)
	}
	return func() {
		for _, ended := range ending {
			<-ended
		}
	}
}

// awaitFirst waits until the objects whose state is known at once have
// reported, but not for ever: those that have not count as pending.
func (t *trackers) awaitFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstReports)
	defer cancel()
	for _, w := range t.watches {
		if w.kind != config.TrackProcess && w.kind != config.TrackFile {
			continue
		}
		select {
		case <-w.first:
		case <-ctx.Done():
			return
		}
	}
}

// take is told everything a tracker learns. Instances are told when it counts
// for them.
func (w *watch) take(r checks.Report) {
	w.mu.Lock()
	was, known, users := w.report, w.known, w.users
	w.report, w.known = r, true
	w.mu.Unlock()
	if !known {
		defer close(w.first)
	}
	changed := !known || r.State != was.State || r.Value != was.Value
	if !changed && r.Detail == was.Detail && r.Unrunnable == was.Unrunnable {
		return
	}
	if changed || r.Unrunnable != was.Unrunnable {
		w.logChange(r, was)
	}
	for _, u := range users {
		u.post(func(inst *instance) { inst.setTrack(w.kind, w.name, r) })
	}
}

// hint adds what can be done to what is logged, if anything is known.
func hint(args []any, text string) []any {
	if text == "" {
		return args
	}
	return append(args, "hint", text)
}

func countsAs(s checks.State) string {
	if s == checks.Ignored {
		return "nothing (unrunnable: ignore)"
	}
	return "failed"
}

// logChange says that the state of an object has changed.
func (w *watch) logChange(r, was checks.Report) {
	if r.Unrunnable != "" {
		if r.Unrunnable != was.Unrunnable {
			w.log.Error("check cannot be run", hint([]any{"problem", r.Unrunnable, "counts_as", countsAs(r.State)}, r.Hint)...)
		}
		return
	}
	args := hint([]any{"kind", w.kind.String(), "from", was.State.String(), "to", r.State.String(), "detail", r.Detail}, r.Hint)
	if r.State == checks.Down && r.Last != nil && r.Last.Output != "" {
		args = append(args, "output", strings.TrimSpace(r.Last.Output))
	}
	switch r.State {
	case checks.Down:
		w.log.Warn("check failed", args...)
	case checks.Up:
		w.log.Info("check result", args...)
	default:
		w.log.Info("check", args...)
	}
}

// status describes the object for the control API.
func (w *watch) status() control.Check {
	w.mu.Lock()
	r, usedBy := w.report, w.usedBy
	w.mu.Unlock()
	out := w.shown
	out.UsedBy = usedBy
	out.State, out.Since = control.CheckState(r.State.String()), r.Since
	out.Detail, out.Unrunnable, out.Hint, out.Mechanism = r.Detail, r.Unrunnable, r.Hint, r.Mechanism
	out.Streak, out.Runs, out.Failures, out.Timeouts, out.Skipped = r.Streak, r.Runs, r.Failures, r.Timeouts, r.Skipped
	if w.kind == config.TrackFile {
		out.Value = &r.Value
	}
	if t, ok := w.tracker.(interface{ Progress() checks.Progress }); ok {
		p := t.Progress()
		out.RunningSince, out.Skipped = p.RunningSince, p.Skipped
	}
	if r.Last != nil {
		out.Last = attemptStatus(*r.Last, w.kind == config.TrackScript)
	}
	return out
}

// attemptStatus describes one attempt for the control API.
func attemptStatus(a checks.Attempt, script bool) *control.Attempt {
	out := &control.Attempt{
		Started: a.Started, Duration: control.Seconds(a.Duration), OK: a.OK, Detail: a.Detail, Output: strings.ToValidUTF8(a.Output, "�"),
	}
	if script && a.Exit >= 0 {
		out.Exit = &a.Exit
	}
	if a.Signal != 0 {
		out.Signal = signalName(a.Signal)
	}
	return out
}

// setTracks gives the instance the list of what it tracks, with what was known.
func (inst *instance) setTracks(tracks []config.Track, known func(config.TrackKind, string) (checks.Report, bool)) {
	before := inst.tracks
	inst.tracks = nil
	for _, c := range tracks {
		t := track{cfg: c, input: checks.Input{Weight: c.Weight, Reverse: c.Reverse, Numeric: c.Kind == config.TrackFile}}
		if r, ok := known(c.Kind, c.Name); ok {
			t.set(r)
		} else if i := slices.IndexFunc(before, func(b track) bool { return b.cfg.Kind == c.Kind && b.cfg.Name == c.Name }); i >= 0 {
			t.input.State, t.input.Value, t.detail, t.since = before[i].input.State, before[i].input.Value, before[i].detail, before[i].since
		}
		inst.tracks = append(inst.tracks, t)
	}
	inst.judge()
}

// nothingKnown is what is known of tracked objects at the start.
func nothingKnown(config.TrackKind, string) (checks.Report, bool) { return checks.Report{}, false }

// known returns the last report about an object.
func (t *trackers) known(kind config.TrackKind, name string) (checks.Report, bool) {
	w := t.find(kind, name)
	if w == nil {
		return checks.Report{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report, w.report.State != checks.Unknown
}

// set takes over a report.
func (t *track) set(r checks.Report) {
	t.input.State, t.input.Value = r.State, r.Value
	t.detail, t.since = cmp.Or(r.Unrunnable, r.Detail), r.Since
}

// setTrack tells the instance what became of an object that it tracks.
func (inst *instance) setTrack(kind config.TrackKind, name string, r checks.Report) {
	tell, found := false, false
	for i := range inst.tracks {
		t := &inst.tracks[i]
		if t.cfg.Kind != kind || t.cfg.Name != name {
			continue
		}
		found = true
		// A fault has the detail in it.
		tell = tell || t.input.State != r.State || t.input.Value != r.Value || t.term.Fault
		t.set(r)
	}
	if !found {
		return // it was tracked until just now
	}
	inst.judge()
	if tell {
		inst.tellHealth()
	}
}

// setInterfaces tells the instance whether the interfaces that it tracks with a
// weight are up, in the order of its list.
func (inst *instance) setInterfaces(up []bool) {
	n, changed := 0, false
	for i := range inst.tracks {
		t := &inst.tracks[i]
		if t.cfg.Kind != config.TrackInterface || n >= len(up) {
			continue
		}
		state := checks.Down
		t.detail = "down"
		if up[n] {
			state, t.detail = checks.Up, "up"
		}
		n++
		if t.input.State != state {
			t.input.State, t.since, changed = state, time.Now(), true
		}
	}
	if changed {
		inst.judge()
		inst.tellHealth()
	}
}

// judge folds what is known of all tracked objects.
func (inst *instance) judge() {
	inputs := make([]checks.Input, len(inst.tracks))
	for i, t := range inst.tracks {
		inputs[i] = t.input
	}
	v := checks.Judge(inst.cfg.Priority, inputs)
	inst.health = vrrp.Health{Priority: v.Priority}
	for i, term := range v.Terms {
		t := &inst.tracks[i]
		t.term = term
		switch {
		case term.Fault:
			kind := vrrp.FaultCheck
			if t.cfg.Kind == config.TrackInterface {
				kind = vrrp.FaultTrackedInterface
			}
			inst.health.Faults = append(inst.health.Faults, vrrp.Fault{Kind: kind, Name: t.cfg.Name, Detail: t.faultDetail()})
		case term.Pending:
			inst.health.Pending = append(inst.health.Pending, t.cfg.Name)
		}
	}
}

// faultDetail says why an object is a fault.
func (t *track) faultDetail() string {
	if t.cfg.Reverse && t.input.State == checks.Up {
		return cmp.Or(t.detail, "it succeeds") + ", which counts as a failure (reverse)"
	}
	return t.detail
}

// tellHealth tells the machine what the tracked objects amount to.
func (inst *instance) tellHealth() {
	inst.loop().step(inst, time.Now(), inst.health)
	inst.dateFaults()
}

// trackStatus describes what the instance tracks for the control API.
func (inst *instance) trackStatus() []control.Track {
	out := make([]control.Track, len(inst.tracks))
	for i, t := range inst.tracks {
		out[i] = control.Track{
			Kind: t.cfg.Kind.String(), Name: t.cfg.Name, Weight: t.cfg.Weight, Reverse: t.cfg.Reverse, Group: t.cfg.Group,
			State: control.CheckState(t.input.State.String()), Since: t.since,
			Delta: t.term.Delta, Fault: t.term.Fault, Pending: t.term.Pending, Detail: t.detail,
		}
		if t.cfg.Kind == config.TrackFile {
			out[i].Value = new(t.input.Value)
		}
	}
	return out
}

// programs turns commands of the configuration into what can be run.
type programs struct {
	runner *command.Runner
	secure bool
}

// spec returns what runs a command, with an error if its user is not known.
func (p *programs) spec(c config.Command) (command.Spec, error) {
	as, err := command.Lookup(c.User, c.Group, c.Supplementary)
	return command.Spec{Argv: c.Argv, As: as, Secure: p.secure}, err
}

// script returns the tracker of a script.
func (p *programs) script(c config.Script) checks.Tracker {
	spec, err := p.spec(c.Command)
	cfg := checks.ScriptConfig{
		Spec: spec, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall, IgnoreUnrunnable: c.IgnoreUnrunnable,
	}
	if err == nil {
		return checks.NewScript(p.runner, cfg)
	}
	return &userless{programs: p, script: c, cfg: cfg}
}

// A userless script is one whose user does not exist. It cannot be run, until
// the user does.
type userless struct {
	programs *programs
	script   config.Script
	cfg      checks.ScriptConfig
	found    atomic.Pointer[checks.Script] // once there is the user
}

// Progress returns how far the script is.
func (u *userless) Progress() checks.Progress {
	if s := u.found.Load(); s != nil {
		return s.Progress()
	}
	return checks.Progress{}
}

// Run implements checks.Tracker.
func (u *userless) Run(ctx context.Context, report func(checks.Report)) {
	ticker := time.NewTicker(max(u.cfg.Interval, time.Second))
	defer ticker.Stop()
	state := checks.Down
	if u.cfg.IgnoreUnrunnable {
		state = checks.Ignored
	}
	since := time.Now()
	for {
		spec, err := u.programs.spec(u.script.Command)
		if err == nil {
			u.cfg.Spec = spec
			s := checks.NewScript(u.programs.runner, u.cfg)
			u.found.Store(s)
			s.Run(ctx, report)
			return
		}
		report(checks.Report{State: state, Since: since, Unrunnable: err.Error(), Hint: userHint(u.script.User)})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// userHint says what to do about a user that does not exist.
func userHint(user string) string {
	return fmt.Sprintf("create it (useradd --system %s), or set another by user or script_user", user)
}

// reapOrphans does the duty of process 1, if that is what this process is: in a
// container nobody else takes note of processes that lost their parent.
func (p *programs) reapOrphans(ctx context.Context) {
	if os.Getpid() == 1 {
		p.runner.Reap(ctx)
	}
}
