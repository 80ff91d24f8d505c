// Package manual writes manual pages in roff: of a command and those below it, and of
// a Markdown file, as far as the documentation uses Markdown.
package manual

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A Heading is what is above and below each page.
type Heading struct {
	Date   string // of the source, 2006-01-02
	Source string // the program and its version
}

// Name returns the name of a command's page, such as vipd-check-run.
func Name(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "-")
}

// Documented reports whether a command has a page: not those that cobra adds, nor
// what is hidden.
func Documented(cmd *cobra.Command) bool {
	return cmd.IsAvailableCommand() && cmd.Name() != "completion" && cmd.Name() != "help"
}

// A page is roff that is being written.
type page struct {
	strings.Builder
	fresh bool // nothing stands after the last heading, so that a paragraph needs no space
}

// escape makes text of what roff might take for something else.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "\\`", "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// line writes a line of text. A dot or a quote at its begin would be a request.
func (p *page) line(text string) {
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	p.fresh = false
	p.WriteString(text + "\n")
}

// request writes a request with its arguments.
func (p *page) request(name string, args ...string) {
	p.fresh = name == "SH" || name == "SS"
	p.WriteString("." + name)
	for _, arg := range args {
		p.WriteString(` "` + strings.ReplaceAll(arg, `"`, `\(dq`) + `"`)
	}
	p.WriteString("\n")
}

func (p *page) title(name, section string, h Heading, about string) {
	p.request("TH", escape(strings.ToUpper(name)), section, h.Date, escape(h.Source), about)
}

// name writes the section that whatis and apropos read.
func (p *page) name(name, about string) {
	p.request("SH", "NAME")
	p.line(escape(name) + ` \- ` + escape(about))
}

// paragraph begins one.
func (p *page) paragraph() {
	if !p.fresh {
		p.request("PP")
	}
}

// verbatim writes lines as they stand.
func (p *page) verbatim(lines []string) {
	p.paragraph()
	p.request("RS", "4")
	p.request("nf")
	for _, line := range lines {
		p.line(escape(line))
	}
	p.request("fi")
	p.request("RE")
}

// A Section is one more of a page, whose lines stand as they are.
type Section struct{ Title, Text string }

// Command returns the page of a command, in section 8, with what its flags do not say
// in sections of its own.
func Command(cmd *cobra.Command, h Heading, more ...Section) []byte {
	var p page
	p.title(Name(cmd), "8", h, "System administration")
	p.name(Name(cmd), strings.ToLower(cmd.Short[:1])+cmd.Short[1:])
	p.request("SH", "SYNOPSIS")
	use := strings.Fields(cmd.UseLine())
	words := strings.Fields(cmd.CommandPath())
	p.line(`\fB` + escape(strings.Join(words, " ")) + `\fR ` + escape(strings.Join(use[len(words):], " ")))
	p.request("SH", "DESCRIPTION")
	p.prose(long(cmd))
	p.options("OPTIONS", own(cmd))
	p.options("OPTIONS OF EVERY COMMAND", inherited(cmd))
	p.commands(cmd)
	for _, section := range more {
		p.request("SH", section.Title)
		p.verbatim(strings.Split(strings.TrimRight(section.Text, "\n"), "\n"))
	}
	if cmd.Example != "" {
		p.request("SH", "EXAMPLES")
		p.verbatim(strings.Split(strings.TrimRight(cmd.Example, "\n"), "\n"))
	}
	p.see(cmd)
	return []byte(p.String())
}

// long returns what a command says of itself.
func long(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return cmd.Long
	}
	return cmd.Short + "."
}

// prose writes text as a command's help has it: paragraphs are filled, and what is
// indented stands as it is.
func (p *page) prose(text string) {
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(strings.Trim(paragraph, "\n"), "\n")
		if strings.HasPrefix(lines[0], " ") {
			p.verbatim(lines)
			continue
		}
		p.paragraph()
		for j, line := range lines {
			if j > 0 && strings.HasPrefix(line, " ") {
				p.request("br")
			}
			p.line(escape(strings.TrimSpace(line)))
		}
	}
}

// An option is what a page says of a flag.
type option struct{ name, letter, value, preset, usage string }

// options writes a section of options.
func (p *page) options(title string, options []option) {
	for i, o := range options {
		if i == 0 {
			p.request("SH", title)
		}
		term := `\fB\-\-` + escape(o.name) + `\fR`
		if o.letter != "" {
			term = `\fB\-` + escape(o.letter) + `\fR, ` + term
		}
		if o.value != "" {
			term += ` \fI` + escape(o.value) + `\fR`
		}
		p.request("TP")
		p.line(term)
		if o.preset != "" {
			o.usage += fmt.Sprintf(" (default: %s)", o.preset)
		}
		p.line(escape(o.usage))
	}
}

// own returns the options that a command has by itself, and inherited those that it
// has from the ones above.
func own(cmd *cobra.Command) []option {
	var options []option
	for _, f := range collect(cmd.NonInheritedFlags().VisitAll) {
		if !f.Hidden && f.Name != "help" {
			options = append(options, newOption(f.Name, f.Shorthand, f.Value.Type(), f.DefValue, f.Usage))
		}
	}
	return options
}

func inherited(cmd *cobra.Command) []option {
	var options []option
	for _, f := range collect(cmd.InheritedFlags().VisitAll) {
		if !f.Hidden {
			options = append(options, newOption(f.Name, f.Shorthand, f.Value.Type(), f.DefValue, f.Usage))
		}
	}
	return options
}

// collect returns all that a function visits. Its type follows from that function's:
// the module of cobra's flags needs not be named, nor required, for it.
func collect[T any](visitAll func(func(T))) []T {
	var all []T
	visitAll(func(v T) { all = append(all, v) })
	return all
}

// newOption takes the name of the value from the usage, where it stands in
// backquotes, as a command's help does.
func newOption(name, letter, kind, preset, usage string) option {
	value := kind
	if kind == "bool" {
		value = ""
	}
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		if named, after, ok := strings.Cut(rest, "`"); ok {
			value, usage = named, before+named+after
		}
	}
	if slices.Contains([]string{"false", "0", "0s", "[]"}, preset) {
		preset = ""
	}
	return option{name, letter, value, preset, usage}
}

// commands lists the commands below one.
func (p *page) commands(cmd *cobra.Command) {
	first := true
	for _, sub := range cmd.Commands() {
		if !Documented(sub) {
			continue
		}
		if first {
			p.request("SH", "COMMANDS")
			first = false
		}
		p.request("TP")
		p.line(`\fB` + escape(sub.CommandPath()) + `\fR`)
		p.line(escape(sub.Short) + `; see \fB` + escape(Name(sub)) + `\fR(8).`)
	}
}

// see writes the last section.
func (p *page) see(cmd *cobra.Command) {
	p.request("SH", "SEE ALSO")
	refs := []string{}
	if cmd.HasParent() {
		refs = append(refs, `\fB`+escape(Name(cmd.Parent()))+`\fR(8)`)
	}
	for _, sub := range cmd.Commands() {
		if Documented(sub) {
			refs = append(refs, `\fB`+escape(Name(sub))+`\fR(8)`)
		}
	}
	refs = append(refs, `\fBvipd.yaml\fR(5)`)
	p.line(strings.Join(refs, ",\n"))
	p.request("PP")
	p.line("More is in")
	p.line(`\fI/usr/share/doc/vipd\fR.`)
}

// Markdown returns the page of a file whose first line is its title.
func Markdown(name, section, about string, h Heading, text string) ([]byte, error) {
	var p page
	p.title(name, section, h, "Configuration files")
	p.name(name, about)
	p.request("SH", "DESCRIPTION")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if !strings.HasPrefix(lines[0], "# ") {
		return nil, fmt.Errorf("manual: the first line of %s is no title: %q", name, lines[0])
	}
	if err := p.blocks(lines[1:]); err != nil {
		return nil, fmt.Errorf("manual: %s: %w", name, err)
	}
	p.request("SH", "SEE ALSO")
	p.line(`\fBvipd\fR(8),` + "\n" + `\fBvipd\-check\fR(8)`)
	return []byte(p.String()), nil
}

// item is the begin of an item of a list.
var item = regexp.MustCompile(`^(?:[-*]|[0-9]+\.) +`)

// blocks writes what Markdown is made of: headings, code, tables, lists, paragraphs.
func (p *page) blocks(lines []string) error {
	for i := 0; i < len(lines); {
		line := lines[i]
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "<!--"):
			i++
		case strings.HasPrefix(line, "#"):
			title := strings.TrimLeft(line, "#")
			request := "SS"
			if strings.HasPrefix(line, "## ") {
				request = "SH"
				if !strings.Contains(title, "`") { // a keyword is written as it is
					title = strings.ToUpper(title)
				}
			}
			p.request(request, inline(strings.TrimSpace(title)))
			i++
		case strings.HasPrefix(line, "```"):
			end := i + 1
			for end < len(lines) && lines[end] != "```" {
				end++
			}
			if end == len(lines) {
				return fmt.Errorf("code that begins with %q does not end", line)
			}
			p.verbatim(lines[i+1 : end])
			i = end + 1
		case strings.HasPrefix(line, "|"):
			end := until(lines, i, func(l string) bool { return !strings.HasPrefix(l, "|") })
			if err := p.table(lines[i:end]); err != nil {
				return err
			}
			i = end
		case item.MatchString(line):
			end := until(lines, i+1, func(l string) bool { return item.MatchString(l) || strings.TrimSpace(l) == "" })
			p.request("IP", `\(bu`, "2")
			p.line(inline(strings.Join(trimmed(append([]string{item.ReplaceAllString(line, "")}, lines[i+1:end]...)), " ")))
			i = end
		default:
			end := until(lines, i+1, func(l string) bool {
				return strings.TrimSpace(l) == "" || strings.HasPrefix(l, "```") || strings.HasPrefix(l, "|") || strings.HasPrefix(l, "<!--") || item.MatchString(l)
			})
			p.paragraph()
			p.line(inline(strings.Join(trimmed(lines[i:end]), " ")))
			i = end
		}
	}
	return nil
}

// until returns the first line from i on that ends a block.
func until(lines []string, i int, ends func(string) bool) int {
	for i < len(lines) && !ends(lines[i]) {
		i++
	}
	return i
}

func trimmed(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.TrimSpace(line)
	}
	return out
}

// table writes each row as an entry: the first column is its name, the last one what
// is said of it, and those between follow the name with their headings.
func (p *page) table(rows []string) error {
	if len(rows) < 3 {
		return fmt.Errorf("a table without rows: %q", rows[0])
	}
	headings := cells(rows[0])
	for _, row := range rows[2:] {
		cells := cells(row)
		if len(cells) != len(headings) {
			return fmt.Errorf("a row with %d cells under %d headings: %q", len(cells), len(headings), row)
		}
		p.request("TP")
		p.line(inline(cells[0]))
		var facts []string
		for i := 1; i < len(cells)-1; i++ {
			if cells[i] != "" {
				facts = append(facts, `\fI`+escape(headings[i])+`:\fR `+inline(cells[i]))
			}
		}
		if len(facts) > 0 {
			p.line(strings.Join(facts, "; "))
			p.request("br")
		}
		p.line(inline(cells[len(cells)-1]))
	}
	return nil
}

// cells splits a row of a table.
func cells(row string) []string {
	row = strings.ReplaceAll(row, `\|`, "\x00")
	parts := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|")
	for i := range parts {
		parts[i] = strings.ReplaceAll(strings.TrimSpace(parts[i]), "\x00", "|")
	}
	return parts
}

// marks are Markdown's marks within a line: code, of which two backquotes are needed
// where one is in it; a link, of which the text stays; strong and emphasis.
var marks = regexp.MustCompile("`` ?(.+?) ?``" + "|`([^`]+)`" + `|\[([^]]+)\]\([^)]*\)` + `|\*\*([^*]+)\*\*` + `|\*([^*\s][^*]*)\*`)

// inline makes roff of the marks within a line.
func inline(text string) string {
	var out strings.Builder
	for {
		at := marks.FindStringSubmatchIndex(text)
		if at == nil {
			out.WriteString(escape(text))
			return out.String()
		}
		out.WriteString(escape(text[:at[0]]))
		group := func(i int) (string, bool) {
			if at[2*i] < 0 {
				return "", false
			}
			return text[at[2*i]:at[2*i+1]], true
		}
		if code, ok := group(1); ok {
			out.WriteString(`\fB` + escape(code) + `\fR`)
		} else if code, ok := group(2); ok {
			out.WriteString(`\fB` + escape(code) + `\fR`)
		} else if link, ok := group(3); ok {
			out.WriteString(inline(link))
		} else if strong, ok := group(4); ok {
			out.WriteString(`\fB` + escape(strong) + `\fR`)
		} else if emphasis, ok := group(5); ok {
			out.WriteString(`\fI` + escape(emphasis) + `\fR`)
		}
		text = text[at[1]:]
	}
}
