package daemontest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

// write writes a file and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// exitCode returns how a program has ended.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

func TestWithoutACapabilityVIPDSaysWhichAndHowToGetIt(t *testing.T) {
	t.Parallel()
	netiftest.Require(t)
	self, err := os.Executable()
	check(t, err)
	for _, tt := range []struct {
		name    string
		without []int
		want    string
	}{
		{"no capability for addresses", []int{unix.CAP_NET_ADMIN}, "missing CAP_NET_ADMIN: "},
		{"no capability for sockets", []int{unix.CAP_NET_RAW}, "missing CAP_NET_RAW: "},
		{"neither", []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}, "missing CAP_NET_ADMIN and CAP_NET_RAW: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			runDir := filepath.Join(t.TempDir(), "run")
			cmd := exec.CommandContext(t.Context(), self, rig.BuildVIPD(t), "run", "-f", write(t, "vipd.yaml", fast), "--run-dir", runDir)
			cmd.Env = append(os.Environ(), envWithout+"="+strings.Trim(fmt.Sprint(tt.without), "[]"))
			out, err := cmd.CombinedOutput()
			if code := exitCode(t, err); code != 3 {
				t.Errorf("exit code %d, want 3", code)
			}
			for _, want := range []string{tt.want, "AmbientCapabilities="} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the error does not say %q:\n%s", want, out)
				}
			}
			if _, err := os.Stat(runDir); err == nil {
				t.Error("it made a run directory before it found out")
			}
		})
	}
}

// mayBecomeNobody reports whether this process may run programs as another user:
// as root of a namespace of its own it may not.
func mayBecomeNobody() bool {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd.Run() == nil
}

func TestTheCapabilitiesOfTheUnitAreEnough(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	self, err := os.Executable()
	check(t, err)
	keep := map[int]bool{
		unix.CAP_NET_ADMIN: true, unix.CAP_NET_RAW: true, unix.CAP_SYS_NICE: true,
		unix.CAP_SETUID: true, unix.CAP_SETGID: true, unix.CAP_KILL: true,
	}
	var without []string
	for c := range unix.CAP_LAST_CAP + 1 {
		if !keep[c] {
			without = append(without, fmt.Sprint(c))
		}
	}
	runDir := t.TempDir()
	yaml := fast
	if _, err := os.Stat("/bin/sleep"); err == nil && mayBecomeNobody() {
		// A script of another user, and one that has to be ended.
		yaml = "vrrp_script:\n  hangs: {script: /bin/sleep 1000, user: nobody, interval: 1, weight: -10}\n" + fast + "    track_script: hangs\n"
	}
	cmd := r.Command(t.Context(), self, rig.BuildVIPD(t), "run", "-f", write(t, "vipd.yaml", yaml), "--run-dir", runDir)
	cmd.Env = append(os.Environ(), envWithout+"="+strings.Join(without, " "))
	check(t, cmd.Start())
	t.Cleanup(cmd.Stop)
	s.wire.announcement("192.0.2.10", time.Time{})
	if yaml != fast {
		client := control.NewClient(runDir)
		defer client.Close()
		rig.Eventually(t, patience, "the script of another user was run, and ended", func() bool {
			status, err := client.Status(t.Context())
			return err == nil && len(status.Checks) == 1 && status.Checks[0].Timeouts > 0 && status.Checks[0].Unrunnable == ""
		})
	}
	check(t, cmd.Signal(syscall.SIGTERM))
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if has(r, "eth0", "192.0.2.10") {
		t.Error("the address is left behind")
	}
}

func TestExitCodesTellWhatWentWrong(t *testing.T) {
	t.Parallel()
	vipd := rig.BuildVIPD(t)
	absent := filepath.Join(t.TempDir(), "absent")
	stale := t.TempDir()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: control.SocketPath(stale), Net: "unix"})
	check(t, err)
	ln.SetUnlinkOnClose(false)
	check(t, ln.Close())
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"a configuration with an error", []string{"run", "-f", write(t, "bad.yaml", strings.Replace(fast, "200", "300", 1)), "--run-dir", absent}, 2, "priority: 300 is out of range (1 to 255)"},
		{"no configuration", []string{"run", "-f", absent, "--run-dir", absent}, 2, "no such file"},
		{"an unknown flag", []string{"run", "--fiel", "x"}, 2, "unknown flag: --fiel"},
		{"an unknown command", []string{"statsu"}, 2, `unknown command "statsu"`},
		{"an argument too many", []string{"run", "x"}, 2, "vipd run --help"},
		{"an unknown log format", []string{"run", "--log-format", "xml"}, 2, "unknown log format"},
		{"no daemon", []string{"status", "--run-dir", absent}, 4, "no vipd runs here"},
		{"a daemon that has died", []string{"status", "--run-dir", stale}, 4, "left behind by one that died"},
		{"help", []string{"--help"}, 0, "Exit codes"},
		{"the version", []string{"version"}, 0, "vipd "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), vipd, tt.args...).CombinedOutput()
			if code := exitCode(t, err); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(string(out), tt.want) {
				t.Errorf("it does not say %q:\n%s", tt.want, out)
			}
		})
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("a run directory was made for a configuration that cannot run")
	}
}

func TestCheckSaysWhatWouldRunAndWhatIsStrange(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	vipd := rig.BuildVIPD(t)
	for _, tt := range []struct {
		name, yaml string
		args       []string
		code       int
		want       string // FILE stands for the name of the file
	}{
		{
			name: "all well", yaml: fast,
			want: "FILE: can run; 1 instance\n" +
				"  VI: VRRPv3 IPv4, VRID 51, on eth0, priority 200, advertises every 100ms by multicast to 224.0.0.18\n" +
				"    takes over after 322ms without an advertisement; holds 1 address\n" +
				"    if it dies as master, the kernel removes its addresses 1s after the last advertisement, and two routers answer for at most 1.25s\n",
		},
		{
			name: "several errors", yaml: "vrrp_instance:\n  VI:\n    interface: eth0\n    virtual_routerid: 51\n    priority: 300\n    virtual_ipaddress: [192.0.2.10/24]\n", code: 2,
			want: "FILE:4:5: vrrp_instance.VI.virtual_routerid: unknown keyword \"virtual_routerid\" (did you mean virtual_router_id?)\n" +
				"FILE:5:15: vrrp_instance.VI.priority: 300 is out of range (1 to 255)\n" +
				"vipd: FILE: it cannot be run as it is\n",
		},
		{
			name: "warnings about the host", yaml: strings.NewReplacer("eth0", "eth7", "100ms", "1").Replace(fast),
			want: "FILE:3:3: vrrp_instance.VI: warning: interface eth7 does not exist: the instance waits for it\n" +
				"FILE: can run; 1 instance\n" +
				"  VI: VRRPv3 IPv4, VRID 51, on eth7, priority 200, advertises every 1s by multicast to 224.0.0.18\n" +
				"    takes over after 3.219s without an advertisement; holds 1 address\n" +
				"    if it dies as master, the kernel removes its addresses 3s after the last advertisement, and two routers answer for at most 500ms\n",
		},
		{
			name: "a virtual address outside the subnet, strictly", yaml: strings.Replace(fast, "192.0.2.10", "203.0.113.10", 1), args: []string{"--strict"}, code: 1,
			want: "FILE:8:25: vrrp_instance.VI: warning: 203.0.113.10 is in no subnet of eth0 (it has 192.0.2.0/24)\n" +
				"FILE: can run; 1 instance\n" +
				"  VI: VRRPv3 IPv4, VRID 51, on eth0, priority 200, advertises every 100ms by multicast to 224.0.0.18\n" +
				"    takes over after 322ms without an advertisement; holds 1 address\n" +
				"    if it dies as master, the kernel removes its addresses 1s after the last advertisement, and two routers answer for at most 1.25s\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, "vipd.yaml", tt.yaml)
			out, err := r.Command(t.Context(), vipd, append([]string{"check", "-f", file}, tt.args...)...).CombinedOutput()
			if code := exitCode(t, err); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if got := strings.ReplaceAll(string(out), file, "FILE"); got != tt.want {
				t.Errorf("it says\n%s\nwant\n%s", got, tt.want)
			}
			var answer struct {
				OK          bool
				Diagnostics []any
			}
			raw, err := r.Command(t.Context(), vipd, "check", "-f", file, "--json").Output()
			if code := exitCode(t, err); (code == 0) != (tt.code != 2) {
				t.Errorf("with --json: exit code %d", code)
			}
			if err := json.Unmarshal(raw, &answer); err != nil || answer.OK != (tt.code != 2) {
				t.Errorf("with --json: %v, ok is %t:\n%s", err, answer.OK, raw)
			}
		})
	}
}

func TestStatusTellsPeopleAndProgramsTheSame(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	vipd := rig.BuildVIPD(t)
	text, err := exec.CommandContext(t.Context(), vipd, "status", "--run-dir", d.RunDir).CombinedOutput()
	check(t, err)
	for _, want := range []string{"VI", "master", "192.0.2.10", "eth0"} {
		if !strings.Contains(strings.ToLower(string(text)), strings.ToLower(want)) {
			t.Errorf("the status does not say %q:\n%s", want, text)
		}
	}
	raw, err := exec.CommandContext(t.Context(), vipd, "status", "--json", "--run-dir", d.RunDir).Output()
	check(t, err)
	var st control.Status
	check(t, json.Unmarshal(raw, &st))
	if len(st.Instances) != 1 || st.Instances[0].State != control.StateMaster || st.Daemon.PID != d.PID() {
		t.Errorf("the status is\n%s", raw)
	}
	out, err := exec.CommandContext(t.Context(), vipd, "status", "VX", "--run-dir", d.RunDir).CombinedOutput()
	if code := exitCode(t, err); code != 2 || !strings.Contains(string(out), `"VX"`) {
		t.Errorf("an instance that does not exist: exit code %d\n%s", code, out)
	}
}

func TestTheServiceManagerIsToldWhatHappens(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	// The name of a test is too long for a socket.
	dir, err := os.MkdirTemp("", "sd")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	type message struct {
		at   time.Time
		text string
	}
	messages := make(chan message, 1024)
	go func() {
		defer close(messages)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			messages <- message{time.Now(), string(b[:n])}
		}
	}()
	// next returns the next message with a word in it, and how many came before.
	next := func(word string, within time.Duration) (message, int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		for before := 0; ; before++ {
			select {
			case m := <-messages:
				if strings.Contains(m.text, word) {
					return m, before
				}
			case <-ctx.Done():
				t.Fatalf("no %s within %s, but %d others", word, within, before)
			}
		}
	}

	const interval = 3 * time.Second
	runDir := t.TempDir()
	cmd := r.Command(t.Context(), rig.BuildVIPD(t), "run", "-f", write(t, "vipd.yaml", fast), "--run-dir", runDir)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+name, fmt.Sprintf("WATCHDOG_USEC=%d", interval.Microseconds()))
	check(t, cmd.Start())
	t.Cleanup(cmd.Stop)

	ready, _ := next("READY=1", patience)
	if !strings.Contains(ready.text, "STATUS=1 instance") {
		t.Errorf("it says %q", ready.text)
	}
	client := control.NewClient(runDir)
	defer client.Close()
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("it says that it is ready, and does not answer: %v", err)
	}
	last, _ := next("WATCHDOG=1", patience)
	for range 4 {
		m, _ := next("WATCHDOG=1", patience)
		// The manager would have killed it. Half of the time is for this machine.
		if gap := m.at.Sub(last.at); gap > interval {
			t.Errorf("no sign of life for %s, the limit is %s", gap, interval)
		}
		last = m
	}

	check(t, cmd.Signal(syscall.SIGSTOP))
	waitStopped(t, cmd.Process.Pid)
	for drained := false; !drained; {
		select {
		case <-messages:
		default:
			drained = true
		}
	}
	silent := time.NewTimer(2 * interval)
	select {
	case m := <-messages:
		t.Errorf("a process that hangs says %q", m.text)
	case <-silent.C:
	}
	check(t, cmd.Signal(syscall.SIGCONT))
	next("WATCHDOG=1", patience)

	check(t, cmd.Signal(syscall.SIGTERM))
	next("STOPPING=1", patience)
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAHangUpEndsNothing(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	d := s.masterOf(r, fast)
	d.Signal(t, syscall.SIGHUP)
	d.logs(1, "INFO", "reloaded", "changes=0")
	if i := d.instance(""); path(i) != "init backup master" || !has(r, "eth0", "192.0.2.10") {
		t.Errorf("it went %s, and has its address: %t", path(i), has(r, "eth0", "192.0.2.10"))
	}
}

// waitStopped waits until a process has stopped for a signal.
func waitStopped(t *testing.T, pid int) {
	t.Helper()
	rig.Eventually(t, patience, "the process stops", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		check(t, err)
		_, rest, _ := strings.Cut(string(b), ") ")
		return strings.HasPrefix(rest, "T")
	})
}
