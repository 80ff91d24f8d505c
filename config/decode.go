package config

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vipd/vrrp"
)

// A dialect is what differs between the languages that a configuration may be
// written in, once it is a tree.
type dialect struct {
	strict          bool // a mistake is an error, not a warning
	version         vrrp.Version
	garpRefresh     time.Duration
	checkUnicastSrc bool
	// scriptUser runs scripts that name no user; empty: root. keepalived has
	// keepalived_script if there is such a user on the host, which whoever
	// makes the dialect has to find out.
	scriptUser     string
	scriptSecurity bool
}

// yamlDialect is vipd's own: strict, and with defaults of today.
func yamlDialect() dialect {
	return dialect{strict: true, version: vrrp.V3, garpRefresh: time.Minute, checkUnicastSrc: true, scriptUser: "root", scriptSecurity: true}
}

// A report collects diagnostics while files are read and decoded.
type report struct {
	diags Diagnostics
	files []string
}

// add adds a diagnostic.
func (r *report) add(pos Pos, sev Severity, path string, f *fault) {
	r.diags = append(r.diags, Diagnostic{Pos: pos, Path: visible(path), Severity: sev, Message: visible(f.message), Hint: visible(f.hint)})
}

// visible escapes control characters, so that what a file contains cannot break
// a line or command a terminal.
func visible(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// rawGARP holds the announcement keywords, which exist globally and in
// instances.
type rawGARP struct {
	masterDelay, refresh, lowerPrioDelay         opt[time.Duration]
	masterRepeat, refreshRepeat, lowerPrioRepeat opt[int]
}

// rawGlobal holds global_defs as given.
type rawGlobal struct {
	routerID, defaultInterface              opt[string]
	version                                 opt[vrrp.Version]
	group4, group6                          opt[netip.Addr]
	garp                                    rawGARP
	garpInterval, gnaInterval, startupDelay opt[time.Duration]
	minGARP, lowerPrioNoAdvert              opt[bool]
	higherPrioSendAdvert, checkUnicastSrc   opt[bool]
	skipCheckAdvAddr, logUnknownVRIDs       opt[bool]
	checksumAsV2                            opt[bool]
	downTimerAdverts, rtPriority, nice      opt[int]

	rawTracking
}

// rawInstance holds a vrrp_instance as given.
type rawInstance struct {
	node *node
	seen map[string]*node // keywords that were given, even if wrongly

	guessed map[string]bool // keywords that an unknown one was probably meant for

	master                         opt[bool]
	iface                          opt[string]
	vrid, priority, unicastTTL     opt[int]
	downTimerAdverts               opt[int]
	advertInt, preemptDelay        opt[time.Duration]
	version                        opt[vrrp.Version]
	vips, excluded                 []rawAddress
	noVIP                          opt[bool]
	auth                           *node
	authType                       opt[vrrp.AuthType]
	authPass                       opt[string]
	peers                          []rawPeer
	unicastSrc, mcastSrc, group    opt[netip.Addr]
	checkUnicastSrc, trackSrc      opt[bool]
	noPreempt, preempt             opt[bool]
	garp                           rawGARP
	lowerPrioNoAdvert              opt[bool]
	higherPrioSendAdvert           opt[bool]
	skipCheckAdvAddr, checksumAsV2 opt[bool]
	tracks                         rawTracks
	notify                         rawNotify
	dontTrackPrimary, nativeIPv6   opt[bool]

	sync *rawGroup // set by complete
}

// has reports whether the keyword was given, even if wrongly.
func (in *rawInstance) has(key string) bool { return in.seen[key] != nil || in.guessed[key] }

// bad reports whether the keyword was given wrongly.
func (in *rawInstance) bad(key string) bool {
	if n := in.seen[key]; n != nil {
		return n.bad
	}
	return in.guessed[key]
}

// A decoder turns a tree of nodes into a Config.
type decoder struct {
	*report
	dialect dialect
	schema  *schema

	global     rawGlobal
	globalSeen map[string]*node
	insts      []*rawInstance
	byName     map[string]*rawInstance
	inst       *rawInstance // the one being decoded

	groups       []*rawGroup
	group        *rawGroup // the one being decoded
	objects      []*rawObject
	objectsByKey map[objectKey]*rawObject
	object       *rawObject // the one being decoded
}

// decode decodes a whole tree. The Config is nil if there are errors.
func decode(root *node, s *schema, dia dialect, r *report) *Config {
	d := &decoder{
		report: r, dialect: dia, schema: s,
		globalSeen: make(map[string]*node), byName: make(map[string]*rawInstance),
		objectsByKey: make(map[objectKey]*rawObject),
	}
	d.block(root, s.root, nil)
	c := d.complete()
	if r.diags.HasErrors() {
		return nil
	}
	return c
}

// complainAt reports a mistake at pos, which is in n: an error in a strict
// dialect, else a warning.
func (d *decoder) complainAt(pos Pos, n *node, f *fault) {
	sev := Warning
	if d.dialect.strict {
		sev = Error
	}
	d.add(pos, sev, n.path(), f)
}

// complain reports a mistake in the value of n.
func (d *decoder) complain(n *node, f *fault) {
	n.bad = true
	d.complainAt(n.valuePos(), n, f)
}

// warn reports what is valid but surprising.
func (d *decoder) warn(pos Pos, n *node, f *fault) { d.add(pos, Warning, n.path(), f) }

// store keeps the parsed value of a keyword, or reports what is wrong with it.
func store[T any](d *decoder, n *node, to *opt[T], parse func() (T, *fault)) {
	v, f := parse()
	if f != nil {
		d.complain(n, f)
		return
	}
	*to = opt[T]{v: v, pos: n.valuePos(), set: true}
}

// block decodes the statements in n. seen, unless nil, takes note of them and
// refuses a second one.
func (d *decoder) block(n *node, b *block, seen map[string]*node) {
	for _, c := range n.children {
		kw := b.find(c.key)
		if kw == nil {
			d.unknown(c, b)
			continue
		}
		if kw.support != supported {
			d.refuse(c, kw.support)
			continue
		}
		if seen != nil {
			if first := seen[c.key]; first != nil && d.dialect.strict {
				d.complainAt(c.pos, c, faultf("%s is already set at %s", c.key, first.pos))
				continue
			}
			seen[c.key] = c
		}
		if c.bad && kw.shape != shapeLines { // of a list, other items may be good
			continue
		}
		switch {
		case (kw.shape == shapeValue || kw.shape == shapeWords || kw.shape == shapeCommand) && !kw.optional && len(c.args) == 0 && !c.verbatim:
			d.complain(c, faultf("%s needs a value", c.key))
		case kw.shape == shapeNamed && len(c.args) == 0:
			d.complain(c, faultf("%s needs a name", c.key))
		case kw.shape <= shapeFlag && len(c.args) > 1:
			d.complain(c, faultf("%s takes one value, not %d", c.key, len(c.args)))
		default:
			kw.set(d, c)
		}
	}
}

// refuse reports a keyword that vipd knows of but does not have.
func (d *decoder) refuse(n *node, s support) {
	n.bad = true
	if s == outOfScope {
		d.complainAt(n.pos, n, &fault{n.key + " belongs to LVS, which vipd does not do", "keepalived or another load balancer can go on doing it beside vipd"})
		return
	}
	d.complainAt(n.pos, n, faultf("%s is not supported by this version of vipd", n.key))
}

// unknown reports a keyword that the block does not have.
func (d *decoder) unknown(n *node, b *block) {
	n.bad = true
	if strings.HasPrefix(n.key, "lvs_") || strings.HasPrefix(n.key, "checker_") {
		d.refuse(n, outOfScope)
		return
	}
	f := faultf("unknown keyword %s", quote(n.key))
	if near := d.nearestIn(n.key, b); near != "" {
		f.hint = "did you mean " + near + "?"
		if d.inst != nil {
			d.inst.guessed[near] = true
		}
	} else if places := d.placesOf(n.key); places != "" {
		f = faultf("%s belongs %s", n.key, places)
	} else {
		for _, other := range d.schema.blocks() {
			if near := nearest(n.key, other.names()); near != "" {
				f.hint = "did you mean " + near + ", which belongs " + d.placesOf(near) + "?"
				break
			}
		}
	}
	d.complainAt(n.pos, n, f)
}

// nearestIn returns the keyword of the block that was probably meant, or "".
// The same setting has the prefix vrrp_ in global_defs, and none in an instance.
func (d *decoder) nearestIn(key string, b *block) string {
	// Except for priority: vrrp_priority is the nice value.
	if near := "vrrp_" + key; b.find(near) != nil && key != "priority" {
		return near
	}
	if near, cut := strings.CutPrefix(key, "vrrp_"); cut && b.find(near) != nil {
		return near
	}
	if d.placesOf(key) != "" {
		return "" // spelt right, in the wrong place
	}
	return nearest(key, b.names())
}

// placesOf says in words which blocks have the keyword, or returns "".
func (d *decoder) placesOf(key string) string {
	var places []string
	for _, b := range d.schema.blocks() {
		switch {
		case b.find(key) == nil:
		case b.name == "":
			places = append(places, "at the top level")
		default:
			places = append(places, "in "+b.name)
		}
	}
	return strings.Join(places, " or ")
}

// instance decodes a vrrp_instance.
func (d *decoder) instance(n *node) {
	name, f := parseText(n.args[0].text)
	if f != nil {
		d.complain(n, f)
		return
	}
	if first := d.byName[name]; first != nil {
		d.complain(n, faultf("there is already a vrrp_instance %s at %s", name, first.node.valuePos()))
		return
	}
	d.inst = &rawInstance{node: n, seen: make(map[string]*node), guessed: make(map[string]bool)}
	d.byName[name] = d.inst
	d.insts = append(d.insts, d.inst)
	d.block(n, d.schema.instance, d.inst.seen)
	d.inst = nil
}

// dynamicInterfaces decodes a keyword that asks for what is always done.
func (d *decoder) dynamicInterfaces(n *node) {
	if len(n.args) == 1 && n.args[0].text == "allow_if_changes" {
		return
	}
	on, f := flagOf(n)
	if f != nil {
		f.message += ", nor allow_if_changes"
		d.complain(n, f)
	} else if !on {
		d.warn(n.valuePos(), n, faultf("interfaces may always come and go: false has no effect"))
	}
}

// accept decodes a keyword of which only the default is supported.
func (d *decoder) accept(n *node) {
	on, f := flagOf(n)
	if f == nil && !on {
		f = faultf("accept: false is not supported by this version of vipd")
	}
	if f != nil {
		d.complain(n, f)
	}
}
