package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
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
}

// A hold is what the keeper knows of one instance.
type hold struct {
	inst   *instance
	wanted bool
	epoch  uint64
	todo   []vrrp.Address          // to be added
	added  map[vrrp.Address]bool   // in place: true if this keeper put it there
	failed map[vrrp.Address]string // and why
	on     map[string]int          // the index that the interface of that name had then
	queued bool
	first  bool // nothing of this request was added yet

	retrying bool // a retry is on its way
	retries  int
}

var _ addressHolder = (*keeper)(nil)

func newKeeper(log *slog.Logger, table addressTable, j *journal) *keeper {
	return &keeper{
		log: log, table: table, journal: j, inbox: newMailbox[func()](),
		ended: make(chan struct{}), holds: make(map[*instance]*hold),
		links: func() *netif.Snapshot { return nil },
	}
}

func (k *keeper) hold(inst *instance, epoch uint64, addrs []vrrp.Address, restore bool) {
	k.inbox.put(func() { k.want(inst, epoch, addrs, restore) })
}

func (k *keeper) release(inst *instance) {
	k.inbox.put(func() { k.unwant(inst) })
}

// settle returns when everything asked for before it has been tried, and an
// error if addresses are left that should be gone.
func (k *keeper) settle(ctx context.Context) error {
	done := make(chan int, 1)
	k.inbox.put(func() {
		left := 0
		for _, h := range k.holds {
			if !h.wanted {
				left += len(h.added)
			}
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

func (k *keeper) want(inst *instance, epoch uint64, addrs []vrrp.Address, restore bool) {
	h := k.holds[inst]
	if h == nil {
		h = &hold{inst: inst, added: make(map[vrrp.Address]bool), failed: make(map[vrrp.Address]string), on: make(map[string]int)}
		k.holds[inst] = h
	}
	h.wanted, h.epoch, h.first = true, epoch, true
	if restore {
		h.todo = append(h.todo, addrs...)
	} else {
		h.todo = append(h.todo[:0], addrs...)
		h.retries, h.retrying = 0, false
		clear(h.failed)
	}
	k.enqueue(h)
}

func (k *keeper) enqueue(h *hold) {
	if !h.queued && len(h.todo) > 0 {
		h.queued = true
		k.queue = append(k.queue, h)
	}
}

// unwant removes what the keeper has added for the instance. An address that
// was there before is not the keeper's to remove.
func (k *keeper) unwant(inst *instance) {
	h := k.holds[inst]
	if h == nil {
		return
	}
	h.wanted, h.todo = false, nil
	clear(h.failed)
	var keys []vrrp.Address
	var gone []netif.Address
	// In the order of the configuration, as keepalived does.
	for _, a := range inst.order {
		if h.added[a] {
			keys = append(keys, a)
			gone = append(gone, k.where(h, inst.addresses[a]))
		}
	}
	left := make(map[vrrp.Address]bool)
	for i, res := range k.table.Remove(gone) {
		if res.Err != nil {
			left[keys[i]] = true
			inst.log.Error("cannot remove an address: it may now be on two machines; trying again",
				"address", gone[i].Prefix, "error", res.Err)
		}
	}
	h.added = left
	if len(left) == 0 {
		delete(k.holds, inst)
		return
	}
	time.AfterFunc(removeRetry, func() {
		k.inbox.put(func() {
			if k.holds[inst] == h && !h.wanted {
				k.unwant(inst)
			}
		})
	})
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
			wanted = append(wanted, h.inst.addresses[a])
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
		case !res.Existed, k.ours(a):
			h.added[a] = true
			k.remember(h, a.Interface)
		case !h.added[a]:
			h.added[a] = false
			k.journal.foreign(wanted[i])
			h.inst.log.Warn("the address is on this host already; vipd did not add it and will not remove it", "address", wanted[i].Prefix)
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

// failedToAdd reports an address that could not be added, and has it tried
// again while it is wanted.
func (k *keeper) failedToAdd(h *hold, a vrrp.Address, err error) {
	if why := err.Error(); h.failed[a] != why {
		h.failed[a] = why
		h.inst.log.Error("cannot add an address", "address", a, "error", err)
	}
	k.report(h, vrrp.AddressReady{Epoch: h.epoch, Addrs: []vrrp.Address{a}, Err: err})
	if h.retrying {
		return
	}
	h.retrying = true
	delay := min(addRetryMin<<min(h.retries, 5), addRetryMax)
	h.retries++
	epoch := h.epoch
	time.AfterFunc(delay, func() { k.inbox.put(func() { k.retry(h, epoch) }) })
}

// retry puts the addresses that could not be added back in line.
func (k *keeper) retry(h *hold, epoch uint64) {
	if !h.wanted || h.epoch != epoch {
		return
	}
	h.retrying = false
	for _, a := range h.inst.order {
		if _, ok := h.failed[a]; ok {
			h.todo = append(h.todo, a)
		}
	}
	k.enqueue(h)
}

func (k *keeper) report(h *hold, ev vrrp.AddressReady) {
	h.inst.loop.post(func() { h.inst.loop.step(h.inst, time.Now(), ev) })
}

var _ addressTable = (*netif.Handle)(nil)
