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
	Err  error
}

// Error says what was tried and what may be the matter.
func (e *UnreachableError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("control: no vipd runs here: %s does not exist (is it running, with this run directory?)", e.Path)
	case errors.Is(e.Err, context.DeadlineExceeded):
		return fmt.Sprintf("control: vipd does not answer on %s in time: it is stuck, or very busy", e.Path)
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("control: no vipd runs here: nobody listens on %s (it was left behind by one that died)", e.Path)
	}
	return fmt.Sprintf("control: no answer from vipd on %s: %v", e.Path, e.Err)
}

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
