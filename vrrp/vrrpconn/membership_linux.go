package vrrpconn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"vipd/vrrp"
)

// ErrNotMember says that a [Conn] does not receive its group any more, as far
// as the kernel is concerned.
var ErrNotMember = errors.New("not a member any more")

// CheckMembership says whether the Conn is still a member of its group. The
// error matches [ErrNotMember] if it is not, and is another if that could not
// be found out. It is nil for a unicast Conn, which has nothing to lose. It
// must be called in the network namespace of the Conn, from any goroutine.
//
// What is proved is that the kernel would hand to this socket what comes to the
// interface for the group: both the socket and the interface have the
// membership. The interface loses it without a word to the socket when it is
// deleted or moved to another namespace, or when its MTU was too small for the
// protocol for a moment. Not proved is that anything comes: a switch may have
// forgotten the port (see [Conn.Renew]), a packet filter may drop what does
// come, and the interface may have no carrier. Only an advertisement that is
// received proves that.
func (c *Conn) CheckMembership() error {
	if !c.cfg.Group.IsValid() {
		return nil
	}
	_, err := c.membership()
	if err != nil {
		return c.error(fmt.Sprintf("membership of %v on interface %d", c.cfg.Group, c.cfg.Index), err)
	}
	return nil
}

// Renew has the host tell the network once more that it is a member of the
// group, for the switches that have forgotten it: where nobody asks (there is
// no querier) they do so after some minutes, and no host tells them on its own.
// The group is never left, not for a moment. If the membership is lost, Renew
// joins again, and the kernel reports that. It does nothing for a unicast Conn,
// nor where the host is told not to report groups of the link (the sysctl
// net.ipv4.igmp_link_local_mcast_reports). It must be called in the network
// namespace of the Conn, from any goroutine, and does not block.
//
// The kernel has no way to ask for a report. Joining on another socket sends
// none, and blocking a source and unblocking it sends one about that source
// only, from which a router without a record of the group learns nothing, and
// none at all in the mode of IGMPv2. So the report that the kernel sends on
// joining is sent once more: on IPv4 of the version that the kernel uses on the
// interface; on IPv6, where it does not say, of both versions.
func (c *Conn) Renew() error {
	if !c.cfg.Group.IsValid() {
		return nil
	}
	querier, err := c.membership()
	switch {
	case err == nil:
		err = c.report(querier)
	case errors.Is(err, ErrNotMember):
		err = c.rejoin()
	}
	if err != nil {
		return c.error(fmt.Sprintf("renewing membership of %v on interface %d", c.cfg.Group, c.cfg.Index), err)
	}
	return nil
}

// membership says whether the socket and its interface are members of the
// group, and the version of IGMP on the interface: V1, V2 or V3.
func (c *Conn) membership() (querier string, err error) {
	if err := c.socketMembership(); err != nil {
		return "", err
	}
	// That of the thread, which may be in another namespace than its process.
	file, find := "/proc/thread-self/net/igmp", findIGMP
	if c.cfg.Family == vrrp.IPv6 {
		file, find = "/proc/thread-self/net/igmp6", findIGMP6
	}
	table, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	querier, ok := find(table, c.cfg.Index, c.cfg.Group)
	if !ok {
		return "", fmt.Errorf("the interface is %w", ErrNotMember)
	}
	return querier, nil
}

// A groupFilter is the kernel's struct group_filter without sources.
type groupFilter struct {
	index   uint32
	_       [wordSize - 4]byte
	group   [128]byte // struct sockaddr_storage
	mode    uint32
	sources uint32
}

// socketMembership says whether the socket is a member of the group.
func (c *Conn) socketMembership() error {
	f := groupFilter{index: uint32(c.cfg.Index)}
	level := uintptr(unix.IPPROTO_IP)
	binary.NativeEndian.PutUint16(f.group[:], unix.AF_INET)
	address := f.group[4:]
	if c.cfg.Family == vrrp.IPv6 {
		level = unix.IPPROTO_IPV6
		binary.NativeEndian.PutUint16(f.group[:], unix.AF_INET6)
		address = f.group[8:]
	}
	copy(address, c.cfg.Group.AsSlice())
	var errno syscall.Errno
	err := c.rxc.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(f))
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, level, unix.MCAST_MSFILTER,
			uintptr(unsafe.Pointer(&f)), uintptr(unsafe.Pointer(&size)), 0)
	})
	switch {
	case err != nil:
		return err
	case errno == unix.EADDRNOTAVAIL:
		return fmt.Errorf("the socket is %w", ErrNotMember)
	case errno != 0:
		return os.NewSyscallError("getsockopt MCAST_MSFILTER", errno)
	}
	return nil
}

// findIGMP looks for a group of an interface in /proc/net/igmp, where a line
// about the interface comes before those of its groups, which are indented:
//
//	Idx	Device    : Count Querier	Group    Users Timer	Reporter
//	2	eth0      :     2      V3
//					120000E0     1 0:00000000		0
//
// An address is there as the processor sees its four octets.
func findIGMP(table []byte, index int, group netip.Addr) (querier string, ok bool) {
	octets := group.As4()
	want := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(octets[:]))
	ours := false
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) == 0:
		case line[0] != '\t' && line[0] != ' ':
			if ours = fields[0] == strconv.Itoa(index); ours {
				querier = fields[len(fields)-1]
			}
		case ours && fields[0] == want:
			return querier, true
		}
	}
	return "", false
}

// findIGMP6 looks for a group of an interface in /proc/net/igmp6, which does not
// say which version of MLD there is:
//
//	2    eth0            ff020000000000000000000000000012     1 00000004 0
func findIGMP6(table []byte, index int, group netip.Addr) (querier string, ok bool) {
	octets := group.As16()
	want := hex.EncodeToString(octets[:])
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) > 2 && fields[0] == strconv.Itoa(index) && fields[2] == want {
			return "", true
		}
	}
	return "", false
}

// rejoin joins the group again. A socket whose interface has lost the
// membership still has its own, and can have no second one; giving that up
// tells nobody, as the interface has nothing to leave.
func (c *Conn) rejoin() error {
	var refused error
	err := c.rxc.Control(func(fd uintptr) {
		if c.cfg.Family == vrrp.IPv6 {
			mreq := &unix.IPv6Mreq{Multiaddr: c.cfg.Group.As16(), Interface: uint32(c.cfg.Index)}
			_ = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, mreq)
			refused = os.NewSyscallError("setsockopt IPV6_JOIN_GROUP", unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq))
			return
		}
		mreq := &unix.IPMreqn{Multiaddr: c.cfg.Group.As4(), Ifindex: int32(c.cfg.Index)}
		_ = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, mreq)
		refused = os.NewSyscallError("setsockopt IP_ADD_MEMBERSHIP", unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, mreq))
	})
	return errors.Join(err, refused)
}

// The reports, RFC 1112, 2236, 3376, 2710 and 3810.
const (
	igmpV1Report = 0x12
	igmpV2Report = 0x16
	igmpV3Report = 0x22
	mldV1Report  = 131
	mldV2Report  = 143

	// changeToExclude is what the kernel says of a group that it joins: from now
	// on from every source. Whoever knew that already is told nothing new.
	changeToExclude = 4
)

// reportIPv4 returns a report for the group, and where to.
func reportIPv4(group netip.Addr, querier string) (b []byte, to netip.Addr) {
	switch querier {
	case "V1":
		b, to = []byte{igmpV1Report, 0, 0, 0}, group
	case "V2":
		b, to = []byte{igmpV2Report, 0, 0, 0}, group
	default:
		b, to = []byte{igmpV3Report, 0, 0, 0, 0, 0, 0, 1, changeToExclude, 0, 0, 0}, netip.AddrFrom4([4]byte{224, 0, 0, 22})
	}
	b = append(b, group.AsSlice()...)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum&0xffff+sum>>16))
	return b, to
}

// report sends the report. It comes from a socket of its own: this protocol is
// another.
func (c *Conn) report(querier string) error {
	if c.cfg.Family == vrrp.IPv6 {
		return c.withSocket(unix.AF_INET6, unix.IPPROTO_ICMPV6, c.reportIPv6)
	}
	if c.cfg.Group.IsLinkLocalMulticast() {
		// What is not there is not forbidden.
		if b, err := os.ReadFile("/proc/sys/net/ipv4/igmp_link_local_mcast_reports"); err == nil && string(bytes.TrimSpace(b)) == "0" {
			return nil
		}
	}
	return c.withSocket(unix.AF_INET, unix.IPPROTO_IGMP, func(fd int) error {
		o := &options{fd: fd}
		o.dropAll()
		o.bindToDevice(c.cfg.Interface)
		o.set("IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, precedence)
		o.do("IP_OPTIONS", func() error {
			return unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x94\x04\x00\x00") // router alert, RFC 2113
		})
		o.set("IP_MULTICAST_TTL", unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 1)
		o.set("IP_MULTICAST_LOOP", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)
		o.do("IP_MULTICAST_IF", func() error {
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(c.cfg.Index)})
		})
		b, to := reportIPv4(c.cfg.Group, querier)
		o.do("sendto", func() error {
			return unix.Sendto(fd, b, unix.MSG_DONTWAIT|unix.MSG_DONTROUTE, &unix.SockaddrInet4{Addr: to.As4()})
		})
		return o.err
	})
}

// reportIPv6 sends the reports of both versions.
func (c *Conn) reportIPv6(fd int) error {
	group, index := c.cfg.Group.As16(), c.cfg.Index
	o := &options{fd: fd}
	o.dropAll()
	o.bindToDevice(c.cfg.Interface)
	o.do("IPV6_HOPOPTS", func() error {
		// Router alert for MLD, RFC 2711, and padding.
		return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, "\x00\x00\x05\x02\x00\x00\x01\x00")
	})
	o.set("IPV6_AUTOFLOWLABEL", unix.IPPROTO_IPV6, unix.IPV6_AUTOFLOWLABEL, 0)
	o.set("IPV6_MULTICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 1)
	o.set("IPV6_MULTICAST_LOOP", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0)
	o.set("IPV6_MULTICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index)
	// The kernel computes the checksums.
	for _, r := range []struct {
		header []byte
		to     [16]byte
	}{
		{[]byte{mldV1Report, 0, 0, 0, 0, 0, 0, 0}, group},
		{[]byte{mldV2Report, 0, 0, 0, 0, 0, 0, 1, changeToExclude, 0, 0, 0}, [16]byte{0: 0xff, 1: 0x02, 15: 0x16}},
	} {
		o.do("sendto", func() error {
			return unix.Sendto(fd, append(r.header, group[:]...), unix.MSG_DONTWAIT, &unix.SockaddrInet6{Addr: r.to, ZoneId: uint32(index)})
		})
	}
	return o.err
}

// withSocket calls f with a raw socket that lives no longer than that.
func (c *Conn) withSocket(family, protocol int, f func(fd int) error) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	return errors.Join(f(fd), unix.Close(fd))
}
