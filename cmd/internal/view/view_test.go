package view

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
)

// -update is how to accept a change of the golden files.
var update = flag.Bool("update", false, "write the golden files")

// now is the moment at which every golden file is looked at.
func now() time.Time { return time.Date(2026, 11, 21, 3, 17, 18, 250e6, time.UTC) }

func ago(d time.Duration) time.Time { return now().Add(-d) }

func daemon() control.Daemon {
	return control.Daemon{
		Version: "1.2.3", PID: 812, Host: "lb1", Started: ago(76*time.Hour + 12*time.Minute),
		ConfigFile: "/etc/vipd/vipd.yaml", RunDir: "/run/vipd",
	}
}

func master() control.Instance {
	return control.Instance{
		Name: "VI_1", Interface: "eth0.100", VRID: 51, Family: control.FamilyIPv4, Version: 3,
		State: control.StateMaster, Since: ago(3*time.Hour + 12*time.Minute + 5*time.Second),
		Reason:   control.Reason{Kind: "master-silent", Text: "master 192.0.2.2 (priority 100) silent for 3.609s"},
		Priority: 150, BasePriority: 150, Want: control.StateMaster,
		AdvertInterval: control.Seconds(time.Second), Preempt: true,
		SourceAddress: netip.MustParseAddr("192.0.2.1"),
		Master:        &control.Master{Self: true, Address: netip.MustParseAddr("192.0.2.1"), Priority: 150, Interval: control.Seconds(time.Second)},
		Timers:        control.Timers{AdvertAt: now().Add(400 * time.Millisecond)},
		Addresses: []control.Address{
			{Address: netip.MustParsePrefix("192.0.2.10/24"), Interface: "eth0.100", Advertised: true, Present: true},
			{Address: netip.MustParsePrefix("192.0.2.11/32"), Interface: "eth0.100", Label: "eth0.100:1", Advertised: true, Present: true},
			{Address: netip.MustParsePrefix("198.51.100.7/32"), Interface: "eth1", Present: true},
		},
		Counters: control.Counters{Received: 12, Sent: 11525, BecomeMaster: 2, ReleaseMaster: 1, AnnouncementsSent: 30, Drops: map[string]uint64{"bad-checksum": 0}},
		History: []control.Transition{
			{At: ago(76 * time.Hour), From: control.StateInit, To: control.StateBackup, Reason: control.Reason{Kind: "startup", Text: "started"}},
			{At: ago(75 * time.Hour), From: control.StateBackup, To: control.StateMaster, Reason: control.Reason{Kind: "preempt", Text: "preempts 192.0.2.2: its priority is 100, ours is 150"}},
			{At: ago(4 * time.Hour), From: control.StateMaster, To: control.StateBackup, Reason: control.Reason{Kind: "higher-priority", Text: "192.0.2.2 has the higher priority: 200, ours is 150"}},
			{At: ago(3*time.Hour + 12*time.Minute + 5*time.Second), From: control.StateBackup, To: control.StateMaster, Reason: control.Reason{Kind: "master-silent", Text: "master 192.0.2.2 (priority 100) silent for 3.609s"}},
		},
	}
}

func backup() control.Instance {
	return control.Instance{
		Name: "VI_6", Interface: "eth0.100", VRID: 52, Family: control.FamilyIPv6, Version: 3,
		State: control.StateBackup, Since: ago(20 * time.Second),
		Reason:   control.Reason{Kind: "higher-priority", Text: "fe80::2 has the higher priority: 150, ours is 100"},
		Priority: 80, BasePriority: 100, Want: control.StateBackup,
		AdvertInterval: control.Seconds(100 * time.Millisecond), Preempt: false,
		SourceAddress: netip.MustParseAddr("fe80::1"),
		Master:        &control.Master{Address: netip.MustParseAddr("fe80::2"), Priority: 150, Interval: control.Seconds(100 * time.Millisecond), LastHeard: ago(42 * time.Millisecond)},
		Timers:        control.Timers{MasterDownAt: now().Add(318 * time.Millisecond)},
		Addresses: []control.Address{
			{Address: netip.MustParsePrefix("2001:db8::10/128"), Interface: "eth0.100", Advertised: true},
		},
		Counters: control.Counters{Received: 200},
	}
}

func degraded() control.Instance {
	in := master()
	in.Name, in.Since, in.History = "VI_DEGRADED", ago(40*time.Second), nil
	in.Degraded, in.DegradedText = true, "1 of 3 addresses is missing; vipd keeps trying to add it"
	in.Addresses[2].Present, in.Addresses[2].Error = false, "netif: adding 198.51.100.7/32 on eth1: no such device"
	in.Mismatches = []control.Mismatch{{
		Peer: netip.MustParseAddr("192.0.2.3"), Since: ago(90 * time.Second),
		Text: "it advertises an interval of 2s, this node is configured for 1s (advert_int); its advertisements are refused",
	}}
	in.Counters.PriorityZeroReceived = 1
	in.Counters.Drops = map[string]uint64{"wrong-ttl": 2, "bad-checksum": 10, "auth-failed": 0}
	in.Counters.SocketDrops, in.Counters.UnknownVRID, in.Counters.SendErrors = 3, 4, 5
	return in
}

func faulty() control.Instance {
	return control.Instance{
		Name: "VI_FAULT", Interface: "eth2", VRID: 7, Family: control.FamilyIPv4, Version: 2,
		State: control.StateFault, Since: ago(17 * time.Minute),
		Reason:   control.Reason{Kind: "fault", Text: "interface eth2 is down"},
		Priority: 100, BasePriority: 100, Want: control.StateBackup,
		AdvertInterval: control.Seconds(time.Second), Preempt: true, PreemptDelay: control.Seconds(30 * time.Second),
		Addresses: []control.Address{{Address: netip.MustParsePrefix("203.0.113.9/32"), Interface: "eth2", Advertised: true, Present: true}},
		Faults: []control.Fault{
			{Kind: "interface-down", Name: "eth2", Text: "interface eth2 is down", Since: ago(17 * time.Minute)},
			{Kind: "check", Name: "chk_haproxy", Text: "check chk_haproxy fails (exit code 1)", Since: ago(5 * time.Minute), Hint: "systemctl status haproxy"},
		},
	}
}

func owner() control.Instance {
	in := master()
	in.Name, in.State, in.Owner, in.Priority, in.BasePriority = "VI_OWNER", control.StateBackup, true, 255, 255
	in.Addresses, in.History, in.Master, in.Timers = in.Addresses[:1], nil, nil, control.Timers{PreemptAt: now().Add(12 * time.Second)}
	in.Peers = []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	return in
}

// lateContest returns a master that has not heard its rivals for a moment.
func lateContest() control.Instance {
	in := contestedMaster()
	in.Contested[0].LastHeard = ago(in.AdvertInterval.Duration() * 2)
	in.Contested[2].LastHeard = ago(4 * time.Second)
	return in
}

// contestedMaster returns one that two others contest, one of which is only seen
// to answer for an address.
func contestedMaster() control.Instance {
	in := master()
	in.Name = "VI_CONTESTED"
	in.Contested = []control.Rival{
		{Address: netip.MustParseAddr("192.0.2.2"), Priority: 100, MAC: "02:00:00:00:00:02", VIP: netip.MustParseAddr("192.0.2.10"), Since: ago(12 * time.Second), LastHeard: ago(300 * time.Millisecond)},
		{MAC: "02:00:00:00:00:02", VIP: netip.MustParseAddr("192.0.2.11"), Since: ago(12 * time.Second), LastHeard: ago(time.Second)}, // the same one
		{MAC: "02:00:00:00:00:99", VIP: netip.MustParseAddr("192.0.2.11"), Since: ago(2 * time.Second), LastHeard: ago(time.Second)},
	}
	in.Lease = &control.Lease{Length: control.Seconds(3 * time.Second), Overlap: control.Seconds(500 * time.Millisecond)}
	for i := range in.Addresses {
		in.Addresses[i].Lease = control.Seconds(2600 * time.Millisecond)
	}
	in.Gaps = control.Gaps{Count: 2, Longest: control.Seconds(4200 * time.Millisecond), Last: ago(3 * time.Minute)}
	in.Counters.LeaseExpired, in.Counters.Resumed, in.Counters.HandedOver, in.Counters.Contested, in.Counters.Restored = 2, 1, 3, 4, 1
	for i, e := range []control.Event{
		{Kind: control.EventHeld, Text: "too long ago to be shown"},
		{Kind: control.EventResumed, Text: "goes on as master after a restart"},
		{Kind: control.EventAddressRestored, Text: "192.0.2.10/24 was removed by something else on this host, and put back"},
		{Kind: control.EventLeaseExpired, Text: "was not alive for so long that the kernel removed 192.0.2.10"},
		{Kind: control.EventGap, Text: "did not run for 4.2s"},
		{Kind: control.EventNobodyTookOver},
		{Kind: control.EventContested, Text: "192.0.2.2, with priority 100, is master too"},
	} {
		e.At = ago(time.Duration(70-10*i) * time.Second)
		in.Events = append(in.Events, e)
	}
	return in
}

// handingOver returns one whose mastership another one takes over.
func handingOver() control.Instance {
	in := master()
	in.Name, in.History, in.HandingOver, in.Yielded = "VI 2", nil, true, true
	in.Lease = &control.Lease{Length: control.Seconds(2 * time.Second)}
	return in
}

// yielded returns a backup that keeps what it has for a moment yet.
func yielded() control.Instance {
	in := backup()
	in.Name, in.HandingOver, in.Yielded = "VI_YIELDED", true, true
	in.Addresses[0].Present = true
	in.Lease = &control.Lease{Off: "vip_lease is off"}
	return in
}

// held returns one that would take over if the master were none.
func held() control.Instance {
	in := backup()
	in.Name = "VI_HELD"
	in.Held = &control.Held{Peer: netip.MustParseAddr("fe80::2"), Until: now().Add(2800 * time.Millisecond)}
	in.Mismatches = []control.Mismatch{{Peer: netip.MustParseAddr("fe80::2"), Text: "it advertises 2001:db8::11, which this node does not have"}}
	in.Lease = &control.Lease{Length: control.Seconds(time.Second), Overlap: control.Seconds(1100 * time.Millisecond), Off: "150 IPv6 addresses on eth0.100 have none"}
	in.Gaps = control.Gaps{Count: 1, Longest: control.Seconds(90 * time.Second), Last: ago(50 * time.Hour)}
	return in
}

// heldAlone returns one that understands nobody, and is told in detail.
func heldAlone() control.Instance {
	in := held()
	in.Name, in.Master = "VI_HELD_2", nil
	return in
}

// robbed returns a master that a host contests which is no router.
func robbed() control.Instance {
	in := master()
	in.Name, in.History = "VI_ROBBED", nil
	in.Contested = []control.Rival{{MAC: "02:00:00:00:00:99", VIP: netip.MustParseAddr("192.0.2.11"), Since: ago(2 * time.Second), LastHeard: ago(time.Second)}}
	in.Lease = &control.Lease{Off: "IPv4 addresses on eth0.100 get none, as promote_secondaries is off there and cannot be set (read-only file system)"}
	return in
}

func many(n int) []control.Instance {
	ins := make([]control.Instance, n)
	for i := range ins {
		ins[i] = backup()
		ins[i].Name = fmt.Sprintf("VI_%02d", i+1)
		ins[i].VRID = uint8(i + 1)
	}
	ins[3] = faulty()
	return ins
}

func crowded() control.Instance {
	in := master()
	in.Addresses, in.History = nil, nil
	for i := range 300 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)})
		in.Addresses = append(in.Addresses, control.Address{Address: netip.PrefixFrom(a, 32), Interface: "eth0.100", Advertised: i < 255, Present: i != 299})
	}
	return in
}

func TestStatusReadsAsInTheGoldenFiles(t *testing.T) {
	sick := daemon()
	sick.Degraded, sick.Reasons = true, []string{"the clock jumped; see the log", "instance VI_9 was left out: auth_type AH is not implemented"}
	hostile := backup()
	hostile.Name, hostile.Reason.Text = "VI_\x1b[2J", "line\nfeed \x1b]0;title\x07 \xff and \u202e"

	paused := daemon()
	paused.RunDir, paused.Gaps = "/run/other", control.Gaps{Count: 1, Longest: control.Seconds(31 * time.Second), Last: ago(4 * time.Hour)}

	tests := []struct {
		name string
		s    control.Status
		o    Options
	}{
		{"a contested master", control.Status{Daemon: paused, Instances: []control.Instance{contestedMaster()}}, Options{}},
		{"who has the addresses when", control.Status{Daemon: paused, Instances: []control.Instance{contestedMaster(), robbed(), handingOver(), yielded(), held(), heldAlone()}}, Options{}},
		{"a contest that may be over", control.Status{Daemon: daemon(), Instances: []control.Instance{lateContest()}}, Options{}},
		{"a contested master in colour", control.Status{Daemon: daemon(), Instances: []control.Instance{contestedMaster(), yielded()}}, Options{Color: true}},
		{"a contested master on a narrow terminal", control.Status{Daemon: daemon(), Instances: []control.Instance{contestedMaster()}}, Options{Width: 72}},
		{"no instance", control.Status{Daemon: daemon()}, Options{}},
		{"one master", control.Status{Daemon: daemon(), Instances: []control.Instance{master()}}, Options{}},
		{"one master in colour", control.Status{Daemon: daemon(), Instances: []control.Instance{master()}}, Options{Color: true}},
		{"one backup", control.Status{Daemon: daemon(), Instances: []control.Instance{backup()}}, Options{}},
		{"an owner that waits", control.Status{Daemon: daemon(), Instances: []control.Instance{owner()}}, Options{}},
		{"trouble of every kind", control.Status{Daemon: sick, Instances: []control.Instance{master(), backup(), degraded(), faulty()}}, Options{}},
		{"trouble of every kind in colour", control.Status{Daemon: sick, Instances: []control.Instance{degraded(), faulty()}}, Options{Color: true}},
		{"a narrow terminal", control.Status{Daemon: sick, Instances: []control.Instance{degraded()}}, Options{Width: 60}},
		{"many instances show only those in trouble", control.Status{Daemon: daemon(), Instances: many(10)}, Options{}},
		{"hundreds of addresses", control.Status{Daemon: daemon(), Instances: []control.Instance{crowded()}}, Options{}},
		{"text that attacks the terminal", control.Status{Daemon: daemon(), Instances: []control.Instance{hostile}}, Options{}},
		{"a document with nothing in it", control.Status{Instances: make([]control.Instance, 1)}, Options{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.o.Now = now()
			if err := RenderStatus(&b, tt.s, tt.o); err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, b.String(), tt.o)
		})
	}
}

// golden compares what was shown with its golden file, and with what holds for
// everything that is shown.
func golden(t *testing.T, name, got string, o Options) {
	t.Helper()
	file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
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
		t.Errorf("%s differs; go test -update accepts it\n--- got\n%s--- want\n%s", file, got, want)
	}
	if strings.Contains(got, "\x1b") != o.Color {
		t.Errorf("escape sequences in the output: %t, want %t", !o.Color, o.Color)
	}
	if !utf8.ValidString(got) {
		t.Error("the output is not UTF-8")
	}
	for line := range strings.Lines(got) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); o.Width > 0 && n > o.Width {
			t.Errorf("a line has %d columns, the terminal %d: %q", n, o.Width, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("a line ends in blanks: %q", line)
		}
	}
}

func TestColourChangesNothingButTheColour(t *testing.T) {
	s := control.Status{Daemon: daemon(), Instances: []control.Instance{master(), degraded(), faulty()}}
	var with, without bytes.Buffer
	if err := RenderStatus(&with, s, Options{Now: now(), Color: true, Width: 80}); err != nil {
		t.Fatal(err)
	}
	if err := RenderStatus(&without, s, Options{Now: now(), Width: 80}); err != nil {
		t.Fatal(err)
	}
	var stripped strings.Builder
	for i, part := range strings.Split(with.String(), "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		stripped.WriteString(part)
	}
	if got, want := stripped.String(), without.String(); got != want {
		t.Errorf("without its colours the output is\n%swant\n%s", got, want)
	}
}

func TestAllShowsEveryInstanceInFull(t *testing.T) {
	s := control.Status{Daemon: daemon(), Instances: many(10)}
	for _, tt := range []struct {
		all  bool
		want int
	}{{false, 1}, {true, 10}} {
		var b bytes.Buffer
		if err := RenderStatus(&b, s, Options{Now: now(), All: tt.all}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(b.String(), "\n  why "); got != tt.want {
			t.Errorf("with All %t, %d instances are shown in full, want %d", tt.all, got, tt.want)
		}
	}
}

func TestAWriteErrorIsReturned(t *testing.T) {
	boom := errors.New("boom")
	if err := RenderStatus(writerFunc(func([]byte) (int, error) { return 0, boom }), control.Status{}, Options{}); !errors.Is(err, boom) {
		t.Errorf("error is %v, want %v", err, boom)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAFileThatIsNoTerminalGetsNeitherColourNorWidth(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	if got := Terminal(f); got != (Options{}) {
		t.Errorf("options are %+v, want none", got)
	}
}

func TestATerminalGetsItsWidthAndColourUnlessRefused(t *testing.T) {
	tty := terminal(t, 132)
	for _, tt := range []struct {
		name, noColor, term string
		want                bool
	}{
		{"an ordinary terminal", "", "xterm-256color", true},
		{"NO_COLOR is set", "1", "xterm-256color", false},
		{"the terminal is dumb", "", "dumb", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", tt.noColor)
			t.Setenv("TERM", tt.term)
			if got, want := Terminal(tty), (Options{Color: tt.want, Width: 132}); got != want {
				t.Errorf("options are %+v, want %+v", got, want)
			}
		})
	}
}

// terminal returns the terminal end of a new pseudo-terminal.
func terminal(t *testing.T, columns uint16) *os.File {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ptmx.Close() })
	fd := int(ptmx.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty
}

func TestTimesAreReadable(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"},
		{42 * time.Microsecond, "42µs"},
		{42700 * time.Microsecond, "43ms"},
		{1234567890, "1.23s"},
		{59 * time.Second, "59s"},
		{3*time.Minute + 4*time.Second, "3m04s"},
		{23*time.Hour + 59*time.Minute + 59*time.Second, "23h59m"},
		{49 * time.Hour, "2d01h"},
		{400 * 24 * time.Hour, "400d00h"},
	} {
		if got := age(tt.d); got != tt.want {
			t.Errorf("age(%d) = %q, want %q", tt.d, got, tt.want)
		}
	}
}
