package checks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	// echoToken is how many random octets go with a request. They come back
	// with its reply and with no other.
	echoToken = 24
)

// ICMP is a Prober that succeeds when an echo request is answered.
type ICMP struct {
	// Address is whom to ask; zero: the gateway of the default route of Family,
	// of Interface if that is set, looked up for each request.
	Address   netip.Addr
	Family    int    // 4 or 6, for the gateway
	Interface string // empty: as routed
}

var _ Prober = (*ICMP)(nil)

// String names what is asked.
func (p *ICMP) String() string {
	s := "icmp "
	switch {
	case p.Address.IsValid():
		s += p.Address.String()
	case p.Family == 6:
		s += "IPv6 default gateway"
	default:
		s += "IPv4 default gateway"
	}
	if p.Interface != "" {
		s += " on " + p.Interface
	}
	return s
}

// Probe sends one echo request and waits for the reply to it.
func (p *ICMP) Probe(ctx context.Context) (string, error) {
	dst, label := p.Address.Unmap(), ""
	if !dst.IsValid() {
		var err error
		if dst, err = gateway(p.Family, p.Interface); err != nil {
			return "", err
		}
		label = " (default gateway)"
	}
	err := echo(ctx, dst, p.Interface)
	switch {
	case err == nil:
		return fmt.Sprintf("echo reply from %v%s", dst.WithZone(""), label), nil
	case errors.Is(err, context.DeadlineExceeded):
		return "", fmt.Errorf("no echo reply from %v%s", dst.WithZone(""), label)
	}
	if _, ok := errors.AsType[*UnrunnableError](err); ok || ctx.Err() != nil {
		return "", err
	}
	return "", fmt.Errorf("%v%s: %w", dst.WithZone(""), label, err)
}

func (p *ICMP) inspect() error {
	if os.Geteuid() != 0 {
		return nil // who only looks at a configuration is not who will run it
	}
	s, err := openEcho(p.Address.Unmap().Is6() || !p.Address.IsValid() && p.Family == 6)
	if err == nil {
		_ = s.file.Close()
	}
	return err
}

// gateway returns the gateway of the default route with the lowest metric.
func gateway(family int, ifname string) (netip.Addr, error) {
	none := netip.Addr{}
	nl, text := netlink.FAMILY_V4, "IPv4"
	if family == 6 {
		nl, text = netlink.FAMILY_V6, "IPv6"
	}
	link := 0
	if ifname != "" {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return none, fmt.Errorf("interface %s does not exist", ifname)
		}
		link = ifi.Index
	}
	routes, err := netlink.RouteListFiltered(nl, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return none, fmt.Errorf("reading routes: %w", err)
	}
	found, metric := none, 0
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		hops := r.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
		}
		for _, h := range hops {
			a, ok := hopAddr(h)
			if !ok || link != 0 && h.LinkIndex != link || found.IsValid() && metric <= r.Priority {
				continue
			}
			found, metric = a, r.Priority
		}
	}
	if !found.IsValid() {
		if ifname != "" {
			return none, fmt.Errorf("no %s default gateway on %s", text, ifname)
		}
		return none, fmt.Errorf("no %s default gateway", text)
	}
	return found, nil
}

// hopAddr returns the address of a gateway, with its interface if it needs one.
func hopAddr(h *netlink.NexthopInfo) (netip.Addr, bool) {
	ip := h.Gw
	if via, ok := h.Via.(*netlink.Via); ok && len(ip) == 0 {
		ip = via.Addr
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok || a.IsUnspecified() {
		return a, false
	}
	a = a.Unmap()
	if a.IsLinkLocalUnicast() && a.Is6() {
		ifi, err := net.InterfaceByIndex(h.LinkIndex)
		if err != nil {
			return a, false
		}
		a = a.WithZone(ifi.Name)
	}
	return a, true
}

// echo sends an echo request and returns nil when its reply has come.
func echo(ctx context.Context, dst netip.Addr, ifname string) error {
	s, err := openEcho(dst.Is6())
	if err != nil {
		return err
	}
	defer func() { _ = s.file.Close() }()
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	to, err := s.sockaddr(dst, ifname)
	if err != nil {
		return err
	}
	if ifname != "" {
		if e := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), ifname) }); e != nil {
			return e
		}
		if err != nil {
			return fmt.Errorf("binding to interface %s: %w", ifname, err)
		}
	}
	ask := make([]byte, 8+echoToken)
	_, _ = rand.Read(ask[4:6]) // a ping socket puts in a number of its own
	_, _ = rand.Read(ask[8:])
	ask[0], ask[7] = echoRequest4, 1
	if dst.Is6() {
		ask[0] = echoRequest6 // the kernel computes the checksum
	} else {
		binary.BigEndian.PutUint16(ask[2:], checksum(ask))
	}
	if d, ok := ctx.Deadline(); ok {
		if err := s.file.SetDeadline(d); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	e := raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), ask, 0, to)
		return err != unix.EAGAIN
	})
	if e != nil {
		return echoError(ctx, e)
	}
	if err != nil {
		return echoError(ctx, err)
	}
	buf := make([]byte, 2048)
	for {
		var n int
		var from unix.Sockaddr
		e := raw.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), buf, 0)
			return err != unix.EAGAIN
		})
		if e != nil {
			return echoError(ctx, e)
		}
		if err != nil {
			return echoError(ctx, err)
		}
		if sender(from) == dst.WithZone("") && s.answers(buf[:n], ask) {
			return nil
		}
	}
}

func echoError(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

// An echoSocket sends echo requests and gets the replies.
type echoSocket struct {
	file *os.File
	six  bool
	raw  bool // gets replies to others as well
}

// openEcho opens a ping socket, which net.ipv4.ping_group_range allows to
// groups of users, or else a raw one, which needs CAP_NET_RAW.
func openEcho(six bool) (*echoSocket, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if six {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	s := &echoSocket{six: six}
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	if err != nil {
		s.raw = true
		fd, err = unix.Socket(family, unix.SOCK_RAW|flags, proto)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return nil, &UnrunnableError{
			Reason: "no permission to send echo requests",
			Hint:   "vipd needs CAP_NET_RAW, or its group in net.ipv4.ping_group_range",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening a socket for echo requests: %w", err)
	}
	if s.raw {
		// Only replies; a busy router gets many other messages.
		if six {
			var filter unix.ICMPv6Filter
			for i := range filter.Data {
				filter.Data[i] = ^uint32(0)
			}
			filter.Data[echoReply6/32] &^= 1 << (echoReply6 % 32)
			err = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter)
		} else {
			const icmpFilter = 1 // ICMP_FILTER, of level SOL_RAW
			block := ^uint32(1 << echoReply4)
			err = unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(block)))
		}
		if err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("filtering echo replies: %w", err)
		}
	}
	s.file = os.NewFile(uintptr(fd), "icmp")
	return s, nil
}

func (s *echoSocket) sockaddr(a netip.Addr, ifname string) (unix.Sockaddr, error) {
	if !s.six {
		return &unix.SockaddrInet4{Addr: a.As4()}, nil
	}
	to := &unix.SockaddrInet6{Addr: a.As16()}
	zone := a.Zone()
	if zone == "" && a.IsLinkLocalUnicast() {
		zone = ifname
	}
	if zone != "" {
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("interface %s does not exist", zone)
		}
		to.ZoneId = uint32(ifi.Index)
	}
	return to, nil
}

// answers reports whether a packet is the reply to a request.
func (s *echoSocket) answers(b, ask []byte) bool {
	if s.raw && !s.six {
		// Raw IPv4 sockets get the IP header, too.
		if len(b) < 20 || int(b[0]&15)*4 > len(b) {
			return false
		}
		b = b[int(b[0]&15)*4:]
	}
	reply := byte(echoReply4)
	if s.six {
		reply = echoReply6
	}
	if len(b) != len(ask) || b[0] != reply || b[1] != 0 {
		return false
	}
	if s.raw && !bytes.Equal(b[4:6], ask[4:6]) {
		return false
	}
	return bytes.Equal(b[6:], ask[6:])
}

func sender(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}

// checksum is the internet checksum (RFC 1071) of a message of even length.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
