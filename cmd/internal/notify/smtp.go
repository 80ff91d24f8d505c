package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

const (
	defaultSMTPPort    = 25
	defaultSMTPTimeout = 30 * time.Second // keepalived: smtp_connect_timeout
)

// SMTP is a Mailer that hands mail to one server, unencrypted and without a
// login, as keepalived does. The server's name is looked up with each message.
type SMTP struct {
	From   string   // an address, or a name with the address in angle brackets
	To     []string // of the same kind; at least one
	Server string   // host or address
	Port   int      // 0: 25
	Helo   string   // how we call ourselves; empty: the host name
	// Timeout bounds connecting, and each part of the conversation after it;
	// 0: 30 s.
	Timeout time.Duration
}

var _ Mailer = (*SMTP)(nil)

// Send implements Mailer. It is ErrRefused if the server would not have the
// message for one of the recipients; the others get it all the same.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	port := s.Port
	if port == 0 {
		port = defaultSMTPPort
	}
	server := net.JoinHostPort(s.Server, strconv.Itoa(port))
	if err := s.send(ctx, server, m); err != nil {
		return fmt.Errorf("notify: mail to %s: %w", server, err)
	}
	return nil
}

func (s *SMTP) send(ctx context.Context, server string, m Message) error {
	msg, from, to, err := s.message(m)
	if err != nil {
		return err
	}
	timeout := s.Timeout
	if timeout <= 0 {
		timeout = defaultSMTPTimeout
	}
	// The library bounds the conversation by time only, and leaves a
	// connection open that came to nothing.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dial := func(dialing context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialing, network, server)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	client, err := mail.NewClient(s.Server, mail.WithTimeout(timeout), mail.WithHELO(s.helo()),
		mail.WithTLSPolicy(mail.NoTLS), mail.WithDialContextFunc(dial), mail.WithoutSMTPUTF8())
	if err != nil {
		return err
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return err
	}
	// The library's own way to send a message does not know of recipients
	// without a domain.
	if err := conn.UpdateDeadline(timeout); err != nil {
		return err
	}
	if err := conn.Mail("<" + from + ">"); err != nil {
		return refusal(err)
	}
	var failed error
	taken := 0
	for _, address := range to {
		if err := conn.Rcpt("<" + address + ">"); err != nil {
			failed = errors.Join(failed, fmt.Errorf("<%s>: %w", address, refusal(err)))
			continue
		}
		taken++
	}
	if taken == 0 {
		return failed
	}
	if err := conn.UpdateDeadline(timeout); err != nil {
		return err
	}
	body, err := conn.Data()
	if err != nil {
		return refusal(err)
	}
	if _, err := msg.WriteTo(body); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return refusal(err)
	}
	// The server has it: what goes wrong from here on is none of ours.
	_ = conn.Quit()
	if failed != nil {
		// Another attempt would send it twice to the others.
		return fmt.Errorf("%w: %w", ErrRefused, failed)
	}
	return nil
}

// refusal returns err as ErrRefused too if it is a permanent answer of the
// server (RFC 5321 §4.2.1).
func refusal(err error) error {
	if answer, ok := errors.AsType[*textproto.Error](err); ok && answer.Code >= 500 {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// helo returns the name we introduce ourselves by.
func (s *SMTP) helo() string {
	if s.Helo != "" {
		return s.Helo
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// message returns m for the library, and the envelope.
func (s *SMTP) message(m Message) (msg *mail.Msg, from string, to []string, err error) {
	// Only quoted-printable is encoded by the library as it is named; "8bit" is
	// the name of what is left as it is, and true of ASCII.
	charset, encoding := mail.CharsetASCII, mail.NoEncoding
	if !ascii(m.Subject + m.Body) {
		charset, encoding = mail.CharsetUTF8, mail.EncodingQP
	}
	msg = mail.NewMsg(mail.WithCharset(charset), mail.WithNoDefaultUserAgent())

	// Addresses may be without a domain, which the server adds. The library
	// would write those as "<root@>".
	header, from, err := parseAddress(s.From)
	if err != nil {
		return nil, "", nil, err
	}
	msg.SetGenHeaderPreformatted("From", header)
	headers := make([]string, len(s.To))
	to = make([]string, len(s.To))
	for i, text := range s.To {
		if headers[i], to[i], err = parseAddress(text); err != nil {
			return nil, "", nil, err
		}
	}
	msg.SetGenHeaderPreformatted("To", strings.Join(headers, ",\r\n "))
	msg.SetGenHeader(mail.HeaderXMailer, "vipd")
	msg.SetDate()
	msg.Subject(m.Subject)
	msg.SetBodyString(mail.TypeTextPlain, m.Body+"\r\n", mail.WithPartEncoding(encoding))
	return msg, from, to, nil
}

// ascii reports whether s needs no encoding.
func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// parseAddress reads an address as keepalived does: everything before a last
// part in angle brackets is a name, which needs no quotes. It returns what to
// write into the header, and the bare address.
func parseAddress(text string) (header, address string, err error) {
	text = strings.TrimSpace(text)
	name, address := "", text
	if before, ok := strings.CutSuffix(text, ">"); ok {
		if i := strings.LastIndexByte(before, '<'); i >= 0 {
			name, address = strings.Trim(before[:i], " \t\""), before[i+1:]
		}
	}
	if address == "" || !ascii(address) || strings.ContainsAny(address, " \t<>,;\"") ||
		strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", "", fmt.Errorf("invalid address %q", text)
	}
	if name == "" {
		return address, address, nil
	}
	// The library of Go's own quotes or encodes the name.
	quoted, _ := strings.CutSuffix((&netmail.Address{Name: name, Address: "@"}).String(), "<@>")
	return quoted + "<" + address + ">", address, nil
}
