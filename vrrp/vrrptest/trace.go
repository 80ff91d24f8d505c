package vrrptest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"vipd/vrrp"
)

// epoch is when traces begin. Any time would do.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A tracer runs a trace: see Trace.
type tracer struct {
	groups  []*group
	name    string // of the group that is forming; empty: the members are alone
	forming bool   // there may be more members
	routers []*router
	now     time.Time
	out     strings.Builder
}

// A group is a sync group under a trace.
type group struct {
	name    string
	g       *vrrp.Group
	members []int // places of the routers
}

// A router is a machine under a trace.
type router struct {
	name   string // empty if it is the only one
	group  *group // nil: none
	member int    // in it
	m      *vrrp.Machine
	cfg    vrrp.Config
	source netip.Addr
	auto   bool
}

// Trace runs a script against a [vrrp.Machine], or a [vrrp.Group] of them, and
// returns the script with what they did after each line, indented. Indented lines of the script, the
// answers of an earlier run, are left out; so a file that holds a script and
// the right answers is its own golden file.
//
// A script has one statement a line; "#" begins a comment line.
//
//	config version=3 priority=100 interval=1s addresses=192.0.2.10,192.0.2.11 [start-master]
//	       [adverts=3] [nopreempt] [preempt-delay=3s] [startup-delay=3s]
//	       [lower-prio-no-advert] [higher-prio-send-advert] [source=192.0.2.1]
//	       [handover] [resign]
//	       [auto]                       addresses are ready as soon as they are asked for
//	group NAME                          what follows is about a sync group with these members:
//	member NAME version=3 ...           settings as for config
//	alone                               the members that follow are in no group
//	at TIME adopt NAME MEMBER...        a group of these members goes on from one of that name
//	at TIME adopt NAME=OLD MEMBER...    or of the name OLD
//	at TIME MEMBER leave                the member is in no group any more
//	at TIME EVENT                       first wakes the machine whenever it wants until TIME
//	until TIME                          only that
//	late TIME EVENT                     as at, but nobody woke the machine meanwhile
//	state                               prints the state and the pending timers
//
// With a group, the name of a member stands before each EVENT, or "each" for one
// after the other.
//
// TIME counts from the beginning ("3.6s"), or with a plus from the line before.
// An EVENT is one of
//
//	startup | resume | shutdown | wake [early=1ms]
//	failover | failover end | gap DURATION
//	recv PRIORITY SOURCE [interval=1s] [ago=2ms] [differs]
//	health [PRIORITY] [CHECK...]        the checks that have failed, or as ?CHECK have no result
//	link [SOURCE] [down] [missing]
//	ready [stale] ADDRESS... | failed ADDRESS... | lost ADDRESS... | expired ADDRESS...
//	foreign MAC ADDRESS                 another host announces the address
//	reconfigure version=3 ...           settings as for config, and
//	       [advertise] [health=90,CHECK,?CHECK]
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
	switch words[0] {
	case "config":
		t.begin()
		return t.config("", words[1:])
	case "group":
		if len(words) != 2 {
			return errors.New("group needs a name")
		}
		t.begin()
		t.name, t.forming = words[1], true
		return nil
	case "alone":
		t.begin()
		t.forming = true
		return nil
	case "member":
		if !t.forming || len(words) < 2 {
			return errors.New("member needs group or alone before it, and a name")
		}
		return t.config(words[1], words[2:])
	}
	if len(t.routers) == 0 {
		return errors.New("config, or group and member, must come first")
	}
	t.form()
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
		return t.events(words[2:])
	}
	return fmt.Errorf("unknown statement %q", words[0])
}

// begin forgets the routers there were.
func (t *tracer) begin() {
	t.groups, t.name, t.forming, t.routers, t.now = nil, "", false, nil, epoch
}

// form makes the group of the members there are.
func (t *tracer) form() {
	if !t.forming {
		return
	}
	t.forming = false
	if t.name != "" {
		var all []int
		for i := range t.routers {
			all = append(all, i)
		}
		g, members := t.assemble(t.name, all)
		g.g = vrrp.NewGroup(t.name, members)
	}
	for i, r := range t.routers {
		t.step(i, vrrp.Link{Source: r.source})
	}
}

// assemble puts routers into a group that is to be made of the machines it
// returns. What they were in is no more.
func (t *tracer) assemble(name string, routers []int) (*group, []vrrp.GroupMember) {
	g := &group{name: name, members: routers}
	var members []vrrp.GroupMember
	for i, n := range routers {
		r := t.routers[n]
		t.abandon(r.group)
		r.group, r.member = g, i
		members = append(members, vrrp.GroupMember{Name: r.name, Machine: r.m})
	}
	t.groups = append(t.groups, g)
	return g, members
}

func (t *tracer) abandon(g *group) {
	t.groups = slices.DeleteFunc(t.groups, func(h *group) bool { return h == g })
}

// adopt makes a group of routers that are running.
func (t *tracer) adopt(words []string) error {
	if len(words) < 2 {
		return errors.New("adopt needs a name and members")
	}
	name, old, renamed := strings.Cut(words[0], "=")
	if !renamed {
		old = name
	}
	var was vrrp.GroupSnapshot
	for _, g := range t.groups {
		if g.name == old {
			was = g.g.Snapshot()
		}
	}
	var all []int
	for _, w := range words[1:] {
		i := slices.IndexFunc(t.routers, func(r *router) bool { return r.name == w })
		if i < 0 {
			return fmt.Errorf("unknown member %q", w)
		}
		all = append(all, i)
	}
	g, members := t.assemble(name, all)
	var actions []vrrp.GroupAction
	g.g, actions = vrrp.Adopt(t.now, name, was, members)
	t.carryOut(g, actions)
	return nil
}

// events gives an event to the routers it is for.
func (t *tracer) events(words []string) error {
	who := ""
	if len(words) > 0 && words[0] == "adopt" {
		return t.adopt(words[1:])
	}
	if t.routers[0].name != "" && len(words) > 0 {
		who, words = words[0], words[1:]
	}
	found := false
	for i, r := range t.routers {
		if r.name != who && who != "each" {
			continue
		}
		found = true
		if len(words) == 1 && words[0] == "leave" {
			t.abandon(r.group)
			r.group = nil
			t.carryOutAlone(i, r.m.Leave(t.now))
			continue
		}
		ev, err := t.event(r, words)
		if err != nil {
			return err
		}
		t.step(i, ev)
	}
	if !found {
		return fmt.Errorf("unknown member %q", who)
	}
	return nil
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

func (t *tracer) config(name string, words []string) error {
	r := &router{name: name, source: netip.MustParseAddr("192.0.2.1")}
	rest, err := r.settings(words)
	if err != nil {
		return err
	}
	for _, w := range rest {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "source":
			if r.source, err = netip.ParseAddr(value); err != nil {
				return err
			}
		case "auto":
			r.auto = true
		default:
			return fmt.Errorf("unknown setting %q", key)
		}
	}
	r.m = vrrp.New(r.cfg)
	t.routers = append(t.routers, r)
	if !t.forming {
		t.step(0, vrrp.Link{Source: r.source})
	}
	return nil
}

// settings makes a configuration of what follows config, and returns the words
// that are none of it.
func (r *router) settings(words []string) (rest []string, err error) {
	cfg := vrrp.Config{Version: vrrp.V3, VRID: 51, Priority: 100, Interval: time.Second}
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
		case "handover":
			cfg.Handover = true
		case "resign":
			cfg.ResignOnLoss = true
		case "addresses":
			cfg.Addresses, err = parseAddresses(strings.Split(value, ","))
		default:
			rest = append(rest, w)
		}
		if err != nil {
			return nil, err
		}
	}
	r.cfg = cfg
	return rest, nil
}

func (t *tracer) event(r *router, words []string) (vrrp.Event, error) {
	if len(words) == 0 {
		return nil, errors.New("event missing")
	}
	args := words[1:]
	switch words[0] {
	case "startup":
		return vrrp.Startup{}, nil
	case "resume":
		return vrrp.Resume{}, nil
	case "shutdown":
		return vrrp.Shutdown{}, nil
	case "failover":
		return vrrp.Failover{End: len(args) > 0 && args[0] == "end"}, nil
	case "gap":
		if len(args) == 0 {
			return nil, errors.New("gap needs a length")
		}
		length, err := time.ParseDuration(args[0])
		return vrrp.Gap{Length: length}, err
	case "wake":
		if len(args) == 0 {
			return vrrp.Wake{}, nil
		}
		early, err := time.ParseDuration(strings.TrimPrefix(args[0], "early="))
		return vrrp.Wake{Early: early}, err
	case "recv":
		return t.received(r, args)
	case "health":
		return parseHealth(args)
	case "link":
		return parseLink(args)
	case "ready", "failed":
		ev := vrrp.AddressReady{Epoch: r.m.Epoch()}
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
	case "expired":
		addrs, err := parseAddresses(args)
		return vrrp.AddressExpired{Addrs: addrs}, err
	case "foreign":
		return parseForeign(args)
	case "reconfigure":
		return r.reconfigure(args)
	}
	return nil, fmt.Errorf("unknown event %q", words[0])
}

func (r *router) reconfigure(args []string) (vrrp.Event, error) {
	rest, err := r.settings(args)
	if err != nil {
		return nil, err
	}
	ev := vrrp.Reconfigure{Config: r.cfg}
	for _, w := range rest {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "advertise":
			ev.Advertise = true
		case "health":
			health, err := parseHealth(strings.Split(value, ","))
			if err != nil {
				return nil, err
			}
			ev.Health = &health
		default:
			return nil, fmt.Errorf("unknown setting %q", key)
		}
	}
	return ev, nil
}

func (t *tracer) received(r *router, args []string) (vrrp.Event, error) {
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
		Version: r.cfg.Version, VRID: r.cfg.VRID, Priority: priority, Interval: r.cfg.Interval,
	}}
	for _, w := range args[2:] {
		if w == "differs" {
			ev.Differs = true
			continue
		}
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

func parseForeign(args []string) (vrrp.Event, error) {
	if len(args) != 2 {
		return nil, errors.New("foreign needs a hardware address and an address")
	}
	mac, err := net.ParseMAC(args[0])
	if err != nil {
		return nil, err
	}
	if len(mac) != len(vrrp.MAC{}) {
		return nil, fmt.Errorf("%s is not the address of an Ethernet interface", mac)
	}
	addrs, err := parseAddresses(args[1:])
	if err != nil {
		return nil, err
	}
	return vrrp.ForeignOwner{Addr: addrs[0], MAC: vrrp.MAC(mac)}, nil
}

func parseHealth(args []string) (vrrp.Health, error) {
	var ev vrrp.Health
	if len(args) > 0 {
		if p, err := parsePriority(args[0]); err == nil {
			ev.Priority, args = p, args[1:]
		}
	}
	for _, name := range args {
		if check, ok := strings.CutPrefix(name, "?"); ok {
			ev.Pending = append(ev.Pending, check)
			continue
		}
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

// run wakes the machines as often as they want until the time to, those that
// are due at the same time in their order.
func (t *tracer) run(to time.Time) {
	for {
		next, first := -1, to
		for i, r := range t.routers {
			if at, ok := r.m.NextWake(); ok && !at.After(first) && (next < 0 || at.Before(first)) {
				next, first = i, at
			}
		}
		if next < 0 {
			t.now = to
			return
		}
		if first.After(t.now) {
			t.now = first
		}
		t.step(next, vrrp.Wake{})
	}
}

func (t *tracer) step(router int, ev vrrp.Event) {
	r := t.routers[router]
	if r.group != nil {
		t.carryOut(r.group, r.group.g.Step(t.now, r.member, ev))
		return
	}
	t.carryOutAlone(router, r.m.Step(t.now, ev))
}

// A request is what a router asked for.
type request struct {
	router int
	vrrp.AddAddresses
}

// carryOut prints what a group does, and does it.
func (t *tracer) carryOut(g *group, actions []vrrp.GroupAction) {
	var asked []request
	for _, a := range actions {
		if a.Member < 0 {
			t.print(g.name+": ", a.Action.String())
			continue
		}
		asked = append(asked, t.did(g.members[a.Member], a.Action)...)
	}
	t.answer(asked)
}

func (t *tracer) carryOutAlone(router int, actions []vrrp.Action) {
	var asked []request
	for _, a := range actions {
		asked = append(asked, t.did(router, a)...)
	}
	t.answer(asked)
}

func (t *tracer) did(router int, a vrrp.Action) []request {
	t.print(t.who(router), a.String())
	if add, ok := a.(vrrp.AddAddresses); ok && t.routers[router].auto {
		return []request{{router, add}}
	}
	return nil
}

func (t *tracer) answer(asked []request) {
	for _, add := range asked {
		t.step(add.router, vrrp.AddressReady{Epoch: add.Epoch, Addrs: add.Addrs})
	}
}

// who returns what stands before what a router did.
func (t *tracer) who(router int) string {
	if name := t.routers[router].name; name != "" {
		return name + ": "
	}
	return ""
}

func (t *tracer) print(who, what string) {
	fmt.Fprintf(&t.out, "  %-10s %s%s\n", t.now.Sub(epoch), who, what)
}

func (t *tracer) state() {
	for i, r := range t.routers {
		t.print(t.who(i), r.state())
	}
	for _, g := range t.groups {
		t.print(g.name+": ", g.g.Snapshot().State.String())
	}
}

func (r *router) state() string {
	s := r.m.Snapshot()
	var b strings.Builder
	fmt.Fprintf(&b, "%s, priority %d", s.State, s.Priority)
	if at, ok := r.m.NextWake(); ok {
		fmt.Fprintf(&b, ", wakes at %s", at.Sub(epoch))
	}
	if s.Master.Addr.IsValid() {
		fmt.Fprintf(&b, ", master %s priority %d every %s", s.Master.Addr, s.Master.Priority, s.MasterInterval)
	}
	if s.WantsMaster {
		b.WriteString(", wants to be master")
	}
	if s.HandingOver {
		b.WriteString(", hands over")
	}
	if s.Yielded {
		b.WriteString(", left to others")
	}
	if s.Held.IsValid() {
		fmt.Fprintf(&b, ", held by %s", s.Held)
	}
	for _, rival := range s.Rivals {
		if rival.Addr.IsValid() {
			fmt.Fprintf(&b, ", contested by %s priority %d", rival.Addr, rival.Priority)
		} else {
			fmt.Fprintf(&b, ", contested by %s", rival.MAC)
		}
	}
	for _, f := range s.Faults {
		fmt.Fprintf(&b, ", fault: %s", f)
	}
	for _, check := range s.Pending {
		fmt.Fprintf(&b, ", waits for check %s", check)
	}
	if s.Degraded() {
		fmt.Fprintf(&b, ", degraded: %d addresses missing", s.Failed)
	}
	return b.String()
}
