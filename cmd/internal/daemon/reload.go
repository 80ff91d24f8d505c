package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/plan"
	"vipd/cmd/internal/sdnotify"
	"vipd/config"
	"vipd/netif"
	"vipd/vrrp"
	"vipd/vrrp/vrrpconn"
)

// reloadTimeout bounds how long one step of a reload waits for the protocol
// loops.
const reloadTimeout = 5 * time.Second

var _ control.Reloader = (*Daemon)(nil)

// Reload implements control.Reloader: it reads the configuration again and, if
// it can run as a whole, goes over to it. One that cannot changes nothing.
func (d *Daemon) Reload(ctx context.Context, dryRun bool) control.Reload {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	r := control.Reload{At: time.Now(), DryRun: dryRun, ConfigFile: d.opts.ConfigFile}
	if d.ending {
		r.Error = "vipd is about to end"
		return r
	}
	if !dryRun {
		d.notify(sdnotify.Reloading("reading the configuration"))
	}
	defer func() {
		if dryRun {
			return
		}
		d.mu.Lock()
		d.lastReload = &r
		n := len(d.instances)
		d.mu.Unlock()
		status := fmt.Sprintf("%d instances", n)
		if r.Error != "" {
			status += "; the last configuration was refused: " + r.Error
		}
		d.notify(sdnotify.Ready(status))
	}()
	if d.opts.Load == nil {
		r.Error = "this vipd has no configuration file to read again"
		return r
	}
	cfg, diags, err := d.opts.Load()
	for _, diag := range diags {
		r.Diagnostics = append(r.Diagnostics, diag.String())
	}
	if err != nil {
		r.Error = err.Error()
		errs := slices.DeleteFunc(slices.Clone(diags), func(diag config.Diagnostic) bool { return diag.Severity != config.Error })
		if len(errs) > 0 {
			r.Error += ": " + errs[0].String()
		}
		if dryRun {
			return r
		}
		d.log.Error("the new configuration is refused, and nothing changes", "error", err)
		for _, diag := range errs {
			d.log.Error(diag.String())
		}
		return r
	}
	if len(cfg.Instances) == 0 && len(d.config().Instances) > 0 {
		// What is left of a file when whoever writes it is interrupted.
		r.Error = "there is no vrrp_instance in " + d.opts.ConfigFile + ": to give up everything, stop vipd"
		if !dryRun {
			d.log.Error("the new configuration is refused, and nothing changes", "error", r.Error)
		}
		return r
	}
	p := plan.Compute(d.config(), cfg)
	r.Changes = p.Lines()
	if dryRun {
		return r
	}
	for _, diag := range diags {
		d.log.Warn(diag.String())
	}
	if err := d.apply(ctx, cfg, &p); err != nil {
		r.Error = err.Error()
		d.log.Error("the new configuration is refused, and nothing changes", "error", err)
		return r
	}
	r.Applied = true
	d.log.Info("reloaded", "changes", len(r.Changes), "instances", len(cfg.Instances))
	for _, line := range r.Changes {
		d.log.Info("reload", "change", line)
	}
	return r
}

// config returns the configuration that runs.
func (d *Daemon) config() *config.Config {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.cfg
}

// A transition from one configuration to another.
type changeover struct {
	d    *Daemon
	cfg  *config.Config
	plan *plan.Plan

	loops     []*loop                 // those of the new configuration
	where     map[*instance]*loop     // where each instance is from now on
	instances []*instance             // of the new configuration, in its order
	settings  map[*instance]*settings // new ones of instances that go on
	same      map[*instance]bool      // those of them that have the same settings as before
	arriving  map[*loop][]*instance   // that were not there before
	ports     map[*loop][]*port       // theirs
	removed   []*instance
	added     []*instance
	trackers  *trackers
	told      *notifications
	groups    []*syncGroup
}

// apply goes over to a new configuration. What could fail comes first: an error
// means that nothing has changed.
func (d *Daemon) apply(ctx context.Context, cfg *config.Config, p *plan.Plan) error {
	c := &changeover{
		d: d, cfg: cfg, plan: p, where: make(map[*instance]*loop), settings: make(map[*instance]*settings),
		same: make(map[*instance]bool), arriving: make(map[*loop][]*instance), ports: make(map[*loop][]*port),
	}
	claims, err := d.claim(cfg)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		for _, claim := range claims {
			_ = claim.Close()
		}
		return err
	}
	programs := &programs{runner: d.programs.runner, secure: cfg.Global.ScriptSecurity}
	if c.told, err = newNotifications(cfg, programs, d.log, d.told.ifSame(d.cfg, cfg)); err != nil {
		return fail(err)
	}
	if err := c.assign(); err != nil {
		c.told.closeUnless(d.told)
		return fail(err)
	}
	kept := func(kind config.TrackKind, name string) bool {
		i := slices.IndexFunc(p.Objects, func(o plan.Object) bool { return o.Track == kind && o.Name == name && o.New >= 0 })
		return i >= 0 && p.Objects[i].Old >= 0 && !p.Objects[i].Anew
	}
	c.trackers = newTrackers(cfg, programs, c.instances, c.next, d.trackers, kept, d.log)
	var wanted []netif.Address
	for _, inst := range c.instances {
		for _, a := range c.next(inst).addresses {
			wanted = append(wanted, a)
		}
	}
	d.journal.run(journalRouters(cfg))
	d.journal.want(wanted, finder(d.links.current.Load()))

	// From here on nothing fails. Additions are carried out at once, removals
	// when all loops have said what is to be added.
	d.keeper.move()
	d.changing.Lock()
	c.step()
	c.regroup()
	d.keeper.moved()

	ended := d.trackers.end(c.trackers)
	c.trackers.start(d.running)
	go ended()
	idle := d.finish(c, claims, programs)
	d.changing.Unlock()
	d.awaitDepartures(c.removed)
	for _, l := range idle {
		l.retire()
		if err := l.waker.Close(); err != nil {
			d.log.Warn("cannot close a timer", "error", err)
		}
	}
	return nil
}

// next returns the settings that an instance has after the changeover.
func (c *changeover) next(inst *instance) *settings {
	if s := c.settings[inst]; s != nil {
		return s
	}
	return inst.shared()
}

// assign decides what becomes of each instance and on which loop it is, and
// makes the loops and instances that are new.
func (c *changeover) assign() error {
	d := c.d
	c.instances = make([]*instance, len(c.cfg.Instances))
	for _, in := range c.plan.Instances {
		switch {
		case in.Kind == plan.Removed:
			c.removed = append(c.removed, d.instances[in.Old])
		case in.Kind != plan.Added:
			inst := d.instances[in.Old]
			c.instances[in.New] = inst
			// Also where nothing has changed: what it refers to may have.
			s := newSettings(c.cfg.Instances[in.New], d.log)
			s.unleased = c.cfg.UnleasedIPv6()
			c.settings[inst] = s
			c.same[inst] = in.Kind == plan.Unchanged && maps.Equal(s.unleased, inst.shared().unleased)
		}
	}
	// An interface stays with the loop that has it. New ones get a loop; those
	// that a sync group joins move to that of its first member.
	byName := make(map[string]*loop)
	for inst := range c.settings {
		byName[loopName(&inst.shared().cfg)] = inst.loop()
		c.where[inst] = inst.loop()
	}
	c.loops = slices.Clone(d.loops)
	var fresh []*loop
	for i := range c.cfg.Instances {
		cfg := c.cfg.Instances[i] // a copy
		if c.instances[i] != nil {
			continue
		}
		l := byName[loopName(&cfg)]
		if l == nil {
			var err error
			if l, err = d.newLoop(loopName(&cfg)); err != nil {
				for _, l := range fresh {
					_ = l.waker.Close()
				}
				return err
			}
			byName[loopName(&cfg)] = l
			fresh = append(fresh, l)
		}
		cfg.StartupDelay = 0 // it counts from the start of the daemon
		inst := newInstance(cfg, l, d.log)
		inst.unleased = c.cfg.UnleasedIPv6()
		inst.told, inst.neighbor, inst.noLease = c.told, d.neighbors.find, d.secondaries.refused.of
		c.instances[i], c.where[inst] = inst, l
		c.added = append(c.added, inst)
	}
	c.loops = append(c.loops, fresh...)
	for _, g := range c.cfg.SyncGroups {
		var first *loop
		for _, inst := range c.members(g) {
			switch l := c.where[inst]; {
			case first == nil:
				first = l
			case l != first:
				for other, at := range c.where {
					if at == l {
						c.where[other] = first
					}
				}
			}
		}
	}
	for _, inst := range c.added {
		inst.home.Store(c.where[inst]) // nobody else knows it yet
	}
	for _, inst := range c.instances {
		if to := c.where[inst]; c.settings[inst] == nil || inst.loop() != to {
			c.arriving[to] = append(c.arriving[to], inst)
		}
	}
	for _, l := range fresh {
		go l.run()
	}
	return nil
}

// members returns the instances of a sync group.
func (c *changeover) members(g config.SyncGroup) []*instance {
	var out []*instance
	for _, name := range g.Members {
		if i := slices.IndexFunc(c.cfg.Instances, func(in config.Instance) bool { return in.Name == name }); i >= 0 {
			out = append(out, c.instances[i])
		}
	}
	return out
}

// step has all machines go over to their new configuration, and those that are
// removed give up. Groups that are formed anew are dissolved before.
func (c *changeover) step() {
	d := c.d
	regroup := make(map[string]bool) // by old name
	for _, g := range c.plan.Groups {
		if g.Old >= 0 && (g.Kind == plan.Removed || g.Regroup) {
			regroup[d.cfg.SyncGroups[g.Old].Name] = true
		}
	}
	c.everywhere(func(l *loop) {
		now := time.Now()
		for _, inst := range l.instances {
			if inst.group != nil && regroup[inst.group.cfg.Name] {
				inst.leaveGroup(now)
			}
		}
		for _, inst := range slices.Clone(l.instances) {
			switch s := c.settings[inst]; {
			case s == nil:
			case c.same[inst]:
				inst.told = c.told
				inst.adopt(s)
			default:
				inst.told = c.told
				inst.reconfigure(now, s, c.trackers)
			}
		}
		for _, inst := range slices.Clone(l.instances) {
			if slices.Contains(c.removed, inst) {
				inst.remove(now)
			}
		}
		l.logUnknown = c.cfg.Global.LogUnknownVRIDs
	})
	// What changes its loop leaves the old one, then enters the new one.
	var told []*instance // everything anew
	for inst := range c.settings {
		if !c.same[inst] || inst.loop() != c.where[inst] {
			told = append(told, inst)
		}
	}
	if len(c.arriving) > 0 {
		c.everywhere(c.leave)
		c.everywhere(c.enter)
	}
	d.links.set(c.loops, c.instances)
	d.links.anew(told)
	d.links.look()
}

// leave takes the instances out of a loop that another one gets. They leave
// together, and take their sockets along: what waits in them is not lost.
func (c *changeover) leave(l *loop) {
	// What this turn has wanted so far is done while they are here.
	l.act()
	var to *loop
	goes := func(inst *instance) bool { return !inst.removing && c.where[inst] != l }
	if slices.ContainsFunc(l.instances, goes) {
		for _, inst := range slices.Clone(l.instances) {
			if inst.removing {
				// There is no time for a hand-over: its socket goes along.
				l.step(inst, time.Now(), vrrp.Shutdown{})
				l.act()
				inst.depart()
			}
		}
	}
	for _, inst := range slices.Clone(l.instances) {
		if !goes(inst) {
			continue
		}
		to = c.where[inst]
		l.due.set(inst, time.Time{}, false)
		l.forget(inst)
		inst.home.Store(to)
	}
	if len(l.instances) == 0 && to != nil {
		for key, p := range l.ports {
			c.ports[to] = append(c.ports[to], p)
			delete(l.ports, key)
		}
	}
}

// enter takes in the instances that a loop gets, and their sockets.
func (c *changeover) enter(l *loop) {
	for _, p := range c.ports[l] {
		select {
		case <-p.closed:
			continue
		default:
		}
		if l.ports[p.key] == nil {
			l.takeOver(p)
			continue
		}
		// Both have been of use without an interface: one is enough.
		for _, users := range p.users {
			for _, inst := range users {
				inst.port = nil
			}
		}
		l.closePort(p)
	}
	for _, inst := range c.arriving[l] {
		l.instances = append(l.instances, inst)
		if c.settings[inst] == nil {
			inst.setTracks(inst.cfg.Tracks, c.trackers.known)
		} else {
			inst.setLink(inst.view)
		}
		l.wakeAsWanted(inst)
	}
}

// regroup forms sync groups, and starts what was added.
func (c *changeover) regroup() {
	old := make(map[string]vrrp.GroupSnapshot)
	c.groups = make([]*syncGroup, len(c.cfg.SyncGroups))
	for _, g := range c.plan.Groups {
		if g.New < 0 {
			continue
		}
		cfg := c.cfg.SyncGroups[g.New]
		if g.Old >= 0 && !g.Regroup {
			was := c.d.cfg.SyncGroups[g.Old].Name
			if i := slices.IndexFunc(c.d.groups, func(g *syncGroup) bool { return g.cfg.Name == was }); i >= 0 {
				c.groups[g.New] = c.d.groups[i]
				continue
			}
		}
		if g.Old >= 0 {
			was := c.d.cfg.SyncGroups[g.Old].Name
			if i := slices.IndexFunc(c.d.groups, func(g *syncGroup) bool { return g.cfg.Name == was }); i >= 0 {
				old[cfg.Name] = c.d.groups[i].dissolved
			}
		}
	}
	for i, cfg := range c.cfg.SyncGroups {
		members := c.members(cfg)
		if len(members) == 0 {
			continue
		}
		if g := c.groups[i]; g != nil {
			done := make(chan struct{})
			members[0].loop().post(func() {
				g.cfg, g.told = cfg, c.told
				close(done)
			})
			c.wait(done)
			continue
		}
		done := make(chan struct{})
		l := members[0].loop()
		l.post(func() {
			c.groups[i] = adopt(cfg, members, old[cfg.Name], c.d.log, c.told)
			close(done)
		})
		c.wait(done)
	}
	c.groups = slices.DeleteFunc(c.groups, func(g *syncGroup) bool { return g == nil })
	for _, inst := range c.added {
		inst.post(func(inst *instance) {
			inst.loop().step(inst, time.Now(), inst.health)
			inst.loop().step(inst, time.Now(), vrrp.Startup{})
		})
	}
	c.everywhere(func(*loop) {})
}

// everywhere has f run in the goroutine of every loop and waits until its
// actions are under way.
func (c *changeover) everywhere(f func(*loop)) {
	for _, l := range c.loops {
		done := make(chan struct{})
		l.post(func() {
			f(l)
			l.post(func() { close(done) }) // in the next turn
		})
		c.wait(done)
	}
}

// wait waits for a loop, but not for ever.
func (c *changeover) wait(done <-chan struct{}) {
	select {
	case <-done:
	case <-time.After(reloadTimeout):
		c.d.log.Error("a protocol loop does not answer")
	}
}

// finish makes the new configuration the daemon's, and gives up what is not
// needed any more. It returns the loops that have nothing left to do.
func (d *Daemon) finish(c *changeover, claims []io.Closer, programs *programs) (idle []*loop) {
	used := make(map[*loop]bool)
	for _, inst := range c.instances {
		used[inst.loop()] = true
	}
	var loops []*loop
	for _, l := range c.loops {
		if used[l] {
			loops = append(loops, l)
		} else {
			idle = append(idle, l)
		}
	}
	d.links.set(c.loops, slices.Concat(c.instances, c.removed))
	d.mu.Lock()
	told := d.told
	d.cfg, d.loops, d.instances, d.groups = c.cfg, loops, c.instances, c.groups
	d.trackers, d.told, d.programs = c.trackers, c.told, programs
	d.claims = append(d.claims, claims...)
	d.mu.Unlock()
	was := d.global.Swap(&c.cfg.Global)
	if was.GARPInterval != c.cfg.Global.GARPInterval || was.GNAInterval != c.cfg.Global.GNAInterval {
		d.garper.limitAnew()
	}
	told.closeUnless(c.told)
	return idle
}

// awaitDepartures waits until the instances that were removed have handed over, and
// gives up what was needed for that. The end of the daemon does not wait for them.
func (d *Daemon) awaitDepartures(removed []*instance) {
	timeout, stopping := time.After(handoverTimeout(removed)+reloadTimeout), d.stopping
	for i := 0; i < len(removed); {
		inst := removed[i]
		select {
		case <-inst.departed:
			i++
		case <-stopping:
			stopping = nil
			for _, inst := range removed {
				inst.post(func(inst *instance) { inst.loop().step(inst, time.Now(), vrrp.Shutdown{}) })
			}
		case <-timeout:
			d.log.Error("a removed instance does not end", "instance", inst.shared().cfg.Name)
			return
		}
	}
	d.mu.RLock()
	loops, instances := d.loops, d.instances
	d.mu.RUnlock()
	d.links.set(loops, instances)
	d.dropClaims(instances)
}

// dropClaims gives up the virtual routers that no instance is any more. Several may
// share a claim: in unicast, or one multicast group after the other.
func (d *Daemon) dropClaims(instances []*instance) {
	routers := make(map[claimKey]bool)
	for _, inst := range instances {
		routers[routerOf(&inst.shared().cfg)] = true
	}
	d.claims = slices.DeleteFunc(d.claims, func(claim io.Closer) bool {
		if routers[claim.(held).router] {
			return false
		}
		if err := claim.Close(); err != nil {
			d.log.Warn("cannot give up a virtual router", "error", err)
		}
		return true
	})
}

// newLoop makes a loop, which does not run yet.
func (d *Daemon) newLoop(name string) (*loop, error) {
	w, err := newTimerfdWaker()
	if err != nil {
		return nil, err
	}
	open := func(c vrrpconn.Config) (transport, error) { return vrrpconn.Open(c) }
	l := newLoop(name, d.log, w, open, d.keeper, d.garper)
	l.logUnknown = d.cfg.Global.LogUnknownVRIDs
	l.slept, l.asleep = hostSlept, hostSlept()
	return l, nil
}

// loopName is what instances have in common that share a loop.
func loopName(cfg *config.Instance) string {
	if cfg.Interface == "" {
		return "instance " + cfg.SourceIP.String() + " " + fmt.Sprint(cfg.VRID)
	}
	return cfg.Interface
}

// A claimKey is what a claim is for.
type claimKey struct {
	on     string
	family vrrp.Family
	vrid   uint8
}

func routerOf(cfg *config.Instance) claimKey {
	on := cfg.Interface
	if on == "" {
		on = cfg.SourceIP.String()
	}
	return claimKey{on, cfg.Family, cfg.VRID}
}

// A held is a claim that the daemon has.
type held struct {
	io.Closer
	router claimKey
}

// claim takes the virtual routers of a configuration that the daemon does not
// have yet, all or none.
func (d *Daemon) claim(cfg *config.Config) (claims []io.Closer, err error) {
	claimed := make(map[claimKey]bool)
	for _, c := range d.claims {
		claimed[c.(held).router] = true
	}
	for i := range cfg.Instances {
		inst := &cfg.Instances[i]
		// Unicast instances with different peers may share a VRID.
		vr := routerOf(inst)
		if claimed[vr] {
			continue
		}
		claimed[vr] = true
		claim, err := control.Claim(vr.on, vr.family, vr.vrid)
		if taken, ok := errors.AsType[*control.ClaimedError](err); ok && taken.UID > 0 && taken.UID != os.Geteuid() {
			// Anybody may take such a name, but not keep a daemon from running.
			// An owner that is not known is respected.
			d.log.Warn("an unprivileged process holds the name that keeps two daemons from running one instance", "instance", inst.Name, "pid", taken.PID, "uid", taken.UID)
			continue
		}
		if err != nil {
			for _, claim := range claims {
				_ = claim.Close()
			}
			return nil, err
		}
		claims = append(claims, held{claim, vr})
	}
	return claims, nil
}

// reconfigure goes over to new settings.
func (inst *instance) reconfigure(now time.Time, s *settings, t *trackers) {
	was, encoded := inst.settings, inst.encoding()
	inst.adopt(s)
	inst.setTracks(s.cfg.Tracks, t.known)
	inst.advertised = len(s.cfg.Addresses)
	if inst.view.mtu > 0 {
		inst.advertised = min(inst.advertised, maxAddresses(s.cfg, inst.view.mtu))
	}
	inst.setExpect()
	for a := range inst.seen {
		if _, ok := s.addresses[a]; !ok {
			delete(inst.seen, a)
		}
	}
	for a, as := range s.addresses {
		if old, ok := was.addresses[a]; !ok || old != as {
			inst.reformed = now // one that is new may have been another instance's, in another form
		}
	}
	l := inst.loop()
	l.addrs.update(inst, s)
	l.ann.retime(inst, announceTiming(s.cfg))
	l.step(inst, now, vrrp.Reconfigure{Config: s.machine, Health: &inst.health, Advertise: encoded != inst.encoding()})
	inst.dateFaults()
	if was.cfg.Name != s.cfg.Name {
		inst.log.Info("renamed", "from", was.cfg.Name)
	}
}

// encoding sums up what of the settings is in an advertisement, or says who gets
// it, and the machine does not see.
func (inst *instance) encoding() string {
	c := &inst.cfg
	return fmt.Sprint(c.AuthType, c.AuthData, c.Peers, c.TTL, c.Checksum, c.Addresses[:inst.advertised])
}

// remove ends an instance that the configuration does not have any more.
func (inst *instance) remove(now time.Time) {
	l, state := inst.loop(), inst.m.State()
	inst.removing = true
	if inst.group != nil {
		inst.leaveGroup(now)
	}
	l.step(inst, now, vrrp.Shutdown{})
	inst.told.removed(inst, state)
	l.afterHandover(inst, inst.depart)
}

// depart ends an instance that was removed, when its last word is out. If the rest
// of its loop had to go somewhere else, it has gone already.
func (inst *instance) depart() {
	if inst.gone {
		return
	}
	l := inst.loop()
	l.detach(inst)
	l.due.set(inst, time.Time{}, false)
	l.forget(inst)
	inst.gone = true
	close(inst.departed)
}

// forget takes an instance out of the loop's list.
func (l *loop) forget(inst *instance) {
	l.instances = slices.DeleteFunc(slices.Clone(l.instances), func(other *instance) bool { return other == inst })
}
