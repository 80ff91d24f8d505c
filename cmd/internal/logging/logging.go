// Package logging writes the daemon's log: readable text for people, priorities
// for the journal, JSON on request, and never at the price of a protocol loop
// that waits for a slow sink.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Format is how a log record is written.
type Format uint8

// The formats.
const (
	// Auto is Journal if the sink is connected to the journal, else Text.
	Auto Format = iota
	// Text is a time, the level, the message and key=value pairs.
	Text
	// Journal is Text without what the journal adds itself, behind a priority
	// such as "<4>" (sd-daemon(3)).
	Journal
	// JSON is one JSON object a line.
	JSON
)

var formatNames = [...]string{Auto: "auto", Text: "text", Journal: "journal", JSON: "json"}

// String returns the word that ParseFormat reads.
func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// ParseFormat reads the name of a format, for a command-line flag.
func ParseFormat(s string) (Format, error) {
	for f, name := range formatNames {
		if s == name {
			return Format(f), nil
		}
	}
	return Auto, fmt.Errorf("logging: unknown log format %q (one of %s)", s, strings.Join(formatNames[:], ", "))
}

// LevelNotice is between Info and Warn: normal, but worth finding again, such
// as a change of state (syslog's notice).
const LevelNotice = slog.LevelInfo + 2

var levelNames = [...]struct {
	name  string
	level slog.Level
}{{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"notice", LevelNotice}, {"warn", slog.LevelWarn}, {"error", slog.LevelError}}

// ParseLevel reads the name of a level, for a command-line flag.
func ParseLevel(s string) (slog.Level, error) {
	names := make([]string, len(levelNames))
	for i, l := range levelNames {
		if s == l.name {
			return l.level, nil
		}
		names[i] = l.name
	}
	return 0, fmt.Errorf("logging: unknown log level %q (one of %s)", s, strings.Join(names, ", "))
}

// levelName returns the name of a level, or of the one below it with the
// distance: "error+4".
func levelName(l slog.Level) string {
	name := levelNames[0]
	for _, n := range levelNames {
		if n.level <= l {
			name = n
		}
	}
	if d := l - name.level; d != 0 {
		return fmt.Sprintf("%s%+d", name.name, int(d))
	}
	return name.name
}

// New returns a logger that writes to w through a bounded queue, so that no
// caller ever waits for w. The Writer is that queue: close it last, to write
// what is still in it.
func New(w io.Writer, format Format, level slog.Leveler) (*slog.Logger, *Writer) {
	if format == Auto {
		format = Text
		if JournalConnected(w) {
			format = Journal
		}
	}
	q := newWriter(w, queueSize, func(out io.Writer, lost uint64) {
		// Not at the caller's level: a gap is worth a line at any.
		slog.New(newHandler(out, format, slog.LevelWarn)).Warn("log records lost: the log was written faster than it could be taken", "records", lost)
	})
	return slog.New(newHandler(q, format, level)), q
}

// newHandler returns the handler of a format that is not Auto.
func newHandler(w io.Writer, format Format, level slog.Leveler) slog.Handler {
	if format == JSON {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: lowerLevel})
	}
	return newTextHandler(w, level, format == Journal)
}

// lowerLevel writes the level in JSON by the name that the flag has.
func lowerLevel(groups []string, a slog.Attr) slog.Attr {
	if l, ok := a.Value.Any().(slog.Level); ok && len(groups) == 0 && a.Key == slog.LevelKey {
		a.Value = slog.StringValue(levelName(l))
	}
	return a
}

// JournalConnected reports whether w is the stream that systemd connected to
// the journal: JOURNAL_STREAM names its device and inode (systemd.exec(5)). A
// variable that was merely inherited names another one.
func JournalConnected(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
