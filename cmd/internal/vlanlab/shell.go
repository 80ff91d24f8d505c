package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"vipd/cmd/internal/vlanlab/fabric"
)

// usage is what the shell knows.
const usage = `r1 COMMAND, r2 COMMAND, client COMMAND   run a command in a machine (a shell's)
pair vipd-vipd                           have two daemons run; any of the pairs of --list
owners                                   who answers for the addresses
link r1 off|on                           the carrier of a machine
port r1 off|on                           its port of the switch; the carrier stays
cut r1 VLAN                              the port loses one VLAN; port r1 on heals it
power r1 off|on                          the power of a machine
reboot r1, panic r1, pause r1, resume r1
console r1                               the end of what its kernel has said
capture FILE                             write what has passed the switch since the last pair
help, exit`

// shell boots the machines and does what is said line by line.
func (l *lab) shell(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	s := l.stand
	if err := s.both(func(r *router) error { return r.install(ctx, l.deb) }); err != nil {
		return err
	}
	fmt.Fprintln(out, usage)
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok || strings.TrimSpace(line) == "exit" {
				return nil
			}
			if err := s.line(ctx, line, out); err != nil {
				fmt.Fprintln(out, err)
			}
			fmt.Fprintln(out, "ok") // for programs that wait for the end of an answer
		case <-ctx.Done():
			return nil
		}
	}
}

// host returns the machine of a name.
func (s *stand) host(name string) (*host, bool) {
	switch name {
	case routerNames[faulted]:
		return s.routers[faulted].host, true
	case routerNames[peer]:
		return s.routers[peer].host, true
	case clientName:
		return s.client, true
	}
	return nil, false
}

// line does what one line says.
func (s *stand) line(ctx context.Context, line string, out io.Writer) error {
	verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	if h, ok := s.host(verb); ok {
		r, err := h.Run(ctx, rest)
		fmt.Fprint(out, r.Stdout, r.Stderr)
		if err == nil && r.Code != 0 {
			fmt.Fprintf(out, "exit code %d\n", r.Code)
		}
		return err
	}
	words := strings.Fields(rest)
	switch {
	case verb == "":
		return nil
	case verb == "help":
		fmt.Fprintln(out, usage)
		return nil
	case verb == "owners":
		if s.prober == nil {
			return errors.New("no daemon runs yet: say pair")
		}
		fmt.Fprint(out, s.prober.Changes(time.Now()))
		return nil
	case verb == "pair" && len(words) == 1:
		for _, p := range pairs {
			if p.String() == words[0] {
				return s.prepare(ctx, job{pair: p})
			}
		}
		return fmt.Errorf("no pair %s", words[0])
	case verb == "capture" && len(words) == 1:
		if s.capture == nil {
			return errors.New("no daemon runs yet: say pair")
		}
		return s.save(words[0])
	}
	if len(words) == 0 {
		return fmt.Errorf("%s: which machine? help lists what there is", verb)
	}
	h, ok := s.host(words[0])
	if !ok {
		return fmt.Errorf("no machine %s", words[0])
	}
	return h.do(ctx, strings.Join(append([]string{verb}, words[1:]...), " "), out)
}

// do does something to a machine from outside.
func (h *host) do(ctx context.Context, what string, out io.Writer) error {
	switch what {
	case "link off":
		return h.SetLink(ctx, false)
	case "link on":
		return h.SetLink(ctx, true)
	case "port off":
		h.port.SetDead(true)
		return nil
	case "port on":
		h.port.Heal()
		return nil
	case "power off":
		return h.PowerCut()
	case "power on":
		return errors.Join(h.PowerOn(ctx), h.up(ctx))
	case "reboot":
		return errors.Join(h.Reboot(ctx), h.up(ctx))
	case "panic":
		return errors.Join(h.Panic(ctx), h.up(ctx))
	case "pause":
		return h.Pause(ctx)
	case "resume":
		return h.Resume(ctx)
	case "console":
		fmt.Fprintln(out, h.Console())
		return nil
	}
	if vlan, err := strconv.ParseUint(strings.TrimPrefix(what, "cut "), 10, 12); err == nil {
		h.port.Cut(uint16(vlan), fabric.Both)
		return nil
	}
	return fmt.Errorf("%s: help lists what there is", what)
}
