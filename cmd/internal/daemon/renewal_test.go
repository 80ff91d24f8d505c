package daemon

import (
	"testing"
	"testing/synctest"
	"time"

	"vipd/config"
)

// leased is the rig with one address that is in place and has a lease. Nothing is
// sent: the test says when an advertisement got out.
func leased(t *testing.T) (r *effectorRig, renewals func() int) {
	t.Helper()
	table := &fakeTable{}
	r = newEffectorRig(t, table, prefixes("192.0.2.10/24"), func(cfg *config.Instance) {
		cfg.VIPLease = config.Lease{Mode: config.LeaseAuto}
	})
	synctest.Wait()
	if got := len(table.list()); got != 1 || r.inst.lease == 0 {
		t.Fatalf("%d addresses are in place, with a lease of %v; want one that has", got, r.inst.lease)
	}
	return r, func() int {
		synctest.Wait()
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(table.renewals)
	}
}

func TestALeaseIsRenewedOnlyWhileItsInstanceAdvertises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, renewals := leased(t)
		defer r.end()
		for range 10 {
			r.post(r.inst.unmute) // one got out
			time.Sleep(r.inst.cfg.AdvertInterval)
		}
		if n := renewals(); n < 3 {
			t.Errorf("it was renewed %d times in %v", n, 10*r.inst.cfg.AdvertInterval)
		}
		time.Sleep(r.inst.cfg.AdvertInterval) // one that is late
		before := renewals()
		time.Sleep(10 * r.inst.lease)
		if after := renewals(); after != before {
			t.Errorf("without advertisements it was renewed %d times", after-before)
		}
	})
}

func TestARenewalThatIsHeldUpIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, renewals := leased(t)
		defer r.end()
		k := r.addrs.(*keeper)
		for _, tt := range []struct {
			name string
			late time.Duration
			want int
		}{
			{"at once", 0, 1},
			{"a second late", time.Second, 0},
		} {
			before := renewals()
			k.inbox.put(func() {
				h := k.holds[r.inst]
				var all []renewal
				for a, p := range h.added {
					as := p.as
					as.ValidLifetime = r.inst.lease
					all = append(all, renewal{h, a, as})
				}
				k.carryOut(all, time.Now().Add(-tt.late))
			})
			if got := renewals() - before; got != tt.want {
				t.Errorf("%s: renewed %d times, want %d", tt.name, got, tt.want)
			}
		}
	})
}
