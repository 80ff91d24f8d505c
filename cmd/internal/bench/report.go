package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"vipd/cmd/internal/figures"
)

// A report is everything a run found, as it is written to the JSON file.
type report struct {
	Kernel     string            `json:"kernel"`
	Processor  string            `json:"processor"`
	CPUs       int               `json:"cpus"`
	Go         string            `json:"go"`
	Versions   map[string]string `json:"versions"`
	Commands   map[string]string `json:"commands"`
	Command    []string          `json:"command"`
	Pairs      int               `json:"pairs"`
	NoiseLimit float64           `json:"noise_limit_cpus"`
	BinaryMB   float64           `json:"vipd_binary_mb"`
	Seconds    float64           `json:"seconds"`
	Measures   []*outcome        `json:"measures"`
}

// describe says what is measured, and on what.
func describe(ctx context.Context, b *bench, size float64) report {
	r := report{
		Kernel: figures.Kernel(), Processor: processor(), CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Versions: make(map[string]string), Commands: make(map[string]string),
		Command: os.Args, Pairs: b.opts.pairs, NoiseLimit: b.opts.noise, BinaryMB: size / 1e6,
	}
	for k, flag := range [2]string{"--version", "version"} {
		text, _ := exec.CommandContext(ctx, b.binaries[k], flag).CombinedOutput()
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		r.Versions[rival(k).String()] = first
		r.Commands[rival(k).String()] = strings.Join(b.arguments(rival(k), "CONFIG", "DIR"), " ")
	}
	return r
}

// processor returns the processor's name.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "Linux %s, %d × %s, %s\n", r.Kernel, r.CPUs, r.Processor, r.Go)
	for k := range rivalNames {
		name := rival(k).String()
		fmt.Fprintf(w, "%-11s %s\n            %s\n", name, r.Versions[name], r.Commands[name])
	}
	verdict := "ok"
	if r.BinaryMB >= maxBinaryMB {
		verdict = "TOO LARGE"
	}
	fmt.Fprintf(w, "size of the binary: %.1f MB, target under %d: %s\n", r.BinaryMB, maxBinaryMB, verdict)
}

// maxBinaryMB is the size that vipd's binary stays under.
const maxBinaryMB = 20

func (r *report) printSummary(w io.Writer) {
	missed := 0
	for _, m := range r.Measures {
		for _, row := range m.Rows {
			if row.Verdict != "" && !row.Met {
				if missed == 0 {
					fmt.Fprintf(w, "\ntargets missed:\n")
				}
				missed++
				fmt.Fprintf(w, "  %s, %s: %s\n", m.Name, row.Name, row.Verdict)
			}
		}
	}
	if missed == 0 {
		fmt.Fprintf(w, "\nno target missed\n")
	}
	fmt.Fprintf(w, "%.0f s\n", r.Seconds)
}

func (r *report) write(w io.Writer) error {
	return figures.WriteJSON(w, r)
}

// An outcome is what a measure found.
type outcome struct {
	Name     string     `json:"name"`
	Title    string     `json:"title"`
	Rows     []*row     `json:"rows"`
	Rejected []rejected `json:"rejected"`
	Notes    []string   `json:"notes,omitempty"`
	Error    string     `json:"error,omitempty"`
	// Foreign is how many processors other programs used, in each turn.
	Foreign []float64 `json:"foreign_cpus"`
	Seconds float64   `json:"seconds"`

	index map[string]*row
}

// A rejected pair does not count; it is kept with the reason.
type rejected struct {
	Pair   int               `json:"pair"`
	Reason string            `json:"reason"`
	Values map[string]sample `json:"values"`
}

// A row is one quantity.
type row struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Raw are all values by rival; the figures in the table are of these.
	Raw map[string][]float64 `json:"raw"`
	// Pairs are what is compared: of each turn's values the one that PairedBy
	// says.
	PairedBy string  `json:"paired_by"`
	Pairs    []pair  `json:"pairs"`
	Ratio    float64 `json:"ratio"`
	Verdict  string  `json:"verdict,omitempty"`
	Met      bool    `json:"met"`

	goals []goal
}

// row declares a quantity. Rows appear in the order of their declaration.
func (o *outcome) row(name, unit string, goals ...goal) *row {
	r := &row{Name: name, Unit: unit, Raw: make(map[string][]float64), PairedBy: "median", goals: goals}
	o.Rows = append(o.Rows, r)
	o.index[name] = r
	return r
}

// byP99 compares the turns by their 0.99 quantile.
func (r *row) byP99() *row { r.PairedBy = "p99"; return r }

// byMax compares the turns by their largest value.
func (r *row) byMax() *row { r.PairedBy = "max"; return r }

// of returns the value of a turn that is compared.
func (r *row) of(values []float64) float64 {
	switch r.PairedBy {
	case "p99":
		return quantile(values, 0.99)
	case "max":
		return quantile(values, 1)
	}
	return median(values)
}

// accept adds a pair.
func (o *outcome) accept(got [2]sample) {
	for name, r := range o.index {
		k, v := got[keepalived][name], got[vipd][name]
		r.Raw[keepalived.String()] = append(r.Raw[keepalived.String()], k...)
		r.Raw[vipd.String()] = append(r.Raw[vipd.String()], v...)
		if len(k) > 0 && len(v) > 0 {
			r.Pairs = append(r.Pairs, pair{r.of(k), r.of(v)})
		}
	}
}

// reject keeps a pair that does not count.
func (o *outcome) reject(n int, reason string, got [2]sample) {
	o.Rejected = append(o.Rejected, rejected{Pair: n, Reason: reason,
		Values: map[string]sample{keepalived.String(): got[keepalived], vipd.String(): got[vipd]}})
}

// A goal judges a row; what it says is the verdict.
type goal func(*row) (met bool, verdict string)

// The least differences that matter; below them a ratio says nothing.
const (
	noWorseRatio  = 1.05
	noWorseMillis = 0.1
)

// noWorse is met if in the median of all pairs vipd's value is at most 1.05 times
// keepalived's, or less than 0.1 (ms) above it.
func noWorse() goal { return atMostTimes(noWorseRatio, noWorseMillis) }

// atMostTimes is met if in the median of all pairs vipd's value is at most so many
// times keepalived's, or less than slack above it.
func atMostTimes(factor, slack float64) goal {
	return func(r *row) (bool, string) {
		ratio, diff := median(ratios(r.Pairs)), median(differences(r.Pairs))
		switch {
		case math.IsNaN(diff):
			return false, "no pairs"
		case ratio <= factor:
			return true, fmt.Sprintf("ok (≤ %.3g ×)", factor)
		case slack > 0 && diff < slack:
			return true, fmt.Sprintf("ok (%+.3f %s)", diff, r.Unit)
		}
		return false, fmt.Sprintf("WORSE (%+.3g %s, %.2f × > %.3g ×)", diff, r.Unit, ratio, factor)
	}
}

// atMost is met if vipd's median is at most so much.
func atMost(limit float64) goal {
	return func(r *row) (bool, string) {
		got := median(r.Raw[vipd.String()])
		if got <= limit {
			return true, fmt.Sprintf("ok (≤ %.4g %s)", limit, r.Unit)
		}
		return false, fmt.Sprintf("MISSED (%.4g > %.4g %s)", got, limit, r.Unit)
	}
}

// atMostAway is met if vipd's median is at most so far from zero.
func atMostAway(limit float64) goal {
	return func(r *row) (bool, string) {
		got := median(r.Raw[vipd.String()])
		if math.Abs(got) <= limit {
			return true, fmt.Sprintf("ok (≤ ±%.4g %s)", limit, r.Unit)
		}
		return false, fmt.Sprintf("MISSED (%+.4g, over ±%.4g %s)", got, limit, r.Unit)
	}
}

// noMore is met if all of vipd's values together are not more than keepalived's.
func noMore() goal {
	return func(r *row) (bool, string) {
		var sum [2]float64
		for k := range sum {
			for _, v := range r.Raw[rival(k).String()] {
				sum[k] += v
			}
		}
		if sum[vipd] <= sum[keepalived] {
			return true, fmt.Sprintf("ok (%.0f against %.0f)", sum[vipd], sum[keepalived])
		}
		return false, fmt.Sprintf("WORSE (%.0f against %.0f)", sum[vipd], sum[keepalived])
	}
}

// within is met if the medians of the two differ by at most so much.
func within(limit float64) goal {
	return func(r *row) (bool, string) {
		diff := median(r.Raw[vipd.String()]) - median(r.Raw[keepalived.String()])
		if math.Abs(diff) <= limit {
			return true, fmt.Sprintf("ok (within %.4g %s)", limit, r.Unit)
		}
		return false, fmt.Sprintf("DIFFERS (%+.3g %s)", diff, r.Unit)
	}
}

// judge fills in the verdict.
func (r *row) judge() {
	r.Ratio = median(ratios(r.Pairs))
	if math.IsNaN(r.Ratio) || math.IsInf(r.Ratio, 0) {
		r.Ratio = 0 // JSON has neither
	}
	if len(r.goals) == 0 {
		return
	}
	r.Met = true
	var words []string
	for _, g := range r.goals {
		met, word := g(r)
		r.Met = r.Met && met
		words = append(words, word)
	}
	r.Verdict = strings.Join(words, ", ")
}

// maxShown is how many rejected pairs are printed.
const maxShown = 3

// nameWidth is that of the first column.
const nameWidth = 52

// print judges the rows and prints a table of them.
func (o *outcome) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s (%.0f s)\n", o.Name, o.Title, o.Seconds)
	fmt.Fprintf(w, "  %-*s %s %s  ratio  verdict\n", nameWidth, "", "keepalived:  median       p99     n", "      vipd:  median       p99     n")
	for _, r := range o.Rows {
		r.judge()
		line := fmt.Sprintf("  %-*s", nameWidth, r.Name+", "+r.Unit)
		for k := range rivalNames {
			values := r.Raw[rival(k).String()]
			line += fmt.Sprintf(" %19s %9s %5d", figure(median(values)), figure(quantile(values, 0.99)), len(values))
		}
		ratio := "–"
		if r.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintf(w, "%s %6s  %s\n", line, ratio, r.Verdict)
	}
	if len(o.Foreign) > 0 {
		fmt.Fprintf(w, "  other programs used %.2f CPUs in the median turn, %.2f at most\n", median(o.Foreign), quantile(o.Foreign, 1))
	}
	for _, n := range o.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
	for i, r := range o.Rejected {
		if i == maxShown {
			fmt.Fprintf(w, "  and %d more rejected pairs (--json FILE has them)\n", len(o.Rejected)-i)
			break
		}
		fmt.Fprintf(w, "  rejected pair %d: %s\n", r.Pair, r.Reason)
	}
	if o.Error != "" {
		fmt.Fprintf(w, "  FAILED: %s\n", o.Error)
	}
}

// figure prints a number with about three significant digits.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
