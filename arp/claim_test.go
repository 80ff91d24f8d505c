package arp_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	mdarp "github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"

	"vipd/arp"
)

// rival is the hardware address of the other station.
var rival = arp.MAC{0x02, 0, 0, 0, 0, 0x0b}

// The frames that claim 192.0.2.1 or 2001:db8::1 for rival.
const (
	gratuitousRequest = `ffffffffffff 02000000000b 0806
		0001 0800 06 04 0001 02000000000b c0000201 000000000000 c0000201`
	gratuitousReply = `ffffffffffff 02000000000b 0806
		0001 0800 06 04 0002 02000000000b c0000201 ffffffffffff c0000201`
	request = `ffffffffffff 02000000000b 0806
		0001 0800 06 04 0001 02000000000b c0000201 000000000000 c0000202`
	reply = `02000000000a 02000000000b 0806
		0001 0800 06 04 0002 02000000000b c0000201 02000000000a c0000202`
	probe = `ffffffffffff 02000000000b 0806
		0001 0800 06 04 0001 02000000000b 00000000 000000000000 c0000201`
	naHeader    = `333300000001 02000000000c 86dd 60000000`
	toAll       = `3aff 20010db8000000000000000000000001 ff020000000000000000000000000001`
	toHost      = `3aff 20010db8000000000000000000000001 20010db8000000000000000000000002`
	naTarget    = `20010db8000000000000000000000001`
	naMACOption = `0201 02000000000b`
)

// na returns a frame with an advertisement from 02:00:00:00:00:0c, with its
// checksum.
func na(t *testing.T, addresses, flags, target, options string) []byte {
	t.Helper()
	message := octets(t, "88000000"+flags+"000000"+target+options)
	b := octets(t, naHeader)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	b = append(append(b, octets(t, addresses)...), message...)
	return sealNA(b)
}

// sealNA puts the right checksum into a frame with an advertisement.
func sealNA(b []byte) []byte {
	message := b[54 : 54+int(binary.BigEndian.Uint16(b[18:]))]
	message[2], message[3] = 0, 0
	words := slices.Concat(b[22:54], message, make([]byte, len(message)%2))
	sum := uint32(len(message)) + 58
	for i := 0; i < len(words); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(words[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum))
	return b
}

// patched returns a copy of a frame with other octets at one place.
func patched(frame []byte, at int, b ...byte) []byte {
	frame = bytes.Clone(frame)
	copy(frame[at:], b)
	return frame
}

func TestClaimsAreParsed(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	relay := arp.MAC{0x02, 0, 0, 0, 0, 0x0c}
	plain := na(t, toAll, "20", naTarget, naMACOption)
	request, reply := octets(t, request), octets(t, reply)
	for _, tt := range []struct {
		name  string
		frame []byte
		want  arp.Claim
	}{
		{"a gratuitous request", octets(t, gratuitousRequest), arp.Claim{Addr: v4, MAC: rival, Gratuitous: true}},
		{"a gratuitous reply", octets(t, gratuitousReply), arp.Claim{Addr: v4, MAC: rival, Gratuitous: true}},
		{"a request for another address", request, arp.Claim{Addr: v4, MAC: rival}},
		{"a reply to another address", reply, arp.Claim{Addr: v4, MAC: rival}},
		{"the sender in the ARP counts, not that of the frame", patched(reply, 6, relay[:]...), arp.Claim{Addr: v4, MAC: rival}},
		{"padding does not matter", append(bytes.Clone(reply), make([]byte, 18)...), arp.Claim{Addr: v4, MAC: rival}},
		{"hardware of IEEE 802", patched(reply, 14, 0, 6), arp.Claim{Addr: v4, MAC: rival}},
		{"an unsolicited advertisement", plain, arp.Claim{Addr: v6, MAC: rival, Kind: arp.NA, Gratuitous: true}},
		{"an advertisement with padding", append(bytes.Clone(plain), 1, 2, 3), arp.Claim{Addr: v6, MAC: rival, Kind: arp.NA, Gratuitous: true}},
		{"a solicited advertisement", na(t, toHost, "60", naTarget, naMACOption), arp.Claim{Addr: v6, MAC: rival, Kind: arp.NA}},
		{"an advertisement without option is of the sender of the frame", na(t, toHost, "60", naTarget, ""), arp.Claim{Addr: v6, MAC: relay, Kind: arp.NA}},
		{"other options are passed over", na(t, toAll, "20", naTarget, "0e01 010203040506"+naMACOption+"0e01 010203040506"),
			arp.Claim{Addr: v6, MAC: rival, Kind: arp.NA, Gratuitous: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, source, ok := arp.ParseClaim(tt.frame)
			if !ok || got != tt.want || source != arp.MAC(tt.frame[6:]) {
				t.Errorf("got %+v from %v, %v, want %+v", got, source, ok, tt.want)
			}
		})
	}
}

func TestWhatAHostWouldNotLearnFromIsNoClaim(t *testing.T) {
	good := na(t, toAll, "20", naTarget, naMACOption)
	reply := octets(t, reply)
	for _, tt := range []struct {
		name  string
		frame []byte
	}{
		{"a probe", octets(t, probe)},
		{"another protocol", patched(reply, 12, 0x08, 0x00)},
		{"hardware that is not Ethernet", patched(reply, 14, 0, 7)},
		{"an ARP for another protocol", patched(reply, 16, 0x86, 0xdd)},
		{"long hardware addresses", patched(reply, 18, 8)},
		{"long protocol addresses", patched(reply, 19, 16)},
		{"inverse ARP", patched(reply, 20, 0, 9)},
		{"no hardware address", patched(reply, 22, 0, 0, 0, 0, 0, 0)},
		{"a broken checksum", patched(good, 56, good[56]+1)},
		{"a router's hop limit", sealNA(patched(good, 21, 254))},
		{"IPv4 in an IPv6 frame", sealNA(patched(good, 14, 0x40))},
		{"another message", sealNA(patched(good, 54, 135))},
		{"another code", sealNA(patched(good, 55, 1))},
		{"an extension header", patched(good, 20, 0)},
		{"solicited and sent to all", na(t, toAll, "60", naTarget, naMACOption)},
		{"a group as target", na(t, toAll, "20", "ff020000000000000000000000000001", naMACOption)},
		{"nothing as target", na(t, toAll, "20", "00000000000000000000000000000000", naMACOption)},
		{"an option of no length", na(t, toAll, "20", naTarget, "0200 02000000000b")},
		{"an option that is longer than the message", na(t, toAll, "20", naTarget, "0202 02000000000b")},
		{"half an option", na(t, toAll, "20", naTarget, "02")},
		{"a message without target", patched(good, 18, 0, 23)},
		{"more than there is", patched(good, 18, 0, 33)},
		{"no hardware address in the option", na(t, toAll, "20", naTarget, "0201 000000000000")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _, ok := arp.ParseClaim(tt.frame); ok {
				t.Errorf("got %+v", got)
			}
		})
	}
	for _, whole := range [][]byte{reply, good} {
		for n := range whole {
			if got, _, ok := arp.ParseClaim(whole[:n]); ok {
				t.Errorf("the first %d octets of %x: got %+v", n, whole, got)
			}
		}
	}
}

// FuzzClaims holds the parser against those of other libraries, and the filter
// against what it is meant to do.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{gratuitousRequest, gratuitousReply, request, reply, probe} {
		f.Add(bytesOf(s), uint8(1), false)
	}
	f.Add(arp.AppendUnsolicitedNA(nil, rival, netip.MustParseAddr("2001:db8::1"), false), uint8(64), true)
	f.Add(arp.AppendUnsolicitedNA(nil, rival, netip.MustParseAddr("2001:db8::1"), true), uint8(65), false)
	f.Add(arp.AppendGratuitous(nil, rival, netip.MustParseAddr("192.0.2.1")), uint8(65), false)
	f.Fuzz(func(t *testing.T, frame []byte, n uint8, seal bool) {
		if seal && len(frame) >= 54+4 && len(frame) >= 54+int(binary.BigEndian.Uint16(frame[18:])) && binary.BigEndian.Uint16(frame[18:]) >= 4 {
			frame = sealNA(bytes.Clone(frame))
		}
		claim, source, ok := arp.ParseClaim(frame)
		if ok {
			checkClaim(t, frame, claim, source)
		}
		// The address in question is the last, the first or not at all among
		// as many as n.
		var sender netip.Addr
		var target netip.Addr
		if len(frame) >= 42 {
			sender = netip.AddrFrom4([4]byte(frame[28:]))
		}
		if len(frame) >= 78 {
			target = netip.AddrFrom16([16]byte(frame[62:]))
		}
		for _, a := range []netip.Addr{sender, target} {
			if !a.IsValid() {
				a = netip.MustParseAddr("192.0.2.1")
			}
			others := make([]netip.Addr, n)
			for i, next := 0, a.Next(); i < len(others); i, next = i+1, next.Next() {
				if !next.IsValid() {
					next = a.Prev()
					for range n {
						next = next.Prev()
					}
				}
				if !next.IsValid() {
					t.Skip()
				}
				others[i] = next
			}
			for _, addrs := range [][]netip.Addr{append(slices.Clone(others), a), append([]netip.Addr{a}, others...), others} {
				filter, want := arp.ARPFilter, keepsARP
				if a.Is6() {
					filter, want = arp.NAFilter, keepsNA
				}
				vm, err := bpf.NewVM(filter(addrs))
				if err != nil {
					t.Fatal(err)
				}
				kept, err := vm.Run(frame)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := kept != 0, want(frame, addrs); got != want {
					t.Errorf("%d addresses, %v among them: %v; the filter keeps %x: %v, want %v",
						len(addrs), a, slices.Contains(addrs, a), frame, got, want)
				}
				// No claim of interest is lost.
				if ok && slices.Contains(addrs, claim.Addr) && kept == 0 && (len(addrs) <= arp.MaxExact || claim.Gratuitous) {
					t.Errorf("%d addresses: the filter drops %x, a claim of %v", len(addrs), frame, claim.Addr)
				}
			}
		}
	})
}

// bytesOf decodes a hexadecimal constant.
func bytesOf(s string) []byte {
	var t testing.T
	return octets(&t, s)
}

// keepsARP says what the filter for ARP is meant to keep.
func keepsARP(frame []byte, addrs []netip.Addr) bool {
	if len(frame) < 32 || string(frame[12:14]) != "\x08\x06" || string(frame[16:20]) != "\x08\x00\x06\x04" {
		return false
	}
	if len(addrs) > arp.MaxExact {
		return len(frame) >= 42 && string(frame[28:32]) == string(frame[38:42])
	}
	return slices.Contains(addrs, netip.AddrFrom4([4]byte(frame[28:])))
}

// keepsNA says what the filter for advertisements is meant to keep.
func keepsNA(frame []byte, addrs []netip.Addr) bool {
	if len(frame) < 55 || string(frame[12:14]) != "\x86\xdd" || frame[20] != 58 || frame[21] != 255 || frame[54] != 136 {
		return false
	}
	return len(addrs) > arp.MaxExact || len(frame) >= 78 && slices.Contains(addrs, netip.AddrFrom16([16]byte(frame[62:])))
}

// checkClaim compares what was parsed with what other libraries find there.
func checkClaim(t *testing.T, frame []byte, claim arp.Claim, source arp.MAC) {
	t.Helper()
	if source != arp.MAC(frame[6:]) || claim.MAC == (arp.MAC{}) || !claim.At.Equal(time.Time{}) {
		t.Errorf("%x: got %+v from %v", frame, claim, source)
	}
	if claim.Kind == arp.GARP {
		var p mdarp.Packet
		if err := p.UnmarshalBinary(frame[14:]); err != nil {
			t.Fatalf("%x: got %+v, others %v", frame, claim, err)
		}
		if p.SenderIP != claim.Addr || string(p.SenderHardwareAddr) != string(claim.MAC[:]) || claim.Gratuitous != (p.SenderIP == p.TargetIP) {
			t.Errorf("%x: got %+v, others %+v", frame, claim, p)
		}
		return
	}
	message := frame[54 : 54+int(binary.BigEndian.Uint16(frame[18:]))]
	m, err := ndp.ParseMessage(message)
	if err != nil {
		// They refuse options that they know and find wrong.
		return
	}
	p, ok := m.(*ndp.NeighborAdvertisement)
	if !ok || p.TargetAddress != claim.Addr || p.Solicited == claim.Gratuitous {
		t.Fatalf("%x: got %+v, others %+v", frame, claim, m)
	}
	mac := source
	for _, o := range p.Options {
		if o, ok := o.(*ndp.LinkLayerAddress); ok && o.Direction == ndp.Target && len(o.Addr) == 6 {
			mac = arp.MAC(o.Addr)
		}
	}
	if mac != claim.MAC {
		t.Errorf("%x: got %v, others %v", frame, claim.MAC, mac)
	}
}

func TestEveryAnnouncementWeMakeIsAClaim(t *testing.T) {
	for _, a := range []string{"192.0.2.1", "2001:db8::1", "2001:db8::fc91", "fe80::54"} {
		addr := netip.MustParseAddr(a)
		got, source, ok := arp.ParseClaim(arp.AppendAnnouncement(nil, rival, addr, true))
		want := arp.Claim{Addr: addr, MAC: rival, Kind: arp.KindOf(addr), Gratuitous: true}
		if !ok || got != want || source != rival {
			t.Errorf("got %+v from %v, %v, want %+v", got, source, ok, want)
		}
	}
}

func TestTheTimeOfAClaimSurvivesASteppedClock(t *testing.T) {
	now := time.Now()
	wall := now.Round(0)
	const ms = time.Millisecond
	for _, tt := range []struct {
		name           string
		empty          time.Duration // before now
		waited, step   time.Duration // the truth, before now, and how far the clock was stepped
		steppedBefore  bool          // the stamp is of the clock after the step
		want, atLatest time.Duration
	}{
		{"no step", 1000 * ms, 3 * ms, 0, false, 3 * ms, 3 * ms},
		{"stamped, stepped an hour forward, read", 1000 * ms, 3 * ms, time.Hour, false, 3 * ms, 3 * ms},
		{"stamped, stepped an hour back, read", 1000 * ms, 3 * ms, -time.Hour, false, 3 * ms, 3 * ms},
		{"stepped an hour forward, stamped, read", 1000 * ms, 3 * ms, time.Hour, true, 3 * ms, 3 * ms},
		{"stepped an hour back, stamped, read", 1000 * ms, 3 * ms, -time.Hour, true, 3 * ms, 3 * ms},
		{"stepped half a second back, stamped, read", 1000 * ms, 3 * ms, -500 * ms, true, 3 * ms, 3 * ms},
		{"stepped half a second forward, stamped, read", 1000 * ms, 3 * ms, 500 * ms, true, 3 * ms, 3 * ms},
		{"waited long, then stepped a little forward", 1000 * ms, 800 * ms, 100 * ms, false, 800 * ms, 800 * ms},
		{"waited long, then stepped a little back", 1000 * ms, 800 * ms, -100 * ms, false, 800 * ms, 700 * ms},
		{"stamped before it could be read", 2 * ms, 3 * ms, 0, false, 2 * ms, 2 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			empty, truth := now.Add(-tt.empty), now.Add(-tt.waited)
			stamp := wall.Add(-tt.waited)
			if !tt.steppedBefore {
				stamp = stamp.Add(-tt.step)
			}
			got := arp.ReceivedAt(empty, wall.Add(-tt.empty-tt.step), now, wall, stamp)
			if ago := now.Sub(got); ago > tt.want || ago < tt.atLatest {
				t.Errorf("got %v ago, want %v to %v, truth %v", ago, tt.want, tt.atLatest, now.Sub(truth))
			}
		})
	}
	if got := arp.ReceivedAt(now.Add(-time.Second), wall.Add(-time.Second), now, wall, wall.Add(time.Hour)); !got.Equal(now) {
		t.Errorf("a stamp of no clock: got %v ago, want now", now.Sub(got))
	}
}
