package config

import (
	"net/netip"
	"strings"
	"testing"
)

// A fakeHost is a System: interfaces and their addresses.
type fakeHost map[string][]string

var _ System = fakeHost(nil)

func (h fakeHost) InterfaceAddrs(name string) ([]netip.Prefix, bool) {
	list, ok := h[name]
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out, ok
}

func TestConfigurationIsComparedWithTheHost(t *testing.T) {
	host := fakeHost{
		"eth0": {"192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"},
		"eth1": {"198.51.100.1/24"},
		"eth2": nil,
	}
	for _, tt := range []struct{ what, instance, want string }{
		{"all is well", "interface: eth0, virtual_ipaddress: 192.0.2.10/24", ""},
		{"all is well with IPv6", "interface: eth0, virtual_ipaddress: ['fe80::10/64', '2001:db8::10/64']", ""},
		{"the interface is not there", "interface: eth9, virtual_ipaddress: 192.0.2.10/24",
			"t:1:17: vrrp_instance.A: warning: interface eth9 does not exist: the instance waits for it"},
		{"a tracked interface is not there", "interface: eth0, virtual_ipaddress: 192.0.2.10/24, track_interface: eth9",
			"t:1:17: vrrp_instance.A: warning: interface eth9 does not exist: the instance waits for it"},
		{"the interface of an address is not there", "interface: eth0, virtual_ipaddress: 192.0.2.10/24 dev eth9 no_track",
			"t:1:17: vrrp_instance.A: warning: interface eth9 does not exist: the instance waits for it"},
		{"the interface has no address", "interface: eth2, virtual_ipaddress: 192.0.2.10/24",
			"t:1:17: vrrp_instance.A: warning: interface eth2 has no IPv4 address to send adverts from"},
		{"but there is a source address", "interface: eth2, virtual_ipaddress: 192.0.2.10/24, mcast_src_ip: 192.0.2.99", ""},
		{"the interface has no link-local address", "interface: eth1, virtual_ipaddress: 'fe80::10/64'",
			"t:1:17: vrrp_instance.A: warning: interface eth1 has no link-local IPv6 address to send adverts from"},
		{"the address is in another subnet", "interface: eth0, virtual_ipaddress: 198.51.100.10/24",
			"t:1:79: vrrp_instance.A: warning: 198.51.100.10 is in no subnet of eth0 (it has 192.0.2.0/24)"},
		{"the address is in a subnet of its own interface", "interface: eth0, virtual_ipaddress: 198.51.100.10/24 dev eth1", ""},
		{"the address is not advertised", "interface: eth0, virtual_ipaddress: 192.0.2.10/24, virtual_ipaddress_excluded: 203.0.113.1", ""},
		{"255 without the address", "interface: eth0, priority: 255, virtual_ipaddress: 192.0.2.10/24",
			"t:1:17: vrrp_instance.A.priority: warning: priority 255 is for the owner of the addresses, but this host does not have 192.0.2.10 (use 254 or less)"},
		{"the address is the host's own", "interface: eth0, virtual_ipaddress: 192.0.2.1/24",
			"t:1:79: vrrp_instance.A: warning: 192.0.2.1 is this host's own address: it stays here when another router is master (use an address that no host has, or priority 255 on its owner)"},
		{"255 with the address", "interface: eth0, priority: 255, virtual_ipaddress: 192.0.2.1/24", ""},
		{"unicast without interface", "unicast_src_ip: 198.51.100.1, unicast_peer: 198.51.100.2, virtual_ipaddress: 198.51.100.10 dev eth1", ""},
		{"IPv6 unicast from a global address", "interface: eth0, unicast_peer: '2001:db8::2', virtual_ipaddress: '2001:db8::10/64'", ""},
	} {
		c := mustParse(t, "vrrp_instance: {A: {virtual_router_id: 1, "+tt.instance+"}}")
		for i := range c.Instances {
			c.Instances[i].Pos.File = "t"
			for j := range c.Instances[i].Addresses {
				c.Instances[i].Addresses[j].Pos.File = "t"
			}
		}
		diags := c.CheckSystem(host)
		if got := strings.TrimSuffix(diags.String(), "\n"); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.what, got, tt.want)
		}
		if diags.HasErrors() {
			t.Errorf("%s: the host can be at fault, the configuration cannot", tt.what)
		}
	}
}
