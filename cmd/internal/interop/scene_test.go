package interop

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

const (
	// patience is how long a test waits for what must happen. It fails then.
	patience = 30 * time.Second
	// slack is how much later than it should something may be on a busy machine,
	// and how long a transition may show two holders of an address, or none beside
	// the time that the protocol takes.
	slack = 2 * time.Second

	pingInterval = 50 * time.Millisecond
	// answerTime is how long an answer may take that is no loss.
	answerTime = 5 * time.Second
)

// The priorities of a pair.
const (
	highPriority = 150
	lowPriority  = 100
)

// A side is one of the two routers.
type side struct {
	kind
	role
	rig.Daemon // while it runs
	node       *netiftest.Node
	mac        net.HardwareAddr
	heard      *netiftest.Capture // on its interface
}

// setups bounds how many scenes are set up at a time. What runs at once waits for
// timers; what starts at once does not, and would hold up the others' timers.
var setups = make(chan struct{}, 2)

// A scene is two routers and a client on a segment. The client pings one of the
// virtual addresses all the time.
type scene struct {
	protocol
	lab       *netiftest.Lab
	high, low *side
	client    *netiftest.Node
	watch     *watch
	ping      *netiftest.Pinger
	pinged    netip.Addr
}

// newScene makes a scene in which nothing runs yet.
func newScene(t *testing.T, p protocol, high, low kind) *scene {
	t.Helper()
	high.unavailable(t)
	low.unavailable(t)
	setups <- struct{}{}
	defer func() { <-setups }()
	s := &scene{protocol: p, lab: netiftest.Start(t), pinged: p.vips[len(p.vips)-1].Addr()}
	lan, err := s.lab.Bridge("lan")
	if err != nil {
		t.Fatal(err)
	}
	host := func(name string, number byte) *netiftest.Node {
		n, err := s.lab.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.lab.Connect(n, "eth0", lan, netiftest.Port{Addrs: []netip.Prefix{
			netip.PrefixFrom(address(vrrp.IPv4, number), 24),
			netip.PrefixFrom(address(vrrp.IPv6, number), 64),
		}}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	router := func(k kind, name string, number, other byte, priority uint8) *side {
		n := host(name, number)
		x := &side{kind: k, node: n, mac: k.mac, role: role{
			protocol: p, priority: priority, self: address(p.family, number), peer: address(p.family, other),
		}}
		if x.mac == nil {
			ifi, err := n.Interface("eth0")
			if err != nil {
				t.Fatal(err)
			}
			x.mac = ifi.HardwareAddr
		}
		if x.heard, err = n.Capture("eth0"); err != nil {
			t.Fatal(err)
		}
		return x
	}
	s.high = router(high, "high", 1, 2, highPriority)
	s.low = router(low, "low", 2, 1, lowPriority)
	s.client = host("client", 9)
	s.neighbours(t, high.obstinate || low.obstinate)
	s.watch = startWatch(t, []*netiftest.Node{s.high.node, s.low.node}, p.addrs())
	if s.ping, err = s.client.Ping(t.Context(), netiftest.PingConfig{Target: s.pinged, Interval: pingInterval, Interface: "eth0"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.ping.Stop()
		for _, x := range []*side{s.high, s.low} {
			if _, err := x.heard.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// neighbours says how the client finds out that an address has moved: only by
// announcements, as it never asks again about a neighbour that it knows; or also,
// for a router that does not announce its addresses when it should, by asking
// every other second.
func (s *scene) neighbours(t *testing.T, asks bool) {
	t.Helper()
	reachable, delay := "3600000", "3600"
	if asks {
		reachable, delay = "1000", "1"
	}
	for _, ip := range []string{"ipv4", "ipv6"} {
		for key, value := range map[string]string{"base_reachable_time_ms": reachable, "delay_first_probe_time": delay, "ucast_solicit": "1"} {
			if err := s.client.Sysctl("net/"+ip+"/neigh/eth0/"+key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// address returns the address of a host.
func address(f vrrp.Family, number byte) netip.Addr {
	if f == vrrp.IPv6 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: number})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, number})
}

// other returns the other router.
func (s *scene) other(x *side) *side {
	if x == s.high {
		return s.low
	}
	return s.high
}

// start starts a router. t is the test that it ends with.
func (s *scene) start(t testing.TB, x *side) {
	t.Helper()
	setups <- struct{}{}
	defer func() { <-setups }()
	x.Daemon = x.kind.start(t, x.node, x.role)
}

// master waits until a router says that it is master, is the only one that holds
// the virtual addresses, and the client has been told so.
func (s *scene) master(t *testing.T, x *side) {
	t.Helper()
	since := time.Now()
	x.WaitState(t, instance, control.StateMaster, patience)
	s.waitSole(t, x, since)
	s.waitTold(t, x)
}

// waitSole waits until a router is the only one that holds the addresses.
func (s *scene) waitSole(t *testing.T, x *side, since time.Time) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("who held the addresses:\n%s", s.watch.story(since))
		}
	}()
	rig.Eventually(t, patience, x.Name()+" alone holds the addresses", func() bool { return s.watch.sole(x.node) })
}

// waitTold waits until the client sends to a router what it sends to the virtual
// address.
func (s *scene) waitTold(t *testing.T, x *side) {
	t.Helper()
	rig.Eventually(t, patience, "the client knows that "+x.Name()+" has the address", func() bool {
		return bytes.Equal(s.neighbour(t), x.mac)
	})
}

// neighbour returns the hardware address that the client has for the virtual
// address it pings.
func (s *scene) neighbour(t *testing.T) net.HardwareAddr {
	t.Helper()
	list, err := s.client.Netlink().NeighList(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap() == s.pinged {
			return n.HardwareAddr
		}
	}
	return nil
}

// steady lets time pass and fails the test if in that time anybody but one
// router holds a virtual address, or that one does not, or a ping of the client
// gets lost.
func (s *scene) steady(t *testing.T, x *side, d time.Duration) {
	t.Helper()
	since := time.Now()
	end := time.NewTimer(d)
	defer end.Stop()
	select {
	case <-end.C:
	case <-t.Context().Done():
	}
	until := time.Now()
	if !s.watch.sole(x.node) || !s.watch.quiet(since) {
		t.Errorf("in %v in which %s should have held the addresses alone:\n%s", d, x.Name(), s.watch.story(since))
	}
	if got := s.neighbour(t); !bytes.Equal(got, x.mac) {
		t.Errorf("the client has %v for the virtual address, want %v of %s", got, x.mac, x.Name())
	}
	sent := func(unanswered bool) []netiftest.Probe {
		return slices.DeleteFunc(s.ping.Report().Probes, func(p netiftest.Probe) bool {
			return p.Sent.Before(since) || p.Sent.After(until) || unanswered && !p.Answered.IsZero()
		})
	}
	rig.Eventually(t, answerTime, "every ping of the client is answered", func() bool { return len(sent(true)) == 0 })
	if len(sent(false)) == 0 {
		t.Errorf("the client has sent no ping in %v", d)
	}
	if v, ok := x.Daemon.(*rig.Vipd); ok {
		s.content(t, v, control.StateMaster)
	}
	if v, ok := s.other(x).Daemon.(*rig.Vipd); ok && v.State(instance) != "" {
		s.content(t, v, "")
	}
}

// content fails the test if vipd finds anything wrong with its peer or itself.
func (s *scene) content(t *testing.T, v *rig.Vipd, want control.State) {
	t.Helper()
	i := v.Instance(t, instance)
	if want != "" && i.State != want {
		t.Errorf("%s: the state is %q, want %q", v.Name(), i.State, want)
	}
	if i.Degraded || len(i.Mismatches) > 0 || len(i.Counters.Drops) > 0 || i.Counters.UnknownVRID > 0 {
		t.Errorf("%s: degraded %v %q, mismatches %v, drops %v, of unknown routers %d, want none",
			v.Name(), i.Degraded, i.DegradedText, i.Mismatches, i.Counters.Drops, i.Counters.UnknownVRID)
	}
}

// handed fails the test if, since a time, an address was held by two routers for
// longer than a transition takes, or by none for longer than that and away, which
// is what the protocol takes.
func (s *scene) handed(t *testing.T, since time.Time, away time.Duration) {
	t.Helper()
	overlap, gap := s.watch.worst(since, time.Now())
	if overlap > slack || gap > away+slack {
		t.Errorf("an address was held twice for %v, want at most %v, and by nobody for %v, want at most %v:\n%s",
			overlap, slack, gap, away+slack, s.watch.story(since))
	}
	t.Logf("held twice for %v, by nobody for %v", overlap.Round(time.Microsecond), gap.Round(time.Millisecond))
}

// waited fails the test if a router, after what it heard last before it became
// master, has not waited as long as it must. heard picks that from what arrived
// since a time.
func (s *scene) waited(t *testing.T, x *side, since time.Time, wait time.Duration, heard func(advert) bool) {
	t.Helper()
	own := func(a advert) bool { return a.outgoing }
	var list []advert
	rig.Eventually(t, patience, x.Name()+" sends an advertisement", func() bool {
		list = adverts(x.heard.Frames(), since)
		return slices.ContainsFunc(list, own)
	})
	first := slices.IndexFunc(list, own)
	list, sent := list[:first], list[first]
	list = slices.DeleteFunc(list, func(a advert) bool { return !heard(a) })
	if len(list) == 0 {
		t.Errorf("%s sent an advertisement before the last one of the master", x.Name())
		return
	}
	got := sent.at.Sub(list[len(list)-1].at)
	if got < wait-x.early || got > wait+slack {
		t.Errorf("%s became master %v after it heard the master last, want %v to %v", x.Name(), got, wait, wait+slack)
	}
	t.Logf("became master %v after the last advertisement heard (%v)", got.Round(time.Microsecond), wait)
}
