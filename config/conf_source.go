package config

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Limits of keepalived.conf, so that no file can exhaust the host. They are far
// beyond what 5,000 addresses need.
const (
	maxConfLine  = 16 << 10 // octets of a line, also after replacement
	maxConfRead  = 8 << 20  // octets read from all files
	maxConfWork  = 16 << 20 // octets that loops and definitions make
	maxConfTree  = 8 << 20  // what the tree takes, about
	maxConfOpen  = 5000     // files opened
	maxConfDepth = 32       // files that include each other
	maxConfGlob  = 1000     // alternatives in braces
)

// A confRaw is a line before anything is replaced in it.
type confRaw struct {
	text      confText
	comment   string // without text: the line was nothing but this comment
	continued bool   // a backslash ended it
	end       bool   // it was empty, which ends a definition of several lines
}

// A confFile is a file that is being read.
type confFile struct {
	name  string
	r     *bufio.Reader
	close func() error
	line  int
	buf   []byte    // room for the line being read
	check confCheck // include_check
	path  string    // absolute, without links
}

// A confCheck says what is demanded of included files (keepalived:
// include_check).
type confCheck uint8

const (
	checkReadable confCheck = 1 << iota
	checkMatch
	checkWildcard
	checkBraces
	checkAll = checkReadable | checkMatch | checkWildcard | checkBraces
)

// A confSource is where the next lines come from: a file, lines, or a loop.
type confSource struct {
	file    *confFile
	pending *confPending // a file that is to be opened
	lines   []confText
	loop    *confLoop
}

// A confPending is a file that an include line names.
type confPending struct {
	name   string
	pos    Pos
	demand confCheck
}

// A confReader is the front-end for keepalived.conf: it turns files into the
// tree of nodes that the YAML front-end makes.
type confReader struct {
	*report
	schema    *schema
	root      *node
	including bool
	id        string // config-id

	sources []confSource // the last one is read first
	defs    map[string]*confDef

	random     *confRandom
	seed       uint32
	seedSet    bool
	randomUsed bool

	comments []string // that stand before the next statement
	trailing string   // that stands behind the line being read
	peeked   *confText
	backlog  string // trailing, of the line that was peeked at

	stopped          bool // a limit has been reached
	read, work, tree int
	opened           int
}

// newConfReader returns a reader of a configuration with the config-id.
func newConfReader(r *report, s *schema, id string) *confReader {
	return &confReader{report: r, schema: s, root: &node{item: -1}, id: id, defs: standardDefs(), seed: uint32(time.Now().Unix())}
}

// hostID is the default config-id: the first label of the host name.
func hostID() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// complain reports what keepalived would complain about and go on.
func (c *confReader) complain(pos Pos, f *fault) { c.add(pos, Warning, "", f) }

// refuse reports what the configuration cannot be read with.
func (c *confReader) refuse(pos Pos, f *fault) { c.add(pos, Error, "", f) }

// limit ends the reading of a configuration that is too large.
func (c *confReader) limit(what string) bool {
	if !c.stopped {
		c.stopped = true
		c.refuse(c.here(), &fault{"the configuration is too large: " + what, "is there a loop, or a file that is no configuration?"})
	}
	return false
}

// here returns the position of the line being read.
func (c *confReader) here() Pos {
	if f := c.file(); f != nil {
		return Pos{File: f.name, Line: f.line}
	}
	return Pos{}
}

// spend takes note of work that a small file can cause a lot of.
func (c *confReader) spend(n int) bool {
	if c.work += n + 16; c.work > maxConfWork {
		return c.limit("its loops and definitions make more text than any configuration needs")
	}
	return !c.stopped
}

// file returns the file that is being read, or nil.
func (c *confReader) file() *confFile {
	for _, s := range slices.Backward(c.sources) {
		if s.file != nil {
			return s.file
		}
	}
	return nil
}

// fileName returns the name of that file.
func (c *confReader) fileName() string {
	if f := c.file(); f != nil {
		return f.name
	}
	return ""
}

// push makes a file the source of the next lines.
func (c *confReader) push(name string, data io.Reader, closer func() error) {
	f := &confFile{name: name, r: bufio.NewReader(data), close: closer}
	if c.including {
		f.path = absolute(name)
	}
	if up := c.file(); up != nil {
		f.check = up.check
	}
	if bom, _ := f.r.Peek(3); string(bom) == "\xef\xbb\xbf" {
		_, _ = f.r.Discard(3) // it has just been peeked at
	}
	c.sources = append(c.sources, confSource{file: f})
}

// pop leaves the last source.
func (c *confReader) pop() {
	s := c.sources[len(c.sources)-1]
	c.sources = c.sources[:len(c.sources)-1]
	if s.file != nil && s.file.close != nil {
		_ = s.file.close() // nothing was written
	}
}

// closeAll closes what is still open.
func (c *confReader) closeAll() {
	for len(c.sources) > 0 {
		c.pop()
	}
}

// rawLine returns the next line of the last source; false at the end of it all.
func (c *confReader) rawLine() (confRaw, bool) {
	for len(c.sources) > 0 && !c.stopped {
		s := &c.sources[len(c.sources)-1]
		switch {
		case s.file != nil:
			if raw, ok := c.fileLine(s.file); ok {
				return raw, true
			}
			c.pop()
		case s.pending != nil:
			p := s.pending
			c.pop()
			c.open(p.name, p.pos, p.demand)
		case s.loop != nil:
			if s.loop.turn(c) && c.spend(len(s.loop.text.s)) {
				return confRaw{text: s.loop.text}, true
			}
			c.pop()
		case len(s.lines) > 0:
			t := s.lines[0]
			s.lines = s.lines[1:]
			if c.spend(len(t.s)) {
				return confRaw{text: t}, true
			}
		default:
			c.pop()
		}
	}
	return confRaw{}, false
}

// fileLine reads a line of a file.
func (c *confReader) fileLine(f *confFile) (confRaw, bool) {
	line := f.buf[:0]
	defer func() { f.buf = line }()
	for {
		chunk, err := f.r.ReadSlice('\n')
		if len(line) == 0 {
			f.line++
		}
		line = append(line, chunk...)
		if c.read += len(chunk); c.read > maxConfRead {
			return confRaw{}, c.limit("more than 8 MiB were read")
		}
		if len(line) > maxConfLine {
			c.stopped = true
			c.refuse(Pos{f.name, f.line, 1}, &fault{"the line is longer than 16 KiB", "is this file a configuration?"})
			return confRaw{}, false
		}
		if err == nil || errors.Is(err, io.EOF) && len(line) > 0 {
			break
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if !errors.Is(err, io.EOF) {
			c.refuse(c.here(), unreadable(err))
		}
		return confRaw{}, false
	}
	pos := Pos{f.name, f.line, 1}
	s := strings.TrimRight(string(line), "\r\n")
	if strings.IndexByte(s, 0) >= 0 {
		c.complain(pos, faultf("the line contains a NUL octet: it is ignored"))
		return confRaw{}, true
	}
	if s == "" {
		return confRaw{end: true}, true
	}
	whole := confLine(s, pos)
	text, comment, continued, escaped := whole.uncomment()
	if escaped >= 0 {
		c.complain(whole.trimLeft().at(escaped), &fault{"a comment begins here in spite of the backslash, as in keepalived", "use double quotes"})
	}
	return confRaw{text: text, comment: comment, continued: continued}, true
}

// next returns the next statement line, in which everything is replaced and
// which holds a brace only if it is nothing else. false is the end of it all.
func (c *confReader) next() (confText, bool) {
	if c.peeked != nil {
		t := *c.peeked
		c.peeked = nil
		c.trailing = c.backlog
		return t, true
	}
	c.trailing = ""
	for {
		raw, ok := c.rawLine()
		if !ok {
			return confText{}, false
		}
		if raw.text.s == "" {
			if raw.comment != "" && len(c.comments) < 1000 {
				c.comments = append(c.comments, raw.comment)
			}
			continue
		}
		t, ok := c.process(raw)
		if !ok {
			continue
		}
		if raw.comment != "" {
			c.trailing = raw.comment
		}
		i := t.brace()
		switch {
		case i == 0:
			c.residue(t.from(1))
			t = t.slice(0, 1)
		case i > 0:
			c.residue(t.from(i))
			t = t.slice(0, i).trimRight()
		}
		return t, true
	}
}

// residue puts back what follows on a line.
func (c *confReader) residue(t confText) {
	if t = t.trimLeft().trimRight(); t.s != "" {
		c.sources = append(c.sources, confSource{lines: []confText{t}})
	}
}

// process does to a line what comes before its words: conditions, definitions,
// loops and included files. false means that nothing is left.
func (c *confReader) process(raw confRaw) (confText, bool) {
	t := raw.text
	for range maxReplacements {
		switch {
		case t.s == "":
			return t, false
		case t.s[0] == '@':
			rest, ok := c.condition(t)
			if !ok {
				return t, false
			}
			t = rest
			continue
		case c.define(t, raw.continued):
			return t, false
		}
		if raw.continued {
			raw.continued = false
			c.complain(t.at(len(t.s)), &fault{"a backslash continues only definitions ($NAME=…): it is ignored", "write the statement on one line"})
		}
		if strings.HasPrefix(t.s, "~SEQ") || strings.HasPrefix(t.s, "~LST") {
			l, f := c.loop(t)
			if f != nil {
				c.complain(t.at(0), f)
				return t, false
			}
			c.sources = append(c.sources, confSource{loop: l})
			return t, false
		}
		out, lines, changed := c.expand(t)
		if len(lines) > 0 {
			c.sources = append(c.sources, confSource{lines: lines})
		}
		if changed {
			t, _, _, _ = out.uncomment()
			continue
		}
		return t, !c.include(t)
	}
	c.complain(t.at(0), &fault{"definitions are replaced without an end", "does one of them contain itself?"})
	return t, false
}

// condition decides on @id text and @^id text.
func (c *confReader) condition(t confText) (confText, bool) {
	id, not := t.s[1:], false
	if strings.HasPrefix(id, "^") {
		id, not = id[1:], true
	}
	end := strings.IndexAny(id, " \t")
	if end < 0 {
		return t, false // nothing depends on it
	}
	if (id[:end] == c.id) == not {
		return t, false
	}
	return t.from(len(t.s) - len(id) + end).trimLeft(), true
}

// includeKinds are what the keywords demand of the files.
func includeKinds(keyword string) (confCheck, bool) {
	switch keyword {
	case "include":
		return 0, true
	case "includer":
		return checkReadable, true
	case "includem":
		return checkReadable | checkMatch, true
	case "includew":
		return checkReadable | checkMatch | checkWildcard, true
	case "includeb":
		return checkReadable | checkBraces, true
	case "includea":
		return checkAll, true
	}
	return 0, false
}

// include recognises an include line, and makes the files the source of the
// next lines.
func (c *confReader) include(t confText) bool {
	keyword, _, blank := strings.Cut(strings.Map(func(r rune) rune {
		if strings.ContainsRune(confBlanks, r) {
			return ' '
		}
		return r
	}, t.s), " ")
	demand, ok := includeKinds(keyword)
	if !ok || !blank {
		return false
	}
	arg := t.from(len(keyword)).trimLeft()
	pos := arg.at(0)
	if !c.including {
		c.refuse(t.at(0), faultf("a configuration that is not read from a file cannot include others"))
		return true
	}
	pattern := strings.Trim(arg.s, `"`) // keepalived would look for a name with quotes in it
	if pattern == "" {
		c.complain(t.at(0), faultf("%s needs a file name", keyword))
		return true
	}
	demand |= c.file().check
	// fail reports a problem, which is fatal if its absence was demanded.
	fail := func(what confCheck, f *fault) {
		if demand&what != 0 {
			c.refuse(pos, f)
		} else {
			c.complain(pos, f)
		}
	}
	alternatives, ok := expandBraces(pattern)
	if !ok {
		c.complain(pos, faultf("%s has more than %d alternatives", quote(pattern), maxConfGlob))
		return true
	}
	var names []string
	for _, alt := range alternatives {
		name := alt
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(c.fileName()), name)
		}
		if !strings.ContainsAny(alt, `*?[\`) {
			if _, err := os.Stat(name); err != nil {
				what := checkMatch
				if len(alternatives) > 1 {
					what = checkBraces
				}
				f := unreadable(err)
				f.message = strings.Replace(f.message, "the file", name, 1)
				fail(what, f)
				continue
			}
			names = append(names, name)
			continue
		}
		matches, err := filepath.Glob(goPattern(name))
		matches = slices.DeleteFunc(matches, func(m string) bool { return hiddenMatch(name, m) })
		switch {
		case err != nil:
			fail(checkReadable, faultf("%s is not a pattern", quote(alt)))
		case len(matches) == 0 && demand&checkWildcard != 0:
			c.refuse(pos, faultf("no file matches %s", alt))
		}
		names = append(names, matches...)
	}
	for _, name := range slices.Backward(names) { // the first becomes the last source
		c.sources = append(c.sources, confSource{pending: &confPending{name, pos, demand}})
	}
	return true
}

// open makes an included file the source of the next lines.
func (c *confReader) open(name string, pos Pos, demand confCheck) {
	fail := func(f *fault) {
		if demand&checkReadable != 0 {
			c.refuse(pos, f)
		} else {
			c.complain(pos, f)
		}
	}
	if c.opened++; c.opened > maxConfOpen {
		c.limit("more than 5000 files are included")
		return
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
	case info.IsDir():
		fail(faultf("%s is a directory: it is not read", name))
		return
	case !info.Mode().IsRegular():
		fail(faultf("%s is not a regular file: it is not read", name))
		return
	case info.Mode()&0o111 != 0:
		fail(&fault{name + " is executable, so it is taken for something else than a configuration: it is not read", "chmod -x " + name})
		return
	}
	path, depth := absolute(name), 0
	for _, s := range c.sources {
		if s.file == nil {
			continue
		}
		if depth++; s.file.path == path {
			c.refuse(pos, faultf("%s includes itself: it is being read already", name))
			return
		}
	}
	if depth > maxConfDepth {
		c.refuse(pos, faultf("more than %d files include each other", maxConfDepth))
		return
	}
	f, err := os.Open(name)
	if err != nil {
		f := unreadable(err)
		f.message = strings.Replace(f.message, "the file", name, 1)
		fail(f)
		return
	}
	if !slices.Contains(c.files, name) {
		c.files = append(c.files, name)
	}
	c.push(name, f, f.Close)
}

// setIncludeCheck is include_check, for this file and those that it includes.
func (c *confReader) setIncludeCheck(n *node) {
	f := c.file()
	if f == nil {
		return
	}
	if len(n.args) == 0 {
		f.check = checkAll
	}
	for i, w := range n.args {
		name := strings.TrimLeft(w.text, "+-")
		var bit confCheck
		switch name {
		case "read", "readable":
			bit = checkReadable
		case "match":
			bit = checkMatch
		case "wildcard_match":
			bit = checkWildcard
		case "brace_match":
			bit = checkBraces
		default:
			c.complain(w.pos, faultf("%s is not readable, match, wildcard_match or brace_match", quote(w.text)))
			continue
		}
		switch {
		case strings.HasPrefix(w.text, "-"):
			f.check &^= bit
		case strings.HasPrefix(w.text, "+"):
			f.check |= bit
		case i == 0:
			f.check = checkReadable | bit
		default:
			c.complain(w.pos, faultf("%s needs a + or - before it", quote(w.text)))
		}
	}
}

// expandBraces returns the alternatives of a pattern such as {a,b}.conf; false
// if there are too many.
func expandBraces(s string) ([]string, bool) {
	out, todo := []string(nil), []string{s}
	for len(todo) > 0 {
		s := todo[0]
		todo = todo[1:]
		open, end, commas := braceList(s)
		if open < 0 {
			out = append(out, s)
		} else {
			var alts []string
			from := open + 1
			for _, comma := range append(commas, end) {
				alts = append(alts, s[:open]+s[from:comma]+s[end+1:])
				from = comma + 1
			}
			todo = append(alts, todo...)
		}
		if len(out)+len(todo) > maxConfGlob {
			return nil, false
		}
	}
	return out, true
}

// braceList finds the first list in braces, and its commas.
func braceList(s string) (open, end int, commas []int) {
	open = -1
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			if depth++; depth == 1 {
				open, commas = i, nil
			}
		case '}':
			if depth--; depth == 0 {
				return open, i, commas
			}
			depth = max(depth, 0)
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		}
	}
	return -1, -1, nil
}

// goPattern rewrites a pattern of glob(3) for Go, which has another sign for
// what a class excludes.
func goPattern(s string) string { return strings.ReplaceAll(s, "[!", "[^") }

// hiddenMatch reports whether a wildcard matched the dot of a hidden name, which
// it does not in glob(3).
func hiddenMatch(pattern, name string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range got {
		if strings.HasPrefix(got[i], ".") && !strings.HasPrefix(want[i], ".") {
			return true
		}
	}
	return false
}
