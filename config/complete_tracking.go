package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vipd/vrrp"
)

// scripting resolves the part of global_defs about scripts, pipes and mail.
func (c *completer) scripting(out *Global) {
	g := &c.global
	out.ScriptSecurity = g.scriptSecurity.or(c.dialect.scriptSecurity)
	out.NotifyTimeout = g.notifyTimeout.or(30 * time.Second)
	out.StartupScript = c.command(g.startupScript, opt[rawUser]{})
	out.StartupScriptTimeout = g.startupTimeout.or(10 * time.Second)
	out.ShutdownScript = c.command(g.shutdownScript, opt[rawUser]{})
	out.ShutdownScriptTimeout = g.shutdownTimeout.or(10 * time.Second)
	for _, p := range []struct {
		key    string
		fifo   *FIFO
		script *rawCommand
	}{{"notify_fifo", g.fifo, g.fifoScript}, {"vrrp_notify_fifo", g.vrrpFIFO, g.vrrpFIFOScript}} {
		if p.fifo == nil {
			if n := c.globalSeen[p.key+"_script"]; n != nil && !n.bad && c.globalSeen[p.key] == nil {
				c.warn(n.pos, n, faultf("%s_script has no effect without %s", p.key, p.key))
			}
			continue
		}
		if len(out.NotifyFIFOs) > 0 && filepath.Clean(out.NotifyFIFOs[0].Path) == filepath.Clean(p.fifo.Path) {
			c.complain(c.globalSeen[p.key], faultf("%s is already the path of notify_fifo at %s", p.fifo.Path, out.NotifyFIFOs[0].Pos))
			continue
		}
		p.fifo.Script = c.command(p.script, opt[rawUser]{})
		out.NotifyFIFOs = append(out.NotifyFIFOs, *p.fifo)
	}
	c.mail(out)
	out.Dumps = Dumps{State: g.stateDump.v, Statistics: g.statsDump.v, JSON: g.jsonDump.v, JSONVersion: g.jsonVersion.or(1)}
}

// mail resolves how mail is sent.
func (c *completer) mail(out *Global) {
	g := &c.global
	to, server := c.globalSeen["notification_email"], c.globalSeen["smtp_server"]
	if len(g.mailTo) > 0 && g.smtpHost.set {
		out.Mail = &Mail{
			From: g.mailFrom.v, To: g.mailTo, Server: g.smtpHost.v, Port: g.smtpPort.or(25), Helo: g.helo.v,
			ConnectTimeout: g.smtpTimeout.or(30 * time.Second), NoFaults: g.noMailFaults.v,
		}
		return
	}
	// One warning, at the first keyword that asks for mail.
	missing := "notification_email"
	if len(g.mailTo) > 0 {
		missing = "smtp_server"
	}
	if to != nil && to.bad || server != nil && server.bad {
		return
	}
	var asked *node
	ask := func(n *node, on bool) {
		if n != nil && on && asked == nil {
			asked = n
		}
	}
	ask(c.globalSeen["smtp_alert"], g.smtpAlert.v)
	ask(c.globalSeen["smtp_alert_vrrp"], g.smtpAlertVRRP.v)
	for _, in := range c.insts {
		ask(in.seen["smtp_alert"], in.notify.smtpAlert.v)
	}
	for _, gr := range c.groups {
		ask(gr.seen["smtp_alert"], gr.notify.smtpAlert.v)
	}
	if asked != nil {
		c.warn(asked.valuePos(), asked, faultf("no mail is sent without %s in global_defs", missing))
	}
}

// command resolves who runs a command: the user that it names itself, else
// own, else script_user.
func (c *completer) command(r *rawCommand, own opt[rawUser]) *Command {
	if r == nil {
		return nil
	}
	u := rawUser{user: c.dialect.scriptUser}
	if u.user == "" {
		u.user = "root"
	}
	u = r.user.or(own.or(c.global.scriptUser.or(u)))
	out := &Command{Argv: r.argv, User: u.user, Group: u.group, Supplementary: u.supplementary || c.global.supplementary.v, Pos: r.pos}
	c.lintCommand(r, out)
	return out
}

// notify resolves the scripts that are run on a change of state.
func (c *completer) notify(r *rawNotify) Notify {
	var none opt[rawUser]
	return Notify{
		Master: c.command(r.master, none), Backup: c.command(r.backup, none), Fault: c.command(r.fault, none), Stop: c.command(r.stop, none),
		Deleted: c.command(r.deleted, none), MasterRxLowerPri: c.command(r.rxLowerPri, none), Any: c.command(r.any, none),
		ReportDeleted: r.reportDeleted.v,
	}
}

// smtpAlert resolves whether mail is sent.
func (c *completer) smtpAlert(r *rawNotify) bool {
	g := &c.global
	return r.smtpAlert.or(g.smtpAlertVRRP.or(g.smtpAlert.v))
}

// notification resolves the notification of an instance.
func (c *completer) notification(in *rawInstance, out *Instance) {
	out.Notify = c.notify(&in.notify)
	out.SMTPAlert = c.smtpAlert(&in.notify)
	inherited := c.global.notifyPriorityChanges
	if in.sync != nil && in.sync.notify.priorityChanges.set {
		inherited = in.sync.notify.priorityChanges
	}
	out.NotifyPriorityChanges = in.notify.priorityChanges.or(inherited.v)
}

// objectList resolves the tracked objects.
func (c *completer) objectList(out *Config) {
	for _, o := range c.objects {
		switch o.kind {
		case TrackScript:
			c.script(o, out)
		case TrackCheck:
			out.Checks = append(out.Checks, c.check(o))
		case TrackProcess:
			c.process(o, out)
		case TrackFile:
			if !o.path.set {
				c.drop(o, "file")
				if !c.dialect.strict {
					continue
				}
			}
			out.TrackedFiles = append(out.TrackedFiles, o.file(1))
		}
	}
}

// drop reports that an object lacks the keyword that says what it is, and takes
// it out: keepalived goes on without it.
func (c *completer) drop(o *rawObject, key string) {
	o.dropped = true
	if c.badIn(o, key) {
		return
	}
	f := faultf("%s is missing", key)
	if !c.dialect.strict {
		f.message += ": nothing is tracked"
	}
	c.complainAt(o.node.valuePos(), o.node, f)
}

// badIn reports whether the keyword was given wrongly, which alone keeps the
// object from working.
func (c *completer) badIn(o *rawObject, key string) bool {
	n := o.seen[key]
	return n != nil && n.bad
}

// timing resolves when results count.
func (c *completer) timing(o *rawObject) Timing {
	t := Timing{Interval: o.interval.or(time.Second), Rise: o.rise.or(1), Fall: o.fall.or(1)}
	t.Timeout = o.timeout.or(t.Interval)
	if t.Timeout > t.Interval && !c.badIn(o, "interval") {
		c.warn(o.timeout.pos, o.seen["timeout"], &fault{
			fmt.Sprintf("the timeout is longer than the interval (%s)", seconds(t.Interval)), "while a run is still going on, those that are due are skipped"})
	}
	return t
}

// script resolves a vrrp_script.
func (c *completer) script(o *rawObject, out *Config) {
	if o.command == nil {
		c.drop(o, "script")
		return
	}
	o.command.redirection()
	out.Scripts = append(out.Scripts, Script{
		Name: o.name, Pos: o.node.valuePos(), Command: *c.command(o.command, o.user), Timing: c.timing(o),
		Weight: o.weight.v, Reverse: o.reverse.v, IgnoreUnrunnable: o.ignore.v,
	})
}

// redirection has a shell run what is nothing but a redirection, as keepalived
// does: script "</path" succeeds if the file can be opened.
func (r *rawCommand) redirection() {
	first, ok := strings.CutPrefix(r.argv[0], "<")
	if !ok || !strings.HasPrefix(strings.TrimLeft(first, " \t"), "/") {
		return
	}
	line := r.argv[0]
	for _, a := range r.argv[1:] {
		line += " '" + a + "'"
	}
	r.argv, r.plain = []string{"/bin/sh", "-c", line}, nil
}

// file resolves a tracked file; def is its weight unless it has one.
func (o *rawObject) file(def int) TrackedFile {
	f := TrackedFile{Name: o.name, Pos: o.node.valuePos(), Path: o.path.v, Weight: o.weight.or(def), Reverse: o.reverse.v, InitOverwrite: o.overwrite}
	if o.init.set {
		f.Init = &o.init.v
	}
	return f
}

// process resolves a vrrp_track_process.
func (c *completer) process(o *rawObject, out *Config) {
	if o.command == nil {
		c.drop(o, "process")
		return
	}
	p := Process{
		Name: o.name, Pos: o.node.valuePos(), Argv: o.command.argv, Weight: o.weight.v, Reverse: o.reverse.v,
		QuorumMax: o.quorumMax.or(-1), FullCommand: o.fullCommand.v,
		ForkDelay: o.forkDelay.or(o.delay.v), TerminateDelay: o.terminateDelay.or(o.delay.v),
	}
	p.Quorum = o.quorum.or(1)
	if p.QuorumMax == 0 && !o.quorum.set {
		p.Quorum = 0 // there must be none
	}
	switch {
	case len(p.Argv) > 1:
		p.Match = o.match.or(ParamExact)
	case o.match.set && o.match.v != ParamExact:
		c.warn(o.match.pos, o.seen["param_match"], faultf("param_match has no effect: the process is given without arguments"))
	case o.match.set:
		p.Match = ParamExact
	}
	if o.quorum.set && p.QuorumMax >= 0 && p.Quorum > p.QuorumMax {
		c.complain(o.seen["quorum"], faultf("quorum %d is above quorum_max %d", p.Quorum, p.QuorumMax))
	}
	if p.Match == ParamNone && !p.FullCommand {
		c.lintProcessName(o.command)
	}
	out.Processes = append(out.Processes, p)
}

// checkKinds are the keywords that say what a vrrp_check does, each with those
// that belong to it.
func checkKinds() []checkKind {
	return []checkKind{
		{"tcp", nil},
		{"http", []string{"method", "host", "header", "status", "body", "tls_verify", "ca_file"}},
		{"dns", []string{"name", "type", "expect"}},
		{"icmp", []string{"interface"}},
		{"systemd_unit", nil},
	}
}

// A checkKind is one thing that a vrrp_check can do.
type checkKind struct {
	name string
	with []string
}

// check resolves a vrrp_check.
func (c *completer) check(o *rawObject) Check {
	out := Check{Name: o.name, Pos: o.node.valuePos(), Timing: c.timing(o), Weight: o.weight.v, Reverse: o.reverse.v}
	kind := c.kindOfCheck(o)
	if kind == "" {
		return out
	}
	for _, k := range checkKinds() {
		for _, key := range k.with {
			if n := o.seen[key]; n != nil && k.name != kind {
				c.complainAt(n.pos, n, &fault{fmt.Sprintf("%s belongs to %s, and this is a check by %s", key, k.name, kind), "leave it out, or make another vrrp_check"})
			}
		}
	}
	switch kind {
	case "tcp":
		out.TCP = &TCPCheck{Address: o.tcp.v}
	case "http":
		out.HTTP = &HTTPCheck{
			URL: o.url.v, Method: o.method.or("GET"), Host: o.host.v, Headers: o.headers, Status: o.status,
			Body: o.body.v, Verify: o.verify.or(true), CAFile: o.caFile.v,
		}
		c.lintHTTP(o, out.HTTP)
	case "dns":
		out.DNS = &DNSCheck{Server: o.dns.v, Name: o.question.v, Type: o.recordType.or("A"), Expect: o.expect}
		if o.seen["name"] == nil {
			c.fail(o.node.valuePos(), o.node, &fault{"name is missing", "the name to ask the server for"})
		}
	case "icmp":
		out.ICMP = &ICMPCheck{Address: o.icmp.v.addr, Family: o.icmp.v.family, Interface: o.iface.v}
		if a := out.ICMP.Address; a.IsValid() {
			out.ICMP.Family = 4
			if a.Is6() {
				out.ICMP.Family = 6
			}
			if a.Is6() && a.IsLinkLocalUnicast() && o.seen["interface"] == nil {
				c.fail(o.icmp.pos, o.seen["icmp"], faultf("a link-local address needs interface"))
			}
		}
	case "systemd_unit":
		out.SystemdUnit = &SystemdUnitCheck{Unit: o.unit.v}
	}
	return out
}

// kindOfCheck returns what a check does, or "" if that is not clear, which it
// reports.
func (c *completer) kindOfCheck(o *rawObject) string {
	kind := ""
	for _, k := range checkKinds() {
		n := o.seen[k.name]
		if n == nil {
			continue
		}
		if kind != "" {
			first := o.seen[kind]
			if before(n.pos, first.pos) {
				first, n = n, first
			}
			c.fail(n.pos, n, &fault{fmt.Sprintf("this is already a check by %s, at %s", first.key, first.pos), "make another vrrp_check, and track both"})
			return ""
		}
		kind = k.name
	}
	if kind == "" {
		c.fail(o.node.valuePos(), o.node, faultf("it does not say what to check: tcp, http, dns, icmp or systemd_unit"))
	}
	return kind
}

// groupList resolves the members of sync groups, before the instances.
func (c *completer) groupList() {
	for _, g := range c.groups {
		n := g.seen["group"]
		if g.list != nil {
			n = g.list
		}
		for _, w := range g.names {
			at := n
			for _, child := range n.children {
				if child.pos == w.pos {
					at = child
				}
			}
			in := c.byName[w.text]
			switch {
			case in == nil && c.lost[w.text] && !c.dialect.strict:
				n.bad = true // and that has been said
			case in == nil:
				f := faultf("there is no vrrp_instance %s", w.text)
				if near := nearest(w.text, slices.Sorted(maps.Keys(c.byName))); near != "" {
					f.hint = "did you mean " + near + "?"
				}
				n.bad = true
				c.complainAt(w.pos, at, f)
			case in.sync == g:
				c.complainAt(w.pos, at, faultf("%s is given twice", w.text))
			case in.sync != nil:
				n.bad = true
				c.complainAt(w.pos, at, faultf("%s is already a member of vrrp_sync_group %s at %s", w.text, in.sync.name, in.sync.node.valuePos()))
			default:
				in.sync = g
				g.members = append(g.members, in)
			}
		}
		switch {
		case len(g.members) == 0 && (n == nil || !n.bad):
			c.complainAt(g.node.valuePos(), g.node, &fault{"there is no member", "list the instances in group"})
		case len(g.members) == 1 && !n.bad:
			c.warn(g.members[0].posIn(g), n, faultf("a sync group of one instance does nothing that the instance does not do"))
		}
		if g.globalTracking.set {
			at := g.seen["global_tracking"]
			c.warn(at.pos, at, &fault{"global_tracking is deprecated", "it is another name of sync_group_tracking_weight"})
		}
	}
}

// posIn returns the position at which the instance is made a member.
func (in *rawInstance) posIn(g *rawGroup) Pos {
	for _, w := range g.names {
		if w.text == in.node.args[0].text {
			return w.pos
		}
	}
	return g.node.pos
}

// leaveGroupsOut leaves out the instances that are in a group with one that is
// left out: they are meant to be master together or not at all.
func (c *completer) leaveGroupsOut(out *Config) {
	for _, g := range c.groups {
		lost := ""
		for _, w := range g.names {
			if slices.ContainsFunc(out.LeftOut, func(l LeftOut) bool { return l.Name == w.text }) {
				lost = w.text
				break
			}
		}
		if lost == "" {
			continue
		}
		f := faultf("%s is in vrrp_sync_group %s and cannot run, so the other members do not run either", lost, g.name)
		before := len(out.LeftOut)
		for _, m := range g.members {
			i := slices.IndexFunc(out.Instances, func(in Instance) bool { return in.Name == m.node.args[0].text })
			if i < 0 {
				continue
			}
			in := &out.Instances[i]
			out.LeftOut = append(out.LeftOut, LeftOut{Name: in.Name, Pos: in.Pos, Reason: f.message})
			out.Instances = slices.Delete(out.Instances, i, i+1)
		}
		if len(out.LeftOut) > before {
			c.add(g.node.valuePos(), Error, g.node.path(), f)
			c.leavable++
		}
	}
}

// groupsOut resolves what concerns sync groups as a whole, after the instances.
func (c *completer) groupsOut(out *Config) {
	index := make(map[string]*Instance, len(out.Instances))
	for i := range out.Instances {
		index[out.Instances[i].Name] = &out.Instances[i]
	}
	for _, g := range c.groups {
		if len(g.members) == 0 {
			continue
		}
		sg := SyncGroup{
			Name: g.name, Pos: g.node.valuePos(), Notify: c.notify(&g.notify), TrackingWeight: g.weights(),
			NotifyPriorityChanges: g.notify.priorityChanges.or(c.global.notifyPriorityChanges.v), SMTPAlert: c.smtpAlert(&g.notify),
		}
		owners := 0
		for _, m := range g.members {
			in := index[m.node.args[0].text]
			if in == nil { // left out
				continue
			}
			sg.Members = append(sg.Members, in.Name)
			if in.Priority == vrrp.PriorityOwner {
				owners++
			}
		}
		if len(sg.Members) == 0 {
			continue
		}
		if owners > 0 && owners < len(sg.Members) {
			n := g.list
			c.warn(n.pos, n, &fault{"some members have priority 255, the owner's, and some do not: this will not work", "the others cannot become master when an owner does; give all the same priority"})
			for _, name := range sg.Members { // as keepalived does
				index[name].StartMaster = false
			}
		}
		out.SyncGroups = append(out.SyncGroups, sg)
	}
}

// weights reports whether members may have weights of their own.
func (g *rawGroup) weights() bool { return g.trackingWeight.v || g.globalTracking.v }

// tracking resolves what an instance tracks.
func (c *completer) tracking(in *rawInstance, out *Instance) {
	for i := range in.tracks {
		c.reference(in, out, &in.tracks[i], nil)
	}
	if in.sync != nil {
		out.SyncGroup = in.sync.name
		for i := range in.sync.tracks {
			c.reference(in, out, &in.sync.tracks[i], in.sync)
		}
	}
	for _, list := range [][]Address{out.Addresses, out.Excluded} {
		for _, a := range list {
			if a.Interface != out.Interface && !a.NoTrack && !slices.Contains(out.TrackInterfaces, a.Interface) {
				out.TrackInterfaces = append(out.TrackInterfaces, a.Interface)
			}
		}
	}
	c.lintWeights(in, out)
}

// reference resolves one tracked object of an instance, or of its group.
func (c *completer) reference(in *rawInstance, out *Instance, t *rawTrack, g *rawGroup) {
	tr := Track{Kind: t.kind, Name: t.name, Weight: t.weight.v, Reverse: t.reverse.v, Pos: t.node.pos}
	first := true // of the members: what is wrong with the group's line is said once
	if g != nil {
		tr.Group = g.name
		first = in == g.members[0]
	}
	if t.kind == TrackInterface {
		if t.name == out.Interface {
			if g == nil {
				c.warn(t.node.pos, t.node, faultf("%s is the instance's own interface, which is tracked anyway", t.name))
			}
			return
		}
	} else {
		o := c.object(t, first)
		if o == nil {
			return
		}
		def := 0
		if o.kind == TrackFile {
			def = 1
		}
		if !t.weight.set {
			tr.Weight = o.weight.or(def)
		}
		if !t.reverse.set {
			tr.Reverse = o.reverse.v
		}
	}
	if g == nil {
		c.lines[tr.Pos] = t.node
	}
	if g == nil && !c.ownWeight(in, out, t, &tr) || g != nil && !c.groupWeight(g, t, &tr, first) {
		return
	}
	if g != nil {
		// As in keepalived: one reference, with the weight of the group unless
		// that of the instance is 0.
		for i := range out.Tracks {
			if o := &out.Tracks[i]; o.Kind == tr.Kind && o.Name == tr.Name {
				c.warn(o.Pos, c.line(o, in), &fault{fmt.Sprintf("%s is tracked by the instance and by its group %s, at %s", tr.Name, g.name, tr.Pos), "remove one of them"})
				if o.Weight != 0 {
					o.Weight = tr.Weight
				}
				return
			}
		}
	}
	if tr.Kind == TrackInterface && tr.Weight == 0 && !tr.Reverse {
		if !slices.Contains(out.TrackInterfaces, tr.Name) {
			out.TrackInterfaces = append(out.TrackInterfaces, tr.Name)
		}
		return
	}
	out.Tracks = append(out.Tracks, tr)
}

// object returns the object that a line means, or nil. Only with say set does
// it report that there is none.
func (c *completer) object(t *rawTrack, say bool) *rawObject {
	if o := c.objectsByKey[objectKey{t.kind, t.name}]; o != nil {
		o.used = true
		if o.dropped {
			return nil // and that has been said
		}
		if t.early && c.dialect.keepalived {
			if say {
				c.complainAt(t.node.pos, t.node, &fault{fmt.Sprintf("%s is defined only after this, at %s: it is ignored, as in keepalived", t.name, o.node.pos), "define it before the instances and groups that track it"})
			}
			return nil
		}
		return o
	}
	if !say {
		return nil
	}
	if c.lost[t.name] && !c.dialect.strict {
		return nil // its keyword is wrong, and that has been said
	}
	f := faultf("there is no %s %s", t.kind.block(), t.name)
	var names []string
	for _, o := range c.objects {
		switch {
		case o.name == t.name:
			o.used = true // that much is clear
			c.complainAt(t.node.pos, t.node, &fault{f.message, fmt.Sprintf("there is a %s of that name: use track_%s", o.node.key, o.kind)})
			return nil
		case o.kind == t.kind:
			names = append(names, o.name)
		}
	}
	if near := nearest(t.name, names); near != "" {
		f.hint = "did you mean " + near + "?"
		c.objectsByKey[objectKey{t.kind, near}].used = true
	}
	c.complainAt(t.node.pos, t.node, f)
	return nil
}

// ownWeight takes away a weight that cannot count, as keepalived does
// (vrrp_complete_instance); false takes away the reference.
func (c *completer) ownWeight(in *rawInstance, out *Instance, t *rawTrack, tr *Track) bool {
	owner := out.Priority == vrrp.PriorityOwner
	if tr.Weight == 0 || !owner && (in.sync == nil || in.sync.weights()) {
		return true
	}
	why := &fault{"the priority of an owner (255) never changes", ""}
	if !owner {
		why = &fault{"members of a sync group have one priority", "or set sync_group_tracking_weight in vrrp_sync_group " + in.sync.name}
	}
	pos := t.node.pos
	if t.weight.set {
		pos = t.weight.pos
	}
	why.message = fmt.Sprintf("weight %d has no effect: %s", tr.Weight, why.message)
	keep := tr.Kind == TrackInterface && !owner || tr.Kind == TrackFile && tr.Weight == 1
	hint := "with weight 0 its failure is a fault"
	if keep {
		tr.Weight = 0
		why.message += ", so 0 is used"
	} else {
		why.message += ", so it is not tracked"
	}
	if why.hint != "" {
		hint += "; " + why.hint
	}
	why.hint = hint
	c.warn(pos, t.node, why)
	return keep
}

// groupWeight takes away a weight of a group with an owner in it.
func (c *completer) groupWeight(g *rawGroup, t *rawTrack, tr *Track, say bool) bool {
	if tr.Weight == 0 || !slices.ContainsFunc(g.members, func(in *rawInstance) bool {
		return in.priority.or(vrrp.PriorityDefault) == vrrp.PriorityOwner || in.master.v && !in.has("priority")
	}) {
		return true
	}
	if say {
		pos := t.node.pos
		if t.weight.set {
			pos = t.weight.pos
		}
		c.warn(pos, t.node, &fault{fmt.Sprintf("weight %d has no effect: a member of the group is an owner (255), whose priority never changes, so 0 is used", tr.Weight), "with weight 0 its failure is a fault"})
	}
	tr.Weight = 0
	return true
}
