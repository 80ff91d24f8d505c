package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vipd/cmd/internal/vlanlab/fabric"
	"vipd/cmd/internal/vlanlab/machine"
)

const (
	// commandTimeout is how long a command in a machine may take. Installing a package
	// takes some seconds, and much longer on a busy host.
	commandTimeout = 5 * time.Minute
	// bootTimeout is how long a machine may take until its agent answers.
	bootTimeout = 5 * time.Minute
)

// A host is a machine with its port.
type host struct {
	*machine.Machine
	name string
	port *fabric.Port
	dir  string
}

// numbers are the last digits of the hosts' addresses.
var numbers = map[string]int{routerNames[0]: 1, routerNames[1]: 2, clientName: 9}

const clientName = "client"

// newHost makes a machine without power, with a disk as in the image.
func newHost(img machine.Image, p *fabric.Port, dir string) (*host, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	m, err := machine.New(img, machine.Config{
		Name: p.Name, MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(numbers[p.Name])},
		Local: p.Machine, Remote: p.Switch, Dir: dir,
	})
	if err != nil {
		return nil, err
	}
	return &host{Machine: m, name: p.Name, port: p, dir: dir}, nil
}

// sh runs a command, and fails if the command does.
func (h *host) sh(ctx context.Context, format string, args ...any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := fmt.Sprintf(format, args...)
	r, err := h.Run(ctx, command)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s: %s: exit code %d: %s", h.name, command, r.Code, strings.TrimSpace(r.Stderr+r.Stdout))
	}
	return r.Stdout, err
}

// test reports whether a command succeeds.
func (h *host) test(ctx context.Context, format string, args ...any) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	r, err := h.Run(ctx, fmt.Sprintf(format, args...))
	return r.Code == 0, err
}

// up waits until the machine has booted and has its addresses.
func (h *host) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	return h.WaitUp(ctx)
}

// put writes a file with its directory.
func (h *host) put(ctx context.Context, path string, mode fs.FileMode, text string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if _, err := h.sh(ctx, "mkdir -p %s", filepath.Dir(path)); err != nil {
		return err
	}
	return h.Put(ctx, path, mode, []byte(text))
}

// networkDir is where systemd-networkd reads what it is to do.
const networkDir = "/etc/systemd/network/"

// network writes what systemd-networkd is to do, and waits until it has done it.
func (h *host) network(ctx context.Context) error {
	const dir = networkDir
	trunk := "[Match]\nName=eth0\n\n[Network]\nLinkLocalAddressing=no\n"
	for _, v := range vlans {
		trunk += "VLAN=" + device(v) + "\n"
		text := "[Match]\nName=" + device(v) + "\n\n[Network]\nIPv6AcceptRA=no\n"
		for _, a := range hosts(v, numbers[h.name]) {
			text += fmt.Sprintf("Address=%v\n", a)
		}
		if err := errors.Join(
			h.put(ctx, dir+device(v)+".netdev", 0o644, fmt.Sprintf("[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", device(v), v)),
			h.put(ctx, dir+device(v)+".network", 0o644, text)); err != nil {
			return err
		}
	}
	if err := h.put(ctx, dir+"eth0.network", 0o644, trunk); err != nil {
		return err
	}
	if _, err := h.sh(ctx, "systemctl restart systemd-networkd"); err != nil {
		return err
	}
	return h.connected(ctx)
}

// connected waits until all own addresses are usable.
func (h *host) connected(ctx context.Context) error {
	var wanted []string
	for _, v := range vlans {
		for _, a := range hosts(v, numbers[h.name]) {
			wanted = append(wanted, fmt.Sprintf("ip -o address show dev %s -tentative | grep -qF ' %v '", device(v), a))
		}
	}
	command := strings.Join(wanted, " && ")
	ok, err := until(ctx, bootTimeout, func() (bool, error) { return h.test(ctx, "%s", command) })
	if err == nil && !ok {
		text, _ := h.sh(ctx, "ip address; networkctl --no-pager; journalctl -b --no-pager -u systemd-networkd | tail -n 20")
		err = fmt.Errorf("%s has not got its addresses:\n%s", h.name, text)
	}
	return err
}

// look is how often a condition is looked at.
const look = 20 * time.Millisecond

// until waits until a condition is true, and reports whether it came true in time.
func until(ctx context.Context, limit time.Duration, condition func() (bool, error)) (bool, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if is, err := condition(); is || err != nil {
			return is, err
		}
		select {
		case <-tick.C:
		case <-late.C:
			return condition()
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
