package vrrp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A State is a state of a virtual router (RFC 9568 §6.4). Fault is keepalived's:
// no advertisement is sent or processed and no timer runs.
type State uint8

// The states. The zero value is Init: not started, or stopped.
const (
	Init State = iota
	Backup
	Master
	FaultState
)

// String returns the state's name as keepalived's users know it, in lower case.
func (s State) String() string {
	switch s {
	case Init:
		return "init"
	case Backup:
		return "backup"
	case Master:
		return "master"
	case FaultState:
		return "fault"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// addressRetryMin and addressRetryMax bound how long a machine of whose
// addresses none could be added stays out of the election before it tries again.
// It takes longer each time: every attempt takes the addresses from a router
// that has them.
const (
	addressRetryMin = 10 * time.Second
	addressRetryMax = 5 * time.Minute
)

// A Config is what a [Machine] has to know of its virtual router.
type Config struct {
	Version Version
	VRID    uint8
	// Priority is 1 to 254, or [PriorityOwner].
	Priority uint8
	// StartMaster lets an owner go on as master without waiting; it means
	// nothing for others (keepalived: state MASTER).
	StartMaster bool
	// Interval is the advertisement interval.
	Interval time.Duration
	// DownTimerAdverts is how many advertisements may be missed (keepalived:
	// down_timer_adverts); 0 stands for 3.
	DownTimerAdverts int
	// NoPreempt keeps a backup from replacing a master of lower priority
	// (keepalived: nopreempt).
	NoPreempt bool
	// PreemptDelay is for how long after the first advertisement of a lower
	// priority a backup goes on to respect that master (keepalived:
	// preempt_delay).
	PreemptDelay time.Duration
	// StartupDelay is for how long after startup advertisements are ignored
	// and no timer runs (keepalived: vrrp_startup_delay).
	StartupDelay time.Duration
	// LowerPriorityNoAdvert keeps a master from answering an advertisement of
	// lower priority with one of its own (keepalived: lower_prio_no_advert).
	LowerPriorityNoAdvert bool
	// HigherPrioritySendAdvert lets a master send one last advertisement
	// before it yields, so that the other knows there was one (keepalived:
	// higher_prio_send_advert).
	HigherPrioritySendAdvert bool
	// Handover lets a router that gives mastership up keep its addresses until the
	// new master has announced them, so that there is always one that answers
	// (handover). Without it they are removed at once, as keepalived does.
	Handover bool
	// ResignOnLoss makes a master whose address was removed by somebody else a
	// backup, as keepalived does; else the address is put back (on_address_loss).
	ResignOnLoss bool
	// Addresses are all addresses the virtual router holds while master,
	// advertised or not, in the order in which they are put in place.
	Addresses []Address
}

// A Machine is the state machine of one virtual router (RFC 9568 §6.4), with
// keepalived's timers and extensions. It is not safe for concurrent use: one
// goroutine owns it.
//
// These hold between steps: the machine wants addresses on an interface exactly
// while it is [Master] or [Machine.HandingOver]; a wake is pending exactly while
// it is Backup or Master, hands over, or waits in FaultState to try its addresses
// again; nothing is announced that was not reported ready. Init is left, once
// started, and FaultState is, as soon as there is neither a fault nor a check
// without result.
//
// Being late is not taken for the death of others: a machine that is stepped so
// long after it wanted to be woken that it must have been given up, or may have
// missed what the others sent, listens before it does anything else (see [Gap]).
//
// A machine that was given to a [Group] is stepped by the group alone.
type Machine struct {
	cfg Config

	state   State
	started bool
	stopped bool
	since   time.Time
	reason  Reason

	priority     uint8 // effective
	health, link []Fault
	pending      []string // checks without a result
	sync         membership
	source       netip.Addr
	startupUntil time.Time
	awakeSince   time.Time // the end of the last gap
	over         handover
	patience     time.Duration // the offerTime of the group that it was in
	yielded      bool          // others are left to be master

	// Backup.
	masterInterval time.Duration // learned in version 3, else our own
	masterDownAt   time.Time
	downFrom       time.Time // what masterDownAt counts from
	downTimer      downTimer // and what it adds
	master         Peer      // the last master accepted, zero if none since startup
	lower          Peer      // the last lower priority ignored since becoming backup
	lowerNoted     netip.Addr
	stopHeard      netip.Addr // who advertised priority 0 last, until someone else is accepted
	preemptAt      time.Time  // zero: preempt_delay not started
	wants          bool       // the timer ran out, but the sync group is not ready (keepalived: wantstate)
	other          Peer       // the last one heard whose configuration differs
	heldUntil      time.Time
	heldNoted      bool

	// Master.
	advertAt   time.Time
	spokeAt    time.Time // when it advertised last
	rivals     []Rival
	defendedAt time.Time // when it announced its addresses again for them
	epoch      uint64
	index      map[Address]int // into places; both change with the configuration only
	places     []place         // what became of cfg.Addresses
	counts     [4]int          // places by placeState
	settled    bool

	addressErr   error // why none could be added; not nil: a fault
	addressTries int   // how often in a row
	retryAt      time.Time

	out []Action
}

// A place is what became of one address. They are in a list that is made once:
// with thousands of addresses, making it anew would hold up the first
// advertisement of a new master.
type place struct {
	state placeState
	epoch uint64 // of the request
	err   error
}

type placeState uint8

const (
	placeIdle    placeState = iota // not asked for
	placePending                   // asked for, no answer yet
	placeReady
	placeFailed
)

// A downTimer is what a master-down timer was started with.
type downTimer uint8

const (
	downWhole  downTimer = iota // the master-down interval
	downSkew                    // the skew time: somebody advertised priority 0
	downNone                    // nothing: it is due at once, or at a time that is given
	downListen                  // an interval and the skew time: this router lost touch
)

// A Peer is a router that was heard, and its last advertisement.
type Peer struct {
	Addr     netip.Addr
	Priority uint8
	Interval time.Duration
	At       time.Time
}

// A Rival is another router that owns what this one, as master, owns.
type Rival struct {
	// Addr is where its advertisements come from; not valid if none was heard,
	// but an announcement of one of the addresses.
	Addr     netip.Addr
	Priority uint8
	Interval time.Duration
	// MAC and Address are the sender of such an announcement, and what it
	// announced; zero if only advertisements were heard.
	MAC     MAC
	Address Address
	// Since is when it was heard first, Last when last.
	Since, Last time.Time

	noted   uint8 // the priority that was noted last, and when
	notedAt time.Time
}

// New returns a machine in state [Init]. The configuration must be valid; its
// durations and the version are not checked again.
func New(cfg Config) *Machine {
	cfg, index := complete(cfg)
	m := &Machine{
		cfg: cfg, priority: cfg.Priority, masterInterval: cfg.Interval,
		index: index, places: make([]place, len(cfg.Addresses)),
	}
	m.placeAll(placeIdle)
	return m
}

// complete puts in the default and leaves out addresses that are there twice.
func complete(cfg Config) (Config, map[Address]int) {
	if cfg.DownTimerAdverts == 0 {
		cfg.DownTimerAdverts = 3
	}
	index := make(map[Address]int, len(cfg.Addresses))
	addrs := make([]Address, 0, len(cfg.Addresses))
	for _, a := range cfg.Addresses {
		if _, twice := index[a]; !twice {
			index[a] = len(addrs)
			addrs = append(addrs, a)
		}
	}
	cfg.Addresses = addrs
	return cfg, index
}

// placeAll puts all addresses into one state.
func (m *Machine) placeAll(s placeState) {
	for i := range m.places {
		m.places[i] = place{state: s, epoch: m.epoch}
	}
	m.counts = [4]int{}
	m.counts[s] = len(m.places)
}

// place puts one address into a state.
func (m *Machine) place(i int, s placeState, err error) {
	m.counts[m.places[i].state]--
	m.places[i].state, m.places[i].err = s, err
	m.counts[s]++
}

// State returns the present state.
func (m *Machine) State() State { return m.state }

// errNoAddress stands for the reason when the last answer was not the failure.
var errNoAddress = errors.New("all have failed")

// Epoch returns the number of the last [AddAddresses] that was not to restore
// what somebody else had removed; it changes with every mastership at least.
func (m *Machine) Epoch() uint64 { return m.epoch }

// NextWake returns when the machine next wants a [Wake], and false if it does
// not want one.
func (m *Machine) NextWake() (time.Time, bool) {
	switch {
	case m.over.offered:
		return m.over.until, true
	case m.state == Backup && m.over.active() && m.over.until.Before(m.masterDownAt):
		return m.over.until, true
	case m.state == Backup:
		return m.masterDownAt, true
	case m.state == Master:
		return m.advertAt, true
	case m.over.active():
		return m.over.until, true
	case m.state == FaultState && m.addressErr != nil:
		return m.retryAt, true
	}
	return time.Time{}, false
}

// Step applies one event that is known at time now and returns what has to be
// done about it, in order. Times must not run backwards. The result is valid
// until the next step.
func (m *Machine) Step(now time.Time, ev Event) []Action {
	m.out = m.out[:0]
	if m.stopped {
		m.finish(now, ev)
		return m.out
	}
	m.noticeGap(now)
	if m.state == Master {
		m.endContests(now)
	}
	switch ev := ev.(type) {
	case Startup:
		m.startup(now)
	case Resume:
		m.resume(now)
	case Shutdown:
		m.shutdown(now)
	case Failover:
		m.failover(now, ev)
	case Gap:
		m.away(now, ev.Length)
	case Wake:
		m.wake(now, ev)
	case Received:
		m.received(now, ev)
	case Health:
		m.health, m.pending = slices.Clone(ev.Faults), slices.Clone(ev.Pending)
		if len(ev.Faults) > 0 {
			// The priority that was advertised is the one it fails with.
			m.checkFaults(now)
		}
		m.setPriority(ev.Priority)
		m.checkFaults(now)
	case Link:
		m.source = ev.Source.WithZone("")
		if len(ev.Faults) == 0 && len(m.link) > 0 {
			// Whatever kept the addresses from being added may have been that.
			m.addressErr, m.addressTries = nil, 0
		}
		m.link = slices.Clone(ev.Faults)
		m.checkFaults(now)
	case AddressReady:
		m.addressReady(now, ev)
	case AddressLost:
		m.addressLost(now, ev)
	case AddressExpired:
		m.addressExpired(now, ev)
	case ForeignOwner:
		m.foreignOwner(now, ev)
	case Reconfigure:
		m.reconfigure(now, ev)
	}
	return m.out
}

func (m *Machine) do(a Action) { m.out = append(m.out, a) }

func (m *Machine) isOwner() bool { return m.cfg.Priority == PriorityOwner }

func (m *Machine) masterDown() time.Duration {
	return MasterDownInterval(m.cfg.Version, m.priority, m.masterInterval, m.cfg.DownTimerAdverts)
}

func (m *Machine) startup(now time.Time) {
	if m.started {
		return
	}
	m.started = true
	if m.cfg.StartupDelay > 0 {
		m.startupUntil = now.Add(m.cfg.StartupDelay)
	}
	m.checkFaults(now)
}

// resume goes on as the master that an earlier process was. Checks have no result
// yet, but they had when it was.
func (m *Machine) resume(now time.Time) {
	if m.started {
		return
	}
	m.started = true
	m.becomeMaster(now, Reason{Kind: ReasonResumed})
	m.checkFaults(now)
}

// enterElection leaves Init or FaultState: an owner is master at once, everyone
// else waits for one whole master-down interval.
func (m *Machine) enterElection(now time.Time, why Reason) {
	m.masterInterval = m.cfg.Interval
	m.forgetPeers()
	if !m.startsAsMaster() {
		m.becomeBackup(now, now, why)
		return
	}
	until := m.sync.startupUntil(m.startupUntil)
	if !now.Before(until) {
		m.becomeMaster(now, Reason{Kind: ReasonOwner})
		return
	}
	m.becomeBackup(now, now, why)
	m.startDownTimer(until, downNone)
}

func (m *Machine) forgetPeers() {
	m.master, m.lower, m.stopHeard = Peer{}, Peer{}, netip.Addr{}
}

// startsAsMaster reports whether there is nobody to wait for.
func (m *Machine) startsAsMaster() bool {
	return m.isOwner() && m.cfg.StartMaster && m.sync.startsAsMaster()
}

func (m *Machine) shutdown(now time.Time) {
	if m.state == Master {
		m.sayStop()
		switch {
		case m.counts[placeReady] == 0:
			m.giveUp()
		case !m.over.offered:
			m.offer(now)
		}
		m.over.offered = false // there is no way back
		if m.over.active() {
			m.dropUnready()
		}
	}
	if m.state != Init {
		m.transition(now, Init, Reason{Kind: ReasonShutdown})
	}
	m.stopped = true
}

// transition changes the state and clears what belongs to the one that is left.
func (m *Machine) transition(now time.Time, to State, why Reason) {
	from := m.state
	why.Priority = m.priority
	m.state, m.since, m.reason = to, now, why
	switch from {
	case Backup:
		m.masterDownAt, m.preemptAt = time.Time{}, time.Time{}
		m.lower, m.lowerNoted, m.stopHeard = Peer{}, netip.Addr{}, netip.Addr{}
		m.other, m.heldUntil, m.heldNoted = Peer{}, time.Time{}, false
		m.wants = false
	case Master:
		m.advertAt, m.spokeAt = time.Time{}, time.Time{}
		m.rivals = nil
		m.placeAll(placeIdle)
		m.settled = false
	case FaultState:
		m.retryAt = time.Time{}
	}
	m.do(Transition{From: from, To: to, Reason: why})
}

// becomeBackup starts the master-down timer at the time from, which is when the
// advertisement that decided was received.
func (m *Machine) becomeBackup(now, from time.Time, why Reason) {
	m.transition(now, Backup, why)
	if from.Before(m.startupUntil) {
		from = m.startupUntil
	}
	m.startDownTimer(from, downWhole)
}

// startDownTimer starts the master-down timer anew, counting from a time that
// need not be now.
func (m *Machine) startDownTimer(from time.Time, t downTimer) {
	m.downFrom, m.downTimer = from, t
	switch t {
	case downWhole:
		from = from.Add(m.masterDown())
	case downSkew:
		from = from.Add(SkewTime(m.cfg.Version, m.priority, m.masterInterval))
	case downListen:
		from = from.Add(m.masterInterval + SkewTime(m.cfg.Version, m.priority, m.masterInterval))
	}
	m.masterDownAt = from
}

func (m *Machine) becomeMaster(now time.Time, why Reason) {
	m.epoch++
	m.masterInterval = m.cfg.Interval
	m.over, m.yielded = handover{}, false
	m.placeAll(placePending)
	m.settled = len(m.cfg.Addresses) == 0
	m.do(SendAdvertisement{Priority: m.priority})
	if !m.settled {
		m.do(AddAddresses{Epoch: m.epoch, Addrs: m.cfg.Addresses})
	}
	m.transition(now, Master, why)
	m.spokeAt = now
	m.advertAt = now.Add(m.cfg.Interval)
}

func (m *Machine) wake(now time.Time, ev Wake) {
	if m.over.active() && !now.Before(m.over.until) {
		m.overlapEnds(now)
	}
	switch m.state {
	case Backup:
		if !now.Before(m.masterDownAt) {
			m.masterDownExpired(now)
		}
	case Master:
		if m.over.offered || now.Add(ev.Early).Before(m.advertAt) {
			return
		}
		m.do(SendAdvertisement{Priority: m.priority})
		m.spokeAt = now
		m.defend(now)
		// The schedule is absolute: being late once delays nothing after.
		// What was missed altogether is not made up for.
		m.advertAt = m.advertAt.Add(m.cfg.Interval)
		if !m.advertAt.After(now) {
			m.advertAt = now.Add(m.cfg.Interval)
		}
	case FaultState:
		if m.addressErr != nil && !now.Before(m.retryAt) {
			m.addressErr = nil
			if len(m.faults()) == 0 && !m.held() {
				m.enterElection(now, Reason{Kind: ReasonRetry})
				return
			}
			m.checkFaults(now)
		}
	}
}

// masterDownExpired makes the backup master, if its sync group lets it. Else it
// goes on as backup for another interval; it is master the moment the rest of
// the group wants to be.
func (m *Machine) masterDownExpired(now time.Time) {
	if m.holds(now) {
		return
	}
	others := m.sync.unwilling()
	if others == "" {
		m.becomeMaster(now, m.electionReason(now))
		return
	}
	m.startDownTimer(now, downWhole)
	if !m.wants {
		m.wants = true
		if !m.sync.ending() {
			m.note(Reason{Kind: ReasonGroupWaits, Group: m.sync.group.name, Member: others})
		}
	}
}

// electionReason says why a master-down timer was left to run out.
func (m *Machine) electionReason(now time.Time) Reason {
	switch {
	case m.isOwner() && !m.master.Addr.IsValid():
		return Reason{Kind: ReasonOwner}
	case m.stopHeard.IsValid():
		return Reason{Kind: ReasonMasterStopped, Peer: m.stopHeard}
	case m.lower.At.After(m.master.At) && now.Sub(m.lower.At) < m.masterDown():
		return Reason{Kind: ReasonPreempt, Peer: m.lower.Addr, PeerPriority: m.lower.Priority}
	case m.other.At.After(m.master.At):
		return Reason{Kind: ReasonMasterSilent, Peer: m.other.Addr, PeerPriority: m.other.Priority, Elapsed: now.Sub(m.other.At)}
	case m.master.Addr.IsValid():
		return Reason{Kind: ReasonMasterSilent, Peer: m.master.Addr, PeerPriority: m.master.Priority, Elapsed: now.Sub(m.master.At)}
	}
	return Reason{Kind: ReasonNobodyHeard, Elapsed: now.Sub(m.since)}
}

func (m *Machine) received(now time.Time, ev Received) {
	if m.state != Backup && m.state != Master {
		return
	}
	at := ev.At
	if at.IsZero() || at.After(now) {
		at = now
	}
	for _, from := range []time.Time{m.since, m.awakeSince} {
		if at.Before(from) {
			at = from
		}
	}
	if at.Before(m.startupUntil) {
		return
	}
	p := Peer{Addr: ev.Src.WithZone(""), Priority: ev.Adv.Priority, Interval: ev.Adv.Interval, At: at}
	switch {
	case ev.Differs:
		m.receivedDifferent(now, p)
	case m.state == Backup:
		m.receivedAsBackup(now, p)
	default:
		m.receivedAsMaster(now, p)
	}
}

func (m *Machine) receivedAsBackup(now time.Time, p Peer) {
	switch {
	case p.Priority == PriorityStop:
		// From whomever, not only from the master (RFC 9568 §6.4.2).
		m.stopHeard = p.Addr
		m.startDownTimer(p.At, downSkew)
	case p.Priority >= m.priority:
		m.preemptAt = time.Time{}
		m.accept(p)
	case m.cfg.NoPreempt, m.yielded:
		m.accept(p)
	case m.cfg.PreemptDelay > 0 && (m.preemptAt.IsZero() || now.Before(m.preemptAt)):
		if m.preemptAt.IsZero() {
			m.preemptAt = p.At.Add(m.cfg.PreemptDelay)
		}
		m.accept(p)
	default:
		// The timer runs on: this router takes over when it expires, however
		// often the other advertises (RFC 9568 §6.4.2).
		m.lower, m.stopHeard = p, netip.Addr{}
		if m.lowerNoted != p.Addr {
			m.lowerNoted = p.Addr
			m.note(Reason{Kind: ReasonLowerPriorityIgnored, Peer: p.Addr, PeerPriority: p.Priority})
		}
	}
}

// accept takes p as the master: its interval is learned and the timer starts
// again from when the advertisement was received.
func (m *Machine) accept(p Peer) {
	m.learn(p)
	m.stopHeard, m.wants = netip.Addr{}, false
	m.startDownTimer(p.At, downWhole)
}

func (m *Machine) learn(p Peer) {
	m.master = p
	if m.cfg.Version == V3 && p.Interval > 0 {
		m.masterInterval = p.Interval
	}
}

func (m *Machine) receivedAsMaster(now time.Time, p Peer) {
	why := Reason{Peer: p.Addr, PeerPriority: p.Priority}
	switch {
	case m.over.offered:
		if p.Priority != PriorityStop {
			m.takenOver(now, p)
		}
		return
	case p.Priority == PriorityStop:
		// A router that was master and stops: say that there is one.
		m.advertise(now)
		m.stopsContest(p.Addr)
		return
	}
	higher := p.Priority > m.priority
	if p.Priority == m.priority {
		order := p.Addr.Compare(m.source)
		if order == 0 {
			why.Kind = ReasonSameAddress
			m.note(why)
			return
		}
		higher = order > 0
	}
	if !higher {
		why.Kind = ReasonLowerPriorityMaster
		m.note(why)
		if !m.cfg.LowerPriorityNoAdvert {
			m.advertise(now)
		}
		// Whoever listened to the other one has to learn again where the
		// addresses are.
		m.reannounce()
		m.contest(now, Rival{Addr: p.Addr, Priority: p.Priority, Interval: p.Interval, Last: p.At})
		return
	}
	why.Kind = ReasonHigherPriority
	if p.Priority == m.priority {
		why.Kind = ReasonHigherAddress
	}
	if m.cfg.HigherPrioritySendAdvert {
		m.do(SendAdvertisement{Priority: m.priority})
	}
	m.release(p.At)
	m.learn(p)
	m.becomeBackup(now, p.At, why)
}

func (m *Machine) reannounce() {
	if m.counts[placeReady] > 0 && !m.over.offered {
		m.do(Reannounce{})
	}
}

// advertise sends an advertisement out of turn; the schedule starts over.
func (m *Machine) advertise(now time.Time) {
	if m.over.offered {
		return
	}
	m.do(SendAdvertisement{Priority: m.priority})
	m.spokeAt = now
	m.advertAt = now.Add(m.cfg.Interval)
}

func (m *Machine) note(why Reason) {
	why.Priority = m.priority
	m.do(Note{Reason: why, State: m.state})
}

// setPriority changes the effective priority. The next advertisement in turn
// carries it; the master-down timer moves by what its length changed.
func (m *Machine) setPriority(p uint8) {
	if p == 0 {
		p = m.cfg.Priority
	}
	if m.isOwner() {
		p = PriorityOwner
	} else if p == PriorityOwner {
		p = PriorityOwner - 1
	}
	if p == m.priority {
		return
	}
	before, down := m.priority, m.masterDown()
	m.priority = p
	if m.state == Backup && m.downTimer != downNone {
		m.masterDownAt = m.masterDownAt.Add(m.masterDown() - down)
	}
	if m.state != Init {
		m.note(Reason{Kind: ReasonPriorityChanged, PriorityBefore: before})
	}
}

// ownFaults returns what keeps this router out of the election whatever its
// sync group does.
func (m *Machine) ownFaults() []Fault {
	var own []Fault
	if m.addressErr != nil {
		own = []Fault{{Kind: FaultAddresses, Detail: m.addressErr.Error()}}
	}
	return unionFaults(m.link, m.health, own)
}

// faults returns everything that keeps this router out of the election.
func (m *Machine) faults() []Fault {
	return append(m.ownFaults(), m.sync.faults()...)
}

// held reports whether it is too early to take part in the election, although
// there may be no fault: a check has no result yet, or the sync group waits.
func (m *Machine) held() bool {
	return len(m.pending) > 0 || m.sync.held()
}

// checkFaults enters or leaves FaultState, and leaves Init once started.
func (m *Machine) checkFaults(now time.Time) {
	faults := m.faults()
	switch {
	case !m.started:
	case len(faults) > 0 && m.state == FaultState:
		// Still in fault, but for other reasons: keep what the last one was,
		// so that a recovery names it.
		m.reason.Faults = faults
	case len(faults) > 0:
		m.enterFault(now)
	case m.held():
	case m.state == Init:
		m.enterElection(now, Reason{Kind: ReasonStartup})
	case m.state == FaultState:
		m.enterElection(now, Reason{Kind: ReasonRecovered, Faults: m.reason.Faults})
	}
}

func (m *Machine) enterFault(now time.Time) {
	if m.state == Master {
		m.sayStop()
	}
	m.giveUp()
	m.transition(now, FaultState, Reason{Kind: ReasonFault, Faults: m.faults()})
	if m.addressErr != nil {
		m.retryAt = now.Add(min(addressRetryMin<<min(m.addressTries, 8), addressRetryMax))
		m.addressTries++
	}
}

func (m *Machine) addressReady(now time.Time, ev AddressReady) {
	if m.state != Master || ev.Epoch > m.epoch {
		return
	}
	var fresh []Address
	for _, a := range ev.Addrs {
		i, ok := m.index[a]
		if !ok || m.places[i].state != placePending && m.places[i].state != placeFailed {
			continue // not asked for, or known already
		}
		if ev.Epoch < m.places[i].epoch {
			continue // it was removed and asked for again since
		}
		if ev.Err != nil {
			m.place(i, placeFailed, ev.Err)
			continue
		}
		m.place(i, placeReady, nil)
		m.addressTries = 0
		fresh = append(fresh, a)
	}
	settled := !m.settled && m.counts[placePending] == 0
	m.settled = m.settled || settled
	if m.counts[placePending] == 0 && m.counts[placeReady] == 0 {
		m.addressErr = cmp.Or(ev.Err, errNoAddress)
		m.checkFaults(now)
		return
	}
	if (len(fresh) > 0 || settled) && !m.over.offered {
		m.do(Announce{Addrs: fresh, Settled: settled})
	}
}

func (m *Machine) addressLost(now time.Time, ev AddressLost) {
	if m.state != Master {
		return
	}
	var lost []Address
	for _, a := range ev.Addrs {
		if i, ok := m.index[a]; ok && m.places[i].state == placeReady {
			m.place(i, placePending, nil)
			lost = append(lost, a)
		}
	}
	switch {
	case len(lost) == 0:
	case m.cfg.ResignOnLoss:
		m.sayStop()
		m.giveUp()
		m.forgetPeers()
		m.becomeBackup(now, now, Reason{Kind: ReasonAddressLost, Addrs: lost})
		m.startDownTimer(now, downSkew)
	default:
		m.do(AddAddresses{Epoch: m.epoch, Addrs: lost, Restore: true})
	}
}

// A Snapshot is everything there is to know about a machine at one time.
type Snapshot struct {
	State    State
	Since    time.Time
	Reason   Reason // of the last transition
	Priority uint8  // effective
	Source   netip.Addr
	// Master is the last master heard and accepted; its Addr is not valid if
	// there was none, or while this router is master.
	Master Peer
	// Lower is a master of lower priority that this backup is about to replace.
	Lower Peer
	// MasterInterval is the interval the master-down timer counts with.
	MasterInterval time.Duration
	// MasterDownAt, AdvertAt and PreemptAt are zero when they do not run.
	MasterDownAt, AdvertAt, PreemptAt, StartupUntil time.Time
	Faults                                          []Fault
	// Pending are the checks without a result that it waits for in Init or
	// FaultState, its own and those of the other members of its sync group.
	Pending []string
	// WantsMaster is set on a backup that would be master if all members of its
	// sync group were ready to be.
	WantsMaster bool
	// HandingOver is set while addresses are kept that another router is taking
	// over, see [Machine.HandingOver].
	HandingOver bool
	// Yielded is set after a [Failover], until the router is master again.
	Yielded bool
	// Rivals are those that claim to be master as well, or to have its
	// addresses; only a master has any. It is contested.
	Rivals []Rival
	// Held is whose advertisements, different as they are, keep a backup from
	// taking over, and until when at least; not valid if there is nobody.
	Held      netip.Addr
	HeldUntil time.Time
	// Ready and Failed count the addresses that are in place and that could
	// not be put there; both are 0 unless master. See also [Machine.Address].
	Ready, Failed int
}

// Degraded reports whether the router is master without all of its addresses.
func (s *Snapshot) Degraded() bool { return s.State == Master && s.Failed > 0 }

// Address reports whether an address is in place and, if it could not be put
// there, why. Only a master has addresses in place.
func (m *Machine) Address(a Address) (ready bool, err error) {
	i, ok := m.index[a]
	if !ok {
		return false, nil
	}
	return m.places[i].state == placeReady, m.places[i].err
}

// Snapshot returns the machine's condition.
func (m *Machine) Snapshot() Snapshot {
	s := Snapshot{
		State: m.state, Since: m.since, Reason: m.reason, Priority: m.priority, Source: m.source,
		MasterInterval: m.masterInterval, MasterDownAt: m.masterDownAt, AdvertAt: m.advertAt,
		PreemptAt: m.preemptAt, StartupUntil: m.startupUntil, Faults: m.faults(),
		Pending: m.allPending(), WantsMaster: m.wants, HandingOver: m.HandingOver(), Yielded: m.yielded,
		Rivals: slices.Clone(m.rivals), Held: m.other.Addr, HeldUntil: m.heldUntil,
		Ready: m.counts[placeReady], Failed: m.counts[placeFailed],
	}
	if m.state == Backup {
		s.Master, s.Lower = m.master, m.lower
	}
	return s
}

// allPending returns the checks that it waits for, if it waits.
func (m *Machine) allPending() []string {
	if m.stopped || m.state != Init && m.state != FaultState {
		return nil
	}
	var out []string
	for _, name := range slices.Concat(m.pending, m.sync.pending()) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
