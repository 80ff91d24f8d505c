package netiftest

import (
	"fmt"
	"io"
	"time"
)

const (
	// stoodStill is how long nothing may have run for what a test says of time to
	// be worth nothing. The daemons that tests run with adverts every 100 ms are
	// silent for too long after 300 ms, and do then what they should.
	stoodStill = 250 * time.Millisecond
	// attempts is how often tests run at most.
	attempts = 3
	// failed is the exit code of tests that failed. Those in which a data race was
	// seen, that panicked or ran out of time have others, and stay as they are.
	failed = 1
)

// patiently runs tests, and again if they fail while the machine stands still. It
// says so: a test that only ever passes the second time is to be seen.
func patiently(tests func() (code int, err error), watch func() (longest func() time.Duration), log io.Writer) (int, error) {
	for attempt := 1; ; attempt++ {
		longest := watch()
		code, err := tests()
		stood := longest()
		if err != nil || code != failed || stood < stoodStill || attempt == attempts {
			return code, err
		}
		fmt.Fprintf(log, "netiftest: they failed, and the machine stood still for %v meanwhile: once more\n", stood.Round(time.Millisecond))
	}
}

// watchMachine begins to look at the clock all the time. The function that it
// returns ends that, and says for how long it could not at worst.
func watchMachine() (longest func() time.Duration) { return watchClock(time.Now) }

func watchClock(clock func() time.Time) (longest func() time.Duration) {
	const every = 10 * time.Millisecond
	end, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := clock(); ; {
			select {
			case <-tick.C:
				now := clock()
				most = max(most, now.Sub(last)-every)
				last = now
			case <-end:
				worst <- most
				return
			}
		}
	}()
	return func() time.Duration {
		close(end)
		return <-worst
	}
}
