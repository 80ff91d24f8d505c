package vrrp

import "time"

// SkewTime returns Skew_Time, the part of the master-down interval by which a
// higher priority is faster.
//
// Version 2 counts it in seconds whatever the advertisement interval is (RFC
// 3768 §6.1), version 3 in parts of the master's interval (RFC 9568 §6.1).
func SkewTime(v Version, priority uint8, masterInterval time.Duration) time.Duration {
	unit := masterInterval
	if v == V2 {
		unit = time.Second
	}
	return time.Duration(256-int(priority)) * unit / 256
}

// MasterDownInterval returns Master_Down_Interval: how long a backup waits
// without hearing the master. adverts is 3 in the RFCs and down_timer_adverts
// in keepalived.
func MasterDownInterval(v Version, priority uint8, masterInterval time.Duration, adverts int) time.Duration {
	return time.Duration(adverts)*masterInterval + SkewTime(v, priority, masterInterval)
}
