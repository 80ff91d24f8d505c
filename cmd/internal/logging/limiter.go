package logging

import (
	"strings"
	"sync"
)

// DefaultLimit is how many keys a Limiter keeps if it is given no other number.
const DefaultLimit = 1024

// A Limiter lets each kind of message through once, until something changes:
// the ten-thousandth packet with a wrong checksum says nothing that the first
// did not. It is safe for concurrent use.
//
// It keeps a bounded number of keys, and refuses new ones when it is full: an
// attacker who makes up sources must neither fill the memory nor the log.
type Limiter struct {
	limit int

	mu         sync.Mutex
	seen       map[string]struct{}
	suppressed uint64
}

// NewLimiter returns a Limiter that keeps at most limit keys; 0 stands for
// DefaultLimit.
func NewLimiter(limit int) *Limiter {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Limiter{limit: limit, seen: make(map[string]struct{})}
}

// Once reports whether key is new since the last Reset that covered it. Keys
// are paths, the coarse part first, as in "VI_1/192.0.2.2/bad-checksum".
func (l *Limiter) Once(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, seen := l.seen[key]
	if seen || len(l.seen) >= l.limit {
		l.suppressed++
		return false
	}
	l.seen[key] = struct{}{}
	return true
}

// Reset forgets the keys that begin with prefix; each is new again. The empty
// prefix forgets all.
func (l *Limiter) Reset(prefix string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.seen {
		if strings.HasPrefix(key, prefix) {
			delete(l.seen, key)
		}
	}
}

// Suppressed returns how often Once has answered no.
func (l *Limiter) Suppressed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.suppressed
}

// Full reports whether new keys are refused, so that this can be said once.
func (l *Limiter) Full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen) >= l.limit
}
