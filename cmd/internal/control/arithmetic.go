package control

import (
	"fmt"
	"strings"
	"time"
)

// The bounds of an effective priority: 255 is the owner's, 0 a farewell.
const (
	minPriority   = 1
	maxPriority   = 254
	ownerPriority = 255
)

// minus is the sign that people expect; a hyphen is hard to see beside digits.
const minus = "−"

// Arithmetic writes down how an effective priority comes about: "150 − 20
// (chk_haproxy failing since 14:03:05) = 130". It returns nothing when no
// tracked object adds anything, as to that of an owner. Times are in the zone of now, and without their
// date if they are of the same day.
func Arithmetic(base, effective uint8, tracks []Track, now time.Time) string {
	if base == ownerPriority {
		return ""
	}
	var b strings.Builder
	sum := int(base)
	for _, t := range tracks {
		if t.Delta == 0 {
			continue
		}
		sign, n := "+", t.Delta
		if n < 0 {
			sign, n = minus, -n
		}
		fmt.Fprintf(&b, " %s %d (%s)", sign, n, t.why(now))
		sum += t.Delta
	}
	if b.Len() == 0 {
		return ""
	}
	fmt.Fprintf(&b, " = %s", signed(sum))
	switch {
	case sum < minPriority:
		fmt.Fprintf(&b, ", at least %d", minPriority)
	case sum > maxPriority:
		fmt.Fprintf(&b, ", at most %d", maxPriority)
	}
	if max(minPriority, min(sum, maxPriority)) != int(effective) {
		fmt.Fprintf(&b, "; in effect is %d", effective)
	}
	return fmt.Sprint(base) + b.String()
}

// why says what it is about the object that made it count.
func (t Track) why(now time.Time) string {
	s := t.Name
	if t.Kind != KindScript && t.Kind != KindCheck {
		s = t.Kind + " " + t.Name
	}
	if t.Value != nil {
		weight := t.Weight
		if t.Reverse {
			weight = -weight
		}
		s += fmt.Sprintf(": %s × %s", signed(*t.Value), signed(weight))
		if *t.Value*weight != t.Delta {
			s += ", bounded" // keepalived: to -254..253
		}
		return s
	}
	s += " " + t.stateVerb()
	if !t.Since.IsZero() {
		s += " since " + clock(t.Since, now)
	}
	return s
}

// stateVerb says what state the object is in, as it is said of its kind.
func (t Track) stateVerb() string {
	service := t.Kind == KindScript || t.Kind == KindCheck
	switch t.State {
	case CheckUp:
		if service {
			return "succeeding"
		}
		return "up"
	case CheckDown:
		if service {
			return "failing"
		}
		return "down"
	case CheckUnknown:
		return "without a result"
	}
	return string(t.State)
}

// clock returns a time of day, with the date if that is not today's.
func clock(t, now time.Time) string {
	t = t.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// signed writes a number with the sign people expect.
func signed(n int) string { return strings.Replace(fmt.Sprint(n), "-", minus, 1) }
