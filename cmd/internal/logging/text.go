package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// A textHandler writes one line a record, in one Write.
type textHandler struct {
	w       io.Writer
	mu      *sync.Mutex // of w, shared by all handlers derived from one
	level   slog.Leveler
	journal bool

	attrs  []byte // key=value pairs of WithAttrs, each behind a blank
	prefix string // of the groups that are open: "a.b."
}

func newTextHandler(w io.Writer, level slog.Leveler, journal bool) *textHandler {
	return &textHandler{w: w, mu: new(sync.Mutex), level: level, journal: journal}
}

// Enabled implements slog.Handler.
func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	b := make([]byte, 0, 256)
	if h.journal {
		b = append(b, '<', priority(r.Level), '>')
	} else {
		if !r.Time.IsZero() {
			b = r.Time.AppendFormat(b, "2006-01-02 15:04:05.000 ")
		}
		b = fmt.Appendf(b, "%-6s ", strings.ToUpper(levelName(r.Level)))
	}
	b = appendMessage(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.prefix, a)
		return true
	})
	b = append(b, '\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(b)
	return err
}

// WithAttrs implements slog.Handler.
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		c.attrs = appendAttr(c.attrs, h.prefix, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *textHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}

// priority is the syslog priority of a level (sd-daemon(3)).
func priority(l slog.Level) byte {
	switch {
	case l >= slog.LevelError:
		return '3'
	case l >= slog.LevelWarn:
		return '4'
	case l >= LevelNotice:
		return '5'
	case l >= slog.LevelInfo:
		return '6'
	}
	return '7'
}

// appendAttr appends " key=value", or one for each member of a group.
func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, m := range v.Group() {
			b = appendAttr(b, prefix, m)
		}
		return b
	}
	if a.Equal(slog.Attr{}) {
		return b
	}
	b = append(b, ' ')
	b = appendString(b, prefix+a.Key)
	b = append(b, '=')
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	case slog.KindAny:
		return appendString(b, anyText(v.Any()))
	default:
		return appendString(b, v.String())
	}
}

// anyText formats a value. One whose method panics, for example on a nil
// pointer, must not take the daemon along.
func anyText(v any) (s string) {
	defer func() {
		if r := recover(); r != nil {
			s = fmt.Sprintf("!PANIC: %v", r)
		}
	}()
	// Sprintf, unlike slog's own text handler, prefers Error to String, and
	// prints neither as a struct.
	return fmt.Sprintf("%v", v)
}

// appendMessage appends a message in such a way that it stays one line and
// cannot control a terminal.
func appendMessage(b []byte, s string) []byte {
	if printable(s) {
		return append(b, s...)
	}
	q := strconv.Quote(s)
	return append(b, q[1:len(q)-1]...)
}

// appendString appends a key or value, quoted if it is not one plain word.
func appendString(b []byte, s string) []byte {
	if s == "" || strings.ContainsAny(s, ` "=`) || !printable(s) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
