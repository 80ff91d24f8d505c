// Package wire is how the host of the VLAN lab and the agent in a machine talk to
// each other over a serial port: a Client here, a Server there.
//
// A message is a line of JSON. A machine that loses its power in the middle of a
// line, or reboots while the host writes, leaves half a line behind: every message
// begins with an empty line, and a line that does not parse is ignored. The kernel
// gives every boot a name. The host puts the name of the boot that it means into a
// request, and the agent of another boot refuses it: nothing that was asked of a
// machine before it went down is done after it came up.
package wire

import (
	"encoding/json"
	"io/fs"
)

// chunk is how much of a file goes into one message: others get a turn between.
const chunk = 256 << 10

// maxOutput is how much a command may write to each of its streams. What the
// lab measures is a fraction of it; a loop that runs wild is to fail.
const maxOutput = 16 << 20

// What a request asks for.
const (
	opHello  = "hello"  // the name of the boot
	opRun    = "run"    // run Command; the answer comes when it ends
	opOutput = "output" // what the command of request Of has written so far
	opSignal = "signal" // send Signal to all processes of the command of request Of
	opRead   = "read"   // a chunk of the file Path, from Offset
	opWrite  = "write"  // a chunk of the file Path, to Offset; the last one puts it in place
)

// A request is what the host asks for.
type request struct {
	ID      uint64      `json:"id"`
	Boot    string      `json:"boot,omitempty"`
	Op      string      `json:"op"`
	Command string      `json:"command,omitempty"`
	Of      uint64      `json:"of,omitempty"`
	Signal  int         `json:"signal,omitempty"`
	Path    string      `json:"path,omitempty"`
	Offset  int64       `json:"offset,omitempty"`
	Data    []byte      `json:"data,omitempty"`
	Mode    fs.FileMode `json:"mode,omitempty"`
	Last    bool        `json:"last,omitempty"`
}

// A response answers the request with its number. A response without a number
// announces a boot.
type response struct {
	ID     uint64 `json:"id,omitempty"`
	Boot   string `json:"boot,omitempty"`
	Error  string `json:"error,omitempty"`
	Code   int    `json:"code,omitempty"`
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	Data   []byte `json:"data,omitempty"`
	Last   bool   `json:"last,omitempty"` // of the file that is read
}

// A Result is what a command wrote and how it ended.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code, 128 + n if signal n ended the command.
	Code int
}

// line returns a message as it is sent.
func line(message any) ([]byte, error) {
	b, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'\n'}, b...), '\n'), nil
}
