package vrrp

import (
	"encoding/binary"
	"net/netip"
)

// checksumOffset is where both versions keep the checksum.
const checksumOffset = 6

// VerifyChecksum reports whether the checksum of a received advertisement is
// right. src and dst are the addresses of the packet that carried it; mode is
// how a version 3 sender on IPv4 computes it and is ignored elsewhere. What is
// too short to have a checksum does not have a right one.
func VerifyChecksum(b []byte, src, dst netip.Addr, mode Checksum) bool {
	if len(b) < headerLen {
		return false
	}
	seed, ok := pseudoHeader(Version(b[0]>>4), src, dst, len(b), mode)
	return ok && fold(sum(seed, b)) == 0xffff
}

// pseudoHeader returns the sum that a checksum starts from: that of the
// pseudo-header where there is one, else 0. It reports false when the two
// addresses are not of one family.
//
// Version 2 has none (RFC 3768 §5.3.8). IPv6 always has that of RFC 8200 §8.1.
// On IPv4, version 3 has the one RFC 5798 was read to ask for, with the real
// destination even if that is a unicast peer, or none (RFC 9568 §5.2.8).
func pseudoHeader(v Version, src, dst netip.Addr, length int, mode Checksum) (uint64, bool) {
	src, dst = src.Unmap(), dst.Unmap()
	switch {
	case src.Is4() && dst.Is4():
		if v == V2 || mode == ChecksumPlain {
			return 0, true
		}
		s, d := src.As4(), dst.As4()
		return sum(sum(uint64(Protocol)+uint64(length), s[:]), d[:]), true
	case src.Is6() && dst.Is6():
		s, d := src.As16(), dst.As16()
		return sum(sum(uint64(Protocol)+uint64(length), s[:]), d[:]), true
	}
	return 0, false
}

// sum adds b to an Internet checksum (RFC 1071) in progress. 48 bits are left
// for carries, far more than a packet can use.
func sum(acc uint64, b []byte) uint64 {
	for len(b) >= 2 {
		acc += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		acc += uint64(b[0]) << 8
	}
	return acc
}

// fold brings the carries of a sum back into its 16 bits.
func fold(acc uint64) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}
