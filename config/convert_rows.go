package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vipd/vrrp"
)

// asIs is the text of a text.
func asIs(s string) string { return s }

// stateText is the text of a state; true is MASTER.
func stateText(master bool) string {
	if master {
		return "MASTER"
	}
	return "BACKUP"
}

// versionText is the text of a version.
func versionText(v vrrp.Version) string { return strconv.Itoa(int(v)) }

// span appends a duration.
func (r *rows) span(key string, o opt[time.Duration]) {
	s := rowText(r, key, o, durationText)
	if s == nil || r.b.to == YAML {
		return
	}
	switch {
	case o.v%time.Microsecond != 0:
		r.b.lose(s, faultf("keepalived.conf has no duration finer than a microsecond, as %s is", o.v))
	case o.v%time.Second != 0 && wholeSeconds(key):
		r.b.differs(s, faultf("keepalived 2.2 takes only whole seconds here, and vipd %s", o.v))
	}
}

// yes is a flag that is set.
func yes(on bool) opt[bool] { return opt[bool]{v: on, set: true} }

// given is a value that is set.
func given[T any](v T) opt[T] { return opt[T]{v: v, set: true} }

// garp appends the keywords about announcements.
func (r *rows) garp(prefix string, g *rawGARP) {
	r.span(prefix+"garp_master_delay", g.masterDelay)
	rowText(r, prefix+"garp_master_repeat", g.masterRepeat, strconv.Itoa)
	r.span(prefix+"garp_master_refresh", g.refresh)
	rowText(r, prefix+"garp_master_refresh_repeat", g.refreshRepeat, strconv.Itoa)
	r.span(prefix+"garp_lower_prio_delay", g.lowerPrioDelay)
	rowText(r, prefix+"garp_lower_prio_repeat", g.lowerPrioRepeat, strconv.Itoa)
}

// hoist finds the flags of all instances that keepalived.conf cannot switch off
// in one of them.
func (b *builder) hoist() {
	b.hoisted = make(map[string]bool)
	if b.to == YAML {
		return
	}
	g := &b.global
	for _, in := range b.insts {
		out := b.instances[in.node.args[0].text]
		if out == nil {
			continue
		}
		if g.checkUnicastSrc.or(b.dialect.checkUnicastSrc) && len(out.Peers) > 0 && !out.CheckUnicastSource {
			b.hoisted["check_unicast_src"] = true
		}
		if g.skipCheckAdvAddr.v && !out.SkipCheckAdvAddr {
			b.hoisted["skip_check_adv_addr"] = true
		}
	}
}

// globalBlock makes the global_defs.
func (b *builder) globalBlock(written []*node) *statement {
	g := b.global // a copy: defaults of this language are put into it
	r := &rows{b: b, seen: b.globalSeen, path: "global_defs"}
	// Each default that is another one in the other language.
	g.version = given(g.version.or(b.dialect.version))
	if !g.minGARP.v {
		g.garp.refresh = given(g.garp.refresh.or(b.dialect.garpRefresh))
	}
	g.checkUnicastSrc = yes(g.checkUnicastSrc.or(b.dialect.checkUnicastSrc))
	g.scriptSecurity = yes(g.scriptSecurity.or(b.dialect.scriptSecurity))
	if b.to == Keepalived || b.dialect.scriptUser != "root" {
		g.scriptUser = given(g.scriptUser.or(rawUser{user: b.dialect.scriptUser}))
	}
	if b.to == Keepalived {
		g.higherPrioSendAdvert = yes(g.higherPrioSendAdvert.or(true))
		if b.hoisted["check_unicast_src"] {
			g.checkUnicastSrc.v = false
		}
		if b.hoisted["skip_check_adv_addr"] {
			g.skipCheckAdvAddr.set = false
		}
	}
	rowText(r, "router_id", g.routerID, asIs)
	rowText(r, "vrrp_version", g.version, versionText)
	rowText(r, "vrrp_mcast_group4", g.group4, netip.Addr.String)
	rowText(r, "vrrp_mcast_group6", g.group6, netip.Addr.String)
	r.garp("vrrp_", &g.garp)
	r.span("vrrp_garp_interval", b.notZero(g.garpInterval))
	r.span("vrrp_gna_interval", b.notZero(g.gnaInterval))
	r.flag("vrrp_min_garp", g.minGARP)
	rowText(r, "vrrp_down_timer_adverts", g.downTimerAdverts, strconv.Itoa)
	r.flag("vrrp_lower_prio_no_advert", g.lowerPrioNoAdvert)
	r.flag("vrrp_higher_prio_send_advert", g.higherPrioSendAdvert)
	r.flag("vrrp_check_unicast_src", g.checkUnicastSrc)
	r.flag("vrrp_skip_check_adv_addr", g.skipCheckAdvAddr)
	r.span("vrrp_startup_delay", b.notZero(g.startupDelay))
	r.flag("log_unknown_vrids", g.logUnknownVRIDs)
	r.flag("v3_checksum_as_v2", g.checksumAsV2)
	rowText(r, "vrrp_rt_priority", g.rtPriority, strconv.Itoa)
	rowText(r, "vrrp_priority", g.nice, strconv.Itoa)
	rowText(r, "default_interface", g.defaultInterface, asIs)
	n := b.globalSeen["dynamic_interfaces"]
	switch {
	case n != nil && len(n.args) > 0 && n.args[0].text == "allow_if_changes":
		r.value("dynamic_interfaces", "allow_if_changes")
	case b.to == Keepalived || n != nil && !n.bad:
		r.flag("dynamic_interfaces", yes(true))
	}
	b.globalScripts(r, &g)
	return &statement{key: "global_defs", form: shapeBlock, body: b.arrange(statements(written), b.schema.global, r)}
}

// notZero leaves out a 0 that keepalived complains about, and which is what
// holds anyway.
func (b *builder) notZero(o opt[time.Duration]) opt[time.Duration] {
	if b.to == Keepalived && o.v == 0 {
		o.set = false
	}
	return o
}

// statements returns the statements in blocks.
func statements(blocks []*node) []*node {
	var out []*node
	for _, n := range blocks {
		out = append(out, n.children...)
	}
	return out
}

// globalScripts appends what global_defs says about scripts, pipes and mail.
func (b *builder) globalScripts(r *rows, g *rawGlobal) {
	if g.scriptUser.set {
		s := r.words("script_user", userWords(g.scriptUser.v)...)
		if s.users = s.words; b.to == Keepalived {
			b.numeric(s)
		}
	}
	r.flag("enable_script_security", g.scriptSecurity)
	r.flag("set_supplementary_groups", g.supplementary)
	r.noted("use_symlink_paths")
	if g.notifyTimeout.set {
		switch {
		case b.to == YAML:
			r.span("notify_timeout", g.notifyTimeout)
		case g.notifyTimeout.v != 30*time.Second:
			r.own(r.value("notify_timeout", durationText(g.notifyTimeout.v)))
		}
	}
	r.ownership(&g.own)
	r.flag("vrrp_notify_priority_changes", g.notifyPriorityChanges)
	for _, f := range []struct {
		key    string
		fifo   *FIFO
		script *rawCommand
	}{{"notify_fifo", g.fifo, g.fifoScript}, {"vrrp_notify_fifo", g.vrrpFIFO, g.vrrpFIFOScript}} {
		if f.fifo != nil && (b.to == Keepalived || b.hasFIFO(f.fifo)) {
			words := []string{f.fifo.Path}
			if f.fifo.User != "" {
				words = append(words, f.fifo.User)
			}
			if f.fifo.Group != "" {
				words = append(words, f.fifo.Group)
			}
			r.words(f.key, words...)
		}
		r.command(f.key+"_script", f.script)
	}
	r.noted("fifo_write_vrrp_states_on_reload")
	r.command("startup_script", g.startupScript)
	r.span("startup_script_timeout", g.startupTimeout)
	r.command("shutdown_script", g.shutdownScript)
	r.span("shutdown_script_timeout", g.shutdownTimeout)
	r.texts("notification_email", g.mailTo)
	rowText(r, "notification_email_from", g.mailFrom, asIs)
	if g.smtpHost.set {
		words := []string{g.smtpHost.v}
		if g.smtpPort.set {
			words = append(words, strconv.Itoa(g.smtpPort.v))
		}
		r.words("smtp_server", words...)
	}
	rowText(r, "smtp_helo_name", g.helo, asIs)
	r.span("smtp_connect_timeout", g.smtpTimeout)
	r.flag("smtp_alert", g.smtpAlert)
	r.flag("smtp_alert_vrrp", g.smtpAlertVRRP)
	r.flag("no_email_faults", g.noMailFaults)
	rowText(r, "state_dump_file", g.stateDump, asIs)
	rowText(r, "stats_dump_file", g.statsDump, asIs)
	rowText(r, "json_dump_file", g.jsonDump, asIs)
	rowText(r, "json_version", g.jsonVersion, strconv.Itoa)
}

// ownership appends the keywords about who has the addresses when, all of which
// only vipd has. To keepalived nothing is said of those that say what holds anyway.
func (r *rows) ownership(o *rawOwnership) {
	if r.b.to == Keepalived {
		own := *o // a copy
		o = &own
		o.lease.set = o.lease.set && o.lease.v != Lease{}
		o.handover.set = o.handover.set && !o.handover.v
		o.holdOnMismatch.set = o.holdOnMismatch.set && !o.holdOnMismatch.v
		o.resignOnLoss.set = o.resignOnLoss.set && o.resignOnLoss.v
	}
	r.own(rowText(r, "vip_lease", o.lease, leaseText))
	for _, f := range []struct {
		key string
		opt[bool]
	}{{"handover", o.handover}, {"hold_on_mismatch", o.holdOnMismatch}} {
		if f.set {
			r.own(r.add(&statement{key: f.key, form: shapeFlag, on: f.v}))
		}
	}
	r.own(rowText(r, "on_address_loss", o.resignOnLoss, addressLossText))
}

// hasFIFO reports whether a pipe is used: the path of another one is not.
func (b *builder) hasFIFO(f *FIFO) bool {
	return slices.ContainsFunc(b.cfg.Global.NotifyFIFOs, func(o FIFO) bool { return o.Path == f.Path && o.Pos == f.Pos })
}

// noted appends a flag that is accepted and changes nothing.
func (r *rows) noted(key string) {
	n := r.seen[key]
	if n == nil || n.bad {
		return
	}
	if on, f := flagOf(n); f == nil {
		r.flag(key, yes(on))
	}
}

// texts appends a list of texts.
func (r *rows) texts(key string, texts []string) *statement {
	var items []*statement
	n := r.seen[key]
	for i, t := range texts {
		s := &statement{text: t}
		if n != nil {
			s.pos, s.path = n.pos, n.path()
			if len(n.children) == len(texts) {
				s.pos, s.comments = n.children[i].pos, n.children[i].comments
			}
		}
		items = append(items, s)
	}
	return r.items(key, shapeTexts, nil, items)
}

// instance makes a vrrp_instance.
func (b *builder) instance(in *rawInstance, out *Instance) *statement {
	r := &rows{b: b, seen: in.seen, path: in.node.path()}
	strict := b.dialect.keepalived && in.strict.or(b.global.strict.v)
	garp := in.garp
	state, lowerPrio, higherPrio := in.master, in.lowerPrioNoAdvert, in.higherPrioSendAdvert
	preempt := in.noPreempt
	if !preempt.set && in.preempt.set {
		preempt = yes(!in.preempt.v)
	}
	delay := in.preemptDelay
	if strict { // what of it vipd has, it has for each instance
		state = yes(out.StartMaster)
		lowerPrio, higherPrio = yes(true), yes(false)
		garp.lowerPrioDelay, garp.lowerPrioRepeat = given(time.Duration(0)), given(0)
		preempt, delay = opt[bool]{v: true, set: !out.Preempt}, opt[time.Duration]{}
	}
	rowText(r, "state", state, stateText)
	rowText(r, "interface", in.iface, asIs)
	rowText(r, "virtual_router_id", in.vrid, strconv.Itoa)
	rowText(r, "priority", b.priorityOf(in, out), strconv.Itoa)
	if in.advertInt.set {
		r.span("advert_int", given(out.AdvertInterval))
	}
	if in.version.set && in.version.v == out.Version {
		rowText(r, "version", in.version, versionText)
	}
	vips, excluded := b.placed(in, out)
	r.items("virtual_ipaddress", shapeLines, addressGrammar(), vips)
	r.items("virtual_ipaddress_excluded", shapeLines, addressGrammar(), excluded)
	if len(out.Addresses) == 0 {
		r.flag("no_virtual_ipaddress", yes(true))
	} else {
		r.flag("no_virtual_ipaddress", in.noVIP)
	}
	if out.AuthType != vrrp.AuthNone {
		auth := &rows{b: b, seen: in.seen, path: join(r.path, "authentication")}
		auth.value("auth_type", "PASS")
		if b.has(in.authPass.v) {
			rowText(auth, "auth_pass", in.authPass, asIs)
		}
		r.add(&statement{key: "authentication", form: shapeBlock, body: b.arrange(in.auth.children, b.schema.auth, auth)})
	}
	b.transportRows(r, in, out)
	if preempt.set && !preempt.v && in.preempt.set {
		r.flag("preempt", yes(true))
	} else {
		r.flag("nopreempt", preempt)
	}
	r.span("preempt_delay", delay)
	rowText(r, "down_timer_adverts", in.downTimerAdverts, strconv.Itoa)
	r.garp("", &garp)
	r.flag("lower_prio_no_advert", lowerPrio)
	r.flag("higher_prio_send_advert", higherPrio)
	if b.hoisted["skip_check_adv_addr"] {
		r.flag("skip_check_adv_addr", opt[bool]{v: true, set: out.SkipCheckAdvAddr})
	} else if b.to == YAML || in.skipCheckAdvAddr.v {
		r.flag("skip_check_adv_addr", in.skipCheckAdvAddr)
	}
	r.flag("v3_checksum_as_v2", in.checksumAsV2)
	if n := in.seen["accept"]; n != nil && !n.bad {
		r.flag("accept", yes(true))
	}
	r.flag("dont_track_primary", in.dontTrackPrimary)
	r.ownership(&in.own)
	r.flag("native_ipv6", b.nativeIPv6(in, out))
	b.trackRows(r, in.tracks)
	b.notifyRows(r, &in.notify)
	r.deleted(&in.notify)
	r.command("notify_master_rx_lower_pri", in.notify.rxLowerPri)
	s := &statement{
		key: "vrrp_instance", form: shapeNamed, name: out.Name, pos: in.node.pos, path: r.path,
		body: b.arrange(in.node.children, b.schema.instance, r),
	}
	if pass := in.authPass.v; out.AuthType != vrrp.AuthNone && !b.has(pass) {
		// It must not run without the password that it asks for.
		s.off = true
		b.lose(s, faultf("its password cannot be written in %s: the instance is left out", b.to))
	}
	return s
}

// priorityOf returns the priority, which state MASTER does without only if it is
// not given at all.
func (b *builder) priorityOf(in *rawInstance, out *Instance) opt[int] {
	if !in.priority.set && in.seen["priority"] != nil || in.guessed["priority"] {
		return given(int(out.Priority))
	}
	return in.priority
}

// nativeIPv6 returns native_ipv6, where it is not contradicted; an instance
// without any address needs it.
func (b *builder) nativeIPv6(in *rawInstance, out *Instance) opt[bool] {
	if out.Family == vrrp.IPv4 && in.nativeIPv6.v {
		return opt[bool]{}
	}
	if out.Family == vrrp.IPv6 && len(out.Addresses) == 0 && len(out.Peers) == 0 && !out.SourceIP.IsValid() {
		return yes(true)
	}
	return in.nativeIPv6
}

// transportRows appends how and from where adverts are sent.
func (b *builder) transportRows(r *rows, in *rawInstance, out *Instance) {
	var peers []*statement
	given, used := in.peers, out.Peers
	for _, n := range linesOf(in.node, "unicast_peer") {
		item := lostItem(n)
		if len(given) > 0 && given[0].node == n {
			if len(used) > 0 && used[0] == given[0].Peer {
				item = itemOf(n, strings.Fields(peerText(used[0]))...)
				used = used[1:]
			}
			given = given[1:]
		}
		peers = append(peers, item)
	}
	if len(out.Peers) > 0 {
		r.items("unicast_peer", shapeLines, peerGrammar(), peers)
	}
	if in.unicastSrc.set && in.unicastSrc.v == out.SourceIP {
		rowText(r, "unicast_src_ip", in.unicastSrc, netip.Addr.String)
	} else if in.mcastSrc.set && in.mcastSrc.v == out.SourceIP {
		rowText(r, "mcast_src_ip", in.mcastSrc, netip.Addr.String)
	}
	rowText(r, "unicast_ttl", in.unicastTTL, strconv.Itoa)
	if b.hoisted["check_unicast_src"] {
		r.flag("check_unicast_src", opt[bool]{v: true, set: out.CheckUnicastSource})
	} else {
		r.flag("check_unicast_src", in.checkUnicastSrc)
	}
	if in.group.set && vrrp.FamilyOf(in.group.v) == out.Family {
		rowText(r, "mcast_dst_ip", in.group, netip.Addr.String)
	}
	r.flag("track_src_ip", in.trackSrc)
}

// placed makes the lines of the addresses that the instance has, and notes the
// others.
func (b *builder) placed(in *rawInstance, out *Instance) (vips, excluded []*statement) {
	have := slices.Concat(out.Addresses, out.Excluded)
	lines := func(key string, list []rawAddress) []*statement {
		var items []*statement
		for _, n := range linesOf(in.node, key) {
			if len(list) == 0 || list[0].node != n {
				items = append(items, lostItem(n))
				continue
			}
			a := list[0]
			list = list[1:]
			same := len(have) > 0 && have[0].Pos == a.Pos && have[0].Prefix == a.Prefix && (a.Interface == "" || a.Interface == have[0].Interface)
			if !same {
				items = append(items, lostItem(a.node))
				continue
			}
			have = have[1:]
			items = append(items, itemOf(a.node, addressWords(&a.Address)...))
		}
		return items
	}
	return lines("virtual_ipaddress", in.vips), lines("virtual_ipaddress_excluded", in.excluded)
}

// linesOf returns the lines of all lists of the keyword in a block.
func linesOf(block *node, key string) []*node {
	var out []*node
	for _, n := range block.children {
		if n.key == key {
			out = append(out, n.children...)
		}
	}
	return out
}

// addressWords writes the line of an address in canonical form.
func addressWords(a *Address) []string {
	text := a.Prefix.String()
	if a.Prefix.IsSingleIP() {
		text = a.Prefix.Addr().String()
	}
	words := []string{text}
	add := func(on bool, w ...string) {
		if on {
			words = append(words, w...)
		}
	}
	add(a.Peer.IsValid(), "peer", a.Peer.String())
	add(a.Interface != "", "dev", a.Interface)
	add(a.Broadcast.IsValid(), "brd", a.Broadcast.String())
	add(a.Label != "", "label", a.Label)
	add(a.Scope != 0, "scope", scopeText(a.Scope))
	byDefault := a.Prefix.Addr().Is6() && a.Prefix.IsSingleIP() && !a.Peer.IsValid()
	switch {
	case a.PreferredLifetime > 0:
		add(true, "preferred_lft", durationText(a.PreferredLifetime))
	case a.Deprecated != byDefault && a.Deprecated:
		add(true, "preferred_lft", "0")
	case a.Deprecated != byDefault:
		add(true, "preferred_lft", "forever")
	}
	add(a.DAD, "-nodad")
	add(a.HomeAddress, "home")
	add(a.ManageTempAddr, "mngtmpaddr")
	add(a.NoPrefixRoute, "noprefixroute")
	add(a.AutoJoin, "autojoin")
	add(a.NoTrack, "no_track")
	return words
}

// scopeText names a scope.
func scopeText(scope uint8) string {
	for _, name := range []string{"global", "site", "link", "host", "nowhere"} {
		if v, _ := parseScope(name); v == scope { // the names are known
			return name
		}
	}
	return strconv.Itoa(int(scope))
}

// trackRows appends the lists of tracked objects.
func (b *builder) trackRows(r *rows, tracks rawTracks) {
	byKind := make(map[TrackKind][]*statement)
	var kinds []TrackKind
	for i := range tracks {
		t := &tracks[i]
		if byKind[t.kind] == nil {
			kinds = append(kinds, t.kind)
		}
		item := lostItem(t.node)
		if b.counts(t) {
			words := []string{t.name}
			if t.weight.set {
				words = append(words, "weight", strconv.Itoa(t.weight.v))
			}
			if t.reverse.set && t.reverse.v {
				words = append(words, "reverse")
			} else if t.reverse.set && t.kind != TrackInterface { // which has nothing to take back
				words = append(words, "noreverse")
			}
			item = itemOf(t.node, words...)
		}
		byKind[t.kind] = append(byKind[t.kind], item)
	}
	for _, kind := range kinds {
		s := r.items("track_"+kind.String(), shapeLines, trackGrammar(kind), byKind[kind])
		if kind == TrackCheck {
			r.own(s)
		}
	}
}

// counts reports whether there is an object that a line means.
func (b *builder) counts(t *rawTrack) bool {
	if t.kind == TrackInterface {
		return true
	}
	o := b.objectsByKey[objectKey{t.kind, t.name}]
	return o != nil && !o.dropped && !(t.early && b.dialect.keepalived)
}

// notifyRows appends the notification of an instance or a group.
func (b *builder) notifyRows(r *rows, n *rawNotify) {
	r.command("notify_master", n.master)
	r.command("notify_backup", n.backup)
	r.command("notify_fault", n.fault)
	r.command("notify_stop", n.stop)
	r.command("notify", n.any)
	r.flag("notify_priority_changes", n.priorityChanges)
	r.flag("smtp_alert", n.smtpAlert)
}

// deleted appends notify_deleted, a flag or a command.
func (r *rows) deleted(n *rawNotify) {
	switch {
	case n.deleted != nil:
		r.command("notify_deleted", n.deleted)
	case n.reportDeleted.v && r.b.to == YAML:
		r.flag("notify_deleted", n.reportDeleted)
	case n.reportDeleted.v:
		r.words("notify_deleted")
	}
}

// group makes a vrrp_sync_group; nil if it has no members.
func (b *builder) group(g *rawGroup) *statement {
	r := &rows{b: b, seen: g.seen, path: g.node.path()}
	var items []*statement
	for _, m := range g.members {
		name := m.node.args[0].text
		if b.instances[name] == nil || m.failed != nil && !b.dialect.strict {
			continue
		}
		item := &statement{words: []string{name}, pos: m.posIn(g), path: join(r.path, "group")}
		for _, child := range g.list.children {
			if child.pos == item.pos {
				item.comments = child.comments
			}
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return nil
	}
	r.items("group", shapeLines, nameGrammar("name"), items)
	b.trackRows(r, g.tracks)
	b.notifyRows(r, &g.notify)
	if g.trackingWeight.set || g.globalTracking.set {
		r.flag("sync_group_tracking_weight", yes(g.weights()))
	}
	return &statement{
		key: "vrrp_sync_group", form: shapeNamed, name: g.name, pos: g.node.pos, path: r.path,
		body: b.arrange(g.node.children, b.schema.group, r),
	}
}

// objectBlock makes the block of a tracked object.
func (b *builder) objectBlock(o *rawObject) *statement {
	r := &rows{b: b, seen: o.seen, path: o.node.path()}
	blk := b.schema.script
	switch o.kind {
	case TrackScript:
		r.command("script", o.command)
		r.timing(o)
		r.weight(o, 0)
		if o.user.set {
			s := r.words("user", userWords(o.user.v)...)
			if s.users = s.words; b.to == Keepalived {
				b.numeric(s)
			}
		}
		if o.ignore.set && (b.to == YAML || o.ignore.v) {
			text := "fail"
			if o.ignore.v {
				text = "ignore"
			}
			r.own(r.value("unrunnable", text))
		}
		r.noted("init_fail")
	case TrackCheck:
		blk = b.schema.check
		r.check(o)
	case TrackProcess:
		blk = b.schema.process
		r.process(o)
	case TrackFile:
		blk = b.schema.file
		rowText(r, "file", o.path, asIs)
		r.weight(o, 1)
		if o.init.set {
			words := []string{strconv.Itoa(o.init.v)}
			if o.overwrite {
				words = append(words, "overwrite")
			}
			r.words("init_file", words...)
		}
	}
	s := &statement{
		key: o.kind.block(), form: shapeNamed, name: o.name, pos: o.node.pos, path: r.path,
		body: b.arrange(o.node.children, blk, r),
	}
	if o.kind == TrackCheck && b.to == Keepalived {
		s.off = true
		b.lose(s, faultf("keepalived does not have vrrp_check: it is left out"))
	}
	return s
}

// timing appends when results count.
func (r *rows) timing(o *rawObject) {
	r.span("interval", o.interval)
	r.span("timeout", o.timeout)
	rowText(r, "rise", o.rise, strconv.Itoa)
	rowText(r, "fall", o.fall, strconv.Itoa)
}

// weight appends the weight; def is the one of an object without.
func (r *rows) weight(o *rawObject, def int) {
	if !o.weight.set && !o.reverse.set {
		return
	}
	words := []string{strconv.Itoa(o.weight.or(def))}
	if o.reverse.v {
		words = append(words, "reverse")
	}
	r.words("weight", words...)
}

// process appends what a vrrp_track_process says.
func (r *rows) process(o *rawObject) {
	r.command("process", o.command)
	if o.match.set {
		text := "exact"
		switch o.match.v {
		case ParamPartial:
			text = "partial"
		case ParamInitial:
			text = "initial"
		}
		if text == "exact" && r.b.to == Keepalived {
			r.words("param_match")
		} else {
			r.words("param_match", text)
		}
	}
	r.weight(o, 0)
	rowText(r, "quorum", o.quorum, strconv.Itoa)
	rowText(r, "quorum_max", o.quorumMax, strconv.Itoa)
	r.span("delay", o.delay)
	r.span("fork_delay", o.forkDelay)
	r.span("terminate_delay", o.terminateDelay)
	r.flag("full_command", o.fullCommand)
}

// check appends what a vrrp_check says.
func (r *rows) check(o *rawObject) {
	rowText(r, "tcp", o.tcp, asIs)
	rowText(r, "http", o.url, asIs)
	rowText(r, "method", o.method, asIs)
	rowText(r, "host", o.host, asIs)
	headers, status := httpTexts(o)
	r.texts("header", headers)
	r.texts("status", status)
	rowText(r, "body", o.body, (*regexp.Regexp).String)
	r.flag("tls_verify", o.verify)
	rowText(r, "ca_file", o.caFile, asIs)
	rowText(r, "dns", o.dns, asIs)
	rowText(r, "name", o.question, asIs)
	rowText(r, "type", o.recordType, asIs)
	r.texts("expect", o.expect)
	rowText(r, "icmp", o.icmp, icmpText)
	rowText(r, "interface", o.iface, asIs)
	rowText(r, "systemd_unit", o.unit, func(s string) string { return strings.TrimSuffix(s, ".service") })
	r.timing(o)
	r.weight(o, 0)
}

// icmpText says whom to ask for an echo.
func icmpText(i rawICMP) string {
	switch {
	case i.addr.IsValid():
		return i.addr.String()
	case i.family == 6:
		return "gateway6"
	}
	return "gateway"
}

// httpTexts writes the headers and status codes of a check.
func httpTexts(o *rawObject) (headers, status []string) {
	for _, h := range o.headers {
		headers = append(headers, h.Name+": "+h.Value)
	}
	for _, s := range o.status {
		text := strconv.Itoa(s.First)
		if s.Last != s.First {
			text += "-" + strconv.Itoa(s.Last)
		}
		status = append(status, text)
	}
	return headers, status
}

// has reports whether the language has a way to write a text.
func (b *builder) has(s string) bool {
	if b.to == Keepalived {
		return confHas(s)
	}
	_, f := parseText(s)
	return f == nil && utf8.ValidString(s)
}
