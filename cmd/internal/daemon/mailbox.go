package daemon

import "sync"

// A mailbox is an unbounded queue between two goroutines of which neither may
// ever wait for the other: protocol loops put work into those of the effectors,
// and effectors put results into those of the loops.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	signal chan struct{}
	passed func(T) // gets the items at once, unless nil
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{signal: make(chan struct{}, 1)}
}

// put appends an item. It never blocks.
func (m *mailbox[T]) put(item T) {
	m.mu.Lock()
	passed := m.passed
	if passed == nil {
		m.items = append(m.items, item)
	}
	m.mu.Unlock()
	if passed != nil {
		passed(item)
		return
	}
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take returns all items in order and leaves the mailbox empty. The caller
// hands back the slice of the previous take, so that its memory is used again.
func (m *mailbox[T]) take(spent []T) []T {
	clear(spent)
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = spent[:0]
	return items
}

// waiting receives after items were put. One signal may stand for many items,
// and may come for items that were taken already.
func (m *mailbox[T]) waiting() <-chan struct{} { return m.signal }

// pass has all items, those that wait first, given to f instead of being queued.
// f runs in the goroutine of who puts them. Nobody takes items any more.
func (m *mailbox[T]) pass(f func(T)) {
	m.mu.Lock()
	items := m.items
	m.items, m.passed = nil, f
	m.mu.Unlock()
	for _, item := range items {
		f(item)
	}
}
