// Package netif holds addresses on network interfaces and watches interfaces
// and addresses, over rtnetlink.
//
// A [Handle] adds and removes addresses, many in one system call. It can lease
// them: the kernel removes an address whose lease is over, whatever has become of
// the process that was to renew it. A [Watcher] follows links and addresses and
// hands out immutable snapshots. Both belong to the network namespace of the thread
// that made them.
package netif
