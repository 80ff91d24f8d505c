package daemon

import (
	"context"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vipd/arp"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// linkSettle is the least time between two looks at the interfaces: a burst of
// changes, such as thousands of addresses being added, is looked at as one.
const linkSettle = 5 * time.Millisecond

// A linkView is what an instance needs to know of the host's interfaces.
type linkView struct {
	usable bool // a socket can be had: the interface exists, and there is an address to send from
	index  int
	mtu    int
	source netip.Addr
	faults []vrrp.Fault
	// sourceless is set when the interface is ready, and nothing keeps the instance
	// from having a socket but that it has no IPv4 address to send from.
	sourceless bool
	// tracked says whether the interfaces that are tracked with a weight are
	// up, in the order in which the instance tracks them.
	tracked []bool
	// find returns an address as the kernel has it, as of this view; nil: not known.
	find addressFinder
	// removal returns what is known of its removal.
	removal func(vrrp.Address) (netif.Removal, bool)
	number  uint64 // of the look; a later one has a higher number
}

func (v *linkView) equal(w *linkView) bool {
	return v.usable == w.usable && v.index == w.index && v.mtu == w.mtu && v.source == w.source && slices.Equal(v.faults, w.faults) &&
		v.sourceless == w.sourceless && slices.Equal(v.tracked, w.tracked)
}

// links follows the host's interfaces and addresses and tells every instance
// what became of its own.
type links struct {
	watcher *netif.Watcher
	journal *journal
	garper  *garper
	// sentinel hears who else announces the addresses; nil: nobody listens.
	sentinel *sentinel
	current  atomic.Pointer[netif.Snapshot]

	mu        sync.Mutex
	loops     []*loop
	instances []*instance
	announced []string            // the interfaces any address belongs on
	guarded   map[string]*guarded // the addresses on them
	guardedOn map[int]*guarded    // and where they are listened for
	last      map[*instance]linkView
	looks     uint64
}

// set gives the instances that are told from now on.
func (w *links) set(loops []*loop, instances []*instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loops, w.instances, w.announced = loops, instances, nil
	if w.sentinel != nil {
		w.guarded, w.guardedOn = guard(instances), nil
	}
	known := make(map[*instance]bool, len(instances))
	for _, inst := range instances {
		known[inst] = true
	}
	maps.DeleteFunc(w.last, func(inst *instance, _ linkView) bool { return !known[inst] })
	seen := make(map[string]bool)
	for _, inst := range instances {
		for _, a := range inst.shared().order {
			if !seen[a.Interface] {
				seen[a.Interface] = true
				w.announced = append(w.announced, a.Interface)
			}
		}
	}
}

// anew has the next look tell these instances everything, also what has not
// changed: the lists that the views go by are others, or they lack a socket.
func (w *links) anew(instances []*instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, inst := range instances {
		delete(w.last, inst)
	}
}

// run follows the changes until the context ends, or the kernel's notifications
// do: without them vipd would be blind, so that is an error.
func (w *links) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.watcher.C():
			if !ok {
				return w.watcher.Err()
			}
		}
		w.look()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(linkSettle):
		}
	}
}

// look compares the interfaces as they are with what each instance was told.
func (w *links) look() {
	s := w.watcher.Snapshot()
	w.current.Store(s)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	news := make(map[*loop][]func())
	for _, inst := range w.instances {
		l := inst.loop()
		view := w.view(s, inst)
		view.number = w.looks
		last, ok := w.last[inst]
		same := ok && view.equal(&last)
		w.last[inst] = view
		news[l] = append(news[l], func() {
			switch {
			case inst.loop() != l: // it has moved meanwhile
				inst.post(func(inst *instance) {
					if view.number > inst.view.number {
						inst.setLink(view)
					}
				})
			case inst.gone:
			case same:
				inst.view.find, inst.view.removal, inst.view.number = view.find, view.removal, view.number
				inst.reconcile()
			default:
				inst.setLink(view)
			}
		})
	}
	for l, news := range news {
		l.post(func() {
			for _, f := range news {
				f()
			}
		})
	}
	w.guard(s)
	w.garper.follow(w.announceOn(s), func(index int) bool {
		_, ok := s.LinkByIndex(index)
		return ok
	})
}

// guard has the sentinel listen where the interfaces are now.
func (w *links) guard(s *netif.Snapshot) {
	if w.sentinel == nil {
		return
	}
	on := make(map[int]*guarded, len(w.guarded))
	for name, g := range w.guarded {
		if link, ok := s.Link(name); ok && !link.NoARP {
			on[link.Index] = g
		}
	}
	if w.guardedOn == nil || !maps.Equal(on, w.guardedOn) {
		w.guardedOn = on
		w.sentinel.follow(on)
	}
}

// announceOn returns the interfaces on which addresses are announced.
func (w *links) announceOn(s *netif.Snapshot) []int {
	var out []int
	for _, name := range w.announced {
		if link, ok := s.Link(name); ok && !link.NoARP {
			out = append(out, link.Index)
		}
	}
	return out
}

// view judges the interfaces for one instance.
func (w *links) view(s *netif.Snapshot, inst *instance) linkView {
	cfg := inst.shared().cfg
	v := linkView{find: finder(s), removal: func(a vrrp.Address) (netif.Removal, bool) {
		link, ok := s.Link(a.Interface)
		if !ok {
			return netif.Removal{}, false
		}
		return w.watcher.Removal(link.Index, a.IP)
	}}
	if cfg.Interface == "" {
		v.source, v.usable = cfg.SourceIP, true
		if !w.hasAddress(s, cfg.SourceIP) {
			v.usable = false
			v.faults = append(v.faults, vrrp.Fault{Kind: vrrp.FaultNoSource, Name: "any interface", Detail: "waiting for unicast_src_ip " + cfg.SourceIP.String()})
		}
	} else if link, ok := s.Link(cfg.Interface); !ok {
		v.faults = append(v.faults, vrrp.Fault{Kind: vrrp.FaultInterfaceMissing, Name: cfg.Interface})
	} else {
		v.index, v.mtu = link.Index, link.MTU
		if !link.Ready() && !cfg.DontTrackPrimary {
			v.faults = append(v.faults, vrrp.Fault{Kind: vrrp.FaultInterfaceDown, Name: cfg.Interface, Detail: downDetail(link)})
		}
		v.source = w.source(s, inst, link)
		if v.usable = v.source.IsValid(); !v.usable {
			v.faults = append(v.faults, w.noSource(cfg.Family, cfg.Interface))
			v.sourceless = cfg.Family == vrrp.IPv4 && link.Ready()
		} else if cfg.TrackSourceIP && cfg.SourceIP.IsValid() && !w.hasAddress(s, cfg.SourceIP) {
			v.faults = append(v.faults, vrrp.Fault{Kind: vrrp.FaultNoSource, Name: cfg.Interface, Detail: cfg.SourceIP.String() + " is configured as the source and not on this host"})
		}
	}
	for _, name := range cfg.TrackInterfaces {
		link, ok := s.Link(name)
		switch {
		case !ok:
			v.faults = append(v.faults, vrrp.Fault{Kind: vrrp.FaultTrackedInterface, Name: name, Detail: "it does not exist"})
		case !link.Ready():
			v.faults = append(v.faults, vrrp.Fault{Kind: vrrp.FaultTrackedInterface, Name: name, Detail: downDetail(link)})
		}
	}
	for _, t := range cfg.Tracks {
		if t.Kind == config.TrackInterface {
			link, ok := s.Link(t.Name)
			v.tracked = append(v.tracked, ok && link.Ready())
		}
	}
	return v
}

func (w *links) noSource(f vrrp.Family, iface string) vrrp.Fault {
	fault := vrrp.Fault{Kind: vrrp.FaultNoSource, Name: iface, Detail: "the interface has no IPv4 address besides virtual ones; add one, or set mcast_src_ip"}
	if f == vrrp.IPv6 {
		fault.Detail = "waiting for a link-local address that has passed duplicate address detection"
	}
	return fault
}

// downDetail tells a link that was taken down from one without carrier.
func downDetail(link netif.Link) string {
	if !link.Up {
		return "administratively"
	}
	return "no carrier"
}

// source returns the address to send from: the configured one, or the first of
// the interface that is not a virtual one vipd has put there. An owner's own
// address is as good as any.
func (w *links) source(s *netif.Snapshot, inst *instance, link netif.Link) netip.Addr {
	if cfg := inst.shared().cfg; cfg.SourceIP.IsValid() {
		return cfg.SourceIP
	}
	find := finder(s)
	virtual := func(a netip.Addr) bool {
		return w.journal.owns(vrrp.Address{IP: a, Interface: link.Name}, find)
	}
	a, _ := s.Primary(link.Index, netif.Family(inst.shared().cfg.Family), virtual)
	return a
}

func (w *links) hasAddress(s *netif.Snapshot, a netip.Addr) bool {
	for _, link := range s.Links() {
		if s.Has(link.Index, a) {
			return true
		}
	}
	return false
}

// link returns an interface as it was at the last look.
func (w *links) link(name string) (netif.Link, bool) {
	s := w.current.Load()
	if s == nil {
		return netif.Link{}, false
	}
	return s.Link(name)
}

// announceLink returns what the announcer has to know of an interface.
func (w *links) announceLink(name string) (announceLink, bool) {
	link, ok := w.link(name)
	if !ok {
		return announceLink{}, false
	}
	return announceLink{index: link.Index, mac: arp.MAC(link.MAC), noARP: link.NoARP, router: func() bool { return forwardsIPv6(name) }}, true
}

// forwardsIPv6 reports whether the host is a router for the interface.
func forwardsIPv6(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/forwarding")
	return err == nil && len(b) > 0 && b[0] != '0'
}
