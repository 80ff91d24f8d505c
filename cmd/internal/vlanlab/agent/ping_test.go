package main

import (
	"io"
	"testing"
)

func TestAPingThatIsNotMeantIsRefused(t *testing.T) {
	for _, args := range [][]string{{}, {"--interval", "0s", "192.0.2.10"}, {"not-an-address"}, {"--unknown"}, {"--interval", "often", "192.0.2.10"}} {
		if err := pingMain(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
