package config

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vipd/vrrp"
)

// A fault is what is wrong with a value.
type fault struct{ message, hint string }

// faultf returns a fault without a hint.
func faultf(format string, args ...any) *fault { return &fault{message: fmt.Sprintf(format, args...)} }

// An opt is a value that may not have been given.
type opt[T any] struct {
	v   T
	pos Pos
	set bool
}

// or returns the value, or def if there is none.
func (o opt[T]) or(def T) T {
	if o.set {
		return o.v
	}
	return def
}

// parseInt reads a decimal whole number from lo to hi.
func parseInt(s string, lo, hi int) (int, *fault) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && !isDigits(strings.TrimPrefix(s, "-")) {
		return 0, faultf("%s is not a whole number", quote(s))
	}
	if err != nil || n < int64(lo) || n > int64(hi) {
		return 0, faultf("%s is out of range (%d to %d)", s, lo, hi)
	}
	return int(n), nil
}

// isDigits reports whether s is a decimal number without sign.
func isDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// parseDuration reads a duration from lo to hi: a decimal number of seconds, as
// in keepalived, or a number with a unit, as in Go.
func parseDuration(s string, lo, hi time.Duration) (time.Duration, *fault) {
	whole, frac, point := strings.Cut(s, ".")
	var d time.Duration
	switch {
	case isDigits(whole) && (!point || isDigits(frac)):
		secs, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || secs > math.MaxInt64/int64(time.Second)-1 {
			return 0, outOfRange(s, lo, hi)
		}
		if len(strings.TrimRight(frac, "0")) > 9 {
			return 0, faultf("%s is finer than a nanosecond", s)
		}
		nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64) // nine digits
		d = time.Duration(secs)*time.Second + time.Duration(nanos)
	case s != "" && s[0] >= '0' && s[0] <= '9':
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			return 0, notDuration(s)
		}
	case strings.HasPrefix(s, "-"):
		if _, f := parseDuration(s[1:], 0, math.MaxInt64); f != nil {
			return 0, notDuration(s)
		}
		return 0, outOfRange(s, lo, hi)
	default:
		return 0, notDuration(s)
	}
	if d < lo || d > hi {
		return 0, outOfRange(s, lo, hi)
	}
	return d, nil
}

func notDuration(s string) *fault {
	return &fault{quote(s) + " is not a duration", "a number of seconds such as 1 or 0.5, or one with a unit such as 100ms"}
}

func outOfRange(s string, lo, hi time.Duration) *fault {
	return faultf("%s is out of range (%s to %s)", s, seconds(lo), seconds(hi))
}

// seconds writes a duration for people: in seconds, or below one in
// milliseconds.
func seconds(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if d > 0 && d < time.Second {
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', -1, 64) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}

// parseBool reads a boolean in any of keepalived's spellings.
func parseBool(s string) (bool, *fault) {
	switch s {
	case "true", "on", "yes":
		return true, nil
	case "false", "off", "no":
		return false, nil
	}
	f := faultf("%s is neither true nor false", quote(s))
	if lower := strings.ToLower(s); lower != s {
		if _, bad := parseBool(lower); bad == nil {
			f.hint = "in lower case"
		}
	}
	return false, f
}

// flagOf reads the value of a flag: without one it is true, as in keepalived.
func flagOf(n *node) (bool, *fault) {
	if len(n.args) == 0 {
		return true, nil
	}
	return parseBool(n.args[0].text)
}

// parseText accepts any text that can be shown on one line.
func parseText(s string) (string, *fault) {
	if s == "" {
		return "", faultf("the value is empty")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", faultf("the value contains a control character")
	}
	return s, nil
}

// parseVersion reads a protocol version.
func parseVersion(s string) (vrrp.Version, *fault) {
	switch s {
	case "2":
		return vrrp.V2, nil
	case "3":
		return vrrp.V3, nil
	}
	return 0, faultf("%s is not a version of VRRP (2 or 3)", quote(s))
}

// parseState reads a state; true is MASTER.
func parseState(s string) (bool, *fault) {
	switch s {
	case "MASTER":
		return true, nil
	case "BACKUP":
		return false, nil
	}
	f := faultf("%s is neither MASTER nor BACKUP", quote(s))
	switch near := nearest(s, []string{"MASTER", "BACKUP"}); {
	case near != "":
		f.hint = "did you mean " + near + "?"
	case strings.EqualFold(s, "slave"):
		f.hint = "did you mean BACKUP?"
	}
	return false, f
}

// parseAuthType reads an authentication type. AH is refused later, whatever the
// dialect.
func parseAuthType(s string) (vrrp.AuthType, *fault) {
	switch s {
	case "PASS":
		return vrrp.AuthPass, nil
	case "AH":
		return vrrp.AuthAH, nil
	}
	f := faultf("%s is not an authentication type", quote(s))
	f.hint = "PASS is the only one"
	return 0, f
}

// parseInterface reads the name of an interface by the kernel's rules
// (dev_valid_name): at most 15 octets, no slash, colon or blank.
func parseInterface(s string) (string, *fault) {
	switch {
	case s == "":
		return "", faultf("the interface name is empty")
	case strings.Contains(s, ":"):
		name, _, _ := strings.Cut(s, ":")
		f := faultf("%s is not an interface name", quote(s))
		if name != "" {
			f.hint = "an alias is not an interface: use " + name + ", and label " + s + " on the address"
		}
		return "", f
	case len(s) > 15:
		return "", faultf("%s is longer than an interface name can be (15 octets)", quote(s))
	case s == "." || s == "..", strings.Contains(s, "/"),
		strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return "", faultf("%s is not an interface name", quote(s))
	}
	return s, nil
}

// parseAddr reads an IPv4 or IPv6 address.
func parseAddr(s string) (netip.Addr, *fault) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, notAddress(s)
	}
	if a.Zone() != "" {
		return a, &fault{quote(s) + " has a zone", "leave out %" + a.Zone() + ": the interface is configured apart"}
	}
	if a.Is4In6() {
		return a, &fault{quote(s) + " is an IPv4 address in IPv6 form", "write " + a.Unmap().String()}
	}
	return a, nil
}

// notAddress says that s is not an address, and why if that can be guessed.
func notAddress(s string) *fault {
	f := faultf("%s is not an IPv4 or IPv6 address", quote(s))
	switch {
	case strings.Contains(s, ","):
		f.hint = "one address per item of the list"
	case strings.ContainsAny(s, " \t"):
		f.hint = "only the address here: what belongs to it has keys of its own"
	case strings.Contains(s, "/"):
		f.hint = "no prefix length here"
	case strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }) < 0:
		for part := range strings.SplitSeq(s, ".") {
			if len(part) > 1 && part[0] == '0' {
				f.hint = "no leading zeros"
			}
		}
	case !strings.Contains(s, ":") && strings.ContainsFunc(s, unicode.IsLetter):
		f.hint = "names are not looked up"
	}
	return f
}

// parseHost reads the address of a host.
func parseHost(s string) (netip.Addr, *fault) {
	a, f := parseAddr(s)
	if f == nil {
		f = checkHost(a)
	}
	return a, f
}

// checkHost refuses addresses that no host can have on a network.
func checkHost(a netip.Addr) *fault {
	switch {
	case a.IsUnspecified():
		return faultf("%s is the unspecified address", a)
	case a.IsMulticast():
		return faultf("%s is a multicast address", a)
	case a.IsLoopback():
		return faultf("%s is a loopback address", a)
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return faultf("%s is the broadcast address", a)
	}
	return nil
}

// parseAnyGroup reads a multicast address.
func parseAnyGroup(s string) (netip.Addr, *fault) {
	a, f := parseAddr(s)
	if f == nil && !a.IsMulticast() {
		f = faultf("%s is not a multicast address", a)
	}
	return a, f
}

// parseGroup returns a function that reads a multicast address of the family.
func parseGroup(fam vrrp.Family) func(string) (netip.Addr, *fault) {
	return func(s string) (netip.Addr, *fault) {
		a, f := parseAnyGroup(s)
		if f == nil && vrrp.FamilyOf(a) != fam {
			f = faultf("%s is not an %s address", a, fam)
		}
		return a, f
	}
}

// parsePrefix reads ADDR[/LEN]; without LEN it is a host's. given says whether
// there was a LEN.
func parsePrefix(s string) (p netip.Prefix, given bool, f *fault) {
	if strings.Contains(s, ",") {
		return p, false, notAddress(s)
	}
	addr, length, given := strings.Cut(s, "/")
	a, f := parseAddr(addr)
	if f != nil {
		return p, given, f
	}
	prefixLen := a.BitLen()
	if given {
		if a.Is4() && strings.Count(length, ".") == 3 {
			f := faultf("%s has a netmask for a prefix length", quote(s))
			if m, err := netip.ParseAddr(length); err == nil {
				mask := m.As4()
				n := bits.LeadingZeros32(^binary.BigEndian.Uint32(mask[:]))
				f.hint = fmt.Sprintf("write %s/%d", addr, n)
			}
			return p, given, f
		}
		n, err := strconv.Atoi(length)
		if err != nil || !isDigits(length) || n < 1 || n > prefixLen {
			return p, given, faultf("%s is not a prefix length (1 to %d)", quote(length), prefixLen)
		}
		prefixLen = n
	}
	return netip.PrefixFrom(a, prefixLen), given, nil
}

// quote quotes a value for a message, shortened if it is very long.
func quote(s string) string {
	const limit = 80
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return strconv.Quote(s)
}
