package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"vipd/vrrp"
)

// invariants checks what the daemon relies on in an instance that has no error.
func invariants(in Instance) error {
	var errs []error
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s", in.Name, what))
		}
	}
	check(in.Name != "", "no name")
	check(in.VRID > 0, "no VRID")
	check(in.Priority > 0, "no priority")
	check(in.Interface != "" || len(in.Peers) > 0 && in.SourceIP.IsValid(), "no interface")
	check(in.Family == vrrp.IPv4 || in.Family == vrrp.IPv6, "no family")
	switch in.Version {
	case vrrp.V2:
		check(in.Family == vrrp.IPv4, "version 2 with IPv6")
		check(in.AdvertInterval >= time.Second && in.AdvertInterval <= 255*time.Second && in.AdvertInterval%time.Second == 0, "interval")
	case vrrp.V3:
		check(in.AuthType == vrrp.AuthNone && in.AuthData == [8]byte{}, "version 3 with authentication")
		check(in.AdvertInterval >= 10*time.Millisecond && in.AdvertInterval <= 40950*time.Millisecond && in.AdvertInterval%(10*time.Millisecond) == 0, "interval")
	default:
		check(false, "no version")
	}
	check(in.AuthType == vrrp.AuthNone || in.AuthType == vrrp.AuthPass && in.AuthData != [8]byte{}, "authentication")
	check(len(in.Addresses) <= MaxAddresses, "too many addresses")
	for _, a := range in.Addresses {
		check(vrrp.FamilyOf(a.Prefix.Addr()) == in.Family, "foreign address")
	}
	for _, a := range append(append([]Address{}, in.Addresses...), in.Excluded...) {
		check(a.Prefix.IsValid() && a.Interface != "" && len(a.Interface) < 16 && len(a.Label) < 16, "address "+a.Prefix.String())
		check(a.Prefix.Addr().Is4() || a.Label == "" && !a.Broadcast.IsValid() && a.Scope == 0, "IPv4 properties on IPv6")
		check(a.Prefix.Addr().Is6() || !a.Deprecated && a.PreferredLifetime == 0 && !a.DAD, "IPv6 properties on IPv4")
		check(!a.Deprecated || a.PreferredLifetime == 0, "deprecated and preferred")
	}
	check(in.Group.IsValid() == (len(in.Peers) == 0), "group or peers")
	check(!in.Group.IsValid() || in.Group.IsMulticast() && vrrp.FamilyOf(in.Group) == in.Family, "group")
	for _, p := range in.Peers {
		check(vrrp.FamilyOf(p.Addr) == in.Family && !p.Addr.IsMulticast(), "peer")
		check(in.CheckUnicastSource || p.MinTTL < 0 && p.MaxTTL < 0, "TTL of peer without source check")
	}
	check(len(in.Peers) > 0 || !in.CheckUnicastSource, "unicast check without peers")
	check(!in.SourceIP.IsValid() || vrrp.FamilyOf(in.SourceIP) == in.Family, "source")
	check(in.SourceIP.IsValid() || !in.TrackSourceIP, "tracked source")
	check(in.TTL >= 0 && in.TTL <= 255 && (in.TTL == 255 || len(in.Peers) > 0), "TTL")
	check(in.DownTimerAdverts >= 1, "down_timer_adverts")
	check(in.GARP.MasterRepeat >= 1 && in.GARP.RefreshRepeat >= 1 && in.GARP.LowerPrioRepeat >= 0, "repeats")
	length := in.LeaseLength()
	check((length == 0) == (in.VIPLease.Mode == LeaseOff) && length%time.Second == 0 && (length == 0 || vrrp.LeaseRenewable(length, in.AdvertInterval)), "lease")
	check(in.PreemptDelay == 0 || in.Preempt && !in.StartMaster, "preempt_delay")
	check(in.Preempt || !in.StartMaster, "nopreempt as master")
	check(in.Checksum == vrrp.ChecksumPseudoHeader || in.Version == vrrp.V3 && in.Family == vrrp.IPv4, "checksum")
	for _, name := range in.TrackInterfaces {
		check(name != "" && name != in.Interface, "tracked interface")
	}
	return errors.Join(errs...)
}

// trackingInvariants checks what the daemon relies on in a configuration that
// has no error.
func trackingInvariants(c *Config) error {
	var errs []error
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	command := func(what string, cmd *Command) {
		if cmd == nil {
			return
		}
		check(len(cmd.Argv) > 0 && cmd.Argv[0] != "" && cmd.User != "" && cmd.Pos.Line > 0, what+": command")
		for _, a := range cmd.Argv {
			check(!strings.ContainsRune(a, 0), what+": NUL")
		}
	}
	notify := func(what string, n *Notify) {
		for _, cmd := range []*Command{n.Master, n.Backup, n.Fault, n.Stop, n.Deleted, n.MasterRxLowerPri, n.Any} {
			command(what, cmd)
		}
		check(n.Deleted == nil || n.ReportDeleted, what+": notify_deleted")
	}
	known := make(map[objectKey]bool)
	object := func(kind TrackKind, name string, weight, limit int) {
		check(name != "" && weight >= -limit && weight <= limit && !known[objectKey{kind, name}], name+": name or weight")
		known[objectKey{kind, name}] = true
	}
	timing := func(name string, t Timing) {
		check(t.Interval > 0 && t.Timeout > 0 && t.Rise > 0 && t.Fall > 0, name+": timing")
	}
	g := &c.Global
	check(g.NotifyTimeout > 0 && g.StartupScriptTimeout > 0 && g.ShutdownScriptTimeout > 0, "timeouts")
	command("startup_script", g.StartupScript)
	command("shutdown_script", g.ShutdownScript)
	for _, f := range g.NotifyFIFOs {
		check(strings.HasPrefix(f.Path, "/"), "FIFO")
		command("FIFO", f.Script)
	}
	check(g.Mail == nil || len(g.Mail.To) > 0 && g.Mail.Server != "" && g.Mail.Port > 0 && g.Mail.ConnectTimeout > 0, "mail")
	for i := range c.Scripts {
		s := &c.Scripts[i]
		object(TrackScript, s.Name, s.Weight, 253)
		timing(s.Name, s.Timing)
		command(s.Name, &s.Command)
	}
	for i := range c.Checks {
		k := &c.Checks[i]
		object(TrackCheck, k.Name, k.Weight, 253)
		timing(k.Name, k.Timing)
		kinds := 0
		for _, set := range []bool{k.TCP != nil, k.HTTP != nil, k.DNS != nil, k.ICMP != nil, k.SystemdUnit != nil} {
			if set {
				kinds++
			}
		}
		check(kinds == 1, k.Name+": kind")
		check(k.ICMP == nil || k.ICMP.Family == 4 || k.ICMP.Family == 6, k.Name+": family")
	}
	for i := range c.Processes {
		p := &c.Processes[i]
		object(TrackProcess, p.Name, p.Weight, 254)
		check(len(p.Argv) > 0 && p.Argv[0] != "" && p.Quorum >= 0 && p.QuorumMax >= -1, p.Name+": process")
	}
	for i := range c.TrackedFiles {
		f := &c.TrackedFiles[i]
		object(TrackFile, f.Name, f.Weight, 254)
		check(strings.HasPrefix(f.Path, "/"), f.Name+": path")
	}
	members := make(map[string]string)
	for i := range c.SyncGroups {
		g := &c.SyncGroups[i]
		check(g.Name != "" && len(g.Members) > 0, g.Name+": members")
		notify(g.Name, &g.Notify)
		for _, m := range g.Members {
			check(members[m] == "", m+": in two groups")
			members[m] = g.Name
		}
	}
	for i := range c.Instances {
		in := &c.Instances[i]
		notify(in.Name, &in.Notify)
		check(in.SyncGroup == members[in.Name], in.Name+": group")
		seen := make(map[objectKey]bool)
		for _, tr := range in.Tracks {
			key := objectKey{tr.Kind, tr.Name}
			check(!seen[key], tr.Name+": tracked twice")
			seen[key] = true
			check(known[key] || tr.Kind == TrackInterface && (tr.Weight != 0 || tr.Reverse), tr.Name+": unknown")
			check(tr.Weight == 0 || in.Priority != vrrp.PriorityOwner, tr.Name+": weight of an owner")
			check(tr.Weight >= -254 && tr.Weight <= 254 && tr.Pos.Line > 0, tr.Name+": weight")
		}
	}
	return errors.Join(errs...)
}

// FuzzParse feeds arbitrary files to the YAML front-end.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/*.yaml", "../examples/*.yaml"} {
		for _, file := range glob(f, pattern) {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, dia := range []dialect{yamlDialect(), confDialect()} {
			c, diags := parse("fuzz.yaml", data, dia)
			if dia.strict && (c == nil) != diags.HasErrors() || c == nil && !diags.HasErrors() {
				t.Fatalf("config is nil: %t, but there are errors: %t", c == nil, diags.HasErrors())
			}
			lines := 1
			for _, b := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // what YAML 1.1 calls breaks
				lines += strings.Count(string(data), b)
			}
			last := Pos{}
			for _, d := range diags {
				if d.Message == "" || strings.ContainsFunc(d.String(), unicode.IsControl) {
					t.Errorf("message %q", d)
				}
				if d.Line < 0 || d.Line > lines+1 || d.Col < 0 {
					t.Errorf("%s: there are %d lines", d, lines)
				}
				if before(d.Pos, last) {
					t.Errorf("%s comes after %s", d, last)
				}
				last = d.Pos
			}
			if c == nil {
				continue
			}
			if err := trackingInvariants(c); err != nil {
				t.Error(err)
			}
			for _, in := range c.Instances {
				if err := invariants(in); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
