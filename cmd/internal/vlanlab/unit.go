package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"vipd/cmd/internal/control"
)

// What the scripts of the unit's plan are, in every router. What they are for is
// somebody else's, so that nothing of it is there by accident.
const (
	toolDir     = "/usr/local/lib/lab/"
	checkFile   = toolDir + "check"  // fails as long as there is downFile
	notifyFile  = toolDir + "notify" // has tryFile write triedFile
	tryFile     = toolDir + "try"
	downFile    = "/run/lab-down"
	triedFile   = "/run/lab-tried"
	heardFile   = "/run/lab-heard"
	pipeFile    = "/run/vipd/events"
	checker     = "alice" // runs the check
	reader      = "bob"   // may read the pipe, and has the process
	sleeper     = "lab-sleeper"
	sleeperFile = "/usr/local/bin/" + sleeper
	otherUnit   = "lab-other.service"
)

// pace is the interval of the scripts and checks. A script a second would be too much
// for an emulated processor.
const pace = 5 * time.Second

// permitted is what a script can do under the packaged unit, and forbidden what it
// cannot, by the table in docs/systemd.md. Whoever tries it without the unit can do
// both.
var (
	permitted = []string{
		"touch /run/lab-x", "touch /var/lib/lab-x", "touch /tmp/lab-x",
		"ip route add 203.0.113.0/24 dev lo", "ip route del 203.0.113.0/24",
		"sysctl -w net.ipv4.ip_forward=0",
		"nft add table inet lab", "nft delete table inet lab",
		"systemctl restart " + otherUnit, "systemctl is-active " + otherUnit,
		"logger tried", "nice -n 5 true", "ping -c 1 -W 5 127.0.0.1",
		"killall -0 " + sleeper, "su " + checker + " -s /bin/sh -c true", "setpriv --reuid " + checker + " true",
	}
	forbidden = []string{
		"touch /etc/lab-x", "chown " + checker + " /run/lab-x", "mount -t tmpfs lab /mnt", "ls /root", "dmesg", "ls /dev/ttyS0",
	}
)

// trying is the script that tries everything, and says what came of it.
func trying() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\necho uid $(id -u)\nchrt -p $$ | sed -n 's/.*policy: /policy /p'\n")
	b.WriteString("try() { if \"$@\" >/dev/null 2>&1; then echo \"yes $*\"; else echo \"no $*\"; fi; }\n")
	for _, command := range slices.Concat(permitted, forbidden) {
		b.WriteString("try " + command + "\n")
	}
	return b.String()
}

// furnish gives a router what the unit's plan needs beside its configuration.
func (s *stand) furnish(ctx context.Context, r *router) error {
	for path, text := range map[string]string{
		checkFile:                          "#!/bin/sh\ntest \"$(id -un)\" = " + checker + " && test ! -e " + downFile + "\n",
		notifyFile:                         "#!/bin/sh\n[ \"$3\" = MASTER ] || exit 0\n" + tryFile + " >" + triedFile + ".new\nmv " + triedFile + ".new " + triedFile + "\n",
		tryFile:                            trying(),
		includedFile:                       includedText,
		"/etc/systemd/system/" + otherUnit: "[Service]\nType=oneshot\nExecStart=/bin/true\nRemainAfterExit=yes\n",
		"/etc/systemd/system/" + sleeper + ".service": "[Service]\nUser=" + reader + "\nExecStart=" + sleeperFile + " infinity\n",
	} {
		mode := fs.FileMode(0o644)
		if filepath.Dir(path)+"/" == toolDir {
			mode = 0o755
		}
		if err := r.put(ctx, path, mode, text); err != nil {
			return err
		}
	}
	// Debian's sysctl.d switches on what vipd is to switch on as long as it runs.
	_, err := r.sh(ctx, `for u in %s %s; do id $u >/dev/null 2>&1 || useradd --system $u; done
		rm -f %s %s /etc/lab-x /run/lab-x
		test -e %s || cp /bin/sleep %[5]s
		systemctl daemon-reload && systemctl start %s && sysctl -q -w net.ipv4.conf.%s.promote_secondaries=0`,
		checker, reader, downFile, triedFile, sleeperFile, sleeper, sysctlName(device(100)))
	return err
}

// sysctlName is how sysctl writes an interface's name.
func sysctlName(device string) string { return strings.ReplaceAll(device, ".", "/") }

// includedFile is read by an include. Nobody uses what it has, of which the log tells.
const (
	includedFile = "/etc/vipd/conf.d/lab.yaml"
	includedText = "vrrp_check:\n  unused:\n    tcp: 127.0.0.1:9\n"
)

// furnished writes what the unit's plan has beside the instances.
func furnished(b *strings.Builder) {
	every := fmt.Sprintf("interval: %g, timeout: 4", pace.Seconds())
	fmt.Fprintf(b, "include: [%s]\n", strings.TrimPrefix(includedFile, filepath.Dir(vipd.file())+"/"))
	fmt.Fprintf(b, "global_defs:\n  vrrp_rt_priority: 50\n  vrrp_notify_fifo: %s %s\n", pipeFile, reader)
	fmt.Fprintf(b, "vrrp_script:\n  chk_file: {script: %s, %s, weight: %d, user: %s}\n", checkFile, every, low-high-10, checker)
	fmt.Fprintf(b, "  chk_killall: {script: /usr/bin/killall -0 %s, %s, weight: -5}\n", sleeper, every)
	fmt.Fprintf(b, "vrrp_track_process:\n  chk_process: {process: %s, weight: 3}\n", sleeper)
	fmt.Fprintf(b, "vrrp_check:\n  chk_unit: {systemd_unit: %s, %s, weight: -2}\n  chk_gateway: {icmp: 127.0.0.1, %[2]s, weight: -2}\n", sleeper, every)
}

// furnishedTracks is what an instance of the unit's plan tracks.
const furnishedTracks = "    track_script: [chk_file, chk_killall]\n    track_process: [chk_process]\n    track_check: [chk_unit, chk_gateway]\n    notify: " + notifyFile + "\n"

// status asks a vipd how it is.
func (r *router) status(ctx context.Context, flags string) (status control.Status, err error) {
	text, err := r.sh(ctx, "vipd status --json %s", flags)
	if err == nil {
		err = json.Unmarshal([]byte(text), &status)
	}
	return status, err
}

// exposureLimit is what systemd-analyze is to say of the units at most.
const exposureLimit = 3.0

// exposure returns the figure in what systemd-analyze security says last:
// "→ Overall exposure level for vipd.service: 3.0 OK".
func exposure(text string) (float64, error) {
	for line := range strings.Lines(text) {
		if _, rest, ok := strings.Cut(line, "Overall exposure level for "); ok {
			_, rest, _ = strings.Cut(rest, ": ")
			word, _, _ := strings.Cut(rest, " ")
			return strconv.ParseFloat(word, 64)
		}
	}
	return 0, fmt.Errorf("systemd-analyze says no figure: %q", text)
}

// since returns the time of a machine's clock, for what is logged from then on.
func (r *router) since(ctx context.Context) (string, error) {
	text, err := r.sh(ctx, "date +@%%s.%%N")
	return strings.TrimSpace(text), err
}

// logged returns when a line that matches was first logged by vipd since a time, both
// by the machine's clock, and whether there is one. The machine itself waits for it,
// for a minute at most: questions in turn would keep it busy.
func (r *router) logged(ctx context.Context, since, pattern string) (at float64, ok bool, err error) {
	text, err := r.sh(ctx, `n=0; until journalctl --quiet --no-pager --output short-unix --unit vipd --since '%s' | grep -m 1 -e '%s' || [ $n = 60 ]; do n=$((n+1)); sleep 1; done`, since, pattern)
	if err != nil || text == "" {
		return 0, false, err
	}
	word, _, _ := strings.Cut(text, " ")
	at, err = strconv.ParseFloat(word, 64)
	return at, err == nil, err
}

// unit shows that the packaged unit, as strict as it is, leaves vipd and its scripts
// what they need.
func unit(ctx context.Context, s *stand, r *round) error {
	for _, look := range []func(context.Context, *stand, *round) error{unitLooks, unitScripts, unitRefusesReload, unitProcess, unitMoves} {
		if err := look(ctx, s, r); err != nil {
			return err
		}
	}
	r.ended = time.Now()
	return unitEnds(ctx, s, r)
}

// unitLooks looks at what does not change.
func unitLooks(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	for _, name := range []string{"vipd.service", "vipd@x.service"} {
		text, err := one.sh(ctx, "systemd-analyze --no-pager security %s | tail -n 1", name)
		if err != nil {
			return err
		}
		figure, err := exposure(text)
		if err != nil {
			return err
		}
		r.note("%s scores %.1f", name, figure)
		if figure > exposureLimit {
			r.miss("systemd-analyze security %s says %.1f, promised %.1f", name, figure, exposureLimit)
		}
	}
	for _, test := range []struct{ what, command string }{
		{"promote_secondaries is not set", "test $(sysctl -n net.ipv4.conf." + sysctlName(device(100)) + ".promote_secondaries) = 1"},
		{"the address has no lifetime of 1 to 3 s", "ip -4 address show dev " + device(100) + " | grep -A 1 -F ' 192.0.2.10/24' | grep -q 'valid_lft [1-3]sec'"},
		{"not every thread has a real-time policy, or one for those that start scripts", `n=0
			for t in /proc/$(pidof vipd)/task/*; do case $(chrt -p ${t##*/} | tr '\n' ' ') in
				*SCHED_RR*'priority: 50 '*) n=$((n+1)) ;; *SCHED_OTHER*SCHED_RESET_ON_FORK*) ;; '') ;; *) exit 1 ;; esac; done; test $n -gt 0`},
		{"the pipe is not root's, with a list for its reader", "ls -l " + pipeFile + " | grep -q '^prw-rw----+ .* root '"},
		{"somebody else may read the pipe", "su -s /bin/sh -c 'timeout 5 cat <" + pipeFile + "' " + checker + " 2>&1 | grep -q 'ermission denied'"},
		{"a file that the configuration includes was not read", "journalctl --quiet --no-pager --boot --unit vipd | grep -q 'lab.yaml.*unused'"},
	} {
		ok, err := one.test(ctx, "%s", test.command)
		if err != nil {
			return err
		}
		if !ok {
			r.miss("%s", test.what)
		}
	}
	return nil
}

// unitScripts compares what a notify script could do, and what checks have found, with
// what they are to.
func unitScripts(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	// It tried when its router became master, and has to be through by now; a reload
	// keeps it.
	text, err := one.sh(ctx, "n=0; until test -e %s || [ $n = 60 ]; do n=$((n+1)); sleep 1; done; cat %[1]s", triedFile)
	if err != nil {
		return err
	}
	outside, err := one.sh(ctx, "%s; umount /mnt; rm -f /etc/lab-x /run/lab-x /var/lib/lab-x /tmp/lab-x", tryFile)
	if err != nil {
		return err
	}
	for _, wrong := range tried(text, outside) {
		r.miss("%s", wrong)
	}
	status, err := one.status(ctx, "")
	if err != nil {
		return err
	}
	for _, wrong := range checked(status) {
		r.miss("%s", wrong)
	}
	return nil
}

// tried says what is wrong with what a notify script could do under the unit, and
// without it.
func tried(under, without string) (wrong []string) {
	want := []string{"uid 0", "policy SCHED_OTHER"}
	for _, command := range permitted {
		want = append(want, "yes "+command)
	}
	for _, command := range forbidden {
		want = append(want, "no "+command)
	}
	lines := strings.Split(under, "\n")
	for _, line := range want {
		if !slices.Contains(lines, line) {
			wrong = append(wrong, fmt.Sprintf("a notify script does not say %q", line))
		}
	}
	// What fails everywhere shows nothing.
	lines = strings.Split(without, "\n")
	for _, command := range slices.Concat(permitted, forbidden) {
		if !slices.Contains(lines, "yes "+command) {
			wrong = append(wrong, fmt.Sprintf("without the unit there is no %q", command))
		}
	}
	return wrong
}

// checked says what is wrong with what the checks have found.
func checked(status control.Status) (wrong []string) {
	for name, want := range map[string]control.Check{
		"chk_file":    {Kind: control.KindScript, User: checker},
		"chk_killall": {Kind: control.KindScript, User: "root"},
		"chk_process": {Kind: control.KindProcess, Mechanism: "process events"},
		"chk_unit":    {Kind: control.KindCheck},
		"chk_gateway": {Kind: control.KindCheck},
	} {
		i := slices.IndexFunc(status.Checks, func(c control.Check) bool { return c.Name == name })
		if i < 0 {
			wrong = append(wrong, "there is no "+name)
			continue
		}
		got := status.Checks[i]
		if got.State != control.CheckUp || got.Kind != want.Kind || want.User != "" && got.User != want.User || want.Mechanism != "" && got.Mechanism != want.Mechanism {
			wrong = append(wrong, fmt.Sprintf("%s is %s by %q as %q: %s", name, got.State, got.Mechanism, got.User, got.Detail))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// unitRefusesReload has a configuration refused while it runs with another.
func unitRefusesReload(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	began := time.Now()
	since, err := one.since(ctx)
	if err != nil {
		return err
	}
	bad := strings.Replace(one.text, fmt.Sprintf("priority: %d", high), "priority: 300", 1)
	if err := one.put(ctx, vipd.file(), 0o640, bad); err != nil {
		return err
	}
	accepted, err := one.test(ctx, "systemctl reload vipd")
	if err != nil {
		return err
	}
	if accepted {
		r.miss("systemctl reload accepts a priority of 300")
	}
	if _, ok, err := one.logged(ctx, since, `vipd\.yaml:[0-9]*:.*300 is out of range`); err != nil {
		return err
	} else if !ok {
		r.miss("the log does not say where a refused configuration is wrong")
	}
	if active, err := one.test(ctx, "systemctl is-active vipd"); err != nil {
		return err
	} else if !active {
		r.miss("after a refused reload the service is not active")
	}
	status, err := one.status(ctx, "")
	if err != nil {
		return err
	}
	if !status.Daemon.Degraded {
		r.miss("after a refused reload vipd status says nothing of it")
	}
	if err := one.put(ctx, vipd.file(), 0o640, one.text); err != nil {
		return err
	}
	if ok, err := one.test(ctx, "systemctl reload vipd"); err != nil {
		return err
	} else if !ok {
		r.miss("systemctl reload refuses the file as it was")
	}
	if got := s.prober.Answered(peer, began, time.Now()); got > granularity {
		r.miss("the other router answered for %.2f s during reloads", got.Seconds())
	}
	return nil
}

// unitProcess kills a process that is watched by the kernel's events.
func unitProcess(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	since, err := one.sh(ctx, "date +@%%s.%%N; pkill -KILL -x %s", sleeper)
	if err != nil {
		return err
	}
	since = strings.TrimSpace(since)
	killed, err := strconv.ParseFloat(strings.TrimPrefix(since, "@"), 64)
	if err != nil {
		return err
	}
	at, ok, err := one.logged(ctx, since, "check failed check=chk_process")
	if err != nil {
		return err
	}
	if ok {
		r.note("the end of a process was logged after %.1f s", at-killed)
	}
	if !ok || at-killed > 5 {
		r.miss("vipd does not notice within 5 s that a process has ended")
	}
	if _, ok, err = one.logged(ctx, since, "check failed check=chk_killall"); err != nil {
		return err
	}
	if !ok {
		r.miss("killall -0 does not notice that a process has ended")
	}
	if _, err := one.sh(ctx, "systemctl start %s", sleeper); err != nil {
		return err
	}
	if _, ok, err = one.logged(ctx, since, "check result check=chk_killall .*to=up"); err != nil {
		return err
	}
	if !ok {
		r.miss("killall -0 does not notice that a process of %s is there again", reader)
	}
	return nil
}

// unitMoves has the check of another user fail, and recover, while somebody reads the
// pipe. This is what the figures are of.
func unitMoves(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	job, err := one.Start(ctx, fmt.Sprintf("rm -f %[1]s; exec su -s /bin/sh -c 'exec timeout 120 head -n 1 <%[2]s' %[3]s >%[1]s", heardFile, pipeFile, reader))
	if err != nil {
		return err
	}
	if err := wait(ctx, 2*time.Second); err != nil { // until it reads
		return err
	}
	r.began = time.Now()
	if err := failover(ctx, s, r, doing(ctx, "touch %s", downFile), doing(ctx, "rm %s", downFile), s.plan.away()...); err != nil {
		return err
	}
	if _, err := job.Wait(ctx); err != nil {
		return err
	}
	if ok, err := one.test(ctx, "grep -q '^INSTANCE \"VI_4\" ' %s", heardFile); err != nil {
		return err
	} else if !ok {
		r.miss("%s has read nothing from the pipe", reader)
	}
	return nil
}

// dropIn takes a capability away that vipd needs.
const dropIn = "/etc/systemd/system/vipd.service.d/lab.conf"

// unitEnds ends the service, and starts it without a permission.
func unitEnds(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	if err := one.ctl(ctx, "stop"); err != nil {
		return err
	}
	if ok, err := one.test(ctx, "test $(sysctl -n net.ipv4.conf.%s.promote_secondaries) = 0", sysctlName(device(100))); err != nil {
		return err
	} else if !ok {
		r.miss("promote_secondaries is not as it was after a stop")
	}
	since, err := one.since(ctx)
	if err != nil {
		return err
	}
	if err := one.put(ctx, dropIn, 0o644, "[Service]\nCapabilityBoundingSet=~CAP_NET_RAW\n"); err != nil {
		return err
	}
	started, err := one.test(ctx, "systemctl daemon-reload; systemctl start vipd")
	if err != nil {
		return err
	}
	text, err := one.sh(ctx, "systemctl show --property ExecMainStatus --property NRestarts vipd | sort | tr '\\n' ' '")
	if err != nil {
		return err
	}
	if text = strings.TrimSpace(text); started || text != "ExecMainStatus=3 NRestarts=0" {
		r.miss("without CAP_NET_RAW it starts: %t, %s", started, text)
	}
	if _, ok, err := one.logged(ctx, since, "CAP_NET_RAW"); err != nil {
		return err
	} else if !ok {
		r.miss("the log does not name CAP_NET_RAW")
	}
	_, err = one.sh(ctx, "rm -r %s && systemctl daemon-reload && systemctl reset-failed vipd", filepath.Dir(dropIn))
	return err
}

// The two instances of vipd@.service.
const (
	office = "office"
	guests = "guests"
)

// others returns them with their virtual routers, which are not the plan's.
func others() map[string]instance {
	return map[string]instance{
		office: {"OFFICE", 100, 71, hosts(100, 11)[0], faulted},
		guests: {"GUESTS", 200, 72, hosts(200, 11)[0], faulted},
	}
}

// template returns where vipd@.service has the configuration and the run directory of
// an instance, and its unit.
func template(name string) (unit, file, run string) {
	return "vipd@" + name + ".service", "/etc/vipd/" + name + ".yaml", "/run/vipd-" + name
}

// instances runs two more vipd beside the one that is there, and has things happen to
// one of them.
func instances(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	var units, files []string
	for name, i := range others() {
		unit, file, _ := template(name)
		p := s.plan
		p.instances = []instance{i}
		if err := one.put(ctx, file, 0o640, p.text(vipd, faulted)); err != nil {
			return err
		}
		units, files = append(units, unit), append(files, file)
	}
	if _, err := one.sh(ctx, "systemctl start %s", strings.Join(units, " ")); err != nil {
		return err
	}
	masters := func(when string) error {
		for name := range others() {
			_, _, run := template(name)
			is := false
			ok, err := until(ctx, s.patience(), func() (bool, error) {
				if err := wait(ctx, time.Second); err != nil { // it has one processor
					return false, err
				}
				status, err := one.status(ctx, "--run-dir "+run)
				is = err == nil && len(status.Instances) == 1 && status.Instances[0].State == control.StateMaster
				return is, ctx.Err() // it may not run yet
			})
			if err != nil {
				return err
			}
			if !ok {
				r.miss("%s, vipd@%s is not master", when, name)
			}
		}
		return nil
	}
	if err := masters("started"); err != nil {
		return err
	}
	officeUnit, _, _ := template(office)
	guestsUnit, _, _ := template(guests)
	pids := func() ([]string, error) {
		text, err := one.sh(ctx, "systemctl show --property MainPID --value %s %s vipd | sed '/^$/d'", officeUnit, guestsUnit)
		list := strings.Fields(text)
		if err == nil && len(list) != 3 {
			err = fmt.Errorf("%s: three services have the processes %q", one.name, list)
		}
		return list, err
	}
	before, err := pids()
	if err != nil {
		return err
	}
	if _, err := one.sh(ctx, "systemctl kill --signal KILL %s", officeUnit); err != nil {
		return err
	}
	if err := wait(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := masters("after the end of one of them"); err != nil {
		return err
	}
	after, err := pids()
	if err != nil {
		return err
	}
	if after[0] == before[0] || after[0] == "0" || !slices.Equal(after[1:], before[1:]) {
		r.miss("%s was killed: the processes were %q and are %q", officeUnit, before, after)
	}
	if ok, err := one.test(ctx, "systemctl reload %s", officeUnit); err != nil {
		return err
	} else if !ok {
		r.miss("%s cannot be reloaded", officeUnit)
	}
	if _, err := one.sh(ctx, "systemctl stop %s && rm %s", strings.Join(units, " "), strings.Join(files, " ")); err != nil {
		return err
	}
	return wait(ctx, aftermath)
}
