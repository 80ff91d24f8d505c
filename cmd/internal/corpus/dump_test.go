package corpus

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"vipd/config"
	"vipd/vrrp"
)

// An item is one instance, group or tracked object, as both sides describe it:
// its properties in words that can be compared.
type item map[string]string

// A picture is everything that is compared, by kind and name.
type picture map[string]item

// set keeps a property that is not empty.
func (i item) set(key, value string) {
	if value != "" {
		i[key] = value
	}
}

// diff lists in what two pictures differ. keepalived's is the first.
func diff(keepalived, vipd picture) []string {
	var out []string
	names := make(map[string]bool)
	for n := range keepalived {
		names[n] = true
	}
	for n := range vipd {
		names[n] = true
	}
	for n := range names {
		k, v := keepalived[n], vipd[n]
		switch {
		case k == nil:
			out = append(out, n+": only in vipd")
		case v == nil:
			out = append(out, n+": only in keepalived")
		default:
			keys := make(map[string]bool)
			for key := range k {
				keys[key] = true
			}
			for key := range v {
				keys[key] = true
			}
			for key := range keys {
				if k[key] != v[key] {
					out = append(out, fmt.Sprintf("%s: %s: keepalived %q, vipd %q", n, key, k[key], v[key]))
				}
			}
		}
	}
	sort.Strings(out)
	return out
}

// A line of keepalived's data dump.
type line struct {
	text   string
	indent int
}

// pictureOf reads keepalived's data dump.
func pictureOf(dump string) picture {
	out := make(picture)
	var all []line
	for l := range strings.Lines(dump) {
		text := strings.TrimSpace(l)
		if text != "" {
			all = append(all, line{text, len(l) - len(strings.TrimLeft(l, " "))})
		}
	}
	section := ""
	for i := 0; i < len(all); i++ {
		l := all[i]
		if name, ok := strings.CutPrefix(l.text, "------< "); ok {
			section = strings.TrimSuffix(name, " >------")
			continue
		}
		key, name, ok := strings.Cut(l.text, " = ")
		if !ok || l.indent != 1 {
			continue
		}
		end := i + 1
		for end < len(all) && all[end].indent > 1 {
			end++
		}
		body := all[i+1 : end]
		switch {
		case section == "VRRP Topology" && key == "VRRP Instance":
			out["instance "+name] = instanceOf(body)
		case key == "VRRP Sync Group":
			name, _, _ = strings.Cut(name, ",")
			out["group "+name] = groupOf(body)
		case key == "VRRP Script":
			out["script "+name] = scriptOf(body)
		case key == "VRRP Track process":
			out["process "+name] = scriptOf(body)
		case key == "VRRP Track file":
			out["file "+name] = scriptOf(body)
		}
	}
	return out
}

// list returns the lines below a heading.
func list(body []line, heading string) []string {
	var out []string
	for i, l := range body {
		if !strings.HasPrefix(l.text, heading) || !strings.HasSuffix(l.text, ":") {
			continue
		}
		if rest := strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(l.text, heading)), ":"); rest != "" && rest[0] != '(' && rest[0] != ' ' {
			continue // a longer heading
		}
		for _, m := range body[i+1:] {
			if m.indent <= l.indent {
				break
			}
			out = append(out, strings.Join(strings.Fields(m.text), " "))
		}
	}
	return out
}

// values returns the properties of a body.
func values(body []line) map[string]string {
	out := make(map[string]string)
	for _, l := range body {
		if key, v, ok := strings.Cut(l.text, " = "); ok {
			out[strings.TrimSpace(key)] = strings.TrimSpace(v)
		}
	}
	return out
}

// span reads "1 sec", "1.500000 sec" and "100 milli-sec".
func span(s string) string {
	number, unit, _ := strings.Cut(s, " ")
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return s
	}
	if strings.HasPrefix(unit, "milli") {
		f /= 1000
	}
	return time.Duration(f * float64(time.Second)).Round(time.Microsecond).String()
}

// instanceOf describes an instance of keepalived.
func instanceOf(body []line) item {
	v, out := values(body), make(item)
	for key, as := range map[string]string{
		"VRRP Version": "version", "Sync group": "group", "Interface": "interface", "Virtual Router ID": "vrid", "Priority": "priority",
		"Wantstate": "wantstate", "Preempt": "preempt", "Gratuitous ARP repeat": "repeat", "Gratuitous ARP refresh repeat": "refresh repeat",
		"Gratuitous ARP lower priority repeat": "lower repeat", "Down timer adverts": "down timer",
	} {
		out.set(as, v[key])
	}
	for key, as := range map[string]string{
		"Advert interval": "interval", "Gratuitous ARP delay": "delay", "Gratuitous ARP refresh": "refresh",
		"Gratuitous ARP lower priority delay": "lower delay", "Preempt delay": "preempt delay",
	} {
		if v[key] != "" {
			out.set(as, span(v[key]))
		}
	}
	if strings.HasPrefix(v["Authentication type"], "SIMPLE") {
		out.set("password", v["Password"])
	}
	for heading, as := range map[string]string{"Virtual IP": "addresses", "Virtual IP Excluded": "excluded"} {
		var addrs []string
		for _, a := range list(body, heading) {
			addrs = append(addrs, addressOf(a))
		}
		out.set(as, strings.Join(addrs, ", "))
	}
	var peers []string
	for _, p := range list(body, "Unicast Peer") {
		peers = append(peers, strings.TrimSuffix(p, " min_ttl 0 max_ttl 255"))
	}
	out.set("peers", strings.Join(peers, ", "))
	for heading, as := range map[string]string{"Tracked interfaces": "track interface", "Tracked scripts": "track script", "Tracked files": "track file", "Tracked processes": "track process"} {
		l := list(body, heading)
		for i := range l {
			l[i], _, _ = strings.Cut(l[i], ", ")
		}
		slices.Sort(l)
		out.set(as, strings.Join(l, ", "))
	}
	for key, as := range notifications() {
		out.set(as, v[key])
	}
	return out
}

// notifications are the names of scripts in the dump, and here.
func notifications() map[string]string {
	return map[string]string{
		"Master state transition script": "notify_master", "Backup state transition script": "notify_backup",
		"Fault state transition script": "notify_fault", "Stop state transition script": "notify_stop",
		"Generic state transition script": "notify",
	}
}

// addressOf brings an address of a dump into an order.
func addressOf(s string) string {
	f := strings.Fields(s)
	out := []string{f[0]}
	for _, key := range []string{"brd", "dev", "scope", "label"} {
		if i := slices.Index(f, key); i >= 0 && i+1 < len(f) && f[i+1] != "global" {
			out = append(out, key, f[i+1])
		}
	}
	return strings.Join(out, " ")
}

// groupOf describes a sync group of keepalived.
func groupOf(body []line) item {
	out, v := make(item), values(body)
	out.set("members", strings.Join(list(body, "VRRP member instances"), ", "))
	for key, as := range notifications() {
		out.set(as, v[key])
	}
	return out
}

// scriptOf describes a tracked object of keepalived.
func scriptOf(body []line) item {
	out, v := make(item), values(body)
	for key, as := range map[string]string{"Command": "command", "Rise": "rise", "Fall": "fall", "Weight": "weight", "File": "file", "Process": "process", "Quorum": "quorum"} {
		out.set(as, v[key])
	}
	for key, as := range map[string]string{"Interval": "interval", "Timeout": "timeout"} {
		if s := v[key]; s != "" && s != "0 sec" {
			out.set(as, span(s))
		}
	}
	if out["timeout"] == "" {
		out.set("timeout", out["interval"])
	}
	return out
}

// pictureOfConfig describes what vipd would run.
func pictureOfConfig(c *config.Config) picture {
	out := make(picture)
	for i := range c.Instances {
		in := &c.Instances[i]
		out["instance "+in.Name] = instanceOfConfig(in)
	}
	for _, g := range c.SyncGroups {
		it := item{"members": strings.Join(g.Members, ", ")}
		notifyOfConfig(it, &g.Notify)
		out["group "+g.Name] = it
	}
	used := make(map[string]bool)
	for _, in := range c.Instances {
		for _, t := range in.Tracks {
			used[t.Kind.String()+" "+t.Name] = true
		}
	}
	for _, s := range c.Scripts {
		if !used["script "+s.Name] {
			continue // keepalived drops it
		}
		it := item{"rise": strconv.Itoa(s.Rise), "fall": strconv.Itoa(s.Fall), "weight": weight(s.Weight, s.Reverse), "interval": s.Interval.String(), "timeout": s.Timeout.String()}
		it.set("command", words(s.Argv))
		out["script "+s.Name] = it
	}
	for _, f := range c.TrackedFiles {
		if used["file "+f.Name] {
			out["file "+f.Name] = item{"file": f.Path, "weight": weight(f.Weight, f.Reverse)}
		}
	}
	for _, p := range c.Processes {
		if used["process "+p.Name] {
			out["process "+p.Name] = item{"process": p.Argv[0], "weight": weight(p.Weight, p.Reverse), "quorum": strconv.Itoa(p.Quorum)}
		}
	}
	return out
}

// weight writes a weight as keepalived does.
func weight(w int, reverse bool) string {
	if reverse {
		return strconv.Itoa(w) + " reverse"
	}
	return strconv.Itoa(w)
}

// words writes a command as keepalived does, which looks the program up when it
// reads its configuration, and forgets it if it cannot be run.
func words(argv []string) string {
	if len(argv) == 3 && argv[1] == "-c" && strings.HasPrefix(argv[2], "<") {
		return argv[2] // which keepalived has the shell run
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return ""
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return ""
	}
	return "'" + strings.Join(append([]string{program}, argv[1:]...), "' '") + "'"
}

// instanceOfConfig describes an instance of vipd.
func instanceOfConfig(in *config.Instance) item {
	onOff := map[bool]string{true: "enabled", false: "disabled"}
	state := map[bool]string{true: "MASTER", false: "BACKUP"}
	out := item{
		"version": strconv.Itoa(int(in.Version)), "vrid": strconv.Itoa(int(in.VRID)), "priority": strconv.Itoa(int(in.Priority)),
		"wantstate": state[in.StartMaster], "preempt": onOff[in.Preempt], "interval": in.AdvertInterval.String(),
		"repeat": strconv.Itoa(in.GARP.MasterRepeat), "refresh repeat": strconv.Itoa(in.GARP.RefreshRepeat),
		"lower repeat": strconv.Itoa(in.GARP.LowerPrioRepeat), "down timer": strconv.Itoa(in.DownTimerAdverts),
		"delay": in.GARP.MasterDelay.String(), "refresh": in.GARP.Refresh.String(), "lower delay": in.GARP.LowerPrioDelay.String(),
	}
	if in.PreemptDelay > 0 {
		out.set("preempt delay", in.PreemptDelay.String())
	}
	out.set("interface", in.Interface)
	out.set("group", in.SyncGroup)
	if in.AuthType == vrrp.AuthPass {
		out.set("password", strings.TrimRight(string(in.AuthData[:]), "\x00"))
	}
	var vips, excluded, peers []string
	for _, a := range in.Addresses {
		vips = append(vips, addressOfConfig(a))
	}
	for _, a := range in.Excluded {
		excluded = append(excluded, addressOfConfig(a))
	}
	out.set("addresses", strings.Join(vips, ", "))
	out.set("excluded", strings.Join(excluded, ", "))
	for _, p := range in.Peers {
		peers = append(peers, p.Addr.String())
	}
	out.set("peers", strings.Join(peers, ", "))
	tracks := make(map[string][]string)
	for _, t := range in.Tracks {
		if t.Group == "" {
			kind := "track " + t.Kind.String()
			tracks[kind] = append(tracks[kind], t.Name+" weight "+weight(t.Weight, t.Reverse))
		}
	}
	for _, name := range in.TrackInterfaces {
		tracks["track interface"] = append(tracks["track interface"], name+" weight 0")
	}
	for kind, l := range tracks {
		slices.Sort(l)
		out.set(kind, strings.Join(l, ", "))
	}
	notifyOfConfig(out, &in.Notify)
	return out
}

// notifyOfConfig describes notify scripts.
func notifyOfConfig(out item, n *config.Notify) {
	for key, c := range map[string]*config.Command{"notify_master": n.Master, "notify_backup": n.Backup, "notify_fault": n.Fault, "notify_stop": n.Stop, "notify": n.Any} {
		if c != nil {
			if line := words(c.Argv); line != "" {
				out.set(key, fmt.Sprintf("%s, uid:gid 0:0", line))
			}
		}
	}
}

// addressOfConfig writes an address as keepalived does.
func addressOfConfig(a config.Address) string {
	s := a.Prefix.String()
	if a.Prefix.IsSingleIP() {
		s = a.Prefix.Addr().String()
	}
	if a.Broadcast != (netip.Addr{}) {
		s += " brd " + a.Broadcast.String()
	}
	s += " dev " + a.Interface
	switch a.Scope {
	case 0:
	case 200:
		s += " scope site"
	case 253:
		s += " scope link"
	case 254:
		s += " scope host"
	default:
		s += " scope " + strconv.Itoa(int(a.Scope))
	}
	if a.Label != "" {
		s += " label " + a.Label
	}
	return s
}
