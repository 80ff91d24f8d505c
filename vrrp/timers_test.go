package vrrp_test

import (
	"testing"
	"time"

	"vipd/vrrp"
)

func TestTheLongestIntervalsDoNotOverflow(t *testing.T) {
	for _, tt := range []struct {
		name     string
		version  vrrp.Version
		priority uint8
		interval time.Duration
		adverts  int
		want     time.Duration
	}{
		{"version 2", vrrp.V2, 1, vrrp.MaxIntervalV2, 3, 3*255*time.Second + 255*time.Second/256},
		{"version 3", vrrp.V3, 1, vrrp.MaxIntervalV3, 3, 3*40950*time.Millisecond + 255*40950*time.Millisecond/256},
		{"version 3 with as many adverts missed as can be", vrrp.V3, 254, vrrp.MaxIntervalV3, 100, 100*40950*time.Millisecond + 2*40950*time.Millisecond/256},
	} {
		if got := vrrp.MasterDownInterval(tt.version, tt.priority, tt.interval, tt.adverts); got != tt.want {
			t.Errorf("%s: the master-down interval is %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestALeaseEndsWhenItsRouterDoesNotAdvertise(t *testing.T) {
	const slack, patience = 50 * time.Millisecond, 200 * time.Millisecond // of the kernel's seconds, and with a late advertisement
	for _, interval := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second, 2500 * time.Millisecond, vrrp.MaxIntervalV3} {
		length := vrrp.LeaseLength(vrrp.V3, 100, interval, 3)
		if down := vrrp.MasterDownInterval(vrrp.V3, 100, interval, 3); length > max(down, time.Second) || length <= down-time.Second || length%time.Second != 0 {
			t.Errorf("interval %v: the lease is %v, a backup takes over after %v", interval, length, down)
		}
		renewed := 0
		for age := -time.Second; age < 2*length; age += 7 * time.Millisecond {
			life, ok := vrrp.LeaseLifetime(length, interval, age)
			switch {
			case !ok && age >= 0 && age <= interval:
				t.Errorf("interval %v: not renewed %v after an advertisement, when the next is not due", interval, age)
			case !ok:
				continue
			case age < 0 || age > max(3*interval/2, interval+patience):
				t.Errorf("interval %v: renewed %v after the last advertisement", interval, age)
			case life < time.Second || life%time.Second != 0:
				t.Errorf("interval %v: renewed for %v", interval, life)
			case length > time.Second && age+life > length+slack:
				t.Errorf("interval %v: renewed %v after the last advertisement for another %v, the lease is %v", interval, age, life, length)
			}
			renewed++
		}
		if renewed == 0 {
			t.Errorf("interval %v: never renewed", interval)
		}
	}
}

func TestARouterGoesOnAsMasterOnlyAsLongAsNobodyHasReplacedIt(t *testing.T) {
	for _, tt := range []struct {
		name     string
		interval time.Duration
		adverts  int
		age      time.Duration
		want     bool
	}{
		{"at once", time.Second, 3, 0, true},
		{"just in time", time.Second, 3, 3 * time.Second, true},
		{"too late", time.Second, 3, 3*time.Second + 1, false},
		{"much too late", time.Second, 3, time.Hour, false},
		{"fewer adverts may be missed", time.Second, 2, 2*time.Second + 1, false},
		{"others may miss fewer than this one", time.Second, 10, 3*time.Second + 1, false},
		{"a short interval", 10 * time.Millisecond, 3, 31 * time.Millisecond, false},
		{"renewed in the future", time.Second, 3, -1, false},
	} {
		if got := vrrp.MayResume(tt.interval, tt.adverts, tt.age); got != tt.want {
			t.Errorf("%s: %v after the last renewal it may resume: %v, want %v", tt.name, tt.age, got, tt.want)
		}
	}
}
