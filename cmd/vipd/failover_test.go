package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vipd/cmd/internal/control"
)

// A standIn is a daemon that hands over as the test wants it.
type standIn struct {
	mu     sync.Mutex
	status control.Status
	asked  [][]string
	ended  bool
	// begin is what it does at once, later what it does when it is asked for
	// its status next: whoever waits has to ask twice.
	begin, later func(*control.Instance)
	begun        bool
}

func (s *standIn) Status(context.Context) (control.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Instances = slices.Clone(st.Instances)
	if s.begun && s.later != nil {
		for i := range s.status.Instances {
			s.later(&s.status.Instances[i])
		}
	}
	return st, nil
}

func (s *standIn) Failover(_ context.Context, names []string, end bool) ([]control.FailoverResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.ended, s.begun = append(s.asked, names), end, true
	var out []control.FailoverResult
	for i := range s.status.Instances {
		in := &s.status.Instances[i]
		if !slices.Contains(names, in.Name) {
			continue
		}
		r := control.FailoverResult{Name: in.Name, Done: in.State != control.StateFault, Text: "the priorities decide again"}
		if !r.Done {
			r.Text = "it is in fault"
		} else if s.begin != nil {
			s.begin(in)
		}
		out = append(out, r)
	}
	return out, nil
}

// newStandIn returns one that is master of A and B, which are the group G, and of C,
// not of D, and is in fault with F.
func newStandIn() *standIn {
	in := func(name string, state control.State) control.Instance {
		i := control.Instance{Name: name, State: state, AdvertInterval: control.Seconds(time.Millisecond)}
		if state == control.StateBackup {
			i.Master = &control.Master{Address: netip.MustParseAddr("192.0.2.9"), Priority: 200}
		}
		return i
	}
	return &standIn{status: control.Status{
		Instances: []control.Instance{
			in("A", control.StateMaster), in("B", control.StateMaster), in("C", control.StateMaster), in("D", control.StateBackup), in("F", control.StateFault),
		},
		SyncGroups: []control.SyncGroup{{Name: "G", Members: []string{"A", "B"}}},
	}}
}

// serveStandIn has it answer until the test ends.
func serveStandIn(t *testing.T, s *standIn) (runDir string) {
	t.Helper()
	runDir = t.TempDir()
	server, err := control.Listen(control.Config{RunDir: runDir, Source: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return runDir
}

func begins(in *control.Instance) {
	if in.State == control.StateMaster {
		in.HandingOver = true
	}
	in.Yielded = true
}

func isTakenOver(in *control.Instance) {
	if in.HandingOver {
		in.HandingOver, in.State = false, control.StateBackup
		in.Master = &control.Master{Address: netip.MustParseAddr("192.0.2.2"), Priority: 100}
	}
}

func goesOn(in *control.Instance) {
	if in.HandingOver {
		in.HandingOver, in.Yielded = false, false
	}
}

func TestFailoverWaitsUntilItIsKnownWhoIsMaster(t *testing.T) {
	for _, tt := range []struct {
		name  string
		later func(*control.Instance)
		args  []string
		asked []string
		want  string
		code  int
	}{
		{
			"another router takes over", isTakenOver, []string{"C"}, []string{"C"},
			"C: 192.0.2.2 (priority 100) is master now\n(left to others until this node has to be master again; `vipd failover --end C --run-dir DIR` lets the priorities decide)\n", exitOK,
		},
		{
			"a sync group", isTakenOver, []string{"G"}, []string{"A", "B"},
			"A: 192.0.2.2 (priority 100) is master now\nB: 192.0.2.2 (priority 100) is master now\n" +
				"(left to others until this node has to be master again; `vipd failover --end A B --run-dir DIR` lets the priorities decide)\n", exitOK,
		},
		{
			"everything", isTakenOver, []string{"--all"}, []string{"A", "B", "C", "D"},
			"A: 192.0.2.2 (priority 100) is master now\nB: 192.0.2.2 (priority 100) is master now\nC: 192.0.2.2 (priority 100) is master now\n" +
				"D: this node was not master: 192.0.2.9 (priority 200) is; it leaves mastership to others from now on\n" +
				"(left to others until this node has to be master again; `vipd failover --end --all --run-dir DIR` lets the priorities decide)\n", exitOK,
		},
		{
			"everything, and nobody takes over", goesOn, []string{"--all"}, []string{"A", "B", "C", "D"},
			"A: nobody took over: this node goes on as master\nB: nobody took over: this node goes on as master\nC: nobody took over: this node goes on as master\n" +
				"D: this node was not master: 192.0.2.9 (priority 200) is; it leaves mastership to others from now on\n" +
				"(left to others until this node has to be master again; `vipd failover --end --all --run-dir DIR` lets the priorities decide)\n", exitNo,
		},
		{"nobody takes over", goesOn, []string{"C"}, []string{"C"}, "C: nobody took over: this node goes on as master\n", exitNo},
		{
			"a fault comes in between", func(in *control.Instance) { in.State, in.HandingOver = control.StateFault, false }, []string{"C"}, []string{"C"},
			"C: nobody is known to have taken over, and this node is in state fault\n", exitNo,
		},
		{
			"a backup", isTakenOver, []string{"D"}, []string{"D"},
			"D: this node was not master: 192.0.2.9 (priority 200) is; it leaves mastership to others from now on\n" +
				"(left to others until this node has to be master again; `vipd failover --end D --run-dir DIR` lets the priorities decide)\n", exitOK,
		},
		{
			"one of them cannot", isTakenOver, []string{"C", "F"}, []string{"C", "F"},
			"C: 192.0.2.2 (priority 100) is master now\nF: it is in fault\n" +
				"(left to others until this node has to be master again; `vipd failover --end C --run-dir DIR` lets the priorities decide)\n", exitNo,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStandIn()
			s.begin, s.later = begins, tt.later
			runDir := serveStandIn(t, s)
			out, errs, code := vipd(t, append([]string{"failover", "--run-dir", runDir}, tt.args...)...)
			if out = strings.ReplaceAll(out, runDir, "DIR"); out != tt.want || code != tt.code {
				t.Errorf("exit code %d, want %d:\n%s%s\nwant\n%s", code, tt.code, out, errs, tt.want)
			}
			if len(s.asked) != 1 || !slices.Equal(s.asked[0], tt.asked) || s.ended {
				t.Errorf("the daemon was asked for %q, end %t; want %q", s.asked, s.ended, tt.asked)
			}
		})
	}
}

func TestAFailoverThatIsNotKnownToEndIsReported(t *testing.T) {
	// A router that removes its addresses at once (handover off) is backup before
	// another one is heard.
	var f failover
	begun := control.FailoverResult{Name: "A", Done: true}
	for _, tt := range []struct {
		name string
		old  control.State
		in   control.Instance
		want string
	}{
		{"nobody is heard", control.StateMaster, control.Instance{Name: "A", State: control.StateBackup}, "this node is not master any more, and has not heard another one yet"},
		{"it is still offered", control.StateMaster, control.Instance{Name: "A", State: control.StateMaster, HandingOver: true}, "no other router has taken over yet"},
		{"a backup hears nobody", control.StateBackup, control.Instance{Name: "A", State: control.StateBackup}, "this node was not master, and has not heard another one yet"},
		{"a backup has become master meanwhile", control.StateBackup, control.Instance{Name: "A", State: control.StateMaster, HandingOver: true}, "no other router has taken over yet"},
	} {
		r, known := f.judge(begun, &control.Instance{Name: "A", State: tt.old}, &tt.in)
		if known || r.Done || r.Text != tt.want {
			t.Errorf("%s: %+v, the last word: %t", tt.name, r, known)
		}
	}
}

func TestAFailoverOfABackupIsDoneIfAnotherRouterIsMaster(t *testing.T) {
	var f failover
	peer := netip.MustParseAddr("192.0.2.9")
	for _, tt := range []struct {
		name string
		in   control.Instance
		done bool
		want string
	}{
		{"of a second time", control.Instance{State: control.StateBackup, Master: &control.Master{Address: peer, Priority: 100}}, true, "this node was not master: 192.0.2.9 (priority 100) is"},
		{"of one that is held", control.Instance{State: control.StateBackup, Held: &control.Held{Peer: peer}}, true, "this node was not master: 192.0.2.9 (whose configuration differs) is"},
		{"nobody else is there", control.Instance{State: control.StateMaster}, false, "nobody else is master: this node had to take over"},
	} {
		r, known := f.judge(control.FailoverResult{Done: true}, &control.Instance{State: control.StateBackup}, &tt.in)
		if !known || r.Done != tt.done || r.Text != tt.want {
			t.Errorf("%s: %+v, the last word: %t", tt.name, r, known)
		}
	}
}

func TestOfAnInstanceThatAReloadTookAwayAFailoverSaysSo(t *testing.T) {
	var f failover
	begun := control.FailoverResult{Name: "A", Done: true}
	r, known := f.judge(begun, &control.Instance{Name: "A", State: control.StateMaster}, nil)
	if !known || r.Done || r.Name != "A" || r.Text != "a reload has removed or renamed it meanwhile; see the log" {
		t.Errorf("%+v, the last word: %t", r, known)
	}
	begun = control.FailoverResult{Name: "A", Text: "it is in fault"}
	if r, known := f.judge(begun, nil, nil); !known || r.Done || r.Text != begun.Text {
		t.Errorf("of one that could not be begun: %+v, the last word: %t", r, known)
	}
}

func TestAFailoverIsEnded(t *testing.T) {
	s := newStandIn()
	s.begin = func(in *control.Instance) { in.Yielded = false }
	s.status.Instances[3].Yielded = true
	runDir := serveStandIn(t, s)
	out, errs, code := vipd(t, "failover", "--end", "--all", "--run-dir", runDir)
	if out != "D: the priorities decide again\n" || code != exitOK || !s.ended {
		t.Errorf("exit code %d, end %t: %s%s", code, s.ended, out, errs)
	}
	out, errs, code = vipd(t, "failover", "--end", "--all", "--run-dir", runDir)
	if out != "nothing is left to others\n" || code != exitOK || len(s.asked) != 1 {
		t.Errorf("exit code %d, asked %q: %s%s", code, s.asked, out, errs)
	}
}

func TestFailoverIsADocumentToo(t *testing.T) {
	s := newStandIn()
	s.begin, s.later = begins, isTakenOver
	out, errs, code := vipd(t, "failover", "C", "--json", "--run-dir", serveStandIn(t, s))
	var doc struct{ Results []handedOver }
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != exitOK || len(doc.Results) != 1 {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	if r := doc.Results[0]; r.Name != "C" || !r.Done || r.State != control.StateBackup || r.Master == nil || r.Master.Priority != 100 {
		t.Errorf("the result is %+v", r)
	}
	s = newStandIn()
	s.status.Instances = nil
	runDir := serveStandIn(t, s)
	if out, _, code := vipd(t, "failover", "--all", "--json", "--run-dir", runDir); code != exitOK || strings.Join(strings.Fields(out), "") != `{"results":[]}` {
		t.Errorf("of nothing, exit code %d: %s", code, out)
	}
	if out, _, code := vipd(t, "failover", "--all", "--run-dir", runDir); code != exitOK || out != "this node is master of nothing\n" {
		t.Errorf("of nothing, exit code %d: %s", code, out)
	}
}

func TestWrongUsageOfFailoverIsNamed(t *testing.T) {
	s := newStandIn()
	s.status.Instances[3].Yielded = true
	runDir := serveStandIn(t, s)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "name instances or sync groups, or say --all: this node is master of A, B, C"},
		{[]string{"--end"}, "name instances or sync groups, or say --all: left to others are D"},
		{[]string{"A", "--all"}, "either names or --all, not both"},
		{[]string{"X"}, `no instance and no sync group is called "X"`},
	} {
		out, errs, code := vipd(t, append([]string{"failover", "--run-dir", runDir}, tt.args...)...)
		if code != exitUsage || errs != tt.want || out != "" {
			t.Errorf("%q: exit code %d, %s%s; want %s", tt.args, code, out, errs, tt.want)
		}
	}
	if s.asked != nil {
		t.Errorf("the daemon was asked for %q", s.asked)
	}
	if _, errs, code := vipd(t, "failover", "A", "--run-dir", t.TempDir()); code != exitUnreachable || !strings.Contains(errs, "no vipd runs here") {
		t.Errorf("without a daemon: exit code %d: %s", code, errs)
	}
}

func TestNamesForFailoverAreCompleted(t *testing.T) {
	f := failover{runDir: serveStandIn(t, newStandIn())}
	if got, want := f.complete(t.Context(), []string{"B"}), []string{"A", "C", "D", "G"}; !slices.Equal(got, want) {
		t.Errorf("suggested are %q, want %q", got, want)
	}
}

func TestStatusChecksWhetherAllIsWell(t *testing.T) {
	master := control.Instance{Name: "A", State: control.StateMaster}
	for _, tt := range []struct {
		name   string
		change func(*control.Status)
		args   []string
		want   int
	}{
		{"all is well", func(*control.Status) {}, nil, exitOK},
		{"a contested master", func(s *control.Status) { s.Instances[0].Contested = make([]control.Rival, 1) }, nil, exitNo},
		{"a degraded one", func(s *control.Status) { s.Instances[0].Degraded = true }, nil, exitNo},
		{"a fault", func(s *control.Status) { s.Instances[1].State = control.StateFault }, nil, exitNo},
		{"a fault of another one", func(s *control.Status) { s.Instances[1].State = control.StateFault }, []string{"A"}, exitOK},
		{"one that waits", func(s *control.Status) { s.Instances[1].State = control.StateInit }, nil, exitNo},
		{"the daemon", func(s *control.Status) { s.Daemon.Degraded = true }, nil, exitNo},
		{"the daemon is not asked for", func(s *control.Status) { s.Daemon.Degraded = true }, []string{"A"}, exitOK},
	} {
		s := &standIn{status: control.Status{Instances: []control.Instance{master, {Name: "B", State: control.StateBackup}}}}
		tt.change(&s.status)
		runDir := serveStandIn(t, s)
		for _, form := range [][]string{{"--check"}, {"--check", "--json"}} {
			out, errs, code := vipd(t, slices.Concat([]string{"status", "--run-dir", runDir}, tt.args, form)...)
			if code != tt.want || out == "" {
				t.Errorf("%s, %q: exit code %d, want %d: %s%s", tt.name, form, code, tt.want, out, errs)
			}
		}
		if _, _, code := vipd(t, "status", "--run-dir", runDir); code != exitOK {
			t.Errorf("%s: without --check the exit code is %d", tt.name, code)
		}
	}
}
