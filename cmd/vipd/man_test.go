package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"vipd/cmd/vipd/packaging/manual"
)

// The packages' build has the test below write the pages: what makes them needs the
// commands, and is not in the program that is shipped.
var (
	manDir     = flag.String("man", "", "write the manual pages to `DIR`")
	manDate    = flag.String("man-date", time.Unix(0, 0).UTC().Format(time.DateOnly), "date of the manual pages")
	manVersion = flag.String("man-version", "(devel)", "version in the manual pages")
)

func TestEveryCommandHasAManualPage(t *testing.T) {
	heading := manual.Heading{Date: *manDate, Source: "vipd " + *manVersion}
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	write := func(name string, page []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	var pages int
	var all func(cmd *cobra.Command)
	all = func(cmd *cobra.Command) {
		pages++
		var more []manual.Section
		if cmd.DisableFlagParsing { // it has options that cobra knows nothing of
			_, help, code := vipd(t, append(strings.Fields(cmd.CommandPath())[1:], "--help")...) // on standard error, as keepalived
			_, options, ok := strings.Cut(help, "\n")
			if code != exitOK || !ok {
				t.Errorf("%s --help: exit code %d, %q", cmd.CommandPath(), code, help)
			}
			more = append(more, manual.Section{Title: "OPTIONS", Text: options})
		}
		page := manual.Command(cmd, heading, more...)
		write(manual.Name(cmd)+".8", page)
		for _, want := range []string{`.SH "NAME"`, `.SH "SYNOPSIS"`, `.SH "DESCRIPTION"`} {
			if !strings.Contains(string(page), want) {
				t.Errorf("%s: there is no %s", cmd.CommandPath(), want)
			}
		}
		for _, sub := range cmd.Commands() {
			if manual.Documented(sub) {
				all(sub)
			}
		}
	}
	root := rootCommand()
	root.InitDefaultHelpFlag()
	all(root)
	if want := len(root.Commands()) + 1; pages < want {
		t.Errorf("%d pages for at least %d commands", pages, want)
	}

	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	page, err := manual.Markdown("vipd.yaml", "5", "configuration of vipd", heading, string(text))
	if err != nil {
		t.Fatal(err)
	}
	write("vipd.yaml.5", page)
	for _, keyword := range []string{"virtual_router_id", "vrrp_script", "nopreempt"} {
		if !strings.Contains(string(page), ".TP\n\\fB"+keyword+"\\fR\n") {
			t.Errorf("vipd.yaml(5) has no entry for %s", keyword)
		}
	}
}
