// Package archtest holds the architecture to its word: its tests fail when a
// package imports what it must not know, or when the pure core reads a clock.
package archtest
