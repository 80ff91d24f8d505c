package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"vipd/vrrp"
)

// A History is what one seed stands for: a number of routers, how they are
// configured, and what happens to them when.
type History struct {
	Seed    uint64
	Length  time.Duration
	Routers int
	// LANs is how many interfaces each router has, with a virtual router on each;
	// if there are two, those of a host are a sync group.
	LANs int
	// Version, Interval and Adverts are those of all routers at first.
	Version  vrrp.Version
	Interval time.Duration
	Adverts  int
	// VIPs is how many addresses each virtual router has. The last one may be
	// taken out of a configuration and put back if there are several.
	VIPs int
	// Leases is unset where addresses have no lifetime (vip_lease: off).
	Leases bool
	// Refresh is how often a master announces again, 0 for never.
	Refresh time.Duration

	Settings []Setting // of each router
	Faults   []Fault   // in the order of time
}

// A Setting is the configuration of one router.
type Setting struct {
	Priority                   uint8
	StartMaster, NoPreempt     bool
	PreemptDelay, StartupDelay time.Duration
	LowerPriorityNoAdvert      bool
	NoLastAdvert               bool // higher_prio_send_advert off
	NoHandover                 bool
	ResignOnLoss               bool
}

// String lists what is set.
func (s Setting) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "priority %d", s.Priority)
	for _, d := range []struct {
		name string
		is   time.Duration
	}{{"preempt_delay", s.PreemptDelay}, {"vrrp_startup_delay", s.StartupDelay}} {
		if d.is > 0 {
			fmt.Fprintf(&b, ", %s %s", d.name, d.is)
		}
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"state MASTER", s.StartMaster}, {"nopreempt", s.NoPreempt}, {"lower_prio_no_advert", s.LowerPriorityNoAdvert},
		{"higher_prio_send_advert off", s.NoLastAdvert}, {"handover off", s.NoHandover}, {"on_address_loss resign", s.ResignOnLoss},
	} {
		if f.set {
			b.WriteString(", " + f.name)
		}
	}
	return b.String()
}

// A FaultKind is something that happens to routers or to the network.
type FaultKind uint8

// The kinds of fault. What lasts for a time is mended after it.
const (
	Loss           FaultKind = iota // everybody loses a part of everything
	LinkLoss                        // one link loses a part
	Slow                            // everything is delayed, by different times
	Duplication                     // a part arrives twice
	OneWay                          // one link is cut
	Partition                       // some routers are cut off the others
	Pause                           // the process is stopped; the kernel goes on
	Suspend                         // the host does not run, and its clocks stand still
	Freeze                          // the host does not run, and its clocks show it afterwards
	Crash                           // the process dies, and is started again
	Restart                         // the process is stopped properly, and is started again
	Failover                        // the operator asks for another master
	ClockStep                       // the wall clock is set to another time
	LowerPriority                   // a check takes something off the priority
	CheckFails                      // a check with weight 0 fails
	InterfaceDown                   // the cable is pulled
	AddressDeleted                  // somebody removes an address
	Reload                          // another priority
	OtherInterval                   // another interval
	OtherAddresses                  // one address less
	AddressTrouble                  // addresses cannot be added now and then
	Noise                           // invalid advertisements
	faultKinds
)

var kindNames = [...]string{
	"loss", "link loss", "slow", "duplication", "one way", "partition", "pause", "suspend", "freeze", "crash", "restart",
	"failover", "clock step", "lower priority", "check fails", "interface down", "address deleted", "reload",
	"other interval", "other addresses", "address trouble", "noise",
}

// String names the kind in words.
func (k FaultKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("FaultKind(%d)", uint8(k))
}

// A Fault is one of the things that happen.
type Fault struct {
	Kind FaultKind
	At   time.Duration // when, from the beginning
	For  time.Duration // how long it lasts
	// Host is whom it is about, and Other the receiving end of a link. For a
	// partition Hosts has a bit for each router on the one side.
	Host, Other int
	Hosts       uint32
	LAN         int     // which network, -1 for all of them
	Amount      float64 // what it means depends on the kind, 0 to 1
	// other is a choice between two: on which side of a partition the clients are,
	// and whether a failover is taken back.
	other bool
}

// String says what happens.
func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %s %s", f.At, f.Kind)
	switch f.Kind {
	case Loss, Slow, Duplication:
		fmt.Fprintf(&b, " %.2f", f.Amount)
	case LinkLoss, OneWay:
		fmt.Fprintf(&b, " from r%d to r%d %.2f", f.Host+1, f.Other+1, f.Amount)
	case Partition:
		fmt.Fprintf(&b, " of hosts %b", f.Hosts)
	case Noise:
	default:
		fmt.Fprintf(&b, " of r%d %.2f", f.Host+1, f.Amount)
	}
	if f.LAN >= 0 {
		fmt.Fprintf(&b, " on LAN %d", f.LAN)
	}
	if f.For > 0 {
		fmt.Fprintf(&b, " for %s", f.For)
	}
	return b.String()
}

// String describes the history without its faults.
func (h *History) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %s, %d routers on %d LAN, %v, interval %s, %d adverts, %d addresses, leases %t", h.Seed, h.Length,
		h.Routers, h.LANs, h.Version, h.Interval, h.Adverts, h.VIPs, h.Leases)
	for i, s := range h.Settings {
		fmt.Fprintf(&b, "\n  r%d: %v", i+1, s)
	}
	return b.String()
}

// pick returns one of the values, the first ones more often.
func pick[T any](rng *rand.Rand, values ...T) T {
	return values[min(rng.IntN(len(values)), rng.IntN(len(values)))]
}

// NewHistory returns the history of a seed.
func NewHistory(seed uint64) *History {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := &History{
		Seed: seed, Routers: pick(rng, 2, 2, 3, 3, 4, 5, 7, 10, 16), LANs: 1, Adverts: 3,
		VIPs: pick(rng, 1, 2, 2, 3), Leases: rng.IntN(12) > 0,
	}
	if rng.IntN(4) == 0 {
		h.LANs = 2
		h.Routers = min(h.Routers, 6)
	}
	if rng.IntN(8) == 0 {
		h.Adverts = 1 + rng.IntN(6)
	}
	if rng.IntN(3) == 0 {
		h.Refresh = 60 * time.Second
	}
	if rng.IntN(5) < 2 {
		h.Version, h.Interval = vrrp.V2, time.Duration(pick(rng, 1, 1, 1, 1, 2, 3, 20))*time.Second
	} else {
		h.Version = vrrp.V3
		h.Interval = time.Duration(pick(rng, 1000, 1000, 1000, 1000, 500, 200, 100, 2000, 3000, 300, 990, 1500, 50, 40950)) * time.Millisecond
	}
	h.Length = min(max(time.Duration(100+rng.IntN(700))*h.Interval, time.Minute), 10*time.Minute)
	if h.Interval > 10*time.Second {
		h.Length = 100 * h.Interval
	}
	equal := rng.IntN(5) == 0
	base := rng.IntN(150)
	for i := range h.Routers {
		s := Setting{Priority: uint8(1 + base + rng.IntN(104))}
		if equal {
			s.Priority = uint8(1 + base)
		}
		s.NoPreempt = rng.IntN(6) == 0
		if rng.IntN(10) == 0 {
			s.PreemptDelay = time.Duration(rng.IntN(8)) * h.Interval
		}
		if rng.IntN(10) == 0 {
			s.StartupDelay = time.Duration(rng.IntN(6)) * h.Interval
		}
		s.LowerPriorityNoAdvert = rng.IntN(12) == 0
		s.NoLastAdvert = rng.IntN(10) == 0
		s.NoHandover = rng.IntN(10) == 0
		s.ResignOnLoss = rng.IntN(8) == 0
		if i == 0 && rng.IntN(25) == 0 {
			s.Priority, s.StartMaster = vrrp.PriorityOwner, rng.IntN(2) == 0
		}
		h.Settings = append(h.Settings, s)
	}
	h.disturb(rng)
	return h
}

// disturb makes up what happens.
func (h *History) disturb(rng *rand.Rand) {
	kinds := rng.Perm(int(faultKinds))
	if rng.IntN(3) > 0 {
		kinds = kinds[:1+rng.IntN(4)]
	}
	oneByOne := rng.IntN(2) == 0
	down := vrrp.MasterDownInterval(h.Version, h.Settings[0].Priority, h.Interval, h.Adverts)
	rest := time.Duration(4+rng.IntN(20)) * h.Interval
	upTo := func(d time.Duration) time.Duration {
		return time.Duration(rng.Int64N(int64(d) + 1)).Truncate(time.Millisecond)
	}
	for at := down + upTo(down+rest); at < h.Length; {
		f := Fault{Kind: FaultKind(kinds[rng.IntN(len(kinds))]), At: at, Host: rng.IntN(h.Routers), LAN: rng.IntN(h.LANs), Amount: rng.Float64()}
		f.Other = (f.Host + 1 + rng.IntN(h.Routers-1)) % h.Routers
		f.For = upTo(pick(rng, down, down+2*time.Second, 3*down, 6*down))
		f.Hosts = uint32(1 + rng.IntN(1<<h.Routers-2))
		f.other = rng.IntN(2) == 0
		if rng.IntN(3) == 0 {
			f.Host = 0 // there are enough who are always backup
			for i, s := range h.Settings {
				if s.Priority > h.Settings[f.Host].Priority {
					f.Host = i
				}
			}
			f.Other = (f.Host + 1 + rng.IntN(h.Routers-1)) % h.Routers
		}
		switch f.Kind {
		case Partition, Loss, Slow, Duplication, Noise:
			if rng.IntN(2) == 0 {
				f.LAN = -1
			}
		case Pause, Suspend, Freeze, Restart, Failover, ClockStep, LowerPriority, AddressTrouble, Reload, OtherInterval:
			f.LAN = -1
		case Crash:
			f.LAN = -1
			if rng.IntN(2) == 0 {
				f.For = upTo(3 * h.Interval)
			}
		}
		h.Faults = append(h.Faults, f)
		at += upTo(2 * rest)
		if oneByOne {
			at += f.For + rest
		}
	}
	slices.SortStableFunc(h.Faults, func(a, b Fault) int { return int(a.At - b.At) })
}
