package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vipd/arp"
	"vipd/cmd/internal/logging"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

const (
	// batchWindow is how much early an advertisement may go out so that it
	// shares a system call, and a waking of this process, with others.
	batchWindow = time.Millisecond
	// drainBudget bounds how many datagrams of one socket are looked at before
	// timers get their turn, so that a flood cannot hold adverts back.
	drainBudget = 1024
	// busyRate is how many datagrams a second, over rateWindow, make a socket
	// busy: it is then looked at now and then only, see loop.read.
	busyRate   = 500
	rateWindow = 100 * time.Millisecond
	// minPause and maxPause bound how long a busy socket is left alone.
	minPause = 2 * time.Millisecond
	maxPause = 20 * time.Millisecond
	// receiveBuffer holds, in the kernel's accounting, what a flood of 100,000
	// datagrams a second delivers in maxPause.
	receiveBuffer = 4 << 20
	// loopEndTimeout is how long the end of a loop is waited for.
	loopEndTimeout = time.Second
	// socketRetry is how long after a failure a socket is opened again.
	socketRetry = time.Second
	// membershipCheck is how often it is seen to that a socket still belongs to its
	// multicast group, and membershipRenewal how often the network is told so: a
	// switch that snoops forgets it after some four minutes (RFC 3376 §8.4).
	membershipCheck   = 5 * time.Second
	membershipRenewal = 2 * time.Minute
	// suspendNoticed is how long the host must have been suspended for it to be
	// told from the inaccuracy of two clocks that are read one after the other.
	suspendNoticed = 5 * time.Millisecond
	// suspendPoll is how often at most the two clocks are read.
	suspendPoll = time.Millisecond
	// staleAfter is how long after it was wanted an advertisement is looked at
	// again before it is sent.
	staleAfter = 10 * time.Millisecond
)

// A transport sends and receives the datagrams of one socket. *vrrpconn.Conn
// is one, and so is a port of vrrptest's LAN.
type transport interface {
	Wait() error
	Recv([]vrrpconn.Datagram) (int, error)
	Send([]vrrpconn.Message) (int, error)
	Drops() uint64
	Close() error
}

var _ transport = (*vrrpconn.Conn)(nil)

// An addressHolder keeps the addresses of masters in place. Its methods never
// block; results arrive as [vrrp.AddressReady] through the loop's inbox.
type addressHolder interface {
	// hold says as well when it was decided: what others may have taken over since
	// is not added.
	hold(inst *instance, decided time.Time, epoch uint64, addrs []vrrp.Address)
	release(inst *instance, addrs []vrrp.Address) // nil: all
	lost(inst *instance, addrs []vrrp.Address)
	update(inst *instance, s *settings)
}

// An announcer sends gratuitous ARP and unsolicited neighbour advertisements
// for addresses in place. Its methods never block.
type announcer interface {
	announce(inst *instance, addrs []vrrp.Address, settled bool)
	announceSource(inst *instance, addr vrrp.Address)
	probe(inst *instance, addr vrrp.Address)
	reannounce(inst *instance)
	lost(inst *instance, addrs []vrrp.Address)
	stop(inst *instance)
	retime(inst *instance, timing arp.Timing)
}

// A loop is the one goroutine that owns an interface: its sockets, and the
// machines of all virtual routers on it. Nothing in it blocks, takes a lock
// another goroutine holds for long, or waits for an effect.
//
// In each turn it takes what was received, then what the effectors report, then
// the timers that ran out; then all advertisements of the turn go out in one
// batch, and only after them the effects are handed on.
type loop struct {
	name  string
	log   *slog.Logger
	waker waker
	open  func(vrrpconn.Config) (transport, error)
	addrs addressHolder
	ann   announcer

	logUnknown bool // log_unknown_vrids
	// slept returns for how long the host has been suspended since it started;
	// nil: that cannot be known.
	slept func() time.Duration
	once  *logging.Limiter

	inbox    *mailbox[func()]
	readable chan *port
	done     chan struct{} // closed by stop
	ended    chan struct{} // closed when run returns

	// Only the loop's goroutine uses what follows.
	instances []*instance
	ports     map[portKey]*port
	due       wakeHeap
	wakeSet   time.Time
	effects   []effect
	datagrams []vrrpconn.Datagram
	spent     []func()
	asleep    time.Duration // what slept returned last, and when it was asked
	askedAt   time.Time
	handovers []handover // that are waited for

	readers sync.WaitGroup
}

// An effect is an action that waits for the advertisements of its turn to be
// out.
type effect struct {
	inst        *instance
	group       *syncGroup // instead of inst: the action is the group's
	action      vrrp.Action
	decided     time.Time
	closeSocket bool // instead of an action: give the socket up
}

// A portKey names a socket. Virtual routers with the same key share it.
type portKey struct {
	iface         string
	index         int
	family        vrrp.Family
	group, source netip.Addr
}

// A port is an open socket and the virtual routers that use it.
type port struct {
	key      portKey
	conn     transport
	owner    atomic.Pointer[loop] // whose goroutine it belongs to
	moved    chan struct{}        // tells the reader that this is another one
	users    [256][]*instance     // by VRID
	nusers   int
	resume   chan int      // tells the reader that so many datagrams were read
	pause    time.Duration // how long the socket may be left alone when busy
	closed   chan struct{}
	out      []vrrpconn.Message
	meta     []outgoing
	queued   time.Time // when the first of them was
	unknown  uint64    // datagrams for VRIDs nobody here has
	short    uint64    // datagrams too short to say whom they are for
	failures int       // to receive, in a row
}

// outgoing is what the loop has to remember of a message until it is sent.
type outgoing struct {
	inst     *instance
	priority uint8
	first    bool // of the messages that make up one advertisement
	failed   bool
	// unreachable is set when it failed because its peer is not there, which is
	// the peer's business: this router does advertise.
	unreachable bool
}

// unreachable reports whether an error means that a unicast peer is not there.
func unreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTDOWN)
}

func newLoop(name string, log *slog.Logger, w waker, open func(vrrpconn.Config) (transport, error), addrs addressHolder, ann announcer) *loop {
	return &loop{
		name: name, log: log, waker: w, open: open, addrs: addrs, ann: ann,
		once:      logging.NewLimiter(logLimit),
		inbox:     newMailbox[func()](),
		readable:  make(chan *port),
		done:      make(chan struct{}),
		ended:     make(chan struct{}),
		ports:     make(map[portKey]*port),
		datagrams: make([]vrrpconn.Datagram, 64),
	}
}

// post has f run in the loop's goroutine. It never blocks; after stop, f may
// never run.
func (l *loop) post(f func()) { l.inbox.put(f) }

// stop ends the loop and waits for it, but not for ever: a loop that hangs must
// not keep the process from ending. It reports whether the loop has ended.
// Machines are not told; see Daemon.shutdown.
func (l *loop) stop() bool {
	close(l.done)
	select {
	case <-l.ended:
		return true
	case <-time.After(loopEndTimeout):
		l.log.Error("a protocol loop does not end", "loop", l.name)
		return false
	}
}

// retire ends a loop that has no instance any more, while the daemon goes on.
// What is posted to it all the same, by who did not know yet, is not lost: it is
// a question after its instances, or finds out that the instance has moved.
func (l *loop) retire() {
	if l.stop() {
		l.inbox.pass(func(f func()) { f() })
	}
}

// run is the loop. It returns after stop.
func (l *loop) run() {
	defer close(l.ended)
	defer l.readers.Wait()
	defer l.closePorts()
	for {
		select {
		case <-l.done:
			return
		case p := <-l.readable:
			l.suspended(time.Now()) // before what was received since is answered
			if l.ports[p.key] == p {
				p.resume <- l.drain(p, time.Time{})
			} else {
				p.resume <- 0 // it has just been another loop's
			}
		case <-l.waker.C():
		case <-l.inbox.waiting():
		}
		l.turn()
	}
}

// turn does everything that is due now.
func (l *loop) turn() {
	l.suspended(time.Now())
	l.spent = l.inbox.take(l.spent)
	for _, f := range l.spent {
		f()
	}
	l.timers()
	l.act()
	l.finishHandovers()
	at := time.Time{}
	if len(l.due) > 0 {
		at = l.due[0].wakeAt
	}
	if !at.Equal(l.wakeSet) || !at.IsZero() && !at.After(time.Now()) {
		l.wakeSet = at
		l.waker.Set(at)
	}
}

// afterHandover has f run when the instance, which is shut down, has handed over,
// and what it has done is under way.
func (l *loop) afterHandover(inst *instance, f func()) {
	l.handovers = append(l.handovers, handover{inst, f})
	l.post(func() {}) // there may be nothing to wait for
}

func (l *loop) finishHandovers() {
	l.handovers = slices.DeleteFunc(l.handovers, func(h handover) bool {
		if h.inst.m.HandingOver() {
			return false
		}
		l.post(h.done)
		return true
	})
}

// A handover is an instance that ends, and what is to be done then.
type handover struct {
	inst *instance
	done func()
}

// act sends the advertisements that wait, and then carries out everything else
// that does.
func (l *loop) act() {
	l.flush()
	for len(l.effects) > 0 {
		effects := l.effects
		l.effects = nil
		l.carryOutAll(effects)
		clear(effects)
		if l.effects == nil {
			l.effects = effects[:0]
		}
	}
}

// timers wakes the machines whose time has come. What the kernel received
// before is looked at first: a process that was held up must not take a master
// for dead whose advertisements wait in the socket.
func (l *loop) timers() {
	drained := false
	for len(l.due) > 0 {
		now := time.Now()
		inst := l.due[0]
		early := time.Duration(0)
		if inst.m.State() == vrrp.Master && !inst.m.HandingOver() {
			early = inst.early
		}
		if now.Add(early).Before(inst.wakeAt) {
			return
		}
		if early == 0 && !drained {
			drained = true
			for _, p := range l.ports {
				l.drain(p, now)
			}
			continue // the drain may have moved the timer
		}
		if inst.bridging() && inst.m.State() == vrrp.Backup && !inst.m.HandingOver() {
			// Without an address it may not have heard the master: with rp_filter
			// the kernel drops what comes from a network it has no route to.
			inst.endGrace()
			continue
		}
		l.step(inst, now, vrrp.Wake{Early: early})
	}
}

// suspended finds out whether the host was suspended, which the clock that timers
// go by does not show, and tells the machines.
func (l *loop) suspended(now time.Time) {
	if l.slept == nil || now.Sub(l.askedAt) < suspendPoll {
		return
	}
	l.askedAt = now
	total := l.slept()
	length := total - l.asleep
	l.asleep = total
	if length < suspendNoticed {
		return
	}
	l.log.Warn("the host was suspended", "for", length)
	for _, inst := range slices.Clone(l.instances) {
		l.step(inst, now, vrrp.Gap{Length: length})
	}
}

// step feeds one event to a machine, queues the advertisements it wants and
// keeps its other actions until those are out.
func (l *loop) step(inst *instance, now time.Time, ev vrrp.Event) {
	if inst.group != nil {
		l.stepGroup(inst, now, ev)
		return
	}
	for _, a := range inst.m.Step(now, ev) {
		l.want(now, inst, a)
	}
	l.wakeAsWanted(inst)
}

// want takes one action of an instance's machine, which was decided at a time.
func (l *loop) want(decided time.Time, inst *instance, a vrrp.Action) {
	if send, ok := a.(vrrp.SendAdvertisement); ok {
		l.queue(inst, send.Priority)
		return
	}
	l.effects = append(l.effects, effect{inst: inst, action: a, decided: decided})
}

// wakeAsWanted puts the instance where its next wake belongs.
func (l *loop) wakeAsWanted(inst *instance) {
	at, ok := inst.m.NextWake()
	l.due.set(inst, at, ok)
}

// queue adds one advertisement to the batch of this turn: one message to the
// group, or one to each unicast peer, all with the same IP identification.
func (l *loop) queue(inst *instance, priority uint8) {
	p := inst.port
	if p == nil {
		return // the machine is about to learn of the fault, or is in it
	}
	messages, err := inst.messages(priority)
	if err != nil {
		inst.sendFailed(err)
		return
	}
	if inst.ipID++; inst.ipID == 0 {
		inst.ipID = 1
	}
	if len(p.out) == 0 {
		p.queued = time.Now()
	}
	for i, msg := range messages {
		msg.ID = inst.ipID
		p.out = append(p.out, msg)
		p.meta = append(p.meta, outgoing{inst: inst, priority: priority, first: i == 0})
	}
}

// flush sends what was queued. An advertisement that cannot be sent changes no
// state: the others, and the next one, are tried all the same.
func (l *loop) flush() {
	for _, p := range l.ports {
		if len(p.out) == 0 {
			continue
		}
		if time.Since(p.queued) > staleAfter {
			if p.discardStale(); len(p.out) == 0 {
				continue
			}
		}
		_, err := p.conn.Send(p.out)
		failed, ok := errors.AsType[vrrpconn.SendErrors](err)
		for _, e := range failed {
			m := &p.meta[e.Index]
			m.failed, m.unreachable = true, unreachable(e.Err)
			m.inst.sendFailed(e.Err)
		}
		if err != nil && !ok {
			p.meta[0].inst.sendFailed(err)
		}
		for _, m := range p.meta {
			if m.first && !m.failed {
				m.inst.sent(m.priority)
			}
			if !m.failed || m.unreachable {
				m.inst.unmute()
			}
		}
		clear(p.meta)
		p.out, p.meta = p.out[:0], p.meta[:0]
	}
}

// discardStale leaves out advertisements of masters that have been taken for dead
// since they wanted them: the process was stopped in between. Their machines will
// notice.
func (p *port) discardStale() {
	waited := time.Since(p.queued)
	out, meta := p.out[:0], p.meta[:0]
	for i, m := range p.meta {
		if m.priority == vrrp.PriorityStop || waited < time.Duration(max(m.inst.cfg.DownTimerAdverts, 1))*m.inst.cfg.AdvertInterval {
			out, meta = append(out, p.out[i]), append(meta, m)
		}
	}
	clear(p.out[len(out):])
	clear(p.meta[len(meta):])
	p.out, p.meta = out, meta
}

// carryOutAll hands the actions on: first what the network waits for, then what
// people want to know, and in between the effectors get to run.
func (l *loop) carryOutAll(effects []effect) {
	urgent := false
	for _, e := range effects {
		if !e.tells() {
			urgent = true
			l.carryOut(e)
		}
	}
	if urgent {
		runtime.Gosched()
	}
	for _, e := range effects {
		if e.tells() {
			l.carryOut(e)
		}
	}
}

// tells reports whether the effect is only for people.
func (e *effect) tells() bool {
	switch e.action.(type) {
	case vrrp.Transition, vrrp.Note:
		return true
	}
	return false
}

// carryOut hands one action to whoever does it.
func (l *loop) carryOut(e effect) {
	if e.group != nil {
		if t, ok := e.action.(vrrp.Transition); ok {
			e.group.transition(t)
		}
		return
	}
	if e.closeSocket {
		if !e.inst.usable() {
			l.detach(e.inst)
		}
		return
	}
	switch a := e.action.(type) {
	case vrrp.AddAddresses:
		if a.Restore {
			l.ann.lost(e.inst, a.Addrs)
			l.addrs.lost(e.inst, a.Addrs)
		}
		l.addrs.hold(e.inst, e.decided, a.Epoch, a.Addrs)
	case vrrp.RemoveAddresses:
		if a.Addrs == nil {
			l.ann.stop(e.inst)
		} else {
			l.ann.lost(e.inst, a.Addrs)
		}
		l.addrs.release(e.inst, a.Addrs)
	case vrrp.Announce:
		l.ann.announce(e.inst, a.Addrs, a.Settled)
		if a.Settled {
			e.inst.told.settled(e.inst)
		}
	case vrrp.Reannounce:
		l.ann.reannounce(e.inst)
	case vrrp.StopAnnouncing:
		l.ann.stop(e.inst)
	case vrrp.Transition:
		e.inst.transition(a)
		if a.From == vrrp.FaultState && a.To != vrrp.Init && len(e.inst.cfg.Peers) > 0 && e.inst.cfg.Interface != "" {
			// Peers may have learned meanwhile that this address is elsewhere,
			// or nowhere: without it no advertisement reaches them.
			l.ann.announceSource(e.inst, vrrp.Address{IP: e.inst.view.source, Interface: e.inst.cfg.Interface})
		}
	case vrrp.Note:
		e.inst.note(a)
	}
}

// drain takes what waits on a socket and returns how much it was: everything
// that was received by the given time, or, without one, as much as drainBudget
// allows.
func (l *loop) drain(p *port, by time.Time) int {
	total := 0
	for {
		n, err := p.conn.Recv(l.datagrams)
		for i := range l.datagrams[:n] {
			l.receive(p, &l.datagrams[i])
		}
		total += n
		if err != nil {
			l.receiveFailed(p, err, n > 0)
			return total
		}
		p.failures = 0
		switch {
		case n < len(l.datagrams):
			return total
		case by.IsZero() && total >= drainBudget, !by.IsZero() && l.datagrams[n-1].At.After(by):
			return total
		}
	}
}

// receiveFailed gives up a socket that returns errors and nothing else.
func (l *loop) receiveFailed(p *port, err error, some bool) {
	const tolerated = 3
	if errors.Is(err, net.ErrClosed) {
		return
	}
	if p.failures++; some || p.failures == 1 {
		p.failures = 1
		l.log.Warn("cannot receive advertisements", "interface", p.key.iface, "error", err)
	}
	if p.failures > tolerated {
		l.post(func() { l.portFailed(p, err) })
	}
}

// receive finds the virtual router a datagram is for, and hands the
// advertisement to its machine if it passes every check. One that does not
// touches nothing but a counter.
func (l *loop) receive(p *port, d *vrrpconn.Datagram) {
	vrid, ok := vrrpconn.VRID(d)
	if !ok {
		p.short++
		if l.once.Once("short " + d.Src.String()) {
			l.log.Warn("datagram too short for a VRRP header dropped; more of the kind are only counted", "interface", p.key.iface, "peer", d.Src)
		}
		return
	}
	inst := p.find(vrid, d.Src)
	if inst == nil {
		p.unknown++
		if l.logUnknown && l.once.Once(fmt.Sprintf("%s %d", d.Src, vrid)) {
			l.log.Info("advertisement for a virtual router that is not configured here", "interface", p.key.iface, "vrid", vrid, "peer", d.Src)
		}
		return
	}
	if s := inst.m.State(); s != vrrp.Backup && s != vrrp.Master && !inst.m.HandingOver() {
		return
	}
	adv, mismatches, err := inst.expect.Check(d)
	if err != nil {
		inst.dropped(d, err)
		if drop, ok := errors.AsType[*vrrpconn.DropError](err); ok && drop.Otherwise && inst.cfg.HoldOnMismatch {
			l.step(inst, time.Now(), vrrp.Received{Src: d.Src, Adv: adv, At: d.At, Differs: true})
		}
		return
	}
	inst.accepted(d, &adv, mismatches)
	l.step(inst, time.Now(), vrrp.Received{Src: d.Src, Adv: adv, At: d.At})
}

// find returns the virtual router of a VRID. Several share one VRID only as
// unicast routers with different peers.
func (p *port) find(vrid uint8, src netip.Addr) *instance {
	users := p.users[vrid]
	if len(users) == 0 {
		return nil
	}
	for _, inst := range users[1:] {
		if inst.hasPeer(src) {
			return inst
		}
	}
	return users[0]
}

// attach gives the instance the socket it needs, opening it if nobody has yet.
func (l *loop) attach(inst *instance, key portKey) error {
	if inst.port != nil && inst.port.key == key {
		return nil
	}
	l.detach(inst)
	p := l.ports[key]
	if p == nil {
		conn, err := l.open(vrrpconn.Config{
			Interface: key.iface, Index: key.index, Family: key.family, Group: key.group, Source: key.source,
			ReceiveBuffer: receiveBuffer,
		})
		if err != nil {
			return err
		}
		p = &port{key: key, conn: conn, resume: make(chan int, 1), moved: make(chan struct{}, 1), closed: make(chan struct{}), pause: l.pause()}
		l.ports[key] = p
		p.owner.Store(l)
		l.readers.Add(1)
		go p.read()
		if m, ok := conn.(member); ok && key.group.IsValid() {
			go p.tend(m)
		}
	}
	p.users[inst.cfg.VRID] = append(p.users[inst.cfg.VRID], inst)
	p.nusers++
	inst.port = p
	return nil
}

// detach takes the instance's socket away; the last user closes it.
func (l *loop) detach(inst *instance) {
	p := inst.port
	if p == nil {
		return
	}
	l.flush()
	inst.port = nil
	users := p.users[inst.cfg.VRID]
	for i, u := range users {
		if u == inst {
			p.users[inst.cfg.VRID] = append(users[:i:i], users[i+1:]...)
			p.nusers--
			break
		}
	}
	if p.nusers == 0 {
		l.closePort(p)
	}
}

func (l *loop) closePort(p *port) {
	if l.ports[p.key] == p {
		delete(l.ports, p.key)
	}
	close(p.closed)
	if err := p.conn.Close(); err != nil {
		l.log.Warn("cannot close a socket", "interface", p.key.iface, "error", err)
	}
}

func (l *loop) closePorts() {
	for _, p := range l.ports {
		l.closePort(p)
	}
}

// takeOver makes a port of another loop, which has let go of it, this loop's.
func (l *loop) takeOver(p *port) {
	l.ports[p.key] = p
	l.readers.Add(1)
	p.owner.Swap(l).readers.Done()
	select {
	case p.moved <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// read waits for datagrams on behalf of the loop, which alone reads them. It
// ends when the port is closed.
//
// Where many arrive it looks only every few milliseconds: a thousand backups
// would otherwise have the process woken for each of ten thousand
// advertisements a second. No timer runs out wrongly for it, because timers
// count from the kernel's time stamps, and before one is acted on the loop reads
// the socket without being asked. A master that stops is still replaced in time:
// see pause.
func (p *port) read() {
	defer func() { p.owner.Load().readers.Done() }()
	count, since, busy, more := 0, time.Now(), false, false
	for {
		if more {
			// Not everything was read: on at once.
		} else if busy {
			// At the same times as the readers of other sockets, so that the
			// process is woken once for all of them.
			time.Sleep(time.Until(time.Now().Add(p.pause).Truncate(p.pause)))
		} else if err := p.conn.Wait(); err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l := p.owner.Load()
				l.post(func() { l.portFailed(p, err) })
			}
			return
		}
		select {
		case p.owner.Load().readable <- p:
		case <-p.moved:
			more = true
			continue
		case <-p.closed:
			return
		}
		select {
		case n := <-p.resume:
			count += n
			more = n >= drainBudget
		case <-p.closed:
			return
		}
		if elapsed := time.Since(since); elapsed > rateWindow {
			busy = time.Duration(count)*time.Second > busyRate*elapsed
			count, since = 0, time.Now()
		}
	}
}

// A member is a transport that belongs to a multicast group. *vrrpconn.Conn is one.
type member interface {
	CheckMembership() error
	Renew() error
}

var _ member = (*vrrpconn.Conn)(nil)

// tend sees to it that what is sent to the group arrives, as far as this host can:
// the interface can lose the membership without the socket noticing, and switches
// forget it where nobody asks. It ends when the port is closed.
func (p *port) tend(m member) {
	check := time.NewTicker(membershipCheck)
	defer check.Stop()
	renewed := time.Now()
	for {
		select {
		case <-p.closed:
			return
		case <-check.C:
		}
		err := m.CheckMembership()
		lost := errors.Is(err, vrrpconn.ErrNotMember)
		if !lost && time.Since(renewed) < membershipRenewal {
			continue
		}
		l := p.owner.Load()
		if lost {
			l.log.Warn("the multicast membership was lost; joining again", "interface", p.key.iface, "group", p.key.group, "error", err)
		}
		renewed = time.Now()
		if err := m.Renew(); err != nil && lost {
			l.post(func() { p.owner.Load().portFailed(p, err) })
		}
	}
}

// pause returns how long a busy socket may be left alone: half of the shortest
// skew time of the virtual routers here, which is how soon one of them may have
// to act on a priority of 0.
func (l *loop) pause() time.Duration {
	pause := maxPause
	for _, inst := range l.instances {
		pause = min(pause, vrrp.SkewTime(inst.cfg.Version, inst.cfg.Priority, inst.cfg.AdvertInterval)/2)
	}
	return max(pause, minPause)
}

// portFailed gives up a socket that cannot be waited on. Its users are in fault
// until another one could be opened.
func (l *loop) portFailed(p *port, err error) {
	if l.ports[p.key] != p {
		return
	}
	for _, inst := range l.instances {
		if inst.port == p {
			// The machine's last word may still get out: the sending socket is
			// another one.
			l.retrySocket(inst, err)
			l.detach(inst)
		}
	}
}
