package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// packageVersion makes a version of what `git describe --tags --always --dirty`
// says. Both dpkg and rpm sort the results as the commits follow each other: v1.2.0-rc1
// (1.2.0~rc1), v1.2.0, the fifth commit after it (1.2.0+git5.5e8bafd), v1.2.1. Where
// there is no tag yet, the time of the commit decides (0~git20261121123116.5e8bafd), and
// all that comes before any release.
func packageVersion(describe string, committed time.Time) (string, error) {
	clean, dirty := strings.CutSuffix(describe, "-dirty")
	bare := regexp.MustCompile(`^[0-9a-f]{7,40}$`).MatchString(clean)
	parts := regexp.MustCompile(`^v?([0-9][0-9.]*)(?:-([a-z]+[0-9.]*))?(?:-([0-9]+)-g([0-9a-f]+))?$`).FindStringSubmatch(clean)
	var version string
	switch {
	case bare: // first: an abbreviated hash may have digits only
		version = fmt.Sprintf("0~git%s.%s", committed.UTC().Format("20060102150405"), clean)
	case parts != nil:
		version = parts[1]
		if parts[2] != "" {
			version += "~" + parts[2]
		}
		if parts[3] != "" {
			version += "+git" + parts[3] + "." + parts[4]
		}
	default:
		return "", fmt.Errorf("git describes this as %q, which is neither a commit nor a tag such as v1.2.3: say the version", describe)
	}
	if dirty {
		version += "+dirty"
	}
	return version, nil
}

// checkVersion refuses what one of the two kinds of packages cannot have.
func checkVersion(version string) error {
	if !regexp.MustCompile(`^[0-9][0-9A-Za-z.+~]*$`).MatchString(version) {
		return fmt.Errorf("%q is no version: a digit, then digits, letters, and . + ~", version)
	}
	return nil
}

// sourceDate is the time that everything in the packages bears: SOURCE_DATE_EPOCH, or
// that of the last commit.
func sourceDate(ctx context.Context, root string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		var err error
		if text, err = output(ctx, root, nil, "git", "log", "-1", "--format=%ct"); err != nil {
			return time.Time{}, fmt.Errorf("%w (outside a git repository, set SOURCE_DATE_EPOCH)", err)
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the source's date: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
