package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"vipd/checks"
	"vipd/checks/command"
	"vipd/config"
)

// A CheckRun is what one run of one tracked object, outside the daemon, came
// to.
type CheckRun struct {
	Kind string // as the keyword track_… has it: script, check, process, file
	Name string
	Argv []string // of a script or a process
	What string   // what is looked at by an object that runs no program
	Path string   // the program that was run, as it was found
	User string   // who ran it
	UID  uint32

	Interval, Timeout time.Duration
	Rise, Fall        int

	State      checks.State // Up or Down by this run alone
	Value      int          // of a file
	Detail     string
	Unrunnable string // why it cannot be run; empty: it can
	Hint       string
	Counts     string // what is made of it if it cannot be run
	Mechanism  string // how a process was looked for

	Started  time.Time
	Duration time.Duration
	Exit     int // of a script; -1: it did not exit by itself
	Signal   string
	Output   string
}

// An UnknownCheckError says that no tracked object has the name.
type UnknownCheckError struct {
	Name  string
	Known []string // sorted
}

// Error names those that there are.
func (e *UnknownCheckError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("no check is called %q: the configuration has none", e.Name)
	}
	return fmt.Sprintf("no check is called %q; there are: %s", e.Name, strings.Join(e.Known, ", "))
}

// An AmbiguousCheckError says that objects of several kinds have the name.
type AmbiguousCheckError struct {
	Name  string
	Kinds []string
}

// Error says how to tell them apart.
func (e *AmbiguousCheckError) Error() string {
	return fmt.Sprintf("%q is the name of a %s: say which, as in %s:%s", e.Name, strings.Join(e.Kinds, " and of a "), e.Kinds[0], e.Name)
}

// CheckNames returns the names of all tracked objects, sorted.
func CheckNames(cfg *config.Config) []string {
	var names []string
	for _, c := range cfg.Scripts {
		names = append(names, c.Name)
	}
	for _, c := range cfg.Checks {
		names = append(names, c.Name)
	}
	for _, c := range cfg.Processes {
		names = append(names, c.Name)
	}
	for _, c := range cfg.TrackedFiles {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// RunCheck runs one tracked object once, exactly as the daemon would: with its
// user, environment and timeout. Where objects of several kinds share the name,
// "script:NAME" says which is meant.
//
// That the check fails is no error. An *[UnknownCheckError] or
// *[AmbiguousCheckError] is one.
func RunCheck(ctx context.Context, cfg *config.Config, name string) (CheckRun, error) {
	kind, bare, qualified := strings.Cut(name, ":")
	if !qualified {
		kind, bare = "", name
	}
	var found []string
	var runs []func() CheckRun
	add := func(k config.TrackKind, n string, run func() CheckRun) {
		if n == name || n == bare && k.String() == kind {
			found, runs = append(found, k.String()), append(runs, run)
		}
	}
	log := slog.New(slog.DiscardHandler)
	runner := command.NewRunner(log)
	defer runner.Close()
	p := &programs{runner: runner, secure: cfg.Global.ScriptSecurity}
	for _, c := range cfg.Scripts {
		add(config.TrackScript, c.Name, func() CheckRun { return p.runScript(ctx, c) })
	}
	for _, c := range cfg.Checks {
		add(config.TrackCheck, c.Name, func() CheckRun { return runProbe(ctx, c) })
	}
	for _, c := range cfg.Processes {
		add(config.TrackProcess, c.Name, func() CheckRun { return runProcess(ctx, c, log) })
	}
	for _, c := range cfg.TrackedFiles {
		add(config.TrackFile, c.Name, func() CheckRun {
			out := CheckRun{Kind: config.TrackFile.String(), Name: c.Name, What: c.Path, Exit: -1}
			out.first(ctx, checks.NewFile(checks.FileConfig{Path: c.Path}))
			return out
		})
	}
	switch len(runs) {
	case 0:
		return CheckRun{}, &UnknownCheckError{Name: name, Known: CheckNames(cfg)}
	case 1:
		return runs[0](), nil
	}
	return CheckRun{}, &AmbiguousCheckError{Name: name, Kinds: found}
}

// runScript runs a script once.
func (p *programs) runScript(ctx context.Context, c config.Script) CheckRun {
	out := CheckRun{
		Kind: config.TrackScript.String(), Name: c.Name, Argv: c.Argv, User: c.User,
		Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall, State: checks.Down, Exit: -1,
	}
	spec, err := p.spec(c.Command)
	if err != nil {
		out.Unrunnable, out.Hint = err.Error(), userHint(c.User)
	} else {
		out.User, out.UID = spec.As.Name, spec.As.UID
		s := checks.NewScript(p.runner, checks.ScriptConfig{
			Spec: spec, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall, IgnoreUnrunnable: c.IgnoreUnrunnable,
		})
		attempt, result := s.Once(ctx)
		out.attempt(attempt)
		out.Path = result.Path
		if result.Problem != nil {
			out.Unrunnable, out.Hint = result.Problem.Error(), result.Problem.Hint
		} else if !attempt.OK {
			out.Hint = spec.FailureHint(result)
		}
	}
	if out.Unrunnable != "" {
		out.Counts = countsAs(checks.Down)
		if c.IgnoreUnrunnable {
			out.Counts = countsAs(checks.Ignored)
		}
	}
	return out
}

// runProbe asks a service once.
func runProbe(ctx context.Context, c config.Check) CheckRun {
	prober := proberOf(c)
	out := CheckRun{
		Kind: config.TrackCheck.String(), Name: c.Name, What: prober.String(),
		Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall, Exit: -1,
	}
	attempt, unrunnable := checks.NewProbe(probeConfig(c, prober)).Once(ctx)
	out.attempt(attempt)
	if unrunnable != nil {
		out.Unrunnable, out.Hint, out.Counts = unrunnable.Reason, unrunnable.Hint, countsAs(checks.Down)
	}
	return out
}

// runProcess looks for processes once.
func runProcess(ctx context.Context, c config.Process, log *slog.Logger) CheckRun {
	out := CheckRun{Kind: config.TrackProcess.String(), Name: c.Name, Argv: c.Argv, Exit: -1}
	monitor := checks.NewProcessMonitor(log)
	tracker := monitor.Track(processConfig(c))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- monitor.Run(ctx) }()
	out.first(ctx, tracker)
	cancel()
	if err := <-failed; err != nil && out.State == checks.Unknown {
		out.State, out.Unrunnable = checks.Down, err.Error()
	}
	return out
}

// problem says why a command cannot be run on this host as it is now, and what
// can be done about it; nothing if it can.
func (p *programs) problem(c config.Command) (text, hint string) {
	spec, err := p.spec(c)
	if err != nil {
		return err.Error(), userHint(c.User)
	}
	_, _, err = spec.Inspect()
	if problem, ok := errors.AsType[*command.Problem](err); ok {
		return problem.Error(), problem.Hint
	}
	if err != nil {
		return err.Error(), ""
	}
	return "", ""
}

// attempt takes over what one attempt came to.
func (r *CheckRun) attempt(a checks.Attempt) {
	r.State = checks.Down
	if a.OK {
		r.State = checks.Up
	}
	r.Started, r.Duration, r.Detail, r.Exit, r.Output = a.Started, a.Duration, a.Detail, a.Exit, a.Output
	if a.Signal != 0 {
		r.Signal = signalName(a.Signal)
	}
}

// first takes over the first report of a tracker.
func (r *CheckRun) first(ctx context.Context, t checks.Tracker) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r.Started = time.Now()
	got := false
	t.Run(ctx, func(report checks.Report) {
		if got || report.State == checks.Unknown {
			return
		}
		got = true
		r.Duration = time.Since(r.Started)
		r.State, r.Value, r.Detail, r.Mechanism = report.State, report.Value, report.Detail, report.Mechanism
		r.Unrunnable, r.Hint = report.Unrunnable, report.Hint
		cancel()
	})
}

// Inspect looks at what a configuration has run and asked, and returns a warning
// for each program and each check that cannot be run on this host as it is now,
// and for each program that somebody else than root could change.
func Inspect(cfg *config.Config) config.Diagnostics {
	p := &programs{secure: cfg.Global.ScriptSecurity}
	var out config.Diagnostics
	look := func(path string, c *config.Command, consequence string) {
		if c == nil {
			return
		}
		if problem, hint := p.problem(*c); problem != "" {
			out = append(out, config.Diagnostic{
				Pos: c.Pos, Path: path, Severity: config.Warning,
				Message: fmt.Sprintf("cannot be run: %s: %s", problem, consequence), Hint: hint,
			})
			return
		}
		spec, err := p.spec(*c)
		if err != nil {
			return
		}
		if _, unsafe, _ := spec.Inspect(); unsafe != nil {
			out = append(out, config.Diagnostic{
				Pos: c.Pos, Path: path, Severity: config.Warning,
				Message: "runs although somebody else than root can change it: " + unsafe.Error(),
				Hint:    cmp.Or(unsafe.Hint, "enable_script_security refuses such scripts"),
			})
		}
	}
	for i := range cfg.Scripts {
		c := &cfg.Scripts[i]
		consequence := "UNRUNNABLE, counts as failed"
		if c.IgnoreUnrunnable {
			consequence = "UNRUNNABLE, ignored"
		}
		look("vrrp_script."+c.Name, &c.Command, consequence)
	}
	for i := range cfg.Checks {
		c := &cfg.Checks[i]
		if u := checks.Inspect(proberOf(*c)); u != nil {
			out = append(out, config.Diagnostic{
				Pos: c.Pos, Path: "vrrp_check." + c.Name, Severity: config.Warning,
				Message: fmt.Sprintf("cannot be run: %s: UNRUNNABLE, counts as failed", u.Reason), Hint: u.Hint,
			})
		}
	}
	scripts := func(path string, n *config.Notify) {
		for _, s := range []struct {
			keyword string
			command *config.Command
		}{
			{"notify_master", n.Master}, {"notify_backup", n.Backup}, {"notify_fault", n.Fault}, {"notify_stop", n.Stop},
			{"notify_deleted", n.Deleted}, {"notify_master_rx_lower_pri", n.MasterRxLowerPri}, {"notify", n.Any},
		} {
			look(path+"."+s.keyword, s.command, "nobody will be told")
		}
	}
	for i := range cfg.Instances {
		scripts("vrrp_instance."+cfg.Instances[i].Name, &cfg.Instances[i].Notify)
	}
	for i := range cfg.SyncGroups {
		scripts("vrrp_sync_group."+cfg.SyncGroups[i].Name, &cfg.SyncGroups[i].Notify)
	}
	look("global_defs.startup_script", cfg.Global.StartupScript, "it is left out")
	look("global_defs.shutdown_script", cfg.Global.ShutdownScript, "it is left out")
	for _, f := range cfg.Global.NotifyFIFOs {
		look("global_defs.notify_fifo_script", f.Script, "the fifo has no reader")
		if f.User == "" {
			continue
		}
		if _, err := command.Lookup(f.User, f.Group, false); err != nil {
			out = append(out, config.Diagnostic{
				Pos: f.Pos, Path: "global_defs.notify_fifo", Severity: config.Warning,
				Message: err.Error() + ": vipd is the fifo's owner", Hint: userHint(f.User),
			})
		}
	}
	return out
}
