package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"vipd/cmd/internal/control"
	"vipd/netif/netiftest"
)

// A kind is one of the two daemons.
type kind string

// The kinds.
const (
	vipd       kind = "vipd"
	keepalived kind = "keepalived"
)

// binaries are the programs.
type binaries struct{ vipd, keepalived string }

// A setup is what a pair of routers is to run.
type setup struct {
	pair
	interval  time.Duration
	version   int  // of the IPv4 instance; IPv6 has only version 3
	told      bool // keepalived has vrrp_higher_prio_send_advert
	early     bool // the fault comes when the master has announced its addresses once, and is to do it again
	smallDisk bool // there is hardly any room in the run directory of the one with the fault
}

// A pair is the two routers of a run: the one that the fault happens to, which has
// the higher priority, and the other.
type pair struct{ faulted, peer kind }

// String names the pair.
func (p pair) String() string { return string(p.faulted) + "-" + string(p.peer) }

// pairs are all there are.
var pairs = []pair{{vipd, vipd}, {vipd, keepalived}, {keepalived, vipd}, {keepalived, keepalived}}

// An instance is one virtual router.
type instance struct {
	name string
	vrid uint8
	vips []netip.Prefix
}

// instances are those of every router: one for each family.
var instances = []instance{
	{"VI_1", 51, []netip.Prefix{netip.MustParsePrefix("10.0.0.100/24"), netip.MustParsePrefix("10.0.0.101/24")}},
	{"VI_2", 61, []netip.Prefix{netip.MustParsePrefix("2001:db8::100/64"), netip.MustParsePrefix("2001:db8::101/64")}},
}

// vips are the virtual addresses of all instances.
var vips = func() (list []netip.Prefix) {
	for _, i := range instances {
		list = append(list, i.vips...)
	}
	return list
}()

// vipAddrs are the virtual addresses without their prefix lengths.
func vipAddrs() (list []netip.Addr) {
	for _, v := range vips {
		list = append(list, v.Addr())
	}
	return list
}

// Priorities of the router that the fault happens to and of its peer.
var priorities = [2]uint8{150, 100}

// text returns the configuration of a router.
func (s setup) text(k kind, priority uint8) string {
	var b strings.Builder
	for n, i := range instances {
		version := s.version
		if n > 0 {
			version = 3
		}
		if k == vipd {
			if n == 0 {
				b.WriteString("vrrp_instance:\n")
			}
			fmt.Fprintf(&b, "  %s:\n    interface: eth0\n    virtual_router_id: %d\n    version: %d\n    priority: %d\n    advert_int: %g\n    virtual_ipaddress:\n",
				i.name, i.vrid, version, priority, s.interval.Seconds())
			for _, v := range i.vips {
				fmt.Fprintf(&b, "      - %v\n", v)
			}
			continue
		}
		if n == 0 && s.told {
			b.WriteString("global_defs {\n  vrrp_higher_prio_send_advert true\n}\n")
		}
		fmt.Fprintf(&b, "vrrp_instance %s {\n  interface eth0\n  virtual_router_id %d\n  version %d\n  priority %d\n  advert_int %g\n  virtual_ipaddress {\n",
			i.name, i.vrid, version, priority, s.interval.Seconds())
		for _, v := range i.vips {
			fmt.Fprintf(&b, "    %v\n", v)
		}
		b.WriteString("  }\n}\n")
	}
	return b.String()
}

// A router is a node with a daemon.
type router struct {
	kind
	node *netiftest.Node
	mac  [6]byte
	file string // the configuration
	dir  string // for what the daemon writes
	args []string
	log  record
	cmd  *netiftest.Cmd // nil until it is started
	api  *control.Client
}

// newRouter writes the configuration of a router.
func newRouter(b binaries, s setup, n *netiftest.Node, mac [6]byte, k kind, priority uint8, dir string) (*router, error) {
	r := &router{kind: k, node: n, mac: mac, file: filepath.Join(dir, n.Name()+".conf"), dir: filepath.Join(dir, n.Name())}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(r.file, []byte(s.text(k, priority)), 0o600); err != nil {
		return nil, err
	}
	r.api = control.NewClient(r.dir)
	r.args = []string{b.vipd, "run", "-f", r.file, "--run-dir", r.dir}
	if k == keepalived {
		r.args = []string{b.keepalived, "--dont-fork", "--log-console", "--log-detail", "--no-syslog", "--vrrp", "--use-file", r.file,
			"--pid", filepath.Join(r.dir, pidFiles[0]), "--vrrp_pid", filepath.Join(r.dir, pidFiles[1]), "--checkers_pid", filepath.Join(r.dir, pidFiles[2])}
	}
	return r, nil
}

// start starts the daemon, again if it ran before.
func (r *router) start(ctx context.Context) error {
	// An interrupted run closes the lab, which ends the daemon in good order. The
	// context would kill it, and leave keepalived's child behind.
	r.cmd = r.node.Command(context.WithoutCancel(ctx), r.args[0], r.args[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	return r.cmd.Start()
}

// signal sends a signal to all processes of the daemon.
func (r *router) signal(sig syscall.Signal) error {
	select {
	case <-r.cmd.Done():
		return fmt.Errorf("%s has ended: %v", r, r.cmd.Wait())
	default:
		return syscall.Kill(-r.cmd.Process.Pid, sig)
	}
}

// kill ends all processes of the daemon at once.
func (r *router) kill() error {
	if err := r.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-r.cmd.Done()
	// keepalived looks whether the processes that it left a number of are still
	// there. Its child now belongs to the host's first process, which may not have
	// noticed yet that it is dead; with systemd it has.
	for _, name := range pidFiles {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// pidFiles are keepalived's.
var pidFiles = [...]string{"pid", "vrrp.pid", "checkers.pid"}

// stopTimeout is how long a daemon may take to end in good order.
const stopTimeout = 15 * time.Second

// terminate ends the daemon in good order, and waits for its end.
func (r *router) terminate(ctx context.Context) error {
	if err := r.cmd.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	select {
	case <-r.cmd.Done():
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended: %w", r, ctx.Err())
	}
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

// children returns the processes that the daemon's first process has started.
func (r *router) children() []int {
	var pids []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.cmd.Process.Pid))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// String names the daemon and its node.
func (r *router) String() string { return fmt.Sprintf("%s on %s", r.kind, r.node.Name()) }

// A point is a moment in a router's history.
type point struct {
	at     time.Time
	logged int
}

// now is the present point.
func (r *router) now() point { return point{time.Now(), len(r.log.String())} }

// transitions counts the changes of state of all instances between two points,
// by the daemon's own word.
func (r *router) transitions(ctx context.Context, from, to point) (int, error) {
	n := 0
	if r.kind == keepalived {
		return strings.Count(r.log.String()[from.logged:to.logged], ") Entering "), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := r.api.Status(ctx)
	if err != nil {
		return 0, err
	}
	if len(s.Instances) != len(instances) {
		return 0, errors.New("an instance is missing")
	}
	for _, i := range s.Instances {
		for _, t := range i.History {
			if t.At.After(from.at) && !t.At.After(to.at) {
				n++
			}
		}
	}
	return n, nil
}

// A record is a log in memory that can be read while it is written.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds to the record.
func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// String returns the record.
func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
