package netif

import (
	"math/bits"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel stamps addresses with the time in hundredths of seconds that its
// timer ticks have counted since it started, in 32 bits. That clock stands still
// while the machine is suspended, and it is not CLOCK_MONOTONIC, which NTP leads
// and which was seen to be 0.3 s off: it is the clock of times(2), which begins
// some time before 2³² ticks and does not tell how long a tick is.
const (
	stampUnit = 10 * time.Millisecond
	// firstTick is 300 s after where the kernel's counter of ticks begins
	// (INITIAL_JIFFIES).
	firstTick = 1 << 32
	// mostTicks is decades at any rate, and few enough to reckon with.
	mostTicks = 1 << 39
)

// tickRates are the numbers of ticks in a second that kernels are built with
// (CONFIG_HZ).
var tickRates = [...]uint64{100, 128, 200, 250, 256, 300, 500, 512, 1000, 1024}

// maxClockDrift is how far CLOCK_MONOTONIC may be from the clock of ticks. With a
// wrong rate they are days apart.
const maxClockDrift = 12 * time.Hour

// KernelClock returns the present time on the clock of [PresentAddress.Created].
// It has a resolution of 10 ms and begins anew after 497 days; so see KernelSince.
func KernelClock() time.Duration {
	var ts unix.Timespec
	// It cannot fail: there is no kernel without this clock.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	now := time.Duration(ts.Nano())
	if bits.UintSize == 64 {
		var tms unix.Tms
		if t, err := unix.Times(&tms); err == nil {
			now = ticksSinceBoot(uint64(t), now)
		}
	}
	return fromStamp(uint32(now / stampUnit))
}

// KernelSince returns how long ago a time stamp of a [PresentAddress] was given, to
// 10 ms. It is what the stamp lacks to KernelClock, and right within 248 days.
func KernelSince(stamp time.Duration) time.Duration {
	lacks := uint32(KernelClock()/stampUnit) - uint32(stamp/stampUnit)
	return time.Duration(int32(lacks)) * stampUnit
}

// ticksSinceBoot returns the time since the kernel's start from what times(2) says
// and about says CLOCK_MONOTONIC: that of the rate of ticks with which they agree,
// or about if they agree with none.
func ticksSinceBoot(times uint64, about time.Duration) time.Duration {
	best, found := about, maxClockDrift
	for _, hz := range tickRates {
		// The kernel makes hundredths of ticks by the rounded length of a tick. Of the
		// numbers of ticks that make so many it is the last: no stamp of now may be in
		// the future.
		length := (uint64(time.Second) + hz/2) / hz
		hi, lo := bits.Mul64(times+1, uint64(stampUnit))
		if hi >= length {
			continue
		}
		all, rest := bits.Div64(hi, lo, length)
		if rest == 0 {
			all--
		}
		ticks := int64(all - (firstTick - 300*hz))
		if ticks < -mostTicks || ticks > mostTicks {
			continue
		}
		t := time.Duration(ticks*100/int64(hz)) * stampUnit
		if d := (t - about).Abs(); d < found {
			best, found = t, d
		}
	}
	return best
}

// fromStamp returns a time stamp of the kernel.
func fromStamp(s uint32) time.Duration { return time.Duration(s) * stampUnit }
