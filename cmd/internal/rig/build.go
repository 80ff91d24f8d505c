package rig

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vipd/netif/netiftest"
)

const (
	// envBuilds names the directory with what a test binary has built.
	envBuilds = "RIG_BUILDS"
	// envRace has vipd built with the race detector, which reports to its log.
	envRace = "RIG_RACE"
	// envBuildError says why there is no vipd in it.
	envBuildError = "RIG_BUILD_ERROR"

	// parallel is how many tests may run at once: they wait for timers most of
	// the time, so the number of processors is no measure.
	parallel = "24"
)

// Main is for TestMain, in place of netiftest.Main. It builds vipd. Unless the command line says otherwise (-parallel), more parallel tests
// run at once than there are processors.
func Main(m interface{ Run() int }) {
	_, inside := os.LookupEnv(envBuilds)
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(2)
	}
	code := netiftest.Tests(m)
	if !inside {
		_ = os.RemoveAll(os.Getenv(envBuilds))
	}
	os.Exit(code)
}

// prepare does once what netiftest.Main, which runs this program a second time,
// passes on.
func prepare() error {
	if err := flag.Set("test.parallel", parallel); err != nil {
		return err
	}
	if _, done := os.LookupEnv(envBuilds); done {
		return nil
	}
	dir, err := os.MkdirTemp("", "rig-")
	if err != nil {
		return err
	}
	// Out here there is a network, should a module be missing. There is no race
	// detector in it, unless asked for: it is as people run it, and starts at once.
	cmd := exec.Command("go", "build", "-o", dir, "vipd/cmd/vipd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if os.Getenv(envRace) != "" {
		cmd = exec.Command("go", "build", "-race", "-o", dir, "vipd/cmd/vipd")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		if err := os.Setenv(envBuildError, fmt.Sprintf("%v\n%s", err, out)); err != nil {
			return err
		}
	}
	return os.Setenv(envBuilds, dir)
}

// BuildVIPD returns the path of a vipd built from this tree.
func BuildVIPD(t testing.TB) string {
	t.Helper()
	file, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func built() (string, error) {
	dir, ok := os.LookupEnv(envBuilds)
	if !ok {
		return "", errors.New("rig: the package's TestMain does not call rig.Main")
	}
	if reason, failed := os.LookupEnv(envBuildError); failed {
		return "", fmt.Errorf("rig: building vipd: %s", reason)
	}
	return filepath.Join(dir, "vipd"), nil
}
