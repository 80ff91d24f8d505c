package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vipd/vrrp"
)

// parseKeepalived reads keepalived.conf from memory.
func parseKeepalived(text string, o Options) (*Config, Diagnostics) {
	return ParseWith("k.conf", []byte(text), o)
}

func TestEachKeepalivedFileGetsExactlyTheseMessages(t *testing.T) {
	t.Chdir("testdata/conf")
	for _, file := range glob(t, "*.conf") {
		_, diags := LoadWith(file, Options{ConfigID: "node1"})
		golden(t, strings.TrimSuffix(file, ".conf")+".want", diags.String())
	}
}

func TestDefaultsOfKeepalivedConfAreKeepaliveds(t *testing.T) {
	c, diags := parseKeepalived("vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 192.0.2.1 }\nunicast_peer { 192.0.2.9 }\nnotify /x\n}\n", Options{})
	if c == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	in := c.Instances[0]
	if in.Version != vrrp.V2 || in.GARP.Refresh != 0 || in.CheckUnicastSource || c.Global.ScriptSecurity || !in.HigherPrioSendAdvert {
		t.Errorf("got %+v", in)
	}
	if got, want := in.Notify.Any.User, confDialect().scriptUser; got != want || got == "" {
		t.Errorf("scripts are run by %q, want %q", got, want)
	}
}

const good = "vrrp_instance GOOD {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 192.0.2.1 }\n}\n"

func TestInstancesThatCannotRunAreLeftOut(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"no VRID", "interface eth0\nvirtual_ipaddress { 192.0.2.2 }", "virtual_router_id is missing"},
		{"a wrong VRID", "interface eth0\nvirtual_router_id 300\nvirtual_ipaddress { 192.0.2.2 }", "300 is out of range (1 to 255)"},
		{"no interface", "virtual_router_id 2\nvirtual_ipaddress { 192.0.2.2 }", "interface is missing"},
		{"an alias for an interface", "interface eth0:1\nvirtual_router_id 2\nvirtual_ipaddress { 192.0.2.2 }", `"eth0:1" is not an interface name`},
		{"the loopback interface", "interface lo\nvirtual_router_id 2\nvirtual_ipaddress { 192.0.2.2 }", "lo is the loopback interface: no other router can be heard on it"},
		{"the VRID of another", "interface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 192.0.2.2 }", "virtual_router_id 1 for IPv4 on eth0 is already used by vrrp_instance.GOOD at k.conf:3:19"},
		{"version 3 without address", "interface eth0\nvirtual_router_id 2\nversion 3", "there is no virtual_ipaddress"},
		{"version 3 with bad addresses", "interface eth0\nvirtual_router_id 2\nversion 3\nvirtual_ipaddress { x }", "there is no virtual_ipaddress"},
		{"authentication by AH", "interface eth0\nvirtual_router_id 2\nvirtual_ipaddress { 192.0.2.2 }\nauthentication {\nauth_type AH\nauth_pass x\n}", "authentication by AH is not supported"},
		{"authentication by HMAC", "interface eth0\nvirtual_router_id 2\nvirtual_ipaddress { 192.0.2.2 }\nauth_hmac {\nkey 1 x\n}", "authentication by auth_hmac is not supported"},
		{"a keyword without its value", "interface eth0\nvirtual_router_id 2\npriority\nvirtual_ipaddress { 192.0.2.2 }", "priority needs a value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := good + "vrrp_instance BAD {\n" + tt.body + "\n}\n"
			c, diags := parseKeepalived(text, Options{})
			if c == nil || len(c.Instances) != 1 || len(c.LeftOut) != 1 {
				t.Fatalf("got %+v\n%s", c, diags)
			}
			l := c.LeftOut[0]
			if l.Name != "BAD" || l.Reason != tt.want || l.Pos.String() != "k.conf:6:15" {
				t.Errorf("got %+v, want %s", l, tt.want)
			}
			if n := strings.Count(diags.String(), tt.want); n != 1 || !diags.HasErrors() {
				t.Errorf("it is said %d times:\n%s", n, diags)
			}
			if c, diags := parseKeepalived(text, Options{RefuseInvalid: true}); c != nil || !diags.HasErrors() {
				t.Errorf("a reload takes it: %s", diags)
			}
		})
	}
}

func TestWhatIsLeftOutHoldsNothing(t *testing.T) {
	// BAD has what C has, and is left out only after that is known.
	c, diags := parseKeepalived("vrrp_instance BAD {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 192.0.2.1 }\nauth_hmac { }\n}\n"+good, Options{})
	if c == nil || len(c.Instances) != 1 || len(c.LeftOut) != 1 || len(c.Instances[0].Addresses) != 1 || len(diags) != 1 {
		t.Errorf("got %+v\n%s", c, diags)
	}
}

func TestAConfigurationOfWhichNothingCanRunIsRefused(t *testing.T) {
	for _, text := range []string{
		"vrrp_instance A { }\n",
		good + "include /nowhere\n", // in memory
		good + strings.Repeat("x", maxConfLine+1),
	} {
		if c, diags := parseKeepalived(text, Options{}); c != nil || !diags.HasErrors() {
			t.Errorf("%.40q: got %+v\n%s", text, c, diags)
		}
	}
}

func TestKeywordsThatAreNotBuiltAreNamedOnce(t *testing.T) {
	text := "virtual_server 192.0.2.1 80 {\nreal_server 192.0.2.2 80 { }\n}\nvirtual_server 192.0.2.1 81 { }\nvrrp_instance A {\ninterface eth0\nvirtual_router_id 1\nno_accept\nvirtual_routes {\n192.0.2.0/24 via 192.0.2.1 # x\n}\nvirtual_ipaddress { 192.0.2.1 }\n}\nvrrp_instance B {\ninterface eth0\nvirtual_router_id 2\nno_accept\nvirtual_ipaddress { 192.0.2.2 }\n}\n"
	c, diags := parseKeepalived(text, Options{})
	const want = `k.conf:1:1: virtual_server: warning: virtual_server belongs to LVS, which vipd does not do (keepalived or another load balancer can go on doing it beside vipd)
k.conf:8:1: vrrp_instance.A.no_accept: warning: no_accept is not supported by this version of vipd: the addresses can be reached, which keepalived prevents
k.conf:9:1: vrrp_instance.A.virtual_routes: warning: virtual_routes is not supported by this version of vipd: the routes are not added on becoming master
`
	if got := diags.String(); got != want || c == nil || len(c.Instances) != 2 {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestStrictModeSpeaksAsKeepalivedDoes(t *testing.T) {
	body := "interface eth0\nvirtual_router_id 1\nstate MASTER\npriority 100\npreempt_delay 5\nauthentication {\nauth_type PASS\nauth_pass x\n}\nvirtual_ipaddress { 192.0.2.1 }\n"
	for text, strict := range map[string]bool{
		"global_defs { vrrp_strict }\nvrrp_instance A {\n" + body + "}":                      true,
		"vrrp_instance A {\nstrict_mode on\n" + body + "}":                                   true,
		"global_defs { vrrp_strict }\nvrrp_instance A {\nstrict_mode off\n" + body + "}":     false,
		"global_defs { vrrp_strict off }\nvrrp_instance A {\n" + body + "}":                  false,
		"vrrp_instance A {\n" + body + "}":                                                   false,
		"global_defs { vrrp_strict false }\nvrrp_instance A {\nstrict_mode\n" + body + "}\n": true,
	} {
		c, diags := parseKeepalived(text, Options{})
		if c == nil {
			t.Fatal(diags)
		}
		in := c.Instances[0]
		if in.StartMaster == strict || (in.AuthType == vrrp.AuthNone) != strict || in.LowerPrioNoAdvert != strict || (in.GARP.LowerPrioRepeat == 0) != strict || in.HigherPrioSendAdvert == strict {
			t.Errorf("%q: got %+v", text, in)
		}
		if got := strings.Contains(diags.String(), "strict"); got != strict && !strings.Contains(text, "vrrp_strict }") {
			t.Errorf("%q: got %s", text, diags)
		}
	}
}

func TestUnitsAreNotKeepaliveds(t *testing.T) {
	c, diags := parseKeepalived(strings.Replace(good, "{\ninterface", "{\nversion 3\nadvert_int 100ms\ninterface", 1), Options{})
	if c == nil || c.Instances[0].AdvertInterval != time.Second || !strings.Contains(diags.String(), `"100ms" has a unit, which keepalived does not know: it is ignored`) {
		t.Errorf("got %+v\n%s", c, diags)
	}
}

func TestTheLanguageIsRecognisedByTheContent(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Format
	}{
		{"a.yaml", "global_defs {\n", Keepalived},
		{"a.conf", "global_defs:\n", YAML},
		{"a", "! x\n", Keepalived},
		{"a", "# x\n\n  vrrp_instance: {A: {}}\n", YAML},
		{"a", "# x\nvrrp_instance VI_1 {\n", Keepalived},
		{"a", "vrrp_instance VI_1\n{\n", YAML}, // it says nothing
		{"a.conf", "vrrp_instance VI_1\n{\n", Keepalived},
		{"a", "global_defs\n{\n}\nvrrp_instance VI_1 {\n", Keepalived},
		{"a", "$A=b\n", Keepalived},
		{"a", "@id x\n", Keepalived},
		{"a", "include /etc/x.conf\n", Keepalived},
		{"a", "include: x\n", YAML},
		{"a", "include : x\n", YAML},
		{"a", "virtual_server fe80::1 80 {\n", Keepalived},
		{"a", "---\nx: y\n", YAML},
		{"a", "\"x\": y\n", YAML},
		{"a", "\xef\xbb\xbfglobal_defs {", Keepalived},
		{"a.conf", "", Keepalived},
		{"a.yaml", "", YAML},
		{"a", "", YAML},
	} {
		if got := FormatOf(tt.name, []byte(tt.text)); got != tt.want {
			t.Errorf("%s %q: got %s, want %s", tt.name, tt.text, got, tt.want)
		}
	}
}

func TestLoadTakesBothLanguages(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"k": good, "sub.conf": good, "i.conf": "include sub.conf\n@" + hostID() + " global_defs { router_id here }\n",
		"y": "vrrp_instance: {GOOD: {interface: eth0, virtual_router_id: 1, version: 2, virtual_ipaddress: 192.0.2.1}}\n",
	})
	for _, name := range []string{"k", "i.conf", "y"} {
		c, diags := Load(filepath.Join(dir, name))
		if c == nil || len(diags) > 0 || len(c.Instances) != 1 || c.Instances[0].Name != "GOOD" {
			t.Fatalf("%s: got %+v\n%s", name, c, diags)
		}
		if name == "i.conf" && (len(c.Files) != 2 || c.Global.RouterID != "here") {
			t.Errorf("got %+v", c)
		}
	}
	for _, name := range []string{"none", ".", "/proc/self/mem"} {
		c, diags := Load(filepath.Join(dir, name))
		if name[0] == '/' {
			c, diags = Load(name)
		}
		if c != nil || !strings.Contains(diags.String(), "the file cannot be read: ") {
			t.Errorf("%s: got %s", name, diags)
		}
	}
}

func TestOneMistakeInAKeywordIsOneMessage(t *testing.T) {
	text := "vvrp_script s {\nscript x\n}\nvrrp_sync_group G { group { GOOD\nNONE } }\nvvrp_instance NONE { }\n" + strings.Replace(good, "interface", "track_script { s }\ninterface", 1)
	text = strings.TrimSuffix(text, "}\n") + "vrrp_instance LOST {\ninterface eth0\n}\n"
	c, diags := parseKeepalived(text, Options{})
	const want = `k.conf:1:1: vvrp_script: warning: unknown keyword "vvrp_script" (did you mean vrrp_script?)
k.conf:6:1: vvrp_instance: warning: unknown keyword "vvrp_instance" (did you mean vrrp_instance?)
k.conf:7:1: vrrp_instance.GOOD: warning: the block that begins here is not closed (is there a brace missing?)
k.conf:12:1: vrrp_instance.GOOD.vrrp_instance: vrrp_instance belongs at the top level, and this one is within another block (is there a brace missing before?)
`
	if got := diags.String(); got != want || c == nil || len(c.Instances) != 1 || len(c.LeftOut) != 1 || c.LeftOut[0].Name != "LOST" {
		t.Errorf("got:\n%swant:\n%s%+v", got, want, c)
	}
	if c, _ := parseKeepalived(text, Options{RefuseInvalid: true}); c != nil {
		t.Error("a reload takes it")
	}
}

func TestAGroupRunsTogetherOrNotAtAll(t *testing.T) {
	text := "vrrp_sync_group G {\ngroup { GOOD BAD }\n}\nvrrp_sync_group H {\ngroup { ALONE }\n}\n" + good +
		"vrrp_instance BAD {\n}\n" + strings.NewReplacer("GOOD", "ALONE", "_id 1", "_id 2", "2.1", "2.2").Replace(good)
	c, diags := parseKeepalived(text, Options{})
	if c == nil || len(c.Instances) != 1 || c.Instances[0].Name != "ALONE" || len(c.SyncGroups) != 1 || c.SyncGroups[0].Name != "H" {
		t.Fatalf("got %+v\n%s", c, diags)
	}
	if len(c.LeftOut) != 2 || c.LeftOut[1].Name != "GOOD" || c.LeftOut[1].Reason != "BAD is in vrrp_sync_group G and cannot run, so the other members do not run either" {
		t.Errorf("got %+v", c.LeftOut)
	}
}

func TestPasswordsAreAnyOctets(t *testing.T) {
	auth := func(pass string) string {
		return strings.Replace(good, "interface", "authentication {\nauth_type PASS\nauth_pass "+pass+"\n}\ninterface", 1)
	}
	for pass, want := range map[string]string{"a\x01\xff": "a\x01\xff", `"a b"`: "a b", "123456789": "12345678", "'x'": "'x'", `""`: ""} {
		c, diags := parseKeepalived(auth(pass), Options{})
		if c == nil {
			t.Fatal(diags)
		}
		in := c.Instances[0]
		if got := strings.TrimRight(string(in.AuthData[:]), "\x00"); got != want || (in.AuthType == vrrp.AuthPass) != (want != "") {
			t.Errorf("%q: got %q, %s\n%s", pass, got, in.AuthType, diags)
		}
	}
	c, diags := parseKeepalived(good+"vrrp_instance a\x01 { }\n", Options{})
	if c == nil || len(c.LeftOut) != 1 || !diags.HasErrors() {
		t.Errorf("got %+v\n%s", c, diags)
	}
}
