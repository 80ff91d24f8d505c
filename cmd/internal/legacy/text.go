package legacy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// A printer writes lines. The first error stays, and is returned by finish.
type printer struct{ w *bufio.Writer }

func newPrinter(w io.Writer) printer { return printer{bufio.NewWriter(w)} }

// line writes one line. Readers go by lines, and names come from a
// configuration: a control character in one must not make a line of its own.
func (p printer) line(format string, args ...any) {
	_, _ = p.w.WriteString(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, fmt.Sprintf(format, args...)))
	_ = p.w.WriteByte('\n')
}

// section writes the head of a section.
func (p printer) section(name string) { p.line("------< %s >------", name) }

func (p printer) finish() error { return p.w.Flush() }

// WriteStatistics writes the statistics as text.
func WriteStatistics(w io.Writer, d *Document) error {
	p := newPrinter(w)
	for i := range d.Instances {
		inst := &d.Instances[i]
		s := inst.Statistics
		p.line("VRRP Instance: %s", inst.Name)
		p.line("  Advertisements:")
		p.line("    Received: %d", s.Received)
		p.line("    Sent: %d", s.Sent)
		p.line("  Became master: %d", s.BecomeMaster)
		p.line("  Released master: %d", s.ReleaseMaster)
		p.line("  Packet Errors:")
		p.line("    Length: %d", s.PacketLength)
		p.line("    TTL: %d", s.TTL)
		p.line("    Invalid Type: %d", s.InvalidType)
		p.line("    Advertisement Interval: %d", s.AdvertInterval)
		p.line("    Address List: %d", s.AddressList)
		p.line("  Authentication Errors:")
		p.line("    Invalid Type: %d", s.InvalidAuthType)
		p.line("    Type Mismatch: %d", s.AuthTypeMismatch)
		p.line("    Failure: %d", s.AuthFailure)
		p.line("  Priority Zero:")
		p.line("    Received: %d", s.PriorityZeroReceived)
		p.line("    Sent: %d", s.PriorityZeroSent)
	}
	return p.finish()
}

// WriteData writes the data dump.
func WriteData(w io.Writer, d *Document) error {
	p := newPrinter(w)
	p.section("Global definitions")
	p.global(&d.Global)
	if len(d.Instances) > 0 {
		p.section("VRRP Topology")
		for i := range d.Instances {
			p.instance(&d.Instances[i])
		}
	}
	if len(d.Sockets) > 0 {
		p.section("VRRP Sockpool")
		for i := range d.Sockets {
			p.socket(&d.Sockets[i])
		}
	}
	if len(d.Groups) > 0 {
		p.section("VRRP Sync groups")
		for i := range d.Groups {
			p.group(&d.Groups[i])
		}
	}
	if len(d.Scripts) > 0 {
		p.section("VRRP Scripts")
		for i := range d.Scripts {
			p.script(&d.Scripts[i])
		}
	}
	if len(d.Files) > 0 {
		p.section("VRRP Track files")
		for i := range d.Files {
			p.file(&d.Files[i])
		}
	}
	if len(d.Processes) > 0 {
		p.section("VRRP Track processes")
		for i := range d.Processes {
			p.process(&d.Processes[i])
		}
	}
	if len(d.Interfaces) > 0 {
		p.section("Interfaces")
		for i := range d.Interfaces {
			p.networkInterface(&d.Interfaces[i])
		}
	}
	return p.finish()
}

func (p printer) global(g *Global) {
	p.line(" Network namespace = %s", either(g.Namespace != "", g.Namespace, "(default)"))
	if g.RouterID != "" {
		p.line(" Router ID = %s", g.RouterID)
	}
	if m := g.Mail; m != nil {
		p.line(" Smtp server = %s", m.Server)
		p.line(" Smtp server port = %d", m.Port)
		p.line(" Smtp HELO name = %s", m.Helo)
		p.line(" Smtp server connection timeout = %d", seconds(m.ConnectTimeout))
		p.line(" Email notification from = %s", m.From)
		p.line(" Email notification to:")
		for _, to := range m.To {
			p.line("   %s", to)
		}
	}
	if c := g.StartupScript; c != nil {
		p.line(" Startup script = %s, uid:gid %s, timeout %d", c, c.User, seconds(g.StartupScriptTimeout))
	}
	if c := g.ShutdownScript; c != nil {
		p.line(" Shutdown script = %s, uid:gid %s timeout %d", c, c.User, seconds(g.ShutdownScriptTimeout))
	}
	// Both are always so in vipd.
	p.line(" Dynamic interfaces = true")
	p.line(" Allow interface changes = true")
	if g.Mail != nil && g.Mail.NoFaults {
		p.line(" Send emails for fault transitions = off")
	}
	p.fifo("Global", g.NotifyFIFO)
	p.fifo("VRRP", g.VRRPNotifyFIFO)
	p.line(" VRRP notify priority changes = %t", g.NotifyPriorityChanges)
	if g.Group4.IsValid() {
		p.line(" VRRP IPv4 mcast group = %s", g.Group4)
	}
	if g.Group6.IsValid() {
		p.line(" VRRP IPv6 mcast group = %s", g.Group6)
	}
	if g.Version != 0 {
		p.line(" Gratuitous ARP delay = %d", seconds(g.GARP.Delay))
		p.line(" Gratuitous ARP repeat = %d", g.GARP.Repeat)
		p.line(" Gratuitous ARP refresh timer = %d", seconds(g.GARP.Refresh))
		p.line(" Gratuitous ARP refresh repeat = %d", g.GARP.RefreshRepeat)
		p.line(" Gratuitous ARP lower priority delay = %d", seconds(g.GARP.LowerPrioDelay))
		p.line(" Gratuitous ARP lower priority repeat = %d", g.GARP.LowerPrioRepeat)
		p.line(" Num adverts before down = %d", g.DownTimerAdverts)
		p.line(" Send advert after receive lower priority advert = %t", !g.LowerPrioNoAdvert)
		p.line(" Send advert after receive higher priority advert = %t", g.HigherPrioSendAdvert)
	}
	p.line(" Gratuitous ARP interval = %f", g.GARPInterval.Seconds())
	p.line(" Gratuitous NA interval = %f", g.GNAInterval.Seconds())
	if g.Version != 0 {
		p.line(" VRRP default protocol version = %d", g.Version)
		p.line(" VRRP check unicast_src = %t", g.CheckUnicastSource)
		p.line(" VRRP skip check advert addresses = %t", g.SkipCheckAdvAddr)
	}
	p.line(" VRRP process priority = %d", g.Nice)
	p.line(" VRRP realtime priority = %d", g.RTPriority)
	p.line(" Script security %s", either(g.ScriptSecurity, "enabled", "disabled"))
	if g.ScriptUser != nil {
		p.line(" Default script uid:gid %s", *g.ScriptUser)
	}
	if g.StartupDelay > 0 {
		p.line(" vrrp_startup_delay = %g", g.StartupDelay.Seconds())
	}
	if g.LogUnknownVRIDs {
		p.line(" log_unknown_vrids")
	}
}

func (p printer) fifo(kind string, f *FIFO) {
	if f == nil {
		return
	}
	p.line(" %s notify fifo = %s, uid:gid %s", kind, f.Path, User{f.UID, f.GID})
	if f.Script != nil {
		p.line(" %s notify fifo script = %s, uid:gid %s", kind, f.Script, f.Script.User)
	}
}

func (p printer) instance(i *Instance) {
	unicast := len(i.Peers) > 0

	p.line(" VRRP Instance = %s", i.Name)
	p.line("   VRRP Version = %d", i.Version)
	if i.SyncGroup != "" {
		p.line("   Sync group = %s", i.SyncGroup)
	}
	if i.IPv6 {
		p.line("   Using Native IPv6")
	}
	p.line("   State = %s", i.State)
	if i.State == Backup {
		p.line("   Master router = %s", address(i.Master, "(unknown)"))
		p.line("   Master priority = %d", i.MasterPriority)
		if i.Version == 3 {
			p.line("   Master advert int = %.2f sec", i.MasterInterval.Seconds())
		}
	}
	if i.flagged() {
		p.line("   Flags:")
		if unicast {
			p.line("     Using unicast")
		}
	} else {
		p.line("   Flags: none")
	}
	p.line("   Wantstate = %s", i.Want)
	p.line("   Number of config faults = %d", i.ConfigFaults)
	p.line("   Number of interface and track script faults = %d", i.Faults)
	p.line("   Number of track scripts init = %d", i.PendingChecks)
	p.line("   Last transition = %s", stamp(i.LastTransition))
	if i.NextTimer.IsZero() {
		p.line("   Read timeout = DISABLED")
	} else {
		p.line("   Read timeout = %s", stamp(i.NextTimer))
	}
	p.line("   Master down timer = %d usecs", i.MasterDown.Microseconds())
	p.line("   Interface = %s", either(i.Interface != "", i.Interface, "not configured"))
	if i.DontTrackPrimary {
		p.line("   VRRP interface tracking disabled")
	}
	if i.SkipCheckAdvAddr {
		p.line("   Skip checking advert IP addresses")
	}
	if i.Strict {
		p.line("   Enforcing strict VRRP compliance")
	}
	p.line("   Using src_ip = %s%s", address(i.Source, "(none)"), either(i.SourceConfigured, " (from configuration)", ""))
	switch {
	case unicast:
	case i.IPv6:
		p.line("   Multicast address %s, ifindex %d", i.Group, i.InterfaceIndex)
	default:
		p.line("   Multicast address %s", i.Group)
	}
	p.line("   Gratuitous ARP delay = %d", seconds(i.GARP.Delay))
	p.line("   Gratuitous ARP repeat = %d", i.GARP.Repeat)
	p.line("   Gratuitous ARP refresh = %d", seconds(i.GARP.Refresh))
	p.line("   Gratuitous ARP refresh repeat = %d", i.GARP.RefreshRepeat)
	p.line("   Gratuitous ARP lower priority delay = %d", seconds(i.GARP.LowerPrioDelay))
	p.line("   Gratuitous ARP lower priority repeat = %d", i.GARP.LowerPrioRepeat)
	p.line("   Down timer adverts = %d", i.DownTimerAdverts)
	p.line("   Send advert after receive lower priority advert = %t", !i.LowerPrioNoAdvert)
	p.line("   Send advert after receive higher priority advert = %t", i.HigherPrioSendAdvert)
	p.line("   Virtual Router ID = %d", i.VRID)
	p.line("   Priority = %d", i.Priority)
	p.line("   Effective priority = %d", i.EffectivePriority)
	p.line("   Total priority = %d", either(i.TotalPriority != 0, i.TotalPriority, i.EffectivePriority))
	if i.Version == 2 {
		p.line("   Advert interval = %d sec", seconds(i.AdvertInterval))
	} else {
		p.line("   Advert interval = %d milli-sec", i.AdvertInterval.Milliseconds())
		if i.State == Backup {
			p.line("   Master advert interval = %d milli-sec", i.MasterInterval.Milliseconds())
		}
	}
	p.line("   Accept = %s", enabled(!i.NoAccept))
	p.line("   Preempt = %s", enabled(!i.NoPreempt))
	if i.PreemptDelay > 0 {
		p.line("   Preempt delay = %g secs", i.PreemptDelay.Seconds())
	}
	p.line("   Promote_secondaries = %s", enabled(i.PromoteSecondaries))
	switch {
	case i.Auth == AuthPass:
		p.line("   Authentication type = SIMPLE_PASSWORD")
		p.line("   Password = %s", mask)
	case i.Auth == AuthAH:
		p.line("   Authentication type = IPSEC_AH")
	case i.Version == 2:
		p.line("   Authentication type = none")
	}
	if len(i.Addresses) > 0 {
		p.line("   Virtual IP (%d):", len(i.Addresses))
		p.addresses(i.Addresses)
	}
	if len(i.Excluded) > 0 {
		p.line("   Virtual IP Excluded :")
		p.addresses(i.Excluded)
	}
	if unicast {
		p.line("   Unicast TTL = %d", i.TTL)
		p.line("   Check unicast src : %s", yes(i.CheckUnicastSource))
		p.line("   Unicast Peer :")
		for _, peer := range i.Peers {
			// What is not checked is every TTL there is.
			p.line("     %s min_ttl %d max_ttl %d", peer.Address, max(peer.MinTTL, 0), either(peer.MaxTTL < 0, 255, peer.MaxTTL))
		}
		p.line("   Unicast checksum compatibility = %s", either(i.OldChecksum, "config", "no"))
	}
	p.line("   fd_in %d, fd_out %d", i.Descriptors[0], i.Descriptors[1])
	if len(i.TrackInterfaces) > 0 {
		p.line("   Tracked interfaces :")
		p.references("", i.TrackInterfaces)
	}
	if len(i.TrackScripts) > 0 {
		p.line("   Tracked scripts :")
		for _, s := range i.TrackScripts {
			p.reference("", s.Reference)
		}
	}
	if len(i.TrackFiles) > 0 {
		p.line("   Tracked files :")
		p.references(",", i.TrackFiles)
	}
	if len(i.TrackProcesses) > 0 {
		p.line("   Tracked processes :")
		p.references(",", i.TrackProcesses)
	}
	p.line("   Using smtp notification = %s", yes(i.SMTPAlert))
	p.line("   Notify deleted = %s", either(i.NotifyDeleted, "Deleted", "Fault"))
	p.notify(&i.Notify)
	p.line("   Notify priority changes = %t", i.NotifyPriorityChanges)
}

// flagged reports whether keepalived would have one of its flags set, of which
// it names only some.
func (i *Instance) flagged() bool {
	return len(i.Peers) > 0 || i.NoPreempt || i.DontTrackPrimary || i.SkipCheckAdvAddr || i.SourceConfigured ||
		i.TrackSource || i.PromoteSecondaries || i.CheckUnicastSource || i.VMAC != ""
}

func (p printer) addresses(as []Address) {
	for i := range as {
		p.line("     %s", &as[i])
	}
}

// references writes tracked objects. Some lists have a comma after the name.
func (p printer) references(comma string, rs []Reference) {
	for _, r := range rs {
		p.reference(comma, r)
	}
}

func (p printer) reference(comma string, r Reference) {
	p.line("     %s%s weight %d%s", r.Name, comma, r.Weight, reverse(r.Reverse))
}

// tracking writes who tracks an object.
func (p printer) tracking(rs []Reference) {
	if len(rs) > 0 {
		p.line("   Tracking instances :")
		p.references(",", rs)
	}
}

func (p printer) notify(n *Notify) {
	for _, s := range []struct {
		kind    string
		command *Command
	}{
		{"Backup", n.Backup}, {"Master", n.Master}, {"Fault", n.Fault}, {"Stop", n.Stop},
		{"Deleted", n.Deleted}, {"Generic", n.Any}, {"Master rx lower pri", n.MasterRxLowerPri},
	} {
		if s.command != nil {
			p.line("   %s state transition script = %s, uid:gid %s", s.kind, s.command, s.command.User)
		}
	}
}

func (p printer) socket(s *Socket) {
	p.line(" fd_in %d fd_out = %d", s.Descriptors[0], s.Descriptors[1])
	p.line("   Interface = %s", s.Interface)
	p.line("   Family = %s", either(s.IPv6, "IPv6", "IPv4"))
	p.line("   Protocol = VRRP")
	if s.Unicast.IsValid() {
		p.line("   Type = Unicast")
		p.line("   Address = %s", s.Unicast)
	} else {
		p.line("   Type = Multicast")
	}
	p.line("   VRRP instances")
	for _, m := range s.Members {
		p.line("     %s vrid %d", m.Name, m.VRID)
	}
}

func (p printer) group(g *Group) {
	p.line(" VRRP Sync Group = %s, %s", g.Name, g.State)
	p.line("   Num member fault %d, num member init %d", g.Faults, g.Inits)
	if len(g.Members) > 0 {
		p.line("   VRRP member instances :")
		for _, m := range g.Members {
			p.line("     %s", m)
		}
	}
	if g.TrackWeight {
		p.line("   sync group tracking weight set")
	}
	p.line("   Using smtp notification = %s", yes(g.SMTPAlert))
	if g.Priorities {
		p.line("   Notify priority changes = yes")
	}
	for _, list := range []struct {
		title, comma string
		objects      []Reference
	}{
		{"Tracked interfaces", "", g.Interfaces}, {"Tracked scripts", "", g.Scripts},
		{"Tracked files", ",", g.Files}, {"Tracked process", ",", g.Processes},
	} {
		if len(list.objects) > 0 {
			p.line("   %s :", list.title)
			p.references(list.comma, list.objects)
		}
	}
	p.notify(&g.Notify)
}

func (p printer) script(s *Script) {
	p.line(" VRRP Script = %s", s.Name)
	p.line("   Command = %s", &s.Command)
	p.line("   Interval = %d sec", seconds(s.Interval))
	p.line("   Timeout = %d sec", seconds(s.Timeout))
	p.line("   Weight = %d%s", s.Weight, reverse(s.Reverse))
	p.line("   Rise = %d", s.Rise)
	p.line("   Fall = %d", s.Fall)
	p.line("   Result = %d", s.Result)
	p.line("   Insecure = %s", yes(s.Insecure))
	// There is no word for a script that has had a result.
	p.line("   Init state = %s", either(s.Pending, "INIT", "unknown"))
	p.line("   Status = %s", either(s.Good, "GOOD", "BAD"))
	p.line("   Script uid:gid = %s", s.Command.User)
	p.line("   VRRP instances :")
	p.tracking(s.Instances)
	p.line("   State = %s", s.Progress)
}

func (p printer) file(f *File) {
	p.line(" Track file = %s", f.Name)
	p.line("   File = %s", f.Path)
	p.line("   Status = %d", f.Value)
	p.line("   Weight = %d%s", f.Weight, reverse(f.Reverse))
	p.tracking(f.Instances)
}

func (p printer) process(c *Process) {
	p.line(" VRRP Track process = %s", c.Name)
	name, parameters := c.command()
	p.line("   Process = %s", name)
	if parameters != "" {
		p.line("   Parameters = %s", parameters)
	}
	switch c.Match {
	case MatchNone:
	case MatchExact:
		p.line("   Param match") // as bare as this
	default:
		p.line("   Param match = %s", c.Match)
	}
	p.line("   Min processes = %d", c.Quorum)
	if c.QuorumMax >= 0 {
		p.line("   Max processes = %d", c.QuorumMax)
	}
	p.line("   Current processes = %d", c.Current)
	p.line("   Have quorum = %t", c.HaveQuorum)
	p.line("   Weight = %d%s", c.Weight, reverse(c.Reverse))
	p.line("   Terminate delay = %fs", c.TerminateDelay.Seconds())
	p.line("   Fork delay = %fs", c.ForkDelay.Seconds())
	p.line("   Fork delay timer %srunning", either(c.ForkTimer, "", "not "))
	p.line("   Terminate delay timer %srunning", either(c.TerminateTimer, "", "not "))
	p.line("   Full command = %t", c.FullCommand)
	p.tracking(c.Instances)
}

// command returns the name of the program and its parameters.
func (c *Process) command() (name, parameters string) {
	if len(c.Argv) == 0 {
		return "", ""
	}
	return c.Argv[0], strings.Join(c.Argv[1:], " ")
}

// String returns the word of param_match.
func (m Match) String() string {
	switch m {
	case MatchNone:
		return "none"
	case MatchExact:
		return "exact"
	case MatchPartial:
		return "partial"
	case MatchInitial:
		return "initial"
	}
	return "unknown"
}

// Hardware types that have a name here (ARPHRD_…).
const (
	hardwareEther    = 1
	hardwareLoopback = 772
)

func (p printer) networkInterface(i *Interface) {
	p.line(" Name = %s", i.Name)
	p.line("   index = %d%s", i.Index, either(i.Index == 0, " (deleted)", ""))
	for _, family := range []struct {
		name  string
		addrs []netip.Addr
	}{{"IPv4", i.IPv4}, {"IPv6", i.IPv6}} {
		if len(family.addrs) == 0 {
			p.line("   %s address = (none)", family.name)
			continue
		}
		p.line("   %s address = %s", family.name, family.addrs[0].WithZone(""))
		if len(family.addrs) > 1 {
			p.line("   Additional %s addresses :", family.name)
			for _, a := range family.addrs[1:] {
				p.line("     %s", a.WithZone(""))
			}
		}
	}
	if len(i.MAC) > 0 {
		p.line("   MAC = %s", net.HardwareAddr(i.MAC))
		p.line("   MAC broadcast = %s", net.HardwareAddr(i.Broadcast))
	}
	var more strings.Builder
	for _, flag := range []struct {
		set  bool
		text string
	}{
		{i.NoBroadcast, ", no broadcast"}, {i.Loopback, ", loopback"}, {i.PointToPoint, ", point to point"},
		{i.NoARP, ", no arp"}, {i.NoMulticast, ", no multicast"},
	} {
		if flag.set {
			more.WriteString(flag.text)
		}
	}
	p.line("   State = %sUP, %sRUNNING%s", either(i.Up, "", "not "), either(i.Running, "", "not "), more.String())
	p.line("   MTU = %d", i.MTU)
	switch i.HardwareType {
	case hardwareLoopback:
		p.line("   HW Type = LOOPBACK")
	case hardwareEther:
		p.line("   HW Type = ETHERNET")
	default:
		p.line("   HW Type = UNKNOWN (%d)", i.HardwareType)
	}
	if len(i.Instances) > 0 {
		p.line("   Tracking VRRP instances :")
		p.references(",", i.Instances)
	}
}

// mask stands for every password, however long it is.
const mask = "********"

// scopes are the scopes of addresses that have a name in rtnetlink.
var scopes = map[uint8]string{0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}

// String returns the address as a line of the data dump and as the JSON has it.
// Readers take the word before the first space and the one after "dev ".
func (a *Address) String() string {
	var b strings.Builder
	if a.Prefix.IsSingleIP() {
		b.WriteString(a.Prefix.Addr().String())
	} else {
		b.WriteString(a.Prefix.String())
	}
	word := func(set bool, text string) {
		if set {
			b.WriteString(text)
		}
	}
	if a.Broadcast.IsValid() {
		fmt.Fprintf(&b, " brd %s", a.Broadcast)
	}
	fmt.Fprintf(&b, " dev %s", a.Interface)
	if name, ok := scopes[a.Scope]; ok {
		fmt.Fprintf(&b, " scope %s", name)
	} else {
		fmt.Fprintf(&b, " scope %d", a.Scope)
	}
	word(a.Label != "", " label "+a.Label)
	if a.Peer.IsValid() {
		fmt.Fprintf(&b, " peer %s", a.Peer)
	}
	word(a.HomeAddr, " home")
	word(a.DAD, " -nodad")
	word(a.TempAddr, " mngtmpaddr")
	word(a.NoPrefix, " noprefixroute")
	word(a.AutoJoin, " autojoin")
	word(a.NoTrack, " no_track")
	if a.Prefix.Addr().Is6() {
		switch {
		case a.Deprecated:
			b.WriteString(" deprecated")
		case a.Preferred == 0:
			b.WriteString(" preferred_lft forever")
		default:
			fmt.Fprintf(&b, " preferred_lft %d", seconds(a.Preferred))
		}
	}
	word(a.Set, " set")
	return b.String()
}

// String returns the command with every word in single quotes, as keepalived
// shows it; it is not for a shell.
func (c *Command) String() string {
	return quoted(c.Argv)
}

func quoted(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = "'" + w + "'"
	}
	return strings.Join(words, " ")
}

// String returns uid:gid.
func (u User) String() string { return fmt.Sprintf("%d:%d", u.UID, u.GID) }

// stamp returns a time as seconds since the epoch and, in the local time zone,
// for people.
func stamp(t time.Time) string {
	return fmt.Sprintf("%s (%s)", epoch(t), t.Local().Format("Mon Jan _2 15:04:05.000000 2006"))
}

// epoch returns the seconds since the epoch with six decimals; 0 for the zero
// time.
func epoch(t time.Time) string {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	us := t.UnixMicro()
	return fmt.Sprintf("%d.%06d", us/1e6, us%1e6)
}

// seconds returns the whole seconds of a duration.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// address returns an address without its zone.
func address(a netip.Addr, none string) string {
	if !a.IsValid() {
		return none
	}
	return a.WithZone("").String()
}

func either[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

func enabled(b bool) string { return either(b, "enabled", "disabled") }

func yes(b bool) string { return either(b, "yes", "no") }

func reverse(b bool) string { return either(b, " reverse", "") }
