package differential

import (
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// second connects another interface of the router, to a network of its own.
func second(r *run) {
	r.t.Helper()
	b, err := r.lab.Bridge("second")
	r.ok(err)
	r.ok(r.lab.Connect(r.router, "eth1", b, netiftest.Port{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x1a}, Addrs: prefixes("198.51.100.1/24")}))
	c, err := r.router.Capture("eth1")
	r.ok(err)
	r.beside = append(r.beside, c)
	r.settle("fe80::ff:fe00:1a")
}

// keepQuiet is likeKeepalived where announcements are not what matters.
const keepQuiet = likeKeepalived + `
  vrrp_garp_master_delay: 0
  vrrp_garp_master_repeat: 1
`

const keepQuietConf = `
global_defs {
	vrrp_garp_master_delay 0
	vrrp_garp_master_repeat 1
}
`

// declaredDifferences are the scenarios of docs/differences.md. Owners are used
// where the election does not matter, because they are masters at once.
func declaredDifferences() []scenario {
	return []scenario{
		{
			name: "a tracked interface of a master goes down",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 1
	advert_int 2
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.201
	}
	track_interface {
		eth1
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 1
    advert_int: 2
    down_timer_adverts: 1
    virtual_ipaddress: 192.0.2.201
    track_interface: eth1
`,
			kinds:   []Kind{KindAdvert, KindARP},
			prepare: second,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("down")
				r.ok(r.lab.Cut(r.router, "eth1"))
				r.await(1, adverts)
				r.quiet(aWhile)
				r.phase("up")
				r.ok(r.lab.Heal(r.router, "eth1"))
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
			declared: []Declared{{"D001", "down", "v3 advert 0 ×2; VI_1 is fault", "v3 advert 0; VI_1 is fault"}},
		},
		{
			name: "the primary address goes and comes back",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 82
	priority 254
	advert_int 4
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.189
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 82
    priority: 254
    advert_int: 4
    down_timer_adverts: 1
    virtual_ipaddress: 192.0.2.189
`,
			kinds: []Kind{KindAdvert, KindARP},
			lossy: true,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("gone")
				r.ok(r.router.RemoveAddr("eth0", netip.MustParsePrefix(router4+"/24")))
				r.quiet(aWhile)
				r.phase("still gone")
				r.daemon.WaitState(r.t, "VI_1", control.StateFault, patience)
				r.quiet(aWhile)
				r.phase("back")
				r.ok(r.router.AddAddr("eth0", netip.MustParsePrefix(router4+"/24")))
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
			declared: []Declared{
				{"D074", "gone", "v3 advert 0 ×2; VI_1 is fault", "nothing sent; holds 192.0.2.189/32; VI_1 is master"},
				{"D074", "still gone", "nothing sent; VI_1 is fault", "v3 advert 0; VI_1 is fault"},
			},
		},
		{
			name: "an owner hears another owner with a lower address",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 2
	priority 255
	advert_int 10
	virtual_ipaddress {
		192.0.2.202
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 2
    priority: 255
    advert_int: 10
    virtual_ipaddress: 192.0.2.202
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				other := v2(2, 255, "192.0.2.202").from("192.0.1.1", "224.0.0.18")
				other.Interval = 10 * time.Second
				r.phase("another owner")
				r.inject(other)
				r.quiet(2 * aWhile)
			},
			declared: []Declared{{"D002", "another owner", "nothing sent; VI_1 is backup", "v2 advert 255, arp 192.0.2.202; holds 192.0.2.202/32; VI_1 is master"}},
		},
		{
			name: "packets with a wrong checksum, faster than advertisements are due",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 3
	priority 255
	virtual_ipaddress {
		192.0.2.203
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 3
    priority: 255
    virtual_ipaddress: 192.0.2.203
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(2, adverts)
				bad := v2(3, 100, "192.0.2.203")
				bad.checksum = 1
				r.phase("for two and a half seconds")
				r.speakFor(2400*time.Millisecond, 200*time.Millisecond, bad)
				r.phase("then not")
				r.await(1, adverts)
			},
			declared: []Declared{{"D003", "for two and a half seconds", "nothing sent; holds 192.0.2.203/32; VI_1 is master", "v2 advert 255 ×2; holds 192.0.2.203/32; VI_1 is master"}},
		},
		{
			name: "a higher priority, by default",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 5
	priority 254
	advert_int 2
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.205
	}
}
`,
			vipd: `
global_defs:
  vrrp_version: 2
  vrrp_garp_master_delay: 0
  vrrp_garp_master_repeat: 1
` + ownershipLikeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 5
    priority: 254
    advert_int: 2
    down_timer_adverts: 1
    virtual_ipaddress: 192.0.2.205
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				higher := v2(5, 255, "192.0.2.205")
				higher.Interval = 2 * time.Second
				r.phase("a higher priority")
				r.inject(higher)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D005", "a higher priority", "nothing sent; VI_1 is backup", "v2 advert 254; VI_1 is backup"}},
		},
		{
			name: "somebody deletes an address",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 6
	advert_int 4
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.206
		192.0.2.246
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 6
    advert_int: 4
    down_timer_adverts: 1
    on_address_loss: restore
    virtual_ipaddress: [192.0.2.206, 192.0.2.246]
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("deleted")
				r.ok(r.router.RemoveAddr("eth0", netip.MustParsePrefix("192.0.2.206/32")))
				r.quiet(1500 * time.Millisecond)
			},
			declared: []Declared{{"D006", "deleted", "v2 advert 0, v2 advert 100, arp 192.0.2.206, arp 192.0.2.246; holds 192.0.2.206/32, 192.0.2.246/32; VI_1 is master", "arp 192.0.2.206; holds 192.0.2.246/32, 192.0.2.206/32; VI_1 is master"}},
		},
		{
			name: "unicast_ttl without unicast_peer",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 7
	priority 255
	advert_int 10
	unicast_ttl 64
	virtual_ipaddress {
		192.0.2.207
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 7
    priority: 255
    advert_int: 10
    unicast_ttl: 64
    virtual_ipaddress: 192.0.2.207
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D007", "it starts", "arp 192.0.2.207; holds 192.0.2.207/32; VI_1 is master", "v2 advert 255, arp 192.0.2.207; holds 192.0.2.207/32; VI_1 is master"}},
		},
		{
			name: "another list of addresses",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 8
	advert_int 2
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.208
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 8
    advert_int: 2
    down_timer_adverts: 1
    virtual_ipaddress: 192.0.2.208
`,
			events: func(r *run) {
				other := v2(8, 200, "192.0.2.209")
				other.Interval = 2 * time.Second
				r.startBackup("a master with another list")
				r.speak(3, time.Second, other)
			},
			declared: []Declared{{"D008", "a master with another list", "v2 advert 100, arp 192.0.2.208; holds 192.0.2.208/32; VI_1 is master", "nothing sent; VI_1 is backup"}},
		},
		{
			name: "an interface that is not there yet",
			keepalived: `
vrrp_instance VI_1 {
	interface eth1
	virtual_router_id 9
	advert_int 3
	down_timer_adverts 1
	virtual_ipaddress {
		198.51.100.209/24
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth1
    virtual_router_id: 9
    advert_int: 3
    down_timer_adverts: 1
    virtual_ipaddress: 198.51.100.209/24
`,
			events: func(r *run) {
				r.start("not there")
				r.quiet(time.Second)
				r.phase("there")
				second(r)
				if r.kind == vipdDaemon {
					r.daemon.WaitState(r.t, "VI_1", control.StateMaster, patience)
				}
				r.quiet(aWhile)
			},
			declared: []Declared{
				{"D009", "not there", "nothing sent; exit 2", "nothing sent; VI_1 is fault"},
				{"D009", "there", "nothing sent; holds 198.51.100.1/24, fe80::ff:fe00:1a/64; exit 2", "v2 advert 100 on eth1, arp 198.51.100.209 on eth1; holds 198.51.100.1/24, 198.51.100.209/24, fe80::ff:fe00:1a/64; VI_1 is master"},
			},
		},
		{
			name: "no version",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 11
	priority 255
	advert_int 10
	virtual_ipaddress {
		192.0.2.211
	}
}
`,
			vipd: `
global_defs:
  vrrp_garp_master_delay: 0
  vrrp_garp_master_repeat: 1
` + ownershipLikeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 11
    priority: 255
    advert_int: 10
    virtual_ipaddress: 192.0.2.211
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D011", "it starts", "v2 advert 255, arp 192.0.2.211; holds 192.0.2.211/32; VI_1 is master", "v3 advert 255, arp 192.0.2.211; holds 192.0.2.211/32; VI_1 is master"}},
		},
		{
			name: "unicast of a stranger, by default",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 12
	advert_int 2
	down_timer_adverts 1
	unicast_src_ip 192.0.2.1
	unicast_peer {
		192.0.2.2
	}
	virtual_ipaddress {
		192.0.2.212
	}
}
`,
			vipd: `
global_defs:
  vrrp_version: 2
  vrrp_garp_master_delay: 0
  vrrp_garp_master_repeat: 1
` + ownershipLikeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 12
    advert_int: 2
    down_timer_adverts: 1
    unicast_src_ip: 192.0.2.1
    unicast_peer: 192.0.2.2
    virtual_ipaddress: 192.0.2.212
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				stranger := v2(12, 200, "192.0.2.212").from("192.0.2.66", router4)
				stranger.Interval = 2 * time.Second
				r.phase("a stranger")
				r.inject(stranger)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D012", "a stranger", "nothing sent; VI_1 is backup", "nothing sent; holds 192.0.2.212/32; VI_1 is master"}},
		},
		{
			name: "a typing error",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 13
	priorty 150
	virtual_ipaddress {
		192.0.2.213
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 13
    priorty: 150
    virtual_ipaddress: 192.0.2.213
`,
			events:   beBackup,
			declared: []Declared{{"D013", "it starts", "nothing sent; VI_1 is backup", "nothing sent; exit 2"}},
		},
		{
			name: "how long the end takes",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 14
	priority 255
	advert_int 10
	virtual_ipaddress {
		192.0.2.214
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 14
    priority: 255
    advert_int: 10
    virtual_ipaddress: 192.0.2.214
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
				if time.Since(r.now().begin) < 900*time.Millisecond {
					r.fact("within a second")
				} else {
					r.fact("after a second")
				}
			},
			declared: []Declared{{"D014", "SIGTERM", "v2 advert 0; after a second; exit 0", "v2 advert 0; within a second; exit 0"}},
		},
		{
			name: "an address that somebody else put there",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 15
	advert_int 2
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.215
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 15
    advert_int: 2
    down_timer_adverts: 1
    virtual_ipaddress: 192.0.2.215
`,
			events: func(r *run) {
				r.ok(r.router.AddAddr("eth0", netip.MustParsePrefix("192.0.2.215/32")))
				r.start("it starts")
				r.quiet(time.Second)
				r.phase("it is master")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
			declared: []Declared{
				{"D015", "it starts", "nothing sent; VI_1 is backup", "nothing sent; holds 192.0.2.215/32; VI_1 is backup"},
				{"D016", "SIGTERM", "v2 advert 0; exit 0", "v2 advert 0; holds 192.0.2.215/32; exit 0"},
			},
		},
		{
			name: "an address that cannot be added, and then can",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 19
	priority 255
	advert_int 30
	virtual_ipaddress {
		192.0.2.219
	}
	virtual_ipaddress_excluded {
		2001:db8::219/64
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 19
    priority: 255
    advert_int: 30
    virtual_ipaddress: 192.0.2.219
    virtual_ipaddress_excluded: 2001:db8::219/64
`,
			prepare: func(r *run) { r.ok(r.router.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")) },
			events: func(r *run) {
				r.start("it cannot")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it can")
				r.ok(r.router.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "0"))
				if r.kind == vipdDaemon {
					r.await(1, announcements)
				}
				r.quiet(3 * time.Second)
			},
			declared: []Declared{
				{"D019", "it cannot", "v2 advert 255, arp 192.0.2.219, na 2001:db8::219; holds 192.0.2.219/32; VI_1 is master", "v2 advert 255, arp 192.0.2.219; holds 192.0.2.219/32; VI_1 is master"},
				{"D026", "it can", "nothing sent; holds 192.0.2.219/32, fe80::ff:fe00:a/64; VI_1 is master", "na 2001:db8::219; holds 192.0.2.219/32, 2001:db8::219/64, fe80::ff:fe00:a/64; VI_1 is master"},
			},
		},
		{
			name: "no address can be added",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 21
	priority 255
	advert_int 30
	virtual_ipaddress {
		192.0.2.221 autojoin
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 21
    priority: 255
    advert_int: 30
    virtual_ipaddress: 192.0.2.221 autojoin
`,
			events: func(r *run) {
				// The kernel refuses to join a group that is none.
				r.start("it starts")
				r.await(1, adverts)
				r.quiet(2 * aWhile)
			},
			declared: []Declared{{"D021", "it starts", "v2 advert 255, arp 192.0.2.221; VI_1 is master", "v2 advert 255, v2 advert 0; VI_1 is fault"}},
		},
		{
			name: "two advertisements of lower priority",
			keepalived: `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 25
	priority 255
	advert_int 30
	garp_master_delay 0
	garp_lower_prio_delay 1
	garp_lower_prio_repeat 1
	virtual_ipaddress {
		192.0.2.225
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 25
    priority: 255
    advert_int: 30
    garp_master_delay: 0
    garp_lower_prio_delay: 1
    garp_lower_prio_repeat: 1
    virtual_ipaddress: 192.0.2.225
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(5, announcements)
				r.quiet(aWhile)
				lower := v2(25, 100, "192.0.2.225")
				lower.Interval = 30 * time.Second
				r.phase("two advertisements")
				r.speak(2, 400*time.Millisecond, lower)
				r.quiet(1500 * time.Millisecond)
			},
			declared: []Declared{{"D025", "two advertisements", "v2 advert 255, arp 192.0.2.225, v2 advert 255, arp 192.0.2.225 ×3; holds 192.0.2.225/32; VI_1 is master", "v2 advert 255, arp 192.0.2.225, v2 advert 255, arp 192.0.2.225 ×2; holds 192.0.2.225/32; VI_1 is master"}},
		},
		{
			name: "an interval of zero",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 27
	advert_int 1
	virtual_ipaddress {
		192.0.2.227
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 27
    advert_int: 1
    virtual_ipaddress: 192.0.2.227
`,
			events: func(r *run) {
				r.startBackup("it starts")
				r.phase("a master of the interval zero")
				r.inject(v3(27, 200, 0, "192.0.2.227"))
				r.quiet(aWhile)
			},
			declared: []Declared{{"D027", "a master of the interval zero", "v3 advert 100, arp 192.0.2.227; holds 192.0.2.227/32; VI_1 is master", "nothing sent; VI_1 is backup"}},
		},
		{
			name: "vrrp_min_garp with a refresh",
			keepalived: `
global_defs {
	vrrp_min_garp
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 29
	priority 255
	advert_int 3
	garp_master_refresh 2
	virtual_ipaddress {
		192.0.2.229
	}
}
`,
			vipd: `
global_defs:
  vrrp_version: 2
  vrrp_min_garp: true
` + ownershipLikeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 29
    priority: 255
    advert_int: 3
    garp_master_refresh: 2
    virtual_ipaddress: 192.0.2.229
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("three seconds")
				r.await(1, adverts)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D029", "three seconds", "v2 advert 255; holds 192.0.2.229/32; VI_1 is master", "arp 192.0.2.229, v2 advert 255; holds 192.0.2.229/32; VI_1 is master"}},
		},
		{
			name: "authentication by AH",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 30
	authentication {
		auth_type AH
		auth_pass abcd
	}
	virtual_ipaddress {
		192.0.2.230
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 30
    authentication: {auth_type: AH, auth_pass: abcd}
    virtual_ipaddress: 192.0.2.230
`,
			events:   beBackup,
			declared: []Declared{{"D030", "it starts", "nothing sent; VI_1 is backup", "nothing sent; exit 2"}},
		},
		{
			name: "the same virtual router twice",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 31
	virtual_ipaddress {
		192.0.2.231
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 31
    virtual_ipaddress: 192.0.2.231
`,
			events: func(r *run) {
				r.startBackup("it starts")
				r.phase("another")
				another := r.launch()
				r.quiet(time.Second)
				select {
				case <-another.Done():
					r.fact("the other has exited with %d", another.WaitExit(r.t, patience))
				default:
					r.fact("so is the other")
				}
			},
			declared: []Declared{{"D031", "another", "nothing sent; so is the other; VI_1 is backup", "nothing sent; the other has exited with 2; VI_1 is backup"}},
		},
		{
			name: "when addresses are refreshed",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 33
	priority 255
	advert_int 4
	garp_master_refresh 3
	garp_master_refresh_repeat 2
	virtual_ipaddress {
		192.0.2.233
		192.0.2.234
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 33
    priority: 255
    advert_int: 4
    garp_master_refresh: 3
    garp_master_refresh_repeat: 2
    virtual_ipaddress: [192.0.2.233, 192.0.2.234]
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("four seconds")
				r.await(1, adverts)
				r.quiet(aWhile)
			},
			declared: []Declared{{"D033", "four seconds", "v2 advert 255, arp 192.0.2.233, arp 192.0.2.234, arp 192.0.2.233, arp 192.0.2.234; holds 192.0.2.233/32, 192.0.2.234/32; VI_1 is master", "arp 192.0.2.233, arp 192.0.2.234, arp 192.0.2.233, arp 192.0.2.234, v2 advert 255; holds 192.0.2.233/32, 192.0.2.234/32; VI_1 is master"}},
		},
		{
			name: "announcements with a rate limit",
			keepalived: `
global_defs {
	vrrp_garp_interval 0.1
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 34
	priority 255
	advert_int 10
	garp_master_delay 0
	garp_master_repeat 3
	virtual_ipaddress {
		192.0.2.235
		192.0.2.236
	}
}
`,
			vipd: likeKeepalived + `
  vrrp_garp_interval: 0.1
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 34
    priority: 255
    advert_int: 10
    garp_master_delay: 0
    garp_master_repeat: 3
    virtual_ipaddress: [192.0.2.235, 192.0.2.236]
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(2500 * time.Millisecond)
			},
			declared: []Declared{{"D034", "it starts", "v2 advert 255, arp 192.0.2.235 ×2, arp 192.0.2.236; holds 192.0.2.235/32, 192.0.2.236/32; VI_1 is master", "v2 advert 255, arp 192.0.2.235, arp 192.0.2.236, arp 192.0.2.235, arp 192.0.2.236, arp 192.0.2.235, arp 192.0.2.236; holds 192.0.2.235/32, 192.0.2.236/32; VI_1 is master"}},
		},
		{
			name: "the unicast checksum of an old keepalived",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 35
	advert_int 1
	down_timer_adverts 1
	unicast_src_ip 192.0.2.1
	unicast_peer {
		192.0.2.2
	}
	virtual_ipaddress {
		192.0.2.237
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 35
    advert_int: 1
    down_timer_adverts: 1
    unicast_src_ip: 192.0.2.1
    unicast_peer: 192.0.2.2
    virtual_ipaddress: 192.0.2.237
`,
			events: func(r *run) {
				old := v3(35, 200, time.Second, "192.0.2.237").to(router4)
				old.summed = vrrp.IPv4.Group()
				r.startBackup("an old keepalived is master")
				r.speak(3, 800*time.Millisecond, old)
			},
			declared: []Declared{{"D035", "an old keepalived is master", "nothing sent; VI_1 is backup", "v3 advert 100 to 192.0.2.2, arp 192.0.2.237; holds 192.0.2.237/32; VI_1 is master"}},
		},
		{
			name: "addresses with a peer",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 36
	priority 255
	advert_int 10
	virtual_ipaddress {
		192.0.2.236 peer 198.51.100.236/24
		192.0.2.237 peer 198.51.100.237
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 36
    priority: 255
    advert_int: 10
    virtual_ipaddress:
      - 192.0.2.236 peer 198.51.100.236/24
      - 192.0.2.237 peer 198.51.100.237
`,
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				for _, a := range r.addresses() {
					if strings.Contains(a, "198.51.100.236/24") {
						r.fact("the prefix is the peer's")
					}
				}
				r.phase("SIGTERM")
				r.terminate()
			},
			declared: []Declared{
				{
					"D036", "it starts",
					"v2 advert 255, arp 192.0.2.236, arp 192.0.2.237; holds 192.0.2.236/32, 192.0.2.237/32; VI_1 is master",
					"v2 advert 255, arp 192.0.2.236, arp 192.0.2.237; holds 192.0.2.236/32, 192.0.2.237/32; the prefix is the peer's; VI_1 is master",
				},
				{"D036", "SIGTERM", "v2 advert 0; holds 192.0.2.237/32; exit 0", "v2 advert 0; exit 0"},
			},
		},
		{
			name: "an address of the host beside a virtual one",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 87
	priority 255
	advert_int 10
	virtual_ipaddress {
		203.0.113.10/24
		203.0.113.11/24
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 87
    priority: 255
    advert_int: 10
    virtual_ipaddress: [203.0.113.10/24, 203.0.113.11/24]
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.ok(r.router.AddAddr("eth0", netip.MustParsePrefix("203.0.113.77/24")))
				r.phase("SIGTERM")
				r.terminate()
			},
			declared: []Declared{{"D037", "SIGTERM", "v2 advert 0; exit 0", "v2 advert 0; holds 203.0.113.77/24; exit 0"}},
		},
	}
}

// aMinute is apart from the others because it takes longer than all of them.
func aMinute() scenario {
	return scenario{
		name: "a minute as master, by default",
		keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 10
	priority 255
	advert_int 40
	virtual_ipaddress {
		192.0.2.210
	}
}
`,
		vipd: `
global_defs:
  vrrp_garp_master_delay: 0
  vrrp_garp_master_repeat: 1
` + ownershipLikeKeepalived + `
vrrp_instance:
  VI_1:
    version: 2
    interface: eth0
    virtual_router_id: 10
    priority: 255
    advert_int: 40
    virtual_ipaddress: 192.0.2.210
`,
		events: func(r *run) {
			r.start("it starts")
			r.await(1, announcements)
			r.quiet(aWhile)
			r.phase("a minute later")
			r.quiet(time.Minute)
		},
		declared: []Declared{{"D010", "a minute later", "v2 advert 255; holds 192.0.2.210/32; VI_1 is master", "v2 advert 255, arp 192.0.2.210; holds 192.0.2.210/32; VI_1 is master"}},
	}
}

// beBackup starts a daemon and leaves it as it then is.
func beBackup(r *run) {
	r.start("it starts")
	r.quiet(time.Second)
}

func TestDeclaredDifferencesShow(t *testing.T) {
	t.Parallel()
	for _, s := range allDifferences() {
		t.Run(s.name, s.play)
	}
}

func TestADifferenceThatTakesAMinuteShows(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	s := aMinute()
	s.play(t)
}

// allDifferences returns the scenarios of all differences that show at once.
func allDifferences() []scenario {
	return slices.Concat(declaredDifferences(), trackingDifferences(), groupDifferences(), ownershipDifferences())
}

// TestTheListOfDifferencesNamesTheseScenarios holds docs/differences.md against
// the scenarios: a difference that says that it is seen here has one, and every
// one here is in the list.
func TestTheListOfDifferencesNamesTheseScenarios(t *testing.T) {
	b, err := os.ReadFile("../../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	heading := regexp.MustCompile(`(?m)^## (D\d{3}) `)
	sections := heading.FindAllStringSubmatchIndex(string(b), -1)
	for i, at := range sections {
		end := len(b)
		if i+1 < len(sections) {
			end = sections[i+1][0]
		}
		listed[string(b[at[2]:at[3]])] = strings.Contains(string(b[at[0]:end]), "`cmd/internal/differential.Test")
	}
	if len(listed) == 0 {
		t.Fatal("the list is empty")
	}
	shown := map[string]bool{}
	for _, s := range append(allDifferences(), aMinute()) {
		if len(s.declared) == 0 {
			t.Errorf("%q shows no difference", s.name)
		}
		for _, d := range s.declared {
			shown[d.ID] = true
		}
	}
	for id, here := range listed {
		if here && !shown[id] {
			t.Errorf("%s is listed as seen here, and no scenario shows it", id)
		}
	}
	for id := range shown {
		if !listed[id] {
			t.Errorf("%s is shown here, which the list does not say", id)
		}
	}
}
