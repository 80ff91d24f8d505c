package plan

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"vipd/config"
)

// How a field of the configuration is compared.
const (
	// apart: not among the differences, because something else tells them.
	apart = "-"
	// inside: the fields of the struct are compared one by one.
	inside = "*"
)

// keywords says by which keyword each field of the configuration is set. A field
// that is not here is compared all the same, by its own name; a test sees to it
// that there is none.
var keywords = map[string]string{
	"Global.RouterID":              "router_id",
	"Global.RTPriority":            "vrrp_rt_priority",
	"Global.Nice":                  "vrrp_priority",
	"Global.StartupDelay":          "vrrp_startup_delay",
	"Global.GARPInterval":          "vrrp_garp_interval",
	"Global.GNAInterval":           "vrrp_gna_interval",
	"Global.LogUnknownVRIDs":       "log_unknown_vrids",
	"Global.ScriptSecurity":        "enable_script_security",
	"Global.NotifyTimeout":         "notify_timeout",
	"Global.NotifyFIFOs":           "notify_fifo",
	"Global.Mail":                  inside,
	"Global.StartupScript":         "startup_script",
	"Global.StartupScriptTimeout":  "startup_script_timeout",
	"Global.ShutdownScript":        "shutdown_script",
	"Global.ShutdownScriptTimeout": "shutdown_script_timeout",

	"Global.Dumps": inside,

	"Dumps.State":       "state_dump_file",
	"Dumps.Statistics":  "stats_dump_file",
	"Dumps.JSON":        "json_dump_file",
	"Dumps.JSONVersion": "json_version",

	"Mail.From":           "notification_email_from",
	"Mail.To":             "notification_email",
	"Mail.Server":         "smtp_server",
	"Mail.Port":           "smtp_server port",
	"Mail.Helo":           "smtp_helo_name",
	"Mail.ConnectTimeout": "smtp_connect_timeout",
	"Mail.NoFaults":       "no_email_faults",

	"Instance.Name":                  apart, // it is renamed
	"Instance.Interface":             "interface",
	"Instance.VRID":                  "virtual_router_id",
	"Instance.Version":               "version",
	"Instance.Family":                "family",
	"Instance.StartMaster":           "state",
	"Instance.Priority":              "priority",
	"Instance.AdvertInterval":        "advert_int",
	"Instance.Addresses":             "virtual_ipaddress",
	"Instance.Excluded":              "virtual_ipaddress_excluded",
	"Instance.AuthType":              "auth_type",
	"Instance.AuthData":              "auth_pass",
	"Instance.Peers":                 "unicast_peer",
	"Instance.SourceIP":              "mcast_src_ip", // or unicast_src_ip
	"Instance.Group":                 "mcast_dst_ip",
	"Instance.TTL":                   "unicast_ttl",
	"Instance.CheckUnicastSource":    "check_unicast_src",
	"Instance.Checksum":              "v3_checksum_as_v2",
	"Instance.Preempt":               "preempt",
	"Instance.PreemptDelay":          "preempt_delay",
	"Instance.StartupDelay":          apart, // it is the global one
	"Instance.DownTimerAdverts":      "down_timer_adverts",
	"Instance.GARP":                  inside,
	"Instance.LowerPrioNoAdvert":     "lower_prio_no_advert",
	"Instance.HigherPrioSendAdvert":  "higher_prio_send_advert",
	"Instance.SkipCheckAdvAddr":      "skip_check_adv_addr",
	"Instance.TrackInterfaces":       "track_interface",
	"Instance.DontTrackPrimary":      "dont_track_primary",
	"Instance.TrackSourceIP":         "track_src_ip",
	"Instance.Tracks":                "track", // by kind: see tracks
	"Instance.SyncGroup":             "vrrp_sync_group",
	"Instance.VIPLease":              "vip_lease",
	"Instance.Handover":              "handover",
	"Instance.HoldOnMismatch":        "hold_on_mismatch",
	"Instance.ResignOnLoss":          "on_address_loss",
	"Instance.Notify":                inside,
	"Instance.NotifyPriorityChanges": "notify_priority_changes",
	"Instance.SMTPAlert":             "smtp_alert",

	"GARP.MasterDelay":     "garp_master_delay",
	"GARP.MasterRepeat":    "garp_master_repeat",
	"GARP.Refresh":         "garp_master_refresh",
	"GARP.RefreshRepeat":   "garp_master_refresh_repeat",
	"GARP.LowerPrioDelay":  "garp_lower_prio_delay",
	"GARP.LowerPrioRepeat": "garp_lower_prio_repeat",

	"Notify.Master":           "notify_master",
	"Notify.Backup":           "notify_backup",
	"Notify.Fault":            "notify_fault",
	"Notify.Stop":             "notify_stop",
	"Notify.Deleted":          "notify_deleted",
	"Notify.MasterRxLowerPri": "notify_master_rx_lower_pri",
	"Notify.Any":              "notify",
	"Notify.ReportDeleted":    "notify_deleted",

	"SyncGroup.Name":                  apart, // it is renamed
	"SyncGroup.Members":               apart, // Joined and Left
	"SyncGroup.Notify":                inside,
	"SyncGroup.TrackingWeight":        "sync_group_tracking_weight",
	"SyncGroup.NotifyPriorityChanges": "notify_priority_changes",
	"SyncGroup.SMTPAlert":             "smtp_alert",

	"Script.Name":             apart, // it is another script
	"Script.Command":          inside,
	"Script.Timing":           inside,
	"Script.Weight":           "weight",
	"Script.Reverse":          "reverse",
	"Script.IgnoreUnrunnable": "unrunnable",
	"Command.Argv":            "script",
	"Command.User":            "user",
	"Command.Group":           "user group",
	"Command.Supplementary":   "set_supplementary_groups",
	"Timing.Interval":         "interval",
	"Timing.Timeout":          "timeout",
	"Timing.Rise":             "rise",
	"Timing.Fall":             "fall",

	"Check.Name":            apart, // it is another check
	"Check.Timing":          inside,
	"Check.Weight":          "weight",
	"Check.Reverse":         "reverse",
	"Check.TCP":             inside,
	"Check.HTTP":            inside,
	"Check.DNS":             inside,
	"Check.ICMP":            "icmp",
	"Check.SystemdUnit":     inside,
	"TCPCheck.Address":      "tcp",
	"HTTPCheck.URL":         "http",
	"HTTPCheck.Method":      "method",
	"HTTPCheck.Host":        "host",
	"HTTPCheck.Headers":     "header",
	"HTTPCheck.Status":      "status",
	"HTTPCheck.Body":        "body",
	"HTTPCheck.Verify":      "tls_verify",
	"HTTPCheck.CAFile":      "ca_file",
	"DNSCheck.Server":       "dns",
	"DNSCheck.Name":         "name",
	"DNSCheck.Type":         "type",
	"DNSCheck.Expect":       "expect",
	"SystemdUnitCheck.Unit": "systemd_unit",

	"Process.Name":           apart, // it is another process
	"Process.Argv":           "process",
	"Process.Match":          "param_match",
	"Process.Weight":         "weight",
	"Process.Reverse":        "reverse",
	"Process.Quorum":         "quorum",
	"Process.QuorumMax":      "quorum_max",
	"Process.ForkDelay":      "fork_delay",
	"Process.TerminateDelay": "terminate_delay",
	"Process.FullCommand":    "full_command",

	"TrackedFile.Name":          apart, // it is another file
	"TrackedFile.Path":          "file",
	"TrackedFile.Weight":        "weight",
	"TrackedFile.Reverse":       "reverse",
	"TrackedFile.Init":          "init_file",
	"TrackedFile.InitOverwrite": "init_file overwrite",
}

// secrets are the fields whose values are not shown.
var secrets = map[string]bool{"Instance.AuthData": true, "HTTPCheck.Headers": true}

// restarts says of what vipd does only once why a change waits for the next
// start.
var restarts = map[string]string{
	"Global.RTPriority":           "the scheduling of threads is set when vipd starts",
	"Global.Nice":                 "the scheduling of threads is set when vipd starts",
	"Global.StartupDelay":         "it counts from the start of vipd",
	"Global.StartupScript":        "it is run when vipd starts",
	"Global.StartupScriptTimeout": "it is run when vipd starts",
	"TrackedFile.Init":            "the file is written when vipd starts",
	"TrackedFile.InitOverwrite":   "the file is written when vipd starts",
}

// differences compares two structs of the configuration, field by field. Where
// something was written makes no difference.
func differences[T any](old, new *T) []Change { return differencesIn(old, new, nil) }

// differencesIn compares some of the fields; nil stands for all.
func differencesIn[T any](old, new *T, fields []string) []Change {
	return compare(reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem(), fields)
}

var posType = reflect.TypeFor[config.Pos]()

func compare(old, new reflect.Value, fields []string) []Change {
	var out []Change
	t := old.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name := t.Name() + "." + f.Name
		keyword, known := keywords[name]
		if f.Type == posType || keyword == apart || fields != nil && !slices.Contains(fields, f.Name) {
			continue
		}
		if !known {
			keyword = name
		}
		a, b := old.Field(i), new.Field(i)
		if fingerprintOf(a) == fingerprintOf(b) {
			continue
		}
		if keyword == inside {
			out = append(out, compare(structOf(a), structOf(b), nil)...)
			continue
		}
		if name == "Instance.SourceIP" && new.FieldByName("Peers").Len() > 0 {
			keyword = "unicast_src_ip"
		}
		if name == "Instance.Tracks" {
			out = append(out, tracks(a.Interface().([]config.Track), b.Interface().([]config.Track))...)
			continue
		}
		c := Change{Keyword: keyword, Secret: secrets[name], Restart: restarts[name]}
		switch {
		case c.Secret:
		case isList(f.Type) && name != "Command.Argv" && name != "Process.Argv":
			c.Added, c.Removed = lists(a, b)
		default:
			c.Old, c.New = text(name, a), text(name, b)
		}
		out = append(out, c)
	}
	return out
}

// structOf returns what a pointer points to, or the zero value.
func structOf(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	if v.IsNil() {
		return reflect.Zero(v.Type().Elem())
	}
	return v.Elem()
}

func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice }

// lists returns what is only in the new list and what is only in the old one, as
// text.
func lists(old, new reflect.Value) (added, removed []string) {
	count := make(map[string]int)
	for i := range old.Len() {
		count[fingerprintOf(old.Index(i))]++
	}
	for i := range new.Len() {
		if f := fingerprintOf(new.Index(i)); count[f] > 0 {
			count[f]--
		} else {
			added = append(added, text("", new.Index(i)))
		}
	}
	for i := range old.Len() {
		if f := fingerprintOf(old.Index(i)); count[f] > 0 {
			count[f]--
			removed = append(removed, text("", old.Index(i)))
		}
	}
	return added, removed
}

// tracks compares the references to tracked objects, by kind.
func tracks(old, new []config.Track) []Change {
	var out []Change
	for kind := config.TrackScript; kind <= config.TrackInterface; kind++ {
		other := func(t config.Track) bool { return t.Kind != kind }
		a := reflect.ValueOf(slices.DeleteFunc(slices.Clone(old), other))
		b := reflect.ValueOf(slices.DeleteFunc(slices.Clone(new), other))
		if fingerprintOf(a) == fingerprintOf(b) {
			continue
		}
		c := Change{Keyword: "track_" + kind.String()}
		c.Added, c.Removed = lists(a, b)
		out = append(out, c)
	}
	return out
}

// fingerprint describes a value so that two that are the same, wherever they were
// written, and only those, have the same one.
func fingerprint(v any) string { return fingerprintOf(reflect.ValueOf(v)) }

func fingerprintOf(v reflect.Value) string {
	var b strings.Builder
	writeFingerprint(&b, v)
	return b.String()
}

func writeFingerprint(b *strings.Builder, v reflect.Value) {
	switch t := v.Type(); {
	case t == posType:
	case v.CanInterface() && isText(t) && !(v.Kind() == reflect.Pointer && v.IsNil()):
		fmt.Fprintf(b, "%q", v.Interface())
	case v.Kind() == reflect.Pointer:
		b.WriteByte('&')
		if v.IsNil() {
			b.WriteString("nil")
			return
		}
		writeFingerprint(b, v.Elem())
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
		b.WriteByte('[')
		for i := range v.Len() {
			writeFingerprint(b, v.Index(i))
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case v.Kind() == reflect.Struct:
		b.WriteByte('{')
		for i := range v.NumField() {
			writeFingerprint(b, v.Field(i))
			b.WriteByte(';')
		}
		b.WriteByte('}')
	case v.Kind() == reflect.String:
		fmt.Fprintf(b, "%q", v.String())
	default:
		fmt.Fprintf(b, "%v", v)
	}
}

// isText reports whether values of a type are told apart by their text: those of
// other packages, which have fields of their own.
func isText(t reflect.Type) bool {
	return t == reflect.TypeFor[*regexp.Regexp]() || t.PkgPath() == "net/netip"
}
