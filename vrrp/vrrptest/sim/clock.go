package sim

import "time"

// epoch is when histories begin. Any time would do.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A clock is virtual time: it stands still while a function runs, and then jumps
// to when the next one is due. What is due at the same time runs in the order in
// which it was asked for.
type clock struct {
	now   time.Time
	seq   uint64
	queue []timer // a heap
}

type timer struct {
	at  int64 // nanoseconds after epoch
	seq uint64
	f   func()
}

func (t *timer) before(u *timer) bool { return t.at < u.at || t.at == u.at && t.seq < u.seq }

// Now returns the time.
func (c *clock) Now() time.Time { return c.now }

// AfterFunc calls f once d has passed.
func (c *clock) AfterFunc(d time.Duration, f func()) {
	c.seq++
	q := append(c.queue, timer{at: int64(c.now.Sub(epoch) + max(0, d)), seq: c.seq, f: f})
	for i := len(q) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q[i].before(&q[parent]) {
			break
		}
		q[i], q[parent] = q[parent], q[i]
		i = parent
	}
	c.queue = q
}

// step runs what is due next, if that is not after the end.
func (c *clock) step(end time.Time) bool {
	q := c.queue
	if len(q) == 0 || q[0].at > int64(end.Sub(epoch)) {
		return false
	}
	next := q[0]
	last := len(q) - 1
	q[0], q[last] = q[last], timer{}
	q = q[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && q[child+1].before(&q[child]) {
			child++
		}
		if !q[child].before(&q[i]) {
			break
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
	c.queue = q
	c.now = epoch.Add(time.Duration(next.at))
	next.f()
	return true
}
