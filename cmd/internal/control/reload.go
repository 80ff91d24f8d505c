package control

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// A Reload is what came of reading the configuration again.
type Reload struct {
	At         time.Time `json:"at"`
	DryRun     bool      `json:"dry_run"`
	ConfigFile string    `json:"config_file"`
	// Applied is set when the new configuration runs. Otherwise, and unless it
	// was a dry run, Error says why nothing has changed.
	Applied bool   `json:"applied"`
	Error   string `json:"error,omitempty"`
	// Changes says in words what is, or would be, different.
	Changes []string `json:"changes"`
	// Diagnostics are the errors and warnings of the file.
	Diagnostics []string `json:"diagnostics"`
}

// A Reloader reads the configuration again.
type Reloader interface {
	// Reload goes over to the configuration as it is in the file now, or with
	// dryRun says what that would change. It ends when all is done.
	Reload(ctx context.Context, dryRun bool) Reload
}

// MarshalJSON writes the document with empty lists where there are none.
func (r Reload) MarshalJSON() ([]byte, error) {
	type plain Reload
	r.Changes, r.Diagnostics = list(r.Changes), list(r.Diagnostics)
	return json.Marshal(plain(r))
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	reloader, ok := s.cfg.Source.(Reloader)
	if !ok {
		writeError(w, http.StatusNotImplemented, "this daemon does not read its configuration again")
		return
	}
	writeJSON(w, http.StatusOK, reloader.Reload(context.WithoutCancel(r.Context()), r.URL.Query().Has("dry_run")))
}

// Reload has the daemon read its configuration again; with dryRun it says what
// would change. Refusals are in the result.
func (c *Client) Reload(ctx context.Context, dryRun bool) (Reload, error) {
	path := "/v1/reload"
	if dryRun {
		path += "?dry_run"
	}
	var r Reload
	err := c.ask(ctx, http.MethodPost, path, nil, &r)
	return r, err
}
