package daemon

import (
	"fmt"
	"net"
	"net/netip"

	"vipd/config"
	"vipd/netif"
)

var _ config.System = Interfaces(nil)

// Interfaces are the addresses of this host's interfaces by name, without
// those that vipd has added.
type Interfaces map[string][]netip.Prefix

// ReadInterfaces asks the kernel for them.
func ReadInterfaces() (Interfaces, error) {
	handle, err := netif.NewHandle()
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	defer handle.Close()
	addrs, err := handle.Addresses()
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	ifis, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("daemon: listing interfaces: %w", err)
	}
	h := make(Interfaces)
	names := make(map[int]string)
	for _, ifi := range ifis {
		names[ifi.Index] = ifi.Name
		h[ifi.Name] = nil
	}
	for _, a := range addrs {
		if name, ok := names[a.Index]; ok && a.Protocol != netif.Protocol {
			h[name] = append(h[name], a.Prefix)
		}
	}
	return h, nil
}

// InterfaceAddrs implements config.System.
func (h Interfaces) InterfaceAddrs(name string) ([]netip.Prefix, bool) {
	addrs, ok := h[name]
	return addrs, ok
}
