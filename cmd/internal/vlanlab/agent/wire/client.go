package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ErrLost is the error of what was asked of a machine that went down, or was
// reset, before it answered.
var ErrLost = errors.New("the machine went down before it answered")

// ask is how often the host asks who is there. The agent announces itself, too.
const ask = 250 * time.Millisecond

// A Client is the host's end of a machine's serial port.
type Client struct {
	queue chan []byte   // lines to be sent
	done  chan struct{} // closed when there is nothing more to be read

	mu      sync.Mutex
	last    uint64
	boot    string // of the agent that is there; empty if none is known
	gone    string // the boot before it
	changed chan struct{}
	pending map[uint64]chan response // each takes one; closed when the answer is lost
	err     error                    // why nothing more is read
}

// NewClient returns a Client for a port. It reads until the port is closed, which
// is for the caller to do.
func NewClient(port io.ReadWriter) *Client {
	c := &Client{
		queue:   make(chan []byte, 16),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		pending: map[uint64]chan response{},
	}
	go c.read(port)
	go c.write(port)
	return c
}

func (c *Client) write(w io.Writer) {
	for {
		select {
		case <-c.done:
			return
		case b := <-c.queue:
			// When writing fails so does reading, and that says it.
			_, _ = w.Write(b)
		}
	}
}

func (c *Client) read(r io.Reader) {
	for b := bufio.NewReader(r); ; {
		text, err := b.ReadBytes('\n')
		if err != nil {
			c.mu.Lock()
			c.err = fmt.Errorf("wire: the port was closed: %w", ErrLost)
			c.lose()
			c.mu.Unlock()
			close(c.done)
			return
		}
		var resp response
		if json.Unmarshal(text, &resp) == nil && resp.Boot != "" {
			c.take(resp)
		}
	}
}

// take takes what an agent sends.
func (c *Client) take(resp response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// What a boot sent that is over can still be on its way.
	if resp.Boot == c.gone {
		return
	}
	if resp.Boot != c.boot {
		if c.boot != "" { // a reboot that nobody told of
			c.lose()
		}
		c.boot = resp.Boot
		c.signal()
	}
	if answer, ok := c.pending[resp.ID]; ok {
		delete(c.pending, resp.ID)
		answer <- resp
	}
}

// lose forgets the boot and everything that was asked of it. The caller holds mu.
func (c *Client) lose() {
	if c.boot != "" {
		c.gone, c.boot = c.boot, ""
	}
	for _, id := range slices.Collect(maps.Keys(c.pending)) {
		close(c.pending[id])
		delete(c.pending, id)
	}
	c.signal()
}

// signal tells who waits that the boot has changed. The caller holds mu.
func (c *Client) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Lost tells that the machine was reset: everything that was asked fails.
func (c *Client) Lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose()
}

// Boot returns the name of the boot that answers, empty if there is none.
func (c *Client) Boot() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// WaitUp waits until an agent is there.
func (c *Client) WaitUp(ctx context.Context) error {
	return c.wait(ctx, func() bool { return c.boot != "" })
}

// WaitGone waits until a boot is over.
func (c *Client) WaitGone(ctx context.Context, boot string) error {
	return c.wait(ctx, func() bool { return c.boot != boot })
}

// wait waits until a condition on the boot holds, which is asked for under mu.
func (c *Client) wait(ctx context.Context, holds func() bool) error {
	tick := time.NewTicker(ask)
	defer tick.Stop()
	for {
		c.mu.Lock()
		ok, changed, err := holds(), c.changed, c.err
		c.mu.Unlock()
		if ok {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-tick.C:
			c.hello()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hello asks who is there, unless so much is unsent that nobody can be.
func (c *Client) hello() {
	c.mu.Lock()
	c.last++
	b, err := line(request{ID: c.last, Op: opHello})
	c.mu.Unlock()
	if err != nil {
		return
	}
	select {
	case c.queue <- b:
	default:
	}
}

// A call is a request that is to be answered.
type call struct {
	client *Client
	id     uint64
	answer <-chan response
}

// send sends a request to the boot that is there.
func (c *Client) send(ctx context.Context, req request) (*call, error) {
	answer := make(chan response, 1)
	c.mu.Lock()
	if c.err != nil || c.boot == "" {
		err := c.err
		c.mu.Unlock()
		if err == nil {
			err = fmt.Errorf("wire: no agent is there: %w", ErrLost)
		}
		return nil, err
	}
	c.last++
	req.ID, req.Boot = c.last, c.boot
	b, err := line(req)
	if err != nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("wire: %w", err)
	}
	c.pending[req.ID] = answer
	c.mu.Unlock()

	select {
	case c.queue <- b:
		return &call{client: c, id: req.ID, answer: answer}, nil
	case <-ctx.Done():
		c.forget(req.ID)
		return nil, ctx.Err()
	case <-c.done:
		return nil, c.err
	}
}

// forget drops a request: an answer will be ignored.
func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// wait waits for the answer.
func (k *call) wait(ctx context.Context) (response, error) {
	select {
	case resp, ok := <-k.answer:
		if !ok {
			return response{}, fmt.Errorf("wire: %w", ErrLost)
		}
		if resp.Error != "" {
			return resp, fmt.Errorf("wire: the agent: %s", resp.Error)
		}
		return resp, nil
	case <-ctx.Done():
		return response{}, ctx.Err()
	}
}

// do sends a request and waits for the answer.
func (c *Client) do(ctx context.Context, req request) (response, error) {
	k, err := c.send(ctx, req)
	if err != nil {
		return response{}, err
	}
	defer c.forget(k.id)
	return k.wait(ctx)
}

// A Job is a command that runs in a machine. Its methods are for one goroutine.
type Job struct {
	call   *call
	ended  bool
	result Result
	err    error
}

// Start starts a command: sh -c.
func (c *Client) Start(ctx context.Context, command string) (*Job, error) {
	k, err := c.send(ctx, request{Op: opRun, Command: command})
	if err != nil {
		return nil, err
	}
	return &Job{call: k}, nil
}

// Run runs a command to its end: sh -c. If the context ends before, so does the
// command.
func (c *Client) Run(ctx context.Context, command string) (Result, error) {
	j, err := c.Start(ctx, command)
	if err != nil {
		return Result{}, err
	}
	result, err := j.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		j.kill()
	}
	return result, err
}

// Wait waits until the command has ended. When the context ends it may be called
// again.
func (j *Job) Wait(ctx context.Context) (Result, error) {
	if j.ended {
		return j.result, j.err
	}
	resp, err := j.call.wait(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrLost) {
		return Result{}, err
	}
	j.ended, j.result, j.err = true, resp.result(), err
	return j.result, j.err
}

// Output returns what the command has written so far.
func (j *Job) Output(ctx context.Context) (Result, error) {
	if j.ended {
		return j.result, j.err
	}
	resp, err := j.call.client.do(ctx, request{Op: opOutput, Of: j.call.id})
	if err != nil {
		// It may have ended meanwhile, and its answer came first.
		select {
		case <-ctx.Done():
		default:
			if len(j.call.answer) > 0 {
				return j.Wait(ctx)
			}
		}
		return Result{}, err
	}
	return resp.result(), nil
}

// Signal sends a signal to all processes of the command.
func (j *Job) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := j.call.client.do(ctx, request{Op: opSignal, Of: j.call.id, Signal: int(sig)})
	return err
}

// kill ends the command of somebody who waits no longer.
func (j *Job) kill() {
	c := j.call.client
	c.forget(j.call.id)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if k, err := c.send(ctx, request{Op: opSignal, Of: j.call.id, Signal: int(syscall.SIGKILL)}); err == nil {
		c.forget(k.id)
	}
}

func (r response) result() Result {
	return Result{Stdout: string(r.Stdout), Stderr: string(r.Stderr), Code: r.Code}
}

// Put writes a file. It is in place when it is whole, and on the disk.
func (c *Client) Put(ctx context.Context, path string, mode fs.FileMode, data []byte) error {
	for offset := 0; ; offset += chunk {
		end := min(offset+chunk, len(data))
		req := request{Op: opWrite, Path: path, Offset: int64(offset), Data: data[offset:end], Mode: mode, Last: end == len(data)}
		if _, err := c.do(ctx, req); err != nil || req.Last {
			return err
		}
	}
}

// Get reads a file.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	var data []byte
	for {
		resp, err := c.do(ctx, request{Op: opRead, Path: path, Offset: int64(len(data))})
		if err != nil {
			return nil, err
		}
		data = append(data, resp.Data...)
		if resp.Last {
			return data, nil
		}
	}
}
