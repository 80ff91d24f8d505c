package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
	"vipd/vrrp/vrrptest"
)

// A fakeKernel stands in for the addresses of a host, with their lifetimes, on the
// clock of the bubble.
type fakeKernel struct {
	mu       sync.Mutex
	addrs    map[vrrp.Address]*presence
	removals map[vrrp.Address]netif.Removal
	given    []gift // in order
	calls    []time.Time
	stall    func() time.Duration  // for how long a renewal is held up before it is sent; nil: not
	refuse   error                 // why nothing is renewed
	stop     func([]netif.Address) // is called before addresses are added; nil: nothing is
	refused  map[string]error      // why an address cannot be added
	changed  func()                // is called after every change
}

// A presence is an address that is there.
type presence struct {
	netif.PresentAddress
	ends *time.Timer
}

// A gift is a lifetime that an address was given.
type gift struct {
	at       time.Time
	addr     vrrp.Address
	lifetime time.Duration // 0: forever
	renewal  bool
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{addrs: make(map[vrrp.Address]*presence), removals: make(map[vrrp.Address]netif.Removal), changed: func() {}}
}

// put has an address there that nobody of ours has added.
func (k *fakeKernel) put(prefix, iface string) {
	k.add(netif.Address{Prefix: netip.MustParsePrefix(prefix), Interface: iface}, 0)
}

func (k *fakeKernel) add(a netif.Address, protocol uint8) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := addressKey(a)
	if k.addrs[key] != nil {
		return false
	}
	k.addrs[key] = &presence{PresentAddress: netif.PresentAddress{Prefix: a.Prefix, Protocol: protocol, Created: time.Since(bubbleStart)}}
	k.live(key, a.ValidLifetime)
	go k.changed()
	return true
}

// live gives an address a lifetime. The caller holds the lock.
func (k *fakeKernel) live(key vrrp.Address, lifetime time.Duration) {
	a := k.addrs[key]
	if a.ends != nil {
		a.ends.Stop()
	}
	a.Updated, a.Valid = time.Since(bubbleStart), netif.Forever
	if lifetime == 0 {
		return
	}
	a.Valid = lifetime
	a.ends = time.AfterFunc(lifetime, func() { k.remove(key, netif.Removal{At: time.Now(), Expired: true}) })
}

func (k *fakeKernel) remove(key vrrp.Address, r netif.Removal) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.addrs[key]
	if a == nil {
		return false
	}
	if a.ends != nil {
		a.ends.Stop()
	}
	delete(k.addrs, key)
	k.removals[key] = r
	go k.changed()
	return true
}

// AddIf implements addressTable.
func (k *fakeKernel) AddIf(addrs []netif.Address, still func() bool) []netif.Result {
	k.mu.Lock()
	stop := k.stop
	k.mu.Unlock()
	if stop != nil {
		stop(addrs)
	}
	out := make([]netif.Result, len(addrs))
	for i, a := range addrs {
		k.mu.Lock()
		out[i].Err = k.refused[a.Prefix.Addr().String()]
		k.mu.Unlock()
		if !still() {
			out[i].Err = netif.ErrCalledOff
		}
		if out[i].Err != nil {
			continue
		}
		if out[i].Existed = !k.add(a, netif.Protocol); !out[i].Existed {
			k.note(a, false)
		}
	}
	return out
}

func (k *fakeKernel) note(a netif.Address, renewal bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.given = append(k.given, gift{time.Now(), addressKey(a), a.ValidLifetime, renewal})
}

// Remove implements addressTable.
func (k *fakeKernel) Remove(addrs []netif.Address) []netif.Result {
	for _, a := range addrs {
		k.remove(addressKey(a), netif.Removal{At: time.Now(), Port: 1})
	}
	return make([]netif.Result, len(addrs))
}

// RenewFunc implements addressTable.
func (k *fakeKernel) RenewFunc(addrs []netif.Address, still func() bool) []netif.Result {
	k.mu.Lock()
	stall := k.stall
	k.mu.Unlock()
	if stall != nil && len(addrs) > 0 {
		time.Sleep(stall())
	}
	out := make([]netif.Result, len(addrs))
	if len(addrs) > 0 && still != nil {
		k.mu.Lock()
		k.calls = append(k.calls, time.Now())
		k.mu.Unlock()
	}
	for i, a := range addrs {
		k.mu.Lock()
		there := k.addrs[addressKey(a)] != nil
		switch {
		case k.refuse != nil:
			out[i].Err = k.refuse
		case still != nil && !still():
			out[i].Err = netif.ErrCalledOff
		case !there:
			out[i].Err = netif.ErrNotPresent
		default:
			k.addrs[addressKey(a)].Protocol = netif.Protocol
			k.live(addressKey(a), a.ValidLifetime)
		}
		k.mu.Unlock()
		if out[i].Err == nil {
			k.note(a, true)
		}
	}
	return out
}

// deny has an address not be added, or with nil again.
func (k *fakeKernel) deny(ip string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused = map[string]error{ip: err}
}

// delay has every renewal held up for so long.
func (k *fakeKernel) delay(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stall = func() time.Duration { return d }
}

// refuseAll has no renewal succeed, or with nil all again.
func (k *fakeKernel) refuseAll(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = err
}

// forever has the addresses that are there outlast their lifetimes.
func (k *fakeKernel) forever() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.addrs {
		a.ends.Stop()
	}
}

// find is an addressFinder.
func (k *fakeKernel) find(a vrrp.Address) (netif.PresentAddress, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.addrs[a]
	if p == nil {
		return netif.PresentAddress{}, false
	}
	return p.PresentAddress, true
}

func (k *fakeKernel) has(ip string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for a := range k.addrs {
		if a.IP.String() == ip {
			return true
		}
	}
	return false
}

func (k *fakeKernel) removal(a vrrp.Address) (netif.Removal, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.removals[a]
	return r, ok
}

// gifts returns the lifetimes that an address was given, or all if ip is empty.
func (k *fakeKernel) gifts(ip string) (out []gift) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, g := range k.given {
		if ip == "" || g.addr.IP.String() == ip {
			out = append(out, g)
		}
	}
	return out
}

// A faultyPort is a port of a LAN whose sending can be made to fail.
type faultyPort struct {
	*vrrptest.Port
	mu   sync.Mutex
	fail error         // why nothing can be sent
	hang chan struct{} // sending does not return before it is closed
	said []time.Time   // when something was sent, other than priority 0
}

func (p *faultyPort) Send(ms []vrrpconn.Message) (int, error) {
	p.mu.Lock()
	fail, hang := p.fail, p.hang
	p.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if fail != nil {
		var errs vrrpconn.SendErrors
		for i := range ms {
			errs = append(errs, &vrrpconn.SendError{Index: i, Err: fail})
		}
		return 0, errs
	}
	p.mu.Lock()
	if ms[0].Payload[2] != vrrp.PriorityStop {
		p.said = append(p.said, time.Now())
	}
	p.mu.Unlock()
	return p.Port.Send(ms)
}

func (p *faultyPort) set(fail error, hang chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail, p.hang = fail, hang
}

// last returns when something was sent last before a time, and false if nothing
// was.
func (p *faultyPort) last(before time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, exact := slices.BinarySearchFunc(p.said, before, time.Time.Compare)
	if exact {
		i++
	}
	if i == 0 {
		return time.Time{}, false
	}
	return p.said[i-1], true
}

// An ownerHost is a host with the real loops, keeper and garper, on fakes. Each
// instance has an interface, a loop and a LAN to itself.
type ownerHost struct {
	kernel  *fakeKernel
	keeper  *keeper
	sender  *fakeSender
	routers []*ownerRouter
	log     *logged
	slept   atomic.Int64 // for how long it has been suspended
	end     func()
}

// An ownerRouter is one instance of an ownerHost.
type ownerRouter struct {
	*loop
	inst *instance
	lan  *vrrptest.LAN
	port *faultyPort
}

// ownerConfig is an owner's: it is master at once.
func ownerConfig(name, iface string, vrid uint8, interval time.Duration, addrs ...string) config.Instance {
	cfg := virtualConfig(vrrp.PriorityOwner, interval)
	cfg.Name, cfg.Interface, cfg.VRID, cfg.StartMaster = name, iface, vrid, true
	cfg.GARP = config.GARP{MasterRepeat: 1, LowerPrioRepeat: 1}
	cfg.Addresses = nil
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		if p.Addr().Is6() {
			cfg.Excluded = append(cfg.Excluded, config.Address{Prefix: p, Interface: iface})
		} else {
			cfg.Addresses = append(cfg.Addresses, config.Address{Prefix: p, Interface: iface})
		}
	}
	return cfg
}

func newOwnerHost(t *testing.T, kernel *fakeKernel, cfgs ...config.Instance) *ownerHost {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &ownerHost{kernel: kernel, sender: &fakeSender{}, log: &logged{}}
	log := slog.New(slog.NewTextHandler(h.log, nil))
	g := newGarper(log, func(string) (announceLink, bool) {
		return announceLink{index: 1, router: func() bool { return false }}, true
	},
		func(int) (frameSender, error) { return h.sender, nil },
		func(string) (time.Duration, time.Duration) { return 0, 0 })
	j := &journal{path: filepath.Join(t.TempDir(), "addresses.json"), log: log, ours: make(map[vrrp.Address]netip.Prefix)}
	h.keeper = newKeeper(log, kernel, j)
	h.keeper.asked = func() addressFinder { return kernel.find }
	all := config.Config{Instances: cfgs}
	crowded := all.UnleasedIPv6()
	for i, cfg := range cfgs {
		r := &ownerRouter{lan: vrrptest.NewLAN(uint64(i + 1))}
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		open := func(vrrpconn.Config) (transport, error) {
			fail, hang := error(nil), chan struct{}(nil)
			if r.port != nil {
				fail, hang = r.port.fail, r.port.hang
			}
			r.port = &faultyPort{Port: r.lan.Port(addr), fail: fail, hang: hang}
			return r.port, nil
		}
		r.loop = newLoop(cfg.Interface, log, newVirtualWaker(), open, h.keeper, g)
		r.loop.slept = func() time.Duration { return time.Duration(h.slept.Load()) }
		r.inst = newInstance(cfg, r.loop, log)
		r.inst.unleased = crowded
		r.loop.instances = []*instance{r.inst}
		h.routers = append(h.routers, r)
		go r.loop.run()
		r.post(func() {
			r.inst.setLink(linkView{usable: true, index: i + 1, mtu: 1500, source: addr, find: kernel.find, removal: kernel.removal})
		})
	}
	go h.keeper.run(ctx)
	go g.run(ctx)
	kernel.changed = func() {
		time.Sleep(time.Millisecond) // until the kernel's message was read
		for _, r := range h.routers {
			r.inst.post((*instance).reconcile)
		}
	}
	h.end = func() {
		for _, r := range h.routers {
			_ = r.waker.Close()
			r.loop.stop()
		}
		cancel()
		<-h.keeper.ended
		<-g.ended
		kernel.mu.Lock()
		for _, a := range kernel.addrs {
			if a.ends != nil {
				a.ends.Stop()
			}
		}
		kernel.mu.Unlock()
		time.Sleep(2 * time.Millisecond) // what the kernel has still to tell
		synctest.Wait()
	}
	return h
}

// start has one instance begin.
func (r *ownerRouter) start() {
	r.post(func() { r.step(r.inst, time.Now(), vrrp.Startup{}) })
	synctest.Wait()
}

// ask runs f in the loop and waits for it.
func (r *ownerRouter) ask(f func(*instance)) {
	done := make(chan struct{})
	r.post(func() { f(r.inst); close(done) })
	<-done
}

func (r *ownerRouter) state() (s vrrp.State) {
	r.ask(func(inst *instance) { s = inst.m.State() })
	return s
}

// lastReason returns why the state changed last.
func (r *ownerRouter) lastReason() (why vrrp.Reason) {
	r.ask(func(inst *instance) { why = inst.m.Snapshot().Reason })
	return why
}

// announced returns how often an address was announced.
func (h *ownerHost) announced(ip string) int {
	h.sender.mu.Lock()
	defer h.sender.mu.Unlock()
	n := 0
	for _, f := range h.sender.frames {
		if f.ip.String() == ip {
			n++
		}
	}
	return n
}

// logged is a log in memory.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// lines returns how many lines have all the words.
func (l *logged) lines(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.buf.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			n++
		}
	}
	return n
}

func (g gift) String() string {
	return fmt.Sprintf("%v at %v: %v", g.addr, g.at.Sub(bubbleStart), g.lifetime)
}
