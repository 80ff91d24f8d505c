package checks

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/netif/netiftest"
)

// pair returns two nodes of one network: 192.0.2.1 and 2001:db8::1, and the
// same with 2.
func pair(t *testing.T) (*netiftest.Lab, *netiftest.Node, *netiftest.Node) {
	t.Helper()
	lab := netiftest.Start(t)
	b, err := lab.Bridge("lan")
	must(t, err)
	node := func(name, v4, v6 string) *netiftest.Node {
		n, err := lab.Node(name)
		must(t, err)
		must(t, lab.Connect(n, "eth0", b, netiftest.Port{Addrs: []netip.Prefix{netip.MustParsePrefix(v4), netip.MustParsePrefix(v6)}}))
		return n
	}
	return lab, node("host", "192.0.2.1/24", "2001:db8::1/64"), node("gateway", "192.0.2.2/24", "2001:db8::2/64")
}

// pinged runs an ICMP probe inside a node.
func pinged(t *testing.T, n *netiftest.Node, p *ICMP, timeout time.Duration) (string, bool) {
	t.Helper()
	var a Attempt
	must(t, n.Do(func() error {
		a, _ = NewProbe(ProbeConfig{Prober: p, Interval: time.Second, Timeout: timeout, Rise: 1, Fall: 1}).Once(t.Context())
		return nil
	}))
	return a.Detail, a.OK
}

func TestEchoRequestsAreAnswered(t *testing.T) {
	lab, host, gw := pair(t)
	addr := netip.MustParseAddr
	var linkLocal netip.Addr
	for deadline := time.Now().Add(patience); !linkLocal.IsValid(); {
		addrs, err := gw.Addrs("eth0")
		must(t, err)
		for _, a := range addrs {
			if a.Addr().IsLinkLocalUnicast() {
				linkLocal = a.Addr()
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the gateway has no link-local address")
		}
	}
	expectPing := func(what string, p *ICMP, want string, wantOK bool) {
		t.Helper()
		timeout := patience
		if strings.HasPrefix(want, "no echo reply") {
			timeout = 300 * time.Millisecond
		}
		if got, ok := pinged(t, host, p, timeout); got != want || ok != wantOK {
			t.Errorf("%s: %q, %v; want %q, %v", what, got, ok, want, wantOK)
		}
	}
	// A new namespace allows ping sockets to nobody.
	for _, allowed := range []struct{ socket, groups string }{{"raw socket", ""}, {"ping socket", "0 0"}} {
		if allowed.groups != "" {
			must(t, host.Sysctl("net.ipv4.ping_group_range", allowed.groups))
		}
		must(t, host.Do(func() error {
			s, err := openEcho(false)
			if err != nil {
				return err
			}
			if s.raw != (allowed.socket == "raw socket") {
				t.Errorf("not by a %s", allowed.socket)
			}
			return s.file.Close()
		}))
		expectPing("IPv4", &ICMP{Address: addr("192.0.2.2")}, "echo reply from 192.0.2.2", true)
		expectPing("itself", &ICMP{Address: addr("192.0.2.1")}, "echo reply from 192.0.2.1", true)
		expectPing("IPv6", &ICMP{Address: addr("2001:db8::2")}, "echo reply from 2001:db8::2", true)
		expectPing("by an interface", &ICMP{Address: addr("192.0.2.2"), Interface: "eth0"}, "echo reply from 192.0.2.2", true)
		expectPing("link-local", &ICMP{Address: linkLocal, Interface: "eth0"}, "echo reply from "+linkLocal.String(), true)
		expectPing("link-local with its zone", &ICMP{Address: linkLocal.WithZone("eth0")}, "echo reply from "+linkLocal.String(), true)
		expectPing("by the wrong interface", &ICMP{Address: addr("192.0.2.2"), Interface: "lo"}, "no echo reply from 192.0.2.2", false)
		expectPing("by no interface", &ICMP{Address: addr("192.0.2.2"), Interface: "eth7"}, "192.0.2.2: binding to interface eth7: no such device", false)
		expectPing("nobody", &ICMP{Address: addr("192.0.2.77")}, "no echo reply from 192.0.2.77", false)
		expectPing("no way there", &ICMP{Address: addr("198.51.100.1")}, "198.51.100.1: network is unreachable", false)
	}

	expectPing("no default route", &ICMP{Family: 4}, "no IPv4 default gateway", false)
	expectPing("no default route", &ICMP{Family: 6, Interface: "eth0"}, "no IPv6 default gateway on eth0", false)
	must(t, host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), addr("192.0.2.2")))
	must(t, host.AddRoute(netip.MustParsePrefix("::/0"), addr("2001:db8::2")))
	expectPing("the default gateway", &ICMP{Family: 4}, "echo reply from 192.0.2.2 (default gateway)", true)
	expectPing("the default gateway by an interface", &ICMP{Family: 4, Interface: "eth0"}, "echo reply from 192.0.2.2 (default gateway)", true)
	expectPing("the IPv6 default gateway", &ICMP{Family: 6}, "echo reply from 2001:db8::2 (default gateway)", true)
	expectPing("the default gateway of another interface", &ICMP{Family: 4, Interface: "lo"}, "no IPv4 default gateway on lo", false)
	must(t, lab.Isolate(gw, "eth0"))
	expectPing("a gateway that is cut off", &ICMP{Family: 4}, "no echo reply from 192.0.2.2 (default gateway)", false)
	expectPing("an IPv6 gateway that is cut off", &ICMP{Family: 6}, "no echo reply from 2001:db8::2 (default gateway)", false)
}

func TestALinkLocalGatewayIsAskedOnItsInterface(t *testing.T) {
	_, host, gw := pair(t)
	must(t, gw.AddAddr("eth0", netip.MustParsePrefix("fe80::2/64")))
	link, err := host.Interface("eth0")
	must(t, err)
	must(t, host.Netlink().RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, Gw: net.ParseIP("fe80::2"), LinkIndex: link.Index,
	}))
	if got, ok := pinged(t, host, &ICMP{Family: 6}, patience); !ok || got != "echo reply from fe80::2 (default gateway)" {
		t.Errorf("%q, %v", got, ok)
	}
}

func TestAnEchoEndsWithItsContext(t *testing.T) {
	_, host, _ := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	must(t, host.Do(func() error {
		if _, err := (&ICMP{Address: netip.MustParseAddr("192.0.2.77")}).Probe(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		return nil
	}))
	if d := time.Since(start); d > patience/2 {
		t.Errorf("ended after %v", d)
	}
}

func TestOnlyTheRightReplyIsTaken(t *testing.T) {
	ask4 := append([]byte{8, 0, 1, 2, 3, 4, 0, 1}, "0123456789abcdef"...)
	reply := append([]byte{0, 0, 9, 9, 3, 4, 0, 1}, "0123456789abcdef"...)
	ip := append([]byte{0x46}, make([]byte, 23)...) // with four octets of options
	change := func(b []byte, i int) []byte {
		c := append([]byte(nil), b...)
		c[i] ^= 0xff
		return c
	}
	ping, raw := &echoSocket{}, &echoSocket{raw: true}
	tests := []struct {
		name   string
		socket *echoSocket
		packet []byte
		want   bool
	}{
		{"the reply", ping, reply, true},
		{"the reply with the kernel's id", ping, change(reply, 4), true},
		{"the reply on a raw socket", raw, append(append([]byte(nil), ip...), reply...), true},
		{"the reply to another id", raw, append(append([]byte(nil), ip...), change(reply, 5)...), false},
		{"the request itself", ping, ask4, false},
		{"another number", ping, change(reply, 7), false},
		{"other content", ping, change(reply, 20), false},
		{"another code", ping, change(reply, 1), false},
		{"too short", ping, reply[:10], false},
		{"nothing", raw, nil, false},
		{"half an IP header", raw, ip[:20], false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.socket.answers(test.packet, ask4); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	// RFC 1071, the example of section 3.
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("checksum is %#x", got)
	}
}
