package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vipd/cmd/internal/vlanlab/fabric"
	"vipd/vrrp"
)

// The router that the fault happens to, and the other. The first has the higher
// priority, unless a plan says otherwise.
const (
	faulted = 0
	peer    = 1
)

var routerNames = [2]string{"r1", "r2"}

// A kind is one of the two daemons.
type kind string

// The kinds.
const (
	vipd       kind = "vipd"
	keepalived kind = "keepalived"
)

// kinds are all there are.
var kinds = []kind{vipd, keepalived}

// unit is the name of the daemon's service.
func (k kind) unit() string { return string(k) + ".service" }

// file is where its configuration lies.
func (k kind) file() string {
	if k == vipd {
		return "/etc/vipd/vipd.yaml"
	}
	return "/etc/keepalived/keepalived.conf"
}

// A pair is the two routers of a run: the one that the fault happens to, and the
// other.
type pair struct{ faulted, peer kind }

// String names the pair.
func (p pair) String() string { return string(p.faulted) + "-" + string(p.peer) }

// pairs are all there are.
var pairs = []pair{{vipd, vipd}, {vipd, keepalived}, {keepalived, vipd}, {keepalived, keepalived}}

// The VLANs. Every machine has an address of each in both families.
var vlans = []uint16{100, 200}

// networks are the IPv4 and the IPv6 network of a VLAN.
func networks(vlan uint16) [2]netip.Prefix {
	if vlan == vlans[0] {
		return [2]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:100::/64")}
	}
	return [2]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:200::/64")}
}

// hosts returns the addresses of a host in a VLAN. Its number is 10 as an IPv6 address
// when it is 10 as an IPv4 address: both are read as digits.
func hosts(vlan uint16, number int) [2]netip.Prefix {
	n := networks(vlan)
	four := n[0].Addr().As4()
	four[3] = byte(number)
	six, err := netip.ParseAddr(fmt.Sprintf("%v%d", n[1].Addr(), number))
	if err != nil {
		panic(err) // the networks are constants
	}
	return [2]netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(four), n[0].Bits()), netip.PrefixFrom(six, n[1].Bits())}
}

// device is the name of a VLAN's interface in every machine.
func device(vlan uint16) string { return fmt.Sprintf("eth0.%d", vlan) }

// Priorities of the router that an address belongs to, and of the other.
const (
	high = 150
	low  = 100
)

// An instance is one virtual router.
type instance struct {
	name string
	vlan uint16
	vrid int
	vip  netip.Prefix
	home int // the router with the higher priority
}

// What makes a router fit to be master, beside its interfaces.
const (
	healthFile  = "/run/vlanlab-healthy" // for a check script
	healthTest  = "/usr/bin/test -e "    // of it
	serviceName = "lab-service"          // of a process
	serviceFile = "/usr/local/bin/" + serviceName
)

// A plan is what a pair of routers is to run.
type plan struct {
	interval  time.Duration
	instances []instance
	nopreempt bool
	together  bool // a sync group
	script    bool // a check script
	weight    int  // of it; 0 is a fault
	process   bool // a process is tracked
	furnished bool // all that the unit allows, see furnish; vipd alone has it
}

// The instances of the plans.
func four100() instance { return instance{"VI_4", 100, 51, hosts(100, 10)[0], faulted} }
func six100() instance  { return instance{"VI_6", 100, 61, hosts(100, 10)[1], faulted} }
func four200() instance { return instance{"VI_200", 200, 52, hosts(200, 10)[0], faulted} }
func six200() instance  { return instance{"VI_600", 200, 62, hosts(200, 10)[1], faulted} }

// basic is IPv4 and IPv6 in one VLAN, and IPv4 in the other.
func basic() plan {
	return plan{interval: time.Second, instances: []instance{four100(), six100(), four200()}}
}

// equal reports whether two plans are the same.
func (p plan) equal(q plan) bool { return fmt.Sprint(p) == fmt.Sprint(q) }

// targets are what a prober asks for.
func (p plan) targets() (list []fabric.Target) {
	for _, i := range p.instances {
		list = append(list, fabric.Target{VLAN: i.vlan, Addr: i.vip.Addr()})
	}
	return list
}

// home is who has which address as long as nothing is wrong.
func (p plan) home() (list []fabric.Set) {
	for _, i := range p.instances {
		list = append(list, 1<<i.home)
	}
	return list
}

// away is who has which address when the router with the fault has none.
func (p plan) away() (list []fabric.Set) {
	for range p.instances {
		list = append(list, 1<<peer)
	}
	return list
}

// masterDown is how long a backup waits for a master.
func (p plan) masterDown() time.Duration {
	return vrrp.MasterDownInterval(vrrp.V3, low, p.interval, 3)
}

// text returns the configuration of a router. Apart from brackets both daemons read
// the same.
func (p plan) text(k kind, router int) string {
	var b strings.Builder
	if k == vipd {
		p.yaml(&b, router)
	} else {
		p.conf(&b, router)
	}
	return b.String()
}

// priority is that of a router in an instance.
func (i instance) priority(router int) int {
	if i.home == router {
		return high
	}
	return low
}

func (p plan) yaml(b *strings.Builder, router int) {
	if p.furnished {
		furnished(b)
	}
	if p.script {
		fmt.Fprintf(b, "vrrp_script:\n  chk_file:\n    script: %s%s\n    interval: 1\n    fall: 1\n    rise: 2\n    weight: %d\n", healthTest, healthFile, p.weight)
	}
	if p.process {
		fmt.Fprintf(b, "vrrp_track_process:\n  chk_service:\n    process: %s\n    weight: 0\n", serviceName)
	}
	b.WriteString("vrrp_instance:\n")
	for _, i := range p.instances {
		fmt.Fprintf(b, "  %s:\n    interface: %s\n    virtual_router_id: %d\n    version: 3\n    priority: %d\n    advert_int: %g\n",
			i.name, device(i.vlan), i.vrid, i.priority(router), p.interval.Seconds())
		if p.nopreempt {
			b.WriteString("    nopreempt: true\n")
		}
		if p.script && !p.together {
			b.WriteString("    track_script: [chk_file]\n")
		}
		if p.process {
			b.WriteString("    track_process: [chk_service]\n")
		}
		if p.furnished {
			b.WriteString(furnishedTracks)
		}
		fmt.Fprintf(b, "    virtual_ipaddress: [\"%v\"]\n", i.vip)
	}
	if p.together {
		b.WriteString("vrrp_sync_group:\n  VG_1:\n    group:\n")
		for _, i := range p.instances {
			fmt.Fprintf(b, "      - %s\n", i.name)
		}
		if p.script {
			b.WriteString("    track_script: [chk_file]\n")
		}
	}
}

func (p plan) conf(b *strings.Builder, router int) {
	b.WriteString("global_defs {\n  router_id lab\n  script_user root\n  enable_script_security\n}\n")
	if p.script {
		fmt.Fprintf(b, "vrrp_script chk_file {\n  script \"%s%s\"\n  interval 1\n  fall 1\n  rise 2\n  weight %d\n}\n", healthTest, healthFile, p.weight)
	}
	if p.process {
		fmt.Fprintf(b, "vrrp_track_process chk_service {\n  process %s\n  weight 0\n}\n", serviceName)
	}
	if p.together {
		b.WriteString("vrrp_sync_group VG_1 {\n  group {\n")
		for _, i := range p.instances {
			fmt.Fprintf(b, "    %s\n", i.name)
		}
		b.WriteString("  }\n")
		if p.script {
			b.WriteString("  track_script {\n    chk_file\n  }\n")
		}
		b.WriteString("}\n")
	}
	for _, i := range p.instances {
		fmt.Fprintf(b, "vrrp_instance %s {\n  interface %s\n  virtual_router_id %d\n  version 3\n  priority %d\n  advert_int %g\n",
			i.name, device(i.vlan), i.vrid, i.priority(router), p.interval.Seconds())
		if p.nopreempt {
			b.WriteString("  nopreempt\n")
		}
		if p.script && !p.together {
			b.WriteString("  track_script {\n    chk_file\n  }\n")
		}
		if p.process {
			b.WriteString("  track_process {\n    chk_service\n  }\n")
		}
		fmt.Fprintf(b, "  virtual_ipaddress {\n    %v\n  }\n}\n", i.vip)
	}
}
