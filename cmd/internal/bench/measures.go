package main

import "time"

// measures returns all measures in the order in which they run.
func measures() []measure {
	return []measure{
		takeover("takeover-1s", time.Second, 1),
		takeover("takeover-100ms", 100*time.Millisecond, 3),
		takeover("takeover-10ms", 10*time.Millisecond, 6),
		plannedStop("stop-1s", time.Second, 1),
		plannedStop("stop-100ms", 100*time.Millisecond, 1),
		plannedStop("stop-10ms", 10*time.Millisecond, 1),
		punctual("adverts-100ms", 100*time.Millisecond, false, 0),
		punctual("adverts-10ms", 10*time.Millisecond, false, 0),
		punctual("adverts-100ms-busy", 100*time.Millisecond, true, 0),
		punctual("adverts-10ms-busy", 10*time.Millisecond, true, 0),
		punctual("adverts-10ms-busy-rt", 10*time.Millisecond, true, 50),
		addresses(20, atMost(1)),
		addresses(1000, atMost(1)),
		addresses(5000, atMost(1)),
		timeline(),
		massFailover(1000, 20),
		massStart(1000),
		reload(1000),
		cost(1, nil, []goal{atMost(16)}),
		cost(100, nil, nil),
		scripts(200),
		cost(1000, []goal{atMostTimes(1.5, 0)}, []goal{atMost(32)}),
	}
}
