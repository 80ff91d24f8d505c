package vrrp_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"vipd/vrrp"
)

// FuzzMachineKeepsItsInvariants drives a machine with arbitrary events and
// checks after each what the design promises, whatever happens.
func FuzzMachineKeepsItsInvariants(f *testing.F) {
	f.Add([]byte{0, 100, 1, 0}, []byte{0, 2, 255, 255, 2, 0, 7, 0})
	f.Add([]byte{1, 255, 3, 0xff}, []byte{0, 3, 200, 1, 4, 1, 5, 2, 6, 0, 7, 1, 1, 0})
	f.Add([]byte{1, 1, 0, 3}, []byte{5, 1, 0, 0, 5, 0, 2, 255, 2, 255, 8, 0, 2, 255, 6, 7})
	f.Fuzz(func(t *testing.T, setting, script []byte) {
		if len(setting) < 4 {
			return
		}
		addrs := []vrrp.Address{
			{IP: netip.MustParseAddr("192.0.2.10"), Interface: "eth0"},
			{IP: netip.MustParseAddr("192.0.2.11"), Interface: "eth0"},
			{IP: netip.MustParseAddr("2001:db8::1"), Interface: "eth1"},
		}[:setting[2]%4]
		cfg := vrrp.Config{
			Version: vrrp.V2 + vrrp.Version(setting[0]&1), VRID: 1, Priority: max(1, setting[1]), Interval: time.Second,
			StartMaster: setting[3]&1 != 0, NoPreempt: setting[3]&2 != 0, HigherPrioritySendAdvert: setting[3]&4 != 0,
			LowerPriorityNoAdvert: setting[3]&8 != 0, Addresses: addrs,
		}
		if setting[3]&16 != 0 {
			cfg.PreemptDelay = 3 * time.Second
		}
		if setting[3]&32 != 0 {
			cfg.StartupDelay = 2 * time.Second
		}
		newChecker(t, cfg).run(script)
	})
}

// A checker is a driver that believes nothing of its machine.
type checker struct {
	*testing.T
	m      *vrrp.Machine
	cfg    vrrp.Config
	now    time.Time
	wanted bool // addresses asked for and not given up
	ready  map[vrrp.Address]bool
	ended  bool
}

func newChecker(t *testing.T, cfg vrrp.Config) *checker {
	return &checker{T: t, m: vrrp.New(cfg), cfg: cfg, now: time.Unix(1e9, 0), ready: make(map[vrrp.Address]bool)}
}

func (c *checker) run(script []byte) {
	for ; len(script) >= 2; script = script[2:] {
		c.now = c.now.Add(time.Duration(script[1]%64) * 17 * time.Millisecond)
		c.step(c.event(script[0], script[1]))
	}
}

func (c *checker) event(kind, arg byte) vrrp.Event {
	faults := []vrrp.Fault{{Kind: vrrp.FaultCheck, Name: "a"}, {Kind: vrrp.FaultInterfaceDown, Name: "eth0"}}[:arg%3]
	some := c.cfg.Addresses[:int(arg)%(len(c.cfg.Addresses)+1)]
	switch kind % 9 {
	case 0:
		return vrrp.Startup{}
	case 1:
		if arg < 250 { // not too often: nothing happens afterwards
			return vrrp.Wake{Early: time.Duration(arg) * time.Millisecond}
		}
		return vrrp.Shutdown{}
	case 2:
		if at, ok := c.m.NextWake(); ok && at.After(c.now) {
			c.now = at
		}
		return vrrp.Wake{}
	case 3, 4:
		src := netip.AddrFrom4([4]byte{192, 0, 2, arg % 4})
		at := c.now.Add(-time.Duration(binary.BigEndian.Uint16([]byte{kind, arg})) * time.Millisecond)
		return vrrp.Received{Src: src, At: at, Adv: vrrp.Advertisement{
			Version: c.cfg.Version, VRID: 1, Priority: arg, Interval: time.Duration(kind) * 10 * time.Millisecond}}
	case 5:
		return vrrp.Link{Source: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Faults: faults}
	case 6:
		return vrrp.Health{Priority: kind + arg, Faults: faults}
	case 7:
		ev := vrrp.AddressReady{Epoch: c.m.Epoch() - uint64(kind>>7), Addrs: some}
		if arg >= 128 {
			ev.Err = errors.New("refused")
		}
		return ev
	default:
		return vrrp.AddressLost{Addrs: some}
	}
}

func (c *checker) step(ev vrrp.Event) {
	before := c.m.State()
	wakeBefore, _ := c.m.NextWake()
	epoch := c.m.Epoch()
	actions := c.m.Step(c.now, ev)
	if answer, ok := ev.(vrrp.AddressReady); ok && answer.Epoch == epoch {
		for _, a := range answer.Addrs {
			c.ready[a] = answer.Err == nil
		}
	}
	state := before
	for _, a := range actions {
		if c.ended {
			c.Fatalf("%v after the end: %v", ev, a)
		}
		switch a := a.(type) {
		case vrrp.SendAdvertisement:
			if state != vrrp.Master && !willBeMaster(actions) {
				c.Fatalf("%v: advertises without being master: %v", ev, actions)
			}
		case vrrp.AddAddresses:
			c.wanted = true
			for _, addr := range a.Addrs {
				c.ready[addr] = false
			}
		case vrrp.RemoveAddresses:
			c.wanted = false
			clear(c.ready)
		case vrrp.Announce:
			for _, addr := range a.Addrs {
				if !c.ready[addr] {
					c.Fatalf("%v: announces %s, which is not in place", ev, addr)
				}
			}
		case vrrp.Transition:
			if a.From != state || a.From == a.To || a.Reason.Kind == 0 || a.Reason.String() == "" {
				c.Fatalf("%v: from %s: %v", ev, state, a)
			}
			state = a.To
		}
	}
	if state != c.m.State() {
		c.Fatalf("%v: state is %s, the transitions say %s", ev, c.m.State(), state)
	}
	if want := state == vrrp.Master && len(c.cfg.Addresses) > 0; c.wanted != want {
		c.Fatalf("%v: in state %s it holds addresses: %v", ev, state, c.wanted)
	}
	at, wakes := c.m.NextWake()
	if active := state == vrrp.Backup || state == vrrp.Master; active && !wakes || state == vrrp.Init && wakes {
		c.Fatalf("%v: in state %s a wake is pending: %v", ev, state, wakes)
	}
	if _, early := ev.(vrrp.Wake); early && state == vrrp.Backup && before == vrrp.Backup && !at.Equal(wakeBefore) {
		c.Fatalf("%v: moved a master-down timer from %s to %s", ev, wakeBefore, at)
	}
	if s := c.m.Snapshot(); s.State == vrrp.FaultState && len(s.Faults) == 0 {
		c.Fatalf("%v: in fault without a fault", ev)
	} else if s.State != vrrp.FaultState && s.State != vrrp.Init && len(s.Faults) > 0 {
		c.Fatalf("%v: %s in spite of %v", ev, s.State, s.Faults)
	} else if s.Priority == 0 || s.Priority == vrrp.PriorityOwner && c.cfg.Priority != vrrp.PriorityOwner {
		c.Fatalf("%v: effective priority %d", ev, s.Priority)
	}
	if _, ok := ev.(vrrp.Shutdown); ok {
		c.ended = true
	}
}

// willBeMaster reports whether the actions make a master: its first
// advertisement goes out before anything else.
func willBeMaster(actions []vrrp.Action) bool {
	for _, a := range actions {
		if t, ok := a.(vrrp.Transition); ok && t.To == vrrp.Master {
			return true
		}
	}
	return false
}
