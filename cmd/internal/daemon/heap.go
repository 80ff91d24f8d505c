package daemon

import "time"

// A wakeHeap orders the instances of a loop by the time at which their machines
// want to be woken. Instances that want none are not in it.
type wakeHeap []*instance

func (h wakeHeap) less(i, j int) bool { return h[i].wakeAt.Before(h[j].wakeAt) }

func (h wakeHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}

func (h wakeHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h wakeHeap) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h.less(c, least) {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

// set puts the instance where its time belongs, or takes it out.
func (h *wakeHeap) set(inst *instance, at time.Time, ok bool) {
	switch in := inst.heapAt >= 0; {
	case ok && !in:
		inst.wakeAt, inst.heapAt = at, len(*h)
		*h = append(*h, inst)
		h.up(inst.heapAt)
	case ok && !at.Equal(inst.wakeAt):
		inst.wakeAt = at
		h.up(inst.heapAt)
		h.down(inst.heapAt)
	case !ok && in:
		i, last := inst.heapAt, len(*h)-1
		h.swap(i, last)
		(*h)[last] = nil
		*h = (*h)[:last]
		inst.heapAt = -1
		if i < last {
			h.up(i)
			h.down(i)
		}
	}
}
