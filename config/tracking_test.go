package config

import (
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/vrrp"
)

func TestTrackingReferenceFileIsReadFieldByField(t *testing.T) {
	t.Chdir("testdata")
	const file = "tracking.yaml"
	c := mustLoad(t, file,
		"tracking.yaml:7:3: global_defs.use_symlink_paths: warning: use_symlink_paths has no effect (a program is always run by its path as it is written)",
		"tracking.yaml:14:3: global_defs.fifo_write_vrrp_states_on_reload: warning: fifo_write_vrrp_states_on_reload has no effect (after a reload the pipes are told only what has changed; vipd status --json has all states)",
		"tracking.yaml:121:5: vrrp_sync_group.VG.global_tracking: warning: global_tracking is deprecated (it is another name of sync_group_tracking_weight)")
	pos := func(line, col int) Pos { return Pos{file, line, col} }
	cmd := func(p Pos, user, group string, argv ...string) *Command {
		return &Command{Argv: argv, User: user, Group: group, Supplementary: group == "nogroup", Pos: p}
	}
	nobody := func(p Pos, argv ...string) *Command { return cmd(p, "nobody", "nogroup", argv...) }
	timing := Timing{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1}
	five := -5
	zero := 0
	want := &Config{
		Files: []string{file},
		Global: Global{
			ScriptSecurity: false, NotifyTimeout: 15 * time.Second,
			NotifyFIFOs: []FIFO{
				{Path: "/run/vipd/all.fifo", Script: nobody(pos(11, 23), "/usr/local/bin/reader", "--all"), Pos: pos(10, 16)},
				{Path: "/run/vipd/vrrp.fifo", User: "daemon", Group: "adm", Script: cmd(pos(13, 38), "daemon", "", "/usr/local/bin/reader", "a b"), Pos: pos(12, 21)},
			},
			Mail: &Mail{
				From: "vipd@example.com", To: []string{"ops@example.com", "Ops <night@example.com>"}, Server: "mail.example.com", Port: 587,
				Helo: "a.example.com", ConnectTimeout: 5 * time.Second, NoFaults: true,
			},
			StartupScript: nobody(pos(15, 19), "/usr/local/bin/startup"), StartupScriptTimeout: 20 * time.Second,
			ShutdownScript: cmd(pos(17, 29), "0", "0", "/usr/local/bin/shutdown", "now"), ShutdownScriptTimeout: 30 * time.Second,
			Dumps: Dumps{State: "/run/vipd/data", Statistics: "/run/vipd/stats", JSON: "/run/vipd/json", JSONVersion: 2},
		},
		Scripts: []Script{
			{
				Name: "chk_line", Command: *cmd(Pos{}, "www-data", "www-data", "/usr/local/bin/chk", "-a", "b c", `d "e"`, "f g"),
				Timing: Timing{Interval: 500 * time.Millisecond, Timeout: 250 * time.Millisecond, Rise: 2, Fall: 3},
				Weight: -20, Reverse: true, IgnoreUnrunnable: true,
			},
			{Name: "chk_list", Command: *nobody(Pos{}, "/bin/sh", "-c", "exit 0 | cat"), Timing: timing},
			{Name: "old_file", Command: *nobody(Pos{}, "/bin/sh", "-c", "</run/old"), Timing: timing},
		},
		Checks: []Check{
			{Name: "tcp", Timing: Timing{2 * time.Second, 2 * time.Second, 1, 1}, Weight: 10, TCP: &TCPCheck{Address: "127.0.0.1:80"}},
			{Name: "http", Timing: timing, Reverse: true, HTTP: &HTTPCheck{
				URL: "https://[2001:db8::1]:8443/health?full=1", Method: "HEAD", Host: "www.example.com",
				Headers: []Header{{"X-One", "1"}, {"X-Two", "2"}}, Status: []StatusRange{{200, 200}, {300, 399}},
				Body: regexp.MustCompile(`^ok\b`), CAFile: "/etc/ssl/ca.pem",
			}},
			{Name: "dns", Timing: timing, DNS: &DNSCheck{Server: "192.0.2.53:53", Name: "www.example.com", Type: "AAAA", Expect: []string{"2001:db8::80", "2001:db8::81"}}},
			{Name: "icmp", Timing: timing, ICMP: &ICMPCheck{Address: netip.MustParseAddr("192.0.2.1"), Family: 4, Interface: "eth1"}},
			{Name: "gateway", Timing: timing, ICMP: &ICMPCheck{Family: 6}},
			{Name: "unit", Timing: timing, SystemdUnit: &SystemdUnitCheck{Unit: "nginx.service"}},
		},
		Processes: []Process{
			{
				Name: "many", Argv: []string{"haproxy", "-f", "/etc/my haproxy.cfg"}, Match: ParamPartial, Weight: 254,
				Quorum: 2, QuorumMax: 4, ForkDelay: 2 * time.Second, TerminateDelay: time.Second, FullCommand: true,
			},
			{Name: "none", Argv: []string{"rsyncd"}, Quorum: 0, QuorumMax: 0, TerminateDelay: 3 * time.Second},
		},
		TrackedFiles: []TrackedFile{
			{Name: "number", Path: "/run/vipd/number", Weight: 3, Reverse: true, Init: &five, InitOverwrite: true},
			{Name: "plain", Path: "/run/vipd/plain", Weight: 1, Init: &zero},
		},
		SyncGroups: []SyncGroup{{
			Name: "VG", Members: []string{"A", "B"}, TrackingWeight: true,
			Notify: Notify{
				Master: nobody(Pos{}, "/usr/local/bin/group", "master"), Backup: nobody(Pos{}, "/usr/local/bin/group", "backup"),
				Fault: nobody(Pos{}, "/usr/local/bin/group", "fault"), Stop: nobody(Pos{}, "/usr/local/bin/group", "stop"),
				Any: nobody(Pos{}, "/usr/local/bin/group"),
			},
		}},
	}
	// The positions within blocks are checked by the tests of messages.
	strip := func(c *Config) {
		for i := range c.Scripts {
			c.Scripts[i].Pos, c.Scripts[i].Command.Pos = Pos{}, Pos{}
		}
		for i := range c.Checks {
			c.Checks[i].Pos = Pos{}
		}
		for i := range c.Processes {
			c.Processes[i].Pos = Pos{}
		}
		for i := range c.TrackedFiles {
			c.TrackedFiles[i].Pos = Pos{}
		}
		for i := range c.SyncGroups {
			g := &c.SyncGroups[i]
			g.Pos = Pos{}
			for _, cmd := range []*Command{g.Notify.Master, g.Notify.Backup, g.Notify.Fault, g.Notify.Stop, g.Notify.Any} {
				cmd.Pos = Pos{}
			}
		}
	}
	instances := c.Instances
	got := *c
	got.Instances = nil
	strip(&got)
	diffStructs(t, "config", reflect.ValueOf(*want), reflect.ValueOf(got))

	a, b := instances[0], instances[1]
	shared := []Track{
		{Kind: TrackInterface, Name: "eth9", Weight: -5, Group: "VG"},
		{Kind: TrackScript, Name: "chk_list", Group: "VG"},
		{Kind: TrackCheck, Name: "unit", Group: "VG"},
		{Kind: TrackProcess, Name: "none", Group: "VG"},
		{Kind: TrackFile, Name: "plain", Weight: 1, Group: "VG"},
	}
	own := []Track{
		{Kind: TrackScript, Name: "chk_line", Weight: -20, Reverse: true},
		{Kind: TrackScript, Name: "old_file"},
		{Kind: TrackCheck, Name: "tcp", Weight: 30, Reverse: true},
		{Kind: TrackCheck, Name: "http", Weight: -10},
		{Kind: TrackCheck, Name: "dns"},
		{Kind: TrackCheck, Name: "icmp"},
		{Kind: TrackCheck, Name: "gateway"},
		{Kind: TrackProcess, Name: "many", Weight: 254},
		{Kind: TrackFile, Name: "number", Weight: -2},
		{Kind: TrackInterface, Name: "eth1", Weight: 10},
		{Kind: TrackInterface, Name: "eth2", Reverse: true},
	}
	tracks := func(in Instance) []Track {
		out := slices.Clone(in.Tracks)
		for i := range out {
			if out[i].Pos.Line == 0 {
				t.Errorf("%s has no position", out[i].Name)
			}
			out[i].Pos = Pos{}
		}
		return out
	}
	diffStructs(t, "A", reflect.ValueOf(append(own, shared...)), reflect.ValueOf(tracks(a)))
	diffStructs(t, "B", reflect.ValueOf(shared), reflect.ValueOf(tracks(b)))
	if want := []string{"eth3", "eth8"}; !slices.Equal(a.TrackInterfaces, want) {
		t.Errorf("A tracks %q, want %q", a.TrackInterfaces, want)
	}
	if a.SyncGroup != "VG" || !a.NotifyPriorityChanges || !a.SMTPAlert {
		t.Errorf("A: group %q, priority changes %t, mail %t", a.SyncGroup, a.NotifyPriorityChanges, a.SMTPAlert)
	}
	if b.SyncGroup != "VG" || b.NotifyPriorityChanges || !b.SMTPAlert {
		t.Errorf("B: group %q, priority changes %t, mail %t", b.SyncGroup, b.NotifyPriorityChanges, b.SMTPAlert)
	}
	if !b.Notify.ReportDeleted || b.Notify.Deleted != nil || !a.Notify.ReportDeleted {
		t.Error("notify_deleted: true runs nothing, and a command implies it")
	}
	for _, tt := range []struct {
		name, user, group string
		got               *Command
		argv              string
	}{
		{"notify_master", "nobody", "nogroup", a.Notify.Master, "/usr/local/bin/n|a b"},
		{"notify_backup", "postgres", "", a.Notify.Backup, "/usr/local/bin/n|backup"},
		{"notify_fault", "postgres", "adm", a.Notify.Fault, "/usr/local/bin/n|c d"},
		{"notify_stop", "nobody", "nogroup", a.Notify.Stop, "/usr/local/bin/n|stop"},
		{"notify", "nobody", "nogroup", a.Notify.Any, "/usr/local/bin/n"},
		{"notify_deleted", "nobody", "nogroup", a.Notify.Deleted, "/usr/local/bin/n|deleted"},
		{"notify_master_rx_lower_pri", "nobody", "nogroup", a.Notify.MasterRxLowerPri, "/usr/local/bin/n|rx"},
	} {
		if tt.got == nil || strings.Join(tt.got.Argv, "|") != tt.argv || tt.got.User != tt.user || tt.got.Group != tt.group || tt.got.Supplementary != (tt.group == "nogroup") {
			t.Errorf("%s: got %+v", tt.name, tt.got)
		}
	}
}

func TestCommandLinesAreSplitAsInKeepalived(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string // nil: refused
	}{
		{"/bin/true", []string{"/bin/true"}},
		{"  a  b\tc ", []string{"a", "b", "c"}},
		{`a 'b c' "d e"`, []string{"a", "b c", "d e"}},
		{`ab" c"d`, []string{"ab cd"}},
		{`a "" ''`, []string{"a", "", ""}},
		{`a 'it"s' "it's"`, []string{"a", `it"s`, "it's"}},
		{`a\ b \"c\' \\`, []string{"a b", `"c'`, `\`}},
		{`a\tb 'c\nd'`, []string{"a\tb", "c\nd"}},
		{`\a\b\E\f\n\r\t\v`, []string{"\a\b\x1b\f\n\r\t\v"}},
		{`\101\x42\x6aC \cA \7z`, []string{"ABjC", "\x01", "\x07z"}},
		{`\xg`, []string{"xg"}},
		{`\ü`, []string{"ü"}},
		{`sh -c 'a | b; c'`, []string{"sh", "-c", "a | b; c"}},
		{`a 'b`, nil},
		{`a "b'`, nil},
		{`a \`, nil},
	} {
		got, plain, f := splitCommand(tt.line)
		if (f != nil) != (tt.want == nil) || f == nil && (!slices.Equal(got, tt.want) || len(plain) != len(got)) {
			t.Errorf("%s: got %q, %v; want %q", tt.line, got, f, tt.want)
		}
	}
}

func TestLinesForAShellAreRecognised(t *testing.T) {
	for line, want := range map[string]string{
		"curl -s localhost | grep ok":       "|",
		"a && b":                            "&&",
		"a; b":                              "a;",
		"a > /dev/null":                     ">",
		"a >/dev/null":                      ">/dev/null",
		"a 2>&1":                            "2>&1",
		"kill -0 $(cat /run/x.pid)":         "$(cat",
		"test `cat x` = 1":                  "`cat",
		"cd /tmp":                           "cd",
		"A=b /bin/x":                        "A=b",
		"~/bin/x":                           "~/bin/x",
		"/bin/sh -c 'a | b && c > d; $(e)'": "",
		`/bin/sh -c "a | b"`:                "",
		"curl http://localhost/?a=1&b=2;c":  "",
		"/bin/[ -f /run/x ]":                "",
		"[ -f /run/x ]":                     "",
		"test -f /run/x":                    "",
		"/usr/bin/killall -0 haproxy":       "",
		`grep -q 'a|b' /run/x`:              "",
		"/opt/x=y/bin/z":                    "",
		"sed s/a/b/;s/c/d/":                 "",
		"/bin/echo a\\; b":                  "",
	} {
		_, plain, f := splitCommand(line)
		if got := shellWord(plain); f != nil || got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

// pair returns a configuration of two instances, with what belongs into the top
// level and the instances.
func pair(top, a, b string) string {
	sep := func(s string) string {
		if s == "" {
			return ""
		}
		return ", " + s
	}
	return top + "\nvrrp_instance:\n  A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1" + sep(a) +
		"}\n  B: {interface: eth0, virtual_router_id: 2, virtual_ipaddress: 192.0.2.2" + sep(b) + "}\n"
}

func TestWeightsThatCannotCountAreTakenAwayAsInKeepalived(t *testing.T) {
	const objects = `
vrrp_script: {s: {script: /bin/true, weight: -10}, s0: {script: /bin/true}}
vrrp_check: {c: {tcp: "127.0.0.1:1", weight: 10}}
vrrp_track_process: {p: {process: x, weight: 10}}
vrrp_track_file: {f: {file: /run/f}, f2: {file: /run/f2, weight: 2}}
`
	const all = "track_script: [s, s0], track_check: c, track_process: p, track_file: [f, f2], track_interface: [eth1 weight -10, eth2]"
	kept := func(in Instance) string {
		out := slices.Clone(in.TrackInterfaces)
		for _, tr := range in.Tracks {
			w := ""
			if tr.Weight != 0 {
				w = "!"
			}
			out = append(out, tr.Name+w)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct{ what, top, a, want string }{
		{"alone", "", all, "eth2 s! s0 c! p! f! f2! eth1!"},
		{"owner", "", "priority: 255, " + all, "eth2 s0 f"},
		{"owner by accident", "", "state: MASTER, " + all, "eth2 s0 f"},
		{"member", "vrrp_sync_group: {G: {group: [A, B]}}", all, "eth1 eth2 s0 f"},
		{"member that may", "vrrp_sync_group: {G: {group: [A, B], sync_group_tracking_weight: true}}", all, "eth2 s! s0 c! p! f! f2! eth1!"},
		{"member that may, in the old way", "vrrp_sync_group: {G: {group: [A, B], global_tracking: true}}", all, "eth2 s! s0 c! p! f! f2! eth1!"},
		{"weights of the group", "vrrp_sync_group: {G: {group: [A, B], " + all + "}}", "", "eth2 s! s0 c! p! f! f2! eth1!"},
		{"weights of a group with an owner", "vrrp_sync_group: {G: {group: [A, B], " + all + "}}", "priority: 255", "eth1 eth2 s s0 c p f f2"},
		{"both", "vrrp_sync_group: {G: {group: [A, B], sync_group_tracking_weight: true, track_script: s weight -5}}", "track_script: s0, track_file: f", "s0 f! s!"},
	} {
		c, diags := Parse("t", []byte(pair(objects+tt.top, tt.a, "")))
		if c == nil {
			t.Errorf("%s: %s", tt.what, diags)
			continue
		}
		if got := kept(c.Instances[0]); got != tt.want {
			t.Errorf("%s: got %s, want %s\n%s", tt.what, got, tt.want, diags)
		}
	}
}

func TestAnObjectOfInstanceAndGroupIsTrackedOnce(t *testing.T) {
	for _, tt := range []struct {
		own, group string
		want       int
	}{
		{"s weight -5", "s weight -7", -7},
		{"s weight 0", "s weight -7", 0},
		{"s weight -5", "s weight 0", 0},
	} {
		c, diags := Parse("t", []byte(pair("vrrp_script: {s: {script: /bin/true}}\nvrrp_sync_group: {G: {group: [A, B], sync_group_tracking_weight: true, track_script: "+tt.group+"}}", "track_script: "+tt.own, "")))
		if c == nil || len(diags) != 1 || !strings.Contains(diags.String(), "is tracked by the instance and by its group G") {
			t.Fatalf("%s", diags)
		}
		if got := c.Instances[0].Tracks; len(got) != 1 || got[0].Weight != tt.want {
			t.Errorf("%s and %s: got %+v, want one of weight %d", tt.own, tt.group, got, tt.want)
		}
	}
}

func TestSomeOwnersAndSomeNotNeverStartAsMaster(t *testing.T) {
	c, diags := Parse("t", []byte(pair("vrrp_sync_group: {G: {group: [A, B]}}", "priority: 255", "priority: 100")))
	if c == nil || len(diags) != 1 || c.Instances[0].StartMaster {
		t.Errorf("%s", diags)
	}
}

func TestWeightsThatChangeNothingAreFound(t *testing.T) {
	for _, tt := range []struct {
		instance string
		warnings int
	}{
		{"priority: 100, track_script: s weight -20", 0},
		{"priority: 100, track_script: s weight 2", 0},
		{"priority: 254, track_script: s weight 20", 1},
		{"priority: 254, track_script: s weight -20", 0},
		{"priority: 1, track_script: s weight -20", 1},
		{"priority: 1, track_script: s weight -20 reverse", 0}, // it adds when it fails
		{"priority: 254, track_script: s weight -20 reverse", 1},
		{"priority: 1, track_script: s weight 20 reverse", 1},
		{"priority: 200, track_script: [s weight 50, s2 weight 50]", 0},
		{"priority: 200, track_script: [s weight 60, s2 weight 60]", 2},
		{"priority: 200, track_script: [s weight 60, s2 weight 60], track_file: f", 0}, // it may subtract
		{"priority: 100, nopreempt: true, track_script: s weight -20", 1},
		{"priority: 100, nopreempt: true, track_script: [s weight -20, s2 weight -20]", 1},
		{"priority: 100, nopreempt: true, track_script: s", 0},
	} {
		top := "vrrp_script: {s: {script: /bin/true}, s2: {script: /bin/true}}\nvrrp_track_file: {f: {file: /run/f}}"
		c, diags := Parse("t", []byte(pair(top, tt.instance, "track_script: [s, s2], track_file: f")))
		if c == nil || len(diags) != tt.warnings {
			t.Errorf("%s: want %d warnings, got\n%s", tt.instance, tt.warnings, diags)
		}
	}
}

func TestDefaultsOfScriptsAreThoseOfTheDialect(t *testing.T) {
	const objects = "vrrp_script: {s: {script: /bin/true}}\nvrrp_check: {c: {http: 'http://localhost/'}}\nvrrp_track_process: {p: {process: x y}}\nvrrp_track_file: {f: {file: /run/f}}"
	text := []byte(pair(objects, "track_script: s, track_check: c, track_process: p, track_file: f, notify: /bin/n", ""))
	for _, tt := range []struct {
		dia      dialect
		user     string
		security bool
	}{
		{yamlDialect(), "root", true},
		{dialect{version: vrrp.V2}, "root", false},
		{dialect{version: vrrp.V2, scriptUser: "keepalived_script"}, "keepalived_script", false},
	} {
		c, diags := parse("t", text, tt.dia)
		if c == nil || len(diags) > 0 {
			t.Fatal(diags)
		}
		if s := c.Scripts[0]; s.User != tt.user || s.Group != "" || s.Supplementary || s.Timing != (Timing{time.Second, time.Second, 1, 1}) || s.Weight != 0 || s.IgnoreUnrunnable {
			t.Errorf("script: %+v", s)
		}
		if n := c.Instances[0].Notify.Any; n.User != tt.user {
			t.Errorf("notify: %+v", n)
		}
		if c.Global.ScriptSecurity != tt.security || c.Global.NotifyTimeout != 30*time.Second || c.Global.Mail != nil || len(c.Global.NotifyFIFOs) > 0 ||
			c.Global.StartupScriptTimeout != 10*time.Second || c.Global.ShutdownScriptTimeout != 10*time.Second {
			t.Errorf("global: %+v", c.Global)
		}
		if h := c.Checks[0].HTTP; h.Method != "GET" || !h.Verify || len(h.Status) > 0 || h.Body != nil {
			t.Errorf("http: %+v", h)
		}
		if p := c.Processes[0]; p.Quorum != 1 || p.QuorumMax != -1 || p.Match != ParamExact {
			t.Errorf("process: %+v", p)
		}
		if f := c.TrackedFiles[0]; f.Weight != 1 || f.Init != nil {
			t.Errorf("file: %+v", f)
		}
	}
}

func TestTheDecoderTakesTrackingFromOtherFrontEnds(t *testing.T) {
	quoted := func(n *node, words ...string) *node { // as "…" in keepalived.conf
		for _, w := range words {
			n.args = append(n.args, word{w, Pos{"k.conf", 1, 2}})
		}
		return n
	}
	c, diags := decodeTree(dialect{version: vrrp.V2, scriptUser: "keepalived_script"},
		stmt("global_defs", stmt("script_user nobody :nogroup"), stmt("enable_script_security"), stmt("vrrp_notify_fifo /run/f nobody nogroup"),
			stmt("notification_email", stmt("a@example.com"), stmt("b@example.com")), stmt("smtp_server 192.0.2.25")),
		stmt("vrrp_script s", quoted(stmt("script"), "/bin/x 'a b'"), stmt("weight -20 reverse"), stmt("user root"), stmt("interval 2")),
		stmt("vrrp_script w", stmt("script /bin/x a b")),
		stmt("vrrp_track_process p", stmt("process x -f y"), stmt("param_match initial")),
		stmt("track_file f", stmt("file /run/n"), stmt("init_file 3 overwrite")),
		stmt("vrrp_sync_group G", stmt("group", stmt("A B")), quoted(stmt("notify"), "/bin/g x", "root", "adm"), stmt("smtp_alert")),
		stmt("vrrp_instance A", stmt("interface eth0"), stmt("virtual_router_id 51"), stmt("virtual_ipaddress", stmt("192.0.2.10")),
			stmt("track_script", stmt("s weight 0"), stmt("w")), stmt("track_process", stmt("p")), stmt("track_file", stmt("f weight 0 noreverse")),
			quoted(stmt("notify_master"), "/bin/m 1 2", "root"), stmt("notify_deleted"), stmt("notify_backup /bin/b nobody :adm")),
		stmt("vrrp_instance B", stmt("interface eth0"), stmt("virtual_router_id 52"), stmt("virtual_ipaddress", stmt("192.0.2.11"))))
	if c == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	argv := func(c *Command) string {
		return strings.Join(c.Argv, "|") + " " + c.User + " " + c.Group
	}
	in := c.Instances[0]
	for _, tt := range []struct{ got, want string }{
		{argv(&c.Scripts[0].Command), "/bin/x|a b root "},
		{argv(&c.Scripts[1].Command), "/bin/x|a|b nobody nogroup"},
		{strings.Join(c.Processes[0].Argv, "|"), "x|-f|y"},
		{argv(c.SyncGroups[0].Notify.Any), "/bin/g|x root adm"},
		{argv(in.Notify.Master), "/bin/m|1|2 root "},
		{argv(in.Notify.Backup), "/bin/b nobody adm"},
		{strings.Join(c.Global.Mail.To, " "), "a@example.com b@example.com"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	if !in.Notify.ReportDeleted || in.Notify.Deleted != nil || !in.Notify.Backup.Supplementary || len(in.Tracks) != 4 || !c.Scripts[0].Reverse || c.Scripts[0].Weight != -20 ||
		*c.TrackedFiles[0].Init != 3 || !c.TrackedFiles[0].InitOverwrite || c.Processes[0].Match != ParamInitial || len(c.SyncGroups[0].Members) != 2 || !c.Global.ScriptSecurity {
		t.Errorf("got %+v", c)
	}
}

func TestALenientDialectRunsWithoutWhatIsUnknown(t *testing.T) {
	text := pair("vrrp_sync_group: {G: {group: [A, C]}, E: {group: [D]}}\nvrrp_script: {s: {script: /bin/true, interval: 0, flurb: 1}}", "track_script: [s, x]", "")
	c, diags := parse("t", []byte(text), dialect{version: vrrp.V2})
	if c == nil || len(diags) != 5 {
		t.Fatalf("want 5 warnings, got\n%s", diags)
	}
	if len(c.Instances[0].Tracks) != 1 || c.Scripts[0].Interval != time.Second || len(c.SyncGroups) != 1 || len(c.SyncGroups[0].Members) != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestACommandWithoutQuotesThatLosesItsArgumentsIsReported(t *testing.T) {
	_, diags := decodeTree(dialect{version: vrrp.V2},
		stmt("vrrp_instance A", stmt("interface eth0"), stmt("virtual_router_id 51"), stmt("virtual_ipaddress", stmt("192.0.2.10")),
			stmt("notify /bin/x a b c"), stmt("notify_master /bin/x a/b"), stmt("notify_backup")))
	const want = `k.conf:1:1: vrrp_instance.A.notify_backup: warning: notify_backup needs a value
k.conf:1:2: vrrp_instance.A.notify: warning: after the command there is more than a user and a group (quotes go around the whole command)
k.conf:1:2: vrrp_instance.A.notify_master: warning: "a/b" is not a name of a user
`
	if got := diags.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}
