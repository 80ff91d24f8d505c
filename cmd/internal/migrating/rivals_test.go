package migrating

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

// routerYAML returns a configuration of vipd.
func routerYAML(vrid int) string {
	return fmt.Sprintf("vrrp_instance:\n  VI_1:\n    interface: eth0\n    virtual_router_id: %d\n    advert_int: 100ms\n    virtual_ipaddress: 192.0.2.%[1]d/24\n", vrid)
}

// routerConf returns the same for keepalived, by unicast if there is a peer.
func routerConf(vrid int, more string) string {
	return fmt.Sprintf("vrrp_instance VI_1 {\n  version 3\n  interface eth0\n  virtual_router_id %d\n  advert_int 0.1\n%s  virtual_ipaddress {\n    192.0.2.%[1]d/24\n  }\n}\n", vrid, more)
}

// oneRouter returns a node that is alone on its segment.
func oneRouter(t *testing.T) *netiftest.Node {
	t.Helper()
	lab := netiftest.Start(t)
	lan, err := lab.Bridge("lan")
	check(t, err)
	n, err := lab.Node("router")
	check(t, err)
	check(t, lab.Connect(n, "eth0", lan, netiftest.Port{Addrs: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64"),
	}}))
	return n
}

func TestVipdDoesNotStartBesideAKeepalived(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, conf string }{
		{"by multicast", routerConf(51, "")},
		{"by unicast", routerConf(51, "  unicast_src_ip 192.0.2.1\n  unicast_peer {\n    192.0.2.2\n  }\n")},
		{"over IPv6", strings.Replace(routerConf(51, ""), "192.0.2.51/24", "fe80::51/64", 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			node := oneRouter(t)
			k := rig.StartKeepalived(t, node, tt.conf)
			k.WaitState(t, "VI_1", control.StateMaster, patience)
			limited := rig.WithWrapper(t, "setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--")
			for name, opts := range map[string][]rig.Option{"as root": nil, "as a service": {limited}} {
				v := rig.StartVIPD(t, node, routerYAML(52), opts...)
				if code := v.WaitExit(t, patience); code != 2 {
					t.Errorf("%s: it ended with %d, want 2", name, code)
				}
				for _, want := range []string{"keepalived (process id ", "stop it first", "--beside-keepalived"} {
					if !strings.Contains(v.Log(), want) {
						t.Errorf("%s: the log does not say %q:\n%s", name, want, v.Log())
					}
				}
				// On purpose it may.
				v = rig.StartVIPD(t, node, routerYAML(52), append(opts, rig.WithArgs("--beside-keepalived"))...)
				v.WaitState(t, "VI_1", control.StateMaster, patience)
				if code := v.Stop(t); code != 0 {
					t.Errorf("%s: beside a keepalived it ended with %d, want 0", name, code)
				}
			}
			if got := k.State("VI_1"); got != control.StateMaster {
				t.Errorf("keepalived is %s after that, want master", got)
			}
			k.Stop(t)
			v := rig.StartVIPD(t, node, routerYAML(51))
			v.WaitState(t, "VI_1", control.StateMaster, patience)
		})
	}
}

func TestVipdStartsBesideOthers(t *testing.T) {
	t.Parallel()
	const says = "speaks VRRP in this network namespace"
	node := oneRouter(t)
	a := rig.StartVIPD(t, node, routerYAML(51))
	a.WaitState(t, "VI_1", control.StateMaster, patience)
	b := rig.StartVIPD(t, node, routerYAML(52))
	b.WaitState(t, "VI_1", control.StateMaster, patience)
	if strings.Contains(b.Log(), says) {
		t.Errorf("a vipd is taken for a rival:\n%s", b.Log())
	}
	// This process is a program of another name.
	var fd int
	check(t, node.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 112)
		return err
	}))
	defer unix.Close(fd)
	c := rig.StartVIPD(t, node, routerYAML(53))
	c.WaitState(t, "VI_1", control.StateMaster, patience)
	if want := "migrating.test (process id "; !strings.Contains(c.Log(), says) || !strings.Contains(c.Log(), want) {
		t.Errorf("the log does not name %q:\n%s", want, c.Log())
	}
}
