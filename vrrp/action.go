package vrrp

import "fmt"

// An Action is something the driver of a [Machine] or [Group] has to do. Its dynamic type
// is one of [SendAdvertisement], [AddAddresses], [RemoveAddresses], [Announce],
// [Reannounce], [StopAnnouncing], [Transition] and [Note].
//
// The actions of one step are to be begun in their order; in particular an
// advertisement goes out before the addresses are touched. One that fails must
// not keep later ones from being carried out.
type Action interface {
	fmt.Stringer
	action()
}

// SendAdvertisement asks for one advertisement, to the group or to every
// unicast peer.
type SendAdvertisement struct {
	// Priority is the priority to advertise; [PriorityStop] gives mastership
	// up.
	Priority uint8
}

// AddAddresses asks for addresses to be in place. It is level-triggered: an
// address that is there already is ready. The driver answers with
// [AddressReady], for single addresses or many, and keeps trying those that
// failed until [RemoveAddresses].
//
// It adds to what was asked for since the last RemoveAddresses of all: a master
// whose configuration changes asks for its new addresses only.
type AddAddresses struct {
	// Epoch numbers the requests. An answer carries that of its request or, as
	// well, of a later one that the driver had at the time.
	Epoch uint64
	Addrs []Address
	// Restore is set when the addresses were in place and have been removed by
	// somebody else.
	Restore bool
}

// RemoveAddresses asks for addresses to be gone, and for announcing them to
// end at once.
//
// An address that another virtual router of the same host wants as well is to
// stay: see [Reconfigure].
type RemoveAddresses struct {
	// Addrs are those that the configuration has lost; nil: all there are.
	Addrs []Address
}

// Announce asks for gratuitous ARP or unsolicited neighbour advertisements for
// addresses that have just come into place.
type Announce struct {
	Addrs []Address
	// Settled is set on the first announcement after which every address has
	// either come into place or failed: the repeated rounds may begin
	// (keepalived: garp_master_repeat).
	Settled bool
}

// Reannounce asks for all addresses in place to be announced again, as after an
// advertisement of a lower priority (keepalived: garp_lower_prio_repeat).
type Reannounce struct{}

// StopAnnouncing asks for announcing the addresses to end at once, although they
// stay in place: another router is taking over, and this one only answers until
// it has. [RemoveAddresses] follows, or an [Announce] when nobody took over.
type StopAnnouncing struct{}

// Transition reports a change of state.
type Transition struct {
	From, To State
	Reason   Reason
}

// Note reports something worth telling an operator that changes no state.
type Note struct {
	Reason Reason
	State  State // in which it happened
}

func (SendAdvertisement) action() {}
func (AddAddresses) action()      {}
func (RemoveAddresses) action()   {}
func (Announce) action()          {}
func (Reannounce) action()        {}
func (StopAnnouncing) action()    {}
func (Transition) action()        {}
func (Note) action()              {}

func (a SendAdvertisement) String() string { return fmt.Sprintf("send priority %d", a.Priority) }

func (a AddAddresses) String() string {
	if a.Restore {
		return "restore addresses " + addressList(a.Addrs)
	}
	return "add addresses " + addressList(a.Addrs)
}

func (a RemoveAddresses) String() string {
	if a.Addrs == nil {
		return "remove addresses"
	}
	return "remove addresses " + addressList(a.Addrs)
}

func (a Announce) String() string {
	if a.Settled {
		return "announce " + addressList(a.Addrs) + ", settled"
	}
	return "announce " + addressList(a.Addrs)
}

func (Reannounce) String() string     { return "announce again" }
func (StopAnnouncing) String() string { return "stop announcing" }

func (a Transition) String() string {
	return fmt.Sprintf("transition %s -> %s: %s", a.From, a.To, a.Reason)
}

func (a Note) String() string { return "note: " + a.Reason.String() }
