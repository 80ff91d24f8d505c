package fabric

import (
	"testing"
	"time"
)

func TestAStateLastsUntilTheNextQuestion(t *testing.T) {
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	const a, b, both = Set(1), Set(2), Set(3)
	h := history{}
	for i, s := range []struct{ answered, reached Set }{
		{a, both}, {a, both}, {both, both}, {both, both}, {both, both}, {b, both}, // to b, with 60 ms of both
		{0, both}, {0, both}, // nobody
		{b, both}, {both, b}, {both, b}, // a is cut off, and has it again
		{both, 0}, // b as well
		{b, b},
	} {
		h = append(h, sample{at(20 * i), both, []Set{s.answered}, []Set{s.reached}})
	}
	for _, test := range []struct {
		name     string
		from, to int
		want     Times
	}{
		{"all of it", 0, 260, Times{Two: ms(60), None: ms(60), Apart: ms(60)}},
		{"before anything is known", -1000, 40, Times{}},
		{"within the overlap", 50, 70, Times{Two: ms(20)}},
		{"half a period at each end", 90, 130, Times{Two: ms(10), None: ms(10)}},
		{"the last one goes on", 240, 1000, Times{}},
		{"a cut on either side", 180, 240, Times{Apart: ms(60), None: ms(20)}},
		{"no time at all", 50, 50, Times{}},
	} {
		if got := h.between(0, at(test.from), at(test.to)); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestAnAnswerBelongsToTheLastQuestionOfItsStation(t *testing.T) {
	begin := time.Now()
	const (
		period  = 20 * time.Millisecond
		in      = int(Settled / period) // so many questions may be open
		n       = 2*stations + 5
		present = n - 1
	)
	for _, test := range []struct {
		name    string
		station int
		after   time.Duration // the last question
		want    int
	}{
		{"to the last one", present, 0, present},
		{"some time later", present - 3, 5 * time.Millisecond, present - 3},
		{"as late as may be", present - in, 0, present - in},
		{"too late: it answers the present", present - in - 1, 0, present},
		{"to one that was not put to it", present - 5, 0, present},
		{"it came before the last questions were asked", present - 4, -3 * period, present - 4},
		{"too late, and before the last questions were asked", present - 3 - in - 1, -3 * period, present - 3},
		{"no such station", stations + n, 0, -1},
	} {
		h := make(history, n)
		for i := range h {
			h[i] = sample{begin.Add(time.Duration(i) * period), 3, make([]Set, 2), make([]Set, 2)}
		}
		h[present-5].asked = 1
		station := byte(test.station % stations)
		if test.want < 0 {
			station = stations
		}
		h.note(station, 1, 0, h[present].at.Add(test.after))
		got := -1
		for i, s := range h {
			if s.answered[0] == 2 {
				got = i
			} else if s.answered[0] != 0 || s.answered[1] != 0 {
				t.Errorf("%s: question %d has %v", test.name, i, s.answered)
			}
		}
		if got != test.want {
			t.Errorf("%s: got question %d, want %d", test.name, got, test.want)
		}
	}
}

func TestHowLongARouterAnsweredIsKnownWhoeverReachedIt(t *testing.T) {
	begin := time.Now()
	h := history{}
	for i, who := range []Set{1, 3, 2, 0} {
		h = append(h, sample{begin.Add(time.Duration(i) * time.Second), 3, []Set{who}, []Set{1}})
	}
	if got := h.held(0, 1, begin, begin.Add(time.Minute)); got != 2*time.Second {
		t.Errorf("the second one for %v, want 2s", got)
	}
}
