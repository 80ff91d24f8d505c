package arp

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
