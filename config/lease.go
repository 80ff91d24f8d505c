package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vipd/vrrp"
)

// A LeaseMode says how the lifetime of the addresses of a master is found.
type LeaseMode uint8

// The modes of a lease.
const (
	LeaseAuto  LeaseMode = iota // from the master-down interval, see [vrrp.LeaseLength]
	LeaseOff                    // none: the kernel keeps the addresses until they are removed
	LeaseFixed                  // as configured
)

// String returns the mode as it is written, but for that of a given length.
func (m LeaseMode) String() string {
	switch m {
	case LeaseAuto:
		return "auto"
	case LeaseOff:
		return "off"
	case LeaseFixed:
		return "fixed"
	}
	return fmt.Sprintf("LeaseMode(%d)", uint8(m))
}

// A Lease is for how long the kernel keeps the addresses of a master that does
// not renew them any more (vip_lease).
type Lease struct {
	Mode   LeaseMode
	Length time.Duration // of LeaseFixed: whole seconds, at least one
}

// String returns the lease as it is written: "auto", "off" or "3s".
func (l Lease) String() string {
	if l.Mode == LeaseFixed {
		return l.Length.String()
	}
	return l.Mode.String()
}

// leaseMax bounds a lease: a day.
const leaseMax = 24 * time.Hour

// parseLease reads a lease.
func parseLease(s string) (Lease, *fault) {
	switch s {
	case "auto":
		return Lease{}, nil
	case "off":
		return Lease{Mode: LeaseOff}, nil
	}
	d, f := parseDuration(s, 0, leaseMax)
	switch {
	case f != nil && (s == "" || s[0] < '0' || s[0] > '9') && s[:min(len(s), 1)] != "-":
		f = &fault{quote(s) + " is neither auto nor off nor a duration", ""}
		switch near := nearest(s, []string{"auto", "off"}); {
		case near != "":
			f.hint = "did you mean " + near + "?"
		case s == "no" || s == "false" || s == "none":
			f.hint = "did you mean off?"
		case s == "on" || s == "yes" || s == "true":
			f.hint = "did you mean auto?"
		}
	case f != nil:
		_, f = parseDuration(s, time.Second, leaseMax) // names the right bounds
	case d == 0:
		f = &fault{"a lease has at least 1 s, not 0", "off, if the addresses are to stay"}
	case d < time.Second:
		f = &fault{fmt.Sprintf("a lease has at least 1 s, not %s", seconds(d)), "the kernel counts lifetimes in whole seconds"}
	case d%time.Second != 0:
		f = &fault{fmt.Sprintf("a lease has whole seconds, not %s", seconds(d)), "the kernel counts lifetimes in whole seconds"}
	}
	if f != nil {
		return Lease{}, f
	}
	return Lease{LeaseFixed, d}, nil
}

// parseAddressLoss reads what to do about lost addresses; true is resign.
func parseAddressLoss(s string) (bool, *fault) {
	words := []string{"restore", "resign"}
	switch s {
	case words[0]:
		return false, nil
	case words[1]:
		return true, nil
	}
	f := faultf("%s is neither restore nor resign", quote(s))
	if near := nearest(s, words); near != "" {
		f.hint = "did you mean " + near + "?"
	}
	return false, f
}

// addressLossText is the text of what to do about lost addresses.
func addressLossText(resign bool) string {
	if resign {
		return "resign"
	}
	return "restore"
}

// leaseText is the text of a lease, as other durations are written.
func leaseText(l Lease) string {
	if l.Mode == LeaseFixed {
		return durationText(l.Length)
	}
	return l.String()
}

// ownership resolves the keywords about who has the addresses when.
func (c *completer) ownership(in *rawInstance, out *Instance) {
	g := &c.global.own
	out.VIPLease = in.own.lease.or(g.lease.v)
	out.Handover = in.own.handover.or(g.handover.or(true))
	out.HoldOnMismatch = in.own.holdOnMismatch.or(g.holdOnMismatch.or(true))
	out.ResignOnLoss = in.own.resignOnLoss.or(g.resignOnLoss.v)
	if out.VIPLease.Mode != LeaseFixed || in.bad("vip_lease") || in.bad("advert_int") || c.versionUnknown(in) {
		return
	}
	n, pos := in.seen["vip_lease"], in.own.lease.pos
	if !in.own.lease.set {
		n, pos = c.globalSeen["vip_lease"], g.lease.pos
	}
	of := ""
	if !in.own.lease.set {
		of = " of " + out.Name
	}
	length := out.VIPLease.Length
	down := vrrp.MasterDownInterval(out.Version, out.Priority, out.AdvertInterval, out.DownTimerAdverts)
	if !vrrp.LeaseRenewable(length, out.AdvertInterval) {
		f := &fault{
			fmt.Sprintf("vip_lease %s is too short for the adverts%s, every %s: the addresses would be gone between two of them", seconds(length), of, seconds(out.AdvertInterval)),
			fmt.Sprintf("at least %s, or auto", seconds((out.AdvertInterval + time.Second).Truncate(time.Second))),
		}
		if !c.dialect.strict {
			f.message += ": auto is used"
			f.hint = strings.TrimSuffix(f.hint, ", or auto")
		}
		out.VIPLease = Lease{}
		c.complainAt(pos, n, f)
		return
	}
	if length <= down+time.Second && !(length <= time.Second && length > down) || c.longLease[pos] {
		return
	}
	c.longLease[pos] = true // one mistake, however many instances
	overlap := vrrp.LeaseOverlap(length, out.AdvertInterval, out.DownTimerAdverts)
	f := &fault{
		fmt.Sprintf("vip_lease %s is longer than the %s after which a backup%s takes over: when this node dies, two routers answer for the addresses for up to %s", seconds(length), seconds(down.Round(10*time.Millisecond)), of, seconds(overlap)),
		"auto is as long as it can be",
	}
	if length <= time.Second {
		f.hint = "the kernel counts in whole seconds: only longer adverts make that less"
	}
	c.warn(pos, n, f)
}

// lintLeases warns of interfaces with too many addresses for leases.
func (c *completer) lintLeases(out *Config) {
	crowded := out.UnleasedIPv6()
	counts := make(map[string]int, len(crowded))
	for i := range out.Instances {
		inst := &out.Instances[i]
		if inst.VIPLease.Mode == LeaseOff {
			continue
		}
		for _, a := range slices.Concat(inst.Addresses, inst.Excluded) {
			if !a.Prefix.Addr().Is6() {
				continue
			}
			counts[a.Interface]++
			n := c.owners[addressKey{a.Interface, a.Prefix.Addr()}]
			if counts[a.Interface] != MaxLeasedIPv6+1 || n == nil {
				continue
			}
			c.warn(n.pos, n, &fault{
				fmt.Sprintf("%s has %d IPv6 addresses, and with more than %d none of them has a lease: they stay when vipd dies, and two routers answer", a.Interface, crowded[a.Interface], MaxLeasedIPv6),
				"to renew them, the kernel would compare each with all the others, and report its multicast groups to the network each time; vip_lease off says that it is meant",
			})
		}
	}
}

// MaxLeasedIPv6 is how many IPv6 addresses on one interface may have a lease. The
// kernel compares each that is renewed with all the others, and reports the
// multicast groups of the interface to the network anew: above this number
// renewing them costs more than it is worth, and all of them are kept without.
const MaxLeasedIPv6 = 100

// LeaseLength returns for how long after its last advert the kernel keeps the
// addresses of this instance; 0 if they have no lease. See also
// [Config.UnleasedIPv6].
func (in *Instance) LeaseLength() time.Duration {
	switch in.VIPLease.Mode {
	case LeaseOff:
		return 0
	case LeaseFixed:
		return in.VIPLease.Length
	}
	return vrrp.LeaseLength(in.Version, in.Priority, in.AdvertInterval, in.DownTimerAdverts)
}

// LeaseOverlap returns for how long at most two routers answer for the addresses
// after this one died as master; false if nothing bounds that, since they have no
// lease.
func (in *Instance) LeaseOverlap() (time.Duration, bool) {
	length := in.LeaseLength()
	if length == 0 {
		return 0, false
	}
	return vrrp.LeaseOverlap(length, in.AdvertInterval, in.DownTimerAdverts), true
}

// UnleasedIPv6 returns the interfaces whose IPv6 addresses have no lease although
// it is configured, because there are more than [MaxLeasedIPv6] of them, with
// their numbers.
func (c *Config) UnleasedIPv6() map[string]int {
	counts := make(map[string]int)
	for i := range c.Instances {
		if c.Instances[i].VIPLease.Mode == LeaseOff {
			continue
		}
		for _, list := range [][]Address{c.Instances[i].Addresses, c.Instances[i].Excluded} {
			for _, a := range list {
				if a.Prefix.Addr().Is6() {
					counts[a.Interface]++
				}
			}
		}
	}
	for name, n := range counts {
		if n <= MaxLeasedIPv6 {
			delete(counts, name)
		}
	}
	return counts
}
