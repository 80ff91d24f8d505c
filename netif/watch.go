package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// signalGap is how long after a change of addresses the signal for it comes,
	// with all changes of that time. While addresses are added, neither this
	// package nor its user should be busy with each of them.
	signalGap = 5 * time.Millisecond
	// retryGap is when a listing of the kernel's tables that failed is tried again.
	retryGap = 100 * time.Millisecond
	// watchReceiveBuffer holds the notifications of some 10,000 changes.
	watchReceiveBuffer = 8 << 20
)

// A Watcher follows the links and addresses of one network namespace.
//
// It is level-triggered: [Watcher.C] says that something has changed since the
// last time, and [Watcher.Snapshot] returns the newest state. That an address
// was deleted by somebody else shows by its absence from a snapshot, or, if it was
// made again since the last, by another time of creation; [Watcher.Removal] tells
// what is known of it.
type Watcher struct {
	c      chan struct{}
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned

	mu       sync.Mutex
	state    *state
	removals removalLog
	err      error // why the Watcher ended by itself

	// Of the goroutine that runs run:
	file     *os.File // the subscribed socket
	raw      syscall.RawConn
	dumper   *conn // a socket apart, for listings
	rbuf     []byte
	stale    bool // notifications were lost
	overruns int  // how often; for tests
}

// Watch begins to follow the network namespace of the calling thread. When it
// returns, the first snapshot is complete. The Watcher ends with ctx or with
// Close.
func Watch(ctx context.Context) (*Watcher, error) {
	return watch(ctx, watchReceiveBuffer)
}

func watch(ctx context.Context, receiveBuffer int) (_ *Watcher, err error) {
	dumper, err := newConn()
	if err != nil {
		return nil, fmt.Errorf("netif: watching: %w", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	fd, _, err := dialRoute(unix.SOCK_NONBLOCK, groups, receiveBuffer)
	if err != nil {
		_ = dumper.close()
		return nil, fmt.Errorf("netif: watching: %w", err)
	}
	w := &Watcher{
		c:      make(chan struct{}, 1),
		done:   make(chan struct{}),
		state:  newState(),
		file:   os.NewFile(uintptr(fd), "rtnetlink"),
		dumper: dumper,
		rbuf:   make([]byte, receiveOctets),
	}
	defer func() {
		if err != nil {
			w.release()
		}
	}()
	if w.raw, err = w.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("netif: watching: %w", err)
	}
	// The subscription is older than the listing, so nothing is missed; what is
	// both listed and notified is applied twice, which changes nothing in the end.
	if err := w.list(); err != nil {
		return nil, fmt.Errorf("netif: watching: %w", err)
	}
	ctx, w.cancel = context.WithCancel(ctx)
	// A deadline that has passed wakes the reader.
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	go func() {
		defer close(w.done)
		defer stop()
		defer w.release()
		err := w.run(ctx)
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		close(w.c)
	}()
	return w, nil
}

// C returns a channel on which a signal waits when the state has changed since
// the last signal was taken. It is closed when the Watcher has ended.
func (w *Watcher) C() <-chan struct{} { return w.c }

// Snapshot returns the newest state. It is cheap if nothing has changed; else it
// costs the copying of pointers to the addresses of the interfaces that have.
func (w *Watcher) Snapshot() *Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.snapshot()
}

// Err returns why the Watcher ended by itself, nil if it did not.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close ends the Watcher and waits until it has. Its last snapshot remains.
func (w *Watcher) Close() error {
	w.cancel()
	<-w.done
	return nil
}

func (w *Watcher) release() {
	_ = w.file.Close()
	_ = w.dumper.close()
}

// signal leaves one signal to be taken.
func (w *Watcher) signal() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// run reads notifications until ctx ends.
func (w *Watcher) run(ctx context.Context) error {
	var retry time.Time // when to list again, if w.stale
	for {
		var wake time.Time
		if w.stale {
			wake = retry
		}
		if err := w.file.SetReadDeadline(wake); err != nil {
			return fmt.Errorf("netif: watching: %w", err)
		}
		// After the deadline was set, for the end of ctx sets one too.
		if ctx.Err() != nil {
			return nil
		}
		what, err := w.read()
		if what == addressesChanged && err == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(signalGap):
			}
			what, err = w.readMore()
			what |= addressesChanged
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("netif: watching: %w", err)
		}
		if now := time.Now(); w.stale && !now.Before(retry) {
			// The queue is drained, which is when the kernel begins to fill it again.
			if err := w.list(); err != nil {
				retry = now.Add(retryGap)
			} else {
				w.stale = false
				what |= linksChanged
			}
		}
		if what != 0 {
			w.signal()
		}
	}
}

// read waits for notifications and applies all that wait.
func (w *Watcher) read() (what change, err error) {
	var fatal error
	err = w.raw.Read(func(fd uintptr) bool {
		var took bool
		what, took, fatal = w.drain(int(fd))
		return took || fatal != nil
	})
	if fatal != nil {
		return what, fatal
	}
	return what, err
}

// readMore applies all notifications that wait, and waits for none.
func (w *Watcher) readMore() (what change, err error) {
	var fatal error
	err = w.raw.Control(func(fd uintptr) { what, _, fatal = w.drain(int(fd)) })
	if fatal != nil {
		return what, fatal
	}
	return what, err
}

// drain applies all notifications that wait; took reports whether there were any.
func (w *Watcher) drain(fd int) (what change, took bool, fatal error) {
	for {
		n, _, flags, from, err := unix.Recvmsg(fd, w.rbuf, nil, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return what, took, nil
		case err == unix.ENOBUFS:
			// The queue was full and notifications are lost. What is left is still
			// read, to make room.
			w.stale, took = true, true
			w.overruns++
		case err != nil:
			return what, true, err
		case !fromKernel(from):
		case flags&unix.MSG_TRUNC != 0:
			w.stale, took = true, true
		default:
			took = true
			now := time.Now()
			w.mu.Lock()
			for m := range messages(w.rbuf[:n]) {
				w.noteRemoval(m, now)
				what |= w.state.apply(m)
			}
			w.mu.Unlock()
		}
	}
}

// list reads the kernel's tables afresh.
func (w *Watcher) list() error {
	fresh := newState()
	apply := func(m message) { fresh.apply(m) }
	err := w.dumper.dump(unix.RTM_GETLINK, linkRequest(""), func() { *fresh = *newState() }, apply)
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	links := fresh.links
	err = w.dumper.dump(unix.RTM_GETADDR, addressDump(), func() { *fresh = *newState(); fresh.links = links }, apply)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	w.mu.Lock()
	w.state = fresh
	w.mu.Unlock()
	return nil
}

// A change says what a notification changed.
type change uint8

const (
	linksChanged change = 1 << iota
	addressesChanged
)

// A state is the mutable original of snapshots.
type state struct {
	links map[int]Link
	addrs map[int]*addrTable
	snap  *Snapshot // of the present state; nil if none was made since it changed

	linksDirty bool         // links changed since the last snapshot
	addrsDirty map[int]bool // interfaces whose addresses did
	base       *Snapshot    // the last snapshot made
}

func newState() *state {
	return &state{links: make(map[int]Link), addrs: make(map[int]*addrTable), linksDirty: true, addrsDirty: make(map[int]bool)}
}

// An addrKey is what makes an address of an interface one of its own.
type addrKey struct{ prefix, peer netip.Prefix }

// An addrTable holds the addresses of one interface. An address keeps its slot
// while it exists, so that the order is kept and no change costs more than a
// look-up.
type addrTable struct {
	slots []*PresentAddress // nil where one was deleted
	byKey map[addrKey]int
}

// apply takes in one notification or one entry of a listing.
func (s *state) apply(m message) change {
	switch m.typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		index := 0
		if len(m.body) >= unix.SizeofIfInfomsg {
			index = int(int32(native.Uint32(m.body[4:])))
		}
		was, known := s.links[index]
		l, ok := parseLink(m.body, was)
		switch {
		case !ok:
			return 0
		case m.typ == unix.RTM_DELLINK:
			return s.removeLink(index)
		case known && l == was:
			return 0
		}
		s.links[index] = l
		s.linksDirty = true
		s.snap = nil
		return linksChanged
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, ok := parseAddress(m.body)
		switch {
		case !ok:
			return 0
		case m.typ == unix.RTM_DELADDR:
			return s.removeAddress(a)
		}
		return s.addAddress(a)
	}
	return 0
}

func (s *state) removeLink(index int) change {
	_, link := s.links[index]
	_, addrs := s.addrs[index]
	if !link && !addrs {
		return 0
	}
	delete(s.links, index)
	delete(s.addrs, index)
	s.linksDirty = true
	s.addrsDirty[index] = true
	s.snap = nil
	return linksChanged | addressesChanged
}

func (s *state) addAddress(a PresentAddress) change {
	t, ok := s.addrs[a.Index]
	if !ok {
		t = &addrTable{byKey: make(map[addrKey]int)}
		s.addrs[a.Index] = t
	}
	key := addrKey{a.Prefix, a.Peer}
	what := addressesChanged
	if i, ok := t.byKey[key]; ok {
		if *t.slots[i] == a {
			return 0
		}
		if t.slots[i].sameButLifetime(a) {
			what = 0 // the next snapshot has it, but it is no news
		}
		t.slots[i] = &a
	} else {
		t.byKey[key] = len(t.slots)
		t.slots = append(t.slots, &a)
	}
	s.addrsDirty[a.Index] = true
	s.snap = nil
	return what
}

// find returns what is known of an address that the kernel tells of, nil if it is
// not known.
func (s *state) find(a PresentAddress) *PresentAddress {
	if t, ok := s.addrs[a.Index]; ok {
		if i, ok := t.byKey[addrKey{a.Prefix, a.Peer}]; ok {
			return t.slots[i]
		}
	}
	return nil
}

func (s *state) removeAddress(a PresentAddress) change {
	t, ok := s.addrs[a.Index]
	if !ok {
		return 0
	}
	key := addrKey{a.Prefix, a.Peer}
	i, ok := t.byKey[key]
	if !ok {
		return 0
	}
	delete(t.byKey, key)
	t.slots[i] = nil
	if len(t.slots) > 16 && len(t.byKey) < len(t.slots)/2 {
		t.compact()
	}
	s.addrsDirty[a.Index] = true
	s.snap = nil
	return addressesChanged
}

// compact closes the gaps that deletions have left.
func (t *addrTable) compact() {
	t.slots = slices.DeleteFunc(t.slots, func(a *PresentAddress) bool { return a == nil })
	for i, a := range t.slots {
		t.byKey[addrKey{a.Prefix, a.Peer}] = i
	}
}

func (t *addrTable) list() *addrList {
	l := &addrList{list: make([]*PresentAddress, 0, len(t.byKey))}
	for _, a := range t.slots {
		if a != nil {
			l.list = append(l.list, a)
		}
	}
	return l
}

// snapshot returns a snapshot of the present state; what has not changed since
// the last is shared with it.
func (s *state) snapshot() *Snapshot {
	if s.snap != nil {
		return s.snap
	}
	n := &Snapshot{}
	if s.base != nil && !s.linksDirty {
		n.links, n.names = s.base.links, s.base.names
	} else {
		n.links = make(map[int]Link, len(s.links))
		n.names = make(map[string]int, len(s.links))
		for i, l := range s.links {
			if l.hasBase() {
				b, ok := s.links[l.Parent]
				l.baseDown = !ok || !b.ready()
			}
			n.links[i] = l
			n.names[l.Name] = i
		}
	}
	n.addrs = make(map[int]*addrList, len(s.addrs))
	for i, t := range s.addrs {
		if s.base != nil && !s.addrsDirty[i] {
			n.addrs[i] = s.base.addrs[i]
			continue
		}
		n.addrs[i] = t.list()
	}
	s.linksDirty = false
	clear(s.addrsDirty)
	s.base, s.snap = n, n
	return n
}
