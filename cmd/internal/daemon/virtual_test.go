package daemon

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vipd/arp"
	"vipd/config"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
	"vipd/vrrp/vrrptest"
)

// A virtualWaker is a waker on the runtime's clock, which in a bubble is
// virtual.
type virtualWaker struct {
	c chan struct{}
	t *time.Timer
}

func newVirtualWaker() *virtualWaker {
	w := &virtualWaker{c: make(chan struct{}, 1)}
	w.t = time.AfterFunc(time.Hour, func() {
		select {
		case w.c <- struct{}{}:
		default:
		}
	})
	w.t.Stop()
	return w
}

func (w *virtualWaker) C() <-chan struct{} { return w.c }

func (w *virtualWaker) Set(at time.Time) {
	if at.IsZero() {
		w.t.Stop()
		return
	}
	w.t.Reset(max(0, time.Until(at)))
}

func (w *virtualWaker) Close() error {
	w.t.Stop()
	return nil
}

// A virtualHost stands in for a machine's addresses and for its announcements.
type virtualHost struct {
	mu       sync.Mutex
	held     map[vrrp.Address]bool
	requests int
	announce []vrrp.Address
	delay    time.Duration
}

func (h *virtualHost) hold(inst *instance, _ time.Time, epoch uint64, addrs []vrrp.Address) {
	h.mu.Lock()
	request, delay := h.requests, h.delay
	h.mu.Unlock()
	time.AfterFunc(delay, func() {
		h.mu.Lock()
		if h.requests != request { // released meanwhile
			h.mu.Unlock()
			return
		}
		for _, a := range addrs {
			h.held[a] = true
		}
		h.mu.Unlock()
		inst.loop().post(func() {
			inst.loop().step(inst, time.Now(), vrrp.AddressReady{Epoch: epoch, Addrs: addrs})
		})
	})
}

func (h *virtualHost) release(_ *instance, addrs []vrrp.Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if addrs != nil {
		for _, a := range addrs {
			delete(h.held, a)
		}
		return
	}
	h.requests++
	clear(h.held)
}

func (h *virtualHost) holds(a vrrp.Address) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[a]
}

// virtualAnnouncer records what is announced.
type virtualAnnouncer struct{ host *virtualHost }

func (a virtualAnnouncer) announce(_ *instance, addrs []vrrp.Address, _ bool) {
	a.host.mu.Lock()
	defer a.host.mu.Unlock()
	a.host.announce = append(a.host.announce, addrs...)
}
func (a virtualAnnouncer) announceSource(*instance, vrrp.Address) {}
func (a virtualAnnouncer) probe(*instance, vrrp.Address)          {}
func (a virtualAnnouncer) reannounce(*instance)                   {}
func (a virtualAnnouncer) lost(*instance, []vrrp.Address)         {}
func (a virtualAnnouncer) stop(*instance)                         {}
func (a virtualAnnouncer) retime(*instance, arp.Timing)           {}
func (h *virtualHost) update(*instance, *settings)                {}
func (h *virtualHost) lost(*instance, []vrrp.Address)             {}

// A virtualRouter is the real loop with one instance on a LAN in memory.
type virtualRouter struct {
	*loop
	inst *instance
	host *virtualHost
	port *vrrptest.Port
	addr netip.Addr
}

var virtualVIP = vrrp.Address{IP: netip.MustParseAddr("192.0.2.100"), Interface: "eth0"}

// virtualConfig is what the configuration front-end makes of a plain instance.
func virtualConfig(priority uint8, interval time.Duration) config.Instance {
	return config.Instance{
		Name: "VI_1", Interface: "eth0", VRID: 51, Version: vrrp.V3, Family: vrrp.IPv4, Priority: priority, AdvertInterval: interval,
		Addresses: []config.Address{{Prefix: netip.PrefixFrom(virtualVIP.IP, 24), Interface: "eth0"}},
		Group:     vrrp.IPv4.Group(), TTL: vrrp.HopLimit, Preempt: true, DownTimerAdverts: 3, HigherPrioSendAdvert: true,
	}
}

func newVirtualRouter(lan *vrrptest.LAN, addr string, cfg config.Instance, log *slog.Logger) *virtualRouter {
	r := &virtualRouter{addr: netip.MustParseAddr(addr), host: &virtualHost{held: make(map[vrrp.Address]bool), delay: time.Millisecond}}
	open := func(vrrpconn.Config) (transport, error) {
		r.port = lan.Port(r.addr)
		return r.port, nil
	}
	r.loop = newLoop("eth0", log, newVirtualWaker(), open, r.host, virtualAnnouncer{r.host})
	r.inst = newInstance(cfg, r.loop, log)
	r.loop.instances = []*instance{r.inst}
	go r.loop.run()
	r.post(func() {
		r.inst.setLink(linkView{usable: true, index: 1, mtu: 1500, source: r.addr})
		r.step(r.inst, time.Now(), vrrp.Startup{})
	})
	return r
}

// state asks the loop for the state of its machine.
func (r *virtualRouter) state() vrrp.State {
	c := make(chan vrrp.State)
	r.post(func() { c <- r.inst.m.State() })
	return <-c
}

func (r *virtualRouter) end() {
	done := make(chan struct{})
	r.post(func() {
		r.step(r.inst, time.Now(), vrrp.Shutdown{})
		r.post(func() { close(done) })
	})
	<-done
	r.loop.stop()
	_ = r.waker.Close()
}

func masters(rs []*virtualRouter) (n int, last *virtualRouter) {
	for _, r := range rs {
		if r.state() == vrrp.Master {
			n, last = n+1, r
		}
	}
	return n, last
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestRoutersAgreeOnOneMasterAfterEveryTrouble runs three routers through a day
// of random partitions, losses and restarts. Whenever the LAN has been whole for
// a while exactly one is master: the one with the highest priority, and it alone
// holds the address.
func TestRoutersAgreeOnOneMasterAfterEveryTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(7, 7))
		lan := vrrptest.NewLAN(1)
		lan.SetDelay(300 * time.Microsecond)
		priorities := []uint8{100, 150, 200}
		addrs := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
		rs := make([]*virtualRouter, 3)
		for i := range rs {
			rs[i] = newVirtualRouter(lan, addrs[i], virtualConfig(priorities[i], time.Second), quiet())
		}
		start := time.Now()
		for time.Since(start) < 24*time.Hour {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			n, m := masters(rs)
			if n != 1 || m != rs[2] {
				t.Fatalf("after %s: %d masters, the last is %v", time.Since(start), n, m.inst.cfg.Priority)
			}
			for _, r := range rs {
				if held := r.host.holds(virtualVIP); held != (r == m) {
					t.Fatalf("after %s: router %d in state %s holds the address: %v", time.Since(start), r.inst.cfg.Priority, r.state(), held)
				}
			}
			switch rng.IntN(3) {
			case 0:
				lan.Partition(rs[rng.IntN(3)].port)
				time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
				synctest.Wait()
				if n, _ := masters(rs); n < 1 {
					t.Fatalf("after %s: no master in a partition", time.Since(start))
				}
				lan.Heal()
			case 1:
				lan.SetLoss(0.5)
				time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
				synctest.Wait()
				lan.SetLoss(0)
			case 2:
				i := rng.IntN(3)
				rs[i].end()
				if rs[i].host.holds(virtualVIP) {
					t.Fatalf("after %s: a stopped router holds the address", time.Since(start))
				}
				rs[i] = newVirtualRouter(lan, addrs[i], virtualConfig(priorities[i], time.Second), quiet())
			}
		}
		for _, r := range rs {
			r.end()
		}
	})
}

// TestALossOfTwoAdvertisementsIsNoFailover holds the network up for less than
// the master-down interval: the backup must not stir.
func TestALossOfTwoAdvertisementsIsNoFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		a := newVirtualRouter(lan, "192.0.2.1", virtualConfig(200, time.Second), quiet())
		b := newVirtualRouter(lan, "192.0.2.2", virtualConfig(100, time.Second), quiet())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for range 100 {
			lan.Partition(b.port)
			time.Sleep(2500 * time.Millisecond)
			synctest.Wait()
			if s := b.state(); s != vrrp.Backup {
				t.Fatalf("backup is %s after 2.5 s of silence", s)
			}
			lan.Heal()
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		a.end()
		time.Sleep(610 * time.Millisecond) // 156/256 s of skew time
		if s := b.state(); s != vrrp.Master {
			t.Fatalf("backup is %s after the master stopped", s)
		}
		b.end()
	})
}

// TestAFloodOfInvalidDatagramsTouchesNoTimer has a thousand bad datagrams a
// second arrive at a master and at a backup for an hour: the advertisements stay
// on schedule to the microsecond, and nobody changes state.
func TestAFloodOfInvalidDatagramsTouchesNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		a := newVirtualRouter(lan, "192.0.2.1", virtualConfig(200, time.Second), quiet())
		b := newVirtualRouter(lan, "192.0.2.2", virtualConfig(100, time.Second), quiet())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		listener := lan.Port(netip.MustParseAddr("192.0.2.9"))
		ds := make([]vrrpconn.Datagram, 64)
		var last time.Time
		bad := vrrpconn.Datagram{
			Src: netip.MustParseAddr("192.0.2.66"), Dst: vrrp.IPv4.Group(), TTL: 255, HeaderLen: 20, TotalLen: 32,
			// VRID 51 at priority 255, with a checksum that is wrong.
			Payload: []byte{0x31, 51, 255, 1, 0, 100, 0xde, 0xad, 192, 0, 2, 100},
		}
		var injected uint64
		for range 600 {
			for range 100 {
				lan.Inject(bad)
				injected++
				time.Sleep(time.Millisecond)
				synctest.Wait()
				n, err := listener.Recv(ds)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range ds[:n] {
					if d.Src != a.addr {
						continue
					}
					if gap := d.At.Sub(last); !last.IsZero() && (gap < 999*time.Millisecond || gap > 1001*time.Millisecond) {
						t.Fatalf("advertisements %s apart", gap)
					}
					last = d.At
				}
			}
		}
		if a.state() != vrrp.Master || b.state() != vrrp.Backup {
			t.Errorf("states are %s and %s", a.state(), b.state())
		}
		for _, r := range []*virtualRouter{a, b} {
			synctest.Wait()
			r.end()
			if got := r.inst.counters.drops[vrrpconn.BadChecksum]; got != injected {
				t.Errorf("%d bad checksums counted, %d were sent", got, injected)
			}
			if r.inst.counters.becameMaster > 1 {
				t.Errorf("router %d became master %d times", r.inst.cfg.Priority, r.inst.counters.becameMaster)
			}
		}
	})
}
