package netif

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"github.com/vishvananda/netlink"
)

func TestZZ(t *testing.T) {
	lo, _ := netlink.LinkByName("lo")
	netlink.LinkSetUp(lo)
	v := netlink.NewVeth(netlink.LinkAttrs{Name: "z0"})
	v.PeerName = "z1"
	if err := netlink.LinkAdd(v); err != nil { t.Fatal(err) }
	l, _ := netlink.LinkByName("z0")
	netlink.LinkSetUp(l)
	l1, _ := netlink.LinkByName("z1")
	netlink.LinkSetUp(l1)
	h, _ := NewHandle()
	for _, bits := range []int{32, 9} {
	for _, n := range []int{1000, 5000} {
		var addrs []Address
		for i := range n {
			addrs = append(addrs, Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128, byte(i >> 8), byte(i)}), bits), Interface: "z0"})
		}
		var raw, ours, rem []time.Duration
		for range 9 {
			var b []byte
			for i := range addrs {
				f := uint16(unix.NLM_F_REQUEST)
				if i == n-1 { f |= unix.NLM_F_ACK }
				b = addrs[i].appendAdd(b, l.Attrs().Index, uint32(i), f)
			}
			unix.SetsockoptInt(h.conn.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20)
			t0 := time.Now()
			if err := h.conn.send(b); err != nil { t.Fatal(err) }
			h.conn.receive(0)
			raw = append(raw, time.Since(t0))
			t0 = time.Now()
			h.Remove(addrs)
			rem = append(rem, time.Since(t0))
			t0 = time.Now()
			for _, r := range h.Add(addrs) { if r.Err != nil || r.Existed { t.Fatal(r) } }
			ours = append(ours, time.Since(t0))
			h.Remove(addrs)
		}
		slices.Sort(raw); slices.Sort(ours); slices.Sort(rem)
		fmt.Println(bits, n, "raw", raw[0], raw[4], "ours", ours[0], ours[4], "remove", rem[0], rem[4])
	}}
}
