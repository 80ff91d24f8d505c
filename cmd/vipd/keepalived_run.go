package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"vipd/cmd/internal/daemon"
	"vipd/config"
)

// watchedSignals are the signals that ask a running daemon for something, other
// than to end. Most of them end a process that does not listen.
type watchedSignals struct {
	reload chan os.Signal // SIGHUP
	dumps  chan os.Signal // those for keepalived's files
}

// watchSignals listens from now on. One that comes while the daemon is busy is
// not lost.
func watchSignals() *watchedSignals {
	w := &watchedSignals{reload: make(chan os.Signal, 1), dumps: make(chan os.Signal, 16)}
	signal.Notify(w.reload, syscall.SIGHUP)
	signal.Notify(w.dumps, daemon.DumpSignals()...)
	return w
}

func (w *watchedSignals) stop() {
	signal.Stop(w.reload)
	signal.Stop(w.dumps)
}

// runAsKeepalived is the run of keepalivedHooks.
func runAsKeepalived(ctx context.Context, o *keepalivedOptions) error {
	// Without this the runtime ends the process when whoever reads the log goes
	// away.
	signal.Ignore(syscall.SIGPIPE)
	from := input{file: o.File, Options: config.Options{ConfigID: o.ConfigID}}
	cfg, err := from.load(func(d config.Diagnostic) {
		if d.Severity == config.Error {
			o.Logger.Error(d.String())
		} else {
			o.Logger.Warn(d.String())
		}
	})
	if err != nil {
		return err
	}
	for _, d := range daemon.Inspect(cfg) {
		o.Logger.Warn(d.String())
	}
	options := daemon.Options{
		ConfigFile: o.File, RunDir: o.RunDir, Version: versionText(), Log: o.Logger, Ready: o.Ready, KeepAddresses: o.KeepAddresses,
		Load:  from.reread,
		Dumps: daemon.Dumps{Mode: o.DumpMode, Namespace: o.Namespace, Log: o.DumpConfig},
	}
	if o.signals != nil {
		options.Reload, options.Dumps.Signals = o.signals.reload, o.signals.dumps
		options.Hurry = hurry(ctx)
	}
	return daemon.Run(ctx, cfg, options)
}

// hurry returns where the signals arrive that come after the one that has ended the
// context.
func hurry(ctx context.Context) <-chan os.Signal {
	c := make(chan os.Signal, 1)
	context.AfterFunc(ctx, func() { signal.Notify(c, syscall.SIGTERM, syscall.SIGINT) })
	return c
}
