package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vipd/config"
)

// checkCapabilities returns an error that names the capabilities this process
// lacks and needs.
func checkCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("daemon: reading capabilities: %w", os.NewSyscallError("capget", err))
	}
	var missing []string
	for _, c := range []struct {
		bit  uint
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &CapabilityError{Missing: missing}
}

// A CapabilityError names the capabilities that are missing.
type CapabilityError struct{ Missing []string }

// Error says what is missing and how to get it.
func (e *CapabilityError) Error() string {
	list := strings.Join(e.Missing, " and ")
	return fmt.Sprintf("missing %s: run vipd as root, or give it to the service (systemd: AmbientCapabilities=%s; container: --cap-add)",
		list, strings.Join(e.Missing, " "))
}

// schedule applies vrrp_priority and vrrp_rt_priority to all threads of the
// process. Threads that the runtime starts later inherit from those. It is not
// fatal to be refused: adverts may then be late on a busy machine, and the log
// says so.
func schedule(log *slog.Logger, g config.Global) {
	if g.Nice == 0 && g.RTPriority == 0 {
		return
	}
	done := make(map[string]bool)
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			log.Warn("cannot set the scheduling priority", "error", err)
			return
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			// One that was not done yet may have started another one meanwhile.
			done[t.Name()], again = true, true
			err = scheduleThread(tid, g)
			if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended meanwhile
				log.Warn("cannot set the scheduling priority: vrrp_rt_priority and a negative vrrp_priority need CAP_SYS_NICE, or the limits of it (systemd: LimitRTPRIO=, LimitNICE=)", "error", err)
				return
			}
		}
	}
}

// scheduleThread applies vrrp_priority and vrrp_rt_priority to one thread.
func scheduleThread(tid int, g config.Global) error {
	var err error
	if g.Nice != 0 {
		err = os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, tid, g.Nice))
	}
	if g.RTPriority > 0 {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(g.RTPriority)}
		err = errors.Join(err, os.NewSyscallError("sched_setattr", unix.SchedSetAttr(tid, &attr, 0)))
	}
	return err
}
