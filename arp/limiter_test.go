package arp_test

import (
	"testing"
	"time"

	"vipd/arp"
)

func TestTheLimiterKeepsEachKindToItsGap(t *testing.T) {
	l := arp.NewLimiter(100*time.Millisecond, 250*time.Millisecond)
	for _, tt := range []struct {
		name string
		at   float64
		kind arp.Kind
		want float64
		sent bool // at the time want
	}{
		{"the first goes at once", 1, arp.GARP, 1, true},
		{"the other kind is not held up", 1, arp.NA, 1, true},
		{"the second waits for the gap", 1, arp.GARP, 1.1, false},
		{"asking does not count as sending", 1.05, arp.GARP, 1.1, true},
		{"the gap counts from what was sent", 1.15, arp.GARP, 1.2, false},
		{"the other kind has a gap of its own", 1.15, arp.NA, 1.25, false},
		{"after a pause it goes at once", 9, arp.GARP, 9, true},
		{"a pause earns no burst", 9, arp.GARP, 9.1, false},
	} {
		got := l.Next(seconds(tt.at), tt.kind)
		if !got.Equal(seconds(tt.want)) {
			t.Errorf("%s: %v, want %v", tt.name, got.Sub(epoch), seconds(tt.want).Sub(epoch))
		}
		if tt.sent {
			l.Sent(got, tt.kind)
		}
	}
	if got := l.Most(arp.GARP); got != 1 {
		t.Errorf("with a gap %d go at a time, want 1", got)
	}
}

func TestALimiterWithoutAGapLimitsNothing(t *testing.T) {
	l := arp.NewLimiter(0, -time.Second)
	for _, k := range []arp.Kind{arp.GARP, arp.NA} {
		l.Sent(seconds(1), k)
		if got := l.Next(seconds(1), k); !got.Equal(seconds(1)) {
			t.Errorf("%s may go at %v, want at once", k, got)
		}
		if got := l.Most(k); got != 0 {
			t.Errorf("%d %ss go at a time, want any number", got, k)
		}
	}
}

func TestARateLimitSpreadsTheRoundsAndKeepsTheirOrder(t *testing.T) {
	s := arp.NewSchedule[string](arp.Timing{MasterRepeat: 2})
	l := arp.NewLimiter(time.Second, 0)
	s.Ready(seconds(0), "A", "B", "C")
	s.Settled(seconds(0))

	var got []string
	now := seconds(0)
	for {
		due, ok := s.Next()
		if !ok {
			break
		}
		if due.After(now) {
			now = due
		}
		now = l.Next(now, arp.GARP)
		for _, k := range s.Due(now, l.Most(arp.GARP)) {
			got = append(got, now.Sub(epoch).String()+" "+k)
			l.Sent(now, arp.GARP)
		}
	}
	want := []string{"0s A", "1s B", "2s C", "3s A", "4s B", "5s C"}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("announcement %d: %q, want %q", i, got[i], want[i])
		}
	}
}
