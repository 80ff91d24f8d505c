package config

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vipd/vrrp"
)

// A grammar says what a line of a list consists of: a head, then parts in any
// order.
type grammar struct {
	head  string // name of the first word when the line is written as a map
	parts []part
	// lenient says that keepalived ignores a word that it does not know, and
	// not the whole line.
	lenient bool
}

// A part is an option of a line.
type part struct {
	name    string
	flag    bool // takes no value
	alias   string
	support support
	only    vrrp.Family // 0: both

	values, doc string
}

// find returns the part of that name, or nil.
func (g *grammar) find(name string) *part {
	for i := range g.parts {
		if p := &g.parts[i]; p.name == name || p.alias == name && name != "" {
			return p
		}
	}
	return nil
}

// names returns the names of all parts.
func (g *grammar) names() []string {
	var names []string
	for _, p := range g.parts {
		names = append(names, p.name)
		if p.alias != "" {
			names = append(names, p.alias)
		}
	}
	return names
}

// addressGrammar is the line of an address (keepalived: parse_ipaddress).
func addressGrammar() *grammar {
	return &grammar{head: "address", lenient: true, parts: []part{
		{name: "dev", values: "interface", doc: "Interface to hold the address on, by default the instance's. It is tracked, unless `no_track`."},
		{name: "brd", alias: "broadcast", only: vrrp.IPv4, values: "address, + or -", doc: "Broadcast address; + sets all host bits, - clears them. IPv4 only. Default: none."},
		{name: "label", only: vrrp.IPv4, values: "text", doc: "Label, at most 15 octets, such as eth0:1. IPv4 only."},
		{name: "scope", only: vrrp.IPv4, values: "global, site, link, host, nowhere or a number", doc: "Scope. IPv4 only. Default: global."},
		{name: "peer", values: "address with prefix length", doc: "Address of the other end of a point-to-point link; the prefix length goes here."},
		{name: "preferred_lft", only: vrrp.IPv6, values: "seconds or forever", doc: "Preferred lifetime; 0 means deprecated, so that no new connection uses the address as its source. IPv6 only. Default: forever, and 0 for a /128."},
		{name: "-nodad", flag: true, only: vrrp.IPv6, doc: "Perform duplicate address detection, which is off otherwise. IPv6 only."},
		{name: "home", flag: true, only: vrrp.IPv6, doc: "Mark as home address (RFC 6275). IPv6 only."},
		{name: "mngtmpaddr", flag: true, only: vrrp.IPv6, doc: "Let the kernel derive temporary addresses. IPv6 only."},
		{name: "noprefixroute", flag: true, doc: "Do not add a route for the prefix."},
		{name: "autojoin", flag: true, doc: "Join the multicast group of the address."},
		{name: "no_track", flag: true, doc: "Ignore a deletion of the address by someone else."},
		{name: "use_vmac", flag: true, support: unsupported},
		{name: "track_group", support: unsupported},
	}}
}

// peerGrammar is the line of a unicast peer.
func peerGrammar() *grammar {
	return &grammar{head: "address", lenient: true, parts: []part{
		{name: "min_ttl", values: "0 to 255", doc: "Drop adverts of this peer that arrive with a lower TTL."},
		{name: "max_ttl", values: "0 to 255", doc: "Drop adverts of this peer that arrive with a higher TTL."},
	}}
}

// trackGrammar is the line of a tracked object.
func trackGrammar(kind TrackKind) *grammar {
	weight := "Adds to the priority: a positive weight while the object is good, a negative one while it is not. 0: while it is not good, the instance is in fault. Default: the object's own weight."
	switch kind {
	case TrackInterface:
		weight = "Adds to the priority: a positive weight while the interface is up, a negative one while it is not. 0, the default: while it is not up, the instance is in fault."
	case TrackFile:
		weight = "Multiplied by the number in the file, it adds to the priority. 0: while the number is not 0, the instance is in fault. Default: the object's own weight."
	}
	return &grammar{head: "name", parts: []part{
		{name: "weight", values: kind.weightRange(), doc: weight},
		{name: "reverse", flag: true, doc: "Exchange good and not good."},
		{name: "noreverse", flag: true, doc: "Do not, though the object has `reverse`."},
	}}
}

// nameGrammar is a line that consists of a name.
func nameGrammar(head string) *grammar { return &grammar{head: head} }

// parts splits a line by its grammar. It reports what it does not understand
// and then returns false.
func (d *decoder) parts(n *node, g *grammar) (map[string]word, bool) {
	got := make(map[string]word)
	ok := true
	for i := 0; i < len(n.args); i++ {
		w := n.args[i]
		p := g.find(w.text)
		if p == nil && (g.lenient || i > 1) && d.dialect.keepalived {
			f := d.unknownPart(w.text, g)
			f.message += ": it is ignored"
			d.complainAt(w.pos, n, f)
			continue
		}
		if p == nil {
			d.complainAt(w.pos, n, d.unknownPart(w.text, g))
			return nil, false // what follows may be its value
		}
		v := w
		if !p.flag {
			if i++; i == len(n.args) {
				d.complainAt(w.pos, n, faultf("%s needs a value", w.text))
				return nil, false
			}
			v = n.args[i]
		}
		if p.support != supported {
			if d.dialect.keepalived {
				d.complainAt(w.pos, n, faultf("%s is not supported by this version of vipd: it is ignored", w.text))
				continue
			}
			d.complainAt(w.pos, n, faultf("%s is not supported by this version of vipd", w.text))
			ok = false
			continue
		}
		if _, dup := got[p.name]; dup && g.lenient && d.dialect.keepalived && p.name != "dev" {
			d.complainAt(w.pos, n, faultf("%s is given twice: this one is used", w.text))
		} else if dup {
			d.complainAt(w.pos, n, faultf("%s is given twice", w.text))
			ok = false
			continue
		}
		got[p.name] = v
	}
	return got, ok
}

// unknownPart says that a line has no such part.
func (d *decoder) unknownPart(name string, g *grammar) *fault {
	f := faultf("unknown word %s", quote(name))
	if near := nearest(name, g.names()); near != "" {
		f.hint = "did you mean " + near + "?"
	} else if _, _, notAddr := parsePrefix(strings.TrimRight(name, ",")); notAddr == nil {
		f.hint = "one address per item of the list"
	} else if len(g.parts) > 0 {
		var known []string
		for _, p := range g.parts {
			if p.support == supported {
				known = append(known, p.name)
			}
		}
		f.hint = "known are " + strings.Join(known, ", ")
	}
	return f
}

// A rawAddress is an address line; its interface may still be missing.
type rawAddress struct {
	Address
	node *node
}

// addresses decodes a list of address lines.
func (d *decoder) addresses(list *node) []rawAddress {
	g := addressGrammar()
	out := make([]rawAddress, 0, len(list.children))
	for _, n := range list.children {
		if n.bad {
			list.bad = true
			continue
		}
		if a, ok := d.address(n, g); ok {
			out = append(out, rawAddress{a, n})
		} else {
			n.bad, list.bad = true, true
		}
	}
	return out
}

// address decodes one address line.
func (d *decoder) address(n *node, g *grammar) (Address, bool) {
	a := Address{Pos: n.pos}
	prefix, lengthGiven, f := d.confPrefix(n, word{n.key, n.pos})
	if f == nil {
		if f = checkHost(prefix.Addr()); f != nil && d.dialect.keepalived {
			d.complainAt(n.pos, n, f) // but keepalived tries to add it
			f = nil
		}
	}
	ok := f == nil
	if !ok {
		d.complainAt(n.pos, n, f)
		if strings.Contains(n.key, ",") {
			return a, false // the rest is other addresses
		}
	}
	a.Prefix = prefix
	parts, partsOK := d.parts(n, g)
	if !ok || !partsOK {
		return a, false
	}
	fam := vrrp.FamilyOf(prefix.Addr())
	for _, p := range g.parts {
		w, given := parts[p.name]
		if !given {
			continue
		}
		if p.only != 0 && p.only != fam {
			f := faultf("%s is only possible on %s addresses", p.name, p.only)
			if d.dialect.keepalived && p.name != "brd" {
				f.message += ": it is ignored"
			} else {
				ok = false
			}
			d.complainAt(w.pos, n, f)
			continue
		}
		var f *fault
		switch p.name {
		case "dev":
			a.Interface, f = parseInterface(w.text)
		case "brd":
			a.Broadcast, f = parseBroadcast(w.text, prefix)
		case "label":
			a.Label, f = parseLabel(w.text)
		case "scope":
			a.Scope, f = parseScope(w.text)
		case "peer":
			a.Peer, _, f = parsePrefix(w.text)
			switch {
			case f != nil:
			case vrrp.FamilyOf(a.Peer.Addr()) != fam:
				f = faultf("%s is not an %s address, as %s is", a.Peer.Addr(), fam, prefix.Addr())
			case lengthGiven && prefix.Bits() != prefix.Addr().BitLen():
				f = &fault{"an address with a peer has no prefix length of its own", "put /" + strconv.Itoa(prefix.Bits()) + " on the peer"}
			}
		case "preferred_lft":
			a.Deprecated, a.PreferredLifetime, f = parsePreferred(w.text)
		case "-nodad":
			a.DAD = true
		case "home":
			a.HomeAddress = true
		case "mngtmpaddr":
			a.ManageTempAddr = true
		case "noprefixroute":
			a.NoPrefixRoute = true
		case "autojoin":
			a.AutoJoin = true
		case "no_track":
			a.NoTrack = true
		}
		if f != nil {
			ignored := p.name == "scope" || p.name == "peer" || p.name == "preferred_lft" || p.name == "brd" && (w.text == "+" || w.text == "-")
			if d.dialect.keepalived && ignored {
				f.message += ": it is ignored"
				if p.name == "peer" {
					a.Peer = netip.Prefix{}
				}
			} else {
				ok = false
			}
			d.complainAt(w.pos, n, f)
		}
	}
	if a.Peer.IsValid() && d.dialect.keepalived && a.Broadcast.IsValid() {
		d.complainAt(parts["brd"].pos, n, faultf("an address with a peer has no broadcast address: it is ignored"))
		a.Broadcast = netip.Addr{}
	}
	// As in keepalived: a host address that comes and goes should not become
	// the source of the host's own connections.
	if _, given := parts["preferred_lft"]; !given && fam == vrrp.IPv6 && prefix.IsSingleIP() && !a.Peer.IsValid() {
		a.Deprecated = true
	}
	return a, ok
}

// parseBroadcast reads a broadcast address for an address with the prefix.
func parseBroadcast(s string, p netip.Prefix) (netip.Addr, *fault) {
	if s != "+" && s != "-" {
		a, f := parseAddr(s)
		if f == nil && !a.Is4() {
			f = faultf("%s is not an IPv4 address", a)
		}
		return a, f
	}
	if p.Bits() > 30 {
		return netip.Addr{}, faultf("brd %s needs a prefix length of 30 or less", s)
	}
	b := p.Masked().Addr().As4()
	if s == "+" {
		for bit := p.Bits(); bit < 32; bit++ {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
	}
	return netip.AddrFrom4(b), nil
}

// parseLabel reads an address label, which the kernel keeps in 16 octets.
func parseLabel(s string) (string, *fault) {
	if len(s) > 15 {
		return "", faultf("label %s is longer than 15 octets", quote(s))
	}
	if s == "" || strings.ContainsAny(s, " \t\r\n") {
		return "", faultf("%s is not a label", quote(s))
	}
	return parseText(s)
}

// parseScope reads an address scope, by the names of iproute2's rt_scopes or by
// number.
func parseScope(s string) (uint8, *fault) {
	switch s {
	case "global":
		return 0, nil
	case "site":
		return 200, nil
	case "link":
		return 253, nil
	case "host":
		return 254, nil
	case "nowhere":
		return 255, nil
	}
	if !isDigits(s) {
		return 0, faultf("%s is not a scope (global, site, link, host, nowhere or a number)", quote(s))
	}
	n, f := parseInt(s, 0, 255)
	return uint8(n), f
}

// parsePreferred reads a preferred lifetime.
func parsePreferred(s string) (deprecated bool, lifetime time.Duration, f *fault) {
	if s == "forever" {
		return false, 0, nil
	}
	// The kernel counts in 32 bits, of which all ones mean for ever.
	lifetime, f = parseDuration(s, 0, (1<<32-2)*time.Second)
	if f == nil && lifetime%time.Second != 0 {
		f = faultf("%s is not a whole number of seconds", s)
	}
	return lifetime == 0, lifetime, f
}

// A rawPeer is the line of a unicast peer.
type rawPeer struct {
	Peer
	node *node
}

// peers decodes a list of unicast peers.
func (d *decoder) peers(list *node) []rawPeer {
	g := peerGrammar()
	out := make([]rawPeer, 0, len(list.children))
	for _, n := range list.children {
		if p, ok := d.peer(n, g); ok {
			out = append(out, rawPeer{p, n})
		} else {
			n.bad, list.bad = true, true
		}
	}
	return out
}

// peer decodes one peer.
func (d *decoder) peer(n *node, g *grammar) (Peer, bool) {
	p := Peer{MinTTL: -1, MaxTTL: -1}
	if n.bad {
		return p, false
	}
	addr, f := d.peerAddr(n)
	ok := f == nil
	if !ok {
		d.complainAt(n.pos, n, f)
	}
	p.Addr = addr
	parts, partsOK := d.parts(n, g)
	ok = ok && (partsOK || d.dialect.keepalived) // which drops the rest of the line, not the peer
	for _, t := range []struct {
		name string
		to   *int
	}{{"min_ttl", &p.MinTTL}, {"max_ttl", &p.MaxTTL}} {
		w, given := parts[t.name]
		if !given {
			continue
		}
		v, f := parseInt(w.text, 0, 255)
		if f != nil {
			if d.dialect.keepalived {
				f.message += ": it is ignored"
			} else {
				ok = false
			}
			d.complainAt(w.pos, n, f)
			continue
		}
		*t.to = v
	}
	if ok && p.MaxTTL >= 0 && p.MinTTL > p.MaxTTL {
		d.complainAt(parts["min_ttl"].pos, n, faultf("min_ttl %d is above max_ttl %d", p.MinTTL, p.MaxTTL))
		ok = d.dialect.keepalived // which drops all of its adverts
	}
	return p, ok
}
