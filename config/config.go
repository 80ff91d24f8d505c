// Package config reads the configuration of vipd into one typed [Config] in
// which every default is resolved and every value has been checked.
//
// A front-end turns a file into a tree of statements; one decoder, driven by a
// table of keywords, turns the tree into a Config. Keywords, blocks and values
// are those of keepalived.conf; docs/configuration.md is the reference, and a
// test holds it against the table.
//
// Everything that is wrong with a file is reported at once, as [Diagnostics]
// with positions.
package config

import (
	"net/netip"
	"time"

	"vipd/vrrp"
)

// MaxAddresses is the largest number of addresses that one instance can
// advertise: the count is one octet on the wire (RFC 9568 §5.2.5). What fits
// the MTU of the interface may be less.
const MaxAddresses = 255

// A Config is a whole configuration, ready to run.
type Config struct {
	Global    Global
	Instances []Instance // in the order of the file
	Files     []string   // the files it was read from, the main one first

	// The tracked objects, in the order of the file, whether an instance
	// tracks them or not. A name is unique among those of its kind.
	Scripts      []Script
	Checks       []Check
	Processes    []Process
	TrackedFiles []TrackedFile

	SyncGroups []SyncGroup

	// LeftOut are the instances of a keepalived.conf that cannot run. In YAML
	// there are none: there, such an instance is an error.
	LeftOut []LeftOut
}

// Global holds what applies to the daemon as a whole. Defaults that instances
// inherit are already in the instances.
type Global struct {
	RouterID        string        // empty: the host name
	RTPriority      int           // SCHED_RR priority 1-99; 0 leaves the scheduler alone
	Nice            int           // nice value -20..19; 0 leaves it alone
	StartupDelay    time.Duration // also in every instance
	GARPInterval    time.Duration // least time between two gratuitous ARPs on an interface
	GNAInterval     time.Duration // least time between two unsolicited NAs on an interface
	LogUnknownVRIDs bool

	ScriptSecurity bool          // enable_script_security
	NotifyTimeout  time.Duration // for how long a notify script may hold up the next one
	NotifyFIFOs    []FIFO        // notify_fifo, then vrrp_notify_fifo; those that are set
	Mail           *Mail         // nil: mail has not been configured

	StartupScript         *Command // nil: none
	StartupScriptTimeout  time.Duration
	ShutdownScript        *Command // nil: none
	ShutdownScriptTimeout time.Duration

	Dumps Dumps
}

// Dumps say where the files go that keepalived writes on a signal.
type Dumps struct {
	State, Statistics, JSON string // paths; empty: the default place
	JSONVersion             int    // 1 or 2
}

// An Instance is one virtual router.
type Instance struct {
	Name string
	Pos  Pos // of the name

	Interface string // empty only with Peers and SourceIP
	VRID      uint8
	Version   vrrp.Version
	Family    vrrp.Family

	// StartMaster is `state MASTER`, or priority 255 without a state. It does
	// not mean that the instance starts as master: only an owner does.
	StartMaster    bool
	Priority       uint8
	AdvertInterval time.Duration // v2: whole seconds; v3: steps of 10 ms

	Addresses []Address // advertised, all of Family, at most MaxAddresses
	Excluded  []Address // held while master, but not advertised

	AuthType vrrp.AuthType
	AuthData [8]byte

	Peers              []Peer     // not empty: adverts go to these by unicast
	SourceIP           netip.Addr // zero: the primary address of Interface
	Group              netip.Addr // zero when Peers is not empty
	TTL                int
	CheckUnicastSource bool // only with Peers
	Checksum           vrrp.Checksum

	Preempt          bool
	PreemptDelay     time.Duration
	StartupDelay     time.Duration
	DownTimerAdverts int
	GARP             GARP

	LowerPrioNoAdvert    bool
	HigherPrioSendAdvert bool
	SkipCheckAdvAddr     bool

	// TrackInterfaces are the interfaces, apart from the instance's own, that
	// must be up: those of track_interface, then those that addresses are on.
	TrackInterfaces  []string
	DontTrackPrimary bool
	TrackSourceIP    bool // only with SourceIP

	// Tracks are the tracked objects, the instance's own and those of its sync
	// group. An interface is among them only with a weight or with reverse:
	// the others are in TrackInterfaces.
	Tracks []Track

	SyncGroup string // empty: none

	// VIPLease is the lifetime that the addresses have in the kernel.
	VIPLease Lease
	// Handover lets a master that gives way keep its addresses until another one
	// has announced them. Without it they are removed at once, as in keepalived.
	Handover bool
	// HoldOnMismatch keeps a backup from taking over while a master is heard
	// whose interval or addresses merely differ from its own.
	HoldOnMismatch bool
	// ResignOnLoss makes a master whose address somebody removes a backup, as in
	// keepalived (on_address_loss: resign). Else the address is put back.
	ResignOnLoss bool

	Notify                Notify
	NotifyPriorityChanges bool
	SMTPAlert             bool
}

// GARP says when addresses are announced by gratuitous ARP or unsolicited NA.
type GARP struct {
	MasterDelay     time.Duration // second block after becoming master; 0: none
	MasterRepeat    int           // rounds in a block
	Refresh         time.Duration // period of announcements while master; 0: none
	RefreshRepeat   int           // rounds of a refresh
	LowerPrioDelay  time.Duration // second block after an advert of lower priority; 0: none
	LowerPrioRepeat int           // rounds in such a block; 0: no announcement
}

// An Address is one virtual address.
type Address struct {
	Prefix    netip.Prefix // the address with its prefix length, not masked
	Interface string       // never empty
	Label     string       // IPv4 only
	Scope     uint8        // as in rtnetlink; 0 is global
	Broadcast netip.Addr   // IPv4 only; zero: none
	Peer      netip.Prefix // point-to-point peer; Prefix is then a host's

	// Deprecated is an IPv6 preferred lifetime of 0: the address is answered
	// to, but no new connection uses it as its source.
	Deprecated        bool
	PreferredLifetime time.Duration // IPv6; 0: for ever, unless Deprecated

	DAD            bool // IPv6: perform duplicate address detection
	HomeAddress    bool // IPv6
	ManageTempAddr bool // IPv6
	NoPrefixRoute  bool
	AutoJoin       bool
	NoTrack        bool // a deletion by someone else is ignored

	Pos Pos
}

// A Peer is a router that adverts are exchanged with by unicast.
type Peer struct {
	Addr           netip.Addr
	MinTTL, MaxTTL int // of received adverts; -1: not checked
}
