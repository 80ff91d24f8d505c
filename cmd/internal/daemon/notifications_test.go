package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vipd/checks"
	"vipd/checks/command"
	"vipd/cmd/internal/notify"
	"vipd/config"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
	"vipd/vrrp/vrrptest"
)

// A listener remembers what it is told.
type listener struct {
	teller // nil: nothing else is asked for

	mu     sync.Mutex
	events []notify.Event
}

func (l *listener) Notify(e notify.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// History implements teller.
func (*listener) History(bool, string) []notify.Record { return nil }

// said returns the events as a FIFO would have them, and forgets them.
func (l *listener) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.events {
		what := e.Name + " " + e.State
		if e.Group {
			what = "group " + what
		}
		out = append(out, what)
	}
	l.events = nil
	return out
}

// all returns the events.
func (l *listener) all() []notify.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// last returns the last event.
func (l *listener) last() notify.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[len(l.events)-1]
}

func wantSaid(t *testing.T, l *listener, when string, want ...string) {
	t.Helper()
	if got := l.said(); !slices.Equal(got, want) {
		t.Errorf("%s: told %q, want %q", when, got, want)
	}
}

// newTold returns notifications that go to a listener; every command has been
// found.
func newTold(cfg config.Instance) (*notifications, *listener) {
	l := &listener{}
	n := &notifications{n: l, log: quiet(), scripts: make(map[*config.Command]command.Spec)}
	for _, c := range []*config.Command{cfg.Notify.Master, cfg.Notify.Any} {
		if c != nil {
			n.scripts[c] = command.Spec{Argv: c.Argv}
		}
	}
	return n, l
}

// newToldRouter is a virtual router whose notifications go to a listener.
func newToldRouter(lan *vrrptest.LAN, addr string, cfg config.Instance) (*virtualRouter, *listener) {
	told, l := newTold(cfg)
	r := newVirtualRouter(lan, addr, cfg, quiet())
	r.post(func() { r.inst.told = told })
	return r, l
}

// slowly has addresses take a while to be in place.
func (r *virtualRouter) slowly(delay time.Duration) {
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	r.host.delay = delay
}

func TestAMasterIsToldOnlyWhenItsAddressesAreInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		cfg := virtualConfig(100, time.Second)
		cfg.StartupDelay = 2 * time.Second // so that the listener is there in time
		r, l := newToldRouter(lan, "192.0.2.1", cfg)
		r.slowly(3 * time.Second)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if s := r.state(); s != vrrp.Master {
			t.Fatalf("state is %s", s)
		}
		if said := l.said(); slices.Contains(said, "VI_1 MASTER") {
			t.Errorf("told %q before the addresses are in place", said)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantSaid(t, l, "with the addresses in place", "VI_1 MASTER")
		r.end()
	})
}

func TestWhatHappensUntilTheAddressesAreInPlaceIsToldAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		cfg := virtualConfig(100, time.Second)
		cfg.StartupDelay = 2 * time.Second
		cfg.NotifyPriorityChanges = true
		r, l := newToldRouter(lan, "192.0.2.1", cfg)
		r.slowly(3 * time.Second)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		l.said()
		r.post(func() { r.step(r.inst, time.Now(), vrrp.Health{Priority: 90}) })
		time.Sleep(time.Second)
		synctest.Wait()
		wantSaid(t, l, "before the addresses are in place")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantSaid(t, l, "with the addresses in place", "VI_1 MASTER", "VI_1 MASTER_PRIORITY")
		r.end()
	})
}

func TestNoScriptIsRunForAMastershipWhoseAddressesWereNeverInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		cfg := virtualConfig(100, time.Second)
		cfg.Notify = config.Notify{Master: &config.Command{Argv: []string{"/etc/promote"}}, Any: &config.Command{Argv: []string{"/etc/notify"}}}
		r, l := newToldRouter(lan, "192.0.2.1", cfg)
		r.slowly(time.Hour)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		l.said()
		r.post(func() {
			r.step(r.inst, time.Now(), vrrp.Health{Faults: []vrrp.Fault{{Kind: vrrp.FaultCheck, Name: "chk"}}})
		})
		time.Sleep(time.Second)
		synctest.Wait()
		events := l.all()
		if len(events) != 2 || events[0].State != "MASTER" || len(events[0].Scripts) > 0 || events[1].State != "FAULT" || len(events[1].Scripts) != 1 {
			t.Errorf("after a fault it told %+v", events)
		}
		r.end()
	})
}

func TestAScriptLearnsWhatItWouldHaveToGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		cfg := virtualConfig(100, time.Second)
		cfg.Notify = config.Notify{
			Master: &config.Command{Argv: []string{"/etc/promote", "db1"}}, Any: &config.Command{Argv: []string{"/etc/notify"}},
		}
		r, l := newToldRouter(lan, "192.0.2.1", cfg)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		e := l.last()
		want := []string{
			"VIPD_FROM=BACKUP", "VIPD_TO=MASTER", "VIPD_EVENT=MASTER", "VIPD_REASON=no advertisement heard for 3.609s",
			"VIPD_INSTANCE=VI_1", "VIPD_PRIORITY=100", "VIPD_MASTER=192.0.2.1", "VIPD_VIPS=192.0.2.100/24",
			"VIPD_INTERFACE=eth0", "VIPD_VRID=51",
		}
		if !slices.Equal(e.Env, want) {
			t.Errorf("environment\n got %q\nwant %q", e.Env, want)
		}
		if len(e.Scripts) != 2 || e.Scripts[0].Arguments || !e.Scripts[1].Arguments || e.Scripts[0].Spec.Argv[1] != "db1" {
			t.Errorf("scripts are %+v", e.Scripts)
		}
		r.end()
	})
}

func TestATrackedObjectMovesThePriorityThatIsAdvertised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		cfg := virtualConfig(150, time.Second)
		cfg.NotifyPriorityChanges = true
		cfg.Tracks = []config.Track{
			{Kind: config.TrackScript, Name: "weighted", Weight: -20},
			{Kind: config.TrackFile, Name: "file", Weight: 3},
			{Kind: config.TrackInterface, Name: "eth1", Weight: 5},
		}
		r, l := newToldRouter(lan, "192.0.2.1", cfg)
		listener := lan.Port(netip.MustParseAddr("192.0.2.9"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		l.said()
		for _, step := range []struct {
			name     string
			do       func()
			priority uint8
			said     []string
		}{
			{"nothing", func() {}, 150, nil},
			{"the script fails", func() { r.inst.setTrack(config.TrackScript, "weighted", checks.Report{State: checks.Down}) }, 130, []string{"VI_1 MASTER_PRIORITY"}},
			{"the file has 4 in it", func() { r.inst.setTrack(config.TrackFile, "file", checks.Report{State: checks.Up, Value: 4}) }, 142, []string{"VI_1 MASTER_PRIORITY"}},
			{"the interface is up", func() { r.inst.setInterfaces([]bool{true}) }, 147, []string{"VI_1 MASTER_PRIORITY"}},
			{"it still is", func() { r.inst.setInterfaces([]bool{true}) }, 147, nil},
			{"the script succeeds", func() { r.inst.setTrack(config.TrackScript, "weighted", checks.Report{State: checks.Up}) }, 167, []string{"VI_1 MASTER_PRIORITY"}},
		} {
			r.post(step.do)
			synctest.Wait()
			drainPort(t, listener)
			time.Sleep(time.Second)
			synctest.Wait()
			if got := drainPort(t, listener); got != step.priority {
				t.Errorf("%s: priority %d is advertised, want %d", step.name, got, step.priority)
			}
			wantSaid(t, l, step.name, step.said...)
		}
		r.end()
	})
}

// drainPort takes all that arrived and returns the priority of the last.
func drainPort(t *testing.T, p *vrrptest.Port) (priority uint8) {
	t.Helper()
	ds := make([]vrrpconn.Datagram, 64)
	n, err := p.Recv(ds)
	if err != nil {
		t.Fatal(err)
	}
	if n > 0 {
		priority = ds[n-1].Payload[2]
	}
	return priority
}

func TestASyncGroupIsMasterWhenTheAddressesOfAllMembersAreInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		host := &virtualHost{held: make(map[vrrp.Address]bool), delay: 2 * time.Second}
		addr := netip.MustParseAddr("192.0.2.1")
		open := func(vrrpconn.Config) (transport, error) { return lan.Port(addr), nil }
		l := newLoop("eth0", quiet(), newVirtualWaker(), open, host, virtualAnnouncer{host})
		told, heard := newTold(config.Instance{})
		one, two := virtualConfig(100, time.Second), virtualConfig(200, time.Second)
		two.Name, two.VRID = "VI_2", 52
		two.Addresses[0].Prefix = netip.MustParsePrefix("192.0.2.101/24")
		for _, cfg := range []config.Instance{one, two} {
			inst := newInstance(cfg, l, quiet())
			inst.told = told
			l.instances = append(l.instances, inst)
		}
		g := join(config.SyncGroup{Name: "VG_1", Members: []string{"VI_1", "VI_2"}}, l.instances, quiet(), told)
		go l.run()
		l.post(func() {
			for _, inst := range l.instances {
				inst.setLink(linkView{usable: true, index: 1, mtu: 1500, source: addr})
				l.step(inst, time.Now(), vrrp.Startup{})
			}
		})
		synctest.Wait()
		said := heard.said()
		slices.Sort(said) // the group starts with its members
		if got := strings.Join(said, ", "); got != "VI_1 BACKUP, VI_2 BACKUP, group VG_1 BACKUP" {
			t.Errorf("at the start it told %s", got)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantSaid(t, heard, "before the addresses are in place")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		said = heard.said()
		if len(said) != 3 || said[2] != "group VG_1 MASTER" {
			t.Errorf("as master it told %q", said)
		}
		done := make(chan string)
		l.post(func() { done <- string(g.status().State) })
		if s := <-done; s != "master" {
			t.Errorf("the group is %s", s)
		}
		l.post(func() {
			for _, inst := range l.instances {
				l.step(inst, time.Now(), vrrp.Shutdown{})
			}
			l.post(func() { close(done) })
		})
		<-done
		l.stop()
		_ = l.waker.Close()
		told.stopped(l.instances, []*syncGroup{g})
		wantSaid(t, heard, "at the end", "VI_1 STOP", "VI_2 STOP", "group VG_1 STOP")
	})
}

func TestInterfacesThatAGroupJoinsShareALoop(t *testing.T) {
	cfg := &config.Config{
		Instances: []config.Instance{
			{Name: "a", Interface: "eth0"}, {Name: "b", Interface: "eth1"}, {Name: "c", Interface: "eth2"},
			{Name: "d", Interface: "eth1"}, {Name: "e"}, {Name: "f"}, {Name: "g", Interface: "eth3"},
		},
		SyncGroups: []config.SyncGroup{{Members: []string{"a", "b"}}, {Members: []string{"d", "e"}}, {Members: []string{"g"}}},
	}
	names := loopNames(cfg)
	for _, group := range [][]string{{"a", "b", "d", "e"}, {"c"}, {"f"}, {"g"}} {
		for inst := range names {
			if shares := names[inst] == names[group[0]]; shares != slices.Contains(group, inst) {
				t.Errorf("%s shares the loop of %s: %v", inst, group[0], shares)
			}
		}
	}
}
