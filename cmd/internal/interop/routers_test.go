package interop

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// The one virtual router of every test.
const (
	instance = "VI_1"
	vrid     = 51
)

// A protocol is how the routers of a pair talk to each other.
type protocol struct {
	name     string
	version  vrrp.Version
	family   vrrp.Family
	interval time.Duration
	password string
	unicast  bool
	plain    bool // checksums without a pseudo-header, in version 3 over IPv4
	vips     []netip.Prefix
}

// Intervals: version 2 has none below a second. With version 3 a pair need not
// take that long, but must bear that the machine is busy with all the others.
const (
	slow = time.Second
	fast = 500 * time.Millisecond
)

var (
	vips4 = []netip.Prefix{netip.MustParsePrefix("10.0.0.100/24"), netip.MustParsePrefix("10.0.0.101/24")}
	vips6 = []netip.Prefix{netip.MustParsePrefix("fe80::100/64"), netip.MustParsePrefix("2001:db8::100/64")}

	// protocols are those that vipd and keepalived have in common.
	protocols = []protocol{
		{name: "version 2", version: vrrp.V2, interval: slow, vips: vips4},
		{name: "version 2 with a password", version: vrrp.V2, interval: slow, password: "example1", vips: vips4},
		{name: "version 3 over IPv4", version: vrrp.V3, interval: fast, vips: vips4},
		{name: "version 3 over IPv6", version: vrrp.V3, family: vrrp.IPv6, interval: fast, vips: vips6},
		{name: "version 2 by unicast", version: vrrp.V2, interval: slow, unicast: true, vips: vips4},
		{name: "version 3 by unicast over IPv4", version: vrrp.V3, interval: fast, unicast: true, vips: vips4},
		{name: "version 3 by unicast over IPv6", version: vrrp.V3, family: vrrp.IPv6, interval: fast, unicast: true, vips: vips6},
	}
)

// masterDown is how long a router of a priority waits for the master.
func (p protocol) masterDown(priority uint8) time.Duration {
	return vrrp.MasterDownInterval(p.version, priority, p.interval, 3)
}

// skew is how long it waits after the master has stopped.
func (p protocol) skew(priority uint8) time.Duration {
	return vrrp.SkewTime(p.version, priority, p.interval)
}

// addrs are the virtual addresses.
func (p protocol) addrs() []netip.Addr {
	var list []netip.Addr
	for _, v := range p.vips {
		list = append(list, v.Addr())
	}
	return list
}

// A role is the part of one router in a pair.
type role struct {
	protocol
	priority  uint8
	nopreempt bool
	self      netip.Addr // of the family
	peer      netip.Addr
}

// A kind is a kind of router.
type kind struct {
	name  string
	start func(testing.TB, *netiftest.Node, role) rig.Daemon
	// mac is the address under which virtual addresses are announced, nil for
	// that of the router's interface.
	mac net.HardwareAddr
	// early is how much sooner than they should its timers may run out.
	early time.Duration
	// obstinate routers stay master without a link, and say nothing of their
	// addresses when they hear a master of lower priority.
	obstinate bool
	// unavailable skips the test if it is not there.
	unavailable func(testing.TB)
}

// timestampError is how far apart the frame that starts a timer and the frame
// that it sends may be stamped without either being at fault.
const timestampError = 3 * time.Millisecond

var (
	vipd = kind{
		name:        "vipd",
		start:       func(t testing.TB, n *netiftest.Node, r role) rig.Daemon { return rig.StartVIPD(t, n, r.yaml()) },
		early:       timestampError,
		unavailable: func(testing.TB) {},
	}
	keepalived = kind{
		name: "keepalived",
		start: func(t testing.TB, n *netiftest.Node, r role) rig.Daemon {
			return rig.StartKeepalived(t, n, r.keepalivedConf())
		},
		early:       timestampError,
		unavailable: func(t testing.TB) { netiftest.RequireProgram(t, "keepalived") },
	}
	frr = kind{
		name:  "FRR",
		start: func(t testing.TB, n *netiftest.Node, r role) rig.Daemon { return rig.StartFRR(t, n, r.frrRouter()) },
		// It announces addresses with the virtual router's MAC address, as RFC 9568
		// §7.3 has it.
		mac: net.HardwareAddr{0, 0, 0x5e, 0, 1, vrid},
		// It calculates in hundredths of a second, and rounds the skew time down.
		early: 10*time.Millisecond + timestampError,
		// Seen with 8.4.4: it announces its addresses once, when it becomes master,
		// and goes on as master when its link is back.
		obstinate:   true,
		unavailable: rig.RequireFRR,
	}
)

// seconds formats a duration as all daemons read one.
func seconds(d time.Duration) string { return fmt.Sprintf("%g", d.Seconds()) }

// yaml returns the configuration of vipd.
func (r role) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "vrrp_instance:\n  %s:\n    interface: eth0\n    virtual_router_id: %d\n    version: %d\n    priority: %d\n    advert_int: %s\n",
		instance, vrid, r.version, r.priority, seconds(r.interval))
	if r.nopreempt {
		b.WriteString("    nopreempt: true\n")
	}
	if r.plain {
		b.WriteString("    v3_checksum_as_v2: true\n")
	}
	if r.password != "" {
		fmt.Fprintf(&b, "    authentication: {auth_type: PASS, auth_pass: %s}\n", r.password)
	}
	if r.unicast {
		fmt.Fprintf(&b, "    unicast_src_ip: %v\n    unicast_peer: %v\n", r.self, r.peer)
	}
	b.WriteString("    virtual_ipaddress:\n")
	for _, v := range r.vips {
		fmt.Fprintf(&b, "      - %v\n", v)
	}
	return b.String()
}

// keepalivedConf returns the same configuration for keepalived. 2.2.7 cannot do
// without the pseudo-header.
func (r role) keepalivedConf() string {
	var b strings.Builder
	fmt.Fprintf(&b, "vrrp_instance %s {\n  interface eth0\n  virtual_router_id %d\n  version %d\n  priority %d\n  advert_int %s\n",
		instance, vrid, r.version, r.priority, seconds(r.interval))
	if r.nopreempt {
		b.WriteString("  nopreempt\n")
	}
	if r.password != "" {
		fmt.Fprintf(&b, "  authentication {\n    auth_type PASS\n    auth_pass %s\n  }\n", r.password)
	}
	if r.unicast {
		fmt.Fprintf(&b, "  unicast_src_ip %v\n  unicast_peer {\n    %v\n  }\n", r.self, r.peer)
	}
	b.WriteString("  virtual_ipaddress {\n")
	for _, v := range r.vips {
		fmt.Fprintf(&b, "    %v\n", v)
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

// frrRouter returns the same configuration for FRR, which speaks by multicast
// only, and in 8.4 not without the pseudo-header either.
func (r role) frrRouter() rig.FRRRouter {
	router := rig.FRRRouter{Instance: instance, Interface: "eth0", VRID: vrid, Addrs: r.vips, Lines: []string{
		fmt.Sprintf("priority %d", r.priority),
		fmt.Sprintf("advertisement-interval %d", r.interval.Milliseconds()),
	}}
	if r.nopreempt {
		router.Lines = append(router.Lines, "no preempt")
	}
	return router
}
