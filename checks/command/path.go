package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// defaultPath is searched when the daemon's environment has no PATH, as in a
// container that starts it as its only program.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxLinks is how many symbolic links the kernel follows in one path.
const maxLinks = 40

// maxInterpreters is how many interpreters that are scripts themselves the kernel
// follows.
const maxInterpreters = 4

// Inspect says what would be run and whether it can be, without running it. path
// has all symbolic links resolved. err is a *Problem if it cannot be run. unsafe
// is set, unless Secure is, if it would be refused with Secure.
func (s *Spec) Inspect() (path string, unsafe *Problem, err error) {
	named, problem := s.find()
	if problem != nil {
		return "", nil, problem
	}
	w := walk(named, s.As)
	switch {
	case w.problem != nil:
		return w.path, nil, w.problem
	case w.unsafe != nil && s.Secure:
		return w.path, nil, w.unsafe
	}
	problem, unsafe = inspectFormat(w.path, s.As)
	switch {
	case problem != nil:
		return w.path, nil, problem
	case unsafe != nil && s.Secure:
		return w.path, nil, unsafe
	case w.unsafe != nil:
		unsafe = w.unsafe
	}
	return w.path, unsafe, nil
}

// find returns the absolute path of the program, found in PATH if it has no
// slash.
func (s *Spec) find() (string, *Problem) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return "", &Problem{Reason: "there is no command"}
	}
	name := s.Argv[0]
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			name = "/" + name
		}
		return name, nil
	}
	search, ok := os.LookupEnv("PATH")
	if !ok || search == "" {
		search = defaultPath
	}
	var found *Problem // one of that name which cannot be run
	for _, dir := range filepath.SplitList(search) {
		if !strings.HasPrefix(dir, "/") {
			continue // the current directory is not ours to look in
		}
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		if err != nil || st.IsDir() {
			continue
		}
		if mayExecute(path, st, s.As) {
			return path, nil
		}
		if found == nil {
			found = notExecutable(path, st, s.As)
		}
	}
	if found != nil {
		return "", found
	}
	return "", &Problem{Path: name, Reason: "not found in PATH (" + search + ")", Hint: "give the full path"}
}

// A walked is what was learnt on the way to a program.
type walked struct {
	path    string // without symbolic links
	problem *Problem
	unsafe  *Problem // the first component that somebody else than root could change
}

// walk follows a path as the kernel does for a user, component by component.
func walk(path string, as Credential) walked {
	var w walked
	todo := strings.Split(strings.Trim(path, "/"), "/")
	at, links := "/", 0
	var unsafe *Problem
	note := func(p *Problem) {
		if unsafe == nil {
			unsafe = p
		}
	}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		dir, err := os.Lstat(at)
		if err == nil && !dir.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			w.problem = &Problem{Path: at, Reason: reason(err)}
			return w
		}
		note(changeable(at, dir))
		if !mayExecute(at, dir, as) {
			w.problem = &Problem{Path: at, Reason: "directory is not accessible to user " + as.String(), Hint: "chmod o+x " + quote(at)}
			return w
		}
		next := filepath.Join(at, name)
		st, err := os.Lstat(next)
		if err != nil {
			w.problem = &Problem{Path: next, Reason: reason(err)}
			if errors.Is(err, fs.ErrNotExist) {
				w.problem.Hint = nearest(at, name)
			}
			return w
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		// A link cannot be written to: it can be replaced, which is up to its
		// directory, and in a sticky one to its owner.
		if uid, _ := owner(st); uid != 0 && dir.Mode()&fs.ModeSticky != 0 {
			note(&Problem{Path: next, Reason: "link belongs to user " + userName(uid) + ", who could change what root runs", Hint: "chown -h root " + quote(next)})
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			if err == nil {
				err = syscall.ELOOP
			}
			w.problem = &Problem{Path: next, Reason: reason(err)}
			return w
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	w.path = at
	st, err := os.Lstat(at)
	switch {
	case err != nil:
		w.problem = &Problem{Path: at, Reason: reason(err)}
	case st.IsDir():
		w.problem = &Problem{Path: at, Reason: "is a directory"}
	case !st.Mode().IsRegular():
		w.problem = &Problem{Path: at, Reason: "not a regular file"}
	case !mayExecute(at, st, as):
		w.problem = notExecutable(at, st, as)
	default:
		note(changeable(at, st))
		// As keepalived, protect what the file itself would make root's.
		uid, gid := owner(st)
		if as.root() || uid == 0 && st.Mode()&fs.ModeSetuid != 0 || gid == 0 && st.Mode()&fs.ModeSetgid != 0 {
			w.unsafe = unsafe
		}
	}
	return w
}

// changeable says whether somebody else than root could change a file, or what
// is in a directory. Like keepalived it trusts members of group 0, and
// directories in which only owners can rename and remove (sticky).
func changeable(path string, st fs.FileInfo) *Problem {
	uid, gid := owner(st)
	var reasons, cures []string
	if uid != 0 {
		reasons = append(reasons, "belongs to user "+userName(uid))
		cures = append(cures, "chown root "+quote(path))
	}
	if !st.IsDir() || st.Mode()&fs.ModeSticky == 0 {
		var bits string
		if gid != 0 && st.Mode()&0o020 != 0 {
			reasons = append(reasons, "is writable by group "+groupName(gid))
			bits = "g"
		}
		if st.Mode()&0o002 != 0 {
			reasons = append(reasons, "is writable by everybody")
			bits += "o"
		}
		if bits != "" {
			cures = append(cures, "chmod "+bits+"-w "+quote(path))
		}
	}
	if reasons == nil {
		return nil
	}
	return &Problem{
		Path:   path,
		Reason: strings.Join(reasons, " and ") + ", who could change what root runs",
		Hint:   strings.Join(cures, " && "),
	}
}

func owner(st fs.FileInfo) (uid, gid uint32) {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Uid, sys.Gid
	}
	return 1<<32 - 1, 1<<32 - 1
}

// mayExecute reports whether the mode allows a user to execute a file, or to
// search a directory. Where there is an access control list only the kernel
// knows, and the answer is yes.
func mayExecute(path string, st fs.FileInfo, as Credential) bool {
	uid, gid := owner(st)
	mode := st.Mode().Perm()
	var ok bool
	switch {
	case as.UID == 0:
		ok = st.IsDir() || mode&0o111 != 0
	case as.UID == uid:
		ok = mode&0o100 != 0
	case as.in(gid):
		ok = mode&0o010 != 0
	default:
		ok = mode&0o001 != 0
	}
	if !ok && as.UID != 0 {
		n, err := unix.Getxattr(path, "system.posix_acl_access", nil)
		ok = err == nil && n > 0
	}
	return ok
}

func notExecutable(path string, st fs.FileInfo, as Credential) *Problem {
	p := &Problem{Path: path, Reason: "not executable for user " + as.String(), Hint: "chmod +x " + quote(path)}
	if as.UID == 0 {
		p.Reason = "not executable"
	} else if st.Mode()&0o111 != 0 {
		p.Reason += fmt.Sprintf(" (mode %04o)", st.Mode().Perm())
	}
	return p
}

// inspectFormat says whether the kernel could execute a file, as far as that
// shows from its first line. A file that vipd may not read is let pass: the
// kernel may know better. unsafe is set if somebody else than root could change
// the interpreter that root would run: it is as good as the script.
func inspectFormat(path string, as Credential) (problem, unsafe *Problem) {
	return inspectInterpreters(path, as, maxInterpreters)
}

// inspectInterpreters is inspectFormat for an interpreter of an interpreter, too.
func inspectInterpreters(path string, as Credential, depth int) (problem, unsafe *Problem) {
	head, err := readHead(path)
	if err != nil {
		return nil, nil
	}
	if !bytes.HasPrefix(head, []byte("#!")) {
		if bytes.HasPrefix(head, []byte("\x7fELF")) || hasBinfmt() {
			return nil, nil
		}
		return badFormat(path, head), nil
	}
	interpreter := interpreterOf(head)
	if interpreter == "" {
		return badFormat(path, head), nil
	}
	if dos, ok := strings.CutSuffix(interpreter, "\r"); ok {
		return &Problem{Path: path, Reason: fmt.Sprintf("has DOS line ends, so that its interpreter %s is not found", dos), Hint: `sed -i 's/\r$//' ` + quote(path)}, nil
	}
	if !strings.HasPrefix(interpreter, "/") {
		interpreter = "/" + interpreter
	}
	w := walk(interpreter, as)
	switch {
	case w.problem != nil:
		return &Problem{Path: path, Reason: "its interpreter cannot be run: " + w.problem.Error(), Hint: w.problem.Hint}, nil
	case w.unsafe != nil:
		unsafe = &Problem{Path: path, Reason: "its interpreter is not safe: " + w.unsafe.Error(), Hint: w.unsafe.Hint}
	}
	if depth == 0 {
		return nil, unsafe
	}
	problem, deeper := inspectInterpreters(w.path, as, depth-1)
	if unsafe == nil {
		unsafe = deeper
	}
	return problem, unsafe
}

// nearest is a hint for a name that is not there: one that is, and that is so
// much like it that it may have been meant.
func nearest(dir, name string) string {
	const most = 1000 // entries that are looked at
	f, err := os.Open(dir)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	names, _ := f.Readdirnames(most)
	slices.Sort(names)
	best, found := min(2, len(name)/3)+1, ""
	for _, n := range names {
		if d := distance(n, name, best); d < best {
			best, found = d, n
		}
	}
	if found == "" {
		return ""
	}
	return "did you mean " + quote(filepath.Join(dir, found)) + "?"
}

// distance returns how many octets have to be put in, taken out or changed to
// make one name the other (Levenshtein); at least bound if it is not less.
func distance(a, b string, bound int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= bound {
		return bound
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // of the row above, one to the left
		row[0] = i + 1
		for j := range len(b) {
			d := before
			if a[i] != b[j] {
				d++
			}
			before = row[j+1]
			row[j+1] = min(d, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// interpreterOf returns what the first line of a script names; empty if it is not
// one. The kernel cuts at blanks only: a carriage return is part of the name.
func interpreterOf(head []byte) string {
	script, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ := bytes.Cut(script, []byte("\n"))
	if fields := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' }); len(fields) > 0 {
		return string(fields[0])
	}
	return ""
}

func badFormat(path string, head []byte) *Problem {
	p := &Problem{Path: path, Reason: "exec format error"}
	switch {
	case len(head) == 0:
		p.Reason += ": the file is empty"
	case !bytes.HasPrefix(head, []byte("\x7fELF")) && bytes.IndexByte(head, 0) < 0:
		p.Reason += ": it does not begin with #! and an interpreter"
		p.Hint = "make #!/bin/sh its first line"
	}
	return p
}

// readHead returns as much of a file as the kernel looks at. It opens nothing but
// regular files: to open a device may do things.
func readHead(path string) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, unix.EINVAL
	}
	// Not to be held up by what has taken its place meanwhile.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	head := make([]byte, 256)
	n, err := unix.Read(fd, head)
	if err != nil {
		return nil, err
	}
	return head[:n], nil
}

// warm reads what the kernel will look at when it executes a program, so that it
// need not wait for a disk or a server then; see [Runner].
func warm(path string) {
	head, err := readHead(path)
	if err != nil {
		return // the kernel knows better why
	}
	if interpreter := interpreterOf(head); strings.HasPrefix(interpreter, "/") {
		_, _ = readHead(interpreter)
	}
}

// hasBinfmt reports whether the kernel has been taught further formats.
func hasBinfmt() bool {
	entries, err := os.ReadDir("/proc/sys/fs/binfmt_misc")
	return err == nil && len(entries) > 2 // register and status are always there
}

// explain says why the kernel refused to start a program.
func (s *Spec) explain(path string, errno syscall.Errno) *Problem {
	switch errno {
	case syscall.ENOENT, syscall.EACCES, syscall.ENOTDIR, syscall.ELOOP, syscall.ENOEXEC:
		w := walk(path, s.As)
		if w.problem != nil {
			return w.problem
		}
		if p, _ := inspectFormat(w.path, s.As); p != nil {
			return p
		}
	}
	switch errno {
	case syscall.ENOENT:
		return &Problem{Path: path, Reason: "its interpreter or loader does not exist"}
	case syscall.ENOEXEC:
		head, err := readHead(path)
		if err != nil {
			return &Problem{Path: path, Reason: "exec format error"}
		}
		return badFormat(path, head)
	case syscall.EACCES:
		var st unix.Statfs_t
		if unix.Statfs(path, &st) == nil && st.Flags&unix.ST_NOEXEC != 0 {
			return &Problem{Path: path, Reason: "is on a file system that is mounted noexec"}
		}
		return &Problem{Path: path, Reason: "user " + s.As.String() + " may not execute it"}
	case syscall.EPERM:
		if os.Geteuid() != 0 && s.As.UID != uint32(os.Geteuid()) {
			return &Problem{Path: path, Reason: "vipd may not run programs as user " + s.As.String(), Hint: "run vipd as root, or the script as user " + Own().String()}
		}
	case syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE:
		return &Problem{Reason: "cannot start a process: " + errno.Error(), Hint: "see the limits on processes, memory and open files of vipd and of user " + s.As.String()}
	}
	return &Problem{Path: path, Reason: "cannot be started: " + errno.Error()}
}

// reason returns the error without the path and the call, which the problem
// names already or which say nothing.
func reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	if errno == syscall.ENOENT {
		return "does not exist"
	}
	return errno.Error()
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// quote makes a path one word of a shell command.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%,=") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
