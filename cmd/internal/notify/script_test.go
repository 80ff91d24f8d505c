package notify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vipd/checks/command"
)

// wantText waits until a file has a text.
func wantText(t *testing.T, path, want string) {
	t.Helper()
	var got []byte
	defer func() {
		if t.Failed() {
			t.Errorf("%s has %q, want %q", path, got, want)
		}
	}()
	eventually(t, "a script has written", func() bool {
		got, _ = os.ReadFile(path)
		return len(got) >= len(want)
	})
	if string(got) != want {
		t.Errorf("the scripts have not written what they should")
	}
}

func TestARealScriptGetsItsArgumentsAndItsEnvironment(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	script := write(t, filepath.Join(dir, "script"), `#!/bin/sh
printf '<%s>' "$@" >>"$OUT"
echo " $VIPD_INSTANCE $VIPD_FROM $VIPD_TO|$VIPD_VIPS" >>"$OUT"
echo "$4 done" >&2
`, 0o755)
	n, log := openNotifier(t)
	spec := command.Spec{Argv: []string{script, "fixed", "two words"}, As: command.Own(), Env: []string{"OUT=" + out}}
	n.Notify(Event{
		Name: "VI_1", State: "MASTER", Priority: 100,
		Scripts: []Script{{Spec: spec}, {Spec: spec, Arguments: true}},
		Env:     []string{"VIPD_INSTANCE=VI_1", "VIPD_FROM=BACKUP", "VIPD_TO=MASTER", "VIPD_VIPS=192.0.2.1/24 192.0.2.2/24"},
	})
	const rest = " VI_1 BACKUP MASTER|192.0.2.1/24 192.0.2.2/24\n"
	wantText(t, out, "<fixed><two words>"+rest+"<fixed><two words><INSTANCE><VI_1><MASTER><100>"+rest)
	n.Close(within(t, 20*time.Second))
	h := n.History(false, "VI_1")
	if len(h) != 2 || h[1].Exit != 0 || h[1].Detail != "" || h[1].Duration <= 0 || h[1].Running || h[1].Output != "VI_1 done" {
		t.Errorf("history: %+v", h)
	}
	if got := log.count("level=INFO", "VI_1 done", "instance=VI_1"); got != 1 {
		t.Errorf("%d lines with the output, want 1", got)
	}
}

func TestAScriptThatFailsOrCannotBeRunIsSeenAndHoldsUpNothing(t *testing.T) {
	dir := t.TempDir()
	fails := write(t, filepath.Join(dir, "fails"), "#!/bin/sh\nprintf 'one\\n\\033[31mtwo\\n'\nexit 3\n", 0o755)
	plain := write(t, filepath.Join(dir, "plain"), "#!/bin/sh\n", 0o644)
	n, log := openNotifier(t)
	var scripts []Script
	for _, path := range []string{fails, plain, filepath.Join(dir, "missing"), "/bin/true"} {
		scripts = append(scripts, Script{Spec: command.Spec{Argv: []string{path}, As: command.Own()}})
	}
	n.Notify(Event{Group: true, Name: "SG_1", State: "FAULT", Scripts: scripts})
	n.Close(within(t, 20*time.Second))
	h := n.History(true, "SG_1")
	if len(h) != 4 {
		t.Fatalf("history: %+v", h)
	}
	if h[0].Exit != 3 || h[0].Detail != "exit code 3" || h[0].Output != "one\n\x1b[31mtwo" {
		t.Errorf("a script that fails: %+v", h[0])
	}
	for _, r := range h[1:3] {
		if r.Detail == "" || r.Exit == 0 {
			t.Errorf("a script that cannot be run: %+v", r)
		}
	}
	if h[3].Detail != "" || h[3].Exit != 0 {
		t.Errorf("a script that can: %+v", h[3])
	}
	if got := log.count("level=WARN", "failed", "group=SG_1", "exit code 3"); got != 1 {
		t.Errorf("%d warnings about the failure, want 1", got)
	}
	if got := log.count("level=WARN", "cannot be run"); got != 2 {
		t.Errorf("%d warnings about what cannot be run, want 2", got)
	}
	if strings.Contains(log.String(), "\x1b") {
		t.Error("a control character has come through")
	}
}

func TestARealStopScriptIsKilledAfterOneSecondAlthoughItIgnoresSIGTERM(t *testing.T) {
	dir := t.TempDir()
	script := write(t, filepath.Join(dir, "script"), "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n", 0o755)
	n, _ := openNotifier(t)
	n.Notify(Event{Name: "VI_1", State: "STOP", Scripts: []Script{{Spec: command.Spec{Argv: []string{script}, As: command.Own()}}}})
	start := time.Now()
	n.Close(within(t, 20*time.Second))
	took := time.Since(start)
	if took < 900*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if r := n.History(false, "VI_1")[0]; r.Running || r.Exit != -1 || r.Detail == "" {
		t.Errorf("record: %+v", r)
	}
}

func TestARealScriptRunsAsItsUser(t *testing.T) {
	dir := t.TempDir()
	probe := write(t, filepath.Join(dir, "probe"), "", 0o600)
	if os.Geteuid() != 0 || os.Chown(probe, 65534, 65534) != nil {
		t.Skip("this user cannot become another")
	}
	n, _ := openNotifier(t)
	as := command.Credential{Name: "nobody", UID: 65534, GID: 65533}
	n.Notify(Event{Name: "VI_1", State: "MASTER", Scripts: []Script{
		{Spec: command.Spec{Argv: []string{"/bin/sh", "-c", "id -u; id -g; pwd"}, As: as}},
	}})
	n.Close(within(t, 20*time.Second))
	if r := n.History(false, "VI_1")[0]; r.Output != "65534\n65533\n/" || r.Detail != "" {
		t.Errorf("record: %+v", r)
	}
}

func TestAnOverdueRealScriptIsNotKilledBeforeTheEnd(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	slow := write(t, filepath.Join(dir, "slow"), "#!/bin/sh\ntrap 'echo terminated >>"+out+"; exit' TERM\necho start >>"+out+"\nwhile :; do sleep 0.1; done\n", 0o755)
	logger, log := newLog(t)
	r := command.NewRunner(logger)
	defer r.Close()
	n, err := New(Config{Runner: r, Log: logger, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	script := func(path string) []Script {
		return []Script{{Spec: command.Spec{Argv: []string{path, out}, As: command.Own()}}}
	}
	next := write(t, filepath.Join(dir, "next"), "#!/bin/sh\necho next >>$1\n", 0o755)
	n.Notify(Event{Name: "VI_1", State: "BACKUP", Scripts: script(slow)})
	wantText(t, out, "start\n")
	n.Notify(Event{Name: "VI_1", State: "MASTER", Scripts: script(next)})
	wantText(t, out, "start\nnext\n")
	if h := n.History(false, "VI_1"); len(h) != 2 || !h[0].Running || !h[0].Overdue {
		t.Errorf("history: %+v", h)
	}
	n.Close(within(t, 20*time.Second))
	wantText(t, out, "start\nnext\nterminated\n")
	if h := n.History(false, "VI_1"); h[0].Running {
		t.Errorf("the script still runs: %+v", h[0])
	}
	if got := log.count("has not ended in time", "after=300ms"); got != 1 {
		t.Errorf("%d lines about it, want 1", got)
	}
}
