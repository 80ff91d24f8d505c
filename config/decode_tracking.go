package config

import (
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// rawTracking holds global_defs about scripts, pipes and mail as given.
type rawTracking struct {
	scriptUser                             opt[rawUser]
	scriptSecurity, supplementary          opt[bool]
	notifyTimeout                          opt[time.Duration]
	notifyPriorityChanges                  opt[bool]
	fifo, vrrpFIFO                         *FIFO
	fifoScript, vrrpFIFOScript             *rawCommand
	startupScript, shutdownScript          *rawCommand
	startupTimeout, shutdownTimeout        opt[time.Duration]
	mailTo                                 []string
	mailFrom, smtpHost, helo               opt[string]
	smtpPort                               opt[int]
	smtpTimeout                            opt[time.Duration]
	smtpAlert, smtpAlertVRRP, noMailFaults opt[bool]
	stateDump, statsDump, jsonDump         opt[string]
	jsonVersion                            opt[int]
}

// A rawNotify holds the notification of an instance or a group as given.
type rawNotify struct {
	master, backup, fault, stop, any, deleted, rxLowerPri *rawCommand

	reportDeleted, priorityChanges, smtpAlert opt[bool]
}

// A rawTrack is the line of a tracked object.
type rawTrack struct {
	kind    TrackKind
	name    string
	node    *node
	weight  opt[int]
	reverse opt[bool]
	early   bool // the object was not defined yet
}

// rawTracks are the tracked objects of an instance or a group.
type rawTracks []rawTrack

// A rawGroup holds a vrrp_sync_group as given.
type rawGroup struct {
	node                           *node
	list                           *node // of members
	seen                           map[string]*node
	name                           string
	names                          []word // of members
	tracks                         rawTracks
	notify                         rawNotify
	trackingWeight, globalTracking opt[bool]

	members []*rawInstance
}

// A rawICMP is whom to ask for an echo.
type rawICMP struct {
	addr   netip.Addr
	family int
}

// A rawObject holds a tracked object of any kind as given.
type rawObject struct {
	kind TrackKind
	node *node
	name string
	seen map[string]*node
	used bool

	dropped bool // it lacks what it needs, and there is no such object

	interval, timeout opt[time.Duration]
	rise, fall        opt[int]
	weight            opt[int]
	reverse           opt[bool]

	command *rawCommand // of scripts and processes
	user    opt[rawUser]
	ignore  opt[bool]

	tcp, url, method, host, caFile   opt[string]
	dns, question, recordType, iface opt[string]
	unit                             opt[string]
	body                             opt[*regexp.Regexp]
	verify                           opt[bool]
	headers                          []Header
	status                           []StatusRange
	expect                           []string
	icmp                             opt[rawICMP]

	match                            opt[ParamMatch]
	quorum, quorumMax                opt[int]
	delay, forkDelay, terminateDelay opt[time.Duration]
	fullCommand                      opt[bool]

	path      opt[string]
	init      opt[int]
	overwrite bool
}

// block returns the keyword that defines objects of the kind.
func (k TrackKind) block() string {
	switch k {
	case TrackScript:
		return "vrrp_script"
	case TrackCheck:
		return "vrrp_check"
	case TrackProcess:
		return "vrrp_track_process"
	}
	return "vrrp_track_file"
}

// An objectKey is what no two tracked objects may share.
type objectKey struct {
	kind TrackKind
	name string
}

// trackedObject returns a function that decodes an object of the kind.
func trackedObject(kind TrackKind, b func(*schema) *block) func(*decoder, *node) {
	return func(d *decoder, n *node) {
		name, f := parseText(n.args[0].text)
		if f != nil {
			d.complain(n, f)
			return
		}
		key := objectKey{kind, name}
		if first := d.objectsByKey[key]; first != nil {
			d.complain(n, faultf("there is already a %s %s at %s", first.node.key, name, first.node.valuePos()))
			return
		}
		d.object = &rawObject{kind: kind, node: n, name: name, seen: make(map[string]*node)}
		d.objectsByKey[key] = d.object
		d.objects = append(d.objects, d.object)
		d.block(n, b(d.schema), d.object.seen)
		d.object = nil
	}
}

// syncGroup decodes a vrrp_sync_group.
func (d *decoder) syncGroup(n *node) {
	name, f := parseText(n.args[0].text)
	if f != nil {
		d.complain(n, f)
		return
	}
	for _, g := range d.groups {
		if g.name == name {
			d.complain(n, faultf("there is already a vrrp_sync_group %s at %s", name, g.node.valuePos()))
			return
		}
	}
	d.group = &rawGroup{node: n, name: name, seen: make(map[string]*node)}
	d.groups = append(d.groups, d.group)
	d.block(n, d.schema.group, d.group.seen)
	d.group = nil
}

// members decodes the list of members of a sync group.
func (d *decoder) members(n *node) {
	if d.first(n, d.group.names != nil, func() Pos { return d.group.names[0].pos }) {
		d.group.names, d.group.list = n.items(), n
	}
}

// weight decodes N [reverse].
func (d *decoder) weight(n *node, limit int) {
	store(d, n, &d.object.weight, func() (int, *fault) { return d.number(n, -limit, limit) })
	for _, w := range n.args[1:] {
		switch w.text {
		case "reverse", "noreverse":
			d.object.reverse = opt[bool]{w.text == "reverse", w.pos, true}
		default:
			n.bad = true
			d.complainAt(w.pos, n, faultf("%s is not reverse", quote(w.text)))
		}
	}
}

// tracked decodes a list of tracked objects.
func (d *decoder) tracked(list *node, kind TrackKind, to *rawTracks) {
	g := trackGrammar(kind)
	for _, n := range list.children {
		t, ok := d.track(n, g, kind)
		if !ok {
			n.bad, list.bad = true, true
			continue
		}
		dup := false
		for _, o := range *to {
			dup = dup || o.kind == kind && o.name == t.name
		}
		if dup {
			d.complainAt(n.pos, n, faultf("%s is already tracked", t.name))
			continue
		}
		*to = append(*to, t)
	}
}

// track decodes one tracked object.
func (d *decoder) track(n *node, g *grammar, kind TrackKind) (rawTrack, bool) {
	t := rawTrack{kind: kind, name: n.key, node: n}
	if n.bad {
		return t, false
	}
	ok := true
	if kind == TrackInterface {
		if _, f := parseInterface(n.key); f != nil {
			d.complainAt(n.pos, n, f)
			ok = false
		}
	}
	parts, partsOK := d.parts(n, g)
	if w, given := parts["weight"]; given {
		limit := kind.limit()
		v, f := parseInt(w.text, -limit, limit)
		if f != nil && d.dialect.keepalived {
			d.trackWeight(n, w, limit, f, &t.weight)
		} else {
			if f != nil {
				d.complainAt(w.pos, n, f)
				ok = false
			}
			t.weight = opt[int]{v, w.pos, true}
		}
	}
	t.early = kind != TrackInterface && d.objectsByKey[objectKey{kind, t.name}] == nil
	for _, name := range []string{"reverse", "noreverse"} {
		if w, given := parts[name]; given {
			if t.reverse.set {
				d.complainAt(w.pos, n, faultf("noreverse contradicts reverse"))
				ok = false
			}
			t.reverse = opt[bool]{name == "reverse", w.pos, true}
		}
	}
	return t, ok && partsOK
}

// limit returns the largest weight of an object of the kind.
func (k TrackKind) limit() int {
	if k == TrackProcess || k == TrackFile {
		return numberMax
	}
	return weightMax
}

// fifo decodes PATH [USER [GROUP]].
func (d *decoder) fifo(n *node, to **FIFO) {
	path, f := parsePath(n.args[0].text)
	if f != nil {
		d.complain(n, f)
		return
	}
	out := &FIFO{Path: path, Pos: n.valuePos()}
	if len(n.args) > 1 {
		u, pos, f := parseUser(n.args[1:])
		if f != nil {
			n.bad = true
			d.complainAt(pos, n, f)
			return
		}
		out.User, out.Group = u.user, u.group
	}
	*to = out
}

// recipients decodes a list of mail addresses.
func (d *decoder) recipients(n *node) {
	for _, w := range n.items() {
		a, f := parseMailAddress(w.text)
		if f != nil {
			n.bad = true
			d.complainAt(w.pos, n, f)
			continue
		}
		d.global.mailTo = append(d.global.mailTo, a)
	}
}

// smtpServer decodes HOST [PORT].
func (d *decoder) smtpServer(n *node) {
	host := n.args[0].text
	if name, port, err := net.SplitHostPort(host); err == nil && len(n.args) == 1 {
		d.complain(n, &fault{quote(host) + " is not a host", "write " + name + " " + port})
		return
	}
	store(d, n, &d.global.smtpHost, func() (string, *fault) { return parseHostName(host) })
	if len(n.args) > 2 {
		n.bad = true
		d.complainAt(n.args[2].pos, n, faultf("there is more than a host and a port"))
	}
	if len(n.args) == 2 {
		port, f := parseInt(n.args[1].text, 1, 65535)
		if f != nil {
			n.bad = true
			d.complainAt(n.args[1].pos, n, f)
			return
		}
		d.global.smtpPort = opt[int]{port, n.args[1].pos, true}
	}
}

// notifyDeleted decodes what is a flag, or a command that implies it.
func (d *decoder) notifyDeleted(n *node) {
	to := &d.inst.notify
	on := true
	if !n.verbatim && len(n.args) == 1 && len(n.children) == 0 {
		if v, f := parseBool(n.args[0].text); f == nil {
			to.reportDeleted = opt[bool]{v, n.valuePos(), true}
			return
		}
	}
	if len(n.args) > 0 {
		if to.deleted = d.command(n); to.deleted == nil {
			on = false
		}
	}
	to.reportDeleted = opt[bool]{on, n.valuePos(), true}
}

// paramMatch decodes how arguments are compared.
func (d *decoder) paramMatch(n *node) {
	if len(n.args) > 1 {
		d.complain(n, faultf("param_match takes one value, not %d", len(n.args)))
		return
	}
	store(d, n, &d.object.match, func() (ParamMatch, *fault) {
		s := "exact"
		if len(n.args) > 0 {
			s = n.args[0].text
		}
		switch s {
		case "exact":
			return ParamExact, nil
		case "initial":
			return ParamInitial, nil
		case "partial":
			return ParamPartial, nil
		}
		f := faultf("%s is not exact, initial or partial", quote(s))
		if near := nearest(s, []string{"exact", "initial", "partial"}); near != "" {
			f.hint = "did you mean " + near + "?"
		}
		return 0, f
	})
}

// initFile decodes [NUMBER] [overwrite], or a flag.
func (d *decoder) initFile(n *node) {
	words := n.args
	o := d.object
	if len(words) == 1 {
		if on, f := parseBool(words[0].text); f == nil {
			o.init.set = on
			return
		}
	}
	o.init = opt[int]{0, n.valuePos(), true}
	if len(words) > 0 && words[0].text != "overwrite" {
		// What is read from it is clipped to this.
		v, f := parseInt(words[0].text, -1<<31, 1<<31-1)
		if f != nil {
			n.bad = true
			d.complainAt(words[0].pos, n, faultf("%s is neither a number nor overwrite", quote(words[0].text)))
			return
		}
		o.init.v = v
		words = words[1:]
	}
	for _, w := range words {
		if w.text != "overwrite" || o.overwrite {
			n.bad = true
			d.complainAt(w.pos, n, faultf("%s is not expected here", quote(w.text)))
			return
		}
		o.overwrite = true
	}
}

// texts decodes a list of texts.
func (d *decoder) texts(n *node) []string {
	var out []string
	for _, w := range n.items() {
		s, f := parseText(w.text)
		if f != nil {
			n.bad = true
			d.complainAt(w.pos, n, f)
			continue
		}
		out = append(out, s)
	}
	return out
}

// headers decodes a list of headers.
func (d *decoder) headers(n *node) {
	for _, w := range n.items() {
		name, value, ok := strings.Cut(w.text, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		var f *fault
		switch {
		case !ok || !isToken(name):
			f = &fault{quote(w.text) + " is not a header", "such as 'X-Probe: vipd'"}
		case strings.EqualFold(name, "host"):
			f = &fault{"Host is not a header like the others", "use host"}
		case strings.ContainsFunc(value, unicode.IsControl):
			f = faultf("the value contains a control character")
		}
		if f != nil {
			n.bad = true
			d.complainAt(w.pos, n, f)
			continue
		}
		d.object.headers = append(d.object.headers, Header{name, value})
	}
}

// isToken reports whether s is a token of HTTP (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}) < 0
}

// statusCodes decodes a list of HTTP status codes.
func (d *decoder) statusCodes(n *node) {
	for _, w := range n.items() {
		r, f := parseStatus(w.text)
		if f != nil {
			n.bad = true
			d.complainAt(w.pos, n, f)
			continue
		}
		d.object.status = append(d.object.status, r)
	}
}

// parseStatus reads a status code or a range of them.
func parseStatus(s string) (StatusRange, *fault) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	bad := &fault{quote(s) + " is not a status code", "such as 200, or 200-299"}
	if !isDigits(a) || !isDigits(b) {
		return StatusRange{}, bad
	}
	first, f := parseInt(a, 100, 599)
	if f != nil {
		return StatusRange{}, f
	}
	last, f := parseInt(b, 100, 599)
	if f == nil && last < first {
		f = faultf("%s ends before it begins", s)
	}
	return StatusRange{first, last}, f
}

// parseUnrunnable reads what becomes of a check that cannot be run; true is
// ignore.
func parseUnrunnable(s string) (bool, *fault) {
	switch s {
	case "fail":
		return false, nil
	case "ignore":
		return true, nil
	}
	return false, faultf("%s is neither fail nor ignore", quote(s))
}

// parsePath reads the absolute path of a file.
func parsePath(s string) (string, *fault) {
	s, f := parseText(s)
	switch {
	case f != nil:
	case !filepath.IsAbs(s):
		f = &fault{quote(s) + " is not an absolute path", "a daemon has no directory of its own: begin with /"}
	case strings.HasSuffix(s, "/"):
		f = faultf("%s is a directory", quote(s))
	}
	return s, f
}

// localPart is the mail address of somebody on the server, which adds a domain.
var localPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

// parseMailAddress reads one mail address, which may have a name before it.
func parseMailAddress(s string) (string, *fault) {
	if localPart.MatchString(s) {
		return s, nil
	}
	if _, err := mail.ParseAddress(s); err != nil {
		f := faultf("%s is not a mail address", quote(s))
		if strings.Contains(s, ",") {
			f.hint = "one address per item of the list"
		}
		return "", f
	}
	return parseText(s)
}

// parseHostName reads the name or the address of a host. The name is not looked
// up.
func parseHostName(s string) (string, *fault) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, nil
	}
	if len(s) > 253 || s == "" {
		return "", faultf("%s is not a host", quote(s))
	}
	numeric := true
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.IndexFunc(label, func(r rune) bool {
				return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r > unicode.MaxASCII && unicode.IsLetter(r))
			}) >= 0 {
			return "", faultf("%s is not a host", quote(s))
		}
		numeric = numeric && isDigits(label)
	}
	if numeric {
		return "", faultf("%s is not a host", quote(s))
	}
	return s, nil
}

// parseHostPort returns a function that reads HOST:PORT; without a port it is
// def, unless that is empty.
func parseHostPort(def string) func(string) (string, *fault) {
	return func(s string) (string, *fault) {
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() || def != "" && !strings.ContainsAny(s, ":[") {
			if def == "" {
				return "", &fault{quote(s) + " has no port", "such as [" + s + "]:80"}
			}
			s = net.JoinHostPort(s, def)
		} else if !strings.Contains(s, ":") {
			return "", &fault{quote(s) + " has no port", "such as " + s + ":80"}
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return "", &fault{quote(s) + " is not HOST:PORT", "an IPv6 address in brackets, such as [2001:db8::1]:80"}
		}
		if _, f := parseHostName(host); f != nil {
			if host == "" {
				f = &fault{"the host is missing", "such as 127.0.0.1:" + port}
			}
			return "", f
		}
		if _, f := parseInt(port, 1, 65535); f != nil {
			return "", faultf("%s does not end with a port (1 to 65535)", quote(s))
		}
		return s, nil
	}
}

// parseURL reads the URL of a service.
func parseURL(s string) (string, *fault) {
	u, err := url.Parse(s)
	if err != nil {
		return "", faultf("%s is not a URL", quote(s))
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", &fault{quote(s) + " does not begin with http:// or https://", "such as http://127.0.0.1:8080/health"}
	}
	if _, f := parseHostName(u.Hostname()); f != nil {
		return "", &fault{quote(s) + " has no host", "such as http://127.0.0.1:8080/health"}
	}
	if p := u.Port(); p != "" {
		if _, f := parseInt(p, 1, 65535); f != nil {
			return "", faultf("port %s of the URL is out of range (1 to 65535)", p)
		}
	}
	return s, nil
}

// parseMethod reads a method of HTTP.
func parseMethod(s string) (string, *fault) {
	if !isToken(s) {
		return "", faultf("%s is not a method", quote(s))
	}
	if up := strings.ToUpper(s); up != s && (up == http.MethodGet || up == http.MethodHead || up == http.MethodPost || up == http.MethodPut || up == http.MethodOptions) {
		return "", &fault{quote(s) + " is not a method", "in upper case"}
	}
	return s, nil
}

// parseRegexp reads a regular expression.
func parseRegexp(s string) (*regexp.Regexp, *fault) {
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, faultf("%s is not a regular expression: %s", quote(s), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

// parseDomain reads a name to ask for.
func parseDomain(s string) (string, *fault) {
	if s == "." {
		return s, nil
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return s, nil // a question for its PTR record
	}
	if _, f := parseHostName(s); f != nil {
		return "", faultf("%s is not a domain name", quote(s))
	}
	return s, nil
}

// parseRecordType reads the type of a question.
func parseRecordType(s string) (string, *fault) {
	known := []string{"A", "AAAA", "CNAME", "MX", "NS", "TXT", "PTR"}
	for _, k := range known {
		if s == k {
			return s, nil
		}
	}
	f := faultf("%s is not A, AAAA, CNAME, MX, NS, TXT or PTR", quote(s))
	for _, k := range known {
		if strings.EqualFold(s, k) {
			f.hint = "in upper case"
		}
	}
	return "", f
}

// parseICMP reads whom to ask for an echo.
func parseICMP(s string) (rawICMP, *fault) {
	switch s {
	case "gateway", "gateway4":
		return rawICMP{family: 4}, nil
	case "gateway6":
		return rawICMP{family: 6}, nil
	}
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() != "" {
		return rawICMP{}, &fault{quote(s) + " has a zone", "use interface: " + a.Zone()}
	}
	if a, f := parseAddr(s); f == nil && !a.IsUnspecified() && !a.IsMulticast() {
		return rawICMP{addr: a}, nil
	} else if f == nil {
		return rawICMP{}, faultf("%s is not the address of a host", a)
	}
	f := faultf("%s is not an address, gateway or gateway6", quote(s))
	if strings.ContainsFunc(s, unicode.IsLetter) && !strings.Contains(s, ":") {
		f.hint = "names are not looked up"
	}
	return rawICMP{}, f
}

// unitSuffixes are the kinds of units of systemd that can be active.
func unitSuffixes() []string {
	return []string{"service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"}
}

// parseUnit reads the name of a unit.
func parseUnit(s string) (string, *fault) {
	if s == "" || len(s) > 255 || strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`:-_.\@`, r))
	}) >= 0 {
		return "", faultf("%s is not a name of a unit", quote(s))
	}
	suffix := s[strings.LastIndexByte(s, '.')+1:]
	for _, known := range unitSuffixes() {
		if suffix == known && suffix != s {
			return s, nil
		}
	}
	return s + ".service", nil
}

// weightRange says in words which weights an object of the kind may have.
func (k TrackKind) weightRange() string {
	return strconv.Itoa(-k.limit()) + " to " + strconv.Itoa(k.limit())
}
