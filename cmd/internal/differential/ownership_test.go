package differential

import (
	"slices"
	"strings"
	"syscall"
	"time"

	"vipd/cmd/internal/rig"
)

// ownershipYAML is keepQuiet with vipd's own way to treat the addresses of a master.
var ownershipYAML = replaced(keepQuiet, ownershipLikeKeepalived, "")

// leased notes whether the virtual addresses are there for good.
func (r *run) leased() {
	r.t.Helper()
	for _, a := range r.addresses() {
		if slices.Contains(r.base, a) {
			continue
		}
		if strings.Contains(a, " valid 4294967295") {
			r.fact("there for good")
		} else {
			r.fact("there for a while")
		}
	}
}

// again starts a daemon that was killed, as its service manager does.
func (r *run) again() {
	r.t.Helper()
	r.restarted = time.Now()
	if v, ok := r.daemon.(*rig.Vipd); ok {
		r.daemon = rig.StartVIPD(r.t, r.router, r.s.vipd, rig.WithRunDir(v.RunDir))
		return
	}
	r.daemon = r.launch()
}

// ownershipDifferences are about who has the addresses when.
func ownershipDifferences() []scenario {
	return []scenario{
		{
			name: "a master hangs, and goes on",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 65
	advert_int 1
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.165
	}
}
`,
			vipd: ownershipYAML + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 65
    advert_int: 1
    down_timer_adverts: 1
    virtual_ipaddress: 192.0.2.165
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.leased()
				r.phase("it hangs")
				r.daemon.Pause(r.t)
				r.quiet(3 * time.Second)
				r.phase("it goes on")
				r.daemon.Continue(r.t)
				r.quiet(2 * aWhile)
			},
			declared: []Declared{
				{
					"D065", "it starts",
					"v2 advert 100, arp 192.0.2.165; holds 192.0.2.165/32; there for good; VI_1 is master",
					"v2 advert 100, arp 192.0.2.165; holds 192.0.2.165/32; there for a while; VI_1 is master",
				},
				{"D065", "it hangs", "nothing sent; holds 192.0.2.165/32; VI_1 is master", "nothing sent; VI_1 says nothing"},
				{"D066", "it goes on", "v2 advert 100; holds 192.0.2.165/32; VI_1 is master", "nothing sent; VI_1 is backup"},
			},
		},
		{
			name: "a master stops, and another one is there",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 67
	priority 255
	advert_int 10
	virtual_ipaddress {
		192.0.2.167
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 67
    priority: 255
    advert_int: 10
    handover: true
    virtual_ipaddress: 192.0.2.167
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.daemon.Signal(r.t, syscall.SIGTERM)
				r.await(1, adverts)
				r.quiet(aWhile)
				r.phase("another one is master")
				other := v2(67, 100, "192.0.2.167")
				other.Interval = 10 * time.Second
				r.inject(other)
				r.daemon.WaitExit(r.t, patience)
			},
			declared: []Declared{{"D067", "SIGTERM", "v2 advert 0; VI_1 is master", "v2 advert 0; holds 192.0.2.167/32; VI_1 is init"}},
		},
		{
			name: "a master is killed and started again",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 68
	virtual_ipaddress {
		192.0.2.168
	}
}
`,
			vipd: ownershipYAML + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 68
    virtual_ipaddress: 192.0.2.168
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.leased()
				r.phase("again")
				r.daemon.Kill(r.t)
				r.again()
				if r.kind == vipdDaemon {
					r.await(1, announcements)
				}
				r.quiet(2 * aWhile)
			},
			declared: []Declared{
				{
					"D065", "it starts",
					"v2 advert 100, arp 192.0.2.168; holds 192.0.2.168/32; there for good; VI_1 is master",
					"v2 advert 100, arp 192.0.2.168; holds 192.0.2.168/32; there for a while; VI_1 is master",
				},
				{"D068", "again", "nothing sent; VI_1 is backup", "v2 advert 100, arp 192.0.2.168; holds 192.0.2.168/32; VI_1 is master"},
			},
		},
		{
			name: "a master with another interval",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 69
	advert_int 2
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.169
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 69
    advert_int: 2
    down_timer_adverts: 1
    hold_on_mismatch: true
    virtual_ipaddress: 192.0.2.169
`,
			events: func(r *run) {
				other := v2(69, 200, "192.0.2.169")
				other.Interval = 3 * time.Second
				r.startBackup("a master with another interval")
				r.speak(3, time.Second, other)
			},
			declared: []Declared{{"D069", "a master with another interval", "v2 advert 100, arp 192.0.2.169; holds 192.0.2.169/32; VI_1 is master", "nothing sent; VI_1 is backup"}},
		},
		{
			name: "an IPv6 address before an IPv4 one",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 73
	priority 255
	advert_int 10
	virtual_ipaddress {
		192.0.2.173
	}
	virtual_ipaddress_excluded {
		2001:db8::173/64
		192.0.2.174
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 73
    priority: 255
    advert_int: 10
    virtual_ipaddress: 192.0.2.173
    virtual_ipaddress_excluded: [2001:db8::173/64, 192.0.2.174]
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(3, announcements)
				r.quiet(aWhile)
			},
			declared: []Declared{{
				"D073", "it starts",
				"v2 advert 255, arp 192.0.2.173, na 2001:db8::173, arp 192.0.2.174; holds 192.0.2.173/32, 192.0.2.174/32, 2001:db8::173/64; VI_1 is master",
				"v2 advert 255, arp 192.0.2.173, arp 192.0.2.174, na 2001:db8::173; holds 192.0.2.173/32, 192.0.2.174/32, 2001:db8::173/64; VI_1 is master",
			}},
		},
		{
			name: "another router is master too, and goes on",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 71
	priority 255
	advert_int 2
	garp_lower_prio_delay 0
	garp_lower_prio_repeat 1
	virtual_ipaddress {
		192.0.2.171
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 71
    priority: 255
    advert_int: 2
    garp_lower_prio_delay: 0
    garp_lower_prio_repeat: 1
    virtual_ipaddress: 192.0.2.171
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(3, adverts)
				r.quiet(aWhile)
				r.phase("another one is master too")
				other := v2(71, 100, "192.0.2.171")
				other.Interval = 2 * time.Second
				r.inject(other)
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("two seconds later")
				r.await(1, adverts)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D070", "two seconds later", "v2 advert 255; holds 192.0.2.171/32; VI_1 is master", "v2 advert 255, arp 192.0.2.171; holds 192.0.2.171/32; VI_1 is master"}},
		},
		{
			name: "another router is master too, and stops",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 70
	priority 255
	advert_int 1
	garp_lower_prio_delay 0
	garp_lower_prio_repeat 1
	virtual_ipaddress {
		192.0.2.170
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 70
    priority: 255
    advert_int: 1
    garp_lower_prio_delay: 0
    garp_lower_prio_repeat: 1
    virtual_ipaddress: 192.0.2.170
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(3, adverts)
				r.quiet(aWhile)
				r.phase("another one is master too")
				r.inject(v2(70, 100, "192.0.2.170"))
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it stops")
				r.inject(v2(70, 0, "192.0.2.170"))
				r.await(1, adverts)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D070", "it stops", "v2 advert 255; holds 192.0.2.170/32; VI_1 is master", "v2 advert 255, arp 192.0.2.170; holds 192.0.2.170/32; VI_1 is master"}},
		},
	}
}
