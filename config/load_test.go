package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"vipd/vrrp"
)

// mustLoad loads a file that must have exactly the given diagnostics.
func mustLoad(t *testing.T, path string, want ...string) *Config {
	t.Helper()
	c, diags := Load(path)
	var got []string
	for _, d := range diags {
		got = append(got, d.String())
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("diagnostics of %s:\n got %q\nwant %q", path, got, want)
	}
	if c == nil {
		t.Fatalf("%s gives no configuration", path)
	}
	return c
}

// mustParse parses a text that must be without diagnostics.
func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, diags := Parse("test.yaml", []byte(text))
	if len(diags) > 0 {
		t.Fatalf("%s:\n%s", text, diags)
	}
	return c
}

func addrs(ss ...string) []netip.Addr {
	out := make([]netip.Addr, len(ss))
	for i, s := range ss {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

func TestReferenceFileIsReadFieldByField(t *testing.T) {
	t.Chdir("testdata")
	c := mustLoad(t, "reference.yaml",
		"reference.yaml:119:18: vrrp_instance.EMPTY6.native_ipv6: warning: native_ipv6 is deprecated (leave it out: the family follows from the addresses)")
	pos := func(line, col int) Pos { return Pos{"reference.yaml", line, col} }
	prefix := netip.MustParsePrefix
	addr := netip.MustParseAddr
	garp := GARP{
		MasterDelay: 6 * time.Second, MasterRepeat: 7, Refresh: 90 * time.Second, RefreshRepeat: 2,
		LowerPrioDelay: 8500 * time.Millisecond, LowerPrioRepeat: 0,
	}
	// What instances have in common unless they say otherwise.
	base := func(name string, p Pos, i Instance) Instance {
		i.Name, i.Pos = name, p
		i.StartupDelay = 1500 * time.Millisecond
		i.SkipCheckAdvAddr = name != "V2"
		i.LowerPrioNoAdvert = name != "V2"
		if name == "OWNERSHIP" {
			i.Handover, i.HoldOnMismatch = true, true
		} else {
			i.VIPLease.Mode, i.ResignOnLoss = LeaseOff, true
		}
		if name != "V2" {
			i.GARP, i.DownTimerAdverts = garp, 4
		}
		if i.Priority == 0 {
			i.Priority = 100
		}
		if i.AdvertInterval == 0 {
			i.AdvertInterval = time.Second
		}
		return i
	}
	group4, group6 := addr("224.0.0.118"), addr("ff02::112")
	want := &Config{
		Files: []string{"reference.yaml", "reference.d/10-included.yaml"},
		Global: Global{
			Dumps:    Dumps{JSONVersion: 1},
			RouterID: "router a", RTPriority: 50, Nice: -5, StartupDelay: 1500 * time.Millisecond,
			GARPInterval: 100 * time.Microsecond, GNAInterval: 200 * time.Microsecond, LogUnknownVRIDs: true,
			ScriptSecurity: true, NotifyTimeout: 30 * time.Second, StartupScriptTimeout: 10 * time.Second, ShutdownScriptTimeout: 10 * time.Second,
		},
		Instances: []Instance{
			base("INCLUDED", Pos{"reference.d/10-included.yaml", 2, 3}, Instance{
				Interface: "eth0", VRID: 56, Version: vrrp.V2, Family: vrrp.IPv4, Group: group4, TTL: 255, Preempt: true,
				Addresses: []Address{{Prefix: prefix("192.0.2.50/24"), Interface: "eth0", Pos: Pos{"reference.d/10-included.yaml", 5, 24}}},
			}),
			base("V2", pos(33, 3), Instance{
				Interface: "eth0.100", VRID: 51, Version: vrrp.V2, Family: vrrp.IPv4,
				StartMaster: true, Priority: 150, AdvertInterval: 2 * time.Second,
				Addresses: []Address{
					{Prefix: prefix("192.0.2.10/32"), Interface: "eth0.100", Pos: pos(41, 9)},
					{
						Prefix: prefix("192.0.2.11/24"), Interface: "eth0.100", Label: "eth0.100:1", Scope: 253, Broadcast: addr("192.0.2.255"),
						NoPrefixRoute: true, AutoJoin: true, NoTrack: true, Pos: pos(42, 9),
					},
					{Prefix: prefix("192.0.2.12/24"), Interface: "eth1", Scope: 10, Broadcast: addr("192.0.2.127"), Pos: pos(43, 19)},
					{Prefix: prefix("192.0.2.13/28"), Interface: "eth0.100", Broadcast: addr("192.0.2.0"), Pos: pos(44, 9)},
					{Prefix: prefix("192.0.2.14/32"), Interface: "eth0.100", Peer: prefix("198.51.100.14/24"), Pos: pos(45, 9)},
				},
				Excluded: []Address{{Prefix: prefix("2001:db8::10/64"), Interface: "eth0.100", Pos: pos(46, 33)}},
				AuthType: vrrp.AuthPass, AuthData: [8]byte{'0', '1', '2', '3'},
				SourceIP: addr("192.0.2.1"), Group: addr("224.0.0.218"), TTL: 255, TrackSourceIP: true,
				Preempt: true, DownTimerAdverts: 5,
				GARP: GARP{
					MasterDelay: time.Second, MasterRepeat: 2, Refresh: 3 * time.Second, RefreshRepeat: 4,
					LowerPrioDelay: 0, LowerPrioRepeat: 6,
				},
				HigherPrioSendAdvert: true, TrackInterfaces: []string{"eth2", "eth3", "eth4", "eth1"}, DontTrackPrimary: true,
			}),
			base("V3", pos(71, 3), Instance{
				Interface: "eth0", VRID: 52, Version: vrrp.V3, Family: vrrp.IPv4, AdvertInterval: 250 * time.Millisecond,
				Checksum: vrrp.ChecksumPlain, Group: group4, TTL: 255,
				Addresses: []Address{{Prefix: prefix("192.0.2.20/24"), Interface: "eth0", Pos: pos(78, 24)}},
			}),
			base("V3_PSEUDO_HEADER", pos(80, 3), Instance{
				Interface: "eth0", VRID: 53, Version: vrrp.V3, Family: vrrp.IPv4, Group: group4, TTL: 255,
				Preempt: true, PreemptDelay: 5 * time.Minute,
				Addresses: []Address{{Prefix: prefix("192.0.2.30/24"), Interface: "eth0", Pos: pos(86, 25)}},
			}),
			base("V6", pos(88, 3), Instance{
				Interface: "eth0", VRID: 52, Version: vrrp.V3, Family: vrrp.IPv6, Group: group6, TTL: 255, Preempt: true,
				Addresses: []Address{
					{Prefix: prefix("fe80::52/64"), Interface: "eth0", Pos: pos(92, 9)},
					{Prefix: prefix("2001:db8::52/128"), Interface: "eth0", Deprecated: true, Pos: pos(93, 9)},
					{Prefix: prefix("2001:db8::53/64"), Interface: "eth0", Deprecated: true, Pos: pos(94, 9)},
					{Prefix: prefix("2001:db8::54/128"), Interface: "eth0", Pos: pos(95, 9)},
					{
						Prefix: prefix("2001:db8::55/64"), Interface: "eth0", PreferredLifetime: time.Hour,
						DAD: true, HomeAddress: true, ManageTempAddr: true, Pos: pos(96, 9),
					},
					{Prefix: prefix("2001:db8::56/64"), Interface: "eth0", DAD: true, Pos: pos(97, 19)},
				},
			}),
			base("UNICAST", pos(99, 3), Instance{
				VRID: 54, Version: vrrp.V2, Family: vrrp.IPv4, SourceIP: addr("198.51.100.1"), TTL: 64, Preempt: true,
				Peers: []Peer{
					{addr("198.51.100.2"), -1, -1}, {addr("198.51.100.3"), 254, 255}, {addr("198.51.100.4"), -1, 64},
				},
				CheckUnicastSource: true, // a TTL implies it
				Addresses:          []Address{{Prefix: prefix("192.0.2.40/24"), Interface: "eth9", Pos: pos(107, 24)}},
				TrackInterfaces:    []string{"eth9"},
			}),
			base("UNICAST6", pos(109, 3), Instance{
				Interface: "eth0", VRID: 54, Version: vrrp.V3, Family: vrrp.IPv6, TTL: 64, Preempt: true,
				Peers: []Peer{{addr("2001:db8::2"), -1, -1}}, CheckUnicastSource: true,
				Addresses: []Address{{Prefix: prefix("2001:db8::40/64"), Interface: "eth0", Pos: pos(114, 24)}},
			}),
			base("EMPTY6", pos(116, 3), Instance{
				Interface: "eth0", VRID: 55, Version: vrrp.V3, Family: vrrp.IPv6, Group: group6, TTL: 255, Preempt: true,
			}),
			base("OWNERSHIP", pos(122, 3), Instance{
				Interface: "eth0", VRID: 57, Version: vrrp.V2, Family: vrrp.IPv4, Group: group4, TTL: 255, Preempt: true,
				Addresses: []Address{{Prefix: prefix("192.0.2.60/24"), Interface: "eth0", Pos: pos(125, 24)}},
				VIPLease:  Lease{LeaseFixed, 4 * time.Second},
			}),
		},
	}
	diffStructs(t, "config", reflect.ValueOf(*want), reflect.ValueOf(*c))
}

// diffStructs reports every field in which two values differ.
func diffStructs(t *testing.T, path string, want, got reflect.Value) {
	t.Helper()
	switch {
	case want.Kind() == reflect.Struct && strings.HasPrefix(want.Type().PkgPath(), "vipd"):
		for i := range want.NumField() {
			diffStructs(t, path+"."+want.Type().Field(i).Name, want.Field(i), got.Field(i))
		}
	case want.Kind() == reflect.Slice && want.Len() == got.Len():
		for i := range want.Len() {
			diffStructs(t, fmt.Sprintf("%s[%d]", path, i), want.Index(i), got.Index(i))
		}
	case !reflect.DeepEqual(want.Interface(), got.Interface()):
		t.Errorf("%s: got %v, want %v", path, got, want)
	}
}

func TestReferenceFilesHaveEveryKeyword(t *testing.T) {
	text := ""
	for _, file := range glob(t, "testdata/*.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text += string(data)
	}
	s := newSchema()
	has := func(name string) bool {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), name+":") {
				return true
			}
		}
		return false
	}
	for _, b := range s.blocks() {
		for _, kw := range b.keywords {
			if kw.support == supported && !has(kw.name) {
				t.Errorf("%s of %q is not in the reference files", kw.name, b.name)
			}
			if kw.line == nil {
				continue
			}
			for _, p := range kw.line.parts {
				if p.support == supported && !strings.Contains(text, " "+p.name+" ") && !strings.Contains(text, " "+p.name+"\n") {
					t.Errorf("%s of %s is not in the reference files", p.name, kw.name)
				}
			}
		}
	}
}

func TestDefaultsAreThoseOfTheDesign(t *testing.T) {
	keepalived := dialect{version: vrrp.V2}
	const text = `
vrrp_instance:
  A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1}
  B: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: "fe80::1/64"}
  C: {interface: eth0, virtual_router_id: 2, virtual_ipaddress: 192.0.2.2, unicast_peer: 198.51.100.2}
  D: {interface: eth0, virtual_router_id: 2, virtual_ipaddress: "2001:db8::1", unicast_peer: "2001:db8::2"}
`
	load := func(d dialect) *Config {
		c, diags := parse("test.yaml", []byte(text), d)
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		return c
	}
	yaml, lenient := load(yamlDialect()), load(keepalived)
	const a, b, c, d = 0, 1, 2, 3
	for _, tt := range []struct {
		keyword       string
		value         func(*Config) any
		keepalived, v any
	}{
		{"vrrp_version", func(c *Config) any { return c.Instances[a].Version }, vrrp.V2, vrrp.V3},
		{"vrrp_version, IPv6", func(c *Config) any { return c.Instances[b].Version }, vrrp.V3, vrrp.V3},
		{"garp_master_refresh", func(c *Config) any { return c.Instances[a].GARP.Refresh }, time.Duration(0), time.Minute},
		{"higher_prio_send_advert", func(c *Config) any { return c.Instances[a].HigherPrioSendAdvert }, true, true},
		{"check_unicast_src", func(x *Config) any { return x.Instances[c].CheckUnicastSource }, false, true},
		{"check_unicast_src, multicast", func(c *Config) any { return c.Instances[a].CheckUnicastSource }, false, false},
		{"priority", func(c *Config) any { return c.Instances[a].Priority }, uint8(100), uint8(100)},
		{"state", func(c *Config) any { return c.Instances[a].StartMaster }, false, false},
		{"advert_int", func(c *Config) any { return c.Instances[a].AdvertInterval }, time.Second, time.Second},
		{"garp_master_delay", func(c *Config) any { return c.Instances[a].GARP.MasterDelay }, 5 * time.Second, 5 * time.Second},
		{"garp_master_repeat", func(c *Config) any { return c.Instances[a].GARP.MasterRepeat }, 5, 5},
		{"garp_master_refresh_repeat", func(c *Config) any { return c.Instances[a].GARP.RefreshRepeat }, 1, 1},
		{"garp_lower_prio_delay", func(c *Config) any { return c.Instances[a].GARP.LowerPrioDelay }, 5 * time.Second, 5 * time.Second},
		{"garp_lower_prio_repeat", func(c *Config) any { return c.Instances[a].GARP.LowerPrioRepeat }, 5, 5},
		{"vrrp_garp_interval", func(c *Config) any { return c.Global.GARPInterval }, time.Duration(0), time.Duration(0)},
		{"vrrp_gna_interval", func(c *Config) any { return c.Global.GNAInterval }, time.Duration(0), time.Duration(0)},
		{"vrrp_startup_delay", func(c *Config) any { return c.Instances[a].StartupDelay }, time.Duration(0), time.Duration(0)},
		{"vrrp_rt_priority", func(c *Config) any { return c.Global.RTPriority }, 0, 0},
		{"vrrp_priority", func(c *Config) any { return c.Global.Nice }, 0, 0},
		{"router_id", func(c *Config) any { return c.Global.RouterID }, "", ""},
		{"log_unknown_vrids", func(c *Config) any { return c.Global.LogUnknownVRIDs }, false, false},
		{"down_timer_adverts", func(c *Config) any { return c.Instances[a].DownTimerAdverts }, 3, 3},
		{"lower_prio_no_advert", func(c *Config) any { return c.Instances[a].LowerPrioNoAdvert }, false, false},
		{"skip_check_adv_addr", func(c *Config) any { return c.Instances[a].SkipCheckAdvAddr }, false, false},
		{"v3_checksum_as_v2", func(c *Config) any { return c.Instances[a].Checksum }, vrrp.ChecksumPseudoHeader, vrrp.ChecksumPseudoHeader},
		{"nopreempt", func(c *Config) any { return c.Instances[a].Preempt }, true, true},
		{"preempt_delay", func(c *Config) any { return c.Instances[a].PreemptDelay }, time.Duration(0), time.Duration(0)},
		{"mcast_dst_ip", func(c *Config) any { return c.Instances[a].Group }, addrs("224.0.0.18")[0], addrs("224.0.0.18")[0]},
		{"mcast_dst_ip, IPv6", func(c *Config) any { return c.Instances[b].Group }, addrs("ff02::12")[0], addrs("ff02::12")[0]},
		{"TTL, multicast", func(c *Config) any { return c.Instances[a].TTL }, 255, 255},
		{"hop limit, multicast", func(c *Config) any { return c.Instances[b].TTL }, 255, 255},
		{"unicast_ttl", func(x *Config) any { return x.Instances[c].TTL }, 255, 255},
		{"unicast_ttl, IPv6", func(c *Config) any { return c.Instances[d].TTL }, 64, 64},
		{"prefix length", func(c *Config) any { return c.Instances[a].Addresses[0].Prefix.Bits() }, 32, 32},
		{"prefix length, IPv6", func(c *Config) any { return c.Instances[d].Addresses[0].Prefix.Bits() }, 128, 128},
		{"preferred_lft of a /64", func(c *Config) any { return c.Instances[b].Addresses[0].Deprecated }, false, false},
		{"preferred_lft of a /128", func(c *Config) any { return c.Instances[d].Addresses[0].Deprecated }, true, true},
		{"scope", func(c *Config) any { return c.Instances[a].Addresses[0].Scope }, uint8(0), uint8(0)},
		{"brd", func(c *Config) any { return c.Instances[a].Addresses[0].Broadcast.IsValid() }, false, false},
		{"dev", func(c *Config) any { return c.Instances[a].Addresses[0].Interface }, "eth0", "eth0"},
		{"-nodad", func(c *Config) any { return c.Instances[b].Addresses[0].DAD }, false, false},
		{"dont_track_primary", func(c *Config) any { return c.Instances[a].DontTrackPrimary }, false, false},
		{"vip_lease", func(c *Config) any { return c.Instances[a].VIPLease }, Lease{}, Lease{}},
		{"handover", func(c *Config) any { return c.Instances[a].Handover }, true, true},
		{"hold_on_mismatch", func(c *Config) any { return c.Instances[a].HoldOnMismatch }, true, true},
		{"on_address_loss", func(c *Config) any { return c.Instances[a].ResignOnLoss }, false, false},
	} {
		if got := tt.value(lenient); got != tt.keepalived {
			t.Errorf("%s in keepalived.conf: got %v, want %v", tt.keyword, got, tt.keepalived)
		}
		if got := tt.value(yaml); got != tt.v {
			t.Errorf("%s in YAML: got %v, want %v", tt.keyword, got, tt.v)
		}
	}
}

func TestStateAndPriorityResolveEachOther(t *testing.T) {
	for _, tt := range []struct {
		given       string
		priority    uint8
		startMaster bool
		preempt     bool
		delay       time.Duration
		warnings    int
	}{
		{"", 100, false, true, 0, 0},
		{"state: BACKUP", 100, false, true, 0, 0},
		{"state: MASTER", 255, true, true, 0, 1},
		{"state: MASTER\n    priority: 100", 100, true, true, 0, 0},
		{"priority: 255", 255, true, true, 0, 0},
		{"priority: 255\n    state: BACKUP", 255, false, true, 0, 0},
		{"nopreempt: true", 100, false, false, 0, 0},
		{"preempt: false", 100, false, false, 0, 0},
		{"preempt: true\n    nopreempt: false", 100, false, true, 0, 0},
		{"nopreempt: true\n    priority: 255\n    state: BACKUP", 255, false, true, 0, 1},
		{"nopreempt: true\n    priority: 100\n    state: MASTER", 100, true, true, 0, 1},
		{"preempt_delay: 5", 100, false, true, 5 * time.Second, 0},
		{"preempt_delay: 5\n    nopreempt: true", 100, false, false, 0, 1},
		{"preempt_delay: 5\n    priority: 150\n    state: MASTER", 150, true, true, 0, 1},
		{"preempt_delay: 5\n    priority: 255", 255, true, true, 0, 1},
	} {
		c, diags := Parse("test.yaml", []byte(`
vrrp_instance:
  A:
    interface: eth0
    virtual_router_id: 1
    virtual_ipaddress: 192.0.2.1
    `+tt.given))
		if c == nil {
			t.Errorf("%q: %s", tt.given, diags)
			continue
		}
		in := c.Instances[0]
		if in.Priority != tt.priority || in.StartMaster != tt.startMaster || in.Preempt != tt.preempt || in.PreemptDelay != tt.delay || len(diags) != tt.warnings {
			t.Errorf("%q: priority %d, master %t, preempt %t after %s, %d warnings; want %d, %t, %t after %s, %d", tt.given,
				in.Priority, in.StartMaster, in.Preempt, in.PreemptDelay, len(diags), tt.priority, tt.startMaster, tt.preempt, tt.delay, tt.warnings)
		}
	}
}

func TestAnnouncementDefaultsFollowEachOther(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		global, instance string
		want             GARP
	}{
		{"", "", GARP{5 * second, 5, 60 * second, 1, 5 * second, 5}},
		{"vrrp_garp_master_delay: 2, vrrp_garp_master_repeat: 3", "", GARP{2 * second, 3, 60 * second, 1, 2 * second, 3}},
		{"vrrp_garp_lower_prio_delay: 2, vrrp_garp_lower_prio_repeat: 3", "", GARP{5 * second, 5, 60 * second, 1, 2 * second, 3}},
		{"", "garp_master_delay: 2, garp_master_repeat: 3", GARP{2 * second, 3, 60 * second, 1, 5 * second, 5}},
		{"vrrp_min_garp: true", "", GARP{0, 1, 0, 1, 0, 1}},
		{"vrrp_min_garp: true, vrrp_garp_master_refresh: 30", "", GARP{0, 1, 30 * second, 1, 0, 1}},
		{"vrrp_min_garp: true, vrrp_garp_master_repeat: 4", "garp_lower_prio_repeat: 0", GARP{0, 4, 0, 1, 0, 0}},
		{"vrrp_min_garp: false", "garp_master_refresh: 0", GARP{5 * second, 5, 0, 1, 5 * second, 5}},
	} {
		sep := ", "
		if tt.instance == "" {
			sep = ""
		}
		c := mustParse(t, fmt.Sprintf("global_defs: {%s}\nvrrp_instance: {A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1%s%s}}",
			tt.global, sep, tt.instance))
		if got := c.Instances[0].GARP; got != tt.want {
			t.Errorf("{%s} {%s}: got %+v, want %+v", tt.global, tt.instance, got, tt.want)
		}
	}
}

func TestDurationsAreSecondsUnlessTheyHaveAUnit(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"1", time.Second, true},
		{"051", 51 * time.Second, true},
		{"0.5", 500 * time.Millisecond, true},
		{"0.92", 920 * time.Millisecond, true},
		{"1.000000001", 1000000001, true},
		{"1.50000000000", 1500 * time.Millisecond, true},
		{"100ms", 100 * time.Millisecond, true},
		{"1.5s", 1500 * time.Millisecond, true},
		{"2m", 2 * time.Minute, true},
		{"1m30s", 90 * time.Second, true},
		{"0", 0, true},
		{"0s", 0, true},
		{"3600", time.Hour, true},
		{"3601", 0, false},
		{"1h1ms", 0, false},
		{"9223372036854775807", 0, false},
		{"9223372037", 0, false},
		{"99999999999999999999", 0, false},
		{"9999999999999h", 0, false},
		{"1.0000000001", 0, false},
		{"", 0, false},
		{".5", 0, false},
		{"1.", 0, false},
		{"+1", 0, false},
		{"-1", 0, false},
		{"-1x", 0, false},
		{"1e3", 0, false},
		{"0x10", 0, false},
		{"1 s", 0, false},
		{"1_000", 0, false},
		{"ms", 0, false},
		{"1.5.5", 0, false},
		{"٣", 0, false},
	} {
		got, f := parseDuration(tt.text, 0, time.Hour)
		if (f == nil) != tt.ok || f == nil && got != tt.want {
			t.Errorf("%q: got %s, %v; want %s, %t", tt.text, got, f, tt.want, tt.ok)
		}
	}
}

func TestScalarsAreTakenFromTheirSourceText(t *testing.T) {
	for _, text := range []string{"1111", "0123", "0x1f", "1e3", "no", "null", "~", "true", "1.0", "2001-1-1", ".inf", "a#b"} {
		c := mustParse(t, `
global_defs: {router_id: `+text+`}
vrrp_instance:
  `+text+`:
    interface: `+text+`
    version: 2
    virtual_router_id: 007
    virtual_ipaddress: 192.0.2.1
    authentication: {auth_type: PASS, auth_pass: `+text+`}`)
		in := c.Instances[0]
		pass := strings.TrimRight(string(in.AuthData[:]), "\x00")
		if c.Global.RouterID != text || in.Name != text || in.Interface != text || !strings.HasPrefix(text, pass) || pass == "" || in.VRID != 7 {
			t.Errorf("%q: router_id %q, name %q, interface %q, password %q, VRID %d", text, c.Global.RouterID, in.Name, in.Interface, pass, in.VRID)
		}
	}
}

func TestAPasswordOfEightOctetsIsTakenWholeAndLongerOnesCut(t *testing.T) {
	for _, tt := range []struct {
		pass, want string
		warnings   int
	}{
		{"12345678", "12345678", 0},
		{"123456789", "12345678", 1},
		{"passwörd", "passwör", 1}, // nine octets: the last is half of nothing, d
		{"x", "x\x00\x00\x00\x00\x00\x00\x00", 0},
	} {
		c, diags := Parse("t", []byte("vrrp_instance: {A: {version: 2, interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1, "+
			"authentication: {auth_type: PASS, auth_pass: "+tt.pass+"}}}"))
		if c == nil || string(c.Instances[0].AuthData[:]) != tt.want || len(diags) != tt.warnings {
			t.Errorf("%s: %v, %s", tt.pass, c, diags)
		}
		if strings.Contains(diags.String(), tt.pass) {
			t.Errorf("the password is in a message: %s", diags)
		}
	}
}

func TestAddressesBeyondThoseAdvertisedAreExcluded(t *testing.T) {
	var b strings.Builder
	b.WriteString("vrrp_instance:\n  A:\n    interface: eth0\n    virtual_router_id: 1\n    virtual_ipaddress_excluded: 203.0.113.1\n    virtual_ipaddress:\n")
	for i := range 300 {
		fmt.Fprintf(&b, "    - 198.51.%d.%d\n", 100+i/200, 1+i%200)
	}
	c, diags := Parse("t", []byte(b.String()))
	if c == nil || len(diags) != 1 {
		t.Fatal(diags)
	}
	in := c.Instances[0]
	if len(in.Addresses) != 255 || len(in.Excluded) != 46 {
		t.Fatalf("%d advertised, %d excluded", len(in.Addresses), len(in.Excluded))
	}
	if got, want := in.Excluded[0].Prefix.Addr(), addrs("198.51.101.56")[0]; got != want {
		t.Errorf("the first excluded is %s, want %s", got, want)
	}
	if got, want := in.Excluded[45].Prefix.Addr(), addrs("203.0.113.1")[0]; got != want {
		t.Errorf("the last excluded is %s, want %s", got, want)
	}
}

func TestOneVirtualRouterPerNetworkFamilyAndGroup(t *testing.T) {
	// Each pair shares the VRID.
	for _, tt := range []struct {
		what, a, b string
		ok         bool
	}{
		{"same interface and group", "interface: eth0", "interface: eth0", false},
		{"other interface", "interface: eth0", "interface: eth1", true},
		{"other group", "interface: eth0", "interface: eth0, mcast_dst_ip: 224.0.0.99", true},
		{"the same group by name", "interface: eth0", "interface: eth0, mcast_dst_ip: 224.0.0.18", false},
		{"multicast and unicast", "interface: eth0", "interface: eth0, unicast_peer: 198.51.100.2", true},
		{"unicast from the same source", "interface: eth0, unicast_peer: 198.51.100.2", "interface: eth0, unicast_peer: 198.51.100.3", false},
		{
			"unicast from other sources to other peers", "unicast_src_ip: 198.51.100.1, interface: eth0, unicast_peer: 198.51.100.2",
			"unicast_src_ip: 198.51.100.9, interface: eth0, unicast_peer: 198.51.100.3", true,
		},
		{
			"unicast from other sources to one peer", "unicast_src_ip: 198.51.100.1, interface: eth0, unicast_peer: [198.51.100.2, 198.51.100.3]",
			"unicast_src_ip: 198.51.100.9, interface: eth0, unicast_peer: 198.51.100.3", false,
		},
	} {
		c, diags := Parse("t", fmt.Appendf(nil, "vrrp_instance: {A: {virtual_router_id: 1, virtual_ipaddress: 192.0.2.1, %s}, B: {virtual_router_id: 1, virtual_ipaddress: 192.0.2.2, %s}}", tt.a, tt.b))
		if (c != nil) != tt.ok {
			t.Errorf("%s: %s", tt.what, diags)
		}
	}
}

func TestALenientDialectWarnsAndRunsWhereKeepalivedDoes(t *testing.T) {
	const text = `
global_defs: {vrrp_strict: true, vrrp_iptables: foo}
vrrp_instance:
  A:
    state: SLAVE
    interface: eth0
    virtual_router_id: 1
    flurb: 1
    priority: 300
    advert_int: 1.6
    version: 2
    use_vmac: true
    unicast_peer: [peer.example.com]
    authentication: {auth_type: PASS, auth_pass: 123456789}
    virtual_ipaddress: [XX.XX.XX.88, 192.0.2.1]
  B:
    interface: eth1
    virtual_router_id: 1
    version: 2
`
	c, diags := parse("t", []byte(text), dialect{version: vrrp.V2})
	if c == nil {
		t.Fatal(diags)
	}
	if len(diags) != 11 {
		t.Errorf("%d diagnostics, want 11:\n%s", len(diags), diags)
	}
	a := c.Instances[0]
	if a.AdvertInterval != 2*time.Second || a.Priority != 100 || len(a.Addresses) != 1 || a.StartMaster || !a.Group.IsValid() {
		t.Errorf("got %+v", a)
	}
	for _, in := range c.Instances {
		if err := invariants(in); err != nil {
			t.Error(err)
		}
	}
	// But what asks for security is never run without it.
	const ah = "vrrp_instance: {A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1, authentication: {auth_type: AH, auth_pass: a}}}"
	if c, diags := parse("t", []byte(ah), dialect{version: vrrp.V2}); c != nil {
		t.Errorf("an instance with AH would run: %s", diags)
	}
}

func TestIncludeReadsFilesInOrderFromTheirOwnDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	instance := func(name string, vrid int) string {
		return fmt.Sprintf("vrrp_instance: {%s: {interface: eth0, virtual_router_id: %d, virtual_ipaddress: 192.0.2.%d}}\n", name, vrid, vrid)
	}
	write("main.yaml", "include: [conf.d/*.yaml]\n"+instance("MAIN", 1))
	write("conf.d/20-b.yaml", instance("B", 2))
	write("conf.d/10-a.yaml", "include: deeper/c.yaml\n"+instance("A", 3))
	write("conf.d/30-ignored.yml", instance("IGNORED", 4))
	write("conf.d/deeper/c.yaml", "global_defs: {router_id: deep}\n"+instance("C", 5))
	c := mustLoad(t, filepath.Join(dir, "main.yaml"))
	var names []string
	for _, in := range c.Instances {
		names = append(names, in.Name)
	}
	if got, want := strings.Join(names, " "), "C A B MAIN"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c.Global.RouterID != "deep" || len(c.Files) != 4 {
		t.Errorf("router_id %q, files %q", c.Global.RouterID, c.Files)
	}
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ path, want string }{
		{filepath.Join(dir, "missing.yaml"), "no such file or directory"},
		{dir, "is a directory"},
	} {
		c, diags := Load(tt.path)
		if want := tt.path + ": the file cannot be read: " + tt.want + "\n"; c != nil || diags.String() != want {
			t.Errorf("got %q, want %q", diags, want)
		}
	}
}

func TestParseDoesNotReadOtherFiles(t *testing.T) {
	c, diags := Parse("t.yaml", []byte("include: /etc/hostname\n"))
	if want := "t.yaml:1:1: include: a configuration that is not read from a file cannot include others\n"; c != nil || diags.String() != want {
		t.Errorf("got %q, want %q", diags, want)
	}
}

func TestLargeConfigurationsLoadInWellUnderASecond(t *testing.T) {
	var many, wide strings.Builder
	many.WriteString("vrrp_instance:\n")
	for i := range 1000 {
		fmt.Fprintf(&many, "  VI_%d:\n    interface: eth%d\n    virtual_router_id: %d\n    virtual_ipaddress: 10.%d.%d.1\n", i, i/200, 1+i%200, i/200, i%200)
	}
	wide.WriteString("vrrp_instance:\n  VI_1:\n    interface: eth0\n    virtual_router_id: 1\n    virtual_ipaddress: 192.0.2.1\n    virtual_ipaddress_excluded:\n")
	for i := range 5000 {
		fmt.Fprintf(&wide, "    - 10.0.%d.%d/32 dev eth%d\n", i/250, 1+i%250, i)
	}
	for _, tt := range []struct {
		what, text string
	}{{"1,000 instances", many.String()}, {"5,000 addresses", wide.String()}} {
		start := time.Now()
		c := mustParse(t, tt.text)
		took := time.Since(start)
		t.Logf("%s: %s", tt.what, took)
		if took > 2*time.Second { // generous: measured tens of milliseconds
			t.Errorf("%s took %s", tt.what, took)
		}
		if len(c.Instances) != 1000 && len(c.Instances[0].Excluded) != 5000 {
			t.Errorf("%s: %d instances", tt.what, len(c.Instances))
		}
	}
}

func BenchmarkParse1000Instances(b *testing.B) {
	var text strings.Builder
	text.WriteString("vrrp_instance:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  VI_%d:\n    interface: eth%d\n    virtual_router_id: %d\n    virtual_ipaddress: [10.%d.%d.1/24]\n", i, i/200, 1+i%200, i/200, i%200)
	}
	for b.Loop() {
		if c, diags := Parse("b", []byte(text.String())); c == nil {
			b.Fatal(diags)
		}
	}
}

func TestYAMLThatIsTooLargeIsRefusedWithoutHarm(t *testing.T) {
	const addresses = "vrrp_instance: {A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: ["
	for _, tt := range []struct{ name, head, repeat, tail string }{
		{"items", "x: [", "a,", "]"},
		{"lines", "x:\n", "- a\n", ""},
		{"keys", "", "a: b\n", ""},
		{"nested lists", "", "[", ""},
		{"nested maps", "", "{a: ", ""},
		{"nested items", "", "- ", ""},
		{"comments", "", "# a\n", ""},
		{"one word", "", "a", ""},
		{"a quoted word", "x: '", "a", "'"},
		{"addresses", addresses, "192.0.2.1,", "]}}"},
		{"words of addresses", addresses, "192.0.2.1 dev eth0,", "]}}"},
	} {
		for _, size := range []int{200 << 10, 700 << 10, maxFile} {
			data := []byte(tt.head + strings.Repeat(tt.repeat, (size-200)/len(tt.repeat)) + tt.tail)
			if mib := peak(func() { Parse("t.yaml", data) }); mib > 64 {
				t.Errorf("%s, %d KiB: it took %.0f MiB", tt.name, size>>10, mib)
			} else {
				t.Logf("%s, %d KiB: %.0f MiB", tt.name, size>>10, mib)
			}
		}
	}
}
