package main

import (
	"net/netip"
	"testing"
	"time"

	"vipd/netif/netiftest"
)

// A tape is a recording made up for a test. Times are in milliseconds.
type tape []sighting

func (t tape) with(ms float64, k kind, mac [6]byte, priority uint8) tape {
	return append(t, sighting{at: epoch.Add(time.Duration(ms * float64(time.Millisecond))), kind: k, from: mac, vrid: 1, priority: priority})
}

// said is an advert of the imaginary router.
func (t tape) said(ms float64, priority uint8) tape { return t.with(ms, advert, senderMAC, priority) }

// advert is one of the daemon's adverts.
func (t tape) advert(ms float64) tape { return t.with(ms, advert, routerMAC(0), backupPriority) }

// announce is an announcement of the nth address by the daemon.
func (t tape) announce(ms float64, n byte) tape {
	t = t.with(ms, announcement, routerMAC(0), 0)
	t[len(t)-1].address = netip.AddrFrom4([4]byte{10, 0, 1, n})
	return t
}

// near fails unless a sample has one value in a row, and it is this one.
func near(t *testing.T, got sample, row string, want float64) {
	t.Helper()
	v := got[row]
	if len(v) != 1 || v[0]-want > 1e-6 || want-v[0] > 1e-6 {
		t.Errorf("%s: got %v, want %v", row, v, want)
	}
}

func TestATakeoverCountsFromTheLastAdvertBeforeIt(t *testing.T) {
	const bound = 36 * time.Millisecond
	// The parking after the takeover is also an advert of the imaginary router.
	seen := tape{}.said(0, 200).said(10, 200).advert(46.5).announce(46.75, 1).said(60, 200)
	got, err := takeoverTimes(seen, bound)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got, rowOverBound, 0.5)
	near(t, got, rowAnnounce, 0.25)

	for name, seen := range map[string]tape{
		"nothing":                       {},
		"no announcement":               tape{}.said(0, 200).advert(36),
		"an announcement before all":    tape{}.announce(1, 1).said(2, 200).advert(40),
		"an announcement, but no voice": tape{}.advert(1).announce(2, 1),
	} {
		if got, err := takeoverTimes(seen, bound); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestOfManyAddressesTheLastFirstAnnouncementCounts(t *testing.T) {
	seen := tape{}.said(0, 200).advert(361).announce(362, 1).announce(363, 2).announce(366, 3).advert(461).announce(470, 1).announce(471, 2).advert(570)
	got, err := addressTimes(seen, 361*time.Millisecond, 3)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got, rowAnnounce, 1)
	near(t, got, rowLast, 5)
	near(t, got, rowAdvertGap, 109)
	if _, err := addressTimes(seen, 361*time.Millisecond, 4); err == nil {
		t.Error("an address that was never announced is not missed")
	}
}

func TestPunctualityEndsWithTheParking(t *testing.T) {
	seen := tape{}.said(0, 200)
	for i := range 23 {
		seen = seen.advert(36 + 10.03*float64(i))
	}
	seen = seen.said(270, 200)
	got, err := punctuality(seen.advert(500), 10*time.Millisecond) // an owner's, say: after the end
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got[rowGap]); n != 19 {
		t.Errorf("%d gaps, want 19 of the 20 adverts that count", n)
	}
	near(t, got, rowDrift, 0.03)
	near(t, got, rowExpiries, 0)
	if _, err := punctuality(seen[:6], 10*time.Millisecond); err == nil {
		t.Error("five adverts are enough")
	}

	// A pause of four intervals is a failure to every backup.
	seen = tape{}
	for i := range 20 {
		ms := 10 * float64(i)
		if i >= 10 {
			ms += 30
		}
		seen = seen.advert(ms)
	}
	if got, err = punctuality(seen, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	near(t, got, rowExpiries, 1)
}

func TestAPlannedStopCountsFromPriorityZero(t *testing.T) {
	successor := func(t tape, ms float64, k kind) tape { return t.with(ms, k, routerMAC(1), backupPriority) }
	at := func(ms float64) time.Time { return epoch.Add(time.Duration(ms * float64(time.Millisecond))) }
	// The successor was master before, and yielded.
	seen := successor(tape{}, 0, advert)
	seen = successor(seen, 1, announcement).advert(50).announce(51, 1)
	seen = seen.with(100, advert, routerMAC(0), 0)
	seen = successor(successor(seen, 161.5, advert), 162, announcement)
	heard := netiftest.PingReport{LongestGap: 63 * time.Millisecond}
	got, err := stopTimes(seen, at(99), at(130), heard, 61*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got, rowSuccessor, 62)
	near(t, got, rowOverSkew, 0.5)
	near(t, got, rowClientGap, 63)
	near(t, got, rowExit, 30)
	if _, err := stopTimes(seen[:4], at(99), at(130), heard, 61*time.Millisecond); err == nil {
		t.Error("a stop without priority 0 is one")
	}
}

func TestInAMassFailoverEachRouterHasItsOwnBound(t *testing.T) {
	const bound = 361 * time.Millisecond
	second := func(t tape) tape { t[len(t)-1].vrid = 2; return t }
	seen := tape{}.said(0, 200)
	seen = second(seen.said(5, 200))
	seen = seen.advert(361.5)
	seen = second(seen.advert(367))
	seen = seen.announce(370, 1).announce(380, 2).announce(390, 1)
	s := setup{interfaces: 1, vrids: 2, vips: 1}
	got, err := massTimes(seen, bound, s)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got, rowSpread, 10)
	near(t, got, rowWorstLate, 14)
	if v := got[rowFirstLate]; len(v) != 2 || v[0]+v[1] != 1.5 {
		t.Errorf("first adverts: got %v, want 0.5 and 1", v)
	}
	s.vrids = 3
	if _, err := massTimes(seen, bound, s); err == nil {
		t.Error("a router that was not taken over is not missed")
	}
}

func TestTheScenesAreToldApart(t *testing.T) {
	blocks := func(t tape, ms float64) tape { return t.announce(ms, 1).announce(ms+1, 1) }
	seen := tape{}.advert(3609.375 + 8)
	seen = blocks(seen, 3617.875)                                     // +0.5
	seen = seen.said(3900, 0).advert(3900.25).advert(4901.25)         // priority 0: next +1 ms
	seen = seen.said(5700, 90).advert(5700.2)                         // lower priority
	seen = blocks(seen, 5700.3).advert(6700.2).advert(7700.2)         // and on schedule
	seen = blocks(seen, 8618.875)                                     // the second block of the start, +1
	seen = blocks(seen.advert(8700.2), 10702.3)                       // that of the lower priority, +2
	seen = seen.said(12500, 200).said(12800, 0).advert(13409.375 + 4) // yielded; took over 4 ms after the skew
	s := setup{interval: time.Second, priority: backupPriority}
	got, err := sceneTimes(seen, epoch, s)
	if err != nil {
		t.Fatal(err)
	}
	for row, want := range map[string]float64{
		rowStartFirst: 8, rowStartGARP: 0.5, rowSecondBlock: 1, rowZeroAdvert: 0.25, rowZeroNext: 1,
		rowLowerAdvert: 0.2, rowLowerGARP: 0.3, rowLowerNext: 0, rowLowerBlock: 2, rowHigherFrames: 0, rowZeroTakeover: 4,
	} {
		near(t, got, row, want)
	}
	if _, err := sceneTimes(seen[:8], epoch, s); err == nil {
		t.Error("a recording that ends early is complete")
	}
}

func TestAFieldIsTheNumberAfterItsName(t *testing.T) {
	text := []byte("00400000-7fff rollup\nRss:            8404 kB\nPss:            3010 kB\nPss_Dirty:        12 kB\n")
	if got := field(text, "Pss:"); got != 3010 {
		t.Errorf("got %v", got)
	}
	if got := field(text, "Swap:"); got != 0 {
		t.Errorf("a field that is not there is %v", got)
	}
}

func TestAReloadIsJudgedByTheLongestSilenceOfAnyRouter(t *testing.T) {
	s := setup{interval: 100 * time.Millisecond, interfaces: 1, vrids: 2}
	other := func(t tape, ms float64) tape {
		t = t.advert(ms)
		t[len(t)-1].vrid = 2
		return t
	}
	seen := tape{}.advert(0)
	seen = other(seen, 10)
	seen = seen.advert(100).advert(140)
	seen = other(seen, 150)
	seen = seen.advert(240)
	gap, early, err := reloadTimes(seen, s)
	if err != nil || gap != 40*time.Millisecond || early != 1 {
		t.Errorf("got %s and %d, %v", gap, early, err)
	}
	seen = seen.advert(340).advert(440)
	if gap, _, err = reloadTimes(seen, s); err != nil || gap != 190*time.Millisecond {
		t.Errorf("one that is silent to the end: got %s, %v", gap, err)
	}
	if _, _, err = reloadTimes(tape{}.advert(0), s); err == nil {
		t.Error("one that is never heard is no error")
	}
}
