package arp

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// A moment is what both clocks say at one time.
type moment struct {
	time time.Time // with a monotonic reading
	wall time.Time // without
}

// present returns this moment.
func present() moment {
	now := time.Now()
	return moment{time: now, wall: now.Round(0)}
}

// stampIn returns the kernel's time stamp (SO_TIMESTAMPNS) among control
// messages.
func stampIn(oob []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS {
			var ts unix.Timespec
			if _, err := binary.Decode(m.Data, binary.NativeEndian, &ts); err == nil {
				return time.Unix(ts.Unix()), true
			}
		}
	}
	return time.Time{}, false
}

// stampSlack is how long before it can be read a frame may have been stamped.
const stampSlack = 10 * time.Millisecond

// receivedAt gives a time stamp of the wall clock the monotonic reading that
// belongs to it. It lies between empty, when nothing waited to be read, and
// now. If the wall clock was stepped in between, the stamp is of the clock
// before the step or of the one after it; of the two times that it can mean the
// later one that is not in the future is taken. So the result is never before
// the truth, and after it by no more than the frame had waited.
func receivedAt(empty, now moment, stamp time.Time) time.Time {
	var at time.Time
	for _, m := range []moment{empty, now} {
		t := m.time.Add(stamp.Sub(m.wall))
		if !t.After(now.time) && !t.Before(empty.time.Add(-stampSlack)) && t.After(at) {
			at = t
		}
	}
	switch {
	case at.IsZero(): // stepped more than once, or just now
		return now.time
	case at.Before(empty.time):
		return empty.time
	}
	return at
}
