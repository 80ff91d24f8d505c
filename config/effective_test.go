package config

import (
	"slices"
	"strings"
	"testing"
)

// inForce returns what is in force by a text, as "block keyword value <- origin".
func inForce(t *testing.T, name, text string) []string {
	t.Helper()
	r := &report{files: []string{name}}
	src := decodeSource(name, []byte(text), Options{}, false, r)
	if src.cfg == nil {
		t.Fatal(r.sorted())
	}
	var out []string
	for _, b := range src.effective() {
		for _, s := range b.Settings {
			out = append(out, strings.TrimSpace(b.Keyword+" "+b.Name)+" "+s.Keyword+" "+s.Value+" <- "+s.Origin)
		}
	}
	return out
}

func TestEveryValueHasTheOriginItComesFrom(t *testing.T) {
	got := inForce(t, "k", `global_defs {
vrrp_min_garp
vrrp_garp_lower_prio_repeat 3
smtp_alert
script_user nobody
vrrp_mcast_group4 224.0.0.99
vip_lease 4
}
vrrp_script s {
script "/bin/x 'a b'"
weight 5
interval 2
}
vrrp_instance A {
state MASTER
interface eth0
virtual_router_id 1
nopreempt
advert_int 1.4
garp_master_refresh 7
virtual_ipaddress {
192.0.2.1 dev eth1
}
track_script {
s
}
notify "/bin/n" root
handover off
on_address_loss resign
}
vrrp_track_process p {
process x
quorum_max 0
}
`)
	for _, want := range []string{
		"global_defs vrrp_garp_master_delay 0 <- vrrp_min_garp, k:2",
		"global_defs vrrp_garp_lower_prio_repeat 3 <- k:3",
		"global_defs smtp_alert_vrrp true <- smtp_alert, k:4",
		"global_defs vrrp_version 2 <- default",
		"vrrp_instance A state MASTER <- k:15",
		"vrrp_instance A priority 255 <- state MASTER, k:15",
		"vrrp_instance A nopreempt false <- cleared by priority 255",
		"vrrp_instance A advert_int 1 <- k:19, rounded from 1.4",
		"vrrp_instance A garp_master_refresh 7 <- k:20",
		"vrrp_instance A garp_master_repeat 1 <- vrrp_min_garp in global_defs, k:2",
		"vrrp_instance A garp_lower_prio_repeat 3 <- vrrp_garp_lower_prio_repeat in global_defs, k:3",
		"vrrp_instance A mcast_dst_ip 224.0.0.99 <- vrrp_mcast_group4 in global_defs, k:6",
		"vrrp_instance A virtual_ipaddress 192.0.2.1 dev eth1 <- k:22",
		"vrrp_instance A track_interface eth1 weight 0 <- an address is on it",
		"vrrp_instance A smtp_alert true <- smtp_alert in global_defs, k:4",
		"vrrp_instance A notify /bin/n (as root) <- k:27",
		"vrrp_instance A notify_stop none <- default",
		"vrrp_script s script /bin/x 'a b' (as nobody) <- k:10",
		"vrrp_script s timeout 2 <- interval, k:12",
		"vrrp_script s user nobody <- script_user in global_defs, k:5",
		"vrrp_track_process p quorum 0 <- quorum_max 0",
		"global_defs vip_lease 4 <- k:7",
		"global_defs handover true <- default",
		"vrrp_instance A vip_lease 4 <- vip_lease in global_defs, k:7",
		"vrrp_instance A handover false <- k:28",
		"vrrp_instance A on_address_loss resign <- k:29",
		"vrrp_instance A hold_on_mismatch true <- default",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in:\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestEveryKeywordHasAValueInForce(t *testing.T) {
	s := newSchema()
	r := &report{files: []string{"tracking.yaml"}}
	for _, file := range []string{"testdata/tracking.yaml", "testdata/reference.yaml"} {
		var src *source
		if src, r = readSource(file, Options{}); src == nil || src.cfg == nil {
			t.Fatal(r.sorted())
		}
		seen := make(map[string]bool)
		for _, b := range src.effective() {
			for _, set := range b.Settings {
				seen[b.Keyword+" "+set.Keyword] = true
			}
		}
		// What is only another way to say something, or says nothing.
		other := []string{"preempt", "native_ipv6", "no_virtual_ipaddress", "authentication", "dynamic_interfaces", "accept", "use_symlink_paths",
			"fifo_write_vrrp_states_on_reload", "init_fail", "delay", "global_tracking", "notify_fifo_script", "vrrp_notify_fifo_script"}
		for _, b := range []*block{s.global, s.instance, s.group, s.script, s.process, s.file} {
			for _, kw := range b.keywords {
				if kw.support != supported || slices.Contains(other, kw.name) || strings.HasPrefix(kw.name, "track_") && kw.name != "track_src_ip" {
					continue
				}
				if len(src.cfg.SyncGroups) == 0 && b != s.global && b != s.instance {
					continue // the other file has them
				}
				if !seen[b.name+" "+kw.name] && strings.Contains(file, "reference") == (b == s.instance) {
					t.Errorf("%s: %s %s has no value", file, b.name, kw.name)
				}
			}
		}
	}
}
