// Package vrrp implements the Virtual Router Redundancy Protocol, version 2
// (RFC 3768) and version 3 (RFC 9568), as a codec and a state machine that do
// no I/O: no socket, no goroutine, no clock.
//
// A [Machine] is one virtual router. It is fed events with the time at which
// they happened and answers with the actions to carry out; see [Machine.Step].
// A [Group] keeps several of them in the same state (keepalived:
// vrrp_sync_group).
// The same machine therefore runs under a real daemon, in virtual time and
// under a fuzzer. Package vrrpconn has the sockets.
package vrrp

import (
	"fmt"
	"net/netip"
)

// Protocol is the IP protocol number of VRRP (RFC 9568 §5.1.1.4).
const Protocol = 112

// HopLimit is the only TTL or hop limit a multicast advertisement may arrive
// with (RFC 9568 §5.1.1.3 and §5.1.2.3).
const HopLimit = 255

// Priorities with a meaning of their own (RFC 9568 §5.2.4).
const (
	// PriorityStop says that the master has stopped taking part.
	PriorityStop = 0
	// PriorityDefault is the priority of a backup that was given none.
	PriorityDefault = 100
	// PriorityOwner is the priority of the router that owns the addresses.
	PriorityOwner = 255
)

// A Version is a version of the protocol. The zero value is not valid.
type Version uint8

// The versions of the protocol that are in use.
const (
	V2 Version = 2 // RFC 3768
	V3 Version = 3 // RFC 9568
)

// String returns "VRRPv2" or "VRRPv3".
func (v Version) String() string { return fmt.Sprintf("VRRPv%d", uint8(v)) }

// A Family is an address family. The zero value is not valid.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of an address; an IPv4 address mapped into IPv6
// counts as IPv4. It returns 0 for the zero address.
func FamilyOf(a netip.Addr) Family {
	switch a = a.Unmap(); {
	case a.Is4():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// Group returns the multicast group that advertisements are sent to unless
// another one is configured: 224.0.0.18 or ff02::12 (RFC 9568 §5.1.1.2 and
// §5.1.2.2).
func (f Family) Group() netip.Addr {
	if f == IPv6 {
		return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
	}
	return netip.AddrFrom4([4]byte{224, 0, 0, 18})
}

// An AuthType is the authentication type of a version 2 advertisement. RFC 3768
// §5.3.6 reserves the values; keepalived still uses them.
type AuthType uint8

// The authentication types of RFC 2338 §5.3.6.
const (
	AuthNone AuthType = 0
	AuthPass AuthType = 1 // a clear-text password of at most 8 octets
	AuthAH   AuthType = 2 // IP Authentication Header
)

// String returns the keyword of keepalived's auth_type, or "none".
func (a AuthType) String() string {
	switch a {
	case AuthNone:
		return "none"
	case AuthPass:
		return "PASS"
	case AuthAH:
		return "AH"
	}
	return fmt.Sprintf("AuthType(%d)", uint8(a))
}

// A Checksum says what the checksum of a version 3 advertisement over IPv4
// covers. Version 2 never has a pseudo-header, IPv6 always has one.
type Checksum uint8

const (
	// ChecksumPseudoHeader includes an IPv4 pseudo-header, as RFC 5798 §5.2.8
	// was read by keepalived and FRR. It is the default.
	ChecksumPseudoHeader Checksum = iota
	// ChecksumPlain covers the VRRP message alone, as RFC 9568 §5.2.8 has it
	// for IPv4 (keepalived: v3_checksum_as_v2).
	ChecksumPlain
)

// String names the mode in words.
func (c Checksum) String() string {
	if c == ChecksumPlain {
		return "without pseudo-header"
	}
	return "with pseudo-header"
}
