package daemon

import (
	"vipd/arp"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// Types of package config stop in this file and in the fields that hold them:
// what follows turns them into those of the packages that do the work.

func machineConfig(c config.Instance, order []vrrp.Address) vrrp.Config {
	return vrrp.Config{
		Version: c.Version, VRID: c.VRID, Priority: c.Priority, StartMaster: c.StartMaster,
		Interval: c.AdvertInterval, DownTimerAdverts: c.DownTimerAdverts,
		NoPreempt: !c.Preempt, PreemptDelay: c.PreemptDelay, StartupDelay: c.StartupDelay,
		LowerPriorityNoAdvert: c.LowerPrioNoAdvert, HigherPrioritySendAdvert: c.HigherPrioSendAdvert,
		Addresses: order,
	}
}

func kernelAddress(a config.Address) netif.Address {
	return netif.Address{
		Prefix: a.Prefix, Interface: a.Interface, Label: a.Label, Scope: a.Scope, Broadcast: a.Broadcast, Peer: a.Peer,
		Deprecated: a.Deprecated, PreferredLifetime: a.PreferredLifetime, DAD: a.DAD,
		HomeAddress: a.HomeAddress, ManageTempAddr: a.ManageTempAddr, NoPrefixRoute: a.NoPrefixRoute, AutoJoin: a.AutoJoin,
	}
}

func announceTiming(c config.Instance) arp.Timing {
	return arp.Timing{
		MasterDelay: c.GARP.MasterDelay, MasterRepeat: c.GARP.MasterRepeat,
		Refresh: c.GARP.Refresh, RefreshRepeat: c.GARP.RefreshRepeat,
		LowerPrioDelay: c.GARP.LowerPrioDelay, LowerPrioRepeat: c.GARP.LowerPrioRepeat,
	}
}
