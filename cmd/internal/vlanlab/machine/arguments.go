package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// emulator is the program; its Debian package is qemu-system-x86.
	emulator = "qemu-system-x86_64"
	// defaultMemory is enough for systemd, a network manager and the daemons, in MiB.
	defaultMemory = 384
	// maxSocketPath is how long the kernel allows the path of a unix socket to be.
	maxSocketPath = 107
	// port names the agent's serial port; a rule of udev's in the image knows it.
	port = "vlanlab.agent"

	// What the emulator is given as open files.
	monitorFD, agentFD = 3, 4
)

// A Config says how a machine is to be.
type Config struct {
	Name string           // host name
	MAC  net.HardwareAddr // of the network card, which is eth0 in the machine
	// Unix datagram sockets: the machine binds Local and sends its frames to Remote.
	Local, Remote string
	Dir           string // for the disk and the console's log, which stay
	Memory        int    // MiB; 0 is enough
}

// check says what is wrong with a Config.
func (c Config) check() error {
	switch {
	case c.Name == "":
		return errors.New("a machine needs a name")
	case c.Dir == "":
		return errors.New("a machine needs a directory")
	case len(c.MAC) != 6:
		return fmt.Errorf("%q is no Ethernet address", c.MAC)
	}
	for _, path := range []string{c.Local, c.Remote} {
		if path == "" || len(path) > maxSocketPath {
			return fmt.Errorf("the path of a socket has 1 to %d octets, %q has %d", maxSocketPath, path, len(path))
		}
	}
	for _, path := range []string{c.Local, c.Remote, c.Dir} {
		// They separate the options of the emulator.
		if strings.ContainsAny(path, ",=") {
			return fmt.Errorf("%s: a comma or an equals sign in a path confuses the emulator", path)
		}
	}
	return nil
}

// overlay is the machine's own disk: what differs from the image's.
func (c Config) overlay() string { return filepath.Join(c.Dir, "disk.qcow2") }

// console is the log of the serial console.
func (c Config) console() string { return filepath.Join(c.Dir, "console.log") }

// arguments returns the command line of the emulator.
func arguments(img Image, c Config) []string {
	memory := c.Memory
	if memory == 0 {
		memory = defaultMemory
	}
	return []string{
		"-name", c.Name,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "pc", "-accel", "tcg,thread=multi,tb-size=128",
		// No more of a processor than the kernel and Debian's programs need: what it
		// has beyond that the machine tries out and loads modules for.
		"-cpu", "qemu64,-svm", "-smp", "1", "-m", strconv.Itoa(memory),
		"-kernel", img.Kernel, "-append", strings.Join(kernelArguments(c), " "),

		// The host does not lose its power: what the machine has flushed is safe
		// without waiting for a disk, also when the emulator is killed.
		"-drive", "if=none,id=root,format=qcow2,cache=unsafe,discard=unmap,file=" + c.overlay(),
		"-drive", "if=none,id=agent,format=raw,readonly=on,file=" + img.Agent,
		"-device", "nvme,id=nvme,serial=" + c.Name,
		"-device", "nvme-ns,bus=nvme,drive=root,nsid=1",
		"-device", "nvme-ns,bus=nvme,drive=agent,nsid=2",

		"-netdev", fmt.Sprintf("dgram,id=wire,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", c.Local, c.Remote),
		"-device", fmt.Sprintf("virtio-net-pci,id=%s,netdev=wire,romfile=,mac=%s", nic, c.MAC),

		"-device", "virtio-rng-pci",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d", agentFD),
		"-device", "virtserialport,chardev=agent,name=" + port,
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", monitorFD),
		"-mon", "chardev=monitor,mode=control",
		"-chardev", "file,id=console,append=on,path=" + c.console(),
		"-serial", "chardev:console",
	}
}

// nic is the name of the network card towards the monitor.
const nic = "nic"

// kernelArguments returns the command line of the machine's kernel.
func kernelArguments(c Config) []string {
	id := sha256.Sum256([]byte("vipd vlanlab " + c.Name))
	return []string{
		"root=/dev/nvme0n1", "rootfstype=ext4", "rw",
		"console=ttyS0", "quiet", "systemd.show_status=0",
		"net.ifnames=0",
		"panic=1", // and reboot after a second, as servers do
		// How fast the processor's own counter runs the kernel finds out when it starts,
		// in some milliseconds. On a busy host it may be wrong by several times, and so
		// would all time in the machine be.
		"clocksource=hpet", "tsc=unstable",
		"mitigations=off", // the processor needs no protection
		// What is at the same address in every process is translated once: half of the
		// translation, which is most of what an emulator does.
		"norandmaps", "nokaslr",
		"systemd.hostname=" + c.Name,
		"systemd.machine_id=" + hex.EncodeToString(id[:16]),
	}
}
