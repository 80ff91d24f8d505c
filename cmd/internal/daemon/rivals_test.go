package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A procTree is a directory like /proc.
type procTree struct {
	t   *testing.T
	dir string
}

// newProcTree returns one in which process 1 looks, a vipd, and the network
// namespace has raw sockets of the given inodes for VRRP, and others.
func newProcTree(t *testing.T, inodes ...int) procTree {
	t.Helper()
	p := procTree{t, t.TempDir()}
	p.process(1, "vipd", true)
	if err := os.Symlink("1", filepath.Join(p.dir, "self")); err != nil {
		t.Fatal(err)
	}
	p.sockets(1, inodes...)
	return p
}

// process adds a process whose program has a name, with open sockets. If it may
// not be looked into, only its name is seen.
func (p procTree) process(pid int, name string, open bool, inodes ...int) {
	p.t.Helper()
	dir := filepath.Join(p.dir, fmt.Sprint(pid))
	p.write(filepath.Join(dir, "comm"), name+"\n")
	if !open {
		return
	}
	program := filepath.Join(p.dir, "bin", name)
	p.write(program, "")
	p.link(program, filepath.Join(dir, "exe"))
	p.link("/dev/null", filepath.Join(dir, "fd", "0"))
	for i, inode := range inodes {
		p.link(fmt.Sprintf("socket:[%d]", inode), filepath.Join(dir, "fd", fmt.Sprint(i+3)))
	}
}

// sockets says which raw sockets the network namespace of a process has.
func (p procTree) sockets(pid int, inodes ...int) {
	p.t.Helper()
	const titles = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
	v4, v6 := titles, titles
	line := func(address string, protocol, inode int) string {
		return fmt.Sprintf(" 103: %s:%04X 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 %d 2 0000000015e25449 0\n", address, protocol, inode)
	}
	v4 += line("00000000", 1, 9001)
	v6 += line("00000000000000000000000000000000", 58, 9002)
	for i, inode := range inodes {
		if i%2 == 0 {
			v4 += line("120000E0", 112, inode)
		} else {
			v6 += line("00000000000000000000000000000000", 112, inode)
		}
	}
	dir := filepath.Join(p.dir, fmt.Sprint(pid), "net")
	p.write(filepath.Join(dir, "raw"), v4)
	p.write(filepath.Join(dir, "raw6"), v6)
}

func (p procTree) write(file, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		p.t.Fatal(err)
	}
}

func (p procTree) link(target, file string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Symlink(target, file); err != nil {
		p.t.Fatal(err)
	}
}

func TestRivalsAreThoseWithSocketsOfVRRP(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sockets []int
		add     func(procTree)
		want    []Rival
	}{
		{"nobody speaks VRRP", nil, func(p procTree) { p.process(20, "keepalived", true, 9001, 9002) }, nil},
		{"a keepalived with a socket of IPv4", []int{11}, func(p procTree) {
			p.process(20, "keepalived", true)
			p.process(21, "keepalived", true, 5, 11)
		}, []Rival{{21, "keepalived"}}},
		{"a keepalived with a socket of IPv6", []int{11, 12}, func(p procTree) {
			p.process(20, "vipd", true, 11)
			p.process(21, "keepalived", true, 12)
		}, []Rival{{21, "keepalived"}}},
		{"a vipd is none", []int{11, 12}, func(p procTree) { p.process(20, "vipd", true, 11, 12) }, nil},
		{"others are named", []int{11, 12}, func(p procTree) {
			p.process(20, "vrrpd", true, 11)
			p.process(21, "keepalived", true, 12)
		}, []Rival{{21, "keepalived"}, {20, "vrrpd"}}},
		{"one that cannot be seen", []int{11}, func(procTree) {}, []Rival{{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProcTree(t, tt.sockets...)
			tt.add(p)
			got, err := findRivals(p.dir)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("rivals are %v (%v), want %v", got, err, tt.want)
			}
		})
	}
}

func TestAProgramIsKnownByItsFile(t *testing.T) {
	p := newProcTree(t, 11)
	p.process(20, "keepalived", true, 11)
	exe := filepath.Join(p.dir, "20", "exe")
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	p.link(filepath.Join(p.dir, "bin", "vipd"), exe)
	if got, err := findRivals(p.dir); err != nil || len(got) > 0 {
		t.Errorf("a vipd that is called keepalived: rivals are %v (%v), want none", got, err)
	}
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	p.link("/usr/sbin/keepalived (deleted)", exe)
	p.write(filepath.Join(p.dir, "20", "comm"), "my_vrrp\n")
	want := []Rival{{20, "keepalived"}}
	if got, err := findRivals(p.dir); err != nil || !slices.Equal(got, want) {
		t.Errorf("a keepalived that has been replaced: rivals are %v (%v), want %v", got, err, want)
	}
}

func TestOfThoseThatMayNotBeSeenAKeepalivedIsSuspected(t *testing.T) {
	p := newProcTree(t, 11)
	p.process(20, "vipd", false)
	p.process(21, "keepalived", false)
	p.process(22, "keepalived", false)
	p.sockets(20, 11)
	p.sockets(21, 7) // in a namespace of its own
	p.sockets(22, 11)
	closed := []Rival{{20, "vipd"}, {21, "keepalived"}, {22, "keepalived"}}
	if got, want := suspect(p.dir, closed, []uint64{11}), (Rival{22, "keepalived"}); got != want {
		t.Errorf("the suspect is %v, want %v", got, want)
	}
	if got, want := suspect(p.dir, closed[:2], []uint64{11}), (Rival{20, "vipd"}); got != want {
		t.Errorf("the suspect is %v, want %v", got, want)
	}
	if got := suspect(p.dir, closed[1:2], []uint64{11}); got != (Rival{}) {
		t.Errorf("the suspect is %v, want nobody", got)
	}
}

func TestTheMessageAboutAKeepalivedSaysWhatToDo(t *testing.T) {
	got := (&RivalError{Rival{812, "keepalived"}}).Error()
	for _, want := range []string{"keepalived (process id 812)", "systemctl disable --now keepalived", "--beside-keepalived"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}
