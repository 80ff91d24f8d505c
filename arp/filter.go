package arp

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// maxExact is how many addresses of one family the kernel compares each
	// frame with. Beyond, it keeps a frame of the right kind.
	maxExact = 64

	// maxFrame is how much of a frame is kept. An advertisement that is longer
	// than an Ethernet frame is none.
	maxFrame = 2048
)

// socketFilter returns the program that decides which frames the kernel keeps
// for the interface with the given index: those that the body keeps, and that
// are meant for this interface.
//
// A socket for one protocol gets more than that. Of a frame with a VLAN tag
// that has an interface of its own it gets a copy, whose interface is that one;
// if it has none, the frame is marked as meant for another host, and the tag is
// gone. What the host sends is marked, too. All marks that are right, host,
// broadcast and multicast, are smaller than those.
func socketFilter(index int, body []bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(index), SkipTrue: 1},
		drop,
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: unix.PACKET_MULTICAST, SkipTrue: 1},
		drop,
	}, body...)
}

var (
	drop = bpf.RetConstant{Val: 0}
	keep = bpf.RetConstant{Val: maxFrame}
)

// arpFilter keeps the ARP packets whose sender is one of addrs or, if there are
// too many of them, those whose sender is the target. Reading past the end of a
// frame drops it.
func arpFilter(addrs []netip.Addr) []bpf.Instruction {
	const sender, target = ethernetLen + 14, ethernetLen + 24
	p := check(nil, 12, 2, etherTypeARP)
	p = check(p, ethernetLen+2, 4, arpLayout)
	if len(addrs) > maxExact {
		return append(p,
			bpf.LoadAbsolute{Off: target, Size: 4},
			bpf.TAX{},
			bpf.LoadAbsolute{Off: sender, Size: 4},
			bpf.JumpIfX{Cond: bpf.JumpEqual, SkipTrue: 1},
			drop,
			keep)
	}
	p = append(p, bpf.LoadAbsolute{Off: sender, Size: 4})
	for i, a := range addrs {
		b := a.As4()
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[:]), SkipTrue: uint8(len(addrs) - i)})
	}
	return append(p, drop, keep)
}

// naFilter keeps the neighbour advertisements for one of addrs or, if there are
// too many of them, all.
func naFilter(addrs []netip.Addr) []bpf.Instruction {
	const message, target = ethernetLen + ipv6Len, ethernetLen + ipv6Len + 8
	p := check(nil, 12, 2, etherTypeIPv6)
	p = check(p, ethernetLen+6, 2, protocolICMPv6<<8|hopLimitNDP)
	p = check(p, message, 1, typeNeighborAdvertisement)
	if len(addrs) > maxExact {
		return append(p, keep)
	}
	for _, a := range addrs {
		b := a.As16()
		// The last word first: addresses of one network differ there.
		for off := 12; off >= 0; off -= 4 {
			p = append(p,
				bpf.LoadAbsolute{Off: uint32(target + off), Size: 4},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[off:]), SkipTrue: uint8(off/2 + 1)})
		}
		p = append(p, keep)
	}
	return append(p, drop)
}

// check drops a frame that has another value there.
func check(p []bpf.Instruction, off uint32, size int, value uint32) []bpf.Instruction {
	return append(p,
		bpf.LoadAbsolute{Off: off, Size: size},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 1},
		drop)
}
