package config

import (
	"fmt"
	"math"
	"net/netip"
	"os/user"
	"strconv"
	"strings"
	"time"

	"vipd/vrrp"
)

// confDialect is that of keepalived.conf: what keepalived complains about and
// goes on is a warning, and defaults are keepalived's.
func confDialect() dialect {
	d := dialect{keepalived: true, version: vrrp.V2, scriptUser: "root"}
	if _, err := user.Lookup("keepalived_script"); err == nil {
		d.scriptUser = "keepalived_script"
	}
	return d
}

// pureFlags are keywords without a value: keepalived ignores what follows them,
// even if it says the opposite.
func isPureFlag(key string) bool {
	switch key {
	case "enable_script_security", "no_email_faults", "log_unknown_vrids", "vrrp_check_unicast_src",
		"nopreempt", "preempt", "dont_track_primary", "native_ipv6", "accept", "check_unicast_src", "track_src_ip",
		"sync_group_tracking_weight", "global_tracking", "init_fail", "full_command", "no_virtual_ipaddress":
		return true
	}
	return false
}

// leadingNumber splits a number off, as strtol(3) does.
func leadingNumber(s string) (number, rest string) {
	s = strings.TrimLeft(s, confBlanks)
	n := 0
	if n < len(s) && (s[n] == '-' || s[n] == '+') {
		n++
	}
	digits := n
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == digits {
		return "", s
	}
	return strings.TrimPrefix(s[:n], "+"), s[n:]
}

// number reads a whole number from lo to hi. keepalived uses the digits that
// something else follows, and corrects some values.
func (d *decoder) number(n *node, lo, hi int) (int, *fault) {
	s := n.args[0].text
	v, f := parseInt(s, lo, hi)
	if f == nil || !d.dialect.keepalived {
		return v, f
	}
	used := func(v int) (int, *fault) {
		d.complain(n, &fault{fmt.Sprintf("%s: %d is used", f.message, v), f.hint})
		n.bad = false
		return v, nil
	}
	digits, rest := leadingNumber(s)
	v, err := strconv.Atoi(digits)
	switch {
	case err != nil:
	case rest == "" && digits != s && v >= lo && v <= hi: // blanks before it
		return v, nil
	case v >= lo && v <= hi && !isStrictNumber(n.key):
		return used(v)
	case lo == 1 && v == 0 && (strings.HasSuffix(n.key, "_repeat")):
		return used(1)
	case v > hi && hi == repeatMax && v < math.MaxUint32, v > hi && n.key == "weight":
		return used(hi)
	case v < lo && n.key == "weight":
		return used(lo)
	}
	if !isStrictNumber(n.key) || n.key == "priority" {
		f.message += ": it is ignored"
	}
	return 0, f
}

// isStrictNumber reports whether keepalived uses a number only if nothing
// follows it.
func isStrictNumber(key string) bool {
	return key == "virtual_router_id" || key == "unicast_ttl" || key == "priority"
}

// duration reads a duration from lo to hi. In keepalived it is a number of
// seconds, with at most six decimals.
func (d *decoder) duration(n *node, lo, hi time.Duration) (time.Duration, *fault) {
	s := n.args[0].text
	v, f := parseDuration(s, lo, hi)
	if !d.dialect.keepalived {
		return v, f
	}
	used := func(v time.Duration) (time.Duration, *fault) {
		d.complain(n, &fault{fmt.Sprintf("%s: %s is used", f.message, seconds(v)), f.hint})
		n.bad = false
		return v, nil
	}
	number := strings.TrimLeft(s, confBlanks)
	whole, frac, point := strings.Cut(number, ".")
	plain := isDigits(whole) && (!point || isDigits(frac) || frac == "") || whole == "" && isDigits(frac)
	switch {
	case plain:
		if whole == "" {
			whole = "0"
		}
		v, f = parseDuration(whole+"."+(frac + "000000")[:6], lo, hi)
		if f == nil && len(frac) > 6 && frac[6] >= '5' && v < hi {
			v += time.Microsecond
		}
		if f != nil {
			f = outOfRange(s, lo, hi)
		}
		any, bad := parseDuration(whole, 0, math.MaxInt64)
		switch {
		case f == nil:
		case bad == nil && any >= hi && (hi == garpMax || hi == intervalMax):
			return used(hi)
		case v == 0 && whole != "" && strings.Trim(whole+frac, "0") == "" && (n.key == "interval" || n.key == "timeout"):
			return used(time.Second)
		}
	case wholeSeconds(n.key):
		digits, _ := leadingNumber(s)
		n, bad := parseDuration(digits, lo, hi)
		if f == nil {
			f = faultf("%s has a unit, which keepalived does not know", quote(s))
		}
		if bad == nil {
			return used(n)
		}
	case f == nil: // with a unit
		f = &fault{quote(s) + " has a unit, which keepalived does not know", "a number of seconds such as 1 or 0.5"}
	}
	if f != nil {
		f.message += ": it is ignored"
		return 0, f
	}
	return v, nil
}

// wholeSeconds reports whether a duration is a whole number in keepalived, of
// which it uses the digits that something else follows.
func wholeSeconds(key string) bool {
	switch key {
	case "advert_int", "preempt_delay", "vrrp_garp_interval", "vrrp_gna_interval", "vrrp_startup_delay", "delay", "fork_delay", "terminate_delay":
		return false
	}
	return true
}

// notBuilt says what differs when keywords of keepalived have no effect. Those
// that are not here make no difference that anyone sees on the network.
func notBuilt(key string) string {
	switch key {
	case "vrrp_strict", "strict_mode":
		return "only state, authentication and the answer to other priorities are as in keepalived; what the RFC does not allow runs all the same, and the addresses can be reached, which keepalived prevents unless priority is 255"
	case "no_accept":
		return "the addresses can be reached, which keepalived prevents"
	case "use_vmac", "use_vmac_addr", "vmac_xmit_base", "use_ipvlan":
		return "the addresses are held on the interface itself, with its own hardware address; gratuitous ARP tells the network when they move"
	case "virtual_routes":
		return "the routes are not added on becoming master"
	case "virtual_rules":
		return "the rules are not added on becoming master"
	case "static_ipaddress":
		return "the addresses are not added"
	case "static_routes":
		return "the routes are not added"
	case "static_rules":
		return "the rules are not added"
	case "track_bfd", "bfd_instance":
		return "a failure that only BFD sees does not change the state"
	case "track_group":
		return "static addresses, routes and rules are not watched"
	case "net_namespace":
		return "vipd stays in the network namespace that it is started in"
	case "unicast_fault_no_peer":
		return "without peers the instance uses multicast, rather than going into fault"
	case "old_unicast_checksum":
		return "the checksum is that of keepalived 1.3.7 and later"
	case "vrf":
		return "adverts are sent as the main routing table says"
	case "timer_expired_backup", "thread_timer_expired":
		return "it is not needed: a master that has stood still for longer than a backup waits always listens first"
	case "promote_secondaries":
		return "it is not needed: where an address could take others of its subnet with it, vipd sets net.ipv4.conf.*.promote_secondaries by itself"
	case "garp_group":
		return "announcements are limited on each interface by itself"
	case "interface_up_down_delays":
		return "a change of an interface counts at once"
	case "linkbeat_interfaces", "linkbeat_use_polling":
		return "the state of links is that which the kernel reports"
	case "garp_extra_if", "vrrp_garp_extra_if", "vmac_garp_intvl":
		return "there are no such announcements"
	case "owner_ignore_adverts", "vrrp_owner_ignore_adverts":
		return "an owner (255) heeds adverts of others"
	case "vrrp_delay_after_boot":
		return "instances start at once"
	case "enable_dbus":
		return "there is no D-Bus interface"
	case "enable_snmp_vrrp", "enable_snmp_keepalived", "enable_snmp_rfc", "enable_snmp_rfcv2", "enable_snmp_rfcv3", "enable_traps":
		return "there is no SNMP"
	case "max_auto_priority", "min_auto_priority_delay":
		return "the scheduling priority is not raised when vipd is late"
	case "reload_check_config":
		return "it is not needed: a configuration is always checked as a whole before anything changes"
	case "reload_time_file", "reload_repeat":
		return "there is no reload by the clock"
	case "umask":
		return "the files that signals ask for are written for their owner only"
	case "vrrp_iptables", "vrrp_ipsets", "nftables", "nftables_priority", "nftables_counters", "nftables_ifindex":
		return "no firewall rules are made"
	case "data_use_instance":
		return "the names of the files that signals ask for are the same for every instance"
	}
	return "it has no effect"
}

// A LeftOut is an instance that cannot run. At the start the others run without
// it; a reload refuses the whole configuration.
type LeftOut struct {
	Name   string
	Pos    Pos // of the name
	Reason string
}

// flag reads the value of a flag: without one it is true.
func (d *decoder) flag(n *node) (bool, *fault) {
	on, f := flagOf(n)
	if d.dialect.keepalived && isPureFlag(n.key) && (f != nil || !on) {
		d.complain(n, faultf("%s has no value: %s is ignored", n.key, quote(n.args[0].text)))
		n.bad = false
		return true, nil
	}
	if f != nil && d.dialect.keepalived {
		f.message += ": it is ignored"
	}
	return on, f
}

// first reports whether a statement is the first of its kind, where the first
// one counts in keepalived.
func (d *decoder) first(n *node, given bool, at func() Pos) bool {
	if given && d.dialect.keepalived {
		d.complainAt(n.pos, n, faultf("%s is already set at %s: this one is ignored", n.key, at()))
		return false
	}
	return true
}

// confPrefix reads ADDR[/LEN] of an address line as keepalived does: with a
// wrong length it is a host's.
func (d *decoder) confPrefix(n *node, w word) (netip.Prefix, bool, *fault) {
	p, given, f := parsePrefix(w.text)
	if f == nil || !d.dialect.keepalived {
		return p, given, f
	}
	addr, length, slash := strings.Cut(w.text, "/")
	a, bad := parseAddr(addr)
	if bad != nil || !slash {
		return p, given, f
	}
	if digits, _ := leadingNumber(length); isDigits(digits) {
		if bits, err := strconv.Atoi(digits); err == nil && bits <= a.BitLen() && strings.Count(length, ".") != 3 {
			if digits != length {
				d.complainAt(w.pos, n, &fault{fmt.Sprintf("%s: /%d is used", f.message, bits), f.hint})
			}
			return netip.PrefixFrom(a, bits), true, nil
		}
	}
	d.complainAt(w.pos, n, &fault{fmt.Sprintf("%s: /%d is used", f.message, a.BitLen()), f.hint})
	return netip.PrefixFrom(a, a.BitLen()), false, nil
}

// peerAddr reads the address of a peer. keepalived takes no notice of a prefix
// length, nor of what kind of address it is.
func (d *decoder) peerAddr(n *node) (netip.Addr, *fault) {
	a, f := parseHost(n.key)
	if f == nil || !d.dialect.keepalived {
		return a, f
	}
	addr, length, slash := strings.Cut(n.key, "/")
	a, bad := parseAddr(addr)
	switch {
	case bad != nil:
		return a, f
	case slash:
		f = faultf("a peer has no prefix length: /%s is ignored", length)
	}
	d.complainAt(n.pos, n, f)
	return a, nil
}

// strict is what strict mode means to an instance as far as vipd has it: it
// must speak to its neighbours as keepalived would.
func (c *completer) strict(in *rawInstance, out *Instance) {
	if !in.strict.or(c.global.strict.v) {
		return
	}
	out.LowerPrioNoAdvert, out.HigherPrioSendAdvert = true, false
	out.GARP.LowerPrioRepeat, out.GARP.LowerPrioDelay = 0, 0
	out.PreemptDelay = 0
	if owner := out.Priority == vrrp.PriorityOwner; out.StartMaster != owner {
		out.StartMaster = owner
		if in.master.set {
			c.warn(in.master.pos, in.seen["state"], faultf("in strict mode only priority 255 is MASTER: the state is %s", map[bool]string{true: "MASTER", false: "BACKUP"}[owner]))
		}
	}
	if out.AuthType != vrrp.AuthNone {
		out.AuthType, out.AuthData = vrrp.AuthNone, [8]byte{}
		c.warn(in.auth.pos, in.auth, faultf("strict mode has no authentication: it is dropped, as in keepalived"))
	}
}

// strictMode takes note of strict mode, of which vipd has only a part.
func (d *decoder) strictMode(n *node) {
	to := &d.global.strict
	if n.key == "strict_mode" && d.inst != nil {
		to = &d.inst.strict
	}
	if on, f := flagOf(n); f == nil {
		*to = opt[bool]{on, n.valuePos(), true}
	}
}

// trackWeight reads a weight that is not a number in range, as keepalived does.
func (d *decoder) trackWeight(n *node, w word, limit int, f *fault, to *opt[int]) {
	digits, _ := leadingNumber(w.text)
	v, err := strconv.Atoi(digits)
	switch {
	case err != nil || v < -limit-1 || v > limit+1 || limit == numberMax && (v < -limit || v > limit):
		f.message += ": it is ignored"
	default:
		v = min(max(v, -limit), limit)
		f.message += fmt.Sprintf(": %d is used", v)
		*to = opt[int]{v, w.pos, true}
	}
	d.complainAt(w.pos, n, f)
}

// phrase writes what is YAML in a message as keepalived.conf has it.
func (d *decoder) phrase(f *fault) *fault {
	if !d.dialect.keepalived {
		return f
	}
	r := strings.NewReplacer("state: MASTER", "state MASTER", "state: BACKUP", "state BACKUP",
		"no_virtual_ipaddress: true", "no_virtual_ipaddress", "one address per item of the list", "one address a line",
		"only the address here: what belongs to it has keys of its own", "only the address here",
		", or one with a unit such as 100ms", "")
	return &fault{r.Replace(f.message), r.Replace(f.hint)}
}
