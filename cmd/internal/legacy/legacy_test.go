package legacy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/legacy"
	"vipd/cmd/internal/legacy/legacytest"
	"vipd/netif/netiftest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { netiftest.Main(m) }

func command(argv ...string) *legacy.Command { return &legacy.Command{Argv: argv} }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// garp is keepalived's defaults.
var garp = legacy.GARP{Delay: 5 * time.Second, Repeat: 5, RefreshRepeat: 1, LowerPrioDelay: 5 * time.Second, LowerPrioRepeat: 5}

// everything returns a document with instances in every state, and one of all
// else.
func everything() *legacy.Document {
	base := legacy.Instance{
		Version: 2, Interface: "eth0", Source: addr("192.0.2.1"), Group: addr("224.0.0.18"),
		GARP: garp, DownTimerAdverts: 3, Priority: 100, EffectivePriority: 100, AdvertInterval: time.Second,
		MasterDown: 3609375 * time.Microsecond, LastTransition: time.UnixMicro(1795246821954564),
		Descriptors: [2]int{16, 17},
	}
	master := base
	master.Name, master.VRID, master.State, master.Want = "VI_1", 51, legacy.Master, legacy.Master
	master.SyncGroup, master.Auth, master.EffectivePriority, master.Priority = "VG", legacy.AuthPass, 161, 150
	master.NextTimer = time.UnixMicro(1795246824957602)
	master.Addresses = []legacy.Address{
		{Prefix: prefix("192.0.2.10/24"), Interface: "eth0", Set: true},
		{Prefix: prefix("192.0.2.11/24"), Interface: "eth0", Label: "eth0:v", Broadcast: addr("192.0.2.255"), Set: true},
		{Prefix: prefix("192.0.2.13/32"), Interface: "eth1", Scope: 253, NoTrack: true},
	}
	master.Excluded = []legacy.Address{{Prefix: prefix("2001:db8::14/64"), Interface: "eth0", Set: true}}
	master.TrackInterfaces = []legacy.Reference{{Name: "eth1", Weight: 5}}
	master.TrackScripts = []legacy.TrackedScript{{Reference: legacy.Reference{Name: "chk", Weight: 10}, Argv: []string{"/usr/bin/true", "b c"}}}
	master.TrackFiles = []legacy.Reference{{Name: "tf", Weight: 3, Reverse: true}}
	master.TrackProcesses = []legacy.Reference{{Name: "proc", Weight: 5}}
	master.Notify = legacy.Notify{Master: command("/usr/bin/true", "a", "b c"), Any: command("/usr/bin/echo", "x=y")}
	master.NotifyDeleted, master.SMTPAlert = true, true
	master.Statistics = legacy.Statistics{
		Received: 1, Sent: 1 << 40, BecomeMaster: 3, ReleaseMaster: 4, PacketLength: 5, AdvertInterval: 6, TTL: 7, InvalidType: 8,
		AddressList: 9, InvalidAuthType: 10, AuthTypeMismatch: 11, AuthFailure: 12, PriorityZeroReceived: 13, PriorityZeroSent: 14,
	}

	backup := base
	backup.Name, backup.VRID, backup.State, backup.Want = "VI_2", 52, legacy.Backup, legacy.Backup
	backup.Version, backup.IPv6, backup.InterfaceIndex = 3, true, 3
	backup.Source, backup.Group = addr("fe80::1%eth0"), addr("ff02::12")
	backup.Master, backup.MasterPriority, backup.MasterInterval = addr("fe80::2%eth0"), 200, 1500*time.Millisecond
	backup.AdvertInterval, backup.NoPreempt, backup.PreemptDelay = 500*time.Millisecond, true, 2500*time.Millisecond
	backup.Addresses = []legacy.Address{
		{Prefix: prefix("fe80::52/128"), Interface: "eth0", Deprecated: true},
		{Prefix: prefix("2001:db8::52/64"), Interface: "eth0", Preferred: time.Hour, DAD: true, HomeAddr: true, NoPrefix: true},
	}
	backup.NextTimer = time.UnixMicro(1795246824955544)

	fault := base
	fault.Name, fault.VRID, fault.State, fault.Want = "VI_3", 53, legacy.Fault, legacy.Fault
	fault.Version, fault.Faults, fault.PendingChecks = 3, 2, 1
	fault.Peers = []legacy.Peer{{Address: addr("192.0.2.2"), MinTTL: -1, MaxTTL: -1}, {Address: addr("192.0.2.3"), MinTTL: 254, MaxTTL: 255}}
	fault.TTL, fault.SourceConfigured, fault.CheckUnicastSource = 255, true, true
	fault.Addresses = []legacy.Address{{Prefix: prefix("192.0.2.53/32"), Interface: "eth0", Peer: prefix("198.51.100.0/24")}}

	starting := base
	starting.Name, starting.VRID, starting.Want = "VI_4", 54, legacy.Backup
	starting.Interface, starting.Source = "", netip.Addr{}
	starting.Descriptors = [2]int{-1, -1}
	starting.LastTransition = time.Time{}

	return &legacy.Document{
		Global: legacy.Global{
			RouterID: "web-a", Mail: &legacy.Mail{Server: "127.0.0.1", Port: 25, Helo: "web-a", ConnectTimeout: 30 * time.Second, From: "v@example.org", To: []string{"a@example.org"}, NoFaults: true},
			StartupScript: command("/bin/start"), StartupScriptTimeout: 5 * time.Second, ShutdownScript: command("/bin/stop"), ShutdownScriptTimeout: 6 * time.Second,
			NotifyFIFO: &legacy.FIFO{Path: "/run/fifo", Script: command("/bin/reader")}, VRRPNotifyFIFO: &legacy.FIFO{Path: "/run/vrrp"},
			Group4: addr("224.0.0.18"), Group6: addr("ff02::12"), GARP: garp, DownTimerAdverts: 3, GARPInterval: time.Millisecond, Version: 2,
			ScriptSecurity: true, ScriptUser: &legacy.User{}, StartupDelay: 1500 * time.Millisecond, LogUnknownVRIDs: true,
		},
		Instances: []legacy.Instance{master, backup, fault, starting},
		Sockets: []legacy.Socket{
			{Descriptors: [2]int{16, 17}, Interface: "eth0", Members: []legacy.Member{{Name: "VI_1", VRID: 51}}},
			{Descriptors: [2]int{18, 19}, Interface: "eth0", IPv6: true, Members: []legacy.Member{{Name: "VI_2", VRID: 52}}},
			{Descriptors: [2]int{20, 21}, Interface: "eth0", Unicast: addr("192.0.2.1"), Members: []legacy.Member{{Name: "VI_3", VRID: 53}}},
		},
		Groups: []legacy.Group{{
			Name: "VG", State: legacy.Master, Members: []string{"VI_1"}, TrackWeight: true, SMTPAlert: true, Priorities: true,
			Scripts: []legacy.Reference{{Name: "chk", Weight: 2}}, Files: []legacy.Reference{{Name: "tf", Weight: 1}},
			Notify: legacy.Notify{Master: command("/usr/bin/true", "g")},
		}},
		Scripts: []legacy.Script{
			{Name: "chk", Command: *command("/usr/bin/true", "b c"), Interval: time.Second, Timeout: 2 * time.Second, Weight: 10, Rise: 2, Fall: 3, Result: 4, Good: true, Progress: legacy.Running, Instances: []legacy.Reference{{Name: "VI_1", Weight: 2}}},
			{Name: "chk0", Command: legacy.Command{Argv: []string{"/usr/bin/false"}, User: legacy.User{UID: 65534, GID: 65534}}, Interval: 2 * time.Second, Rise: 1, Fall: 1, Pending: true, Insecure: true, Progress: legacy.Killing},
		},
		Files: []legacy.File{{Name: "tf", Path: "/run/tf", Value: -3, Weight: 2, Reverse: true, Instances: []legacy.Reference{{Name: "VI_1", Weight: 3}}}},
		Processes: []legacy.Process{
			{Name: "proc", Argv: []string{"sleep", "1", "2"}, Match: legacy.MatchPartial, Quorum: 2, QuorumMax: 4, Current: 3, HaveQuorum: true, Weight: 5, Reverse: true, TerminateDelay: 500 * time.Millisecond, ForkTimer: true, Instances: []legacy.Reference{{Name: "VI_1", Weight: 5}}},
			{Name: "any", Argv: []string{"sshd"}, Quorum: 1, QuorumMax: -1, FullCommand: true},
		},
		Interfaces: []legacy.Interface{
			{Name: "lo", Index: 1, IPv4: []netip.Addr{addr("127.0.0.1")}, Up: true, Running: true, NoBroadcast: true, Loopback: true, NoMulticast: true, MTU: 65536, HardwareType: 772},
			{Name: "eth0", Index: 3, IPv4: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.9")}, IPv6: []netip.Addr{addr("fe80::1%eth0")}, MAC: []byte{2, 0, 0, 0, 0, 1}, Broadcast: []byte{255, 255, 255, 255, 255, 255}, Up: true, MTU: 1500, HardwareType: 1, Instances: []legacy.Reference{{Name: "VI_1"}}},
			{Name: "eth9", NoBroadcast: true, NoMulticast: true},
		},
	}
}

func text(t *testing.T, write func(*bytes.Buffer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func dataOf(t *testing.T, d *legacy.Document) string {
	t.Helper()
	return text(t, func(b *bytes.Buffer) error { return legacy.WriteData(b, d) })
}

func statisticsOf(t *testing.T, d *legacy.Document) string {
	t.Helper()
	return text(t, func(b *bytes.Buffer) error { return legacy.WriteStatistics(b, d) })
}

func jsonOf(t *testing.T, d *legacy.Document, version int) string {
	t.Helper()
	return text(t, func(b *bytes.Buffer) error { return legacy.WriteJSON(b, d, version) })
}

// localTime is the part of a line that depends on the time zone.
var localTime = regexp.MustCompile(`\((Mon|Tue|Wed|Thu|Fri|Sat|Sun) .* \d{4}\)`)

func TestTheFilesAreAsTheyWere(t *testing.T) {
	d := everything()
	for name, got := range map[string]string{
		"keepalived.data": localTime.ReplaceAllString(dataOf(t, d), "(local time)"), "keepalived.stats": statisticsOf(t, d),
		"keepalived-1.json": jsonOf(t, d, 1), "keepalived-2.json": jsonOf(t, d, 2),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("it differs from testdata (-update writes it):\n%s", got)
			}
		})
	}
}

func TestAnExporterFindsInTheTextWhatTheDocumentSays(t *testing.T) {
	d := everything()
	found, err := legacytest.ReadData(dataOf(t, d))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*legacytest.Exported{
		"VI_1": {
			State: 2, Want: 2, GARPDelay: 5, VRID: 51, Interface: "eth0",
			VIPs:     []string{"192.0.2.10/24 dev eth0 scope global set", "192.0.2.11/24 brd 192.0.2.255 dev eth0 scope global label eth0:v set", "192.0.2.13 dev eth1 scope link no_track"},
			Excluded: []string{"2001:db8::14/64 dev eth0 scope global preferred_lft forever set"},
		},
		"VI_2": {
			State: 1, Want: 1, GARPDelay: 5, VRID: 52, Interface: "eth0",
			VIPs: []string{"fe80::52 dev eth0 scope global deprecated", "2001:db8::52/64 dev eth0 scope global home -nodad noprefixroute preferred_lft 3600"},
		},
		"VI_3": {State: 3, Want: 3, GARPDelay: 5, VRID: 53, Interface: "eth0", VIPs: []string{"192.0.2.53 dev eth0 scope global peer 198.51.100.0/24"}},
		"VI_4": {State: 0, Want: 1, GARPDelay: 5, VRID: 54, Interface: "not configured"},
	}
	if !reflect.DeepEqual(found, want) {
		for name := range want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, found[name], want[name])
		}
	}
	if a, ifname := readVIP(t, found["VI_1"].VIPs[0]); a != "192.0.2.10/24" || ifname != "eth0" {
		t.Errorf("the first address is %s on %s", a, ifname)
	}
	if got, want := legacytest.ReadScripts(dataOf(t, d)), map[string][2]string{"chk": {"GOOD", "running"}, "chk0": {"BAD", "forcing termination"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("the scripts are %v, want %v", got, want)
	}
}

func TestAnExporterFindsEveryCounter(t *testing.T) {
	d := everything()
	found, err := legacytest.ReadStatistics(statisticsOf(t, d))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"Advertisements/Received": 1, "Advertisements/Sent": 1 << 40, "Became master": 3, "Released master": 4,
		"Packet Errors/Length": 5, "Packet Errors/Advertisement Interval": 6, "Packet Errors/TTL": 7, "Packet Errors/Invalid Type": 8, "Packet Errors/Address List": 9,
		"Authentication Errors/Invalid Type": 10, "Authentication Errors/Type Mismatch": 11, "Authentication Errors/Failure": 12,
		"Priority Zero/Received": 13, "Priority Zero/Sent": 14,
	}
	if got := found["VI_1"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// An exporter refuses a dump and statistics of different instances.
	data, err := legacytest.ReadData(dataOf(t, d))
	if err != nil {
		t.Fatal(err)
	}
	for name := range data {
		if found[name] == nil || len(data) != len(found) {
			t.Errorf("the data dump has %s and %d instances, the statistics %d", name, len(data), len(found))
		}
	}
}

func TestTheJSONHasWhatToolsTakeFromIt(t *testing.T) {
	d := everything()
	raw := jsonOf(t, d, 1)
	found, err := legacytest.ReadJSON(raw)
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if len(found) != len(d.Instances) {
		t.Fatalf("there are %d instances", len(found))
	}
	for i, got := range found {
		want := d.Instances[i]
		if got.Data.Name != want.Name || got.Data.State != int(want.State) || got.Data.Want != int(want.Want) || got.Data.VRID != want.VRID ||
			got.Data.Interface != want.Interface || got.Data.BasePriority != want.Priority || got.Data.EffectivePriority != want.EffectivePriority ||
			len(got.Data.VIPs) != len(want.Addresses) || len(got.Data.Excluded) != len(want.Excluded) || got.Data.GARPDelay != 5 {
			t.Errorf("instance %s is read as %+v", want.Name, got.Data)
		}
	}
	if got := found[0].Data.LastTransition; got != 1795246821.954564 {
		t.Errorf("the last transition is %f", got)
	}
	if got := found[0].Stats; len(got) != 14 || got["advert_sent"] != 1<<40 || got["pri_zero_sent"] != 14 || got["auth_failure"] != 12 {
		t.Errorf("the statistics are %v", got)
	}

	// The viewer that comes with keepalived indexes these without asking
	// whether they are there, of instances that have addresses.
	var list []map[string]map[string]any
	if err := json.Unmarshal([]byte(raw), &list); err != nil {
		t.Fatal(err)
	}
	for _, inst := range list[:3] {
		for _, key := range []string{"iname", "state", "vips", "vmac_ifname", "version", "effective_priority", "master_priority", "last_transition"} {
			if _, ok := inst["data"][key]; !ok {
				t.Errorf("%v has no %s", inst["data"]["iname"], key)
			}
		}
	}
	if got := list[1]["data"]["master_priority"]; got != 200. {
		t.Errorf("the master's priority is %v", got)
	}

	samples, err := legacytest.Flatten(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{2, 1, 3, 0} {
		if got := samples[i]["data_state"]; got != want {
			t.Errorf("sample %d has data_state %v, want %v", i, got, want)
		}
	}
	if got := samples[0]["stats_become_master"]; got != 3 {
		t.Errorf("stats_become_master is %v", got)
	}
	if got := samples[1]["data_adver_int"]; got != 0.5 {
		t.Errorf("data_adver_int is %v", got)
	}
}

func TestTheSecondVersionOfTheJSONHasTheSameInstancesAndTheProcesses(t *testing.T) {
	d := everything()
	var doc struct {
		VRRP    json.RawMessage  `json:"vrrp"`
		Process []map[string]any `json:"track_process"`
	}
	if err := json.Unmarshal([]byte(jsonOf(t, d, 2)), &doc); err != nil {
		t.Fatal(err)
	}
	if got, want := string(doc.VRRP), strings.TrimSpace(jsonOf(t, d, 1)); got != want {
		t.Errorf("the instances are\n%s\nin version 1\n%s", got, want)
	}
	want := []map[string]any{
		{
			"process": "proc", "parameters": "1 2", "param_match": "partial", "min_processes": 2., "max_processes": 4., "current_processes": 3.,
			"have_quorum": true, "weight": -5., "terminate_delay": 0.5, "fork_delay": 0., "fork_delay_timer_running": true, "terminate_delay_timer_running": false, "full_command": false,
		},
		{
			"process": "any", "param_match": "none", "min_processes": 1., "current_processes": 0.,
			"have_quorum": false, "weight": 0., "terminate_delay": 0., "fork_delay": 0., "fork_delay_timer_running": false, "terminate_delay_timer_running": false, "full_command": true,
		},
	}
	if !reflect.DeepEqual(doc.Process, want) {
		t.Errorf("the processes are %v, want %v", doc.Process, want)
	}
	d.Processes = nil
	var bare map[string]json.RawMessage
	if err := json.Unmarshal([]byte(jsonOf(t, d, 2)), &bare); err != nil || len(bare) != 1 {
		t.Errorf("without processes there are %d keys, %v", len(bare), err)
	}
}

func TestANameCannotBreakTheFormat(t *testing.T) {
	for _, name := range []string{"a\"b", `a\b`, "a/b", "a\nVRRP Instance: b", "a\n VRRP Instance = b", "a\x01b", "a\xffb", "é", "a\r\tb\x7f"} {
		d := &legacy.Document{Instances: []legacy.Instance{{Name: name, Version: 2}}}
		raw := jsonOf(t, d, 1)
		found, err := legacytest.ReadJSON(raw)
		if err != nil || len(found) != 1 {
			t.Errorf("%q: %v in %s", name, err, raw)
			continue
		}
		if want := strings.ToValidUTF8(name, "?"); found[0].Data.Name != want {
			t.Errorf("%q is read as %q", name, found[0].Data.Name)
		}
		data, err := legacytest.ReadData(dataOf(t, d))
		if err != nil || len(data) != 1 {
			t.Errorf("%q: the data dump has %d instances, %v", name, len(data), err)
		}
		stats, err := legacytest.ReadStatistics(statisticsOf(t, d))
		if err != nil || len(stats) != 1 {
			t.Errorf("%q: the statistics have %d instances, %v", name, len(stats), err)
		}
	}
}

func TestNoFileHasThePassword(t *testing.T) {
	d := everything()
	for _, got := range []string{dataOf(t, d), jsonOf(t, d, 1)} {
		if !strings.Contains(got, "********") {
			t.Errorf("no masked password in %s", got)
		}
	}
}

func TestClearedStatisticsCountFromThen(t *testing.T) {
	base := everything().Instances[0].Statistics
	now := base
	now.Sent += 7
	now.AuthFailure++
	if got, want := now.Since(base), (legacy.Statistics{Sent: 7, AuthFailure: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// An instance that was removed and came back counts from 0 again.
	if got := (legacy.Statistics{Sent: 2}).Since(base); got != (legacy.Statistics{}) {
		t.Errorf("counters below the base give %+v", got)
	}
	if base != everything().Instances[0].Statistics {
		t.Error("the base has changed")
	}
}

func TestFilesAreWhereKeepalivedPutsThem(t *testing.T) {
	for _, tt := range []struct {
		name, tmpdir string
		names        legacy.Names
		want         legacy.Files
	}{
		{"by default", "", legacy.Names{}, legacy.Files{Data: "/tmp/keepalived.data", Statistics: "/tmp/keepalived.stats", JSON: "/tmp/keepalived.json"}},
		{"with TMPDIR", "/var/tmp/", legacy.Names{}, legacy.Files{Data: "/var/tmp/keepalived.data", Statistics: "/var/tmp/keepalived.stats", JSON: "/var/tmp/keepalived.json"}},
		{"with a relative TMPDIR, which does not count", "here", legacy.Names{}, legacy.Files{Data: "/tmp/keepalived.data", Statistics: "/tmp/keepalived.stats", JSON: "/tmp/keepalived.json"}},
		{"with names", "/x", legacy.Names{State: "/run/state", Stats: "stats", JSON: "/run/dump/"}, legacy.Files{Data: "/run/state", Statistics: "/x/stats", JSON: "/run/dump/keepalived.json"}},
		{"with data_use_instance", "", legacy.Names{Instance: "i/j", Namespace: "ns", State: "/run/s"}, legacy.Files{Data: "/run/s.ns_i_j", Statistics: "/tmp/keepalived.ns_i_j.stats", JSON: "/tmp/keepalived.ns_i_j.json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", tt.tmpdir)
			if got := tt.names.Paths(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	files := legacy.Names{}.Paths()
	d := everything()
	for _, mode := range []os.FileMode{0, 0o644} {
		files.Mode = mode
		for file, write := range map[string]func() error{
			files.Data:       func() error { return files.WriteData(d) },
			files.Statistics: func() error { return files.WriteStatistics(d) },
			files.JSON:       func() error { return files.WriteJSON(d, 1) },
		} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			want := mode
			if want == 0 {
				want = 0o600
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s has mode %o, want %o", file, got, want)
			}
		}
	}
}

func TestWithoutAnInstanceTheJSONStaysAsItIs(t *testing.T) {
	files := legacy.Files{JSON: filepath.Join(t.TempDir(), "j")}
	if err := files.WriteJSON(&legacy.Document{}, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(files.JSON); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
}

func TestWhatIsPlantedUnderAKnownNameIsReplacedAndNotWrittenThrough(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plant func(victim, path string) error
	}{
		{"a symbolic link", os.Symlink},
		{"a symbolic link to nothing", func(_, path string) error { return os.Symlink("nothing", path) }},
		{"a hard link", os.Link},
		{"a file", func(_, path string) error { return os.WriteFile(path, []byte("old"), 0o666) }},
		{"nothing", func(_, _ string) error { return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "tmp", "keepalived.data")
			if err := os.Mkdir(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := tt.plant(victim, path); err != nil {
				t.Fatal(err)
			}
			// Somebody who waits for secrets with the planted file open.
			spy, _ := os.Open(path)
			if err := legacy.Replace(path, []byte("new"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(victim); err != nil || string(got) != "precious" {
				t.Errorf("what the link leads to is %q, %v", got, err)
			}
			info, err := os.Lstat(path)
			if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
				t.Errorf("at the name there is %v, %v", info.Mode(), err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
				t.Errorf("the content is %q, %v", got, err)
			}
			if spy != nil {
				defer spy.Close()
				b := make([]byte, 16)
				if n, _ := spy.ReadAt(b, 0); string(b[:n]) == "new" {
					t.Error("who had the old file open reads the new content")
				}
			}
			onlyFile(t, path)
			if _, err := os.Lstat(filepath.Join(filepath.Dir(path), "nothing")); err == nil {
				t.Error("a file was made where the link leads to")
			}
		})
	}
}

// onlyFile fails if something else than path is in its directory.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestWhatIsNoFileIsLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(path string) error
	}{
		{"a pipe", func(path string) error { return unix.Mkfifo(path, 0o600) }},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keepalived.data")
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := legacy.Replace(path, []byte("new"), 0o600); !errors.Is(err, legacy.ErrNotRegular) {
				t.Errorf("the error is %v", err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it has been replaced: %v", err)
			}
			onlyFile(t, path)
		})
	}
	if err := legacy.Replace(os.DevNull, []byte("new"), 0o600); !errors.Is(err, legacy.ErrNotRegular) {
		t.Errorf("the error for %s is %v", os.DevNull, err)
	}
}

func TestAFailureNamesTheFile(t *testing.T) {
	files := legacy.Files{Data: filepath.Join(t.TempDir(), "missing", "keepalived.data")}
	err := files.WriteData(&legacy.Document{})
	if err == nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("the error is %v", err)
	}
}

func TestAReaderNeverSeesHalfAFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	files := legacy.Names{}.Paths()
	small, large := everything(), everything()
	for n := range 40 { // more than any buffer on the way holds
		inst := large.Instances[0]
		inst.Name = "more-" + strconv.Itoa(n)
		large.Instances = append(large.Instances, inst)
	}
	write := func(d *legacy.Document) {
		for _, err := range []error{files.WriteData(d), files.WriteStatistics(d), files.WriteJSON(d, 1)} {
			if err != nil {
				t.Error(err)
			}
		}
	}
	write(small)
	sizes := []int{len(small.Instances), len(large.Instances)}

	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				data, err := os.ReadFile(files.Data)
				if err != nil {
					t.Error(err)
				}
				if got, err := legacytest.ReadData(string(data)); err != nil || !slices.Contains(sizes, len(got)) || !strings.HasSuffix(string(data), "HW Type = UNKNOWN (0)\n") {
					t.Errorf("a data dump of %d instances, %v", len(got), err)
				}
				stats, err := os.ReadFile(files.Statistics)
				if err != nil {
					t.Error(err)
				}
				if got, err := legacytest.ReadStatistics(string(stats)); err != nil || !slices.Contains(sizes, len(got)) || !strings.HasSuffix(string(stats), "    Sent: 14\n") && len(got) != sizes[0] {
					t.Errorf("statistics of %d instances, %v", len(got), err)
				}
				raw, err := os.ReadFile(files.JSON)
				if err != nil {
					t.Error(err)
				}
				if got, err := legacytest.ReadJSON(string(raw)); err != nil || !slices.Contains(sizes, len(got)) {
					t.Errorf("JSON of %d instances, %v", len(got), err)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
	for range 10 {
		write(large)
		write(small)
	}
	close(done)
	readers.Wait()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// waitFor waits, or ends the test if its time is up.
func waitFor(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

var netipNone netip.Addr

func addrs(ss ...string) []netip.Addr {
	var as []netip.Addr
	for _, s := range ss {
		as = append(as, addr(s))
	}
	return as
}

// readVIP takes an address and its interface from a line.
func readVIP(t *testing.T, line string) (addr, ifname string) {
	t.Helper()
	words := strings.Split(line, " ")
	if len(words) < 3 {
		t.Fatalf("%q is not an address with an interface", line)
	}
	return words[0], words[2]
}
