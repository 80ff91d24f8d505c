package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// slack is by how much a lease of more than a second may outlast its length, from
// the last advertisement on.
const slack = 60 * time.Millisecond

// overlong returns the first lifetime that an address was given which ends too long
// after the last advertisement before, "" if there is none.
func (r *ownerRouter) overlong(gifts []gift) string {
	length, interval := r.inst.shared().lease, r.inst.shared().cfg.AdvertInterval
	for _, g := range gifts {
		said, ok := r.port.last(g.at)
		end := g.at.Add(g.lifetime)
		limit := length + slack
		if length == time.Second {
			limit += interval + max(interval/2, 200*time.Millisecond)
		}
		switch {
		case !ok:
			return fmt.Sprintf("%v: before any advertisement", g)
		case g.lifetime <= 0 || g.lifetime%time.Second != 0:
			return fmt.Sprintf("%v: not a number of seconds", g)
		case end.After(said.Add(limit)):
			return fmt.Sprintf("%v: %v after the last advertisement, of a lease of %v", g, end.Sub(said), length)
		}
	}
	return ""
}

func TestALeaseLastsWhileTheRouterAdvertisesAndNoLonger(t *testing.T) {
	for _, tt := range []struct {
		version  vrrp.Version
		interval time.Duration
		adverts  int
		length   time.Duration
	}{
		{vrrp.V3, 10 * time.Millisecond, 3, time.Second},
		{vrrp.V3, 100 * time.Millisecond, 3, time.Second},
		{vrrp.V3, 450 * time.Millisecond, 3, time.Second},
		{vrrp.V3, 620 * time.Millisecond, 3, time.Second},
		{vrrp.V3, 700 * time.Millisecond, 3, 2 * time.Second},
		{vrrp.V2, time.Second, 3, 3 * time.Second},
		{vrrp.V3, time.Second, 3, 3 * time.Second},
		{vrrp.V3, 1210 * time.Millisecond, 3, 3 * time.Second},
		{vrrp.V3, 1670 * time.Millisecond, 2, 3 * time.Second},
		{vrrp.V3, 2500 * time.Millisecond, 3, 7 * time.Second},
		{vrrp.V2, 10 * time.Second, 3, 30 * time.Second},
		{vrrp.V3, 40 * time.Second, 3, 120 * time.Second},
	} {
		t.Run(fmt.Sprintf("version %d every %v, %d adverts", tt.version, tt.interval, tt.adverts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kernel := newFakeKernel()
				cfg := ownerConfig("VI_1", "eth0", 1, tt.interval, "192.0.2.10/24", "2001:db8::10/64")
				cfg.Version, cfg.DownTimerAdverts = tt.version, tt.adverts
				h := newOwnerHost(t, kernel, cfg)
				defer h.end()
				r := h.routers[0]
				r.start()
				if got := r.inst.shared().lease; got != tt.length {
					t.Errorf("the lease is %v, want %v", got, tt.length)
				}
				until := 5*tt.length + 10*tt.interval
				time.Sleep(until + 137*time.Millisecond)
				synctest.Wait()
				if why := r.lastReason(); r.state() != vrrp.Master || why.Kind != vrrp.ReasonOwner {
					t.Fatalf("it is %s: %s", r.state(), why)
				}
				for _, ip := range []string{"192.0.2.10", "2001:db8::10"} {
					gifts := kernel.gifts(ip)
					if gifts[0].renewal || gifts[0].lifetime != tt.length {
						t.Errorf("the first lifetime of %s: %v, want %v", ip, gifts[0], tt.length)
					}
					if len(gifts) < 3 {
						t.Errorf("%s had %d lifetimes within %v", ip, len(gifts), until)
					}
				}
				// The loop hangs.
				hang := make(chan struct{})
				r.port.set(nil, hang)
				time.Sleep(10*tt.length + 10*tt.interval)
				synctest.Wait()
				if long := r.overlong(kernel.gifts("")); long != "" {
					t.Error(long)
				}
				if kernel.has("192.0.2.10") || kernel.has("2001:db8::10") {
					t.Error("an address has outlived the advertisements")
				}
				// It goes on: others may be master by now.
				before := len(kernel.gifts(""))
				close(hang)
				r.port.set(nil, nil)
				synctest.Wait()
				if s := r.state(); s != vrrp.Backup {
					t.Errorf("after it hung it is %s", s)
				}
				if n := len(kernel.gifts("")); n != before {
					t.Errorf("after it hung it gave addresses %d lifetimes without having listened", n-before)
				}
				time.Sleep(3*tt.interval + 2*time.Second)
				synctest.Wait()
				if s := r.state(); s != vrrp.Master || !kernel.has("192.0.2.10") {
					t.Errorf("after it has listened it is %s", s)
				}
			})
		})
	}
}

func TestAllLeasesAreRenewedInOneRoundRightAfterAnAdvertisement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		h := newOwnerHost(t, kernel,
			ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "192.0.2.11/24"),
			ownerConfig("VI_2", "eth1", 2, time.Second, "192.0.2.20/24"),
			ownerConfig("VI_3", "eth2", 3, 3*time.Second, "192.0.2.30/24"))
		defer h.end()
		for _, r := range h.routers {
			r.start()
			time.Sleep(370 * time.Millisecond) // another phase
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, at := range kernel.calls[1:] {
			if gap := at.Sub(kernel.calls[i]); gap < 500*time.Millisecond {
				t.Errorf("two rounds at %v, %v apart", at.Sub(bubbleStart), gap)
			}
		}
		for i, r := range h.routers {
			ip := r.inst.shared().order[0].IP.String()
			if long := r.overlong(kernel.gifts(ip)); long != "" {
				t.Error(long)
			}
			for _, g := range kernel.gifts(ip) {
				said, _ := h.routers[0].port.last(g.at)
				if g.renewal && g.at.Sub(said) > 2*roundDelay {
					t.Errorf("%v: renewed %v after the advertisement that rounds go by", g, g.at.Sub(said))
				}
				if g.renewal && i == 0 && g.lifetime != r.inst.shared().lease {
					t.Errorf("%v: not the whole lease, right after an advertisement", g)
				}
				// The second advertises as often, and so together with the first
				// before long.
				if g.renewal && i == 1 && g.at.Sub(bubbleStart) > 5*time.Second && g.lifetime != r.inst.shared().lease {
					t.Errorf("%v: not the whole lease, for one that could advertise together with the others", g)
				}
			}
			if why := r.lastReason(); why.Kind != vrrp.ReasonOwner {
				t.Errorf("%s: %s", ip, why)
			}
		}
	})
}

func TestNobodyButWhoAdvertisesIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		unicast := ownerConfig("VI_3", "eth2", 3, time.Second, "192.0.2.30/24")
		unicast.Peers = []config.Peer{{Addr: netip.MustParseAddr("192.0.2.99")}}
		h := newOwnerHost(t, kernel,
			ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24"),
			ownerConfig("VI_2", "eth1", 2, time.Second, "192.0.2.20/24"),
			unicast)
		defer h.end()
		for _, r := range h.routers {
			r.start()
		}
		time.Sleep(10500 * time.Millisecond)
		h.routers[1].port.set(unix.ENOBUFS, nil)
		h.routers[2].port.set(unix.EHOSTUNREACH, nil)
		since := time.Now()
		time.Sleep(3700 * time.Millisecond)
		synctest.Wait()
		if !kernel.has("192.0.2.10") || !kernel.has("192.0.2.30") {
			t.Error("an address of a router that advertises is gone")
		}
		if kernel.has("192.0.2.20") {
			t.Error("an address of a router whose advertisements do not get out is still there")
		}
		for _, g := range kernel.gifts("192.0.2.20") {
			// A new master whose first advertisement fails may try again.
			if said, _ := h.routers[1].port.last(since); g.renewal && g.at.Sub(said) > 1500*time.Millisecond {
				t.Errorf("%v: %v after its last advertisement", g, g.at.Sub(said))
			}
		}
		if why := h.routers[1].lastReason(); why.Kind != vrrp.ReasonLeaseExpired && why.Kind != vrrp.ReasonFault {
			t.Errorf("what cannot advertise: %s", why)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, i := range []int{0, 2} {
			if why := h.routers[i].lastReason(); why.Kind != vrrp.ReasonOwner {
				t.Errorf("router %d: %s", i, why)
			}
		}
		if n := len(kernel.gifts("192.0.2.30")); n < 30 {
			t.Errorf("the address whose peer is unreachable was renewed %d times", n)
		}
	})
}

// TestWhoCannotAdvertiseLeavesTheElectionForAWhile has nothing get out for some
// minutes. The addresses are taken from whoever has them once every half a minute
// at most, and never for long.
func TestWhoCannotAdvertiseLeavesTheElectionForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		h := newOwnerHost(t, kernel, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24"))
		defer h.end()
		r := h.routers[0]
		r.start()
		time.Sleep(10500 * time.Millisecond)
		r.port.set(unix.EPERM, nil)
		faulty := 0
		const during = 300
		owns := 0
		for range during {
			time.Sleep(time.Second)
			synctest.Wait()
			switch r.state() {
			case vrrp.FaultState:
				faulty++
				var text string
				r.ask(func(inst *instance) { text = inst.m.Snapshot().Faults[0].String() })
				if want := "advertisements cannot be sent on eth0 (" + unix.EPERM.Error(); !strings.Contains(text, want) {
					t.Fatalf("the fault is %q, want %q in it", text, want)
				}
			case vrrp.Master:
				owns++
			}
		}
		if faulty < during*7/10 || owns > during/6 {
			t.Errorf("of %d s without advertisements it was in fault for %d and master for %d", during, faulty, owns)
		}
		masters := uint64(0)
		r.ask(func(inst *instance) { masters = inst.counters.becameMaster })
		if masters < 4 || masters > 2+during/30 {
			t.Errorf("it became master %d times", masters)
		}
		r.port.set(nil, nil)
		time.Sleep(muteRetryMax + 5*time.Second)
		synctest.Wait()
		if s := r.state(); s != vrrp.Master || !kernel.has("192.0.2.10") {
			t.Errorf("when advertisements can be sent again it is %s", s)
		}
	})
}

func TestARenewalThatIsHeldUpOnItsWayIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		h := newOwnerHost(t, kernel, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24"))
		defer h.end()
		r := h.routers[0]
		r.start()
		time.Sleep(10500 * time.Millisecond)
		before := len(kernel.gifts(""))
		kernel.delay(renewalTimeout + 10*time.Millisecond)
		time.Sleep(2800 * time.Millisecond)
		synctest.Wait()
		if n := len(kernel.gifts("")); n != before {
			t.Errorf("it was renewed %d times", n-before)
		}
		if kernel.has("192.0.2.10") || r.state() != vrrp.Backup {
			t.Errorf("it is %s and has its address: %t", r.state(), kernel.has("192.0.2.10"))
		}
	})
}

func TestAddressesThatWereThereBeforeAreNeverLeased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		kernel.put("192.0.2.10/24", "eth0")
		kernel.put("2001:db8::10/64", "eth0")
		h := newOwnerHost(t, kernel, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64"))
		defer h.end()
		r := h.routers[0]
		r.start()
		time.Sleep(time.Minute)
		r.ask(func(inst *instance) {
			reload(h, inst, func(c *config.Instance) { c.VIPLease = config.Lease{Mode: config.LeaseOff} })
		})
		time.Sleep(time.Minute)
		r.ask(func(inst *instance) { reload(h, inst, func(c *config.Instance) { c.VIPLease = config.Lease{} }) })
		time.Sleep(time.Minute)
		h.keeper.keepForGood()
		r.event(vrrp.Shutdown{})
		time.Sleep(time.Second)
		synctest.Wait()
		if gifts := append(kernel.gifts("192.0.2.10"), kernel.gifts("2001:db8::10")...); len(gifts) > 0 {
			t.Errorf("the host's own addresses were given %v", gifts)
		}
		if len(kernel.gifts("192.0.2.11")) == 0 || !kernel.has("192.0.2.10") || !kernel.has("2001:db8::10") || kernel.has("192.0.2.11") {
			t.Error("at the end the host has not exactly its own addresses")
		}
	})
}

func (r *ownerRouter) event(ev vrrp.Event) {
	r.post(func() { r.step(r.inst, time.Now(), ev) })
	synctest.Wait()
}

// reload gives an instance new settings as a reload does. It is to be called in
// the goroutine of its loop.
func reload(h *ownerHost, inst *instance, edit func(*config.Instance)) {
	cfg := inst.cfg
	edit(&cfg)
	s := newSettings(cfg, inst.log)
	s.unleased = (&config.Config{Instances: []config.Instance{cfg}}).UnleasedIPv6()
	inst.adopt(s)
	h.keeper.update(inst, s)
}

func TestAReloadTurnsLeasesOffAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		h := newOwnerHost(t, kernel, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "2001:db8::10/64"))
		defer h.end()
		r := h.routers[0]
		r.start()
		last := func(ip string) gift {
			return slices.MaxFunc(kernel.gifts(ip), func(a, b gift) int { return a.at.Compare(b.at) })
		}
		for _, tt := range []struct {
			name  string
			lease config.Lease
			// After some time the last lifetime is this.
			want time.Duration
			// And so many were given meanwhile, per address.
			least, most int
		}{
			{"off", config.Lease{Mode: config.LeaseOff}, 0, 1, 1},
			{"off again", config.Lease{Mode: config.LeaseOff}, 0, 0, 0},
			{"on", config.Lease{}, 3 * time.Second, 10, 100},
			{"longer", config.Lease{Mode: config.LeaseFixed, Length: 20 * time.Second}, 20 * time.Second, 5, 100},
			{"off from longer", config.Lease{Mode: config.LeaseOff}, 0, 1, 1},
			{"on again", config.Lease{}, 3 * time.Second, 10, 100},
		} {
			time.Sleep(61300 * time.Millisecond)
			before := len(kernel.gifts("192.0.2.10"))
			r.ask(func(inst *instance) { reload(h, inst, func(c *config.Instance) { c.VIPLease = tt.lease }) })
			synctest.Wait()
			for _, ip := range []string{"192.0.2.10", "2001:db8::10"} {
				if g := last(ip); (g.lifetime == 0) != (tt.want == 0) || tt.least > 0 && g.at != time.Now() {
					t.Errorf("%s: right after it, %v", tt.name, g)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			n := len(kernel.gifts("192.0.2.10")) - before
			if n < tt.least || n > tt.most {
				t.Errorf("%s: %d lifetimes in a minute, want %d to %d", tt.name, n, tt.least, tt.most)
			}
			if g := last("192.0.2.10"); g.lifetime > tt.want || g.lifetime < tt.want-time.Second {
				t.Errorf("%s: a minute later %v, want %v", tt.name, g, tt.want)
			}
			if why := r.lastReason(); why.Kind != vrrp.ReasonOwner {
				t.Fatalf("%s: %s", tt.name, why)
			}
		}
	})
}

// TestALeaseThatIsTurnedOnIsOnAlthoughTheFirstAttemptWasHeldUp has a reload give
// permanent addresses a lease on a host that is busy just then.
func TestALeaseThatIsTurnedOnIsOnAlthoughTheFirstAttemptWasHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		cfg := ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "2001:db8::10/64")
		cfg.VIPLease = config.Lease{Mode: config.LeaseOff}
		h := newOwnerHost(t, kernel, cfg)
		defer h.end()
		r := h.routers[0]
		r.start()
		time.Sleep(10300 * time.Millisecond)
		kernel.delay(renewalTimeout + time.Millisecond)
		r.ask(func(inst *instance) { reload(h, inst, func(c *config.Instance) { c.VIPLease = config.Lease{} }) })
		time.Sleep(time.Second)
		kernel.delay(0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, ip := range []string{"192.0.2.10", "2001:db8::10"} {
			if n := len(kernel.gifts(ip)); n < 5 {
				t.Errorf("%s was given a lifetime %d times", ip, n)
			}
		}
	})
}

func TestIPv6IsRenewedOnceInHalfALeaseAndNotAtAllAboveAHundred(t *testing.T) {
	for _, tt := range []struct {
		n      int
		leased bool
	}{{100, true}, {101, false}} {
		t.Run(fmt.Sprintf("%d addresses", tt.n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kernel := newFakeKernel()
				addrs := []string{"192.0.2.10/24"}
				for i := range tt.n {
					addrs = append(addrs, fmt.Sprintf("2001:db8::%x/64", i+1))
				}
				h := newOwnerHost(t, kernel, ownerConfig("VI_1", "eth0", 1, 10*time.Second, addrs...))
				defer h.end()
				r := h.routers[0]
				r.start()
				lease := r.inst.shared().lease
				const during = 10 * time.Minute
				time.Sleep(during)
				synctest.Wait()
				gifts := kernel.gifts("2001:db8::1")
				switch {
				case !tt.leased && (len(gifts) != 1 || gifts[0].lifetime != 0):
					t.Errorf("it was given %v", gifts)
				case tt.leased && len(gifts) < int(during/lease):
					t.Errorf("it was given %d lifetimes in %v, with a lease of %v", len(gifts), during, lease)
				case tt.leased:
					for i := range gifts[1:] {
						if gap := gifts[i+1].at.Sub(gifts[i].at); gap < lease/2 {
							t.Errorf("two renewals are %v apart, with a lease of %v", gap, lease)
						}
					}
				}
				if n := len(kernel.gifts("192.0.2.10")); n < 20 {
					t.Errorf("that of IPv4 was given %d lifetimes", n)
				}
				if !kernel.has("2001:db8::1") || !kernel.has(fmt.Sprintf("2001:db8::%x", tt.n)) {
					t.Error("an address is gone")
				}
			})
		})
	}
}

func TestWhatIsKeptForGoodHasNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		h := newOwnerHost(t, kernel,
			ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "2001:db8::10/64"),
			ownerConfig("VI_2", "eth1", 2, 200*time.Millisecond, "192.0.2.20/24"))
		for _, r := range h.routers {
			r.start()
		}
		time.Sleep(10 * time.Second)
		h.keeper.keepForGood()
		h.end()
		for _, ip := range []string{"192.0.2.10", "2001:db8::10", "192.0.2.20"} {
			gifts := kernel.gifts(ip)
			if g := gifts[len(gifts)-1]; g.lifetime != 0 || !kernel.has(ip) {
				t.Errorf("%s: at last %v, and it is there: %t", ip, g, kernel.has(ip))
			}
		}
	})
}

// TestRoundsAreNeverTooFarApart runs the keeper for an hour of a machine that is a
// little late with everything, or has so much to do that every advertisement may be
// late by as much as others forgive. No lease may end that is renewed.
func TestRoundsAreNeverTooFarApart(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for n := range 24 {
		interval := []time.Duration{10, 50, 100, 200, 333, 490, 500, 510, 620, 700, 999, 1000, 1010, 1210, 1500, 1670, 2000, 3000, 7000, 40000}[rng.IntN(20)] * time.Millisecond
		version := vrrp.Version(2 + rng.IntN(2))
		if version == vrrp.V2 {
			interval = max(interval.Truncate(time.Second), time.Second)
		}
		adverts, priority := 1+rng.IntN(4), uint8(1+rng.IntN(254))
		seed := rng.Uint64()
		other := interval * time.Duration(1+rng.IntN(5))
		tardy := 20 * time.Millisecond
		if n >= 12 {
			tardy = min(interval*2/5, 400*time.Millisecond)
			adverts = max(adverts, 3) // who waits for fewer is less patient
		}
		t.Run(fmt.Sprintf("version %d every %v and %v, late by %v, priority %d, %d adverts", version, interval, other, tardy, priority, adverts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 5))
				kernel := newFakeKernel()
				var mu sync.Mutex
				late := func(most time.Duration) time.Duration {
					mu.Lock()
					defer mu.Unlock()
					return time.Duration(rng.Int64N(int64(most)))
				}
				kernel.stall = func() time.Duration { return late(15 * time.Millisecond) }
				k := newKeeper(quiet(), kernel, &journal{path: filepath.Join(t.TempDir(), "addresses.json"), log: quiet(), ours: make(map[vrrp.Address]netip.Prefix)})
				done := make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				go func() { k.run(ctx); close(done) }()
				during := min(time.Hour, 1800*interval) // a faster one has as many rounds in less
				end := time.Now().Add(during)
				var running []chan struct{}
				for i, every := range []time.Duration{interval, other} {
					cfg := ownerConfig(fmt.Sprintf("VI_%d", i), fmt.Sprintf("eth%d", i), uint8(i+1), every, fmt.Sprintf("192.0.2.%d/24", i+1), fmt.Sprintf("2001:db8::%d/64", i+1))
					cfg.Version, cfg.Priority, cfg.DownTimerAdverts = version, priority, adverts
					inst := newInstance(cfg, newLoop("eth0", quiet(), nil, nil, k, nil), quiet())
					ended := make(chan struct{})
					running = append(running, ended)
					go func() {
						defer close(ended)
						next := time.Now()
						for time.Now().Before(end) {
							inst.spoke.Store(max(1, int64(time.Since(inst.born))))
							if len(inst.home.Load().inbox.take(nil)) == 0 && next.Equal(inst.born) {
								k.hold(inst, time.Now(), 1, inst.order)
							}
							next = next.Add(every)
							time.Sleep(time.Until(next) + late(tardy))
						}
					}()
					time.Sleep(late(every))
				}
				for _, ended := range running {
					<-ended
				}
				cancel()
				<-done
				kernel.mu.Lock()
				for a, r := range kernel.removals {
					if r.At.Before(end) {
						t.Errorf("%v has expired at %v", a, r.At.Sub(bubbleStart))
					}
				}
				for _, a := range kernel.addrs {
					a.ends.Stop()
				}
				least := time.Hour
				was := make(map[vrrp.Address]gift)
				for _, g := range kernel.given {
					if before, ok := was[g.addr]; ok {
						least = min(least, before.lifetime-g.at.Sub(before.at))
					}
					was[g.addr] = g
				}
				if least < 50*time.Millisecond {
					t.Errorf("a lease was renewed %v before its end", least)
				}
				kernel.mu.Unlock()
			})
		})
	}
}

func TestAnAddressIsAddedWithTheLifetimeThatItsAdvertisementsAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		v4 := vrrp.Address{IP: netip.MustParseAddr("192.0.2.10"), Interface: "eth0"}
		v6 := vrrp.Address{IP: netip.MustParseAddr("2001:db8::10"), Interface: "eth0"}
		for _, tt := range []struct {
			name    string
			lease   config.Lease
			crowded string
			silence time.Duration // < 0: never advertised
			v4, v6  time.Duration
		}{
			{"just advertised", config.Lease{}, "", 0, 3 * time.Second, 3 * time.Second},
			{"advertised half an interval ago", config.Lease{}, "", 500 * time.Millisecond, 2 * time.Second, 2 * time.Second},
			{"a fixed lease", config.Lease{Mode: config.LeaseFixed, Length: 10 * time.Second}, "", 100 * time.Millisecond, 9 * time.Second, 9 * time.Second},
			{"not advertised yet", config.Lease{}, "", -1, 3 * time.Second, 3 * time.Second},
			{"no lease", config.Lease{Mode: config.LeaseOff}, "", 0, 0, 0},
			{"too many of IPv6", config.Lease{}, "eth0", 0, 3 * time.Second, 0},
			{"too many of IPv6 somewhere else", config.Lease{}, "eth1", 0, 3 * time.Second, 3 * time.Second},
		} {
			cfg := ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "2001:db8::10/64")
			cfg.VIPLease = tt.lease
			inst := newInstance(cfg, newLoop("eth0", quiet(), nil, nil, nil, nil), quiet())
			inst.born = time.Now().Add(-time.Hour)
			if tt.crowded != "" {
				inst.unleased = map[string]int{tt.crowded: 101}
			}
			if tt.silence >= 0 {
				inst.spoke.Store(max(1, int64(time.Hour-tt.silence)))
			}
			hold := &hold{inst: inst, settings: inst.settings}
			for a, want := range map[vrrp.Address]time.Duration{v4: tt.v4, v6: tt.v6} {
				if got := hold.withLifetime(a, inst.addresses[a], hold.age()); got.ValidLifetime != want || got.Prefix != inst.addresses[a].Prefix {
					t.Errorf("%s: %v, want %v", tt.name, got, want)
				}
			}
		}
	})
}

// TestAnAddressThatIsTakenOverGetsALifetime starts with an address that an earlier
// run has left with what remains of its lease; the first attempt to renew it comes
// too late.
func TestAnAddressThatIsTakenOverGetsALifetime(t *testing.T) {
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("the first renewal is held up: %t", held), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kernel := newFakeKernel()
				kernel.add(netif.Address{Prefix: netip.MustParsePrefix("192.0.2.10/24"), Interface: "eth0", ValidLifetime: 2 * time.Second}, netif.Protocol)
				h := newOwnerHost(t, kernel, ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24"))
				defer h.end()
				r := h.routers[0]
				// The keeper has it from another instance, as it would have it from
				// the journal.
				key := r.inst.order[0]
				h.keeper.inbox.put(func() {
					h.keeper.holds[nil] = &hold{added: map[vrrp.Address]placed{key: {ours: true, as: r.inst.addresses[key]}}, settings: r.inst.settings}
				})
				synctest.Wait()
				calls := 0
				kernel.stall = func() time.Duration {
					if calls++; held && calls == 1 {
						return renewalTimeout + time.Millisecond
					}
					return 0
				}
				r.event(vrrp.Resume{})
				time.Sleep(time.Minute)
				synctest.Wait()
				if why := r.lastReason(); why.Kind != vrrp.ReasonResumed || !kernel.has("192.0.2.10") {
					t.Errorf("it is %s: %s", r.state(), why)
				}
				if got := kernel.gifts("192.0.2.10"); len(got) < 30 {
					t.Errorf("it was renewed %d times", len(got))
				}
			})
		})
	}
}
