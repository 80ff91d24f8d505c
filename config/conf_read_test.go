package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// tree prints what the front-end makes of a text, one statement a line.
func tree(t *testing.T, text, id string) (string, Diagnostics) {
	t.Helper()
	r := &report{files: []string{"k"}}
	root := readConf(r, newSchema(), id, func(c *confReader) { c.push("k", strings.NewReader(text), nil) })
	return dumpTree(root), r.diags.sorted(r.files)
}

// dumpTree prints the statements below a node.
func dumpTree(n *node) string {
	var b strings.Builder
	var dump func(n *node, indent string)
	dump = func(n *node, indent string) {
		for _, c := range n.children {
			b.WriteString(indent + c.key)
			for _, w := range c.args {
				fmt.Fprintf(&b, " [%s]", w.text)
			}
			b.WriteByte('\n')
			dump(c, indent+"  ")
		}
	}
	dump(n, "")
	return b.String()
}

// addressLines wraps lines into an instance, and unwraps what the tree shows.
func addressLines(t *testing.T, text, id string) (string, Diagnostics) {
	t.Helper()
	got, diags := tree(t, "vrrp_instance I {\nvirtual_ipaddress {\n"+text+"\n}\n}\n", id)
	got, ok := strings.CutPrefix(got, "vrrp_instance [I]\n  virtual_ipaddress\n")
	if !ok {
		t.Fatalf("got %s", got)
	}
	return strings.ReplaceAll(got, "    ", ""), diags
}

func TestConfStatementsBecomeATree(t *testing.T) {
	const global = "global_defs\n"
	for _, tt := range []struct{ name, text, want string }{
		{"a block", "global_defs {\n  router_id a\n}\n", global + "  router_id [a]\n"},
		{"no final newline", "global_defs {\nrouter_id a\n}", global + "  router_id [a]\n"},
		{"line ends of Windows", "global_defs {\r\n router_id a\r\n}\r\n", global + "  router_id [a]\n"},
		{"byte order mark", "\xef\xbb\xbfglobal_defs {\nrouter_id a\n}\n", global + "  router_id [a]\n"},
		{"tabs and form feeds", "\tglobal_defs\f{\v\n\t\trouter_id\t a \n}", global + "  router_id [a]\n"},
		{"brace on the next line", "global_defs\n\n{\nrouter_id a\n}\n", global + "  router_id [a]\n"},
		{"brace after a comment", "global_defs # x\n! y\n{\nrouter_id a\n}\n", global + "  router_id [a]\n"},
		{"brace without blank", "global_defs{\nrouter_id a}\n", global + "  router_id [a]\n"},
		{"all on one line", "global_defs { router_id a }", global + "  router_id [a]\n"},
		{"what follows a closing brace", "global_defs { router_id a } vrrp_script s { script x }", global + "  router_id [a]\nvrrp_script [s]\n  script [x]\n"},
		{"comments", "# a {\nglobal_defs { ! b }\nrouter_id a#c\n} ! d", global + "  router_id [a]\n"},
		{"comment sign in quotes", "global_defs {\nrouter_id \"a#!b\" # c\n}", global + "  router_id [a#!b]\n"},
		{"backslashes", `global_defs {` + "\n" + `router_id a\b\\c # d` + "\n}", global + `  router_id [a\b\\c]` + "\n"},
		{"quote in mid-word begins another word", "vrrp_instance \"a b\" {\n}", "vrrp_instance [a b]\n"},
		{"quoted braces", "vrrp_script s {\nscript \"awk '{print}'\" }", "vrrp_script [s]\n  script [awk '{print}']\n"},
		{"octets that are not UTF-8", "global_defs {\nrouter_id caf\xe9\n}", global + "  router_id [caf\xe9]\n"},
		{"command with user", "vrrp_instance I {\nnotify_master \"/x 'a b' c\" u g\n}", "vrrp_instance [I]\n  notify_master [/x 'a b' c] [u] [g]\n"},
		{"command with escapes", `vrrp_instance I {` + "\n" + `notify /x\ y"\tz\x41\101"` + "\n}", "vrrp_instance [I]\n  notify [/x y\tzAA]\n"},
		{"process is split like any other line", `vrrp_track_process P {` + "\n" + `process "a b" c\x41` + "\n}", "vrrp_track_process [P]\n" + `  process [a b] [c\x41]` + "\n"},
		{"list", "vrrp_sync_group G { group {\nA B\nC # x\n} }", "vrrp_sync_group [G]\n  group\n    A [B]\n    C\n"},
		{"unknown block", "global_defs {\nfoo {\n bar { baz\n } }\nrouter_id a\n}", global + "  foo\n  router_id [a]\n"},
		{"LVS block", "virtual_server 192.0.2.1 80 {\n real_server 192.0.2.2 80 { weight 1 } }\nglobal_defs { }", "virtual_server [192.0.2.1] [80]\n" + global},
		{"dollar without definition", "global_defs {\nrouter_id $a${b}c$\n}", global + "  router_id [$a${b}c$]\n"},
		{"nothing", "", ""},
		{"nothing but a comment", "! x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, diags := tree(t, tt.text, "")
			if got != tt.want || len(diags) > 0 {
				t.Errorf("got:\n%swant:\n%s%s", got, tt.want, diags)
			}
		})
	}
}

func TestConfDefinitionsAreReplaced(t *testing.T) {
	t.Setenv("VIPD_TEST_VALUE", "192.0.2.77")
	for _, tt := range []struct{ name, text, want string }{
		{"followed by a blank", "$A=192.0.2.1\n$A dev eth0", "192.0.2.1 [dev] [eth0]\n"},
		{"followed by other text", "$A=192.0.2.1\n$A/24 dev $A", "$A/24 [dev] [192.0.2.1]\n"},
		{"in braces", "$A=192.0.2\n${A}.1/24", "192.0.2.1/24\n"},
		{"value with blanks", "$A=192.0.2.1 dev eth0\n$A", "192.0.2.1 [dev] [eth0]\n"},
		{"when it is used, not when it is defined", "$A=192.0.${B}\n$B=2\n${A}.1\n$B=3\n${A}.1", "192.0.2.1\n192.0.3.1\n"},
		{"blank before the equals sign", "$A =1", "$A [=1]\n"},
		{"empty", "$A=\n192.0.2.1${A}", "192.0.2.1\n"},
		{"environment", "${_ENV VIPD_TEST_VALUE}", "192.0.2.77\n"},
		{"environment without the variable", "192.0.2.1${_ENV VIPD_TEST_NONE}", "192.0.2.1\n"},
		{"a hash begins a comment", "192.0.2.1 ${_HASH} dev eth0", "192.0.2.1\n"},
		{"a bang, too", "192.0.2.1${_BANG}2", "192.0.2.1\n"},
		{"config-id", "label ${_INSTANCE}", "label [node1]\n"},
		{"standard one redefined", "$_HASH=x\n192.0.2.1${_HASH}", "192.0.2.1x\n"},
		{"several lines", "$A= \\\n 192.0.2.1 \\\n # no\n192.0.2.2 \\\n192.0.2.3\n$A\n192.0.2.4", "192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n"},
		{"several lines, the first at once", "$A=192.0.2.1 \\\n192.0.2.2\n$A", "192.0.2.1\n192.0.2.2\n"},
		{"an empty line ends it", "$A= \\\n192.0.2.1 \\\n\n192.0.2.2\n$A", "192.0.2.2\n192.0.2.1\n"},
		{"several lines nested", "$A= \\\n$B=2 \\\n192.0.2.$B \\\n192.0.2.3\n$C= \\\n$A \\\n192.0.2.${B}9\n$C", "192.0.2.2\n192.0.2.3\n192.0.2.29\n"},
		{"several lines in mid-line", "$A= \\\n192.0.2.1 \\\n192.0.2.2\n$A x", "$A [x]\n"},
		{"condition that holds", "@node1 192.0.2.1", "192.0.2.1\n"},
		{"condition that does not", "@node2 192.0.2.1", ""},
		{"reverse condition", "@^node2 192.0.2.1\n@^node1 192.0.2.2", "192.0.2.1\n"},
		{"condition without text", "@node1\n192.0.2.1", "192.0.2.1\n"},
		{"condition on a definition", "@node1 $A=192.0.2.1\n@node2 $A=192.0.2.2\n$A", "192.0.2.1\n"},
		{"condition in a definition", "$IF=@node1\n$IF 192.0.2.1", "192.0.2.1\n"},
		{"sequence", "~SEQ(N, 1, 3) 192.0.2.$N", ""},
		{"sequence with braces", "~SEQ(N, 1, 3) 192.0.2.${N}", "192.0.2.1\n192.0.2.2\n192.0.2.3\n"},
		{"sequence from one", "~SEQ(N,2) 192.0.2.${N}", "192.0.2.1\n192.0.2.2\n"},
		{"sequence downwards", "~SEQ(N,3,2) 192.0.2.${N}", "192.0.2.3\n192.0.2.2\n"},
		{"sequence in steps", "~SEQ(N,10,-5,0) 192.0.2.${N}", "192.0.2.10\n192.0.2.5\n192.0.2.0\n"},
		{"sequence in hex", "~SEQx(N,0x90, 16 ,0xb0) fe80::${N}", "fe80::90\nfe80::a0\nfe80::b0\n"},
		{"sequence with a definition", "$END=2\n~SEQ(N,$END) 192.0.2.${N}", "192.0.2.1\n192.0.2.2\n"},
		{"sequences nested", "~SEQ(A,1,2) ~SEQ(B,3,4) 192.0.${A}.${B}", "192.0.1.3\n192.0.1.4\n192.0.2.3\n192.0.2.4\n"},
		{"list", "~LST(N, a, b) x$N\n~LST(N, 7,8 ) 192.0.2.${N}", ""},
		{"list of several", "~LST({A, B}, {1,2},{3}, {4,5}) 192.${A}.2.${B}", "192.1.2.2\n192.3.2.\n192.4.2.5\n"},
		{"list and sequence", "~LST(A,1,2) ~SEQ(B,168,2,170) 192.${B}.${A}.1", "192.168.1.1\n192.170.1.1\n192.168.2.1\n192.170.2.1\n"},
		{"sequence of several lines", "$V= \\\n192.0.2.${N} \\\n192.0.3.${N}\n~SEQ(N,1,2) $V", "192.0.2.1\n192.0.3.1\n192.0.2.2\n192.0.3.2\n"},
		{"sequence in a definition", "$V=~SEQ(N,1,2) 192.0.2.${N}\n$V", "192.0.2.1\n192.0.2.2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, diags := addressLines(t, tt.text, "node1")
			switch tt.name {
			case "sequence":
				tt.want = "192.0.2.1\n192.0.2.2\n192.0.2.3\n" // $N at the end of the line
			case "list":
				tt.want = "xa\nxb\n192.0.2.7\n192.0.2.8\n"
			}
			if got != tt.want || len(diags) > 0 {
				t.Errorf("got:\n%swant:\n%s%s", got, tt.want, diags)
			}
		})
	}
}

func TestConfPositionsLeadToWhereTextWasWritten(t *testing.T) {
	text := "$NET=192.0.2\n" + // 1
		"$LINES= \\\n" + // 2
		"  ${NET}.1 dev é x \\\n" + // 3
		"  192.0.2.2\n" + // 4
		"vrrp_instance I { virtual_ipaddress {\n" + // 5
		"\t$LINES\n" + // 6
		"  é ${NET}.3 é\n" + // 7
		"  ~SEQ(N,1) 192.0.2.${N} z\n" // 8
	r := &report{files: []string{"k"}}
	root := readConf(r, newSchema(), "", func(c *confReader) { c.push("k", strings.NewReader(text), nil) })
	var got []string
	list := root.children[0].children[0]
	for _, n := range list.children {
		line := fmt.Sprintf("%s@%s", n.key, n.pos)
		for _, w := range n.args {
			line += fmt.Sprintf(" %s@%s", w.text, w.pos)
		}
		got = append(got, strings.ReplaceAll(line, "k:", ""))
	}
	want := []string{
		"192.0.2.1@1:6 dev@3:12 é@3:16 x@3:18",
		"192.0.2.2@4:3",
		"é@7:3 192.0.2.3@1:6 é@7:14",
		"192.0.2.1@8:13 z@8:26",
	}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("line %d: got %q, want %s", i, got, want[i])
		}
	}
	if pos := list.pos.String(); pos != "k:5:19" {
		t.Errorf("virtual_ipaddress is at %s", pos)
	}
}

func TestConfCommentsStayWithTheirStatements(t *testing.T) {
	r := &report{files: []string{"k"}}
	root := readConf(r, newSchema(), "", func(c *confReader) {
		c.push("k", strings.NewReader("# one\n! two\nglobal_defs { # three\nrouter_id a # four\n# five\n}\n#six\nvrrp_script s\n{\nscript x\n}\n# seven"), nil)
	})
	for path, want := range map[string]string{
		"0": "# one|# two|# three", "0.0": "# four|# five", "1": "#six|# seven",
	} {
		n := root
		for i := range strings.SplitSeq(path, ".") {
			n = n.children[int(i[0]-'0')]
		}
		if got := strings.Join(n.comments, "|"); got != want {
			t.Errorf("%s: got %s, want %s", n.path(), got, want)
		}
	}
}

func TestConfMistakesInWritingAreReportedOnce(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"global_defs {\nrouter_id a\n", "k:1:1: global_defs: warning: the block that begins here is not closed (is there a brace missing?)\n"},
		{"global_defs {\n}\n}\n", "k:3:1: warning: there is no block to close here (is there a brace too many before?)\n"},
		{"{ router_id a }", "k:1:1: warning: a block begins here without a keyword: it is skipped\n"},
		{"global_defs\nrouter_id a\n}", "k:1:1: global_defs: warning: the brace that opens the block is missing\n"},
		{"global_defs {\nrouter_id \"a\n}", "k:2:11: global_defs.router_id: warning: a double quote is not closed (quotes end on the line on which they begin)\n"},
		{"vrrp_instance I {\nnotify 'a\n}", "k:2:8: vrrp_instance.I.notify: warning: a quote (') is not closed\n"},
		{"vrrp_instance I {\nvirtual_ipaddress 192.0.2.1\n}", "k:2:1: vrrp_instance.I.virtual_ipaddress: warning: virtual_ipaddress is a block: the brace that opens it is missing (write virtual_ipaddress { … })\n"},
		{"vrrp_instance I J {\n}", "k:1:17: vrrp_instance.I: warning: \"J\" is ignored\n"},
		{"global_defs {\nrouter_id a \\\n}", "k:2:12: warning: a backslash continues only definitions ($NAME=…): it is ignored (write the statement on one line)\n"},
		{"global_defs {\nrouter_id a\\#b\n}", "k:2:12: warning: a comment begins here in spite of the backslash, as in keepalived (use double quotes)\n"},
		{"a\x00b", "k:1:1: warning: the line contains a NUL octet: it is ignored\n"},
		{"include x", "k:1:1: a configuration that is not read from a file cannot include others\n"},
		{"include", "k:1:1: warning: include needs a file name\n"},
		{"~SEQ N x", "k:1:1: warning: the parameters of ~SEQ are not in parentheses (such as ~SEQ(N, 1, 4), or ~SEQ(N, 10, 5, 30))\n"},
		{"~SEQ(N,1,a) x", "k:1:1: warning: \"a\" is not a number (such as ~SEQ(N, 1, 4), or ~SEQ(N, 10, 5, 30))\n"},
		{"~SEQ(N,1,-1,4) x", "k:1:1: warning: from 1 in steps of -1, 4 is never reached\n"},
		{"~SEQx(N,-1,4) x", "k:1:1: warning: ~SEQx has no negative numbers\n"},
		{"~LST({A,B},{1,2,3}) x", "k:1:1: warning: there are more values (3) than variables (2)\n"},
		{"~LST(A) x", "k:1:1: warning: the parameters of ~LST cannot be read (such as ~LST(NAME, a, b), or ~LST({NAME,N}, {a,1}, {b,2}))\n"},
		{"$A=x${A}\n$A", "k:1:5: warning: the line gets too long when definitions are replaced (does A contain itself?)\n"},
		{"${_RANDOM 5 3}", "k:1:1: warning: the least random number (5) is above the largest (3)\n"},
		{"${_RANDOM a}", "k:1:1: warning: \"a\" is not a whole number\n"},
		{"${_ENV}", "k:1:1: warning: _ENV takes 1 parameter, not 0\n"},
		{"${_PWD x}", "k:1:1: warning: _PWD takes no parameters\n"},
	} {
		_, diags := tree(t, tt.text, "")
		if got := diags.String(); got != tt.want {
			t.Errorf("%q: got:\n%swant:\n%s", tt.text, got, tt.want)
		}
	}
}

func TestConfRandomNumbersAreThoseOfTheSeed(t *testing.T) {
	// The first numbers of random(3) after srandom(1), as glibc draws them.
	g := newConfRandom(1)
	for _, want := range []uint32{1804289383, 846930886, 1681692777, 1714636915} {
		if got := g.next(); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	// The seed counts for numbers before it, too.
	got, diags := tree(t, "$A=${_RANDOM 10 19}\nvrrp_instance V${_RANDOM} { priority ${A} }\nglobal_defs { random_seed 1 }", "")
	if want := "vrrp_instance [V6559]\n"; !strings.HasPrefix(got, want) && len(diags) == 0 {
		first := newConfRandom(1).next() % 32768
		if want = fmt.Sprintf("vrrp_instance [V%d]\n", first); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// write makes files in a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// treeOf reads a file and what it includes. The directory is taken out of
// positions.
func treeOf(t *testing.T, dir, name string) (string, string, []string) {
	t.Helper()
	path := filepath.Join(dir, name)
	r := &report{files: []string{path}}
	root := readConf(r, newSchema(), "", func(c *confReader) {
		c.including = true
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		c.push(path, f, f.Close)
	})
	var files []string
	for _, f := range r.files {
		files = append(files, strings.TrimPrefix(f, dir+"/"))
	}
	return dumpTree(root), strings.ReplaceAll(r.diags.sorted(r.files).String(), dir+"/", ""), files
}

func TestConfFilesIncludeOthers(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"main.conf":     "include conf.d/*.conf\ninclude conf.d/{x,y}/*.inc\nvrrp_script last { script x }\n",
		"conf.d/b.conf": "vrrp_script b {\ninclude common.inc\n}\n",
		"conf.d/a.conf": "$W=${_PWD}\nvrrp_script a {\ninclude common.inc\nuser $W\n}\n",
		// Hidden, so not matched.
		"conf.d/.hidden.conf": "vrrp_script hidden { }",
		"conf.d/common.inc":   "interval 2\n",
		"conf.d/x/1.inc":      "include ../y/1.inc\nvrrp_script x1 { }",
		"conf.d/y/1.inc":      "vrrp_script y1 { }",
		"conf.d/y/1.conf":     "bad",
	})
	got, diags, files := treeOf(t, dir, "main.conf")
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := "vrrp_script [a]\n  interval [2]\n  user [" + real + "/conf.d]\nvrrp_script [b]\n  interval [2]\nvrrp_script [y1]\nvrrp_script [x1]\nvrrp_script [y1]\nvrrp_script [last]\n  script [x]\n"
	if got != want || diags != "" {
		t.Errorf("got:\n%swant:\n%s%s", got, want, diags)
	}
	if got, want := fmt.Sprint(files), "[main.conf conf.d/a.conf conf.d/common.inc conf.d/b.conf conf.d/x/1.inc conf.d/y/1.inc]"; got != want {
		t.Errorf("files are %s, want %s", got, want)
	}
}

func TestConfIncludesThatFail(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"loop.conf": "include loop2.conf\n", "loop2.conf": "\ninclude loop.conf\n",
		"exec.conf": "x", "here.conf": "",
	})
	if err := os.Chmod(filepath.Join(dir, "exec.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want string }{
		{"include none.conf", "main.conf:1:9: warning: none.conf cannot be read: no such file or directory\n"},
		{"includer none.conf", "main.conf:1:10: warning: none.conf cannot be read: no such file or directory\n"},
		{"includem none.conf", "main.conf:1:10: none.conf cannot be read: no such file or directory\n"},
		{"include none*.conf", ""},
		{"includew none*.conf", "main.conf:1:10: no file matches none*.conf\n"},
		{"includem {here,none}.conf", "main.conf:1:10: warning: none.conf cannot be read: no such file or directory\n"},
		{"includeb {here,none}.conf", "main.conf:1:10: none.conf cannot be read: no such file or directory\n"},
		{"includea none*", "main.conf:1:10: no file matches none*\n"},
		{"global_defs { include_check }\nincludem none*", "main.conf:2:10: no file matches none*\n"},
		{"global_defs {\ninclude_check match +wildcard_match -match\n}\ninclude none.conf\ninclude none*", "main.conf:4:9: warning: none.conf cannot be read: no such file or directory\nmain.conf:5:9: no file matches none*\n"},
		{"include [", "main.conf:1:9: warning: \"[\" is not a pattern\n"},
		{"include .", "main.conf:1:9: warning: . is a directory: it is not read\n"},
		{"includer exec.conf", "main.conf:1:10: exec.conf is executable, so it is taken for something else than a configuration: it is not read (chmod -x exec.conf)\n"},
		{"include /dev/zero", "main.conf:1:9: warning: /dev/zero is not a regular file: it is not read\n"},
		{"include loop.conf", "loop2.conf:2:9: loop.conf includes itself: it is being read already\n"},
		{"include {" + strings.Repeat("a,", 1100) + "}", "main.conf:1:9: warning: \"{" + strings.Repeat("a,", 39) + "a…\" has more than 1000 alternatives\n"},
	} {
		write(t, dir, map[string]string{"main.conf": tt.text})
		_, got, _ := treeOf(t, dir, "main.conf")
		if got = strings.ReplaceAll(got, dir, "."); got != tt.want {
			t.Errorf("%.60q: got:\n%swant:\n%s", tt.text, got, tt.want)
		}
	}
}

// A repeating reader reads the same text for ever.
type repeating struct {
	s string
	i int
}

func (r *repeating) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		k := copy(p[n:], r.s[r.i:])
		r.i = (r.i + k) % len(r.s)
		n += k
	}
	return len(p), nil
}

// peak runs f and returns by how much the heap grew at most, in MiB, as far as
// samples tell.
func peak(f func()) float64 {
	// What is in use counts, not what a busy machine has not collected yet.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > most.Load() {
				most.Store(m.HeapAlloc)
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	f()
	close(done)
	<-stopped
	return (float64(most.Load()) - float64(before.HeapAlloc)) / (1 << 20)
}

func TestConfThatIsTooLargeIsRefusedWithoutHarm(t *testing.T) {
	repeat := func(s string) func() io.Reader {
		return func() io.Reader { return io.LimitReader(&repeating{s: s}, 100<<20) }
	}
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	for _, tt := range []struct {
		name string
		text func() io.Reader
		want string // of the first error
	}{
		{"a line of 100 MiB", repeat("a"), "the line is longer than 16 KiB"},
		{"a comment of 100 MiB", repeat("#"), "the line is longer than 16 KiB"},
		{"100 MiB of lines", repeat("vrrp_instance I {\n"), "the configuration is too large"},
		{"100 MiB of empty lines", repeat("\n"), "the configuration is too large"},
		{"100 MiB of comments", repeat("# x\n"), "the configuration is too large"},
		{"100 MiB of unknown keywords", repeat("x\n"), "the configuration is too large"},
		{"100 MiB of words", repeat(strings.Repeat("x ", 8000) + "\n"), "the configuration is too large"},
		{"100 MiB of escapes", repeat(strings.Repeat(`\#`, 8000) + "\n"), "the configuration is too large"},
		{"100 MiB of dollars", repeat(strings.Repeat(`${a`, 5000) + "\n"), "the configuration is too large"},
		{"100 MiB of addresses", func() io.Reader {
			return io.MultiReader(strings.NewReader("vrrp_instance I {\nvirtual_ipaddress {\n"), repeat("192.0.2.1\n")())
		}, "the configuration is too large"},
		{"nested sequences", text(strings.Repeat("~SEQ(N,1000000000)", 50) + " x"), "the configuration is too large"},
		{"sequence of what is left out", text("~SEQ(N,1000000000) @x y"), "the configuration is too large"},
		{"sequence of definitions", text("~SEQ(N,1000000000) $X=y"), "the configuration is too large"},
		{"sequence of addresses", text("vrrp_instance I {\nvirtual_ipaddress {\n~SEQ(A,255) ~SEQ(B,255) ~SEQ(C,255) 10.${A}.${B}.${C}\n}\n}"), "the configuration is too large"},
		{"definition that doubles itself", text("$A=${B}${B}\n$B=${C}${C}\n$C=${D}${D}\n$D=${A}${A}\n$A"), ""},
		{"lines that double themselves", text("$A= \\\nx \\\n$B\n$B= \\\n$A \\\n$A\n$A"), "the configuration is too large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := tt.text()
			read := func(c *confReader) { c.push("k", data, nil) }
			var diags Diagnostics
			start := time.Now()
			mib := peak(func() { _, diags = decodeConf("k", Options{ConfigID: "id"}, read) })
			if mib > 64 {
				t.Errorf("it took %.0f MiB", mib)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			t.Logf("%.0f MiB, %s, %d diagnostics", mib, time.Since(start), len(diags))
			if tt.want != "" && !strings.Contains(diags.String(), tt.want) {
				t.Errorf("got %.300s, want %s", diags, tt.want)
			}
		})
	}
}

// FuzzParseConf feeds arbitrary files to the front-end for keepalived.conf.
func FuzzParseConf(f *testing.F) {
	for _, s := range []string{
		"global_defs {\nrouter_id \"a b\" # c\n}\nvrrp_instance I { state MASTER\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 192.0.2.1/24 dev eth1 }\n}\n",
		"$A= \\\n x \\\n y\n$A\n~SEQ(N,1,3) ~LST({B,C},{1,2}) z${N}${B}\n@id x\n@^id y ${_RANDOM 1 2} ${_PWD}",
		// A misspelt auth_pass is none.
		"vrrp_instance 0\n interface 0\n virtual_router_id 1\n authentication\nauth_type PASS\nAthpAss",
		"virtual_server 1 {\n} } {\n\"\nnotify '\\x\\", "\xef\xbb\xbf\xff\x00\r\n", "$A=~SEQ(x,2)$A\n$A",
	} {
		f.Add([]byte(s))
	}
	for _, file := range glob(f, "testdata/conf/*.conf") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, diags := decodeConf("fuzz.conf", Options{ConfigID: "id"}, func(c *confReader) { c.push("fuzz.conf", bytes.NewReader(data), nil) })
		for _, d := range diags {
			if d.Message == "" || d.Line < 0 || d.Line > bytes.Count(data, []byte("\n"))+1 || d.Col < 0 {
				t.Errorf("diagnostic %+v", d)
			}
		}
		if c == nil {
			return
		}
		for _, in := range c.Instances {
			if err := invariants(in); err != nil {
				t.Error(err)
			}
		}
	})
}
