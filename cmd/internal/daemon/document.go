package daemon

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vipd/checks/command"
	"vipd/cmd/internal/control"
	"vipd/cmd/internal/legacy"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// A described is what keepalived's files are made from.
type described struct {
	cfg    *config.Config
	status control.Status
	// base are the counters that statistics count from, by the name of the
	// instance.
	base map[string]legacy.Statistics
	// running are the processes of each vrrp_track_process that run.
	running map[string]int
	host    *netif.Snapshot // nil: not looked at yet
	// namespace is the name of the network namespace, if it has been chosen by
	// name.
	namespace string
}

// document describes the daemon for keepalived's files, by its configuration and
// by what status knows.
func (in *described) document() *legacy.Document {
	cfg, s := in.cfg, in.status
	d := &legacy.Document{Global: legacyGlobal(cfg), Interfaces: in.interfaces()}
	d.Global.Namespace = in.namespace
	byName := make(map[string]control.Instance, len(s.Instances))
	for _, inst := range s.Instances {
		byName[inst.Name] = inst
	}
	argv := make(map[string][]string)
	for _, c := range cfg.Scripts {
		argv[c.Name] = c.Argv
	}
	type object struct {
		kind config.TrackKind
		name string
	}
	users := make(map[object][]legacy.Reference)
	for i := range cfg.Instances {
		c := &cfg.Instances[i]
		inst := byName[c.Name]
		out := legacyInstance(c, &inst, argv)
		out.Statistics = legacyStatistics(inst.Counters).Since(in.base[c.Name])
		if l, ok := in.link(c.Interface); ok {
			out.InterfaceIndex = l.Index
		}
		d.Instances = append(d.Instances, out)
		for _, t := range c.Tracks {
			o := object{t.Kind, t.Name}
			users[o] = append(users[o], legacy.Reference{Name: c.Name, Weight: t.Weight, Reverse: t.Reverse})
		}
	}
	for i := range cfg.SyncGroups {
		d.Groups = append(d.Groups, legacyGroup(&cfg.SyncGroups[i], s, byName))
	}
	checks := make(map[object]control.Check)
	kinds := map[string]config.TrackKind{
		control.KindScript: config.TrackScript, control.KindCheck: config.TrackCheck,
		control.KindProcess: config.TrackProcess, control.KindFile: config.TrackFile,
	}
	for _, c := range s.Checks {
		checks[object{kinds[c.Kind], c.Name}] = c
	}
	for _, c := range cfg.Scripts {
		o := object{config.TrackScript, c.Name}
		d.Scripts = append(d.Scripts, legacyScript(c.Name, *legacyCommand(&c.Command), c.Timing, c.Weight, c.Reverse, checks[o], users[o]))
	}
	// keepalived has no such checks; as scripts, exporters show their results.
	for _, c := range cfg.Checks {
		o := object{config.TrackCheck, c.Name}
		d.Scripts = append(d.Scripts, legacyScript(c.Name, legacy.Command{Argv: []string{checks[o].What}}, c.Timing, c.Weight, c.Reverse, checks[o], users[o]))
	}
	for _, c := range cfg.TrackedFiles {
		o := object{config.TrackFile, c.Name}
		f := legacy.File{Name: c.Name, Path: c.Path, Weight: c.Weight, Reverse: c.Reverse, Instances: users[o]}
		if v := checks[o].Value; v != nil {
			f.Value = int64(*v)
		}
		d.Files = append(d.Files, f)
	}
	for _, c := range cfg.Processes {
		o := object{config.TrackProcess, c.Name}
		d.Processes = append(d.Processes, legacy.Process{
			Name: c.Name, Argv: c.Argv, Match: legacy.Match(c.Match), Quorum: c.Quorum, QuorumMax: c.QuorumMax,
			Current: in.running[c.Name], HaveQuorum: checks[o].State == control.CheckUp, Weight: c.Weight, Reverse: c.Reverse,
			TerminateDelay: c.TerminateDelay, ForkDelay: c.ForkDelay, FullCommand: c.FullCommand || c.Match != config.ParamNone, Instances: users[o],
		})
	}
	return d
}

// link returns an interface of the host.
func (in *described) link(name string) (netif.Link, bool) {
	if in.host == nil {
		return netif.Link{}, false
	}
	return in.host.Link(name)
}

// interfaces describes the interfaces of the host, and who depends on them.
func (in *described) interfaces() []legacy.Interface {
	if in.host == nil {
		return nil
	}
	var out []legacy.Interface
	for _, l := range in.host.Links() {
		i := legacy.Interface{
			Name: l.Name, Index: l.Index, Up: l.Up, Running: l.Running, NoBroadcast: l.Loopback || l.PointToPoint, Loopback: l.Loopback,
			PointToPoint: l.PointToPoint, NoARP: l.NoARP, NoMulticast: !l.Multicast, MTU: l.MTU, HardwareType: unix.ARPHRD_NONE,
		}
		switch {
		case l.Loopback:
			i.HardwareType = unix.ARPHRD_LOOPBACK
		case l.MAC != [6]byte{}:
			i.HardwareType, i.MAC, i.Broadcast = unix.ARPHRD_ETHER, l.MAC[:], []byte{255, 255, 255, 255, 255, 255}
		}
		for _, a := range in.host.AddressesOf(l.Index) {
			if addr := a.Prefix.Addr(); addr.Is4() {
				i.IPv4 = append(i.IPv4, addr)
			} else {
				i.IPv6 = append(i.IPv6, addr)
			}
		}
		for n := range in.cfg.Instances {
			i.Instances = append(i.Instances, dependence(&in.cfg.Instances[n], l.Name)...)
		}
		out = append(out, i)
	}
	return out
}

// dependence says how an instance depends on an interface: it may be its own one,
// or one that it tracks.
func dependence(c *config.Instance, ifname string) []legacy.Reference {
	for _, t := range c.Tracks {
		if t.Kind == config.TrackInterface && t.Name == ifname {
			return []legacy.Reference{{Name: c.Name, Weight: t.Weight, Reverse: t.Reverse}}
		}
	}
	if c.Interface == ifname || slices.Contains(c.TrackInterfaces, ifname) {
		return []legacy.Reference{{Name: c.Name}}
	}
	return nil
}

func legacyGlobal(cfg *config.Config) legacy.Global {
	g := cfg.Global
	out := legacy.Global{
		RouterID: g.RouterID, StartupScript: legacyCommand(g.StartupScript), StartupScriptTimeout: g.StartupScriptTimeout,
		ShutdownScript: legacyCommand(g.ShutdownScript), ShutdownScriptTimeout: g.ShutdownScriptTimeout,
		GARPInterval: g.GARPInterval, GNAInterval: g.GNAInterval, Nice: g.Nice, RTPriority: g.RTPriority,
		ScriptSecurity: g.ScriptSecurity, StartupDelay: g.StartupDelay, LogUnknownVRIDs: g.LogUnknownVRIDs,
	}
	if m := g.Mail; m != nil {
		out.Mail = &legacy.Mail{Server: m.Server, Port: m.Port, Helo: m.Helo, ConnectTimeout: m.ConnectTimeout, From: m.From, To: m.To, NoFaults: m.NoFaults}
	}
	return out
}

func legacyInstance(c *config.Instance, s *control.Instance, argv map[string][]string) legacy.Instance {
	out := legacy.Instance{
		Name: c.Name, Version: int(c.Version), IPv6: c.Family == vrrp.IPv6, SyncGroup: c.SyncGroup,
		State: legacyState(s.State), PendingChecks: len(s.Pending), LastTransition: s.Since,
		Interface: c.Interface, DontTrackPrimary: c.DontTrackPrimary, SkipCheckAdvAddr: c.SkipCheckAdvAddr,
		Source: s.SourceAddress, SourceConfigured: c.SourceIP.IsValid(), TrackSource: c.TrackSourceIP, Group: c.Group,
		GARP: legacy.GARP{
			Delay: c.GARP.MasterDelay, Repeat: c.GARP.MasterRepeat, Refresh: c.GARP.Refresh, RefreshRepeat: c.GARP.RefreshRepeat,
			LowerPrioDelay: c.GARP.LowerPrioDelay, LowerPrioRepeat: c.GARP.LowerPrioRepeat,
		},
		DownTimerAdverts: c.DownTimerAdverts, LowerPrioNoAdvert: c.LowerPrioNoAdvert, HigherPrioSendAdvert: c.HigherPrioSendAdvert,
		VRID: int(c.VRID), Priority: int(c.Priority), EffectivePriority: int(s.Priority), AdvertInterval: c.AdvertInterval,
		NoPreempt: !c.Preempt, PreemptDelay: c.PreemptDelay, Auth: legacy.Auth(c.AuthType), TTL: c.TTL, CheckUnicastSource: c.CheckUnicastSource,
		Descriptors: [2]int{-1, -1}, SMTPAlert: c.SMTPAlert, NotifyDeleted: c.Notify.ReportDeleted || c.Notify.Deleted != nil,
		Notify: legacyNotify(&c.Notify), NotifyPriorityChanges: c.NotifyPriorityChanges,
	}
	out.Want = max(out.State, legacy.Backup)
	if m := s.Master; m != nil && !m.Self {
		out.Master, out.MasterPriority, out.MasterInterval = m.Address, int(m.Priority), m.Interval.Duration()
	}
	interval := cmp.Or(out.MasterInterval, c.AdvertInterval)
	skew := interval
	if c.Version == vrrp.V2 {
		skew = time.Second
	}
	out.MasterDown = time.Duration(c.DownTimerAdverts)*interval + skew*time.Duration(256-int(s.Priority))/256
	for _, f := range s.Faults {
		if f.Kind != vrrp.FaultGroup.String() {
			out.Faults++
		}
	}
	out.NextTimer = s.Timers.MasterDownAt
	if out.NextTimer.IsZero() {
		out.NextTimer = s.Timers.AdvertAt
	}
	type key struct{ address, ifname string }
	present := make(map[key]bool)
	for _, a := range s.Addresses {
		present[key{a.Address.String(), a.Interface}] = a.Present
	}
	addresses := func(as []config.Address) []legacy.Address {
		var list []legacy.Address
		for _, a := range as {
			list = append(list, legacy.Address{
				Prefix: a.Prefix, Broadcast: a.Broadcast, Interface: a.Interface, Scope: a.Scope, Label: a.Label, Peer: a.Peer,
				HomeAddr: a.HomeAddress, DAD: a.DAD, TempAddr: a.ManageTempAddr, NoPrefix: a.NoPrefixRoute, AutoJoin: a.AutoJoin, NoTrack: a.NoTrack,
				Deprecated: a.Deprecated, Preferred: a.PreferredLifetime, Set: present[key{a.Prefix.String(), a.Interface}],
			})
		}
		return list
	}
	out.Addresses, out.Excluded = addresses(c.Addresses), addresses(c.Excluded)
	for _, p := range c.Peers {
		out.Peers = append(out.Peers, legacy.Peer{Address: p.Addr, MinTTL: p.MinTTL, MaxTTL: p.MaxTTL})
	}
	for _, name := range c.TrackInterfaces {
		if !slices.ContainsFunc(c.Tracks, func(t config.Track) bool { return t.Kind == config.TrackInterface && t.Name == name }) {
			out.TrackInterfaces = append(out.TrackInterfaces, legacy.Reference{Name: name})
		}
	}
	for _, t := range c.Tracks {
		if t.Group != "" {
			continue // shown with the group
		}
		r := legacy.Reference{Name: t.Name, Weight: t.Weight, Reverse: t.Reverse}
		switch t.Kind {
		case config.TrackInterface:
			out.TrackInterfaces = append(out.TrackInterfaces, r)
		case config.TrackScript:
			out.TrackScripts = append(out.TrackScripts, legacy.TrackedScript{Reference: r, Argv: argv[t.Name]})
		case config.TrackCheck:
			out.TrackScripts = append(out.TrackScripts, legacy.TrackedScript{Reference: r, Argv: []string{t.Name}})
		case config.TrackFile:
			out.TrackFiles = append(out.TrackFiles, r)
		case config.TrackProcess:
			out.TrackProcesses = append(out.TrackProcesses, r)
		}
	}
	return out
}

func legacyState(s control.State) legacy.State {
	switch s {
	case control.StateBackup:
		return legacy.Backup
	case control.StateMaster:
		return legacy.Master
	case control.StateFault:
		return legacy.Fault
	}
	return legacy.Init
}

// legacyStatistics counts what was dropped where keepalived does. What that
// drops without counting is counted nowhere, but for another interval, for which
// it has a counter that it never uses.
func legacyStatistics(c control.Counters) legacy.Statistics {
	drops := func(kinds ...vrrpconn.Drop) uint64 {
		var n uint64
		for _, d := range kinds {
			n += c.Drops[strings.ReplaceAll(d.String(), " ", "_")]
		}
		return n
	}
	return legacy.Statistics{
		// keepalived looks at the source after it has counted.
		Received: c.Received + drops(vrrpconn.UnknownSource, vrrpconn.PeerTTL), Sent: c.Sent,
		BecomeMaster: c.BecomeMaster, ReleaseMaster: c.ReleaseMaster,
		PacketLength: drops(vrrpconn.WrongLength, vrrpconn.TotalLength), AdvertInterval: drops(vrrpconn.IntervalMismatch, vrrpconn.ZeroInterval),
		TTL: drops(vrrpconn.WrongTTL), InvalidType: drops(vrrpconn.WrongType), AddressList: drops(vrrpconn.WrongDestination),
		InvalidAuthType: drops(vrrpconn.WrongAuthType), AuthTypeMismatch: drops(vrrpconn.AuthTypeMismatch), AuthFailure: drops(vrrpconn.AuthFailed),
		PriorityZeroReceived: c.PriorityZeroReceived, PriorityZeroSent: c.PriorityZeroSent,
	}
}

func legacyGroup(c *config.SyncGroup, s control.Status, byName map[string]control.Instance) legacy.Group {
	out := legacy.Group{
		Name: c.Name, Members: c.Members, TrackWeight: c.TrackingWeight, SMTPAlert: c.SMTPAlert,
		Priorities: c.NotifyPriorityChanges, Notify: legacyNotify(&c.Notify),
	}
	if i := slices.IndexFunc(s.SyncGroups, func(g control.SyncGroup) bool { return g.Name == c.Name }); i >= 0 {
		out.State = legacyState(s.SyncGroups[i].State)
	}
	seen := make(map[[2]string]bool)
	for _, m := range c.Members {
		switch legacyState(byName[m].State) {
		case legacy.Fault:
			out.Faults++
		case legacy.Init:
			out.Inits++
		}
		// A member's own reference hides the group's.
		for _, t := range byName[m].Tracks {
			key := [2]string{t.Kind, t.Name}
			if t.Group != c.Name || seen[key] {
				continue
			}
			seen[key] = true
			r := legacy.Reference{Name: t.Name, Weight: t.Weight, Reverse: t.Reverse}
			switch t.Kind {
			case control.KindInterface:
				out.Interfaces = append(out.Interfaces, r)
			case control.KindScript, control.KindCheck:
				out.Scripts = append(out.Scripts, r)
			case control.KindFile:
				out.Files = append(out.Files, r)
			case control.KindProcess:
				out.Processes = append(out.Processes, r)
			}
		}
	}
	return out
}

// legacyScript describes a script. keepalived has one counter for its results:
// successes take it up from 0, failures down from rise+fall-1.
func legacyScript(name string, c legacy.Command, timing config.Timing, weight int, reverse bool, s control.Check, users []legacy.Reference) legacy.Script {
	out := legacy.Script{
		Name: name, Command: c, Interval: timing.Interval, Timeout: timing.Timeout, Weight: weight, Reverse: reverse, Rise: timing.Rise, Fall: timing.Fall,
		Good: s.State == control.CheckUp, Pending: s.State == control.CheckUnknown || s.State == "", Instances: users,
	}
	ok := s.Last != nil && s.Last.OK
	if !s.RunningSince.IsZero() {
		out.Progress = legacy.Running
	}
	switch {
	case out.Good && ok:
		out.Result = timing.Rise + timing.Fall - 1
	case out.Good:
		out.Result = max(timing.Rise+timing.Fall-1-s.Streak, timing.Rise)
	case ok:
		out.Result = min(s.Streak, timing.Rise-1)
	}
	return out
}

func legacyNotify(n *config.Notify) legacy.Notify {
	return legacy.Notify{
		Backup: legacyCommand(n.Backup), Master: legacyCommand(n.Master), Fault: legacyCommand(n.Fault), Stop: legacyCommand(n.Stop),
		Deleted: legacyCommand(n.Deleted), Any: legacyCommand(n.Any), MasterRxLowerPri: legacyCommand(n.MasterRxLowerPri),
	}
}

// legacyCommand describes a program. One whose user does not exist is shown as
// nobody's.
func legacyCommand(c *config.Command) *legacy.Command {
	if c == nil {
		return nil
	}
	as, err := command.Lookup(c.User, c.Group, c.Supplementary)
	if err != nil {
		as.UID, as.GID = 65534, 65534
	}
	return &legacy.Command{Argv: c.Argv, User: legacy.User{UID: as.UID, GID: as.GID}}
}
