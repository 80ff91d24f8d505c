package plan

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"vipd/config"
	"vipd/vrrp"
)

// text returns a value of the configuration as people write it, or nothing if it
// stands for none. The name of a field tells what cannot be told from the type.
func text(name string, v reflect.Value) string {
	switch name {
	case "Instance.StartMaster":
		return either(v.Bool(), "MASTER", "BACKUP")
	case "Instance.ResignOnLoss":
		return either(v.Bool(), "resign", "restore")
	case "Script.IgnoreUnrunnable":
		return either(v.Bool(), "ignore", "fail")
	case "Global.RTPriority", "Mail.Port":
		if v.IsZero() {
			return ""
		}
	case "Process.QuorumMax":
		if v.Int() < 0 {
			return ""
		}
	}
	switch x := v.Interface().(type) {
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case time.Duration:
		return x.String()
	case netip.Addr:
		return addr(x)
	case []string:
		return words(x)
	case *int:
		if x == nil {
			return ""
		}
		return strconv.Itoa(*x)
	case *regexp.Regexp:
		if x == nil {
			return ""
		}
		return x.String()
	case vrrp.Version:
		return strconv.Itoa(int(x))
	case vrrp.Checksum:
		return strconv.FormatBool(x == vrrp.ChecksumPlain)
	case config.ParamMatch:
		return [...]string{"", "exact", "partial", "initial"}[x&3]
	case *config.Command:
		return command(x)
	case config.FIFO:
		return fifo(x)
	case config.Address:
		return address(x)
	case config.Peer:
		return peer(x)
	case config.Track:
		return track(x)
	case *config.ICMPCheck:
		return icmp(x)
	case config.StatusRange:
		if x.First == x.Last {
			return strconv.Itoa(x.First)
		}
		return fmt.Sprintf("%d-%d", x.First, x.Last)
	}
	return fmt.Sprint(v)
}

func either(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// words joins what a command line consists of.
func words(argv []string) string {
	out := make([]string, len(argv))
	for i, w := range argv {
		if out[i] = w; w == "" || strings.ContainsAny(w, " \t\n\"'\\") {
			out[i] = strconv.Quote(w)
		}
	}
	return strings.Join(out, " ")
}

// A line is a value with its options.
type line struct{ strings.Builder }

func lineOf(head string) *line {
	l := new(line)
	l.WriteString(head)
	return l
}

// option adds a word and its value, if there is one.
func (l *line) option(word, value string) {
	if value != "" {
		l.WriteString(" " + word + " " + value)
	}
}

// flag adds a word if it is set.
func (l *line) flag(word string, set bool) {
	if set {
		l.WriteString(" " + word)
	}
}

func command(c *config.Command) string {
	if c == nil {
		return ""
	}
	l := lineOf(words(c.Argv))
	user := c.User
	if c.Group != "" || c.Supplementary {
		user += " " + either(c.Supplementary, ":", "") + c.Group
	}
	l.option("as", user)
	return l.String()
}

func fifo(f config.FIFO) string {
	l := lineOf(f.Path)
	l.option("user", f.User)
	l.option("group", f.Group)
	l.option("script", command(f.Script))
	return l.String()
}

func address(a config.Address) string {
	l := lineOf(a.Prefix.String())
	l.option("dev", a.Interface)
	l.option("brd", addr(a.Broadcast))
	l.option("label", a.Label)
	if a.Scope != 0 {
		l.option("scope", strconv.Itoa(int(a.Scope)))
	}
	if a.Peer.IsValid() {
		l.option("peer", a.Peer.String())
	}
	if a.PreferredLifetime > 0 {
		l.option("preferred_lft", strconv.FormatFloat(a.PreferredLifetime.Seconds(), 'f', -1, 64))
	}
	l.flag("preferred_lft 0", a.Deprecated)
	l.flag("-nodad", a.DAD)
	l.flag("home", a.HomeAddress)
	l.flag("mngtmpaddr", a.ManageTempAddr)
	l.flag("noprefixroute", a.NoPrefixRoute)
	l.flag("autojoin", a.AutoJoin)
	l.flag("no_track", a.NoTrack)
	return l.String()
}

func peer(p config.Peer) string {
	l := lineOf(p.Addr.String())
	for _, o := range []struct {
		word string
		ttl  int
	}{{"min_ttl", p.MinTTL}, {"max_ttl", p.MaxTTL}} {
		if o.ttl >= 0 {
			l.option(o.word, strconv.Itoa(o.ttl))
		}
	}
	return l.String()
}

func track(t config.Track) string {
	l := lineOf(t.Name)
	l.option("weight", strconv.Itoa(t.Weight))
	l.flag("reverse", t.Reverse)
	l.option("of sync group", t.Group)
	return l.String()
}

func icmp(c *config.ICMPCheck) string {
	if c == nil {
		return ""
	}
	l := lineOf(addr(c.Address))
	if !c.Address.IsValid() {
		l = lineOf(either(c.Family == 6, "gateway6", "gateway"))
	}
	l.option("interface", c.Interface)
	return l.String()
}

// String says in a few words what is different: "priority 100 -> 150".
func (c Change) String() string {
	var s string
	switch {
	case c.Secret:
		s = c.Keyword + " changed"
	case len(c.Added)+len(c.Removed) > 0:
		var parts []string
		for _, x := range c.Removed {
			parts = append(parts, "- "+x)
		}
		for _, x := range c.Added {
			parts = append(parts, "+ "+x)
		}
		s = c.Keyword + " " + strings.Join(parts, ", ")
	case c.Old == "" && c.New == "":
		s = c.Keyword + " in another order"
	default:
		s = fmt.Sprintf("%s %s -> %s", c.Keyword, orNone(c.Old), orNone(c.New))
	}
	if c.Restart != "" {
		s += " (from the next start on: " + c.Restart + ")"
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Lines says in words what is done, a line for each fact. There is none if
// nothing is.
func (p *Plan) Lines() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, c := range p.Global {
		say("global_defs: %s", c)
	}
	for _, o := range p.Objects {
		what := o.Type + " " + o.Name
		if o.Kind == Added || o.Kind == Removed {
			say("%s: %s", what, o.Kind)
		}
		for _, c := range o.Changes {
			say("%s: %s", what, c)
		}
		if o.Kind == Changed && o.Anew {
			say("%s: begins anew", what)
		}
	}
	for _, x := range p.Instances {
		x.lines(say)
	}
	for _, m := range p.Moves {
		switch {
		case m.From == m.To:
		case m.OldInterface != "":
			say("%s moves from %s on %s to %s on %s", m.Address, m.From, m.OldInterface, m.To, m.Interface)
		default:
			say("%s moves from %s to %s", m.Address, m.From, m.To)
		}
	}
	for _, g := range p.Groups {
		g.lines(say)
	}
	return out
}

func (x *Instance) lines(say func(string, ...any)) {
	switch {
	case x.Replaces:
		var why []string
		for _, c := range x.Changes {
			why = append(why, c.String())
		}
		say("%s: removed and added as another virtual router: %s", x.Name, strings.Join(why, "; "))
		return
	case x.Kind == Removed && x.Replaced:
		return
	case x.Kind == Added || x.Kind == Removed:
		say("%s: %s", x.Name, x.Kind)
	case x.OldName != "":
		say("%s renamed to %s", x.OldName, x.Name)
	}
	for _, c := range x.Changes {
		say("%s: %s", x.Name, c)
	}
}

func (g *Group) lines(say func(string, ...any)) {
	what := "vrrp_sync_group " + g.Name
	switch {
	case g.Kind == Added:
		say("%s: added, with %s", what, strings.Join(g.Joined, ", "))
		return
	case g.Kind == Removed:
		say("%s: removed", what)
		return
	case g.OldName != "":
		say("vrrp_sync_group %s renamed to %s", g.OldName, g.Name)
	}
	for _, name := range g.Joined {
		say("%s: %s joins", what, name)
	}
	for _, name := range g.Left {
		say("%s: %s leaves", what, name)
	}
	for _, c := range g.Changes {
		say("%s: %s", what, c)
	}
}

// String returns the lines, or says that there is nothing to do.
func (p *Plan) String() string {
	if lines := p.Lines(); len(lines) > 0 {
		return strings.Join(lines, "\n")
	}
	return "nothing changes"
}
