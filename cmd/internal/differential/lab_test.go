package differential

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// patience is how long a scenario waits for what must happen.
const patience = 15 * time.Second

func TestMain(m *testing.M) { rig.Main(m) }

// The network of every scenario. The daemon runs on the router; the peer has no
// daemon and says what the scenario has it say.
var (
	routerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x0a}
	peerMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 0x0b}
)

const (
	router4 = "192.0.2.1"
	router6 = "fe80::ff:fe00:a" // made by the kernel from routerMAC
	global6 = "2001:db8::1"

	// The peer's addresses are the higher ones, and wins a tie.
	peer4      = "192.0.2.2"
	otherPeer4 = "192.0.2.3"
	peer6      = "fe80::ff:fe00:b"
	otherPeer6 = "fe80::ff:fe00:c"
	globalPeer = "2001:db8::2"
)

// A scenario is one configuration, in both languages, and what happens.
type scenario struct {
	name       string
	keepalived string       // keepalived.conf
	vipd       string       // YAML
	instances  []string     // whose states are compared; VI_1 if empty
	prepare    func(r *run) // before the daemon starts
	events     func(r *run)
	kinds      []Kind // at least one of each is sent
	lossy      bool   // the interface is down for a time, and what is sent then is lost
	changes    bool   // how often an advertisement is repeated is not compared
	anyOrder   bool   // all phases are in any order, see Phase.AnyOrder
	apart      bool   // virtual routers are compared one by one, and so are the kinds of announcements
	declared   []Declared
}

// A daemonKind is one of the two that are compared.
type daemonKind string

const (
	keepalivedDaemon daemonKind = "keepalived"
	vipdDaemon       daemonKind = "vipd"
)

// play runs the scenario with both daemons at the same time and judges.
func (s *scenario) play(t *testing.T) {
	t.Parallel()
	netiftest.Require(t)
	netiftest.RequireProgram(t, "keepalived")
	if strings.Contains(s.keepalived, desk) {
		requireUsers(t)
	}
	for n := 1; ; n++ {
		complaints, logs, worst := s.attempt(t)
		// keepalived starts its checks and its instances one after the other, and which
		// comes first is not always the same: once is no difference, twice is.
		if len(complaints) > 0 && (n == 1 || n < attempts && worst > standstill) {
			t.Logf("attempt %d: the machine held it up for %v at most; something was wrong, and it is tried again: %s",
				n, worst.Round(time.Millisecond), complaints[0])
			continue
		}
		for _, line := range logs {
			t.Log(line)
		}
		for _, complaint := range complaints {
			t.Error(complaint)
		}
		return
	}
}

// attempt plays the scenario once and returns what is wrong, what is to be known
// about it, and for how long the machine held it up at most.
func (s *scenario) attempt(t *testing.T) (complaints, logs []string, worst time.Duration) {
	kinds := [2]daemonKind{keepalivedDaemon, vipdDaemon}
	var runs [2]*run
	var tries [2]*attempt
	var both sync.WaitGroup
	for i, kind := range kinds {
		both.Go(func() {
			tries[i] = try(t, func(a *attempt) { runs[i] = s.run(a, kind) })
		})
	}
	both.Wait()
	for i, a := range tries {
		worst = max(worst, a.worst)
		for _, f := range a.failures {
			complaints = append(complaints, fmt.Sprintf("%v: %s", kinds[i], f))
		}
		for _, l := range a.logs {
			logs = append(logs, fmt.Sprintf("%v: %s", kinds[i], l))
		}
	}
	if runs[0] == nil || runs[1] == nil {
		return complaints, logs, worst
	}
	wrong := Judge(runs[0].phases, runs[1].phases, s.kinds, s.declared)
	for i, r := range runs {
		for _, p := range r.phases {
			logs = append(logs, fmt.Sprintf("%v, %s: %s", kinds[i], p.Name, p.Summary()))
		}
		if len(wrong) > 0 {
			logs = append(logs, fmt.Sprintf("%s:\n%s", r.daemon.Name(), r.daemon.Log()))
		}
	}
	return append(complaints, wrong...), logs, worst
}

// A run is a scenario with one of the daemons.
type run struct {
	t    *attempt
	s    *scenario
	kind daemonKind

	lab      *netiftest.Lab
	bridge   *netiftest.Bridge
	router   *netiftest.Node
	capture  *netiftest.Capture   // of the router's eth0
	beside   []*netiftest.Capture // of its other interfaces
	peer     *netiftest.Node
	injector *netiftest.Injector
	daemon   daemon // nil until it is started

	restarted time.Time // when the daemon was started again; zero if it was not

	dir        string // of a scenario whose configuration names it
	fifo, told *pipe

	base   []string // the router's addresses before the scenario
	marks  []mark
	phases []Phase
}

// A mark is the beginning of a phase, and what is known at its end.
type mark struct {
	Phase
	begin time.Time
}

func (s *scenario) run(t *attempt, kind daemonKind) *run {
	r := &run{t: t, s: s, kind: kind, lab: netiftest.Start(t)}
	var err error
	r.bridge, err = r.lab.Bridge("lan")
	r.ok(err)
	r.router, err = r.lab.Node("router")
	r.ok(err)
	r.peer, err = r.lab.Node("peer")
	r.ok(err)
	lo, err := r.peer.Netlink().LinkByName("lo")
	r.ok(err)
	r.ok(r.lab.Connect(r.router, "eth0", r.bridge, netiftest.Port{MAC: routerMAC, Addrs: prefixes(router4+"/24", global6+"/64")}))
	r.ok(r.lab.Connect(r.peer, "eth0", r.bridge, netiftest.Port{MAC: peerMAC,
		Addrs: prefixes(peer4+"/24", otherPeer4+"/24", globalPeer+"/64")}))
	t.watch(func() error { return r.peer.Netlink().LinkSetMTU(lo, lo.Attrs().MTU) })
	// A unicast advertisement shall not wait for its peer's hardware address:
	// whether the first announcement overtakes it would be chance.
	for _, a := range []string{peer4, otherPeer4, globalPeer, peer6} {
		r.neighbour(a)
	}
	r.injector, err = r.peer.Injector("eth0")
	r.ok(err)
	t.Cleanup(func() { _ = r.injector.Close() })
	r.capture, err = r.router.Capture("eth0")
	r.ok(err)
	r.settle(router6)
	if strings.Contains(s.keepalived, desk) {
		r.furnish()
	}
	if s.prepare != nil {
		s.prepare(r)
	}
	r.base = r.addresses()
	s.events(r)
	r.end()
	return r
}

// settle waits until the kernel has made a link-local address and taken it into
// use: what it tells of it changes until then.
func (r *run) settle(addr string) {
	r.t.Helper()
	rig.Eventually(r.t, patience, "the kernel uses "+addr, func() bool {
		list, err := r.router.Netlink().AddrList(nil, netlink.FAMILY_V6)
		r.ok(err)
		return slices.ContainsFunc(list, func(a netlink.Addr) bool {
			return a.IP.String() == addr && a.Flags&unix.IFA_F_TENTATIVE == 0
		})
	})
}

func (r *run) neighbour(addr string) {
	r.t.Helper()
	link, err := r.router.Netlink().LinkByName("eth0")
	r.ok(err)
	r.ok(r.router.Netlink().NeighAdd(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: net.ParseIP(addr), HardwareAddr: peerMAC, State: netlink.NUD_PERMANENT}))
}

func (r *run) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.fail("%v", err)
	}
}

// fail ends the run and shows what the daemon has sent; the rig shows its log.
func (r *run) fail(format string, args ...any) {
	r.t.Helper()
	if len(r.marks) > 0 {
		m := r.marks[len(r.marks)-1]
		r.t.Logf("sent in %q: %s", m.Name, strings.Join(texts(r.since(m.begin)), ", "))
	}
	r.t.Fatalf(format, args...)
}

// A daemon is one of the two that are compared, as it runs.
type daemon interface {
	rig.Daemon
	Done() <-chan struct{}
	WaitExit(testing.TB, time.Duration) int
}

// launch starts the daemon with the configuration of the scenario.
func (r *run) launch() daemon {
	r.t.Helper()
	if r.kind == keepalivedDaemon {
		return rig.StartKeepalived(r.t, r.router, strings.ReplaceAll(r.s.keepalived, desk, r.dir))
	}
	return rig.StartVIPD(r.t, r.router, strings.ReplaceAll(r.s.vipd, desk, r.dir))
}

// The verbs of scenarios.

// start begins the first phase and starts the daemon.
func (r *run) start(phase string) {
	r.t.Helper()
	r.phase(phase)
	r.daemon = r.launch()
}

// startBackup is start, and waits until the daemon is a backup.
func (r *run) startBackup(phase string) {
	r.t.Helper()
	r.start(phase)
	r.daemon.WaitState(r.t, "VI_1", control.StateBackup, patience)
}

// phase ends the phase before and begins another.
func (r *run) phase(name string) {
	r.t.Helper()
	begin := time.Now()
	r.close()
	r.marks = append(r.marks, mark{Phase: Phase{Name: name, AnyOrder: r.s.anyOrder}, begin: begin})
}

// phaseInAnyOrder is phase where something is due at the same time as something
// else; see Phase.AnyOrder.
func (r *run) phaseInAnyOrder(name string) {
	r.t.Helper()
	r.phase(name)
	r.now().AnyOrder = true
}

// close records what is known at the end of a phase.
func (r *run) close() {
	r.t.Helper()
	if len(r.marks) == 0 {
		return
	}
	m := r.now()
	if r.dir != "" {
		defer func() { m.Facts = append(m.Facts, r.notified()...) }()
	}
	m.Addresses = r.addresses()
	for _, a := range m.Addresses {
		if !slices.Contains(r.base, a) {
			m.Holds = append(m.Holds, strings.Fields(a)[0])
		}
	}
	select {
	case <-r.daemon.Done():
		m.Facts = append(m.Facts, fmt.Sprintf("exit %d", r.daemon.WaitExit(r.t, patience)))
		return
	default:
	}
	instances := r.s.instances
	if len(instances) == 0 {
		instances = []string{"VI_1"}
	}
	for _, name := range instances {
		if state := r.state(name); state != "" {
			m.Facts = append(m.Facts, fmt.Sprintf("%s is %s", name, state))
		} else {
			m.Facts = append(m.Facts, name+" says nothing")
		}
	}
}

// state returns the state of an instance. keepalived does not log every one, and
// then those that it has told count.
func (r *run) state(name string) control.State {
	if r.kind == keepalivedDaemon && r.dir != "" {
		return r.fifo.state(name)
	}
	return r.daemon.State(name)
}

// now returns the present phase.
func (r *run) now() *mark { return &r.marks[len(r.marks)-1] }

// end ends the last phase and cuts what was captured into phases, by the time
// stamps of the kernel.
func (r *run) end() {
	r.t.Helper()
	r.close()
	r.drain()
	all := r.sent(r.capture, "")
	for i, c := range r.beside {
		all = append(all, r.sent(c, fmt.Sprintf(" on eth%d", i+1))...)
	}
	// A daemon that was started again counts anew.
	earlier := func(f Frame) bool { return f.At.Before(r.restarted) }
	later := func(f Frame) bool { return !earlier(f) }
	r.ok(CheckIDs(slices.DeleteFunc(slices.Clone(all), later), r.s.lossy))
	r.ok(CheckIDs(slices.DeleteFunc(slices.Clone(all), earlier), r.s.lossy))
	if r.s.changes {
		all = changes(all)
	}
	if r.s.apart {
		slices.SortStableFunc(all, func(a, b Frame) int {
			return cmp.Or(cmp.Compare(a.VRID, b.VRID), cmp.Compare(a.Kind, b.Kind))
		})
	}
	for i, m := range r.marks {
		last := i+1 == len(r.marks)
		for _, f := range all {
			if !f.At.Before(m.begin) && (last || f.At.Before(r.marks[i+1].begin)) {
				m.Frames = append(m.Frames, f)
			}
		}
		r.phases = append(r.phases, m.Phase)
	}
}

// drain waits until everything that has been sent so far is captured: frames are
// in order, and one that the peer sends now is the last of them.
func (r *run) drain() {
	r.t.Helper()
	const experimental = 0x88b5 // an EtherType for local experiments
	r.ok(r.injector.Send(binary.BigEndian.AppendUint16(slices.Concat(routerMAC, peerMAC), experimental)))
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	_, err := r.capture.Wait(ctx, func(f netiftest.Frame) bool { return !f.Outgoing && f.EtherType() == experimental })
	r.ok(err)
}

// sent ends a capture and returns what the daemon has sent there, in order. The
// frames of several interfaces follow each other: between two networks there is
// no order, and the kernel's time stamps are not fine enough to make one up.
func (r *run) sent(c *netiftest.Capture, on string) []Frame {
	r.t.Helper()
	frames, err := c.Stop()
	r.ok(err)
	var out []Frame
	for _, raw := range frames {
		if !raw.Outgoing {
			continue
		}
		f, err := Decode(raw.Data, raw.At)
		if err != nil {
			r.fail("%v: %x", err, raw.Data)
		}
		if f.Kind != KindKernel {
			f.Text += on
			out = append(out, f)
		}
	}
	return out
}

// fact notes something that is to be compared.
func (r *run) fact(format string, args ...any) {
	m := r.now()
	m.Facts = append(m.Facts, fmt.Sprintf(format, args...))
}

// since returns what the router has sent from then on.
func (r *run) since(begin time.Time) []Frame {
	var out []Frame
	for _, raw := range r.capture.Frames() {
		if f, err := Decode(raw.Data, raw.At); err == nil && raw.Outgoing && f.Kind != KindKernel && !f.At.Before(begin) {
			out = append(out, f)
		}
	}
	return out
}

// adverts and announcements tell the frames that are waited for.
func adverts(f Frame) bool       { return f.Kind == KindAdvert }
func announcements(f Frame) bool { return f.Kind == KindARP || f.Kind == KindNA }

// await waits until the router has sent n frames of some kind in this phase, and
// returns the last of them.
func (r *run) await(n int, what func(Frame) bool) Frame {
	r.t.Helper()
	begin := r.now().begin
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var last Frame
	_, err := r.capture.WaitN(ctx, n, func(raw netiftest.Frame) bool {
		if !raw.Outgoing || raw.At.Before(begin) {
			return false
		}
		f, err := Decode(raw.Data, raw.At)
		if err != nil || !what(f) {
			return false
		}
		last = f
		return true
	})
	if err != nil {
		r.fail("%q: %v", r.now().Name, err)
	}
	return last
}

// quiet goes on recording for a while: what is not sent in that time is as much
// a part of the comparison as what is.
func (r *run) quiet(d time.Duration) {
	r.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.t.Context().Done():
		r.fail("%v", r.t.Context().Err())
	}
}

// terminate ends the daemon with SIGTERM and waits for it.
func (r *run) terminate() {
	r.t.Helper()
	r.daemon.Stop(r.t)
}

// speak has the peer say something n times, from now on.
func (r *run) speak(n int, every time.Duration, said said) {
	r.t.Helper()
	for range n {
		r.inject(said)
		r.quiet(every)
	}
}

// speakFor has the peer say something until a time is over.
func (r *run) speakFor(d, every time.Duration, said said) {
	r.t.Helper()
	for begin := time.Now(); time.Since(begin) < d; {
		r.inject(said)
		r.quiet(every)
	}
}

// How far a time that is measured may be from what it should be. The machine may
// be busy, so that it is later; earlier it is only because time stamps are taken
// a little beside what they are for.
const (
	early = 60 * time.Millisecond
	late  = 600 * time.Millisecond
)

// after checks a time that both daemons have to keep.
func (r *run) after(what string, d, want time.Duration) {
	r.t.Helper()
	r.t.Logf("%s after %v", what, d.Round(10*time.Microsecond))
	if d < want-early || d > want+late {
		r.t.Errorf("%s after %v, want %v", what, d, want)
	}
}

// joined returns when the kernel first reported a group of this phase to the
// network: the daemon has opened its sockets and starts.
func (r *run) joined() time.Time {
	r.t.Helper()
	for _, raw := range r.capture.Frames() {
		if f, err := Decode(raw.Data, raw.At); err == nil && raw.Outgoing && !f.At.Before(r.now().begin) &&
			(f.Text == kernelRules[0].name || f.Text == kernelRules[1].name) {
			return f.At
		}
	}
	r.fail("%q: no multicast group was joined", r.now().Name)
	return time.Time{}
}

// heard returns when the router heard the last advertisement of the peer.
func (r *run) heard() time.Time {
	r.t.Helper()
	for _, raw := range slices.Backward(r.capture.Frames()) {
		if f, err := Decode(raw.Data, raw.At); err == nil && !raw.Outgoing && f.Kind == KindAdvert {
			return f.At
		}
	}
	r.fail("%q: nothing was heard", r.now().Name)
	return time.Time{}
}

// A said is an advertisement that the peer sends. The zero value of a field is
// what belongs there.
type said struct {
	vrrp.Advertisement
	src, dst netip.Addr
	summed   netip.Addr // the destination that the checksum is for; dst
	checksum uint16     // added to the right one
	ttl      uint8      // 255
	pad      int        // the frame is padded to that length
}

// inject has the peer send advertisements, whatever they are.
func (r *run) inject(said ...said) {
	r.t.Helper()
	for _, s := range said {
		r.ok(r.injector.Send(s.frame(r.t)))
	}
}

func (s said) frame(t testing.TB) []byte {
	t.Helper()
	if !s.summed.IsValid() {
		s.summed = s.dst
	}
	zero := s.Interval == 0 // cannot be encoded, and so is put in afterwards
	if zero {
		s.Interval = 10 * time.Millisecond
		s.checksum++
	}
	pdu, err := s.AppendTo(nil, s.src, s.summed, vrrp.ChecksumPseudoHeader)
	if err != nil {
		t.Fatal(err)
	}
	if zero {
		pdu[5] = 0
	}
	binary.BigEndian.PutUint16(pdu[6:], binary.BigEndian.Uint16(pdu[6:])+s.checksum)
	if s.ttl == 0 {
		s.ttl = 255
	}
	var b []byte
	switch {
	case !s.dst.IsMulticast():
		b = append(b, routerMAC...)
	case s.dst.Is4():
		d := s.dst.As4()
		b = append(b, 1, 0, 0x5e, d[1]&0x7f, d[2], d[3])
	default:
		d := s.dst.As16()
		b = append(append(b, 0x33, 0x33), d[12:]...)
	}
	b = append(b, peerMAC...)
	if s.dst.Is4() {
		b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
		header := append([]byte{0x45, 0xc0, 0, 0, 0, 1, 0, 0, s.ttl, protocolVRRP, 0, 0}, append(s.src.AsSlice(), s.dst.AsSlice()...)...)
		binary.BigEndian.PutUint16(header[2:], uint16(ipv4Len+len(pdu)))
		binary.BigEndian.PutUint16(header[10:], internetChecksum(header))
		b = append(b, header...)
	} else {
		b = binary.BigEndian.AppendUint16(b, etherTypeIPv6)
		b = append(b, 0x6c, 0, 0, 0, 0, byte(len(pdu)), protocolVRRP, s.ttl)
		b = append(append(b, s.src.AsSlice()...), s.dst.AsSlice()...)
	}
	b = append(b, pdu...)
	for len(b) < s.pad {
		b = append(b, 0)
	}
	return b
}

// addresses returns a line for each address of the router, in the kernel's
// order, with everything that one netlink dump tells of it but IFA_PROTO.
func (r *run) addresses() []string {
	r.t.Helper()
	nl := r.router.Netlink()
	list, err := nl.AddrList(nil, netlink.FAMILY_ALL)
	r.ok(err)
	out := []string{}
	for _, a := range list {
		link, err := nl.LinkByIndex(a.LinkIndex)
		r.ok(err)
		line := fmt.Sprintf("%v dev %s flags %#x scope %d label %q preferred %d valid %d", a.IPNet, link.Attrs().Name, a.Flags, a.Scope, a.Label, a.PreferedLft, a.ValidLft)
		if a.Broadcast != nil {
			line += fmt.Sprint(" broadcast ", a.Broadcast)
		}
		if a.Peer != nil {
			line += fmt.Sprint(" peer ", a.Peer)
		}
		out = append(out, line)
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}
