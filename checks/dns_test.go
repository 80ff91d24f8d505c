package checks

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A dnsServer answers what answer returns, by UDP and TCP; false: nothing.
type dnsServer struct {
	address string
	answer  func(q dnsmessage.Message, tcp bool) (dnsmessage.Message, bool)
}

func startDNS(t *testing.T, answer func(q dnsmessage.Message, tcp bool) (dnsmessage.Message, bool)) *dnsServer {
	t.Helper()
	l := listen(t)
	pc, err := net.ListenPacket("udp", l.Addr().String())
	must(t, err)
	s := &dnsServer{l.Addr().String(), answer}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := s.reply(buf[:n], false); b != nil {
				// Not for you: another question, and not a message at all.
				_, _ = pc.WriteTo([]byte("rubbish"), from)
				other := append([]byte(nil), b...)
				other[0]++
				_, _ = pc.WriteTo(other, from)
				_, _ = pc.WriteTo(b, from)
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err == nil {
				buf := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, buf); err == nil {
					if b := s.reply(buf, true); b != nil {
						_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
					}
				}
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = pc.Close()
		_ = l.Close()
		<-done
		<-done
	})
	return s
}

func (s *dnsServer) reply(b []byte, tcp bool) []byte {
	var q dnsmessage.Message
	if q.Unpack(b) != nil {
		return nil
	}
	a, ok := s.answer(q, tcp)
	if !ok {
		return nil
	}
	a.ID, a.Response = q.ID, true
	b, err := a.Pack()
	if err != nil {
		return nil
	}
	return b
}

func dnsName(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }

func TestDNSAnswersAreJudged(t *testing.T) {
	long := strings.Repeat("x", 255)
	s := startDNS(t, func(q dnsmessage.Message, tcp bool) (dnsmessage.Message, bool) {
		a := dnsmessage.Message{Questions: q.Questions}
		if len(q.Questions) != 1 || !q.RecursionDesired {
			a.RCode = dnsmessage.RCodeFormatError
			return a, true
		}
		name := q.Questions[0].Name
		add := func(owner dnsmessage.Name, b dnsmessage.ResourceBody) {
			a.Answers = append(a.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 1}, Body: b})
		}
		switch q.Questions[0].Type.String() + " " + name.String() {
		case "TypeA www.example.com.":
			add(name, &dnsmessage.CNAMEResource{CNAME: dnsName("web.example.com.")})
			add(dnsName("web.example.com."), &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}})
			add(dnsName("web.example.com."), &dnsmessage.AResource{A: [4]byte{192, 0, 2, 2}})
		case "TypeAAAA www.example.com.":
			add(name, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()})
		case "TypeCNAME www.example.com.":
			add(name, &dnsmessage.CNAMEResource{CNAME: dnsName("web.example.com.")})
		case "TypeMX example.com.":
			add(name, &dnsmessage.MXResource{Pref: 10, MX: dnsName("Mail.example.com.")})
		case "TypeNS example.com.":
			add(name, &dnsmessage.NSResource{NS: dnsName("ns.example.com.")})
		case "TypeTXT example.com.":
			add(name, &dnsmessage.TXTResource{TXT: []string{"two ", "parts"}})
		case "TypeTXT evil.example.com.":
			add(name, &dnsmessage.TXTResource{TXT: []string{"a\nb\x1b[2J\xff", strings.Repeat("y", 200), strings.Repeat("y", 200)}})
		case "TypePTR 1.2.0.192.in-addr.arpa.", "TypePTR 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.":
			add(name, &dnsmessage.PTRResource{PTR: dnsName("web.example.com.")})
		case "TypeTXT long.example.com.":
			if !tcp {
				a.Truncated = true
				return a, true
			}
			for range 20 {
				add(name, &dnsmessage.TXTResource{TXT: []string{long}})
			}
		case "TypeA broken.example.com.":
			a.RCode = dnsmessage.RCodeServerFailure
			a.Questions = nil
		case "TypeA secret.example.com.":
			a.RCode = dnsmessage.RCodeRefused
		case "TypeA empty.example.com.":
		case "TypeA odd.example.com.":
			a.RCode = dnsmessage.RCodeNotImplemented
		default:
			a.RCode = dnsmessage.RCodeNameError
		}
		return a, true
	})
	tests := []struct {
		name, ask, kind string
		expect          []string
		detail          string
		ok              bool
	}{
		{"an address", "www.example.com", "A", nil, "answered 192.0.2.1, 192.0.2.2", true},
		{"one of the addresses", "www.example.com.", "a", []string{"192.0.2.9", "192.0.2.2"}, "answered 192.0.2.2", true},
		{"another address", "www.example.com", "A", []string{"192.0.2.9"}, "answered 192.0.2.1, 192.0.2.2, want 192.0.2.9", false},
		{"an IPv6 address in another form", "www.example.com", "AAAA", []string{"2001:DB8:0::1"}, "answered 2001:db8::1", true},
		{"an alias", "www.example.com", "CNAME", []string{"WEB.example.com."}, "answered web.example.com", true},
		{"a mail server", "example.com", "MX", []string{"mail.example.com"}, "answered 10 Mail.example.com", true},
		{"a mail server of that preference", "example.com", "MX", []string{"10 mail.example.com."}, "answered 10 Mail.example.com", true},
		{"a mail server of another preference", "example.com", "MX", []string{"20 mail.example.com"}, "answered 10 Mail.example.com, want 20 mail.example.com", false},
		{"a name server", "example.com", "NS", nil, "answered ns.example.com", true},
		{"a text", "example.com", "TXT", []string{"two parts"}, "answered two parts", true},
		{"a text in other letters", "example.com", "TXT", []string{"Two parts"}, "answered two parts, want Two parts", false},
		{"the name of an address", "192.0.2.1", "PTR", []string{"web.example.com"}, "answered web.example.com", true},
		{"the name of an IPv6 address", "2001:db8::1", "PTR", nil, "answered web.example.com", true},
		{"an answer too long for UDP", "long.example.com", "TXT", []string{long}, "answered " + long, true},
		{"a text not to be shown as it is", "evil.example.com", "TXT", nil, "answered a?b?[2J?" + strings.Repeat("y", detailLen-len("answered a?b?[2J?")) + "…", true},
		{"a name that does not exist", "none.example.com", "A", nil, "none.example.com does not exist (NXDOMAIN)", false},
		{"a name without such a record", "empty.example.com", "A", nil, "empty.example.com has no A record", false},
		{"a server that fails", "broken.example.com", "A", nil, "the server failed (SERVFAIL)", false},
		{"a server that refuses", "secret.example.com", "A", nil, "the server refused to answer (REFUSED)", false},
		{"another code", "odd.example.com", "A", nil, "the server answered with code 4", false},
		{"names without dots are not completed, nor looked for in the hosts file", "localhost", "A", nil, "localhost does not exist (NXDOMAIN)", false},
		{"a type that there is not", "example.com", "ANY", nil, `unknown type "ANY"`, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, &DNS{Server: s.address, Name: test.ask, Type: test.kind, Expect: test.expect}, test.detail, test.ok)
		})
	}
}

func TestADNSServerThatIsNotThereFails(t *testing.T) {
	var asked atomic.Int32
	s := startDNS(t, func(q dnsmessage.Message, _ bool) (dnsmessage.Message, bool) {
		return dnsmessage.Message{Questions: q.Questions}, asked.Add(1) > 1
	})
	expect(t, &DNS{Server: s.address, Name: "lost.example.com", Type: "A"}, "lost.example.com has no A record", false)
	if n := asked.Load(); n < 2 {
		t.Errorf("asked %d times though the first question was lost", n)
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	p := &DNS{Server: silent.LocalAddr().String(), Name: "example.com", Type: "A"}
	if got, ok := ask(t, p, 300*time.Millisecond); ok || got != "timed out after 300ms" {
		t.Errorf("%q, %v", got, ok)
	}
	must(t, silent.Close())
	expect(t, p, "connection refused", false)
}
