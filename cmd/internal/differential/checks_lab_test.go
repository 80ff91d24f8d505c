package differential

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/rig"
)

// desk stands in configurations for the directory of a run. In it are the
// programs that checks and notifications run, and the pipe for notify_fifo:
//
//	$DIR/check NAME     a check that ends as the scenario says
//	$DIR/tell TAG …     tells that it was run, and with which arguments
//	$DIR/slow TAG       tells that it begins and, three seconds later, that it ends
//	$DIR/stay TAG …     is $DIR/tell and does not end
//	$DIR/who TAG        tells as whom it runs
//	$DIR/fifo           for notify_fifo
const desk = "$DIR"

// checkScript is a check: the file of its name says in a line for each run how
// it ends, and the last line, with a "=", how all further ones do. Each that is
// not further is noted in the pipe of the daemon, so that it has its place among
// what the daemon does of it.
const checkScript = `#!/bin/sh
dir=${0%/*}
rest=
{
	read -r how
	while read -r line; do
		rest="$rest$line
"
	done
} <"$dir/$1.check"
if [ -n "$rest" ]; then
	printf %s "$rest" >"$dir/$1.check"
	echo "check $1: $how" >"$dir/fifo"
fi
how=${how#=}
if [ "$how" = wait ]; then
	while read -r how <"$dir/$1.check" && [ "$how" = "=wait" ]; do sleep 0.05; done
	how=${how#=}
fi
case $how in
hang) exec sleep 60 ;;
killed) kill -SEGV $$ ;;
esac
exit "$how"
`

// tellScript tells that it was run. Its first argument is whose events it is
// for: only of those the order is compared, since keepalived waits for no script.
const tellScript = `#!/bin/sh
dir=${0%/*}
told=
for word; do told="$told[$word] "; done
echo "$told" >"$dir/told"
`

// slowScript takes longer than it may at the end of a daemon.
const slowScript = `#!/bin/sh
echo "[$1] begins" >"${0%/*}/told"
sleep 3
echo "[$1] ends" >"${0%/*}/told"
`

// stayScript tells that it was run, and does not end.
const stayScript = `#!/bin/sh
told=
for word; do told="$told[$word] "; done
echo "$told" >"${0%/*}/told"
exec sleep 60
`

// whoScript tells as whom it runs.
const whoScript = `#!/bin/sh
echo "[$1] $(id -u) $(id -g) $(id -G)" >"${0%/*}/told"
`

// furnish makes the directory of a run.
func (r *run) furnish() {
	r.t.Helper()
	var err error
	r.dir, err = os.MkdirTemp("", "differential-")
	r.ok(err)
	r.t.Cleanup(func() { _ = os.RemoveAll(r.dir) })
	r.ok(os.Chmod(r.dir, 0o755)) // some scripts run as nobody
	for name, text := range map[string]string{"check": checkScript, "tell": tellScript, "slow": slowScript, "stay": stayScript, "who": whoScript} {
		r.ok(os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o755))
	}
	r.fifo, r.told = r.listen("fifo"), r.listen("told")
}

// requireUsers skips the test where there is only one user, in a user namespace:
// keepalived sets the groups of a script even if they are its own, and that is
// not permitted there.
func requireUsers(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	var inside, outside, size uint32
	if _, err := fmt.Sscan(string(b), &inside, &outside, &size); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if inside == 0 && size > nobody {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("keepalived runs no scripts in a user namespace")
	}
	t.Skip("keepalived runs no scripts in a user namespace")
}

// A pipe collects the lines that are written to a named pipe.
type pipe struct {
	file  *os.File
	ended chan struct{}

	mu    sync.Mutex
	lines []line
	taken int
}

type line struct {
	at   time.Time
	text string
}

func (r *run) listen(name string) *pipe {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	r.ok(unix.Mkfifo(path, 0o600))
	r.ok(os.Chmod(path, 0o666))
	// Opened for writing, too, it does not end with its first writer.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	r.ok(err)
	p := &pipe{file: f, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, line{time.Now(), strings.TrimSpace(lines.Text())})
			p.mu.Unlock()
		}
	}()
	r.t.Cleanup(func() {
		_ = f.Close()
		<-p.ended
	})
	return p
}

// take returns the next n lines that have not been taken, or those that there
// are.
func (p *pipe) take(n int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, l := range p.lines[p.taken:][:min(n, len(p.lines)-p.taken)] {
		out = append(out, l.text)
	}
	p.taken += len(out)
	return out
}

// since returns the lines of the present phase.
func (p *pipe) since(begin time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, l := range p.lines {
		if !l.at.Before(begin) {
			out = append(out, l.text)
		}
	}
	return out
}

// state returns the state of an instance that was told last.
func (p *pipe) state(name string) control.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range slices.Backward(p.lines) {
		said, found := strings.CutPrefix(l.text, fmt.Sprintf("INSTANCE %q ", name))
		if state, _, _ := strings.Cut(said, " "); found {
			switch s := control.State(strings.ToLower(state)); s {
			case control.StateMaster, control.StateBackup, control.StateFault:
				return s
			}
		}
	}
	return control.StateInit
}

// notified returns what was written to notify_fifo and which scripts were run
// since it was called last.
func (r *run) notified() []string {
	var out []string
	for _, l := range r.fifo.take(math.MaxInt) {
		out = append(out, "fifo "+l)
	}
	told := r.told.take(math.MaxInt)
	tag := func(l string) string { tag, _, _ := strings.Cut(l, "]"); return tag }
	slices.SortStableFunc(told, func(a, b string) int { return strings.Compare(tag(a), tag(b)) })
	for _, l := range told {
		out = append(out, "told "+strings.ReplaceAll(l, r.dir, desk))
	}
	return out
}

// check says how the next runs of a check end, one after the other; the last
// result is that of all further ones. A result is an exit code or a word that
// checkScript knows.
func (r *run) check(name string, results ...string) {
	r.t.Helper()
	text := strings.Join(results, "\n") + "\n=" + results[len(results)-1] + "\n"
	r.write(name+".check", text)
}

// always says how all runs of a check end, and nobody notes them.
func (r *run) always(name, result string) {
	r.t.Helper()
	r.write(name+".check", "="+result+"\n")
}

// checked waits until all runs of a check have begun that were to be noted.
func (r *run) checked(name string) {
	r.t.Helper()
	rig.Eventually(r.t, patience, "all runs of "+name+" were made", func() bool {
		b, err := os.ReadFile(filepath.Join(r.dir, name+".check"))
		r.ok(err)
		return len(b) > 0 && b[0] == '='
	})
}

// write replaces a file in the directory of the run, by a rename: nobody sees
// half of it.
func (r *run) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	r.ok(os.WriteFile(path+".new", []byte(text), 0o644))
	r.ok(os.Rename(path+".new", path))
}

// begun waits until a group of two has told its first state and notes what was
// told until then, in any order; see D042.
func (r *run) begun() {
	r.t.Helper()
	const lines = 3
	var told []string
	rig.Eventually(r.t, patience, fmt.Sprintf("%q: a group has begun", r.now().Name), func() bool {
		told = append(told, r.fifo.take(lines-len(told))...)
		return len(told) == lines
	})
	slices.Sort(told)
	for _, l := range told {
		r.fact("begins with %s", l)
	}
}

// hears waits until a line has been written to notify_fifo in this phase.
func (r *run) hears(text string) {
	r.t.Helper()
	begin := r.now().begin
	rig.Eventually(r.t, patience, fmt.Sprintf("%q: notify_fifo says %s", r.now().Name, text), func() bool {
		return slices.Contains(r.fifo.since(begin), text)
	})
}

// changes leaves out every advertisement that is the same as the last one of its
// virtual router.
func changes(frames []Frame) []Frame {
	last := map[uint8]string{}
	var out []Frame
	for _, f := range frames {
		if f.Kind == KindAdvert {
			if last[f.VRID] == string(f.Octets) {
				continue
			}
			last[f.VRID] = string(f.Octets)
		}
		out = append(out, f)
	}
	return out
}

func TestWhatIsRepeatedIsNoChange(t *testing.T) {
	advert := func(vrid uint8, text string) Frame {
		return Frame{Kind: KindAdvert, VRID: vrid, Text: text, Octets: []byte(text)}
	}
	arp := Frame{Kind: KindARP, Text: "arp"}
	got := texts(changes([]Frame{
		advert(1, "1: 100"), arp, advert(2, "2: 90"), advert(1, "1: 100"), arp, advert(2, "2: 80"), advert(1, "1: 100"), advert(2, "2: 80"), advert(2, "2: 90"),
	}))
	if want := []string{"1: 100", "arp", "2: 90", "arp", "2: 80", "2: 90"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
