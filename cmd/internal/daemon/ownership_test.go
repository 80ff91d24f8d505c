package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// somebody is the netlink port of who removes addresses.
const somebody = 4711

// delete removes an address as somebody else does.
func (h *ownerHost) delete(t *testing.T, prefix, iface string) {
	t.Helper()
	key := addressKey(netif.Address{Prefix: prefixes(prefix)[0], Interface: iface})
	if !h.kernel.remove(key, netif.Removal{At: time.Now(), Port: somebody}) {
		t.Fatalf("%s is not there", prefix)
	}
}

// masterHost returns a host whose only instance has been master for a while.
func masterHost(t *testing.T, edit func(*config.Instance), addrs ...string) (*ownerHost, *ownerRouter) {
	t.Helper()
	cfg := ownerConfig("VI_1", "eth0", 1, time.Second, addrs...)
	if edit != nil {
		edit(&cfg)
	}
	h := newOwnerHost(t, newFakeKernel(), cfg)
	h.routers[0].start()
	time.Sleep(10500 * time.Millisecond)
	synctest.Wait()
	return h, h.routers[0]
}

// events returns what happened to an instance of a kind, and its counters.
func (r *ownerRouter) events(kind control.EventKind) (texts []string, c control.Counters) {
	r.ask(func(inst *instance) {
		for _, e := range inst.events {
			if e.Kind == kind {
				texts = append(texts, e.Text)
			}
		}
		c = inst.counterStatus()
	})
	return texts, c
}

func TestAnAddressThatExpiredIsNotPutBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		// end has the address go.
		end     func(k *fakeKernel, key vrrp.Address)
		late    bool // when it is past its time, as far as vipd knows
		expired bool
	}{
		{"at its time", nil, true, true},
		{"before its time, as somebody has shortened it", func(k *fakeKernel, key vrrp.Address) { k.remove(key, netif.Removal{At: time.Now(), Expired: true}) }, false, false},
		{"the kernel says so late", func(k *fakeKernel, key vrrp.Address) { k.remove(key, netif.Removal{At: time.Now(), Expired: true}) }, true, true},
		{"the kernel's message is lost", func(k *fakeKernel, key vrrp.Address) { k.remove(key, netif.Removal{}) }, true, true},
		{"the message about somebody who did it is lost", func(k *fakeKernel, key vrrp.Address) { k.remove(key, netif.Removal{}) }, false, false},
		{"somebody did it", func(k *fakeKernel, key vrrp.Address) { k.remove(key, netif.Removal{At: time.Now(), Port: somebody}) }, false, false},
		{"somebody did it at the last moment", func(k *fakeKernel, key vrrp.Address) { k.remove(key, netif.Removal{At: time.Now(), Port: somebody}) }, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, r := masterHost(t, nil, "192.0.2.10/24", "192.0.2.11/24")
				defer h.end()
				since := len(h.kernel.gifts(""))
				if tt.late {
					// Nothing is renewed any more, although it goes on to advertise.
					h.kernel.refuseAll(netif.ErrCalledOff)
					if tt.end != nil {
						h.kernel.forever()
					}
					var end time.Duration
					r.ask(func(inst *instance) { end = time.Duration(inst.leased.Load()) })
					time.Sleep(time.Until(r.inst.born.Add(end + 20*time.Millisecond)))
				}
				if tt.end != nil {
					tt.end(h.kernel, r.inst.order[0])
				}
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
				why := r.lastReason()
				_, counters := r.events("")
				if expired := r.state() == vrrp.Backup && why.Kind == vrrp.ReasonLeaseExpired; expired != tt.expired {
					t.Fatalf("it is %s: %s", r.state(), why)
				}
				if !tt.expired {
					if !h.kernel.has("192.0.2.10") || counters.Restored != 1 || counters.LeaseExpired != 0 {
						t.Errorf("the address is there: %t; counters %+v", h.kernel.has("192.0.2.10"), counters)
					}
					return
				}
				if h.kernel.has("192.0.2.10") || h.kernel.has("192.0.2.11") {
					t.Error("an address is there")
				}
				if n := len(h.kernel.gifts("")); n != since {
					t.Errorf("addresses were given %d lifetimes", n-since)
				}
				if counters.Restored != 0 || counters.LeaseExpired == 0 {
					t.Errorf("counters %+v", counters)
				}
				if texts, _ := r.events(control.EventLeaseExpired); len(texts) != 1 {
					t.Errorf("events: %q", texts)
				}
				// It listens for an interval and more before it is master again.
				h.kernel.refuseAll(nil)
				time.Sleep(900 * time.Millisecond)
				synctest.Wait()
				if s := r.state(); s != vrrp.Backup {
					t.Errorf("before it has listened it is %s", s)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if s := r.state(); s != vrrp.Master || !h.kernel.has("192.0.2.10") {
					t.Errorf("afterwards it is %s", s)
				}
			})
		})
	}
}

func TestWhatSomebodyElseDeletesIsBackAtOnceAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, nil, "192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64")
		defer h.end()
		announced := h.announced("192.0.2.10")
		h.delete(t, "192.0.2.10/24", "eth0")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if !h.kernel.has("192.0.2.10") || h.announced("192.0.2.10") != announced+1 {
			t.Errorf("it is there: %t, and was announced %d times", h.kernel.has("192.0.2.10"), h.announced("192.0.2.10")-announced)
		}
		texts, counters := r.events(control.EventAddressRestored)
		if len(texts) != 1 || counters.Restored != 1 || counters.LeaseExpired != 0 {
			t.Fatalf("events %q, counters %+v", texts, counters)
		}
		for _, want := range []string{"192.0.2.10", "removed by", "4711", "put back"} {
			if !strings.Contains(texts[0], want) {
				t.Errorf("the event %q does not say %q", texts[0], want)
			}
		}
		// It is leased as the others are, and stays.
		time.Sleep(time.Minute)
		synctest.Wait()
		if why := r.lastReason(); why.Kind != vrrp.ReasonOwner || !h.kernel.has("192.0.2.10") {
			t.Errorf("it is %s: %s", r.state(), why)
		}
		if n := len(h.kernel.gifts("192.0.2.10")); n < 20 {
			t.Errorf("it was given %d lifetimes", n)
		}
		if n := h.log.lines("level=WARN", "removed addresses of this master"); n != 1 {
			t.Errorf("%d lines of the log tell of it", n)
		}
	})
}

// TestAnAddressThatWasDeletedAndMadeAgainBetweenTwoLooksIsAnnounced has an address
// vanish for so short a time that it was never seen to lack.
func TestAnAddressThatWasDeletedAndMadeAgainBetweenTwoLooksIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, nil, "192.0.2.10/24", "192.0.2.11/24")
		defer h.end()
		announced, other := h.announced("192.0.2.10"), h.announced("192.0.2.11")
		h.delete(t, "192.0.2.10/24", "eth0")
		h.kernel.put("192.0.2.10/24", "eth0")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		_, counters := r.events("")
		if n := h.announced("192.0.2.10") - announced; n != 1 || counters.Restored != 1 {
			t.Errorf("it was announced %d times, and counted %d times", n, counters.Restored)
		}
		if n := h.announced("192.0.2.11") - other; n != 0 {
			t.Errorf("the other was announced %d times", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, after := r.events(""); after.Restored != 1 || r.lastReason().Kind != vrrp.ReasonOwner {
			t.Errorf("a minute later %+v, it is %s: %s", after, r.state(), r.lastReason())
		}
	})
}

// TestWhoeverKeepsDeletingAddressesIsGivenWay has somebody delete an address again
// and again.
func TestWhoeverKeepsDeletingAddressesIsGivenWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, nil, "192.0.2.10/24")
		defer h.end()
		const times = 10
		for n := range times {
			h.delete(t, "192.0.2.10/24", "eth0")
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
			if !h.kernel.has("192.0.2.10") {
				t.Fatalf("it is not back at once for the %d. time", n+1)
			}
		}
		if n := h.log.lines("another program keeps removing addresses"); n != 0 {
			t.Errorf("after %d times it is called a fight", times)
		}
		for range 5 {
			h.delete(t, "192.0.2.10/24", "eth0")
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if h.kernel.has("192.0.2.10") {
				t.Fatal("it is back at once although that helps nobody")
			}
			time.Sleep(520 * time.Millisecond)
			synctest.Wait()
			if !h.kernel.has("192.0.2.10") {
				t.Fatal("it is not back after a second")
			}
		}
		if n := h.log.lines("level=ERROR", "another program keeps removing addresses", "advice="); n != 1 {
			t.Errorf("%d lines of the log say what to do", n)
		}
		if why := r.lastReason(); why.Kind != vrrp.ReasonOwner {
			t.Errorf("it is %s: %s", r.state(), why)
		}
		// A minute later it is forgotten.
		time.Sleep(62 * time.Second)
		h.delete(t, "192.0.2.10/24", "eth0")
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if !h.kernel.has("192.0.2.10") {
			t.Error("after a quiet minute it is not back at once")
		}
	})
}

func TestAMasterThatIsToResignOnLossDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, func(c *config.Instance) { c.ResignOnLoss = true }, "192.0.2.10/24", "192.0.2.11/24")
		defer h.end()
		h.delete(t, "192.0.2.10/24", "eth0")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if why := r.lastReason(); r.state() != vrrp.Backup || why.Kind != vrrp.ReasonAddressLost {
			t.Errorf("it is %s: %s", r.state(), why)
		}
		if h.kernel.has("192.0.2.10") || h.kernel.has("192.0.2.11") {
			t.Error("it has an address")
		}
		_, counters := r.events("")
		if counters.Restored != 0 || counters.PriorityZeroSent != 1 {
			t.Errorf("counters %+v", counters)
		}
	})
}

// TestAnAddressThatANewMasterHasIsNotPutBack has somebody remove an address of a
// master that has offered to hand over, right after a new master has advertised.
func TestAnAddressThatANewMasterHasIsNotPutBack(t *testing.T) {
	for _, advertised := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h, r := masterHost(t, func(c *config.Instance) { c.Handover = true }, "192.0.2.10/24", "192.0.2.11/24")
			defer h.end()
			r.event(vrrp.Failover{})
			r.ask(func(inst *instance) {
				if advertised {
					src, group := netip.MustParseAddr("192.0.2.99"), vrrp.IPv4.Group()
					adv := vrrp.Advertisement{Version: vrrp.V3, VRID: 1, Priority: 100, Interval: time.Second}
					for _, a := range inst.order {
						adv.Addrs = append(adv.Addrs, a.IP)
					}
					payload, err := adv.AppendTo(nil, src, group, inst.cfg.Checksum)
					if err != nil {
						t.Error(err)
					}
					r.lan.Inject(vrrpconn.Datagram{Src: src, Dst: group, TTL: vrrp.HopLimit, HeaderLen: 20, TotalLen: 20 + len(payload), Payload: payload, At: time.Now()})
				}
				h.kernel.remove(inst.order[0], netif.Removal{At: time.Now(), Port: somebody})
				inst.reconcile()
			})
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			_, counters := r.events("")
			if back := h.kernel.has("192.0.2.10"); back == advertised || (counters.Restored > 0) == advertised {
				t.Errorf("a new master has advertised: %t; the address is back: %t; it was put back %d times", advertised, back, counters.Restored)
			}
			if want := map[bool]vrrp.State{true: vrrp.Backup, false: vrrp.Master}[advertised]; r.state() != want {
				t.Errorf("it is %s, want %s", r.state(), want)
			}
		})
	}
}
