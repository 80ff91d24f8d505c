package config

import (
	"encoding/json"
	"strings"
	"testing"

	"vipd/vrrp"
)

// stmt builds a node as a front-end for keepalived.conf would.
func stmt(line string, children ...*node) *node {
	words := strings.Fields(line)
	n := &node{key: words[0], item: -1, pos: Pos{"k.conf", 1, 1}}
	for _, w := range words[1:] {
		n.args = append(n.args, word{w, Pos{"k.conf", 1, 2}})
	}
	for i, c := range children {
		n.add(c)
		if strings.HasPrefix(n.key, "virtual_ipaddress") {
			c.item = i
		}
	}
	n.named = n.key == "vrrp_instance" && len(n.args) > 0
	return n
}

// decodeTree decodes statements of the top level.
func decodeTree(dia dialect, top ...*node) (*Config, Diagnostics) {
	root := &node{item: -1}
	for _, n := range top {
		root.add(n)
	}
	r := &report{files: []string{"k.conf"}}
	c := decode(root, newSchema(), dia, r)
	return c, r.diags.sorted(r.files)
}

func TestTheDecoderTakesTreesFromOtherFrontEnds(t *testing.T) {
	c, diags := decodeTree(dialect{version: vrrp.V2},
		stmt("global_defs", stmt("vrrp_skip_check_adv_addr"), stmt("dynamic_interfaces"), stmt("vrrp_lower_prio_no_advert off")),
		stmt("vrrp_instance VI_1",
			stmt("interface eth0"), stmt("virtual_router_id 51"), stmt("nopreempt"), stmt("accept"),
			stmt("priority 90"), stmt("priority 110"), // the last one counts
			stmt("virtual_ipaddress", stmt("192.0.2.10/24 dev eth1"), stmt("192.0.2.11"))))
	if c == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	in := c.Instances[0]
	if in.Preempt || !in.SkipCheckAdvAddr || in.LowerPrioNoAdvert || in.Priority != 110 || len(in.Addresses) != 2 || in.Version != vrrp.V2 {
		t.Errorf("got %+v", in)
	}
}

func TestStatementsWithTooFewOrTooManyWordsAreReported(t *testing.T) {
	_, diags := decodeTree(dialect{version: vrrp.V2},
		stmt("vrrp_instance"),
		stmt("vrrp_instance VI_1",
			stmt("interface eth0"), stmt("virtual_router_id 51"), stmt("priority"), stmt("advert_int 1 2"), stmt("nopreempt true false"),
			stmt("virtual_ipaddress", stmt("192.0.2.10"))))
	const want = `k.conf:1:1: vrrp_instance: warning: vrrp_instance needs a name
k.conf:1:1: vrrp_instance.VI_1.priority: warning: priority needs a value
k.conf:1:2: vrrp_instance.VI_1.advert_int: warning: advert_int takes one value, not 2
k.conf:1:2: vrrp_instance.VI_1.nopreempt: warning: nopreempt takes one value, not 2
`
	if got := diags.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestFamilyFollowsFromTheFirstAddressThereIs(t *testing.T) {
	for _, tt := range []struct {
		given string
		want  vrrp.Family
	}{
		{"virtual_ipaddress: '2001:db8::1/64', unicast_peer: '2001:db8::2'", vrrp.IPv6},
		{"no_virtual_ipaddress: true, unicast_peer: '2001:db8::2'", vrrp.IPv6},
		{"no_virtual_ipaddress: true, mcast_src_ip: 'fe80::2'", vrrp.IPv6},
		{"no_virtual_ipaddress: true, mcast_src_ip: 192.0.2.1", vrrp.IPv4},
		{"no_virtual_ipaddress: true, virtual_ipaddress_excluded: '2001:db8::1'", vrrp.IPv4}, // as in keepalived
	} {
		c := mustParse(t, "vrrp_instance: {A: {interface: eth0, virtual_router_id: 1, "+tt.given+"}}")
		if got := c.Instances[0].Family; got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.given, got, tt.want)
		}
	}
}

func TestScopesHaveNamesAndNumbers(t *testing.T) {
	for s, want := range map[string]uint8{"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255, "0": 0, "200": 200} {
		if got, f := parseScope(s); f != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, f, want)
		}
	}
}

func TestLineEndsOfWindowsChangeNothing(t *testing.T) {
	text := strings.ReplaceAll("vrrp_instance:\n  A:\n    interface: eth0\n    virtual_router_id: 1\n    virtual_ipaddress:\n    - 192.0.2.1/24 dev eth0\n", "\n", "\r\n")
	if c := mustParse(t, text); c.Instances[0].Addresses[0].Interface != "eth0" {
		t.Errorf("got %+v", c.Instances[0])
	}
	_, diags := Parse("t", []byte(strings.Replace(text, "eth0", "eth0: x", 1)))
	if got := diags.String(); !strings.HasPrefix(got, "t:3:20: not valid YAML") {
		t.Errorf("got %s", got)
	}
}

func TestDiagnosticsHaveAStableForm(t *testing.T) {
	d := Diagnostic{Pos: Pos{"a.yaml", 3, 5}, Path: "x.y", Severity: Warning, Message: "odd", Hint: "do"}
	if got, want := d.String(), "a.yaml:3:5: x.y: warning: odd (do)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := (Pos{File: "a", Line: 2}).String(), "a:2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	data, err := json.Marshal(d)
	if want := `{"pos":{"file":"a.yaml","line":3,"col":5},"path":"x.y","severity":"warning","message":"odd","hint":"do"}`; err != nil || string(data) != want {
		t.Errorf("got %s, %v, want %s", data, err, want)
	}
	if got := Error.String(); got != "error" {
		t.Errorf("got %s", got)
	}
}

func TestSuggestionsAreCloseAndNotFarFetched(t *testing.T) {
	names := newSchema().instance.names()
	for given, want := range map[string]string{
		"virtual_routerid":       "virtual_router_id",
		"virtual-router-id":      "virtual_router_id",
		"VIRTUAL_ROUTER_ID":      "virtual_router_id",
		"virtaul_ipaddress":      "virtual_ipaddress",
		"prority":                "priority",
		"priroity":               "priority",
		"advertint":              "advert_int",
		"advert_interval":        "",
		"address":                "",
		"x":                      "",
		"virtual_ipaddreses":     "virtual_ipaddress",
		strings.Repeat("a", 100): "",
	} {
		if got := nearest(given, names); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}
