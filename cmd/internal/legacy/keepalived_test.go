package legacy_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vipd/cmd/internal/legacy"
	"vipd/cmd/internal/legacy/legacytest"
	"vipd/netif/netiftest"
)

// comparedConf is what keepalived runs; comparedDocument describes the same.
const comparedConf = `
global_defs {
  router_id web-a
  vrrp_garp_interval 0.001
  notification_email { a@example.org }
  notification_email_from v@example.org
  smtp_server 127.0.0.1
  smtp_helo_name web-a
  vrrp_notify_fifo %[1]s/fifo
  script_user root
  enable_script_security
  dynamic_interfaces allow_if_changes
}
vrrp_script chk {
  script "/bin/true a 'b c'"
  interval 1
  timeout 2
  weight 10
  rise 2
  fall 3
}
vrrp_script chk0 {
  script "/bin/false"
  interval 2
}
vrrp_track_process proc {
  process sleep 4711
  param_match exact
  weight 5
  quorum 2
  quorum_max 4
  terminate_delay 0.5
}
track_file tf {
  file %[1]s/tf
  weight 2
}
vrrp_sync_group VG {
  group {
    VI_1
    VI_2
  }
  notify_master "/bin/true g"
  track_script { chk weight 2 }
  smtp_alert
  sync_group_tracking_weight
}
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  priority 150
  state MASTER
  advert_int 1
  authentication {
    auth_type PASS
    auth_pass s3cret
  }
  virtual_ipaddress {
    192.0.2.10/24
    192.0.2.11/24 brd 192.0.2.255 dev eth0 label eth0:v
    192.0.2.13/32 dev eth1 scope link no_track
  }
  virtual_ipaddress_excluded {
    192.0.2.14/24
    fd00:1::14/64
  }
  track_interface { eth1 weight 5 }
  track_process { proc }
  track_file { tf weight 3 }
  notify_master "/bin/true a 'b c'"
  notify_backup "/bin/true b"
  notify_fault "/bin/true f"
  notify_stop "/bin/true s"
  notify_deleted "/bin/true d"
  notify_master_rx_lower_pri "/bin/true l"
  notify "/bin/echo x"
  smtp_alert
}
vrrp_instance VI_2 {
  interface eth0
  version 3
  native_ipv6
  virtual_router_id 52
  priority 100
  advert_int 0.5
  virtual_ipaddress {
    fe80::52
    fd00::52/64 -nodad
  }
}
vrrp_instance VI_3 {
  interface eth0
  version 3
  virtual_router_id 53
  priority 100
  preempt_delay 5
  unicast_src_ip 192.0.2.1
  unicast_peer {
    192.0.2.2
    192.0.2.3 min_ttl 254 max_ttl 255
  }
  check_unicast_src
  virtual_ipaddress { 192.0.2.53 }
  garp_master_refresh 60
  track_script { chk0 }
}
vrrp_instance VI_4 {
  interface eth9
  virtual_router_id 54
  virtual_ipaddress { 192.0.2.54 }
}
vrrp_instance VI_5 {
  interface eth0
  version 3
  virtual_router_id 55
  priority 100
  nopreempt
  dont_track_primary
  virtual_ipaddress { 192.0.2.55/24 }
}
`

// rivalConf is of the router that VI_5 is a backup of.
const rivalConf = `
vrrp_instance VI_5 {
  interface eth0
  version 3
  virtual_router_id 55
  priority 200
  virtual_ipaddress { 192.0.2.55/24 }
}
`

func comparedDocument(dir string) *legacy.Document {
	base := legacy.Instance{
		Version: 2, Interface: "eth0", Source: addr("192.0.2.1"), Group: addr("224.0.0.18"), GARP: garp, DownTimerAdverts: 3,
		Priority: 100, EffectivePriority: 100, AdvertInterval: time.Second,
	}
	of := func(name string, vrid int, state legacy.State) legacy.Instance {
		i := base
		i.Name, i.VRID, i.State, i.Want = name, vrid, state, state
		return i
	}
	v1, v2, v3, v4, v5 := of("VI_1", 51, legacy.Master), of("VI_2", 52, legacy.Master), of("VI_3", 53, legacy.Fault), of("VI_4", 54, legacy.Fault), of("VI_5", 55, legacy.Backup)

	v1.SyncGroup, v1.Auth = "VG", legacy.AuthPass
	v1.Priority, v1.EffectivePriority = 150, 150+5+3*3+2
	v1.NextTimer = time.Unix(1, 0)
	v1.Addresses = []legacy.Address{
		{Prefix: prefix("192.0.2.10/24"), Interface: "eth0", Set: true},
		{Prefix: prefix("192.0.2.11/24"), Broadcast: addr("192.0.2.255"), Interface: "eth0", Label: "eth0:v", Set: true},
		{Prefix: prefix("192.0.2.13/32"), Interface: "eth1", Scope: 253, NoTrack: true, Set: true},
	}
	v1.Excluded = []legacy.Address{
		{Prefix: prefix("192.0.2.14/24"), Interface: "eth0", Set: true},
		{Prefix: prefix("fd00:1::14/64"), Interface: "eth0", Set: true},
	}
	v1.TrackInterfaces = []legacy.Reference{{Name: "eth1", Weight: 5}}
	v1.TrackProcesses = []legacy.Reference{{Name: "proc", Weight: 5}}
	v1.TrackFiles = []legacy.Reference{{Name: "tf", Weight: 3}}
	v1.Notify = legacy.Notify{
		Master: command("/usr/bin/true", "a", "b c"), Backup: command("/usr/bin/true", "b"), Fault: command("/usr/bin/true", "f"), Stop: command("/usr/bin/true", "s"),
		Deleted: command("/usr/bin/true", "d"), MasterRxLowerPri: command("/usr/bin/true", "l"), Any: command("/usr/bin/echo", "x"),
	}
	v1.SMTPAlert, v1.NotifyDeleted = true, true

	v2.SyncGroup, v2.Version, v2.IPv6, v2.EffectivePriority, v2.Source = "VG", 3, true, 102, addr("fe80::1")
	v2.AdvertInterval, v2.Group, v2.NextTimer = 500*time.Millisecond, addr("ff02::12"), time.Unix(1, 0)
	v2.Addresses = []legacy.Address{
		{Prefix: prefix("fe80::52/128"), Interface: "eth0", Deprecated: true, Set: true},
		{Prefix: prefix("fd00::52/64"), Interface: "eth0", DAD: true, Set: true},
	}

	v3.Version, v3.Faults, v3.PreemptDelay, v3.GARP.Refresh = 3, 1, 5*time.Second, time.Minute
	v3.SourceConfigured, v3.TTL, v3.CheckUnicastSource = true, 255, true
	v3.Peers = []legacy.Peer{{Address: addr("192.0.2.2"), MinTTL: -1, MaxTTL: -1}, {Address: addr("192.0.2.3"), MinTTL: 254, MaxTTL: 255}}
	v3.Addresses = []legacy.Address{{Prefix: prefix("192.0.2.53/32"), Interface: "eth0"}}
	v3.TrackScripts = []legacy.TrackedScript{{Reference: legacy.Reference{Name: "chk0"}, Argv: []string{"/usr/bin/false"}}}

	v4.Interface, v4.Faults, v4.Source = "eth9", 2, netipNone
	v4.Addresses = []legacy.Address{{Prefix: prefix("192.0.2.54/32"), Interface: "eth9"}}

	v5.Version, v5.NoPreempt, v5.DontTrackPrimary = 3, true, true
	v5.Master, v5.MasterPriority, v5.MasterInterval, v5.NextTimer = addr("192.0.2.2"), 200, time.Second, time.Unix(1, 0)
	v5.Addresses = []legacy.Address{{Prefix: prefix("192.0.2.55/24"), Interface: "eth0"}}

	in := func(names ...string) []legacy.Reference {
		var rs []legacy.Reference
		for _, n := range names {
			rs = append(rs, legacy.Reference{Name: n})
		}
		return rs
	}
	weighed := func(rs []legacy.Reference, weight int) []legacy.Reference {
		for i := range rs {
			rs[i].Weight = weight
		}
		return rs
	}
	return &legacy.Document{
		Global: legacy.Global{
			RouterID:       "web-a",
			Mail:           &legacy.Mail{Server: "127.0.0.1", Port: 25, Helo: "web-a", ConnectTimeout: 30 * time.Second, From: "v@example.org", To: []string{"a@example.org"}},
			VRRPNotifyFIFO: &legacy.FIFO{Path: dir + "/fifo"}, Group4: addr("224.0.0.18"), Group6: addr("ff02::12"), GARP: garp, DownTimerAdverts: 3,
			GARPInterval: time.Millisecond, Version: 2, ScriptSecurity: true, ScriptUser: &legacy.User{},
		},
		Instances: []legacy.Instance{v1, v2, v3, v4, v5},
		Sockets: []legacy.Socket{
			{Interface: "eth0", Members: []legacy.Member{{Name: "VI_1", VRID: 51}, {Name: "VI_5", VRID: 55}}},
			{Interface: "eth0", IPv6: true, Members: []legacy.Member{{Name: "VI_2", VRID: 52}}},
			{Interface: "eth0", Unicast: addr("192.0.2.1"), Members: []legacy.Member{{Name: "VI_3", VRID: 53}}},
			{Interface: "eth9", Members: []legacy.Member{{Name: "VI_4", VRID: 54}}},
		},
		Groups: []legacy.Group{{
			Name: "VG", State: legacy.Master, Members: []string{"VI_1", "VI_2"}, TrackWeight: true, SMTPAlert: true,
			Scripts: []legacy.Reference{{Name: "chk", Weight: 2}}, Notify: legacy.Notify{Master: command("/usr/bin/true", "g")},
		}},
		Scripts: []legacy.Script{
			{Name: "chk", Command: *command("/usr/bin/true", "a", "b c"), Interval: time.Second, Timeout: 2 * time.Second, Weight: 10, Rise: 2, Fall: 3, Result: 4, Good: true, Instances: weighed(in("VI_1", "VI_2"), 2)},
			{Name: "chk0", Command: *command("/usr/bin/false"), Interval: 2 * time.Second, Rise: 1, Fall: 1, Instances: in("VI_3")},
		},
		Files:     []legacy.File{{Name: "tf", Path: dir + "/tf", Value: 3, Weight: 2, Instances: weighed(in("VI_1"), 3)}},
		Processes: []legacy.Process{{Name: "proc", Argv: []string{"sleep", "4711"}, Match: legacy.MatchExact, Quorum: 2, QuorumMax: 4, Weight: 5, TerminateDelay: 500 * time.Millisecond, FullCommand: true, Instances: weighed(in("VI_1"), 5)}},
		Interfaces: []legacy.Interface{
			{Name: "lo", Index: 1, IPv4: addrs("127.0.0.1"), Up: true, Running: true, NoBroadcast: true, Loopback: true, NoMulticast: true, MTU: 65536, HardwareType: 772},
			{Name: "eth0", Index: 2, IPv4: addrs("192.0.2.1"), IPv6: addrs("fe80::1"), MAC: make([]byte, 6), Broadcast: bytes.Repeat([]byte{0xff}, 6), Up: true, Running: true, MTU: 1500, HardwareType: 1, Instances: append(in("VI_1", "VI_2", "VI_3"), legacy.Reference{Name: "VI_5", Weight: 255})},
			{Name: "eth1", Index: 3, IPv4: addrs("198.51.100.1"), IPv6: addrs("fe80::1"), MAC: make([]byte, 6), Broadcast: bytes.Repeat([]byte{0xff}, 6), Up: true, Running: true, MTU: 1500, HardwareType: 1, Instances: weighed(in("VI_1"), 5)},
			{Name: "eth9", NoBroadcast: true, NoMulticast: true, Instances: in("VI_4")},
		},
	}
}

// volatile are values that depend on time, on numbers the kernel gives, or that
// are masked on purpose. What is left of the line is compared.
var volatile = []struct{ pattern, with string }{
	{`^(   (Last transition|Read timeout) = )\d.*`, "$1…"},
	{`^(   Master down timer = )\d+`, "$1…"},
	{`fd_in -?\d+(,? fd_out(?: =)?) -?\d+`, "fd_in …$1 …"},
	{`ifindex \d+$`, "ifindex …"},
	{`^(   index = )[1-9]\d*`, "$1…"},
	{`^(   MAC = ).*`, "$1…"},
	{`^(   (?:Using src_ip|IPv6 address) = )fe80::.*`, "$1…"},
	{`^(   Password = ).*`, "$1…"},
	{`^(   Result = )\d+`, "$1…"},
	// A script may be running just now.
	{`^(   State = )(idle|running)$`, "$1…"},
	{`^(    (?:Received|Sent): )\d+`, "$1…"},
	{`"(last_transition|advert_rcvd|advert_sent|pri_zero_rcvd)":[\d.]+`, `"$1":…`},
	{`"auth_data":"[^"]*"`, `"auth_data":"…"`},
}

func masked(line string) string {
	for _, v := range volatile {
		line = regexp.MustCompile(v.pattern).ReplaceAllString(line, v.with)
	}
	return line
}

// absent are the lines of keepalived that have no counterpart: what vipd does
// not have, and settings that it does not share.
var absent = []string{
	" Network namespace ipvs", " Default smtp_alert", " Checkers ", " No test config before reload", " Default interface", " Disable local IGMP", " LVS ",
	" FIFO write vrrp states on reload", " Gratuitous ARP for each secondary", " nftables", " libnftnl", " VRRP strict mode", " Max auto priority", " Min auto priority",
	" VRRP don't swap", " VRRP realtime limit", " Checker ", " BFD ", " SNMP ", " DBus ", " vrrp_netlink_", " process_monitor_", " lvs_netlink_", " rs_init_notifies",
	" no_checker_emails", " rx_bufs", " umask",
	"   Rx buf size", "   Seen up", "   Delayed state change", "   Up debounce", "   Down debounce", "   Interface type/base can be changed",
	"   NIC netlink", "   Gratuitous ARP interval", "   Reset ARP", "   Original ", "   rp_filter", "   Reset promote_secondaries", "   Not IPv6 forwarding", "   IPv6 forwarding",
}

// absentSections are whole sections that have none.
var absentSections = []string{"Gratuitous ARP delays", "GARP delay group"}

// comparableLines returns the lines of keepalived's dump that vipd has as well.
func comparableLines(dump string) []string {
	var lines []string
	skipping := false
	for line := range strings.Lines(dump) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "------< "); ok {
			skipping = slices.ContainsFunc(absentSections, func(s string) bool { return strings.HasPrefix(name, s) })
		}
		if skipping || slices.ContainsFunc(absent, func(p string) bool { return strings.HasPrefix(line, p) }) {
			continue
		}
		lines = append(lines, masked(line))
	}
	return lines
}

func TestTheFilesAreThoseOfKeepalived(t *testing.T) {
	lab := netiftest.Start(t)
	program := netiftest.RequireProgram(t, "keepalived")
	bridge, err := lab.Bridge("lan")
	check(t, err)
	other, err := lab.Bridge("other")
	check(t, err)
	a, err := lab.Node("a")
	check(t, err)
	b, err := lab.Node("b")
	check(t, err)
	check(t, lab.Connect(a, "eth0", bridge, netiftest.Port{}))
	check(t, lab.Connect(a, "eth1", other, netiftest.Port{}))
	check(t, lab.Connect(b, "eth0", bridge, netiftest.Port{}))
	check(t, a.AddAddr("eth0", prefix("192.0.2.1/24")))
	check(t, a.AddAddr("eth1", prefix("198.51.100.1/24")))
	check(t, b.AddAddr("eth0", prefix("192.0.2.2/24")))

	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "tf"), []byte("3\n"), 0o600))
	start := func(node *netiftest.Node, name, conf string) *netiftest.Cmd {
		out := filepath.Join(dir, name)
		check(t, os.Mkdir(out, 0o700))
		file := filepath.Join(out, "keepalived.conf")
		check(t, os.WriteFile(file, []byte(conf), 0o600))
		cmd := node.Command(t.Context(), program, "-n", "-l", "-D", "-G", "-P", "-f", file, "-p", filepath.Join(out, "pid"), "-r", filepath.Join(out, "vrrp.pid"))
		cmd.Env = append(os.Environ(), "TMPDIR="+out)
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		check(t, cmd.Start())
		t.Cleanup(func() {
			cmd.Stop()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("keepalived %s:\n%s", name, &log)
			}
		})
		return cmd
	}
	start(b, "b", rivalConf)
	k := start(a, "a", fmt.Sprintf(comparedConf, dir))

	// dump has keepalived write a file until it is complete and as wanted: it is
	// written in place, and the first signals may come before it has started.
	dump := func(sig syscall.Signal, name string, good func(string) bool) string {
		t.Helper()
		file := filepath.Join(dir, "a", name)
		deadline := time.Now().Add(30 * time.Second)
		text := ""
		for {
			if _, err := os.Stat(filepath.Join(dir, "a", "vrrp.pid")); err == nil {
				check(t, k.Signal(sig))
			}
			waitFor(t, 300*time.Millisecond)
			raw, _ := os.ReadFile(file)
			if text = string(raw); good(text) {
				return text
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s never was as expected:\n%s", name, text)
			}
		}
	}
	ready := func(text string) bool {
		found, err := legacytest.ReadData(text)
		if err != nil || len(found) != 5 || !strings.Contains(text, "------< Interfaces >------") {
			return false
		}
		scripts := legacytest.ReadScripts(text)
		return found["VI_1"].State == 2 && found["VI_2"].State == 2 && found["VI_3"].State == 3 && found["VI_4"].State == 3 && found["VI_5"].State == 1 &&
			scripts["chk"][0] == "GOOD" && strings.Contains(text, "Effective priority = 166") && strings.Contains(text, "Master router = 192.0.2.2")
	}

	d := comparedDocument(dir)
	compare := func(what string, got, want []string) {
		t.Helper()
		if slices.Equal(got, want) {
			return
		}
		for i := range max(len(got), len(want)) {
			g, w := "(end)", "(end)"
			if i < len(got) {
				g = got[i]
			}
			if i < len(want) {
				w = want[i]
			}
			if g != w {
				t.Errorf("%s, line %d:\nvipd       %s\nkeepalived %s", what, i+1, g, w)
				t.Logf("%s of keepalived:\n%s", what, strings.Join(want, "\n"))
				return
			}
		}
	}
	split := func(text string) []string {
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, masked(strings.TrimSuffix(line, "\n")))
		}
		return lines
	}

	theirs := dump(syscall.SIGUSR1, "keepalived.data", ready)
	compare("data dump", split(dataOf(t, d)), comparableLines(theirs))

	statistics := dump(syscall.SIGUSR2, "keepalived.stats", func(text string) bool {
		return strings.Count(text, "Priority Zero:") == 5 && strings.HasSuffix(text, "\n")
	})
	for i := range d.Instances {
		if d.Instances[i].State == legacy.Master {
			d.Instances[i].Statistics.BecomeMaster = 1
		}
	}
	compare("statistics", split(statisticsOf(t, d)), split(statistics))

	theirJSON := dump(36, "keepalived.json", func(text string) bool { return strings.HasSuffix(text, "]\n") })
	// 2.2.7 does not list the processes that an instance tracks, later ones do.
	ourJSON := regexp.MustCompile(`"track_process":\[[^]]*\],`).ReplaceAllString(jsonOf(t, d, 1), "")
	fields := func(raw string) []string { return strings.SplitAfter(masked(raw), ",") }
	compare("JSON", fields(ourJSON), fields(theirJSON))

	// The readers of these tests read keepalived's files as well.
	if got, err := legacytest.ReadStatistics(statistics); err != nil || got["VI_1"]["Became master"] != 1 {
		t.Errorf("keepalived's statistics are read as %v, %v", got, err)
	}
	if got, err := legacytest.ReadJSON(theirJSON); err != nil || len(got) != 5 {
		t.Errorf("keepalived's JSON is read as %v, %v", got, err)
	}
}
