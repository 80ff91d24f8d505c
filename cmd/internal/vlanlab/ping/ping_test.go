package ping

import (
	"context"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"vipd/netif/netiftest"
)

func TestMain(m *testing.M) { netiftest.Main(m) }

const (
	interval = 10 * time.Millisecond
	ms       = time.Millisecond
)

var vip = netip.MustParseAddr("192.0.2.10")

// every returns pings every ten milliseconds, answered after one, except those that
// are lost.
func every(until time.Duration, lost func(sent time.Duration) bool) (list []ping) {
	for at := time.Duration(0); at < until; at += interval {
		p := ping{sent: at}
		if !lost(at) {
			p.answered = at + ms
		}
		list = append(list, p)
	}
	return list
}

func TestAGapLastsFromOneAnswerToTheNext(t *testing.T) {
	within := func(from, to time.Duration) func(time.Duration) bool {
		return func(at time.Duration) bool { return at >= from && at < to }
	}
	late := every(time.Second, within(0, 0))
	for i := 50; i < 60; i++ {
		late[i].answered = 600 * ms // all at once
	}
	for _, test := range []struct {
		name    string
		pings   []ping
		lost    int
		longest time.Duration
		gaps    []Gap
	}{
		{"nothing is lost", every(time.Second, within(0, 0)), 0, 10 * ms, nil},
		{"some are lost", every(time.Second, within(500*ms, 700*ms)), 20, 210 * ms, []Gap{{0.491, 0.21}}},
		{"too few to be a gap", every(time.Second, within(500*ms, 530*ms)), 3, 40 * ms, nil},
		{"the first are lost", every(time.Second, within(0, 100*ms)), 10, 101 * ms, []Gap{{0, 0.101}}},
		{"the last are lost", every(time.Second, within(900*ms, time.Second)), 10, 109 * ms, []Gap{{0.891, 0.109}}},
		{"all are lost", every(time.Second, within(0, time.Second)), 100, time.Second, []Gap{{0, 1}}},
		{"an answer that is late", late, 0, 109 * ms, []Gap{{0.491, 0.109}}},
		{"no ping at all", nil, 0, time.Second, []Gap{{0, 1}}},
	} {
		got := measure(vip, test.pings, time.Second, interval)
		total := 0.0
		for _, g := range test.gaps {
			total += g.Lasted
		}
		if got.Sent != len(test.pings) || got.Lost != test.lost || len(got.Losses) != test.lost || got.Longest != test.longest.Seconds() || !reflect.DeepEqual(got.Gaps, test.gaps) || got.Total != total {
			t.Errorf("%s: got %+v, want %d lost, %v, %v", test.name, got, test.lost, test.longest, test.gaps)
		}
	}
}

func TestAPartOfAReportHasWhatBeganInIt(t *testing.T) {
	a := measure(vip, every(2*time.Second, func(at time.Duration) bool {
		return at >= 500*ms && at < 700*ms || at >= 1500*ms && at < 1600*ms
	}), 2*time.Second, interval)
	for _, test := range []struct {
		from, to time.Duration
		lost     int
		gap      time.Duration
	}{
		{0, 2 * time.Second, 30, 210 * ms},
		{0, 400 * ms, 0, 0},
		{time.Second, 2 * time.Second, 10, 110 * ms},
		{0, 600 * ms, 10, 210 * ms},
		{520 * ms, time.Second, 18, 210 * ms}, // the answer before it was the last
		{600 * ms, time.Second, 10, 0},
	} {
		if lost, gap := a.Between(test.from, test.to); lost != test.lost || gap.Round(ms) != test.gap {
			t.Errorf("from %v to %v: %d lost and %v, want %d and %v", test.from, test.to, lost, gap, test.lost, test.gap)
		}
	}
}

func TestPingsOfBothFamiliesAreAnsweredByAKernel(t *testing.T) {
	netiftest.Require(t)
	lab, err := netiftest.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	n, err := lab.Node("client")
	if err != nil {
		t.Fatal(err)
	}
	var p *Pinger
	err = n.Do(func() error {
		p, err = Open([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("192.0.2.10")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*ms)
	defer cancel()
	text, err := json.Marshal(p.Run(ctx, interval))
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil || len(r.Addresses) != 3 || r.Lasted < 0.3 {
		t.Fatalf("%v, %s", err, text)
	}
	for _, a := range r.Addresses[:2] {
		if a.Sent < 2 || a.Lost > 0 {
			t.Errorf("%v: %d of %d were lost", a.Addr, a.Lost, a.Sent)
		}
	}
	// There is no way to this one.
	if a := r.Addresses[2]; a.Lost != a.Sent || a.Longest != r.Lasted {
		t.Errorf("%v: %d of %d were lost, %v s without an answer of %v", a.Addr, a.Lost, a.Sent, a.Longest, r.Lasted)
	}
}

func TestWithoutAnAddressThereIsNothingToPing(t *testing.T) {
	if _, err := Open(nil); err == nil {
		t.Error("want an error")
	}
}
