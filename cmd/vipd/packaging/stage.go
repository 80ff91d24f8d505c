package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A build is one set of packages.
type build struct {
	root       string // of the source
	stage      string // where their contents are put together
	version    string
	maintainer string
	made       time.Time // see sourceDate

	architectures []string
}

// here is this directory in the source.
const here = "cmd/vipd/packaging"

// output runs a program and returns what it prints, without the end of the line.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, exit.Stderr)
		}
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// fill puts everything together that nfpm.yaml names.
func (b *build) fill(ctx context.Context) error {
	for _, arch := range b.architectures {
		if err := b.compile(ctx, arch, filepath.Join(b.stage, "bin", arch, "vipd")); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{b.copies, b.units, b.documentation, b.manual, b.completions, b.notices, b.changelog} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	// Directories are packed with their modes, which the umask has a say in.
	return filepath.WalkDir(b.stage, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// compile builds the program. Nothing of the place or the time is in it.
func (b *build) compile(ctx context.Context, arch, path string) error {
	_, err := output(ctx, b.root, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-mod=readonly"},
		"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+b.version, "-o", path, "./cmd/vipd")
	return err
}

// write puts a file into the stage. What the umask says must not matter.
func (b *build) write(path string, mode fs.FileMode, data []byte) error {
	path = filepath.Join(b.stage, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return os.Chtimes(path, b.made, b.made)
}

// copy puts a file of the source into the stage: readable for all, and a program if
// it is one in the source.
func (b *build) copy(from, to string) error {
	data, err := os.ReadFile(filepath.Join(b.root, from))
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if bytes.HasPrefix(data, []byte("#!")) {
		mode = 0o755
	}
	return b.write(to, mode, data)
}

// copyAll copies what is in a directory of the source, and fails if that is nothing.
func (b *build) copyAll(from, to string, wanted func(path string) bool) error {
	found := false
	base := filepath.Join(b.root, from)
	err := filepath.WalkDir(base, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(base, path)
		if err != nil || !wanted(name) {
			return err
		}
		found = true
		return b.copy(filepath.Join(from, name), filepath.Join(to, name))
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: there is nothing to be packed", from)
	}
	return err
}

// all wants every file, but not what editors leave.
func all(path string) bool { return !strings.HasSuffix(path, "~") }

// copies takes what is packed as it stands.
func (b *build) copies(context.Context) error {
	for _, name := range []string{
		"nfpm.yaml", "vipd.yaml", "restart-services", "running-services", "lintian-overrides",
		"deb/postinst", "deb/prerm", "deb/postrm", "rpm/posttrans", "rpm/preun", "rpm/postun",
	} {
		if err := b.copy(filepath.Join(here, name), name); err != nil {
			return err
		}
	}
	return b.copy("LICENSE", "LICENSE")
}

// units takes systemd's units.
func (b *build) units(context.Context) error {
	for _, name := range []string{"vipd.service", "vipd@.service"} {
		if err := b.copy(filepath.Join(here, name), filepath.Join("units", name)); err != nil {
			return err
		}
	}
	return nil
}

// documentation takes what a user reads; why it is built as it is (docs/adr) stays
// with the source.
func (b *build) documentation(context.Context) error {
	if err := b.copy("README.md", "doc/README.md"); err != nil {
		return err
	}
	if err := b.copyAll("examples", "doc/examples", all); err != nil {
		return err
	}
	if err := b.copyAll("docs", "doc/docs", func(path string) bool { return all(path) && !strings.HasPrefix(path, "adr/") }); err != nil {
		return err
	}
	news, err := os.ReadFile(filepath.Join(b.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	return b.write("doc/CHANGELOG.md", 0o644, news)
}

// manual has the tests of the program write its pages: they know its commands, and
// what writes them needs not be in the program.
func (b *build) manual(ctx context.Context) error {
	dir := filepath.Join(b.stage, "pages")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if _, err := output(ctx, b.root, []string{"CGO_ENABLED=0"}, "go", "test", "-trimpath", "-buildvcs=false", "-count=1", "-run", "^TestEveryCommandHasAManualPage$", "./cmd/vipd",
		"-args", "-man", dir, "-man-date", b.made.Format(time.DateOnly), "-man-version", b.version); err != nil {
		return err
	}
	pages, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(pages) == 0 {
		return errors.New("no manual page was written")
	}
	for _, page := range pages {
		data, err := os.ReadFile(filepath.Join(dir, page.Name()))
		if err != nil {
			return err
		}
		section := strings.TrimPrefix(filepath.Ext(page.Name()), ".")
		if err := b.writeCompressed(fmt.Sprintf("man/man%s/%s.gz", section, page.Name()), data); err != nil {
			return err
		}
	}
	return nil
}

// completions has the program write what shells read.
func (b *build) completions(ctx context.Context) error {
	program := filepath.Join(b.stage, "bin", runtime.GOARCH, "vipd")
	if _, err := os.Stat(program); err != nil {
		program = filepath.Join(b.stage, "vipd-here")
		if err := b.compile(ctx, runtime.GOARCH, program); err != nil {
			return err
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := output(ctx, "", nil, program, "completion", shell)
		if err != nil {
			return err
		}
		if err := b.write("completions/vipd."+shell, 0o644, []byte(text+"\n")); err != nil {
			return err
		}
	}
	return nil
}

// changelog writes Debian's, which names the packaged version only. What is new is
// in CHANGELOG.md.
func (b *build) changelog(context.Context) error {
	text := fmt.Sprintf("vipd (%s) unstable; urgency=medium\n\n  * Built from the source of that version. What is new in it:\n    /usr/share/doc/vipd/CHANGELOG.md\n\n -- %s  %s\n",
		b.version, b.maintainer, b.made.Format(time.RFC1123Z))
	return b.writeCompressed("changelog.gz", []byte(text))
}

// compress returns what `gzip -9n` would make of it.
func compress(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// writeCompressed is write for a file that gzip makes smaller.
func (b *build) writeCompressed(path string, data []byte) error {
	small, err := compress(data)
	if err != nil {
		return err
	}
	return b.write(path, 0o644, small)
}

// nfpm returns the path of that program: `go tool` by itself would run it in the
// source, and not where the contents are.
func (b *build) nfpm(ctx context.Context) (string, error) {
	return output(ctx, b.root, nil, "go", "tool", "-n", "-modfile="+here+"/nfpm.mod", "nfpm")
}

// pack has nfpm make one package.
func (b *build) pack(ctx context.Context, nfpm string, k kind, path string) error {
	_, err := output(ctx, b.stage, []string{
		"VERSION=" + b.version, "ARCH=" + k.arch, "MAINTAINER=" + b.maintainer,
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.made.Unix(), 10),
	}, nfpm, "package", "--config", "nfpm.yaml", "--packager", k.format, "--target", path)
	return err
}

// notices says who wrote what is in the program, and under which licences.
func (b *build) notices(ctx context.Context) error {
	list, err := output(ctx, b.root, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + b.architectures[0]},
		"go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/vipd")
	if err != nil {
		return err
	}
	goroot, err := output(ctx, b.root, nil, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	modules := [][2]string{{"The Go standard library and runtime " + strings.TrimPrefix(runtime.Version(), "go"), goroot}}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(list, "\n") {
		name, dir, ok := strings.Cut(line, "\t")
		if ok && !seen[name] {
			seen[name] = true
			modules = append(modules, [2]string{name, dir})
		}
	}
	if len(modules) == 1 {
		return errors.New("go list names no module that the program is linked with")
	}

	var text strings.Builder
	text.WriteString(`vipd
Copyright 2026 The authors of vipd

Licensed under the Apache License, Version 2.0. On Debian systems its text is
in /usr/share/common-licenses/Apache-2.0, on others in
/usr/share/licenses/vipd/LICENSE. It holds for the modules below as well where
they say so.

The program is linked with these modules, each under the licence given here.
`)
	for _, m := range modules {
		fmt.Fprintf(&text, "\n%s\n%s\n", strings.Repeat("-", 78), m[0])
		licence, err := licences(m[1])
		if err != nil {
			return fmt.Errorf("%s: %w", m[0], err)
		}
		text.WriteString("\n" + licence)
	}
	return b.write("copyright", 0o644, []byte(text.String()))
}

// licences returns the licence of a module, and the notices that have to go with it.
func licences(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var text string
	found := false
	wanted := regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)(\.(md|txt))?$`)
	for _, entry := range entries {
		if entry.IsDir() || !wanted.MatchString(entry.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", err
		}
		part := strings.Trim(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n") + "\n"
		lower := strings.ToLower(entry.Name())
		if strings.HasPrefix(lower, "licen") || strings.HasPrefix(lower, "copying") {
			found = true
			if apache(part) {
				part = "Licensed under the Apache License, Version 2.0.\n" + holders(part)
			}
		}
		if text != "" {
			text += "\n"
		}
		text += part
	}
	if !found {
		return "", fmt.Errorf("no licence is in %s", dir)
	}
	return text, nil
}

// apache reports whether a text is that of the Apache License, and no more than that.
func apache(text string) bool {
	return strings.Contains(text, "Apache License") && strings.Contains(text, "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION") && len(text) < 13_000
}

// holders returns the lines in which such a text names who holds the copyright.
func holders(text string) string {
	var lines string
	for line := range strings.Lines(text) {
		if t := strings.TrimSpace(line); strings.HasPrefix(t, "Copyright ") && !strings.ContainsAny(t, "[{") {
			lines += t + "\n"
		}
	}
	return lines
}
