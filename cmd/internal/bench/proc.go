package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// busyArgument makes this program a busy loop.
const busyArgument = "busy-loop"

// busyLoop uses a processor until it is killed.
func busyLoop() {
	for n := 0; ; n++ {
	}
}

// A footprint is the memory of some processes, in MiB.
type footprint struct{ rss, pss float64 }

// memory returns the resident and the proportional set size.
func memory(pids []int) (footprint, error) {
	var f footprint
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return f, err
		}
		f.rss += field(text, "Rss:") / 1024
		f.pss += field(text, "Pss:") / 1024
	}
	return f, nil
}

// field returns the number after a word at the beginning of a line.
func field(text []byte, name string) float64 {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			if words := bytes.Fields(rest); len(words) > 0 {
				v, _ := strconv.ParseFloat(string(words[0]), 64)
				return v
			}
		}
	}
	return 0
}
