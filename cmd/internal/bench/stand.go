package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// A stand is the network that one daemon is measured on: segments eth0, eth1, …
// with one or two routers, and a client that listens, and that speaks for a
// router of higher priority which does not exist.
type stand struct {
	rival     rival
	setup     setup
	routers   []*netiftest.Node
	client    *netiftest.Node
	inject    []*netiftest.Injector
	speeches  map[said][]outgoing
	processes []*process
}

// The client's imaginary router.
var senderMAC = [6]byte{2, 0, 0, 0, 9, 9}

const senderPriority = 200

// parkInterval is the longest that version 3 can say: a backup that was told it
// is silent for two minutes.
const parkInterval = vrrp.MaxIntervalV3

func routerMAC(router int) [6]byte { return [6]byte{2, 0, 0, 0, 1, byte(router)} }

func senderAddr(network int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(network), 0, 254}) }

// newStand builds the network.
func newStand(lab *netiftest.Lab, r rival, s setup, routers int) (*stand, error) {
	st := &stand{rival: r, setup: s, speeches: make(map[said][]outgoing)}
	var err error
	for i := range routers {
		n, err := lab.Node(fmt.Sprintf("%v-%d", r, i))
		if err != nil {
			return nil, err
		}
		st.routers = append(st.routers, n)
	}
	if st.client, err = lab.Node(fmt.Sprintf("%v-client", r)); err != nil {
		return nil, err
	}
	for i := range s.interfaces {
		name := fmt.Sprintf("eth%d", i)
		br, err := lab.Bridge(fmt.Sprintf("%v-%d", r, i))
		if err != nil {
			return nil, err
		}
		port := func(mac [6]byte, host byte) netiftest.Port {
			return netiftest.Port{MAC: mac[:], Addrs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, host}), 16)}}
		}
		for k, n := range st.routers {
			if err := lab.Connect(n, name, br, port(routerMAC(k), byte(1+k))); err != nil {
				return nil, err
			}
		}
		if err := lab.Connect(st.client, name, br, port([6]byte{2, 0, 0, 0, 2, 0}, 100)); err != nil {
			return nil, err
		}
		in, err := st.client.Injector(name)
		if err != nil {
			return nil, err
		}
		st.inject = append(st.inject, in)
	}
	return st, nil
}

// stands builds one stand for each rival in a lab of their own.
func stands(ctx context.Context, s setup, routers int) (*netiftest.Lab, [2]*stand, error) {
	var both [2]*stand
	lab, err := netiftest.New(ctx)
	if err != nil {
		return nil, both, err
	}
	for _, r := range []rival{keepalived, vipd} {
		if both[r], err = newStand(lab, r, s, routers); err != nil {
			return nil, both, errors.Join(err, lab.Close())
		}
	}
	return lab, both, nil
}

// A said is an advertisement of the imaginary routers.
type said struct {
	priority uint8
	interval time.Duration
}

// An outgoing frame, and the segment it is for.
type outgoing struct {
	network int
	frame   []byte
}

// speech returns the imaginary routers' advertisements, one for every virtual
// router. They are built once, so that sending them is as quick as can be.
func (st *stand) speech(what said) ([]outgoing, error) {
	if list, ok := st.speeches[what]; ok {
		return list, nil
	}
	var list []outgoing
	for v := 1; v <= st.setup.vrids; v++ {
		for i := range st.setup.interfaces {
			f, err := advertFrame(senderMAC, senderAddr(i), &vrrp.Advertisement{
				Version: vrrp.V3, VRID: uint8(v), Priority: what.priority, Interval: what.interval, Addrs: st.setup.advertised(i, v),
			})
			if err != nil {
				return nil, err
			}
			list = append(list, outgoing{i, f})
		}
	}
	st.speeches[what] = list
	return list, nil
}

// say sends an advertisement of the imaginary routers for every virtual router.
func (st *stand) say(priority uint8, interval time.Duration) error {
	list, err := st.speech(said{priority, interval})
	if err != nil {
		return err
	}
	return st.send(list)
}

func (st *stand) send(list []outgoing) error {
	for _, m := range list {
		if err := st.inject[m.network].Send(m.frame); err != nil {
			return err
		}
	}
	return nil
}

// park makes the daemon a backup that does nothing for two minutes.
func (st *stand) park() error { return st.say(senderPriority, parkInterval) }

// startParked starts the daemon on the first router, waits until it is master
// of everything, and parks it.
func (b *bench) startParked(ctx context.Context, st *stand) error {
	w, err := st.watch()
	if err != nil {
		return err
	}
	defer w.close()
	p, err := b.launch(ctx, st.routers[0], st.rival, st.setup)
	if err != nil {
		return err
	}
	st.processes = append(st.processes, p)
	if err := w.everyRouter(ctx, masterDown(st.setup.interval, st.setup.priority)+10*time.Second, advert); err != nil {
		return fmt.Errorf("starting %v: %w; it said: %s", st.rival, err, p.tail())
	}
	// Adding many addresses takes a while; to the end of it a daemon may be deaf.
	if st.setup.vips > 1 {
		if err := sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	if err := st.park(); err != nil {
		return err
	}
	return st.cleared(ctx)
}

// cleared waits until the first router holds no virtual address any more:
// removing thousands takes a while, and is not to reach into what follows.
func (st *stand) cleared(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		addrs, err := st.routers[0].Addrs("eth0")
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // addresses change: not done yet
			return err
		}
		addrs = slices.DeleteFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
		if err == nil && len(addrs) == 1 {
			return sleep(ctx, 50*time.Millisecond)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%v still holds %d addresses: %w", st.rival, len(addrs), err)
		}
	}
}

// startBothParked does it for both stands at once.
func (b *bench) startBothParked(ctx context.Context, both [2]*stand) error {
	var errs [2]error
	var wg sync.WaitGroup
	for r, st := range both {
		wg.Go(func() { errs[r] = b.startParked(ctx, st) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// How often a recording is looked at for what is waited for.
const (
	pollRarely = 20 * time.Millisecond
	pollBusy   = 50 * time.Millisecond // where there are thousands of frames
)

// until looks at the recording now and then, until done says so.
func (w *watch) until(ctx context.Context, timeout, poll time.Duration, done func(*tap) bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		all := true
		for _, t := range w.taps {
			if err := t.drain(); err != nil {
				return err
			}
			all = done(t) && all
		}
		if all {
			return nil
		}
		if err := sleep(ctx, poll); err != nil {
			return err
		}
	}
}

// wait waits for a frame on the first segment.
func (w *watch) wait(ctx context.Context, timeout time.Duration, what string, match func(sighting) bool) error {
	err := w.until(ctx, timeout, pollRarely, func(t *tap) bool { return t != w.taps[0] || slices.ContainsFunc(t.seen, match) })
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

// everyRouter waits until every virtual router has been heard of from the first
// router, by advertisements or by announcements.
func (w *watch) everyRouter(ctx context.Context, timeout time.Duration, k kind) error {
	want := w.st.setup.vrids
	if k == announcement {
		want *= w.st.setup.vips
	}
	type key struct {
		vrid uint8
		addr netip.Addr
	}
	heard, next := make([]map[key]bool, len(w.taps)), make([]int, len(w.taps))
	err := w.until(ctx, timeout, pollBusy, func(t *tap) bool {
		if heard[t.on] == nil {
			heard[t.on] = make(map[key]bool)
		}
		for _, s := range t.seen[next[t.on]:] {
			if from(0, k)(s) {
				heard[t.on][key{s.vrid, s.address}] = true
			}
		}
		next[t.on] = len(t.seen)
		return len(heard[t.on]) == want
	})
	if err != nil {
		return fmt.Errorf("%d of %d heard on eth0: %w", len(heard[0]), want, err)
	}
	return nil
}

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// from selects what a router sent.
func from(router int, k kind) func(sighting) bool {
	return func(s sighting) bool { return s.kind == k && s.from == routerMAC(router) }
}

// times returns the times of those that match.
func times(seen []sighting, match func(sighting) bool) []time.Time {
	var at []time.Time
	for _, s := range seen {
		if match(s) {
			at = append(at, s.at)
		}
	}
	return at
}
