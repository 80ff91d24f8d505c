package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/vrrp"
)

// A fault is one thing that goes wrong, with what is done about it.
type fault struct {
	name  string
	title string
	// setup changes what the routers run.
	setup func(*setup)
	// happen makes the fault, lets it take its time, and repairs it.
	happen func(context.Context, *stand, *round) error
	// promise says what vipd guarantees, if anything, for a pair.
	promise func(setup) promise
	// heals have figures of their own. They are repeated on the same stand, those
	// with a promise so many times by default.
	heals  bool
	rounds int
	// alone: nothing else is to be measured meanwhile.
	alone bool
	// pairs says which pairs it is for, nil for all.
	pairs func(pair) bool
}

// A round is one time that a fault happened.
type round struct {
	began    point // on the peer's side, as are the others
	repaired point // the same as ended if nothing was repaired
	ended    point
	winner   int // who is to have the addresses in the end
	healed   bool
	notes    []string
}

// note adds a remark.
func (r *round) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// aftermath is how long is looked on when everything should be over.
const aftermath = 2 * time.Second

// faults are all there are.
func faults() []fault {
	list := []fault{
		{
			name: "kill", title: "the master is killed (SIGKILL) and not started again",
			happen:  kill,
			promise: deadPromise,
		},
		{
			name: "kill-v2", title: "– with VRRPv2 for IPv4",
			setup:   version2,
			happen:  kill,
			promise: deadPromise,
		},
		{
			name: "kill-100ms", title: "– with adverts every 100 ms",
			setup:   quick,
			happen:  kill,
			promise: deadPromise,
		},
		{
			name: "kill-restart", title: "the master is killed and started again one interval later",
			happen: killRestart,
			promise: func(s setup) promise {
				if s.faulted != vipd {
					return promise{}
				}
				return promise{two: atMost(never), gap: atMost(200 * time.Millisecond), transitions: atMost(0)}
			},
		},
		{
			name: "kill-restart-late", title: "the master is killed and started again when the backup has taken over",
			happen:  killRestartLate,
			promise: deadPromise,
		},
		{
			name: "pause", title: "the master is stopped (SIGSTOP), and goes on (SIGCONT) when the backup has taken over",
			happen:  pause,
			promise: pausePromise,
		},
		{
			name: "pause-v2", title: "– with VRRPv2 for IPv4",
			setup:   version2,
			happen:  pause,
			promise: pausePromise,
		},
		{
			name: "pause-100ms", title: "– with adverts every 100 ms",
			setup:   quick,
			happen:  pause,
			promise: pausePromise,
		},
		{
			name: "pause-early", title: "– at once when it has become master, so that it misses its second announcements",
			setup:   func(s *setup) { s.early = true },
			happen:  pause,
			promise: pausePromise,
		},
		{
			name: "stop", title: "the master is told to stop (SIGTERM)",
			happen:  stop,
			promise: plannedPromise,
		},
		{
			name: "stop-v2", title: "– with VRRPv2 for IPv4",
			setup:   version2,
			happen:  stop,
			promise: plannedPromise,
		},
		{
			name: "restart", title: "the master is restarted in good order, and becomes master again",
			happen:  restart,
			promise: plannedPromise,
		},
		{
			name: "restart-v2", title: "– with VRRPv2 for IPv4",
			setup:   version2,
			happen:  restart,
			promise: plannedPromise,
		},
		{name: "link-cut", title: "the master's link loses its carrier, and gets it back", happen: cutLink},
		{
			name: "deaf-backup", title: "the backup does not hear the master for 10 s, and the master hears the backup (nftables)",
			happen: func(ctx context.Context, s *stand, r *round) error { return oneWay(ctx, s, r, peer) },
		},
		{
			name: "deaf-master", title: "the master does not hear the backup for 10 s (nftables)",
			happen:  func(ctx context.Context, s *stand, r *round) error { return oneWay(ctx, s, r, faulted) },
			promise: undisturbed,
		},
		{name: "interface-recreated", title: "the master's interface is deleted, and made again with the same name", happen: recreate},
		{
			name: "vip-deleted", title: "somebody deletes an address of each instance on the master",
			happen: deleteVIPs,
			promise: func(s setup) promise {
				if s.faulted != vipd {
					return promise{}
				}
				return promise{two: atMost(never), none: atMost(100 * time.Millisecond), transitions: atMost(0)}
			},
		},
		{name: "source-deleted", title: "somebody deletes the master's own addresses, and puts them back 6 s later", happen: deleteSource},
		{
			name: "netlink-flood", title: "5 s of changes to other addresses on the master, an address of ours deleted among them",
			happen: flood, alone: true,
			promise: func(s setup) promise {
				if s.faulted != vipd {
					return promise{}
				}
				return promise{two: atMost(never), transitions: atMost(0)}
			},
		},
		{
			name: "disk-full", title: "there is no room in the master's run directory any more; it is killed and started again one interval later",
			setup:   func(s *setup) { s.smallDisk = true },
			happen:  diskFull,
			promise: deadPromise,
		},
		{
			name: "oom", title: "the kernel kills the master for want of memory; it is started again at once",
			happen: outOfMemory, alone: true, // the kernel writes a long report, to a slow console, too
			promise: func(s setup) promise {
				if s.faulted != vipd {
					return promise{}
				}
				return promise{two: atMost(never), gap: atMost(200 * time.Millisecond), transitions: atMost(0)}
			},
		},
	}
	for _, percent := range []int{10, 30, 50} {
		list = append(list, fault{
			name: fmt.Sprintf("loss-%d", percent), title: fmt.Sprintf("%d %% of all frames between the routers are lost, for 30 s", percent),
			happen: func(ctx context.Context, s *stand, r *round) error { return lossy(ctx, s, r, percent) },
		})
	}
	for _, h := range []struct {
		name, title string
		order       int
		rounds      int
		setup       func(*setup)
		pairs       func(pair) bool
	}{
		{"heal-winner-first", "a partition heals; the winner's advert crosses first", faulted, 100, nil, nil},
		{"heal-loser-first", "– the loser's advert crosses first", peer, 100, nil, nil},
		{"heal-winner-first-told", "– the winner's first, and keepalived has vrrp_higher_prio_send_advert", faulted, 100,
			func(s *setup) { s.told = true }, func(p pair) bool { return p.peer == keepalived }},
		{"heal-v2", "– the winner's first, with VRRPv2 for IPv4", faulted, 10, version2, nil},
	} {
		list = append(list, fault{
			name: h.name, title: h.title, heals: true, rounds: h.rounds, setup: h.setup, pairs: h.pairs,
			happen: func(ctx context.Context, s *stand, r *round) error { return heal(ctx, s, r, h.order) },
			promise: func(s setup) promise {
				if s.pair == (pair{keepalived, keepalived}) || silent(s) && h.order == faulted {
					return promise{}
				}
				return promise{misled: atMost(200 * time.Millisecond)}
			},
		})
	}
	return list
}

// silent reports whether the loser is a keepalived that says nothing when it hears
// the winner.
func silent(s setup) bool { return s.peer == keepalived && !s.told }

func version2(s *setup) { s.version = 2 }

func quick(s *setup) { s.interval = 100 * time.Millisecond }

// leaseOverlap is for how long a vipd that does nothing any more shares its
// addresses with its successor, at most.
func leaseOverlap(s setup) time.Duration {
	longest := time.Duration(0)
	for _, v := range []vrrp.Version{vrrp.Version(s.version), vrrp.V3} {
		longest = max(longest, vrrp.LeaseOverlap(vrrp.LeaseLength(v, priorities[faulted], s.interval, 3), s.interval, 3))
	}
	return longest
}

func deadPromise(s setup) promise {
	if s.faulted != vipd {
		return promise{}
	}
	return promise{two: atMost(max(leaseOverlap(s), 500*time.Millisecond))}
}

func pausePromise(s setup) promise {
	p := deadPromise(s)
	if s.faulted == vipd {
		p.twoAfter, p.lostAfter = atMost(handoverOverlap), atMost(1)
	}
	return p
}

// handoverOverlap is for how long both routers may answer when one takes over
// from the other in good order: until the old one has heard the new one's
// announcement, or 50 ms after its advertisement.
const handoverOverlap = 100 * time.Millisecond

func plannedPromise(s setup) promise {
	if s.faulted != vipd {
		return promise{}
	}
	p := promise{two: atMost(2 * handoverOverlap), lost: atMost(0)}
	if s.peer == keepalived {
		// It announces an IPv6 address up to some milliseconds before its kernel
		// answers for it.
		p.lost = atMost(1)
	}
	return p
}

func undisturbed(s setup) promise {
	if s.pair != (pair{vipd, vipd}) {
		return promise{}
	}
	return promise{two: atMost(never), lost: atMost(0), transitions: atMost(0)}
}

// repaired notes when the fault was repaired.
func (s *stand) repaired(r *round) { r.repaired = s.routers[peer].now() }

// recovered waits until the higher priority has the addresses again.
func (s *stand) recovered(ctx context.Context, r *round) error {
	if !s.until(ctx, s.patience(), func() bool { return s.owners.sole(faulted) }) {
		who, _ := s.owners.answers()
		r.note("%v later the addresses were not with a alone, but with %v", s.patience(), who)
	}
	s.lookFor(faulted, r)
	return wait(ctx, aftermath)
}

// lookFor notes when a daemon that is to run has ended.
func (s *stand) lookFor(router int, r *round) {
	select {
	case <-s.routers[router].cmd.Done():
		r.note("%s has ended (%v): %s", s.routers[router], s.routers[router].cmd.Wait(), lastLine(s.routers[router].log.String()))
	default:
	}
}

// lastLine returns the last line of a log.
func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndexByte(log, '\n')+1:]
}

func kill(ctx context.Context, s *stand, r *round) error {
	r.winner = peer
	if err := s.routers[faulted].kill(); err != nil {
		return err
	}
	return wait(ctx, s.masterDown()+5*time.Second)
}

func killRestart(ctx context.Context, s *stand, r *round) error {
	if err := s.routers[faulted].kill(); err != nil {
		return err
	}
	if err := wait(ctx, s.interval); err != nil {
		return err
	}
	if err := s.routers[faulted].start(ctx); err != nil {
		return err
	}
	s.repaired(r)
	if err := wait(ctx, s.masterDown()); err != nil {
		return err
	}
	return s.recovered(ctx, r)
}

func diskFull(ctx context.Context, s *stand, r *round) error {
	if err := fill(s.routers[faulted].dir); err != nil {
		return err
	}
	// What it writes from time to time it writes now.
	if err := wait(ctx, 2*s.interval); err != nil {
		return err
	}
	return killRestart(ctx, s, r)
}

func killRestartLate(ctx context.Context, s *stand, r *round) error {
	if err := s.routers[faulted].kill(); err != nil {
		return err
	}
	if err := wait(ctx, s.masterDown()+4*time.Second); err != nil {
		return err
	}
	if err := s.routers[faulted].start(ctx); err != nil {
		return err
	}
	s.repaired(r)
	return s.recovered(ctx, r)
}

func pause(ctx context.Context, s *stand, r *round) error {
	if err := s.routers[faulted].signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := wait(ctx, s.masterDown()+4*time.Second); err != nil {
		return err
	}
	if err := s.routers[faulted].signal(syscall.SIGCONT); err != nil {
		return err
	}
	s.repaired(r)
	return s.recovered(ctx, r)
}

func stop(ctx context.Context, s *stand, r *round) error {
	r.winner = peer
	if err := s.routers[faulted].terminate(ctx); err != nil {
		return err
	}
	return wait(ctx, s.masterDown())
}

func restart(ctx context.Context, s *stand, r *round) error {
	if err := s.routers[faulted].terminate(ctx); err != nil {
		return err
	}
	if err := s.routers[faulted].start(ctx); err != nil {
		return err
	}
	s.repaired(r)
	return s.recovered(ctx, r)
}

func cutLink(ctx context.Context, s *stand, r *round) error {
	n := s.routers[faulted].node
	if err := s.lab.Cut(n, "eth0"); err != nil {
		return err
	}
	s.owners.detach(faulted)
	if err := wait(ctx, s.masterDown()+4*time.Second); err != nil {
		return err
	}
	s.repaired(r)
	s.owners.attach(faulted)
	if err := s.lab.Heal(n, "eth0"); err != nil {
		return err
	}
	return s.recovered(ctx, r)
}

// longEnough is how long a disturbance lasts that does not end an election by
// itself.
const longEnough = 10 * time.Second

func oneWay(ctx context.Context, s *stand, r *round, deaf int) error {
	if err := s.deafen(ctx, deaf, 100); err != nil {
		return err
	}
	if err := wait(ctx, longEnough); err != nil {
		return err
	}
	if err := s.undeafen(ctx, deaf); err != nil {
		return err
	}
	s.repaired(r)
	return s.recovered(ctx, r)
}

func lossy(ctx context.Context, s *stand, r *round, percent int) error {
	for router := range s.routers {
		if err := s.deafen(ctx, router, percent); err != nil {
			return err
		}
	}
	if err := wait(ctx, 3*longEnough); err != nil {
		return err
	}
	for router := range s.routers {
		if err := s.undeafen(ctx, router); err != nil {
			return err
		}
	}
	s.repaired(r)
	return s.recovered(ctx, r)
}

func recreate(ctx context.Context, s *stand, r *round) error {
	n := s.routers[faulted].node
	link, err := n.Netlink().LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := n.Netlink().LinkDel(link); err != nil {
		return err
	}
	if err := wait(ctx, s.masterDown()+2*time.Second); err != nil {
		return err
	}
	if err := s.lab.Connect(n, "eth0", s.lan, port(faulted+1)); err != nil {
		return err
	}
	s.repaired(r)
	return s.recovered(ctx, r)
}

func deleteVIPs(ctx context.Context, s *stand, r *round) error {
	for _, i := range instances {
		if err := s.routers[faulted].node.RemoveAddr("eth0", i.vips[0]); err != nil {
			return err
		}
	}
	s.repaired(r)
	return wait(ctx, s.masterDown()+4*time.Second)
}

func deleteSource(ctx context.Context, s *stand, r *round) error {
	n := s.routers[faulted].node
	own, err := n.Addrs("eth0")
	if err != nil {
		return err
	}
	// The IPv6 instance advertises from the link-local address.
	own = slices.DeleteFunc(own, func(p netip.Prefix) bool { return slices.Contains(vips, p) })
	if len(own) != 3 {
		return fmt.Errorf("%v are not an IPv4, an IPv6 and a link-local address", own)
	}
	for _, a := range own {
		if err := n.RemoveAddr("eth0", a); err != nil {
			return err
		}
	}
	if err := wait(ctx, 6*time.Second); err != nil {
		return err
	}
	for _, a := range own {
		if err := n.AddAddr("eth0", a); err != nil {
			return err
		}
	}
	s.repaired(r)
	return s.recovered(ctx, r)
}

func flood(ctx context.Context, s *stand, r *round) error {
	n := s.routers[faulted].node
	nl := n.Netlink()
	if err := nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "flood0"}}); err != nil {
		return err
	}
	link, err := nl.LinkByName("flood0")
	if err != nil {
		return err
	}
	end := time.Now().Add(5 * time.Second)
	deleted := false
	changes := 0
	for ; time.Now().Before(end) && ctx.Err() == nil; changes += 2 {
		a := &netlink.Addr{IPNet: hostNet(netip.AddrFrom4([4]byte{198, 51, 100, byte(changes / 2)}))}
		if err := errors.Join(nl.AddrAdd(link, a), nl.AddrDel(link, a)); err != nil {
			return err
		}
		if !deleted && time.Until(end) < 2500*time.Millisecond {
			deleted = true
			if err := n.RemoveAddr("eth0", vips[0]); err != nil {
				return err
			}
		}
	}
	s.repaired(r)
	r.note("%d changes in 5 s", changes)
	return wait(ctx, s.masterDown()+2*time.Second)
}

// heal parts the routers until both are master, and joins them again just before
// one of them advertises.
func heal(ctx context.Context, s *stand, r *round, first int) error {
	n := s.routers[faulted].node
	before := s.client.seen()
	if err := s.lab.Isolate(n, "eth0"); err != nil {
		return err
	}
	s.owners.detach(faulted)
	parted := time.Now()
	if !s.until(ctx, s.patience(), func() bool { return s.owners.sole(peer) }) {
		return fmt.Errorf("%s has not become master: %w", s.routers[peer], s.why())
	}
	if err := wait(ctx, s.interval/10); err != nil {
		return err
	}
	at, ok := s.justBefore(first, lastAdverts(before, faulted), lastAdverts(s.client.seen(), peer))
	if !ok {
		r.note("no moment at which %s would be first with all instances", routerNames[first])
	}
	if err := wait(ctx, time.Until(at)); err != nil {
		return err
	}
	if err := s.lab.Join(n, "eth0"); err != nil {
		return err
	}
	s.owners.attach(faulted)
	s.repaired(r)
	r.healed = true
	r.note("parted for %.1f s", time.Since(parted).Seconds())
	// What a client believes, it believes for up to a minute.
	joined := time.Now()
	if !s.until(ctx, time.Minute, func() bool { return s.owners.sole(faulted) && time.Since(joined) > s.interval && s.client.content() }) {
		r.note("a minute later the client had no answers")
	}
	return wait(ctx, time.Second)
}

// lastAdverts returns when a router last advertised each instance.
func lastAdverts(seen []advert, router int) map[uint8]time.Time {
	last := make(map[uint8]time.Time)
	for _, a := range seen {
		if a.router == router {
			last[a.vrid] = a.at
		}
	}
	return last
}

const (
	// lead is how long before an advertisement the routers are joined.
	lead = 60 * time.Millisecond
	// clearance is how long after it nobody else's may come.
	clearance = 30 * time.Millisecond
)

// justBefore returns a moment that is shortly before advertisements of one router
// and not before those of the other: of all instances if there is one, else of the
// first. All keep to their schedules.
func (s *stand) justBefore(first int, last ...map[uint8]time.Time) (time.Time, bool) {
	now := time.Now().Add(20 * time.Millisecond)
	for n := len(instances); n > 0; n-- {
		for at := now; at.Before(now.Add(2 * s.interval)); at = at.Add(5 * time.Millisecond) {
			if s.before(at, first, instances[:n], last) {
				return at, n == len(instances)
			}
		}
	}
	return now, false
}

// before reports whether a moment is such a one for some instances.
func (s *stand) before(at time.Time, first int, some []instance, last []map[uint8]time.Time) bool {
	next := func(router int, vrid uint8) time.Duration {
		return s.interval - at.Sub(last[router][vrid])%s.interval
	}
	soonest, latest, rival := s.interval, time.Duration(0), s.interval
	for _, i := range some {
		soonest, latest = min(soonest, next(first, i.vrid)), max(latest, next(first, i.vrid))
		rival = min(rival, next(1-first, i.vrid))
	}
	return soonest >= lead/2 && latest <= 2*lead && rival > latest+clearance
}
