package checks

import (
	"math"
	"slices"
	"testing"
)

func TestWhatTrackedObjectsAmountTo(t *testing.T) {
	number := func(weight, value int, reverse bool) Input {
		return Input{Weight: weight, Reverse: reverse, State: Up, Numeric: true, Value: value}
	}
	for _, tt := range []struct {
		name  string
		base  uint8
		in    []Input
		want  uint8
		terms []Term
	}{
		{"nothing is tracked", 100, nil, 100, nil},

		{"a positive weight is added while up", 100, []Input{{Weight: 20, State: Up}}, 120, []Term{{Delta: 20}}},
		{"and is not while down", 100, []Input{{Weight: 20, State: Down}}, 100, []Term{{}}},
		{"a negative weight counts while down", 100, []Input{{Weight: -20, State: Down}}, 80, []Term{{Delta: -20}}},
		{"and does not while up", 100, []Input{{Weight: -20, State: Up}}, 100, []Term{{}}},
		{"reverse turns a positive weight around", 100, []Input{{Weight: 20, Reverse: true, State: Up}}, 80, []Term{{Delta: -20}}},
		{"reverse does not have it count while down", 100, []Input{{Weight: 20, Reverse: true, State: Down}}, 100, []Term{{}}},
		{"reverse turns a negative weight around", 100, []Input{{Weight: -20, Reverse: true, State: Down}}, 120, []Term{{Delta: 20}}},

		{"without weight a failure is a fault", 100, []Input{{State: Down}}, 100, []Term{{Fault: true}}},
		{"without weight success is none", 100, []Input{{State: Up}}, 100, []Term{{}}},
		{"with reverse success is the fault", 100, []Input{{Reverse: true, State: Up}}, 100, []Term{{Fault: true}}},
		{"with reverse a failure is none", 100, []Input{{Reverse: true, State: Down}}, 100, []Term{{}}},

		{"a weighted object without a result adds nothing", 100, []Input{{Weight: -20}, {Weight: 20}}, 100, []Term{{}, {}}},
		{"without weight it is waited for", 100, []Input{{}, {Reverse: true}}, 100, []Term{{Pending: true}, {Pending: true}}},
		{"a number is waited for, too", 100, []Input{{Numeric: true}, {Numeric: true, Weight: 1}}, 100, []Term{{Pending: true}, {}}},
		{"what is ignored does nothing", 100, []Input{{State: Ignored}, {State: Ignored, Reverse: true}, {State: Ignored, Weight: -20}, {State: Ignored, Numeric: true, Value: -500, Weight: 1}}, 100, make([]Term, 4)},

		{"a number is multiplied by its weight", 100, []Input{number(2, 15, false)}, 130, []Term{{Delta: 30}}},
		{"whatever its state", 100, []Input{{Weight: 2, State: Down, Numeric: true, Value: 15}}, 130, []Term{{Delta: 30}}},
		{"reverse takes it away", 100, []Input{number(2, 15, true)}, 70, []Term{{Delta: -30}}},
		{"a product adds at most 253", 1, []Input{number(254, 100, false)}, 254, []Term{{Delta: 253}}},
		{"a product of -253 is no fault", 254, []Input{number(-253, 1, false)}, 1, []Term{{Delta: -253}}},
		{"a product of -254 is one, and no part of the sum", 200, []Input{number(-254, 1, false)}, 200, []Term{{Fault: true}}},
		{"and so is anything below", 200, []Input{number(1, math.MinInt, false), number(254, math.MaxInt, true)}, 200, []Term{{Fault: true}, {Fault: true}}},
		{"the largest numbers do not overflow", 100, []Input{number(-254, math.MinInt, false)}, 254, []Term{{Delta: 253}}},
		{"without weight any number but 0 is a fault", 100, []Input{number(0, 0, false), number(0, 1, false), number(0, -1, false)}, 100, []Term{{}, {Fault: true}, {Fault: true}}},
		{"with reverse 0 is the fault", 100, []Input{number(0, 0, true), number(0, 1, true)}, 100, []Term{{Fault: true}, {}}},

		{"the priority is at least 1", 100, []Input{{Weight: -253, State: Down}}, 1, []Term{{Delta: -253}}},
		{"the priority is at most 254", 250, []Input{{Weight: 50, State: Up}}, 254, []Term{{Delta: 50}}},
		{"only the sum has bounds", 100, []Input{{Weight: -200, State: Down}, {Weight: 150, State: Up}, {Weight: 10, State: Up}}, 60, []Term{{Delta: -200}, {Delta: 150}, {Delta: 10}}},
		{"a fault does not change the sum", 100, []Input{{State: Down}, {Weight: -20, State: Down}}, 80, []Term{{Fault: true}, {Delta: -20}}},

		{"an owner stays one", 255, []Input{{Weight: -20, State: Down}, number(1, -100, false)}, 255, []Term{{}, {}}},
		{"an owner can be in fault", 255, []Input{{State: Down}, number(1, -300, false), {}}, 255, []Term{{Fault: true}, {Fault: true}, {Pending: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Judge(tt.base, tt.in)
			if got.Priority != tt.want || !slices.Equal(got.Terms, tt.terms) {
				t.Errorf("got %+v, want priority %d and %+v", got, tt.want, tt.terms)
			}
		})
	}
}

func FuzzJudge(f *testing.F) {
	f.Add(uint8(100), -20, false, uint8(Down), false, 0, 20, uint8(Up))
	f.Add(uint8(255), math.MinInt, true, uint8(Up), true, math.MinInt, math.MaxInt, uint8(Down))
	f.Fuzz(func(t *testing.T, base uint8, weight int, reverse bool, state uint8, numeric bool, value, weight2 int, state2 uint8) {
		// The weights the configuration allows.
		in := []Input{
			{Weight: weight % 255, Reverse: reverse, State: State(state % 4), Numeric: numeric, Value: value},
			{Weight: weight2 % 254, State: State(state2 % 4)},
		}
		v := Judge(base, in)
		if (base == 255) != (v.Priority == 255) || v.Priority == 0 {
			t.Errorf("the priority of %d is %d", base, v.Priority)
		}
		sum := int(base)
		for i, term := range v.Terms {
			if term.Delta <= -254 || term.Delta > 254 || numeric && i == 0 && term.Delta > 253 {
				t.Errorf("term %d adds %d", i, term.Delta)
			}
			if term.Fault && term.Delta != 0 || term.Pending && (term.Fault || term.Delta != 0 || in[i].State != Unknown) {
				t.Errorf("term %d is %+v", i, term)
			}
			if in[i].State == Ignored && term != (Term{}) {
				t.Errorf("what is ignored contributes %+v", term)
			}
			sum += term.Delta
		}
		if want := min(max(sum, 1), 254); base != 255 && int(v.Priority) != want {
			t.Errorf("the terms add up to %d, the priority is %d", want, v.Priority)
		}
		if again := Judge(base, in); again.Priority != v.Priority || !slices.Equal(again.Terms, v.Terms) {
			t.Errorf("a second time it is %+v, not %+v", again, v)
		}
	})
}
