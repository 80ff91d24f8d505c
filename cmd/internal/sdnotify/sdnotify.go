// Package sdnotify tells systemd how the daemon is: ready, reloading, stopping,
// and alive. Without systemd (no NOTIFY_SOCKET) everything in it does nothing.
package sdnotify

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Active reports whether a service manager listens.
func Active() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Ready says that start-up, or a reload, is complete. The status is a line for
// `systemctl status`; it may be empty.
func Ready(status string) error { return notify(daemon.SdNotifyReady, statusLine(status)) }

// Starting says that the start takes a while, and how long that is at most. A service
// manager that allows less (TimeoutStartSec=) waits for as long.
func Starting(status string, within time.Duration) error {
	return notify(statusLine(status), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// MainProcess says that another process is the daemon from now on, and that it runs.
func MainProcess(pid int) error { return notify(fmt.Sprintf("MAINPID=%d", pid), daemon.SdNotifyReady) }

// Reloading says that a reload has begun. Ready ends it.
func Reloading(status string) error {
	// Type=notify-reload wants to know when, on systemd's clock: sd_notify(3).
	return notify(daemon.SdNotifyReloading, strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n"), statusLine(status))
}

// Stopping says that the daemon is about to end, and how long that takes at most.
// A service manager that allows less (TimeoutStopSec=) waits for as long.
func Stopping(status string, within time.Duration) error {
	return notify(daemon.SdNotifyStopping, statusLine(status), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// Status sets the line that `systemctl status` shows.
func Status(status string) error { return notify(statusLine(status)) }

// statusLine returns the assignment of a status, which is one line.
func statusLine(status string) string {
	if status == "" {
		return ""
	}
	return "STATUS=" + strings.Join(strings.Fields(status), " ")
}

func notify(lines ...string) error {
	var state strings.Builder
	for _, l := range lines {
		if l != "" {
			state.WriteString(l + "\n")
		}
	}
	if state.Len() == 0 {
		return nil
	}
	if _, err := daemon.SdNotify(false, state.String()); err != nil {
		return fmt.Errorf("sdnotify: telling the service manager: %w", err)
	}
	return nil
}

// WatchdogInterval returns the time within which the service manager wants to
// hear from the daemon (WatchdogSec=), or 0 if it does not. Half of it is a good
// distance between two signs of life.
func WatchdogInterval() (time.Duration, error) {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, fmt.Errorf("sdnotify: reading the watchdog interval: %w", err)
	}
	return d, nil
}
