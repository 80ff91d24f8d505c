package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	headerLen = 8 // what precedes the addresses, in both versions
	authLen   = 8 // what follows them in version 2, authenticated or not

	typeAdvertisement = 1 // the only message type there is (RFC 9568 §5.2.2)

	intervalMask = 0x0fff // version 3: 12 bits, the other 4 are reserved
)

const (
	// MaxAddresses is the most addresses an advertisement can count.
	MaxAddresses = 255
	// MaxIntervalV2 is the longest interval version 2 can express.
	MaxIntervalV2 = 255 * time.Second
	// MaxIntervalV3 is the longest interval version 3 can express.
	MaxIntervalV3 = intervalMask * centisecond

	// centisecond is the unit of an interval on the wire in version 3.
	centisecond = 10 * time.Millisecond
)

// An Advertisement is one VRRP advertisement (RFC 3768 §5.1, RFC 9568 §5.1),
// decoded. It is the only message of the protocol.
//
// Version 2 exists on IPv4 alone.
type Advertisement struct {
	Version  Version
	VRID     uint8
	Priority uint8
	// Interval is the sender's advertisement interval: whole seconds in
	// version 2, steps of 10 ms up to 40.95 s in version 3.
	Interval time.Duration
	// AuthType and AuthData exist in version 2 only. AuthData is zero without
	// authentication, and is sent and received all the same.
	AuthType AuthType
	AuthData [8]byte
	// Addrs are the addresses of the virtual router in the order sent.
	Addrs []netip.Addr
}

// Why an [Advertisement] cannot be encoded; see [Advertisement.AppendTo].
var (
	ErrVersion        = errors.New("version does not exist on this address family")
	ErrInterval       = errors.New("interval cannot be expressed")
	ErrTooMany        = errors.New("more addresses than can be counted")
	ErrFamilies       = errors.New("addresses of different families")
	ErrAuthentication = errors.New("no authentication in this version")
)

// AppendTo appends the encoded advertisement to b, with the checksum for a
// packet from src to dst. mode counts for version 3 on IPv4 only. On an error,
// which is one of the Err variables with what is wrong, it returns b as it was.
func (a *Advertisement) AppendTo(b []byte, src, dst netip.Addr, mode Checksum) ([]byte, error) {
	f := FamilyOf(dst)
	interval, err := a.check(f, src)
	if err != nil {
		return b, fmt.Errorf("vrrp: encoding advertisement: %w", err)
	}

	start, out := len(b), b
	out = append(out, byte(a.Version)<<4|typeAdvertisement, a.VRID, a.Priority, byte(len(a.Addrs)))
	if a.Version == V2 {
		out = append(out, byte(a.AuthType), byte(interval))
	} else {
		out = binary.BigEndian.AppendUint16(out, interval)
	}
	out = append(out, 0, 0) // checksum
	for _, addr := range a.Addrs {
		if f == IPv4 {
			octets := addr.Unmap().As4()
			out = append(out, octets[:]...)
		} else {
			octets := addr.As16()
			out = append(out, octets[:]...)
		}
	}
	if a.Version == V2 {
		out = append(out, a.AuthData[:]...)
	}

	pdu := out[start:]
	seed, _ := pseudoHeader(a.Version, src, dst, len(pdu), mode)
	binary.BigEndian.PutUint16(pdu[checksumOffset:], ^fold(sum(seed, pdu)))
	return out, nil
}

// check says whether a can be encoded for a packet of family f from src, and
// returns the interval in units of the wire.
func (a *Advertisement) check(f Family, src netip.Addr) (uint16, error) {
	if f == 0 || FamilyOf(src) != f {
		return 0, fmt.Errorf("%w: packet from %v (destination is %v)", ErrFamilies, src, f)
	}
	if !a.Version.on(f) {
		return 0, fmt.Errorf("%w: %v on %v", ErrVersion, a.Version, f)
	}
	if len(a.Addrs) > MaxAddresses {
		return 0, fmt.Errorf("%w: %d, at most %d", ErrTooMany, len(a.Addrs), MaxAddresses)
	}
	for _, addr := range a.Addrs {
		if FamilyOf(addr) != f {
			return 0, fmt.Errorf("%w: %v in an %v packet", ErrFamilies, addr, f)
		}
	}
	unit, limit := centisecond, MaxIntervalV3
	if a.Version == V2 {
		unit, limit = time.Second, MaxIntervalV2
	} else if a.AuthType != AuthNone {
		// RFC 9568 §9: version 3 has none. Leaving it out silently would be
		// less secure than what was asked for.
		return 0, fmt.Errorf("%w: %v in %v", ErrAuthentication, a.AuthType, a.Version)
	}
	if a.Interval < 0 || a.Interval > limit || a.Interval%unit != 0 {
		return 0, fmt.Errorf("%w: %v in %v, which has steps of %v up to %v",
			ErrInterval, a.Interval, a.Version, unit, limit)
	}
	return uint16(a.Interval / unit), nil
}

// on reports whether v is defined on family f.
func (v Version) on(f Family) bool {
	return v == V3 && (f == IPv4 || f == IPv6) || v == V2 && f == IPv4
}

// A ParseProblem says what is wrong with the structure of an advertisement.
type ParseProblem uint8

// What can be wrong with the structure of an advertisement.
const (
	_ ParseProblem = iota
	// ProblemShort is a message shorter than the fixed header.
	ProblemShort
	// ProblemVersion is a version that is unknown, or unknown on this family.
	ProblemVersion
	// ProblemType is a message that is not an advertisement.
	ProblemType
	// ProblemLength is a length that does not fit the number of addresses.
	ProblemLength
)

// String names the part of the message that is wrong.
func (p ParseProblem) String() string {
	switch p {
	case ProblemShort:
		return "header length"
	case ProblemVersion:
		return "version"
	case ProblemType:
		return "message type"
	case ProblemLength:
		return "length"
	}
	return fmt.Sprintf("ParseProblem(%d)", uint8(p))
}

// A ParseError is the error of [ParseAdvertisement].
type ParseError struct {
	Reason ParseProblem
	Offset int // the octet that says so: of the field, or where the message ends
	Got    int // what was there
	Want   int // what should have been; for a version the newest on this family
}

// Error returns what is wrong and where.
func (e *ParseError) Error() string {
	return fmt.Sprintf("vrrp: parsing advertisement: %v is %d, want %d (octet %d)", e.Reason, e.Got, e.Want, e.Offset)
}

// ParseAdvertisement decodes a received advertisement, b being the whole
// message after the IP header and without any padding. It looks at the
// structure only: length, version and type. Neither the checksum (see
// [VerifyChecksum]) nor the sense of any value is verified; reserved bits are
// ignored (RFC 9568 §5.2.6). An error is a [*ParseError].
func ParseAdvertisement(b []byte, f Family) (Advertisement, error) {
	if len(b) < headerLen {
		return Advertisement{}, &ParseError{Reason: ProblemShort, Offset: len(b), Got: len(b), Want: headerLen}
	}
	a := Advertisement{Version: Version(b[0] >> 4), VRID: b[1], Priority: b[2]}
	if !a.Version.on(f) {
		return Advertisement{}, &ParseError{Reason: ProblemVersion, Offset: 0, Got: int(a.Version), Want: int(V3)}
	}
	if t := int(b[0] & 0x0f); t != typeAdvertisement {
		return Advertisement{}, &ParseError{Reason: ProblemType, Offset: 0, Got: t, Want: typeAdvertisement}
	}
	if want, _ := AdvertisementLen(b, f); len(b) != want {
		return Advertisement{}, &ParseError{Reason: ProblemLength, Offset: min(len(b), want), Got: len(b), Want: want}
	}

	if a.Version == V2 {
		a.AuthType = AuthType(b[4])
		a.Interval = time.Duration(b[5]) * time.Second
		a.AuthData = [authLen]byte(b[len(b)-authLen:])
	} else {
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&intervalMask) * centisecond
	}
	if n := int(b[3]); n > 0 {
		a.Addrs = make([]netip.Addr, n)
		for i, at := 0, headerLen; i < n; i++ {
			if f == IPv4 {
				a.Addrs[i] = netip.AddrFrom4([4]byte(b[at : at+4]))
				at += 4
			} else {
				a.Addrs[i] = netip.AddrFrom16([16]byte(b[at : at+16]))
				at += 16
			}
		}
	}
	return a, nil
}

// AdvertisementLen returns the length that an advertisement should have
// according to its own header: 8 octets, the addresses it counts and, in
// version 2, 8 octets of authentication data. It reports false when there is
// no whole header or no such version on family f.
func AdvertisementLen(b []byte, f Family) (int, bool) {
	if len(b) < headerLen {
		return 0, false
	}
	v, n := Version(b[0]>>4), int(b[3])
	switch {
	case !v.on(f):
		return 0, false
	case v == V2:
		return headerLen + n*4 + authLen, true
	case f == IPv4:
		return headerLen + n*4, true
	}
	return headerLen + n*16, true
}
