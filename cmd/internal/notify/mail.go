package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxMail is how many messages wait for the server: one for each instance
	// of a large host when all change at once.
	maxMail = 4096
	// lastMail is for how long Close waits for mail.
	lastMail = 2 * time.Second
)

// retryDelays are the times between the attempts to send a message. keepalived
// makes one attempt.
func retryDelays() []time.Duration {
	return []time.Duration{2 * time.Second, 10 * time.Second, time.Minute}
}

// A Message is a mail. Who sends and gets it is the Mailer's.
type Message struct {
	Subject, Body string
}

// A Mailer sends mail.
type Mailer interface {
	// Send sends one message. An error that is ErrRefused is not worth another
	// attempt.
	Send(ctx context.Context, m Message) error
}

// ErrRefused is the error of a message that the server will never take.
var ErrRefused = errors.New("refused by the server")

// NewMessage returns the mail that keepalived sends when an instance or a group
// enters a state, nil if it sends none.
func NewMessage(routerID string, group bool, name, state string) *Message {
	var subject, body string
	switch {
	case state == "STOP":
		subject = "Stopping"
	case state == "DELETED" && !group:
		subject = "Deleted"
	case state == "MASTER" || state == "BACKUP" || state == "FAULT":
		subject = "Entering " + state + " state"
	default:
		return nil
	}
	kind := "Instance"
	if group {
		kind = "Group"
		switch state {
		case "STOP":
			body = "=> All VRRP group instances are now stopping <="
		default:
			body = "=> All VRRP group instances are now in " + state + " state <="
		}
	} else {
		switch state {
		case "MASTER":
			body = "=> VRRP Instance is now owning VRRP VIPs <="
		case "BACKUP", "FAULT":
			body = "=> VRRP Instance is no longer owning VRRP VIPs <="
		case "STOP":
			body = "=> VRRP Instance stopping <="
		case "DELETED":
			body = "=> VRRP Deleted at reload <="
		}
	}
	return &Message{Subject: fmt.Sprintf("[%s] VRRP %s %s - %s", routerID, kind, name, subject), Body: body}
}

// A MailStatus says how sending mail is doing.
type MailStatus struct {
	Waiting int    // messages
	Sent    uint64 // messages
	Lost    uint64 // messages
	Error   string // of the last attempt; empty: it succeeded
}

// Mail returns how sending mail is doing, and whether any is to be sent at all.
func (n *Notifier) Mail() (MailStatus, bool) {
	if n.outbox == nil {
		return MailStatus{}, false
	}
	return n.outbox.status(), true
}

// An outbox sends messages one after the other. It has a goroutine while there
// are some.
type outbox struct {
	mailer  Mailer
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	closing chan struct{} // closed when there is no time for another attempt

	mu      sync.Mutex
	waiting []Message
	sending bool          // send runs
	done    chan struct{} // closed when send has ended
	full    bool          // messages were dropped since all had been sent
	failing error         // of the last attempt
	sent    uint64
	lost    uint64
}

func newOutbox(m Mailer, log *slog.Logger) *outbox {
	o := &outbox{mailer: m, log: log, closing: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

func (o *outbox) status() MailStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := MailStatus{Waiting: len(o.waiting), Sent: o.sent, Lost: o.lost}
	if o.failing != nil {
		s.Error = o.failing.Error()
	}
	return s
}

// push has a message sent. It does not block. When too many wait, the oldest is
// dropped: what is new is worth more.
func (o *outbox) push(m Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) >= maxMail {
		o.waiting = o.waiting[1:]
		o.lost++
		if !o.full {
			o.full = true
			o.log.Error("too much mail waits to be sent; dropping the oldest", "waiting", maxMail)
		}
	}
	o.waiting = append(o.waiting, m)
	if !o.sending {
		o.sending, o.done = true, make(chan struct{})
		go o.send()
	}
}

// send sends what waits.
func (o *outbox) send() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) > 0 && o.ctx.Err() == nil {
		m := o.waiting[0]
		o.waiting = o.waiting[1:]
		o.mu.Unlock()
		ok := o.try(m)
		o.mu.Lock()
		if ok {
			o.sent++
		} else {
			o.lost++
		}
	}
	o.lost += uint64(len(o.waiting))
	o.waiting = nil
	o.full, o.sending = false, false
	close(o.done)
}

// try sends one message, in several attempts if need be, and reports whether it
// was sent.
func (o *outbox) try(m Message) bool {
	for _, delay := range append(retryDelays(), 0) {
		err := o.mailer.Send(o.ctx, m)
		o.result(m, err)
		if err == nil {
			return true
		}
		if delay == 0 || errors.Is(err, ErrRefused) {
			break
		}
		select {
		case <-o.closing:
			return false
		default:
		}
		select {
		case <-o.closing:
			// One more time, as it will not be better later.
			err := o.mailer.Send(o.ctx, m)
			o.result(m, err)
			return err == nil
		case <-time.After(delay):
		}
	}
	return false
}

// result logs the first of several failures, and their end.
func (o *outbox) result(m Message, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil && o.failing != nil:
		o.log.Info("mail is sent again", "lost", o.lost)
	case err != nil && o.failing == nil:
		o.log.Warn("cannot send mail; until it succeeds, this is said once", "subject", m.Subject, "error", err)
	case err != nil:
		o.log.Debug("cannot send mail", "subject", m.Subject, "error", err)
	}
	o.failing = err
}

// close waits for what is left to be sent, each in one attempt and not for
// long.
func (o *outbox) close(ctx context.Context) {
	close(o.closing)
	defer o.cancel()
	o.mu.Lock()
	sending, done := o.sending, o.done
	o.mu.Unlock()
	if !sending {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastMail)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		o.cancel()
		<-done
		if s := o.status(); s.Lost > 0 {
			o.log.Warn("mail is lost: there was no time left to send it", "lost", s.Lost, "error", s.Error)
		}
	}
}
