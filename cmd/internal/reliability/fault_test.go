package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

func TestMain(m *testing.M) { rig.Main(m) }

// attempts is how often a promise may be tried before the machine is not to blame
// any more. One that is busy with other things holds up a daemon, and even the
// kernel: an IPv6 address that was added answers only when a worker has had its
// turn.
const attempts = 3

// try makes a fault happen to a pair, again if what came of it is not as it should
// be: wrong says what is.
func try(t *testing.T, name string, p pair, wrong func(outcome) string) {
	t.Helper()
	netiftest.Require(t)
	all := faults()
	i := slices.IndexFunc(all, func(f fault) bool { return f.name == name })
	if i < 0 {
		t.Fatalf("there is no fault %s", name)
	}
	b := binaries{vipd: rig.BuildVIPD(t)}
	if p.faulted == keepalived || p.peer == keepalived {
		b.keepalived = netiftest.RequireProgram(t, "keepalived")
	}
	j := job{fault: all[i], setup: setup{pair: p, interval: time.Second, version: 3}, rounds: 1}
	if j.fault.setup != nil {
		j.fault.setup(&j.setup)
	}
	var complaints []string
	for range attempts {
		dir := t.TempDir()
		o := j.play(t.Context(), b, filepath.Join(dir, "stand"), dir)[0]
		t.Log(o)
		complaint := o.Error
		if complaint == "" {
			complaint = wrong(o)
		}
		if complaint == "" {
			return
		}
		if complaints = append(complaints, complaint); len(complaints) == attempts {
			logs(t, dir)
		}
	}
	t.Errorf("not in %d attempts: %s", attempts, strings.Join(complaints, "; "))
}

// logs shows what the daemons said, and who had the addresses when.
func logs(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*-stand.*"))
	if err != nil || len(files) == 0 {
		t.Errorf("there are no logs in %s: %v", dir, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s:\n%s", filepath.Base(f), tail(string(text)))
	}
}

// besides are the pairs in which a vipd has the fault.
var besides = []pair{{vipd, vipd}, {vipd, keepalived}}

// all makes a fault happen to those pairs.
func all(t *testing.T, fault string, wrong func(outcome) string) {
	for _, p := range besides {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			try(t, fault, p, wrong)
		})
	}
}

// ends complains if in the end not one router alone has the addresses, and the
// client talks to it.
func (o outcome) ends(router int) string {
	if want := routerNames[router]; o.Owner != want || o.TalksTo != want {
		return fmt.Sprintf("in the end %s has the addresses, and the client talks to %s, want %s", o.Owner, o.TalksTo, want)
	}
	return ""
}

// Half a second is promised for how long two routers may answer after one has died.
const shared = 1.0

func TestAMasterThatDiesLosesItsAddresses(t *testing.T) {
	t.Parallel()
	all(t, "kill", func(o outcome) string {
		if o.Two > shared {
			return fmt.Sprintf("two routers had an address for %.3f s, want at most %.3f s", o.Two, shared)
		}
		return o.ends(peer)
	})
}

func TestAMasterThatWasHeldUpIsNoSecondOwner(t *testing.T) {
	t.Parallel()
	all(t, "pause", func(o outcome) string {
		// It takes over again later, in good order: for 50 ms both answer.
		const handover = 0.3
		switch {
		case o.Two > shared:
			return fmt.Sprintf("two routers had an address for %.3f s, want at most %.3f s", o.Two, shared)
		case o.TwoAfter > handover:
			return fmt.Sprintf("when it went on, two routers had an address for %.3f s, want at most %.3f s", o.TwoAfter, handover)
		}
		return o.ends(faulted)
	})
}

// When it goes on it must not announce what it should have announced long ago: a
// second time, 5 s after it became master.
func TestAMasterThatWasHeldUpDoesNotAnnounceWhatItHasLost(t *testing.T) {
	t.Parallel()
	all(t, "pause-early", func(o outcome) string {
		const few = 10
		if o.LostAfter > few {
			return fmt.Sprintf("%d pings were lost after it went on, want at most %d", o.LostAfter, few)
		}
		return o.ends(faulted)
	})
}

func TestNobodyNoticesARestartInGoodOrder(t *testing.T) {
	t.Parallel()
	all(t, "restart", func(o outcome) string {
		const few, shortly = 3, 0.5
		switch {
		case o.Lost > few:
			return fmt.Sprintf("%d pings were lost, want at most %d", o.Lost, few)
		case o.Two+o.TwoAfter > shortly:
			return fmt.Sprintf("two routers had an address for %.3f s, want at most %.3f s", o.Two+o.TwoAfter, shortly)
		}
		return o.ends(faulted)
	})
}

func TestNobodyNoticesACrashThatIsFollowedByAStart(t *testing.T) {
	t.Parallel()
	all(t, "kill-restart", func(o outcome) string {
		const gap = 0.4 // promised: 0.2
		switch {
		case o.Transitions > 0:
			return fmt.Sprintf("the peer changed its state %d times, want never", o.Transitions)
		case o.Gap > gap:
			return fmt.Sprintf("the client had no answer for %.3f s, want at most %.3f s", o.Gap, gap)
		case o.Two+o.TwoAfter > granularity.Seconds():
			return fmt.Sprintf("two routers had an address for %.3f s, want never", o.Two+o.TwoAfter)
		}
		return o.ends(faulted)
	})
}

func TestAfterAHealTheClientTalksToTheWinner(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		pair
		fault string
		first int
	}{
		{"the winner's advert crosses first", pair{vipd, vipd}, "heal-winner-first", faulted},
		{"the loser's advert crosses first", pair{vipd, vipd}, "heal-loser-first", peer},
		{"keepalived wins", pair{keepalived, vipd}, "heal-winner-first", faulted},
		{"keepalived loses, and its advert crosses first", pair{vipd, keepalived}, "heal-loser-first", peer},
		{"keepalived loses, and sends one last advert", pair{vipd, keepalived}, "heal-winner-first-told", faulted},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			try(t, test.fault, test.pair, func(o outcome) string {
				const soon = 0.4 // promised: 0.2
				switch {
				case o.First != routerNames[test.first]:
					return fmt.Sprintf("the first advertisement that crossed was that of %s, want %s", o.First, routerNames[test.first])
				case o.Misled > soon:
					return fmt.Sprintf("the client talked to the loser for %.3f s after the first advertisement that crossed, want at most %.3f s", o.Misled, soon)
				}
				return o.ends(faulted)
			})
		})
	}
}
