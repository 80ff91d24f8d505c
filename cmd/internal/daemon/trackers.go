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
	users   []watchUser
	log     *slog.Logger
	first   chan struct{} // closed at the first report

	mu     sync.Mutex
	report checks.Report
	known  bool // there was a report
}

// A watchUser is an instance that tracks an object, and where in its list.
type watchUser struct {
	inst  *instance
	track int
}

// trackers watch all objects that some instance tracks.
type trackers struct {
	log     *slog.Logger
	watches []*watch
	monitor *checks.ProcessMonitor // nil: no process is tracked
}

// newTrackers makes a watch for every object that an instance tracks.
func newTrackers(cfg *config.Config, programs *programs, instances []*instance, log *slog.Logger) *trackers {
	t := &trackers{log: log}
	for _, c := range cfg.Scripts {
		w := t.watch(config.TrackScript, c.Name, instances)
		if w == nil {
			continue
		}
		w.tracker = programs.script(c)
		w.shown.Command, w.shown.User = c.Argv, c.User
		w.timing(c.Timing)
	}
	for _, c := range cfg.Checks {
		w := t.watch(config.TrackCheck, c.Name, instances)
		if w == nil {
			continue
		}
		prober := proberOf(c)
		w.tracker = checks.NewProbe(probeConfig(c, prober))
		w.shown.What = prober.String()
		w.timing(c.Timing)
	}
	for _, c := range cfg.Processes {
		w := t.watch(config.TrackProcess, c.Name, instances)
		if w == nil {
			continue
		}
		if t.monitor == nil {
			t.monitor = checks.NewProcessMonitor(log)
		}
		w.tracker = t.monitor.Track(processConfig(c))
		w.shown.Command = c.Argv
	}
	for _, c := range cfg.TrackedFiles {
		w := t.watch(config.TrackFile, c.Name, instances)
		if w == nil {
			continue
		}
		w.tracker = checks.NewFile(checks.FileConfig{Path: c.Path, Init: c.Init, InitOverwrite: c.InitOverwrite})
		w.shown.What = c.Path
	}
	return t
}

// watch makes the watch of one object, or returns nil if no instance tracks it.
func (t *trackers) watch(kind config.TrackKind, name string, instances []*instance) *watch {
	w := &watch{
		kind: kind, name: name, first: make(chan struct{}),
		log:   t.log.With("check", name),
		shown: control.Check{Name: name, Kind: kind.String()},
	}
	for _, inst := range instances {
		for i, track := range inst.tracks {
			if track.cfg.Kind != kind || track.cfg.Name != name {
				continue
			}
			w.users = append(w.users, watchUser{inst, i})
			if !slices.Contains(w.shown.UsedBy, inst.cfg.Name) {
				w.shown.UsedBy = append(w.shown.UsedBy, inst.cfg.Name)
			}
		}
	}
	if len(w.users) == 0 {
		return nil
	}
	t.watches = append(t.watches, w)
	return w
}

func (w *watch) timing(c config.Timing) {
	w.shown.Interval, w.shown.Timeout = control.Seconds(c.Interval), control.Seconds(c.Timeout)
	w.shown.Rise, w.shown.Fall = c.Rise, c.Fall
}

// run watches until the context ends, and returns when nothing of it is left.
func (t *trackers) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	for _, w := range t.watches {
		running.Go(func() { w.tracker.Run(ctx, w.take) })
	}
	if t.monitor == nil {
		<-ctx.Done()
		return nil
	}
	err := t.monitor.Run(ctx)
	cancel()
	return err
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
	was, known := w.report, w.known
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
	// Per loop one message: a thousand instances may track one script.
	byLoop := make(map[*loop][]watchUser)
	for _, u := range w.users {
		byLoop[u.inst.loop] = append(byLoop[u.inst.loop], u)
	}
	for l, users := range byLoop {
		l.post(func() {
			for _, u := range users {
				u.inst.setTrack(u.track, r)
			}
		})
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
	r := w.report
	w.mu.Unlock()
	out := w.shown
	out.State, out.Since = control.CheckState(r.State.String()), r.Since
	out.Detail, out.Unrunnable, out.Hint, out.Mechanism = r.Detail, r.Unrunnable, r.Hint, r.Mechanism
	out.Streak, out.Runs, out.Failures, out.Timeouts, out.Skipped = r.Streak, r.Runs, r.Failures, r.Timeouts, r.Skipped
	if w.kind == config.TrackFile {
		out.Value = &r.Value
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

// setTracks gives a new instance the list of what it tracks.
func (inst *instance) setTracks(tracks []config.Track) {
	for _, t := range tracks {
		inst.tracks = append(inst.tracks, track{
			cfg:   t,
			input: checks.Input{Weight: t.Weight, Reverse: t.Reverse, Numeric: t.Kind == config.TrackFile},
		})
	}
	inst.judge()
}

// setTrack tells the instance what became of an object that it tracks.
func (inst *instance) setTrack(i int, r checks.Report) {
	t := &inst.tracks[i]
	same := t.input.State == r.State && t.input.Value == r.Value
	t.input.State, t.input.Value = r.State, r.Value
	t.detail, t.since = cmp.Or(r.Unrunnable, r.Detail), r.Since
	inst.judge()
	if !same || t.term.Fault { // a fault has the detail in it
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
	inst.loop.step(inst, time.Now(), inst.health)
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
			checks.NewScript(u.programs.runner, u.cfg).Run(ctx, report)
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
