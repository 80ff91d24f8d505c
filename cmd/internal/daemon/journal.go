package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vipd/netif"
	"vipd/vrrp"
)

// journalVersion is the version of the journal's format. Another one is not
// read: cleaning up by a record that may mean something else could remove an
// address of the host's own.
const journalVersion = 1

// A journal is the record, in the run directory, of the addresses this host
// has only because of vipd. When a run ends without taking its addresses away,
// the next one knows which to remove: those, and never one that an operator or
// another program has put there.
//
// It is written once at start, before the first election, with all addresses
// the configuration names that are not on the host at that time. So becoming
// master writes nothing. Being recorded is not enough, though: somebody else may
// have added such an address since. Who did, the kernel tells (see addedByVipd);
// one that is too old to tell is taken at the journal's word.
type journal struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	ours map[vrrp.Address]netip.Prefix
	// routers says which virtual routers hold which addresses, for a start after a
	// crash, and ending that they are being handed over.
	routers []journalRouter
	ending  bool
	// promoted are the interfaces where promote_secondaries was off: those of the
	// start, and those that came later.
	promoted []string
}

type journalEntry struct {
	Prefix    netip.Prefix `json:"address"`
	Interface string       `json:"interface"`
}

// A journalRouter is one instance, and what makes it the same one.
type journalRouter struct {
	Name      string         `json:"name"`
	Interface string         `json:"interface"`
	Family    vrrp.Family    `json:"family"`
	VRID      uint8          `json:"vrid"`
	Source    netip.Addr     `json:"source,omitzero"` // if it has no interface
	Interval  time.Duration  `json:"advert_interval"` // nanoseconds, as is
	Lease     time.Duration  `json:"vip_lease"`       // 0: none
	Addresses []journalEntry `json:"addresses"`
}

type journalFile struct {
	Version int `json:"version"`
	// BootID keeps a record from before a reboot from meaning anything: no
	// address that vipd added outlives the kernel it was added to.
	BootID    string         `json:"boot_id"`
	Addresses []journalEntry `json:"addresses"`
	// The rest was added later; a record without it is as good otherwise.
	Routers  []journalRouter `json:"routers,omitempty"`
	Ending   bool            `json:"ending,omitempty"` // it has begun to hand over
	Promoted []string        `json:"promoted,omitempty"`
}

// bootID names the running kernel's life. It is empty when /proc does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func addressKey(a netif.Address) vrrp.Address {
	return vrrp.Address{IP: a.Prefix.Addr(), Interface: a.Interface}
}

// readJournal returns what an earlier run has recorded in this boot. Garbage is
// an empty record and a warning.
func readJournal(path string, log *slog.Logger) journalFile {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return journalFile{}
	}
	var f journalFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	switch {
	case err != nil:
		log.Warn("cannot read which addresses an earlier run left; look for stale ones yourself", "file", path, "error", err)
		return journalFile{}
	case f.Version != journalVersion:
		log.Warn("the record of an earlier run's addresses is of another version; look for stale ones yourself", "file", path, "version", f.Version)
		return journalFile{}
	case f.BootID != bootID():
		return journalFile{}
	}
	return f
}

// kernelTells reports whether the kernel remembers who added an address
// (IFA_PROTO, Linux 5.18).
var kernelTells = sync.OnceValue(func() bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 5 || major == 5 && minor >= 18
})

// addedByVipd reports whether an address may be one that vipd has added, as far
// as the kernel tells.
func addedByVipd(a netif.PresentAddress) bool {
	return a.Protocol == netif.Protocol || !kernelTells()
}

// A finder looks an address up on the host.
type addressFinder func(vrrp.Address) (netif.PresentAddress, bool)

func finder(s *netif.Snapshot) addressFinder {
	return func(a vrrp.Address) (netif.PresentAddress, bool) {
		link, ok := s.Link(a.Interface)
		if !ok {
			return netif.PresentAddress{}, false
		}
		return s.Find(link.Index, a.IP)
	}
}

// openJournal removes what an earlier run has left on the host, unless it is kept,
// and records what this one may add: all of wanted that is not there or is kept.
func openJournal(runDir string, log *slog.Logger, table addressTable, find addressFinder, was journalFile, keep map[vrrp.Address]bool, wanted []netif.Address) *journal {
	j := &journal{path: journalPath(runDir), log: log, ours: make(map[vrrp.Address]netip.Prefix)}
	removed := make(map[vrrp.Address]bool)
	var stale []netif.Address
	for _, e := range was.Addresses {
		if !e.Prefix.IsValid() {
			continue
		}
		a := netif.Address{Prefix: e.Prefix, Interface: e.Interface}
		key := addressKey(a)
		p, ok := find(key)
		switch {
		case !ok || p.Prefix != e.Prefix || !addedByVipd(p):
		case keep[key]:
			j.ours[key] = e.Prefix
		default:
			stale = append(stale, a)
		}
	}
	for _, a := range wanted {
		// A lease of vipd's without a record of it: that was lost, or could not be
		// written.
		p, ok := find(addressKey(a))
		recorded := func(e journalEntry) bool { return e.Prefix == p.Prefix && e.Interface == a.Interface }
		if ok && p.Protocol == netif.Protocol && p.Valid != netif.Forever && !slices.ContainsFunc(was.Addresses, recorded) {
			stale = append(stale, netif.Address{Prefix: p.Prefix, Interface: a.Interface})
		}
	}
	for i, res := range table.Remove(stale) {
		a := stale[i]
		if err := res.Err; err != nil {
			log.Error("cannot remove an address that an earlier run left", "address", a.Prefix, "interface", a.Interface, "error", err)
			j.ours[addressKey(a)] = a.Prefix
			continue
		}
		removed[addressKey(a)] = true
		log.Warn("removed an address that an earlier run left", "address", a.Prefix, "interface", a.Interface)
	}
	for _, a := range wanted {
		if _, present := find(addressKey(a)); removed[addressKey(a)] || !present {
			j.ours[addressKey(a)] = a.Prefix
		}
	}
	return j
}

func journalPath(runDir string) string { return filepath.Join(runDir, "addresses.json") }

// want takes note of addresses that a new configuration has. Those that are on
// the host already, and were not vipd's before, are not.
func (j *journal) want(wanted []netif.Address, find addressFinder) {
	j.mu.Lock()
	for _, a := range wanted {
		key := addressKey(a)
		if _, known := j.ours[key]; known {
			j.ours[key] = a.Prefix
			continue
		}
		if _, present := find(key); !present {
			j.ours[key] = a.Prefix
		}
	}
	j.mu.Unlock()
	if err := j.write(); err != nil {
		j.log.Error("cannot record which addresses are vipd's", "error", err)
	}
}

// owns reports whether an address that is on the host is there because of vipd.
func (j *journal) owns(a vrrp.Address, find addressFinder) bool {
	j.mu.Lock()
	_, recorded := j.ours[a]
	j.mu.Unlock()
	if !recorded {
		return false
	}
	p, ok := find(a)
	return ok && addedByVipd(p)
}

// own takes addresses into the record that vipd has put there although it knew better
// at the start: they were the host's own then, and somebody has removed them since.
func (j *journal) own(addrs []netif.Address) {
	j.mu.Lock()
	fresh := false
	for _, a := range addrs {
		if _, known := j.ours[addressKey(a)]; !known {
			j.ours[addressKey(a)], fresh = a.Prefix, true
		}
	}
	j.mu.Unlock()
	if !fresh {
		return
	}
	if err := j.write(); err != nil {
		j.log.Error("cannot record which addresses are vipd's", "error", err)
	}
}

// foreign takes addresses out of the record: somebody else has put them there.
func (j *journal) foreign(addrs []netif.Address) {
	j.mu.Lock()
	for _, a := range addrs {
		delete(j.ours, addressKey(a))
	}
	j.mu.Unlock()
	if err := j.write(); err != nil {
		j.log.Error("cannot record which addresses are vipd's", "error", err)
	}
}

// end records that the addresses are about to be handed over: whoever starts next
// is not to go on where this run was.
func (j *journal) end() {
	j.mu.Lock()
	j.ending = true
	j.mu.Unlock()
	if err := j.write(); err != nil {
		j.log.Error("cannot record that the addresses are handed over", "error", err)
	}
}

// promote records that promote_secondaries is about to be set on an interface.
func (j *journal) promote(iface string) {
	j.mu.Lock()
	known := slices.Contains(j.promoted, iface)
	if !known {
		j.promoted = append(j.promoted, iface)
	}
	j.mu.Unlock()
	if known {
		return
	}
	if err := j.write(); err != nil {
		j.log.Error("cannot record that promote_secondaries is to be put back", "interface", iface, "error", err)
	}
}

// run records which virtual routers there are.
func (j *journal) run(routers []journalRouter) {
	j.mu.Lock()
	j.routers = routers
	j.mu.Unlock()
}

// write replaces the file as a whole, so that a reader finds the old record or
// the new one.
func (j *journal) write() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := journalFile{
		Version: journalVersion, BootID: bootID(), Addresses: make([]journalEntry, 0, len(j.ours)),
		Routers: j.routers, Ending: j.ending, Promoted: j.promoted,
	}
	for a, prefix := range j.ours {
		f.Addresses = append(f.Addresses, journalEntry{Prefix: prefix, Interface: a.Interface})
	}
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("daemon: encoding %s: %w", j.path, err)
	}
	tmp := j.path + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("daemon: recording addresses: %w", err)
	}
	if err := os.Rename(tmp, j.path); err != nil {
		return fmt.Errorf("daemon: recording addresses: %w", err)
	}
	return nil
}

// remove deletes the record after an orderly end: nothing is left to clean up.
func (j *journal) remove() {
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.log.Warn("cannot remove the record of addresses", "file", j.path, "error", err)
	}
}
