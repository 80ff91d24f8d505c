package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// A process that was stopped goes on with all its goroutines, in any order. In these
// tests it is the keeper's that does so first: the loop hangs.

// TestAnAddressIsNotTriedAgainByAProcessThatWasStopped has the time for another try
// come while no advertisement has got out for so long that another router is master.
func TestAnAddressIsNotTriedAgainByAProcessThatWasStopped(t *testing.T) {
	for _, lease := range []config.LeaseMode{config.LeaseAuto, config.LeaseOff} {
		t.Run(fmt.Sprintf("lease mode %d", lease), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kernel := newFakeKernel()
				kernel.deny("192.0.2.11", errors.New("no room"))
				cfg := ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "192.0.2.11/24")
				cfg.VIPLease = config.Lease{Mode: lease}
				h := newOwnerHost(t, kernel, cfg)
				defer h.end()
				r := h.routers[0]
				r.start()
				time.Sleep(10500 * time.Millisecond) // it is tried at 1, 3, 7 and 15 s
				hang := make(chan struct{})
				r.port.set(nil, hang)
				kernel.deny("", nil)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if n := len(kernel.gifts("192.0.2.11")); n != 0 {
					t.Error("it was added although the router did not advertise any more")
				}
				close(hang)
				r.port.set(nil, nil)
				synctest.Wait()
				if s := r.state(); s != vrrp.Backup || kernel.has("192.0.2.11") {
					t.Errorf("when it goes on it is %s and has the address: %t", s, kernel.has("192.0.2.11"))
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if s := r.state(); s != vrrp.Master || !kernel.has("192.0.2.11") {
					t.Errorf("after it has listened it is %s and has the address: %t", s, kernel.has("192.0.2.11"))
				}
			})
		})
	}
}

// TestAProcessThatIsStoppedWhileItAddsAddressesAddsNoMoreOfThem stops it between two
// batches, and right before the system call that sends one.
func TestAProcessThatIsStoppedWhileItAddsAddressesAddsNoMoreOfThem(t *testing.T) {
	for _, stopAt := range []string{"10.1.0.0", "10.1.0.1", "10.1.2.2"} {
		t.Run(stopAt, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kernel := newFakeKernel()
				cfg := ownerConfig("VI_1", "eth0", 1, time.Second)
				for i := range 1000 {
					cfg.Addresses = append(cfg.Addresses, config.Address{Prefix: prefixes(fmt.Sprintf("10.1.%d.%d/32", i/250, i%250))[0], Interface: "eth0"})
				}
				h := newOwnerHost(t, kernel, cfg)
				defer h.end()
				r := h.routers[0]
				hang, stopped := make(chan struct{}), false
				kernel.stop = func(addrs []netif.Address) {
					for _, a := range addrs {
						if a.Prefix.Addr().String() == stopAt && !stopped {
							stopped = true
							r.port.set(nil, hang)
							time.Sleep(10 * time.Second)
						}
					}
				}
				r.start()
				time.Sleep(15 * time.Second)
				synctest.Wait()
				for _, g := range kernel.gifts("") {
					if g.at.Sub(bubbleStart) > 5*time.Second {
						t.Errorf("%v: by a process that was stopped for ten seconds", g)
						break
					}
				}
				close(hang)
				r.port.set(nil, nil)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if s := r.state(); s != vrrp.Master || !kernel.has("10.1.0.0") || !kernel.has("10.1.3.249") {
					t.Errorf("after it has listened it is %s without its addresses", s)
				}
			})
		})
	}
}

// TestAMastershipThatWasDecidedBeforeAStopIsNotCarriedOut stops the process between
// the decision to be master and its first advertisement.
func TestAMastershipThatWasDecidedBeforeAStopIsNotCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		cfg := ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24")
		h := newOwnerHost(t, kernel, cfg)
		defer h.end()
		r := h.routers[0]
		r.post(func() {
			r.step(r.inst, time.Now(), vrrp.Startup{})
			time.Sleep(10 * time.Second)
			r.act()
			time.Sleep(10 * time.Millisecond) // until the loop looks again
		})
		time.Sleep(10100 * time.Millisecond)
		synctest.Wait()
		if n := len(kernel.gifts("")); n != 0 || r.state() != vrrp.Backup {
			t.Errorf("it is %s, and its address was given %d lifetimes", r.state(), n)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := r.state(); s != vrrp.Master || !kernel.has("192.0.2.10") {
			t.Errorf("after it has listened it is %s", s)
		}
	})
}

// TestNothingIsRenewedAfterASuspend suspends the host, which the clock that timers go
// by does not show, between an advertisement and the round of renewals after it.
func TestNothingIsRenewedAfterASuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, nil, "192.0.2.10/24", "2001:db8::10/64")
		defer h.end()
		time.Sleep(500*time.Millisecond + roundDelay/2)
		before := len(h.kernel.gifts(""))
		h.slept.Add(int64(time.Hour))
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if n := len(h.kernel.gifts("")); n != before {
			t.Errorf("after a suspend addresses were given %d lifetimes", n-before)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if s := r.state(); s != vrrp.Backup {
			t.Errorf("when its loop has looked it is %s", s)
		}
	})
}

func TestTheEndWaitsForWhatHangsOnlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		d := &Daemon{log: slog.New(slog.NewTextHandler(log, nil))}
		ended, hangs := make(chan struct{}), make(chan struct{})
		close(ended)
		for _, tt := range []struct {
			all  []<-chan struct{}
			want time.Duration
		}{
			{[]<-chan struct{}{ended, ended}, 0},
			{[]<-chan struct{}{ended, hangs}, time.Second},
			{[]<-chan struct{}{hangs, hangs, hangs}, time.Second},
		} {
			began := time.Now()
			d.await(time.Second, "it hangs", tt.all...)
			if took := time.Since(began); took != tt.want {
				t.Errorf("it waited for %v, want %v", took, tt.want)
			}
		}
		if n := log.lines("level=ERROR", "it hangs"); n != 2 {
			t.Errorf("%d lines of the log tell of it", n)
		}
	})
}
