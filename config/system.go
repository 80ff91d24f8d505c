package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vipd/vrrp"
)

// A System is what [Config.CheckSystem] wants to know about the host.
type System interface {
	// InterfaceAddrs returns the addresses of an interface, each with its
	// prefix length, without the virtual ones that vipd holds there; false
	// means that there is no such interface.
	InterfaceAddrs(name string) ([]netip.Prefix, bool)
}

// CheckSystem compares the configuration with the host and returns a warning
// for each surprise. None of them keeps an instance from running: interfaces
// and addresses may come later.
func (c *Config) CheckSystem(sys System) Diagnostics {
	r := &report{files: c.Files}
	for i := range c.Instances {
		c.Instances[i].checkSystem(sys, r)
	}
	return r.sorted()
}

// checkSystem compares one instance with the host.
func (in *Instance) checkSystem(sys System, r *report) {
	path := "vrrp_instance." + in.Name
	missing := make(map[string]bool)
	absent := func(name string) {
		if !missing[name] {
			missing[name] = true
			r.add(in.Pos, Warning, path, faultf("interface %s does not exist: the instance waits for it", name))
		}
	}
	var own []netip.Prefix
	exists := false
	if in.Interface != "" {
		if own, exists = sys.InterfaceAddrs(in.Interface); !exists {
			absent(in.Interface)
		}
	}
	if exists && !in.SourceIP.IsValid() && !slices.ContainsFunc(own, func(p netip.Prefix) bool { return in.canSendFrom(p.Addr()) }) {
		what := "no " + in.Family.String() + " address"
		if in.Family == vrrp.IPv6 && len(in.Peers) == 0 {
			what = "no link-local IPv6 address"
		}
		r.add(in.Pos, Warning, path, faultf("interface %s has %s to send adverts from", in.Interface, what))
	}
	for _, name := range in.TrackInterfaces {
		if _, ok := sys.InterfaceAddrs(name); !ok {
			absent(name)
		}
	}
	var foreign []string
	for _, a := range in.Addresses {
		addrs, ok := sys.InterfaceAddrs(a.Interface)
		if !ok {
			absent(a.Interface)
			continue
		}
		addr := a.Prefix.Addr()
		if !slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == addr }) {
			foreign = append(foreign, addr.String())
		} else if in.Priority != vrrp.PriorityOwner {
			r.add(a.Pos, Warning, path, &fault{
				fmt.Sprintf("%s is this host's own address: it stays here when another router is master", addr),
				"use an address that no host has, or priority 255 on its owner"})
		}
		var subnets []string
		within := false
		for _, p := range addrs {
			if vrrp.FamilyOf(p.Addr()) == in.Family {
				within = within || p.Masked().Contains(addr)
				subnets = append(subnets, p.Masked().String())
			}
		}
		if len(subnets) > 0 && !within && !a.Peer.IsValid() {
			r.add(a.Pos, Warning, path, &fault{
				fmt.Sprintf("%s is in no subnet of %s", addr, a.Interface),
				"it has " + strings.Join(subnets, ", ")})
		}
	}
	if in.Priority == vrrp.PriorityOwner && len(foreign) > 0 {
		r.add(in.Pos, Warning, path+".priority", &fault{
			"priority 255 is for the owner of the addresses, but this host does not have " + foreign[0],
			"use 254 or less"})
	}
}

// canSendFrom reports whether adverts can have the source address: IPv6
// multicast must come from a link-local one (RFC 9568 §5.1.2.1).
func (in *Instance) canSendFrom(a netip.Addr) bool {
	if vrrp.FamilyOf(a) != in.Family {
		return false
	}
	return in.Family == vrrp.IPv4 || len(in.Peers) > 0 || a.IsLinkLocalUnicast()
}
