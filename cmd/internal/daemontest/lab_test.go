package daemontest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

const (
	// patience is how long a test waits for what must happen.
	patience = 30 * time.Second
	// look is how often it looks.
	look = 10 * time.Millisecond
	// quick is how long what has to happen at once may take on a busy machine,
	// whose kernel makes and removes the interfaces of other tests meanwhile.
	quick = 10 * time.Second
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// always watches for some time that ok keeps returning "".
func always(t *testing.T, during time.Duration, ok func() string) {
	t.Helper()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	end := time.NewTimer(during)
	defer end.Stop()
	for {
		if complaint := ok(); complaint != "" {
			t.Fatal(complaint)
		}
		select {
		case <-ticker.C:
		case <-end.C:
			return
		}
	}
}

// A segment is a network to try routers on: a bridge and one host, which hears
// everything. The host has the address 192.0.2.100.
type segment struct {
	*netiftest.Lab
	t      *testing.T
	bridge *netiftest.Bridge
	host   *netiftest.Node
	wire   *wire
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	s := &segment{Lab: netiftest.Start(t), t: t}
	var err error
	s.bridge, err = s.Bridge("lan")
	check(t, err)
	s.host = s.node("host", "192.0.2.100/24", "2001:db8::100/64")
	s.wire = s.listen(s.host, "eth0")
	return s
}

// node adds a node whose eth0 is on the bridge and has the addresses.
func (s *segment) node(name string, addrs ...string) *netiftest.Node {
	s.t.Helper()
	n, err := s.Node(name)
	check(s.t, err)
	s.plug(n, "eth0", addrs...)
	return n
}

// router adds a node with the address 192.0.2.n.
func (s *segment) router(n int) *netiftest.Node {
	s.t.Helper()
	return s.node(fmt.Sprintf("router%d", n), fmt.Sprintf("192.0.2.%d/24", n))
}

// plug gives a node an interface on the bridge.
func (s *segment) plug(n *netiftest.Node, ifname string, addrs ...string) {
	s.t.Helper()
	var p netiftest.Port
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, prefix(a))
	}
	check(s.t, s.Connect(n, ifname, s.bridge, p))
}

func link(t *testing.T, n *netiftest.Node, ifname string) netlink.Link {
	t.Helper()
	l, err := n.Netlink().LinkByName(ifname)
	check(t, err)
	return l
}

// has reports whether an interface has an address, whatever its prefix length.
// An interface that does not exist has none.
func has(n *netiftest.Node, ifname, a string) bool {
	addrs, err := n.Addrs(ifname)
	return err == nil && slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == addr(a) })
}

// tool runs a program in a node and returns its output.
func tool(t *testing.T, n *netiftest.Node, name string, args ...string) string {
	t.Helper()
	out, err := n.Command(t.Context(), netiftest.RequireProgram(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A daemon is a vipd that runs in a node.
type daemon struct {
	t *testing.T
	*rig.Vipd
}

// start starts vipd in a node and waits until all its instances have left init.
func start(t *testing.T, n *netiftest.Node, yaml string, opts ...rig.Option) *daemon {
	t.Helper()
	d := &daemon{t, rig.StartVIPD(t, n, yaml, opts...)}
	rig.Eventually(t, patience, "vipd answers", func() bool {
		select {
		case <-d.Done():
			t.Fatalf("vipd has ended: %s", d.Log())
		default:
		}
		s, err := d.Status()
		return err == nil && !slices.ContainsFunc(s.Instances, func(i control.Instance) bool { return i.State == control.StateInit })
	})
	return d
}

// status returns the daemon's status.
func (d *daemon) status() control.Status {
	d.t.Helper()
	s, err := d.Status()
	check(d.t, err)
	return s
}

// instance returns the status of the instance of that name, or of the only one
// if name is empty.
func (d *daemon) instance(name string) control.Instance {
	d.t.Helper()
	s := d.status()
	for _, i := range s.Instances {
		if i.Name == name || name == "" && len(s.Instances) == 1 {
			return i
		}
	}
	d.t.Fatalf("there is no instance %q in %+v", name, s.Instances)
	return control.Instance{}
}

// is waits until the only instance is in a state.
func (d *daemon) is(want control.State) control.Instance {
	d.t.Helper()
	return d.instanceIs("", want)
}

// instanceIs waits until an instance is in a state.
func (d *daemon) instanceIs(name string, want control.State) control.Instance {
	d.t.Helper()
	var i control.Instance
	rig.Eventually(d.t, patience, fmt.Sprintf("instance %q on %s is %s", name, d.Node().Name(), want), func() bool {
		i = d.instance(name)
		return i.State == want
	})
	return i
}

// stays watches that the only instance stays in a state for some time.
func (d *daemon) stays(want control.State, during time.Duration) {
	d.t.Helper()
	always(d.t, during, func() string {
		if i := d.instance(""); i.State != want {
			return fmt.Sprintf("%s is %s, not %s: %s", d.Node().Name(), i.State, want, i.Reason.Text)
		}
		return ""
	})
}

// path returns the states an instance went through, the first included.
func path(i control.Instance) string {
	words := make([]string, 0, len(i.History)+1)
	for n, t := range i.History {
		if n == 0 {
			words = append(words, string(t.From))
		}
		words = append(words, string(t.To))
	}
	return strings.Join(words, " ")
}

// address returns what the status says of one address.
func address(t *testing.T, i control.Instance, a string) control.Address {
	t.Helper()
	for _, row := range i.Addresses {
		if row.Address.Addr() == addr(a) {
			return row
		}
	}
	t.Fatalf("%s is not among the addresses of %s: %+v", a, i.Name, i.Addresses)
	return control.Address{}
}

// lines returns how many lines of the log contain all the words.
func (d *daemon) lines(words ...string) int {
	n := 0
lines:
	for line := range strings.Lines(d.Log()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

// logs waits until n lines of the log contain all the words. The log is written
// after what it tells of was done.
func (d *daemon) logs(n int, words ...string) {
	d.t.Helper()
	rig.Eventually(d.t, quick, fmt.Sprintf("%d lines of the log with %q", n, words), func() bool { return d.lines(words...) == n })
}

// hardware returns the present hardware address of an interface.
func hardware(t *testing.T, n *netiftest.Node, ifname string) net.HardwareAddr {
	t.Helper()
	ifi, err := n.Interface(ifname)
	check(t, err)
	return ifi.HardwareAddr
}
