// Package demo shows a failover to somebody who has nothing but the binary: two
// routers that run vipd and a client that pings their virtual address, on a
// bridge, in network namespaces of their own.
//
// The namespaces have no names and the routers die with their parent, so that
// nothing is left however the demonstration ends.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

const (
	instanceName = "demo"
	ifname       = "eth0"
	// probeInterval bounds how exactly a gap can be told.
	probeInterval = 2 * time.Millisecond
	// patience is added to every bound before the demonstration gives up: the
	// machine may be busy.
	patience = 15 * time.Second
	// settled is how long the client goes on pinging after an event.
	settled = 400 * time.Millisecond
)

// ErrInterrupted is the end of a demonstration that was told to end.
var ErrInterrupted = errors.New("demo: interrupted; everything it made is gone again")

// An OptionError says what is wrong with Options.
type OptionError struct{ Text string }

// Error returns the text.
func (e *OptionError) Error() string { return "demo: " + e.Text }

// Options say what to show and how.
type Options struct {
	AdvertInterval string // as in the configuration: "1", "0.1", "100ms"
	Version        int    // of VRRP
	High, Low      int    // the priorities of r1 and r2
	Preempt        bool   // r1 takes the address back
	IPv6           bool
	Program        string    // the vipd that the routers run
	Out            io.Writer // for people
}

// A Result is what was measured, for programs.
type Result struct {
	Version        int             `json:"version"`
	AdvertInterval control.Seconds `json:"advert_interval_seconds"`
	Events         []Event         `json:"events"`
}

// An Event is one thing that was done to the routers, and what the client saw
// of it.
type Event struct {
	Name string `json:"name"`
	// Bound is how long the address is away at most by the protocol's formulas; 0
	// where it should not be away at all. The machine adds its own milliseconds.
	Bound control.Seconds `json:"bound_seconds"`
	Rule  string          `json:"rule"`
	// Gap is the longest time in which the client had no answer.
	Gap    control.Seconds `json:"gap_seconds"`
	Master string          `json:"master"` // afterwards
	Reason string          `json:"reason"` // why, in that router's own words
}

// A router is one of the two machines.
type router struct {
	name     string
	node     *netiftest.Node
	addr     netip.Prefix
	mac      net.HardwareAddr // stays when its namespace is made anew
	priority int
	file     string
	runDir   string
	cmd      *netiftest.Cmd
}

// A show is a demonstration under way.
type show struct {
	opts    Options
	lab     *netiftest.Lab
	lan     *netiftest.Bridge
	client  *netiftest.Node
	r1, r2  *router
	vip     netip.Prefix
	inst    config.Instance
	began   time.Time
	result  *Result
	dir     string
	serial  int
	failure error // of writing
}

// Run shows a start, a power cut, a return and a planned stop. When it returns,
// nothing of it is left.
func Run(ctx context.Context, o Options) (_ *Result, err error) {
	s := &show{opts: o, vip: address(o.IPv6, 100), result: &Result{}}
	if o.High <= o.Low || o.High > 254 || o.Low < 1 {
		return nil, &OptionError{"--priority-high must be above --priority-low, both 1 to 254"}
	}
	cfg, diags := config.Parse("demo", s.configuration(o.High))
	if diags.HasErrors() {
		return nil, &OptionError{diags[0].Path + ": " + diags[0].Message}
	}
	s.inst = cfg.Instances[0]
	s.result.Version, s.result.AdvertInterval = o.Version, control.Seconds(s.inst.AdvertInterval)
	if s.dir, err = os.MkdirTemp("", "vipd-demo-"); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if s.lab, err = netiftest.New(ctx); err != nil {
		return nil, fmt.Errorf("demo: making network namespaces (this needs root, or CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW): %w", err)
	}
	defer func() {
		if err = errors.Join(err, s.lab.Close()); err != nil && ctx.Err() != nil {
			err = ErrInterrupted
		}
	}()
	if err := s.build(); err != nil {
		return nil, err
	}
	if err := s.play(ctx); err != nil {
		return nil, err
	}
	s.summary()
	return s.result, s.failure
}

// address returns an address of the demonstration's network, one of those that
// are reserved for documentation.
func address(ipv6 bool, last int) netip.Prefix {
	if ipv6 {
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", last))
	}
	return netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", last))
}

// configuration is what a router of the given priority runs.
func (s *show) configuration(priority int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "vrrp_instance:\n  %s:\n    interface: %s\n    virtual_router_id: 51\n", instanceName, ifname)
	fmt.Fprintf(&b, "    version: %d\n    priority: %d\n    advert_int: %q\n", s.opts.Version, priority, s.opts.AdvertInterval)
	fmt.Fprintf(&b, "    nopreempt: %t\n    virtual_ipaddress:\n", !s.opts.Preempt)
	if s.opts.IPv6 {
		b.WriteString("      - fe80::100/64\n") // RFC 9568 §5.2.9: the first one is link-local
	}
	fmt.Fprintf(&b, "      - %s\n", s.vip)
	return []byte(b.String())
}

// build makes the network.
func (s *show) build() (err error) {
	if s.lan, err = s.lab.Bridge("lan"); err != nil {
		return err
	}
	if s.client, err = s.lab.Node("client"); err != nil {
		return err
	}
	if err := s.lab.Connect(s.client, ifname, s.lan, netiftest.Port{Addrs: []netip.Prefix{address(s.opts.IPv6, 9)}}); err != nil {
		return err
	}
	s.r1 = &router{name: "r1", priority: s.opts.High, addr: address(s.opts.IPv6, 1), mac: net.HardwareAddr{2, 0, 0, 0, 1, 1}}
	s.r2 = &router{name: "r2", priority: s.opts.Low, addr: address(s.opts.IPv6, 2), mac: net.HardwareAddr{2, 0, 0, 0, 1, 2}}
	for _, r := range []*router{s.r1, s.r2} {
		if err := s.boot(r); err != nil {
			return err
		}
	}
	return nil
}

// boot gives a router a new namespace and a new run directory: a machine that
// lost its power remembers nothing but its configuration.
func (s *show) boot(r *router) (err error) {
	s.serial++
	if r.node, err = s.lab.Node(fmt.Sprintf("%s-%d", r.name, s.serial)); err != nil {
		return err
	}
	if err := s.lab.Connect(r.node, ifname, s.lan, netiftest.Port{MAC: r.mac, Addrs: []netip.Prefix{r.addr}}); err != nil {
		return err
	}
	r.file = filepath.Join(s.dir, r.name+".yaml")
	r.runDir = filepath.Join(s.dir, fmt.Sprintf("run-%d", s.serial))
	return os.WriteFile(r.file, s.configuration(r.priority), 0o600)
}

func (s *show) start(ctx context.Context, r *router) error {
	r.cmd = r.node.Command(ctx, s.opts.Program, "run", "-f", r.file, "--run-dir", r.runDir, "--log-level", "error")
	r.cmd.Stderr = os.Stderr
	r.cmd.Env = []string{} // above all no service manager to talk to
	if err := r.cmd.Start(); err != nil {
		return err
	}
	_, err := s.await(ctx, r, control.StateBackup, 0)
	return err
}

// status asks a router how it is.
func (r *router) status(ctx context.Context) (control.Instance, bool) {
	c := control.NewClient(r.runDir)
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil || len(s.Instances) == 0 {
		return control.Instance{}, false
	}
	return s.Instances[0], true
}

// await waits until the router is in the state.
func (s *show) await(ctx context.Context, r *router, state control.State, within time.Duration) (control.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, within+patience)
	defer cancel()
	for {
		if inst, ok := r.status(ctx); ok && inst.State == state {
			return inst, nil
		}
		select {
		case <-ctx.Done():
			return control.Instance{}, fmt.Errorf("demo: %s did not become %s within %s: %w", r.name, state, within+patience, ctx.Err())
		case <-r.cmd.Done():
			return control.Instance{}, fmt.Errorf("demo: the vipd on %s has ended: %w", r.name, r.cmd.Wait())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// masterDown is how long a router waits before it takes over from a master
// that fell silent; skew is how long it waits when the master said so.
func (s *show) masterDown(r *router) time.Duration {
	return vrrp.MasterDownInterval(s.inst.Version, uint8(r.priority), s.inst.AdvertInterval, s.inst.DownTimerAdverts)
}

func (s *show) skew(r *router) time.Duration {
	return vrrp.SkewTime(s.inst.Version, uint8(r.priority), s.inst.AdvertInterval)
}

// play goes through the acts.
func (s *show) play(ctx context.Context) error {
	s.printf("Two routers and a client on a bridge, each in a network namespace of its own.\n")
	for _, r := range []*router{s.r1, s.r2} {
		s.printf("  %-7s %-15s priority %d\n", r.name, r.addr.Addr(), r.priority)
	}
	s.printf("  %-7s %-15s pings %s, the virtual address, every %s\n", "client", address(s.opts.IPv6, 9).Addr(), s.vip.Addr(), probeInterval)
	s.printf("VRRPv%d, an advertisement every %s.\n", s.opts.Version, s.inst.AdvertInterval)
	s.began = time.Now()

	acts := []struct {
		name, does string
		act        func() error
		winner     *router
		bound      time.Duration // that the address may be away
		within     time.Duration // that the winner needs
		rule       string
	}{
		{"start", "start vipd on both routers", func() error {
			// r1 first, so that it is the first to be master, too.
			if err := s.start(ctx, s.r1); err != nil {
				return err
			}
			return s.start(ctx, s.r2)
		}, s.r1, s.masterDown(s.r1), s.masterDown(s.r1), "nobody is master yet: master-down interval of r1"},
		{"power cut", "cut the power of r1: process and link, at once", func() error {
			return errors.Join(s.lab.Cut(s.r1.node, ifname), s.r1.cmd.Signal(syscall.SIGKILL))
		}, s.r2, s.masterDown(s.r2), s.masterDown(s.r2), "master-down interval of r2"},
		{"return", "give r1 its power back", func() error {
			if err := s.boot(s.r1); err != nil {
				return err
			}
			return s.start(ctx, s.r1)
		}, s.r1, 0, s.masterDown(s.r1), "r2 serves until it hears r1"},
		{"planned stop", "stop the master's vipd (SIGTERM)", func() error {
			return s.master().cmd.Signal(syscall.SIGTERM)
		}, s.r2, 0, s.skew(s.r2), "r1 serves until r2 has announced the address"},
	}
	if !s.opts.Preempt {
		acts[2].winner, acts[2].rule = s.r2, "nopreempt: r2 stays master"
		acts[3].winner, acts[3].within, acts[3].rule = s.r1, s.skew(s.r1), "r2 serves until r1 has announced the address"
	}
	for _, a := range acts {
		s.say("%s: %s", strings.ToUpper(a.name), a.does)
		ping, err := s.client.Ping(ctx, netiftest.PingConfig{Target: s.vip.Addr(), Interval: probeInterval})
		if err != nil {
			return err
		}
		if err := a.act(); err != nil {
			ping.Stop()
			return err
		}
		won, err := s.outcome(ctx, a.winner, a.within)
		if err == nil {
			s.say("%s is MASTER: %s", a.winner.name, won.Reason.Text)
			err = pause(ctx, settled)
		}
		report := ping.Stop()
		if err != nil {
			return err
		}
		e := Event{Name: a.name, Bound: control.Seconds(a.bound), Rule: a.rule, Gap: control.Seconds(gap(report)), Master: a.winner.name, Reason: won.Reason.Text}
		s.result.Events = append(s.result.Events, e)
		s.say("the client had no answer for %s", e.Gap.Duration().Round(time.Millisecond))
	}
	return nil
}

// outcome waits until the winner is master. With nopreempt the winner of a
// return is master already, so the other one is given the time it would need.
func (s *show) outcome(ctx context.Context, winner *router, within time.Duration) (control.Instance, error) {
	if !s.opts.Preempt && winner == s.r2 && len(s.result.Events) == 2 {
		if _, err := s.await(ctx, s.r1, control.StateBackup, 0); err != nil {
			return control.Instance{}, err
		}
		if err := pause(ctx, within+settled); err != nil {
			return control.Instance{}, err
		}
	}
	return s.await(ctx, winner, control.StateMaster, within)
}

// master is the router that won last.
func (s *show) master() *router {
	if s.result.Events[len(s.result.Events)-1].Master == s.r1.name {
		return s.r1
	}
	return s.r2
}

// gap is the longest time without an answer. Up to the distance of two probes
// it is no gap.
func gap(r netiftest.PingReport) time.Duration { return max(0, r.LongestGap-probeInterval) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// say prints a line of the timeline.
func (s *show) say(format string, args ...any) {
	s.printf("%8.3fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *show) summary() {
	s.printf("\nThe address was away for\n  %-13s %10s %10s   %s\n", "", "at most", "measured", "by which rule")
	for _, e := range s.result.Events {
		s.printf("  %-13s %9.3fs %9.3fs   %s\n", e.Name, e.Bound.Duration().Seconds(), e.Gap.Duration().Seconds(), e.Rule)
	}
	s.printf("\nProcesses, namespaces and files are gone again. It took %.0f seconds.\n", time.Since(s.began).Seconds())
}

func (s *show) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(s.opts.Out, format, args...); err != nil && s.failure == nil {
		s.failure = err
	}
}
