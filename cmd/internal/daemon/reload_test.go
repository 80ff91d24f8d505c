package daemon

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
	"vipd/vrrp/vrrptest"
)

// A kernelTable is a table that has, as Linux does, an IPv6 address once only
// and an IPv4 address once with each prefix length. It remembers which addresses
// were gone for a moment.
type kernelTable struct {
	fakeTable
	gone []string
}

func (k *kernelTable) AddIf(addrs []netif.Address, still func() bool) []netif.Result {
	var out []netif.Result
	for _, a := range addrs {
		same := slices.ContainsFunc(k.present, func(p netip.Prefix) bool {
			return p.Addr().Is6() && p.Addr() == a.Prefix.Addr()
		})
		if same {
			out = append(out, netif.Result{Existed: true})
			continue
		}
		out = append(out, k.fakeTable.AddIf([]netif.Address{a}, still)...)
	}
	return out
}

func (k *kernelTable) Remove(addrs []netif.Address) []netif.Result {
	out := k.fakeTable.Remove(addrs)
	for _, a := range addrs {
		if !slices.ContainsFunc(k.present, func(p netip.Prefix) bool { return p.Addr() == a.Prefix.Addr() }) {
			k.gone = append(k.gone, a.Prefix.Addr().String())
		}
	}
	return out
}

// errRefused is why something cannot be had.
var errRefused = errors.New("refused")

// A quietKeeper is a keeper whose goroutine is the test's.
type quietKeeper struct {
	*keeper
	table *kernelTable
	l     *loop
}

func newQuietKeeper(t *testing.T) *quietKeeper {
	table := &kernelTable{}
	j := &journal{path: filepath.Join(t.TempDir(), "addresses.json"), log: quiet(), ours: make(map[vrrp.Address]netip.Prefix)}
	return &quietKeeper{newKeeper(quiet(), table, j), table, newLoop("eth0", quiet(), newVirtualWaker(), nil, nil, nil)}
}

// turn does everything that was asked for.
func (k *quietKeeper) turn() {
	for _, f := range k.inbox.take(nil) {
		f()
	}
	for len(k.queue) > 0 {
		k.work()
	}
}

// with returns an instance with addresses, or settings for one.
func (k *quietKeeper) with(addrs ...string) (*instance, *settings) {
	cfg := config.Instance{Name: "VI", Interface: "eth0", VRID: 1, Version: vrrp.V3, Family: vrrp.IPv4, Priority: 100, AdvertInterval: time.Second}
	for _, p := range prefixes(addrs...) {
		cfg.Addresses = append(cfg.Addresses, config.Address{Prefix: p, Interface: "eth0"})
	}
	return newInstance(cfg, k.l, quiet()), newSettings(cfg, quiet())
}

// has fails unless these addresses are in place, and none was ever gone.
func (k *quietKeeper) has(t *testing.T, gone int, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := k.table.list(); !slices.Equal(got, want) {
		t.Errorf("in place are %v, want %v", got, want)
	}
	if len(k.table.gone) != gone {
		t.Errorf("gone for a moment, or for ever: %v", k.table.gone)
	}
}

func TestAnAddressThatMovesIsNeverGoneAndIsRemovedByWhoHasItLast(t *testing.T) {
	for _, tt := range []struct {
		name, from, to string
		now            string
		gone           int // it is another address, or is put in place anew
	}{
		{"as it is", "192.0.2.10/24", "192.0.2.10/24", "192.0.2.10/24", 0},
		{"with another prefix length", "192.0.2.10/24", "192.0.2.10/32", "192.0.2.10/32", 0},
		{"IPv6, as it is", "2001:db8::10/64", "2001:db8::10/64", "2001:db8::10/64", 0},
		{"IPv6, with another prefix length", "2001:db8::10/64", "2001:db8::10/128", "2001:db8::10/128", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newQuietKeeper(t)
			loser, _ := k.with(tt.from)
			gainer, _ := k.with(tt.to)
			k.hold(loser, time.Now(), 1, loser.order)
			k.turn()
			k.move()
			k.release(loser, nil)
			k.turn()
			k.has(t, 0, tt.from)
			k.hold(gainer, time.Now(), 1, gainer.order)
			k.moved()
			k.turn()
			k.has(t, tt.gone, tt.now)
			if len(k.journal.ours) != 1 || k.holds[loser] != nil {
				t.Error("the loser has not let go, or the address counts as somebody else's")
			}
			k.release(gainer, nil)
			k.turn()
			k.has(t, tt.gone+1)
		})
	}
}

func TestAnAddressThatWasThereBeforeStaysSomebodyElsesWhenItMoves(t *testing.T) {
	k := newQuietKeeper(t)
	k.table.present = prefixes("192.0.2.10/24")
	loser, _ := k.with("192.0.2.10/24")
	gainer, _ := k.with("192.0.2.10/24")
	k.hold(loser, time.Now(), 1, loser.order)
	k.turn()
	k.move()
	k.release(loser, nil)
	k.hold(gainer, time.Now(), 1, gainer.order)
	k.moved()
	k.turn()
	k.release(gainer, nil)
	k.turn()
	k.has(t, 0, "192.0.2.10/24")
}

func TestAMasterThatFailsInAReloadRemovesWhatItsNewConfigurationDoesNotHave(t *testing.T) {
	k := newQuietKeeper(t)
	inst, _ := k.with("192.0.2.10/24", "192.0.2.11/24")
	k.hold(inst, time.Now(), 1, inst.order)
	k.turn()
	_, s := k.with("192.0.2.10/24")
	k.move()
	k.update(inst, s)
	k.release(inst, nil)
	k.moved()
	k.turn()
	k.has(t, 2)
}

func TestAnotherPrefixLengthReplacesTheAddress(t *testing.T) {
	for _, tt := range []struct {
		name, was, is string
		gone          int
	}{
		{"IPv4", "192.0.2.10/24", "192.0.2.10/25", 0},
		{"IPv6, which is there only once", "2001:db8::10/64", "2001:db8::10/65", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newQuietKeeper(t)
			inst, _ := k.with(tt.was)
			k.hold(inst, time.Now(), 1, inst.order)
			k.turn()
			_, s := k.with(tt.is)
			k.update(inst, s)
			k.turn()
			k.has(t, tt.gone, tt.is)
		})
	}
}

func TestAnAddressIsNotGivenUpForAFormThatCannotBeHad(t *testing.T) {
	k := newQuietKeeper(t)
	inst, _ := k.with("192.0.2.10/24")
	k.hold(inst, time.Now(), 1, inst.order)
	k.turn()
	_, s := k.with("192.0.2.10/25")
	k.table.refuse = map[netip.Prefix]error{netip.MustParsePrefix("192.0.2.10/25"): errRefused}
	k.update(inst, s)
	k.turn()
	k.has(t, 0, "192.0.2.10/24")
	k.release(inst, nil)
	k.turn()
	k.has(t, 1)
}

func TestWhatIsPostedToALoopThatHasEndedIsDone(t *testing.T) {
	k := newQuietKeeper(t)
	inst, _ := k.with("192.0.2.10/24")
	old := k.l
	go old.run()
	next := newLoop("eth1", quiet(), newVirtualWaker(), nil, nil, nil)
	inst.home.Store(next)
	old.retire()
	answered := false
	old.post(func() { answered = true })
	if !answered {
		t.Error("a question is not answered")
	}
	// Somebody who read where the instance is before it moved.
	inst.home.Store(old)
	moved := false
	old.post(func() {
		inst.home.Store(next)
		inst.post(func(*instance) { moved = true })
	})
	for _, f := range next.inbox.take(nil) {
		f()
	}
	if !moved {
		t.Error("what is for an instance that has moved is lost")
	}
}

// TestInstancesMoveToAnotherLoopWithTheirSocket has a backup move from one loop
// to another, time and again, while it hears its master: it loses no
// advertisement, opens no socket and changes no state.
func TestInstancesMoveToAnotherLoopWithTheirSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		master := newVirtualRouter(lan, "192.0.2.1", virtualConfig(200, time.Second), quiet())
		backup := newVirtualRouter(lan, "192.0.2.2", virtualConfig(100, time.Second), quiet())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		inst := backup.inst
		home := inst.loop()
		other := newLoop("other", quiet(), newVirtualWaker(), func(vrrpconn.Config) (transport, error) {
			t.Error("a socket is opened")
			return nil, errRefused
		}, home.addrs, home.ann)
		go other.run()
		received := inst.counters.received
		begin := time.Now()
		for n := range 100 {
			from, to := home, other
			if n%2 == 1 {
				from, to = other, home
			}
			c := &changeover{
				where: map[*instance]*loop{inst: to}, settings: map[*instance]*settings{inst: inst.settings},
				arriving: map[*loop][]*instance{to: {inst}}, ports: make(map[*loop][]*port), loops: []*loop{home, other},
			}
			c.everywhere(func(l *loop) {
				if l == from {
					c.leave(l)
				}
			})
			c.everywhere(func(l *loop) {
				if l == to {
					c.enter(l)
				}
			})
			time.Sleep(700 * time.Millisecond)
			synctest.Wait()
			if inst.loop() != to || len(from.instances) > 0 || len(from.ports) > 0 {
				t.Fatal("it has not moved")
			}
		}
		if got, want := inst.counters.received-received, uint64(time.Since(begin)/time.Second); got < want-1 || got > want+1 {
			t.Errorf("%d advertisements were received in %s", got, time.Since(begin))
		}
		if inst.m.State() != vrrp.Backup || len(inst.history) != 1 {
			t.Errorf("it is %s, after %d transitions", inst.m.State(), len(inst.history))
		}
		_ = other.waker.Close()
		other.stop()
		master.end()
		backup.end()
	})
}
