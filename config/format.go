package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// FormatYAML lays a YAML file out: two blanks for each level, also before the
// dash of a list, one blank behind a colon or a dash, no blanks at the end of a
// line, no two empty lines in a row. Order, comments, quotes and empty lines are
// the writer's. What is formatted already comes back as it is.
func FormatYAML(name string, data []byte) ([]byte, error) {
	if FormatOf(name, data[:min(len(data), 64<<10)]) == Keepalived {
		return nil, errors.New("it is keepalived.conf, not YAML")
	}
	before, err := yamlDocument(data)
	if err != nil {
		return nil, err
	}
	f := newFormatter(data)
	if before != nil {
		f.walk(before, 0, 0)
	}
	out := f.text()
	after, err := yamlDocument(out)
	if err != nil || !sameYAML(before, after) || withoutBlanks(data) != withoutBlanks(out) {
		return nil, errors.New("it is written in a way that cannot be laid out without changing what it means")
	}
	return out, nil
}

// yamlDocument parses a file of one document; nil if there is nothing in it.
func yamlDocument(data []byte) (*yaml.Node, error) {
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, errors.New("there is more than one document in it")
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return doc.Content[0], nil
}

// sameYAML reports whether two values are the same apart from where they stand.
func sameYAML(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && a.Style == b.Style && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor &&
		slices.EqualFunc(a.Content, b.Content, sameYAML)
}

// withoutBlanks returns a text without what the layout consists of.
func withoutBlanks(data []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\ufeff' {
			return -1
		}
		return r
	}, string(data))
}

// A layoutLine is a line of a file that is being laid out.
type layoutLine struct {
	text []rune // without the blanks at both ends
	old  int    // its indentation
	// indent is the new one; -1: that of the line before, moved alike.
	indent int
	// gaps are stretches of blanks within the line that become one blank, from
	// and to as offsets in text, the last one first.
	gaps   [][2]int
	inside bool // of a block scalar: only moved
}

// A formatter lays a file out.
type formatter struct{ lines []layoutLine }

// newFormatter splits a file into lines.
func newFormatter(data []byte) *formatter {
	f := &formatter{}
	s := strings.TrimPrefix(string(data), "\ufeff")
	for l := range strings.Lines(s) {
		l = strings.TrimRight(l, " \t\r\n")
		text := strings.TrimLeft(l, " ")
		f.lines = append(f.lines, layoutLine{text: []rune(text), old: len(l) - len(text), indent: -1})
	}
	for i := range f.lines {
		if t := string(f.lines[i].text); f.lines[i].old == 0 && (strings.HasPrefix(t, "---") || strings.HasPrefix(t, "...") || strings.HasPrefix(t, "%")) {
			f.lines[i].indent = 0
		}
	}
	return f
}

// line returns the line that a value begins on, and its offset there; nil if it
// is not there.
func (f *formatter) line(v *yaml.Node) (*layoutLine, int) {
	if v.Line < 1 || v.Line > len(f.lines) {
		return nil, 0
	}
	l := &f.lines[v.Line-1]
	return l, v.Column - 1 - l.old
}

// walk takes note of how the lines of a value are to be indented. own is the old
// indentation of what it belongs to.
func (f *formatter) walk(v *yaml.Node, depth, own int) {
	if v.Style&yaml.FlowStyle != 0 {
		return
	}
	switch v.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(v.Content); i += 2 {
			f.pair(v.Content[i], v.Content[i+1], depth)
		}
	case yaml.SequenceNode:
		for _, item := range v.Content {
			f.item(v, item, depth)
		}
	case yaml.ScalarNode:
		if v.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			f.scalar(v, own)
		}
	}
}

// pair takes note of a keyword and its value.
func (f *formatter) pair(key, val *yaml.Node, depth int) {
	l, at := f.line(key)
	if l == nil {
		return
	}
	if at == 0 {
		l.indent = 2 * depth
	}
	if val.Line == key.Line && key.Style == 0 && at >= 0 {
		end := at + len([]rune(key.Value)) + 1 // of the colon
		if _, to := f.line(val); end < to && to <= len(l.text) && l.text[end-1] == ':' {
			l.gap(end, to)
		}
	}
	f.walk(val, depth+1, l.old+max(at, 0))
}

// item takes note of an item of a list.
func (f *formatter) item(list, item *yaml.Node, depth int) {
	// Where the dash is, is not known: it is before the item, and nothing but
	// other dashes is before it.
	l, at := f.line(item)
	if l == nil {
		return
	}
	dash := -1
	if at > 0 && at <= len(l.text) {
		dash = strings.LastIndexByte(string(l.text[:at]), '-')
	}
	switch {
	case dash == 0 && strings.TrimSpace(string(l.text[1:at])) == "":
		l.indent = 2 * depth
		l.gap(1, at)
	case dash < 0:
		// The dash is on a line of its own, before comments.
		for i := item.Line - 2; i >= 0; i-- {
			if string(f.lines[i].text) == "-" {
				f.lines[i].indent = 2 * depth
				break
			}
		}
	}
	f.walk(item, depth+1, list.Column-1)
}

// scalar takes note of the lines of a block scalar, which are deeper than own.
func (f *formatter) scalar(v *yaml.Node, own int) {
	for i := v.Line; i < len(f.lines); i++ {
		if l := &f.lines[i]; len(l.text) > 0 && l.old <= own {
			return
		}
		f.lines[i].inside = true
	}
}

// gap takes note of blanks that become one.
func (l *layoutLine) gap(from, to int) {
	if to-from > 1 && strings.TrimSpace(string(l.text[from:to])) == "" {
		l.gaps = append(l.gaps, [2]int{from, to})
	}
}

// text returns the file as laid out.
func (f *formatter) text() []byte {
	f.resolve()
	var b strings.Builder
	empty := true // at the beginning, or an empty line before
	for i := range f.lines {
		l := &f.lines[i]
		if len(l.text) == 0 {
			if l.inside || !empty {
				b.WriteByte('\n')
			}
			empty = !l.inside
			continue
		}
		empty = false
		b.WriteString(strings.Repeat(" ", l.indent))
		b.WriteString(string(l.squeezed()))
		b.WriteByte('\n')
	}
	out := strings.TrimRight(b.String(), "\n")
	if out == "" {
		return nil
	}
	return []byte(out + "\n")
}

// resolve gives every line an indentation.
func (f *formatter) resolve() {
	delta := 0
	for i := range f.lines {
		l := &f.lines[i]
		switch {
		case len(l.text) == 0 || f.isComment(l):
		case l.indent < 0:
			l.indent = max(l.old+delta, 0)
		default:
			delta = l.indent - l.old
		}
	}
	for i := range f.lines {
		if l := &f.lines[i]; f.isComment(l) {
			l.indent = f.commentIndent(i)
		}
	}
}

// isComment reports whether a line is nothing but a comment.
func (f *formatter) isComment(l *layoutLine) bool {
	return !l.inside && len(l.text) > 0 && l.text[0] == '#'
}

// commentIndent returns the indentation of a comment: that of the statement that
// follows, or if it stands deeper, as a list of which the last items are comments
// does, that of what stands as deep before.
func (f *formatter) commentIndent(i int) int {
	old := f.lines[i].old
	next := -1
	for k := i + 1; k < len(f.lines); k++ {
		if l := &f.lines[k]; len(l.text) > 0 && !f.isComment(l) {
			next = k
			break
		}
	}
	if next >= 0 && f.lines[next].old >= old {
		return f.lines[next].indent
	}
	for k := i - 1; k >= 0; k-- {
		l := &f.lines[k]
		if len(l.text) == 0 || f.isComment(l) || l.inside {
			continue
		}
		if next >= 0 && l.old <= f.lines[next].old && l.old < old {
			return f.lines[next].indent // as deep as nothing before it
		}
		if l.old <= old {
			return l.indent
		}
	}
	if next >= 0 {
		return f.lines[next].indent
	}
	return 0
}

// squeezed returns the text with its gaps made one blank; a comment behind it
// stays in its column.
func (l *layoutLine) squeezed() []rune {
	out := slices.Clone(l.text)
	removed := 0
	slices.SortFunc(l.gaps, func(a, b [2]int) int { return b[0] - a[0] })
	comment := trailingComment(l.text)
	for _, g := range l.gaps {
		out = slices.Concat(out[:g[0]], []rune{' '}, out[g[1]:])
		removed += g[1] - g[0] - 1
	}
	if removed > 0 && comment >= 0 && len(l.gaps) > 0 && comment > l.gaps[0][1] {
		at := comment - removed
		out = slices.Concat(out[:at], []rune(strings.Repeat(" ", removed)), out[at:])
	}
	return out
}

// trailingComment returns the offset of the comment at the end of a line, or -1.
func trailingComment(text []rune) int {
	quote := rune(0)
	for i, r := range text {
		switch {
		case quote != 0:
			if r == quote && (quote == '\'' || text[i-1] != '\\') {
				quote = 0
			}
		case (r == '"' || r == '\'') && (i == 0 || strings.ContainsRune(" [{,:", text[i-1])):
			quote = r
		case r == '#' && i > 0 && (text[i-1] == ' ' || text[i-1] == '\t'):
			return i
		}
	}
	return -1
}
