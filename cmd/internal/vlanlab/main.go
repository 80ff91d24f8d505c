// Command vlanlab tries vipd as it is deployed: two routers and a client, machines
// with Debian, systemd and two VLANs on one network card, on which the package is
// installed. It makes things go wrong and measures what the client notices: how long
// it had no answer, how long two routers answered, and how long none did.
//
// The machines are emulated (QEMU without KVM), and linked by a switch in this
// program: nothing of the host's network is used. docs/vlan-lab.md says what the
// figures mean, and how to add a scenario.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/vlanlab/machine"
)

func main() {
	opts, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "vlanlab:", err)
		os.Exit(2)
	case opts.list:
		list(os.Stdout, opts)
		return
	}
	hurry()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	kept, err := run(ctx, opts)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "vlanlab:", err)
		os.Exit(2)
	case !kept:
		os.Exit(1)
	}
}

// niceness is that of the machines and of the switch.
const niceness = -15

// hurry has this program and the machines that it starts come before what else the
// host does, if it may: who waits for a processor would seem to be slow. Threads and
// processes have the niceness of the thread that starts them; where the kernel
// schedules sessions first, it counts within the session only, which gets the same.
func hurry() {
	_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(niceness)), 0o644)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return // it goes on as it is
	}
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, niceness)
		}
	}
}

// options are the flags.
type options struct {
	only     *regexp.Regexp
	pairs    *regexp.Regexp
	list     bool
	shell    bool
	jsonFile string
	docFile  string
	logs     string
	deb      string
	cache    string
	attempts int
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("vlanlab", flag.ContinueOnError)
	fs.SetOutput(stderr)
	only := fs.String("only", "", "the scenarios whose name matches `REGEX`")
	pairs := fs.String("pair", string(vipd), "the pairs whose name matches `REGEX`: vipd-keepalived is the one with the fault on vipd, and . are all")
	fs.BoolVar(&o.list, "list", false, "name the scenarios, and do nothing")
	fs.BoolVar(&o.shell, "shell", false, "boot the machines, and read commands for them: help lists what there is")
	fs.StringVar(&o.jsonFile, "json", "", "write everything found to `FILE`")
	fs.StringVar(&o.docFile, "document", "", "write the tables into `FILE`, between its markers")
	fs.StringVar(&o.logs, "logs", "", "keep journals, captures and who answered when in `DIRECTORY` (default: of broken promises only)")
	fs.StringVar(&o.deb, "deb", "", "install this `FILE` (default: a package built from the working directory)")
	fs.IntVar(&o.attempts, "attempts", defaultAttempts, "try a broken promise so `MANY` times, and a few more while the host is busy")
	fs.StringVar(&o.cache, "cache", "", "keep the image of the machines in `DIRECTORY`")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.attempts < 1 {
		return o, errors.New("--attempts must be positive")
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("--only: %w", err)
	}
	if o.pairs, err = regexp.Compile(*pairs); err != nil {
		return o, fmt.Errorf("--pair: %w", err)
	}
	if len(o.jobs()) == 0 {
		return o, errors.New("nothing matches --only and --pair; --list names the scenarios")
	}
	return o, nil
}

func list(w io.Writer, o options) {
	for _, s := range scenarios() {
		if o.only.MatchString(s.name) {
			fmt.Fprintf(w, "%-22s %s\n", s.name, s.title)
		}
	}
}

// run returns whether all promises were kept.
func run(ctx context.Context, o options) (kept bool, err error) {
	dir, err := os.MkdirTemp("", "vlanlab")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	deb, err := debPackage(ctx, o.deb, dir)
	if err != nil {
		return false, err
	}
	if o.cache == "" {
		if o.cache, err = machine.CacheDir(); err != nil {
			return false, err
		}
	}
	img, err := machine.Build(ctx, o.cache, os.Stderr)
	if err != nil {
		return false, err
	}
	l := &lab{img: img, deb: deb, dir: dir, logs: o.logs, progress: os.Stderr}
	defer func() { err = errors.Join(err, l.close()) }()
	if o.shell {
		return true, l.shell(ctx, os.Stdin, os.Stdout)
	}
	// What could not be written at the end is known at the beginning.
	var out *os.File
	if o.jsonFile != "" {
		if out, err = os.Create(o.jsonFile); err != nil {
			return false, err
		}
		defer out.Close()
	}
	if o.logs != "" {
		if err := os.MkdirAll(o.logs, 0o755); err != nil {
			return false, err
		}
	}
	rep := describe()
	rep.Outcomes = l.play(ctx, o.jobs(), o.attempts)
	if ctx.Err() != nil {
		return false, errors.New("interrupted")
	}
	rep.Versions = l.versions(ctx)
	rep.print(os.Stdout)
	if out != nil {
		err = errors.Join(err, rep.write(out))
	}
	if o.docFile != "" {
		err = errors.Join(err, rep.document(o.docFile))
	}
	return rep.kept(), errors.Join(err, rep.failures())
}

// debPackage reads the package, and builds it first if none is given.
func debPackage(ctx context.Context, file, dir string) ([]byte, error) {
	if file == "" {
		cmd := exec.CommandContext(ctx, "go", "run", "vipd/cmd/vipd/packaging", "--out", dir)
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building the package: %w: %s", err, text)
		}
		found, err := filepath.Glob(filepath.Join(dir, "*_amd64.deb"))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("building the package: got %q, want one for amd64", found)
		}
		file = found[0]
	}
	return os.ReadFile(file)
}

// versions asks the machines what they run.
func (l *lab) versions(ctx context.Context) map[string]string {
	found := make(map[string]string)
	if l.stand == nil {
		return found
	}
	for name, command := range map[string]string{
		"kernel":           "echo Debian $(cat /etc/debian_version) with Linux $(uname -r)",
		"systemd":          "systemctl --version",
		string(keepalived): "keepalived --version 2>&1",
		string(vipd):       "vipd version",
	} {
		text, err := l.stand.routers[faulted].sh(ctx, "%s", command)
		if err == nil {
			found[name], _, _ = strings.Cut(strings.TrimSpace(text), "\n")
		}
	}
	return found
}
