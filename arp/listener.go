package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// downCheck is how often an interface that is down is looked at.
	downCheck = 250 * time.Millisecond

	// receiveBuffer has room for the announcements of a thousand addresses in
	// one go.
	receiveBuffer = 1 << 20
)

// A Listener hears which other stations on the link of one interface claim an
// address of interest: that they announce it, answer for it, or ask for
// something in its name. The kernel throws away everything else before it
// wakes anyone.
//
// What the interface itself sends is not heard, nor what has its hardware
// address, as the sender of the frame or in the claim: a bridge or a bond may
// reflect our own announcements, and a proxy may repeat them. It is compared
// with the address that the interface has at that moment.
//
// What is not heard either: frames of a VLAN whose interface is another one or
// does not exist; frames that were sent to another station and came here only
// because the interface is promiscuous; advertisements with extension headers.
//
// One goroutine may call Read. Watch and Close may be called from anywhere.
type Listener struct {
	index int
	// poll is an epoll descriptor that all sockets are in, so that waiting for
	// them is waiting for one thing that the runtime knows how to wait for.
	poll  *os.File
	pollc syscall.RawConn

	mu     sync.Mutex // sockets come and go with the addresses
	addrs  map[netip.Addr]struct{}
	arp    int // descriptor of the socket for ARP, -1 if the interface is gone
	na     int // that of IPv6, -1 if it is not needed
	closed bool
	// empty is a moment at which nothing waited to be read.
	empty moment

	buf, oob []byte // of Read
}

// Listen returns a Listener for the interface with the given index, which
// hears nothing until Watch tells it what to listen for. It needs CAP_NET_RAW,
// and no address on the interface. An interface that is deleted and created
// again needs a new Listener.
func Listen(index int) (*Listener, error) {
	l, err := listen(index)
	if err != nil {
		return nil, fmt.Errorf("arp: listening on interface %d: %w", index, err)
	}
	return l, nil
}

func listen(index int) (_ *Listener, err error) {
	l := &Listener{
		index: index, arp: -1, na: -1, empty: present(),
		buf: make([]byte, maxFrame), oob: make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{})))),
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epoll, true); err != nil {
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("fcntl", err)
	}
	l.poll = os.NewFile(uintptr(epoll), "arp listener")
	defer func() {
		if err != nil {
			closeSocket(&l.arp)
			_ = l.poll.Close()
		}
	}()
	if l.pollc, err = l.poll.SyscallConn(); err != nil {
		return nil, err
	}
	if err := l.open(&l.arp, unix.ETH_P_ARP, []bpf.Instruction{drop}); err != nil {
		return nil, err
	}
	link, err := linkOf(l.arp)
	if err != nil {
		return nil, err
	}
	if link.Hatype != unix.ARPHRD_ETHER && link.Hatype != unix.ARPHRD_LOOPBACK {
		return nil, fmt.Errorf("not an Ethernet interface: %w", unix.EAFNOSUPPORT)
	}
	return l, nil
}

// open opens one of the sockets.
func (l *Listener) open(socket *int, protocol int, filter []bpf.Instruction) error {
	fd, err := openSocket(l.index, protocol, filter)
	if err != nil {
		return err
	}
	var refused error
	err = l.pollc.Control(func(epoll uintptr) {
		refused = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
	})
	if err = errors.Join(err, refused); err != nil {
		_ = unix.Close(fd)
		return err
	}
	*socket = fd
	return nil
}

// openSocket returns a packet socket for one protocol of an interface, with a
// filter that has been there from the first moment on.
func openSocket(index, protocol int, filter []bpf.Instruction) (int, error) {
	// Protocol 0 receives nothing until it is bound to another.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("needs CAP_NET_RAW: %w", err)
	}
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = attach(fd, index, filter)
	if err == nil && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		// Beyond net.core.rmem_max with CAP_NET_ADMIN only.
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer))
	}
	if err == nil {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	}
	if err == nil {
		network := binary.BigEndian.AppendUint16(nil, uint16(protocol))
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(network), Ifindex: index}))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// attach gives a socket a filter, in place of the one that it has.
func attach(fd, index int, body []bpf.Instruction) error {
	raw, err := bpf.Assemble(socketFilter(index, body))
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog))
}

// linkOf returns what a bound packet socket says about its interface now: the
// index, -1 if it is gone, and the hardware address.
func linkOf(fd int) (*unix.SockaddrLinklayer, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	link, ok := sa.(*unix.SockaddrLinklayer)
	if !ok {
		return nil, unix.EAFNOSUPPORT
	}
	return link, nil
}

// Watch replaces the addresses of interest; none are an end to all hearing. Up
// to 64 of a family the kernel compares each ARP and each advertisement with
// all of them. With more, only ARP packets whose sender is also the target are
// considered, so that the ordinary traffic of a large network does not wake
// anyone; a request or an answer in the name of such an address then goes
// unnoticed until its owner announces it.
func (l *Listener) Watch(addrs []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	set := make(map[netip.Addr]struct{}, len(addrs))
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if _, twice := set[a]; twice {
			continue
		}
		switch {
		case a.Is4():
			v4 = append(v4, a)
		case a.Is6():
			v6 = append(v6, a)
		default:
			return fmt.Errorf("arp: watching on interface %d: %v is not an address", l.index, a)
		}
		set[a] = struct{}{}
	}
	err := l.filter(v4, v6)
	// What does pass a filter is compared with this, whatever went wrong.
	l.addrs = set
	if err != nil {
		return fmt.Errorf("arp: watching on interface %d: %w", l.index, err)
	}
	return nil
}

// filter has the kernel keep what is of interest.
func (l *Listener) filter(v4, v6 []netip.Addr) error {
	if l.arp < 0 {
		return unix.ENODEV // as Read has said
	}
	err := attach(l.arp, l.index, arpFilter(v4))
	switch {
	case len(v6) == 0:
		// There are interfaces with hardly anything but IPv6: a filter that
		// drops all of it has its price.
		closeSocket(&l.na)
	case l.na < 0:
		err = errors.Join(err, l.open(&l.na, unix.ETH_P_IPV6, naFilter(v6)))
	default:
		err = errors.Join(err, attach(l.na, l.index, naFilter(v6)))
	}
	return err
}

// closeSocket closes a socket if it is open. Closing takes it out of the epoll
// descriptor.
func closeSocket(socket *int) {
	if *socket >= 0 {
		_ = unix.Close(*socket)
		*socket = -1
	}
}

// Read blocks until another station claims an address of interest. After Close
// it returns [net.ErrClosed]. When the interface has been deleted it returns an
// error that matches [unix.ENODEV], once, and then blocks until Close. An
// interface that is down is not an error, and is heard again when it is up.
func (l *Listener) Read() (Claim, error) {
	for {
		var (
			claim Claim
			err   error
		)
		waiting := l.pollc.Read(func(uintptr) (done bool) {
			claim, done, err = l.receive()
			return done
		})
		l.mu.Lock()
		closed := l.closed
		if !closed && errors.Is(waiting, os.ErrDeadlineExceeded) {
			if waiting = l.lookAgain(); waiting == nil {
				l.mu.Unlock()
				continue
			}
		}
		l.mu.Unlock()
		if closed {
			return Claim{}, net.ErrClosed
		}
		if err = errors.Join(waiting, err); err != nil {
			return Claim{}, fmt.Errorf("arp: listening on interface %d: %w", l.index, err)
		}
		return claim, nil
	}
}

// lookAgain says that the interface, which was down, is gone. A socket tells
// when its interface goes down, but not when it is deleted after that, nor when
// it is up again; so it is asked now and then until it is one or the other.
func (l *Listener) lookAgain() error {
	for _, fd := range []int{l.arp, l.na} {
		if fd < 0 {
			continue
		}
		link, err := linkOf(fd)
		switch {
		case err != nil:
			return err
		case link.Ifindex != l.index:
			return errors.Join(unix.ENODEV, l.leave())
		case !isUp(fd, l.index):
			return l.poll.SetReadDeadline(time.Now().Add(downCheck))
		}
	}
	return l.poll.SetReadDeadline(time.Time{})
}

// leave closes the sockets of an interface that is gone.
func (l *Listener) leave() error {
	closeSocket(&l.arp)
	closeSocket(&l.na)
	return l.poll.SetReadDeadline(time.Time{})
}

// isUp reports whether the interface is up.
func isUp(fd, index int) bool {
	ifr, err := unix.NewIfreq("?") // takes no empty name; the kernel fills it in
	if err != nil {
		return false
	}
	ifr.SetUint32(uint32(index))
	if unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifr) != nil || unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr) != nil {
		return false
	}
	return ifr.Uint16()&unix.IFF_UP != 0
}

// receive returns the next claim that waits. It reports false if none does.
func (l *Listener) receive() (Claim, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := present()
	for _, socket := range []*int{&l.arp, &l.na} {
		for *socket >= 0 {
			claim, ok, err := l.receiveFrom(*socket)
			switch {
			case errors.Is(err, unix.EAGAIN):
			case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENODEV):
				// Down, and perhaps about to go.
				if err := l.lookAgain(); err != nil {
					return Claim{}, true, err
				}
				continue
			case err != nil:
				return Claim{}, true, err
			case ok:
				return claim, true, nil
			default:
				continue
			}
			break
		}
	}
	l.empty = before
	return Claim{}, false, nil
}

// receiveFrom receives one frame and reports whether it is a claim to hand out.
func (l *Listener) receiveFrom(fd int) (Claim, bool, error) {
	var (
		n, oobn, flags int
		err            error = unix.EINTR
	)
	for errors.Is(err, unix.EINTR) {
		n, oobn, flags, _, err = unix.Recvmsg(fd, l.buf, l.oob, unix.MSG_DONTWAIT)
	}
	if err != nil {
		return Claim{}, false, os.NewSyscallError("recvmsg", err)
	}
	if flags&unix.MSG_TRUNC != 0 {
		return Claim{}, false, nil
	}
	claim, source, ok := parseClaim(l.buf[:n])
	if !ok {
		return Claim{}, false, nil
	}
	if _, ok := l.addrs[claim.Addr]; !ok {
		return Claim{}, false, nil
	}
	link, err := linkOf(fd)
	if err != nil {
		return Claim{}, false, err
	}
	if own := MAC(link.Addr[:6]); own == source || own == claim.MAC {
		return Claim{}, false, nil
	}
	now := present()
	claim.At = now.time
	if stamp, ok := stampIn(l.oob[:oobn]); ok {
		claim.At = receivedAt(l.empty, now, stamp)
	}
	return claim, true, nil
}

// Close closes the sockets. A Read returns. Closing again does nothing.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	closeSocket(&l.arp)
	closeSocket(&l.na)
	l.mu.Unlock()
	if err := l.poll.Close(); err != nil {
		return fmt.Errorf("arp: closing the listener on interface %d: %w", l.index, err)
	}
	return nil
}
