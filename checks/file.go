package checks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// filePoll is how often a file is read that cannot be watched.
	filePoll = time.Second
	// fileCalm is how long changes are gathered before the file is read: some
	// programs change a file in many small steps.
	fileCalm = 5 * time.Millisecond
	// fileStart is how much of a file is read; a number is shorter.
	fileStart = 128
)

// A FileConfig says which file a File reads.
type FileConfig struct {
	Path string
	// Init is written to the file when Run begins if the file does not exist,
	// or, with InitOverwrite, in any case; nil: nothing is written. It should
	// be nil when the configuration is only read again.
	Init          *int
	InitOverwrite bool
}

// A File is a Tracker of the number at the start of a file (keepalived:
// track_file). Its State is Up once the file was looked at; what counts is the
// Value. A file that is missing or holds no number holds 0.
type File struct {
	config FileConfig
}

var _ Tracker = (*File)(nil)

// NewFile returns a File.
func NewFile(c FileConfig) *File { return &File{config: c} }

// Run reports the number at once, and each time it has changed. It sees what
// was written when the writer closes the file or moves it there, so that it
// never reads half a number. Directories on the way, and what symbolic links
// point to, may be replaced or come later.
func (f *File) Run(ctx context.Context, report func(Report)) {
	initErr := f.init()
	var last Report
	read := func(mechanism string) {
		r := f.read(last.Value)
		r.Mechanism = mechanism
		if initErr != nil {
			r.Hint = "init_file was not written: " + initErr.Error()
		}
		if last.State == Up && r.Value == last.Value {
			r.Since = last.Since
			if r == last {
				return
			}
		} else {
			r.Since = time.Now()
		}
		last = r
		report(r)
	}
	w, err := newPathWatch(f.config.Path)
	if err != nil {
		w = nil
	} else {
		defer w.close()
	}
	var changes <-chan struct{}
	if w != nil {
		changes = w.changes
	}
	for {
		// Watch first: what happens between the two is seen.
		mechanism := "file events"
		var poll <-chan time.Time
		if w != nil {
			err = w.arm()
		}
		if err != nil {
			mechanism = fmt.Sprintf("reading every %v (%v)", filePoll, err)
			poll = time.After(filePoll)
		}
		read(mechanism)
		select {
		case <-ctx.Done():
			return
		case <-poll:
		case _, open := <-changes:
			if !open {
				changes, w, err = nil, nil, errors.New("watching failed")
				continue
			}
			// A program that writes without end is read all the same.
			select {
			case <-ctx.Done():
				return
			case <-time.After(fileCalm):
			}
			select {
			case <-changes:
			default:
			}
		}
	}
}

// init writes the first number.
func (f *File) init() error {
	if f.config.Init == nil {
		return nil
	}
	flags := os.O_WRONLY | os.O_CREATE | syscall.O_NONBLOCK
	if f.config.InitOverwrite {
		// Who may write in the directory must not be able to choose which file
		// is overwritten.
		flags |= os.O_TRUNC | syscall.O_NOFOLLOW
	} else {
		flags |= os.O_EXCL
	}
	file, err := os.OpenFile(f.config.Path, flags, 0o644)
	if err != nil {
		if !f.config.InitOverwrite && errors.Is(err, fs.ErrExist) {
			return nil
		}
		return plainPathError(err)
	}
	_, err = fmt.Fprintln(file, *f.config.Init)
	if e := file.Close(); err == nil {
		err = e
	}
	return plainPathError(err)
}

// plainPathError drops operation and path from an error.
func plainPathError(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// read returns what is in the file now. A number that does not fit 32 bits leaves
// the value as it was, as with keepalived.
func (f *File) read(before int) Report {
	r := Report{State: Up}
	// Opening a pipe must not wait for its writer.
	file, err := os.OpenFile(f.config.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		r.Detail = "cannot be read: " + plainPathError(err).Error()
		if errors.Is(err, fs.ErrNotExist) {
			r.Detail = "does not exist"
		}
		r.Detail += ", counts as 0"
		return r
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		r.Detail = "is not a regular file, counts as 0"
		return r
	}
	buf := make([]byte, fileStart)
	n, err := io.ReadFull(file, buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.Detail = "cannot be read: " + plainPathError(err).Error() + ", counts as 0"
		return r
	}
	value, ok, fits := leadingNumber(buf[:n])
	switch {
	case !fits:
		value = before
		r.Detail = fmt.Sprintf("contains a number that is too large, still counts as %d", before)
	case ok:
		r.Detail = "contains " + strconv.Itoa(value)
	case n == 0:
		r.Detail = "is empty, counts as 0"
	default:
		r.Detail = "contains no number, counts as 0"
	}
	r.Value = value
	return r
}

// leadingNumber reads a number as C's strtol does with base 0: blanks and a
// sign may come before it, 0x makes it hexadecimal and 0 octal, and what
// follows is not looked at. fits is false for one of more than 32 bits.
func leadingNumber(b []byte) (n int, ok, fits bool) {
	s := strings.TrimLeft(string(b), " \t\n\v\f\r")
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	base, found := int64(10), false
	if len(s) > 0 && s[0] == '0' {
		base, found = 8, true
		if len(s) > 2 && s[1]|0x20 == 'x' && digit(s[2]) < 16 {
			base, s = 16, s[2:]
		}
	}
	var value int64
	for ; s != "" && digit(s[0]) < base; s = s[1:] {
		found = true
		value = min(value*base+digit(s[0]), math.MaxUint32)
	}
	if negative {
		value = -value
	}
	if value < math.MinInt32 || value > math.MaxInt32 {
		return 0, true, false
	}
	return int(value), found, true
}

// digit returns the value of a digit, 99 if it is none.
func digit(c byte) int64 {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int64(c|0x20-'a') + 10
	}
	return 99
}

// What is watched for in the directories of a path. Of the file itself, only
// that a writer is done.
const (
	watchFile = unix.IN_CLOSE_WRITE
	watchDir  = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ATTRIB | unix.IN_ONLYDIR
)

// A step is one look-up on the way to a file: a name in a directory.
type step struct{ dir, name string }

// walk returns the look-ups that lead to a file, the targets of symbolic links
// included, as far as the way exists.
func walk(path string) []step {
	const mostLinks = 40 // as the kernel
	var (
		steps []step
		links int
		dir   = "/"
		rest  = strings.Split(path, "/")
	)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if i := strings.LastIndexByte(strings.TrimSuffix(dir, "/"), '/'); i >= 0 {
				dir = dir[:i+1]
			}
			continue
		}
		steps = append(steps, step{dir, name})
		here := dir + name
		info, err := os.Lstat(here)
		if err != nil {
			return steps
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			dir = here + "/"
			continue
		}
		target, err := os.Readlink(here)
		if links++; err != nil || links > mostLinks {
			return steps
		}
		if strings.HasPrefix(target, "/") {
			dir = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return steps
}

// A pathWatch tells when what a path leads to may have changed. It uses inotify
// itself, as package fsnotify cannot tell that a writer has closed a file.
type pathWatch struct {
	path    string
	file    *os.File
	changes chan struct{} // closed when watching has failed
	done    chan struct{}

	// names has what is looked up in each watched directory. Only arm changes
	// it, and hands a new one to the reader.
	names chan map[int32]map[string]bool
	dirs  map[int32]bool
}

func newPathWatch(path string) (*pathWatch, error) {
	if !strings.HasPrefix(path, "/") {
		wd, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		path = wd + "/" + path
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		if errors.Is(err, unix.EMFILE) {
			return nil, errors.New("fs.inotify.max_user_instances is too small")
		}
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &pathWatch{
		path:    path,
		file:    os.NewFile(uintptr(fd), "inotify"),
		changes: make(chan struct{}, 1),
		done:    make(chan struct{}),
		names:   make(chan map[int32]map[string]bool, 1),
	}
	w.names <- nil
	go w.run()
	return w, nil
}

func (w *pathWatch) close() {
	_ = w.file.Close()
	<-w.done
}

// arm watches every directory on the way, as the way is now.
func (w *pathWatch) arm() error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	names := make(map[int32]map[string]bool)
	dirs := make(map[int32]bool)
	<-w.names // nothing is judged by an old way from here
	defer func() { w.names <- names }()
	var first error
	// The way may change while it is walked. If it is the same again when all
	// of it is watched, nothing was missed.
	for range 5 {
		steps := walk(w.path)
		for i, s := range steps {
			mask := uint32(watchDir)
			if i == len(steps)-1 {
				mask |= watchFile
			}
			wd := -1
			e := raw.Control(func(fd uintptr) {
				// A directory can be on the way twice.
				wd, err = unix.InotifyAddWatch(int(fd), s.dir, mask|unix.IN_MASK_ADD)
			})
			if e != nil {
				return e
			}
			switch {
			case errors.Is(err, unix.ENOSPC):
				first = errors.New("fs.inotify.max_user_watches is too small")
				continue
			case errors.Is(err, unix.EACCES):
				first = fmt.Errorf("no permission to watch %s", s.dir)
				continue
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
				continue // gone already, of which the directory above tells
			case err != nil:
				first = fmt.Errorf("watching %s: %w", s.dir, err)
				continue
			}
			id := int32(wd)
			dirs[id] = true
			if names[id] == nil {
				names[id] = make(map[string]bool)
			}
			names[id][s.name] = true
		}
		if same(steps, walk(w.path)) {
			break
		}
	}
	for id := range w.dirs {
		if !dirs[id] {
			_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(id)) })
		}
	}
	w.dirs = dirs
	if first == nil && remote(w.path) {
		first = errors.New("changes by others are not told of on this file system")
	}
	return first
}

func same(a, b []step) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// remote reports whether a file is on a file system whose content changes
// without inotify noticing.
func remote(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC,
		unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC,
		unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.BPF_FS_MAGIC:
		return true
	}
	return false
}

// run reads events and passes on that there were some.
func (w *pathWatch) run() {
	defer close(w.done)
	defer close(w.changes)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		names := <-w.names
		w.names <- names
		if concerns(buf[:n], names) {
			select {
			case w.changes <- struct{}{}:
			default:
			}
		}
	}
}

// concerns reports whether one of the events is about what is looked up, or
// about a directory itself.
func concerns(b []byte, names map[int32]map[string]bool) bool {
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		size := int(binary.NativeEndian.Uint32(b[12:]))
		b = b[unix.SizeofInotifyEvent:]
		if size > len(b) {
			return true
		}
		name := string(b[:size])
		b = b[size:]
		if i := strings.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		if mask&(unix.IN_Q_OVERFLOW|unix.IN_UNMOUNT) != 0 {
			return true
		}
		look, watched := names[wd]
		if !watched {
			continue // of a way that is not gone any more
		}
		if name == "" || look[name] {
			return true
		}
	}
	return false
}
