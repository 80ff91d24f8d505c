package machine

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// release is the Debian in the machines.
	release = "bookworm"
	// diskSize is that of the file system. What is unused takes no room.
	diskSize = "1G"
	// unused is how long an image of another recipe stays: somebody may go to and
	// fro between two versions of the recipe, or run machines of the other one.
	unused = 24 * time.Hour
	// agentPackage is built for the machines.
	agentPackage = "vipd/cmd/internal/vlanlab/agent"
	// block is what the size of a disk is a multiple of.
	block = 4096
)

// packages are in the image beside Debian's essential ones and apt.
func packages() []string {
	return []string{
		"linux-image-cloud-amd64", "systemd", "systemd-sysv", "udev", "kmod", "dbus", "init-system-helpers",
		"iproute2", "iputils-ping", "procps", "psmisc", "nftables", "tcpdump",
		"keepalived",
		"network-manager", "ifupdown", "netplan.io",
	}
}

// leftOut are directories that nobody reads in a machine.
func leftOut() []string {
	return []string{"/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"}
}

//go:embed all:recipe
var recipe embed.FS

// An Image is what machines are started from. None of its files is written to.
type Image struct {
	Disk   string // the root file system
	Kernel string
	Agent  string // a disk that is the agent's program
}

// CacheDir returns where images are kept unless somebody says otherwise.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("machine: finding the cache: %w", err)
	}
	return filepath.Join(dir, "vipd", "vlanlab"), nil
}

// Build returns the image from the cache directory. If it is not there, it is made
// with mmdebstrap from the Debian mirror that this host uses, which takes about a
// minute and needs root; what happens meanwhile goes to log. Several programs may
// build at once: one does, the others wait.
func Build(ctx context.Context, cache string, log io.Writer) (Image, error) {
	img, err := build(ctx, cache, log)
	if err != nil {
		return Image{}, fmt.Errorf("machine: building the image: %w", err)
	}
	return img, nil
}

func build(ctx context.Context, cache string, log io.Writer) (Image, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Image{}, err
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return Image{}, err
	}
	defer unlock()

	key, err := recipeKey(recipe, mmdebstrapArguments("", ""))
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(cache, "image-"+key)
	img := Image{Disk: filepath.Join(dir, "root.ext4"), Kernel: filepath.Join(dir, "vmlinuz")}
	if err := tidy(cache, time.Now().Add(-unused)); err != nil {
		return Image{}, err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeImage(ctx, dir, log); err != nil {
			return Image{}, err
		}
	} else if err != nil {
		return Image{}, err
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil { // it is used
		return Image{}, err
	}
	img.Agent, err = buildAgent(ctx, cache)
	return img, err
}

// lock waits until nobody else has the lock of the cache.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
	}
}

// tidy removes what nobody has asked for since a time, and what builders that were
// killed have left. The caller has the lock.
func tidy(cache string, since time.Time) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name := entry.Name()
		old := (strings.HasPrefix(name, "image-") || strings.HasPrefix(name, "agent-")) && info.ModTime().Before(since)
		if old || strings.HasPrefix(name, "new-") {
			if err := os.RemoveAll(filepath.Join(cache, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// recipeKey returns a name for what is built: the same for the same files and
// arguments.
func recipeKey(files fs.FS, args []string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q\n", args, diskSize)
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		fmt.Fprintf(h, "%q %q\n", path, b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

// mmdebstrapArguments are what mmdebstrap is called with, but for where packages
// come from. scripts is where the recipe is.
func mmdebstrapArguments(scripts, root string) []string {
	args := []string{
		"--quiet", "--mode=root", "--variant=minbase", "--format=directory",
		"--include=" + strings.Join(packages(), ","),
		"--dpkgopt=force-unsafe-io", // what is half-written after a crash is thrown away
		"--essential-hook=" + filepath.Join(scripts, "before.sh"),
		"--customize-hook=" + filepath.Join(scripts, "after.sh"),
	}
	for _, pattern := range leftOut() {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	return append(args, release, root)
}

// makeImage makes the image in a directory of another name, and renames it.
func makeImage(ctx context.Context, dir string, log io.Writer) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("only root can make the file system of a machine")
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	fmt.Fprintln(log, "making the image of the machines with mmdebstrap, about a minute")

	scripts, root, result := filepath.Join(work, "recipe"), filepath.Join(work, "root"), filepath.Join(work, "image")
	if err := unpack(scripts); err != nil {
		return err
	}
	args := mmdebstrapArguments(scripts, root)
	options, err := aptOptions(ctx)
	if err != nil {
		return err
	}
	args = append(options, args...)
	sources, err := aptSources(ctx)
	if err != nil {
		return err
	}
	if err := command(ctx, "mmdebstrap", append(args, sources...)...); err != nil {
		return err
	}

	if err := os.Mkdir(result, 0o755); err != nil {
		return err
	}
	kernels, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil {
		return err
	}
	if len(kernels) != 1 {
		return fmt.Errorf("want one kernel in the image, got %d", len(kernels))
	}
	if err := os.Rename(kernels[0], filepath.Join(result, "vmlinuz")); err != nil {
		return err
	}
	// They are of the host.
	for _, name := range []string{"etc/resolv.conf", "etc/hostname", "etc/apt/apt.conf.d/99mmdebstrap"} {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	if err := command(ctx, "mke2fs", "-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,root_owner=0:0",
		"-d", root, filepath.Join(result, "root.ext4"), diskSize); err != nil {
		return err
	}
	return os.Rename(result, dir)
}

// unpack writes the recipe to a directory, its scripts executable.
func unpack(dir string) error {
	files, err := fs.Sub(recipe, "recipe")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, files); err != nil {
		return err
	}
	scripts, err := filepath.Glob(filepath.Join(dir, "*.sh"))
	if err != nil {
		return err
	}
	for _, script := range scripts {
		if err := os.Chmod(script, 0o755); err != nil {
			return err
		}
	}
	// Whatever the mask of who builds: in the machine these are the system's files.
	return filepath.WalkDir(filepath.Join(dir, "root"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
}

// command runs a program. If it fails the error has the end of what it said.
func command(ctx context.Context, name string, args ...string) error {
	var said strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	// What it mounts, however it ends, nobody finds who removes the directory.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	if err := cmd.Run(); err != nil {
		text := said.String()
		return fmt.Errorf("%s: %w\n%s", name, err, text[max(0, len(text)-4096):])
	}
	return nil
}

// aptSources returns where this host gets Debian's packages from, as lines of a
// sources.list.
func aptSources(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--no-release-info",
		"--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return nil, fmt.Errorf("asking apt for its sources: %w", err)
	}
	return sourceLines(string(out))
}

// sourceLines picks Debian's own sources for the machines.
func sourceLines(targets string) ([]string, error) {
	var lines []string
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "main" {
			continue
		}
		switch fields[1] {
		case release, release + "-updates", release + "-security":
			lines = append(lines, fmt.Sprintf("deb %s %s main", fields[0], fields[1]))
		}
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("apt on this host has no source of Debian %s", release)
	}
	return lines, nil
}

// aptOptions returns how this host reaches its mirror, for mmdebstrap, which has
// a configuration of apt of its own.
func aptOptions(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%F \"%v\";%n",
		"Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date").Output()
	if err != nil {
		return nil, fmt.Errorf("asking apt for its configuration: %w", err)
	}
	var options []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ` "";`) {
			options = append(options, "--aptopt="+line)
		}
	}
	return options, nil
}

// buildAgent builds the agent and returns it as a disk.
func buildAgent(ctx context.Context, cache string) (_ string, err error) {
	work, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	program := filepath.Join(work, "agent")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, agentPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the agent: %w\n%s", err, out)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	// Zeros at the end of a program do not matter.
	b = append(b, make([]byte, -len(b)&(block-1))...)
	if err := os.WriteFile(program, b, 0o644); err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	disk := filepath.Join(cache, "agent-"+hex.EncodeToString(sum[:8]))
	return disk, os.Rename(program, disk)
}
