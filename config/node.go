package config

import (
	"slices"
	"strconv"
)

// A node is one statement of a configuration, whatever the syntax it was
// written in: a keyword with its words, or a block with its statements. A line
// of a list (an address, a peer, a tracked interface) is a node whose key is
// its first word.
type node struct {
	key      string
	args     []word
	children []*node
	pos      Pos // of the key
	comments []string
	raw      string // the value or the line as written, quotes removed

	parent *node
	named  bool // a block with a name, which is its only word
	item   int  // place in the parent's list, or -1 for a keyword
	// verbatim says that the words of a command are its arguments as they are.
	// Otherwise the first word is a command line, to be split.
	verbatim bool
	bad      bool // something about it has been reported: say nothing that follows from that
}

// A word is an argument of a statement.
type word struct {
	text string
	pos  Pos
}

// add appends a child.
func (n *node) add(c *node) *node {
	c.parent = n
	n.children = append(n.children, c)
	return c
}

// path returns the keywords and names that lead to the node, joined by dots.
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	p := n.parent.path()
	if n.item >= 0 {
		return p + "[" + strconv.Itoa(n.item) + "]"
	}
	if p != "" {
		p += "."
	}
	p += n.key
	if n.named {
		p += "." + n.args[0].text
	}
	return p
}

// valuePos returns the position of the first word, or of the key.
func (n *node) valuePos() Pos {
	if len(n.args) > 0 {
		return n.args[0].pos
	}
	return n.pos
}

// items returns the words of a list, whether they follow the keyword or stand
// on lines of their own.
func (n *node) items() []word {
	out := slices.Clone(n.args)
	for _, c := range n.children {
		if !c.bad {
			out = append(out, word{c.key, c.pos})
			out = append(out, c.args...)
		}
	}
	return out
}
