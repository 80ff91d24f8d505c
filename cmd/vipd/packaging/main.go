// Command packaging builds the packages of vipd, deb and rpm, for amd64 and arm64:
// it puts their contents together in a directory, and has nfpm pack them. The same
// source gives the same bytes, wherever and whenever that is done.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// A kind is a package of one format for one architecture, by Go's name of that.
type kind struct{ format, arch string }

// kinds are the packages that are built when nothing else is asked for.
func kinds() []kind {
	return []kind{{"deb", "amd64"}, {"rpm", "amd64"}, {"deb", "arm64"}, {"rpm", "arm64"}}
}

// file is the name of a package, as its world has it.
func (k kind) file(version string) string {
	if k.format == "rpm" {
		return fmt.Sprintf("vipd-%s-1.%s.rpm", version, map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[k.arch])
	}
	return fmt.Sprintf("vipd_%s_%s.deb", version, k.arch)
}

// choose returns the kinds in a list such as deb/amd64,rpm/arm64, or all of them.
func choose(list string) ([]kind, error) {
	if list == "" {
		return kinds(), nil
	}
	var chosen []kind
	for word := range strings.SplitSeq(list, ",") {
		format, arch, _ := strings.Cut(word, "/")
		if !slices.Contains(kinds(), kind{format, arch}) {
			return nil, fmt.Errorf("%q is none of the packages: %v", word, kinds())
		}
		chosen = append(chosen, kind{format, arch})
	}
	return chosen, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		stop()
		os.Exit(1)
	}
}

// run builds all packages, and prints the path of each.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("packaging", flag.ContinueOnError)
	out := flags.String("out", "dist", "`DIR` for the packages")
	version := flags.String("version", "", "version of the packages, when git is not to say it")
	only := flags.String("only", "", "`LIST` of packages instead of all, such as deb/amd64,rpm/arm64")
	maintainer := flags.String("maintainer", "The authors of vipd <vipd@example.org>", "who answers for them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	root, err := output(ctx, "", nil, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	made, err := sourceDate(ctx, root)
	if err != nil {
		return err
	}
	if *version == "" {
		describe, err := output(ctx, root, nil, "git", "describe", "--tags", "--always", "--dirty")
		if err != nil {
			return fmt.Errorf("%w (outside a git repository, say the version)", err)
		}
		if *version, err = packageVersion(describe, made); err != nil {
			return err
		}
	}
	if err := checkVersion(*version); err != nil {
		return err
	}
	target, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	b := &build{root: root, version: *version, maintainer: *maintainer, made: made}
	for _, k := range chosen {
		if !slices.Contains(b.architectures, k.arch) {
			b.architectures = append(b.architectures, k.arch)
		}
	}
	if b.stage, err = os.MkdirTemp("", "vipd-packages-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.stage)
	if err := b.fill(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	nfpm, err := b.nfpm(ctx)
	if err != nil {
		return err
	}
	// Most of the time they are being compressed, each by one processor.
	packing, ctx := errgroup.WithContext(ctx)
	packing.SetLimit(runtime.GOMAXPROCS(0))
	for _, k := range chosen {
		packing.Go(func() error { return b.pack(ctx, nfpm, k, filepath.Join(target, k.file(b.version))) })
	}
	if err := packing.Wait(); err != nil {
		return err
	}
	for _, k := range chosen {
		fmt.Println(filepath.Join(target, k.file(b.version)))
	}
	return nil
}
