package command

import (
	"os"
	"runtime"
	"sync"
	"syscall"
)

const (
	// keep is how much of the end of the output is kept.
	keep = 4 << 10
	// pipeSize is what a pipe holds at most: so much a program may have
	// written before it ended that was not read yet.
	pipeSize = 64 << 10
)

// A tail keeps the end of what is written to it.
type tail struct {
	buf   []byte // at most 2*keep
	total int64
}

func (t *tail) add(p []byte) {
	t.total += int64(len(p))
	if len(p) > keep {
		p = p[len(p)-keep:]
	}
	if len(t.buf)+len(p) > 2*keep {
		n := copy(t.buf, t.buf[len(t.buf)-(keep-len(p)):])
		t.buf = t.buf[:n]
	}
	t.buf = append(t.buf, p...)
}

func (t *tail) String() string { return string(t.buf[max(0, len(t.buf)-keep):]) }

// An output is the reading end of the pipe that a program, and those it starts,
// write to. It is read for as long as somebody holds the other end: a full pipe
// would stop them, a closed one end them with SIGPIPE.
type output struct {
	f    *os.File
	conn syscall.RawConn
	pool *sync.Pool // of *[pipeSize]byte: one that waits for output needs none

	mu     sync.Mutex
	tail   tail
	closed bool // nobody holds the other end
	left   bool // the program has ended: what follows is of no interest
}

// newOutput takes over the descriptor of a pipe, which must not block.
func newOutput(fd int, pool *sync.Pool) (*output, error) {
	o := &output{f: os.NewFile(uintptr(fd), "output"), pool: pool}
	var err error
	if o.conn, err = o.f.SyscallConn(); err != nil {
		_ = o.f.Close()
		return nil, err
	}
	return o, nil
}

// follow reads until nobody holds the other end or the output is closed.
func (o *output) follow() {
	_ = o.conn.Read(func(fd uintptr) bool {
		return o.take(int(fd), 0)
	})
	_ = o.f.Close()
}

// take reads what is there, at most about limit octets unless that is 0, and
// reports whether nothing more will come.
func (o *output) take(fd, limit int) (end bool) {
	buf := o.pool.Get().(*[pipeSize]byte)
	defer o.pool.Put(buf)
	for done := 0; limit == 0 || done < limit; {
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return true
		}
		n, err := syscall.Read(fd, buf[:])
		if n > 0 && !o.left {
			o.tail.add(buf[:n])
		}
		o.closed = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
		o.mu.Unlock()
		switch {
		case err == syscall.EINTR:
		case n <= 0:
			// Only now may the poller be waited for: it tells of data and of
			// the end at once, and only once.
			return err != syscall.EAGAIN
		}
		done += max(n, 0)
		// A program that writes as fast as it can must not keep a processor
		// of the runtime from what is urgent.
		runtime.Gosched()
	}
	return false
}

// finish takes what the program has written before it ended, and reports
// whether others hold the other end still. follow goes on then.
func (o *output) finish() (text string, truncated, held bool) {
	var end bool
	err := o.conn.Control(func(fd uintptr) { end = o.take(int(fd), pipeSize) })
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left = true
	text, truncated = o.tail.String(), o.tail.total > keep
	o.tail = tail{}
	return text, truncated, err == nil && !end && !o.closed
}

// close has follow return. Whoever writes to the pipe gets SIGPIPE.
func (o *output) close() { _ = o.f.Close() }
