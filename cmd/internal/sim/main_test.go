package main

import (
	"bytes"
	"strings"
	"testing"
)

// call runs the program.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestAKindThatWasNeverSeenIsAFailure(t *testing.T) {
	code, out, _ := call(t, "--histories", "1")
	if code != 1 || !strings.Contains(out, "1 histories in ") || !strings.Contains(out, "none of a kind was seen") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestASeedIsReplayedWithItsTrace(t *testing.T) {
	code, out, _ := call(t, "--seed", "7", "--lines", "20")
	if code != 0 || !strings.HasPrefix(out, "seed 7: ") || !strings.Contains(out, " lines before\n") || !strings.Contains(out, " send priority ") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if _, again, _ := call(t, "--seed", "7", "--lines", "20"); again != out {
		t.Errorf("the second time it is another one:\n%s", again)
	}
	if _, all, _ := call(t, "--seed", "7", "--lines", "0"); !strings.HasSuffix(all, out[strings.Index(out, " lines before\n")+len(" lines before\n"):]) || len(all) <= len(out) {
		t.Error("the whole trace does not end as its end does")
	}
}

func TestArgumentsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--histories", "0"}, {"--unknown"}, {"seven"}} {
		if code, _, stderr := call(t, args...); code != 2 || !strings.Contains(stderr, "-histories") {
			t.Errorf("%q: exit code %d: %s", args, code, stderr)
		}
	}
}
