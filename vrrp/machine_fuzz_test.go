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
	// a check without a result, the start, its failure, its recovery
	f.Add([]byte{0, 100, 1, 0}, []byte{6, 66, 0, 0, 6, 67, 6, 66, 6, 0, 2, 0})
	f.Fuzz(func(t *testing.T, setting, script []byte) {
		if len(setting) < 4 {
			return
		}
		newChecker(t, fuzzConfig(setting)).run(script)
	})
}

// fuzzConfig makes a configuration of four octets.
func fuzzConfig(setting []byte) vrrp.Config {
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
	return cfg
}

// A checker is a driver that believes nothing of its machine.
type checker struct {
	*testing.T
	m      *vrrp.Machine
	cfg    vrrp.Config
	now    time.Time
	wanted bool // addresses asked for and not given up
	ready  map[vrrp.Address]bool
	begun  bool
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
		return vrrp.Health{Priority: kind + arg, Faults: faults, Pending: []string{"b", "c"}[:arg/64%3]}
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
	old := c.condition()
	actions := c.m.Step(c.now, ev)
	c.happened(ev, old)
	for _, a := range actions {
		c.did(ev, &old, a, actions)
	}
	c.holds(ev, old)
	c.ended = c.ended || isShutdown(ev)
	s := c.m.Snapshot()
	if !c.begun || c.ended || s.State == vrrp.Backup || s.State == vrrp.Master {
		return
	}
	if len(s.Faults) == 0 && len(s.Pending) == 0 {
		c.Fatalf("%v: in %s without a reason", ev, s.State)
	} else if s.State == vrrp.Init && len(s.Faults) > 0 {
		c.Fatalf("%v: not in fault in spite of %v", ev, s.Faults)
	}
}

// A before is what a machine was like before a step.
type before struct {
	state vrrp.State // follows the transitions
	was   vrrp.State
	wake  time.Time
	epoch uint64
}

func (c *checker) condition() before {
	wake, _ := c.m.NextWake()
	return before{state: c.m.State(), was: c.m.State(), wake: wake, epoch: c.m.Epoch()}
}

// happened notes what the event itself says.
func (c *checker) happened(ev vrrp.Event, old before) {
	switch ev := ev.(type) {
	case vrrp.Startup:
		c.begun = true
	case vrrp.AddressReady:
		if ev.Epoch != old.epoch {
			return
		}
		for _, a := range ev.Addrs {
			c.ready[a] = ev.Err == nil
		}
	}
}

// did checks one action.
func (c *checker) did(ev vrrp.Event, old *before, a vrrp.Action, all []vrrp.Action) {
	if c.ended {
		c.Fatalf("%v after the end: %v", ev, a)
	}
	switch a := a.(type) {
	case vrrp.SendAdvertisement:
		if old.state != vrrp.Master && !willBeMaster(all) {
			c.Fatalf("%v: advertises without being master: %v", ev, all)
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
		if a.From != old.state || a.From == a.To || a.Reason.Kind == 0 || a.Reason.String() == "" {
			c.Fatalf("%v: from %s: %v", ev, old.state, a)
		}
		old.state = a.To
	}
}

// holds checks what holds between steps, of every machine.
func (c *checker) holds(ev vrrp.Event, old before) {
	s := c.m.Snapshot()
	if old.state != s.State {
		c.Fatalf("%v: state is %s, the transitions say %s", ev, s.State, old.state)
	}
	if want := s.State == vrrp.Master && len(c.cfg.Addresses) > 0; c.wanted != want {
		c.Fatalf("%v: in state %s it holds addresses: %v", ev, s.State, c.wanted)
	}
	at, wakes := c.m.NextWake()
	if active := s.State == vrrp.Backup || s.State == vrrp.Master; active && !wakes || s.State == vrrp.Init && wakes {
		c.Fatalf("%v: in state %s a wake is pending: %v", ev, s.State, wakes)
	}
	if _, isWake := ev.(vrrp.Wake); isWake && s.State == vrrp.Backup && old.was == vrrp.Backup && !at.Equal(old.wake) && !s.WantsMaster {
		c.Fatalf("%v: moved a master-down timer from %s to %s", ev, old.wake, at)
	}
	if s.State != vrrp.FaultState && s.State != vrrp.Init && len(s.Faults) > 0 {
		c.Fatalf("%v: %s in spite of %v", ev, s.State, s.Faults)
	} else if s.Priority == 0 || s.Priority == vrrp.PriorityOwner && c.cfg.Priority != vrrp.PriorityOwner {
		c.Fatalf("%v: effective priority %d", ev, s.Priority)
	}
}

func isShutdown(ev vrrp.Event) bool {
	_, ok := ev.(vrrp.Shutdown)
	return ok
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
