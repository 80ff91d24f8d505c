package exampletest

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
	"vipd/netif/netiftest"
)

// stateFile waits until the state file of an instance or group begins with a
// text.
func (r *router) stateFile(name, want string) {
	r.t.Helper()
	rig.Eventually(r.t, patience, "the state file of "+r.node.Name()+" says "+want, func() bool {
		b, err := os.ReadFile(r.run(name + ".state"))
		return err == nil && strings.HasPrefix(string(b), want+" ")
	})
}

func TestWithoutItsHAProxyARouterYieldsAndComesBack(t *testing.T) {
	t.Parallel()
	netiftest.RequireProgram(t, "/usr/bin/killall")
	n := newNetwork(t, "192.0.2.%d/24")
	n.a.ownProcesses()
	n.b.ownProcesses()
	haproxy := n.a.serve("haproxy", "127.0.0.1:8080")
	n.b.serve("haproxy", "127.0.0.1:8080")
	text := example(t, "haproxy.yaml")
	n.start(text, other(t, text), "WEB")
	n.a.stateFile("WEB", "MASTER 150")

	haproxy.signal(syscall.SIGKILL)
	n.masters(n.b, control.StateBackup, "WEB")
	if got := n.a.Instance(t, "WEB").Arithmetic; !strings.HasPrefix(got, "150 − 60 (chk_haproxy failing since ") || !strings.HasSuffix(got, ") = 90") {
		t.Errorf("the status explains the priority as %q", got)
	}
	if last := n.a.checkIs("chk_haproxy", control.CheckDown).Last; last == nil || !strings.Contains(last.Output, "haproxy: no process found") {
		t.Errorf("the last run of the check is %+v, want what killall wrote", last)
	}
	n.a.stateFile("WEB", "BACKUP 90")

	haproxy.start()
	n.masters(n.a, control.StateBackup, "WEB")

	const script = "write-state.sh /run/vipd INSTANCE WEB "
	calls := n.a.told("WEB", script+"BACKUP 150", script+"MASTER 150", script+"BACKUP 90", script+"MASTER 150")
	n.b.told("WEB", script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 100")
	calls[0].has(t, map[string]string{"VIPD_FROM": "INIT", "VIPD_TO": "BACKUP", "VIPD_EVENT": "BACKUP"})
	calls[1].has(t, map[string]string{
		"VIPD_FROM": "BACKUP", "VIPD_TO": "MASTER", "VIPD_EVENT": "MASTER", "VIPD_REASON": "*", "VIPD_INSTANCE": "WEB", "VIPD_PRIORITY": "150",
		"VIPD_MASTER": "192.0.2.11", "VIPD_VIPS": "192.0.2.40/24", "VIPD_INTERFACE": "eth0", "VIPD_VRID": "61",
	})
	calls[2].has(t, map[string]string{"VIPD_FROM": "MASTER", "VIPD_TO": "BACKUP", "VIPD_PRIORITY": "90", "VIPD_MASTER": "192.0.2.12"})
}

func TestTheProcessAndTheAnswersOfHAProxyAreWatchedWithoutAScript(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "192.0.2.%d/24")
	n.a.ownProcesses()
	n.b.ownProcesses()
	haproxy := n.a.serve("haproxy", "127.0.0.1:8080")
	n.b.serve("haproxy", "127.0.0.1:8080")
	text := example(t, "haproxy-process.yaml")
	n.start(text, other(t, text), "WEB")

	haproxy.signal(syscall.SIGKILL)
	n.masters(n.b, control.StateFault, "WEB")
	n.a.checkIs("haproxy_answers", control.CheckDown)
	haproxy.start()
	n.masters(n.a, control.StateBackup, "WEB")

	haproxy.well(false)
	n.masters(n.b, control.StateBackup, "WEB")
	if c := n.a.checkIs("haproxy_answers", control.CheckDown); !strings.Contains(c.Detail, "503") {
		t.Errorf("the check failed because of %q, want the status code", c.Detail)
	}
	haproxy.well(true)
	n.masters(n.a, control.StateBackup, "WEB")

	const script = "record.sh INSTANCE WEB "
	// Its answers may count again before the process does, or after.
	calls := n.a.told("WEB", script+"BACKUP 150", script+"MASTER 150", script+"FAULT *", script+"BACKUP *", script+"MASTER 150",
		script+"BACKUP 90", script+"MASTER 150")
	n.b.told("WEB", script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 100")
	calls[2].has(t, map[string]string{"VIPD_FROM": "MASTER", "VIPD_TO": "FAULT"})
	if reason := calls[2].env["VIPD_REASON"]; !strings.Contains(reason, "haproxy") {
		t.Errorf("the reason of the fault is %q, which does not name haproxy", reason)
	}
}

func TestAnNginxThatHangsFailsItsCheckScript(t *testing.T) {
	t.Parallel()
	netiftest.RequireProgram(t, "curl")
	n := newNetwork(t, "192.0.2.%d/24")
	nginx := n.a.serve("nginx", "127.0.0.1:80")
	n.b.serve("nginx", "127.0.0.1:80")
	text := example(t, "nginx.yaml")
	n.start(text, other(t, text), "WEB")

	nginx.signal(syscall.SIGSTOP)
	n.masters(n.b, control.StateBackup, "WEB")
	c := n.a.checkIs("chk_nginx", control.CheckDown)
	if c.Last == nil || c.Last.Exit == nil || *c.Last.Exit != 28 { // curl's code for a timeout
		t.Errorf("the last run of the check is %+v, want the timeout of curl", c.Last)
	}
	nginx.signal(syscall.SIGCONT)
	n.masters(n.a, control.StateBackup, "WEB")

	nginx.well(false)
	if c := n.a.checkIs("chk_nginx", control.CheckDown); c.Last == nil || !strings.Contains(c.Last.Output, "503") {
		t.Errorf("the last run of the check is %+v, want the error that nginx returns", c.Last)
	}

	const script = "record.sh INSTANCE WEB "
	n.masters(n.b, control.StateBackup, "WEB")
	n.a.told("WEB", script+"BACKUP 150", script+"MASTER 150", script+"BACKUP 90", script+"MASTER 150", script+"BACKUP 90")
	n.b.told("WEB", script+"BACKUP 100", script+"MASTER 100", script+"BACKUP 100", script+"MASTER 100")
}

// A fake psql knows what the script asks. The database is a replica while there
// is a file, and every promotion leaves a line.
const psql = `#!/bin/sh
for question; do :; done
case $question in
*pg_is_in_recovery*) test -e DIR/replica && echo t || echo f ;;
*pg_promote*) echo promoted >>DIR/promotions; rm -f DIR/replica; echo t ;;
*) echo "unexpected: $question" >&2; exit 1 ;;
esac
`

func TestADatabaseIsPromotedOnceAndOnlyWhereTheAddressStays(t *testing.T) {
	t.Parallel()
	netiftest.RequireProgram(t, "ip")
	netiftest.RequireProgram(t, "flock")
	n := newNetwork(t, "192.0.2.%d/24")
	promotions := func(r *router) int {
		b, err := os.ReadFile(r.dir + "/promotions")
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.Count(string(b), "promoted")
	}
	for _, r := range []*router{n.a, n.b} {
		r.write(r.bin("psql"), strings.ReplaceAll(psql, "DIR", r.dir), 0o755)
	}
	n.b.write(n.b.dir+"/replica", "", 0o644)
	primary, replica := n.a.serve("postgres", "127.0.0.1:5432"), n.b.serve("postgres", "127.0.0.1:5432")

	// The test has no user postgres to run the script as.
	text := example(t, "database.yaml")
	const user = "user: postgres"
	if !strings.Contains(text, user) {
		t.Fatalf("there is no %q in the example", user)
	}
	text = strings.Replace(text, user, "user: root", 1)
	n.a.start(text)
	n.b.start(other(t, text))
	n.masters(n.a, control.StateBackup, "DB")
	const script, promote = "record.sh INSTANCE DB ", "promote-database.sh 5"
	n.a.told("DB", script+"BACKUP 150", promote, script+"MASTER 150")

	// A master for less than five seconds promotes nothing.
	primary.signal(syscall.SIGKILL)
	n.b.is("DB", control.StateMaster)
	replica.signal(syscall.SIGKILL)
	n.b.is("DB", control.StateFault)
	replica.start()
	n.b.is("DB", control.StateMaster)
	rig.Eventually(t, patience, "b's database is promoted", func() bool { return promotions(n.b) == 1 })

	// And the old primary does not come back by itself.
	primary.start()
	n.masters(n.b, control.StateBackup, "DB")
	n.a.stays("DB", control.StateBackup)
	n.a.told("DB", script+"BACKUP 150", promote, script+"MASTER 150", script+"FAULT 150", script+"BACKUP 150")
	calls := n.b.calls("DB")
	var lines []string
	for _, c := range calls {
		lines = append(lines, c.line)
	}
	// If promote-database.sh was slow to see that the address is gone, the state
	// was BACKUP by then, and FAULT before it has been skipped.
	got := strings.Join(lines, ", ")
	skipped := strings.Join([]string{script + "BACKUP 100", promote, script + "MASTER 100", script + "BACKUP 100", promote, script + "MASTER 100"}, ", ")
	all := strings.Join([]string{script + "BACKUP 100", promote, script + "MASTER 100", script + "FAULT 100", script + "BACKUP 100", promote, script + "MASTER 100"}, ", ")
	if got != all && got != skipped {
		t.Errorf("the scripts on b were called: %s\nwant: %s", got, all)
	}
	if a, b := promotions(n.a), promotions(n.b); a != 0 || b != 1 {
		t.Errorf("a was promoted %d times, b %d times, want 0 and 1", a, b)
	}
	calls[1].has(t, map[string]string{"VIPD_FROM": "BACKUP", "VIPD_TO": "MASTER", "VIPD_INSTANCE": "DB", "VIPD_VIPS": "192.0.2.60/24", "VIPD_MASTER": "192.0.2.12"})
}
