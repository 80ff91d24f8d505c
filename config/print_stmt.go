package config

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A statement is a statement that is to be printed. Unlike a [node] it has one
// meaning, whatever the language: its words are those that the decoder made of
// what was written.
type statement struct {
	key  string
	form shape
	name string // of shapeNamed

	text  string       // of shapeValue
	on    bool         // of shapeFlag
	words []string     // of shapeWords, and of an item
	argv  []string     // of shapeCommand
	users []string     // of shapeCommand: who runs it
	line  *grammar     // of shapeLines
	body  []*statement // of blocks, and the items of lists

	comments []string
	pos      Pos
	path     string
	// off is a statement that the language does not have: it becomes a comment.
	off bool
	// lost is what was written where there is nothing to print: a comment, too.
	lost string
}

// comment returns the lines of comment before a statement.
func (s *statement) comment() []string {
	out := make([]string, 0, len(s.comments)+1)
	for _, c := range s.comments {
		out = append(out, commentLine(c))
	}
	if s.lost != "" {
		out = append(out, commentLine("left out: "+s.lost))
	}
	return out
}

// commentLine returns a line of comment.
func commentLine(s string) string {
	s = strings.TrimRight(strings.ToValidUTF8(s, "\uFFFD"), confBlanks)
	s = strings.Map(func(r rune) rune {
		if r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r > 0xffff && r&0xfffe == 0xfffe || r == 0xfffe || r == 0xffff) {
			return ' '
		}
		return r
	}, s)
	if s == "" || strings.HasPrefix(s, "#") {
		return s
	}
	return "# " + s
}

// A printer writes lines, and remembers which statement is on which.
type printer struct {
	b     strings.Builder
	line  int
	marks map[int]*statement
	// muted is more than 0 within what becomes a comment.
	muted  int
	indent string
}

// newPrinter returns a printer that indents by the given text.
func newPrinter(indent string) *printer {
	return &printer{marks: make(map[int]*statement), indent: indent}
}

// put writes a line.
func (p *printer) put(depth int, text string, s *statement) {
	p.line++
	if text != "" {
		p.b.WriteString(strings.Repeat(p.indent, depth))
		if p.muted > 0 {
			p.b.WriteString("# ")
		}
		p.b.WriteString(text)
	}
	p.b.WriteByte('\n')
	if s != nil && p.muted == 0 {
		p.marks[p.line] = s
	}
}

// begin writes the comments of a statement.
func (p *printer) begin(depth int, s *statement) {
	for _, c := range s.comment() {
		if c == "" && p.muted > 0 {
			continue
		}
		p.put(depth, c, nil)
	}
	if s.off {
		p.muted++
	}
}

// end is the counterpart of begin.
func (p *printer) end(s *statement) {
	if s.off {
		p.muted--
	}
}

// durationText writes a duration as keepalived reads it: in seconds.
func durationText(d time.Duration) string {
	s := strconv.FormatInt(int64(d/time.Second), 10)
	if frac := d % time.Second; frac != 0 {
		digits := strconv.FormatInt(int64(frac+time.Second), 10)[1:]
		s += "." + strings.TrimRight(digits, "0")
	}
	return s
}

// joinCommand writes a command as a command line, which splitCommand splits into
// the same words. It contains no double quote. plain says that it contains no
// escape either.
func joinCommand(argv []string) (line string, plain bool) {
	words := make([]string, len(argv))
	plain = true
	for i, a := range argv {
		safe := a != "" && strings.IndexFunc(a, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+=:,./^-", r))
		}) < 0
		if safe {
			words[i] = a
			continue
		}
		var b strings.Builder
		hex := func(c byte) {
			b.WriteString(`\x` + strconv.FormatInt(int64(c)+0x100, 16)[1:])
			plain = false
		}
		for k := 0; k < len(a); {
			r, size := utf8.DecodeRuneInString(a[k:])
			switch {
			case r == utf8.RuneError && size == 1, r == '\'', r == '"', r < ' ', r == 0x7f:
				hex(a[k])
			case r == '$' && (strings.HasPrefix(a[k:], "$_") || strings.HasPrefix(a[k:], "${_")):
				hex('$') // it would be replaced in keepalived.conf
			case r == '\\':
				b.WriteString(`\\`)
				plain = false
			default:
				b.WriteString(a[k : k+size])
			}
			k += size
		}
		words[i] = "'" + b.String() + "'"
	}
	return strings.Join(words, " "), plain
}

// group puts statements of one kind next to each other, in the order in which
// the first of each kind was written.
func group(top []*statement) [][]*statement {
	var out [][]*statement
	for _, s := range top {
		i := slices.IndexFunc(out, func(g []*statement) bool { return s.key != "" && g[0].key == s.key && g[0].off == s.off })
		if i < 0 {
			out = append(out, []*statement{s})
		} else {
			out[i] = append(out[i], s)
		}
	}
	return out
}
