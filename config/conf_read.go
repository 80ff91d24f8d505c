package config

import (
	"fmt"
	"strings"
)

// read reads the statements of all sources into the tree.
func (c *confReader) readAll() {
	c.block(c.root, c.schema.root)
	c.closeAll()
}

// block reads the statements of a block up to the brace that closes it, which
// the top level does not have.
func (c *confReader) block(parent *node, b *block) {
	for {
		t, ok := c.next()
		if !ok {
			c.unclosed(parent)
			c.leftover(parent)
			return
		}
		switch t.s {
		case "{":
			c.complain(t.at(0), faultf("a block begins here without a keyword: it is skipped"))
			c.skip(t.at(0))
			continue
		case "}":
			if parent != c.root {
				c.leftover(parent)
				return
			}
			c.complain(t.at(0), &fault{"there is no block to close here", "is there a brace too many before?"})
			continue
		}
		c.statement(parent, b, t)
	}
}

// unclosed reports a block that the end of the file ends.
func (c *confReader) unclosed(n *node) {
	if n != c.root && !c.stopped {
		c.add(n.pos, Warning, n.path(), &fault{"the block that begins here is not closed", "is there a brace missing?"})
	}
}

// leftover keeps comments that no statement follows.
func (c *confReader) leftover(parent *node) {
	to := parent
	if n := len(parent.children); n > 0 {
		to = parent.children[n-1]
	}
	to.comments = append(to.comments, c.comments...)
	c.comments = nil
}

// node returns a node for a line; the comments before and behind it are its.
func (c *confReader) node(key word, args []word, raw string) *node {
	n := &node{key: key.text, pos: key.pos, args: args, raw: raw, item: -1, comments: c.comments}
	c.comments = nil
	if c.trailing != "" {
		n.comments = append(n.comments, c.trailing)
		c.trailing = ""
	}
	c.tree += 256 + len(raw) + 64*len(args)
	for _, s := range n.comments {
		c.tree += 16 + len(s)
	}
	if c.tree > maxConfTree {
		c.limit("it has more statements than vipd can run")
	}
	return n
}

// opens reports whether the next line opens a block, which it then takes.
func (c *confReader) opens() bool {
	t, ok := c.next()
	if ok && t.s != "{" {
		c.peeked, c.backlog, c.trailing = &t, c.trailing, ""
	}
	return ok && t.s == "{"
}

// skip reads up to the end of a block that began at pos.
func (c *confReader) skip(pos Pos) {
	for depth := 1; depth > 0; {
		t, ok := c.next()
		switch {
		case !ok:
			if !c.stopped {
				c.complain(pos, &fault{"the block that begins here is not closed", "is there a brace missing?"})
			}
			return
		case t.s == "{":
			depth++
		case t.s == "}":
			depth--
		}
	}
	c.comments = nil
}

// statement reads a statement that begins with the line t.
func (c *confReader) statement(parent *node, b *block, t confText) {
	words, unclosed := t.words()
	if len(words) == 0 {
		c.complain(t.at(0), &fault{"a double quote is not closed", "quotes end on the line on which they begin"})
		return
	}
	key := words[0]
	kw := b.find(key.text)
	if _, isInclude := includeKinds(key.text); isInclude {
		c.complain(key.pos, faultf("%s needs a file name", key.text))
		return
	}
	args := words[1:]
	n := c.node(key, args, strings.Join(texts(args), " "))
	parent.add(n)
	if kw != nil && kw.shape == shapeCommand && kw.support == supported {
		c.command(n, kw, t)
	} else if unclosed >= 0 {
		c.add(t.at(unclosed), Warning, n.path(), &fault{"a double quote is not closed", "quotes end on the line on which they begin"})
		n.bad = true
	}
	if b == c.schema.global {
		c.preprocessor(n)
	}
	if kw == nil || kw.support != supported {
		if c.opens() {
			c.skip(n.pos)
		}
		return
	}
	if kw.shape <= shapeFlag && len(args) > 1 {
		c.add(args[1].pos, Warning, n.path(), &fault{fmt.Sprintf("%s takes one value: %s is ignored", key.text, quote(strings.Join(texts(args[1:]), " "))), "one statement a line"})
		n.args = args[:1]
	}
	switch kw.shape {
	case shapeBlock, shapeNamed:
		if kw.shape == shapeNamed && len(args) > 0 {
			n.named = true
			args = args[1:]
		}
		if len(args) > 0 {
			c.add(args[0].pos, Warning, n.path(), faultf("%s is ignored", quote(strings.Join(texts(args), " "))))
		}
		if !c.opens() {
			c.add(n.pos, Warning, n.path(), faultf("the brace that opens the block is missing"))
		}
		c.block(n, kw.block)
	case shapeLines, shapeTexts:
		c.lines(n)
	default:
		if c.opens() {
			if !n.bad && (len(n.args) > 0 || kw.shape == shapeFlag) { // else the decoder says that the value is missing
				c.add(n.pos, Warning, n.path(), faultf("%s is not a block: it is skipped up to the closing brace", key.text))
			}
			c.skip(n.pos)
		}
	}
}

// lines reads a list of lines in a block.
func (c *confReader) lines(n *node) {
	args := n.args
	n.args = nil
	if !c.opens() {
		c.add(n.pos, Warning, n.path(), &fault{n.key + " is a block: the brace that opens it is missing", "write " + n.key + " { … }"})
		if len(args) > 0 {
			c.item(n, args, n.raw)
		}
		n.raw = ""
		return
	}
	if len(args) > 0 {
		c.add(args[0].pos, Warning, n.path(), faultf("%s is ignored", quote(n.raw)))
		n.raw = ""
	}
	for {
		t, ok := c.next()
		if !ok {
			c.unclosed(n)
			break
		}
		if t.s == "}" {
			break
		}
		if t.s == "{" {
			c.complain(t.at(0), faultf("a block begins here without a keyword: it is skipped"))
			c.skip(t.at(0))
			continue
		}
		words, unclosed := t.words()
		if unclosed >= 0 {
			c.add(t.at(unclosed), Warning, n.path(), &fault{"a double quote is not closed", "quotes end on the line on which they begin"})
		}
		if len(words) > 0 {
			c.item(n, words, t.s)
		}
	}
	c.leftover(n)
}

// item adds a line to a list.
func (c *confReader) item(list *node, words []word, raw string) {
	n := c.node(words[0], words[1:], raw)
	n.item = len(list.children)
	list.add(n)
}

// command splits the line of a command again, by the rules for commands. The
// first word after the keyword is the command line.
func (c *confReader) command(n *node, kw *keyword, t confText) {
	rest := t.from(len(n.key)).trimLeft()
	n.raw = rest.s
	if kw.name == "process" { // which keepalived splits like other lines
		n.verbatim = true
		return
	}
	words, f := rest.quotedWords()
	if f != nil {
		c.add(rest.at(0), Warning, n.path(), f)
		n.bad = true
		return
	}
	n.args = words
	if kw.name == "script" && len(words) > 1 {
		c.add(words[1].pos, Warning, n.path(), &fault{fmt.Sprintf("%s runs without what follows, as in keepalived", quote(words[0].text)), "quotes go around the whole command"})
		n.args = words[:1]
	}
}

// preprocessor acts on keywords of global_defs that concern the reader itself.
func (c *confReader) preprocessor(n *node) {
	switch n.key {
	case "include_check":
		c.setIncludeCheck(n)
	case "random_seed":
		if len(n.args) == 0 {
			return
		}
		if v, f := parseInt(n.args[0].text, 0, 1<<32-1); f == nil {
			c.seed, c.seedSet = uint32(v), true
		}
	}
}

// readConf reads a configuration. start makes the main file the first source.
// random_seed counts for all of it, so all of it is read again if there is one.
// That is what keepalived's manual says; keepalived itself forgets the seed.
func readConf(r *report, s *schema, id string, start func(*confReader)) *node {
	files := len(r.files)
	c := newConfReader(r, s, id)
	start(c)
	c.readAll()
	if c.seedSet && c.randomUsed {
		again := newConfReader(&report{files: r.files[:files:files]}, s, id)
		again.seed = c.seed
		start(again)
		again.readAll()
		*r, c = *again.report, again
	}
	return c.root
}
