package config

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// A rawUser is who a program runs as.
type rawUser struct {
	user, group   string
	supplementary bool
}

// A rawCommand is a command as given.
type rawCommand struct {
	node  *node
	argv  []string
	plain []string     // argv without what was quoted; nil: it was not a command line
	user  opt[rawUser] // of its own
	pos   Pos
}

// command decodes a command with who runs it: keepalived's `notify_master
// "program args" user group`, or the map of them in YAML.
func (d *decoder) command(n *node) *rawCommand {
	c := &rawCommand{node: n, pos: n.valuePos()}
	users := []word(nil)
	switch {
	case n.verbatim:
		c.argv = texts(n.args)
	case len(n.args) > 0:
		if !d.split(n, c) {
			return nil
		}
		if users = n.args[1:]; len(users) > 2 {
			d.complain(n, &fault{"after the command there is more than a user and a group", "quotes go around the whole command"})
			return nil
		}
	}
	for _, child := range n.children {
		if child.key == "user" {
			users = child.args
		}
	}
	if f := checkArgv(c.argv); f != nil {
		d.complain(n, f)
		return nil
	}
	if len(users) > 0 && !d.user(n, users, &c.user) {
		return nil
	}
	return c
}

// program decodes a command whose words are all its own (keepalived: script,
// process).
func (d *decoder) program(n *node) *rawCommand {
	c := &rawCommand{node: n, pos: n.valuePos()}
	if !n.verbatim && len(n.args) > 0 {
		if !d.split(n, c) {
			return nil
		}
		for _, w := range n.args[1:] {
			c.argv, c.plain = append(c.argv, w.text), append(c.plain, w.text)
		}
	} else {
		c.argv = texts(n.args)
	}
	if f := checkArgv(c.argv); f != nil {
		d.complain(n, f)
		return nil
	}
	return c
}

// split splits the command line that is the first word of n.
func (d *decoder) split(n *node, c *rawCommand) bool {
	var f *fault
	if c.argv, c.plain, f = splitCommand(n.args[0].text); f != nil {
		d.complain(n, f)
		return false
	}
	return true
}

// checkArgv refuses what cannot be run whatever there is on the host.
func checkArgv(argv []string) *fault {
	if len(argv) == 0 {
		return faultf("the command is empty")
	}
	if argv[0] == "" {
		return faultf("the name of the program is empty")
	}
	for _, a := range argv {
		if strings.ContainsRune(a, 0) {
			return faultf("the command contains a character that no argument can have (NUL)")
		}
	}
	return nil
}

// texts returns the texts of words.
func texts(words []word) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.text
	}
	return out
}

// user decodes USER [[:]GROUP].
func (d *decoder) user(n *node, words []word, to *opt[rawUser]) bool {
	u, pos, f := parseUser(words)
	if f != nil {
		n.bad = true
		d.complainAt(pos, n, f)
		return false
	}
	*to = opt[rawUser]{v: u, pos: words[0].pos, set: true}
	return true
}

// parseUser reads USER [[:]GROUP]; pos is the position of what is wrong.
func parseUser(words []word) (u rawUser, pos Pos, f *fault) {
	if len(words) == 0 {
		return u, pos, faultf("the user is missing")
	}
	pos = words[0].pos
	if len(words) > 2 {
		return u, words[2].pos, faultf("there is more than a user and a group")
	}
	u.user = words[0].text
	if name, group, colon := strings.Cut(u.user, ":"); colon && name != "" && group != "" {
		return u, pos, &fault{quote(u.user) + " is not a name of a user", "write " + name + " " + group + ", or " + name + " :" + group + " for the other groups of the user, too"}
	}
	if !isAccountName(u.user) {
		return u, pos, faultf("%s is not a name of a user", quote(u.user))
	}
	if len(words) == 2 {
		u.group, u.supplementary = strings.CutPrefix(words[1].text, ":")
		if !isAccountName(u.group) {
			return u, words[1].pos, faultf("%s is not a name of a group", quote(words[1].text))
		}
	}
	return u, pos, nil
}

// accountName is what useradd takes for a name, and more: names of directory
// services may have a domain.
var accountName = regexp.MustCompile(`^[\pL\pN_][\pL\pN_.@\\-]*\$?$`)

// isAccountName reports whether s can be the name or number of a user or group.
func isAccountName(s string) bool { return accountName.MatchString(s) }

// splitCommand splits a command line into words at blanks, as keepalived does
// (alloc_strvec_quoted_escaped): quotes of both kinds may begin within a word,
// and a backslash takes the special meaning from the next character or gives it
// one, in quotes and outside. plain are the words without what was quoted.
func splitCommand(s string) (words, plain []string, f *fault) {
	var w, p strings.Builder
	inWord, quoted := false, byte(0)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\':
			text, n, f := unescape(s[i:])
			if f != nil {
				return nil, nil, f
			}
			w.WriteString(text)
			inWord = true
			i += n
			continue
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted != 0:
			w.WriteByte(c)
		case c == '"' || c == '\'':
			quoted, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if inWord {
				words, plain = append(words, w.String()), append(plain, p.String())
				w.Reset()
				p.Reset()
				inWord = false
			}
		default:
			w.WriteByte(c)
			p.WriteByte(c)
			inWord = true
		}
		i++
	}
	if quoted != 0 {
		return nil, nil, faultf("a quote (%c) in the command is not closed", quoted)
	}
	if inWord {
		words, plain = append(words, w.String()), append(plain, p.String())
	}
	return words, plain, nil
}

// unescape reads the escape that s begins with, and returns its meaning and
// length.
func unescape(s string) (text string, n int, f *fault) {
	if len(s) < 2 {
		return "", 0, faultf("the command ends with a backslash")
	}
	number := func(digits string, base, from, most int) (string, int) {
		v, n := 0, from
		for n < len(s) && n < from+most {
			d := strings.IndexByte(digits, s[n]|0x20)
			if s[n] >= '0' && s[n] <= '9' {
				d = strings.IndexByte(digits, s[n])
			}
			if d < 0 {
				break
			}
			v = v*base + d
			n++
		}
		return string([]byte{byte(v)}), n
	}
	switch c := s[1]; {
	case c >= '0' && c <= '7':
		text, n = number("01234567", 8, 1, 3)
		return text, n, nil
	case c == 'x':
		if text, n = number("0123456789abcdef", 16, 2, 2); n > 2 {
			return text, n, nil
		}
		return "x", 2, nil
	case c == 'c' && len(s) > 2:
		return string([]byte{s[2] & 0x1f}), 3, nil
	}
	if i := strings.IndexByte("abEfnrtv", s[1]); i >= 0 {
		return "\a\b\x1b\f\n\r\t\v"[i : i+1], 2, nil
	}
	_, size := utf8.DecodeRuneInString(s[1:])
	return s[1 : 1+size], 1 + size, nil
}

// shellWord returns the word of a command line by which one sees that it was
// written for a shell, or "".
func shellWord(plain []string) string {
	for i, w := range plain {
		switch w {
		case "|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>>", "&>", "|&":
			return w
		}
		switch {
		case strings.Contains(w, "$("), strings.Contains(w, "`"), strings.Contains(w, "${"):
			return w
		case strings.HasPrefix(w, ">"), strings.HasPrefix(w, "<"), strings.HasPrefix(w, "2>"), strings.HasPrefix(w, "&>"), strings.HasPrefix(w, "1>"):
			return w
		case i < len(plain)-1 && strings.HasSuffix(w, ";"):
			return w
		}
	}
	if len(plain) == 0 {
		return ""
	}
	switch first := plain[0]; first {
	case "cd", "source", ".", "export", "set", "unset", "exec", "eval", "if", "for", "while", "until", "case", "[[", "!", "{", "(", "ulimit", "trap", "let", "exit", "return":
		return first
	default:
		if name, _, assigned := strings.Cut(first, "="); assigned && !strings.ContainsAny(name, "/.") && name != "" || strings.HasPrefix(first, "~/") {
			return first
		}
	}
	return ""
}
