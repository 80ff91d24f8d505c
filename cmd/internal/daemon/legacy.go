package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"vipd/checks"
	"vipd/cmd/internal/control"
	"vipd/cmd/internal/legacy"
	"vipd/config"
)

// The signals on which keepalived writes files. The real-time ones are counted
// as the C library does.
const (
	signalData            = syscall.SIGUSR1
	signalStatistics      = syscall.SIGUSR2
	signalClearStatistics = syscall.Signal(63) // SIGRTMAX-1
	signalJSON            = syscall.Signal(36) // SIGRTMIN+2
)

// dumpTimeout bounds how long the protocol loops may take to say what goes into
// a file.
const dumpTimeout = 5 * time.Second

// Dumps say how keepalived's files are written (see package legacy).
type Dumps struct {
	// Signals, unless nil, asks for them: see [DumpSignals].
	Signals <-chan os.Signal
	// Mode is that of the files (keepalived: -u); 0: what the configuration
	// says.
	Mode fs.FileMode
	// Namespace is the name of the network namespace, if it has been chosen by
	// name.
	Namespace string
	// Log has the data dump logged as soon as the daemon runs (keepalived: -d).
	Log bool
}

// DumpSignals are the signals that ask for keepalived's files. Without somebody
// who listens most of them end a process, so listen early.
func DumpSignals() []os.Signal {
	return []os.Signal{signalData, signalStatistics, signalClearStatistics, signalJSON}
}

// A dumper writes keepalived's files. One goroutine at a time uses it.
type dumper struct {
	d *Daemon
	// base are the counters at the last SIGRTMAX-1. The counters themselves
	// never go down: others count by them.
	base map[*instance]legacy.Statistics
}

// run writes what signals ask for until the context ends.
func (w *dumper) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case sig := <-w.d.opts.Dumps.Signals:
			if err := w.write(ctx, sig); err != nil && ctx.Err() == nil {
				w.d.log.Error("a file that a signal asks for cannot be written", "signal", sig, "error", err)
			}
		}
	}
}

// write writes what one signal asks for.
func (w *dumper) write(ctx context.Context, sig os.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, dumpTimeout)
	defer cancel()
	// A reload is over before, as in keepalived: in the middle of one an
	// instance may have two names.
	w.d.reloading.Lock()
	defer w.d.reloading.Unlock()
	if w.d.ending {
		return nil
	}
	status, err := w.d.Status(ctx)
	if err != nil {
		return fmt.Errorf("daemon: asking the protocol loops: %w", err)
	}
	doc := w.document(status)
	files := w.files()
	switch sig {
	case signalData:
		return files.WriteData(doc)
	case signalStatistics:
		return files.WriteStatistics(doc)
	case signalJSON:
		return files.WriteJSON(doc, max(w.d.config().Global.Dumps.JSONVersion, 1))
	}
	// What could not be written is not lost.
	if err := files.WriteStatistics(doc); err != nil {
		return err
	}
	w.clear(status)
	return nil
}

// log logs the data dump, a line at a time.
func (w *dumper) log(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, dumpTimeout)
	defer cancel()
	status, err := w.d.Status(ctx)
	if err != nil {
		w.d.log.Warn("cannot log the configuration", "error", err)
		return
	}
	var b strings.Builder
	if err := legacy.WriteData(&b, w.document(status)); err != nil {
		w.d.log.Warn("cannot log the configuration", "error", err)
	}
	for line := range strings.Lines(b.String()) {
		w.d.log.Info(strings.TrimSuffix(line, "\n"))
	}
}

// files returns where the files go.
func (w *dumper) files() legacy.Files {
	dumps := w.d.config().Global.Dumps
	names := legacy.Names{State: dumps.State, Stats: dumps.Statistics, JSON: dumps.JSON}
	files := names.Paths()
	files.Mode = w.d.opts.Dumps.Mode
	return files
}

// clear has statistics count from here.
func (w *dumper) clear(s control.Status) {
	counters := make(map[string]control.Counters, len(s.Instances))
	for _, inst := range s.Instances {
		counters[inst.Name] = inst.Counters
	}
	cfg, instances, _ := w.d.now()
	w.base = make(map[*instance]legacy.Statistics, len(instances))
	for i, inst := range instances {
		w.base[inst] = legacyStatistics(counters[cfg.Instances[i].Name])
	}
}

// document describes the daemon with what status knows of it.
func (w *dumper) document(s control.Status) *legacy.Document {
	cfg, instances, trackers := w.d.now()
	in := described{
		cfg: cfg, status: s, namespace: w.d.opts.Dumps.Namespace,
		base: make(map[string]legacy.Statistics, len(w.base)), running: make(map[string]int), host: w.d.links.current.Load(),
	}
	for i, inst := range instances {
		in.base[cfg.Instances[i].Name] = w.base[inst]
	}
	for _, watch := range trackers.watches {
		if p, ok := watch.tracker.(*checks.Process); ok {
			in.running[watch.name] = p.Count()
		}
	}
	return in.document()
}

// now returns what runs: the configuration, and in its order the instances.
func (d *Daemon) now() (*config.Config, []*instance, *trackers) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.cfg, d.instances, d.trackers
}
