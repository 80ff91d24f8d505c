package differential

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// A Phase is what one daemon did between two events.
type Phase struct {
	Name   string
	Frames []Frame // without those of the kernel

	// AnyOrder is set where an advertisement and announcements are due at the
	// same instant by their timers: which of them goes first is chance with
	// either daemon. The order within each kind still counts.
	AnyOrder bool

	// Addresses are those of the host at the end, a line for each, in the
	// kernel's order. Holds are the virtual ones among them, for summaries.
	Addresses []string
	Holds     []string

	// Facts are whatever else is to be compared, such as how the daemon ended.
	Facts []string
}

// Summary says in one line what the daemon did.
func (p *Phase) Summary() string {
	parts := []string{"nothing sent"}
	if len(p.Frames) > 0 {
		parts[0] = strings.Join(texts(p.Frames), ", ")
	}
	if len(p.Holds) > 0 {
		parts = append(parts, "holds "+strings.Join(p.Holds, ", "))
	}
	return strings.Join(append(parts, p.Facts...), "; ")
}

// texts describes frames, several of a kind in a row as one.
func texts(frames []Frame) []string {
	var out []string
	for i := 0; i < len(frames); {
		n := 1
		for i+n < len(frames) && frames[i+n].Text == frames[i].Text {
			n++
		}
		text := frames[i].Text
		if n > 1 {
			text += fmt.Sprintf(" ×%d", n)
		}
		out = append(out, text)
		i += n
	}
	return out
}

// Compare says in what two phases differ, first that of keepalived. It returns
// nothing if they are the same.
func Compare(k, v *Phase) []string {
	var out []string
	if k.AnyOrder || v.AnyOrder {
		for _, kinds := range [][]Kind{{KindAdvert}, {KindARP, KindNA}, {KindOther}} {
			out = append(out, compareFrames(only(k.Frames, kinds), only(v.Frames, kinds), kinds[0].String())...)
		}
	} else {
		out = compareFrames(k.Frames, v.Frames, "frame")
	}
	out = append(out, compareLines(k.Addresses, v.Addresses, "address")...)
	return append(out, compareLines(k.Facts, v.Facts, "fact")...)
}

// only returns the frames that are of one of the kinds.
func only(frames []Frame, kinds []Kind) []Frame {
	var out []Frame
	for _, f := range frames {
		if slices.Contains(kinds, f.Kind) {
			out = append(out, f)
		}
	}
	return out
}

// compareFrames reports the first frame that differs: what follows a missing
// one differs, too, and says nothing new.
func compareFrames(k, v []Frame, what string) []string {
	for i := range max(len(k), len(v)) {
		switch {
		case i >= len(k):
			return []string{fmt.Sprintf("%s %d: keepalived sent none, vipd %s", what, i+1, show(v[i]))}
		case i >= len(v):
			return []string{fmt.Sprintf("%s %d: vipd sent none, keepalived %s", what, i+1, show(k[i]))}
		case !bytes.Equal(k[i].Octets, v[i].Octets):
			return []string{fmt.Sprintf("%s %d:\n\tkeepalived %s\n\tvipd       %s%s", what, i+1, show(k[i]), show(v[i]), where(k[i].Octets, v[i].Octets))}
		}
	}
	return nil
}

func show(f Frame) string { return fmt.Sprintf("%s: %x", f.Text, f.Octets) }

// where names the first octet that differs.
func where(a, b []byte) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("\n\tfrom octet %d: %#02x and %#02x", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("\n\tlength %d and %d", len(a), len(b))
}

func compareLines(k, v []string, what string) []string {
	var out []string
	for _, line := range k {
		if !slices.Contains(v, line) {
			out = append(out, fmt.Sprintf("%s of keepalived only: %s", what, line))
		}
	}
	for _, line := range v {
		if !slices.Contains(k, line) {
			out = append(out, fmt.Sprintf("%s of vipd only: %s", what, line))
		}
	}
	if len(out) == 0 && !slices.Equal(k, v) {
		out = append(out, fmt.Sprintf("the same in another order, %s: keepalived %q, vipd %q", what, k, v))
	}
	return out
}

// A Declared is a difference of docs/differences.md as it shows in a phase.
type Declared struct {
	ID    string // D001
	Phase string
	// Keepalived and VIPD are the summaries of the phase for each of them.
	Keepalived, VIPD string
}

// Judge compares all that two daemons did and returns what is wrong: a
// difference that is not declared, a declared one that does not occur, or one
// that shows otherwise than declared, and a kind of frame of which there was
// none although there should be.
func Judge(k, v []Phase, kinds []Kind, declared []Declared) []string {
	var out []string
	if len(k) != len(v) || len(k) == 0 {
		return []string{fmt.Sprintf("there are %d phases of keepalived and %d of vipd", len(k), len(v))}
	}
	for name, phases := range map[string][]Phase{"keepalived": k, "vipd": v} {
		for _, kind := range kinds {
			if !slices.ContainsFunc(phases, func(p Phase) bool {
				return slices.ContainsFunc(p.Frames, func(f Frame) bool { return f.Kind == kind })
			}) {
				out = append(out, fmt.Sprintf("%s has sent no %v", name, kind))
			}
		}
	}
	known := map[string]bool{}
	for i := range k {
		k, v := &k[i], &v[i]
		if k.Name != v.Name {
			return append(out, fmt.Sprintf("phase %d is %q of keepalived and %q of vipd", i+1, k.Name, v.Name))
		}
		known[k.Name] = true
		for _, p := range []*Phase{k, v} {
			for _, f := range p.Frames {
				if f.Kind == KindOther {
					out = append(out, fmt.Sprintf("%s: nobody expects a %s", p.Name, show(f)))
				}
			}
		}
		differ := Compare(k, v)
		n := slices.IndexFunc(declared, func(d Declared) bool { return d.Phase == k.Name })
		switch {
		case n < 0:
			for _, what := range differ {
				out = append(out, fmt.Sprintf("%s: a difference that is not declared, %s\n\tin all, keepalived: %s\n\tin all, vipd:       %s",
					k.Name, what, k.Summary(), v.Summary()))
			}
		case len(differ) == 0:
			out = append(out, fmt.Sprintf("%s: %s is declared and no longer occurs: both %s", k.Name, declared[n].ID, k.Summary()))
		default:
			d := declared[n]
			if got := k.Summary(); got != d.Keepalived {
				out = append(out, fmt.Sprintf("%s: keepalived shows %s as\n\t%s\n\tnot as\n\t%s", k.Name, d.ID, got, d.Keepalived))
			}
			if got := v.Summary(); got != d.VIPD {
				out = append(out, fmt.Sprintf("%s: vipd shows %s as\n\t%s\n\tnot as\n\t%s", k.Name, d.ID, got, d.VIPD))
			}
		}
	}
	for _, d := range declared {
		if !known[d.Phase] {
			out = append(out, fmt.Sprintf("%s is declared for the phase %q, which does not exist", d.ID, d.Phase))
		}
	}
	return out
}
