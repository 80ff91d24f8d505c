// Package fabric connects virtual machines by unix datagram sockets, one Ethernet
// frame in each datagram, as QEMU's -netdev dgram does.
//
// A Switch learns addresses for each VLAN, as a real one with trunk ports. Its
// ports can die, lose one VLAN, or lose a direction, all without a machine's
// carrier changing. A Prober asks every machine by itself whether it answers for an
// address, so that who owned an address when is known on one clock. A Capture keeps
// the frames for a packet analyser.
package fabric
