package differential

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

const (
	// attempts is how often a scenario is played at most. If something was wrong it
	// is played a second time, and again only if the machine had stood still
	// meanwhile: then an advertisement may have come after an event in place of
	// before it, and the two runs are not comparable.
	attempts = 4
	// standstill is how long the machine may hold a process up without that: keep
	// it from running, or make it wait for the kernel to change an address or an
	// interface, which it does one at a time for all namespaces.
	standstill = 80 * time.Millisecond
)

// An attempt is a test that may fail and be tried again. It has its own context
// and its own cleanups, and ends the goroutine that it runs in rather than the
// test.
type attempt struct {
	testing.TB
	ctx context.Context

	mu       sync.Mutex
	failures []string
	logs     []string
	cleanups []func()
	worst    time.Duration // for how long the machine held it up at most
}

// try runs fn as an attempt, which has ended when it returns.
func try(t *testing.T, fn func(a *attempt)) *attempt {
	ctx, cancel := context.WithCancel(t.Context())
	a := &attempt{TB: t, ctx: ctx}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer a.cleanup()
		defer cancel()
		fn(a)
	}()
	<-ended
	return a
}

// cleanup calls what was left to be called, the last first.
func (a *attempt) cleanup() {
	for {
		a.mu.Lock()
		n := len(a.cleanups)
		if n == 0 {
			a.mu.Unlock()
			return
		}
		fn := a.cleanups[n-1]
		a.cleanups = a.cleanups[:n-1]
		a.mu.Unlock()
		fn()
	}
}

func (a *attempt) Context() context.Context { return a.ctx }

func (a *attempt) Cleanup(fn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, fn)
}

func (a *attempt) Logf(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logs = append(a.logs, fmt.Sprintf(format, args...))
}

func (a *attempt) Log(args ...any) { a.Logf("%s", fmt.Sprint(args...)) }

func (a *attempt) Errorf(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures = append(a.failures, fmt.Sprintf(format, args...))
}

func (a *attempt) Error(args ...any) { a.Errorf("%s", fmt.Sprint(args...)) }

func (a *attempt) Fail() { a.Errorf("failed") }

func (a *attempt) FailNow() {
	a.Fail()
	runtime.Goexit()
}

func (a *attempt) Fatalf(format string, args ...any) {
	a.Errorf(format, args...)
	runtime.Goexit()
}

func (a *attempt) Fatal(args ...any) { a.Fatalf("%s", fmt.Sprint(args...)) }

// Skipf is a failure: what a scenario needs was looked for before.
func (a *attempt) Skipf(format string, args ...any) { a.Fatalf(format, args...) }

func (a *attempt) Failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.failures) > 0
}

// watch has the attempt find out for how long the machine holds things up. probe
// asks the kernel for something that it does one at a time.
func (a *attempt) watch(probe func() error) {
	const every = 5 * time.Millisecond
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n, last := 0, time.Now(); ; n++ {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			if n%8 == 0 {
				if err := probe(); err != nil {
					a.Errorf("probing the kernel: %v", err)
				}
			}
			now := time.Now()
			a.worst = max(a.worst, now.Sub(last)-every)
			last = now
		}
	}()
	a.Cleanup(func() {
		close(stop)
		<-ended
	})
}

func TestAnAttemptFailsWithoutTheTest(t *testing.T) {
	var order []string
	a := try(t, func(a *attempt) {
		a.Cleanup(func() { order = append(order, "first") })
		a.Cleanup(func() {
			order = append(order, "second")
			if a.Context().Err() == nil {
				t.Error("the context lives longer than the attempt")
			}
		})
		a.Logf("hello")
		a.Errorf("wrong by %d", 2)
		a.Fatal("the end")
		order = append(order, "never")
	})
	if got, want := fmt.Sprint(order), "[second first]"; got != want {
		t.Errorf("called %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%q %q", a.logs, a.failures), `["hello"] ["wrong by 2" "the end"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !a.Failed() {
		t.Error("it has not failed")
	}
	if try(t, func(*attempt) {}).Failed() {
		t.Error("one that did nothing has failed")
	}
}

func TestAnAttemptKnowsForHowLongItWasHeldUp(t *testing.T) {
	const held = 3 * standstill
	a := try(t, func(a *attempt) {
		probed := make(chan struct{})
		a.watch(func() error {
			defer func() { probed <- struct{}{} }()
			<-time.After(held)
			return nil
		})
		<-probed
	})
	if a.worst < held-standstill {
		t.Errorf("it was held up for %v and says %v", held, a.worst)
	}
}
