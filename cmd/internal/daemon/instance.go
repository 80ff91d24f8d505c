package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/logging"
	"vipd/cmd/internal/notify"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// logLimit is how many kinds of dropped advertisements, by peer and check, an
// instance logs between two transitions. Whoever makes up sources fills no log.
const logLimit = 16

// historyLength is how many transitions are kept for status.
const historyLength = 32

// An instance is one virtual router: the machine, and all that is needed to
// turn datagrams into its events and its actions into datagrams. Its loop's
// goroutine owns it; others may read what shared returns.
type instance struct {
	*settings // of the loop's goroutine
	home      atomic.Pointer[loop]
	announced announceCount
	current   atomic.Pointer[settings]
	born      time.Time    // what clock and leased count from
	spoke     atomic.Int64 // when the last advertisement got out, by clock; 0: none has
	leased    atomic.Int64 // when the first of its addresses is gone unless renewed; 0: none is

	m      *vrrp.Machine
	group  *syncGroup // nil: none
	member int        // in it
	expect vrrpconn.Expect
	port   *port
	ipID   uint16
	cached map[uint8][]vrrpconn.Message // advertisements by priority

	view          linkView
	socketError   error
	socketRetries bool // a timer runs
	advertised    int  // how many of order are advertised: what fits the MTU

	removing bool          // the configuration does not have it any more
	gone     bool          // and it has ended
	departed chan struct{} // closed then

	heapAt int // index in the loop's heap, -1 when not in it
	wakeAt time.Time

	tracks []track
	health vrrp.Health // what they amount to

	told    *notifications
	untold  []notify.Event // wait for the addresses to be in place
	settled bool           // they are, and the event waits for others of the group

	counters   counters
	seen       map[vrrp.Address]sighting // of the addresses that are in place
	restores   int                       // how often addresses were put back, lately
	restoredAt time.Time                 // and when last
	reformed   time.Time                 // when a reload last changed the form of addresses: one may be gone for a moment
	foreign    map[vrrp.Address]bool     // in place, but not by vipd: they stay; only to be replaced
	looksAgain bool                      // a timer runs for those that were not shown
	sourceGone time.Time                 // since when it has had no source address, if it once had one
	graceEnds  time.Time                 // until then it goes on without; zero: it does not
	mismatches map[netip.Addr]mismatch
	refused    map[netip.Addr]refusal
	faultSince map[faultKey]time.Time
	heard      map[netip.Addr]heardPeer
	advised    string // the advice that was logged last
	events     []control.Event
	gaps       control.Gaps
	asksRivals bool                                                 // a timer runs
	macs       map[netip.Addr]vrrp.MAC                              // of rivals
	neighbor   func(iface string, addr netip.Addr) (vrrp.MAC, bool) // finds them out; nil: nobody can
	noLease    func(iface string) string                            // why addresses there get no lease, see secondaries; nil: they do
	history    []passed
	once       *logging.Limiter // for what is wrong with datagrams
	notes      *logging.Limiter // for what the machine notes: not to be crowded out
	sendErrors map[string]int   // how often each was met, until an advertisement gets out
	sendFails  bool             // the last advertisement did not get out
	muteSince  time.Time        // since when none does
	muteLast   time.Time        // when that was seen last
	muteUntil  time.Time        // for so long it is in fault for that
	muteTries  int              // how often in a row
	muteError  error
}

// A sighting is what the kernel has shown of an address that is in place.
type sighting struct {
	missed  time.Time     // since when it should have shown it; zero: it has
	at      time.Time     // when it was shown last
	created time.Duration // when the address was made, on the kernel's clock
}

// counters are those of keepalived's statistics, and some more.
type counters struct {
	received, sent                     uint64
	becameMaster, releasedMaster       uint64
	priorityZeroReceived, priorityZero uint64
	sendErrors                         uint64
	restored, expired                  uint64
	resumed, handedOver, contested     uint64
	drops                              [vrrpconn.NumDrops]uint64
}

// A faultKey tells faults apart, whatever their details.
type faultKey struct {
	kind vrrp.FaultKind
	name string
}

// passed is a transition in the past.
type passed struct {
	at time.Time
	vrrp.Transition
}

// settings are what follows from the configuration of an instance. They do not
// change: a new configuration makes new ones.
type settings struct {
	cfg       config.Instance
	log       *slog.Logger
	addresses map[vrrp.Address]netif.Address
	order     []vrrp.Address // advertised, then excluded
	noTrack   map[vrrp.Address]bool
	early     time.Duration
	machine   vrrp.Config
	lease     time.Duration  // of the addresses; 0: none
	unleased  map[string]int // interfaces whose IPv6 addresses have none
}

func newSettings(cfg config.Instance, log *slog.Logger) *settings {
	s := &settings{
		cfg:       cfg,
		log:       log.With("instance", cfg.Name, "interface", cfg.Interface, "vrid", cfg.VRID),
		early:     min(batchWindow, cfg.AdvertInterval/20),
		lease:     cfg.LeaseLength(),
		addresses: make(map[vrrp.Address]netif.Address),
		noTrack:   make(map[vrrp.Address]bool),
	}
	for _, set := range [][]config.Address{cfg.Addresses, cfg.Excluded} {
		for _, a := range set {
			key := vrrp.Address{IP: a.Prefix.Addr(), Interface: a.Interface}
			if _, twice := s.addresses[key]; twice {
				continue
			}
			s.addresses[key] = kernelAddress(a)
			s.noTrack[key] = a.NoTrack
			s.order = append(s.order, key)
		}
	}
	s.machine = machineConfig(cfg, s.order)
	return s
}

// post has f run with the instance in the goroutine of its loop, wherever it is
// by then.
func (inst *instance) post(f func(*instance)) {
	l := inst.loop()
	l.post(func() {
		switch {
		case inst.loop() != l:
			inst.post(f)
		case !inst.gone:
			f(inst)
		}
	})
}

// loop returns the loop that owns the instance. It changes only in that loop's
// goroutine.
func (inst *instance) loop() *loop { return inst.home.Load() }

// shared returns the present settings to whoever is not the loop's goroutine.
func (inst *instance) shared() *settings { return inst.current.Load() }

// adopt gives the instance its settings.
func (inst *instance) adopt(s *settings) {
	inst.settings = s
	inst.current.Store(s)
}

func newInstance(cfg config.Instance, l *loop, log *slog.Logger) *instance {
	inst := &instance{
		heapAt:     -1,
		born:       time.Now(),
		departed:   make(chan struct{}),
		seen:       make(map[vrrp.Address]sighting),
		mismatches: make(map[netip.Addr]mismatch),
		refused:    make(map[netip.Addr]refusal),
		cached:     make(map[uint8][]vrrpconn.Message),
		once:       logging.NewLimiter(logLimit),
		notes:      logging.NewLimiter(logLimit),
		sendErrors: make(map[string]int),
		advertised: len(cfg.Addresses),
	}
	inst.home.Store(l)
	inst.adopt(newSettings(cfg, log))
	inst.m = vrrp.New(inst.machine)
	inst.setTracks(cfg.Tracks, nothingKnown)
	inst.setExpect()
	return inst
}

// setExpect tells the receive checks what to expect; it depends on how many
// addresses fit.
func (inst *instance) setExpect() {
	cfg := inst.cfg
	e := vrrpconn.Expect{
		Version: cfg.Version, VRID: cfg.VRID, Family: cfg.Family, Interval: cfg.AdvertInterval,
		AuthType: cfg.AuthType, AuthData: cfg.AuthData, Multicast: len(cfg.Peers) == 0, Group: cfg.Group,
		Checksum: cfg.Checksum, CheckUnicastSource: cfg.CheckUnicastSource,
	}
	for _, a := range cfg.Addresses[:inst.advertised] {
		e.Addrs = append(e.Addrs, a.Prefix.Addr())
	}
	for _, p := range cfg.Peers {
		e.Peers = append(e.Peers, vrrpconn.Peer{Addr: p.Addr, MinTTL: p.MinTTL, MaxTTL: p.MaxTTL})
	}
	inst.expect = e
	clear(inst.cached)
}

func (inst *instance) hasPeer(a netip.Addr) bool {
	return slices.ContainsFunc(inst.cfg.Peers, func(p config.Peer) bool { return p.Addr == a.WithZone("") })
}

// messages returns the datagrams of one advertisement. They differ between
// advertisements in nothing but the IP identification, so they are made once.
func (inst *instance) messages(priority uint8) ([]vrrpconn.Message, error) {
	if cached, ok := inst.cached[priority]; ok {
		return cached, nil
	}
	cfg := inst.cfg
	adv := vrrp.Advertisement{
		Version: cfg.Version, VRID: cfg.VRID, Priority: priority, Interval: cfg.AdvertInterval,
		AuthType: cfg.AuthType, AuthData: cfg.AuthData,
	}
	for _, a := range cfg.Addresses[:inst.advertised] {
		adv.Addrs = append(adv.Addrs, a.Prefix.Addr())
	}
	destinations := []netip.Addr{cfg.Group}
	if len(cfg.Peers) > 0 {
		destinations = destinations[:0]
		for _, p := range cfg.Peers {
			destinations = append(destinations, p.Addr)
		}
	}
	var messages []vrrpconn.Message
	for _, dst := range destinations {
		payload, err := adv.AppendTo(nil, inst.view.source, dst, cfg.Checksum)
		if err != nil {
			return nil, err
		}
		messages = append(messages, vrrpconn.Message{Src: inst.view.source, Dst: dst, TTL: cfg.TTL, Payload: payload})
	}
	inst.cached[priority] = messages
	return messages, nil
}

// setLink tells the instance what became of its interface: sockets follow it,
// and the machine learns of the faults.
func (inst *instance) setLink(view linkView) {
	was := inst.view
	inst.view = view
	if !view.source.IsValid() {
		// What is said without an address, and be it the last word, comes from
		// where the rest came from.
		inst.view.source = was.source
	}
	inst.bridge(&was)
	if inst.view.source != was.source {
		clear(inst.cached)
	}
	if view.mtu != was.mtu {
		inst.fitMTU()
	}
	inst.setInterfaces(view.tracked)
	faults, source := inst.linkFaults(), view.source
	inst.socketError = nil
	switch {
	case inst.bridging():
		source = inst.view.source
	case view.sourceless:
		source = netip.Addr{}
	}
	if inst.usable() {
		if err := inst.loop().attach(inst, inst.portKey()); err != nil {
			faults = append(faults, inst.loop().socketFault(inst, err))
		}
	} else {
		inst.loop().detachLater(inst)
	}
	if time.Now().Before(inst.muteUntil) {
		faults = append(faults, vrrp.Fault{Kind: vrrp.FaultSilenced, Name: inst.cfg.Interface, Detail: inst.muteError.Error()})
	}
	inst.loop().step(inst, time.Now(), vrrp.Link{Source: source, Faults: faults})
	inst.dateFaults()
	inst.reconcile()
}

func (inst *instance) portKey() portKey {
	k := portKey{iface: inst.cfg.Interface, index: inst.view.index, family: inst.cfg.Family}
	if len(inst.cfg.Peers) > 0 {
		k.source = inst.view.source
	} else {
		k.group = inst.cfg.Group
	}
	return k
}

// socketFault records that the instance has no socket, has it tried again, and
// returns the fault.
func (l *loop) socketFault(inst *instance, err error) vrrp.Fault {
	inst.socketError = err
	if !inst.socketRetries {
		inst.socketRetries = true
		time.AfterFunc(socketRetry, func() {
			inst.post(func(inst *instance) {
				inst.socketRetries = false
				if inst.socketError != nil {
					inst.setLink(inst.view)
				}
			})
		})
	}
	return vrrp.Fault{Kind: vrrp.FaultSocket, Name: inst.cfg.Interface, Detail: err.Error()}
}

// retrySocket puts an instance that has lost its socket in fault.
func (l *loop) retrySocket(inst *instance, err error) {
	faults := append(inst.linkFaults(), l.socketFault(inst, err))
	l.step(inst, time.Now(), vrrp.Link{Source: inst.view.source, Faults: faults})
}

// detachLater closes the socket of an interface that is gone, after the machine
// has had its last word on it.
func (l *loop) detachLater(inst *instance) {
	l.effects = append(l.effects, effect{inst: inst, closeSocket: true})
}

// fitMTU limits the advertised addresses to what one packet holds; the others
// are held but not advertised (keepalived moves them to the excluded list, too).
func (inst *instance) fitMTU() {
	fits := len(inst.cfg.Addresses)
	if inst.view.mtu > 0 {
		fits = min(fits, maxAddresses(inst.cfg, inst.view.mtu))
	}
	if fits == inst.advertised {
		return
	}
	if fits < inst.advertised {
		inst.log.Warn("not all addresses fit into one advertisement; the rest is held without being advertised",
			"advertised", fits, "addresses", len(inst.cfg.Addresses), "mtu", inst.view.mtu)
	}
	inst.advertised = fits
	inst.setExpect()
}

// maxAddresses returns how many addresses an advertisement on a link of that
// MTU holds.
func maxAddresses(cfg config.Instance, mtu int) int {
	const ipv4Header, ipv6Header, vrrpHeader, auth = 20, 40, 8, 8
	n := (mtu - ipv4Header - vrrpHeader) / 4
	switch {
	case cfg.Family == vrrp.IPv6:
		n = (mtu - ipv6Header - vrrpHeader) / 16
	case cfg.Version == vrrp.V2:
		n = (mtu - ipv4Header - vrrpHeader - auth) / 4
	}
	return min(max(n, 0), 255)
}

// restorePatience is for how long the kernel's list may not show an address that is
// in place.
const restorePatience = 2 * time.Second

// reconcile compares the addresses that were put in place with those the kernel
// has, and tells the machine of any that somebody else took away.
//
// The kernel's list may be older than the address: one counts as lost only
// after it was seen, or when it did not show for a while. That while ends
// without anything else happening, so it has a timer.
func (inst *instance) reconcile() {
	if inst.m.State() != vrrp.Master || inst.view.find == nil {
		return
	}
	const patience = restorePatience
	now := time.Now()
	waiting := false
	var lost, expired []vrrp.Address
	for _, a := range inst.order {
		if ready, _ := inst.m.Address(a); !ready {
			continue
		}
		was, known := inst.seen[a]
		shown := was.at
		if shown.IsZero() {
			shown = inst.begun()
		}
		there, present := inst.view.find(a)
		switch {
		case inst.noTrack[a] && present:
			inst.seen[a] = sighting{at: now, created: there.Created}
		case inst.noTrack[a]:
			// Whoever removes it may, but not the kernel.
			if inst.hasExpired(a, shown, now) {
				expired = append(expired, a)
			}
		case present && (!known || !was.missed.IsZero() || was.created == there.Created || inst.foreign[a] || now.Sub(inst.reformed) < patience):
			inst.seen[a] = sighting{at: now, created: there.Created}
		case present:
			// Somebody removed it, and somebody has made it again.
			lost = append(lost, a)
		case was.at.IsZero() && inst.hasExpired(a, shown, now):
			expired = append(expired, a) // before it was ever seen
		case was.at.IsZero() && inst.wasRemoved(a, now):
			lost = append(lost, a) // as above
		case !known:
			inst.seen[a] = sighting{missed: now}
			waiting = true
		case was.missed.IsZero() && now.Sub(inst.reformed) < patience:
			inst.seen[a] = sighting{missed: now}
			waiting = true
		case was.missed.IsZero() && inst.hasExpired(a, shown, now):
			expired = append(expired, a)
		case was.missed.IsZero() || now.Sub(was.missed) >= patience:
			lost = append(lost, a)
		default:
			waiting = true
		}
	}
	if waiting {
		inst.lookAgain(patience)
	}
	if len(expired) > 0 {
		inst.counters.expired += uint64(len(expired))
		inst.loop().step(inst, now, vrrp.AddressExpired{Addrs: expired})
		return
	}
	if len(lost) > 0 && inst.m.HandingOver() && inst.port != nil {
		// A new master's advertisement came first, but by another socket.
		inst.loop().drain(inst.port, now)
	}
	if len(lost) == 0 || inst.m.State() != vrrp.Master || !inst.cfg.ResignOnLoss && !inst.mayRestore(now) {
		return
	}
	for _, a := range lost {
		delete(inst.seen, a)
	}
	inst.tellLoss(lost)
	inst.loop().step(inst, now, vrrp.AddressLost{Addrs: lost})
}

// wasRemoved reports whether it is known that somebody removed an address since it
// was put in place: whoever fights for it does so at once.
func (inst *instance) wasRemoved(a vrrp.Address, now time.Time) bool {
	if inst.view.removal == nil || len(inst.history) == 0 || now.Sub(inst.reformed) < restorePatience {
		return false
	}
	r, ok := inst.view.removal(a)
	return ok && r.At.After(inst.begun())
}

// begun returns since when an address that was never seen can have been in place: since
// the state changed, or addresses were put back.
func (inst *instance) begun() time.Time {
	at := inst.restoredAt
	if n := len(inst.history); n > 0 && inst.history[n-1].at.After(at) {
		at = inst.history[n-1].at
	}
	return at
}

// lookAgain has the addresses compared again, also if nothing else happens.
func (inst *instance) lookAgain(after time.Duration) {
	if inst.looksAgain {
		return
	}
	inst.looksAgain = true
	time.AfterFunc(after, func() {
		inst.post(func(inst *instance) {
			inst.looksAgain = false
			inst.reconcile()
		})
	})
}

// hasExpired reports whether it was the kernel that removed an address since it was
// shown last, because its lease ran out. When the kernel's message is lost, as many
// may be at once, its time tells. A lifetime that ends before the lease is not the
// lease's, but one that somebody else gave the address.
func (inst *instance) hasExpired(a vrrp.Address, shown, now time.Time) bool {
	const early = 50 * time.Millisecond // by which the kernel and this process may disagree
	end := inst.leased.Load()
	over := func(at time.Time) bool { return end != 0 && at.Sub(inst.born) >= time.Duration(end)-early }
	if r, ok := inst.view.removal(a); ok && !r.At.Before(shown) {
		return r.Expired && over(r.At)
	}
	return over(now)
}

// tellLoss says which addresses somebody else has removed and, as far as that can
// be found out, who it was.
func (inst *instance) tellLoss(lost []vrrp.Address) {
	if !inst.cfg.ResignOnLoss {
		inst.counters.restored += uint64(len(lost))
	}
	var by netif.Removal
	if inst.view.removal != nil {
		by, _ = inst.view.removal(lost[0])
	}
	logs := inst.notes.Once("lost")
	resigns := inst.cfg.ResignOnLoss
	said := "somebody removed addresses of this master; putting them back, and from now on only counting (restored, in status)"
	if resigns {
		said = "somebody removed addresses of this master, which gives up (on_address_loss)"
	}
	go func() {
		// Finding out takes a look at all processes.
		who := remover(by)
		if by.Expired {
			who = "the kernel, as somebody had given them a shorter lifetime"
		}
		inst.post(func(inst *instance) {
			text := fmt.Sprintf("%s removed by %s", joined(lost), who)
			if !resigns {
				text += ", and put back"
			}
			inst.happened(control.EventAddressRestored, text)
			if logs {
				inst.log.Warn(said, "addresses", lost, "by", who)
			}
		})
	}()
}

// joined lists addresses, of which there may be many.
func joined(addrs []vrrp.Address) string {
	const most = 3
	text := addrs[0].String()
	for _, a := range addrs[1:min(len(addrs), most)] {
		text += ", " + a.String()
	}
	if len(addrs) > most {
		text += fmt.Sprintf(" and %d more", len(addrs)-most)
	}
	return text
}

// remover says who has removed an address.
func remover(r netif.Removal) string {
	if r.Port == 0 {
		return "somebody whom the kernel does not name"
	}
	if pid, name, ok := netif.ProcessOfPort(r.Port); ok {
		return fmt.Sprintf("%s (process id %d)", name, pid)
	}
	return fmt.Sprintf("a process that has ended (netlink port %d, usually its process id)", r.Port)
}

// happened remembers for status what did not change the state.
func (inst *instance) happened(kind control.EventKind, text string) {
	if len(inst.events) == control.MaxEvents {
		inst.events = append(inst.events[:0], inst.events[1:]...)
	}
	inst.events = append(inst.events, control.Event{At: time.Now(), Kind: kind, Text: text})
}

// dateFaults remembers since when each fault has been there.
func (inst *instance) dateFaults() {
	s := inst.m.Snapshot()
	dated := make(map[faultKey]time.Time, len(s.Faults))
	for _, f := range s.Faults {
		k := faultKey{f.Kind, f.Name}
		if since, ok := inst.faultSince[k]; ok {
			dated[k] = since
		} else {
			dated[k] = time.Now()
		}
	}
	inst.faultSince = dated
}

// manyRestores is how often in a minute addresses are put back at once.
const manyRestores = 10

// fights reports whether somebody goes on removing addresses.
func (inst *instance) fights() bool {
	return inst.restores >= manyRestores && time.Since(inst.restoredAt) < time.Minute
}

// mayRestore reports whether an address may be put back now. Ten times in a
// minute it is put back at once; whoever goes on removing it is given a second
// each time, so that two programs do not keep the network busy.
func (inst *instance) mayRestore(now time.Time) bool {
	const pause = time.Second
	if now.Sub(inst.restoredAt) > time.Minute {
		inst.restores = 0
	}
	if wait := inst.restoredAt.Add(pause).Sub(now); inst.restores >= manyRestores && wait > 0 {
		if inst.notes.Once("fight") {
			log, times, cfg := inst.log, inst.restores, inst.cfg
			go func() { // looks at all processes
				log.Error("another program keeps removing addresses of this master, which are now put back once a second", "times", times, "advice", whoFights(cfg))
			}()
		}
		inst.lookAgain(wait)
		return false
	}
	inst.restores++
	inst.restoredAt = now
	return true
}

// accepted counts an advertisement that passed every check and remembers how
// the sender's configuration differs from ours.
func (inst *instance) accepted(d *vrrpconn.Datagram, adv *vrrp.Advertisement, found []vrrpconn.Mismatch) {
	inst.counters.received++
	if adv.Priority == vrrp.PriorityStop {
		inst.counters.priorityZeroReceived++
	}
	if inst.cfg.SkipCheckAdvAddr {
		inst.expect.SkipAddrCheckFrom = d.Src
	}
	delete(inst.refused, d.Src)
	inst.hear(d.Src, adv.Priority)
	if len(found) == 0 {
		if len(inst.mismatches) > 0 {
			delete(inst.mismatches, d.Src)
		}
		return
	}
	const maxPeers = 64
	text := found[0].String()
	for _, f := range found[1:] {
		text += "; " + f.String()
	}
	now := time.Now()
	old, known := inst.mismatches[d.Src]
	switch {
	case known && old.text == text:
		old.last = now
		inst.mismatches[d.Src] = old
		return
	case !known:
		forget(inst.mismatches, maxPeers)
	}
	inst.mismatches[d.Src] = mismatch{text: text, since: now, last: now}
	if inst.once.Once(d.Src.String() + " mismatch") {
		inst.log.Warn("the configuration of a peer differs; more of the kind is only in status", "peer", d.Src, "difference", text)
	}
}

// dropped counts a datagram that failed a check and says so once per peer and
// check until the state changes.
func (inst *instance) dropped(d *vrrpconn.Datagram, err error) {
	drop, ok := errors.AsType[*vrrpconn.DropError](err)
	if !ok {
		return
	}
	inst.counters.drops[drop.Drop]++
	inst.refuse(d.Src, drop)
	if inst.once.Full() {
		if inst.notes.Once("full") {
			inst.log.Warn("too many kinds of bad advertisements to log them all; status counts them")
		}
		return
	}
	if inst.once.Once(fmt.Sprintf("%s %d", d.Src, drop.Drop)) {
		inst.log.Warn("advertisement dropped; until the state changes, more of the kind are only counted", "peer", d.Src, "check", drop.Drop.String(), "detail", drop.Detail)
	}
}

// refuse remembers for status why the advertisements of a peer are refused: it
// may be master too, and this the reason.
func (inst *instance) refuse(peer netip.Addr, drop *vrrpconn.DropError) {
	const maxPeers = 8
	old, known := inst.refused[peer]
	now := time.Now()
	switch {
	case known && old.drop == drop.Drop:
		old.last = now
		inst.refused[peer] = old
		return
	case !known:
		forget(inst.refused, maxPeers)
	}
	delete(inst.mismatches, peer) // it was another one's, or is told by this
	inst.refused[peer] = refusal{drop.Drop, mismatch{text: "its advertisements are refused: " + drop.Detail, since: now, last: now}}
}

// clock is what tells how long ago something was for the instance. It goes on while
// the host is suspended.
func (inst *instance) clock() time.Duration {
	now := time.Since(inst.born)
	if slept := inst.loop().slept; slept != nil {
		now += slept()
	}
	return now
}

// silence returns how long ago the last advertisement got out.
func (inst *instance) silence() time.Duration { return inst.silenceAt(inst.clock()) }

// silenceAt is silence for who knows the clock already, which takes system calls.
func (inst *instance) silenceAt(now time.Duration) time.Duration {
	spoke := inst.spoke.Load()
	if spoke == 0 {
		return math.MaxInt64
	}
	return max(0, now-time.Duration(spoke))
}

// lively reports whether the instance advertises, or has not begun to, as far as
// those can tell who run beside the loop.
func (inst *instance) lively() bool {
	s := inst.shared()
	return inst.spoke.Load() == 0 || inst.silence() <= time.Duration(max(s.cfg.DownTimerAdverts, 1)+1)*s.cfg.AdvertInterval
}

// sendErrorsToTell is how often an advertisement must fail for the same reason
// before it is logged: one may be on its way when its interface goes down.
const sendErrorsToTell = 2

// sent counts an advertisement that was handed to the kernel. That the last one
// did get out, after others had not, is known when the next is sent.
func (inst *instance) sent(priority uint8) {
	inst.counters.sent++
	if priority == vrrp.PriorityStop {
		inst.counters.priorityZero++
	}
	if len(inst.sendErrors) > 0 && !inst.sendFails {
		for _, times := range inst.sendErrors {
			if times >= sendErrorsToTell {
				inst.log.Info("advertisements are sent again")
				break
			}
		}
		clear(inst.sendErrors)
	}
	inst.sendFails = false
}

// sendFailed counts an advertisement that did not get out and says so when the
// reason is new. On a link that is in fault only priority 0 is sent, and that
// it does not get out is no surprise.
func (inst *instance) sendFailed(err error) {
	inst.counters.sendErrors++
	inst.sendFails = true
	inst.mute(err)
	if len(inst.view.faults) > 0 {
		return // that has been said
	}
	text := err.Error()
	inst.sendErrors[text]++
	if inst.sendErrors[text] == sendErrorsToTell {
		inst.log.Warn("cannot send advertisement; more of the kind are only counted", "error", err)
	}
}

// muteRetryMin and muteRetryMax bound for how long an instance that cannot advertise
// stays out of the election before it tries again: longer each time, as each takes
// the addresses from whoever has them.
const (
	muteRetryMin = 5 * time.Second
	muteRetryMax = 5 * time.Minute
)

// mute puts a master whose advertisements do not get out, for so long that another
// router has taken over, in fault. The end of its lease would do no more than have
// it try again at once.
func (inst *instance) mute(err error) {
	now := time.Now()
	if inst.m.State() != vrrp.Master || unreachable(err) || now.Before(inst.muteUntil) {
		return
	}
	patience := time.Duration(max(inst.cfg.DownTimerAdverts, 1)) * inst.cfg.AdvertInterval
	if inst.muteSince.IsZero() || now.Sub(inst.muteLast) > 3*patience {
		inst.muteSince = now // what failed once long ago is no reason
	}
	inst.muteLast = now
	if inst.muteTries == 0 && now.Sub(inst.muteSince) < patience {
		return
	}
	delay := min(muteRetryMin<<min(inst.muteTries, 8), muteRetryMax)
	inst.muteTries++
	inst.muteUntil, inst.muteError, inst.muteSince = now.Add(delay), err, time.Time{}
	again := func() { inst.post(func(inst *instance) { inst.setLink(inst.view) }) }
	again()
	time.AfterFunc(delay, again)
}

// unmute says that an advertisement got out.
func (inst *instance) unmute() {
	inst.spoke.Store(max(1, int64(inst.clock())))
	inst.muteSince, inst.muteTries = time.Time{}, 0
}

func (inst *instance) transition(t vrrp.Transition) {
	if inst.removing { // not by the operator's end of it all
		t.Reason = vrrp.Reason{Kind: vrrp.ReasonReconfigured}
	}
	switch {
	case t.To == vrrp.Master:
		inst.counters.becameMaster++
	case t.From == vrrp.Master:
		inst.counters.releasedMaster++
	}
	clear(inst.seen)
	inst.foreign = nil
	inst.dateFaults()
	inst.once.Reset("")
	inst.notes.Reset("")
	clear(inst.sendErrors)
	if len(inst.history) == historyLength {
		inst.history = append(inst.history[:0], inst.history[1:]...)
	}
	inst.tellReason(t.Reason, true)
	inst.history = append(inst.history, passed{at: time.Now(), Transition: t})
	level := logging.LevelNotice
	if t.To == vrrp.FaultState {
		level = slog.LevelWarn
	}
	inst.log.Log(context.Background(), level, "transition", "from", t.From.String(), "to", t.To.String(), "reason", t.Reason.String())
	inst.told.transition(inst, t)
}

// noteLevel tells what happens at every preemption from what should not happen.
func (inst *instance) noteLevel(r vrrp.Reason) slog.Level {
	switch s := inst.m.Snapshot(); {
	case r.Kind == vrrp.ReasonLowerPriorityIgnored:
		return slog.LevelInfo
	case r.Kind == vrrp.ReasonLowerPriorityMaster && time.Since(s.Since) < 2*inst.cfg.AdvertInterval:
		return slog.LevelInfo // the last word of the one that yields
	}
	return slog.LevelWarn
}

// note logs what the machine finds worth telling: the same from the same peer
// once until the state changes.
func (inst *instance) note(n vrrp.Note) {
	inst.told.note(inst, n)
	r := n.Reason
	switch r.Kind {
	case vrrp.ReasonPriorityChanged:
		inst.log.Info("priority", "reason", r.String())
		return
	case vrrp.ReasonGroupWaits:
		inst.log.Debug("waiting", "reason", r.String())
		return
	case vrrp.ReasonContested, vrrp.ReasonContestEnded:
		inst.contest(r)
		return
	case vrrp.ReasonGap, vrrp.ReasonNobodyTookOver, vrrp.ReasonHandedOver:
		inst.tellReason(r, false)
		what := "hand-over"
		if r.Kind == vrrp.ReasonGap {
			what = "gap"
		}
		inst.log.Log(context.Background(), logging.LevelNotice, what, "reason", r.String())
		return
	case vrrp.ReasonHeld:
		inst.happened(control.EventHeld, r.String())
		inst.log.Warn("not taking over", "reason", r.String())
		return
	}
	if inst.notes.Once(fmt.Sprintf("%s %s", r.Peer, r.Kind)) {
		inst.log.Log(context.Background(), inst.noteLevel(r), "heard another router", "peer", r.Peer, "reason", r.String())
	}
}

// tellReason counts and remembers what is worth it of a transition's reason, or, if
// nothing passed, a note's.
func (inst *instance) tellReason(r vrrp.Reason, passed bool) {
	decided := r
	if r.Kind == vrrp.ReasonGroup && r.Cause != nil && r.Cause.Kind == vrrp.ReasonHandedOver {
		decided = *r.Cause // a group hands over as a whole
	}
	switch decided.Kind {
	case vrrp.ReasonResumed:
		inst.counters.resumed++
		inst.happened(control.EventResumed, r.String())
	case vrrp.ReasonGap:
		inst.gaps.Count++
		inst.gaps.Longest = max(inst.gaps.Longest, control.Seconds(r.Elapsed))
		inst.gaps.Last = time.Now()
		inst.happened(control.EventGap, r.String())
	case vrrp.ReasonLeaseExpired:
		inst.happened(control.EventLeaseExpired, r.String())
	case vrrp.ReasonHandedOver:
		// Without a hand-over it is not known whether anybody took over; and who it
		// was is not, if its announcement was heard before its advertisement.
		if passed && inst.cfg.Handover {
			inst.counters.handedOver++
		}
		inst.happened(control.EventHandedOver, r.String())
	case vrrp.ReasonNobodyTookOver:
		inst.happened(control.EventNobodyTookOver, r.String())
	}
}

// rivalPoll is how often a host that was heard to announce an address of ours, and
// need not do so again, is asked whether it still has it.
const rivalPoll = 2 * time.Second

// askRivals asks them as long as there are any.
func (inst *instance) askRivals() {
	if inst.asksRivals {
		return
	}
	inst.asksRivals = true
	time.AfterFunc(rivalPoll, func() {
		inst.post(func(inst *instance) {
			inst.asksRivals = false
			if inst.m.State() != vrrp.Master {
				return
			}
			for _, r := range inst.m.Snapshot().Rivals {
				if !r.Addr.IsValid() {
					inst.loop().ann.probe(inst, r.Address)
					inst.askRivals()
				}
			}
		})
	})
}

// contest tells that another router owns what this master owns, or does not any
// more. What says so need not name the hardware address, but whoever has to find
// the other router needs it.
func (inst *instance) contest(r vrrp.Reason) {
	if r.Kind == vrrp.ReasonContestEnded {
		inst.happened(control.EventContestEnded, r.String())
		inst.log.Log(context.Background(), logging.LevelNotice, "not contested any more", "reason", r.String())
		return
	}
	inst.counters.contested++
	if !r.Peer.IsValid() {
		inst.askRivals()
	}
	tell := func(mac vrrp.MAC) {
		text := r.String()
		attrs := []any{"reason", text}
		if r.Peer.IsValid() {
			attrs = append(attrs, "peer", r.Peer, "priority", r.PeerPriority)
		}
		if mac != (vrrp.MAC{}) {
			attrs = append(attrs, "mac", mac.String())
			if r.Peer.IsValid() {
				text += " (" + mac.String() + ")"
			}
		}
		inst.happened(control.EventContested, text)
		inst.log.Error("contested: another router claims what this master has", attrs...)
	}
	if !r.Peer.IsValid() || inst.neighbor == nil {
		tell(r.MAC)
		return
	}
	iface, find := inst.cfg.Interface, inst.neighbor
	go func() {
		mac, ok := find(iface, r.Peer)
		inst.post(func(inst *instance) {
			if ok {
				const most = 16
				if inst.macs == nil || len(inst.macs) >= most {
					inst.macs = make(map[netip.Addr]vrrp.MAC)
				}
				inst.macs[r.Peer] = mac
			}
			tell(mac)
		})
	}()
}
