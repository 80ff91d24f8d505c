package daemontest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

// readd removes an address of eth0 and adds it again for good in one go, as a network
// manager does that applies its configuration. It is tried until nobody was quicker to
// put the address back, since then there is nothing to take back.
func readd(t *testing.T, n *netiftest.Node, a string) {
	t.Helper()
	const times = 50
	for range times {
		check(t, n.RemoveAddr("eth0", prefix(a)))
		if err := n.AddAddr("eth0", prefix(a)); err == nil {
			return
		}
		rig.Eventually(t, quick, a+" is back", func() bool { return has(n, "eth0", prefix(a).Addr().String()) })
	}
	t.Fatalf("%s could not be added in %d times", a, times)
}

func TestAnAddressThatSomebodyRemovesAndAddsAgainIsTakenBackAndHandedOver(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r, other := s.router(1), s.router(2)
	all := []string{"192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64"}
	yaml := func(priority int) string {
		return strings.Replace(steady(priority, "virtual_ipaddress_excluded: [2001:db8::10/64]"),
			"[192.0.2.10/24]", "[192.0.2.10/24, 192.0.2.11/24]", 1)
	}
	a := s.masterOf(r, yaml(200))
	b := start(t, other, yaml(100))
	b.is(control.StateBackup)
	ours := func(p string) bool {
		return strings.Contains(tool(t, r, "ip", "-oneline", "address", "show", "dev", "eth0", "to", prefix(p).Addr().String()), " dynamic ")
	}
	for _, p := range all[1:] {
		readd(t, r, p)
		rig.Eventually(t, quick, p+" has a lease again", func() bool { return ours(p) })
		check(t, r.RemoveAddr("eth0", prefix(p)))
		rig.Eventually(t, quick, p+" is back with a lease", func() bool { return ours(p) })
	}
	if n := a.lines("will not remove it"); n > 0 {
		t.Errorf("addresses of its own count as the host's: %s", a.Log())
	}
	var i control.Instance
	rig.Eventually(t, quick, "all is well", func() bool {
		const fight = 10 // then it is degraded for a while
		i = a.instance("")
		return !i.Degraded || i.Counters.Restored >= fight
	})
	if i.Counters.Restored < 4 {
		t.Errorf("%d addresses were put back", i.Counters.Restored)
	}

	readd(t, r, all[1])
	rig.Eventually(t, quick, "it has a lease again, and vipd knows", func() bool {
		return ours(all[1]) && address(t, a.instance(""), "192.0.2.11").Lease > 0
	})
	a.failover(0, "--all")
	b.is(control.StateMaster)
	rig.Eventually(t, quick, "the addresses have moved, and nothing is left", func() bool {
		return !slices.ContainsFunc(all, func(p string) bool {
			ip := prefix(p).Addr().String()
			return has(r, "eth0", ip) || !has(other, "eth0", ip)
		})
	})
}

// TestAMasterThatStandsStillAtOnceNeverPutsBackWhatHasExpired stops a router as soon as
// it is master, for longer than a lease, and for less than others wait.
func TestAMasterThatStandsStillAtOnceNeverPutsBackWhatHasExpired(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	const pause = 3200 * time.Millisecond
	d := start(t, r, steady(100, "virtual_ipaddress_excluded: [2001:db8::10/64]"))
	rig.Eventually(t, patience, "it becomes master", func() bool { return d.lines("to=master") > 0 })
	d.Pause(t)
	paused := time.NewTimer(pause)
	defer paused.Stop()
	<-paused.C
	d.Continue(t)
	var i control.Instance
	rig.Eventually(t, patience, "it gives up", func() bool {
		i = d.instance("")
		return strings.HasPrefix(path(i), "init backup master backup") || i.Counters.Restored > 0
	})
	rig.Eventually(t, patience, "it is master and has its addresses", func() bool {
		i = d.instance("")
		return i.State == control.StateMaster && has(r, "eth0", "192.0.2.10") && has(r, "eth0", "2001:db8::10")
	})
	if n := d.lines("putting them back"); n > 0 || i.Counters.Restored > 0 {
		t.Errorf("what has expired was put back: %s", d.Log())
	}
}
