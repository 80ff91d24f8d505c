package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFlagsSayWhatToTry(t *testing.T) {
	o, err := parse([]string{"--only", "^heal", "--pair", "^vipd-vipd$", "--repeat", "12"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	rounds := make(map[string]int)
	for _, j := range o.jobs() {
		if !j.heals || j.pair != (pair{vipd, vipd}) || j.rounds > healRounds {
			t.Errorf("got %v, %d rounds", j, j.rounds)
		}
		rounds[j.name] += j.rounds
	}
	if len(rounds) == 0 {
		t.Error("nothing is to be done")
	}
	for name, n := range rounds {
		if n < 12 {
			t.Errorf("%d rounds of %s, want at least 12", n, name)
		}
	}
	for _, args := range [][]string{{"--repeat", "-1"}, {"--at-once", "0"}, {"--only", "("}, {"--pair", "("}, {"--only", "nothing-like-it"}, {"more"}, {"--unknown"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

func TestEveryHealOfWhichSomethingIsPromisedIsTriedAHundredTimes(t *testing.T) {
	o, err := parse([]string{"--only", "^heal-(winner|loser)-first$"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	rounds := make(map[string]int)
	for _, j := range o.jobs() {
		rounds[j.String()] += j.rounds
	}
	for _, p := range pairs {
		for _, order := range []string{"winner", "loser"} {
			want := 100
			// Nothing is promised of two keepalived, and of one that loses and
			// hears the winner first.
			if p.peer == keepalived && (p.faulted == keepalived || order == "winner") {
				want = 1
			}
			if got := rounds["heal-"+order+"-first "+p.String()]; got != want {
				t.Errorf("%s first, %v: %d rounds, want %d", order, p, got, want)
			}
		}
	}
}

func TestTheListNamesEveryFaultOnce(t *testing.T) {
	o, err := parse([]string{"--list"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	list(&text, o)
	var names []string
	for line := range strings.Lines(text.String()) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) != len(faults()) || len(names) != len(slices.Compact(slices.Sorted(slices.Values(names)))) {
		t.Errorf("got %v", names)
	}
}

func TestTimesOfTwoOwnersAndOfNoneAreThoseOfTheWorstAddress(t *testing.T) {
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	o := &owners{vips: vipAddrs(), changes: []change{
		{at(0), 0, 1}, {at(0), 1, 1},
		{at(1000), 0, 3}, {at(1200), 0, 2}, // both for 200 ms
		{at(1100), 1, 0}, {at(1400), 1, 2}, // nobody for 300 ms
		{at(2000), 0, 3}, {at(2100), 0, 2}, // both for 100 ms more
	}}
	for vip := 2; vip < len(o.vips); vip++ {
		o.changes = append(o.changes, change{at(0), vip, 1})
	}
	if two, none := o.between(at(500), at(3000)); two != 300*time.Millisecond || none != 300*time.Millisecond {
		t.Errorf("got %v and %v, want 300ms of each", two, none)
	}
	if two, none := o.between(at(1050), at(1150)); two != 100*time.Millisecond || none != 50*time.Millisecond {
		t.Errorf("within the overlap: got %v and %v, want 100ms and 50ms", two, none)
	}
	if got := o.at(at(1150)); got != 3 {
		t.Errorf("in the middle %v have an address, want both", got)
	}
}

func TestAHealComesBeforeTheAdvertisementOfTheOneThatIsToBeFirst(t *testing.T) {
	s := &stand{setup: setup{interval: time.Second}}
	now := time.Now()
	last := func(ago time.Duration) map[uint8]time.Time {
		m := make(map[uint8]time.Time)
		for n, i := range instances {
			m[i.vrid] = now.Add(-ago + time.Duration(n)*time.Millisecond)
		}
		return m
	}
	both := []map[uint8]time.Time{last(5300 * time.Millisecond), last(900 * time.Millisecond)}
	for first := range both {
		at, ok := s.justBefore(first, both...)
		if !ok {
			t.Errorf("no moment at which %d is first", first)
			continue
		}
		for _, i := range instances {
			wait := func(router int) time.Duration { return s.interval - at.Sub(both[router][i.vrid])%s.interval }
			if wait(first) >= wait(1-first) || wait(first) > 2*lead {
				t.Errorf("%s: %v until %d, %v until %d", i.name, wait(first), first, wait(1-first), 1-first)
			}
		}
	}
	if _, ok := s.justBefore(0, last(500*time.Millisecond), last(500*time.Millisecond)); ok {
		t.Error("a moment is found although both advertise at the same time")
	}
}

func TestAPromiseIsBrokenByMoreThanItSays(t *testing.T) {
	p := promise{two: atMost(500 * time.Millisecond), gap: atMost(200 * time.Millisecond), lost: atMost(0), transitions: atMost(0)}
	for _, test := range []struct {
		name string
		outcome
		want int
	}{
		{"nothing happened", outcome{}, 0},
		{"as much as promised", outcome{Two: 0.3, TwoAfter: 0.2, Gap: 0.2}, 0},
		{"two owners before and after", outcome{Two: 0.3, TwoAfter: 0.3}, 1},
		{"a gap", outcome{Gap: 0.3}, 1},
		{"a loss and a transition", outcome{Lost: 1, Transitions: 2}, 2},
		{"what is not promised", outcome{None: 5, Misled: 5}, 0},
	} {
		if got := test.breaks(p); len(got) != test.want {
			t.Errorf("%s: got %q, want %d", test.name, got, test.want)
		}
	}
	p.twoAfter = atMost(100 * time.Millisecond)
	if got := (outcome{Two: 0.4, TwoAfter: 0.3}).breaks(p); len(got) != 1 {
		t.Errorf("with a limit for after the repair: got %q, want 1", got)
	}
}

func TestTablesGoBetweenTheMarkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "document.md")
	text := "before\n" + string(mark) + "\nold\n<!-- to here -->\nafter\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := report{Outcomes: []outcome{
		{Fault: "kill", Pair: "vipd-vipd", Two: 0.25, Owner: "b", tracked: true},
		{Fault: "kill", Pair: "vipd-vipd", Two: 0.125, Lost: 7, Owner: "b", tracked: true},
		{Fault: "kill", Pair: "vipd-keepalived", Error: "not tried"},
	}}
	if err := r.document(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	title := faults()[0].title
	for _, want := range []string{"before\n", "\nafter\n", "| " + title + " | 0.25 / 0; 0 (worst of 2) | – | – | – |", "| " + title + " | 7; 0; b (worst of 2) | –"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "old") {
		t.Errorf("what was there before stays:\n%s", got)
	}
	if err := os.WriteFile(file, []byte("no markers"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.document(file); err == nil {
		t.Error("a document without markers is accepted")
	}
}

// The document that the tables are for has the markers.
func TestTheDocumentHasTheMarkers(t *testing.T) {
	text, err := os.ReadFile("../../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := mark.Cut(text); err != nil {
		t.Error(err)
	}
}
