package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoInterface is the reason when an interface does not exist.
var ErrNoInterface = errors.New("no such interface")

// ErrInvalid is the reason when an [Address] is not one that could be sent to
// the kernel.
var ErrInvalid = errors.New("not a valid address")

// An AddressError is the failure to add or remove one address. It wraps the
// kernel's error number, [ErrNoInterface] or [ErrInvalid].
type AddressError struct {
	Op        string // "adding" or "removing"
	Address   netip.Prefix
	Interface string
	Kernel    string // the kernel's own words, if any
	Hint      string // the cure or the likely cause, if known
	Err       error
}

// Error says what failed, why, and what helps.
func (e *AddressError) Error() string {
	var b strings.Builder
	preposition := "to"
	if e.Op == opRemove {
		preposition = "from"
	}
	fmt.Fprintf(&b, "netif: %s %v %s %s: %v", e.Op, e.Address, preposition, e.Interface, e.Err)
	if e.Kernel != "" {
		fmt.Fprintf(&b, ": %s", e.Kernel)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Unwrap returns the reason.
func (e *AddressError) Unwrap() error { return e.Err }

// The operations an AddressError names.
const (
	opAdd    = "adding"
	opRemove = "removing"
)

// hint returns what is known to help against a refusal by the kernel.
func hint(op string, a *Address, errno unix.Errno) string {
	is6 := a.Prefix.Addr().Is6() && !a.Prefix.Addr().Is4In6()
	switch errno {
	case unix.EPERM:
		return "needs CAP_NET_ADMIN"
	case unix.EACCES, unix.ENOPROTOOPT, unix.EOPNOTSUPP:
		if is6 {
			return fmt.Sprintf("IPv6 is disabled on %s (net.ipv6.conf.%s.disable_ipv6)", a.Interface, a.Interface)
		}
	case unix.EAFNOSUPPORT:
		if is6 {
			return "this kernel runs without IPv6 (ipv6.disable=1)"
		}
	case unix.ENOBUFS:
		if is6 && op == opAdd {
			return fmt.Sprintf("IPv6 needs an MTU of at least 1280 on %s", a.Interface)
		}
	case unix.EINVAL:
		if a.AutoJoin && !a.Prefix.Addr().IsMulticast() {
			return "autojoin is for multicast addresses only"
		}
	}
	return ""
}
