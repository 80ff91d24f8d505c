package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// `make test-vlan` gives it. What looks at packages needs root, minutes, and programs
// that `make test` does without.
var built = flag.String("packages", "", "look at the packages in `DIR`, which were built from this source (as root)")

// source is the top of the source, seen from here.
const source = "../../.."

// sh runs a shell script, and returns what it prints. It fails the test if the script
// fails.
func sh(t *testing.T, env []string, script string, args ...string) string {
	t.Helper()
	out, err := tryShell(t.Context(), env, script, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", script, args, err, out)
	}
	return out
}

func tryShell(ctx context.Context, env []string, script string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-euc", script, "sh"}, args...)...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8"), env...)
	// With all that it has started; mmdebstrap then takes its mounts away.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// packageSet is where the packages of a version are.
type packageSet struct{ dir, version string }

func (s packageSet) path(format, arch string) string {
	return filepath.Join(s.dir, kind{format, arch}.file(s.version))
}

// packagesIn returns the packages that `make packages` has put into a directory.
func packagesIn(t *testing.T, dir string) packageSet {
	t.Helper()
	debs, err := filepath.Glob(filepath.Join(dir, "vipd_*_amd64.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("in %s there are %q, %v: make packages", dir, debs, err)
	}
	return packageSet{dir, strings.TrimSpace(sh(t, nil, `dpkg-deb -f "$1" Version`, debs[0]))}
}

// makePackages builds packages from a directory with the source.
func makePackages(t *testing.T, env []string, source, version, only string) packageSet {
	t.Helper()
	s := packageSet{filepath.Join(t.TempDir(), "packages"), version}
	sh(t, env, `umask 077; cd "$1" && go run ./cmd/vipd/packaging -out "$2" -version "$3" -only "$4"`, source, s.dir, version, only)
	return s
}

func TestThePackages(t *testing.T) {
	if *built == "" {
		t.Skip("only with -packages: make test-vlan")
	}
	if os.Geteuid() != 0 {
		t.Fatal("it makes roots to install into, which only root can")
	}
	if runtime.GOARCH != "amd64" {
		t.Fatal("what it installs is for amd64")
	}
	root, err := filepath.Abs(source)
	if err != nil {
		t.Fatal(err)
	}
	debian := newDebian(t)
	s := packagesIn(t, *built)

	t.Run("leave lintian quiet", func(t *testing.T) { leaveLintianQuiet(t, s) })
	t.Run("hold what they should", func(t *testing.T) { holdWhatTheyShould(t, s) })
	t.Run("have a manual without warnings", func(t *testing.T) { haveAManualWithoutWarnings(t, s) })
	t.Run("have versions that both worlds sort alike", haveVersionsThatSort)
	t.Run("hold a program for arm64", func(t *testing.T) { holdAProgramForARM(t, s) })
	t.Run("make a container", func(t *testing.T) { makeAContainer(t, root, s) })
	t.Run("are the same when built somewhere else", func(t *testing.T) { areTheSameElsewhere(t, root, s) })
	t.Run("are installed, upgraded, removed and purged", func(t *testing.T) {
		areInstalled(t, debian, s, makePackages(t, nil, root, s.version+"+upgraded", "deb/amd64,rpm/amd64"))
	})
}

// areTheSameElsewhere builds again from a copy of the source in another directory,
// without git, with another umask, time zone and language.
func areTheSameElsewhere(t *testing.T, root string, first packageSet) {
	dir := filepath.Join(t.TempDir(), "quite", "another place")
	sh(t, nil, `mkdir -p "$2" && cd "$1"
		git ls-files -z --cached --others --exclude-standard >"$2.list"
		tar --null --ignore-failed-read -T "$2.list" -c 2>/dev/null | tar x -C "$2"`, root, dir)
	made, err := sourceDate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	s := makePackages(t, []string{fmt.Sprint("SOURCE_DATE_EPOCH=", made.Unix()), "TZ=Pacific/Auckland", "LANG=C", "GIT_DIR=/nonexistent"}, dir, first.version, "")
	for _, k := range kinds() {
		want, err := os.ReadFile(first.path(k.format, k.arch))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(s.path(k.format, k.arch))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs: %d and %d bytes", k.file(s.version), len(want), len(got))
		}
	}
}

func leaveLintianQuiet(t *testing.T, s packageSet) {
	for _, arch := range []string{"amd64", "arm64"} {
		// As somebody who is not root, which lintian speaks of. The reasons for what is
		// overridden stand in lintian-overrides; an override for nothing is a fault, too.
		out := sh(t, nil, `lintian --allow-root --tag-display-limit 0 --fail-on error,warning,override "$1" 2>&1 || { echo "exit code $?"; }`, s.path("deb", arch))
		if out != "" {
			t.Errorf("%s:\n%s", arch, out)
		}
		unused := sh(t, nil, `lintian --allow-root --display-info --tags mismatched-override,unused-override "$1" 2>&1 || true`, s.path("deb", arch))
		if unused != "" {
			t.Errorf("%s: overrides that are not needed:\n%s", arch, unused)
		}
	}
}

// listing returns the files of a package with their modes and owners, as tar shows
// them: "-rwxr-xr-x root/root".
func listing(t *testing.T, s packageSet, format, arch string) map[string]string {
	t.Helper()
	files := map[string]string{}
	script := `dpkg-deb -c "$1"`
	line := regexp.MustCompile(`^(\S{10}) +(\S+/\S+) +\d+ \S+ \S+ \.(/\S*?)/?$`)
	if format == "rpm" {
		script = `rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} 0 - - .%{FILENAMES}\n]' "$1"`
	}
	for text := range strings.Lines(sh(t, nil, script, s.path(format, arch))) {
		m := line.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		if m == nil {
			t.Fatalf("%s: what is this? %q", format, text)
		}
		files[m[3]] = m[1] + " " + m[2]
	}
	return files
}

func holdWhatTheyShould(t *testing.T, s packageSet) {
	want := map[string]string{
		"/usr/bin/vipd":                                            "-rwxr-xr-x root/root",
		"/usr/lib/systemd/system/vipd.service":                     "-rw-r--r-- root/root",
		"/usr/lib/systemd/system/vipd@.service":                    "-rw-r--r-- root/root",
		"/usr/libexec/vipd/restart-services":                       "-rwxr-xr-x root/root",
		"/usr/libexec/vipd/running-services":                       "-rwxr-xr-x root/root",
		"/etc/vipd":                                                "drwxr-xr-x root/root",
		"/etc/vipd/vipd.yaml":                                      "-rw-r----- root/root",
		"/usr/share/man/man8/vipd.8.gz":                            "-rw-r--r-- root/root",
		"/usr/share/man/man8/vipd-check-run.8.gz":                  "-rw-r--r-- root/root",
		"/usr/share/man/man5/vipd.yaml.5.gz":                       "-rw-r--r-- root/root",
		"/usr/share/bash-completion/completions/vipd":              "-rw-r--r-- root/root",
		"/usr/share/fish/vendor_completions.d/vipd.fish":           "-rw-r--r-- root/root",
		"/usr/share/doc/vipd/changelog.gz":                         "-rw-r--r-- root/root",
		"/usr/share/doc/vipd/CHANGELOG.md":                         "-rw-r--r-- root/root",
		"/usr/share/doc/vipd/README.md":                            "-rw-r--r-- root/root",
		"/usr/share/doc/vipd/copyright":                            "-rw-r--r-- root/root",
		"/usr/share/doc/vipd/docs/ownership.md":                    "-rw-r--r-- root/root",
		"/usr/share/doc/vipd/examples/scripts/promote-database.sh": "-rwxr-xr-x root/root",
	}
	examples := 0
	err := filepath.WalkDir(filepath.Join(source, "examples"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(source, path)
		examples++
		if path := "/usr/share/doc/vipd/" + name; want[path] == "" {
			want[path] = "" // any mode
		}
		return err
	})
	if err != nil || examples == 0 {
		t.Fatalf("%d examples, %v", examples, err)
	}
	special := map[string]map[string]string{
		"deb": {"/usr/share/zsh/vendor-completions/_vipd": "", "/usr/share/lintian/overrides/vipd": ""},
		"rpm": {"/usr/share/zsh/site-functions/_vipd": "", "/usr/share/licenses/vipd/LICENSE": ""},
	}
	for _, k := range kinds() {
		got := listing(t, s, k.format, k.arch)
		for _, want := range []map[string]string{want, special[k.format]} {
			for path, mode := range want {
				if have, ok := got[path]; !ok {
					t.Errorf("%v: %s is missing", k, path)
				} else if mode != "" && have != mode {
					t.Errorf("%v: %s is %s, want %s", k, path, have, mode)
				}
			}
		}
		for path, have := range got {
			if !strings.HasSuffix(have, " root/root") || have[5] == 'w' || have[8] == 'w' {
				t.Errorf("%v: %s is %s", k, path, have)
			}
			if strings.HasPrefix(path, "/usr/share/doc/vipd/docs/adr") {
				t.Errorf("%v: %s is not for users", k, path)
			}
		}
	}

	// The configuration is the administrator's.
	if got := sh(t, nil, `dpkg-deb -I "$1" conffiles`, s.path("deb", "amd64")); got != "/etc/vipd/vipd.yaml\n" {
		t.Errorf("configuration files of the deb: %q", got)
	}
	if got := sh(t, nil, `rpm -qp --qf '[%{FILEFLAGS:fflags} %{FILENAMES}\n]' "$1" | grep '^[a-z]*[cn]'`, s.path("rpm", "amd64")); got != "cn /etc/vipd/vipd.yaml\n" {
		t.Errorf("configuration files of the rpm: %q", got)
	}
	// One program, which needs nothing.
	if got := sh(t, nil, `dpkg-deb -f "$1" Depends Pre-Depends Recommends Conflicts`, s.path("deb", "amd64")); got != "" {
		t.Errorf("the deb needs something: %s", got)
	}
	if got := sh(t, nil, `rpm -qp --requires "$1" | grep -v '^rpmlib(\|^/bin/sh$' || true`, s.path("rpm", "amd64")); got != "" {
		t.Errorf("the rpm needs something: %s", got)
	}
}

func haveAManualWithoutWarnings(t *testing.T, s packageSet) {
	dir := t.TempDir()
	sh(t, nil, `dpkg-deb -x "$1" "$2"`, s.path("deb", "amd64"), dir)
	pages, err := filepath.Glob(filepath.Join(dir, "usr/share/man/man[58]/*.gz"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		// As lintian has it, and another formatter, which is strict. "(devel)" is no
		// date it complains of, but lines longer than it likes are in examples.
		if out := sh(t, nil, `zcat "$1" >"$1.roff"; MANROFFSEQ= MANWIDTH=80 man --warnings=w -E UTF-8 -l -Tutf8 -Z "$1.roff" 2>&1 >/dev/null`, page); out != "" {
			t.Errorf("man: %s", out)
		}
		if out, _ := tryShell(t.Context(), nil, `mandoc -Tlint -Wwarning "$1.roff"`, page); out != "" {
			t.Errorf("mandoc: %s", out)
		}
	}
	text := sh(t, nil, `MANWIDTH=200 man -E UTF-8 -l "$1"`, filepath.Join(dir, "usr/share/man/man5/vipd.yaml.5.gz"))
	for _, want := range []string{"vrrp_instance", "virtual_router_id", "1 to 255"} {
		if !strings.Contains(text, want) {
			t.Errorf("vipd.yaml(5) does not say %s", want)
		}
	}
}

// haveVersionsThatSort has dpkg and rpm compare what packageVersion makes of
// successive commits.
func haveVersionsThatSort(t *testing.T) {
	at := time.Date(2026, 11, 21, 23, 59, 59, 0, time.UTC)
	var versions []string
	for i, describe := range []string{"ffffff1", "0000002", "v0.9.0", "v1.0.0-rc1", "v1.0.0-rc1-9-gfffffff", "v1.0.0-rc1-10-g0000000", "v1.0.0-rc2", "v1.0.0", "v1.0.0-2-gfffffff", "v1.0.0-10-g0000000", "v1.0.1"} {
		v, err := packageVersion(describe, at.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v)
	}
	for i := 1; i < len(versions); i++ {
		a, b := versions[i-1], versions[i]
		if out, err := tryShell(t.Context(), nil, `dpkg --compare-versions "$1" lt "$2"`, a, b); err != nil {
			t.Errorf("dpkg: %s is not before %s: %v %s", a, b, err, out)
		}
		if got := sh(t, nil, `rpm --eval "%{lua:print(rpm.vercmp('$1', '$2'))}"`, a, b); got != "-1\n" {
			t.Errorf("rpm: %s is not before %s: %s", a, b, got)
		}
	}
}

// newDebian makes a Debian in a directory, while the test does other things: it waits
// for a mirror most of the time. The function that it returns waits for that.
func newDebian(t *testing.T) func() (root string, err error) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var finished sync.WaitGroup
	finished.Go(func() {
		out, err := tryShell(ctx, nil, `mmdebstrap --quiet --variant=essential --include=systemd bookworm "$1" 2>&1`, root)
		if err != nil {
			err = fmt.Errorf("mmdebstrap: %w\n%s", err, out)
		}
		done <- err
	})
	t.Cleanup(func() { cancel(); finished.Wait() })
	return func() (string, error) { return root, <-done }
}

// areInstalled goes through the life of a package, in a Debian of its own in which no
// systemd runs; what that does is seen on the machines of the VLAN laboratory. The rpm
// goes into the same root, with a database of its own: with --nodeps, as no rpm has
// brought the /bin/sh that its scripts need, which is there.
func areInstalled(t *testing.T, debian func() (string, error), old, young packageSet) {
	root, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	in := func(t *testing.T, script string) string {
		t.Helper()
		return sh(t, []string{"DEBIAN_FRONTEND=noninteractive"}, `chroot "$1" sh -euc "$2" 2>&1`, root, script)
	}
	sh(t, nil, `cp "$1" "$3/var/cache/old.deb" && cp "$2" "$3/var/cache/new.deb"`, old.path("deb", "amd64"), young.path("deb", "amd64"), root)
	// Everything but what package managers write about themselves.
	snapshot := func() string {
		t.Helper()
		return sh(t, nil, `cd "$1" && find . \( -path ./proc -o -path ./var/lib/dpkg -o -path ./var/lib/rpm -o -path ./var/log -o -path ./var/cache \) -prune -o -printf '%p %M %u %l\n' | sort`, root)
	}
	own := "# mine\n"
	owned := func(t *testing.T) {
		t.Helper()
		if got := in(t, `cat /etc/vipd/vipd.yaml; stat -c %a /etc/vipd/vipd.yaml`); got != own+"640\n" {
			t.Errorf("the configuration is %q", got)
		}
	}
	program := func(t *testing.T, version string) {
		t.Helper()
		if got := in(t, `vipd version`); !strings.HasPrefix(got, "vipd "+version+" ") {
			t.Errorf("it is %q, want version %s", got, version)
		}
	}
	enabled := func(t *testing.T, want string) {
		t.Helper()
		if got := in(t, `systemctl is-enabled vipd.service || true`); got != want+"\n" {
			t.Errorf("the service is %q, want %s", got, want)
		}
	}
	empty := snapshot()

	t.Run("deb", func(t *testing.T) {
		in(t, `dpkg -i /var/cache/old.deb`)
		program(t, old.version)
		enabled(t, "disabled")
		if got := in(t, `vipd check || true`); !strings.Contains(got, "vipd.yaml") {
			t.Errorf("of the configuration that is shipped it says %q", got)
		}
		in(t, `echo "# mine" >/etc/vipd/vipd.yaml; echo "# of an instance" >/etc/vipd/a.yaml; systemctl --quiet enable vipd vipd@a 2>&1`)

		in(t, `dpkg -i /var/cache/new.deb`)
		program(t, young.version)
		enabled(t, "enabled")
		owned(t)

		in(t, `dpkg -r vipd`)
		owned(t)
		if got := in(t, `ls /usr/bin/vipd /usr/lib/systemd/system/vipd* 2>/dev/null || true`); got != "" {
			t.Errorf("after the removal there is %s", got)
		}
		in(t, `dpkg -i /var/cache/new.deb`) // and back again
		enabled(t, "enabled")
		owned(t)

		in(t, `mkdir -p /run/vipd /run/vipd-a; touch /run/vipd/identity; dpkg -P vipd`)
		if got := snapshot(); got != empty {
			t.Errorf("a purge leaves a difference:\n%s", differing(empty, got))
		}
	})

	t.Run("rpm", func(t *testing.T) {
		rpm := func(t *testing.T, args string, path string) string {
			t.Helper()
			return sh(t, nil, rpmIn+args+` "$1" 2>&1`, path, root)
		}
		quiet := func(t *testing.T, args, path string) {
			t.Helper()
			if out := rpm(t, args, path); out != "" {
				t.Errorf("rpm %s says %s", args, out)
			}
		}
		quiet(t, `-i --nodeps`, old.path("rpm", "amd64"))
		program(t, old.version)
		enabled(t, "disabled")
		in(t, `echo "# mine" >/etc/vipd/vipd.yaml; systemctl --quiet enable vipd 2>&1`)

		quiet(t, `-U --nodeps`, young.path("rpm", "amd64"))
		program(t, young.version)
		enabled(t, "enabled")
		owned(t)

		out := rpm(t, `-e`, "vipd")
		if !strings.Contains(out, "vipd.yaml.rpmsave") {
			t.Errorf("it does not say where the configuration is: %q", out)
		}
		if got := in(t, `cat /etc/vipd/vipd.yaml.rpmsave; rm -r /etc/vipd`); got != own {
			t.Errorf("of the configuration it leaves %q", got)
		}
		// Directories of shells, which come with those where rpm is at home.
		in(t, `rmdir /usr/share/fish/vendor_completions.d /usr/share/fish /usr/share/zsh/site-functions /usr/share/licenses`)
		if got := snapshot(); got != empty {
			t.Errorf("the removal leaves a difference:\n%s", differing(empty, got))
		}
	})

	t.Run("with systemd", func(t *testing.T) { askSystemd(t, root, old, young) })
}

// systemctl is one that only writes down what it is asked for, and which version is
// there then. Two services run the process @.
const systemctl = `#!/bin/sh
case $1 in
list-units) echo 'vipd.service loaded active running x' ;;
show)
	case "$*" in
	*=Id,MainPID*) printf 'Id=keepalived.service\nMainPID=%s\n\nId=other.service\nMainPID=0\n' @ ;;
	*MainPID*) echo @ ;;
	esac
	;;
is-active | is-enabled | is-system-running) ;;
*)
	version='vipd none'
	[ ! -x /usr/bin/vipd ] || version=$(/usr/bin/vipd version)
	version=${version#vipd }
	echo "${version%% *}: $*" >>/asked
	;;
esac
`

// withService runs the commands $3, $4 and $5, which install, upgrade and remove a
// package in the root $0, with $1 and $2 for what is installed. Between them a vipd
// runs there, and systemctl is $6. It all shares a view of the mounts: that is how
// processes are told by the files of their programs.
const withService = `
mount -t proc proc "$0/proc"
eval "$3"
echo "vrrp_instance: {web: {interface: eth9, virtual_router_id: 51, virtual_ipaddress: [192.0.2.10/24]}}" >"$0/etc/vipd/vipd.yaml"
unshare --net chroot "$0" /usr/bin/vipd run 2>/dev/null &
pid=$!
mkdir -p "$0/run/systemd/system"
mv "$0/usr/bin/systemctl" "$0/usr/bin/systemctl.real"
trap 'kill $pid; wait $pid || true; mv "$0/usr/bin/systemctl.real" "$0/usr/bin/systemctl"; rm -r "$0/run/systemd/system"' EXIT
printf '%s' "$6" | sed "s/ @/ $pid/" >"$0/usr/bin/systemctl"
chmod 755 "$0/usr/bin/systemctl"
tries=0
until [ "$(readlink "/proc/$pid/exe")" = "$0/usr/bin/vipd" ]; do
	tries=$((tries + 1))
	[ $tries -lt 200 ]
	sleep 0.1
done
eval "$4"
mv "$0/asked" "$0/upgraded"
eval "$5"
mv "$0/asked" "$0/removed"
`

// askSystemd has a service run while the packages are upgraded and removed, and looks
// at what systemd is asked for, and when.
func askSystemd(t *testing.T, root string, old, young packageSet) {
	const deb, rpm = `chroot "$0" dpkg `, `rpm --force-debian --root "$0" --dbpath /var/lib/rpm `
	for _, tt := range []struct {
		name, install, upgrade, remove string
		upgraded, removed              []string // what systemd is asked for
	}{
		{
			"deb", deb + `-i /var/cache/old.deb`, deb + `-i /var/cache/new.deb`, deb + `-r vipd`,
			[]string{"new: daemon-reload", "new: restart keepalived.service", "new: restart vipd.service"},
			[]string{"new: stop vipd.service", "new: stop keepalived.service", "new: stop vipd.service", "none: daemon-reload"},
		},
		{
			// The version before goes when the next one is there, and has its say then.
			"rpm", rpm + `-i --nodeps "$1"`, rpm + `-U --nodeps "$2"`, rpm + `-e vipd`,
			[]string{"new: daemon-reload", "new: daemon-reload", "new: restart keepalived.service", "new: restart vipd.service"},
			[]string{"new: stop vipd.service", "new: stop keepalived.service", "new: stop vipd.service", "new: disable vipd.service vipd@.service", "none: daemon-reload"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sh(t, []string{"DEBIAN_FRONTEND=noninteractive"}, `exec unshare --mount sh -euc "$@"`,
				withService, root, old.path("rpm", "amd64"), young.path("rpm", "amd64"), tt.install, tt.upgrade, tt.remove, systemctl)
			// asked returns what somebody who watches services would notice.
			asked := func(when string) (all []string) {
				t.Helper()
				verb := regexp.MustCompile(`^(daemon-reload|(re|try-re)?start|reload|stop|(re)?enable|disable|(un)?mask|preset)\b`)
				for line := range strings.Lines(read(t, filepath.Join(root, when))) {
					version, words, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
					words = regexp.MustCompile(`(^| )--\S*`).ReplaceAllString(words, "")
					if words = strings.TrimSpace(words); verb.MatchString(words) {
						name := map[string]string{old.version: "old", young.version: "new"}[version]
						all = append(all, cmp.Or(name, version)+": "+words)
					}
				}
				return all
			}
			if got := asked("upgraded"); !slices.Equal(got, tt.upgraded) {
				t.Errorf("an upgrade asks for\n%q, want\n%q", got, tt.upgraded)
			}
			if got := asked("removed"); !slices.Equal(got, tt.removed) {
				t.Errorf("a removal asks for\n%q, want\n%q", got, tt.removed)
			}
		})
	}
}

// rpmIn is the begin of a command that installs into the root $2. Debian's rpm would
// rather not, and has its database elsewhere than other systems.
const rpmIn = `rpm --force-debian --root "$2" --dbpath /var/lib/rpm `

// differing returns the lines that are in only one of two texts.
func differing(a, b string) string {
	var out strings.Builder
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, line := range left {
		if !slices.Contains(right, line) {
			out.WriteString("- " + line + "\n")
		}
	}
	for _, line := range right {
		if !slices.Contains(left, line) {
			out.WriteString("+ " + line + "\n")
		}
	}
	return out.String()
}

func holdAProgramForARM(t *testing.T, s packageSet) {
	for _, format := range []string{"deb", "rpm"} {
		dir := t.TempDir()
		script := `dpkg-deb -x "$1" "$2"`
		if format == "rpm" {
			// Not with cpio: the names in an rpm begin with a slash, and it would write there.
			script = rpmIn + `-i --nodeps --noscripts --ignorearch "$1"`
		}
		sh(t, nil, script, s.path(format, "arm64"), dir)
		got := sh(t, nil, `qemu-aarch64-static "$1" version`, filepath.Join(dir, "usr/bin/vipd"))
		if want := fmt.Sprintf("vipd %s (%s, linux/arm64)\n", s.version, runtime.Version()); got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
		// A check of a configuration runs the greater part of the program.
		config := filepath.Join(dir, "some.yaml")
		if err := os.WriteFile(config, []byte(withoutMarks(t, read(t, "vipd.yaml"))), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := sh(t, nil, `qemu-aarch64-static "$1" check -f "$2" 2>/dev/null`, filepath.Join(dir, "usr/bin/vipd"), config); !strings.Contains(got, "web: VRRPv3 IPv4, VRID 51") {
			t.Errorf("%s: the check says %q", format, got)
		}
	}
}

// inContainer is what runs in a network namespace of its own: vipd in a container,
// until it is healthy, and then until SIGTERM has ended it.
const inContainer = `
dir=$1
bh() { buildah --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs "$@"; }
ip link set lo up
ip link add d0 type veth peer name d1
ip address add 192.0.2.1/24 dev d0
ip link set d1 up
ip link set d0 up
# The program cannot do it: what is below /proc/sys is read-only in a container.
echo 1 >/proc/sys/net/ipv4/conf/d0/promote_secondaries
container=$(bh from vipd)
bh run --isolation chroot --cap-add CAP_NET_ADMIN --cap-add CAP_NET_RAW -v "$dir/etc:/etc/vipd:ro" "$container" -- /usr/bin/vipd run -f /etc/vipd/vipd.yaml >"$dir/log" 2>&1 &
tries=0
until bh run --isolation chroot "$container" -- /usr/bin/vipd status --check >"$dir/status" 2>&1 && grep -q MASTER "$dir/status"; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || { cat "$dir/log" "$dir/status"; exit 1; }
done
ip -brief address show dev d0 >"$dir/as-master"
kill -TERM "$(sed -n 's/.*, pid \([0-9]*\),.*/\1/p' "$dir/status")"
wait $! || echo "it ended with $?"
ip -brief address show dev d0 >"$dir/afterwards"
bh rm "$container" >/dev/null
`

func makeAContainer(t *testing.T, root string, s packageSet) {
	dir := t.TempDir()
	sh(t, nil, `mkdir -p "$2/context/bin" "$2/etc" && dpkg-deb --fsys-tarfile "$1" | tar xO ./usr/bin/vipd >"$2/context/bin/vipd" && chmod 755 "$2/context/bin/vipd" && cp "$3/LICENSE" "$2/context"`,
		s.path("deb", "amd64"), dir, root)
	// No registry is asked: it begins with nothing. Storage in plain directories, and a
	// chroot for isolation, need no support of the host's.
	buildah := `buildah --root "$1/storage" --runroot "$1/run" --storage-driver vfs `
	sh(t, nil, buildah+`build --isolation chroot --format docker -f "$2" -t vipd "$1/context" 2>&1`, dir, filepath.Join(root, here, "Containerfile"))

	var image struct {
		Docker struct {
			Config struct {
				Entrypoint, Cmd []string
				StopSignal      string
				Healthcheck     struct{ Test []string }
			} `json:"config"`
		} `json:"Docker"`
	}
	if err := json.Unmarshal([]byte(sh(t, nil, buildah+`inspect --type image vipd`, dir)), &image); err != nil {
		t.Fatal(err)
	}
	c := image.Docker.Config
	if got, want := strings.Join(slices.Concat(c.Entrypoint, c.Cmd), " "), "/usr/bin/vipd run -f /etc/vipd/vipd.yaml"; got != want {
		t.Errorf("it runs %q, want %q", got, want)
	}
	if got, want := strings.Join(c.Healthcheck.Test, " "), "CMD /usr/bin/vipd status --check"; got != want {
		t.Errorf("its health is asked by %q, want %q", got, want)
	}
	if c.StopSignal != "SIGTERM" {
		t.Errorf("it is stopped by %s", c.StopSignal)
	}

	configuration := strings.NewReplacer("eth0", "d0", "priority: 150", "priority: 150\n    advert_int: 100ms").Replace(withoutMarks(t, read(t, "vipd.yaml")))
	configuration, _, _ = strings.Cut(configuration, "vrrp_check:")
	if err := os.WriteFile(filepath.Join(dir, "etc", "vipd.yaml"), []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", inContainer, "sh", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	// With all that it has started.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(out) > 0 {
		t.Errorf("it said %s\n%s", out, read(t, filepath.Join(dir, "log")))
	}
	if got := read(t, filepath.Join(dir, "as-master")); !strings.Contains(got, "192.0.2.10/24") {
		t.Errorf("as master it has %s", got)
	}
	if got := read(t, filepath.Join(dir, "afterwards")); strings.Contains(got, "192.0.2.10/24") || !strings.Contains(got, "192.0.2.1/24") {
		t.Errorf("afterwards there is %s", got)
	}
	if got := read(t, filepath.Join(dir, "status")); strings.Contains(got, "none: after a crash") {
		t.Errorf("it has no lease:\n%s", got)
	}
}
