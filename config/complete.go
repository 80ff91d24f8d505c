package config

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vipd/vrrp"
)

// fastAdvert is the interval below which adverts compete with other work for
// the processor.
const fastAdvert = 100 * time.Millisecond

// kernelHopLimit is the kernel's default hop limit, which keepalived leaves on
// IPv6 unicast adverts.
const kernelHopLimit = 64

// A completer holds what the checks across instances need.
type completer struct {
	*decoder
	routers map[routerKey]*rawInstance
	owners  map[addressKey]*node
	lines   map[Pos]*node // of the tracked objects of instances
	fast    bool          // an interval below fastAdvert has been reported

	longLease map[Pos]bool // leases that have been reported, by where they are given
}

// A routerKey is what no two virtual routers may share. They are the same to a
// receiver if they have the group, the source address or a peer in common.
type routerKey struct {
	iface  string
	family vrrp.Family
	vrid   int
	kind   byte // 'g' group, 's' source, 'p' peer
	addr   netip.Addr
}

// An addressKey is what no two virtual addresses may share.
type addressKey struct {
	iface string
	addr  netip.Addr
}

// complete resolves defaults and checks what concerns more than one keyword, as
// keepalived does after parsing (vrrp_complete_instance, vrrp_complete_init).
func (d *decoder) complete() *Config {
	c := &completer{decoder: d, routers: make(map[routerKey]*rawInstance), owners: make(map[addressKey]*node), lines: make(map[Pos]*node), longLease: make(map[Pos]bool)}
	g := &d.global
	out := &Config{
		Files: d.files,
		Global: Global{
			RouterID:        g.routerID.v,
			RTPriority:      g.rtPriority.v,
			Nice:            g.nice.v,
			StartupDelay:    g.startupDelay.v,
			GARPInterval:    g.garpInterval.v,
			GNAInterval:     g.gnaInterval.v,
			LogUnknownVRIDs: g.logUnknownVRIDs.v,
		},
	}
	c.scripting(&out.Global)
	c.objectList(out)
	c.groupList()
	garp := d.globalGARP()
	out.Instances = make([]Instance, 0, len(d.insts))
	for _, in := range d.insts {
		d.inst = in
		inst := c.instance(in, garp)
		d.inst = nil
		if in.failed == nil || d.dialect.strict {
			out.Instances = append(out.Instances, inst)
			continue
		}
		out.LeftOut = append(out.LeftOut, LeftOut{Name: inst.Name, Pos: inst.Pos, Reason: visible(in.failed.message)})
		c.forget(in)
	}
	out.LeftOut = append(out.LeftOut, d.leftOut...)
	c.leaveGroupsOut(out)
	c.groupsOut(out)
	c.lintUnused()
	c.lintLeases(out)
	if len(d.insts) == 0 && !d.diags.HasErrors() && len(d.files) > 0 {
		d.add(Pos{File: d.files[0]}, Warning, "", faultf("there is no vrrp_instance"))
	}
	return out
}

// forget frees what an instance that is left out would have had.
func (c *completer) forget(in *rawInstance) {
	maps.DeleteFunc(c.routers, func(_ routerKey, other *rawInstance) bool { return other == in })
	maps.DeleteFunc(c.owners, func(_ addressKey, n *node) bool { return n.parent.parent == in.node })
}

// globalGARP resolves the defaults of announcements.
func (d *decoder) globalGARP() GARP {
	def := GARP{MasterDelay: 5 * time.Second, MasterRepeat: 5, Refresh: d.dialect.garpRefresh, RefreshRepeat: 1}
	if d.global.minGARP.v {
		// keepalived also makes the refresh repeat 0, and then an explicit
		// refresh would send nothing.
		def = GARP{MasterRepeat: 1, RefreshRepeat: 1}
	}
	g := &d.global.garp
	def.MasterDelay = g.masterDelay.or(def.MasterDelay)
	def.MasterRepeat = g.masterRepeat.or(def.MasterRepeat)
	def.LowerPrioDelay, def.LowerPrioRepeat = def.MasterDelay, def.MasterRepeat
	return g.or(def)
}

// or returns the values that were given, and those of def for the rest.
func (g *rawGARP) or(def GARP) GARP {
	return GARP{
		MasterDelay:     g.masterDelay.or(def.MasterDelay),
		MasterRepeat:    g.masterRepeat.or(def.MasterRepeat),
		Refresh:         g.refresh.or(def.Refresh),
		RefreshRepeat:   g.refreshRepeat.or(def.RefreshRepeat),
		LowerPrioDelay:  g.lowerPrioDelay.or(def.LowerPrioDelay),
		LowerPrioRepeat: g.lowerPrioRepeat.or(def.LowerPrioRepeat),
	}
}

// instance completes one instance.
func (c *completer) instance(in *rawInstance, garp GARP) Instance {
	g := &c.global
	out := Instance{
		Name:                 in.node.args[0].text,
		Pos:                  in.node.valuePos(),
		Interface:            in.iface.v,
		VRID:                 uint8(in.vrid.v),
		Family:               in.family(),
		StartupDelay:         g.startupDelay.v,
		DownTimerAdverts:     in.downTimerAdverts.or(g.downTimerAdverts.or(3)),
		GARP:                 in.garp.or(garp),
		LowerPrioNoAdvert:    in.lowerPrioNoAdvert.or(g.lowerPrioNoAdvert.v),
		HigherPrioSendAdvert: in.higherPrioSendAdvert.or(g.higherPrioSendAdvert.or(true)),
		SkipCheckAdvAddr:     in.skipCheckAdvAddr.or(g.skipCheckAdvAddr.v),
		DontTrackPrimary:     in.dontTrackPrimary.v,
	}
	if c.dialect.keepalived {
		out.Family = in.firstFamily()
	}
	c.version(in, &out)
	c.priority(in, &out)
	c.preemption(in, &out)
	c.interval(in, &out)
	c.ownership(in, &out)
	c.authentication(in, &out)
	c.strict(in, &out)
	c.transport(in, &out)
	c.iface(in, &out)
	c.addressList(in, &out)
	c.tracking(in, &out)
	c.notification(in, &out)
	if in.failed == nil {
		c.unique(in, &out)
	}
	if out.DownTimerAdverts == 1 && in.downTimerAdverts.set {
		c.warn(in.downTimerAdverts.pos, in.seen["down_timer_adverts"], faultf("one lost advert makes a backup take over"))
	}
	return out
}

// firstFamily returns the family of what is given first, as in keepalived.
func (in *rawInstance) firstFamily() vrrp.Family {
	fam, first := in.family(), Pos{Line: math.MaxInt}
	take := func(pos Pos, a netip.Addr) {
		if before(pos, first) {
			fam, first = vrrp.FamilyOf(a), pos
		}
	}
	if len(in.vips) > 0 {
		take(in.vips[0].node.pos, in.vips[0].Prefix.Addr())
	}
	if len(in.peers) > 0 {
		take(in.peers[0].node.pos, in.peers[0].Addr)
	}
	for _, src := range []opt[netip.Addr]{in.unicastSrc, in.mcastSrc} {
		if src.set {
			take(src.pos, src.v)
		}
	}
	return fam
}

// family returns the family that the addresses of an instance imply.
func (in *rawInstance) family() vrrp.Family {
	switch {
	case len(in.vips) > 0:
		return vrrp.FamilyOf(in.vips[0].Prefix.Addr())
	case len(in.peers) > 0:
		return vrrp.FamilyOf(in.peers[0].Addr)
	case in.unicastSrc.set:
		return vrrp.FamilyOf(in.unicastSrc.v)
	case in.mcastSrc.set:
		return vrrp.FamilyOf(in.mcastSrc.v)
	case in.nativeIPv6.v:
		return vrrp.IPv6
	}
	return vrrp.IPv4
}

// version resolves the version and what depends on it alone.
func (c *completer) version(in *rawInstance, out *Instance) {
	out.Version = in.version.or(c.global.version.or(c.dialect.version))
	if out.Family == vrrp.IPv6 {
		if in.version.v == vrrp.V2 {
			c.complain(in.seen["version"], &fault{"version 2 has no IPv6", "leave out version, or use 3"})
		}
		out.Version = vrrp.V3
	}
	if in.nativeIPv6.set {
		n := in.seen["native_ipv6"]
		if in.nativeIPv6.v && out.Family == vrrp.IPv4 {
			c.complain(n, faultf("native_ipv6 contradicts the addresses, which are IPv4"))
		} else {
			c.warn(n.valuePos(), n, &fault{"native_ipv6 is deprecated", "leave it out: the family follows from the addresses"})
		}
	}
	plain := in.checksumAsV2.or(c.global.checksumAsV2.v)
	switch {
	case plain && out.Version == vrrp.V3 && out.Family == vrrp.IPv4:
		out.Checksum = vrrp.ChecksumPlain
	case in.checksumAsV2.v && !c.versionUnknown(in):
		c.warn(in.checksumAsV2.pos, in.seen["v3_checksum_as_v2"], faultf("v3_checksum_as_v2 has no effect except with version 3 over IPv4"))
	}
}

// versionUnknown reports whether a mistake hides which version is meant.
func (c *completer) versionUnknown(in *rawInstance) bool {
	if c.dialect.keepalived {
		return false // what is wrong is not there
	}
	g := c.globalSeen["vrrp_version"]
	return in.bad("version") || !in.version.set && g != nil && g.bad
}

// reported reports whether the keyword was given wrongly, and that alone keeps
// the instance from running.
func (c *completer) reported(in *rawInstance, key string) bool {
	return in.bad(key) && (c.dialect.strict || in.failed != nil)
}

// priority resolves state and priority.
func (c *completer) priority(in *rawInstance, out *Instance) {
	out.Priority = uint8(in.priority.or(vrrp.PriorityDefault))
	if in.master.v && !in.has("priority") {
		out.Priority = vrrp.PriorityOwner
		c.warn(in.master.pos, in.seen["state"], &fault{"without priority, state: MASTER means priority 255, the owner of the addresses", "set priority"})
	}
	out.StartMaster = in.master.or(out.Priority == vrrp.PriorityOwner)
}

// preemption resolves preemption.
func (c *completer) preemption(in *rawInstance, out *Instance) {
	out.Preempt = !in.noPreempt.or(in.preempt.set && !in.preempt.v)
	out.PreemptDelay = in.preemptDelay.v
	if in.noPreempt.set && in.preempt.set && in.noPreempt.v == in.preempt.v {
		later, earlier := in.seen["preempt"], in.seen["nopreempt"]
		if before(later.pos, earlier.pos) {
			later, earlier = earlier, later
		}
		c.complain(later, faultf("%s: %s contradicts %s: %s at %s", later.key, later.raw, earlier.key, earlier.raw, earlier.pos))
		return
	}
	if out.PreemptDelay > 0 {
		n := in.seen["preempt_delay"]
		switch {
		case out.StartMaster && in.master.set:
			c.warn(in.preemptDelay.pos, n, &fault{"preempt_delay has no effect with state: MASTER", "use state: BACKUP on all routers"})
		case out.StartMaster:
			c.warn(in.preemptDelay.pos, n, faultf("preempt_delay has no effect with priority 255"))
		case !out.Preempt:
			c.warn(in.preemptDelay.pos, n, faultf("preempt_delay has no effect with nopreempt"))
		}
		if out.StartMaster || !out.Preempt {
			out.PreemptDelay = 0
		}
	}
	if out.Preempt {
		return
	}
	n := in.seen["nopreempt"]
	if !in.noPreempt.set {
		n = in.seen["preempt"]
	}
	switch {
	case in.master.v && !in.strict.or(c.global.strict.v): // strict mode decides over the state
		out.Preempt = true
		c.warn(n.valuePos(), n, &fault{"nopreempt has no effect with state: MASTER", "use state: BACKUP on all routers"})
	case out.Priority == vrrp.PriorityOwner:
		out.Preempt = true
		c.warn(n.valuePos(), n, faultf("nopreempt has no effect with priority 255"))
	}
}

// before reports whether a stands before b in one file.
func before(a, b Pos) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
}

// interval resolves advert_int, which each version can express only in part.
func (c *completer) interval(in *rawInstance, out *Instance) {
	step, lo, hi := 10*time.Millisecond, 10*time.Millisecond, 4095*10*time.Millisecond
	if out.Version == vrrp.V2 {
		step, lo, hi = time.Second, time.Second, 255*time.Second
	}
	got := in.advertInt.or(time.Second)
	out.AdvertInterval = min(max(got.Round(step), lo), hi)
	n := in.seen["advert_int"]
	if got != out.AdvertInterval {
		if c.versionUnknown(in) {
			return
		}
		var f *fault
		switch {
		case out.Version == vrrp.V2:
			f = &fault{fmt.Sprintf("version 2 has only intervals of whole seconds, not %s", seconds(got)), "use whole seconds, or version 3"}
		case got > hi:
			f = &fault{fmt.Sprintf("version 3 has only intervals up to %s", seconds(hi)), "use a shorter one, or version 2"}
		default:
			f = faultf("version 3 has only intervals in steps of 10 ms, not %s", seconds(got))
		}
		if !c.dialect.strict {
			f.message += ": " + seconds(out.AdvertInterval) + " is used"
		}
		c.complain(n, f)
		return
	}
	if out.AdvertInterval < fastAdvert && !c.global.rtPriority.set && c.globalSeen["vrrp_rt_priority"] == nil && !c.fast {
		c.fast = true // one mistake, however many instances
		c.warn(in.advertInt.pos, n, &fault{"adverts this fast may be late on a busy host", "set vrrp_rt_priority in global_defs"})
	}
}

// authentication resolves the authentication block.
func (c *completer) authentication(in *rawInstance, out *Instance) {
	n := in.auth
	if n == nil || in.bad("auth_type") || c.versionUnknown(in) {
		return
	}
	if in.authType.v == vrrp.AuthAH && (c.dialect.strict || out.Version == vrrp.V2) {
		// An error in every dialect: an instance that asks for more security
		// than there is must not run with less.
		c.fail(in.authType.pos, in.seen["auth_type"], &fault{"authentication by AH is not supported", "PASS is the only type"})
		return
	}
	switch {
	case out.Version != vrrp.V2:
		hint := "leave it out, or use version 2"
		if out.Family == vrrp.IPv6 {
			hint = "leave it out"
		}
		c.complainAt(n.pos, n, &fault{"version 3 of VRRP has no authentication", hint})
	case !in.has("auth_type"):
		c.complainAt(n.pos, n, faultf("auth_type is missing"))
	case in.bad("auth_pass") && c.dialect.keepalived: // empty, and that has been said
	case !in.has("auth_pass"):
		c.complainAt(n.pos, n, faultf("auth_pass is missing"))
	default:
		out.AuthType = in.authType.v
		if len(in.authPass.v) > copy(out.AuthData[:], in.authPass.v) {
			c.warn(in.authPass.pos, in.seen["auth_pass"], faultf("only the first %d octets of auth_pass count", len(out.AuthData)))
		}
	}
}

// transport resolves how and from where adverts are sent.
func (c *completer) transport(in *rawInstance, out *Instance) {
	unicast := in.has("unicast_peer") && (len(in.peers) > 0 || in.bad("unicast_peer"))
	c.source(in, out, unicast)
	if !unicast {
		c.multicast(in, out)
		return
	}
	out.TTL = in.unicastTTL.or(vrrp.HopLimit)
	if out.Family == vrrp.IPv6 {
		out.TTL = in.unicastTTL.or(kernelHopLimit)
	}
	if in.unicastTTL.set && out.TTL == 0 {
		c.warn(in.unicastTTL.pos, in.seen["unicast_ttl"], faultf("with TTL 0 adverts never leave this host"))
	}
	out.CheckUnicastSource = in.checkUnicastSrc.or(c.global.checkUnicastSrc.or(c.dialect.checkUnicastSrc))
	seen := make(map[netip.Addr]bool, len(in.peers))
	for _, p := range in.peers {
		switch {
		case vrrp.FamilyOf(p.Addr) != out.Family:
			c.complainAt(p.node.pos, p.node, faultf("%s is not an %s address, as the others of the instance are", p.Addr, out.Family))
			continue
		case seen[p.Addr]:
			c.complainAt(p.node.pos, p.node, faultf("%s is given twice", p.Addr))
			continue
		case p.Addr == out.SourceIP:
			c.complainAt(p.node.pos, p.node, faultf("%s is the source address of this instance, not a peer", p.Addr))
			continue
		}
		seen[p.Addr] = true
		if (p.MinTTL >= 0 || p.MaxTTL >= 0) && !out.CheckUnicastSource {
			out.CheckUnicastSource = true
			if in.checkUnicastSrc.set {
				c.warn(in.checkUnicastSrc.pos, in.seen["check_unicast_src"], faultf("min_ttl or max_ttl of a peer implies check_unicast_src"))
			}
		}
		out.Peers = append(out.Peers, p.Peer)
	}
	if len(out.Peers) == 0 && !c.dialect.strict { // as keepalived does
		out.CheckUnicastSource = false
		c.multicast(in, out)
		return
	}
	if in.group.set {
		c.warn(in.group.pos, in.seen["mcast_dst_ip"], faultf("mcast_dst_ip has no effect with unicast_peer"))
	}
}

// source resolves the source address, which has two keywords.
func (c *completer) source(in *rawInstance, out *Instance, unicast bool) {
	src, key := in.unicastSrc, "unicast_src_ip"
	if in.mcastSrc.set {
		if in.unicastSrc.set && c.dialect.strict {
			later, earlier := in.seen["mcast_src_ip"], in.seen["unicast_src_ip"]
			if before(later.pos, earlier.pos) {
				later, earlier = earlier, later
			}
			c.complain(later, faultf("%s and %s, at %s, are two names of one thing", later.key, earlier.key, earlier.pos))
		}
		if !in.unicastSrc.set || c.dialect.strict || before(in.unicastSrc.pos, in.mcastSrc.pos) {
			src, key = in.mcastSrc, "mcast_src_ip"
		}
	}
	if src.set {
		if vrrp.FamilyOf(src.v) != out.Family {
			c.complain(in.seen[key], faultf("%s is not an %s address, as the others of the instance are", src.v, out.Family))
			return
		}
		out.SourceIP = src.v
		if key == "unicast_src_ip" && !unicast {
			c.warn(src.pos, in.seen[key], &fault{"without unicast_peer, adverts are sent by multicast", "use mcast_src_ip if that is meant"})
		}
	}
	out.TrackSourceIP = in.trackSrc.v && src.set
	if in.trackSrc.v && !src.set && !in.bad(key) && !in.bad("mcast_src_ip") {
		c.warn(in.trackSrc.pos, in.seen["track_src_ip"], faultf("track_src_ip has no effect without unicast_src_ip or mcast_src_ip"))
	}
}

// multicast resolves the group of an instance without peers.
func (c *completer) multicast(in *rawInstance, out *Instance) {
	out.TTL = vrrp.HopLimit
	out.Group = c.global.group4.or(vrrp.IPv4.Group())
	if out.Family == vrrp.IPv6 {
		out.Group = c.global.group6.or(vrrp.IPv6.Group())
	}
	if in.group.set {
		if vrrp.FamilyOf(in.group.v) == out.Family {
			out.Group = in.group.v
		} else {
			c.complain(in.seen["mcast_dst_ip"], faultf("%s is not an %s address, as the others of the instance are", in.group.v, out.Family))
		}
	}
	if in.unicastTTL.set {
		c.warn(in.unicastTTL.pos, in.seen["unicast_ttl"], faultf("unicast_ttl has no effect without unicast_peer"))
	}
	if in.checkUnicastSrc.set {
		c.warn(in.checkUnicastSrc.pos, in.seen["check_unicast_src"], faultf("check_unicast_src has no effect without unicast_peer"))
	}
}

// iface checks the interface and the number of the virtual router.
func (c *completer) iface(in *rawInstance, out *Instance) {
	pos := in.node.valuePos()
	if !in.vrid.set && !c.reported(in, "virtual_router_id") {
		c.fail(pos, in.node, faultf("virtual_router_id is missing"))
	}
	switch {
	case in.iface.v == "lo":
		c.fail(in.iface.pos, in.seen["interface"], faultf("lo is the loopback interface: no other router can be heard on it"))
	case in.iface.set, c.reported(in, "interface"):
	case len(out.Peers) == 0 && !c.reported(in, "unicast_peer"):
		c.fail(pos, in.node, faultf("interface is missing"))
	case !out.SourceIP.IsValid():
		if !c.reported(in, "unicast_src_ip") && !c.reported(in, "mcast_src_ip") {
			c.fail(pos, in.node, &fault{"interface is missing", "or unicast_src_ip, without which unicast adverts have no source address"})
		}
	case out.SourceIP.IsLinkLocalUnicast():
		c.fail(pos, in.node, &fault{"interface is missing", "a link-local source address is not enough"})
	case slices.ContainsFunc(out.Peers, func(p Peer) bool { return p.Addr.IsLinkLocalUnicast() }):
		c.fail(pos, in.node, &fault{"interface is missing", "a link-local peer can only be reached on a given one"})
	}
}

// addressList resolves the addresses.
func (c *completer) addressList(in *rawInstance, out *Instance) {
	foreign := false
	for _, a := range in.vips {
		if vrrp.FamilyOf(a.Prefix.Addr()) != out.Family {
			if !foreign { // one mistake, however many addresses
				c.complainAt(a.node.pos, a.node, &fault{
					fmt.Sprintf("%s is not an %s address, as the first one is", a.Prefix.Addr(), out.Family),
					"an instance advertises one family: use virtual_ipaddress_excluded, or an instance for each family"})
			}
			foreign = true
			continue
		}
		if addr, ok := c.place(in, out, a); ok {
			out.Addresses = append(out.Addresses, addr)
		}
	}
	if n := len(out.Addresses); n > MaxAddresses {
		a := in.vips[MaxAddresses].node
		c.warn(a.pos, a.parent, faultf("only %d addresses can be advertised: the other %d are held, but not advertised", MaxAddresses, n-MaxAddresses))
		out.Excluded = slices.Clone(out.Addresses[MaxAddresses:])
		out.Addresses = out.Addresses[:MaxAddresses:MaxAddresses]
	}
	for _, a := range in.excluded {
		if addr, ok := c.place(in, out, a); ok {
			out.Excluded = append(out.Excluded, addr)
		}
	}
	switch {
	case len(in.vips) == 0 && in.bad("virtual_ipaddress") && c.dialect.keepalived && out.Version == vrrp.V2:
		// That has been said, and keepalived runs it.
	case len(in.vips) == 0 && !in.noVIP.v && !c.reported(in, "virtual_ipaddress") && !c.reported(in, "no_virtual_ipaddress"):
		pos, n := in.node.valuePos(), in.node
		if vips := in.seen["virtual_ipaddress"]; vips != nil {
			pos, n = vips.pos, vips
		}
		f := &fault{"there is no virtual_ipaddress", "say no_virtual_ipaddress: true if that is meant"}
		if out.Version == vrrp.V3 {
			c.fail(pos, n, f)
		} else { // keepalived runs it
			c.complainAt(pos, n, f)
		}
	case len(in.vips) > 0 && in.noVIP.v:
		c.warn(in.noVIP.pos, in.seen["no_virtual_ipaddress"], faultf("no_virtual_ipaddress has no effect: there are addresses"))
	}
	if out.Family == vrrp.IPv6 && len(in.vips) > 0 && !in.bad("virtual_ipaddress") && out.Group.IsValid() && !in.vips[0].Prefix.Addr().IsLinkLocalUnicast() {
		a := in.vips[0].node
		c.warn(a.pos, a, &fault{"the first IPv6 address is not link-local", "RFC 9568 section 5.2.9 wants one: hosts know a router by it"})
	}
}

// place gives an address its interface and checks it against those before it.
func (c *completer) place(in *rawInstance, out *Instance, a rawAddress) (Address, bool) {
	addr, n := a.Address, a.node
	if addr.Interface == "" {
		addr.Interface = out.Interface
	}
	if addr.Interface == "" {
		if in.has("interface") || len(out.Peers) == 0 || !out.SourceIP.IsValid() {
			return addr, true // it is wrong, and that has been said
		}
		addr.Interface = c.global.defaultInterface.or("eth0")
		if !c.global.defaultInterface.set {
			c.warn(n.pos, n, &fault{"there is no interface: the address goes to " + addr.Interface, "add dev, or set default_interface"})
		}
	}
	key := addressKey{addr.Interface, addr.Prefix.Addr()}
	if first := c.owners[key]; first != nil {
		f := faultf("%s on %s is already an address of %s at %s", key.addr, key.iface, first.parent.parent.path(), first.pos)
		if !c.dialect.strict {
			f.message += ": the one there is used, and this one ignored"
		}
		c.complainAt(n.pos, n, f)
		return addr, false
	}
	c.owners[key] = n
	if addr.Label != "" && !strings.HasPrefix(addr.Label, addr.Interface) {
		c.warn(n.pos, n, &fault{fmt.Sprintf("label %s does not begin with the name of the interface", addr.Label), "such as " + addr.Interface + ":1"})
	}
	if p := addr.Prefix; p.Addr().Is4() && p.Bits() <= 30 {
		last, _ := parseBroadcast("+", p) // 30 or less: no fault
		switch p.Addr() {
		case p.Masked().Addr():
			c.warn(n.pos, n, faultf("%s is the address of the network itself", p))
		case last:
			c.warn(n.pos, n, faultf("%s is the broadcast address of its network", p))
		}
	}
	return addr, true
}

// unique refuses a virtual router that receivers could take for an earlier one.
func (c *completer) unique(in *rawInstance, out *Instance) {
	if !in.vrid.set || in.bad("interface") {
		return
	}
	key := routerKey{iface: out.Interface, family: out.Family, vrid: in.vrid.v}
	var keys []routerKey
	if out.Group.IsValid() {
		key.kind, key.addr = 'g', out.Group
		keys = append(keys, key)
	} else if len(out.Peers) > 0 {
		key.kind, key.addr = 's', out.SourceIP
		keys = append(keys, key)
		for _, p := range out.Peers {
			key.kind, key.addr = 'p', p.Addr
			keys = append(keys, key)
		}
	}
	for _, k := range keys {
		if first := c.routers[k]; first != nil {
			on := ""
			if out.Interface != "" {
				on = " on " + out.Interface
			}
			c.fail(in.vrid.pos, in.seen["virtual_router_id"], faultf("virtual_router_id %d for %s%s is already used by %s at %s",
				in.vrid.v, out.Family, on, first.node.path(), first.vrid.pos))
			return
		}
	}
	for _, k := range keys {
		c.routers[k] = in
	}
}
