package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// systemBus is where the system's D-Bus is.
const systemBus = "/run/dbus/system_bus_socket"

// SystemdUnit is a Prober that succeeds while a unit is active.
type SystemdUnit struct {
	Unit string // with its suffix
	Bus  string // path of the bus's unix socket; empty: the system's
}

var _ Prober = (*SystemdUnit)(nil)

// String names what is asked.
func (p *SystemdUnit) String() string { return "systemd unit " + p.Unit }

// Probe asks systemd for the state of the unit. One that is reloading serves
// all the same.
func (p *SystemdUnit) Probe(ctx context.Context) (string, error) {
	c, err := p.dial(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	// What the library reads ends with the connection.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	detail, err := p.ask(ctx, c)
	if e := ctx.Err(); err != nil && e != nil {
		return "", e
	}
	return detail, err
}

func (p *SystemdUnit) dial(ctx context.Context) (net.Conn, error) {
	path := cmp.Or(p.Bus, systemBus)
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, busUnavailable(path, err)
}

func (p *SystemdUnit) inspect() error {
	// To connect takes no time, unless too many others do.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := p.dial(ctx)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func busUnavailable(path string, err error) error {
	u := &UnrunnableError{Reason: fmt.Sprintf("no D-Bus at %s: %v", path, err)}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		u.Reason = fmt.Sprintf("no D-Bus at %s: %v", path, e)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		u.Hint = "systemd_unit needs systemd and the system's D-Bus; in a container, its socket has to be mounted"
	case errors.Is(err, fs.ErrPermission):
		u.Hint = "vipd must be allowed to write to the socket"
	}
	return u
}

func (p *SystemdUnit) ask(ctx context.Context, c net.Conn) (string, error) {
	bus, err := dbus.NewConn(c)
	if err != nil {
		return "", fmt.Errorf("connecting to D-Bus: %w", err)
	}
	defer func() { _ = bus.Close() }()
	if err := bus.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		return "", &UnrunnableError{Reason: "D-Bus refuses us: " + err.Error()}
	}
	if err := bus.Hello(); err != nil {
		return "", fmt.Errorf("connecting to D-Bus: %w", err)
	}
	const service = "org.freedesktop.systemd1"
	var unit dbus.ObjectPath
	// LoadUnit, as GetUnit does not know units that were never used.
	err = bus.Object(service, "/org/freedesktop/systemd1").
		CallWithContext(ctx, service+".Manager.LoadUnit", 0, p.Unit).Store(&unit)
	if err != nil {
		return "", unitError(err)
	}
	properties := make(map[string]dbus.Variant)
	err = bus.Object(service, unit).
		CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, service+".Unit").Store(&properties)
	if err != nil {
		return "", unitError(err)
	}
	text := func(name string) string {
		s, _ := properties[name].Value().(string)
		return s
	}
	if load := text("LoadState"); load == "not-found" {
		return "", fmt.Errorf("unit %s does not exist", p.Unit)
	}
	state := text("ActiveState")
	detail := state
	if sub := text("SubState"); sub != "" && sub != state {
		detail += " (" + sub + ")"
	}
	switch state {
	case "active", "reloading", "refreshing":
		return detail, nil
	case "":
		return "", errors.New("systemd does not say the unit's state")
	}
	return "", errors.New(detail)
}

func unitError(err error) error {
	e, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return fmt.Errorf("asking systemd: %w", err)
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
		return &UnrunnableError{Reason: "systemd is not on the D-Bus", Hint: "systemd_unit needs a system run by systemd"}
	case "org.freedesktop.DBus.Error.AccessDenied":
		return &UnrunnableError{Reason: "D-Bus: " + e.Error()}
	}
	return fmt.Errorf("asking systemd: %w", e)
}
