package vrrp

import "time"

// The lifetimes of addresses are counted by the kernel in whole seconds. It looks
// at them at most once a second, and rounds the time of its next look up.
const (
	leaseUnit = time.Second
	// leaseSlack is by how much a lease may outlast its length, so that one that
	// is renewed right after an advertisement has all of it.
	leaseSlack = 50 * time.Millisecond
	// leaseLate is by how much the kernel was seen to be late.
	leaseLate = 450 * time.Millisecond
	// leasePatience is by how much an advertisement may be late, at the least,
	// before leases are not renewed any more.
	leasePatience = 200 * time.Millisecond
)

// LeaseLength returns how long after the last advertisement the kernel is to keep
// the addresses of a master that does nothing any more (vip_lease: auto): the
// largest whole number of seconds not above the master-down interval of a backup
// with the same priority, but at least one, and enough to be renewed.
func LeaseLength(v Version, priority uint8, interval time.Duration, adverts int) time.Duration {
	length := max(MasterDownInterval(v, priority, interval, adverts).Truncate(leaseUnit), leaseUnit)
	for !LeaseRenewable(length, interval) {
		length += leaseUnit // fewer than three advertisements may be missed
	}
	return length
}

// LeaseRenewable reports whether a lease of that length can be renewed up to the
// moment of the next advertisement. One that cannot would end before.
func LeaseRenewable(length, interval time.Duration) bool {
	_, ok := LeaseLifetime(length, interval, interval)
	return ok
}

// longestAge returns how long ago the last advertisement may have been sent for
// leases to be renewed.
func longestAge(interval time.Duration) time.Duration {
	return interval + max(interval/2, leasePatience)
}

// LeaseLifetime returns the lifetime, in whole seconds, to give now to the
// addresses of a master whose last advertisement was sent that long ago, so that
// they are gone when the length of the lease has passed since. It reports false
// if they must not be renewed: the router does not advertise as it should. A
// lease of a second, which is for shorter intervals than a kernel's second can be
// fair to, is renewed as long as the router advertises.
func LeaseLifetime(length, interval, age time.Duration) (time.Duration, bool) {
	if age < 0 || age > longestAge(interval) {
		return 0, false
	}
	left := (length + leaseSlack - age).Truncate(leaseUnit)
	if left < leaseUnit && length <= leaseUnit {
		left = leaseUnit
	}
	return left, left >= leaseUnit
}

// LeaseRound returns how often leases of that length are to be looked at by who
// renews them: at least twice within the shortest lifetime that is given to who
// advertises in time.
func LeaseRound(length, interval time.Duration) time.Duration {
	if shortest, ok := LeaseLifetime(length, interval, interval); !ok || shortest < 2*leaseUnit {
		return leaseUnit / 2
	}
	return leaseUnit
}

// LeaseOverlap returns for how long at most two routers can answer for an
// address after its master has stopped to do anything: from when a backup of the
// highest priority takes over until the kernel has removed the address.
func LeaseOverlap(length, interval time.Duration, adverts int) time.Duration {
	ends := length + leaseSlack + leaseLate
	if length <= leaseUnit {
		// Renewed up to the next advertisement.
		ends = interval + length + leaseLate
	}
	return max(0, ends-time.Duration(adverts)*interval)
}

// LeaseSilence returns how long ago at most the last advertisement had been sent
// when addresses were given that lifetime.
func LeaseSilence(length, interval, lifetime time.Duration) time.Duration {
	most := longestAge(interval)
	if length <= leaseUnit {
		return most
	}
	return min(max(length+leaseSlack-lifetime, 0), most)
}

// MayResume reports whether a router that was master may go on as such after its
// process was started again (see [Resume]): it advertised so lately that no other
// router has taken over, since at least so many advertisements must be missed. The
// age is that of its last advertisement at most: of the last renewal of an address
// that is still there, and what [LeaseSilence] says of that.
func MayResume(interval time.Duration, adverts int, age time.Duration) bool {
	return age >= 0 && age <= time.Duration(min(adverts, 3))*interval
}
