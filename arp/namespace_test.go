package arp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/arp"
)

// inNamespace marks a test binary that runs in a namespace of its own.
const inNamespace = "VIPD_ARP_TEST_NAMESPACE"

// ownNamespace runs the rest of the test in a user and network namespace that
// has nothing but a loopback interface: it starts the test binary again for this
// one test, and returns false in the parent, which is done then.
func ownNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Logf("in a namespace:\n%s", out)
	case err == nil && strings.Contains(string(out), "--- SKIP: "+t.Name()):
		t.Skipf("in a namespace:\n%s", out)
	case err == nil || errors.As(err, &exit):
		t.Fatalf("in a namespace: %v\n%s", err, out)
	case os.Getenv("CI") == "true":
		t.Fatalf("no namespace to run in: %v", err)
	default:
		t.Skipf("no namespace to run in: %v", err)
	}
	return false
}

// A cable is a veth pair without any address, both ends up.
type cable struct{ near, far netlink.Link }

// newCable makes a cable in the namespace of the test.
func newCable(t *testing.T) cable {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "far"}
	veth.Name = "near"
	veth.HardwareAddr = net.HardwareAddr(router[:])
	// One queue each, so that the order of the frames is the order of sending.
	veth.NumTxQueues, veth.NumRxQueues = 1, 1
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	var c cable
	for name, end := range map[string]*netlink.Link{"near": &c.near, "far": &c.far} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
		*end = link
	}
	c.wait(t)
	return c
}

// wait waits until both ends are operational: until the kernel has taken notice
// of the carrier, it drops what is sent and says that it was sent.
func (c cable) wait(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !isUp(t, c.near) || !isUp(t, c.far); {
		if time.Now().After(deadline) {
			t.Fatal("the cable does not come up")
		}
	}
}

// isUp reports whether the kernel calls an interface operational.
func isUp(t *testing.T, link netlink.Link) bool {
	t.Helper()
	now, err := netlink.LinkByIndex(link.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	return now.Attrs().OperState == netlink.OperUp
}

// throttle gives the near end a queue that holds limit octets and lets two
// frames through at once and then about one in 40 ms.
func (c cable) throttle(t *testing.T, limit uint32) netlink.Qdisc {
	t.Helper()
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: c.near.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       1000,
		Buffer:     uint32(100 * time.Millisecond / 64), // in the kernel's ticks of 64 ns
		Limit:      limit,
	}
	if err := netlink.QdiscReplace(q); err != nil {
		if errors.Is(err, unix.ENOENT) && os.Getenv("CI") != "true" {
			t.Skip("the kernel has no token bucket filter (sch_tbf)")
		}
		t.Fatalf("adding a queue: %v", err)
	}
	return q
}

// listen opens a socket on the far end that sees every frame.
func (c cable) listen(t *testing.T) *packet.Conn {
	t.Helper()
	far, err := packet.Listen(&net.Interface{Index: c.far.Attrs().Index}, packet.Raw, unix.ETH_P_ALL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := far.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return far
}

// open opens a Conn on the near end.
func (c cable) open(t *testing.T) *arp.Conn {
	t.Helper()
	conn, err := arp.Open(c.near.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return conn
}

// wantFrames reads announcements from far until it has seen all of want, in
// order. Whatever else the kernel says on a new interface is passed over.
func wantFrames(t *testing.T, far *packet.Conn, want [][]byte) {
	t.Helper()
	b := make([]byte, 2048)
	for i := 0; i < len(want); {
		n, _, err := far.ReadFrom(b)
		if err != nil {
			t.Fatalf("after %d of %d frames: %v", i, len(want), err)
		}
		if _, ok := announced(b[:n]); !ok {
			continue
		}
		if string(b[:n]) != string(want[i]) {
			t.Errorf("frame %d:\n got %x\nwant %x", i, b[:n], want[i])
		}
		i++
	}
}

// announcements returns a frame for each of the addresses.
func announcements(addrs ...string) [][]byte {
	frames := make([][]byte, len(addrs))
	for i, a := range addrs {
		frames[i] = arp.AppendAnnouncement(nil, router, netip.MustParseAddr(a), false)
	}
	return frames
}

func TestFramesArriveAsTheyWereBuilt(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	far, conn := c.listen(t), c.open(t)

	frames := announcements("192.0.2.1", "2001:db8::1", "192.0.2.2", "fe80::54")
	if n, err := conn.Send(frames); n != len(frames) || err != nil {
		t.Fatalf("sent %d of %d: %v", n, len(frames), err)
	}
	wantFrames(t, far, frames)
}

func TestTheCapturedAnnouncementsArriveAsTheyWereCaptured(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	far, conn := c.listen(t), c.open(t)

	for _, name := range []string{"v2-multicast-two-vips-lifecycle.pcap", "v3-ipv6.pcap"} {
		var built, captured [][]byte
		for _, a := range readCapture(t, name) {
			built = append(built, arp.AppendAnnouncement(nil, router, a.addr, false))
			captured = append(captured, a.frame)
		}
		if len(captured) == 0 {
			t.Fatalf("%s holds no announcement", name)
		}
		if n, err := conn.Send(built); n != len(built) || err != nil {
			t.Fatalf("%s: sent %d of %d: %v", name, n, len(built), err)
		}
		wantFrames(t, far, captured)
	}
}

func TestTheFramesCarryTheirProtocol(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	conn := c.open(t)
	// A socket for one protocol sees on its own interface what is sent with it.
	for _, tt := range []struct {
		protocol int
		addr     string
	}{{unix.ETH_P_ARP, "192.0.2.1"}, {unix.ETH_P_IPV6, "2001:db8::1"}} {
		far, err := packet.Listen(&net.Interface{Index: c.far.Attrs().Index}, packet.Raw, tt.protocol, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := far.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		frames := announcements(tt.addr)
		if n, err := conn.Send(frames); n != 1 || err != nil {
			t.Fatalf("sent %d of 1: %v", n, err)
		}
		wantFrames(t, far, frames)
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAConnReceivesNothing(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	conn, far := c.open(t), c.listen(t)

	// The far end is flooded by us, and we by it.
	back, err := arp.Open(c.far.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := back.Close(); err != nil {
			t.Error(err)
		}
	}()
	frames := announcements("192.0.2.1", "2001:db8::1")
	for range 100 {
		for _, from := range []*arp.Conn{conn, back} {
			if n, err := from.Send(frames); n != len(frames) || err != nil {
				t.Fatalf("sent %d of %d: %v", n, len(frames), err)
			}
		}
	}
	wantFrames(t, far, frames)
	for name, s := range map[string]*arp.Conn{"near": conn, "far": back} {
		if got, err := s.Received(); got != 0 || err != nil {
			t.Errorf("the %s end received %d frames, %v", name, got, err)
		}
	}
}

func TestFiveThousandFramesGoOutInOneCall(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	conn := c.open(t)

	const n = 5000
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = arp.AppendGratuitous(nil, router, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	before := c.received(t)
	start := time.Now()
	if got, err := conn.Send(frames); got != n || err != nil {
		t.Fatalf("sent %d of %d: %v", got, n, err)
	}
	t.Logf("%d frames in %v", n, time.Since(start))
	// The far end is told by a softirq, which may come after the call.
	for deadline := time.Now().Add(10 * time.Second); ; {
		got := c.received(t) - before
		if got >= n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d frames arrived", got, n)
		}
	}
}

// received returns how many frames the far end has received.
func (c cable) received(t *testing.T) uint64 {
	t.Helper()
	link, err := netlink.LinkByIndex(c.far.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs().Statistics.RxPackets
}

func TestAFrameThatIsRefusedDoesNotStopTheOthers(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	far, conn := c.listen(t), c.open(t)

	good := announcements("192.0.2.1", "192.0.2.2")
	tooLong := append(announcements("192.0.2.3")[0], make([]byte, 9000)...)
	n, err := conn.Send([][]byte{nil, good[0], tooLong, good[1]})
	if n != 2 || !errors.Is(err, unix.EINVAL) {
		t.Errorf("sent %d, %v, want 2 and the first refusal, %v", n, err, unix.EINVAL)
	}
	wantFrames(t, far, good)
}

func TestAnInterfaceThatIsDownOrGoneIsAnErrorThatSaysSo(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	far, conn := c.listen(t), c.open(t)
	frames := announcements("192.0.2.1", "192.0.2.2")

	if err := netlink.LinkSetDown(c.near); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Send(frames); n != 0 || !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("down: sent %d, %v, want %v", n, err, unix.ENETDOWN)
	}

	// The first Send after the return works: no error is left over.
	if err := netlink.LinkSetUp(c.near); err != nil {
		t.Fatal(err)
	}
	c.wait(t)
	if n, err := conn.Send(frames); n != len(frames) || err != nil {
		t.Errorf("up again: sent %d, %v", n, err)
	}
	wantFrames(t, far, frames)

	if err := netlink.LinkDel(c.near); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Send(frames); n != 0 || !errors.Is(err, unix.ENXIO) {
		t.Errorf("gone: sent %d, %v, want %v", n, err, unix.ENXIO)
	}
	if _, err := arp.Open(c.near.Attrs().Index); !errors.Is(err, unix.ENODEV) {
		t.Errorf("opening what is gone: %v, want %v", err, unix.ENODEV)
	}

	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if n, err := conn.Send(frames); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: sent %d, %v, want %v", n, err, net.ErrClosed)
	}
}

func TestAnInterfaceThatTakesNothingDoesNotBlock(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	conn := c.open(t)

	queue := c.throttle(t, 1<<30)
	frame := announcements("192.0.2.1")[0]
	frames := make([][]byte, 20_000)
	for i := range frames {
		frames[i] = frame
	}
	start := time.Now()
	n, err := conn.Send(frames)
	if n == 0 || n == len(frames) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("sent %d of %d, %v, want some and %v", n, len(frames), err, os.ErrDeadlineExceeded)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("blocked for %v", took)
	}

	// Room made, the same Conn sends again.
	if err := netlink.QdiscDel(queue); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Send(frames[:1]); n != 1 || err != nil {
		t.Errorf("after the queue was emptied: sent %d of 1: %v", n, err)
	}
}

func TestFramesThatFindTheQueueFullAreLostWithoutAnError(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	c := newCable(t)
	conn := c.open(t)

	c.throttle(t, 420)
	frame := announcements("192.0.2.1")[0]
	frames := make([][]byte, 100)
	for i := range frames {
		frames[i] = frame
	}
	if n, err := conn.Send(frames); n == 0 || n >= len(frames) || err != nil {
		t.Errorf("sent %d of %d, %v, want some and no error", n, len(frames), err)
	}
}
