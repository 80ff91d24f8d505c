package main

import (
	"strings"
	"testing"

	"vipd/cmd/internal/managers"
	"vipd/config"
)

// TestAManagerIsNoFaultOfTheConfiguration has a note say what it does, and what is
// not on this host, as for a configuration that is checked elsewhere, say nothing.
func TestAManagerIsNoFaultOfTheConfiguration(t *testing.T) {
	var b strings.Builder
	noteManagers(&b, []managers.Finding{{Interface: "eth0", Manager: "systemd-networkd", Does: "removes them", Cure: "write this"}})
	if got, want := b.String(), "note: eth0: systemd-networkd removes them: write this\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	elsewhere := &config.Config{Instances: []config.Instance{{Addresses: []config.Address{{Interface: "not-on-this-host"}}}}}
	for _, cfg := range []*config.Config{nil, elsewhere} {
		if found := findManagers(cfg); len(found) > 0 {
			t.Errorf("got %v of %v", found, cfg)
		}
	}
}
