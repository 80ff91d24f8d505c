package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vipd/cmd/internal/control"
	"vipd/cmd/internal/view"
)

const (
	// failoverAsk is how often the daemon is asked whether another router has
	// taken over.
	failoverAsk = 50 * time.Millisecond
	// failoverSlack is added to the time within which that is known.
	failoverSlack = 3 * time.Second
)

func failoverCommand() *cobra.Command {
	var f failover
	cmd := &cobra.Command{
		Use:   "failover [NAME...]",
		Short: "Hand mastership over to another router, or end that",
		Long: `Hand mastership of the instances and sync groups of the given names over to
another router, and wait until it has taken over. An instance in a sync group
stands for the whole of it.

The addresses are answered for until the other router has announced them. If no
other router takes over, which is known after an advertisement interval at most,
this one goes on as master as if nothing had happened. Once another one is master
this one leaves mastership to others, whatever the priorities are, until it has
been master again or until --end: then the priorities decide again. An instance
that is backup already leaves mastership to others from then on, too.

None of this outlives vipd: after a restart of it, or of the host, the priorities
decide. For maintenance with reboots stop and disable vipd instead; a planned stop
hands over in the same way.

Exit codes: 0 another router is master, whoever was before (with --end: it is
ended), 1 nobody took over, or it cannot be handed over, 2 wrong usage, 3 no
permission (only root and vipd's own user may), 4 no vipd answers.`,
		Example: `  vipd failover VI_1        another router becomes master of VI_1
  vipd failover --all       … of everything, for maintenance without a restart
  vipd failover --end --all the priorities decide again`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error { return f.run(cmd, names) },
		ValidArgsFunction: func(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			return f.complete(cmd.Context(), given), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "all instances that are master or backup; with --end all that are left to others")
	cmd.Flags().BoolVar(&f.end, "end", false, "let the priorities decide again")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	cmd.Flags().StringVar(&f.runDir, "run-dir", defaultRunDir, "`DIR` the daemon was started with")
	return cmd
}

// A failover is the command line of `vipd failover`.
type failover struct {
	runDir           string
	all, end, asJSON bool
}

// A handedOver is what became of one instance.
type handedOver struct {
	Name  string        `json:"name"`
	Done  bool          `json:"done"`
	State control.State `json:"state"`
	// Master is who is master now, as far as this node knows.
	Master *control.Master `json:"master"`
	Text   string          `json:"text"`
}

func (f *failover) run(cmd *cobra.Command, names []string) error {
	if f.all && len(names) > 0 {
		return &exitError{exitUsage, errors.New("either names or --all, not both")}
	}
	ctx := cmd.Context()
	client := control.NewClient(f.runDir)
	defer client.Close()
	before, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if f.all {
		names = f.candidates(&before)
	} else if len(names) == 0 {
		return &exitError{exitUsage, f.nameOne(&before)}
	}
	chosen, err := before.Resolve(names)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if len(chosen) == 0 {
		return f.nothing(cmd)
	}
	begun, err := client.Failover(ctx, chosen, f.end)
	if err != nil {
		return err
	}
	results, err := f.wait(ctx, client, &before, begun)
	if err != nil {
		return err
	}
	if f.asJSON {
		if err := writeJSON(cmd.OutOrStdout(), map[string]any{"results": results}); err != nil {
			return err
		}
	} else {
		f.show(cmd, results)
	}
	if slices.ContainsFunc(results, func(r handedOver) bool { return !r.Done }) {
		return &exitError{code: exitNo}
	}
	return nil
}

// candidates are the instances that --all stands for: a backup has nothing to
// hand over, but must not take over while the node is to be empty.
func (f *failover) candidates(s *control.Status) []string {
	return namesOf(s, func(in *control.Instance) bool {
		if f.end {
			return in.Yielded
		}
		return in.State == control.StateMaster || in.State == control.StateBackup
	})
}

// namesOf returns the names of the chosen instances.
func namesOf(s *control.Status, chosen func(*control.Instance) bool) []string {
	var out []string
	for i := range s.Instances {
		if in := &s.Instances[i]; chosen(in) {
			out = append(out, in.Name)
		}
	}
	return out
}

// nameOne says what could have been named.
func (f *failover) nameOne(s *control.Status) error {
	list := namesOf(s, func(in *control.Instance) bool { return in.State == control.StateMaster })
	is, none := "this node is master of ", "this node is master of nothing"
	if f.end {
		list = f.candidates(s)
		is, none = "left to others are ", "nothing is left to others"
	}
	if len(list) == 0 {
		return errors.New("name instances or sync groups, or say --all: " + none)
	}
	return errors.New("name instances or sync groups, or say --all: " + is + strings.Join(list, ", "))
}

// nothing says that there is nothing to do for --all.
func (f *failover) nothing(cmd *cobra.Command) error {
	text := "this node is master of nothing"
	if f.end {
		text = "nothing is left to others"
	}
	if f.asJSON {
		return writeJSON(cmd.OutOrStdout(), map[string]any{"results": []handedOver{}})
	}
	fmt.Fprintln(cmd.OutOrStdout(), text)
	return nil
}

// wait asks the daemon until it is known what became of every instance.
func (f *failover) wait(ctx context.Context, client *control.Client, before *control.Status, begun []control.FailoverResult) ([]handedOver, error) {
	var longest time.Duration
	old := make(map[string]*control.Instance, len(before.Instances))
	for i := range before.Instances {
		in := &before.Instances[i]
		old[in.Name] = in
		if slices.ContainsFunc(begun, func(r control.FailoverResult) bool { return r.Name == in.Name }) {
			longest = max(longest, in.AdvertInterval.Duration(), time.Second)
		}
	}
	// Without a hand-over another router waits for as long as if this one had
	// died, and if there is none, so does this one.
	deadline := time.Now().Add(4*longest + failoverSlack)
	for {
		s, err := client.Status(ctx)
		if err != nil {
			return nil, err
		}
		now := make(map[string]*control.Instance, len(s.Instances))
		for i := range s.Instances {
			now[s.Instances[i].Name] = &s.Instances[i]
		}
		results, settled := make([]handedOver, len(begun)), true
		for i, r := range begun {
			var known bool
			results[i], known = f.judge(r, old[r.Name], now[r.Name])
			settled = settled && known
		}
		if settled || time.Now().After(deadline) {
			return results, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(failoverAsk):
		}
	}
}

// judge says what became of an instance, and whether that is the last word. It is
// not in the present status, and in is nil, if a reload took it away.
func (f *failover) judge(begun control.FailoverResult, old, in *control.Instance) (result handedOver, known bool) {
	r := handedOver{Name: begun.Name}
	if in != nil {
		r.State, r.Master = in.State, in.Master
	}
	wasMaster := old != nil && old.State == control.StateMaster
	switch {
	case f.end || !begun.Done:
		r.Done, r.Text = begun.Done, begun.Text
		return r, true
	case in == nil:
		r.Text = "a reload has removed or renamed it meanwhile; see the log"
		return r, true
	case in.State == control.StateMaster && in.HandingOver:
		r.Text = "no other router has taken over yet"
		return r, false
	case in.State == control.StateMaster && wasMaster:
		r.Text = "nobody took over: this node goes on as master"
		return r, true
	case in.State == control.StateMaster:
		r.Text = "nobody else is master: this node had to take over"
		return r, true
	case in.State != control.StateBackup:
		r.Text = "nobody is known to have taken over, and this node is in state " + string(in.State)
		return r, true
	}
	other := masterText(in)
	switch {
	case other != "" && wasMaster:
		r.Done, r.Text = true, other+" is master now"
	case other != "":
		r.Done, r.Text = true, "this node was not master: "+other+" is"
		if in.Yielded {
			r.Text += "; it leaves mastership to others from now on"
		}
	case wasMaster:
		r.Text = "this node is not master any more, and has not heard another one yet"
	default:
		r.Text = "this node was not master, and has not heard another one yet"
	}
	return r, r.Done
}

// masterText names the master if it is another router.
func masterText(in *control.Instance) string {
	m := in.Master
	if m == nil || m.Self || !m.Address.IsValid() {
		if in.Held != nil {
			return fmt.Sprintf("%s (whose configuration differs)", in.Held.Peer)
		}
		return ""
	}
	return fmt.Sprintf("%s (priority %d)", m.Address, m.Priority)
}

// show prints what became of each instance, and how to go back.
func (f *failover) show(cmd *cobra.Command, results []handedOver) {
	out := cmd.OutOrStdout()
	var done []string
	for _, r := range results {
		fmt.Fprintf(out, "%s: %s\n", r.Name, r.Text)
		if r.Done {
			done = append(done, r.Name)
		}
	}
	if f.end || len(done) == 0 {
		return
	}
	if f.all {
		done = []string{"--all"}
	}
	again := "vipd failover --end " + view.ShellWords(done)
	if f.runDir != defaultRunDir {
		again += " --run-dir " + view.ShellWords([]string{f.runDir})
	}
	fmt.Fprintf(out, "(left to others until this node has to be master again; `%s` lets the priorities decide)\n", again)
}

// complete are the names that could follow those given.
func (f *failover) complete(ctx context.Context, given []string) []string {
	client := control.NewClient(f.runDir)
	defer client.Close()
	s, err := client.Status(ctx)
	if err != nil {
		return nil // nothing is suggested
	}
	out := f.candidates(&s)
	for _, g := range s.SyncGroups {
		if slices.ContainsFunc(g.Members, func(m string) bool { return slices.Contains(out, m) }) {
			out = append(out, g.Name)
		}
	}
	return slices.DeleteFunc(out, func(n string) bool { return slices.Contains(given, n) })
}
