package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"vipd/checks/command"
	"vipd/cmd/internal/control"
	"vipd/cmd/internal/notify"
	"vipd/config"
	"vipd/vrrp"
)

// stopScripts bounds how long the end waits for the scripts that are told of it.
const stopScripts = 5 * time.Second

// A teller carries notifications out. Its methods do not block.
type teller interface {
	Notify(notify.Event)
	History(group bool, name string) []notify.Record
	FIFOs() []notify.FIFOStatus
	Mail() (notify.MailStatus, bool)
	Close(context.Context) // but for this one, until the context ends
}

var _ teller = (*notify.Notifier)(nil)

// notifications tell scripts, FIFOs and people by mail what happens to the
// instances and sync groups. A nil *notifications tells nobody.
//
// The goroutine of the loop calls it, and it never blocks.
type notifications struct {
	n        teller
	log      *slog.Logger
	programs *programs
	mail     *config.Mail
	router   string   // the router's name in mail
	problems []string // that stay
	commands []notifyCommand
	scripts  map[*config.Command]command.Spec
}

// newNotifications makes ready to tell what the configuration asks for. A
// command that cannot be run, ever, is in problems.
func newNotifications(cfg *config.Config, p *programs, log *slog.Logger, same teller) (*notifications, error) {
	n := &notifications{log: log, programs: p, mail: cfg.Global.Mail, router: cfg.Global.RouterID, scripts: make(map[*config.Command]command.Spec)}
	if n.router == "" {
		n.router, _ = os.Hostname()
	}
	for i := range cfg.Instances {
		n.prepare("vrrp_instance "+cfg.Instances[i].Name, &cfg.Instances[i].Notify)
	}
	for i := range cfg.SyncGroups {
		n.prepare("vrrp_sync_group "+cfg.SyncGroups[i].Name, &cfg.SyncGroups[i].Notify)
	}
	nc := notify.Config{Runner: p.runner, Log: log, Timeout: cfg.Global.NotifyTimeout}
	for _, f := range cfg.Global.NotifyFIFOs {
		nc.FIFOs = append(nc.FIFOs, n.fifo(f))
	}
	if m := cfg.Global.Mail; m != nil {
		nc.Mailer = mailer(m)
	}
	if n.n = same; same != nil {
		return n, nil
	}
	notifier, err := notify.New(nc)
	if err != nil {
		return nil, err
	}
	n.n = notifier
	return n, nil
}

// ifSame returns who carries the notifications out, if that can go on doing so
// with a new configuration, else nil. Pipes that stay keep their readers.
func (n *notifications) ifSame(old, new *config.Config) teller {
	if n == nil || old.Global.NotifyTimeout != new.Global.NotifyTimeout || !sameMail(old.Global.Mail, new.Global.Mail) ||
		!slices.EqualFunc(old.Global.NotifyFIFOs, new.Global.NotifyFIFOs, sameFIFO) {
		return nil
	}
	return n.n
}

func sameMail(a, b *config.Mail) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	to := slices.Equal(x.To, y.To)
	x.To, y.To = nil, nil
	return to && reflect.DeepEqual(x, y)
}

func sameFIFO(a, b config.FIFO) bool {
	return a.Path == b.Path && a.User == b.User && a.Group == b.Group && sameCommand(a.Script, b.Script)
}

func sameCommand(a, b *config.Command) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Argv, b.Argv) && a.User == b.User && a.Group == b.Group && a.Supplementary == b.Supplementary
}

// closeUnless ends what carries the notifications out, unless others use it.
func (n *notifications) closeUnless(others *notifications) {
	if n == nil || n.n == others.n {
		return
	}
	old, isOld := n.n.(*notify.Notifier)
	if next, ok := others.n.(*notify.Notifier); ok && isOld {
		next.TakeOver(old)
	}
	go n.close()
}

// removed tells that an instance is no longer in the configuration, as
// keepalived does: DELETED if asked for by notify_deleted, else FAULT, unless it
// was in that state.
func (n *notifications) removed(inst *instance, was vrrp.State) {
	if n == nil {
		return
	}
	n.abandon(inst)
	state := "FAULT"
	switch {
	case inst.cfg.Notify.ReportDeleted:
		state = "DELETED"
	case was == vrrp.FaultState || was == vrrp.Init:
		return
	}
	n.n.Notify(n.event(inst, state, vrrp.Transition{From: was, To: vrrp.FaultState, Reason: vrrp.Reason{Kind: vrrp.ReasonReconfigured}}))
}

// prepare looks up the users of all scripts of one instance or group.
func (n *notifications) prepare(where string, s *config.Notify) {
	for _, c := range []*config.Command{s.Master, s.Backup, s.Fault, s.Stop, s.Deleted, s.MasterRxLowerPri, s.Any} {
		if c == nil {
			continue
		}
		n.commands = append(n.commands, notifyCommand{where, c})
		if spec, err := n.programs.spec(*c); err == nil {
			n.scripts[c] = spec
		}
	}
}

// A notifyCommand is a notify script and whose it is.
type notifyCommand struct {
	where string
	*config.Command
}

// fifo returns the pipe as far as it can be had: without its script, or as our
// own, if a user is not known. The router matters more.
func (n *notifications) fifo(f config.FIFO) notify.FIFO {
	out := notify.FIFO{Path: f.Path, UID: -1, GID: -1}
	if f.User != "" {
		owner, err := command.Lookup(f.User, f.Group, false)
		if err != nil {
			n.problem("the fifo " + f.Path + " has no owner but vipd: " + err.Error())
		} else {
			out.UID, out.GID = int(owner.UID), int(owner.GID)
		}
	}
	if f.Script != nil {
		spec, err := n.programs.spec(*f.Script)
		if err != nil {
			n.problem("the fifo " + f.Path + " has no script: " + err.Error())
		} else {
			out.Script = &spec
		}
	}
	return out
}

func (n *notifications) problem(text string) {
	n.problems = append(n.problems, text)
	n.log.Error("notification", "problem", text)
}

// troubles lists what keeps somebody from being told.
func (n *notifications) troubles() []string {
	if n == nil {
		return nil
	}
	out := slices.Clone(n.problems)
	seen := make(map[string]bool) // hundreds of instances may have the same script
	for _, c := range n.commands {
		key := c.User + " " + c.Group + " " + c.Argv[0]
		if seen[key] {
			continue
		}
		seen[key] = true
		if text, advice := n.programs.problem(*c.Command); text != "" {
			if advice != "" {
				text += " (" + advice + ")"
			}
			out = append(out, fmt.Sprintf("%s: a notify script cannot be run: %s", c.where, text))
		}
	}
	for _, f := range n.n.FIFOs() {
		switch {
		case f.Error != "":
			out = append(out, fmt.Sprintf("fifo %s is not used: %s", f.Path, f.Error))
		case f.Dropped > 0:
			out = append(out, fmt.Sprintf("fifo %s: nobody reads it, and %d lines were lost", f.Path, f.Dropped))
		}
	}
	if m, ok := n.n.Mail(); ok && m.Error != "" {
		out = append(out, "mail cannot be sent: "+m.Error)
	}
	return out
}

// script returns what runs c, if it is set and can be run.
func (n *notifications) script(to []notify.Script, c *config.Command, arguments bool) []notify.Script {
	if c == nil {
		return to
	}
	spec, ok := n.scripts[c]
	if !ok { // there was no such user at the start
		var err error
		if spec, err = n.programs.spec(*c); err != nil {
			n.log.Error("notify script cannot be run", "script", c.Argv[0], "error", err)
			return to
		}
	}
	return append(to, notify.Script{Spec: spec, Arguments: arguments})
}

// stateName is what scripts and FIFOs are told a state is called.
func stateName(s vrrp.State) string { return strings.ToUpper(s.String()) }

// transition tells a change of an instance's state: that it is master, only
// when its addresses are in place, or could not be put there.
func (n *notifications) transition(inst *instance, t vrrp.Transition) {
	if n == nil || t.To == vrrp.Init || t.Reason.Kind == vrrp.ReasonResumed {
		// The end is told when the addresses are gone, see stopped. One that goes
		// on after a crash was told of before that.
		return
	}
	n.abandon(inst)
	ev := n.event(inst, stateName(t.To), t)
	if t.To != vrrp.Master || len(inst.order) == 0 {
		n.n.Notify(ev)
		return
	}
	inst.untold = []notify.Event{ev}
	if g := inst.group; g != nil {
		g.settling = append(g.settling, inst)
	}
}

// abandon tells of a mastership that ended before its addresses were in place.
// It goes into the FIFOs, which skip nothing; no script is run and no mail sent:
// there was nothing to be promoted for.
func (n *notifications) abandon(inst *instance) {
	if len(inst.untold) == 0 {
		return
	}
	withdraw := func(events []notify.Event) {
		for i := range events {
			events[i].Scripts, events[i].Mail = nil, nil
		}
	}
	withdraw(inst.untold)
	if g := inst.group; g != nil {
		for _, other := range g.settling {
			withdraw(other.untold) // they end with it
		}
		withdraw(g.untold)
	}
	n.flush(inst)
}

// settled says that the addresses of a new master are in place, as far as they
// will be. Members of a group wait for each other, so that they are told of in
// the order in which they became master, and the group after them.
func (n *notifications) settled(inst *instance) {
	if n == nil || len(inst.untold) == 0 {
		return
	}
	inst.settled = true
	if g := inst.group; g != nil && slices.ContainsFunc(g.settling, func(other *instance) bool { return !other.settled }) {
		return
	}
	n.flush(inst)
}

// flush tells what was held back of an instance, and of its group.
func (n *notifications) flush(inst *instance) {
	if len(inst.untold) == 0 {
		return
	}
	ready := []*instance{inst}
	g := inst.group
	if g != nil {
		ready, g.settling = g.settling, nil
	}
	for _, inst := range ready {
		for _, ev := range inst.untold {
			n.n.Notify(ev)
		}
		inst.untold, inst.settled = nil, false
	}
	if g != nil {
		for _, ev := range g.untold {
			n.n.Notify(ev)
		}
		g.untold = nil
	}
}

// group tells a change of a sync group's state, after those of its members.
func (n *notifications) group(g *syncGroup, t vrrp.Transition) {
	if n == nil {
		return
	}
	g.last = t
	if t.To == vrrp.Init || t.Reason.Kind == vrrp.ReasonResumed {
		return
	}
	ev := n.groupEvent(g, stateName(t.To), t)
	if len(g.settling) > 0 {
		g.untold = append(g.untold, ev)
		return
	}
	n.n.Notify(ev)
}

// note tells what happens without a change of state.
func (n *notifications) note(inst *instance, note vrrp.Note) {
	if n == nil {
		return
	}
	state := note.State
	same := vrrp.Transition{From: state, To: state, Reason: note.Reason}
	switch note.Reason.Kind {
	case vrrp.ReasonLowerPriorityMaster:
		n.tell(inst, n.event(inst, "MASTER_RX_LOWER_PRI", same))
	case vrrp.ReasonPriorityChanged:
		if inst.cfg.NotifyPriorityChanges && (state == vrrp.Master || state == vrrp.Backup) {
			n.tell(inst, n.event(inst, stateName(state)+"_PRIORITY", same))
		}
	}
}

// tell tells an event after those that wait.
func (n *notifications) tell(inst *instance, ev notify.Event) {
	if len(inst.untold) > 0 {
		inst.untold = append(inst.untold, ev)
		return
	}
	n.n.Notify(ev)
}

// stopped tells the end of instances, then of groups. Their loops have ended.
func (n *notifications) stopped(instances []*instance, groups []*syncGroup) {
	if n == nil {
		return
	}
	why := vrrp.Reason{Kind: vrrp.ReasonShutdown}
	for _, inst := range instances {
		n.abandon(inst)
		from := vrrp.Init
		if len(inst.history) > 0 {
			from = left(inst.history[len(inst.history)-1].Transition)
		}
		n.n.Notify(n.event(inst, "STOP", vrrp.Transition{From: from, To: vrrp.Init, Reason: why}))
	}
	for _, g := range groups {
		n.n.Notify(n.groupEvent(g, "STOP", vrrp.Transition{From: left(g.last), To: vrrp.Init, Reason: why}))
	}
}

// left returns the state that an end has ended. The last transition leads out of
// it, unless the end was to change nothing.
func left(last vrrp.Transition) vrrp.State {
	if last.To != vrrp.Init {
		return last.To
	}
	return last.From
}

// close waits for what is running, for a while.
func (n *notifications) close() {
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopScripts)
	defer cancel()
	n.n.Close(ctx)
}

// specific returns the script for one event alone.
func specific(s *config.Notify, state string) *config.Command {
	switch state {
	case "MASTER":
		return s.Master
	case "BACKUP":
		return s.Backup
	case "FAULT":
		return s.Fault
	case "STOP":
		return s.Stop
	case "DELETED":
		return s.Deleted
	case "MASTER_RX_LOWER_PRI":
		return s.MasterRxLowerPri
	}
	return nil
}

// isState reports whether the event is a state, of which the generic script is
// told too.
func isState(state string) bool {
	switch state {
	case "MASTER", "BACKUP", "FAULT", "STOP", "DELETED":
		return true
	}
	return false
}

// event makes the event of an instance.
func (n *notifications) event(inst *instance, state string, t vrrp.Transition) notify.Event {
	s := inst.m.Snapshot()
	// By now the priority may be another.
	priority := int(cmp.Or(t.Reason.Priority, s.Priority))
	ev := notify.Event{Name: inst.cfg.Name, State: state, Priority: priority}
	ev.Scripts = n.script(nil, specific(&inst.cfg.Notify, state), false)
	if isState(state) {
		ev.Scripts = n.script(ev.Scripts, inst.cfg.Notify.Any, true)
	}
	if len(ev.Scripts) > 0 {
		ev.Env = append(transitionEnv(state, t),
			"VIPD_INSTANCE="+inst.cfg.Name,
			"VIPD_PRIORITY="+strconv.Itoa(priority),
			"VIPD_MASTER="+masterAddress(s, t.Reason),
			"VIPD_VIPS="+strings.Join(inst.vips(), " "),
			"VIPD_INTERFACE="+inst.cfg.Interface,
			"VIPD_VRID="+strconv.Itoa(int(inst.cfg.VRID)))
	}
	if inst.cfg.SMTPAlert && n.mails(state) {
		ev.Mail = notify.NewMessage(n.router, false, inst.cfg.Name, state)
	}
	return ev
}

// groupEvent makes the event of a sync group.
func (n *notifications) groupEvent(g *syncGroup, state string, t vrrp.Transition) notify.Event {
	ev := notify.Event{Group: true, Name: g.cfg.Name, State: state}
	ev.Scripts = n.script(nil, specific(&g.cfg.Notify, state), false)
	ev.Scripts = n.script(ev.Scripts, g.cfg.Notify.Any, true)
	if len(ev.Scripts) > 0 {
		var vips []string
		for _, inst := range g.members {
			vips = append(vips, inst.vips()...)
		}
		ev.Env = append(transitionEnv(state, t),
			"VIPD_GROUP="+g.cfg.Name,
			"VIPD_INSTANCES="+strings.Join(g.cfg.Members, " "),
			"VIPD_VIPS="+strings.Join(vips, " "))
	}
	if g.cfg.SMTPAlert && n.mails(state) {
		ev.Mail = notify.NewMessage(n.router, true, g.cfg.Name, state)
	}
	return ev
}

// mails reports whether people are told of a state by mail.
func (n *notifications) mails(state string) bool {
	switch state {
	case "MASTER", "BACKUP", "STOP":
		return n.mail != nil
	case "FAULT":
		return n.mail != nil && !n.mail.NoFaults
	}
	return false
}

// transitionEnv is the environment that every script of an event has.
func transitionEnv(state string, t vrrp.Transition) []string {
	to := stateName(t.To)
	if isState(state) {
		to = state
	}
	return []string{"VIPD_FROM=" + stateName(t.From), "VIPD_TO=" + to, "VIPD_EVENT=" + state, "VIPD_REASON=" + t.Reason.String()}
}

// masterAddress is the address of the master as far as it is known.
func masterAddress(s vrrp.Snapshot, why vrrp.Reason) string {
	var a netip.Addr
	switch {
	case s.State == vrrp.Master:
		a = s.Source
	case s.State == vrrp.Backup:
		a = cmp.Or(s.Master.Addr, s.Lower.Addr, why.Peer)
	}
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// vips lists the virtual addresses, those that are not advertised, too.
func (inst *instance) vips() []string {
	out := make([]string, 0, len(inst.order))
	for _, a := range inst.order {
		out = append(out, inst.addresses[a].Prefix.String())
	}
	return out
}

// history describes the last scripts of an instance or a group.
func (n *notifications) history(group bool, name string) []control.Notification {
	if n == nil {
		return nil
	}
	records := n.n.History(group, name)
	out := make([]control.Notification, len(records))
	for i, r := range records {
		out[i] = notificationStatus(r)
	}
	return out
}

// notificationStatus describes what became of one script.
func notificationStatus(r notify.Record) control.Notification {
	out := control.Notification{
		At: r.At, State: r.State, Command: r.Argv, Duration: control.Seconds(r.Duration),
		TimedOut: r.Overdue, Skipped: r.Skipped, Running: r.Running, Detail: r.Detail, Output: strings.ToValidUTF8(r.Output, "�"),
	}
	if !r.Running && !r.Skipped && r.Exit >= 0 {
		out.Exit = &r.Exit
	}
	return out
}
