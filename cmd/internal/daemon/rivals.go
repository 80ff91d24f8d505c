package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vipd/vrrp"
)

// procDir is where the kernel tells of sockets and processes.
const procDir = "/proc"

// The programs that rivals are told apart by.
const (
	keepalivedName = "keepalived"
	vipdName       = "vipd"
)

// A Rival is another program that speaks VRRP in this network namespace: one
// that has raw sockets of the protocol. A vipd is none, as two of them see to it
// that they do not run the same virtual router.
type Rival struct {
	PID  int    // 0: it is not known who it is
	Name string // of the program; empty: it is not known
}

// Keepalived reports whether the rival is a keepalived.
func (r Rival) Keepalived() bool { return r.Name == keepalivedName }

// String says who it is and what it does.
func (r Rival) String() string {
	if r.PID == 0 {
		return "a program that cannot be seen from here speaks VRRP in this network namespace"
	}
	return fmt.Sprintf("%s (process id %d) speaks VRRP in this network namespace", r.Name, r.PID)
}

// A RivalError says that a keepalived runs where vipd was to be started. Neither
// would hear the other, as both are the same host, and both would be master.
type RivalError struct{ Rival Rival }

// Error says what to do.
func (e *RivalError) Error() string {
	return fmt.Sprintf("%v: stop it first (systemctl disable --now keepalived), or start vipd with --beside-keepalived if the virtual routers of the two are different ones", e.Rival)
}

// FindRivals returns who else speaks VRRP in this network namespace, each program
// once, by name.
func FindRivals() ([]Rival, error) { return findRivals(procDir) }

// meetRivals looks for rivals before a start. A keepalived is one to give up for,
// unless it is there on purpose; others are logged.
func meetRivals(log *slog.Logger, beside bool) error {
	rivals, err := FindRivals()
	if err != nil {
		log.Warn("cannot see whether another program speaks VRRP here", "error", err)
		return nil
	}
	for _, r := range rivals {
		if r.Keepalived() && !beside {
			return &RivalError{r}
		}
	}
	for _, r := range rivals {
		log.Warn(fmt.Sprintf("%v: it must not run the same virtual routers", r))
	}
	return nil
}

// findRivals is FindRivals with the directory of processes.
func findRivals(proc string) ([]Rival, error) {
	sockets, err := rawSockets(filepath.Join(proc, "self"))
	if err != nil || len(sockets) == 0 {
		return nil, err
	}
	processes, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("daemon: looking at processes: %w", err)
	}
	self, err := os.Readlink(filepath.Join(proc, "self"))
	if err != nil {
		return nil, fmt.Errorf("daemon: looking at processes: %w", err)
	}
	own, err := os.Stat(filepath.Join(proc, "self", "exe"))
	if err != nil {
		own = nil // replaced since
	}
	found := make(map[string]Rival)
	explained := make(map[uint64]bool)
	var closed []Rival // those whose sockets may not be looked at
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || p.Name() == self {
			continue
		}
		dir := filepath.Join(proc, p.Name())
		r := Rival{PID: pid, Name: programName(dir, own)}
		held, err := heldSockets(dir, sockets)
		if errors.Is(err, fs.ErrPermission) {
			closed = append(closed, r)
		}
		for _, inode := range held {
			explained[inode] = true
		}
		if _, known := found[r.Name]; len(held) > 0 && !known && r.Name != vipdName {
			found[r.Name] = r
		}
	}
	if slices.ContainsFunc(sockets, func(inode uint64) bool { return !explained[inode] }) {
		if r := suspect(proc, closed, sockets); r.Name != vipdName {
			if _, known := found[r.Name]; !known {
				found[r.Name] = r
			}
		}
	}
	rivals := make([]Rival, 0, len(found))
	for _, r := range found {
		rivals = append(rivals, r)
	}
	slices.SortFunc(rivals, func(a, b Rival) int { return strings.Compare(a.Name, b.Name) })
	return rivals, nil
}

// suspect returns who, of processes whose sockets may not be looked at, has those
// that are left. A service has fewer capabilities than a keepalived that runs as
// root, and may know no more of it than its name and its network namespace. A
// keepalived in this namespace is the answer; then a vipd.
func suspect(proc string, closed []Rival, sockets []uint64) Rival {
	for _, name := range []string{keepalivedName, vipdName} {
		for _, r := range closed {
			if r.Name != name {
				continue
			}
			// Which sockets its namespace has is no secret.
			theirs, err := rawSockets(filepath.Join(proc, strconv.Itoa(r.PID)))
			if err == nil && slices.ContainsFunc(theirs, func(inode uint64) bool { return slices.Contains(sockets, inode) }) {
				return r
			}
		}
	}
	return Rival{}
}

// rawSockets returns the inodes of the raw sockets of VRRP in the network
// namespace of a process.
func rawSockets(process string) ([]uint64, error) {
	var inodes []uint64
	for _, name := range []string{"raw", "raw6"} {
		text, err := os.ReadFile(filepath.Join(process, "net", name))
		if errors.Is(err, fs.ErrNotExist) && name == "raw6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("daemon: looking at raw sockets: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			// Number, local address and protocol, remote address, state, queues,
			// timer, retransmissions, user, timeout, inode.
			fields := strings.Fields(line)
			if len(fields) < 10 {
				continue
			}
			colon := strings.LastIndexByte(fields[1], ':')
			protocol, err := strconv.ParseUint(fields[1][colon+1:], 16, 16)
			if err != nil || protocol != vrrp.Protocol {
				continue // also the line with the titles
			}
			if inode, err := strconv.ParseUint(fields[9], 10, 64); err == nil {
				inodes = append(inodes, inode)
			}
		}
	}
	return inodes, nil
}

// heldSockets returns those of some sockets that a process has open. That it has
// ended is no error.
func heldSockets(process string, sockets []uint64) ([]uint64, error) {
	dir := filepath.Join(process, "fd")
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var held []uint64
	for _, f := range files {
		target, err := os.Readlink(filepath.Join(dir, f.Name()))
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		number, ok := strings.CutPrefix(target, "socket:[")
		if err != nil || !ok {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
		if err == nil && slices.Contains(sockets, inode) {
			held = append(held, inode)
		}
	}
	return held, nil
}

// programName returns the name of the program that a process runs, vipd for this
// one under whatever name: it may be installed as keepalived.
func programName(process string, own fs.FileInfo) string {
	exe := filepath.Join(process, "exe")
	if info, err := os.Stat(exe); err == nil && own != nil && os.SameFile(info, own) {
		return vipdName
	}
	if path, err := os.Readlink(exe); err == nil {
		return strings.TrimSuffix(filepath.Base(path), " (deleted)")
	}
	// It may not be looked at, or has no program. Its name is no secret.
	name, err := os.ReadFile(filepath.Join(process, "comm"))
	if err != nil {
		return "?" // it has ended meanwhile
	}
	return strings.TrimSpace(string(name))
}
