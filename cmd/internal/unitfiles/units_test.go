package unitfiles

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vipd/cmd/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const (
	single   = "../../vipd/packaging/vipd.service"
	template = "../../vipd/packaging/vipd@.service"
	document = "../../../docs/systemd.md"
	// installed is where the units have the program.
	installed = "/usr/bin/vipd"
	patience  = 20 * time.Second
)

// A unit has the values of each directive, in order.
type unit map[string][]string

// read reads a unit. Each of its lines is one that this package understands.
func read(t *testing.T, file string) unit {
	t.Helper()
	raw, err := os.ReadFile(file)
	check(t, err)
	u := unit{}
	for i, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasSuffix(line, `\`) {
			t.Fatalf("%s:%d: not understood: %s", file, i+1, line)
		}
		u[key] = append(u[key], value)
	}
	return u
}

// is fails the test if a directive does not stand there once, with a value.
func (u unit) is(t *testing.T, key, want string) {
	t.Helper()
	if got := u[key]; len(got) != 1 || got[0] != want {
		t.Errorf("%s= is %q, want %q", key, got, want)
	}
}

// one returns the value of a directive that stands there once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("%s= is %q, want one value", key, u[key])
	}
	return u[key][0]
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheUnitsNameTheDirectoriesOfTheProgram(t *testing.T) {
	// Where the program itself looks, when nothing is said.
	help, err := exec.Command(rig.BuildVIPD(t), "run", "--help").CombinedOutput()
	check(t, err)
	said := regexp.MustCompile(`\(default "(/[^"]+)"\)`).FindAllStringSubmatch(string(help), -1)
	if len(said) != 2 {
		t.Fatalf("vipd run --help has %d paths, want those of the configuration and the run directory:\n%s", len(said), help)
	}
	file, runDir := said[0][1], said[1][1]

	u := read(t, single)
	u.is(t, "ExecStart", installed+" run -f "+file)
	u.is(t, "ExecReload", installed+" reload")
	u.is(t, "RuntimeDirectory", strings.TrimPrefix(runDir, "/run/"))

	u = read(t, template)
	own := runDir + "-%i"
	u.is(t, "ExecStart", installed+" run -f "+filepath.Dir(file)+"/%i.yaml --run-dir "+own)
	u.is(t, "ExecReload", installed+" reload --run-dir "+own)
	u.is(t, "RuntimeDirectory", strings.TrimPrefix(own, "/run/"))
}

func TestTheTemplateIsTheUnitOtherwise(t *testing.T) {
	a, b := read(t, single), read(t, template)
	for _, own := range []string{"Description", "ExecStart", "ExecReload", "RuntimeDirectory"} {
		delete(a, own)
		delete(b, own)
	}
	for key := range a {
		if !slices.Equal(a[key], b[key]) {
			t.Errorf("%s= is %q in the unit, %q in the template", key, a[key], b[key])
		}
	}
	for key := range b {
		if a[key] == nil {
			t.Errorf("%s= is in the template only", key)
		}
	}
	if len(a) < 30 {
		t.Errorf("only %d directives were compared", len(a))
	}
}

// exitCode runs a program and returns how it ended.
func exitCode(t *testing.T, argv ...string) (code int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		t.Fatalf("%q: %v", argv, err)
	}
	if exit == nil {
		return 0, string(out)
	}
	return exit.ExitCode(), string(out)
}

func TestWhatIsNoBetterTheSecondTimeIsNotTriedAgain(t *testing.T) {
	vipd, dir := rig.BuildVIPD(t), t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		check(t, os.WriteFile(file, []byte(text), 0o644))
		return file
	}
	good := write("good.yaml", "vrrp_instance: {A: {interface: vipd-none0, virtual_router_id: 1, virtual_ipaddress: [192.0.2.10/24]}}\n")
	run := func(file string) []string {
		return []string{vipd, "run", "-f", file, "--run-dir", filepath.Join(dir, "run")}
	}
	keepalived := func(args ...string) []string {
		return append([]string{vipd, "keepalived", "-nlG", "-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid"), "--run-dir", filepath.Join(dir, "run")}, args...)
	}
	unprivileged := func(argv []string) []string {
		if os.Geteuid() == 0 {
			argv = append([]string{"setpriv", "--bounding-set=-net_raw", "--"}, argv...)
		}
		return argv
	}
	prevented := strings.Fields(read(t, single).one(t, "RestartPreventExitStatus"))
	var seen []string
	for _, tt := range []struct {
		name string
		argv []string
		says string
	}{
		{"a configuration that nobody has written yet", run(write("empty.yaml", "# nothing\n")), "empty.yaml"},
		{"no configuration", run(filepath.Join(dir, "none.yaml")), "none.yaml"},
		{"a configuration with errors", run(write("bad.yaml", "vrrp_instance: {A: {priority: 300}}\n")), "bad.yaml:1:"},
		{"a missing permission", unprivileged(run(good)), "CAP_NET_RAW"},
		{"as keepalived, wrong usage", keepalived("-Z"), "unknown option -Z"},
		{"as keepalived, no configuration", keepalived("-f", filepath.Join(dir, "none.conf")), "none.conf"},
		{"as keepalived, a configuration with errors", keepalived("-f", write("bad.conf", "vrrp_instance A {\n}\n")), "bad.conf:1"},
		{"as keepalived, a missing permission", unprivileged(keepalived("-f", good)), "CAP_NET_RAW"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, said := exitCode(t, tt.argv...)
			if !strings.Contains(said, tt.says) {
				t.Errorf("it does not say %q: %s", tt.says, said)
			}
			if !slices.Contains(prevented, strconv.Itoa(code)) {
				t.Errorf("the exit code is %d: it would be tried again, as only after %q it is not", code, prevented)
			}
			seen = append(seen, strconv.Itoa(code))
		})
	}
	for _, code := range prevented {
		if !slices.Contains(seen, code) {
			t.Errorf("exit code %s prevents a restart, and nothing here ends with it", code)
		}
	}
}

// TestACrashIsTriedAgain has a vipd get the signal that the watchdog, or a panic,
// ends it with.
func TestACrashIsTriedAgain(t *testing.T) {
	u := read(t, single)
	u.is(t, "Restart", "always")
	// A program that waits for a daemon that never answers.
	runDir, err := os.MkdirTemp("", "sd")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(runDir) })
	listener, err := net.Listen("unix", filepath.Join(runDir, "control.sock"))
	check(t, err)
	defer listener.Close()
	for _, tt := range []struct {
		name        string
		environment []string
		restarted   bool
	}{
		{"in the environment of the unit", u["Environment"], true},
		{"without it", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said strings.Builder
			cmd := exec.CommandContext(t.Context(), rig.BuildVIPD(t), "status", "--run-dir", runDir)
			cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GOTRACEBACK=") }), tt.environment...)
			cmd.Stderr = &said
			check(t, cmd.Start())
			conn, err := listener.Accept()
			check(t, err)
			defer conn.Close()
			check(t, cmd.Process.Signal(syscall.SIGABRT))
			_ = cmd.Wait()
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			prevented := strings.Fields(u.one(t, "RestartPreventExitStatus"))
			if restarted := status.Signaled() || !slices.Contains(prevented, strconv.Itoa(status.ExitStatus())); restarted != tt.restarted {
				t.Errorf("it ended with %v, after which it is started again: %t, want %t", cmd.ProcessState, restarted, tt.restarted)
			}
			if !strings.Contains(said.String(), "goroutine ") {
				t.Errorf("it does not say what its goroutines did: %s", &said)
			}
		})
	}
}

func TestThereIsTimeForAllThatTheUnitWaitsFor(t *testing.T) {
	u := read(t, single)
	seconds := func(key string) time.Duration {
		value := u.one(t, key)
		if _, err := strconv.Atoi(value); err == nil {
			value += "s"
		}
		d, err := time.ParseDuration(value)
		check(t, err)
		return d
	}
	// A master at one advert a second is resumed within three of them, and the last
	// one was up to a second ago. Half a second is for its start.
	if d := seconds("RestartSec"); d > 500*time.Millisecond {
		t.Errorf("RestartSec= is %s, too late to go on as master", d)
	}
	// The daemon shows that it is alive in three tenths of the time.
	if d := seconds("WatchdogSec"); d < 3*time.Second || d > 10*time.Second {
		t.Errorf("WatchdogSec= is %s: shorter is killed by a busy machine, longer is no cure", d)
	}
	// A hand-over takes 20 s and a half at most.
	if d := seconds("TimeoutStopSec"); d < 25*time.Second {
		t.Errorf("TimeoutStopSec= is %s, shorter than the longest hand-over", d)
	}
	// What dies at once must not do so for ever.
	burst, err := strconv.Atoi(u.one(t, "StartLimitBurst"))
	check(t, err)
	if window := seconds("StartLimitIntervalSec"); time.Duration(burst)*500*time.Millisecond > window {
		t.Errorf("%d starts in %s are never reached, at two a second", burst, window)
	}
}

// analyze runs systemd-analyze, and returns what it says.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// install puts a unit into a directory, with the program that was just built, and
// with drop-ins. It returns its path there.
func install(t *testing.T, file string, dropIns ...string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	check(t, err)
	dir := t.TempDir()
	to := filepath.Join(dir, filepath.Base(file))
	check(t, os.WriteFile(to, []byte(strings.ReplaceAll(string(raw), installed+" ", rig.BuildVIPD(t)+" ")), 0o644))
	// What a drop-in of the document requires.
	check(t, os.WriteFile(filepath.Join(dir, "blue-namespace.service"), []byte("[Service]\nExecStart=/bin/true\n"), 0o644))
	check(t, os.Mkdir(to+".d", 0o755))
	for i, text := range dropIns {
		text = strings.ReplaceAll(text, installed+" ", rig.BuildVIPD(t)+" ")
		check(t, os.WriteFile(filepath.Join(to+".d", strconv.Itoa(i)+".conf"), []byte(text), 0o644))
	}
	return to
}

// verify fails the test if systemd has anything to say about a unit.
func verify(t *testing.T, file string) {
	t.Helper()
	out, err := analyze(t, "verify", "--man=no", file)
	if err != nil {
		t.Errorf("%s: %v\n%s", file, err, out)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "vipd") || strings.Contains(line, filepath.Dir(file)) { // not of the machine's own units
			t.Errorf("systemd says: %s", line)
		}
	}
}

func TestSystemdUnderstandsTheUnits(t *testing.T) {
	for _, file := range []string{single, template} {
		verify(t, install(t, file))
	}
	// And would say it if it did not.
	if out, _ := analyze(t, "verify", "--man=no", install(t, single, "[Service]\nRestrat=no\n")); !strings.Contains(out, "Restrat") {
		t.Errorf("a mistake in a drop-in is not noticed: %s", out)
	}
}

// dropIns returns the drop-ins of the document.
func dropIns(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(document)
	check(t, err)
	var found []string
	for _, m := range regexp.MustCompile("(?s)```ini\n(.*?)```").FindAllStringSubmatch(string(raw), -1) {
		found = append(found, m[1])
	}
	if len(found) < 6 {
		t.Fatalf("%s has %d drop-ins", document, len(found))
	}
	return found
}

func TestSystemdUnderstandsTheDropInsOfTheDocument(t *testing.T) {
	for _, text := range dropIns(t) {
		title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		t.Run(title, func(t *testing.T) { verify(t, install(t, single, text)) })
	}
}

// TestTheLastDropInTakesAllRestrictionsAway compares the unit with it to one that
// has none.
func TestTheLastDropInTakesAllRestrictionsAway(t *testing.T) {
	i := slices.IndexFunc(dropIns(t), func(text string) bool { return strings.Contains(text, "CapabilityBoundingSet=~\n") })
	if i < 0 {
		t.Fatal("the document has no drop-in with all capabilities")
	}
	taken := unit{}
	for line := range strings.Lines(dropIns(t)[i]) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			taken[key] = []string{value}
		}
	}
	for key := range read(t, single) {
		restricts := strings.HasPrefix(key, "Protect") || strings.HasPrefix(key, "Private") || strings.HasPrefix(key, "Restrict") ||
			strings.HasPrefix(key, "SystemCall") && key != "SystemCallErrorNumber" || slices.Contains([]string{"CapabilityBoundingSet", "NoNewPrivileges", "ReadWritePaths", "LockPersonality", "MemoryDenyWriteExecute"}, key)
		if restricts && taken[key] == nil {
			t.Errorf("%s= stays", key)
		}
	}
}

func TestTheUnitsAreAsSecureAsTheDocumentSays(t *testing.T) {
	raw, err := os.ReadFile(document)
	check(t, err)
	m := regexp.MustCompile(`The unit scores (\d+)\.(\d) in`).FindStringSubmatch(string(raw))
	if m == nil {
		t.Fatalf("%s has no figure", document)
	}
	figure := m[1] + m[2] // in tenths, as systemd-analyze wants it
	if tenths, err := strconv.Atoi(figure); err != nil || tenths > 30 {
		t.Errorf("the figure is %s.%s, want 3.0 or better", m[1], m[2])
	}
	for _, file := range []string{single, template} {
		if out, err := analyze(t, "security", "--offline=true", "--threshold="+figure, install(t, file)); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if out, err := analyze(t, "security", "--offline=true", "--threshold="+figure, install(t, single, "[Service]\nPrivateTmp=no\n")); err == nil {
		t.Errorf("a unit that is less secure passes, too:\n%s", out)
	}
}
