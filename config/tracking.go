package config

import (
	"net/netip"
	"regexp"
	"time"
)

// A Command is a program with its arguments, and who runs it.
type Command struct {
	Argv []string // at least one word; without a slash the first is looked for in PATH
	// User and Group run it (keepalived: script_user, user), by name or number;
	// an empty Group is the user's own. User is never empty.
	User, Group string
	// Supplementary gives it the user's other groups, too (keepalived: a colon
	// before the group).
	Supplementary bool
	Pos           Pos
}

// A Script is a vrrp_script: a program whose exit code is a result.
type Script struct {
	Name string
	Pos  Pos
	Command
	Timing
	Weight  int // -253 to 253, of references that do not say otherwise
	Reverse bool
	// IgnoreUnrunnable has a script that cannot be run count for nothing
	// rather than as failed (unrunnable: ignore).
	IgnoreUnrunnable bool
}

// Timing says how often something is checked and when results count.
type Timing struct {
	Interval, Timeout time.Duration // more than 0
	Rise, Fall        int           // at least 1
}

// A Check is a vrrp_check: one that vipd does by itself. Exactly one of its
// pointers is not nil.
type Check struct {
	Name string
	Pos  Pos
	Timing
	Weight  int // -253 to 253
	Reverse bool

	TCP         *TCPCheck
	HTTP        *HTTPCheck
	DNS         *DNSCheck
	ICMP        *ICMPCheck
	SystemdUnit *SystemdUnitCheck
}

// A TCPCheck succeeds when a connection can be made.
type TCPCheck struct {
	Address string // host:port, the host an address or a name
}

// An HTTPCheck succeeds when a request is answered as expected.
type HTTPCheck struct {
	URL     string // http or https
	Method  string // GET unless given
	Host    string // the Host header and TLS server name; empty: the URL's
	Headers []Header
	Status  []StatusRange  // empty: 200 to 399
	Body    *regexp.Regexp // nil: not looked at
	Verify  bool           // of the certificate, with https
	CAFile  string         // empty: the system's
}

// A Header is one header of a request.
type Header struct{ Name, Value string }

// A StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ First, Last int }

// A DNSCheck succeeds when a server answers a question.
type DNSCheck struct {
	Server string   // host:port
	Name   string   // what is asked for
	Type   string   // A, AAAA, CNAME, MX, NS, TXT or PTR
	Expect []string // answers of which at least one must be given; empty: any
}

// An ICMPCheck succeeds when an echo request is answered.
type ICMPCheck struct {
	// Address is whom to ask; zero: the gateway of the default route of
	// Family, of Interface if that is set.
	Address   netip.Addr
	Family    int    // 4 or 6, for the gateway
	Interface string // empty: as routed
}

// A SystemdUnitCheck succeeds while a unit is active.
type SystemdUnitCheck struct {
	Unit string // with its suffix
}

// A ParamMatch says how the arguments of a process are compared.
type ParamMatch uint8

// The ways to compare arguments (keepalived: param_match).
const (
	ParamNone    ParamMatch = iota // not at all: the name is enough
	ParamExact                     // they are those given
	ParamPartial                   // others may follow those given
	ParamInitial                   // others may follow, and the last one given may be longer
)

// A Process is a vrrp_track_process: up while enough processes run.
type Process struct {
	Name    string
	Pos     Pos
	Argv    []string // the program's name, and the arguments if Match is not ParamNone
	Match   ParamMatch
	Weight  int // -254 to 254
	Reverse bool
	Quorum  int // least number of processes
	// QuorumMax is the largest number of processes; -1: any.
	QuorumMax      int
	ForkDelay      time.Duration // that a change because of more processes must last
	TerminateDelay time.Duration // that a change because of fewer must last
	FullCommand    bool          // compare the first word of the command line, not the name the kernel keeps (15 octets)
}

// A TrackedFile is a track_file: it holds a number that is multiplied by the
// weight.
type TrackedFile struct {
	Name    string
	Pos     Pos
	Path    string
	Weight  int // -254 to 254
	Reverse bool
	// Init is written to the file at the start if the file does not exist, or,
	// with InitOverwrite, in any case; nil: nothing is written.
	Init          *int
	InitOverwrite bool
}

// A TrackKind is a kind of tracked object.
type TrackKind uint8

// The kinds of tracked objects.
const (
	_ TrackKind = iota
	TrackScript
	TrackCheck
	TrackProcess
	TrackFile
	TrackInterface
)

// String returns the kind as the keyword track_… has it.
func (k TrackKind) String() string {
	switch k {
	case TrackScript:
		return "script"
	case TrackCheck:
		return "check"
	case TrackProcess:
		return "process"
	case TrackFile:
		return "file"
	case TrackInterface:
		return "interface"
	}
	return "unknown"
}

// A Track is a reference of an instance to a tracked object.
type Track struct {
	Kind    TrackKind
	Name    string
	Weight  int // 0: its failure is a fault
	Reverse bool
	Group   string // the sync group whose reference it is; empty: the instance's own
	Pos     Pos
}

// A SyncGroup is a vrrp_sync_group: instances that are master together or not
// at all.
type SyncGroup struct {
	Name    string
	Pos     Pos
	Members []string // names of instances, each in one group only
	Notify  Notify   // Deleted and MasterRxLowerPri are always nil
	// TrackingWeight allows weights other than 0 in the group
	// (keepalived: sync_group_tracking_weight).
	TrackingWeight        bool
	NotifyPriorityChanges bool
	SMTPAlert             bool
}

// Notify holds the scripts that are run when something happens; nil: none.
type Notify struct {
	Master, Backup, Fault, Stop, Deleted *Command
	MasterRxLowerPri                     *Command
	Any                                  *Command // notify: gets the event as arguments
	// ReportDeleted has the removal of the instance reported as DELETED, with
	// or without a script, rather than as FAULT (keepalived: notify_deleted).
	ReportDeleted bool
}

// A FIFO is a named pipe that events are written to.
type FIFO struct {
	Path        string
	User, Group string   // owner of the pipe; empty: vipd's
	Script      *Command // nil: none; is run with the path as its last argument
	Pos         Pos
}

// Mail says how to send mail.
type Mail struct {
	From           string // empty: vipd at the host's name
	To             []string
	Server         string // host or address
	Port           int
	Helo           string // empty: the host name
	ConnectTimeout time.Duration
	NoFaults       bool // no_email_faults
}
