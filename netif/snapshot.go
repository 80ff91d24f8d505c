package netif

import (
	"net/netip"
	"slices"
	"sync"
)

// A Snapshot is what was known of links and addresses at one moment. It is
// immutable and may be shared.
type Snapshot struct {
	links map[int]Link
	names map[string]int
	addrs map[int]*addrList
}

// An addrList holds the addresses of one interface, in the kernel's order as far
// as it is known: that of the first listing, later ones behind. Snapshots share
// the lists of interfaces that did not change between them.
type addrList struct {
	list []*PresentAddress

	once  sync.Once
	table map[netip.Addr]*PresentAddress // made when first asked
}

func (l *addrList) find(a netip.Addr) *PresentAddress {
	l.once.Do(func() {
		l.table = make(map[netip.Addr]*PresentAddress, len(l.list))
		for _, p := range l.list {
			if l.table[p.Addr()] == nil {
				l.table[p.Addr()] = p
			}
		}
	})
	return l.table[a]
}

// Link returns the interface of that name.
func (s *Snapshot) Link(name string) (Link, bool) {
	i, ok := s.names[name]
	if !ok {
		return Link{}, false
	}
	return s.links[i], true
}

// LinkByIndex returns the interface with that index.
func (s *Snapshot) LinkByIndex(index int) (Link, bool) {
	l, ok := s.links[index]
	return l, ok
}

// Links returns all interfaces by ascending index.
func (s *Snapshot) Links() []Link {
	list := make([]Link, 0, len(s.links))
	for _, l := range s.links {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b Link) int { return a.Index - b.Index })
	return list
}

// Up reports whether the interface of that name exists and is ready.
func (s *Snapshot) Up(name string) bool {
	l, ok := s.Link(name)
	return ok && l.Ready()
}

// AddressesOf returns the addresses of an interface.
func (s *Snapshot) AddressesOf(index int) []PresentAddress {
	l, ok := s.addrs[index]
	if !ok {
		return nil
	}
	list := make([]PresentAddress, len(l.list))
	for i, a := range l.list {
		list[i] = *a
	}
	return list
}

// Has reports whether an interface has an address, whatever its prefix length.
// It costs one look into a table.
func (s *Snapshot) Has(index int, addr netip.Addr) bool {
	_, ok := s.Find(index, addr)
	return ok
}

// Find returns an address of an interface, whatever its prefix length; the first
// if there are several. It costs one look into a table.
func (s *Snapshot) Find(index int, addr netip.Addr) (PresentAddress, bool) {
	if l, ok := s.addrs[index]; ok {
		if p := l.find(addr.Unmap().WithZone("")); p != nil {
			return *p, true
		}
	}
	return PresentAddress{}, false
}

// Primary returns the address of an interface to send adverts from, as
// keepalived chooses it. For IPv4 it is the first address, and a secondary one
// only if there is no other. For IPv6 it is the first link-local address (RFC
// 9568 §5.1.2.1) that has passed duplicate address detection. Addresses for
// which exclude returns true are passed over; exclude may be nil.
func (s *Snapshot) Primary(index int, family Family, exclude func(netip.Addr) bool) (netip.Addr, bool) {
	l, ok := s.addrs[index]
	if !ok {
		return netip.Addr{}, false
	}
	var second netip.Addr
	for _, p := range l.list {
		a := p.Addr()
		if FamilyOf(a) != family || !p.Usable() || exclude != nil && exclude(a) {
			continue
		}
		switch {
		case family == IPv6:
			if a.IsLinkLocalUnicast() {
				return a, true
			}
		case !p.Secondary():
			return a, true
		case !second.IsValid():
			second = a
		}
	}
	return second, second.IsValid()
}
