package daemon

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vipd/vrrp/vrrpconn"
)

// TestTheWatchdogStarvesWhenOneLoopHangs feeds the service manager from two
// loops and then blocks one of them.
func TestTheWatchdogStarvesWhenOneLoopHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "200000")
	t.Setenv("WATCHDOG_PID", "")

	d := &Daemon{log: quiet()}
	for range 2 {
		w := newVirtualWaker()
		l := newLoop("eth0", quiet(), w, func(vrrpconn.Config) (transport, error) { return nil, net.ErrClosed }, nil, nil)
		d.loops = append(d.loops, l)
		go l.run()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.feedWatchdog(ctx) }()

	// alive reports whether a sign of life comes within the time.
	alive := func(within time.Duration) bool {
		if err := manager.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, err := manager.Read(buf)
		return err == nil && strings.Contains(string(buf[:n]), "WATCHDOG=1")
	}
	for range 3 {
		if !alive(10 * time.Second) {
			t.Fatal("no sign of life while both loops run")
		}
	}
	release := make(chan struct{})
	blocked := make(chan struct{})
	d.loops[1].post(func() {
		close(blocked)
		<-release
	})
	<-blocked
	for range 4 {
		if !alive(400 * time.Millisecond) {
			break // what was under way has arrived
		}
	}
	if alive(600 * time.Millisecond) {
		t.Error("signs of life go on while a loop hangs")
	}
	close(release)
	if !alive(10 * time.Second) {
		t.Error("no sign of life after the loop went on")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, l := range d.loops {
		l.stop()
	}
}
