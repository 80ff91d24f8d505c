package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what comes at once.
const patience = 20 * time.Second

// A guest is a machine as the host sees it: a port, behind which one boot after
// the other has a Server.
type guest struct {
	port net.Conn
}

// start returns a Client and the guest that it talks to, which has not booted.
func start(t *testing.T) (*Client, *guest) {
	t.Helper()
	host, port := net.Pipe()
	t.Cleanup(func() {
		_ = host.Close()
		_ = port.Close()
	})
	return NewClient(host), &guest{port: port}
}

// boot starts a Server, which runs until the returned function ends its boot.
func (g *guest) boot(t *testing.T, name string) (end func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- NewServer(g.port, name).Serve(g.port) }()
	return func() {
		t.Helper()
		// A deadline in the past ends a read, as a reset does.
		if err := g.port.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the server ended with %v", err)
		}
		if err := g.port.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// up returns a Client and a guest that has booted.
func up(t *testing.T) *Client {
	t.Helper()
	c, g := start(t)
	g.boot(t, "first")
	if err := c.WaitUp(soon(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACommandTellsWhatItWroteAndHowItEnded(t *testing.T) {
	c := up(t)
	tests := []struct {
		name, command string
		want          Result
	}{
		{"both streams and a code", "echo out; echo err >&2; exit 3", Result{Stdout: "out\n", Stderr: "err\n", Code: 3}},
		{"one that a signal ends", "kill -TERM $$", Result{Code: 128 + int(syscall.SIGTERM)}},
		{"one that leaves something in the background, which holds its output", "sleep 60 & echo $! >&2; kill $!; echo done", Result{Stdout: "done\n"}},
		{"octets that are no text", `printf '\377\000\n'`, Result{Stdout: "\xff\x00\n"}},
		{"what the agent's environment has is not passed on", "echo \"$INVOCATION_ID$NOTIFY_SOCKET$HOME\"", Result{Stdout: "/root\n"}},
	}
	t.Setenv("INVOCATION_ID", "of a unit")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Run(soon(t), tt.command)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want.Stderr == "" { // a process number
				got.Stderr = ""
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestALongJobHoldsNobodyUpAndCanBeAskedAndEnded(t *testing.T) {
	c := up(t)
	ctx := soon(t)
	j, err := c.Start(ctx, "echo begun; sleep 600 & wait")
	if err != nil {
		t.Fatal(err)
	}
	for {
		got, err := c.Run(ctx, "echo meanwhile")
		if err != nil || got.Stdout != "meanwhile\n" {
			t.Fatalf("got %+v, %v", got, err)
		}
		// It may not have begun when the first command ran.
		if so, err := j.Output(ctx); err == nil && so.Stdout == "begun\n" {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the job has written nothing")
		}
	}
	if err := j.Signal(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	want := Result{Stdout: "begun\n", Code: 128 + int(syscall.SIGTERM)}
	if got, err := j.Wait(ctx); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := j.Output(ctx); err != nil || got != want {
		t.Errorf("after its end: got %+v, %v, want %+v", got, err, want)
	}
	if err := j.Signal(ctx, syscall.SIGTERM); err == nil {
		t.Error("a job that has ended took a signal")
	}
}

func TestACommandEndsWithTheContextOfWhoAskedForIt(t *testing.T) {
	c := up(t)
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, "echo $$ >"+file+"; sleep 600")
		done <- err
	}()
	eventually(t, "the command runs", func() bool { b, _ := os.ReadFile(file); return bytes.HasSuffix(b, []byte("\n")) })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool {
		_, err := os.Stat(filepath.Join("/proc", strings.TrimSpace(string(b))))
		return errors.Is(err, os.ErrNotExist)
	})
}

func TestAFileComesBackAsItWasSent(t *testing.T) {
	c := up(t)
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 7} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 31)
		}
		path := filepath.Join(t.TempDir(), "file")
		if err := c.Put(soon(t), path, 0o751, want); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o751 {
			t.Errorf("%d octets: mode %v", size, info.Mode())
		}
		got, err := c.Get(soon(t), path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d octets: %d came back, or others", size, len(got))
		}
	}
}

func TestAFileThatCannotBeHadIsAnErrorWithItsName(t *testing.T) {
	c := up(t)
	path := filepath.Join(t.TempDir(), "none", "file")
	if _, err := c.Get(soon(t), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("reading: got %v", err)
	}
	if err := c.Put(soon(t), path, 0o600, []byte("x")); err == nil || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("writing: got %v", err)
	}
}

func TestAHalfMessageOfABootThatIsOverIsIgnored(t *testing.T) {
	c, g := start(t)
	// What was written when the power went, with and without the end of a line.
	for _, half := range []string{`{"id":1,"boot":"fir`, "\n{\"id\"\n}}\n\x00\xff", `st","code":3`} {
		if _, err := io.WriteString(g.port, half); err != nil {
			t.Fatal(err)
		}
	}
	g.boot(t, "second")
	if err := c.WaitUp(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Run(soon(t), "echo yes"); err != nil || got.Stdout != "yes\n" {
		t.Errorf("got %+v, %v", got, err)
	}
	if got := c.Boot(); got != "second" {
		t.Errorf("got boot %q", got)
	}
}

func TestWhatWasAskedBeforeARebootIsLostAndNotDoneAfterIt(t *testing.T) {
	c, g := start(t)
	end := g.boot(t, "first")
	ctx := soon(t)
	if err := c.WaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	j, err := c.Start(ctx, "sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	end()
	// On its way while nobody reads it.
	file := filepath.Join(t.TempDir(), "file")
	late := make(chan error, 1)
	go func() { late <- c.Put(ctx, file, 0o600, []byte("x")) }()
	eventually(t, "the request is on its way", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.pending) == 2
	})

	c.Lost() // what the monitor tells of the reset
	if _, err := j.Wait(ctx); !errors.Is(err, ErrLost) {
		t.Errorf("the job ended with %v, want %v", err, ErrLost)
	}
	if err := <-late; !errors.Is(err, ErrLost) {
		t.Errorf("writing ended with %v, want %v", err, ErrLost)
	}
	if _, err := c.Run(ctx, "true"); !errors.Is(err, ErrLost) {
		t.Errorf("a command for nobody ended with %v, want %v", err, ErrLost)
	}

	g.boot(t, "second")
	if err := c.WaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	// Requests are read in order: the late one has been looked at by now.
	if _, err := c.Run(ctx, "true"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the second boot did what the first was asked for (%v)", err)
	}
}

func TestARebootThatNobodyToldOfIsNoticed(t *testing.T) {
	c, g := start(t)
	end := g.boot(t, "first")
	ctx := soon(t)
	if err := c.WaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	j, err := c.Start(ctx, "sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	end()
	g.boot(t, "second")
	if err := c.WaitGone(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Wait(ctx); !errors.Is(err, ErrLost) {
		t.Errorf("the job ended with %v, want %v", err, ErrLost)
	}
}

func TestWhatABootStillSendsWhenItIsOverIsNotItsSuccessor(t *testing.T) {
	c, g := start(t)
	g.boot(t, "first")
	if err := c.WaitUp(soon(t)); err != nil {
		t.Fatal(err)
	}
	c.Lost()
	b, err := line(response{Boot: "first"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.port.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := g.port.Write(b); err != nil { // read when the one before was taken
		t.Fatal(err)
	}
	if got := c.Boot(); got != "" {
		t.Errorf("got boot %q", got)
	}
}

func TestAClosedPortEndsAllWaiting(t *testing.T) {
	c, g := start(t)
	g.boot(t, "first")
	ctx := soon(t)
	if err := c.WaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	j, err := c.Start(ctx, "sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.port.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Wait(ctx); !errors.Is(err, ErrLost) {
		t.Errorf("a job: got %v, want %v", err, ErrLost)
	}
	if err := c.WaitUp(ctx); !errors.Is(err, ErrLost) {
		t.Errorf("waiting for a boot: got %v, want %v", err, ErrLost)
	}
	if _, err := c.Run(ctx, "true"); !errors.Is(err, ErrLost) {
		t.Errorf("a command: got %v, want %v", err, ErrLost)
	}
}

func TestNobodyWaitsForAMachineThatDoesNotAnswerLongerThanTheContext(t *testing.T) {
	c, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*ask)
	defer cancel()
	if err := c.WaitUp(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestOutputWithoutEndIsAnError(t *testing.T) {
	c := up(t)
	if _, err := c.Run(soon(t), "head -c 20000000 /dev/zero"); err == nil || !strings.Contains(err.Error(), "octets of output") {
		t.Errorf("got %v", err)
	}
}

func FuzzTheServerSurvivesAnyLine(f *testing.F) {
	f.Add([]byte("{\"id\":1,\"op\":\"hello\"}\n"))
	f.Add([]byte("\x00{\n\n{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// It must do nothing to this host: whatever names the boot is left out.
		for text := range bytes.Lines(b) {
			var req request
			if json.Unmarshal(text, &req) == nil && req.Boot != "" {
				t.Skip()
			}
		}
		if err := NewServer(io.Discard, "b").Serve(bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
	})
}

// eventually fails the test if a condition does not come true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}
