package vrrp_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"vipd/vrrp/vrrptest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMachineDoesWhatTheTracesSay runs every script of testdata/traces and
// compares what the machine does with what is written below each line.
func TestMachineDoesWhatTheTracesSay(t *testing.T) {
	files, err := filepath.Glob("testdata/traces/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces found: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := vrrptest.Trace(string(want))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs; the machine does:\n%s", file, got)
			}
		})
	}
}
