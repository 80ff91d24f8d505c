package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"vipd/cmd/internal/managers"
	"vipd/config"
)

// findManagers returns what the network managers of this host do to the virtual
// addresses of a configuration. Interfaces that this host does not have are left
// out, so that a configuration for another one is judged by itself.
func findManagers(cfg *config.Config) []managers.Finding {
	if cfg == nil { // it cannot be run
		return nil
	}
	return managers.Look(os.DirFS("/"), managers.Interfaces(cfg, func(name string) (int, bool) {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return 0, false
		}
		return ifi.Index, true
	}))
}

// noteManagers says it. That is no fault of the configuration either, so that
// --strict does not count it.
func noteManagers(w io.Writer, found []managers.Finding) {
	for _, f := range found {
		fmt.Fprintf(w, "note: %v\n", f)
	}
}
