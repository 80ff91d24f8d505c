package exampletest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

const (
	// patience is how long a test waits for what must happen, all tests of the
	// package being under way.
	patience = 30 * time.Second
	// settled is longer than a backup with adverts of 1 s waits for its master.
	settled = 4 * time.Second
	// examples is the directory of what is tested.
	examples = "../../../examples"
	// recorder is the notify script of instances that have none.
	recorder = "record.sh"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// example returns the text of an example.
func example(t *testing.T, name string) string {
	t.Helper()
	return source(t, filepath.Join(examples, name))
}

// other makes the file of the other router from an example that says how.
func other(t *testing.T, text string) string {
	t.Helper()
	line := regexp.MustCompile(`(?m)priority: 150( +# 100 on the other router)$`)
	if !line.MatchString(text) {
		t.Fatalf("the example does not say what differs on the other router:\n%s", text)
	}
	return line.ReplaceAllString(text, "priority: 100")
}

// A network is a segment with two routers, a and b.
type network struct {
	*netiftest.Lab
	t      *testing.T
	bridge *netiftest.Bridge
	a, b   *router
}

// newNetwork makes a network with the routers' addresses on eth0: a has those
// given, with 11 for %d, and b those with 12.
func newNetwork(t *testing.T, addrs ...string) *network {
	t.Helper()
	n := &network{Lab: netiftest.Start(t), t: t}
	var err error
	n.bridge, err = n.Bridge("lan")
	check(t, err)
	n.a, n.b = n.router("a", 11, addrs), n.router("b", 12, addrs)
	return n
}

// router makes one of the two.
func (n *network) router(name string, number int, addrs []string) *router {
	n.t.Helper()
	r := &router{t: n.t, node: n.node(name), dir: n.t.TempDir()}
	n.plug(r.node, "eth0", n.bridge, number, addrs...)
	return r
}

func (n *network) node(name string) *netiftest.Node {
	n.t.Helper()
	node, err := n.Node(name)
	check(n.t, err)
	return node
}

// plug gives a node an interface.
func (n *network) plug(node *netiftest.Node, ifname string, b *netiftest.Bridge, number int, addrs ...string) {
	n.t.Helper()
	var p netiftest.Port
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.MustParsePrefix(strings.ReplaceAll(a, "%d", strconv.Itoa(number))))
	}
	check(n.t, n.Connect(node, ifname, b, p))
}

// A router is a node that runs vipd with an example.
type router struct {
	t    *testing.T
	node *netiftest.Node
	dir  string   // what stands for /etc/vipd is in it, and for /run/vipd
	wrap []string // what starts vipd, with its arguments
	pids int      // a process of the router's own PID namespace; 0: it has none

	*rig.Vipd
}

// ownProcesses gives the router processes that only it sees, as a host does.
func (r *router) ownProcesses() {
	r.t.Helper()
	for _, p := range []string{"unshare", "nsenter", "sleep"} {
		netiftest.RequireProgram(r.t, p)
	}
	c := r.node.Command(r.t.Context(), "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity")
	check(r.t, c.Start())
	r.t.Cleanup(c.Stop)
	rig.Eventually(r.t, patience, "a PID namespace", func() bool {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child(c.Process.Pid)))
		return err == nil && string(comm) == "sleep\n"
	})
	r.pids = child(c.Process.Pid)
	r.wrap = []string{"nsenter", "--target", strconv.Itoa(r.pids), "--pid", "--mount"}
}

// child returns the first child of a process, 0 if it has none.
func child(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return n
}

// etc and run stand for /etc/vipd and /run/vipd, bin comes first in PATH.
func (r *router) etc(name string) string { return filepath.Join(r.dir, "etc", name) }
func (r *router) run(name string) string { return filepath.Join(r.dir, "run", name) }
func (r *router) bin(name string) string { return filepath.Join(r.dir, "bin", name) }

// here puts the test's directories into a text.
func (r *router) here(text string) string {
	return strings.NewReplacer("/etc/vipd", r.etc(""), "/run/vipd", r.run("")).Replace(text)
}

// write writes a file of the router, with the directories it is in.
func (r *router) write(path, text string, mode os.FileMode) {
	r.t.Helper()
	check(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(r.t, os.WriteFile(path, []byte(text), mode))
}

// install puts the scripts of the examples where the configuration looks for
// them, those for notification behind a script that records how it was called.
func (r *router) install() {
	r.t.Helper()
	check(r.t, os.MkdirAll(r.run(""), 0o755))
	scripts, err := filepath.Glob(filepath.Join(examples, "scripts", "*.sh"))
	check(r.t, err)
	if len(scripts) == 0 {
		r.t.Fatal("there are no scripts in the examples")
	}
	for _, s := range scripts {
		info, err := os.Stat(s)
		check(r.t, err)
		text, err := os.ReadFile(s)
		check(r.t, err)
		name := filepath.Base(s)
		if strings.HasPrefix(name, "check-") {
			r.write(r.etc("scripts/"+name), r.here(string(text)), info.Mode().Perm())
			continue // is no notify script
		}
		r.write(r.etc("original/"+name), r.here(string(text)), info.Mode().Perm())
		r.write(r.etc("scripts/"+name), r.recording(name, r.etc("original/"+name)+` "$@"`), 0o755)
	}
	r.write(r.etc("scripts/"+recorder), r.recording(recorder, "true"), 0o755)
}

// recording returns a script that records its call and what became of it. A
// record is written at once, and ends with an empty line.
func (r *router) recording(name, do string) string {
	return fmt.Sprintf(`#!/bin/sh
printf 'called %[1]s %%s\n%%s\n\n' "$*" "$(env | grep '^VIPD_')" >>%[2]s
%[3]s
code=$?
printf 'done %[1]s %%s\n\n' "$code" >>%[2]s
exit "$code"
`, name, r.run("calls"), do)
}

// records returns text with the recorder as the notify script of each instance
// that has none.
func (r *router) records(text string) string {
	var out strings.Builder
	instances := false
	for line := range strings.Lines(text) {
		if line[0] != ' ' && line[0] != '#' && line[0] != '\n' {
			instances = line == "vrrp_instance:\n"
		}
		out.WriteString(line)
		if instances && strings.HasPrefix(line, "    virtual_router_id:") {
			_, rest, _ := strings.Cut(text, line)
			if next := regexp.MustCompile(`(?m)^ {0,3}\w`).FindStringIndex(rest); next != nil {
				rest = rest[:next[0]]
			}
			if !strings.Contains(rest, "\n    notify:") {
				fmt.Fprintf(&out, "    notify: %s\n", r.etc("scripts/"+recorder))
			}
		}
	}
	return out.String()
}

// start starts vipd with an example.
func (r *router) start(text string) {
	r.t.Helper()
	r.install()
	text = r.here(r.records(text))
	if !rootIsRoot(r.t) {
		r.write(r.etc("insecure.yaml"), "global_defs:\n  enable_script_security: false\n", 0o644)
		text = "include: " + r.etc("insecure.yaml") + "\n" + text
	}
	// PATH is vipd's, and so that of what it runs.
	wrap := append(slices.Clone(r.wrap), "env", "PATH="+r.bin("")+":"+os.Getenv("PATH"))
	r.Vipd = rig.StartVIPD(r.t, r.node, text, rig.WithWrapper(r.t, wrap[0], wrap[1:]...))
	rig.Eventually(r.t, patience, r.node.Name()+" answers", func() bool {
		select {
		case <-r.Done():
			r.t.Fatalf("vipd has ended: %s", r.Log())
		default:
		}
		_, err := r.Status()
		return err == nil
	})
}

// rootIsRoot reports whether the root directory belongs to root. In the user
// namespace of somebody else it does not: then nothing is safe for root to run.
func rootIsRoot(t *testing.T) bool {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Stat("/", &st))
	return st.Uid == 0
}

// start starts both routers. b is there only when a is master of the instances,
// so that it has not been master for a moment.
func (n *network) start(a, b string, instances ...string) {
	n.t.Helper()
	n.a.start(a)
	for _, i := range instances {
		n.a.is(i, control.StateMaster)
	}
	n.b.start(b)
	for _, i := range instances {
		n.b.is(i, control.StateBackup)
	}
}

// masters waits until one router is master of instances, and the other one is
// in the state given.
func (n *network) masters(master *router, state control.State, instances ...string) {
	n.t.Helper()
	rest := n.a
	if master == n.a {
		rest = n.b
	}
	for _, i := range instances {
		master.is(i, control.StateMaster)
		rest.is(i, state)
	}
}

// is waits until an instance is in a state, and has its addresses or none.
func (r *router) is(instance string, want control.State) {
	r.t.Helper()
	r.WaitState(r.t, instance, want, patience)
	rig.Eventually(r.t, patience, fmt.Sprintf("%s has the addresses that it should as %s of %s", r.node.Name(), want, instance), func() bool {
		for _, a := range r.Instance(r.t, instance).Addresses {
			has, err := r.node.HasAddr(a.Address.Addr())
			if err != nil || has != (want == control.StateMaster) {
				return false
			}
		}
		return true
	})
}

// stays watches that an instance stays in a state for longer than a takeover
// needs.
func (r *router) stays(instance string, want control.State) {
	r.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	end := time.NewTimer(settled)
	defer end.Stop()
	for {
		if got := r.State(instance); got != want {
			r.t.Fatalf("%s of %s is %s, want %s", instance, r.node.Name(), got, want)
		}
		select {
		case <-ticker.C:
		case <-end.C:
			return
		}
	}
}

// checkIs waits until a tracked object of vipd is in a state, and returns it.
func (r *router) checkIs(name string, want control.CheckState) control.Check {
	r.t.Helper()
	var out control.Check
	rig.Eventually(r.t, patience, fmt.Sprintf("%s of %s is %s", name, r.node.Name(), want), func() bool {
		s, err := r.Status()
		if err != nil {
			return false
		}
		for _, c := range s.Checks {
			if c.Name == name {
				out = c
			}
		}
		return out.State == want
	})
	return out
}

// A call is one run of a script.
type call struct {
	line string // the script's name and its arguments
	env  map[string]string
	done bool
	code string // what it returned
}

// calls returns the runs of all scripts for an instance or group. It fails the
// test if two of them ran at once, or if another than the last has not returned.
func (r *router) calls(of string) []call {
	r.t.Helper()
	b, err := os.ReadFile(r.run("calls"))
	if os.IsNotExist(err) {
		return nil
	}
	check(r.t, err)
	var all []*call
	last := map[string]*call{} // by script
	text := strings.ReplaceAll(strings.ReplaceAll(string(b), r.run(""), "/run/vipd"), r.etc(""), "/etc/vipd")
	for record := range strings.SplitSeq(text, "\n\n") {
		head, rest, _ := strings.Cut(record, "\n")
		verb, line, _ := strings.Cut(head, " ")
		script, args, _ := strings.Cut(line, " ")
		switch verb {
		case "called":
			c := &call{line: strings.TrimSpace(line), env: map[string]string{}}
			for v := range strings.Lines(rest) {
				name, value, _ := strings.Cut(strings.TrimSuffix(v, "\n"), "=")
				c.env[name] = value
			}
			who := c.env["VIPD_INSTANCE"] + c.env["VIPD_GROUP"]
			if p := last[who]; p != nil && !p.done {
				r.t.Fatalf("on %s, %q was run while %q was still running", r.node.Name(), c.line, p.line)
			}
			last[who], last[who+" "+script] = c, c
			if who == of {
				all = append(all, c)
			}
		case "done":
			for who := range last {
				if _, s, _ := strings.Cut(who, " "); s == script && !last[who].done {
					last[who].done, last[who].code = true, args
				}
			}
		}
	}
	out := make([]call, len(all))
	for i, c := range all {
		out[i] = *c
	}
	return out
}

// told waits until the scripts for an instance or group have been called as
// listed, in that order, each once, and have returned 0. A * at the end stands
// for what is not known.
func (r *router) told(of string, want ...string) []call {
	r.t.Helper()
	var got []call
	same := func() bool {
		got = r.calls(of)
		return slices.EqualFunc(got, want, func(c call, w string) bool {
			start, open := strings.CutSuffix(w, "*")
			return c.done && c.code == "0" && (c.line == w || open && strings.HasPrefix(c.line, start))
		})
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(patience); !same(); <-tick.C {
		if time.Now().After(late) {
			var b strings.Builder
			for _, c := range got {
				fmt.Fprintf(&b, "\n  %s (returned %q)", c.line, c.code)
			}
			r.t.Fatalf("scripts of %s on %s were called:%s\nwant:\n  %s", of, r.node.Name(), b.String(), strings.Join(want, "\n  "))
		}
	}
	return got
}

// has fails the test if a call was not given these variables. A variable with
// the value * must be there.
func (c call) has(t *testing.T, want map[string]string) {
	t.Helper()
	for name, w := range want {
		got, ok := c.env[name]
		if !ok || got != w && (w != "*" || got == "") {
			t.Errorf("%s: %s is %q, want %q", c.line, name, got, w)
		}
	}
}

// A standIn is a process that stands for a server.
type standIn struct {
	r       *router
	name    string
	address string
	pid     int
	sick    string // while this file exists, it is not well
}

// serve starts a stand-in and waits until it answers.
func (r *router) serve(name, address string) *standIn {
	r.t.Helper()
	s := &standIn{r: r, name: name, address: address, sick: filepath.Join(r.dir, name+".sick")}
	self, err := os.Executable()
	check(r.t, err)
	check(r.t, os.MkdirAll(r.bin(""), 0o755))
	check(r.t, os.Symlink(self, r.bin(name)))
	s.start()
	return s
}

// start starts it again.
func (s *standIn) start() {
	s.r.t.Helper()
	argv := []string{s.r.bin(s.name), s.address, s.sick}
	if s.r.pids != 0 {
		argv = append(slices.Clone(s.r.wrap), argv...)
	}
	c := s.r.node.Command(s.r.t.Context(), argv[0], argv[1:]...)
	c.Env = append(os.Environ(), envServe+"=1")
	check(s.r.t, c.Start())
	s.r.t.Cleanup(c.Stop)
	rig.Eventually(s.r.t, patience, s.name+" answers", func() bool {
		err := s.r.node.Do(func() error {
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		return err == nil
	})
	s.pid = c.Process.Pid
	if s.r.pids != 0 {
		s.pid = child(c.Process.Pid) // nsenter waits for it
	}
}

// signal sends a signal, such as that which ends it.
func (s *standIn) signal(sig syscall.Signal) {
	s.r.t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		s.r.t.Fatalf("sending %v to %s: %v", sig, s.name, err)
	}
}

// well says whether it answers that it is well.
func (s *standIn) well(yes bool) {
	s.r.t.Helper()
	if yes {
		check(s.r.t, os.Remove(s.sick))
	} else {
		s.r.write(s.sick, "", 0o644)
	}
}

// source returns a file.
func source(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	check(t, err)
	return string(b)
}
