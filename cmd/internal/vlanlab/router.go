package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A router is a host with a daemon.
type router struct {
	*host
	number  int
	has     bool   // it is installed
	kind    kind   // which daemon is to run
	enabled kind   // which one runs after a boot
	text    string // its configuration; empty if none is to run
}

// packagePath is where a package lies in a machine.
const packagePath = "/root/vipd.deb"

// install installs the package of vipd, which starts nothing.
func (r *router) install(ctx context.Context, deb []byte) error {
	if err := r.put(ctx, packagePath, 0o644, string(deb)); err != nil {
		return err
	}
	_, err := r.sh(ctx, "dpkg --install %s", packagePath)
	r.has = err == nil
	return err
}

// purge removes the package of vipd with its configuration.
func (r *router) purge(ctx context.Context) error {
	r.has, r.enabled = false, ""
	_, err := r.sh(ctx, "DEBIAN_FRONTEND=noninteractive apt-get purge --yes vipd")
	return err
}

// set has a daemon run with a configuration, now and after every boot.
func (r *router) set(ctx context.Context, k kind, text string) error {
	if err := r.put(ctx, k.file(), 0o640, text); err != nil {
		return err
	}
	// Enabling has systemd read everything again, which takes a second or two.
	command := "systemctl enable --now " + k.unit()
	if r.enabled == k {
		command = "systemctl start " + k.unit()
	}
	_, err := r.sh(ctx, "%s", command)
	if err == nil {
		r.kind, r.text, r.enabled = k, text, k
	}
	return err
}

// unset has no daemon run, and removes what one may have left. After a boot none
// runs, unless it is the one that runs next.
func (r *router) unset(ctx context.Context, old plan, next kind) error {
	r.text = ""
	var command strings.Builder
	for _, k := range kinds {
		verb := "stop"
		if k != next && r.enabled == k {
			verb, r.enabled = "disable --now", ""
		}
		// One that failed too often is not started again before this.
		fmt.Fprintf(&command, "if systemctl --quiet is-active %[1]s || systemctl --quiet is-enabled %[1]s; then systemctl %[2]s %[1]s; systemctl reset-failed %[1]s; fi; ", k.unit(), verb)
	}
	for _, i := range old.instances {
		fmt.Fprintf(&command, "for a in $(ip -o address show dev %s to %v | awk '{ print $4 }'); do ip address delete $a dev %[1]s; done; ", device(i.vlan), i.vip.Addr())
	}
	_, err := r.sh(ctx, "%s true", command.String())
	return err
}

// ctl does something to the daemon.
func (r *router) ctl(ctx context.Context, verb string) error {
	_, err := r.sh(ctx, "systemctl %s %s", verb, r.kind.unit())
	return err
}

// away returns how long the daemon was not there, by systemd's word, when it was
// started last.
func (r *router) away(ctx context.Context) (time.Duration, error) {
	text, err := r.sh(ctx, "systemctl show --property InactiveEnterTimestampMonotonic --property ActiveEnterTimestampMonotonic %s", r.kind.unit())
	if err != nil {
		return 0, err
	}
	return between(text, "InactiveEnterTimestampMonotonic=", "ActiveEnterTimestampMonotonic=")
}

// between returns the time from one of systemd's properties to another, which count
// microseconds.
func between(text, from, to string) (time.Duration, error) {
	var at [2]int64
	for i, name := range []string{from, to} {
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
				var err error
				if at[i], err = strconv.ParseInt(value, 10, 64); err != nil {
					return 0, fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	}
	if at[0] == 0 || at[1] < at[0] {
		return 0, fmt.Errorf("the service was not started again: %q", text)
	}
	return time.Duration(at[1]-at[0]) * time.Microsecond, nil
}

// left returns the virtual addresses that the router has.
func (r *router) left(ctx context.Context, p plan) (string, error) {
	var patterns []string
	for _, i := range p.instances {
		patterns = append(patterns, fmt.Sprintf("-e ' %v/'", i.vip.Addr()))
	}
	text, err := r.sh(ctx, "ip -o address | grep -F %s || true", strings.Join(patterns, " "))
	return strings.TrimSpace(text), err
}

// journal returns what the machine has logged since a time of its own clock.
func (r *router) journal(ctx context.Context, since string) string {
	text, err := r.sh(ctx, "journalctl --no-pager --output short-precise --since '%s'", since)
	if err != nil {
		return err.Error()
	}
	return text
}
