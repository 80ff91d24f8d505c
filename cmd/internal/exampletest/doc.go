// Package exampletest runs the files in examples/ as an operator would: two
// routers with the two sides of an example, and the scripts that belong to it.
// Each test breaks what the example is meant to protect from, and looks who is
// master then, what the scripts were called with, and what comes back when the
// damage is repaired.
//
// The files are used as they are, with these exceptions: /etc/vipd and /run/vipd
// are directories of the test, the router of lower priority is made from the same
// file where that says so, and instances without a notify script get one that
// records its calls, and enable_script_security is off where the tests do not run
// as root.
//
// What the examples talk to is stood in for: HAProxy, nginx, PostgreSQL and the
// cloud's API are one small server under their names.
package exampletest
