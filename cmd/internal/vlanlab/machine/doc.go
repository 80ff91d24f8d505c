// Package machine makes the machines of the VLAN lab: an image of Debian 12 with
// systemd and the kernel for clouds, and QEMU machines that start from it, each
// with one network card that ends in a unix socket.
//
//	img, err := machine.Build(ctx, machine.CacheDir(), os.Stderr)
//	m, err := machine.New(img, machine.Config{Name: "r1", …})
//	defer m.Close()
//	err = m.PowerOn(ctx)
//	err = m.WaitUp(ctx)
//	result, err := m.Run(ctx, "systemctl is-system-running --wait")
//
// A machine is emulated, so that it runs wherever QEMU does. It has no network but
// the socket, its disk is an overlay in its own directory, and it ends with the
// program that started it.
package machine
