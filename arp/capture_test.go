package arp_test

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vipd/arp"
)

// An announcement is a gratuitous ARP or an unsolicited neighbour advertisement
// that keepalived was seen to send.
type announcement struct {
	at    time.Time
	addr  netip.Addr
	frame []byte
}

// router is the hardware address of the sender in every capture.
var router = arp.MAC{0x02, 0, 0, 0, 0, 0x0a}

// readCapture returns the announcements in a pcap file of testdata.
func readCapture(t *testing.T, name string) []announcement {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if len(b) < 24 || le.Uint32(b) != 0xa1b2c3d4 || le.Uint32(b[20:]) != 1 {
		t.Fatalf("%s: not a little-endian capture of Ethernet frames in microseconds", name)
	}
	var as []announcement
	for b = b[24:]; len(b) >= 16; {
		at := time.Unix(int64(le.Uint32(b)), int64(le.Uint32(b[4:]))*1000)
		n := int(le.Uint32(b[8:]))
		if full := int(le.Uint32(b[12:])); full != n || len(b) < 16+n {
			t.Fatalf("%s: a frame of %d octets was cut to %d", name, full, n)
		}
		frame := b[16 : 16+n]
		b = b[16+n:]
		if addr, ok := announced(frame); ok {
			as = append(as, announcement{at, addr, frame})
		}
	}
	if len(b) != 0 {
		t.Fatalf("%s: %d octets left over", name, len(b))
	}
	return as
}

// announced returns the address that a frame announces, if it is a gratuitous
// ARP or an unsolicited neighbour advertisement.
func announced(frame []byte) (netip.Addr, bool) {
	switch {
	case len(frame) >= 42 && string(frame[12:14]) == "\x08\x06":
		sender, target := [4]byte(frame[28:32]), [4]byte(frame[38:42])
		return netip.AddrFrom4(sender), sender == target
	case len(frame) >= 86 && string(frame[12:14]) == "\x86\xdd" && frame[20] == 58 && frame[54] == 136:
		return netip.AddrFrom16([16]byte(frame[62:78])), frame[58]&0x40 == 0
	}
	return netip.Addr{}, false
}

func TestEveryCapturedAnnouncementIsBuiltByteForByte(t *testing.T) {
	names, err := filepath.Glob("testdata/*.pcap")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[arp.Kind]int{}
	for _, name := range names {
		as := readCapture(t, filepath.Base(name))
		if len(as) == 0 {
			t.Errorf("%s holds no announcement", name)
		}
		for i, a := range as {
			seen[arp.KindOf(a.addr)]++
			if got := arp.AppendAnnouncement(nil, router, a.addr, false); string(got) != string(a.frame) {
				t.Errorf("%s, announcement %d, of %s:\n got %x\nwant %x", name, i, a.addr, got, a.frame)
			}
		}
	}
	for _, k := range []arp.Kind{arp.GARP, arp.NA} {
		if seen[k] == 0 {
			t.Errorf("the captures hold no %s", k)
		}
	}
}

func TestTheScheduleAnnouncesInTheOrderAndAtTheTimesOfTheCaptures(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		timing     arp.Timing
		first, n   int // the announcements of one mastership
		addrs      []string
	}{
		{
			name: "two addresses, five rounds, and again after five seconds",
			file: "v2-multicast-two-vips-lifecycle.pcap", timing: defaults(),
			n: 20, addrs: []string{"192.168.50.100", "192.168.50.101"},
		},
		{
			name: "three IPv6 addresses, five rounds, stopped before the second block",
			file: "v3-ipv6.pcap", timing: defaults(),
			n: 15, addrs: []string{"fe80::54", "fd00:50::100", "fd00:50::101"},
		},
		{
			name: "one round without a second block",
			file: "vip-and-route-deleted.pcap", timing: arp.Timing{MasterRepeat: 1},
			n: 2, addrs: []string{"192.168.50.100", "192.168.50.101"},
		},
		{
			name: "two rounds at a later election",
			file: "lower-priority-advert-as-master.pcap", timing: arp.Timing{MasterRepeat: 2},
			first: 10, n: 4, addrs: []string{"192.168.50.100", "192.168.50.102"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			as := readCapture(t, tt.file)
			if len(as) < tt.first+tt.n {
				t.Fatalf("%d announcements, want %d", len(as), tt.first+tt.n)
			}
			as = as[tt.first : tt.first+tt.n]

			// The instance became master with the first announcement and is
			// watched until the last.
			start, end := as[0].at, as[len(as)-1].at
			s := arp.NewSchedule[string](tt.timing)
			s.Ready(start, tt.addrs...)
			s.Settled(start)
			var got []string
			var at []time.Time
			for {
				next, ok := s.Next()
				if !ok || next.After(end) {
					break
				}
				for _, k := range s.Due(next, 0) {
					got, at = append(got, k), append(at, next)
				}
			}
			if len(got) != len(as) {
				t.Fatalf("%d announcements, want %d", len(got), len(as))
			}
			for i, a := range as {
				if got[i] != a.addr.String() {
					t.Errorf("announcement %d is of %s, want %s", i, got[i], a.addr)
				}
				if late := a.at.Sub(at[i]); late.Abs() > 5*time.Millisecond {
					t.Errorf("announcement %d is due %v away from when keepalived sent it", i, late)
				}
			}
		})
	}
}

// octets decodes a hexadecimal string with spaces.
func octets(t *testing.T, s string) []byte {
	t.Helper()
	var digits []byte
	for i := range len(s) {
		if s[i] != ' ' && s[i] != '\n' && s[i] != '\t' {
			digits = append(digits, s[i])
		}
	}
	b, err := hex.DecodeString(string(digits))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
