package config

import (
	"net/netip"
	"strconv"
	"time"

	"vipd/vrrp"
)

// A shape is the form that a keyword is written in.
type shape uint8

const (
	shapeValue   shape = iota // one value
	shapeFlag                 // true or false
	shapeBlock                // a block of keywords
	shapeNamed                // named blocks of keywords
	shapeLines                // a list of lines, see grammar
	shapeFiles                // a list of file names; the front-end acts on it
	shapeWords                // a line of words
	shapeCommand              // a command, see command.go
	shapeTexts                // a list of texts, each of them whole
)

// Support says what is done about a keyword of keepalived.
type support uint8

const (
	supported   support = iota
	unsupported         // by this version
	outOfScope          // LVS: no version will
)

// A keyword is one row of the table that drives the decoder.
type keyword struct {
	name    string
	shape   shape
	support support
	block   *block   // of shapeBlock and shapeNamed
	line    *grammar // of shapeLines

	optional bool // may be without a value, of shapeWords and shapeCommand
	user     bool // may say who runs it, of shapeCommand
	pairs    bool // items may be written as `name: value`, of shapeTexts

	values  string // what may be written
	def     string // what holds if nothing is
	doc     string // what it means
	differs string // from keepalived

	set func(*decoder, *node)
}

// A block is the set of keywords that one kind of block may hold.
type block struct {
	name     string // "" is the top level
	keywords []keyword
	index    map[string]*keyword
}

// find returns the keyword of that name, or nil.
func (b *block) find(name string) *keyword { return b.index[name] }

// names returns the names of all keywords of the block.
func (b *block) names() []string {
	names := make([]string, len(b.keywords))
	for i, k := range b.keywords {
		names[i] = k.name
	}
	return names
}

// newBlock returns a block of the given keywords.
func newBlock(name string, groups ...[]keyword) *block {
	b := &block{name: name}
	for _, g := range groups {
		b.keywords = append(b.keywords, g...)
	}
	b.index = make(map[string]*keyword, len(b.keywords))
	for i := range b.keywords {
		b.index[b.keywords[i].name] = &b.keywords[i]
	}
	return b
}

// A schema is the table of all keywords.
type schema struct {
	root, global, instance, auth, group *block
	script, check, process, file        *block
}

// blocks returns every block, for searches.
func (s *schema) blocks() []*block {
	return []*block{s.root, s.global, s.instance, s.auth, s.group, s.script, s.check, s.process, s.file}
}

// newSchema builds the table. It is built anew for each load, which takes
// microseconds, so that nothing is shared between loads.
func newSchema() *schema {
	s := &schema{
		global:  newBlock("global_defs", globalKeywords(), ownershipKeywords("", func(d *decoder) *rawOwnership { return &d.global.own }), globalTrackingKeywords(), noSupport(unsupported, globalUnsupported()), noSupport(outOfScope, globalLVS())),
		auth:    newBlock("authentication", authKeywords()),
		group:   newBlock("vrrp_sync_group", groupKeywords(), noSupport(unsupported, groupUnsupported())),
		script:  newBlock("vrrp_script", scriptKeywords()),
		check:   newBlock("vrrp_check", checkKeywords()),
		process: newBlock("vrrp_track_process", processKeywords()),
		file:    newBlock("vrrp_track_file", fileKeywords()),
	}
	s.instance = newBlock("vrrp_instance", instanceKeywords(s.auth), ownershipKeywords("the global ", func(d *decoder) *rawOwnership { return &d.inst.own }), instanceTrackingKeywords(), noSupport(unsupported, instanceUnsupported()), noSupport(outOfScope, instanceLVS()))
	s.root = newBlock("", rootKeywords(s), noSupport(unsupported, rootUnsupported()), noSupport(outOfScope, rootLVS()))
	return s
}

func rootKeywords(s *schema) []keyword {
	return []keyword{
		{
			name: "include", shape: shapeFiles, values: "file names or patterns",
			doc:     "Other files to read, relative to the directory of this one. Each may hold everything that this one may.",
			differs: "A file without wildcards that does not exist is an error, a pattern that matches nothing a warning.",
		},
		{
			name: "global_defs", shape: shapeBlock, block: s.global, values: "a block",
			doc: "What applies to the daemon as a whole, and defaults for all instances.",
			set: func(d *decoder, n *node) { d.block(n, s.global, d.globalSeen) },
		},
		{
			name: "vrrp_instance", shape: shapeNamed, block: s.instance, values: "named blocks",
			doc: "The virtual routers.",
			set: (*decoder).instance,
		},
		{
			name: "vrrp_sync_group", shape: shapeNamed, block: s.group, values: "named blocks",
			doc: "Instances that are master together or not at all.",
			set: (*decoder).syncGroup,
		},
		{
			name: "vrrp_script", shape: shapeNamed, block: s.script, values: "named blocks",
			doc: "Programs whose exit code says whether this router should be master.",
			set: trackedObject(TrackScript, func(s *schema) *block { return s.script }),
		},
		{
			name: "vrrp_check", shape: shapeNamed, block: s.check, values: "named blocks",
			doc: "Checks that vipd does by itself. Only vipd has them.",
			set: trackedObject(TrackCheck, func(s *schema) *block { return s.check }),
		},
		{
			name: "vrrp_track_process", shape: shapeNamed, block: s.process, values: "named blocks",
			doc: "Processes that should run.",
			set: trackedObject(TrackProcess, func(s *schema) *block { return s.process }),
		},
		{
			name: "vrrp_track_file", shape: shapeNamed, block: s.file, values: "named blocks",
			doc: "Files with a number in them.",
			set: trackedObject(TrackFile, func(s *schema) *block { return s.file }),
		},
		{
			name: "track_file", shape: shapeNamed, block: s.file, values: "named blocks",
			doc: "Another name of `vrrp_track_file`.",
			set: trackedObject(TrackFile, func(s *schema) *block { return s.file }),
		},
	}
}

// meta is the descriptive half of a row.
type meta struct{ def, doc, differs string }

// integer returns the row of a whole number.
func integer(name string, lo, hi int, to func(*decoder) *opt[int], m meta) keyword {
	return keyword{
		name: name, shape: shapeValue, values: strconv.Itoa(lo) + " to " + strconv.Itoa(hi), def: m.def, doc: m.doc, differs: m.differs,
		set: func(d *decoder, n *node) {
			store(d, n, to(d), func() (int, *fault) { return d.number(n, lo, hi) })
		},
	}
}

// span returns the row of a duration.
func span(name string, lo, hi time.Duration, to func(*decoder) *opt[time.Duration], m meta) keyword {
	return keyword{
		name: name, shape: shapeValue, values: "duration, " + seconds(lo) + " to " + seconds(hi), def: m.def, doc: m.doc, differs: m.differs,
		set: func(d *decoder, n *node) {
			store(d, n, to(d), func() (time.Duration, *fault) { return d.duration(n, lo, hi) })
		},
	}
}

// boolean returns the row of a boolean.
func boolean(name string, to func(*decoder) *opt[bool], m meta) keyword {
	return keyword{
		name: name, shape: shapeFlag, values: "true or false", def: m.def, doc: m.doc, differs: m.differs,
		set: func(d *decoder, n *node) { store(d, n, to(d), func() (bool, *fault) { return d.flag(n) }) },
	}
}

// value returns the row of any other single value.
func value[T any](name, values string, parse func(string) (T, *fault), to func(*decoder) *opt[T], m meta) keyword {
	return keyword{
		name: name, shape: shapeValue, values: values, def: m.def, doc: m.doc, differs: m.differs,
		set: func(d *decoder, n *node) { store(d, n, to(d), func() (T, *fault) { return parse(n.args[0].text) }) },
	}
}

// garpMax bounds the delays of announcements: a day.
const garpMax = 24 * time.Hour

// repeatMax bounds the number of rounds of announcements in a block.
const repeatMax = 1000

func globalKeywords() []keyword {
	type d = decoder
	return []keyword{
		value("router_id", "text", parseText, func(d *d) *opt[string] { return &d.global.routerID },
			meta{"the host name", "Names this router in logs. It is never sent.", ""}),
		value("vrrp_version", "2 or 3", parseVersion, func(d *d) *opt[vrrp.Version] { return &d.global.version },
			meta{"3", "Version of the protocol for IPv4 instances; IPv6 always has version 3.", "keepalived's default is 2."}),
		value("vrrp_mcast_group4", "IPv4 multicast address", parseGroup(vrrp.IPv4), func(d *d) *opt[netip.Addr] { return &d.global.group4 },
			meta{"224.0.0.18", "Multicast group of IPv4 instances.", ""}),
		value("vrrp_mcast_group6", "IPv6 multicast address", parseGroup(vrrp.IPv6), func(d *d) *opt[netip.Addr] { return &d.global.group6 },
			meta{"ff02::12", "Multicast group of IPv6 instances.", ""}),
		span("vrrp_garp_master_delay", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.global.garp.masterDelay },
			meta{"5", "Time from the first to the second block of announcements after becoming master; 0: no second block.", ""}),
		integer("vrrp_garp_master_repeat", 1, repeatMax, func(d *d) *opt[int] { return &d.global.garp.masterRepeat },
			meta{"5", "Announcements of each address in such a block.", ""}),
		span("vrrp_garp_master_refresh", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.global.garp.refresh },
			meta{"60", "Period of announcements while master; 0: none.", "keepalived's default is 0."}),
		integer("vrrp_garp_master_refresh_repeat", 1, repeatMax, func(d *d) *opt[int] { return &d.global.garp.refreshRepeat },
			meta{"1", "Announcements of each address at each refresh.", ""}),
		span("vrrp_garp_lower_prio_delay", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.global.garp.lowerPrioDelay },
			meta{"`vrrp_garp_master_delay`", "Time from the first to the second block of announcements after an advert of lower priority was heard as master; 0: no second block.", ""}),
		integer("vrrp_garp_lower_prio_repeat", 0, repeatMax, func(d *d) *opt[int] { return &d.global.garp.lowerPrioRepeat },
			meta{"`vrrp_garp_master_repeat`", "Announcements of each address in such a block; 0: none.", ""}),
		span("vrrp_garp_interval", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.global.garpInterval },
			meta{"0", "Least time between two gratuitous ARPs on an interface.", "keepalived complains about an explicit 0."}),
		span("vrrp_gna_interval", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.global.gnaInterval },
			meta{"0", "Least time between two unsolicited neighbour advertisements on an interface.", "keepalived complains about an explicit 0."}),
		boolean("vrrp_min_garp", func(d *d) *opt[bool] { return &d.global.minGARP },
			meta{"false", "Announce each address once, without a second block and without refresh, unless another `vrrp_garp_…` keyword says otherwise.", ""}),
		integer("vrrp_down_timer_adverts", 1, 100, func(d *d) *opt[int] { return &d.global.downTimerAdverts },
			meta{"3", "Number of missed adverts after which a backup takes over.", ""}),
		boolean("vrrp_lower_prio_no_advert", func(d *d) *opt[bool] { return &d.global.lowerPrioNoAdvert },
			meta{"false", "As master, do not answer an advert of lower priority with one of our own at once.", ""}),
		boolean("vrrp_higher_prio_send_advert", func(d *d) *opt[bool] { return &d.global.higherPrioSendAdvert },
			meta{"true", "Send one last advert before yielding to a higher priority, so that the winner knows and announces its addresses.", "keepalived's default is off."}),
		boolean("vrrp_check_unicast_src", func(d *d) *opt[bool] { return &d.global.checkUnicastSrc },
			meta{"true", "Accept unicast adverts only from the addresses in `unicast_peer`.", "keepalived's default is off."}),
		boolean("vrrp_skip_check_adv_addr", func(d *d) *opt[bool] { return &d.global.skipCheckAdvAddr },
			meta{"false", "Compare the addresses in an advert with our own only when the master has changed.", ""}),
		span("vrrp_startup_delay", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.global.startupDelay },
			meta{"0", "For that long after the start, ignore adverts and do not become master.", ""}),
		boolean("log_unknown_vrids", func(d *d) *opt[bool] { return &d.global.logUnknownVRIDs },
			meta{"false", "Log adverts of virtual routers that are not configured here.", ""}),
		boolean("v3_checksum_as_v2", func(d *d) *opt[bool] { return &d.global.checksumAsV2 },
			meta{"false", "Compute the checksum of version 3 over IPv4 without a pseudo-header, as RFC 9568 has it and Cisco and Juniper do.", ""}),
		integer("vrrp_rt_priority", 1, 99, func(d *d) *opt[int] { return &d.global.rtPriority },
			meta{"none", "Run with real-time scheduling (SCHED_RR) at this priority.", ""}),
		integer("vrrp_priority", -20, 19, func(d *d) *opt[int] { return &d.global.nice },
			meta{"0", "Nice value of the process.", ""}),
		value("default_interface", "interface", parseInterface, func(d *d) *opt[string] { return &d.global.defaultInterface },
			meta{"eth0", "Interface of addresses without `dev` in an instance without `interface`.", ""}),
		{
			name: "dynamic_interfaces", shape: shapeFlag, values: "true or allow_if_changes", def: "true",
			doc:     "Interfaces may be missing at the start, and may go and come back. This is always so.",
			differs: "keepalived's default is off, and then a missing interface stops it.",
			set:     (*decoder).dynamicInterfaces,
		},
	}
}

// ownershipKeywords are the rows about who has the addresses when. up is nothing
// in global_defs, and in an instance what is before the name of a keyword from
// which it inherits.
func ownershipKeywords(up string, to func(*decoder) *rawOwnership) []keyword {
	m := func(name, def, doc, differs string) meta {
		if up != "" {
			return meta{up + "`" + name + "`", "As the global keyword.", ""}
		}
		return meta{def, doc, "keepalived does not have it: " + differs}
	}
	return []keyword{
		value("vip_lease", "auto, off, or whole seconds, 1 s to 86400 s", parseLease, func(d *decoder) *opt[Lease] { return &to(d).lease },
			m("vip_lease", "auto", "For how long after its last advert the kernel keeps the addresses of a master. vipd renews them; if it is killed, hangs or is stopped, the kernel removes them. auto: as many whole seconds as a backup waits before it takes over, but at least one.",
				"when it dies, the addresses stay, and two routers answer.")),
		boolean("handover", func(d *decoder) *opt[bool] { return &to(d).handover },
			m("handover", "true", "A master that stops or gives way goes on to answer for its addresses until the next master has announced them, so that nobody has to wait.",
				"the addresses are removed at once.")),
		boolean("hold_on_mismatch", func(d *decoder) *opt[bool] { return &to(d).holdOnMismatch },
			m("hold_on_mismatch", "true", "Do not take over while a master is heard whose interval or list of addresses differs, but is right in all else.",
				"it takes over, and there are two masters.")),
		value("on_address_loss", "restore or resign", parseAddressLoss, func(d *decoder) *opt[bool] { return &to(d).resignOnLoss },
			m("on_address_loss", "restore", "What a master does when something else on the host removes one of its addresses: put it back, or become backup.",
				"it becomes backup.")),
	}
}

func authKeywords() []keyword {
	return []keyword{
		value("auth_type", "PASS", parseAuthType, func(d *decoder) *opt[vrrp.AuthType] { return &d.inst.authType },
			meta{"none", "Type of authentication.", "`AH` is not supported: vipd refuses to start rather than run without it."}),
		{
			name: "auth_pass", shape: shapeValue, values: "text", def: "none",
			doc: "Password, of which the first 8 octets count. It is sent in clear text: it protects from mistakes, not from attacks.",
			set: (*decoder).authPass,
		},
	}
}

func instanceKeywords(auth *block) []keyword {
	type d = decoder
	return []keyword{
		stateRow(meta{"MASTER if `priority` is 255, else BACKUP", "The state that this router is meant to have. MASTER does not make it start as master: it clears `nopreempt` and `preempt_delay`, and without `priority` it makes this router the owner (255).", ""}),
		value("interface", "interface", parseInterface, func(d *d) *opt[string] { return &d.inst.iface },
			meta{"required", "Interface that adverts are sent and heard on. May be left out with `unicast_peer` and `unicast_src_ip`. It need not exist yet.", "keepalived stops if it does not exist, unless `dynamic_interfaces` is set."}),
		integer("virtual_router_id", 1, 255, func(d *d) *opt[int] { return &d.inst.vrid },
			meta{"required", "Number of the virtual router. It must be the same on all its routers, and no other virtual router of the family may use it on that network.", ""}),
		integer("priority", 1, 255, func(d *d) *opt[int] { return &d.inst.priority },
			meta{"100, or 255 with `state: MASTER`", "The highest priority becomes master. 255 is for the router that has the addresses as its own.", ""}),
		span("advert_int", 10*time.Millisecond, 255*time.Second, func(d *d) *opt[time.Duration] { return &d.inst.advertInt },
			meta{"1", "Time between adverts. Version 2: whole seconds; version 3: steps of 10 ms, at most 40.95 s.", "keepalived rounds other values."}),
		value("version", "2 or 3", parseVersion, func(d *d) *opt[vrrp.Version] { return &d.inst.version },
			meta{"`vrrp_version`; 3 for IPv6", "Version of the protocol.", ""}),
		{
			name: "virtual_ipaddress", shape: shapeLines, line: addressGrammar(), values: "list of addresses", def: "required",
			doc: "The virtual addresses, all of one family: the family of the instance. At most 255; the rest is held but not advertised.",
			set: func(d *decoder, n *node) { d.inst.vips = append(d.inst.vips, d.addresses(n)...) },
		},
		{
			name: "virtual_ipaddress_excluded", shape: shapeLines, line: addressGrammar(), values: "list of addresses", def: "none",
			doc: "Addresses that are held while master but not advertised. They may be of the other family.",
			set: func(d *decoder, n *node) { d.inst.excluded = append(d.inst.excluded, d.addresses(n)...) },
		},
		boolean("no_virtual_ipaddress", func(d *d) *opt[bool] { return &d.inst.noVIP },
			meta{"false", "The instance is meant to have no `virtual_ipaddress`.", "Without it keepalived runs a version 2 instance that has no address; in YAML that is an error."}),
		{
			name: "authentication", shape: shapeBlock, block: auth, values: "a block", def: "none",
			doc:     "Authentication of version 2, see below.",
			differs: "With version 3, which has none, keepalived ignores the block; in YAML that is an error.",
			set: func(d *decoder, n *node) {
				d.inst.auth = n
				d.block(n, auth, d.inst.seen)
			},
		},
		{
			name: "unicast_peer", shape: shapeLines, line: peerGrammar(), values: "list of peers", def: "none: multicast",
			doc: "The other routers, to send adverts to by unicast.",
			set: func(d *decoder, n *node) { d.inst.peers = append(d.inst.peers, d.peers(n)...) },
		},
		value("unicast_src_ip", "address", parseHost, func(d *d) *opt[netip.Addr] { return &d.inst.unicastSrc },
			meta{"the interface's primary address", "Source address of adverts sent by unicast.", ""}),
		value("mcast_src_ip", "address", parseHost, func(d *d) *opt[netip.Addr] { return &d.inst.mcastSrc },
			meta{"the interface's primary address", "Source address of adverts sent by multicast.", "keepalived takes it for another name of `unicast_src_ip`; in YAML only one of them may be given."}),
		integer("unicast_ttl", 0, 255, func(d *d) *opt[int] { return &d.inst.unicastTTL },
			meta{"255; 64 for IPv6", "TTL or hop limit of adverts sent by unicast.", "Without `unicast_peer` it is ignored; in keepalived it then stops adverts from leaving the host."}),
		boolean("check_unicast_src", func(d *d) *opt[bool] { return &d.inst.checkUnicastSrc },
			meta{"`vrrp_check_unicast_src`", "Accept unicast adverts only from the addresses in `unicast_peer`. A peer with `min_ttl` or `max_ttl` implies it.", ""}),
		value("mcast_dst_ip", "multicast address", parseAnyGroup, func(d *d) *opt[netip.Addr] { return &d.inst.group },
			meta{"`vrrp_mcast_group4` or `vrrp_mcast_group6`", "Multicast group of the instance.", ""}),
		boolean("track_src_ip", func(d *d) *opt[bool] { return &d.inst.trackSrc },
			meta{"false", "The instance is in fault while the configured source address is not on this host.", ""}),
		boolean("nopreempt", func(d *d) *opt[bool] { return &d.inst.noPreempt },
			meta{"false", "Do not take over from a master of lower priority. Has no effect with `state: MASTER` or priority 255.", ""}),
		boolean("preempt", func(d *d) *opt[bool] { return &d.inst.preempt },
			meta{"true", "The opposite of `nopreempt`.", ""}),
		span("preempt_delay", 0, 1000*time.Second, func(d *d) *opt[time.Duration] { return &d.inst.preemptDelay },
			meta{"0", "Time from the first advert of a master of lower priority to taking over from it. Has no effect with `state: MASTER` or `nopreempt`.", ""}),
		integer("down_timer_adverts", 1, 100, func(d *d) *opt[int] { return &d.inst.downTimerAdverts },
			meta{"`vrrp_down_timer_adverts`", "Number of missed adverts after which a backup takes over.", ""}),
		span("garp_master_delay", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.inst.garp.masterDelay },
			meta{"`vrrp_garp_master_delay`", "As the global keyword.", ""}),
		integer("garp_master_repeat", 1, repeatMax, func(d *d) *opt[int] { return &d.inst.garp.masterRepeat },
			meta{"`vrrp_garp_master_repeat`", "As the global keyword.", ""}),
		span("garp_master_refresh", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.inst.garp.refresh },
			meta{"`vrrp_garp_master_refresh`", "As the global keyword.", ""}),
		integer("garp_master_refresh_repeat", 1, repeatMax, func(d *d) *opt[int] { return &d.inst.garp.refreshRepeat },
			meta{"`vrrp_garp_master_refresh_repeat`", "As the global keyword.", ""}),
		span("garp_lower_prio_delay", 0, garpMax, func(d *d) *opt[time.Duration] { return &d.inst.garp.lowerPrioDelay },
			meta{"`vrrp_garp_lower_prio_delay`", "As the global keyword.", ""}),
		integer("garp_lower_prio_repeat", 0, repeatMax, func(d *d) *opt[int] { return &d.inst.garp.lowerPrioRepeat },
			meta{"`vrrp_garp_lower_prio_repeat`", "As the global keyword.", ""}),
		boolean("lower_prio_no_advert", func(d *d) *opt[bool] { return &d.inst.lowerPrioNoAdvert },
			meta{"`vrrp_lower_prio_no_advert`", "As the global keyword.", ""}),
		boolean("higher_prio_send_advert", func(d *d) *opt[bool] { return &d.inst.higherPrioSendAdvert },
			meta{"`vrrp_higher_prio_send_advert`", "As the global keyword.", ""}),
		boolean("skip_check_adv_addr", func(d *d) *opt[bool] { return &d.inst.skipCheckAdvAddr },
			meta{"`vrrp_skip_check_adv_addr`", "As the global keyword.", "In keepalived even `off` turns it on."}),
		boolean("v3_checksum_as_v2", func(d *d) *opt[bool] { return &d.inst.checksumAsV2 },
			meta{"the global `v3_checksum_as_v2`", "As the global keyword.", ""}),
		{
			name: "accept", shape: shapeFlag, values: "true", def: "true",
			doc: "As master, accept traffic for the virtual addresses. false is not supported by this version.",
			set: (*decoder).accept,
		},
		{
			name: "track_interface", shape: shapeLines, line: trackGrammar(TrackInterface), values: "list of interfaces", def: "none",
			doc: "Other interfaces that must be up: while one of them is not, the instance is in fault, or with a weight has another priority. The instance's own interface is always tracked.",
			set: func(d *decoder, n *node) { d.tracked(n, TrackInterface, &d.inst.tracks) },
		},
		boolean("dont_track_primary", func(d *d) *opt[bool] { return &d.inst.dontTrackPrimary },
			meta{"false", "Do not go into fault when the instance's own interface is down.", ""}),
		boolean("native_ipv6", func(d *d) *opt[bool] { return &d.inst.nativeIPv6 },
			meta{"false", "Deprecated: the family follows from the addresses. Makes an instance without addresses an IPv6 one.", ""}),
	}
}

// noSupport returns rows of keywords that keepalived has and vipd does not.
func noSupport(s support, names []string) []keyword {
	rows := make([]keyword, len(names))
	for i, n := range names {
		rows[i] = keyword{name: n, support: s}
	}
	return rows
}

// stateRow returns the row of state.
func stateRow(m meta) keyword {
	return keyword{
		name: "state", shape: shapeValue, values: "MASTER or BACKUP", def: m.def, doc: m.doc, differs: m.differs,
		set: func(d *decoder, n *node) {
			master, f := parseState(n.args[0].text)
			to := &d.inst.master
			switch {
			case !d.dialect.keepalived:
				store(d, n, to, func() (bool, *fault) { return master, f })
				return
			case f != nil:
				f.message += ": BACKUP is used"
				d.complain(n, f)
				n.bad = false
			case !master && to.v:
				d.complainAt(n.valuePos(), n, faultf("state is already MASTER at %s: this one is ignored", to.pos))
				return
			}
			*to = opt[bool]{v: master, pos: n.valuePos(), set: true}
		},
	}
}
