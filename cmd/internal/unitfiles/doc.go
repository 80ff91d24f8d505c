// Package unitfiles has tests of the systemd units that vipd is installed with
// (cmd/vipd/packaging): that they fit the program, that systemd understands them,
// and what docs/systemd.md says of them. What they do under a systemd that runs is
// tried in machines, by cmd/internal/vlanlab.
package unitfiles
