package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"vipd/vrrp"
)

// lintUnused warns of objects that nothing tracks, which keepalived drops.
func (c *completer) lintUnused() {
	if c.diags.HasErrors() {
		return // what cannot be read may track it
	}
	for _, g := range c.groups {
		for i := range g.tracks {
			c.object(&g.tracks[i], false)
		}
	}
	for _, o := range c.objects {
		if !o.used && !o.node.bad {
			c.warn(o.node.valuePos(), o.node, faultf("nothing tracks it: it has no effect"))
		}
	}
}

// signalNothing recognises the shell's way to ask whether a process is there.
var signalNothing = regexp.MustCompile(`\b(killall|pkill|kill)5?\s+(-0|-s\s*0|--signal[ =]0)(\s|$)`)

// lintCommand warns of a command that very probably does not do what it seems
// to.
func (c *completer) lintCommand(r *rawCommand, cmd *Command) {
	if w := shellWord(r.plain); w != "" {
		c.warn(r.pos, r.node, &fault{fmt.Sprintf("%s means something to a shell, but no shell runs this command", w), "use /bin/sh -c '…'"})
		return
	}
	if cmd.User != "root" && cmd.User != "0" && signalNothing.MatchString(strings.Join(cmd.Argv, " ")) {
		c.warn(r.pos, r.node, &fault{fmt.Sprintf("%s may not signal processes of other users, and then this fails although they run", cmd.User), "use vrrp_track_process, or user root"})
	}
	if len(r.plain) == 1 && strings.ContainsAny(cmd.Argv[0], " \t") && filepath.IsAbs(cmd.Argv[0]) {
		c.warn(r.pos, r.node, &fault{"the name of the program has blanks in it", "quotes within the command make one word: leave them out"})
	}
}

// commLen is how many octets the kernel keeps of the name of a process.
const commLen = 15

// lintProcessName warns of a name that the kernel does not keep as it is.
func (c *completer) lintProcessName(r *rawCommand) {
	name := r.argv[0]
	switch {
	case strings.Contains(name, "/"):
		c.warn(r.pos, r.node, &fault{"the name that the kernel keeps of a process has no directory: no process is found", "use " + quote(filepath.Base(name)) + ", or full_command"})
	case len(name) > commLen:
		c.warn(r.pos, r.node, &fault{fmt.Sprintf("the kernel keeps only %d octets of the name of a process: any %s… counts", commLen, name[:commLen]), "use full_command"})
	}
}

// lintHTTP warns of keywords that have no effect with the URL.
func (c *completer) lintHTTP(o *rawObject, h *HTTPCheck) {
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme == "https" || !o.url.set {
		return
	}
	for _, key := range []string{"tls_verify", "ca_file"} {
		if n := o.seen[key]; n != nil && !n.bad {
			c.warn(n.pos, n, faultf("%s has no effect: the URL does not begin with https://", key))
		}
	}
}

// lintWeights warns of weights that cannot have the effect that they are there
// for, as far as one router's configuration tells.
func (c *completer) lintWeights(in *rawInstance, out *Instance) {
	if out.Priority == vrrp.PriorityOwner {
		return // said, for each of them
	}
	var first *Track
	all := int(out.Priority) // with everything up
	numbers := false
	for i := range out.Tracks {
		t := &out.Tracks[i]
		if t.Weight == 0 {
			continue
		}
		if first == nil && t.Group == "" {
			first = t
		}
		if t.Kind == TrackFile {
			numbers = true
			continue
		}
		up, _ := t.contributions()
		all += up
	}
	if first != nil && !out.Preempt {
		c.warn(first.Pos, c.line(first, in), &fault{
			fmt.Sprintf("weight %d with nopreempt: a backup that has nopreempt does not take over from a master whose priority has merely become lower", first.Weight),
			"with weight 0 a failure is a fault, and then it does"})
	}
	if numbers {
		return // what a file holds, nobody knows
	}
	for _, t := range out.Tracks {
		if t.Weight == 0 {
			continue
		}
		up, down := t.contributions()
		if with, without := clamp(all), clamp(all-up+down); with == without {
			what := "its failure"
			if t.Reverse {
				what = "its success"
			}
			c.warn(t.Pos, c.line(&t, in), &fault{
				fmt.Sprintf("weight %d of %s changes nothing: with all else up, the effective priority is %d before and after %s", t.Weight, t.Name, with, what),
				fmt.Sprintf("priority and weights together stay within 1 to 254, and here they add up to %d and %d", all, all-up+down)})
		}
	}
}

// line returns the line of a tracked object of the instance; of its group's, the
// instance, since it is about that.
func (c *completer) line(t *Track, in *rawInstance) *node {
	if n := c.lines[t.Pos]; n != nil && t.Group == "" {
		return n
	}
	return in.node
}

// contributions returns what an object that is up or down adds to the priority.
func (t *Track) contributions() (up, down int) {
	w := t.Weight
	if t.Reverse {
		w = -w
	}
	if t.Weight > 0 {
		return w, 0
	}
	return 0, w
}

// clamp bounds an effective priority.
func clamp(p int) int { return min(max(p, 1), 254) }
