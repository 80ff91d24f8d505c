package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const convertible = `global_defs {
    router_id a
}
vrrp_instance VI_1 {
    @one priority 150
    @two priority 100
    interface absent0
    virtual_router_id 51
    garp_master_delay 3
    virtual_ipaddress {
        192.0.2.10/24
    }
}
`

func TestConvertWritesTheOtherLanguage(t *testing.T) {
	file := write(t, "keepalived.conf", convertible)
	out := filepath.Join(t.TempDir(), "vipd.yaml")
	stdout, stderr, code := vipd(t, "convert", "-f", file, "-i", "two", "-o", out)
	if code != exitOK || stdout != "" || stderr != "" {
		t.Fatalf("got %d: %s%s", code, stdout, stderr)
	}
	data, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(data), "\n    priority: 100\n") {
		t.Errorf("got %v:\n%s", err, data)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v: others may read the passwords", info.Mode(), err)
	}
	if stdout, _, code := vipd(t, "fmt", "--check", out); code != exitOK {
		t.Errorf("what convert writes is not what fmt does: %s", stdout)
	}
	stdout, stderr, code = vipd(t, "convert", "-f", out, "--to", "keepalived")
	if code != exitOK || !strings.Contains(stdout, "    priority 100\n") {
		t.Errorf("got %d: %s%s", code, stdout, stderr)
	}
}

func TestConvertSaysWhatItCannotDo(t *testing.T) {
	conf := write(t, "keepalived.conf", convertible)
	own := write(t, "vipd.yaml", instances+"vrrp_script: {chk_ok: {script: /bin/true}, chk_fail: {script: /bin/false, unrunnable: ignore}}\n")
	bad := write(t, "bad.yaml", "vrrp_instance: {A: {}}\n")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-f", conf, "--to", "keepalived"}, exitUsage, "it is keepalived.conf already"},
		{[]string{"-f", conf, "--to", "toml"}, exitUsage, "it is yaml or keepalived"},
		{[]string{"-f", bad}, exitUsage, "it cannot be run as it is"},
		{[]string{"-f", filepath.Join(t.TempDir(), "none")}, exitUsage, "cannot be read"},
		{[]string{"-f", conf, "-o", conf}, exitUsage, "is the file that is converted"},
		{[]string{"-f", own}, exitNo, "keepalived does not have unrunnable"},
	} {
		_, stderr, code := vipd(t, append([]string{"convert"}, tt.args...)...)
		if code != tt.code || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: got %d, %s", tt.args, code, stderr)
		}
	}
}

func TestFmtLaysFilesOut(t *testing.T) {
	const text, want = "a:\n    b:   1 # x\n", "a:\n  b: 1   # x\n"
	file := write(t, "a.yaml", text)
	if stdout, _, code := vipd(t, "fmt", file); code != exitOK || stdout != want {
		t.Errorf("got %d, %q", code, stdout)
	}
	if stdout, _, code := vipd(t, "fmt", "--check", file); code != exitNo || stdout != file+"\n" {
		t.Errorf("got %d, %q", code, stdout)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := vipd(t, "fmt", "-w", file); code != exitOK || stdout != "" {
		t.Errorf("got %d, %s%s", code, stdout, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil || string(data) != want {
		t.Errorf("got %v, %q", err, data)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if _, _, code := vipd(t, "fmt", "--check", file); code != exitOK {
		t.Errorf("got %d", code)
	}
	for _, args := range [][]string{{write(t, "k.conf", convertible)}, {"-w", "--check", file}, {write(t, "b.yaml", "a: [")}} {
		if _, stderr, code := vipd(t, append([]string{"fmt"}, args...)...); code != exitUsage {
			t.Errorf("%q: got %d, %s", args, code, stderr)
		}
	}
}

func TestCheckEffectiveNamesTheOriginOfEveryValue(t *testing.T) {
	file := write(t, "vipd.yaml", "global_defs: {vrrp_version: 2}\nvrrp_instance:\n  A:\n    interface: absent0\n    virtual_router_id: 7\n    virtual_ipaddress: 192.0.2.1/24\n    authentication: {auth_type: PASS, auth_pass: secret}\n")
	stdout, stderr, code := vipd(t, "check", "--effective", "-f", file)
	if code != exitOK || strings.Contains(stdout, "secret") {
		t.Fatalf("got %d: %s%s", code, stdout, stderr)
	}
	var got []string
	for line := range strings.Lines(stdout) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		"vrrp_instance A (" + file + ":3)", "virtual_router_id 7 " + file + ":5", "version 2 vrrp_version in global_defs, " + file + ":1",
		"priority 100 default", "garp_master_refresh 60 default", "auth_pass ******** " + file + ":7", "virtual_ipaddress 192.0.2.1/24 dev absent0 " + file + ":6",
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("%q is missing in:\n%s", want, stdout)
		}
	}
	stdout, _, code = vipd(t, "check", "--effective", "--json", "-f", file)
	var doc struct {
		OK        bool
		Effective []struct {
			Keyword, Name, Origin string
			Settings              []struct{ Keyword, Value, Origin string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || code != exitOK || !doc.OK || len(doc.Effective) != 2 {
		t.Fatalf("got %d, %v: %s", code, err, stdout)
	}
	if in := doc.Effective[1]; in.Keyword != "vrrp_instance" || in.Name != "A" || in.Origin != file+":3" || in.Settings[2].Value != "7" {
		t.Errorf("got %+v", in)
	}
}
