package checks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHTTPAnswersAreJudged(t *testing.T) {
	loopback(t)
	// No proxy is used, whatever the environment says.
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:3128")
	var requests atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "status: "+strings.Repeat(" ", 5000)+"healthy\n")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Method+" "+r.Host+" "+r.Header.Get("User-Agent")+" "+strings.Join(r.Header.Values("X-Test"), "+")+" "+r.Header.Get("Connection"))
	})
	mux.HandleFunc("/private", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.WriteHeader(401)
		}
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/followed", http.StatusFound)
	})
	mux.HandleFunc("/followed", func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	mux.HandleFunc("/503", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, httpBody))
		_, _ = io.WriteString(w, "needle")
	})
	mux.HandleFunc("/flood", func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 1<<16); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	match := regexp.MustCompile
	tests := []struct {
		name   string
		probe  HTTP
		detail string
		ok     bool
	}{
		{"an answer", HTTP{URL: "/ok"}, "status 200", true},
		{"a body", HTTP{URL: "/ok", Body: match(`healthy\n$`)}, "status 200", true},
		{"another body", HTTP{URL: "/ok", Body: match(`sick`)}, `status 200, the body does not match "sick"`, false},
		{"what is sent", HTTP{URL: "/echo", Method: "POST", Host: "www.example.com",
			Headers: []Header{{"X-Test", "a"}, {"x-test", "b"}}, Body: match(`^POST www\.example\.com vipd a\+b close$`)}, "status 200", true},
		{"headers instead of ours", HTTP{URL: "/echo",
			Headers: []Header{{"User-Agent", "me"}, {"Host", "other.example.com"}}, Body: match(`^GET other\.example\.com me  close$`)}, "status 200", true},
		{"a redirect is an answer", HTTP{URL: "/moved"}, "status 302", true},
		{"a redirect is not wanted", HTTP{URL: "/moved", Status: []StatusRange{{200, 204}, {301, 301}}}, "status 302, want 200–204, 301", false},
		{"an error", HTTP{URL: "/503"}, "status 503, want 200–399", false},
		{"an error is wanted", HTTP{URL: "/503", Status: []StatusRange{{503, 503}}}, "status 503", true},
		{"no answer", HTTP{URL: "/nothing"}, "connection closed without an answer", false},
		{"a body is read up to a limit", HTTP{URL: "/late", Body: match("needle")}, `status 200, the body does not match "needle"`, false},
		{"a body without end", HTTP{URL: "/flood", Body: match("x")}, `status 200, the body does not match "x"`, false},
		{"a body without end that nobody asked for", HTTP{URL: "/flood"}, "status 200", true},
		{"the name of a method", HTTP{URL: "/ok", Method: "NO METHOD"}, `net/http: invalid method "NO METHOD"`, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := test.probe
			p.URL = s.URL + p.URL
			expect(t, &p, test.detail, test.ok)
		})
	}
	private := &HTTP{URL: strings.Replace(s.URL, "//", "//me:secret@", 1) + "/private"}
	expect(t, private, "status 200", true)
	if strings.Contains(private.String(), "secret") {
		t.Errorf("%v shows the password", private)
	}
	if got, ok := ask(t, &HTTP{URL: s.URL + "/header"}, patience); ok || !strings.Contains(got, "header") {
		t.Errorf("a header without end: %q, %v", got, ok)
	}
	if requests.Load() != 0 {
		t.Error("a redirect was followed")
	}
	hole := blackHole(t)
	if got, ok := ask(t, &HTTP{URL: "http://" + hole}, 200*time.Millisecond); ok || got != "timed out after 200ms" {
		t.Errorf("a server that does not answer: %q, %v", got, ok)
	}
	s.Close()
	expect(t, &HTTP{URL: s.URL}, "connection refused", false)
}

func TestAnHTTPServerThatStopsInTheMiddleTimesOut(t *testing.T) {
	loopback(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "healthy")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	if got, ok := ask(t, &HTTP{URL: s.URL, Body: regexp.MustCompile("healthy")}, 300*time.Millisecond); ok || !strings.HasSuffix(got, "timed out after 300ms") {
		t.Errorf("%q, %v", got, ok)
	}
}

// certificate makes a certificate, signed by itself.
func certificate(t *testing.T, from, to time.Time, names ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: to,
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	if len(names) > 0 {
		c.IPAddresses = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestCertificatesAreVerifiedUnlessToldOtherwise(t *testing.T) {
	loopback(t)
	serve := func(c tls.Certificate) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.TLS.ServerName)
		}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{c}}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	now := time.Now()
	good, goodCA := certificate(t, now.Add(-time.Hour), now.Add(time.Hour))
	old, oldCA := certificate(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	early, earlyCA := certificate(t, now.Add(time.Hour), now.Add(2*time.Hour))
	named, namedCA := certificate(t, now.Add(-time.Hour), now.Add(time.Hour), "www.example.com")
	goodURL, oldURL, earlyURL, namedURL := serve(good), serve(old), serve(early), serve(named)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	must(t, os.WriteFile(empty, nil, 0o644))
	const ignore = "tls_verify: false to ignore"
	tests := []struct {
		name   string
		probe  HTTP
		detail string
		ok     bool
	}{
		{"a known authority", HTTP{URL: goodURL, Verify: true, CAFile: goodCA}, "status 200", true},
		{"an unknown authority", HTTP{URL: goodURL, Verify: true},
			"certificate is signed by an unknown authority (ca_file to name it, " + ignore + ")", false},
		{"an unknown authority, not verified", HTTP{URL: goodURL}, "status 200", true},
		{"expired", HTTP{URL: oldURL, Verify: true, CAFile: oldCA}, "certificate has expired (" + ignore + ")", false},
		{"expired, not verified", HTTP{URL: oldURL, CAFile: oldCA}, "status 200", true},
		{"not valid yet", HTTP{URL: earlyURL, Verify: true, CAFile: earlyCA}, "certificate is not valid yet (" + ignore + ")", false},
		{"for another name", HTTP{URL: namedURL, Verify: true, CAFile: namedCA},
			"certificate is not for 127.0.0.1 (host to name it, " + ignore + ")", false},
		{"for the name that is asked for", HTTP{URL: namedURL, Verify: true, CAFile: namedCA, Host: "www.example.com:443",
			Body: regexp.MustCompile(`^www\.example\.com$`)}, "status 200", true},
		{"no TLS", HTTP{URL: strings.Replace(plain.URL, "http:", "https:", 1), Verify: true}, "the server does not speak TLS", false},
		{"no certificate in the file", HTTP{URL: goodURL, Verify: true, CAFile: empty}, "ca_file: no certificate in " + empty, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { expect(t, &test.probe, test.detail, test.ok) })
	}
}
