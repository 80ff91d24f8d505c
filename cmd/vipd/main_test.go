package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"vipd/cmd/internal/control"
	"vipd/config"
	"vipd/vrrp"
)

// -update is how to accept a change of the golden files.
var update = flag.Bool("update", false, "write the golden files")

// asVipd makes the test binary be vipd.
const asVipd = "VIPD_TEST_AS_VIPD"

func TestMain(m *testing.M) {
	if os.Getenv(asVipd) != "" {
		main()
	}
	os.Exit(m.Run())
}

// vipd runs the command line in this process.
func vipd(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		errs.WriteString(err.Error())
	}
	return out.String(), errs.String(), exitCode(err)
}

// write writes a file that everybody may read and run.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

const instances = `
vrrp_instance:
  VI_1:
    interface: absent0
    virtual_router_id: 51
    priority: 150
    virtual_ipaddress: [192.0.2.10/24]
    track_script: [chk_ok, chk_fail]
`

// checkable is a configuration with checks of every kind and every fate.
func checkable(t *testing.T) string {
	t.Helper()
	return write(t, "vipd.yaml", `
vrrp_script:
  chk_ok: {script: "/bin/sh -c 'echo all is well'", interval: 2, weight: 20, rise: 2, fall: 3, user: root}
  chk_fail: {script: "/bin/sh -c 'echo no such thing >&2; exit 3'", interval: 1, weight: -20, user: root}
  chk_slow: {script: "/bin/sleep 60", interval: 1, timeout: 0.1, user: root}
  chk_missing: {script: "/nonexistent/chk.sh", user: root}
  chk_env: {script: "/usr/bin/env", user: root}
vrrp_check:
  web:
    tcp: "127.0.0.1:1"
    interval: 1
vrrp_track_process:
  nothing: {process: no-such-process, quorum: 2, weight: -10}
  both: {process: no-such-process}
vrrp_track_file:
  load: {file: /nonexistent/load, weight: 2}
  both: {file: /nonexistent/load, weight: 2}
`+instances)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("scripts run as root: this test needs it")
		}
		t.Skip("scripts run as root: this test needs it")
	}
}

func TestCheckRunTellsByItsExitCodeWhatTheCheckSays(t *testing.T) {
	needRoot(t)
	file := checkable(t)
	for _, tt := range []struct {
		name, check string
		code        int
		want        []string // in the output, or in the error
	}{
		{"a script that succeeds", "chk_ok", exitOK, []string{"chk_ok  OK", "all is well", "would count as succeeded", "3 failures in a row (fall)", "success raises VI_1 from 150 to 170"}},
		{"a script that fails", "chk_fail", exitNo, []string{"chk_fail  FAILS", "as         root (uid 0)", "exit code 3", "no such thing", "would count as failed; every result decides", "failure lowers VI_1 from 150 to 130"}},
		{"a script that takes too long", "chk_slow", exitNo, []string{"timeout    100ms", "FAILS", "would count as failed"}},
		{"a script that is not there", "chk_missing", exitNo, []string{"UNRUNNABLE", "/nonexistent", "would count as failed"}},
		{"a built-in check", "web", exitNo, []string{"FAILS", "127.0.0.1:1", "connection refused"}},
		{"a process", "nothing", exitNo, []string{"FAILS  (process)", "no-such-process", "would count as down"}},
		{"a file", "load", exitOK, []string{"HOLDS 0", "/nonexistent/load", "would count as 0"}},
		{"a name that is not there", "chk_nix", exitUsage, []string{`no check is called "chk_nix"`, "both, chk_env, chk_fail"}},
		{"a name of two kinds", "both", exitUsage, []string{"process:both"}},
		{"a name of two kinds that says which", "file:both", exitOK, []string{"HOLDS 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := vipd(t, "check", "run", tt.check, "-f", file, "--run-dir", t.TempDir())
			if code != tt.code {
				t.Errorf("the exit code is %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("%q is not in the output:\n%s%s", want, out, errs)
				}
			}
		})
	}
}

func TestCheckRunIsADocumentToo(t *testing.T) {
	needRoot(t)
	out, errs, code := vipd(t, "check", "run", "chk_fail", "-f", checkable(t), "--run-dir", t.TempDir(), "--json")
	if code != exitNo {
		t.Errorf("the exit code is %d, want %d: %s", code, exitNo, errs)
	}
	var doc control.CheckRun
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if doc.OK || doc.Attempt.Exit == nil || *doc.Attempt.Exit != 3 || doc.UID == nil || *doc.UID != 0 || !strings.Contains(doc.Attempt.Output, "no such thing") {
		t.Errorf("the document is %s", out)
	}
}

func TestWrongUsageOfCheckRunIsNamed(t *testing.T) {
	bad := write(t, "vipd.yaml", "vrrp_instanze: {}\n")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no name", []string{"check", "run"}, "accepts 1 arg"},
		{"two names", []string{"check", "run", "a", "b"}, "accepts 1 arg"},
		{"a flag that is none", []string{"check", "run", "a", "--nix"}, "unknown flag"},
		{"a file that is none", []string{"check", "run", "a", "-f", "/nonexistent/vipd.yaml"}, "/nonexistent/vipd.yaml"},
		{"a file with an error", []string{"check", "run", "a", "-f", bad}, "vrrp_instanze"},
		{"a command that is none", []string{"check", "nix", "-f", bad}, "unknown command"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := vipd(t, tt.args...)
			if code != exitUsage || !strings.Contains(errs, tt.want) {
				t.Errorf("the exit code is %d, want %d, and %q in\n%s%s", code, exitUsage, tt.want, out, errs)
			}
		})
	}
}

// TestWhoMayNotBecomeTheUserIsTold runs vipd as nobody.
func TestWhoMayNotBecomeTheUserIsTold(t *testing.T) {
	needRoot(t)
	file := checkable(t)
	// What a test makes is closed to others.
	for dir := filepath.Dir(file); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3", "check", "run", "chk_fail", "-f", file, "--run-dir", "/nonexistent")
	cmd.Args[0] = "vipd"
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Env = append(os.Environ(), asVipd+"=1")
	cmd.Dir = "/"
	const nobody = 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != exitPermission || !strings.Contains(string(out), "no permission to run chk_fail as root (uid 0)") {
		t.Errorf("vipd ends with %v, want exit code %d, and says\n%s", err, exitPermission, out)
	}
}

type source control.Status

func (s source) Status(context.Context) (control.Status, error) { return control.Status(s), nil }

// TestAScriptGetsTheEnvironmentOfTheRunningDaemon has this process be the
// daemon: what the test adds to its environment is not what it was started
// with.
func TestAScriptGetsTheEnvironmentOfTheRunningDaemon(t *testing.T) {
	needRoot(t)
	t.Setenv("VIPD_TEST_ONLY_HERE", "1")
	t.Setenv("LD_VIPD_TEST", "1")
	file := checkable(t)
	run := func(runDir string) control.CheckRun {
		t.Helper()
		out, errs, code := vipd(t, "check", "run", "chk_env", "-f", file, "--run-dir", runDir, "--json")
		var doc control.CheckRun
		if err := json.Unmarshal([]byte(out), &doc); err != nil || code != exitOK || doc.Environment == nil {
			t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
		}
		if strings.Contains(doc.Attempt.Output, "LD_VIPD_TEST") || !slices.Contains(doc.Environment.Unset, "LD_VIPD_TEST") {
			t.Errorf("LD_VIPD_TEST reached the script, or it is not said that it does not:\n%s", out)
		}
		return doc
	}

	alone := run(t.TempDir())
	if alone.Environment.DaemonPID != 0 || !strings.Contains(alone.Attempt.Output, "VIPD_TEST_ONLY_HERE") {
		t.Errorf("without a daemon the environment is that of pid %d:\n%s", alone.Environment.DaemonPID, alone.Attempt.Output)
	}

	runDir := t.TempDir()
	server, err := control.Listen(control.Config{RunDir: runDir, Source: source{}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	beside := run(runDir)
	if beside.Environment.DaemonPID != os.Getpid() {
		t.Errorf("the environment is that of pid %d, want %d", beside.Environment.DaemonPID, os.Getpid())
	}
	if strings.Contains(beside.Attempt.Output, "VIPD_TEST_ONLY_HERE") || !slices.Contains(beside.Environment.Unset, "VIPD_TEST_ONLY_HERE") {
		t.Errorf("beside a daemon the script gets\n%s\nand it is said to lack %q", beside.Attempt.Output, beside.Environment.Unset)
	}
	if os.Getenv("VIPD_TEST_ONLY_HERE") == "" {
		t.Error("the environment of this process was not put back")
	}
}

func TestEnvironmentsAreCompared(t *testing.T) {
	here := []string{"HOME=/root", "PATH=/bin", "SAME=1", "LD_PRELOAD=x", "IFS= "}
	there := []string{"PATH=/usr/bin", "SAME=1", "NEW=a=b", "LD_LIBRARY_PATH=y", "no sign"}
	got := compareEnvironments(here, there, 7)
	if want := []string{"NEW", "PATH"}; !slices.Equal(got.Set, want) {
		t.Errorf("set are %q, want %q", got.Set, want)
	}
	if want := []string{"HOME", "IFS", "LD_PRELOAD"}; !slices.Equal(got.Unset, want) {
		t.Errorf("not set are %q, want %q", got.Unset, want)
	}
	if got.Path != "/usr/bin" || got.DaemonPID != 7 {
		t.Errorf("PATH is %q and the process %d", got.Path, got.DaemonPID)
	}
}

func TestCheckListsWhatCannotBeRun(t *testing.T) {
	needRoot(t)
	file := checkable(t)
	out, errs, code := vipd(t, "check", "-f", file)
	if code != exitOK || !regexp.MustCompile(`vrrp_script\.chk_missing.*UNRUNNABLE`).MatchString(errs) {
		t.Errorf("the exit code is %d, and it says\n%s", code, errs)
	}
	if strings.Contains(errs, "chk_ok") && strings.Contains(errs, "chk_ok: cannot be run") {
		t.Errorf("chk_ok can be run:\n%s", errs)
	}
	for _, want := range []string{
		"chk_fail: /bin/sh -c 'echo no such thing >&2; exit 3' every 1s as root",
		"failure lowers VI_1 from 150 to 130",
		"web: every 1s connects to 127.0.0.1:1",
		"no instance tracks it: it is left out",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if _, _, code := vipd(t, "check", "-f", file, "--strict"); code != exitNo {
		t.Errorf("with --strict the exit code is %d, want %d", code, exitNo)
	}
}

func TestNamesOfChecksAreCompleted(t *testing.T) {
	file := checkable(t)
	out, _, _ := vipd(t, cobra.ShellCompNoDescRequestCmd, "check", "run", "-f", file, "chk_f")
	if got, _, _ := strings.Cut(out, ":"); strings.TrimSpace(got) != "chk_fail" {
		t.Errorf("completed is %q, want chk_fail", out)
	}
}

// described is a configuration in which everything is set that is described.
func described() *config.Config {
	command := func(argv ...string) config.Command { return config.Command{Argv: argv, User: "root"} }
	timing := config.Timing{Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 1}
	hysteresis := timing
	hysteresis.Rise, hysteresis.Fall = 2, 3
	promote, anything := command("/etc/vipd/promote.sh", "db 1"), command("/etc/vipd/any.sh")
	instance := func(name string, priority uint8, tracks ...config.Track) config.Instance {
		return config.Instance{
			Name: name, Interface: "eth0", VRID: 51, Version: vrrp.V3, Family: vrrp.IPv4, Priority: priority, AdvertInterval: time.Second,
			DownTimerAdverts: 3, Group: netip.MustParseAddr("224.0.0.18"), Tracks: tracks,
			Notify: config.Notify{Master: &promote, Any: &anything},
		}
	}
	track := func(kind config.TrackKind, name string, weight int, reverse bool) config.Track {
		return config.Track{Kind: kind, Name: name, Weight: weight, Reverse: reverse}
	}
	var many []config.Instance
	for i := range 12 {
		in := instance("VI_MANY_"+string(rune('A'+i)), 100, track(config.TrackScript, "popular", -1, false))
		in.Notify = config.Notify{}
		many = append(many, in)
	}
	fast, short, never := instance("VI_FAST", 100), instance("VI_SHORT", 100), instance("VI_NEVER", 100)
	fast.AdvertInterval, short.VIPLease, never.VIPLease = 100*time.Millisecond, config.Lease{Mode: config.LeaseFixed, Length: 2 * time.Second}, config.Lease{Mode: config.LeaseOff}
	crowd := instance("VI_CROWD", 100)
	for i := range config.MaxLeasedIPv6 + 1 {
		a := netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: byte(i)})
		crowd.Excluded = append(crowd.Excluded, config.Address{Prefix: netip.PrefixFrom(a, 64), Interface: "eth7"})
	}
	for _, in := range []*config.Instance{&fast, &short, &never, &crowd} {
		in.Notify = config.Notify{}
		many = append(many, *in)
	}
	return &config.Config{
		Instances: append([]config.Instance{
			instance("VI_1", 150,
				track(config.TrackScript, "chk_haproxy", -20, false), track(config.TrackScript, "chk_zero", 0, false),
				track(config.TrackScript, "chk_plus", 200, false), track(config.TrackScript, "chk_reverse", -20, true),
				track(config.TrackCheck, "web", 30, true), track(config.TrackProcess, "nginx", -200, false),
				track(config.TrackFile, "load", 2, false), track(config.TrackInterface, "eth1", -10, false)),
			instance("VI_OWNER", 255, track(config.TrackScript, "chk_haproxy", -20, false), track(config.TrackScript, "chk_zero", 0, true), track(config.TrackFile, "load", 2, true)),
			instance("VI_3", 100, track(config.TrackFile, "load", 2, true), track(config.TrackFile, "flag", 0, false), track(config.TrackProcess, "nginx", 0, false)),
		}, many...),
		Scripts: []config.Script{
			{Name: "chk_haproxy", Command: command("/usr/bin/killall", "-0", "haproxy"), Timing: timing},
			{Name: "chk_zero", Command: command("/bin/zero"), Timing: hysteresis, IgnoreUnrunnable: true},
			{Name: "chk_plus", Command: command("/bin/plus"), Timing: timing},
			{Name: "chk_reverse", Command: command("/bin/reverse"), Timing: timing},
			{Name: "popular", Command: command("/bin/popular"), Timing: timing},
			{Name: "unused", Command: command("/bin/unused"), Timing: timing},
		},
		Checks: []config.Check{
			{Name: "web", Timing: timing, HTTP: &config.HTTPCheck{URL: "https://192.0.2.80/", Status: []config.StatusRange{{First: 200, Last: 204}, {First: 301, Last: 301}}, Body: regexp.MustCompile("fine")}},
			{Name: "web_verified", Timing: timing, HTTP: &config.HTTPCheck{URL: "https://192.0.2.80/", Verify: true}},
			{Name: "port", Timing: timing, TCP: &config.TCPCheck{Address: "192.0.2.80:25"}},
			{Name: "names", Timing: timing, DNS: &config.DNSCheck{Server: "192.0.2.53:53", Name: "example.org", Type: "AAAA", Expect: []string{"2001:db8::1", "2001:db8::2"}}},
			{Name: "gateway", Timing: timing, ICMP: &config.ICMPCheck{Family: 4, Interface: "eth0"}},
			{Name: "host", Timing: timing, ICMP: &config.ICMPCheck{Address: netip.MustParseAddr("192.0.2.1")}},
			{Name: "unit", Timing: timing, SystemdUnit: &config.SystemdUnitCheck{Unit: "haproxy.service"}},
		},
		Processes: []config.Process{
			{Name: "nginx", Argv: []string{"nginx"}, Quorum: 1, QuorumMax: -1},
			{Name: "workers", Argv: []string{"nginx", "-g", "daemon off;"}, Quorum: 3, QuorumMax: -1, ForkDelay: time.Second, TerminateDelay: 2 * time.Second},
			{Name: "just_one", Argv: []string{"db"}, Quorum: 1, QuorumMax: 1},
		},
		TrackedFiles: []config.TrackedFile{{Name: "load", Path: "/run/load"}, {Name: "flag", Path: "/run/flag"}},
		SyncGroups: []config.SyncGroup{
			{Name: "VG_1", Members: []string{"VI_1", "VI_3"}, Notify: config.Notify{Fault: &anything}},
			{Name: "VG_2", Members: []string{"VI_OWNER"}},
			{Name: "VG_3"},
		},
	}
}

func TestAConfigurationIsDescribedInPlainWords(t *testing.T) {
	var out bytes.Buffer
	describe(&out, "vipd.yaml", described())
	const file = "testdata/described.txt"
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%s differs; go test -update accepts it\n--- got\n%s--- want\n%s", file, out.Bytes(), want)
	}
}

func TestAResultHasTheEffectsOfThatResultOnly(t *testing.T) {
	cfg := described()
	for _, tt := range []struct {
		kind config.TrackKind
		name string
		of   results
		want []string
	}{
		{config.TrackScript, "chk_plus", failure, nil},
		{config.TrackScript, "chk_plus", success, []string{"success raises VI_1 from 150 to 254"}},
		{config.TrackScript, "chk_reverse", failure, []string{"failure raises VI_1 from 150 to 170"}},
		{config.TrackScript, "chk_zero", success, []string{"success puts VI_OWNER in fault"}},
		{config.TrackProcess, "nginx", success, nil},
		{config.TrackScript, "load", failure, nil}, // a file of that name there is
	} {
		if got := effectsOf(cfg, tt.kind, tt.name, tt.of); !slices.Equal(got, tt.want) {
			t.Errorf("result %d of %s %s has the effects %q, want %q", tt.of, tt.kind, tt.name, got, tt.want)
		}
	}
}

func TestStatusOfAnInstanceLeavesOutWhatDoesNotMatterToIt(t *testing.T) {
	s := control.Status{
		Instances:  []control.Instance{{Name: "VI_1"}, {Name: "VI_2"}},
		SyncGroups: []control.SyncGroup{{Name: "VG_1", Members: []string{"VI_1"}}, {Name: "VG_2", Members: []string{"VI_2"}}},
		Checks:     []control.Check{{Name: "a", UsedBy: []string{"VI_1", "VI_2"}}, {Name: "b", UsedBy: []string{"VI_2"}}, {Name: "c"}},
	}
	got, err := choose(s, []string{"VI_1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Instances) != 1 || len(got.SyncGroups) != 1 || got.SyncGroups[0].Name != "VG_1" || len(got.Checks) != 1 || got.Checks[0].Name != "a" {
		t.Errorf("chosen is %+v", got)
	}
	if len(s.Checks) != 3 || s.Checks[2].Name != "c" {
		t.Errorf("the status itself was changed: %+v", s.Checks)
	}
	if got, err := choose(s, nil); err != nil || len(got.Checks) != 3 {
		t.Errorf("without a name chosen is %+v (%v)", got, err)
	}
	if got, err := choose(s, []string{"VG_2"}); err != nil || len(got.Instances) != 1 || got.Instances[0].Name != "VI_2" || len(got.Checks) != 2 {
		t.Errorf("of a sync group chosen is %+v (%v)", got, err)
	}
	if _, err := choose(s, []string{"VI_9"}); exitCode(err) != exitUsage {
		t.Errorf("for an unknown instance the error is %v", err)
	}
}

func TestQuorumWithoutALimitIsNotShownAsARange(t *testing.T) {
	for _, limit := range []int{-1, math.MaxInt} {
		if got := processText(&config.Process{Argv: []string{"a"}, Quorum: 1, QuorumMax: limit}); got != "process a" {
			t.Errorf("with at most %d it is %q", limit, got)
		}
	}
}
