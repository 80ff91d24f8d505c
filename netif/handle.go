package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A Handle adds, renews and removes addresses. It is for one goroutine.
type Handle struct {
	conn  *conn
	req   []byte // requests of the batch being built
	known func(name string) (Link, bool)

	guards4, guards6 guard               // what is known of the kernel, see Renew
	leased           map[leasedAddr]bool // IPv6 addresses that are known to have a lease
}

// LookIn has h ask known for an interface before it asks the kernel, which
// saves the first address of a call a round trip. Whoever follows the links
// anyway, by a [Watcher], has them at hand. That known may be a moment behind
// is no harm: the kernel refuses an index that is gone.
func (h *Handle) LookIn(known func(name string) (Link, bool)) { h.known = known }

// NewHandle opens a Handle in the network namespace of the calling thread.
func NewHandle() (*Handle, error) {
	c, err := newConn()
	if err != nil {
		return nil, fmt.Errorf("netif: %w", err)
	}
	return &Handle{conn: c, leased: make(map[leasedAddr]bool)}, nil
}

// Close releases the socket.
func (h *Handle) Close() error {
	if err := h.conn.close(); err != nil {
		return fmt.Errorf("netif: closing: %w", err)
	}
	return nil
}

// PortID returns the netlink port of h. The kernel's notification of a change
// that h made names this port as its cause.
func (h *Handle) PortID() uint32 { return h.conn.portID }

// A Result says what became of the request to add, renew or remove one address.
type Result struct {
	// Existed is set by Add if the interface had the address already. Who put it
	// there, and with which attributes, is for the caller to find out.
	Existed bool
	// Err is an *AddressError, or nil if the address is now as asked.
	Err error
}

// Add adds addresses and returns one result per address, in order. One that
// fails does not keep the others from being added.
func (h *Handle) Add(addrs []Address) []Result {
	results := make([]Result, len(addrs))
	h.run(opAdd, addrs, h.conn.batch, nil, func(i int, r Result) { results[i] = r })
	return results
}

// AddIf is Add for those who may be kept from their work, for seconds, at any
// moment: still is called when a batch of requests is ready and nothing is left to
// do but the system call that sends it. If it returns false the batch is not sent
// and its results are [ErrCalledOff]. still must not use h.
func (h *Handle) AddIf(addrs []Address, still func() bool) []Result {
	results := make([]Result, len(addrs))
	h.run(opAdd, addrs, h.conn.batch, still, func(i int, r Result) { results[i] = r })
	return results
}

// AddFunc is Add for those who do not want to wait for the last address before
// they use the first: done is called for each address in order, in batches of
// growing size, as soon as the kernel has it. done must not use h.
func (h *Handle) AddFunc(addrs []Address, done func(i int, r Result)) {
	// The first batch is small: its first address is then in use within a
	// fraction of a millisecond, however many follow.
	h.run(opAdd, addrs, min(16, h.conn.batch), nil, done)
}

// Remove removes addresses and returns one result per address. One that is not
// there, or whose interface is not there, needs no removal.
func (h *Handle) Remove(addrs []Address) []Result {
	results := make([]Result, len(addrs))
	h.run(opRemove, addrs, h.conn.batch, nil, func(i int, r Result) { results[i] = r })
	return results
}

// run sends the requests for addrs in batches that grow from the given size, each
// only if still, unless it is nil, returns true when the batch is ready to be sent.
func (h *Handle) run(op string, addrs []Address, size int, still func() bool, done func(int, Result)) {
	// All look-ups come first: each takes a sequence number, and those of a
	// batch have to follow one another.
	links := make(map[string]resolved)
	for i := range addrs {
		h.resolve(addrs[i].Interface, links)
	}
	refused := make(map[int]error) // addresses of the batch that are not sent at all
	for start := 0; start < len(addrs); {
		clear(refused)
		h.req = h.req[:0]
		first := h.conn.seq + 1
		sent := make([]int, 0, size) // position in addrs, by sequence number
		last := 0                    // where the last message starts
		end := start
		for ; end < len(addrs) && len(sent) < size && len(h.req) < maxBatchOctets; end++ {
			a := &addrs[end]
			to := links[a.Interface]
			if !valid(a) {
				to.err = ErrInvalid
			}
			if to.err != nil {
				refused[end] = to.err
				continue
			}
			h.conn.seq++
			sent = append(sent, end)
			last = len(h.req)
			switch op {
			case opAdd:
				h.req = a.appendAdd(h.req, to.link.Index, h.conn.seq, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
			case opRenew:
				h.req = a.appendRenew(h.req, to.link.Index, h.conn.seq, unix.NLM_F_REQUEST, *h.guard(a) != guardRefused)
			case opRemove:
				h.req = a.appendRemove(h.req, to.link.Index, h.conn.seq, unix.NLM_F_REQUEST)
			}
		}
		acks := make([]ack, len(sent))
		var err error
		if len(sent) > 0 {
			native.PutUint16(h.req[last+6:], native.Uint16(h.req[last+6:])|unix.NLM_F_ACK)
			if still == nil || still() {
				err = h.conn.exchange(h.req, first, acks)
			} else {
				err = ErrCalledOff
			}
		}
		k := 0
		for i := start; i < end; i++ {
			if e, ok := refused[i]; ok {
				done(i, refusal(op, &addrs[i], e))
				continue
			}
			r := judge(op, &addrs[i], links[addrs[i].Interface].link, acks[k], err)
			h.note(op, &addrs[i], r)
			done(i, r)
			k++
		}
		start = end
		size = min(size*4, h.conn.batch)
	}
}

// A resolved is what an interface's name stands for during one call.
type resolved struct {
	link Link
	err  error
}

// resolve looks an interface up unless that was done.
func (h *Handle) resolve(name string, known map[string]resolved) {
	if _, ok := known[name]; ok {
		return
	}
	if h.known != nil {
		if l, ok := h.known(name); ok {
			known[name] = resolved{link: l}
			return
		}
	}
	l, err := h.lookup(name)
	known[name] = resolved{l, err}
}

// valid reports whether a can be put into a request.
func valid(a *Address) bool {
	same := func(b netip.Addr) bool { return FamilyOf(b) == FamilyOf(a.Prefix.Addr()) }
	return a.Prefix.IsValid() && !a.Prefix.Addr().Is4In6() &&
		a.Interface != "" &&
		(!a.Peer.IsValid() || same(a.Peer.Addr()) && !a.Peer.Addr().Is4In6()) &&
		(!a.Broadcast.IsValid() || same(a.Broadcast)) &&
		len(a.Label) < unix.IFNAMSIZ &&
		wholeSeconds(a.ValidLifetime)
}

// wholeSeconds reports whether a lifetime is one the kernel can be given. Rounded,
// it would be another lease than the one that is reckoned with.
func wholeSeconds(d time.Duration) bool { return d >= 0 && d%time.Second == 0 }

// lookup asks the kernel for an interface.
func (h *Handle) lookup(name string) (Link, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return Link{}, ErrNoInterface
	}
	m, err := h.conn.get(unix.RTM_GETLINK, linkRequest(name))
	switch {
	case errors.Is(err, unix.ENODEV):
		return Link{}, ErrNoInterface
	case err != nil:
		return Link{}, err
	}
	l, ok := parseLink(m.body, Link{})
	if !ok {
		return Link{}, ErrNoInterface
	}
	return l, nil
}

// refusal is the result for an address that was never sent to the kernel.
func refusal(op string, a *Address, err error) Result {
	if op == opRemove && errors.Is(err, ErrNoInterface) {
		return Result{}
	}
	e := &AddressError{Op: op, Address: a.Prefix, Interface: a.Interface, Err: err}
	if errors.Is(err, ErrInvalid) {
		switch {
		case len(a.Label) >= unix.IFNAMSIZ:
			e.Hint = "a label has at most 15 characters"
		case !wholeSeconds(a.ValidLifetime):
			e.Hint = "a lifetime is a whole number of seconds"
		}
	}
	return Result{Err: e}
}

// judge turns the kernel's answer into a result. err is what befell the batch as
// a whole; an answer that did arrive counts all the same.
func judge(op string, a *Address, l Link, k ack, err error) Result {
	switch {
	case k.errno == unix.EEXIST && op == opAdd:
		return Result{Existed: true}
	case k.errno == unix.EADDRNOTAVAIL && op == opRemove:
		return Result{}
	case k.errno == unix.ENODEV && op == opRemove:
		return Result{}
	case k.errno == 0 && err == nil:
		return Result{}
	}
	e := &AddressError{Op: op, Address: a.Prefix, Interface: a.Interface, Kernel: k.message, Err: err}
	if k.errno != 0 {
		e.Err = k.errno
		e.Hint = hint(a, l, k.errno)
	}
	if errors.Is(e.Err, unix.ENODEV) {
		e.Err = ErrNoInterface
	}
	return Result{Err: e}
}

// Addresses returns all addresses of all interfaces in the kernel's order.
func (h *Handle) Addresses() ([]PresentAddress, error) {
	var list []PresentAddress
	err := h.conn.dump(unix.RTM_GETADDR, addressDump(), func() { list = nil }, func(m message) {
		if a, ok := parseAddress(m.body); ok && m.typ == unix.RTM_NEWADDR {
			list = append(list, a)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("netif: listing addresses: %w", err)
	}
	return list, nil
}

// addressDump is the body of a request for all addresses of both families.
func addressDump() []byte { return make([]byte, unix.SizeofIfAddrmsg) }
