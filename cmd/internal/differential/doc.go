// Package differential holds vipd against a running keepalived: its tests give
// both the same configuration and the same events in two networks that are
// alike, and compare what each of them puts on the wire, octet for octet and in
// order, the addresses that it holds, what it tells scripts and pipes, and
// whether it runs.
//
// What docs/differences.md declares is shown to differ; anything else that
// differs fails, and so does a declared difference that has gone.
package differential
