package migrating

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vipd/cmd/internal/rig"
)

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(envHost); ok {
		fmt.Fprintln(os.Stderr, "host:", beHost(dir))
		os.Exit(1)
	}
	if filepath.Base(os.Args[0]) == "systemctl" {
		if err := systemctl(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "systemctl:", err)
			os.Exit(1)
		}
		return
	}
	rig.Main(m)
}
