package netif

import (
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A Family is an address family.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "no address family"
}

// FamilyOf returns the family of an address, 0 for the zero address.
func FamilyOf(a netip.Addr) Family {
	switch {
	case a.Is4(), a.Is4In6():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// Protocol is the value by which the kernel is told who added an address
// (IFA_PROTO, Linux 5.18 and newer) and who added a route: the number that
// rtnetlink has set aside for keepalived.
const Protocol = unix.RTPROT_KEEPALIVED

// Forever is the lifetime of an address that does not end.
const Forever = time.Duration(math.MaxInt64)

// lifetimeForever is Forever in the kernel's seconds.
const lifetimeForever = math.MaxUint32

// ifaProto is IFA_PROTO, which golang.org/x/sys/unix does not name.
const ifaProto = 11

// An Address is one address to hold on an interface. The zero value of each
// field is keepalived's default, except that an IPv6 host address (/128) is
// deprecated there.
type Address struct {
	Prefix    netip.Prefix // the address with its prefix length, not masked
	Interface string       // by name, looked up at the time of the call

	Label     string       // IPv4
	Scope     uint8        // rtnetlink's scope; 0 is global. IPv4: the kernel derives it for IPv6
	Broadcast netip.Addr   // IPv4
	Peer      netip.Prefix // the other end of a point-to-point address; the prefix length is the peer's

	// ValidLifetime, in whole seconds, is when the kernel removes the address
	// unless [Handle.Renew] comes before; 0 is never.
	ValidLifetime time.Duration

	Deprecated        bool          // IPv6: preferred lifetime 0, so never chosen as a source address
	PreferredLifetime time.Duration // IPv6: in whole seconds; 0 is forever

	DAD            bool // IPv6: perform duplicate address detection
	HomeAddress    bool // IPv6: a Mobile IPv6 home address
	ManageTempAddr bool // IPv6: template for temporary addresses
	NoPrefixRoute  bool // add no route for the prefix
	AutoJoin       bool // join the multicast group that is the address
}

// wire returns the addresses that rtnetlink calls local and address, and the
// prefix length.
func (a *Address) wire() (local, address netip.Addr, bits int) {
	local = a.Prefix.Addr().Unmap().WithZone("")
	if a.Peer.IsValid() {
		return local, a.Peer.Addr().Unmap().WithZone(""), a.Peer.Bits()
	}
	return local, local, a.Prefix.Bits()
}

// lifetimes returns for how many of the kernel's seconds a is to be preferred and
// valid.
func (a *Address) lifetimes() (preferred, valid uint32) {
	preferred, valid = lifetimeForever, lifetimeForever
	if a.ValidLifetime > 0 {
		valid = toSeconds(a.ValidLifetime)
	}
	if a.Prefix.Addr().Is6() {
		switch {
		case a.Deprecated:
			preferred = 0
		case a.PreferredLifetime > 0:
			preferred = toSeconds(a.PreferredLifetime)
		}
	}
	return min(preferred, valid), valid
}

// flags returns the flags of an address to add.
func (a *Address) flags(is6 bool) uint32 {
	var f uint32
	set := func(on bool, flag uint32) {
		if on {
			f |= flag
		}
	}
	set(is6 && !a.DAD, unix.IFA_F_NODAD)
	set(a.HomeAddress, unix.IFA_F_HOMEADDRESS)
	set(a.ManageTempAddr, unix.IFA_F_MANAGETEMPADDR)
	set(a.NoPrefixRoute, unix.IFA_F_NOPREFIXROUTE)
	set(a.AutoJoin, unix.IFA_F_MCAUTOJOIN)
	return f
}

// appendAdd appends the request to add a to the interface with the given index.
func (a *Address) appendAdd(b []byte, index int, seq uint32, flags uint16) []byte {
	_, _, bits := a.wire()
	return a.appendNew(b, index, seq, flags, bits, a.flags(a.Prefix.Addr().Is6()))
}

// appendRenew appends the request to give a its lifetimes anew. It repeats all
// that appendAdd gives, since the kernel takes what is missing for cleared: flags
// and peer of an IPv6 address, metric and protocol of any.
//
// The kernel makes an address that a renewal does not find, whether the request
// has NLM_F_CREATE or not. A guarded request is one that it can only fulfil for an
// address that is there: it looks at some of a request only in order to make an
// address. For IPv4 that is the flag to join the group that the address is, which
// it is not. For IPv6, which takes that flag over, it is the prefix length: an
// address is found without it.
func (a *Address) appendRenew(b []byte, index int, seq uint32, flags uint16, guarded bool) []byte {
	_, _, bits := a.wire()
	is6 := a.Prefix.Addr().Is6()
	f := a.flags(is6)
	switch {
	case !guarded:
	case is6:
		bits = math.MaxUint8
	case !a.Prefix.Addr().IsMulticast():
		f |= unix.IFA_F_MCAUTOJOIN
	}
	return a.appendNew(b, index, seq, flags|unix.NLM_F_REPLACE, bits, f)
}

// appendNew appends a request to add or to change a.
func (a *Address) appendNew(b []byte, index int, seq uint32, flags uint16, bits int, ifaFlags uint32) []byte {
	start := len(b)
	local, address, _ := a.wire()
	b = appendHeader(b, unix.RTM_NEWADDR, flags, seq)
	b = appendIfAddr(b, local, bits, a.Scope, index)
	b = appendAttr(b, unix.IFA_LOCAL, local.AsSlice())
	b = appendAttr(b, unix.IFA_ADDRESS, address.AsSlice())
	if local.Is4() {
		if a.Broadcast.IsValid() {
			b = appendAttr(b, unix.IFA_BROADCAST, a.Broadcast.Unmap().AsSlice())
		}
		if a.Label != "" {
			b = appendText(b, unix.IFA_LABEL, a.Label)
		}
	}
	if ifaFlags != 0 {
		b = appendUint32(b, unix.IFA_FLAGS, ifaFlags)
	}
	// Without lifetimes the kernel takes both for endless, in a renewal too.
	if preferred, valid := a.lifetimes(); preferred != lifetimeForever {
		ci := native.AppendUint32(nil, preferred)
		ci = native.AppendUint32(ci, valid)
		ci = append(ci, make([]byte, 8)...) // time stamps: the kernel's to give
		b = appendAttr(b, unix.IFA_CACHEINFO, ci)
	}
	b = appendAttr(b, ifaProto, []byte{Protocol})
	finish(b, start)
	return b
}

// appendRemove appends the request to remove a. It names nothing but the
// address itself, so that one whose label was changed is found too.
func (a *Address) appendRemove(b []byte, index int, seq uint32, flags uint16) []byte {
	start := len(b)
	local, address, bits := a.wire()
	b = appendHeader(b, unix.RTM_DELADDR, flags, seq)
	b = appendIfAddr(b, local, bits, a.Scope, index)
	b = appendAttr(b, unix.IFA_LOCAL, local.AsSlice())
	b = appendAttr(b, unix.IFA_ADDRESS, address.AsSlice())
	finish(b, start)
	return b
}

// appendIfAddr appends a struct ifaddrmsg; flags are sent as an attribute.
func appendIfAddr(b []byte, local netip.Addr, bits int, scope uint8, index int) []byte {
	family := uint8(unix.AF_INET)
	if local.Is6() {
		family = unix.AF_INET6
	}
	b = append(b, family, uint8(bits), 0, scope)
	return native.AppendUint32(b, uint32(index))
}

// toSeconds returns a lifetime as the kernel wants it.
func toSeconds(d time.Duration) uint32 {
	if s := d / time.Second; s < lifetimeForever {
		return uint32(s)
	}
	return lifetimeForever
}

// fromSeconds returns a lifetime of the kernel.
func fromSeconds(s uint32) time.Duration {
	if s == lifetimeForever {
		return Forever
	}
	return time.Duration(s) * time.Second
}

// A PresentAddress is an address that an interface has.
type PresentAddress struct {
	Prefix    netip.Prefix // the address with its prefix length; /32 or /128 if there is a Peer
	Index     int          // of the interface
	Label     string       // IPv4
	Scope     uint8
	Broadcast netip.Addr
	Peer      netip.Prefix  // not valid if there is none
	Flags     uint32        // IFA_F_…
	Protocol  uint8         // who added it (IFA_PROTO), 0 if unknown; see [Protocol]
	Preferred time.Duration // lifetimes at the time of the kernel's message, or Forever
	Valid     time.Duration

	// Created and Updated are when the address was made and when its lifetimes
	// were last set, on the clock that [KernelClock] reads. An address that has
	// another time of creation than it had was deleted and made again meanwhile.
	Created, Updated time.Duration
}

// Addr returns the address itself.
func (a *PresentAddress) Addr() netip.Addr { return a.Prefix.Addr() }

// Secondary reports whether the kernel has made this IPv4 address a secondary
// one: it goes when its primary goes, unless promote_secondaries is set.
func (a *PresentAddress) Secondary() bool {
	return a.Addr().Is4() && a.Flags&unix.IFA_F_SECONDARY != 0
}

// Deprecated reports whether the address is not used as a source address.
func (a *PresentAddress) Deprecated() bool { return a.Flags&unix.IFA_F_DEPRECATED != 0 }

// Usable reports whether the address may be used: it is not waiting for
// duplicate address detection, and it has not failed it.
func (a *PresentAddress) Usable() bool {
	return a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0
}

// Temporary reports whether an IPv6 address is a privacy address (RFC 8981).
func (a *PresentAddress) Temporary() bool {
	return a.Addr().Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0
}

// sameButLifetime reports whether a and b differ in nothing but lifetimes, which
// whoever leases an address, and every router advertisement, renews all the time.
func (a PresentAddress) sameButLifetime(b PresentAddress) bool {
	a.Preferred, a.Valid, a.Updated = 0, 0, 0
	b.Preferred, b.Valid, b.Updated = 0, 0, 0
	return a == b
}

// parseAddress decodes the body of an RTM_NEWADDR or RTM_DELADDR message.
func parseAddress(b []byte) (PresentAddress, bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return PresentAddress{}, false
	}
	family, bits := b[0], int(b[1])
	a := PresentAddress{
		Flags:     uint32(b[2]),
		Scope:     b[3],
		Index:     int(native.Uint32(b[4:])),
		Preferred: Forever,
		Valid:     Forever,
	}
	var local, address netip.Addr
	for typ, v := range attrs(b[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(v)
		case unix.IFA_BROADCAST:
			a.Broadcast, _ = netip.AddrFromSlice(v)
		case unix.IFA_LABEL:
			a.Label = text(v)
		case unix.IFA_FLAGS:
			if len(v) >= 4 {
				a.Flags = native.Uint32(v)
			}
		case unix.IFA_CACHEINFO:
			if len(v) >= 8 {
				a.Preferred = fromSeconds(native.Uint32(v))
				a.Valid = fromSeconds(native.Uint32(v[4:]))
			}
			if len(v) >= 16 {
				a.Created = fromStamp(native.Uint32(v[8:]))
				a.Updated = fromStamp(native.Uint32(v[12:]))
			}
		case ifaProto:
			if len(v) >= 1 {
				a.Protocol = v[0]
			}
		}
	}
	if !local.IsValid() {
		local = address
	}
	if !address.IsValid() {
		address = local
	}
	var width int
	switch {
	case family == unix.AF_INET && local.Is4() && address.Is4():
		width = 32
	case family == unix.AF_INET6 && local.Is6() && address.Is6():
		width = 128
	default:
		return PresentAddress{}, false
	}
	if bits > width {
		return PresentAddress{}, false
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	if address != local {
		a.Prefix = netip.PrefixFrom(local, width)
		a.Peer = netip.PrefixFrom(address, bits)
	}
	return a, true
}
