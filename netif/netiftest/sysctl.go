package netiftest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Sysctl sets a kernel parameter inside the namespace. The key is separated by
// dots, or by slashes if an interface's name contains a dot:
// net/ipv4/conf/eth0.100/rp_filter.
func (n *Node) Sysctl(key, value string) error {
	file, err := sysctlFile(key)
	if err != nil {
		return fmt.Errorf("netiftest: %w", err)
	}
	// /proc/sys/net shows the namespace of the thread that looks.
	err = n.Do(func() error { return os.WriteFile(file, []byte(value), 0) })
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("netiftest: setting %s on %s: %w (/proc/sys is mounted read-only, as containers do)", key, n.name, err)
	}
	if err != nil {
		return fmt.Errorf("netiftest: setting %s on %s: %w", key, n.name, err)
	}
	return nil
}

// GetSysctl returns a kernel parameter as seen inside the namespace.
func (n *Node) GetSysctl(key string) (string, error) {
	file, err := sysctlFile(key)
	if err != nil {
		return "", fmt.Errorf("netiftest: %w", err)
	}
	var value []byte
	err = n.Do(func() (err error) {
		value, err = os.ReadFile(file)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("netiftest: reading %s on %s: %w", key, n.name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// sysctlFile returns the file of a kernel parameter. Only those below net belong
// to a network namespace; any other would be changed for the whole machine.
func sysctlFile(key string) (string, error) {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	if path.Clean(key) != key || !strings.HasPrefix(key, "net/") {
		return "", fmt.Errorf("sysctl %q is not one of a network namespace", key)
	}
	return "/proc/sys/" + key, nil
}
