package migrating

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What stands for systemd on a host.
const (
	unitState  = "/run/units" // the process ids and the logs of services
	unitDir    = "/etc/systemd/system"
	packageDir = "/lib/systemd/system"
	wantsDir   = unitDir + "/multi-user.target.wants"
	// keepalivedPID is where keepalived writes its process id when it has begun.
	keepalivedPID = "/run/keepalived.pid"
	serviceTime   = 20 * time.Second // that a service may take to start or to end
)

// systemctl stands for systemd. It knows the verbs of the document and what is
// in the units of vipd and keepalived that matters here: the command, the
// capabilities, and that the service says when it is ready.
func systemctl(args []string) error {
	if len(args) == 1 && args[0] == "daemon-reload" {
		return nil // units are read each time
	}
	now := slices.Contains(args, "--now")
	args = slices.DeleteFunc(args, func(a string) bool { return a == "--now" })
	if len(args) != 2 {
		return fmt.Errorf("not understood: %q", args)
	}
	verb, s := args[0], service(args[1])
	switch {
	case verb == "start":
		return s.start()
	case verb == "stop":
		return s.stop()
	case verb == "enable" && now:
		return errors.Join(s.enable(), s.start())
	case verb == "disable":
		if err := os.Remove(s.wanted()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if now {
			return s.stop()
		}
		return nil
	case verb == "mask":
		return os.Symlink(os.DevNull, filepath.Join(unitDir, string(s)+".service"))
	case verb == "unmask":
		return os.Remove(filepath.Join(unitDir, string(s)+".service"))
	}
	return fmt.Errorf("unknown verb %s", verb)
}

// A service is the name of one.
type service string

func (s service) wanted() string         { return filepath.Join(wantsDir, string(s)+".service") }
func (s service) state(as string) string { return filepath.Join(unitState, string(s)+as) }

// unit returns the text of the unit, and of its drop-ins.
func (s service) unit() (string, error) {
	for _, dir := range []string{unitDir, packageDir} {
		raw, err := os.ReadFile(filepath.Join(dir, string(s)+".service"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if len(raw) == 0 {
			return "", fmt.Errorf("%s is masked", s)
		}
		dropIns, err := filepath.Glob(filepath.Join(unitDir, string(s)+".service.d", "*.conf"))
		if err != nil {
			return "", err
		}
		for _, file := range dropIns {
			more, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			raw = append(append(raw, '\n'), more...)
		}
		return string(raw), nil
	}
	return "", fmt.Errorf("there is no %s", s)
}

// apt stands for apt. It knows how to install a package, which is a directory that
// has the files as they are to be from the root.
func apt(args []string) error {
	if len(args) != 2 || args[0] != "install" {
		return fmt.Errorf("not understood: %q", args)
	}
	return filepath.WalkDir(args[1], func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(args[1], path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join("/", name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, data, info.Mode())
	})
}

func (s service) enable() error {
	if _, err := s.unit(); err != nil {
		return err
	}
	if err := os.MkdirAll(wantsDir, 0o755); err != nil {
		return err
	}
	// A link, as systemd's; writing a file here would write to what it leads to.
	err := os.Symlink(filepath.Join(unitDir, string(s)+".service"), s.wanted())
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// running returns the process of the service, 0 if it has none.
func (s service) running() int {
	raw, err := os.ReadFile(s.state(".pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || syscall.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

// start starts the service and waits until it says that it is ready.
func (s service) start() error {
	if s.running() != 0 {
		return nil
	}
	unit, err := s.unit()
	if err != nil {
		return err
	}
	argv := command(unit)
	if err := os.MkdirAll(unitState, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(s.state(".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	address := s.state(".notify")
	_ = os.Remove(address)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer notify.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+address)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(s.state(".pid"), fmt.Appendln(nil, cmd.Process.Pid), 0o644); err != nil {
		return err
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := notify.Read(message)
			if err != nil {
				return
			}
			if slices.Contains(strings.Split(string(message[:n]), "\n"), "READY=1") {
				close(ready)
				return
			}
		}
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(serviceTime)
	for {
		select {
		case <-ready:
			return nil
		case <-tick.C:
			// keepalived tells nobody but process 1 that it is ready.
			if _, err := os.Stat(keepalivedPID); s == "keepalived" && err == nil {
				return nil
			}
		case err := <-ended:
			text, _ := os.ReadFile(s.state(".log"))
			return fmt.Errorf("%s has ended (%v):\n%s", s, err, text)
		case <-late:
			return fmt.Errorf("%s is not ready", s)
		}
	}
}

// command returns the command line of a unit, with no more capabilities than the
// unit allows.
func command(unit string) []string {
	var limits, argv []string
	for line := range strings.Lines(unit) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ExecStart":
			argv = strings.Fields(value) // an empty one takes those before it away
		case "CapabilityBoundingSet":
			value = strings.ReplaceAll(strings.ToLower(value), "cap_", "+")
			limits = []string{"setpriv", "--bounding-set=-all," + strings.Join(strings.Fields(value), ","), "--"}
		}
	}
	argv = append(limits, argv...)
	for i, a := range argv {
		if a == "$DAEMON_ARGS" { // of keepalived, from a file for the administrator
			argv[i] = "--log-console"
		}
	}
	return argv
}

// stop ends the service and waits until it has ended.
func (s service) stop() error {
	pid := s.running()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(serviceTime)
	for s.running() != 0 {
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("%s does not end", s)
		}
	}
	return os.Remove(s.state(".pid"))
}
