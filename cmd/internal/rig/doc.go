// Package rig runs daemons in the namespaces of a netiftest.Lab for tests: vipd
// as it is built from this tree, and the daemons it is compared with, keepalived
// and FRR. It collects what they log, waits for their states, holds them up, and
// ends them. All have the same verbs, so that a test can put any of them into
// either role.
//
//	func TestMain(m *testing.M) { rig.Main(m) }
//
//	lab := netiftest.Start(t)
//	// … nodes a and b on a bridge …
//	v := rig.StartVIPD(t, a, yaml)
//	k := rig.StartKeepalived(t, b, conf)
//	v.WaitState(t, "VI_1", control.StateMaster, 10*time.Second)
//
// Nothing of the machine is used that its services use: configuration, sockets
// and PID files are in temporary directories. vipd and keepalived need no more
// privileges than a user namespace gives; FRR needs root, as it changes to a user
// of its own.
package rig
