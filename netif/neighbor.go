package netif

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// nudValid are the states of a neighbour in which its link-layer address is known
// (the kernel's NUD_VALID).
const nudValid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// Neighbor returns the Ethernet address that the kernel has for a neighbour on an
// interface. It reports false if it has none, or none that is known. The kernel is
// asked for what it has, not to find it out.
func (h *Handle) Neighbor(index int, addr netip.Addr) (mac [6]byte, ok bool, err error) {
	addr = addr.Unmap().WithZone("")
	var m message
	if err = ErrInvalid; addr.IsValid() {
		m, err = h.conn.get(unix.RTM_GETNEIGH, neighborRequest(index, addr))
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return mac, false, nil
	case errors.Is(err, unix.ENODEV):
		err = ErrNoInterface
	}
	if err != nil {
		return mac, false, fmt.Errorf("netif: asking for the neighbour %v: %w", addr, err)
	}
	mac, ok = parseNeighbor(m.body)
	return mac, ok, nil
}

// neighborRequest is the body of a request for one neighbour.
func neighborRequest(index int, addr netip.Addr) []byte {
	family := uint8(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	b := make([]byte, unix.SizeofNdMsg, unix.SizeofNdMsg+32)
	b[0] = family
	native.PutUint32(b[4:], uint32(index))
	return appendAttr(b, unix.NDA_DST, addr.AsSlice())
}

// parseNeighbor decodes the body of an RTM_NEWNEIGH message.
func parseNeighbor(b []byte) (mac [6]byte, ok bool) {
	if len(b) < unix.SizeofNdMsg || native.Uint16(b[8:])&nudValid == 0 {
		return mac, false
	}
	for typ, v := range attrs(b[unix.SizeofNdMsg:]) {
		if typ == unix.NDA_LLADDR && len(v) == len(mac) {
			copy(mac[:], v)
		}
	}
	return mac, mac != [6]byte{}
}
