// Package control is the local API of a running vipd: HTTP and JSON over a
// unix socket in the run directory, and the locks that keep two daemons from
// running the same thing.
//
// The API is versioned by its path, /v1, and additive: a field or a path may
// be added, none is renamed or removed. The command line, metrics and every
// other reader share it.
package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"
)

// A Status is the v1 document: everything a running vipd knows about itself.
// Its lists and maps are never null in JSON; a field that is documented as
// optional is absent when there is nothing to say.
type Status struct {
	// Time is when the status was taken, by the daemon's clock.
	Time      time.Time  `json:"time"`
	Daemon    Daemon     `json:"daemon"`
	Instances []Instance `json:"instances"`
	// SyncGroups are the vrrp_sync_groups.
	SyncGroups []SyncGroup `json:"sync_groups"`
	// Checks are the objects that at least one instance tracks.
	Checks []Check `json:"checks"`
}

// A Daemon is the process itself.
type Daemon struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Host       string    `json:"host,omitempty"`      // optional: the host's name
	RouterID   string    `json:"router_id,omitempty"` // optional: global_defs.router_id
	Started    time.Time `json:"started"`
	ConfigFile string    `json:"config_file"`
	RunDir     string    `json:"run_dir"`
	// Degraded is set when the daemon runs, but not as it should; Reasons say
	// why.
	Degraded bool     `json:"degraded"`
	Reasons  []string `json:"reasons"`
	// Reload is what came of the last reload; absent if there was none.
	Reload *Reload `json:"reload,omitempty"`
	// Gaps are the times at which the process did not run at all.
	Gaps Gaps `json:"gaps"`
}

// An Instance is one vrrp_instance.
type Instance struct {
	Name      string `json:"name"`
	Interface string `json:"interface"` // empty for an instance without one
	VRID      uint8  `json:"vrid"`
	Family    Family `json:"family"`
	Version   uint8  `json:"version"` // 2 or 3

	State  State     `json:"state"`
	Since  time.Time `json:"since"`  // when the state was entered
	Reason Reason    `json:"reason"` // why it was entered

	// Priority is the effective one, BasePriority the configured one.
	Priority     uint8 `json:"priority"`
	BasePriority uint8 `json:"base_priority"`
	// Want is the state the configuration asks to start in (keepalived: state).
	Want State `json:"want"`
	// Owner is set when this router owns the addresses (priority 255).
	Owner          bool         `json:"owner"`
	AdvertInterval Seconds      `json:"advert_interval_seconds"`
	Preempt        bool         `json:"preempt"`
	PreemptDelay   Seconds      `json:"preempt_delay_seconds"`
	SourceAddress  netip.Addr   `json:"source_address,omitzero"` // optional
	Peers          []netip.Addr `json:"peers"`                   // not empty: unicast

	// Master is the router that is master as far as this one knows, or null.
	Master *Master `json:"master"`
	Timers Timers  `json:"timers"`

	Addresses []Address `json:"addresses"`

	// Degraded is set when the instance works, but not as it should, for
	// example as a master that lacks one of its addresses.
	Degraded     bool   `json:"degraded"`
	DegradedText string `json:"degraded_text,omitempty"`

	Faults     []Fault      `json:"faults"`
	Mismatches []Mismatch   `json:"mismatches"`
	Counters   Counters     `json:"counters"`
	History    []Transition `json:"history"` // oldest first

	// SyncGroup is the vrrp_sync_group it belongs to.
	SyncGroup string `json:"sync_group,omitempty"` // optional

	// Tracks are the tracked objects that count for it, its own and those of
	// its sync group.
	Tracks []Track `json:"tracks"`
	// Arithmetic is how the priority comes about, as Arithmetic writes it;
	// absent when nothing is added to the configured one.
	Arithmetic string `json:"arithmetic,omitempty"`
	// Pending are the checks without which it does not start: it waits for
	// their first result.
	Pending []string `json:"pending"`

	// Notifications are the last runs of its notify scripts, oldest first.
	Notifications []Notification `json:"notifications"`

	// Advice is what is wrong with the configuration as far as only what was
	// heard of other routers shows it, in sentences.
	Advice []string `json:"advice"`

	// Contested are the other routers that claim to be master, or to have the
	// addresses, while this one is master. Only a master has any.
	Contested []Rival `json:"contested"`
	// Lease is what the kernel does with the addresses when this process does
	// nothing any more. Absent if that is not known.
	Lease *Lease `json:"lease,omitempty"`
	// HandingOver is set while addresses are kept that another router is taking
	// over.
	HandingOver bool `json:"handing_over"`
	// Yielded is set while the operator wants others to be master: after a
	// failover, until it is master again or the failover is ended.
	Yielded bool `json:"yielded"`
	// Held is who keeps a backup from taking over although its configuration
	// differs. Absent if nobody does.
	Held *Held `json:"held,omitempty"`
	// Gaps are the times for which the instance did not run although it should
	// have.
	Gaps Gaps `json:"gaps"`
	// Events are what happened besides transitions, oldest first.
	Events []Event `json:"events"`
}

// MaxEvents is how many events of an instance are kept.
const MaxEvents = 64

// A Rival is another router that owns what this one, as master, owns.
type Rival struct {
	// Address is where its advertisements come from, and Priority what they
	// say; absent and 0 if only an announcement of an address was heard.
	Address  netip.Addr `json:"address,omitzero"`
	Priority uint8      `json:"priority"`
	// MAC is the sender of such an announcement, and VIP what it announced.
	MAC       string     `json:"mac,omitempty"`
	VIP       netip.Addr `json:"vip,omitzero"`
	Since     time.Time  `json:"since"`
	LastHeard time.Time  `json:"last_heard"`
}

// A Lease is how long the kernel keeps the addresses of a master that does not
// renew them any more.
type Lease struct {
	// Length is counted from the last advertisement; 0 if there is no lease.
	Length Seconds `json:"length_seconds"`
	// Overlap is for how long at most two routers answer for the addresses
	// after this one died; it means nothing without a lease.
	Overlap Seconds `json:"overlap_seconds"`
	// Off is why all addresses, or some of them, have no lease.
	Off string `json:"off,omitempty"`
}

// A Held is a router that is heard, and whose configuration differs.
type Held struct {
	Peer  netip.Addr `json:"peer"`
	Until time.Time  `json:"until"` // at least, if it is not heard again
}

// Gaps are times for which something did not run: the host was suspended, or
// too busy, or the process was stopped.
type Gaps struct {
	Count   uint64    `json:"count"`
	Longest Seconds   `json:"longest_seconds"`
	Last    time.Time `json:"last,omitzero"` // when the last one was noticed
}

// An Event is something that happened to an instance without its state having
// to change.
type Event struct {
	At   time.Time `json:"at"`
	Kind EventKind `json:"kind"`
	Text string    `json:"text"` // a sentence fit for people
}

// An EventKind is a word fit for programs. Readers must expect words they do not
// know.
type EventKind string

// The kinds of events.
const (
	EventContested       EventKind = "contested"
	EventContestEnded    EventKind = "contest-ended"
	EventGap             EventKind = "gap"
	EventAddressRestored EventKind = "address-restored"
	EventLeaseExpired    EventKind = "lease-expired"
	EventResumed         EventKind = "resumed"
	EventHandedOver      EventKind = "handed-over"
	EventNobodyTookOver  EventKind = "nobody-took-over"
	EventHeld            EventKind = "held"
)

// A Reason says what decided a transition.
type Reason struct {
	Kind string `json:"kind"` // a word fit for programs: "master-silent"
	Text string `json:"text"` // a sentence fit for people
}

// A Master is the master of a virtual router.
type Master struct {
	// Self is set when this router is the master.
	Self     bool       `json:"self"`
	Address  netip.Addr `json:"address,omitzero"`
	Priority uint8      `json:"priority"`
	Interval Seconds    `json:"interval_seconds"`
	// LastHeard is when its last advertisement arrived; absent for Self.
	LastHeard time.Time `json:"last_heard,omitzero"`
}

// Timers are the pending timers of an instance; those that are not running are
// absent.
type Timers struct {
	MasterDownAt time.Time `json:"master_down_at,omitzero"` // backup: takes over then
	AdvertAt     time.Time `json:"advert_at,omitzero"`      // master: advertises next
	PreemptAt    time.Time `json:"preempt_at,omitzero"`     // backup: preempt_delay ends
}

// An Address is a virtual address, and what became of it on this host.
type Address struct {
	Address   netip.Prefix `json:"address"` // with its prefix length, not masked
	Interface string       `json:"interface"`
	Label     string       `json:"label,omitempty"`
	// Advertised tells the addresses in the advertisements from those of
	// virtual_ipaddress_excluded.
	Advertised bool `json:"advertised"`
	// Present is set when the kernel has the address on the interface now.
	Present bool `json:"present"`
	// Error is why it could not be added or removed.
	Error string `json:"error,omitempty"`
	// Lease is what is left of its lifetime in the kernel; absent if it has
	// none.
	Lease Seconds `json:"lease_seconds,omitzero"`
}

// A Fault is one condition that keeps an instance out of the election.
type Fault struct {
	Kind  string    `json:"kind"` // a word fit for programs: "interface-down"
	Name  string    `json:"name"` // what is at fault: an interface, a check
	Text  string    `json:"text"` // a sentence fit for people
	Since time.Time `json:"since"`
	// Hint is what to do about it, if there is more to say than the kind
	// tells.
	Hint string `json:"hint,omitempty"`
}

// A Mismatch is a disagreement with another router of the same virtual router.
type Mismatch struct {
	Peer  netip.Addr `json:"peer"`
	Text  string     `json:"text"`
	Since time.Time  `json:"since"`
}

// Counters count from the start of the instance. They never go down.
type Counters struct {
	Received             uint64 `json:"received"` // valid advertisements
	Sent                 uint64 `json:"sent"`
	BecomeMaster         uint64 `json:"become_master"`
	ReleaseMaster        uint64 `json:"release_master"`
	PriorityZeroReceived uint64 `json:"priority_zero_received"`
	PriorityZeroSent     uint64 `json:"priority_zero_sent"`
	// Drops are the advertisements for this instance that were refused, by
	// reason.
	Drops map[string]uint64 `json:"drops"`
	// SocketDrops are the datagrams the kernel had no room for on the
	// socket this instance shares with others.
	SocketDrops uint64 `json:"socket_drops"`
	// UnknownVRID are the advertisements on that socket for virtual routers
	// that are not configured.
	UnknownVRID       uint64 `json:"unknown_vrid"`
	SendErrors        uint64 `json:"send_errors"`
	AnnouncementsSent uint64 `json:"announcements_sent"` // gratuitous ARP and unsolicited NA
	// Restored are the addresses of a master that somebody else removed and
	// that were put back.
	Restored uint64 `json:"restored"`
	// LeaseExpired are the addresses that the kernel removed because they were
	// not renewed in time.
	LeaseExpired uint64 `json:"lease_expired"`
	// Resumed is how often it went on as master after the process died.
	Resumed uint64 `json:"resumed"`
	// HandedOver is how often the operator's failover made another router
	// master.
	HandedOver uint64 `json:"handed_over"`
	// Contested is how often another router began to claim the addresses of
	// this master.
	Contested uint64 `json:"contested"`
	// Gaps is how often it did not run for too long.
	Gaps uint64 `json:"gaps"`
}

// A Transition is one change of state.
type Transition struct {
	At     time.Time `json:"at"`
	From   State     `json:"from"`
	To     State     `json:"to"`
	Reason Reason    `json:"reason"`
}

// A State is a state of an instance. Readers must expect words they do not
// know.
type State string

// The states of an instance.
const (
	StateInit   State = "init"
	StateBackup State = "backup"
	StateMaster State = "master"
	StateFault  State = "fault"
)

// A Family is an address family.
type Family string

// The address families.
const (
	FamilyIPv4 Family = "ipv4"
	FamilyIPv6 Family = "ipv6"
)

// Seconds is a duration that is a number of seconds in JSON.
type Seconds time.Duration

// Duration returns s as a time.Duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// String formats s as a time.Duration does.
func (s Seconds) String() string { return time.Duration(s).String() }

// MarshalJSON returns the exact number of seconds, down to the nanosecond.
func (s Seconds) MarshalJSON() ([]byte, error) {
	neg, u := s < 0, uint64(s)
	if neg {
		u = -u
	}
	b := make([]byte, 0, 24)
	if neg {
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, u/1e9, 10)
	if frac := u % 1e9; frac != 0 {
		b = fmt.Appendf(b, ".%09d", frac)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return b, nil
}

// UnmarshalJSON accepts any JSON number that fits a time.Duration.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("control: reading seconds: %w", err)
	}
	if n == "" { // null: leave the value alone, as encoding/json does
		return nil
	}
	// A plain decimal number is a duration literal without its unit, which
	// keeps every digit; only an exponent needs the detour over a float.
	d, err := time.ParseDuration(n.String() + "s")
	if err != nil {
		f, ferr := n.Float64()
		if ferr != nil || f > maxSeconds || f < -maxSeconds {
			return fmt.Errorf("control: %s seconds do not fit a duration", n)
		}
		d = time.Duration(f * float64(time.Second))
	}
	*s = Seconds(d)
	return nil
}

// maxSeconds is a little under what a time.Duration holds, so that rounding
// cannot overflow it.
const maxSeconds = 9.2e9

// The types below are encoded field by field, without another MarshalJSON
// inside: encoding/json reads again, on every level, what such a method returns.
type (
	plainDaemon   Daemon
	plainInstance Instance
)

// plain returns d with empty lists where there are none.
func (d Daemon) plain() plainDaemon {
	d.Reasons = list(d.Reasons)
	return plainDaemon(d)
}

// plain returns i with empty lists where there are none.
func (i Instance) plain() plainInstance {
	i.Peers = list(i.Peers)
	i.Addresses = list(i.Addresses)
	i.Faults = list(i.Faults)
	i.Mismatches = list(i.Mismatches)
	i.History = list(i.History)
	i.Tracks = list(i.Tracks)
	i.Pending = list(i.Pending)
	i.Notifications = notifications(i.Notifications)
	i.Advice = list(i.Advice)
	i.Contested = list(i.Contested)
	i.Events = list(i.Events)
	if i.Counters.Drops == nil {
		i.Counters.Drops = map[string]uint64{}
	}
	return plainInstance(i)
}

// MarshalJSON writes the document with empty lists where there are none.
func (s Status) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := s.write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// MarshalJSON writes the document with empty lists where there are none.
func (d Daemon) MarshalJSON() ([]byte, error) { return json.Marshal(d.plain()) }

// MarshalJSON writes the document with empty lists where there are none.
func (i Instance) MarshalJSON() ([]byte, error) { return json.Marshal(i.plain()) }

// MarshalJSON writes the document with empty lists where there are none.
func (c Check) MarshalJSON() ([]byte, error) { return json.Marshal(c.plain()) }

// MarshalJSON writes the document with empty lists where there are none.
func (g SyncGroup) MarshalJSON() ([]byte, error) { return json.Marshal(g.plain()) }

// write writes the document one instance at a time, so that thousands of them
// do not have to fit into the daemon's memory a second time.
func (s Status) write(w io.Writer) error {
	head, err := json.Marshal(struct {
		Time   time.Time   `json:"time"`
		Daemon plainDaemon `json:"daemon"`
	}{s.Time, s.Daemon.plain()})
	if err != nil {
		return fmt.Errorf("control: writing the status: %w", err)
	}
	if _, err := w.Write(bytes.TrimSuffix(head, []byte("}"))); err != nil {
		return err
	}
	if err := writeList(w, "instances", s.Instances, Instance.plain); err != nil {
		return err
	}
	if err := writeList(w, "sync_groups", s.SyncGroups, SyncGroup.plain); err != nil {
		return err
	}
	if err := writeList(w, "checks", s.Checks, Check.plain); err != nil {
		return err
	}
	_, err = io.WriteString(w, "}")
	return err
}

// writeList writes one field of the document, a list, an element at a time.
func writeList[T, P any](w io.Writer, field string, elements []T, plain func(T) P) error {
	if _, err := fmt.Fprintf(w, ",%q:[", field); err != nil {
		return err
	}
	for n, e := range elements {
		b, err := json.Marshal(plain(e))
		if err != nil {
			return fmt.Errorf("control: writing the status, %s: %w", field, err)
		}
		if n > 0 {
			b = append([]byte(","), b...)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "]")
	return err
}

// list returns s, or an empty list in place of nil, which JSON writes as null:
// readers that loop over a list trip over that.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
