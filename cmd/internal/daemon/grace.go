package daemon

import (
	"fmt"
	"slices"
	"time"

	"vipd/cmd/internal/control"
	"vipd/vrrp"
)

// sourceGrace is for how long an instance goes on without the IPv4 address that it
// sends from. Whoever configures the interface anew takes that away as well: for
// 0.05 to 0.25 s systemd-networkd, for up to 1 s netplan (twice in a row) and
// NetworkManager (docs/network-managers.md). This is twice the longest of them, for
// a busy host, and less than the three seconds and more for which the others wait
// for a master at the default interval. A master loses nothing by waiting: its IPv4
// advertisements have a header of this process's own, and the kernel sends them
// whatever their source is. It may hear less: with rp_filter the kernel drops what
// comes from a network to which it has no route (see loop.timers for a backup).
//
// IPv6 has no such grace: the kernel does not send from a link-local address that is
// not there, and managers leave it alone.
const sourceGrace = 2 * time.Second

// bridge begins or ends the grace when the view of the interface changes. Only what
// takes part in the election is worth bridging a gap for, and only on the same
// interface, as long as it is up and has its carrier.
func (inst *instance) bridge(was *linkView) {
	now := time.Now()
	switch s := inst.m.State(); {
	case !inst.view.sourceless || inst.view.index != was.index:
		if inst.bridging() && inst.view.usable {
			inst.log.Info("there is a source address again", "source", inst.view.source, "after", now.Sub(inst.sourceGone).Round(time.Millisecond))
		}
		inst.sourceGone, inst.graceEnds = time.Time{}, time.Time{}
	case !was.usable || s != vrrp.Master && s != vrrp.Backup:
		// It never had one, or not since it was in fault; or this is no news.
	default:
		inst.sourceGone, inst.graceEnds = now, now.Add(sourceGrace)
		inst.log.Warn("its source address is gone; going on without it for a while", "source", was.source, "for", sourceGrace)
		time.AfterFunc(sourceGrace, func() {
			inst.post(func(inst *instance) {
				if inst.bridging() && !time.Now().Before(inst.graceEnds) {
					inst.endGrace()
				}
			})
		})
	}
}

// bridging reports whether the instance goes on without its source address.
func (inst *instance) bridging() bool { return !inst.graceEnds.IsZero() }

// endGrace puts the instance in fault if it still has no source address.
func (inst *instance) endGrace() {
	inst.graceEnds = time.Time{}
	inst.setLink(inst.view)
}

// usable reports whether the instance may have a socket.
func (inst *instance) usable() bool { return inst.view.usable || inst.bridging() }

// linkFaults returns what is wrong with the interface, but for what is bridged.
func (inst *instance) linkFaults() []vrrp.Fault {
	faults := slices.Clone(inst.view.faults)
	if inst.bridging() {
		faults = slices.DeleteFunc(faults, func(f vrrp.Fault) bool { return f.Kind == vrrp.FaultNoSource })
	}
	return faults
}

// graceStatus says that the source address is missing, and since when.
func (inst *instance) graceStatus(out *control.Instance) {
	if inst.bridging() {
		const clock = "15:04:05.000"
		degrade(out, fmt.Sprintf("its source address %s has been gone since %s; if it does not come back, that is a fault at %s",
			inst.view.source, inst.sourceGone.Format(clock), inst.graceEnds.Format(clock)))
	}
}
