package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// judged returns a row with these pairs after its goal has judged it.
func judged(unit string, g goal, pairs ...pair) *row {
	o := &outcome{index: make(map[string]*row)}
	r := o.row("row", unit, g)
	for _, p := range pairs {
		o.accept([2]sample{{"row": {p[keepalived]}}, {"row": {p[vipd]}}})
	}
	r.judge()
	return r
}

func TestVerdictsFollowTheGoals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		goal  goal
		pairs []pair
		met   bool
		want  string // contained in the verdict
	}{
		{"no worse: less", noWorse(), []pair{{10, 9}, {10, 8}, {10, 30}}, true, "ok"},
		{"no worse: five percent more is the same", noWorse(), []pair{{10, 10.5}}, true, "ok"},
		{"no worse: six percent more is not", noWorse(), []pair{{10, 10.6}}, false, "WORSE"},
		{"no worse: twice as much of nearly nothing is the same", noWorse(), []pair{{0.08, 0.17}}, true, "ok (+0.090 ms)"},
		{"no worse: the median of the pairs counts, not that of the values", noWorse(), []pair{{1, 2}, {10, 11}, {100, 1}, {3, 9}, {50, 60}}, false, "WORSE"},
		{"no worse: nothing was measured", noWorse(), nil, false, "no pairs"},
		{"at most times: within", atMostTimes(1.5, 0), []pair{{4, 5.9}}, true, "ok"},
		{"at most times: beyond", atMostTimes(1.5, 0), []pair{{4, 6.1}}, false, "WORSE"},
		{"at most: within", atMost(16), []pair{{90, 15}}, true, "ok"},
		{"at most: beyond", atMost(16), []pair{{90, 17}}, false, "MISSED"},
		{"at most: nothing was measured", atMost(16), nil, false, "MISSED"},
		{"within: nearer than the limit, above", within(20), []pair{{100, 119}}, true, "ok"},
		{"within: nearer than the limit, below", within(20), []pair{{100, 81}}, true, "ok"},
		{"within: farther, though less", within(20), []pair{{100, 79}}, false, "DIFFERS"},
		{"away: near zero on either side", atMostAway(0.01), []pair{{1, -0.005}}, true, "ok"},
		{"away: below", atMostAway(0.01), []pair{{1, -0.05}}, false, "MISSED"},
		{"no more: the sums count", noMore(), []pair{{3, 0}, {0, 3}}, true, "ok"},
		{"no more: one more", noMore(), []pair{{3, 0}, {0, 4}}, false, "WORSE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := judged("ms", tt.goal, tt.pairs...)
			if r.Met != tt.met || !strings.Contains(r.Verdict, tt.want) {
				t.Errorf("got %v, %q, want %v, %q", r.Met, r.Verdict, tt.met, tt.want)
			}
		})
	}
}

func TestATurnOfManyValuesIsComparedAsTheRowSays(t *testing.T) {
	o := &outcome{index: make(map[string]*row)}
	middle, high, most := o.row("m", "ms"), o.row("p", "ms").byP99(), o.row("x", "ms").byMax()
	many := []float64{1, 2, 3, 4, 50}
	o.accept([2]sample{{"m": many, "p": many, "x": many}, {"m": {7}, "p": {7}, "x": {7}}})
	for _, tt := range []struct {
		row  *row
		want float64
	}{{middle, 3}, {high, 50}, {most, 50}} {
		if got := tt.row.Pairs[0]; got != (pair{tt.want, 7}) {
			t.Errorf("%s: got %v, want %v", tt.row.PairedBy, got, tt.want)
		}
		if got := len(tt.row.Raw["keepalived"]); got != len(many) {
			t.Errorf("%s: %d raw values", tt.row.PairedBy, got)
		}
	}
}

func TestTheReportCanBeWrittenWhateverWasFound(t *testing.T) {
	// A measure without any value has no ratio, which JSON could not express.
	o := &outcome{Name: "m", Title: "t", index: make(map[string]*row), Error: "failed"}
	o.row("nothing", "ms", noWorse())
	o.row("no ratio", "ms")
	o.accept([2]sample{{"no ratio": {0}}, {"no ratio": {1}}})
	o.reject(1, "noise", [2]sample{{"nothing": {1}}, nil})
	var text, file bytes.Buffer
	o.print(&text)
	for _, want := range []string{"no pairs", "rejected pair 1: noise", "FAILED: failed"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	r := report{Measures: []*outcome{o}}
	if err := r.write(&file); err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(file.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if got := back.Measures[0].Rejected[0].Values["keepalived"]["nothing"]; len(got) != 1 || got[0] != 1 {
		t.Errorf("a rejected value came back as %v", got)
	}
	text.Reset()
	r.printSummary(&text)
	if !strings.Contains(text.String(), "m, nothing: no pairs") {
		t.Errorf("no missed target in\n%s", text.String())
	}
}
