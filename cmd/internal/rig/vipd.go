package rig

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vipd/cmd/internal/control"
	"vipd/netif/netiftest"
)

// statusTimeout bounds one question to vipd; one that is held up does not answer.
const statusTimeout = 2 * time.Second

// A Vipd is a vipd that runs.
type Vipd struct {
	*process
	RunDir string // with the control socket
	File   string // the configuration

	client *control.Client
}

// An Option changes how StartVIPD starts vipd.
type Option func(*vipdOptions)

type vipdOptions struct {
	args    []string
	runDir  string
	wrapper []string
}

// WithArgs adds arguments to the command line of `vipd run`.
func WithArgs(args ...string) Option {
	return func(o *vipdOptions) { o.args = append(o.args, args...) }
}

// WithWrapper has vipd started by another program, which gets vipd's command
// line as its last arguments.
func WithWrapper(t testing.TB, program string, args ...string) Option {
	t.Helper()
	program = netiftest.RequireProgram(t, program)
	return func(o *vipdOptions) { o.wrapper = append([]string{program}, args...) }
}

// WithRunDir uses a run directory that an earlier vipd has left, in place of a
// new one.
func WithRunDir(dir string) Option {
	return func(o *vipdOptions) { o.runDir = dir }
}

// StartVIPD starts vipd with a configuration. It does not wait for anything.
func StartVIPD(t testing.TB, node *netiftest.Node, yaml string, opts ...Option) *Vipd {
	t.Helper()
	o := vipdOptions{}
	for _, opt := range opts {
		opt(&o)
	}
	program := BuildVIPD(t)
	file := writeConfig(t, "vipd.yaml", yaml)
	if o.runDir == "" {
		o.runDir = filepath.Join(filepath.Dir(file), "run")
	}
	args := append([]string{"run", "-f", file, "--run-dir", o.runDir}, o.args...)
	v := &Vipd{RunDir: o.runDir, File: file, client: control.NewClient(o.runDir)}
	if len(o.wrapper) > 0 {
		args = append(append(o.wrapper[1:], program), args...)
		program = o.wrapper[0]
	}
	v.process = start(t, node, program, args...)
	t.Cleanup(v.client.Close)
	return v
}

// writeConfig writes a configuration into a directory of its own.
func writeConfig(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Status asks vipd for its status.
func (v *Vipd) Status() (control.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	return v.client.Status(ctx)
}

// Instance returns the status of one instance. It fails the test if there is
// none.
func (v *Vipd) Instance(t testing.TB, name string) control.Instance {
	t.Helper()
	s, err := v.Status()
	if err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	for _, i := range s.Instances {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("%s has no instance %s", v.name, name)
	return control.Instance{}
}

// State returns the state of an instance, empty if vipd does not answer.
func (v *Vipd) State(instance string) control.State {
	s, err := v.Status()
	if err != nil {
		return ""
	}
	for _, i := range s.Instances {
		if i.Name == instance {
			return i.State
		}
	}
	return ""
}

// WaitState waits until an instance is in a state.
func (v *Vipd) WaitState(t testing.TB, instance string, want control.State, timeout time.Duration) {
	t.Helper()
	v.waitState(t, v.State, instance, want, timeout)
}
