package daemontest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// router1 is the address of the router that is reloaded.
const router1 = "192.0.2.1"

// rewrite replaces the configuration file of a vipd.
func (d *daemon) rewrite(yaml string) {
	d.t.Helper()
	check(d.t, os.WriteFile(d.File, []byte(yaml), 0o600))
}

// command runs `vipd reload` and returns what it says, and how it ends.
func (d *daemon) command(args ...string) (control.Reload, int) {
	d.t.Helper()
	args = append([]string{"reload", "--json", "--run-dir", d.RunDir}, args...)
	out, err := exec.CommandContext(d.t.Context(), rig.BuildVIPD(d.t), args...).Output()
	code := exitCode(d.t, err)
	var r control.Reload
	if err := json.Unmarshal(out, &r); err != nil {
		d.t.Fatalf("vipd reload: %v, exit code %d:\n%s", err, code, out)
	}
	return r, code
}

// reload goes over to a configuration, by command or by a signal.
func (d *daemon) reload(yaml string, byCommand bool) control.Reload {
	d.t.Helper()
	d.rewrite(yaml)
	if byCommand {
		r, code := d.command()
		if (code == 0) != r.Applied || (code == 2) != (r.Error != "") {
			d.t.Errorf("exit code %d for %+v", code, r)
		}
		return r
	}
	before := d.status().Daemon.Reload
	d.Signal(d.t, syscall.SIGHUP)
	var after *control.Reload
	rig.Eventually(d.t, patience, "it has reloaded", func() bool {
		after = d.status().Daemon.Reload
		return after != nil && (before == nil || after.At.After(before.At))
	})
	return *after
}

// sockets returns the raw sockets of VRRP that a process has open.
func sockets(t *testing.T, pid int) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/raw", pid))
	check(t, err)
	all := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], ":0070") {
			all["socket:["+f[9]+"]"] = true
		}
	}
	own := make(map[string]bool)
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	check(t, err)
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil && all[to] {
			own[to] = true
		}
	}
	return own
}

// pinger pings an address from the host every 10 ms.
func (s *segment) pinger(target string) *netiftest.Pinger {
	s.t.Helper()
	p, err := s.host.Ping(s.t.Context(), netiftest.PingConfig{Target: addr(target)})
	check(s.t, err)
	rig.Eventually(s.t, patience, target+" answers", func() bool { return p.Report().Answered > 10 })
	return p
}

// A settings is a configuration in parts, of which a test replaces one or the
// other.
type settings map[string]string

// with returns the settings with others in place of some.
func (s settings) with(pairs ...string) settings {
	out := maps.Clone(s)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// yaml joins the parts: those of one block share the first word of their keys.
func (s settings) yaml() string {
	var b strings.Builder
	for _, block := range []string{"global_defs", "vrrp_script", "vrrp_sync_group", "vrrp_instance"} {
		first := true
		for _, key := range slices.Sorted(maps.Keys(s)) {
			if !strings.HasPrefix(key, block) || s[key] == "" {
				continue
			}
			if first {
				fmt.Fprintf(&b, "%s:\n", block)
				first = false
			}
			fmt.Fprintf(&b, "  %s\n", s[key])
		}
	}
	return b.String()
}

// watchRemovals has the kernel tell whenever an address is removed, until the function
// that it returns is called, which returns what it told.
func watchRemovals(t *testing.T, n *netiftest.Node, a string) (told func() string) {
	t.Helper()
	var out bytes.Buffer
	cmd := n.Command(t.Context(), netiftest.RequireProgram(t, "ip"), "-oneline", "monitor", "address")
	cmd.Stdout = &out
	check(t, cmd.Start())
	t.Cleanup(cmd.Stop)
	return func() string {
		t.Helper()
		cmd.Stop()
		removals := ""
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "Deleted") && strings.Contains(line, " "+a+"/") {
				removals += line
			}
		}
		if !strings.Contains(out.String(), "inet") {
			t.Error("nothing was seen of any address")
		}
		return removals
	}
}

func TestAReloadDisturbsNothingButWhatChanges(t *testing.T) {
	t.Parallel()
	const interval = "1" // with a lease of 3 s, which a busy machine does not miss
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "eth1", "198.51.100.1/24")
	s.plug(r, "eth2", "203.0.113.1/24")
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	tell := script(t, "tell", fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\n", told))
	other := script(t, "other", fmt.Sprintf("#!/bin/sh\necho \"other $@\" >>%s\n", told))
	good := script(t, "good", "#!/bin/sh\nexit 0\n")
	const instance = "virtual_router_id: %d, interface: %s, priority: %d, advert_int: %s, virtual_ipaddress: [%s], notify: %s%s}"
	vi := func(name string, vrid int, iface string, priority int, interval, vips, notify, more string) string {
		return name + ": {" + fmt.Sprintf(instance, vrid, iface, priority, interval, vips, notify, more)
	}
	base := settings{
		"global_defs":     "enable_script_security: false",
		"vrrp_instance 0": vi("KEEP", 50, "eth0", 200, interval, "192.0.2.50/24", tell, ""),
		"vrrp_instance 1": vi("A", 51, "eth0", 200, interval, "192.0.2.10/24, 192.0.2.11/24", tell, ""),
		"vrrp_instance 2": vi("B", 52, "eth1", 200, interval, "198.51.100.20/24", tell, ""),
		"vrrp_instance 3": vi("OLD", 53, "eth0", 200, "1", "192.0.2.30/24", tell, ", version: 2, authentication: {auth_type: PASS, auth_pass: first}"),
		"vrrp_instance 4": vi("C", 55, "eth0", 200, interval, "192.0.2.45/24", tell, ""),
	}
	d := start(t, r, base.yaml())
	for _, name := range []string{"KEEP", "A", "B", "OLD", "C"} {
		d.instanceIs(name, control.StateMaster)
	}
	lines := func() []string {
		b, err := os.ReadFile(told)
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	rig.Eventually(t, patience, "all are told of", func() bool { return len(lines()) >= 10 })
	const (
		noise = 20 // what comes late is no loss
		few   = 3  // what a busy machine may lose
	)
	// When a backup would take over.
	down := vrrp.MasterDownInterval(vrrp.V3, 100, time.Second, 3)
	started := time.Now()
	removed := watchRemovals(t, r, "192.0.2.50")
	pings := map[string]*netiftest.Pinger{"192.0.2.50": s.pinger("192.0.2.50"), "192.0.2.10": s.pinger("192.0.2.10")}
	open := sockets(t, d.PID())
	if len(open) == 0 {
		t.Fatal("no sockets are seen")
	}
	type step struct {
		name    string
		change  settings
		refused bool
		stops   []byte   // VRIDs whose last word is asked for
		told    []string // what scripts are called with, in any order
		after   func(t *testing.T)
	}
	moved := base.with("vrrp_instance 1", vi("A", 51, "eth0", 200, interval, "192.0.2.11/24", tell, ""),
		"vrrp_instance 4", vi("C", 55, "eth0", 200, interval, "192.0.2.45/24, 192.0.2.10/24", tell, ""))
	grouped := base.with("vrrp_sync_group", "G: {group: [B, KEEP], notify: "+tell+"}")
	tracked := base.with("vrrp_script", "good: {script: "+good+", interval: 1, weight: 10}",
		"vrrp_instance 1", vi("A", 51, "eth0", 200, interval, "192.0.2.10/24, 192.0.2.11/24", tell, ", track_script: good"))
	vips := func(name string, want bool, a string) func(*testing.T) {
		return func(t *testing.T) {
			rig.Eventually(t, quick, fmt.Sprintf("%s has %s: %t", name, a, want), func() bool { return has(r, "eth0", a) == want })
		}
	}
	priority := func(want uint8) func(*testing.T) {
		return func(t *testing.T) {
			rig.Eventually(t, quick, "the priority is in the adverts", func() bool { return d.instance("A").Priority == want })
		}
	}
	steps := []step{
		{name: "unchanged", change: base},
		{name: "an address added", change: base.with("vrrp_instance 1", vi("A", 51, "eth0", 200, interval, "192.0.2.10/24, 192.0.2.11/24, 192.0.2.12/24", tell, "")), after: vips("A", true, "192.0.2.12")},
		{name: "an address removed", change: base.with("vrrp_instance 1", vi("A", 51, "eth0", 200, interval, "192.0.2.10/24", tell, "")), after: vips("A", false, "192.0.2.11")},
		{name: "put back", change: base, after: vips("A", true, "192.0.2.11")},
		{name: "an address moved to another master", change: moved, after: func(t *testing.T) {
			rig.Eventually(t, quick, "it is the other's", func() bool { i := d.instance("C"); return !i.Degraded && len(i.Addresses) == 2 })
			if d.lines("is on this host already") > 0 {
				t.Error("it takes its own address for another's")
			}
		}},
		{name: "and back", change: base, after: func(t *testing.T) {
			rig.Eventually(t, quick, "it is its own", func() bool { i := d.instance("A"); return !i.Degraded && len(i.Addresses) == 2 })
		}},
		{name: "a lower priority", change: base.with("vrrp_instance 1", vi("A", 51, "eth0", 120, interval, "192.0.2.10/24, 192.0.2.11/24", tell, "")), after: priority(120)},
		{name: "another instance added", change: base.with("vrrp_instance 5", vi("NEW", 60, "eth0", 200, interval, "192.0.2.60/24", tell, "")),
			told: []string{"INSTANCE NEW BACKUP 200", "INSTANCE NEW MASTER 200"}, after: func(t *testing.T) { d.instanceIs("NEW", control.StateMaster) }},
		{name: "and removed", change: base, stops: []byte{60}, told: []string{"INSTANCE NEW FAULT 200"}, after: vips("NEW", false, "192.0.2.60")},
		{name: "one added on an interface of its own", change: base.with("vrrp_instance 5", vi("NEW", 60, "eth2", 200, interval, "203.0.113.61/24", tell, ", notify_deleted: true")),
			told: []string{"INSTANCE NEW BACKUP 200", "INSTANCE NEW MASTER 200"}, after: func(t *testing.T) { d.instanceIs("NEW", control.StateMaster) }},
		{name: "and deleted", change: base, stops: []byte{60}, told: []string{"INSTANCE NEW DELETED 200"}, after: func(t *testing.T) {
			rig.Eventually(t, quick, "it is gone", func() bool { return !has(r, "eth2", "203.0.113.61") })
		}},
		{name: "renamed", change: base.with("vrrp_instance 1", vi("AA", 51, "eth0", 200, interval, "192.0.2.10/24, 192.0.2.11/24", tell, "")), after: func(t *testing.T) {
			if i := d.instance("AA"); i.State != control.StateMaster || i.Counters.BecomeMaster != 1 {
				t.Errorf("it is %s and has become master %d times", i.State, i.Counters.BecomeMaster)
			}
		}},
		{name: "another password", change: base.with("vrrp_instance 3", vi("OLD", 53, "eth0", 200, "1", "192.0.2.30/24", tell, ", version: 2, authentication: {auth_type: PASS, auth_pass: second}")), after: func(t *testing.T) {
			s.wire.advert("with the new password", func(a advert) bool { return a.VRID == 53 && strings.HasPrefix(string(a.AuthData[:]), "second") })
		}},
		{name: "a broken file", change: base.with("vrrp_instance 1", "A: {virtual_router_id: 300}"), refused: true},
		{name: "mended", change: base},
		{name: "a sync group formed", change: grouped, told: []string{"GROUP G MASTER 0"}},
		{name: "and dissolved", change: base},
		{name: "another notify script", change: base.with("vrrp_instance 1", vi("A", 51, "eth0", 200, interval, "192.0.2.10/24, 192.0.2.11/24", other, ""))},
		{name: "a check added", change: tracked, after: priority(210)},
		{name: "a check changed", change: tracked.with("vrrp_script", "good: {script: "+good+", interval: 2, weight: 20}"), after: priority(220)},
		{name: "a check removed", change: base, after: priority(200)},
		{name: "another interval", change: base.with("vrrp_instance 1", vi("A", 51, "eth0", 200, "2", "192.0.2.10/24, 192.0.2.11/24", tell, ""))},
		{name: "another prefix length", change: base.with("vrrp_instance 1", vi("A", 51, "eth0", 200, interval, "192.0.2.10/32, 192.0.2.11/24", tell, "")), after: func(t *testing.T) {
			rig.Eventually(t, quick, "it has the new length, and not the old", func() bool {
				addrs, err := r.Addrs("eth0")
				return err == nil && slices.Contains(addrs, prefix("192.0.2.10/32")) && !slices.Contains(addrs, prefix("192.0.2.10/24"))
			})
		}},
		{name: "as in the beginning", change: base},
	}
	for n, st := range steps {
		t.Run(st.name, func(t *testing.T) {
			d := &daemon{t, d.Vipd}
			keep, before, begin := d.instance("KEEP"), lines(), time.Now()
			res := d.reload(st.change.yaml(), n%2 == 0)
			switch {
			case st.refused != (res.Error != ""):
				t.Errorf("the result is %+v", res)
			case st.refused:
				status := d.status()
				if !status.Daemon.Degraded || !strings.Contains(strings.Join(status.Daemon.Reasons, "\n"), "refused") {
					t.Errorf("the status does not tell: %q", status.Daemon.Reasons)
				}
			case st.name == "unchanged" && len(res.Changes) > 0:
				t.Errorf("it has changed %q", res.Changes)
			}
			if st.after != nil {
				st.after(t)
			}
			i := d.instance("KEEP")
			rig.Eventually(t, quick, "it advertises on", func() bool {
				i = d.instance("KEEP")
				return i.Counters.Sent > keep.Counters.Sent
			})
			if i.State != control.StateMaster || i.Counters.BecomeMaster != keep.Counters.BecomeMaster || !i.Since.Equal(keep.Since) {
				t.Errorf("what did not change is %s since %s, and was since %s", i.State, i.Since, keep.Since)
			}
			for _, a := range s.wire.adverts(func(a advert) bool { return a.Priority == 0 && a.at.After(begin) }) {
				if !slices.Contains(st.stops, a.VRID) {
					t.Errorf("VRID %d has said that it stops", a.VRID)
				}
			}
			now := sockets(t, d.PID())
			for socket := range open {
				if !now[socket] {
					t.Errorf("%s was closed", socket)
				}
			}
			for target, p := range pings {
				rig.Eventually(t, quick, target+" answers the last probes", func() bool {
					r := p.Report()
					return r.Answered > 0 && r.Probes[len(r.Probes)-1].Sent.After(begin)
				})
				until := time.Now().Add(-noise * 10 * time.Millisecond)
				lost := 0
				for _, probe := range p.Report().Probes {
					if probe.Sent.After(begin) && probe.Sent.Before(until) && probe.Answered.IsZero() {
						lost++
					}
				}
				if lost > few {
					t.Errorf("%d pings of %s were lost", lost, target)
				}
			}
			want := slices.Sorted(slices.Values(st.told))
			var got []string
			rig.Eventually(t, quick, fmt.Sprintf("scripts are called with %q", want), func() bool {
				got = slices.Sorted(slices.Values(lines()[len(before):]))
				return len(got) >= len(want)
			})
			if !slices.Equal(got, want) {
				t.Errorf("scripts were called with %q, want %q", got, want)
			}
		})
	}
	for target, p := range pings {
		if r := p.Stop(); r.Lost > 2*few {
			t.Errorf("%d of %d pings of %s were lost", r.Lost, len(r.Probes), target)
		}
	}
	if gap, count := s.wire.gaps(router1, 50, started, time.Now()); gap > down || count < len(steps) {
		t.Errorf("of %d advertisements two were %s apart", count, gap)
	}
	if gone := removed(); gone != "" {
		t.Errorf("the kernel has removed the address that nothing changed:\n%s", gone)
	}
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, iface := range []string{"eth0", "eth1", "eth2"} {
		addrs, err := r.Addrs(iface)
		check(t, err)
		if n := len(slices.DeleteFunc(addrs, func(p netip.Prefix) bool { return !p.Addr().Is4() })); n != 1 {
			t.Errorf("%s is left with %v", iface, addrs)
		}
	}
}

func TestAnIPv6AddressGetsAnotherPrefixLengthAndMovesWithAnother(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	yaml := func(a, b string) string {
		return "vrrp_instance:\n" +
			"  A: {interface: eth0, virtual_router_id: 51, priority: 200, advert_int: 100ms, virtual_ipaddress: [fe80::51, " + a + "]}\n" +
			"  B: {interface: eth0, virtual_router_id: 52, priority: 200, advert_int: 100ms, virtual_ipaddress: [fe80::52, " + b + "]}\n"
	}
	d := start(t, r, yaml("2001:db8::10/64", "2001:db8::20/64"))
	d.instanceIs("A", control.StateMaster)
	d.instanceIs("B", control.StateMaster)
	for _, tt := range []struct{ a, b, want string }{
		{"2001:db8::10/128", "2001:db8::20/64", "2001:db8::10/128 2001:db8::20/64"},
		{"2001:db8::30/64", "2001:db8::20/64, 2001:db8::10/64", "2001:db8::10/64 2001:db8::20/64 2001:db8::30/64"},
		{"2001:db8::10/96", "2001:db8::20/64", "2001:db8::10/96 2001:db8::20/64"},
	} {
		if res := d.reload(yaml(tt.a, tt.b), true); !res.Applied {
			t.Fatalf("refused: %+v", res)
		}
		rig.Eventually(t, quick, "it has "+tt.want, func() bool {
			addrs, err := r.Addrs("eth0")
			check(t, err)
			var got []string
			for _, a := range addrs {
				if strings.HasPrefix(a.String(), "2001:db8::") {
					got = append(got, a.String())
				}
			}
			slices.Sort(got)
			return strings.Join(got, " ") == tt.want
		})
		for _, name := range []string{"A", "B"} {
			if i := d.instance(name); i.State != control.StateMaster || i.Counters.BecomeMaster != 1 || i.Counters.Restored > 0 {
				t.Errorf("%s is %s, has become master %d times and had to restore %d addresses", name, i.State, i.Counters.BecomeMaster, i.Counters.Restored)
			}
		}
	}
	if code := d.Stop(t); code != 0 || has(r, "eth0", "2001:db8::10") || has(r, "eth0", "2001:db8::20") {
		t.Errorf("exit code %d, or addresses are left", code)
	}
}

// A virtual router that changes only its multicast group is another one with
// the same VRID on the same interface.
func TestAReloadKeepsItsClaimOnAVRIDThatChangesItsMode(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	for i, more := range []string{"    unicast_peer: [192.0.2.100]\n", "", "    unicast_peer: [192.0.2.100]\n", ""} {
		if res := d.reload(fast+more, true); !res.Applied {
			t.Fatalf("reload %d is refused: %s", i, res.Error)
		}
		d.is(control.StateMaster)
	}
	// Nobody else may run it, until it gives it up.
	rival := rig.StartVIPD(t, r, strings.Replace(fast, "192.0.2.10", "192.0.2.40", 1))
	select {
	case <-rival.Done():
		if !strings.Contains(rival.Log(), "51") {
			t.Errorf("another one ends for another reason: %s", rival.Log())
		}
	case <-time.After(quick):
		t.Error("another vipd runs the same virtual router")
		rival.Kill(t)
	}
	if res := d.reload(strings.Replace(fast, "router_id: 51", "router_id: 52", 1), true); !res.Applied {
		t.Fatalf("refused: %s", res.Error)
	}
	second := rig.StartVIPD(t, r, strings.Replace(fast, "192.0.2.10", "192.0.2.40", 1))
	second.WaitState(t, "VI", control.StateMaster, patience)
	if res := d.reload(fast, true); res.Applied || !strings.Contains(res.Error, "51") {
		t.Errorf("it takes what another vipd runs: %+v", res)
	}
	if i := d.instance(""); i.VRID != 52 || i.State != control.StateMaster {
		t.Errorf("after a refused reload VRID %d is %s", i.VRID, i.State)
	}
}

func TestATrackedInterfaceInPlaceOfAnotherCounts(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "eth1", "198.51.100.1/24")
	s.plug(r, "eth2", "203.0.113.1/24")
	yaml := func(iface string) string {
		return strings.Replace(fast, "200", "100", 1) + "    track_interface: [{name: " + iface + ", weight: 10}]\n"
	}
	d := s.masterOf(r, yaml("eth1"))
	want := func(n uint8) {
		t.Helper()
		rig.Eventually(t, quick, fmt.Sprintf("the priority is %d", n), func() bool { return d.instance("").Priority == n })
	}
	want(110)
	d.reload(yaml("eth2"), true)
	want(110)
	check(t, s.Cut(r, "eth2"))
	want(100)
}

func TestReloadsInARowWhileLinksFlapLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	s.plug(r, "eth1", "198.51.100.1/24")
	yaml := func(n int) string {
		y := fast
		if n%2 == 1 {
			y += "  B: {interface: eth1, virtual_router_id: 52, priority: 255, advert_int: 100ms, virtual_ipaddress: [198.51.100.20/24]}\n"
		}
		if n%4 == 3 {
			y = "vrrp_sync_group:\n  G: {group: [VI, B]}\n" + y
		}
		return y
	}
	d := s.masterOf(r, yaml(0))
	for range 4 { // once around, so that everything there will be has been made
		d.reload(yaml(3), true)
		d.reload(yaml(0), true)
	}
	_, fds := resources(t, d.PID())
	for n := range 50 {
		switch n % 5 {
		case 1:
			check(t, s.Cut(r, "eth1"))
		case 3:
			check(t, s.Heal(r, "eth1"))
		}
		d.rewrite(yaml(n + 1))
		d.Signal(t, syscall.SIGHUP)
		if n%3 == 0 {
			d.command()
		}
	}
	check(t, s.Heal(r, "eth1"))
	if res := d.reload(yaml(0), true); !res.Applied {
		t.Errorf("refused: %+v", res)
	}
	d.is(control.StateMaster)
	rig.Eventually(t, patience, "no descriptor is left open", func() bool {
		_, now := resources(t, d.PID())
		return now <= fds
	})
	if code := d.Stop(t); code != 0 || strings.Contains(d.Log(), "DATA RACE") {
		t.Errorf("exit code %d", code)
	}
	if has(r, "eth0", "192.0.2.10") || has(r, "eth1", "198.51.100.20") {
		t.Error("addresses are left")
	}
}

func TestAReloadBeforeTheFirstMasterDownKeepsTheTimer(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	slow := strings.Replace(fast, "100ms", "1", 1)
	d := start(t, r, slow)
	begun := d.instance("").Since
	for n := range 10 {
		d.reload(strings.Replace(slow, "200", fmt.Sprint(200+n%2), 1), true)
	}
	d.is(control.StateMaster)
	if i := d.instance(""); i.Since.Sub(begun) > 5*time.Second || path(i) != "init backup master" {
		t.Errorf("it went %s, and took %s", path(i), i.Since.Sub(begun))
	}
}

func TestVIPDEndsInGoodOrderDuringAReload(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	other := fast + "  B: {interface: eth0, virtual_router_id: 52, priority: 255, advert_int: 100ms, virtual_ipaddress: [192.0.2.20/24]}\n"
	for n := range 6 {
		d := s.masterOf(r, fast)
		d.rewrite(other)
		d.Signal(t, syscall.SIGHUP)
		if n%2 == 0 { // in the middle
			timer := time.NewTimer(time.Duration(n) * time.Millisecond)
			<-timer.C
		}
		d.Signal(t, syscall.SIGTERM)
		d.Signal(t, syscall.SIGHUP)
		select {
		case <-d.Done():
		case <-time.After(patience):
			t.Fatal("it does not end")
		}
		if code := d.Stop(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if has(r, "eth0", "192.0.2.10") || has(r, "eth0", "192.0.2.20") {
			t.Error("addresses are left")
		}
	}
}

// random makes a configuration out of a pool of instances, groups and scripts.
func random(rng *rand.Rand, good, bad string) string {
	var b strings.Builder
	chance := func(percent int) bool { return rng.IntN(100) < percent }
	b.WriteString("global_defs:\n  enable_script_security: false\n")
	fmt.Fprintf(&b, "vrrp_script:\n  good: {script: %s, interval: %d, weight: %d}\n  bad: {script: %s, interval: 1}\n", good, 1+rng.IntN(2), 5*rng.IntN(3), bad)
	addrs := map[string][]string{"eth0": nil, "eth1": nil}
	names := map[string][]string{}
	for _, n := range []int{20, 21, 22, 23, 24, 25} {
		addrs["eth0"] = append(addrs["eth0"], fmt.Sprintf("192.0.2.%d/%d", n, 24+8*rng.IntN(2)))
		addrs["eth1"] = append(addrs["eth1"], fmt.Sprintf("198.51.100.%d/24", n))
	}
	for _, list := range addrs {
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	var instances strings.Builder
	for vrid := 51; vrid <= 56; vrid++ {
		if vrid != 51 && chance(30) {
			continue
		}
		iface := []string{"eth0", "eth1"}[vrid%2]
		name := fmt.Sprintf("V%d%s", vrid, []string{"", "x"}[rng.IntN(2)])
		own := addrs[iface][:2]
		addrs[iface] = addrs[iface][2:]
		fmt.Fprintf(&instances, "  %s: {interface: %s, virtual_router_id: %d, priority: %d, advert_int: %s, virtual_ipaddress: [%s]",
			name, iface, vrid, 100+10*rng.IntN(3), []string{"50ms", "100ms"}[rng.IntN(2)], strings.Join(own[:1+rng.IntN(2)], ", "))
		if chance(30) {
			instances.WriteString(", unicast_peer: [" + map[string]string{"eth0": "192.0.2.100", "eth1": "198.51.100.100"}[iface] + "]")
		}
		switch {
		case chance(20):
			instances.WriteString(", track_script: good")
		case chance(10):
			instances.WriteString(", track_script: bad")
		case chance(20):
			fmt.Fprintf(&instances, ", track_interface: [{name: eth%d, weight: 7}]", rng.IntN(2))
		}
		instances.WriteString("}\n")
		k := []string{"", "G", "H"}[rng.IntN(3)]
		names[k] = append(names[k], name)
	}
	if len(names["G"])+len(names["H"]) > 0 {
		b.WriteString("vrrp_sync_group:\n")
		for _, g := range []string{"G", "H"} {
			if len(names[g]) > 0 {
				fmt.Fprintf(&b, "  %s: {group: [%s]}\n", g, strings.Join(names[g], ", "))
			}
		}
	}
	return b.String() + "vrrp_instance:\n" + instances.String()
}

// picture is what a daemon amounts to: states, priorities, groups, checks and
// the addresses on the interfaces, without times and counters.
func (d *daemon) picture() string {
	s := d.status()
	var b strings.Builder
	for _, i := range s.Instances {
		fmt.Fprintf(&b, "%s %s %d %s %s prio %d/%d every %v peers %v group %q degraded %t\n", i.Name, i.Interface, i.VRID, i.State, i.SourceAddress,
			i.Priority, i.BasePriority, i.AdvertInterval, i.Peers, i.SyncGroup, i.Degraded)
		for _, a := range i.Addresses {
			fmt.Fprintf(&b, "  %s on %s advertised %t present %t %s\n", a.Address, a.Interface, a.Advertised, a.Present, a.Error)
		}
		for _, f := range i.Faults {
			fmt.Fprintf(&b, "  %s %s\n", f.Kind, f.Name)
		}
		for _, tr := range i.Tracks {
			fmt.Fprintf(&b, "  %s %s weight %d %s delta %d fault %t\n", tr.Kind, tr.Name, tr.Weight, tr.State, tr.Delta, tr.Fault)
		}
	}
	for _, g := range s.SyncGroups {
		fmt.Fprintf(&b, "group %s %s %v\n", g.Name, g.State, g.Members)
	}
	for _, c := range s.Checks {
		fmt.Fprintf(&b, "check %s %s every %v used by %v\n", c.Name, c.State, c.Interval, c.UsedBy)
	}
	for _, iface := range []string{"eth0", "eth1"} {
		addrs, err := d.Node().Addrs(iface)
		check(d.t, err)
		slices.SortFunc(addrs, netip.Prefix.Compare)
		for _, a := range addrs {
			if a.Addr().Is4() {
				fmt.Fprintf(&b, "%s has %s\n", iface, a)
			}
		}
	}
	return b.String()
}

// differences shows the lines that only one of two texts has.
func differences(a, b string) string {
	var out strings.Builder
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, line := range as {
		if !slices.Contains(bs, line) {
			fmt.Fprintf(&out, "- %s\n", line)
		}
	}
	for _, line := range bs {
		if !slices.Contains(as, line) {
			fmt.Fprintf(&out, "+ %s\n", line)
		}
	}
	return out.String()
}

// TestAfterManyReloadsVIPDIsAsIfJustStarted reloads random configurations one
// after the other, and now and then compares what has come of them with what a
// vipd does that has just been started with the last one.
func TestAfterManyReloadsVIPDIsAsIfJustStarted(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	s.plug(s.host, "eth1", "198.51.100.100/24")
	nodes := make([]*netiftest.Node, 2)
	for i := range nodes {
		n, err := s.Node(fmt.Sprintf("router%d", i+1))
		check(t, err)
		br, err := s.Bridge(fmt.Sprintf("own%d", i+1)) // so that they do not hear each other
		check(t, err)
		check(t, s.Connect(n, "eth0", br, netiftest.Port{Addrs: []netip.Prefix{prefix("192.0.2.1/24")}}))
		check(t, s.Connect(n, "eth1", br, netiftest.Port{Addrs: []netip.Prefix{prefix("198.51.100.1/24")}}))
		nodes[i] = n
	}
	good, bad := script(t, "good", "#!/bin/sh\nexit 0\n"), script(t, "bad", "#!/bin/sh\nexit 1\n")
	rng := rand.New(rand.NewPCG(4, 44))
	d := start(t, nodes[0], "global_defs:\n  enable_script_security: false\n"+fast)
	const rounds, each = 10, 10
	for round := range rounds {
		var yaml string
		for range each {
			yaml = random(rng, good, bad)
			if res := d.reload(yaml, rng.IntN(2) == 0); !res.Applied {
				t.Fatalf("refused: %+v\n%s", res, yaml)
			}
		}
		fresh := start(t, nodes[1], yaml)
		var got, want string
		deadline := time.Now().Add(patience)
		for equal := 0; equal < 3; {
			if got, want = d.picture(), fresh.picture(); got == want {
				equal++
			} else {
				equal = 0
			}
			if time.Now().After(deadline) {
				t.Fatalf("round %d: after reloads (-) it is not as after a start (+):\n%s\n%s", round, differences(got, want), yaml)
			}
			timer := time.NewTimer(100 * time.Millisecond)
			<-timer.C
		}
		if code := fresh.Stop(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, word := range []string{"DATA RACE", "does not answer", "is on this host already", "level=ERROR"} {
		if d.lines(word) > 0 {
			t.Errorf("the log has %q in it", word)
		}
	}
	list, err := nodes[0].Netlink().AddrList(link(t, nodes[0], "eth0"), netlink.FAMILY_V4)
	check(t, err)
	if len(list) != 1 {
		t.Errorf("it leaves %v", list)
	}
}

// TestAReloadOfHalfAFileGivesNothingUp leaves the beginning, as somebody does who is
// interrupted in writing it.
func TestAReloadOfHalfAFileGivesNothingUp(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	check(t, os.WriteFile(d.File, []byte("global_defs:\n  router_id: half\n"), 0o600))
	d.Signal(t, syscall.SIGHUP)
	d.logs(1, "ERROR", "there is no vrrp_instance")
	if i := d.instance(""); i.State != control.StateMaster || !has(r, "eth0", "192.0.2.10") {
		t.Errorf("it is %s, and has its address: %t", i.State, has(r, "eth0", "192.0.2.10"))
	}
	if s := d.status(); !s.Daemon.Degraded {
		t.Error("status does not say that a reload was refused")
	}
}
