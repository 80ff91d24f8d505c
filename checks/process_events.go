package checks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The kernel's process connector (linux/cn_proc.h).
const (
	cnIdxProc, cnValProc = 1, 1

	cnListen, cnIgnore = 1, 2

	procNone = 0 // the answer to a request
	procFork = 0x00000001
	procExec = 0x00000002
	procComm = 0x00000200
	procExit = 0x80000000

	// Where things are in a message: netlink header, connector header, event.
	cnAck     = 16 + 12
	evWhat    = 16 + 20
	evData    = evWhat + 16
	cnRequest = evWhat + 4

	procBuffer = 2 << 20 // of the socket
	procBatch  = 256     // events handled at once
	procAck    = 200 * time.Millisecond
)

// A procEvent is an event of a process, not of one of its threads.
type procEvent struct {
	what        uint32
	pid, parent int // parent of procFork only
}

// A procEventBatch is what was read at one time. lost says that events are missing.
type procEventBatch struct {
	events []procEvent
	lost   bool
}

// procEvents is a subscription to the events of all processes. It does not use
// netlink.ProcEventMonitor, which neither asks for the kernel's answer, without
// which nothing is delivered in silence, nor survives a full buffer, nor ends
// the subscription.
type procEvents struct {
	file    *os.File
	batches chan procEventBatch // closed at the end, then err is set
	err     error

	free chan []procEvent
	stop chan struct{}
	done chan struct{}
}

// openProcEvents subscribes and returns when the kernel has confirmed it. The
// error is short and says why not.
func openProcEvents() (*procEvents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			return nil, errors.New("the kernel has none")
		}
		return nil, err
	}
	if err := subscribe(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return newProcEvents(os.NewFile(uintptr(fd), "process events")), nil
}

func newProcEvents(f *os.File) *procEvents {
	e := &procEvents{
		file:    f,
		batches: make(chan procEventBatch),
		free:    make(chan []procEvent, 2),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go e.run()
	return e
}

func subscribe(fd int) error {
	if filter, err := bpf.Assemble(procFilter()); err == nil {
		program := make([]unix.SockFilter, len(filter))
		for i, f := range filter {
			program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
		}
		// Without it there is only more to read.
		_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, procBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, procBuffer)
	}
	const refused = "vipd needs CAP_NET_ADMIN of the initial user namespace"
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		if errors.Is(err, unix.EPERM) {
			return errors.New(refused)
		}
		return err
	}
	token := rand.Uint32()
	if err := unix.Sendto(fd, procRequest(token, cnListen), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		if errors.Is(err, unix.ECONNREFUSED) {
			return errors.New("they are for the initial network namespace only")
		}
		return err
	}
	// The kernel answers while the request is sent. Where it does not deliver
	// events, for example in a PID namespace, it does not answer; events may
	// come all the same if others have asked for them, but do not fit.
	buf := make([]byte, 4096)
	end := time.Now().Add(procAck)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case err == nil:
			if !fromKernel(from) {
				continue
			}
			if ok, errno := isAck(buf[:n], token); !ok {
				continue
			} else if errno != 0 {
				if errno == unix.EPERM {
					return errors.New(refused)
				}
				return errno
			}
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return err
		}
		left := time.Until(end)
		if left <= 0 {
			_ = unix.Sendto(fd, procRequest(token, cnIgnore), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			return errors.New("the kernel does not answer; they are for the initial user and PID namespace only")
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
	}
}

// procRequest is a message that asks for events or for no more of them. The
// answer goes to all who listen, and is known by the token.
func procRequest(token, op uint32) []byte {
	b := make([]byte, cnRequest)
	n := binary.NativeEndian
	n.PutUint32(b, cnRequest)
	n.PutUint16(b[4:], unix.NLMSG_DONE)
	n.PutUint32(b[16:], cnIdxProc)
	n.PutUint32(b[20:], cnValProc)
	n.PutUint32(b[cnAck:], token)
	n.PutUint16(b[32:], 4)
	n.PutUint32(b[evWhat:], op)
	return b
}

// procFilter passes answers and the four kinds of events that matter, and these
// of threads only if they are whole processes.
func procFilter() []bpf.Instruction {
	// The filter sees words in network order, which the kernel did not write.
	word := func(v uint32) uint32 {
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], v)
		return binary.BigEndian.Uint32(b[:])
	}
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: evWhat, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: word(procNone), SkipTrue: 13},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: word(procFork), SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: word(procExec), SkipTrue: 7},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: word(procComm), SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: word(procExit), SkipTrue: 5},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: evData + 8, Size: 4}, // child_pid
		bpf.TAX{},
		bpf.LoadAbsolute{Off: evData + 12, Size: 4}, // child_tgid
		bpf.Jump{Skip: 3},
		bpf.LoadAbsolute{Off: evData, Size: 4}, // process_pid
		bpf.TAX{},
		bpf.LoadAbsolute{Off: evData + 4, Size: 4}, // process_tgid
		bpf.JumpIfX{Cond: bpf.JumpEqual, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
}

func fromKernel(sa unix.Sockaddr) bool {
	from, ok := sa.(*unix.SockaddrNetlink)
	return ok && from.Pid == 0
}

// procMessage returns the message if it is one of the process connector.
func procMessage(b []byte) ([]byte, bool) {
	n := binary.NativeEndian
	if len(b) < evData+16 || n.Uint32(b[16:]) != cnIdxProc || n.Uint32(b[20:]) != cnValProc ||
		n.Uint16(b[4:]) == unix.NLMSG_ERROR || n.Uint16(b[4:]) == unix.NLMSG_NOOP {
		return nil, false
	}
	return b, true
}

// isAck reports whether a message is the answer to our request, and its error.
func isAck(b []byte, token uint32) (bool, unix.Errno) {
	n := binary.NativeEndian
	b, ok := procMessage(b)
	if !ok || n.Uint32(b[evWhat:]) != procNone || n.Uint32(b[cnAck:]) != token+1 {
		return false, 0
	}
	return true, unix.Errno(n.Uint32(b[evData:]))
}

// parseProcEvent reads an event of a process.
func parseProcEvent(b []byte) (procEvent, bool) {
	n := binary.NativeEndian
	b, ok := procMessage(b)
	if !ok {
		return procEvent{}, false
	}
	e := procEvent{what: n.Uint32(b[evWhat:])}
	word := func(i int) int { return int(n.Uint32(b[evData+4*i:])) }
	switch e.what {
	case procFork:
		e.parent, e.pid = word(1), word(3)
		return e, word(2) == word(3)
	case procExec, procComm, procExit:
		e.pid = word(1)
		return e, word(0) == word(1)
	}
	return e, false
}

// run reads until the file is closed.
func (e *procEvents) run() {
	defer close(e.done)
	defer close(e.batches)
	raw, err := e.file.SyscallConn()
	if err != nil {
		e.err = err
		return
	}
	buf := make([]byte, 4096)
	for {
		var batch procEventBatch
		select {
		case batch.events = <-e.free:
		default:
			batch.events = make([]procEvent, 0, procBatch)
		}
		err := raw.Read(func(fd uintptr) bool {
			e.err = readProcEvents(int(fd), buf, &batch)
			return len(batch.events) > 0 || batch.lost || e.err != nil
		})
		if err != nil {
			e.err = err
		}
		if e.err != nil {
			return
		}
		select {
		case e.batches <- batch:
		case <-e.stop:
			return
		}
	}
}

// readProcEvents reads what is there.
func readProcEvents(fd int, buf []byte, batch *procEventBatch) error {
	for len(batch.events) < procBatch {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			batch.lost = true
		case err != nil:
			return fmt.Errorf("reading process events: %w", err)
		default:
			if !fromKernel(from) {
				continue
			}
			if ev, ok := parseProcEvent(buf[:n]); ok {
				batch.events = append(batch.events, ev)
			}
		}
	}
	return nil
}

// recycle gives back a batch that was handled.
func (e *procEvents) recycle(b procEventBatch) {
	select {
	case e.free <- b.events[:0]:
	default:
	}
}

// close ends the subscription. The kernel goes on making events for nobody if
// it is not told.
func (e *procEvents) close() {
	if raw, err := e.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.Sendto(int(fd), procRequest(rand.Uint32(), cnIgnore), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		})
	}
	close(e.stop)
	_ = e.file.Close()
	<-e.done
}
