// Package legacy writes what a running vipd knows in the files that keepalived
// writes on a signal, so that exporters and scripts made for keepalived go on
// working: the data dump of SIGUSR1, the statistics of SIGUSR2, and the JSON of
// SIGRTMIN+2 in its versions 1 and 2.
//
// The formats are those of keepalived 2.2.7, to the octet where both know a
// value. What is not there is what vipd has no value for. Where the formats of
// later versions differ the choice is that of 2.2.7, with one exception:
// passwords are masked, as they are from 2.4 on. In particular the block
// "Authentication Extension Errors" of 2.4 is left out of the statistics:
// nothing is ever counted there without auth_hmac, readers that look for names
// do not miss it, and those that count lines were written before it.
package legacy

import (
	"net/netip"
	"time"
)

// A Document is everything that the files tell.
type Document struct {
	Global    Global
	Instances []Instance
	Sockets   []Socket
	Groups    []Group
	// Scripts are the vrrp_scripts. Checks that keepalived does not have may
	// be listed as well: exporters show their results then.
	Scripts    []Script
	Files      []File
	Processes  []Process
	Interfaces []Interface
}

// A Global is what the data dump says about the daemon as a whole.
type Global struct {
	Namespace string // empty: the one it was started in
	RouterID  string
	Mail      *Mail // nil: mail has not been configured

	StartupScript         *Command
	StartupScriptTimeout  time.Duration
	ShutdownScript        *Command
	ShutdownScriptTimeout time.Duration

	NotifyFIFO, VRRPNotifyFIFO *FIFO
	NotifyPriorityChanges      bool

	Group4, Group6 netip.Addr // vrrp_mcast_group4, vrrp_mcast_group6
	GARPInterval   time.Duration
	GNAInterval    time.Duration
	// Version is the default of instances; 0: no default of theirs is known,
	// neither this one nor those that follow.
	Version              int
	GARP                 GARP
	DownTimerAdverts     int
	LowerPrioNoAdvert    bool
	HigherPrioSendAdvert bool
	CheckUnicastSource   bool
	SkipCheckAdvAddr     bool

	Nice            int // vrrp_priority
	RTPriority      int // vrrp_rt_priority
	ScriptSecurity  bool
	ScriptUser      *User // the default one; nil: not known
	StartupDelay    time.Duration
	LogUnknownVRIDs bool
}

// A User is who runs a script.
type User struct{ UID, GID uint32 }

// A Mail says where mail goes.
type Mail struct {
	Server         string // an address, as keepalived shows it, or a name
	Port           int
	Helo           string
	ConnectTimeout time.Duration
	From           string
	To             []string
	NoFaults       bool // no_email_faults
}

// A FIFO is a pipe that events are written to.
type FIFO struct {
	Path     string
	UID, GID uint32
	Script   *Command // nil: none
}

// A Command is a program with its arguments, and who runs it.
type Command struct {
	Argv []string
	User
}

// GARP says when addresses are announced.
type GARP struct {
	Delay, Refresh, LowerPrioDelay         time.Duration
	Repeat, RefreshRepeat, LowerPrioRepeat int
}

// A State is the state of an instance; the numbers are those of the JSON.
type State int

// The states.
const (
	Init State = iota
	Backup
	Master
	Fault
)

// String returns the word that the data dump has.
func (s State) String() string {
	switch s {
	case Init:
		return "INIT"
	case Backup:
		return "BACKUP"
	case Master:
		return "MASTER"
	case Fault:
		return "FAULT"
	}
	return "UNKNOWN"
}

// An Instance is one vrrp_instance.
type Instance struct {
	Name      string
	Version   int // 2 or 3
	IPv6      bool
	SyncGroup string // empty: none

	State State
	// Want is the state that keepalived would be making for: that of the
	// instance, except while a lost election or a sync group holds it back.
	Want State

	// The master as last heard of: shown for a backup, except for
	// MasterPriority, which the JSON has in any state, 0 if unknown.
	Master         netip.Addr
	MasterPriority int
	MasterInterval time.Duration

	ConfigFaults  int // shown as configured
	Faults        int // conditions that keep it in Fault now
	PendingChecks int // checks that it waits for before it starts

	LastTransition time.Time
	NextTimer      time.Time     // zero: no timer runs
	MasterDown     time.Duration // what the master-down timer is set to

	Interface string // empty: none
	// InterfaceIndex is shown with the IPv6 group.
	InterfaceIndex int
	VMAC           string // interface with the virtual MAC; empty: none

	DontTrackPrimary bool
	SkipCheckAdvAddr bool
	Strict           bool

	Source           netip.Addr // zero: none
	SourceConfigured bool       // mcast_src_ip or unicast_src_ip is given
	TrackSource      bool       // track_src_ip
	Group            netip.Addr // multicast; not used with Peers

	GARP                 GARP
	DownTimerAdverts     int
	LowerPrioNoAdvert    bool
	HigherPrioSendAdvert bool

	VRID              int
	Priority          int // configured
	EffectivePriority int
	TotalPriority     int // like EffectivePriority, before it is limited to 1-254; 0: the same

	AdvertInterval     time.Duration
	NoAccept           bool
	NoPreempt          bool
	PreemptDelay       time.Duration
	PromoteSecondaries bool
	Auth               Auth

	Addresses []Address
	Excluded  []Address

	Peers              []Peer // not empty: unicast
	TTL                int    // of unicast adverts
	CheckUnicastSource bool
	OldChecksum        bool // old_unicast_checksum

	// Descriptors are the receiving and the sending socket's. An instance
	// without sockets has -1 and -1, as in keepalived.
	Descriptors [2]int

	TrackInterfaces []Reference
	TrackScripts    []TrackedScript
	TrackFiles      []Reference
	TrackProcesses  []Reference

	SMTPAlert             bool
	NotifyDeleted         bool
	Notify                Notify
	NotifyPriorityChanges bool

	Statistics Statistics
}

// An Auth is a way of authentication. The secret is in no file.
type Auth int

// The ways of authentication; the numbers are those of the JSON.
const (
	AuthNone Auth = iota
	AuthPass
	AuthAH
)

// A Notify holds the scripts of an instance or a group; nil: none.
type Notify struct {
	Backup, Master, Fault, Stop, Deleted, Any, MasterRxLowerPri *Command
}

// An Address is one virtual address.
type Address struct {
	Prefix     netip.Prefix // with its prefix length, not masked
	Broadcast  netip.Addr   // zero: none
	Interface  string
	Scope      uint8 // as in rtnetlink
	Label      string
	Peer       netip.Prefix // zero: none
	HomeAddr   bool
	DAD        bool // duplicate address detection is done ("-nodad" switches nodad off)
	TempAddr   bool // mngtmpaddr
	NoPrefix   bool // noprefixroute
	AutoJoin   bool
	NoTrack    bool
	Deprecated bool
	// Preferred is the preferred lifetime of an IPv6 address; 0: for ever.
	Preferred time.Duration
	Set       bool // it is in place
}

// A Peer is a router that adverts are exchanged with by unicast.
type Peer struct {
	Address        netip.Addr
	MinTTL, MaxTTL int // -1: not checked
}

// A Reference names a tracked object, or the instance that tracks it.
type Reference struct {
	Name    string
	Weight  int
	Reverse bool
}

// A TrackedScript is a reference to a script. The JSON has its command, the
// data dump its name.
type TrackedScript struct {
	Reference
	Argv []string
}

// Statistics count from the start, or from the last time they were cleared.
type Statistics struct {
	Received, Sent, BecomeMaster, ReleaseMaster                 uint64
	PacketLength, AdvertInterval, TTL, InvalidType, AddressList uint64
	InvalidAuthType, AuthTypeMismatch, AuthFailure              uint64
	PriorityZeroReceived, PriorityZeroSent                      uint64
}

// Since returns what has been counted since s was base: a daemon whose counters
// never go down clears its statistics by remembering them.
func (s Statistics) Since(base Statistics) Statistics {
	counts, bases := s.all(), base.all()
	for i, n := range counts {
		*n -= min(*bases[i], *n)
	}
	return s
}

// all returns every counter.
func (s *Statistics) all() []*uint64 {
	return []*uint64{
		&s.Received, &s.Sent, &s.BecomeMaster, &s.ReleaseMaster,
		&s.PacketLength, &s.AdvertInterval, &s.TTL, &s.InvalidType, &s.AddressList,
		&s.InvalidAuthType, &s.AuthTypeMismatch, &s.AuthFailure,
		&s.PriorityZeroReceived, &s.PriorityZeroSent,
	}
}

// A Socket is one pair of sockets and who shares it.
type Socket struct {
	Descriptors [2]int
	Interface   string
	IPv6        bool
	Unicast     netip.Addr // the source; zero: multicast
	Members     []Member
}

// A Member is an instance on a socket.
type Member struct {
	Name string
	VRID int
}

// A Group is a vrrp_sync_group.
type Group struct {
	Name        string
	State       State
	Faults      int // members in Fault
	Inits       int // members in Init
	Members     []string
	TrackWeight bool // sync_group_tracking_weight
	SMTPAlert   bool
	Priorities  bool // notify_priority_changes
	Interfaces  []Reference
	Scripts     []Reference
	Files       []Reference
	Processes   []Reference
	Notify      Notify
}

// A Progress says what a script is doing.
type Progress int

// The states of a script.
const (
	Idle Progress = iota
	Running
	Terminating // SIGTERM has been sent
	Killing     // SIGKILL has been sent
)

// String returns the word that the data dump has.
func (p Progress) String() string {
	switch p {
	case Idle:
		return "idle"
	case Running:
		return "running"
	case Terminating:
		return "requested termination"
	case Killing:
		return "forcing termination"
	}
	return "unknown"
}

// A Script is a vrrp_script.
type Script struct {
	Name              string
	Command           Command
	Interval, Timeout time.Duration
	Weight            int
	Reverse           bool
	Rise, Fall        int
	// Result is keepalived's counter: 0 to Rise-1 is bad, Rise to Rise+Fall-1
	// is good; Good decides if it is negative.
	Result   int
	Good     bool
	Insecure bool
	// Pending is set before the first result.
	Pending   bool
	Progress  Progress
	Instances []Reference
}

// A File is a track_file.
type File struct {
	Name, Path string
	Value      int64
	Weight     int
	Reverse    bool
	Instances  []Reference
}

// A Match says how the arguments of a process are compared.
type Match int

// The ways to compare arguments (param_match).
const (
	MatchNone Match = iota
	MatchExact
	MatchPartial
	MatchInitial
)

// A Process is a vrrp_track_process.
type Process struct {
	Name                      string
	Argv                      []string
	Match                     Match
	Quorum                    int
	QuorumMax                 int // -1: any
	Current                   int
	HaveQuorum                bool
	Weight                    int
	Reverse                   bool
	TerminateDelay, ForkDelay time.Duration
	TerminateTimer, ForkTimer bool // they run now
	FullCommand               bool
	Instances                 []Reference
}

// An Interface is a network interface.
type Interface struct {
	Name         string
	Index        int // 0: it is not there
	IPv4, IPv6   []netip.Addr
	MAC          []byte
	Broadcast    []byte
	Up, Running  bool
	NoBroadcast  bool
	Loopback     bool
	PointToPoint bool
	NoARP        bool
	NoMulticast  bool
	MTU          int
	HardwareType int // ARPHRD_…
	Instances    []Reference
}
