package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vipd/vrrp"
)

// A LockedError says that another vipd uses a run directory.
type LockedError struct {
	RunDir string
	PID    int // 0 if unknown
}

// Error names the other vipd and the cure.
func (e *LockedError) Error() string {
	return fmt.Sprintf("control: another vipd (%s) already uses %s: stop it, or give this one a run directory of its own (--run-dir)", pidText(e.PID), e.RunDir)
}

func pidText(pid int) string {
	if pid <= 0 {
		return "pid unknown"
	}
	return "pid " + strconv.Itoa(pid)
}

// Lock takes the run directory for this process, creating it if need be, until
// the closer is closed or the process ends. It returns a *LockedError if
// another process has it.
//
// The lock file stays behind on purpose: removing it would let two processes
// lock two files of the same name.
func Lock(runDir string) (io.Closer, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("control: creating the run directory: %w", err)
	}
	f, err := os.OpenFile(LockPath(runDir), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("control: opening the lock file: %w", err)
	}
	err = flock(f)
	for began := time.Now(); errors.Is(err, unix.EWOULDBLOCK) && time.Since(began) < dyingTimeout && dying(readPID(f)); {
		time.Sleep(dyingPoll)
		err = flock(f)
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		defer f.Close()
		return nil, &LockedError{RunDir: runDir, PID: readPID(f)}
	case err != nil:
		return nil, errors.Join(fmt.Errorf("control: locking %s: %w", f.Name(), err), f.Close())
	}
	// The number is for people and for LockedError; the lock itself is the
	// kernel's and does not need it. So a full disk keeps nobody from starting.
	_ = writePID(f)
	return &lock{f}, nil
}

// A process that was killed holds its lock until the kernel has taken it down, which
// is after whoever killed it thinks that it is gone.
const (
	dyingTimeout = 2 * time.Second
	dyingPoll    = 10 * time.Millisecond
)

// dying reports whether a process has been killed, or is on its way out.
func dying(pid int) bool {
	fields, err := processStat(pid)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	const exiting = 0x4 // PF_EXITING
	flags, _ := strconv.ParseUint(fields[6], 10, 64)
	if fields[0] == "Z" || fields[0] == "X" || flags&exiting != 0 {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for line := range strings.Lines(string(status)) {
		key, mask, _ := strings.Cut(line, ":")
		if key != "SigPnd" && key != "ShdPnd" {
			continue
		}
		if pending, _ := strconv.ParseUint(strings.TrimSpace(mask), 16, 64); pending&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}

// processStat returns what the kernel tells of a process (proc_pid_stat(5)) from its
// state on: that is the first, its flags are the seventh.
func processStat(pid int) ([]string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The name in parentheses may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 7 {
		return nil, fmt.Errorf("control: /proc/%d/stat is too short", pid)
	}
	return fields, nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func readPID(f *os.File) int {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0) // io.EOF, as the file is shorter
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}

type lock struct{ f *os.File }

// Close gives the run directory up.
func (l *lock) Close() error {
	// An empty file cannot name a process that is long gone to whoever comes
	// between the next owner's lock and its number.
	terr := l.f.Truncate(0)
	if err := errors.Join(terr, l.f.Close()); err != nil {
		return fmt.Errorf("control: unlocking the run directory: %w", err)
	}
	return nil
}

// A ClaimedError says that a virtual router already runs in this network
// namespace.
type ClaimedError struct {
	Interface string
	Family    vrrp.Family
	VRID      uint8
	PID       int // of the process that runs it; 0 if unknown
	UID       int // of that process; -1 if unknown
}

// Error names the virtual router and who runs it.
func (e *ClaimedError) Error() string {
	who := pidText(e.PID)
	if e.UID > 0 && e.UID != os.Geteuid() {
		who += ", which belongs to user " + strconv.Itoa(e.UID)
	}
	on := ""
	if e.Interface != "" {
		on = " on " + e.Interface
	}
	return fmt.Sprintf("control: %s virtual router %d%s is already run by another process in this network namespace (%s)", e.Family, e.VRID, on, who)
}

// claimBacklog bounds the connections that ask a claim for its owner. They are
// never accepted, so each stays in the queue; when it is full the owner is no
// longer told. Whoever is refused then must take it for one to respect.
const claimBacklog = 16

// Claim takes a virtual router for this process, in the network namespace of
// the calling thread, until the closer is closed or the process ends. It
// returns a *ClaimedError if another process has it, also one that uses
// another run directory.
//
// The claim is an abstract unix socket: its name exists once per network
// namespace and goes away with the process, however that ends.
func Claim(iface string, family vrrp.Family, vrid uint8) (io.Closer, error) {
	for began := time.Now(); ; time.Sleep(dyingPoll) {
		c, err := tryClaim(iface, family, vrid)
		taken, ok := errors.AsType[*ClaimedError](err)
		if !ok || time.Since(began) > dyingTimeout || taken.PID > 0 && !dying(taken.PID) || taken.PID == 0 && time.Since(began) > dyingPoll {
			return c, err
		}
	}
}

func tryClaim(iface string, family vrrp.Family, vrid uint8) (io.Closer, error) {
	addr := &unix.SockaddrUnix{Name: claimName(iface, family, vrid)}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("control: claiming %s: %w", addr.Name, err)
	}
	switch err := unix.Bind(fd, addr); {
	case errors.Is(err, unix.EADDRINUSE):
		_ = unix.Close(fd)
		c := &ClaimedError{Interface: iface, Family: family, VRID: vrid}
		c.PID, c.UID = claimOwner(addr)
		return nil, c
	case err != nil:
		_ = unix.Close(fd)
		return nil, fmt.Errorf("control: claiming %s: %w", addr.Name, err)
	}
	// Listening makes the kernel tell this process's pid to whoever connects.
	if err := unix.Listen(fd, claimBacklog); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("control: claiming %s: %w", addr.Name, err)
	}
	return &claim{os.NewFile(uintptr(fd), addr.Name)}, nil
}

// claimName is the abstract name ("@") of a virtual router.
func claimName(iface string, family vrrp.Family, vrid uint8) string {
	return fmt.Sprintf("@vipd/%s/%s/%d", iface, family, vrid)
}

// claimOwner asks the kernel who listens on addr.
func claimOwner(addr unix.Sockaddr) (pid, uid int) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, -1
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, addr); err != nil {
		return 0, -1
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, -1
	}
	return int(cred.Pid), int(cred.Uid)
}

type claim struct{ f *os.File }

// Close gives the virtual router up.
func (c *claim) Close() error { return c.f.Close() }
