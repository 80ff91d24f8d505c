package netiftest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// captureBuffer holds what arrives while the reader does not run.
const captureBuffer = 64 << 20

// A Frame is one Ethernet frame as it passed an interface.
type Frame struct {
	At       time.Time // the kernel's time stamp, with a monotonic reading
	Outgoing bool      // sent by the node itself
	Data     []byte    // the whole frame from its destination address on
}

// EtherType returns the frame's protocol, 0 if it is too short to have one.
func (f Frame) EtherType() uint16 {
	if len(f.Data) < 14 {
		return 0
	}
	return uint16(f.Data[12])<<8 | uint16(f.Data[13])
}

// A Capture records the frames that pass an interface, in both directions.
type Capture struct {
	socket *socket
	done   chan struct{}

	mu     sync.Mutex
	frames []Frame
	more   chan struct{} // closed, and replaced, when frames grows or the end comes
	ended  bool
	err    error
}

// Capture begins to record an interface. When it returns, recording has begun.
func (n *Node) Capture(ifname string) (*Capture, error) {
	ifi, err := n.Interface(ifname)
	if err != nil {
		return nil, err
	}
	s, err := n.openSocket(unix.AF_PACKET, unix.SOCK_RAW, 0, func(fd int) error {
		setReceiveBuffer(fd, captureBuffer)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("time stamps: %w", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index})
	})
	if err != nil {
		return nil, fmt.Errorf("netiftest: capturing %s of %s: %w", ifname, n.name, err)
	}
	c := &Capture{socket: s, done: make(chan struct{}), more: make(chan struct{})}
	go c.run()
	return c, nil
}

func (c *Capture) run() {
	defer close(c.done)
	b := make([]byte, 1<<16)
	oob := make([]byte, unix.CmsgSpace(64))
	for {
		n, oobn, from, err := c.socket.receive(b, oob)
		if errors.Is(err, unix.ENETDOWN) {
			continue // said once when the interface goes down; recording goes on
		}
		c.mu.Lock()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				c.err = err
			}
			c.ended = true
		} else {
			f := Frame{Data: slices.Clone(b[:min(n, len(b))])}
			if at, ok := stamp(oob[:oobn]); ok {
				f.At = monotonic(at)
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok {
				f.Outgoing = ll.Pkttype == unix.PACKET_OUTGOING
			}
			c.frames = append(c.frames, f)
		}
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Frames returns the frames recorded so far.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// Wait returns the first frame for which match returns true, be it recorded
// already or yet to come.
func (c *Capture) Wait(ctx context.Context, match func(Frame) bool) (Frame, error) {
	f, err := c.WaitN(ctx, 1, match)
	if err != nil {
		return Frame{}, err
	}
	return f[0], nil
}

// WaitN returns the first n frames for which match returns true. If ctx ends
// first, it returns those there are, and the error.
func (c *Capture) WaitN(ctx context.Context, n int, match func(Frame) bool) ([]Frame, error) {
	var found []Frame
	for seen := 0; ; {
		c.mu.Lock()
		fresh := c.frames[seen:]
		more, ended := c.more, c.ended
		c.mu.Unlock()
		for _, f := range fresh {
			if match(f) {
				if found = append(found, f); len(found) == n {
					return found, nil
				}
			}
		}
		seen += len(fresh)
		if ended {
			return found, fmt.Errorf("netiftest: capture ended after %d frames, %d of %d found", seen, len(found), n)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return found, fmt.Errorf("netiftest: %d frames captured, %d of %d found: %w", seen, len(found), n, ctx.Err())
		}
	}
}

// Stop ends the recording and returns all frames. It is an error if the kernel
// had to drop some.
func (c *Capture) Stop() ([]Frame, error) {
	var drops uint32
	err := c.socket.raw.Control(func(fd uintptr) {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			drops = st.Drops
		}
	})
	if err == nil {
		_ = c.socket.close()
	}
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return slices.Clone(c.frames), fmt.Errorf("netiftest: capture: %w", c.err)
	case drops > 0:
		return slices.Clone(c.frames), fmt.Errorf("netiftest: capture: the kernel dropped %d frames", drops)
	}
	return slices.Clone(c.frames), nil
}

// An Injector sends frames out of an interface, whatever they are.
type Injector struct {
	socket *socket
	to     *unix.SockaddrLinklayer
}

// Injector opens an interface for sending.
func (n *Node) Injector(ifname string) (*Injector, error) {
	ifi, err := n.Interface(ifname)
	if err != nil {
		return nil, err
	}
	// Protocol 0 receives nothing.
	s, err := n.openSocket(unix.AF_PACKET, unix.SOCK_RAW, 0, func(int) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("netiftest: injecting into %s of %s: %w", ifname, n.name, err)
	}
	return &Injector{socket: s, to: &unix.SockaddrLinklayer{Ifindex: ifi.Index}}, nil
}

// Send sends whole Ethernet frames.
func (i *Injector) Send(frames ...[]byte) error {
	for k, f := range frames {
		if err := i.socket.send(f, i.to); err != nil {
			return fmt.Errorf("netiftest: injecting frame %d of %d: %w", k+1, len(frames), err)
		}
	}
	return nil
}

// Close closes the Injector.
func (i *Injector) Close() error { return i.socket.close() }
