package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"vipd/netif"
)

// A secondaries is an address table on which the removal of an address takes no
// other with it. The first IPv4 address of a subnet on an interface is its
// primary one, and the others are secondary to it; the kernel removes those with
// it, the host's own included, unless promote_secondaries is set. So it is, while
// addresses are removed.
type secondaries struct {
	addressTable
	log *slog.Logger
}

// Remove removes addresses, and nothing but them.
func (t secondaries) Remove(addrs []netif.Address) []netif.Result {
	seen := make(map[string]bool)
	for _, a := range addrs {
		if seen[a.Interface] || !a.Prefix.Addr().Is4() || a.Prefix.Bits() == 32 {
			continue
		}
		seen[a.Interface] = true
		undo, err := promoteSecondaries(a.Interface)
		if err != nil {
			t.log.Warn("other addresses of the subnet may go with the one that is removed: promote_secondaries is off and cannot be set", "interface", a.Interface, "error", err)
			continue
		}
		defer undo()
	}
	return t.addressTable.Remove(addrs)
}

// promoteSecondaries sets promote_secondaries on an interface and returns what
// puts it back. An interface that does not exist needs neither.
func promoteSecondaries(iface string) (undo func(), err error) {
	nothing := func() {}
	if strings.ContainsRune(iface, '/') {
		return nothing, nil // no interface is called that
	}
	file := "/proc/sys/net/ipv4/conf/" + iface + "/promote_secondaries"
	b, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(b)) != "0" {
		return nothing, nil
	}
	if err == nil {
		err = os.WriteFile(file, []byte("1"), 0)
	}
	if err != nil {
		// It may have gone in between, in which case the error is any.
		if _, gone := os.Stat(file); errors.Is(gone, fs.ErrNotExist) {
			return nothing, nil
		}
		return nil, fmt.Errorf("daemon: setting a kernel parameter: %w", err)
	}
	// An interface that has gone meanwhile has taken the setting along.
	return func() { _ = os.WriteFile(file, b, 0) }, nil
}
