package netif

import (
	"golang.org/x/sys/unix"
)

// A Link is a network interface.
type Link struct {
	Index  int
	Name   string
	MAC    [6]byte // zero if the interface has no Ethernet address
	MTU    int
	Kind   string // "macvlan", "vlan", "veth", …; empty for hardware
	Parent int    // index of the interface this one sits on, in this namespace; 0 if none
	Master int    // index of the bridge, bond or VRF this one is a port of; 0 if none

	Up           bool // IFF_UP: switched on by the administrator
	Running      bool // IFF_RUNNING: operational, with carrier
	Loopback     bool
	NoARP        bool
	Multicast    bool
	PointToPoint bool

	baseDown bool // the base of a macvlan or ipvlan interface is not ready
}

// Ready reports whether packets can be expected to pass: the interface is up
// and running, and if it is a macvlan or ipvlan its base is too. That is
// keepalived's meaning of an interface being up. (The state of a VLAN interface
// follows that of its parent in the kernel.)
func (l Link) Ready() bool { return l.ready() && !l.baseDown }

func (l Link) ready() bool { return l.Up && l.Running }

// hasBase reports whether l depends on its parent without the kernel telling so
// in l's own flags. A veth's parent is merely its other end.
func (l Link) hasBase() bool {
	switch l.Kind {
	case "macvlan", "macvtap", "ipvlan", "ipvtap":
		return l.Parent != 0
	}
	return false
}

// extFilterSkipStats is RTEXT_FILTER_SKIP_STATS: an interface's counters are
// half of its description and not wanted.
const extFilterSkipStats = 1 << 3

// linkRequest is the body of a request for one interface, or with an empty name
// of a dump of all.
func linkRequest(name string) []byte {
	b := make([]byte, unix.SizeofIfInfomsg, unix.SizeofIfInfomsg+32)
	b = appendUint32(b, unix.IFLA_EXT_MASK, extFilterSkipStats)
	if name != "" {
		b = appendText(b, unix.IFLA_IFNAME, name)
	}
	return b
}

// parseLink decodes the body of an RTM_NEWLINK or RTM_DELLINK message. What the
// message leaves out stays as it was: some notifications (of wireless drivers)
// carry one attribute only. Messages about a bridge's view of its ports are not
// about links.
func parseLink(b []byte, was Link) (Link, bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return Link{}, false
	}
	l := was
	l.Index = int(int32(native.Uint32(b[4:])))
	flags := native.Uint32(b[8:])
	l.Up = flags&unix.IFF_UP != 0
	l.Running = flags&unix.IFF_RUNNING != 0
	l.Loopback = flags&unix.IFF_LOOPBACK != 0
	l.NoARP = flags&unix.IFF_NOARP != 0
	l.Multicast = flags&unix.IFF_MULTICAST != 0
	l.PointToPoint = flags&unix.IFF_POINTOPOINT != 0
	parent, master, elsewhere, named := 0, 0, false, false
	for typ, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = text(v)
			named = true
		case unix.IFLA_ADDRESS:
			l.MAC = [6]byte{}
			if len(v) == len(l.MAC) {
				copy(l.MAC[:], v)
			}
		case unix.IFLA_MTU:
			if len(v) >= 4 {
				l.MTU = int(native.Uint32(v))
			}
		case unix.IFLA_LINK:
			if len(v) >= 4 {
				parent = int(native.Uint32(v))
			}
		case unix.IFLA_MASTER:
			if len(v) >= 4 {
				master = int(native.Uint32(v))
			}
		case unix.IFLA_LINK_NETNSID:
			elsewhere = true
		case unix.IFLA_LINKINFO:
			for typ, v := range attrs(v) {
				if typ == unix.IFLA_INFO_KIND {
					l.Kind = text(v)
				}
			}
		}
	}
	if named {
		// A whole description: a parent or master it does not name is none. An index
		// in another namespace means nothing here.
		l.Parent, l.Master = parent, master
		if elsewhere {
			l.Parent = 0
		}
	}
	if l.Parent == l.Index {
		l.Parent = 0
	}
	return l, l.Index > 0
}
