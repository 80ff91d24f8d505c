package main

import (
	"fmt"
	"io"
	"unicode/utf8"

	"vipd/config"
)

// maxValueColumn bounds the column of values: what is longer pushes its origin
// to the right.
const maxValueColumn = 40

// writeEffective prints all that is in force, in columns.
func writeEffective(w io.Writer, blocks []config.EffectiveBlock) {
	for i, b := range blocks {
		if i > 0 {
			fmt.Fprintln(w)
		}
		title := b.Keyword
		if b.Name != "" {
			title += " " + b.Name
		}
		fmt.Fprintf(w, "%s (%s)\n", title, b.Origin)
		keys, values := 0, 0
		for _, s := range b.Settings {
			keys = max(keys, utf8.RuneCountInString(s.Keyword))
			if n := utf8.RuneCountInString(s.Value); n <= maxValueColumn {
				values = max(values, n)
			}
		}
		for _, s := range b.Settings {
			fmt.Fprintf(w, "  %-*s  %-*s  %s\n", keys, s.Keyword, values, s.Value, s.Origin)
		}
	}
}
