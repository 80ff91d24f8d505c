package daemon

import (
	"time"

	"golang.org/x/sys/unix"
)

// hostSlept returns for how long the host has been suspended since it started:
// the difference of the clock that counts that and the one that does not.
func hostSlept() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
