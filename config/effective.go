package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vipd/vrrp"
)

// A Setting is a keyword with the value that is in force, and where that comes
// from. A list has one for each of its lines.
type Setting struct {
	Keyword string `json:"keyword"`
	Value   string `json:"value"`
	Origin  string `json:"origin"` // file:line, or default
}

// An EffectiveBlock is a block of a configuration with all of its settings.
type EffectiveBlock struct {
	Keyword  string    `json:"keyword"`
	Name     string    `json:"name,omitempty"`
	Origin   string    `json:"origin"`
	Settings []Setting `json:"settings"`
}

// Effective reads a configuration and returns all that is in force: each keyword
// of each block with its value, given or not. Passwords are masked. The result
// is nil if the configuration cannot run.
func Effective(path string, o Options) ([]EffectiveBlock, Diagnostics) {
	src, r := readSource(path, o)
	if src == nil || src.cfg == nil {
		return nil, r.sorted()
	}
	return src.effective(), r.sorted()
}

// effective lists all that is in force.
func (src *source) effective() []EffectiveBlock {
	e := &effects{decoder: src.dec, cfg: src.cfg}
	e.globals()
	for _, in := range e.insts {
		for i := range e.cfg.Instances {
			if e.cfg.Instances[i].Name == in.node.args[0].text {
				e.instance(in, &e.cfg.Instances[i])
			}
		}
	}
	for _, g := range e.groups {
		for i := range e.cfg.SyncGroups {
			if e.cfg.SyncGroups[i].Name == g.name {
				e.group(g, &e.cfg.SyncGroups[i])
			}
		}
	}
	for _, o := range e.objects {
		if !o.dropped {
			e.object(o)
		}
	}
	return e.out
}

// effects collects settings.
type effects struct {
	*decoder
	cfg *Config
	out []EffectiveBlock
}

// An origin is where a value may come from.
type origin struct {
	set  bool
	text string
}

// line says where something was written.
func line(p Pos) string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// from is the origin of a value that was given.
func from[T any](o opt[T]) origin { return origin{o.set, line(o.pos)} }

// via is the origin of a value that another keyword has given.
func via[T any](o opt[T], keyword string) origin {
	if o.pos.File == "" {
		return origin{o.set, keyword}
	}
	return origin{o.set, keyword + ", " + line(o.pos)}
}

// because is an origin in words.
func because(is bool, why string) origin { return origin{is, why} }

// begin begins a block.
func (e *effects) begin(keyword, name string, n *node) {
	at := "default"
	if n != nil {
		at = line(n.pos)
	}
	e.out = append(e.out, EffectiveBlock{Keyword: keyword, Name: name, Origin: at})
}

// add adds a setting with the first of the origins that there is.
func (e *effects) add(keyword, value string, origins ...origin) {
	s := Setting{Keyword: keyword, Value: visible(value), Origin: "default"}
	for _, o := range origins {
		if o.set {
			s.Origin = o.text
			break
		}
	}
	b := &e.out[len(e.out)-1]
	b.Settings = append(b.Settings, s)
}

// orNone returns a text, or what stands for none.
func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// text adds a text.
func (e *effects) text(keyword string, o opt[string], def string) { e.add(keyword, o.or(def), from(o)) }

// flag adds a flag.
func (e *effects) flag(keyword string, on bool, origins ...origin) {
	e.add(keyword, strconv.FormatBool(on), origins...)
}

// number adds a number.
func (e *effects) number(keyword string, n int, origins ...origin) {
	e.add(keyword, strconv.Itoa(n), origins...)
}

// span adds a duration.
func (e *effects) span(keyword string, d time.Duration, origins ...origin) {
	e.add(keyword, durationText(d), origins...)
}

// command adds a command with who runs it.
func (e *effects) command(keyword string, r *rawCommand, c *Command) {
	if r == nil || c == nil {
		e.add(keyword, "none")
		return
	}
	text, _ := joinCommand(c.Argv)
	text += " (as " + c.User
	if c.Group != "" {
		text += ", group " + c.Group
	}
	if c.Supplementary {
		text += ", with its other groups"
	}
	e.add(keyword, text+")", origin{true, line(r.node.pos)})
}

// userText names who runs scripts.
func userText(u rawUser) string { return strings.Join(userWords(u), " ") }

// globals lists what is in force for the daemon as a whole.
func (e *effects) globals() {
	g, c := &e.global, &e.cfg.Global
	var at *node
	for _, n := range e.globalSeen {
		if at == nil || before(n.parent.pos, at.pos) {
			at = n.parent
		}
	}
	e.begin("global_defs", "", at)
	e.text("router_id", g.routerID, "the host name")
	e.add("vrrp_version", versionText(g.version.or(e.dialect.version)), from(g.version))
	e.add("vrrp_mcast_group4", g.group4.or(vrrp.IPv4.Group()).String(), from(g.group4))
	e.add("vrrp_mcast_group6", g.group6.or(vrrp.IPv6.Group()).String(), from(g.group6))
	e.garp("vrrp_", e.globalGARP(), &g.garp, nil)
	e.span("vrrp_garp_interval", c.GARPInterval, from(g.garpInterval))
	e.span("vrrp_gna_interval", c.GNAInterval, from(g.gnaInterval))
	e.flag("vrrp_min_garp", g.minGARP.v, from(g.minGARP))
	e.number("vrrp_down_timer_adverts", g.downTimerAdverts.or(3), from(g.downTimerAdverts))
	e.flag("vrrp_lower_prio_no_advert", g.lowerPrioNoAdvert.v, from(g.lowerPrioNoAdvert))
	e.flag("vrrp_higher_prio_send_advert", g.higherPrioSendAdvert.or(true), from(g.higherPrioSendAdvert))
	e.flag("vrrp_check_unicast_src", g.checkUnicastSrc.or(e.dialect.checkUnicastSrc), from(g.checkUnicastSrc))
	e.flag("vrrp_skip_check_adv_addr", g.skipCheckAdvAddr.v, from(g.skipCheckAdvAddr))
	e.span("vrrp_startup_delay", c.StartupDelay, from(g.startupDelay))
	e.flag("log_unknown_vrids", c.LogUnknownVRIDs, from(g.logUnknownVRIDs))
	e.flag("v3_checksum_as_v2", g.checksumAsV2.v, from(g.checksumAsV2))
	rt := "none"
	if g.rtPriority.set {
		rt = strconv.Itoa(c.RTPriority)
	}
	e.add("vrrp_rt_priority", rt, from(g.rtPriority))
	e.number("vrrp_priority", c.Nice, from(g.nice))
	e.text("default_interface", g.defaultInterface, "eth0")
	e.ownership(&g.own, nil, g.own.lease.v, g.own.handover.or(true), g.own.holdOnMismatch.or(true), g.own.resignOnLoss.v)
	e.add("script_user", userText(g.scriptUser.or(rawUser{user: e.dialect.scriptUser})), from(g.scriptUser))
	e.flag("enable_script_security", c.ScriptSecurity, from(g.scriptSecurity))
	e.flag("set_supplementary_groups", g.supplementary.v, from(g.supplementary))
	e.span("notify_timeout", c.NotifyTimeout, from(g.notifyTimeout))
	e.flag("vrrp_notify_priority_changes", g.notifyPriorityChanges.v, from(g.notifyPriorityChanges))
	for _, f := range []struct {
		key    string
		fifo   *FIFO
		script *rawCommand
	}{{"notify_fifo", g.fifo, g.fifoScript}, {"vrrp_notify_fifo", g.vrrpFIFO, g.vrrpFIFOScript}} {
		k := -1
		if f.fifo != nil {
			k = slices.IndexFunc(c.NotifyFIFOs, func(o FIFO) bool { return o.Path == f.fifo.Path && o.Pos == f.fifo.Pos })
		}
		if k < 0 {
			e.add(f.key, "none")
			continue
		}
		o := &c.NotifyFIFOs[k]
		e.add(f.key, strings.TrimSpace(o.Path+" "+o.User+" "+o.Group), origin{true, line(o.Pos)})
		e.command(f.key+"_script", f.script, o.Script)
	}
	e.command("startup_script", g.startupScript, c.StartupScript)
	e.span("startup_script_timeout", c.StartupScriptTimeout, from(g.startupTimeout))
	e.command("shutdown_script", g.shutdownScript, c.ShutdownScript)
	e.span("shutdown_script_timeout", c.ShutdownScriptTimeout, from(g.shutdownTimeout))
	e.texts("notification_email", g.mailTo, e.globalSeen)
	e.text("notification_email_from", g.mailFrom, "vipd at the host's name")
	server := "none"
	if g.smtpHost.set {
		server = g.smtpHost.v + " " + strconv.Itoa(g.smtpPort.or(25))
	}
	e.add("smtp_server", server, from(g.smtpHost))
	e.text("smtp_helo_name", g.helo, "the host name")
	e.span("smtp_connect_timeout", g.smtpTimeout.or(30*time.Second), from(g.smtpTimeout))
	e.flag("smtp_alert", g.smtpAlert.v, from(g.smtpAlert))
	e.flag("smtp_alert_vrrp", g.smtpAlertVRRP.or(g.smtpAlert.v), from(g.smtpAlertVRRP), via(g.smtpAlert, "smtp_alert"))
	e.flag("no_email_faults", g.noMailFaults.v, from(g.noMailFaults))
	e.text("state_dump_file", g.stateDump, "keepalived.data in $TMPDIR or /tmp")
	e.text("stats_dump_file", g.statsDump, "keepalived.stats in $TMPDIR or /tmp")
	e.text("json_dump_file", g.jsonDump, "keepalived.json in $TMPDIR or /tmp")
	e.number("json_version", g.jsonVersion.or(1), from(g.jsonVersion))
}

// texts adds a list of texts.
func (e *effects) texts(keyword string, texts []string, seen map[string]*node) {
	for _, t := range texts {
		e.add(keyword, t, origin{true, line(seen[keyword].pos)})
	}
	if len(texts) == 0 {
		e.add(keyword, "none")
	}
}

// garp adds the keywords about announcements. up holds those of global_defs, and
// is nil in global_defs.
func (e *effects) garp(prefix string, g GARP, own, up *rawGARP) {
	least := e.global.minGARP
	type value struct {
		key, text string
		origins   []origin
	}
	in := ""
	if up == nil {
		up = &rawGARP{}
	} else {
		in = " in global_defs"
	}
	minimum := via(opt[bool]{pos: least.pos, set: least.v}, "vrrp_min_garp"+in)
	for _, v := range []value{
		{"garp_master_delay", durationText(g.MasterDelay), []origin{from(own.masterDelay), via(up.masterDelay, "vrrp_garp_master_delay"+in), minimum}},
		{"garp_master_repeat", strconv.Itoa(g.MasterRepeat), []origin{from(own.masterRepeat), via(up.masterRepeat, "vrrp_garp_master_repeat"+in), minimum}},
		{"garp_master_refresh", durationText(g.Refresh), []origin{from(own.refresh), via(up.refresh, "vrrp_garp_master_refresh"+in), minimum}},
		{"garp_master_refresh_repeat", strconv.Itoa(g.RefreshRepeat), []origin{from(own.refreshRepeat), via(up.refreshRepeat, "vrrp_garp_master_refresh_repeat"+in)}},
		{"garp_lower_prio_delay", durationText(g.LowerPrioDelay), []origin{from(own.lowerPrioDelay), via(up.lowerPrioDelay, "vrrp_garp_lower_prio_delay"+in), via(e.global.garp.masterDelay, "vrrp_garp_master_delay"+in), minimum}},
		{"garp_lower_prio_repeat", strconv.Itoa(g.LowerPrioRepeat), []origin{from(own.lowerPrioRepeat), via(up.lowerPrioRepeat, "vrrp_garp_lower_prio_repeat"+in), via(e.global.garp.masterRepeat, "vrrp_garp_master_repeat"+in), minimum}},
	} {
		e.add(prefix+v.key, v.text, v.origins...)
	}
}

// ownership adds the keywords about who has the addresses when. up holds those of
// global_defs, and is nil in global_defs.
func (e *effects) ownership(own, up *rawOwnership, lease Lease, handover, hold, resign bool) {
	if up == nil {
		up = &rawOwnership{}
	}
	given, inherited := own.lease, up.lease
	if given.set && given.v != lease || !given.set && inherited.set && inherited.v != lease {
		given, inherited = opt[Lease]{}, opt[Lease]{} // it was not fit
	}
	e.add("vip_lease", leaseText(lease), from(given), via(inherited, "vip_lease in global_defs"))
	e.flag("handover", handover, from(own.handover), via(up.handover, "handover in global_defs"))
	e.flag("hold_on_mismatch", hold, from(own.holdOnMismatch), via(up.holdOnMismatch, "hold_on_mismatch in global_defs"))
	e.add("on_address_loss", addressLossText(resign), from(own.resignOnLoss), via(up.resignOnLoss, "on_address_loss in global_defs"))
}

// instance lists what is in force for an instance.
func (e *effects) instance(in *rawInstance, out *Instance) {
	g := &e.global
	e.begin("vrrp_instance", out.Name, in.node)
	isStrict := e.dialect.keepalived && in.strict.or(g.strict.v)
	strict := because(isStrict, "strict mode")
	owner := out.Priority == vrrp.PriorityOwner
	changedByStrict := because(isStrict && out.StartMaster != in.master.or(owner), "strict mode")
	e.add("state", stateText(out.StartMaster), changedByStrict, from(in.master), because(owner, "priority 255"))
	e.add("interface", orNone(out.Interface), from(in.iface))
	e.number("virtual_router_id", int(out.VRID), from(in.vrid))
	e.number("priority", int(out.Priority), from(in.priority), via(opt[bool]{pos: in.master.pos, set: in.master.v}, "state MASTER"))
	advert := line(in.advertInt.pos)
	if in.advertInt.set && in.advertInt.v != out.AdvertInterval {
		advert += ", rounded from " + durationText(in.advertInt.v)
	}
	e.span("advert_int", out.AdvertInterval, origin{in.advertInt.set, advert})
	e.add("version", versionText(out.Version), because(out.Family == vrrp.IPv6, "IPv6 has no other"), from(in.version), via(g.version, "vrrp_version in global_defs"))
	e.addresses("virtual_ipaddress", out.Addresses)
	e.addresses("virtual_ipaddress_excluded", out.Excluded)
	if out.AuthType != vrrp.AuthNone {
		e.add("auth_type", "PASS", from(in.authType))
		e.add("auth_pass", "********", from(in.authPass))
	} else {
		why := because(in.auth != nil, "")
		if in.auth != nil {
			why.text = line(in.auth.pos) + ", without effect"
		}
		e.add("auth_type", "none", why)
	}
	e.transport(in, out)
	cleared := because(out.Preempt && (in.noPreempt.v || in.preempt.set && !in.preempt.v), "cleared by state MASTER")
	if owner {
		cleared.text = "cleared by priority 255"
	}
	e.flag("nopreempt", !out.Preempt, cleared, from(in.noPreempt), from(in.preempt))
	e.span("preempt_delay", out.PreemptDelay, because(in.preemptDelay.v != out.PreemptDelay, line(in.preemptDelay.pos)+", without effect"), from(in.preemptDelay))
	e.number("down_timer_adverts", out.DownTimerAdverts, from(in.downTimerAdverts), via(g.downTimerAdverts, "vrrp_down_timer_adverts in global_defs"))
	own := in.garp
	if isStrict {
		own.lowerPrioDelay, own.lowerPrioRepeat = opt[time.Duration]{}, opt[int]{}
	}
	k := len(e.out[len(e.out)-1].Settings)
	e.garp("", out.GARP, &own, &g.garp)
	if isStrict {
		for i := k + 4; i < k+6; i++ {
			e.out[len(e.out)-1].Settings[i].Origin = strict.text
		}
	}
	e.flag("lower_prio_no_advert", out.LowerPrioNoAdvert, strict, from(in.lowerPrioNoAdvert), via(g.lowerPrioNoAdvert, "vrrp_lower_prio_no_advert in global_defs"))
	e.flag("higher_prio_send_advert", out.HigherPrioSendAdvert, strict, from(in.higherPrioSendAdvert), via(g.higherPrioSendAdvert, "vrrp_higher_prio_send_advert in global_defs"))
	e.flag("skip_check_adv_addr", out.SkipCheckAdvAddr, from(in.skipCheckAdvAddr), via(g.skipCheckAdvAddr, "vrrp_skip_check_adv_addr in global_defs"))
	e.flag("v3_checksum_as_v2", out.Checksum == vrrp.ChecksumPlain, from(in.checksumAsV2), via(g.checksumAsV2, "v3_checksum_as_v2 in global_defs"))
	e.flag("dont_track_primary", out.DontTrackPrimary, from(in.dontTrackPrimary))
	e.ownership(&in.own, &g.own, out.VIPLease, out.Handover, out.HoldOnMismatch, out.ResignOnLoss)
	e.tracks(in, out)
	e.add("vrrp_sync_group", orNone(out.SyncGroup), e.memberOf(in))
	e.notify(&in.notify, &out.Notify)
	if out.Notify.Deleted != nil {
		e.command("notify_deleted", in.notify.deleted, out.Notify.Deleted)
	} else {
		e.flag("notify_deleted", out.Notify.ReportDeleted, from(in.notify.reportDeleted))
	}
	e.command("notify_master_rx_lower_pri", in.notify.rxLowerPri, out.Notify.MasterRxLowerPri)
	inherited := via(g.notifyPriorityChanges, "vrrp_notify_priority_changes in global_defs")
	if in.sync != nil && in.sync.notify.priorityChanges.set {
		inherited = via(in.sync.notify.priorityChanges, "vrrp_sync_group "+in.sync.name)
	}
	e.flag("notify_priority_changes", out.NotifyPriorityChanges, from(in.notify.priorityChanges), inherited)
	e.smtpAlert(out.SMTPAlert, &in.notify)
}

// memberOf is where the instance was made a member of its sync group.
func (e *effects) memberOf(in *rawInstance) origin {
	if in.sync == nil {
		return origin{}
	}
	return origin{true, line(in.posIn(in.sync))}
}

// addresses adds a list of addresses.
func (e *effects) addresses(keyword string, list []Address) {
	for i := range list {
		e.add(keyword, strings.Join(addressWords(&list[i]), " "), origin{true, line(list[i].Pos)})
	}
	if len(list) == 0 {
		e.add(keyword, "none")
	}
}

// transport adds how and from where adverts are sent.
func (e *effects) transport(in *rawInstance, out *Instance) {
	g := &e.global
	source := "the primary address of " + out.Interface
	if out.SourceIP.IsValid() {
		source = out.SourceIP.String()
	}
	src := in.unicastSrc
	if in.mcastSrc.set && in.mcastSrc.v == out.SourceIP && !(src.set && src.v == out.SourceIP) {
		src = in.mcastSrc
	}
	at := because(out.SourceIP.IsValid(), line(src.pos))
	if len(out.Peers) == 0 {
		group, keyword := g.group4, "vrrp_mcast_group4"
		if out.Family == vrrp.IPv6 {
			group, keyword = g.group6, "vrrp_mcast_group6"
		}
		e.add("mcast_src_ip", source, at)
		e.add("mcast_dst_ip", out.Group.String(), origin{in.group.set && in.group.v == out.Group, line(in.group.pos)}, via(group, keyword+" in global_defs"))
	} else {
		k := 0
		for _, p := range in.peers {
			if k < len(out.Peers) && p.Peer == out.Peers[k] {
				k++
				e.add("unicast_peer", peerText(p.Peer), origin{true, line(p.node.pos)})
			}
		}
		e.add("unicast_src_ip", source, at)
		e.number("unicast_ttl", out.TTL, from(in.unicastTTL))
		implied := because(out.CheckUnicastSource && slices.ContainsFunc(out.Peers, func(p Peer) bool { return p.MinTTL >= 0 || p.MaxTTL >= 0 }), "min_ttl or max_ttl of a peer")
		e.flag("check_unicast_src", out.CheckUnicastSource, implied, from(in.checkUnicastSrc), via(g.checkUnicastSrc, "vrrp_check_unicast_src in global_defs"))
	}
	e.flag("track_src_ip", out.TrackSourceIP, from(in.trackSrc))
}

// peerText is the line of a peer.
func peerText(p Peer) string {
	text := p.Addr.String()
	if p.MinTTL >= 0 {
		text += " min_ttl " + strconv.Itoa(p.MinTTL)
	}
	if p.MaxTTL >= 0 {
		text += " max_ttl " + strconv.Itoa(p.MaxTTL)
	}
	return text
}

// tracks adds what an instance tracks.
func (e *effects) tracks(in *rawInstance, out *Instance) {
	for _, name := range out.TrackInterfaces {
		why := origin{true, "an address is on it"}
		lists := []rawTracks{in.tracks}
		if in.sync != nil {
			lists = append(lists, in.sync.tracks)
		}
		for i, l := range lists {
			for _, t := range l {
				if t.kind == TrackInterface && t.name == name && why.text == "an address is on it" {
					why.text = line(t.node.pos)
					if i > 0 {
						why.text += ", vrrp_sync_group " + in.sync.name
					}
				}
			}
		}
		e.add("track_interface", name+" weight 0", why)
	}
	for _, t := range out.Tracks {
		text := t.Name + " weight " + strconv.Itoa(t.Weight)
		if t.Reverse {
			text += " reverse"
		}
		why := line(t.Pos)
		if t.Group != "" {
			why += ", vrrp_sync_group " + t.Group
		}
		if o := e.objectsByKey[objectKey{t.Kind, t.Name}]; o != nil && o.weight.set && !e.hasWeight(in, &t) {
			why += "; weight from " + line(o.weight.pos)
		}
		e.add("track_"+t.Kind.String(), text, origin{true, why})
	}
	if len(out.TrackInterfaces)+len(out.Tracks) == 0 {
		e.add("track_interface", "none")
	}
}

// hasWeight reports whether the line of a tracked object has a weight itself.
func (e *effects) hasWeight(in *rawInstance, t *Track) bool {
	list := in.tracks
	if t.Group != "" && in.sync != nil {
		list = in.sync.tracks
	}
	return slices.ContainsFunc(list, func(r rawTrack) bool { return r.kind == t.Kind && r.name == t.Name && r.weight.set })
}

// notify adds the scripts of an instance or a group.
func (e *effects) notify(r *rawNotify, n *Notify) {
	e.command("notify_master", r.master, n.Master)
	e.command("notify_backup", r.backup, n.Backup)
	e.command("notify_fault", r.fault, n.Fault)
	e.command("notify_stop", r.stop, n.Stop)
	e.command("notify", r.any, n.Any)
}

// smtpAlert adds whether mail is sent.
func (e *effects) smtpAlert(on bool, r *rawNotify) {
	e.flag("smtp_alert", on, from(r.smtpAlert), via(e.global.smtpAlertVRRP, "smtp_alert_vrrp in global_defs"), via(e.global.smtpAlert, "smtp_alert in global_defs"))
}

// group lists what is in force for a sync group.
func (e *effects) group(g *rawGroup, out *SyncGroup) {
	e.begin("vrrp_sync_group", out.Name, g.node)
	for _, m := range g.members {
		if slices.Contains(out.Members, m.node.args[0].text) {
			e.add("group", m.node.args[0].text, e.memberOf(m))
		}
	}
	e.flag("sync_group_tracking_weight", out.TrackingWeight, from(g.trackingWeight), via(g.globalTracking, "global_tracking"))
	e.notify(&g.notify, &out.Notify)
	e.flag("notify_priority_changes", out.NotifyPriorityChanges, from(g.notify.priorityChanges), via(e.global.notifyPriorityChanges, "vrrp_notify_priority_changes in global_defs"))
	e.smtpAlert(out.SMTPAlert, &g.notify)
}

// timing adds when results count.
func (e *effects) timing(o *rawObject, t Timing) {
	e.span("interval", t.Interval, from(o.interval))
	e.span("timeout", t.Timeout, from(o.timeout), via(o.interval, "interval"))
	e.number("rise", t.Rise, from(o.rise))
	e.number("fall", t.Fall, from(o.fall))
}

// weight adds a weight.
func (e *effects) weight(o *rawObject, weight int, reverse bool) {
	e.number("weight", weight, from(o.weight))
	e.flag("reverse", reverse, from(o.reverse))
}

// object lists what is in force for a tracked object.
func (e *effects) object(o *rawObject) {
	e.begin(o.kind.block(), o.name, o.node)
	c := e.cfg
	switch o.kind {
	case TrackScript:
		i := slices.IndexFunc(c.Scripts, func(s Script) bool { return s.Name == o.name })
		s := &c.Scripts[i]
		e.command("script", o.command, &s.Command)
		e.timing(o, s.Timing)
		e.weight(o, s.Weight, s.Reverse)
		e.add("user", userText(rawUser{s.User, s.Group, s.Supplementary && s.Group != ""}), from(o.user), via(e.global.scriptUser, "script_user in global_defs"))
		unrunnable := "fail"
		if s.IgnoreUnrunnable {
			unrunnable = "ignore"
		}
		e.add("unrunnable", unrunnable, from(o.ignore))
	case TrackCheck:
		i := slices.IndexFunc(c.Checks, func(s Check) bool { return s.Name == o.name })
		e.check(o, &c.Checks[i])
	case TrackProcess:
		i := slices.IndexFunc(c.Processes, func(s Process) bool { return s.Name == o.name })
		p := &c.Processes[i]
		text, _ := joinCommand(p.Argv)
		e.add("process", text, origin{true, line(o.command.node.pos)})
		e.add("param_match", [...]string{"none", "exact", "partial", "initial"}[p.Match], from(o.match))
		e.weight(o, p.Weight, p.Reverse)
		e.number("quorum", p.Quorum, from(o.quorum), because(p.QuorumMax == 0, "quorum_max 0"))
		most := "any"
		if p.QuorumMax >= 0 {
			most = strconv.Itoa(p.QuorumMax)
		}
		e.add("quorum_max", most, from(o.quorumMax))
		e.span("fork_delay", p.ForkDelay, from(o.forkDelay), via(o.delay, "delay"))
		e.span("terminate_delay", p.TerminateDelay, from(o.terminateDelay), via(o.delay, "delay"))
		e.flag("full_command", p.FullCommand, from(o.fullCommand))
	case TrackFile:
		i := slices.IndexFunc(c.TrackedFiles, func(s TrackedFile) bool { return s.Name == o.name })
		f := &c.TrackedFiles[i]
		e.add("file", f.Path, from(o.path))
		e.weight(o, f.Weight, f.Reverse)
		init := "none"
		if f.Init != nil {
			init = strconv.Itoa(*f.Init)
			if f.InitOverwrite {
				init += " overwrite"
			}
		}
		e.add("init_file", init, from(o.init))
	}
}

// check adds what is in force for a vrrp_check.
func (e *effects) check(o *rawObject, c *Check) {
	switch {
	case c.TCP != nil:
		e.add("tcp", c.TCP.Address, from(o.tcp))
	case c.HTTP != nil:
		h := c.HTTP
		e.add("http", h.URL, from(o.url))
		e.add("method", h.Method, from(o.method))
		e.text("host", o.host, "the URL's")
		headers, status := httpTexts(o)
		e.texts("header", headers, o.seen)
		if len(h.Status) == 0 {
			e.add("status", "200-399")
		} else {
			e.texts("status", status, o.seen)
		}
		body := "none"
		if h.Body != nil {
			body = h.Body.String()
		}
		e.add("body", body, from(o.body))
		e.flag("tls_verify", h.Verify, from(o.verify))
		e.text("ca_file", o.caFile, "the system's")
	case c.DNS != nil:
		e.add("dns", c.DNS.Server, from(o.dns))
		e.add("name", c.DNS.Name, from(o.question))
		e.add("type", c.DNS.Type, from(o.recordType))
		e.texts("expect", c.DNS.Expect, o.seen)
	case c.ICMP != nil:
		e.add("icmp", icmpText(o.icmp.v), from(o.icmp))
		e.text("interface", o.iface, "as routed")
	case c.SystemdUnit != nil:
		e.add("systemd_unit", c.SystemdUnit.Unit, from(o.unit))
	}
	e.timing(o, c.Timing)
	e.weight(o, c.Weight, c.Reverse)
}
