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
	as := map[string]func([]string) error{"systemctl": systemctl, "apt": apt}
	if name := filepath.Base(os.Args[0]); as[name] != nil {
		if err := as[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		return
	}
	rig.Main(m)
}
