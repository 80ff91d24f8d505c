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

// ErrNotPresent is the reason when an address to renew is not there.
var ErrNotPresent = errors.New("the address is not there")

// ErrCalledOff is the reason when addresses were not added, or renewed, since the caller
// did not want it any more.
var ErrCalledOff = errors.New("called off")

// An AddressError is the failure to add, renew or remove one address. It wraps the
// kernel's error number, [ErrNoInterface], [ErrInvalid], [ErrNotPresent] or
// [ErrCalledOff].
type AddressError struct {
	Op        string // "adding", "renewing" or "removing"
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
	switch e.Op {
	case opRemove:
		preposition = "from"
	case opRenew:
		preposition = "on"
	}
	fmt.Fprintf(&b, "netif: %s %v %s %s: %v", e.Op, e.Address, preposition, e.Interface, e.Err)
	switch {
	case e.Hint != "":
		fmt.Fprintf(&b, " (%s)", e.Hint)
	case e.Kernel != "":
		fmt.Fprintf(&b, " (%s)", e.Kernel)
	}
	return b.String()
}

// Unwrap returns the reason.
func (e *AddressError) Unwrap() error { return e.Err }

// The operations an AddressError names.
const (
	opAdd    = "adding"
	opRenew  = "renewing"
	opRemove = "removing"
)

// minMTU6 is the least MTU of a link with IPv6 (RFC 8200 §5).
const minMTU6 = 1280

// hint returns what is known to help against a refusal by the kernel.
func hint(a *Address, l Link, errno unix.Errno) string {
	is6 := a.Prefix.Addr().Is6()
	switch errno {
	case unix.EPERM:
		return "needs CAP_NET_ADMIN"
	case unix.EACCES, unix.ENOPROTOOPT:
		if is6 {
			return fmt.Sprintf("IPv6 is disabled on %s: %s is 1", l.Name, sysctl("net.ipv6.conf", l.Name, "disable_ipv6"))
		}
	case unix.EOPNOTSUPP, unix.EAFNOSUPPORT:
		if is6 {
			return "this kernel runs without IPv6 (ipv6.disable=1)"
		}
	case unix.EINVAL, unix.ENOBUFS:
		switch {
		case is6 && l.MTU < minMTU6:
			return fmt.Sprintf("IPv6 needs an MTU of at least %d, %s has %d", minMTU6, l.Name, l.MTU)
		case a.AutoJoin && !a.Prefix.Addr().IsMulticast():
			return "autojoin is for multicast addresses only"
		}
	}
	return ""
}

// sysctl returns the name of an interface's kernel parameter, separated by
// slashes if the interface's name contains a dot.
func sysctl(tree, ifname, name string) string {
	key := tree + "." + ifname + "." + name
	if strings.Contains(ifname, ".") {
		return strings.ReplaceAll(tree, ".", "/") + "/" + ifname + "/" + name
	}
	return key
}
