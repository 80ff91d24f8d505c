package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vipd/arp"
	"vipd/config"
	"vipd/vrrp"
)

// A fakeListener hears what a test has it hear.
type fakeListener struct {
	index  int
	claims chan arp.Claim
	fail   chan error
	closed chan struct{}

	mu    sync.Mutex
	addrs []netip.Addr
	watch error // why it cannot be told what to listen for
}

func (l *fakeListener) Watch(addrs []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addrs = slices.Clone(addrs)
	return l.watch
}

func (l *fakeListener) Read() (arp.Claim, error) {
	select {
	case c := <-l.claims:
		return c, nil
	case err := <-l.fail:
		return arp.Claim{}, err
	case <-l.closed:
		return arp.Claim{}, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	close(l.closed)
	return nil
}

// watched returns what it listens for.
func (l *fakeListener) watched() []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addrs
}

// fakeListeners opens fake listeners.
type fakeListeners struct {
	mu     sync.Mutex
	opened []*fakeListener
	refuse error
	watch  error
}

func (ls *fakeListeners) open(index int) (claimListener, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.refuse != nil {
		return nil, ls.refuse
	}
	l := &fakeListener{index: index, claims: make(chan arp.Claim), fail: make(chan error), closed: make(chan struct{}), watch: ls.watch}
	ls.opened = append(ls.opened, l)
	return l, nil
}

func (ls *fakeListeners) set(refuse, watch error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.refuse, ls.watch = refuse, watch
}

// open returns the listeners that are not closed.
func (ls *fakeListeners) list() (out []*fakeListener) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.opened {
		select {
		case <-l.closed:
		default:
			out = append(out, l)
		}
	}
	return out
}

// A sentinelRig is a sentinel on fakes, and a host.
type sentinelRig struct {
	*ownerHost
	sentinel  *sentinel
	listeners *fakeListeners
}

func newSentinelRig(t *testing.T, cfgs ...config.Instance) *sentinelRig {
	t.Helper()
	ls := &fakeListeners{}
	r := &sentinelRig{ownerHost: newOwnerHost(t, newFakeKernel(), cfgs...), sentinel: newSentinel(quiet(), ls.open), listeners: ls}
	ctx, cancel := context.WithCancel(t.Context())
	go r.sentinel.run(ctx)
	end := r.end
	r.end = func() {
		cancel()
		<-r.sentinel.ended
		end()
		if open := ls.list(); len(open) > 0 {
			t.Errorf("at the end %d listeners are open", len(open))
		}
		time.Sleep(2 * sentinelPatience) // what would be tried again
	}
	return r
}

// instances returns the instances of all routers.
func (r *sentinelRig) instances() (out []*instance) {
	for _, o := range r.routers {
		out = append(out, o.inst)
	}
	return out
}

// follow has the sentinel listen on interfaces of these indices.
func (r *sentinelRig) follow(on map[string]int) {
	wanted := make(map[int]*guarded)
	for name, g := range guard(r.instances()) {
		if index, ok := on[name]; ok {
			wanted[index] = g
		}
	}
	r.sentinel.follow(wanted)
	synctest.Wait()
}

// only returns the only open listener.
func (r *sentinelRig) only(t *testing.T) *fakeListener {
	t.Helper()
	synctest.Wait()
	open := r.listeners.list()
	if len(open) != 1 {
		t.Fatalf("%d listeners are open, want 1", len(open))
	}
	return open[0]
}

var stranger = arp.MAC{2, 0, 0, 0, 0, 0x66}

// hear has a listener hear a claim of an address.
func (l *fakeListener) hear(ip string, mac arp.MAC) {
	l.claims <- arp.Claim{Addr: netip.MustParseAddr(ip), MAC: mac, At: time.Now()}
	synctest.Wait()
}

// rivals returns the hardware addresses and addresses of who contests a router.
func (r *ownerRouter) rivals() (out []vrrp.Rival) {
	r.ask(func(inst *instance) { out = inst.m.Snapshot().Rivals })
	return out
}

func TestAClaimReachesTheMasterOfTheAddressAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backup := ownerConfig("VI_3", "eth0", 3, time.Second, "192.0.2.30/24")
		backup.Priority, backup.StartMaster = 1, false
		r := newSentinelRig(t,
			ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "2001:db8::10/64"),
			ownerConfig("VI_2", "eth0", 2, time.Second, "192.0.2.20/24"),
			backup)
		defer r.end()
		for _, o := range r.routers {
			o.start()
		}
		time.Sleep(3 * time.Second)
		r.follow(map[string]int{"eth0": 7})
		l := r.only(t)
		var want []netip.Addr
		for _, ip := range []string{"192.0.2.10", "192.0.2.20", "192.0.2.30", "2001:db8::10"} {
			want = append(want, netip.MustParseAddr(ip))
		}
		if got := l.watched(); l.index != 7 || !slices.Equal(got, want) {
			t.Errorf("it listens on %d for %v, want %v", l.index, got, want)
		}
		l.hear("192.0.2.10", stranger)
		l.hear("192.0.2.30", stranger) // the master's, as it should be
		if got := r.routers[0].rivals(); len(got) != 1 || got[0].MAC != vrrp.MAC(stranger) || got[0].Address.IP != want[0] {
			t.Errorf("the master has the rivals %+v", got)
		}
		if got := r.routers[1].rivals(); len(got) != 0 {
			t.Errorf("the master of another address has the rivals %+v", got)
		}
		if got := r.routers[2]; got.state() != vrrp.Backup || len(got.rivals()) != 0 {
			t.Errorf("the backup is %s and has the rivals %+v", got.state(), got.rivals())
		}
	})
}

// TestAClaimReachesWhoHandsOver has the new master announce one of two addresses:
// the old one gives it up at once, and the other one later.
func TestAClaimReachesWhoHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "2001:db8::10/64")
		cfg.Handover = true
		r := newSentinelRig(t, cfg)
		defer r.end()
		o := r.routers[0]
		o.start()
		time.Sleep(3 * time.Second)
		r.follow(map[string]int{"eth0": 7})
		o.event(vrrp.Shutdown{})
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if !r.kernel.has("192.0.2.10") || !r.kernel.has("2001:db8::10") {
			t.Fatal("an address is gone before anybody else has it")
		}
		r.only(t).hear("192.0.2.10", stranger)
		if r.kernel.has("192.0.2.10") || !r.kernel.has("2001:db8::10") {
			t.Errorf("the announced one is there: %t, the other: %t", r.kernel.has("192.0.2.10"), r.kernel.has("2001:db8::10"))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r.kernel.has("2001:db8::10") {
			t.Error("it never ends")
		}
	})
}

func TestAFloodOfClaimsIsNotPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSentinelRig(t, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "192.0.2.11/24"))
		defer r.end()
		o := r.routers[0]
		o.start()
		time.Sleep(3 * time.Second)
		r.follow(map[string]int{"eth0": 7})
		l := r.only(t)
		passed := func(n int, f func(i int)) int {
			var before, after time.Time
			count := 0
			last := func() (at time.Time) {
				for _, rival := range o.rivals() {
					if rival.Last.After(at) {
						at = rival.Last
					}
				}
				return at
			}
			before = last()
			for i := range n {
				f(i)
				if after = last(); after.After(before) {
					before, count = after, count+1
				}
			}
			return count
		}
		if n := passed(1000, func(int) { time.Sleep(time.Millisecond); l.hear("192.0.2.10", stranger) }); n < 40 || n > 1000/int(claimPause/time.Millisecond)+1 {
			t.Errorf("of 1000 claims in a second %d were passed on", n)
		}
		// Another address, and another station, are not kept back for it.
		time.Sleep(time.Millisecond)
		l.hear("192.0.2.10", stranger)
		time.Sleep(time.Millisecond)
		if n := passed(1, func(int) { l.hear("192.0.2.11", stranger) }); n != 1 {
			t.Error("the first claim of another address was not passed on")
		}
		time.Sleep(time.Millisecond)
		if n := passed(1, func(int) { l.hear("192.0.2.10", arp.MAC{2, 9}) }); n != 1 {
			t.Error("the first claim of another station was not passed on")
		}
		// Whoever makes up stations needs no memory.
		for i := range 10 * claimsRemembered {
			l.hear("192.0.2.10", arp.MAC{2, 1, byte(i >> 16), byte(i >> 8), byte(i)})
		}
		if n := len(o.rivals()); n > 8 {
			t.Errorf("%d rivals are told apart", n)
		}
		if s := o.state(); s != vrrp.Master {
			t.Errorf("it is %s", s)
		}
	})
}

func TestAListenerThatFailsIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSentinelRig(t, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24"))
		defer r.end()
		o := r.routers[0]
		o.start()
		time.Sleep(3 * time.Second)
		r.follow(map[string]int{"eth0": 7})
		first := r.only(t)
		first.fail <- errors.New("network is down")
		synctest.Wait()
		if open := r.listeners.list(); len(open) != 0 {
			t.Fatalf("%d listeners are open right after it failed", len(open))
		}
		// It cannot be had at first.
		r.listeners.set(errors.New("no such device"), nil)
		time.Sleep(5 * sentinelRetry)
		r.listeners.set(nil, nil)
		time.Sleep(2 * sentinelPatience)
		second := r.only(t)
		second.hear("192.0.2.10", stranger)
		if n := len(o.rivals()); second == first || n != 1 {
			t.Errorf("what the next one hears makes %d rivals", n)
		}
	})
}

func TestAListenerThatCannotBeToldWhatToListenForIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSentinelRig(t, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24"))
		defer r.end()
		r.listeners.set(nil, errors.New("out of memory"))
		r.follow(map[string]int{"eth0": 7})
		if open := r.listeners.list(); len(open) != 0 {
			t.Errorf("%d listeners are open that hear nothing", len(open))
		}
		r.listeners.set(nil, nil)
		time.Sleep(2 * sentinelRetry)
		if got := r.only(t).watched(); len(got) != 1 {
			t.Errorf("it listens for %v", got)
		}
	})
}

func TestTheSentinelFollowsTheInterfacesAndTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSentinelRig(t,
			ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24"),
			ownerConfig("VI_2", "eth1", 2, time.Second, "192.0.2.20/24"))
		defer r.end()
		for _, o := range r.routers {
			o.start()
		}
		time.Sleep(3 * time.Second)
		r.follow(map[string]int{"eth0": 7, "eth1": 8})
		if n := len(r.listeners.list()); n != 2 {
			t.Fatalf("%d listeners are open, want 2", n)
		}
		// One is gone, and comes back as another.
		r.follow(map[string]int{"eth0": 7})
		stays := r.only(t)
		if stays.index != 7 {
			t.Errorf("it listens on %d", stays.index)
		}
		r.follow(map[string]int{"eth0": 7, "eth1": 9})
		var indices []int
		for _, l := range r.listeners.list() {
			indices = append(indices, l.index)
			if l.index == 9 {
				l.hear("192.0.2.20", stranger)
			}
		}
		slices.Sort(indices)
		if !slices.Equal(indices, []int{7, 9}) || len(r.routers[1].rivals()) != 1 {
			t.Errorf("it listens on %v, and the rivals are %v", indices, r.routers[1].rivals())
		}
		// An address more, by a reload: the same listener listens for it.
		o := r.routers[0]
		o.ask(func(inst *instance) {
			reload(r.ownerHost, inst, func(c *config.Instance) {
				c.Addresses = append(slices.Clone(c.Addresses), config.Address{Prefix: netip.MustParsePrefix("192.0.2.11/24"), Interface: "eth0"})
			})
			inst.loop().step(inst, time.Now(), vrrp.Reconfigure{Config: inst.machine})
		})
		synctest.Wait()
		r.follow(map[string]int{"eth0": 7})
		if l := r.only(t); l != stays || len(l.watched()) != 2 {
			t.Errorf("it listens for %v", l.watched())
		}
		time.Sleep(3 * time.Second)
		stays.hear("192.0.2.11", stranger)
		if got := o.rivals(); len(got) != 1 || got[0].Address.IP.String() != "192.0.2.11" {
			t.Errorf("the rivals are %+v", got)
		}
	})
}
