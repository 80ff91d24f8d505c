package legacy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names of the files in the directory for temporary files.
const (
	dataName       = "keepalived.data"
	statisticsName = "keepalived.stats"
	jsonName       = "keepalived.json"
)

// Names are the configured names of the files; empty: keepalived's default.
type Names struct {
	State string // state_dump_file
	Stats string // stats_dump_file
	JSON  string // json_dump_file
	// Instance and Namespace are made part of the names, before the extension
	// (data_use_instance); usually empty.
	Instance, Namespace string
}

// Files are where the files go, and how they may be read.
type Files struct {
	Data, Statistics, JSON string
	// Mode is that of the files; 0 is 0600, as no one else has to know how
	// this network is made. keepalived's umask changes it.
	Mode fs.FileMode
}

// Paths returns where the files go. A name that is not absolute is in the
// directory for temporary files, $TMPDIR or /tmp; one that ends with a slash is
// the directory for the default name.
func (n Names) Paths() Files {
	return Files{
		Data:       n.path(n.State, dataName),
		Statistics: n.path(n.Stats, statisticsName),
		JSON:       n.path(n.JSON, jsonName),
	}
}

// path returns one of them.
func (n Names) path(given, standard string) string {
	if given == "" || strings.HasSuffix(given, "/") {
		given += standard
	}
	if !filepath.IsAbs(given) {
		given = filepath.Join(tempDir(), given)
	}
	var part []string
	for _, s := range []string{n.Namespace, n.Instance} {
		if s != "" {
			// A name must not lead to another directory.
			part = append(part, strings.ReplaceAll(s, "/", "_"))
		}
	}
	if len(part) > 0 {
		ext := filepath.Ext(given)
		given = strings.TrimSuffix(given, ext) + "." + strings.Join(part, "_") + ext
	}
	return given
}

// tempDir returns the directory for temporary files, by keepalived's rule: the
// one of the environment counts only if it is absolute.
func tempDir() string {
	if dir := os.Getenv("TMPDIR"); filepath.IsAbs(dir) {
		return dir
	}
	return "/tmp"
}

// WriteData writes the data dump (SIGUSR1).
func (f Files) WriteData(d *Document) error {
	return f.write("the data dump", f.Data, func(w io.Writer) error { return WriteData(w, d) })
}

// WriteStatistics writes the statistics (SIGUSR2, and SIGRTMAX-1 before they
// are cleared).
func (f Files) WriteStatistics(d *Document) error {
	return f.write("the statistics", f.Statistics, func(w io.Writer) error { return WriteStatistics(w, d) })
}

// WriteJSON writes the JSON of a version (SIGRTMIN+2). Without an instance there
// is no file, and one that is there stays as it is, as with keepalived.
func (f Files) WriteJSON(d *Document, version int) error {
	if len(d.Instances) == 0 {
		return nil
	}
	return f.write("the JSON", f.JSON, func(w io.Writer) error { return WriteJSON(w, d, version) })
}

func (f Files) write(what, path string, text func(io.Writer) error) error {
	var b bytes.Buffer
	if err := text(&b); err != nil {
		return fmt.Errorf("legacy: writing %s: %w", what, err)
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o600
	}
	if err := Replace(path, b.Bytes(), mode); err != nil {
		return fmt.Errorf("legacy: writing %s: %w", what, err)
	}
	return nil
}

// ErrNotRegular is the error for a name that is something else than a file, such
// as /dev/null: putting a file in its place would break others.
var ErrNotRegular = errors.New("there is something at that place that is not a regular file")

// Replace puts a file with this content at path, so that a reader finds either
// the old content or the new one, whole.
//
// The default places are predictable names in /tmp, where anybody may have
// planted something under that name. A file made under a name that nobody can
// guess, exclusively, is renamed over it. The rename replaces a symbolic link
// rather than following it, and a hard link without touching the file behind it;
// nobody who has the old file open reads what is new. A directory, a pipe or a
// device is left alone.
func Replace(path string, content []byte, mode fs.FileMode) (err error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	// The directory is opened once: what happens to its name does not matter
	// after that.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if info, err := root.Lstat(name); err == nil && !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
		return &fs.PathError{Op: "replace", Path: path, Err: ErrNotRegular}
	}

	temp := "." + name + "." + rand.Text()
	file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temp)
		}
	}()
	_, err = file.Write(content)
	if err == nil {
		// Whatever the umask took away.
		err = file.Chmod(mode)
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return root.Rename(temp, name)
}
