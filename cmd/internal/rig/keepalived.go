package rig

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/netif/netiftest"
)

// A Keepalived is a keepalived that runs.
type Keepalived struct {
	*process
	File string // the configuration
}

// StartKeepalived starts keepalived with a configuration. It does not wait for
// anything. If keepalived is not installed the test is skipped, or fails where
// the environment says CI=true.
func StartKeepalived(t testing.TB, node *netiftest.Node, conf string) *Keepalived {
	t.Helper()
	program := netiftest.RequireProgram(t, "keepalived")
	file := writeConfig(t, "keepalived.conf", conf)
	dir := filepath.Dir(file)
	return &Keepalived{File: file, process: start(t, node, program,
		"--dont-fork", "--log-console", "--log-detail", "--no-syslog", "--vrrp", "--use-file", file,
		"--pid", filepath.Join(dir, "pid"),
		"--vrrp_pid", filepath.Join(dir, "vrrp.pid"),
		"--checkers_pid", filepath.Join(dir, "checkers.pid"))}
}

// State returns the state of an instance, by what keepalived has logged last.
func (k *Keepalived) State(instance string) control.State {
	state := control.State("")
	for line := range strings.Lines(k.Log()) {
		_, line, found := strings.Cut(line, "("+instance+") Entering ")
		if !found {
			continue
		}
		word, _, _ := strings.Cut(line, " STATE")
		state = control.State(strings.ToLower(word))
	}
	return state
}

// WaitState waits until an instance is in a state.
func (k *Keepalived) WaitState(t testing.TB, instance string, want control.State, timeout time.Duration) {
	t.Helper()
	k.waitState(t, k.State, instance, want, timeout)
}
