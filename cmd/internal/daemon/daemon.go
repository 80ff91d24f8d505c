// Package daemon wires vipd together: protocol loops, the effectors that change
// addresses and announce them, the watch on interfaces, and the control API. It
// is the only package that knows all others.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"vipd/arp"
	"vipd/checks/command"
	"vipd/cmd/internal/control"
	"vipd/cmd/internal/sdnotify"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
)

// stopTimeout bounds an orderly stop: what is not done by then is left to the
// next start, which knows of it from the journal.
const stopTimeout = 5 * time.Second

// Options say how to run a configuration.
type Options struct {
	ConfigFile string // for status
	// Load reads the configuration again; nil: it cannot be read again. With an
	// error there is none that could run.
	Load func() (*config.Config, config.Diagnostics, error)
	// Reload, unless nil, asks for that.
	Reload <-chan os.Signal
	Dumps  Dumps
	// Hurry, unless nil, cuts the hand-over at the end short.
	Hurry   <-chan os.Signal
	RunDir  string // made if missing
	Version string
	Log     *slog.Logger
	// BesideKeepalived has it start although a keepalived speaks VRRP on this host.
	BesideKeepalived bool
	// Ready, unless nil, is called once, when the daemon runs.
	Ready func()
	// KeepAddresses has the end of the daemon change nothing: no priority 0 is
	// advertised, and the addresses stay (keepalived: -V).
	KeepAddresses bool
}

// A Daemon is a running configuration.
type Daemon struct {
	opts    Options
	log     *slog.Logger
	started time.Time
	global  atomic.Pointer[config.Global] // of the configuration that runs
	running context.Context               // ends with the daemon

	reloading sync.Mutex    // held by who changes what follows; from the beginning until all runs
	ending    bool          // nothing changes any more
	stopping  chan struct{} // closed before that: whoever holds reloading is to hurry
	claims    []io.Closer   // of the virtual routers
	programs  *programs

	// changing is held while instances are on their way from one configuration
	// to the other: who describes them waits.
	changing sync.RWMutex

	mu         sync.RWMutex // held by who reads or changes what follows
	cfg        *config.Config
	lastReload *control.Reload
	loops      []*loop
	instances  []*instance // in the order of the configuration
	groups     []*syncGroup

	trackers *trackers
	told     *notifications

	resuming   map[string]bool // instances that go on as masters
	listed     time.Duration   // when the addresses had not been looked at yet, on the kernel's clock
	unrecorded string          // why there is no record for after a crash

	keeper      *keeper
	garper      *garper
	sentinel    *sentinel
	secondaries *secondaries // the keeper's goroutine's, once that runs
	neighbors   *neighbors
	links       *links
	journal     *journal
}

// Run runs the configuration until ctx ends, then gives up every mastership,
// takes all addresses away and returns nil. Any other end is an error.
func Run(ctx context.Context, cfg *config.Config, opts Options) (err error) {
	d := &Daemon{cfg: cfg, opts: opts, log: opts.Log, started: time.Now(), stopping: make(chan struct{})}
	if err := checkCapabilities(); err != nil {
		return err
	}
	if err := meetRivals(d.log, opts.BesideKeepalived); err != nil {
		return err
	}
	if err := os.MkdirAll(opts.RunDir, 0o755); err != nil {
		return fmt.Errorf("daemon: making the run directory: %w", err)
	}
	var closers []io.Closer
	defer func() {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i].Close())
		}
	}()
	lock, err := control.Lock(opts.RunDir)
	if err != nil {
		return err
	}
	closers = append(closers, lock)
	if d.claims, err = d.claim(cfg); err != nil {
		return err
	}
	defer func() {
		for _, claim := range d.claims {
			err = errors.Join(err, claim.Close())
		}
	}()
	d.global.Store(&cfg.Global)
	// Before there is the thread that starts scripts, which has none of it: others
	// may descend from that.
	schedule(d.log, cfg.Global)
	runner := command.NewRunner(d.log)
	defer runner.Close()
	d.programs = &programs{runner: runner, secure: cfg.Global.ScriptSecurity}

	handle, err := netif.NewHandle()
	if err != nil {
		return err
	}
	closers = append(closers, handle)
	d.listed = netif.KernelClock()
	watcher, err := netif.Watch(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	closers = append(closers, watcher)
	server, err := control.Listen(control.Config{RunDir: opts.RunDir, Source: d, Version: opts.Version, Logger: d.log})
	if err != nil {
		return err
	}
	closers = append(closers, server)

	if err := d.build(handle, watcher); err != nil {
		return err
	}
	saveMemory()
	return d.serve(ctx, server)
}

// saveMemory gives back what reading the configuration has used, several times
// of what running it takes, and has the collector let less garbage gather. The
// daemon makes little, so that costs next to nothing. GOGC, if set, is respected.
func saveMemory() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(50)
	}
	debug.FreeOSMemory()
}

// build makes the loops and effectors and cleans up after an earlier run.
func (d *Daemon) build(handle *netif.Handle, watcher *netif.Watcher) error {
	table := newSecondaries(handle, d.log)
	snapshot := watcher.Snapshot()
	var wanted []netif.Address
	for _, inst := range d.cfg.Instances {
		for _, set := range [][]config.Address{inst.Addresses, inst.Excluded} {
			for _, a := range set {
				wanted = append(wanted, kernelAddress(a))
			}
		}
	}
	find := finder(snapshot)
	was := readJournal(journalPath(d.opts.RunDir), d.log)
	for _, iface := range was.Promoted {
		table.changed[iface] = true // by a run that could not put it back
	}
	var kept map[vrrp.Address]bool
	d.resuming, kept = resumable(d.cfg, was, find, d.listed)
	j := openJournal(d.opts.RunDir, d.log, table, find, was, kept, wanted)
	j.promoted = table.unprotected(wanted)
	j.run(journalRouters(d.cfg))
	if err := j.write(); err != nil {
		// Without a record a crash cannot be cleaned up after; the leases of the
		// addresses do that in time.
		d.unrecorded = err.Error()
		d.log.Error("cannot record which addresses are vipd's: after a crash they stay until their lease ends", "error", err)
	}
	d.journal = j
	table.record = j.promote
	d.keeper = newKeeper(d.log, table, j)
	d.links = &links{watcher: watcher, journal: j, last: make(map[*instance]linkView)}
	d.links.current.Store(snapshot)
	handle.LookIn(d.links.link)
	table.index = func(iface string) int {
		link, _ := d.links.link(iface)
		return link.Index
	}
	table.prepare(d.leasedAddresses())
	d.secondaries = table
	d.keeper.links = d.links.current.Load
	d.keeper.asked = asks(handle, d.links.link)
	d.keeper.usable = func() func(vrrp.Address) bool {
		find := finder(watcher.Snapshot())
		return func(a vrrp.Address) bool {
			p, ok := find(a)
			return ok && p.Usable()
		}
	}
	d.garper = newGarper(d.log, d.links.announceLink,
		func(index int) (frameSender, error) { return arp.Open(index) },
		func(string) (time.Duration, time.Duration) {
			g := d.global.Load()
			return g.GARPInterval, g.GNAInterval
		})
	d.links.garper = d.garper
	d.sentinel = newSentinel(d.log, func(index int) (claimListener, error) { return arp.Listen(index) })
	d.links.sentinel = d.sentinel
	d.neighbors = &neighbors{links: d.links.link}
	var err error
	if d.told, err = newNotifications(d.cfg, d.programs, d.log, nil); err != nil {
		return err
	}
	byName := make(map[string]*loop)
	names := loopNames(d.cfg)
	crowded := d.cfg.UnleasedIPv6()
	for _, cfg := range d.cfg.Instances {
		name := names[cfg.Name]
		l := byName[name]
		if l == nil {
			if l, err = d.newLoop(name); err != nil {
				return err
			}
			byName[name] = l
			d.loops = append(d.loops, l)
		}
		inst := newInstance(cfg, l, d.log)
		inst.unleased = crowded
		inst.told, inst.neighbor, inst.noLease = d.told, d.neighbors.find, d.secondaries.refused.of
		l.instances = append(l.instances, inst)
		d.instances = append(d.instances, inst)
	}
	for _, cfg := range d.cfg.SyncGroups {
		var members []*instance
		for _, name := range cfg.Members {
			if i := slices.IndexFunc(d.instances, func(inst *instance) bool { return inst.cfg.Name == name }); i >= 0 {
				members = append(members, d.instances[i])
			}
		}
		if len(members) > 0 {
			d.groups = append(d.groups, join(cfg, members, d.log, d.told))
		}
	}
	d.trackers = newTrackers(d.cfg, d.programs, d.instances, (*instance).shared, nil, nil, d.log)
	d.links.set(d.loops, d.instances)
	return nil
}

// leasedAddresses returns the addresses that may get a lease.
func (d *Daemon) leasedAddresses() (out []netif.Address) {
	for i := range d.cfg.Instances {
		inst := &d.cfg.Instances[i]
		if inst.LeaseLength() == 0 {
			continue
		}
		for _, set := range [][]config.Address{inst.Addresses, inst.Excluded} {
			for _, a := range set {
				out = append(out, kernelAddress(a))
			}
		}
	}
	return out
}

// serve starts everything, waits for the end, and takes everything down in
// order: machines, addresses, effectors, loops.
func (d *Daemon) serve(ctx context.Context, server *control.Server) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	d.running = inner
	d.reloading.Lock() // the control socket answers before everything runs
	group, failed := errgroup.WithContext(inner)
	go d.keeper.run(inner)
	go d.garper.run(inner)
	go d.sentinel.run(inner)
	for _, l := range d.loops {
		go l.run()
	}
	group.Go(func() error { return server.Run(inner) })
	group.Go(func() error { return (&dumper{d: d}).run(inner) })
	go d.programs.reapOrphans(inner)
	d.links.look()
	d.resume(d.resuming)
	if d.cfg.Global.StartupScript != nil {
		d.notify(sdnotify.Starting("running startup_script", d.startTimeout()))
	}
	d.runScript(ctx, "startup_script", d.cfg.Global.StartupScript, d.cfg.Global.StartupScriptTimeout)
	// Machines learn of their interfaces and of what they track before they
	// start, so that one whose interface is down is in fault from the beginning.
	d.links.look()
	d.trackers.start(inner)
	d.trackers.awaitFirst(ctx)
	for _, l := range d.loops {
		l.post(func() {
			for _, inst := range l.instances {
				l.step(inst, time.Now(), inst.health)
				l.step(inst, time.Now(), vrrp.Startup{})
			}
		})
	}
	group.Go(func() error { return d.links.run(inner) })
	group.Go(func() error {
		for {
			select {
			case <-inner.Done():
				return nil
			case <-d.opts.Reload:
				d.Reload(inner, false)
			}
		}
	})
	group.Go(func() error { return d.feedWatchdog(inner) })
	if d.opts.Dumps.Log {
		(&dumper{d: d}).log(ctx)
	}
	d.log.Info("running", "version", d.opts.Version, "instances", len(d.cfg.Instances), "config", d.opts.ConfigFile)
	status := fmt.Sprintf("%d instances", len(d.cfg.Instances))
	if len(d.cfg.Instances) == 1 {
		status = "1 instance"
	}
	d.notify(sdnotify.Ready(status))
	if d.opts.Ready != nil {
		d.opts.Ready()
	}
	d.reloading.Unlock()

	select {
	case <-ctx.Done():
	case <-failed.Done():
	}
	close(d.stopping)
	d.reloading.Lock() // the last one ends first, and there is no other
	d.ending = true
	d.reloading.Unlock()
	d.notify(sdnotify.Stopping("handing the addresses over", d.endTimeout()))
	watchesEnd := d.trackers.end(nil)
	stopped := d.opts.KeepAddresses || d.shutdown()
	if d.opts.KeepAddresses {
		d.keeper.keepForGood()
		d.log.Info("stopped; the addresses stay where they are")
	}
	for _, l := range d.loops {
		stopped = l.stop() && stopped
	}
	if stopped {
		d.told.stopped(d.instances, d.groups)
	}
	d.told.close()
	d.runScript(context.WithoutCancel(ctx), "shutdown_script", d.cfg.Global.ShutdownScript, d.cfg.Global.ShutdownScriptTimeout)
	watched := make(chan struct{})
	go func() {
		watchesEnd()
		close(watched)
	}()
	// A program that waits for a disk cannot even be killed.
	d.await(stopTimeout, "a check does not end; not waiting for it any longer", watched)
	cancel()
	d.await(loopEndTimeout, "the kernel does not answer; not waiting for it any longer", d.keeper.ended, d.garper.ended, d.sentinel.ended)
	d.neighbors.close()
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// await waits until all channels are closed, but not for longer than given, and then
// logs what there is to say.
func (d *Daemon) await(within time.Duration, otherwise string, all ...<-chan struct{}) {
	end := time.After(within)
	for _, ended := range all {
		select {
		case <-ended:
		case <-end:
			d.log.Error(otherwise)
			return
		}
	}
}

// killing is what it takes at most to end a script whose time is over.
const killing = 5 * time.Second

// startTimeout returns how long the start takes at most, from the first script on.
func (d *Daemon) startTimeout() time.Duration {
	const margin = 30 * time.Second // what comes after it waits for little
	return d.cfg.Global.StartupScriptTimeout + killing + margin
}

// endTimeout returns how long the end takes at most: the hand-over, then whoever is
// told of it, then the last script, with what it takes to kill that.
func (d *Daemon) endTimeout() time.Duration {
	within := 2*stopTimeout + stopScripts + time.Duration(len(d.loops)+2)*loopEndTimeout
	if !d.opts.KeepAddresses {
		within += handoverTimeout(d.instances)
	}
	if d.cfg.Global.ShutdownScript != nil {
		within += d.cfg.Global.ShutdownScriptTimeout + killing
	}
	return within
}

// runScript runs a script that the daemon waits for (keepalived:
// startup_script, shutdown_script).
func (d *Daemon) runScript(ctx context.Context, what string, c *config.Command, timeout time.Duration) {
	if c == nil {
		return
	}
	spec, err := d.programs.spec(*c)
	if err != nil {
		d.log.Error("script cannot be run", "script", what, "error", err)
		return
	}
	spec.Timeout = timeout
	r := d.programs.runner.Run(ctx, &spec)
	if !r.OK() {
		d.log.Warn("script failed", "script", what, "result", r.String(), "duration", r.Duration, "output", r.Output)
	}
}

// handoverTimeout returns how long the hand-over of instances takes at most.
func handoverTimeout(instances []*instance) time.Duration {
	const most, margin = 20 * time.Second, 500 * time.Millisecond
	var longest time.Duration
	for _, inst := range instances {
		if cfg := &inst.shared().cfg; cfg.Handover {
			longest = max(longest, min(vrrp.SkewTime(cfg.Version, 0, cfg.AdvertInterval), most)+margin)
		}
	}
	return longest
}

// shutdown has every machine hand over and waits until its addresses are gone. It
// reports whether all loops have done so.
func (d *Daemon) shutdown() bool {
	ctx, cancel := context.WithTimeout(context.Background(), handoverTimeout(d.instances)+stopTimeout)
	defer cancel()
	d.journal.end()
	stopped := make(chan struct{}, len(d.instances))
	for _, l := range d.loops {
		l.post(func() {
			for _, inst := range l.instances {
				l.step(inst, time.Now(), vrrp.Shutdown{})
				l.afterHandover(inst, func() { stopped <- struct{}{} })
			}
		})
	}
	for left := len(d.instances); left > 0; {
		select {
		case <-stopped:
			left--
		case <-d.opts.Hurry:
			d.log.Warn("told again to stop: giving the addresses up without waiting for another router")
			for _, l := range d.loops {
				l.post(func() {
					for _, inst := range l.instances {
						l.step(inst, time.Now(), vrrp.Shutdown{})
					}
				})
			}
		case <-ctx.Done():
			d.log.Error("a protocol loop does not stop; addresses may be left", "after", stopTimeout)
			return false
		}
	}
	if err := d.keeper.settle(ctx); err != nil {
		d.log.Error("addresses are left; the next start removes them", "error", err)
		return true
	}
	d.keeper.finish(d.secondaries.putBack)
	d.journal.remove()
	d.log.Info("stopped")
	return true
}

// notify logs that the service manager could not be told.
func (d *Daemon) notify(err error) {
	if err != nil {
		d.log.Warn("cannot notify the service manager", "error", err)
	}
}
