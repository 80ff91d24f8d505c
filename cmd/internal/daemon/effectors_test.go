package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vipd/arp"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// A fakeTable stands in for the kernel's addresses.
type fakeTable struct {
	mu       sync.Mutex
	present  []netip.Prefix
	refuse   map[netip.Prefix]error
	batches  []int
	slow     time.Duration // how long each batch takes
	keep     error         // why nothing can be removed
	renewals []renewed
}

func (f *fakeTable) AddIf(addrs []netif.Address, still func() bool) []netif.Result {
	time.Sleep(f.slow)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, len(addrs))
	out := make([]netif.Result, len(addrs))
	for i, a := range addrs {
		switch {
		case !still():
			out[i].Err = netif.ErrCalledOff
		case f.refuse[a.Prefix] != nil:
			out[i].Err = f.refuse[a.Prefix]
		case slices.Contains(f.present, a.Prefix):
			out[i].Existed = true
		default:
			f.present = append(f.present, a.Prefix)
		}
	}
	return out
}

func (f *fakeTable) Remove(addrs []netif.Address) []netif.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keep != nil {
		out := make([]netif.Result, len(addrs))
		for i := range out {
			out[i].Err = f.keep
		}
		return out
	}
	for _, a := range addrs {
		f.present = slices.DeleteFunc(f.present, func(p netip.Prefix) bool { return p == a.Prefix })
	}
	return make([]netif.Result, len(addrs))
}

func (f *fakeTable) RenewFunc(addrs []netif.Address, still func() bool) []netif.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]netif.Result, len(addrs))
	for i, a := range addrs {
		switch {
		case still != nil && !still():
			out[i].Err = netif.ErrCalledOff
		case !slices.Contains(f.present, a.Prefix):
			out[i].Err = netif.ErrNotPresent
		default:
			f.renewals = append(f.renewals, renewed{time.Since(bubbleStart), a.Prefix, a.ValidLifetime})
		}
	}
	return out
}

// A renewed is one renewal of a lease.
type renewed struct {
	at       time.Duration
	prefix   netip.Prefix
	lifetime time.Duration
}

func (f *fakeTable) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, p := range f.present {
		out = append(out, p.String())
	}
	slices.Sort(out)
	return out
}

// finder looks addresses up that were added by the given protocol.
func (f *fakeTable) finder(protocol uint8) addressFinder {
	return func(a vrrp.Address) (netif.PresentAddress, bool) {
		for _, p := range f.present {
			if p.Addr() == a.IP {
				return netif.PresentAddress{Prefix: p, Protocol: protocol, Valid: netif.Forever}, true
			}
		}
		return netif.PresentAddress{}, false
	}
}

// A fakeSender records frames with the time at which they were sent.
type fakeSender struct {
	mu     sync.Mutex
	frames []sentFrame
}

type sentFrame struct {
	at time.Duration
	ip netip.Addr
}

func (s *fakeSender) Send(frames [][]byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range frames {
		ip, _ := netip.AddrFromSlice(f[28:32]) // sender protocol address
		s.frames = append(s.frames, sentFrame{time.Since(bubbleStart), ip})
	}
	return len(frames), nil
}

func (s *fakeSender) Close() error { return nil }

// bubbleStart is when every bubble of testing/synctest begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// An effectorRig is a loop with the real keeper and garper on fakes.
type effectorRig struct {
	*loop
	inst   *instance
	table  *fakeTable
	sender *fakeSender
	end    func()
}

func newEffectorRig(t *testing.T, table *fakeTable, addrs []netip.Prefix, edit func(*config.Instance)) *effectorRig {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	sender := &fakeSender{}
	g := newGarper(quiet(), func(string) (announceLink, bool) { return announceLink{index: 1}, true },
		func(int) (frameSender, error) { return sender, nil },
		func(string) (time.Duration, time.Duration) { return 0, 0 })
	j := &journal{path: filepath.Join(t.TempDir(), "addresses.json"), log: quiet(), ours: make(map[vrrp.Address]netip.Prefix)}
	k := newKeeper(quiet(), table, j)
	cfg := config.Instance{Name: "VI_1", Interface: "eth0", VRID: 1, GARP: config.GARP{MasterDelay: 5 * time.Second, MasterRepeat: 5, LowerPrioRepeat: 5}}
	for _, p := range addrs {
		cfg.Addresses = append(cfg.Addresses, config.Address{Prefix: p, Interface: "eth0"})
	}
	if edit != nil {
		edit(&cfg)
	}
	cfg.AdvertInterval, cfg.Priority, cfg.Version, cfg.Family = time.Second, vrrp.PriorityOwner, vrrp.V3, vrrp.IPv4
	cfg.StartMaster, cfg.Group, cfg.DownTimerAdverts = true, vrrp.IPv4.Group(), 3
	l := newLoop("eth0", quiet(), newVirtualWaker(), nil, k, g)
	r := &effectorRig{loop: l, inst: newInstance(cfg, l, quiet()), table: table, sender: sender}
	l.instances = []*instance{r.inst}
	go k.run(ctx)
	go g.run(ctx)
	go l.run()
	r.end = func() {
		_ = l.waker.Close()
		l.stop()
		cancel()
		<-k.ended
		<-g.ended
	}
	l.post(func() {
		l.step(r.inst, time.Now(), vrrp.Startup{})
	})
	return r
}

func (r *effectorRig) event(ev vrrp.Event) {
	r.post(func() { r.step(r.inst, time.Now(), ev) })
	synctest.Wait()
}

// TestTheFirstAddressIsAddedAloneAndRoundsInterleave shows a master's addresses
// come into place and be announced in keepalived's order: A B A B, five rounds,
// and five more after the delay.
func TestTheFirstAddressIsAddedAloneAndRoundsInterleave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{}
		r := newEffectorRig(t, table, prefixes("192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24"), nil)
		defer r.end()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !slices.Equal(table.batches, []int{1, 2}) {
			t.Errorf("addresses were added in batches of %v, want 1 and 2", table.batches)
		}
		var want []sentFrame
		for _, at := range []time.Duration{0, 5 * time.Second} {
			for range 5 {
				for _, ip := range []string{"192.0.2.10", "192.0.2.11", "192.0.2.12"} {
					want = append(want, sentFrame{at, netip.MustParseAddr(ip)})
				}
			}
		}
		if !slices.Equal(r.sender.frames, want) {
			t.Errorf("sent %v\nwant %v", r.sender.frames, want)
		}
	})
}

// TestAnAddressThatWasThereBeforeIsNeitherRemovedNorRecorded takes mastership
// and gives it up on a host that had one of the addresses already.
func TestAnAddressThatWasThereBeforeIsNeitherRemovedNorRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{present: prefixes("192.0.2.10/24")}
		r := newEffectorRig(t, table, prefixes("192.0.2.10/24", "192.0.2.11/24"), nil)
		defer r.end()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := table.list(); !slices.Equal(got, []string{"192.0.2.10/24", "192.0.2.11/24"}) {
			t.Fatalf("as master the host has %v", got)
		}
		r.event(vrrp.Shutdown{})
		if got := table.list(); !slices.Equal(got, []string{"192.0.2.10/24"}) {
			t.Errorf("after the end the host has %v", got)
		}
	})
}

// TestAFailedAddressIsTriedAgainAndThenAnnounced refuses one of two addresses
// for a while.
func TestAFailedAddressIsTriedAgainAndThenAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := netip.MustParsePrefix("192.0.2.11/24")
		table := &fakeTable{refuse: map[netip.Prefix]error{second: errors.New("no room")}}
		r := newEffectorRig(t, table, prefixes("192.0.2.10/24", "192.0.2.11/24"), nil)
		defer r.end()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		status := make(chan bool)
		r.post(func() {
			s := r.inst.m.Snapshot()
			status <- s.Degraded()
		})
		if !<-status {
			t.Error("a master without one of its addresses is not degraded")
		}
		if len(table.batches) > 5 {
			t.Errorf("tried %d times in 2.5 s", len(table.batches))
		}
		table.mu.Lock()
		delete(table.refuse, second)
		table.mu.Unlock()
		for range 60 {
			r.post(r.inst.unmute) // it goes on to advertise
			time.Sleep(time.Second)
		}
		synctest.Wait()
		n := 0
		for _, f := range r.sender.frames {
			if f.ip == second.Addr() {
				n++
			}
		}
		if n != 10 {
			t.Errorf("the late address was announced %d times, want 10", n)
		}
	})
}

// TestGivingUpInTheMiddleOfAddingLeavesNothing ends a mastership while its
// thousand addresses are being added.
func TestGivingUpInTheMiddleOfAddingLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many []netip.Prefix
		for i := range 1000 {
			many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 16))
		}
		table := &fakeTable{slow: 10 * time.Millisecond}
		r := newEffectorRig(t, table, nil, func(c *config.Instance) {
			for _, p := range many {
				c.Excluded = append(c.Excluded, config.Address{Prefix: p, Interface: "eth0"})
			}
		})
		defer r.end()
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		if n := len(table.list()); n == 0 || n == len(many) {
			t.Fatalf("%d of %d addresses are in place, want some", n, len(many))
		}
		r.event(vrrp.Link{Faults: []vrrp.Fault{{Kind: vrrp.FaultInterfaceDown, Name: "eth0"}}})
		time.Sleep(time.Second)
		synctest.Wait()
		if len(table.batches) > 4 {
			t.Errorf("went on adding: batches of %v", table.batches)
		}
		if got := table.list(); len(got) != 0 {
			t.Errorf("%d addresses are left", len(got))
		}
		sent := len(r.sender.frames)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.sender.frames) != sent {
			t.Errorf("%d announcements after mastership ended", len(r.sender.frames)-sent)
		}
	})
}

// reopen does with the journal what a start does.
func reopen(t *testing.T, dir string, table addressTable, find addressFinder, wanted []netif.Address) *journal {
	t.Helper()
	j := openJournal(dir, quiet(), table, find, readJournal(journalPath(dir), quiet()), nil, wanted)
	if err := j.write(); err != nil {
		t.Fatal(err)
	}
	return j
}

// TestTheJournalCleansUpWhatItRecordedAndNothingElse starts after a crash that
// left one of vipd's addresses, on a host with an address of its own.
func TestTheJournalCleansUpWhatItRecordedAndNothingElse(t *testing.T) {
	ours, own, third := "192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24"
	wanted := func() (out []netif.Address) {
		for _, p := range prefixes(ours, own, third) {
			out = append(out, netif.Address{Prefix: p, Interface: "eth0"})
		}
		return out
	}
	dir := t.TempDir()
	table := &fakeTable{present: prefixes(own)}
	find := table.finder(netif.Protocol)
	reopen(t, dir, table, find, wanted())
	// The crash.
	table.present = prefixes(ours, own, "192.0.2.200/24")
	j := reopen(t, dir, table, find, wanted())
	if got := table.list(); !slices.Equal(got, []string{own, "192.0.2.200/24"}) {
		t.Errorf("after cleaning up the host has %v", got)
	}
	key := func(p string) vrrp.Address { return vrrp.Address{IP: prefixes(p)[0].Addr(), Interface: "eth0"} }
	table.present = prefixes(ours, own)
	if !j.owns(key(ours), find) || j.owns(key(own), find) || j.owns(key(third), find) {
		t.Error("the record does not tell vipd's addresses from the host's")
	}
	j.remove()
	if _, err := os.Stat(filepath.Join(dir, "addresses.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
}

// TestAnAddressThatSomebodyElseAddedIsNotCleanedUp finds a recorded address
// that an operator has put there in the meantime.
func TestAnAddressThatSomebodyElseAddedIsNotCleanedUp(t *testing.T) {
	if !kernelTells() {
		t.Skip("the kernel does not tell who added an address")
	}
	dir := t.TempDir()
	table := &fakeTable{}
	wanted := []netif.Address{{Prefix: prefixes("192.0.2.10/24")[0], Interface: "eth0"}}
	const byNobody = 0
	reopen(t, dir, table, table.finder(byNobody), wanted)
	table.present = prefixes("192.0.2.10/24")
	reopen(t, dir, table, table.finder(byNobody), wanted)
	if len(table.present) != 1 {
		t.Error("the address was removed")
	}
}

// TestAnAddressThatCannotBeRemovedIsTriedAgain has the kernel refuse a removal
// for a while.
func TestAnAddressThatCannotBeRemovedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{}
		r := newEffectorRig(t, table, prefixes("192.0.2.10/24"), nil)
		defer r.end()
		time.Sleep(time.Second)
		synctest.Wait()
		table.mu.Lock()
		table.keep = errors.New("busy")
		table.mu.Unlock()
		r.event(vrrp.Link{Faults: []vrrp.Fault{{Kind: vrrp.FaultInterfaceDown, Name: "eth0"}}})
		if got := table.list(); len(got) != 1 {
			t.Fatalf("the host has %v", got)
		}
		table.mu.Lock()
		table.keep = nil
		table.mu.Unlock()
		time.Sleep(removeRetry + time.Millisecond)
		synctest.Wait()
		if got := table.list(); len(got) != 0 {
			t.Errorf("the host still has %v", got)
		}
	})
}

// TestAJournalThatCannotBeTrustedRemovesNothing offers records from before a
// reboot, of another version, and garbage.
func TestAJournalThatCannotBeTrustedRemovesNothing(t *testing.T) {
	entry := journalEntry{Prefix: prefixes("192.0.2.10/24")[0], Interface: "eth0"}
	encode := func(f journalFile) string {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, content := range map[string]string{
		"another boot":    encode(journalFile{Version: journalVersion, BootID: "x", Addresses: []journalEntry{entry}}),
		"another version": encode(journalFile{Version: journalVersion + 1, BootID: bootID(), Addresses: []journalEntry{entry}}),
		"garbage":         "{\"version\": 1, \"addres",
		"empty":           "",
		"binary":          strings.Repeat("\x00\xff", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "addresses.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			table := &fakeTable{present: prefixes("192.0.2.10/24")}
			reopen(t, dir, table, table.finder(netif.Protocol), nil)
			if len(table.present) != 1 {
				t.Error("an address was removed")
			}
		})
	}
}

// TestALimitedGapHoldsOnEachInterfaceForEachKind sets garp_interval and checks
// the distances.
func TestALimitedGapHoldsOnEachInterfaceForEachKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		sender := &fakeSender{}
		g := newGarper(quiet(), func(string) (announceLink, bool) { return announceLink{index: 1, mac: arp.MAC{2}}, true },
			func(int) (frameSender, error) { return sender, nil },
			func(string) (time.Duration, time.Duration) { return 100 * time.Millisecond, 0 })
		go g.run(ctx)
		inst := &instance{}
		inst.adopt(newSettings(config.Instance{GARP: config.GARP{MasterRepeat: 5}}, quiet()))
		a := vrrp.Address{IP: netip.MustParseAddr("192.0.2.10"), Interface: "eth0"}
		b := vrrp.Address{IP: netip.MustParseAddr("192.0.2.11"), Interface: "eth0"}
		g.announce(inst, []vrrp.Address{a, b}, true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(sender.frames) != 10 {
			t.Fatalf("%d announcements, want 10", len(sender.frames))
		}
		for i := 1; i < len(sender.frames); i++ {
			if gap := sender.frames[i].at - sender.frames[i-1].at; gap < 100*time.Millisecond {
				t.Errorf("announcements %d and %d are %s apart", i-1, i, gap)
			}
		}
		cancel()
		<-g.ended
	})
}

// TestAnAddressThatCouldNotBeAddedIsNotTriedAgainInAHandOver has the retry fall into
// the time in which another router takes over.
func TestAnAddressThatCouldNotBeAddedIsNotTriedAgainInAHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := netip.MustParsePrefix("192.0.2.11/24")
		table := &fakeTable{refuse: map[netip.Prefix]error{second: errors.New("no room")}}
		r := newEffectorRig(t, table, prefixes("192.0.2.10/24", "192.0.2.11/24"), func(c *config.Instance) { c.Handover = true })
		defer r.end()
		time.Sleep(500 * time.Millisecond)
		r.event(vrrp.Shutdown{})
		table.mu.Lock()
		delete(table.refuse, second)
		table.mu.Unlock()
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if got := table.list(); !slices.Equal(got, []string{"192.0.2.10/24"}) {
			t.Errorf("while it hands over the host has %v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := table.list(); len(got) != 0 {
			t.Errorf("after that the host has %v", got)
		}
	})
}

// TestAHandOverInTheMiddleOfAddingAddsNothingMore ends a mastership while its
// thousands of addresses are being added.
func TestAHandOverInTheMiddleOfAddingAddsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{slow: 10 * time.Millisecond}
		r := newEffectorRig(t, table, nil, func(c *config.Instance) {
			c.Handover = true
			for i := range 2000 {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 16)
				c.Excluded = append(c.Excluded, config.Address{Prefix: p, Interface: "eth0"})
			}
		})
		defer r.end()
		time.Sleep(25 * time.Millisecond)
		r.event(vrrp.Shutdown{})
		table.mu.Lock()
		batches := len(table.batches)
		table.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(table.batches) - batches; n > 1 { // one was under way
			t.Errorf("%d more batches were added in a hand-over: %v", n, table.batches)
		}
		if got := table.list(); len(got) == 0 {
			t.Error("what was in place has gone at once")
		}
	})
}
