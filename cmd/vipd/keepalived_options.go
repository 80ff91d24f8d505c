package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A keepalivedMode is what a command line in keepalived's manner is about.
type keepalivedMode uint8

const (
	keepalivedRun      keepalivedMode = iota
	keepalivedTest                    // -t
	keepalivedVersion                 // -v
	keepalivedHelp                    // -h
	keepalivedSignal                  // --signum
	keepalivedCanStart                // --can-start
)

// A keepalivedCall is a command line in keepalived's manner, read.
type keepalivedCall struct {
	keepalivedOptions
	mode       keepalivedMode
	foreground bool           // -n
	testLog    string         // -t=FILE; empty: standard error
	signal     syscall.Signal // --signum
	pidFile    string         // -p; empty: the default
	vrrpPID    string         // -r; empty: the default
	// warnings are what is ignored, a line each.
	warnings []string

	vrrpOnly, checkersOnly bool

	console bool // the log goes to standard error
	logged  bool // why it ended is in the log there
}

// takes says whether an option has an argument.
type takes uint8

const (
	nothing takes = iota
	required
	optional // only attached: -tFILE, --config-test=FILE
)

// A keepalivedOption is one option of keepalived.
type keepalivedOption struct {
	short byte   // 0: none
	long  string // empty: none
	takes takes
	help  string // in the list of options; empty: not listed
	// apply takes the option. It fails for a bad argument, and for what must
	// not be passed over.
	apply func(c *keepalivedCall, arg string) error
}

// errStop ends the reading of a command line: what comes after does not matter.
var errStop = errors.New("no further option matters")

// flagged is an option that sets something.
func flagged(set func(*keepalivedCall)) func(*keepalivedCall, string) error {
	return func(c *keepalivedCall, _ string) error { set(c); return nil }
}

// accepted is an option that asks for what vipd does anyway.
func accepted(*keepalivedCall, string) error { return nil }

// passedOver is an option that scripts pass and that means nothing here.
func passedOver(name, why string) func(*keepalivedCall, string) error {
	return func(c *keepalivedCall, _ string) error {
		c.warnings = append(c.warnings, fmt.Sprintf("%s is ignored: %s", name, why))
		return nil
	}
}

// refused is an option whose effect is missed if it is passed over.
func refused(name, why string) func(*keepalivedCall, string) error {
	return func(*keepalivedCall, string) error { return fmt.Errorf("%s is not supported: %s", name, why) }
}

const (
	noLVS  = "vipd does not do LVS, nor its health checks"
	noBFD  = "vipd does not do BFD"
	noSNMP = "vipd does not do SNMP; it has metrics and a local API"
	noDev  = "it is for keepalived's developers"
)

// keepalivedTable returns keepalived's options. Those that only matter to the
// parts that vipd does not have are ignored by name, as the same command line
// starts all of keepalived; those that ask for something else than to run or to
// check VRRP are refused.
func keepalivedTable() []keepalivedOption {
	return []keepalivedOption{
		{'f', "use-file", required, "FILE: the configuration, default " + keepalivedFiles[0], func(c *keepalivedCall, arg string) error { c.File = arg; return nil }},
		{'P', "vrrp", nothing, "VRRP only, which is all there is", flagged(func(c *keepalivedCall) { c.vrrpOnly = true })},
		{'C', "check", nothing, "", flagged(func(c *keepalivedCall) { c.checkersOnly = true })},
		{'B', "no_bfd", nothing, "", passedOver("-B (--no_bfd)", noBFD)},
		{0, "all", nothing, "", passedOver("--all", "vipd is one process")},
		{'l', "log-console", nothing, "log to standard error", flagged(func(c *keepalivedCall) { c.Log.Console = true })},
		{'D', "log-detail", nothing, "log more; twice: for debugging", flagged(func(c *keepalivedCall) { c.Detail++ })},
		{'S', "log-facility", required, "0-7, local0-local7, user or daemon: the facility of syslog", facility},
		{'g', "log-file", optional, "[FILE]: log to a file as well, default keepalived.log in $TMPDIR or /tmp", func(c *keepalivedCall, arg string) error {
			c.Log.File = arg
			if arg == "" {
				c.Log.File = defaultLogFile()
			}
			return nil
		}},
		{0, "flush-log-file", nothing, "", accepted},
		{'G', "no-syslog", nothing, "do not log to syslog", flagged(func(c *keepalivedCall) { c.Log.Syslog = false })},
		{'u', "umask", required, "MASK: for the files that are written on a signal, default 0177", umask},
		{'X', "release-vips", nothing, "remove addresses whenever they are not held, as vipd always does", accepted},
		{'V', "dont-release-vrrp", nothing, "leave addresses where they are on exit, and tell nobody", flagged(func(c *keepalivedCall) { c.KeepAddresses = true })},
		{'I', "dont-release-ipvs", nothing, "", passedOver("-I (--dont-release-ipvs)", noLVS)},
		{'R', "dont-respawn", nothing, "vipd is one process: it never respawns", accepted},
		{'n', "dont-fork", nothing, "run in the foreground", flagged(func(c *keepalivedCall) { c.foreground = true })},
		{'d', "dump-conf", nothing, "log the configuration at the start", flagged(func(c *keepalivedCall) { c.DumpConfig = true })},
		{'p', "pid", required, "FILE: for the process id, default " + defaultPIDFile, func(c *keepalivedCall, arg string) error { c.pidFile = arg; return nil }},
		{'r', "vrrp_pid", required, "FILE: for the process id again, default " + defaultVRRPPIDFile, func(c *keepalivedCall, arg string) error { c.vrrpPID = arg; return nil }},
		{'c', "checkers_pid", required, "", passedOver("-c (--checkers_pid)", noLVS)},
		{'b', "bfd_pid", required, "", passedOver("-b (--bfd_pid)", noBFD)},
		{'a', "address-monitoring", nothing, "", passedOver("-a (--address-monitoring)", "`ip monitor address` shows changes of addresses")},
		{'s', "namespace", required, "NAME: run in this network namespace", namespace},
		{'e', "all-config", nothing, "", passedOver("-e (--all-config)", "include_check in the configuration says which files must be there")},
		{'i', "config-id", required, "ID: for lines that begin with @, default the host's name", func(c *keepalivedCall, arg string) error { c.ConfigID = arg; return nil }},
		{0, "run-dir", required, "DIR: vipd's own, for the control socket, default " + defaultRunDir, func(c *keepalivedCall, arg string) error { c.RunDir = arg; return nil }},
		{0, "signum", required, "NAME: print the number of the signal: STOP, RELOAD, DATA, STATS, STATS_CLEAR or JSON", func(c *keepalivedCall, arg string) error {
			sig, ok := keepalivedSignals[arg]
			if !ok {
				return fmt.Errorf("unknown sigfunc %s", arg)
			}
			c.mode, c.signal = keepalivedSignal, sig
			return errStop
		}},
		{'t', "config-test", optional, "[=FILE]: check the configuration, and write what is wrong to standard error or to FILE", func(c *keepalivedCall, arg string) error {
			c.mode, c.testLog = keepalivedTest, arg
			return nil
		}},
		{0, "can-start", nothing, "say whether the daemon would start with the other options", flagged(func(c *keepalivedCall) { c.mode = keepalivedCanStart })},
		{'v', "version", nothing, "print the version", func(c *keepalivedCall, _ string) error { c.mode = keepalivedVersion; return errStop }},
		{'h', "help", nothing, "print this", func(c *keepalivedCall, _ string) error { c.mode = keepalivedHelp; return errStop }},

		{'x', "snmp", nothing, "", passedOver("-x (--snmp)", noSNMP)},
		{'A', "snmp-agent-socket", required, "", passedOver("-A (--snmp-agent-socket)", noSNMP)},
		{'m', "core-dump", nothing, "", passedOver("-m (--core-dump)", "a crash is in the log")},
		{'M', "core-dump-pattern", optional, "", passedOver("-M (--core-dump-pattern)", "a crash is in the log")},
		{'T', "genhash", nothing, "", refused("-T (--genhash)", noLVS)},
		{'L', "mem-check-log", nothing, "", refused("-L (--mem-check-log)", noDev)},
		{0, "no-mem-check", nothing, "", refused("--no-mem-check", noDev)},
		{0, "openssl-mem-check", nothing, "", refused("--openssl-mem-check", noDev)},
		{0, "ignore-sigint", nothing, "", refused("--ignore-sigint", noDev)},
		{0, "debug", optional, "", refused("--debug", noDev+"; -D twice logs the most")},
		{0, "perf", optional, "", refused("--perf", noDev)},
		{0, "config-fd", required, "", refused("--config-fd", noDev)},
	}
}

// keepalivedSignals are the signals by the names of --signum. The real-time ones
// are counted as the C library does, which keeps the first two to itself.
var keepalivedSignals = map[string]syscall.Signal{
	"STOP": syscall.SIGTERM, "RELOAD": syscall.SIGHUP, "DATA": syscall.SIGUSR1, "STATS": syscall.SIGUSR2,
	"STATS_CLEAR": 63, // SIGRTMAX-1
	"JSON":        36, // SIGRTMIN+2
}

// Facilities of syslog (RFC 5424 §6.2.1).
const (
	facilityUser   = 1
	facilityDaemon = 3
	facilityLocal0 = 16
)

func facility(c *keepalivedCall, arg string) error {
	switch arg {
	case "user":
		c.Log.Facility = facilityUser
		return nil
	case "daemon":
		c.Log.Facility = facilityDaemon
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(arg, "local"), 10, 8)
	if err != nil || n > 7 {
		// As keepalived has it: this is no reason not to start.
		c.warnings = append(c.warnings, fmt.Sprintf("-S (--log-facility) is ignored: %q is none of 0-7, local0-local7, user and daemon", arg))
		return nil
	}
	c.Log.Facility = facilityLocal0 + int(n)
	return nil
}

func umask(c *keepalivedCall, arg string) error {
	mask, err := strconv.ParseUint(arg, 0, 16)
	if err != nil || mask > 0o777 {
		return fmt.Errorf("-u (--umask): %q is not a number from 0 to 0777", arg)
	}
	// The owner can always read and write them.
	c.DumpMode = 0o600 | 0o666&^fs.FileMode(mask)
	return nil
}

func namespace(c *keepalivedCall, arg string) error {
	if arg == "." || arg == ".." || strings.Contains(arg, "/") {
		return fmt.Errorf("-s (--namespace): %q is not the name of a network namespace", arg)
	}
	c.Namespace = arg
	return nil
}

// parseKeepalived reads a command line by the rules of getopt_long(3), as
// keepalived does: short options in clusters, long ones shortened as long as
// they are unambiguous, options behind other arguments. Everything that is wrong
// is in the error.
func parseKeepalived(args []string) (*keepalivedCall, error) {
	c := &keepalivedCall{}
	c.Log = keepalivedLog{Syslog: true, Facility: facilityDaemon}
	table := keepalivedTable()
	var errs []error
	var rest []string
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "--" {
			rest = append(rest, args...)
			break
		}
		var err error
		switch {
		case strings.HasPrefix(word, "--"):
			args, err = c.long(table, word[2:], args)
		case len(word) > 1 && word[0] == '-':
			args, err = c.cluster(table, word[1:], args)
		default:
			rest = append(rest, word)
		}
		if errors.Is(err, errStop) {
			return c, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if c.checkersOnly {
		if c.vrrpOnly {
			c.warnings = append(c.warnings, "-C (--check) is ignored: "+noLVS)
		} else {
			// To run VRRP would be the opposite of what is asked for, and next
			// to the keepalived that does it a second router of the same name.
			errs = append(errs, errors.New("-C (--check) is not supported: "+noLVS+", and this asks for nothing else"))
		}
	}
	if len(rest) > 0 {
		c.warnings = append(c.warnings, "unexpected arguments are ignored: "+strings.Join(rest, " "))
	}
	return c, errors.Join(errs...)
}

// long reads one long option. It returns the arguments that are left.
func (c *keepalivedCall) long(table []keepalivedOption, word string, args []string) ([]string, error) {
	name, value, attached := strings.Cut(word, "=")
	found := -1
	for i, o := range table {
		if o.long == name && name != "" {
			found = i
			break
		}
		if o.long != "" && name != "" && strings.HasPrefix(o.long, name) {
			if found >= 0 {
				return args, fmt.Errorf("option --%s is ambiguous", name)
			}
			found = i
			// An exact match further on is better.
			if exact := slices.IndexFunc(table, func(o keepalivedOption) bool { return o.long == name }); exact >= 0 {
				found = exact
				break
			}
		}
	}
	if found < 0 {
		return args, fmt.Errorf("unknown option --%s", name)
	}
	o := table[found]
	switch {
	case o.takes == nothing && attached:
		return args, fmt.Errorf("option --%s takes no argument", o.long)
	case o.takes == required && !attached && len(args) > 0:
		value, args = args[0], args[1:]
	}
	if o.takes == required && value == "" {
		return args, fmt.Errorf("missing parameter for option --%s", o.long)
	}
	return args, o.apply(c, value)
}

// cluster reads the short options of one word. It returns the arguments that are
// left.
func (c *keepalivedCall) cluster(table []keepalivedOption, word string, args []string) ([]string, error) {
	var errs []error
	for len(word) > 0 {
		letter := word[0]
		word = word[1:]
		found := slices.IndexFunc(table, func(o keepalivedOption) bool { return o.short == letter })
		if found < 0 {
			errs = append(errs, fmt.Errorf("unknown option -%c", letter))
			continue
		}
		o := table[found]
		value := ""
		if o.takes != nothing {
			value, word = word, ""
		}
		if o.takes == required && value == "" {
			if len(args) == 0 {
				errs = append(errs, fmt.Errorf("missing parameter for option -%c", letter))
				break
			}
			value, args = args[0], args[1:]
		}
		if err := o.apply(c, value); err != nil {
			if errors.Is(err, errStop) {
				return args, err
			}
			errs = append(errs, err)
		}
	}
	return args, errors.Join(errs...)
}

// usage returns the list of options.
func (c *keepalivedCall) usage(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [OPTION...]\n", name)
	for _, o := range keepalivedTable() {
		if o.help == "" {
			continue
		}
		short := "    "
		if o.short != 0 {
			short = "-" + string(o.short) + ", "
		}
		fmt.Fprintf(&b, "  %s--%-18s %s\n", short, o.long, o.help)
	}
	b.WriteString(`
Options of keepalived for LVS, BFD and SNMP are accepted and ignored, with a
line that says so, or refused where something else than VRRP is asked for.

Exit codes of --config-test: 0 nothing to complain about, 4 there is no such
file, 5 errors or warnings, 6 scripts that others than root can change.
`)
	return b.String()
}
