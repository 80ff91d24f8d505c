package rig

import (
	"net/netip"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/netif/netiftest"
)

func TestMain(m *testing.M) { Main(m) }

const vipdYAML = `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 51
    priority: 150
    advert_int: 100ms
    virtual_ipaddress: 10.0.0.100/24
`

const keepalivedConf = `
vrrp_instance VI_1 {
    version 3
    interface eth0
    virtual_router_id 51
    priority 100
    advert_int 0.1
    virtual_ipaddress {
        10.0.0.100/24
    }
}
`

// pair returns two nodes on a bridge.
func pair(t *testing.T) (a, b *netiftest.Node) {
	t.Helper()
	lab := netiftest.Start(t)
	lan, err := lab.Bridge("lan")
	if err != nil {
		t.Fatal(err)
	}
	nodes := make([]*netiftest.Node, 2)
	for i := range nodes {
		n, err := lab.Node(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		if err := lab.Connect(n, "eth0", lan, netiftest.Port{Addrs: []netip.Prefix{netip.PrefixFrom(addr, 24)}}); err != nil {
			t.Fatal(err)
		}
		nodes[i] = n
	}
	return nodes[0], nodes[1]
}

const patience = 20 * time.Second

func TestEachDaemonIsStartedHeldUpAndEnded(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	v := StartVIPD(t, a, vipdYAML)
	k := StartKeepalived(t, b, keepalivedConf)
	for _, test := range []struct{ master, backup Daemon }{{v, k}, {k, v}} {
		if test.master == k {
			if code := v.Stop(t); code != 0 {
				t.Errorf("vipd ended with %d, want 0", code)
			}
			k.WaitState(t, "VI_1", control.StateMaster, patience)
			v = StartVIPD(t, a, vipdYAML, WithRunDir(v.RunDir))
			v.WaitState(t, "VI_1", control.StateMaster, patience)
			k.WaitState(t, "VI_1", control.StateBackup, patience)
			continue
		}
		v.WaitState(t, "VI_1", control.StateMaster, patience)
		k.WaitState(t, "VI_1", control.StateBackup, patience)
		v.Pause(t)
		k.WaitState(t, "VI_1", control.StateMaster, patience)
		v.Continue(t)
		k.WaitState(t, "VI_1", control.StateBackup, patience)
	}
	k.Pause(t)
	k.Continue(t)
	if code := k.Stop(t); code != 0 {
		t.Errorf("keepalived ended with %d, want 0", code)
	}
	v.Kill(t)
	if got := v.State("VI_1"); got != "" {
		t.Errorf("a vipd that was killed says it is %s", got)
	}
	held, err := a.HasAddr(netip.MustParseAddr("10.0.0.100"))
	if err != nil || !held {
		t.Errorf("a vipd that was killed took its address away: %v", err)
	}
}

func TestFRRIsStartedAndEnded(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	RequireFRR(t)
	f := StartFRR(t, a, FRRRouter{
		Instance: "VI_1", Interface: "eth0", VRID: 51,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.100/24")},
		Lines: []string{"priority 100", "advertisement-interval 100"},
	})
	f.WaitState(t, "VI_1", control.StateMaster, patience)
	if code := f.Stop(t); code != 0 {
		t.Errorf("vrrpd ended with %d, want 0", code)
	}
	if got := f.State("VI_1"); got != control.StateInit {
		t.Errorf("the state is %q after the end, want %q", got, control.StateInit)
	}
}
