package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
)

const patience = 20 * time.Second

func config() Config {
	return Config{
		Name: "r1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Local: "/lab/r1.local", Remote: "/lab/r1.remote", Dir: "/lab/r1",
	}
}

func TestTheEmulatorGetsNoOtherNetworkAndNoHardwareOfTheHost(t *testing.T) {
	args := arguments(Image{Disk: "/i/root.ext4", Kernel: "/i/vmlinuz", Agent: "/i/agent"}, config())
	all := strings.Join(args, " ")
	if n := strings.Count(all, "-netdev "); n != 1 || strings.Contains(all, "-nic ") || strings.Contains(all, "-net ") {
		t.Errorf("want one network: %s", all)
	}
	for _, want := range []string{
		"-nodefaults", "-accel tcg", "-kernel /i/vmlinuz", "-m 384",
		"dgram,id=wire,local.type=unix,local.path=/lab/r1.local,remote.type=unix,remote.path=/lab/r1.remote",
		"mac=02:00:00:00:00:01", "file=/lab/r1/disk.qcow2", "readonly=on,file=/i/agent",
		"root=/dev/nvme0n1", "net.ifnames=0", "panic=1", "systemd.hostname=r1",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("want %q in: %s", want, all)
		}
	}
	for _, never := range []string{"kvm", "host", "tap", "type=user"} {
		if strings.Contains(strings.ReplaceAll(all, "systemd.hostname", ""), never) {
			t.Errorf("want no %q in: %s", never, all)
		}
	}
	if strings.Contains(all, "/i/root.ext4") {
		t.Errorf("the machine has the image itself, which it would write to: %s", all)
	}
}

func TestEveryMachineKeepsAnIdentityOfItsOwn(t *testing.T) {
	id := func(name string) string {
		c := config()
		c.Name = name
		for _, arg := range kernelArguments(c) {
			if value, ok := strings.CutPrefix(arg, "systemd.machine_id="); ok {
				return value
			}
		}
		t.Fatal("no machine-id")
		return ""
	}
	first, again, other := id("r1"), id("r1"), id("r2")
	if len(first) != 32 || again != first || other == first {
		t.Errorf("got %q, %q for r1, %q for r2", first, again, other)
	}
}

func TestAMachineThatCannotBeIsRefused(t *testing.T) {
	long := "/" + strings.Repeat("x", maxSocketPath)
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no name", func(c *Config) { c.Name = "" }, "needs a name"},
		{"no directory", func(c *Config) { c.Dir = "" }, "needs a directory"},
		{"no Ethernet address", func(c *Config) { c.MAC = nil }, "no Ethernet address"},
		{"no socket", func(c *Config) { c.Remote = "" }, "has 0"},
		{"a path that is too long for a socket", func(c *Config) { c.Local = long }, "has 108"},
		{"a path that is two options", func(c *Config) { c.Dir = "/a,readonly=on" }, "confuses the emulator"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config()
			tt.change(&c)
			if _, err := New(Image{}, c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	if err := config().check(); err != nil {
		t.Errorf("the one that is right: %v", err)
	}
}

func TestNothingIsAskedOfAMachineWithoutPower(t *testing.T) {
	m := &Machine{c: config()}
	ctx := t.Context()
	_, run := m.Run(ctx, "true")
	_, start := m.Start(ctx, "true")
	_, get := m.Get(ctx, "/etc/hostname")
	for what, err := range map[string]error{
		"run": run, "start": start, "get": get, "put": m.Put(ctx, "/x", 0o600, nil), "wait": m.WaitUp(ctx),
		"reboot": m.Reboot(ctx), "panic": m.Panic(ctx), "link": m.SetLink(ctx, true), "pause": m.Pause(ctx),
	} {
		if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "r1") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if err := m.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestTheImageHasANameOfItsOwnForEachRecipe(t *testing.T) {
	key := func(files fstest.MapFS, args ...string) string {
		t.Helper()
		k, err := recipeKey(files, args)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	files := fstest.MapFS{"recipe/a": {Data: []byte("1")}, "recipe/b": {Data: []byte("2")}}
	first := key(files, "x", "y")
	if again := key(files, "x", "y"); again != first {
		t.Errorf("got %s and %s", first, again)
	}
	seen := []string{first}
	for what, k := range map[string]string{
		"other arguments":   key(files, "x", "z"),
		"arguments in one":  key(files, "x y"),
		"another content":   key(fstest.MapFS{"recipe/a": {Data: []byte("1")}, "recipe/b": {Data: []byte("3")}}, "x", "y"),
		"another file name": key(fstest.MapFS{"recipe/a": {Data: []byte("1")}, "recipe/c": {Data: []byte("2")}}, "x", "y"),
		"a file less":       key(fstest.MapFS{"recipe/a": {Data: []byte("1")}}, "x", "y"),
	} {
		if slices.Contains(seen, k) {
			t.Errorf("%s has the key of something else", what)
		}
		seen = append(seen, k)
	}
}

func TestTheRecipeIsUnpackedAsTheImageNeedsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "recipe")
	if err := unpack(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"before.sh": 0o755, "after.sh": 0o755, "root/etc": fs.ModeDir | 0o755,
		"root/etc/systemd/system/vlanlab-agent.service": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s: got mode %v, want %v", name, info.Mode(), want)
		}
	}
	// The port is named in a rule and in a unit.
	for _, name := range []string{"root/etc/udev/rules.d/60-vlanlab.rules", "root/etc/systemd/system/vlanlab-agent.service"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), port) {
			t.Errorf("%s does not know the port %s", name, port)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "root/etc/systemd/system/vlanlab-agent.service")); err != nil || !strings.Contains(string(b), AgentPath+" serve") {
		t.Errorf("the unit does not start %s (%v)", AgentPath, err)
	}
}

func TestOnlyDebiansOwnSourcesAreTaken(t *testing.T) {
	targets := `http://mirror.example/debian/ bookworm main
http://mirror.example/debian/ bookworm contrib
http://mirror.example/debian/ bookworm-updates main
http://security.example/ bookworm-security main
http://mirror.example/debian/ bookworm-backports main
http://other.example/ bookworm-pgdg main
http://other.example/ nodistro main
`
	want := []string{
		"deb http://mirror.example/debian/ bookworm main",
		"deb http://mirror.example/debian/ bookworm-updates main",
		"deb http://security.example/ bookworm-security main",
	}
	if got, err := sourceLines(targets); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := sourceLines("http://mirror.example/debian/ trixie main\n"); err == nil || !strings.Contains(err.Error(), release) {
		t.Errorf("a host without it: got %v", err)
	}
}

func TestTheCacheKeepsWhatIsUsedAndNotWhatIsLeftOver(t *testing.T) {
	cache := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{
		"image-used": time.Hour, "image-old": 48 * time.Hour, "agent-used": time.Minute, "agent-old": 48 * time.Hour,
		"new-123": 0, "lock": 48 * time.Hour, "mine": 48 * time.Hour,
	} {
		path := filepath.Join(cache, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tidy(cache, now.Add(-unused)); err != nil {
		t.Fatal(err)
	}
	var got []string
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if want := []string{"agent-used", "image-used", "lock", "mine"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOneBuilderWaitsForTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	var free atomic.Bool
	second := make(chan error, 1)
	go func() {
		unlock, err := lock(path)
		if err == nil && !free.Load() {
			err = errors.New("two have the lock")
		}
		if err == nil {
			unlock()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatalf("the second did not wait: %v", err)
	case <-time.After(50 * time.Millisecond): // a window in which it must not happen
	}
	free.Store(true)
	unlock()
	select {
	case err := <-second:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the second never had its turn")
	}
}

// qmp answers like an emulator: with what reply returns for each command.
func qmp(t *testing.T, reply func(command string) []string) (*monitor, chan string) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	go func() {
		defer theirs.Close()
		fmt.Fprintln(theirs, `{"QMP": {"version": {}, "capabilities": []}}`)
		for lines := bufio.NewScanner(theirs); lines.Scan(); {
			var call struct{ Execute string }
			if json.Unmarshal(lines.Bytes(), &call) != nil {
				return
			}
			answers := reply(call.Execute)
			if answers == nil {
				return
			}
			for _, answer := range answers {
				fmt.Fprintln(theirs, answer)
			}
		}
	}()
	events := make(chan string, 8)
	return newMonitor(ours, func(event string) { events <- event }), events
}

func TestTheMonitorTellsAnswersRefusalsAndEventsApart(t *testing.T) {
	m, events := qmp(t, func(command string) []string {
		switch command {
		case "stop":
			return []string{`{"event": "STOP", "timestamp": {}}`, `{"return": {}}`}
		case "query-status":
			return []string{`{"return": {"status": "paused"}}`}
		case "set_link":
			return []string{`{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}}`}
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := m.call(ctx, "stop", nil); err != nil {
		t.Fatal(err)
	}
	if got := <-events; got != "STOP" {
		t.Errorf("got event %q", got)
	}
	if got, err := m.call(ctx, "query-status", nil); err != nil || string(got) != `{"status": "paused"}` {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := m.call(ctx, "set_link", map[string]any{"name": "x"}); err == nil || !strings.Contains(err.Error(), "Device 'x' not found") {
		t.Errorf("a refusal: got %v", err)
	}
	// It ends without an answer, and is not there the next time.
	for range 2 {
		if _, err := m.call(ctx, "quit", nil); err == nil || ctx.Err() != nil {
			t.Errorf("an emulator that ends: got %v", err)
		}
	}
}

func TestTheEndOfTheConsoleBeginsWithALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(path, []byte("first\nsecond\nlast"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int64]string{100: "first\nsecond\nlast", 13: "second\nlast", 6: "last"} {
		if got, err := tail(path, n); err != nil || got != want {
			t.Errorf("%d octets: got %q, %v, want %q", n, got, err, want)
		}
	}
}
