package daemontest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/legacy/legacytest"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// Signals by which tools ask keepalived for files.
const (
	signalJSON  = syscall.Signal(36)
	signalClear = syscall.Signal(63)
)

// secret is a password that must be in no file and no log.
const secret = "t0psecr3"

// asKeepalived is a configuration whose instances get into every state next to
// the rival.
const asKeepalived = `! a comment
global_defs {
    router_id web-a
}
vrrp_script chk {
    script "/bin/true"
    interval 1
    weight 10
    rise 1
    user root
}
vrrp_script broken {
    script "/bin/false"
    interval 1
    user root
}
vrrp_track_process nothing {
    process no-such-program
    weight 7
}
vrrp_instance VI_master {
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass t0psecr3
    }
    virtual_ipaddress {
        192.0.2.10/24 label eth0:vip
        192.0.2.11/24
    }
    virtual_ipaddress_excluded {
        2001:db8::10/64
    }
    track_script {
        chk
    }
    track_process {
        nothing
    }
    notify_master "/bin/true a b"
}
vrrp_instance VI_backup {
    interface eth0
    virtual_router_id 52
    priority 50
    virtual_ipaddress {
        192.0.2.20/24
    }
}
vrrp_instance VI_fault {
    interface eth0
    virtual_router_id 53
    priority 100
    virtual_ipaddress {
        192.0.2.30/24
    }
    track_script {
        broken
    }
}
`

const rivalOfKeepalived = `
vrrp_instance:
  VI_master:
    interface: eth0
    version: 2
    virtual_router_id: 51
    priority: 100
    authentication: {auth_type: PASS, auth_pass: t0psecr3}
    virtual_ipaddress: [192.0.2.10/24, 192.0.2.11/24]
  VI_backup: {interface: eth0, version: 2, virtual_router_id: 52, priority: 200, virtual_ipaddress: [192.0.2.20/24]}
`

// A keepalived is a vipd that was started as keepalived.
type keepalived struct {
	t      *testing.T
	cmd    *netiftest.Cmd
	dir    string // everything that belongs to it
	client *control.Client
}

// startKeepalived starts vipd by the name of keepalived, as units and containers
// do. Its files are in a directory of its own.
func startKeepalived(t *testing.T, n *netiftest.Node, conf string, more ...string) *keepalived {
	t.Helper()
	k := &keepalived{t: t, dir: t.TempDir()}
	k.client = control.NewClient(k.path("run"))
	t.Cleanup(k.client.Close)
	check(t, os.Symlink(rig.BuildVIPD(t), k.path("keepalived")))
	k.configure(conf)
	k.start(n, more...)
	return k
}

// start starts it, for the first time or again.
func (k *keepalived) start(n *netiftest.Node, more ...string) {
	k.t.Helper()
	cmd := n.Command(k.t.Context(), k.path("keepalived"), k.args(more...)...)
	cmd.Env = k.env()
	log, err := os.OpenFile(k.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	check(k.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	_ = log.Close()
	check(k.t, err)
	k.cmd = cmd
	k.t.Cleanup(func() {
		cmd.Stop()
		_ = cmd.Wait()
		if k.t.Failed() {
			k.t.Logf("vipd as keepalived:\n%s", k.log())
		}
	})
}

func (k *keepalived) path(name string) string { return filepath.Join(k.dir, name) }

// log returns what has been logged.
func (k *keepalived) log() string {
	k.t.Helper()
	raw, err := os.ReadFile(k.path("log"))
	check(k.t, err)
	return string(raw)
}

func (k *keepalived) args(more ...string) []string {
	return append([]string{"-n", "-l", "-D", "-P", "-G", "-f", k.path("keepalived.conf"), "-p", k.path("pid"), "-r", k.path("vrrp.pid"), "--run-dir", k.path("run")}, more...)
}

func (k *keepalived) env() []string { return append(os.Environ(), "TMPDIR="+k.dir) }

func (k *keepalived) configure(conf string) {
	k.t.Helper()
	check(k.t, os.WriteFile(k.path("keepalived.conf"), []byte(conf), 0o600))
}

// pid returns what a PID file says, 0 if there is none.
func (k *keepalived) pid(name string) int {
	raw, err := os.ReadFile(k.path(name))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	check(k.t, err)
	return pid
}

// instances waits until instances are in states.
func (k *keepalived) instances(want map[string]control.State) control.Status {
	k.t.Helper()
	var status control.Status
	rig.Eventually(k.t, patience, fmt.Sprintf("the instances are %v", want), func() bool {
		select {
		case <-k.cmd.Done():
			k.t.Fatal("it has ended")
		default:
		}
		var err error
		if status, err = k.client.Status(k.t.Context()); err != nil {
			return false
		}
		for _, i := range status.Instances {
			if want[i.Name] != i.State {
				return false
			}
		}
		return len(status.Instances) == len(want)
	})
	return status
}

// dump sends a signal and returns the file as soon as it is a new one.
func (k *keepalived) dump(sig syscall.Signal, name string) string {
	k.t.Helper()
	before, _ := os.Stat(k.path(name))
	check(k.t, k.cmd.Signal(sig))
	rig.Eventually(k.t, patience, fmt.Sprintf("%v gives a new %s", sig, name), func() bool {
		now, err := os.Stat(k.path(name))
		return err == nil && (before == nil || !os.SameFile(before, now))
	})
	raw, err := os.ReadFile(k.path(name))
	check(k.t, err)
	return string(raw)
}

// json returns an instance of the JSON.
func (k *keepalived) json(name string) legacytest.JSONInstance {
	k.t.Helper()
	found, err := legacytest.ReadJSON(k.dump(signalJSON, "keepalived.json"))
	check(k.t, err)
	i := slices.IndexFunc(found, func(i legacytest.JSONInstance) bool { return i.Data.Name == name })
	if i < 0 {
		k.t.Fatalf("%s is not in the JSON", name)
	}
	return found[i]
}

// startedAsKeepalived returns a router with an instance in every state.
func startedAsKeepalived(t *testing.T, more ...string) (*segment, *netiftest.Node, *keepalived) {
	t.Helper()
	s := newSegment(t)
	r := s.router(2)
	start(t, s.router(1), rivalOfKeepalived)
	k := startKeepalived(t, r, asKeepalived, more...)
	k.instances(map[string]control.State{"VI_master": control.StateMaster, "VI_backup": control.StateBackup, "VI_fault": control.StateFault})
	return s, r, k
}

func TestToolsOfKeepalivedReadTheFilesOfVIPD(t *testing.T) {
	t.Parallel()
	_, _, k := startedAsKeepalived(t)
	for _, name := range []string{"pid", "vrrp.pid"} {
		if got := k.pid(name); got != k.cmd.Process.Pid {
			t.Errorf("%s says %d, want %d", name, got, k.cmd.Process.Pid)
		}
	}
	states := map[string]int{"VI_master": 2, "VI_backup": 1, "VI_fault": 3}
	vrids := map[string]int{"VI_master": 51, "VI_backup": 52, "VI_fault": 53}
	priorities := map[string][2]int{"VI_master": {150, 160}, "VI_backup": {50, 50}, "VI_fault": {100, 100}}
	vips := map[string][]string{
		"VI_master": {"192.0.2.10/24 dev eth0 scope global label eth0:vip set", "192.0.2.11/24 dev eth0 scope global set"},
		"VI_backup": {"192.0.2.20/24 dev eth0 scope global"}, "VI_fault": {"192.0.2.30/24 dev eth0 scope global"},
	}
	rig.Eventually(t, patience, "the addresses are in place", func() bool {
		status, err := k.client.Status(t.Context())
		check(t, err)
		return !slices.ContainsFunc(status.Instances[0].Addresses, func(a control.Address) bool { return !a.Present })
	})

	text := k.dump(syscall.SIGUSR1, "keepalived.data")
	data, err := legacytest.ReadData(text)
	check(t, err)
	if len(data) != len(states) {
		t.Errorf("the data dump has %d instances", len(data))
	}
	raw := k.dump(signalJSON, "keepalived.json")
	list, err := legacytest.ReadJSON(raw)
	check(t, err)
	if len(list) != len(states) {
		t.Errorf("the JSON has %d instances", len(list))
	}
	status, err := k.client.Status(t.Context())
	check(t, err)
	for n, j := range list {
		name := j.Data.Name
		d := data[name]
		if d == nil {
			t.Fatalf("%s is not in the data dump", name)
		}
		if d.State != states[name] || d.Want != states[name] || d.VRID != vrids[name] || d.Interface != "eth0" || d.GARPDelay != 5 || !slices.Equal(d.VIPs, vips[name]) {
			t.Errorf("%s in the data dump: %+v", name, d)
		}
		got := j.Data
		if got.State != states[name] || got.Want != states[name] || got.VRID != vrids[name] || got.Interface != "eth0" || got.GARPDelay != 5 || !slices.Equal(got.VIPs, vips[name]) ||
			[2]int{got.BasePriority, got.EffectivePriority} != priorities[name] {
			t.Errorf("%s in the JSON: %+v", name, got)
		}
		if since := float64(status.Instances[n].Since.UnixMicro()) / 1e6; status.Instances[n].Name != name || got.LastTransition < since-1e-5 || got.LastTransition > since+1e-5 {
			t.Errorf("%s: last transition %f, want %f", name, got.LastTransition, since)
		}
		if name == "VI_master" && (!slices.Equal(d.Excluded, got.Excluded) || len(d.Excluded) != 1 || !strings.HasPrefix(d.Excluded[0], "2001:db8::10/64 dev eth0 ") || !strings.HasSuffix(d.Excluded[0], " set")) {
			t.Errorf("excluded addresses: %q, %q", d.Excluded, got.Excluded)
		}
	}
	if got := legacytest.ReadScripts(text); got["chk"][0] != "GOOD" || got["broken"][0] != "BAD" {
		t.Errorf("the scripts are %v", got)
	}
	for _, want := range []string{" Router ID = web-a\n", "   Effective priority = 160\n", "   Master router = 192.0.2.1\n", "   Master priority = 200\n", "   Current processes = 0\n", "   Password = ********\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the data dump:\n%s", want, text)
		}
	}
	samples, err := legacytest.Flatten(raw)
	check(t, err)
	if samples[0]["data_state"] != 2 || samples[0]["stats_become_master"] != 1 || samples[0]["stats_advert_sent"] == 0 || samples[1]["stats_advert_rcvd"] == 0 {
		t.Errorf("a collector finds %v", samples)
	}
	if !strings.Contains(raw, `"auth_data":"********"`) {
		t.Errorf("the password is not masked in %s", raw)
	}
	for what, text := range map[string]string{"the data dump": text, "the JSON": raw, "the log": k.log()} {
		if strings.Contains(text, secret) {
			t.Errorf("the password is in %s", what)
		}
	}
	for _, name := range []string{"keepalived.data", "keepalived.json"} {
		if info, err := os.Stat(k.path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestStatisticsAreClearedForKeepalivedsFilesOnly(t *testing.T) {
	t.Parallel()
	_, _, k := startedAsKeepalived(t)
	read := func(sig syscall.Signal) map[string]int {
		t.Helper()
		found, err := legacytest.ReadStatistics(k.dump(sig, "keepalived.stats"))
		check(t, err)
		if len(found) != 3 {
			t.Fatalf("the statistics have %d instances", len(found))
		}
		return found["VI_master"]
	}
	if got := read(syscall.SIGUSR2); got["Became master"] != 1 || got["Advertisements/Sent"] == 0 {
		t.Errorf("before: %v", got)
	}
	// What is cleared is in the file, for the last time.
	if got := read(signalClear); got["Became master"] != 1 {
		t.Errorf("what is cleared: %v", got)
	}
	status, err := k.client.Status(t.Context())
	check(t, err)
	if got := read(syscall.SIGUSR2); got["Became master"] != 0 || uint64(got["Advertisements/Sent"]) >= status.Instances[0].Counters.Sent {
		t.Errorf("after: %v", got)
	}
	if got := k.json("VI_master").Stats; got["become_master"] != 0 {
		t.Errorf("after, in the JSON: %v", got)
	}
	if status.Instances[0].Counters.BecomeMaster != 1 {
		t.Errorf("vipd's own counter is %d", status.Instances[0].Counters.BecomeMaster)
	}

	// It is the instance that they are cleared for, whatever it is called.
	k.configure(strings.Replace(asKeepalived, "VI_master", "VI_renamed", 1))
	check(t, k.cmd.Signal(syscall.SIGHUP))
	k.instances(map[string]control.State{"VI_renamed": control.StateMaster, "VI_backup": control.StateBackup, "VI_fault": control.StateFault})
	if got := k.json("VI_renamed").Stats; got["become_master"] != 0 {
		t.Errorf("renamed: %v", got)
	}
}

func TestAReaderOfTheFilesOfARunningVIPDNeverSeesHalfAFile(t *testing.T) {
	t.Parallel()
	_, _, k := startedAsKeepalived(t)
	readers := []struct {
		sig  syscall.Signal
		name string
		read func(text string) (instances int, err error)
	}{
		{syscall.SIGUSR1, "keepalived.data", func(text string) (int, error) {
			found, err := legacytest.ReadData(text)
			if !strings.Contains(text, "------< Interfaces >------") {
				return 0, err
			}
			return len(found), err
		}},
		{syscall.SIGUSR2, "keepalived.stats", func(text string) (int, error) {
			found, err := legacytest.ReadStatistics(text)
			return len(found), err
		}},
		{signalJSON, "keepalived.json", func(text string) (int, error) {
			found, err := legacytest.ReadJSON(text)
			return len(found), err
		}},
	}
	for _, r := range readers {
		k.dump(r.sig, r.name)
	}
	var reading sync.WaitGroup
	end := make(chan struct{})
	versions := make([]int, len(readers))
	for n, r := range readers {
		reading.Go(func() {
			var last os.FileInfo
			for {
				select {
				case <-end:
					return
				default:
				}
				f, err := os.Open(k.path(r.name))
				if err != nil {
					t.Errorf("there is a moment without %s: %v", r.name, err)
					return
				}
				var text bytes.Buffer
				_, err = text.ReadFrom(f)
				now, statErr := f.Stat()
				_ = f.Close()
				if err != nil || statErr != nil {
					t.Errorf("%s: %v, %v", r.name, err, statErr)
					return
				}
				if got, err := r.read(text.String()); err != nil || got != 3 {
					t.Errorf("%s has %d instances, %v:\n%s", r.name, got, err, &text)
					return
				}
				if last == nil || !os.SameFile(last, now) {
					versions[n]++
				}
				last = now
			}
		})
	}
	always(t, 2*time.Second, func() string {
		for _, r := range readers {
			if err := k.cmd.Signal(r.sig); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	close(end)
	reading.Wait()
	for n, r := range readers {
		if versions[n] < 5 {
			t.Errorf("only %d versions of %s were read: the test tests nothing", versions[n], r.name)
		}
	}
}

func TestHUPReloadsAndTERMHandsOverAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s, r, k := startedAsKeepalived(t)
	k.configure(strings.Replace(asKeepalived, "192.0.2.11/24", "192.0.2.12/24", 1))
	check(t, k.cmd.Signal(syscall.SIGHUP))
	rig.Eventually(t, patience, "the new address is there, the old one is not", func() bool { return has(r, "eth0", "192.0.2.12") && !has(r, "eth0", "192.0.2.11") })
	if got := k.json("VI_master").Data.VIPs; len(got) != 2 || !strings.HasPrefix(got[1], "192.0.2.12/24 ") {
		t.Errorf("the addresses in the JSON are %q", got)
	}

	// One with an instance that cannot run is refused as a whole, and what runs
	// goes on.
	k.configure(asKeepalived + "vrrp_instance broken {\n  interface eth0\n}\n")
	check(t, k.cmd.Signal(syscall.SIGHUP))
	rig.Eventually(t, patience, "the refusal is seen", func() bool {
		status, err := k.client.Status(t.Context())
		return err == nil && status.Daemon.Reload != nil && status.Daemon.Reload.Error != ""
	})
	if !has(r, "eth0", "192.0.2.12") {
		t.Error("a refused configuration has removed an address")
	}

	since := time.Now()
	check(t, k.cmd.Signal(syscall.SIGTERM))
	if code := exitCode(t, k.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if has(r, "eth0", "192.0.2.10") {
		t.Error("an address is left")
	}
	if sent := s.wire.adverts(stops("192.0.2.2", since)); len(sent) == 0 {
		t.Error("it did not advertise priority 0")
	}
	for _, name := range []string{"pid", "vrrp.pid"} {
		if _, err := os.Stat(k.path(name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

func TestWithoutReleaseAddressesStayAndNobodyIsTold(t *testing.T) {
	t.Parallel()
	s, r, k := startedAsKeepalived(t, "-V")
	rig.Eventually(t, patience, "the addresses are in place", func() bool { return has(r, "eth0", "192.0.2.11") })
	since := time.Now()
	check(t, k.cmd.Signal(syscall.SIGTERM))
	if code := exitCode(t, k.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !has(r, "eth0", "192.0.2.10") || !has(r, "eth0", "192.0.2.11") {
		t.Error("an address is gone")
	}
	if sent := s.wire.adverts(stops("192.0.2.2", since)); len(sent) != 0 {
		t.Error("it advertised priority 0")
	}
	// The next one takes care of them: it is not master yet.
	k.start(r)
	rig.Eventually(t, patience, "what was left is gone or held by a master", func() bool {
		status, err := k.client.Status(t.Context())
		return err == nil && len(status.Instances) == 3 && (status.Instances[0].State == control.StateMaster || !has(r, "eth0", "192.0.2.10"))
	})
	k.instances(map[string]control.State{"VI_master": control.StateMaster, "VI_backup": control.StateBackup, "VI_fault": control.StateFault})
	rig.Eventually(t, patience, "the addresses are in place again", func() bool { return has(r, "eth0", "192.0.2.11") })
	check(t, k.cmd.Signal(syscall.SIGTERM))
	if code := exitCode(t, k.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if has(r, "eth0", "192.0.2.10") || has(r, "eth0", "192.0.2.11") {
		t.Error("an address that was left is taken for the host's own")
	}
}

func TestPlainVIPDWritesKeepalivedsFilesToo(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	dir := t.TempDir()
	d := s.masterOf(r, fast, rig.WithWrapper(t, "env", "TMPDIR="+dir))
	for sig, name := range map[syscall.Signal]string{syscall.SIGUSR1: "keepalived.data", syscall.SIGUSR2: "keepalived.stats", signalJSON: "keepalived.json"} {
		d.Signal(t, sig)
		rig.Eventually(t, patience, name+" is written", func() bool {
			raw, err := os.ReadFile(filepath.Join(dir, name))
			return err == nil && bytes.Contains(raw, []byte("VI"))
		})
	}
	d.is(control.StateMaster)
}

func TestASignalInTheMiddleOfTheEndDoesNotHoldItUp(t *testing.T) {
	t.Parallel()
	_, _, k := startedAsKeepalived(t)
	check(t, k.cmd.Signal(syscall.SIGTERM))
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, signalJSON, syscall.SIGHUP} {
		_ = k.cmd.Signal(sig) // it may have ended
	}
	select {
	case <-k.cmd.Done():
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if code := exitCode(t, k.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestASecondKeepalivedIsToldAboutTheFirst(t *testing.T) {
	t.Parallel()
	_, r, k := startedAsKeepalived(t)
	second := r.Command(t.Context(), k.path("keepalived"), k.args()...)
	second.Env = k.env()
	out, err := second.CombinedOutput()
	if code := exitCode(t, err); code != 2 || !strings.Contains(string(out), fmt.Sprintf("%s names the keepalived with process id %d", k.path("pid"), k.cmd.Process.Pid)) {
		t.Errorf("exit code %d: %s", code, out)
	}
	if k.pid("pid") != k.cmd.Process.Pid {
		t.Error("the PID file is another's")
	}
}

func TestInTheBackgroundItIsMasterSoonAfterTheCommandReturns(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	r := s.router(1)
	k := &keepalived{t: t, dir: t.TempDir()}
	check(t, os.Symlink(rig.BuildVIPD(t), k.path("keepalived")))
	k.configure(asKeepalived)
	cmd := r.Command(t.Context(), k.path("keepalived"), slices.DeleteFunc(k.args("-g"+k.path("log"), "-d"), func(a string) bool { return a == "-n" || a == "-l" })...)
	cmd.Env = k.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pid := k.pid("pid")
	process, err := os.FindProcess(pid)
	check(t, err)
	t.Cleanup(func() { _ = process.Kill() })
	if pid == 0 || process.Signal(syscall.Signal(0)) != nil {
		t.Fatalf("process %d does not run", pid)
	}
	s.wire.announcement("192.0.2.10", time.Time{})
	// -d: the configuration is in the log, the password is not.
	if log := k.log(); !strings.Contains(log, " VRRP Instance = VI_master") || strings.Contains(log, secret) {
		t.Errorf("the log is\n%s", log)
	}
	check(t, process.Signal(syscall.SIGTERM))
	rig.Eventually(t, patience, "it has ended", func() bool { return k.pid("pid") == 0 && !has(r, "eth0", "192.0.2.10") })
}

func TestTheTestOfAConfigurationNeedsNoDaemon(t *testing.T) {
	t.Parallel()
	r := newSegment(t).router(1)
	program := filepath.Join(t.TempDir(), "keepalived")
	check(t, os.Symlink(rig.BuildVIPD(t), program))
	fine := "vrrp_instance VI {\n  interface eth0\n  virtual_router_id 51\n  virtual_ipaddress {\n    192.0.2.10/24\n  }\n}\n"
	for _, tt := range []struct {
		name, conf string
		code       int
		want       string
	}{
		{"nothing to complain about", fine, 0, ""},
		{"an unknown keyword", strings.Replace(fine, "  interface", "  nonsense 3\n  interface", 1), 5, "nonsense"},
		{"an instance that cannot run", strings.Replace(fine, "virtual_router_id 51", "virtual_router_id 300", 1), 5, "300"},
		{"a missing interface", strings.Replace(fine, "interface eth0", "interface absent0", 1), 5, "absent0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := r.Command(t.Context(), program, "-t", "-f", write(t, "keepalived.conf", tt.conf)).CombinedOutput()
			if code := exitCode(t, err); code != tt.code || !strings.Contains(string(out), tt.want) {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, out)
			}
		})
	}
	out, err := r.Command(t.Context(), program, "-t", "-f", filepath.Join(t.TempDir(), "missing")).CombinedOutput()
	if code := exitCode(t, err); code != 4 {
		t.Errorf("exit code %d for a file that is not there: %s", code, out)
	}
}

// errorsConf has one instance of version 2 with a password and one of version 3.
const errorsConf = `
vrrp_instance TWO {
    interface eth0
    virtual_router_id 51
    version 2
    priority 100
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass secret
    }
    virtual_ipaddress {
        192.0.2.10/24
        192.0.2.11/24
    }
}
vrrp_instance THREE {
    interface eth0
    virtual_router_id 52
    version 3
    priority 100
    virtual_ipaddress {
        192.0.2.20/24
    }
}
`

func TestWhatIsWrongWithPacketsIsCountedWhereKeepalivedCountsIt(t *testing.T) {
	t.Parallel()
	program := netiftest.RequireProgram(t, "keepalived")
	two := victim{vrrp.Advertisement{Version: vrrp.V2, VRID: 51, Interval: time.Second, AuthType: vrrp.AuthPass, AuthData: [8]byte{'s', 'e', 'c', 'r', 'e', 't'}, Addrs: []netip.Addr{addr("192.0.2.10"), addr("192.0.2.11")}}}
	three := victim{vrrp.Advertisement{Version: vrrp.V3, VRID: 52, Interval: time.Second, Addrs: []netip.Addr{addr("192.0.2.20")}}}

	// Each has a network of its own, and gets the same packets.
	statistics := func(s *segment, r *netiftest.Node, signal func(syscall.Signal) error, dir string) map[string]map[string]int {
		file := filepath.Join(dir, "keepalived.stats")
		var found map[string]map[string]int
		read := func(until func() bool) {
			t.Helper()
			rig.Eventually(t, patience, r.Name()+" has statistics", func() bool {
				if signal(syscall.SIGUSR2) != nil {
					return false
				}
				// keepalived writes in place.
				always(t, 100*time.Millisecond, func() string { return "" })
				raw, err := os.ReadFile(file)
				if err != nil {
					return false
				}
				found, err = legacytest.ReadStatistics(string(raw))
				return err == nil && len(found) == 2 && until()
			})
		}
		read(func() bool { return found["TWO"]["Became master"] == 1 && found["THREE"]["Became master"] == 1 })
		inject := s.injector()
		random := rand.New(rand.NewPCG(1, 2))
		for n, kind := range slices.Concat(two.bogusKinds(t, addr("192.0.2.1")), three.bogusKinds(t, addr("192.0.2.1"))) {
			switch kind.reason {
			case "interval_of_zero": // keepalived takes it for an interval
				continue
			case "wrong_version": // keepalived looks for the length of version 3 in it
				continue
			}
			for range n%5 + 1 {
				check(t, inject.Send(kind.make(random)))
			}
		}
		other := two.Advertisement
		other.VRID, other.AuthType = three.VRID, vrrp.AuthNone
		say(t, inject, "192.0.2.99", other)
		other = three.Advertisement
		other.VRID = two.VRID
		say(t, inject, "192.0.2.99", other)
		// The last one is a good one, which tells that all others have arrived.
		for _, v := range []victim{two, three} {
			v.Priority = 1
			say(t, inject, "192.0.2.99", v.Advertisement)
		}
		read(func() bool {
			return found["TWO"]["Advertisements/Received"] > 0 && found["THREE"]["Advertisements/Received"] > 0
		})
		for _, counters := range found {
			delete(counters, "Advertisements/Sent") // which depends on when it is asked
		}
		return found
	}

	s := newSegment(t)
	r := s.router(1)
	k := startKeepalived(t, r, errorsConf)
	ours := statistics(s, r, func(sig syscall.Signal) error {
		if k.pid("pid") == 0 {
			return os.ErrNotExist
		}
		return k.cmd.Signal(sig)
	}, k.dir)

	s = newSegment(t)
	r = s.router(1)
	dir := t.TempDir()
	cmd := r.Command(t.Context(), program, "-n", "-l", "-G", "-P", "-f", write(t, "keepalived.conf", errorsConf), "-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid"))
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	check(t, cmd.Start())
	t.Cleanup(cmd.Stop)
	theirs := statistics(s, r, func(sig syscall.Signal) error {
		if _, err := os.Stat(filepath.Join(dir, "vrrp.pid")); err != nil {
			return err
		}
		return cmd.Signal(sig)
	}, dir)

	for _, name := range []string{"TWO", "THREE"} {
		errors := 0
		for counter, want := range theirs[name] {
			if strings.Contains(counter, "Errors/") {
				errors += want
			}
			got := ours[name][counter]
			if counter == "Packet Errors/Advertisement Interval" && name == "TWO" {
				// keepalived drops such a packet all the same.
				if got == 0 || want != 0 {
					t.Errorf("another interval is counted %d times, in keepalived %d times", got, want)
				}
				continue
			}
			if got != want {
				t.Errorf("%s, %s: %d, keepalived has %d", name, counter, got, want)
			}
		}
		if len(ours[name]) != len(theirs[name]) || errors == 0 {
			t.Errorf("%s: vipd has %v, keepalived %v", name, ours[name], theirs[name])
		}
	}
}
