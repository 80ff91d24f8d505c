package daemontest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vipd/arp"
	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// steady returns a configuration with 1 s adverts, whose lease is 3 s: one for what
// a busy machine must not disturb.
func steady(priority int, more ...string) string { return steadily("1", priority, more...) }

// steadily is steady with another interval.
func steadily(interval string, priority int, more ...string) string {
	yaml := strings.NewReplacer("100ms", interval, "200", fmt.Sprint(priority)).Replace(fast)
	for _, line := range more {
		yaml += "    " + line + "\n"
	}
	return yaml
}

// established waits until the only instance has been master for so long that nobody
// who is heard claims the addresses with a last word.
func (d *daemon) established() {
	d.t.Helper()
	rig.Eventually(d.t, patience, "it has been master for a while", func() bool {
		i := d.instance("")
		return i.State == control.StateMaster && !i.Degraded && time.Since(i.Since) > 2*i.AdvertInterval.Duration()+300*time.Millisecond
	})
}

// promotes returns promote_secondaries of eth0.
func promotes(t *testing.T, n *netiftest.Node) string {
	t.Helper()
	v, err := n.GetSysctl("net.ipv4.conf.eth0.promote_secondaries")
	check(t, err)
	return strings.TrimSpace(v)
}

// shown returns what `ip addr` says of an address on eth0.
func shown(t *testing.T, n *netiftest.Node, a string) string {
	t.Helper()
	for line := range strings.Lines(tool(t, n, "ip", "-oneline", "address", "show", "dev", "eth0")) {
		if strings.Contains(line, " "+a+"/") {
			return line
		}
	}
	t.Fatalf("%s is not on %s", a, n.Name())
	return ""
}

// TestALeaseIsSeenAndTakesNoOtherAddressAlong has a virtual address be the primary
// one of its subnet, in which the host has an address of its own, while the daemon
// is killed, started and stopped.
func TestALeaseIsSeenAndTakesNoOtherAddressAlong(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	check(t, r.Sysctl("net.ipv4.conf.eth0.promote_secondaries", "0"))
	const lease = 3 * time.Second
	yaml := strings.Replace(several("192.0.2.10/24", "198.51.100.10/24"), "100ms", "1", 1) + "    virtual_ipaddress_excluded: [2001:db8::10/64]\n"
	d := s.masterOf(r, yaml)
	if got := promotes(t, r); got != "1" {
		t.Errorf("promote_secondaries is %s while addresses have a lease", got)
	}
	own := "198.51.100.5"
	check(t, r.AddAddr("eth0", prefix(own+"/24")))
	virtual := []string{"192.0.2.10", "198.51.100.10", "2001:db8::10"}
	for _, a := range virtual {
		line := shown(t, r, a)
		if !strings.Contains(line, "dynamic") || !regexp.MustCompile(`valid_lft [0-3]sec`).MatchString(line) {
			t.Errorf("ip shows %s", line)
		}
		var row control.Address
		rig.Eventually(t, quick, "status tells of the lease of "+a, func() bool { // what it has of the kernel may be older
			row = address(t, d.instance(""), a)
			return row.Lease > 0
		})
		if row.Lease.Duration() > lease {
			t.Errorf("status says that the lease of %s ends in %v", a, row.Lease)
		}
	}
	for _, a := range []string{"192.0.2.1", own} {
		if line := shown(t, r, a); strings.Contains(line, "dynamic") || !strings.Contains(line, "valid_lft forever") {
			t.Errorf("ip shows %s", line)
		}
	}
	if got := d.instance("").Lease; got == nil || got.Length.Duration() != lease || got.Off != "" {
		t.Errorf("status says of the lease %+v", got)
	}

	killed := time.Now()
	d.Kill(t)
	rig.Eventually(t, quick, "the virtual addresses are gone", func() bool {
		return !slices.ContainsFunc(virtual, func(a string) bool { return has(r, "eth0", a) })
	})
	if d := time.Since(killed); d > lease+5*time.Second {
		t.Errorf("the addresses were there for %v after the end", d)
	}
	if !has(r, "eth0", own) || !has(r, "eth0", "192.0.2.1") {
		t.Fatal("an address of the host's own went along")
	}

	d = start(t, r, yaml, rig.WithRunDir(d.RunDir))
	d.is(control.StateMaster)
	rig.Eventually(t, quick, "all addresses are in place", func() bool { return !d.instance("").Degraded })
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !has(r, "eth0", own) || has(r, "eth0", "198.51.100.10") {
		t.Error("after an orderly end the host has not exactly its own addresses")
	}
	if got := promotes(t, r); got != "0" {
		t.Errorf("after a crash, a start and an orderly end promote_secondaries is %s", got)
	}
}

func TestADeletedAddressIsBackWithinATenthOfASecondAndTheCauseIsNamed(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	// Nothing but what is put back is announced after the beginning.
	d := s.masterOf(r, steady(200, "garp_master_delay: 0", "virtual_ipaddress_excluded: [2001:db8::10/64]"))
	const (
		times  = 7 // fewer than make a fight
		silent = 200 * time.Millisecond
	)
	var took []time.Duration
	for range times {
		rig.Eventually(t, quick, "it is announced no more", func() bool {
			return len(s.wire.announcements("192.0.2.10", time.Now().Add(-silent))) == 0
		})
		since := time.Now()
		check(t, r.RemoveAddr("eth0", prefix("192.0.2.10/24")))
		got := s.wire.announcement("192.0.2.10", since)
		took = append(took, got.at.Sub(since))
		rig.Eventually(t, quick, "it is back", func() bool { return has(r, "eth0", "192.0.2.10") })
	}
	slices.Sort(took)
	t.Logf("it was announced again after %v", took)
	// A busy machine may be late, but not each time.
	if took[times/2] > 100*time.Millisecond || took[times-1] > quick {
		t.Errorf("it was announced again after %v", took)
	}
	tool(t, r, "ip", "address", "del", "2001:db8::10/64", "dev", "eth0")
	var i control.Instance
	rig.Eventually(t, quick, "all is counted and told", func() bool {
		i = d.instance("")
		return i.Counters.Restored == times+1 && len(eventsOf(i, control.EventAddressRestored)) == times+1
	})
	ipv6 := 0 // in any order: who it was takes some time to find out
	for _, e := range eventsOf(i, control.EventAddressRestored) {
		want := fmt.Sprintf("(process id %d)", os.Getpid())
		if strings.HasPrefix(e.Text, "2001:db8::10 ") {
			ipv6++
			want = "2001:db8::10 on eth0 removed by"
		}
		if !strings.Contains(e.Text, want) || !strings.Contains(e.Text, "put back") {
			t.Errorf("an event is %q, want %q", e.Text, want)
		}
	}
	if ipv6 != 1 {
		t.Errorf("%d of the events are of IPv6: %v", ipv6, i.Events)
	}
	rig.Eventually(t, quick, "that of IPv6 is back", func() bool { return has(r, "eth0", "2001:db8::10") })
	if !strings.Contains(shown(t, r, "2001:db8::10"), "dynamic") || path(i) != "init backup master" {
		t.Errorf("it went %s, and %s", path(i), shown(t, r, "2001:db8::10"))
	}
}

func TestAStationThatClaimsTheAddressIsNamed(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	// Without the second round of announcements, which may be due at the end.
	d := s.masterOf(r, steady(200, "garp_master_delay: 0"))
	in := s.injector()
	mac := arp.MAC{2, 0, 0, 0, 0xbe, 0xef}
	d.established()
	begin := time.Now()
	claim := arp.AppendAnnouncement(nil, mac, addr("192.0.2.10"), false)
	for range 3 {
		check(t, in.Send(claim))
	}
	last := time.Now()
	var i control.Instance
	rig.Eventually(t, quick, "it is contested", func() bool {
		i = d.instance("")
		return len(i.Contested) > 0 && i.Counters.Contested > 0
	})
	text := net.HardwareAddr(mac[:]).String()
	if c := i.Contested[0]; c.MAC != text || c.VIP != addr("192.0.2.10") || c.Address.IsValid() || c.Since.Before(begin) || !i.Degraded || !strings.Contains(i.DegradedText, text) {
		t.Errorf("contested by %+v: %s", c, i.DegradedText)
	}
	d.logs(1, "ERROR", "contested", text, "192.0.2.10")
	if i.State != control.StateMaster || i.Counters.Contested != 1 {
		t.Errorf("it is %s, and counted %d", i.State, i.Counters.Contested)
	}
	rig.Eventually(t, patience, "the contest ends", func() bool {
		i = d.instance("")
		return len(i.Contested) == 0
	})
	ends := eventsOf(i, control.EventContestEnded)
	if len(ends) != 1 || len(eventsOf(i, control.EventContested)) != 1 {
		t.Fatalf("the events are %v", i.Events)
	}
	over := ends[0].At
	if over.Sub(last) < 4*time.Second {
		t.Errorf("it is over %v after the last claim", over.Sub(last))
	}
	if got := s.wire.announcement("192.0.2.10", over.Add(-time.Second)); got.mac.String() != hardware(t, r, "eth0").String() {
		t.Errorf("at the end %v is announced", got.mac)
	}
}

// TestAHostThatKeepsTheAddressStaysKnown has another host announce the address once
// and then be silent, as one does that has it configured by mistake: it answers
// whoever asks.
func TestAHostThatKeepsTheAddressStaysKnown(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r, other := s.router(1), s.router(2)
	d := s.masterOf(r, steady(200))
	in := s.injector()
	d.established()
	check(t, other.AddAddr("eth0", prefix("192.0.2.10/32")))
	mac := arp.MAC(hardware(t, other, "eth0"))
	check(t, in.Send(arp.AppendAnnouncement(nil, mac, addr("192.0.2.10"), false)))
	rig.Eventually(t, quick, "it is contested", func() bool { return len(d.instance("").Contested) > 0 })
	since := d.instance("").Contested[0].Since
	time.Sleep(7 * time.Second) // longer than one that is silent is remembered
	i := d.instance("")
	if len(i.Contested) != 1 || i.Contested[0].MAC != mac.String() || !i.Contested[0].Since.Equal(since) {
		t.Errorf("contested by %+v, and since %v by one that still has the address", i.Contested, since)
	}
	check(t, other.RemoveAddr("eth0", prefix("192.0.2.10/32")))
	rig.Eventually(t, patience, "the contest ends", func() bool { return len(d.instance("").Contested) == 0 })
}

// eventsOf returns the events of a kind.
func eventsOf(i control.Instance, kind control.EventKind) (out []control.Event) {
	for _, e := range i.Events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func eventKinds(i control.Instance) (out []control.EventKind) {
	for _, e := range i.Events {
		out = append(out, e.Kind)
	}
	return out
}

func TestAnotherMasterIsNamedAndTheWinnerAnnouncesAgain(t *testing.T) {
	t.Parallel()
	netiftest.RequireProgram(t, "nft")
	s := newSegment(t)
	r1, r2 := s.router(1), s.router(2)
	a := s.masterOf(r1, fast)
	b := start(t, r2, strings.Replace(fast, "200", "100", 1))
	b.is(control.StateBackup)
	tool(t, r2, "nft", "add table ip deaf; add chain ip deaf in { type filter hook input priority 0; }; add rule ip deaf in ip protocol 112 drop")
	b.is(control.StateMaster)
	text := hardware(t, r2, "eth0").String()
	var i control.Instance
	rig.Eventually(t, quick, "it is contested by advertisements, and the station is known", func() bool {
		i = a.instance("")
		return slices.ContainsFunc(i.Contested, func(c control.Rival) bool {
			return c.Address == addr("192.0.2.2") && c.Priority == 100 && c.MAC == text
		})
	})
	if i.State != control.StateMaster || !strings.Contains(i.DegradedText, "contested by 192.0.2.2, priority 100") {
		t.Errorf("it is %s: %s", i.State, i.DegradedText)
	}
	a.logs(1, "ERROR", "contested", "192.0.2.2", text, "priority=100")
	healed := time.Now()
	tool(t, r2, "nft", "delete table ip deaf")
	b.is(control.StateBackup)
	rig.Eventually(t, patience, "the contest ends", func() bool { return len(a.instance("").Contested) == 0 })
	mac := hardware(t, r1, "eth0").String()
	list := s.wire.announcements("192.0.2.10", healed)
	if n := len(list); n == 0 || list[n-1].mac.String() != mac {
		t.Errorf("after it was healed %d announcements were heard, the last of them not by the winner", n)
	}
	if got := path(a.instance("")); got != "init backup master" {
		t.Errorf("the winner went %s", got)
	}
}

// failover runs `vipd failover` for a daemon and returns what it says.
func (d *daemon) failover(wantCode int, args ...string) string {
	d.t.Helper()
	args = append([]string{"failover", "--run-dir", d.RunDir}, args...)
	out, err := d.Node().Command(d.t.Context(), rig.BuildVIPD(d.t), args...).CombinedOutput()
	if code := exitCode(d.t, err); code != wantCode {
		d.t.Errorf("%q: exit code %d, want %d", args, code, wantCode)
	}
	return string(out)
}

// pinging pings addresses from the host until the function it returns is called,
// which complains if more than some pings got no answer while a router became
// master: those are left out that a busy machine explains, since it did not let the
// new master have its addresses in time.
func (s *segment) pinging(addrs ...string) func(master *daemon, src, when string) {
	s.t.Helper()
	var pingers []*netiftest.Pinger
	begin := time.Now()
	for _, a := range addrs {
		p, err := s.host.Ping(context.Background(), netiftest.PingConfig{Target: addr(a)})
		check(s.t, err)
		s.t.Cleanup(func() { p.Stop() })
		pingers = append(pingers, p)
		rig.Eventually(s.t, quick, a+" answers", func() bool { return p.Report().Answered > 0 })
	}
	return func(master *daemon, src, when string) {
		s.t.Helper()
		const few, interval = 3, 10 * time.Millisecond
		first := s.wire.advert("of the new master", from(src, begin)).at
		mac := hardware(s.t, master.Node(), "eth0").String()
		lost, text, most := 0, "", few
		for i, p := range pingers {
			r := p.Stop()
			lost += r.Lost
			late := s.wire.announcement(addrs[i], first.Add(-time.Millisecond)).at.Sub(first)
			if late > 20*time.Millisecond {
				most += few + 2*int(late/interval) // the machine was held up, and the client is on it
			}
			if r.Lost > 0 {
				text += fmt.Sprintf("; %d of %s, not reached for %v from %s on", r.Lost, addrs[i], r.LongestGap, r.GapStart.Format("15:04:05.000"))
				for _, a := range s.wire.announcements(addrs[i], r.Probes[0].Sent) {
					text += fmt.Sprintf(", %v announced at %s", a.mac, a.at.Format("15:04:05.000"))
				}
			}
		}
		if lost > most {
			s.t.Errorf("%s %d pings were lost, at most %d should be (%s advertised first at %s)%s", when, lost, most, mac, first.Format("15:04:05.000"), text)
		}
	}
}

// group returns two instances in a sync group.
func group(priority int) string {
	return strings.Replace(`vrrp_sync_group:
  VG: {group: [VI, VJ]}
vrrp_instance:
  VI: {interface: eth0, virtual_router_id: 51, priority: PRIO, advert_int: 1, virtual_ipaddress: [192.0.2.10/24], virtual_ipaddress_excluded: [2001:db8::10/64]}
  VJ: {interface: eth0, virtual_router_id: 52, priority: PRIO, advert_int: 1, virtual_ipaddress: [192.0.2.20/24, 192.0.2.21/24]}
`, "PRIO", fmt.Sprint(priority), 2)
}

func TestAFailoverLosesNothingAndCanBeTakenBack(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	a := start(t, s.router(1), group(200))
	a.instanceIs("VJ", control.StateMaster)
	if out := a.failover(1, "VI"); !strings.Contains(out, "VI: nobody took over") || !strings.Contains(out, "VJ: nobody took over") {
		t.Errorf("where there is nobody, it says %s", out)
	}
	b := start(t, s.router(2), group(100))
	for _, name := range []string{"VI", "VJ"} {
		a.instanceIs(name, control.StateMaster)
		b.instanceIs(name, control.StateBackup)
		if i := a.instance(name); path(i) != "init backup master" || !slices.Contains(eventKinds(i), control.EventNobodyTookOver) || i.Yielded {
			t.Errorf("%s went %s: %v", name, path(i), eventKinds(i))
		}
	}
	all := []string{"192.0.2.10", "192.0.2.20", "192.0.2.21", "2001:db8::10"}
	there := func(d, other *daemon) {
		t.Helper()
		for _, a := range all {
			rig.Eventually(t, quick, a+" is on "+d.Node().Name()+" alone", func() bool {
				return has(d.Node(), "eth0", a) && !has(other.Node(), "eth0", a)
			})
		}
	}
	there(a, b)
	time.Sleep(100 * time.Millisecond)
	lost := s.pinging(all...)
	out := a.failover(0, "VG")
	for _, name := range []string{"VI", "VJ"} {
		if !strings.Contains(out, name+": 192.0.2.2 (priority 100) is master now") {
			t.Errorf("it says %s", out)
		}
		b.instanceIs(name, control.StateMaster)
		if i := a.instance(name); !i.Yielded || i.State != control.StateBackup || i.Counters.HandedOver != 1 {
			t.Errorf("%s is %s, yielded %t, handed over %d times", name, i.State, i.Yielded, i.Counters.HandedOver)
		}
	}
	there(b, a)
	// It is the better one, and leaves it to the other nonetheless.
	always(t, 4*time.Second, func() string {
		if i := a.instance("VI"); i.State != control.StateBackup {
			return "it has taken over again"
		}
		return ""
	})
	lost(b, "192.0.2.2", "in the failover")
	lost = s.pinging(all...)
	a.failover(0, "--all", "--end")
	a.instanceIs("VI", control.StateMaster)
	a.instanceIs("VJ", control.StateMaster)
	there(a, b)
	lost(a, "192.0.2.1", "on the way back")
	lost = s.pinging(all...)
	if code := a.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	b.instanceIs("VI", control.StateMaster)
	lost(b, "192.0.2.2", "in a planned stop")
}

// told is what the scripts and the pipe of a router were told: a line each.
func told(t *testing.T, files ...string) string {
	t.Helper()
	all := ""
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all += string(b)
	}
	return all
}

// lastLine reports whether the last of some lines has a word in it.
func lastLine(lines, word string) bool {
	lines = strings.TrimSpace(lines)
	return strings.Contains(lines[strings.LastIndex(lines, "\n")+1:], word)
}

// TestARestartAfterACrashIsNoticedByNobodyOrStartsOver kills a master and starts it
// again: at once, when it goes on, and late, when another one is master.
func TestARestartAfterACrashIsNoticedByNobodyOrStartsOver(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	dir := t.TempDir()
	file, pipe, piped := filepath.Join(dir, "told"), filepath.Join(dir, "pipe"), filepath.Join(dir, "piped")
	check(t, unix.Mkfifo(pipe, 0o600))
	// It is open for writing, too, so that it has no end.
	reader := r.Command(t.Context(), netiftest.RequireProgram(t, "sh"), "-c", `exec cat 0<>"$1" >"$2"`, "sh", pipe, piped)
	check(t, reader.Start())
	t.Cleanup(reader.Stop)
	notify := script(t, "notify", fmt.Sprintf("#!/bin/sh\necho script $3 >>%s\n", file))
	const interval = 2 * time.Second
	down := vrrp.MasterDownInterval(vrrp.V3, 100, interval, 3)
	yaml := fmt.Sprintf("global_defs:\n  enable_script_security: false\n  vrrp_notify_fifo: %s\n", pipe) +
		steadily("2", 200, "notify: "+notify, "virtual_ipaddress_excluded: [2001:db8::10/64]")
	a := s.masterOf(r, yaml)
	b := start(t, s.router(2), steadily("2", 100, "virtual_ipaddress_excluded: [2001:db8::10/64]"))
	var killed time.Time
	var before, peer string
	var lost func(master *daemon, src, when string)
	for attempt := 1; ; attempt++ {
		a.is(control.StateMaster)
		peer = path(b.is(control.StateBackup))
		rig.Eventually(t, quick, "scripts and pipe are told", func() bool {
			return lastLine(told(t, file), "MASTER") && lastLine(told(t, piped), "MASTER")
		})
		before = told(t, file, piped)
		lost = s.pinging("192.0.2.10", "2001:db8::10")
		killed = time.Now()
		a.Kill(t)
		a = start(t, r, yaml, rig.WithRunDir(a.RunDir))
		i := a.instance("")
		if took := time.Since(killed); i.Counters.Resumed == 0 && took > interval && attempt < 5 {
			t.Logf("the machine is too busy: it took %v to start", took)
			continue
		}
		if path(i) != "init master" || i.Reason.Kind != "resumed" || i.Counters.Resumed != 1 || len(eventsOf(i, control.EventResumed)) != 1 {
			t.Fatalf("started again at once it went %s: %s; %v", path(i), i.Reason.Text, eventKinds(i))
		}
		break
	}
	// And it stays: by then the peer would have missed it.
	always(t, time.Until(killed.Add(down+500*time.Millisecond)), func() string {
		if i := b.instance(""); path(i) != peer {
			return "the peer went " + path(i)
		}
		return ""
	})
	if i := a.instance(""); path(i) != "init master" || i.Degraded || !strings.Contains(shown(t, r, "192.0.2.10"), "dynamic") || !strings.Contains(shown(t, r, "2001:db8::10"), "dynamic") {
		t.Errorf("it went %s: %s", path(i), i.DegradedText)
	}
	if after := told(t, file, piped); after != before {
		t.Errorf("scripts and pipe were told\n%s\nand before\n%s", after, before)
	}
	lost(a, "192.0.2.1", "in a crash and a restart")
	if sent := s.wire.adverts(stops("192.0.2.1", time.Time{})); len(sent) > 0 {
		t.Error("it advertised priority 0")
	}

	a.Kill(t)
	b.is(control.StateMaster)
	a = start(t, r, yaml, rig.WithRunDir(a.RunDir))
	if i := a.instance(""); !strings.HasPrefix(path(i), "init backup") || i.Counters.Resumed != 0 {
		t.Errorf("started again late it went %s", path(i))
	}
	rig.Eventually(t, quick, "scripts are told that it is backup", func() bool {
		more := strings.TrimPrefix(told(t, file), strings.TrimSuffix(before, told(t, piped)))
		return strings.Contains(more, "BACKUP")
	})
}

// TestWhoWasHandingOverDoesNotGoOn kills a master in the middle of its planned end,
// and starts it again at once.
func TestWhoWasHandingOverDoesNotGoOn(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	// For as long as an interval it waits for whoever takes over.
	yaml := steadily("5", 200)
	d := s.masterOf(r, yaml)
	d.Signal(t, syscall.SIGTERM)
	s.wire.advert("of priority 0", stops("192.0.2.1", time.Time{}))
	if !has(r, "eth0", "192.0.2.10") {
		t.Fatal("the address went with the priority 0: the test tests nothing")
	}
	d.Kill(t)
	if !has(r, "eth0", "192.0.2.10") {
		t.Fatal("the address is gone already: the test tests nothing")
	}
	d = start(t, r, yaml, rig.WithRunDir(d.RunDir))
	if i := d.instance(""); path(i) != "init backup" || i.Counters.Resumed != 0 {
		t.Errorf("it went %s", path(i))
	}
	if has(r, "eth0", "192.0.2.10") {
		t.Error("the address is still there")
	}
	d.logs(1, "WARN", "removed an address that an earlier run left")
}

// beside returns an instance next to keepalived's.
func beside(name string, vrid int, hold string) string {
	return fmt.Sprintf("  %s: {interface: eth0, version: 2, virtual_router_id: %d, priority: 200, advert_int: 1, hold_on_mismatch: %s, virtual_ipaddress: [192.0.2.%d/24]}\n", name, vrid, hold, vrid)
}

// TestAPeerWithAnotherIntervalHoldsTheElection has a keepalived be master whose
// advertisements are refused, since their interval is another one.
func TestAPeerWithAnotherIntervalHoldsTheElection(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	conf := ""
	for _, vrid := range []int{51, 52} {
		conf += fmt.Sprintf("vrrp_instance V%d {\n state MASTER\n interface eth0\n virtual_router_id %d\n priority 100\n advert_int 2\n virtual_ipaddress {\n 192.0.2.%d/24\n }\n}\n", vrid, vrid, vrid)
	}
	k := rig.StartKeepalived(t, s.router(2), conf)
	for _, vrid := range []string{"V51", "V52"} {
		k.WaitState(t, vrid, control.StateMaster, patience)
	}
	r := s.router(1)
	d := start(t, r, "vrrp_instance:\n"+beside("holds", 51, "on")+beside("takes", 52, "off"))
	d.instanceIs("takes", control.StateMaster)
	always(t, 2500*time.Millisecond, func() string {
		if i := d.instance("holds"); path(i) != "init backup" {
			return "the one that is held went " + path(i)
		}
		return ""
	})
	i := d.instance("holds")
	if i.Held == nil || i.Held.Peer != addr("192.0.2.2") || len(i.Mismatches) != 1 || !strings.Contains(i.Mismatches[0].Text, "interval") {
		t.Errorf("it is held by %+v; %+v", i.Held, i.Mismatches)
	}
	if kinds := eventKinds(i); !slices.Equal(kinds, []control.EventKind{control.EventHeld}) {
		t.Errorf("its events are %v", kinds)
	}
	d.logs(1, "WARN", "not taking over", "instance=holds", "192.0.2.2")
	if has(r, "eth0", "192.0.2.51") || !has(r, "eth0", "192.0.2.52") {
		t.Error("it has not exactly the address that it took")
	}
	// Whoever is silent for long holds nothing.
	k.Kill(t)
	d.instanceIs("holds", control.StateMaster)
}

// TestAMasterThatWasStoppedListensFirst stops a master for so long that another one
// takes over, while a round of announcements is due.
func TestAMasterThatWasStoppedListensFirst(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r1, r2 := s.router(1), s.router(2)
	b := start(t, r2, strings.Replace(fast, "200", "100", 1))
	b.is(control.StateMaster)
	a := s.masterOf(r1, fast+"    garp_master_delay: 2\n")
	b.is(control.StateBackup)
	a.Pause(t)
	b.is(control.StateMaster)
	rig.Eventually(t, quick, "the kernel has removed the address", func() bool { return !has(r1, "eth0", "192.0.2.10") })
	time.Sleep(1500 * time.Millisecond) // the round of announcements is overdue
	goesOn := time.Now()
	a.Continue(t)
	var i control.Instance
	rig.Eventually(t, quick, "it is master again, being the better one, by way of backup", func() bool {
		i = a.instance("")
		return path(i) == "init backup master backup master"
	})
	back := i.Since
	if listened := back.Sub(goesOn); listened < 100*time.Millisecond {
		t.Errorf("it was master again after %v", listened)
	}
	const near = 5 * time.Millisecond // what the clocks of the wire and of the daemon may differ by
	for _, adv := range s.wire.adverts(from("192.0.2.1", goesOn)) {
		if adv.at.Before(back.Add(-near)) {
			t.Errorf("it advertised priority %d before it had listened, %v after it went on", adv.Priority, adv.at.Sub(goesOn))
		}
	}
	mac := hardware(t, r1, "eth0").String()
	for _, ann := range s.wire.announcements("192.0.2.10", goesOn) {
		if ann.ethernet.String() == mac && ann.at.Before(back.Add(-near)) {
			t.Errorf("it announced the address, which it did not have, %v after it went on", ann.at.Sub(goesOn))
		}
	}
	if i.Counters.Gaps == 0 || i.Gaps.Longest.Duration() < time.Second || !slices.Contains(eventKinds(i), control.EventGap) {
		t.Errorf("of the gap it tells %+v and %v", i.Gaps, eventKinds(i))
	}
}

// fill leaves no room in a directory.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	check(t, err)
	defer f.Close()
	for size := 4096; size > 0; {
		switch _, err := f.Write(make([]byte, size)); {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		default:
			check(t, err)
		}
	}
}

func TestAFullDiskKeepsNobodyFromStarting(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	fill(t, dir)
	d := s.masterOf(r, fast, rig.WithRunDir(dir))
	d.logs(1, "ERROR", "cannot record which addresses are vipd's")
	st := d.status()
	if !st.Daemon.Degraded || !slices.ContainsFunc(st.Daemon.Reasons, func(r string) bool { return strings.Contains(r, "no space left") }) {
		t.Errorf("status says %v", st.Daemon.Reasons)
	}
	d.Kill(t)
	d = start(t, r, fast, rig.WithRunDir(dir))
	d.is(control.StateMaster)
	rig.Eventually(t, quick, "the address is in place", func() bool { return has(r, "eth0", "192.0.2.10") })
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if has(r, "eth0", "192.0.2.10") {
		t.Error("the address is left")
	}
}
