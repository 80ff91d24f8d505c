// Package command runs programs as a daemon must run what others wrote: as
// another user, for a limited time, with bounded output, checked before root
// runs them, and so that nothing of them is left that nobody waits for.
package command

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Spec says what to run, and how.
type Spec struct {
	// Argv is the program and its arguments. A name without a slash is looked
	// for in PATH; a relative path begins at /, which is the working directory
	// of what is run.
	Argv []string
	As   Credential
	// Env is added to the daemon's environment, less what is [Withheld]. For
	// another user than the daemon's it has that user's HOME, USER and LOGNAME.
	Env []string
	// Timeout ends the program: SIGTERM to its process group, SIGKILL 2 s
	// later; 0: never.
	Timeout time.Duration
	// Kill has the program killed at its end, by the timeout or the context,
	// rather than asked to end first (keepalived: scripts on STOP).
	Kill bool
	// Grace, if it is not 0, is how long after SIGTERM the program is killed
	// when the context has ended, in place of 2 s: whoever ends it then does not
	// want to wait.
	Grace time.Duration
	// Background lets programs without it be started first, where many are to
	// be started at once.
	Background bool
	// Secure refuses what would run as root if somebody else than root could
	// have changed it (keepalived: enable_script_security).
	Secure bool
}

// A Result is what came of running a program.
type Result struct {
	Path     string // what was executed; empty if it was not found
	Started  time.Time
	Duration time.Duration
	Exit     int            // exit code; -1 if it did not exit by itself
	Signal   syscall.Signal // what ended it; 0: nothing did
	// TimedOut and Canceled say that it was told to end, whatever it made of
	// that: Spec.Timeout had passed, or the context had ended.
	TimedOut, Canceled bool
	Timeout            time.Duration // that of the Spec
	// Output is the end of what it wrote to standard output and error, not
	// cleaned of control characters; Truncated says that there was more.
	Output    string
	Truncated bool
	Problem   *Problem // why it could not be run; nil: it was
	// Lingering is not nil if the program could not even be killed, such as one
	// that hangs in a dead file system, or one that made itself root's while
	// vipd is not. It is closed when the program has ended at last.
	Lingering <-chan struct{}
}

// OK reports whether the program was run, ended by itself in time and returned
// 0.
func (r Result) OK() bool {
	return r.Problem == nil && !r.TimedOut && !r.Canceled && r.Signal == 0 && r.Exit == 0 && r.Lingering == nil
}

// String says in a few words how the program ended.
func (r Result) String() string {
	switch {
	case r.Problem != nil:
		return r.Problem.Error()
	case r.TimedOut:
		return r.overrun()
	case r.Canceled:
		return "stopped after " + r.Duration.Round(time.Millisecond).String() + r.lingers()
	case r.Signal != 0:
		if name := unix.SignalName(r.Signal); name != "" {
			return "killed by " + name
		}
		return fmt.Sprintf("killed by signal %d", int(r.Signal))
	}
	return fmt.Sprintf("exit code %d", r.Exit)
}

// overrun says how a program ended that was not done in time.
func (r Result) overrun() string {
	// What of its time is spent on ending a program that does as it is told.
	const prompt = 200 * time.Millisecond
	switch {
	case r.Timeout == 0:
		return "timed out after " + r.Duration.Round(time.Millisecond).String() + r.lingers()
	case r.Path == "" && r.Lingering == nil:
		return fmt.Sprintf("not started within %s, as many others were to be", inSeconds(r.Duration))
	case r.Lingering != nil || r.Duration < r.Timeout+prompt:
		return "timed out after " + r.Timeout.String() + r.lingers()
	case r.Signal == syscall.SIGKILL:
		return fmt.Sprintf("not done within %v, killed after %s", r.Timeout, inSeconds(r.Duration))
	}
	return fmt.Sprintf("not done within %v, ended after %s", r.Timeout, inSeconds(r.Duration))
}

func (r Result) lingers() string {
	if r.Lingering == nil {
		return ""
	}
	return ", cannot be killed"
}

// inSeconds writes a duration of seconds as nobody needs it more exactly.
func inSeconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// A Problem is why a program cannot be run.
type Problem struct {
	Path   string // what is wrong: the program, or a directory on the way to it
	Reason string // in what way
	Hint   string // the cure, if one is known
}

// Error returns the path and the reason.
func (p *Problem) Error() string {
	if p.Path == "" {
		return p.Reason
	}
	return p.Path + ": " + p.Reason
}

// FailureHint says what may be behind a failure that puzzles people, and what
// can be done about it; empty if nothing is known.
func (s *Spec) FailureHint(r Result) string {
	switch {
	case r.Problem != nil:
		return r.Problem.Hint
	case r.OK() || r.TimedOut || r.Canceled || r.Signal != 0:
		return ""
	}
	if s.As.UID != 0 {
		if hint := s.signalHint(r.Output); hint != "" {
			return hint
		}
	}
	switch r.Exit {
	case 126:
		return "exit code 126 usually means that the script found a command that is not executable for user " + s.As.String()
	case 127:
		return "exit code 127 usually means that the script did not find a command: PATH is that of vipd, not that of a login"
	}
	return ""
}

// signalHint explains that signal 0 can be sent to one's own processes only.
func (s *Spec) signalHint(output string) string {
	// killall says "no process found" also after it was refused.
	refused := strings.Contains(output, "ot permitted")
	for _, absent := range []string{"no process found", "No such process", "no process killed"} {
		if !refused && strings.Contains(output, absent) {
			return ""
		}
	}
	// A shell has the command in one of its arguments.
	words := strings.Fields(strings.Join(s.Argv, " "))
	for i, word := range words {
		name := strings.Trim(word[strings.LastIndexByte(word, '/')+1:], `"'();|&`)
		if name != "kill" && name != "killall" && name != "pkill" || !signalsZero(words[i+1:]) {
			continue
		}
		return fmt.Sprintf("%s -0 as user %s sees no processes of other users; use vrrp_track_process, or let root run it", name, s.As)
	}
	if refused && strings.Contains(output, "kill") {
		return fmt.Sprintf("user %s may not signal the processes of other users; use vrrp_track_process, or let root run it", s.As)
	}
	return ""
}

// signalsZero reports whether the options at the start of args ask kill and its
// like for signal 0.
func signalsZero(args []string) bool {
	for i, a := range args {
		switch {
		case a == "-0" || a == "-s0" || a == "-n0" || a == "--signal=0":
			return true
		case a == "-s" || a == "-n" || a == "--signal":
			return i+1 < len(args) && args[i+1] == "0"
		case !strings.HasPrefix(a, "-"):
			return false
		}
	}
	return false
}
