// Command bench measures vipd beside keepalived: how fast a backup takes over,
// how long a planned stop is felt, how punctual advertisements are, and what it
// all costs.
//
// The two take turns in one run (A B B A …), each on a network of its own made
// of namespaces, against the same neutral sender of advertisements. Time stamps
// are the kernel's, on frames as a client receives them; neither daemon's word
// is taken for anything. docs/performance.md says what the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == busyArgument {
		busyLoop()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Pairs of samples for each measure; measures whose samples are short take a
// multiple.
const (
	defaultPairs = 10
	quickPairs   = 3
)

// options are the flags.
type options struct {
	only       *regexp.Regexp
	pairs      int
	quick      bool
	list       bool
	jsonFile   string
	vipd       string
	keepalived string
	noise      float64
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	only := fs.String("only", "", "run the measures whose name matches `REGEX`")
	fs.IntVar(&o.pairs, "pairs", 0, fmt.Sprintf("pairs of samples (default %d, with --quick %d)", defaultPairs, quickPairs))
	fs.BoolVar(&o.quick, "quick", false, "fewer and shorter samples: an impression, no verdict to rely on")
	fs.BoolVar(&o.list, "list", false, "name the measures, and do nothing")
	fs.StringVar(&o.jsonFile, "json", "", "write raw samples, rejected runs, versions and commands to `FILE`")
	fs.StringVar(&o.vipd, "vipd", "", "measure this `BINARY` (default: one built from the working directory)")
	fs.StringVar(&o.keepalived, "keepalived", "keepalived", "compare with this `BINARY`")
	fs.Float64Var(&o.noise, "noise", 0.25, "reject a pair during which other programs used more than this many `CPUS`")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.pairs < 0 {
		return o, errors.New("--pairs must be positive")
	}
	if o.pairs == 0 {
		o.pairs = defaultPairs
		if o.quick {
			o.pairs = quickPairs
		}
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("--only: %w", err)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	var chosen []measure
	for _, m := range measures() {
		if o.only.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("--only %v matches no measure; --list names them", o.only)
	}
	if o.list {
		for _, m := range chosen {
			fmt.Fprintf(stdout, "%-16s %s\n", m.name, m.title)
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: it makes network namespaces and starts the daemons in them")
	}
	// What could not be written at the end is known at the beginning.
	var out *os.File
	if o.jsonFile != "" {
		if out, err = os.Create(o.jsonFile); err != nil {
			return err
		}
		defer out.Close()
	}
	b, err := newBench(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	b.report.print(stdout)

	begun := time.Now()
	var failed error
	for _, m := range chosen {
		outcome, err := b.measure(ctx, m)
		if ctx.Err() != nil {
			failed = errors.Join(failed, errors.New("interrupted"))
			break
		}
		if err != nil {
			outcome.Error = err.Error()
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.name, err))
		}
		b.report.Measures = append(b.report.Measures, outcome)
		outcome.print(stdout)
	}
	b.report.Seconds = time.Since(begun).Seconds()
	b.report.printSummary(stdout)
	if out != nil {
		failed = errors.Join(failed, b.report.write(out))
	}
	return failed
}
