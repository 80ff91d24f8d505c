package main

import (
	"errors"
	"fmt"
	"testing"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/daemon"
)

// A service manager goes by these: after exit code 2 it does not start vipd again.
func TestADaemonThatIsInTheWayIsNoFailureToTryAgain(t *testing.T) {
	for _, tt := range []struct {
		name             string
		err              error
		want, keepalived int
	}{
		{"a keepalived", &daemon.RivalError{}, exitUsage, keepalivedRefused},
		{"a vipd with the run directory", &control.LockedError{}, exitUsage, keepalivedRefused},
		{"a vipd with the virtual router", fmt.Errorf("starting: %w", &control.ClaimedError{}), exitUsage, keepalivedRefused},
		{"a missing capability", &daemon.CapabilityError{}, exitPermission, keepalivedPermission},
		{"a failure", errors.New("no memory"), exitNo, keepalivedFailed},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%s: exit code %d, want %d", tt.name, got, tt.want)
		}
		if got := keepalivedExit(write(t, "keepalived.conf", ""), tt.err); got != tt.keepalived {
			t.Errorf("%s: as keepalived, exit code %d, want %d", tt.name, got, tt.keepalived)
		}
	}
}
