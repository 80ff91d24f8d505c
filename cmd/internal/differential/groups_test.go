package differential

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// moderate is the interval of groups: the time in which the timers of two
// members run out is not chance.
const moderate = 300 * time.Millisecond

const firstVIP, secondVIP = "192.0.2.211", "192.0.2.212"

// groupConf has the members of a group, VI_1 with the higher priority, and what else each of
// them and the group has, a line for each.
func groupConf(one, two, group string) string {
	member := func(name string, vrid, priority int, vip, more string) string {
		return fmt.Sprintf("vrrp_instance %s {\ninterface eth0\nvirtual_router_id %d\npriority %d\nadvert_int 0.3\nvirtual_ipaddress {\n%s\n}\n%s\n}\n",
			name, vrid, priority, vip, more)
	}
	return member("VI_1", 1, 150, firstVIP, one) + member("VI_2", 2, 100, secondVIP, two) +
		"vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n" + group + "\n}\n"
}

// groupYAML is groupConf for vipd.
func groupYAML(one, two, group string) string {
	indent := func(lines string) string {
		var b strings.Builder
		for line := range strings.Lines(lines) {
			b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
		return b.String()
	}
	member := func(name string, vrid, priority int, vip, more string) string {
		return fmt.Sprintf("  %s:\n    interface: eth0\n    virtual_router_id: %d\n    priority: %d\n    advert_int: 0.3\n    virtual_ipaddress: %s\n%s",
			name, vrid, priority, vip, indent(more))
	}
	return "vrrp_instance:\n" + member("VI_1", 1, 150, firstVIP, one) + member("VI_2", 2, 100, secondVIP, two) +
		"vrrp_sync_group:\n  G:\n    group: [VI_1, VI_2]\n" + indent(group)
}

// replaced replaces text that must be there.
func replaced(text, old, with string) string {
	if !strings.Contains(text, old) {
		panic("there is no " + old)
	}
	return strings.ReplaceAll(text, old, with)
}

// groupScenarios are those of sync groups.
func groupScenarios() []scenario {
	members := []string{"VI_1", "VI_2"}
	return []scenario{
		{
			name:       "members of a group become master and give way together",
			keepalived: trackConf + groupConf("", "", ""),
			vipd:       trackYAML + groupYAML("", "", ""),
			instances:  members,
			changes:    true,
			kinds:      []Kind{KindAdvert, KindARP},
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("one member hears a better advertisement")
				r.inject(v3(1, 200, moderate, firstVIP))
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("the other one hears a better advertisement")
				r.inject(v3(2, 200, moderate, secondVIP))
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("one member hears priority 0")
				r.inject(v3(1, 0, moderate, firstVIP))
				r.quiet(aWhile)
				r.phase("one member is put off, and the other waits for it")
				r.inject(v3(2, 200, moderate, secondVIP))
				r.speakFor(2*time.Second, 300*time.Millisecond, v3(2, 200, moderate, secondVIP))
				r.phase("until it is no longer")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "the first member of a group is put off, and the second waits for it",
			keepalived: trackConf + groupConf("", "", ""),
			vipd:       trackYAML + groupYAML("", "", ""),
			instances:  members,
			changes:    true,
			events: func(r *run) {
				r.startBackup("it starts")
				r.begun()
				r.speakFor(2500*time.Millisecond, 300*time.Millisecond, v3(1, 200, moderate, firstVIP))
				r.phase("silence")
				begin := r.heard()
				first := r.await(1, adverts)
				r.after("the takeover", first.At.Sub(begin), 1024*time.Millisecond)
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("priority 0 is heard by both")
				r.inject(v3(1, 200, moderate, firstVIP), v3(2, 200, moderate, secondVIP))
				r.quiet(aWhile)
				r.inject(v3(2, 0, moderate, secondVIP))
				r.quiet(aWhile)
				r.inject(v3(1, 0, moderate, firstVIP))
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "a member of a group hears a lower priority",
			keepalived: strings.ReplaceAll(trackConf, "vrrp_garp_lower_prio_repeat 0", "vrrp_garp_lower_prio_repeat 1\nvrrp_garp_lower_prio_delay 1") + groupConf("", "", ""),
			vipd:       strings.ReplaceAll(trackYAML, "vrrp_garp_lower_prio_repeat: 0", "vrrp_garp_lower_prio_repeat: 1\n  vrrp_garp_lower_prio_delay: 1") + groupYAML("", "", ""),
			instances:  members,
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("it is the second")
				r.inject(v3(2, 50, moderate, secondVIP))
				r.quiet(aWhile)
				r.phase("all is announced again")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "state MASTER in a group",
			keepalived: trackConf + groupConf("state MASTER", "state MASTER", ""),
			vipd:       trackYAML + groupYAML("state: MASTER", "state: MASTER", ""),
			instances:  members,
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("a better one")
				r.inject(v3(1, 200, moderate, firstVIP))
				r.await(2, announcements)
				r.quiet(aWhile)
			},
		},
		{
			name:       "state MASTER at one member of a group",
			keepalived: trackConf + groupConf("state MASTER", "", ""),
			vipd:       trackYAML + groupYAML("state: MASTER", "", ""),
			instances:  members,
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "one owner in a group",
			keepalived: trackConf + replaced(groupConf("", "", ""), "priority 150", "priority 255"),
			vipd:       trackYAML + replaced(groupYAML("", "", ""), "priority: 150", "priority: 255"),
			instances:  members,
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a check without weight of the second member of a group",
			keepalived: trackConf + "vrrp_script a {\nscript \"$DIR/check a\"\ninterval 2\ntimeout 10\n}\n" +
				groupConf("", "track_script {\na\n}", ""),
			vipd: trackYAML + "vrrp_script:\n  a: {script: $DIR/check a, interval: 2, timeout: 10}\n" +
				groupYAML("", "track_script: a", ""),
			instances: members,
			changes:   true,
			prepare:   func(r *run) { r.always("a", "wait") },
			events: func(r *run) {
				r.start("it waits for a result")
				r.quiet(3 * aWhile)
				r.phase("success")
				r.always("a", "0")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "1")
				r.hears(`GROUP "G" FAULT 0`)
				r.quiet(aWhile)
				r.phase("it recovers")
				r.check("a", "0")
				r.hears(`GROUP "G" BACKUP 0`)
				r.quiet(aWhile)
				r.phase("and fails as a backup")
				r.inject(v3(1, 200, 2*time.Second, firstVIP))
				r.check("a", "1")
				r.hears(`GROUP "G" FAULT 0`)
				r.quiet(aWhile)
				r.phase("and recovers")
				r.check("a", "0")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "checks without weight of both members of a group",
			keepalived: trackConf + "vrrp_script a {\nscript \"$DIR/check a\"\ninterval 1\n}\nvrrp_script b {\nscript \"$DIR/check b\"\ninterval 1\n}\n" +
				groupConf("track_script {\na\n}", "track_script {\nb\n}", ""),
			vipd: trackYAML + "vrrp_script:\n  a: {script: $DIR/check a, interval: 1}\n  b: {script: $DIR/check b, interval: 1}\n" +
				groupYAML("track_script: a", "track_script: b", ""),
			instances: members,
			changes:   true,
			prepare:   func(r *run) { r.always("a", "0"); r.always("b", "wait") },
			events: func(r *run) {
				r.start("it starts")
				r.quiet(aWhile)
				r.phase("the second has a result")
				r.always("b", "0")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("the first fails")
				r.check("a", "1")
				r.hears(`GROUP "G" FAULT 0`)
				r.quiet(aWhile)
				r.phase("the second fails")
				r.check("b", "1")
				r.checked("b")
				r.quiet(aWhile)
				r.phase("the first recovers")
				r.check("a", "0")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("the second recovers")
				r.check("b", "0")
				r.checked("b")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a check without weight of a group",
			keepalived: trackConf + "vrrp_script a {\nscript \"$DIR/check a\"\ninterval 1\n}\n" +
				groupConf("", "", "track_script {\na\n}"),
			vipd: trackYAML + "vrrp_script:\n  a: {script: $DIR/check a, interval: 1}\n" +
				groupYAML("", "", "track_script: a"),
			instances: members,
			changes:   true,
			prepare:   func(r *run) { r.always("a", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "1")
				r.hears(`GROUP "G" FAULT 0`)
				r.quiet(aWhile)
				r.phase("it recovers")
				r.check("a", "0")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "checks with a weight in a group that allows them",
			keepalived: trackConf + "vrrp_script a {\nscript \"$DIR/check a\"\ninterval 1\nweight -20\n}\nvrrp_script b {\nscript \"$DIR/check b\"\ninterval 1\nweight 7\n}\n" +
				groupConf("track_script {\na\n}", "", "sync_group_tracking_weight\ntrack_script {\nb\n}"),
			vipd: trackYAML + "vrrp_script:\n  a: {script: $DIR/check a, interval: 1, weight: -20}\n  b: {script: $DIR/check b, interval: 1, weight: 7}\n" +
				groupYAML("track_script: a", "", "sync_group_tracking_weight: true\ntrack_script: b"),
			instances: members,
			changes:   true,
			prepare:   func(r *run) { r.always("a", "0"); r.always("b", "0") },
			apart:     true,
			events:    weightsInAGroup,
		},
		{
			name: "checks with a weight in a group that does not allow them",
			keepalived: trackConf + "vrrp_script a {\nscript \"$DIR/check a\"\ninterval 1\nweight -20\n}\nvrrp_script b {\nscript \"$DIR/check b\"\ninterval 1\nweight 7\n}\n" +
				groupConf("track_script {\na\n}", "", "track_script {\nb\n}"),
			vipd: trackYAML + "vrrp_script:\n  a: {script: $DIR/check a, interval: 1, weight: -20}\n  b: {script: $DIR/check b, interval: 1, weight: 7}\n" +
				groupYAML("track_script: a", "", "track_script: b"),
			instances: members,
			changes:   true,
			prepare:   func(r *run) { r.always("a", "0"); r.always("b", "0") },
			apart:     true,
			events:    weightsInAGroup,
		},
		{
			name:       "a group with one member",
			keepalived: trackConf + replaced(groupConf("", "", ""), "VI_1\nVI_2\n}", "VI_1\n}"),
			vipd:       trackYAML + replaced(groupYAML("", "", ""), "[VI_1, VI_2]", "[VI_1]"),
			instances:  members,
			changes:    true,
			apart:      true,
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("it hears a better advertisement")
				r.inject(v3(1, 200, moderate, firstVIP))
				r.quiet(aWhile)
				r.phase("and priority 0")
				r.inject(v3(1, 0, moderate, firstVIP))
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "a group of two families",
			keepalived: trackConf + replaced(groupConf("", "", ""), secondVIP, "fe80::212\n2001:db8::212"),
			vipd:       trackYAML + replaced(groupYAML("", "", ""), secondVIP, "[fe80::212, \"2001:db8::212\"]"),
			instances:  members,
			apart:      true,
			changes:    true,
			kinds:      []Kind{KindAdvert, KindARP, KindNA},
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(3, announcements)
				r.quiet(aWhile)
				r.phase("IPv6 hears a better advertisement")
				r.inject(v3(2, 200, moderate, "fe80::212", "2001:db8::212"))
				r.await(3, announcements)
				r.quiet(aWhile)
				r.phase("IPv4 loses its source address")
				r.ok(r.router.RemoveAddr("eth0", netip.MustParsePrefix(router4+"/24")))
				r.hears(`GROUP "G" FAULT 0`) // from vipd two seconds later: D074
				r.quiet(aWhile)
				r.phase("and has it back")
				r.ok(r.router.AddAddr("eth0", netip.MustParsePrefix(router4+"/24")))
				r.await(3, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a file and an interface of a group",
			keepalived: trackConf + "vrrp_track_file value {\nfile $DIR/value\n}\n" +
				groupConf("", "", "track_file {\nvalue weight 0\n}\ntrack_interface {\neth1 weight -30\n}"),
			vipd: trackYAML + "vrrp_track_file:\n  value: {file: $DIR/value, weight: 1}\n" +
				groupYAML("", "", "track_file: value weight 0\ntrack_interface: eth1 weight -30"),
			instances: members,
			changes:   true,
			apart:     true,
			prepare:   func(r *run) { second(r); r.write("value", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.begun()
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("the interface goes down")
				r.ok(r.lab.Cut(r.router, "eth1"))
				r.quiet(2 * aWhile)
				r.phase("the file says a fault")
				r.write("value", "1")
				r.hears(`GROUP "G" FAULT 0`)
				r.quiet(aWhile)
				r.phase("and takes it back")
				r.write("value", "0")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "the interface of a member of a group goes down",
			keepalived: trackConf + groupConf("", "track_interface {\neth1\n}", ""),
			vipd:       trackYAML + groupYAML("", "track_interface: eth1", ""),
			instances:  members,
			changes:    true,
			prepare:    func(r *run) { second(r); r.ok(r.lab.Cut(r.router, "eth1")) },
			events: func(r *run) {
				r.start("it starts in fault")
				r.hears(`INSTANCE "VI_2" FAULT 100`)
				r.quiet(aWhile)
				r.phase("up")
				r.ok(r.lab.Heal(r.router, "eth1"))
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("down")
				r.ok(r.lab.Cut(r.router, "eth1"))
				r.hears(`GROUP "G" FAULT 0`)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
	}
}

// groupDifferences are those of docs/differences.md.
func groupDifferences() []scenario {
	members := []string{"VI_1", "VI_2"}
	return []scenario{
		{
			name:       "a group starts",
			keepalived: trackConf + groupConf("", "", ""),
			vipd:       trackYAML + groupYAML("", "", ""),
			instances:  members,
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.hears(`GROUP "G" BACKUP 0`)
				r.quiet(aWhile)
			},
			declared: []Declared{{
				"D042", "it starts",
				`nothing sent; VI_1 is backup; VI_2 is backup; fifo GROUP "G" BACKUP 0; fifo INSTANCE "VI_1" BACKUP 150; fifo INSTANCE "VI_2" BACKUP 100`,
				`nothing sent; VI_1 is backup; VI_2 is backup; fifo INSTANCE "VI_1" BACKUP 150; fifo INSTANCE "VI_2" BACKUP 100; fifo GROUP "G" BACKUP 0`,
			}},
		},
		{
			name: "the first result of a check of a member of a group is a failure",
			keepalived: trackConf + "vrrp_script a {\nscript \"$DIR/check a\"\ninterval 2\ntimeout 10\n}\n" +
				groupConf("track_script {\na\n}", "", ""),
			vipd: trackYAML + "vrrp_script:\n  a: {script: $DIR/check a, interval: 2, timeout: 10}\n" +
				groupYAML("track_script: a", "", ""),
			instances: members,
			changes:   true,
			prepare:   func(r *run) { r.always("a", "wait") },
			events: func(r *run) {
				r.start("it waits for a result")
				r.quiet(3 * aWhile)
				r.phase("failure")
				r.always("a", "1")
				r.hears(`GROUP "G" FAULT 0`)
				r.quiet(aWhile)
				r.phase("it recovers")
				r.check("a", "0")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
			anyOrder: true,
			declared: []Declared{{
				"D043", "failure",
				`nothing sent; VI_1 is fault; VI_2 is init; fifo INSTANCE "VI_1" FAULT 150; fifo GROUP "G" FAULT 0`,
				`nothing sent; VI_1 is fault; VI_2 is fault; fifo INSTANCE "VI_1" FAULT 150; fifo INSTANCE "VI_2" FAULT 100; fifo GROUP "G" FAULT 0`,
			}},
		},
		{
			name:       "owners in a group",
			keepalived: trackConf + replaced(replaced(groupConf("", "", ""), "priority 150", "priority 255"), "priority 100", "priority 255"),
			vipd:       trackYAML + replaced(replaced(groupYAML("", "", ""), "priority: 150", "priority: 255"), "priority: 100", "priority: 255"),
			instances:  members,
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
			apart: true,
			declared: []Declared{{
				"D046", "it starts",
				`arp 192.0.2.211, arp 192.0.2.212, v3 advert 255 ×2; holds 192.0.2.211/32, 192.0.2.212/32; VI_1 is master; VI_2 is master; fifo GROUP "G" BACKUP 0; fifo INSTANCE "VI_1" BACKUP 255; fifo INSTANCE "VI_2" BACKUP 255; fifo INSTANCE "VI_1" MASTER 255; fifo INSTANCE "VI_2" MASTER 255; fifo GROUP "G" MASTER 0`,
				`arp 192.0.2.211, arp 192.0.2.212, v3 advert 255 ×2; holds 192.0.2.211/32, 192.0.2.212/32; VI_1 is master; VI_2 is master; fifo INSTANCE "VI_1" MASTER 255; fifo INSTANCE "VI_2" MASTER 255; fifo GROUP "G" MASTER 0`,
			}},
		},
	}
}

// weightsInAGroup has a check of a member and one of the group fail and recover.
func weightsInAGroup(r *run) {
	r.start("it starts")
	r.begun()
	r.await(2, announcements)
	r.quiet(aWhile)
	for _, step := range []struct{ name, result string }{{"a", "1"}, {"b", "1"}, {"a", "0"}, {"b", "0"}} {
		r.phase(step.name + " ends with " + step.result)
		r.check(step.name, step.result)
		r.quiet(1100 * time.Millisecond)
		r.quiet(aWhile)
	}
	r.phase("SIGTERM")
	r.terminate()
}

func TestGroupsWorkAlike(t *testing.T) {
	t.Parallel()
	for _, s := range groupScenarios() {
		// keepalived does for one member after the other what vipd does for all
		// of them at once: first all advertise, then all announce.
		s.anyOrder = true
		t.Run(s.name, s.play)
	}
}
