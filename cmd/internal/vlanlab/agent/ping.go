package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"vipd/cmd/internal/vlanlab/ping"
)

// pingMain pings addresses until a signal ends it, and then writes what it noticed.
func pingMain(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("ping", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	interval := fs.Duration("interval", 10*time.Millisecond, "")
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if *interval <= 0 {
		return errors.New("ping: --interval must be positive")
	}
	var addrs []netip.Addr
	for _, word := range fs.Args() {
		a, err := netip.ParseAddr(word)
		if err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		addrs = append(addrs, a)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p, err := ping.Open(addrs)
	if err != nil {
		return err
	}
	defer p.Close()
	return json.NewEncoder(stdout).Encode(p.Run(ctx, *interval))
}
