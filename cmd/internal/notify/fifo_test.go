package notify

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"vipd/checks/command"
)

// openNotifier returns a Notifier with pipes and real programs.
func openNotifier(t *testing.T, fifos ...FIFO) (*Notifier, *logBuffer) {
	t.Helper()
	logger, buf := newLog(t)
	r := command.NewRunner(logger)
	t.Cleanup(r.Close)
	n, err := New(Config{Runner: r, Log: logger, FIFOs: fifos})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close(within(t, 20*time.Second)) })
	return n, buf
}

// A reader reads lines from a pipe.
type reader struct {
	file *os.File
	buf  *bufio.Reader
}

func read(t *testing.T, path string) *reader {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &reader{file, bufio.NewReader(file)}
}

func (r *reader) line(t *testing.T) string {
	t.Helper()
	if err := r.file.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, err := r.buf.ReadString('\n')
	if err != nil {
		t.Fatalf("reading a line: %v (%q)", err, line)
	}
	return line
}

// own returns a pipe that is to belong to whom it is made by.
func own(path string) FIFO { return FIFO{Path: path, UID: -1, GID: -1} }

func TestBothPipesGetTheLinesThatKeepalivedWrites(t *testing.T) {
	dir := t.TempDir()
	all := own(filepath.Join(dir, "all"))
	all.All = true
	n, _ := openNotifier(t, all, own(filepath.Join(dir, "vrrp")))
	for _, e := range []Event{
		{Name: "VI_1", State: "BACKUP", Priority: 100},
		{Name: "VI_1", State: "MASTER", Priority: 100},
		{Name: "VI_1", State: "MASTER", Priority: 100, NoFIFO: true},
		{Name: "VI_1", State: "MASTER_RX_LOWER_PRI", Priority: 100},
		{Name: "VI_1", State: "MASTER_RX_LOWER_PRI", Priority: 100},
		{Name: "VI_1", State: "MASTER_PRIORITY", Priority: 90},
		{Name: "VI_2", State: "MASTER", Priority: 100},
		{Group: true, Name: "SG_1", State: "MASTER"},
		{Name: "VI_1", State: "STOP", Priority: 100},
		{Group: true, Name: "SG_1", State: "STOP"},
	} {
		n.Notify(e)
	}
	const want = `INSTANCE "VI_1" BACKUP 100
INSTANCE "VI_1" MASTER 100
INSTANCE "VI_1" MASTER_RX_LOWER_PRI 100
INSTANCE "VI_1" MASTER_RX_LOWER_PRI 100
INSTANCE "VI_1" MASTER_PRIORITY 90
INSTANCE "VI_2" MASTER 100
GROUP "SG_1" MASTER 0
INSTANCE "VI_1" STOP 100
GROUP "SG_1" STOP 0
`
	for _, name := range []string{"all", "vrrp"} {
		// It comes late, which does no harm.
		r := read(t, filepath.Join(dir, name))
		var got strings.Builder
		for range strings.Count(want, "\n") {
			got.WriteString(r.line(t))
		}
		if got.String() != want {
			t.Errorf("%s: got:\n%s\nwant:\n%s", name, got.String(), want)
		}
	}
}

func TestAPipeIsMadeForItsOwnerOnlyAndRemovedIfItWasMade(t *testing.T) {
	dir := t.TempDir()
	made, found := filepath.Join(dir, "made"), filepath.Join(dir, "found")
	if err := syscall.Mkfifo(found, 0o640); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0)
	n, _ := openNotifier(t, own(made), own(found))
	syscall.Umask(old)
	for path, want := range map[string]fs.FileMode{made: 0o600, found: 0o640} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != want|fs.ModeNamedPipe {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
	n.Close(within(t, 20*time.Second))
	if _, err := os.Stat(made); !os.IsNotExist(err) {
		t.Errorf("the pipe that was made is left: %v", err)
	}
	if _, err := os.Stat(found); err != nil {
		t.Errorf("the pipe that was found is gone: %v", err)
	}
}

func TestOfAPipeThatIsClosedToUsItSaysWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "closed")
	if err := syscall.Mkfifo(path, 0); err != nil {
		t.Fatal(err)
	}
	err := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: this thread ends without the capability
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if e := unix.Capget(&header, &caps[0]); e != nil {
			err <- e
			return
		}
		caps[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
		if e := unix.Capset(&header, &caps[0]); e != nil {
			err <- e
			return
		}
		err <- (&fifo{FIFO: own(path)}).open()
	}()
	got := <-err
	if !errors.Is(got, fs.ErrPermission) || !strings.Contains(got.Error(), "remove it") || !strings.Contains(got.Error(), path) {
		t.Errorf("it says %v", got)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the pipe that was found is gone: %v", err)
	}
}

func TestAPipeThatTheNextNotifierUsesOutlivesTheOneThatMadeIt(t *testing.T) {
	dir := t.TempDir()
	both, gone := filepath.Join(dir, "both"), filepath.Join(dir, "gone")
	old, _ := openNotifier(t, own(both), own(gone))
	next, _ := openNotifier(t, own(both))
	next.TakeOver(old)
	old.Close(within(t, 20*time.Second))
	if _, err := os.Stat(both); err != nil {
		t.Errorf("the pipe that is still used is gone: %v", err)
	}
	if _, err := os.Stat(gone); !os.IsNotExist(err) {
		t.Errorf("the pipe that is not used any more is left: %v", err)
	}
	next.Close(within(t, 20*time.Second))
	if _, err := os.Stat(both); !os.IsNotExist(err) {
		t.Errorf("the pipe is left at the end: %v", err)
	}
}

func TestAPipeIsGivenToItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	path := filepath.Join(t.TempDir(), "fifo")
	if probe := write(t, path, "", 0o600); os.Chown(probe, 65534, 65534) != nil {
		t.Skip("this root has no other users to give files to")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n, _ := openNotifier(t, FIFO{Path: path, UID: 65534, GID: 65534})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 65534 || st.Gid != 65534 {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	// What belongs to the user is as good as what belongs to us; what belongs
	// to somebody else is not.
	again, _ := openNotifier(t, FIFO{Path: path, UID: 65534, GID: -1}, FIFO{Path: path, UID: 1, GID: -1})
	if s := again.FIFOs(); s[0].Error != "" || !strings.Contains(s[1].Error, "owned by uid 65534") {
		t.Errorf("status: %+v", s)
	}
	n.Close(within(t, 20*time.Second))
}

// TestAPipeThatCannotBeGivenAwayCanBeUsedByItsUser does without CAP_CHOWN, as the
// unit has it.
func TestAPipeThatCannotBeGivenAwayCanBeUsedByItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has other users")
	}
	path := filepath.Join(t.TempDir(), "fifo")
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&header, &had[0]); err != nil {
		t.Fatal(err)
	}
	without := had
	without[0].Effective &^= 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE
	if err := unix.Capset(&header, &without[0]); err != nil {
		t.Fatal(err)
	}
	n, log := openNotifier(t, FIFO{Path: path, UID: 65534, GID: -1})
	if err := unix.Capset(&header, &had[0]); err != nil {
		t.Fatal(err)
	}
	defer n.Close(within(t, 20*time.Second))
	if text := log.String(); strings.Contains(text, "cannot") {
		t.Errorf("the log complains: %s", text)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 {
		t.Fatalf("the owner is %d: the test has tried nothing", st.Uid)
	}
	for uid, want := range map[uint32]bool{65534: true, 65533: false} {
		cmd := exec.Command("test", "-r", path, "-a", "-w", path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if err := cmd.Run(); (err == nil) != want {
			t.Errorf("as user %d, using the pipe: %v, want that it may: %t", uid, err, want)
		}
	}
}

func TestWhatIsNotAPipeOfOursIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	file := write(t, filepath.Join(dir, "file"), "precious", 0o600)
	n, log := openNotifier(t, own(file), own(link), own(dir), own(filepath.Join(dir, "missing/fifo")))
	n.Notify(Event{Name: "VI_1", State: "MASTER", Priority: 1})
	for i, want := range []string{"not a FIFO", "too many levels of symbolic links", "is a directory", "no such file"} {
		if got := n.FIFOs()[i].Error; !strings.Contains(got, want) {
			t.Errorf("%s: %q does not contain %q", n.FIFOs()[i].Path, got, want)
		}
	}
	n.Close(within(t, 20*time.Second))
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if got := log.count("level=ERROR", "is not used"); got != 4 {
		t.Errorf("%d lines about it, want 4", got)
	}
}

func TestAFullPipeLosesNothingAndBlocksNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	n, log := openNotifier(t, own(path))
	const total = 9000
	start := time.Now()
	for i := range total {
		n.Notify(Event{Name: fmt.Sprintf("VI_%d", i), State: "MASTER", Priority: 100})
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("notifying took %v", took)
	}
	eventually(t, "the log says that the reader lags", func() bool { return log.count("the FIFO is full") == 1 })
	r := read(t, path)
	for i := range total {
		if got, want := r.line(t), fmt.Sprintf("INSTANCE \"VI_%d\" MASTER 100\n", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	eventually(t, "the log says that the reader has caught up", func() bool { return log.count("caught up") == 1 })
	if s := n.FIFOs()[0]; s.Waiting != 0 || s.Dropped != 0 {
		t.Errorf("status: %+v", s)
	}
	if got := log.count("the FIFO is full"); got != 1 {
		t.Errorf("%d lines about a full pipe, want 1", got)
	}
}

func TestBeyondTheBoundLinesAreDroppedAndCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	n, log := openNotifier(t, own(path))
	const total = 3 * maxLines
	for i := range total {
		n.Notify(Event{Name: fmt.Sprintf("VI_%d", i), State: "MASTER", Priority: 100})
	}
	s := n.FIFOs()[0]
	if s.Dropped == 0 || s.Waiting == 0 || s.Waiting > maxLines {
		t.Errorf("status: %+v", s)
	}
	if got := log.count("level=ERROR", "too many lines"); got != 1 {
		t.Errorf("%d lines about it, want 1", got)
	}
	r := read(t, path)
	for i := range total - int(s.Dropped) {
		if got, want := r.line(t), fmt.Sprintf("INSTANCE \"VI_%d\" MASTER 100\n", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	n.Notify(Event{Name: "after", State: "BACKUP", Priority: 1})
	if got, want := r.line(t), "INSTANCE \"after\" BACKUP 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAReaderMayGoAndComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	n, _ := openNotifier(t, own(path))
	for i := range 5 {
		n.Notify(Event{Name: "VI_1", State: "MASTER", Priority: i})
		r := read(t, path)
		if got, want := r.line(t), fmt.Sprintf("INSTANCE \"VI_1\" MASTER %d\n", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := r.file.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseDoesNotWaitForAPipeThatNobodyReads(t *testing.T) {
	n, log := openNotifier(t, own(filepath.Join(t.TempDir(), "fifo")))
	for range 5000 {
		n.Notify(Event{Name: "VI_1", State: "MASTER", Priority: 100})
	}
	start := time.Now()
	n.Close(within(t, 20*time.Second))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if got := log.count("nobody reads the FIFO"); got != 1 {
		t.Errorf("%d lines about what is lost, want 1", got)
	}
	if s := n.FIFOs()[0]; s.Dropped == 0 || s.Waiting != 0 {
		t.Errorf("status: %+v", s)
	}
}

func TestTheScriptOfAPipeReadsEverythingAndEndsWithThePipe(t *testing.T) {
	dir := t.TempDir()
	path, out := filepath.Join(dir, "fifo"), filepath.Join(dir, "out")
	script := write(t, filepath.Join(dir, "script"), `#!/bin/sh
while read -r line; do echo "$line" >>"$1"; done <"$2"
echo end >>"$1"
`, 0o755)
	f := own(path)
	f.Script = &command.Spec{Argv: []string{script, out}, As: command.Own()}
	n, log := openNotifier(t, f)
	n.Notify(Event{Name: "VI_1", State: "MASTER", Priority: 100})
	n.Notify(Event{Name: "VI_1", State: "STOP", Priority: 100})
	n.Close(within(t, 20*time.Second))
	got, err := os.ReadFile(out)
	if want := "INSTANCE \"VI_1\" MASTER 100\nINSTANCE \"VI_1\" STOP 100\nend\n"; err != nil || string(got) != want {
		t.Errorf("the script has read %q (%v), want %q", got, err, want)
	}
	if got := log.count("it is started again"); got != 0 {
		t.Error("the script was to be started again")
	}
}

func TestTheScriptOfAPipeGetsSIGTERMIfItDoesNotEndAndIsStartedAgainIfItDoes(t *testing.T) {
	dir := t.TempDir()
	path, out := filepath.Join(dir, "fifo"), filepath.Join(dir, "out")
	// The first time it reads one line and fails.
	script := write(t, filepath.Join(dir, "script"), `#!/bin/sh
exec 3<"$2"
read -r line <&3
echo "$line" >>"$1"
test -e "$1.again" || { touch "$1.again"; echo oops >&2; exit 7; }
trap 'echo terminated >>"$1"; exit' TERM
while :; do sleep 0.1; done
`, 0o755)
	f := own(path)
	f.Script = &command.Spec{Argv: []string{script, out}, As: command.Own()}
	n, log := openNotifier(t, f)
	text := func() string {
		got, _ := os.ReadFile(out)
		return string(got)
	}
	n.Notify(Event{Name: "VI_1", State: "BACKUP", Priority: 100})
	eventually(t, "the script is started again", func() bool {
		return log.count("level=WARN", "it is started again", "exit code 7", "oops", "in=1s") == 1
	})
	n.Notify(Event{Name: "VI_1", State: "MASTER", Priority: 100})
	want := "INSTANCE \"VI_1\" BACKUP 100\nINSTANCE \"VI_1\" MASTER 100\n"
	eventually(t, "both lines have been read", func() bool { return text() == want })
	n.Close(within(t, 20*time.Second))
	if want += "terminated\n"; text() != want {
		t.Errorf("the script has written %q, want %q", text(), want)
	}
}

func TestTheScriptOfAPipeIsStartedAgainLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, _ := newLog(t)
		r := newFakeRunner()
		f := &fifo{FIFO: own("/run/fifo"), log: logger, ended: make(chan struct{})}
		f.Script = &command.Spec{Argv: []string{"reader:1s:1"}}
		go f.supervise(t.Context(), r)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		// 1, 2, 4, 8, 16, 32 s and then one each minute, and the second that it
		// takes.
		if got := strings.Count(r.trace(), "start"); got != 6+1+8 {
			t.Errorf("started %d times in 10 minutes:\n%s", got, r.trace())
		}
		if got := fmt.Sprint(r.specs[0].Argv); got != "[reader:1s:1 /run/fifo]" {
			t.Errorf("started as %s", got)
		}
	})
}
