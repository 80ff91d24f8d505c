package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Conversion is a configuration in the other language.
type Conversion struct {
	From, To Format
	Text     []byte
	// Difference is what the two give different Configs in, if that has not
	// been named by a diagnostic; empty: nothing.
	Difference string
	// Lost says that something could not be expressed: diagnostics name it.
	Lost bool
}

// A source is a configuration that has been read, with all that is known of how
// it was written.
type source struct {
	format Format
	head   []string // the comment at the beginning of the file
	dec    *decoder
	root   *node
	cfg    *Config // nil if there are errors
}

// readSource reads a configuration from a file.
func readSource(path string, o Options) (*source, *report) {
	r := &report{files: []string{path}}
	data, err := readFile(path)
	if err != nil {
		r.add(Pos{File: path}, Error, "", unreadable(err))
		return nil, r
	}
	return decodeSource(path, data, o, true, r), r
}

// decodeSource reads a configuration that is in memory.
func decodeSource(path string, data []byte, o Options, including bool, r *report) *source {
	s := newSchema()
	src := &source{format: FormatOf(path, data[:min(len(data), 64<<10)])}
	dia := yamlDialect()
	var root *node
	if src.format == YAML {
		y := &yamlReader{report: r, schema: s, root: &node{item: -1}, read: make(map[string]Pos), including: including}
		y.document(path, data)
		root = y.root
		src.head = yamlHead(data)
	} else {
		if o.ConfigID == "" {
			o.ConfigID = hostID()
		}
		root = readConf(r, s, o.ConfigID, func(c *confReader) {
			c.including = including
			c.push(path, bytes.NewReader(data), nil)
		})
		dia = confDialect()
		dia.refuse = o.RefuseInvalid
	}
	src.root, src.dec = root, newDecoder(s, dia, r)
	src.cfg = src.dec.run(root)
	return src
}

// yamlHead returns the comment at the beginning of a file that belongs to no
// statement.
func yamlHead(data []byte) []string {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return nil // that has been reported
	}
	var out []string
	for _, c := range []string{doc.HeadComment, doc.Content[0].HeadComment} {
		if c != "" {
			out = append(out, strings.Split(c, "\n")...)
		}
	}
	return out
}

// Convert reads a configuration and writes it in the other language: what it
// includes and defines is expanded, and each default that is another one there
// is written out. The Conversion is nil if the configuration cannot run.
func Convert(path string, o Options) (*Conversion, Diagnostics) {
	src, r := readSource(path, o)
	if src == nil || src.cfg == nil {
		return nil, r.sorted()
	}
	return src.convert(r), r.sorted()
}

// convertText is Convert for a configuration that is in memory.
func convertText(name string, data []byte, o Options) (*Conversion, Diagnostics) {
	r := &report{files: []string{name}}
	src := decodeSource(name, data, o, false, r)
	if src.cfg == nil {
		return nil, r.sorted()
	}
	return src.convert(r), r.sorted()
}

// maxAttempts bounds how often a statement is taken out that the other language
// turns out not to have.
const maxAttempts = 50

// convert writes the configuration in the other language.
func (src *source) convert(r *report) *Conversion {
	b := &builder{decoder: src.dec, root: src.root, cfg: src.cfg, to: YAML, instances: make(map[string]*Instance)}
	if src.format == YAML {
		b.to = Keepalived
	}
	for i := range src.cfg.Instances {
		b.instances[src.cfg.Instances[i].Name] = &src.cfg.Instances[i]
	}
	top := b.top()
	out := &Conversion{From: src.format, To: b.to}
	for range maxAttempts {
		var p *printer
		var got *Config
		var diags Diagnostics
		if b.to == YAML {
			p = printYAML(src.head, top)
			got, diags = Parse("converted.yaml", []byte(p.b.String()))
		} else {
			p = printConf(src.head, top)
			got, diags = ParseWith("converted.conf", []byte(p.b.String()), Options{ConfigID: "-"})
		}
		out.Text = []byte(p.b.String())
		if !b.takeOut(p, diags) {
			out.Difference = Difference(src.cfg, got)
			break
		}
	}
	out.Lost = b.losses > 0
	if out.Lost {
		out.Difference = ""
	}
	return out
}

// takeOut makes comments of the statements that the other language does not
// take, and reports them; false if there is none.
func (b *builder) takeOut(p *printer, diags Diagnostics) bool {
	found := false
	for _, d := range diags {
		if d.Severity != Error {
			continue
		}
		s := p.marks[d.Line]
		if s == nil || s.off {
			continue
		}
		s.off, found = true, true
		message := d.Message
		if d.Hint != "" {
			message += "; " + d.Hint
		}
		b.lose(s, &fault{fmt.Sprintf("it cannot be written in %s: %s", b.to, message), ""})
	}
	return found
}

// A builder makes the statements of the other language.
type builder struct {
	*decoder
	root      *node
	cfg       *Config
	to        Format
	instances map[string]*Instance
	losses    int
	// hoisted are flags of all instances that keepalived cannot switch off in
	// one of them: those that want them say so themselves.
	hoisted map[string]bool
}

// lose reports a statement that the other language does not have.
func (b *builder) lose(s *statement, f *fault) {
	b.losses++
	pos := s.pos
	if pos.File == "" {
		pos = Pos{File: b.files[0]}
	}
	b.add(pos, Warning, s.path, f)
}

// rows are statements of a block, in the order of the table.
type rows struct {
	b    *builder
	seen map[string]*node
	path string
	list []*statement
}

// add appends a statement.
func (r *rows) add(s *statement) *statement {
	if n := r.seen[s.key]; n != nil {
		s.pos, s.path = n.pos, n.path()
	} else {
		s.path = join(r.path, s.key)
	}
	r.list = append(r.list, s)
	return s
}

// own appends a statement that only vipd has.
func (r *rows) own(s *statement) {
	if s == nil || r.b.to == YAML {
		return
	}
	s.off = true
	r.b.lose(s, faultf("keepalived does not have %s: it is left out", s.key))
}

// rowText appends a value.
func rowText[T any](r *rows, key string, o opt[T], text func(T) string) *statement {
	if !o.set {
		return nil
	}
	return r.value(key, text(o.v))
}

// value appends a value.
func (r *rows) value(key, text string) *statement {
	s := r.add(&statement{key: key, form: shapeValue, text: text})
	if !r.b.has(text) {
		s.off = true
		r.b.lose(s, faultf("%s cannot express %s: it is left out", r.b.to, quote(text)))
	}
	return s
}

// flag appends a flag. One that keepalived cannot switch off is left out if it
// is off, which it then is anyway.
func (r *rows) flag(key string, o opt[bool]) {
	if !o.set || r.b.to == Keepalived && !o.v && bareFlag(key) {
		return
	}
	r.add(&statement{key: key, form: shapeFlag, on: o.v})
}

// words appends a line of words.
func (r *rows) words(key string, words ...string) *statement {
	s := r.add(&statement{key: key, form: shapeWords, words: words})
	has := confHas
	if r.b.to == YAML {
		has = func(w string) bool { return w != "" && !strings.ContainsAny(w, confBlanks+`"'`) }
	}
	if slices.ContainsFunc(words, func(w string) bool { return !has(w) }) {
		s.off = true
		r.b.lose(s, faultf("%s cannot express it: it is left out", r.b.to))
	}
	return s
}

// command appends a command.
func (r *rows) command(key string, c *rawCommand) {
	if c == nil {
		return
	}
	s := r.add(&statement{key: key, form: shapeCommand, argv: c.argv})
	if c.user.set {
		s.users = userWords(c.user.v)
		if r.b.to == Keepalived {
			r.b.numeric(s)
		}
	}
	if r.b.to == Keepalived && key == "process" && slices.ContainsFunc(c.argv, func(w string) bool { return !confHas(w) }) {
		s.off = true
		r.b.lose(s, faultf("keepalived.conf cannot express it: it is left out"))
	}
}

// numeric says that keepalived knows users and groups by name only.
func (b *builder) numeric(s *statement) {
	for _, u := range s.users {
		if isDigits(strings.TrimPrefix(u, ":")) {
			b.differs(s, &fault{fmt.Sprintf("keepalived takes %s for a name, vipd for a number", u), "give the name of the user or group"})
		}
	}
}

// differs reports what keepalived makes something else of than vipd does.
func (b *builder) differs(s *statement, f *fault) { b.add(s.pos, Warning, s.path, f) }

// userWords are the words of USER [[:]GROUP].
func userWords(u rawUser) []string {
	words := []string{u.user}
	if u.group != "" {
		group := u.group
		if u.supplementary {
			group = ":" + group
		}
		words = append(words, group)
	}
	return words
}

// items appends a list.
func (r *rows) items(key string, form shape, g *grammar, items []*statement) *statement {
	if len(items) == 0 {
		return nil
	}
	s := r.add(&statement{key: key, form: form, line: g, body: items})
	for _, item := range items {
		if item.lost == "" && (item.text != "" && !r.b.has(item.text) || slices.ContainsFunc(item.words, func(w string) bool { return !r.b.has(w) })) {
			item.off = true
			r.b.lose(item, faultf("%s cannot express it: it is left out", r.b.to))
		}
	}
	return s
}

// itemOf returns an item of a list for the line n.
func itemOf(n *node, words ...string) *statement {
	return &statement{words: words, pos: n.pos, path: n.path(), comments: n.comments}
}

// lostItem returns a line that there is nothing to print of.
func lostItem(n *node) *statement {
	return &statement{lost: asWritten(n), pos: n.pos, path: n.path(), comments: n.comments}
}

// asWritten returns a statement as it was written, without its block.
func asWritten(n *node) string {
	text := n.key
	for _, w := range n.args {
		text += " " + w.text
	}
	return text
}

// otherName returns another keyword that a statement may have become, or "".
func otherName(key string) string {
	switch key {
	case "preempt":
		return "nopreempt"
	case "nopreempt":
		return "preempt"
	case "global_tracking":
		return "sync_group_tracking_weight"
	case "delay":
		return "fork_delay"
	}
	return ""
}

// arrange puts the rows of a block into the order of the statements that they
// come from, with their comments; the others follow. What has no row is noted
// in a comment.
func (b *builder) arrange(written []*node, blk *block, r *rows) []*statement {
	byKey := make(map[string]*statement, len(r.list))
	for _, s := range r.list {
		byKey[s.key] = s
	}
	placed := make(map[*statement]bool, len(r.list))
	out := make([]*statement, 0, len(r.list))
	var comments []string
	for _, n := range written {
		comments = append(comments, n.comments...)
		s := byKey[n.key]
		if s == nil {
			s = byKey[otherName(n.key)]
		}
		if s == nil {
			if b.silent(n, blk) {
				continue
			}
			s = &statement{lost: asWritten(n)}
		}
		if placed[s] {
			s.comments = append(s.comments, comments...)
		} else {
			s.comments = append(comments, s.comments...)
			placed[s] = true
			out = append(out, s)
		}
		comments = nil
	}
	if len(comments) > 0 {
		out = append(out, &statement{comments: comments})
	}
	for _, s := range r.list {
		if !placed[s] {
			out = append(out, s)
		}
	}
	return out
}

// silent reports whether a statement has no row because there is nothing to say.
func (b *builder) silent(n *node, blk *block) bool {
	kw := blk.find(n.key)
	switch {
	case kw == nil:
		return false
	case n.key == "include_check" || n.key == "random_seed":
		return true // the front-end has acted on it
	case b.to == Keepalived:
		return true
	}
	return (kw.shape == shapeLines || kw.shape == shapeTexts) && len(n.children) == 0 && len(n.args) == 0
}

// top makes all statements of the top level.
func (b *builder) top() []*statement {
	b.hoist()
	var out []*statement
	var globals []*node
	for _, n := range b.root.children {
		if n.key == "global_defs" {
			globals = append(globals, n)
		}
	}
	global := b.globalBlock(globals)
	done := false
	add := func(s *statement, n *node) {
		s.comments = append(slices.Clone(n.comments), s.comments...)
		if s.name != "" && !s.off && !b.has(s.name) {
			s.off = true
			b.lose(s, faultf("%s cannot express the name: it is left out", b.to))
		}
		out = append(out, s)
	}
	insts, groups, objects := byNode(b.insts, func(i *rawInstance) *node { return i.node }), byNode(b.groups, func(g *rawGroup) *node { return g.node }),
		byNode(b.objects, func(o *rawObject) *node { return o.node })
	for _, n := range b.root.children {
		switch {
		case n.key == "global_defs":
			if !done {
				done = true
				out = append(out, global)
			}
			global.comments = append(global.comments, n.comments...)
		case insts[n] != nil:
			if inst := b.instances[n.args[0].text]; inst != nil && insts[n].failed == nil {
				add(b.instance(insts[n], inst), n)
			} else {
				add(&statement{lost: asWritten(n) + ": " + visible(insts[n].failedBecause())}, n)
			}
		case groups[n] != nil:
			if s := b.group(groups[n]); s != nil {
				add(s, n)
			} else {
				add(&statement{lost: asWritten(n) + ": it has no member"}, n)
			}
		case objects[n] != nil && !objects[n].dropped:
			add(b.objectBlock(objects[n]), n)
		default:
			add(&statement{lost: asWritten(n)}, n)
		}
	}
	if !done {
		out = append([]*statement{global}, out...)
	}
	return out
}

// failedBecause says why an instance cannot run.
func (in *rawInstance) failedBecause() string {
	if in.failed == nil {
		return "it cannot run"
	}
	return in.failed.message
}

// byNode indexes what was decoded by the statement that it comes from.
func byNode[T any](list []*T, of func(*T) *node) map[*node]*T {
	m := make(map[*node]*T, len(list))
	for _, v := range list {
		m[of(v)] = v
	}
	return m
}
