package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vipd/cmd/internal/daemon"
	"vipd/config"
)

// keepalivedFiles are where the configuration may be; the first one that is
// there counts.
var keepalivedFiles = [...]string{"/etc/keepalived/keepalived.conf", "/usr/local/etc/keepalived/keepalived.conf"}

// keepalivedOptions are what a command line in keepalived's manner asks of the
// daemon. Paths are absolute.
type keepalivedOptions struct {
	File      string
	ConfigID  string // empty: the host's name
	Namespace string // has been entered already; overrides net_namespace
	RunDir    string
	Detail    int // how often -D was given
	Log       keepalivedLog
	// DumpConfig has the configuration logged at the start.
	DumpConfig bool
	// KeepAddresses has no priority 0 sent and nothing removed on exit.
	KeepAddresses bool
	// DumpMode is that of the files written on a signal; 0: 0600.
	DumpMode fs.FileMode

	// Logger is the log that Log and Detail ask for, when it runs.
	Logger *slog.Logger
	// Ready tells whoever started it that it runs. It is called once, when it
	// does; it is never nil.
	Ready func()

	// signals have been listened to since before the PID files were there, by
	// which they are sent.
	signals *watchedSignals
}

// keepalivedHooks are what a command line in keepalived's manner is carried out
// by.
type keepalivedHooks struct {
	// run runs the daemon until ctx ends or it fails.
	run func(ctx context.Context, o *keepalivedOptions) error
	// check reads the configuration and returns what is wrong with it.
	check func(o *keepalivedOptions) keepalivedFindings
}

// ownHooks are those of vipd itself.
func ownHooks() keepalivedHooks {
	return keepalivedHooks{run: runAsKeepalived, check: checkKeepalived}
}

// keepalivedFindings are what -t has to tell.
type keepalivedFindings struct {
	config.Diagnostics
	// Insecure is set when somebody else than root could change what runs as
	// root.
	Insecure bool
	// Runs says that the daemon runs with it, be it with mistakes.
	Runs bool
}

// Exit codes in keepalived's manner. Those of --config-test are keepalived's as
// far as they make sense. keepalived takes a configuration that is not there for
// a good one; and it complains about every script without
// enable_script_security, where vipd complains about scripts that are unsafe.
const (
	keepalivedFailed     = 1 // it may go better the next time
	keepalivedRefused    = 2 // wrong usage or configuration, or another daemon in the way
	keepalivedPermission = 4 // it may not run
	keepalivedNoConfig   = 6 // there is nothing to run

	testMissing  = 4 // there is no such file
	testProblems = 5 // errors or warnings
	testInsecure = 6 // scripts that somebody else can change
)

// calledAsKeepalived reports whether this program was started by the name of
// keepalived, as a link to vipd is.
func calledAsKeepalived(name string) bool { return filepath.Base(name) == "keepalived" }

// keepalivedCommand is `vipd keepalived`.
func keepalivedCommand(hooks keepalivedHooks) *cobra.Command {
	return &cobra.Command{
		Use:   "keepalived [OPTION...]",
		Short: "Take the options of keepalived, for scripts and units made for it",
		// The rules are getopt's: clusters of letters, optional arguments.
		DisableFlagParsing: true,
		Args:               cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			code := keepalivedMain(cmd.Context(), cmd.CommandPath(), args, cmd.OutOrStdout(), cmd.ErrOrStderr(), hooks)
			if code == exitOK {
				return nil
			}
			return &exitError{code: code}
		},
	}
}

// keepalivedMain carries out a command line in keepalived's manner and returns
// the exit code.
func keepalivedMain(ctx context.Context, name string, args []string, stdout, stderr io.Writer, hooks keepalivedHooks) int {
	say := func(format string, args ...any) { fmt.Fprintf(stderr, name+": "+format+"\n", args...) }
	call, err := parseKeepalived(args)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			say("%s", strings.TrimSuffix(line, "\n"))
		}
		say("%s --help lists the options", name)
		return keepalivedRefused
	}
	switch call.mode {
	case keepalivedVersion:
		fmt.Fprint(stderr, keepalivedVersionText())
		return exitOK
	case keepalivedHelp:
		fmt.Fprint(stderr, call.usage(name))
		return exitOK
	case keepalivedSignal:
		fmt.Fprintf(stdout, "%d\n", int(call.signal))
		return exitOK
	}
	for _, w := range call.warnings {
		say("%s", w)
	}
	if err := call.complete(); err != nil {
		say("%v", err)
		return keepalivedFailed
	}
	switch call.mode {
	case keepalivedTest:
		return call.test(stderr, say, hooks)
	case keepalivedCanStart:
		return call.canStart(say, hooks)
	}
	if err := call.run(ctx, stderr, hooks); err != nil {
		// What is in a log that goes to the same place has been said.
		if silent, ok := errors.AsType[*exitError](err); !call.logged && (!ok || silent.err != nil) {
			for line := range strings.Lines(err.Error()) {
				say("%s", strings.TrimSuffix(line, "\n"))
			}
		}
		return keepalivedExit(call.File, err)
	}
	return exitOK
}

// keepalivedExit returns the exit code of a daemon that could not run.
func keepalivedExit(file string, err error) int {
	if child, ok := errors.AsType[*backgroundError](err); ok {
		return child.code
	}
	if _, missing := os.Stat(file); errors.Is(missing, fs.ErrNotExist) {
		return keepalivedNoConfig
	}
	switch exitCode(err) {
	case exitUsage:
		return keepalivedRefused
	case exitPermission:
		return keepalivedPermission
	}
	return keepalivedFailed
}

// complete resolves defaults, and makes paths absolute, as the daemon leaves the
// directory it was started in.
func (c *keepalivedCall) complete() error {
	if c.File == "" {
		c.File = keepalivedFiles[0]
		for _, file := range keepalivedFiles {
			if _, err := os.Stat(file); err == nil {
				c.File = file
				break
			}
		}
	}
	if c.RunDir == "" {
		c.RunDir = defaultRunDir
		if c.Namespace != "" {
			// Another one may run outside.
			c.RunDir += "-" + c.Namespace
		}
	}
	c.pidFile, c.vrrpPID = cmp.Or(c.pidFile, pidPath(defaultPIDFile, c.Namespace)), cmp.Or(c.vrrpPID, pidPath(defaultVRRPPIDFile, c.Namespace))
	for _, p := range []*string{&c.File, &c.RunDir, &c.pidFile, &c.vrrpPID, &c.Log.File, &c.testLog} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// test is --config-test.
func (c *keepalivedCall) test(stderr io.Writer, say func(string, ...any), hooks keepalivedHooks) int {
	out := stderr
	if c.testLog != "" {
		f, err := os.OpenFile(c.testLog, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
		if err != nil {
			say("opening the file for what is wrong: %v", err)
			return keepalivedFailed
		}
		defer f.Close()
		out = f
	}
	// A file that cannot be read is never one that is good.
	if err := readable(c.File); err != nil {
		fmt.Fprintln(out, err)
		return testMissing
	}
	findings := hooks.check(&c.keepalivedOptions)
	for _, d := range findings.Diagnostics {
		fmt.Fprintln(out, d)
	}
	// The higher number wins, as in keepalived.
	switch {
	case findings.Insecure:
		return testInsecure
	case len(findings.Diagnostics) > 0:
		return testProblems
	}
	return exitOK
}

// canStart is --can-start. Mistakes with which the daemon runs nevertheless are not
// told.
func (c *keepalivedCall) canStart(say func(string, ...any), hooks keepalivedHooks) int {
	findings := hooks.check(&c.keepalivedOptions)
	if findings.Runs {
		return exitOK
	}
	for _, d := range findings.Diagnostics {
		if d.Severity == config.Error {
			say("%v", d)
		}
	}
	return keepalivedExit(c.File, &exitError{code: exitUsage})
}

// readable returns why a file cannot be read, or nil. A pipe is not opened only
// to be closed again: whoever writes into it would be gone.
func readable(file string) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "read", Path: file, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}

// checkKeepalived is the check of keepalivedHooks.
func checkKeepalived(o *keepalivedOptions) keepalivedFindings {
	cfg, diags := config.LoadWith(o.File, config.Options{ConfigID: o.ConfigID})
	found := keepalivedFindings{Diagnostics: diags}
	if cfg == nil {
		return found
	}
	host, err := daemon.ReadInterfaces()
	if err != nil {
		found.Diagnostics = append(found.Diagnostics, config.Diagnostic{
			Pos: config.Pos{File: o.File}, Severity: config.Error, Message: fmt.Sprintf("looking at the interfaces of this host: %v", err),
		})
		return found
	}
	found.Runs = true
	found.Diagnostics = append(found.Diagnostics, cfg.CheckSystem(host)...)
	for _, d := range daemon.Inspect(cfg) {
		found.Diagnostics = append(found.Diagnostics, d)
		found.Insecure = found.Insecure || strings.Contains(d.Message, "somebody else than root can change")
	}
	return found
}

// run runs the daemon, in the background unless told otherwise.
func (c *keepalivedCall) run(ctx context.Context, stderr io.Writer, hooks keepalivedHooks) error {
	if c.Namespace != "" {
		if err := enterNamespace(c.Namespace); err != nil {
			return err
		}
	}
	parent := takeReadyPipe()
	if parent == nil {
		for _, file := range []string{c.pidFile, c.vrrpPID} {
			if pid, what := runningProcess(file); pid != 0 {
				return &exitError{exitUsage, fmt.Errorf("it is running already: %s names the %s with process id %d", file, what, pid)}
			}
		}
		if !c.foreground {
			return background(ctx, stderr)
		}
	}
	err := c.serve(ctx, stderr, parent, hooks)
	if parent != nil {
		if err != nil && !c.logged {
			_, _ = fmt.Fprintln(parent, err)
		}
		parent.close()
	}
	return err
}

// serve runs the daemon in this process.
func (c *keepalivedCall) serve(ctx context.Context, stderr io.Writer, parent *readyPipe, hooks keepalivedHooks) (err error) {
	restoreName()
	c.Ready = func() {}
	if parent != nil {
		c.Ready = parent.ready
		// The directory it was started in can be unmounted.
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	console, ok := stderr.(*os.File)
	if !ok {
		console = os.Stderr
	}
	log, closeLog, err := c.openLog(console, parent)
	if err != nil {
		return err
	}
	defer closeLog()
	c.Logger = log
	c.signals = watchSignals()
	defer c.signals.stop()
	for _, file := range slices.Compact([]string{c.pidFile, c.vrrpPID}) {
		if err := writePIDFile(file); err != nil {
			return err
		}
		defer removePIDFile(file)
	}
	if err := hooks.run(ctx, &c.keepalivedOptions); err != nil {
		log.Error("giving up", "error", err)
		c.logged = c.console || parent != nil
		return err
	}
	return nil
}

// keepalivedVersionText is what -v prints. Programs take the version of
// keepalived from the first line, its second word or what follows "Keepalived
// v", to know what they can ask for, and look for the options it was built with.
// All find what holds for vipd, and people that this is not keepalived.
func keepalivedVersionText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Keepalived v%s-compatible vipd %s\n\n", keepalivedLike, versionText())
	fmt.Fprintf(&b, "Built with %s\n", runtime.Version())
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fmt.Fprintf(&b, "Running on %s %s %s\n", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]))
	}
	b.WriteString("\nDoes what these configure options of keepalived do: --enable-json\n")
	return b.String()
}

// keepalivedLike is the version of keepalived whose formats and defaults are
// followed.
const keepalivedLike = "2.2.7"
