// Package managers finds out which network manager of this host takes away
// virtual addresses on an interface, and what keeps it from that. It only reads
// files, those that the managers keep about themselves among them, so that a test
// can give it any host. What it says was measured: see docs/network-managers.md.
package managers

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"vipd/config"
)

// The programs that are known, by the name that the kernel has for them, which it
// cuts off after 15 characters.
const (
	networkdComm = "systemd-network"
	nmComm       = "NetworkManager"
)

// generic is what can be said of a program without a look at the interface.
var generic = []struct{ comm, cure string }{
	{networkdComm, "systemd-networkd runs here: write KeepConfiguration=yes below [Network] in the interface's .network file"},
	{nmComm, "NetworkManager runs here: do not activate or reapply the interface's connection while vipd is master, or have the interface unmanaged"},
	{"dhclient", "dhclient runs here: have no DHCP on the interface"},
	{"dhcpcd", "dhcpcd runs here: denyinterfaces IFACE in dhcpcd.conf"},
	{"connmand", "connman runs here: NetworkInterfaceBlacklist=IFACE in main.conf"},
	{"wickedd", "wicked runs here: do not let it reload the interface"},
}

// An Interface is one that virtual addresses are on.
type Interface struct {
	Name   string
	Index  int
	Leased bool // the addresses have a lifetime in the kernel
}

// A Finding says what a manager does to the virtual addresses of an interface.
type Finding struct {
	Interface string `json:"interface"`
	Manager   string `json:"manager"`
	Does      string `json:"does"`
	Cure      string `json:"cure"`
	comm      string
}

// String says it in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s %s: %s", f.Interface, f.Manager, f.Does, f.Cure)
}

// Look returns what the managers that run on a host do on the given interfaces, in
// their order. What cannot be read is taken as not there: nobody is suspected
// without a sign.
func Look(root fs.FS, on []Interface) []Finding {
	runs := running(root)
	var found []Finding
	for _, ifi := range on {
		if runs[networkdComm] {
			if f, ok := networkd(root, ifi); ok {
				found = append(found, f)
			}
		}
		if runs[nmComm] {
			if f, ok := networkManager(root, ifi); ok {
				found = append(found, f)
			}
		}
	}
	return found
}

// Advise says what is to be done when addresses on the given interfaces keep
// being removed: the cure of whoever does that there, or else of every program
// that runs and is known for it. It is empty if there is none.
func Advise(root fs.FS, on []Interface) string {
	found := Look(root, on)
	var cures []string
	for _, f := range found {
		cures = append(cures, f.String())
	}
	runs := running(root)
	for _, g := range generic {
		if runs[g.comm] && !slices.ContainsFunc(found, func(f Finding) bool { return f.comm == g.comm }) {
			cures = append(cures, g.cure)
		}
	}
	return strings.Join(cures, "; ")
}

// running returns the names of the processes that share this network namespace, or
// of which that cannot be known: only root is told.
func running(root fs.FS) map[string]bool {
	own, _ := fs.ReadLink(root, "proc/self/ns/net")
	runs := make(map[string]bool)
	names, _ := fs.Glob(root, "proc/[0-9]*/comm")
	for _, name := range names {
		b, err := fs.ReadFile(root, name)
		if err != nil {
			continue // it has ended
		}
		theirs, err := fs.ReadLink(root, path.Join(path.Dir(name), "ns/net"))
		if err == nil && own != "" && theirs != own || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		runs[strings.TrimSpace(string(b))] = true
	}
	return runs
}

// settings reads a file of lines KEY=VALUE without sections, as systemd-networkd
// and NetworkManager keep them about interfaces.
func settings(root fs.FS, name string) map[string]string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	m := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			m[key] = value
		}
	}
	return m
}

// Interfaces returns those that the virtual addresses of a configuration are on, as
// far as this host has them, in the order of the configuration. The index of an
// interface tells whether it does.
func Interfaces(cfg *config.Config, index func(name string) (int, bool)) []Interface {
	var on []Interface
	place := make(map[string]int) // in the list; -1: this host does not have it
	for i := range cfg.Instances {
		inst := &cfg.Instances[i]
		for _, a := range slices.Concat(inst.Addresses, inst.Excluded) {
			at, known := place[a.Interface]
			if !known {
				at = -1
				if n, ok := index(a.Interface); ok {
					at = len(on)
					on = append(on, Interface{Name: a.Interface, Index: n})
				}
				place[a.Interface] = at
			}
			if at >= 0 && inst.VIPLease.Mode != config.LeaseOff {
				on[at].Leased = true
			}
		}
	}
	return on
}
