// Package vrrpconn sends and receives VRRP advertisements: raw sockets for
// protocol 112 on IPv4 and IPv6, to a multicast group or to unicast peers, and
// the checks that RFC 9568 §7.1 asks of what was received.
//
// A [Conn] belongs to an interface and a group, or to a unicast source
// address, and is shared by every virtual router there; [VRID] says whose a
// datagram is. [Expect.Check] needs no socket.
package vrrpconn

import (
	"fmt"
	"net/netip"
	"time"

	"vipd/vrrp"
)

// A Datagram is one received datagram of protocol 112, and what the kernel
// said about it.
type Datagram struct {
	Src, Dst netip.Addr // without zone
	// TTL is the TTL or hop limit it arrived with, -1 when the kernel did not
	// say.
	TTL int
	// At is when the kernel received it, as a time with a monotonic reading.
	// It is never in the future and never before a moment at which nothing
	// waited to be read, however the wall clock is stepped: a step can make it
	// later than it was, by no more than the datagram waited to be read, and
	// never earlier.
	At time.Time
	// TotalLen is the total length in the IPv4 header, 0 on IPv6.
	TotalLen int
	// HeaderLen is the length of the IPv4 header, 0 on IPv6.
	HeaderLen int
	// Truncated says that it was longer than any advertisement, or had no
	// whole header.
	Truncated bool
	// Payload is what follows the IP header. It is valid until the next Recv.
	Payload []byte
}

// VRID returns the virtual router that a datagram says it is for, before
// anything about it is checked. It reports false when it is too short to say.
func VRID(d *Datagram) (uint8, bool) {
	if len(d.Payload) < 2 {
		return 0, false
	}
	return d.Payload[1], true
}

// A Message is one advertisement to send.
type Message struct {
	// Src is the address it comes from. On IPv6 it must be one of this host,
	// on IPv4 the kernel does not ask.
	Src, Dst netip.Addr
	// TTL is the TTL or hop limit, from 1 to 255. On IPv6 it may be -1 for the
	// kernel's default, which is what keepalived sends to unicast peers.
	TTL int
	// ID is the IPv4 identification. keepalived counts logical advertisements
	// of an instance from 1 and leaves 0 out; 0 lets the kernel choose.
	ID uint16
	// Payload is the advertisement with its checksum, see
	// [vrrp.Advertisement.AppendTo].
	Payload []byte
}

// A Config says what a [Conn] is for: it has either a Group or a Source.
type Config struct {
	// Interface is the name of the interface that both sockets are bound to.
	// It may be empty.
	Interface string
	// Index is the index of that interface. Group membership and link-local
	// addresses need it.
	Index int
	// Family is the address family.
	Family vrrp.Family
	// Group is the multicast group to join and receive.
	Group netip.Addr
	// Source is the address that unicast advertisements are received on. It
	// need not be configured yet.
	Source netip.Addr
	// ReceiveBuffer is the size of the kernel's receive buffer in octets, 0 to
	// leave it as it is.
	ReceiveBuffer int
}

// check says whether cfg makes sense.
func (cfg *Config) check() error {
	addr, what := cfg.Source, "source address"
	if cfg.Group.IsValid() {
		addr, what = cfg.Group, "group"
	}
	switch {
	case cfg.Group.IsValid() == cfg.Source.IsValid():
		return fmt.Errorf("need either a group or a source address, have %v and %v", cfg.Group, cfg.Source)
	case vrrp.FamilyOf(addr) != cfg.Family:
		return fmt.Errorf("%s %v is not %v", what, addr, cfg.Family)
	case cfg.Group.IsValid() != addr.Unmap().IsMulticast():
		return fmt.Errorf("%v cannot be a %s", addr, what)
	case cfg.Index < 0 || cfg.Index == 0 && (cfg.Group.IsValid() || addr.IsLinkLocalUnicast() && addr.Is6()):
		return fmt.Errorf("%s %v needs an interface index", what, addr)
	case cfg.ReceiveBuffer < 0:
		return fmt.Errorf("receive buffer of %d octets", cfg.ReceiveBuffer)
	}
	return nil
}

// A SendError is why one message was not sent.
type SendError struct {
	Index int // of the message
	Err   error
}

// Error returns which message it was, and why.
func (e *SendError) Error() string {
	return fmt.Sprintf("vrrpconn: sending message %d: %v", e.Index, e.Err)
}

// Unwrap returns the reason.
func (e *SendError) Unwrap() error { return e.Err }

// SendErrors is the error of [Conn.Send]: one for every message that was not
// sent, in the order of the messages.
type SendErrors []*SendError

// Error returns the first of the errors and how many there are.
func (e SendErrors) Error() string {
	switch len(e) {
	case 0:
		return "vrrpconn: no error"
	case 1:
		return e[0].Error()
	}
	return fmt.Sprintf("%v (and %d more)", e[0], len(e)-1)
}

// Unwrap returns the errors one by one, for [errors.Is] and [errors.As].
func (e SendErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}
