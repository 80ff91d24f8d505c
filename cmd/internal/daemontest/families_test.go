package daemontest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// reaches waits until the host gets an answer from an address.
func (s *segment) reaches(a string) {
	s.t.Helper()
	p, err := s.host.Ping(s.t.Context(), netiftest.PingConfig{Target: addr(a)})
	check(s.t, err)
	rig.Eventually(s.t, patience, "the host reaches "+a, func() bool { return p.Report().Answered > 0 })
	p.Stop()
}

func TestAnIPv6AddressMovesAndIsReachable(t *testing.T) {
	t.Parallel()
	const yaml = `
vrrp_instance:
  VI:
    interface: eth0
    virtual_router_id: 51
    priority: %d
    advert_int: 100ms
    virtual_ipaddress: [fe80::51/64, 2001:db8::10/64, 2001:db8::11]
`
	s := newSegment(t)
	r1, r2 := s.node("router1", "2001:db8::1/64"), s.node("router2", "2001:db8::2/64")
	d1 := start(t, r1, fmt.Sprintf(yaml, 200))
	source1 := d1.is(control.StateMaster).SourceAddress
	d2 := start(t, r2, fmt.Sprintf(yaml, 100))
	rig.Eventually(t, patience, "the backup has heard the master", func() bool {
		m := d2.instance("").Master
		return m != nil && m.Address == source1 && m.Priority == 200
	})
	s.reaches("2001:db8::10")
	s.reaches("2001:db8::11")
	a := s.wire.advert("", func(a advert) bool { return a.src == source1 })
	if a.dst != addr("ff02::12") || a.ttl != 255 || a.Version != vrrp.V3 || a.Interval != 100*time.Millisecond || len(a.Addrs) != 3 {
		t.Errorf("the master sends %+v", a)
	}

	since := time.Now()
	d1.Pause(t)
	d2.is(control.StateMaster)
	for _, ip := range []string{"fe80::51", "2001:db8::10", "2001:db8::11"} {
		if a := s.wire.announcement(ip, since); !bytes.Equal(a.mac, hardware(t, r2, "eth0")) {
			t.Errorf("%s is announced at %s", ip, a.mac)
		}
	}
	d1.Continue(t)
	d2.is(control.StateBackup)
	rig.Eventually(t, quick, "the addresses are on the first router only", func() bool {
		return has(r1, "eth0", "2001:db8::10") && !has(r2, "eth0", "2001:db8::10") && !has(r2, "eth0", "fe80::51")
	})
	s.reaches("2001:db8::10")

	since = time.Now()
	if code := d1.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.wire.advert("of priority 0", stops(source1.String(), since))
	if i := d2.is(control.StateMaster); i.Reason.Kind != "master-stopped" {
		t.Errorf("the backup took over for %q", i.Reason.Text)
	}
	s.reaches("2001:db8::11")
}

func TestBothFamiliesMayShareAVirtualRouterID(t *testing.T) {
	t.Parallel()
	const yaml = `
global_defs: {vrrp_garp_master_delay: 0}
vrrp_instance:
  FOUR:
    interface: eth0
    virtual_router_id: 51
    priority: %d
    advert_int: 100ms
    virtual_ipaddress: [192.0.2.10/24]
  SIX:
    interface: eth0
    virtual_router_id: 51
    priority: %d
    advert_int: 100ms
    virtual_ipaddress: [2001:db8::10/64]
`
	s := newSegment(t)
	r1 := s.node("router1", "192.0.2.1/24", "2001:db8::1/64")
	r2 := s.node("router2", "192.0.2.2/24", "2001:db8::2/64")
	// Each is master of one family.
	d1, d2 := start(t, r1, fmt.Sprintf(yaml, 200, 100)), start(t, r2, fmt.Sprintf(yaml, 100, 200))
	for _, d := range []struct {
		*daemon
		name string
		want control.State
	}{{d1, "FOUR", control.StateMaster}, {d1, "SIX", control.StateBackup}, {d2, "FOUR", control.StateBackup}, {d2, "SIX", control.StateMaster}} {
		d.instanceIs(d.name, d.want)
	}
	s.reaches("192.0.2.10")
	s.reaches("2001:db8::10")
	rig.Eventually(t, quick, "the addresses are where they belong", func() bool {
		return has(r1, "eth0", "192.0.2.10") && !has(r1, "eth0", "2001:db8::10") && !has(r2, "eth0", "192.0.2.10") && has(r2, "eth0", "2001:db8::10")
	})
	// One loses the addresses of one family only.
	check(t, r1.RemoveAddr("eth0", prefix("192.0.2.1/24")))
	d1.instanceIs("FOUR", control.StateFault)
	d2.instanceIs("FOUR", control.StateMaster)
	d1.Kill(t)
	d2.instanceIs("SIX", control.StateMaster)
}

func TestAnInstanceWithoutInterfaceUsesItsSourceAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		subnet, vip    string
		source1, peer2 string
		ttl            int
	}{
		{"IPv4", "/24", "192.0.2.10/24", "192.0.2.1", "192.0.2.2", 255},
		{"IPv6", "/64", "2001:db8::10/64", "2001:db8::1", "2001:db8::2", 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			yaml := func(source, peer string, priority int) string {
				return fmt.Sprintf(`
vrrp_instance:
  VI:
    virtual_router_id: 51
    priority: %d
    advert_int: 100ms
    unicast_src_ip: %s
    unicast_peer: [%s]
    virtual_ipaddress: [%s dev eth0]
`, priority, source, peer, tt.vip)
			}
			s := newSegment(t)
			r1, r2 := s.node("router1"), s.node("router2", tt.peer2+tt.subnet)
			d1 := start(t, r1, yaml(tt.source1, tt.peer2, 200))
			if f := d1.fault("no-source-address"); !strings.Contains(f.Text, "waiting for unicast_src_ip "+tt.source1) {
				t.Errorf("the fault is %q", f.Text)
			}
			d2 := start(t, r2, yaml(tt.peer2, tt.source1, 100))
			d2.is(control.StateMaster)

			since := time.Now()
			check(t, r1.AddAddr("eth0", prefix(tt.source1+tt.subnet)))
			d1.is(control.StateMaster)
			d2.is(control.StateBackup)
			vip, _, _ := strings.Cut(tt.vip, "/")
			s.wire.announcement(vip, since)
			s.reaches(vip)
			rig.Eventually(t, quick, "the address is on the first router only", func() bool { return has(r1, "eth0", vip) && !has(r2, "eth0", vip) })

			// The address moves to another interface: no business of the instance,
			// but for the moment without it.
			check(t, r1.RemoveAddr("eth0", prefix(tt.source1+tt.subnet)))
			d1.fault("no-source-address")
			d2.is(control.StateMaster)
			check(t, r1.AddAddr("eth0", prefix(tt.source1+tt.subnet)))
			d1.is(control.StateMaster)
			d2.is(control.StateBackup)

			if code := d1.Stop(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if i := d2.is(control.StateMaster); i.Reason.Kind != "master-stopped" {
				t.Errorf("the backup took over for %q", i.Reason.Text)
			}
			if got := d2.instance("").Counters; len(got.Drops) > 0 || got.UnknownVRID > 0 {
				t.Errorf("it dropped %v, and %d of unknown VRIDs", got.Drops, got.UnknownVRID)
			}
		})
	}
}

// TestAMasterThatCannotAdvertiseGivesUpUntilItCan has a filter drop what a master
// sends. Nobody would know of it any more, and a backup would take over, so it must
// not go on to answer for the address.
func TestAMasterThatCannotAdvertiseGivesUpUntilItCan(t *testing.T) {
	t.Parallel()
	netiftest.RequireProgram(t, "nft")
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	for round := 1; round <= 2; round++ {
		tool(t, r, "nft", "add table ip filter; add chain ip filter out { type filter hook output priority 0; }; add rule ip filter out ip protocol 112 drop")
		i := d.is(control.StateFault)
		if len(i.Faults) != 1 || !strings.Contains(i.Faults[0].Text, "advertisements cannot be sent") {
			t.Errorf("the faults are %v", i.Faults)
		}
		d.logs(round, "WARN", "cannot send advertisement")
		rig.Eventually(t, quick, "the address is gone", func() bool { return !has(r, "eth0", "192.0.2.10") })
		since := time.Now()
		tool(t, r, "nft", "delete table ip filter")
		d.is(control.StateMaster)
		rig.Eventually(t, patience, "three are sent", func() bool {
			return len(s.wire.adverts(from("192.0.2.1", since))) >= 3
		})
		rig.Eventually(t, quick, "the address is back", func() bool { return has(r, "eth0", "192.0.2.10") })
	}
}
