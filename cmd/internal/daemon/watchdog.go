package daemon

import (
	"context"
	"slices"
	"time"

	"vipd/cmd/internal/sdnotify"
)

// feedWatchdog has everything that a virtual address depends on show that it is
// alive: each protocol loop, the keeper of the addresses, and who announces them.
// They do so by answering, each in its own goroutine. One that hangs answers no
// more, whatever else still runs, and systemd ends the daemon and starts it again.
func (d *Daemon) feedWatchdog(ctx context.Context) error {
	interval, err := sdnotify.WatchdogInterval()
	if err != nil {
		d.log.Warn("no watchdog", "error", err)
		return nil
	}
	if interval == 0 {
		return nil
	}
	w := sdnotify.NewWatchdog(interval, d.notify)
	members := make(map[*mailbox[func()]]*sdnotify.Member)
	idle := w.Join() // speaks for a daemon that has nothing to run
	if k := d.keeper; k != nil {
		m := w.Join()
		members[k.inbox] = m
		k.inbox.put(func() { k.alive = func() { m.Beat(time.Now()) } })
	}
	// A little more than the quarter within which a watchdog wants to hear nothing
	// again: so no question is in vain because the last answers took their time.
	ticker := time.NewTicker(interval * 3 / 10)
	defer ticker.Stop()
	for {
		now := time.Now()
		idle.Beat(now)
		asked := d.depended()
		for inbox, m := range members {
			if !slices.Contains(asked, inbox) {
				m.Leave(now)
				delete(members, inbox)
			}
		}
		for _, inbox := range asked {
			m := members[inbox]
			if m == nil {
				m = w.Join()
				members[inbox] = m
			}
			inbox.put(func() { m.Beat(time.Now()) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// depended returns the mailboxes of those whom virtual addresses depend on. A
// reload changes the loops.
func (d *Daemon) depended() []*mailbox[func()] {
	d.mu.RLock()
	defer d.mu.RUnlock()
	boxes := make([]*mailbox[func()], 0, len(d.loops)+2)
	for _, l := range d.loops {
		boxes = append(boxes, l.inbox)
	}
	if d.keeper != nil {
		boxes = append(boxes, d.keeper.inbox)
	}
	if d.garper != nil {
		boxes = append(boxes, d.garper.inbox)
	}
	return boxes
}
