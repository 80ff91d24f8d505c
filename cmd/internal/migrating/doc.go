// Package migrating follows docs/migrating.md to the letter: its tests run the
// commands of the document on two routers that begin with keepalived and end
// with vipd, and look at what becomes of the addresses on the way.
package migrating
