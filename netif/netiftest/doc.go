// Package netiftest makes small networks of namespaces to try routers in:
// nodes, bridges that join them, links that can be cut and healed, captures with
// the kernel's time stamps, clients that ping without pause, and raw frames.
//
// A namespace has no name and no file. It lives as long as the [Lab] and the
// processes in it, so nothing is left behind, not even after a crash. No
// external program is run, and the namespace of the caller is never changed.
package netiftest
