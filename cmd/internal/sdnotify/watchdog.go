package sdnotify

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// A Watchdog tells the service manager that the daemon is alive, once every
// member has beaten since it was told last. It has no timer of its own: when a
// protocol loop hangs the signs of life must end, and not be kept up by a ticker
// that still runs.
//
// Beat never blocks. A Watchdog is safe for concurrent use.
type Watchdog struct {
	feed func()
	gap  time.Duration

	mu      sync.Mutex
	round   uint64    // counts the signs of life, from 1
	fed     time.Time // when the last one was given
	members int
	waiting int // members that have not beaten in this round
}

// NewWatchdog returns a watchdog for the given WatchdogInterval. With an
// interval of 0 it does nothing. An error of telling the service manager goes to
// report, if that is not nil.
func NewWatchdog(interval time.Duration, report func(error)) *Watchdog {
	if interval <= 0 {
		return newWatchdog(0, func() {})
	}
	if report == nil {
		report = func(error) {}
	}
	var busy atomic.Bool
	return newWatchdog(interval, func() {
		// Sending may wait for a service manager that is slow to read. No
		// loop may wait with it, and one message under way is enough.
		if !busy.CompareAndSwap(false, true) {
			return
		}
		go func() {
			defer busy.Store(false)
			if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
				report(fmt.Errorf("sdnotify: feeding the watchdog: %w", err))
			}
		}()
	})
}

func newWatchdog(interval time.Duration, feed func()) *Watchdog {
	return &Watchdog{feed: feed, gap: interval / 4, round: 1}
}

// Join adds a member that has to beat, at least once in half of the interval,
// until it leaves.
func (w *Watchdog) Join() *Member {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members++
	w.waiting++
	return &Member{w: w}
}

// A Member is one loop that has to show that it is alive.
type Member struct {
	w     *Watchdog
	round uint64 // the last round it has beaten in
	left  bool
}

// Beat says that the member is alive at now. Beats that come in quick succession
// cost next to nothing.
func (m *Member) Beat(now time.Time) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	// Soon after the last sign of life nobody needs another one.
	if m.left || m.round == w.round || now.Sub(w.fed) < w.gap {
		return
	}
	m.round = w.round
	w.waiting--
	w.settle(now)
}

// Leave says that the member has ended, as it should.
func (m *Member) Leave(now time.Time) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.left {
		return
	}
	m.left = true
	w.members--
	if m.round != w.round {
		w.waiting--
		w.settle(now)
	}
}

// settle gives a sign of life if nobody is missing any more.
func (w *Watchdog) settle(now time.Time) {
	if w.waiting > 0 || w.members == 0 {
		return
	}
	w.round++
	w.waiting = w.members
	w.fed = now
	w.feed()
}
