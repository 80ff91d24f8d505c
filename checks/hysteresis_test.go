package checks

import (
	"strings"
	"testing"
)

func TestAStateChangesAfterSeveralEqualResults(t *testing.T) {
	// Results are + and -, states after each of them u and d.
	for _, tt := range []struct {
		name       string
		rise, fall int
		results    string
		want       string
	}{
		{"the first success decides at once", 3, 3, "+", "u"},
		{"the first failure decides at once", 3, 3, "-", "d"},
		{"with 1 every result decides", 1, 1, "+--+-+", "uddudu"},
		{"less than 1 counts as 1", 0, -5, "+-+", "udu"},
		{"as many failures as fall", 1, 3, "+---", "uuud"},
		{"a success in between starts the count of failures anew", 1, 3, "+--+--+---", "uuuuuuuuud"},
		{"as many successes as rise", 3, 1, "-+++", "dddu"},
		{"a failure in between starts the count of successes anew", 3, 1, "-++-++-+++", "dddddddddu"},
		{"after a rise the full number of failures is needed", 2, 2, "-++-+--", "dduuuud"},
		{"after a fall the full number of successes is needed", 2, 2, "+--+-++", "uuddddu"},
		{"both counts", 3, 2, "+-+--++-+++-", "uuuuddddddu" + "u"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHysteresis(tt.rise, tt.fall)
			if h.State() != Unknown {
				t.Errorf("before the first result it is %v", h.State())
			}
			var got strings.Builder
			for _, r := range tt.results {
				before := h.State()
				changed := h.Add(r == '+')
				if changed != (before != h.State()) {
					t.Errorf("from %v to %v Add returned %v", before, h.State(), changed)
				}
				got.WriteByte(h.State().String()[0])
			}
			if got.String() != tt.want {
				t.Errorf("%s becomes %s, want %s", tt.results, got.String(), tt.want)
			}
		})
	}
}

// FuzzHysteresis compares with the rule in words: the state is turned over by
// rise or fall results in a row that contradict it.
func FuzzHysteresis(f *testing.F) {
	f.Add(uint8(2), uint8(3), []byte{1, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, rise, fall uint8, results []byte) {
		h := NewHysteresis(int(rise), int(fall))
		want, against := Unknown, 0
		for i, b := range results {
			ok := b%2 == 1
			switch {
			case want == Unknown:
				want = Down
				if ok {
					want = Up
				}
			case ok == (want == Up):
				against = 0
			default:
				against++
				if want == Up && against >= max(int(fall), 1) {
					want, against = Down, 0
				} else if want == Down && against >= max(int(rise), 1) {
					want, against = Up, 0
				}
			}
			h.Add(ok)
			if h.State() != want {
				t.Fatalf("rise %d, fall %d: after %d results of %v it is %v, want %v", rise, fall, i+1, results, h.State(), want)
			}
		}
	})
}
