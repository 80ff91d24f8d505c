package command

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// killDelay is the time between SIGTERM and SIGKILL, and between that and
	// the next, as with keepalived.
	killDelay = 2 * time.Second
	// patience is how long one start may take before another thread is made to
	// start programs: a program on a dead file system must not keep all others
	// from being run.
	patience    = 2 * time.Second
	maxStarters = 8
	// queuePatience is how long a program may wait for its turn to be started
	// before it counts as timed out. Its Timeout counts from its turn: many
	// programs at once are no reason to take one for failed.
	queuePatience = 10 * time.Second
	// schedOther is the policy of ordinary threads (SCHED_OTHER).
	schedOther = 0
	// maxLeftovers is how many pipes are read on for what programs have left
	// behind, such as a daemon that a notify script started.
	maxLeftovers = 64
	// busyRetries and busyDelay: a file that somebody has open for writing
	// cannot be executed. An editor is gone in an instant.
	busyRetries = 5
	busyDelay   = 20 * time.Millisecond
)

// A Runner runs programs. A process needs only one.
//
// Programs are started one by one, by a thread that does nothing else: the kernel
// sends them SIGTERM when the thread that started them ends (PR_SET_PDEATHSIG),
// and other threads of a Go program come and go. They inherit from it the
// scheduling that a script is to have, whatever that of the daemon is.
//
// From the fork until the kernel has accepted the program that thread cannot be
// stopped by the runtime, and a collection of garbage waits for it, and all of
// the daemon for that (syscall.ForkExec, as os/exec does). That must not take as
// long as a dead file system does. So the start of the program is read before the
// fork: who has to wait for a disk or a server waits there, and only for himself.
type Runner struct {
	log  *slog.Logger
	env  []string
	null *os.File // standard input of all programs; nil: nullErr
	own  Credential

	nullErr     error
	noSetgroups bool // in a user namespace that forbids it

	requests   chan *request
	background chan *request // those that let others go first
	quit       chan struct{}
	buffers    sync.Pool

	mu        sync.Mutex
	closed    bool
	starters  map[*time.Time]struct{} // since when each is at its present start; zero: it is idle
	children  map[int]struct{}        // started and not waited for yet
	leftovers []*output               // oldest first
}

// NewRunner returns a runner.
//
// Signals that the process ignores at this time are ignored no longer, but caught
// to no effect: what is ignored would be inherited by the programs, and one that
// does not get SIGPIPE writes to a closed pipe for ever. Descriptors without
// close-on-exec that the process was started with get it.
func NewRunner(log *slog.Logger) *Runner {
	r := &Runner{
		log:      log,
		env:      cleanEnv(os.Environ()),
		own:      Own(),
		requests: make(chan *request), background: make(chan *request),
		starters: map[*time.Time]struct{}{},
		quit:     make(chan struct{}),
		buffers:  sync.Pool{New: func() any { return new([pipeSize]byte) }},
		children: map[int]struct{}{},
	}
	r.null, r.nullErr = os.Open(os.DevNull)
	if b, err := os.ReadFile("/proc/self/setgroups"); err == nil {
		r.noSetgroups = bytes.HasPrefix(b, []byte("deny"))
	}
	if signals := ignoredSignals(); len(signals) > 0 {
		signal.Notify(make(chan os.Signal, 1), signals...)
	}
	closeOnExec()
	r.newStarter()
	return r
}

// Close ends the threads that start programs, upon which the kernel sends
// SIGTERM to what they started, and no longer reads what leftovers write.
func (r *Runner) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	close(r.quit)
	for _, o := range r.leftovers {
		o.close()
	}
	r.leftovers = nil
}

// endStarter takes note of the end of a thread. The last one closes what they all
// have used.
func (r *Runner) endStarter(busy *time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.starters, busy)
	if r.closed && len(r.starters) == 0 && r.null != nil {
		_ = r.null.Close()
	}
}

// Withheld reports whether programs do not get a variable of the daemon's
// environment: what would change how programs are loaded, or how a shell splits
// words, and by what the service manager talks to the daemon and to no other
// (sd_notify, sd_watchdog_enabled and sd_listen_fds of systemd).
func Withheld(name string) bool {
	switch name {
	case "IFS", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES":
		return true
	}
	return strings.HasPrefix(name, "LD_")
}

// cleanEnv leaves out what is withheld, and earlier values of what is set twice:
// programs take the first.
func cleanEnv(env []string) []string {
	out := make([]string, 0, len(env))
	seen := map[string]bool{}
	for _, kv := range slices.Backward(env) {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || Withheld(name) || seen[name] {
			continue
		}
		seen[name] = true
		out = append(out, kv)
	}
	slices.Reverse(out)
	return out
}

// ignoredSignals returns the signals the kernel does not deliver to us.
func ignoredSignals() []os.Signal {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return []os.Signal{syscall.SIGPIPE}
	}
	_, rest, _ := bytes.Cut(status, []byte("SigIgn:\t"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	mask, err := strconv.ParseUint(string(line), 16, 64)
	if err != nil {
		return []os.Signal{syscall.SIGPIPE}
	}
	var out []os.Signal
	for n := range 64 {
		if mask&(1<<n) != 0 {
			out = append(out, syscall.Signal(n+1))
		}
	}
	return out
}

// closeOnExec keeps descriptors that somebody gave us from programs.
func closeOnExec() {
	if unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, err := os.ReadDir("/proc/self/fd") // kernels before 5.11
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// A request is one program to be started.
type request struct {
	spec    *Spec
	started chan struct{} // closed when the fields below are set

	path     string
	problem  *Problem
	errno    syscall.Errno // why, if the kernel refused
	process  *process
	began    time.Time
	mu       sync.Mutex
	answered bool
	// abandoned has the starter end the program, since nobody waits for it;
	// ended is closed then.
	abandoned bool
	ended     chan struct{}
}

// A process is a program that runs.
type process struct {
	pid  int
	dead chan struct{} // closed when it has ended; it is a zombie still
	out  *output
}

// starter starts programs until the runner is closed.
func (r *Runner) starter(busy *time.Time) {
	// Never unlocked: the thread ends with this goroutine.
	runtime.LockOSThread()
	defer r.endStarter(busy)
	var none unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
	for {
		var req *request
		select {
		case req = <-r.requests:
		default:
			select {
			case req = <-r.requests:
			case req = <-r.background:
			case <-r.quit:
				return
			}
		}
		r.mu.Lock()
		*busy = time.Now()
		r.mu.Unlock()
		r.start(req)
		r.mu.Lock()
		*busy = time.Time{}
		r.mu.Unlock()
		req.mu.Lock()
		req.answered = true
		abandoned := req.abandoned
		req.mu.Unlock()
		close(req.started)
		if abandoned {
			go r.discard(req)
		}
		runtime.Gosched()
	}
}

// anotherStarter makes a thread for the time that all others are stuck.
func (r *Runner) anotherStarter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.starters) == maxStarters {
		return
	}
	for since := range r.starters {
		if since.IsZero() || time.Since(*since) < patience {
			return // there are many to start, no more
		}
	}
	r.log.Warn("starting a program takes long, such as from a file system that does not answer; others are started meanwhile", "threads", len(r.starters)+1)
	r.newStarter()
}

// newStarter makes a thread. r.mu is held, or nobody else knows r.
func (r *Runner) newStarter() {
	busy := new(time.Time)
	r.starters[busy] = struct{}{}
	go r.starter(busy)
}

// start starts a program.
func (r *Runner) start(req *request) {
	s := req.spec
	path, problem := s.find()
	req.path, req.problem = path, problem
	if problem != nil {
		return
	}
	if s.Secure {
		// Each time: what was safe when the configuration was read may not be
		// now. What only root can change does not change between this and exec.
		w := walk(path, s.As)
		if w.problem != nil {
			req.problem = w.problem
			return
		}
		if w.unsafe == nil {
			_, w.unsafe = inspectFormat(w.path, s.As)
		}
		if w.unsafe != nil {
			req.problem = w.unsafe
			return
		}
	}
	warm(path)
	req.mu.Lock()
	abandoned := req.abandoned
	req.mu.Unlock()
	if abandoned {
		return
	}
	if r.null == nil {
		req.problem = &Problem{Path: os.DevNull, Reason: reason(r.nullErr)}
		return
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		req.problem = &Problem{Reason: "making a pipe: " + reason(err)}
		return
	}
	defer func() { _ = unix.Close(pipe[1]) }()
	// Only our end: the other is the program's, and may block.
	err := unix.SetNonblock(pipe[0], true)
	var out *output
	if err == nil {
		out, err = newOutput(pipe[0], &r.buffers)
	} else {
		_ = unix.Close(pipe[0])
	}
	if err != nil {
		req.problem = &Problem{Reason: "making a pipe: " + reason(err)}
		return
	}

	env := slices.Clip(r.env)
	if s.As.UID != r.own.UID {
		env = append(env, s.As.login()...)
	}
	if env = append(env, s.Env...); len(env) > len(r.env) {
		env = cleanEnv(env)
	}
	pidfd := -1
	attr := syscall.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: []uintptr{r.null.Fd(), uintptr(pipe[1]), uintptr(pipe[1])},
		Sys: &syscall.SysProcAttr{
			Setpgid:    true,
			Pdeathsig:  syscall.SIGTERM,
			Credential: r.credential(s.As),
			PidFD:      &pidfd,
		},
	}
	// The daemon may have raised all of its threads, and may do so again. The
	// flag has the kernel undo it in the child if this is refused.
	normal := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedOther, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	_ = unix.SchedSetAttr(0, &normal, 0)

	argv := s.Argv
	if argv[0] != path {
		argv = append([]string{path}, argv[1:]...) // as keepalived
	}
	req.began = time.Now()
	pid, err := syscall.ForkExec(path, argv, &attr)
	if err != nil {
		out.close()
		errno, _ := err.(syscall.Errno)
		if errno == 0 { // such as a zero octet in an argument
			req.problem = &Problem{Path: path, Reason: "cannot be started: " + err.Error()}
			return
		}
		req.errno = errno
		req.problem = s.explain(path, errno)
		return
	}
	p := &process{pid: pid, dead: make(chan struct{}), out: out}
	req.process = p
	r.mu.Lock()
	r.children[pid] = struct{}{}
	r.mu.Unlock()
	go p.watch(pidfd)
	go r.follow(out)
}

// credential returns what the child has to become; nil: nothing.
func (r *Runner) credential(as Credential) *syscall.Credential {
	same := as.UID == r.own.UID && as.GID == r.own.GID
	// Who is not root cannot give up groups, and has no other user to become.
	if same && (r.own.UID != 0 || slices.Equal(as.Groups, r.own.Groups)) {
		return nil
	}
	return &syscall.Credential{Uid: as.UID, Gid: as.GID, Groups: as.Groups, NoSetGroups: r.noSetgroups}
}

// watch closes dead when the process has ended, and leaves it a zombie: as long
// as it is one its number is not given to another, nor is that of its group.
func (p *process) watch(pidfd int) {
	defer close(p.dead)
	if pidfd >= 0 && p.poll(pidfd) == nil {
		return
	}
	// Before Linux 5.4 this takes a thread.
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// poll waits for the end of a process, without a thread.
func (p *process) poll(pidfd int) error {
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return err
	}
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		for {
			var info unix.Siginfo
			err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
			switch err {
			case unix.EINTR:
				continue
			case nil:
				return info.Signo != 0
			case unix.EAGAIN:
				return false
			}
			failed = err
			return true
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// follow reads the output of a program and of what it leaves behind.
func (r *Runner) follow(o *output) {
	o.follow()
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.leftovers, o); i >= 0 {
		r.leftovers = slices.Delete(r.leftovers, i, i+1)
	}
}

// leave has a pipe read on that others than the program hold. When there are too
// many the oldest is closed.
func (r *Runner) leave(o *output) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.mu.Lock()
	ended := o.closed
	o.mu.Unlock()
	if r.closed || ended {
		o.close()
		return
	}
	if len(r.leftovers) == maxLeftovers {
		r.log.Warn("many programs have left others behind that hold their output: the oldest is closed; redirect the output of what is to stay, such as with >/dev/null 2>&1", "held", maxLeftovers)
		r.leftovers[0].close()
		r.leftovers = slices.Delete(r.leftovers, 0, 1)
	}
	r.leftovers = append(r.leftovers, o)
}

// Run runs a program and returns when it has ended itself, whatever it leaves
// behind. When ctx ends it is told to end, as by the timeout.
func (r *Runner) Run(ctx context.Context, s *Spec) Result {
	begun := time.Now()
	for try := 0; ; try++ {
		res, errno := r.run(ctx, s)
		res.Timeout = s.Timeout
		if res.Started.IsZero() {
			res.Started = begun
			res.Duration = time.Since(begun)
		}
		if errno != syscall.ETXTBSY || try == busyRetries {
			return res
		}
		select {
		case <-time.After(busyDelay):
		case <-ctx.Done():
			return res
		}
	}
}

// run is one attempt of Run. errno is why the kernel refused, if it did.
func (r *Runner) run(ctx context.Context, s *Spec) (Result, syscall.Errno) {
	if ctx.Err() != nil {
		return Result{Exit: -1, Canceled: true}, 0
	}
	req := &request{spec: s, started: make(chan struct{}), ended: make(chan struct{})}
	if res, ok := r.submit(ctx, req); !ok {
		return res, 0
	}
	if req.problem != nil {
		return Result{Path: req.path, Exit: -1, Problem: req.problem}, req.errno
	}
	p := req.process
	res := Result{Path: req.path, Started: req.began, Exit: -1}

	var timeout <-chan time.Time
	if s.Timeout > 0 {
		timer := time.NewTimer(time.Until(req.began.Add(s.Timeout)))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-p.dead:
		r.reap(p, false, &res)
		return res, 0
	case <-timeout:
		res.TimedOut = true
	case <-ctx.Done():
		res.Canceled = true
	}
	if r.end(ctx, s, p) {
		r.reap(p, true, &res)
	} else {
		res.Duration = time.Since(req.began)
		res.Lingering = r.linger(p)
	}
	return res, 0
}

// end tells a program to end, and reports whether it has.
func (r *Runner) end(ctx context.Context, s *Spec, p *process) bool {
	signals := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL}
	if s.Kill {
		signals = signals[1:]
	}
	delay, hurry := killDelay, ctx.Done()
	if s.Grace == 0 {
		hurry = nil
	}
	for _, sig := range signals {
		// The process was not waited for: the group is its own. It may be
		// somebody else's user by now, and refuse.
		_ = syscall.Kill(-p.pid, sig)
		if sig == syscall.SIGTERM {
			// One that is stopped does not see it otherwise.
			_ = syscall.Kill(-p.pid, syscall.SIGCONT)
		}
		late := time.NewTimer(delay)
		select {
		case <-p.dead:
			late.Stop()
			return true
		case <-late.C:
			continue
		case <-hurry:
		}
		delay, hurry = s.Grace, nil
		late.Reset(delay)
		select {
		case <-p.dead:
			late.Stop()
			return true
		case <-late.C:
		}
	}
	return false
}

// submit has a program started. ok is false if it was not waited for to start.
func (r *Runner) submit(ctx context.Context, req *request) (res Result, ok bool) {
	res = Result{Exit: -1, Started: time.Now()}
	if !r.enqueue(ctx, req, &res) {
		res.Duration = time.Since(res.Started)
		return res, false // nobody has taken it
	}
	var timeout <-chan time.Time
	if t := req.spec.Timeout; t > 0 {
		timer := time.NewTimer(t)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-req.started:
		return res, true
	case <-ctx.Done():
		res.Canceled = true
	case <-r.quit:
		res.Canceled = true
	case <-timeout:
		res.TimedOut = true
	}
	res.Duration = time.Since(res.Started)
	req.mu.Lock()
	defer req.mu.Unlock()
	if req.answered {
		// In the meantime: let the caller end it.
		return res, true
	}
	req.abandoned = true
	res.Lingering = req.ended
	return res, false
}

// enqueue waits until a thread has taken the request, and says in res why if none
// has.
func (r *Runner) enqueue(ctx context.Context, req *request, res *Result) bool {
	queue := r.requests
	if req.spec.Background {
		queue = r.background
	}
	select {
	case queue <- req:
		return true
	default:
	}
	ticker := time.NewTicker(patience)
	defer ticker.Stop()
	for {
		select {
		case queue <- req:
			return true
		case <-ctx.Done():
			res.Canceled = true
			return false
		case <-r.quit:
			res.Canceled = true
			return false
		case <-ticker.C:
			r.anotherStarter()
			if time.Since(res.Started) >= queuePatience {
				res.TimedOut = true
				return false
			}
		}
	}
}

// discard ends a program that was started after all.
func (r *Runner) discard(req *request) {
	defer close(req.ended)
	if p := req.process; p != nil {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		<-r.linger(p)
	}
}

// linger waits for a process in the background.
func (r *Runner) linger(p *process) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-p.dead
		r.reap(p, true, new(Result))
	}()
	return ended
}

// reap takes the exit status and the output of a process that has ended. With
// group it ends what is left of its group.
func (r *Runner) reap(p *process, group bool, res *Result) {
	res.Duration = time.Since(res.Started)
	if group {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	}
	var status syscall.WaitStatus
	var err error
	r.mu.Lock()
	for {
		_, err = syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil)
		if err != syscall.EINTR {
			break
		}
	}
	delete(r.children, p.pid)
	r.mu.Unlock()
	switch {
	case err != nil:
		// Somebody has waited for all children of the process: not a success.
		res.Problem = &Problem{Path: res.Path, Reason: "its exit status was lost: " + err.Error()}
	case status.Exited():
		res.Exit = status.ExitStatus()
	case status.Signaled():
		res.Signal = status.Signal()
	}
	var held bool
	if res.Output, res.Truncated, held = p.out.finish(); held {
		r.leave(p.out)
	} else {
		p.out.close()
	}
}
