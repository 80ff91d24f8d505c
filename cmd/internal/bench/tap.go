package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"vipd/netif/netiftest"
	"vipd/vrrp"
)

// A tap records adverts and announcements that arrive at an interface. It lets
// them lie in the socket until somebody asks: reading thousands of frames while
// they come would take the processor from the daemon that is measured.
type tap struct {
	fd   int
	seen []sighting
	on   int // which of the segments
}

// tapBuffer holds all frames of one turn.
const tapBuffer = 256 << 20

// tapFilter passes ARP and protocol 112 over IPv4.
var tapFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 3, K: typeARP},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: typeIPv4},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherLen + 9},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: vrrp.Protocol},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	{Code: unix.BPF_RET | unix.BPF_K},
}

func openTap(n *netiftest.Node, ifname string, on int) (*tap, error) {
	t := &tap{fd: -1, on: on}
	err := n.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		// Protocol 0 receives nothing until the filter is there.
		t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptSockFprog(t.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(tapFilter)), Filter: &tapFilter[0]}); err != nil {
			return os.NewSyscallError("SO_ATTACH_FILTER", err)
		}
		if err := unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer); err != nil {
			return os.NewSyscallError("SO_RCVBUFFORCE", err)
		}
		if err := unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return os.NewSyscallError("SO_TIMESTAMPNS", err)
		}
		return os.NewSyscallError("bind", unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ALL), Ifindex: ifi.Index}))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %s of %s: %w", ifname, n.Name(), err), t.close())
	}
	return t, nil
}

// swapped returns a number as the kernel wants the protocol of a packet socket.
func swapped(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// drain takes what has arrived.
func (t *tap) drain() error {
	var b [2048]byte
	oob := make([]byte, unix.CmsgSpace(16))
	for {
		n, oobn, _, _, err := unix.Recvmsg(t.fd, b[:], oob, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil
		default:
			return os.NewSyscallError("recvmsg", err)
		}
		f := netiftest.Frame{Data: b[:n]}
		var ok bool
		if f.At, ok = stamp(oob[:oobn]); !ok {
			return errors.New("a frame without a time stamp")
		}
		if s, ok := sight(f, t.on); ok {
			t.seen = append(t.seen, s)
		}
	}
}

// stamp returns the kernel's time stamp. It is the wall clock's and has no
// monotonic reading: time stamps are compared with one another.
func stamp(oob []byte) (time.Time, bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS {
			var ts unix.Timespec
			if _, err := binary.Decode(m.Data, binary.NativeEndian, &ts); err == nil {
				return time.Unix(ts.Unix()), true
			}
		}
	}
	return time.Time{}, false
}

// drops returns how many frames the kernel had no room for.
func (t *tap) drops() (uint32, error) {
	st, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, os.NewSyscallError("PACKET_STATISTICS", err)
	}
	return st.Drops, nil
}

func (t *tap) close() error {
	if t.fd < 0 {
		return nil
	}
	err := unix.Close(t.fd)
	t.fd = -1
	return err
}

// A watch records what the client receives on all segments.
type watch struct {
	st   *stand
	taps []*tap
}

// watch begins to record.
func (st *stand) watch() (*watch, error) {
	w := &watch{st: st}
	for i := range st.setup.interfaces {
		t, err := openTap(st.client, fmt.Sprintf("eth%d", i), i)
		if err != nil {
			w.close()
			return nil, err
		}
		w.taps = append(w.taps, t)
	}
	return w, nil
}

// close ends the recording.
func (w *watch) close() {
	for _, t := range w.taps {
		_ = t.close()
	}
}

// stop ends the recording and returns what was seen, in order. Frames that the
// kernel had to drop are an error.
func (w *watch) stop() ([]sighting, error) {
	defer w.close()
	var seen []sighting
	for _, t := range w.taps {
		if err := t.drain(); err != nil {
			return nil, err
		}
		n, err := t.drops()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			return nil, fmt.Errorf("the kernel dropped %d frames", n)
		}
		seen = append(seen, t.seen...)
	}
	slices.SortStableFunc(seen, func(a, b sighting) int { return a.at.Compare(b.at) })
	return seen, nil
}
