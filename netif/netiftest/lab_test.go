package netiftest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/netif/netiftest"
)

func TestMain(m *testing.M) { netiftest.Main(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("never came: %s", what)
		}
	}
}

// lan returns a lab with nodes on one bridge, of which the n-th has 10.0.0.n/24
// and fd00::n/64 on eth0.
func lan(t testing.TB, names ...string) (*netiftest.Lab, *netiftest.Bridge, []*netiftest.Node) {
	t.Helper()
	lab := netiftest.Start(t)
	b, err := lab.Bridge("lan")
	check(t, err)
	var nodes []*netiftest.Node
	for i, name := range names {
		n, err := lab.Node(name)
		check(t, err)
		check(t, lab.Connect(n, "eth0", b, netiftest.Port{Addrs: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", i+1)),
			netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", i+1)),
		}}))
		nodes = append(nodes, n)
	}
	return lab, b, nodes
}

func ping(t testing.TB, n *netiftest.Node, cfg netiftest.PingConfig) *netiftest.Pinger {
	t.Helper()
	if cfg.Interval == 0 {
		cfg.Interval = 2 * time.Millisecond
	}
	p, err := n.Ping(t.Context(), cfg)
	check(t, err)
	return p
}

// answers waits until n more probes than now have been answered.
func answers(t testing.TB, p *netiftest.Pinger, n int) {
	t.Helper()
	n += p.Report().Answered
	until(t, "answers", func() bool { return p.Report().Answered >= n })
}

// silence waits until the last n probes are all unanswered.
func silence(t testing.TB, p *netiftest.Pinger, n int) {
	t.Helper()
	until(t, "silence", func() bool {
		probes := p.Report().Probes
		return len(probes) > n && !slices.ContainsFunc(probes[len(probes)-n:], func(p netiftest.Probe) bool { return !p.Answered.IsZero() })
	})
}

func TestNodesOnABridgeReachEachOther(t *testing.T) {
	_, _, nodes := lan(t, "a", "b")
	ll, err := nodes[1].Addrs("eth0")
	check(t, err)
	ll = slices.DeleteFunc(ll, func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() })
	if len(ll) != 1 {
		t.Fatalf("link-local addresses are %v, want one", ll)
	}
	for _, target := range []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2"), ll[0].Addr()} {
		p := ping(t, nodes[0], netiftest.PingConfig{Target: target, Interface: "eth0"})
		answers(t, p, 100)
		r := p.Stop()
		if r.Lost != 0 || len(r.Probes) < 100 {
			t.Errorf("%v: %d of %d probes lost, want none", target, r.Lost, len(r.Probes))
		}
		for i, probe := range r.Probes {
			if rtt := probe.Answered.Sub(probe.Sent); rtt <= 0 || rtt > patience || probe.Err != nil {
				t.Errorf("%v: probe %d was answered after %v, error %v", target, i, rtt, probe.Err)
			}
		}
	}
}

func TestACutLinkHasNoCarrierUntilItIsHealed(t *testing.T) {
	lab, _, nodes := lan(t, "a", "b")
	running := func() bool {
		l, err := nodes[1].Netlink().LinkByName("eth0")
		check(t, err)
		return l.Attrs().RawFlags&unix.IFF_RUNNING != 0
	}
	p := ping(t, nodes[0], netiftest.PingConfig{Target: netip.MustParseAddr("10.0.0.2")})
	answers(t, p, 10)
	check(t, lab.Cut(nodes[1], "eth0"))
	until(t, "carrier lost", func() bool { return !running() })
	silence(t, p, 25)
	check(t, lab.Heal(nodes[1], "eth0"))
	until(t, "carrier back", running)
	answers(t, p, 10)
	if r := p.Stop(); r.LongestGap < 25*2*time.Millisecond || r.LongestGap != r.GapEnd.Sub(r.GapStart) {
		t.Errorf("the longest gap is %v, want at least 50 ms", r.LongestGap)
	}
}

func TestAnIsolatedNodeKeepsItsCarrier(t *testing.T) {
	lab, _, nodes := lan(t, "a", "b")
	p := ping(t, nodes[0], netiftest.PingConfig{Target: netip.MustParseAddr("fd00::2")})
	answers(t, p, 10)
	check(t, lab.Isolate(nodes[1], "eth0"))
	silence(t, p, 25)
	l, err := nodes[1].Netlink().LinkByName("eth0")
	check(t, err)
	if l.Attrs().RawFlags&unix.IFF_RUNNING == 0 {
		t.Error("the isolated interface has no carrier")
	}
	check(t, lab.Join(nodes[1], "eth0"))
	answers(t, p, 10)
	p.Stop()
}

func TestNodesMovedTogetherReachEachOtherAndNobodyElse(t *testing.T) {
	lab, _, nodes := lan(t, "a", "b", "c")
	other, err := lab.Bridge("other")
	check(t, err)
	for _, n := range nodes[1:] {
		check(t, lab.Move(n, "eth0", other))
	}
	near := ping(t, nodes[1], netiftest.PingConfig{Target: netip.MustParseAddr("10.0.0.3")})
	far := ping(t, nodes[1], netiftest.PingConfig{Target: netip.MustParseAddr("10.0.0.1")})
	answers(t, near, 50)
	near.Stop()
	if r := far.Stop(); r.Answered != 0 || len(r.Probes) == 0 {
		t.Errorf("%d of %d probes crossed the partition", r.Answered, len(r.Probes))
	}
}

func TestARouterForwards(t *testing.T) {
	lab, _, nodes := lan(t, "router", "client")
	far, err := lab.Bridge("far")
	check(t, err)
	server, err := lab.Node("server")
	check(t, err)
	check(t, lab.Connect(nodes[0], "eth1", far, netiftest.Port{Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}}))
	check(t, lab.Connect(server, "eth0", far, netiftest.Port{MTU: 1400, Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}}))
	check(t, nodes[0].Sysctl("net.ipv4.ip_forward", "1"))
	check(t, nodes[1].AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.0.1")))
	check(t, server.AddRoute(netip.MustParsePrefix("10.0.0.0/24"), netip.MustParseAddr("10.1.0.1")))
	p := ping(t, nodes[1], netiftest.PingConfig{Target: netip.MustParseAddr("10.1.0.2")})
	answers(t, p, 10)
	p.Stop()
	if ifi, err := server.Interface("eth0"); err != nil || ifi.MTU != 1400 {
		t.Errorf("the server's interface is %+v, %v, want an MTU of 1400", ifi, err)
	}
	// What one node was told no other was.
	if got, err := nodes[1].GetSysctl("net.ipv4.ip_forward"); err != nil || got != "0" {
		t.Errorf("the client's ip_forward is %q, %v, want 0", got, err)
	}
}

func TestACaptureShowsFramesOfBothDirectionsWithTheirTimes(t *testing.T) {
	_, _, nodes := lan(t, "a", "b")
	// For a moment after a link has its carrier, the kernel drops what is sent.
	passes := ping(t, nodes[0], netiftest.PingConfig{Target: netip.MustParseAddr("10.0.0.2")})
	answers(t, passes, 1)
	passes.Stop()
	sender, err := nodes[0].Capture("eth0")
	check(t, err)
	receiver, err := nodes[1].Capture("eth0")
	check(t, err)
	in, err := nodes[0].Injector("eth0")
	check(t, err)
	t.Cleanup(func() { _ = in.Close() })

	// EtherType 0x88b5 is set aside for experiments.
	frame := func(i int) []byte {
		b := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5}
		return append(b, bytes.Repeat([]byte{byte(i)}, 46)...)
	}
	const count = 1000
	var frames [][]byte
	for i := range count {
		frames = append(frames, frame(i))
	}
	before := time.Now()
	check(t, in.Send(frames...))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ours := func(f netiftest.Frame) bool { return f.EtherType() == 0x88b5 }
	var at [2][]netiftest.Frame
	for i, c := range []*netiftest.Capture{sender, receiver} {
		first, err := c.Wait(ctx, ours)
		check(t, err)
		if !bytes.Equal(first.Data, frames[0]) {
			t.Errorf("the first frame is % x, want % x", first.Data, frames[0])
		}
		_, err = c.WaitN(ctx, count, ours)
		check(t, err)
		all, err := c.Stop()
		check(t, err)
		at[i] = slices.DeleteFunc(all, func(f netiftest.Frame) bool { return !ours(f) })
		if len(at[i]) != count {
			t.Fatalf("%d frames, want %d", len(at[i]), count)
		}
	}
	after := time.Now()
	for i := range count {
		out, in := at[0][i], at[1][i]
		if !out.Outgoing || in.Outgoing {
			t.Fatalf("frame %d: outgoing is %v at the sender and %v at the receiver", i, out.Outgoing, in.Outgoing)
		}
		if !bytes.Equal(out.Data, frames[i]) || !bytes.Equal(in.Data, frames[i]) {
			t.Fatalf("frame %d differs from what was sent", i)
		}
		// The kernel's clock is read apart from ours: allow a microsecond or two.
		const slack = 50 * time.Microsecond
		if out.At.Before(before.Add(-slack)) || in.At.Before(out.At.Add(-slack)) || after.Add(slack).Before(in.At) {
			t.Fatalf("frame %d was sent at %v and received at %v, not between 0 and %v", i, out.At.Sub(before), in.At.Sub(before), after.Sub(before))
		}
	}
}

func TestACaptureThatWaitsInVainSaysWhatItSaw(t *testing.T) {
	_, _, nodes := lan(t, "a")
	c, err := nodes[0].Capture("eth0")
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(netiftest.Frame) bool { return false }
	if _, err := c.Wait(ctx, never); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	_, err = c.Stop()
	check(t, err)
	if _, err := c.Wait(t.Context(), never); err == nil || !strings.Contains(err.Error(), "capture ended") {
		t.Errorf("got %v, want that the capture has ended", err)
	}
	if _, err := nodes[0].Capture("eth7"); err == nil {
		t.Error("an interface that does not exist was captured")
	}
}

func TestACommandRunsInsideItsNode(t *testing.T) {
	_, _, nodes := lan(t, "a")
	inside, err := nodes[0].Command(t.Context(), "cat", "/proc/net/dev").Output()
	check(t, err)
	outside, err := os.ReadFile("/proc/net/dev")
	check(t, err)
	if !strings.Contains(string(inside), "eth0:") || strings.Contains(string(outside), "eth0:") {
		t.Errorf("the command sees\n%s\nwe see\n%s", inside, outside)
	}

	c := nodes[0].Command(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 3")
	stdout, err := c.StdoutPipe()
	check(t, err)
	stderr, err := c.StderrPipe()
	check(t, err)
	check(t, c.Start())
	out, err := io.ReadAll(stdout)
	check(t, err)
	errs, err := io.ReadAll(stderr)
	check(t, err)
	if string(out) != "out\n" || string(errs) != "err\n" {
		t.Errorf("got %q and %q", out, errs)
	}
	for range 2 {
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != 3 {
			t.Errorf("the command ended with %v, want status 3", err)
		}
	}
	if err := nodes[0].Command(t.Context(), "/nonexistent").Run(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

func TestACommandEndsWithItsContextAndItsLab(t *testing.T) {
	lab, _, nodes := lan(t, "a")
	ctx, cancel := context.WithCancel(t.Context())
	start := func(ctx context.Context) *netiftest.Cmd {
		c := nodes[0].Command(ctx, "sleep", "600")
		check(t, c.Start())
		return c
	}
	killed, ended := start(ctx), start(t.Context())
	cancel()
	_ = killed.Wait()
	endedBy(t, killed, syscall.SIGKILL)
	check(t, lab.Close())
	select {
	case <-ended.Done():
	default:
		t.Error("the command outlived the lab")
	}
	endedBy(t, ended, syscall.SIGTERM)
}

// endedBy checks that a signal has ended a command.
func endedBy(t *testing.T, c *netiftest.Cmd, sig syscall.Signal) {
	t.Helper()
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != sig {
		t.Errorf("the command ended with %v, want %v", c.ProcessState, sig)
	}
}

func TestACommandThatDoesNotStopIsKilledWithItsChildren(t *testing.T) {
	_, _, nodes := lan(t, "a")
	c := nodes[0].Command(t.Context(), "sh", "-c", `trap "" TERM; sleep 600 & echo $!; wait; wait`)
	stdout, err := c.StdoutPipe()
	check(t, err)
	check(t, c.Start())
	var child int
	_, err = fmt.Fscan(stdout, &child)
	check(t, err)
	c.Stop()
	// The child was adopted by another; it is enough that it runs no more.
	until(t, "end of the child", func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err != nil || strings.Contains(string(state), ") Z ")
	})
}

func TestNothingIsLeftBehind(t *testing.T) {
	home, err := os.Readlink("/proc/self/ns/net")
	check(t, err)
	named := func() []string {
		list, err := filepath.Glob("/run/netns/*")
		check(t, err)
		return list
	}
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		check(t, err)
		return len(list)
	}
	work := func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		lab, err := netiftest.New(ctx)
		check(t, err)
		b, err := lab.Bridge("lan")
		check(t, err)
		n, err := lab.Node("a")
		check(t, err)
		check(t, lab.Connect(n, "eth0", b, netiftest.Port{}))
		_, err = n.Command(ctx, "true").Output()
		check(t, err)
		check(t, lab.Close())
		check(t, lab.Close())
		if err := n.Do(func() error { return nil }); !errors.Is(err, netiftest.ErrClosed) {
			t.Errorf("after the end: %v, want %v", err, netiftest.ErrClosed)
		}
		if _, err := lab.Node("b"); !errors.Is(err, netiftest.ErrClosed) {
			t.Errorf("after the end: %v, want %v", err, netiftest.ErrClosed)
		}
		if err := n.Command(ctx, "true").Start(); !errors.Is(err, netiftest.ErrClosed) {
			t.Errorf("after the end: %v, want %v", err, netiftest.ErrClosed)
		}
	}
	netiftest.Require(t)
	work() // what is opened once is open now
	names, fds := named(), descriptors()
	for range 5 {
		work()
	}
	if got := named(); !slices.Equal(got, names) {
		t.Errorf("names of namespaces are %v, were %v", got, names)
	}
	until(t, "as many descriptors as before", func() bool { return descriptors() <= fds })
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	check(t, err)
	if len(tasks) == 0 {
		t.Fatal("no threads")
	}
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil && ns != home {
			t.Errorf("%s is in %s, want %s", task, ns, home)
		}
	}
}

func TestAnAddressIsAddedAndRemoved(t *testing.T) {
	_, _, nodes := lan(t, "a")
	for _, s := range []string{"10.0.0.9/24", "fd00::9/64"} {
		p := netip.MustParsePrefix(s)
		check(t, nodes[0].AddAddr("eth0", p))
		list, err := nodes[0].Addrs("eth0")
		check(t, err)
		if !slices.Contains(list, p) {
			t.Errorf("%v is not among %v", p, list)
		}
		check(t, nodes[0].RemoveAddr("eth0", p))
		has, err := nodes[0].HasAddr(p.Addr())
		check(t, err)
		if has {
			t.Errorf("%v is still there", p)
		}
	}
	if err := nodes[0].AddAddr("eth7", netip.MustParsePrefix("10.0.0.9/24")); err == nil {
		t.Error("an interface that does not exist got an address")
	}
}

func TestTheBridgesSayNothingThemselves(t *testing.T) {
	_, _, nodes := lan(t, "a")
	c, err := nodes[0].Capture("eth0")
	check(t, err)
	// Nobody has this address, so whatever is heard is the bridge's.
	p := ping(t, nodes[0], netiftest.PingConfig{Target: netip.MustParseAddr("10.0.0.99"), Interval: 50 * time.Millisecond})
	until(t, "twenty probes", func() bool { return len(p.Report().Probes) >= 20 })
	p.Stop()
	frames, err := c.Stop()
	check(t, err)
	if len(frames) == 0 {
		t.Fatal("nothing was captured, not even the node's own frames")
	}
	for _, f := range frames {
		if !f.Outgoing {
			t.Errorf("heard % x", f.Data)
		}
	}
}

func TestAPortThatIsNotConnectedIsNamed(t *testing.T) {
	lab, b, nodes := lan(t, "a")
	for _, err := range []error{
		lab.Cut(nodes[0], "eth7"), lab.Heal(nodes[0], "eth7"), lab.Isolate(nodes[0], "eth7"),
		lab.Join(nodes[0], "eth7"), lab.Move(nodes[0], "eth7", b),
	} {
		if want := "netiftest: eth7 of a is not connected"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTheNetlinkHandleIsInsideTheNode(t *testing.T) {
	_, _, nodes := lan(t, "a")
	link, err := nodes[0].Netlink().LinkByName("eth0")
	check(t, err)
	check(t, nodes[0].Netlink().LinkAdd(&netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: "mv0", ParentIndex: link.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE,
	}))
	if _, err := nodes[0].Interface("mv0"); err != nil {
		t.Error(err)
	}
}

// A fakeTB records how a test was ended.
type fakeTB struct {
	testing.TB
	ended string
}

func (f *fakeTB) Helper() {}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.ended += "failed: " + fmt.Sprintf(format, args...)
}

func (f *fakeTB) Skipf(format string, args ...any) {
	f.ended += "skipped: " + fmt.Sprintf(format, args...)
}

func TestWhatCannotBeTestedIsSkippedButFailsInCI(t *testing.T) {
	for ci, want := range map[string]string{
		"":     "skipped: no-such-program is not installed",
		"true": "failed: no-such-program is not installed",
	} {
		t.Setenv("CI", ci)
		f := &fakeTB{TB: t}
		netiftest.RequireProgram(f, "no-such-program")
		if !strings.HasPrefix(f.ended, want) {
			t.Errorf("with CI=%q the test is %q, want %q", ci, f.ended, want)
		}
	}
}
