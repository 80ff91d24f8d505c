package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A mutant is a known bug, and how it is found.
type mutant struct {
	name    string   // of its file
	bug     string   // what is wrong with it, in words
	finder  []string // the arguments of go
	changes []change
}

// A change replaces lines of a file by others. Where they are does not count: a
// patch is to go on applying when the file around it changes.
type change struct {
	file     string // relative to the module
	old, new []string
	line     int // of the patch, where it begins
}

// The lines before a patch say what it is about; this one is a command that
// fails with it.
const foundBy = "Found by: "

// parse reads a patch: text, with a line "Found by: go test ARGUMENTS", and
// below it unified diffs of files that exist.
func parse(name, text string) (mutant, error) {
	m := mutant{name: name}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	i := 0
	for ; i < len(lines) && !isFile(lines[i:]); i++ {
		if command, ok := strings.CutPrefix(lines[i], foundBy); ok {
			if m.finder != nil {
				return m, fmt.Errorf("line %d: it is found by two commands", i+1)
			}
			if m.finder = strings.Fields(command); len(m.finder) < 3 || m.finder[0] != "go" || m.finder[1] != "test" {
				return m, fmt.Errorf("line %d: it is found by %q, want go test and its arguments", i+1, command)
			}
			m.finder = m.finder[1:]
			continue
		}
		m.bug += " " + lines[i]
	}
	m.bug = strings.Join(strings.Fields(m.bug), " ")
	switch {
	case m.bug == "":
		return m, errors.New("it does not say what the bug is")
	case m.finder == nil:
		return m, fmt.Errorf("it does not say what it is found by: a line %q", foundBy+"go test ...")
	}
	file := ""
	for i < len(lines) {
		switch {
		case isFile(lines[i:]):
			old, renamed := diffName(lines[i]), diffName(lines[i+1])
			if old != renamed || !filepath.IsLocal(old) {
				return m, fmt.Errorf("line %d: it makes %q of %q; one file of the module can be changed", i+1, renamed, old)
			}
			file = old
			i += 2
		case strings.HasPrefix(lines[i], "@@") && file != "":
			c := change{file: file, line: i + 1}
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], "@@") && !isFile(lines[i:]); i++ {
				kind, line := " ", ""
				if lines[i] != "" { // an empty line of context, whose space an editor has removed
					kind, line = lines[i][:1], lines[i][1:]
				}
				switch kind {
				case " ":
					c.old, c.new = append(c.old, line), append(c.new, line)
				case "-":
					c.old = append(c.old, line)
				case "+":
					c.new = append(c.new, line)
				default:
					return m, fmt.Errorf("line %d: %q is no line of a diff", i+1, lines[i])
				}
			}
			if len(c.old) == 0 || slices.Equal(c.old, c.new) {
				return m, fmt.Errorf("line %d: it changes nothing, or says not where", c.line)
			}
			m.changes = append(m.changes, c)
		default:
			return m, fmt.Errorf("line %d: %q is no line of a diff", i+1, lines[i])
		}
	}
	if len(m.changes) == 0 {
		return m, errors.New("it changes nothing")
	}
	return m, nil
}

// isFile reports whether the lines begin the diff of a file.
func isFile(lines []string) bool {
	return len(lines) > 1 && strings.HasPrefix(lines[0], "--- ") && strings.HasPrefix(lines[1], "+++ ")
}

// diffName returns the name in a line that begins the diff of a file, without
// the directory that git puts before it.
func diffName(line string) string {
	name, _, _ := strings.Cut(line[len("--- "):], "\t")
	if _, rest, ok := strings.Cut(name, "/"); ok && (name[0] == 'a' || name[0] == 'b') && name[1] == '/' {
		return rest
	}
	return name
}

// files returns what the mutant makes of the files that it changes, which are
// below root.
func (m *mutant) files(root string) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range m.changes {
		text, ok := out[c.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		// Whole lines, the first and the last of the file too.
		text = "\n" + text
		old, replacement := block(c.old), block(c.new)
		switch first := strings.Index(text, old); {
		case first < 0:
			return nil, fmt.Errorf("line %d: %s does not have these lines", c.line, c.file)
		case strings.Contains(text[first+1:], old):
			return nil, fmt.Errorf("line %d: %s has these lines more than once", c.line, c.file)
		}
		out[c.file] = strings.Replace(text, old, replacement, 1)[1:]
	}
	return out, nil
}

// block returns lines as they are in a text, with the end of the line before.
func block(lines []string) string {
	return "\n" + strings.Join(append(slices.Clone(lines), ""), "\n")
}

// packages returns the packages that the mutant changes, as go wants them named.
func (m *mutant) packages() []string {
	var out []string
	for _, c := range m.changes {
		if p := "./" + filepath.ToSlash(filepath.Dir(c.file)); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// load reads all patches of a directory. One that has none is an error.
func load(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no patch in %s", dir)
	}
	var out []mutant
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parse(strings.TrimSuffix(filepath.Base(file), ".patch"), string(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, m)
	}
	return out, nil
}
