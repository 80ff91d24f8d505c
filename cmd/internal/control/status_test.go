package control

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// -update is how to accept a change of the golden file. A change that is not an
// addition breaks readers.
var update = flag.Bool("update", false, "write the golden files")

// fullStatus returns a document in which every field has a value.
func fullStatus() Status {
	at := func(ms int) time.Time {
		return time.Date(2026, 11, 21, 3, 17, 18, ms*1e6, time.FixedZone("", 3600))
	}
	return Status{
		Time: at(250),
		Daemon: Daemon{
			Version: "1.2.3", PID: 812, Host: "lb1", RouterID: "web-a", Started: at(0),
			ConfigFile: "/etc/vipd/vipd.yaml", RunDir: "/run/vipd", Degraded: true, Reasons: []string{"a reason"},
			Reload: &Reload{
				At: at(15), DryRun: true, ConfigFile: "/etc/vipd/vipd.yaml", Applied: true, Error: "an error",
				Changes: []string{"VI_1: priority 100 -> 150"}, Diagnostics: []string{"a warning"},
			},
			Gaps: Gaps{Count: 1, Longest: Seconds(4 * time.Second), Last: at(16)},
		},
		Instances: []Instance{{
			Name: "VI_1", Interface: "eth0", VRID: 51, Family: FamilyIPv4, Version: 3,
			State: StateBackup, Since: at(1), Reason: Reason{Kind: "startup", Text: "started"},
			Priority: 90, BasePriority: 100, Want: StateMaster, Owner: true,
			AdvertInterval: Seconds(100 * time.Millisecond), Preempt: true, PreemptDelay: Seconds(30 * time.Second),
			SourceAddress: netip.MustParseAddr("192.0.2.1"), Peers: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
			Master: &Master{Self: true, Address: netip.MustParseAddr("192.0.2.2"), Priority: 150, Interval: Seconds(time.Second), LastHeard: at(2)},
			Timers: Timers{MasterDownAt: at(3), AdvertAt: at(4), PreemptAt: at(5)},
			Addresses: []Address{{
				Address: netip.MustParsePrefix("192.0.2.10/24"), Interface: "eth0", Label: "eth0:1",
				Advertised: true, Present: true, Error: "an error", Lease: Seconds(2500 * time.Millisecond),
			}},
			Degraded: true, DegradedText: "a text",
			Faults:     []Fault{{Kind: "interface-down", Name: "eth0", Text: "interface eth0 is down", Since: at(6), Hint: "a hint"}},
			Mismatches: []Mismatch{{Peer: netip.MustParseAddr("fe80::3"), Text: "a mismatch", Since: at(7)}},
			Counters: Counters{
				Received: 1, Sent: 2, BecomeMaster: 3, ReleaseMaster: 4, PriorityZeroReceived: 5, PriorityZeroSent: 6,
				Drops: map[string]uint64{"bad-checksum": 7}, SocketDrops: 8, UnknownVRID: 9, SendErrors: 10, AnnouncementsSent: 11, Restored: 2,
				LeaseExpired: 12, Resumed: 13, HandedOver: 14, Contested: 15, Gaps: 16,
			},
			History:   []Transition{{At: at(8), From: StateInit, To: StateBackup, Reason: Reason{Kind: "startup", Text: "started"}}},
			SyncGroup: "VG_1",
			Tracks: []Track{{
				Kind: KindScript, Name: "chk_haproxy", Weight: -10, Reverse: true, Group: "VG_1", State: CheckDown, Since: at(9),
				Value: new(5), Delta: -10, Fault: true, Pending: true, Detail: "exit code 1",
			}},
			Arithmetic:    "100 − 10 (chk_haproxy failing since 03:17:18) = 90",
			Pending:       []string{"chk_db"},
			Notifications: []Notification{fullNotification(at(10))},
			Advice:        []string{"an advice"},
			Contested: []Rival{{
				Address: netip.MustParseAddr("192.0.2.3"), Priority: 120, MAC: "02:00:00:00:00:03", VIP: netip.MustParseAddr("192.0.2.10"),
				Since: at(17), LastHeard: at(18),
			}},
			Lease:       &Lease{Length: Seconds(3 * time.Second), Overlap: Seconds(500 * time.Millisecond), Off: "a reason"},
			HandingOver: true, Yielded: true,
			Held:   &Held{Peer: netip.MustParseAddr("192.0.2.4"), Until: at(19)},
			Gaps:   Gaps{Count: 2, Longest: Seconds(5 * time.Second), Last: at(20)},
			Events: []Event{{At: at(21), Kind: EventContested, Text: "192.0.2.3, with priority 120, is master too"}},
		}},
		SyncGroups: []SyncGroup{{
			Name: "VG_1", State: StateFault, Since: at(11), Reason: Reason{Kind: "fault", Text: "VI_2: interface eth1 is down"},
			Members: []string{"VI_1", "VI_2"}, Notifications: []Notification{fullNotification(at(12))},
		}},
		Checks: []Check{{
			Name: "chk_haproxy", Kind: KindScript, State: CheckDown, Since: at(13), Value: new(7), Detail: "exit code 1",
			Unrunnable: "it is not executable", Hint: "chmod +x", Command: []string{"/usr/bin/killall", "-0", "haproxy"}, User: "nobody",
			What: "http https://192.0.2.1/", Mechanism: "scan of /proc every 1s",
			Interval: Seconds(2 * time.Second), Timeout: Seconds(1500 * time.Millisecond), Rise: 1, Fall: 2, Streak: 3,
			Runs: 4, Failures: 5, Timeouts: 6, Skipped: 7,
			Last: &Attempt{
				Started: at(14), Duration: Seconds(12 * time.Millisecond), OK: true, Detail: "exit code 1",
				Exit: new(1), Signal: "SIGTERM", Output: "haproxy: no process found\n",
			},
			RunningSince: at(15), UsedBy: []string{"VI_1"},
		}},
	}
}

// fullNotification returns a notification in which every field has a value.
func fullNotification(at time.Time) Notification {
	return Notification{
		At: at, State: "MASTER", Command: []string{"/etc/vipd/promote.sh", "db1"}, User: "postgres",
		Exit: new(2), Signal: "SIGKILL", Duration: Seconds(40 * time.Millisecond),
		TimedOut: true, Skipped: true, Running: true, Detail: "exit code 2", Output: "no such database\n",
	}
}

// assertFilled fails for every field of v that is zero: a field that this test
// does not set would not be in the golden file either.
func assertFilled(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch {
	case v.IsZero():
		t.Errorf("%s is not set in fullStatus", path)
	case v.Type() == reflect.TypeFor[time.Time](), v.Type() == reflect.TypeFor[netip.Addr](), v.Type() == reflect.TypeFor[netip.Prefix]():
	case v.Kind() == reflect.Pointer:
		assertFilled(t, path, v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			assertFilled(t, path+"[]", v.Index(i))
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			assertFilled(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
}

func TestTheDocumentKeepsItsNames(t *testing.T) {
	want := fullStatus()
	assertFilled(t, "Status", reflect.ValueOf(want))
	got, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const file = "testdata/status.json"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, golden) {
		t.Errorf("the document differs from %s (go test -update accepts it)\n--- got\n%s--- want\n%s", file, got, golden)
	}
	dec := json.NewDecoder(bytes.NewReader(golden))
	dec.DisallowUnknownFields()
	var back Status
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if !back.Time.Equal(want.Time) {
		t.Errorf("the time comes back as %s, want %s", back.Time, want.Time)
	}
	again, err := json.MarshalIndent(back, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(again, '\n'), golden) {
		t.Errorf("read and written again, the document is\n%s", again)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	for name, v := range map[string]any{
		"empty status":   Status{},
		"empty instance": Status{Instances: make([]Instance, 1)},
		"empty group":    Status{SyncGroups: make([]SyncGroup, 1)},
		"empty check":    Status{Checks: make([]Check, 1)},
		"empty notifications": Status{
			Instances:  []Instance{{Notifications: make([]Notification, 1)}},
			SyncGroups: []SyncGroup{{Notifications: make([]Notification, 1)}},
		},
		"pointer":           &Status{Instances: make([]Instance, 1)},
		"a group by itself": SyncGroup{},
		"a run":             CheckRun{Environment: &Environment{}},
		"a check by itself": Check{},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		// Only the master may be null.
		if s := strings.ReplaceAll(string(b), `"master":null`, ""); strings.Contains(s, "null") {
			t.Errorf("%s has a null in it: %s", name, s)
		}
	}
}

func TestTimersThatDoNotRunAreAbsent(t *testing.T) {
	b, err := json.Marshal(Timers{AdvertAt: time.Unix(1, 5).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"advert_at":"1970-01-01T00:00:01.000000005Z"}`; got != want {
		t.Errorf("timers are %s, want %s", got, want)
	}
}

func TestSecondsAreExactNumbers(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		json string
	}{
		{0, "0"},
		{1, "0.000000001"},
		{10 * time.Millisecond, "0.01"},
		{100 * time.Millisecond, "0.1"},
		{time.Second, "1"},
		{40950 * time.Millisecond, "40.95"},
		{100 * time.Second, "100"},
		{-1500 * time.Millisecond, "-1.5"},
		{-1, "-0.000000001"},
		{math.MaxInt64, "9223372036.854775807"},
		{math.MinInt64, "-9223372036.854775808"},
	} {
		b, err := json.Marshal(Seconds(tt.d))
		if err != nil || string(b) != tt.json {
			t.Errorf("%s is written as %s (%v), want %s", tt.d, b, err, tt.json)
		}
		var back Seconds
		if err := json.Unmarshal(b, &back); err != nil || back.Duration() != tt.d {
			t.Errorf("%s is read as %s (%v), want %s", b, back, err, tt.d)
		}
	}
}

func TestSecondsReadWhatOthersWrite(t *testing.T) {
	for _, tt := range []struct {
		json string
		want time.Duration
		ok   bool
	}{
		{"1.0", time.Second, true},
		{"1e-1", 100 * time.Millisecond, true},
		{"2.5E1", 25 * time.Second, true},
		{"null", 7, true},
		{"1e300", 7, false},
		{"-1e10", 7, false},
		{"10000000000", 7, false},
		{`"1s"`, 7, false},
		{"true", 7, false},
	} {
		got := Seconds(7)
		err := json.Unmarshal([]byte(tt.json), &got)
		if (err == nil) != tt.ok || got.Duration() != tt.want {
			t.Errorf("%s is read as %d (%v), want %d and an error: %t", tt.json, got, err, tt.want, !tt.ok)
		}
	}
}

func FuzzSecondsSurviveWritingAndReading(f *testing.F) {
	f.Add(int64(0))
	f.Add(int64(math.MinInt64))
	f.Add(int64(1_000_000_001))
	f.Fuzz(func(t *testing.T, n int64) {
		b, err := json.Marshal(Seconds(n))
		if err != nil {
			t.Fatal(err)
		}
		var back Seconds
		if err := json.Unmarshal(b, &back); err != nil || int64(back) != n {
			t.Errorf("%d is written as %s and read as %d (%v)", n, b, back, err)
		}
	})
}
