// Command mutants puts known bugs into a copy of the source, one at a time, and
// demands that the tests find each of them.
//
// Every file of testdata is one bug: a patch, below a text that says what is
// wrong with it and the command that must fail because of it. The command must
// pass without the patch. A patch that does not apply any more, or does not
// compile, is a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

const (
	// patches is where the patches are.
	patches = "cmd/internal/mutants/testdata"
	// patience is how long a command may take by default.
	patience = 5 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, ".", os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the command, for the module that a directory is in. It returns its exit
// code: 1 if a bug was not found, 2 if that cannot be told.
func run(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: mutants [-timeout 5m] [-v] [PART OF A NAME]...")
		flags.PrintDefaults()
	}
	timeout := flags.Duration("timeout", patience, "how long a command may take")
	verbose := flags.Bool("v", false, "print what the bugs are, and what found them")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	all, missed, err := judge(ctx, dir, flags.Args(), *timeout, *verbose, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "mutants:", err)
		return 2
	}
	if missed > 0 {
		fmt.Fprintf(stderr, "mutants: %d of %d were not found\n", missed, all)
		return 1
	}
	return 0
}

// judge tries the mutants whose names contain one of the words, or all, and
// returns how many there are and how many of them were not found.
func judge(ctx context.Context, dir string, words []string, timeout time.Duration, verbose bool, stdout io.Writer) (all, missed int, err error) {
	root, err := moduleRoot(ctx, dir)
	if err != nil {
		return 0, 0, err
	}
	c, err := newCopy(root)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	list, err := load(filepath.Join(c.dir, patches))
	if err != nil {
		return 0, 0, err
	}
	list = named(list, words)
	if len(list) == 0 {
		return 0, 0, fmt.Errorf("no mutant is named like %q", words)
	}
	without := map[string]verdict{} // any bug, by finder
	for _, m := range list {
		finder := "go " + strings.Join(m.finder, " ")
		v, known := without[finder]
		if !known {
			v = c.test(ctx, m.finder, timeout)
			without[finder] = v
		}
		result := "UNKNOWN: without the bug " + v.kind.String()
		if v.kind == passed {
			v = c.try(ctx, &m, timeout)
			result = v.result()
		}
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		fmt.Fprintf(stdout, "%-24s %-9s %5.1f s  %s\n", m.name, result, v.took.Seconds(), finder)
		if verbose {
			fmt.Fprintf(stdout, "  %s\n", m.bug)
		}
		if result != found {
			missed++
			fmt.Fprintf(stdout, "  %s\n", strings.ReplaceAll(end(v.output), "\n", "\n  "))
		} else if verbose {
			fmt.Fprintf(stdout, "  %s failed, and %d others\n", v.tests[0], len(v.tests)-1)
		}
	}
	return len(list), missed, nil
}

// end returns the last lines of a text.
func end(text string) string {
	const most = 40
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// named returns the mutants whose names contain one of the words; without words,
// all.
func named(all []mutant, words []string) []mutant {
	if len(words) == 0 {
		return all
	}
	var out []mutant
	for _, m := range all {
		for _, w := range words {
			if strings.Contains(m.name, w) {
				out = append(out, m)
				break
			}
		}
	}
	return out
}

// moduleRoot returns the directory of the module that a directory is in.
func moduleRoot(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOMOD")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if filepath.Base(file) != "go.mod" {
		return "", fmt.Errorf("looking for the module: %s is in none", dir)
	}
	return filepath.Dir(file), nil
}
