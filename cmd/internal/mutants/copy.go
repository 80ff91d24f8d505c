package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// grace is how long after its time a command is waited for: go test ends a test
// that takes too long itself, and says where it hung.
const grace = time.Minute

// A treeCopy is a copy of the source, which is changed. What is compiled of it is
// compiled once only, since it stays in one place.
type treeCopy struct{ dir string }

// newCopy copies the tree of a module, without what git keeps and what was built.
func newCopy(root string) (c *treeCopy, err error) {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, err
	}
	c = &treeCopy{dir: dir}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		switch {
		case name == ".":
			return nil
		case d.IsDir() && (name == ".git" || name == "bin"):
			return fs.SkipDir
		case d.IsDir():
			return os.Mkdir(to, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, info.Mode().Perm())
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copying the source: %w", err), c.remove())
	}
	return c, nil
}

func (c *treeCopy) remove() error { return os.RemoveAll(c.dir) }

// with has the copy be the mutant while fn runs.
func (c *treeCopy) with(m *mutant, fn func() error) (err error) {
	changed, err := m.files(c.dir)
	if err != nil {
		return fmt.Errorf("the patch does not apply: %w", err)
	}
	for name, text := range changed {
		file := filepath.Join(c.dir, name)
		before, err2 := os.ReadFile(file)
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, os.WriteFile(file, before, 0o644)) }()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return fn()
}

// build has the compiler look at packages of the copy.
func (c *treeCopy) build(ctx context.Context, packages []string) error {
	cmd := c.command(ctx, append([]string{"build", "-o", os.DevNull}, packages...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not compile: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// A kind is what became of a command.
type kind uint8

const (
	broken kind = iota // it could not be run, or failed without a test that does
	passed             // all tests passed, and there was one
	failed             // a test failed
	empty              // it passed, but there was no test
	hung               // it did not end
	unfit              // it was not run: the patch does not apply or compile
)

// String says what became of it.
func (k kind) String() string {
	switch k {
	case broken:
		return "the tests cannot be run"
	case passed:
		return "the tests pass"
	case failed:
		return "a test fails"
	case empty:
		return "there is no such test"
	case hung:
		return "the tests do not end"
	case unfit:
		return "the patch is not for this source"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// A verdict is what became of a command, and how that is known.
type verdict struct {
	kind   kind
	tests  []string // that failed, those in others first
	output string   // of those, and of what is no test
	took   time.Duration
}

// found is the only good result of a command on a mutant.
const found = "found"

// result says what a verdict on a mutant means.
func (v *verdict) result() string {
	switch v.kind {
	case failed:
		return found
	case passed:
		return "SURVIVED"
	}
	return "UNKNOWN: " + v.kind.String()
}

// try puts a bug into the copy and has it looked for.
func (c *treeCopy) try(ctx context.Context, m *mutant, timeout time.Duration) verdict {
	var v verdict
	err := c.with(m, func() error {
		if err := c.build(ctx, m.packages()); err != nil {
			return err
		}
		v = c.test(ctx, m.finder, timeout)
		return nil
	})
	if err != nil {
		return verdict{kind: unfit, output: err.Error()}
	}
	return v
}

// test runs go with the arguments, which begin with test.
func (c *treeCopy) test(ctx context.Context, args []string, timeout time.Duration) verdict {
	limited, cancel := context.WithTimeout(ctx, timeout+grace)
	defer cancel()
	args = slices.Concat(args[:1], []string{"-json", "-timeout=" + timeout.String()}, args[1:])
	begin := time.Now()
	out, err := c.command(limited, args...).CombinedOutput()
	v := read(out, err == nil)
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		v = verdict{kind: broken, output: err.Error()}
	} else if limited.Err() != nil {
		v.kind = hung
	}
	v.took = time.Since(begin)
	return v
}

// read judges by what go test -json prints. That a test failed does not count if
// something could not be built as well: the compiler found it, not the test. A
// test has also failed that the process has ended in.
func read(out []byte, ok bool) verdict {
	v := verdict{kind: broken}
	ran, built := false, true
	said := map[string]string{} // by the tests that have not ended
	for line := range bytes.Lines(out) {
		var e struct{ Action, Package, Test, Output, FailedBuild string }
		if json.Unmarshal(line, &e) != nil {
			v.output += string(line)
			continue
		}
		name := e.Package + " " + e.Test
		switch {
		case e.Action == "build-fail" || e.FailedBuild != "":
			built = false
		case e.Test == "":
			v.output += e.Output
		case e.Action == "fail":
			v.tests = append(v.tests, name)
			v.output += said[name]
			delete(said, name)
		case e.Action == "pass", e.Action == "skip":
			ran = ran || e.Action == "pass"
			delete(said, name)
		default:
			said[name] += e.Output
		}
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		v.tests = append(v.tests, name)
		v.output += said[name]
	}
	switch {
	case ok && ran:
		v.kind = passed
	case ok:
		v.kind = empty
	case built && len(v.tests) > 0:
		v.kind = failed
	}
	return v
}

// command is go in the copy. With its context, what it has started ends too.
func (c *treeCopy) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}
