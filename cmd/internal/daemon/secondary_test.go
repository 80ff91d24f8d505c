package daemon

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/netif"
)

// settingsOf makes a directory with promote_secondaries of interfaces, "eth0=0".
func settingsOf(t *testing.T, values ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, v := range values {
		iface, value, _ := strings.Cut(v, "=")
		if err := os.MkdirAll(filepath.Join(dir, iface), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, iface, "promote_secondaries"), []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readOnly is what writing to a file system that is mounted read-only says.
func readOnly(file, _ string) error { return &fs.PathError{Op: "open", Path: file, Err: unix.EROFS} }

// TestStatusDoesNotBelieveInALeaseThatCannotBe has promote_secondaries be off, and
// impossible to set, as in a container with a read-only /proc/sys.
func TestStatusDoesNotBelieveInALeaseThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		name   string
		conf   []string
		write  func(file, value string) error
		addrs  []string
		length time.Duration
		off    []string // what it says; nil: nothing
	}{
		{"it cannot be set", []string{"all=0", "eth0=0"}, readOnly, []string{"192.0.2.10/24"}, 0, []string{"eth0", "read-only file system", "sysctl -w net.ipv4.conf.eth0.promote_secondaries=1"}},
		{"some do not need it", []string{"all=0", "eth0=0"}, readOnly, []string{"192.0.2.10/24", "192.0.2.11/32", "2001:db8::10/64"}, 3 * time.Second, []string{"eth0", "read-only file system"}},
		{"none needs it", []string{"all=0", "eth0=0"}, readOnly, []string{"192.0.2.11/32", "2001:db8::10/64"}, 3 * time.Second, nil},
		{"it is on", []string{"all=0", "eth0=1"}, readOnly, []string{"192.0.2.10/24"}, 3 * time.Second, nil},
		{"it is on for all", []string{"all=1", "eth0=0"}, readOnly, []string{"192.0.2.10/24"}, 3 * time.Second, nil},
		{"it can be set", []string{"all=0", "eth0=0"}, nil, []string{"192.0.2.10/24"}, 3 * time.Second, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kernel := newFakeKernel()
				h := newOwnerHost(t, kernel, ownerConfig("VI_1", "eth0", 1, time.Second, tt.addrs...))
				defer h.end()
				table := newSecondaries(kernel, quiet())
				table.conf = settingsOf(t, tt.conf...)
				if tt.write != nil {
					table.write = tt.write
				}
				r := h.routers[0]
				r.ask(func(inst *instance) { inst.noLease = table.refused.of })
				h.keeper.finish(func() { h.keeper.table = table })
				r.start()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				var lease control.Lease
				r.ask(func(inst *instance) {
					var out control.Instance
					s := inst.m.Snapshot()
					inst.ownership(&out, &s)
					lease = *out.Lease
				})
				if lease.Length.Duration() != tt.length || (lease.Off == "") != (tt.off == nil) {
					t.Errorf("status says %+v", lease)
				}
				for _, want := range tt.off {
					if !strings.Contains(lease.Off, want) {
						t.Errorf("status does not say %q: %s", want, lease.Off)
					}
				}
				for _, g := range kernel.gifts("192.0.2.10") {
					if leased := g.lifetime > 0; leased != (tt.off == nil) {
						t.Errorf("%v", g)
					}
				}
				for _, ip := range []string{"192.0.2.11", "2001:db8::10"} {
					for _, g := range kernel.gifts(ip) {
						if g.lifetime == 0 {
							t.Errorf("%v, although it takes no other along", g)
						}
					}
				}
			})
		})
	}
}

// TestALeaseBeginsWhenItCan has somebody set promote_secondaries from outside.
func TestALeaseBeginsWhenItCan(t *testing.T) {
	kernel := newFakeKernel()
	table := newSecondaries(kernel, quiet())
	table.conf, table.write = settingsOf(t, "all=0", "eth0=0"), readOnly
	addr := netif.Address{Prefix: prefixes("192.0.2.10/24")[0], Interface: "eth0", ValidLifetime: time.Minute}
	table.AddIf([]netif.Address{addr}, func() bool { return true })
	if table.refused.of("eth0") == "" {
		t.Fatal("it is not said that there is no lease")
	}
	table.conf = settingsOf(t, "all=0", "eth0=1")
	table.RenewFunc([]netif.Address{addr}, nil)
	if why := table.refused.of("eth0"); why != "" {
		t.Errorf("it is still said that there is no lease: %s", why)
	}
	if gifts := kernel.gifts(""); len(gifts) != 2 || gifts[0].lifetime != 0 || gifts[1].lifetime != time.Minute {
		t.Errorf("it was given %v", gifts)
	}
	kernel.addrs[addressKey(addr)].ends.Stop()
}

// TestWhatIsToBePutBackIsRecordedBeforeItIsSet has an interface appear when the record
// of the start is written, and the process die at any time after that.
func TestWhatIsToBePutBackIsRecordedBeforeItIsSet(t *testing.T) {
	dir := t.TempDir()
	kernel := newFakeKernel()
	table := newSecondaries(kernel, quiet())
	table.conf = settingsOf(t, "all=0", "eth0=0")
	known := []netif.Address{{Prefix: prefixes("192.0.2.10/24")[0], Interface: "eth0"}, {Prefix: prefixes("198.51.100.10/24")[0], Interface: "eth1"}}
	j := reopen(t, dir, table, kernel.find, known)
	j.promoted = table.unprotected(known)
	if err := j.write(); err != nil {
		t.Fatal(err)
	}
	table.record = j.promote
	recorded := func() []string { return readJournal(journalPath(dir), quiet()).Promoted }
	if got := recorded(); !slices.Equal(got, []string{"eth0"}) {
		t.Fatalf("at the start %q is recorded", got)
	}
	appear := func(iface string) {
		if err := os.Rename(filepath.Join(settingsOf(t, iface+"=0"), iface), filepath.Join(table.conf, iface)); err != nil {
			t.Fatal(err)
		}
	}
	table.write = func(file, value string) error {
		if iface := filepath.Base(filepath.Dir(file)); value == "1" && !slices.Contains(recorded(), iface) {
			t.Errorf("%s is set without a record", iface)
		}
		return os.WriteFile(file, []byte(value), 0)
	}
	appear("eth1") // it was not there
	appear("eth2") // a reload names it
	for _, a := range append(known, netif.Address{Prefix: prefixes("203.0.113.10/24")[0], Interface: "eth2"}) {
		a.ValidLifetime = time.Minute
		table.AddIf([]netif.Address{a}, func() bool { return true })
		defer kernel.addrs[addressKey(a)].ends.Stop()
	}
	appear("eth3") // only an address is removed there
	table.Remove([]netif.Address{{Prefix: prefixes("203.0.113.11/24")[0], Interface: "eth3"}})
	if got := recorded(); !slices.Equal(got, []string{"eth0", "eth1", "eth2", "eth3"}) {
		t.Errorf("in the end %q is recorded", got)
	}

	// It dies, and the next run puts everything back.
	next := newSecondaries(kernel, quiet())
	next.conf = table.conf
	for _, iface := range recorded() {
		next.changed[iface] = true
	}
	next.putBack()
	for _, iface := range []string{"eth0", "eth1", "eth2", "eth3"} {
		b, err := os.ReadFile(filepath.Join(table.conf, iface, "promote_secondaries"))
		if err != nil || strings.TrimSpace(string(b)) != "0" {
			t.Errorf("%s is left with %q (%v)", iface, b, err)
		}
	}
}
