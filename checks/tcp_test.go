package checks

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ask runs a Prober as a Probe does and returns what it says.
func ask(t *testing.T, p Prober, timeout time.Duration) (string, bool) {
	t.Helper()
	a, _ := NewProbe(ProbeConfig{Prober: p, Interval: time.Second, Timeout: timeout, Rise: 1, Fall: 1}).Once(t.Context())
	if a.Duration > timeout+patience/2 {
		t.Errorf("%v took %v", p, a.Duration)
	}
	return a.Detail, a.OK
}

// expect asks and compares.
func expect(t *testing.T, p Prober, want string, wantOK bool) {
	t.Helper()
	if got, ok := ask(t, p, patience); got != want || ok != wantOK {
		t.Errorf("%v: %q, %v; want %q, %v", p, got, ok, want, wantOK)
	}
}

// blackHole returns the address of a listener that answers nobody: its queue is
// full.
func blackHole(t *testing.T) string {
	t.Helper()
	loopback(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	must(t, err)
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}).String()
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue of a listener does not become full")
	return ""
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	loopback(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestTCPServersAreAskedForAConnection(t *testing.T) {
	l := listen(t)
	expect(t, &TCP{l.Addr().String()}, "connected", true)
	must(t, l.Close())
	expect(t, &TCP{l.Addr().String()}, "connection refused", false)
	expect(t, &TCP{"192.0.2.1:80"}, "network is unreachable", false)
	if got, ok := ask(t, &TCP{"no-such-name.invalid:80"}, 5*time.Second); ok || got == "" {
		t.Errorf("a name that does not exist: %q, %v", got, ok)
	}
}

func TestATCPServerThatDoesNotAnswerTimesOut(t *testing.T) {
	address := blackHole(t)
	if got, ok := ask(t, &TCP{address}, 200*time.Millisecond); ok || got != "timed out after 200ms" {
		t.Errorf("%q, %v", got, ok)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, err := (&TCP{address}).Probe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > patience/2 {
		t.Errorf("ended after %v", d)
	}
}

func TestATCPServerThatSpeaksFirstIsNotReset(t *testing.T) {
	l := listen(t)
	result := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			result <- err
			return
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("220 ready\r\n")); err != nil {
			result <- err
			return
		}
		_, err = io.ReadAll(c)
		result <- err
	}()
	expect(t, &TCP{l.Addr().String()}, "connected", true)
	if err := <-result; err != nil {
		t.Errorf("the server saw %v", err)
	}
}
