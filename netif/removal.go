package netif

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxRemovals bounds how many removals a Watcher remembers, which is for the log
// message about each. Who loses more addresses at once knows why.
const maxRemovals = 1024

// A Removal is what the kernel said about the removal of an address.
//
// An address whose lease has run out is Expired, with Port 0. Of an IPv4 address
// that a process deletes Port is the process's netlink port, and also of the
// secondary addresses that go with it. Everything else has Port 0 and is not
// Expired: the kernel deletes addresses with their interface, IPv6 ones when the
// interface is switched off, and secondary ones with a primary that expires; and
// it does not tell who deletes an IPv6 address.
type Removal struct {
	At      time.Time // when it became known
	Port    uint32    // netlink port of who asked for it, see [ProcessOfPort]; 0: the kernel, or not told
	Expired bool      // the valid lifetime was over, but for hundredths of a second
}

// An ownedAddr is an address of an interface, which is known by its index.
type ownedAddr struct {
	index int
	addr  netip.Addr
}

// A removalLog remembers the last removals.
type removalLog struct {
	last map[ownedAddr]Removal
	ring []ownedAddr // in the order of time; may hold one twice
	next int         // where in ring the oldest is, once it is full
}

// note takes in a removal.
func (l *removalLog) note(key ownedAddr, r Removal) {
	if l.last == nil {
		l.last = make(map[ownedAddr]Removal)
	}
	if _, known := l.last[key]; !known {
		if len(l.ring) < maxRemovals {
			l.ring = append(l.ring, key)
		} else {
			delete(l.last, l.ring[l.next])
			l.ring[l.next] = key
			l.next = (l.next + 1) % maxRemovals
		}
	}
	l.last[key] = r
}

// expired reports whether an address had outlived its lease when it was removed,
// from what the kernel said about the removal, what it said before, and how long
// ago by now the lease was given. The kernel removes an address up to 20 ms early,
// and then says that a second is left.
func expired(a PresentAddress, before *PresentAddress, age time.Duration) bool {
	switch {
	case a.Valid == 0:
		return true
	case a.Valid > time.Second, before == nil, before.Updated != a.Updated:
		return false
	}
	const early = 20*time.Millisecond + 2*stampUnit
	return age >= before.Valid-early
}

// noteRemoval remembers what a notification says about a removal. It is to be
// called before the notification is applied.
func (w *Watcher) noteRemoval(m message, now time.Time) {
	if m.typ != unix.RTM_DELADDR {
		return
	}
	if a, ok := parseAddress(m.body); ok {
		w.removals.note(ownedAddr{a.Index, a.Addr()}, Removal{
			At:      now,
			Port:    m.portID,
			Expired: expired(a, w.state.find(a), KernelSince(a.Updated)),
		})
	}
}

// Removal returns the last removal of an address from an interface, if it is one
// of the last thousand removals seen.
func (w *Watcher) Removal(index int, addr netip.Addr) (Removal, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.removals.last[ownedAddr{index, addr.Unmap().WithZone("")}]
	return r, ok
}

// ProcessOfPort returns the process that has a NETLINK_ROUTE socket with the given
// port in the network namespace of the calling thread, and the process's name. It
// finds none if the process has ended, as that of a command like ip has, or if it
// may not be looked into.
//
// It costs microseconds if the port is the process's number, which is what the
// kernel gives to the first socket of a process that asks for none, and
// milliseconds if every process has to be searched for the socket.
func ProcessOfPort(port uint32) (pid int, name string, ok bool) {
	table, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil || port == 0 {
		return 0, "", false
	}
	inode, ok := inodeOfPort(table, port)
	if !ok {
		return 0, "", false
	}
	socket := fmt.Sprintf("socket:[%s]", inode)
	if pid = int(port); pid > 0 && hasDescriptor(pid, socket) {
		return withName(pid)
	}
	for _, pid := range processes() {
		if hasDescriptor(pid, socket) {
			return withName(pid)
		}
	}
	return 0, "", false
}

// inodeOfPort finds the inode of a NETLINK_ROUTE socket in what /proc/net/netlink
// says:
//
//	sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
//	00000000e1a3c4d1 0   613        00000551 0        0        0     2        0        19613
func inodeOfPort(table []byte, port uint32) (string, bool) {
	want := strconv.FormatUint(uint64(port), 10)
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) >= 10 && f[1] == strconv.Itoa(unix.NETLINK_ROUTE) && f[2] == want {
			return f[9], true
		}
	}
	return "", false
}

// processes returns the numbers of all processes.
func processes() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(-1) // those read before an error will do
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hasDescriptor reports whether a process has a descriptor of the named file.
func hasDescriptor(pid int, file string) bool {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return false
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	buf := make([]byte, len(file)+1) // whatever is longer is not it
	for _, n := range names {
		if l, err := unix.Readlinkat(int(dir.Fd()), n, buf); err == nil && string(buf[:l]) == file {
			return true
		}
	}
	return false
}

// withName returns a process with its name.
func withName(pid int) (int, string, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return 0, "", false
	}
	return pid, strings.TrimSuffix(string(b), "\n"), true
}
