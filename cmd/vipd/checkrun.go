package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vipd/checks"
	"vipd/cmd/internal/control"
	"vipd/cmd/internal/daemon"
	"vipd/cmd/internal/view"
	"vipd/config"
)

func checkRunCommand() *cobra.Command {
	var from input
	var runDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Run one check once, as the daemon would, and say what it would make of it",
		Long: `Run one vrrp_script, vrrp_check, vrrp_track_process or track_file of a
configuration once (without -f: of that which the running vipd has): as its user, with its timeout, and, where a vipd runs and its
environment may be read, in that environment. Nothing is told to that vipd.

Exit codes: 0 the check succeeds, 1 it fails or cannot be run, 2 there is no such
check or the configuration has errors, 3 no permission to run it as its user.`,
		Example: "  vipd check run chk_haproxy",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return completeChecks(from.file, args, prefix), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("file") {
				if file := runningFile(cmd.Context(), runDir); file != "" {
					from.file = file
				}
			}
			cfg, err := from.load(func(d config.Diagnostic) {
				if d.Severity == config.Error {
					fmt.Fprintln(cmd.ErrOrStderr(), d)
				}
			})
			if err != nil {
				return err
			}
			doc, err := runCheck(cmd.Context(), cfg, args[0], runDir)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), doc)
			} else {
				err = view.RenderCheckRun(cmd.OutOrStdout(), doc, view.Terminal(os.Stdout))
			}
			if err == nil && !doc.OK {
				return &exitError{code: exitNo}
			}
			return err
		},
	}
	from.flags(cmd)
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "`DIR` of the running vipd whose environment is taken")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// runCheck runs one check of a configuration.
func runCheck(ctx context.Context, cfg *config.Config, name, runDir string) (control.CheckRun, error) {
	environment, undo := takeEnvironment(ctx, runDir)
	defer undo()
	run, err := daemon.RunCheck(ctx, cfg, name)
	_, unknown := errors.AsType[*daemon.UnknownCheckError](err)
	_, ambiguous := errors.AsType[*daemon.AmbiguousCheckError](err)
	switch {
	case unknown, ambiguous:
		return control.CheckRun{}, &exitError{exitUsage, err}
	case err != nil:
		return control.CheckRun{}, err
	case ctx.Err() != nil:
		return control.CheckRun{}, fmt.Errorf("running %s: %w", name, ctx.Err())
	}
	if err := mayRun(&run); err != nil {
		return control.CheckRun{}, err
	}
	return document(cfg, &run, environment), nil
}

// completeChecks returns the names of checks that begin with what was typed.
func completeChecks(file string, args []string, prefix string) []string {
	if len(args) > 0 {
		return nil
	}
	cfg, _ := config.Load(file)
	if cfg == nil {
		return nil
	}
	var names []string
	for _, name := range daemon.CheckNames(cfg) {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

// mayRun fails if a script was not run as this process may not become its user.
func mayRun(run *daemon.CheckRun) error {
	if run.Kind != config.TrackScript.String() || run.Unrunnable == "" {
		return nil
	}
	other := run.User != "" && int(run.UID) != os.Geteuid()
	if refused := strings.Contains(run.Unrunnable, unix.EPERM.Error()); (other || refused) && !maySwitchUser() {
		return &exitError{exitPermission, fmt.Errorf("no permission to run %s as %s (uid %d), as vipd does: run this as root: %s", run.Name, run.User, run.UID, run.Unrunnable)}
	}
	return nil
}

// maySwitchUser reports whether this process may run programs as another user.
func maySwitchUser() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.Geteuid() == 0
	}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	return data[0].Effective&need == need
}

// document makes the document of a run.
func document(cfg *config.Config, run *daemon.CheckRun, environment *control.Environment) control.CheckRun {
	doc := control.CheckRun{
		Name: run.Name, Kind: run.Kind,
		OK:      run.State == checks.Up && run.Unrunnable == "",
		State:   control.CheckState(run.State.String()),
		Command: run.Argv, Path: run.Path, What: run.What, User: run.User,
		Interval: control.Seconds(run.Interval), Timeout: control.Seconds(run.Timeout), Rise: run.Rise, Fall: run.Fall,
		Unrunnable: run.Unrunnable, Hint: run.Hint, Mechanism: run.Mechanism,
		Attempt: control.Attempt{
			Started: run.Started, Duration: control.Seconds(run.Duration), OK: run.State == checks.Up,
			Detail: run.Detail, Signal: run.Signal, Output: strings.ToValidUTF8(run.Output, "�"),
		},
		Verdict: verdict(run),
	}
	var kind config.TrackKind
	switch run.Kind {
	case control.KindScript:
		kind = config.TrackScript
		doc.Environment = environment
		if run.Unrunnable == "" || run.UID != 0 || run.User == "root" {
			doc.UID = &run.UID
		}
		if run.Exit >= 0 && run.Unrunnable == "" {
			doc.Attempt.Exit = &run.Exit
		}
	case control.KindCheck:
		kind = config.TrackCheck
	case control.KindProcess:
		kind = config.TrackProcess
	case control.KindFile:
		kind = config.TrackFile
		doc.Value = &run.Value
	}
	of := failure
	if doc.OK {
		of = success
	}
	if run.Unrunnable == "" || !ignored(cfg, kind, run.Name) {
		doc.Effects = effectsOf(cfg, kind, run.Name, of)
	}
	return doc
}

// ignored reports whether an object counts for nothing while it cannot be run.
func ignored(cfg *config.Config, kind config.TrackKind, name string) bool {
	return kind == config.TrackScript && slices.ContainsFunc(cfg.Scripts, func(s config.Script) bool { return s.Name == name && s.IgnoreUnrunnable })
}

// verdict says what vipd would make of a result.
func verdict(run *daemon.CheckRun) string {
	up := run.State == checks.Up
	switch {
	case run.Unrunnable != "" && run.Counts != "":
		return "would count as " + run.Counts + ", as it cannot be run"
	case run.Unrunnable != "":
		return "would count as failed, as it cannot be run"
	case run.Kind == control.KindFile:
		return fmt.Sprintf("would count as %d", run.Value)
	case run.Kind == control.KindProcess && up:
		return "would count as up"
	case run.Kind == control.KindProcess:
		return "would count as down"
	}
	s := "would count as failed; "
	if up {
		s = "would count as succeeded; "
	}
	if run.Rise <= 1 && run.Fall <= 1 {
		return s + "every result decides (rise 1, fall 1)"
	}
	return s + fmt.Sprintf("the first result after the start decides at once, later ones do after %s in a row (fall) or %s (rise)",
		count(run.Fall, "failure"), count(run.Rise, "success"))
}
