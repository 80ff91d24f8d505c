package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// updateConverted is how to accept a change of the golden files.
var updateConverted = flag.Bool("update-converted", false, "write the golden files of conversions")

// convertible returns the configurations that are converted: those of tests and
// examples, and of the collection of others' if there is one.
func convertible(t *testing.T) []string {
	t.Helper()
	samples := "/usr/share/doc/keepalived/samples/keepalived.conf.*" // of Debian's package, if it is installed
	patterns := []string{samples, "testdata/*.yaml", "testdata/bad/*.yaml", "testdata/conf/*.conf", "testdata/convert/*.conf", "testdata/convert/*.yaml", "../examples/*.yaml"}
	if dir := os.Getenv("VIPD_CORPUS"); dir != "" {
		patterns = append(patterns, filepath.Join(dir, "*.conf"), filepath.Join(dir, "*", "*.conf"), filepath.Join(dir, "*.conf.sample"))
	}
	var files []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		if dir := os.Getenv("VIPD_CORPUS"); len(found) == 0 && p != samples && (dir == "" || !strings.HasPrefix(p, dir)) {
			t.Fatalf("nothing matches %s", p)
		}
		files = append(files, found...)
	}
	return files
}

func TestAConvertedConfigurationIsTheSameThereAndBackAgain(t *testing.T) {
	count := 0
	for _, file := range convertible(t) {
		o := Options{ConfigID: "node1"}
		want, _ := LoadWith(file, o)
		if want == nil {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			conv, diags := Convert(file, o)
			if conv == nil {
				t.Fatal(diags)
			}
			if conv.Difference != "" {
				t.Errorf("%s\n%s", conv.Difference, conv.Text)
			}
			if conv.Lost {
				t.Logf("lost:\n%s", diags)
			}
			got, gotDiags := ParseWith("there", conv.Text, Options{})
			if got == nil {
				t.Fatalf("%s%s", gotDiags, conv.Text)
			}
			if diff := Difference(want, got); diff != "" && !conv.Lost {
				t.Errorf("there: %s\n%s", diff, conv.Text)
			}
			count++
			back, backDiags := convertText("there", conv.Text, Options{})
			if back == nil {
				t.Fatal(backDiags)
			}
			again, againDiags := ParseWith("back", back.Text, Options{})
			if again == nil {
				t.Fatalf("%s%s", againDiags, back.Text)
			}
			if diff := Difference(got, again); diff != "" && !back.Lost {
				t.Errorf("back: %s\n%s\n%s", diff, conv.Text, back.Text)
			}
		})
	}
	if count < 20 {
		t.Errorf("only %d configurations were converted", count)
	}
}

func TestConversionsReadWell(t *testing.T) {
	files, err := filepath.Glob("testdata/convert/*.*")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".want") {
			continue
		}
		count++
		conv, diags := Convert(file, Options{ConfigID: "node1"})
		if conv == nil {
			t.Fatal(diags)
		}
		got := string(conv.Text)
		if conv.Lost {
			var lost []string
			for _, d := range diags {
				lost = append(lost, d.String())
			}
			got += "\n# --- with these diagnostics:\n# " + strings.Join(lost, "\n# ") + "\n"
		}
		golden := file + ".want"
		if *updateConverted {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got:\n%s\nwant:\n%s", file, got, want)
		}
	}
	if count < 3 {
		t.Errorf("only %d files", count)
	}
}

func TestWhatKeepalivedDoesOtherwiseIsWrittenOut(t *testing.T) {
	const instance = "vrrp_instance %s {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {\n192.0.2.1\n}\n}\n"
	conv, diags := convertText("k.conf", []byte(strings.ReplaceAll(instance, "%s", "A")), Options{})
	if conv == nil || conv.Lost || conv.Difference != "" {
		t.Fatal(conv, diags)
	}
	for _, want := range []string{"vrrp_version: 2", "vrrp_garp_master_refresh: 0", "vrrp_check_unicast_src: false", "enable_script_security: false"} {
		if !strings.Contains(string(conv.Text), "  "+want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, conv.Text)
		}
	}
	back, diags := convertText("v.yaml", []byte("vrrp_instance: {A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1}}"), Options{})
	if back == nil || back.Lost || back.Difference != "" {
		t.Fatal(back, diags)
	}
	for _, want := range []string{"vrrp_version 3", "vrrp_garp_master_refresh 60", "vrrp_check_unicast_src", "enable_script_security", "script_user root", "vrrp_higher_prio_send_advert true", "dynamic_interfaces"} {
		if !strings.Contains(string(back.Text), "    "+want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, back.Text)
		}
	}
}

func TestAnInstanceDoesNotLoseItsPasswordByConversion(t *testing.T) {
	for text, to := range map[string]Format{
		"vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\nauthentication {\nauth_type PASS\nauth_pass p\xe4ss\n}\nvirtual_ipaddress {\n192.0.2.1\n}\n}\n":        YAML,
		"vrrp_instance: {A: {interface: eth0, virtual_router_id: 1, version: 2, virtual_ipaddress: 192.0.2.1, authentication: {auth_type: PASS, auth_pass: 'a\"b'}}}\n": Keepalived,
	} {
		conv, diags := convertText("c", []byte(text), Options{})
		if conv == nil || conv.To != to {
			t.Fatal(conv, diags)
		}
		got, _ := ParseWith("there", conv.Text, Options{})
		if !conv.Lost || got != nil && len(got.Instances) > 0 || !strings.Contains(diags.String(), "password") {
			t.Errorf("got %v:\n%s\n%s", conv.Lost, conv.Text, diags)
		}
	}
}

func TestWordsAreQuotedForBothLanguages(t *testing.T) {
	for _, name := range []string{"a b", "no", "~", "null", "- x", "a: b", "a #b", "#a", "!a", "'", "a'b", "{a}", "[a]", "@id x", "$A", "*a", "&a", "%a", "a,b", "0x10", "1:20", "a:", "include x", "über", "…", "=", "---", "..."} {
		text := "vrrp_instance:\n  " + yamlScalar(name, false) + ":\n    interface: eth0\n    virtual_router_id: 1\n    virtual_ipaddress: 192.0.2.1\n" +
			"    track_script:\n      - {name: " + yamlScalar(name, true) + ", weight: 5}\n    notify: [/bin/x, " + yamlScalar(name, true) + "]\n" +
			"vrrp_script:\n  " + yamlScalar(name, false) + ": {script: /bin/true}\n"
		want, diags := Parse("t", []byte(text))
		if want == nil {
			t.Fatalf("%s\n%s", diags, text)
		}
		if in := want.Instances[0]; in.Name != name || in.Tracks[0].Name != name || in.Notify.Any.Argv[1] != name {
			t.Errorf("%q: got %+v", name, in)
		}
		conv, diags := convertText("t", []byte(text), Options{})
		if conv == nil || conv.Lost || conv.Difference != "" {
			t.Fatalf("%q: %+v\n%s", name, conv, diags)
		}
		back, diags := convertText("k.conf", conv.Text, Options{})
		if back == nil || back.Lost || back.Difference != "" {
			t.Fatalf("%q: %+v\n%s\n%s", name, back, diags, conv.Text)
		}
		if got, _ := Parse("t", back.Text); Difference(want, got) != "" {
			t.Errorf("%q: %s\n%s", name, Difference(want, got), back.Text)
		}
	}
}

func TestCommandLinesAreSplitIntoTheSameWords(t *testing.T) {
	for _, argv := range [][]string{{"/a", ""}, {"/a b", `c\d`, `"`, `'`, "\x01\t\n", "ü", "${_PWD}", "$_HASH x", "#", "!", "{", "a\x80"}} {
		joined, _ := joinCommand(argv)
		got, _, f := splitCommand(joined)
		if f != nil || strings.Join(got, "\x00") != strings.Join(argv, "\x00") {
			t.Errorf("%q: got %q, %v", argv, got, f)
		}
		if strings.Contains(joined, `"`) {
			t.Errorf("there is a double quote in %s", joined)
		}
	}
}

func TestDifferencesAreFound(t *testing.T) {
	a := mustParse(t, "vrrp_instance: {A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1}}")
	b := mustParse(t, "vrrp_instance:\n  A: {interface: eth0, virtual_router_id: 1, virtual_ipaddress: 192.0.2.1, priority: 99}")
	if got, want := Difference(a, b), ".Instances[0].Priority: 100, 99"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Instances[0].Priority = 100
	if got := Difference(a, b); got != "" {
		t.Errorf("got %q", got)
	}
	b.Instances[0].Addresses = nil
	if Difference(a, b) == "" || Difference(a, nil) == "" || Difference(nil, nil) != "" {
		t.Error("a difference is not found")
	}
}

func FuzzConversionsAreTheSame(f *testing.F) {
	for _, pattern := range []string{"testdata/convert/*.conf", "testdata/conf/*.conf", "testdata/*.yaml", "testdata/convert/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		conv, diags := convertText("fuzz", data, Options{ConfigID: "node1"})
		if conv == nil || conv.Lost {
			return
		}
		if conv.Difference != "" {
			t.Errorf("%s\n%s\n%s", conv.Difference, diags, conv.Text)
		}
	})
}

func FuzzLayoutKeepsTheMeaning(f *testing.F) {
	f.Add([]byte("a:\n    - b:   1   # c\n    # d\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := FormatYAML("fuzz.yaml", data)
		if err != nil {
			return
		}
		again, err := FormatYAML("fuzz.yaml", out)
		if err != nil || string(again) != string(out) {
			t.Errorf("%v: %q\nthen %q\nfrom %q", err, out, again, data)
		}
	})
}
