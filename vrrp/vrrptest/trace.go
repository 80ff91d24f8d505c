package vrrptest

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vipd/vrrp"
)

// epoch is when traces begin. Any time would do.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A tracer runs a trace: see Trace.
type tracer struct {
	m    *vrrp.Machine
	cfg  vrrp.Config
	auto bool
	now  time.Time
	out  strings.Builder
}

// Trace runs a script against a [vrrp.Machine] and returns the script with what
// the machine did after each line, indented. Indented lines of the script, the
// answers of an earlier run, are left out; so a file that holds a script and
// the right answers is its own golden file.
//
// A script has one statement a line; "#" begins a comment line.
//
//	config version=3 priority=100 interval=1s addresses=192.0.2.10,192.0.2.11 [start-master]
//	       [adverts=3] [nopreempt] [preempt-delay=3s] [startup-delay=3s]
//	       [lower-prio-no-advert] [higher-prio-send-advert] [source=192.0.2.1]
//	       [auto]                       addresses are ready as soon as they are asked for
//	at TIME EVENT                       first wakes the machine whenever it wants until TIME
//	until TIME                          only that
//	late TIME EVENT                     as at, but nobody woke the machine meanwhile
//	state                               prints the state and the pending timers
//
// TIME counts from the beginning ("3.6s"), or with a plus from the line before.
// An EVENT is one of
//
//	startup | shutdown | wake [early=1ms]
//	recv PRIORITY SOURCE [interval=1s] [ago=2ms]
//	health [PRIORITY] [CHECK...]        the checks that have failed
//	link [SOURCE] [down] [missing]
//	ready [stale] ADDRESS... | failed ADDRESS... | lost ADDRESS...
func Trace(script string) (string, error) {
	t := &tracer{now: epoch}
	for i, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		t.out.WriteString(line + "\n")
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := t.statement(strings.Fields(line)); err != nil {
			return t.out.String(), fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return t.out.String(), nil
}

func (t *tracer) statement(words []string) error {
	if words[0] == "config" {
		return t.config(words[1:])
	}
	if t.m == nil {
		return errors.New("the first statement must be config")
	}
	switch words[0] {
	case "state":
		t.state()
		return nil
	case "at", "until", "late":
		if len(words) < 2 {
			return errors.New("time missing")
		}
		to, err := t.time(words[1])
		if err != nil {
			return err
		}
		if words[0] == "late" {
			t.now = to
		} else {
			t.run(to)
		}
		if words[0] == "until" {
			return nil
		}
		ev, err := t.event(words[2:])
		if err != nil {
			return err
		}
		t.step(ev)
		return nil
	}
	return fmt.Errorf("unknown statement %q", words[0])
}

func (t *tracer) time(s string) (time.Time, error) {
	from := epoch
	if rest, ok := strings.CutPrefix(s, "+"); ok {
		s, from = rest, t.now
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return time.Time{}, err
	}
	if at := from.Add(d); !at.Before(t.now) {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%s is in the past", s)
}

func (t *tracer) config(words []string) error {
	cfg := vrrp.Config{Version: vrrp.V3, VRID: 51, Priority: 100, Interval: time.Second}
	source := netip.MustParseAddr("192.0.2.1")
	t.auto, t.now = false, epoch
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "version":
			var n int
			n, err = strconv.Atoi(value)
			cfg.Version = vrrp.Version(n)
		case "priority":
			cfg.Priority, err = parsePriority(value)
		case "interval":
			cfg.Interval, err = time.ParseDuration(value)
		case "adverts":
			cfg.DownTimerAdverts, err = strconv.Atoi(value)
		case "start-master":
			cfg.StartMaster = true
		case "nopreempt":
			cfg.NoPreempt = true
		case "preempt-delay":
			cfg.PreemptDelay, err = time.ParseDuration(value)
		case "startup-delay":
			cfg.StartupDelay, err = time.ParseDuration(value)
		case "lower-prio-no-advert":
			cfg.LowerPriorityNoAdvert = true
		case "higher-prio-send-advert":
			cfg.HigherPrioritySendAdvert = true
		case "addresses":
			cfg.Addresses, err = parseAddresses(strings.Split(value, ","))
		case "source":
			source, err = netip.ParseAddr(value)
		case "auto":
			t.auto = true
		default:
			err = fmt.Errorf("unknown setting %q", key)
		}
		if err != nil {
			return err
		}
	}
	t.cfg, t.m = cfg, vrrp.New(cfg)
	t.step(vrrp.Link{Source: source})
	return nil
}

func (t *tracer) event(words []string) (vrrp.Event, error) {
	if len(words) == 0 {
		return nil, errors.New("event missing")
	}
	args := words[1:]
	switch words[0] {
	case "startup":
		return vrrp.Startup{}, nil
	case "shutdown":
		return vrrp.Shutdown{}, nil
	case "wake":
		if len(args) == 0 {
			return vrrp.Wake{}, nil
		}
		early, err := time.ParseDuration(strings.TrimPrefix(args[0], "early="))
		return vrrp.Wake{Early: early}, err
	case "recv":
		return t.received(args)
	case "health":
		return parseHealth(args)
	case "link":
		return parseLink(args)
	case "ready", "failed":
		ev := vrrp.AddressReady{Epoch: t.m.Epoch()}
		if len(args) > 0 && args[0] == "stale" {
			args = args[1:]
			ev.Epoch--
		}
		if words[0] == "failed" {
			ev.Err = errors.New("no such device")
		}
		var err error
		ev.Addrs, err = parseAddresses(args)
		return ev, err
	case "lost":
		addrs, err := parseAddresses(args)
		return vrrp.AddressLost{Addrs: addrs}, err
	}
	return nil, fmt.Errorf("unknown event %q", words[0])
}

func (t *tracer) received(args []string) (vrrp.Event, error) {
	if len(args) < 2 {
		return nil, errors.New("recv needs a priority and a source")
	}
	priority, err := parsePriority(args[0])
	if err != nil {
		return nil, err
	}
	src, err := netip.ParseAddr(args[1])
	if err != nil {
		return nil, err
	}
	ev := vrrp.Received{Src: src, At: t.now, Adv: vrrp.Advertisement{
		Version: t.cfg.Version, VRID: t.cfg.VRID, Priority: priority, Interval: t.cfg.Interval,
	}}
	for _, w := range args[2:] {
		key, value, _ := strings.Cut(w, "=")
		d, err := time.ParseDuration(value)
		if err != nil {
			return nil, err
		}
		switch key {
		case "interval":
			ev.Adv.Interval = d
		case "ago":
			ev.At = t.now.Add(-d)
		default:
			return nil, fmt.Errorf("unknown setting %q", key)
		}
	}
	return ev, nil
}

func parseHealth(args []string) (vrrp.Event, error) {
	var ev vrrp.Health
	if len(args) > 0 {
		if p, err := parsePriority(args[0]); err == nil {
			ev.Priority, args = p, args[1:]
		}
	}
	for _, name := range args {
		ev.Faults = append(ev.Faults, vrrp.Fault{Kind: vrrp.FaultCheck, Name: name})
	}
	return ev, nil
}

func parseLink(args []string) (vrrp.Event, error) {
	ev := vrrp.Link{Source: netip.MustParseAddr("192.0.2.1")}
	for _, w := range args {
		switch w {
		case "down":
			ev.Faults = append(ev.Faults, vrrp.Fault{Kind: vrrp.FaultInterfaceDown, Name: "eth0"})
		case "missing":
			ev.Faults = append(ev.Faults, vrrp.Fault{Kind: vrrp.FaultInterfaceMissing, Name: "eth0"})
		default:
			var err error
			if ev.Source, err = netip.ParseAddr(w); err != nil {
				return nil, err
			}
		}
	}
	return ev, nil
}

func parsePriority(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err
}

func parseAddresses(words []string) ([]vrrp.Address, error) {
	var out []vrrp.Address
	for _, w := range words {
		ip, err := netip.ParseAddr(w)
		if err != nil {
			return nil, err
		}
		out = append(out, vrrp.Address{IP: ip})
	}
	return out, nil
}

// run wakes the machine as often as it wants until the time to.
func (t *tracer) run(to time.Time) {
	for {
		at, ok := t.m.NextWake()
		if !ok || at.After(to) {
			t.now = to
			return
		}
		if at.After(t.now) {
			t.now = at
		}
		t.step(vrrp.Wake{})
	}
}

func (t *tracer) step(ev vrrp.Event) {
	var asked []vrrp.AddAddresses
	for _, a := range t.m.Step(t.now, ev) {
		fmt.Fprintf(&t.out, "  %-10s %s\n", t.now.Sub(epoch), a)
		if add, ok := a.(vrrp.AddAddresses); ok && t.auto {
			asked = append(asked, add)
		}
	}
	for _, add := range asked {
		t.step(vrrp.AddressReady{Epoch: add.Epoch, Addrs: add.Addrs})
	}
}

func (t *tracer) state() {
	s := t.m.Snapshot()
	fmt.Fprintf(&t.out, "  %-10s %s, priority %d", t.now.Sub(epoch), s.State, s.Priority)
	if at, ok := t.m.NextWake(); ok {
		fmt.Fprintf(&t.out, ", wakes at %s", at.Sub(epoch))
	}
	if s.Master.Addr.IsValid() {
		fmt.Fprintf(&t.out, ", master %s priority %d every %s", s.Master.Addr, s.Master.Priority, s.MasterInterval)
	}
	for _, f := range s.Faults {
		fmt.Fprintf(&t.out, ", fault: %s", f)
	}
	if s.Degraded() {
		fmt.Fprintf(&t.out, ", degraded: %d addresses missing", s.Failed)
	}
	t.out.WriteByte('\n')
}
