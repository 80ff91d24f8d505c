package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"vipd/cmd/internal/figures"
)

// A report is everything a run found, as it is written to the JSON file.
type report struct {
	Host     string            `json:"host"`
	CPUs     int               `json:"cpus"`
	Versions map[string]string `json:"versions"`
	Command  []string          `json:"command"`
	Outcomes []outcome         `json:"outcomes"`
}

// describe says what the machines are emulated on.
func describe() report {
	r := report{CPUs: runtime.NumCPU(), Versions: make(map[string]string), Command: os.Args}
	// What follows the number is the name of somebody's own build.
	r.Host, _, _ = strings.Cut(figures.Kernel(), "-")
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
			errs = append(errs, fmt.Errorf("%s %s: %s", o.Scenario, o.Pair, o.Error))
		}
	}
	return errors.Join(errs...)
}

// kept reports whether no promise was broken.
func (r report) kept() bool {
	return !slices.ContainsFunc(r.Outcomes, func(o outcome) bool { return len(o.Missed) > 0 })
}

func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.machines())
	fmt.Fprintf(w, "seconds; the first of a pair has the fault; two numbers: until the repair, and after it\n\n")
	fmt.Fprintf(w, "%-20s %-22s %13s %13s %6s %11s %15s\n", "scenario", "pair", "two owners", "no owner", "apart", "lost", "gap")
	for _, o := range r.Outcomes {
		fmt.Fprintln(w, o)
	}
	missed := 0
	for _, o := range r.Outcomes {
		if len(o.Missed) > 0 {
			missed++
		}
	}
	fmt.Fprintf(w, "\n%d of %d scenarios broke a promise\n", missed, len(r.Outcomes))
	excused := 0
	for _, o := range r.Outcomes {
		excused += o.Excused
	}
	if excused > 0 {
		fmt.Fprintf(w, "%d attempts did not count, as the host was busy with other things\n", excused)
	}
}

// machines says what was tried, and on what.
func (r report) machines() string {
	words := []string{fmt.Sprintf("QEMU without KVM on Linux %s, %d CPUs", r.Host, r.CPUs)}
	for _, name := range []string{"kernel", "systemd", string(keepalived), string(vipd)} {
		if v := r.Versions[name]; v != "" {
			words = append(words, v)
		}
	}
	return strings.Join(words, "; ")
}

// mark is where the tables go in the document.
const mark figures.Mark = "<!-- vlanlab writes from here -->"

// document writes the tables into a file.
func (r report) document(file string) error { return mark.WriteInto(file, r.tables()) }

// tables returns the tables for the document.
func (r report) tables() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s.\n", r.machines())
	r.table(&b, "the client's longest gap, ms, and pings lost of 100 a second: until the repair; after it", func(o outcome) string {
		return fmt.Sprintf("%s, %d; %s, %d", gap(o.Gap), o.Lost, gap(o.GapAfter), o.LostAfter)
	})
	r.table(&b, "two owners / no owner, s: until the repair; after it", func(o outcome) string {
		text := fmt.Sprintf("%.2f / %.2f; %.2f / %.2f", o.Two, o.None, o.TwoAfter, o.NoneAfter)
		if o.Apart > granularity.Seconds() {
			text += fmt.Sprintf(" (apart %.2f)", o.Apart)
		}
		return text
	})
	return b.Bytes()
}

// gap formats the longest gap in milliseconds. What is shorter than five pings is
// none.
func gap(s float64) string {
	if s == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", s*1000)
}

// table writes one table, with a column for each pair.
func (r report) table(w io.Writer, title string, cell func(outcome) string) {
	fmt.Fprintf(w, "\n%s:\n\n| ", strings.ToUpper(title[:1])+title[1:])
	for _, p := range pairs {
		fmt.Fprintf(w, "| %s, %s ", p.faulted, p.peer)
	}
	fmt.Fprintf(w, "|\n|%s\n", strings.Repeat(" --- |", len(pairs)+1))
	for _, s := range scenarios() {
		var cells []string
		for _, p := range pairs {
			text := "·"
			i := slices.IndexFunc(r.Outcomes, func(o outcome) bool { return o.tracked && o.Scenario == s.name && o.Pair == p.String() })
			if i >= 0 {
				text = cell(r.Outcomes[i])
			}
			cells = append(cells, text)
		}
		if slices.ContainsFunc(cells, func(c string) bool { return c != "·" }) {
			fmt.Fprintf(w, "| %s | %s |\n", s.title, strings.Join(cells, " | "))
		}
	}
}
