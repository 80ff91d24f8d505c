package control

import (
	"encoding/json"
	"time"
)

// A Check is an object that instances may track: a vrrp_script, a vrrp_check, a
// vrrp_track_process or a track_file.
type Check struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // KindScript, KindCheck, KindProcess or KindFile

	State CheckState `json:"state"`
	Since time.Time  `json:"since,omitzero"` // when the state was entered; absent when it never was
	// Value is the number in a file; absent for other objects.
	Value *int `json:"value,omitempty"`
	// Detail says in a few words why the state is what it is: "exit code 1".
	Detail string `json:"detail,omitempty"`
	// Unrunnable says why the object cannot be checked at all; absent when it
	// can. Hint is what can be done about that, or about a failure.
	Unrunnable string `json:"unrunnable,omitempty"`
	Hint       string `json:"hint,omitempty"`

	// Command is the program of a script with its arguments, or what a process
	// is looked for by; User is who runs it.
	Command []string `json:"command"`
	User    string   `json:"user,omitempty"`
	// What is what is looked at by an object that has no command:
	// "GET https://192.0.2.1/", the path of a file.
	What string `json:"what,omitempty"`
	// Mechanism says how the object is watched where there are several ways.
	Mechanism string `json:"mechanism,omitempty"`

	// Interval, Timeout, Rise and Fall are those of objects that are checked
	// by attempts, else 0.
	Interval Seconds `json:"interval_seconds"`
	Timeout  Seconds `json:"timeout_seconds"`
	Rise     int     `json:"rise"`
	Fall     int     `json:"fall"`
	// Streak is how many attempts in a row ended as the last one did.
	Streak int `json:"streak"`

	// The counters count from the start of the daemon. Skipped are the times
	// at which the attempt before was still going on.
	Runs     uint64 `json:"runs"`
	Failures uint64 `json:"failures"`
	Timeouts uint64 `json:"timeouts"`
	Skipped  uint64 `json:"skipped"`

	// Last is the last attempt that ended; absent before the first.
	Last *Attempt `json:"last,omitempty"`
	// RunningSince is when the attempt that is going on was begun; absent while
	// there is none.
	RunningSince time.Time `json:"running_since,omitzero"`

	// UsedBy are the instances that track the object, by themselves or through
	// their sync group.
	UsedBy []string `json:"used_by"`
}

// The kinds of tracked objects.
const (
	KindScript    = "script"
	KindCheck     = "check"
	KindProcess   = "process"
	KindFile      = "file"
	KindInterface = "interface" // in a Track only
)

// A CheckState is a state of a tracked object. Readers must expect words they
// do not know.
type CheckState string

// The states of a tracked object.
const (
	CheckUnknown CheckState = "unknown" // no result yet
	CheckUp      CheckState = "up"
	CheckDown    CheckState = "down"
	CheckIgnored CheckState = "ignored" // cannot be checked, and does not count
)

// An Attempt is one run of a script, or one question to a service.
type Attempt struct {
	Started  time.Time `json:"started"`
	Duration Seconds   `json:"duration_seconds"`
	OK       bool      `json:"ok"`
	Detail   string    `json:"detail,omitempty"`
	// Exit is the exit code of a script; absent if it did not exit by itself.
	// Signal is the name of the signal that ended it instead.
	Exit   *int   `json:"exit,omitempty"`
	Signal string `json:"signal,omitempty"`
	// Output is the end of what a script wrote. It may hold control
	// characters.
	Output string `json:"output,omitempty"`
}

// A Track is what one tracked object means to one instance.
type Track struct {
	Kind    string `json:"kind"` // as that of a Check, or KindInterface
	Name    string `json:"name"`
	Weight  int    `json:"weight"` // 0: its failure is a fault
	Reverse bool   `json:"reverse"`
	// Group is the sync group that tracks the object for its members; absent
	// when the instance does so itself.
	Group string     `json:"group,omitempty"`
	State CheckState `json:"state"`
	Since time.Time  `json:"since,omitzero"`  // when the state was entered
	Value *int       `json:"value,omitempty"` // of a file
	// Delta is what the object adds to the priority now.
	Delta int `json:"delta"`
	// Fault is set when it keeps the instance out of the election, Pending
	// when it has no result yet and one is waited for.
	Fault   bool   `json:"fault"`
	Pending bool   `json:"pending"`
	Detail  string `json:"detail,omitempty"` // as that of a Check
}

// A SyncGroup is one vrrp_sync_group.
type SyncGroup struct {
	Name          string         `json:"name"`
	State         State          `json:"state"`
	Since         time.Time      `json:"since"`
	Reason        Reason         `json:"reason"`
	Members       []string       `json:"members"`       // names of instances
	Notifications []Notification `json:"notifications"` // oldest first
}

// A Notification is one run of a notify script.
type Notification struct {
	At    time.Time `json:"at"`
	State string    `json:"state"` // what it was told: "MASTER"
	// Command is the program with all of its arguments, User who ran it.
	Command []string `json:"command"`
	User    string   `json:"user,omitempty"`
	// Exit is the exit code; absent if it did not exit by itself. Signal is
	// the name of the signal that ended it instead.
	Exit     *int    `json:"exit,omitempty"`
	Signal   string  `json:"signal,omitempty"`
	Duration Seconds `json:"duration_seconds"`
	// TimedOut is set when it ran for longer than notify_timeout, Skipped
	// when it was not run as a later state had come by then, Running while it
	// runs.
	TimedOut bool `json:"timed_out"`
	Skipped  bool `json:"skipped"`
	Running  bool `json:"running"`
	// Detail says in a few words how it ended: "exit code 1".
	Detail string `json:"detail,omitempty"`
	// Output is the end of what it wrote. It may hold control characters.
	Output string `json:"output,omitempty"`
}

// A CheckRun is what one run of one tracked object came to, outside the daemon.
type CheckRun struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // as that of a Check
	// OK is set when the object counts as up by this run alone.
	OK    bool       `json:"ok"`
	State CheckState `json:"state"`
	// Verdict is what vipd would make of it, in words.
	Verdict string `json:"verdict"`

	Command []string `json:"command"`
	Path    string   `json:"path,omitempty"` // the program that was run, as it was found, with its links
	What    string   `json:"what,omitempty"`
	User    string   `json:"user,omitempty"`
	UID     *uint32  `json:"uid,omitempty"`
	// Environment is what a script was given; absent for other objects.
	Environment *Environment `json:"environment,omitempty"`

	Interval Seconds `json:"interval_seconds"`
	Timeout  Seconds `json:"timeout_seconds"`
	Rise     int     `json:"rise"`
	Fall     int     `json:"fall"`

	Value      *int   `json:"value,omitempty"` // of a file
	Unrunnable string `json:"unrunnable,omitempty"`
	Hint       string `json:"hint,omitempty"`
	Mechanism  string `json:"mechanism,omitempty"`

	Attempt Attempt `json:"attempt"`
	// Effects are what the result means to the instances, in words.
	Effects []string `json:"effects"`
}

// An Environment is the environment of a script, told by how it differs from
// the one of who runs it by hand.
type Environment struct {
	// DaemonPID is the running vipd whose environment was taken; absent when
	// none was found, or when its environment may not be read.
	DaemonPID int `json:"daemon_pid,omitempty"`
	// Path is the PATH, in which programs are looked for; absent when there is
	// none.
	Path string `json:"path,omitempty"`
	// Set are the names of the variables that differ or are not set here, Unset
	// of those that are set here only. Values may be secret.
	Set   []string `json:"set"`
	Unset []string `json:"unset"`
}

// MarshalJSON writes the document with empty lists where there are none.
func (r CheckRun) MarshalJSON() ([]byte, error) {
	type plain CheckRun
	r.Command = list(r.Command)
	r.Effects = list(r.Effects)
	return json.Marshal(plain(r))
}

// MarshalJSON writes the document with empty lists where there are none.
func (e Environment) MarshalJSON() ([]byte, error) {
	type plain Environment
	e.Set = list(e.Set)
	e.Unset = list(e.Unset)
	return json.Marshal(plain(e))
}

type (
	plainCheck     Check
	plainSyncGroup SyncGroup
)

// plain returns c with empty lists where there are none.
func (c Check) plain() plainCheck {
	c.Command = list(c.Command)
	c.UsedBy = list(c.UsedBy)
	return plainCheck(c)
}

// plain returns g with empty lists where there are none.
func (g SyncGroup) plain() plainSyncGroup {
	g.Members = list(g.Members)
	g.Notifications = notifications(g.Notifications)
	return plainSyncGroup(g)
}

// notifications returns ns with empty lists where there are none. Elements are
// not changed in place: the list is the caller's.
func notifications(ns []Notification) []Notification {
	out := make([]Notification, len(ns))
	for i, n := range ns {
		n.Command = list(n.Command)
		out[i] = n
	}
	return out
}
