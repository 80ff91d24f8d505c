package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vipd/vrrp"
)

// holderEnv makes the test binary a process that holds a lock and a claim:
// "RUN-DIR,INTERFACE".
const holderEnv = "VIPD_TEST_HOLDER"

func TestMain(m *testing.M) {
	if v := os.Getenv(holderEnv); v != "" {
		os.Exit(hold(v))
	}
	os.Exit(m.Run())
}

// hold takes what it is told to and keeps it until it is killed or its standard
// input ends.
func hold(what string) int {
	runDir, iface, _ := strings.Cut(what, ",")
	l, err := Lock(runDir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer l.Close()
	c, err := Claim(iface, vrrp.IPv4, 51)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer c.Close()
	// It answers nobody.
	ln, err := net.Listen("unix", SocketPath(runDir))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer ln.Close()
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// startHolder starts a process that holds runDir and the claim of iface, and
// returns it when it does.
func startHolder(t *testing.T, runDir, iface string, attr *syscall.SysProcAttr) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+runDir+","+iface)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if attr != nil && os.Getenv("CI") != "true" {
			t.Skipf("cannot make a network namespace: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "held\n" {
		t.Fatalf("the holder says %q (%v)", line, err)
	}
	return cmd, stdin
}

// testInterface returns a name that no other test process claims.
func testInterface(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("t%d", os.Getpid())
}

func TestARunDirectoryIsForOneDaemon(t *testing.T) {
	runDir := filepath.Join(t.TempDir(), "made", "by", "Lock")
	l, err := Lock(runDir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(runDir)
	var le *LockedError
	if !errors.As(err, &le) {
		t.Fatalf("the second Lock returns %T %v, want a *LockedError", err, err)
	}
	if want := (LockedError{RunDir: runDir, PID: os.Getpid()}); *le != want {
		t.Errorf("error is %+v, want %+v", *le, want)
	}
	if want := fmt.Sprintf("another vipd (pid %d) already uses %s", os.Getpid(), runDir); !strings.Contains(err.Error(), want) {
		t.Errorf("error is %q, want %q in it", err, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = Lock(runDir)
	if err != nil {
		t.Fatalf("after Close the run directory is still locked: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestALockFileWithoutAPIDIsNoTrouble(t *testing.T) {
	for _, content := range []string{"", "\n", "12x", strings.Repeat("9", 100), "-3\n"} {
		runDir := t.TempDir()
		l, err := Lock(runDir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(LockPath(runDir), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Lock(runDir); err == nil || !strings.Contains(err.Error(), "another vipd (pid unknown)") {
			t.Errorf("with %q in the lock file the error is %v, want an unknown pid", content, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALockFileIsNotALink(t *testing.T) {
	runDir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, LockPath(runDir)); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(runDir); !errors.Is(err, unix.ELOOP) {
		t.Errorf("error is %v, want %v", err, unix.ELOOP)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
		t.Errorf("the file behind the link holds %q (%v)", b, err)
	}
}

func TestAVirtualRouterIsClaimedOnce(t *testing.T) {
	iface := testInterface(t)
	c, err := Claim(iface, vrrp.IPv4, 51)
	if err != nil {
		t.Fatal(err)
	}
	for range claimBacklog + 5 {
		_, err = Claim(iface, vrrp.IPv4, 51)
		var ce *ClaimedError
		if !errors.As(err, &ce) {
			t.Fatalf("the second Claim returns %T %v, want a *ClaimedError", err, err)
		}
		// Whoever asks too often is not told by whom, but is told.
		if ce.PID == 0 {
			ce.PID, ce.UID = os.Getpid(), os.Getuid()
		}
		if want := (ClaimedError{Interface: iface, Family: vrrp.IPv4, VRID: 51, PID: os.Getpid(), UID: os.Getuid()}); *ce != want {
			t.Errorf("error is %+v, want %+v", *ce, want)
		}
	}
	for _, other := range []struct {
		iface  string
		family vrrp.Family
		vrid   uint8
	}{{iface, vrrp.IPv6, 51}, {iface, vrrp.IPv4, 52}, {iface + "x", vrrp.IPv4, 51}, {"", vrrp.IPv4, 251}} {
		o, err := Claim(other.iface, other.family, other.vrid)
		if err != nil {
			t.Errorf("%+v: %v", other, err)
			continue
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c, err = Claim(iface, vrrp.IPv4, 51)
	if err != nil {
		t.Fatalf("after Close the virtual router is still claimed: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAClaimErrorSaysWhoHasIt(t *testing.T) {
	e := &ClaimedError{Interface: "eth0", Family: vrrp.IPv6, VRID: 7, PID: 812, UID: 0}
	if got, want := e.Error(), "control: IPv6 virtual router 7 on eth0 is already run by another process in this network namespace (pid 812)"; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
	e = &ClaimedError{Family: vrrp.IPv4, VRID: 7, UID: 54321}
	if got, want := e.Error(), "control: IPv4 virtual router 7 is already run by another process in this network namespace (pid unknown, which belongs to user 54321)"; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
}

func TestANameThatNobodyAnswersForIsStillTaken(t *testing.T) {
	iface := testInterface(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: claimName(iface, vrrp.IPv4, 51)}); err != nil {
		t.Fatal(err)
	}
	_, err = Claim(iface, vrrp.IPv4, 51)
	var ce *ClaimedError
	if !errors.As(err, &ce) || ce.PID != 0 || ce.UID != -1 {
		t.Errorf("error is %T %+v, want a *ClaimedError with nobody in it", err, err)
	}
}

func TestLockAndClaimEndWithTheirProcess(t *testing.T) {
	runDir, iface := t.TempDir(), testInterface(t)
	cmd, _ := startHolder(t, runDir, iface, nil)

	_, err := Lock(runDir)
	var le *LockedError
	if !errors.As(err, &le) || le.PID != cmd.Process.Pid {
		t.Errorf("Lock returns %v, want that pid %d has it", err, cmd.Process.Pid)
	}
	_, err = Claim(iface, vrrp.IPv4, 51)
	var ce *ClaimedError
	if !errors.As(err, &ce) || ce.PID != cmd.Process.Pid {
		t.Errorf("Claim returns %v, want that pid %d has it", err, cmd.Process.Pid)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	l, err := Lock(runDir)
	if err != nil {
		t.Fatalf("the lock outlives its process: %v", err)
	}
	defer l.Close()
	c, err := Claim(iface, vrrp.IPv4, 51)
	if err != nil {
		t.Fatalf("the claim outlives its process: %v", err)
	}
	defer c.Close()
}

func TestEveryNetworkNamespaceHasItsOwnClaims(t *testing.T) {
	iface := testInterface(t)
	c, err := Claim(iface, vrrp.IPv4, 51)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// It could not say "held" if the claim of this namespace were in its way.
	_, stdin := startHolder(t, t.TempDir(), iface, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	})
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
}
