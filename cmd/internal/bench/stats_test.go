package main

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // not sorted
	}
	for _, tt := range []struct {
		name   string
		values []float64
		q      float64
		want   float64
	}{
		{"of one value it is that value", []float64{7}, 0.99, 7},
		{"of ten values the 0.99 quantile is the largest", []float64{5, 1, 2, 3, 4, 6, 7, 8, 9, 10}, 0.99, 10},
		{"of a hundred it is the second largest", hundred, 0.99, 99},
		{"the 0.5 quantile of four is the second", []float64{4, 3, 2, 1}, 0.5, 2},
		{"the 1 quantile is the largest", []float64{4, 9, 2}, 1, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := quantile(tt.values, tt.q); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v", got)
	}
}

func TestMedianOfAnEvenNumberIsTheMeanOfTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 6}, 5.5},
	} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("of %v: got %v, want %v", tt.values, got, tt.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v", got)
	}
}

func TestTheTwoTakeTurns(t *testing.T) {
	var order []rival
	for n := range 4 {
		both := turns(n)
		order = append(order, both[:]...)
	}
	if want := []rival{keepalived, vipd, vipd, keepalived, keepalived, vipd, vipd, keepalived}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestARatioNeedsSomethingToDivideBy(t *testing.T) {
	pairs := []pair{{2, 1}, {0, 3}, {4, 4}, {-1, 2}}
	if got, want := ratios(pairs), []float64{0.5, 1}; !slices.Equal(got, want) {
		t.Errorf("ratios: got %v, want %v", got, want)
	}
	if got, want := differences(pairs), []float64{-1, 3, 0, 3}; !slices.Equal(got, want) {
		t.Errorf("differences: got %v, want %v", got, want)
	}
}

// epoch is when the recordings of these tests begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// schedule returns n events: the nth is due at n intervals, and comes late by
// what late says.
func schedule(n int, interval time.Duration, late func(i int) time.Duration) []time.Time {
	at := make([]time.Time, n)
	for i := range at {
		at[i] = epoch.Add(time.Duration(i)*interval + late(i))
	}
	return at
}

func TestLatenessIsMeasuredFromTheMostPunctualEvent(t *testing.T) {
	const interval = 10 * time.Millisecond
	late := []time.Duration{3 * time.Millisecond, 0, time.Millisecond, 0, 5 * time.Millisecond}
	at := schedule(len(late), interval, func(i int) time.Duration { return late[i] })
	if got := lateness(at, interval); !slices.Equal(got, late) {
		t.Errorf("got %v, want %v", got, late)
	}
	if got := lateness(nil, interval); len(got) != 0 {
		t.Errorf("of nothing: got %v", got)
	}
}

func TestDriftIsFoundAmongLateEvents(t *testing.T) {
	const interval = 10 * time.Millisecond
	for _, tt := range []struct {
		name string
		late func(i int) time.Duration
		want time.Duration
	}{
		{"a punctual schedule has none", func(int) time.Duration { return 0 }, 0},
		{"single late events are none", func(i int) time.Duration { return time.Duration(i%7) * time.Millisecond }, 0},
		{"each event later than the one before", func(i int) time.Duration { return time.Duration(i) * 30 * time.Microsecond }, 30 * time.Microsecond},
		{"the same, and every seventh on time", func(i int) time.Duration {
			d := time.Duration(i) * 30 * time.Microsecond
			if i%7 != 0 {
				d += 2 * time.Millisecond
			}
			return d
		}, 30 * time.Microsecond},
		{"a schedule that is too fast", func(i int) time.Duration { return -time.Duration(i) * time.Microsecond }, -time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := drift(schedule(100, interval, tt.late), interval); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if got := drift(schedule(3, interval, func(int) time.Duration { return 0 }), interval); got != 0 {
		t.Errorf("of three events: got %v", got)
	}
}

func TestGapsAreWhatExceedsTheInterval(t *testing.T) {
	const interval = 100 * time.Millisecond
	at := []time.Time{epoch, epoch.Add(100 * time.Millisecond), epoch.Add(203 * time.Millisecond), epoch.Add(299 * time.Millisecond)}
	if got, want := gaps(at, interval), []time.Duration{0, 3 * time.Millisecond, -4 * time.Millisecond}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := longestGap(at), 103*time.Millisecond; got != want {
		t.Errorf("longest: got %v, want %v", got, want)
	}
	if got := longestGap(at[:1]); got != 0 {
		t.Errorf("longest of one event: got %v", got)
	}
}

func TestTheBoundIsThatOfTheRFC(t *testing.T) {
	for _, tt := range []struct {
		interval time.Duration
		priority uint8
		want     time.Duration
	}{
		{time.Second, 100, 3609375 * time.Microsecond},
		{time.Second, 200, 3218750 * time.Microsecond},
		{10 * time.Millisecond, 100, 36093750 * time.Nanosecond},
	} {
		if got := masterDown(tt.interval, tt.priority); got != tt.want {
			t.Errorf("%v at priority %d: got %v, want %v", tt.interval, tt.priority, got, tt.want)
		}
	}
}
