package differential

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Frames that keepalived 2.2.7 has sent, from captures.
const (
	// VRRPv2, virtual router 51, identification 1.
	advert4 = `01005e000012 02000000000a 0800 45c0002c00010000ff70e7e4c0a83201e0000012
		2133640200 0194aec0a83264c0a832650000000000000000`
	// VRRPv3 with the flow label 0x79eb9.
	advert6 = `333300000012 02000000000a 86dd 6c079eb9003870ff fe8000000000000000 0000fffe00000a
		ff020000000000000000000000000012 31366403006471a2
		fe800000000000000000000000000054 fd000050000000000000000000000100 fd000050000000000000000000000101`
	garp = `ffffffffffff 02000000000a 0806 0001080006040001 02000000000a c0a83264 ffffffffffff c0a83264`
	na   = `333300000001 02000000000a 86dd 60000000 0020 3aff fe800000000000000000000000000054
		ff020000000000000000000000000001 880056ec20000000 fe800000000000000000000000000054 020102000000000a`
)

func octets(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// patch returns the octets with some of them replaced.
func patch(b []byte, at int, with ...byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], with)
	return b
}

// sum puts the right checksum into the IPv4 header of a frame.
func sum(b []byte) []byte {
	h := b[ethernetLen : ethernetLen+ipv4Len]
	clear(h[10:12])
	binary.BigEndian.PutUint16(h[10:], internetChecksum(h))
	return b
}

func decode(t *testing.T, b []byte) Frame {
	t.Helper()
	f, err := Decode(b, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAFrameIsKnownForWhatItIs(t *testing.T) {
	advert, garp, na := octets(t, advert4), octets(t, garp), octets(t, na)
	for _, c := range []struct {
		name string
		b    []byte
		kind Kind
		text string
	}{
		{"an advertisement of version 2", advert, KindAdvert, "v2 advert 100"},
		{"an advertisement of version 3", octets(t, advert6), KindAdvert, "v3 advert 100"},
		{"one to a unicast peer", sum(patch(advert, ethernetLen+16, 192, 168, 50, 2)), KindAdvert, "v2 advert 100 to 192.168.50.2"},
		{"a gratuitous ARP", garp, KindARP, "arp 192.168.50.100"},
		{"a gratuitous ARP that is a reply", patch(garp, 21, 2), KindARP, "arp 192.168.50.100"},
		{"an unsolicited neighbour advertisement", na, KindNA, "na fe80::54"},
		{"IGMP", sum(patch(advert, ethernetLen+9, protocolIGMP)), KindKernel, kernelRules[0].name},
		{"MLD", append(octets(t, `333300000016 02000000000a 86dd 6000000000240001 fe8000000000000000 0000fffe00000a
			ff020000000000000000000000000016 3a00050200000000`), make([]byte, 28)...), KindKernel, kernelRules[1].name},
		{"a router solicitation", patch(na, ethernetLen+ipv6Len, 133), KindKernel, kernelRules[2].name},
		{"a neighbour solicitation", patch(na, ethernetLen+ipv6Len, 135), KindKernel, kernelRules[3].name},
		{"an answer to one", patch(na, ethernetLen+ipv6Len+4, 0x60), KindKernel, kernelRules[4].name},
		{"an ARP request for another address", patch(garp, 41, 2), KindKernel, kernelRules[5].name},
		{"a packet of another protocol", sum(patch(advert, ethernetLen+9, 6)), KindOther, "packet of protocol 6"},
		{"an IPv6 packet of another protocol", patch(na, ethernetLen+6, 6), KindOther, "packet of protocol 6"},
		{"an echo request", patch(na, ethernetLen+ipv6Len, 128), KindOther, "packet of protocol 58"},
		{"a frame of another type", patch(advert, 12, 0x88, 0xcc), KindOther, "frame of type 0x88cc"},
		{"authentication by AH", sum(patch(advert, ethernetLen+9, protocolAH)), KindAdvert, "advert authenticated by AH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := decode(t, c.b)
			if f.Kind != c.kind || f.Text != c.text {
				t.Errorf("got %v %q, want %v %q", f.Kind, f.Text, c.kind, c.text)
			}
		})
	}
}

func TestWhatIsMaskedIsThisAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame string
		// masked maps octets to the bits that are left out.
		masked map[int]byte
	}{
		{"IPv4: identification and header checksum", advert4, map[int]byte{18: 0xff, 19: 0xff, 24: 0xff, 25: 0xff}},
		{"IPv6: the flow label", advert6, map[int]byte{15: 0x0f, 16: 0xff, 17: 0xff}},
		{"ARP: nothing", garp, nil},
		{"a neighbour advertisement: the flow label", na, map[int]byte{15: 0x0f, 16: 0xff, 17: 0xff}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := octets(t, c.frame)
			f := decode(t, b)
			if len(f.Octets) != len(b) {
				t.Fatalf("%d octets have become %d", len(b), len(f.Octets))
			}
			for i := range b {
				if want := b[i] &^ c.masked[i]; f.Octets[i] != want {
					t.Errorf("octet %d of %#02x is %#02x, want %#02x", i, b[i], f.Octets[i], want)
				}
			}
		})
	}
}

// TestEveryBitThatChangesIsFound changes each bit of each kind of frame: the
// comparison must see it, or decoding refuse it, unless it is masked.
func TestEveryBitThatChangesIsFound(t *testing.T) {
	for name, frame := range map[string]string{"IPv4": advert4, "IPv6": advert6, "ARP": garp, "NA": na} {
		t.Run(name, func(t *testing.T) {
			b := octets(t, frame)
			as := Phase{Frames: []Frame{decode(t, b)}}
			unseen := 0
			for bit := range len(b) * 8 {
				changed := patch(b, bit/8, b[bit/8]^1<<(bit%8))
				f, err := Decode(changed, time.Time{})
				if err == nil && len(Compare(&as, &Phase{Frames: []Frame{f}})) == 0 {
					unseen++
				}
			}
			want := 0
			if name == "IPv6" || name == "NA" {
				want = 20 // the flow label
			}
			if unseen != want {
				t.Errorf("%d changed bits were not seen, want %d", unseen, want)
			}
		})
	}
}

func TestAnotherIdentificationIsNoDifference(t *testing.T) {
	b := octets(t, advert4)
	other := sum(patch(b, ethernetLen+4, 0x12, 0x34))
	if got := Compare(&Phase{Frames: []Frame{decode(t, b)}}, &Phase{Frames: []Frame{decode(t, other)}}); got != nil {
		t.Errorf("got %q", got)
	}
	if id := decode(t, other).ID; id != 0x1234 {
		t.Errorf("the identification is %#x", id)
	}
}

func TestAFrameThatIsBrokenIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"no Ethernet header", octets(t, garp)[:13], errShort},
		{"half an ARP", octets(t, garp)[:30], errShort},
		{"half an IPv4 header", octets(t, advert4)[:ethernetLen+19], errShort},
		{"an IPv4 header that says it is shorter than one", patch(octets(t, advert4), ethernetLen, 0x44), errShort},
		{"half an IPv6 header", octets(t, advert6)[:ethernetLen+39], errShort},
		{"half an advertisement", octets(t, advert4)[:ethernetLen+ipv4Len+7], errShort},
		{"half a neighbour advertisement", octets(t, na)[:ethernetLen+ipv6Len+20], errShort},
		{"a wrong IPv4 header checksum", patch(octets(t, advert4), ethernetLen+10, 0), errChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Decode(c.b, time.Time{}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestIdentificationsCountAdvertisements(t *testing.T) {
	group := netip.MustParseAddr("224.0.0.18")
	peers := [2]netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	advert := func(id uint16, vrid uint8, dst netip.Addr) Frame {
		return Frame{Kind: KindAdvert, ID: id, VRID: vrid, Src: netip.MustParseAddr("192.0.2.1"), Dst: dst}
	}
	for _, c := range []struct {
		name   string
		frames []Frame
		gaps   bool
		ok     bool
	}{
		{"one after the other", []Frame{advert(1, 1, group), {Kind: KindARP}, advert(2, 1, group), advert(3, 1, group)}, false, true},
		{"each virtual router for itself", []Frame{advert(1, 1, group), advert(1, 2, group), advert(2, 1, group), advert(2, 2, group)}, false, true},
		{"the same to each peer", []Frame{advert(1, 1, peers[0]), advert(1, 1, peers[1]), advert(2, 1, peers[0]), advert(2, 1, peers[1])}, false, true},
		{"the first is not 1", []Frame{advert(2, 1, group)}, false, false},
		{"one is missing", []Frame{advert(1, 1, group), advert(3, 1, group)}, false, false},
		{"one is missing, which is expected", []Frame{advert(1, 1, group), advert(3, 1, group)}, true, true},
		{"twice the same to the group", []Frame{advert(1, 1, group), advert(1, 1, group)}, false, false},
		{"twice the same to a peer", []Frame{advert(1, 1, peers[0]), advert(1, 1, peers[0])}, false, false},
		{"another for each peer", []Frame{advert(1, 1, peers[0]), advert(2, 1, peers[1]), advert(2, 1, peers[0]), advert(1, 1, peers[1])}, false, false},
		{"backwards", []Frame{advert(1, 1, group), advert(2, 1, group), advert(1, 1, group)}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CheckIDs(c.frames, c.gaps); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAKindHasAName(t *testing.T) {
	seen := map[string]bool{}
	for k := KindOther; k <= KindKernel; k++ {
		if s := k.String(); s == "" || seen[s] {
			t.Errorf("kind %d is called %q", k, s)
		} else {
			seen[s] = true
		}
	}
}
