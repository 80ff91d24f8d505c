package vrrp_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
	"vipd/vrrp/vrrptest"
)

// TestGroupsOfTwoRoutersAgreeAfterHealing lets two routers, each with a group of
// a virtual router on either of two LANs, live through partitions, loss, delay
// and pulled cables. At any time all members of a router are master or none is;
// and once all is well again, exactly one router is, of both.
func TestGroupsOfTwoRoutersAgreeAfterHealing(t *testing.T) {
	for _, tt := range []struct {
		name       string
		priorities [2][2]uint8 // of router and LAN
		noPreempt  bool
		winner     int // -1: whichever
	}{
		{"the better router wins", [2][2]uint8{{100, 100}, {150, 150}}, false, 1},
		{"one is better on one LAN, and equal on the other", [2][2]uint8{{100, 100}, {100, 150}}, false, -1},
		{"addresses decide between equals", [2][2]uint8{{100, 100}, {100, 100}}, false, -1},
		{"each is better on one LAN", [2][2]uint8{{150, 100}, {100, 150}}, false, -1},
		{"without preemption", [2][2]uint8{{100, 100}, {150, 150}}, true, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(6) {
				synctest.Test(t, func(t *testing.T) {
					l := newGroupLab(t, seed, tt.priorities, tt.noPreempt)
					defer l.close()
					l.run(10 * time.Second)
					for range 12 {
						l.disturb()
						l.run(time.Duration(l.rng.IntN(9000)) * time.Millisecond)
					}
					l.heal()
					l.run(15 * time.Second)
					l.mustHaveOneMaster(tt.winner)
					steps := l.transitions
					l.run(10 * time.Second)
					if l.transitions != steps {
						t.Errorf("seed %d: %d transitions while nothing happened", seed, l.transitions-steps)
					}
				})
			}
		})
	}
}

// TestGroupGoesWhereBothOfItsLANsWork has the better router cut from one
// LAN only: its link is down there, so that it gives up the other LAN, too.
func TestGroupGoesWhereBothOfItsLANsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newGroupLab(t, 1, [2][2]uint8{{100, 100}, {150, 150}}, false)
		defer l.close()
		l.run(10 * time.Second)
		l.mustHaveOneMaster(1)
		l.cable(1, 0, false)
		// Priority 0 on both LANs: it takes the other router its skew time.
		l.run(time.Second)
		l.mustHaveOneMaster(0)
		l.cable(1, 0, true)
		l.run(10 * time.Second)
		l.mustHaveOneMaster(1)
	})
}

// A groupLab is two routers on two LANs. One goroutine drives everything.
type groupLab struct {
	*testing.T
	seed        uint64
	rng         *rand.Rand
	lans        [2]*vrrptest.LAN
	routers     [2]*groupRouter
	transitions int
}

// A groupRouter is one router: a group with a member on each LAN.
type groupRouter struct {
	name    string
	group   *vrrp.Group
	members [2]*vrrp.Machine
	configs [2]vrrp.Config
	ports   [2]*vrrptest.Port
	sources [2]netip.Addr
	down    [2]bool // the cable is pulled
}

func newGroupLab(t *testing.T, seed uint64, priorities [2][2]uint8, noPreempt bool) *groupLab {
	l := &groupLab{T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1))}
	for i := range l.lans {
		l.lans[i] = vrrptest.NewLAN(seed + uint64(i))
	}
	for r := range l.routers {
		router := &groupRouter{name: fmt.Sprintf("r%d", r+1)}
		var members []vrrp.GroupMember
		for i := range l.lans {
			router.configs[i] = vrrp.Config{
				Version: vrrp.V3, VRID: uint8(51 + i), Priority: priorities[r][i], Interval: 200 * time.Millisecond, NoPreempt: noPreempt,
				Addresses: []vrrp.Address{{IP: netip.AddrFrom4([4]byte{10, byte(i), 0, 100})}},
			}
			router.members[i] = vrrp.New(router.configs[i])
			router.sources[i] = netip.AddrFrom4([4]byte{10, byte(i), 0, byte(r + 1)})
			router.ports[i] = l.lans[i].Port(router.sources[i])
			members = append(members, vrrp.GroupMember{Name: fmt.Sprintf("VI_%d", i+1), Machine: router.members[i]})
		}
		router.group = vrrp.NewGroup("VG_1", members)
		l.routers[r] = router
		for i := range members {
			l.step(router, i, vrrp.Link{Source: router.sources[i]})
			l.step(router, i, vrrp.Startup{})
		}
	}
	return l
}

func (l *groupLab) close() {
	l.heal() // delayed datagrams belong to the bubble
	l.run(time.Second)
	for _, r := range l.routers {
		for i := range r.members {
			l.step(r, i, vrrp.Shutdown{})
			if err := r.ports[i].Close(); err != nil {
				l.Error(err)
			}
		}
	}
}

// step gives a member an event, carries out what is to be done, and checks what
// has to hold after each step.
func (l *groupLab) step(r *groupRouter, member int, ev vrrp.Event) {
	l.Helper()
	type request struct {
		member int
		vrrp.AddAddresses
	}
	var asked []request
	for _, a := range r.group.Step(time.Now(), member, ev) {
		switch act := a.Action.(type) {
		case vrrp.SendAdvertisement:
			l.send(r, a.Member, act.Priority)
		case vrrp.AddAddresses:
			asked = append(asked, request{a.Member, act})
		case vrrp.Transition:
			l.transitions++
		}
	}
	_, stopping := ev.(vrrp.Shutdown)
	if s := r.members[0].State(); !stopping && (s == vrrp.Master) != (r.members[1].State() == vrrp.Master) {
		l.Fatalf("seed %d: %s is %s on one LAN and %s on the other", l.seed, r.name, s, r.members[1].State())
	}
	for _, add := range asked {
		l.step(r, add.member, vrrp.AddressReady{Epoch: add.Epoch, Addrs: add.Addrs})
	}
}

func (l *groupLab) send(r *groupRouter, member int, priority uint8) {
	if r.down[member] {
		return
	}
	cfg := &r.configs[member]
	adv := vrrp.Advertisement{
		Version: cfg.Version, VRID: cfg.VRID, Priority: priority, Interval: cfg.Interval, Addrs: []netip.Addr{cfg.Addresses[0].IP},
	}
	src, dst := r.sources[member], vrrp.IPv4.Group()
	payload, err := adv.AppendTo(nil, src, dst, vrrp.ChecksumPseudoHeader)
	if err != nil {
		l.Fatal(err)
	}
	if _, err := r.ports[member].Send([]vrrpconn.Message{{Src: src, Dst: dst, TTL: 255, Payload: payload}}); err != nil {
		l.Fatal(err)
	}
}

// run drives both routers for a while.
func (l *groupLab) run(d time.Duration) {
	l.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		for _, r := range l.routers {
			for i, m := range r.members {
				l.receive(r, i)
				if at, ok := m.NextWake(); ok && !at.After(time.Now()) {
					l.step(r, i, vrrp.Wake{})
				}
			}
		}
	}
}

func (l *groupLab) receive(r *groupRouter, member int) {
	l.Helper()
	batch := make([]vrrpconn.Datagram, 4)
	for {
		n, err := r.ports[member].Recv(batch)
		if err != nil {
			l.Fatal(err)
		}
		if n == 0 {
			return
		}
		for _, d := range batch[:n] {
			adv, err := vrrp.ParseAdvertisement(d.Payload, vrrp.IPv4)
			if err != nil || !vrrp.VerifyChecksum(d.Payload, d.Src, d.Dst, vrrp.ChecksumPseudoHeader) {
				l.Fatalf("%x from %s is no advertisement: %v", d.Payload, d.Src, err)
			}
			if !r.down[member] {
				l.step(r, member, vrrp.Received{Src: d.Src, Adv: adv, At: d.At})
			}
		}
	}
}

// disturb breaks or mends one thing.
func (l *groupLab) disturb() {
	l.Helper()
	i, r := l.rng.IntN(2), l.rng.IntN(2)
	switch l.rng.IntN(6) {
	case 0:
		l.lans[i].Partition(l.routers[0].ports[i])
	case 1:
		l.lans[i].Heal()
	case 2:
		l.lans[i].SetLoss(l.rng.Float64())
	case 3:
		l.lans[i].SetDelay(time.Duration(l.rng.IntN(20)) * time.Millisecond)
	case 4:
		l.cable(r, i, false)
	case 5:
		for j := range l.lans {
			l.lans[j].Partition(l.routers[0].ports[j])
		}
	}
}

// cable pulls a cable of a router, or plugs it in.
func (l *groupLab) cable(router, lan int, in bool) {
	l.Helper()
	r := l.routers[router]
	if r.down[lan] != in {
		return
	}
	ev := vrrp.Link{Source: r.sources[lan]}
	if !in {
		ev.Faults = []vrrp.Fault{{Kind: vrrp.FaultInterfaceDown, Name: fmt.Sprintf("eth%d", lan)}}
	}
	l.step(r, lan, ev)
	r.down[lan] = !in
}

// heal mends everything.
func (l *groupLab) heal() {
	l.Helper()
	for i, lan := range l.lans {
		lan.Heal()
		lan.SetLoss(0)
		lan.SetDelay(time.Millisecond)
		for r := range l.routers {
			l.cable(r, i, true)
		}
	}
}

// mustHaveOneMaster checks that one router is master of both LANs, and the other
// of none; which one, unless it is -1.
func (l *groupLab) mustHaveOneMaster(want int) {
	l.Helper()
	masters := 0
	for i, r := range l.routers {
		is := r.group.Snapshot().State == vrrp.Master
		if is {
			masters++
		}
		if is != (want == i) && want >= 0 {
			l.Errorf("seed %d: %s is %s", l.seed, r.name, r.group.Snapshot().State)
		}
	}
	if masters != 1 {
		l.Errorf("seed %d: %d masters", l.seed, masters)
	}
}
