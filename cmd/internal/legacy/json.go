package legacy

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteJSON writes the JSON: version 1 is a list of instances, version 2 an
// object with that list in it and the tracked processes.
//
// It is written by hand, as the order of the fields, the notation of numbers and
// the escaped slashes are keepalived's. Unlike keepalived's it is valid JSON
// whatever is in a name.
func WriteJSON(w io.Writer, d *Document, version int) error {
	j := &writer{}
	if version == 2 {
		j.open("{")
		j.key("vrrp")
	}
	j.open("[")
	for i := range d.Instances {
		j.instance(&d.Instances[i])
	}
	j.close("]")
	if version == 2 {
		if len(d.Processes) > 0 {
			j.key("track_process")
			j.open("[")
			for i := range d.Processes {
				j.process(&d.Processes[i])
			}
			j.close("]")
		}
		j.close("}")
	}
	j.b.WriteByte('\n')
	_, err := io.WriteString(w, j.b.String())
	return err
}

// A writer writes JSON on one line.
type writer struct {
	b    strings.Builder
	next bool // a comma is due before the next value
}

// value makes room for a value.
func (j *writer) value() {
	if j.next {
		j.b.WriteByte(',')
	}
	j.next = true
}

func (j *writer) open(bracket string) {
	j.value()
	j.b.WriteString(bracket)
	j.next = false
}

func (j *writer) close(bracket string) {
	j.b.WriteString(bracket)
	j.next = true
}

func (j *writer) key(name string) {
	j.text(name)
	j.b.WriteByte(':')
	j.next = false
}

// text writes a string.
func (j *writer) text(s string) {
	j.value()
	j.b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\', '/':
			j.b.WriteByte('\\')
			j.b.WriteRune(r)
		case '\t':
			j.b.WriteString(`\t`)
		case '\n':
			j.b.WriteString(`\n`)
		case '\r':
			j.b.WriteString(`\r`)
		case '\f':
			j.b.WriteString(`\f`)
		case '\b':
			j.b.WriteString(`\b`)
		default:
			if r < ' ' {
				fmt.Fprintf(&j.b, `\u%04x`, r)
				continue
			}
			if r == utf8.RuneError { // also for octets that are not UTF-8
				r = '?'
			}
			j.b.WriteRune(r)
		}
	}
	j.b.WriteByte('"')
}

// literal writes a field whose value needs no quotes.
func (j *writer) literal(name, value string) {
	j.key(name)
	j.value()
	j.b.WriteString(value)
}

func (j *writer) str(name, value string) {
	j.key(name)
	j.text(value)
}

func (j *writer) num(name string, n int64) { j.literal(name, strconv.FormatInt(n, 10)) }

func (j *writer) count(name string, n uint64) { j.literal(name, strconv.FormatUint(n, 10)) }

func (j *writer) yes(name string, b bool) { j.literal(name, strconv.FormatBool(b)) }

// flag writes a boolean that is a number.
func (j *writer) flag(name string, b bool) { j.num(name, either[int64](b, 1, 0)) }

// float writes seconds with six significant digits.
func (j *writer) float(name string, d time.Duration) {
	j.literal(name, strconv.FormatFloat(d.Seconds(), 'g', 6, 64))
}

// list writes a field that is absent when the list is empty.
func list[T any](j *writer, name string, values []T, text func(*T) string) {
	if len(values) == 0 {
		return
	}
	j.key(name)
	j.open("[")
	for i := range values {
		j.text(text(&values[i]))
	}
	j.close("]")
}

func (j *writer) command(name string, c *Command) {
	if c != nil {
		j.str(name, c.String())
	}
}

func (j *writer) instance(i *Instance) {
	j.open("{")
	j.key("data")
	j.open("{")
	j.str("iname", i.Name)
	j.flag("dont_track_primary", i.DontTrackPrimary)
	j.flag("skip_check_adv_addr", i.SkipCheckAdvAddr)
	j.flag("strict_mode", i.Strict)
	j.str("vmac_ifname", i.VMAC)
	if i.Interface != "" {
		j.str("ifp_ifname", either(i.VMAC != "", i.VMAC, i.Interface))
	}
	j.num("master_priority", int64(i.MasterPriority))
	j.literal("last_transition", epoch(i.LastTransition))
	j.float("garp_delay", i.GARP.Delay)
	j.num("garp_refresh", seconds(i.GARP.Refresh))
	j.num("garp_rep", int64(i.GARP.Repeat))
	j.num("garp_refresh_rep", int64(i.GARP.RefreshRepeat))
	j.num("garp_lower_prio_delay", seconds(i.GARP.LowerPrioDelay))
	j.num("garp_lower_prio_rep", int64(i.GARP.LowerPrioRepeat))
	j.flag("lower_prio_no_advert", i.LowerPrioNoAdvert)
	j.flag("higher_prio_send_advert", i.HigherPrioSendAdvert)
	j.num("vrid", int64(i.VRID))
	j.num("base_priority", int64(i.Priority))
	j.num("effective_priority", int64(i.EffectivePriority))
	j.yes("vipset", i.vipSet())
	j.yes("promote_secondaries", i.PromoteSecondaries)
	j.float("adver_int", i.AdvertInterval)
	j.float("master_adver_int", either(i.MasterInterval != 0, i.MasterInterval, i.AdvertInterval))
	j.flag("accept", !i.NoAccept)
	j.yes("nopreempt", i.NoPreempt)
	j.num("preempt_delay", seconds(i.PreemptDelay))
	j.num("state", int64(i.State))
	j.num("wantstate", int64(i.Want))
	j.num("version", int64(i.Version))
	j.yes("smtp_alert", i.SMTPAlert)
	j.yes("notify_deleted", i.NotifyDeleted)

	j.command("script_backup", i.Notify.Backup)
	j.command("script_master", i.Notify.Master)
	j.command("script_fault", i.Notify.Fault)
	j.command("script_stop", i.Notify.Stop)
	j.command("script_deleted", i.Notify.Deleted)
	j.command("script", i.Notify.Any)
	j.command("script_master_rx_lower_pri", i.Notify.MasterRxLowerPri)

	list(j, "vips", i.Addresses, (*Address).String)
	list(j, "evips", i.Excluded, (*Address).String)
	list(j, "track_ifp", i.TrackInterfaces, func(r *Reference) string { return r.Name })
	list(j, "track_script", i.TrackScripts, func(s *TrackedScript) string { return quoted(s.Argv) })
	list(j, "track_process", i.TrackProcesses, func(r *Reference) string { return r.Name })
	j.num("auth_type", int64(i.Auth))
	if i.Auth != AuthNone {
		j.str("auth_data", mask)
	}
	j.close("}")

	s := i.Statistics
	j.key("stats")
	j.open("{")
	j.count("advert_rcvd", s.Received)
	j.count("advert_sent", s.Sent)
	j.count("become_master", s.BecomeMaster)
	j.count("release_master", s.ReleaseMaster)
	j.count("packet_len_err", s.PacketLength)
	j.count("advert_interval_err", s.AdvertInterval)
	j.count("ip_ttl_err", s.TTL)
	j.count("invalid_type_rcvd", s.InvalidType)
	j.count("addr_list_err", s.AddressList)
	j.count("invalid_authtype", s.InvalidAuthType)
	j.count("authtype_mismatch", s.AuthTypeMismatch)
	j.count("auth_failure", s.AuthFailure)
	j.count("pri_zero_rcvd", s.PriorityZeroReceived)
	j.count("pri_zero_sent", s.PriorityZeroSent)
	j.close("}")
	j.close("}")
}

// vipSet reports whether addresses are in place.
func (i *Instance) vipSet() bool {
	for _, as := range [][]Address{i.Addresses, i.Excluded} {
		for _, a := range as {
			if a.Set {
				return true
			}
		}
	}
	return false
}

func (j *writer) process(c *Process) {
	j.open("{")
	j.str("process", c.Name)
	if _, parameters := c.command(); parameters != "" {
		j.str("parameters", parameters)
	}
	j.str("param_match", c.Match.String())
	j.num("min_processes", int64(c.Quorum))
	if c.QuorumMax >= 0 {
		j.num("max_processes", int64(c.QuorumMax))
	}
	j.num("current_processes", int64(c.Current))
	j.yes("have_quorum", c.HaveQuorum)
	j.num("weight", int64(either(c.Reverse, -c.Weight, c.Weight)))
	j.float("terminate_delay", c.TerminateDelay)
	j.float("fork_delay", c.ForkDelay)
	j.yes("fork_delay_timer_running", c.ForkTimer)
	j.yes("terminate_delay_timer_running", c.TerminateTimer)
	j.yes("full_command", c.FullCommand)
	j.close("}")
}
