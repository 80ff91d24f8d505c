package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/arp"
	"vipd/config"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

func TestTheImaginaryRoutersAdvertIsSeenAsWhatItIs(t *testing.T) {
	vip := netip.MustParseAddr("10.0.1.1")
	f, err := advertFrame(senderMAC, senderAddr(0), &vrrp.Advertisement{
		Version: vrrp.V3, VRID: 7, Priority: 200, Interval: time.Second, Addrs: []netip.Addr{vip},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := onesSum(f[etherLen : etherLen+ipv4Len]); got != 0xffff {
		t.Errorf("the sum over the IPv4 header is %#x", got)
	}
	if !vrrp.VerifyChecksum(f[etherLen+ipv4Len:], senderAddr(0), vrrp.IPv4.Group(), vrrp.ChecksumPseudoHeader) {
		t.Error("the advertisement's checksum is wrong")
	}
	if got, want := [6]byte(f), [6]byte{0x01, 0, 0x5e, 0, 0, 18}; got != want {
		t.Errorf("sent to %x, want %x", got, want)
	}
	got, ok := sight(netiftest.Frame{At: epoch, Data: f}, 3)
	want := sighting{at: epoch, kind: advert, from: senderMAC, network: 3, vrid: 7, priority: 200, address: senderAddr(0)}
	if !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
}

func TestOnlyAdvertsAndAnnouncementsAreSeen(t *testing.T) {
	vip := netip.MustParseAddr("10.0.1.1")
	garp := arp.AppendGratuitous(nil, arp.MAC(routerMAC(0)), vip)
	got, ok := sight(netiftest.Frame{At: epoch, Data: garp}, 0)
	if want := (sighting{at: epoch, kind: announcement, from: routerMAC(0), address: vip}); !ok || got != want {
		t.Errorf("an announcement: got %+v, %v, want %+v", got, ok, want)
	}
	question := slices.Clone(garp)
	question[arpTarget+3]++
	icmp, err := advertFrame(senderMAC, senderAddr(0), &vrrp.Advertisement{Version: vrrp.V3, Interval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	icmp[etherLen+9] = 1
	for name, b := range map[string][]byte{
		"nothing": nil, "a question": question, "another protocol": icmp,
		"half an announcement": garp[:30], "half an Ethernet header": garp[:9],
		"an advert cut short": append(slices.Clone(icmp[:etherLen+9]), vrrp.Protocol),
	} {
		if s, ok := sight(netiftest.Frame{Data: b}, 0); ok {
			t.Errorf("%s is seen as %+v", name, s)
		}
	}
}

func TestBothConfigurationsSayTheSame(t *testing.T) {
	for _, s := range []setup{
		{interval: time.Second, priority: 100, interfaces: 1, vrids: 1, vips: 1},
		{interval: 10 * time.Millisecond, priority: 255, interfaces: 1, vrids: 1, vips: 1, realTime: 50},
		{interval: 100 * time.Millisecond, priority: 100, interfaces: 5, vrids: 200, vips: 1, oneBlock: true},
		{interval: 100 * time.Millisecond, priority: 100, interfaces: 1, vrids: 1, vips: 5000},
	} {
		cfg, problems := config.Parse("bench.yaml", []byte(s.vipdYAML()))
		if problems.HasErrors() {
			t.Fatalf("%+v: %v", s, problems[0])
		}
		if got, want := len(cfg.Instances), s.routers(); got != want {
			t.Errorf("%+v: %d instances, want %d", s, got, want)
		}
		seen := make(map[netip.Addr]bool)
		for _, inst := range cfg.Instances {
			if inst.AdvertInterval != s.interval || inst.Priority != s.priority || inst.Version != vrrp.V3 || inst.HigherPrioSendAdvert || inst.GARP.Refresh != 0 {
				t.Errorf("%+v: %s is %+v", s, inst.Name, inst)
			}
			if got, want := len(inst.Addresses), min(s.vips, maxAdvertised); got != want {
				t.Errorf("%+v: %d advertised addresses, want %d", s, got, want)
			}
			for _, a := range slices.Concat(inst.Addresses, inst.Excluded) {
				if seen[a.Prefix.Addr()] {
					t.Errorf("%+v: %v twice", s, a.Prefix)
				}
				seen[a.Prefix.Addr()] = true
			}
		}
		conf := s.keepalivedConf()
		if got, want := strings.Count(conf, "vrrp_instance "), s.routers(); got != want {
			t.Errorf("%+v: %d instances for keepalived, want %d", s, got, want)
		}
		for a := range seen {
			if !strings.Contains(conf, "    "+a.String()+"\n") {
				t.Errorf("%+v: keepalived has no %v", s, a)
			}
		}
		if got, want := strings.Count(conf, "{"), strings.Count(conf, "}"); got != want {
			t.Errorf("%+v: %d blocks are opened, %d closed", s, got, want)
		}
	}
}

func TestIntervalsAreWrittenInSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Millisecond: "0.01", 100 * time.Millisecond: "0.1", time.Second: "1", 10 * time.Second: "10", 1500 * time.Millisecond: "1.5",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
