package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"vipd/cmd/internal/control"
)

// reloadTimeout is how long `vipd reload` waits: a configuration of thousands of
// instances is read and carried out in a second or two.
const reloadTimeout = time.Minute

func reloadCommand() *cobra.Command {
	var runDir string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running vipd read its configuration again",
		Long: `Have a running vipd read its configuration again, and say what that changes. The
new configuration is checked as a whole before anything is changed: one with an
error changes nothing. What is the same is not touched: no advertisement is
missed or added, no socket is opened again, no address is removed for a moment.

Exit codes: 0 it is carried out (or could be), 1 something went wrong, 2 the
configuration has errors and nothing was changed, 3 no permission (only root and
vipd's own user may), 4 no vipd answers.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), reloadTimeout)
			defer cancel()
			client := control.NewClient(runDir)
			defer client.Close()
			r, err := client.Reload(ctx, dryRun)
			if refused, ok := errors.AsType[*control.ResponseError](err); ok && refused.Code == "forbidden" {
				return &exitError{exitPermission, err}
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else {
				err = showReload(cmd, r)
			}
			if err == nil && r.Error != "" {
				return &exitError{code: exitUsage}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "`DIR` the daemon was started with")
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "only say what would change")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// showReload says what came of a reload.
func showReload(cmd *cobra.Command, r control.Reload) error {
	for _, d := range r.Diagnostics {
		fmt.Fprintln(cmd.ErrOrStderr(), d)
	}
	if r.Error != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "vipd: refused, and nothing was changed: %s\n", r.Error)
		return nil
	}
	out := cmd.OutOrStdout()
	for _, line := range r.Changes {
		fmt.Fprintln(out, line)
	}
	switch {
	case len(r.Changes) == 0:
		fmt.Fprintln(out, "nothing changes")
	case r.DryRun:
		fmt.Fprintln(out, "(dry run: nothing was changed)")
	default:
		fmt.Fprintln(out, "reloaded")
	}
	return nil
}
