package config

import (
	"fmt"
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
	keepalived      bool // mistakes have the effect that they have in keepalived
	refuse          bool // an instance that cannot run makes all of it fail
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
	diags  Diagnostics
	files  []string
	errors int // of the diagnostics
	more   int // diagnostics that are not kept
}

// sorted returns the diagnostics by position.
func (r *report) sorted() Diagnostics {
	out := r.diags.sorted(r.files)
	if r.more > 0 {
		out = append(out, Diagnostic{Pos: Pos{File: r.files[0]}, Severity: Warning, Message: fmt.Sprintf("%d more errors and warnings are not shown", r.more)})
	}
	return out
}

// maxDiagnostics is how many diagnostics are kept: who has more of them wants
// to know what kind of file it is, not each one.
const maxDiagnostics = 1000

// full reports whether further diagnostics are only counted.
func (r *report) full() bool { return len(r.diags) >= maxDiagnostics }

// add adds a diagnostic.
func (r *report) add(pos Pos, sev Severity, path string, f *fault) {
	if sev == Error {
		r.errors++
	}
	if r.full() && (sev != Error || r.errors > 1) {
		r.more++
		return
	}
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
	checksumAsV2, strict                    opt[bool]
	downTimerAdverts, rtPriority, nice      opt[int]

	own rawOwnership
	rawTracking
}

// rawOwnership holds the keywords about who has the addresses when, which exist
// globally and in instances.
type rawOwnership struct {
	lease                    opt[Lease]
	handover, holdOnMismatch opt[bool]
	resignOnLoss             opt[bool]
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
	strict                         opt[bool] // strict_mode of keepalived
	own                            rawOwnership

	sync *rawGroup // set by complete

	failed *fault // why it cannot run, if it cannot
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

	leavable int              // errors that concern an instance that can be left out
	lost     map[string]bool  // names of blocks whose keyword is misspelt or misplaced
	leftOut  []LeftOut        // instances that are no statements of the top level
	named    map[string]*node // unsupported keywords that have been named, unless strict
}

// decode decodes a whole tree. The Config is nil if there are errors.
func decode(root *node, s *schema, dia dialect, r *report) *Config {
	return newDecoder(s, dia, r).run(root)
}

// newDecoder returns a decoder that has not decoded anything.
func newDecoder(s *schema, dia dialect, r *report) *decoder {
	return &decoder{
		report: r, dialect: dia, schema: s,
		globalSeen: make(map[string]*node), byName: make(map[string]*rawInstance),
		objectsByKey: make(map[objectKey]*rawObject), named: make(map[string]*node), lost: make(map[string]bool),
	}
}

// run decodes a tree.
func (d *decoder) run(root *node) *Config {
	d.block(root, d.schema.root, nil)
	c := d.complete()
	if d.errors > d.leavable || len(c.LeftOut) > 0 && (d.dialect.refuse || len(c.Instances) == 0) {
		return nil
	}
	return c
}

// fail reports what n cannot run with, in any dialect. In that of keepalived it
// is only the instance that cannot.
func (d *decoder) fail(pos Pos, n *node, f *fault) {
	f = d.phrase(f)
	d.add(pos, Error, n.path(), f)
	if d.inst != nil && !d.dialect.strict {
		d.leavable++
		if d.inst.failed == nil {
			d.inst.failed = f
		}
	}
}

// complainAt reports a mistake at pos, which is in n: an error in a strict
// dialect, else a warning.
func (d *decoder) complainAt(pos Pos, n *node, f *fault) {
	sev := Warning
	f = d.phrase(f)
	if d.dialect.strict {
		sev = Error
	}
	d.add(pos, sev, n.path(), f)
}

// complain reports a mistake in the value of n.
func (d *decoder) complain(n *node, f *fault) {
	n.bad = true
	if d.inst != nil && !d.dialect.strict && (n.key == "virtual_router_id" || n.key == "interface") && n.parent == d.inst.node {
		d.fail(n.valuePos(), n, f) // without these it cannot run
		return
	}
	d.complainAt(n.valuePos(), n, f)
}

// warn reports what is valid but surprising.
func (d *decoder) warn(pos Pos, n *node, f *fault) { d.add(pos, Warning, n.path(), d.phrase(f)) }

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
			d.missing(c, faultf("%s needs a value", c.key))
		case kw.shape == shapeNamed && len(c.args) == 0:
			d.complain(c, faultf("%s needs a name", c.key))
		case kw.shape <= shapeFlag && len(c.args) > 1:
			d.complain(c, faultf("%s takes one value, not %d", c.key, len(c.args)))
		default:
			kw.set(d, c)
		}
	}
}

// missing reports a keyword without its value. keepalived refuses to run
// then, so an instance with it is left out.
func (d *decoder) missing(n *node, f *fault) {
	n.bad = true
	if d.inst != nil && d.dialect.keepalived {
		d.fail(n.pos, n, f)
		return
	}
	d.complainAt(n.pos, n, f)
}

// refuse reports a keyword that vipd knows of but does not have.
func (d *decoder) refuse(n *node, s support) {
	n.bad = true
	if d.dialect.keepalived && (n.key == "vrrp_strict" || n.key == "strict_mode") {
		d.strictMode(n)
	}
	if d.dialect.keepalived && (n.key == "random_seed" || n.key == "include_check") {
		return // the front-end has acted on it
	}
	if d.named[n.key] != nil && n.key != "auth_hmac" {
		return
	}
	if !d.dialect.strict {
		d.named[n.key] = n
	}
	if n.key == "vrrp_strict" || n.key == "strict_mode" {
		if on, f := flagOf(n); f == nil && !on && d.dialect.keepalived {
			return
		}
	}
	if n.key == "auth_hmac" {
		// An error in every dialect: an instance that asks for more security
		// than there is must not run with less.
		d.fail(n.pos, n, faultf("authentication by auth_hmac is not supported"))
		return
	}
	if d.dialect.keepalived && s == unsupported {
		d.complainAt(n.pos, n, faultf("%s is not supported by this version of vipd: %s", n.key, notBuilt(n.key)))
		return
	}
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
	if len(n.args) > 0 {
		d.lost[n.args[0].text] = true
	}
	if n.key == "vrrp_instance" && len(n.args) > 0 && d.dialect.keepalived {
		f = &fault{"vrrp_instance belongs at the top level, and this one is within another block", "is there a brace missing before?"}
		d.add(n.pos, Error, n.path(), f)
		d.leavable++
		d.leftOut = append(d.leftOut, LeftOut{Name: n.args[0].text, Pos: n.args[0].pos, Reason: f.message})
		return
	}
	if d.full() {
		d.complainAt(n.pos, n, f)
		return
	}
	if near := d.nearestIn(n.key, b); near != "" {
		f.hint = "did you mean " + near + "?"
		if d.inst != nil && !d.dialect.keepalived { // where it is not there, and its default counts
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
	if f != nil && d.dialect.keepalived {
		d.add(n.valuePos(), Error, n.path(), f)
		d.leavable++
		d.leftOut = append(d.leftOut, LeftOut{Name: visible(n.args[0].text), Pos: n.valuePos(), Reason: f.message})
		return
	}
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

// authPass decodes a password, which in keepalived may be any octets.
func (d *decoder) authPass(n *node) {
	store(d, n, &d.inst.authPass, func() (string, *fault) {
		if s := n.args[0].text; d.dialect.keepalived && s != "" {
			return s, nil
		}
		return parseText(n.args[0].text)
	})
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
