package plan

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/config"
	"vipd/vrrp"
)

// address returns an address of an instance on eth0.
func addressOf(prefix string) config.Address {
	return config.Address{Prefix: netip.MustParsePrefix(prefix), Interface: "eth0"}
}

// instance returns one with the addresses given.
func instance(name string, vrid uint8, addrs ...string) config.Instance {
	in := config.Instance{
		Name: name, Interface: "eth0", VRID: vrid, Version: vrrp.V2, Family: vrrp.IPv4, Priority: 100,
		AdvertInterval: time.Second, Group: netip.MustParseAddr("224.0.0.18"), TTL: 255, Preempt: true,
	}
	for _, a := range addrs {
		in.Addresses = append(in.Addresses, addressOf(a))
	}
	return in
}

// base returns a configuration in which there is one of everything.
func base() *config.Config {
	one := instance("VI_1", 51, "192.0.2.10/24", "192.0.2.11/24")
	one.Tracks = []config.Track{{Kind: config.TrackScript, Name: "chk", Weight: -20}}
	one.SyncGroup = "VG_1"
	two := instance("VI_2", 52, "192.0.2.20/24")
	two.SyncGroup = "VG_1"
	return &config.Config{
		Global:       config.Global{RouterID: "a", NotifyTimeout: 30 * time.Second},
		Instances:    []config.Instance{one, two, instance("VI_3", 53, "192.0.2.30/24")},
		Scripts:      []config.Script{{Name: "chk", Command: config.Command{Argv: []string{"/bin/true"}, User: "root"}, Timing: config.Timing{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}, Weight: -20}},
		Checks:       []config.Check{{Name: "web", TCP: &config.TCPCheck{Address: "192.0.2.1:80"}, Timing: config.Timing{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}}},
		Processes:    []config.Process{{Name: "nginx", Argv: []string{"nginx"}, Quorum: 1, QuorumMax: -1}},
		TrackedFiles: []config.TrackedFile{{Name: "drain", Path: "/run/drain"}},
		SyncGroups:   []config.SyncGroup{{Name: "VG_1", Members: []string{"VI_1", "VI_2"}}},
	}
}

func TestThePlanSaysWhatChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(c *config.Config)
		want   []string
	}{
		{"nothing", func(*config.Config) {}, nil},
		{"where it was written does not count", func(c *config.Config) {
			c.Files = []string{"other.conf"}
			c.Instances[0].Pos = config.Pos{File: "other.conf", Line: 7}
			c.Instances[0].Addresses[0].Pos = config.Pos{File: "other.conf", Line: 9}
			c.Instances[0].Tracks[0].Pos = config.Pos{Line: 3}
			c.Scripts[0].Pos, c.Scripts[0].Command.Pos = config.Pos{Line: 1}, config.Pos{Line: 2}
			c.SyncGroups[0].Pos = config.Pos{Line: 1}
		}, nil},
		{"the order of instances does not count", func(c *config.Config) { slices.Reverse(c.Instances) }, nil},
		{"a priority", func(c *config.Config) { c.Instances[0].Priority = 150 }, []string{"VI_1: priority 100 -> 150"}},
		{"an instance goes", func(c *config.Config) { c.Instances = c.Instances[:2] }, []string{"VI_3: removed"}},
		{"an instance comes", func(c *config.Config) { c.Instances = append(c.Instances, instance("VI_4", 54)) }, []string{"VI_4: added"}},
		{"another name", func(c *config.Config) {
			c.Instances[0].Name, c.SyncGroups[0].Members[0] = "web", "web"
		}, []string{"VI_1 renamed to web"}},
		{"two exchange their names", func(c *config.Config) {
			c.Instances[0].Name, c.Instances[2].Name = "VI_3", "VI_1"
			c.SyncGroups[0].Members[0] = "VI_3"
		}, []string{"VI_1 renamed to VI_3", "VI_3 renamed to VI_1"}},
		{"another interface is another virtual router", func(c *config.Config) { c.Instances[2].Interface = "eth1" },
			[]string{"VI_3: removed and added as another virtual router: interface eth0 -> eth1"}},
		{"another VRID is another virtual router", func(c *config.Config) { c.Instances[2].VRID = 99; c.Instances[2].Priority = 9 },
			[]string{"VI_3: removed and added as another virtual router: virtual_router_id 53 -> 99"}},
		{"another group is another virtual router", func(c *config.Config) { c.Instances[2].Group = netip.MustParseAddr("224.0.0.19") },
			[]string{"VI_3: removed and added as another virtual router: mcast_dst_ip 224.0.0.18 -> 224.0.0.19"}},
		{"unicast is another virtual router", func(c *config.Config) {
			c.Instances[2].Peers, c.Instances[2].Group = []config.Peer{{Addr: netip.MustParseAddr("192.0.2.2"), MinTTL: -1, MaxTTL: 64}}, netip.Addr{}
		}, []string{"VI_3: removed and added as another virtual router: unicast_peer + 192.0.2.2 max_ttl 64; mcast_dst_ip 224.0.0.18 -> none"}},
		{"another version is the same virtual router", func(c *config.Config) { c.Instances[2].Version = vrrp.V3 }, []string{"VI_3: version 2 -> 3"}},
		{"another source is the same, without unicast", func(c *config.Config) { c.Instances[2].SourceIP = netip.MustParseAddr("192.0.2.9") },
			[]string{"VI_3: mcast_src_ip none -> 192.0.2.9"}},
		{"addresses", func(c *config.Config) {
			c.Instances[0].Addresses = append(c.Instances[0].Addresses[1:], addressOf("192.0.2.12/24"))
		}, []string{"VI_1: virtual_ipaddress - 192.0.2.10/24 dev eth0, + 192.0.2.12/24 dev eth0"}},
		{"the order of addresses", func(c *config.Config) { slices.Reverse(c.Instances[0].Addresses) },
			[]string{"VI_1: virtual_ipaddress in another order"}},
		{"who has the addresses when changes in place", func(c *config.Config) {
			in := &c.Instances[2]
			in.VIPLease, in.Handover, in.HoldOnMismatch, in.ResignOnLoss = config.Lease{Mode: config.LeaseFixed, Length: 4 * time.Second}, true, true, true
		}, []string{"VI_3: vip_lease auto -> 4s", "VI_3: handover false -> true", "VI_3: hold_on_mismatch false -> true", "VI_3: on_address_loss restore -> resign"}},
		{"an address is not advertised any more", func(c *config.Config) {
			in := &c.Instances[0]
			in.Addresses, in.Excluded = in.Addresses[:1], in.Addresses[1:]
		}, []string{
			"VI_1: virtual_ipaddress - 192.0.2.11/24 dev eth0",
			"VI_1: virtual_ipaddress_excluded + 192.0.2.11/24 dev eth0",
		}},
		{"an address moves", func(c *config.Config) {
			c.Instances[0].Addresses = c.Instances[0].Addresses[1:]
			c.Instances[1].Addresses = append(c.Instances[1].Addresses, addressOf("192.0.2.10/24"))
		}, []string{
			"VI_1: virtual_ipaddress - 192.0.2.10/24 dev eth0",
			"VI_2: virtual_ipaddress + 192.0.2.10/24 dev eth0",
			"192.0.2.10/24 moves from VI_1 to VI_2",
		}},
		{"an address moves to another interface, and from one that is removed", func(c *config.Config) {
			a := c.Instances[2].Addresses[0]
			a.Interface = "eth1"
			c.Instances = c.Instances[:2]
			c.Instances[0].Excluded = []config.Address{a}
		}, []string{
			"VI_1: virtual_ipaddress_excluded + 192.0.2.30/24 dev eth1",
			"VI_3: removed",
			"192.0.2.30/24 moves from VI_3 on eth0 to VI_1 on eth1",
		}},
		{"passwords are not told", func(c *config.Config) {
			c.Instances[0].AuthType, c.Instances[0].AuthData = vrrp.AuthPass, [8]byte{'s', 'e', 'c', 'r', 'e', 't'}
		}, []string{"VI_1: auth_type none -> PASS", "VI_1: auth_pass changed"}},
		{"notify scripts", func(c *config.Config) {
			c.Instances[0].Notify.Master = &config.Command{Argv: []string{"/etc/up", "a b"}, User: "www", Group: "adm", Supplementary: true}
		}, []string{`VI_1: notify_master none -> /etc/up "a b" as www :adm`}},
		{"tracked objects of an instance", func(c *config.Config) {
			c.Instances[0].Tracks = []config.Track{
				{Kind: config.TrackScript, Name: "chk", Weight: -30},
				{Kind: config.TrackCheck, Name: "web", Group: "VG_1"},
			}
		}, []string{
			"VI_1: track_script - chk weight -20, + chk weight -30",
			"VI_1: track_check + web weight 0 of sync group VG_1",
		}},
		{"the weight of a script", func(c *config.Config) { c.Scripts[0].Weight = -30 }, []string{"vrrp_script chk: weight -20 -> -30"}},
		{"the command of a script", func(c *config.Config) { c.Scripts[0].Argv = []string{"/bin/false"} },
			[]string{"vrrp_script chk: script /bin/true -> /bin/false", "vrrp_script chk: begins anew"}},
		{"another kind of check", func(c *config.Config) {
			c.Checks[0].TCP, c.Checks[0].ICMP = nil, &config.ICMPCheck{Family: 6, Interface: "eth1"}
		}, []string{"vrrp_check web: tcp 192.0.2.1:80 -> none", "vrrp_check web: icmp none -> gateway6 interface eth1", "vrrp_check web: begins anew"}},
		{"tracked objects come and go", func(c *config.Config) {
			c.Scripts, c.Processes[0].Name = nil, "apache"
			c.TrackedFiles[0].Init, c.TrackedFiles[0].Reverse = new(int), true
		}, []string{
			"vrrp_script chk: removed", "vrrp_track_process apache: added", "vrrp_track_process nginx: removed",
			"vrrp_track_file drain: reverse false -> true",
			"vrrp_track_file drain: init_file none -> 0 (from the next start on: the file is written when vipd starts)",
		}},
		{"what may be run", func(c *config.Config) { c.Global.ScriptSecurity = true }, []string{
			"global_defs: enable_script_security false -> true",
			"vrrp_script chk: enable_script_security false -> true", "vrrp_script chk: begins anew",
		}},
		{"global settings, of which some are for the next start", func(c *config.Config) {
			c.Global.RTPriority, c.Global.GARPInterval = 50, time.Millisecond
			c.Global.Mail = &config.Mail{To: []string{"a@example.com"}, Server: "localhost", Port: 25}
		}, []string{
			"global_defs: vrrp_rt_priority none -> 50 (from the next start on: the scheduling of threads is set when vipd starts)",
			"global_defs: vrrp_garp_interval 0s -> 1ms",
			"global_defs: notification_email + a@example.com",
			"global_defs: smtp_server none -> localhost",
			"global_defs: smtp_server port none -> 25",
		}},
		{"a member joins and one leaves", func(c *config.Config) {
			c.SyncGroups[0].Members = []string{"VI_3", "VI_1"}
			c.Instances[1].SyncGroup, c.Instances[2].SyncGroup = "", "VG_1"
		}, []string{
			"VI_2: vrrp_sync_group VG_1 -> none", "VI_3: vrrp_sync_group none -> VG_1",
			"vrrp_sync_group VG_1: VI_3 joins", "vrrp_sync_group VG_1: VI_2 leaves",
		}},
		{"another name of a group", func(c *config.Config) {
			c.SyncGroups[0].Name, c.SyncGroups[0].SMTPAlert = "VG_9", true
			c.Instances[0].SyncGroup, c.Instances[1].SyncGroup = "VG_9", "VG_9"
		}, []string{
			"VI_1: vrrp_sync_group VG_1 -> VG_9", "VI_2: vrrp_sync_group VG_1 -> VG_9",
			"vrrp_sync_group VG_1 renamed to VG_9", "vrrp_sync_group VG_9: smtp_alert false -> true",
		}},
		{"groups come and go", func(c *config.Config) {
			c.SyncGroups = []config.SyncGroup{{Name: "VG_2", Members: []string{"VI_2", "VI_3"}}}
			c.Instances[0].SyncGroup, c.Instances[1].SyncGroup, c.Instances[2].SyncGroup = "", "VG_2", "VG_2"
		}, []string{
			"VI_1: vrrp_sync_group VG_1 -> none", "VI_2: vrrp_sync_group VG_1 -> VG_2", "VI_3: vrrp_sync_group none -> VG_2",
			"vrrp_sync_group VG_2: added, with VI_2, VI_3", "vrrp_sync_group VG_1: removed",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next := base()
			tt.change(next)
			p := Compute(base(), next)
			if got := p.Lines(); !slices.Equal(got, tt.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

// TestThePlanHasTheDetailsThatADriverNeeds looks at what the lines do not tell.
func TestThePlanHasTheDetailsThatADriverNeeds(t *testing.T) {
	next := base()
	next.Instances = append([]config.Instance{instance("VI_0", 50)}, next.Instances[:2]...)
	next.Instances[2].Interface = "eth1"
	next.Instances[2].Addresses[0].Prefix = netip.MustParsePrefix("192.0.2.10/24")
	next.Instances[1].Addresses = next.Instances[1].Addresses[1:]
	next.Instances[1].Addresses[0].Label = "eth0:1"
	next.Scripts[0].Weight, next.Processes[0].Quorum = 1, 2
	p := Compute(base(), next)

	type place struct {
		kind     Kind
		name     string
		old, new int
		replaces bool
		replaced bool
	}
	var got []place
	for _, x := range p.Instances {
		got = append(got, place{x.Kind, x.Name, x.Old, x.New, x.Replaces, x.Replaced})
	}
	want := []place{
		{Added, "VI_0", -1, 0, false, false},
		{Changed, "VI_1", 0, 1, false, false},
		{Added, "VI_2", -1, 2, true, false},
		{Removed, "VI_2", 1, -1, false, true},
		{Removed, "VI_3", 2, -1, false, false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("instances\n got %+v\nwant %+v", got, want)
	}
	if got := p.Instances[1].AlteredAddresses; !slices.Equal(got, []int{0}) {
		t.Errorf("altered addresses of VI_1: %v", got)
	}
	move := Move{Address: netip.MustParsePrefix("192.0.2.10/24"), Interface: "eth0", From: "VI_1", To: "VI_2", Old: 0, New: 2}
	if len(p.Moves) != 1 || p.Moves[0] != move {
		t.Errorf("moves %+v, want %+v", p.Moves, move)
	}
	for _, o := range p.Objects {
		if anew := o.Name == "nginx"; o.Anew != anew || o.Old != 0 || o.New != 0 || o.Type != objectKeywords[o.Track] {
			t.Errorf("%s: %+v", o.Name, o)
		}
	}
	g := p.Groups[0]
	if g.Kind != Changed || !g.Regroup || !slices.Equal(g.Joined, []string{"VI_2"}) || !slices.Equal(g.Left, []string{"VI_2"}) {
		t.Errorf("a member that is another virtual router: %+v", g)
	}
}

func TestAGroupIsFormedAnewOnlyIfSomethingOfItsMembersChanges(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(c *config.Config)
		regroup bool
	}{
		{"nothing", func(*config.Config) {}, false},
		{"a setting", func(c *config.Config) { c.SyncGroups[0].SMTPAlert = true }, false},
		{"instances in another order", func(c *config.Config) { slices.Reverse(c.Instances) }, false},
		{"members in another order", func(c *config.Config) { slices.Reverse(c.SyncGroups[0].Members) }, true},
		{"the name", func(c *config.Config) { c.SyncGroups[0].Name = "VG_2" }, true},
		{"the name of a member", func(c *config.Config) { c.SyncGroups[0].Members[0], c.Instances[0].Name = "web", "web" }, true},
		{"two members exchange their names", func(c *config.Config) { c.Instances[0].Name, c.Instances[1].Name = "VI_2", "VI_1" }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next := base()
			tt.change(next)
			p := Compute(base(), next)
			if g := p.Groups[0]; len(p.Groups) != 1 || g.Regroup != tt.regroup || len(g.Joined)+len(g.Left) > 0 {
				t.Errorf("%+v", p.Groups)
			}
		})
	}
}

func TestAPlanWithNothingToDoIsEmpty(t *testing.T) {
	p := Compute(base(), base())
	if !p.Empty() || p.String() != "nothing changes" {
		t.Errorf("%q", p.String())
	}
	if len(p.Instances) != 3 || len(p.Objects) != 4 || len(p.Groups) != 1 {
		t.Errorf("what is unchanged is missing: %+v", p)
	}
	next := base()
	next.Instances[0].Name = "web"
	if p = Compute(base(), next); p.Empty() {
		t.Error("a new name is nothing")
	}
}

func TestAPlanCanBeRead(t *testing.T) {
	next := base()
	next.Instances[0].Priority = 150
	next.Instances = next.Instances[:2]
	p := Compute(base(), next)
	got, err := json.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"kind":"changed","name":"VI_1","changes":[{"keyword":"priority","old":"100","new":"150"}]}`,
		`{"kind":"unchanged","name":"VI_2"}`, `{"kind":"removed","name":"VI_3"}`,
		`{"kind":"unchanged","type":"vrrp_script","name":"chk"}`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s\nhas no %s", got, want)
		}
	}
	var back Plan
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back.Instances[0].Changes, p.Instances[0].Changes) {
		t.Errorf("%v: %+v", err, back)
	}
}
