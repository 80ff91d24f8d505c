package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A slowSink takes nothing while it is held.
type slowSink struct {
	mu   sync.Mutex
	b    bytes.Buffer
	gate chan struct{} // closed: it takes what comes
	err  error         // what Write returns, if not nil
}

func newSlowSink() *slowSink { return &slowSink{gate: make(chan struct{})} }

func (s *slowSink) Write(p []byte) (int, error) {
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	return s.b.Write(p)
}

func (s *slowSink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *slowSink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func reportLost(w io.Writer, lost uint64) { fmt.Fprintf(w, "lost %d\n", lost) }

func TestASlowSinkHoldsNobodyUpAndTheGapIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink()
		w := newWriter(sink, 30, reportLost)
		write := func(from, to int) {
			for i := from; i < to; i++ {
				if n, err := fmt.Fprintf(w, "record %02d\n", i); n != 10 || err != nil {
					t.Fatalf("Write returns %d, %v", n, err)
				}
			}
		}
		write(0, 1)
		synctest.Wait() // the first is on its way, and stuck
		write(1, 20)    // three fit the queue
		if got, want := w.Dropped(), uint64(16); got != want {
			t.Errorf("%d records were dropped, want %d", got, want)
		}
		if got := sink.String(); got != "" {
			t.Errorf("the sink has %q", got)
		}
		close(sink.gate)
		synctest.Wait()
		write(20, 21)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		want := "record 00\nrecord 01\nrecord 02\nrecord 03\nlost 16\nrecord 20\n"
		if got := sink.String(); got != want {
			t.Errorf("the sink has %q, want %q", got, want)
		}
	})
}

func TestARecordLargerThanTheQueueIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink()
		close(sink.gate)
		w := newWriter(sink, 30, reportLost)
		if _, err := w.Write(bytes.Repeat([]byte("x"), 31)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := sink.String(), "lost 1\n"; got != want {
			t.Errorf("the sink has %q, want %q", got, want)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRecordsThatASinkRefusedAreReportedWhenItRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink()
		close(sink.gate)
		w := newWriter(sink, 100, reportLost)
		sink.fail(errors.New("disk full"))
		for i := range 3 {
			fmt.Fprintf(w, "refused %d\n", i)
			synctest.Wait()
		}
		if got, want := w.Dropped(), uint64(3); got != want {
			t.Errorf("%d records were dropped, want %d", got, want)
		}
		sink.fail(nil)
		fmt.Fprintln(w, "taken")
		fmt.Fprintln(w, "taken too")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := sink.String(), "lost 3\ntaken\ntaken too\n"; got != want {
			t.Errorf("the sink has %q, want %q", got, want)
		}
	})
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	sink := newSlowSink()
	w := newWriter(sink, 1<<20, reportLost)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("record %d\n", i)
		want.WriteString(line)
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
	}
	close(sink.gate)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if sink.String() != want.String() {
		t.Errorf("the sink has %d octets, want the %d that were written", len(sink.String()), want.Len())
	}
	if _, err := io.WriteString(w, "late\n"); !errors.Is(err, errClosed) {
		t.Errorf("Write after Close returns %v, want %v", err, errClosed)
	}
	if err := w.Close(); err != nil {
		t.Errorf("a second Close returns %v", err)
	}
}

func TestCloseGivesUpOnASinkThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink()
		w := newWriter(sink, 100, reportLost)
		fmt.Fprintln(w, "stuck")
		start := time.Now()
		if err := w.Close(); err == nil {
			t.Error("Close returns no error")
		}
		if got := time.Since(start); got != closeTimeout {
			t.Errorf("Close took %s, want %s", got, closeTimeout)
		}
		close(sink.gate) // lets the goroutine end
	})
}

func TestCloseReturnsTheErrorOfTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink()
		boom := errors.New("boom")
		sink.fail(boom)
		w := newWriter(sink, 100, reportLost)
		fmt.Fprintln(w, "refused")
		close(sink.gate)
		if err := w.Close(); !errors.Is(err, boom) {
			t.Errorf("Close returns %v, want %v", err, boom)
		}
	})
}

func TestTheLineAboutLostRecordsHasTheLogsFormatAtAnyLevel(t *testing.T) {
	for format, want := range map[Format]string{
		Text:    "WARN   log records lost: the log was written faster than it could be taken records=1\n",
		Journal: "<4>log records lost: the log was written faster than it could be taken records=1\n",
		JSON:    `"level":"warn","msg":"log records lost: the log was written faster than it could be taken","records":1}` + "\n",
	} {
		var b bytes.Buffer
		logger, w := New(&b, format, slog.LevelError)
		logger.Error(strings.Repeat("x", queueSize+1))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %q, want %q at its end", format, got, want)
		}
	}
}

func TestManyMayWriteAtOnce(t *testing.T) {
	var b bytes.Buffer
	logger, w := New(&b, Text, slog.LevelInfo)
	var wg sync.WaitGroup
	const writers, records = 8, 200
	for i := range writers {
		l := logger.With("writer", i)
		wg.Go(func() {
			for range records {
				l.Info("record")
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(b.String(), " INFO   record writer="), writers*records; got != want || w.Dropped() != 0 {
		t.Errorf("%d whole records arrived and %d were dropped, want %d and none", got, w.Dropped(), want)
	}
}

func TestEachKindIsLoggedOnceUntilSomethingChanges(t *testing.T) {
	l := NewLimiter(0)
	for _, step := range []struct {
		key  string
		want bool
	}{
		{"VI_1/192.0.2.2/bad-checksum", true},
		{"VI_1/192.0.2.2/bad-checksum", false},
		{"VI_1/192.0.2.3/bad-checksum", true},
		{"VI_1/192.0.2.2/wrong-ttl", true},
		{"VI_2/192.0.2.2/bad-checksum", true},
		{"VI_2/192.0.2.2/bad-checksum", false},
	} {
		if got := l.Once(step.key); got != step.want {
			t.Errorf("Once(%q) is %t, want %t", step.key, got, step.want)
		}
	}
	if got, want := l.Suppressed(), uint64(2); got != want {
		t.Errorf("%d were suppressed, want %d", got, want)
	}
	l.Reset("VI_1/192.0.2.2/")
	for key, want := range map[string]bool{
		"VI_1/192.0.2.2/bad-checksum": true,
		"VI_1/192.0.2.2/wrong-ttl":    true,
		"VI_1/192.0.2.3/bad-checksum": false,
		"VI_2/192.0.2.2/bad-checksum": false,
	} {
		if got := l.Once(key); got != want {
			t.Errorf("after a reset of one peer Once(%q) is %t, want %t", key, got, want)
		}
	}
	l.Reset("")
	if !l.Once("VI_2/192.0.2.2/bad-checksum") {
		t.Error("after a reset of all a key is still known")
	}
}

func TestAFullLimiterRefusesNewKindsAndKnowsTheOld(t *testing.T) {
	l := NewLimiter(2)
	for i, want := range []bool{true, true, false, false} {
		if got := l.Full(); got != (i >= 2) {
			t.Errorf("after %d keys Full is %t", i, got)
		}
		if got := l.Once(fmt.Sprint(i)); got != want {
			t.Errorf("key %d: Once is %t, want %t", i, got, want)
		}
	}
	l.Reset("0")
	if !l.Once("3") || l.Once("1") {
		t.Error("a reset did not make room for exactly one key")
	}
}

func TestALimiterMayBeSharedByLoops(t *testing.T) {
	l := NewLimiter(0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	granted := 0
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				if l.Once(fmt.Sprint(i)) {
					mu.Lock()
					granted++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if granted != 100 {
		t.Errorf("%d of 100 keys were granted", granted)
	}
}
