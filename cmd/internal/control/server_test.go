package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type sourceFunc func(context.Context) (Status, error)

func (f sourceFunc) Status(ctx context.Context) (Status, error) { return f(ctx) }

func static(s Status) Source {
	return sourceFunc(func(context.Context) (Status, error) { return s, nil })
}

// serve runs a server in a new run directory until the test ends.
func serve(t *testing.T, src Source) (runDir string) {
	t.Helper()
	runDir = t.TempDir()
	start(t, runDir, src)
	return runDir
}

// start runs a server and returns a function that ends it.
func start(t *testing.T, runDir string, src Source) (stop func()) {
	t.Helper()
	s, err := Listen(Config{RunDir: runDir, Source: src, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func client(t *testing.T, runDir string) *Client {
	t.Helper()
	c := NewClient(runDir)
	t.Cleanup(c.Close)
	return c
}

func TestAClientReadsTheStatus(t *testing.T) {
	want := fullStatus()
	c := client(t, serve(t, static(want)))
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gotJSON, _ := json.Marshal(got)
	wantJSON, _ := json.Marshal(want)
	if string(gotJSON) != string(wantJSON) {
		t.Errorf("status is\n%s\nwant\n%s", gotJSON, wantJSON)
	}
	raw, err := c.StatusJSON(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(raw)); got != string(wantJSON) {
		t.Errorf("raw status is\n%s\nwant\n%s", got, wantJSON)
	}
}

func TestAStatusWithoutATimeGetsOne(t *testing.T) {
	got, err := client(t, serve(t, static(Status{}))).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Time.IsZero() {
		t.Error("the status has no time")
	}
}

func TestAClientReadsTheVersion(t *testing.T) {
	got, err := client(t, serve(t, static(Status{}))).Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := VersionInfo{Version: "1.2.3", API: "v1", Go: runtime.Version(), PID: os.Getpid()}
	if got != want {
		t.Errorf("version is %+v, want %+v", got, want)
	}
}

func TestAClientKnowsWhichProcessListens(t *testing.T) {
	got, err := client(t, serve(t, static(Status{}))).PID(t.Context())
	if err != nil || got != os.Getpid() {
		t.Errorf("the process is %d (%v), want %d", got, err, os.Getpid())
	}
	_, err = client(t, t.TempDir()).PID(t.Context())
	if _, ok := errors.AsType[*UnreachableError](err); !ok {
		t.Errorf("without a daemon the error is %v, want an *UnreachableError", err)
	}
}

func TestAnErrorOfTheSourceReachesTheClient(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want ResponseError
	}{
		{"any error", errors.New("boom"), ResponseError{StatusCode: 500, Code: "internal-server-error", Message: "boom"}},
		{"a loop that does not answer", context.DeadlineExceeded, ResponseError{StatusCode: 503, Code: "service-unavailable", Message: "the daemon is too busy to tell its status"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, serve(t, sourceFunc(func(context.Context) (Status, error) { return Status{}, tt.err })))
			_, err := c.Status(t.Context())
			var got *ResponseError
			if !errors.As(err, &got) {
				t.Fatalf("error is %T %v, want a *ResponseError", err, err)
			}
			if *got != tt.want {
				t.Errorf("error is %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestTheSourceHasADeadline(t *testing.T) {
	c := client(t, serve(t, sourceFunc(func(ctx context.Context) (Status, error) {
		if _, ok := ctx.Deadline(); !ok {
			return Status{}, errors.New("no deadline")
		}
		return Status{}, nil
	})))
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAStatusThatCannotBeWrittenIsNotTakenForWhole(t *testing.T) {
	s := fullStatus()
	bad := s.Instances[0]
	bad.Since = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // has no form in RFC 3339
	s.Instances = append(s.Instances, bad)
	c := client(t, serve(t, static(s)))
	if raw, err := c.StatusJSON(t.Context()); err == nil {
		t.Errorf("the client takes %s", raw)
	}
}

func TestTheStatusOfManyInstancesIsOneDocument(t *testing.T) {
	want := fullStatus()
	for i := range 300 {
		in := want.Instances[0]
		in.Name = fmt.Sprint("VI_", i)
		want.Instances = append(want.Instances, in)
	}
	got, err := client(t, serve(t, static(want))).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Instances) != 301 || got.Instances[300].Name != "VI_299" || got.Instances[0].Name != "VI_1" {
		t.Errorf("%d instances arrive", len(got.Instances))
	}
}

// request writes one request to a connection and returns its answer.
func request(t *testing.T, conn net.Conn, method, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://vipd"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func dial(t *testing.T, runDir string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", SocketPath(runDir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestEveryAnswerIsJSON(t *testing.T) {
	runDir := serve(t, static(Status{}))
	for _, tt := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/v1/status", 200, "", ""},
		{"HEAD", "/v1/status", 200, "", ""},
		{"GET", "/v1/version", 200, "", ""},
		{"GET", "/", 404, "not-found", ""},
		{"GET", "/v1/status/", 404, "not-found", ""},
		{"GET", "/v2/status", 404, "not-found", ""},
		{"POST", "/v1/status", 405, "method-not-allowed", "GET, HEAD"},
		{"POST", "/v1/nothing", 404, "not-found", ""},
		{"GET", "/v1/failover", 405, "method-not-allowed", "POST"},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			resp, body := request(t, dial(t, runDir), tt.method, tt.path)
			if resp.StatusCode != tt.status {
				t.Errorf("status is %d, want %d", resp.StatusCode, tt.status)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("content type is %q", got)
			}
			if got := resp.Header.Get("Allow"); got != tt.allow {
				t.Errorf("Allow is %q, want %q", got, tt.allow)
			}
			if tt.method == "HEAD" {
				return
			}
			var e errorBody
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if e.Error.Code != tt.code || (e.Error.Message == "") != (tt.code == "") {
				t.Errorf("error is %+v, want code %q and a message with it", e.Error, tt.code)
			}
		})
	}
}

func TestTheSocketIsForItsOwnerAndGroup(t *testing.T) {
	fi, err := os.Stat(SocketPath(serve(t, static(Status{}))))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fi.Mode(), fs.ModeSocket|0o660; got != want {
		t.Errorf("mode is %s, want %s", got, want)
	}
}

func TestTheSocketGoesWhenTheServerEnds(t *testing.T) {
	runDir := t.TempDir()
	start(t, runDir, static(Status{}))()
	if _, err := os.Lstat(SocketPath(runDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end Lstat returns %v, want %v", err, fs.ErrNotExist)
	}
}

func TestAServerThatNeverRanCanBeClosed(t *testing.T) {
	s, err := Listen(Config{RunDir: t.TempDir(), Source: static(Status{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("unix", s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("connecting afterwards gives %v, want %v", err, fs.ErrNotExist)
	}
}

func TestASocketThatIsNotOursIsLeftAlone(t *testing.T) {
	runDir := t.TempDir()
	stop := start(t, runDir, static(Status{}))
	if err := os.Remove(SocketPath(runDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(SocketPath(runDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := os.Lstat(SocketPath(runDir)); err != nil {
		t.Errorf("the other file is gone: %v", err)
	}
}

// leaveBehind makes a socket nobody listens on, as a daemon leaves it that was
// killed.
func leaveBehind(t *testing.T, runDir string) {
	t.Helper()
	ln, err := net.Listen("unix", SocketPath(runDir))
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestASocketLeftBehindIsReplaced(t *testing.T) {
	runDir := t.TempDir()
	leaveBehind(t, runDir)
	start(t, runDir, static(Status{}))
	if _, err := client(t, runDir).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestASocketInUseIsNotTaken(t *testing.T) {
	runDir := serve(t, static(Status{}))
	_, err := Listen(Config{RunDir: runDir, Source: static(Status{})})
	if err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("error is %v, want that another process listens", err)
	}
	if _, err := client(t, runDir).Status(t.Context()); err != nil {
		t.Errorf("the first server answers no more: %v", err)
	}
}

func TestAFileInPlaceOfTheSocketIsKept(t *testing.T) {
	runDir := t.TempDir()
	if err := os.WriteFile(SocketPath(runDir), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(Config{RunDir: runDir, Source: static(Status{})})
	if err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("error is %v, want that it is not a socket", err)
	}
	if b, err := os.ReadFile(SocketPath(runDir)); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q (%v)", b, err)
	}
}

func TestARunDirectoryMayHaveALongName(t *testing.T) {
	runDir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if n := len(SocketPath(runDir)); n <= maxSocketPath {
		t.Fatalf("the path has %d octets, which is not long", n)
	}
	stop := start(t, runDir, static(Status{Daemon: Daemon{PID: 7}}))
	c := client(t, runDir)
	st, err := c.Status(t.Context())
	if err != nil || st.Daemon.PID != 7 {
		t.Errorf("status is %+v (%v)", st, err)
	}
	if _, err := Listen(Config{RunDir: runDir, Source: static(Status{})}); err == nil {
		t.Error("a second server could listen")
	}
	stop()
	if _, err := os.Lstat(SocketPath(runDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end Lstat returns %v, want %v", err, fs.ErrNotExist)
	}
}

func TestAClientSaysWhyNobodyAnswers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, runDir string)
		cause   error
		text    string
	}{
		{"no socket", func(*testing.T, string) {}, fs.ErrNotExist, "does not exist"},
		{"a socket left behind", leaveBehind, unix.ECONNREFUSED, "left behind"},
		{"a daemon that hangs", func(t *testing.T, runDir string) {
			ln, err := net.Listen("unix", SocketPath(runDir))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
		}, context.DeadlineExceeded, "does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runDir := t.TempDir()
			tt.prepare(t, runDir)
			ctx, cancel := context.WithTimeout(t.Context(), 100e6)
			defer cancel()
			_, err := client(t, runDir).Status(ctx)
			var ue *UnreachableError
			if !errors.As(err, &ue) {
				t.Fatalf("error is %T %v, want an *UnreachableError", err, err)
			}
			if ue.Path != SocketPath(runDir) || !errors.Is(err, tt.cause) {
				t.Errorf("error is %+v, want the path and %v", ue, tt.cause)
			}
			if !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), ue.Path) {
				t.Errorf("error is %q, want it to say %q and to name the path", err, tt.text)
			}
		})
	}
}

func TestACancelledRequestIsNotTheDaemonsFault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client(t, serve(t, static(Status{}))).Status(ctx)
	var ue *UnreachableError
	if !errors.Is(err, context.Canceled) || errors.As(err, &ue) {
		t.Errorf("error is %T %v, want %v", err, err, context.Canceled)
	}
}

// asStranger runs f on a thread that is neither root nor the daemon's user.
func asStranger(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can become somebody else")
		}
		t.Skip("only root can become somebody else")
	}
	done := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine.
		runtime.LockOSThread()
		defer close(done)
		const nobody = 65534
		// RawSyscall, unlike syscall.Setresuid, changes this thread only.
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			done <- e
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, nobody, nobody, nobody); e != 0 {
			done <- e
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
			done <- e
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// openRunDir lets everybody into a test's run directory, as into /run/vipd.
func openRunDir(t *testing.T, runDir string) {
	t.Helper()
	for dir := runDir; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStrangerMayNotEvenRead(t *testing.T) {
	runDir := serve(t, static(Status{}))
	openRunDir(t, runDir)
	var err error
	asStranger(t, func() { _, err = net.Dial("unix", SocketPath(runDir)) })
	if !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("connecting gives %v, want %v", err, fs.ErrPermission)
	}
	err = NewClient(runDir).classify(t.Context(), err)
	var pe *PermissionError
	if !errors.As(err, &pe) || pe.Path != SocketPath(runDir) || !strings.Contains(err.Error(), "socket's group") {
		t.Errorf("the client makes %T %v of it, want a *PermissionError that says who may read", err, err)
	}
}

func TestWhoMayReadMayNotAct(t *testing.T) {
	runDir := serve(t, static(Status{}))
	openRunDir(t, runDir)
	if err := os.Chmod(SocketPath(runDir), 0o666); err != nil { // as good as being in the group
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v1/status", 200},
		{"POST", "/v1/status", 403},
		{"POST", "/v1/failover", 403},
		{"DELETE", "/v1/nothing", 403},
	} {
		var conn net.Conn
		var err error
		asStranger(t, func() { conn, err = net.Dial("unix", SocketPath(runDir)) })
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		resp, body := request(t, conn, tt.method, tt.path)
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s answers a stranger %d %s, want %d", tt.method, tt.path, resp.StatusCode, body, tt.want)
		}
		if tt.want != 403 {
			continue
		}
		err = NewClient(runDir).responseError(resp.StatusCode, []byte(body))
		var pe *PermissionError
		if !errors.As(err, &pe) || !strings.Contains(err.Error(), "only root") {
			t.Errorf("the client makes %T %v of it, want a *PermissionError that names root", err, err)
		}
	}
}

func TestAPeerThatIsNotKnownMayNotAct(t *testing.T) {
	reached := false
	h := gate(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	for _, ctx := range []context.Context{
		t.Context(),
		withPeer(t.Context(), &peerConn{err: errors.New("boom")}),
		withPeer(t.Context(), nil),
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://vipd/v1/act", nil)
		if err != nil {
			t.Fatal(err)
		}
		rec := &statusRecorder{header: http.Header{}}
		h.ServeHTTP(rec, req)
		if reached || rec.status != http.StatusForbidden {
			t.Errorf("the answer is %d, reached %t; want %d", rec.status, reached, http.StatusForbidden)
		}
	}
}

func TestConnectionsAboveTheLimitWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln := newPeerListener(inner.(*net.UnixListener), 1)
	var clients [2]net.Conn
	for i := range clients {
		if clients[i], err = net.Dial("unix", path); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	first, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got := first.(*peerConn).uid; got != os.Geteuid() {
		t.Errorf("the peer's uid is %d, want %d", got, os.Geteuid())
	}
	type result struct {
		conn net.Conn
		err  error
	}
	accept := func() <-chan result {
		c := make(chan result, 1)
		go func() {
			conn, err := ln.Accept()
			c <- result{conn, err}
		}()
		return c
	}
	second := accept()
	select {
	case r := <-second:
		t.Fatalf("a second connection was accepted above the limit: %+v", r)
	default:
	}
	first.Close()
	first.Close() // frees its slot only once
	r := <-second
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.conn.Close()
	third := accept()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-third; !errors.Is(r.err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener returns %+v, want %v", r, net.ErrClosed)
	}
}

func TestADocumentOfANewerDaemonIsRead(t *testing.T) {
	var got Status
	if err := json.Unmarshal([]byte(`{"instances":[{"name":"VI_1","state":"handing-over","novelty":{"a":1}}],"more":[]}`), &got); err != nil {
		t.Fatal(err)
	}
	if want := []Instance{{Name: "VI_1", State: "handing-over"}}; !reflect.DeepEqual(got.Instances, want) {
		t.Errorf("instances are %+v, want %+v", got.Instances, want)
	}
}
