package netiftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A socket is a non-blocking socket under the runtime's poller.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

// openSocket opens a socket inside the namespace and lets setup prepare it there.
func (n *Node) openSocket(domain, typ, proto int, setup func(fd int) error) (*socket, error) {
	fd := -1
	err := n.Do(func() error {
		var err error
		fd, err = unix.Socket(domain, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if err := setup(fd); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := &socket{file: os.NewFile(uintptr(fd), "socket")}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		_ = s.file.Close()
		return nil, err
	}
	return s, nil
}

// setReceiveBuffer makes the receive buffer as large as wanted, or, without
// privileges over the machine, as large as allowed.
func setReceiveBuffer(fd, octets int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, octets) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, octets)
	}
}

// receive waits for one datagram. It returns net.ErrClosed after close.
func (s *socket) receive(b, oob []byte) (n, oobn int, from unix.Sockaddr, err error) {
	perr := s.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), b, oob, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if perr != nil {
		return 0, 0, nil, closedError(perr)
	}
	return n, oobn, from, err
}

// send sends one datagram, waiting for room.
func (s *socket) send(b []byte, to unix.Sockaddr) error {
	var err error
	perr := s.raw.Write(func(fd uintptr) bool {
		for {
			err = unix.Sendto(int(fd), b, 0, to)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if perr != nil {
		return closedError(perr)
	}
	return err
}

func (s *socket) close() error { return s.file.Close() }

// closedError gives the poller's word for a closed file the name that callers
// of sockets know. A call that was waiting when the file was closed gets an
// error of the poller's own, which has no exported name; but the poller has no
// other error here, as no deadline is ever set.
func closedError(error) error { return net.ErrClosed }

// stamp returns the kernel's time stamp (SO_TIMESTAMPNS) among control messages.
func stamp(oob []byte) (time.Time, bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS {
			var ts unix.Timespec
			if _, err := binary.Decode(m.Data, binary.NativeEndian, &ts); err == nil {
				return time.Unix(ts.Unix()), true
			}
		}
	}
	return time.Time{}, false
}

// monotonic gives a time on the wall clock the monotonic reading that it had, so
// that it can be compared with others though the wall clock be set. It is never
// in the future.
func monotonic(t time.Time) time.Time {
	now := steadyNow()
	return now.Add(-max(0, now.Round(0).Sub(t)))
}

// steadyNow returns the time, its two readings taken at the same moment: between
// them a thread can be held up. Two times in a row tell.
func steadyNow() time.Time {
	now := time.Now()
	for range 10 {
		next := time.Now()
		if apart := next.Round(0).Sub(now.Round(0)) - next.Sub(now); apart.Abs() < 2*time.Microsecond {
			break
		}
		now = next
	}
	return now
}

// htons returns a number as the kernel wants the protocol of a packet socket.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
