package fabric

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// deadline is how long a frame may take on a busy machine.
const deadline = 20 * time.Second

// A plug is a machine as the switch sees it: QEMU's two sockets, and nothing behind.
type plug struct {
	*Port
	mac  mac
	conn *net.UnixConn
}

// lab makes a switch and machines on it, a, b, c and so on.
func lab(t *testing.T, machines int) (*Switch, []*plug) {
	t.Helper()
	// A test's own directory may have a path that is too long for a socket.
	dir, err := os.MkdirTemp("", "fabric")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := New(dir)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var list []*plug
	for n := range machines {
		p, err := s.Port(string(rune('a' + n)))
		if err != nil {
			t.Fatal(err)
		}
		m := &plug{Port: p, mac: mac{0x52, 0x54, 0, 0, 0, byte(n + 1)}}
		m.powerOn(t)
		t.Cleanup(m.powerOff)
		list = append(list, m)
	}
	return s, list
}

func (m *plug) powerOn(t *testing.T) {
	t.Helper()
	var err error
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.Machine, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
}

func (m *plug) powerOff() {
	_ = m.conn.Close()
	_ = os.Remove(m.Machine)
}

// put has the machine send a frame as it is.
func (m *plug) put(t *testing.T, frame []byte) {
	t.Helper()
	if err := m.conn.SetWriteDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.conn.WriteToUnix(frame, &net.UnixAddr{Name: m.Switch, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
}

// say has the machine send a word to a hardware address.
func (m *plug) say(t *testing.T, vlan uint16, to mac, word string) {
	t.Helper()
	m.put(t, header{dst: to, src: m.mac, vlan: vlan, protocol: 0x88b5}.build([]byte(word)))
}

// next returns the next frame that arrives at the machine.
func (m *plug) next(t *testing.T) (header, []byte) {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxFrame)
	n, err := m.conn.Read(b)
	if err != nil {
		t.Fatalf("%s hears nothing: %v", m.Name, err)
	}
	h, payload, ok := parse(b[:n])
	if !ok {
		t.Fatalf("%s hears %x, which is no frame", m.Name, b[:n])
	}
	return h, payload
}

// hears fails unless the next word that arrives is this one.
func (m *plug) hears(t *testing.T, vlan uint16, want string) {
	t.Helper()
	if h, got := m.next(t); string(got) != want || h.vlan != vlan {
		t.Errorf("%s hears %q in VLAN %d, want %q in %d", m.Name, got, h.vlan, want, vlan)
	}
}

var everybody = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// What must not arrive is followed by something that does: ports keep the order.

func TestWhatIsForEverybodyReachesEverybodyElse(t *testing.T) {
	_, m := lab(t, 3)
	m[0].say(t, 100, everybody, "one")
	m[1].hears(t, 100, "one")
	m[2].hears(t, 100, "one")
	m[1].say(t, 100, everybody, "two")
	m[0].hears(t, 100, "two") // and not its own
	m[2].hears(t, 100, "two")
}

func TestASwitchLearnsWhereAnAddressIsInEachVLAN(t *testing.T) {
	_, m := lab(t, 3)
	m[0].say(t, 100, m[1].mac, "unknown")
	m[1].hears(t, 100, "unknown")
	m[2].hears(t, 100, "unknown")
	m[1].say(t, 100, m[0].mac, "known")
	m[0].hears(t, 100, "known")
	m[1].say(t, 200, m[0].mac, "unknown in another VLAN")
	m[0].hears(t, 200, "unknown in another VLAN")
	m[2].hears(t, 200, "unknown in another VLAN") // and not "known"
}

func TestAnAddressThatSpeaksElsewhereHasMoved(t *testing.T) {
	_, m := lab(t, 3)
	shared := mac{0, 0, 0x5e, 0, 1, 51}
	m[0].put(t, header{dst: everybody, src: shared, vlan: 100}.build([]byte("mine")))
	m[2].hears(t, 100, "mine")
	m[1].hears(t, 100, "mine")
	m[1].put(t, header{dst: everybody, src: shared, vlan: 100}.build([]byte("no, mine")))
	m[2].hears(t, 100, "no, mine")
	m[0].hears(t, 100, "no, mine")
	m[2].say(t, 100, shared, "to the one who has it")
	m[1].hears(t, 100, "to the one who has it")
}

func TestVLANsAreApart(t *testing.T) {
	_, m := lab(t, 2)
	for _, vlan := range []uint16{0, 100, 200} {
		m[0].say(t, vlan, everybody, "hello")
		m[1].hears(t, vlan, "hello")
	}
}

func TestAPriorityIsNoPartOfAVLAN(t *testing.T) {
	_, m := lab(t, 2)
	m[1].say(t, 100, everybody, "here")
	m[0].hears(t, 100, "here")
	frame := header{dst: m[1].mac, src: m[0].mac, vlan: 100}.build([]byte("urgent"))
	binary.BigEndian.PutUint16(frame[etherLen:], 7<<13|100)
	m[0].put(t, frame)
	m[1].hears(t, 100, "urgent")
}

func TestADeadPortPassesNothingEitherWay(t *testing.T) {
	_, m := lab(t, 3)
	m[0].SetDead(true)
	m[0].say(t, 100, everybody, "not heard")
	m[1].say(t, 100, everybody, "heard by c")
	m[2].hears(t, 100, "heard by c")
	m[0].SetDead(false)
	m[0].say(t, 100, everybody, "back")
	m[1].hears(t, 100, "back")
	m[2].hears(t, 100, "back")
	m[1].say(t, 100, everybody, "welcome")
	m[0].hears(t, 100, "welcome")
}

func TestOneVLANIsCutAndTheOtherWorks(t *testing.T) {
	_, m := lab(t, 2)
	m[0].Cut(100, Both)
	m[0].say(t, 100, everybody, "lost")
	m[0].say(t, 200, everybody, "through")
	m[1].hears(t, 200, "through")
	m[1].say(t, 100, everybody, "lost")
	m[1].say(t, 200, everybody, "through, too")
	m[0].hears(t, 200, "through, too")
	m[0].Heal()
	m[0].say(t, 100, everybody, "healed")
	m[1].hears(t, 100, "healed")
}

func TestOneDirectionIsCut(t *testing.T) {
	_, m := lab(t, 2)
	for _, test := range []struct {
		cut           Direction
		heard, unsaid *plug
	}{{In, m[1], m[0]}, {Out, m[0], m[1]}} {
		m[0].Cut(100, test.cut)
		test.unsaid.say(t, 100, everybody, "lost")
		test.unsaid.say(t, 200, everybody, "the other VLAN")
		test.heard.hears(t, 200, "the other VLAN")
		test.heard.say(t, 100, everybody, "the other way")
		test.unsaid.hears(t, 100, "the other way")
		m[0].Heal()
	}
}

func TestOneMachineIsDeafToOneOther(t *testing.T) {
	_, m := lab(t, 3)
	m[1].Deafen(m[0].Port)
	m[0].say(t, 100, everybody, "not heard by b")
	m[2].hears(t, 100, "not heard by b")
	m[2].say(t, 100, everybody, "from c")
	m[1].hears(t, 100, "from c")
	m[0].hears(t, 100, "from c")
	m[1].say(t, 100, everybody, "from b")
	m[0].hears(t, 100, "from b")
	m[1].Heal()
	m[0].say(t, 100, everybody, "heard")
	m[1].hears(t, 100, "heard")
}

func TestAMachineIsFoundAgainAfterAPowerCut(t *testing.T) {
	_, m := lab(t, 2)
	m[0].say(t, 100, everybody, "one")
	m[1].hears(t, 100, "one")
	m[1].powerOff()
	m[0].say(t, 100, everybody, "to nobody")
	m[1].powerOn(t)
	// The first may go to the socket that is no more.
	heard := make(chan string)
	go func() {
		defer close(heard)
		b := make([]byte, maxFrame)
		if n, err := m[1].conn.Read(b); err == nil {
			heard <- string(b[etherLen+tagLen : n])
		}
	}()
	end := time.Now().Add(deadline)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(end) {
		m[0].say(t, 100, everybody, "again")
		select {
		case got := <-heard:
			if got != "again" && got != "to nobody" {
				t.Errorf("after the power cut b hears %q", got)
			}
			return
		case <-tick.C:
		}
	}
	t.Error("after the power cut b hears nothing")
}

func TestAMachineThatStandsStillHoldsUpNobody(t *testing.T) {
	_, m := lab(t, 3)
	const many = 2 * queueLen
	for range many { // b does not read
		m[0].say(t, 100, m[1].mac, "flood")
		m[2].hears(t, 100, "flood")
	}
	if m[1].Lost() == 0 {
		t.Errorf("all of %d frames found room for a machine that takes none", many)
	}
}

func TestWhatIsNoFrameIsDropped(t *testing.T) {
	_, m := lab(t, 2)
	m[0].put(t, []byte("short"))
	m[0].put(t, append(bytes.Repeat([]byte{0x02}, 2*macLen), 0x81, 0, 0)) // a tag without an end
	m[0].put(t, header{dst: everybody, src: everybody, vlan: 100}.build([]byte("from a group")))
	m[0].say(t, 100, everybody, "a frame")
	m[1].hears(t, 100, "a frame")
}

func TestAClosedSwitchLeavesNoSocketAndMakesNoPort(t *testing.T) {
	dir := t.TempDir()
	s := New(dir)
	if _, err := s.Port("a"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Port("b"); err == nil {
		t.Error("a closed switch makes a port")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

func TestACaptureHasWhatCameInAlsoWhatWasCut(t *testing.T) {
	s, m := lab(t, 2)
	c := s.Capture()
	m[0].Cut(100, In)
	before := time.Now()
	m[0].say(t, 100, everybody, "cut")
	m[0].say(t, 200, everybody, "passed")
	m[1].hears(t, 200, "passed")
	var b bytes.Buffer
	n, err := c.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d of %d octets, %v", n, b.Len(), err)
	}
	file := b.Bytes()
	const head, record = 24, 16
	if len(file) < head || binary.LittleEndian.Uint32(file) != 0xa1b23c4d || binary.LittleEndian.Uint32(file[20:]) != 1 {
		t.Fatalf("got %x, want the head of a pcap file with nanoseconds for Ethernet", file[:min(head, len(file))])
	}
	var words []string
	for file = file[head:]; len(file) >= record; {
		at := time.Unix(int64(binary.LittleEndian.Uint32(file)), int64(binary.LittleEndian.Uint32(file[4:])))
		if at.Before(before) || at.After(time.Now()) {
			t.Errorf("a frame is of %v, want after %v", at, before)
		}
		size := binary.LittleEndian.Uint32(file[8:])
		if binary.LittleEndian.Uint32(file[12:]) != size || len(file) < record+int(size) {
			t.Fatalf("a record of %d octets is cut short", size)
		}
		words = append(words, string(file[record+etherLen+tagLen:record+size]))
		file = file[record+size:]
	}
	if len(words) != 2 || words[0] != "cut" || words[1] != "passed" || len(file) != 0 {
		t.Errorf("got %q and %d octets more, want cut and passed", words, len(file))
	}
}

func TestOfALongCaptureTheEndIsKept(t *testing.T) {
	c := &Capture{sw: New(t.TempDir())}
	const size = 1 << 20
	for i := range 2 * captureLimit / size {
		c.add(bytes.Repeat([]byte{byte(i)}, size), time.Now())
	}
	if n := len(c.frames); n != captureLimit/size || c.frames[n-1].data[0] != byte(2*n-1) || c.size != captureLimit {
		t.Errorf("%d frames of %d octets are kept", n, c.size)
	}
}
