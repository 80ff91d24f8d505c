package checks

import (
	"bufio"
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vipd/netif/netiftest"
)

// helperEnv makes this program something else than a test.
const helperEnv = "CHECKS_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		netiftest.Main(m)
	case "wait":
		// Until standard input ends.
		_, _ = bufio.NewReader(os.Stdin).ReadString(0)
	case "become":
		// Another program, once there is a line.
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err == nil {
			_ = os.Setenv(helperEnv, "wait")
			_ = syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
		}
		os.Exit(1)
	}
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// loopbackUp brings up the loopback interface of the tests' own namespace.
var loopbackUp = sync.OnceValue(func() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
})

// loopback is for tests that talk to themselves. They do so in a network
// namespace of their own.
func loopback(t *testing.T) {
	t.Helper()
	netiftest.Require(t)
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
}

// A recorder takes the reports of a Tracker.
type recorder struct {
	t       *testing.T
	reports chan Report
	stop    func()
}

// record runs a Tracker until the test ends.
func record(t *testing.T, tr Tracker) *recorder {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{t: t, reports: make(chan Report, 10000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.Run(ctx, func(rep Report) { r.reports <- rep })
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(r.stop)
	return r
}

// until waits for a report that is as wanted and returns it.
func (r *recorder) until(what string, ok func(Report) bool) Report {
	r.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	var last Report
	for {
		select {
		case last = <-r.reports:
			if ok(last) {
				return last
			}
		case <-late.C:
			r.t.Fatalf("no report where %s; the last was %+v", what, last)
		}
	}
}
