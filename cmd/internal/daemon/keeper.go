package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"vipd/netif"
	"vipd/vrrp"
)

const (
	// addChunk is how many addresses are added before the keeper looks again
	// for what else it should do: about 10 ms of the kernel's time when an
	// interface holds thousands.
	addChunk = 256
	// addRetryMin and addRetryMax bound how long the keeper waits before it
	// tries an address again that could not be added.
	addRetryMin, addRetryMax = time.Second, 30 * time.Second
	// removeRetry is how soon an address is tried again that could not be
	// removed: until it is gone, two machines may answer for it.
	removeRetry = time.Second
)

// An addressTable is where addresses are put: the kernel's, or a test's.
type addressTable interface {
	Add([]netif.Address) []netif.Result
	Remove([]netif.Address) []netif.Result
}

// A keeper puts the addresses of masters in place and takes them away. It is
// the only one that changes addresses, and does so in a goroutine of its own:
// the kernel needs hundreds of milliseconds for thousands of addresses, which
// no protocol loop could wait for.
//
// What it is asked for is level-triggered. Of two requests for one instance
// only the later counts, and adding stops as soon as it is no longer wanted.
type keeper struct {
	log     *slog.Logger
	table   addressTable
	journal *journal
	inbox   *mailbox[func()]
	ended   chan struct{}
	// links returns the newest view of the interfaces, or nil if there is none.
	links func() *netif.Snapshot

	// Only the keeper's goroutine uses what follows.
	holds map[*instance]*hold
	queue []*hold // those with addresses still to add, in turn
	// While a new configuration is carried out nothing is removed, so that an
	// address which moves from one instance to another is never gone.
	moving bool
}

// A hold is what the keeper knows of one instance.
type hold struct {
	inst     *instance
	settings *settings // those of the last request
	wanted   bool
	epoch    uint64                  // of the last request
	todo     []vrrp.Address          // to be added
	added    map[vrrp.Address]placed // in place
	leaving  []vrrp.Address          // to be removed
	failed   map[vrrp.Address]string // and why
	on       map[string]int          // the index that the interface of that name had then
	queued   bool
	first    bool // nothing of this request was added yet

	reign    uint64 // a number for each time that addresses are wanted after they were not
	retrying bool   // a retry is on its way
	retries  int
}

// placed is an address that is in place.
type placed struct {
	ours bool // this keeper put it there
	as   netif.Address
}

var _ addressHolder = (*keeper)(nil)

func newKeeper(log *slog.Logger, table addressTable, j *journal) *keeper {
	return &keeper{
		log: log, table: table, journal: j, inbox: newMailbox[func()](),
		ended: make(chan struct{}), holds: make(map[*instance]*hold),
		links: func() *netif.Snapshot { return nil },
	}
}

func (k *keeper) hold(inst *instance, epoch uint64, addrs []vrrp.Address) {
	s := inst.settings
	k.inbox.put(func() { k.want(inst, s, epoch, addrs) })
}

func (k *keeper) release(inst *instance, addrs []vrrp.Address) {
	k.inbox.put(func() { k.unwant(inst, addrs) })
}

// update has the instance's addresses in place as its new settings say, if it
// holds any: with another label, or another prefix length.
func (k *keeper) update(inst *instance, s *settings) {
	k.inbox.put(func() { k.reform(inst, s) })
}

// move has nothing removed until moved.
func (k *keeper) move() { k.inbox.put(func() { k.moving = true }) }

// moved has everything added that is waiting to be, and then removes what was to
// be removed since move and nobody else holds.
func (k *keeper) moved() {
	k.inbox.put(func() {
		for len(k.queue) > 0 {
			k.work()
		}
		for _, h := range k.holds {
			k.inherit(h)
		}
		k.moving = false
		for _, h := range k.holds {
			k.drop(h)
		}
	})
}

// settle returns when everything asked for before it has been tried, and an
// error if addresses are left that should be gone.
func (k *keeper) settle(ctx context.Context) error {
	done := make(chan int, 1)
	k.inbox.put(func() {
		left := 0
		for _, h := range k.holds {
			left += len(h.leaving)
		}
		done <- left
	})
	select {
	case left := <-done:
		if left > 0 {
			return fmt.Errorf("daemon: %d addresses could not be removed", left)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the keeper's goroutine; it ends with the context.
func (k *keeper) run(ctx context.Context) {
	defer close(k.ended)
	var spent []func()
	for {
		spent = k.inbox.take(spent)
		for _, f := range spent {
			f()
		}
		if len(k.queue) > 0 {
			k.work()
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-k.inbox.waiting():
		}
	}
}

// want adds to what an instance holds.
func (k *keeper) want(inst *instance, s *settings, epoch uint64, addrs []vrrp.Address) {
	h := k.holds[inst]
	if h == nil {
		h = &hold{inst: inst, added: make(map[vrrp.Address]placed), failed: make(map[vrrp.Address]string), on: make(map[string]int)}
		k.holds[inst] = h
	}
	if !h.wanted {
		h.wanted, h.todo = true, nil
		h.reign++
		h.retries, h.retrying = 0, false
		clear(h.failed)
	}
	h.settings, h.epoch, h.first = s, epoch, true
	h.todo = append(h.todo, addrs...)
	if len(h.leaving) > 0 {
		h.leaving = slices.DeleteFunc(h.leaving, func(a vrrp.Address) bool { return slices.Contains(addrs, a) })
	}
	k.enqueue(h)
}

func (k *keeper) enqueue(h *hold) {
	if !h.queued && len(h.todo) > 0 {
		h.queued = true
		k.queue = append(k.queue, h)
	}
}

// unwant removes addresses of an instance, all if addrs is nil, in the order of
// the configuration, as keepalived does. Those that were there before stay.
func (k *keeper) unwant(inst *instance, addrs []vrrp.Address) {
	h := k.holds[inst]
	if h == nil {
		return
	}
	if addrs == nil {
		h.wanted, h.todo = false, nil
		clear(h.failed)
		addrs = h.all()
	} else {
		h.todo = slices.DeleteFunc(h.todo, func(a vrrp.Address) bool { return slices.Contains(addrs, a) })
		for _, a := range addrs {
			delete(h.failed, a)
		}
	}
	for _, a := range addrs {
		if _, ok := h.added[a]; ok {
			h.leaving = append(h.leaving, a)
		}
	}
	k.drop(h)
}

// all returns the addresses in the order of the configuration, and then those
// in place that the configuration does not have any more.
func (h *hold) all() []vrrp.Address {
	addrs := h.settings.order
	for a := range h.added {
		if _, ok := h.settings.addresses[a]; !ok {
			addrs = append(slices.Clip(addrs), a)
		}
	}
	return addrs
}

// drop removes what is to leave, and tries again later what cannot be removed.
func (k *keeper) drop(h *hold) {
	if k.moving {
		return
	}
	var keys []vrrp.Address
	var gone []netif.Address
	for _, a := range h.leaving {
		p := h.added[a]
		if !p.ours {
			delete(h.added, a)
			continue
		}
		keys = append(keys, a)
		gone = append(gone, k.where(h, p.as))
	}
	h.leaving = nil
	for i, res := range k.table.Remove(gone) {
		if res.Err == nil {
			delete(h.added, keys[i])
			continue
		}
		h.leaving = append(h.leaving, keys[i])
		h.settings.log.Error("cannot remove an address: it may now be on two machines; trying again",
			"address", gone[i].Prefix, "error", res.Err)
	}
	switch {
	case len(h.leaving) > 0:
		time.AfterFunc(removeRetry, func() {
			k.inbox.put(func() {
				if k.holds[h.inst] == h {
					k.drop(h)
				}
			})
		})
	case !h.wanted:
		delete(k.holds, h.inst)
	}
}

// inherit leaves addresses in place that are to leave and that another instance
// holds: it removes them one day. An IPv4 address with another prefix length is
// another one to the kernel, and each has its own.
func (k *keeper) inherit(h *hold) {
	h.leaving = slices.DeleteFunc(h.leaving, func(a vrrp.Address) bool {
		p := h.added[a]
		for _, other := range k.holds {
			q, ok := other.added[a]
			if other == h || !other.wanted || !ok || a.IP.Is4() && q.as.Prefix != p.as.Prefix || slices.Contains(other.leaving, a) {
				continue
			}
			delete(h.added, a)
			if p.ours {
				other.added[a] = p
				other.on[a.Interface] = h.on[a.Interface]
				k.reform(other.inst, other.settings)
			}
			return true
		}
		return false
	})
}

// reform puts the addresses that an instance holds into another form.
func (k *keeper) reform(inst *instance, s *settings) {
	h := k.holds[inst]
	if h == nil {
		return
	}
	h.settings = s
	for a, p := range h.added {
		as, ok := s.addresses[a]
		if !ok || !p.ours || as == p.as || slices.Contains(h.leaving, a) {
			continue
		}
		old, fresh := []netif.Address{k.where(h, p.as)}, []netif.Address{as}
		steps := []func([]netif.Address) []netif.Result{k.table.Remove, k.table.Add}
		what := [][]netif.Address{old, fresh}
		if a.IP.Is4() && as.Prefix != p.as.Prefix {
			// Another address to the kernel: there is never none. Of IPv6 it has no
			// address twice, whatever the prefix length.
			slices.Reverse(steps)
			slices.Reverse(what)
		}
		for i, step := range steps {
			if err := step(what[i])[0].Err; err != nil {
				h.settings.log.Error("cannot change an address", "address", as.Prefix, "error", err)
				break // and do not lose what there is; one that is gone is missed, see reconcile
			}
			h.added[a] = placed{ours: true, as: as}
		}
	}
}

// where returns an address as it is to be removed: from the interface it was put
// on, which may have another name by now.
func (k *keeper) where(h *hold, a netif.Address) netif.Address {
	if s := k.links(); s != nil {
		if link, ok := s.LinkByIndex(h.on[a.Interface]); ok {
			a.Interface = link.Name
		}
	}
	return a
}

// remember keeps which interface an address was put on.
func (k *keeper) remember(h *hold, iface string) {
	if s := k.links(); s != nil {
		if link, ok := s.Link(iface); ok {
			h.on[iface] = link.Index
		}
	}
}

// A wish is one address of a batch.
type wish struct {
	h    *hold
	addr vrrp.Address
}

// work does one portion of adding. An instance whose turn comes first gets one
// address, so that this one is announced without waiting for its others; those
// of several instances that become master together share a batch.
func (k *keeper) work() {
	var batch []wish
	var wanted []netif.Address
	first := false
	for turns := len(k.queue); turns > 0 && len(batch) < addChunk; turns-- {
		h := k.queue[0]
		k.queue[0] = nil
		k.queue = k.queue[1:]
		h.queued = false
		if !h.wanted {
			continue
		}
		n := min(addChunk-len(batch), len(h.todo))
		if h.first && n > 0 {
			n, h.first, first = 1, false, true
		}
		for _, a := range h.todo[:n] {
			batch = append(batch, wish{h, a})
			wanted = append(wanted, h.settings.addresses[a])
		}
		h.todo = h.todo[n:]
		k.enqueue(h)
	}
	results := k.table.Add(wanted)
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].h == batch[0].h {
			n++
		}
		k.added(batch[:n], wanted[:n], results[:n])
		batch, wanted, results = batch[n:], wanted[n:], results[n:]
	}
	if first {
		runtime.Gosched() // let them be announced
	}
}

// added takes in what became of addresses of one instance, and reports it.
func (k *keeper) added(batch []wish, wanted []netif.Address, results []netif.Result) {
	h := batch[0].h
	var ready []vrrp.Address
	for i, res := range results {
		a := batch[i].addr
		if res.Err != nil {
			k.failedToAdd(h, a, res.Err)
			continue
		}
		delete(h.failed, a)
		ready = append(ready, a)
		switch {
		case !res.Existed, k.ours(a), k.others(h, a, wanted[i]):
			h.added[a] = placed{ours: true, as: wanted[i]}
			k.remember(h, a.Interface)
		case !h.added[a].ours:
			h.added[a] = placed{as: wanted[i]}
			k.journal.foreign(wanted[i])
			h.settings.log.Warn("the address is on this host already; vipd did not add it and will not remove it", "address", wanted[i].Prefix)
		}
	}
	if len(ready) > 0 {
		k.report(h, vrrp.AddressReady{Epoch: h.epoch, Addrs: ready})
	}
}

// ours reports whether an address that was there already is vipd's own, from an
// attempt that seemed to have failed.
func (k *keeper) ours(a vrrp.Address) bool {
	s := k.links()
	return s != nil && kernelTells() && k.journal.owns(a, finder(s))
}

// others reports whether it is this keeper that has put an address there, for
// another instance.
func (k *keeper) others(h *hold, a vrrp.Address, as netif.Address) bool {
	for _, other := range k.holds {
		if p := other.added[a]; other != h && p.ours && (a.IP.Is6() || p.as.Prefix == as.Prefix) {
			return true
		}
	}
	return false
}

// failedToAdd reports an address that could not be added, and has it tried
// again while it is wanted.
func (k *keeper) failedToAdd(h *hold, a vrrp.Address, err error) {
	if why := err.Error(); h.failed[a] != why {
		h.failed[a] = why
		h.settings.log.Error("cannot add an address", "address", a, "error", err)
	}
	k.report(h, vrrp.AddressReady{Epoch: h.epoch, Addrs: []vrrp.Address{a}, Err: err})
	if h.retrying {
		return
	}
	h.retrying = true
	delay := min(addRetryMin<<min(h.retries, 5), addRetryMax)
	h.retries++
	reign := h.reign
	time.AfterFunc(delay, func() { k.inbox.put(func() { k.retry(h, reign) }) })
}

// retry puts the addresses that could not be added back in line.
func (k *keeper) retry(h *hold, reign uint64) {
	if !h.wanted || h.reign != reign {
		return
	}
	h.retrying = false
	for _, a := range h.settings.order {
		if _, ok := h.failed[a]; ok {
			h.todo = append(h.todo, a)
		}
	}
	k.enqueue(h)
}

func (k *keeper) report(h *hold, ev vrrp.AddressReady) {
	h.inst.post(func(inst *instance) { inst.loop().step(inst, time.Now(), ev) })
}

var _ addressTable = (*netif.Handle)(nil)
