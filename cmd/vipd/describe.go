package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"vipd/cmd/internal/view"
	"vipd/config"
	"vipd/vrrp"
)

// maxEffects bounds what is said about instances that track the same object.
const maxEffects = 8

// describe says in plain words what a configuration runs.
func describe(w io.Writer, file string, cfg *config.Config) {
	fmt.Fprintf(w, "%s: can run; %s\n", file, count(len(cfg.Instances), "instance"))
	for i := range cfg.Instances {
		describeInstance(w, cfg, &cfg.Instances[i])
	}
	for _, g := range cfg.SyncGroups {
		fmt.Fprintf(w, "  sync group %s: %s\n", g.Name, together(g.Members))
		describeNotify(w, &g.Notify)
	}
	for _, o := range objects(cfg) {
		fmt.Fprintf(w, "  %s: %s\n", o.name, o.text)
		effects := effectsOf(cfg, o.kind, o.name, bothWays)
		if len(effects) == 0 {
			effects = []string{"no instance tracks it: it is left out"}
		}
		for _, e := range effects {
			fmt.Fprintf(w, "    %s\n", e)
		}
	}
}

func describeInstance(w io.Writer, cfg *config.Config, inst *config.Instance) {
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
	for _, line := range crash(cfg, inst) {
		fmt.Fprintf(w, "    %s\n", line)
	}
	for _, t := range inst.Tracks {
		if t.Kind == config.TrackInterface {
			fmt.Fprintf(w, "    interface %s: %s\n", t.Name, effect(inst, &t, bothWays))
		}
	}
	describeNotify(w, &inst.Notify)
}

// crash says what becomes of the addresses when this vipd is killed or hangs
// while it is master.
func crash(cfg *config.Config, inst *config.Instance) []string {
	overlap, bounded := inst.LeaseOverlap()
	if !bounded {
		return []string{"if it dies as master, its addresses stay, and two routers answer until somebody removes them (vip_lease off)"}
	}
	line := fmt.Sprintf("if it dies as master, the kernel removes its addresses %s after the last advertisement, ", inst.LeaseLength())
	if overlap > 0 {
		line += "and two routers answer for at most " + overlap.String()
	} else {
		line += "before another router takes over"
	}
	lines := []string{line}
	without := cfg.UnleasedIPv6()
	for _, name := range slices.Sorted(maps.Keys(without)) {
		on := func(a config.Address) bool { return a.Interface == name && a.Prefix.Addr().Is6() }
		if slices.ContainsFunc(inst.Addresses, on) || slices.ContainsFunc(inst.Excluded, on) {
			lines = append(lines, fmt.Sprintf("but its IPv6 addresses on %s stay, and two routers answer until somebody removes them: with more than %d there, none has a lease", name, config.MaxLeasedIPv6))
		}
	}
	return lines
}

// describeNotify says which scripts are run when.
func describeNotify(w io.Writer, n *config.Notify) {
	for _, s := range []struct {
		when    string
		command *config.Command
	}{
		{"as it becomes master", n.Master},
		{"as it becomes backup", n.Backup},
		{"at a fault", n.Fault},
		{"when vipd stops", n.Stop},
		{"when it is removed from the configuration", n.Deleted},
		{"when a master of lower priority is heard", n.MasterRxLowerPri},
		{"at every change", n.Any},
	} {
		if s.command != nil {
			fmt.Fprintf(w, "    runs %s %s as %s\n", s.when, view.ShellWords(s.command.Argv), s.command.User)
		}
	}
}

func together(members []string) string {
	switch len(members) {
	case 0:
		return "has no member"
	case 1:
		return "has one member only, " + members[0]
	}
	last := len(members) - 1
	return strings.Join(members[:last], ", ") + " and " + members[last] + " are master together or not at all"
}

// An object is a tracked object in words.
type object struct {
	kind config.TrackKind
	name string
	text string
}

// objects describes all tracked objects.
func objects(cfg *config.Config) []object {
	var out []object
	for _, c := range cfg.Scripts {
		text := fmt.Sprintf("%s every %s as %s, %s", view.ShellWords(c.Argv), c.Interval, c.User, timing(c.Timing))
		if c.IgnoreUnrunnable {
			text += "; counts for nothing while it cannot be run"
		}
		out = append(out, object{config.TrackScript, c.Name, text})
	}
	for _, c := range cfg.Checks {
		out = append(out, object{config.TrackCheck, c.Name, fmt.Sprintf("every %s %s; %s", c.Interval, question(&c), timing(c.Timing))})
	}
	for _, c := range cfg.Processes {
		out = append(out, object{config.TrackProcess, c.Name, processText(&c)})
	}
	for _, c := range cfg.TrackedFiles {
		out = append(out, object{config.TrackFile, c.Name, "the number in " + c.Path})
	}
	return out
}

func timing(t config.Timing) string {
	s := "timeout " + t.Timeout.String()
	if t.Rise > 1 || t.Fall > 1 {
		s += fmt.Sprintf(", fails after %s in a row, recovers after %s", count(t.Fall, "failure"), count(t.Rise, "success"))
	}
	return s
}

// question says what a built-in check does.
func question(c *config.Check) string {
	switch {
	case c.TCP != nil:
		return "connects to " + c.TCP.Address
	case c.HTTP != nil:
		s := "asks " + c.HTTP.URL
		if len(c.HTTP.Status) > 0 {
			var codes []string
			for _, r := range c.HTTP.Status {
				code := fmt.Sprint(r.First)
				if r.Last != r.First {
					code += fmt.Sprintf("-%d", r.Last)
				}
				codes = append(codes, code)
			}
			s += " for status " + strings.Join(codes, ", ")
		}
		if c.HTTP.Body != nil {
			s += fmt.Sprintf(" with %q in the answer", c.HTTP.Body)
		}
		if strings.HasPrefix(c.HTTP.URL, "https:") && !c.HTTP.Verify {
			s += ", without looking at the certificate"
		}
		return s
	case c.DNS != nil:
		s := fmt.Sprintf("asks %s for %s %s", c.DNS.Server, c.DNS.Type, c.DNS.Name)
		if len(c.DNS.Expect) > 0 {
			s += ", expects " + strings.Join(c.DNS.Expect, " or ")
		}
		return s
	case c.ICMP != nil:
		s := "pings " + c.ICMP.Address.String()
		if !c.ICMP.Address.IsValid() {
			s = fmt.Sprintf("pings the IPv%d default gateway", c.ICMP.Family)
		}
		if c.ICMP.Interface != "" {
			s += " on " + c.ICMP.Interface
		}
		return s
	case c.SystemdUnit != nil:
		return "looks whether " + c.SystemdUnit.Unit + " is active"
	}
	return "looks at nothing"
}

func processText(c *config.Process) string {
	s := "process " + view.ShellWords(c.Argv)
	switch {
	case c.QuorumMax == c.Quorum:
		s += fmt.Sprintf(", exactly %d of them", c.Quorum)
	case c.QuorumMax >= 0 && c.QuorumMax != math.MaxInt:
		s += fmt.Sprintf(", %d to %d of them", c.Quorum, c.QuorumMax)
	case c.Quorum != 1:
		s += fmt.Sprintf(", at least %d of them", c.Quorum)
	}
	if c.ForkDelay > 0 {
		s += ", counts as up after " + c.ForkDelay.String()
	}
	if c.TerminateDelay > 0 {
		s += ", counts as down after " + c.TerminateDelay.String()
	}
	return s
}

// Which results effects are told of.
type results uint8

const (
	bothWays results = iota
	success
	failure
)

// effectsOf says what a tracked object means to the instances that track it.
func effectsOf(cfg *config.Config, kind config.TrackKind, name string, of results) []string {
	var out []string
	for i := range cfg.Instances {
		inst := &cfg.Instances[i]
		for j := range inst.Tracks {
			if t := &inst.Tracks[j]; t.Kind == kind && t.Name == name {
				if s := effect(inst, t, of); s != "" {
					out = append(out, s)
				}
			}
		}
	}
	if n := len(out) - maxEffects; n > 0 {
		out = append(out[:maxEffects], fmt.Sprintf("and so on for %s more", count(n, "instance")))
	}
	return out
}

// effect says what a tracked object means to one instance, alone and with the
// result of interest; nothing if that result changes nothing.
func effect(inst *config.Instance, t *config.Track, of results) string {
	if t.Kind == config.TrackFile {
		return fileEffect(inst, t)
	}
	// What counts: a failure, or with reverse a success; and with a weight
	// that does not fit that, the other one (keepalived: weight, reverse).
	counts, verb, to := failure, "lowers", 0
	weight := t.Weight
	switch {
	case weight == 0:
		if t.Reverse {
			counts = success
		}
	case weight > 0:
		counts = success
	}
	if t.Reverse {
		weight = -weight
	}
	if of != bothWays && of != counts {
		return ""
	}
	what := map[results]string{failure: "failure", success: "success"}[counts]
	if t.Kind == config.TrackProcess || t.Kind == config.TrackInterface {
		what = map[results]string{failure: "being down", success: "being up"}[counts]
	}
	switch {
	case weight == 0:
		return fmt.Sprintf("%s puts %s in fault", what, inst.Name)
	case inst.Priority == math.MaxUint8:
		return fmt.Sprintf("%s changes nothing for %s: it owns its addresses", what, inst.Name)
	case weight > 0:
		verb = "raises"
	}
	to = max(1, min(int(inst.Priority)+weight, 254))
	return fmt.Sprintf("%s %s %s from %d to %d", what, verb, inst.Name, inst.Priority, to)
}

func fileEffect(inst *config.Instance, t *config.Track) string {
	weight := t.Weight
	if t.Reverse {
		weight = -weight
	}
	switch {
	case weight == 0:
		return fmt.Sprintf("any number but 0 puts %s in fault", inst.Name)
	case inst.Priority == math.MaxUint8:
		return fmt.Sprintf("changes nothing for %s: it owns its addresses", inst.Name)
	case weight < 0:
		return fmt.Sprintf("times %d is taken from the priority of %s, %d", -weight, inst.Name, inst.Priority)
	}
	return fmt.Sprintf("times %d is added to the priority of %s, %d", weight, inst.Name, inst.Priority)
}
