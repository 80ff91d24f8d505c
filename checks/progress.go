package checks

import (
	"sync"
	"time"
)

// A Progress is what can be said of a Tracker that makes attempts before the
// present one has ended. A report says nothing of it.
type Progress struct {
	// RunningSince is when the attempt that is going on was begun, zero while
	// there is none. One that cannot be ended is going on.
	RunningSince time.Time
	// Skipped is the number of the Report, up to now.
	Skipped uint64
}

// A progress is a Progress that is asked for while it changes.
type progress struct {
	mu  sync.Mutex
	now Progress
}

// Progress returns how far the tracker is. It may be called at any time.
func (p *progress) Progress() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.RunningSince = time.Now()
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.RunningSince = time.Time{}
}

func (p *progress) skip(r *Report) {
	r.Skipped++
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Skipped = r.Skipped
}
