// Package figures is what the programs that measure vipd have in common: they write
// what they found as JSON and into documents, and want to know what else the machine
// was doing meanwhile.
package figures

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// WriteJSON writes what was found in a form that people can read as well.
func WriteJSON(w io.Writer, found any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(found); err != nil {
		return fmt.Errorf("figures: writing the JSON file: %w", err)
	}
	return nil
}

// markEnd ends what is written into a document.
const markEnd = "<!-- to here -->"

// A Mark is the line in a document after which a program writes its tables. They end
// at the next line that says <!-- to here -->.
type Mark string

// Cut returns what stands before and after the tables, with the markers.
func (m Mark) Cut(text []byte) (before, after []byte, err error) {
	before, rest, ok := bytes.Cut(text, []byte(m))
	_, after, ok2 := bytes.Cut(rest, []byte(markEnd))
	if !ok || !ok2 {
		return nil, nil, fmt.Errorf("figures: the two lines %q and %q are missing", string(m), markEnd)
	}
	return slices.Concat(before, []byte(m)), slices.Concat([]byte(markEnd), after), nil
}

// WriteInto writes tables between the markers of a document. What was there before is
// lost: the tables are those of one run.
func (m Mark) WriteInto(file string, tables []byte) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("figures: reading the document: %w", err)
	}
	before, after, err := m.Cut(text)
	if err != nil {
		return fmt.Errorf("%w in %s", err, file)
	}
	if err := os.WriteFile(file, slices.Concat(before, []byte("\n\n"), tables, []byte("\n"), after), 0o644); err != nil {
		return fmt.Errorf("figures: writing the document: %w", err)
	}
	return nil
}

// Kernel returns the version of the kernel that runs.
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
