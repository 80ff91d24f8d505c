package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"vipd/config"
)

// asDaemon has the test binary stand for a vipd that runs, until its standard input
// is closed.
const asDaemon = "VIPD_TEST_STANDS_FOR_A_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAVersionIsMadeOfWhatGitSays(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 31, 16, 0, time.UTC)
	for describe, want := range map[string]string{
		"5e8bafd":                  "0~git20261121123116.5e8bafd",
		"5e8bafd-dirty":            "0~git20261121123116.5e8bafd+dirty",
		"1234567":                  "0~git20261121123116.1234567",
		"v1.2.3":                   "1.2.3",
		"1.2.3":                    "1.2.3",
		"v1.2.3-dirty":             "1.2.3+dirty",
		"v1.2.3-rc1":               "1.2.3~rc1",
		"v1.2.3-14-g5e8bafd":       "1.2.3+git14.5e8bafd",
		"v1.2.3-rc1-2-g5e8bafd":    "1.2.3~rc1+git2.5e8bafd",
		"v1.2.3-rc.2-dirty":        "1.2.3~rc.2+dirty",
		"v1.2.3-14-g5e8bafd-dirty": "1.2.3+git14.5e8bafd+dirty",
	} {
		got, err := packageVersion(describe, at)
		if err != nil {
			t.Errorf("%s: %v", describe, err)
			continue
		}
		if got != want {
			t.Errorf("%s became %s, want %s", describe, got, want)
		}
		if err := checkVersion(got); err != nil {
			t.Error(err)
		}
	}
	for _, describe := range []string{"", "release", "v1.2.3-RC 1"} {
		if got, err := packageVersion(describe, at); err == nil {
			t.Errorf("%q became %s", describe, got)
		}
	}
	for _, version := range []string{"", "v1", "1.2-3", "1:2", "1 2", "1/2"} {
		if checkVersion(version) == nil {
			t.Errorf("%q is taken for a version", version)
		}
	}
}

func TestOnlyPackagesThatExistCanBeChosen(t *testing.T) {
	got, err := choose("deb/amd64,rpm/arm64")
	if want := []kind{{"deb", "amd64"}, {"rpm", "arm64"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := choose(""); err != nil || len(got) != 4 {
		t.Errorf("by default there are %v, %v", got, err)
	}
	for _, list := range []string{"deb", "deb/", "deb/riscv64", "apk/amd64", "deb/amd64,"} {
		if got, err := choose(list); err == nil {
			t.Errorf("%s chooses %v", list, got)
		}
	}
}

// withoutMarks returns the shipped configuration with the # taken from each
// paragraph that begins with one and no space: what is not prose.
func withoutMarks(t *testing.T, text string) string {
	t.Helper()
	var out []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if len(paragraph) < 2 || paragraph[0] != '#' {
			t.Errorf("not a comment: %q", paragraph)
			continue
		}
		if paragraph[1] == ' ' {
			continue
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			code, ok := strings.CutPrefix(line, "#")
			if !ok {
				t.Errorf("not a comment: %q", line)
			}
			out = append(out, code)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

func TestTheShippedConfigurationDoesNothing(t *testing.T) {
	text := read(t, "vipd.yaml")
	withoutMarks(t, text) // fails for what is no comment
	cfg, diags := config.Parse("vipd.yaml", []byte(text))
	if cfg != nil || !diags.HasErrors() {
		t.Errorf("it runs: %v", diags)
	}
}

func TestTheShippedConfigurationIsValidWithoutItsMarks(t *testing.T) {
	text := withoutMarks(t, read(t, "vipd.yaml"))
	cfg, diags := config.Parse("vipd.yaml", []byte(text))
	// A check that nobody tracks is worth a warning until it is added to the instance.
	if cfg == nil || diags.HasErrors() || len(cfg.Instances) != 1 {
		t.Fatalf("%v\n%s", diags, text)
	}
	// And with the line that its prose speaks of.
	line := regexp.MustCompile(`(?m)^# +(track_check: .*)$`).FindStringSubmatch(read(t, "vipd.yaml"))
	if line == nil {
		t.Fatal("it says nothing of track_check")
	}
	whole := strings.Replace(text, "    virtual_ipaddress:", "    "+line[1]+"\n    virtual_ipaddress:", 1)
	if cfg, diags := config.Parse("vipd.yaml", []byte(whole)); cfg == nil || len(diags) > 0 {
		t.Errorf("with %s: %v", line[1], diags)
	}
}

// A packed is what the tests want to know of nfpm.yaml.
type packed struct {
	Contents []struct {
		Src, Dst, Type, Packager string
		Info                     struct{ Mode int } `yaml:"file_info"`
	}
	Overrides map[string]struct{ Scripts map[string]string }
	RPM       struct{ Scripts map[string]string }
}

func recipe(t *testing.T) packed {
	t.Helper()
	var p packed
	if err := yaml.Unmarshal([]byte(read(t, "nfpm.yaml")), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheUnitsNameWhatThePackagesInstall(t *testing.T) {
	installed := map[string]bool{}
	for _, c := range recipe(t).Contents {
		installed[c.Dst] = true
	}
	for _, unit := range []string{"vipd.service", "vipd@.service"} {
		text := read(t, unit)
		commands := regexp.MustCompile(`(?m)^Exec[A-Za-z]+=[-+!:@]*(\S+) (.*)$`).FindAllStringSubmatch(text, -1)
		if len(commands) == 0 {
			t.Errorf("%s runs nothing", unit)
		}
		for _, c := range commands {
			if !installed[c[1]] {
				t.Errorf("%s runs %s, which no package has", unit, c[1])
			}
		}
		if unit == "vipd.service" && !strings.Contains(text, "/etc/vipd/vipd.yaml") {
			t.Errorf("%s does not run with the configuration of the package", unit)
		}
	}
	if !installed["/etc/vipd/vipd.yaml"] {
		t.Error("no package has the configuration")
	}
	// What a purge removes is what the units make.
	for _, unit := range []string{"vipd.service", "vipd@.service"} {
		made := regexp.MustCompile(`(?m)^(Runtime|State|Cache|Logs|Configuration)Directory=(.*)$`).FindAllStringSubmatch(read(t, unit), -1)
		for _, d := range made {
			if d[1] != "Runtime" || d[2] != "vipd" && d[2] != "vipd-%i" {
				t.Errorf("%s makes a directory that deb/postrm and rpm/postun do not remove: %s", unit, d[0])
			}
		}
	}
}

func TestEveryScriptOfThePackagesIsPacked(t *testing.T) {
	p := recipe(t)
	used := map[string]bool{}
	for _, o := range p.Overrides {
		for _, script := range o.Scripts {
			used[script] = true
		}
	}
	for _, script := range p.RPM.Scripts {
		used[script] = true
	}
	files, err := filepath.Glob("[dr][ep][bm]/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		if !used[file] {
			t.Errorf("%s is in no package", file)
		}
		delete(used, file)
	}
	for script := range used {
		t.Errorf("%s does not exist", script)
	}
}

func TestALicenceIsFoundOrMissed(t *testing.T) {
	dir := t.TempDir()
	if text, err := licences(dir); err == nil {
		t.Errorf("an empty directory has a licence: %s", text)
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("license.go", "package license")
	put("NOTICE", "written by somebody")
	if text, err := licences(dir); err == nil {
		t.Errorf("a notice is taken for a licence: %s", text)
	}
	put("LICENSE.txt", "do what you like\r\n")
	if got, err := licences(dir); err != nil || got != "do what you like\n\nwritten by somebody\n" {
		t.Errorf("got %q, %v", got, err)
	}
	put("LICENSE.txt", strings.Replace(read(t, "../../../LICENSE"), "Copyright [yyyy] [name of copyright owner]", "Copyright 2020 Somebody", 1))
	if got, err := licences(dir); err != nil || got != "Licensed under the Apache License, Version 2.0.\nCopyright 2020 Somebody\n\nwritten by somebody\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A hostWithServices is where restart-services is run: programs of its own stand for
// systemctl and vipd, and write what they were asked for.
type hostWithServices struct {
	dir            string
	script, lister string
}

func newHostWithServices(t *testing.T) *hostWithServices {
	t.Helper()
	h := &hostWithServices{dir: t.TempDir()}
	program := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// As systemctl, for the units that are files here: NAME.pid, and NAME.start with
	// the command line that the unit has now.
	program("systemctl", `cd `+h.dir+` || exit 1
case $1 in
list-units) for f in vipd.service.pid vipd@*.pid; do [ -e "$f" ] && echo "${f%.pid} loaded active running Something"; done; exit 0 ;;
show)
	if [ "$2" = --property=Id,MainPID ]; then
		between=
		for f in *.pid; do
			printf "${between}MainPID=%s\nId=%s\n" "$(cat "$f")" "${f%.pid}"
			between='\n'
		done
		exit
	fi
	for unit do :; done
	case $3 in
	ExecStart) [ ! -e "$unit.start" ] || echo "{ path=/usr/bin/vipd ; argv[]=$(cat "$unit.start") ; ignore_errors=no ; pid=0 }" ;;
	*) cat "$unit.pid" ;;
	esac
	;;
restart) echo "restart $2" >>log; [ ! -e "$2.fails" ] ;;
*) echo "unexpected: $*" >>log ;;
esac
`)
	// As vipd, which refuses what has "bad" in its name.
	program("vipd", `echo "vipd $*" >>`+h.dir+`/log
case "$*" in
"keepalived --can-start "*bad*) echo "bad.yaml:1:1: it is bad" >&2; exit 2 ;;
*bad*) echo "bad.yaml:1:1: it is bad" >&2; printf '{\n  "ok": false\n}\n'; exit 2 ;;
*lenient*) printf '{\n  "ok": true\n}\n'; exit 2 ;;
*) printf '{\n  "ok": true\n}\n' ;;
esac
`)
	program("logger", "exit 0\n")
	// script writes one of the package's, with paths of this host.
	script := func(name string, paths ...string) string {
		t.Helper()
		text := read(t, name)
		for i := 0; i < len(paths); i += 2 {
			if !strings.Contains(text, paths[i]) {
				t.Fatalf("%s does not name %s", name, paths[i])
			}
			text = strings.ReplaceAll(text, paths[i], paths[i+1])
		}
		path := filepath.Join(h.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	h.lister = script("running-services", "/usr/bin/vipd", h.daemon())
	h.script = script("restart-services", "/usr/bin/vipd", filepath.Join(h.dir, "vipd"), "/run/systemd/system", filepath.Join(h.dir, "booted"),
		"/usr/libexec/vipd/running-services", h.lister,
		"deb-systemd-invoke", "no-such-program") // a host of Debian's has it; this one is to use systemctl
	if err := os.Mkdir(filepath.Join(h.dir, "booted"), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sh(t, nil, `cp "$1" "$2"`, self, h.daemon())
	return h
}

// daemon is the program that services run: this one, by a path of its own.
func (h *hostWithServices) daemon() string { return filepath.Join(h.dir, "daemon") }

// service makes a unit that runs vipd with a command line.
func (h *hostWithServices) service(t *testing.T, unit string, args ...string) {
	t.Helper()
	h.serviceOf(t, h.daemon(), unit, args...)
}

// serviceOf makes a unit that runs a program with a command line.
func (h *hostWithServices) serviceOf(t *testing.T, program, unit string, args ...string) {
	t.Helper()
	pid := "0"
	if len(args) > 0 {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Args = args
		cmd.Env = append(os.Environ(), asDaemon+"=1")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
		pid = strconv.Itoa(cmd.Process.Pid)
	}
	if err := os.WriteFile(filepath.Join(h.dir, unit+".pid"), []byte(pid+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs the script, and returns what the programs were asked for and what it said.
func (h *hostWithServices) run(t *testing.T) (log []string, said string) {
	t.Helper()
	said = h.say(t, h.script)
	b, err := os.ReadFile(filepath.Join(h.dir, "log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' }), said
}

// say runs a script, and returns what it says.
func (h *hostWithServices) say(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), script)
	cmd.Env = []string{"PATH=" + h.dir + ":/usr/bin:/bin"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	return out.String()
}

func TestTheServicesThatRunTheProgramAreFoundWhateverTheirNames(t *testing.T) {
	h := newHostWithServices(t)
	other, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.service(t, "vipd.service", "/usr/bin/vipd", "run")
	h.service(t, "vipd@waits.service")
	h.service(t, `vipd@a\x2db.service`, "/usr/bin/vipd", "run")
	h.service(t, "keepalived.service", "/usr/sbin/keepalived", "-nlD")
	h.service(t, "waits.service")
	h.serviceOf(t, other, "nginx.service", "/usr/bin/vipd", "run")
	want := "keepalived.service\nvipd.service\nvipd@a\\x2db.service\nvipd@waits.service\n"
	if got := h.say(t, h.lister); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// As an upgrade does.
	if err := os.Remove(h.daemon()); err != nil {
		t.Fatal(err)
	}
	if got := h.say(t, h.lister); got != want {
		t.Errorf("with the program replaced: got  %q\nwant %q", got, want)
	}
}

func TestAServiceIsRestartedWhenItsConfigurationIsAccepted(t *testing.T) {
	for name, test := range map[string]struct{ args, want []string }{
		"as the unit has it": {
			[]string{"/usr/bin/vipd", "run", "-f", "/etc/vipd/vipd.yaml"},
			[]string{"vipd check --json -f /etc/vipd/vipd.yaml", "restart vipd.service"},
		},
		"without a file": {
			[]string{"/usr/bin/vipd", "run"},
			[]string{"vipd check --json -f /etc/vipd/vipd.yaml", "restart vipd.service"},
		},
		"with other options, an identity, and a space": {
			[]string{"/usr/bin/vipd", "run", "--run-dir", "/run/vipd-a", "--file=/etc/a b.yaml", "--log-level=debug", "-i", "left"},
			[]string{"vipd check --json -f /etc/a b.yaml -i left", "restart vipd.service"},
		},
		"with the short forms": {
			[]string{"/usr/bin/vipd", "run", "-f=/etc/a.yaml", "-ileft"},
			[]string{"vipd check --json -f /etc/a.yaml -i left", "restart vipd.service"},
		},
		"in keepalived's manner": {
			[]string{"/usr/bin/vipd", "keepalived", "--dont-fork", "-lDf", "/etc/a b.conf"},
			[]string{"vipd keepalived --can-start --dont-fork -lDf /etc/a b.conf", "restart vipd.service"},
		},
		"called as keepalived": {
			[]string{"/usr/sbin/keepalived", "-nlD"},
			[]string{"vipd keepalived --can-start -nlD", "restart vipd.service"},
		},
		"with a keepalived.conf of which a part is left out": {
			[]string{"/usr/bin/vipd", "run", "-f", "/etc/lenient.conf"},
			[]string{"vipd check --json -f /etc/lenient.conf", "restart vipd.service"},
		},
		"when it is something else": {
			[]string{"/usr/local/bin/wrapper", "bad"},
			[]string{"restart vipd.service"},
		},
		"when no process is there, since it waits for its next start": {
			nil,
			[]string{"restart vipd.service"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostWithServices(t)
			h.service(t, "vipd.service", test.args...)
			got, said := h.run(t)
			if !slices.Equal(got, test.want) || said != "" {
				t.Errorf("got  %q\nwant %q\nand it said %q", got, test.want, said)
			}
		})
	}
}

func TestAServiceWhoseConfigurationIsRefusedGoesOnAndTheOthersAreRestarted(t *testing.T) {
	h := newHostWithServices(t)
	h.service(t, "vipd.service", "/usr/bin/vipd", "run", "-f", "/etc/bad.yaml", "-i", "left")
	h.service(t, "vipd@b.service", "/usr/bin/vipd", "run", "-f", "/etc/vipd/b.yaml")
	got, said := h.run(t)
	want := []string{"vipd check --json -f /etc/bad.yaml -i left", "vipd check -f /etc/bad.yaml -i left", "vipd check --json -f /etc/vipd/b.yaml", "restart vipd@b.service"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, want := range []string{"vipd.service was NOT restarted", "bad.yaml:1:1: it is bad", "vipd check -f /etc/bad.yaml", "systemctl restart vipd.service"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

func TestAKeepalivedConfThatIsRefusedGoesOn(t *testing.T) {
	h := newHostWithServices(t)
	h.service(t, "keepalived.service", "/usr/bin/vipd", "keepalived", "-n", "-f", "/etc/bad.conf")
	got, said := h.run(t)
	if want := []string{"vipd keepalived --can-start -n -f /etc/bad.conf"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, want := range []string{"keepalived.service was NOT restarted", "bad.yaml:1:1: it is bad", "`vipd keepalived --can-start -n -f /etc/bad.conf`", "systemctl restart keepalived.service"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

func TestAServiceWhoseCommandLineWasChangedIsLeftToWhoeverDidThat(t *testing.T) {
	h := newHostWithServices(t)
	for unit, start := range map[string]string{
		"vipd.service":   "vipd run -f /etc/keepalived/keepalived.conf",
		"vipd@b.service": "vipd run -f /etc/vipd/b.yaml",
		"vipd@c.service": "vipd run -f $CONFIG",
	} {
		h.service(t, unit, filepath.Join(h.dir, "vipd"), "run", "-f", "/etc/vipd/b.yaml")
		if err := os.WriteFile(filepath.Join(h.dir, unit+".start"), []byte(filepath.Join(h.dir, start)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, said := h.run(t)
	want := []string{"vipd check --json -f /etc/vipd/b.yaml", "restart vipd@b.service", "vipd check --json -f /etc/vipd/b.yaml", "restart vipd@c.service"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, want := range []string{"vipd.service was NOT restarted", "vipd run -f /etc/keepalived/keepalived.conf"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

func TestAServiceThatCannotBeRestartedIsNamed(t *testing.T) {
	h := newHostWithServices(t)
	h.service(t, "vipd@a.service", "/usr/bin/vipd", "run", "-f", "/etc/vipd/a.yaml")
	h.service(t, "vipd@b.service", "/usr/bin/vipd", "run", "-f", "/etc/vipd/b.yaml")
	if err := os.WriteFile(filepath.Join(h.dir, "vipd@a.service.fails"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got, said := h.run(t)
	if !slices.Contains(got, "restart vipd@b.service") || !strings.Contains(said, "vipd@a.service could not be restarted") {
		t.Errorf("got %q, and it said %q", got, said)
	}
}

func TestNothingIsRestartedWithoutSystemd(t *testing.T) {
	h := newHostWithServices(t)
	h.service(t, "vipd.service", "/usr/bin/vipd", "run")
	if err := os.Remove(filepath.Join(h.dir, "booted")); err != nil {
		t.Fatal(err)
	}
	if got, said := h.run(t); len(got) > 0 || said != "" {
		t.Errorf("got %q, and it said %q", got, said)
	}
}
