package config

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const reference = "../docs/configuration.md"

// row writes a row of a Markdown table.
func row(cells ...string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// section writes what belongs after a marker of the reference.
func section(t *testing.T, s *schema, marker string) string {
	t.Helper()
	kind, name, _ := strings.Cut(marker, ":")
	name = strings.TrimSpace(name)
	var b strings.Builder
	names := func(want support, blocks ...*block) {
		var list []string
		for _, bl := range blocks {
			for _, kw := range bl.keywords {
				if kw.support == want {
					list = append(list, "`"+kw.name+"`")
				}
			}
		}
		slices.Sort(list)
		b.WriteString(strings.Join(slices.Compact(list), ", ") + "\n")
	}
	i := slices.IndexFunc(s.blocks(), func(b *block) bool { return b.name == name })
	switch {
	case kind == "keywords" && i >= 0:
		b.WriteString(row("keyword", "value", "default", "meaning") + row("---", "---", "---", "---"))
		for _, kw := range s.blocks()[i].keywords {
			if kw.support != supported {
				continue
			}
			if kw.doc == "" || kw.values == "" {
				t.Errorf("%s has no description", kw.name)
			}
			doc := kw.doc
			if kw.differs != "" {
				doc += " *Difference:* " + kw.differs
			}
			b.WriteString(row("`"+kw.name+"`", kw.values, kw.def, doc))
		}
	case kind == "unsupported" && i >= 0:
		names(unsupported, s.blocks()[i])
	case kind == "lvs":
		names(outOfScope, s.blocks()...)
	case kind == "parts":
		b.WriteString(row("word", "value", "meaning") + row("---", "---", "---"))
		for _, p := range s.instance.find(name).line.parts {
			if p.support != supported {
				b.WriteString(row("`"+p.name+"`", "", "Not supported by this version."))
				continue
			}
			word := "`" + p.name + "`"
			if p.alias != "" {
				word += ", `" + p.alias + "`"
			}
			b.WriteString(row(word, p.values, p.doc))
		}
	default:
		t.Fatalf("%s: unknown marker %q", reference, marker)
	}
	return b.String()
}

func TestReferenceDocumentHasExactlyTheKeywordsOfTheDecoder(t *testing.T) {
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	s := newSchema()
	var out strings.Builder
	var markers []string
	rest := string(data)
	for {
		before, after, found := strings.Cut(rest, "<!-- ")
		out.WriteString(before)
		if !found {
			break
		}
		marker, after, ok := strings.Cut(after, " -->\n")
		_, after, ended := strings.Cut(after, "<!-- end -->\n")
		if !ok || !ended {
			t.Fatalf("%s: marker %q has no end", reference, marker)
		}
		markers = append(markers, marker)
		out.WriteString("<!-- " + marker + " -->\n\n" + section(t, s, marker) + "\n<!-- end -->\n")
		rest = after
	}
	for _, b := range s.blocks() {
		want := "keywords: " + b.name
		if b.name == "" {
			want = "keywords:"
		}
		if !slices.Contains(markers, want) {
			t.Errorf("%s has no section %q", reference, want)
		}
		for _, kw := range b.keywords {
			if !strings.Contains(out.String(), "`"+kw.name+"`") {
				t.Errorf("%s does not mention %s", reference, kw.name)
			}
		}
	}
	golden(t, reference, out.String())
}

func TestExamplesAreWithoutErrorsAndWarnings(t *testing.T) {
	for _, file := range glob(t, "../examples/*.yaml") {
		t.Run(file, func(t *testing.T) {
			c := mustLoad(t, file)
			if len(c.Instances) == 0 {
				t.Error("there is no instance")
			}
			for _, in := range c.Instances {
				if err := invariants(in); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTheRoutersOfAnExamplePairBelongTogether(t *testing.T) {
	a := mustLoad(t, "../examples/v3-pair-a.yaml").Instances[0]
	b := mustLoad(t, "../examples/v3-pair-b.yaml").Instances[0]
	if a.VRID != b.VRID || a.Version != b.Version || a.AdvertInterval != b.AdvertInterval || a.Addresses[0].Prefix != b.Addresses[0].Prefix {
		t.Errorf("%+v and %+v are different virtual routers", a, b)
	}
	if a.Priority <= b.Priority {
		t.Errorf("a has priority %d, b has %d", a.Priority, b.Priority)
	}
}

func TestExamplesUseAddressesForDocumentation(t *testing.T) {
	// RFC 5737, RFC 3849; link-local addresses are nobody's.
	allowed := []string{"192.0.2.", "198.51.100.", "2001:db8:", "fe80:"}
	for _, file := range glob(t, "../examples/*.yaml") {
		for _, in := range mustLoad(t, file).Instances {
			for _, a := range append(append([]Address{}, in.Addresses...), in.Excluded...) {
				if s := a.Prefix.String(); !slices.ContainsFunc(allowed, func(p string) bool { return strings.HasPrefix(s, p) }) {
					t.Errorf("%s: %s", a.Pos, s)
				}
			}
		}
	}
}
