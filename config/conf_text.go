package config

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// A confText is a piece of keepalived.conf that knows where each of its octets
// was written, however it was put together.
type confText struct {
	s     string
	parts []confPart // in the order of from; the first is from 0
}

// A confPart says where the text from an offset on was written.
type confPart struct {
	from int
	pos  Pos
	// fixed text has one position: it was made up, not read.
	fixed bool
}

// confLine returns a text that was read at pos.
func confLine(s string, pos Pos) confText { return confText{s, []confPart{{pos: pos}}} }

// confMade returns a text that was made up for what is written at pos.
func confMade(s string, pos Pos) confText { return confText{s, []confPart{{pos: pos, fixed: true}}} }

// at returns the position of the octet at offset i, or of the end.
func (t confText) at(i int) Pos {
	n := sort.Search(len(t.parts), func(k int) bool { return t.parts[k].from > i }) - 1
	if n < 0 {
		return Pos{}
	}
	p := t.parts[n]
	if !p.fixed {
		p.pos.Col += utf8.RuneCountInString(t.s[p.from:min(i, len(t.s))])
	}
	return p.pos
}

// slice returns the text from offset i up to j.
func (t confText) slice(i, j int) confText {
	out := confText{s: t.s[i:j]}
	for k, p := range t.parts {
		end := len(t.s)
		if k+1 < len(t.parts) {
			end = t.parts[k+1].from
		}
		if p.from > j || end <= i && end < len(t.s) {
			continue
		}
		if p.from < i {
			p.pos, p.from = t.at(i), i
		}
		p.from -= i
		out.parts = append(out.parts, p)
	}
	return out
}

// from returns the text from offset i on.
func (t confText) from(i int) confText { return t.slice(i, len(t.s)) }

// join appends a text.
func (t confText) join(u confText) confText {
	if t.s == "" {
		return u
	}
	if u.s == "" {
		return t
	}
	out := confText{s: t.s + u.s, parts: append([]confPart(nil), t.parts...)}
	for _, p := range u.parts {
		p.from += len(t.s)
		out.parts = append(out.parts, p)
	}
	return out
}

// confBlanks separate words.
const confBlanks = " \t\f\v\r\n"

// trimLeft removes blanks at the beginning.
func (t confText) trimLeft() confText {
	return t.from(len(t.s) - len(strings.TrimLeft(t.s, confBlanks)))
}

// trimRight removes blanks at the end.
func (t confText) trimRight() confText { return t.slice(0, len(strings.TrimRight(t.s, confBlanks))) }

// A confCursor finds the positions of ever larger offsets in one pass.
type confCursor struct {
	t    confText
	part int
	off  int
	pos  Pos
}

// cursor returns a cursor at the beginning.
func (t confText) cursor() *confCursor { return &confCursor{t: t, part: -1} }

// at returns the position at offset i, which is no less than the one before.
func (c *confCursor) at(i int) Pos {
	for c.part+1 < len(c.t.parts) && c.t.parts[c.part+1].from <= i {
		c.part++
		c.off, c.pos = c.t.parts[c.part].from, c.t.parts[c.part].pos
	}
	if c.part >= 0 && !c.t.parts[c.part].fixed {
		c.pos.Col += utf8.RuneCountInString(c.t.s[c.off:min(i, len(c.t.s))])
		c.off = i
	}
	return c.pos
}

// uncomment removes a comment, and blanks at both ends. continued says that a
// backslash ended the line, which is removed, too. Single quotes mean nothing
// here, and outside of double ones a backslash does not keep a comment from
// beginning: keepalived takes the backslash away, but its processes read what
// is left once more. escaped is the offset of such a one, or -1.
func (t confText) uncomment() (out confText, comment string, continued bool, escaped int) {
	t = t.trimLeft()
	quoted := false
	for i := 0; i < len(t.s); i++ {
		switch c := t.s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && i+1 == len(t.s):
			return t.slice(0, i).trimRight(), "", true, -1
		case c == '\\' && !quoted && (t.s[i+1] == '#' || t.s[i+1] == '!'):
			return t.slice(0, i).trimRight(), "#" + t.s[i+2:], false, i
		case c == '\\':
			i++
		case !quoted && (c == '#' || c == '!'):
			return t.slice(0, i).trimRight(), "#" + t.s[i+1:], false, -1
		}
	}
	return t.trimRight(), "", false, -1
}

// words splits a line. Double quotes may hold blanks and nothing else has a
// meaning; a quote within a word ends it. unclosed is the offset of a quote that
// is never closed, or -1: what follows it is not a word.
func (t confText) words() (out []word, unclosed int) {
	cur := t.cursor()
	for i := 0; ; {
		i += len(t.s[i:]) - len(strings.TrimLeft(t.s[i:], confBlanks))
		if i == len(t.s) {
			return out, -1
		}
		if t.s[i] == '"' {
			end := strings.IndexByte(t.s[i+1:], '"')
			if end < 0 {
				return out, i
			}
			out = append(out, word{t.s[i+1 : i+1+end], cur.at(i)})
			i += end + 2
			continue
		}
		end := strings.IndexAny(t.s[i:], confBlanks+`"`)
		if end < 0 {
			end = len(t.s) - i
		}
		out = append(out, word{t.s[i : i+end], cur.at(i)})
		i += end
	}
}

// quotedWords splits a line as keepalived does where a command is expected
// (alloc_strvec_quoted_escaped): quotes of both kinds may begin within a word,
// and a backslash has a meaning.
func (t confText) quotedWords() ([]word, *fault) {
	var out []word
	var w strings.Builder
	cur := t.cursor()
	start, quoted := -1, byte(0)
	for i := 0; i < len(t.s); {
		c := t.s[i]
		if quoted == 0 && strings.IndexByte(confBlanks, c) >= 0 {
			if start >= 0 {
				out = append(out, word{w.String(), cur.at(start)})
				w.Reset()
				start = -1
			}
			i++
			continue
		}
		if start < 0 {
			start = i
		}
		n := 1
		switch {
		case c == '\\':
			text, size, f := unescape(t.s[i:])
			if f != nil {
				return nil, f
			}
			w.WriteString(text)
			n = size
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted == 0 && (c == '"' || c == '\''):
			quoted = c
		default:
			w.WriteByte(c)
		}
		i += n
	}
	if quoted != 0 {
		return nil, faultf("a quote (%c) is not closed", quoted)
	}
	if start >= 0 {
		out = append(out, word{w.String(), cur.at(start)})
	}
	return out, nil
}

// brace returns the offset of the first brace that is not in double quotes, or
// -1. Those of ${NAME} are no blocks: the name has no definition, or it would
// have been replaced.
func (t confText) brace() int {
	for i := 0; i < len(t.s); i++ {
		switch t.s[i] {
		case '"':
			end := strings.IndexByte(t.s[i+1:], '"')
			if end < 0 {
				return -1
			}
			i += end + 1
		case '$':
			if n := confUse(t.s[i:]).size; n > 0 && t.s[i+1] == '{' {
				i += n - 1
			}
		case '{', '}':
			return i
		}
	}
	return -1
}
