package daemon

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vipd/netif"
	"vipd/vrrp/vrrpconn"
)

// A signsOfLife is what the service manager gets of them.
type signsOfLife struct {
	t    *testing.T
	conn *net.UnixConn
}

// watched has a daemon feed the watchdog of a service manager, for an interval.
func watched(t *testing.T, d *Daemon, usec string) signsOfLife {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", usec)
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.feedWatchdog(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return signsOfLife{t, conn}
}

// within reports whether a sign of life comes within a time.
func (s signsOfLife) within(d time.Duration) bool {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		s.t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := s.conn.Read(buf)
	return err == nil && strings.Contains(string(buf[:n]), "WATCHDOG=1")
}

// settle reads what was under way when somebody began to hang.
func (s signsOfLife) settle() {
	s.t.Helper()
	for range 4 {
		if !s.within(400 * time.Millisecond) {
			return
		}
	}
}

// supervised returns a daemon with two loops, a keeper and a garper, all of which
// run.
func supervised(t *testing.T, table addressTable) *Daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &Daemon{log: quiet(), keeper: newKeeper(quiet(), table, nil)}
	d.garper = newGarper(quiet(), nil, nil, nil)
	go d.keeper.run(ctx)
	go d.garper.run(ctx)
	t.Cleanup(func() {
		cancel()
		<-d.keeper.ended
		<-d.garper.ended
	})
	for range 2 {
		l := newLoop("eth0", quiet(), newVirtualWaker(), func(vrrpconn.Config) (transport, error) { return nil, net.ErrClosed }, nil, nil)
		d.loops = append(d.loops, l)
		go l.run()
		t.Cleanup(func() { l.stop() })
	}
	return d
}

// TestTheWatchdogStarvesWhenAnythingHangsThatAnAddressDependsOn blocks one of
// those who have to show that they are alive, and then lets it go on.
func TestTheWatchdogStarvesWhenAnythingHangsThatAnAddressDependsOn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		inbox func(*Daemon) *mailbox[func()]
	}{
		{"a protocol loop", func(d *Daemon) *mailbox[func()] { return d.loops[1].inbox }},
		{"the keeper of the addresses", func(d *Daemon) *mailbox[func()] { return d.keeper.inbox }},
		{"who announces them", func(d *Daemon) *mailbox[func()] { return d.garper.inbox }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := supervised(t, nil)
			signs := watched(t, d, "200000")
			for range 3 {
				if !signs.within(10 * time.Second) {
					t.Fatal("no sign of life while all is well")
				}
			}
			release, blocked := make(chan struct{}), make(chan struct{})
			tt.inbox(d).put(func() {
				close(blocked)
				<-release
			})
			<-blocked
			signs.settle()
			if signs.within(600 * time.Millisecond) {
				t.Error("signs of life go on while it hangs")
			}
			close(release)
			if !signs.within(10 * time.Second) {
				t.Error("no sign of life after it went on")
			}
		})
	}
}

func TestALoopThatAReloadRemovedIsNotWaitedFor(t *testing.T) {
	d := supervised(t, nil)
	signs := watched(t, d, "200000")
	if !signs.within(10 * time.Second) {
		t.Fatal("no sign of life while all is well")
	}
	gone := d.loops[1]
	release, blocked := make(chan struct{}), make(chan struct{})
	gone.post(func() {
		close(blocked)
		<-release
	})
	defer close(release)
	<-blocked
	d.mu.Lock()
	d.loops = d.loops[:1]
	d.mu.Unlock()
	signs.settle()
	for range 3 {
		if !signs.within(10 * time.Second) {
			t.Fatal("no sign of life without the loop")
		}
	}
}

// A slowTable takes its time to remove addresses, and says when it has begun.
type slowTable struct {
	addressTable
	each  time.Duration
	begun chan struct{}
}

func (s *slowTable) Remove(addrs []netif.Address) []netif.Result {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	end := time.NewTimer(s.each)
	defer end.Stop()
	<-end.C
	return make([]netif.Result, len(addrs))
}

// TestAKeeperThatWorksForLongIsAlive has it remove many addresses, which takes
// several times as long as the watchdog waits.
func TestAKeeperThatWorksForLongIsAlive(t *testing.T) {
	const portions = 20
	table := &slowTable{each: 100 * time.Millisecond, begun: make(chan struct{}, 1)}
	d := supervised(t, table)
	signs := watched(t, d, "400000")
	if !signs.within(10 * time.Second) {
		t.Fatal("no sign of life while all is well")
	}
	ended := make(chan struct{})
	d.keeper.inbox.put(func() {
		d.keeper.inChunks(make([]netif.Address, portions*addChunk), table.Remove)
		close(ended)
	})
	<-table.begun
	count := 0
	for {
		select {
		case <-ended:
			if count < 3 {
				t.Errorf("%d signs of life in %s, want one in each %s or so", count, portions*table.each, 400*time.Millisecond)
			}
			return
		default:
			if signs.within(table.each) {
				count++
			}
		}
	}
}
