package config

import "strings"

// nearest returns the candidate that s was probably meant to be, or "". Few
// edits relative to the length make a candidate probable.
func nearest(s string, candidates []string) string {
	best, bestDist := "", 0
	limit := max(1, len(s)/4)
	for _, c := range candidates {
		if strings.EqualFold(s, c) {
			return c
		}
		if d := distance(fold(s), fold(c)); d <= limit && d < len(s) && (best == "" || d < bestDist) {
			best, bestDist = c, d
		}
	}
	return best
}

// fold brings the spellings of a keyword together: case, hyphens and missing
// underscores are the usual slips.
func fold(s string) string {
	s = strings.ToLower(s)
	s = strings.ReplaceAll(s, "-", "")
	return strings.ReplaceAll(s, "_", "")
}

// distance returns the number of insertions, deletions, substitutions and swaps
// of neighbours that turn a into b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 { // no keyword is that long
		return max(len(a), len(b))
	}
	var prev2 []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, row
	}
	return prev[len(b)]
}
