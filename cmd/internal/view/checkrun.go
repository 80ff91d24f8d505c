package view

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vipd/cmd/internal/control"
)

// maxVariables bounds the names of variables that are listed.
const maxVariables = 12

// RenderCheckRun writes what one run of a check came to.
func RenderCheckRun(w io.Writer, r control.CheckRun, o Options) error {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	p := newPrinter(o, &control.Status{})
	word, st := "FAILS", bad
	switch {
	case r.Unrunnable != "":
		word = "UNRUNNABLE"
	case r.Kind == control.KindFile && r.Value != nil:
		word, st = checkWord(r.Kind, r.State, r.Value), plain
	case r.OK:
		word, st = "OK", good
	}
	p.b.WriteString(p.paint(cmp.Or(clean(r.Name), "(no name)"), strong) + "  " + p.paint(word, st) + "  (" + clean(r.Kind) + ")\n")

	subject := control.Check{Kind: r.Kind, Command: r.Command, What: r.What, Mechanism: r.Mechanism}
	p.row(subjectLabel(r.Kind), checkSubject(&subject), plain)
	if r.Path != "" && (len(r.Command) == 0 || r.Path != r.Command[0]) {
		p.row("program", r.Path, plain)
	}
	if r.User != "" {
		s := r.User
		if r.UID != nil {
			s += fmt.Sprintf(" (uid %d)", *r.UID)
		}
		p.row("as", s, plain)
	}
	if r.Environment != nil {
		p.row("in", environment(r.Environment), plain)
	}
	if r.Timeout > 0 {
		p.row("timeout", r.Timeout.String(), plain)
	}
	if r.Unrunnable != "" {
		p.row("result", "cannot be run: "+r.Unrunnable, bad)
	} else {
		s := attemptResult(&r.Attempt)
		if r.Attempt.Exit != nil && !strings.Contains(s, "exit code") {
			s += fmt.Sprintf(" (exit code %d)", *r.Attempt.Exit)
		}
		p.row("result", s+", took "+short(r.Attempt.Duration.Duration()), plain)
		p.output(r.Attempt.Output)
	}
	if r.Hint != "" {
		p.row("", "do: "+r.Hint, plain)
	}
	p.row("verdict", cmp.Or(r.Verdict, "unknown"), st)
	for i, e := range r.Effects {
		label := ""
		if i == 0 {
			label = "so"
		}
		p.row(label, e, plain)
	}
	if _, err := w.Write(p.b.Bytes()); err != nil {
		return fmt.Errorf("view: %w", err)
	}
	return nil
}

// environment says whose environment a script was given, and how it differs
// from the one of who reads this.
func environment(e *control.Environment) string {
	s := "the environment of this command; a vipd that systemd starts has another one"
	if e.DaemonPID != 0 {
		s = fmt.Sprintf("the environment of the running vipd, pid %d", e.DaemonPID)
	}
	if len(e.Set) > 0 {
		s += "; other than here: " + some(e.Set)
	}
	if slices.Contains(e.Set, "PATH") {
		s += " (PATH is " + e.Path + ")"
	}
	if len(e.Unset) > 0 {
		s += "; without: " + some(e.Unset)
	}
	return s
}

// some lists the first of many names.
func some(names []string) string {
	s := strings.Join(names[:min(len(names), maxVariables)], ", ")
	if n := len(names) - maxVariables; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
