package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"vipd/cmd/internal/vlanlab/fabric"
	"vipd/cmd/internal/vlanlab/machine"
	"vipd/cmd/internal/vlanlab/ping"
)

const (
	// probeInterval is how exactly it is known who has an address.
	probeInterval = 20 * time.Millisecond
	// pingInterval is how often the client pings each address.
	pingInterval = 10 * time.Millisecond
)

// A stand is two routers and a client on a switch.
type stand struct {
	img     machine.Image
	deb     []byte
	dir     string
	sw      *fabric.Switch
	routers [2]*router
	client  *host
	plan    plan
	prober  *fabric.Prober
	capture *fabric.Capture
	log     io.Writer
}

// newStand makes the machines and waits until they are up and connected.
func newStand(ctx context.Context, img machine.Image, deb []byte, dir string, log io.Writer) (*stand, error) {
	s := &stand{img: img, deb: deb, dir: dir, sw: fabric.New(dir), log: log}
	if err := s.build(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stand) build(ctx context.Context) error {
	began := time.Now()
	var ports []*fabric.Port
	for _, name := range append(slices.Clone(routerNames[:]), clientName) {
		p, err := s.sw.Port(name)
		if err != nil {
			return err
		}
		ports = append(ports, p)
	}
	for i := range s.routers {
		h, err := newHost(s.img, ports[i], filepath.Join(s.dir, ports[i].Name))
		if err != nil {
			return err
		}
		s.routers[i] = &router{host: h, number: i}
	}
	var err error
	if s.client, err = newHost(s.img, ports[len(s.routers)], filepath.Join(s.dir, clientName)); err != nil {
		return err
	}
	if err := s.each(func(h *host) error {
		if err := h.PowerOn(ctx); err != nil {
			return err
		}
		if err := h.up(ctx); err != nil {
			return err
		}
		return h.network(ctx)
	}); err != nil {
		return err
	}
	fmt.Fprintf(s.log, "three machines are up after %.0f s\n", time.Since(began).Seconds())
	return nil
}

// each does something on all machines at once.
func (s *stand) each(f func(*host) error) error {
	hosts := []*host{s.routers[faulted].host, s.routers[peer].host, s.client}
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = f(h) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// both does something on both routers at once.
func (s *stand) both(f func(*router) error) error {
	var errs [2]error
	var wg sync.WaitGroup
	for i, r := range s.routers {
		wg.Go(func() { errs[i] = f(r) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// close ends everything.
func (s *stand) close() error {
	errs := []error{s.sw.Close()}
	for _, h := range []*host{hostOf(s.routers[faulted]), hostOf(s.routers[peer]), s.client} {
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}

func hostOf(r *router) *host {
	if r == nil {
		return nil
	}
	return r.host
}

// patience is how long a router may take to become master when nothing is in its
// way.
func (s *stand) patience() time.Duration { return 2*s.plan.masterDown() + 20*time.Second }

// prepare has the pair run the plan of a job, everything at home and the client
// content. What runs already goes on.
func (s *stand) prepare(ctx context.Context, j job) error {
	for _, r := range s.routers {
		r.port.Heal()
	}
	p, old := j.plan(), s.plan
	running := old.equal(p)
	want := [2]kind{j.faulted, j.peer}
	for i, k := range want {
		running = running && s.routers[i].kind == k && s.routers[i].text == p.text(k, i)
	}
	s.plan = p
	running = running && !j.bare
	s.prober = s.sw.Probe([]*fabric.Port{s.routers[faulted].port, s.routers[peer].port}, s.client.port, p.targets(), probeInterval)
	s.capture = s.sw.Capture()
	if running {
		// What the fault before has left behind may need another start.
		if ok, err := s.owners(ctx, 3*time.Second, p.home()...); ok || err != nil {
			return errors.Join(err, s.settle(ctx))
		}
	}
	if err := s.both(func(r *router) error {
		if err := r.unset(ctx, old, want[r.number]); err != nil {
			return err
		}
		if j.bare {
			return r.purge(ctx)
		}
		if !r.has && (j.faulted == vipd || j.peer == vipd) {
			if err := r.install(ctx, s.deb); err != nil {
				return err
			}
		}
		return s.fit(ctx, r)
	}); err != nil {
		return err
	}
	if j.bare {
		return nil
	}
	set := func(r *router) error { return r.set(ctx, want[r.number], p.text(want[r.number], r.number)) }
	if p.nopreempt { // who is there first stays master
		if err := set(s.routers[faulted]); err != nil {
			return err
		}
		if ok, err := s.owners(ctx, s.patience(), p.home()...); !ok || err != nil {
			return errors.Join(err, fmt.Errorf("%s has not become master: %s", routerNames[faulted], s.state(ctx)))
		}
	}
	if err := s.both(set); err != nil {
		return err
	}
	ok, err := s.owners(ctx, s.patience(), p.home()...)
	if err == nil && !ok {
		err = fmt.Errorf("the addresses are not where they belong: %s", s.state(ctx))
	}
	return errors.Join(err, s.settle(ctx))
}

// fit makes a router fit to be master, beside its interfaces.
func (s *stand) fit(ctx context.Context, r *router) error {
	if s.plan.script {
		if _, err := r.sh(ctx, "touch %s", healthFile); err != nil {
			return err
		}
	}
	if s.plan.process {
		if err := s.serve(ctx, r); err != nil {
			return err
		}
	}
	if s.plan.furnished {
		return s.furnish(ctx, r)
	}
	return nil
}

// serve has the process run that is tracked.
func (s *stand) serve(ctx context.Context, r *router) error {
	_, err := r.sh(ctx, "pgrep -x %[1]s || { cp /bin/sleep %[2]s && systemd-run --quiet --collect --unit %[1]s %[2]s infinity; }", serviceName, serviceFile)
	return err
}

// owners waits until exactly these answer for the addresses.
func (s *stand) owners(ctx context.Context, limit time.Duration, want ...fabric.Set) (bool, error) {
	return until(ctx, limit, func() (bool, error) { return slices.Equal(s.prober.Now(), want), nil })
}

// settle waits until the client has answers, and for a random part of an interval:
// the fault shall come at any moment between two advertisements.
func (s *stand) settle(ctx context.Context) error {
	var words []string
	for _, i := range s.plan.instances {
		words = append(words, fmt.Sprintf("ping -q -n -c 2 -i 0.2 -W 2 %v", i.vip.Addr()))
	}
	ok, err := until(ctx, bootTimeout, func() (bool, error) { return s.client.test(ctx, "%s", strings.Join(words, " && ")) })
	if err == nil && !ok {
		err = fmt.Errorf("the client has no answers: %s", s.state(ctx))
	}
	return errors.Join(err, wait(ctx, time.Second+rand.N(s.plan.interval)))
}

// state says who answers, and what the daemons say.
func (s *stand) state(ctx context.Context) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n", s.prober.Now())
	for _, r := range s.routers {
		text, err := r.sh(ctx, "ip -o address; systemctl --no-pager status vipd keepalived; journalctl -b --no-pager -o short-precise -u vipd -u keepalived | tail -n 30")
		fmt.Fprintf(&b, "%s: %v\n%s\n", r.name, err, text)
	}
	return b.String()
}

// A pinging is the client at work.
type pinging struct {
	job  *machine.Job
	skew time.Duration // how much the client's clock is ahead of the host's
}

// ping has the client begin to ping.
func (s *stand) ping(ctx context.Context) (*pinging, error) {
	skew, err := s.client.skew(ctx)
	if err != nil {
		return nil, err
	}
	words := []string{"exec", machine.AgentPath, "ping", "--interval", pingInterval.String()}
	for _, i := range s.plan.instances {
		words = append(words, i.vip.Addr().String())
	}
	job, err := s.client.Start(ctx, strings.Join(words, " "))
	return &pinging{job, skew}, err
}

// stop ends the pings and returns what came of them, with times of the host.
func (p *pinging) stop(ctx context.Context) (report ping.Report, err error) {
	if err := p.job.Signal(ctx, syscall.SIGINT); err != nil {
		return report, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	r, err := p.job.Wait(ctx)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("the pings have failed: %s", r.Stderr)
	}
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		return report, fmt.Errorf("reading what the client says: %w", err)
	}
	report.Began = report.Began.Add(-p.skew)
	return report, nil
}

// skew returns how much a machine's clock is ahead of the host's.
func (h *host) skew(ctx context.Context) (time.Duration, error) {
	const tries = 3
	best, skew := time.Hour, time.Duration(0)
	for range tries {
		before := time.Now()
		text, err := h.sh(ctx, "date +%%s%%N")
		if err != nil {
			return 0, err
		}
		took := time.Since(before)
		ns, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: reading its clock: %w", h.name, err)
		}
		if took < best {
			best, skew = took, time.Unix(0, ns).Sub(before.Add(took/2))
		}
	}
	return skew, nil
}

// keep writes what is known of a round: what was logged and who answered when.
func (s *stand) keep(ctx context.Context, prefix string, r *round, report ping.Report) error {
	var errs []error
	write := func(name, text string) {
		errs = append(errs, os.WriteFile(prefix+"."+name, []byte(text), 0o644))
	}
	for _, one := range s.routers {
		skew, err := one.skew(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		since := "@" + strconv.FormatInt(r.began.Add(skew-5*time.Second).Unix(), 10)
		write(one.name+".journal", one.journal(ctx, since))
		text, err := one.sh(ctx, "date +%%T.%%N; ip address; ip -s link; ip neighbour; systemctl --no-pager status vipd keepalived || true")
		errs = append(errs, err)
		write(one.name+".state", text)
		write(one.name+".console", one.Console())
	}
	write("owners", "began "+r.began.Format("15:04:05.000")+"\n"+s.prober.Changes(r.began))
	text, err := json.MarshalIndent(report, "", " ")
	errs = append(errs, err)
	write("client", string(text))
	return errors.Join(append(errs, s.save(prefix+".pcap"))...)
}

// save writes what has passed the switch to a file.
func (s *stand) save(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = s.capture.WriteTo(f)
	return errors.Join(err, f.Close())
}
