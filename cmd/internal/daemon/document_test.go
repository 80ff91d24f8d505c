package daemon

import (
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/legacy"
	"vipd/config"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// testDocument describes a configuration with instances in every state.
func testDocument() *legacy.Document {
	at := time.Unix(1000, 0)
	timing := config.Timing{Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 3}
	cfg := &config.Config{
		Instances: []config.Instance{
			{Name: "A", Interface: "eth0", VRID: 1, Version: vrrp.V2, Family: vrrp.IPv4, Priority: 100, AdvertInterval: time.Second, DownTimerAdverts: 3, SyncGroup: "G", AuthType: vrrp.AuthPass, AuthData: [8]byte{'s', 'e', 'c', 'r', 'e', 't'}, Preempt: true, Tracks: []config.Track{
				{Kind: config.TrackScript, Name: "up", Weight: 10},
				{Kind: config.TrackInterface, Name: "eth1", Weight: -5},
				{Kind: config.TrackProcess, Name: "proc", Group: "G"},
			}, TrackInterfaces: []string{"eth2"}},
			{Name: "B", Interface: "eth0", VRID: 2, Version: vrrp.V3, Family: vrrp.IPv6, Priority: 50, AdvertInterval: time.Second, DownTimerAdverts: 3, SyncGroup: "G"},
			{Name: "C", Interface: "eth9", VRID: 3, Version: vrrp.V3, Family: vrrp.IPv4, Priority: 1, AdvertInterval: time.Second, DownTimerAdverts: 3},
		},
		SyncGroups: []config.SyncGroup{{Name: "G", Members: []string{"A", "B"}}},
		Scripts:    []config.Script{{Name: "up", Timing: timing}, {Name: "down", Timing: timing}, {Name: "new", Timing: timing}},
		Checks:     []config.Check{{Name: "web", Timing: timing}},
		Processes:  []config.Process{{Name: "proc", Argv: []string{"p"}, Quorum: 2, QuorumMax: -1}},
	}
	now := control.Status{
		Instances: []control.Instance{
			{Name: "A", State: control.StateMaster, Since: at, Priority: 110, Timers: control.Timers{AdvertAt: at}, Counters: control.Counters{Sent: 9, Received: 5}, Tracks: []control.Track{
				{Kind: control.KindScript, Name: "up", Weight: 10}, {Kind: control.KindProcess, Name: "proc", Group: "G"},
			}},
			{Name: "B", State: control.StateBackup, Since: at, Priority: 50, Master: &control.Master{Priority: 200, Interval: control.Seconds(2 * time.Second)}, Timers: control.Timers{MasterDownAt: at}},
			{Name: "C", State: control.StateInit, Pending: []string{"new"}, Faults: []control.Fault{{Kind: vrrp.FaultGroup.String()}, {Kind: "interface-down"}}},
		},
		SyncGroups: []control.SyncGroup{{Name: "G", State: control.StateMaster}},
		Checks: []control.Check{
			{Name: "up", Kind: control.KindScript, State: control.CheckUp, Last: &control.Attempt{}, Streak: 1, RunningSince: at},
			{Name: "down", Kind: control.KindScript, State: control.CheckDown, Last: &control.Attempt{OK: true}, Streak: 1},
			{Name: "web", Kind: control.KindCheck, State: control.CheckUp, Last: &control.Attempt{OK: true}, Streak: 7, What: "tcp 192.0.2.1:80"},
			{Name: "proc", Kind: control.KindProcess, State: control.CheckUp},
		},
	}
	in := described{cfg: cfg, status: now, base: map[string]legacy.Statistics{"A": {Sent: 4}}, running: map[string]int{"proc": 3}}
	return in.document()
}

func TestTheDocumentSaysWhatConfigurationAndStatusSay(t *testing.T) {
	d := testDocument()
	a, b, c := d.Instances[0], d.Instances[1], d.Instances[2]
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"state of a master", a.State, legacy.Master},
		{"state of a backup", b.State, legacy.Backup},
		{"state of one that waits", c.State, legacy.Init},
		{"wanted state of one that waits", c.Want, legacy.Backup},
		{"effective priority", a.EffectivePriority, 110},
		{"priority of the master", b.MasterPriority, 200},
		{"master down timer by the interval of the master", b.MasterDown, 3*2*time.Second + 2*time.Second*206/256},
		{"master down timer of version 2", a.MasterDown, 3*time.Second + time.Second*146/256},
		{"timer of a master", a.NextTimer.Unix(), int64(1000)},
		{"timer of a backup", b.NextTimer.Unix(), int64(1000)},
		{"statistics since they were cleared", a.Statistics.Sent, uint64(5)},
		{"statistics that were not cleared", a.Statistics.Received, uint64(5)},
		{"authentication", a.Auth, legacy.AuthPass},
		{"faults but for that of the group", c.Faults, 1},
		{"checks that are waited for", c.PendingChecks, 1},
		{"tracked interfaces", len(a.TrackInterfaces), 2},
		{"what the group tracks is shown there", len(a.TrackProcesses), 0},
		{"what the group tracks", d.Groups[0].Processes, []legacy.Reference{{Name: "proc"}}},
		{"state of the group", d.Groups[0].State, legacy.Master},
		{"result of a script that is up and has failed once", d.Scripts[0].Result, 3},
		{"a script that runs", d.Scripts[0].Progress, legacy.Running},
		{"result of a script that is down and has succeeded once", d.Scripts[1].Result, 1},
		{"a script without a result", d.Scripts[2].Pending, true},
		{"result of a check that is up", d.Scripts[3].Result, 4},
		{"a check is shown as a script", d.Scripts[3].Command.Argv[0], "tcp 192.0.2.1:80"},
		{"processes that run", d.Processes[0].Current, 3},
		{"enough of them", d.Processes[0].HaveQuorum, true},
	} {
		if list, ok := tt.want.([]legacy.Reference); ok {
			if got := tt.got.([]legacy.Reference); len(got) != len(list) || got[0] != list[0] {
				t.Errorf("%s: %v, want %v", tt.name, got, list)
			}
			continue
		}
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestTheDocumentDoesNotHoldThePassword(t *testing.T) {
	d := testDocument()
	var b strings.Builder
	if err := legacy.WriteData(&b, d); err != nil {
		t.Fatal(err)
	}
	if err := legacy.WriteJSON(&b, d, 2); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "secret") || strings.Count(b.String(), "********") != 2 {
		t.Errorf("the password is not masked:\n%s", &b)
	}
}

// TestEveryDropIsCountedOrKnownNotToBe has a new check of packets thought about.
func TestEveryDropIsCountedOrKnownNotToBe(t *testing.T) {
	uncounted := map[vrrpconn.Drop]bool{ // in keepalived either
		vrrpconn.Truncated: true, vrrpconn.WrongVRID: true, vrrpconn.WrongVersion: true, vrrpconn.BadChecksum: true,
	}
	for drop := vrrpconn.Drop(1); drop < vrrpconn.NumDrops; drop++ {
		got := legacyStatistics(control.Counters{Drops: map[string]uint64{strings.ReplaceAll(drop.String(), " ", "_"): 7}})
		if counted := got != (legacy.Statistics{}); counted == uncounted[drop] {
			t.Errorf("%v: %+v", drop, got)
		}
	}
}
