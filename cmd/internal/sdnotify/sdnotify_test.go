package sdnotify

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// manager plays systemd: it returns the messages that arrive on NOTIFY_SOCKET.
func manager(t *testing.T) (receive func() string) {
	t.Helper()
	// t.TempDir carries the name of the test, which is too long for a socket.
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	addr := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	return func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestTheManagerIsToldInItsOwnWords(t *testing.T) {
	receive := manager(t)
	for _, tt := range []struct {
		name string
		call func() error
		want string // a regular expression
	}{
		{"ready", func() error { return Ready("2 instances") }, `READY=1\nSTATUS=2 instances\n`},
		{"ready, without a status", func() error { return Ready("") }, `READY=1\n`},
		{"a start that takes a while", func() error { return Starting("running a script", time.Minute) }, `STATUS=running a script\nEXTEND_TIMEOUT_USEC=60000000\n`},
		{"another process", func() error { return MainProcess(42) }, `MAINPID=42\nREADY=1\n`},
		{"reloading", func() error { return Reloading("reading") }, `RELOADING=1\nMONOTONIC_USEC=[0-9]+\nSTATUS=reading\n`},
		{"stopping", func() error { return Stopping("handing over", 31*time.Second) }, `STOPPING=1\nSTATUS=handing over\nEXTEND_TIMEOUT_USEC=31000000\n`},
		{"a status", func() error { return Status("master of 1") }, `STATUS=master of 1\n`},
		{"a status that would inject a message", func() error { return Status("a\nSTOPPING=1\n b") }, `STATUS=a STOPPING=1 b\n`},
	} {
		if err := tt.call(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := receive(); !regexp.MustCompile(`^` + tt.want + `$`).MatchString(got) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if !Active() {
		t.Error("Active is false with a manager")
	}
}

func TestWithoutAManagerNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if Active() {
		t.Error("Active is true without a manager")
	}
	stopping := func(status string) error { return Stopping(status, time.Second) }
	for _, f := range []func(string) error{Ready, Reloading, stopping, Status} {
		if err := f("x"); err != nil {
			t.Error(err)
		}
	}
}

func TestAManagerThatIsGoneIsAnError(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(os.TempDir(), "no-such-socket"))
	if err := Ready(""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want %v", err, os.ErrNotExist)
	}
}

func TestTheWatchdogIntervalIsTheManagers(t *testing.T) {
	for _, tt := range []struct {
		name, usec, pid string
		want            time.Duration
		ok              bool
	}{
		{"no watchdog", "", "", 0, true},
		{"three seconds", "3000000", "", 3 * time.Second, true},
		{"for this process", "3000000", strconv.Itoa(os.Getpid()), 3 * time.Second, true},
		{"for another process", "3000000", "1", 0, true},
		{"no number", "soon", "", 0, false},
		{"no time", "0", "", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", tt.usec)
			t.Setenv("WATCHDOG_PID", tt.pid)
			got, err := WatchdogInterval()
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %s, %v; want %s and an error: %t", got, err, tt.want, !tt.ok)
			}
		})
	}
}

func TestABeatReachesTheManager(t *testing.T) {
	receive := manager(t)
	w := NewWatchdog(time.Second, func(err error) { t.Error(err) })
	w.Join().Beat(time.Now())
	if got, want := receive(), "WATCHDOG=1"; got != want {
		t.Errorf("the manager receives %q, want %q", got, want)
	}
}

func TestABeatThatCannotBeSentIsReported(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(os.TempDir(), "no-such-socket"))
	errs := make(chan error, 1)
	NewWatchdog(time.Second, func(err error) { errs <- err }).Join().Beat(time.Now())
	if err := <-errs; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v, want %v", err, os.ErrNotExist)
	}
}

func TestWithoutAnIntervalNobodyIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(os.TempDir(), "no-such-socket"))
	w := NewWatchdog(0, func(err error) { t.Errorf("something was sent: %v", err) })
	w.Join().Beat(time.Now())
}

// counted returns a watchdog for an interval of 4 s and the number of its signs
// of life.
func counted() (w *Watchdog, fed *int) {
	fed = new(int)
	return newWatchdog(4*time.Second, func() { *fed++ }), fed
}

func TestASignOfLifeNeedsEveryMember(t *testing.T) {
	w, fed := counted()
	a, b := w.Join(), w.Join()
	at := time.Unix(1000, 0)
	for i, step := range []struct {
		m     *Member
		after time.Duration
		want  int
	}{
		{a, 0, 0},
		{a, time.Second, 0}, // again, but b is missing
		{b, 0, 1},
		{b, 2 * time.Second, 1},
		{b, 2 * time.Second, 1}, // a hangs: no more signs of life
		{b, 2 * time.Second, 1},
		{a, 0, 2},
		{a, time.Second, 2},
		{b, 0, 3},
	} {
		at = at.Add(step.after)
		step.m.Beat(at)
		if *fed != step.want {
			t.Errorf("step %d: %d signs of life, want %d", i, *fed, step.want)
		}
	}
}

func TestFrequentBeatsAreThinnedOutButInTime(t *testing.T) {
	w, fed := counted()
	m := w.Join()
	start := time.Unix(1000, 0)
	for d := time.Duration(0); d <= time.Minute; d += 10 * time.Millisecond {
		m.Beat(start.Add(d))
	}
	// One in each quarter of the interval, so that none is ever late.
	if *fed != 61 {
		t.Errorf("%d signs of life in a minute, want 61", *fed)
	}
}

func TestMembersThatBeatInHalfOfTheIntervalAreInTime(t *testing.T) {
	const interval = 4 * time.Second
	var at time.Time
	var fed []time.Time
	w := newWatchdog(interval, func() { fed = append(fed, at) })
	a, b := w.Join(), w.Join()
	// Whatever the phase between the two.
	for phase := time.Duration(0); phase < interval/2; phase += 100 * time.Millisecond {
		for range 5 {
			at = at.Add(phase)
			a.Beat(at)
			at = at.Add(interval/2 - phase)
			b.Beat(at)
		}
	}
	if len(fed) < 20 {
		t.Fatalf("only %d signs of life in %s", len(fed), at.Sub(time.Time{}))
	}
	for i := 1; i < len(fed); i++ {
		if gap := fed[i].Sub(fed[i-1]); gap > interval {
			t.Errorf("%s between two signs of life, want at most %s", gap, interval)
		}
	}
}

func TestAMemberThatLeavesIsNotWaitedFor(t *testing.T) {
	w, fed := counted()
	a, b := w.Join(), w.Join()
	at := time.Unix(1000, 0)
	a.Beat(at)
	b.Leave(at)
	if *fed != 1 {
		t.Errorf("%d signs of life, want 1", *fed)
	}
	b.Leave(at)
	b.Beat(at.Add(2 * time.Second))
	a.Beat(at.Add(2 * time.Second))
	if *fed != 2 {
		t.Errorf("%d signs of life after the other left, want 2", *fed)
	}
	a.Beat(at.Add(4 * time.Second))
	a.Leave(at.Add(4 * time.Second))
	if *fed != 3 {
		t.Errorf("%d signs of life, want 3: the last member's leaving is none", *fed)
	}
	c := w.Join()
	if *fed != 3 {
		t.Error("joining is a sign of life")
	}
	c.Beat(at.Add(6 * time.Second))
	if *fed != 4 {
		t.Errorf("%d signs of life, want 4", *fed)
	}
}
