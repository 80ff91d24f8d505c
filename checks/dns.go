package checks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// dnsRetry is after how long a question is asked again: a lost packet is
	// not a lost server.
	dnsRetry = time.Second
	// dnsSize is the largest answer taken by UDP (RFC 6891 6.2.5).
	dnsSize = 1232
)

// DNS is a Prober that succeeds when a server answers a question. Only that
// server is asked, for exactly that name: there is no search list and no hosts
// file.
type DNS struct {
	Server string   // host:port
	Name   string   // what is asked for; with PTR, an address is turned into its name
	Type   string   // A, AAAA, CNAME, MX, NS, TXT or PTR
	Expect []string // answers of which at least one must be given; empty: any
}

var _ Prober = (*DNS)(nil)

// String names what is asked.
func (p *DNS) String() string { return fmt.Sprintf("dns %s %s at %s", p.Name, p.Type, p.Server) }

// Probe asks by UDP, and by TCP if the answer is too long for it.
func (p *DNS) Probe(ctx context.Context) (string, error) {
	q, err := p.question()
	if err != nil {
		return "", &UnrunnableError{Reason: err.Error()}
	}
	id := uint16(rand.Uint32())
	ask, err := dnsQuery(id, q)
	if err != nil {
		return "", &UnrunnableError{Reason: err.Error()}
	}
	var answer dnsmessage.Message
	for _, network := range []string{"udp", "tcp"} {
		answer, err = dnsExchange(ctx, network, p.Server, ask, id, q)
		if err != nil {
			return "", err
		}
		if !answer.Truncated {
			break
		}
	}
	return p.judge(answer, q.Type)
}

func (p *DNS) question() (dnsmessage.Question, error) {
	types := map[string]dnsmessage.Type{
		"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME, "MX": dnsmessage.TypeMX,
		"NS": dnsmessage.TypeNS, "TXT": dnsmessage.TypeTXT, "PTR": dnsmessage.TypePTR,
	}
	t, ok := types[strings.ToUpper(p.Type)]
	if !ok {
		return dnsmessage.Question{}, fmt.Errorf("unknown type %q", p.Type)
	}
	text := p.Name
	if addr, err := netip.ParseAddr(text); err == nil && t == dnsmessage.TypePTR {
		text = reverseName(addr)
	}
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	name, err := dnsmessage.NewName(text)
	if err != nil {
		return dnsmessage.Question{}, fmt.Errorf("name %q: %w", p.Name, err)
	}
	return dnsmessage.Question{Name: name, Type: t, Class: dnsmessage.ClassINET}, nil
}

// reverseName returns the name under which the name of an address is found.
func reverseName(a netip.Addr) string {
	var b strings.Builder
	a = a.Unmap().WithZone("")
	octets := a.AsSlice()
	slices.Reverse(octets)
	for _, o := range octets {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", o)
		} else {
			fmt.Fprintf(&b, "%x.%x.", o&15, o>>4)
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa."
	}
	return b.String() + "ip6.arpa."
}

func dnsQuery(id uint16, q dnsmessage.Question) ([]byte, error) {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{q},
	}
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(dnsSize, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	m.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	return m.Pack()
}

// dnsExchange sends a question and waits for its answer.
func dnsExchange(ctx context.Context, network, server string, ask []byte, id uint16, q dnsmessage.Question) (dnsmessage.Message, error) {
	var none dnsmessage.Message
	c, err := dial(ctx, network, server)
	if err != nil {
		return none, err
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if network == "tcp" {
		ask = append(binary.BigEndian.AppendUint16(nil, uint16(len(ask))), ask...)
		if _, err := c.Write(ask); err != nil {
			return none, netError(ctx, err)
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return none, dnsReadError(ctx, err)
		}
		buf := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, buf); err != nil {
			return none, dnsReadError(ctx, err)
		}
		m, ok := dnsAnswer(buf, id, q)
		if !ok {
			return none, errors.New("malformed answer")
		}
		return m, nil
	}
	buf := make([]byte, 64<<10)
	for {
		if _, err := c.Write(ask); err != nil {
			return none, netError(ctx, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(dnsRetry)); err != nil {
			return none, netError(ctx, err)
		}
		for {
			n, err := c.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
				break // ask again
			}
			if err != nil {
				return none, dnsReadError(ctx, err)
			}
			// Others may have sent this; the right answer may still come.
			if m, ok := dnsAnswer(buf[:n], id, q); ok {
				return m, nil
			}
		}
	}
}

func dnsReadError(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if ctx.Err() == nil {
			return errors.New("connection closed without an answer")
		}
	}
	if errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
		return context.DeadlineExceeded
	}
	return netError(ctx, err)
}

// dnsAnswer reads a message if it is the answer to the question. A server that
// refuses may leave out the question.
func dnsAnswer(b []byte, id uint16, q dnsmessage.Question) (dnsmessage.Message, bool) {
	var p dnsmessage.Parser
	var m dnsmessage.Message
	h, err := p.Start(b)
	if err != nil || h.ID != id || !h.Response {
		return m, false
	}
	m.Header = h
	questions, err := p.AllQuestions()
	if err != nil {
		return m, false
	}
	switch {
	case len(questions) == 0 && h.RCode != dnsmessage.RCodeSuccess:
		return m, true
	case len(questions) != 1 || questions[0].Type != q.Type || questions[0].Class != q.Class,
		!strings.EqualFold(questions[0].Name.String(), q.Name.String()):
		return m, false
	}
	if h.Truncated {
		return m, true // what follows may be cut
	}
	m.Answers, err = p.AllAnswers()
	return m, err == nil
}

// judge says whether an answer is as expected.
func (p *DNS) judge(m dnsmessage.Message, t dnsmessage.Type) (string, error) {
	switch m.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return "", fmt.Errorf("%s does not exist (NXDOMAIN)", p.Name)
	case dnsmessage.RCodeServerFailure:
		return "", errors.New("the server failed (SERVFAIL)")
	case dnsmessage.RCodeRefused:
		return "", errors.New("the server refused to answer (REFUSED)")
	default:
		return "", fmt.Errorf("the server answered with code %d", m.RCode)
	}
	var got []string
	for _, r := range m.Answers {
		if r.Header.Type == t {
			got = append(got, recordText(r.Body))
		}
	}
	if len(got) == 0 {
		return "", fmt.Errorf("%s has no %s record", p.Name, strings.ToUpper(p.Type))
	}
	detail := "answered " + abridge(got)
	if len(p.Expect) == 0 {
		return detail, nil
	}
	for _, g := range got {
		for _, want := range p.Expect {
			if sameRecord(t, g, want) {
				return "answered " + g, nil
			}
		}
	}
	return "", fmt.Errorf("%s, want %s", detail, strings.Join(p.Expect, " or "))
}

// abridge joins the first few of a list.
func abridge(list []string) string {
	const most = 4
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

func recordText(b dnsmessage.ResourceBody) string {
	switch r := b.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(r.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(r.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return plainName(r.CNAME.String())
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", r.Pref, plainName(r.MX.String()))
	case *dnsmessage.NSResource:
		return plainName(r.NS.String())
	case *dnsmessage.PTRResource:
		return plainName(r.PTR.String())
	case *dnsmessage.TXTResource:
		return strings.Join(r.TXT, "")
	}
	return ""
}

// plainName drops the dot at the end of a name, which people do not write.
func plainName(s string) string {
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}

// sameRecord compares an answer with what the configuration has: addresses by
// value, names without regard to case, mail servers with or without preference.
func sameRecord(t dnsmessage.Type, got, want string) bool {
	switch t {
	case dnsmessage.TypeTXT:
		return got == want
	case dnsmessage.TypeA, dnsmessage.TypeAAAA:
		g, err1 := netip.ParseAddr(got)
		w, err2 := netip.ParseAddr(want)
		return err1 == nil && err2 == nil && g.Unmap() == w.Unmap()
	case dnsmessage.TypeMX:
		w := strings.Fields(want)
		if len(w) == 2 {
			return strings.EqualFold(got, w[0]+" "+plainName(w[1]))
		}
		_, got, _ = strings.Cut(got, " ")
	}
	return strings.EqualFold(got, plainName(want))
}
