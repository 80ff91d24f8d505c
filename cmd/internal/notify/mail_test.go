package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A fakeMailer takes mail whenever it is not broken.
type fakeMailer struct {
	takes time.Duration // per attempt

	mu       sync.Mutex
	broken   error
	attempts int
	sent     []string
}

// Send implements Mailer.
func (f *fakeMailer) Send(ctx context.Context, m Message) error {
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts++
	if f.broken != nil {
		return f.broken
	}
	f.sent = append(f.sent, m.Subject)
	return nil
}

func (f *fakeMailer) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func (f *fakeMailer) result() (attempts int, sent []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.attempts, slices.Clone(f.sent)
}

func mails(t *testing.T, m *fakeMailer, test func(t *testing.T, n *Notifier, log *logBuffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		logger, buf := newLog(t)
		test(t, newNotifier(Config{Log: logger, Mailer: m}, newFakeRunner()), buf)
	})
}

// mailAbout returns an event with nothing but a mail.
func mailAbout(s string) Event {
	return Event{Name: "VI_1", State: s, Mail: &Message{Subject: s}}
}

func TestMailIsSentInOrderAndOncePerState(t *testing.T) {
	m := &fakeMailer{takes: time.Second}
	mails(t, m, func(t *testing.T, n *Notifier, _ *logBuffer) {
		for _, s := range []string{"BACKUP", "MASTER", "MASTER", "FAULT", "FAULT", "MASTER"} {
			n.Notify(mailAbout(s))
		}
		time.Sleep(time.Minute)
		if _, got := m.result(); !slices.Equal(got, []string{"BACKUP", "MASTER", "FAULT", "MASTER"}) {
			t.Errorf("sent: %q", got)
		}
		if s, ok := n.Mail(); !ok || s.Sent != 4 || s.Waiting != 0 || s.Lost != 0 || s.Error != "" {
			t.Errorf("status: %+v, %v", s, ok)
		}
	})
}

func TestAFailureToSendIsRetriedAndLoggedOnceUntilItIsOver(t *testing.T) {
	m := &fakeMailer{broken: errors.New("connection refused")}
	mails(t, m, func(t *testing.T, n *Notifier, log *logBuffer) {
		n.Notify(mailAbout("BACKUP"))
		n.Notify(mailAbout("MASTER"))
		time.Sleep(5 * time.Minute)
		if attempts, sent := m.result(); attempts != 8 || sent != nil {
			t.Errorf("%d attempts, %q sent; want 4 attempts for each of two", attempts, sent)
		}
		if s, _ := n.Mail(); s.Lost != 2 || s.Error != "connection refused" {
			t.Errorf("status: %+v", s)
		}
		if got := log.count("level=WARN", "cannot send mail"); got != 1 {
			t.Errorf("%d warnings, want 1", got)
		}
		n.Notify(mailAbout("FAULT"))
		time.Sleep(5 * time.Second)
		m.set(nil)
		time.Sleep(time.Minute)
		if _, sent := m.result(); !slices.Equal(sent, []string{"FAULT"}) {
			t.Errorf("sent: %q", sent)
		}
		if got := log.count("mail is sent again"); got != 1 {
			t.Errorf("%d lines about the end of the failure, want 1", got)
		}
	})
}

func TestMailThatTheServerRefusesIsNotSentAgain(t *testing.T) {
	m := &fakeMailer{broken: fmt.Errorf("no such user: %w", ErrRefused)}
	mails(t, m, func(t *testing.T, n *Notifier, _ *logBuffer) {
		n.Notify(mailAbout("BACKUP"))
		time.Sleep(5 * time.Minute)
		if attempts, _ := m.result(); attempts != 1 {
			t.Errorf("%d attempts, want 1", attempts)
		}
	})
}

func TestOfTooMuchMailTheOldestIsDropped(t *testing.T) {
	m := &fakeMailer{takes: time.Second}
	mails(t, m, func(t *testing.T, n *Notifier, log *logBuffer) {
		n.Notify(mailAbout("first"))
		synctest.Wait()
		for i := range maxMail + 10 {
			n.Notify(mailAbout(fmt.Sprint(i)))
		}
		time.Sleep(2 * time.Hour)
		_, sent := m.result()
		if len(sent) != maxMail+1 || sent[1] != "10" || sent[maxMail] != fmt.Sprint(maxMail+9) {
			t.Errorf("%d sent, from %q to %q", len(sent), sent[1], sent[len(sent)-1])
		}
		if got := log.count("too much mail"); got != 1 {
			t.Errorf("%d lines about it, want 1", got)
		}
	})
}

func TestCloseSendsWhatIsLeftInOneAttempt(t *testing.T) {
	m := &fakeMailer{broken: errors.New("connection refused")}
	mails(t, m, func(t *testing.T, n *Notifier, _ *logBuffer) {
		n.Notify(mailAbout("BACKUP"))
		time.Sleep(20 * time.Second) // in the middle of the longest delay
		n.Notify(mailAbout("STOP"))
		m.set(nil)
		start := time.Now()
		n.Close(t.Context())
		if _, sent := m.result(); !slices.Equal(sent, []string{"BACKUP", "STOP"}) {
			t.Errorf("sent: %q", sent)
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("Close took %v", got)
		}
	})
}

func TestCloseDoesNotWaitLongForAMailServer(t *testing.T) {
	m := &fakeMailer{takes: time.Hour}
	mails(t, m, func(t *testing.T, n *Notifier, log *logBuffer) {
		n.Notify(mailAbout("STOP"))
		n.Notify(mailAbout("other"))
		start := time.Now()
		n.Close(t.Context())
		if got := time.Since(start); got != lastMail {
			t.Errorf("Close took %v", got)
		}
		if got := log.count("mail is lost", "lost=2"); got != 1 {
			t.Errorf("%d lines about lost mail, want 1", got)
		}
	})
}
