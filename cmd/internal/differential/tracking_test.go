package differential

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vipd/netif/netiftest"
)

// trackConf and trackYAML are what the scenarios of checks have in common: every
// event is in the pipe, and announcements are not what matters.
const trackConf = `
global_defs {
	vrrp_version 3
	vrrp_garp_master_delay 0
	vrrp_garp_master_repeat 1
	vrrp_garp_lower_prio_repeat 0
	vrrp_notify_priority_changes true
	vrrp_notify_fifo $DIR/fifo
	script_user root
}
`

const trackYAML = `
global_defs:
  vrrp_version: 3
  vrrp_garp_master_delay: 0
  vrrp_garp_master_repeat: 1
  vrrp_garp_master_refresh: 0
  vrrp_garp_lower_prio_repeat: 0
  vrrp_higher_prio_send_advert: false
  vrrp_notify_priority_changes: true
  vrrp_notify_fifo: $DIR/fifo
  script_user: root
  enable_script_security: false
` + ownershipLikeKeepalived

// fast is the interval of scenarios that wait for elections.
const fast = 100 * time.Millisecond

// better puts the router off: it becomes a backup, or remains one for three
// seconds.
func (r *run) better(vrid uint8, vip string) {
	r.t.Helper()
	r.inject(v3(vrid, 254, time.Second, vip))
}

// trackingScenarios are those of one script, or several.
func trackingScenarios() []scenario {
	return []scenario{
		{
			name: "a check with a negative weight, at a master",
			keepalived: trackConf + `
vrrp_script a {
	script "$DIR/check a"
	interval 1
	weight -20
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 1
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.201
	}
	track_script {
		a
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  a: {script: $DIR/check a, interval: 1, weight: -20}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 1
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.201
    track_script: a
`,
			changes: true,
			kinds:   []Kind{KindAdvert, KindARP},
			prepare: func(r *run) { r.always("a", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "0", "1")
				r.hears(`INSTANCE "VI_1" MASTER_PRIORITY 80`)
				r.quiet(aWhile)
				r.phase("one success and one failure")
				r.check("a", "0", "1")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("it recovers")
				r.check("a", "1", "0")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("it is killed")
				r.check("a", "killed", "killed", "0")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a check with a negative weight, at a backup",
			keepalived: trackConf + `
vrrp_script a {
	script "$DIR/check a"
	interval 1
	weight -20
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 2
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.202
	}
	track_script {
		a
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  a: {script: $DIR/check a, interval: 1, weight: -20}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 2
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.202
    track_script: a
`,
			changes: true,
			prepare: func(r *run) { r.always("a", "0") },
			events: func(r *run) {
				const vip = "192.0.2.202"
				r.startBackup("it starts")
				r.better(2, vip)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "0", "1")
				r.hears(`INSTANCE "VI_1" BACKUP_PRIORITY 80`)
				r.quiet(aWhile)
				r.phase("it takes over from a priority between")
				r.inject(v3(2, 90, fast, vip))
				first := r.await(1, adverts)
				r.after("the takeover", first.At.Sub(r.heard()), 369*time.Millisecond)
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it gives way to that priority")
				r.inject(v3(2, 90, time.Second, vip))
				r.quiet(aWhile)
				r.phase("it recovers and takes over when it may")
				r.check("a", "0")
				r.hears(`INSTANCE "VI_1" BACKUP_PRIORITY 100`)
				r.speakFor(3200*time.Millisecond, 800*time.Millisecond, v3(2, 90, time.Second, vip))
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "weights that add, that are reversed, and that a reference has",
			keepalived: trackConf + `
vrrp_script plus {
	script "$DIR/check plus"
	interval 1
	weight 20
}
vrrp_script minus_reversed {
	script "$DIR/check minus_reversed"
	interval 1
	weight -7 reverse
}
vrrp_script plus_reversed {
	script "$DIR/check plus_reversed"
	interval 1
	weight 5 reverse
}
vrrp_script referred {
	script "$DIR/check referred"
	interval 1
	weight 50
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 3
	priority 101
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.203
	}
	track_script {
		plus
		minus_reversed
		plus_reversed
		referred weight -3
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  plus: {script: $DIR/check plus, interval: 1, weight: 20}
  minus_reversed: {script: $DIR/check minus_reversed, interval: 1, weight: -7 reverse}
  plus_reversed: {script: $DIR/check plus_reversed, interval: 1, weight: 5 reverse}
  referred: {script: $DIR/check referred, interval: 1, weight: 50}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 3
    priority: 101
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.203
    track_script: [plus, minus_reversed, plus_reversed, referred weight -3]
`,
			changes: true,
			prepare: func(r *run) {
				r.always("plus", "1")
				r.always("minus_reversed", "0")
				r.always("plus_reversed", "1")
				r.always("referred", "0")
			},
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				for _, step := range []struct{ name, result string }{
					{"plus", "0"}, {"minus_reversed", "1"}, {"plus_reversed", "0"}, {"referred", "1"},
					{"plus", "1"}, {"referred", "0"}, {"plus_reversed", "1"}, {"minus_reversed", "0"},
				} {
					r.phase(step.name + " ends with " + step.result)
					r.check(step.name, step.result)
					r.checked(step.name)
					r.quiet(aWhile)
				}
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "priorities end at 1 and 254",
			keepalived: trackConf + `
vrrp_script much {
	script "$DIR/check much"
	interval 1
	weight 253
}
vrrp_script little {
	script "$DIR/check little"
	interval 1
	weight -253
}
vrrp_script less {
	script "$DIR/check less"
	interval 1
	weight -253
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 4
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.204
	}
	track_script {
		much
		little
		less
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  much: {script: $DIR/check much, interval: 1, weight: 253}
  little: {script: $DIR/check little, interval: 1, weight: -253}
  less: {script: $DIR/check less, interval: 1, weight: -253}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 4
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.204
    track_script: [much, little, less]
`,
			changes: true,
			prepare: func(r *run) { r.always("much", "0"); r.always("little", "0"); r.always("less", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				for _, step := range []struct{ name, result string }{
					{"little", "1"}, {"less", "1"}, {"much", "1"}, {"little", "0"}, {"much", "0"}, {"less", "0"},
				} {
					r.phase(step.name + " ends with " + step.result)
					r.check(step.name, step.result)
					r.checked(step.name)
					r.quiet(aWhile)
				}
			},
		},
		{
			name: "the owner has its priority whatever fails",
			keepalived: trackConf + `
vrrp_script a {
	script "$DIR/check a"
	interval 1
	weight -20
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 5
	priority 255
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.205
	}
	track_script {
		a
	}
	track_interface {
		eth1 weight -10
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  a: {script: $DIR/check a, interval: 1, weight: -20}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 5
    priority: 255
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.205
    track_script: a
    track_interface: eth1 weight -10
`,
			changes: true,
			prepare: func(r *run) { second(r); r.always("a", "1") },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("an interface fails, too")
				r.ok(r.lab.Cut(r.router, "eth1"))
				r.quiet(aWhile)
				r.phase("and comes back")
				r.ok(r.lab.Heal(r.router, "eth1"))
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "a check without weight that has to fail three times and succeed twice",
			keepalived: trackConf + `
vrrp_script a {
	script "$DIR/check a"
	interval 1
	fall 3
	rise 2
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 7
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.207
	}
	track_script {
		a
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  a: {script: $DIR/check a, interval: 1, fall: 3, rise: 2}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 7
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.207
    track_script: a
`,
			changes: true,
			prepare: func(r *run) { r.check("a", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it fails now and then")
				r.check("a", "1", "0", "1", "1", "0", "1", "1", "0", "0")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "0", "2", "1", "3", "1", "1")
				r.hears(`INSTANCE "VI_1" FAULT 100`)
				r.checked("a")
				r.quiet(aWhile)
				r.phase("it succeeds now and then")
				r.check("a", "0", "1", "0", "1", "1")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("it succeeds")
				r.check("a", "0", "0", "0")
				r.checked("a")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "the first result of a check without weight is a success",
			keepalived: trackConf + timeout(firstConf, "10"),
			vipd:       trackYAML + timeout(firstYAML, "10"),
			changes:    true,
			prepare:    func(r *run) { r.always("a", "wait") },
			events: func(r *run) {
				r.start("it waits for a result")
				r.quiet(3 * aWhile)
				r.phase("success")
				r.always("a", "0")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("one failure")
				r.check("a", "1", "0")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "the first result of a check without weight is a failure",
			keepalived: trackConf + timeout(firstConf, "10"),
			vipd:       trackYAML + timeout(firstYAML, "10"),
			changes:    true,
			prepare:    func(r *run) { r.always("a", "wait") },
			events: func(r *run) {
				r.start("it waits for a result")
				r.quiet(3 * aWhile)
				r.phase("failure")
				r.always("a", "1")
				r.hears(`INSTANCE "VI_1" FAULT 100`)
				r.quiet(aWhile)
				r.phase("one success")
				r.check("a", "0", "1")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("success")
				r.check("a", "0")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "the first result of a check without weight is a timeout",
			keepalived: trackConf + timeout(firstConf, "1"),
			vipd:       trackYAML + timeout(firstYAML, "1"),
			changes:    true,
			prepare:    func(r *run) { r.always("a", "hang") },
			events: func(r *run) {
				r.start("it hangs")
				r.quiet(aWhile)
				r.phase("and is ended")
				r.hears(`INSTANCE "VI_1" FAULT 100`)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "it ends while it waits for a first result",
			keepalived: trackConf + timeout(firstConf, "10"),
			vipd:       trackYAML + timeout(firstYAML, "10"),
			changes:    true,
			prepare:    func(r *run) { r.always("a", "wait") },
			events: func(r *run) {
				r.start("it waits for a result")
				r.quiet(3 * aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name: "the first results of two checks, one of them with a weight",
			keepalived: trackConf + `
vrrp_script a {
	script "$DIR/check a"
	interval 5
	timeout 10
}
vrrp_script b {
	script "$DIR/check b"
	interval 5
	timeout 10
}
vrrp_script w {
	script "$DIR/check w"
	interval 5
	timeout 10
	weight 20
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 8
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.208
	}
	track_script {
		a
		b
		w
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  a: {script: $DIR/check a, interval: 5, timeout: 10}
  b: {script: $DIR/check b, interval: 5, timeout: 10}
  w: {script: $DIR/check w, interval: 5, timeout: 10, weight: 20}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 8
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.208
    track_script: [a, b, w]
`,
			changes: true,
			prepare: func(r *run) { r.always("a", "wait"); r.always("b", "wait"); r.always("w", "wait") },
			events: func(r *run) {
				r.start("it waits for three")
				r.quiet(2 * aWhile)
				r.phase("one succeeds")
				r.always("a", "0")
				r.quiet(aWhile)
				r.phase("the other succeeds")
				r.always("b", "0")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("the one with a weight succeeds")
				r.always("w", "0")
				r.quiet(2 * aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "a check that hangs",
			keepalived: trackConf + timeout(firstConf, "1"),
			vipd:       trackYAML + timeout(firstYAML, "1"),
			changes:    true,
			prepare:    func(r *run) { r.always("a", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it hangs once")
				r.check("a", "hang", "0")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("it hangs twice")
				r.check("a", "hang", "hang", "0", "0")
				r.checked("a")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
	}
}

// v2Conf and v2YAML have a check with a weight.
const v2Conf = `
vrrp_script a {
	script "$DIR/check a"
	interval 1
	weight -20
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 25
	nopreempt
	virtual_ipaddress {
		192.0.2.225
	}
	track_script {
		a
	}
}
`

const v2YAML = `
vrrp_script:
  a: {script: $DIR/check a, interval: 1, weight: -20}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 25
    nopreempt: true
    virtual_ipaddress: 192.0.2.225
    track_script: a
`

// timeout gives the check of firstConf a timeout.
func timeout(conf, seconds string) string { return replaced(conf, "TIMEOUT", seconds) }

// firstConf and firstYAML have a check that takes two results to change its mind.
const firstConf = `
vrrp_script a {
	script "$DIR/check a"
	interval 2
	timeout TIMEOUT
	fall 2
	rise 2
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 10
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.210
	}
	track_script {
		a
	}
}
`

const firstYAML = `
vrrp_script:
  a: {script: $DIR/check a, interval: 2, timeout: TIMEOUT, fall: 2, rise: 2}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 10
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.210
    track_script: a
`

// values writes values to the tracked file, one after the other, with a phase for
// each.
func values(list ...string) func(r *run) {
	return func(r *run) {
		r.start("it starts")
		r.quiet(2 * aWhile)
		for _, v := range list {
			if v == gone {
				r.phase("the file is gone")
				r.ok(os.Remove(filepath.Join(r.dir, "value")))
			} else {
				r.phase(fmt.Sprintf("the file says %q", v))
				r.write("value", v)
			}
			r.quiet(2 * aWhile)
		}
		r.phase("SIGTERM")
		r.terminate()
	}
}

// gone has values remove the file.
const gone = "gone"

// An instance that tracks a file; see file.
const fileConf = `
vrrp_track_file value {
	file $DIR/value
	FILE
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 21
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.221
	}
	track_file {
		value REFERENCE
	}
}
`

const fileYAML = `
vrrp_track_file:
  value: {file: $DIR/value, FILE}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 21
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.221
    track_file: value REFERENCE
`

// file completes fileConf or fileYAML with what the file and the reference to it
// have.
func file(conf, file, reference string) string {
	return replaced(replaced(conf, "FILE", file), " REFERENCE", reference)
}

// An instance that tracks two interfaces; see links.
const linksConf = `
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 22
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.222
	}
	track_interface {
		eth1 ONE
		eth2 TWO
	}
}
`

const linksYAML = `
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 22
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.222
    track_interface: [eth1 ONE, eth2 TWO]
`

// links completes linksConf or linksYAML with what the two references have.
func links(conf, one, two string) string {
	return replaced(replaced(conf, " ONE", one), " TWO", two)
}

// third connects a third interface of the router.
func third(r *run) {
	r.t.Helper()
	b, err := r.lab.Bridge("third")
	r.ok(err)
	r.ok(r.lab.Connect(r.router, "eth2", b, netiftest.Port{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x2a}}))
	r.settle("fe80::ff:fe00:2a")
}

// upAndDown takes interfaces up and down: "eth1 up".
func upAndDown(steps ...string) func(r *run) {
	return func(r *run) {
		r.start("it starts")
		r.await(1, announcements)
		r.quiet(aWhile)
		for _, step := range steps {
			r.phase(step)
			if name, up := strings.CutSuffix(step, " up"); up {
				r.ok(r.lab.Heal(r.router, name))
			} else {
				r.ok(r.lab.Cut(r.router, strings.TrimSuffix(step, " down")))
			}
			r.quiet(2 * aWhile)
		}
		r.phase("SIGTERM")
		r.terminate()
	}
}

// trackedThings are the scenarios of what is tracked beside scripts, and of
// several things at once.
func trackedThings() []scenario {
	twoMore := func(r *run) { second(r); third(r) }
	return []scenario{
		{
			name:       "a file with a weight",
			keepalived: trackConf + file(fileConf, "weight 2", ""),
			vipd:       trackYAML + file(fileYAML, "weight: 2", ""),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "0\n") },
			events:     values("5\n", "-3\n", "0x10\n", "010\n", "12abc\n", "7\n", "garbage\n", " +4\n", "", "7\n", gone, "8", "1000\n", "-40\n", "99999999999999999999\n", "-126\n", "127\n"),
		},
		{
			name:       "the value of a file is a fault",
			keepalived: trackConf + file(fileConf, "weight 2", ""),
			vipd:       trackYAML + file(fileYAML, "weight: 2", ""),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "0\n") },
			events:     values("-40\n", "-127\n", "99999999999999999999\n", "-10\n"),
		},
		{
			name:       "a file with its weight of 1, and reversed",
			keepalived: trackConf + replaced(file(fileConf, "", ""), "value\n\t}", "value weight 1 reverse\n\t}"),
			vipd:       trackYAML + replaced(file(fileYAML, "weight: 1", ""), "track_file: value", "track_file: value weight 1 reverse"),
			changes:    true,
			prepare:    func(r *run) {},
			events:     values("5", "-5", "0", "300", "0", "-300", "1"),
		},
		{
			name:       "a file without weight",
			keepalived: trackConf + file(fileConf, "weight 0", ""),
			vipd:       trackYAML + file(fileYAML, "weight: 0", ""),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "0\n") },
			events:     values("1\n", "0\n", "-1\n", "2\n", gone, "x\n", "3", ""),
		},
		{
			name:       "a file without weight that says a fault at the start",
			keepalived: trackConf + file(fileConf, "", " weight 0"),
			vipd:       trackYAML + file(fileYAML, "weight: 1", " weight 0"),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "1\n") },
			events:     values("0\n", "1\n"),
		},
		{
			name:       "a file without weight, reversed",
			keepalived: trackConf + file(fileConf, "", " weight 0 reverse"),
			vipd:       trackYAML + file(fileYAML, "weight: 1", " weight 0 reverse"),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "1\n") },
			events:     values("0\n", "4\n", gone, "1\n"),
		},
		{
			name:       "a file that a reference gives a weight",
			keepalived: trackConf + file(fileConf, "weight 9", " weight -100"),
			vipd:       trackYAML + file(fileYAML, "weight: 9", " weight -100"),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "0\n") },
			events:     values("1\n", "2\n", "-2\n", "2\n", "0\n"),
		},
		{
			name:       "a file that is written at the start",
			keepalived: quietConf() + file(fileConf, "weight 2\ninit_file 5", ""),
			vipd:       quietYAML() + file(fileYAML, "weight: 2, init_file: 5", ""),
			changes:    true,
			prepare:    func(r *run) {},
			events:     writtenAtTheStart,
		},
		{
			name:       "a file that would be written at the start and exists",
			keepalived: quietConf() + file(fileConf, "weight 2\ninit_file 5", ""),
			vipd:       quietYAML() + file(fileYAML, "weight: 2, init_file: 5", ""),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "7\n") },
			events:     writtenAtTheStart,
		},
		{
			name:       "a file that is overwritten at the start",
			keepalived: quietConf() + file(fileConf, "weight 2\ninit_file 5 overwrite", ""),
			vipd:       quietYAML() + file(fileYAML, "weight: 2, init_file: 5 overwrite", ""),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "7\n") },
			events:     writtenAtTheStart,
		},
		{
			name:       "interfaces with weights",
			keepalived: trackConf + links(linksConf, " weight -30", " weight 20"),
			vipd:       trackYAML + links(linksYAML, " weight -30", " weight 20"),
			changes:    true,
			prepare:    func(r *run) { twoMore(r); r.ok(r.lab.Cut(r.router, "eth2")) },
			events:     upAndDown("eth2 up", "eth1 down", "eth2 down", "eth1 up"),
		},
		{
			name:       "interfaces with weights, reversed",
			keepalived: trackConf + links(linksConf, " weight -30 reverse", " weight 20 reverse"),
			vipd:       trackYAML + links(linksYAML, " weight -30 reverse", " weight 20 reverse"),
			changes:    true,
			prepare:    func(r *run) { twoMore(r); r.ok(r.lab.Cut(r.router, "eth2")) },
			events:     upAndDown("eth2 up", "eth1 down", "eth2 down", "eth1 up"),
		},
		{
			name:       "two interfaces without weight",
			keepalived: trackConf + links(linksConf, "", ""),
			vipd:       trackYAML + links(linksYAML, "", ""),
			changes:    true,
			prepare:    twoMore,
			events:     upAndDown("eth1 down", "eth2 down", "eth1 up", "eth2 up"),
		},
		{
			name:       "an interface without weight, and one reversed",
			keepalived: trackConf + links(linksConf, "", " weight 0 reverse"),
			vipd:       trackYAML + links(linksYAML, "", " weight 0 reverse"),
			changes:    true,
			prepare:    func(r *run) { twoMore(r); r.ok(r.lab.Cut(r.router, "eth2")) },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("eth2 comes up")
				r.ok(r.lab.Heal(r.router, "eth2"))
				r.quiet(2 * aWhile)
				r.phase("eth2 goes down")
				r.ok(r.lab.Cut(r.router, "eth2"))
				r.await(1, announcements)
				r.quiet(aWhile)
			},
		},
		{
			name:       "two instances with the same checks, and other weights",
			keepalived: trackConf + twoConf,
			vipd:       trackYAML + twoYAML,
			instances:  []string{"VI_1", "VI_2"},
			anyOrder:   true, apart: true,
			changes: true,
			prepare: func(r *run) { r.always("a", "0"); r.always("b", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("the one with a weight fails")
				r.check("b", "1")
				r.checked("b")
				r.quiet(aWhile)
				r.phase("and recovers")
				r.check("b", "0")
				r.checked("b")
				r.quiet(aWhile)
				r.phase("the one without fails")
				r.check("a", "1")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("and recovers, too")
				r.check("a", "0")
				r.checked("a")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
		},
		{
			name:       "version 2, and a backup that does not preempt",
			keepalived: replaced(trackConf, "vrrp_version 3", "vrrp_version 2") + v2Conf,
			vipd:       replaced(trackYAML, "vrrp_version: 3", "vrrp_version: 2") + v2YAML,
			changes:    true,
			prepare:    func(r *run) { r.always("a", "0") },
			events: func(r *run) {
				const vip = "192.0.2.225"
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "1")
				r.hears(`INSTANCE "VI_1" MASTER_PRIORITY 80`)
				r.await(2, adverts)
				r.quiet(aWhile)
				r.phase("it gives way")
				r.inject(v2(25, 90, vip))
				r.quiet(aWhile)
				r.phase("and recovers, but does not preempt")
				r.check("a", "0")
				r.speakFor(5*time.Second, 900*time.Millisecond, v2(25, 90, vip))
				r.phase("before nobody is there")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
		},
		{
			name:       "unicast: it says where it is when a fault is over",
			keepalived: trackConf + replaced(timeout(firstConf, "1"), "advert_int 0.1", "advert_int 0.1\nunicast_src_ip 192.0.2.1\nunicast_peer {\n192.0.2.2\n}"),
			vipd:       trackYAML + replaced(timeout(firstYAML, "1"), "advert_int: 0.1", "advert_int: 0.1\n    unicast_src_ip: 192.0.2.1\n    unicast_peer: 192.0.2.2"),
			changes:    true,
			prepare:    func(r *run) { r.always("a", "1") },
			events: func(r *run) {
				r.start("it starts")
				r.hears(`INSTANCE "VI_1" FAULT 100`)
				r.quiet(aWhile)
				r.phase("it recovers")
				r.check("a", "0", "0")
				r.await(1, adverts)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "1", "1")
				r.hears(`INSTANCE "VI_1" FAULT 100`)
				r.quiet(aWhile)
			},
		},
		{
			name:       "a check without weight, reversed",
			keepalived: trackConf + replaced(replaced(timeout(firstConf, "1"), "\t\ta\n", "\t\ta weight 0 reverse\n"), "fall 2", "fall 1"),
			vipd:       trackYAML + replaced(replaced(timeout(firstYAML, "1"), "track_script: a", "track_script: a weight 0 reverse"), "fall: 2", "fall: 1"),
			changes:    true,
			prepare:    func(r *run) { r.always("a", "1") },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it succeeds")
				r.check("a", "0", "0")
				r.checked("a")
				r.hears(`INSTANCE "VI_1" FAULT 100`)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "1")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
		},
	}
}

// unrunnable has a check that cannot be run, or not as it should be. keepalived
// goes on as if all was well.
func unrunnable(id, name, script string, prepare func(r *run)) scenario {
	return scenario{
		name:       name,
		keepalived: trackConf + replaced(timeout(firstConf, "1"), "$DIR/check a", script),
		vipd:       trackYAML + replaced(timeout(firstYAML, "1"), "$DIR/check a", script),
		changes:    true,
		prepare:    prepare,
		events: func(r *run) {
			r.start("it starts")
			if r.kind == keepalivedDaemon {
				r.await(1, announcements)
			} else {
				r.hears(`INSTANCE "VI_1" FAULT 100`)
			}
			r.quiet(aWhile)
		},
		declared: []Declared{{
			id, "it starts",
			`v3 advert 100, arp 192.0.2.210; holds 192.0.2.210/32; VI_1 is master; fifo INSTANCE "VI_1" BACKUP 100; fifo INSTANCE "VI_1" MASTER 100`,
			`nothing sent; VI_1 is fault; fifo INSTANCE "VI_1" FAULT 100`,
		}},
	}
}

// program writes a program that is run as a check.
func (r *run) program(name, text string, mode os.FileMode) {
	r.t.Helper()
	r.ok(os.WriteFile(filepath.Join(r.dir, name), []byte(text), mode))
}

// trackingDifferences are those of docs/differences.md.
func trackingDifferences() []scenario {
	return []scenario{
		{
			name: "the owner and a check without weight",
			keepalived: trackConf + `
vrrp_script a {
	script "$DIR/check a"
	interval 1
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 6
	priority 255
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.206
	}
	track_script {
		a
	}
}
`,
			vipd: trackYAML + `
vrrp_script:
  a: {script: $DIR/check a, interval: 1}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 6
    priority: 255
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.206
    track_script: a
`,
			changes: true,
			prepare: func(r *run) { r.check("a", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("it fails")
				r.check("a", "1")
				r.hears(`INSTANCE "VI_1" FAULT 255`)
				r.quiet(aWhile)
				r.phase("it recovers")
				r.check("a", "0")
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("SIGTERM")
				r.terminate()
			},
			declared: []Declared{
				{"D046", "it recovers", `v3 advert 255, arp 192.0.2.206; holds 192.0.2.206/32; VI_1 is master; fifo check a: 0; fifo INSTANCE "VI_1" BACKUP 255; fifo INSTANCE "VI_1" MASTER 255`, `v3 advert 255, arp 192.0.2.206; holds 192.0.2.206/32; VI_1 is master; fifo check a: 0; fifo INSTANCE "VI_1" MASTER 255`},
			},
		},
		{
			name:       "a check that comes back before another has had a result",
			keepalived: trackConf + replaced(replaced(twoConf, "b weight -20", "b"), "interval 1\n}\nvrrp_script b {", "interval 1\n}\nvrrp_script b {\ntimeout 20"),
			vipd:       trackYAML + replaced(replaced(twoYAML, "b weight -20", "b"), "check b, ", "check b, timeout: 20, "),
			instances:  []string{"VI_1", "VI_2"},
			changes:    true,
			prepare:    func(r *run) { r.always("a", "1"); r.always("b", "wait") },
			events: func(r *run) {
				r.start("one fails")
				r.hears(`INSTANCE "VI_1" FAULT 100`)
				r.await(1, announcements)
				r.quiet(aWhile)
				r.phase("and recovers")
				r.check("a", "0")
				r.checked("a")
				r.quiet(2 * aWhile)
				r.phase("the other succeeds")
				r.always("b", "0")
				r.quiet(3 * aWhile)
			},
			declared: []Declared{
				{"D041", "the other succeeds", `nothing sent; holds 192.0.2.224/32; VI_1 is fault; VI_2 is master`, `v3 advert 100, arp 192.0.2.223; holds 192.0.2.224/32, 192.0.2.223/32; VI_1 is master; VI_2 is master; fifo INSTANCE "VI_1" BACKUP 100; fifo INSTANCE "VI_1" MASTER 100`},
			},
		},
		{
			name:       "a weight changes in fault",
			keepalived: trackConf + twoConf,
			vipd:       trackYAML + twoYAML,
			instances:  []string{"VI_1", "VI_2"},
			changes:    true,
			apart:      true,
			prepare:    func(r *run) { r.always("a", "0"); r.always("b", "0") },
			events: func(r *run) {
				r.start("it starts")
				r.await(2, announcements)
				r.quiet(aWhile)
				r.phase("fault")
				r.check("a", "1")
				r.checked("a")
				r.quiet(aWhile)
				r.phase("a check with a weight fails")
				r.check("b", "1")
				r.checked("b")
				r.quiet(aWhile)
				r.phase("the fault is over")
				r.check("a", "0")
				r.checked("a")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
			declared: []Declared{
				{"D045", "a check with a weight fails", `v3 advert 195; holds 192.0.2.224/32; VI_1 is fault; VI_2 is master; fifo check b: 1; fifo INSTANCE "VI_1" BACKUP_PRIORITY 80; fifo INSTANCE "VI_2" MASTER_PRIORITY 195`, `v3 advert 195; holds 192.0.2.224/32; VI_1 is fault; VI_2 is master; fifo check b: 1; fifo INSTANCE "VI_2" MASTER_PRIORITY 195`},
			},
		},
		{
			name:       "a file has a value before the first state",
			keepalived: trackConf + file(fileConf, "weight 2", ""),
			vipd:       trackYAML + file(fileYAML, "weight: 2", ""),
			changes:    true,
			prepare:    func(r *run) { r.write("value", "5\n") },
			events: func(r *run) {
				r.start("it starts")
				r.hears(`INSTANCE "VI_1" BACKUP 110`)
				r.await(1, announcements)
				r.quiet(aWhile)
			},
			declared: []Declared{
				{"D044", "it starts", `v3 advert 110, arp 192.0.2.221; holds 192.0.2.221/32; VI_1 is master; fifo INSTANCE "VI_1" BACKUP_PRIORITY 110; fifo INSTANCE "VI_1" BACKUP 110; fifo INSTANCE "VI_1" MASTER 110`, `v3 advert 110, arp 192.0.2.221; holds 192.0.2.221/32; VI_1 is master; fifo INSTANCE "VI_1" BACKUP 110; fifo INSTANCE "VI_1" MASTER 110`},
			},
		},
		unrunnable("D038", "a check whose program does not exist", "$DIR/odd", nil),
		unrunnable("D038", "a check whose program is not executable", "$DIR/odd", func(r *run) { r.program("odd", "#!/bin/sh\n", 0o644) }),
		unrunnable("D038", "a check whose program is not one", "$DIR/odd", func(r *run) { r.program("odd", "exit 1\n", 0o755) }),
		unrunnable("D038", "a check whose interpreter does not exist", "$DIR/odd", func(r *run) { r.program("odd", "#!/nothing\n", 0o755) }),
		unrunnable("D039", "a check that makes light of its end", "$DIR/odd", func(r *run) {
			r.program("odd", "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n", 0o755)
		}),
		{
			name:       "a check that is slower than its interval",
			keepalived: trackConf + replaced(timeout(firstConf, "10"), "$DIR/check a", "$DIR/odd"),
			vipd:       trackYAML + replaced(timeout(firstYAML, "10"), "$DIR/check a", "$DIR/odd"),
			changes:    true,
			prepare:    func(r *run) { r.program("odd", "#!/bin/sh\necho begins >${0%/*}/told\nsleep 2.5\n", 0o755) },
			events: func(r *run) {
				r.start("the second run is due during the first")
				r.await(1, announcements)
				r.quiet(aWhile)
			},
			declared: []Declared{{
				"D040", "the second run is due during the first",
				`v3 advert 100, arp 192.0.2.210; holds 192.0.2.210/32; VI_1 is master; fifo INSTANCE "VI_1" BACKUP 100; fifo INSTANCE "VI_1" MASTER 100; told begins; told begins`,
				`v3 advert 100, arp 192.0.2.210; holds 192.0.2.210/32; VI_1 is master; fifo INSTANCE "VI_1" BACKUP 100; fifo INSTANCE "VI_1" MASTER 100; told begins`,
			}},
		},
	}
}

// twoConf has two checks, and two instances that track both. VI_2 is master
// first, so that the order is not chance.
const twoConf = `
vrrp_script a {
script "$DIR/check a"
interval 1
}
vrrp_script b {
script "$DIR/check b"
interval 1
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 23
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.223
	}
	track_script {
		a
		b weight -20
	}
}
vrrp_instance VI_2 {
	interface eth0
	virtual_router_id 24
	priority 200
	advert_int 0.1
	virtual_ipaddress {
		192.0.2.224
	}
	track_script {
		a weight 11
		b weight -5
	}
}
`

const twoYAML = `
vrrp_script:
  a: {script: $DIR/check a, interval: 1}
  b: {script: $DIR/check b, interval: 1}
vrrp_instance:
  VI_1:
    interface: eth0
    virtual_router_id: 23
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.223
    track_script: [a, b weight -20]
  VI_2:
    interface: eth0
    virtual_router_id: 24
    priority: 200
    advert_int: 0.1
    virtual_ipaddress: 192.0.2.224
    track_script: [a weight 11, b weight -5]
`

// quietConf and quietYAML are trackConf and trackYAML without changes of
// priority in the pipe.
func quietConf() string { return replaced(trackConf, "\tvrrp_notify_priority_changes true\n", "") }
func quietYAML() string {
	return replaced(trackYAML, "  vrrp_notify_priority_changes: true\n", "")
}

// writtenAtTheStart is for init_file.
func writtenAtTheStart(r *run) {
	r.start("it starts")
	r.await(1, announcements)
	b, err := os.ReadFile(filepath.Join(r.dir, "value"))
	r.ok(err)
	r.fact("the file says %q", b)
	r.quiet(aWhile)
}

func TestChecksWorkAlike(t *testing.T) {
	t.Parallel()
	for _, s := range append(trackingScenarios(), trackedThings()...) {
		t.Run(s.name, s.play)
	}
}
