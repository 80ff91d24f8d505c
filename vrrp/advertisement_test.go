package vrrp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// unhex decodes octets written with any white space.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatalf("bad octets in the test: %v", err)
	}
	return b
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// The octets of keepalived's adverts were captured from it.
var codecTests = []struct {
	name     string
	adv      Advertisement
	src, dst string
	mode     Checksum
	octets   string
}{
	{
		name: "keepalived, version 2 without authentication, two addresses",
		adv: Advertisement{Version: V2, VRID: 51, Priority: 100, Interval: time.Second,
			Addrs: addrs("192.168.50.100", "192.168.50.101")},
		src: "192.168.50.1", dst: "224.0.0.18",
		octets: "21 33 64 02 00 01 94ae c0a83264 c0a83265 0000000000000000",
	},
	{
		name: "keepalived, version 2, priority 0 at shutdown",
		adv: Advertisement{Version: V2, VRID: 51, Priority: 0, Interval: time.Second,
			Addrs: addrs("192.168.50.100", "192.168.50.101")},
		src: "192.168.50.1", dst: "224.0.0.18",
		octets: "21 33 00 02 00 01 f8ae c0a83264 c0a83265 0000000000000000",
	},
	{
		name: "keepalived, version 2 with a password cut to eight octets",
		adv: Advertisement{Version: V2, VRID: 52, Priority: 150, Interval: time.Second,
			AuthType: AuthPass, AuthData: [8]byte([]byte("s3cretpw")), Addrs: addrs("192.168.50.110")},
		src: "192.168.50.1", dst: "224.0.0.18",
		octets: "21 34 96 01 01 01 a820 c0a8326e 7333637265747077",
	},
	{
		name: "keepalived, version 3 on IPv4 every half second",
		adv: Advertisement{Version: V3, VRID: 53, Priority: 200, Interval: 500 * time.Millisecond,
			Addrs: addrs("192.168.50.120")},
		src: "192.168.50.1", dst: "224.0.0.18",
		octets: "31 35 c8 01 0032 403d c0a83278",
	},
	{
		name: "RFC 9568, version 3 on IPv4 without pseudo-header",
		adv: Advertisement{Version: V3, VRID: 53, Priority: 200, Interval: 500 * time.Millisecond,
			Addrs: addrs("192.168.50.120")},
		src: "192.168.50.1", dst: "224.0.0.18", mode: ChecksumPlain,
		octets: "31 35 c8 01 0032 1376 c0a83278",
	},
	{
		name: "keepalived, version 3 to a unicast peer, whose address the pseudo-header has",
		adv: Advertisement{Version: V3, VRID: 57, Priority: 254, Interval: time.Second,
			Addrs: addrs("192.168.50.150")},
		src: "192.168.50.1", dst: "192.168.50.2",
		octets: "31 39 fe 01 0064 f750 c0a83296",
	},
	{
		name: "keepalived, version 3 on IPv6",
		adv: Advertisement{Version: V3, VRID: 54, Priority: 100, Interval: time.Second,
			Addrs: addrs("fe80::54", "fd00:50::100", "fd00:50::101")},
		src: "fe80::ff:fe00:a", dst: "ff02::12",
		octets: `31 36 64 03 0064 71a2
			fe800000000000000000000000000054
			fd000050000000000000000000000100
			fd000050000000000000000000000101`,
	},
	{
		name: "IPv6 has a pseudo-header in either mode",
		adv: Advertisement{Version: V3, VRID: 54, Priority: 100, Interval: time.Second,
			Addrs: addrs("fe80::54", "fd00:50::100", "fd00:50::101")},
		src: "fe80::ff:fe00:a", dst: "ff02::12", mode: ChecksumPlain,
		octets: `31 36 64 03 0064 71a2
			fe800000000000000000000000000054
			fd000050000000000000000000000100
			fd000050000000000000000000000101`,
	},
	{
		name: "version 3, the longest interval, no address",
		adv:  Advertisement{Version: V3, VRID: 255, Priority: 1, Interval: 40950 * time.Millisecond},
		src:  "192.168.50.1", dst: "224.0.0.18", mode: ChecksumPlain,
		octets: "31 ff 01 00 0fff bd01",
	},
	{
		name: "version 2, the longest interval, no address",
		adv:  Advertisement{Version: V2, VRID: 1, Priority: 255, Interval: 255 * time.Second},
		src:  "192.168.50.1", dst: "224.0.0.18",
		octets: "21 01 ff 00 00 ff defe 0000000000000000",
	},
}

func TestAdvertisementsAndOctetsTranslateBothWays(t *testing.T) {
	for _, tt := range codecTests {
		t.Run(tt.name, func(t *testing.T) {
			src, dst := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst)
			want := unhex(t, tt.octets)

			prefix := []byte("kept")
			got, err := tt.adv.AppendTo(prefix, src, dst, tt.mode)
			if err != nil {
				t.Fatalf("encoding: %v", err)
			}
			if !bytes.Equal(got, append([]byte("kept"), want...)) {
				t.Fatalf("encoding:\n got %x\nwant %x", got[len(prefix):], want)
			}

			if !VerifyChecksum(want, src, dst, tt.mode) {
				t.Error("the checksum does not verify")
			}
			adv, err := ParseAdvertisement(want, FamilyOf(dst))
			if err != nil {
				t.Fatalf("parsing: %v", err)
			}
			if !reflect.DeepEqual(adv, tt.adv) {
				t.Errorf("parsing:\n got %+v\nwant %+v", adv, tt.adv)
			}
		})
	}
}

func TestEveryChangedBitFailsTheChecksum(t *testing.T) {
	for _, tt := range codecTests {
		t.Run(tt.name, func(t *testing.T) {
			src, dst := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst)
			b := unhex(t, tt.octets)
			for i := range b {
				for bit := range 8 {
					if i == 0 && bit >= 4 {
						continue // another version has another checksum
					}
					b[i] ^= 1 << bit
					if VerifyChecksum(b, src, dst, tt.mode) {
						t.Errorf("octet %d bit %d flipped, and the checksum still verifies", i, bit)
					}
					b[i] ^= 1 << bit
				}
			}
		})
	}
}

func TestAChecksumIsNotRightForOtherAddressesOrAnotherMode(t *testing.T) {
	src, dst, other := netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("192.168.50.2"), netip.MustParseAddr("192.168.50.9")
	v3 := unhex(t, "31 39 fe 01 0064 f750 c0a83296")
	v2 := unhex(t, "21 34 96 01 01 01 a820 c0a8326e 7333637265747077")
	for _, tt := range []struct {
		name     string
		b        []byte
		src, dst netip.Addr
		mode     Checksum
		want     bool
	}{
		{"version 3 as sent", v3, src, dst, ChecksumPseudoHeader, true},
		{"version 3 from someone else", v3, other, dst, ChecksumPseudoHeader, false},
		{"version 3 to someone else", v3, src, other, ChecksumPseudoHeader, false},
		{"version 3 without pseudo-header", v3, src, dst, ChecksumPlain, false},
		{"version 2 has no addresses in it", v2, other, other, ChecksumPseudoHeader, true},
		{"version 2 knows no modes", v2, src, dst, ChecksumPlain, true},
		{"addresses of two families", v3, src, netip.MustParseAddr("ff02::12"), ChecksumPseudoHeader, false},
		{"no addresses", v3, netip.Addr{}, netip.Addr{}, ChecksumPseudoHeader, false},
		{"too short to have one", v3[:7], src, dst, ChecksumPseudoHeader, false},
		{"nothing", nil, src, dst, ChecksumPseudoHeader, false},
	} {
		if got := VerifyChecksum(tt.b, tt.src, tt.dst, tt.mode); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWhatIsNoAdvertisementIsRefusedWithThePlaceAndTheReason(t *testing.T) {
	for _, tt := range []struct {
		name   string
		f      Family
		octets string
		want   ParseError
		text   string
	}{
		{"nothing", IPv4, "", ParseError{ProblemShort, 0, 0, 8},
			"vrrp: parsing advertisement: header length is 0, want 8 (octet 0)"},
		{"a header cut short", IPv4, "31 01 64 00 0064 00", ParseError{ProblemShort, 7, 7, 8},
			"vrrp: parsing advertisement: header length is 7, want 8 (octet 7)"},
		{"version 4", IPv4, "41 01 64 00 0064 0000", ParseError{ProblemVersion, 0, 4, 3},
			"vrrp: parsing advertisement: version is 4, want 3 (octet 0)"},
		{"version 2 on IPv6, where it was never defined", IPv6, "21 01 64 00 0001 0000 0000000000000000",
			ParseError{ProblemVersion, 0, 2, 3}, "vrrp: parsing advertisement: version is 2, want 3 (octet 0)"},
		{"a type that is not an advertisement", IPv4, "32 01 64 00 0064 0000", ParseError{ProblemType, 0, 2, 1},
			"vrrp: parsing advertisement: message type is 2, want 1 (octet 0)"},
		{"an address cut short", IPv4, "31 01 64 01 0064 0000 c0a832", ParseError{ProblemLength, 11, 11, 12},
			"vrrp: parsing advertisement: length is 11, want 12 (octet 11)"},
		{"one address counted, two sent", IPv4, "31 01 64 01 0064 0000 c0a83201 c0a83202", ParseError{ProblemLength, 12, 16, 12},
			"vrrp: parsing advertisement: length is 16, want 12 (octet 12)"},
		{"version 2 without its authentication data", IPv4, "21 01 64 01 0001 0000 c0a83201", ParseError{ProblemLength, 12, 12, 20},
			"vrrp: parsing advertisement: length is 12, want 20 (octet 12)"},
		{"version 3 with authentication data", IPv4, "31 01 64 01 0064 0000 c0a83201 0000000000000000", ParseError{ProblemLength, 12, 20, 12},
			"vrrp: parsing advertisement: length is 20, want 12 (octet 12)"},
		{"IPv4 addresses on IPv6", IPv6, "31 01 64 01 0064 0000 c0a83201", ParseError{ProblemLength, 12, 12, 24},
			"vrrp: parsing advertisement: length is 12, want 24 (octet 12)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseAdvertisement(unhex(t, tt.octets), tt.f)
			var got *ParseError
			if !errors.As(err, &got) {
				t.Fatalf("got error %v, want a *ParseError", err)
			}
			if *got != tt.want {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
			if err.Error() != tt.text {
				t.Errorf("got text\n%s\nwant\n%s", err, tt.text)
			}
		})
	}
}

func TestReservedBitsOfVersion3AreIgnored(t *testing.T) {
	adv, err := ParseAdvertisement(unhex(t, "31 35 c8 00 f032 0000"), IPv4)
	if err != nil {
		t.Fatal(err)
	}
	if want := 500 * time.Millisecond; adv.Interval != want {
		t.Errorf("got interval %v, want %v", adv.Interval, want)
	}
}

func TestWhatCannotBeExpressedIsNotEncoded(t *testing.T) {
	many := make([]netip.Addr, 256)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	v2 := Advertisement{Version: V2, VRID: 1, Priority: 100, Interval: time.Second, Addrs: addrs("192.0.2.1")}
	v3 := Advertisement{Version: V3, VRID: 1, Priority: 100, Interval: time.Second, Addrs: addrs("192.0.2.1")}
	with := func(a Advertisement, change func(*Advertisement)) Advertisement {
		change(&a)
		return a
	}
	for _, tt := range []struct {
		name     string
		adv      Advertisement
		src, dst string
		want     error
	}{
		{"version 3 below a centisecond", with(v3, func(a *Advertisement) { a.Interval = 5 * time.Millisecond }), "192.0.2.7", "224.0.0.18", ErrInterval},
		{"version 3 beyond 12 bits", with(v3, func(a *Advertisement) { a.Interval = 40960 * time.Millisecond }), "192.0.2.7", "224.0.0.18", ErrInterval},
		{"version 3 before now", with(v3, func(a *Advertisement) { a.Interval = -time.Second }), "192.0.2.7", "224.0.0.18", ErrInterval},
		{"version 2 below a second", with(v2, func(a *Advertisement) { a.Interval = 1500 * time.Millisecond }), "192.0.2.7", "224.0.0.18", ErrInterval},
		{"version 2 beyond an octet", with(v2, func(a *Advertisement) { a.Interval = 256 * time.Second }), "192.0.2.7", "224.0.0.18", ErrInterval},
		{"256 addresses", with(v3, func(a *Advertisement) { a.Addrs = many }), "192.0.2.7", "224.0.0.18", ErrTooMany},
		{"an IPv6 address on IPv4", with(v3, func(a *Advertisement) { a.Addrs = addrs("192.0.2.1", "fd00::1") }), "192.0.2.7", "224.0.0.18", ErrFamilies},
		{"an IPv4 address on IPv6", v3, "fe80::1", "ff02::12", ErrFamilies},
		{"an address that is none", with(v3, func(a *Advertisement) { a.Addrs = []netip.Addr{{}} }), "192.0.2.7", "224.0.0.18", ErrFamilies},
		{"a source of another family", v3, "fe80::1", "224.0.0.18", ErrFamilies},
		{"version 2 on IPv6", with(v2, func(a *Advertisement) { a.Addrs = nil }), "fe80::1", "ff02::12", ErrVersion},
		{"version 0", with(v3, func(a *Advertisement) { a.Version = 0 }), "192.0.2.7", "224.0.0.18", ErrVersion},
		{"a password in version 3", with(v3, func(a *Advertisement) { a.AuthType = AuthPass }), "192.0.2.7", "224.0.0.18", ErrAuthentication},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.adv.AppendTo([]byte("kept"), netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst), 0)
			if !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if string(got) != "kept" {
				t.Errorf("got octets %q, want what was there before", got)
			}
		})
	}
	if _, err := v3.AppendTo(nil, netip.Addr{}, netip.Addr{}, 0); !errors.Is(err, ErrFamilies) {
		t.Errorf("without source and destination: got error %v, want %v", err, ErrFamilies)
	}
	most := with(v3, func(a *Advertisement) { a.Addrs = many[:255] })
	b, err := most.AppendTo(nil, netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("224.0.0.18"), 0)
	if err != nil || len(b) != 8+255*4 {
		t.Errorf("255 addresses: got %d octets and %v, want %d octets", len(b), err, 8+255*4)
	}
}

func TestIPv4AddressesMappedIntoIPv6AreIPv4Addresses(t *testing.T) {
	adv := Advertisement{Version: V3, VRID: 53, Priority: 200, Interval: 500 * time.Millisecond, Addrs: addrs("::ffff:192.168.50.120")}
	got, err := adv.AppendTo(nil, netip.MustParseAddr("::ffff:192.168.50.1"), netip.MustParseAddr("::ffff:224.0.0.18"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, "31 35 c8 01 0032 403d c0a83278"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestEncodingIntoABufferThatIsLargeEnoughAllocatesNothing(t *testing.T) {
	adv, buf := codecTests[0].adv, make([]byte, 0, 64)
	src, dst := netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("224.0.0.18")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := adv.AppendTo(buf, src, dst, 0); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// A captured is a protocol 112 packet from a capture.
type captured struct {
	src, dst netip.Addr
	pdu      []byte
}

// readCapture returns the VRRP packets of a little-endian pcap file of
// Ethernet frames.
func readCapture(t testing.TB, path string) []captured {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if len(b) < 24 || le.Uint32(b) != 0xa1b2c3d4 || le.Uint32(b[20:]) != 1 {
		t.Fatalf("%s: not a little-endian capture of Ethernet", path)
	}
	var out []captured
	for r := bytes.NewReader(b[24:]); ; {
		var h struct{ Sec, Usec, Caplen, Len uint32 }
		if err := binary.Read(r, le, &h); errors.Is(err, io.EOF) {
			return out
		} else if err != nil || h.Caplen != h.Len {
			t.Fatalf("%s: bad record (%v, %d of %d octets)", path, err, h.Caplen, h.Len)
		}
		frame := make([]byte, h.Caplen)
		if _, err := io.ReadFull(r, frame); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		ip := frame[14:]
		switch binary.BigEndian.Uint16(frame[12:]) {
		case 0x0800:
			if ip[9] == Protocol {
				out = append(out, captured{netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])),
					ip[int(ip[0]&15)*4 : binary.BigEndian.Uint16(ip[2:])]})
			}
		case 0x86dd:
			if ip[6] == Protocol {
				out = append(out, captured{netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])),
					ip[40 : 40+binary.BigEndian.Uint16(ip[4:])]})
			}
		}
	}
}

// captures returns the files with what keepalived sent.
func captures(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures in testdata (%v)", err)
	}
	return files
}

func TestWhatKeepalivedSentParsesVerifiesAndEncodesToTheSameOctets(t *testing.T) {
	for _, file := range captures(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			packets := readCapture(t, file)
			if len(packets) == 0 {
				t.Fatal("no advertisement in the capture")
			}
			for i, p := range packets {
				adv, err := ParseAdvertisement(p.pdu, FamilyOf(p.dst))
				if err != nil {
					t.Errorf("packet %d: %v", i, err)
					continue
				}
				if !VerifyChecksum(p.pdu, p.src, p.dst, ChecksumPseudoHeader) {
					t.Errorf("packet %d: checksum of %x does not verify", i, p.pdu)
				}
				got, err := adv.AppendTo(nil, p.src, p.dst, ChecksumPseudoHeader)
				if err != nil || !bytes.Equal(got, p.pdu) {
					t.Errorf("packet %d:\n got %x (%v)\nwant %x", i, got, err, p.pdu)
				}
			}
		})
	}
}

func FuzzWhatParsesEncodesToTheSameOctets(f *testing.F) {
	for _, file := range captures(f) {
		for _, p := range readCapture(f, file) {
			f.Add(p.pdu, p.src.AsSlice(), p.dst.AsSlice(), false)
		}
	}
	for _, tt := range codecTests {
		f.Add(unhex(f, tt.octets), netip.MustParseAddr(tt.src).AsSlice(), netip.MustParseAddr(tt.dst).AsSlice(), tt.mode == ChecksumPlain)
	}
	f.Add([]byte{}, []byte{10, 0, 0, 1}, []byte{224, 0, 0, 18}, true)
	f.Fuzz(func(t *testing.T, b, from, to []byte, plain bool) {
		src, _ := netip.AddrFromSlice(from)
		dst, ok := netip.AddrFromSlice(to)
		if src, dst = src.Unmap(), dst.Unmap(); !ok || FamilyOf(src) != FamilyOf(dst) {
			return
		}
		mode := ChecksumPseudoHeader
		if plain {
			mode = ChecksumPlain
		}
		right := VerifyChecksum(b, src, dst, mode)
		adv, err := ParseAdvertisement(b, FamilyOf(dst))
		if err != nil {
			if p := (*ParseError)(nil); !errors.As(err, &p) {
				t.Fatalf("error %v is no *ParseError", err)
			}
			return
		}
		got, err := adv.AppendTo(nil, src, dst, mode)
		if err != nil {
			t.Fatalf("%x parses, but does not encode: %v", b, err)
		}
		want := bytes.Clone(b)
		if adv.Version == V3 {
			want[4] &= 0x0f // reserved bits are sent as 0
		}
		if !right || b[4] != want[4] || b[6] == 0xff && b[7] == 0xff {
			// The checksum was wrong, or covers reserved bits, or is the other
			// zero of one's complement, which is not what a sender computes.
			copy(want[6:8], got[6:8])
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %x\nwant %x", got, want)
		}
		if !VerifyChecksum(got, src, dst, mode) {
			t.Fatalf("the checksum of %x does not verify", got)
		}
	})
}
