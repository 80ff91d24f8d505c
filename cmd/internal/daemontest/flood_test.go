package daemontest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// floodRate is how many frames a second are injected.
const floodRate = 10000

// A bogus is one kind of datagram that must be refused.
type bogus struct {
	name string
	// reason is the counter it is counted by: a check, "unknown" for another
	// virtual router, "any" if that is left to chance, or "" if the kernel
	// already drops it.
	reason string
	make   func(r *rand.Rand) []byte // the whole frame
}

// A victim is a virtual router that bogus datagrams pretend to belong to.
type victim struct {
	vrrp.Advertisement
}

// bogusKinds returns every kind of datagram that the receive checks refuse
// (RFC 9568 §7.1, in keepalived's order), for one virtual router.
func (v victim) bogusKinds(t *testing.T, router netip.Addr) []bogus {
	group := vrrp.IPv4.Group()
	// source varies, so that what is remembered by sender is put to the test. The
	// host's own address is left out.
	source := func(r *rand.Rand) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 150 + byte(r.IntN(100))}) }
	pdu := func(src netip.Addr, change func(*vrrp.Advertisement)) []byte {
		a := v.Advertisement
		a.Priority = 250 // whoever believes it yields
		if change != nil {
			change(&a)
		}
		b, err := a.AppendTo(nil, src, group, vrrp.ChecksumPseudoHeader)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	plain := func(change func(p *packet, b []byte)) func(*rand.Rand) []byte {
		return func(r *rand.Rand) []byte {
			p := packet{src: source(r), dst: group, ttl: vrrp.HopLimit}
			p.payload = pdu(p.src, nil)
			change(&p, p.payload)
			if len(p.payload) >= 8 {
				v.sum(p.payload, p.src, group)
			}
			return p.frame()
		}
	}
	advert := func(change func(*vrrp.Advertisement)) func(*rand.Rand) []byte {
		return func(r *rand.Rand) []byte {
			src := source(r)
			return packet{src: src, dst: group, ttl: vrrp.HopLimit, payload: pdu(src, change)}.frame()
		}
	}
	kinds := []bogus{
		{"truncated", "truncated", plain(func(p *packet, b []byte) { p.payload = b[:7] })},
		{"shorter than its addresses", "wrong_length", plain(func(p *packet, b []byte) { b[3]++ })},
		{"longer than its addresses", "wrong_length", plain(func(p *packet, b []byte) { p.payload = append(b, make([]byte, 28)...) })},
		{"TTL", "wrong_TTL", plain(func(p *packet, b []byte) { p.ttl = 254 })},
		{"a version that does not exist", "wrong_version", plain(func(p *packet, b []byte) { b[0] = 0x41 })},
		{"a message that is not an advertisement", "wrong_message_type", plain(func(p *packet, b []byte) { b[0]++ })},
		{"a total length that cuts it", "wrong_length", plain(func(p *packet, b []byte) { p.total = 20 + len(b) - 4 })},
		{"a total length beyond the frame", "", plain(func(p *packet, b []byte) { p.total = 20 + len(b) + 4 })},
		{"checksum", "bad_checksum", func(r *rand.Rand) []byte {
			p := packet{src: source(r), dst: group, ttl: vrrp.HopLimit}
			p.payload = pdu(p.src, nil)
			p.payload[6] ^= 0x55
			return p.frame()
		}},
		{"to this router alone", "", plain(func(p *packet, b []byte) { p.dst = router })},
		{"to another group", "", plain(func(p *packet, b []byte) { p.dst = netip.AddrFrom4([4]byte{224, 0, 0, 19}) })},
		{"of an unknown virtual router", "unknown", advert(func(a *vrrp.Advertisement) { a.VRID = 99 })},
		{"nothing but a version and an unknown virtual router", "unknown", plain(func(p *packet, b []byte) { p.payload = []byte{0x31, 98} })},
	}
	if v.Version == vrrp.V3 {
		return append(kinds, bogus{"an interval of zero", "interval_of_zero", advert(func(a *vrrp.Advertisement) { a.Interval = 0 })})
	}
	return append(kinds,
		bogus{"an authentication type that does not exist", "invalid_authentication_type", plain(func(p *packet, b []byte) { b[4] = 7 })},
		bogus{"no authentication", "authentication_type_mismatch", advert(func(a *vrrp.Advertisement) { a.AuthType = vrrp.AuthNone })},
		bogus{"another password", "authentication_failed", advert(func(a *vrrp.Advertisement) { a.AuthData[0]++ })},
		bogus{"another interval", "interval_mismatch", advert(func(a *vrrp.Advertisement) { a.Interval += time.Second })},
	)
}

// sum gives a message the checksum that fits what it says now.
func (v victim) sum(b []byte, src, dst netip.Addr) {
	b[6], b[7] = 0, 0
	var sum uint32
	add := func(b []byte) {
		for i := 0; i < len(b); i += 2 {
			if i+1 == len(b) {
				sum += uint32(b[i]) << 8
				break
			}
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	add(b)
	if v.Version == vrrp.V3 {
		add(src.AsSlice())
		add(dst.AsSlice())
		sum += vrrp.Protocol + uint32(len(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[6:], ^uint16(sum))
}

// noise returns random octets as a message to one virtual router.
func noise(vrid byte) func(r *rand.Rand) []byte {
	return func(r *rand.Rand) []byte {
		p := packet{src: addr("192.0.2.149"), dst: vrrp.IPv4.Group(), ttl: byte(r.Uint32()), payload: make([]byte, 2+r.IntN(100))}
		for i := range p.payload {
			p.payload[i] = byte(r.Uint32())
		}
		p.payload[1] = vrid
		return p.frame()
	}
}

// A flood injects frames at a rate.
type flood struct {
	kinds  []bogus
	sent   []atomic.Uint64 // by kind
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// pour begins to inject all kinds in turn.
func (s *segment) pour(kinds []bogus) *flood {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	f := &flood{kinds: kinds, sent: make([]atomic.Uint64, len(kinds)), cancel: cancel, done: make(chan struct{})}
	inj := s.injector()
	// Some of each kind, made beforehand: making them would take the time of
	// those who are measured.
	r := rand.New(rand.NewPCG(1, 2))
	frames := make([][][]byte, len(kinds))
	for k, kind := range kinds {
		for range 64 {
			frames[k] = append(frames[k], kind.make(r))
		}
	}
	go func() {
		defer close(f.done)
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		begin := time.Now()
		for n := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// A burst after a pause would be another test.
			want := int(time.Since(begin) * floodRate / time.Second)
			if want-n > floodRate/20 {
				begin = begin.Add(time.Duration(want-n-floodRate/20) * time.Second / floodRate)
				want = n + floodRate/20
			}
			for ; n < want; n++ {
				k := n % len(kinds)
				if f.err = inj.Send(frames[k][n/len(kinds)%len(frames[k])]); f.err != nil {
					return
				}
				f.sent[k].Add(1)
			}
		}
	}()
	s.t.Cleanup(f.stop)
	return f
}

func (f *flood) stop() {
	f.cancel()
	<-f.done
}

// A witness counts the datagrams that the kernel of a node delivers to sockets
// of protocol 112 on eth0, those it has no room for included.
type witness struct {
	conn  *vrrpconn.Conn
	count atomic.Uint64
	wg    sync.WaitGroup
}

func (s *segment) witness(n *netiftest.Node) *witness {
	s.t.Helper()
	w := &witness{}
	index := link(s.t, n, "eth0").Attrs().Index
	check(s.t, n.Do(func() (err error) {
		w.conn, err = vrrpconn.Open(vrrpconn.Config{
			Interface: "eth0", Index: index, Family: vrrp.IPv4, Group: vrrp.IPv4.Group(), ReceiveBuffer: 8 << 20,
		})
		return err
	}))
	w.wg.Go(func() {
		ds := make([]vrrpconn.Datagram, 64)
		for {
			if err := w.conn.Wait(); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					s.t.Error(err)
				}
				return
			}
			n, err := w.conn.Recv(ds)
			if err != nil && !errors.Is(err, net.ErrClosed) {
				s.t.Error(err)
			}
			w.count.Add(uint64(n))
		}
	})
	s.t.Cleanup(func() {
		_ = w.conn.Close()
		w.wg.Wait()
	})
	return w
}

func (w *witness) total() uint64 { return w.count.Load() + w.conn.Drops() }

// counted is what a daemon says has become of all datagrams on its only socket.
type counted struct {
	drops               map[string]uint64
	accepted            uint64
	unknown, socketFull uint64
}

func (d *daemon) counted() counted {
	d.t.Helper()
	c := counted{drops: make(map[string]uint64)}
	for _, i := range d.status().Instances {
		for reason, n := range i.Counters.Drops {
			c.drops[reason] += n
		}
		c.accepted += i.Counters.Received
		// Of the socket, which both instances share.
		c.unknown, c.socketFull = i.Counters.UnknownVRID, i.Counters.SocketDrops
	}
	return c
}

func (c counted) total() uint64 {
	total := c.accepted + c.unknown + c.socketFull
	for _, n := range c.drops {
		total += n
	}
	return total
}

// gaps returns the longest time between two advertisements of one router in a
// period, and how many there were.
func (w *wire) gaps(src string, vrid uint8, begin, end time.Time) (longest time.Duration, n int) {
	last := begin
	for _, a := range w.adverts(func(a advert) bool { return from(src, begin)(a) && a.VRID == vrid && a.at.Before(end) }) {
		longest = max(longest, a.at.Sub(last))
		last = a.at
		n++
	}
	return max(longest, end.Sub(last)), n
}

// keepalivedBackup is a keepalived that is the last to become master. It has the
// instance of version 2 only: in version 3 it learns an interval of zero, and
// becomes master at once, over and over.
const keepalivedBackup = `
vrrp_instance TWO {
    interface eth0
    virtual_router_id 51
    version 2
    priority 1
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass secret
    }
    virtual_ipaddress {
        192.0.2.10/24
        192.0.2.11/24
    }
}
`

// silentKeepalived starts a keepalived whose log goes nowhere: it writes a line
// for each packet, and whoever takes them would be the one under load.
func silentKeepalived(t *testing.T, n *netiftest.Node) {
	t.Helper()
	dir := t.TempDir()
	cmd := n.Command(t.Context(), netiftest.RequireProgram(t, "keepalived"), "--dont-fork", "--log-console", "--no-syslog", "--vrrp",
		"--use-file", write(t, "keepalived.conf", keepalivedBackup),
		"--pid", filepath.Join(dir, "pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"), "--checkers_pid", filepath.Join(dir, "checkers.pid"))
	check(t, cmd.Start())
	t.Cleanup(cmd.Stop)
}

// TestAFloodOfInvalidPacketsChangesNothing is not parallel to others: it is about
// what happens when.
func TestAFloodOfInvalidPacketsChangesNothing(t *testing.T) {
	const (
		quiet    = 4 * time.Second // of flood, before a better master comes
		v2Period = time.Second
		v3Period = 500 * time.Millisecond
	)
	// The priorities are far apart, so that it is clear who is next.
	yaml := func(priority int) string {
		return fmt.Sprintf(`
vrrp_instance:
  TWO:
    interface: eth0
    virtual_router_id: 51
    version: 2
    priority: %[1]d
    advert_int: 1
    hold_on_mismatch: off # some of the flood is a master whose interval differs
    authentication: {auth_type: PASS, auth_pass: secret}
    virtual_ipaddress: [192.0.2.10/24, 192.0.2.11/24]
  THREE:
    interface: eth0
    virtual_router_id: 52
    priority: %[1]d
    advert_int: 0.5
    virtual_ipaddress: [192.0.2.20/24, 192.0.2.21/24]
`, priority)
	}
	names := []string{"TWO", "THREE"}
	victims := []victim{
		{vrrp.Advertisement{
			Version: vrrp.V2, VRID: 51, Interval: v2Period, AuthType: vrrp.AuthPass, AuthData: [8]byte([]byte("secret\x00\x00")),
			Addrs: []netip.Addr{addr("192.0.2.10"), addr("192.0.2.11")},
		}},
		{vrrp.Advertisement{Version: vrrp.V3, VRID: 52, Interval: v3Period, Addrs: []netip.Addr{addr("192.0.2.20"), addr("192.0.2.21")}}},
	}

	s := newSegment(t)
	r1, r2, r3 := s.router(1), s.router(2), s.router(3)
	w1, w2 := s.witness(r1), s.witness(r2)
	d1, d2 := start(t, r1, yaml(200)), start(t, r2, yaml(40))
	if _, err := exec.LookPath("keepalived"); err == nil || os.Getenv("CI") == "true" {
		silentKeepalived(t, r3)
	}
	for _, name := range names {
		d1.instanceIs(name, control.StateMaster)
		rig.Eventually(t, patience, "the backup has heard the master of "+name, func() bool {
			i := d2.instance(name)
			return i.State == control.StateBackup && i.Master != nil && i.Master.Priority == 200
		})
	}

	kinds := []bogus{{"noise", "any", noise(51)}, {"noise", "any", noise(52)}, {"noise", "unknown", noise(97)}}
	for _, v := range victims {
		kinds = append(kinds, v.bogusKinds(t, addr("192.0.2.1"))...)
	}
	before1 := d1.counted()
	begin := time.Now()
	f := s.pour(kinds)
	steady := func() string {
		for _, name := range names {
			if i := d1.instance(name); i.State != control.StateMaster {
				return fmt.Sprintf("the master of %s is %s: %s", name, i.State, i.Reason.Text)
			}
			if i := d2.instance(name); i.State != control.StateBackup {
				return fmt.Sprintf("the backup of %s is %s: %s", name, i.State, i.Reason.Text)
			}
		}
		return ""
	}
	always(t, quiet, steady)
	end := time.Now()

	// A better master, in the middle of it.
	inj := s.injector()
	for _, v := range victims {
		v.Priority = 250
		say(t, inj, "192.0.2.140", v.Advertisement)
	}
	yielded := time.Now()
	for _, name := range names {
		i := d1.instanceIs(name, control.StateBackup)
		if took := i.Since.Sub(yielded); took > quick || i.Reason.Kind != "higher-priority" {
			t.Errorf("%s yielded after %s for %q", name, took, i.Reason.Text)
		}
	}
	// And its silence, which the flood must not break.
	for _, name := range names {
		i := d1.instanceIs(name, control.StateMaster)
		if !slices.Contains([]string{"master-silent", "preempt"}, i.Reason.Kind) {
			t.Errorf("%s is master again for %q", name, i.Reason.Text)
		}
	}
	again := time.Now()
	always(t, time.Second, steady)
	f.stop()
	over := time.Now()
	check(t, f.err)

	sent, delivered := uint64(0), uint64(0)
	byReason, chance := make(map[string]uint64), uint64(0)
	for k := range kinds {
		n := f.sent[k].Load()
		sent += n
		switch reason := kinds[k].reason; reason {
		case "":
			continue
		case "any":
			chance += n
		default:
			byReason[reason] += n
		}
		delivered += n
	}
	rate := float64(sent) / over.Sub(begin).Seconds()
	t.Logf("%d frames of %d kinds injected, %.0f a second", sent, len(kinds), rate)
	if rate < floodRate/5 { // a machine that is busy with other things
		t.Errorf("only %.0f frames a second were injected", rate)
	}

	// The capture has caught up when it has an advertisement of after the flood.
	for _, v := range victims {
		s.wire.advert("after the flood", func(a advert) bool { return from("192.0.2.1", over)(a) && a.VRID == v.VRID })
	}
	// The counters of the master: what came, and what became of it, add up. Of
	// its peers the better one has been heard, and keepalived, if it has lost
	// track in the flood and takes itself for the master.
	peers := uint64(len(s.wire.adverts(func(a advert) bool {
		return slices.Contains([]string{"192.0.2.2", "192.0.2.3", "192.0.2.140"}, a.src.String()) && a.at.After(begin)
	})))
	var c1 counted
	rig.Eventually(t, patience, "all is counted", func() bool {
		c1 = d1.counted()
		return c1.total() == w1.total()
	})
	t.Logf("the master: %d accepted, %d unknown, %d without room, drops %v", c1.accepted, c1.unknown, c1.socketFull, c1.drops)
	if got, want := c1.total()-before1.total(), delivered+peers; got != want {
		t.Errorf("the master has counted %d datagrams, %d were injected and its peers have sent %d", got, delivered, peers)
	}
	if got := c1.accepted - before1.accepted; got > peers || got+c1.socketFull < peers {
		t.Errorf("the master has accepted %d advertisements, its peers have sent %d", got, peers)
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		got, want := c1.drops[reason]-before1.drops[reason], byReason[reason]
		if reason == "unknown" {
			got = c1.unknown - before1.unknown
		}
		if got > want+chance || got+c1.socketFull < want {
			t.Errorf("the master has dropped %d datagrams as %s, want %d (less what of %d there was no room for)", got, reason, want, c1.socketFull)
		}
	}
	// The backup hears the master besides.
	var c2 counted
	rig.Eventually(t, patience, "all is counted on the backup", func() bool {
		heard := w2.total()
		c2 = d2.counted()
		return c2.total() == heard && heard == w2.total()
	})
	t.Logf("the backup: %d accepted, %d unknown, %d without room", c2.accepted, c2.unknown, c2.socketFull)

	for i, period := range []time.Duration{v2Period, v3Period} {
		for _, span := range [][2]time.Time{{begin, end}, {again, over}} {
			gap, n := s.wire.gaps("192.0.2.1", victims[i].VRID, span[0], span[1])
			t.Logf("%s: %d advertisements in %s, longest gap %s", names[i], n, span[1].Sub(span[0]).Round(time.Millisecond), gap)
			if gap > period*3/2 {
				t.Errorf("%s: %s without an advertisement, the interval is %s", names[i], gap, period)
			}
		}
	}

	for _, d := range []*daemon{d1, d2} {
		for _, name := range names {
			if n := d.lines("instance=" + name); n > 60 {
				t.Errorf("%s has logged %d lines on %s", d.Node().Name(), n, name)
			}
		}
		t.Logf("%s has logged %d lines", d.Node().Name(), strings.Count(d.Log(), "\n"))
	}
	for _, name := range names {
		if got, want := path(d1.instance(name)), "init backup master backup master"; got != want {
			t.Errorf("the master of %s went %s, want %s", name, got, want)
		}
		if got, want := path(d2.instance(name)), "init backup"; got != want {
			t.Errorf("the backup of %s went %s, want %s", name, got, want)
		}
	}
}
