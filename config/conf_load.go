package config

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Options say how a configuration is read.
type Options struct {
	// ConfigID selects the lines of keepalived.conf that begin with @id
	// (keepalived: -i). Empty: the first label of the host name.
	ConfigID string
	// RefuseInvalid has an instance that cannot run make the whole of
	// keepalived.conf fail, as a reload wants it. Otherwise it is left out,
	// see [Config.LeftOut]. In YAML any error makes all of it fail.
	RefuseInvalid bool
}

// A Format is a language that a configuration is written in.
type Format uint8

// The languages.
const (
	YAML Format = iota
	Keepalived
)

// String names the language.
func (f Format) String() string {
	if f == Keepalived {
		return "keepalived.conf"
	}
	return "YAML"
}

// Load reads a configuration and the files that it includes: YAML, or
// keepalived.conf, which is recognised by its content. The Config is nil if
// there is nothing that can run. Of a keepalived.conf it may not be nil
// although there are errors: see [Config.LeftOut].
func Load(path string) (*Config, Diagnostics) { return LoadWith(path, Options{}) }

// LoadWith is Load with options.
func LoadWith(path string, o Options) (*Config, Diagnostics) {
	f, err := os.Open(path)
	if err != nil {
		r := &report{files: []string{path}}
		r.add(Pos{File: path}, Error, "", unreadable(err))
		return nil, r.sorted()
	}
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(f, head)
	head = head[:n]
	if n == 0 && err != io.EOF {
		_ = f.Close() // nothing was written
		r := &report{files: []string{path}}
		r.add(Pos{File: path}, Error, "", unreadable(err))
		return nil, r.sorted()
	}
	if FormatOf(path, head) == YAML {
		_ = f.Close() // nothing was written
		return loadYAML(path)
	}
	return decodeConf(path, o, func(c *confReader) {
		c.including = true
		// The file may be a pipe, so it is not opened twice if once will do.
		if f == nil {
			if f, err = os.Open(path); err != nil {
				c.refuse(Pos{File: path}, unreadable(err))
				return
			}
			c.push(path, f, f.Close)
		} else {
			c.push(path, io.MultiReader(bytes.NewReader(head), f), f.Close)
		}
		f = nil
	})
}

// ParseWith reads a configuration that is in memory; name stands for it in
// diagnostics. Such a configuration cannot include files.
func ParseWith(name string, data []byte, o Options) (*Config, Diagnostics) {
	if FormatOf(name, data) == YAML {
		return Parse(name, data)
	}
	return decodeConf(name, o, func(c *confReader) { c.push(name, bytes.NewReader(data), nil) })
}

// decodeConf reads keepalived.conf with the given start, and decodes it.
func decodeConf(name string, o Options, start func(*confReader)) (*Config, Diagnostics) {
	r := &report{files: []string{name}}
	s := newSchema()
	if o.ConfigID == "" {
		o.ConfigID = hostID()
	}
	root := readConf(r, s, o.ConfigID, start)
	dia := confDialect()
	dia.refuse = o.RefuseInvalid
	c := decode(root, s, dia, r)
	return c, r.sorted()
}

// FormatOf recognises the language of a file by its beginning, or, if that says
// nothing, by its name.
func FormatOf(name string, head []byte) Format {
	for line := range strings.Lines(strings.TrimPrefix(string(head), "\xef\xbb\xbf")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if f, ok := formatOfLine(line); ok {
			return f
		}
		break
	}
	switch filepath.Ext(name) {
	case ".conf", ".cfg", ".inc":
		return Keepalived
	case ".yaml", ".yml":
		return YAML
	}
	if looksLikeKeepalived(head) {
		return Keepalived
	}
	return YAML
}

// formatOfLine recognises the language of the first line with something on it;
// false if it could be of both.
func formatOfLine(line string) (Format, bool) {
	if strings.IndexByte("!$@~}", line[0]) >= 0 {
		return Keepalived, true
	}
	if strings.IndexByte("-%{[&*|>?'\"", line[0]) >= 0 {
		return YAML, true
	}
	n := strings.IndexAny(line, " \t:{")
	if n < 0 { // one word: a keyword whose brace is on the next line, perhaps
		return 0, false
	}
	rest := strings.TrimLeft(line[n:], " \t")
	switch {
	case rest[0] == ':' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\t'):
		return YAML, true
	case rest[0] == '{' || strings.HasSuffix(rest, "{"):
		return Keepalived, true
	}
	if _, ok := includeKinds(line[:n]); ok && rest[0] != ':' {
		return Keepalived, true
	}
	return 0, false
}
