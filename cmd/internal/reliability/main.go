// Command reliability makes things go wrong in a pair of routers and measures what
// a client of their addresses notices: how long two of them answered, how long
// none did, how many pings were lost, and to whom the client talks afterwards.
//
// Every fault happens to four pairs: two vipd, vipd beside keepalived with the
// fault on either side, and two keepalived. Each run has network namespaces of its
// own. Who owns an address is taken from the kernels of the two routers, and what
// the client notices from its own frames; neither daemon's word counts, except for
// the changes of state of the one without a fault. docs/reliability.md says what
// the figures mean.
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
	"syscall"

	"vipd/netif/netiftest"
)

// envDir names the directory with what this program has built before it moved
// into namespaces of its own. Its file system is the only thing it shares.
const envDir = "RELIABILITY_DIR"

func main() {
	opts, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fail(err)
	case opts.list:
		list(os.Stdout, opts)
		return
	}
	if _, inside := os.LookupEnv(envDir); !inside {
		if err := prepare(opts); err != nil {
			fail(err)
		}
	}
	os.Exit(netiftest.Run(program{opts}))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "reliability:", err)
	os.Exit(2)
}

// defaultAtOnce is how many runs wait for their timers side by side.
const defaultAtOnce = 12

// options are the flags.
type options struct {
	only       *regexp.Regexp
	pairs      *regexp.Regexp
	repeat     int
	atOnce     int
	list       bool
	jsonFile   string
	docFile    string
	logs       string
	vipd       string
	keepalived string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("reliability", flag.ContinueOnError)
	fs.SetOutput(stderr)
	only := fs.String("only", "", "the faults whose name matches `REGEX`")
	pairs := fs.String("pair", "", "the pairs whose name matches `REGEX`: vipd-keepalived is the one with the fault on vipd")
	fs.IntVar(&o.repeat, "repeat", 0, "do everything `N` times (default: once, and heals 100 times)")
	fs.IntVar(&o.atOnce, "at-once", defaultAtOnce, "how many runs are made side by side")
	fs.BoolVar(&o.list, "list", false, "name the faults, and do nothing")
	fs.StringVar(&o.jsonFile, "json", "", "write everything found to `FILE`")
	fs.StringVar(&o.docFile, "document", "", "write the tables into `FILE`, between its markers")
	fs.StringVar(&o.logs, "logs", "", "keep the daemons' logs in `DIRECTORY`")
	fs.StringVar(&o.vipd, "vipd", "", "try this `BINARY` (default: one built from the working directory)")
	fs.StringVar(&o.keepalived, "keepalived", "keepalived", "try this `BINARY` beside it")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.repeat < 0 || o.atOnce < 1 {
		return o, errors.New("--repeat and --at-once must be positive")
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("--only: %w", err)
	}
	if o.pairs, err = regexp.Compile(*pairs); err != nil {
		return o, fmt.Errorf("--pair: %w", err)
	}
	if len(o.jobs()) == 0 {
		return o, errors.New("nothing matches --only and --pair; --list names the faults")
	}
	return o, nil
}

func list(w io.Writer, o options) {
	for _, f := range faults() {
		if o.only.MatchString(f.name) {
			fmt.Fprintf(w, "%-24s %s\n", f.name, f.title)
		}
	}
}

// prepare builds vipd where there is a network, should a module be missing.
func prepare(o options) error {
	dir, err := os.MkdirTemp("", "vipd-reliability-")
	if err != nil {
		return err
	}
	if o.vipd == "" {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "vipd"), "vipd/cmd/vipd")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return errors.Join(fmt.Errorf("building vipd: %w: %s", err, text), os.RemoveAll(dir))
		}
	}
	return os.Setenv(envDir, dir)
}

// A program is what runs inside the namespaces.
type program struct{ opts options }

// Run returns the exit code: 1 if a promise was not kept, 2 if something could
// not be tried.
func (p program) Run() int {
	dir := os.Getenv(envDir)
	defer os.RemoveAll(dir)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	kept, err := p.run(ctx, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		return 2
	}
	if !kept {
		return 1
	}
	return 0
}

func (p program) run(ctx context.Context, dir string) (kept bool, err error) {
	b := binaries{vipd: p.opts.vipd}
	if b.vipd == "" {
		b.vipd = filepath.Join(dir, "vipd")
	}
	if b.keepalived, err = exec.LookPath(p.opts.keepalived); err != nil {
		return false, fmt.Errorf("%w (apt-get install keepalived, or --keepalived FILE)", err)
	}
	// What could not be written at the end is known at the beginning.
	var out *os.File
	if p.opts.jsonFile != "" {
		if out, err = os.Create(p.opts.jsonFile); err != nil {
			return false, err
		}
		defer out.Close()
	}
	if p.opts.logs != "" {
		if err := os.MkdirAll(p.opts.logs, 0o755); err != nil {
			return false, err
		}
	}
	rep := describe(ctx, b)
	rep.Outcomes = p.opts.play(ctx, b, dir, os.Stderr)
	if ctx.Err() != nil {
		return false, errors.New("interrupted")
	}
	rep.print(os.Stdout)
	if out != nil {
		err = errors.Join(err, rep.write(out))
	}
	if p.opts.docFile != "" {
		err = errors.Join(err, rep.document(p.opts.docFile))
	}
	return rep.kept(), errors.Join(err, rep.failures())
}
