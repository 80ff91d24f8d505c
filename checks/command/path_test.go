package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rootDir returns a directory that only root can change, all the way down from
// the root.
func rootDir(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("/", "vipd-command-test")
	if err != nil {
		unavailable(t, err.Error())
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The cases keepalived 2.2.7 decides the same way, but for those that say so.
func TestWhatRootMayRunWithScriptSecurity(t *testing.T) {
	const daemon = 1 // a user and a group that every Debian and container has
	root := rootDir(t)
	chmod := func(mode os.FileMode, path string) func() error {
		return func() error { return os.Chmod(path, mode) }
	}
	// Most hosts follow such a link for its owner alone: proc_sys_fs(5).
	protected, err := os.ReadFile("/proc/sys/fs/protected_symlinks")
	if err != nil {
		t.Fatal(err)
	}
	refused := strings.TrimSpace(string(protected)) != "0"
	for _, tt := range []struct {
		name    string
		change  func(dir string) []func() error // dir holds script
		run     string                          // instead of script
		as      Credential
		refused bool   // by the kernel, whoever runs it and however strict vipd is
		want    string // $ stands for dir; empty: it may
		hint    string
	}{
		{name: "all is root's"},
		{name: "group root may write to the script", change: func(dir string) []func() error {
			return []func() error{chmod(0o775, dir+"/script")}
		}},
		{name: "another group may write to the script", change: func(dir string) []func() error {
			return []func() error{
				func() error { return os.Chown(dir+"/script", 0, daemon) },
				chmod(0o775, dir+"/script"),
			}
		}, want: "$/script: is writable by group daemon, who could change what root runs", hint: "chmod g-w $/script"},
		{name: "everybody may write to the script", change: func(dir string) []func() error {
			return []func() error{chmod(0o777, dir+"/script")}
		}, want: "$/script: is writable by everybody, who could change what root runs", hint: "chmod o-w $/script"},
		{name: "the script is another user's", change: func(dir string) []func() error {
			return []func() error{func() error { return os.Chown(dir+"/script", daemon, 0) }}
		}, want: "$/script: belongs to user daemon, who could change what root runs", hint: "chown root $/script"},
		{name: "everything at once", change: func(dir string) []func() error {
			return []func() error{
				func() error { return os.Chown(dir+"/script", daemon, daemon) },
				chmod(0o777, dir+"/script"),
			}
		}, want: "$/script: belongs to user daemon and is writable by group daemon and is writable by everybody, who could change what root runs",
			hint: "chown root $/script && chmod go-w $/script"},
		{name: "group root may write to the directory", change: func(dir string) []func() error {
			return []func() error{chmod(0o775, dir)}
		}},
		{name: "everybody may write to the directory", change: func(dir string) []func() error {
			return []func() error{chmod(0o777, dir)}
		}, want: "$: is writable by everybody, who could change what root runs", hint: "chmod o-w $"},
		{name: "everybody may write to the directory, but it is sticky", change: func(dir string) []func() error {
			return []func() error{chmod(0o777|os.ModeSticky, dir)}
		}},
		{name: "the directory is another user's", change: func(dir string) []func() error {
			return []func() error{func() error { return os.Chown(dir, daemon, 0) }}
		}, want: "$: belongs to user daemon, who could change what root runs", hint: "chown root $"},
		{name: "a link to what may be run", change: func(dir string) []func() error {
			return []func() error{func() error { return os.Symlink("script", dir+"/link") }}
		}, run: "link"},
		{name: "a link in a directory of everybody's, which keepalived allows", change: func(dir string) []func() error {
			return []func() error{
				func() error { return os.Mkdir(dir+"/open", 0o755) },
				func() error { return os.Symlink("../script", dir+"/open/link") },
				chmod(0o777, dir+"/open"),
			}
		}, run: "open/link", want: "$/open: is writable by everybody, who could change what root runs", hint: "chmod o-w $/open"},
		{name: "another user's link in a sticky directory", change: func(dir string) []func() error {
			return []func() error{
				func() error { return os.Symlink("script", dir+"/link") },
				func() error { return os.Lchown(dir+"/link", daemon, 0) },
				chmod(0o777|os.ModeSticky, dir),
			}
		}, run: "link", refused: refused, want: "$/link: link belongs to user daemon, who could change what root runs", hint: "chown -h root $/link"},
		{name: "a link to a script of everybody's", change: func(dir string) []func() error {
			return []func() error{
				func() error { return os.Mkdir(dir+"/open", 0o755) },
				func() error { return os.Rename(dir+"/script", dir+"/open/script") },
				func() error { return os.Symlink(dir+"/open/script", dir+"/link") },
				chmod(0o777, dir+"/open"),
			}
		}, run: "link", want: "$/open: is writable by everybody, who could change what root runs", hint: "chmod o-w $/open"},
		{name: "an interpreter of another user's, which keepalived allows", change: func(dir string) []func() error {
			return append(shellIn(dir+"/bin"),
				func() error { return os.WriteFile(dir+"/script", []byte("#!"+dir+"/bin/sh\n"), 0o755) },
				func() error { return os.Chown(dir+"/bin", daemon, 0) },
			)
		}, want: "$/script: its interpreter is not safe: $/bin: belongs to user daemon, who could change what root runs", hint: "chown root $/bin"},
		{name: "an interpreter of an interpreter", change: func(dir string) []func() error {
			return append(shellIn(dir+"/bin"),
				func() error { return os.WriteFile(dir+"/script", []byte("#!"+dir+"/between\n"), 0o755) },
				func() error { return os.WriteFile(dir+"/between", []byte("#!"+dir+"/bin/sh\n"), 0o755) },
				chmod(0o777, dir+"/bin/sh"),
			)
		}, want: "$/between: its interpreter is not safe: $/bin/sh: is writable by everybody, who could change what root runs", hint: "chmod o-w $/bin/sh"},
		{name: "a user of root's group", as: Credential{UID: 65534, GID: 65534, Groups: []uint32{4, 0}}, change: func(dir string) []func() error {
			return []func() error{chmod(0o777, dir+"/script")}
		}, want: "$/script: is writable by everybody, who could change what root runs", hint: "chmod o-w $/script"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestRunner(t)
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+"/script", []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				for _, step := range tt.change(dir) {
					if err := step(); err != nil {
						t.Fatal(err)
					}
				}
			}
			name := "script"
			if tt.run != "" {
				name = tt.run
			}
			want := strings.ReplaceAll(tt.want, "$", dir)
			hint := strings.ReplaceAll(tt.hint, "$", dir)

			s := &Spec{Argv: []string{filepath.Join(dir, name)}, As: tt.as, Secure: true}
			got := r.Run(t.Context(), s)
			_, unsafe, inspected := s.Inspect()
			if unsafe != nil {
				t.Errorf("with Secure Inspect only warns: %v", unsafe)
			}
			if want == "" {
				if !got.OK() || inspected != nil {
					t.Errorf("Run: %v, Inspect: %v", got, inspected)
				}
			} else {
				if got.OK() || got.String() != want || got.Problem.Hint != hint {
					t.Errorf("Run:  %v (%s)\nwant: %s (%s)", got, s.FailureHint(got), want, hint)
				}
				if inspected == nil || inspected.Error() != want {
					t.Errorf("Inspect: %v", inspected)
				}
			}

			s.Secure = false
			if got := r.Run(t.Context(), s); got.OK() == tt.refused {
				t.Errorf("without Secure: %v; refused by the kernel: %t", got, tt.refused)
			}
			if _, unsafe, err := s.Inspect(); err != nil || (unsafe != nil) != (want != "") || unsafe != nil && unsafe.Error() != want {
				t.Errorf("without Secure Inspect warns of %v, and says %v", unsafe, err)
			}

			s.Secure, s.As = true, Credential{UID: 65534, GID: 65534}
			if got := r.Run(t.Context(), s); got.OK() == tt.refused {
				t.Errorf("as a user who is not root: %v; refused by the kernel: %t", got, tt.refused)
			}
		})
	}
}

// shellIn returns what makes a directory with a shell of its own.
func shellIn(dir string) []func() error {
	return []func() error{
		func() error { return os.Mkdir(dir, 0o755) },
		func() error {
			b, err := os.ReadFile("/bin/sh")
			if err != nil {
				return err
			}
			return os.WriteFile(dir+"/sh", b, 0o755)
		},
	}
}

func TestOfAMissingProgramTheNearestNameIsSaid(t *testing.T) {
	dir := openDir(t)
	for _, name := range []string{"check-nginx.sh", "check-ssh.sh", "notify.sh", "a"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"chek-nginx.sh":    "did you mean " + dir + "/check-nginx.sh?",
		"check_nginx.sh":   "did you mean " + dir + "/check-nginx.sh?",
		"chekc-ssh.sh":     "did you mean " + dir + "/check-ssh.sh?",
		"Notify.sh":        "did you mean " + dir + "/notify.sh?",
		"b":                "", // everything is near to so short a name
		"check-haproxy.sh": "",
		"check-nginx.sh/x": "",
	} {
		s := &Spec{Argv: []string{filepath.Join(dir, name)}, As: Own()}
		_, _, err := s.Inspect()
		p, ok := errors.AsType[*Problem](err)
		if !ok || p.Hint != want {
			t.Errorf("%s: got %+v, want the hint %q", name, p, want)
		}
	}
}

func TestTheUserNotTheDaemonMustBeAbleToExecute(t *testing.T) {
	needRoot(t)
	r := newTestRunner(t)
	path := file(t, "script", "#!/bin/sh\n", 0o700)
	s := &Spec{Argv: []string{path}, As: Credential{Name: "nobody", UID: 65534, GID: 65534}}
	for _, tt := range []struct {
		name string
		do   func() error
		want string
		hint string
	}{
		{"the file is root's alone", func() error { return nil }, path + ": not executable for user nobody (mode 0700)", "chmod +x " + path},
		{"the directory is root's alone", func() error {
			return errors.Join(os.Chmod(path, 0o755), os.Chmod(filepath.Dir(path), 0o700))
		}, filepath.Dir(path) + ": directory is not accessible to user nobody", "chmod o+x " + filepath.Dir(path)},
		{"both are open", func() error { return os.Chmod(filepath.Dir(path), 0o711) }, "", ""},
		{"a group of the user's may", func() error {
			s.As.Groups = []uint32{3}
			return errors.Join(os.Chown(path, 0, 3), os.Chmod(path, 0o750))
		}, "", ""},
	} {
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		got := r.Run(t.Context(), s)
		if tt.want == "" && (got.Problem != nil || got.Exit != 0 && got.Exit != 126 && got.Exit != 2) || tt.want != "" && (got.String() != tt.want || got.Problem.Hint != tt.hint) {
			t.Errorf("%s: got %v (%s), want %s (%s)", tt.name, got, s.FailureHint(got), tt.want, tt.hint)
		}
		if _, _, err := s.Inspect(); (err != nil) != (tt.want != "") || err != nil && err.Error() != tt.want {
			t.Errorf("%s: Inspect says %v", tt.name, err)
		}
	}
}

func TestLinksThatLeadNowhere(t *testing.T) {
	dir := openDir(t)
	for link, target := range map[string]string{"loop": "loop", "dangling": "gone"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"loop":     dir + "/loop: too many levels of symbolic links",
		"dangling": dir + "/gone: does not exist",
	} {
		s := &Spec{Argv: []string{filepath.Join(dir, name)}, As: Own()}
		if _, _, err := s.Inspect(); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

func TestAFailureThatPuzzlesPeopleIsExplained(t *testing.T) {
	nobody := Credential{Name: "nobody", UID: 65534}
	failed := func(exit int, output string) Result { return Result{Exit: exit, Output: output} }
	const zero = " -0 as user nobody sees no processes of other users; use vrrp_track_process, or let root run it"
	for _, tt := range []struct {
		name string
		argv []string
		as   Credential
		r    Result
		want string
	}{
		{"killall -0 as another user", []string{"/usr/bin/killall", "-0", "haproxy"}, nobody, failed(1, "haproxy(7): Operation not permitted\n"), "killall" + zero},
		{"quietly", []string{"killall", "-q", "-0", "haproxy"}, nobody, failed(1, ""), "killall" + zero},
		{"pkill", []string{"pkill", "-0", "-x", "haproxy"}, nobody, failed(1, ""), "pkill" + zero},
		{"kill in a shell", []string{"sh", "-c", "kill -0 `cat /run/x.pid`"}, nobody, failed(1, ""), "kill" + zero},
		{"kill with a long option", []string{"kill", "-s", "0", "7"}, nobody, failed(1, ""), "kill" + zero},
		{"in a script", []string{"/etc/check.sh"}, nobody, failed(1, "kill: (7): Operation not permitted"), "user nobody may not signal the processes of other users; use vrrp_track_process, or let root run it"},
		{"there is no such process", []string{"killall", "-0", "haproxy"}, nobody, failed(1, "haproxy: no process found\n"), ""},
		{"as root", []string{"killall", "-0", "haproxy"}, Credential{}, failed(1, ""), ""},
		{"another signal", []string{"killall", "-HUP", "x-0"}, nobody, failed(1, ""), ""},
		{"success", []string{"killall", "-0", "haproxy"}, nobody, failed(0, ""), ""},
		{"a command that is not found", []string{"/etc/check.sh"}, Credential{}, failed(127, ""), "exit code 127 usually means that the script did not find a command: PATH is that of vipd, not that of a login"},
		{"a command that is not executable", []string{"/etc/check.sh"}, nobody, failed(126, ""), "exit code 126 usually means that the script found a command that is not executable for user nobody"},
		{"a timeout", []string{"killall", "-0", "haproxy"}, nobody, Result{TimedOut: true, Exit: 127}, ""},
		{"a problem has its own", []string{"x"}, nobody, Result{Problem: &Problem{Hint: "chmod +x x"}}, "chmod +x x"},
	} {
		s := &Spec{Argv: tt.argv, As: tt.as}
		if got := s.FailureHint(tt.r); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestUsersAreFoundByNameAndNumber(t *testing.T) {
	for _, tt := range []struct {
		user, group string
		want        Credential
		err         string
	}{
		{"root", "", Credential{Name: "root"}, ""},
		{"0", "", Credential{Name: "root"}, ""},
		{"root", "daemon", Credential{Name: "root", GID: 1}, ""},
		{"root", "4123456789", Credential{Name: "root", GID: 4123456789}, ""},
		{"4123456789", "", Credential{Name: "4123456789", UID: 4123456789, GID: 4123456789}, ""},
		{"no such user", "", Credential{}, `there is no user "no such user"`},
		{"root", "no such group", Credential{}, `there is no group "no such group"`},
		{"4294967295", "", Credential{}, `there is no user "4294967295"`},
		{"-1", "", Credential{}, `there is no user "-1"`},
	} {
		got, err := Lookup(tt.user, tt.group, false)
		if tt.err != "" {
			if _, ok := errors.AsType[*UnknownUserError](err); !ok || err.Error() != tt.err {
				t.Errorf("%s:%s: got %v, want %s", tt.user, tt.group, err, tt.err)
			}
			continue
		}
		if err != nil || got.Name != tt.want.Name || got.UID != tt.want.UID || got.GID != tt.want.GID || len(got.Groups) != 0 {
			t.Errorf("%s:%s: got %+v, %v, want %+v", tt.user, tt.group, got, err, tt.want)
		}
	}
	if own := Own(); own.UID != uint32(os.Geteuid()) || own.GID != uint32(os.Getegid()) {
		t.Errorf("got %+v for this process", own)
	}
}
