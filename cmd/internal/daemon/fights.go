package daemon

import (
	"maps"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"vipd/cmd/internal/managers"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// whoFights says who on this host usually removes addresses from the interfaces of
// an instance, and the cure.
func whoFights(cfg config.Instance) string {
	on := managers.Interfaces(&config.Config{Instances: []config.Instance{cfg}}, func(name string) (int, bool) {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return 0, false
		}
		return ifi.Index, true
	})
	if advice := managers.Advise(os.DirFS("/"), on); advice != "" {
		return advice
	}
	return "find out who it is (ip monitor address shows when it happens), and have it leave these addresses alone; on_address_loss: resign gives mastership up instead"
}

// neighbors finds out the hardware addresses of other routers, each once in a while
// and several at a time.
type neighbors struct {
	links func(name string) (netif.Link, bool)

	mu     sync.Mutex
	handle *netif.Handle
	known  map[station]*lookup
	closed bool
}

// A station is another host on the link of an interface.
type station struct {
	iface string
	addr  netip.Addr
}

// A lookup is what is known of a station, once done is closed.
type lookup struct {
	done  chan struct{}
	begun time.Time
	mac   vrrp.MAC
	ok    bool
}

const (
	// lookupLife is for how long the answer is good, also if there was none.
	lookupLife = 10 * time.Second
	// lookupsMost bounds how many stations are remembered, and so how many are
	// asked for at a time: there can be as many as somebody likes to make up.
	lookupsMost = 32
)

// find returns the hardware address of a station on an interface. It may take a
// third of a second, when the kernel has to ask for it.
func (n *neighbors) find(iface string, addr netip.Addr) (vrrp.MAC, bool) {
	who := station{iface, addr}
	n.mu.Lock()
	l := n.known[who]
	if l == nil || time.Since(l.begun) > lookupLife {
		maps.DeleteFunc(n.known, func(_ station, l *lookup) bool { return time.Since(l.begun) > lookupLife })
		if n.closed || len(n.known) >= lookupsMost {
			n.mu.Unlock()
			return vrrp.MAC{}, false
		}
		if n.known == nil {
			n.known = make(map[station]*lookup)
		}
		l = &lookup{done: make(chan struct{}), begun: time.Now()}
		n.known[who] = l
		n.mu.Unlock()
		l.mac, l.ok = n.ask(who)
		close(l.done)
		return l.mac, l.ok
	}
	n.mu.Unlock()
	<-l.done
	return l.mac, l.ok
}

// ask asks the kernel, which may have to ask the network.
func (n *neighbors) ask(who station) (vrrp.MAC, bool) {
	link, ok := n.links(who.iface)
	if !ok {
		return vrrp.MAC{}, false
	}
	const tries, wait = 4, 100 * time.Millisecond
	for i := range tries {
		if mac, ok, err := n.entry(link.Index, who.addr); ok || err != nil {
			return mac, ok
		}
		if i == 0 {
			provoke(who.iface, who.addr)
		}
		time.Sleep(wait)
	}
	return vrrp.MAC{}, false
}

// entry returns what the kernel has now.
func (n *neighbors) entry(index int, addr netip.Addr) (vrrp.MAC, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return vrrp.MAC{}, false, net.ErrClosed
	}
	if n.handle == nil {
		h, err := netif.NewHandle()
		if err != nil {
			return vrrp.MAC{}, false, err
		}
		n.handle = h
	}
	mac, ok, err := n.handle.Neighbor(index, addr)
	return mac, ok, err
}

// close releases the socket, if there is one. Who is asking gets no answer.
func (n *neighbors) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.handle != nil {
		_ = n.handle.Close()
		n.handle = nil
	}
}

// provoke has the kernel resolve an address: an empty datagram to the port that
// discards (RFC 863) is as good as any.
func provoke(iface string, addr netip.Addr) {
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		addr = addr.WithZone(iface)
	}
	conn, err := net.DialTimeout("udp", netip.AddrPortFrom(addr, discardPort).String(), time.Second)
	if err != nil {
		return
	}
	_, _ = conn.Write(nil)
	_ = conn.Close()
}

// discardPort is where nobody answers.
const discardPort = 9
