package corpus

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vipd/cmd/internal/rig"
	"vipd/config"
	"vipd/netif/netiftest"
)

func TestMain(m *testing.M) { netiftest.Main(m) }

// interfaces returns the names of interfaces that a text mentions.
func interfaces(text string, c *config.Config) []string {
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)(?:\binterface|\bdev|\boif|\biif)[ \t]+([^\s{}"]+)`).FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	if c != nil {
		for _, in := range c.Instances {
			names[in.Interface] = true
			for _, n := range in.TrackInterfaces {
				names[n] = true
			}
			for _, t := range in.Tracks {
				if t.Kind == config.TrackInterface {
					names[t.Name] = true
				}
			}
		}
	}
	var out []string
	for n := range names {
		if n != "" && n != "lo" && len(n) < 16 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// run has keepalived run a configuration where its interfaces exist. It returns
// keepalived's data dump, or "" if keepalived ended, and its log.
func run(t *testing.T, text string, c *config.Config) (dump, log string) {
	t.Helper()
	lab := netiftest.Start(t)
	node, err := lab.Node("r")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range interfaces(text, c) {
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
		if err := node.Netlink().LinkAdd(link); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		addr, _ := netlink.ParseAddr(fmt.Sprintf("198.18.%d.1/24", i+1))
		if err := node.Netlink().AddrAdd(link, addr); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := node.Netlink().LinkSetUp(link); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir) // where keepalived writes its data
	k := rig.StartKeepalived(t, node, text)
	ended := func() bool {
		select {
		case <-k.Done():
			return true
		default:
			return false
		}
	}
	rig.Eventually(t, 30*time.Second, "keepalived to start or to end", func() bool { return ended() || strings.Contains(k.Log(), "Startup complete") })
	if ended() {
		return "", k.Log()
	}
	var data []byte
	rig.Eventually(t, 30*time.Second, "keepalived's data", func() bool {
		k.Signal(t, syscall.SIGUSR1)
		for _, f := range dumps(dir) {
			b, err := os.ReadFile(f)
			if err == nil && strings.Contains(string(b), "------< Interfaces >------") {
				data = b
				return true
			}
		}
		return false
	})
	log = k.Log()
	k.Kill(t) // an end in good order takes it a second
	return string(data), log
}

// dumps returns the files with the data of the VRRP process.
func dumps(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.data"))
	return files
}

// stubs is where programs that do nothing are put, in a mount of the tests' own:
// keepalived wants a directory that only root can write to.
const stubs = "/mnt"

// harmless replaces the programs that a configuration names by ones that do
// nothing, so that they exist and that nothing happens. Both sides read the
// result. What only concerns LVS is taken out where keepalived needs the kernel's
// for it.
func harmless(t *testing.T, text string, c *config.Config) string {
	t.Helper()
	var commands []*config.Command
	for i := range c.Scripts {
		commands = append(commands, &c.Scripts[i].Command)
	}
	add := func(n *config.Notify) {
		commands = append(commands, n.Master, n.Backup, n.Fault, n.Stop, n.Any, n.Deleted, n.MasterRxLowerPri)
	}
	for i := range c.Instances {
		add(&c.Instances[i].Notify)
	}
	for i := range c.SyncGroups {
		add(&c.SyncGroups[i].Notify)
	}
	if err := unix.Mount("stubs", stubs, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(stubs, unix.MNT_DETACH) })
	for _, cmd := range commands {
		if cmd == nil || !strings.HasPrefix(cmd.Argv[0], "/") {
			continue
		}
		stub := filepath.Join(stubs, filepath.Base(cmd.Argv[0]))
		if err := os.WriteFile(stub, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		at := regexp.MustCompile(`(^|[\s"'])` + regexp.QuoteMeta(cmd.Argv[0]) + `($|[\s"'#!])`)
		for at.MatchString(text) {
			text = at.ReplaceAllString(text, "${1}"+stub+"${2}")
			if strings.HasPrefix(cmd.Argv[0], stubs+"/") {
				break
			}
		}
	}
	return regexp.MustCompile(`(?m)^\s*lvs_sync_daemon(_interface)?\s.*$`).ReplaceAllString(text, "")
}

// A verdict is what is expected where keepalived does not run a file, or runs
// something that vipd does not.
type verdict struct {
	refused bool     // by keepalived: it ends
	none    bool     // vipd runs nothing of it
	has     []string // vipd's diagnostics contain these
	differs []string // all lines of the comparison, exactly
	leftOut []string // instances that vipd leaves out
}

// compare compares what both make of a file.
func compare(t *testing.T, file string, want verdict) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// keepalived's config-id is the host's: the tests' node is that.
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ = strings.Cut(host, ".")
	data = bytes.ReplaceAll(data, []byte("@node1 "), []byte("@"+host+" "))
	data = bytes.ReplaceAll(data, []byte("@^node1 "), []byte("@^"+host+" "))
	o := config.Options{}
	if f := config.FormatOf("x", data); f != config.Keepalived {
		t.Errorf("it is taken for %s", f)
	}
	c, diags := config.ParseWith(file, data, o)
	shown := diags.String()
	for _, s := range want.has {
		if !strings.Contains(shown, s) {
			t.Errorf("vipd does not say %s, but:\n%s", s, shown)
		}
	}
	if c == nil || want.none {
		if (c == nil) != want.none {
			t.Errorf("vipd refuses it: %t, want %t\n%s", c == nil, want.none, shown)
		}
		return
	}
	var leftOut []string
	for _, l := range c.LeftOut {
		leftOut = append(leftOut, l.Name)
	}
	if !slices.Equal(leftOut, want.leftOut) {
		t.Errorf("vipd leaves out %q, want %q:\n%s", leftOut, want.leftOut, shown)
	}
	text := harmless(t, string(data), c)
	if c, diags = config.ParseWith(file, []byte(text), o); c == nil {
		t.Fatal(diags)
	}
	if len(c.Instances) == 0 && len(c.LeftOut) == 0 {
		if strings.Contains(text, "vrrp_instance") {
			t.Error("vipd finds no instance")
		}
		return // nothing for keepalived's VRRP process
	}
	dump, log := run(t, text, c)
	if dump == "" || want.refused {
		if (dump == "") != want.refused {
			t.Errorf("keepalived refuses it: %t, want %t\n%s", dump == "", want.refused, log)
		}
		return
	}
	k, v := pictureOf(dump), pictureOfConfig(c)
	forgive(k, v, c)
	got := diff(k, v)
	for _, d := range got {
		if !slices.Contains(want.differs, d) {
			t.Error(d)
		}
	}
	for _, d := range want.differs {
		if !slices.Contains(got, d) {
			t.Errorf("this difference no longer occurs: %s", d)
		}
	}
	if t.Failed() {
		t.Logf("vipd says:\n%s", diags)
	}
}

// forgive takes out what says nothing about the reading of a file.
func forgive(k, v picture, c *config.Config) {
	for name, it := range k {
		mine := v[name]
		if mine == nil {
			continue
		}
		// It has been in another state already, and then this is no longer what was
		// asked for.
		if s := it["wantstate"]; s == "FAULT" || s == "BACKUP" && (it["group"] != "" || it["track script"] != "" || it["track interface"] != "") {
			delete(it, "wantstate")
			delete(mine, "wantstate")
		}
	}
	for _, in := range c.Instances {
		k, v := k["instance "+in.Name], v["instance "+in.Name]
		if k == nil {
			continue
		}
		// keepalived tracks the interfaces of addresses without a word of it.
		listed := strings.Split(k["track interface"], ", ")
		own := slices.DeleteFunc(strings.Split(v["track interface"], ", "), func(s string) bool {
			return !slices.Contains(listed, s) && slices.ContainsFunc(append(slices.Clone(in.Addresses), in.Excluded...), func(a config.Address) bool {
				return s == a.Interface+" weight 0"
			})
		})
		delete(v, "track interface")
		v.set("track interface", strings.Join(own, ", "))
	}
}

// fieldVerdicts are the files of the collection that are not simply the same.
func fieldVerdicts() map[string]verdict {
	return map[string]verdict{
		// keepalived misses the name of a vrrp_script; the instance can do
		// without.
		"04.conf": {refused: true, has: []string{":6:1: vrrp_script: warning: vrrp_script needs a name"}},
		// Placeholders, and a keyword without its value in the second instance of
		// the only sync group. keepalived ends at the keyword.
		"34.conf": {none: true, has: []string{
			":83:5: vrrp_instance.IPv6.unicast_src_ip: unicast_src_ip needs a value",
			"vrrp_sync_group.VG_1: IPv6 is in vrrp_sync_group VG_1 and cannot run, so the other members do not run either",
		}},
	}
}

func TestTheFieldRunsTheSame(t *testing.T) {
	dir := os.Getenv("VIPD_CORPUS")
	if dir == "" {
		t.Skip("VIPD_CORPUS is not set: there is no collection of configurations to compare with")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s/*.conf: %v", dir, err)
	}
	netiftest.Require(t)
	verdicts := fieldVerdicts()
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { compare(t, file, verdicts[filepath.Base(file)]) })
	}
}

// samples is where Debian puts the sample files of keepalived.
const samples = "/usr/share/doc/keepalived/samples"

// sampleVerdicts are the samples that are not simply the same.
func sampleVerdicts() map[string]verdict {
	const vmac = "use_vmac is not supported by this version of vipd"
	return map[string]verdict{
		// Its only instance asks for an authentication that vipd does not have.
		"keepalived.conf.SSL_GET": {none: true, has: []string{"authentication by AH is not supported"}},
		"keepalived.conf.conditional_conf": {has: []string{vmac}, differs: []string{
			`instance VI_0: addresses: keepalived "10.1.0.254 dev vrrp.1@eth0", vipd "10.1.0.254 dev eth0"`,
			`instance VI_0: interface: keepalived "vrrp.1, vmac on eth0", vipd "eth0"`,
		}},
		// The same address twice, which the kernel does not take.
		"keepalived.conf.vrrp": {has: []string{"192.168.200.18 on eth0 is already an address of vrrp_instance.VI_1"}, differs: []string{
			`instance VI_1: addresses: keepalived "192.168.200.16 dev eth0, 192.168.200.17 dev eth0, 192.168.200.18 dev eth0, 192.168.200.18 dev eth0 label eth0:1", vipd "192.168.200.16 dev eth0, 192.168.200.17 dev eth0, 192.168.200.18 dev eth0"`,
		}},
	}
}

func TestSamplesOfKeepalivedRunTheSame(t *testing.T) {
	netiftest.RequireProgram(t, "keepalived")
	files, err := filepath.Glob(filepath.Join(samples, "keepalived.conf*"))
	if err != nil || len(files) == 0 {
		t.Skipf("there are no samples in %s", samples)
	}
	netiftest.Require(t)
	verdicts := sampleVerdicts()
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { compare(t, file, verdicts[filepath.Base(file)]) })
	}
}

// caseVerdicts are the cases of our own that are not simply the same.
func caseVerdicts() map[string]verdict {
	return map[string]verdict{
		// A weight above the limit, which keepalived reports and uses.
		"numbers.conf": {differs: []string{
			`instance A: track script: keepalived "s weight 300, t weight 253", vipd "s weight 253, t weight 253"`,
			`script s: weight: keepalived "300", vipd "253"`,
			// The same address twice, which the kernel does not take.
			`instance E: excluded: keepalived "2001:db8::1/64 dev eth0, 2001:db8::2 dev eth0, 2001:db8::1/48 dev eth0", vipd "2001:db8::1/64 dev eth0, 2001:db8::2 dev eth0"`,
		}},
	}
}

func TestCasesOfOurOwnRunTheSame(t *testing.T) {
	files, err := filepath.Glob("../../../config/testdata/conf/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no cases: %v", err)
	}
	netiftest.Require(t)
	verdicts := caseVerdicts()
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { compare(t, file, verdicts[filepath.Base(file)]) })
	}
}

func TestIncludedFilesAreReadTheSame(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.conf":           "include conf.d/*.conf\ninclude {two,three}/[1-9]*.inc\ninclude none.conf\ninclude once.inc\ninclude once.inc\n",
		"conf.d/b.conf":       "vrrp_instance B {\nvirtual_router_id 2\ninclude common\n}\n",
		"conf.d/a.conf":       "$PRIO=${_RANDOM 17 17}\n$VIP=192.0.2.${_RANDOM 5 5}\nvrrp_instance A {\nvirtual_router_id 1\ninclude common\npriority $PRIO\nvirtual_ipaddress {\n$VIP\n192.0.2.1${_RANDOM 0 0}\n}\n}\n",
		"conf.d/common":       "interface eth0\r\nadvert_int 3\r\nnotify \"/bin/true ${_PWD}\"",
		"conf.d/.hidden.conf": "vrrp_instance HIDDEN {\ninterface eth0\nvirtual_router_id 9\n}\n",
		"two/1.inc":           "vrrp_instance ${_INSTANCE}2 {\nvirtual_router_id 3\ninclude ../conf.d/common\npriority 1${_RANDOM 11 11}\n}",
		"two/x.inc":           "vrrp_instance X {\n}\n",
		"three/1.inc":         "@none vrrp_instance NONE {\n$ONCE=5\n",
		"once.inc":            "vrrp_instance ONCE${ONCE} {\nvirtual_router_id ${ONCE}\ninterface eth0\n}\n$ONCE=6\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	main := filepath.Join(dir, "main.conf")
	c, diags := config.LoadWith(main, config.Options{})
	if c == nil {
		t.Fatal(diags)
	}
	if len(c.Instances) != 5 {
		t.Errorf("vipd has %d instances:\n%s", len(c.Instances), diags)
	}
	dump, log := run(t, "include "+main+"\n", c)
	if dump == "" {
		t.Fatalf("keepalived refuses it:\n%s", log)
	}
	for _, d := range diff(pictureOf(dump), pictureOfConfig(c)) {
		t.Error(d)
	}
}
