package differential

import (
	"testing"
	"time"
)

// notifyConf and notifyYAML are the beginning of an instance. The check is so
// that it can be in fault.
const notifyConf = `
vrrp_script a {
	script "$DIR/check a"
	interval 1
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 31
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.231
	}
	track_script {
		a
	}
`

const notifyYAML = `
vrrp_script:
  a: {script: $DIR/check a, interval: 1}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 31
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.231
    track_script: a
`

// allStates takes an instance of notifyConf through all of them.
func allStates(r *run) {
	r.start("it starts")
	r.await(1, announcements)
	r.quiet(aWhile)
	r.phase("a better one is heard")
	r.inject(v3(31, 200, fast, "192.0.2.231"))
	r.await(1, announcements)
	r.quiet(aWhile)
	r.phase("a check fails")
	r.check("a", "1")
	r.hears(`INSTANCE "VI_1" FAULT 100`)
	r.quiet(aWhile)
	r.phase("and recovers")
	r.check("a", "0")
	r.await(1, announcements)
	r.quiet(aWhile)
	r.phase("SIGTERM")
	r.terminate()
}

// notifyScenarios are those of scripts and pipes.
func notifyScenarios() []scenario {
	members := []string{"VI_1", "VI_2"}
	startsWell := func(r *run) { r.always("a", "0") }
	return []scenario{
		{
			name: "the scripts of an instance and their arguments",
			keepalived: trackConf + notifyConf + `
	notify_master "$DIR/tell master 'two words' c"
	notify_backup "$DIR/tell backup"
	notify_fault "$DIR/tell fault x"
	notify_stop "$DIR/tell stop y"
	notify "$DIR/tell any fixed"
}
`,
			vipd: trackYAML + notifyYAML + `
    notify_master: $DIR/tell master 'two words' c
    notify_backup: $DIR/tell backup
    notify_fault: $DIR/tell fault x
    notify_stop: $DIR/tell stop y
    notify: $DIR/tell any fixed
`,
			changes: true,
			prepare: startsWell,
			events:  allStates,
		},
		{
			name: "arguments of scripts with quotes and backslashes",
			keepalived: trackConf + notifyConf + `
	notify_master "$DIR/tell master 'a \"b' \"c 'd\" e\ f g\tg h\\h $HOME *"
	notify "$DIR/tell any '' \"\" 'x'y"
}
`,
			vipd: trackYAML + notifyYAML + `
    notify_master: "$DIR/tell master 'a \"b' \"c 'd\" e f g\tg h\\h $HOME *"
    notify: $DIR/tell any '' "" 'x'y
`,
			changes: true,
			prepare: startsWell,
			events:  allStates,
		},
		{
			name: "the scripts of a group and of its members",
			keepalived: trackConf + "vrrp_script a {\nscript \"$DIR/check a\"\ninterval 1\n}\n" + groupConf(
				"track_script {\na\n}\nnotify \"$DIR/tell one any\"\nnotify_master \"$DIR/tell one_master\"\nnotify_stop \"$DIR/tell one_stop\"",
				"notify \"$DIR/tell two any\"\nnotify_fault \"$DIR/tell two_fault\"\nnotify_backup \"$DIR/tell two_backup\"",
				"notify \"$DIR/tell group any\"\nnotify_master \"$DIR/tell group_master\"\nnotify_backup \"$DIR/tell group_backup\"\nnotify_fault \"$DIR/tell group_fault\"\nnotify_stop \"$DIR/tell group_stop\""),
			vipd: trackYAML + "vrrp_script:\n  a: {script: $DIR/check a, interval: 1}\n" + groupYAML(
				"track_script: a\nnotify: $DIR/tell one any\nnotify_master: $DIR/tell one_master\nnotify_stop: $DIR/tell one_stop",
				"notify: $DIR/tell two any\nnotify_fault: $DIR/tell two_fault\nnotify_backup: $DIR/tell two_backup",
				"notify: $DIR/tell group any\nnotify_master: $DIR/tell group_master\nnotify_backup: $DIR/tell group_backup\nnotify_fault: $DIR/tell group_fault\nnotify_stop: $DIR/tell group_stop"),
			instances: members,
			changes:   true,
			prepare:   startsWell,
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("a better one is heard")
				r.inject(v3(2, 200, moderate, secondVIP))
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("a check fails")
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
			name: "a script for lower priorities",
			keepalived: trackConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 32
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.232
	}
	notify_master_rx_lower_pri "$DIR/tell lower x"
	notify "$DIR/tell any"
}
`,
			vipd: trackYAML + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 32
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.232
    notify_master_rx_lower_pri: $DIR/tell lower x
    notify: $DIR/tell any
`,
			changes: true,
			events: func(r *run) {
				lower := v3(32, 50, fast, "192.0.2.232")
				r.startBackup("it starts")
				r.inject(lower)
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("three are heard")
				r.speak(3, 50*time.Millisecond, lower)
				r.quiet(aWhile)
				r.phase("the same priority from a lower address")
				r.inject(v3(32, 100, fast, "192.0.2.232").from("192.0.1.1", "224.0.0.18"))
				r.quiet(aWhile)
				r.phase("priority 0")
				r.inject(v3(32, 0, fast, "192.0.2.232"))
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "lower priorities are not answered, and told all the same",
			keepalived: trackConf + `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 33
	advert_int 0.1
	lower_prio_no_advert
	virtual_ipaddress {
		192.0.2.233
	}
	notify_master_rx_lower_pri "$DIR/tell lower"
}
`,
			vipd: trackYAML + `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 33
    advert_int: 0.1
    lower_prio_no_advert: true
    virtual_ipaddress: 192.0.2.233
    notify_master_rx_lower_pri: $DIR/tell lower
`,
			changes: true,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("one is heard")
				r.inject(v3(33, 50, fast, "192.0.2.233"))
				r.quiet(aWhile)
			},
		},
		{
			name:       "an owner hears lower priorities",
			keepalived: trackConf + replaced(ownerConf, "PRIORITY", "255"),
			vipd:       trackYAML + replaced(ownerYAML, "PRIORITY", "255"),
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("one is heard")
				r.inject(v3(34, 50, fast, "192.0.2.234"))
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "a script that is too slow for the end",
			keepalived: trackConf + replaced(ownerConf, "PRIORITY", "255\nnotify_stop \"$DIR/slow stop\"\nnotify \"$DIR/slow any\""),
			vipd:       trackYAML + replaced(ownerYAML, "PRIORITY", "255\n    notify_stop: $DIR/slow stop\n    notify: $DIR/slow any"),
			changes:    true,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(3500 * time.Millisecond)
				r.phase("SIGTERM")
				r.terminate()
				r.quiet(2500 * time.Millisecond)
			},
		},
		{
			name: "changes of priority are told of those that ask for it",
			keepalived: replaced(trackConf, "vrrp_notify_priority_changes true", "") +
				"vrrp_script a {\nscript \"$DIR/check a\"\ninterval 1\nweight -20\n}\n" +
				groupConf("track_script {\na\n}", "track_script {\na\n}\nnotify_priority_changes", "sync_group_tracking_weight"),
			vipd: replaced(trackYAML, "  vrrp_notify_priority_changes: true\n", "") +
				"vrrp_script:\n  a: {script: $DIR/check a, interval: 1, weight: -20}\n" +
				groupYAML("track_script: a", "track_script: a\nnotify_priority_changes: true", "sync_group_tracking_weight: true"),
			instances: members,
			changes:   true,
			apart:     true,
			prepare:   startsWell,
			events:    priorityChanges,
		},
		{
			name: "a group asks for changes of priority, and one member does not",
			keepalived: replaced(trackConf, "vrrp_notify_priority_changes true", "") +
				"vrrp_script a {\nscript \"$DIR/check a\"\ninterval 1\nweight -20\n}\n" +
				groupConf("track_script {\na\n}", "track_script {\na\n}\nnotify_priority_changes off", "sync_group_tracking_weight\nnotify_priority_changes"),
			vipd: replaced(trackYAML, "  vrrp_notify_priority_changes: true\n", "") +
				"vrrp_script:\n  a: {script: $DIR/check a, interval: 1, weight: -20}\n" +
				groupYAML("track_script: a", "track_script: a\nnotify_priority_changes: false", "sync_group_tracking_weight: true\nnotify_priority_changes: true"),
			instances: members,
			changes:   true,
			apart:     true,
			prepare:   startsWell,
			events:    priorityChanges,
		},
		{
			name: "notify_fifo, with a script",
			keepalived: replaced(trackConf, "vrrp_notify_fifo $DIR/fifo", "notify_fifo $DIR/fifo\nnotify_fifo_script \"$DIR/stay script x\"") +
				replaced(ownerConf, "PRIORITY", "100"),
			vipd: replaced(trackYAML, "vrrp_notify_fifo: $DIR/fifo", "notify_fifo: $DIR/fifo\n  notify_fifo_script: $DIR/stay script x") +
				replaced(ownerYAML, "PRIORITY", "100"),
			changes: true,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "vrrp_notify_fifo_script",
			keepalived: replaced(trackConf, "vrrp_notify_fifo $DIR/fifo", "vrrp_notify_fifo $DIR/fifo\nvrrp_notify_fifo_script \"$DIR/stay script\"") +
				replaced(ownerConf, "PRIORITY", "100"),
			vipd: replaced(trackYAML, "vrrp_notify_fifo: $DIR/fifo", "vrrp_notify_fifo: $DIR/fifo\n  vrrp_notify_fifo_script: $DIR/stay script") +
				replaced(ownerYAML, "PRIORITY", "100"),
			changes: true,
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "scripts of other users",
			keepalived: replaced(trackConf, "script_user root", "script_user nobody nogroup") +
				"vrrp_script a {\nscript \"$DIR/nobody\"\nuser nobody\n}\n" +
				replaced(ownerConf, "PRIORITY", "100\nnotify_master \"$DIR/who master\"\nnotify_backup \"$DIR/who backup\" root\nnotify \"$DIR/who any\" daemon tty\ntrack_script {\na\n}"),
			vipd: replaced(trackYAML, "script_user: root", "script_user: nobody nogroup") +
				"vrrp_script:\n  a: {script: $DIR/nobody, user: nobody}\n" +
				replaced(ownerYAML, "PRIORITY", "100\n    notify_master: $DIR/who master\n    notify_backup: {script: $DIR/who backup, user: root}\n    notify: {script: $DIR/who any, user: daemon tty}\n    track_script: a"),
			changes: true,
			prepare: func(r *run) { r.program("nobody", "#!/bin/sh\n[ $(id -u) = 65534 ]\n", 0o755) },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
	}
}

// ownerConf and ownerYAML have a priority that is to be filled in.
const ownerConf = `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 34
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.234
	}
	priority PRIORITY
}
`

const ownerYAML = `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 34
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.234
    priority: PRIORITY
`

// priorityChanges has a check of both members fail and recover.
func priorityChanges(r *run) {
	r.start("it starts")
	r.begun()
	r.await(2, announcements)
	r.quiet(aWhile)
	r.phase("a check fails")
	r.check("a", "1")
	r.checked("a")
	r.quiet(2 * aWhile)
	r.phase("and recovers")
	r.check("a", "0")
	r.checked("a")
	r.quiet(2 * aWhile)
	r.phase("SIGTERM")
	r.terminate()
}

func TestNotificationsAreAlike(t *testing.T) {
	t.Parallel()
	for _, s := range notifyScenarios() {
		s.anyOrder = len(s.instances) > 1 // as in TestGroupsWorkAlike
		t.Run(s.name, s.play)
	}
}
