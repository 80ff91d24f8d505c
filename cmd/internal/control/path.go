package control

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DefaultRunDir is the run directory of a vipd that was given none.
const DefaultRunDir = "/run/vipd"

// SocketPath returns the path of the control socket in a run directory.
func SocketPath(runDir string) string { return filepath.Join(runDir, "control.sock") }

// LockPath returns the path of the lock file in a run directory.
func LockPath(runDir string) string { return filepath.Join(runDir, "vipd.lock") }

// maxSocketPath is what sun_path of a unix socket address holds, with its
// terminating NUL.
const maxSocketPath = 107

// reach returns a name of path that fits a unix socket address, and a function
// that ends its use. A path that is too long is reached through a descriptor of
// its directory.
func reach(path string) (name string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, err
	}
	name = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return name, func() { _ = dir.Close() }, nil
}
