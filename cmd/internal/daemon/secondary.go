package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"vipd/netif"
)

// A secondaries is an address table on which an address that goes, removed or
// expired, takes no other with it. The first IPv4 address of a subnet on an
// interface is its primary one, and the others are secondary to it; the kernel
// removes those with it, the host's own included, unless promote_secondaries is
// set. So it is, while addresses are removed and, where addresses have a lease, from
// the first time to the end, when it is put back. Where it cannot be set, addresses
// get no lease.
type secondaries struct {
	addressTable
	log *slog.Logger
	// index returns the number of an interface: one of the same name may be
	// another one. 0: not known.
	index func(iface string) int
	// record is told of an interface before it is set there, so that a later run can
	// put it back.
	record    func(iface string)
	protected map[string]int  // interfaces where it is set, by their number then
	changed   map[string]bool // those where it is to be put back
	refused   refusals        // those where no address may have a lease
	// conf is where the kernel has the settings of interfaces, and write sets one.
	conf  string
	write func(file, value string) error
}

// refusals says why addresses of an interface get no lease, to anybody who asks.
type refusals struct {
	mu  sync.Mutex
	why map[string]string
}

// of returns why addresses of an interface get no lease; empty: they do.
func (r *refusals) of(iface string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[iface]
}

// set says why, or with nil that they do, and reports whether it was not like that.
func (r *refusals) set(iface string, why error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, was := r.why[iface]
	switch {
	case why == nil:
		delete(r.why, iface)
	case r.why == nil:
		r.why = map[string]string{iface: cause(why)}
	default:
		r.why[iface] = cause(why)
	}
	return was != (why != nil)
}

// cause is what the system says, without what was tried.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

func newSecondaries(table addressTable, log *slog.Logger) *secondaries {
	return &secondaries{
		addressTable: table, log: log, index: func(string) int { return 0 }, record: func(string) {},
		protected: make(map[string]int), changed: make(map[string]bool),
		conf: "/proc/sys/net/ipv4/conf", write: func(file, value string) error { return os.WriteFile(file, []byte(value), 0) },
	}
}

// hasSiblings reports whether an address may have secondary ones, or be one.
func hasSiblings(a *netif.Address) bool {
	return a.Prefix.Addr().Is4() && a.Prefix.Bits() < 32 && !a.Peer.IsValid()
}

// AddIf adds addresses.
func (t *secondaries) AddIf(addrs []netif.Address, still func() bool) []netif.Result {
	return t.addressTable.AddIf(t.protect(addrs), still)
}

// RenewFunc renews the leases of addresses.
func (t *secondaries) RenewFunc(addrs []netif.Address, still func() bool) []netif.Result {
	return t.addressTable.RenewFunc(t.protect(addrs), still)
}

// protect sees to it that the others stay when any of these addresses expires, and
// takes the leases away from those whose expiry would take others along.
func (t *secondaries) protect(addrs []netif.Address) []netif.Address {
	cloned := false
	last, protected := "", true // most are on one interface
	for i := range addrs {
		a := &addrs[i]
		if a.ValidLifetime == 0 || !hasSiblings(a) {
			continue
		}
		if a.Interface != last {
			last, protected = a.Interface, t.promote(a.Interface)
		}
		if protected {
			continue
		}
		if !cloned {
			addrs, cloned = slices.Clone(addrs), true
		}
		addrs[i].ValidLifetime = 0
	}
	return addrs
}

// promote sets promote_secondaries on an interface until the end, and reports
// whether it is set.
func (t *secondaries) promote(iface string) bool {
	index := t.index(iface)
	if known, ok := t.protected[iface]; ok && known == index && index != 0 {
		return true
	}
	changed, err := t.turnOn(iface)
	if again := t.refused.set(iface, err); err != nil {
		if again {
			t.log.Warn("addresses on this interface get no lease: promote_secondaries is off and cannot be set, so that other addresses of the subnet would expire with them", "interface", iface, "error", err)
		}
		return false
	}
	t.protected[iface], t.changed[iface] = index, t.changed[iface] || changed
	return true
}

// prepare sets promote_secondaries where addresses may get a lease, so that becoming
// master does not wait for it.
func (t *secondaries) prepare(addrs []netif.Address) {
	for i := range addrs {
		if a := &addrs[i]; hasSiblings(a) && t.index(a.Interface) != 0 {
			t.promote(a.Interface)
		}
	}
}

// Remove removes addresses, and nothing but them.
func (t *secondaries) Remove(addrs []netif.Address) []netif.Result {
	seen := make(map[string]bool)
	for i := range addrs {
		a := &addrs[i]
		if seen[a.Interface] || !hasSiblings(a) {
			continue
		}
		seen[a.Interface] = true
		if known, ok := t.protected[a.Interface]; ok && known == t.index(a.Interface) {
			continue
		}
		switch changed, err := t.turnOn(a.Interface); {
		case err != nil:
			t.log.Warn("other addresses of the subnet may go with the one that is removed: promote_secondaries is off and cannot be set", "interface", a.Interface, "error", err)
		case changed:
			defer t.turnOff(a.Interface)
		}
	}
	return t.addressTable.Remove(addrs)
}

// putBack ends what promote has begun, when no address has a lease any more.
func (t *secondaries) putBack() {
	for iface, changed := range t.changed {
		if changed {
			t.turnOff(iface)
		}
	}
	clear(t.changed)
	clear(t.protected)
}

// unprotected returns the interfaces of addresses on which promote_secondaries is
// off, or was before an earlier run.
func (t *secondaries) unprotected(addrs []netif.Address) []string {
	var out []string
	for iface := range t.changed {
		out = append(out, iface)
	}
	for i := range addrs {
		a := &addrs[i]
		if hasSiblings(a) && !slices.Contains(out, a.Interface) && !t.keepsSiblings(a.Interface) {
			out = append(out, a.Interface)
		}
	}
	slices.Sort(out)
	return out
}

// keepsSiblings reports whether promote_secondaries is on, there or for all, or does
// not matter.
func (t *secondaries) keepsSiblings(iface string) bool {
	file, ok := t.file(iface)
	if !ok {
		return true
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(b)) != "0" {
		return true
	}
	file, _ = t.file("all")
	b, err = os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

func (t *secondaries) file(iface string) (string, bool) {
	if strings.ContainsRune(iface, '/') {
		return "", false // no interface is called that
	}
	return filepath.Join(t.conf, iface, "promote_secondaries"), true
}

// turnOn sets promote_secondaries on an interface and reports whether it was not. An
// interface that does not exist needs nothing.
func (t *secondaries) turnOn(iface string) (changed bool, err error) {
	file, ok := t.file(iface)
	if !ok {
		return false, nil
	}
	if t.keepsSiblings(iface) {
		return false, nil
	}
	t.record(iface)
	if err := t.write(file, "1"); err != nil {
		// It may have gone in between, in which case the error is any.
		if _, gone := os.Stat(file); errors.Is(gone, fs.ErrNotExist) {
			return false, nil
		}
		return false, fmt.Errorf("daemon: setting a kernel parameter: %w", err)
	}
	return true, nil
}

// turnOff puts promote_secondaries back. An interface that has gone meanwhile has
// taken the setting along.
func (t *secondaries) turnOff(iface string) {
	if file, ok := t.file(iface); ok {
		_ = t.write(file, "0")
	}
}
