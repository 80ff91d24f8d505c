package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"vipd/checks/command"
	"vipd/cmd/internal/control"
)

// takeEnvironment replaces the environment of this process by the one of the
// vipd that runs with runDir, if there is one and its environment may be read:
// a script that works by hand and fails under a daemon often misses PATH or
// HOME. It returns how a script's environment differs from this process's, and
// what undoes it.
func takeEnvironment(ctx context.Context, runDir string) (differs *control.Environment, undo func()) {
	here := os.Environ()
	there, pid := here, 0
	if env, daemon, err := daemonEnvironment(ctx, runDir); err == nil {
		there, pid = env, daemon
	}
	setEnvironment(there)
	return compareEnvironments(here, there, pid), func() { setEnvironment(here) }
}

// daemonEnvironment returns the environment that the vipd of a run directory was
// started with, and its process id.
func daemonEnvironment(ctx context.Context, runDir string) ([]string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	client := control.NewClient(runDir)
	defer client.Close()
	pid, err := client.PID(ctx)
	if err != nil {
		return nil, 0, err
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil, 0, err
	}
	var env []string
	for v := range bytes.SplitSeq(raw, []byte{0}) {
		if len(v) > 0 {
			env = append(env, string(v))
		}
	}
	return env, pid, nil
}

func setEnvironment(env []string) {
	os.Clearenv()
	for _, v := range env {
		if name, value, ok := strings.Cut(v, "="); ok {
			_ = os.Setenv(name, value) // fails only for names that no environment holds
		}
	}
}

// compareEnvironments says how what scripts get of there differs from here.
func compareEnvironments(here, there []string, pid int) *control.Environment {
	e := &control.Environment{DaemonPID: pid}
	got, want := variables(here), variables(there)
	for name, value := range want {
		if command.Withheld(name) {
			continue
		}
		if name == "PATH" {
			e.Path = value
		}
		if mine, ok := got[name]; !ok || mine != value {
			e.Set = append(e.Set, name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok || command.Withheld(name) {
			e.Unset = append(e.Unset, name)
		}
	}
	slices.Sort(e.Set)
	slices.Sort(e.Unset)
	return e
}

func variables(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, v := range env {
		if name, value, ok := strings.Cut(v, "="); ok {
			m[name] = value
		}
	}
	return m
}

// runningFile returns the configuration file of the vipd that uses a run
// directory, empty if none answers.
func runningFile(ctx context.Context, runDir string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	client := control.NewClient(runDir)
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return ""
	}
	return status.Daemon.ConfigFile
}
