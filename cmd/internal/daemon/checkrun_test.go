package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vipd/checks"
	"vipd/checks/command"
	"vipd/config"
)

// httpsCheck returns a check that needs a file of authorities.
func httpsCheck(name, caFile string) config.Check {
	return config.Check{
		Name: name, Pos: config.Pos{File: "vipd.yaml", Line: 3, Col: 3},
		Timing: config.Timing{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1},
		HTTP:   &config.HTTPCheck{URL: "https://192.0.2.1/", Verify: true, CAFile: caFile},
	}
}

func TestACheckThatThisHostCannotMakeIsFoundBeforehandAndByARunOfIt(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent.pem")
	cfg := &config.Config{Checks: []config.Check{httpsCheck("web", absent), httpsCheck("fine", "")}}
	problem := "ca_file: open " + absent + ": no such file or directory"

	var got []string
	for _, d := range Inspect(cfg) {
		if d.Severity != config.Warning {
			t.Errorf("%v is not a warning", d)
		}
		got = append(got, d.String())
	}
	want := "vipd.yaml:3:3: vrrp_check.web: warning: cannot be run: " + problem + ": UNRUNNABLE, counts as failed (it must hold certificates in PEM)"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}

	run, err := RunCheck(t.Context(), cfg, "web")
	if err != nil {
		t.Fatal(err)
	}
	if run.State != checks.Down || run.Unrunnable != problem || run.Hint != "it must hold certificates in PEM" || run.Counts != "failed" {
		t.Errorf("got %+v", run)
	}
}

// TestARunThatGoesOnIsInTheStatus has a script whose user appears only later run
// for long: until then there is nothing to be told of it.
func TestARunThatGoesOnIsInTheStatus(t *testing.T) {
	runner := command.NewRunner(quiet())
	defer runner.Close()
	script := config.Script{
		Name:    "slow",
		Command: config.Command{Argv: []string{"/bin/sh", "-c", "exec sleep 300"}, User: "root"},
		Timing:  config.Timing{Interval: 10 * time.Millisecond, Timeout: time.Minute, Rise: 1, Fall: 1},
	}
	if os.Geteuid() != 0 {
		script.User = command.Own().Name
	}
	programs := &programs{runner: runner}
	late := &userless{programs: programs, script: script, cfg: checks.ScriptConfig{Interval: 10 * time.Millisecond, Timeout: time.Minute, Rise: 1, Fall: 1}}
	for name, tracker := range map[string]checks.Tracker{"a script": programs.script(script), "one whose user was missing": late} {
		w := &watch{kind: config.TrackScript, name: "slow", tracker: tracker, log: quiet(), first: make(chan struct{})}
		if got := w.status(); !got.RunningSince.IsZero() || got.Skipped != 0 {
			t.Errorf("%s: before it runs: %+v", name, got)
		}
		all := &trackers{log: quiet(), watches: []*watch{w}}
		begin := time.Now()
		all.start(t.Context())
		tick := time.NewTicker(time.Millisecond)
		for deadline := begin.Add(20 * time.Second); w.status().Skipped < 3; <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("%s: skipped times are not counted: %+v", name, w.status())
			}
		}
		tick.Stop()
		if got := w.status(); got.RunningSince.Before(begin) || got.RunningSince.After(time.Now()) || got.Runs != 0 || got.State != "unknown" {
			t.Errorf("%s: got %+v", name, got)
		}
		all.end(nil)()
	}
}
