package main

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/vlanlab/fabric"
	"vipd/cmd/internal/vlanlab/ping"
	"vipd/config"
	"vipd/vrrp"
)

func TestFlagsSayWhatToTry(t *testing.T) {
	o, err := parse([]string{"--only", "^stop$", "--pair", "^vipd-"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range o.jobs() {
		got = append(got, j.String())
	}
	if want := []string{"stop vipd-vipd", "stop vipd-keepalived"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, args := range [][]string{{"--only", "("}, {"--pair", "("}, {"--only", "nothing-like-it"}, {"more"}, {"--unknown"}, {"--attempts", "0"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

func TestTheListNamesEveryScenario(t *testing.T) {
	o, err := parse([]string{"--list"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	list(&text, o)
	if got := strings.Count(text.String(), "\n"); got != len(scenarios()) {
		t.Errorf("%d of %d scenarios are listed", got, len(scenarios()))
	}
}

func TestEveryScenarioSaysWhatItIs(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9-]+$`)
	seen := make(map[string]bool)
	for _, s := range scenarios() {
		if !name.MatchString(s.name) || seen[s.name] {
			t.Errorf("%q is no name, or that of another one", s.name)
		}
		seen[s.name] = true
		if s.title == "" || strings.ContainsAny(s.title, "|\n") || s.happen == nil || s.promise == nil {
			t.Errorf("%s: a title without |, what happens, and a promise are needed", s.name)
		}
		tried := 0
		for _, p := range pairs {
			if s.isFor(p) {
				tried++
			}
		}
		if tried == 0 || !s.isFor(pairs[0]) {
			t.Errorf("%s is tried with %d pairs, and with two vipd: %t", s.name, tried, s.isFor(pairs[0]))
		}
		j := job{s, pair{vipd, vipd}}
		if p := j.limits(); p == (promise{}) {
			t.Errorf("%s: nothing is promised of two vipd", s.name)
		}
	}
}

func TestNothingIsPromisedOfAKeepalived(t *testing.T) {
	for _, s := range scenarios() {
		k := pair{keepalived, keepalived}
		if p := s.promise(k, basic()); s.name != "nothing" && s.isFor(k) && p != (promise{}) {
			t.Errorf("%s: %+v", s.name, p)
		}
	}
}

// read parses a configuration as vipd does, which reads both.
func read(t *testing.T, name, text string) *config.Config {
	t.Helper()
	c, problems := config.ParseWith(name, []byte(text), config.Options{})
	if c == nil || len(c.LeftOut) > 0 {
		t.Fatalf("%v in\n%s", problems, text)
	}
	return c
}

func TestBothDaemonsAreToldTheSame(t *testing.T) {
	for _, s := range scenarios() {
		p := job{scenario: s}.plan()
		if p.furnished {
			continue // keepalived has not got all of it
		}
		for router := range routerNames {
			yaml := read(t, "vipd.yaml", p.text(vipd, router))
			conf := read(t, "keepalived.conf", p.text(keepalived, router))
			if len(yaml.Instances) != len(p.instances) || len(conf.Instances) != len(p.instances) {
				t.Fatalf("%s: %d and %d instances, want %d", s.name, len(yaml.Instances), len(conf.Instances), len(p.instances))
			}
			tracks := 0
			if p.script || p.process {
				tracks = 1
			}
			for i, want := range p.instances {
				for _, got := range []config.Instance{yaml.Instances[i], conf.Instances[i]} {
					if got.Name != want.name || int(got.VRID) != want.vrid || got.Interface != device(want.vlan) || got.Version != vrrp.V3 ||
						int(got.Priority) != want.priority(router) || got.AdvertInterval != p.interval || got.Preempt == p.nopreempt ||
						len(got.Addresses) != 1 || got.Addresses[0].Prefix != want.vip || len(got.Tracks) != tracks || (got.SyncGroup != "") != p.together {
						t.Errorf("%s, %s: got %+v", s.name, routerNames[router], got)
					}
				}
			}
			for _, c := range []*config.Config{yaml, conf} {
				if got := len(c.Scripts) + len(c.Processes); got != tracks {
					t.Errorf("%s: %d tracked objects, want %d", s.name, got, tracks)
				}
			}
		}
	}
}

func TestHostsHaveAddressesOfTheirVLAN(t *testing.T) {
	want := map[uint16][2]string{100: {"192.0.2.9/24", "2001:db8:100::9/64"}, 200: {"198.51.100.9/24", "2001:db8:200::9/64"}}
	for _, vlan := range vlans {
		got := hosts(vlan, 9)
		if got[0].String() != want[vlan][0] || got[1].String() != want[vlan][1] {
			t.Errorf("VLAN %d: %v, want %v", vlan, got, want[vlan])
		}
	}
}

func TestWhoHasWhatIsKnownOfEveryPlan(t *testing.T) {
	p := basic()
	if got := p.away100(); !slices.Equal(got, []fabric.Set{2, 2, 1}) {
		t.Errorf("with VLAN 100 away: %v", got)
	}
	if got := p.in200(); !slices.Equal(got, []int{2}) {
		t.Errorf("in VLAN 200: %v", got)
	}
	for _, s := range scenarios() {
		p := job{scenario: s}.plan()
		home := p.home()
		if len(home) != len(p.targets()) || len(p.away()) != len(home) || home[0] != 1 {
			t.Errorf("%s: %v at home, %v away, of %v", s.name, home, p.away(), p.targets())
		}
	}
}

func TestAPromiseIsBrokenByMoreThanItSays(t *testing.T) {
	p := promise{two: atMost(500 * time.Millisecond), twoAfter: atMost(never), gap: atMost(200 * time.Millisecond), taken: atMost(never), lost: atMost(0), back: atMost(0)}
	for _, test := range []struct {
		name string
		outcome
		want int
	}{
		{"nothing happened", outcome{}, 0},
		{"as exactly as it is known", outcome{Two: 0.7, TwoAfter: 0.2, Gap: 0.4, Taken: 0.2, Lost: 15, LostAfter: 10}, 0},
		{"two owners before and after", outcome{Two: 0.8, TwoAfter: 0.3}, 2},
		{"a gap after the repair", outcome{GapAfter: 0.5}, 1},
		{"the other one answered", outcome{Taken: 1}, 1},
		{"losses before", outcome{Lost: 26}, 1},
		{"losses after", outcome{LostAfter: 26}, 2},
		{"what is not promised", outcome{None: 5, NoneAfter: 5, Apart: 5}, 0},
	} {
		if got := test.breaks(p); len(got) != test.want {
			t.Errorf("%s: got %q, want %d", test.name, got, test.want)
		}
	}
}

func TestOfAKeepalivedWithTheFaultWhatIsAmissIsOnlyNoted(t *testing.T) {
	for _, k := range kinds {
		r := round{pair: pair{k, vipd}}
		r.miss("gone")
		if broken := len(r.broken) == 1; broken != (k == vipd) || len(r.broken)+len(r.notes) != 1 {
			t.Errorf("%s: broken %q, notes %q", k, r.broken, r.notes)
		}
	}
}

func TestAnOutcomeHasTheWorstOfTheAddressesBeforeAndAfterTheRepair(t *testing.T) {
	dir, err := os.MkdirTemp("", "vlanlab") // a short path, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &stand{sw: fabric.New(dir), plan: basic()}
	t.Cleanup(func() {
		if err := s.sw.Close(); err != nil {
			t.Error(err)
		}
	})
	var ports []*fabric.Port
	for _, name := range []string{"r1", "r2", "client"} {
		p, err := s.sw.Port(name)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p)
	}
	s.prober = s.sw.Probe(ports[:2], ports[2], s.plan.targets(), time.Hour)
	s.prober.Stop() // nobody answers, from its first question on
	began := time.Now()
	at := func(d time.Duration) time.Time { return began.Add(d) }
	r := &round{pair: pair{vipd, vipd}, began: at(time.Second), repaired: at(3 * time.Second), ended: at(6 * time.Second), unharmed: []int{2}, broken: []string{"seen"}}
	lost := func(list ...float64) ping.Address {
		return ping.Address{Lost: len(list), Losses: list, Gaps: []ping.Gap{{At: list[0], Lasted: float64(len(list)) / 100}}}
	}
	var many []float64
	for i := range lostSlack + 1 {
		many = append(many, 4+float64(i)/100)
	}
	report := ping.Report{Began: began, Late: 0.25, Addresses: []ping.Address{lost(1.1, 1.2, 1.3), lost(0.1, 0.2, 0.3, 0.4), lost(many...)}}
	j := job{scenario: scenario{name: "x", promise: func(pair, plan) promise { return promise{} }}, pair: pair{vipd, vipd}}
	o := s.judge(j, r, report)
	if o.Lost != 3 || o.LostAfter != len(many) || o.Gap != 0.03 || o.GapAfter != 0.26 || o.None != 2 || o.NoneAfter != 3 || o.Two != 0 || o.Late != 0.25 || o.Lasted != 5 {
		t.Errorf("got %+v", o)
	}
	if len(o.Addresses) != 3 || o.Addresses[1].Lost != 0 || o.Addresses[2].LostAfter != len(many) {
		t.Errorf("got %+v", o.Addresses)
	}
	if want := []string{"seen", "198.51.100.10 was not touched, and lost 26 pings"}; !slices.Equal(o.Missed, want) {
		t.Errorf("got %q, want %q", o.Missed, want)
	}
}

func TestTablesGoBetweenTheMarkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "document.md")
	if err := os.WriteFile(file, []byte("before\n"+string(mark)+"\nold\n<!-- to here -->\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := report{Versions: map[string]string{"kernel": "Debian 12"}, Outcomes: []outcome{
		{Scenario: "stop", Pair: "vipd-vipd", Two: 0.02, Gap: 0.061, Lost: 3, tracked: true},
		{Scenario: "stop", Pair: "keepalived-keepalived", Two: 2.5, None: 0.625, Gap: 0.63, Lost: 62, Apart: 1.5, tracked: true},
		{Scenario: "kill", Pair: "vipd-vipd", Error: "not tried"},
	}}
	if err := r.document(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == "stop" })
	title := scenarios()[i].title
	for _, want := range []string{"before\n", "\nafter\n", "; Debian 12.\n",
		"| " + title + " | 61, 3; –, 0 | · | · | 630, 62; –, 0 |\n",
		"| " + title + " | 0.02 / 0.00; 0.00 / 0.00 | · | · | 2.50 / 0.62; 0.00 / 0.00 (apart 1.50) |\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "old") || strings.Contains(string(got), "KILL") {
		t.Errorf("what was there before, or not tried, is there:\n%s", got)
	}
	if err := os.WriteFile(file, []byte("no markers"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.document(file); err == nil {
		t.Error("a document without markers is accepted")
	}
}

// root is the directory of the module.
const root = "../../.."

func TestTheDocumentHasTheMarkers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/vlan-lab.md"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := mark.Cut(text); err != nil {
		t.Error(err)
	}
}

func TestTheBlocksOfASectionAreThoseUnderItsHeading(t *testing.T) {
	const text = "# x\n```\nno\n```\n## A\nwords\n```\none\ntwo\n```\n### deeper\n```yaml\nthree: 3\n```\n## B\n```\nno\n```\n"
	got, err := blocks(text, "## A")
	if want := []block{{"", "one\ntwo\n"}, {"yaml", "three: 3\n"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"## C", "## B without"} {
		if _, err := blocks(text, bad); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
	if _, err := blocks("## A\n```\nno end\n", "## A"); err == nil {
		t.Error("a block without an end is accepted")
	}
}

// What the lab does with README.md must be what its readers do: both files that come
// of it are checked here, and that they make a pair.
func TestREADMESectionMakesAPair(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, readmeFile))
	if err != nil {
		t.Fatal(err)
	}
	list, err := blocks(string(text), readmeHeading)
	if err != nil {
		t.Fatal(err)
	}
	var priorities []uint8
	for router := range routerNames {
		written, run := 0, ""
		for _, st := range steps(list, router) {
			if st.file == "" {
				run += st.text
				continue
			}
			written++
			c := read(t, "vipd.yaml", st.text)
			want := four100()
			if len(c.Instances) != 1 || c.Instances[0].Interface != device(want.vlan) || len(c.Instances[0].Addresses) != 1 || c.Instances[0].Addresses[0].Prefix != want.vip {
				t.Errorf("%s: got %+v, want %v on %s", routerNames[router], c.Instances, want.vip, device(want.vlan))
			}
			priorities = append(priorities, c.Instances[0].Priority)
		}
		if written != 1 || !strings.Contains(run, "systemctl enable --now vipd") || strings.Contains(run, "make ") {
			t.Errorf("%s: %d files are written, and this is run:\n%s", routerNames[router], written, run)
		}
	}
	if len(priorities) == 2 && priorities[faulted] <= priorities[peer] {
		t.Errorf("the priorities are %v, want the first higher", priorities)
	}
}

func TestHowLongAServiceWasAwayIsSystemdsWord(t *testing.T) {
	const from, to = "Inactive=", "Active="
	got, err := between("Active=9500000\nInactive=7000000\n", from, to)
	if want := 2500 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "Inactive=0\nActive=5\n", "Inactive=5\nActive=4\n", "Inactive=x\nActive=4\n"} {
		if _, err := between(bad, from, to); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestANewerVersionSortsAfterIt(t *testing.T) {
	if got := nextVersion("1.0\n"); got != "1.0+upgraded" {
		t.Errorf("got %q", got)
	}
}

func TestTheShellRefusesWhatItDoesNotKnow(t *testing.T) {
	s := &stand{}
	for i, name := range routerNames {
		s.routers[i] = &router{host: &host{name: name}, number: i}
	}
	s.client = &host{name: clientName}
	for _, line := range []string{"r3 true", "pair vipd-frr", "link", "link r3 off", "link r1 sideways", "cut r1 5000", "cut r1", "owners", "capture x", "frobnicate r1"} {
		if err := s.line(t.Context(), line, io.Discard); err == nil {
			t.Errorf("%q is accepted", line)
		}
	}
	var out bytes.Buffer
	if err := s.line(t.Context(), "help", &out); err != nil || !strings.Contains(out.String(), "capture FILE") {
		t.Errorf("help says %q, %v", out.String(), err)
	}
	if err := s.line(t.Context(), "", io.Discard); err != nil {
		t.Errorf("an empty line: %v", err)
	}
}

func TestTheVirtualAddressesAreNoHosts(t *testing.T) {
	taken := make(map[netip.Addr]bool)
	for _, n := range numbers {
		for _, vlan := range vlans {
			for _, p := range hosts(vlan, n) {
				taken[p.Addr()] = true
			}
		}
	}
	for _, s := range scenarios() {
		for _, target := range (job{scenario: s}).plan().targets() {
			if taken[target.Addr] {
				t.Errorf("%s: %v is a host's own", s.name, target.Addr)
			}
		}
	}
}
