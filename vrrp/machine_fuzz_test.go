package vrrp_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
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
	// a master loses an address and gets it again, before an answer to the first request
	f.Add([]byte{1, 100, 1, 0}, []byte{0, 0, 2, 0, 0, 68, 0, 84, 7, 1, 135, 1, 0, 100, 7, 3})
	// a backup becomes owner and what it was, with other intervals and versions
	f.Add([]byte{1, 100, 2, 18}, []byte{0, 0, 3, 200, 0, 67, 0, 70, 0, 65, 3, 50, 0, 83, 0, 71, 0, 73, 2, 0, 0, 86, 0, 75})
	// hand-overs: a stop, a failover with and without somebody, an expiry, and what is heard meanwhile
	f.Add([]byte{1, 100, 2, 64}, []byte{0, 0, 2, 0, 7, 3, 2, 0, 9, 0, 3, 50, 12, 2, 12, 3, 2, 0, 2, 0, 13, 3, 2, 0, 2, 0, 9, 0, 2, 0, 2, 0, 1, 251, 12, 2, 2, 0})
	f.Add([]byte{0, 100, 3, 192}, []byte{9, 3, 7, 3, 12, 1, 4, 90, 13, 1, 8, 2, 11, 60, 2, 0, 10, 90, 2, 0, 2, 0, 1, 255, 1, 255})
	f.Fuzz(func(t *testing.T, setting, script []byte) {
		if len(setting) < 4 {
			return
		}
		newChecker(t, fuzzConfig(setting)).run(script)
	})
}

// fuzzConfig makes a configuration of four octets.
func fuzzConfig(setting []byte) vrrp.Config {
	addrs := fuzzAddresses()[:setting[2]%4]
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
	cfg.Handover, cfg.ResignOnLoss = setting[3]&64 != 0, setting[3]&128 != 0
	return cfg
}

func fuzzAddresses() []vrrp.Address {
	return []vrrp.Address{
		{IP: netip.MustParseAddr("192.0.2.10"), Interface: "eth0"},
		{IP: netip.MustParseAddr("192.0.2.11"), Interface: "eth0"},
		{IP: netip.MustParseAddr("2001:db8::1"), Interface: "eth1"},
		{IP: netip.MustParseAddr("192.0.2.10"), Interface: "eth1"},
	}
}

// fuzzReconfigure changes a configuration in one respect or two.
func fuzzReconfigure(cfg vrrp.Config, arg byte) vrrp.Reconfigure {
	ev := vrrp.Reconfigure{}
	much := arg / 16
	switch arg % 16 {
	case 1:
		cfg.Version = vrrp.V2 + vrrp.V3 - cfg.Version
	case 2:
		cfg.Priority = arg
	case 3:
		cfg.Priority = []byte{vrrp.PriorityOwner, 1}[much%2]
	case 4:
		cfg.Addresses = fuzzAddresses()[:much%5]
	case 5:
		cfg.Addresses = fuzzAddresses()[much%4:]
	case 6:
		cfg.Interval = time.Duration(much+1) * 300 * time.Millisecond
	case 7:
		cfg.NoPreempt = !cfg.NoPreempt
	case 8:
		cfg.PreemptDelay = time.Duration(much%4) * time.Second
	case 9:
		cfg.DownTimerAdverts = int(much % 5)
	case 10:
		cfg.StartMaster = !cfg.StartMaster
	case 11:
		ev.Health = &vrrp.Health{Priority: arg, Faults: []vrrp.Fault{{Kind: vrrp.FaultCheck, Name: "a"}}[:much%2]}
	case 12:
		ev.Health = &vrrp.Health{Priority: arg, Pending: []string{"b", "c"}[:much%3]}
	case 13:
		ev.Advertise = true
	case 14:
		cfg.Priority, cfg.Addresses = arg, fuzzAddresses()[much%2:]
	case 15:
		cfg.Version, cfg.Interval = vrrp.V3, time.Duration(much+1)*100*time.Millisecond
		ev.Health = &vrrp.Health{Faults: []vrrp.Fault{{Kind: vrrp.FaultCheck, Name: "a"}}[:much%2]}
	}
	ev.Config = cfg
	return ev
}

// A checker is a driver that believes nothing of its machine.
type checker struct {
	*testing.T
	m     *vrrp.Machine
	cfg   vrrp.Config
	now   time.Time
	asked map[vrrp.Address]uint64 // and not given up: in which epoch
	ready map[vrrp.Address]bool
	begun bool
	ended bool
}

func newChecker(t *testing.T, cfg vrrp.Config) *checker {
	return &checker{
		T: t, m: vrrp.New(cfg), cfg: cfg, now: time.Unix(1e9, 0),
		asked: make(map[vrrp.Address]uint64), ready: make(map[vrrp.Address]bool),
	}
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
	switch kind % 14 {
	case 0:
		if arg >= 64 {
			return fuzzReconfigure(c.cfg, arg)
		}
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
		if arg%128 >= 96 {
			ev.Addrs = fuzzAddresses() // some of them not, or no longer, asked for
		}
		return ev
	case 8:
		return vrrp.AddressLost{Addrs: some}
	case 9:
		if arg%4 == 3 {
			return vrrp.Resume{}
		}
		return vrrp.Failover{End: arg%4 == 1}
	case 10:
		return vrrp.Received{Src: netip.AddrFrom4([4]byte{192, 0, 2, arg % 4}), Differs: true, Adv: vrrp.Advertisement{
			Version: c.cfg.Version, VRID: 1, Priority: arg, Interval: time.Duration(kind) * 10 * time.Millisecond}}
	case 11:
		return vrrp.Gap{Length: time.Duration(arg) * 100 * time.Millisecond}
	case 12:
		all := fuzzAddresses()
		return vrrp.ForeignOwner{Addr: all[int(arg)%len(all)], MAC: vrrp.MAC{2, 0, 0, 0, 0, arg % 16}}
	default:
		return vrrp.AddressExpired{Addrs: some}
	}
}

func (c *checker) step(ev vrrp.Event) {
	old := c.condition()
	c.stepped(ev, old, c.m.Step(c.now, ev))
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

// stepped checks what one machine did by itself.
func (c *checker) stepped(ev vrrp.Event, old before, actions []vrrp.Action) {
	c.happened(ev, old)
	for _, a := range actions {
		c.did(ev, &old, a, actions)
	}
	c.holds(ev, old)
	if ev, ok := ev.(vrrp.Reconfigure); ok {
		c.reconfigured(ev, old, actions)
	}
}

// A before is what a machine was like before a step.
type before struct {
	state vrrp.State // follows the transitions
	was   vrrp.State
	wake  time.Time
	epoch uint64
	cfg   vrrp.Config
	asked map[vrrp.Address]uint64
	snap  vrrp.Snapshot
}

func (c *checker) condition() before {
	wake, _ := c.m.NextWake()
	s := c.m.Snapshot()
	return before{state: s.State, was: s.State, wake: wake, epoch: c.m.Epoch(), cfg: c.cfg, asked: maps.Clone(c.asked), snap: s}
}

// happened notes what the event itself says.
func (c *checker) happened(ev vrrp.Event, old before) {
	switch ev := ev.(type) {
	case vrrp.Startup, vrrp.Resume:
		c.begun = true
	case vrrp.AddressReady:
		for _, a := range ev.Addrs {
			if epoch, asked := c.asked[a]; asked && ev.Epoch >= epoch && ev.Epoch <= old.epoch {
				c.ready[a] = ev.Err == nil
			}
		}
	case vrrp.Reconfigure:
		if !c.ended {
			c.cfg = ev.Config
		}
	}
}

// did checks one action.
func (c *checker) did(ev vrrp.Event, old *before, a vrrp.Action, all []vrrp.Action) {
	if c.ended {
		switch a.(type) {
		case vrrp.RemoveAddresses, vrrp.Note:
			if old.snap.HandingOver {
				break
			}
			c.Fatalf("%v after the end of a hand-over: %v", ev, a)
		default:
			c.Fatalf("%v after the end: %v", ev, a)
		}
	}
	switch a := a.(type) {
	case vrrp.SendAdvertisement:
		if s := c.m.Snapshot(); a.Priority > 0 && s.HandingOver && s.State == vrrp.Master {
			c.Fatalf("%v: advertises what it has offered to others: %v", ev, all)
		}
		if old.state != vrrp.Master && !willBeMaster(all) {
			c.Fatalf("%v: advertises without being master: %v", ev, all)
		}
	case vrrp.AddAddresses:
		if a.Epoch != c.m.Epoch() || a.Epoch < old.epoch {
			c.Fatalf("%v: asks in epoch %d, after %d; it is %d", ev, a.Epoch, old.epoch, c.m.Epoch())
		}
		for _, addr := range a.Addrs {
			if _, twice := c.asked[addr]; twice && !a.Restore {
				c.Fatalf("%v: asks again for %s", ev, addr)
			}
			c.asked[addr], c.ready[addr] = a.Epoch, false
		}
	case vrrp.RemoveAddresses:
		for _, addr := range a.Addrs {
			if _, asked := c.asked[addr]; !asked {
				c.Fatalf("%v: gives up %s, which it has not", ev, addr)
			}
			delete(c.asked, addr)
			delete(c.ready, addr)
		}
		if a.Addrs == nil {
			clear(c.asked)
			clear(c.ready)
		}
	case vrrp.Announce:
		if s := c.m.Snapshot(); s.HandingOver && s.State == vrrp.Master {
			c.Fatalf("%v: announces what it has offered to others", ev)
		}
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
	want := 0
	for _, a := range c.cfg.Addresses {
		if _, asked := c.asked[a]; asked != (s.State == vrrp.Master) && !s.HandingOver {
			c.Fatalf("%v: in state %s it holds %s: %v", ev, s.State, a, asked)
		}
		if s.State == vrrp.Master {
			want++
		}
	}
	if len(c.asked) != want && !(s.HandingOver && s.State != vrrp.Master) {
		c.Fatalf("%v: in state %s it holds %v", ev, s.State, c.asked)
	}
	at, wakes := c.m.NextWake()
	if active := s.State == vrrp.Backup || s.State == vrrp.Master; (active || s.HandingOver) && !wakes || s.State == vrrp.Init && wakes && !s.HandingOver {
		c.Fatalf("%v: in state %s a wake is pending: %v", ev, s.State, wakes)
	}
	if _, isWake := ev.(vrrp.Wake); isWake && s.State == vrrp.Backup && old.was == vrrp.Backup && !at.Equal(old.wake) && !s.WantsMaster &&
		!old.snap.HandingOver && !s.Held.IsValid() && c.now.Sub(old.wake) < c.down() {
		c.Fatalf("%v: moved a master-down timer from %s to %s", ev, old.wake, at)
	}
	if s.State != vrrp.FaultState && s.State != vrrp.Init && len(s.Faults) > 0 {
		c.Fatalf("%v: %s in spite of %v", ev, s.State, s.Faults)
	} else if s.Priority == 0 || s.Priority == vrrp.PriorityOwner && c.cfg.Priority != vrrp.PriorityOwner {
		c.Fatalf("%v: effective priority %d", ev, s.Priority)
	}
}

// down returns the machine's master-down interval.
func (c *checker) down() time.Duration {
	s := c.m.Snapshot()
	adverts := c.cfg.DownTimerAdverts
	if adverts == 0 {
		adverts = 3
	}
	return vrrp.MasterDownInterval(c.cfg.Version, s.Priority, s.MasterInterval, adverts)
}

// wasAway reports whether the actions begin with the end of a gap.
func wasAway(actions []vrrp.Action) bool {
	return slices.ContainsFunc(actions, func(a vrrp.Action) bool {
		switch a := a.(type) {
		case vrrp.Transition:
			return a.Reason.Kind == vrrp.ReasonGap
		case vrrp.Note:
			return a.Reason.Kind == vrrp.ReasonGap
		}
		return false
	})
}

// reconfigured checks what another configuration may do to a machine.
func (c *checker) reconfigured(ev vrrp.Reconfigure, old before, actions []vrrp.Action) {
	if wasAway(actions) {
		return
	}
	s := c.m.Snapshot()
	next, _ := c.m.NextWake()
	sent, added, removed := false, false, false
	for _, a := range actions {
		switch a := a.(type) {
		case vrrp.SendAdvertisement:
			sent = true
		case vrrp.AddAddresses:
			added = true
			for _, addr := range a.Addrs {
				if _, kept := old.asked[addr]; kept && old.was == vrrp.Master && s.State == vrrp.Master || removed {
					c.Fatalf("%v: asks for %s, which it had, or too late", ev, addr)
				}
			}
		case vrrp.RemoveAddresses:
			removed = true
		}
	}
	same := ev.Health == nil && !ev.Advertise && reflect.DeepEqual(old.cfg, ev.Config)
	old.snap.Reason = s.Reason // of a fault, which is brought up to date now and then
	if same && (len(actions) > 0 || !next.Equal(old.wake) || !reflect.DeepEqual(old.snap, s)) {
		c.Fatalf("%v: nothing is new, but it does %v, wakes at %s instead of %s: %+v became %+v", ev, actions, next, old.wake, old.snap, s)
	}
	switch old.was {
	case vrrp.Master:
		if s.State != vrrp.Master && s.State != vrrp.FaultState {
			c.Fatalf("%v: master becomes %s", ev, s.State)
		}
		changed := s.Priority != old.snap.Priority || ev.Advertise || ev.Config.Version != old.cfg.Version ||
			ev.Config.Interval != old.cfg.Interval || !slices.Equal(ev.Config.Addresses, old.cfg.Addresses)
		if s.State == vrrp.Master && !s.HandingOver && (sent != changed || !sent && !next.Equal(old.wake) || sent && next.After(c.now.Add(ev.Config.Interval))) {
			c.Fatalf("%v: something advertised changed: %v, but it advertises: %v, next at %s instead of %s", ev, changed, sent, next, old.wake)
		}
	case vrrp.Backup:
		if s.State != vrrp.Backup && s.State != vrrp.FaultState || sent || added || removed {
			c.Fatalf("%v: backup becomes %s and does %v", ev, s.State, actions)
		}
		from := c.now
		if s.StartupUntil.After(from) {
			from = s.StartupUntil
		}
		adverts := ev.Config.DownTimerAdverts
		if adverts == 0 {
			adverts = 3
		}
		down := vrrp.MasterDownInterval(ev.Config.Version, s.Priority, s.MasterInterval, adverts)
		overdue := next.Before(c.now) && !next.Equal(old.wake) && !reflect.DeepEqual(old.cfg, ev.Config)
		if s.State == vrrp.Backup && !s.Held.IsValid() && !s.HandingOver && (overdue || next.After(from.Add(down))) {
			c.Fatalf("%v: timer runs out at %s, now is %s, the interval %s", ev, next, c.now, down)
		}
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
