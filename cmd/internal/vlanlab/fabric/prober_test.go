package fabric

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
)

var (
	vip4 = Target{100, netip.MustParseAddr("192.0.2.10")}
	vip6 = Target{200, netip.MustParseAddr("2001:db8:200::10")}
)

func TestAQuestionForAnIPv4AddressIsAProbeOfNobody(t *testing.T) {
	h, payload, ok := parse(question(7, vip4))
	if !ok || h.dst != everybody || h.src != stationMAC(7) || h.vlan != 100 || h.protocol != typeARP {
		t.Fatalf("the header is %+v", h)
	}
	var p arp.Packet
	if err := p.UnmarshalBinary(payload); err != nil {
		t.Fatal(err)
	}
	if p.Operation != arp.OperationRequest || p.SenderIP != netip.IPv4Unspecified() || p.TargetIP != vip4.Addr || mac(p.SenderHardwareAddr) != stationMAC(7) {
		t.Errorf("got %+v", p)
	}
}

func TestAQuestionForAnIPv6AddressIsASolicitationOfAStation(t *testing.T) {
	h, payload, ok := parse(question(9, vip6))
	if !ok || h.dst != (mac{0x33, 0x33, 0xff, 0, 0, 0x10}) || h.src != stationMAC(9) || h.vlan != 200 || h.protocol != typeIPv6 {
		t.Fatalf("the header is %+v", h)
	}
	from := stationMAC(9)
	group := netip.MustParseAddr("ff02::1:ff00:10")
	want, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{
		TargetAddress: vip6.Addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: from[:]}},
	}, stationAddr(9), group)
	if err != nil {
		t.Fatal(err)
	}
	if src, dst := netip.AddrFrom16([16]byte(payload[8:])), netip.AddrFrom16([16]byte(payload[24:])); src != stationAddr(9) || dst != group || payload[7] != hopLimit {
		t.Errorf("it goes from %v to %v with %d hops", src, dst, payload[7])
	}
	if got := payload[ipv6Len:]; !bytes.Equal(got, want) {
		t.Errorf("got %x\nwant %x", got, want)
	}
}

// answers has a machine answer for an address as a kernel would, until the test ends
// or it is told not to.
func (m *plug) answers(t *testing.T, targets ...Target) (stop func()) {
	t.Helper()
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, maxFrame)
		for {
			_ = m.conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			n, err := m.conn.Read(b)
			select {
			case <-end:
				return
			default:
			}
			if err != nil {
				continue
			}
			h, payload, _ := parse(b[:n])
			for _, target := range targets {
				if h.vlan == target.VLAN {
					if reply := m.reply(h, payload, target.Addr); reply != nil {
						m.put(t, reply)
					}
				}
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(end)
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func (m *plug) reply(h header, payload []byte, vip netip.Addr) []byte {
	switch {
	case h.protocol == typeARP && vip.Is4() && payload[7] == arpRequest && netip.AddrFrom4([4]byte(payload[24:])) == vip:
		r := slices.Clone(payload)
		r[7] = arpReply
		v := vip.As4()
		copy(r[8:], m.mac[:])
		copy(r[14:], v[:])
		copy(r[18:], payload[8:18])
		return header{dst: mac(payload[8:]), src: m.mac, vlan: h.vlan, protocol: typeARP}.build(r)
	case h.protocol == typeIPv6 && vip.Is6():
		if src, target, ok := discovered(payload, solicitation); ok && target == vip {
			return discovery(advertisement, flagSolicited|flagOverride, h.vlan, m.mac, h.src, vip, src, vip, optionTarget)
		}
	}
	return nil
}

// wait polls until something is so.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	end := time.Now().Add(deadline)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", deadline, what)
		}
		<-tick.C
	}
}

func TestAProberFindsWhoAnswers(t *testing.T) {
	s, m := lab(t, 3)
	p := s.Probe([]*Port{m[0].Port, m[1].Port}, m[2].Port, []Target{vip4, vip6}, 5*time.Millisecond)
	is := func(want ...Set) func() bool { return func() bool { return slices.Equal(p.Now(), want) } }
	wait(t, "nobody has an address", is(0, 0))
	stop := m[0].answers(t, vip4, vip6)
	wait(t, "a has both", is(1, 1))
	m[1].answers(t, vip4)
	wait(t, "both have the first one", is(3, 1))
	stop()
	wait(t, "b has the first one", is(2, 0))
	m[1].SetDead(true)
	wait(t, "b cannot be reached", is(0, 0))
	p.Stop()
	if all := p.Between(p.samples[0].at, time.Now()); all[0].Two == 0 || all[0].None == 0 || all[0].Apart != 0 {
		t.Errorf("the first address: %+v", all[0])
	}
	for _, want := range []string{"192.0.2.10: a and b", "192.0.2.10: b", "192.0.2.10: (b)", "2001:db8:200::10: nobody"} {
		if got := p.Changes(time.Now()); !strings.Contains(got, want+"\n") {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestAnOwnerBehindADeadPortIsApart(t *testing.T) {
	s, m := lab(t, 3)
	m[0].answers(t, vip4)
	m[1].answers(t, vip4)
	p := s.Probe([]*Port{m[0].Port, m[1].Port}, m[2].Port, []Target{vip4}, 5*time.Millisecond)
	m[0].SetDead(true)
	wait(t, "only b is reached", func() bool { return p.Now()[0] == 2 })
	from := time.Now()
	wait(t, "both answer", func() bool { return p.Between(from, time.Now())[0].Apart > 50*time.Millisecond })
	if got := p.Between(from, time.Now())[0]; got.Two != 0 {
		t.Errorf("two owners for %v, want none", got.Two)
	}
}

func TestNobodyElseNoticesAProber(t *testing.T) {
	s, m := lab(t, 3)
	m[0].answers(t, vip4, vip6)
	p := s.Probe([]*Port{m[0].Port, m[1].Port}, m[2].Port, []Target{vip4, vip6}, 2*time.Millisecond)
	c := s.Capture()
	wait(t, "a answers for both", func() bool { return slices.Equal(p.Now(), []Set{1, 1}) })
	m[1].say(t, 100, everybody, "from b")
	m[2].hears(t, 100, "from b")
	// A router that has answered a station looks whether it is still there.
	me := m[1].mac
	m[1].put(t, discovery(solicitation, 0, 200, me, mac{0x33, 0x33, 0xff, 0, 0, 3}, netip.MustParseAddr("fe80::b"), netip.MustParseAddr("ff02::1:ff00:3"), stationAddr(3), optionSource))
	wait(t, "the station answers b", func() bool {
		h, payload := m[1].next(t)
		src, target, ok := discovered(payload, advertisement)
		return ok && src == stationAddr(3) && target == stationAddr(3) && h.src == stationMAC(3) && h.vlan == 200
	})
	m[1].say(t, 100, everybody, "again from b")
	m[2].hears(t, 100, "again from b")
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.table {
		if _, ok := stationOf(at.mac); ok {
			t.Errorf("the switch has learnt %x", at.mac)
		}
	}
	for _, f := range c.frames {
		if h, _, _ := parse(f.data); h.protocol == typeARP || h.protocol == typeIPv6 {
			t.Errorf("captured %x", f.data)
		}
	}
}

func TestAMachineThatStandsStillIsNotAskedLater(t *testing.T) {
	s, m := lab(t, 2)
	p := s.Probe([]*Port{m[0].Port}, m[1].Port, []Target{vip4}, time.Millisecond)
	wait(t, "many questions", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(p.samples) > 4*queueLen
	})
	if lost := m[0].Lost(); lost != 0 {
		t.Errorf("%d frames found no room in the queue of a machine that takes none: questions had filled it", lost)
	}
}
