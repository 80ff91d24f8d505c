package config

import (
	"fmt"
	"reflect"
	"regexp"
)

// Difference returns the first thing in which two configurations differ other
// than positions, the files that they were read from, and what was left out; ""
// if there is none.
func Difference(a, b *Config) string {
	if a == nil || b == nil {
		if a == b {
			return ""
		}
		return "one of them cannot run"
	}
	return difference("", reflect.ValueOf(*a), reflect.ValueOf(*b))
}

// difference compares two values of one type; path says which.
func difference(path string, a, b reflect.Value) string {
	differ := func() string { return fmt.Sprintf("%s: %v, %v", path, a, b) }
	switch v := a.Interface().(type) {
	case Pos:
		return ""
	case *regexp.Regexp:
		if w := b.Interface().(*regexp.Regexp); (v == nil) != (w == nil) || v != nil && v.String() != w.String() {
			return differ()
		}
		return ""
	}
	switch a.Kind() {
	case reflect.Struct:
		t := a.Type()
		if t.PkgPath() != reflect.TypeFor[Config]().PkgPath() { // such as an address
			if a.Comparable() && !a.Equal(b) {
				return differ()
			}
			return ""
		}
		for i := range t.NumField() {
			name := t.Field(i).Name
			if t == reflect.TypeFor[Config]() && (name == "Files" || name == "LeftOut") {
				continue
			}
			if d := difference(path+"."+name, a.Field(i), b.Field(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Slice:
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s: %d, %d", path, a.Len(), b.Len())
		}
		for i := range a.Len() {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return differ()
			}
			return ""
		}
		return difference(path, a.Elem(), b.Elem())
	}
	if !a.Equal(b) {
		return differ()
	}
	return ""
}
