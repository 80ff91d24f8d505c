package daemon

import (
	"time"

	"golang.org/x/sys/unix"
)

// hostSlept returns for how long the host has been suspended since it started:
// the difference of the clock that counts that and the one that does not. Both are
// read within a moment, or again: a thread that is kept from running in between
// would seem to have slept.
func hostSlept() time.Duration {
	const moment, attempts = 200 * time.Microsecond, 5
	var slept time.Duration
	for range attempts {
		var before, boot, after unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &before) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil ||
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &after) != nil {
			return 0
		}
		slept = time.Duration(boot.Nano() - before.Nano())
		if after.Nano()-before.Nano() < int64(moment) {
			break
		}
	}
	return slept
}
