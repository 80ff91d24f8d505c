package arp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/arp"
)

// epoch is when every test begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// seconds returns the time n seconds after the epoch.
func seconds(n float64) time.Time {
	return epoch.Add(time.Duration(n * float64(time.Second)))
}

// defaults are keepalived's, with a refresh.
func defaults() arp.Timing {
	return arp.Timing{
		MasterDelay: 5 * time.Second, MasterRepeat: 5,
		Refresh: 60 * time.Second, RefreshRepeat: 1,
		LowerPrioDelay: 5 * time.Second, LowerPrioRepeat: 5,
	}
}

// with returns the default timing with a change.
func with(change func(*arp.Timing)) arp.Timing {
	t := defaults()
	change(&t)
	return t
}

// A step is something that happens to a schedule at a time.
type step struct {
	at float64
	do func(s *arp.Schedule[string], now time.Time)
}

func ready(at float64, keys ...string) step {
	return step{at, func(s *arp.Schedule[string], now time.Time) { s.Ready(now, keys...) }}
}

func settled(at float64) step {
	return step{at, func(s *arp.Schedule[string], now time.Time) { s.Settled(now) }}
}

func lower(at float64) step {
	return step{at, func(s *arp.Schedule[string], now time.Time) { s.LowerPriority(now) }}
}

func lost(at float64, keys ...string) step {
	return step{at, func(s *arp.Schedule[string], _ time.Time) { s.Lost(keys...) }}
}

func stop(at float64) step {
	return step{at, func(s *arp.Schedule[string], _ time.Time) { s.Stop() }}
}

// run plays the steps on a driver that wakes exactly when Next says, until the
// given time, and writes down what it announced: a line for each moment.
func run(t *testing.T, timing arp.Timing, until float64, steps []step) []string {
	t.Helper()
	s := arp.NewSchedule[string](timing)
	var lines []string
	take := func(now time.Time) {
		if keys := s.Due(now, 0); len(keys) > 0 {
			lines = append(lines, fmt.Sprintf("%g: %s", now.Sub(epoch).Seconds(), strings.Join(keys, " ")))
		}
	}
	wake := func(end time.Time) {
		for {
			next, ok := s.Next()
			if !ok || next.After(end) {
				return
			}
			n := len(lines)
			if take(next); len(lines) == n {
				t.Fatalf("nothing was due at %v, which Next returned", next.Sub(epoch))
			}
		}
	}
	for i, st := range steps {
		now := seconds(st.at)
		wake(now.Add(-1))
		st.do(s, now)
		// Steps at one time are one batch for a driver.
		if i+1 == len(steps) || steps[i+1].at != st.at {
			take(now)
		}
	}
	wake(seconds(until))
	return lines
}

func TestScheduleTraces(t *testing.T) {
	for _, tt := range []struct {
		name   string
		timing arp.Timing
		until  float64
		steps  []step
		want   []string
	}{
		{
			name:   "rounds are interleaved, the second block follows after the delay, a refresh every minute after that",
			timing: defaults(),
			until:  190,
			steps:  []step{ready(0, "A", "B"), settled(0)},
			want: []string{
				"0: A B A B A B A B A B",
				"5: A B A B A B A B A B",
				"65: A B", "125: A B", "185: A B",
			},
		},
		{
			name:   "an address has its first round before the next is in place",
			timing: defaults(),
			until:  10,
			steps:  []step{ready(0, "A"), ready(0.001, "B"), ready(0.002, "C"), settled(0.003)},
			want: []string{
				"0: A", "0.001: B", "0.002: C",
				"0.003: A B C A B C A B C A B C",
				"5.003: A B C A B C A B C A B C A B C",
			},
		},
		{
			name:   "no delay means no second block, and the refresh counts from the start",
			timing: with(func(t *arp.Timing) { t.MasterDelay = 0 }),
			until:  130,
			steps:  []step{ready(0, "A"), settled(0)},
			want:   []string{"0: A A A A A", "60: A", "120: A"},
		},
		{
			name:   "no refresh means silence after the second block",
			timing: with(func(t *arp.Timing) { t.Refresh = 0 }),
			until:  1e6,
			steps:  []step{ready(0, "A"), settled(0)},
			want:   []string{"0: A A A A A", "5: A A A A A"},
		},
		{
			name:   "one round is the first and the only one of each block",
			timing: with(func(t *arp.Timing) { t.MasterRepeat = 1 }),
			until:  10,
			steps:  []step{ready(0, "A", "B"), settled(1)},
			want:   []string{"0: A B", "6: A B"},
		},
		{
			name:   "no rounds means none, but the refresh goes on",
			timing: with(func(t *arp.Timing) { t.MasterRepeat = 0 }),
			until:  70,
			steps:  []step{ready(0, "A"), settled(0)},
			want:   []string{"65: A"},
		},
		{
			name:   "a refresh of several rounds is interleaved",
			timing: with(func(t *arp.Timing) { t.RefreshRepeat = 2; t.MasterRepeat = 0 }),
			until:  70,
			steps:  []step{ready(0, "A", "B"), settled(0)},
			want:   []string{"65: A B A B"},
		},
		{
			name:   "a late address has a burst and a second block of its own, and joins the refresh",
			timing: defaults(),
			until:  70,
			steps:  []step{ready(0, "A"), settled(0), ready(2, "B")},
			want: []string{
				"0: A A A A A", "2: B B B B B",
				"5: A A A A A", "7: B B B B B",
				"65: A B",
			},
		},
		{
			name:   "late addresses that come together are interleaved",
			timing: defaults(),
			until:  4,
			steps:  []step{ready(0, "A"), settled(0), ready(2, "B", "C")},
			want:   []string{"0: A A A A A", "2: B C B C B C B C B C"},
		},
		{
			name:   "an address that is ready twice is announced as if once",
			timing: defaults(),
			until:  4,
			steps:  []step{ready(0, "A", "A"), ready(0, "A"), settled(0), ready(1, "A")},
			want:   []string{"0: A A A A A"},
		},
		{
			name:   "a lost address is left out of what was pending",
			timing: defaults(),
			until:  70,
			steps:  []step{ready(0, "A", "B", "C"), settled(0), lost(1, "B", "never there")},
			want: []string{
				"0: A B C A B C A B C A B C A B C",
				"5: A C A C A C A C A C",
				"65: A C",
			},
		},
		{
			name:   "an address that is lost between its first round and the rest has no more",
			timing: defaults(),
			until:  70,
			steps:  []step{ready(0, "A", "B"), lost(0, "A"), settled(0)},
			want:   []string{"0: B B B B B", "5: B B B B B", "65: B"},
		},
		{
			name:   "an address that was lost and put back is late, and its old second block forgotten",
			timing: defaults(),
			until:  70,
			steps:  []step{ready(0, "A", "B"), settled(0), lost(1, "A"), ready(2, "A")},
			want: []string{
				"0: A B A B A B A B A B",
				"2: A A A A A",
				"5: B B B B B",
				"7: A A A A A",
				"65: B A",
			},
		},
		{
			name:   "with all addresses lost nothing is pending, and what was missed meanwhile is not made up for",
			timing: defaults(),
			until:  190,
			steps:  []step{ready(0, "A"), settled(0), lower(1), lost(2, "A"), ready(100, "A")},
			want: []string{
				"0: A A A A A", "1: A A A A A",
				"100: A A A A A", "105: A A A A A",
				"125: A", "185: A",
			},
		},
		{
			name:   "settled without any address leaves the refresh running for those that come",
			timing: defaults(),
			until:  70,
			steps:  []step{settled(0), ready(10, "A")},
			want:   []string{"10: A A A A A", "15: A A A A A", "65: A"},
		},
		{
			name:   "a lower priority is answered at once and after the delay",
			timing: defaults(),
			until:  60,
			steps:  []step{ready(0, "A", "B"), settled(0), lower(20)},
			want: []string{
				"0: A B A B A B A B A B",
				"5: A B A B A B A B A B",
				"20: A B A B A B A B A B",
				"25: A B A B A B A B A B",
			},
		},
		{
			name:   "lower priorities every second put the delayed block off and never add one",
			timing: with(func(t *arp.Timing) { t.LowerPrioRepeat = 1 }),
			until:  60,
			steps:  []step{ready(0, "A"), settled(0), lower(20), lower(21), lower(22), lower(23)},
			want: []string{
				"0: A A A A A", "5: A A A A A",
				"20: A", "21: A", "22: A", "23: A", "28: A",
			},
		},
		{
			name:   "many lower priorities in one batch are answered once",
			timing: defaults(),
			until:  60,
			steps:  []step{ready(0, "A"), settled(0), lower(20), lower(20), lower(20)},
			want: []string{
				"0: A A A A A", "5: A A A A A",
				"20: A A A A A", "25: A A A A A",
			},
		},
		{
			name:   "no delay means that a lower priority is answered once",
			timing: with(func(t *arp.Timing) { t.LowerPrioDelay = 0 }),
			until:  60,
			steps:  []step{ready(0, "A"), settled(0), lower(20)},
			want:   []string{"0: A A A A A", "5: A A A A A", "20: A A A A A"},
		},
		{
			name:   "no rounds means that a lower priority is not answered",
			timing: with(func(t *arp.Timing) { t.LowerPrioRepeat = 0 }),
			until:  60,
			steps:  []step{ready(0, "A"), settled(0), lower(20)},
			want:   []string{"0: A A A A A", "5: A A A A A"},
		},
		{
			name:   "the delayed block takes in an address that came after the lower priority",
			timing: with(func(t *arp.Timing) { t.MasterRepeat = 1; t.LowerPrioRepeat = 2 }),
			until:  26,
			steps:  []step{ready(0, "A"), settled(0), lower(20), ready(21, "B")},
			want:   []string{"0: A", "5: A", "20: A A", "21: B", "25: A B A B", "26: B"},
		},
		{
			name:   "stopping forgets what is pending",
			timing: defaults(),
			until:  1000,
			steps:  []step{ready(0, "A"), settled(0), lower(1), stop(2)},
			want:   []string{"0: A A A A A", "1: A A A A A"},
		},
		{
			name:   "re-elections do not multiply the refresh",
			timing: with(func(t *arp.Timing) { t.MasterRepeat = 1; t.MasterDelay = 0 }),
			until:  200,
			steps: []step{
				ready(0, "A"), settled(0), stop(10),
				ready(20, "A"), settled(20), stop(30),
				ready(40, "A"), settled(40),
			},
			want: []string{"0: A", "20: A", "40: A", "100: A", "160: A"},
		},
		{
			name:   "settled twice is settled once",
			timing: with(func(t *arp.Timing) { t.MasterRepeat = 2 }),
			until:  70,
			steps:  []step{ready(0, "A"), settled(0), settled(1)},
			want:   []string{"0: A A", "5: A A", "65: A"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := run(t, tt.timing, tt.until, tt.steps); !slices.Equal(got, tt.want) {
				t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
		})
	}
}

func TestDueSplitsABlockAndKeepsItsOrder(t *testing.T) {
	s := arp.NewSchedule[string](defaults())
	s.Ready(seconds(0), "A", "B", "C")
	s.Settled(seconds(0))

	want := strings.Fields(strings.Repeat("A B C ", 5))
	for _, most := range []int{1, 2, 4} {
		got := s.Due(seconds(0), most)
		if !slices.Equal(got, want[:most]) {
			t.Fatalf("Due of at most %d: %v, want %v", most, got, want[:most])
		}
		want = want[most:]
		if at, ok := s.Next(); !ok || !at.Equal(seconds(0)) {
			t.Fatalf("the rest is due at %v, %v", at, ok)
		}
	}
	if got := s.Due(seconds(0), 0); !slices.Equal(got, want) {
		t.Errorf("Due of the rest: %v, want %v", got, want)
	}
	if at, ok := s.Next(); !ok || !at.Equal(seconds(5)) {
		t.Errorf("the next is due at %v, %v, want the second block", at, ok)
	}
}

func TestAnAddressLostInTheMiddleOfASplitBlockIsLeftOut(t *testing.T) {
	s := arp.NewSchedule[string](with(func(t *arp.Timing) { t.MasterRepeat = 2; t.MasterDelay = 0; t.Refresh = 0 }))
	s.Ready(seconds(0), "A", "B", "C")
	s.Settled(seconds(0))
	if got, want := s.Due(seconds(0), 1), []string{"A"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	s.Lost("B")
	if got, want := s.Due(seconds(0), 0), []string{"C", "A", "C"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if at, ok := s.Next(); ok {
		t.Errorf("something is due at %v", at)
	}
}

func TestALateDriverGetsEachRefreshOnceAndInStep(t *testing.T) {
	s := arp.NewSchedule[string](with(func(t *arp.Timing) { t.MasterRepeat = 0; t.MasterDelay = 0 }))
	s.Ready(seconds(0), "A")
	s.Settled(seconds(0))
	if got, want := s.Due(seconds(1000), 0), []string{"A"}; !slices.Equal(got, want) {
		t.Errorf("after sixteen periods: %v, want %v", got, want)
	}
	if at, _ := s.Next(); !at.Equal(seconds(1020)) {
		t.Errorf("the next refresh is due at %v, want 17m0s", at.Sub(epoch))
	}
}

func TestARefreshThatIsStillUnderWayIsNotAddedToItself(t *testing.T) {
	s := arp.NewSchedule[int](arp.Timing{Refresh: time.Second, RefreshRepeat: 1})
	keys := make([]int, 100)
	for i := range keys {
		keys[i] = i
	}
	s.Ready(seconds(0), keys...)
	s.Settled(seconds(0))
	// One a second, of a hundred that are due every second.
	for i := range 1000 {
		got := s.Due(seconds(float64(i+1)), 1)
		if want := []int{i % 100}; !slices.Equal(got, want) {
			t.Fatalf("after %d s: %v, want %v", i+1, got, want)
		}
	}
	if got := s.Due(seconds(1000), 0); len(got) > 100 {
		t.Errorf("%d refreshes piled up", len(got))
	}
}

func TestUnderARateLimitLowerPrioritiesReachEveryAddress(t *testing.T) {
	s := arp.NewSchedule[string](arp.Timing{MasterRepeat: 0, LowerPrioRepeat: 5, LowerPrioDelay: 5 * time.Second})
	s.Ready(seconds(0), "A", "B", "C", "D")
	s.Settled(seconds(0))
	for i, want := range strings.Fields("A B C D A B C D A B C D A B C D A B C D A B C D") {
		s.LowerPriority(seconds(float64(i)))
		if got := s.Due(seconds(float64(i)), 1); len(got) != 1 || got[0] != want {
			t.Fatalf("after %d s: %v, want %v", i, got, want)
		}
	}
	// What is left: the immediate block less the one just taken, and the delayed.
	if got, want := len(s.Due(seconds(1000), 0)), 5*4-1+5*4; got != want {
		t.Errorf("%d are left, want %d", got, want)
	}
}

func TestADelayedBlockUnderWayIsNotStartedOver(t *testing.T) {
	s := arp.NewSchedule[string](arp.Timing{LowerPrioRepeat: 1, LowerPrioDelay: 5 * time.Second})
	s.Ready(seconds(0), "A", "B", "C")
	s.LowerPriority(seconds(0))
	s.Due(seconds(0), 0)
	if got := s.Due(seconds(5), 1); !slices.Equal(got, []string{"A"}) {
		t.Fatalf("the delayed block began with %v", got)
	}
	s.LowerPriority(seconds(6))
	if got, want := s.Due(seconds(6), 0), []string{"B", "C", "A"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := s.Due(seconds(11), 0), []string{"A", "B", "C"}; !slices.Equal(got, want) {
		t.Errorf("the delayed block: %v, want %v", got, want)
	}
}

func TestThousandsOfAddressesCostNoMoreThanTheirAnnouncements(t *testing.T) {
	const n, rounds = 5000, 5
	start := time.Now()

	s := arp.NewSchedule[int](with(func(t *arp.Timing) { t.MasterRepeat = rounds }))
	for i := range n { // one by one, as they are put in place
		s.Ready(seconds(0), i)
	}
	s.Settled(seconds(0))
	var got int
	for { // a few at a time, as a queue takes them
		due := s.Due(seconds(5), 7)
		if len(due) == 0 {
			break
		}
		for _, k := range due {
			if k != got%n {
				t.Fatalf("announcement %d is of %d, want %d", got, k, got%n)
			}
			got++
		}
	}
	if want := 2 * rounds * n; got != want {
		t.Errorf("%d announcements, want %d", got, want)
	}
	for i := range n { // all late, all lost: nothing may be left behind
		s.Lost(i)
		s.Ready(seconds(6), n+i)
		s.Next()
	}
	if got, want := len(s.Due(seconds(6), 0)), rounds*n; got != want {
		t.Errorf("%d announcements of late addresses, want %d", got, want)
	}
	for i := range n {
		s.Lost(n + i)
		s.Next()
	}
	if at, ok := s.Next(); ok || s.Len() != 0 {
		t.Errorf("with all %d lost, something is due at %v", s.Len(), at)
	}
	// Quadratic in 5,000 × 5 would be over half a billion steps; the bound is
	// far above what the linear cost is with the race detector on a busy machine.
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAnAddressThatComesAndGoesLeavesNothingBehind(t *testing.T) {
	s := arp.NewSchedule[string](with(func(t *arp.Timing) { t.MasterDelay = time.Hour }))
	// What is due for the address that stays hides what was due for the other.
	s.Ready(seconds(0), "stays")
	s.Settled(seconds(0))
	for range 100_000 {
		s.Ready(seconds(1), "A")
		s.Due(seconds(1), 0)
		s.Lost("A")
	}
	if got := s.Pending(); got > 200 {
		t.Errorf("%d blocks are kept after the address came and went", got)
	}
}

// FuzzSchedule plays any sequence of calls and holds the schedule to what it
// promises.
func FuzzSchedule(f *testing.F) {
	f.Add([]byte{5, 5, 10, 1, 5, 5, 0, 1, 0, 2, 1, 0, 5, 0, 4, 50, 5, 0})
	f.Add([]byte{0, 1, 1, 1, 0, 1, 0, 3, 1, 0, 3, 3, 5, 1, 2, 0, 6, 0, 0, 3, 5, 0})
	f.Add([]byte{1, 2, 1, 2, 1, 2, 0, 7, 1, 0, 4, 20, 5, 1, 3, 0, 2, 7, 5, 0, 4, 90, 5, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 6 || len(in) > 4096 {
			t.Skip()
		}
		tenth := func(b byte) time.Duration { return time.Duration(b) * 100 * time.Millisecond }
		timing := arp.Timing{
			MasterDelay: tenth(in[0]), MasterRepeat: int(in[1] % 6),
			Refresh: tenth(in[2]), RefreshRepeat: int(in[3] % 3),
			LowerPrioDelay: tenth(in[4]), LowerPrioRepeat: int(in[5] % 6),
		}
		s := arp.NewSchedule[byte](timing)
		now := epoch
		in = in[6:]
		isReady := map[byte]bool{}

		take := func(most int) {
			next, pending := s.Next()
			got := s.Due(now, most)
			if want := pending && !next.After(now); want != (len(got) > 0) {
				t.Fatalf("Next said %v, %v and Due at %v returned %d keys", next, pending, now, len(got))
			}
			if most > 0 && len(got) > most {
				t.Fatalf("Due of at most %d returned %d", most, len(got))
			}
			for _, k := range got {
				if !isReady[k] {
					t.Fatalf("announced %d, which is not ready", k)
				}
			}
			if next, pending := s.Next(); most <= 0 && pending && !next.After(now) {
				t.Fatalf("after all were taken at %v, Next says %v", now, next)
			}
		}
		for ; len(in) >= 2; in = in[2:] {
			arg := in[1]
			switch in[0] % 8 {
			case 0:
				keys := []byte{arg % 8, arg / 8 % 8}
				s.Ready(now, keys...)
				isReady[keys[0]], isReady[keys[1]] = true, true
			case 1:
				s.Settled(now)
			case 2:
				s.Lost(arg % 8)
				delete(isReady, arg%8)
			case 3:
				s.LowerPriority(now)
			case 4:
				now = now.Add(tenth(arg))
			case 5:
				take(int(arg % 16))
			case 6:
				if next, ok := s.Next(); ok && next.After(now) {
					now = next
				}
				take(0)
			case 7:
				if arg == 0 {
					s.Stop()
					clear(isReady)
				}
			}
			if s.Len() != len(isReady) {
				t.Fatalf("%d addresses are ready, want %d", s.Len(), len(isReady))
			}
		}
		s.Stop()
		if at, ok := s.Next(); ok || len(s.Due(now.Add(time.Hour), 0)) != 0 {
			t.Fatalf("after Stop something is due at %v", at)
		}
	})
}
