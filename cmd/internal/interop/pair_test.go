package interop

import (
	"slices"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/vrrp"
)

func TestVipdAndKeepalivedShareAddresses(t *testing.T) {
	t.Parallel()
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			inBothRoles(t, p, keepalived)
		})
	}
}

func TestVipdAndFRRShareAddresses(t *testing.T) {
	t.Parallel()
	p := protocol{name: "version 3 over IPv4", version: vrrp.V3, interval: fast, vips: vips4}
	t.Run(p.name, func(t *testing.T) { inBothRoles(t, p, frr) })
}

// An act is something that happens to a pair of routers. What it starts runs on
// in the next one.
type act struct {
	name string
	play func(s *scene, all, t *testing.T)
}

// troubles and stops are everything that happens to routers. After the first act
// each begins and ends with both running and the higher priority as master.
var (
	troubles = []act{
		{"the higher priority wins", (*scene).elect},
		{"a master that is held up is replaced, and master again when it goes on", (*scene).holdUp},
		{"a master that is cut off is replaced, and master again when it is back", (*scene).cutOff},
	}
	stops = []act{
		{"a master that stops is replaced at once, and master again when it is back", (*scene).stop},
		{"with nopreempt the one that comes back waits for the other to stop", (*scene).stayBackup},
	}
)

// inBothRoles tries vipd with a peer, each with the higher priority once. What
// takes long with slow advertisements happens to two pairs at the same time.
func inBothRoles(t *testing.T, p protocol, peer kind) {
	parts := [][]act{slices.Concat(troubles, stops)}
	if p.interval == slow {
		parts = [][]act{troubles, slices.Concat([]act{{"both start", (*scene).begin}}, stops)}
	}
	for _, pair := range []struct {
		name      string
		high, low kind
	}{
		{peer.name + " has the higher priority", peer, vipd},
		{"vipd has the higher priority", vipd, peer},
	} {
		t.Run(pair.name, func(t *testing.T) {
			t.Parallel()
			for _, acts := range parts {
				t.Run(acts[0].name, func(t *testing.T) {
					t.Parallel()
					newScene(t, p, pair.high, pair.low).play(t, acts)
				})
			}
		})
	}
}

// play takes a pair through what happens to it.
func (s *scene) play(t *testing.T, acts []act) {
	for _, a := range acts {
		if !t.Run(a.name, func(part *testing.T) { a.play(s, t, part) }) {
			return
		}
	}
}

// aWhile is long enough for a second master to show itself.
func (s *scene) aWhile() time.Duration { return 3*s.interval + 200*time.Millisecond }

// begin starts both.
func (s *scene) begin(all, t *testing.T) {
	s.start(all, s.low)
	s.start(all, s.high)
	s.master(t, s.high)
	s.low.WaitState(t, instance, control.StateBackup, patience)
}

func (s *scene) elect(all, t *testing.T) {
	began := time.Now()
	s.begin(all, t)
	if overlap, _ := s.watch.worst(began, time.Now()); overlap > slack {
		t.Errorf("an address was held twice for %v, want at most %v:\n%s", overlap, slack, s.watch.story(began))
	}
	s.steady(t, s.high, s.aWhile())
}

// holdUp stops a process, as an overloaded hypervisor does. The kernel of the
// host goes on, and so the address is held twice: of keepalived and FRR until
// the daemon goes on, of vipd until its lease is over. The network knows better,
// as the new master has announced it.
func (s *scene) holdUp(_, t *testing.T) {
	began := time.Now()
	s.high.Pause(t)
	s.low.WaitState(t, instance, control.StateMaster, patience)
	s.waited(t, s.low, began.Add(-2*s.interval), s.masterDown(lowPriority), every)
	s.waitTold(t, s.low)

	if s.high.kind.name == vipd.name {
		rig.Eventually(t, patience, "the kernel removes the addresses of a vipd that is held up", func() bool { return s.watch.sole(s.low.node) })
	}

	// It hears the lower priority and answers at once; nobody waits for anything.
	// It announces its addresses again, too, unless it is FRR's. A vipd listens
	// first, and takes the addresses back in good order.
	resumed := time.Now()
	s.high.Continue(t)
	s.low.WaitState(t, instance, control.StateBackup, patience)
	s.master(t, s.high)
	s.handed(t, resumed, 0)
	s.steady(t, s.high, s.aWhile())
}

func (s *scene) cutOff(_, t *testing.T) {
	began := time.Now()
	if err := s.lab.Cut(s.high.node, "eth0"); err != nil {
		t.Fatal(err)
	}
	s.master(t, s.low)
	s.waited(t, s.low, began.Add(-2*s.interval), s.masterDown(lowPriority), every)
	if got := s.high.State(instance); (got == control.StateMaster) != s.high.obstinate {
		t.Errorf("%s is %s without a link", s.high.Name(), got)
	}
	s.handed(t, began, s.masterDown(lowPriority))
	s.steady(t, s.low, s.aWhile())

	healed := time.Now()
	if err := s.lab.Heal(s.high.node, "eth0"); err != nil {
		t.Fatal(err)
	}
	s.preempted(t, healed, !s.high.obstinate)
}

// preempted waits until the higher priority has taken over from the lower one. If
// it listens first, it must do so for the master-down interval.
func (s *scene) preempted(t *testing.T, since time.Time, listens bool) {
	t.Helper()
	s.master(t, s.high)
	s.low.WaitState(t, instance, control.StateBackup, patience)
	for _, a := range adverts(s.high.heard.Frames(), since) {
		// One of priority 0 was sent when the link went, and waited for the peer's
		// hardware address.
		if !a.outgoing || resigns(a) {
			continue
		}
		got, want := a.at.Sub(since), s.masterDown(highPriority)
		if !listens {
			want = 0
		}
		if got < want-s.high.early {
			t.Errorf("%s took over after %v, want at least %v", s.high.Name(), got, want)
		}
		t.Logf("took over after %v (%v)", got.Round(time.Microsecond), want)
		break
	}
	s.handed(t, since, 0)
	s.steady(t, s.high, s.aWhile())
}

// halt stops a master in good order. The other takes over.
func (s *scene) halt(t *testing.T, x *side) {
	t.Helper()
	began, heir := time.Now(), s.other(x)
	if code := x.Stop(t); code != 0 {
		t.Errorf("%s ended with %d, want 0", x.Name(), code)
	}
	s.master(t, heir)
	s.waited(t, heir, began, s.skew(heir.priority), resigns)
	zeros := 0
	for _, a := range adverts(heir.heard.Frames(), began) {
		if resigns(a) && !a.outgoing {
			zeros++
		}
	}
	if zeros != 1 {
		t.Errorf("%s sent %d advertisements of priority 0, want 1", x.Name(), zeros)
	}
	s.handed(t, began, s.skew(heir.priority))
}

func (s *scene) stop(all, t *testing.T) {
	s.halt(t, s.high)
	s.steady(t, s.low, s.aWhile())
	again := time.Now()
	s.start(all, s.high)
	s.preempted(t, again, true)
}

func (s *scene) stayBackup(all, t *testing.T) {
	s.halt(t, s.high)
	s.high.nopreempt = true
	again := time.Now()
	s.start(all, s.high)
	s.high.WaitState(t, instance, control.StateBackup, patience)
	s.steady(t, s.low, s.masterDown(highPriority)+s.aWhile())
	if sent := adverts(s.high.heard.Frames(), again); len(sent) == 0 {
		t.Errorf("%s heard nothing", s.high.Name())
	} else if i := slices.IndexFunc(sent, func(a advert) bool { return a.outgoing }); i >= 0 {
		t.Errorf("%s sent %+v, although it has nopreempt", s.high.Name(), sent[i].Advertisement)
	}
	s.halt(t, s.low)
	s.start(all, s.low)
	s.low.WaitState(t, instance, control.StateBackup, patience)
	s.steady(t, s.high, s.aWhile())
}

// resigns tells an advertisement of a master that stops.
func resigns(a advert) bool { return a.Priority == vrrp.PriorityStop }

// every is for what does not depend on the kind of advertisement.
func every(advert) bool { return true }
