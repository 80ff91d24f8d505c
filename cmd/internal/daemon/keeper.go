package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
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
	// addAgain is how soon it is looked again whether addresses may be added that an
	// instance was not alive enough for.
	addAgain = 50 * time.Millisecond
	// lookSoon is how soon it is looked whether addresses that were added are there.
	lookSoon = 50 * time.Millisecond
	// removeRetry is how soon an address is tried again that could not be
	// removed: until it is gone, two machines may answer for it.
	removeRetry = time.Second
)

// An addressTable is where addresses are put: the kernel's, or a test's.
type addressTable interface {
	// AddIf adds addresses, if still says so at the last moment.
	AddIf(addrs []netif.Address, still func() bool) []netif.Result
	Remove([]netif.Address) []netif.Result
	// RenewFunc gives addresses that are there their lifetimes anew, if still says
	// so at the last moment.
	RenewFunc(addrs []netif.Address, still func() bool) []netif.Result
}

// A keeper puts the addresses of masters in place and takes them away. It is
// the only one that changes addresses, and does so in a goroutine of its own:
// the kernel needs hundreds of milliseconds for thousands of addresses, which
// no protocol loop could wait for.
//
// What it is asked for is level-triggered. Of two requests for one instance
// only the later counts, and adding stops as soon as it is no longer wanted.
//
// It also renews the leases, see lease.go.
type keeper struct {
	log     *slog.Logger
	table   addressTable
	journal *journal
	inbox   *mailbox[func()]
	ended   chan struct{}
	// links returns the newest view of the interfaces, or nil if there is none.
	links func() *netif.Snapshot
	// asked returns what knows the addresses as the kernel has them now; nil: nobody
	// could ask it.
	asked func() addressFinder

	// Only the keeper's goroutine uses what follows.
	holds map[*instance]*hold
	queue []*hold // those with addresses still to add, in turn
	// While a new configuration is carried out nothing is removed, so that an
	// address which moves from one instance to another is never gone.
	moving bool
	round  time.Time // when leases are renewed next; zero if there are none
	// usable returns what reports whether the kernel answers for an address by now;
	// nil: it does as soon as it has it.
	usable  func() func(vrrp.Address) bool
	arrives []arriving // IPv6 addresses that the kernel has, but may not answer for
	alive   func()     // tells the watchdog that long work goes on
}

// An arriving is an address that was added and is not ready yet.
type arriving struct {
	h     *hold
	reign uint64
	addr  vrrp.Address
	since time.Time
}

// A hold is what the keeper knows of one instance.
type hold struct {
	inst     *instance
	settings *settings // those of the last request
	wanted   bool
	epoch    uint64                  // of the last request
	asked    time.Duration           // when that was decided, by the instance's clock
	todo     []vrrp.Address          // to be added
	added    map[vrrp.Address]placed // in place
	leaving  []vrrp.Address          // to be removed
	failed   map[vrrp.Address]string // and why
	on       map[string]int          // the index that the interface of that name had then
	had      map[vrrp.Address]bool   // were in place, and somebody has removed them
	foreign  map[vrrp.Address]bool   // are in place, and somebody else has put them there
	queued   bool
	first    bool // nothing of this request was added yet

	reign    uint64 // a number for each time that addresses are wanted after they were not
	fought   bool   // it was told of that somebody puts addresses there that it had
	retrying bool   // a retry is on its way
	waits    bool   // a look is on its way whether it may add by then
	aligned  time.Time
	retries  int
}

// placed is an address that is in place.
type placed struct {
	ours  bool // this keeper put it there
	as    netif.Address
	until time.Time // when its lease ends; zero: it has none
}

var _ addressHolder = (*keeper)(nil)

func newKeeper(log *slog.Logger, table addressTable, j *journal) *keeper {
	return &keeper{
		log: log, table: table, journal: j, inbox: newMailbox[func()](),
		ended: make(chan struct{}), holds: make(map[*instance]*hold),
		links: func() *netif.Snapshot { return nil }, asked: func() addressFinder { return nil }, alive: func() {},
	}
}

func (k *keeper) hold(inst *instance, decided time.Time, epoch uint64, addrs []vrrp.Address) {
	s, asked := inst.settings, inst.clock()-time.Since(decided)
	k.inbox.put(func() { k.want(inst, s, asked, epoch, addrs) })
}

func (k *keeper) release(inst *instance, addrs []vrrp.Address) {
	k.inbox.put(func() { k.unwant(inst, addrs) })
}

// lost says that addresses are not there any more, whoever has added what is.
func (k *keeper) lost(inst *instance, addrs []vrrp.Address) {
	k.inbox.put(func() {
		if h := k.holds[inst]; h != nil {
			for _, a := range addrs {
				if h.added[a].ours {
					h.had[a] = true
				}
				delete(h.added, a)
			}
		}
	})
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
			k.meanwhile()
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

// finish has f run in the keeper's goroutine, and waits for it, but not for ever.
func (k *keeper) finish(f func()) {
	done := make(chan struct{})
	k.inbox.put(func() {
		f()
		close(done)
	})
	select {
	case <-done:
	case <-time.After(stopTimeout):
	}
}

// run is the keeper's goroutine; it ends with the context.
func (k *keeper) run(ctx context.Context) {
	defer close(k.ended)
	var spent []func()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		spent = k.inbox.take(spent)
		for _, f := range spent {
			f()
		}
		k.renewIfDue()
		if len(k.arrives) > 0 {
			k.arrived(time.Now())
		}
		if len(k.queue) > 0 {
			k.work()
			continue
		}
		timer.Stop()
		switch {
		case len(k.arrives) > 0:
			// With many, each look costs something.
			timer.Reset(arrivalPoll + time.Duration(len(k.arrives))*arrivalPoll/50)
		case !k.round.IsZero():
			timer.Reset(time.Until(k.round))
		}
		select {
		case <-ctx.Done():
			return
		case <-k.inbox.waiting():
		case <-timer.C:
		}
	}
}

// want adds to what an instance holds.
func (k *keeper) want(inst *instance, s *settings, asked time.Duration, epoch uint64, addrs []vrrp.Address) {
	h := k.holds[inst]
	if h == nil {
		h = &hold{inst: inst, added: make(map[vrrp.Address]placed), failed: make(map[vrrp.Address]string), on: make(map[string]int)}
		h.had, h.foreign = make(map[vrrp.Address]bool), make(map[vrrp.Address]bool)
		k.holds[inst] = h
	}
	if !h.wanted {
		h.wanted, h.todo = true, nil
		h.reign++
		h.retries, h.retrying, h.fought = 0, false, false
		clear(h.failed)
		clear(h.had)
	}
	h.settings, h.asked, h.epoch, h.first = s, asked, epoch, true
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
	k.inherit(h)
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
	for i, res := range k.inChunks(gone, k.table.Remove) {
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
		h.inst.leased.Store(0)
	}
}

// inChunks does something with many addresses, and renews the leases of all others
// in time.
func (k *keeper) inChunks(addrs []netif.Address, do func([]netif.Address) []netif.Result) []netif.Result {
	var out []netif.Result
	for len(addrs) > 0 {
		n := min(len(addrs), chunk(addrs[0].Prefix.Addr()))
		out = append(out, do(addrs[:n])...)
		addrs = addrs[n:]
		if len(addrs) > 0 {
			k.meanwhile()
		}
	}
	return out
}

// meanwhile does, between two portions of long work, what cannot wait for its end.
func (k *keeper) meanwhile() {
	k.alive()
	k.renewIfDue()
}

// chunk is how many addresses of a family are dealt with before the keeper looks
// again for what else it should do: the kernel takes many times as long for IPv6.
func chunk(a netip.Addr) int {
	if a.Is6() {
		return addChunk / 8
	}
	return addChunk
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
				// As it is in the kernel, but for its lease, which was adjusted when
				// the other one found it there.
				p.until = q.until
				other.added[a] = p
				other.on[a.Interface] = h.on[a.Interface]
				k.reform(other.inst, other.settings)
				if p.until.IsZero() != (other.settings.leaseOf(a) == 0) {
					k.adjustLease(other, nil)
				}
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
	was := h.settings
	h.settings = s
	defer k.adjustLease(h, was)
	for a, p := range h.added {
		as, ok := s.addresses[a]
		if !ok || !p.ours || as == p.as || slices.Contains(h.leaving, a) {
			continue
		}
		k.alive()
		old, fresh := []netif.Address{k.where(h, p.as)}, []netif.Address{h.withLifetime(a, as, h.age())}
		before := time.Now()
		add := func(addrs []netif.Address) []netif.Result { return k.table.AddIf(addrs, h.mayAdd) }
		steps := []func([]netif.Address) []netif.Result{k.table.Remove, add}
		what := [][]netif.Address{old, fresh}
		if a.IP.Is4() && as.Prefix != p.as.Prefix {
			// Another address to the kernel: there is never none. Of IPv6 it has no
			// address twice, whatever the prefix length.
			slices.Reverse(steps)
			slices.Reverse(what)
		}
		for i, step := range steps {
			if err := step(what[i])[0].Err; err != nil {
				if !errors.Is(err, netif.ErrCalledOff) {
					h.settings.log.Error("cannot change an address", "address", as.Prefix, "error", err)
				}
				break // and do not lose what there is; one that is gone is missed, see reconcile
			}
			p := placed{ours: true, as: as}
			if lifetime := fresh[0].ValidLifetime; lifetime > 0 {
				p.until = before.Add(lifetime)
			}
			h.added[a] = p
		}
	}
	k.schedule(h)
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

// mayAdd reports whether it is so lately that the instance advertised, or decided to
// be master, that no other router can have taken over. A process that was stopped
// adds what it was about to before its loop has found out.
func (h *hold) mayAdd() bool {
	s, age := h.settings, h.age()
	if s.lease > 0 {
		_, ok := vrrp.LeaseLifetime(s.lease, s.cfg.AdvertInterval, age)
		return ok
	}
	return age <= time.Duration(max(s.cfg.DownTimerAdverts, 1))*s.cfg.AdvertInterval
}

// mayAdd reports whether all addresses of a batch may be added.
func mayAdd(batch []wish) bool {
	var last *hold
	for _, w := range batch {
		if w.h != last && !w.h.mayAdd() {
			return false
		}
		last = w.h
	}
	return true
}

// age returns how long ago the instance showed that it owns its addresses: the
// advertisement of a new master may not have got out, but the next may.
func (h *hold) age() time.Duration {
	now := h.inst.clock()
	return min(max(0, now-h.asked), h.inst.silenceAt(now))
}

// putOff has it looked again soon whether addresses may be added. Either the
// instance has advertised by then, or it has found out that it must not.
func (k *keeper) putOff(h *hold) {
	if h.waits {
		return
	}
	h.waits = true
	time.AfterFunc(addAgain, func() {
		k.inbox.put(func() {
			h.waits = false
			if h.wanted {
				k.enqueue(h)
			}
		})
	})
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
	most := addChunk
	if len(k.queue) > 0 && len(k.queue[0].todo) > 0 {
		most = chunk(k.queue[0].todo[0].IP)
	}
	for turns := len(k.queue); turns > 0 && len(batch) < most; turns-- {
		h := k.queue[0]
		k.queue[0] = nil
		k.queue = k.queue[1:]
		h.queued = false
		if !h.wanted {
			continue
		}
		if !h.mayAdd() {
			k.putOff(h)
			continue
		}
		n := min(most-len(batch), len(h.todo))
		if h.first && n > 0 {
			n, h.first, first = 1, false, true
		}
		age := h.age()
		for _, a := range h.todo[:n] {
			batch = append(batch, wish{h, a})
			wanted = append(wanted, h.withLifetime(a, h.settings.addresses[a], age))
		}
		h.todo = h.todo[n:]
		k.enqueue(h)
	}
	if len(batch) == 0 {
		return
	}
	before := time.Now()
	all := batch
	results := k.table.AddIf(wanted, func() bool { return mayAdd(all) })
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].h == batch[0].h {
			n++
		}
		k.added(batch[:n], wanted[:n], results[:n], before)
		batch, wanted, results = batch[n:], wanted[n:], results[n:]
	}
	if first {
		runtime.Gosched() // let them be announced
	}
}

// added takes in what became of addresses of one instance, and reports it.
func (k *keeper) added(batch []wish, wanted []netif.Address, results []netif.Result, at time.Time) {
	h := batch[0].h
	var ready []vrrp.Address
	took := false // addresses that were there and are ours
	var ours, foreign []netif.Address
	var find addressFinder // what is there already
	if slices.ContainsFunc(results, func(r netif.Result) bool { return r.Existed }) {
		find = k.present()
		k.takeBack(h, batch, wanted, results, find)
	}
	before := maps.Clone(h.foreign)
	for i, res := range results {
		a, as := batch[i].addr, wanted[i]
		lifetime := as.ValidLifetime
		as.ValidLifetime = 0
		if errors.Is(res.Err, netif.ErrCalledOff) {
			h.todo = append(h.todo, a)
			k.enqueue(h)
			continue
		}
		if res.Err != nil {
			k.failedToAdd(h, a, res.Err)
			continue
		}
		delete(h.failed, a)
		ready = append(ready, a)
		switch {
		case !res.Existed, k.ours(a, find), k.others(h, a, as):
			p := placed{ours: true, as: as}
			if lifetime > 0 {
				p.until = at.Add(lifetime)
			}
			h.added[a] = p
			ours = append(ours, as)
			delete(h.foreign, a)
			delete(h.had, a)
			k.remember(h, a.Interface)
			took = took || res.Existed
		case !h.added[a].ours:
			h.added[a] = placed{as: as}
			h.foreign[a] = true
			foreign = append(foreign, as)
			h.settings.log.Warn("the address is on this host already; vipd did not add it and will not remove it", "address", as.Prefix)
		}
	}
	if len(foreign) > 0 {
		k.journal.foreign(foreign)
	}
	k.journal.own(ours)
	if !maps.Equal(before, h.foreign) {
		foreign := maps.Clone(h.foreign)
		h.inst.post(func(inst *instance) { inst.foreign = foreign })
	}
	if took {
		k.adjustLease(h, nil) // their lifetimes are not those of now
	}
	k.schedule(h)
	ready = k.await(h, ready, at)
	if len(ready) > 0 {
		k.report(h, vrrp.AddressReady{Epoch: h.epoch, Addrs: ready})
	}
}

// takeBack makes addresses vipd's again that it had in place, that somebody has
// removed, and that are there all the same: a network manager that puts back what it
// takes for its own has added them for good, and they would stay with this host
// whoever is master. They become what vipd would have added. Addresses that were there
// before this router became master are left alone. What follows takes those that are
// vipd's for added.
func (k *keeper) takeBack(h *hold, batch []wish, wanted []netif.Address, results []netif.Result, find addressFinder) {
	for i, res := range results {
		a, as := batch[i].addr, wanted[i:i+1]
		if !res.Existed || !h.had[a] || k.others(h, a, as[0]) || k.ours(a, find) {
			continue
		}
		if p, ok := find(a); ok && a.IP.Is6() && p.Prefix.Bits() != as[0].Prefix.Bits() {
			// A renewal does not change that, and it would not be found again.
			other := as[0]
			other.Prefix = p.Prefix
			k.table.Remove([]netif.Address{other})
			results[i] = k.table.AddIf(as, h.mayAdd)[0]
		} else if results[i] = k.table.RenewFunc(as, h.mayAdd)[0]; errors.Is(results[i].Err, netif.ErrNotPresent) {
			results[i] = k.table.AddIf(as, h.mayAdd)[0] // gone once more
		}
		if r := results[i]; r.Err == nil && !r.Existed && !h.fought {
			h.fought = true
			h.settings.log.Warn("somebody has removed an address of this master and added it again; vipd takes it back", "address", as[0].Prefix)
		}
	}
}

// await keeps back the addresses that the kernel does not answer for yet, and
// returns the others. An IPv6 address, even one without duplicate address
// detection, is in use only when the kernel has found the time to enter it, which
// can be long after it has said yes; whoever hears it announced before asks in vain.
func (k *keeper) await(h *hold, addrs []vrrp.Address, at time.Time) (ready []vrrp.Address) {
	if k.usable == nil {
		return addrs
	}
	usable := k.usable()
	for _, a := range addrs {
		if a.IP.Is4() || usable(a) {
			ready = append(ready, a)
			continue
		}
		k.arrives = append(k.arrives, arriving{h, h.reign, a, at})
	}
	return ready
}

// arrivalPoll and arrivalTimeout are how often, and for how long, an address that
// was added is asked after.
const (
	arrivalPoll    = time.Millisecond
	arrivalTimeout = 500 * time.Millisecond
)

// arrived reports the addresses that have become usable. Those that do not are
// reported all the same in the end: the kernel has them.
func (k *keeper) arrived(now time.Time) {
	waiting, usable := k.arrives[:0], k.usable()
	ready := make(map[*hold][]vrrp.Address)
	for _, w := range k.arrives {
		switch {
		case !w.h.wanted || w.h.reign != w.reign:
		case usable(w.addr) || now.Sub(w.since) > arrivalTimeout:
			ready[w.h] = append(ready[w.h], w.addr)
		default:
			waiting = append(waiting, w)
		}
	}
	clear(k.arrives[len(waiting):])
	k.arrives = waiting
	for h, addrs := range ready {
		k.report(h, vrrp.AddressReady{Epoch: h.epoch, Addrs: addrs})
	}
}

// ours reports whether an address that was there already is vipd's own, from an
// attempt that seemed to have failed.
func (k *keeper) ours(a vrrp.Address, find addressFinder) bool {
	return kernelTells() && k.journal.owns(a, find)
}

// present returns what finds the addresses that are there now. The newest snapshot may
// be older than the kernel's answer that an address is there.
func (k *keeper) present() addressFinder {
	if find := k.asked(); find != nil {
		return find
	}
	if s := k.links(); s != nil {
		return finder(s)
	}
	return func(vrrp.Address) (netif.PresentAddress, bool) { return netif.PresentAddress{}, false }
}

// asks returns what asks the kernel for its addresses, on interfaces of those names. Of
// two with the same IP address it tells of the one that vipd has added.
func asks(handle *netif.Handle, link func(name string) (netif.Link, bool)) func() addressFinder {
	type key struct {
		index int
		ip    netip.Addr
	}
	return func() addressFinder {
		all, err := handle.Addresses()
		if err != nil {
			return nil
		}
		have := make(map[key]netif.PresentAddress, len(all))
		for _, p := range all {
			k := key{p.Index, p.Addr().WithZone("")}
			if old, ok := have[k]; !ok || old.Protocol != netif.Protocol {
				have[k] = p
			}
		}
		return func(a vrrp.Address) (netif.PresentAddress, bool) {
			l, ok := link(a.Interface)
			if !ok {
				return netif.PresentAddress{}, false
			}
			p, ok := have[key{l.Index, a.IP.WithZone("")}]
			return p, ok
		}
	}
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
	h.inst.post(func(inst *instance) {
		inst.loop().step(inst, time.Now(), ev)
		// One that is gone by now, as after a pause, may have been missed before it
		// counted, and nothing else need happen.
		inst.lookAgain(lookSoon)
	})
}

var _ addressTable = (*netif.Handle)(nil)
