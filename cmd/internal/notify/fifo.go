package notify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vipd/checks/command"
)

const (
	// maxLines is how many lines wait for room in a pipe, beside the 64 KiB
	// that the kernel keeps. keepalived loses what does not fit into those.
	maxLines = 10_000
	// flushTimeout is for how long Close waits until the last lines have been
	// written, and the script of the pipe has read them.
	flushTimeout = time.Second
	// eofTimeout is for how long the script of a pipe is given at its end
	// before SIGTERM.
	eofTimeout = 500 * time.Millisecond
	// How long it takes until a script of a pipe that ended is started again,
	// and for how long it must have run to be thought well.
	minRestart = time.Second
	maxRestart = time.Minute
)

// A FIFO is a named pipe that gets a line for each event (keepalived:
// notify_fifo, vrrp_notify_fifo).
type FIFO struct {
	Path     string
	UID, GID int // the pipe's owner, if it is made here; -1: our own
	// Script is started with Path as its last argument and again whenever it
	// ends; nil: none.
	Script *command.Spec
	// All tells notify_fifo from vrrp_notify_fifo. As everything here is about
	// VRRP, both get the same.
	All bool
}

// keyword returns how the FIFO is called in the configuration.
func (f FIFO) keyword() string {
	if f.All {
		return "notify_fifo"
	}
	return "vrrp_notify_fifo"
}

// A FIFOStatus says how a pipe is doing.
type FIFOStatus struct {
	Path    string
	Error   string // why it is not used; empty: it is
	Waiting int    // lines that wait for room in the pipe
	Dropped uint64 // lines that were lost
}

// FIFOs returns how the pipes are doing, in the order of the configuration.
func (n *Notifier) FIFOs() []FIFOStatus {
	all := make([]FIFOStatus, len(n.fifos))
	for i, f := range n.fifos {
		all[i] = f.status()
	}
	return all
}

// TakeOver has n remove the pipes that old has made and that n uses, too, so that
// they outlive old. It is called before old is closed.
func (n *Notifier) TakeOver(old *Notifier) {
	for _, f := range n.fifos {
		for _, o := range old.fifos {
			if f.err == nil && o.err == nil && f.Path == o.Path && o.created {
				f.created, o.created = true, false
			}
		}
	}
}

// A fifo is a FIFO that is open.
type fifo struct {
	FIFO
	log     *slog.Logger
	err     error    // why it could not be opened; the rest is not set then
	file    *os.File // open for reading, too: there is always a reader
	created bool     // by us, so that it is removed by us

	written  chan struct{} // closed when write has ended
	endOfRun context.CancelFunc
	ended    chan struct{} // closed when supervise has ended

	mu      sync.Mutex
	more    sync.Cond
	lines   []string
	taken   int // lines that write has taken but not written
	lagging bool
	full    bool // lines have been dropped since it was lagging
	dropped uint64
	closing bool
}

// openFIFO makes and opens a pipe and starts what belongs to it.
func openFIFO(c FIFO, r runner, log *slog.Logger) *fifo {
	f := &fifo{FIFO: c, log: log.With("fifo", c.Path)}
	f.more.L = &f.mu
	if f.err = f.open(); f.err != nil {
		f.log.Error(c.keyword()+" is not used", "error", f.err)
		return f
	}
	f.written, f.ended = make(chan struct{}), make(chan struct{})
	go f.write()
	ctx, cancel := context.WithCancel(context.Background())
	f.endOfRun = cancel
	if c.Script == nil {
		close(f.ended)
	} else {
		go f.supervise(ctx, r)
	}
	return f
}

// open makes the pipe if it is missing, and opens it.
func (f *fifo) open() error {
	switch err := unix.Mkfifo(f.Path, 0o600); {
	case err == nil:
		f.created = true
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("notify: making %s: %w", f.Path, err)
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err == nil {
		if err = f.check(file); err == nil {
			f.file = file
			return nil
		}
		_ = file.Close()
	}
	if f.created {
		_ = os.Remove(f.Path)
	} else if errors.Is(err, fs.ErrPermission) {
		// Under a service manager root may have no CAP_DAC_OVERRIDE.
		err = fmt.Errorf("%w (it was there before, and is closed to vipd: remove it, and vipd makes one that its user can read)", err)
	}
	return fmt.Errorf("notify: opening %s: %w", f.Path, err)
}

// check refuses what somebody else may have put in place of the pipe, and gives
// one that is new its mode and owner.
func (f *fifo) check(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeNamedPipe {
		return errors.New("not a FIFO")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if uid := int(st.Uid); uid != os.Geteuid() && uid != f.UID {
			return fmt.Errorf("owned by uid %d: neither ours nor of the configured user: remove it, or configure its owner", uid)
		}
	}
	if !f.created {
		return nil
	}
	if err := file.Chmod(0o600); err != nil {
		return err
	}
	if f.UID >= 0 || f.GID >= 0 {
		err := file.Chown(f.UID, f.GID)
		if errors.Is(err, fs.ErrPermission) && f.UID >= 0 {
			// To give it away takes CAP_CHOWN, with which a service could take
			// every file of the host. To let somebody use it does not.
			err = admit(file, uint32(f.UID))
		}
		if err != nil {
			f.log.Warn("cannot give the FIFO to its user", "error", err)
		}
	}
	return nil
}

// admit lets a user read and write a file that stays ours, by its access control
// list: nobody else may (acl(5), posix_acl_xattr.h in Linux).
func admit(file *os.File, uid uint32) error {
	const (
		version                              = 2
		userObj, user, groupObj, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20
		readWrite, nothing                   = 6, 0
		undefined                            = 1<<32 - 1
	)
	list := binary.LittleEndian.AppendUint32(nil, version)
	for _, e := range []struct {
		tag, permissions uint16
		id               uint32
	}{{userObj, readWrite, undefined}, {user, readWrite, uid}, {groupObj, nothing, undefined}, {mask, readWrite, undefined}, {other, nothing, undefined}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.permissions)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = unix.Fsetxattr(int(fd), "system.posix_acl_access", list, 0) }); err != nil {
		return err
	}
	return os.NewSyscallError("setting its access control list", failed)
}

// status returns how f is doing.
func (f *fifo) status() FIFOStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := FIFOStatus{Path: f.Path, Waiting: len(f.lines) + f.taken, Dropped: f.dropped}
	if f.err != nil {
		s.Error = f.err.Error()
	}
	return s
}

// push has a line written. It does not block.
func (f *fifo) push(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.closing {
		return
	}
	if len(f.lines)+f.taken >= maxLines {
		f.dropped++
		if !f.full {
			f.full = true
			f.log.Error("too many lines wait for the reader of the FIFO; dropping new ones", "waiting", maxLines)
		}
		return
	}
	f.lines = append(f.lines, line)
	f.more.Signal()
}

// write writes lines, in order, whenever there is room for them.
func (f *fifo) write() {
	defer close(f.written)
	raw, err := f.file.SyscallConn()
	if err != nil {
		f.log.Error("cannot write to the FIFO", "error", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for len(f.lines) == 0 {
			f.caughtUp()
			if f.closing {
				return
			}
			f.more.Wait()
		}
		lines := f.lines
		f.lines, f.taken = nil, len(lines)
		for _, line := range lines {
			f.mu.Unlock()
			err := f.send(raw, line)
			f.mu.Lock()
			if err != nil {
				// The end came before there was room.
				f.dropped += uint64(f.taken + len(f.lines))
				f.log.Warn("lines are lost: nobody reads the FIFO", "lines", f.taken+len(f.lines), "error", err)
				f.lines, f.taken = nil, 0
				return
			}
			f.taken--
		}
	}
}

// caughtUp ends what began when the pipe was full. f.mu is held.
func (f *fifo) caughtUp() {
	if f.lagging {
		f.log.Info("the reader of the FIFO has caught up", "dropped", f.dropped)
	}
	f.lagging, f.full = false, false
}

// send writes one line. It waits for room; a line goes in as a whole or not at
// all (POSIX: PIPE_BUF).
func (f *fifo) send(raw syscall.RawConn, line string) error {
	var failure error
	err := raw.Write(func(fd uintptr) bool {
		for {
			switch _, failure = unix.Write(int(fd), []byte(line)); failure {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				f.lag()
				return false
			}
			return true
		}
	})
	if err != nil {
		return err
	}
	return failure
}

// lag says once that the pipe is full.
func (f *fifo) lag() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lagging {
		f.lagging = true
		f.log.Warn("the FIFO is full: its reader does not keep up, or there is none; lines wait", "at_most", maxLines)
	}
}

// supervise runs the script of the pipe, again and again.
func (f *fifo) supervise(ctx context.Context, r runner) {
	defer close(f.ended)
	spec := *f.Script
	spec.Argv = slices.Concat(spec.Argv, []string{f.Path})
	spec.Timeout = 0
	delay := minRestart
	for {
		res := r.Run(ctx, &spec)
		f.mu.Lock()
		closing := f.closing
		f.mu.Unlock()
		if closing || ctx.Err() != nil {
			return
		}
		if res.Duration >= maxRestart {
			delay = minRestart
		}
		f.log.Warn("the script of the FIFO ended; it is started again", "script", spec.Argv[0], "result", res.String(),
			"after", res.Duration, "in", delay, "output", tail(res.Output, res.Truncated, len(res.Output)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, maxRestart)
	}
}

// close writes what still waits, lets the script of the pipe read it, and ends
// both. It takes flushTimeout and eofTimeout at most, apart from what a script
// needs to obey a signal, and less if ctx ends.
func (f *fifo) close(ctx context.Context) {
	if f.err != nil {
		return
	}
	f.mu.Lock()
	f.closing = true
	f.more.Signal()
	f.mu.Unlock()

	flush, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	select {
	case <-f.written:
	case <-flush.Done():
		_ = f.file.SetWriteDeadline(time.Now())
		<-f.written
	}
	if f.Script != nil {
		f.drain(flush)
	}
	// The name goes first, so that a reader that opens the pipe again at its
	// end does not find it.
	if f.created {
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("cannot remove the FIFO", "error", err)
		}
	}
	_ = f.file.Close()

	select {
	case <-f.ended:
	case <-time.After(eofTimeout):
	case <-ctx.Done():
	}
	f.endOfRun()
	select {
	case <-f.ended:
	case <-ctx.Done():
	}
}

// drain waits until the pipe is empty.
func (f *fifo) drain(ctx context.Context) {
	raw, err := f.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		left := 0
		if raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) != nil || err != nil || left == 0 {
			return
		}
		select {
		case <-f.ended:
			return
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}
