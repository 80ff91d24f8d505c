package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// sendWait bounds how long [Conn.Send] waits for the interface to take one more
// frame.
const sendWait = 50 * time.Millisecond

// A Conn puts frames on one interface. It never receives, so nothing piles up
// behind it. It needs CAP_NET_RAW, and no address on the interface.
type Conn struct {
	c      *packet.Conn
	raw    syscall.RawConn
	index  int
	closed atomic.Bool
}

// Open returns a Conn for the interface with the given index. It stays with
// that interface through renaming and changes of the hardware address; an
// interface that is deleted and created again needs a new Conn.
func Open(index int) (*Conn, error) {
	// Protocol 0 leaves the socket out of every receive path of the kernel:
	// packet(7). A filter that drops all would be run for every packet.
	c, err := packet.Listen(&net.Interface{Index: index}, packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("arp: opening a packet socket on interface %d: %w", index, err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("arp: opening a packet socket on interface %d: %w", index, err), c.Close())
	}
	// The send buffer stays at its default: it holds fewer frames than the queue
	// of an interface does, and so Send is slowed down before the queue drops.
	return &Conn{c: c, raw: raw, index: index}, nil
}

// Send sends whole Ethernet frames in order and returns how many the kernel
// took. A frame it refuses does not stop those after it; an interface that is
// down or gone does, with an error that matches [unix.ENETDOWN], [unix.ENXIO]
// or [unix.ENODEV]. A frame that found the queue of the interface full is lost
// as it would be on the wire, and no error.
//
// Send does not block, except for a few milliseconds at a time when the
// interface is slower than the frames come; when it takes nothing at all the
// error matches [os.ErrDeadlineExceeded]. One goroutine at a time may call it.
func (c *Conn) Send(frames [][]byte) (int, error) {
	var (
		sent, next int
		refused    error
	)
	err := c.raw.Write(func(fd uintptr) bool {
		for ; next < len(frames); next++ {
			err := c.send(int(fd), frames[next])
			switch {
			case err == nil:
				sent++
			case errors.Is(err, unix.EAGAIN):
				// The poller calls again when there is room, or gives up.
				return c.c.SetWriteDeadline(time.Now().Add(sendWait)) != nil
			case errors.Is(err, unix.ENOBUFS):
			case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
				refused = err
				return true
			case refused == nil:
				refused = err
			}
		}
		return true
	})
	// A deadline left behind would fail the next Send before it has tried.
	err = errors.Join(err, c.c.SetWriteDeadline(time.Time{}), refused)
	if err != nil && c.closed.Load() {
		err = net.ErrClosed
	}
	if err != nil {
		return sent, fmt.Errorf("arp: sending on interface %d: %w", c.index, err)
	}
	return sent, nil
}

// send makes one system call. The protocol of the frame goes with it, for the
// classifiers and captures between here and the wire that ask for it.
func (c *Conn) send(fd int, frame []byte) error {
	if len(frame) < ethernetLen {
		return unix.EINVAL
	}
	to := unix.SockaddrLinklayer{
		Ifindex:  c.index,
		Protocol: binary.NativeEndian.Uint16(frame[12:14]),
	}
	for {
		err := unix.Sendto(fd, frame, unix.MSG_DONTWAIT, &to)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Close closes the socket. A Send under way returns an error that matches
// [net.ErrClosed].
func (c *Conn) Close() error {
	c.closed.Store(true)
	if err := c.c.Close(); err != nil {
		return fmt.Errorf("arp: closing the packet socket on interface %d: %w", c.index, err)
	}
	return nil
}
