package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vipd/config"
	"vipd/vrrp/vrrptest"
)

// scripts returns tracked scripts of some weights.
func scripts(weights ...int) []config.Track {
	var out []config.Track
	for _, w := range weights {
		out = append(out, config.Track{Kind: config.TrackScript, Name: "chk", Weight: w})
	}
	return out
}

// TestWeightsThatCannotMoveTheAddressAreSeen has a router take over from one of
// priority 100, which it does not hear any more after that.
func TestWeightsThatCannotMoveTheAddressAreSeen(t *testing.T) {
	for _, tt := range []struct {
		name     string
		priority uint8
		tracks   []config.Track
		want     string
	}{
		{"no checks", 150, nil, ""},
		{"a fault takes it out", 150, scripts(0), ""},
		{"a weight that is too small", 150, scripts(-20),
			"even with all checks failing this node's priority (130) is above the highest heard of 192.0.2.2 (100): unless its own checks were failing then, raise the weights, or this node stays master when it fails"},
		{"two that are too small together", 150, scripts(-20, -29),
			"even with all checks failing this node's priority (101) is above the highest heard of 192.0.2.2 (100): unless its own checks were failing then, raise the weights, or this node stays master when it fails"},
		{"the same priority is not enough", 150, scripts(-50),
			"even with all checks failing this node's priority (100) is not below the highest heard of 192.0.2.2 (100): unless its own checks were failing then, raise the weights, or this node stays master when it fails"},
		{"one that is enough", 150, scripts(-51), ""},
		{"a positive one that adds to what is enough", 120, scripts(50),
			"even with all checks failing this node's priority (120) is above the highest heard of 192.0.2.2 (100): unless its own checks were failing then, raise the weights, or this node stays master when it fails"},
		{"one in reverse", 150, []config.Track{{Kind: config.TrackScript, Name: "chk", Weight: 20, Reverse: true}},
			"even with all checks failing this node's priority (130) is above the highest heard of 192.0.2.2 (100): unless its own checks were failing then, raise the weights, or this node stays master when it fails"},
		{"beside a fault", 150, scripts(-20, 0),
			"even with all checks that have a weight failing this node's priority (130) is above the highest heard of 192.0.2.2 (100): unless its own checks were failing then, raise the weights, or this node stays master when it fails"},
		{"a number may be anything", 150, []config.Track{{Kind: config.TrackFile, Name: "load", Weight: 1}}, ""},
		{"the owner has no weights", 255, scripts(-20), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lan := vrrptest.NewLAN(1)
				peer := newVirtualRouter(lan, "192.0.2.2", virtualConfig(100, time.Second), quiet())
				time.Sleep(10 * time.Second)
				cfg := virtualConfig(tt.priority, time.Second)
				cfg.Tracks, cfg.StartupDelay = tt.tracks, 5*time.Second
				var logged bytes.Buffer
				r := newVirtualRouter(lan, "192.0.2.1", cfg, slog.New(slog.NewTextHandler(&logged, nil)))
				time.Sleep(time.Minute)
				synctest.Wait()
				got := make(chan []string)
				r.post(func() { got <- r.inst.advice() })
				if advice := strings.Join(<-got, "\n"); advice != tt.want {
					t.Errorf("got  %s\nwant %s", advice, tt.want)
				}
				times := 0
				if tt.want != "" {
					times = 1
				}
				if n := strings.Count(logged.String(), "may be too small"); n != times {
					t.Errorf("it was logged %d times, want %d", n, times)
				}
				r.end()
				peer.end()
			})
		})
	}
}

func TestThePrioritiesOfOthersAreRememberedWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := vrrptest.NewLAN(1)
		cfg := virtualConfig(200, time.Second)
		cfg.Tracks = scripts(-20)
		r := newVirtualRouter(lan, "192.0.2.1", cfg, quiet())
		peer := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
		done := make(chan struct{})
		r.post(func() {
			defer close(done)
			inst := r.inst
			want := func(when, text string) {
				t.Helper()
				got := strings.Join(inst.advice(), "")
				if text == "" && got != "" || !strings.Contains(got, text) {
					t.Errorf("%s: got %q, want %q", when, got, text)
				}
			}
			inst.hear(peer(10), 100)
			inst.hear(peer(10), 100)
			want("twice is not enough", "")
			inst.hear(peer(10), 0) // its last word
			want("a stop says nothing of its priority", "")
			inst.hear(peer(10), 90)
			want("the highest counts", "highest heard of 192.0.2.10 (100)")
			for n := range 20 {
				for range heardEnough {
					inst.hear(peer(20+n), uint8(101+n))
				}
			}
			if len(inst.heard) != heardPeers {
				t.Errorf("%d are remembered", len(inst.heard))
			}
			want("of too many the highest are kept", "highest heard of 192.0.2.39 (120)")
			inst.hear(peer(60), 50)
			if _, known := inst.heard[peer(60)]; known {
				t.Error("one of a low priority has taken another's place")
			}
			inst.hear(peer(61), 181)
			want("one that would take over", "")
			if slices.Contains(inst.status().Advice, "") {
				t.Error("the status has an empty advice")
			}
		})
		<-done
		r.end()
	})
}
