// Package interop has no code but tests: vipd shares virtual addresses with real
// keepalived and FRR routers, in either role, while masters are held up, cut off
// and stopped. Where a pair is configured to disagree, the tests say what becomes
// of it.
package interop
