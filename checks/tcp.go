package checks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// politeness is how long a TCP probe waits for the other side to end the
// connection, too, before it just closes it.
const politeness = 250 * time.Millisecond

// TCP is a Prober that succeeds when a connection can be made.
type TCP struct {
	Address string // host:port, the host an address or a name
}

var _ Prober = (*TCP)(nil)

// String names what is asked.
func (p *TCP) String() string { return "tcp " + p.Address }

// Probe makes a connection and ends it. If a name has several addresses, one of
// them is enough.
func (p *TCP) Probe(ctx context.Context) (string, error) {
	c, err := dial(ctx, "tcp", p.Address)
	if err != nil {
		return "", err
	}
	// What was sent and never read would make Close reset the connection, and
	// the server complain.
	if tc, ok := c.(*net.TCPConn); ok && tc.CloseWrite() == nil {
		end := time.Now().Add(politeness)
		if d, ok := ctx.Deadline(); ok && d.Before(end) {
			end = d
		}
		_ = tc.SetReadDeadline(end)
		stop := context.AfterFunc(ctx, func() { _ = tc.SetReadDeadline(time.Unix(1, 0)) })
		_, _ = io.CopyN(io.Discard, tc, 64<<10)
		stop()
	}
	_ = c.Close()
	return "connected", nil
}

// dialer returns a Dialer whose look-ups of names end with the context.
func dialer() *net.Dialer {
	return &net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := dialer().DialContext(ctx, network, address)
	if err != nil {
		return nil, netError(ctx, err)
	}
	return c, nil
}

// netError makes an error of the network short: without the addresses, which
// stand beside it.
func netError(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case e.IsTimeout:
			return fmt.Errorf("name %s: no answer from the resolver", e.Name)
		case e.IsNotFound:
			return fmt.Errorf("name %s: not found", e.Name)
		}
		return fmt.Errorf("name %s: %s", e.Name, e.Err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.AddrError](err); ok {
		return e
	}
	return err
}
