package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"time"
)

// requestTimeout is how long a Client waits for an answer if the caller's
// context has no deadline of its own: a little more than the daemon allows
// itself to collect it.
const requestTimeout = sourceTimeout + 5*time.Second

// A daemon that has not answered for patience is looked at, every lookAgain: one
// that is stopped will not answer. One that was seen to sleep in the kernel so
// often, one look after the other, neither.
const (
	patience   = 2 * time.Second
	lookAgain  = 200 * time.Millisecond
	asleepMost = 4
)

// maxAnswer bounds what a Client reads. It is far above what any number of
// instances takes.
const maxAnswer = 256 << 20

// A Client talks to the daemon of one run directory. Its errors are
// *UnreachableError when no daemon answers, *PermissionError when the caller
// may not ask, and *ResponseError when the daemon answers with an error.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the daemon that uses runDir. It does not
// connect yet.
func NewClient(runDir string) *Client {
	path := SocketPath(runDir)
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx, path) },
		// The host is not a host; a proxy from the environment must not see it.
		Proxy:                  nil,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}}}
}

// connect connects to a control socket.
func connect(ctx context.Context, path string) (net.Conn, error) {
	name, done, err := reach(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", name)
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns the daemon's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	err := c.get(ctx, "/v1/status", &st)
	return st, err
}

// StatusJSON returns the daemon's status as the document it sent, with whatever
// a newer daemon added to it.
func (c *Client) StatusJSON(ctx context.Context) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.get(ctx, "/v1/status", &raw)
	return raw, err
}

// Version returns what is running.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	var v VersionInfo
	err := c.get(ctx, "/v1/version", &v)
	return v, err
}

// PID returns the process id of the daemon as it is in this process's namespace,
// which the document cannot know; 0 if it is not visible there.
func (c *Client) PID(ctx context.Context) (int, error) {
	pid, err := c.listener(ctx)
	if err != nil {
		return 0, c.classify(ctx, err)
	}
	return pid, nil
}

// listener returns the process that has made the socket.
func (c *Client) listener(ctx context.Context) (pid int, err error) {
	conn, err := connect(ctx, c.path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	cred, err := socketPeer(conn.(*net.UnixConn))
	if err != nil {
		return 0, fmt.Errorf("control: asking who listens on %s: %w", c.path, err)
	}
	return int(cred.Pid), nil
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, http.MethodGet, path, nil, into)
}

// ask asks for a path; send, unless nil, is the document that goes with it.
func (c *Client) ask(ctx context.Context, method, path string, send, into any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	var content io.Reader
	if send != nil {
		b, err := json.Marshal(send)
		if err != nil {
			return fmt.Errorf("control: asking for %s: %w", path, err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://vipd"+path, content)
	if err != nil {
		return fmt.Errorf("control: asking for %s: %w", path, err)
	}
	if send != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req, watched := c.watch(req)
	defer watched()
	resp, err := c.http.Do(req)
	if err != nil {
		return c.classify(req.Context(), err)
	}
	defer resp.Body.Close()
	// One octet more than allowed tells a long answer from a cut one.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.classify(req.Context(), err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("control: the answer to %s is longer than %d octets", path, maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return c.responseError(resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("control: reading the answer to %s: %w", path, err)
	}
	return nil
}

// errStuck is why a request is given up before its time.
var errStuck = errors.New("the process does not run")

// watch returns the request so that it ends when the daemon turns out not to run,
// and a function that ends the watch.
func (c *Client) watch(req *http.Request) (*http.Request, func()) {
	ctx, giveUp := context.WithCancelCause(req.Context())
	go func() {
		look := time.NewTimer(patience)
		defer look.Stop()
		for asleep := 0; ; look.Reset(lookAgain) {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			_, state := c.process(ctx)
			if asleep++; state != stateAsleep {
				asleep = 0
			}
			if stopped(state) || asleep >= asleepMost {
				giveUp(errStuck)
				return
			}
		}
	}()
	return req.WithContext(ctx), func() { giveUp(nil) }
}

// process returns the daemon's process id and its state as /proc has it, as far as
// they can be known from here.
func (c *Client) process(ctx context.Context) (pid int, state string) {
	pid, err := c.listener(ctx)
	if err != nil || pid == 0 {
		return 0, ""
	}
	stat, err := processStat(pid)
	if err != nil {
		return pid, ""
	}
	return pid, stat[0]
}

// classify sorts an error of the transport by what the caller can do about it.
func (c *Client) classify(ctx context.Context, err error) error {
	stuck := errors.Is(context.Cause(ctx), errStuck)
	switch {
	case stuck || errors.Is(err, context.DeadlineExceeded):
		e := &UnreachableError{Path: c.path, Err: cause(err)}
		if stuck {
			e.Err = errStuck
		}
		// The time that there was is over.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookAgain)
		defer cancel()
		e.PID, e.State = c.process(ctx)
		return e
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("control: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return &PermissionError{Path: c.path, Err: cause(err)}
	}
	return &UnreachableError{Path: c.path, Err: cause(err)}
}

// cause strips what net/http and net put around an error: the made-up URL, and
// the path, which the typed errors name themselves.
func cause(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return err
}

func (c *Client) responseError(status int, body []byte) error {
	e := errorBody{Error: ResponseError{Message: http.StatusText(status)}}
	// A body that is not ours leaves the status text to speak.
	_ = json.Unmarshal(body, &e)
	e.Error.StatusCode = status
	if status == http.StatusForbidden {
		return &PermissionError{Path: c.path, Err: &e.Error}
	}
	return &e.Error
}
