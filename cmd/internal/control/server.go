package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Source has what the API shows.
type Source interface {
	// Status returns the status of now. It is called from several goroutines
	// at once.
	Status(ctx context.Context) (Status, error)
}

// A VersionInfo is the answer to GET /v1/version.
type VersionInfo struct {
	Version string `json:"version"` // of vipd
	API     string `json:"api"`     // "v1"
	Go      string `json:"go"`      // the Go version it was built with
	PID     int    `json:"pid"`
}

// A Config is what a Server needs.
type Config struct {
	RunDir  string // must exist; see Lock
	Source  Source
	Version string       // of vipd
	Logger  *slog.Logger // nil: nothing is logged
}

// Bounds on what one reader can cost the daemon. A status of some megabytes
// passes a unix socket in milliseconds; what takes longer is stuck.
const (
	maxConns       = 64
	maxHeaderBytes = 8 << 10
	headerTimeout  = 5 * time.Second
	sourceTimeout  = 5 * time.Second
	writeTimeout   = 15 * time.Second
	idleTimeout    = 60 * time.Second
	dialTimeout    = time.Second
	closeTimeout   = 250 * time.Millisecond
)

// A Server answers on the control socket of one daemon.
type Server struct {
	cfg    Config
	path   string
	inode  os.FileInfo // of the socket, to remove no other
	ln     net.Listener
	server *http.Server
}

// Listen creates the control socket in the run directory, which the caller has
// locked, and removes one that a dead daemon left there. From now on clients
// can connect; they are answered once Run is called.
func Listen(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, path: SocketPath(cfg.RunDir)}
	if err := s.listen(); err != nil {
		return nil, fmt.Errorf("control: listening on %s: %w", s.path, err)
	}
	s.server = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext:       withPeer,
	}
	return s, nil
}

func (s *Server) listen() error {
	name, done, err := reach(s.path)
	if err != nil {
		return err
	}
	defer done()
	if err := removeStale(s.path, name); err != nil {
		return err
	}
	// The mode of the socket before bind, less the umask, becomes that of the
	// file: there is no moment at which others may connect.
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if cerr := rc.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }); cerr != nil {
			return cerr
		}
		return err
	}}
	ln, err := lc.Listen(context.Background(), "unix", name)
	if err != nil {
		return err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // name may not last; Close removes path
	// Whatever the umask took away from the group is given back.
	if err := os.Chmod(s.path, socketMode); err != nil {
		return errors.Join(err, ln.Close())
	}
	if s.inode, err = os.Lstat(s.path); err != nil {
		return errors.Join(err, ln.Close())
	}
	s.ln = newPeerListener(ln.(*net.UnixListener), maxConns)
	return nil
}

// socketMode lets the socket's owner and group connect, which is to read.
const socketMode = 0o660

// removeStale removes a socket that nobody listens on. What else may lie at
// path is an error, and stays.
func removeStale(path, name string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != os.ModeSocket:
		return errors.New("there is a file of that name that is not a socket: remove it")
	}
	conn, err := net.DialTimeout("unix", name, dialTimeout)
	switch {
	case err == nil:
		_ = conn.Close()
		return errors.New("another process listens on it already")
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, os.ErrNotExist):
		return nil
	}
	return err
}

// String names the server in messages.
func (s *Server) String() string { return "control API on " + s.path }

// Run answers until ctx is done, then closes the server. It returns nil when
// ctx ended it.
func (s *Server) Run(ctx context.Context) error {
	errc := make(chan error, 1)
	go func() { errc <- s.server.Serve(s.ln) }()
	select {
	case err := <-errc:
		return errors.Join(fmt.Errorf("control: serving on %s: %w", s.path, err), s.Close())
	case <-ctx.Done():
	}
	err := s.Close()
	<-errc // http.ErrServerClosed
	return err
}

// Close removes the socket, gives answers under way a moment to end, and closes
// every connection. Run does it too.
func (s *Server) Close() error {
	var errs []error
	if fi, err := os.Lstat(s.path); err == nil && os.SameFile(fi, s.inode) {
		errs = append(errs, os.Remove(s.path))
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		errs = append(errs, s.server.Close())
	}
	// Serve closes the listener; without Run nobody has.
	if err := s.ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("control: closing %s: %w", s.path, err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/version", s.version)
	mux.HandleFunc("POST /v1/reload", s.reload)
	mux.HandleFunc("POST /v1/failover", s.failover)
	return gate(jsonErrors(mux))
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), sourceTimeout)
	defer cancel()
	st, err := s.cfg.Source.Status(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		writeError(w, http.StatusServiceUnavailable, "the daemon is too busy to tell its status")
		return
	case err != nil:
		s.cfg.Logger.Warn("status not available", "error", err)
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	if st.Time.IsZero() {
		st.Time = time.Now()
	}
	header(w, http.StatusOK)
	out := bufio.NewWriterSize(w, 64<<10)
	if err := errors.Join(st.write(out), out.Flush()); err != nil {
		// Part of the answer is gone already. Breaking the connection is
		// the one way left to say that it is not whole.
		s.cfg.Logger.Debug("status not sent", "error", err)
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, VersionInfo{Version: s.cfg.Version, API: "v1", Go: runtime.Version(), PID: os.Getpid()})
}

// writeJSON encodes v before it writes anything, so that an error is still an
// answer.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	header(w, status)
	_, _ = w.Write(b.Bytes()) // an error means that the reader has gone
}

func header(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, errorBody{ResponseError{Code: code(status), Message: message}})
}

// jsonErrors turns the plain-text errors of a ServeMux (404, 405) into JSON.
func jsonErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		rec := &statusRecorder{header: w.Header(), status: http.StatusNotFound}
		mux.ServeHTTP(rec, r)
		message := fmt.Sprintf("there is no %s in this version of the API", r.URL.Path)
		if rec.status == http.StatusMethodNotAllowed {
			message = fmt.Sprintf("%s does not take %s, only %s", r.URL.Path, r.Method, w.Header().Get("Allow"))
		}
		w.Header().Del("Content-Length")
		writeError(w, rec.status, message)
	})
}

// A statusRecorder keeps the status and headers of an answer and forgets its
// body.
type statusRecorder struct {
	header http.Header
	status int
}

func (r *statusRecorder) Header() http.Header         { return r.header }
func (r *statusRecorder) WriteHeader(status int)      { r.status = status }
func (r *statusRecorder) Write(b []byte) (int, error) { return len(b), nil }

// gate lets everybody who can connect read, and only root and the daemon's own
// user do anything else.
func gate(next http.Handler) http.Handler {
	self := os.Geteuid()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, known := peerUID(r.Context())
		if !reads(r.Method) && (!known || uid != 0 && uid != self) {
			writeError(w, http.StatusForbidden, fmt.Sprintf("only root and the user vipd runs as may %s %s", r.Method, r.URL.Path))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }
