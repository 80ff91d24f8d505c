package exampletest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

func TestAUnicastPairInACloudSurvivesAMasterThatHangs(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "198.51.100.%d/24")
	heard, err := n.b.node.Capture("eth0")
	check(t, err)
	n.start(example(t, "cloud-a.yaml"), example(t, "cloud-b.yaml"), "API")

	n.a.Pause(t)
	n.b.is("API", control.StateMaster)
	rig.Eventually(t, patience, "the kernel removes the address from a, which hangs", func() bool {
		has, err := n.a.node.HasAddr(netip.MustParseAddr("198.51.100.100"))
		check(t, err)
		return !has
	})
	n.a.Continue(t)
	n.masters(n.a, control.StateBackup, "API")

	const script = "record.sh INSTANCE API "
	n.b.told("API", script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 100")
	// a knows that it was replaced, and is a backup before it is master again.
	n.a.told("API", script+"BACKUP 150", script+"MASTER 150", script+"BACKUP 150", script+"MASTER 150")

	frames, err := heard.Stop()
	check(t, err)
	adverts := 0
	for _, f := range frames {
		if f.EtherType() != unix.ETH_P_IP || len(f.Data) < 34 || f.Data[14+9] != 112 {
			continue
		}
		adverts++
		if to := netip.AddrFrom4([4]byte(f.Data[14+16 : 14+20])); to.IsMulticast() || bytes.Equal(f.Data[:3], []byte{1, 0, 0x5e}) {
			t.Fatalf("there was an advert to %v", to)
		}
	}
	if adverts == 0 {
		t.Error("there was no advert at all")
	}
}

// A cloud stands for its API: it knows which server has the address.
type cloud struct {
	mu      sync.Mutex
	server  string
	puts    []string // who asked for it, and what came of it
	trouble string   // what happens to the next request to change it
}

// ServeHTTP answers requests.
func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer secret":
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case r.URL.Path != "/v1/addresses/192.0.2.100":
		http.NotFound(w, r)
	case r.Method == http.MethodPut:
		server, _ := io.ReadAll(r.Body)
		trouble := c.trouble
		c.trouble = ""
		c.puts = append(c.puts, string(server)+trouble)
		if trouble != refused {
			c.server = string(server)
		}
		if trouble != "" {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	case c.server == "":
		http.NotFound(w, r)
	default:
		_, _ = io.WriteString(w, c.server+"\n")
	}
}

// asked returns who has asked for the address.
func (c *cloud) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.puts)
}

// The troubles of a cloud: it does nothing, or it does not say that it has.
const refused, unconfirmed = " refused", " unconfirmed"

// next has something happen to the next request to change something.
func (c *cloud) next(trouble string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = trouble
}

func TestTheNewMasterTellsTheCloudUntilItListens(t *testing.T) {
	t.Parallel()
	netiftest.RequireProgram(t, "curl")
	netiftest.RequireProgram(t, "ip")
	n := newNetwork(t, "198.51.100.%d/24")
	host := n.node("api")
	n.plug(host, "eth0", n.bridge, 254, "198.51.100.%d/24")
	var l net.Listener
	check(t, host.Do(func() (err error) {
		l, err = net.Listen("tcp", "198.51.100.254:80")
		return err
	}))
	api := &cloud{}
	server := &http.Server{Handler: api}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the API: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	for _, r := range []*router{n.a, n.b} {
		r.write(r.etc("cloud.conf"), "API=http://198.51.100.254/v1\nSERVER=web-"+r.node.Name()+"\nTOKEN=secret\n", 0o600)
	}
	n.start(example(t, "cloud-api-a.yaml"), example(t, "cloud-api-b.yaml"), "API")
	const script = "cloud-move-address.sh INSTANCE API "
	n.a.told("API", script+"BACKUP 150", script+"MASTER 150")

	api.next(refused)
	check(t, n.Cut(n.a.node, "eth0"))
	n.masters(n.b, control.StateFault, "API")
	n.b.told("API", script+"BACKUP 100", script+"MASTER 100")
	api.next(unconfirmed)
	check(t, n.Heal(n.a.node, "eth0"))
	n.masters(n.a, control.StateBackup, "API")

	calls := n.a.told("API", script+"BACKUP 150", script+"MASTER 150", script+"FAULT 150", script+"BACKUP 150", script+"MASTER 150")
	n.b.told("API", script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 100")
	calls[4].has(t, map[string]string{
		"VIPD_FROM": "BACKUP", "VIPD_TO": "MASTER", "VIPD_INSTANCE": "API", "VIPD_PRIORITY": "150", "VIPD_REASON": "*",
		"VIPD_MASTER": "198.51.100.11", "VIPD_VIPS": "192.0.2.100/32", "VIPD_INTERFACE": "eth0", "VIPD_VRID": "65",
	})
	// What was refused is asked for again, what was done is not.
	want := []string{"web-a", "web-b refused", "web-b", "web-a unconfirmed"}
	if got := api.asked(); !slices.Equal(got, want) {
		t.Errorf("the cloud was told %q, want %q", got, want)
	}
}

func TestCrossedAddressesAreBothOnTheRouterThatIsLeft(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "192.0.2.%d/24")
	n.a.start(example(t, "crossed-a.yaml"))
	n.a.is("ONE", control.StateMaster)
	n.a.is("TWO", control.StateMaster)
	n.b.start(example(t, "crossed-b.yaml"))
	n.masters(n.a, control.StateBackup, "ONE")
	n.masters(n.b, control.StateBackup, "TWO")

	check(t, n.Cut(n.a.node, "eth0"))
	n.masters(n.b, control.StateFault, "ONE", "TWO")
	check(t, n.Heal(n.a.node, "eth0"))
	n.masters(n.a, control.StateBackup, "ONE")
	n.masters(n.b, control.StateBackup, "TWO")

	const one, two = "record.sh INSTANCE ONE ", "record.sh INSTANCE TWO "
	n.a.told("ONE", one+"BACKUP 150", one+"MASTER 150", one+"FAULT 150", one+"BACKUP 150", one+"MASTER 150")
	n.b.told("ONE", one+"BACKUP 100", one+"MASTER 100", one+"BACKUP 100")
	n.a.told("TWO", two+"BACKUP 100", two+"MASTER 100", two+"BACKUP 100", two+"FAULT 100", two+"BACKUP 100")
	n.b.told("TWO", two+"BACKUP 150", two+"MASTER 150")
}

func TestBothFamiliesMoveWhenOneOfThemIsLost(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "192.0.2.%d/24", "2001:db8::%d/64")
	text := example(t, "dual-stack.yaml")
	n.start(text, other(t, text), "WEB_4", "WEB_6")

	// Somebody turns IPv6 off.
	check(t, n.a.node.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1"))
	n.masters(n.b, control.StateFault, "WEB_4", "WEB_6")
	check(t, n.a.node.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "0"))
	n.masters(n.a, control.StateBackup, "WEB_4", "WEB_6")

	for _, i := range []string{"WEB_4", "WEB_6"} {
		script := "record.sh INSTANCE " + i + " "
		n.a.told(i, script+"BACKUP 150", script+"MASTER 150", script+"FAULT 150", script+"BACKUP 150", script+"MASTER 150")
		n.b.told(i, script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 100")
	}
	const script = "write-state.sh /run/vipd GROUP WEB "
	calls := n.a.told("WEB", script+"BACKUP 0", script+"MASTER 0", script+"FAULT 0", script+"BACKUP 0", script+"MASTER 0")
	n.b.told("WEB", script+"BACKUP 0", script+"MASTER 0", script+"BACKUP 0")
	calls[1].has(t, map[string]string{
		"VIPD_GROUP": "WEB", "VIPD_INSTANCES": "WEB_4 WEB_6", "VIPD_FROM": "BACKUP", "VIPD_TO": "MASTER", "VIPD_EVENT": "MASTER", "VIPD_REASON": "*",
		"VIPD_VIPS": "192.0.2.30/24 fe80::54/64 2001:db8::30/64",
	})
	n.a.stateFile("WEB", "MASTER 0")
	n.b.stateFile("WEB", "BACKUP 0")
}

// vlan gives a node a VLAN interface on eth0. Where the kernel has none (802.1Q),
// a macvlan of that name stands in.
func (n *network) vlan(node *netiftest.Node, ifname string, id int, addr string) {
	n.t.Helper()
	nl := node.Netlink()
	eth0, err := nl.LinkByName("eth0")
	check(n.t, err)
	attrs := netlink.LinkAttrs{Name: ifname, ParentIndex: eth0.Attrs().Index}
	err = nl.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
	if errors.Is(err, unix.EOPNOTSUPP) {
		n.t.Logf("this kernel has no VLAN interfaces: %s is a macvlan", ifname)
		err = nl.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	}
	check(n.t, err)
	check(n.t, node.AddAddr(ifname, netip.MustParsePrefix(addr)))
	link, err := nl.LinkByName(ifname)
	check(n.t, err)
	check(n.t, nl.LinkSetUp(link))
}

func TestAddressesOnVLANsFollowTheirInterfacesAndTheUplink(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	uplink := func(r *router) {
		t.Helper()
		n.vlan(r.node, "eth0.300", 300, map[*router]string{n.a: "198.51.100.11/24", n.b: "198.51.100.12/24"}[r])
	}
	for r, number := range map[*router]string{n.a: "11", n.b: "12"} {
		n.vlan(r.node, "eth0.100", 100, "192.0.2."+number+"/25")
		n.vlan(r.node, "eth0.200", 200, "192.0.2.1"+number+"/25") // 192.0.2.128/25 begins above
		uplink(r)
	}
	text := example(t, "vlan.yaml")
	n.start(text, other(t, text), "OFFICE", "GUESTS")

	remove := func(ifname string) {
		t.Helper()
		link, err := n.a.node.Netlink().LinkByName(ifname)
		check(t, err)
		check(t, n.a.node.Netlink().LinkDel(link))
	}
	remove("eth0.300")
	n.masters(n.b, control.StateFault, "OFFICE", "GUESTS")
	uplink(n.a)
	n.masters(n.a, control.StateBackup, "OFFICE", "GUESTS")

	remove("eth0.100")
	n.masters(n.b, control.StateFault, "OFFICE")
	n.masters(n.a, control.StateBackup, "GUESTS")
	n.vlan(n.a.node, "eth0.100", 100, "192.0.2.11/25")
	n.masters(n.a, control.StateBackup, "OFFICE")

	const office, guests = "record.sh INSTANCE OFFICE ", "record.sh INSTANCE GUESTS "
	n.a.told("OFFICE", office+"BACKUP 150", office+"MASTER 150", office+"FAULT 150", office+"BACKUP 150", office+"MASTER 150",
		office+"FAULT 150", office+"BACKUP 150", office+"MASTER 150")
	n.b.told("OFFICE", office+"BACKUP 100", office+"MASTER 100", office+"BACKUP 100", office+"MASTER 100", office+"BACKUP 100")
	n.a.told("GUESTS", guests+"BACKUP 150", guests+"MASTER 150", guests+"FAULT 150", guests+"BACKUP 150", guests+"MASTER 150")
	n.b.told("GUESTS", guests+"BACKUP 100", guests+"MASTER 100", guests+"BACKUP 100")
}

func TestTheGatewayIsTheRouterWithTheBetterLinkOutside(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "192.0.2.%d/24")
	outside, err := n.Bridge("outside")
	check(t, err)
	n.plug(n.a.node, "eth1", outside, 11, "198.51.100.%d/24")
	n.plug(n.b.node, "eth1", outside, 12, "198.51.100.%d/24")
	text := example(t, "nat-gateway.yaml")
	n.start(text, other(t, text), "GATEWAY")

	check(t, n.Cut(n.a.node, "eth1"))
	n.masters(n.b, control.StateBackup, "GATEWAY")
	// With both cut off, the preferred one is as good as any.
	check(t, n.Cut(n.b.node, "eth1"))
	n.masters(n.a, control.StateBackup, "GATEWAY")
	// Now b is the better one.
	check(t, n.Heal(n.b.node, "eth1"))
	n.masters(n.b, control.StateBackup, "GATEWAY")
	check(t, n.Heal(n.a.node, "eth1"))
	n.masters(n.a, control.StateBackup, "GATEWAY")

	const script = "record.sh INSTANCE GATEWAY "
	n.a.told("GATEWAY", script+"BACKUP 150", script+"MASTER 150", script+"BACKUP 90", script+"MASTER 90", script+"BACKUP 90", script+"MASTER 150")
	n.b.told("GATEWAY", script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 40", script+"MASTER 100", script+"BACKUP 100")
}

func TestAPlainPairHandsOverWhenTheMasterIsStopped(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "192.0.2.%d/24")
	n.start(example(t, "v3-pair-a.yaml"), example(t, "v3-pair-b.yaml"), "WEB")
	if code := n.a.Stop(t); code != 0 {
		t.Errorf("vipd returned %d, want 0", code)
	}
	n.b.is("WEB", control.StateMaster)
	const script = "record.sh INSTANCE WEB "
	n.a.told("WEB", script+"BACKUP 150", script+"MASTER 150", script+"STOP 150")
	n.b.told("WEB", script+"BACKUP 100", script+"MASTER 100")
}

// TestEveryExampleIsTried looks that none is forgotten.
func TestEveryExampleIsTried(t *testing.T) {
	elsewhere := map[string]string{
		"unicast.yaml":            "as cloud-a.yaml, with a third router",
		"v2-keepalived-peer.yaml": "against a keepalived, in package interop",
	}
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	check(t, err)
	if len(files) == 0 {
		t.Fatal("there are no examples")
	}
	tests, err := filepath.Glob("*_test.go")
	check(t, err)
	var text strings.Builder
	for _, f := range tests {
		text.WriteString(source(t, f))
	}
	for _, f := range files {
		name := filepath.Base(f)
		if _, ok := elsewhere[name]; !ok && !strings.Contains(text.String(), `example(t, "`+name+`")`) {
			t.Errorf("no test tries %s", name)
		}
	}
}
