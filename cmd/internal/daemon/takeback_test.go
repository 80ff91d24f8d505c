package daemon

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// readd removes an address and has it back for good before anybody can look, as a
// network manager does that applies its configuration.
func (h *ownerHost) readd(t *testing.T, prefix, iface string) {
	t.Helper()
	h.delete(t, prefix, iface)
	h.kernel.put(prefix, iface)
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}

// recorded reports whether an address is in the record that the next start reads.
func (h *ownerHost) recorded(ip string) bool {
	f := readJournal(h.keeper.journal.path, quiet())
	return slices.ContainsFunc(f.Addresses, func(e journalEntry) bool { return e.Prefix.Addr().String() == ip })
}

// stop ends the mastership, and waits until the addresses are gone.
func (r *ownerRouter) stop() {
	r.post(func() { r.step(r.inst, time.Now(), vrrp.Shutdown{}) })
	time.Sleep(5 * time.Second)
	synctest.Wait()
}

func TestWhatSomebodyElseRemovesAndAddsForGoodIsTakenBack(t *testing.T) {
	if !kernelTells() {
		t.Skip("the kernel does not tell who added an address")
	}
	for _, tt := range []struct{ name, vip, again string }{
		{"IPv4", "192.0.2.10/24", "192.0.2.10/24"},
		{"IPv6", "2001:db8::10/64", "2001:db8::10/64"},
		{"IPv6 with another prefix length", "2001:db8::10/64", "2001:db8::10/128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, r := masterHost(t, func(c *config.Instance) { c.Priority = 100 }, "192.0.2.11/24", tt.vip)
				defer h.end()
				key := addressKey(netif.Address{Prefix: prefixes(tt.vip)[0], Interface: "eth0"})
				for n := range 3 {
					h.delete(t, tt.vip, "eth0")
					h.kernel.put(tt.again, "eth0")
					time.Sleep(10 * time.Millisecond)
					synctest.Wait()
					there, ok := h.kernel.find(key)
					if !ok || there.Protocol != netif.Protocol || there.Valid == netif.Forever || there.Prefix.String() != tt.vip {
						t.Fatalf("the host has %+v (%t)", there, ok)
					}
					if texts, c := r.events(control.EventAddressRestored); len(texts) < n+1 || c.Restored > 2*uint64(n+1) {
						t.Fatalf("after the %d. time the events are %q, and %d were put back", n+1, texts, c.Restored)
					}
					time.Sleep(5 * time.Second)
				}
				synctest.Wait()
				if !h.recorded(key.IP.String()) || h.log.lines("takes it back") != 1 {
					t.Errorf("it is recorded: %t; %d lines", h.recorded(key.IP.String()), h.log.lines("takes it back"))
				}
				r.ask(func(inst *instance) {
					if s := inst.status(); s.Degraded || s.State != control.StateMaster {
						t.Errorf("it is %s, degraded: %s", s.State, s.DegradedText)
					}
				})
				r.stop()
				if h.kernel.has(key.IP.String()) {
					t.Error("it is there after the end")
				}
			})
		})
	}
}

// TestAnAddressOfTheHostsOwnStaysOneUntilItIsDeleted has a virtual address be on the
// host before vipd is master.
func TestAnAddressOfTheHostsOwnStaysOneUntilItIsDeleted(t *testing.T) {
	if !kernelTells() {
		t.Skip("the kernel does not tell who added an address")
	}
	synctest.Test(t, func(t *testing.T) {
		const own = "192.0.2.10"
		kernel := newFakeKernel()
		kernel.put(own+"/24", "eth0")
		cfg := ownerConfig("VI_1", "eth0", 1, time.Second, own+"/24", "192.0.2.11/24")
		cfg.Priority = 100
		h := newOwnerHost(t, kernel, cfg)
		defer h.end()
		r := h.routers[0]
		degraded := func() (text string) {
			r.ask(func(inst *instance) { text = inst.status().DegradedText })
			return text
		}
		r.start()
		if got := degraded(); !strings.Contains(got, own) || !strings.Contains(got, "not master") {
			t.Errorf("a backup is degraded: %q", got)
		}
		time.Sleep(10500 * time.Millisecond)
		synctest.Wait()
		if got := degraded(); !strings.Contains(got, own+" on eth0 was not put there by vipd") || h.recorded(own) {
			t.Errorf("a master is degraded: %q; it is recorded: %t", got, h.recorded(own))
		}
		h.readd(t, own+"/24", "eth0")
		if texts, _ := r.events(control.EventAddressRestored); len(texts) > 0 {
			t.Errorf("what vipd did not put back is told of: %q", texts)
		}
		if there, _ := kernel.find(r.inst.order[0]); there.Valid != netif.Forever || degraded() == "" {
			t.Errorf("the host's own address was given a lease: %+v", there)
		}

		h.delete(t, own+"/24", "eth0")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		there, ok := kernel.find(r.inst.order[0])
		if !ok || there.Protocol != netif.Protocol || !h.recorded(own) || degraded() != "" {
			t.Errorf("after it was deleted the host has %+v (%t), recorded %t, degraded %q", there, ok, h.recorded(own), degraded())
		}
		r.stop()
		if kernel.has(own) {
			t.Error("it is there after the end")
		}
	})
}

// TestAnExpiryBeforeTheAddressWasEverSeenIsNotRepaired has the process stand still as
// soon as it is master, for longer than a lease and not as long as others wait. It
// learns at once that addresses were added and that they are gone.
func TestAnExpiryBeforeTheAddressWasEverSeenIsNotRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ownerConfig("VI_1", "eth0", 1, time.Second, "192.0.2.10/24", "2001:db8::10/64")
		cfg.Priority = 100
		h := newOwnerHost(t, newFakeKernel(), cfg)
		defer h.end()
		r := h.routers[0]
		look := h.kernel.changed
		stood := false
		h.kernel.mu.Lock()
		h.kernel.changed = func() {
			time.Sleep(time.Millisecond)
			h.kernel.mu.Lock()
			first := !stood
			stood = true
			h.kernel.mu.Unlock()
			if first {
				r.post(func() { time.Sleep(3200 * time.Millisecond) })
			}
			look()
		}
		h.kernel.mu.Unlock()
		r.start()
		time.Sleep(vrrp.MasterDownInterval(vrrp.V3, 100, time.Second, 3) + 3500*time.Millisecond)
		synctest.Wait()
		if s, why := r.state(), r.lastReason(); s != vrrp.Backup || why.Kind != vrrp.ReasonLeaseExpired {
			t.Errorf("it is %s: %s", s, why)
		}
		if h.kernel.has("192.0.2.10") || h.kernel.has("2001:db8::10") {
			t.Error("an address is there")
		}
		if n := h.log.lines("putting them back"); n > 0 {
			t.Error("it says that it puts them back")
		}
	})
}
