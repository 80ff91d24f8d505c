package view

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"

	"vipd/cmd/internal/control"
	"vipd/vrrp"
)

func instanceName(in *control.Instance) string { return cmp.Or(clean(in.Name), "(no name)") }

func stateWord(s control.State) string {
	return strings.ToUpper(cmp.Or(clean(string(s)), "unknown"))
}

// why says what decided the present state.
func why(r control.Reason, s control.State) string {
	if s == control.StateInit {
		return cmp.Or(r.Text, r.Kind, "not started yet")
	}
	return cmp.Or(r.Text, r.Kind, "unknown")
}

func familyName(f control.Family) string {
	switch f {
	case control.FamilyIPv4:
		return vrrp.IPv4.String()
	case control.FamilyIPv6:
		return vrrp.IPv6.String()
	}
	return clean(string(f))
}

func priorityShort(in *control.Instance) string {
	if in.Priority != in.BasePriority {
		return fmt.Sprintf("%d (%d)", in.Priority, in.BasePriority)
	}
	return fmt.Sprint(in.Priority)
}

func priorityLong(in *control.Instance) string {
	switch {
	case in.Owner:
		return fmt.Sprintf("%d (owner of the addresses)", in.Priority)
	case in.Arithmetic != "":
		return in.Arithmetic
	case in.Priority != in.BasePriority:
		return fmt.Sprintf("%d (configured: %d)", in.Priority, in.BasePriority)
	}
	return fmt.Sprint(in.Priority)
}

func masterShort(in *control.Instance) string {
	switch {
	case in.Master == nil:
		return "-"
	case in.Master.Self:
		return "this node"
	}
	return in.Master.Address.String()
}

// presence says how many of the addresses are on this host.
func presence(in *control.Instance) string {
	n := 0
	for _, a := range in.Addresses {
		if a.Present {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(in.Addresses))
}

// notes are the few words that send an operator to the right block.
func notes(in *control.Instance) string {
	var s []string
	for _, f := range in.Faults {
		s = append(s, strings.TrimSpace(clean(f.Kind)+" "+clean(f.Name)))
	}
	if contested(in) {
		s = append(s, "contested by "+rivalName(rivals(in)[0]))
	}
	if in.HandingOver {
		s = append(s, "handing over")
	}
	if in.Yielded {
		s = append(s, "left to others by the operator")
	}
	if in.Held != nil {
		s = append(s, fmt.Sprintf("held by %s", in.Held.Peer))
	}
	if waits(in) {
		s = append(s, waitsFor(in))
	}
	var sick []string
	for i := range in.Tracks {
		if t := &in.Tracks[i]; !t.Fault && !wanted(t.Kind, t.State, t.Reverse) {
			sick = append(sick, trackName(t.Kind, t.Name)+" "+strings.ToLower(checkWord(t.Kind, t.State, t.Value)))
		}
	}
	if len(sick) > 3 {
		sick = []string{fmt.Sprintf("%d tracked objects in trouble", len(sick))}
	}
	s = append(s, sick...)
	if lastFailed(in.Notifications) {
		s = append(s, "notify script failed")
	}
	if in.Degraded {
		s = append(s, "degraded")
	}
	if n := len(in.Mismatches); n > 0 {
		s = append(s, count(n, "mismatch"))
	}
	if len(in.Advice) > 0 {
		s = append(s, "see its advice")
	}
	wrong := 0
	for _, a := range in.Addresses {
		if in.State != control.StateMaster && misplaced(in, a) {
			wrong++
		}
	}
	if wrong > 0 {
		s = append(s, count(wrong, "leftover address"))
	}
	return strings.Join(s, ", ")
}

// router describes the virtual router and how it is configured.
func router(in *control.Instance) string {
	s := fmt.Sprintf("VRRPv%d %s, VRID %d", in.Version, familyName(in.Family), in.VRID)
	if in.Interface != "" {
		s += " on " + in.Interface
	}
	if in.SourceAddress.IsValid() {
		s += fmt.Sprintf(" from %s", in.SourceAddress)
	}
	s += ", advert_int " + in.AdvertInterval.String()
	switch {
	case !in.Preempt:
		s += ", nopreempt"
	case in.PreemptDelay > 0:
		s += ", preempts after " + in.PreemptDelay.String()
	default:
		s += ", preempts"
	}
	if len(in.Peers) > 0 {
		peers := make([]string, len(in.Peers))
		for i, a := range in.Peers {
			peers[i] = a.String()
		}
		s += ", unicast to " + strings.Join(peers, ", ")
	}
	return s
}

// addressText leaves out the interface if it is the instance's own.
func addressText(in *control.Instance, a control.Address) string {
	s := a.Address.String()
	if a.Interface != "" && a.Interface != in.Interface {
		s += " on " + clean(a.Interface)
	}
	if a.Label != "" {
		s += " (" + clean(a.Label) + ")"
	}
	if !a.Advertised {
		s += " (not advertised)"
	}
	return s
}

func addressState(in *control.Instance, a control.Address) string {
	var s string
	switch {
	case in.State == control.StateMaster && a.Present:
		s = "present"
		if a.Lease > 0 {
			s += ", for " + short(a.Lease.Duration()) + " unless renewed"
		}
	case in.HandingOver && a.Present:
		s = "present until the new master has announced it"
	case in.State == control.StateMaster:
		s = "MISSING"
	case a.Present && in.Owner:
		s = "present (owner)"
	case a.Present:
		s = "PRESENT, though this node is not master"
	default:
		s = "not here"
	}
	if a.Error != "" {
		s += ": " + a.Error
	}
	return s
}

// hint says what to do about a fault. A fault may bring a better hint along.
func hint(f control.Fault) string {
	name := f.Name
	if name == "" {
		name = "IFACE"
	}
	switch f.Kind {
	case vrrp.FaultInterfaceMissing.String():
		return fmt.Sprintf("create %s, or correct its name in the configuration; vipd goes on by itself when it appears", name)
	case vrrp.FaultInterfaceDown.String():
		return fmt.Sprintf("`ip link set %s up`; if it is up, it has no carrier: look at the cable, the switch port or the virtual switch", name)
	case vrrp.FaultNoSource.String():
		return fmt.Sprintf("give %s an address (`ip addr show %s`), or set mcast_src_ip or unicast_src_ip", name, name)
	case vrrp.FaultSocket.String():
		return "vipd needs CAP_NET_RAW and CAP_NET_ADMIN; the log has the error"
	case vrrp.FaultSilenced.String():
		return "something on this host refuses them: look for a packet filter that drops protocol 112 (`nft list ruleset`, `iptables -S OUTPUT`); vipd tries again by itself"
	case vrrp.FaultTrackedInterface.String():
		return fmt.Sprintf("bring %s up (`ip link show %s`), or do not track it (dont_track_primary, no_track)", name, name)
	case vrrp.FaultAddresses.String():
		return "see the error beside each address below; vipd keeps trying"
	case vrrp.FaultGroup.String():
		return fmt.Sprintf("repair what keeps %s in fault: the members of a sync group are master together or not at all", name)
	case vrrp.FaultCheck.String():
		return fmt.Sprintf("repair what %s checks; `vipd check run %s` runs it once, as vipd does", name, name)
	}
	return ""
}

// age formats how long something has lasted, with two units at most.
func age(d time.Duration) string {
	d = max(d, 0)
	switch s := int64(d / time.Second); {
	case d < time.Minute:
		return short(d)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
	}
}

// short formats a short time with as many digits as a person wants.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func times(n uint64) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	switch {
	case strings.HasSuffix(what, "ch"), strings.HasSuffix(what, "ss"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// clean makes text from elsewhere fit for a terminal: one line, and nothing
// that the terminal would obey.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsPrint(r), r == nbsp:
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// nbsp is a blank at which wrap does not break a line.
const nbsp = '\u00a0'

// wrap breaks s into lines of at most width columns where it has blanks; a word
// that is longer stays whole, so that it can be copied. Width 0 breaks nothing.
func wrap(s string, width int) []string {
	var lines []string
	line, n := "", 0
	for _, word := range strings.Split(s, " ") {
		k := len([]rune(word))
		if line != "" && width > 0 && n+1+k > width {
			lines = append(lines, line)
			line, n = word, k
			continue
		}
		if n > 0 || line != "" {
			line += " "
			n++
		}
		line += word
		n += k
	}
	lines = append(lines, line)
	for i, l := range lines {
		lines[i] = strings.ReplaceAll(strings.TrimRight(l, " "+string(nbsp)), string(nbsp), " ")
	}
	return lines
}
