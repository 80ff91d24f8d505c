package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What of README.md is followed.
const (
	readmeFile    = "README.md"
	readmeHeading = "## Two machines, one address"
)

// What the text itself has a reader change: the interface, and the priority on the
// second machine.
const (
	readmeInterface = "eth0"
	readmeHigh      = "priority: 150"
	readmeLow       = "priority: 100"
)

// A block is what stands between two lines of ``` in a document.
type block struct{ language, text string }

// blocks returns those under a heading, up to the next one of its level.
func blocks(text, heading string) ([]block, error) {
	var list []block
	var open *block
	inside := false
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\n")
		switch {
		case open != nil && strings.TrimSpace(bare) == "```":
			list = append(list, *open)
			open = nil
		case open != nil:
			open.text += line
		case bare == heading:
			inside = true
		case strings.HasPrefix(bare, "## "):
			inside = false
		case inside && strings.HasPrefix(strings.TrimSpace(bare), "```"):
			open = &block{language: strings.TrimPrefix(strings.TrimSpace(bare), "```")}
		}
	}
	switch {
	case open != nil:
		return nil, errors.New("a block has no end")
	case len(list) == 0:
		return nil, fmt.Errorf("there is no block under %q", heading)
	}
	return list, nil
}

// A step is what a reader does on a machine.
type step struct {
	file string // to be written, or
	text string // to be run by a shell, if it is no file
}

// steps returns what the blocks have a reader do on one of the two machines. What is
// YAML is the configuration; everything else are commands. make runs where the source
// is: what it made lies in the machine already.
func steps(list []block, router int) []step {
	var todo []step
	for _, b := range list {
		if b.language == "yaml" {
			text := strings.ReplaceAll(b.text, readmeInterface, device(100))
			if router == peer {
				text = strings.ReplaceAll(text, readmeHigh, readmeLow)
			}
			todo = append(todo, step{vipd.file(), text})
			continue
		}
		var commands strings.Builder
		for line := range strings.Lines(b.text) {
			if !strings.HasPrefix(line, "make ") {
				commands.WriteString(line)
			}
		}
		if commands.Len() > 0 {
			todo = append(todo, step{"", commands.String()})
		}
	}
	return todo
}

// readme follows README.md on two machines on which there is nothing yet.
func readme(ctx context.Context, s *stand, r *round) error {
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		return err
	}
	list, err := blocks(string(text), readmeHeading)
	if err != nil {
		return fmt.Errorf("%s: %w", readmeFile, err)
	}
	if err := s.both(func(one *router) error { return s.follow(ctx, one, steps(list, one.number)) }); err != nil {
		return err
	}
	for _, one := range s.routers {
		one.kind, one.enabled, one.has, one.text = vipd, vipd, true, "as README.md says"
	}
	if ok, err := s.owners(ctx, s.patience(), s.plan.home()...); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("the address is not where it belongs: %s", s.state(ctx)))
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	r.began = time.Now()
	return stop(ctx, s, r)
}

// debName is the package's name in a directory where make packages has put it.
const debName = "vipd_1.0_amd64.deb"

// follow does steps on a machine, in a directory with the packages.
func (s *stand) follow(ctx context.Context, one *router, todo []step) error {
	const dir = "/root/vipd"
	for _, name := range []string{debName, filepath.Join("dist", debName)} {
		if err := one.put(ctx, filepath.Join(dir, name), 0o644, string(s.deb)); err != nil {
			return err
		}
	}
	for _, st := range todo {
		if st.file != "" {
			// As an editor does, it keeps the file's owner and mode.
			if err := one.put(ctx, "/root/edited", 0o600, st.text); err != nil {
				return err
			}
			if _, err := one.sh(ctx, "cat /root/edited >%s", st.file); err != nil {
				return err
			}
			continue
		}
		if _, err := one.sh(ctx, "cd %s && set -ex\n%s", dir, st.text); err != nil {
			return err
		}
	}
	return nil
}
