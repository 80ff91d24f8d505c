package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vipd/config"
)

func convertCommand() *cobra.Command {
	var from input
	var to, out string
	cmd := &cobra.Command{
		Use:   "convert",
		Short: "Turn keepalived.conf into YAML, or YAML into keepalived.conf",
		Long: `Turn a configuration into the other language. Included files, definitions and
conditions (@id) are expanded, comments kept, and each default that is another
one there is written out, so that the result does the same. What the other
language does not have is left out, or made a comment, and named.

The result is read back and compared before it is written.

Exit codes: 0 the result does the same, 1 something could not be expressed,
2 the configuration has errors.`,
		Example: "  vipd convert -f /etc/keepalived/keepalived.conf -o /etc/vipd/vipd.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			want, named := config.YAML, to != ""
			switch to {
			case "", "yaml":
			case "keepalived":
				want = config.Keepalived
			default:
				return &exitError{exitUsage, fmt.Errorf("--to %s: it is yaml or keepalived", to)}
			}
			conv, diags := config.Convert(from.file, from.Options)
			for _, d := range diags {
				fmt.Fprintln(cmd.ErrOrStderr(), d)
			}
			switch {
			case conv == nil:
				return &exitError{exitUsage, fmt.Errorf("%s: it cannot be run as it is, so it is not converted", from.file)}
			case named && conv.To != want:
				return &exitError{exitUsage, fmt.Errorf("%s: it is %s already", from.file, conv.From)}
			}
			if err := writeConverted(cmd, from.file, out, conv.Text); err != nil {
				return err
			}
			switch {
			case conv.Difference != "":
				return fmt.Errorf("%s: the result does not do the same, look at %s", from.file, conv.Difference)
			case conv.Lost:
				return &exitError{code: exitNo}
			}
			return nil
		},
	}
	from.flags(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`LANGUAGE` of the result, yaml or keepalived (default the other one)")
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write (default standard output)")
	return cmd
}

// writeConverted writes a configuration. There may be passwords in it, so a new
// file is for its owner only.
func writeConverted(cmd *cobra.Command, from, to string, text []byte) error {
	if to == "" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	if a, err := os.Stat(from); err == nil {
		if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
			return &exitError{exitUsage, fmt.Errorf("%s is the file that is converted", to)}
		}
	}
	return replaceFile(to, text, 0o600)
}

// replaceFile writes a file so that it is the old one or the new one at any
// time. It has the permissions of the old one, or those given.
func replaceFile(name string, text []byte, perm os.FileMode) error {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular(): // such as /dev/stdout
		return os.WriteFile(name, text, perm)
	case err == nil:
		perm = info.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".vipd-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Chmod(perm)
	}
	if err == nil {
		err = keepOwner(tmp, info)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if errClose := tmp.Close(); err == nil {
		err = errClose
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it is the first error that counts
	}
	return err
}
