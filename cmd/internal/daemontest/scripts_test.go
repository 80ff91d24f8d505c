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
	limit int // seconds; 0: as every
	want  func(control.Check) string
}

// floodSize is how many octets the script that floods writes each time.
const floodSize = 300 << 20

// foes are the scripts that a daemon has to live with.
func foes() []foe {
	timedOut := func(detail string) func(control.Check) string {
		return func(c control.Check) string {
			if c.State != control.CheckDown || c.Timeouts == 0 || !strings.Contains(c.Detail, detail) {
				return "is not down for a timeout: " + detail
			}
			return ""
		}
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
		{"hangs", "#!/bin/sh\nexec sleep 1000\n", 0o700, 1, 0, timedOut("1s")},
		{"hangs_with_children", "#!/bin/sh\nsleep 1000 & (sleep 1000 & sleep 1000) &\nwait\n", 0o700, 1, 0, timedOut("1s")},
		{"ignores_term", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n", 0o700, 1, 0, timedOut("not done within 1s, killed after ")},
		// Again and again, so that it goes on while resources are looked at.
		{"floods", fmt.Sprintf("#!/bin/sh\nhead -c %d /dev/zero\n", floodSize), 0o700, 2, 30, up},
		{"leaves_children", "#!/bin/sh\nsleep 3 &\nexit 0\n", 0o700, 1, 0, up},
		{"not_executable", "#!/bin/sh\nexit 0\n", 0o600, 1, 0, unrunnable("not executable")},
		{"no_interpreter", "#!/absent/interpreter\nexit 0\n", 0o700, 1, 0, unrunnable("interpreter")},
		{"no_format", "exit 0\n", 0o700, 1, 0, unrunnable("exec format error")},
		{"deletes_itself", "#!/bin/sh\nrm -f \"$0\"\nexit 0\n", 0o700, 1, 0, unrunnable("does not exist")},
	}
}

// TestScriptsOfAllKindsHarmNothingButTheirVerdict runs the worst scripts beside
// a master that advertises every second, and compares it with one that runs none.
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
			const length = 6 * time.Second
			calm := steady(200)
			idle := s.masterOf(r, calm, tt.opts(t)...)
			begin := time.Now()
			time.Sleep(length)
			idleGap, _ := s.wire.gaps("192.0.2.1", 51, begin, time.Now())
			idleRSS, _ := resources(t, idle.daemonPID())
			check(t, syscall.Kill(idle.daemonPID(), syscall.SIGTERM))
			idle.WaitExit(t, patience)

			// The directory is one that others may write to.
			yaml := "global_defs:\n  enable_script_security: false\nvrrp_script:\n"
			var tracked []string
			for _, f := range foes() {
				file := script(t, f.name, f.text)
				check(t, os.Chmod(file, f.mode))
				yaml += fmt.Sprintf("  %s: {script: %s, interval: %d, timeout: %d, weight: -1}\n", f.name, file, f.every, max(f.every, f.limit))
				tracked = append(tracked, f.name)
			}
			d := s.masterOf(r, yaml+calm+"    track_script: ["+strings.Join(tracked, ", ")+"]\n", tt.opts(t)...)

			maxRSS := watchMemory(d.daemonPID())
			begin = time.Now()
			foes := foes()
			rig.Eventually(t, patience, "every script has its verdict", func() bool { return complaint(d, foes) == "" })
			_, fds := resources(t, d.daemonPID())
			time.Sleep(length)
			end := time.Now()
			if c := complaint(d, foes); c != "" {
				t.Error(c)
			}
			// Scripts take their share of the processors, and so do other tests; but no
			// backup may take over.
			gap, n := s.wire.gaps("192.0.2.1", 51, begin, end)
			if gap > 3*time.Second || n < 4 {
				t.Errorf("of %d advertisements two were %v apart, and %v without scripts", n, gap, idleGap)
			}
			// A tenth of what one flood writes.
			rss := maxRSS()
			if rss > idleRSS+floodSize/10 {
				t.Errorf("resident memory was up to %d KiB, and %d KiB without scripts", rss>>10, idleRSS>>10)
			}
			rig.Eventually(t, patience, "the flood comes again", func() bool { return runs(d, "floods") >= 2 })
			_, fdsLater := resources(t, d.daemonPID())
			t.Logf("longest gap %v, %v without scripts; at most %d KiB resident, %d without; descriptors %d, then %d", gap, idleGap, rss>>10, idleRSS>>10, fds, fdsLater)
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

// watchMemory samples the resident memory of a process until the function that it
// returns is called, which returns the most that was seen.
func watchMemory(pid int) (most func() int) {
	stop, result := make(chan struct{}), make(chan int)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		seen := 0
		for {
			if rss, err := resident(pid); err == nil {
				seen = max(seen, rss)
			}
			select {
			case <-tick.C:
			case <-stop:
				result <- seen
				return
			}
		}
	}()
	return func() int {
		close(stop)
		return <-result
	}
}

// runs returns how often a script has been run.
func runs(d *daemon, name string) uint64 {
	for _, c := range d.status().Checks {
		if c.Name == name {
			return c.Runs
		}
	}
	return 0
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
	rss, err := resident(pid)
	check(t, err)
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	check(t, err)
	return rss, len(list)
}

// resident returns the resident memory of a process in octets.
func resident(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm of %d: %q", pid, text)
	}
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err
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
