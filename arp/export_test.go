package arp

import (
	"time"

	"golang.org/x/sys/unix"
)

// Pending returns how many blocks the schedule holds.
func (s *Schedule[K]) Pending() int { return len(s.blocks) }

// Received returns how many frames the socket was given by the kernel.
func (c *Conn) Received() (uint32, error) {
	stats, err := c.c.Stats()
	if err != nil {
		return 0, err
	}
	return stats.Packets + stats.Drops, nil
}

// Kept returns how many frames the filters of the Listener have let pass since
// it was last asked.
func (l *Listener) Kept() (arps, nas uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range []struct {
		fd int
		n  *uint32
	}{{l.arp, &arps}, {l.na, &nas}} {
		if stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			*s.n = stats.Packets + stats.Drops
		}
	}
	return arps, nas
}

// What the tests compare with something else.
var (
	ParseClaim = parseClaim
	ARPFilter  = arpFilter
	NAFilter   = naFilter
)

// MaxExact is how many addresses of a family the filter compares.
const MaxExact = maxExact

// ReceivedAt is receivedAt with the readings of both clocks apart.
func ReceivedAt(empty, emptyWall, now, nowWall, stamp time.Time) time.Time {
	return receivedAt(moment{empty, emptyWall}, moment{now, nowWall}, stamp)
}
