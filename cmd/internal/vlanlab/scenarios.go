package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"vipd/cmd/internal/vlanlab/fabric"
)

// A scenario is one thing that happens to a pair of routers, with what is done about
// it.
type scenario struct {
	name  string
	title string
	// plan is what the routers run, the basic one if nil.
	plan func() plan
	// happen makes the fault, waits until the addresses are settled, and repairs it.
	happen func(context.Context, *stand, *round) error
	// promise says what vipd guarantees, if anything, for a pair.
	promise func(pair, plan) promise
	// bare: nothing is installed before.
	bare bool
	// pairs says which pairs it is for: nil for two of the same kind.
	pairs func(pair) bool
}

// A round is one time that something happened.
type round struct {
	pair
	began    time.Time
	repaired time.Time // the same as ended if nothing was repaired
	ended    time.Time
	unharmed []int    // targets of which the client is not to lose anything
	promise  *promise // instead of the scenario's
	notes    []string
	broken   []string
}

// note adds a remark.
func (r *round) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// miss notes what is not as it should be. Of a keepalived that has the fault nothing
// is promised.
func (r *round) miss(format string, args ...any) {
	if r.faulted == vipd {
		r.broken = append(r.broken, fmt.Sprintf(format, args...))
	} else {
		r.note(format, args...)
	}
}

// aftermath is how long is looked on when everything should be over.
const aftermath = 1500 * time.Millisecond

// Which pairs a scenario is for.
func every(pair) bool         { return true }
func vipdFaulted(p pair) bool { return p.faulted == vipd && p.peer == vipd }

// scenarios are all there are, in an order in which those with the same plan follow
// each other.
func scenarios() []scenario {
	quick := func() plan { p := basic(); p.interval = 100 * time.Millisecond; return p }
	slow := func() plan { p := basic(); p.interval = 2 * time.Second; return p }
	six := func() plan { p := basic(); p.instances = []instance{six100(), six200()}; return p }
	checked := func() plan { p := basic(); p.script = true; return p }
	weighed := func() plan { p := checked(); p.weight = low - high - 10; return p }
	sticky := func() plan { p := checked(); p.nopreempt = true; return p }
	tracked := func() plan { p := basic(); p.process = true; return p }
	crossed := func() plan {
		p := basic()
		other := four200()
		other.home = peer
		p.instances = []instance{four100(), other}
		return p
	}
	alone := func() plan { p := basic(); p.instances = p.instances[:1]; return p }
	full := func() plan { p := alone(); p.furnished = true; return p }
	gateway := func() plan {
		p := basic()
		p.instances, p.together = []instance{four100(), four200()}, true
		return p
	}
	return []scenario{
		{
			name: "nothing", title: "nothing happens, for 5 s",
			happen:  func(ctx context.Context, s *stand, r *round) error { return wait(ctx, 5*time.Second) },
			promise: undisturbed,
		},
		{
			name: "stop", title: "`systemctl stop`, and `start` later",
			happen: stop, promise: planned, pairs: every,
		},
		{
			name: "restart", title: "`systemctl restart`",
			happen: restart, promise: planned, pairs: every,
		},
		{
			name: "kill", title: "`systemctl kill -s KILL`; the unit starts vipd again, keepalived's is started by hand",
			happen: kill, promise: crash, pairs: every,
		},
		{
			name: "hang", title: "SIGSTOP; the watchdog of the unit ends vipd, keepalived is told to go on (SIGCONT)",
			happen: hang, promise: dead, pairs: every,
		},
		{
			name: "reboot", title: "`systemctl reboot`",
			happen: reboot, promise: rebooted,
		},
		{
			name: "power-cut", title: "the machine loses its power, and gets it back",
			happen: powerCut, promise: deadMachine,
		},
		{
			name: "panic", title: "the kernel panics, and boots again",
			happen: kernelPanic, promise: deadMachine,
		},
		{
			name: "pause", title: "the hypervisor holds the machine up for 8 s",
			happen: pause, promise: paused,
		},
		{
			name: "upgrade", title: "a newer package is installed (`dpkg -i`)",
			happen: upgrade, promise: planned, pairs: vipdFaulted,
		},
		{
			name: "remove", title: "the package is removed, purged, and installed again",
			happen: remove, promise: planned, pairs: vipdFaulted,
		},
		{
			name: "link-off", title: "the hypervisor takes the carrier away, and gives it back",
			happen: linkOff, promise: dead, pairs: every,
		},
		{
			name: "parent-down", title: "the parent interface is set down, and up again",
			happen: parentDown, promise: dead,
		},
		{
			name: "vlan-deleted", title: "the interface of VLAN 100 is deleted, and made again",
			happen: vlanDeleted, promise: dead,
		},
		{
			name: "port-dead", title: "the switch port dies while the carrier stays, and comes back",
			happen: portDead, promise: healed, pairs: every,
		},
		{
			name: "partition", title: "VLAN 100 is cut at the switch port while VLAN 200 works",
			happen: partition, promise: healed,
		},
		{
			name: "port-deaf", title: "the switch port gives the machine nothing any more, and takes what it sends; then all is well again",
			happen: portDeaf, promise: healedAlone,
		},
		{
			name: "port-mute", title: "the switch port takes nothing from the machine any more, and gives it everything; then all is well again",
			happen: portMute, promise: healed,
		},
		{
			name: "one-way", title: "the other router does not hear this one, the client both; then it does again",
			happen: oneWay, promise: oneWayPromise,
		},
		{
			name: "networkd-restart", title: "`systemctl restart systemd-networkd`",
			happen: networkd("systemctl restart systemd-networkd"), promise: touched,
		},
		{
			name: "networkd-reconfigure", title: "`networkctl reconfigure` of both VLAN interfaces",
			happen: networkd("networkctl reconfigure " + device(100) + " " + device(200)), promise: touched,
		},
		{
			name: "networkd-keep", title: "`systemctl restart systemd-networkd`, with what `vipd check` says is to be written",
			happen: networkdKeeps, promise: undisturbed, pairs: vipdFaulted,
		},
		{
			name: "stop-100ms", title: "`systemctl stop`, adverts every 100 ms",
			plan: quick, happen: stop, promise: planned,
		},
		{
			name: "pause-100ms", title: "the hypervisor holds the machine up, adverts every 100 ms",
			plan: quick, happen: pause, promise: pausedQuick,
		},
		{
			name: "kill-2s", title: "`systemctl kill -s KILL`, adverts every 2 s: an emulated machine starts vipd in time",
			plan: slow, happen: kill, promise: crash, pairs: vipdFaulted,
		},
		{
			name: "stop-ipv6", title: "`systemctl stop`, IPv6 alone on both VLANs",
			plan: six, happen: stop, promise: planned,
		},
		{
			name: "link-off-ipv6", title: "the hypervisor takes the carrier away, IPv6 alone on both VLANs",
			plan: six, happen: linkOff, promise: dead,
		},
		{
			name: "check", title: "the check script fails, and recovers",
			plan: checked, happen: checkFails, promise: unfit, pairs: every,
		},
		{
			name: "check-weight", title: "a check script with a weight fails, and recovers",
			plan: weighed, happen: checkFails, promise: planned,
		},
		{
			name: "check-nopreempt", title: "the check script fails, and recovers, with `nopreempt`",
			plan: sticky, happen: checkSticks, promise: unfit,
		},
		{
			name: "process", title: "a tracked process is killed, and started again",
			plan: tracked, happen: processDies, promise: unfit,
		},
		{
			name: "crossed", title: "two addresses on two VLANs crossed: `systemctl stop` of one router",
			plan: crossed, happen: crossedStop, promise: planned,
		},
		{
			name: "sync-group", title: "a sync group over both VLANs: one of its interfaces goes down, and up again",
			plan: gateway, happen: groupMoves, promise: dead,
		},
		{
			name: "unit", title: "scripts, checks and a pipe for other users under the packaged unit; then the check of another user fails, and recovers",
			plan: full, happen: unit, promise: planned, pairs: vipdFaulted,
		},
		{
			name: "instances", title: "`vipd@office` and `vipd@guests` beside `vipd`: one is killed, reloaded, stopped",
			plan: alone, happen: instances, promise: undisturbed, pairs: vipdFaulted,
		},
		{
			name: "readme", title: "README.md's section on two machines, to the letter; then `systemctl stop`",
			plan: alone, bare: true, happen: readme, promise: planned, pairs: vipdFaulted,
		},
	}
}

// repaired notes when the fault was repaired.
func (s *stand) repaired(r *round) { r.repaired = time.Now() }

// taken waits until the other router has what it is to have. A router that has died
// may have it as well.
func (s *stand) taken(ctx context.Context, r *round, want ...fabric.Set) error {
	ok, err := until(ctx, s.patience(), func() (bool, error) {
		now := s.prober.Now()
		return !slices.ContainsFunc(slices.Collect(indices(now)), func(i int) bool { return now[i]&want[i] != want[i] }), nil
	})
	if err == nil && !ok {
		r.miss("the other router has not taken over: %v, not %v", s.prober.Now(), want)
	}
	if err != nil {
		return err
	}
	return wait(ctx, aftermath)
}

// indices are those of a slice.
func indices(list []fabric.Set) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range list {
			if !yield(i) {
				return
			}
		}
	}
}

// returned waits until the addresses are where they belong, and alone there.
func (s *stand) returned(ctx context.Context, r *round) error {
	ok, err := s.owners(ctx, s.patience(), s.plan.home()...)
	if err == nil && !ok {
		r.miss("%v later the addresses are not where they belong: %v", s.patience(), s.prober.Now())
	}
	if err != nil {
		return err
	}
	return wait(ctx, aftermath)
}

// failover makes a fault, waits until the other router has the addresses, repairs it,
// and waits until they are back.
func failover(ctx context.Context, s *stand, r *round, fault, repair func(*router) error, away ...fabric.Set) error {
	one := s.routers[faulted]
	if err := fault(one); err != nil {
		return err
	}
	if err := s.taken(ctx, r, away...); err != nil {
		return err
	}
	s.repaired(r)
	if err := repair(one); err != nil {
		return err
	}
	return s.returned(ctx, r)
}

// doing returns a step that runs a command.
func doing(ctx context.Context, format string, args ...any) func(*router) error {
	return func(r *router) error {
		_, err := r.sh(ctx, format, args...)
		return err
	}
}

func stop(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r,
		func(one *router) error { return one.ctl(ctx, "stop") },
		func(one *router) error { return one.ctl(ctx, "start") }, s.plan.away()...)
}

func restart(ctx context.Context, s *stand, r *round) error {
	if err := s.routers[faulted].ctl(ctx, "restart"); err != nil {
		return err
	}
	s.repaired(r)
	if err := wait(ctx, s.plan.masterDown()); err != nil {
		return err
	}
	return s.returned(ctx, r)
}

func kill(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	if err := one.ctl(ctx, "kill --signal KILL"); err != nil {
		return err
	}
	if one.kind == vipd {
		if err := wait(ctx, s.plan.masterDown()+time.Second); err != nil {
			return err
		}
		if err := s.returned(ctx, r); err != nil {
			return err
		}
		away, err := one.away(ctx)
		if err != nil {
			return err
		}
		r.note("started again after %.1f s", away.Seconds())
		// The last advertisement was up to one interval old, and the leases are renewed
		// up to one after it: of the three, one is sure to be left. It takes an emulated
		// machine a moment, too, until systemd knows that the daemon has died.
		if away > s.plan.interval-300*time.Millisecond {
			late := dead(r.pair, s.plan)
			r.promise = &late
		}
		return nil
	}
	if err := s.taken(ctx, r, s.plan.away()...); err != nil {
		return err
	}
	s.repaired(r)
	if err := one.ctl(ctx, "restart"); err != nil {
		return err
	}
	return s.returned(ctx, r)
}

func hang(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r,
		func(one *router) error { return one.ctl(ctx, "kill --signal STOP") },
		func(one *router) error {
			if one.kind == vipd {
				return nil
			}
			return one.ctl(ctx, "kill --signal CONT")
		}, s.plan.away()...)
}

// booted waits until a machine is up again.
func (s *stand) booted(ctx context.Context, r *round) error {
	if err := s.routers[faulted].up(ctx); err != nil {
		return err
	}
	s.repaired(r)
	return s.returned(ctx, r)
}

func reboot(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	ctx2, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := one.Reboot(ctx2); err != nil {
		return err
	}
	return s.booted(ctx, r)
}

func kernelPanic(ctx context.Context, s *stand, r *round) error {
	ctx2, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := s.routers[faulted].Panic(ctx2); err != nil {
		return err
	}
	return s.booted(ctx, r)
}

func powerCut(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	if err := one.PowerCut(); err != nil {
		return err
	}
	if err := s.taken(ctx, r, s.plan.away()...); err != nil {
		return err
	}
	if err := one.PowerOn(ctx); err != nil {
		return err
	}
	return s.booted(ctx, r)
}

func pause(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	if err := one.Pause(ctx); err != nil {
		return err
	}
	if err := wait(ctx, 8*time.Second); err != nil {
		return err
	}
	s.repaired(r)
	if err := one.Resume(ctx); err != nil {
		return err
	}
	// Those addresses that it has yet are not back.
	if err := wait(ctx, s.plan.interval+time.Second); err != nil {
		return err
	}
	return s.returned(ctx, r)
}

func linkOff(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r,
		func(one *router) error { return one.SetLink(ctx, false) },
		func(one *router) error { return one.SetLink(ctx, true) }, s.plan.away()...)
}

func parentDown(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r, doing(ctx, "ip link set eth0 down"), doing(ctx, "ip link set eth0 up"), s.plan.away()...)
}

// away100 is who has which address when the router with the fault has none in VLAN
// 100.
func (p plan) away100() []fabric.Set {
	list := p.home()
	for i := range list {
		if p.instances[i].vlan == 100 {
			list[i] = 1 << peer
		}
	}
	return list
}

// in200 are the targets in VLAN 200.
func (p plan) in200() (list []int) {
	for i, one := range p.instances {
		if one.vlan == 200 {
			list = append(list, i)
		}
	}
	return list
}

func vlanDeleted(ctx context.Context, s *stand, r *round) error {
	r.unharmed = s.plan.in200()
	return failover(ctx, s, r,
		doing(ctx, "ip link delete %s", device(100)),
		doing(ctx, "ip link add link eth0 name %s type vlan id 100", device(100)), s.plan.away100()...)
}

func portDead(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r,
		func(one *router) error { one.port.SetDead(true); return nil },
		func(one *router) error { one.port.SetDead(false); return nil }, s.plan.away()...)
}

func partition(ctx context.Context, s *stand, r *round) error {
	r.unharmed = s.plan.in200()
	return failover(ctx, s, r,
		func(one *router) error { one.port.Cut(100, fabric.Both); return nil },
		func(one *router) error { one.port.Heal(); return nil }, s.plan.away100()...)
}

// cutting returns a step that cuts both VLANs at a router's port in a direction.
func cutting(d fabric.Direction) func(*router) error {
	return func(r *router) error {
		for _, vlan := range vlans {
			r.port.Cut(vlan, d)
		}
		return nil
	}
}

// healing is the step that undoes it.
func healing(r *router) error {
	r.port.Heal()
	return nil
}

// portDeaf has a master send into a network of which it hears nothing.
func portDeaf(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	if err := cutting(fabric.Out)(one); err != nil {
		return err
	}
	if err := wait(ctx, s.plan.masterDown()+aftermath); err != nil {
		return err
	}
	s.repaired(r)
	if err := healing(one); err != nil {
		return err
	}
	return s.returned(ctx, r)
}

func portMute(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r, cutting(fabric.In), healing, s.plan.away()...)
}

// oneWay has a backup lose the adverts of a master whom everybody else hears. It shows
// where it is heard that there are two.
func oneWay(ctx context.Context, s *stand, r *round) error {
	one, other := s.routers[faulted], s.routers[peer]
	return failover(ctx, s, r,
		func(*router) error { other.port.Deafen(one.port); return nil },
		func(*router) error {
			if one.kind == vipd {
				status, err := one.status(ctx, "")
				if err != nil {
					return err
				}
				for _, i := range status.Instances {
					if len(i.Contested) == 0 {
						r.miss("%s does not say that %s is contested", one.name, i.Name)
					}
				}
				s.repaired(r) // asking took a while
			}
			return healing(other)
		}, s.plan.away()...)
}

func checkFails(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r, doing(ctx, "rm %s", healthFile), doing(ctx, "touch %s", healthFile), s.plan.away()...)
}

// checkSticks ends with the addresses on the other router.
func checkSticks(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	if _, err := one.sh(ctx, "rm %s", healthFile); err != nil {
		return err
	}
	if err := s.taken(ctx, r, s.plan.away()...); err != nil {
		return err
	}
	s.repaired(r)
	if _, err := one.sh(ctx, "touch %s", healthFile); err != nil {
		return err
	}
	// Two good checks, and as long as it would take to become master.
	if err := wait(ctx, s.plan.masterDown()+4*time.Second); err != nil {
		return err
	}
	if now := s.prober.Now(); !slices.Equal(now, s.plan.away()) {
		r.miss("the addresses have not stayed with the other router: %v", now)
	}
	return nil
}

func processDies(ctx context.Context, s *stand, r *round) error {
	return failover(ctx, s, r, doing(ctx, "pkill -KILL -x %s", serviceName),
		func(one *router) error { return s.serve(ctx, one) }, s.plan.away()...)
}

func crossedStop(ctx context.Context, s *stand, r *round) error {
	r.unharmed = s.plan.in200() // it is the other one's
	return stop(ctx, s, r)
}

func groupMoves(ctx context.Context, s *stand, r *round) error {
	began := time.Now()
	if err := failover(ctx, s, r, doing(ctx, "ip link set %s down", device(100)), doing(ctx, "ip link set %s up", device(100)), s.plan.away()...); err != nil {
		return err
	}
	moved := s.prober.Since(peer, began)
	apart := slices.MaxFunc(moved, time.Time.Compare).Sub(slices.MinFunc(moved, time.Time.Compare))
	r.note("moved within %.2f s of each other", apart.Seconds())
	if apart > 300*time.Millisecond {
		r.miss("the addresses moved %v apart", apart)
	}
	return nil
}

func upgrade(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	version, err := one.sh(ctx, "dpkg-query --show --showformat '${Version}' vipd")
	if err != nil {
		return err
	}
	newer := nextVersion(version)
	if err := one.put(ctx, packagePath, 0o644, string(s.deb)); err != nil {
		return err
	}
	// The same package with another version: dpkg makes it, as it can unpack any.
	if _, err := one.sh(ctx, `cd /root && rm -rf newer && dpkg-deb --raw-extract %s newer &&
		sed -i 's/^Version: .*/Version: %s/' newer/DEBIAN/control && dpkg-deb -Znone --root-owner-group --build newer newer.deb`, packagePath, newer); err != nil {
		return err
	}
	before, err := one.sh(ctx, "systemctl show --property MainPID --value vipd")
	if err != nil {
		return err
	}
	r.began = time.Now()
	if _, err := one.sh(ctx, "dpkg --install /root/newer.deb"); err != nil {
		return err
	}
	s.repaired(r)
	if err := wait(ctx, s.plan.masterDown()); err != nil {
		return err
	}
	if err := s.returned(ctx, r); err != nil {
		return err
	}
	after, err := one.sh(ctx, "systemctl show --property MainPID --value vipd")
	if err != nil {
		return err
	}
	if after == before || strings.TrimSpace(after) == "0" {
		r.miss("after the upgrade the process is %s, before it was %s", strings.TrimSpace(after), strings.TrimSpace(before))
	}
	text, err := one.sh(ctx, "cat %s", vipd.file())
	if err == nil && text != one.text {
		r.miss("the upgrade has changed %s:\n%s", vipd.file(), text)
	}
	return err
}

// nextVersion returns a version that dpkg takes for a newer one.
func nextVersion(version string) string { return strings.TrimSpace(version) + "+upgraded" }

func remove(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	text := one.text
	if _, err := one.sh(ctx, "DEBIAN_FRONTEND=noninteractive apt-get remove --yes vipd"); err != nil {
		return err
	}
	if err := s.taken(ctx, r, s.plan.away()...); err != nil {
		return err
	}
	left, err := one.left(ctx, s.plan)
	if err != nil {
		return err
	}
	if left != "" {
		r.miss("removed, and there are addresses left: %s", left)
	}
	for _, test := range []struct{ what, command string }{
		{"the process runs", "! pgrep -x vipd"},
		{"the program is there", "! test -e /usr/bin/vipd"},
		{"the configuration is gone", "test -s " + vipd.file()},
	} {
		ok, err := one.test(ctx, "%s", test.command)
		if err != nil {
			return err
		}
		if !ok {
			r.miss("removed, and %s", test.what)
		}
	}
	if _, err := one.sh(ctx, "DEBIAN_FRONTEND=noninteractive apt-get purge --yes vipd"); err != nil {
		return err
	}
	rest, err := one.sh(ctx, "find / -xdev -path /root -prune -o -name '*vipd*' -print")
	if err != nil {
		return err
	}
	if rest = strings.TrimSpace(rest); rest != "" {
		r.miss("purged, and there is left: %s", strings.ReplaceAll(rest, "\n", " "))
	}
	one.enabled = ""
	if err := one.install(ctx, s.deb); err != nil {
		return err
	}
	s.repaired(r)
	if err := one.set(ctx, vipd, text); err != nil {
		return err
	}
	return s.returned(ctx, r)
}
