package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/daemon"
	"vipd/cmd/internal/logging"
	"vipd/cmd/internal/view"
	"vipd/config"
	"vipd/vrrp"
)

func runCommand() *cobra.Command {
	var file, runDir, logFormat, logLevel string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground until SIGTERM or SIGINT. It then advertises
priority 0, so that a backup takes over at once, removes its addresses and exits.

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
			defer refuseReload(log)()
			cfg, err := load(file, func(d config.Diagnostic) {
				if d.Severity == config.Error {
					log.Error(d.String())
				} else {
					log.Warn(d.String())
				}
			})
			if err != nil {
				return err
			}
			err = daemon.Run(cmd.Context(), cfg, daemon.Options{ConfigFile: file, RunDir: runDir, Version: versionText(), Log: log})
			if err != nil {
				// In the log, where the rest of the story is.
				log.Error("giving up", "error", err)
				return &exitError{code: exitCode(err)}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", defaultConfigFile, "configuration `FILE`")
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "`DIR` for the control socket, the lock and the record of addresses")
	cmd.Flags().StringVar(&logFormat, "log-format", "auto", "auto, text, journal or json")
	cmd.Flags().StringVar(&logLevel, "log-level", "info", "debug, info, notice, warn or error")
	return cmd
}

// refuseReload keeps a SIGHUP, by which many daemons read their configuration
// again, from ending this one. It returns what undoes it.
func refuseReload(log *slog.Logger) (undo func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-hup:
				log.Warn("this version cannot read its configuration again while it runs; nothing is changed: restart it to apply a new one")
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		close(done)
	}
}

// load reads the configuration, reports every diagnostic, and fails if it
// cannot run.
func load(file string, report func(config.Diagnostic)) (*config.Config, error) {
	cfg, diags := config.Load(file)
	if cfg != nil && !diags.HasErrors() {
		host, err := daemon.ReadInterfaces()
		if err != nil {
			return nil, fmt.Errorf("looking at the interfaces of this host: %w", err)
		}
		diags = append(diags, cfg.CheckSystem(host)...)
	}
	for _, d := range diags {
		report(d)
	}
	if diags.HasErrors() {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: it cannot be run as it is", file)}
	}
	return cfg, nil
}

func checkCommand() *cobra.Command {
	var file string
	var strict, asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration and say what it would run",
		Long: `Check a configuration file: every problem is listed with its place, and then,
if there is no error, what would run.

Exit codes: 0 it can run, 1 with --strict if there are warnings, 2 it has errors.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var diags []config.Diagnostic
			cfg, err := load(file, func(d config.Diagnostic) {
				diags = append(diags, d)
				if !asJSON {
					fmt.Fprintln(cmd.ErrOrStderr(), d)
				}
			})
			if asJSON {
				if diags == nil {
					diags = []config.Diagnostic{}
				}
				if err := writeJSON(cmd.OutOrStdout(), map[string]any{"file": file, "ok": err == nil, "diagnostics": diags}); err != nil {
					return err
				}
				if err != nil {
					return &exitError{code: exitUsage}
				}
			}
			if err != nil {
				return err
			}
			if !asJSON {
				describe(cmd.OutOrStdout(), file, cfg)
			}
			if strict && len(diags) > 0 {
				return &exitError{code: exitNo}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", defaultConfigFile, "configuration `FILE`")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// describe says in plain words what a configuration runs.
func describe(w io.Writer, file string, cfg *config.Config) {
	fmt.Fprintf(w, "%s: can run; %s\n", file, count(len(cfg.Instances), "instance"))
	for _, inst := range cfg.Instances {
		where := "on " + inst.Interface
		if inst.Interface == "" {
			where = "from " + inst.SourceIP.String()
		}
		how := "by multicast to " + inst.Group.String()
		if len(inst.Peers) > 0 {
			how = "to " + count(len(inst.Peers), "unicast peer")
		}
		fmt.Fprintf(w, "  %s: %s %s, VRID %d, %s, priority %d, advertises every %s %s\n",
			inst.Name, inst.Version, inst.Family, inst.VRID, where, inst.Priority, inst.AdvertInterval, how)
		down := vrrp.MasterDownInterval(inst.Version, inst.Priority, inst.AdvertInterval, inst.DownTimerAdverts)
		fmt.Fprintf(w, "    takes over after %s without an advertisement; holds %s\n",
			down.Round(time.Millisecond), count(len(inst.Addresses)+len(inst.Excluded), "address"))
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
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "status [INSTANCE...]",
		Short: "Show what a running vipd does, and why",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			client := control.NewClient(runDir)
			defer client.Close()
			if asJSON && len(names) == 0 {
				raw, err := client.StatusJSON(ctx)
				if err != nil {
					return err
				}
				return writeJSON(cmd.OutOrStdout(), raw)
			}
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			if status.Instances, err = choose(status.Instances, names); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), status)
			}
			options := view.Terminal(os.Stdout)
			options.All = all || len(names) > 0
			return view.RenderStatus(cmd.OutOrStdout(), status, options)
		},
	}
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "`DIR` the daemon was started with")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show every instance in full")
	return cmd
}

// choose returns the instances with the given names, or all if none is given.
func choose(all []control.Instance, names []string) ([]control.Instance, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []control.Instance
	for _, name := range names {
		found := false
		for _, inst := range all {
			if inst.Name == name {
				out, found = append(out, inst), true
			}
		}
		if !found {
			return nil, &exitError{exitUsage, fmt.Errorf("no instance is called %q", name)}
		}
	}
	return out, nil
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
