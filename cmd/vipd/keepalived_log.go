package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"vipd/cmd/internal/logging"
)

// A keepalivedLog says where the log goes. With nothing set it goes nowhere.
type keepalivedLog struct {
	Console  bool
	Syslog   bool
	Facility int    // of syslog (RFC 5424 §6.2.1)
	File     string // empty: none
}

// level is how much is logged by the number of -D.
func (c *keepalivedCall) level() slog.Level {
	if c.Detail > 1 {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// openLog returns the log that the options ask for, and what closes it. Without
// a syslog on this host, as in a container, a daemon in the foreground logs to
// standard error rather than nowhere. Whoever started a daemon in the background
// sees its warnings until it runs.
func (c *keepalivedCall) openLog(stderr *os.File, parent *readyPipe) (*slog.Logger, func(), error) {
	var handlers []slog.Handler
	var closers []func()
	closeAll := func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	add := func(w io.Writer, format logging.Format, level slog.Level) {
		log, queue := logging.New(w, format, level)
		handlers = append(handlers, log.Handler())
		closers = append(closers, func() { _ = queue.Close() })
	}
	c.console = c.Log.Console
	if c.Log.Syslog {
		s, err := dialSyslog(syslogSocket, c.Log.Facility)
		switch {
		case err == nil:
			closers = append(closers, s.close)
			add(s, logging.Journal, c.level())
		case c.foreground:
			c.console = true
		}
	}
	if c.Log.File != "" {
		f, err := openLogFile(c.Log.File)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		closers = append(closers, func() { _ = f.Close() })
		add(f, logging.Text, c.level())
	}
	// On standard error they have been said.
	quiet := slog.New(slog.NewMultiHandler(handlers...))
	for _, w := range c.warnings {
		quiet.Warn(w)
	}
	if c.console {
		add(stderr, logging.Auto, c.level())
	}
	if parent != nil {
		add(parent, logging.Journal, slog.LevelWarn)
	}
	return slog.New(slog.NewMultiHandler(handlers...)), closeAll, nil
}

// defaultLogFile is where -g without a name logs to.
func defaultLogFile() string { return filepath.Join(os.TempDir(), "keepalived.log") }

// openLogFile opens a file for appending. In a directory where everybody can
// make files somebody else may have made it first, or a link to another: neither
// is written to.
func openLogFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("opening the log: %s is a symbolic link", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
			err = fmt.Errorf("%s belongs to another user (uid %d)", path, st.Uid)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return f, nil
}

// syslogSocket is where syslog listens, be it a syslog daemon or the journal.
const syslogSocket = "/dev/log"

// A syslogWriter sends lines of logging.Journal, "<6>text", to syslog.
type syslogWriter struct {
	path     string
	facility int
	tag      string

	mu   sync.Mutex
	conn net.Conn // nil: not connected
}

func dialSyslog(path string, facility int) (*syslogWriter, error) {
	s := &syslogWriter{path: path, facility: facility, tag: fmt.Sprintf("vipd[%d]: ", os.Getpid())}
	if err := s.dial(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *syslogWriter) dial() error {
	conn, err := net.DialTimeout("unixgram", s.path, time.Second)
	if err != nil {
		return fmt.Errorf("connecting to syslog: %w", err)
	}
	s.conn = conn
	return nil
}

// Write implements io.Writer. The time and the host's name are syslog's to add
// (RFC 3164 §4.3.2, what is missing), but for the time, which all know.
func (s *syslogWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.SplitSeq(bytes.TrimSuffix(p, []byte("\n")), []byte("\n")) {
		level, text := severity(line)
		msg := append([]byte("<"+strconv.Itoa(s.facility<<3|level)+">"+time.Now().Format(time.Stamp)+" "+s.tag), text...)
		if err := s.send(msg); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// severity splits a line of logging.Journal into its severity (RFC 5424 §6.2.1)
// and the rest.
func severity(line []byte) (level int, text []byte) {
	if len(line) > 3 && line[0] == '<' && line[2] == '>' && line[1] >= '0' && line[1] <= '7' {
		return int(line[1] - '0'), line[3:]
	}
	return 6, line
}

// send sends a datagram, once more on a new connection: syslog may have been
// restarted.
func (s *syslogWriter) send(msg []byte) error {
	if s.conn != nil {
		if _, err := s.conn.Write(msg); err == nil {
			return nil
		}
		_ = s.conn.Close()
		s.conn = nil
	}
	if err := s.dial(); err != nil {
		return err
	}
	_, err := s.conn.Write(msg)
	return err
}

func (s *syslogWriter) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}
