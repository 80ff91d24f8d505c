package interop

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/vrrp"
)

// A disagreement is a pair that is not configured alike, and what comes of it.
type disagreement struct {
	name     string
	protocol protocol // of the peer
	peer     kind
	vipdHigh bool
	differ   func(*protocol) // makes of the peer's what vipd is told

	vipd, other control.State // that they end up in
	mismatch    []string      // what vipd says of a peer that it listens to
	drop        string        // why vipd does not listen to it
	held        bool          // vipd does not take over because of it all the same
	logged      []string      // what the log says of that
}

var (
	v2 = protocol{version: vrrp.V2, interval: slow, vips: vips4}
	v3 = protocol{version: vrrp.V3, interval: fast, vips: vips4}

	vips4Other = []netip.Prefix{vips4[0], netip.MustParsePrefix("10.0.0.102/24")}
	vipsDiffer = []string{
		"peer advertises 10.0.0.101, which this node does not have",
		"this node has 10.0.0.102, which the peer does not advertise",
	}
)

// withPassword returns a protocol with authentication.
func (p protocol) withPassword(s string) protocol {
	p.password = s
	return p
}

var disagreements = []disagreement{
	{
		name:     "vipd listens to a master with other addresses, and says which",
		protocol: v3, peer: keepalived,
		differ: func(p *protocol) { p.vips = vips4Other },
		vipd:   control.StateBackup, other: control.StateMaster,
		mismatch: vipsDiffer,
	},
	{
		// Until 2.3.2 keepalived drops advertisements with other addresses.
		name:     "keepalived 2.2.7 does not listen to a vipd with other addresses, and both are master",
		protocol: v3, peer: keepalived, vipdHigh: true,
		differ: func(p *protocol) { p.vips = vips4Other },
		vipd:   control.StateMaster, other: control.StateMaster,
		mismatch: vipsDiffer,
	},
	{
		name:     "FRR listens to a vipd with other addresses",
		protocol: v3, peer: frr, vipdHigh: true,
		differ: func(p *protocol) { p.vips = vips4Other },
		vipd:   control.StateMaster, other: control.StateBackup,
	},
	{
		name:     "with another interval in version 3 the backup learns the master's",
		protocol: v3, peer: keepalived,
		differ: func(p *protocol) { p.interval *= 2 },
		vipd:   control.StateBackup, other: control.StateMaster,
		mismatch: []string{"500ms", "1s"},
	},
	{
		name:     "with another interval in version 2 vipd does not take over from a master that it hears",
		protocol: v2, peer: keepalived,
		differ: func(p *protocol) { p.interval *= 2 },
		vipd:   control.StateBackup, other: control.StateMaster,
		drop: "interval_mismatch", held: true, logged: []string{"1s", "2s"},
	},
	{
		name:     "with another interval in version 2 keepalived takes over, and both are master",
		protocol: v2, peer: keepalived, vipdHigh: true,
		differ: func(p *protocol) { p.interval *= 2 },
		vipd:   control.StateMaster, other: control.StateMaster,
		drop: "interval_mismatch", logged: []string{"1s", "2s"},
	},
	{
		name:     "with another password both are master",
		protocol: v2.withPassword("example1"), peer: keepalived,
		differ: func(p *protocol) { p.password = "example2" },
		vipd:   control.StateMaster, other: control.StateMaster,
		drop: "authentication_failed", logged: []string{"password"},
	},
	{
		name:     "with a password on one side only both are master",
		protocol: v2.withPassword("example1"), peer: keepalived,
		differ: func(p *protocol) { p.password = "" },
		vipd:   control.StateMaster, other: control.StateMaster,
		drop: "authentication_type_mismatch", logged: []string{"PASS", "none"},
	},
	{
		name:     "with another version both are master",
		protocol: v2, peer: keepalived,
		differ: func(p *protocol) { p.version = vrrp.V3 },
		vipd:   control.StateMaster, other: control.StateMaster,
		drop: "wrong_version", logged: []string{"2", "3"},
	},
	{
		name:     "without the pseudo-header that keepalived has in the checksum both are master",
		protocol: v3, peer: keepalived,
		differ: func(p *protocol) { p.plain = true },
		vipd:   control.StateMaster, other: control.StateMaster,
		drop: "bad_checksum", logged: []string{"v3_checksum_as_v2", "with pseudo-header"},
	},
	{
		name:     "without the pseudo-header that FRR has in the checksum both are master",
		protocol: v3, peer: frr,
		differ: func(p *protocol) { p.plain = true },
		vipd:   control.StateMaster, other: control.StateMaster,
		drop: "bad_checksum", logged: []string{"v3_checksum_as_v2", "with pseudo-header"},
	},
}

func TestAPairThatDisagreesDoesWhatIsDocumented(t *testing.T) {
	t.Parallel()
	for _, d := range disagreements {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			d.play(t)
		})
	}
}

func (d disagreement) play(t *testing.T) {
	high, low := d.peer, vipd
	if d.vipdHigh {
		high, low = low, high
	}
	s := newScene(t, d.protocol, high, low)
	ours, theirs := s.low, s.high
	if d.vipdHigh {
		ours, theirs = theirs, ours
	}
	d.differ(&ours.protocol)
	// The higher one first, so that the other hears it from the beginning.
	s.start(t, s.high)
	s.high.WaitState(t, instance, control.StateMaster, patience)
	s.start(t, s.low)
	v := ours.Daemon.(*rig.Vipd)

	// Two of a kind that is dropped say that it goes on. Of one that is accepted
	// there may be no second: each of vipd's restarts keepalived's own timer (D003).
	var i control.Instance
	rig.Eventually(t, patience, "both routers are as they should be, and vipd has heard the other", func() bool {
		if v.State(instance) != d.vipd || theirs.State(instance) != d.other {
			return false
		}
		i = v.Instance(t, instance)
		return (d.drop == "" || i.Counters.Drops[d.drop] >= 2) && d.held == (i.Held != nil) &&
			(len(d.mismatch) == 0 || len(i.Mismatches) > 0 && i.Counters.Received >= 1)
	})
	again := time.NewTimer(s.masterDown(lowPriority))
	defer again.Stop()
	select {
	case <-again.C:
	case <-t.Context().Done():
	}
	i = v.Instance(t, instance)
	if got := theirs.State(instance); i.State != d.vipd || got != d.other {
		t.Errorf("after a while, vipd is %s and the other %s, want %s and %s", i.State, got, d.vipd, d.other)
	}

	for reason, n := range i.Counters.Drops {
		if reason != d.drop {
			t.Errorf("%d advertisements were dropped for %s, want %q only", n, reason, d.drop)
		}
	}
	if d.drop != "" && i.Counters.Received != 0 {
		t.Errorf("%d advertisements count as received, want none", i.Counters.Received)
	}
	for _, want := range d.logged {
		if !slices.ContainsFunc(strings.Split(v.Log(), "\n"), func(line string) bool {
			return strings.Contains(line, "dropped") && strings.Contains(line, theirs.self.String()) && strings.Contains(line, want)
		}) {
			t.Errorf("no line of the log says %q of %v", want, theirs.self)
		}
	}

	wanted := d.mismatch
	if d.drop != "" {
		wanted = []string{"its advertisements are refused"}
	}
	switch {
	case len(wanted) == 0 && len(i.Mismatches) > 0:
		t.Errorf("the mismatches are %v, want none", i.Mismatches)
	case len(wanted) > 0 && (len(i.Mismatches) != 1 || i.Mismatches[0].Peer != theirs.self):
		t.Errorf("the mismatches are %v, want one with %v", i.Mismatches, theirs.self)
	default:
		for _, want := range wanted {
			if got := i.Mismatches[0].Text; !strings.Contains(got, want) {
				t.Errorf("the mismatch is %q, want it to say %q", got, want)
			}
		}
	}
}

// TestFRRHasThePseudoHeaderInTheChecksum says which way FRR 8.4.4 computes the
// checksum of version 3 over IPv4, which RFC 9568 §5.2.8 has without a
// pseudo-header: with it, as RFC 5798 was read, and as vipd does by default. It
// knows no other way.
func TestFRRHasThePseudoHeaderInTheChecksum(t *testing.T) {
	t.Parallel()
	s := newScene(t, v3, frr, vipd)
	s.start(t, s.high)
	s.high.WaitState(t, instance, control.StateMaster, patience)
	rig.Eventually(t, patience, "FRR has sent an advertisement", func() bool {
		return len(adverts(s.low.heard.Frames(), time.Time{})) > 0
	})
	for _, a := range adverts(s.low.heard.Frames(), time.Time{}) {
		with := vrrp.VerifyChecksum(a.pdu, a.src, a.dst, vrrp.ChecksumPseudoHeader)
		without := vrrp.VerifyChecksum(a.pdu, a.src, a.dst, vrrp.ChecksumPlain)
		if !with || without {
			t.Errorf("the checksum of %x verifies with a pseudo-header: %v, without: %v, want true and false", a.pdu, with, without)
		}
	}
}
