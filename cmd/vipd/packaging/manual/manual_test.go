package manual

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var heading = Heading{Date: "2026-11-21", Source: "vipd 1.2.3"}

func TestMarkdownBecomesRoff(t *testing.T) {
	for name, test := range map[string]struct{ markdown, want string }{
		"paragraphs are filled": {"one\ntwo\n\nthree", "one two\n.PP\nthree\n"},
		"marks within a line": {
			"`a-b`, **strong**, *emphasis*, [a `link`](x.md#y), ``a ` b``, 2 * 3 * 4",
			`\fBa\-b\fR, \fBstrong\fR, \fIemphasis\fR, a \fBlink\fR, \fBa` + " \\` " + `b\fR, 2 * 3 * 4` + "\n",
		},
		"what roff would take for something else": {
			".so /etc/passwd\n\n'tis \\fB not ~ or ^",
			"\\&.so /etc/passwd\n.PP\n\\(aqtis \\efB not \\(ti or \\(ha\n",
		},
		"headings": {"## Of this\n\n## Of `this`\n\ntext\n\n### and that", ".SH \"OF THIS\"\n.SH \"Of \\fBthis\\fR\"\ntext\n.SS \"and that\"\n"},
		"code stands as it is, without a space after a heading": {
			"## X\n\n```yaml\n.a: 'b'\n  - c\n\n```\n\n```\nd\n```",
			".SH \"X\"\n.RS \"4\"\n.nf\n\\&.a: \\(aqb\\(aq\n  \\- c\n\n.fi\n.RE\n.PP\n.RS \"4\"\n.nf\nd\n.fi\n.RE\n",
		},
		"lists": {"- one\n  and more\n- two\n\nafter", ".IP \"\\(bu\" \"2\"\none and more\n.IP \"\\(bu\" \"2\"\ntwo\n.PP\nafter\n"},
		"a table is a list of its rows": {
			"<!-- keywords: x -->\n\n| keyword | value | default | meaning |\n| --- | --- | --- | --- |\n| `a` | 1 \\| 2 |  | What it is. |\n| `b` | x | y | Other. |\n\n<!-- end -->",
			".TP\n\\fBa\\fR\n\\fIvalue:\\fR 1 | 2\n.br\nWhat it is.\n.TP\n\\fBb\\fR\n\\fIvalue:\\fR x; \\fIdefault:\\fR y\n.br\nOther.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := Markdown("x.yaml", "5", "about x", heading, "# Title\n\n"+test.markdown+"\n")
			if err != nil {
				t.Fatal(err)
			}
			_, body, _ := strings.Cut(string(page), ".SH \"DESCRIPTION\"\n")
			got, _, _ := strings.Cut(body, ".SH \"SEE ALSO\"\n")
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestMarkdownThatIsNotUnderstoodIsAnError(t *testing.T) {
	for name, text := range map[string]string{
		"no title":                 "text",
		"code without an end":      "# T\n\n```\ncode",
		"a table without rows":     "# T\n\n| a | b |\n| - | - |",
		"a row of another length":  "# T\n\n| a | b |\n| - | - |\n| a | b | c |",
		"nothing at all, not even": "",
	} {
		if page, err := Markdown("x.yaml", "5", "about x", heading, text); err == nil {
			t.Errorf("%s: no error, but %q", name, page)
		}
	}
}

func TestACommandBecomesAPage(t *testing.T) {
	root := &cobra.Command{Use: "prog", Short: "Do things"}
	sub := &cobra.Command{
		Use: "sub NAME...", Short: "Do one thing", Run: func(*cobra.Command, []string) {},
		Long:    "Do one thing\nwell.\n\n  as it stands\n\nExit codes: 0 done.",
		Example: "prog sub a",
	}
	sub.Flags().StringP("file", "f", "/etc/x", "the `FILE` to do it with")
	sub.Flags().Bool("all", false, "all of it")
	sub.Flags().String("secret", "", "")
	if err := sub.Flags().MarkHidden("secret"); err != nil {
		t.Fatal(err)
	}
	root.AddCommand(sub, &cobra.Command{Use: "hidden", Hidden: true, Run: func(*cobra.Command, []string) {}})

	want := `.TH "PROG\-SUB" "8" "2026-11-21" "vipd 1.2.3" "System administration"
.SH "NAME"
prog\-sub \- do one thing
.SH "SYNOPSIS"
\fBprog sub\fR NAME... [flags]
.SH "DESCRIPTION"
Do one thing
well.
.PP
.RS "4"
.nf
  as it stands
.fi
.RE
.PP
Exit codes: 0 done.
.SH "OPTIONS"
.TP
\fB\-\-all\fR
all of it
.TP
\fB\-f\fR, \fB\-\-file\fR \fIFILE\fR
the FILE to do it with (default: /etc/x)
.SH "MORE"
.RS "4"
.nf
\&.x
.fi
.RE
.SH "EXAMPLES"
.RS "4"
.nf
prog sub a
.fi
.RE
.SH "SEE ALSO"
\fBprog\fR(8),
\fBvipd.yaml\fR(5)
.PP
More is in
\fI/usr/share/doc/vipd\fR.
`
	if got := string(Command(sub, heading, Section{"MORE", ".x\n"})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	top := string(Command(root, heading))
	if !strings.Contains(top, ".SH \"COMMANDS\"\n.TP\n\\fBprog sub\\fR\nDo one thing; see \\fBprog\\-sub\\fR(8).\n") || strings.Contains(top, "hidden") {
		t.Errorf("the page of all is\n%s", top)
	}
}
