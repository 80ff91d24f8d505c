package daemon

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
	"vipd/vrrp/vrrptest"
)

// sourced is the view of an interface that has an address to send from.
func sourced(addr string) linkView {
	return linkView{usable: true, index: 1, mtu: 1500, source: netip.MustParseAddr(addr)}
}

// sourceless is the view of one that is well but for that.
func sourceless() linkView {
	return linkView{index: 1, mtu: 1500, sourceless: true, faults: []vrrp.Fault{{Kind: vrrp.FaultNoSource, Name: "eth0"}}}
}

// see has the loop learn of its interface.
func (r *virtualRouter) see(v linkView) {
	r.post(func() { r.inst.setLink(v) })
	synctest.Wait()
}

// asked runs f in the loop and waits for it.
func (r *virtualRouter) asked(f func(*instance)) {
	done := make(chan struct{})
	r.post(func() { f(r.inst); close(done) })
	<-done
}

// went returns the states that it has gone through, and why it is in the last.
func (r *virtualRouter) went() (path string, why vrrp.Reason) {
	r.asked(func(inst *instance) {
		for _, t := range inst.history {
			path += t.To.String() + " "
		}
		why = inst.m.Snapshot().Reason
	})
	return strings.TrimSpace(path), why
}

// A pair is two routers on a LAN, of which the first is master, and a listener.
type pair struct {
	lan     *vrrptest.LAN
	a, b    *virtualRouter
	log     *logged // of a
	listens *vrrptest.Port
}

func newPair(t *testing.T, interval time.Duration) *pair {
	t.Helper()
	p := &pair{lan: vrrptest.NewLAN(1), log: &logged{}}
	p.a = newVirtualRouter(p.lan, "192.0.2.1", virtualConfig(200, interval), slog.New(slog.NewTextHandler(p.log, nil)))
	p.b = newVirtualRouter(p.lan, "192.0.2.2", virtualConfig(100, interval), quiet())
	time.Sleep(10*interval + interval/2)
	synctest.Wait()
	if a, b := p.a.state(), p.b.state(); a != vrrp.Master || b != vrrp.Backup {
		t.Fatalf("the routers are %s and %s", a, b)
	}
	p.listens = p.lan.Port(netip.MustParseAddr("192.0.2.9"))
	return p
}

// heard returns the priorities of what the first router has said, all of it from
// its source address.
func (p *pair) heard(t *testing.T) (priorities []uint8) {
	t.Helper()
	ds := make([]vrrpconn.Datagram, 256)
	n, err := p.listens.Recv(ds)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds[:n] {
		if d.Src == p.a.addr {
			priorities = append(priorities, d.Payload[2])
		}
	}
	return priorities
}

func (p *pair) end() {
	p.a.end()
	p.b.end()
}

func TestAMasterGoesOnWhileItsSourceAddressIsGoneForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 100*time.Millisecond)
		for range 3 {
			p.a.see(sourceless())
			gone := time.Now()
			time.Sleep(sourceGrace / 2)
			// Whatever else there is to learn, as after a reload, is no new grace.
			p.a.see(sourceless())
			p.a.asked(func(inst *instance) { inst.setLink(inst.view) })
			time.Sleep(sourceGrace/2 - 100*time.Millisecond)
			p.a.asked(func(inst *instance) {
				out := inst.status()
				if !out.Degraded || !strings.Contains(out.DegradedText, "192.0.2.1 has been gone since "+gone.Format("15:04:05")) ||
					out.SourceAddress != p.a.addr || len(out.Faults) > 0 {
					t.Errorf("status says degraded: %q, source %v, faults %v", out.DegradedText, out.SourceAddress, out.Faults)
				}
			})
			if n := len(p.heard(t)); n != 19 {
				t.Errorf("it sent %d advertisements in 1.9 s", n)
			}
			p.a.see(sourced("192.0.2.1"))
			p.a.asked(func(inst *instance) {
				if out := inst.status(); out.Degraded {
					t.Errorf("with the address it is degraded: %s", out.DegradedText)
				}
			})
		}
		time.Sleep(2 * sourceGrace)
		synctest.Wait()
		if path, why := p.a.went(); path != "backup master" {
			t.Errorf("it went %s, for %v", path, why)
		}
		if path, _ := p.b.went(); path != "backup" {
			t.Errorf("the other one went %s", path)
		}
		if gone, back := p.log.lines("source address is gone"), p.log.lines("a source address again", "after=1.9s"); gone != 3 || back != 3 {
			t.Errorf("of three absences the log tells the begin of %d and the end of %d", gone, back)
		}
		p.end()
	})
}

func TestAnInstanceIsInFaultWhenItsSourceAddressStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, time.Second)
		p.a.see(sourceless())
		time.Sleep(sourceGrace - time.Millisecond)
		synctest.Wait()
		if s := p.a.state(); s != vrrp.Master {
			t.Errorf("just before the end it is %s", s)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		path, why := p.a.went()
		if path != "backup master fault" || why.Kind != vrrp.ReasonFault || !strings.Contains(why.String(), "no source address on eth0") {
			t.Errorf("it went %s, for %v", path, why)
		}
		if said := p.heard(t); len(said) != 3 || said[2] != vrrp.PriorityStop {
			t.Errorf("it advertised the priorities %v", said)
		}
		p.a.asked(func(inst *instance) {
			if out := inst.status(); len(out.Faults) != 1 || out.Degraded || out.SourceAddress.IsValid() {
				t.Errorf("status says faults %v, degraded %q, source %v", out.Faults, out.DegradedText, out.SourceAddress)
			}
		})
		time.Sleep(time.Second)
		synctest.Wait()
		if s := p.b.state(); s != vrrp.Master {
			t.Errorf("the other one is %s", s)
		}
		p.a.see(sourced("192.0.2.1"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if path, _ := p.a.went(); path != "backup master fault backup master" {
			t.Errorf("with the address it went %s", path)
		}
		if n := p.log.lines("a source address again"); n != 0 {
			t.Error("the log tells of the end of a grace that had ended before")
		}
		p.end()
	})
}

func TestOnlyAnAddressThatIsMissingForAMomentIsGoneOnWithout(t *testing.T) {
	down := sourceless()
	down.sourceless = false
	down.faults = append([]vrrp.Fault{{Kind: vrrp.FaultInterfaceDown, Name: "eth0"}}, down.faults...)
	missing := linkView{faults: []vrrp.Fault{{Kind: vrrp.FaultInterfaceMissing, Name: "eth0"}}}
	other := sourceless()
	other.index = 2
	withAddress := sourced("192.0.2.1")
	withAddress.faults = down.faults[:1]
	for _, tt := range []struct {
		name  string
		views []linkView
		want  vrrp.State
	}{
		{"the interface goes down at the same time", []linkView{down}, vrrp.FaultState},
		{"the interface goes down meanwhile", []linkView{sourceless(), down}, vrrp.FaultState},
		{"and comes up again without it", []linkView{sourceless(), down, sourceless()}, vrrp.FaultState},
		{"the interface was down, and comes up without it", []linkView{withAddress, sourceless()}, vrrp.FaultState},
		{"the interface is deleted meanwhile", []linkView{sourceless(), missing}, vrrp.FaultState},
		{"another interface of that name has none", []linkView{other}, vrrp.FaultState},
		{"and is made meanwhile", []linkView{sourceless(), other}, vrrp.FaultState},
		{"the interface has another address", []linkView{sourced("192.0.2.7")}, vrrp.Master},
		{"and gets it meanwhile", []linkView{sourceless(), sourced("192.0.2.7")}, vrrp.Master},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, time.Second)
				for _, v := range tt.views {
					p.a.see(v)
					time.Sleep(100 * time.Millisecond)
				}
				if s := p.a.state(); s != tt.want {
					t.Errorf("it is %s, want %s", s, tt.want)
				}
				last := tt.views[len(tt.views)-1]
				p.a.asked(func(inst *instance) {
					if got := inst.m.Snapshot().Source; got != last.source {
						t.Errorf("its source address is %v, want %v", got, last.source)
					}
				})
				p.a.see(sourced("192.0.2.1"))
				p.end()
			})
		})
	}
}

func TestAnInstanceThatStartsWithoutAnAddressIsInFaultAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan, host := vrrptest.NewLAN(1), &virtualHost{held: make(map[vrrp.Address]bool)}
		open := func(vrrpconn.Config) (transport, error) { return lan.Port(netip.MustParseAddr("192.0.2.1")), nil }
		r := &virtualRouter{host: host, loop: newLoop("eth0", quiet(), newVirtualWaker(), open, host, virtualAnnouncer{host})}
		r.inst = newInstance(virtualConfig(100, time.Second), r.loop, quiet())
		r.loop.instances = []*instance{r.inst}
		go r.loop.run()
		r.see(sourceless())
		r.asked(func(inst *instance) { r.step(inst, time.Now(), vrrp.Startup{}) })
		if path, why := r.went(); path != "fault" {
			t.Errorf("it went %s, for %v", path, why)
		}
		r.end()
	})
}

func TestABackupWithoutItsAddressHearsButDoesNotTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 100*time.Millisecond)
		p.b.see(sourceless())
		time.Sleep(sourceGrace - 100*time.Millisecond)
		synctest.Wait()
		if path, why := p.b.went(); path != "backup" {
			t.Errorf("with a master that it hears it went %s, for %v", path, why)
		}
		p.b.see(sourced("192.0.2.2"))

		// One that is deaf, or whose master dies just then, cannot tell which.
		p.b.see(sourceless())
		p.lan.Partition(p.b.port)
		time.Sleep(time.Second)
		synctest.Wait()
		if path, why := p.b.went(); path != "backup fault" || !strings.Contains(why.String(), "no source address") {
			t.Errorf("without a master it went %s, for %v", path, why)
		}
		p.lan.Heal()
		p.b.see(sourced("192.0.2.2"))
		time.Sleep(time.Second)
		synctest.Wait()
		if path, _ := p.b.went(); path != "backup fault backup" {
			t.Errorf("with the address it went %s", path)
		}
		p.end()
	})
}

func TestAnAdvertisementThatDoesNotGetOutWithoutTheAddressIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, nil, "192.0.2.10/24")
		r.port.set(unix.EADDRNOTAVAIL, nil)
		gone := sourceless()
		gone.find, gone.removal = h.kernel.find, h.kernel.removal
		r.ask(func(inst *instance) { inst.setLink(gone) })
		time.Sleep(time.Second)
		synctest.Wait()
		r.port.set(nil, nil)
		time.Sleep(sourceGrace - 1100*time.Millisecond)
		back := sourced("192.0.2.1")
		back.find, back.removal = h.kernel.find, h.kernel.removal
		r.ask(func(inst *instance) { inst.setLink(back) })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, c := r.events(control.EventContested); c.SendErrors != 1 || c.ReleaseMaster > 0 {
			t.Errorf("%d advertisements did not get out, and it was replaced %d times", c.SendErrors, c.ReleaseMaster)
		}
		if h.log.lines("cannot send") > 0 || r.state() != vrrp.Master {
			t.Errorf("it is %s, and complains %d times", r.state(), h.log.lines("cannot send"))
		}
		h.end()
	})
}

func TestAddressesThatGoWithTheSourceAddressArePutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := masterHost(t, func(cfg *config.Instance) { cfg.Priority = 150 }, "192.0.2.10/24", "192.0.2.11/24")
		for _, a := range []string{"192.0.2.10/24", "192.0.2.11/24"} {
			h.kernel.remove(addressKey(netif.Address{Prefix: netip.MustParsePrefix(a), Interface: "eth0"}), netif.Removal{At: time.Now(), Port: somebody})
		}
		gone := sourceless()
		gone.find, gone.removal = h.kernel.find, h.kernel.removal
		r.ask(func(inst *instance) { inst.setLink(gone) })
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if !h.kernel.has("192.0.2.10") || !h.kernel.has("192.0.2.11") || r.state() != vrrp.Master {
			t.Errorf("0.1 s later it is %s, and has %v and %v", r.state(), h.kernel.has("192.0.2.10"), h.kernel.has("192.0.2.11"))
		}
		time.Sleep(sourceGrace)
		synctest.Wait()
		if h.kernel.has("192.0.2.10") || h.kernel.has("192.0.2.11") || r.state() != vrrp.FaultState {
			t.Errorf("after the grace it is %s, and has %v and %v", r.state(), h.kernel.has("192.0.2.10"), h.kernel.has("192.0.2.11"))
		}
		h.end()
	})
}
