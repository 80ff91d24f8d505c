package daemon

import (
	"cmp"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"vipd/arp"
	"vipd/checks"
	"vipd/cmd/internal/notify"
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
		Handover: c.Handover, ResignOnLoss: c.ResignOnLoss,
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

// probeConfig says when a built-in check is made.
func probeConfig(c config.Check, p checks.Prober) checks.ProbeConfig {
	return checks.ProbeConfig{Prober: p, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall}
}

// proberOf returns what makes a built-in check.
func proberOf(c config.Check) checks.Prober {
	switch {
	case c.TCP != nil:
		return &checks.TCP{Address: c.TCP.Address}
	case c.HTTP != nil:
		h := &checks.HTTP{
			URL: c.HTTP.URL, Method: c.HTTP.Method, Host: c.HTTP.Host, Body: c.HTTP.Body, Verify: c.HTTP.Verify, CAFile: c.HTTP.CAFile,
		}
		for _, header := range c.HTTP.Headers {
			h.Headers = append(h.Headers, checks.Header(header))
		}
		for _, r := range c.HTTP.Status {
			h.Status = append(h.Status, checks.StatusRange(r))
		}
		return h
	case c.DNS != nil:
		return &checks.DNS{Server: c.DNS.Server, Name: c.DNS.Name, Type: c.DNS.Type, Expect: c.DNS.Expect}
	case c.ICMP != nil:
		return &checks.ICMP{Address: c.ICMP.Address, Family: c.ICMP.Family, Interface: c.ICMP.Interface}
	}
	return &checks.SystemdUnit{Unit: c.SystemdUnit.Unit}
}

// processConfig says which processes are looked for.
func processConfig(c config.Process) checks.ProcessConfig {
	return checks.ProcessConfig{
		Argv: c.Argv, Match: checks.Match(c.Match), Quorum: c.Quorum, QuorumMax: c.QuorumMax,
		ForkDelay: c.ForkDelay, TerminateDelay: c.TerminateDelay, FullCommand: c.FullCommand,
	}
}

// signalName returns the name of a signal: "SIGTERM".
func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return s.String()
}

// mailer returns what sends mail.
func mailer(m *config.Mail) notify.Mailer {
	from := m.From
	if from == "" {
		host, _ := os.Hostname()
		from = "vipd@" + cmp.Or(host, "localhost")
	}
	return &notify.SMTP{From: from, To: m.To, Server: m.Server, Port: m.Port, Helo: m.Helo, Timeout: m.ConnectTimeout}
}
