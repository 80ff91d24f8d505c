package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vipd/cmd/internal/figures"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// A rival is one of the two daemons.
type rival int

// The rivals.
const (
	keepalived rival = iota
	vipd
)

var rivalNames = [2]string{"keepalived", "vipd"}

// String returns the name.
func (r rival) String() string { return rivalNames[r] }

// A setup is what a daemon is to run, in terms of both.
type setup struct {
	interval   time.Duration
	priority   uint8
	interfaces int // eth0, eth1, …
	vrids      int // on each interface: 1, 2, …
	more       int // virtual routers on eth0 beyond those
	vips       int // of each virtual router
	realTime   int // SCHED_RR priority, 0 for none
	oneBlock   bool
	scripts    int // that always succeed, run every second and tracked by the first virtual router
}

// state returns the state to start in: an owner is master at once, but only if it
// says so.
func (s setup) state() string {
	if s.priority == vrrp.PriorityOwner {
		return "MASTER"
	}
	return "BACKUP"
}

// routers returns how many virtual routers there are.
func (s setup) routers() int { return s.interfaces * s.vrids }

// on returns how many virtual routers are on an interface.
func (s setup) on(network int) int {
	if network == 0 {
		return s.vrids + s.more
	}
	return s.vrids
}

// text returns the setup as a daemon reads it.
func (s setup) text(r rival) string {
	if r == vipd {
		return s.vipdYAML()
	}
	return s.keepalivedConf()
}

// maxAdvertised is how many addresses an advertisement can count.
const maxAdvertised = 255

// vip returns the nth virtual address of a virtual router. It is in the
// interface's network, so that the client reaches it.
func (s setup) vip(network, vrid, n int) netip.Addr {
	if s.vips == 1 {
		return netip.AddrFrom4([4]byte{10, byte(network), 1, byte(vrid)})
	}
	return netip.AddrFrom4([4]byte{10, byte(network), byte(16 + n/250), byte(1 + n%250)})
}

// advertised returns the addresses that the virtual router's advertisements list.
func (s setup) advertised(network, vrid int) []netip.Addr {
	var list []netip.Addr
	for n := range min(s.vips, maxAdvertised) {
		list = append(list, s.vip(network, vrid, n))
	}
	return list
}

// keepalivedConf returns the setup as keepalived reads it.
func (s setup) keepalivedConf() string {
	var b strings.Builder
	b.WriteString("global_defs {\n  router_id bench\n  vrrp_version 3\n  script_user root\n  enable_script_security\n")
	if s.realTime > 0 {
		fmt.Fprintf(&b, "  vrrp_rt_priority %d\n", s.realTime)
	}
	if s.oneBlock {
		b.WriteString("  vrrp_garp_master_delay 0\n")
	}
	b.WriteString("}\n")
	for n := range s.scripts {
		fmt.Fprintf(&b, "vrrp_script chk_%d {\n  script /bin/true\n  interval 1\n}\n", n)
	}
	for i := range s.interfaces {
		for v := 1; v <= s.on(i); v++ {
			fmt.Fprintf(&b, "vrrp_instance I%d_%d {\n  state %s\n  interface eth%d\n  virtual_router_id %d\n  priority %d\n  advert_int %s\n",
				i, v, s.state(), i, v, s.priority, seconds(s.interval))
			for n := range s.vips {
				switch n {
				case 0:
					b.WriteString("  virtual_ipaddress {\n")
				case maxAdvertised:
					b.WriteString("  }\n  virtual_ipaddress_excluded {\n")
				}
				fmt.Fprintf(&b, "    %v\n", s.vip(i, v, n))
			}
			b.WriteString("  }\n")
			if i == 0 && v == 1 && s.scripts > 0 {
				b.WriteString("  track_script {\n")
				for n := range s.scripts {
					fmt.Fprintf(&b, "    chk_%d\n", n)
				}
				b.WriteString("  }\n")
			}
			b.WriteString("}\n")
		}
	}
	return b.String()
}

// vipdYAML returns the setup as vipd reads it. What vipd does differently by
// default, and what would be seen in the figures, is as keepalived has it.
func (s setup) vipdYAML() string {
	var b strings.Builder
	b.WriteString("global_defs:\n  router_id: bench\n  vrrp_version: 3\n  vrrp_garp_master_refresh: 0\n  vrrp_higher_prio_send_advert: false\n")
	if s.realTime > 0 {
		fmt.Fprintf(&b, "  vrrp_rt_priority: %d\n", s.realTime)
	}
	if s.oneBlock {
		b.WriteString("  vrrp_garp_master_delay: 0\n")
	}
	if s.scripts > 0 {
		b.WriteString("vrrp_script:\n")
		for n := range s.scripts {
			fmt.Fprintf(&b, "  chk_%d: {script: /bin/true, interval: 1}\n", n)
		}
	}
	b.WriteString("vrrp_instance:\n")
	for i := range s.interfaces {
		for v := 1; v <= s.on(i); v++ {
			fmt.Fprintf(&b, "  I%d_%d:\n    state: %s\n    interface: eth%d\n    virtual_router_id: %d\n    priority: %d\n    advert_int: %s\n",
				i, v, s.state(), i, v, s.priority, seconds(s.interval))
			for n := range s.vips {
				switch n {
				case 0:
					b.WriteString("    virtual_ipaddress:\n")
				case maxAdvertised:
					b.WriteString("    virtual_ipaddress_excluded:\n")
				}
				fmt.Fprintf(&b, "      - %v\n", s.vip(i, v, n))
			}
			if i == 0 && v == 1 && s.scripts > 0 {
				b.WriteString("    track_script:\n")
				for n := range s.scripts {
					fmt.Fprintf(&b, "      - chk_%d\n", n)
				}
			}
		}
	}
	return b.String()
}

// seconds formats a duration as both daemons read one.
func seconds(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", d.Seconds()), "0"), ".")
}

// A process is a daemon that runs.
type process struct {
	*netiftest.Cmd
	began time.Time // just before it was started
	file  string    // the configuration
	log   string
}

// launch starts a daemon inside a node. It is ended by stop, or when the lab is
// closed.
func (b *bench) launch(ctx context.Context, n *netiftest.Node, r rival, s setup) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, r.String()+"-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(s.text(r)), 0o600); err != nil {
		return nil, err
	}
	args := b.arguments(r, file, dir)
	// An interrupted run closes the lab, which ends the daemon in good order. The
	// context would kill it, and leave keepalived's child behind.
	p := &process{Cmd: n.Command(context.WithoutCancel(ctx), args[0], args[1:]...), file: file, log: filepath.Join(dir, "log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.Stdout, p.Stderr = log, log
	p.began = time.Now()
	if err := p.Start(); err != nil {
		return nil, err
	}
	b.track(p)
	return p, nil
}

// arguments returns the command line of a daemon.
func (b *bench) arguments(r rival, file, dir string) []string {
	if r == vipd {
		return []string{b.binaries[vipd], "run", "-f", file, "--run-dir", dir}
	}
	return []string{b.binaries[keepalived], "--dont-fork", "--log-console", "--no-syslog", "--vrrp", "--use-file", file,
		"--pid", filepath.Join(dir, "pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"), "--checkers_pid", filepath.Join(dir, "checkers.pid")}
}

// pids returns the daemon's process and all its descendants.
func (p *process) pids() []int { return figures.Descendants(p.Process.Pid) }

// stop ends the daemon in good order.
func (p *process) stop() { p.Stop() }

// terminate asks the daemon to end, and does not wait.
func (p *process) terminate() error { return p.Signal(syscall.SIGTERM) }

// tail returns the end of what the daemon said, for an error message.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(text) > 600 {
		text = text[len(text)-600:]
	}
	return strings.TrimSpace(string(text))
}
