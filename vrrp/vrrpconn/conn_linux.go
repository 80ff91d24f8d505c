package vrrpconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vipd/vrrp"
)

const (
	// batch is the most datagrams that one system call receives or sends.
	batch = 64

	// What a datagram may take: the longest advertisement has 255 addresses;
	// on IPv4 the longest IP header comes before it. What is longer is none.
	slotIPv4 = 60 + 8 + 255*4 + 8
	slotIPv6 = 8 + 255*16

	// controlWords is the room for the control messages of one received
	// datagram, in words of 8 octets so that they are aligned: time stamp, hop
	// limit and packet information.
	controlWords = 16

	// precedence is the TOS of RFC 791's internetwork control (keepalived
	// sends it too), priority the queueing discipline's band to go with it:
	// the highest that needs no capability.
	precedence = 0xc0
	priority   = 6

	// sendBuffer has room for the adverts of a thousand instances in one go.
	sendBuffer = 1 << 20

	meminfoDrops = 8 // SK_MEMINFO_DROPS
	meminfoLen   = 9 // SK_MEMINFO_VARS
)

// A Conn is the pair of sockets, one to receive and one to send, of an
// interface and group or of a unicast source. One goroutine may call Recv and
// Send; another one may call Wait at the same time. Close, Drops,
// CheckMembership and Renew may be called from anywhere.
type Conn struct {
	cfg    Config
	rx, tx *os.File
	// Control of these keeps the descriptor from being closed meanwhile, and
	// takes no lock that a blocked Read holds; a method of os.File would.
	rxc, txc syscall.RawConn
	closed   atomic.Bool

	pollFn func(fd uintptr) bool // of Wait
	poll   [1]unix.PollFd

	recv receiver
	send sender

	dropMu    sync.Mutex
	dropFn    func(fd uintptr)
	dropCount uint32 // the kernel's count when last read; it wraps
	drops     uint64
}

// Open opens both sockets. It needs CAP_NET_RAW.
func Open(cfg Config) (*Conn, error) {
	cfg.Group, cfg.Source = cfg.Group.Unmap().WithZone(""), cfg.Source.Unmap().WithZone("")
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("vrrpconn: opening: %w", err)
	}
	rx, err := open(&cfg, (*Config).setupReceive)
	if err != nil {
		return nil, fmt.Errorf("vrrpconn: opening socket to receive: %w", err)
	}
	tx, err := open(&cfg, (*Config).setupSend)
	if err != nil {
		_ = unix.Close(rx)
		return nil, fmt.Errorf("vrrpconn: opening socket to send: %w", err)
	}

	c := &Conn{
		cfg: cfg,
		rx:  os.NewFile(uintptr(rx), "vrrp receive"),
		tx:  os.NewFile(uintptr(tx), "vrrp send"),
	}
	if err := c.init(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("vrrpconn: opening: %w", err)
	}
	return c, nil
}

// init prepares what Wait, Recv, Send and Drops use again and again.
func (c *Conn) init() error {
	var err error
	if c.rxc, err = c.rx.SyscallConn(); err != nil {
		return err
	}
	if c.txc, err = c.tx.SyscallConn(); err != nil {
		return err
	}
	c.pollFn = func(fd uintptr) bool {
		// The runtime's poller is edge-triggered and knows nothing of a Recv
		// that went past it, so ask. Asking by poll and not by peeking leaves
		// an error of the socket for Recv to find.
		c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(c.poll[:], 0)
		return n != 0 && !errors.Is(err, unix.EINTR)
	}
	c.dropFn = func(fd uintptr) {
		var info [meminfoLen]uint32
		size := uint32(unsafe.Sizeof(info))
		if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0); errno == 0 {
			c.drops += uint64(info[meminfoDrops] - c.dropCount)
			c.dropCount = info[meminfoDrops]
		}
	}
	c.Drops()
	c.drops = 0 // what came before the socket was bound is not ours
	c.recv.init(&c.cfg)
	c.send.init(&c.cfg)
	return nil
}

// open returns a non-blocking raw socket that setup was applied to.
func open(cfg *Config, setup func(*Config, int) error) (int, error) {
	family := unix.AF_INET
	if cfg.Family == vrrp.IPv6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, vrrp.Protocol)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("needs CAP_NET_RAW: %w", err)
	}
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := setup(cfg, fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// options applies options in order and stops at the first error.
type options struct {
	fd  int
	err error
}

func (o *options) do(name string, f func() error) {
	if o.err == nil {
		if err := f(); err != nil {
			o.err = fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (o *options) set(name string, level, option, value int) {
	o.do(name, func() error { return unix.SetsockoptInt(o.fd, level, option, value) })
}

// dropAll makes the kernel drop whatever the socket would receive.
func (o *options) dropAll() {
	o.do("SO_ATTACH_FILTER", func() error {
		none := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		return unix.SetsockoptSockFprog(o.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &none})
	})
}

func (o *options) bindToDevice(name string) {
	if name != "" {
		o.do("SO_BINDTODEVICE "+name, func() error { return unix.BindToDevice(o.fd, name) })
	}
}

// setupReceive prepares the socket to receive on.
func (cfg *Config) setupReceive(fd int) error {
	o := &options{fd: fd}
	// A raw socket receives its protocol from everywhere, from its first
	// moment on. Keep that out until it is bound.
	o.dropAll()
	o.do("emptying", func() error { return drain(fd) })
	o.bindToDevice(cfg.Interface)
	if cfg.ReceiveBuffer > 0 {
		o.do("SO_RCVBUF", func() error {
			// Beyond net.core.rmem_max with CAP_NET_ADMIN only.
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cfg.ReceiveBuffer) == nil {
				return nil
			}
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, cfg.ReceiveBuffer)
		})
	}
	o.set("SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)

	var local unix.Sockaddr
	if cfg.Family == vrrp.IPv4 {
		// Without this a socket receives whatever groups anyone on the host
		// has joined.
		o.set("IP_MULTICAST_ALL", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		addr := cfg.Source
		if cfg.Group.IsValid() {
			addr = cfg.Group
			o.do("IP_ADD_MEMBERSHIP", func() error {
				return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
					&unix.IPMreqn{Multiaddr: cfg.Group.As4(), Ifindex: int32(cfg.Index)})
			})
		} else {
			o.set("IP_FREEBIND", unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		}
		local = &unix.SockaddrInet4{Addr: addr.As4()}
	} else {
		o.set("IPV6_MULTICAST_ALL", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
		o.set("IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
		o.set("IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		addr := cfg.Source
		if cfg.Group.IsValid() {
			addr = cfg.Group
			o.do("IPV6_JOIN_GROUP", func() error {
				return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
					&unix.IPv6Mreq{Multiaddr: cfg.Group.As16(), Interface: uint32(cfg.Index)})
			})
		} else {
			o.set("IPV6_FREEBIND", unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		}
		local = &unix.SockaddrInet6{Addr: addr.As16(), ZoneId: cfg.scope(addr)}
	}
	o.do("bind", func() error { return unix.Bind(fd, local) })
	o.set("SO_DETACH_FILTER", unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	return o.err
}

// setupSend prepares the socket to send from.
func (cfg *Config) setupSend(fd int) error {
	o := &options{fd: fd}
	o.dropAll()
	o.do("emptying", func() error { return drain(fd) })
	o.bindToDevice(cfg.Interface)
	o.do("SO_SNDBUF", func() error {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) == nil {
			return nil
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	})
	if cfg.Family == vrrp.IPv4 {
		// With a header of our own the kernel leaves TOS, TTL, DF and
		// identification alone.
		o.set("IP_HDRINCL", unix.IPPROTO_IP, unix.IP_HDRINCL, 1)
		o.set("IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, precedence)
		o.set("IP_MULTICAST_LOOP", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)
		if cfg.Group.IsValid() {
			o.do("IP_MULTICAST_IF", func() error {
				return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(cfg.Index)})
			})
		}
	} else {
		o.set("IPV6_TCLASS", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, precedence)
		o.set("IPV6_MULTICAST_LOOP", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0)
		o.set("IPV6_MULTICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, vrrp.HopLimit)
		if cfg.Group.IsValid() {
			o.set("IPV6_MULTICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, cfg.Index)
		}
	}
	// After IP_TOS, which sets a priority of its own.
	o.set("SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, priority)
	return o.err
}

// scope returns the scope identifier to use an IPv6 address with.
func (cfg *Config) scope(addr netip.Addr) uint32 {
	if addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() || addr.IsInterfaceLocalMulticast() {
		return uint32(cfg.Index)
	}
	return 0
}

// drain throws away what a socket has received.
func drain(fd int) error {
	var b [1]byte
	for {
		_, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT)
		switch {
		case err == nil || errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return nil
		default:
			return err
		}
	}
}

// Wait blocks until something waits to be received. After Close it returns
// [net.ErrClosed]. It may return early, with nothing to receive.
func (c *Conn) Wait() error {
	if err := c.rxc.Read(c.pollFn); err != nil {
		return c.error("waiting", err)
	}
	return nil
}

// error is the error of an operation: net.ErrClosed if that is why.
func (c *Conn) error(what string, err error) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	return fmt.Errorf("vrrpconn: %s: %w", what, err)
}

// Close closes the sockets; a Wait returns. Closing again does nothing.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if err := errors.Join(c.rx.Close(), c.tx.Close()); err != nil {
		return fmt.Errorf("vrrpconn: closing: %w", err)
	}
	return nil
}

// Drops returns how many datagrams the kernel has dropped because they were
// not received in time.
func (c *Conn) Drops() uint64 {
	c.dropMu.Lock()
	defer c.dropMu.Unlock()
	// An error means that the Conn is closed: the last count stands.
	_ = c.rxc.Control(c.dropFn)
	return c.drops
}

// A receiver is what Recv needs, kept from call to call.
type receiver struct {
	slot int      // size of a buffer
	bufs [][]byte // that of datagram i is the i-th

	hdrs    [batch]unix.Mmsghdr
	iovs    [batch]unix.Iovec
	names   [batch]unix.RawSockaddrInet6
	control [batch][controlWords]uint64

	// empty is a moment at which nothing waited: what is received later was
	// not received before it.
	empty moment
	clock func() moment

	fn    func(fd uintptr) // recvmmsg of the first want
	want  int
	n     int
	errno syscall.Errno
}

func (r *receiver) init(cfg *Config) {
	r.slot = slotIPv4
	if cfg.Family == vrrp.IPv6 {
		r.slot = slotIPv6
	}
	r.clock = present
	r.empty = present()
	r.fn = func(fd uintptr) {
		for {
			n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs)), uintptr(r.want),
				unix.MSG_DONTWAIT, 0, 0)
			if errno != unix.EINTR {
				r.n, r.errno = int(n), errno
				return
			}
		}
	}
}

// grow makes buffers for n datagrams.
func (r *receiver) grow(n int) {
	if n <= len(r.bufs) {
		return
	}
	more := n - len(r.bufs)
	mem := make([]byte, more*r.slot)
	for i := range more {
		r.bufs = append(r.bufs, mem[i*r.slot:(i+1)*r.slot:(i+1)*r.slot])
	}
}

// Recv receives what waits into ds, and returns how many there were: 0 if
// nothing waits, never more than len(ds). It never blocks. The payloads are
// valid until the next Recv. With an error, the datagrams before it count.
func (c *Conn) Recv(ds []Datagram) (int, error) {
	r := &c.recv
	r.grow(len(ds))
	n := 0
	for n < len(ds) {
		r.want = min(batch, len(ds)-n)
		for i := range r.want {
			buf, hdr := r.bufs[n+i], &r.hdrs[i].Hdr
			r.iovs[i].Base = &buf[0]
			r.iovs[i].SetLen(len(buf))
			hdr.Iov = &r.iovs[i]
			hdr.SetIovlen(1)
			hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
			hdr.Namelen = unix.SizeofSockaddrInet6
			hdr.Control = (*byte)(unsafe.Pointer(&r.control[i]))
			hdr.SetControllen(controlWords * 8)
		}
		before := r.clock()
		if err := c.rxc.Control(r.fn); err != nil {
			return n, c.error("receiving", err)
		}
		if r.errno != 0 {
			if r.errno == unix.EAGAIN {
				r.empty = before
				return n, nil
			}
			return n, c.error("receiving", os.NewSyscallError("recvmmsg", r.errno))
		}
		now := r.clock()
		for i, first := 0, n; i < r.n; i++ {
			if c.datagram(&ds[n], i, r.bufs[first+i], now) {
				r.bufs[n], r.bufs[first+i] = r.bufs[first+i], r.bufs[n]
				n++
			}
		}
		if r.n < r.want {
			r.empty = before
			return n, nil
		}
	}
	return n, nil
}

// datagram makes a Datagram of what was received i-th, in buf, and reports
// whether it is one to hand out.
func (c *Conn) datagram(d *Datagram, i int, buf []byte, now moment) bool {
	r := &c.recv
	hdr := &r.hdrs[i].Hdr
	b := buf[:min(int(r.hdrs[i].Len), len(buf))]
	*d = Datagram{TTL: -1, At: now.time, Truncated: hdr.Flags&unix.MSG_TRUNC != 0, Payload: b}

	control := unsafe.Slice((*byte)(unsafe.Pointer(&r.control[i])), controlWords*8)
	for control = control[:min(int(hdr.Controllen), len(control))]; len(control) >= unix.SizeofCmsghdr; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		size := int(h.Len)
		if size < unix.CmsgLen(0) || size > len(control) {
			break
		}
		data := control[unix.CmsgLen(0):size]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			ts := (*unix.Timespec)(unsafe.Pointer(&data[0]))
			d.At = receivedAt(r.empty, now, time.Unix(ts.Unix()))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			d.TTL = int(int32(binary.NativeEndian.Uint32(data)))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			d.Dst = netip.AddrFrom16([16]byte(data[:16]))
		}
		control = control[min(unix.CmsgSpace(len(data)), len(control)):]
	}

	if c.cfg.Family == vrrp.IPv6 {
		d.Src = netip.AddrFrom16(r.names[i].Addr)
	} else {
		if len(b) < 20 || int(b[0]&0x0f)*4 < 20 || int(b[0]&0x0f)*4 > len(b) {
			d.Truncated = true
			d.Payload = nil
			return true
		}
		d.HeaderLen = int(b[0]&0x0f) * 4
		d.TotalLen = int(binary.BigEndian.Uint16(b[2:]))
		d.TTL = int(b[8])
		d.Src = netip.AddrFrom4([4]byte(b[12:16]))
		d.Dst = netip.AddrFrom4([4]byte(b[16:20]))
		d.Payload = b[d.HeaderLen:]
	}
	// A host that is among its own unicast peers, as when all of them share one
	// configuration, would hear itself: binding to an interface does not keep
	// out what goes through the loopback interface. From elsewhere, what has
	// our source address is not to be heard either (RFC 1122 §3.2.1.3).
	return d.Src != c.cfg.Source
}

// A moment is what both clocks say at one time.
type moment struct {
	time time.Time // with a monotonic reading
	wall time.Time // without
}

// present returns this moment.
func present() moment {
	now := time.Now()
	return moment{time: now, wall: now.Round(0)}
}

// stampSlack is how long before it can be read a datagram may have been
// stamped.
const stampSlack = 10 * time.Millisecond

// receivedAt gives a time stamp of the wall clock the monotonic reading that
// belongs to it. It lies between empty, when nothing waited to be read, and
// now. If the wall clock was stepped in between, the stamp is of the clock
// before the step or of the one after it; of the two times that it can mean the
// later one that is not in the future is taken. So the result is never before
// the truth, and after it by no more than the datagram had waited.
func receivedAt(empty, now moment, stamp time.Time) time.Time {
	var at time.Time
	for _, m := range []moment{empty, now} {
		t := m.time.Add(stamp.Sub(m.wall))
		if !t.After(now.time) && !t.Before(empty.time.Add(-stampSlack)) && t.After(at) {
			at = t
		}
	}
	switch {
	case at.IsZero(): // stepped more than once, or just now
		return now.time
	case at.Before(empty.time):
		return empty.time
	}
	return at
}

// A sender is what Send needs, kept from call to call.
type sender struct {
	cfg   *Config
	flags uintptr

	hdrs    [batch]unix.Mmsghdr
	iovs    [batch][2]unix.Iovec
	headers [batch][20]byte // of IPv4
	names4  [batch]unix.RawSockaddrInet4
	names6  [batch]unix.RawSockaddrInet6
	control [batch]sendControl
	index   [batch]int // of the message that is sent i-th

	fn       func(fd uintptr) // sendmmsg of those from … to
	from, to int
	n        int
	errno    syscall.Errno
}

// A sendControl is the control messages of one IPv6 message. The kernel wants
// each at a multiple of the size of a pointer, where Go puts them, too.
type sendControl struct {
	infoHeader unix.Cmsghdr
	info       unix.Inet6Pktinfo
	_          [(wordSize - unix.SizeofInet6Pktinfo%wordSize) % wordSize]byte
	hopHeader  unix.Cmsghdr
	hop        int32
	_          [(wordSize - 4%wordSize) % wordSize]byte
}

const wordSize = int(unsafe.Sizeof(uintptr(0)))

func (s *sender) init(cfg *Config) {
	s.cfg = cfg
	s.flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	if cfg.Group.IsValid() {
		s.flags |= unix.MSG_DONTROUTE // a group is never behind a router
	}
	for i := range s.hdrs {
		hdr := &s.hdrs[i].Hdr
		hdr.Iov = &s.iovs[i][0]
		if cfg.Family == vrrp.IPv4 {
			hdr.SetIovlen(2)
			s.iovs[i][0].Base = &s.headers[i][0]
			s.iovs[i][0].SetLen(len(s.headers[i]))
			s.names4[i].Family = unix.AF_INET
			hdr.Name = (*byte)(unsafe.Pointer(&s.names4[i]))
			hdr.Namelen = unix.SizeofSockaddrInet4
			continue
		}
		hdr.SetIovlen(1)
		s.names6[i].Family = unix.AF_INET6
		hdr.Name = (*byte)(unsafe.Pointer(&s.names6[i]))
		hdr.Namelen = unix.SizeofSockaddrInet6
		ctl := &s.control[i]
		ctl.infoHeader.Level, ctl.infoHeader.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		ctl.infoHeader.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		ctl.info.Ifindex = uint32(cfg.Index)
		ctl.hopHeader.Level, ctl.hopHeader.Type = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
		ctl.hopHeader.SetLen(unix.CmsgLen(4))
		hdr.Control = (*byte)(unsafe.Pointer(ctl))
		hdr.SetControllen(int(unsafe.Sizeof(*ctl)))
	}
	s.fn = func(fd uintptr) {
		for {
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.hdrs[s.from])),
				uintptr(s.to-s.from), s.flags, 0, 0)
			if errno != unix.EINTR {
				s.n, s.errno = int(n), errno
				return
			}
		}
	}
}

// Send sends messages in their order and returns how many were sent. It never
// blocks. A message that cannot be sent does not stop the others; the error is
// of type [SendErrors] and has one for each of them. Where the kernel has no
// room for any message, the rest of them have the same error.
func (c *Conn) Send(ms []Message) (int, error) {
	s := &c.send
	var errs SendErrors
	sent := 0
	for next := 0; next < len(ms); {
		k := 0
		for ; next < len(ms) && k < batch; next++ {
			if err := s.prepare(k, &ms[next]); err != nil {
				errs = append(errs, &SendError{Index: next, Err: err})
				continue
			}
			s.index[k] = next
			k++
		}
		for s.from, s.to = 0, k; s.from < k; {
			err := c.txc.Control(s.fn)
			if err != nil {
				err = c.error("sending", err)
			} else if s.errno == 0 {
				sent += s.n
				s.from += s.n
				continue
			} else {
				err = os.NewSyscallError("sendmmsg", s.errno)
			}
			errs = append(errs, &SendError{Index: s.index[s.from], Err: err})
			s.from++
			if c.closed.Load() || s.errno == unix.EAGAIN || s.errno == unix.ENOBUFS || s.errno == unix.ENOMEM {
				// Trying each of the others costs time and cannot help.
				for ; s.from < k; s.from++ {
					errs = append(errs, &SendError{Index: s.index[s.from], Err: err})
				}
				for ; next < len(ms); next++ {
					errs = append(errs, &SendError{Index: next, Err: err})
				}
			}
		}
	}
	if len(errs) == 0 {
		return sent, nil
	}
	return sent, errs
}

// prepare fills the i-th place with a message.
func (s *sender) prepare(i int, m *Message) error {
	src, dst := m.Src.Unmap(), m.Dst.Unmap()
	if vrrp.FamilyOf(src) != s.cfg.Family || vrrp.FamilyOf(dst) != s.cfg.Family {
		return fmt.Errorf("from %v to %v on an %v socket: %w", m.Src, m.Dst, s.cfg.Family, unix.EAFNOSUPPORT)
	}
	if m.TTL > 255 || m.TTL < 1 && (m.TTL != -1 || s.cfg.Family == vrrp.IPv4) {
		return fmt.Errorf("TTL or hop limit of %d: %w", m.TTL, unix.EINVAL)
	}
	if len(m.Payload) == 0 || len(m.Payload) > 0xffff-20 {
		return fmt.Errorf("payload of %d octets: %w", len(m.Payload), unix.EMSGSIZE)
	}
	if s.cfg.Family == vrrp.IPv6 {
		s.names6[i].Addr = dst.As16()
		s.names6[i].Scope_id = s.cfg.scope(dst)
		s.control[i].info.Addr = src.As16()
		s.control[i].hop = int32(m.TTL)
		s.iovs[i][0].Base = &m.Payload[0]
		s.iovs[i][0].SetLen(len(m.Payload))
		return nil
	}
	s.names4[i].Addr = dst.As4()
	h := &s.headers[i]
	h[0], h[1] = 0x45, precedence
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(m.Payload)))
	binary.BigEndian.PutUint16(h[4:], m.ID)
	// No flags: the adverts of keepalived do not forbid fragmentation. The
	// kernel computes the checksum.
	h[8], h[9] = uint8(m.TTL), vrrp.Protocol
	*(*[4]byte)(h[12:]) = src.As4()
	*(*[4]byte)(h[16:]) = dst.As4()
	s.iovs[i][1].Base = &m.Payload[0]
	s.iovs[i][1].SetLen(len(m.Payload))
	return nil
}
