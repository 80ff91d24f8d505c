// Command vipd keeps a virtual IP address alive across two or more machines: it
// elects a master with VRRP and takes the address over with gratuitous ARP.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/daemon"
)

// Exit codes of every subcommand.
const (
	exitOK          = 0
	exitNo          = 1 // the answer is no, or it failed
	exitUsage       = 2 // wrong usage or configuration, or another daemon in the way: the same again would not help
	exitPermission  = 3
	exitUnreachable = 4 // no daemon answers
)

// Where things are unless told otherwise.
const (
	defaultConfigFile = "/etc/vipd/vipd.yaml"
	defaultRunDir     = "/run/vipd"
)

// version is set when the binary is built (see Makefile).
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if calledAsKeepalived(os.Args[0]) {
		code := keepalivedMain(ctx, os.Args[0], os.Args[1:], os.Stdout, os.Stderr, ownHooks())
		stop()
		os.Exit(code)
	}
	err := rootCommand().ExecuteContext(ctx)
	if err != nil {
		var silent *exitError
		if !errors.As(err, &silent) || silent.err != nil {
			fmt.Fprintln(os.Stderr, "vipd:", err)
		}
	}
	stop()
	os.Exit(exitCode(err))
}

// An exitError carries an exit code of its own. One without an error has said
// already what there was to say.
type exitError struct {
	code int
	err  error
}

// Error returns the message of the error within.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the error within.
func (e *exitError) Unwrap() error { return e.err }

// exitCode returns the exit code that tells a script what kind of error it was.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*control.UnreachableError](err); ok {
		return exitUnreachable
	}
	if inTheWay(err) {
		return exitUsage
	}
	_, denied := errors.AsType[*control.PermissionError](err)
	_, incapable := errors.AsType[*daemon.CapabilityError](err)
	if denied || incapable || errors.Is(err, fs.ErrPermission) {
		return exitPermission
	}
	return exitNo
}

// inTheWay reports whether another daemon that runs here is the reason: a
// keepalived, or a vipd with the same run directory or virtual router. A service
// manager is not to try again until somebody has decided which one it is to be.
func inTheWay(err error) bool {
	_, rival := errors.AsType[*daemon.RivalError](err)
	_, locked := errors.AsType[*control.LockedError](err)
	_, claimed := errors.AsType[*control.ClaimedError](err)
	return rival || locked || claimed
}

// versionText returns the version the binary was stamped with, or what the
// module's build information says.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "vipd",
		Short: "Keep a virtual IP address alive with VRRP",
		Long: `vipd keeps virtual IP addresses alive across two or more machines. It elects a
master with VRRP and takes its addresses over with gratuitous ARP, next to other
vipd or keepalived nodes.

Exit codes: 0 done, 1 the answer is no, or it failed, 2 wrong usage or
configuration, or another daemon is in the way, 3 no permission, 4 no vipd
answers.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without a function of its own an unknown command would be help asked for.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{exitUsage, fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath())}
	})
	root.AddCommand(runCommand(), checkCommand(), convertCommand(), fmtCommand(), statusCommand(), reloadCommand(), failoverCommand(), versionCommand(), demoCommand(),
		keepalivedCommand(ownHooks()))
	usageErrors(root)
	return root
}

// usageErrors gives wrong arguments of a command and of those below it the exit
// code of wrong usage.
func usageErrors(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		usageErrors(sub)
	}
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{exitUsage, fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath())}
		}
		return nil
	}
}
