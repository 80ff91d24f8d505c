package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vipd/vrrp"
)

func TestALeaseIsAsLongAsABackupWaitsUnlessItIsGiven(t *testing.T) {
	for _, tt := range []struct {
		given   string
		length  time.Duration
		overlap time.Duration
		bounded bool
	}{
		{"", 3 * time.Second, 500 * time.Millisecond, true},
		{"priority: 255", 3 * time.Second, 500 * time.Millisecond, true},
		{"vip_lease: auto", 3 * time.Second, 500 * time.Millisecond, true},
		{"vip_lease: 4s", 4 * time.Second, 1500 * time.Millisecond, true},
		{"vip_lease: 02", 2 * time.Second, 0, true},
		{"vip_lease: off", 0, 0, false},
		{"advert_int: 100ms", time.Second, 1250 * time.Millisecond, true},
		{"advert_int: 2", 7 * time.Second, 1500 * time.Millisecond, true},
		// It must not end between two adverts, however few may be missed.
		{"priority: 254\n    advert_int: 2\n    down_timer_adverts: 2", 4 * time.Second, 500 * time.Millisecond, true},
		{"priority: 254\n    advert_int: 1.4\n    down_timer_adverts: 2", 3 * time.Second, 700 * time.Millisecond, true},
	} {
		c, diags := Parse("test.yaml", []byte("vrrp_instance:\n  A:\n    interface: eth0\n    virtual_router_id: 1\n    virtual_ipaddress: 192.0.2.1\n    "+tt.given+"\n"))
		if c == nil || len(diags) > 0 {
			t.Errorf("%q: %s", tt.given, diags)
			continue
		}
		in := c.Instances[0]
		overlap, bounded := in.LeaseOverlap()
		if got := in.LeaseLength(); got != tt.length || overlap != tt.overlap || bounded != tt.bounded {
			t.Errorf("%q: a lease of %s, and two routers for %s (%t); want %s, %s (%t)", tt.given, got, overlap, bounded, tt.length, tt.overlap, tt.bounded)
		}
	}
}

func TestALeaseLastsFromOneAdvertToTheNext(t *testing.T) {
	for _, v := range []vrrp.Version{vrrp.V2, vrrp.V3} {
		step, most := 10*time.Millisecond, 4095*10*time.Millisecond
		if v == vrrp.V2 {
			step, most = time.Second, 255*time.Second
		}
		for interval := step; interval <= most; interval += step {
			for _, adverts := range []int{1, 2, 3, 10} {
				for _, priority := range []uint8{1, 100, 254, 255} {
					in := Instance{Version: v, Priority: priority, AdvertInterval: interval, DownTimerAdverts: adverts}
					length := in.LeaseLength()
					if _, ok := vrrp.LeaseLifetime(length, interval, interval); !ok || length%time.Second != 0 {
						t.Fatalf("%s, priority %d, %d adverts every %s: a lease of %s", v, priority, adverts, interval, length)
					}
					if plain := vrrp.LeaseLength(v, priority, interval, adverts); adverts > 2 && length != plain {
						t.Fatalf("%s, priority %d, %d adverts every %s: a lease of %s, want %s", v, priority, adverts, interval, length, plain)
					}
				}
			}
		}
	}
}

// crowd returns a configuration with n IPv6 addresses on eth0, in instances of at
// most 60, and one on eth1.
func crowd(n int, lease string) string {
	var b strings.Builder
	b.WriteString("global_defs: {vip_lease: " + lease + "}\nvrrp_instance:\n")
	for i := range n {
		if i%60 == 0 {
			fmt.Fprintf(&b, "  I%d:\n    interface: eth0\n    virtual_router_id: %d\n    virtual_ipaddress:\n      - fe80::%x/64\n", i/60, i/60+1, i+1)
			continue
		}
		fmt.Fprintf(&b, "      - 2001:db8::%x/64\n", i+1)
	}
	b.WriteString("  OTHER: {interface: eth1, virtual_router_id: 9, virtual_ipaddress: [fe80::1/64, 2001:db8:1::1/64]}\n")
	return b.String()
}

func TestMoreThanAHundredIPv6AddressesOnAnInterfaceHaveNoLease(t *testing.T) {
	for _, tt := range []struct {
		n     int
		lease string
		want  int
	}{
		{MaxLeasedIPv6, "auto", 0},
		{MaxLeasedIPv6 + 1, "auto", MaxLeasedIPv6 + 1},
		{150, "4", 150},
		{150, "off", 0}, // that is what was asked for
	} {
		c, diags := Parse("test.yaml", []byte(crowd(tt.n, tt.lease)))
		if c == nil {
			t.Fatal(diags)
		}
		got := c.UnleasedIPv6()
		if got["eth0"] != tt.want || got["eth1"] != 0 {
			t.Errorf("%d addresses, vip_lease %s: without a lease are %v, want %d on eth0", tt.n, tt.lease, got, tt.want)
		}
		var warned []string
		for _, d := range diags {
			if strings.Contains(d.Message, "lease") {
				warned = append(warned, d.String())
			}
		}
		if (len(warned) == 1) != (tt.want > 0) || len(warned) > 1 {
			t.Errorf("%d addresses, vip_lease %s: the warnings are %q", tt.n, tt.lease, warned)
		}
		if tt.want > 0 {
			// It is about the first address that is too many.
			at := fmt.Sprintf("eth0 has %d IPv6 addresses", tt.n)
			if line := strings.Split(crowd(tt.n, tt.lease), "\n")[diagLine(diags)-1]; !strings.Contains(warned[0], at) || !strings.Contains(line, fmt.Sprintf("::%x/", MaxLeasedIPv6+1)) {
				t.Errorf("%s: there is %q", warned[0], line)
			}
		}
	}
}

// diagLine returns the line of the warning about leases.
func diagLine(diags Diagnostics) int {
	for _, d := range diags {
		if strings.Contains(d.Message, "lease") {
			return d.Line
		}
	}
	return 1
}
