package vrrptest

import (
	"net/netip"
	"testing"
	"time"

	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// A manualClock calls what is due when it is told to.
type manualClock struct {
	now   time.Time
	calls []call
}

type call struct {
	at time.Time
	f  func()
}

func (c *manualClock) Now() time.Time { return c.now }

func (c *manualClock) AfterFunc(d time.Duration, f func()) {
	c.calls = append(c.calls, call{c.now.Add(d), f})
}

// run lets time pass, in the order of the calls.
func (c *manualClock) run(d time.Duration) {
	end := c.now.Add(d)
	for {
		next := -1
		for i, k := range c.calls {
			if !k.at.After(end) && (next < 0 || k.at.Before(c.calls[next].at)) {
				next = i
			}
		}
		if next < 0 {
			c.now = end
			return
		}
		k := c.calls[next]
		c.calls = append(c.calls[:next:next], c.calls[next+1:]...)
		c.now = k.at
		k.f()
	}
}

// twoPorts returns a LAN with two ports and its clock.
func twoPorts(t *testing.T) (*manualClock, *LAN, *Port, *Port) {
	t.Helper()
	clock := &manualClock{now: epoch}
	lan := NewLANWithClock(1, clock)
	return clock, lan, lan.Port(netip.MustParseAddr("192.0.2.1")), lan.Port(netip.MustParseAddr("192.0.2.2"))
}

// sendNumbered sends datagrams with their numbers as the payload, a millisecond
// apart.
func sendNumbered(t *testing.T, clock *manualClock, p *Port, n int) {
	t.Helper()
	for i := range n {
		msg := vrrpconn.Message{Src: p.addr, Dst: vrrp.IPv4.Group(), TTL: 255, Payload: []byte{byte(i)}}
		if _, err := p.Send([]vrrpconn.Message{msg}); err != nil {
			t.Fatal(err)
		}
		clock.run(time.Millisecond)
	}
}

// receiveAll returns what has arrived.
func receiveAll(t *testing.T, p *Port) []vrrpconn.Datagram {
	t.Helper()
	ds := make([]vrrpconn.Datagram, queueLimit)
	n, err := p.Recv(ds)
	if err != nil {
		t.Fatal(err)
	}
	return ds[:n]
}

func TestALinkThatIsCutLetsTheOtherDirectionThrough(t *testing.T) {
	clock, lan, a, b := twoPorts(t)
	lan.SetLink(a, b, Link{Cut: true})
	sendNumbered(t, clock, a, 3)
	sendNumbered(t, clock, b, 3)
	if got := len(receiveAll(t, b)); got != 0 {
		t.Errorf("%d datagrams came through", got)
	}
	if got := len(receiveAll(t, a)); got != 3 {
		t.Errorf("%d datagrams came back, want 3", got)
	}
	carried := 0
	lan.Carry(a, b, func() { carried++ })
	lan.Carry(b, a, func() { carried++ })
	if carried != 1 {
		t.Errorf("%d were carried, want 1", carried)
	}
	lan.SetLink(a, b, Link{})
	sendNumbered(t, clock, a, 1)
	if got := len(receiveAll(t, b)); got != 1 {
		t.Errorf("%d datagrams after it was mended, want 1", got)
	}
}

func TestALinkLosesAndDuplicatesItsPart(t *testing.T) {
	clock, lan, a, b := twoPorts(t)
	const n = 200
	lan.SetLink(a, b, Link{Loss: 0.5})
	sendNumbered(t, clock, a, n)
	if got := len(receiveAll(t, b)); got < n/4 || got > n*3/4 {
		t.Errorf("with half of them lost, %d of %d arrive", got, n)
	}
	lan.SetLink(a, b, Link{Duplicate: 0.5})
	sendNumbered(t, clock, a, n)
	if got := len(receiveAll(t, b)); got < n*5/4 || got > n*7/4 {
		t.Errorf("with half of them duplicated, %d of %d arrive", got, n)
	}
}

func TestJitterReordersAndDelayDoesNot(t *testing.T) {
	clock, lan, a, b := twoPorts(t)
	disordered := func() (out int) {
		ds := receiveAll(t, b)
		for i := range ds[1:] {
			if ds[i].Payload[0] > ds[i+1].Payload[0] {
				out++
			}
		}
		return out
	}
	lan.SetLink(a, b, Link{Delay: 20 * time.Millisecond})
	began := clock.now
	sendNumbered(t, clock, a, 10)
	if got := len(receiveAll(t, b)); got != 0 {
		t.Fatalf("%d datagrams arrive before their time", got)
	}
	clock.run(time.Second)
	ds := receiveAll(t, b)
	for i, d := range ds {
		if want := began.Add(time.Duration(20+i) * time.Millisecond); !d.At.Equal(want) || int(d.Payload[0]) != i {
			t.Errorf("datagram %d arrives %s after the beginning, want %s", d.Payload[0], d.At.Sub(began), want.Sub(began))
		}
	}
	if len(ds) != 10 {
		t.Errorf("%d datagrams arrive, want 10", len(ds))
	}
	lan.SetLink(a, b, Link{Jitter: 20 * time.Millisecond})
	sendNumbered(t, clock, a, 50)
	clock.run(time.Second)
	if disordered() == 0 {
		t.Error("nothing overtakes")
	}
}

func TestWhoAskedForItIsToldOfWhatArrives(t *testing.T) {
	clock, lan, a, b := twoPorts(t)
	told := 0
	b.Notify(func() { told++ })
	sendNumbered(t, clock, a, 2)
	lan.Partition(a)
	sendNumbered(t, clock, a, 2)
	if told != 2 {
		t.Errorf("told %d times, want 2", told)
	}
}
