package vrrp

import (
	"fmt"
	"net/netip"
	"time"
)

// A ReasonKind is what decided a transition, or a note. The zero value is not
// valid.
type ReasonKind uint8

// The kinds of reason.
const (
	_ ReasonKind = iota
	// ReasonStartup: the virtual router has just started.
	ReasonStartup
	// ReasonOwner: it owns the addresses, so there is nobody to wait for.
	ReasonOwner
	// ReasonNobodyHeard: no advertisement arrived since it became backup.
	ReasonNobodyHeard
	// ReasonMasterSilent: the master's advertisements stopped.
	ReasonMasterSilent
	// ReasonMasterStopped: the master advertised priority 0.
	ReasonMasterStopped
	// ReasonPreempt: the master has a lower priority and preemption is on.
	ReasonPreempt
	// ReasonHigherPriority: another master has a higher priority.
	ReasonHigherPriority
	// ReasonHigherAddress: another master has the same priority and a higher
	// address (RFC 9568 §6.4.3).
	ReasonHigherAddress
	// ReasonFault: there is at least one fault.
	ReasonFault
	// ReasonRecovered: the last fault is gone.
	ReasonRecovered
	// ReasonRetry: it tries again to add its addresses, of which none could be
	// added before.
	ReasonRetry
	// ReasonShutdown: the operator stopped it.
	ReasonShutdown
	// ReasonLowerPriorityMaster: another master with a lower priority, or the
	// same and a lower address, was heard while master. (Note.)
	ReasonLowerPriorityMaster
	// ReasonLowerPriorityIgnored: a backup that may preempt heard a lower
	// priority and lets its timer run on. (Note.)
	ReasonLowerPriorityIgnored
	// ReasonSameAddress: another router sends advertisements from this
	// router's own address. (Note.)
	ReasonSameAddress
	// ReasonPriorityChanged: the effective priority changed. (Note.)
	ReasonPriorityChanged
	// ReasonGroup: it follows another member of its sync group; Cause is that
	// member's reason. The group itself has this reason, too.
	ReasonGroup
	// ReasonGroupWaits: the master-down timer ran out, but Member, or several,
	// of the sync group are not ready to be master. (Note.)
	ReasonGroupWaits
	// ReasonReconfigured: the configuration was changed while it ran.
	ReasonReconfigured
	// ReasonResumed: the process before this one died as master, a moment ago.
	ReasonResumed
	// ReasonHandedOver: the operator asked for a hand-over, and another router
	// has taken over. (Also a Note: from now on others are left to be master.)
	ReasonHandedOver
	// ReasonNobodyTookOver: the operator asked for a hand-over, and nobody was
	// there. (Note.)
	ReasonNobodyTookOver
	// ReasonGap: this router did not run for longer than the master-down
	// interval.
	ReasonGap
	// ReasonLeaseExpired: the kernel removed the addresses, because they were not
	// renewed in time.
	ReasonLeaseExpired
	// ReasonAddressLost: addresses were removed by somebody else
	// (on_address_loss: resign).
	ReasonAddressLost
	// ReasonContested: another router owns the addresses, too. (Note.)
	ReasonContested
	// ReasonContestEnded: it is not heard any more. (Note.)
	ReasonContestEnded
	// ReasonHeld: the master-down timer ran out, but a router whose
	// configuration differs is heard. (Note.)
	ReasonHeld
)

var reasonNames = [...]string{
	ReasonStartup:              "startup",
	ReasonOwner:                "owner",
	ReasonNobodyHeard:          "nobody-heard",
	ReasonMasterSilent:         "master-silent",
	ReasonMasterStopped:        "master-stopped",
	ReasonPreempt:              "preempt",
	ReasonHigherPriority:       "higher-priority",
	ReasonHigherAddress:        "higher-address",
	ReasonFault:                "fault",
	ReasonRecovered:            "recovered",
	ReasonRetry:                "retry",
	ReasonShutdown:             "shutdown",
	ReasonLowerPriorityMaster:  "lower-priority-master",
	ReasonLowerPriorityIgnored: "lower-priority-ignored",
	ReasonSameAddress:          "same-address",
	ReasonPriorityChanged:      "priority-changed",
	ReasonGroup:                "group",
	ReasonGroupWaits:           "group-waits",
	ReasonReconfigured:         "reconfigured",
	ReasonResumed:              "resumed",
	ReasonHandedOver:           "handed-over",
	ReasonNobodyTookOver:       "nobody-took-over",
	ReasonGap:                  "gap",
	ReasonLeaseExpired:         "lease-expired",
	ReasonAddressLost:          "address-lost",
	ReasonContested:            "contested",
	ReasonContestEnded:         "contest-ended",
	ReasonHeld:                 "held",
}

// String returns a short lower-case name, fit for metrics and JSON.
func (k ReasonKind) String() string {
	if int(k) < len(reasonNames) && reasonNames[k] != "" {
		return reasonNames[k]
	}
	return fmt.Sprintf("ReasonKind(%d)", uint8(k))
}

// A Reason says what decided a transition: the packet, the timer, the fault.
// Which fields are set depends on Kind.
type Reason struct {
	Kind           ReasonKind
	Peer           netip.Addr    // the router that was heard
	PeerPriority   uint8         // and the priority it advertised
	Priority       uint8         // this router's priority at the time; 0 for a sync group
	PriorityBefore uint8         // what it was, for ReasonPriorityChanged
	Elapsed        time.Duration // how long nothing was heard, or this router did not run
	MAC            MAC           // the host that announces an address of ours, for ReasonContested
	Addrs          []Address     // those that it is about: lost, expired, contested
	Faults         []Fault       // those present, or for ReasonRecovered those that went
	Group          string        // the sync group, for ReasonGroup and ReasonGroupWaits of a member
	Member         string        // which member decided, or is waited for
	Cause          *Reason       // that member's reason, for ReasonGroup; never changes
}

// String says in one sentence, without a full stop, what happened.
func (r Reason) String() string {
	switch r.Kind {
	case ReasonStartup:
		return "started"
	case ReasonOwner:
		return "owns the addresses (priority 255)"
	case ReasonNobodyHeard:
		return fmt.Sprintf("no advertisement heard for %s", round(r.Elapsed))
	case ReasonMasterSilent:
		return fmt.Sprintf("master %s (priority %d) silent for %s", r.Peer, r.PeerPriority, round(r.Elapsed))
	case ReasonMasterStopped:
		return fmt.Sprintf("master %s gave mastership up (it advertised priority 0)", r.Peer)
	case ReasonPreempt:
		return fmt.Sprintf("preempts %s: its priority is %d, ours is %d", r.Peer, r.PeerPriority, r.Priority)
	case ReasonHigherPriority:
		return fmt.Sprintf("%s has the higher priority: %d, ours is %d", r.Peer, r.PeerPriority, r.Priority)
	case ReasonHigherAddress:
		return fmt.Sprintf("%s has the same priority %d and the higher address", r.Peer, r.PeerPriority)
	case ReasonFault:
		return faultList(r.Faults)
	case ReasonRecovered:
		return "recovered from: " + faultList(r.Faults)
	case ReasonRetry:
		return "tries its addresses again"
	case ReasonShutdown:
		return "stopped by the operator"
	case ReasonLowerPriorityMaster:
		if r.PeerPriority == r.Priority {
			return fmt.Sprintf("%s is master too, with the same priority %d and a lower address", r.Peer, r.PeerPriority)
		}
		return fmt.Sprintf("%s is master too, with the lower priority %d (ours is %d)", r.Peer, r.PeerPriority, r.Priority)
	case ReasonLowerPriorityIgnored:
		return fmt.Sprintf("master %s has the lower priority %d (ours is %d); taking over when the timer runs out", r.Peer, r.PeerPriority, r.Priority)
	case ReasonSameAddress:
		return fmt.Sprintf("another router advertises from our own address %s", r.Peer)
	case ReasonPriorityChanged:
		return fmt.Sprintf("effective priority changed from %d to %d", r.PriorityBefore, r.Priority)
	case ReasonGroup:
		if r.Cause != nil {
			s := fmt.Sprintf("%s: %s", r.Member, r.Cause)
			if r.Group != "" {
				s = fmt.Sprintf("sync group %s: %s", r.Group, s)
			}
			return s
		}
	case ReasonReconfigured:
		if r.Peer.IsValid() {
			return fmt.Sprintf("the configuration was changed, and %s (priority %d) is master", r.Peer, r.PeerPriority)
		}
		return "the configuration was changed"
	case ReasonResumed:
		return "goes on as master after a restart"
	case ReasonHandedOver:
		if r.Peer.IsValid() {
			return fmt.Sprintf("handed over to %s (priority %d) by the operator", r.Peer, r.PeerPriority)
		}
		return "left to others by the operator"
	case ReasonNobodyTookOver:
		return "the operator asked for a hand-over, and nobody took over"
	case ReasonGap:
		return fmt.Sprintf("did not run for %s; listening before anything else", round(r.Elapsed))
	case ReasonLeaseExpired:
		return "was not alive for so long that the kernel removed " + joined(r.Addrs)
	case ReasonAddressLost:
		return "somebody removed " + joined(r.Addrs)
	case ReasonContested:
		if r.Peer.IsValid() {
			return fmt.Sprintf("%s, with priority %d, is master too", r.Peer, r.PeerPriority)
		}
		return fmt.Sprintf("%s answers for %s, too", r.MAC, joined(r.Addrs))
	case ReasonContestEnded:
		if r.Peer.IsValid() {
			return fmt.Sprintf("%s is not heard as master any more", r.Peer)
		}
		return fmt.Sprintf("%s does not announce our addresses any more", r.MAC)
	case ReasonHeld:
		return fmt.Sprintf("could be master, but %s, whose configuration differs, is", r.Peer)
	case ReasonGroupWaits:
		return fmt.Sprintf("could be master, but sync group %s waits for %s", r.Group, r.Member)
	}
	return r.Kind.String()
}

// round cuts a duration to what a person wants to read.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
