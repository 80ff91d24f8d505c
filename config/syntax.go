package config

import (
	"bytes"
	"io"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// syntax reports a file that is not YAML.
func (y *yamlReader) syntax(name string, data []byte, err error) {
	message := withoutLine(err.Error())
	same := func(s string) bool { return s == err.Error() }
	if strings.Contains(message, "unexpected end of stream") {
		// The line is that of the end, wherever it is.
		same = func(s string) bool { return withoutLine(s) == message }
	}
	line, col := locate(data, same)
	f := faultf("not valid YAML: %s", message)
	text := lineAt(data, line)
	if strings.Contains(message, "did not find expected key") || strings.Contains(message, "'-' indicator") {
		// It is the place of the whole line that is wrong.
		col = 1 + len(text) - len(strings.TrimLeft(text, " "))
		f.hint = "look at the indentation"
	}
	switch {
	case looksLikeKeepalived(data):
		f.hint = "it looks like keepalived.conf, not YAML"
	case strings.HasPrefix(strings.TrimLeft(text, " "), "\t"):
		f.hint = "indent with blanks, not tabs"
	case strings.Contains(message, "cannot start any token"):
		f.hint = "a value that begins with such a character needs quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		f.hint = "a block begins on the line after its keyword, and a value with a colon and a blank needs quotes"
	case strings.Contains(message, "unknown anchor"):
		f.hint = "a value that begins with * needs quotes"
	case strings.Contains(message, "expected ',' or"):
		f.hint = "a bracket or brace is not closed"
	case strings.Contains(message, "expected ':'"):
		f.hint = "a keyword needs a colon and a blank after it"
	case strings.Contains(message, "unexpected end of stream"):
		f.hint = "a quote is not closed"
	}
	y.add(Pos{name, line, col}, Error, "", f)
}

// withoutLine returns the parser's message without the line that it names.
func withoutLine(message string) string {
	message = strings.TrimPrefix(message, "yaml: ")
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if n, rest, ok := strings.Cut(rest, ": "); ok && isDigits(n) {
			return rest
		}
	}
	return message
}

// yamlError returns the error that parsing gives, or "".
func yamlError(data []byte) string {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var v yaml.Node
		switch err := dec.Decode(&v); err {
		case nil:
		case io.EOF:
			return ""
		default:
			return err.Error()
		}
	}
}

// locate returns the position at which a syntax error shows; same recognises it. The parser names
// at best the line on which the enclosing block begins; but it reads from front
// to back, so the shortest beginning of the file that has the same error ends
// where the mistake is.
func locate(data []byte, same func(string) bool) (line, col int) {
	var starts []int // of lines, and the end
	for i := 0; i < len(data); {
		starts = append(starts, i)
		next := bytes.IndexByte(data[i:], '\n')
		if next < 0 {
			break
		}
		i += next + 1
	}
	starts = append(starts, len(data))
	lines := len(starts) - 1
	line = 1 + sort.Search(lines-1, func(i int) bool { return same(yamlError(data[:starts[i+1]])) })
	text := lineAt(data, line)
	var ends []int // of characters in the line
	for i := 0; i < len(text); {
		_, size := utf8.DecodeRuneInString(text[i:])
		i += size
		ends = append(ends, i)
	}
	if len(ends) == 0 {
		return line, 1
	}
	col = 1 + sort.Search(len(ends)-1, func(i int) bool { return same(yamlError(data[:starts[line-1]+ends[i]])) })
	indent := len(text) - len(strings.TrimLeft(text, " "))
	return line, max(col, min(indent+1, len(ends)))
}

// lineAt returns a line of the file without its end.
func lineAt(data []byte, line int) string {
	for ; line > 1; line-- {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return ""
		}
		data = data[i+1:]
	}
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[:i]
	}
	return strings.TrimSuffix(string(data), "\r")
}

// looksLikeKeepalived reports whether a line opens a block in the way of
// keepalived.conf.
func looksLikeKeepalived(data []byte) bool {
	for line := range strings.Lines(string(data)) {
		before, _, brace := strings.Cut(line, "{")
		if !brace || strings.Contains(before, ":") {
			continue
		}
		switch first, _, _ := strings.Cut(strings.TrimSpace(before), " "); first {
		case "global_defs", "vrrp_instance", "vrrp_script", "vrrp_sync_group", "virtual_server":
			return true
		}
	}
	return false
}
