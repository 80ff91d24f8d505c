package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// busyArgument makes this program a busy loop.
const busyArgument = "busy-loop"

// busyLoop uses a processor until it is killed.
func busyLoop() {
	for n := 0; ; n++ {
	}
}

// ticks is USER_HZ, the unit of processor times in /proc. It is 100 on every
// architecture Linux still runs Go on.
const ticks = 100

// descendants returns a process and all that descend from it.
func descendants(pid int) []int {
	pids := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		list, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(list)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, descendants(child)...)
			}
		}
	}
	return pids
}

// processorTime returns the time that processes have used a processor, user and
// system. The kernel gives it in nanoseconds for each thread (schedstat); the
// sum is what utime and stime of /proc/PID/stat round to ticks, apart from
// threads that have ended, which these daemons do not have while they are
// measured.
func processorTime(pids []int) (time.Duration, error) {
	total := time.Duration(0)
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if len(files) == 0 {
			return 0, fmt.Errorf("process %d has ended", pid)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return 0, err
			}
			ran, _, _ := strings.Cut(string(text), " ")
			ns, err := strconv.ParseInt(ran, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", f, err)
			}
			total += time.Duration(ns)
		}
	}
	return total, nil
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

// machineTime returns how long all processors together have worked for
// processes, or were taken away by the hypervisor. Interrupts are not in it:
// most of them are frames of the daemons measured.
func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachineTime(text)
}

func parseMachineTime(text []byte) (time.Duration, error) {
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) < 9 || words[0] != "cpu" {
			continue
		}
		total := int64(0)
		for _, i := range []int{1, 2, 3, 8} { // user, nice, system, steal
			v, err := strconv.ParseInt(words[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/stat: %w", err)
			}
			total += v
		}
		return time.Duration(total) * time.Second / ticks, nil
	}
	return 0, fmt.Errorf("/proc/stat has no line for all processors")
}

// ownTime returns the processor time of this process and of those it has waited
// for.
func ownTime() time.Duration {
	total := time.Duration(0)
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}
