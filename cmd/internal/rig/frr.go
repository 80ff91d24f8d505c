package rig

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/cmd/internal/control"
	"vipd/netif/netiftest"
)

// frrDir is where FRR's packages put its daemons, which are in no PATH.
const frrDir = "/usr/lib/frr"

// frrUser is the user and the group that its daemons change to.
const frrUser = "frr"

// frrReady is how long zebra may take until others can connect to it.
const frrReady = 20 * time.Second

// A FRRRouter describes a virtual router for FRR, which gives them no names and
// wants the interface with the virtual MAC to be there before.
type FRRRouter struct {
	Instance  string // the name that State knows it by
	Interface string
	VRID      uint8
	Addrs     []netip.Prefix // IPv4
	Lines     []string       // further configuration: "priority 200", "no preempt"
}

// vmac returns the virtual MAC address (RFC 9568 §7.3).
func (r FRRRouter) vmac() net.HardwareAddr { return net.HardwareAddr{0, 0, 0x5e, 0, 1, r.VRID} }

// vmacInterface is the name of the interface with the virtual MAC address.
func (r FRRRouter) vmacInterface() string { return fmt.Sprintf("vrrp4-%d", r.VRID) }

// conf returns the configuration of vrrpd.
func (r FRRRouter) conf() string {
	var b strings.Builder
	fmt.Fprintf(&b, "interface %s\n vrrp %d version 3\n", r.Interface, r.VRID)
	for _, line := range r.Lines {
		word := ""
		if rest, ok := strings.CutPrefix(line, "no "); ok {
			word, line = "no ", rest
		}
		fmt.Fprintf(&b, " %svrrp %d %s\n", word, r.VRID, line)
	}
	for _, a := range r.Addrs {
		fmt.Fprintf(&b, " vrrp %d ip %v\n", r.VRID, a.Addr())
	}
	return b.String()
}

// prepare makes the interface with the virtual MAC and gives it the addresses:
// FRR does neither. It turns the interface off (protodown) while it is backup.
func (r FRRRouter) prepare(node *netiftest.Node) error {
	nl := node.Netlink()
	if _, err := nl.LinkByName(r.vmacInterface()); err == nil {
		return nil // an earlier one on this node
	}
	base, err := nl.LinkByName(r.Interface)
	if err != nil {
		return err
	}
	if err := nl.LinkAdd(&netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: r.vmacInterface(), ParentIndex: base.Attrs().Index, HardwareAddr: r.vmac()},
		Mode:      netlink.MACVLAN_MODE_BRIDGE,
	}); err != nil {
		return err
	}
	// The addresses are there in a backup, too: it must not answer for them from
	// its ordinary interface.
	if err := node.Sysctl("net/ipv4/conf/"+r.Interface+"/arp_ignore", "1"); err != nil {
		return err
	}
	// Nor must it say them there when it asks for others.
	if err := node.Sysctl("net/ipv4/conf/"+r.Interface+"/arp_announce", "2"); err != nil {
		return err
	}
	if err := node.Sysctl("net/ipv6/conf/"+r.vmacInterface()+"/disable_ipv6", "1"); err != nil {
		return err
	}
	for _, a := range r.Addrs {
		if err := node.AddAddr(r.vmacInterface(), a); err != nil {
			return err
		}
	}
	link, err := nl.LinkByName(r.vmacInterface())
	if err != nil {
		return err
	}
	return nl.LinkSetUp(link)
}

// An FRR is FRR's vrrpd with the zebra that it needs. What is held up, ended or
// killed is vrrpd, which speaks the protocol.
type FRR struct {
	*process
	router FRRRouter
}

// RequireFRR skips the test if FRR cannot be run here, or fails it where the
// environment says CI=true. It needs root, as it changes to its own user.
func RequireFRR(t testing.TB) {
	t.Helper()
	for _, name := range []string{"zebra", "vrrpd"} {
		netiftest.RequireProgram(t, filepath.Join(frrDir, name))
	}
	// In a user namespace there is no other user to change to.
	if err := giveAway(t.TempDir(), frrUser); err != nil {
		reason := fmt.Sprintf("FRR cannot be run as its own user: %v", err)
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
}

// giveAway makes a user the owner of a directory and what is directly in it.
func giveAway(dir, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, f := range append(files, dir) {
		if err := os.Chown(f, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// StartFRR starts zebra and vrrpd for one virtual router. It waits for zebra, but
// not for vrrpd.
func StartFRR(t testing.TB, node *netiftest.Node, router FRRRouter) *FRR {
	t.Helper()
	RequireFRR(t)
	if err := router.prepare(node); err != nil {
		t.Fatalf("rig: interface for the virtual MAC on %s: %v", node.Name(), err)
	}
	dir, err := frrFiles(router)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err != nil {
		t.Fatalf("rig: directory for FRR: %v", err)
	}
	run := func(name string) *process {
		return start(t, node, filepath.Join(frrDir, name),
			"--config_file", filepath.Join(dir, name+".conf"),
			"--pid_file", filepath.Join(dir, name+".pid"),
			"--socket", filepath.Join(dir, "zserv.api"),
			"--vty_socket", dir,
			"--vty_port", "0",
			"--log", "stdout", "--log-level", "informational")
	}
	zebra := run("zebra")
	Eventually(t, frrReady, zebra.name+" accepts connections", func() bool {
		select {
		case <-zebra.Done():
			t.Fatalf("%s has ended: %v", zebra.name, zebra.cmd.Wait())
		default:
		}
		_, err := os.Stat(filepath.Join(dir, "zserv.api"))
		return err == nil
	})
	return &FRR{process: run("vrrpd"), router: router}
}

// frrFiles makes the directory for configuration and sockets. FRR's daemons give
// up root, so it belongs to their user; it is not below the test's directory,
// which only root may enter.
func frrFiles(router FRRRouter) (string, error) {
	dir, err := os.MkdirTemp("", "frr-")
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{"zebra.conf": "", "vrrpd.conf": router.conf()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return dir, err
		}
	}
	return dir, giveAway(dir, frrUser)
}

// frrStates are the words for states that vrrpd logs.
var frrStates = map[string]control.State{
	"Initialize": control.StateInit,
	"Backup":     control.StateBackup,
	"Master":     control.StateMaster,
}

// State returns the state of the virtual router, by what vrrpd has logged last.
func (f *FRR) State(instance string) control.State {
	if instance != f.router.Instance {
		return ""
	}
	state := control.State("")
	for line := range strings.Lines(f.Log()) {
		_, change, found := strings.Cut(line, fmt.Sprintf("[VRID %d] [IPv4] ", f.router.VRID))
		if !found {
			continue
		}
		from, to, found := strings.Cut(strings.TrimSpace(change), " -> ")
		if _, known := frrStates[from]; found && known {
			state = frrStates[to]
		}
	}
	return state
}

// WaitState waits until the virtual router is in a state.
func (f *FRR) WaitState(t testing.TB, instance string, want control.State, timeout time.Duration) {
	t.Helper()
	f.waitState(t, f.State, instance, want, timeout)
}
