package view

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
)

// script returns a script that has failed for five minutes.
func script() control.Check {
	return control.Check{
		Name: "chk_haproxy", Kind: control.KindScript, State: control.CheckDown, Since: ago(5 * time.Minute), Detail: "exit code 1",
		Command: []string{"/usr/bin/killall", "-0", "haproxy"}, User: "root",
		Interval: control.Seconds(2 * time.Second), Timeout: control.Seconds(1500 * time.Millisecond), Rise: 1, Fall: 2,
		Streak: 150, Runs: 4000, Failures: 151, Timeouts: 1, Skipped: 2,
		Last: &control.Attempt{
			Started: ago(1200 * time.Millisecond), Duration: control.Seconds(12 * time.Millisecond), Detail: "exit code 1",
			Exit: new(1), Output: "haproxy: no process found\n",
		},
		UsedBy: []string{"VI_1"},
	}
}

// web returns a built-in check that succeeds.
func web() control.Check {
	return control.Check{
		Name: "web", Kind: control.KindCheck, State: control.CheckUp, Since: ago(70 * time.Hour), Detail: "status 200",
		What: "http https://192.0.2.80/healthz", Interval: control.Seconds(time.Second), Timeout: control.Seconds(time.Second), Rise: 2, Fall: 3,
		Streak: 9000, Runs: 9000,
		Last:   &control.Attempt{Started: ago(800 * time.Millisecond), Duration: control.Seconds(4 * time.Millisecond), OK: true, Detail: "status 200"},
		UsedBy: []string{"VI_1", "VI_6"},
	}
}

// file returns a file with a number in it.
func file() control.Check {
	return control.Check{
		Name: "load", Kind: control.KindFile, State: control.CheckUp, Since: ago(time.Hour), Value: new(-5), What: "/run/load",
		UsedBy: []string{"VI_1"},
	}
}

// process returns a process of which there are too few.
func process() control.Check {
	return control.Check{
		Name: "nginx", Kind: control.KindProcess, State: control.CheckDown, Since: ago(40 * time.Second),
		Detail: "2 processes, at least 3 needed", Command: []string{"nginx", "-g", "daemon off;"}, Mechanism: "scan of /proc every 1s",
		UsedBy: []string{"VI_1"},
	}
}

// unrunnable returns a script that cannot be run.
func unrunnable() control.Check {
	return control.Check{
		Name: "chk_db", Kind: control.KindScript, State: control.CheckDown, Since: ago(time.Minute),
		Unrunnable: "/etc/vipd/chk_db.sh is not executable", Hint: "chmod +x /etc/vipd/chk_db.sh",
		Command: []string{"/etc/vipd/chk_db.sh", "--db", "my db"}, User: "postgres",
		Interval: control.Seconds(time.Second), Timeout: control.Seconds(time.Second), Rise: 1, Fall: 1, UsedBy: []string{"VI_1"},
		Streak: 60, Runs: 60, Failures: 60, Last: &control.Attempt{Started: ago(time.Second), Detail: "/etc/vipd/chk_db.sh is not executable"},
	}
}

func track(c control.Check, weight, delta int) control.Track {
	return control.Track{
		Kind: c.Kind, Name: c.Name, Weight: weight, State: c.State, Since: c.Since, Value: c.Value, Delta: delta, Detail: c.Detail,
	}
}

// weighed returns a backup whose tracked objects count.
func weighed(base uint8, tracks ...control.Track) control.Instance {
	in := backup()
	in.Name, in.BasePriority, in.Tracks = "VI_1", base, tracks
	sum := int(base)
	for _, t := range tracks {
		sum += t.Delta
	}
	in.Priority = uint8(max(1, min(sum, 254)))
	in.Arithmetic = control.Arithmetic(in.BasePriority, in.Priority, in.Tracks, now())
	return in
}

// notified returns a master with notify scripts that ended in every way.
func notified() control.Instance {
	in := master()
	in.History = nil
	run := func(before time.Duration, state string, n control.Notification) control.Notification {
		n.At, n.State = ago(before), state
		if n.Command == nil {
			n.Command = []string{"/etc/vipd/promote.sh", "db 1"}
		}
		return n
	}
	in.Notifications = []control.Notification{
		run(5*time.Hour, "BACKUP", control.Notification{Exit: new(3), Duration: control.Seconds(40 * time.Millisecond), User: "postgres", Output: "promoting\nno such database\n"}),
		run(4*time.Hour, "MASTER", control.Notification{Signal: "SIGSEGV", Duration: control.Seconds(time.Second)}),
		run(4*time.Hour-time.Second, "MASTER", control.Notification{Detail: "/etc/vipd/promote.sh is not executable"}),
		run(3*time.Hour, "BACKUP", control.Notification{TimedOut: true, Detail: "killed by SIGKILL", Signal: "SIGKILL", Duration: control.Seconds(32 * time.Second)}),
		run(2*time.Hour, "FAULT", control.Notification{Skipped: true}),
		run(time.Hour, "BACKUP", control.Notification{Exit: new(0), Duration: control.Seconds(12 * time.Millisecond)}),
		run(45*time.Second, "MASTER", control.Notification{Running: true, TimedOut: true}),
		run(3*time.Second, "MASTER", control.Notification{Running: true, Command: []string{"/etc/vipd/any.sh", "INSTANCE", "VI_1", "MASTER", "150"}}),
	}
	return in
}

// grouped returns a sync group that is in fault through its second member.
func grouped() control.Status {
	a, b := backup(), faulty()
	a.Name, a.State, a.SyncGroup, a.Since = "VI_1", control.StateFault, "VG_1", ago(17*time.Minute)
	a.Reason = control.Reason{Kind: "fault", Text: "VI_2 of the sync group VG_1 is in fault"}
	a.Faults = []control.Fault{{Kind: "sync-group", Name: "VI_2", Text: "VI_2 of the sync group VG_1 is in fault", Since: ago(17 * time.Minute)}}
	b.Name, b.SyncGroup, b.Faults = "VI_2", "VG_1", b.Faults[:1]
	c := backup()
	c.Name, c.SyncGroup, c.State, c.Pending = "VI_3", "VG_2", control.StateInit, []string{"chk_db"}
	d := backup()
	d.Name, d.SyncGroup = "VI_4", "VG_2"
	return control.Status{
		Daemon:    daemon(),
		Instances: []control.Instance{a, b, c, d},
		SyncGroups: []control.SyncGroup{
			{
				Name: "VG_1", State: control.StateFault, Since: ago(17 * time.Minute), Members: []string{"VI_1", "VI_2"},
				Reason: control.Reason{Kind: "fault", Text: "VI_2: interface eth2 is down"},
				Notifications: []control.Notification{{
					At: ago(17 * time.Minute), State: "FAULT", Exit: new(0), Duration: control.Seconds(time.Second),
					Command: []string{"/etc/vipd/group.sh", "GROUP", "VG_1", "FAULT", "0"},
				}},
			},
			{Name: "VG_2", State: control.StateInit, Since: ago(time.Second), Members: []string{"VI_3", "VI_4", "VI_NOT_ASKED_FOR"}},
			{Name: "VG_3"},
		},
	}
}

// hundreds returns n scripts of which some fail.
func hundreds(n int) []control.Check {
	cs := make([]control.Check, n)
	for i := range cs {
		cs[i] = web()
		if i%20 == 3 {
			cs[i] = script()
		}
		cs[i].Name = fmt.Sprintf("chk_%03d", i)
	}
	return cs
}

func TestChecksReadAsInTheGoldenFiles(t *testing.T) {
	one := func(in control.Instance, cs ...control.Check) control.Status {
		return control.Status{Daemon: daemon(), Instances: []control.Instance{in}, Checks: cs}
	}
	weightless := faulty()
	weightless.Tracks = []control.Track{track(script(), 0, 0)}
	weightless.Tracks[0].Fault = true
	pending := backup()
	pending.State, pending.Reason = control.StateInit, control.Reason{Kind: "startup", Text: "started"}
	pending.Pending = []string{"chk_haproxy", "chk_db"}
	pending.Tracks = []control.Track{{Kind: control.KindScript, Name: "chk_haproxy", State: control.CheckUnknown, Pending: true}}
	unknown := script()
	unknown.State, unknown.Since, unknown.Detail, unknown.Last, unknown.Streak, unknown.Runs, unknown.Failures = control.CheckUnknown, time.Time{}, "", nil, 0, 0, 0
	started := unknown
	started.RunningSince, started.Timeout, started.Skipped = ago(3*time.Second), control.Seconds(10*time.Second), 1
	stuck := script()
	stuck.RunningSince = ago(24 * time.Hour)
	brief := web()
	brief.RunningSince = ago(time.Millisecond)
	idle := weighed(150, track(script(), -20, -20))
	idle.Advice = []string{"even with all checks failing this node's priority (130) is above 192.0.2.2's (100): raise the weights, or the failing node stays master"}
	ignored := unrunnable()
	ignored.Name, ignored.State, ignored.Hint = "chk_ignored", control.CheckIgnored, ""
	byGroup := track(web(), 30, 30)
	byGroup.Group = "VG_1"
	gone := track(process(), 10, 0)
	wantedDown := track(script(), -20, 0)
	wantedDown.Name, wantedDown.Reverse = "chk_maintenance", true
	floods := script()
	floods.Last.Output = "\x1b[31mred\x1b[0m\r\n" + strings.Repeat("one line after the other\n\n", 9) + "a title \x1b]0;pwned\x07\n" + strings.Repeat("long ", 200) + "\n"
	floods.UsedBy = nil

	tests := []struct {
		name string
		s    control.Status
		o    Options
	}{
		{"a weighted script fails", one(weighed(150, track(script(), -20, -20), byGroup, gone, wantedDown, track(file(), 2, -10)), script(), web(), process(), file()), Options{}},
		{"a weighted script fails in colour", one(weighed(150, track(script(), -20, -20), track(web(), 30, 30)), script(), web()), Options{Color: true}},
		{"a weighted script fails on a narrow terminal", one(weighed(150, track(script(), -20, -20)), script()), Options{Width: 60}},
		{"more is taken away than there is", one(weighed(100, track(script(), -130, -130))), Options{}},
		{"a script of weight 0 fails", one(weightless, script()), Options{}},
		{"scripts that cannot be run", one(master(), web(), unrunnable(), ignored), Options{}},
		{"the start waits for a result", one(pending, unknown), Options{}},
		{"the start waits for a result that takes long", one(pending, started), Options{}},
		{"several checks run", one(pending, started, stuck, brief), Options{All: true}},
		{"weights that cannot move the address", one(idle), Options{}},
		{"a file with a number", one(weighed(100, track(file(), 2, -10)), file()), Options{}},
		{"too few processes", one(weighed(100, track(process(), -30, -30)), process()), Options{}},
		{"a built-in check by itself", one(weighed(100, track(web(), 30, 30)), web()), Options{}},
		{"a group in fault through a member", grouped(), Options{}},
		{"notify scripts of every fate", one(notified()), Options{}},
		{"all notify scripts of every fate", one(notified()), Options{All: true}},
		{"hundreds of checks", one(master(), hundreds(200)...), Options{}},
		{"a script that writes too much", one(master(), floods), Options{Width: 100}},
		{"checks with nothing in them", control.Status{Checks: make([]control.Check, 2), SyncGroups: make([]control.SyncGroup, 1), Instances: []control.Instance{{
			Tracks: make([]control.Track, 1), Notifications: make([]control.Notification, 1), Pending: make([]string, 1),
		}}}, Options{}},
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

func TestSeveralInstancesNameTheirChecksInTheTable(t *testing.T) {
	sick := weighed(150, track(script(), -20, -20), track(process(), -5, -5))
	sicker := weighed(150, slices.Repeat([]control.Track{track(script(), -20, -20)}, 4)...)
	sicker.Name = "VI_2"
	advised := weighed(150, track(web(), 20, 20))
	advised.Name, advised.Advice = "VI_4", []string{"raise the weights"}
	s := control.Status{Daemon: daemon(), Instances: []control.Instance{sick, sicker, notified(), grouped().Instances[2], advised}}
	var b bytes.Buffer
	if err := RenderStatus(&b, s, Options{Now: now()}); err != nil {
		t.Fatal(err)
	}
	golden(t, "a table of instances with checks", b.String(), Options{})
}

func TestAPartTakesTheStatesOfMembersFromTheWhole(t *testing.T) {
	whole := grouped()
	part := whole
	part.Instances, part.SyncGroups = part.Instances[:1], part.SyncGroups[:1]
	var b bytes.Buffer
	if err := RenderPart(&b, part, whole, Options{Now: now()}); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.Contains(s, "VI_2 FAULT: interface eth2 is down") || strings.Contains(s, "VI_3") {
		t.Errorf("the part is shown as\n%s", s)
	}
}

func TestAllShowsEveryCheck(t *testing.T) {
	for _, tt := range []struct {
		all  bool
		want int
	}{{false, maxFull}, {true, 200}} {
		var b bytes.Buffer
		s := control.Status{Daemon: daemon(), Checks: hundreds(200)}
		if err := RenderStatus(&b, s, Options{Now: now(), All: tt.all}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(b.String(), "\n  used by "); got != tt.want {
			t.Errorf("with All %t, %d checks are shown in full, want %d", tt.all, got, tt.want)
		}
	}
}

func TestACommandIsShownAsItWouldBeTyped(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{nil, ""},
		{[]string{"/usr/bin/killall", "-0", "haproxy"}, "/usr/bin/killall -0 haproxy"},
		{[]string{"sh", "-c", "exit 1", ""}, "sh -c 'exit 1' ''"},
		{[]string{"echo", "it's", "$HOME", "a=b:c@d,e+%"}, `echo 'it'\''s' '$HOME' a=b:c@d,e+%`},
	} {
		if got := ShellWords(tt.argv); got != tt.want {
			t.Errorf("%q is shown as %s, want %s", tt.argv, got, tt.want)
		}
	}
}

func TestARunOfACheckReadsAsInTheGoldenFiles(t *testing.T) {
	failing := control.CheckRun{
		Name: "chk_haproxy", Kind: control.KindScript, State: control.CheckDown,
		Verdict: "would count as failed; the first result decides at once, after that it takes 2 failures in a row (fall) and 1 success (rise)",
		Command: []string{"killall", "-0", "haproxy"}, Path: "/usr/bin/killall", User: "keepalived_script", UID: new(uint32(997)),
		Environment: &control.Environment{DaemonPID: 812, Path: "/usr/bin:/bin", Set: []string{"PATH", "LANG"}, Unset: []string{"HOME", "LD_PRELOAD"}},
		Timeout:     control.Seconds(2 * time.Second), Rise: 1, Fall: 2,
		Attempt: control.Attempt{Duration: control.Seconds(12 * time.Millisecond), Detail: "exit code 1", Exit: new(1), Output: "haproxy(812): Operation not permitted\n"},
		Hint:    "only root may ask about processes of other users: set user root, or use vrrp_track_process",
		Effects: []string{"lowers VI_1 from 150 to 130", "VI_2 in fault"},
	}
	succeeds := failing
	succeeds.OK, succeeds.State, succeeds.Verdict, succeeds.Hint, succeeds.Effects = true, control.CheckUp, "would count as succeeded", "", nil
	succeeds.Environment = &control.Environment{Unset: strings.Split("A B C D E F G H I J K L M N", " ")}
	succeeds.Path, succeeds.Command = "/bin/true", []string{"/bin/true"}
	succeeds.Attempt = control.Attempt{Duration: control.Seconds(time.Millisecond), OK: true, Exit: new(0), Detail: "fine"}
	broken := control.CheckRun{
		Name: "chk_db", Kind: control.KindScript, State: control.CheckDown, Verdict: "would count as failed", Unrunnable: "/etc/vipd/chk_db.sh is not executable",
		Hint: "chmod +x /etc/vipd/chk_db.sh", Command: []string{"/etc/vipd/chk_db.sh"}, User: "postgres",
	}
	number := control.CheckRun{Name: "load", Kind: control.KindFile, OK: true, State: control.CheckUp, Value: new(5), What: "/run/load", Verdict: "holds 5"}
	few := control.CheckRun{
		Name: "nginx", Kind: control.KindProcess, State: control.CheckDown, Command: []string{"nginx"}, Mechanism: "scan of /proc every 1s", Verdict: "is down",
		Attempt: control.Attempt{Detail: "2 processes, at least 3 needed", Duration: control.Seconds(3 * time.Millisecond)},
	}
	for _, tt := range []struct {
		name string
		r    control.CheckRun
		o    Options
	}{
		{"a run that fails", failing, Options{}},
		{"a run that fails in colour", failing, Options{Color: true}},
		{"a run that succeeds", succeeds, Options{Width: 80}},
		{"a run that cannot be", broken, Options{}},
		{"a look at a file", number, Options{}},
		{"a look at processes", few, Options{}},
		{"a run with nothing in it", control.CheckRun{}, Options{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.o.Now = now()
			if err := RenderCheckRun(&b, tt.r, tt.o); err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, b.String(), tt.o)
		})
	}
}
