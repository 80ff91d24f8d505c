package vrrpconn

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vipd/vrrp"
)

// A Drop says which check a datagram failed, for counting.
type Drop uint8

// The checks, in the order in which they are made (RFC 9568 §7.1; the order is
// keepalived's).
const (
	_ Drop = iota
	// Truncated is a datagram that is longer than any advertisement, or
	// shorter than its headers.
	Truncated
	// WrongVRID is one for another virtual router.
	WrongVRID
	// WrongLength is one whose length does not fit the addresses it counts.
	WrongLength
	// WrongTTL is a TTL or hop limit other than 255 on multicast.
	WrongTTL
	// WrongVersion is another version of VRRP.
	WrongVersion
	// WrongAuthType is an authentication type that does not exist.
	WrongAuthType
	// AuthTypeMismatch is another authentication type than ours.
	AuthTypeMismatch
	// AuthFailed is another password than ours.
	AuthFailed
	// IntervalMismatch is another interval than ours, in version 2.
	IntervalMismatch
	// ZeroInterval is an interval of 0 in version 3. It cannot be learned: a
	// backup would take over at once, always.
	ZeroInterval
	// WrongType is a message that is not an advertisement.
	WrongType
	// TotalLength is a total length in the IPv4 header that is not what
	// arrived.
	TotalLength
	// BadChecksum is a checksum that does not verify.
	BadChecksum
	// WrongDestination is multicast where unicast is used, or the reverse.
	WrongDestination
	// UnknownSource is a source that is not among the unicast peers.
	UnknownSource
	// PeerTTL is a TTL or hop limit outside the bounds set for a unicast peer.
	PeerTTL

	// NumDrops is one more than the greatest Drop, for arrays of counters.
	NumDrops
)

var dropNames = [NumDrops]string{
	Truncated:        "truncated",
	WrongVRID:        "wrong VRID",
	WrongLength:      "wrong length",
	WrongTTL:         "wrong TTL",
	WrongVersion:     "wrong version",
	WrongAuthType:    "invalid authentication type",
	AuthTypeMismatch: "authentication type mismatch",
	AuthFailed:       "authentication failed",
	IntervalMismatch: "interval mismatch",
	ZeroInterval:     "interval of zero",
	WrongType:        "wrong message type",
	TotalLength:      "wrong total length",
	BadChecksum:      "bad checksum",
	WrongDestination: "wrong destination",
	UnknownSource:    "unknown source",
	PeerTTL:          "TTL out of bounds",
}

// String returns what is wrong, in a few words.
func (d Drop) String() string {
	if d > 0 && d < NumDrops {
		return dropNames[d]
	}
	return fmt.Sprintf("Drop(%d)", uint8(d))
}

// A DropError is why a datagram was dropped. It does not name the sender.
type DropError struct {
	Drop   Drop
	Detail string // what the peer and this node have, for people
	// Otherwise says, of an IntervalMismatch, that all other checks passed:
	// the sender has our secrets, and is alive.
	Otherwise bool
}

// Error returns the reason with its detail.
func (e *DropError) Error() string { return e.Drop.String() + ": " + e.Detail }

// A MismatchKind is a kind of difference that is no reason to drop.
type MismatchKind uint8

// The kinds of difference that are no reason to drop.
const (
	_ MismatchKind = iota
	// MismatchInterval is another interval than ours, in version 3, where
	// backups learn it.
	MismatchInterval
	// MismatchAddresses is another set of addresses than ours. Dropping that
	// would make two masters, as keepalived did until 2.3.2.
	MismatchAddresses
)

// String names what differs.
func (k MismatchKind) String() string {
	switch k {
	case MismatchInterval:
		return "interval"
	case MismatchAddresses:
		return "addresses"
	}
	return fmt.Sprintf("MismatchKind(%d)", uint8(k))
}

// A Mismatch is a difference between an accepted advertisement and this node's
// configuration that someone should mend.
type Mismatch struct {
	Kind   MismatchKind
	Detail string // what the peer and this node have, for people
}

// String returns the detail.
func (m Mismatch) String() string { return m.Detail }

// A Peer is a unicast peer.
type Peer struct {
	Addr netip.Addr
	// MinTTL and MaxTTL bound the TTL or hop limit of what it sends; -1 is no
	// bound.
	MinTTL, MaxTTL int
}

// bounded reports whether anything is asked of the peer's TTL.
func (p *Peer) bounded() bool { return p.MinTTL >= 0 || p.MaxTTL >= 0 }

// An Expect is what one virtual router expects of a datagram.
type Expect struct {
	VRID     uint8
	Version  vrrp.Version
	Family   vrrp.Family
	Interval time.Duration
	AuthType vrrp.AuthType // version 2 only
	AuthData [8]byte       // version 2 only
	Checksum vrrp.Checksum
	// Multicast says that advertisements come by multicast to Group; else they
	// come by unicast.
	Multicast bool
	Group     netip.Addr // not compared if it is the zero Addr
	// Addrs are the advertised addresses, in any order.
	Addrs []netip.Addr
	// Peers are the unicast peers. Others are heard, too, unless
	// CheckUnicastSource is set or a peer has bounds for its TTL.
	Peers              []Peer
	CheckUnicastSource bool
	// SkipAddrCheckFrom is the source whose list of addresses is not compared
	// any more (keepalived: skip_check_adv_addr).
	SkipAddrCheckFrom netip.Addr
}

// ethernetPayload is the least that an Ethernet frame carries: what is shorter
// arrives padded to it.
const ethernetPayload = 46

// Check makes all receive checks of a datagram. What passes is returned with
// the differences that are no reason to drop it; what does not is refused with
// a [*DropError]. An advertisement is returned with an error only if
// [DropError.Otherwise] is set.
func (e *Expect) Check(d *Datagram) (vrrp.Advertisement, []Mismatch, error) {
	adv, mismatches, err := e.check(d)
	if err != nil {
		if !err.Otherwise {
			adv = vrrp.Advertisement{}
		}
		return adv, nil, err // not a nil *DropError in an error
	}
	return adv, mismatches, nil
}

func drop(reason Drop, format string, args ...any) *DropError {
	return &DropError{Drop: reason, Detail: fmt.Sprintf(format, args...)}
}

func (e *Expect) check(d *Datagram) (adv vrrp.Advertisement, mismatches []Mismatch, fail *DropError) {
	p := d.Payload
	if d.Truncated {
		return adv, nil, drop(Truncated, "datagram is longer than any advertisement, or has no whole IP header")
	}
	if len(p) < 8 {
		return adv, nil, drop(Truncated, "message is %d octets, its header alone is 8", len(p))
	}
	if p[1] != e.VRID {
		return adv, nil, drop(WrongVRID, "message is for VRID %d, ours is %d", p[1], e.VRID)
	}

	version := vrrp.Version(p[0] >> 4)
	want, known := vrrp.AdvertisementLen(p, e.Family)
	if known {
		if fail := e.checkLength(d, version, want); fail != nil {
			return adv, nil, fail
		}
		p = p[:want]
	}
	if e.Multicast && d.TTL != vrrp.HopLimit {
		return adv, nil, drop(WrongTTL, "%s must be %d: a router forwarded the message, or its sender is misconfigured",
			e.ttl(d.TTL), vrrp.HopLimit)
	}
	if version != e.Version || !known {
		return adv, nil, drop(WrongVersion, "peer sends %v, this node expects %v (vrrp_version)", version, e.Version)
	}

	var interval *DropError
	if version == vrrp.V2 {
		if fail := e.checkAuthentication(p); fail != nil {
			return adv, nil, fail
		}
		if got := time.Duration(p[5]) * time.Second; got != e.Interval {
			// Whether the rest is right matters to those who wait for the
			// sender to be gone, so look on.
			interval = drop(IntervalMismatch, "advertisement interval is %v, ours is %v", got, e.Interval)
		}
	}
	if adv, mismatches, fail = e.checkRest(d, p); fail != nil {
		if interval != nil {
			fail = interval
		}
		return adv, nil, fail
	}
	if interval != nil {
		interval.Otherwise = true
		return adv, nil, interval
	}
	return adv, mismatches, nil
}

// checkLength compares the length of what arrived with what the message should
// have.
func (e *Expect) checkLength(d *Datagram, version vrrp.Version, want int) *DropError {
	got := len(d.Payload)
	if got < want {
		return drop(WrongLength, "%v message with %d addresses is %d octets, must be %d", version, d.Payload[3], got, want)
	}
	if got == want {
		return nil
	}
	// A short frame arrives padded. The IPv4 header says where the message
	// ends; IPv6 adverts with an address are never that short.
	if e.Family == vrrp.IPv4 && d.HeaderLen+got <= ethernetPayload && d.TotalLen <= d.HeaderLen+want {
		return nil
	}
	hint := ""
	if got-want == 28 {
		hint = "; 28 octets more is what keepalived's auth_hmac adds, which is not supported"
	}
	return drop(WrongLength, "%v message with %d addresses is %d octets, must be %d%s", version, d.Payload[3], got, want, hint)
}

// checkAuthentication makes the checks of the authentication of version 2. p
// is the message without padding.
func (e *Expect) checkAuthentication(p []byte) *DropError {
	got := vrrp.AuthType(p[4])
	switch {
	case got > vrrp.AuthAH:
		return drop(WrongAuthType, "authentication type is %d, must be 0, 1 or 2", uint8(got))
	case got != e.AuthType:
		return drop(AuthTypeMismatch, "peer uses authentication %v, this node %v (auth_type)", got, e.AuthType)
	case got == vrrp.AuthAH:
		return drop(AuthFailed, "IP Authentication Header is not supported")
	case got == vrrp.AuthPass && subtle.ConstantTimeCompare(p[len(p)-len(e.AuthData):], e.AuthData[:]) != 1:
		return drop(AuthFailed, "password differs (auth_pass; its first 8 octets count)")
	}
	return nil
}

// checkRest makes the checks that come after the interval of version 2.
func (e *Expect) checkRest(d *Datagram, p []byte) (adv vrrp.Advertisement, mismatches []Mismatch, fail *DropError) {
	if t := p[0] & 0x0f; t != 1 {
		return adv, nil, drop(WrongType, "message type is %d, must be 1 (advertisement)", t)
	}
	// Received octets beyond the total length are padding: checkLength has
	// seen to that they are no more than that.
	if e.Family == vrrp.IPv4 && d.TotalLen != d.HeaderLen+len(p) {
		return adv, nil, drop(TotalLength, "total length in the IPv4 header is %d, the message has %d with it",
			d.TotalLen, d.HeaderLen+len(p))
	}
	adv, err := vrrp.ParseAdvertisement(p, e.Family)
	if err != nil {
		// Not after the checks so far, but this is for the codec to say.
		return adv, nil, drop(WrongLength, "%v", err)
	}
	if e.Version == vrrp.V3 {
		if adv.Interval == 0 {
			return adv, nil, drop(ZeroInterval, "advertisement interval is 0, ours is %v", e.Interval)
		}
		if adv.Interval != e.Interval {
			mismatches = append(mismatches, Mismatch{MismatchInterval,
				fmt.Sprintf("advertisement interval is %v, ours is %v", adv.Interval, e.Interval)})
		}
	}
	if !vrrp.VerifyChecksum(p, d.Src, d.Dst, e.Checksum) {
		return adv, nil, drop(BadChecksum, "%s", e.explainChecksum(d, p))
	}
	if dst := d.Dst.Unmap(); e.Multicast {
		if !dst.IsMulticast() || e.Group.IsValid() && dst != e.Group.Unmap().WithZone("") {
			return adv, nil, drop(WrongDestination, "message was sent to %v, this node uses multicast group %v", dst, e.Group)
		}
	} else if dst.IsMulticast() {
		return adv, nil, drop(WrongDestination, "message was sent to multicast group %v, this node uses unicast", dst)
	}
	if m := e.compareAddrs(d.Src, adv.Addrs); m != "" {
		mismatches = append(mismatches, Mismatch{MismatchAddresses, m})
	}
	if !e.Multicast {
		if fail := e.checkSource(d); fail != nil {
			return adv, nil, fail
		}
	}
	return adv, mismatches, nil
}

// explainChecksum says what is known of a checksum that does not verify: which
// of the ways to compute it would have given it.
func (e *Expect) explainChecksum(d *Datagram, p []byte) string {
	text := fmt.Sprintf("checksum 0x%04x does not verify", binary.BigEndian.Uint16(p[6:]))
	if e.Version != vrrp.V3 || e.Family != vrrp.IPv4 {
		return text
	}
	if e.Checksum == vrrp.ChecksumPlain {
		if vrrp.VerifyChecksum(p, d.Src, d.Dst, vrrp.ChecksumPseudoHeader) {
			return text + "; peer seems to compute it with pseudo-header; set v3_checksum_as_v2 there, or unset it here"
		}
		return text
	}
	if vrrp.VerifyChecksum(p, d.Src, d.Dst, vrrp.ChecksumPlain) {
		return text + "; peer seems to compute it without pseudo-header; set v3_checksum_as_v2"
	}
	group := e.Family.Group()
	if e.Group.IsValid() {
		group = e.Group
	}
	if !e.Multicast && vrrp.VerifyChecksum(p, d.Src, group, vrrp.ChecksumPseudoHeader) {
		return text + "; peer seems to compute it for the multicast group, as keepalived until 1.3.6 (old_unicast_checksum)"
	}
	return text
}

// checkSource checks where a unicast message comes from.
func (e *Expect) checkSource(d *Datagram) *DropError {
	if !e.CheckUnicastSource && !slices.ContainsFunc(e.Peers, func(p Peer) bool { return p.bounded() }) {
		return nil
	}
	src := d.Src.Unmap()
	i := slices.IndexFunc(e.Peers, func(p Peer) bool { return p.Addr.Unmap().WithZone("") == src })
	if i < 0 {
		return drop(UnknownSource, "sender is not among the unicast peers")
	}
	if p := &e.Peers[i]; p.bounded() && (d.TTL < p.MinTTL || p.MaxTTL >= 0 && d.TTL > p.MaxTTL || d.TTL < 0) {
		limit := "at least " + fmt.Sprint(p.MinTTL)
		switch {
		case p.MinTTL < 0:
			limit = fmt.Sprintf("at most %d", p.MaxTTL)
		case p.MaxTTL >= 0:
			limit = fmt.Sprintf("from %d to %d", p.MinTTL, p.MaxTTL)
		}
		return drop(PeerTTL, "%s must be %s for this peer", e.ttl(d.TTL), limit)
	}
	return nil
}

// ttl names a TTL in the words of the family, as the start of a sentence.
func (e *Expect) ttl(v int) string {
	name := "TTL"
	if e.Family == vrrp.IPv6 {
		name = "hop limit"
	}
	if v < 0 {
		return name + " is not known,"
	}
	return fmt.Sprintf("%s is %d,", name, v)
}

// compareAddrs compares an advertised list of addresses with ours, as sets,
// and returns how they differ, or "".
func (e *Expect) compareAddrs(src netip.Addr, got []netip.Addr) string {
	if slices.Equal(got, e.Addrs) || e.SkipAddrCheckFrom.IsValid() && e.SkipAddrCheckFrom.Unmap().WithZone("") == src.Unmap() {
		return ""
	}
	theirs, ours := missing(got, e.Addrs), missing(e.Addrs, got)
	var parts []string
	if len(theirs) > 0 {
		parts = append(parts, "peer advertises "+list(theirs)+", which this node does not have")
	}
	if len(ours) > 0 {
		parts = append(parts, "this node has "+list(ours)+", which the peer does not advertise")
	}
	if len(parts) == 0 && len(got) != len(e.Addrs) {
		return fmt.Sprintf("peer advertises %d addresses, this node has %d, some more than once", len(got), len(e.Addrs))
	}
	return strings.Join(parts, "; ")
}

// missing returns what of a is not in b, each once, in a's order.
func missing(a, b []netip.Addr) []netip.Addr {
	seen := make(map[netip.Addr]bool, len(b))
	for _, addr := range b {
		seen[addr.Unmap().WithZone("")] = true
	}
	var out []netip.Addr
	for _, addr := range a {
		if addr = addr.Unmap().WithZone(""); !seen[addr] {
			seen[addr] = true
			out = append(out, addr)
		}
	}
	return out
}

// list writes addresses for people: not more than fit a line.
func list(addrs []netip.Addr) string {
	const most = 4
	var words []string
	for i, a := range addrs {
		if i == most && len(addrs) > most+1 {
			words = append(words, fmt.Sprintf("%d more", len(addrs)-i))
			break
		}
		words = append(words, a.String())
	}
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
