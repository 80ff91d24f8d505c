package figures

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Ticks is USER_HZ, the unit of processor times in /proc. It is 100 on every
// architecture Linux still runs Go on.
const Ticks = 100

// Descendants returns a process and all that descend from it.
func Descendants(pid int) []int {
	pids := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		list, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(list)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, Descendants(child)...)
			}
		}
	}
	return pids
}

// ProcessorTime returns the time that processes have used a processor, user and
// system. The kernel gives it in nanoseconds for each thread (schedstat); the
// sum is what utime and stime of /proc/PID/stat round to ticks, apart from
// threads that have ended.
func ProcessorTime(pids []int) (time.Duration, error) {
	total := time.Duration(0)
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if len(files) == 0 {
			return 0, fmt.Errorf("figures: process %d has ended", pid)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return 0, fmt.Errorf("figures: reading a processor time: %w", err)
			}
			ran, _, _ := strings.Cut(string(text), " ")
			ns, err := strconv.ParseInt(ran, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("figures: %s: %w", f, err)
			}
			total += time.Duration(ns)
		}
	}
	return total, nil
}

// Times returns the processor time of a process, its threads that have ended among
// it, and that of the children that it has waited for, both to a tick (proc(5): utime,
// stime, cutime and cstime of /proc/PID/stat).
func Times(pid int) (own, reaped time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("figures: reading a processor time: %w", err)
	}
	if own, reaped, err = parseTimes(text); err != nil {
		err = fmt.Errorf("figures: /proc/%d/stat: %w", pid, err)
	}
	return own, reaped, err
}

func parseTimes(text []byte) (own, reaped time.Duration, err error) {
	// The name, in parentheses, may hold anything.
	_, rest, _ := bytes.Cut(text[max(bytes.LastIndexByte(text, ')'), 0):], []byte(" "))
	words := bytes.Fields(rest)
	const utime, last = 14 - 3, 17 - 3 // counted from the word after the name
	if len(words) <= last {
		return 0, 0, errors.New("it is too short")
	}
	var times [4]time.Duration
	for i := range times {
		v, err := strconv.ParseInt(string(words[utime+i]), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		times[i] = time.Duration(v) * time.Second / Ticks
	}
	return times[0] + times[1], times[2] + times[3], nil
}

// MachineTime returns how long all processors together have worked for
// processes, or were taken away by the hypervisor. Interrupts are not in it:
// most of them are frames of the daemons measured.
func MachineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("figures: reading the machine's time: %w", err)
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
				return 0, fmt.Errorf("figures: /proc/stat: %w", err)
			}
			total += v
		}
		return time.Duration(total) * time.Second / Ticks, nil
	}
	return 0, errors.New("figures: /proc/stat has no line for all processors")
}

// OwnTime returns the processor time of this process and of those it has waited
// for.
func OwnTime() time.Duration {
	total := time.Duration(0)
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}
