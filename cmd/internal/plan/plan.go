// Package plan compares two configurations and says what has to be done to go
// from one to the other: what is added, removed, changed and, above all, left
// alone. It does nothing itself.
package plan

import (
	"net/netip"
	"slices"

	"vipd/config"
)

// A Kind is what becomes of a part of the configuration.
type Kind string

// The kinds.
const (
	Unchanged Kind = "unchanged"
	Changed   Kind = "changed"
	Added     Kind = "added"
	Removed   Kind = "removed"
)

// A Plan is the difference between two configurations. The lists hold what is
// unchanged, too.
type Plan struct {
	// Global are the settings of global_defs that differ.
	Global []Change `json:"global,omitempty"`
	// Objects are the tracked objects: of each kind those of the new
	// configuration in its order, then those that are removed.
	Objects []Object `json:"tracked,omitempty"`
	// Instances are those of the new configuration in its order, then those that
	// are removed in the order of the old one.
	Instances []Instance `json:"instances,omitempty"`
	// Moves are the addresses that another instance has from now on.
	Moves []Move `json:"moves,omitempty"`
	// Groups are the sync groups, in the same order as Instances.
	Groups []Group `json:"sync_groups,omitempty"`
}

// A Change is one setting that differs.
type Change struct {
	Keyword string `json:"keyword"` // as in keepalived.conf
	// Old and New are the values as people write them; empty: none. Both are
	// empty for a list, and for what nobody should read, such as a password.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Added and Removed are what a list has gained and lost. If both are empty,
	// and so are Old and New, its order has changed, or it is a secret.
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Secret  bool     `json:"secret,omitempty"`
	// Restart says why the change takes no effect before vipd is started anew;
	// empty: it takes effect at once.
	Restart string `json:"restart,omitempty"`
}

// An Instance is what becomes of one virtual router. It is the same if VRID,
// family, interface and mode (the multicast group, or unicast and its configured
// source address) are; the name does not count (keepalived: vrrp_exist). What
// differs in one of these is another virtual router: one is removed, and one is
// added.
type Instance struct {
	Kind    Kind     `json:"kind"`
	Name    string   `json:"name"`               // in the new configuration, or in the old one if it is removed
	OldName string   `json:"old_name,omitempty"` // if it was another; that alone makes it Changed
	Old     int      `json:"-"`                  // place in the old configuration, or -1
	New     int      `json:"-"`                  // place in the new configuration, or -1
	Changes []Change `json:"changes,omitempty"`

	// AlteredAddresses are places of addresses, first in Addresses and then in
	// Excluded of the new configuration, that were there before on the same
	// interface but with other properties: a prefix length, a label.
	AlteredAddresses []int `json:"-"`

	// Replaces is set on an instance that is added in place of one of the same
	// name that is removed. Then Changes is what makes another virtual router of
	// it.
	Replaces bool `json:"replaces,omitempty"`
	// Replaced is set on the one that is removed.
	Replaced bool `json:"replaced,omitempty"`
}

// A Move is an address that one instance loses and another gets.
type Move struct {
	Address      netip.Prefix `json:"address"` // as the new configuration has it
	Interface    string       `json:"interface"`
	OldInterface string       `json:"old_interface,omitempty"` // if it was another
	From         string       `json:"from"`                    // the name in the old configuration
	To           string       `json:"to"`                      // the name in the new configuration
	Old          int          `json:"-"`                       // place of From in the old configuration
	New          int          `json:"-"`                       // place of To in the new configuration
}

// A Group is what becomes of a sync group. It is the same if its name is or,
// failing that, if all its members are.
type Group struct {
	Kind    Kind     `json:"kind"`
	Name    string   `json:"name"`
	OldName string   `json:"old_name,omitempty"` // if it was another; that alone makes it Changed
	Old     int      `json:"-"`                  // place in the old configuration, or -1
	New     int      `json:"-"`                  // place in the new configuration, or -1
	Changes []Change `json:"changes,omitempty"`  // those of the members are in Joined and Left
	// Joined and Left are the names of members: those of virtual routers, so that
	// one which is only renamed is in neither.
	Joined []string `json:"joined,omitempty"`
	Left   []string `json:"left,omitempty"`
	// Regroup says that it has to be formed anew, by vrrp.Adopt: its name, its
	// members, their order or their names are not what they were. (Those that
	// left have to leave first, or be adopted elsewhere.)
	Regroup bool `json:"-"`
}

// An Object is what becomes of a tracked object. It is the same if its kind and
// name are.
type Object struct {
	Kind  Kind             `json:"kind"`
	Type  string           `json:"type"` // the keyword: "vrrp_script"
	Track config.TrackKind `json:"-"`
	Name  string           `json:"name"`
	Old   int              `json:"-"` // place in the old configuration, or -1
	New   int              `json:"-"` // place in the new configuration, or -1
	// Anew says that it has to begin anew, without a result; otherwise it keeps
	// running and keeps its state, whatever has become of its weight.
	Anew    bool     `json:"anew,omitempty"`
	Changes []Change `json:"changes,omitempty"`
}

// Compute compares two configurations.
func Compute(old, new *config.Config) Plan {
	p := Plan{Global: differences(&old.Global, &new.Global)}
	p.objects(old, new)
	was := p.instances(old, new)
	p.moves(old, new)
	p.groups(old, new, was)
	return p
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool {
	return len(p.Global) == 0 && len(p.Moves) == 0 &&
		!slices.ContainsFunc(p.Objects, func(o Object) bool { return o.Kind != Unchanged }) &&
		!slices.ContainsFunc(p.Instances, func(i Instance) bool { return i.Kind != Unchanged }) &&
		!slices.ContainsFunc(p.Groups, func(g Group) bool { return g.Kind != Unchanged })
}

// kindOf says what becomes of something that both configurations have.
func kindOf(changes []Change) Kind {
	if len(changes) > 0 {
		return Changed
	}
	return Unchanged
}

// pair finds for each of the new ones the old one that is the same, and -1 for
// those that are added. It also returns the old ones that are removed.
func pair[T any, K comparable](old, new []T, key func(*T) K) (was, removed []int) {
	free := make(map[K][]int)
	for i := range old {
		k := key(&old[i])
		free[k] = append(free[k], i)
	}
	kept := make([]bool, len(old))
	was = make([]int, len(new))
	for i := range new {
		was[i] = -1
		k := key(&new[i])
		if have := free[k]; len(have) > 0 {
			was[i], free[k] = have[0], have[1:]
			kept[have[0]] = true
		}
	}
	for i := range old {
		if !kept[i] {
			removed = append(removed, i)
		}
	}
	return was, removed
}

func (p *Plan) objects(old, new *config.Config) {
	// What may be run is decided when a program is started for the first time.
	secured := old.Global.ScriptSecurity != new.Global.ScriptSecurity
	objects(p, config.TrackScript, old.Scripts, new.Scripts, func(s *config.Script) string { return s.Name })
	for i := range p.Objects {
		o := &p.Objects[i]
		if secured && o.Old >= 0 && o.New >= 0 {
			o.Kind, o.Anew = Changed, true
			o.Changes = append(o.Changes, pick(p.Global, "enable_script_security"))
		}
	}
	objects(p, config.TrackCheck, old.Checks, new.Checks, func(c *config.Check) string { return c.Name })
	objects(p, config.TrackProcess, old.Processes, new.Processes, func(c *config.Process) string { return c.Name })
	objects(p, config.TrackFile, old.TrackedFiles, new.TrackedFiles, func(f *config.TrackedFile) string { return f.Name })
}

func pick(changes []Change, keyword string) Change {
	i := slices.IndexFunc(changes, func(c Change) bool { return c.Keyword == keyword })
	return changes[i]
}

// objectKeywords are the blocks that tracked objects are configured in.
var objectKeywords = map[config.TrackKind]string{
	config.TrackScript: "vrrp_script", config.TrackCheck: "vrrp_check",
	config.TrackProcess: "vrrp_track_process", config.TrackFile: "vrrp_track_file",
}

func objects[T any](p *Plan, kind config.TrackKind, old, new []T, name func(*T) string) {
	add := func(k Kind, n string, was, is int, changes []Change) {
		anew := slices.ContainsFunc(changes, func(c Change) bool { return c.Restart == "" && c.Keyword != "weight" && c.Keyword != "reverse" })
		p.Objects = append(p.Objects, Object{
			Kind: k, Type: objectKeywords[kind], Track: kind, Name: n, Old: was, New: is, Changes: changes, Anew: anew,
		})
	}
	was, removed := pair(old, new, name)
	for i := range new {
		if was[i] < 0 {
			add(Added, name(&new[i]), -1, i, nil)
			continue
		}
		changes := differences(&old[was[i]], &new[i])
		add(kindOf(changes), name(&new[i]), was[i], i, changes)
	}
	for _, i := range removed {
		add(Removed, name(&old[i]), i, -1, nil)
	}
}

// An identity is what makes a virtual router the same.
type identity struct {
	vrid    uint8
	family  uint8
	iface   string
	unicast bool
	group   netip.Addr
	source  netip.Addr
}

func identityOf(in *config.Instance) identity {
	id := identity{vrid: in.VRID, family: uint8(in.Family), iface: in.Interface, unicast: len(in.Peers) > 0}
	if id.unicast {
		id.source = in.SourceIP
	} else {
		id.group = in.Group
	}
	return id
}

// identifying are the fields of an instance that can make another virtual router
// of it.
var identifying = []string{"Interface", "VRID", "Family", "Peers", "SourceIP", "Group"}

// instances returns for each instance of the new configuration where it was in
// the old one, or -1.
func (p *Plan) instances(old, new *config.Config) []int {
	was, removed := pair(old.Instances, new.Instances, identityOf)
	replaced := make(map[string]int)
	for _, i := range removed {
		replaced[old.Instances[i].Name] = i
	}
	for i := range new.Instances {
		in := &new.Instances[i]
		x := Instance{Kind: Added, Name: in.Name, Old: was[i], New: i}
		if other, ok := replaced[in.Name]; ok && was[i] < 0 {
			x.Replaces = true
			x.Changes = differencesIn(&old.Instances[other], in, identifying)
		} else if was[i] >= 0 {
			before := &old.Instances[was[i]]
			x.Changes = differences(before, in)
			x.AlteredAddresses = altered(before, in)
			x.Kind = kindOf(x.Changes)
			if before.Name != in.Name {
				x.Kind, x.OldName = Changed, before.Name
			}
		}
		p.Instances = append(p.Instances, x)
	}
	for _, i := range removed {
		name := old.Instances[i].Name
		x := Instance{Kind: Removed, Name: name, Old: i, New: -1}
		x.Replaced = slices.ContainsFunc(p.Instances, func(y Instance) bool { return y.Replaces && y.Name == name })
		p.Instances = append(p.Instances, x)
	}
	return was
}

// A placeOf an address is what it is by, for the kernel and a machine.
type placeOf struct {
	ip    netip.Addr
	iface string
}

func placed(a *config.Address) placeOf { return placeOf{a.Prefix.Addr(), a.Interface} }

// held returns all addresses of an instance.
func held(in *config.Instance) []config.Address { return slices.Concat(in.Addresses, in.Excluded) }

func altered(old, new *config.Instance) []int {
	before := make(map[placeOf]string)
	for _, a := range held(old) {
		before[placed(&a)] = fingerprint(a)
	}
	var out []int
	for i, a := range held(new) {
		if f, ok := before[placed(&a)]; ok && f != fingerprint(a) {
			out = append(out, i)
		}
	}
	return out
}

// moves finds the addresses that one instance loses and another gets.
func (p *Plan) moves(old, new *config.Config) {
	type loss struct {
		instance int // in the old configuration
		iface    string
	}
	lost := make(map[netip.Addr][]loss)
	for _, x := range p.Instances {
		if x.Old < 0 {
			continue
		}
		keeps := make(map[netip.Addr]bool)
		if x.New >= 0 {
			for _, a := range held(&new.Instances[x.New]) {
				keeps[a.Prefix.Addr()] = true
			}
		}
		for _, a := range held(&old.Instances[x.Old]) {
			if ip := a.Prefix.Addr(); !keeps[ip] {
				lost[ip] = append(lost[ip], loss{x.Old, a.Interface})
			}
		}
	}
	for _, x := range p.Instances {
		if x.New < 0 {
			continue
		}
		had := make(map[netip.Addr]bool)
		if x.Old >= 0 {
			for _, a := range held(&old.Instances[x.Old]) {
				had[a.Prefix.Addr()] = true
			}
		}
		for _, a := range held(&new.Instances[x.New]) {
			from := lost[a.Prefix.Addr()]
			if had[a.Prefix.Addr()] || len(from) == 0 {
				continue
			}
			// Link-local addresses may be on several interfaces.
			at := max(0, slices.IndexFunc(from, func(l loss) bool { return l.iface == a.Interface }))
			m := Move{
				Address: a.Prefix, Interface: a.Interface, Old: from[at].instance, New: x.New,
				From: old.Instances[from[at].instance].Name, To: x.Name,
			}
			if from[at].iface != a.Interface {
				m.OldInterface = from[at].iface
			}
			p.Moves = append(p.Moves, m)
		}
	}
}

// groups compares the sync groups; was says which instance is which.
func (p *Plan) groups(old, new *config.Config, was []int) {
	// Members as places in the old configuration, or beyond it if they are new.
	olds, news := make(map[string]int), make(map[string]int)
	for i := range old.Instances {
		olds[old.Instances[i].Name] = i
	}
	for i := range new.Instances {
		if news[new.Instances[i].Name] = was[i]; was[i] < 0 {
			news[new.Instances[i].Name] = len(old.Instances) + i
		}
	}
	before := func(i int) []int { return places(old.SyncGroups[i].Members, olds) }
	now := func(i int) []int { return places(new.SyncGroups[i].Members, news) }

	from, removed := pair(old.SyncGroups, new.SyncGroups, func(g *config.SyncGroup) string { return g.Name })
	for i := range from {
		if from[i] >= 0 {
			continue
		}
		same := slices.IndexFunc(removed, func(o int) bool { return sameMembers(before(o), now(i)) })
		if same >= 0 {
			from[i] = removed[same]
			removed = slices.Delete(removed, same, same+1)
		}
	}
	for i := range new.SyncGroups {
		g := &new.SyncGroups[i]
		x := Group{Kind: Added, Name: g.Name, Old: from[i], New: i, Regroup: true}
		if from[i] < 0 {
			x.Joined = g.Members
		} else {
			o := &old.SyncGroups[from[i]]
			then, are := before(from[i]), now(i)
			x.Changes = differences(o, g)
			x.Regroup = o.Name != g.Name || !slices.Equal(o.Members, g.Members) || !slices.Equal(then, are)
			x.Joined, x.Left = missing(g.Members, are, then), missing(o.Members, then, are)
			x.Kind = kindOf(x.Changes)
			if x.Regroup {
				x.Kind = Changed
			}
			if o.Name != g.Name {
				x.OldName = o.Name
			}
		}
		p.Groups = append(p.Groups, x)
	}
	for _, i := range removed {
		p.Groups = append(p.Groups, Group{Kind: Removed, Name: old.SyncGroups[i].Name, Old: i, New: -1, Left: old.SyncGroups[i].Members})
	}
}

// places returns where members are; -1 stands for one that is not there.
func places(members []string, at map[string]int) []int {
	out := make([]int, len(members))
	for i, name := range members {
		out[i] = -1
		if place, ok := at[name]; ok {
			out[i] = place
		}
	}
	return out
}

func sameMembers(a, b []int) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return len(a) > 0 && slices.Equal(a, b)
}

// missing returns the names of those that are not among the others.
func missing(names []string, places, others []int) []string {
	var out []string
	for i, at := range places {
		if !slices.Contains(others, at) {
			out = append(out, names[i])
		}
	}
	return out
}
