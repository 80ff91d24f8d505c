package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"vipd/cmd/internal/figures"
)

// A report is everything a run found, as it is written to the JSON file.
type report struct {
	Kernel   string            `json:"kernel"`
	CPUs     int               `json:"cpus"`
	Versions map[string]string `json:"versions"`
	Command  []string          `json:"command"`
	Outcomes []outcome         `json:"outcomes"`
}

// describe says what is tried, and on what.
func describe(ctx context.Context, b binaries) report {
	r := report{Kernel: figures.Kernel(), CPUs: runtime.NumCPU(), Versions: make(map[string]string), Command: os.Args}
	for _, p := range []struct {
		kind
		argv []string
	}{{keepalived, []string{b.keepalived, "--version"}}, {vipd, []string{b.vipd, "version"}}} {
		text, _ := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...).CombinedOutput()
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		r.Versions[string(p.kind)] = first
	}
	return r
}

func (r report) write(w io.Writer) error {
	return figures.WriteJSON(w, r)
}

// failures is an error if anything could not be tried.
func (r report) failures() error {
	var errs []error
	for _, o := range r.Outcomes {
		if o.Error != "" {
			errs = append(errs, fmt.Errorf("%s %s: %s", o.Fault, o.Pair, o.Error))
		}
	}
	return errors.Join(errs...)
}

// kept reports whether no promise was broken.
func (r report) kept() bool {
	return !slices.ContainsFunc(r.Outcomes, func(o outcome) bool { return len(o.Missed) > 0 })
}

func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "Linux %s, %d CPUs; %s; %s\n", r.Kernel, r.CPUs, r.Versions["keepalived"], r.Versions["vipd"])
	fmt.Fprintf(w, "seconds; a has the fault, b has not; two numbers: until the repair, and after it\n\n")
	fmt.Fprintf(w, "%-22s %-22s %15s %15s %6s %7s %5s  %-7s %-7s %s\n", "fault", "pair", "two owners", "no owner", "lost", "gap", "peer", "owner", "client", "misled")
	for _, o := range r.Outcomes {
		fmt.Fprintln(w, o)
	}
	missed := 0
	for _, o := range r.Outcomes {
		if len(o.Missed) > 0 {
			missed++
		}
	}
	fmt.Fprintf(w, "\n%d of %d rounds broke a promise\n", missed, len(r.Outcomes))
}

// mark is where the tables go in the document.
const mark figures.Mark = "<!-- make reliability writes from here -->"

// document writes the tables into a file.
func (r report) document(file string) error { return mark.WriteInto(file, r.tables()) }

// tables returns the tables for the document: of several rounds the worst.
func (r report) tables() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Linux %s, %d CPUs, %s, %s.\n", r.Kernel, r.CPUs, r.Versions["keepalived"], r.Versions["vipd"])
	r.table(&b, false, "two owners / no owner, s; longest gap of a client, ms", func(o outcome) string {
		return fmt.Sprintf("%s / %s; %.0f", seconds(o.Two+o.TwoAfter), seconds(o.None+o.NoneAfter), o.Gap*1000)
	})
	r.table(&b, false, "pings lost of 100 a second; changes of state of the peer; who has the addresses in the end", func(o outcome) string {
		return fmt.Sprintf("%d; %d; %s", o.Lost, o.Transitions, o.Owner)
	})
	r.table(&b, true, "the client talked to the loser for, s; two owners, s; pings lost", func(o outcome) string {
		return fmt.Sprintf("%s; %s; %d", seconds(o.Misled), seconds(o.TwoAfter), o.Lost)
	})
	return b.Bytes()
}

// seconds formats a time to a hundredth, and what is shorter as nothing.
func seconds(s float64) string {
	switch {
	case s == 0:
		return "0"
	case s < 0.01:
		return "<0.01"
	}
	return fmt.Sprintf("%.2f", s)
}

// table writes one table, with a column for each pair.
func (r report) table(w io.Writer, healed bool, title string, cell func(outcome) string) {
	type key struct{ fault, pair string }
	worst := make(map[key]outcome)
	rounds := make(map[key]int)
	for _, o := range r.Outcomes {
		if !o.tracked {
			continue
		}
		k := key{o.Fault, o.Pair}
		worst[k] = worse(worst[k], o)
		rounds[k]++
	}
	var rows strings.Builder
	for _, f := range faults() {
		var cells []string
		for _, p := range pairs {
			text := "–"
			if k := (key{f.name, p.String()}); rounds[k] > 0 {
				text = cell(worst[k])
				if rounds[k] > 1 {
					text += fmt.Sprintf(" (worst of %d)", rounds[k])
				}
			}
			cells = append(cells, text)
		}
		if f.heals == healed && slices.ContainsFunc(cells, func(c string) bool { return c != "–" }) {
			fmt.Fprintf(&rows, "| %s | %s |\n", f.title, strings.Join(cells, " | "))
		}
	}
	if rows.Len() == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n\n| ", strings.ToUpper(title[:1])+title[1:])
	for _, p := range pairs {
		fmt.Fprintf(w, "| %s, %s ", p.faulted, p.peer)
	}
	fmt.Fprintf(w, "|\n|%s\n%s", strings.Repeat(" --- |", len(pairs)+1), rows.String())
}

// worse returns the worst of two outcomes in every respect.
func worse(a, b outcome) outcome {
	b.Two, b.TwoAfter = max(a.Two, b.Two), max(a.TwoAfter, b.TwoAfter)
	b.None, b.NoneAfter = max(a.None, b.None), max(a.NoneAfter, b.NoneAfter)
	b.Lost, b.Gap, b.Misled = max(a.Lost, b.Lost), max(a.Gap, b.Gap), max(a.Misled, b.Misled)
	b.LostAfter = max(a.LostAfter, b.LostAfter)
	b.Transitions = max(a.Transitions, b.Transitions)
	return b
}
