package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// An Event is something that happened to a virtual router. Its dynamic type is
// one of [Startup], [Resume], [Shutdown], [Failover], [Wake], [Gap], [Received],
// [Health], [Link], [AddressReady], [AddressLost], [AddressExpired],
// [ForeignOwner] and [Reconfigure].
type Event interface {
	fmt.Stringer
	event()
}

// Startup is the Startup event of RFC 9568 §6.4.1. Until it arrives a machine
// only remembers what [Health] and [Link] tell it. If checks are pending then,
// it goes on to wait in [Init].
type Startup struct{}

// Resume takes the place of [Startup] in a process that has been started again so
// soon after the last one died that no other router can have missed it: the
// machine goes on as master, whatever checks are pending, and the transition has
// [ReasonResumed]. A fault ends that at once, and is a change of state as ever.
// Whether it is that soon is for the driver to find out; see [MayResume].
type Resume struct{}

// Shutdown is the Shutdown event of RFC 9568 §6.4: the machine leaves the
// election for good. A master advertises priority 0; if [Config.Handover] is set
// it keeps its addresses until another router has taken over, see
// [Machine.HandingOver]. A second Shutdown ends that at once.
type Shutdown struct{}

// Failover hands mastership to another router because the operator wants it so: a
// master advertises priority 0 and goes on to answer for its addresses. Once
// another master is heard it is a backup that takes no mastership away from
// anybody, whatever the priorities are, until it has been master again; a backup
// is from now on. If nobody takes over in time it goes on as master as if nothing
// had happened.
type Failover struct {
	// End takes a former Failover back: the priorities decide again.
	End bool
}

// Gap says that the host did not run for a while: a suspend or a pause that time,
// as the driver measures it, does not show. What does show, a machine notices
// itself. A master that was away for longer than its master-down interval gives
// up its addresses and listens; a backup starts its timer anew.
type Gap struct {
	Length time.Duration
}

// Wake says that the time [Machine.NextWake] named has come. A wake that is not
// due does nothing.
type Wake struct {
	// Early lets an advertisement that is due within this time go out now, so
	// that a driver can send those of many machines in one batch. It moves
	// neither the schedule of advertisements nor a master-down timer.
	Early time.Duration
}

// Received is an advertisement that passed every receive check.
type Received struct {
	Src netip.Addr
	Adv Advertisement
	// At is when the kernel received it, at or before the time of the step.
	// The zero value stands for the time of the step.
	At time.Time
	// Differs is set when the advertisement would be rejected by a router that
	// follows the RFC to the letter, but is a sign of life all the same: TTL,
	// checksum and authentication are right, and only the interval or the list
	// of addresses is another one. It makes nobody master or backup, but while
	// such are heard a backup does not take over: for three of the longer
	// intervals after the last.
	Differs bool
}

// Health is what the tracked scripts, processes, files and other checks have to
// say together, all of it: it replaces the previous Health. Interfaces, tracked
// or not, are the business of [Link].
type Health struct {
	// Priority is the effective priority, 1 to 254; 0 stands for the
	// configured one. The owner's priority never changes (RFC 9568 §5.2.4).
	Priority uint8
	// Faults are the checks with weight 0 that have failed.
	Faults []Fault
	// Pending names the checks with weight 0 that have no result yet. They
	// hold back a machine that has just been started, silently, and one that
	// would leave FaultState; a fault is entered all the same. A backup or
	// master takes no notice of them.
	Pending []string
}

// Link is the condition of the interface a virtual router runs on, all of it:
// it replaces the previous Link.
type Link struct {
	// Source is the address advertisements are sent from. It decides between
	// equal priorities.
	Source netip.Addr
	// Faults keep the virtual router from running: link down, no source
	// address, no socket.
	Faults []Fault
}

// AddressReady reports what became of addresses that the machine asked for by
// [AddAddresses].
type AddressReady struct {
	// Epoch is that of the request, or of a later one. What was asked for again
	// since is not ready.
	Epoch uint64
	Addrs []Address
	// Err is nil when all of Addrs are in place.
	Err error
}

// AddressLost reports that addresses which were in place have been removed by
// somebody else.
type AddressLost struct {
	Addrs []Address
}

// AddressExpired reports that the kernel has removed addresses because their
// lease ran out: this router was not alive for too long. Unlike [AddressLost] that
// is loss of mastership, as another router may have taken over; one that has not yet is
// told, by priority 0, not to wait any longer.
type AddressExpired struct {
	Addrs []Address
}

// ForeignOwner reports that another host announces an address as its own, by
// gratuitous ARP, an unsolicited neighbour advertisement, or as the sender of
// other ARP. A master in a hand-over gives this address up; any other master is
// contested.
type ForeignOwner struct {
	Addr Address
	MAC  MAC
	// At is when it was received; the zero value stands for the time of the step.
	At time.Time
}

// A MAC is a hardware address of Ethernet.
type MAC [6]byte

// String formats the address as Linux does: "02:00:5e:10:00:01".
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Reconfigure gives a virtual router another configuration while it runs. It
// keeps its state: a master stays master, whatever its priority or `state` is
// now, and only what keeps it from running, or no longer does, changes that.
//
//   - A master asks for the addresses that are new, and then for those that the
//     configuration has lost to be removed; the others are not touched and not
//     announced. It advertises at once if what it advertises is not the same any
//     more. Otherwise its schedule stays as it is, but for an interval that has
//     become shorter.
//   - A backup's timer runs out when it would have, had the configuration always
//     been this one, but not before now: it counts from when it was started, with
//     the interval learned from the master in version 3. The last advertisement
//     that was ignored for its lower priority is judged anew.
//   - A startup delay that is running ends when it would have.
//   - An attempt to have addresses in place is made again at once if there are
//     other addresses now.
//
// A configuration that is the same does nothing at all. The VRID is expected to
// be the same, as is the interface; what has another one is another virtual
// router. The driver keeps the statistics.
//
// An address that moves between virtual routers of one host must never be gone
// while both, or the one that gets it, are master. Each machine asks for what is
// new before it has anything removed, but of the other it knows nothing. So the
// driver steps all machines that a new configuration concerns, carries out the
// additions of all of them, and then their removals; and it does not remove an
// address from an interface as long as any machine wants it there. Who wanted it
// last removes it, whoever put it there.
type Reconfigure struct {
	Config Config
	// Health replaces the previous Health in the same step, as what is tracked
	// and the priority it counts from may have changed, too. If it is nil, the
	// faults and pending checks stay, and an effective priority other than the
	// configured one moves by as much as that does.
	Health *Health
	// Advertise says that something has changed in the advertisements, or in who
	// gets them, that the machine does not know of: the password, the peers,
	// which of the addresses are advertised.
	Advertise bool
}

func (Startup) event()        {}
func (Resume) event()         {}
func (Shutdown) event()       {}
func (Failover) event()       {}
func (Wake) event()           {}
func (Gap) event()            {}
func (Received) event()       {}
func (Health) event()         {}
func (Link) event()           {}
func (AddressReady) event()   {}
func (AddressLost) event()    {}
func (AddressExpired) event() {}
func (ForeignOwner) event()   {}
func (Reconfigure) event()    {}

func (Startup) String() string  { return "startup" }
func (Shutdown) String() string { return "shutdown" }
func (Wake) String() string     { return "wake" }
func (Resume) String() string   { return "resume" }
func (e Gap) String() string    { return "gap of " + e.Length.String() }

func (e Failover) String() string {
	if e.End {
		return "end of failover"
	}
	return "failover"
}

func (e AddressExpired) String() string { return "addresses expired " + addressList(e.Addrs) }

func (e ForeignOwner) String() string {
	return fmt.Sprintf("%s announced by %s", e.Addr, e.MAC)
}

func (e Received) String() string {
	if e.Differs {
		return fmt.Sprintf("received priority %d from %s, interval %s, with another configuration", e.Adv.Priority, e.Src, e.Adv.Interval)
	}
	return fmt.Sprintf("received priority %d from %s, interval %s", e.Adv.Priority, e.Src, e.Adv.Interval)
}

func (e Health) String() string {
	s := fmt.Sprintf("health priority %d, %s", e.Priority, faultList(e.Faults))
	if len(e.Pending) > 0 {
		s += ", no result yet: " + strings.Join(e.Pending, ", ")
	}
	return s
}

func (e Link) String() string {
	return fmt.Sprintf("link source %s, %s", e.Source, faultList(e.Faults))
}

func (e AddressReady) String() string {
	if e.Err != nil {
		return fmt.Sprintf("addresses failed %s: %v", addressList(e.Addrs), e.Err)
	}
	return "addresses ready " + addressList(e.Addrs)
}

func (e Reconfigure) String() string {
	s := fmt.Sprintf("reconfigure: %s, priority %d, interval %s, addresses %s",
		e.Config.Version, e.Config.Priority, e.Config.Interval, addressList(e.Config.Addresses))
	if e.Health != nil {
		s += "; " + e.Health.String()
	}
	return s
}

func (e AddressLost) String() string { return "addresses lost " + addressList(e.Addrs) }

// An Address is one address a virtual router holds, and the interface it
// belongs on.
type Address struct {
	IP        netip.Addr
	Interface string
}

// String returns "192.0.2.10 on eth0", or the address alone if it has no
// interface.
func (a Address) String() string {
	if a.Interface == "" {
		return a.IP.String()
	}
	return a.IP.String() + " on " + a.Interface
}

func addressList(addrs []Address) string { return "[" + joined(addrs) + "]" }

// joined lists addresses in a sentence.
func joined(addrs []Address) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}

// A FaultKind is a kind of condition that keeps a virtual router out of the
// election. The zero value is not valid.
type FaultKind uint8

// The kinds of fault.
const (
	_ FaultKind = iota
	// FaultInterfaceMissing: the interface does not exist.
	FaultInterfaceMissing
	// FaultInterfaceDown: the interface is administratively down or has no
	// carrier.
	FaultInterfaceDown
	// FaultNoSource: there is no address to send advertisements from.
	FaultNoSource
	// FaultSocket: there is no socket to receive and send advertisements by.
	FaultSocket
	// FaultTrackedInterface: an interface that is tracked, or that one of the
	// addresses belongs on, is missing or down.
	FaultTrackedInterface
	// FaultAddresses: not one of the addresses could be put in place.
	FaultAddresses
	// FaultCheck: a tracked check with weight 0 has failed.
	FaultCheck
	// FaultGroup: another member of the sync group, Name, is in fault.
	FaultGroup
	// FaultSilenced: the host refuses to send advertisements.
	FaultSilenced
)

// String returns a short lower-case name, fit for metrics and JSON.
func (k FaultKind) String() string {
	switch k {
	case FaultInterfaceMissing:
		return "interface-missing"
	case FaultInterfaceDown:
		return "interface-down"
	case FaultNoSource:
		return "no-source-address"
	case FaultSocket:
		return "socket"
	case FaultTrackedInterface:
		return "tracked-interface"
	case FaultAddresses:
		return "addresses"
	case FaultCheck:
		return "check"
	case FaultGroup:
		return "sync-group"
	case FaultSilenced:
		return "silenced"
	}
	return fmt.Sprintf("FaultKind(%d)", uint8(k))
}

// A Fault is one reason why a virtual router is in [Fault]. Faults form a set:
// the state is left when the last one is gone, not when one is.
type Fault struct {
	Kind FaultKind
	// Name is what is at fault: an interface, a check. It may be empty.
	Name string
	// Detail is free text for people. It may be empty.
	Detail string
}

// String says in words what is wrong.
func (f Fault) String() string {
	var s string
	switch f.Kind {
	case FaultInterfaceMissing:
		s = "interface " + f.Name + " does not exist"
	case FaultInterfaceDown:
		s = "interface " + f.Name + " is down"
	case FaultNoSource:
		s = "no source address on " + f.Name
	case FaultSocket:
		s = "no socket on " + f.Name
	case FaultTrackedInterface:
		s = "tracked interface " + f.Name + " is down"
	case FaultAddresses:
		s = "none of the addresses could be added"
	case FaultCheck:
		s = "check " + f.Name + " fails"
	case FaultGroup:
		s = "sync group member " + f.Name + " is in fault"
	case FaultSilenced:
		s = "advertisements cannot be sent on " + f.Name
	default:
		s = f.Kind.String() + " " + f.Name
	}
	if f.Detail != "" {
		s += " (" + f.Detail + ")"
	}
	return s
}

func faultList(faults []Fault) string {
	if len(faults) == 0 {
		return "no fault"
	}
	s := make([]string, len(faults))
	for i, f := range faults {
		s[i] = f.String()
	}
	return strings.Join(s, "; ")
}

// unionFaults returns the faults of all sets, each kind and name once.
func unionFaults(sets ...[]Fault) []Fault {
	var out []Fault
	for _, set := range sets {
		for _, f := range set {
			if !slices.ContainsFunc(out, func(g Fault) bool { return g.Kind == f.Kind && g.Name == f.Name }) {
				out = append(out, f)
			}
		}
	}
	return out
}
