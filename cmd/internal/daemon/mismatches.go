package daemon

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"vipd/cmd/internal/control"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// A mismatch is how the configuration of a peer that is heard differs.
type mismatch struct {
	text        string
	since, last time.Time // when that was heard first, and last
}

// A refusal is why the last advertisement of a peer was dropped.
type refusal struct {
	drop vrrpconn.Drop
	mismatch
}

// heard returns when that was heard last.
func (m mismatch) heard() time.Time { return m.last }

const (
	// latelyAdverts is for how many intervals a peer counts as heard.
	latelyAdverts = 5
	// mismatchLife is for how long what differs is told of a peer that is not heard
	// any more. It may be a backup, which is silent, or be gone for good.
	mismatchLife = time.Hour
)

// lately reports whether that was heard not long ago.
func (m mismatch) lately(interval time.Duration) bool {
	return time.Since(m.last) <= latelyAdverts*interval
}

// status returns it as status has it.
func (m mismatch) status(peer netip.Addr, interval time.Duration) control.Mismatch {
	out := control.Mismatch{Peer: peer, Text: m.text, Since: m.since}
	if !m.lately(interval) {
		out.Text += ", last heard at " + m.last.Format(time.TimeOnly)
	}
	return out
}

// forget makes room for one more among most, for which the peer that was not heard
// for the longest time goes.
func forget[T interface{ heard() time.Time }](peers map[netip.Addr]T, most int) {
	for len(peers) >= most {
		var oldest netip.Addr
		for a := range peers {
			if !oldest.IsValid() || peers[a].heard().Before(peers[oldest].heard()) {
				oldest = a
			}
		}
		delete(peers, oldest)
	}
}

// forgetOld forgets those that were not heard for long.
func forgetOld[T interface{ heard() time.Time }](peers map[netip.Addr]T) {
	maps.DeleteFunc(peers, func(_ netip.Addr, m T) bool { return time.Since(m.heard()) > mismatchLife })
}

// mismatchStatus adds how the configurations of peers differ, and forgets those that
// were not heard for long.
func (inst *instance) mismatchStatus(out *control.Instance) {
	interval := inst.cfg.AdvertInterval
	forgetOld(inst.mismatches)
	forgetOld(inst.refused)
	for _, peer := range slices.SortedFunc(maps.Keys(inst.mismatches), netip.Addr.Compare) {
		out.Mismatches = append(out.Mismatches, inst.mismatches[peer].status(peer, interval))
	}
	for _, peer := range slices.SortedFunc(maps.Keys(inst.refused), netip.Addr.Compare) {
		r := inst.refused[peer]
		out.Mismatches = append(out.Mismatches, r.status(peer, interval))
		if inst.m.State() == vrrp.Master && r.lately(interval) {
			degrade(out, fmt.Sprintf("%s seems to be master, too, and is not understood: %s", peer, r.text))
		}
	}
}
