package netif

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// WatchWithBuffer is Watch with a receive buffer of the given size.
func WatchWithBuffer(ctx context.Context, octets int) (*Watcher, error) { return watch(ctx, octets) }

// Overruns returns how often a closed Watcher found its receive buffer overrun.
func (w *Watcher) Overruns() int {
	<-w.done
	return w.overruns
}

// A Listener receives notifications of addresses with their cause.
type Listener struct{ c *conn }

// Listen subscribes to notifications of IPv4 addresses.
func Listen() (*Listener, error) {
	fd, port, err := dialRoute(0, unix.RTMGRP_IPV4_IFADDR, 1<<20)
	if err != nil {
		return nil, err
	}
	return &Listener{&conn{fd: fd, portID: port, rbuf: make([]byte, receiveOctets)}}, nil
}

// Cause returns the netlink port whose request the next notification follows.
func (l *Listener) Cause() (uint32, error) {
	b, err := l.c.receive(0)
	if err != nil {
		return 0, err
	}
	for m := range messages(b) {
		return m.portID, nil
	}
	return 0, errors.New("no message")
}

// Close closes the Listener.
func (l *Listener) Close() error { return l.c.close() }

// Blast adds addresses with as little as the kernel can do it with: requests
// made beforehand, sent in one call, without a look at the results.
func (h *Handle) Blast(addrs []Address) (func() error, error) {
	l, err := h.lookup(addrs[0].Interface)
	if err != nil {
		return nil, err
	}
	var b []byte
	for i := range addrs {
		flags := uint16(unix.NLM_F_REQUEST)
		if i == len(addrs)-1 {
			flags |= unix.NLM_F_ACK
		}
		b = addrs[i].appendAdd(b, l.Index, 0, flags)
	}
	if err := unix.SetsockoptInt(h.conn.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 2*len(b)); err != nil {
		return nil, err
	}
	return func() error {
		if err := h.conn.send(b); err != nil {
			return err
		}
		_, err := h.conn.receive(0)
		return err
	}, nil
}

// RefuseGuards has h take the kernel for one that does not accept guards.
func (h *Handle) RefuseGuards() { h.guards4, h.guards6 = guardRefused, guardRefused }

// GuardsRefused reports whether h takes the kernel for such a one.
func (h *Handle) GuardsRefused() bool {
	return h.guards4 == guardRefused && h.guards6 == guardRefused
}

// ClearAsIfRefused has h find out why the kernel has refused to renew addrs.
func (h *Handle) ClearAsIfRefused(addrs []Address) []Result {
	results := make([]Result, len(addrs))
	unclear := make([]int, len(addrs))
	for i := range addrs {
		unclear[i] = i
		results[i].Err = &AddressError{Op: opRenew, Err: unix.EINVAL}
	}
	h.clear(addrs, results, unclear, nil)
	return results
}
