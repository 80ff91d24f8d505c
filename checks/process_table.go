package checks

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// A procfs reads a mounted proc file system.
type procfs struct {
	root string
}

// A procStat is what is read of a process.
type procStat struct {
	comm   string
	zombie bool // has ended and was not waited for
	kernel bool // is a thread of the kernel
}

// pids appends the numbers of all processes.
func (p procfs) pids(list []int) ([]int, error) {
	dir, err := os.Open(p.root)
	if err != nil {
		return list, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return list, err
	}
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	return list, nil
}

// read returns the start of a file of a process. It does without package os,
// whose files cost more than reading them.
func (p procfs) read(pid int, name string, buf []byte) ([]byte, error) {
	path := p.root + "/" + strconv.Itoa(pid) + "/" + name
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	for {
		n, err := syscall.Read(fd, buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

// stat reads name and state of a process.
func (p procfs) stat(pid int, buf []byte) (procStat, error) {
	b, err := p.read(pid, "stat", buf)
	if err != nil {
		return procStat{}, err
	}
	s, ok := parseStat(b)
	if !ok {
		return s, errors.New("malformed stat")
	}
	return s, nil
}

// parseStat reads /proc/PID/stat: "12 (name) S 1 12 12 0 -1 flags …". The name
// may have parentheses and blanks itself.
func parseStat(b []byte) (procStat, bool) {
	const kthread = 0x00200000 // PF_KTHREAD
	begin, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if begin < 0 || end < begin {
		return procStat{}, false
	}
	fields := bytes.Fields(b[end+1:])
	if len(fields) < 7 {
		return procStat{}, false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	if err != nil {
		return procStat{}, false
	}
	return procStat{
		comm:   string(b[begin+1 : end]),
		zombie: fields[0][0] == 'Z' || fields[0][0] == 'X',
		kernel: flags&kthread != 0,
	}, true
}

// comm reads only the name, which costs a fraction of stat.
func (p procfs) comm(pid int, buf []byte) ([]byte, error) {
	b, err := p.read(pid, "comm", buf)
	return bytes.TrimSuffix(b, []byte("\n")), err
}

// A procEntry is one process.
type procEntry struct {
	comm    string
	kernel  bool
	matches []int // whom it counts for, in order
	scans   int   // how often it was seen
	seen    uint  // the last scan that saw it
}

const (
	// procYoung is for how many scans a process is looked at closely: it is
	// often about to become something else.
	procYoung = 3
	// procDeep is after how many scans all are.
	procDeep = 30
)

// A procTable knows which processes count for whom.
type procTable struct {
	proc    procfs
	configs []*ProcessConfig
	byComm  bool // some compare names
	byLine  int  // how much of command lines is read; 0: nothing

	entries map[int]*procEntry
	counts  []int // of each config
	hidden  bool  // some processes cannot be seen
	scans   uint
	buf     []byte
	pids    []int
}

func newProcTable(proc procfs, tracked []*Process) *procTable {
	t := &procTable{proc: proc, entries: make(map[int]*procEntry), counts: make([]int, len(tracked))}
	for _, p := range tracked {
		t.configs = append(t.configs, &p.config)
		if p.config.byCommand() {
			t.byLine = max(t.byLine, p.config.commandLen())
		} else {
			t.byComm = true
		}
	}
	t.buf = make([]byte, max(1024, t.byLine))
	return t
}

// count sets whom a process counts for.
func (t *procTable) count(e *procEntry, matches []int) {
	for _, i := range e.matches {
		t.counts[i]--
	}
	for _, i := range matches {
		t.counts[i]++
	}
	e.matches = matches
}

func (t *procTable) remove(pid int) {
	if e := t.entries[pid]; e != nil {
		t.count(e, nil)
		delete(t.entries, pid)
	}
}

// look reads all that matters of a process and counts it.
func (t *procTable) look(pid int, e *procEntry) error {
	s, err := t.proc.stat(pid, t.buf)
	if err != nil {
		return err
	}
	e.comm, e.kernel = s.comm, s.kernel
	if s.zombie {
		t.count(e, nil)
		return nil
	}
	var line []byte
	if t.byLine > 0 && !s.kernel {
		if line, err = t.proc.read(pid, "cmdline", t.buf[:t.byLine]); err != nil {
			return err
		}
	}
	t.count(e, t.matches(s.comm, line))
	return nil
}

func (t *procTable) matches(comm string, line []byte) []int {
	var list []int
	for i, c := range t.configs {
		if c.byCommand() && c.matchesCommand(line) || !c.byCommand() && c.matchesComm(comm) {
			list = append(list, i)
		}
	}
	return list
}

// scan looks at all processes: closely at those that are new, that count or
// that have another name than before, and at the others only at the name.
func (t *procTable) scan() error {
	var err error
	t.hidden = t.firstHidden()
	if t.pids, err = t.proc.pids(t.pids[:0]); err != nil {
		return plainPathError(err)
	}
	t.scans++
	deep := t.scans%procDeep == 0
	for _, pid := range t.pids {
		e := t.entries[pid]
		if e == nil {
			e = &procEntry{}
			t.entries[pid] = e
		}
		e.seen = t.scans
		e.scans++
		if !deep && e.scans > procYoung && len(e.matches) == 0 {
			if e.kernel {
				continue
			}
			comm, err := t.proc.comm(pid, t.buf)
			if err == nil && string(comm) == e.comm {
				continue
			}
		}
		if err := t.look(pid, e); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				t.hidden = true
			}
			t.remove(pid)
		}
	}
	for pid, e := range t.entries {
		if e.seen != t.scans {
			t.remove(pid)
		}
	}
	return nil
}

// rescan looks at all processes closely and forgets those that do not count.
func (t *procTable) rescan() error {
	clear(t.entries)
	clear(t.counts)
	err := t.scan()
	for pid, e := range t.entries {
		if len(e.matches) == 0 {
			delete(t.entries, pid)
		}
	}
	return err
}

// firstHidden reports whether the first process cannot be seen, which exists in
// every PID namespace.
func (t *procTable) firstHidden() bool {
	_, err := t.proc.stat(1, t.buf)
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// apply takes an event. After rescan, events may come that it has seen the
// results of already.
func (t *procTable) apply(e procEvent) {
	switch e.what {
	case procFork:
		// The child is what its parent is, until it becomes something else.
		// One that is known already was seen by the scan, and later.
		parent := t.entries[e.parent]
		if parent == nil || t.entries[e.pid] != nil {
			return
		}
		child := &procEntry{comm: parent.comm}
		t.entries[e.pid] = child
		t.count(child, parent.matches)
	case procExec:
		t.refresh(e.pid)
	case procComm:
		if t.byComm {
			t.refresh(e.pid)
		}
	case procExit:
		t.remove(e.pid)
	}
}

// refresh looks at one process again.
func (t *procTable) refresh(pid int) {
	e := t.entries[pid]
	if e == nil {
		e = &procEntry{}
		t.entries[pid] = e
	}
	if t.look(pid, e) != nil || len(e.matches) == 0 {
		t.remove(pid)
	}
}
