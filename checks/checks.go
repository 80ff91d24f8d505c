// Package checks watches what decides whether a router should be master:
// scripts, processes, files, and services that it asks by itself.
//
// A [Tracker] watches one object and reports. [Judge] folds what is known of all
// objects that a virtual router tracks into its priority and its faults.
package checks

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// A State is what a tracker knows of its object.
type State uint8

// The states of a tracked object.
const (
	Unknown State = iota // there was no result yet
	Up
	Down
	// Ignored is the state of an object that cannot be checked and is not to
	// count (unrunnable: ignore).
	Ignored
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Up:
		return "up"
	case Down:
		return "down"
	case Ignored:
		return "ignored"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// A Tracker watches one object.
type Tracker interface {
	// Run watches until ctx ends and calls report with everything it learns,
	// one call at a time. report does not block. When Run returns nothing of
	// it is left: no process, no descriptor.
	Run(ctx context.Context, report func(Report))
}

// A Report is what a tracker knows about its object at one time.
type Report struct {
	State State
	Since time.Time // when State was entered
	// Value is the number in a file, 0 for other objects.
	Value int
	// Detail says in a few words why: "exit code 1", "timed out after 2s",
	// "connection refused", "2 processes, at least 3 needed".
	Detail string
	// Unrunnable says why the object cannot be checked at all; empty: it can.
	// Hint is what can be done about it, or about the failure.
	Unrunnable, Hint string
	// Last is the last attempt that ended; nil before the first, and for
	// objects that are not checked by attempts.
	Last *Attempt
	// Streak is how many attempts in a row ended as the last one did.
	Streak int
	// Counters since the start. Skipped are the times at which the attempt
	// before was still going on.
	Runs, Failures, Timeouts, Skipped uint64
	// Mechanism says how the object is watched where there are several ways:
	// "process events", "scan of /proc every 1s", "file events"; else empty.
	Mechanism string
}

// An Attempt is one run of a script, or one question to a service.
type Attempt struct {
	Started  time.Time
	Duration time.Duration
	OK       bool
	Detail   string // as in Report
	// Exit is the exit code of a script, -1 if it did not exit by itself or is
	// not one; Signal is what ended it, 0 if nothing did.
	Exit   int
	Signal syscall.Signal
	// Output is the end of what it wrote to standard output and error,
	// bounded, not cleaned of control characters.
	Output string
}
