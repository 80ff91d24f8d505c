package checks

// A Hysteresis turns a sequence of results into a state that changes only after
// several equal results (keepalived: rise, fall). The first result decides at
// once, whatever rise and fall are.
type Hysteresis struct {
	rise, fall int
	state      State
	// count is how far it is from one state towards the other: below rise the
	// object is down and that many good results in a row have been seen; from
	// rise to rise+fall-1 it is up and one less for each bad result.
	count int
}

// NewHysteresis returns a hysteresis without a result. Values below 1 count
// as 1.
func NewHysteresis(rise, fall int) *Hysteresis {
	return &Hysteresis{rise: max(rise, 1), fall: max(fall, 1)}
}

// State returns Unknown before the first result, then Up or Down.
func (h *Hysteresis) State() State { return h.state }

// Add takes one result and says whether it changed the state.
func (h *Hysteresis) Add(ok bool) (changed bool) {
	before := h.state
	switch {
	case h.state == Unknown && ok, h.state == Up && ok, ok && h.count >= h.rise-1:
		h.state, h.count = Up, h.rise+h.fall-1
	case ok:
		h.count++
	case h.state == Up && h.count > h.rise:
		h.count--
	default:
		h.state, h.count = Down, 0
	}
	return h.state != before
}
