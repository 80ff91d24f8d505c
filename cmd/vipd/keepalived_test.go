package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vipd/config"
)

func TestOptionsAreReadByTheRulesOfGetopt(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		want func(*keepalivedCall)
	}{
		{"nothing at all", "", func(*keepalivedCall) {}},
		{"a container's usual line", "-n -l -D -f /etc/k.conf", func(c *keepalivedCall) { c.foreground, c.Log.Console, c.Detail, c.File = true, true, 1, "/etc/k.conf" }},
		{"letters in a cluster", "-nlDD", func(c *keepalivedCall) { c.foreground, c.Log.Console, c.Detail = true, true, 2 }},
		{"a cluster that ends with an argument", "-nlf/etc/k.conf", func(c *keepalivedCall) { c.foreground, c.Log.Console, c.File = true, true, "/etc/k.conf" }},
		{"a cluster whose argument is the next word", "-nlf /etc/k.conf", func(c *keepalivedCall) { c.foreground, c.Log.Console, c.File = true, true, "/etc/k.conf" }},
		{"an argument that looks like an option", "-f -n", func(c *keepalivedCall) { c.File = "-n" }},
		{"long options", "--dont-fork --log-console --log-detail --use-file=/etc/k.conf --vrrp", func(c *keepalivedCall) {
			c.foreground, c.Log.Console, c.Detail, c.File, c.vrrpOnly = true, true, 1, "/etc/k.conf", true
		}},
		{"a long option whose argument is the next word", "--use-file /etc/k.conf", func(c *keepalivedCall) { c.File = "/etc/k.conf" }},
		{"a long option that is shortened", "--use /etc/k.conf --dont-f", func(c *keepalivedCall) { c.File, c.foreground = "/etc/k.conf", true }},
		{"a long option that is the beginning of another", "--pid=/p --log-file", func(c *keepalivedCall) { c.pidFile, c.Log.File = "/p", "/tmp/keepalived.log" }},
		{"an optional argument that is not given", "-t -f /etc/k.conf", func(c *keepalivedCall) { c.mode, c.File = keepalivedTest, "/etc/k.conf" }},
		{"an optional argument that is attached to its letter", "-t/log", func(c *keepalivedCall) { c.mode, c.testLog = keepalivedTest, "/log" }},
		{"an optional argument of a long option", "--config-test=/log", func(c *keepalivedCall) { c.mode, c.testLog = keepalivedTest, "/log" }},
		{"an optional argument is never the next word", "--config-test /log", func(c *keepalivedCall) {
			c.mode = keepalivedTest
			c.warnings = []string{"unexpected arguments are ignored: /log"}
		}},
		{"options after other words", "start -n", func(c *keepalivedCall) {
			c.foreground = true
			c.warnings = []string{"unexpected arguments are ignored: start"}
		}},
		{"the end of the options", "-n -- -l -", func(c *keepalivedCall) {
			c.foreground = true
			c.warnings = []string{"unexpected arguments are ignored: -l -"}
		}},
		{"PID files", "-p /p --vrrp_pid /r", func(c *keepalivedCall) { c.pidFile, c.vrrpPID = "/p", "/r" }},
		{"a config id", "-i node1", func(c *keepalivedCall) { c.ConfigID = "node1" }},
		{"a namespace", "-s blue", func(c *keepalivedCall) { c.Namespace = "blue" }},
		{"no syslog, and a file", "-G -g/var/log/k.log", func(c *keepalivedCall) { c.Log.Syslog, c.Log.File = false, "/var/log/k.log" }},
		{"a facility by its number", "-S 1", func(c *keepalivedCall) { c.Log.Facility = 17 }},
		{"a facility by its name", "-S local7", func(c *keepalivedCall) { c.Log.Facility = 23 }},
		{"a facility that is none of the local ones", "--log-facility=user", func(c *keepalivedCall) { c.Log.Facility = 1 }},
		{"a facility that is not there is no reason not to start", "-S 9", func(c *keepalivedCall) {
			c.warnings = []string{`-S (--log-facility) is ignored: "9" is none of 0-7, local0-local7, user and daemon`}
		}},
		{"a umask", "-u 022", func(c *keepalivedCall) { c.DumpMode = 0o644 }},
		{"a umask that would keep the owner out", "-u 0777", func(c *keepalivedCall) { c.DumpMode = 0o600 }},
		{"keep the addresses, dump the configuration", "-Vd", func(c *keepalivedCall) { c.KeepAddresses, c.DumpConfig = true, true }},
		{"missing includes", "-e", func(c *keepalivedCall) {
			c.warnings = []string{"-e (--all-config) is ignored: include_check in the configuration says which files must be there"}
		}},
		{"what vipd does anyway", "-XRP --flush-log-file", func(c *keepalivedCall) { c.vrrpOnly = true }},
		{"vipd's own", "--run-dir=/run/x", func(c *keepalivedCall) { c.RunDir = "/run/x" }},
		{"the version, whatever else there is", "-v --nonsense", func(c *keepalivedCall) { c.mode = keepalivedVersion }},
		{"help", "--help", func(c *keepalivedCall) { c.mode = keepalivedHelp }},
		{"a signal", "--signum=JSON", func(c *keepalivedCall) { c.mode, c.signal = keepalivedSignal, 36 }},
		{"options for LVS, BFD and SNMP are named and ignored", "-n -c /c -b /b -BIx -a -m", func(c *keepalivedCall) {
			c.foreground = true
			c.warnings = []string{
				"-c (--checkers_pid) is ignored: " + noLVS, "-b (--bfd_pid) is ignored: " + noBFD, "-B (--no_bfd) is ignored: " + noBFD,
				"-I (--dont-release-ipvs) is ignored: " + noLVS, "-x (--snmp) is ignored: " + noSNMP,
				"-a (--address-monitoring) is ignored: `ip monitor address` shows changes of addresses", "-m (--core-dump) is ignored: a crash is in the log",
			}
		}},
		{"both parts of keepalived", "-P -C", func(c *keepalivedCall) {
			c.vrrpOnly, c.checkersOnly = true, true
			c.warnings = []string{"-C (--check) is ignored: " + noLVS}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", "")
			got, err := parseKeepalived(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			want := &keepalivedCall{}
			want.Log = keepalivedLog{Syslog: true, Facility: 3}
			tt.want(want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestAWrongCommandLineIsRefusedByTheNameOfTheOption(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		want       []string
	}{
		{"an unknown letter", "-Z", []string{"unknown option -Z"}},
		{"an unknown word", "--nonsense=3", []string{"unknown option --nonsense"}},
		{"an ambiguous word", "--dont", []string{"option --dont is ambiguous"}},
		{"an argument where there is none", "--vrrp=1", []string{"option --vrrp takes no argument"}},
		{"no argument at the end", "-n -f", []string{"missing parameter for option -f"}},
		{"no argument of a long option", "--pid", []string{"missing parameter for option --pid"}},
		{"an empty argument", "--use-file=", []string{"missing parameter for option --use-file"}},
		{"an unknown signal", "--signum=TDUMP", []string{"unknown sigfunc TDUMP"}},
		{"a bad umask", "-u rwx", []string{`-u (--umask): "rwx" is not a number`}},
		{"a path for a namespace", "-s ../x", []string{`"../x" is not the name of a network namespace`}},
		{"LVS alone, which is the opposite of what vipd would do", "-C -n", []string{"-C (--check) is not supported: " + noLVS}},
		{"another program", "-T", []string{"-T (--genhash) is not supported"}},
		{"a developer's option", "--debug=p", []string{"--debug is not supported"}},
		{"several mistakes at once", "-nZ --nonsense -f", []string{"unknown option -Z", "unknown option --nonsense", "missing parameter for option -f"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code := asKeepalived(t, keepalivedHooks{}, strings.Fields(tt.args)...)
			if code != keepalivedRefused {
				t.Errorf("the exit code is %d, want %d", code, keepalivedRefused)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, "keepalived: "+want) && !strings.Contains(stderr, want) {
					t.Errorf("%q is not in:\n%s", want, stderr)
				}
			}
		})
	}
}

// asKeepalived runs a command line in this process.
func asKeepalived(t *testing.T, hooks keepalivedHooks, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = keepalivedMain(t.Context(), "keepalived", args, &out, &errs, hooks)
	return out.String(), errs.String(), code
}

func TestEveryOptionOfKeepalivedIsKnown(t *testing.T) {
	program, err := exec.LookPath("keepalived")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	help, err := exec.Command(program, "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^  (?:-(\w), |    )--([\w-]+)`).FindAllStringSubmatch(string(help), -1)
	if len(found) < 30 {
		t.Fatalf("only %d options are found in\n%s", len(found), help)
	}
	for _, option := range found {
		for _, word := range []string{"-" + option[1], "--" + option[2]} {
			if word == "-" {
				continue
			}
			if _, err := parseKeepalived([]string{word, "1"}); err != nil && strings.Contains(err.Error(), "unknown option") {
				t.Errorf("%s: %v", word, err)
			}
		}
	}
}

func TestSignalsAreThoseOfKeepalived(t *testing.T) {
	for name, want := range map[string]string{"STOP": "15\n", "RELOAD": "1\n", "DATA": "10\n", "STATS": "12\n", "STATS_CLEAR": "63\n", "JSON": "36\n"} {
		stdout, stderr, code := asKeepalived(t, keepalivedHooks{}, "--signum="+name)
		if stdout != want || stderr != "" || code != 0 {
			t.Errorf("%s is %q with exit code %d and %q, want %q", name, stdout, code, stderr, want)
		}
		if program, err := exec.LookPath("keepalived"); err == nil {
			if theirs, err := exec.Command(program, "--signum="+name).Output(); err != nil || string(theirs) != stdout {
				t.Errorf("%s is %q in keepalived, %v", name, theirs, err)
			}
		}
	}
}

func TestTheVersionIsFoundByThoseWhoLookForOne(t *testing.T) {
	stdout, stderr, code := asKeepalived(t, keepalivedHooks{}, "-v")
	if stdout != "" || code != 0 {
		t.Errorf("exit code %d, standard output %q", code, stdout)
	}
	first, rest, found := strings.Cut(stderr, "\n")
	if !found || rest == "" {
		t.Fatalf("an exporter wants more than one line: %q", stderr)
	}
	if !strings.Contains(first, "vipd "+versionText()) {
		t.Errorf("%q does not say what this is", first)
	}
	// An exporter takes the second word without its first letter for a version,
	// and from 1.4 on asks for everything.
	if words := strings.Split(first, " "); len(words) < 2 || !regexp.MustCompile(`^v2\.\d+\.\d+(-[a-z]+)?$`).MatchString(words[1]) {
		t.Errorf("the second word of %q is not a version of keepalived", first)
	}
	if got := regexp.MustCompile(`Keepalived v(\d+\.\d+\.\d+)`).FindStringSubmatch(stderr); got == nil || got[1] != "2.2.7" {
		t.Errorf("found %v", got)
	}
	// What it is asked for before JSON is.
	if !strings.Contains(stderr, "--enable-json") {
		t.Error("nothing says that there is JSON")
	}
}

func TestHelpListsWhatIsTaken(t *testing.T) {
	_, stderr, code := asKeepalived(t, keepalivedHooks{}, "-h")
	if code != 0 {
		t.Errorf("the exit code is %d", code)
	}
	for _, want := range []string{"Usage: keepalived", "-f, --use-file", "    --signum", "-t, --config-test"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
}

func TestTheExitCodeOfATestIsThatOfKeepalivedWhereItMakesSense(t *testing.T) {
	file := write(t, "keepalived.conf", "")
	warning := config.Diagnostics{{Pos: config.Pos{File: file, Line: 3}, Message: "something is odd"}}
	failure := config.Diagnostics{{Pos: config.Pos{File: file, Line: 4}, Severity: config.Error, Message: "something is wrong"}}
	for _, tt := range []struct {
		name     string
		file     string
		findings keepalivedFindings
		code     int
		said     string
	}{
		{"nothing to complain about", file, keepalivedFindings{}, 0, ""},
		{"a warning", file, keepalivedFindings{Diagnostics: warning}, 5, "keepalived.conf:3: warning: something is odd\n"},
		{"an error", file, keepalivedFindings{Diagnostics: failure}, 5, "keepalived.conf:4: something is wrong\n"},
		{"an unsafe script", file, keepalivedFindings{Diagnostics: warning, Insecure: true}, 6, "something is odd"},
		{"no such file", filepath.Join(t.TempDir(), "missing"), keepalivedFindings{}, 4, "no such file"},
		{"a directory", t.TempDir(), keepalivedFindings{}, 4, "is a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hooks := keepalivedHooks{check: func(o *keepalivedOptions) keepalivedFindings {
				if o.File != tt.file || o.ConfigID != "node1" {
					t.Errorf("%s is checked for %q", o.File, o.ConfigID)
				}
				return tt.findings
			}}
			_, stderr, code := asKeepalived(t, hooks, "-t", "-i", "node1", "-f", tt.file)
			if code != tt.code || !strings.Contains(stderr, tt.said) || (tt.said == "") != (stderr == "") {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, stderr)
			}
			// The same to a file, which is appended to.
			log := write(t, "log", "before\n")
			_, stderr, code = asKeepalived(t, hooks, "--config-test="+log, "-i", "node1", "-f", tt.file)
			raw, err := os.ReadFile(log)
			if code != tt.code || stderr != "" || err != nil || !strings.HasPrefix(string(raw), "before\n") || !strings.Contains(string(raw), tt.said) {
				t.Errorf("exit code %d, %q on standard error, %q in the file, %v", code, stderr, raw, err)
			}
		})
	}
}

func TestTheTestTellsUnsafeScriptsFromOtherMistakes(t *testing.T) {
	needRoot(t)
	script := write(t, "script", "#!/bin/sh\n")
	conf := func(script string) string {
		return write(t, "vipd.yaml", fmt.Sprintf(`
global_defs: {script_user: root, enable_script_security: false}
vrrp_script:
  chk: {script: %q, interval: 1}
vrrp_instance:
  VI_1:
    interface: absent0
    virtual_router_id: 51
    virtual_ipaddress: [192.0.2.10/24]
    track_script: [chk]
`, script))
	}
	hooks := keepalivedHooks{check: checkKeepalived}
	if err := os.Chmod(script, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := asKeepalived(t, hooks, "-t", "-f", conf(script)); code != testInsecure {
		t.Errorf("the exit code for an unsafe script is %d: %s", code, stderr)
	}
	if _, stderr, code := asKeepalived(t, hooks, "-t", "-f", conf("/nonexistent/script")); code != testProblems {
		t.Errorf("the exit code for a script that is not there is %d: %s", code, stderr)
	}
	if _, stderr, code := asKeepalived(t, hooks, "-t", "-f", write(t, "vipd.yaml", "nonsense: {}\n")); code != testProblems || !strings.Contains(stderr, "nonsense") {
		t.Errorf("the exit code for nonsense is %d: %s", code, stderr)
	}
}

func TestWhetherItCanStartIsTheAnswerOfAStart(t *testing.T) {
	const instance = "vrrp_instance VI_1 {\n  interface absent0\n  virtual_router_id 51\n%s  virtual_ipaddress { 192.0.2.10/24 }\n}\n"
	for _, tt := range []struct {
		name, file, args string
		code             int
		says             string // empty: nothing
	}{
		{"a configuration without a mistake", write(t, "good.conf", fmt.Sprintf(instance, "")), "-nlD", 0, ""},
		{"a mistake with which it runs", write(t, "lenient.conf", fmt.Sprintf(instance, "  nonsense 3\n")), "-nlD", 0, ""},
		{"a line for another host", write(t, "ids.conf", fmt.Sprintf(instance, "@left priority 100\n")), "-nilleft", 0, ""},
		{"a mistake with which it does not", write(t, "bad.conf", strings.Replace(instance, "51\n%s", "", 1)), "-nlD", 2, "bad.conf:"},
		{"a configuration with nothing to run", write(t, "vipd.yaml", "nonsense: {}\n"), "-nlD", 2, "nonsense"},
		{"no configuration", filepath.Join(t.TempDir(), "missing.conf"), "-nlD", 6, "missing.conf"},
		{"wrong usage", os.DevNull, "-nZ", 2, "unknown option -Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hooks := keepalivedHooks{check: checkKeepalived, run: func(context.Context, *keepalivedOptions) error {
				t.Error("it is started")
				return nil
			}}
			_, stderr, code := asKeepalived(t, hooks, "--can-start", tt.args, "-f", tt.file)
			if code != tt.code || !strings.Contains(stderr, tt.says) || (tt.says == "") != (stderr == "") {
				t.Errorf("exit code %d, want %d; it says %q", code, tt.code, stderr)
			}
		})
	}
}

func TestWhatCannotRunSaysWhyInItsExitCode(t *testing.T) {
	file := write(t, "keepalived.conf", "")
	for _, tt := range []struct {
		name string
		file string
		err  error
		code int
	}{
		{"it ended well", file, nil, 0},
		{"a bad configuration", file, &exitError{exitUsage, errors.New("it cannot be run as it is")}, 2},
		{"no permission", file, fs.ErrPermission, 4},
		{"anything else", file, errors.New("out of luck"), 1},
		{"no configuration", filepath.Join(t.TempDir(), "missing"), &exitError{exitUsage, errors.New("there is nothing")}, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ran := false
			hooks := keepalivedHooks{run: func(_ context.Context, o *keepalivedOptions) error {
				ran = true
				o.Ready()
				if o.Logger == nil || o.RunDir != defaultRunDir || o.File != tt.file {
					t.Errorf("it runs with %+v", o)
				}
				for _, name := range []string{"p", "r"} {
					if raw, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(raw) != strconv.Itoa(os.Getpid())+"\n" {
						t.Errorf("PID file %s holds %q, %v", name, raw, err)
					}
				}
				return tt.err
			}}
			_, stderr, code := asKeepalived(t, hooks, "-n", "-G", "-f", tt.file, "-p", filepath.Join(dir, "p"), "-r", filepath.Join(dir, "r"))
			if code != tt.code || !ran {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if tt.err != nil && !strings.Contains(stderr, tt.err.Error()) {
				t.Errorf("%q does not say %q", stderr, tt.err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}

func TestAPIDFileStopsASecondOneOnlyWhileTheFirstRuns(t *testing.T) {
	// A program of the name, as a keepalived that runs is found by.
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	start := func(name string) int {
		cmd := exec.Command(sleep, "60")
		cmd.Args[0] = name
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid
	}
	ended := exec.Command(sleep, "0")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, content string
		running       bool
	}{
		{"a keepalived", strconv.Itoa(start("/usr/sbin/keepalived")), true},
		{"a vipd", strconv.Itoa(start("vipd")) + "\n", true},
		{"another program that has the number now", strconv.Itoa(start("nginx")), false},
		{"a process that has ended", strconv.Itoa(ended.Process.Pid), false},
		{"this process, as after a crash in a container", strconv.Itoa(os.Getpid()), false},
		{"no number", "nothing", false},
		{"everything", "-1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ran := false
			hooks := keepalivedHooks{run: func(context.Context, *keepalivedOptions) error { ran = true; return nil }}
			file := write(t, "pid", tt.content)
			_, stderr, code := asKeepalived(t, hooks, "-n", "-G", "-f", "/dev/null", "-p", file, "-r", filepath.Join(dir, "r"))
			if ran == tt.running || (code == keepalivedRefused) != tt.running || tt.running && !strings.Contains(stderr, "it is running already") {
				t.Errorf("ran %t with exit code %d: %s", ran, code, stderr)
			}
		})
	}
}

func TestAPIDFileOfAnotherIsNotRemoved(t *testing.T) {
	file := write(t, "pid", "1\n")
	removePIDFile(file)
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := writePIDFile(os.DevNull); err != nil {
		t.Errorf("writing to %s: %v", os.DevNull, err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().Type()&fs.ModeCharDevice == 0 {
		t.Fatalf("%s is %v, %v", os.DevNull, info.Mode(), err)
	}
}

// keepalivedChild makes TestKeepalivedChild a daemon.
const keepalivedChild = "VIPD_TEST_KEEPALIVED"

// TestKeepalivedChild is not a test by itself: it is the program that the tests
// of the background start, and that starts itself in the background.
func TestKeepalivedChild(t *testing.T) {
	args, ok := os.LookupEnv(keepalivedChild)
	if !ok {
		t.Skip("this is started by other tests")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Exit(keepalivedMain(ctx, "keepalived", strings.Fields(args), os.Stdout, os.Stderr, keepalivedHooks{run: func(ctx context.Context, o *keepalivedOptions) error {
		if o.ConfigID != "" {
			return &exitError{exitUsage, errors.New(o.ConfigID)}
		}
		cwd, err := os.Getwd()
		if err != nil {
			return err
		}
		sid, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
		stdin, _ := os.Readlink("/proc/self/fd/0")
		stderr, _ := os.Readlink("/proc/self/fd/2")
		_, inherited := os.LookupEnv(readyEnv)
		o.Logger.Info("it runs", "cwd", cwd, "leader", int(sid) == os.Getpid(), "stdin", stdin, "stderr", stderr, "inherited", inherited, "watchdog", os.Getenv("WATCHDOG_PID"))
		o.Ready()
		<-ctx.Done()
		return nil
	}}))
}

// child returns a command line of TestKeepalivedChild.
func child(t *testing.T, dir, args string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKeepalivedChild$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), keepalivedChild+"="+args)
	return cmd
}

func TestInTheBackgroundItRunsBeforeTheCommandReturns(t *testing.T) {
	dir := t.TempDir()
	// Paths of the directory it was started in.
	out, err := child(t, dir, "-G -glog -f k.conf -p pid -r vrrp.pid -I").CombinedOutput()
	if err != nil || string(out) != "keepalived: -I (--dont-release-ipvs) is ignored: "+noLVS+"\n" {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid == os.Getpid() {
		t.Fatalf("the PID file holds %q", raw)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Kill() })
	log := func() string {
		raw, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	eventually(t, "the log says that it runs", func() bool { return strings.Contains(log(), "it runs") })
	for _, want := range []string{"-I (--dont-release-ipvs) is ignored", "cwd=/ ", "leader=true", "stdin=/dev/null", "stderr=/dev/null", "inherited=false"} {
		if !strings.Contains(log(), want) {
			t.Errorf("%q is not in %s", want, log())
		}
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if want := filepath.Base(os.Args[0]); err != nil || !strings.HasPrefix(want, strings.TrimSpace(string(comm))) {
		t.Errorf("the process is called %q, want %s, %v", comm, want, err)
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the PID files are gone", func() bool {
		_, p := os.Stat(filepath.Join(dir, "pid"))
		_, r := os.Stat(filepath.Join(dir, "vrrp.pid"))
		return errors.Is(p, fs.ErrNotExist) && errors.Is(r, fs.ErrNotExist)
	})
}

func TestAServiceManagerIsToldWhichProcessIsInTheBackground(t *testing.T) {
	// A short path, for a socket.
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	cmd := child(t, dir, "-G -glog -f "+os.DevNull+" -p pid -r vrrp.pid")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+manager.LocalAddr().String(), "WATCHDOG_PID=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = process.Signal(syscall.SIGTERM)
		eventually(t, "the daemon has ended", func() bool {
			_, err := os.Stat(filepath.Join(dir, "pid"))
			return errors.Is(err, fs.ErrNotExist)
		})
	}()
	if err := manager.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := manager.Read(b)
	if got, want := string(b[:n]), fmt.Sprintf("MAINPID=%d\nREADY=1\n", pid); err != nil || got != want {
		t.Errorf("the manager receives %q, %v, want %q", got, err, want)
	}
	eventually(t, "the log says whose the watchdog is", func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "log"))
		return err == nil && strings.Contains(string(raw), `watchdog=""`)
	})
}

func TestWhatFailsInTheBackgroundIsToldInTheForeground(t *testing.T) {
	for _, tt := range []struct {
		name, args, want string
		code             int
	}{
		{"the daemon", "-G -f " + os.DevNull + " -i no-good", "keepalived: giving up error=no-good\n", 2},
		{"the log", "-G -g/nonexistent/log -f " + os.DevNull, "/nonexistent/log", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			out, err := child(t, dir, tt.args+" -p pid -r vrrp.pid").CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != tt.code || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v: %s", err, out)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestSyslogGetsLinesWithFacilityAndSeverity(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	listen := func() net.PacketConn {
		c, err := net.ListenPacket("unixgram", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	receive := func(c net.PacketConn) string {
		b := make([]byte, 4096)
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := c.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	c := listen()
	s, err := dialSyslog(socket, facilityLocal0+2)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.Write([]byte("<4>first\nsecond\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`^<148>\w{3} [ \d]\d \d\d:\d\d:\d\d vipd\[\d+\]: first$`, `^<150>.*: second$`} {
		if got := receive(c); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
	// syslog is restarted.
	_ = c.Close()
	_ = os.Remove(socket)
	c = listen()
	if _, err := s.Write([]byte("<3>again\n")); err != nil {
		t.Fatal(err)
	}
	if got := receive(c); !strings.HasPrefix(got, "<147>") || !strings.HasSuffix(got, ": again") {
		t.Errorf("got %q", got)
	}
	if _, err := dialSyslog(socket+"x", 0); err == nil {
		t.Error("there is a syslog where none is")
	}
}

func TestTheLogIsNotWrittenThroughWhatOthersHavePlanted(t *testing.T) {
	dir := t.TempDir()
	victim := write(t, "victim", "precious")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	if _, err := openLogFile(link); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a symbolic link: %v", err)
	}
	file := filepath.Join(dir, "log")
	for range 2 {
		f, err := openLogFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, "line")
		_ = f.Close()
	}
	raw, err := os.ReadFile(file)
	if err != nil || string(raw) != "line\nline\n" {
		t.Errorf("the log holds %q, %v", raw, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log has mode %v, %v", info.Mode(), err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(file, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := openLogFile(file); err == nil || !strings.Contains(err.Error(), "another user") {
			t.Errorf("the file of another user: %v", err)
		}
	}
}

func TestDetailsAreLoggedWhenAskedFor(t *testing.T) {
	for args, want := range map[string]slog.Level{"": slog.LevelInfo, "-D": slog.LevelInfo, "-DD": slog.LevelDebug} {
		c, err := parseKeepalived(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.level(); got != want {
			t.Errorf("%q: %v, want %v", args, got, want)
		}
	}
}

func TestANamespaceThatIsNotThereIsNamed(t *testing.T) {
	_, stderr, code := asKeepalived(t, keepalivedHooks{}, "-n", "-s", "no-such-namespace", "-f", os.DevNull)
	if code != 1 || !strings.Contains(stderr, "no-such-namespace") || !strings.Contains(stderr, "no such file") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestANamespaceHasItsOwnRunDirectoryAndPIDFiles(t *testing.T) {
	c, err := parseKeepalived([]string{"-s", "blue"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	if c.RunDir != "/run/vipd-blue" || c.pidFile != "/run/keepalived/blue/keepalived.pid" || c.vrrpPID != "/run/keepalived/blue/keepalived_vrrp.pid" {
		t.Errorf("got %s, %s, %s", c.RunDir, c.pidFile, c.vrrpPID)
	}
}

func TestTheNameThatItIsCalledByCounts(t *testing.T) {
	for name, want := range map[string]bool{"keepalived": true, "/usr/sbin/keepalived": true, "vipd": false, "/usr/bin/vipd": false, "keepalived2": false} {
		if got := calledAsKeepalived(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestTheCommandHandsItsOptionsOn(t *testing.T) {
	cmd := keepalivedCommand(keepalivedHooks{})
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs([]string{"--signum=DATA"})
	if err := cmd.ExecuteContext(t.Context()); err != nil || out.String() != "10\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	cmd.SetArgs([]string{"-Z"})
	if err := cmd.ExecuteContext(t.Context()); exitCode(err) != keepalivedRefused || !strings.Contains(errs.String(), "unknown option -Z") {
		t.Errorf("%q, %v", errs.String(), err)
	}
}
