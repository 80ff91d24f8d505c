package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"vipd/cmd/internal/demo"
)

func demoCommand() *cobra.Command {
	var o demo.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a failover between two routers in network namespaces",
		Long: `Make two routers and a client in network namespaces of their own, pull the plug
on the master, bring it back, stop it, and show how long the client was without
the virtual address each time. Nothing else on this machine is touched, and
nothing is left. It needs root.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Program, o.Out = "/proc/self/exe", cmd.OutOrStdout()
			if asJSON {
				o.Out = io.Discard
			}
			result, err := demo.Run(cmd.Context(), o)
			if _, wrong := errors.AsType[*demo.OptionError](err); wrong {
				return &exitError{exitUsage, err}
			}
			if err != nil || !asJSON {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), result)
		},
	}
	cmd.Flags().StringVar(&o.AdvertInterval, "advert-int", "1", "advertisement interval, in `SECONDS`")
	cmd.Flags().IntVar(&o.Version, "version", 3, "version of VRRP, 2 or 3")
	cmd.Flags().IntVar(&o.High, "priority-high", 150, "priority of r1")
	cmd.Flags().IntVar(&o.Low, "priority-low", 100, "priority of r2")
	cmd.Flags().BoolVar(&o.Preempt, "preempt", true, "r1 takes the address back when it returns")
	cmd.Flags().BoolVar(&o.IPv6, "ipv6", false, "an IPv6 address")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was measured as JSON, and nothing else")
	return cmd
}
