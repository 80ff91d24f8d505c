package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
)

// An UnreachableError says that no daemon answers on a control socket.
type UnreachableError struct {
	Path string // of the socket
	// PID and State are the process that has the socket and its state as /proc has
	// it ("S"), if it does not answer; 0 and empty if they are not known.
	PID   int
	State string
	Err   error
}

// Error says what was tried and what may be the matter.
func (e *UnreachableError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("control: no vipd runs here: %s does not exist (is it running, with this run directory?)", e.Path)
	case errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, errStuck):
		return "control: vipd does not answer on " + e.Path + e.stuck()
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("control: no vipd runs here: nobody listens on %s (it was left behind by one that died)", e.Path)
	}
	return fmt.Sprintf("control: no answer from vipd on %s: %v", e.Path, e.Err)
}

// stuck says what is known of a process that does not answer.
func (e *UnreachableError) stuck() string {
	who := fmt.Sprintf(": process %d is there, but ", e.PID)
	switch {
	case e.PID == 0:
		return " in time: it is stuck, or very busy"
	case stopped(e.State):
		return who + fmt.Sprintf("stopped (state %s); `kill -CONT %d` has it go on, a restart ends it", e.State, e.PID)
	case e.State == stateAsleep:
		return who + "waits in the kernel (state D): for a disk that does not answer, perhaps; the kernel's log may say more"
	case e.State == "":
		return fmt.Sprintf(" in time: process %d is stuck, or very busy", e.PID)
	}
	return fmt.Sprintf(" in time: process %d is there (state %s), but stuck, or very busy", e.PID, e.State)
}

// stateAsleep is the state of a process that waits in the kernel and cannot be
// interrupted.
const stateAsleep = "D"

// stopped reports whether a process in that state was stopped, by a signal or a
// debugger.
func stopped(state string) bool { return strings.EqualFold(state, "T") }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// A PermissionError says that the caller may not use a control socket, or may
// not do with it what was asked.
type PermissionError struct {
	Path string // of the socket
	Err  error
}

// Error says what is not permitted, and to whom it would be.
func (e *PermissionError) Error() string {
	if r, ok := errors.AsType[*ResponseError](e.Err); ok {
		return "control: " + r.Message
	}
	return fmt.Sprintf("control: no permission to use %s: reading is for root and for the socket's group: %v", e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *PermissionError) Unwrap() error { return e.Err }

// A ResponseError is an error the daemon answered with.
type ResponseError struct {
	StatusCode int    `json:"-"`
	Code       string `json:"code"` // a word fit for programs: "not-found"
	Message    string `json:"message"`
}

// Error returns the daemon's own words.
func (e *ResponseError) Error() string {
	return fmt.Sprintf("control: vipd answers %q (%d)", e.Message, e.StatusCode)
}

// code is the word that stands for an HTTP status: "method-not-allowed".
func code(status int) string {
	return strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "-")
}

// errorBody is the JSON document of every answer that is an error.
type errorBody struct {
	Error ResponseError `json:"error"`
}
