package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vipd/cmd/internal/control"
	"vipd/config"
)

func TestTheUnitsPlanHasEverythingThatIsTried(t *testing.T) {
	p := basic()
	p.furnished = true
	dir := t.TempDir()
	// The file that it includes lies beside it, as in /etc/vipd.
	included := filepath.Join(dir, strings.TrimPrefix(includedFile, filepath.Dir(vipd.file())))
	if err := os.MkdirAll(filepath.Dir(included), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(included, []byte(includedText), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "vipd.yaml")
	if err := os.WriteFile(file, []byte(p.text(vipd, faulted)), 0o644); err != nil {
		t.Fatal(err)
	}
	c, problems := config.Load(file)
	if c == nil {
		t.Fatal(problems)
	}
	if len(c.Scripts) != 2 || len(c.Checks) != 3 || len(c.Processes) != 1 {
		t.Errorf("%d scripts, %d checks and %d processes", len(c.Scripts), len(c.Checks), len(c.Processes))
	}
	for _, i := range c.Instances {
		if len(i.Tracks) != 5 {
			t.Errorf("%s tracks %d objects, want 5", i.Name, len(i.Tracks))
		}
	}
	// What is wrong with it on purpose is what the scenario looks for in the log.
	found := slices.ContainsFunc(problems, func(d config.Diagnostic) bool {
		return strings.Contains(d.String(), "lab.yaml") && strings.Contains(d.String(), "unused")
	})
	if !found {
		t.Errorf("nobody says that what lab.yaml has is unused: %v", problems)
	}
}

func TestWhatAScriptCouldDoIsComparedWithWhatItCanWithoutTheUnit(t *testing.T) {
	line := func(word string, commands []string) string {
		var b strings.Builder
		for _, c := range commands {
			b.WriteString(word + " " + c + "\n")
		}
		return b.String()
	}
	const head = "uid 0\npolicy SCHED_OTHER\n"
	all := slices.Concat(permitted, forbidden)
	under, without := head+line("yes", permitted)+line("no", forbidden), head+line("yes", all)
	if wrong := tried(under, without); len(wrong) > 0 {
		t.Errorf("as it is to be, and %q", wrong)
	}
	for name, test := range map[string]struct {
		under, without string
		want           int
	}{
		"nothing was written":             {"", without, 2 + len(all)},
		"another user":                    {strings.Replace(under, "uid 0", "uid 1", 1), without, 1},
		"a real-time policy":              {strings.Replace(under, "SCHED_OTHER", "SCHED_RR", 1), without, 1},
		"something does not work":         {strings.Replace(under, "yes nft", "no nft", 1), without, 1},
		"something works that is not to":  {strings.Replace(under, "no mount", "yes mount", 1), without, 1},
		"a program that is not there":     {under, strings.Replace(without, "yes dmesg", "no dmesg", 1), 1},
		"nothing works without the unit ": {under, head, len(all)},
	} {
		if wrong := tried(test.under, test.without); len(wrong) != test.want {
			t.Errorf("%s: %q, want %d", name, wrong, test.want)
		}
	}
}

func TestEveryCheckOfTheUnitsPlanIsToBeUp(t *testing.T) {
	status := control.Status{Checks: []control.Check{
		{Name: "chk_file", Kind: control.KindScript, State: control.CheckUp, User: checker},
		{Name: "chk_killall", Kind: control.KindScript, State: control.CheckUp, User: "root"},
		{Name: "chk_process", Kind: control.KindProcess, State: control.CheckUp, Mechanism: "process events"},
		{Name: "chk_unit", Kind: control.KindCheck, State: control.CheckUp},
		{Name: "chk_gateway", Kind: control.KindCheck, State: control.CheckUp},
	}}
	if wrong := checked(status); len(wrong) > 0 {
		t.Errorf("as it is to be, and %q", wrong)
	}
	for name, spoil := range map[string]func(*control.Status){
		"one is down":         func(s *control.Status) { s.Checks[3].State = control.CheckDown },
		"one is not there":    func(s *control.Status) { s.Checks = s.Checks[1:] },
		"another user":        func(s *control.Status) { s.Checks[0].User = "root" },
		"it looks by itself":  func(s *control.Status) { s.Checks[2].Mechanism = "scan of /proc every 1s" },
		"one is another kind": func(s *control.Status) { s.Checks[4].Kind = control.KindFile },
	} {
		spoilt := control.Status{Checks: slices.Clone(status.Checks)}
		spoil(&spoilt)
		if wrong := checked(spoilt); len(wrong) != 1 {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}

func TestTheExposureIsTheLastFigure(t *testing.T) {
	got, err := exposure("✗ NAME  0.2\n\n→ Overall exposure level for vipd@x.service: 2.9 OK 🙂\n")
	if err != nil || got != 2.9 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "→ Overall exposure level for vipd.service: many\n"} {
		if _, err := exposure(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestTheOtherInstancesAreNobodysElse(t *testing.T) {
	for _, s := range scenarios() {
		for _, i := range (job{scenario: s}).plan().instances {
			for name, other := range others() {
				if i.vip.Addr() == other.vip.Addr() || i.vrid == other.vrid {
					t.Errorf("%s has %v, VRID %d, as vipd@%s", s.name, i.vip, i.vrid, name)
				}
			}
		}
	}
	unit, file, run := template(office)
	if unit != "vipd@office.service" || file != "/etc/vipd/office.yaml" || run != "/run/vipd-office" {
		t.Errorf("got %s, %s, %s", unit, file, run)
	}
}
