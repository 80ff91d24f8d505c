//go:build race

package sim

// part is how many histories the tests run: the race detector makes each ten
// times as slow, and nothing in them runs at the same time.
const part = 60
