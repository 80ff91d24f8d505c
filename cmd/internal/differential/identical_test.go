package differential

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vipd/vrrp"
)

// ownershipLikeKeepalived are the lines of global_defs that have vipd treat its
// addresses as keepalived does.
const ownershipLikeKeepalived = `  vip_lease: off
  handover: false
  hold_on_mismatch: false
  on_address_loss: resign
`

// likeKeepalived is what vipd has to be told to be like keepalived where its
// defaults are others on purpose, as TestDeclaredDifferencesShow shows.
const likeKeepalived = `
global_defs:
  vrrp_version: 2
  vrrp_garp_master_refresh: 0
  vrrp_higher_prio_send_advert: false
  vrrp_check_unicast_src: false
` + ownershipLikeKeepalived

// aWhile is how long a scenario goes on recording when what it waited for has
// come, and how far it stays away from what is due next.
const aWhile = 350 * time.Millisecond

// v2 returns an advertisement that the peer multicasts in version 2.
func v2(vrid, priority uint8, addresses ...string) said {
	return said{
		Advertisement: vrrp.Advertisement{Version: vrrp.V2, VRID: vrid, Priority: priority, Interval: time.Second, Addrs: addrs(addresses...)},
		src:           addrs(peer4)[0], dst: vrrp.IPv4.Group(),
	}
}

// v3 returns an advertisement that the peer multicasts in version 3, in the
// family of its addresses.
func v3(vrid, priority uint8, interval time.Duration, addresses ...string) said {
	s := said{
		Advertisement: vrrp.Advertisement{Version: vrrp.V3, VRID: vrid, Priority: priority, Interval: interval, Addrs: addrs(addresses...)},
		src:           addrs(peer4)[0], dst: vrrp.IPv4.Group(),
	}
	if s.Addrs[0].Is6() {
		s.src, s.dst = addrs(peer6)[0], vrrp.IPv6.Group()
	}
	return s
}

// to makes it a unicast advertisement.
func (s said) to(dst string) said { return s.from(s.src.String(), dst) }

func (s said) from(src, dst string) said {
	s.src, s.dst = netip.MustParseAddr(src), netip.MustParseAddr(dst)
	return s
}

// manyAddresses are more than an advertisement has had room for since VRRP was
// young.
func manyAddresses() []string {
	out := make([]string, 25)
	for i := range out {
		out[i] = fmt.Sprintf("192.0.2.%d", 100+i)
	}
	return out
}

// hundreds are more addresses than can be counted in an advertisement.
func hundreds() []string {
	out := make([]string, 300)
	for i := range out {
		out[i] = fmt.Sprintf("198.18.%d.%d", i/100, 1+i%100)
	}
	return out
}

func TestBothDoTheSame(t *testing.T) {
	t.Parallel()
	for _, s := range []scenario{
		{
			name: "version 2, two addresses, from the start to the end",
			keepalived: `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 51
	garp_master_delay 2
	garp_lower_prio_delay 3
	virtual_ipaddress {
		192.0.2.100/24 brd + label eth0:vip
		192.0.2.101
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 51
    garp_master_delay: 2
    garp_lower_prio_delay: 3
    virtual_ipaddress:
      - 192.0.2.100/24 brd + label eth0:vip
      - 192.0.2.101
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				vips := []string{"192.0.2.100", "192.0.2.101"}
				r.start("it starts")
				first := r.await(1, adverts)
				r.after("the first advertisement", first.At.Sub(r.joined()), 3609*time.Millisecond)
				announced := r.await(1, announcements)
				r.after("the first announcement", announced.At.Sub(first.At), 0)
				r.await(10, announcements)
				r.quiet(aWhile)

				r.phase("it advertises")
				r.await(1, adverts)
				r.quiet(aWhile)

				r.phaseInAnyOrder("the second block of announcements is due with an advertisement")
				again := r.await(1, announcements)
				r.after("the second block of announcements", again.At.Sub(announced.At), 2*time.Second)
				r.await(10, announcements)
				r.await(1, adverts)
				r.quiet(aWhile)

				r.phase("a lower priority is heard")
				r.inject(v2(51, 90, vips...))
				answer := r.await(1, adverts)
				r.after("the answer to a lower priority", answer.At.Sub(r.heard()), 0)
				r.await(10, announcements)
				r.quiet(aWhile)

				// Not from the one with the lower priority: see D070.
				r.phase("priority 0 is heard")
				r.inject(v2(51, 0, vips...).from(otherPeer4, "224.0.0.18"))
				answer = r.await(1, adverts)
				r.after("the answer to priority 0", answer.At.Sub(r.heard()), 0)
				r.quiet(aWhile)

				r.phase("a higher priority is heard")
				r.inject(v2(51, 200, vips...))
				r.quiet(2 * aWhile)

				r.phase("and stops")
				r.inject(v2(51, 0, vips...))
				first = r.await(1, adverts)
				r.after("the return", first.At.Sub(r.heard()), 609*time.Millisecond)
				r.await(10, announcements)
				r.quiet(aWhile)

				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "somebody deletes an address, and the master resigns",
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
    virtual_ipaddress: [192.0.2.206, 192.0.2.246]
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("deleted")
				deleted := time.Now()
				r.ok(r.router.RemoveAddr("eth0", netip.MustParsePrefix("192.0.2.206/32")))
				last := r.await(2, adverts)
				r.after("the return", last.At.Sub(deleted), 609*time.Millisecond)
				r.await(2, announcements)
				r.quiet(aWhile)
			},
		},
		{
			name: "version 2, nothing but what has to be there",
			keepalived: `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 1
	virtual_ipaddress {
		192.0.2.100
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 1
    virtual_ipaddress: 192.0.2.100
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				first := r.await(5, announcements)
				r.quiet(aWhile)
				r.phaseInAnyOrder("the second block of announcements is due with the sixth advertisement")
				again := r.await(1, announcements)
				r.after("the second block of announcements", again.At.Sub(first.At), 5*time.Second)
				r.await(5, announcements)
				r.await(5, adverts)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "version 2 with a password that is too long",
			keepalived: `
vrrp_instance VI_1 {
	state MASTER
	interface eth0
	virtual_router_id 52
	priority 150
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 1
	authentication {
		auth_type PASS
		auth_pass s3cretpwd99
	}
	virtual_ipaddress {
		192.0.2.110/25
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    state: MASTER
    interface: eth0
    virtual_router_id: 52
    priority: 150
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 1
    authentication: {auth_type: PASS, auth_pass: s3cretpwd99}
    virtual_ipaddress: 192.0.2.110/25
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				first := r.await(1, adverts)
				r.after("the first advertisement", first.At.Sub(r.joined()), 2414*time.Millisecond)
				r.await(5, announcements)
				r.await(10, announcements)
				r.await(2, adverts)
				r.quiet(aWhile)

				better := v2(52, 200, "192.0.2.110")
				better.Interval, better.AuthType = 2*time.Second, vrrp.AuthPass
				copy(better.AuthData[:], "s3cretpwd99")
				r.phase("a higher priority with the right password is heard")
				r.inject(better)
				r.quiet(aWhile)

				r.phase("one with the wrong password does not put it off")
				better.AuthData[0]++
				r.speak(3, 700*time.Millisecond, better)
				r.await(5, announcements)
				r.quiet(aWhile)

				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "version 3 on IPv4 every half second",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 53
	priority 200
	advert_int 0.5
	garp_master_delay 0
	garp_lower_prio_delay 0
	garp_lower_prio_repeat 2
	virtual_ipaddress {
		192.0.2.120/24
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 53
    priority: 200
    advert_int: 0.5
    garp_master_delay: 0
    garp_lower_prio_delay: 0
    garp_lower_prio_repeat: 2
    virtual_ipaddress: 192.0.2.120/24
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				const interval = 500 * time.Millisecond
				r.start("it starts")
				first := r.await(1, adverts)
				r.after("the first advertisement", first.At.Sub(r.joined()), 1609*time.Millisecond)
				r.await(2, adverts)
				r.quiet(interval * 3 / 10)

				// It has not been master for two intervals: see D070.
				r.phase("a lower priority is heard")
				r.inject(v3(53, 199, interval, "192.0.2.120"))
				answer := r.await(1, adverts)
				r.after("the answer to a lower priority", answer.At.Sub(r.heard()), 0)
				r.await(2, announcements)
				last := r.await(3, adverts)
				r.after("the second advertisement after it", last.At.Sub(answer.At), time.Second)
				r.quiet(interval * 3 / 10)

				r.phase("a higher priority with another interval is heard")
				r.inject(v3(53, 201, 3*time.Second, "192.0.2.120"))
				r.quiet(aWhile)

				r.phase("and stops: the skew follows its interval")
				r.inject(v3(53, 0, 3*time.Second, "192.0.2.120"))
				first = r.await(1, adverts)
				r.after("the return", first.At.Sub(r.heard()), 656*time.Millisecond)
				r.await(5, announcements)
				r.quiet(interval * 3 / 10)

				r.phase("the same priority from a lower address is heard")
				r.inject(v3(53, 200, interval, "192.0.2.120").from("192.0.1.1", "224.0.0.18"))
				r.await(1, adverts)
				r.await(2, announcements)
				r.quiet(interval * 3 / 10)

				r.phase("the same priority from a higher address is heard")
				r.inject(v3(53, 200, interval, "192.0.2.120"))
				r.quiet(aWhile)

				r.phase("and falls silent")
				first = r.await(1, adverts)
				r.after("the takeover", first.At.Sub(r.heard()), 1609*time.Millisecond)
				r.await(5, announcements)
				r.quiet(interval * 3 / 10)

				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "version 3 on IPv6",
			keepalived: ipv6Conf,
			vipd:       ipv6YAML,
			kinds:      []Kind{KindAdvert, KindNA},
			events:     ipv6Events,
		},
		{
			name:       "version 3 on IPv6, of a host that forwards",
			keepalived: ipv6Conf,
			vipd:       ipv6YAML,
			kinds:      []Kind{KindAdvert, KindNA},
			prepare:    func(r *run) { r.ok(r.router.Sysctl("net.ipv6.conf.all.forwarding", "1")) },
			events:     ipv6Events,
		},
		{
			name: "unicast, version 2, two peers",
			keepalived: `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 55
	unicast_src_ip 192.0.2.1
	unicast_peer {
		192.0.2.2
		192.0.2.3
	}
	garp_master_delay 0
	garp_lower_prio_delay 0
	virtual_ipaddress {
		192.0.2.130/24
		192.0.2.131/24
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 55
    unicast_src_ip: 192.0.2.1
    unicast_peer: [192.0.2.2, 192.0.2.3]
    garp_master_delay: 0
    garp_lower_prio_delay: 0
    virtual_ipaddress: [192.0.2.130/24, 192.0.2.131/24]
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				vips := []string{"192.0.2.130", "192.0.2.131"}
				r.start("it starts")
				r.await(10, announcements)
				r.await(4, adverts)
				r.quiet(aWhile)

				r.phase("a lower priority is heard")
				r.inject(v2(55, 90, vips...).to(router4))
				answer := r.await(2, adverts)
				r.after("the answer to a lower priority", answer.At.Sub(r.heard()), 0)
				r.await(10, announcements)
				r.quiet(aWhile)

				r.phase("priority 0 is heard")
				r.inject(v2(55, 0, vips...).from(otherPeer4, router4))
				r.await(2, adverts)
				r.quiet(aWhile)

				r.phase("a higher priority is heard from the other peer")
				r.inject(v2(55, 200, vips...).from(otherPeer4, router4))
				r.quiet(aWhile)

				r.phase("and stops")
				r.inject(v2(55, 0, vips...).from(otherPeer4, router4))
				first := r.await(1, adverts)
				r.after("the return", first.At.Sub(r.heard()), 609*time.Millisecond)
				r.await(10, announcements)
				r.quiet(aWhile)

				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "unicast, version 3 on IPv4, with a TTL",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 57
	priority 254
	advert_int 0.5
	garp_master_delay 0
	garp_lower_prio_delay 0
	unicast_src_ip 192.0.2.1
	unicast_ttl 64
	unicast_peer {
		192.0.2.2
	}
	virtual_ipaddress {
		192.0.2.150
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 57
    priority: 254
    advert_int: 500ms
    garp_master_delay: 0
    garp_lower_prio_delay: 0
    unicast_src_ip: 192.0.2.1
    unicast_ttl: 64
    unicast_peer: 192.0.2.2
    virtual_ipaddress: 192.0.2.150
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				lower := v3(57, 253, 500*time.Millisecond, "192.0.2.150").to(router4)
				lower.ttl = 3 // of unicast no particular TTL is expected
				r.start("it starts")
				r.await(5, announcements)
				r.await(2, adverts)
				r.quiet(150 * time.Millisecond)
				r.phase("a lower priority is heard")
				r.inject(lower)
				r.await(1, adverts)
				r.await(5, announcements)
				r.await(2, adverts)
				r.quiet(150 * time.Millisecond)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "unicast, version 3 on IPv6",
			keepalived: `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 58
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 1
	garp_lower_prio_delay 0
	unicast_src_ip 2001:db8::1
	unicast_peer {
		2001:db8::2
	}
	virtual_ipaddress {
		fe80::58/64
		2001:db8::58/64
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 58
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 1
    garp_lower_prio_delay: 0
    unicast_src_ip: 2001:db8::1
    unicast_peer: 2001:db8::2
    virtual_ipaddress: [fe80::58/64, 2001:db8::58/64]
`,
			kinds: []Kind{KindAdvert, KindNA},
			events: func(r *run) {
				vips := []string{"fe80::58", "2001:db8::58"}
				r.start("it starts")
				r.await(10, announcements)
				r.await(20, announcements)
				r.await(3, adverts)
				r.quiet(aWhile)
				r.phase("a lower priority is heard")
				r.inject(v3(58, 90, 2*time.Second, vips...).from(globalPeer, global6))
				r.await(1, adverts)
				r.await(10, announcements)
				r.quiet(aWhile)
				r.phase("a higher priority is heard")
				r.inject(v3(58, 110, 2*time.Second, vips...).from(globalPeer, global6))
				r.quiet(aWhile)
				r.phase("and stops")
				r.inject(v3(58, 0, 2*time.Second, vips...).from(globalPeer, global6))
				r.await(1, adverts)
				r.await(10, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "addresses of every kind, advertised and excluded",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 60
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 1
	virtual_ipaddress {
		198.18.0.140/24 brd 198.18.0.255 scope link
		198.51.100.140/28 brd + label eth0:60
		203.0.113.140 scope host
		192.0.2.141/31
	}
	virtual_ipaddress_excluded {
		192.0.2.142/24 noprefixroute
		192.0.2.143
		2001:db8::140/64
		2001:db8::141
		fe80::140/64
		2001:db8::142/64 preferred_lft 0
		2001:db8::143/128 preferred_lft forever
		2001:db8::144/64 -nodad home mngtmpaddr
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 60
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 1
    virtual_ipaddress:
      - 198.18.0.140/24 brd 198.18.0.255 scope link
      - 198.51.100.140/28 brd + label eth0:60
      - 203.0.113.140 scope host
      - 192.0.2.141/31
    virtual_ipaddress_excluded:
      - 192.0.2.142/24 noprefixroute
      - 192.0.2.143
      - 2001:db8::140/64
      - 2001:db8::141
      - fe80::140/64
      - 2001:db8::142/64 preferred_lft 0
      - 2001:db8::143/128 preferred_lft forever
      - 2001:db8::144/64 -nodad home mngtmpaddr
`,
			kinds: []Kind{KindAdvert, KindARP, KindNA},
			events: func(r *run) {
				r.start("it starts")
				r.await(60, announcements)
				r.quiet(aWhile)
				r.phase("the second block of announcements")
				r.await(60, announcements)
				r.await(2, adverts)
				r.quiet(aWhile)
				r.phase("a higher priority is heard")
				r.inject(v3(60, 200, 2*time.Second, "198.18.0.140", "198.51.100.140", "203.0.113.140", "192.0.2.141"))
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "announcements as they are asked for",
			keepalived: `
global_defs {
	vrrp_garp_master_delay 7
	vrrp_garp_master_repeat 4
	vrrp_garp_lower_prio_delay 1
	vrrp_garp_lower_prio_repeat 3
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 61
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 1
	garp_master_repeat 2
	virtual_ipaddress {
		192.0.2.160
	}
	virtual_ipaddress_excluded {
		2001:db8::160
	}
}
`,
			vipd: `
global_defs:
  vrrp_version: 2
  vrrp_garp_master_refresh: 0
  vrrp_garp_master_delay: 7
  vrrp_garp_master_repeat: 4
  vrrp_garp_lower_prio_delay: 1
  vrrp_garp_lower_prio_repeat: 3
` + ownershipLikeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 61
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 1
    garp_master_repeat: 2
    virtual_ipaddress: 192.0.2.160
    virtual_ipaddress_excluded: 2001:db8::160
`,
			kinds: []Kind{KindAdvert, KindARP, KindNA},
			events: func(r *run) {
				r.start("it starts")
				first := r.await(1, announcements)
				last := r.await(5, announcements)
				r.after("the second block of announcements", last.At.Sub(first.At), time.Second)
				r.await(8, announcements)
				r.await(2, adverts)
				r.quiet(aWhile)
				lower := v2(61, 90, "192.0.2.160")
				lower.Interval = 2 * time.Second
				r.phase("a lower priority is heard")
				r.inject(lower)
				first = r.await(1, announcements)
				last = r.await(7, announcements)
				r.after("the second block after a lower priority", last.At.Sub(first.At), time.Second)
				r.await(12, announcements)
				r.await(2, adverts)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "an owner",
			keepalived: `
vrrp_instance VI_1 {
	state MASTER
	interface eth0
	virtual_router_id 63
	priority 255
	garp_master_delay 0
	garp_lower_prio_delay 0
	virtual_ipaddress {
		192.0.2.170/24
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    state: MASTER
    interface: eth0
    virtual_router_id: 63
    priority: 255
    garp_master_delay: 0
    garp_lower_prio_delay: 0
    virtual_ipaddress: 192.0.2.170/24
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				first := r.await(1, adverts)
				if d := first.At.Sub(r.now().begin); d > 2*time.Second {
					r.t.Errorf("an owner has waited for %v", d)
				}
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("the next highest priority is heard")
				r.inject(v2(63, 254, "192.0.2.170"))
				answer := r.await(1, adverts)
				r.after("the answer to it", answer.At.Sub(r.heard()), 0)
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("it holds")
				last := r.await(3, adverts)
				r.after("the third advertisement after it", last.At.Sub(answer.At), 3*time.Second)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "twenty-five addresses",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 64
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 1
	virtual_ipaddress {
		` + strings.Join(manyAddresses(), "/24\n\t\t") + `/24
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 64
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 1
    virtual_ipaddress:
      - ` + strings.Join(manyAddresses(), "/24\n      - ") + `/24
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(125, announcements)
				r.quiet(aWhile)
				r.phase("the second block of announcements")
				r.await(125, announcements)
				r.await(2, adverts)
				r.quiet(aWhile)
				r.phase("a higher priority is heard")
				r.inject(v3(64, 200, 2*time.Second, manyAddresses()...))
				r.quiet(2 * aWhile)
				r.phase("and stops")
				r.inject(v3(64, 0, 2*time.Second, manyAddresses()...))
				r.await(125, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:      "two virtual routers on one interface",
			instances: []string{"VI_1", "VI_2"},
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 70
	priority 200
	advert_int 3
	down_timer_adverts 1
	garp_master_delay 0
	virtual_ipaddress {
		192.0.2.180
	}
}
vrrp_instance VI_2 {
	version 3
	interface eth0
	virtual_router_id 71
	priority 50
	advert_int 3
	down_timer_adverts 1
	garp_master_delay 0
	mcast_src_ip 192.0.2.77
	virtual_ipaddress {
		192.0.2.181
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 70
    priority: 200
    advert_int: 3
    down_timer_adverts: 1
    garp_master_delay: 0
    virtual_ipaddress: 192.0.2.180
  VI_2:
    version: 3
    interface: eth0
    virtual_router_id: 71
    priority: 50
    advert_int: 3
    down_timer_adverts: 1
    garp_master_delay: 0
    mcast_src_ip: 192.0.2.77
    virtual_ipaddress: 192.0.2.181
`,
			kinds:   []Kind{KindAdvert, KindARP},
			prepare: func(r *run) { r.ok(r.router.AddAddr("eth0", netip.MustParsePrefix("192.0.2.77/24"))) },
			events: func(r *run) {
				// The skew makes the first master 1.8 s before the second.
				r.start("the first is master, then the second")
				r.await(10, announcements)
				r.quiet(aWhile)
				r.phase("a higher priority is heard for the first")
				r.inject(v3(70, 201, 3*time.Second, "192.0.2.180"))
				r.await(1, adverts)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a backup that does not preempt",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 72
	advert_int 2
	down_timer_adverts 1
	nopreempt
	garp_master_delay 0
	virtual_ipaddress {
		192.0.2.182
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 72
    advert_int: 2
    down_timer_adverts: 1
    nopreempt: true
    garp_master_delay: 0
    virtual_ipaddress: 192.0.2.182
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.startBackup("a lower priority is heard for a long time")
				r.speak(3, 1500*time.Millisecond, v3(72, 50, 2*time.Second, "192.0.2.182"))
				r.phase("and falls silent")
				first := r.await(1, adverts)
				r.after("the takeover", first.At.Sub(r.heard()), 3219*time.Millisecond)
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a backup that preempts",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 73
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 0
	virtual_ipaddress {
		192.0.2.183
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 73
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 0
    virtual_ipaddress: 192.0.2.183
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.startBackup("a lower priority is heard and does not put it off")
				r.speak(2, 1200*time.Millisecond, v3(73, 50, 2*time.Second, "192.0.2.183"))
				first := r.await(1, adverts)
				r.after("the takeover", first.At.Sub(r.joined()), 3219*time.Millisecond)
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a backup that preempts after a delay",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 74
	advert_int 1
	down_timer_adverts 1
	preempt_delay 2
	garp_master_delay 0
	virtual_ipaddress {
		192.0.2.184
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 74
    advert_int: 1
    down_timer_adverts: 1
    preempt_delay: 2
    garp_master_delay: 0
    virtual_ipaddress: 192.0.2.184
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				// The delay begins with the first advertisement, the last within it
				// is the fourth, and an interval and the skew follow.
				r.startBackup("a lower priority is heard for a long time")
				begin := time.Now()
				r.speak(6, 550*time.Millisecond, v3(74, 50, time.Second, "192.0.2.184"))
				first := r.await(1, adverts)
				r.after("the takeover", first.At.Sub(begin), 3259*time.Millisecond)
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "one last advertisement if asked for, no answer if not wanted",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 75
	advert_int 0.9
	garp_master_delay 0
	higher_prio_send_advert
	lower_prio_no_advert
	virtual_ipaddress {
		192.0.2.185
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 75
    advert_int: 0.9
    garp_master_delay: 0
    higher_prio_send_advert: true
    lower_prio_no_advert: true
    virtual_ipaddress: 192.0.2.185
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("a lower priority is heard")
				r.inject(v3(75, 99, 900*time.Millisecond, "192.0.2.185"))
				r.await(1, adverts)
				r.quiet(aWhile)
				r.phase("a higher priority is heard")
				r.inject(v3(75, 101, 900*time.Millisecond, "192.0.2.185"))
				answer := r.await(1, adverts)
				r.after("the last advertisement", answer.At.Sub(r.heard()), 0)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a unicast router announces its own address when it is up again",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 36
	advert_int 4
	unicast_src_ip 192.0.2.1
	unicast_peer {
		192.0.2.2
	}
	virtual_ipaddress {
		192.0.2.238
	}
	track_interface {
		eth1
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 36
    advert_int: 4
    unicast_src_ip: 192.0.2.1
    unicast_peer: 192.0.2.2
    virtual_ipaddress: 192.0.2.238
    track_interface: eth1
`,
			prepare: second,
			events: func(r *run) {
				r.start("it starts")
				r.quiet(aWhile)
				r.phase("down")
				r.ok(r.lab.Cut(r.router, "eth1"))
				r.quiet(aWhile)
				r.phase("up again")
				r.ok(r.lab.Heal(r.router, "eth1"))
				r.await(1, announcements)
				r.quiet(aWhile)
			},
			kinds: []Kind{KindARP},
		},
		{
			name: "the link is cut and healed",
			keepalived: `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 76
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 0
	virtual_ipaddress {
		192.0.2.186/24
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 76
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 0
    virtual_ipaddress: 192.0.2.186/24
`,
			kinds: []Kind{KindAdvert, KindARP},
			lossy: true, // the last words of a master that is cut off
			events: func(r *run) {
				r.start("it starts")
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("the link is cut")
				r.ok(r.lab.Cut(r.router, "eth0"))
				r.quiet(2 * aWhile)
				r.phase("the link is healed")
				healed := time.Now()
				r.ok(r.lab.Heal(r.router, "eth0"))
				first := r.await(1, adverts)
				r.after("the return", first.At.Sub(healed), 3219*time.Millisecond)
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "an address on another interface",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 80
	advert_int 2
	down_timer_adverts 1
	virtual_ipaddress {
		192.0.2.188
		198.51.100.188/24 dev eth1
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 80
    advert_int: 2
    down_timer_adverts: 1
    virtual_ipaddress: [192.0.2.188, 198.51.100.188/24 dev eth1]
`,
			prepare: second,
			kinds:   []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("a lower priority is heard")
				r.inject(v3(80, 50, 2*time.Second, "192.0.2.188", "198.51.100.188"))
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "three hundred addresses",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 81
	priority 255
	advert_int 20
	virtual_ipaddress {
		` + strings.Join(hundreds(), "\n\t\t") + `
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 81
    priority: 255
    advert_int: 20
    virtual_ipaddress:
      - ` + strings.Join(hundreds(), "\n      - ") + `
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(300, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "the hardware address changes",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 83
	priority 255
	advert_int 10
	virtual_ipaddress {
		192.0.2.190
	}
	virtual_ipaddress_excluded {
		2001:db8::190
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 83
    priority: 255
    advert_int: 10
    virtual_ipaddress: 192.0.2.190
    virtual_ipaddress_excluded: 2001:db8::190
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("another address")
				nl := r.router.Netlink()
				link, err := nl.LinkByName("eth0")
				r.ok(err)
				r.ok(nl.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0, 0, 0, 0, 0x2a}))
				r.quiet(aWhile)
				lower := v2(83, 100, "192.0.2.190")
				lower.Interval = 10 * time.Second
				r.phase("a lower priority is heard")
				r.inject(lower)
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "the state is MASTER and there is no priority",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	state MASTER
	interface eth0
	virtual_router_id 84
	advert_int 10
	virtual_ipaddress {
		192.0.2.191
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    state: MASTER
    interface: eth0
    virtual_router_id: 84
    advert_int: 10
    virtual_ipaddress: 192.0.2.191
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
		},
		{
			name: "the state is BACKUP and the priority 255",
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	state BACKUP
	interface eth0
	virtual_router_id 85
	priority 255
	virtual_ipaddress {
		192.0.2.192
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    state: BACKUP
    interface: eth0
    virtual_router_id: 85
    priority: 255
    virtual_ipaddress: 192.0.2.192
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.quiet(2 * time.Second)
				r.phase("later")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
		},
		{
			name: "a delay at the start",
			keepalived: `
global_defs {
	vrrp_startup_delay 1.5
	vrrp_garp_master_delay 0
}
vrrp_instance VI_1 {
	version 3
	interface eth0
	virtual_router_id 86
	advert_int 0.5
	virtual_ipaddress {
		192.0.2.193
	}
}
`,
			vipd: likeKeepalived + `
  vrrp_startup_delay: 1.5
  vrrp_garp_master_delay: 0
vrrp_instance:
  VI_1:
    version: 3
    interface: eth0
    virtual_router_id: 86
    advert_int: 0.5
    virtual_ipaddress: 192.0.2.193
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.startBackup("it starts, and hears nothing for a while")
				r.inject(v3(86, 200, 500*time.Millisecond, "192.0.2.193"))
				first := r.await(1, adverts)
				r.after("the first advertisement", first.At.Sub(r.joined()), 3305*time.Millisecond)
				r.quiet(150 * time.Millisecond)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:  "IPv6 without a link-local virtual address, and a link-local source",
			apart: true, // D073
			keepalived: keepQuietConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 88
	priority 255
	advert_int 10
	virtual_ipaddress {
		2001:db8::88/64
	}
	virtual_ipaddress_excluded {
		192.0.2.194
	}
}
`,
			vipd: keepQuiet + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 88
    priority: 255
    advert_int: 10
    virtual_ipaddress: 2001:db8::88/64
    virtual_ipaddress_excluded: 192.0.2.194
`,
			kinds: []Kind{KindAdvert, KindARP, KindNA},
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "packets that are no advertisements for it",
			keepalived: `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 77
	virtual_ipaddress {
		192.0.2.187
	}
}
`,
			vipd: likeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 77
    virtual_ipaddress: 192.0.2.187
`,
			kinds: []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				good := v2(77, 200, "192.0.2.187")
				r.startBackup("it starts, and none of them puts it off")
				r.quiet(time.Second)
				for _, bad := range []func(*said){
					func(s *said) { s.VRID++ },
					func(s *said) { s.ttl = 254 },
					func(s *said) { s.checksum = 1 },
					func(s *said) { s.Interval = 2 * time.Second },
					func(s *said) { s.AuthType = vrrp.AuthPass },
					func(s *said) { s.Version = vrrp.V3 },
				} {
					s := good
					bad(&s)
					r.inject(s)
				}
				first := r.await(1, adverts)
				r.after("the first advertisement", first.At.Sub(r.joined()), 3609*time.Millisecond)
				r.await(5, announcements)
				r.quiet(aWhile)
				r.phase("one is padded, and counts")
				padded := good
				padded.pad = 60
				r.inject(padded)
				r.quiet(aWhile)
				r.phase("SIGTERM of a backup")
				r.terminate()
			},
		},
	} {
		t.Run(s.name, s.play)
	}
}

const ipv6Conf = `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 54
	advert_int 2
	down_timer_adverts 1
	garp_master_delay 1
	garp_lower_prio_delay 0
	virtual_ipaddress {
		fe80::54/64
		2001:db8:50::100/64
		2001:db8:50::101
	}
}
`

const ipv6YAML = likeKeepalived + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 54
    advert_int: 2
    down_timer_adverts: 1
    garp_master_delay: 1
    garp_lower_prio_delay: 0
    virtual_ipaddress:
      - fe80::54/64
      - 2001:db8:50::100/64
      - 2001:db8:50::101
`

// ipv6Events is a life on IPv6. The second block of announcements is due between
// two advertisements.
func ipv6Events(r *run) {
	vips := []string{"fe80::54", "2001:db8:50::100", "2001:db8:50::101"}
	const interval = 2 * time.Second
	r.start("it starts")
	first := r.await(1, adverts)
	r.after("the first advertisement", first.At.Sub(r.joined()), 3219*time.Millisecond)
	r.await(15, announcements)
	r.quiet(aWhile)

	r.phase("the second block of announcements")
	r.await(15, announcements)
	r.await(2, adverts)
	r.quiet(aWhile)

	r.phase("a lower priority is heard")
	r.inject(v3(54, 90, interval, vips...))
	answer := r.await(1, adverts)
	r.after("the answer to a lower priority", answer.At.Sub(r.heard()), 0)
	r.await(15, announcements)
	r.quiet(aWhile)

	r.phase("priority 0 is heard")
	r.inject(v3(54, 0, interval, vips...).from(otherPeer6, "ff02::12")) // see D070
	r.await(1, adverts)
	r.quiet(aWhile)

	r.phase("a higher priority is heard")
	r.inject(v3(54, 200, interval, vips...))
	r.quiet(aWhile)

	r.phase("and stops")
	r.inject(v3(54, 0, interval, vips...))
	first = r.await(1, adverts)
	r.after("the return", first.At.Sub(r.heard()), 1219*time.Millisecond)
	r.await(15, announcements)
	r.quiet(aWhile)

	r.phase("SIGTERM")
	r.terminate()
}
