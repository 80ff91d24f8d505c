package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "vipd"

// libraries says what of ours each importable package may know, directly or
// through others. A new package outside cmd needs a row.
var libraries = map[string][]string{
	"vrrp":              {},
	"vrrp/vrrpconn":     {"vrrp"},
	"vrrp/vrrptest":     {"vrrp", "vrrp/vrrpconn"},
	"vrrp/vrrptest/sim": {"vrrp", "vrrp/vrrpconn", "vrrp/vrrptest", "arp"},
	"arp":               {},
	"netif":             {},
	"netif/netiftest":   {"netif"},
	"checks":            {"checks/command"},
	"checks/command":    {},
	"config":            {"vrrp"},
}

// A listed is a package as `go list` tells of it.
type listed struct {
	ImportPath string
	Dir        string
	Standard   bool
	GoFiles    []string
	Imports    []string // directly
	Deps       []string // directly or through others
}

// packages returns every package of the module and all that they import, by
// import path.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,Standard,GoFiles,Imports,Deps", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	all := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// ours returns the part of an import path after the module, and whether it is
// in the module.
func ours(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

func TestALibraryKnowsNoMoreThanItsRowSays(t *testing.T) {
	all := packages(t)
	for name, allowed := range libraries {
		p, ok := all[module+"/"+name]
		if !ok {
			t.Errorf("there is no package %s", name)
		}
		for _, path := range p.Deps {
			if dep, ok := ours(path); ok && !slices.Contains(allowed, dep) {
				t.Errorf("%s knows %s", name, dep)
			}
		}
	}
	for path := range all {
		name, ok := ours(path)
		if _, known := libraries[name]; ok && !known && !strings.HasPrefix(name, "cmd/") {
			t.Errorf("%s is importable and has no row in the table", name)
		}
	}
}

// TestOnlyTheDaemonKnowsBothTheConfigurationAndTheEdges keeps the types of the
// configuration out of everything that does the work: the daemon translates.
func TestOnlyTheDaemonKnowsBothTheConfigurationAndTheEdges(t *testing.T) {
	const daemon = "cmd/internal/daemon"
	edges := []string{"vrrp/vrrpconn", "arp", "netif"}

	seen := false
	for path, p := range packages(t) {
		name, ok := ours(path)
		if !ok || !slices.Contains(p.Imports, module+"/config") {
			continue
		}
		for _, edge := range edges {
			if !slices.Contains(p.Imports, module+"/"+edge) {
				continue
			}
			seen = seen || name == daemon
			if name != daemon {
				t.Errorf("%s imports both config and %s", name, edge)
			}
		}
	}
	if !seen {
		t.Errorf("%s does not import both config and one of %v: the test looks at nothing", daemon, edges)
	}
}

func TestTheCoreImportsNothingThatDoesIO(t *testing.T) {
	all := packages(t)
	p, ok := all[module+"/vrrp"]
	if !ok {
		t.Fatal("there is no package vrrp")
	}
	for _, path := range p.Imports {
		switch path {
		case "net", "os", "os/exec", "syscall", "context", "sync", "sync/atomic", "log", "log/slog", "math/rand", "math/rand/v2":
			t.Errorf("vrrp imports %s", path)
		}
		if !all[path].Standard {
			t.Errorf("vrrp imports %s, which is not of the standard library", path)
		}
	}
}

// pure lists the files that must behave the same whenever they run: a directory
// stands for all its files.
var pure = map[string][]string{
	"vrrp": nil,
	"arp":  {"arp.go", "schedule.go", "limiter.go"},
}

func TestTheCoreHasNoClockAndNoGoroutine(t *testing.T) {
	all := packages(t)
	for name, files := range pure {
		p := all[module+"/"+name]
		if files == nil {
			files = p.GoFiles
		}
		if len(files) == 0 {
			t.Errorf("%s has no files", name)
		}
		for _, file := range files {
			for _, found := range impurities(t, filepath.Join(p.Dir, file)) {
				t.Error(found)
			}
		}
	}
}

// impurities returns where a file reads the clock, waits, or starts a goroutine.
func impurities(t *testing.T, path string) []string {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, fmt.Sprintf("%s: starts a goroutine", fset.Position(n.Pos())))
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); !ok || pkg.Name != "time" {
				break
			}
			switch n.Sel.Name {
			case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker":
				found = append(found, fmt.Sprintf("%s: uses time.%s", fset.Position(n.Pos()), n.Sel.Name))
			}
		}
		return true
	})
	return found
}

func TestTheSearchForClocksFindsThem(t *testing.T) {
	all := packages(t)
	if got := impurities(t, filepath.Join(all[module+"/arp"].Dir, "conn.go")); len(got) == 0 {
		t.Error("arp/conn.go sets deadlines by the clock, and that was not found")
	}
}
