package fabric

import "encoding/binary"

// Lengths and types of Ethernet.
const (
	macLen   = 6
	etherLen = 14
	tagLen   = 4 // of a VLAN tag

	typeVLAN = 0x8100
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
)

// vidMask is the part of a tag that is the VLAN's number; the rest is priority.
const vidMask = 0x0fff

// A mac is a hardware address.
type mac [macLen]byte

// group reports whether frames to the address go to several stations.
func (m mac) group() bool { return m[0]&1 != 0 }

// A header is what a switch looks at.
type header struct {
	dst, src mac
	vlan     uint16 // 0 if the frame has no tag
	protocol uint16
}

// parse returns the header of a frame and what follows it.
func parse(frame []byte) (h header, payload []byte, ok bool) {
	if len(frame) < etherLen {
		return h, nil, false
	}
	h.dst, h.src = mac(frame), mac(frame[macLen:])
	h.protocol = binary.BigEndian.Uint16(frame[2*macLen:])
	payload = frame[etherLen:]
	if h.protocol == typeVLAN {
		if len(payload) < tagLen {
			return h, nil, false
		}
		h.vlan = binary.BigEndian.Uint16(payload) & vidMask
		h.protocol = binary.BigEndian.Uint16(payload[2:])
		payload = payload[tagLen:]
	}
	return h, payload, true
}

// build returns a frame, with a tag if there is a VLAN.
func (h header) build(payload []byte) []byte {
	frame := make([]byte, 0, etherLen+tagLen+len(payload))
	frame = append(append(frame, h.dst[:]...), h.src[:]...)
	if h.vlan != 0 {
		frame = binary.BigEndian.AppendUint16(frame, typeVLAN)
		frame = binary.BigEndian.AppendUint16(frame, h.vlan)
	}
	return append(binary.BigEndian.AppendUint16(frame, h.protocol), payload...)
}
