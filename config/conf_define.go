package config

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A confDef is a definition ($NAME=value).
type confDef struct {
	lines []confText // more than one only if multi
	multi bool
	// std gives the value of a standard definition, from its parameters.
	std func(*confReader, []string) (string, *fault)
	// least and most say how many parameters it has.
	least, most int
	numbers     bool // parameters are numbers
}

// standardDefs returns the definitions that are always there.
func standardDefs() map[string]*confDef {
	constant := func(s string) func(*confReader, []string) (string, *fault) {
		return func(*confReader, []string) (string, *fault) { return s, nil }
	}
	return map[string]*confDef{
		"_PWD":      {std: func(c *confReader, _ []string) (string, *fault) { return c.workDir(), nil }},
		"_INSTANCE": {std: func(c *confReader, _ []string) (string, *fault) { return c.id, nil }},
		"_RANDOM":   {std: (*confReader).randomDef, most: 2, numbers: true},
		"_ENV":      {std: func(_ *confReader, p []string) (string, *fault) { return os.Getenv(p[0]), nil }, least: 1, most: 1},
		"_HASH":     {std: constant("#")},
		"_BANG":     {std: constant("!")},
	}
}

// workDir returns the directory of the file that is being read.
func (c *confReader) workDir() string {
	dir, err := filepath.Abs(filepath.Dir(c.fileName()))
	if err != nil {
		return "."
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// randomDef is ${_RANDOM [min [max]]}.
func (c *confReader) randomDef(params []string) (string, *fault) {
	lo, hi := uint64(0), uint64(math.MaxInt16)
	for i, to := range []*uint64{&lo, &hi} {
		if i < len(params) {
			v, err := strconv.ParseUint(params[i], 10, 31)
			if err != nil {
				return "", faultf("%s is out of range (0 to %d)", params[i], math.MaxInt32)
			}
			*to = v
		}
	}
	if lo > hi {
		return strconv.FormatUint(lo, 10), faultf("the least random number (%d) is above the largest (%d)", lo, hi)
	}
	c.randomUsed = true
	if c.random == nil {
		c.random = newConfRandom(c.seed)
	}
	return strconv.FormatUint(uint64(c.random.next())%(hi-lo+1)+lo, 10), nil
}

// A confRandom is the generator that random(3) is by default: with the same
// random_seed, vipd and keepalived draw the same numbers.
type confRandom struct {
	r    [31]uint32
	f, b int
}

// newConfRandom returns a generator with the seed.
func newConfRandom(seed uint32) *confRandom {
	if seed == 0 {
		seed = 1
	}
	g := &confRandom{f: 3}
	v := int32(seed)
	for i := range g.r {
		g.r[i] = uint32(v)
		// 16807 times v modulo 2^31-1, without overflow.
		v = 16807*(v%127773) - 2836*(v/127773)
		if v < 0 {
			v += math.MaxInt32
		}
	}
	for range 10 * len(g.r) {
		g.next()
	}
	return g
}

// next returns the next number.
func (g *confRandom) next() uint32 {
	g.r[g.f] += g.r[g.b]
	out := g.r[g.f] >> 1
	g.f, g.b = (g.f+1)%len(g.r), (g.b+1)%len(g.r)
	return out
}

// isNameByte reports whether c can be in the name of a definition.
func isNameByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

// nameLen returns the length of the name that s begins with.
func nameLen(s string) int {
	n := 0
	for n < len(s) && isNameByte(s[n], n == 0) {
		n++
	}
	return n
}

// A confRef is a use of a definition.
type confRef struct {
	name   string
	params []string
	size   int // of all of it; 0: it is none
}

// confUse returns the use of a definition that s begins with.
func confUse(s string) confRef {
	if len(s) < 2 || s[0] != '$' {
		return confRef{}
	}
	if s[1] != '{' {
		n := nameLen(s[1:])
		// Text that happens to contain a dollar is left alone.
		if n == 0 || n+1 < len(s) && strings.IndexByte(" \t,)", s[n+1]) < 0 {
			return confRef{}
		}
		return confRef{name: s[1 : 1+n], size: 1 + n}
	}
	n := nameLen(s[2:])
	end := 2 + n
	for end < len(s) && (s[end] == ' ' || s[end] == '\t' || isNameByte(s[end], false)) {
		end++
	}
	if n == 0 || end == len(s) || s[end] != '}' {
		return confRef{}
	}
	return confRef{name: s[2 : 2+n], params: strings.Fields(s[2+n : end]), size: end + 1}
}

// define recognises a definition, and keeps it; cut says that a backslash ended
// the line. A definition of several lines is read to its end.
func (c *confReader) define(t confText, cut bool) bool {
	n := 0
	if strings.HasPrefix(t.s, "$") {
		n = nameLen(t.s[1:])
	}
	if n == 0 || 1+n >= len(t.s) || t.s[1+n] != '=' {
		return false
	}
	name := t.s[1 : 1+n]
	value := t.from(2 + n).trimLeft()
	def := &confDef{lines: []confText{value}}
	if cut {
		def.multi = true
		if value.s == "" {
			def.lines = nil
		}
		for cut {
			line, ok := c.rawLine()
			if !ok || line.end {
				break
			}
			cut = line.continued
			if line.text.s != "" {
				def.lines = append(def.lines, line.text)
			} else if !cut && line.comment != "" {
				cut = true // a line of nothing but a comment does not end it
			}
		}
		if len(def.lines) == 0 {
			def.multi = false
			def.lines = []confText{value}
		}
	}
	c.defs[name] = def
	return true
}

// Limits of the replacements in one line: more can only come from definitions
// that contain themselves.
const maxReplacements = 1000

// expand replaces definitions. lines are those that follow, of a definition of
// several; changed says that something was replaced.
func (c *confReader) expand(t confText) (out confText, lines []confText, changed bool) {
	count := 0
	for i := 0; ; {
		next := strings.IndexByte(t.s[i:], '$')
		if next < 0 {
			return t, lines, changed
		}
		i += next
		use := confUse(t.s[i:])
		def := c.defs[use.name]
		last := i+use.size == len(t.s)
		if use.size == 0 || def == nil || def.multi && !last {
			i++
			continue
		}
		value, ok := c.valueOf(def, use, t.at(i))
		if !ok {
			i++
			continue
		}
		if def.multi {
			lines = append(append([]confText(nil), def.lines[1:]...), lines...)
		}
		count++
		if len(t.s)+len(value.s) > maxConfLine || count > maxReplacements || len(lines) > maxReplacements*100 {
			c.complain(t.at(i), &fault{"the line gets too long when definitions are replaced", "does " + use.name + " contain itself?"})
			return confText{}, nil, true
		}
		if !c.spend(len(t.s) + len(value.s)) {
			return confText{}, nil, true
		}
		rest := t.from(i + use.size)
		t = t.slice(0, i).join(value).join(rest)
		changed = true
		if strings.HasPrefix(strings.TrimLeft(value.s, " \t"), "~") {
			return t, lines, changed
		}
	}
}

// valueOf returns the value of a definition at the place of its use; of several
// lines, the first.
func (c *confReader) valueOf(def *confDef, use confRef, pos Pos) (confText, bool) {
	if def.std == nil {
		if len(use.params) > 0 {
			return confText{}, false
		}
		return def.lines[0], true
	}
	if n := len(use.params); n < def.least || n > def.most {
		f := faultf("%s takes no parameters", use.name)
		switch {
		case def.most > def.least:
			f = faultf("%s takes up to %d parameters, not %d", use.name, def.most, n)
		case def.most > 0:
			f = faultf("%s takes %d parameter, not %d", use.name, def.most, n)
		}
		c.complain(pos, f)
		return confText{}, false
	}
	if def.numbers {
		for _, p := range use.params {
			if !isDigits(p) {
				c.complain(pos, faultf("%s is not a whole number", quote(p)))
				return confText{}, false
			}
		}
	}
	value, f := def.std(c, use.params)
	if f != nil {
		c.complain(pos, f)
	}
	return confMade(value, pos), f == nil || value != ""
}

// A confLoop repeats a text with other values of definitions (~SEQ, ~LST).
type confLoop struct {
	names []string
	text  confText
	pos   Pos

	values [][]string // of ~LST; nil: of ~SEQ

	next, step, last int64
	hex              bool
}

// turn sets the definitions for the next turn, and returns whether there is one.
func (l *confLoop) turn(c *confReader) bool {
	if l.values != nil {
		if l.next == int64(len(l.values)) {
			return false
		}
		for i, n := range l.names {
			c.set(n, l.values[l.next][i], l.pos)
		}
		l.next++
		return true
	}
	if l.step > 0 && l.next > l.last || l.step < 0 && l.next < l.last {
		return false
	}
	base := 10
	if l.hex {
		base = 16
	}
	c.set(l.names[0], strconv.FormatInt(l.next, base), l.pos)
	l.next += l.step // the limits keep it from overflowing
	return true
}

// set defines a name.
func (c *confReader) set(name, value string, pos Pos) {
	c.defs[name] = &confDef{lines: []confText{confMade(value, pos)}}
}

// loop reads ~SEQ(var, [start, [step,]] end) text or ~LST(…) text.
func (c *confReader) loop(t confText) (*confLoop, *fault) {
	l := &confLoop{pos: t.at(0), step: 1}
	seq := strings.HasPrefix(t.s, "~SEQ")
	rest := t.s[4:]
	if seq {
		rest, l.hex = strings.CutPrefix(rest, "x")
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(rest, " \t"), "(")
	end := strings.IndexByte(rest, ')')
	if !ok || end < 0 {
		return nil, &fault{"the parameters of " + t.s[:4] + " are not in parentheses", loopHint(seq)}
	}
	l.text = t.from(len(t.s) - len(rest) + end + 1).trimLeft()
	inner, _, _ := c.expand(confMade(rest[:end], t.at(0)))
	params, braced, ok := loopParams(inner.s)
	if !ok || len(params) < 2 {
		return nil, &fault{"the parameters of " + t.s[:4] + " cannot be read", loopHint(seq)}
	}
	l.names = params[0]
	for _, n := range l.names {
		if n == "" || nameLen(n) != len(n) {
			return nil, &fault{quote(n) + " is not the name of a variable", loopHint(seq)}
		}
	}
	if !seq {
		for _, v := range params[1:] {
			if len(v) > len(l.names) {
				return nil, faultf("there are more values (%d) than variables (%d)", len(v), len(l.names))
			}
			l.values = append(l.values, append(v, make([]string, len(l.names)-len(v))...))
		}
		return l, nil
	}
	if braced || len(params) > 4 {
		return nil, &fault{"the parameters of " + t.s[:4] + " cannot be read", loopHint(seq)}
	}
	return l, l.bounds(params[1:])
}

// loopHint shows how a loop is written.
func loopHint(seq bool) string {
	if seq {
		return "such as ~SEQ(N, 1, 4), or ~SEQ(N, 10, 5, 30)"
	}
	return "such as ~LST(NAME, a, b), or ~LST({NAME,N}, {a,1}, {b,2})"
}

// loopParams splits parameters at commas; some may be lists in braces.
func loopParams(s string) (out [][]string, braced, ok bool) {
	for {
		s = strings.TrimLeft(s, " \t")
		var item string
		if list, ok := strings.CutPrefix(s, "{"); ok {
			braced = true
			item, s, ok = strings.Cut(list, "}")
			if !ok {
				return nil, braced, false
			}
			var items []string
			for v := range strings.SplitSeq(item, ",") {
				items = append(items, strings.Trim(v, " \t"))
			}
			out = append(out, items)
			s = strings.TrimLeft(s, " \t")
			if s == "" {
				return out, braced, true
			}
			if s, ok = strings.CutPrefix(s, ","); !ok {
				return nil, braced, false
			}
			continue
		}
		item, rest, more := strings.Cut(s, ",")
		out = append(out, []string{strings.Trim(item, " \t")})
		if !more {
			return out, braced, true
		}
		s = rest
	}
}

// loopLimit bounds the numbers of ~SEQ.
const loopLimit = 1 << 40

// bounds sets the numbers of ~SEQ.
func (l *confLoop) bounds(params [][]string) *fault {
	n := make([]int64, len(params))
	for i, p := range params {
		v, err := strconv.ParseInt(p[0], 0, 64)
		digits := strings.TrimPrefix(p[0], "-")
		if err != nil || strings.Contains(digits, "_") || len(digits) > 1 && strings.IndexByte("bBoO", digits[1]) >= 0 || v > loopLimit || v < -loopLimit {
			return &fault{quote(p[0]) + " is not a number", loopHint(true)}
		}
		n[i] = v
	}
	switch len(n) {
	case 1:
		l.next, l.step, l.last = 1, 1, n[0]
		if l.last < 1 {
			l.step = -1
		}
		if l.last < 0 {
			l.next = -1
		}
	case 2:
		l.next, l.step, l.last = n[0], 1, n[1]
		if l.next > l.last {
			l.step = -1
		}
	case 3:
		l.next, l.step, l.last = n[0], n[1], n[2]
		if l.step == 0 || l.next < l.last && l.step < 0 || l.next > l.last && l.step > 0 {
			return faultf("from %d in steps of %d, %d is never reached", l.next, l.step, l.last)
		}
	}
	if l.hex && (l.next < 0 || l.last < 0) {
		return faultf("~SEQx has no negative numbers")
	}
	return nil
}
