// Command agent runs inside the machines of the VLAN lab. It does what the host
// asks for on a serial port: runs commands, and reads and writes files. It is
// static, and it brings what the lab needs in a machine beyond Debian's packages
// as sub-commands.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"vipd/cmd/internal/vlanlab/agent/wire"
)

// bootID is where the kernel tells one boot from another.
const bootID = "/proc/sys/kernel/random/boot_id"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("want a sub-command: serve PORT, or ping")
	}
	switch name, args := args[0], args[1:]; name {
	case "serve":
		if len(args) != 1 {
			return errors.New("serve: want one argument, the serial port")
		}
		return serve(args[0])
	case "ping":
		return pingMain(args, stdout)
	default:
		return fmt.Errorf("no sub-command %q", name)
	}
}

// serve answers the host until the machine ends. The port reads as if it had
// ended while nobody has it open on the other side.
func serve(path string) error {
	id, err := os.ReadFile(bootID)
	if err != nil {
		return fmt.Errorf("reading the identity of this boot: %w", err)
	}
	port, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening the serial port: %w", err)
	}
	defer port.Close()
	server := wire.NewServer(port, string(bytes.TrimSpace(id)))
	for {
		if err := server.Serve(port); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
