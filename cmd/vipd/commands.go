package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/daemon"
	"vipd/cmd/internal/logging"
	"vipd/cmd/internal/view"
	"vipd/config"
)

func runCommand() *cobra.Command {
	var from input
	var runDir, logFormat, logLevel string
	var besideKeepalived bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground until SIGTERM or SIGINT. It then hands over: it
advertises priority 0, so that a backup takes over at once, answers for its addresses
until that one has announced them, removes them and exits. If nobody takes over, that
takes an advertisement interval (VRRPv2: a second) and a little more. A second SIGTERM
or SIGINT ends it at once. With handover off the addresses are removed at once.
SIGHUP has it read its configuration again, as does vipd reload.

It needs CAP_NET_ADMIN and CAP_NET_RAW.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := logging.ParseFormat(logFormat)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			level, err := logging.ParseLevel(logLevel)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			// Without this the runtime ends the process when whoever reads the
			// log goes away.
			signal.Ignore(syscall.SIGPIPE)
			log, queue := logging.New(os.Stderr, format, level)
			defer queue.Close()
			signals := watchSignals()
			defer signals.stop()
			cfg, err := from.load(func(d config.Diagnostic) {
				if d.Severity == config.Error {
					log.Error(d.String())
				} else {
					log.Warn(d.String())
				}
			})
			if err != nil {
				return err
			}
			for _, d := range daemon.Inspect(cfg) {
				log.Warn(d.String())
			}
			err = daemon.Run(cmd.Context(), cfg, daemon.Options{
				ConfigFile: absolute(from.file), RunDir: runDir, Version: versionText(), Log: log, Reload: signals.reload,
				Dumps:            daemon.Dumps{Signals: signals.dumps},
				Hurry:            hurry(cmd.Context()),
				Load:             func() (*config.Config, config.Diagnostics, error) { return from.reread() },
				BesideKeepalived: besideKeepalived,
			})
			if err != nil {
				// In the log, where the rest of the story is.
				log.Error("giving up", "error", err)
				return &exitError{code: exitCode(err)}
			}
			return nil
		},
	}
	from.flags(cmd)
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "`DIR` for the control socket, the lock and the record of addresses")
	cmd.Flags().StringVar(&logFormat, "log-format", "auto", "auto, text, journal or json")
	cmd.Flags().StringVar(&logLevel, "log-level", "info", "debug, info, notice, warn or error")
	cmd.Flags().BoolVar(&besideKeepalived, "beside-keepalived", false, "start although a keepalived runs here: its virtual routers are different ones")
	return cmd
}

// absolute returns the path from the root, so that others find the file.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// reread reads the configuration of a running daemon again. What could be left
// out at the start is refused then: it may run now.
func (s input) reread() (*config.Config, config.Diagnostics, error) {
	s.RefuseInvalid = true
	var diags config.Diagnostics
	cfg, err := s.load(func(d config.Diagnostic) { diags = append(diags, d) })
	if err != nil {
		return nil, diags, err
	}
	return cfg, append(diags, daemon.Inspect(cfg)...), nil
}

// An input is a configuration and how it is read.
type input struct {
	file string
	config.Options
}

// flags adds the flags that name one to a command.
func (s *input) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.file, "file", "f", defaultConfigFile, "configuration `FILE`: YAML, or a keepalived.conf, which is recognised by its content")
	cmd.Flags().StringVarP(&s.ConfigID, "config-id", "i", "", "`ID` for lines of keepalived.conf that begin with @ID (default: the host name up to the first dot)")
}

// load reads the configuration, reports every diagnostic, and fails if nothing of
// it can run.
func (s input) load(report func(config.Diagnostic)) (*config.Config, error) {
	cfg, diags := config.LoadWith(s.file, s.Options)
	if cfg != nil {
		host, err := daemon.ReadInterfaces()
		if err != nil {
			return nil, fmt.Errorf("looking at the interfaces of this host: %w", err)
		}
		diags = append(diags, cfg.CheckSystem(host)...)
	}
	for _, d := range diags {
		report(d)
	}
	if cfg == nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: it cannot be run as it is", s.file)}
	}
	return cfg, nil
}

func checkCommand() *cobra.Command {
	var from input
	var strict, asJSON, effective bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration and say what it would run",
		Long: `Check a configuration file: every problem is listed with its place, scripts that
cannot be run on this host among them, and then, if there is no error, what would
run; with --effective, every keyword with the value that is in force, and where
that was written.

Exit codes: 0 it can run, 1 with --strict if there are warnings, 2 it has errors.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var diags []config.Diagnostic
			report := func(d config.Diagnostic) {
				diags = append(diags, d)
				if !asJSON {
					fmt.Fprintln(cmd.ErrOrStderr(), d)
				}
			}
			cfg, err := from.load(report)
			if err == nil {
				for _, d := range daemon.Inspect(cfg) {
					report(d)
				}
			}
			var blocks []config.EffectiveBlock
			if effective && err == nil {
				blocks, _ = config.Effective(from.file, from.Options) // what is wrong has been reported
			}
			if asJSON {
				if diags == nil {
					diags = []config.Diagnostic{}
				}
				doc := map[string]any{"file": from.file, "ok": err == nil, "diagnostics": diags}
				if found := findManagers(cfg); len(found) > 0 {
					doc["managers"] = found
				}
				if effective {
					doc["effective"] = blocks
				}
				if err := writeJSON(cmd.OutOrStdout(), doc); err != nil {
					return err
				}
				if err != nil {
					return &exitError{code: exitUsage}
				}
			}
			if err != nil {
				return err
			}
			switch {
			case asJSON:
			case effective:
				writeEffective(cmd.OutOrStdout(), blocks)
			default:
				describe(cmd.OutOrStdout(), from.file, cfg)
				noteRivals(cmd.ErrOrStderr())
				noteManagers(cmd.ErrOrStderr(), findManagers(cfg))
			}
			if errs := config.Diagnostics(diags); errs.HasErrors() {
				return &exitError{exitUsage, fmt.Errorf("%s: it can run only without what has errors", from.file)}
			}
			if strict && len(diags) > 0 {
				return &exitError{code: exitNo}
			}
			return nil
		},
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().BoolVar(&effective, "effective", false, "print every keyword with the value in force, and its origin")
	cmd.AddCommand(checkRunCommand())
	return cmd
}

// noteRivals says who else speaks VRRP here. That is no fault of the
// configuration, so that --strict does not count it.
func noteRivals(w io.Writer) {
	rivals, err := daemon.FindRivals()
	if err != nil {
		return // a start says so
	}
	for _, r := range rivals {
		if r.Keepalived() {
			fmt.Fprintf(w, "note: %v: vipd does not start before it has been stopped\n", r)
		} else {
			fmt.Fprintf(w, "note: %v: it must not run the same virtual routers\n", r)
		}
	}
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case what[len(what)-1] == 's':
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func statusCommand() *cobra.Command {
	var runDir string
	var asJSON, all, check bool
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show what a running vipd does, and why",
		Long: `Show what a running vipd does, and why: all of it, or the instances and sync
groups of the given names.

Exit codes: 0 it is shown, whatever it says; 1 with --check if not all is well,
2 wrong usage, 3 no permission, 4 no vipd answers.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			client := control.NewClient(runDir)
			defer client.Close()
			raw, err := client.StatusJSON(ctx)
			if err != nil {
				return err
			}
			var status control.Status
			if err := json.Unmarshal(raw, &status); err != nil {
				return fmt.Errorf("reading the status: %w", err)
			}
			part, err := choose(status, names)
			if err != nil {
				return err
			}
			switch {
			case asJSON && len(names) == 0: // with whatever a newer daemon added
				err = writeJSON(cmd.OutOrStdout(), raw)
			case asJSON:
				err = writeJSON(cmd.OutOrStdout(), part)
			default:
				options := view.Terminal(os.Stdout)
				options.All = all || len(names) > 0
				err = view.RenderPart(cmd.OutOrStdout(), part, status, options)
			}
			if err == nil && check && !well(&part, len(names) == 0) {
				return &exitError{code: exitNo}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "`DIR` the daemon was started with")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show every instance and every check in full")
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 if anything is degraded, in fault, contested or not started")
	return cmd
}

// well reports whether all instances do what they are there for, and with whole
// the daemon, too.
func well(s *control.Status, whole bool) bool {
	if whole && s.Daemon.Degraded {
		return false
	}
	return !slices.ContainsFunc(s.Instances, func(in control.Instance) bool {
		return in.Degraded || len(in.Faults) > 0 || len(in.Contested) > 0 || in.State != control.StateMaster && in.State != control.StateBackup
	})
}

// choose returns a status with the instances that the given names stand for, and
// the sync groups and checks that matter to them; or with all if no name is given.
func choose(s control.Status, names []string) (control.Status, error) {
	if len(names) == 0 {
		return s, nil
	}
	chosen, err := s.Resolve(names)
	if err != nil {
		return s, &exitError{exitUsage, err}
	}
	isChosen := func(name string) bool { return slices.Contains(chosen, name) }
	s.Instances = slices.DeleteFunc(slices.Clone(s.Instances), func(in control.Instance) bool { return !isChosen(in.Name) })
	s.SyncGroups = slices.DeleteFunc(slices.Clone(s.SyncGroups), func(g control.SyncGroup) bool { return !slices.ContainsFunc(g.Members, isChosen) })
	s.Checks = slices.DeleteFunc(slices.Clone(s.Checks), func(c control.Check) bool { return !slices.ContainsFunc(c.UsedBy, isChosen) })
	return s, nil
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"version": versionText(), "go": runtime.Version(), "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "vipd %s (%s, linux/%s)\n", versionText(), runtime.Version(), runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
