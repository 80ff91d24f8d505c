package vrrpconn

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vipd/vrrp"
)

// namespaceEnv is set in the copy of the test binary that runs in a user and
// network namespace of its own. Its value is empty, or why there is none.
const namespaceEnv = "VRRPCONN_TEST_NAMESPACE"

// TestMain runs the tests in a user namespace, where they may make network
// namespaces and open raw sockets without being root.
func TestMain(m *testing.M) {
	flag.Parse()
	_, inside := os.LookupEnv(namespaceEnv)
	// A fuzzing engine talks to its workers through inherited descriptors.
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.fuzzworker").Value.String() == "true"
	if inside || fuzzing {
		os.Exit(m.Run())
	}
	run := func(env string, attr *syscall.SysProcAttr) (int, error) {
		runtime.LockOSThread() // Pdeathsig is about the thread
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), namespaceEnv+"="+env)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = attr
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return exit.ExitCode(), nil
		}
		return 0, err
	}
	code, err := run("", &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	})
	if err != nil {
		reason := fmt.Sprintf("cannot make a user and network namespace: %v", err)
		if code, err = run(reason, nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(code)
}

// A lab is two hosts on a wire: interface eth0 of each is an end of it.
type lab struct {
	hosts [2]netns.NsHandle
	links [2]int // indexes of the interfaces
}

const ifname = "eth0"

// patience is how long a test waits for what should take microseconds.
const patience = 10 * time.Second

// newLab makes a lab. Host h has the addresses 192.168.50.(h+1)/24 and
// fe80::(h+1)/64, and the MAC address 02:00:00:00:00:0a or :0b.
func newLab(t *testing.T) *lab {
	t.Helper()
	if reason, inside := os.LookupEnv(namespaceEnv); !inside || reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no namespaces: %s", reason)
		}
		t.Skipf("no namespaces: %s", reason)
	}
	l := &lab{}
	for h := range l.hosts {
		l.hosts[h] = newNamespace(t)
	}
	for h := range l.hosts {
		l.on(t, h, func() {
			// Link-local addresses come without duplicate detection.
			must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0))
			lo, err := netlink.LinkByName("lo")
			must(t, err)
			must(t, netlink.LinkSetUp(lo))
		})
	}
	mac := func(h int) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, byte(0x0a + h)} }
	l.on(t, 0, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = ifname, mac(0)
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: ifname,
			PeerHardwareAddr: mac(1), PeerNamespace: netlink.NsFd(int(l.hosts[1]))}))
	})
	for h := range l.hosts {
		l.on(t, h, func() {
			link, err := netlink.LinkByName(ifname)
			must(t, err)
			l.links[h] = link.Attrs().Index
			must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+ifname+"/addr_gen_mode", []byte("1"), 0))
			must(t, netlink.LinkSetUp(link))
			addAddress(t, ifname, fmt.Sprintf("192.168.50.%d/24", h+1))
			addAddress(t, ifname, fmt.Sprintf("fe80::%d/64", h+1))
		})
	}
	for h := range l.hosts {
		l.on(t, h, func() {
			waitUp(t, ifname)
		})
	}
	return l
}

// waitUp waits for an interface to carry packets; it drops them until then.
func waitUp(t *testing.T, name string) {
	t.Helper()
	eventually(t, "carrier on "+name, func() bool {
		link, err := netlink.LinkByName(name)
		return err == nil && link.Attrs().OperState == netlink.OperUp
	})
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	ns, err := netns.New()
	must(t, err)
	must(t, netns.Set(here))
	t.Cleanup(func() { ns.Close() })
	return ns
}

// on runs f in the namespace of host h. Sockets opened there stay there.
func (l *lab) on(t *testing.T, h int, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	must(t, netns.Set(l.hosts[h]))
	defer func() {
		if err := netns.Set(here); err != nil {
			panic(err) // this thread must not go on elsewhere
		}
	}()
	f()
}

// open opens a Conn on host h; interface and index are filled in.
func (l *lab) open(t *testing.T, h int, cfg Config) *Conn {
	t.Helper()
	cfg.Interface, cfg.Index = ifname, l.links[h]
	return l.openAs(t, h, cfg)
}

func (l *lab) openAs(t *testing.T, h int, cfg Config) *Conn {
	t.Helper()
	var c *Conn
	var err error
	l.on(t, h, func() { c, err = Open(cfg) })
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func addAddress(t *testing.T, link, prefix string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	must(t, err)
	a, err := netlink.ParseAddr(prefix)
	must(t, err)
	a.Flags = unix.IFA_F_NODAD
	must(t, netlink.AddrAdd(l, a))
	if a.IP.To4() != nil {
		return
	}
	// An IPv6 address is listed some time before the host answers to it.
	host := &net.IPNet{IP: a.IP, Mask: net.CIDRMask(128, 128)}
	eventually(t, "route to "+prefix, func() bool {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: host},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		return err == nil && len(routes) > 0
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually fails the test if ok does not become true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// receive receives n datagrams as the daemon does, one goroutine waiting and
// one receiving, and returns copies.
func receive(t *testing.T, c *Conn, n int) []Datagram {
	t.Helper()
	var out []Datagram
	ds := make([]Datagram, 100)
	deadline := time.After(patience)
	for len(out) < n {
		waited := make(chan error, 1)
		go func() { waited <- c.Wait() }()
		select {
		case err := <-waited:
			must(t, err)
		case <-deadline:
			t.Fatalf("got %d datagrams within %v, want %d", len(out), patience, n)
		}
		k, err := c.Recv(ds)
		must(t, err)
		for _, d := range ds[:k] {
			d.Payload = bytes.Clone(d.Payload)
			out = append(out, d)
		}
	}
	return out
}

// nothing fails the test if c has something to receive. The caller has made
// sure that it would have arrived: delivery over a veth is in order.
func nothing(t *testing.T, c *Conn) {
	t.Helper()
	ds := make([]Datagram, 1)
	if n, err := c.Recv(ds); n != 0 || err != nil {
		t.Errorf("got %+v and %v, want nothing", ds[:n], err)
	}
}

func send(t *testing.T, c *Conn, ms ...Message) {
	t.Helper()
	n, err := c.Send(ms)
	must(t, err)
	if n != len(ms) {
		t.Fatalf("sent %d messages, want %d", n, len(ms))
	}
}

// A tap receives the frames that arrive at an interface.
type tap int

func (l *lab) tap(t *testing.T, h int) tap {
	t.Helper()
	fd := -1
	l.on(t, h, func() {
		var err error
		proto := uint16(unix.ETH_P_ALL)
		proto = proto<<8 | proto>>8
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
		must(t, err)
		t.Cleanup(func() { must(t, unix.Close(fd)) })
		must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: l.links[h]}))
		timeout := unix.NsecToTimeval(int64(patience))
		must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	})
	return tap(fd)
}

// next returns the next frame with an advertisement.
func (tp tap) next(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(int(tp), b, 0)
		must(t, err)
		switch f := b[:n]; {
		case f[12] == 0x08 && f[13] == 0x00 && f[14+9] == vrrp.Protocol, f[12] == 0x86 && f[13] == 0xdd && f[14+6] == vrrp.Protocol:
			return f
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	must(t, err)
	return b
}

var (
	group4 = Config{Family: vrrp.IPv4, Group: vrrp.IPv4.Group()}
	group6 = Config{Family: vrrp.IPv6, Group: vrrp.IPv6.Group()}
)

func TestAMulticastAdvertLeavesAsTheOctetsThatKeepalivedSends(t *testing.T) {
	l := newLab(t)
	tp := l.tap(t, 1)
	a, b := l.open(t, 0, group4), l.open(t, 1, group4)
	pdu := unhex(t, "21 33 64 02 00 01 94ae c0a83264 c0a83265 0000000000000000")

	before := time.Now()
	send(t, a, Message{Src: addr("192.168.50.1"), Dst: group4.Group, TTL: 255, ID: 1, Payload: pdu})

	want := unhex(t, `01005e000012 02000000000a 0800
		45 c0 002c 0001 0000 ff 70 e7e4 c0a83201 e0000012
		21 33 64 02 00 01 94ae c0a83264 c0a83265 0000000000000000`)
	if got := tp.next(t); !bytes.Equal(got, want) {
		t.Errorf("got frame\n%x\nwant\n%x", got, want)
	}
	d := receive(t, b, 1)[0]
	after := time.Now()
	if d.Src != addr("192.168.50.1") || d.Dst != group4.Group || d.TTL != 255 || d.TotalLen != 44 || d.HeaderLen != 20 || d.Truncated {
		t.Errorf("got %+v", d)
	}
	if !bytes.Equal(d.Payload, pdu) {
		t.Errorf("got payload %x, want %x", d.Payload, pdu)
	}
	if d.At.Before(before.Add(-time.Millisecond)) || d.At.After(after) || d.At.Round(0) == d.At {
		t.Errorf("got time stamp %v, want a monotonic time from %v to %v", d.At, before, after)
	}
	nothing(t, a) // our own
}

func TestAMulticastAdvertOnIPv6LeavesAsTheOctetsThatKeepalivedSends(t *testing.T) {
	l := newLab(t)
	l.on(t, 0, func() { addAddress(t, ifname, "fe80::ff:fe00:a/64") })
	tp := l.tap(t, 1)
	a, b := l.open(t, 0, group6), l.open(t, 1, group6)
	pdu := unhex(t, `31 36 64 03 0064 71a2
		fe800000000000000000000000000054 fd000050000000000000000000000100 fd000050000000000000000000000101`)

	before := time.Now()
	send(t, a, Message{Src: addr("fe80::ff:fe00:a"), Dst: group6.Group, TTL: 255, Payload: pdu})

	want := append(unhex(t, `333300000012 02000000000a 86dd
		6c000000 0038 70 ff fe80000000000000000000fffe00000a ff020000000000000000000000000012`), pdu...)
	frame := tp.next(t)
	label := frame[14+1]&0x0f | frame[14+2] | frame[14+3]
	frame[14+1], frame[14+2], frame[14+3] = frame[14+1]&0xf0, 0, 0 // the flow label is the kernel's
	if !bytes.Equal(frame, want) || label == 0 {
		t.Errorf("got frame\n%x\nwant\n%x\nwith a flow label (%v)", frame, want, label != 0)
	}
	d := receive(t, b, 1)[0]
	after := time.Now()
	if d.Src != addr("fe80::ff:fe00:a") || d.Dst != group6.Group || d.TTL != 255 || d.TotalLen != 0 || d.HeaderLen != 0 || d.Truncated {
		t.Errorf("got %+v", d)
	}
	if !bytes.Equal(d.Payload, pdu) {
		t.Errorf("got payload %x, want %x", d.Payload, pdu)
	}
	if d.At.Before(before.Add(-time.Millisecond)) || d.At.After(after) {
		t.Errorf("got time stamp %v, want one from %v to %v", d.At, before, after)
	}
	if !vrrp.VerifyChecksum(d.Payload, d.Src, d.Dst, 0) {
		t.Error("the checksum does not verify for the addresses that arrived")
	}
	nothing(t, a) // our own
}

func TestAUnicastAdvertIsHeardByItsPeersAndByNoOneElse(t *testing.T) {
	for _, tt := range []struct {
		name          string
		f             vrrp.Family
		host          string // first of the peers
		peers         []string
		source, other string
		ttl, want     int
	}{
		{"IPv4", vrrp.IPv4, "192.168.50.2", []string{"192.168.50.20", "192.168.50.21"}, "192.168.50.1", "192.168.50.2", 7, 7},
		{"IPv6", vrrp.IPv6, "fe80::2", []string{"fd00::20", "fd00::21"}, "fd00::1", "fe80::2", 7, 7},
		{"IPv6 link-local", vrrp.IPv6, "fe80::2", []string{"fe80::20", "fe80::21"}, "fe80::1", "fe80::2", 7, 7},
		{"IPv6 with the default hop limit, as keepalived", vrrp.IPv6, "fe80::2", []string{"fd00::20", "fd00::21"}, "fd00::1", "fe80::2", -1, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			bits := 24
			if tt.f == vrrp.IPv6 {
				bits = 64
				if tt.source != "fe80::1" {
					l.on(t, 0, func() { addAddress(t, ifname, tt.source+"/64") })
				}
			}
			// The sockets are open before their addresses are there.
			var conns []*Conn
			for _, p := range append(tt.peers, tt.other) {
				conns = append(conns, l.open(t, 1, Config{Family: tt.f, Source: addr(p)}))
			}
			group := l.open(t, 1, Config{Family: tt.f, Group: tt.f.Group()})
			a := l.open(t, 0, Config{Family: tt.f, Source: addr(tt.source)})
			l.on(t, 1, func() {
				for _, p := range tt.peers {
					addAddress(t, ifname, fmt.Sprintf("%s/%d", p, bits))
				}
			})

			var ms []Message
			for i, p := range tt.peers {
				ms = append(ms, Message{Src: addr(tt.source), Dst: addr(p), TTL: tt.ttl, ID: 3, Payload: []byte{0x31, byte(i)}})
			}
			send(t, a, ms...)
			for i := range tt.peers {
				d := receive(t, conns[i], 1)[0]
				if d.Src != addr(tt.source) || d.Dst != addr(tt.peers[i]) || d.TTL != tt.want || !bytes.Equal(d.Payload, ms[i].Payload) {
					t.Errorf("peer %d: got %+v", i, d)
				}
			}
			for _, c := range append(conns, group, a) {
				nothing(t, c)
			}
		})
	}
}

func TestWhatWeSendToOurselvesIsNotHeard(t *testing.T) {
	for _, f := range []vrrp.Family{vrrp.IPv4, vrrp.IPv6} {
		for _, bound := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, bound to an interface: %v", f, bound), func(t *testing.T) {
				l := newLab(t)
				own, peer := addr("192.168.50.1"), addr("192.168.50.2")
				if f == vrrp.IPv6 {
					own, peer = addr("fd00::1"), addr("fd00::2")
					l.on(t, 0, func() { addAddress(t, ifname, "fd00::1/64") })
					l.on(t, 1, func() { addAddress(t, ifname, "fd00::2/64") })
				}
				open := l.openAs
				if bound {
					open = l.open
				}
				a, b := open(t, 0, Config{Family: f, Source: own}), open(t, 1, Config{Family: f, Source: peer})
				_, _ = a.Send([]Message{{Src: own, Dst: own, TTL: 255, Payload: []byte("self")}}) // may be refused as well
				send(t, a, Message{Src: own, Dst: peer, TTL: 255, Payload: []byte("ping")})
				receive(t, b, 1)
				send(t, b, Message{Src: peer, Dst: own, TTL: 255, Payload: []byte("pong")})
				var got []Datagram
				eventually(t, "answer", func() bool {
					ds := make([]Datagram, 4)
					n, err := a.Recv(ds)
					must(t, err)
					for _, d := range ds[:n] {
						d.Payload = bytes.Clone(d.Payload)
						got = append(got, d)
					}
					return len(got) > 0
				})
				if len(got) != 1 || string(got[0].Payload) != "pong" {
					t.Errorf("got %+v, want the peer's answer alone", got)
				}
				nothing(t, a)
			})
		}
	}
}

func TestAConnHearsOnlyItsInterfaceAndItsGroup(t *testing.T) {
	l := newLab(t)
	// A second wire between the same hosts.
	var second [2]int
	l.on(t, 0, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth1"
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth1", PeerNamespace: netlink.NsFd(int(l.hosts[1]))}))
	})
	for h := range l.hosts {
		l.on(t, h, func() {
			link, err := netlink.LinkByName("eth1")
			must(t, err)
			must(t, netlink.LinkSetUp(link))
			second[h] = link.Attrs().Index
			addAddress(t, "eth1", fmt.Sprintf("192.168.51.%d/24", h+1))
		})
	}
	for h := range l.hosts {
		l.on(t, h, func() { waitUp(t, "eth1") })
	}
	cfg := func(name string, index int, group string) Config {
		return Config{Interface: name, Index: index, Family: vrrp.IPv4, Group: addr(group)}
	}
	first := l.open(t, 1, group4)
	other := l.openAs(t, 1, cfg("eth1", second[1], "224.0.0.18"))
	custom := l.openAs(t, 1, cfg(ifname, l.links[1], "224.0.0.99"))
	a := l.open(t, 0, group4)
	b := l.openAs(t, 0, cfg("eth1", second[0], "224.0.0.18"))
	c := l.openAs(t, 0, cfg(ifname, l.links[0], "224.0.0.99"))
	for i, tt := range []struct {
		from, to *Conn
		src, dst string
	}{{a, first, "192.168.50.1", "224.0.0.18"}, {b, other, "192.168.51.1", "224.0.0.18"}, {c, custom, "192.168.50.1", "224.0.0.99"}} {
		send(t, tt.from, Message{Src: addr(tt.src), Dst: addr(tt.dst), TTL: 255, ID: uint16(i + 1), Payload: []byte{0x31, byte(i)}})
		if d := receive(t, tt.to, 1)[0]; d.Payload[1] != byte(i) {
			t.Errorf("%d: got %+v", i, d)
		}
	}
	for _, c := range []*Conn{first, other, custom, a, b, c} {
		nothing(t, c)
	}
}

func TestManyDatagramsArriveComplete(t *testing.T) {
	const count = 3*batch + 5 // more than one system call sends or receives
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			cfg.ReceiveBuffer = 1 << 20
			a, b, witness := l.open(t, 0, cfg), l.open(t, 1, cfg), l.open(t, 1, cfg)
			src := addr("192.168.50.1")
			if cfg.Family == vrrp.IPv6 {
				src = addr("fe80::1")
			}
			var ms []Message
			for i := range count {
				ms = append(ms, Message{Src: src, Dst: cfg.Group, TTL: 255, ID: uint16(i + 1), Payload: []byte{0x31, byte(i), byte(i >> 8)}})
			}
			send(t, a, ms...)
			send(t, a, Message{Src: src, Dst: cfg.Group, TTL: 255, Payload: []byte("last")})
			receive(t, witness, count+1) // so all of them wait at b, too

			ds := make([]Datagram, count+100)
			n, err := b.Recv(ds)
			must(t, err)
			got := map[string]int{}
			for _, d := range ds[:n] { // the payloads of one call are valid together
				if d.Src != src || d.Dst != cfg.Group || d.TTL != 255 {
					t.Errorf("got %+v", d)
				}
				got[string(d.Payload)]++
			}
			for i, m := range ms {
				if got[string(m.Payload)] != 1 {
					t.Errorf("message %d arrived %d times", i, got[string(m.Payload)])
				}
			}
			if n < count || b.Drops() != 0 {
				t.Errorf("got %d datagrams and %d drops, want at least %d and none", n, b.Drops(), count)
			}
		})
	}
}

func TestTheLongestAdvertArrivesAndALongerOneIsTruncated(t *testing.T) {
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			a, b := l.open(t, 0, cfg), l.open(t, 1, cfg)
			src, longest := addr("192.168.50.1"), 8+255*4+8
			if cfg.Family == vrrp.IPv6 {
				src, longest = addr("fe80::1"), 8+255*16 // in fragments
			}
			for _, tt := range []struct {
				size int
				want bool
			}{{longest, false}, {longest + 100, true}} {
				payload := bytes.Repeat([]byte{0x31}, tt.size)
				send(t, a, Message{Src: src, Dst: cfg.Group, TTL: 255, Payload: payload})
				d := receive(t, b, 1)[0]
				if d.Truncated != tt.want || !tt.want && !bytes.Equal(d.Payload, payload) {
					t.Errorf("%d octets: got %d, truncated %v", tt.size, len(d.Payload), d.Truncated)
				}
			}
		})
	}
}

func TestAMessageThatCannotBeSentDoesNotStopTheOthers(t *testing.T) {
	l := newLab(t)
	// Bound to no interface, so that there is no route to a foreign network.
	a := l.openAs(t, 0, Config{Family: vrrp.IPv4, Source: addr("192.168.50.1")})
	b := l.open(t, 1, Config{Family: vrrp.IPv4, Source: addr("192.168.50.2")})
	good := func(i int) Message {
		return Message{Src: addr("192.168.50.1"), Dst: addr("192.168.50.2"), TTL: 255, ID: 1, Payload: []byte{0x31, byte(i)}}
	}
	var ms []Message
	var want []byte
	bad := map[int]error{}
	for i := range 2*batch + 3 {
		m := good(i)
		switch i % 8 {
		case 0: // the first one, too
			m.Dst, bad[i] = addr("203.0.113.9"), unix.ENETUNREACH
		case 3:
			m.Dst, bad[i] = addr("fd00::1"), unix.EAFNOSUPPORT
		case 4:
			m.TTL, bad[i] = 0, unix.EINVAL
		case 5:
			m.Payload, bad[i] = nil, unix.EMSGSIZE
		case 6:
			m.Payload, bad[i] = make([]byte, 9000), unix.EMSGSIZE // than the interface takes
		default:
			want = append(want, byte(i))
		}
		ms = append(ms, m)
	}
	n, err := a.Send(ms)
	if n != len(want) {
		t.Errorf("sent %d messages, want %d", n, len(want))
	}
	var errs SendErrors
	if !errors.As(err, &errs) {
		t.Fatalf("got error %v, want SendErrors", err)
	}
	var one *SendError
	if !errors.As(err, &one) || one.Err == nil || !errors.Is(err, unix.ENETUNREACH) || !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("the reasons cannot be found in %v", err)
	}
	got := map[int]error{}
	for _, e := range errs {
		got[e.Index] = e.Err
	}
	if len(errs) != len(bad) {
		t.Errorf("got %d errors, want %d", len(errs), len(bad))
	}
	for i, reason := range bad {
		if !errors.Is(got[i], reason) {
			t.Errorf("message %d: got error %v, want %v", i, got[i], reason)
		}
	}
	var arrived []byte
	for _, d := range receive(t, b, len(want)) {
		arrived = append(arrived, d.Payload[1])
	}
	slices.Sort(arrived) // nothing promises the order
	if !bytes.Equal(arrived, want) {
		t.Errorf("got messages %v, want %v", arrived, want)
	}
}

func TestWithoutRoomEveryMessageThatWasNotSentIsNamedAndNothingBlocks(t *testing.T) {
	l := newLab(t)
	a := l.open(t, 0, Config{Family: vrrp.IPv4, Source: addr("192.168.50.1")})
	var err error
	must(t, a.txc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 8192) }))
	must(t, err)
	// Messages to a neighbour that does not answer wait in the kernel and
	// count against the buffer.
	ms := make([]Message, 2*batch)
	for i := range ms {
		ms[i] = Message{Src: addr("192.168.50.1"), Dst: addr("192.168.50.99"), TTL: 255, Payload: make([]byte, 500)}
	}
	n, err := a.Send(ms)
	var errs SendErrors
	if !errors.As(err, &errs) || !errors.Is(err, unix.EAGAIN) || n == 0 || n+len(errs) != len(ms) {
		t.Fatalf("got %d sent and error %v, want some sent and EAGAIN for the others", n, err)
	}
	for i, e := range errs {
		if e.Index != n+i || !errors.Is(e, unix.EAGAIN) {
			t.Errorf("error %d: got %v of message %d, want EAGAIN of %d", i, e.Err, e.Index, n+i)
		}
	}
}

func TestAPeerWithoutRouteOnIPv6DoesNotStopTheOthers(t *testing.T) {
	l := newLab(t)
	l.on(t, 0, func() { addAddress(t, ifname, "fd00::1/64") })
	l.on(t, 1, func() { addAddress(t, ifname, "fd00::2/64") })
	a := l.open(t, 0, Config{Family: vrrp.IPv6, Source: addr("fd00::1")})
	b := l.open(t, 1, Config{Family: vrrp.IPv6, Source: addr("fd00::2")})
	n, err := a.Send([]Message{
		{Src: addr("fd00::1"), Dst: addr("2001:db8::1"), TTL: 255, Payload: []byte("lost")},
		{Src: addr("fd00::99"), Dst: addr("fd00::2"), TTL: 255, Payload: []byte("not from us")},
		{Src: addr("fd00::1"), Dst: addr("fd00::2"), TTL: 255, Payload: []byte("kept")},
	})
	var errs SendErrors
	if n != 1 || !errors.As(err, &errs) || len(errs) != 2 || errs[0].Index != 0 || errs[1].Index != 1 || !errors.Is(errs[0], unix.ENETUNREACH) {
		t.Errorf("got %d sent and error %v", n, err)
	}
	if d := receive(t, b, 1)[0]; string(d.Payload) != "kept" {
		t.Errorf("got %q", d.Payload)
	}
}

func TestAFloodBeyondTheBufferShowsInDrops(t *testing.T) {
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			a := l.open(t, 0, cfg)
			cfg.ReceiveBuffer = 4096
			b := l.open(t, 1, cfg)
			src := addr("192.168.50.1")
			if cfg.Family == vrrp.IPv6 {
				src = addr("fe80::1")
			}
			const count = 500
			ms := make([]Message, count)
			for i := range ms {
				ms[i] = Message{Src: src, Dst: cfg.Group, TTL: 255, Payload: []byte{0x31, byte(i)}}
			}
			if got := b.Drops(); got != 0 {
				t.Errorf("before: got %d drops, want 0", got)
			}
			send(t, a, ms...)
			// Those in the buffer and those dropped are all there are.
			ds, received := make([]Datagram, count), 0
			eventually(t, "accounting", func() bool {
				n, err := b.Recv(ds)
				must(t, err)
				received += n
				return received+int(b.Drops()) >= count
			})
			drops := b.Drops()
			if received+int(drops) != count || drops == 0 || received == 0 {
				t.Errorf("got %d received and %d drops, want %d together and some of each", received, drops, count)
			}
			must(t, b.Close())
			if got := b.Drops(); got != drops {
				t.Errorf("after closing: got %d drops, want %d", got, drops)
			}
		})
	}
}

func TestWhatIsSentBeforeWaitingWakesTheWait(t *testing.T) {
	l := newLab(t)
	a, b := l.open(t, 0, group4), l.open(t, 1, group4)
	m := Message{Src: addr("192.168.50.1"), Dst: group4.Group, TTL: 255, Payload: []byte{0x31, 1}}
	// Waiting and receiving at once, in every order that the scheduler finds.
	for range 2000 {
		send(t, a, m)
		receive(t, b, 1)
	}
	// Waiting does not depend on the edge of an arrival.
	send(t, a, m)
	must(t, b.Wait())
	must(t, b.Wait())
	receive(t, b, 1)
}

func TestReceivingGoesOnWhileAnotherGoroutineWaits(t *testing.T) {
	l := newLab(t)
	a, b := l.open(t, 0, group4), l.open(t, 1, group4)
	waited := make(chan error)
	go func() {
		for {
			err := b.Wait()
			waited <- err
			if err != nil {
				return
			}
		}
	}()
	for i := range 100 {
		nothing(t, b) // does not block, though the other goroutine does
		send(t, b, Message{Src: addr("192.168.50.2"), Dst: group4.Group, TTL: 255, Payload: []byte{0x31, 2}})
		send(t, a, Message{Src: addr("192.168.50.1"), Dst: group4.Group, TTL: 255, Payload: []byte{0x31, byte(i)}})
		for got := 0; got == 0; {
			select {
			case err := <-waited:
				must(t, err)
			case <-time.After(patience):
				t.Fatalf("round %d: still waiting", i)
			}
			n, err := b.Recv(make([]Datagram, 4))
			must(t, err)
			got = n
		}
	}
	must(t, b.Close())
	for err := range waited {
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("got error %v, want net.ErrClosed", err)
			}
			return
		}
	}
}

func TestCloseWakesWaitAndEndsEverythingElse(t *testing.T) {
	l := newLab(t)
	for range 100 {
		var c *Conn
		l.on(t, 0, func() {
			var err error
			c, err = Open(Config{Interface: ifname, Index: l.links[0], Family: vrrp.IPv4, Group: group4.Group})
			must(t, err)
		})
		waited := make(chan error)
		go func() { waited <- c.Wait() }()
		must(t, c.Close())
		select {
		case err := <-waited:
			if !errors.Is(err, net.ErrClosed) {
				t.Fatalf("got error %v, want net.ErrClosed", err)
			}
		case <-time.After(patience):
			t.Fatal("still waiting")
		}
		if n, err := c.Recv(make([]Datagram, 1)); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Fatalf("receiving: got %d and %v, want net.ErrClosed", n, err)
		}
		if n, err := c.Send(make([]Message, 0)); n != 0 || err != nil {
			t.Fatalf("sending nothing: got %d and %v", n, err)
		}
		m := Message{Src: addr("192.168.50.1"), Dst: group4.Group, TTL: 255, Payload: []byte{0x31, 1}}
		var errs SendErrors
		if n, err := c.Send([]Message{m, m}); n != 0 || !errors.Is(err, net.ErrClosed) || !errors.As(err, &errs) || len(errs) != 2 {
			t.Fatalf("sending: got %d and %v, want net.ErrClosed twice", n, err)
		}
		if err := c.Wait(); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("waiting: got %v, want net.ErrClosed", err)
		}
		must(t, c.Close())
	}
}

func TestSendingAndReceivingAllocatesNothing(t *testing.T) {
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			a, b := l.open(t, 0, cfg), l.open(t, 1, cfg)
			src := addr("192.168.50.1")
			if cfg.Family == vrrp.IPv6 {
				src = addr("fe80::1")
			}
			ms := []Message{{Src: src, Dst: cfg.Group, TTL: 255, Payload: []byte{0x31, 1}}, {Src: src, Dst: cfg.Group, TTL: 255, Payload: []byte{0x31, 2}}}
			ds := make([]Datagram, 8)
			round := func() {
				if _, err := a.Send(ms); err != nil {
					t.Fatal(err)
				}
				for got := 0; got < len(ms); {
					if err := b.Wait(); err != nil {
						t.Fatal(err)
					}
					n, err := b.Recv(ds)
					if err != nil {
						t.Fatal(err)
					}
					got += n
				}
			}
			round()
			if got := testing.AllocsPerRun(200, round); got != 0 {
				t.Errorf("got %v allocations in a round, want 0", got)
			}
		})
	}
}

func TestSocketsThatCannotBeOpenedSayWhy(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"neither group nor source", Config{Family: vrrp.IPv4}, "vrrpconn: opening: need either a group or a source address, have invalid IP and invalid IP"},
		{"both", Config{Family: vrrp.IPv4, Index: 1, Group: addr("224.0.0.18"), Source: addr("192.0.2.1")},
			"vrrpconn: opening: need either a group or a source address, have 224.0.0.18 and 192.0.2.1"},
		{"another family", Config{Family: vrrp.IPv4, Index: 1, Group: addr("ff02::12")}, "vrrpconn: opening: group ff02::12 is not IPv4"},
		{"no group", Config{Family: vrrp.IPv4, Index: 1, Group: addr("192.0.2.1")}, "vrrpconn: opening: 192.0.2.1 cannot be a group"},
		{"no source", Config{Family: vrrp.IPv4, Source: addr("224.0.0.18")}, "vrrpconn: opening: 224.0.0.18 cannot be a source address"},
		{"a group on no interface", Config{Family: vrrp.IPv4, Group: addr("224.0.0.18")}, "vrrpconn: opening: group 224.0.0.18 needs an interface index"},
		{"a link-local source on no interface", Config{Family: vrrp.IPv6, Source: addr("fe80::1")}, "vrrpconn: opening: source address fe80::1 needs an interface index"},
		{"a buffer below nothing", Config{Family: vrrp.IPv4, Source: addr("192.0.2.1"), ReceiveBuffer: -1}, "vrrpconn: opening: receive buffer of -1 octets"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(tt.cfg)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got error %v\nwant %s", err, tt.want)
			}
		})
	}

	l := newLab(t)
	l.on(t, 0, func() {
		cfg := group4
		cfg.Interface, cfg.Index = "eth9", 99
		if _, err := Open(cfg); !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "eth9") {
			t.Errorf("on an interface that does not exist: got error %v, want ENODEV with its name", err)
		}
	})
}

func TestWithoutCapabilityTheErrorNamesIt(t *testing.T) {
	l := newLab(t)
	done := make(chan error)
	go func() {
		// This thread ends with the goroutine, its lost capabilities with it.
		runtime.LockOSThread()
		if err := netns.Set(l.hosts[0]); err != nil {
			done <- err
			return
		}
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			done <- err
			return
		}
		_, err := Open(Config{Interface: ifname, Index: l.links[0], Family: vrrp.IPv4, Group: group4.Group})
		done <- err
	}()
	err := <-done
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "needs CAP_NET_RAW") {
		t.Errorf("got error %v, want one that says needs CAP_NET_RAW", err)
	}
}

func TestATimeStampSurvivesASteppedClock(t *testing.T) {
	const ms = time.Millisecond
	now := present()
	for _, tt := range []struct {
		name          string
		empty, waited time.Duration // before now
		step          time.Duration // of the wall clock, since empty
		stampedAfter  bool          // the step
		want          time.Duration // before now
	}{
		{"no step", 1000 * ms, 3 * ms, 0, false, 3 * ms},
		{"received now", 1000 * ms, 0, 0, false, 0},
		{"stamped, stepped an hour forward, read", 1000 * ms, 3 * ms, time.Hour, false, 3 * ms},
		{"stamped, stepped an hour back, read", 1000 * ms, 3 * ms, -time.Hour, false, 3 * ms},
		{"stepped an hour forward, stamped, read", 1000 * ms, 3 * ms, time.Hour, true, 3 * ms},
		{"stepped an hour back, stamped, read", 1000 * ms, 3 * ms, -time.Hour, true, 3 * ms},
		{"stepped half a second forward, stamped, read", 1000 * ms, 3 * ms, 500 * ms, true, 3 * ms},
		{"stepped half a second back, stamped, read", 1000 * ms, 3 * ms, -500 * ms, true, 3 * ms},
		{"waited long, while stepped a little forward", 1000 * ms, 800 * ms, 100 * ms, false, 800 * ms},
		// Nothing tells this from a step before it was stamped.
		{"waited long, while stepped a little back", 1000 * ms, 800 * ms, -100 * ms, false, 700 * ms},
		{"stamped before it could be read", 2 * ms, 3 * ms, 0, false, 2 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			empty := moment{time: now.time.Add(-tt.empty), wall: now.wall.Add(-tt.empty - tt.step)}
			stamp := now.wall.Add(-tt.waited)
			if !tt.stampedAfter {
				stamp = stamp.Add(-tt.step)
			}
			if ago := now.time.Sub(receivedAt(empty, now, stamp)); ago != tt.want {
				t.Errorf("got %v ago, want %v", ago, tt.want)
			}
		})
	}
	empty := moment{time: now.time.Add(-time.Second), wall: now.wall.Add(-time.Second)}
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		if got := receivedAt(empty, now, now.wall.Add(off)); !got.Equal(now.time) {
			t.Errorf("a stamp %v off on both clocks: got %v ago, want now", off, now.time.Sub(got))
		}
	}
}

func TestSteppingTheClockDoesNotMoveWhatWasReceived(t *testing.T) {
	// A datagram waits so long before it is read. The two clocks are read one
	// after the other: a thread that has to wait in between takes it for younger,
	// but hardly so often.
	const (
		unread   = 100 * time.Millisecond
		attempts = 10
	)
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			a, b := l.open(t, 0, cfg), l.open(t, 1, cfg)
			src := addr("192.168.50.1")
			if cfg.Family == vrrp.IPv6 {
				src = addr("fe80::1")
			}
			var step time.Duration // of the wall clock as b sees it
			b.recv.clock = func() moment {
				m := present()
				m.wall = m.wall.Add(step)
				return m
			}
			for _, by := range []time.Duration{time.Hour, -time.Hour} {
				for _, stampedAfter := range []bool{false, true} {
					// The kernel stamps by a clock that is not stepped here.
					atEmpty, atRead := time.Duration(0), by
					if stampedAfter {
						atEmpty, atRead = -by, 0
					}
					var wrong string
					for n := 0; n == 0 || wrong != "" && n < attempts; n++ {
						step = atEmpty
						nothing(t, b)
						before := time.Now()
						send(t, a, Message{Src: src, Dst: cfg.Group, TTL: 255, Payload: []byte{0x31, 1}})
						must(t, b.Wait())
						after := time.Now()
						step = atRead
						time.Sleep(unread)
						wrong = ""
						if d := receive(t, b, 1)[0]; d.At.Before(before) || d.At.After(after.Add(unread/2)) {
							wrong = fmt.Sprintf("received %v after it was sent, and it took no more than %v", d.At.Sub(before), after.Sub(before))
						}
					}
					if wrong != "" {
						t.Errorf("stepped by %v, stamped after that: %v: %s", by, stampedAfter, wrong)
					}
				}
			}
		})
	}
}
