package config

import (
	"regexp"
	"strconv"
	"time"
)

// Limits of what is tracked.
const (
	intervalMax = 30 * 24 * time.Hour
	countMax    = 1<<31 - 1 // of rise and fall, as in keepalived
	weightMax   = 253       // of what is up or down
	numberMax   = 254       // of processes and files
)

// words returns the row of a keyword with one word or more.
func words(name, values string, set func(*decoder, *node), m meta) keyword {
	return keyword{name: name, shape: shapeWords, values: values, def: m.def, doc: m.doc, differs: m.differs, set: set}
}

// commandRow returns the row of a command with who runs it.
func commandRow(name string, to func(*decoder) **rawCommand, m meta) keyword {
	return keyword{
		name: name, shape: shapeCommand, user: true, values: "command", def: m.def, doc: m.doc, differs: m.differs,
		set: func(d *decoder, n *node) {
			if c := *to(d); d.first(n, c != nil, func() Pos { return c.node.pos }) {
				*to(d) = d.command(n)
			}
		},
	}
}

// noted returns the row of a keyword that is accepted and changes nothing.
func noted(name, doc, differs string, warning *fault) keyword {
	return keyword{
		name: name, shape: shapeFlag, values: "true or false", def: "false", doc: doc, differs: differs,
		set: func(d *decoder, n *node) {
			on, f := flagOf(n)
			if f != nil {
				d.complain(n, f)
			} else if on && warning != nil {
				d.warn(n.pos, n, warning)
			}
		},
	}
}

// globalTrackingKeywords are the rows of global_defs about scripts, pipes and
// mail.
func globalTrackingKeywords() []keyword {
	type d = decoder
	return []keyword{
		words("script_user", "USER [[:]GROUP]", func(d *d, n *node) { d.user(n, n.args, &d.global.scriptUser) },
			meta{"root", "Who runs scripts that do not name a user of their own, by name or number. Without GROUP it is the user's own; a colon before it gives the user's other groups, too.", "keepalived's default is `keepalived_script` if there is such a user. It takes no numbers."}),
		boolean("enable_script_security", func(d *d) *opt[bool] { return &d.global.scriptSecurity },
			meta{"true", "Never run a program as root that someone else than root could have changed.", "keepalived's default is off. It drops a check that it refuses; with vipd such a check has failed."}),
		boolean("set_supplementary_groups", func(d *d) *opt[bool] { return &d.global.supplementary },
			meta{"false", "Give scripts the other groups of their user, too.", ""}),
		noted("use_symlink_paths", "Accepted, but has no effect: a program is run by its path as it is written, symbolic links and all, so that one which goes by its own name works.",
			"keepalived runs a program by the path that the links lead to, unless this is set.",
			&fault{"use_symlink_paths has no effect", "a program is always run by its path as it is written"}),
		span("notify_timeout", time.Millisecond, 24*time.Hour, func(d *d) *opt[time.Duration] { return &d.global.notifyTimeout },
			meta{"30", "For how long a notify script may hold up the next one.", "keepalived does not have it: it waits for none, so that two may run at once."}),
		boolean("vrrp_notify_priority_changes", func(d *d) *opt[bool] { return &d.global.notifyPriorityChanges },
			meta{"false", "Write a line to the pipes when the effective priority of an instance changes.", ""}),
		words("notify_fifo", "PATH [USER [GROUP]]", func(d *d, n *node) { d.fifo(n, &d.global.fifo) },
			meta{"none", "Named pipe that every event is written to, as a line `INSTANCE \"NAME\" STATE PRIORITY` or `GROUP \"NAME\" STATE 0`. It is made if it is missing, and belongs to USER.", ""}),
		commandRow("notify_fifo_script", func(d *d) **rawCommand { return &d.global.fifoScript },
			meta{"none", "Program that is started to read that pipe. The path is its last argument.", ""}),
		words("vrrp_notify_fifo", "PATH [USER [GROUP]]", func(d *d, n *node) { d.fifo(n, &d.global.vrrpFIFO) },
			meta{"none", "Another such pipe.", "In keepalived `notify_fifo` gets the events of LVS, too."}),
		commandRow("vrrp_notify_fifo_script", func(d *d) **rawCommand { return &d.global.vrrpFIFOScript },
			meta{"none", "Program that is started to read it.", ""}),
		noted("fifo_write_vrrp_states_on_reload", "Accepted, but has no effect: after a reload the pipes are told only what has changed.", "keepalived writes all states again.",
			&fault{"fifo_write_vrrp_states_on_reload has no effect", "after a reload the pipes are told only what has changed; vipd status --json has all states"}),
		commandRow("startup_script", func(d *d) **rawCommand { return &d.global.startupScript },
			meta{"none", "Program that is run before anything else; the start waits for it.", ""}),
		span("startup_script_timeout", time.Second, 1000*time.Second, func(d *d) *opt[time.Duration] { return &d.global.startupTimeout },
			meta{"10", "For how long.", ""}),
		commandRow("shutdown_script", func(d *d) **rawCommand { return &d.global.shutdownScript },
			meta{"none", "Program that is run after everything else.", ""}),
		span("shutdown_script_timeout", time.Second, 1000*time.Second, func(d *d) *opt[time.Duration] { return &d.global.shutdownTimeout },
			meta{"10", "For how long it may take.", ""}),
		{
			name: "notification_email", shape: shapeTexts, values: "list of mail addresses", def: "none",
			doc: "Who gets mail about instances and groups with `smtp_alert`.",
			set: (*decoder).recipients,
		},
		value("notification_email_from", "mail address", parseMailAddress, func(d *d) *opt[string] { return &d.global.mailFrom },
			meta{"vipd at the host's name", "Sender of that mail.", ""}),
		words("smtp_server", "HOST [PORT]", (*decoder).smtpServer,
			meta{"none; port 25", "Server that takes the mail. The name is looked up when there is something to send.", "keepalived looks it up when it reads its configuration."}),
		value("state_dump_file", "path", parsePath, func(d *d) *opt[string] { return &d.global.stateDump },
			meta{"`keepalived.data` in `$TMPDIR` or `/tmp`", "Where the state is written on SIGUSR1, in keepalived's form.", ""}),
		value("stats_dump_file", "path", parsePath, func(d *d) *opt[string] { return &d.global.statsDump },
			meta{"`keepalived.stats` in `$TMPDIR` or `/tmp`", "Where the statistics are written on SIGUSR2.", ""}),
		value("json_dump_file", "path", parsePath, func(d *d) *opt[string] { return &d.global.jsonDump },
			meta{"`keepalived.json` in `$TMPDIR` or `/tmp`", "Where the state is written on signal 36 (SIGRTMIN+2).", ""}),
		integer("json_version", 1, 2, func(d *d) *opt[int] { return &d.global.jsonVersion },
			meta{"1", "Version of that document.", ""}),
		value("smtp_helo_name", "text", parseHostName, func(d *d) *opt[string] { return &d.global.helo },
			meta{"the host name", "The name by which the server is greeted.", ""}),
		span("smtp_connect_timeout", time.Second, time.Hour, func(d *d) *opt[time.Duration] { return &d.global.smtpTimeout },
			meta{"30", "How long to wait for the server.", ""}),
		boolean("smtp_alert", func(d *d) *opt[bool] { return &d.global.smtpAlert },
			meta{"false", "Send mail about all instances and groups that do not say otherwise.", ""}),
		boolean("smtp_alert_vrrp", func(d *d) *opt[bool] { return &d.global.smtpAlertVRRP },
			meta{"`smtp_alert`", "The same.", "In keepalived `smtp_alert` is about LVS, too."}),
		boolean("no_email_faults", func(d *d) *opt[bool] { return &d.global.noMailFaults },
			meta{"false", "Send no mail when an instance or a group goes into fault.", ""}),
	}
}

// trackRows are the rows of the lists of tracked objects, but for
// track_interface, whose words differ between an instance and a group.
func trackRows(to func(*decoder) *rawTracks) []keyword {
	rows := []struct{ name, what, of, doc string }{
		{"track_script", "vrrp_script", "scripts", "The `vrrp_script`s that count."},
		{"track_check", "vrrp_check", "checks", "The `vrrp_check`s that count. Only vipd has it."},
		{"track_process", "vrrp_track_process", "processes", "The `vrrp_track_process`es that count."},
		{"track_file", "vrrp_track_file", "files", "The `vrrp_track_file`s whose numbers count."},
	}
	out := make([]keyword, len(rows))
	for i, r := range rows {
		kind := TrackScript + TrackKind(i)
		out[i] = keyword{
			name: r.name, shape: shapeLines, line: trackGrammar(kind), values: "list of " + r.of, def: "none", doc: r.doc,
			set: func(d *decoder, n *node) { d.tracked(n, kind, to(d)) },
		}
	}
	return out
}

// notifyRows are the rows of scripts that are run on a change of state.
func notifyRows(what string, to func(*decoder) *rawNotify) []keyword {
	return []keyword{
		commandRow("notify_master", func(d *decoder) **rawCommand { return &to(d).master },
			meta{"none", "Program to run when the " + what + " becomes master.", ""}),
		commandRow("notify_backup", func(d *decoder) **rawCommand { return &to(d).backup },
			meta{"none", "… becomes backup.", ""}),
		commandRow("notify_fault", func(d *decoder) **rawCommand { return &to(d).fault },
			meta{"none", "… goes into fault.", ""}),
		commandRow("notify_stop", func(d *decoder) **rawCommand { return &to(d).stop },
			meta{"none", "… is stopped. It has one second.", ""}),
		commandRow("notify", func(d *decoder) **rawCommand { return &to(d).any },
			meta{"none", "Program to run, after the one for the state, at every change: with the arguments `INSTANCE NAME STATE PRIORITY`, or `GROUP NAME STATE 0`, after its own.", "keepalived may run both at once."}),
		boolean("notify_priority_changes", func(d *decoder) *opt[bool] { return &to(d).priorityChanges },
			meta{"`vrrp_notify_priority_changes`", "As the global keyword; an instance inherits it from its sync group.", ""}),
		boolean("smtp_alert", func(d *decoder) *opt[bool] { return &to(d).smtpAlert },
			meta{"the global `smtp_alert`", "Send mail when the state changes.", ""}),
	}
}

// instanceTrackingKeywords are the rows of vrrp_instance about tracked objects
// and notification.
func instanceTrackingKeywords() []keyword {
	notify := func(d *decoder) *rawNotify { return &d.inst.notify }
	rows := append(trackRows(func(d *decoder) *rawTracks { return &d.inst.tracks }), notifyRows("instance", notify)...)
	return append(rows,
		keyword{
			name: "notify_deleted", shape: shapeCommand, user: true, optional: true, values: "true, false or command", def: "false",
			doc: "When a reload takes the instance away, report DELETED rather than FAULT, and run this program.",
			set: (*decoder).notifyDeleted,
		},
		commandRow("notify_master_rx_lower_pri", func(d *decoder) **rawCommand { return &d.inst.notify.rxLowerPri },
			meta{"none", "Program to run when the instance, as master, hears an advert of lower priority.", ""}))
}

func groupKeywords() []keyword {
	type d = decoder
	rows := []keyword{
		{
			name: "group", shape: shapeLines, line: nameGrammar("name"), values: "list of instances", def: "required",
			doc: "The members: all of them are master, or none.",
			set: (*decoder).members,
		},
		{
			name: "track_interface", shape: shapeLines, line: trackGrammar(TrackInterface), values: "list of interfaces", def: "none",
			doc: "Interfaces that count for every member.",
			set: func(d *d, n *node) { d.tracked(n, TrackInterface, &d.group.tracks) },
		},
	}
	rows = append(rows, trackRows(func(d *d) *rawTracks { return &d.group.tracks })...)
	rows = append(rows, notifyRows("group", func(d *d) *rawNotify { return &d.group.notify })...)
	return append(rows,
		boolean("sync_group_tracking_weight", func(d *d) *opt[bool] { return &d.group.trackingWeight },
			meta{"false", "Let members have weights of their own. Their priorities then differ, so this seldom does what is meant: weights of the group are the same for all.", ""}),
		boolean("global_tracking", func(d *d) *opt[bool] { return &d.group.globalTracking },
			meta{"false", "Deprecated: another name of `sync_group_tracking_weight`.", ""}))
}

// objectTo returns a pointer into the tracked object that is being decoded.
func objectTo[T any](of func(*rawObject) *opt[T]) func(*decoder) *opt[T] {
	return func(d *decoder) *opt[T] { return of(d.object) }
}

// weightRow returns the row of a weight.
func weightRow(limit int, def, doc string) keyword {
	return words("weight", strconv.Itoa(-limit)+" to "+strconv.Itoa(limit)+", [reverse]",
		func(d *decoder, n *node) { d.weight(n, limit) }, meta{def, doc, ""})
}

const weightDoc = "What its result adds to the priority: a positive weight while it is good, a negative one while it is not. 0: while it is not good, the instance is in fault. `reverse` exchanges good and not good. `track_…` may say otherwise."

// timingRows are the rows about when results count.
func timingRows(timeoutDoc string) []keyword {
	return []keyword{
		span("interval", time.Millisecond, intervalMax, objectTo(func(o *rawObject) *opt[time.Duration] { return &o.interval }),
			meta{"1", "Time from the beginning of one run to that of the next. A run that is still going on is not doubled.", ""}),
		span("timeout", time.Millisecond, intervalMax, objectTo(func(o *rawObject) *opt[time.Duration] { return &o.timeout }),
			meta{"`interval`", timeoutDoc, ""}),
		integer("rise", 1, countMax, objectTo(func(o *rawObject) *opt[int] { return &o.rise }),
			meta{"1", "Successes in a row after which it is good. The first result of all counts at once.", ""}),
		integer("fall", 1, countMax, objectTo(func(o *rawObject) *opt[int] { return &o.fall }),
			meta{"1", "Failures in a row after which it is not.", ""}),
	}
}

func scriptKeywords() []keyword {
	rows := []keyword{{
		name: "script", shape: shapeCommand, values: "command", def: "required",
		doc: "The program. Exit code 0 is success; any other, a signal and the timeout are failure.",
		set: func(d *decoder, n *node) { d.object.command = d.program(n) },
	}}
	rows = append(rows, timingRows("After that the script is ended, and has failed.")...)
	return append(rows,
		weightRow(weightMax, "0", weightDoc),
		words("user", "USER [[:]GROUP]", func(d *decoder, n *node) { d.user(n, n.args, &d.object.user) },
			meta{"`script_user`", "Who runs it.", ""}),
		value("unrunnable", "fail or ignore", parseUnrunnable, objectTo(func(o *rawObject) *opt[bool] { return &o.ignore }),
			meta{"fail", "What a script counts as that cannot be run: missing, not executable, not safe.", "keepalived does not have it: there a script that it refuses is dropped, and one that cannot be executed succeeds."}),
		noted("init_fail", "Has no effect, as in keepalived: the first result counts at once, and with weight 0 the instance waits for it.", "",
			&fault{"init_fail has no effect, as in keepalived", "the first result counts at once, and with weight 0 the instance waits for it"}))
}

func checkKeywords() []keyword {
	type o = rawObject
	rows := []keyword{
		value("tcp", "HOST:PORT", parseHostPort(""), objectTo(func(o *o) *opt[string] { return &o.tcp }),
			meta{"", "Good while a connection can be made.", ""}),
		value("http", "URL", parseURL, objectTo(func(o *o) *opt[string] { return &o.url }),
			meta{"", "Good while a request is answered as expected. The URL begins with http:// or https://.", ""}),
		value("method", "text", parseMethod, objectTo(func(o *o) *opt[string] { return &o.method }),
			meta{"GET", "Of `http`: the method of the request.", ""}),
		value("host", "name", parseHostName, objectTo(func(o *o) *opt[string] { return &o.host }),
			meta{"the URL's", "Of `http`: the name in the request and, with https, in the certificate.", ""}),
		{
			name: "header", shape: shapeTexts, pairs: true, values: "list of `Name: value`", def: "none",
			doc: "Of `http`: headers of the request.", set: (*decoder).headers,
		},
		{
			name: "status", shape: shapeTexts, values: "list of 200 or 200-299", def: "200-399",
			doc: "Of `http`: status codes that are good.", set: (*decoder).statusCodes,
		},
		value("body", "regular expression", parseRegexp, objectTo(func(o *o) *opt[*regexp.Regexp] { return &o.body }),
			meta{"none", "Of `http`: what the answer must contain, as a regular expression of Go.", ""}),
		boolean("tls_verify", objectTo(func(o *o) *opt[bool] { return &o.verify }),
			meta{"true", "Of `http` with https: whether the certificate must be valid.", ""}),
		value("ca_file", "path", parsePath, objectTo(func(o *o) *opt[string] { return &o.caFile }),
			meta{"the system's", "Of `http` with https: the certificates to trust.", ""}),
		value("dns", "SERVER[:PORT]", parseHostPort("53"), objectTo(func(o *o) *opt[string] { return &o.dns }),
			meta{"", "Good while the server answers a question.", ""}),
		value("name", "domain name", parseDomain, objectTo(func(o *o) *opt[string] { return &o.question }),
			meta{"required", "Of `dns`: the name that is asked for.", ""}),
		value("type", "A, AAAA, CNAME, MX, NS, TXT or PTR", parseRecordType, objectTo(func(o *o) *opt[string] { return &o.recordType }),
			meta{"A", "Of `dns`: the type of the question.", ""}),
		{
			name: "expect", shape: shapeTexts, values: "list of answers", def: "any",
			doc: "Of `dns`: answers of which one at least must be given.",
			set: func(d *decoder, n *node) { d.object.expect = d.texts(n) },
		},
		value("icmp", "address, gateway or gateway6", parseICMP, objectTo(func(o *o) *opt[rawICMP] { return &o.icmp }),
			meta{"", "Good while an echo request is answered: by the address, or by the gateway of the IPv4 or IPv6 default route.", ""}),
		value("interface", "interface", parseInterface, objectTo(func(o *o) *opt[string] { return &o.iface }),
			meta{"as routed", "Of `icmp`: the interface to ask on.", ""}),
		value("systemd_unit", "NAME[.service]", parseUnit, objectTo(func(o *o) *opt[string] { return &o.unit }),
			meta{"", "Good while the unit is active.", ""}),
	}
	rows = append(rows, timingRows("After that the attempt has failed.")...)
	return append(rows,
		weightRow(weightMax, "0", weightDoc),
		boolean("reverse", objectTo(func(o *o) *opt[bool] { return &o.reverse }),
			meta{"false", "The same as `reverse` after the weight.", ""}))
}

func processKeywords() []keyword {
	type o = rawObject
	return []keyword{
		{
			name: "process", shape: shapeCommand, values: "command", def: "required",
			doc: "The name of the program, and the arguments that it must have been given, if any.",
			set: func(d *decoder, n *node) { d.object.command = d.program(n) },
		},
		words("param_match", "exact, initial or partial", (*decoder).paramMatch,
			meta{"exact, if there are arguments", "How arguments are compared. partial: others may follow those given; initial: and the last one given may be longer. With exact and no arguments given, the process must have none.", "In keepalived.conf the keyword alone means exact."}),
		weightRow(numberMax, "0", weightDoc),
		integer("quorum", 1, 65535, objectTo(func(o *o) *opt[int] { return &o.quorum }),
			meta{"1", "Least number of processes with which it is good.", ""}),
		integer("quorum_max", 0, 65535, objectTo(func(o *o) *opt[int] { return &o.quorumMax }),
			meta{"any", "Largest number of processes with which it is good; 0: there must be none.", ""}),
		span("delay", 0, time.Hour, objectTo(func(o *o) *opt[time.Duration] { return &o.delay }),
			meta{"0", "Sets both `fork_delay` and `terminate_delay`.", ""}),
		span("fork_delay", 0, time.Hour, objectTo(func(o *o) *opt[time.Duration] { return &o.forkDelay }),
			meta{"`delay`", "How long a change because of more processes must last to count.", ""}),
		span("terminate_delay", 0, time.Hour, objectTo(func(o *o) *opt[time.Duration] { return &o.terminateDelay }),
			meta{"`delay`", "How long a change because of fewer processes must last to count.", ""}),
		boolean("full_command", objectTo(func(o *o) *opt[bool] { return &o.fullCommand }),
			meta{"false", "Compare the first word of the command line, as the process shows it, rather than the name that the kernel keeps of it, which has no directory and 15 octets at most. With arguments or `param_match` it is always so.", ""}),
	}
}

func fileKeywords() []keyword {
	return []keyword{
		value("file", "path", parsePath, objectTo(func(o *rawObject) *opt[string] { return &o.path }),
			meta{"required", "The file. Its number times the weight is added to the priority; a file that is missing, or has no number in it, counts as 0.", ""}),
		weightRow(numberMax, "1", "What its number is multiplied by. 0: while the number is not 0, the instance is in fault. `reverse` changes the sign."),
		{
			name: "init_file", shape: shapeWords, optional: true, values: "true, or [NUMBER] [overwrite]", def: "none",
			doc: "Write NUMBER (0 if there is none) to the file at the start if it does not exist, or with `overwrite` in any case.",
			set: (*decoder).initFile,
		},
	}
}
