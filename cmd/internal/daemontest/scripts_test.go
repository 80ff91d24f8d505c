package daemontest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
)

// script writes an executable file and returns its path.
func script(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(file, []byte(text), 0o700))
	return file
}

// A foe is a script that does what it should not.
type foe struct {
	name  string
	text  string // of the script
	mode  os.FileMode
	every int // seconds
	want  func(control.Check) string
}

// foes are the scripts that a daemon has to live with.
func foes() []foe {
	timedOut := func(c control.Check) string {
		if c.State != control.CheckDown || c.Timeouts == 0 || !strings.Contains(c.Detail, "timed out") {
			return "is not down for a timeout"
		}
		return ""
	}
	unrunnable := func(text string) func(control.Check) string {
		return func(c control.Check) string {
			if c.State != control.CheckDown || !strings.Contains(c.Unrunnable, text) {
				return "is not down because it cannot be run: " + text
			}
			return ""
		}
	}
	up := func(c control.Check) string {
		if c.State != control.CheckUp || c.Failures > 0 || c.Runs == 0 {
			return "is not up"
		}
		return ""
	}
	return []foe{
		{"hangs", "#!/bin/sh\nexec sleep 1000\n", 0o700, 1, timedOut},
		{"hangs_with_children", "#!/bin/sh\nsleep 1000 & (sleep 1000 & sleep 1000) &\nwait\n", 0o700, 1, timedOut},
		{"ignores_term", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n", 0o700, 1, timedOut},
		{"floods", "#!/bin/sh\nhead -c 1000000000 /dev/zero\n", 0o700, 60, up},
		{"leaves_children", "#!/bin/sh\nsleep 3 &\nexit 0\n", 0o700, 1, up},
		{"not_executable", "#!/bin/sh\nexit 0\n", 0o600, 1, unrunnable("not executable")},
		{"no_interpreter", "#!/absent/interpreter\nexit 0\n", 0o700, 1, unrunnable("interpreter")},
		{"no_format", "exit 0\n", 0o700, 1, unrunnable("exec format error")},
		{"deletes_itself", "#!/bin/sh\nrm -f \"$0\"\nexit 0\n", 0o700, 1, unrunnable("does not exist")},
	}
}

// TestScriptsOfAllKindsHarmNothingButTheirVerdict runs the worst scripts beside
// a master that advertises every 100 ms.
func TestScriptsOfAllKindsHarmNothingButTheirVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts func(t *testing.T) []rig.Option
	}{
		{"as any process", func(*testing.T) []rig.Option { return nil }},
		{"as process 1", func(t *testing.T) []rig.Option {
			return []rig.Option{rig.WithWrapper(t, "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSegment(t)
			r := s.router(1)
			// The directory is one that others may write to.
			yaml := "global_defs:\n  enable_script_security: false\nvrrp_script:\n"
			var tracked []string
			for _, f := range foes() {
				file := script(t, f.name, f.text)
				check(t, os.Chmod(file, f.mode))
				yaml += fmt.Sprintf("  %s: {script: %s, interval: %d, timeout: %d, weight: -1}\n", f.name, file, f.every, f.every)
				tracked = append(tracked, f.name)
			}
			d := s.masterOf(r, yaml+fast+"    track_script: ["+strings.Join(tracked, ", ")+"]\n", tt.opts(t)...)

			begin := time.Now()
			foes := foes()
			rig.Eventually(t, patience, "every script has its verdict", func() bool { return complaint(d, foes) == "" })
			rss, fds := resources(t, d.daemonPID())
			time.Sleep(6 * time.Second)
			end := time.Now()
			if c := complaint(d, foes); c != "" {
				t.Error(c)
			}
			if gap, n := s.wire.gaps("192.0.2.1", 51, begin, end); gap > 300*time.Millisecond || n < 30 {
				t.Errorf("of %d advertisements two were %v apart", n, gap)
			}
			rssLater, fdsLater := resources(t, d.daemonPID())
			if rssLater > rss+8<<20 {
				t.Errorf("resident memory went from %d to %d KiB", rss>>10, rssLater>>10)
			}
			if fdsLater > fds+10 {
				t.Errorf("open descriptors went from %d to %d", fds, fdsLater)
			}
			// One may be caught between its end and being waited for; there may
			// always be an orphan that process 1 has not waited for yet.
			dead := zombies(d.PID())
			rig.Eventually(t, quick, "no process stays a zombie", func() bool {
				still := zombies(d.PID())
				return !slices.ContainsFunc(dead, func(pid int) bool { return slices.Contains(still, pid) })
			})
			// Itself: what started it may not pass the signal on.
			check(t, syscall.Kill(d.daemonPID(), syscall.SIGTERM))
			select {
			case <-d.Done():
			case <-time.After(patience):
				t.Error("it does not end")
			}
			rig.Eventually(t, quick, "nothing is left running", func() bool { return len(descendants(d.PID())) == 0 })
		})
	}
}

// complaint returns what is wrong about the verdicts.
func complaint(d *daemon, foes []foe) string {
	checks := d.status().Checks
	for _, f := range foes {
		i := slices.IndexFunc(checks, func(c control.Check) bool { return c.Name == f.name })
		if i < 0 {
			return f.name + " is not in the status"
		}
		if c := f.want(checks[i]); c != "" {
			return fmt.Sprintf("%s %s: %+v", f.name, c, checks[i])
		}
	}
	return ""
}

// daemonPID returns the number of vipd, which may have been started by a
// wrapper.
func (d *daemon) daemonPID() int {
	pid := d.PID()
	for _, child := range append([]int{pid}, descendants(pid)...) {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); err == nil && strings.TrimSpace(string(name)) == "vipd" {
			return child
		}
	}
	return pid
}

// resources returns the resident memory in octets and the number of open
// descriptors of a process.
func resources(t *testing.T, pid int) (rss, fds int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	check(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	check(t, err)
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	check(t, err)
	return pages * os.Getpagesize(), len(list)
}

// descendants returns all processes that descend from one and were not handed to
// another.
func descendants(pid int) []int { return family(pid, nil) }

// zombies returns those that have ended and that nobody has waited for.
func zombies(pid int) []int {
	return family(pid, func(state byte) bool { return state == 'Z' })
}

func family(pid int, wanted func(state byte) bool) []int {
	type process struct {
		pid, parent int
		state       byte
	}
	var all []process
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(string(fields[1]))
		all = append(all, process{n, parent, fields[0][0]})
	}
	var out []int
	for parents := []int{pid}; len(parents) > 0; parents = parents[1:] {
		for _, p := range all {
			if p.parent != parents[0] {
				continue
			}
			parents = append(parents, p.pid)
			if wanted == nil || wanted(p.state) {
				out = append(out, p.pid)
			}
		}
	}
	return out
}
