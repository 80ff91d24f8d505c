// Package daemontest holds the tests of the daemon as it is shipped: the binary,
// run in network namespaces, on a real kernel, with everything done to it that
// operators, other programs and neighbours do.
package daemontest
