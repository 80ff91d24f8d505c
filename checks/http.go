package checks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
)

const (
	// httpBody is how much of a body is compared.
	httpBody = 1 << 20
	// httpHeader is how much of a response's header is read.
	httpHeader = 64 << 10
)

// HTTP is a Prober that succeeds when a request is answered as expected.
// Redirects are answers and not followed, and no proxy is used.
type HTTP struct {
	URL     string // http or https
	Method  string // empty: GET
	Host    string // the Host header and TLS server name; empty: the URL's
	Headers []Header
	Status  []StatusRange  // empty: 200 to 399
	Body    *regexp.Regexp // has to match in the first MiB; nil: not looked at
	Verify  bool           // of the certificate, with https
	CAFile  string         // empty: the system's
}

// A Header is one header of a request.
type Header struct{ Name, Value string }

// A StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ First, Last int }

// String returns the range as it is written: "200–399", "204".
func (r StatusRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d–%d", r.First, r.Last)
}

var _ Prober = (*HTTP)(nil)

// String names what is asked, without a password.
func (p *HTTP) String() string {
	u, err := url.Parse(p.URL)
	if err != nil {
		return p.method()
	}
	return p.method() + " " + u.Redacted()
}

func (p *HTTP) method() string {
	if p.Method == "" {
		return http.MethodGet
	}
	return p.Method
}

// Probe makes one request on a connection of its own.
func (p *HTTP) Probe(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, p.method(), p.URL, nil)
	if err != nil {
		return "", &UnrunnableError{Reason: err.Error()}
	}
	req.Header.Set("User-Agent", "vipd")
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	for i, h := range p.Headers {
		switch {
		case strings.EqualFold(h.Name, "Host"):
			req.Host = h.Value
		case i > 0 && p.repeated(i):
			req.Header.Add(h.Name, h.Value)
		default:
			req.Header.Set(h.Name, h.Value)
		}
	}
	if p.Host != "" {
		req.Host = p.Host
	}
	config, err := p.tls()
	if err != nil {
		return "", err
	}
	transport := &http.Transport{
		DialContext:            dialer().DialContext,
		TLSClientConfig:        config,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: httpHeader,
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", httpError(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if !p.accepts(resp.StatusCode) {
		return "", fmt.Errorf("status %d, want %s", resp.StatusCode, p.wanted())
	}
	if p.Body != nil {
		body, err := io.ReadAll(io.LimitReader(resp.Body, httpBody))
		if err != nil {
			return "", fmt.Errorf("reading the body: %w", httpError(ctx, err))
		}
		if !p.Body.Match(body) {
			return "", fmt.Errorf("status %d, the body does not match %q", resp.StatusCode, p.Body)
		}
	}
	return fmt.Sprintf("status %d", resp.StatusCode), nil
}

// repeated reports whether header i has the name of an earlier one.
func (p *HTTP) repeated(i int) bool {
	for _, h := range p.Headers[:i] {
		if strings.EqualFold(h.Name, p.Headers[i].Name) {
			return true
		}
	}
	return false
}

// tls returns how to speak TLS. The file is read each time, so that it can be
// renewed.
func (p *HTTP) tls() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: !p.Verify}
	if p.Host != "" {
		config.ServerName = p.Host
		if host, _, err := net.SplitHostPort(p.Host); err == nil {
			config.ServerName = host
		}
	}
	if p.CAFile == "" || !p.Verify {
		return config, nil
	}
	pem, err := os.ReadFile(p.CAFile)
	if err != nil {
		return nil, &UnrunnableError{Reason: "ca_file: " + err.Error(), Hint: "it must hold certificates in PEM"}
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, &UnrunnableError{Reason: "ca_file: no certificate in " + p.CAFile, Hint: "it must hold certificates in PEM"}
	}
	return config, nil
}

func (p *HTTP) inspect() error {
	_, err := p.tls()
	return err
}

func (p *HTTP) ranges() []StatusRange {
	if len(p.Status) == 0 {
		return []StatusRange{{200, 399}}
	}
	return p.Status
}

func (p *HTTP) accepts(status int) bool {
	for _, r := range p.ranges() {
		if r.First <= status && status <= r.Last {
			return true
		}
	}
	return false
}

func (p *HTTP) wanted() string {
	var list []string
	for _, r := range p.ranges() {
		list = append(list, r.String())
	}
	return strings.Join(list, ", ")
}

// httpError makes an error of a request short and adds what helps against it.
func httpError(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	const ignore = "tls_verify: false to ignore"
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch {
		case e.Reason == x509.Expired && strings.Contains(e.Detail, "before"):
			return fmt.Errorf("certificate is not valid yet (%s)", ignore)
		case e.Reason == x509.Expired:
			return fmt.Errorf("certificate has expired (%s)", ignore)
		}
		return fmt.Errorf("%w (%s)", e, ignore)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("certificate is signed by an unknown authority (ca_file to name it, %s)", ignore)
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("certificate is not for %s (host to name it, %s)", e.Host, ignore)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w (%s)", e.Err, ignore)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return errors.New("the server does not speak TLS")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("connection closed without an answer")
	}
	return netError(ctx, err)
}
