package netif

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A guard says whether the kernel accepts guarded requests to renew addresses of
// a family, see [Address.appendRenew].
type guard uint8

const (
	guardUntried guard = iota
	guardAccepted
	guardRefused
)

// guard returns what is known of the kernel for the family of a.
func (h *Handle) guard(a *Address) *guard {
	if a.Prefix.Addr().Is6() {
		return &h.guards6
	}
	return &h.guards4
}

// A leasedAddr is an address of an interface, which is known by its name.
type leasedAddr struct {
	iface string
	addr  netip.Addr
}

// note remembers whether an IPv6 address has a lease.
func (h *Handle) note(op string, a *Address, r Result) {
	if !a.Prefix.Addr().Is6() {
		return
	}
	key := leasedAddr{a.Interface, a.Prefix.Addr().WithZone("")}
	switch {
	case errors.Is(r.Err, ErrCalledOff):
	case op != opRemove && r == Result{} && a.ValidLifetime > 0:
		h.leased[key] = true
	default:
		delete(h.leased, key)
	}
}

// permanent returns those of addrs that perhaps have no lease yet and that a lease
// must not be given as they are.
//
// When a permanent IPv6 address is given a lifetime the kernel gives one to the
// route for its prefix too, without a look at who else has that prefix, and by the
// wrong clock, so that the route is over at once: the host's own prefix would not
// be reached any more (Linux 6.18). So first the address gives up its part in the
// route, and then takes part in it again, as one with a lifetime. What would be
// the first step of a lease that is there already changes nothing.
func (h *Handle) permanent(addrs []Address) (list []Address) {
	for i := range addrs {
		a := addrs[i]
		if a.Prefix.Addr().Is6() && a.ValidLifetime > 0 && !a.NoPrefixRoute &&
			!h.leased[leasedAddr{a.Interface, a.Prefix.Addr().WithZone("")}] {
			a.NoPrefixRoute = true
			list = append(list, a)
		}
	}
	return list
}

// Renew gives addresses that are there the lifetimes of addrs, counted from now,
// and returns one result per address. [Address.ValidLifetime] 0 makes an address
// permanent. Everything else has to be as it was for Add. An address that is not
// there is not made: its result is [ErrNotPresent].
//
// All leases of a host are best renewed together, in rounds of a second, however
// long they are. The kernel looks for leases that are over right after each
// renewal, by itself not within a second of that, and only to within a timer's
// grain. Lateness of the end of leases of 1, 2 and 3 s, measured on Linux 6.18 with
// 250 ticks a second, the same for IPv4 and IPv6:
//
//   - One that is not renewed any more while others are, in rounds of the same
//     phase, ends up to 2 ms late; in rounds of another phase, with the next round.
//   - If nothing is renewed any more, as when the process is dead, all of one phase
//     end together: up to 0.3 s late, of 3 s (and at times of 2 s) up to 0.45 s. The
//     kernel puts off what is due in a certain quarter of its second to the end of
//     that; else it was 35 ms, of 3 s up to 0.25 s.
//   - Of two phases, half a second apart, the later ends up to 1 s late.
//   - 1,000 of IPv4 end within 15 ms of one another.
//
// A round takes 0.5 ms for 100 addresses of IPv4 and 4 ms for 1,000. The kernel
// goes through all multicast groups of the interface, of which each address of
// IPv6 has one, at each renewal of IPv6, and reports them anew (RFC 3810): 4 ms for
// 100, 32 ms for 300, 330 ms for 1,000.
func (h *Handle) Renew(addrs []Address) []Result { return h.RenewFunc(addrs, nil) }

// RenewFunc is Renew for those who may be kept from their work, for seconds, at
// any moment: still is called when a batch of requests is ready and nothing is
// left to do but the system call that sends it. If it returns false the batch is
// not sent and its results are [ErrCalledOff]. still must not use h.
func (h *Handle) RenewFunc(addrs []Address, still func() bool) []Result {
	if first := h.permanent(addrs); len(first) > 0 {
		h.renew(first, still)
	}
	return h.renew(addrs, still)
}

func (h *Handle) renew(addrs []Address, still func() bool) []Result {
	results := make([]Result, len(addrs))
	h.run(opRenew, addrs, h.conn.batch, still, func(i int, r Result) {
		results[i] = r
		if g := h.guard(&addrs[i]); r.Err == nil && *g == guardUntried {
			*g = guardAccepted
		}
	})
	// What refuses to make an address says EINVAL. So does a kernel that looks at
	// the whole of a request first, as none does yet; then the addresses are there,
	// and are renewed without a guard.
	var unclear []int
	for i := range results {
		if !errors.Is(results[i].Err, unix.EINVAL) || *h.guard(&addrs[i]) == guardRefused {
			continue
		}
		if *h.guard(&addrs[i]) == guardUntried {
			unclear = append(unclear, i)
			continue
		}
		notPresent(&addrs[i], &results[i])
	}
	if len(unclear) > 0 {
		h.clear(addrs, results, unclear, still)
	}
	return results
}

// notPresent makes r the result for an address that is not there.
func notPresent(a *Address, r *Result) {
	r.Err = &AddressError{Op: opRenew, Address: a.Prefix, Interface: a.Interface, Err: ErrNotPresent}
}

// clear finds out whether the addresses at the given places are not there or the
// kernel does not accept a guard, and then does without it.
func (h *Handle) clear(addrs []Address, results []Result, unclear []int, still func() bool) {
	present, err := h.Addresses()
	if err != nil {
		return // the next time may tell
	}
	have := make(map[netip.Prefix]bool, len(present))
	for i := range present {
		p := &present[i]
		have[netip.PrefixFrom(p.Addr(), p.Prefix.Bits())] = true
	}
	var again []Address
	var where []int
	for _, i := range unclear {
		a := &addrs[i]
		p := a.Prefix
		if a.Peer.IsValid() {
			p = netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
		}
		if !have[p] {
			notPresent(a, &results[i])
			continue
		}
		*h.guard(a) = guardRefused
		again, where = append(again, *a), append(where, i)
	}
	h.run(opRenew, again, h.conn.batch, still, func(i int, r Result) { results[where[i]] = r })
}
