package checks

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// fakeBus is a D-Bus with systemd on it. Its units are named by their states:
// "active-running.service".
type fakeBus struct {
	path string
	wg   sync.WaitGroup
	// mute keeps it from answering anything but the greeting.
	mute bool
	// alone has no systemd on the bus.
	alone bool
}

func startBus(t *testing.T, b *fakeBus) *fakeBus {
	t.Helper()
	b.path = filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", b.path)
	must(t, err)
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() {
				defer func() { _ = c.Close() }()
				// It ends when the client closes, as it must.
				if err := b.serve(c); err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("the bus: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.wg.Wait()
	})
	return b
}

func (b *fakeBus) serve(c net.Conn) error {
	r := bufio.NewReader(c)
	if _, err := r.ReadByte(); err != nil { // the zero that carries credentials
		return err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		switch {
		case line == "AUTH EXTERNAL\r\n":
			_, err = io.WriteString(c, "DATA\r\n")
		case strings.HasPrefix(line, "AUTH EXTERNAL "), strings.HasPrefix(line, "DATA"):
			_, err = io.WriteString(c, "OK 0123456789abcdef0123456789abcdef\r\n")
		case strings.HasPrefix(line, "BEGIN"):
			return b.answer(r, c)
		default:
			_, err = io.WriteString(c, "REJECTED EXTERNAL\r\n")
		}
		if err != nil {
			return err
		}
	}
}

func (b *fakeBus) answer(r io.Reader, c net.Conn) error {
	for {
		m, err := dbus.DecodeMessage(r)
		if err != nil {
			return err
		}
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(m.Serial()),
			dbus.FieldSender:      dbus.MakeVariant("org.freedesktop.DBus"),
			dbus.FieldDestination: dbus.MakeVariant(":1.1"),
		}}
		body := func(values ...any) {
			reply.Body = values
			reply.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(values...))
		}
		fail := func(name, text string) {
			reply.Type = dbus.TypeError
			reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
			body(text)
		}
		member, _ := m.Headers[dbus.FieldMember].Value().(string)
		path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
		switch {
		case member == "Hello":
			body(":1.1")
		case b.mute:
			continue
		case b.alone:
			fail("org.freedesktop.DBus.Error.ServiceUnknown", "The name org.freedesktop.systemd1 was not provided by any .service files")
		case member == "LoadUnit" && m.Body[0] == "bad/name":
			fail("org.freedesktop.DBus.Error.InvalidArgs", "Unit name bad/name is not valid.")
		case member == "LoadUnit":
			name := strings.TrimSuffix(fmt.Sprint(m.Body[0]), ".service")
			body(dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + strings.ReplaceAll(name, "-", "_2d")))
		case member == "GetAll" && m.Body[0] == "org.freedesktop.systemd1.Unit":
			state, sub, _ := strings.Cut(filepath.Base(string(path)), "_2d")
			load := "loaded"
			if state == "missing" {
				state, sub, load = "inactive", "dead", "not-found"
			}
			body(map[string]dbus.Variant{"ActiveState": dbus.MakeVariant(state), "SubState": dbus.MakeVariant(sub), "LoadState": dbus.MakeVariant(load)})
		default:
			fail("org.freedesktop.DBus.Error.UnknownMethod", member)
		}
		if err := reply.EncodeTo(c, binary.LittleEndian); err != nil {
			return err
		}
	}
}

func TestUnitsAreAskedForTheirState(t *testing.T) {
	bus := startBus(t, &fakeBus{})
	tests := []struct {
		unit, detail string
		ok           bool
	}{
		{"active-running.service", "active (running)", true},
		{"active-exited.service", "active (exited)", true},
		{"active-active.service", "active", true},
		{"reloading-reload.service", "reloading (reload)", true},
		{"inactive-dead.service", "inactive (dead)", false},
		{"failed-failed.service", "failed", false},
		{"activating-auto.service", "activating (auto)", false},
		{"deactivating-stop.service", "deactivating (stop)", false},
		{"missing.service", "unit missing.service does not exist", false},
		{"bad/name", "asking systemd: Unit name bad/name is not valid.", false},
	}
	for _, test := range tests {
		t.Run(test.unit, func(t *testing.T) {
			expect(t, &SystemdUnit{Unit: test.unit, Bus: bus.path}, test.detail, test.ok)
		})
	}
}

func TestAUnitCannotBeAskedForWithoutSystemd(t *testing.T) {
	once := func(path string, timeout time.Duration) Report {
		var got Report
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		NewProbe(ProbeConfig{Prober: &SystemdUnit{Unit: "x.service", Bus: path}, Interval: time.Hour, Timeout: timeout, Rise: 1, Fall: 1}).
			Run(ctx, func(r Report) {
				got = r
				cancel()
			})
		return got
	}
	none := filepath.Join(t.TempDir(), "none")
	r := once(none, patience)
	if r.State != Down || r.Unrunnable != "no D-Bus at "+none+": no such file or directory" || !strings.Contains(r.Hint, "needs systemd") {
		t.Errorf("without a bus: %+v", r)
	}
	r = once(startBus(t, &fakeBus{alone: true}).path, patience)
	if r.State != Down || r.Unrunnable != "systemd is not on the D-Bus" || r.Hint == "" {
		t.Errorf("without systemd: %+v", r)
	}
	r = once(startBus(t, &fakeBus{mute: true}).path, 200*time.Millisecond)
	if r.State != Down || r.Unrunnable != "" || r.Detail != "timed out after 200ms" || r.Timeouts != 1 {
		t.Errorf("a bus that does not answer: %+v", r)
	}
}
