package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vipd/netif/netiftest"
)

// A received is one message as a server has got it.
type received struct {
	helo, from string
	to         []string
	data       string // without the dots that were added for the way
}

// parse returns the header and the body.
func (r received) parse(t *testing.T) (mail.Header, string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(r.data))
	if err != nil {
		t.Fatalf("%v in %q", err, r.data)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	return m.Header, string(body)
}

// A sink is a mail server that keeps everything.
type sink struct {
	listener net.Listener
	port     int
	// refuse is a recipient that is answered with code.
	refuse string
	code   int
	// mute has it say nothing at all.
	mute bool

	mu       sync.Mutex
	received []received
}

// newSink starts a server on address, which is in a namespace.
func newSink(t *testing.T, node *netiftest.Node, address string) *sink {
	t.Helper()
	return new(sink).start(t, node, address)
}

func (s *sink) start(t *testing.T, node *netiftest.Node, address string) *sink {
	t.Helper()
	err := node.Do(func() (err error) {
		s.listener, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.port = s.listener.Addr().(*net.TCPAddr).Port
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = s.listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(conn) })
		}
	})
	return s
}

// serve has one conversation (RFC 5321 §4.1).
func (s *sink) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	say := func(line string) { _, _ = io.WriteString(conn, line+"\r\n") }
	if s.mute {
		_, _ = io.Copy(io.Discard, in)
		return
	}
	say("220 sink ESMTP")
	var r received
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			r.helo = rest
			say("250-sink")
			say("250-STARTTLS") // offered, and to be left alone
			say("250 8BITMIME")
		case "HELO":
			r.helo = rest
			say("250 sink")
		case "MAIL":
			r.from, _, _ = strings.Cut(strings.TrimPrefix(rest, "FROM:"), " ")
			say("250 ok")
		case "RCPT":
			to := strings.TrimPrefix(rest, "TO:")
			if s.code != 0 && to == s.refuse {
				say(fmt.Sprintf("%d not here", s.code))
				break
			}
			r.to = append(r.to, to)
			say("250 ok")
		case "DATA":
			say("354 go on")
			var data strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				data.WriteString(strings.TrimPrefix(line, "."))
			}
			r.data = data.String()
			s.mu.Lock()
			s.received = append(s.received, r)
			s.mu.Unlock()
			say("250 ok")
		case "RSET", "NOOP":
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

// all returns what has come.
func (s *sink) all() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

// An inside is a Mailer that sends from inside a namespace.
type inside struct {
	node *netiftest.Node
	Mailer
}

// Send implements Mailer.
func (i inside) Send(ctx context.Context, m Message) error {
	return i.node.Do(func() error { return i.Mailer.Send(ctx, m) })
}

// host returns a namespace.
func host(t *testing.T) *netiftest.Node {
	t.Helper()
	n, err := netiftest.Start(t).Node("host")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMailArrivesAsItWasMeant(t *testing.T) {
	node := host(t)
	for _, tt := range []struct {
		name    string
		address string
		mailer  SMTP
		message Message
		from    string   // in the envelope
		to      []string // in the envelope
		header  map[string]string
	}{
		{
			name:    "to several recipients over IPv4",
			address: "127.0.0.1",
			mailer:  SMTP{From: "vipd@example.com", To: []string{"a@example.com", "Some One <b@example.com>"}, Helo: "router.example.com"},
			message: *NewMessage("r1", false, "VI_1", "MASTER"),
			from:    "<vipd@example.com>",
			to:      []string{"<a@example.com>", "<b@example.com>"},
			header: map[string]string{
				"Subject": "[r1] VRRP Instance VI_1 - Entering MASTER state",
				"From":    "vipd@example.com",
				"To":      `a@example.com, "Some One" <b@example.com>`,
			},
		},
		{
			name:    "over IPv6, to a user of the server's",
			address: "::1",
			mailer:  SMTP{From: "The Router <root>", To: []string{"root"}, Helo: "router"},
			message: Message{Subject: "a subject that is so long that it needs more than one line, which must not change it in any way", Body: "text\r\n.\r\nmore"},
			from:    "<root>",
			to:      []string{"<root>"},
			header: map[string]string{
				"Subject": "a subject that is so long that it needs more than one line, which must not change it in any way",
				"From":    `"The Router" <root>`,
				"To":      "root",
			},
		},
		{
			name:    "with a name that is not ASCII",
			address: "127.0.0.1",
			mailer:  SMTP{From: "Zürich <vipd@example.com>", To: []string{"a@example.com"}, Helo: "router"},
			message: Message{Subject: "[Zürich] VRRP", Body: "text"},
			from:    "<vipd@example.com>",
			to:      []string{"<a@example.com>"},
			header:  map[string]string{"Subject": "[Zürich] VRRP", "From": "Zürich <vipd@example.com>"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink(t, node, tt.address)
			tt.mailer.Server, tt.mailer.Port = tt.address, s.port
			if err := (inside{node, &tt.mailer}).Send(t.Context(), tt.message); err != nil {
				t.Fatal(err)
			}
			all := s.all()
			if len(all) != 1 {
				t.Fatalf("%d messages have come", len(all))
			}
			r := all[0]
			if r.helo != tt.mailer.Helo || r.from != tt.from || !slices.Equal(r.to, tt.to) {
				t.Errorf("envelope: %q %q %q", r.helo, r.from, r.to)
			}
			header, body := r.parse(t)
			if body != tt.message.Body+"\r\n" {
				t.Errorf("body %q, want %q", body, tt.message.Body)
			}
			for name, want := range tt.header {
				got, err := new(mime.WordDecoder).DecodeHeader(header.Get(name))
				if err != nil || got != want {
					t.Errorf("%s: %q (%v), want %q", name, got, err, want)
				}
			}
			if at, err := header.Date(); err != nil || time.Since(at) > time.Hour {
				t.Errorf("date %v, %v", at, err)
			}
		})
	}
}

func TestMailThatCannotBeSentSaysWhy(t *testing.T) {
	node := host(t)
	send := func(t *testing.T, s *sink, change func(*SMTP)) error {
		t.Helper()
		mailer := &SMTP{From: "a@example.com", To: []string{"b@example.com"}, Server: "127.0.0.1", Port: s.port, Timeout: 300 * time.Millisecond}
		if change != nil {
			change(mailer)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return inside{node, mailer}.Send(ctx, Message{Subject: "s", Body: "b"})
	}

	s := (&sink{refuse: "<b@example.com>", code: 550}).start(t, node, "127.0.0.1")
	if err := send(t, s, nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not here") {
		t.Errorf("a recipient that does not exist: %v", err)
	}
	s = (&sink{refuse: "<b@example.com>", code: 451}).start(t, node, "127.0.0.1")
	if err := send(t, s, nil); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("a recipient that may exist later: %v", err)
	}
	s = (&sink{refuse: "<c@example.com>", code: 451}).start(t, node, "127.0.0.1")
	err := send(t, s, func(m *SMTP) { m.To = append(m.To, "c@example.com") })
	if !errors.Is(err, ErrRefused) || len(s.all()) != 1 || !slices.Equal(s.all()[0].to, []string{"<b@example.com>"}) {
		t.Errorf("one recipient of two: %v, %v", err, s.all())
	}
	s = (&sink{mute: true}).start(t, node, "127.0.0.1")
	if err := send(t, s, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a server that says nothing: %v", err)
	}
	s = newSink(t, node, "127.0.0.1")
	_ = s.listener.Close()
	if err := send(t, s, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("127.0.0.1:%d", s.port)) {
		t.Errorf("no server: %v", err)
	}
	for _, address := range []string{"", "a b@example.com", "a@example.com\r\nBcc: c@example.com", "<>"} {
		if err := send(t, s, func(m *SMTP) { m.To = []string{address} }); err == nil || !strings.Contains(err.Error(), "invalid address") {
			t.Errorf("to %q: %v", address, err)
		}
	}
}

func TestSendingMailEndsWithItsContext(t *testing.T) {
	node := host(t)
	s := (&sink{mute: true}).start(t, node, "127.0.0.1")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	mailer := &SMTP{From: "a@example.com", To: []string{"b@example.com"}, Server: "127.0.0.1", Port: s.port}
	if err := (inside{node, mailer}).Send(ctx, Message{Subject: "s"}); err == nil {
		t.Error("it was sent")
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestMailAndLinesAreThoseOfKeepalived has a keepalived go through all states,
// and compares what it tells with what the same events make of us.
func TestMailAndLinesAreThoseOfKeepalived(t *testing.T) {
	program := netiftest.RequireProgram(t, "keepalived")
	lab := netiftest.Start(t)
	node, err := lab.Node("router")
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := lab.Bridge("lan")
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Connect(node, "eth0", bridge, netiftest.Port{Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}); err != nil {
		t.Fatal(err)
	}
	theirs, ours := newSink(t, node, "127.0.0.1"), newSink(t, node, "127.0.0.1")
	dir := t.TempDir()
	pipe := filepath.Join(dir, "fifo")
	file := write(t, filepath.Join(dir, "keepalived.conf"), fmt.Sprintf(`
global_defs {
	router_id router-1
	notification_email {
		a@example.com
		b@example.com
	}
	notification_email_from vipd@example.com
	smtp_server 127.0.0.1 %d
	smtp_helo_name router-1
	smtp_connect_timeout 10
	smtp_alert
	vrrp_notify_fifo %s
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 51
	priority 100
	advert_int 0.1
	version 3
	virtual_ipaddress {
		192.0.2.51/24
	}
}
vrrp_instance VI_2 {
	interface eth0
	virtual_router_id 52
	priority 100
	advert_int 0.1
	version 3
	virtual_ipaddress {
		192.0.2.52/24
	}
}
vrrp_sync_group SG_1 {
	group {
		VI_2
	}
	smtp_alert
}
`, theirs.port, pipe), 0o600)
	cmd := node.Command(t.Context(), program, "--dont-fork", "--log-console", "--log-detail", "--no-syslog", "--vrrp", "--use-file", file,
		"--pid", filepath.Join(dir, "pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"), "--checkers_pid", filepath.Join(dir, "checkers.pid"))
	var output logBuffer
	cmd.Stdout, cmd.Stderr = &output, &output
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("keepalived:\n%s", &output)
		}
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "keepalived has made its pipe", func() bool { _, err := os.Stat(pipe); return err == nil })
	info, err := os.Stat(pipe)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("keepalived's pipe has mode %v", got)
	}
	in := read(t, pipe)

	// What each object goes through, in this order.
	subjects := func() (all []string) {
		for _, r := range theirs.all() {
			header, _ := r.parse(t)
			all = append(all, header.Get("Subject"))
		}
		slices.Sort(all)
		return all
	}
	told := 0
	wait := func(state string, mails int) {
		t.Helper()
		told += mails
		eventually(t, fmt.Sprintf("keepalived has told of %s, in %d mails", state, told), func() bool { return len(subjects()) >= told })
	}
	wait("BACKUP and MASTER", 6)
	if err := lab.Cut(node, "eth0"); err != nil {
		t.Fatal(err)
	}
	wait("FAULT", 3)
	cmd.Stop()
	// keepalived does not always live to see its last mails go.
	got := subjects()
	t.Logf("keepalived's mails:\n%s", strings.Join(got, "\n"))

	var lines []string
	for range 12 {
		lines = append(lines, in.line(t))
	}
	logger, _ := newLog(t)
	mailer := &SMTP{From: "vipd@example.com", To: []string{"a@example.com", "b@example.com"}, Server: "127.0.0.1", Port: ours.port, Helo: "router-1"}
	ourPipe := filepath.Join(dir, "ours")
	n := newNotifier(Config{Log: logger, Mailer: inside{node, mailer}, FIFOs: []FIFO{own(ourPipe)}}, newFakeRunner())
	ourIn := read(t, ourPipe)
	// The lines say what has happened.
	var events []Event
	for _, line := range lines {
		var kind, name, state string
		var priority int
		if _, err := fmt.Sscanf(line, "%s %q %s %d\n", &kind, &name, &state, &priority); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		e := Event{Group: kind == "GROUP", Name: name, State: state, Priority: priority}
		e.Mail = NewMessage("router-1", e.Group, name, state)
		events = append(events, e)
	}
	for i, e := range events {
		n.Notify(e)
		if got := ourIn.line(t); got != lines[i] {
			t.Errorf("our line is %q, keepalived's is %q", got, lines[i])
		}
	}
	eventually(t, "our mail has come", func() bool { return len(ours.all()) == len(events) })
	n.Close(within(t, 20*time.Second))

	// key is what must be equal.
	key := func(r received) string {
		header, body := r.parse(t)
		return fmt.Sprintf("%s | %q %q | %s | %q", r.helo, r.from, r.to, header.Get("Subject"), strings.TrimSpace(body))
	}
	var want []string
	for _, r := range ours.all() {
		want = append(want, key(r))
	}
	t.Logf("our mails:\n%s", strings.Join(want, "\n"))
	states := map[string]int{}
	for _, r := range theirs.all() {
		if !slices.Contains(want, key(r)) {
			t.Errorf("keepalived's mail is not among ours:\n%s", key(r))
		}
		header, _ := r.parse(t)
		words := strings.Fields(header.Get("Subject"))
		states[words[2]+" "+words[len(words)-2]]++
	}
	for _, state := range []string{"Instance MASTER", "Instance BACKUP", "Instance FAULT", "Group MASTER", "Group FAULT"} {
		if states[state] == 0 {
			t.Errorf("keepalived has sent no mail about %s: %v", state, states)
		}
	}
}
