package control

import (
	"testing"
	"time"
)

func TestArithmeticSaysHowThePriorityComesAbout(t *testing.T) {
	now := time.Date(2026, 11, 21, 15, 0, 0, 0, time.FixedZone("", 3600))
	since := time.Date(2026, 11, 21, 13, 3, 5, 0, time.UTC)
	failing := Track{Kind: KindScript, Name: "chk_haproxy", Weight: -20, State: CheckDown, Since: since, Delta: -20}
	tests := []struct {
		name            string
		base, effective uint8
		tracks          []Track
		want            string
	}{
		{"nothing is tracked", 150, 150, nil, ""},
		{"nothing counts now", 150, 150, []Track{{Kind: KindScript, Name: "chk_a", Weight: -20, State: CheckUp, Since: since}}, ""},
		{"an owner's priority does not change", 255, 255, []Track{failing}, ""},
		{"a failing script", 150, 130, []Track{failing}, "150 − 20 (chk_haproxy failing since 14:03:05) = 130"},
		{
			"it has failed since another day", 150, 130,
			[]Track{{Kind: KindCheck, Name: "web", Weight: -20, State: CheckDown, Since: since.Add(-48 * time.Hour), Delta: -20}},
			"150 − 20 (web failing since 2026-11-19 14:03:05) = 130",
		},
		{
			"several objects of several kinds", 100, 115,
			[]Track{
				failing,
				{Kind: KindScript, Name: "without an effect", Weight: 5, State: CheckDown},
				{Kind: KindCheck, Name: "web", Weight: 30, State: CheckUp, Since: since, Delta: 30},
				{Kind: KindProcess, Name: "nginx", Weight: 10, State: CheckUp, Since: since, Delta: 10},
				{Kind: KindInterface, Name: "eth1", Weight: -5, State: CheckDown, Since: since, Delta: -5},
			},
			"100 − 20 (chk_haproxy failing since 14:03:05) + 30 (web succeeding since 14:03:05) + 10 (process nginx up since 14:03:05) − 5 (interface eth1 down since 14:03:05) = 115",
		},
		{"they cancel each other out", 100, 100, []Track{
			{Kind: KindScript, Name: "a", State: CheckUp, Delta: 5}, {Kind: KindScript, Name: "b", State: CheckDown, Delta: -5},
		}, "100 + 5 (a succeeding) − 5 (b failing) = 100"},
		{"a file", 100, 110, []Track{{Kind: KindFile, Name: "load", Weight: 2, State: CheckUp, Since: since, Value: new(5), Delta: 10}}, "100 + 10 (file load: 5 × 2) = 110"},
		{"a file in reverse", 100, 90, []Track{{Kind: KindFile, Name: "load", Weight: 2, Reverse: true, Value: new(5), Delta: -10}}, "100 − 10 (file load: 5 × −2) = 90"},
		{"a negative number", 100, 90, []Track{{Kind: KindFile, Name: "load", Weight: 2, Value: new(-5), Delta: -10}}, "100 − 10 (file load: −5 × 2) = 90"},
		{"a product out of bounds", 100, 254, []Track{{Kind: KindFile, Name: "load", Weight: 100, Value: new(5), Delta: 253}}, "100 + 253 (file load: 5 × 100, bounded) = 353, at most 254"},
		{"the sum is less than nothing", 100, 1, []Track{{Kind: KindScript, Name: "a", State: CheckDown, Delta: -130}}, "100 − 130 (a failing) = −30, at least 1"},
		{"the least sum", 100, 1, []Track{{Kind: KindScript, Name: "a", State: CheckDown, Delta: -99}}, "100 − 99 (a failing) = 1"},
		{"a sum of nothing", 100, 1, []Track{{Kind: KindScript, Name: "a", State: CheckDown, Delta: -100}}, "100 − 100 (a failing) = 0, at least 1"},
		{"the largest sum", 100, 254, []Track{{Kind: KindScript, Name: "a", State: CheckUp, Delta: 154}}, "100 + 154 (a succeeding) = 254"},
		{"the priority is not there yet", 150, 150, []Track{failing}, "150 − 20 (chk_haproxy failing since 14:03:05) = 130; in effect is 150"},
		{"states that count without a result", 100, 110, []Track{
			{Kind: KindScript, Name: "a", State: CheckUnknown, Delta: 6}, {Kind: KindProcess, Name: "b", State: "odd", Delta: 4},
		}, "100 + 6 (a without a result) + 4 (process b odd) = 110"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Arithmetic(tt.base, tt.effective, tt.tracks, now); got != tt.want {
				t.Errorf("the arithmetic is\n%s, want\n%s", got, tt.want)
			}
		})
	}
}
