package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"vipd/config"
)

func fmtCommand() *cobra.Command {
	var write, check bool
	cmd := &cobra.Command{
		Use:   "fmt [FILE...]",
		Short: "Lay YAML configuration files out alike",
		Long: `Lay YAML out: two blanks for each level, one behind a colon or a dash, no two
empty lines in a row. Order, comments and quotes stay as they are. The result goes
to standard output, or with -w into the file. Without FILE, or with -, standard
input is read.

Exit codes: 0 done, 1 with --check if a file is not laid out so, 2 a file is not
YAML.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, files []string) error {
			if write && check {
				return &exitError{exitUsage, errors.New("-w and --check exclude each other")}
			}
			if len(files) == 0 {
				files = []string{"-"}
			}
			differs := false
			for _, file := range files {
				changed, err := formatFile(cmd, file, write, check)
				if err != nil {
					return err
				}
				differs = differs || changed
			}
			if check && differs {
				return &exitError{code: exitNo}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the result into the file")
	cmd.Flags().BoolVar(&check, "check", false, "print the names of the files that would change, and fail if there are any")
	return cmd
}

// formatFile lays one file out, and reports whether that changes it.
func formatFile(cmd *cobra.Command, file string, write, check bool) (changed bool, err error) {
	var data []byte
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxFormat))
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return false, err
	}
	out, err := config.FormatYAML(file, data)
	if err != nil {
		return false, &exitError{exitUsage, fmt.Errorf("%s: %w", file, err)}
	}
	changed = !bytes.Equal(data, out)
	switch {
	case check && changed:
		_, err = fmt.Fprintln(cmd.OutOrStdout(), file)
	case check, write && !changed && file != "-":
	case write && file != "-":
		err = replaceFile(file, out, 0o600)
	default:
		_, err = cmd.OutOrStdout().Write(out)
	}
	return changed, err
}

// maxFormat bounds what is read from standard input.
const maxFormat = 8 << 20

// keepOwner gives a file the owner of the one that it replaces, where that is
// permitted.
func keepOwner(f *os.File, old os.FileInfo) error {
	if old == nil {
		return nil
	}
	st, ok := old.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Getuid() && int(st.Gid) == os.Getgid() {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}
