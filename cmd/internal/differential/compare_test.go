package differential

import (
	"slices"
	"strings"
	"testing"
)

// frames returns frames of a kind each: a, b… are advertisements, A, B… are
// announcements, and x is something else.
func frames(s string) []Frame {
	var out []Frame
	for _, r := range s {
		f := Frame{Kind: KindAdvert, Text: string(r), Octets: []byte{byte(r)}}
		switch {
		case r == 'x':
			f.Kind = KindOther
		case r == 'N':
			f.Kind = KindNA
		case r >= 'A' && r <= 'Z':
			f.Kind = KindARP
		}
		out = append(out, f)
	}
	return out
}

func TestWhatDiffersIsFound(t *testing.T) {
	for _, c := range []struct {
		name     string
		k, v     Phase
		anyOrder bool
		want     string // in what is said; empty: nothing is
	}{
		{"nothing, and nothing", Phase{}, Phase{}, false, ""},
		{"the same", Phase{Frames: frames("aABAB")}, Phase{Frames: frames("aABAB")}, false, ""},
		{"vipd sends one less", Phase{Frames: frames("aAB")}, Phase{Frames: frames("aA")}, false, "frame 3: vipd sent none"},
		{"vipd sends one more", Phase{Frames: frames("aA")}, Phase{Frames: frames("aAB")}, false, "frame 3: keepalived sent none"},
		{"one is missing in the middle", Phase{Frames: frames("aABB")}, Phase{Frames: frames("aBB")}, false, "frame 2:"},
		{"vipd sends nothing", Phase{Frames: frames("a")}, Phase{}, false, "frame 1: vipd sent none"},
		{"two are swapped", Phase{Frames: frames("aAB")}, Phase{Frames: frames("aBA")}, false, "frame 2:"},
		{"the announcement comes before the advertisement", Phase{Frames: frames("aA")}, Phase{Frames: frames("Aa")}, false, "frame 1:"},
		{"the same, where that is left to chance", Phase{Frames: frames("aABAB")}, Phase{Frames: frames("ABaAB")}, true, ""},
		{"two announcements are swapped, which is not", Phase{Frames: frames("aAB")}, Phase{Frames: frames("aBA")}, true, "gratuitous ARP 1:"},
		{"two of different kinds are swapped, neither", Phase{Frames: frames("AN")}, Phase{Frames: frames("NA")}, true, "gratuitous ARP 1:"},
		{"an advertisement is missing there", Phase{Frames: frames("aAa")}, Phase{Frames: frames("aA")}, true, "advertisement 2: vipd sent none"},
		{"something else is missing there", Phase{Frames: frames("ax")}, Phase{Frames: frames("a")}, true, "other frame 1: vipd sent none"},
		{"a longer frame", Phase{Frames: []Frame{{Octets: []byte{1, 2}}}}, Phase{Frames: []Frame{{Octets: []byte{1, 2, 3}}}}, false, "length 2 and 3"},
		{"an octet", Phase{Frames: []Frame{{Octets: []byte{1, 2}}}}, Phase{Frames: []Frame{{Octets: []byte{1, 3}}}}, false, "octet 1: 0x02 and 0x03"},
		{"an address of keepalived", Phase{Addresses: []string{"x", "y"}}, Phase{Addresses: []string{"x"}}, false, "address of keepalived only: y"},
		{"an address of vipd", Phase{Addresses: []string{"x"}}, Phase{Addresses: []string{"x", "y"}}, false, "address of vipd only: y"},
		{"addresses in another order", Phase{Addresses: []string{"x", "y"}}, Phase{Addresses: []string{"y", "x"}}, false, "another order"},
		{"an address twice", Phase{Addresses: []string{"x", "x"}}, Phase{Addresses: []string{"x"}}, false, "another order"},
		{"a fact", Phase{Facts: []string{"VI_1 is master"}}, Phase{Facts: []string{"VI_1 is backup"}}, false, "fact of vipd only: VI_1 is backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.k.AnyOrder = c.anyOrder
			got := strings.Join(Compare(&c.k, &c.v), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestASummaryIsShort(t *testing.T) {
	for _, c := range []struct {
		phase Phase
		want  string
	}{
		{Phase{}, "nothing sent"},
		{Phase{Frames: frames("aAAAb")}, "a, A ×3, b"},
		{Phase{Frames: frames("aa"), Holds: []string{"x", "y"}, Facts: []string{"it is master"}}, "a ×2; holds x, y; it is master"},
		{Phase{Facts: []string{"exit 0"}}, "nothing sent; exit 0"},
	} {
		if got := c.phase.Summary(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestWhatIsWrongIsComplainedAbout(t *testing.T) {
	start := func(sent string) Phase { return Phase{Name: "start", Frames: frames(sent)} }
	stop := func(sent string) Phase { return Phase{Name: "stop", Frames: frames(sent)} }
	d := Declared{ID: "D001", Phase: "stop", Keepalived: "b ×2", VIPD: "b"}
	both := []Kind{KindAdvert, KindARP}
	for _, c := range []struct {
		name     string
		k, v     []Phase
		kinds    []Kind
		declared []Declared
		want     []string // in each complaint
	}{
		{"nothing is wrong", []Phase{start("aA"), stop("b")}, []Phase{start("aA"), stop("b")}, both, nil, nil},
		{"a difference that nobody declared", []Phase{start("aA"), stop("b")}, []Phase{start("aB"), stop("b")}, both, nil,
			[]string{"start: a difference that is not declared, frame 2"}},
		{"one that is declared", []Phase{start("aA"), stop("bb")}, []Phase{start("aA"), stop("b")}, both, []Declared{d}, nil},
		{"one that is declared elsewhere", []Phase{start("aAA"), stop("bb")}, []Phase{start("aA"), stop("b")}, both, []Declared{d},
			[]string{"start: a difference that is not declared"}},
		{"one that has gone", []Phase{start("aA"), stop("b")}, []Phase{start("aA"), stop("b")}, both, []Declared{d},
			[]string{"stop: D001 is declared and no longer occurs"}},
		{"keepalived does something else", []Phase{start("aA"), stop("bbb")}, []Phase{start("aA"), stop("b")}, both, []Declared{d},
			[]string{"stop: keepalived shows D001 as\n\tb ×3"}},
		{"vipd does something else", []Phase{start("aA"), stop("bb")}, []Phase{start("aA"), stop("")}, both, []Declared{d},
			[]string{"stop: vipd shows D001 as\n\tnothing sent"}},
		{"a phase that does not exist", []Phase{start("a")}, []Phase{start("a")}, nil, []Declared{d},
			[]string{`D001 is declared for the phase "stop"`}},
		{"no frames of a kind", []Phase{start("a")}, []Phase{start("a")}, both, nil,
			[]string{"keepalived has sent no gratuitous ARP", "vipd has sent no gratuitous ARP"}},
		{"no phase at all", nil, nil, nil, nil, []string{"there are 0 phases"}},
		{"not the same phases", []Phase{start("a")}, []Phase{stop("a")}, nil, nil, []string{"phase 1 is"}},
		{"not as many phases", []Phase{start("a")}, []Phase{start("a"), stop("b")}, nil, nil, []string{"there are 1 phases of keepalived and 2"}},
		{"a frame that nobody expects", []Phase{start("ax")}, []Phase{start("ax")}, nil, nil,
			[]string{"start: nobody expects", "start: nobody expects"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Judge(c.k, c.v, c.kinds, c.declared)
			slices.Sort(got)
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("got %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}
