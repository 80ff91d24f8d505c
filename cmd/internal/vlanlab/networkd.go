package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"vipd/cmd/internal/control"
)

// networkd returns what a command for the network manager does.
func networkd(command string) func(context.Context, *stand, *round) error {
	return func(ctx context.Context, s *stand, r *round) error {
		before, err := s.states(ctx)
		if err != nil {
			return err
		}
		r.began = time.Now()
		if _, err := s.routers[faulted].sh(ctx, "%s", command); err != nil {
			return err
		}
		if err := wait(ctx, s.plan.masterDown()+2*time.Second); err != nil {
			return err
		}
		if err := s.returned(ctx, r); err != nil {
			return err
		}
		r.ended = time.Now()
		return s.unmoved(ctx, r, before)
	}
}

// A standing is the state of an instance of vipd, and since when.
type standing struct {
	router, instance string
	state            control.State
	since            time.Time
}

// states returns those of both routers, as far as they have vipd.
func (s *stand) states(ctx context.Context) (list []standing, err error) {
	for _, one := range s.routers {
		if one.kind != vipd {
			continue
		}
		status, err := one.status(ctx, "")
		if err != nil {
			return nil, err
		}
		for _, i := range status.Instances {
			list = append(list, standing{one.name, i.Name, i.State, i.Since})
		}
	}
	return list, nil
}

// unmoved looks whether every instance is in the state that it was in.
func (s *stand) unmoved(ctx context.Context, r *round, before []standing) error {
	after, err := s.states(ctx)
	if err != nil {
		return err
	}
	for _, wrong := range moved(before, after) {
		r.miss("%s", wrong)
	}
	return nil
}

// moved says which instances have changed their state.
func moved(before, after []standing) (list []string) {
	for _, was := range before {
		i := slices.IndexFunc(after, func(now standing) bool { return now.router == was.router && now.instance == was.instance })
		switch {
		case i < 0:
			list = append(list, fmt.Sprintf("%s has no %s any more", was.router, was.instance))
		case after[i].state != was.state || !after[i].since.Equal(was.since):
			list = append(list, fmt.Sprintf("%s has changed the state of %s: %s since %s, it was %s",
				was.router, was.instance, after[i].state, after[i].since.Format("15:04:05.000"), was.state))
		}
	}
	return list
}

// A remedy is what vipd check says is to be written so that systemd-networkd leaves
// the addresses of an interface alone.
type remedy struct{ device, file string }

// remedies are those in what vipd check says of a router.
func remedies(text string) (list []remedy) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "note: ")
		if !ok {
			continue
		}
		device, rest, _ := strings.Cut(rest, ": systemd-networkd removes virtual addresses ")
		_, rest, ok = strings.Cut(rest, "write the lines [Network] and KeepConfiguration=yes into ")
		file, _, ok2 := strings.Cut(rest, ", then networkctl reload")
		if ok && ok2 {
			list = append(list, remedy{device, file})
		}
	}
	return list
}

// networkdKeeps does what vipd check says to who has systemd-networkd, and restarts
// that.
func networkdKeeps(ctx context.Context, s *stand, r *round) error {
	one := s.routers[faulted]
	check := func() (string, error) { return one.sh(ctx, "vipd check --file %s 2>&1", vipd.file()) }
	text, err := check()
	if err != nil {
		return err
	}
	found := remedies(text)
	if len(found) != len(vlans) {
		r.miss("vipd check names %q, and not both interfaces", found)
	}
	for _, n := range found {
		if err := one.put(ctx, n.file, 0o644, "[Network]\nKeepConfiguration=yes\n"); err != nil {
			return err
		}
	}
	// The first time it takes the host's own addresses away.
	if _, err := one.sh(ctx, "networkctl reload"); err != nil {
		return err
	}
	if err := wait(ctx, s.plan.masterDown()); err != nil {
		return err
	}
	if err := s.returned(ctx, r); err != nil {
		return err
	}
	if text, err = check(); err != nil {
		return err
	}
	if _, note, left := strings.Cut(text, ": systemd-networkd "); left {
		r.miss("when it was done, vipd check says yet that systemd-networkd %s", strings.TrimSpace(note))
	}
	before, err := one.restored(ctx)
	if err != nil {
		return err
	}
	states, err := s.states(ctx)
	if err != nil {
		return err
	}
	r.began = time.Now()
	if _, err := one.sh(ctx, "systemctl restart systemd-networkd"); err != nil {
		return err
	}
	if err := wait(ctx, s.plan.masterDown()+aftermath); err != nil {
		return err
	}
	r.ended = time.Now()
	after, err := one.restored(ctx)
	if err != nil {
		return err
	}
	if after != before {
		r.miss("%d addresses were put back: something has removed them", after-before)
	}
	if err := s.unmoved(ctx, r, states); err != nil {
		return err
	}
	// As it was, for what comes next.
	var dirs []string
	for _, v := range vlans {
		dirs = append(dirs, networkDir+device(v)+".network.d")
	}
	if _, err := one.sh(ctx, "rm -rf %s && networkctl reload", strings.Join(dirs, " ")); err != nil {
		return err
	}
	if err := wait(ctx, s.plan.masterDown()); err != nil {
		return err
	}
	return s.returned(ctx, r)
}

// restored returns how many addresses vipd has put back since it was started.
func (r *router) restored(ctx context.Context) (n uint64, err error) {
	status, err := r.status(ctx, "")
	for _, i := range status.Instances {
		n += i.Counters.Restored
	}
	return n, err
}
