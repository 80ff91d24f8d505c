package checks

// An Input is what is known of one object a virtual router tracks, and how it
// counts.
type Input struct {
	// Weight is what the object's state adds to the priority; 0: its failure
	// is a fault.
	Weight int
	// Reverse turns the effect around (keepalived: reverse).
	Reverse bool
	State   State
	// Numeric is set for objects that are a number rather than up or down
	// (keepalived: track_file). The number is Value.
	Numeric bool
	Value   int
}

// A Verdict is what the tracked objects amount to.
type Verdict struct {
	// Priority is the effective priority, 1 to 254, or 255 for an owner.
	Priority uint8
	// Terms says for each input, in order, what it contributed.
	Terms []Term
}

// A Term is the contribution of one object.
type Term struct {
	Delta   int  // added to the priority
	Fault   bool // keeps the router out of the election
	Pending bool // keeps it from joining until there is a result
}

// The bounds of keepalived for a priority that is not an owner's, and for what
// one object adds to it.
const (
	minPriority = 1
	maxPriority = 254
	owner       = 255
	// faultDelta is what a number may not amount to: it is a fault then.
	faultDelta = -254
	maxDelta   = 253
)

// Judge folds what is known of the tracked objects into the priority of a
// router whose own is base.
//
// The priority of an owner, 255, does not change, but what is a fault is one
// for an owner, too. An object without a result adds nothing yet; with weight 0
// it is pending. One that is ignored does nothing.
func Judge(base uint8, in []Input) Verdict {
	v := Verdict{Priority: base, Terms: make([]Term, len(in))}
	total := int64(base)
	for i, input := range in {
		t := term(input)
		if base == owner {
			t.Delta = 0
		}
		total += int64(t.Delta)
		v.Terms[i] = t
	}
	if base != owner {
		v.Priority = uint8(min(max(total, minPriority), maxPriority))
	}
	return v
}

// term returns what one object contributes.
func term(in Input) Term {
	switch {
	case in.State == Ignored:
		return Term{}
	case in.State == Unknown:
		return Term{Pending: in.Weight == 0}
	case in.Numeric:
		return number(in)
	}
	up, sign := in.State == Up, 1
	if in.Reverse {
		sign = -1
	}
	switch {
	case in.Weight == 0:
		// With reverse it is success that is the fault.
		return Term{Fault: up == in.Reverse}
	case (in.Weight > 0) == up:
		return Term{Delta: in.Weight * sign}
	}
	return Term{}
}

// number returns what a number contributes (keepalived: track_file).
func number(in Input) Term {
	if in.Weight == 0 {
		return Term{Fault: (in.Value != 0) != in.Reverse}
	}
	// Nothing beyond the bounds of a product differs from what is at them, and
	// nothing within these overflows.
	const far = 1 << 20
	product := min(max(in.Value, -far), far) * min(max(in.Weight, -far), far)
	if in.Reverse {
		product = -product
	}
	if product <= faultDelta {
		return Term{Fault: true} // and, as with keepalived, no part of the sum
	}
	return Term{Delta: min(product, maxDelta)}
}
