package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestFlagsSayWhatToRun(t *testing.T) {
	o, err := parse([]string{"--only", "^takeover", "--json", "x"}, io.Discard)
	if err != nil || o.pairs != defaultPairs || !o.only.MatchString("takeover-1s") || o.only.MatchString("x-takeover") || o.jsonFile != "x" {
		t.Errorf("got %+v, %v", o, err)
	}
	if o, err = parse([]string{"--quick"}, io.Discard); err != nil || o.pairs != quickPairs {
		t.Errorf("--quick: got %d pairs, %v", o.pairs, err)
	}
	if o, err = parse([]string{"--quick", "--pairs", "4"}, io.Discard); err != nil || o.pairs != 4 {
		t.Errorf("--quick --pairs 4: got %d pairs, %v", o.pairs, err)
	}
	for _, args := range [][]string{{"--pairs", "-1"}, {"--only", "("}, {"more"}, {"--unknown"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

func TestTheListNamesEveryMeasureOnce(t *testing.T) {
	var text bytes.Buffer
	if err := run(t.Context(), []string{"--list"}, &text, io.Discard); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(text.String()) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) != len(measures()) || len(names) != len(slices.Compact(slices.Sorted(slices.Values(names)))) {
		t.Errorf("got %v", names)
	}
	if err := run(t.Context(), []string{"--only", "nothing-like-it"}, io.Discard, io.Discard); err == nil {
		t.Error("an expression that matches nothing is accepted")
	}
}
