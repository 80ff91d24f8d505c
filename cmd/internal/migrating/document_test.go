package migrating

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/cmd/internal/rig"
)

// document is what is followed.
const document = "../../../docs/migrating.md"

// An order is one command of the document, for one host.
type order struct {
	line    int // of the document
	section string
	host    string
	command string
	output  []string // what the document shows of what it says
}

// A guide is the document, and how far it has been followed.
type guide struct {
	t      *testing.T
	text   string
	orders []order
	next   int
	conf   string // the configuration that it shows
}

// readGuide reads the document. A command is a line of a block that begins with
// "```sh" and the names of hosts; the block "```text" that may come next is the
// end of what the last command of it says. Other blocks are not for the test.
func readGuide(t *testing.T) *guide {
	t.Helper()
	raw, err := os.ReadFile(document)
	check(t, err)
	g := &guide{t: t, text: string(raw)}
	section, fence := "", ""
	var block []string
	began := 0
	for i, line := range strings.Split(g.text, "\n") {
		opens := strings.HasPrefix(line, "```")
		switch {
		case fence == "" && opens:
			fence, block, began = strings.TrimPrefix(line, "```"), nil, i+2
		case fence == "":
			if title, ok := strings.CutPrefix(line, "## "); ok {
				section = title
			} else if title, ok := strings.CutPrefix(line, "### "); ok {
				section, _, _ = strings.Cut(section, " / ")
				section += " / " + title
			}
		case !opens:
			block = append(block, line)
		default:
			words := strings.Fields(fence)
			switch {
			case words[0] == "conf" && g.conf == "":
				g.conf = strings.Join(block, "\n") + "\n"
			case words[0] == "sh" && len(words) > 1:
				for _, host := range words[1:] {
					for n, command := range block {
						g.orders = append(g.orders, order{line: began + n, section: section, host: host, command: command})
					}
				}
			case words[0] == "text" && len(g.orders) > 0:
				g.orders[len(g.orders)-1].output = block
			}
			fence = ""
		}
	}
	if fence != "" || g.conf == "" || len(g.orders) == 0 {
		t.Fatalf("%s has %d commands, a configuration of %d octets, and an open block %q", document, len(g.orders), len(g.conf), fence)
	}
	return g
}

// follow runs the next command of the document, which must be this one, on this
// host, and waits until it says what the document shows.
func (g *guide) follow(h *host, command string) {
	g.t.Helper()
	if g.next == len(g.orders) {
		g.t.Fatalf("the document ends before %s: %s", h.Name(), command)
	}
	o := g.orders[g.next]
	if o.host != h.Name() || o.command != command {
		g.t.Fatalf("%s:%d has %s: %s\nthe test has %s: %s", document, o.line, o.host, o.command, h.Name(), command)
	}
	g.next++
	g.run(h, o)
}

// again follows the commands of a section once more.
func (g *guide) again(section string, hosts ...*host) {
	g.t.Helper()
	found := false
	for _, o := range g.orders[:g.next] {
		if o.section != section {
			continue
		}
		found = true
		g.run(hosts[slices.IndexFunc(hosts, func(h *host) bool { return h.Name() == o.host })], o)
	}
	if !found {
		g.t.Fatalf("%s has no section %q", document, section)
	}
}

func (g *guide) run(h *host, o order) {
	g.t.Helper()
	out := h.must(o.command)
	g.t.Logf("%s# %s\n%s", h.Name(), o.command, out)
	if len(o.output) == 0 {
		return
	}
	missing := ""
	defer func() {
		if g.t.Failed() {
			g.t.Logf("%s:%d: %s: %s does not say\n%s\nbut\n%s", document, o.line, h.Name(), o.command, missing, out)
		}
	}()
	rig.Eventually(g.t, patience, "the command says what the document shows", func() bool {
		got := general(out)
		for _, line := range o.output {
			if !strings.Contains(got, general(line)) {
				missing = line
				out = h.must(o.command)
				return false
			}
		}
		return true
	})
}

// done fails the test if the document goes on.
func (g *guide) done() {
	g.t.Helper()
	if g.next < len(g.orders) {
		o := g.orders[g.next]
		g.t.Errorf("%s:%d has %s: %s\nthe test has nothing", document, o.line, o.host, o.command)
	}
}

// What is another each time.
var (
	times     = regexp.MustCompile(`(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(\.\d+)?( UTC)?`)
	durations = regexp.MustCompile(`\b(\d+(\.\d+)?(µs|ms|s|m|h))+\b`)
	numbers   = regexp.MustCompile(`\b(pid|process id|received|sent|announcements|ran|id) \d+`)
	packets   = regexp.MustCompile(`became master (never|once|twice|\d+ times), gave it up (never|once|twice|\d+ times)`)
	version   = regexp.MustCompile(`(?m)^vipd \S+ on \S+,`)
	spaces    = regexp.MustCompile(`[ \t]+`)
)

// general returns a text without what is another each time.
func general(text string) string {
	text = times.ReplaceAllString(text, "TIME")
	text = durations.ReplaceAllString(text, "DURATION")
	text = numbers.ReplaceAllString(text, "$1 NUMBER")
	text = packets.ReplaceAllString(text, "PACKETS")
	text = version.ReplaceAllString(text, "vipd VERSION on HOST,")
	return strings.TrimSpace(spaces.ReplaceAllString(text, " "))
}

// promised returns for how long clients are without the addresses at most, by
// the document's table, as the named row has it.
func (g *guide) promised(row string) time.Duration {
	g.t.Helper()
	for line := range strings.Lines(g.text) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || strings.TrimSpace(cells[1]) != row {
			continue
		}
		d, err := time.ParseDuration(strings.ReplaceAll(strings.TrimSpace(cells[3]), " ", ""))
		if err != nil {
			g.t.Fatalf("%s: row %q: %v", document, row, err)
		}
		return d
	}
	g.t.Fatalf("%s has no row %q", document, row)
	return 0
}
