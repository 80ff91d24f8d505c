package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printYAML writes statements as YAML.
func printYAML(head []string, top []*statement) *printer {
	p := newPrinter("  ")
	for _, c := range head {
		p.put(0, commentLine(c), nil)
	}
	if len(head) > 0 {
		p.put(0, "", nil)
	}
	for i, g := range group(top) {
		if i > 0 {
			p.put(0, "", nil)
		}
		if g[0].form != shapeNamed || g[0].key == "" {
			for _, s := range g {
				p.yaml(0, s)
			}
			continue
		}
		if g[0].off {
			p.muted++
		}
		p.put(0, g[0].key+":", nil)
		for k, s := range g {
			if k > 0 {
				p.put(0, "", nil)
			}
			p.yamlNamed(1, s)
		}
		if g[0].off {
			p.muted--
		}
	}
	return p
}

// yamlNamed writes a named block below its keyword.
func (p *printer) yamlNamed(depth int, s *statement) {
	p.begin(depth, s)
	p.yamlBody(depth, yamlScalar(s.name, false), s)
	p.end(s)
}

// yamlBody writes a block after its keyword or name.
func (p *printer) yamlBody(depth int, key string, s *statement) {
	empty := true
	for _, c := range s.body {
		empty = empty && (c.off || c.key == "")
	}
	if empty {
		p.put(depth, key+": {}", s)
	} else {
		p.put(depth, key+":", s)
	}
	for _, c := range s.body {
		p.yaml(depth+1, c)
	}
}

// yaml writes a statement.
func (p *printer) yaml(depth int, s *statement) {
	p.begin(depth, s)
	defer p.end(s)
	if s.key == "" {
		return // nothing but a comment
	}
	key := yamlScalar(s.key, false)
	switch s.form {
	case shapeValue:
		p.put(depth, key+": "+yamlScalar(s.text, false), s)
	case shapeFlag:
		p.put(depth, fmt.Sprintf("%s: %t", key, s.on), s)
	case shapeWords:
		p.put(depth, key+": "+yamlScalar(strings.Join(s.words, " "), false), s)
	case shapeCommand:
		if len(s.users) == 0 {
			p.put(depth, key+": "+yamlCommand(s.argv), s)
			return
		}
		p.put(depth, key+":", s)
		p.put(depth+1, "script: "+yamlCommand(s.argv), s)
		p.put(depth+1, "user: "+yamlScalar(strings.Join(s.users, " "), false), s)
	case shapeBlock:
		p.yamlBody(depth, key, s)
	case shapeLines, shapeTexts:
		p.yamlList(depth, key, s)
	}
}

// yamlList writes a list.
func (p *printer) yamlList(depth int, key string, s *statement) {
	empty := true
	for _, item := range s.body {
		empty = empty && (item.off || item.lost != "")
	}
	if empty {
		key += ": []"
	} else {
		key += ":"
	}
	p.put(depth, key, s)
	for _, item := range s.body {
		p.begin(depth+1, item)
		if item.lost == "" {
			p.yamlItem(depth+1, s, item)
		}
		p.end(item)
	}
}

// yamlItem writes an item of a list: a line, or if that has blanks in its words
// a map of its parts.
func (p *printer) yamlItem(depth int, list, item *statement) {
	if list.form == shapeTexts {
		p.put(depth, "- "+yamlScalar(item.text, false), item)
		return
	}
	simple := true
	for _, w := range item.words {
		simple = simple && w != "" && !strings.ContainsAny(w, confBlanks+`"'`)
	}
	if simple {
		p.put(depth, "- "+yamlScalar(strings.Join(item.words, " "), false), item)
		return
	}
	parts := []string{list.line.head + ": " + yamlScalar(item.words[0], true)}
	for i := 1; i < len(item.words); i++ {
		name := item.words[i]
		if part := list.line.find(name); part != nil && part.flag || i+1 == len(item.words) {
			parts = append(parts, name+": true")
			continue
		}
		i++
		parts = append(parts, name+": "+yamlScalar(item.words[i], true))
	}
	p.put(depth, "- {"+strings.Join(parts, ", ")+"}", item)
}

// yamlCommand writes a command as a command line, or if that needs escapes as a
// list of words. Octets that are no text need them.
func yamlCommand(argv []string) string {
	line, plain := joinCommand(argv)
	if plain || slices.ContainsFunc(argv, func(a string) bool { return !utf8.ValidString(a) }) {
		return yamlScalar(line, false)
	}
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = yamlScalar(a, true)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// plainScalar is what YAML reads as it stands. A colon or a number sign means
// something only next to a blank.
var plainScalar = regexp.MustCompile(`^(?:[A-Za-z0-9/_.<+]|[-:][A-Za-z0-9])[A-Za-z0-9/_.,@%+=<>()$*!&|;~'":# -]*$`)

// yamlScalar writes a text so that YAML reads nothing else.
func yamlScalar(s string, flow bool) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if plainScalar.MatchString(s) && !strings.Contains(s, ": ") && !strings.Contains(s, " #") && !strings.HasSuffix(s, ":") &&
		!strings.HasSuffix(s, " ") && s != "<<" && s != "..." && !(flow && strings.ContainsAny(s, ",:#")) {
		return s
	}
	for _, r := range s {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && r != ' ' {
			return yamlDoubleQuoted(s)
		}
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// yamlDoubleQuoted writes a text in double quotes, with escapes.
func yamlDoubleQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r) || r == utf8.RuneError:
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
