package daemon

import (
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// A crashed is what a run left behind that was killed, and how it is found.
type crashed struct {
	cfg     config.Config
	was     journalFile
	present map[vrrp.Address]netif.PresentAddress
}

// newCrashed returns what two instances of a sync group leave behind that had
// renewed all their leases of 3 s a moment ago, right after an advertisement.
func newCrashed() *crashed {
	c := &crashed{present: make(map[vrrp.Address]netif.PresentAddress)}
	for _, x := range []struct {
		name, iface string
		vrid        uint8
		addrs       []string
	}{
		{"VI_1", "eth0", 1, []string{"192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64"}},
		{"VI_2", "eth1", 2, []string{"192.0.2.20/24"}},
	} {
		cfg := ownerConfig(x.name, x.iface, x.vrid, time.Second, x.addrs...)
		cfg.Priority, cfg.StartMaster = 200, false
		c.cfg.Instances = append(c.cfg.Instances, cfg)
	}
	c.was = journalFile{Version: journalVersion, BootID: bootID(), Routers: journalRouters(&c.cfg)}
	for _, r := range c.was.Routers {
		c.was.Addresses = append(c.was.Addresses, r.Addresses...)
		for _, e := range r.Addresses {
			c.renew(e, 100*time.Millisecond, 3*time.Second)
		}
	}
	return c
}

// renew has the kernel say that an address was given a lifetime some time ago.
func (c *crashed) renew(e journalEntry, ago, lifetime time.Duration) {
	a := vrrp.Address{IP: e.Prefix.Addr(), Interface: e.Interface}
	since := netif.KernelClock() - ago
	c.present[a] = netif.PresentAddress{Prefix: e.Prefix, Protocol: netif.Protocol, Created: since - time.Minute, Updated: since, Valid: lifetime - ago.Truncate(time.Second)}
}

// renewAll is renew for all addresses.
func (c *crashed) renewAll(ago, lifetime time.Duration) {
	for _, e := range c.was.Addresses {
		c.renew(e, ago, lifetime)
	}
}

// change changes what the kernel says of an address.
func (c *crashed) change(ip string, f func(*netif.PresentAddress)) {
	for a, p := range c.present {
		if a.IP.String() == ip {
			f(&p)
			c.present[a] = p
		}
	}
}

// lose has the kernel not have an address.
func (c *crashed) lose(ip string) {
	for a := range c.present {
		if a.IP.String() == ip {
			delete(c.present, a)
		}
	}
}

func (c *crashed) group() {
	c.cfg.SyncGroups = []config.SyncGroup{{Name: "VG", Members: []string{"VI_1", "VI_2"}}}
}

func TestWhoGoesOnAsMasterAfterACrash(t *testing.T) {
	const all1 = "192.0.2.10 192.0.2.11 2001:db8::10"
	for _, tt := range []struct {
		name   string
		change func(*crashed)
		names  string
		keep   string
	}{
		{"at once", func(*crashed) {}, "VI_1 VI_2", all1 + " 192.0.2.20"},
		{"at once, in a sync group", (*crashed).group, "VI_1 VI_2", all1 + " 192.0.2.20"},
		{"two intervals later", func(c *crashed) { c.renewAll(2200*time.Millisecond, 3*time.Second) }, "VI_1 VI_2", all1 + " 192.0.2.20"},
		{"too late", func(c *crashed) { c.renewAll(3100*time.Millisecond, 4*time.Second) }, "", ""},
		{"much too late, of a long lease", func(c *crashed) {
			for i := range c.was.Routers {
				c.was.Routers[i].Lease = time.Minute
			}
			c.renewAll(20*time.Second, time.Minute)
		}, "", ""},
		{"in time, but the renewal was long after the last advertisement", func(c *crashed) { c.renewAll(2200*time.Millisecond, 2*time.Second) }, "", ""},
		{"one of them too late", func(c *crashed) { c.renew(c.was.Routers[1].Addresses[0], 3500*time.Millisecond, 4*time.Second) }, "VI_1", all1},
		{"one of them too late, in a sync group", func(c *crashed) {
			c.group()
			c.renew(c.was.Routers[1].Addresses[0], 3500*time.Millisecond, 4*time.Second)
		}, "", ""},
		{"one address was renewed earlier than the others", func(c *crashed) { c.renew(c.was.Routers[0].Addresses[2], 1900*time.Millisecond, 3*time.Second) }, "VI_1 VI_2", all1 + " 192.0.2.20"},
		{"an address is gone", func(c *crashed) { c.lose("192.0.2.11") }, "VI_1 VI_2", "192.0.2.10 2001:db8::10 192.0.2.20"},
		{"all addresses of one are gone", func(c *crashed) { c.lose("192.0.2.20") }, "VI_1", all1},
		{"all addresses of one are gone, in a sync group", func(c *crashed) { c.group(); c.lose("192.0.2.20") }, "", ""},
		{"an address is not configured any more", func(c *crashed) { c.cfg.Instances[0].Addresses = c.cfg.Instances[0].Addresses[:1] }, "VI_1 VI_2", "192.0.2.10 2001:db8::10 192.0.2.20"},
		{"it was handing over", func(c *crashed) { c.was.Ending = true }, "", ""},
		{"nothing is recorded", func(c *crashed) { c.was = journalFile{} }, "", ""},
		{"the record is of a version that knew no instances", func(c *crashed) { c.was.Routers = nil }, "", ""},
		{"an address that is not recorded as vipd's", func(c *crashed) { c.was.Addresses = c.was.Addresses[1:3] }, "VI_1", "192.0.2.11 2001:db8::10"},
		{"permanent addresses", func(c *crashed) { c.renewAll(100*time.Millisecond, netif.Forever) }, "", ""},
		{"one permanent address", func(c *crashed) {
			c.change("192.0.2.10", func(p *netif.PresentAddress) { p.Valid = netif.Forever })
		}, "VI_1 VI_2", "192.0.2.11 2001:db8::10 192.0.2.20"},
		{"another prefix length in the kernel", func(c *crashed) {
			c.change("192.0.2.20", func(p *netif.PresentAddress) { p.Prefix = netip.MustParsePrefix("192.0.2.20/32") })
		}, "VI_1", all1},
		{"another virtual router", func(c *crashed) { c.cfg.Instances[1].VRID = 3 }, "VI_1", all1},
		{"another name", func(c *crashed) { c.cfg.Instances[1].Name = "VI_3" }, "VI_1", all1},
		{"another interface", func(c *crashed) { c.cfg.Instances[1].Interface = "eth2" }, "VI_1", all1},
		{"another family", func(c *crashed) { c.cfg.Instances[1].Family = vrrp.IPv6 }, "VI_1", all1},
		{"the instance is not configured any more", func(c *crashed) { c.cfg.Instances = c.cfg.Instances[:1] }, "VI_1", all1},
		{"a shorter interval now", func(c *crashed) {
			c.cfg.Instances[0].AdvertInterval = 200 * time.Millisecond
			c.renewAll(900*time.Millisecond, 3*time.Second)
		}, "VI_2", "192.0.2.20"},
		{"a shorter interval before", func(c *crashed) {
			c.was.Routers[1].Interval = 200 * time.Millisecond
			c.renewAll(900*time.Millisecond, 3*time.Second)
		}, "VI_1", all1},
		{"one advertisement may be missed", func(c *crashed) {
			c.cfg.Instances[0].DownTimerAdverts = 1
			c.renewAll(1500*time.Millisecond, 3*time.Second)
		}, "VI_2", "192.0.2.20"},
		{"garbage among the instances", func(c *crashed) {
			c.was.Routers = append([]journalRouter{{}, {Name: "VI_1"}, {Name: "VI_2", Addresses: []journalEntry{{}}}}, c.was.Routers...)
		}, "VI_1 VI_2", all1 + " 192.0.2.20"},
		{"an interval of 0 is recorded", func(c *crashed) { c.was.Routers[0].Interval = 0 }, "VI_2", "192.0.2.20"},
		{"a negative interval is recorded", func(c *crashed) { c.was.Routers[0].Interval = -time.Hour }, "VI_2", "192.0.2.20"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrashed()
			tt.change(c)
			names, keep := resumable(&c.cfg, c.was, func(a vrrp.Address) (netif.PresentAddress, bool) {
				p, ok := c.present[a]
				return p, ok
			}, netif.KernelClock())
			var gotNames, gotKeep []string
			for name, ok := range names {
				if ok {
					gotNames = append(gotNames, name)
				}
			}
			for a, ok := range keep {
				if ok {
					gotKeep = append(gotKeep, a.IP.String())
				}
			}
			wantKeep := strings.Fields(tt.keep)
			slices.Sort(gotNames)
			slices.Sort(gotKeep)
			slices.Sort(wantKeep)
			if got := strings.Join(gotNames, " "); got != tt.names {
				t.Errorf("%q go on, want %q", got, tt.names)
			}
			if !slices.Equal(gotKeep, wantKeep) {
				t.Errorf("%q are kept, want %q", gotKeep, wantKeep)
			}
		})
	}
}

// TestWhatSomebodyElseAddedDoesNotMakeAMaster finds addresses with a lifetime that
// are in the record, but that another program has added.
func TestWhatSomebodyElseAddedDoesNotMakeAMaster(t *testing.T) {
	if !kernelTells() {
		t.Skip("the kernel does not tell who added an address")
	}
	c := newCrashed()
	for _, e := range c.was.Addresses {
		c.change(e.Prefix.Addr().String(), func(p *netif.PresentAddress) { p.Protocol = 0 })
	}
	names, keep := resumable(&c.cfg, c.was, func(a vrrp.Address) (netif.PresentAddress, bool) {
		p, ok := c.present[a]
		return p, ok
	}, netif.KernelClock())
	if len(names) > 0 || len(keep) > 0 {
		t.Errorf("%v go on, with %v", names, keep)
	}
}

// TestAUnicastInstanceWithoutInterfaceIsKnownByItsSource starts with another
// source address.
func TestAUnicastInstanceWithoutInterfaceIsKnownByItsSource(t *testing.T) {
	a := config.Instance{Name: "VI_1", VRID: 1, Family: vrrp.IPv4, SourceIP: netip.MustParseAddr("192.0.2.1")}
	b := a
	was, now := identity(&a), identity(&b)
	if !was.same(&now) {
		t.Error("it is another one")
	}
	b.SourceIP = netip.MustParseAddr("192.0.2.2")
	if now = identity(&b); was.same(&now) {
		t.Error("from another source it is the same one")
	}
	a.Interface, b.Interface = "eth0", "eth0"
	if was, now = identity(&a), identity(&b); !was.same(&now) {
		t.Error("on an interface, which has the addresses it has, it is another one")
	}
}

func TestTheJournalIsReadAsItWasWritten(t *testing.T) {
	c := newCrashed()
	dir := t.TempDir()
	table := newFakeKernel()
	j := openJournal(dir, quiet(), table, table.find, journalFile{}, nil, []netif.Address{{Prefix: netip.MustParsePrefix("192.0.2.10/24"), Interface: "eth0"}})
	j.promoted = []string{"eth0"}
	j.run(journalRouters(&c.cfg))
	if err := j.write(); err != nil {
		t.Fatal(err)
	}
	read := readJournal(journalPath(dir), quiet())
	if read.Ending || !slices.Equal(read.Promoted, []string{"eth0"}) || len(read.Routers) != 2 || len(read.Addresses) != 1 {
		t.Errorf("read %+v", read)
	}
	for i := range read.Routers {
		if r, w := &read.Routers[i], &c.was.Routers[i]; !r.same(w) || r.Interval != w.Interval || r.Lease != w.Lease || !slices.Equal(r.Addresses, w.Addresses) {
			t.Errorf("read %+v, written %+v", r, w)
		}
	}
	j.end()
	if read = readJournal(journalPath(dir), quiet()); !read.Ending {
		t.Error("that it ends is not recorded")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%v are in the run directory: %v", names, err)
	}
}

// TestOfAForeignRecordNothingIsTaken offers records of other versions and boots,
// of an earlier one, and ones that were cut anywhere.
func TestOfAForeignRecordNothingIsTaken(t *testing.T) {
	c := newCrashed()
	encode := func(change func(*journalFile)) []byte {
		f := c.was
		change(&f)
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	whole := encode(func(*journalFile) {})
	read := func(content []byte) journalFile {
		dir := t.TempDir()
		if err := os.WriteFile(journalPath(dir), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return readJournal(journalPath(dir), quiet())
	}
	for name, content := range map[string][]byte{
		"another version":       encode(func(f *journalFile) { f.Version++ }),
		"version 0":             encode(func(f *journalFile) { f.Version = 0 }),
		"another boot":          encode(func(f *journalFile) { f.BootID = "x" }),
		"no boot":               encode(func(f *journalFile) { f.BootID = "" }),
		"empty":                 nil,
		"a list":                []byte("[]"),
		"addresses of nothing":  []byte(`{"version":1,"boot_id":"` + bootID() + `","addresses":[{"address":"nonsense"}]}`),
		"a text for a number":   []byte(`{"version":1,"boot_id":"` + bootID() + `","routers":[{"vrid":"x"}]}`),
		"a number out of range": []byte(`{"version":1,"boot_id":"` + bootID() + `","routers":[{"vrid":256}]}`),
	} {
		if f := read(content); len(f.Addresses) > 0 || len(f.Routers) > 0 || len(f.Promoted) > 0 {
			t.Errorf("%s: read %+v", name, f)
		}
	}
	for n := 0; n < len(whole); n += 7 {
		if f := read(whole[:n]); len(f.Addresses) > 0 || len(f.Routers) > 0 {
			t.Fatalf("of the first %d octets it read %+v", n, f)
		}
	}
	// One from before there were leases is good for cleaning up.
	old := read([]byte(`{"version":1,"boot_id":"` + bootID() + `","addresses":[{"address":"192.0.2.10/24","interface":"eth0"}]}`))
	if len(old.Addresses) != 1 || len(old.Routers) != 0 {
		t.Errorf("of an earlier version: %+v", old)
	}
	// One that knows more, too, and for going on: what it knows besides is its own.
	more := strings.NewReplacer(`"version":`, `"since":{"a":[1]},"version":`, `"vrid":`, `"more":"x","vrid":`, `"address":`, `"flags":7,"address":`).Replace(string(whole))
	if later := read([]byte(more)); more == string(whole) || !reflect.DeepEqual(later, read(whole)) {
		t.Errorf("of a later one: %+v", later)
	}
}

// TestLeasesWithoutARecordAreCleanedUp starts where an earlier run has left what it
// could not record, next to addresses that are not known to be vipd's.
func TestLeasesWithoutARecordAreCleanedUp(t *testing.T) {
	if !kernelTells() {
		t.Skip("the kernel does not tell who added an address")
	}
	synctest.Test(t, func(t *testing.T) {
		kernel := newFakeKernel()
		for _, x := range []struct {
			prefix   string
			lifetime time.Duration
			protocol uint8
		}{
			{"192.0.2.10/24", 3 * time.Second, netif.Protocol},
			{"192.0.2.11/24", 0, netif.Protocol},
			{"192.0.2.12/24", 3 * time.Second, 0},
			{"192.0.2.13/24", 3 * time.Second, netif.Protocol},
			{"2001:db8::10/64", 3 * time.Second, netif.Protocol},
		} {
			kernel.add(netif.Address{Prefix: netip.MustParsePrefix(x.prefix), Interface: "eth0", ValidLifetime: x.lifetime}, x.protocol)
		}
		var wanted []netif.Address
		for _, p := range []string{"192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24", "2001:db8::10/64"} {
			wanted = append(wanted, netif.Address{Prefix: netip.MustParsePrefix(p), Interface: "eth0"})
		}
		openJournal(t.TempDir(), quiet(), kernel, kernel.find, journalFile{}, nil, wanted)
		for ip, want := range map[string]bool{"192.0.2.10": false, "192.0.2.11": true, "192.0.2.12": true, "192.0.2.13": true, "2001:db8::10": false} {
			if kernel.has(ip) != want {
				t.Errorf("%s is there: %t", ip, !want)
			}
		}
		time.Sleep(4 * time.Second) // what is left of the leases
	})
}
