package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vipd/cmd/internal/control"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// says has the instance receive an advertisement of a peer that is as it should be,
// or differs, or is refused.
func (r *ownerRouter) says(peer netip.Addr, differs, refused string) {
	r.ask(func(inst *instance) {
		d := &vrrpconn.Datagram{Src: peer, At: time.Now()}
		if refused != "" {
			inst.dropped(d, &vrrpconn.DropError{Drop: vrrpconn.WrongVersion, Detail: refused})
			return
		}
		var found []vrrpconn.Mismatch
		if differs != "" {
			found = append(found, vrrpconn.Mismatch{Kind: vrrpconn.MismatchAddresses, Detail: differs})
		}
		inst.accepted(d, &vrrp.Advertisement{Priority: 50}, found)
	})
}

// mismatches returns what status says of others, and whether all is well otherwise.
func (r *ownerRouter) mismatches() (lines []string, degraded string) {
	r.ask(func(inst *instance) {
		var out control.Instance
		inst.mismatchStatus(&out)
		for _, m := range out.Mismatches {
			lines = append(lines, m.Peer.String()+": "+m.Text)
		}
		degraded = out.DegradedText
	})
	return lines, degraded
}

func TestWhatDiffersOfAPeerThatIsSilentIsDatedAndThenForgotten(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.8"), netip.MustParseAddr("192.0.2.9")
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, nil, "192.0.2.10/24")
		defer h.end()
		check := func(when string, degraded bool, want ...string) {
			t.Helper()
			got, text := r.mismatches()
			if !slices.Equal(got, want) || (text != "") != degraded {
				t.Errorf("%s status says %q, and degraded: %q; want %q", when, got, text, want)
			}
		}
		r.says(a, "it advertises another address", "")
		r.says(b, "", "it sends version 2")
		stopped := time.Now().Format(time.TimeOnly)
		check("at once", true, "192.0.2.8: it advertises another address", "192.0.2.9: its advertisements are refused: it sends version 2")
		time.Sleep(5 * time.Second)
		check("after five intervals", true, "192.0.2.8: it advertises another address", "192.0.2.9: its advertisements are refused: it sends version 2")
		time.Sleep(100 * time.Millisecond)
		dated := ", last heard at " + stopped
		check("after that", false, "192.0.2.8: it advertises another address"+dated, "192.0.2.9: its advertisements are refused: it sends version 2"+dated)
		r.says(a, "it advertises another address", "")
		check("when it is heard again", false, "192.0.2.8: it advertises another address", "192.0.2.9: its advertisements are refused: it sends version 2"+dated)
		// Each line of a peer gives way to the next.
		r.says(a, "", "it sends version 2")
		r.says(b, "it advertises another address", "")
		check("when they have changed places", true, "192.0.2.9: it advertises another address", "192.0.2.8: its advertisements are refused: it sends version 2")
		r.says(a, "", "")
		check("when one is as it should be", false, "192.0.2.9: it advertises another address")
		time.Sleep(time.Hour + time.Second)
		check("an hour later", false)
	})
}

func TestOfManyPeersThatDifferTheLastAreKnown(t *testing.T) {
	for _, tt := range []struct {
		name             string
		most             int
		differs, refused string
	}{
		{"that differ", 64, "it advertises another address", ""},
		{"that are refused", 8, "", "it sends version 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, r := masterHost(t, nil, "192.0.2.10/24")
				defer h.end()
				peer := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}) }
				for n := range tt.most {
					r.says(peer(n), tt.differs, tt.refused)
					time.Sleep(time.Millisecond)
				}
				r.says(peer(0), tt.differs, tt.refused) // it lives
				for n := range 3 {
					time.Sleep(time.Millisecond)
					r.says(peer(1000+n), tt.differs, tt.refused)
				}
				lines, _ := r.mismatches()
				has := func(n int) bool {
					return slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, fmt.Sprintf("%s: ", peer(n))) })
				}
				if len(lines) != tt.most || !has(0) || has(1) || has(2) || has(3) || !has(4) || !has(1000) || !has(1002) {
					t.Errorf("known are %q", lines)
				}
			})
		})
	}
}
