package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A failoverSource hands over what it is told to.
type failoverSource struct {
	sourceFunc
	do func(ctx context.Context, names []string, end bool) ([]FailoverResult, error)
}

func (s failoverSource) Failover(ctx context.Context, names []string, end bool) ([]FailoverResult, error) {
	return s.do(ctx, names, end)
}

func TestAFailoverIsDoneByTheDaemon(t *testing.T) {
	var names []string
	var ended bool
	want := []FailoverResult{{Name: "VI_1", Done: true, Text: "begun"}, {Name: "VI_2", Text: "it is in fault"}}
	runDir := serve(t, failoverSource{do: func(_ context.Context, n []string, end bool) ([]FailoverResult, error) {
		names, ended = n, end
		return want, nil
	}})
	got, err := client(t, runDir).Failover(t.Context(), []string{"VG_1"}, true)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the results are %+v (%v), want %+v", got, err, want)
	}
	if !slices.Equal(names, []string{"VG_1"}) || !ended {
		t.Errorf("the daemon was asked for %q, end %t", names, ended)
	}
}

func TestAFailoverThatCannotBeIsRefusedInWords(t *testing.T) {
	boom := errors.New("boom")
	fails := func(err error) Source {
		return failoverSource{do: func(context.Context, []string, bool) ([]FailoverResult, error) { return nil, err }}
	}
	for _, tt := range []struct {
		name  string
		src   Source
		names []string
		code  string
		want  string
	}{
		{"a daemon that cannot", static(Status{}), []string{"VI_1"}, "not-implemented", "this daemon hands nothing over"},
		{"no name", fails(boom), nil, "bad-request", "the request names no instance"},
		{"an unknown name", fails(&UnknownNameError{"VI_9"}), []string{"VI_9"}, "not-found", `no instance and no sync group is called "VI_9"`},
		{"a busy daemon", fails(context.DeadlineExceeded), []string{"VI_1"}, "service-unavailable", "the daemon is too busy to hand anything over"},
		{"any other error", fails(boom), []string{"VI_1"}, "internal-server-error", "boom"},
	} {
		_, err := client(t, serve(t, tt.src)).Failover(t.Context(), tt.names, false)
		refused, ok := errors.AsType[*ResponseError](err)
		if !ok || refused.Code != tt.code || refused.Message != tt.want {
			t.Errorf("%s: the error is %v, want %s: %s", tt.name, err, tt.code, tt.want)
		}
	}
}

func TestAFailoverRequestWithASlipDoesNothing(t *testing.T) {
	done := false
	runDir := serve(t, failoverSource{do: func(context.Context, []string, bool) ([]FailoverResult, error) {
		done = true
		return nil, nil
	}})
	c := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", SocketPath(runDir))
	}}}
	defer c.CloseIdleConnections()
	for _, body := range []string{"", "{", `{"instances":"VI_1"}`, `{"instances":["VI_1"],"ende":true}`, `{"instances":[]}`, `{"instances":["` + strings.Repeat("x", maxRequest) + `"]}`} {
		resp, err := c.Post("http://vipd/v1/failover", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusBadRequest || !bytes.Contains(answer, []byte(`"code":"bad-request"`)) {
			t.Errorf("%.40q is answered with %s: %s (%v)", body, resp.Status, answer, err)
		}
	}
	if done {
		t.Error("the daemon was asked to hand something over")
	}
}

func TestFailoverResultsAreAListEvenIfThereIsNone(t *testing.T) {
	b, err := json.Marshal(failoverResults{list[FailoverResult](nil)})
	if err != nil || string(b) != `{"results":[]}` {
		t.Errorf("the answer is %s (%v)", b, err)
	}
}

func TestNamesStandForInstancesAndGroups(t *testing.T) {
	s := Status{
		Instances: []Instance{{Name: "A"}, {Name: "B"}, {Name: "C"}, {Name: "D"}},
		SyncGroups: []SyncGroup{
			{Name: "G", Members: []string{"C", "A"}},
			{Name: "D", Members: []string{"A"}}, // an instance has that name, too
		},
	}
	for _, tt := range []struct {
		names, want []string
	}{
		{nil, nil},
		{[]string{"B"}, []string{"B"}},
		{[]string{"G", "B", "A"}, []string{"A", "B", "C"}},
		{[]string{"D"}, []string{"D"}},
	} {
		if got, err := s.Resolve(tt.names); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q stand for %q (%v), want %q", tt.names, got, err, tt.want)
		}
	}
	_, err := s.Resolve([]string{"A", "X"})
	if unknown, ok := errors.AsType[*UnknownNameError](err); !ok || unknown.Name != "X" {
		t.Errorf("the error is %v", err)
	}
}
