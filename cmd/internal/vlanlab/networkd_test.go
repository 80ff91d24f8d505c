package main

import (
	"slices"
	"testing"
	"time"

	"vipd/cmd/internal/control"
)

func TestARemedyIsWhatANoteSays(t *testing.T) {
	const text = "vipd.yaml:15:26: warning: something\n" +
		"note: eth0.100: systemd-networkd removes virtual addresses when it is restarted, and when it reconfigures the interface: write the lines [Network] and KeepConfiguration=yes into /etc/systemd/network/a.network.d/vipd.conf, then networkctl reload\n" +
		"note: eth0.200: something else\n"
	if got, want := remedies(text), []remedy{{"eth0.100", "/etc/systemd/network/a.network.d/vipd.conf"}}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhoLeavesAStateAndComesBackHasMoved(t *testing.T) {
	began := time.Now()
	before := []standing{{"r1", "VI_4", control.StateMaster, began}, {"r1", "VI_6", control.StateMaster, began}, {"r2", "VI_4", control.StateBackup, began}}
	if got := moved(before, slices.Clone(before)); len(got) > 0 {
		t.Errorf("nothing has changed, and %q", got)
	}
	for name, spoil := range map[string]func([]standing) []standing{
		"another state":             func(list []standing) []standing { list[2].state = control.StateMaster; return list },
		"the same one, since later": func(list []standing) []standing { list[0].since = began.Add(time.Second); return list },
		"an instance is not there":  func(list []standing) []standing { return list[1:] },
	} {
		if got := moved(before, spoil(slices.Clone(before))); len(got) != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
}
