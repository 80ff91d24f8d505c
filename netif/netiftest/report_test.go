package netiftest

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

func TestTheLongestGapIsBetweenAnswers(t *testing.T) {
	t0 := time.Unix(1000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	probe := func(sent, answered int) Probe {
		p := Probe{Sent: at(sent)}
		if answered >= 0 {
			p.Answered = at(answered)
		}
		return p
	}
	const lost = -1
	tests := []struct {
		name       string
		probes     []Probe
		lost       int
		start, end int
	}{
		{"all are answered", []Probe{probe(0, 1), probe(10, 11), probe(20, 21)}, 0, 1, 11},
		{"some are lost in the middle", []Probe{probe(0, 1), probe(10, lost), probe(20, lost), probe(30, 31), probe(40, 41)}, 2, 1, 31},
		{"the first are lost", []Probe{probe(0, lost), probe(10, lost), probe(20, lost), probe(30, 31), probe(40, 41)}, 3, 0, 31},
		{"the last are lost", []Probe{probe(0, 1), probe(10, lost), probe(20, lost), probe(30, lost)}, 3, 1, 30},
		{"all are lost", []Probe{probe(0, lost), probe(10, lost)}, 2, 0, 10},
		{"answers that come late and together", []Probe{probe(0, 1), probe(10, 52), probe(20, 51), probe(30, 50)}, 0, 1, 50},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := report(tt.probes)
			if r.Lost != tt.lost || r.Answered != len(tt.probes)-tt.lost {
				t.Errorf("%d lost and %d answered, want %d and %d", r.Lost, r.Answered, tt.lost, len(tt.probes)-tt.lost)
			}
			if !r.GapStart.Equal(at(tt.start)) || !r.GapEnd.Equal(at(tt.end)) || r.LongestGap != r.GapEnd.Sub(r.GapStart) {
				t.Errorf("the gap is %v from %v to %v, want %d to %d ms", r.LongestGap, r.GapStart.Sub(t0), r.GapEnd.Sub(t0), tt.start, tt.end)
			}
		})
	}
}

func TestAReportOfNoProbesIsEmpty(t *testing.T) {
	if r := report(nil); r.Lost != 0 || r.Answered != 0 || r.LongestGap != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestOnlyParametersOfANamespaceAreSet(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":              "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.100/rp_filter": "/proc/sys/net/ipv4/conf/eth0.100/rp_filter",
	} {
		if got, err := sysctlFile(key); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", key, got, err, want)
		}
	}
	for _, key := range []string{"", "net", "kernel.panic", "net/../kernel/panic", "/net/ipv4/ip_forward", "net/ipv4/"} {
		if got, err := sysctlFile(key); err == nil {
			t.Errorf("%q is %s, want an error", key, got)
		}
	}
}

func TestAFunctionThatEndsItsGoroutineIsAnError(t *testing.T) {
	err := onThread(func() error { return nil }, func() error {
		runtime.Goexit()
		return nil
	})
	if !errors.Is(err, errExited) {
		t.Errorf("got %v, want %v", err, errExited)
	}
}
