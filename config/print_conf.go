package config

import (
	"regexp"
	"slices"
	"strings"
)

// printConf writes statements as keepalived.conf.
func printConf(head []string, top []*statement) *printer {
	p := newPrinter("    ")
	for _, c := range head {
		p.put(0, commentLine(c), nil)
	}
	// What is tracked has to be defined before it is.
	rank := func(s *statement) int {
		switch s.key {
		case "global_defs":
			return 0
		case "vrrp_script", "vrrp_track_process", "vrrp_track_file", "vrrp_check":
			return 1
		}
		return 2
	}
	top = slices.Clone(top)
	slices.SortStableFunc(top, func(a, b *statement) int { return rank(a) - rank(b) })
	for i, s := range top {
		if i > 0 || len(head) > 0 {
			p.put(0, "", nil)
		}
		p.conf(0, s)
	}
	return p
}

// conf writes a statement.
func (p *printer) conf(depth int, s *statement) {
	p.begin(depth, s)
	defer p.end(s)
	if s.key == "" {
		return // nothing but a comment
	}
	switch s.form {
	case shapeValue:
		p.put(depth, s.key+" "+confWord(s.text), s)
	case shapeFlag:
		switch {
		case !s.on:
			p.put(depth, s.key+" false", s)
		case bareFlag(s.key):
			p.put(depth, s.key, s)
		default:
			p.put(depth, s.key+" true", s)
		}
	case shapeWords:
		p.put(depth, strings.TrimRight(s.key+" "+confWords(s.words), " "), s)
	case shapeCommand:
		if s.key == "process" { // which is split like other lines
			p.put(depth, "process "+confWords(s.argv), s)
			return
		}
		text := s.key
		if len(s.argv) > 0 {
			line, _ := joinCommand(s.argv)
			text += ` "` + strings.ReplaceAll(line, `\`, `\\`) + `"`
		}
		if len(s.users) > 0 {
			text += " " + confWords(s.users)
		}
		p.put(depth, text, s)
	case shapeBlock, shapeNamed:
		open := s.key
		if s.form == shapeNamed {
			open += " " + confWord(s.name)
		}
		p.put(depth, open+" {", s)
		for _, c := range s.body {
			p.conf(depth+1, c)
		}
		p.put(depth, "}", nil)
	case shapeLines, shapeTexts:
		p.put(depth, s.key+" {", s)
		for _, item := range s.body {
			p.begin(depth+1, item)
			switch {
			case item.lost != "":
			case s.form == shapeTexts:
				p.put(depth+1, confWord(item.text), item)
			default:
				p.put(depth+1, confWords(item.words), item)
			}
			p.end(item)
		}
		p.put(depth, "}", nil)
	}
}

// bareFlag reports whether a flag is written without true.
func bareFlag(key string) bool {
	return isPureFlag(key) || key == "dynamic_interfaces" || key == "fifo_write_vrrp_states_on_reload"
}

// confSafe is a word that needs no quotes.
var confSafe = regexp.MustCompile(`^[A-Za-z0-9_./:%+=,*?|&;<>()^-][A-Za-z0-9_./:%+=,*?|&;<>()^@~-]*$`)

// confWord writes a word.
func confWord(s string) string {
	if confSafe.MatchString(s) {
		return s
	}
	return `"` + s + `"`
}

// confWords writes words on a line.
func confWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = confWord(w)
	}
	return strings.Join(out, " ")
}

// confHas reports whether a word can be written in keepalived.conf, which has no
// escape for a double quote or a line end.
func confHas(s string) bool {
	return !strings.ContainsAny(s, "\"\n\r\x00") && !strings.HasSuffix(s, `\`)
}
