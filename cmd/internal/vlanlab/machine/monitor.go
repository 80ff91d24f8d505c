package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A monitor is the emulator's control socket: QMP.
type monitor struct {
	w    io.Writer
	done chan struct{} // closed when the socket is

	calls   chan struct{} // holds a token while nobody waits for an answer
	answers chan qmpMessage
}

// A qmpMessage is any of what an emulator sends.
type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// newMonitor reads from a socket until it is closed. event is called with the
// name of each event.
func newMonitor(rw io.ReadWriter, event func(string)) *monitor {
	m := &monitor{
		w:       rw,
		done:    make(chan struct{}),
		calls:   make(chan struct{}, 1),
		answers: make(chan qmpMessage, 1),
	}
	m.calls <- struct{}{}
	go func() {
		defer close(m.done)
		for d := json.NewDecoder(rw); ; {
			var msg qmpMessage
			if d.Decode(&msg) != nil {
				return
			}
			switch {
			case msg.Event != "":
				event(msg.Event)
			case msg.Greeting != nil:
			default:
				select {
				case m.answers <- msg:
				default: // an answer to nobody
				}
			}
		}
	}()
	return m
}

// call executes one command. The emulator answers in order and at once, so that
// whoever gives up early takes the connection with it.
func (m *monitor) call(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	select {
	case <-m.calls:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.done:
		return nil, errors.New("the emulator has ended")
	}
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err == nil {
		_, err = m.w.Write(append(b, '\n'))
	}
	if err != nil {
		m.calls <- struct{}{}
		return nil, fmt.Errorf("asking the emulator for %s: %w", command, err)
	}
	select {
	case msg := <-m.answers:
		m.calls <- struct{}{}
		if msg.Error != nil {
			return nil, fmt.Errorf("the emulator refuses %s: %s", command, msg.Error.Desc)
		}
		return msg.Return, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the emulator does not answer %s: %w", command, ctx.Err())
	case <-m.done:
		return nil, fmt.Errorf("the emulator ended before it answered %s", command)
	}
}
