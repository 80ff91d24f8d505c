package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of YAML, so that no file can exhaust the host: each value costs up to
// 800 octets of memory, and there are two signs to it or a comma.
const (
	maxFile  = 8 << 20 // octets of a file
	maxSigns = 150_000 // of all files; 5,000 addresses have 10,000
)

// signs counts the signs that may begin another value.
func signs(data []byte) int {
	n := 0
	for _, c := range data {
		switch c {
		case ',':
			n += 2
		case ':', '-', '[', '{', '?', '\n':
			n++
		}
	}
	return n
}

// loadYAML reads a YAML configuration and the files that it includes. The Config
// is nil if there are errors.
func loadYAML(path string) (*Config, Diagnostics) {
	return load(path, yamlDialect(), func(y *yamlReader) {
		data, err := readFile(path)
		if err != nil {
			y.add(Pos{File: path}, Error, "", unreadable(err))
			return
		}
		y.including = true
		y.document(path, data)
	})
}

// Parse reads a YAML configuration that is in memory; name stands for it in
// diagnostics. Such a configuration cannot include files. The Config is nil if
// there are errors.
func Parse(name string, data []byte) (*Config, Diagnostics) {
	return parse(name, data, yamlDialect())
}

// parse is Parse for any dialect.
func parse(name string, data []byte, dia dialect) (*Config, Diagnostics) {
	return load(name, dia, func(y *yamlReader) { y.document(name, data) })
}

// load reads with the given function, and decodes.
func load(name string, dia dialect, read func(*yamlReader)) (*Config, Diagnostics) {
	r := &report{}
	y := &yamlReader{report: r, schema: newSchema(), root: &node{item: -1}, read: make(map[string]Pos)}
	r.files = append(r.files, name)
	read(y)
	c := decode(y.root, y.schema, dia, r)
	return c, r.sorted()
}

// A yamlReader is the YAML front-end: it turns files into one tree of nodes.
type yamlReader struct {
	*report
	schema    *schema
	root      *node
	including bool
	active    []string       // the files being read, each included by the one before, as absolute paths
	signs     int            // in all files
	read      map[string]Pos // all files read, by absolute path, and where they were included
}

// readFile reads a file, unless it is absurdly large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	return data, err
}

// unreadable says why a file cannot be read. The name is left out: it is in the
// position.
func unreadable(err error) *fault {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return faultf("the file cannot be read: %s", err)
}

// document reads one file into the tree.
func (y *yamlReader) document(name string, data []byte) {
	if y.including {
		abs := absolute(name)
		y.active = append(y.active, abs)
		defer func() { y.active = y.active[:len(y.active)-1] }()
		if _, ok := y.read[abs]; !ok {
			y.read[abs] = Pos{}
		}
	}
	if y.signs += signs(data); y.signs > maxSigns || len(data) > maxFile {
		y.add(Pos{File: name}, Error, "", &fault{"the configuration is too large", "is this file a configuration?"})
		return
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	switch {
	case err == io.EOF || err == nil && isEmpty(&doc):
		sev := Error
		if len(y.active) > 1 {
			sev = Warning // an included file may be switched off by comments
		}
		y.add(Pos{File: name}, sev, "", faultf("the file is empty"))
		return
	case err != nil:
		y.syntax(name, data, err)
		return
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		y.fail(name, &second, "", faultf("a second document begins: there may be only one in a file"))
	case err != io.EOF:
		y.syntax(name, data, err)
		return
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		f := faultf("the file is %s, not a map of keywords", kindOf(top))
		if looksLikeKeepalived(data) {
			f.hint = "it looks like keepalived.conf, not YAML"
		}
		y.fail(name, top, "", f)
		return
	}
	if y.plain(name, top, "") {
		y.block(name, y.root, top, y.schema.root)
	}
}

// isEmpty reports whether a document has nothing but comments.
func isEmpty(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || isNull(doc.Content[0])
}

// isNull reports whether a value was left out.
func isNull(v *yaml.Node) bool {
	return v.Kind == yaml.ScalarNode && v.Value == "" && v.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// absolute returns a name of the file that is the same however it is reached.
func absolute(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	return name
}

// posOf returns the position of a YAML node.
func posOf(file string, v *yaml.Node) Pos { return Pos{file, v.Line, v.Column} }

// fail reports an error at a YAML node.
func (y *yamlReader) fail(file string, v *yaml.Node, path string, f *fault) {
	y.add(posOf(file, v), Error, path, f)
}

// plain reports whether a YAML node does without those features of YAML that
// make a file mean something else than it shows; it refuses the others.
func (y *yamlReader) plain(file string, v *yaml.Node, path string) bool {
	switch {
	case v.Kind == yaml.AliasNode:
		y.fail(file, v, path, &fault{"aliases are not supported", "put the value in quotes if it is meant to begin with *"})
	case v.Anchor != "":
		y.fail(file, v, path, &fault{"anchors are not supported", "put the value in quotes if it is meant to begin with &"})
	case v.Style&yaml.TaggedStyle != 0:
		y.fail(file, v, path, &fault{"tags are not supported", "put the value in quotes if it is meant to begin with !"})
	default:
		return true
	}
	return false
}

// kindOf names the kind of a YAML node in words.
func kindOf(v *yaml.Node) string {
	switch v.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// join appends a keyword to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// pairs calls f for each key and value of a map, with keys that are what they
// seem and given once.
func (y *yamlReader) pairs(file string, m *yaml.Node, path string, f func(key, val *yaml.Node)) {
	seen := make(map[string]*yaml.Node, len(m.Content)/2)
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, val := m.Content[i], m.Content[i+1]
		if key.Tag == "!!merge" || key.Kind == yaml.ScalarNode && key.Value == "<<" {
			y.fail(file, key, path, faultf("merge keys are not supported"))
			continue
		}
		if !y.plain(file, key, path) {
			continue
		}
		if key.Kind != yaml.ScalarNode {
			y.fail(file, key, path, faultf("a keyword is %s", kindOf(key)))
			continue
		}
		if first := seen[key.Value]; first != nil {
			y.fail(file, key, join(path, key.Value), faultf("%s is already set at %s", key.Value, posOf(file, first)))
			continue
		}
		seen[key.Value] = key
		f(key, val)
	}
}

// newNode returns a node for a keyword.
func newNode(file string, key *yaml.Node) *node {
	n := &node{key: key.Value, pos: posOf(file, key), item: -1}
	n.comment(key)
	return n
}

// comment keeps the comments of a YAML node.
func (n *node) comment(v *yaml.Node) {
	for _, c := range []string{v.HeadComment, v.LineComment, v.FootComment} {
		if c != "" {
			n.comments = append(n.comments, strings.Split(c, "\n")...)
		}
	}
}

// block reads a map of keywords.
func (y *yamlReader) block(file string, parent *node, m *yaml.Node, b *block) {
	y.pairs(file, m, parent.path(), func(key, val *yaml.Node) {
		kw := b.find(key.Value)
		if kw == nil || kw.support != supported {
			parent.add(newNode(file, key)) // the decoder says so
			return
		}
		path := join(parent.path(), kw.name)
		if kw.shape == shapeNamed {
			y.named(file, parent, key, val, kw, path)
			return
		}
		n := newNode(file, key)
		n.comment(val)
		if kw.shape != shapeFiles {
			parent.add(n)
		}
		if !y.plain(file, val, path) {
			n.bad = true
			return
		}
		switch kw.shape {
		case shapeValue, shapeFlag:
			if kw.shape == shapeFlag && isNull(val) {
				y.fail(file, key, path, &fault{kw.name + " needs a value", "write " + kw.name + ": true"})
				n.bad = true
				return
			}
			w, ok := y.scalar(file, key, val, path)
			n.raw, n.bad = val.Value, !ok
			n.args = []word{w}
		case shapeBlock:
			if y.isMap(file, val, path, kw.name+" is a block") {
				y.block(file, n, val, kw.block)
			} else {
				n.bad = !isNull(val)
			}
		case shapeLines:
			y.lines(file, n, val, kw.line)
		case shapeFiles:
			y.includes(file, key, val)
		case shapeWords:
			n.bad = !(kw.optional && isNull(val)) && !y.words(file, n, key, val, path)
		case shapeCommand:
			n.bad = !y.command(file, n, key, val, kw, path)
		case shapeTexts:
			y.textList(file, n, val, kw)
		}
	})
}

// isMap reports whether a value is a map. Nothing at all is not one, but no
// mistake either: everything in it may be commented out.
func (y *yamlReader) isMap(file string, val *yaml.Node, path, want string) bool {
	if val.Kind == yaml.MappingNode {
		return true
	}
	if !isNull(val) {
		y.fail(file, val, path, faultf("%s: it needs a map, not %s", want, kindOf(val)))
	}
	return false
}

// named reads a map of named blocks.
func (y *yamlReader) named(file string, parent *node, key, val *yaml.Node, kw *keyword, path string) {
	if !y.plain(file, val, path) || !y.isMap(file, val, path, kw.name+" holds blocks by name") {
		return
	}
	comment := newNode(file, key).comments
	y.pairs(file, val, path, func(name, body *yaml.Node) {
		n := newNode(file, name)
		n.key, n.named = kw.name, true
		n.args = []word{{name.Value, n.pos}}
		n.comments, comment = append(comment, n.comments...), nil
		path := join(path, name.Value)
		if !y.plain(file, body, path) {
			return
		}
		if !y.isMap(file, body, path, fmt.Sprintf("%s %s is a block", kw.name, name.Value)) && !isNull(body) {
			return
		}
		y.block(file, parent.add(n), body, kw.block)
	})
}

// scalar reads a single value from its source text, whatever type YAML would
// guess.
func (y *yamlReader) scalar(file string, key, val *yaml.Node, path string) (word, bool) {
	w := word{val.Value, posOf(file, val)}
	switch {
	case val.Kind != yaml.ScalarNode:
		y.fail(file, val, path, faultf("%s takes a single value, not %s", key.Value, kindOf(val)))
	case isNull(val):
		// The position of nothing is the end of the line or worse.
		f := faultf("%s needs a value", key.Value)
		if key.LineComment != "" || val.LineComment != "" || val.HeadComment != "" {
			f.hint = "a value that begins with # needs quotes"
		}
		y.fail(file, key, path, f)
	default:
		w.text = strings.TrimSuffix(w.text, "\n") // a block scalar ends with one
		if !strings.ContainsAny(w.text, "\r\n\x00") {
			return w, true
		}
		y.fail(file, val, path, faultf("the value of %s is more than one line", key.Value))
	}
	return w, false
}

// lines reads a list of lines; a list of one may do without the list.
func (y *yamlReader) lines(file string, n *node, val *yaml.Node, g *grammar) {
	if isNull(val) {
		return
	}
	items := []*yaml.Node{val}
	if val.Kind == yaml.SequenceNode {
		items = val.Content
	}
	for i, v := range items {
		line := n.add(&node{pos: posOf(file, v), item: i})
		line.comment(v)
		switch {
		case !y.plain(file, v, line.path()):
			line.bad = true
		case v.Kind == yaml.MappingNode:
			line.bad = !y.lineOfMap(file, line, v, g)
		case v.Kind == yaml.SequenceNode:
			y.fail(file, v, line.path(), faultf("an item of a list cannot be a list itself"))
			line.bad = true
		default:
			line.bad = !y.lineOfText(file, line, v)
		}
		n.bad = n.bad || line.bad
	}
}

// lineOfText splits a line into words.
func (y *yamlReader) lineOfText(file string, n *node, v *yaml.Node) bool {
	text := strings.TrimSuffix(v.Value, "\n")
	n.raw = text
	if strings.ContainsAny(text, "\r\n\x00") {
		y.fail(file, v, n.path(), &fault{"the value is more than one line", "use a list"})
		return false
	}
	if strings.TrimSpace(text) == "" {
		y.fail(file, v, n.path(), faultf("the item is empty"))
		return false
	}
	if strings.ContainsAny(text, `"'`) {
		y.fail(file, v, n.path(), &fault{"there is a quote within the line", "quotes go around the whole line, or write the line as a map"})
		return false
	}
	words := splitWords(file, v, text)
	n.key, n.pos, n.args = words[0].text, words[0].pos, words[1:]
	return true
}

// splitWords splits the text of a value at blanks.
func splitWords(file string, v *yaml.Node, text string) []word {
	first := v.Column
	if v.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		first++
	}
	var words []word
	rest, col := text, first
	for {
		trimmed := strings.TrimLeft(rest, " \t")
		col += len(rest) - len(trimmed)
		if trimmed == "" {
			break
		}
		end := strings.IndexAny(trimmed, " \t")
		if end < 0 {
			end = len(trimmed)
		}
		words = append(words, word{trimmed[:end], Pos{file, v.Line, col}})
		col += utf8.RuneCountInString(trimmed[:end])
		rest = trimmed[end:]
	}
	return words
}

// words reads a single value of several words.
func (y *yamlReader) words(file string, n *node, key, val *yaml.Node, path string) bool {
	w, ok := y.scalar(file, key, val, path)
	if !ok {
		return false
	}
	n.raw = w.text
	switch {
	case strings.ContainsAny(w.text, `"'`):
		y.add(w.pos, Error, path, &fault{"there is a quote within the value", "quotes go around the whole value"})
	case strings.TrimSpace(w.text) == "":
		y.add(w.pos, Error, path, faultf("the value is empty"))
	default:
		n.args = splitWords(file, val, w.text)
		return true
	}
	return false
}

// command reads a command: a command line, a list of the program and its
// arguments, or a map of one of these and the user.
func (y *yamlReader) command(file string, n *node, key, val *yaml.Node, kw *keyword, path string) bool {
	switch {
	case val.Kind == yaml.SequenceNode:
		return y.argv(file, n, val, path)
	case val.Kind == yaml.MappingNode && kw.user:
		return y.commandMap(file, n, val, path)
	case val.Kind == yaml.MappingNode:
		y.fail(file, val, path, faultf("%s takes a command line or a list of words, not a map", key.Value))
		return false
	}
	w, ok := y.scalar(file, key, val, path)
	if ok && strings.TrimSpace(w.text) == "" {
		y.add(w.pos, Error, path, faultf("the command is empty"))
		ok = false
	}
	n.raw, n.args = val.Value, []word{w}
	return ok
}

// argv reads a program and its arguments, which are taken as they are.
func (y *yamlReader) argv(file string, n *node, list *yaml.Node, path string) bool {
	n.verbatim = true
	ok := true
	for _, v := range list.Content {
		switch {
		case !y.plain(file, v, path):
			ok = false
		case v.Kind != yaml.ScalarNode:
			y.fail(file, v, path, faultf("an argument is %s", kindOf(v)))
			ok = false
		case isNull(v):
			y.fail(file, v, path, &fault{"an argument is missing", "quotes, if it is meant to be empty"})
			ok = false
		default:
			n.args = append(n.args, word{v.Value, posOf(file, v)})
		}
	}
	n.raw = strings.Join(texts(n.args), " ")
	if len(list.Content) == 0 {
		y.fail(file, list, path, faultf("the command is empty"))
		return false
	}
	return ok
}

// commandMap reads the map of a command and its user.
func (y *yamlReader) commandMap(file string, n *node, m *yaml.Node, path string) bool {
	ok, given := true, false
	y.pairs(file, m, path, func(key, val *yaml.Node) {
		path := join(path, key.Value)
		switch key.Value {
		case "script":
			given = true
			ok = y.plain(file, val, path) && y.command(file, n, key, val, &keyword{}, path) && ok
		case "user":
			u := n.add(newNode(file, key))
			ok = y.plain(file, val, path) && y.words(file, u, key, val, path) && ok
		default:
			f := faultf("unknown keyword %s", quote(key.Value))
			if near := nearest(key.Value, []string{"script", "user"}); near != "" {
				f.hint = "did you mean " + near + "?"
				given = given || near == "script"
			} else {
				f.hint = "known are script and user"
			}
			y.fail(file, key, path, f)
			ok = false
		}
	})
	if !given {
		y.fail(file, m, path, faultf("script is missing"))
		ok = false
	}
	return ok
}

// textList reads a list of texts; a list of one may do without the list.
func (y *yamlReader) textList(file string, n *node, val *yaml.Node, kw *keyword) {
	if isNull(val) {
		return
	}
	items := []*yaml.Node{val}
	if val.Kind == yaml.SequenceNode {
		items = val.Content
	}
	for _, v := range items {
		path := n.path() + "[" + strconv.Itoa(len(n.children)) + "]"
		if !y.plain(file, v, path) {
			n.bad = true
			continue
		}
		if v.Kind == yaml.MappingNode && kw.pairs {
			y.pairs(file, v, path, func(key, val *yaml.Node) {
				if w, ok := y.scalar(file, key, val, path); ok {
					n.text(word{key.Value + ": " + w.text, posOf(file, key)})
				} else {
					n.bad = true
				}
			})
			continue
		}
		if v.Kind != yaml.ScalarNode {
			y.fail(file, v, path, faultf("an item of %s is %s", kw.name, kindOf(v)))
			n.bad = true
			continue
		}
		if text := strings.TrimSuffix(v.Value, "\n"); !strings.ContainsAny(text, "\r\n\x00") {
			n.text(word{text, posOf(file, v)})
			continue
		}
		y.fail(file, v, path, &fault{"the value is more than one line", "use a list"})
		n.bad = true
	}
}

// text appends an item to a list of texts.
func (n *node) text(w word) {
	n.add(&node{key: w.text, pos: w.pos, raw: w.text, item: len(n.children)})
}

// lineOfMap turns a map of the parts of a line into its words.
func (y *yamlReader) lineOfMap(file string, n *node, m *yaml.Node, g *grammar) bool {
	ok, head := true, false
	path := n.path()
	y.pairs(file, m, path, func(key, val *yaml.Node) {
		p := g.find(key.Value)
		if p == nil && key.Value != g.head {
			f := faultf("unknown keyword %s", quote(key.Value))
			near := nearest(key.Value, append(g.names(), g.head))
			if near != "" {
				f.hint = "did you mean " + near + "?"
			}
			head = head || near == g.head
			y.fail(file, key, path, f)
			ok = false
			return
		}
		if !y.plain(file, val, path) {
			ok = false
			return
		}
		w, valOK := y.scalar(file, key, val, path)
		if !valOK {
			ok = false
			head = head || p == nil
			return
		}
		name := word{key.Value, posOf(file, key)}
		switch {
		case p == nil:
			n.key, n.pos, head = w.text, w.pos, true
		case !p.flag:
			n.args = append(n.args, name, w)
		default:
			on, f := parseBool(w.text)
			if f != nil {
				y.add(w.pos, Error, path, f)
				ok = false
			} else if on {
				n.args = append(n.args, name)
			}
		}
	})
	if !head {
		y.fail(file, m, path, faultf("%s is missing", g.head))
		ok = false
	}
	n.raw = n.key
	for _, w := range n.args {
		n.raw += " " + w.text
	}
	return ok
}

// includes reads the files that an include names.
func (y *yamlReader) includes(file string, key, val *yaml.Node) {
	path := key.Value
	if !y.including {
		y.fail(file, key, path, faultf("a configuration that is not read from a file cannot include others"))
		return
	}
	if isNull(val) {
		return
	}
	items := []*yaml.Node{val}
	if val.Kind == yaml.SequenceNode {
		items = val.Content
	}
	for _, v := range items {
		if !y.plain(file, v, path) {
			continue
		}
		w, ok := y.scalar(file, key, v, path)
		if !ok {
			continue
		}
		if w.text == "" {
			y.add(w.pos, Error, path, faultf("the file name is empty"))
			continue
		}
		name := w.text
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		if !strings.ContainsAny(w.text, "*?[") {
			y.include(name, w.pos, path)
			continue
		}
		matches, err := filepath.Glob(name)
		switch {
		case err != nil:
			y.add(w.pos, Error, path, faultf("%s is not a pattern: %s", quote(w.text), err))
		case len(matches) == 0:
			y.add(w.pos, Warning, path, faultf("no file matches %s", w.text))
		}
		for _, m := range matches { // sorted by Glob
			y.include(m, w.pos, path)
		}
	}
}

// include reads one included file.
func (y *yamlReader) include(name string, pos Pos, path string) {
	data, err := readFile(name)
	if err != nil {
		f := unreadable(err)
		f.message = strings.Replace(f.message, "the file", name, 1)
		y.add(pos, Error, path, f)
		return
	}
	abs := absolute(name)
	if slices.Contains(y.active, abs) {
		y.add(pos, Error, path, faultf("%s includes itself: it is being read already", name))
		return
	}
	if at, ok := y.read[abs]; ok {
		y.add(pos, Error, path, faultf("%s is already included at %s", name, at))
		return
	}
	y.read[abs] = pos
	y.files = append(y.files, name)
	y.document(name, data)
}
