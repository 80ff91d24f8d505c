package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

// native is the byte order of netlink messages: the host's.
var native = binary.NativeEndian

const (
	// ackRoom is what one acknowledgement in a receive queue is charged by the
	// kernel, rounded up: the octets of the message are the least of it.
	ackRoom = 1280
	// maxBatch is the largest number of requests in one system call. The kernel
	// takes them one by one, so a larger batch gains nothing and only delays the
	// news of the first.
	maxBatch = 256
	// maxBatchOctets keeps a batch below the default socket send buffer, above
	// which sendmsg refuses it with EMSGSIZE.
	maxBatchOctets = 48 << 10
	// receiveOctets is the size of a buffer to receive into. The kernel fills at
	// most 32 KiB with one part of a dump.
	receiveOctets = 64 << 10
	// requestTimeout bounds the wait for the kernel's answer to a dump request.
	// The kernel answers at once; the bound only keeps a surprise from hanging us.
	requestTimeout = 5 // seconds
	// dumpAttempts is how often a dump is tried that the kernel says was
	// interrupted by a change (NLM_F_DUMP_INTR).
	dumpAttempts = 10
)

// Errors of a conversation with the kernel.
var (
	errTimeout     = errors.New("no answer from the kernel")
	errInterrupted = errors.New("the kernel's tables kept changing while they were read")
	errLost        = errors.New("acknowledgement lost: receive buffer overrun")
	errTruncated   = errors.New("netlink message longer than the buffer")
)

// A conn is a NETLINK_ROUTE socket used for requests. It serves one goroutine.
type conn struct {
	fd     int
	portID uint32
	seq    uint32
	batch  int // most requests in one call whose answers surely fit the receive buffer
	rbuf   []byte
}

// dialRoute opens a NETLINK_ROUTE socket in the namespace of the calling thread.
func dialRoute(flags int, groups uint32, receiveBuffer int) (fd int, portID uint32, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|flags, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, 0, fmt.Errorf("netlink socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	// The forced size needs CAP_NET_ADMIN in the first user namespace; without it
	// the kernel's limit net.core.rmem_max holds.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	// Both are conveniences of newer kernels: the reason in words, and answers
	// without a copy of the request.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return -1, 0, fmt.Errorf("netlink bind: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return -1, 0, fmt.Errorf("netlink getsockname: %w", err)
	}
	nl, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return -1, 0, fmt.Errorf("netlink getsockname: %T", sa)
	}
	return fd, nl.Pid, nil
}

// newConn opens a socket for requests.
func newConn() (*conn, error) {
	fd, portID, err := dialRoute(0, 0, 1<<20)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, portID: portID, rbuf: make([]byte, receiveOctets)}
	tv := unix.Timeval{Sec: requestTimeout}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		c.close()
		return nil, fmt.Errorf("netlink receive timeout: %w", err)
	}
	room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("netlink receive buffer: %w", err)
	}
	c.batch = min(max(room/ackRoom, 1), maxBatch)
	return c, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// An ack is the kernel's answer to one request.
type ack struct {
	errno   unix.Errno
	message string // the kernel's own words, often none
}

// send sends whole messages to the kernel, which handles them before send
// returns.
func (c *conn) send(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == unix.EINTR {
			continue
		}
		return err
	}
}

// receive reads one datagram of the kernel.
func (c *conn) receive(flags int) ([]byte, error) {
	for {
		n, _, rflags, from, err := unix.Recvmsg(c.fd, c.rbuf, nil, flags)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case !fromKernel(from):
			continue
		case rflags&unix.MSG_TRUNC != 0:
			return nil, errTruncated
		}
		return c.rbuf[:n], nil
	}
}

// fromKernel reports whether a datagram came from the kernel and not from a
// process that guessed our port.
func fromKernel(sa unix.Sockaddr) bool {
	nl, ok := sa.(*unix.SockaddrNetlink)
	return ok && nl.Pid == 0
}

// exchange sends requests with the sequence numbers first, first+1, …, of which
// only the last asks to be acknowledged, and stores what the kernel says into
// acks, one per request. A request that is not the last and not answered has
// succeeded: the kernel always answers a failure. The kernel has handled the
// whole batch before sendmsg returns, so nothing here waits.
func (c *conn) exchange(requests []byte, first uint32, acks []ack) error {
	if err := c.send(requests); err != nil {
		return fmt.Errorf("netlink send: %w", err)
	}
	last := uint32(len(acks) - 1)
	lost, done := false, false
	for !done {
		b, err := c.receive(unix.MSG_DONTWAIT)
		switch {
		case err == unix.ENOBUFS:
			lost = true
			continue
		case err == unix.EAGAIN:
			return errLost
		case err != nil:
			return fmt.Errorf("netlink receive: %w", err)
		}
		for m := range messages(b) {
			i := m.seq - first
			if m.typ != unix.NLMSG_ERROR || i > last {
				continue
			}
			if a, ok := parseAck(m); ok {
				acks[i] = a
				done = done || i == last
			}
		}
	}
	if lost {
		return errLost
	}
	return nil
}

// dump asks for a whole table and calls each for every message of the answer.
// begin is called before each attempt, since an interrupted dump is repeated.
func (c *conn) dump(typ uint16, body []byte, begin func(), each func(message)) error {
	for range dumpAttempts {
		begin()
		err := c.dumpOnce(typ, body, each)
		if !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return errInterrupted
}

func (c *conn) dumpOnce(typ uint16, body []byte, each func(message)) error {
	c.seq++
	seq := c.seq
	b := appendHeader(nil, typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq)
	b = append(b, body...)
	finish(b, 0)
	if err := c.send(b); err != nil {
		return fmt.Errorf("netlink send: %w", err)
	}
	interrupted := false
	for {
		b, err := c.receive(0)
		switch {
		case err == unix.EAGAIN:
			return errTimeout
		case err != nil:
			return fmt.Errorf("netlink receive: %w", err)
		}
		for m := range messages(b) {
			if m.seq != seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_DONE:
				// Its payload is the result of the dump, negative for an error.
				if len(m.body) >= 4 {
					if e := int32(native.Uint32(m.body)); e < 0 {
						return unix.Errno(-e)
					}
				}
				if interrupted {
					return errInterrupted
				}
				return nil
			case unix.NLMSG_ERROR:
				if a, ok := parseAck(m); ok && a.errno != 0 {
					return a.errno
				}
			default:
				each(m)
			}
		}
	}
}

// get asks for one object and returns the kernel's answer.
func (c *conn) get(typ uint16, body []byte) (message, error) {
	c.seq++
	seq := c.seq
	b := appendHeader(nil, typ, unix.NLM_F_REQUEST, seq)
	b = append(b, body...)
	finish(b, 0)
	if err := c.send(b); err != nil {
		return message{}, fmt.Errorf("netlink send: %w", err)
	}
	for {
		b, err := c.receive(0)
		switch {
		case err == unix.EAGAIN:
			return message{}, errTimeout
		case err != nil:
			return message{}, fmt.Errorf("netlink receive: %w", err)
		}
		for m := range messages(b) {
			if m.seq != seq {
				continue
			}
			if a, ok := parseAck(m); ok {
				if a.errno != 0 {
					return message{}, a.errno
				}
				continue
			}
			m.body = slices.Clone(m.body)
			return m, nil
		}
	}
}

// A message is one netlink message; body is what follows its header.
type message struct {
	typ, flags  uint16
	seq, portID uint32
	body        []byte
}

// messages splits a datagram; it stops at the first that cannot be whole.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= unix.NLMSG_HDRLEN {
			n := int(native.Uint32(b))
			if n < unix.NLMSG_HDRLEN || n > len(b) {
				return
			}
			m := message{
				typ:    native.Uint16(b[4:]),
				flags:  native.Uint16(b[6:]),
				seq:    native.Uint32(b[8:]),
				portID: native.Uint32(b[12:]),
				body:   b[unix.NLMSG_HDRLEN:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// attrs walks the attributes in b; it stops at the first that cannot be whole.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(native.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			// The two top bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
			if !yield(native.Uint16(b[2:])&0x3fff, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// parseAck decodes an acknowledgement: the negated errno, the request's header,
// and, when the flags say so, attributes of which one is text.
func parseAck(m message) (ack, bool) {
	if m.typ != unix.NLMSG_ERROR || len(m.body) < 4 {
		return ack{}, false
	}
	a := ack{errno: unix.Errno(-int32(native.Uint32(m.body)))}
	if rest := m.body[4:]; m.flags&unix.NLM_F_ACK_TLVS != 0 && len(rest) >= unix.NLMSG_HDRLEN {
		skip := unix.NLMSG_HDRLEN
		if m.flags&unix.NLM_F_CAPPED == 0 {
			skip = align(int(native.Uint32(rest)))
		}
		if skip >= 0 && skip <= len(rest) {
			for typ, v := range attrs(rest[skip:]) {
				if typ == unix.NLMSGERR_ATTR_MSG {
					a.message = text(v)
				}
			}
		}
	}
	return a, true
}

// align rounds up to the alignment of messages and attributes, four octets.
func align(n int) int { return (n + 3) &^ 3 }

// text returns the text of a NUL-terminated attribute.
func text(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// appendHeader appends the header of a message; finish fills in its length.
func appendHeader(b []byte, typ, flags uint16, seq uint32) []byte {
	b = native.AppendUint32(b, 0)
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, seq)
	return native.AppendUint32(b, 0)
}

// finish sets the length of the message that starts at start and ends b.
func finish(b []byte, start int) { native.PutUint32(b[start:], uint32(len(b)-start)) }

// appendAttr appends one attribute and pads it.
func appendAttr(b []byte, typ uint16, value []byte) []byte {
	b = native.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = native.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendText appends a NUL-terminated text attribute.
func appendText(b []byte, typ uint16, value string) []byte {
	return appendAttr(b, typ, append([]byte(value), 0))
}

// appendUint32 appends a number attribute.
func appendUint32(b []byte, typ uint16, value uint32) []byte {
	return appendAttr(b, typ, native.AppendUint32(nil, value))
}
