package migrating

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

const (
	// pingInterval is how often the client asks.
	pingInterval = 20 * time.Millisecond
	// slack is how much longer than the document says a busy machine may take.
	slack = time.Second
	// interval is the document's between two advertisements, settled longer than
	// a backup waits for its master.
	interval = time.Second
	settled  = 4 * time.Second
	// keepalivedUnit is what keepalived is started by, and vipdUnit what is in the
	// package of vipd for that.
	keepalivedUnit = packageDir + "/keepalived.service"
	vipdUnit       = "../../vipd/packaging/vipd.service"
	// vipdPackage stands for the package.
	vipdPackage = "vipd_0_amd64.deb"
)

// dropIn is how the document has the service read keepalived's file.
const dropIn = `printf '[Service]\nExecStart=\nExecStart=/usr/bin/vipd run -f /etc/keepalived/keepalived.conf\n' >/etc/systemd/system/vipd.service.d/keepalived.conf`

// notifyScript records each call.
const notifyScript = "#!/bin/sh\necho \"$1\" >>/run/notified\n"

var vips = []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")}

// A pair is two routers, and a client that pings one of their addresses all the
// time.
type pair struct {
	t      *testing.T
	r1, r2 *host
	ping   *netiftest.Pinger
}

// newPair makes two routers that have a configuration of keepalived, and on
// which nothing runs.
func newPair(t *testing.T, conf string) *pair {
	t.Helper()
	for _, program := range []string{"keepalived", "nsenter", "unshare", "setpriv", "tcpdump", "ip"} {
		netiftest.RequireProgram(t, program)
	}
	if _, err := os.Stat(keepalivedUnit); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	lab := netiftest.Start(t)
	lan, err := lab.Bridge("lan")
	check(t, err)
	node := func(name, addr string) *netiftest.Node {
		n, err := lab.Node(name)
		check(t, err)
		check(t, lab.Connect(n, "eth0", lan, netiftest.Port{Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}))
		return n
	}
	p := &pair{t: t}
	p.r1 = newHost(t, node("r1", "192.0.2.1/24"), netip.MustParseAddr("192.0.2.1"))
	p.r2 = newHost(t, node("r2", "192.0.2.2/24"), netip.MustParseAddr("192.0.2.2"))
	other := strings.NewReplacer("router_id r1", "router_id r2", "state MASTER", "state BACKUP", "priority 150", "priority 100").Replace(conf)
	for h, text := range map[*host]string{p.r1: conf, p.r2: other} {
		h.write("/etc/keepalived/keepalived.conf", text, 0o644)
		h.write("/etc/keepalived/notify.sh", notifyScript, 0o755)
		h.write("/run/web-is-up", "", 0o644)
		h.copyTo(vipdPackage+"/usr/bin/vipd", rig.BuildVIPD(t), 0o755)
		h.copyTo(vipdPackage+packageDir+"/vipd.service", vipdUnit, 0o644)
	}
	p.ping, err = node("client", "192.0.2.9/24").Ping(t.Context(), netiftest.PingConfig{Target: vips[1], Interval: pingInterval})
	check(t, err)
	t.Cleanup(func() { p.ping.Stop() })
	return p
}

// has reports how many of the virtual addresses a host has.
func (p *pair) has(h *host) int {
	p.t.Helper()
	n := 0
	for _, a := range vips {
		has, err := h.HasAddr(a)
		check(p.t, err)
		if has {
			n++
		}
	}
	return n
}

// holds waits until a host has all virtual addresses, the other one has none,
// and each has told its notify script last what it is; and then for as long as
// another master would need to show itself.
func (p *pair) holds(h *host) {
	p.t.Helper()
	p.holdsFor(h, settled)
}

// holdsAgain is holds where the pair has come before. It waits for an
// advertisement.
func (p *pair) holdsAgain(h *host) {
	p.t.Helper()
	p.holdsFor(h, interval+interval/4)
}

func (p *pair) holdsFor(h *host, d time.Duration) {
	p.t.Helper()
	other := p.r1
	if h == p.r1 {
		other = p.r2
	}
	sole := func() bool {
		return p.has(h) == len(vips) && p.has(other) == 0 && last(h) == "master" && last(other) != "master"
	}
	rig.Eventually(p.t, patience, h.Name()+" alone is master, with all addresses", sole)
	// One that has just been started may yet say that it is backup.
	elections := strings.Count(p.told(), "master\n")
	p.pass(d)
	if !sole() || strings.Count(p.told(), "master\n") != elections {
		p.t.Fatalf("%s is not the only master: it has %d addresses, %s has %d; their notify scripts were told\n%s",
			h.Name(), p.has(h), other.Name(), p.has(other), p.told())
	}
}

// pass lets time pass.
func (p *pair) pass(d time.Duration) {
	end := time.NewTimer(d)
	defer end.Stop()
	select {
	case <-end.C:
	case <-p.t.Context().Done():
	}
}

// told returns what the notify scripts of both hosts were told.
func (p *pair) told() string { return told(p.r1) + "---\n" + told(p.r2) }

func told(h *host) string {
	out, _ := h.sh("cat /run/notified") // none yet
	return out
}

// last returns what the notify script was told last. A service that is stopped
// tells it nothing, as the configuration has no notify_stop.
func last(h *host) string {
	if out, _ := h.sh("cat " + unitState + "/*.pid | while read pid; do kill -0 $pid && echo running; done"); !strings.Contains(out, "running") {
		return "" // none runs
	}
	lines := strings.Fields(told(h))
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// gap fails the test if, since a time, the client was without an answer for
// longer than a row of the document's table says.
func (p *pair) gap(g *guide, row string, since time.Time) {
	p.t.Helper()
	var before time.Time
	longest := time.Duration(0)
	for _, probe := range p.ping.Report().Probes {
		if probe.Answered.IsZero() {
			continue
		}
		if probe.Answered.After(since) && !before.IsZero() {
			longest = max(longest, probe.Answered.Sub(before))
		}
		before = probe.Answered
	}
	if now := time.Since(before); !before.IsZero() {
		longest = max(longest, now)
	}
	want := g.promised(row)
	if longest > want+slack {
		p.t.Errorf("%s: the client had no answer for %v, the document says %v", row, longest, want)
	}
	p.t.Logf("%s: the client had no answer for at most %v (%v)", row, longest.Round(time.Millisecond), want)
}

// TestAPairOfKeepalivedBecomesAPairOfVipd follows the document. Whatever it has
// run by then, one router has the addresses.
func TestAPairOfKeepalivedBecomesAPairOfVipd(t *testing.T) {
	t.Parallel()
	g := readGuide(t)
	p := newPair(t, g.conf)
	r1, r2 := p.r1, p.r2
	for _, h := range []*host{r1, r2} {
		h.must("systemctl enable --now keepalived")
	}
	p.holds(r1)

	// Before
	since := time.Now()
	for _, h := range []*host{r1, r2} {
		g.follow(h, "apt install ./vipd_*_amd64.deb")
	}
	g.follow(r2, "vipd check -f /etc/keepalived/keepalived.conf")
	g.follow(r1, "vipd check -f /etc/keepalived/keepalived.conf")
	p.gap(g, "before", since)

	// Step 1
	since = time.Now()
	g.follow(r2, "mkdir -p /etc/systemd/system/vipd.service.d")
	g.follow(r2, dropIn)
	g.follow(r2, "systemctl daemon-reload")
	g.follow(r2, "systemctl disable --now keepalived")
	g.follow(r2, "ip -4 -brief address show dev eth0")
	g.follow(r2, "systemctl enable --now vipd")
	g.follow(r2, "vipd status VI_1")
	g.follow(r2, "tcpdump -c 2 -nni eth0 ip proto 112")
	p.holds(r1)
	p.gap(g, "step 1", since)
	content(t, r2, control.StateBackup)

	since = time.Now()
	g.follow(r2, "systemctl disable --now vipd")
	g.follow(r2, "systemctl enable --now keepalived")
	p.holds(r1)
	p.gap(g, "step 1, back", since)
	// Both on one host are refused, also with the capabilities of the service.
	if out, err := r2.sh("systemctl start vipd"); err == nil || !strings.Contains(out, "stop it first") {
		t.Errorf("a vipd beside the keepalived of r2: %v\n%s", err, out)
	}

	g.again("Step 1: vipd on the backup", r1, r2)
	p.holdsAgain(r1)

	// Step 2
	since = time.Now()
	g.follow(r1, "systemctl stop keepalived")
	g.follow(r2, "vipd status VI_1")
	p.holds(r2)
	p.gap(g, "step 2", since)
	content(t, r2, control.StateMaster)

	since = time.Now()
	g.follow(r1, "systemctl start keepalived")
	p.holds(r1)
	p.gap(g, "step 2, back", since)
	content(t, r2, control.StateBackup)

	g.again("Step 2: the addresses go to vipd", r1, r2)
	p.holdsAgain(r2)

	// Step 3
	since = time.Now()
	g.follow(r1, "mkdir -p /etc/systemd/system/vipd.service.d")
	g.follow(r1, dropIn)
	g.follow(r1, "systemctl daemon-reload")
	g.follow(r1, "systemctl disable keepalived")
	g.follow(r1, "ip -4 -brief address show dev eth0")
	g.follow(r1, "systemctl enable --now vipd")
	g.follow(r1, "vipd status VI_1")
	p.holds(r1)
	p.gap(g, "step 3", since)
	content(t, r1, control.StateMaster)
	content(t, r2, control.StateBackup)

	since = time.Now()
	g.follow(r1, "systemctl disable --now vipd")
	g.follow(r1, "systemctl enable --now keepalived")
	p.holds(r1)
	p.gap(g, "step 3, back", since)
	content(t, r2, control.StateBackup)

	g.again("Step 2: the addresses go to vipd", r1, r2)
	p.holdsAgain(r2)
	g.again("Step 3: vipd on the other node", r1, r2)
	p.holdsAgain(r1)

	// Step 4
	since = time.Now()
	for _, h := range []*host{r1, r2} {
		g.follow(h, "systemctl mask keepalived")
	}
	g.follow(r2, "vipd status")
	p.holds(r1)
	p.gap(g, "step 4", since)

	// What keepalived did for the pair, vipd does: the service fails on r1.
	r1.must("rm /run/web-is-up")
	p.holds(r2)
	r1.must("touch /run/web-is-up")
	p.holdsAgain(r1)
	for _, h := range []*host{r1, r2} {
		if out, err := h.sh("systemctl start keepalived"); err == nil {
			t.Errorf("%s: keepalived can still be started: %s", h.Name(), out)
		}
	}

	since = time.Now()
	for _, h := range []*host{r2, r1} {
		g.follow(h, "systemctl unmask keepalived")
		g.follow(h, "systemctl disable --now vipd")
		g.follow(h, "systemctl enable --now keepalived")
		if h == r2 {
			g.follow(h, "sleep 5")
		}
	}
	p.holds(r1)
	p.gap(g, "step 4, back", since)
	g.done()
}

// content fails the test if the vipd of a host is not in a state, or finds
// anything wrong with its peer or itself.
func content(t *testing.T, h *host, want control.State) {
	t.Helper()
	var s control.Status
	check(t, json.Unmarshal([]byte(h.must("vipd status --json")), &s))
	if len(s.Instances) != 1 {
		t.Fatalf("%s has %d instances, want 1", h.Name(), len(s.Instances))
	}
	i := s.Instances[0]
	if i.State != want || i.Degraded || len(i.Mismatches) > 0 || len(i.Counters.Drops) > 0 || i.Counters.UnknownVRID > 0 {
		t.Errorf("%s is %s, degraded %v, mismatches %v, drops %v, of unknown routers %d; want %s and none",
			h.Name(), i.State, i.Degraded, i.Mismatches, i.Counters.Drops, i.Counters.UnknownVRID, want)
	}
}
