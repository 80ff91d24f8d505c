package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// queueSize bounds what waits for a slow sink, in octets: some thousand
// records.
const queueSize = 512 << 10

// closeTimeout is how long Close waits for a sink that does not take what is
// left. The daemon has to end even if nobody reads its log.
const closeTimeout = 2 * time.Second

// A Writer hands what is written to it to another writer, from a goroutine of
// its own. Write never waits for that: when the queue is full, records are
// dropped and counted, and one line says how many when the sink takes records
// again.
//
// Each Write is one record. A Writer is safe for concurrent use.
type Writer struct {
	w     io.Writer
	limit int
	// report writes the line about lost records.
	report func(w io.Writer, lost uint64)
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	wake    *sync.Cond
	queue   []byte // whole records
	records uint64 // in queue
	lost    uint64 // not yet reported
	dropped uint64 // in all
	closed  bool
	err     error // of the last write to w
}

func newWriter(w io.Writer, limit int, report func(io.Writer, uint64)) *Writer {
	q := &Writer{w: w, limit: limit, report: report, done: make(chan struct{})}
	q.wake = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Write queues one record. Its error is always nil but for a closed Writer.
func (q *Writer) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return 0, fmt.Errorf("logging: %w", errClosed)
	case q.lost > 0, len(q.queue)+len(p) > q.limit:
		// Once one is lost, so is all that follows until the queue has been
		// taken: the line that reports it stands where the gap is.
		q.lost++
		q.dropped++
	default:
		q.queue = append(q.queue, p...)
		q.records++
	}
	q.wake.Signal()
	return len(p), nil
}

var errClosed = errors.New("the log is closed")

// Dropped returns how many records have been lost so far.
func (q *Writer) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// run writes what is queued, in batches, until the Writer is closed and empty.
func (q *Writer) run() {
	defer close(q.done)
	var batch []byte
	var failed uint64 // records in batches that the sink refused
	for {
		q.mu.Lock()
		for len(q.queue) == 0 && q.lost == 0 && !q.closed {
			q.wake.Wait()
		}
		if len(q.queue) == 0 && q.lost == 0 {
			q.mu.Unlock()
			return
		}
		batch = append(q.reported(batch[:0], failed), q.queue...)
		batch = q.reported(batch, q.lost)
		records, lost := q.records, q.lost
		q.queue, q.records, q.lost = q.queue[:0], 0, 0
		q.mu.Unlock()

		n, err := q.w.Write(batch)
		if err == nil && n < len(batch) {
			err = io.ErrShortWrite
		}

		q.mu.Lock()
		q.err = err
		if err == nil {
			failed = 0
		} else {
			// Part of it may have been written. Better to report too many
			// than to hide one. The sink is tried again with the next
			// record.
			failed += records + lost
			q.dropped += records
		}
		q.mu.Unlock()
	}
}

// reported appends the line about lost records, if there are any.
func (q *Writer) reported(b []byte, lost uint64) []byte {
	if lost == 0 {
		return b
	}
	var line bytes.Buffer
	q.report(&line, lost)
	return append(b, line.Bytes()...)
}

// Close writes what is queued and ends the Writer. It gives up on a sink that
// does not take it within two seconds. It does not close the sink.
func (q *Writer) Close() error {
	q.mu.Lock()
	q.closed = true
	q.wake.Broadcast()
	q.mu.Unlock()
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-q.done:
	case <-t.C:
		return fmt.Errorf("logging: the log was not taken within %s: its last records are lost", closeTimeout)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return fmt.Errorf("logging: writing the log: %w", q.err)
	}
	return nil
}
