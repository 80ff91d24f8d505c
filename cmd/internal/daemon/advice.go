package daemon

import (
	"fmt"
	"net/netip"

	"vipd/checks"
	"vipd/config"
	"vipd/vrrp"
)

const (
	// heardPeers is how many other routers are remembered. Of more, those with
	// the highest priorities are what matters.
	heardPeers = 8
	// heardEnough is how many advertisements of a router must have been heard
	// before its priority is gone by: the first may be from before its checks
	// had results.
	heardEnough = 3
)

// A heardPeer is the highest priority that another router has advertised, which
// is what it has while all is well with it. A master does not hear it any more:
// backups are silent.
type heardPeer struct {
	highest uint8
	times   int
}

// hear remembers the priority of another router, and warns when it shows that no
// check can make this one yield.
func (inst *instance) hear(peer netip.Addr, priority uint8) {
	if len(inst.tracks) == 0 {
		return // no advice will ever be wanted, and this is for every advertisement
	}
	p, known := inst.heard[peer]
	if known && p.times >= heardEnough && priority <= p.highest || priority == vrrp.PriorityStop {
		return
	}
	if !known && len(inst.heard) == heardPeers {
		least := peer
		for a, q := range inst.heard {
			if q.highest < priority && (least == peer || q.highest < inst.heard[least].highest) {
				least = a
			}
		}
		if least == peer {
			return
		}
		delete(inst.heard, least)
	}
	if inst.heard == nil {
		inst.heard = make(map[netip.Addr]heardPeer)
	}
	inst.heard[peer] = heardPeer{max(p.highest, priority), p.times + 1}
	if advice := inst.advice(); len(advice) > 0 && advice[0] != inst.advised {
		inst.advised = advice[0]
		inst.log.Info("the weights of its checks may be too small", "advice", advice[0])
	}
}

// advice says what is wrong with the configuration as far as only the other
// routers show it.
func (inst *instance) advice() []string {
	lowest, all, ok := inst.lowestPriority()
	if !ok {
		return nil
	}
	var peer netip.Addr
	for a, p := range inst.heard {
		switch {
		case p.highest > lowest:
			return nil // it would take over
		case p.times < heardEnough:
		case !peer.IsValid() || p.highest > inst.heard[peer].highest || p.highest == inst.heard[peer].highest && a.Less(peer):
			peer = a
		}
	}
	if !peer.IsValid() {
		return nil
	}
	failing, compared := "all checks failing", "above"
	if !all {
		failing = "all checks that have a weight failing"
	}
	highest := inst.heard[peer].highest
	if highest == lowest {
		compared = "not below" // and a backup of the same priority does not take over (RFC 9568, 6.4.2)
	}
	return []string{fmt.Sprintf("even with %s this node's priority (%d) is %s the highest heard of %s (%d): unless its own checks were failing then, raise the weights, or this node stays master when it fails",
		failing, lowest, compared, peer, highest)}
}

// lowestPriority returns the priority that is left when all that is tracked with
// a weight is at its worst, and whether that is all that is tracked. It is not ok
// if weights do not matter, or may amount to anything, as that of a file does.
func (inst *instance) lowestPriority() (lowest uint8, all, ok bool) {
	base := inst.cfg.Priority
	var worst []checks.Input
	for _, t := range inst.tracks {
		switch {
		case t.input.Weight == 0:
			continue
		case t.cfg.Kind == config.TrackFile:
			return 0, false, false
		}
		up, down := t.input, t.input
		up.State, down.State = checks.Up, checks.Down
		terms := checks.Judge(base, []checks.Input{up, down}).Terms
		if terms[0].Delta < terms[1].Delta {
			down = up
		}
		worst = append(worst, down)
	}
	if len(worst) == 0 || base == vrrp.PriorityOwner {
		return 0, false, false
	}
	return checks.Judge(base, worst).Priority, len(worst) == len(inst.tracks), true
}
