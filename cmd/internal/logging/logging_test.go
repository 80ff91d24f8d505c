package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"golang.org/x/sys/unix"
)

// parse reads one line of a textHandler back. The message must be one word.
func parse(t *testing.T, line string, journal bool) map[string]any {
	t.Helper()
	m := make(map[string]any)
	rest, ok := strings.CutSuffix(line, "\n")
	if !ok || strings.Contains(rest, "\n") {
		t.Fatalf("not one line: %q", line)
	}
	if journal {
		if len(rest) < 3 || rest[0] != '<' || rest[2] != '>' {
			t.Fatalf("no priority: %q", line)
		}
		m[slog.LevelKey], rest = rest[1:2], rest[3:]
		// The journal has its own time.
		m[slog.TimeKey] = ""
	} else {
		if at, err := time.Parse("2006-01-02 15:04:05.000", rest[:min(23, len(rest))]); err == nil {
			m[slog.TimeKey], rest = at, rest[24:]
		}
		m[slog.LevelKey], rest, _ = strings.Cut(rest, " ")
		rest = strings.TrimLeft(rest, " ")
	}
	m[slog.MessageKey], rest, _ = strings.Cut(rest, " ")
	for rest != "" {
		var key, value string
		key, rest, ok = strings.Cut(rest, "=")
		if !ok {
			t.Fatalf("no value for %q in %q", key, line)
		}
		if strings.HasPrefix(rest, `"`) {
			q, err := strconv.QuotedPrefix(rest)
			if err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			value, _ = strconv.Unquote(q)
			rest = strings.TrimPrefix(rest[len(q):], " ")
		} else {
			value, rest, _ = strings.Cut(rest, " ")
		}
		at, path := m, strings.Split(key, ".")
		for _, group := range path[:len(path)-1] {
			if at[group] == nil {
				at[group] = make(map[string]any)
			}
			at = at[group].(map[string]any)
		}
		at[path[len(path)-1]] = value
	}
	return m
}

func TestTheHandlersKeepTheRulesOfSlog(t *testing.T) {
	for _, journal := range []bool{false, true} {
		var b *bytes.Buffer
		newHandler := func(*testing.T) slog.Handler {
			b = new(bytes.Buffer)
			return newTextHandler(b, slog.LevelDebug, journal)
		}
		t.Run(fmt.Sprintf("journal %t", journal), func(t *testing.T) {
			slogtest.Run(t, newHandler, func(t *testing.T) map[string]any {
				if journal && strings.HasSuffix(t.Name(), "/zero-time") {
					t.Skip("the journal has its own time")
				}
				return parse(t, b.String(), journal)
			})
		})
	}
}

type noisy struct{}

func (noisy) LogValue() slog.Value { return slog.StringValue("resolved") }

type broken struct{ b *bytes.Buffer }

func (b *broken) Error() string { return b.b.String() }

func TestRecordsReadAsPeopleExpect(t *testing.T) {
	at := time.Date(2026, 11, 21, 3, 17, 18, 5e6, time.UTC)
	for _, tt := range []struct {
		name  string
		level slog.Level
		msg   string
		attrs []any
		text  string // behind the time
		tail  string // behind the priority
	}{
		{"a transition", LevelNotice, "state changed", []any{"instance", "VI_1", "vrid", uint8(51), "reason", "master 192.0.2.2 silent for 3.6s"},
			"NOTICE state changed ", `<5>state changed `},
		{"no attribute", slog.LevelInfo, "ready", nil, "INFO   ready", "<6>ready"},
		{"debug", slog.LevelDebug, "m", nil, "DEBUG  m", "<7>m"},
		{"below debug", slog.LevelDebug - 1, "m", nil, "DEBUG-1 m", "<7>m"},
		{"a warning", slog.LevelWarn, "m", nil, "WARN   m", "<4>m"},
		{"an error", slog.LevelError, "m", nil, "ERROR  m", "<3>m"},
		{"above an error", slog.LevelError + 4, "m", nil, "ERROR+4 m", "<3>m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, journal := range []bool{false, true} {
				var b bytes.Buffer
				r := slog.NewRecord(at, tt.level, tt.msg, 0)
				r.Add(tt.attrs...)
				if err := newTextHandler(&b, slog.LevelDebug-9, journal).Handle(context.Background(), r); err != nil {
					t.Fatal(err)
				}
				want := "2026-11-21 03:17:18.005 " + tt.text
				if journal {
					want = tt.tail
				}
				if len(tt.attrs) > 0 {
					want += `instance=VI_1 vrid=51 reason="master 192.0.2.2 silent for 3.6s"`
				}
				if got := b.String(); got != want+"\n" {
					t.Errorf("got  %q\nwant %q", got, want+"\n")
				}
			}
		})
	}
}

func TestValuesAreReadable(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  string
	}{
		{"", `""`},
		{"plain", "plain"},
		{"a=b", `"a=b"`},
		{`say "x"`, `"say \"x\""`},
		{"two\nlines\x1b[2J", `"two\nlines\x1b[2J"`},
		{"\xff", `"\xff"`},
		{"grün", "grün"},
		{1500 * time.Millisecond, "1.5s"},
		{time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), "2026-01-02T03:04:05.000000006Z"},
		{true, "true"},
		{0.5, "0.5"},
		{nil, "<nil>"},
		{netip.MustParseAddr("192.0.2.1"), "192.0.2.1"},
		{errors.New("it broke"), `"it broke"`},
		{[]string{"a", "b"}, `"[a b]"`},
		{noisy{}, "resolved"},
		{(*broken)(nil), "<nil>"},
	} {
		var b bytes.Buffer
		slog.New(newTextHandler(&b, slog.LevelInfo, true)).Info("m", "k", tt.value)
		if got, want := b.String(), "<6>m k="+tt.want+"\n"; got != want {
			t.Errorf("%#v is written as %q, want %q", tt.value, got, want)
		}
	}
}

func TestAMessageStaysOneLine(t *testing.T) {
	var b bytes.Buffer
	slog.New(newTextHandler(&b, slog.LevelInfo, true)).Info("a \"b\"\n<0>forged\x1b[2J")
	if got, want := b.String(), `<6>a \"b\"\n<0>forged\x1b[2J`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDerivedLoggersDoNotShareTheirAttributes(t *testing.T) {
	var b bytes.Buffer
	base := slog.New(newTextHandler(&b, slog.LevelInfo, true)).With("a", 1)
	left, right := base.With("l", 2), base.WithGroup("g").With("r", 3)
	left.Info("m")
	right.Info("m", slog.Group("h", "x", 4))
	base.Info("m")
	if got, want := b.String(), "<6>m a=1 l=2\n<6>m a=1 g.r=3 g.h.x=4\n<6>m a=1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFormatsAndLevelsHaveNames(t *testing.T) {
	for _, f := range []Format{Auto, Text, Journal, JSON} {
		if got, err := ParseFormat(f.String()); err != nil || got != f {
			t.Errorf("%s is read as %s (%v)", f, got, err)
		}
	}
	if _, err := ParseFormat("xml"); err == nil || !strings.Contains(err.Error(), `"xml" (one of auto, text, journal, json)`) {
		t.Errorf("error is %v, want one that lists the formats", err)
	}
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, LevelNotice, slog.LevelWarn, slog.LevelError} {
		if got, err := ParseLevel(levelName(l)); err != nil || got != l {
			t.Errorf("%s is read as %s (%v)", levelName(l), got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil || !strings.Contains(err.Error(), `"loud" (one of debug, info, notice, warn, error)`) {
		t.Errorf("error is %v, want one that lists the levels", err)
	}
}

// written returns what a logger of a format writes into a file.
func written(t *testing.T, format Format, level slog.Level, prepare func(*os.File), log func(*slog.Logger)) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if prepare != nil {
		prepare(f)
	}
	logger, w := New(f, format, level)
	log(logger)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// connect says in the environment that f is the journal, give or take an inode.
func connect(t *testing.T, f *os.File, offset uint64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino+offset))
}

func TestTheJournalIsRecognised(t *testing.T) {
	warn := func(l *slog.Logger) { l.Warn("m", "k", "v") }
	for _, tt := range []struct {
		name    string
		format  Format
		prepare func(*os.File)
		journal bool
	}{
		{"a file", Auto, func(*os.File) { t.Setenv("JOURNAL_STREAM", "") }, false},
		{"the journal", Auto, func(f *os.File) { connect(t, f, 0) }, true},
		{"a file, with an inherited variable", Auto, func(f *os.File) { connect(t, f, 1) }, false},
		{"the journal, but text was asked for", Text, func(f *os.File) { connect(t, f, 0) }, false},
		{"a file, but the journal's format was asked for", Journal, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := written(t, tt.format, slog.LevelInfo, tt.prepare, warn)
			if want := "<4>m k=v\n"; (got == want) != tt.journal || !strings.HasSuffix(got, "m k=v\n") {
				t.Errorf("got %q; in the journal's format: want %t", got, tt.journal)
			}
		})
	}
	if JournalConnected(new(bytes.Buffer)) {
		t.Error("a buffer is taken for the journal")
	}
}

func TestJSONHasTheLevelsOfTheFlag(t *testing.T) {
	got := written(t, JSON, slog.LevelInfo, nil, func(l *slog.Logger) {
		l.Debug("hidden")
		l.Log(context.Background(), LevelNotice, "state changed", "level", "untouched in a group is not this", slog.Group("g", "level", 1))
	})
	var m map[string]any
	if err := json.Unmarshal([]byte(got), &m); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if m["msg"] != "state changed" || !strings.Contains(got, `"level":"notice"`) || !strings.Contains(got, `"g":{"level":1}`) {
		t.Errorf("got %s", got)
	}
}
