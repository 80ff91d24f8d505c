package vrrp_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"vipd/vrrp"
)

// A host is a driver of several machines that keeps the rules of Reconfigure:
// what all of them ask for is added before anything is removed, and the last one
// that wanted an address removes it.
type host struct {
	*testing.T
	now       time.Time
	machines  []*vrrp.Machine
	wants     []map[vrrp.Address]bool // by machine
	addresses map[vrrp.Address]bool
	history   []string // of addresses
}

func newHost(t *testing.T, configs ...vrrp.Config) *host {
	h := &host{T: t, now: time.Unix(1e9, 0), addresses: make(map[vrrp.Address]bool)}
	for _, cfg := range configs {
		h.machines = append(h.machines, vrrp.New(cfg))
		h.wants = append(h.wants, make(map[vrrp.Address]bool))
	}
	return h
}

// all gives every machine an event and then does what they want.
func (h *host) all(events ...vrrp.Event) {
	h.Helper()
	actions := make([][]vrrp.Action, len(h.machines))
	for i, m := range h.machines {
		actions[i] = slices.Clone(m.Step(h.now, events[i%len(events)]))
	}
	for i := range h.machines {
		for _, a := range actions[i] {
			if add, ok := a.(vrrp.AddAddresses); ok {
				h.add(i, add)
			}
		}
	}
	for i := range h.machines {
		for _, a := range actions[i] {
			if remove, ok := a.(vrrp.RemoveAddresses); ok {
				h.remove(i, remove)
			}
		}
	}
}

func (h *host) add(machine int, a vrrp.AddAddresses) {
	for _, addr := range a.Addrs {
		h.wants[machine][addr] = true
		if !h.addresses[addr] {
			h.addresses[addr] = true
			h.history = append(h.history, "+"+addr.String())
		}
	}
	for _, did := range h.machines[machine].Step(h.now, vrrp.AddressReady{Epoch: a.Epoch, Addrs: a.Addrs}) {
		if announce, ok := did.(vrrp.Announce); ok {
			for _, addr := range announce.Addrs {
				h.history = append(h.history, "announce "+addr.String())
			}
		}
	}
}

func (h *host) remove(machine int, a vrrp.RemoveAddresses) {
	for addr := range h.wants[machine] {
		if a.Addrs != nil && !slices.Contains(a.Addrs, addr) {
			continue
		}
		delete(h.wants[machine], addr)
		if !slices.ContainsFunc(h.wants, func(w map[vrrp.Address]bool) bool { return w[addr] }) {
			delete(h.addresses, addr)
			h.history = append(h.history, "-"+addr.String())
		}
	}
}

// master makes masters of all machines.
func (h *host) master() {
	h.Helper()
	h.all(vrrp.Startup{})
	h.now = h.now.Add(5 * time.Second)
	h.all(vrrp.Wake{})
	for i, m := range h.machines {
		if m.State() != vrrp.Master {
			h.Fatalf("machine %d is %s", i, m.State())
		}
	}
	h.history = nil
}

func (h *host) mustHave(history ...string) {
	h.Helper()
	if !slices.Equal(h.history, history) {
		h.Errorf("got  %q\nwant %q", h.history, history)
	}
}

func address(s string) vrrp.Address {
	return vrrp.Address{IP: netip.MustParseAddr(s), Interface: "eth0"}
}

func settings(addrs ...string) vrrp.Config {
	cfg := vrrp.Config{Version: vrrp.V3, VRID: 1, Priority: 100, Interval: time.Second}
	for _, a := range addrs {
		cfg.Addresses = append(cfg.Addresses, address(a))
	}
	return cfg
}

func TestAnAddressThatMovesBetweenMastersOfOneHostIsNeverGone(t *testing.T) {
	h := newHost(t, settings("192.0.2.1", "192.0.2.2"), settings("192.0.2.3"))
	h.master()
	h.all(vrrp.Reconfigure{Config: settings("192.0.2.1")}, vrrp.Reconfigure{Config: settings("192.0.2.3", "192.0.2.2")})
	h.mustHave("announce 192.0.2.2 on eth0")
	if ready, err := h.machines[1].Address(address("192.0.2.2")); !ready || err != nil {
		t.Errorf("the address is ready with its new owner: %v, %v", ready, err)
	}
	if ready, _ := h.machines[0].Address(address("192.0.2.2")); ready {
		t.Error("the address is still with its old owner")
	}
}

func TestMastersOfOneHostThatSwapTheirAddressesRemoveNone(t *testing.T) {
	h := newHost(t, settings("192.0.2.1"), settings("192.0.2.2"))
	h.master()
	h.all(vrrp.Reconfigure{Config: settings("192.0.2.2")}, vrrp.Reconfigure{Config: settings("192.0.2.1")})
	h.mustHave("announce 192.0.2.2 on eth0", "announce 192.0.2.1 on eth0")
}

func TestAnAddressThatChangesItsInterfaceIsOnTheNewOneFirst(t *testing.T) {
	h := newHost(t, settings("192.0.2.1", "192.0.2.2"))
	h.master()
	cfg := settings("192.0.2.1", "192.0.2.2")
	cfg.Addresses[1].Interface = "eth1"
	h.all(vrrp.Reconfigure{Config: cfg})
	h.mustHave("+192.0.2.2 on eth1", "announce 192.0.2.2 on eth1", "-192.0.2.2 on eth0")
}

func TestTheAddressesOfAMasterAreGivenUpByTheInstanceThatIsRemoved(t *testing.T) {
	h := newHost(t, settings("192.0.2.1"), settings("192.0.2.2", "192.0.2.3"))
	h.master()
	h.all(vrrp.Reconfigure{Config: settings("192.0.2.1", "192.0.2.3")}, vrrp.Shutdown{})
	h.mustHave("announce 192.0.2.3 on eth0", "-192.0.2.2 on eth0")
}

// TestReconfigureLeavesTheListsAloneThatWereGivenAway keeps a driver that holds on
// to the addresses it was given from seeing them change.
func TestReconfigureLeavesTheListsAloneThatWereGivenAway(t *testing.T) {
	cfg := settings("192.0.2.1", "192.0.2.2")
	m := vrrp.New(cfg)
	now := time.Unix(1e9, 0)
	m.Step(now, vrrp.Startup{})
	now = now.Add(5 * time.Second)
	var asked []vrrp.Address
	for _, a := range m.Step(now, vrrp.Wake{}) {
		if add, ok := a.(vrrp.AddAddresses); ok {
			asked = add.Addrs
		}
	}
	next := settings("192.0.2.3", "192.0.2.1", "192.0.2.3")
	m.Step(now, vrrp.Reconfigure{Config: next})
	next.Addresses[0] = address("192.0.2.9")
	m.Step(now, vrrp.Reconfigure{Config: settings("192.0.2.4")})
	if want := []vrrp.Address{address("192.0.2.1"), address("192.0.2.2")}; !slices.Equal(asked, want) {
		t.Errorf("the list that was asked for is now %v", asked)
	}
}
