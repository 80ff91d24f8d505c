package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// A FailoverRequest is what is sent with POST /v1/failover.
type FailoverRequest struct {
	// Instances are names of instances or of sync groups, which stand for all
	// of their members.
	Instances []string `json:"instances"`
	// End takes a former failover back: the priorities decide again.
	End bool `json:"end"`
}

// A FailoverResult says what was done about one instance.
type FailoverResult struct {
	Name string `json:"name"`
	// Done is set when the hand-over has begun, or with End when it was taken
	// back. That another router has taken over is seen in the status.
	Done bool   `json:"done"`
	Text string `json:"text"` // a sentence fit for people
}

// A Failoverer hands mastership over to other routers.
type Failoverer interface {
	// Failover hands over what is called by the names, those of instances or
	// of sync groups, or with end takes that back. An instance in a sync group
	// stands for the whole of it. It returns when all instances have begun, so
	// that a status taken afterwards shows it, with one result for each, in the
	// order of the configuration; with an *UnknownNameError nothing was done.
	Failover(ctx context.Context, names []string, end bool) ([]FailoverResult, error)
}

// An UnknownNameError says that neither an instance nor a sync group has a name.
type UnknownNameError struct{ Name string }

// Error names it.
func (e *UnknownNameError) Error() string {
	return fmt.Sprintf("no instance and no sync group is called %q", e.Name)
}

// failoverResults is the JSON document of the answer.
type failoverResults struct {
	Results []FailoverResult `json:"results"`
}

// maxRequest bounds the documents that are sent to the daemon. Thousands of
// names fit.
const maxRequest = 1 << 20

func (s *Server) failover(w http.ResponseWriter, r *http.Request) {
	f, ok := s.cfg.Source.(Failoverer)
	if !ok {
		writeError(w, http.StatusNotImplemented, "this daemon hands nothing over")
		return
	}
	var req FailoverRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields() // a slip must not make it do something else
	if err := d.Decode(&req); err != nil {
		writeError(w, http.StatusBadRequest, fmt.Sprintf("the request cannot be read: %v", err))
		return
	}
	if len(req.Instances) == 0 {
		writeError(w, http.StatusBadRequest, "the request names no instance")
		return
	}
	// Who has gone away in the meantime has asked for it all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), sourceTimeout)
	defer cancel()
	results, err := f.Failover(ctx, req.Instances, req.End)
	unknown, isUnknown := errors.AsType[*UnknownNameError](err)
	switch {
	case isUnknown:
		writeError(w, http.StatusNotFound, unknown.Error())
	case errors.Is(err, context.DeadlineExceeded):
		writeError(w, http.StatusServiceUnavailable, "the daemon is too busy to hand anything over")
	case err != nil:
		s.cfg.Logger.Warn("failover not possible", "error", err)
		writeError(w, http.StatusInternalServerError, err.Error())
	default:
		writeJSON(w, http.StatusOK, failoverResults{list(results)})
	}
}

// Failover has the daemon hand over the instances and sync groups of the given
// names, or with end take that back.
func (c *Client) Failover(ctx context.Context, names []string, end bool) ([]FailoverResult, error) {
	var answer failoverResults
	err := c.ask(ctx, http.MethodPost, "/v1/failover", FailoverRequest{Instances: list(names), End: end}, &answer)
	return answer.Results, err
}

// Resolve returns the names of the instances that names stand for, each once and
// in the order of the configuration: a name is one of an instance or of a sync
// group. The error is an *UnknownNameError.
func (s Status) Resolve(names []string) ([]string, error) {
	chosen := make(map[string]bool)
	for _, name := range names {
		known := slices.ContainsFunc(s.Instances, func(i Instance) bool { return i.Name == name })
		if known {
			chosen[name] = true
		}
		for _, g := range s.SyncGroups {
			if g.Name == name && !known { // an instance comes first
				known = true
				for _, m := range g.Members {
					chosen[m] = true
				}
			}
		}
		if !known {
			return nil, &UnknownNameError{name}
		}
	}
	var out []string
	for _, i := range s.Instances {
		if chosen[i.Name] {
			out = append(out, i.Name)
		}
	}
	return out, nil
}
