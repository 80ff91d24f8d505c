package netiftest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// carrierPoll is how often a new link is asked whether it is up. The kernel needs
// a few milliseconds for it.
const carrierPoll = 2 * time.Millisecond

// ErrClosed is the result of using a Lab that has been closed.
var ErrClosed = errors.New("netiftest: lab is closed")

// A Lab is a set of network namespaces and the links between them. Its methods
// may be called from any goroutine.
type Lab struct {
	ctx      context.Context // bounds waiting for links
	switches *Node           // the namespace with all bridges

	mu     sync.Mutex
	nodes  []*Node
	ports  map[portKey]*port
	serial int
	closed bool
}

// A Bridge is an Ethernet segment: everything connected to it hears each other.
// It floods multicast and takes part in no protocol.
type Bridge struct {
	name  string
	index int
}

// Name returns the name that the Bridge was made with.
func (b *Bridge) Name() string { return b.name }

// portKey names one interface of one node.
type portKey struct {
	node   *Node
	ifname string
}

// A port is the bridge's end of a link.
type port struct {
	name   string
	index  int
	bridge *Bridge
}

// New makes an empty Lab. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN; see [Main]
// for tests. ctx bounds the waiting for links to come up; it does not end the
// Lab, which Close does.
func New(ctx context.Context) (*Lab, error) {
	l := &Lab{ctx: ctx, ports: make(map[portKey]*port)}
	sw, err := newNode(l, "switches")
	if err != nil {
		return nil, fmt.Errorf("netiftest: %w", err)
	}
	l.switches = sw
	// Bridges and their ports shall not speak for themselves.
	if err := sw.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"); err != nil {
		sw.close()
		return nil, err
	}
	return l, nil
}

// Close ends all processes in the Lab and removes every namespace. It may be
// called more than once.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	nodes := append([]*Node{l.switches}, l.nodes...)
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(n.close)
	}
	wg.Wait()
	return nil
}

// Node adds a namespace: a router or a host. Its loopback interface is up. It
// sends no router solicitations and skips duplicate address detection on
// interfaces made later, so that it is quiet and ready at once; both are
// ordinary sysctls.
func (l *Lab) Node(name string) (*Node, error) {
	n, err := newNode(l, name)
	if err != nil {
		return nil, fmt.Errorf("netiftest: node %s: %w", name, err)
	}
	for _, key := range []string{"accept_ra", "accept_dad", "dad_transmits"} {
		if err := n.Sysctl("net.ipv6.conf.default."+key, "0"); err != nil {
			n.close()
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		n.close()
		return nil, ErrClosed
	}
	l.nodes = append(l.nodes, n)
	return n, nil
}

// Bridge adds an Ethernet segment.
func (l *Lab) Bridge(name string) (*Bridge, error) {
	off := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: l.unique("br")}, MulticastSnooping: &off}
	if err := l.switches.nl.LinkAdd(br); err != nil {
		return nil, fmt.Errorf("netiftest: bridge %s: %w", name, err)
	}
	link, err := l.switches.nl.LinkByName(br.Name)
	if err != nil {
		return nil, fmt.Errorf("netiftest: bridge %s: %w", name, err)
	}
	if err := l.switches.nl.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("netiftest: bridge %s: %w", name, err)
	}
	return &Bridge{name: name, index: link.Attrs().Index}, nil
}

// unique returns an interface name not used in the switches' namespace.
func (l *Lab) unique(prefix string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	return fmt.Sprintf("%s%d", prefix, l.serial)
}

// A Port describes a node's interface to be made by Connect.
type Port struct {
	MAC   net.HardwareAddr // nil: one is made up, the same in each run
	MTU   int              // 0: 1500
	Addrs []netip.Prefix   // IPv6 addresses are usable at once
}

// Connect gives a node an interface that is plugged into a bridge, and waits
// until it has carrier.
func (l *Lab) Connect(n *Node, ifname string, b *Bridge, p Port) error {
	if err := l.connect(n, ifname, b, p); err != nil {
		return fmt.Errorf("netiftest: connecting %s of %s to %s: %w", ifname, n.name, b.name, err)
	}
	return nil
}

func (l *Lab) connect(n *Node, ifname string, b *Bridge, p Port) error {
	name := l.unique("port")
	mac := p.MAC
	if mac == nil {
		l.mu.Lock()
		mac = net.HardwareAddr{2, 0, 0, 0, byte(l.serial >> 8), byte(l.serial)}
		l.mu.Unlock()
	}
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name, MTU: p.MTU, MasterIndex: b.index})
	veth.PeerName = ifname
	veth.PeerHardwareAddr = mac
	veth.PeerNamespace = netlink.NsFd(n.fd)
	veth.PeerMTU = uint32(p.MTU)
	nl := l.switches.nl
	if err := nl.LinkAdd(veth); err != nil {
		return err
	}
	near, err := nl.LinkByName(name)
	if err != nil {
		return err
	}
	if err := nl.LinkSetUp(near); err != nil {
		return err
	}
	far, err := n.nl.LinkByName(ifname)
	if err != nil {
		return err
	}
	if err := n.nl.LinkSetUp(far); err != nil {
		return err
	}
	for _, a := range p.Addrs {
		if err := n.addAddr(far, a); err != nil {
			return err
		}
	}
	if err := n.waitRunning(l.ctx, far.Attrs().Index); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports[portKey{n, ifname}] = &port{name: name, index: near.Attrs().Index, bridge: b}
	return nil
}

// Cut pulls the plug: the node's interface loses its carrier.
func (l *Lab) Cut(n *Node, ifname string) error {
	return l.onPort("cutting", n, ifname, l.switches.nl.LinkSetDown)
}

// Heal puts the plug back in.
func (l *Lab) Heal(n *Node, ifname string) error {
	return l.onPort("healing", n, ifname, l.switches.nl.LinkSetUp)
}

// Isolate cuts the node off from the segment while its interface keeps its
// carrier: a partition that only silence tells of.
func (l *Lab) Isolate(n *Node, ifname string) error {
	return l.onPort("isolating", n, ifname, l.switches.nl.LinkSetNoMaster)
}

// Join ends what Isolate or Move began: the interface is on the bridge it was
// connected to.
func (l *Lab) Join(n *Node, ifname string) error {
	p, err := l.port(n, ifname)
	if err != nil {
		return err
	}
	return l.Move(n, ifname, p.bridge)
}

// Move puts the interface on another bridge without loss of carrier. Several
// nodes moved to the same bridge make the other side of a partition.
func (l *Lab) Move(n *Node, ifname string, b *Bridge) error {
	return l.onPort("moving", n, ifname, func(p netlink.Link) error {
		return l.switches.nl.LinkSetMasterByIndex(p, b.index)
	})
}

func (l *Lab) port(n *Node, ifname string) (*port, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.ports[portKey{n, ifname}]
	if !ok {
		return nil, fmt.Errorf("netiftest: %s of %s is not connected", ifname, n.name)
	}
	return p, nil
}

func (l *Lab) onPort(doing string, n *Node, ifname string, fn func(netlink.Link) error) error {
	p, err := l.port(n, ifname)
	if err != nil {
		return err
	}
	if err := fn(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: p.name, Index: p.index}}); err != nil {
		return fmt.Errorf("netiftest: %s %s of %s: %w", doing, ifname, n.name, err)
	}
	return nil
}

// A Node is a network namespace of a Lab.
type Node struct {
	name string
	fd   int
	nl   *netlink.Handle

	mu     sync.Mutex
	cmds   map[*Cmd]struct{}
	closed bool
}

func newNode(l *Lab, name string) (*Node, error) {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	fd, err := newNamespace()
	if err != nil {
		return nil, err
	}
	nl, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink: %w", err)
	}
	n := &Node{name: name, fd: fd, nl: nl, cmds: make(map[*Cmd]struct{})}
	lo, err := nl.LinkByName("lo")
	if err == nil {
		err = nl.LinkSetUp(lo)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("loopback interface: %w", err)
	}
	return n, nil
}

// close ends the processes of n and lets go of the namespace.
func (n *Node) close() {
	n.mu.Lock()
	n.closed = true
	cmds := make([]*Cmd, 0, len(n.cmds))
	for c := range n.cmds {
		cmds = append(cmds, c)
	}
	n.mu.Unlock()
	for _, c := range cmds {
		c.Stop()
	}
	n.nl.Close()
	_ = unix.Close(n.fd)
}

// Name returns the name that the Node was made with.
func (n *Node) Name() string { return n.name }

// Do runs fn on a thread inside the namespace and returns its error. Sockets that
// fn opens stay in the namespace, whichever goroutine uses them later. What fn
// starts in other goroutines is not inside.
func (n *Node) Do(fn func() error) error {
	n.mu.Lock()
	closed := n.closed
	n.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return inNamespace(n.fd, fn)
}

// Netlink returns a handle inside the namespace, for whatever this package has
// no method for. It may be used from any goroutine.
func (n *Node) Netlink() *netlink.Handle { return n.nl }

// Interface returns the interface of that name.
func (n *Node) Interface(ifname string) (*net.Interface, error) {
	var ifi *net.Interface
	err := n.Do(func() (err error) {
		ifi, err = net.InterfaceByName(ifname)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netiftest: %s of %s: %w", ifname, n.name, err)
	}
	return ifi, nil
}

// AddAddr adds an address to an interface; an IPv6 address is usable at once.
func (n *Node) AddAddr(ifname string, a netip.Prefix) error {
	link, err := n.nl.LinkByName(ifname)
	if err == nil {
		err = n.addAddr(link, a)
	}
	if err != nil {
		return fmt.Errorf("netiftest: adding %v to %s of %s: %w", a, ifname, n.name, err)
	}
	return nil
}

func (n *Node) addAddr(link netlink.Link, a netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return n.nl.AddrAdd(link, addr)
}

// RemoveAddr removes an address from an interface.
func (n *Node) RemoveAddr(ifname string, a netip.Prefix) error {
	link, err := n.nl.LinkByName(ifname)
	if err == nil {
		err = n.nl.AddrDel(link, &netlink.Addr{IPNet: ipNet(a)})
	}
	if err != nil {
		return fmt.Errorf("netiftest: removing %v from %s of %s: %w", a, ifname, n.name, err)
	}
	return nil
}

// AddRoute adds a route by way of a gateway.
func (n *Node) AddRoute(dst netip.Prefix, via netip.Addr) error {
	if err := n.nl.RouteAdd(&netlink.Route{Dst: ipNet(dst.Masked()), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("netiftest: route to %v via %v on %s: %w", dst, via, n.name, err)
	}
	return nil
}

// Addrs returns the addresses of an interface in the kernel's order, or those of
// all interfaces if ifname is empty.
func (n *Node) Addrs(ifname string) ([]netip.Prefix, error) {
	var link netlink.Link
	if ifname != "" {
		l, err := n.nl.LinkByName(ifname)
		if err != nil {
			return nil, fmt.Errorf("netiftest: addresses of %s of %s: %w", ifname, n.name, err)
		}
		link = l
	}
	list, err := n.nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("netiftest: addresses of %s: %w", n.name, err)
	}
	addrs := make([]netip.Prefix, 0, len(list))
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		addrs = append(addrs, netip.PrefixFrom(ip.Unmap(), ones))
	}
	return addrs, nil
}

// HasAddr reports whether any interface of the node has the address.
func (n *Node) HasAddr(a netip.Addr) (bool, error) {
	addrs, err := n.Addrs("")
	for _, p := range addrs {
		if p.Addr() == a {
			return true, nil
		}
	}
	return false, err
}

// waitRunning waits until an interface has carrier.
func (n *Node) waitRunning(ctx context.Context, index int) error {
	tick := time.NewTicker(carrierPoll)
	defer tick.Stop()
	for {
		link, err := n.nl.LinkByIndex(index)
		if err != nil {
			return err
		}
		if link.Attrs().RawFlags&unix.IFF_RUNNING != 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for carrier: %w", ctx.Err())
		}
	}
}

// ipNet converts a prefix for the netlink library.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
