package vrrpconn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vipd/vrrp"
)

// any returns the next frame.
func (tp tap) any(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 2048)
	n, _, err := unix.Recvfrom(int(tp), b, 0)
	must(t, err)
	return b[:n]
}

// until returns the frames that come before one with an advertisement whose
// payload ends in mark.
func (tp tap) until(t *testing.T, mark string) [][]byte {
	t.Helper()
	var frames [][]byte
	for {
		f := tp.any(t)
		if isAdvert(f) && bytes.HasSuffix(f, []byte(mark)) {
			return frames
		}
		frames = append(frames, f)
	}
}

func isAdvert(f []byte) bool {
	return f[12] == 0x08 && f[13] == 0x00 && f[14+9] == vrrp.Protocol || f[12] == 0x86 && f[13] == 0xdd && f[14+6] == vrrp.Protocol
}

// memberships returns those of the frames that are about memberships, and fails
// the test if one of them ends the membership of the group.
func memberships(t *testing.T, frames [][]byte, group netip.Addr) [][]byte {
	t.Helper()
	var found [][]byte
	for _, f := range frames {
		var message []byte
		switch {
		case f[12] == 0x08 && f[13] == 0x00 && f[14+9] == unix.IPPROTO_IGMP:
			message = f[14+int(f[14]&0x0f)*4:]
		case f[12] == 0x86 && f[13] == 0xdd && f[14+6] == unix.IPPROTO_HOPOPTS && f[54] == unix.IPPROTO_ICMPV6:
			message = f[62:]
		default:
			continue
		}
		address := group.AsSlice()
		if !bytes.Contains(message, address) {
			continue // of another group
		}
		found = append(found, f)
		switch message[0] {
		case igmpV1Report, igmpV2Report, mldV1Report:
		case igmpV3Report, mldV2Report:
			for records := message[8:]; len(records) >= 4+len(address); {
				if kind := records[0]; bytes.Equal(records[4:4+len(address)], address) && kind != changeToExclude && kind != 2 {
					t.Errorf("a record of type %d about the group: %x", kind, f)
				}
				sources := int(records[2])<<8 | int(records[3])
				records = records[min(len(records), 4+len(address)*(1+sources)+4*int(records[1])):]
			}
		default:
			t.Errorf("a message of type %d about the group: %x", message[0], f)
		}
	}
	return found
}

// sysctl sets a parameter of host h.
func (l *lab) sysctl(t *testing.T, h int, name, value string) {
	t.Helper()
	l.on(t, h, func() { must(t, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)) })
}

// forget makes the interface of host h forget IPv6 or IPv4 and all its groups,
// and then know it again, under the same index.
func (l *lab) forget(t *testing.T, h int, family vrrp.Family) {
	t.Helper()
	elsewhere := newNamespace(t)
	move := func(from, to netns.NsHandle) {
		at, err := netlink.NewHandleAt(from)
		must(t, err)
		defer at.Close()
		link, err := at.LinkByIndex(l.links[h])
		must(t, err)
		if family == vrrp.IPv4 {
			must(t, at.LinkSetNsFd(link, int(to)))
			return
		}
		// The smallest MTU of IPv6 is 1280.
		must(t, at.LinkSetMTU(link, 1279))
		must(t, at.LinkSetMTU(link, 1500))
	}
	move(l.hosts[h], elsewhere)
	if family == vrrp.IPv4 {
		move(elsewhere, l.hosts[h])
	}
	l.on(t, h, func() {
		link, err := netlink.LinkByIndex(l.links[h])
		must(t, err)
		must(t, netlink.LinkSetUp(link))
		waitUp(t, ifname)
	})
}

// check returns what CheckMembership says on host h, and renew what Renew does.
func (l *lab) check(t *testing.T, h int, c *Conn) (err error) {
	t.Helper()
	l.on(t, h, func() { err = c.CheckMembership() })
	return err
}

func (l *lab) renew(t *testing.T, h int, c *Conn) (err error) {
	t.Helper()
	l.on(t, h, func() { err = c.Renew() })
	return err
}

// advert returns an advertisement of host h that ends in mark.
func advert(cfg Config, h int, mark string) Message {
	m := Message{Src: addr(fmt.Sprintf("192.168.50.%d", h+1)), Dst: cfg.Group, TTL: 255, Payload: []byte("1." + mark)}
	if cfg.Family == vrrp.IPv6 {
		m.Src = addr(fmt.Sprintf("fe80::%d", h+1))
	}
	return m
}

// once makes the kernel of host h report an IPv4 membership once and not twice.
func (l *lab) once(t *testing.T, h int) {
	t.Helper()
	l.sysctl(t, h, "ipv4/igmp_qrv", "1")
}

func TestRenewSendsTheReportThatTheKernelSendsOnJoining(t *testing.T) {
	const (
		// To 224.0.0.22 with router alert; one record, to exclude nothing.
		v3 = `01005e000016 02000000000b 0800
			46c0 0028 0000 4000 0102 0000 c0a83202 e0000016 94040000 2200 f9eb 0000 0001 04000000 e0000012`
		v2 = `01005e000012 02000000000b 0800
			46c0 0020 0000 4000 0102 0000 c0a83202 e0000012 94040000 1600 09ed e0000012`
		v1 = `01005e000012 02000000000b 0800
			46c0 0020 0000 4000 0102 0000 c0a83202 e0000012 94040000 1200 0ded e0000012`
	)
	for _, tt := range []struct{ name, version, want string }{
		{"IGMPv3", "3", v3}, {"IGMPv2", "2", v2}, {"IGMPv1", "1", v1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			l.once(t, 1)
			l.sysctl(t, 1, "ipv4/conf/"+ifname+"/force_igmp_version", tt.version)
			tp := l.tap(t, 0)
			b := l.open(t, 1, group4)
			must(t, l.renew(t, 1, b))
			send(t, b, advert(group4, 1, "done"))
			got := memberships(t, tp.until(t, "done"), group4.Group)
			// The kernel's own, on joining, comes a little later or earlier, at the
			// latest after ten seconds with the older versions.
			if n := len(got); n != 1 && n != 2 {
				t.Fatalf("got %d reports, want ours and perhaps the kernel's: %x", n, got)
			}
			for _, f := range got {
				// The identification is the kernel's, and the checksum with it.
				clear(f[18:20])
				clear(f[24:26])
				if want := unhex(t, tt.want); !bytes.Equal(f, want) {
					t.Errorf("got\n%x\nwant\n%x", f, want)
				}
			}
		})
	}

	t.Run("MLD", func(t *testing.T) {
		l := newLab(t)
		l.once(t, 1)
		tp := l.tap(t, 0)
		b := l.open(t, 1, group6)
		must(t, l.renew(t, 1, b))
		send(t, b, advert(group6, 1, "done"))
		frames := memberships(t, tp.until(t, "done"), group6.Group)
		for _, want := range []string{
			`333300000012 02000000000b 86dd 60000000 0020 0001 fe800000000000000000000000000002 ff020000000000000000000000000012
				3a00 05020000 0100 8300 8000 00000000 ff020000000000000000000000000012`,
			`333300000016 02000000000b 86dd 60000000 0024 0001 fe800000000000000000000000000002 ff020000000000000000000000000016
				3a00 05020000 0100 8f00 6ff7 0000 0001 04000000 ff020000000000000000000000000012`,
		} {
			found := false
			for _, f := range frames {
				found = found || bytes.Equal(f, unhex(t, want))
			}
			if !found {
				t.Errorf("got\n%x\nwant among them\n%x", frames, unhex(t, want))
			}
		}
	})
}

func TestRenewLosesNoDatagramAndLeavesNoGroup(t *testing.T) {
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			tp := l.tap(t, 0)
			cfg.ReceiveBuffer = 1 << 20
			a, b := l.open(t, 0, cfg), l.open(t, 1, cfg)
			const rounds, each = 20, 10
			sent := make(chan error, 1)
			go func() {
				var failed error
				for range rounds * each {
					if _, err := a.Send([]Message{advert(cfg, 0, "kept")}); err != nil {
						failed = errors.Join(failed, err)
					}
					runtime.Gosched()
				}
				sent <- failed
			}()
			for range rounds {
				must(t, l.check(t, 1, b))
				must(t, l.renew(t, 1, b))
			}
			must(t, <-sent)
			send(t, b, advert(cfg, 1, "done"))
			if got, want := len(memberships(t, tp.until(t, "done"), cfg.Group)), rounds; got < want {
				t.Errorf("got %d reports, want at least %d", got, want)
			}
			if got := len(receive(t, b, rounds*each)); got != rounds*each {
				t.Errorf("got %d datagrams, want %d", got, rounds*each)
			}
			must(t, l.check(t, 1, b))
		})
	}
}

func TestAMembershipThatIsLostIsNoticedAndRenewed(t *testing.T) {
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			tp := l.tap(t, 0)
			a, b := l.open(t, 0, cfg), l.open(t, 1, cfg)
			must(t, l.check(t, 1, b))
			l.forget(t, 1, cfg.Family)
			if err := l.check(t, 1, b); !errors.Is(err, ErrNotMember) {
				t.Fatalf("got %v, want %v", err, ErrNotMember)
			}
			// It is true: what is sent now is not received.
			send(t, a, advert(cfg, 0, "lost"))
			tp.until(t, "lost")

			must(t, l.renew(t, 1, b))
			must(t, l.check(t, 1, b))
			send(t, a, advert(cfg, 0, "kept"))
			if got := string(receive(t, b, 1)[0].Payload); got != "1.kept" {
				t.Errorf("got %q, want 1.kept", got)
			}
			// The kernel reports the group, and says nothing of leaving it.
			for got := 0; got == 0; {
				got = len(memberships(t, [][]byte{tp.any(t)}, cfg.Group))
			}
		})
	}
}

func TestAMembershipGoesWithItsInterface(t *testing.T) {
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			b := l.open(t, 1, cfg)
			l.on(t, 1, func() {
				link, err := netlink.LinkByIndex(l.links[1])
				must(t, err)
				must(t, netlink.LinkDel(link))
			})
			if err := l.check(t, 1, b); !errors.Is(err, ErrNotMember) {
				t.Errorf("got %v, want %v", err, ErrNotMember)
			}
			if err := l.renew(t, 1, b); !errors.Is(err, unix.ENODEV) {
				t.Errorf("renewing: got %v, want %v", err, unix.ENODEV)
			}
			must(t, b.Close())
			if err := l.check(t, 1, b); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed: got %v, want %v", err, net.ErrClosed)
			}
			if err := l.renew(t, 1, b); !errors.Is(err, net.ErrClosed) {
				t.Errorf("renewing, closed: got %v, want %v", err, net.ErrClosed)
			}
		})
	}
}

func TestAMembershipOfTheInterfaceAloneIsNone(t *testing.T) {
	for _, cfg := range []Config{group4, group6} {
		t.Run(cfg.Family.String(), func(t *testing.T) {
			l := newLab(t)
			a, b, other := l.open(t, 0, cfg), l.open(t, 1, cfg), l.open(t, 1, cfg)
			var refused error
			must(t, b.rxc.Control(func(fd uintptr) {
				if cfg.Family == vrrp.IPv4 {
					refused = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, &unix.IPMreqn{Multiaddr: cfg.Group.As4(), Ifindex: int32(l.links[1])})
					return
				}
				refused = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, &unix.IPv6Mreq{Multiaddr: cfg.Group.As16(), Interface: uint32(l.links[1])})
			}))
			must(t, refused)
			if err := l.check(t, 1, b); !errors.Is(err, ErrNotMember) {
				t.Errorf("got %v, want %v", err, ErrNotMember)
			}
			must(t, l.check(t, 1, other))
			must(t, l.renew(t, 1, b))
			must(t, l.check(t, 1, b))
			send(t, a, advert(cfg, 0, "kept"))
			receive(t, b, 1)
		})
	}
}

func TestRenewReportsNoGroupOfTheLinkWhereTheHostIsToldNotTo(t *testing.T) {
	l := newLab(t)
	l.once(t, 1)
	b := l.open(t, 1, group4)
	own := group4
	own.Group = addr("239.1.2.3")
	c := l.open(t, 1, own)
	l.sysctl(t, 1, "ipv4/igmp_link_local_mcast_reports", "0")
	tp := l.tap(t, 0)
	must(t, l.renew(t, 1, b))
	must(t, l.renew(t, 1, c))
	send(t, b, advert(group4, 1, "done"))
	frames := tp.until(t, "done")
	if got := memberships(t, frames, own.Group); len(got) == 0 {
		t.Error("no report of a group that routers forward")
	}
	for _, f := range memberships(t, frames, group4.Group) {
		t.Errorf("reported all the same: %x", f)
	}
}

func TestAUnicastConnHasNoMembershipToLose(t *testing.T) {
	l := newLab(t)
	tp := l.tap(t, 0)
	b := l.open(t, 1, Config{Family: vrrp.IPv4, Source: addr("192.168.50.2")})
	must(t, l.check(t, 1, b))
	must(t, l.renew(t, 1, b))
	send(t, b, Message{Src: addr("192.168.50.2"), Dst: addr("192.168.50.1"), TTL: 255, Payload: []byte("1.done")})
	if got := memberships(t, tp.until(t, "done"), group4.Group); len(got) != 0 {
		t.Errorf("got %x", got)
	}
}

func TestGroupsAreFoundInTheTablesOfTheKernel(t *testing.T) {
	octets := [4]byte{224, 0, 0, 18}
	igmp := fmt.Sprintf("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"+
		"1\tlo        :     1      V3\n\t\t\t\t01010101     1 0:00000000\t\t0\n"+
		"12\tbond0.1234:     1      V2\n\t\t\t\t%08X     1 0:00000000\t\t0\n"+
		"2\tvery-long-name1:     2      V1\n\t\t\t\t01010101     1 0:00000000\t\t0\n\t\t\t\t%08[1]X     1 0:00000000\t\t0\n",
		binary.NativeEndian.Uint32(octets[:]))
	igmp6 := "1    lo              ff020000000000000000000000000001     1 0000000C 0\n" +
		"12   bond0.1234      ff020000000000000000000000000012     1 00000004 0\n" +
		"2    very-long-name1 ff020000000000000000000000000001     1 0000000C 0\n" +
		"2    very-long-name1 ff020000000000000000000000000012     1 00000004 0\n"
	for _, tt := range []struct {
		index   int
		ok      bool
		querier string
	}{{1, false, ""}, {2, true, "V1"}, {12, true, "V2"}, {3, false, ""}} {
		if querier, ok := findIGMP([]byte(igmp), tt.index, group4.Group); querier != tt.querier || ok != tt.ok {
			t.Errorf("IPv4, interface %d: got %q, %v, want %q, %v", tt.index, querier, ok, tt.querier, tt.ok)
		}
		if _, ok := findIGMP6([]byte(igmp6), tt.index, group6.Group); ok != tt.ok {
			t.Errorf("IPv6, interface %d: got %v, want %v", tt.index, ok, tt.ok)
		}
	}
	for n := range igmp {
		findIGMP([]byte(igmp[:n]), 2, group4.Group)
		findIGMP6([]byte(igmp6[:min(n, len(igmp6))]), 2, group6.Group)
	}
}
