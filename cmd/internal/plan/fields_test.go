package plan

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vipd/config"
)

// TestEveryFieldOfTheConfigurationHasAKeyword fails when a field is added to the
// configuration that nobody has thought of here, and when one goes.
func TestEveryFieldOfTheConfigurationHasAKeyword(t *testing.T) {
	seen := make(map[string]bool)
	var visit func(reflect.Type)
	visit = func(s reflect.Type) {
		if s.Kind() == reflect.Pointer || s.Kind() == reflect.Slice {
			visit(s.Elem())
			return
		}
		for i := range s.NumField() {
			f := s.Field(i)
			name := s.Name() + "." + f.Name
			if f.Type == posType || seen[name] {
				continue
			}
			keyword, ok := keywords[name]
			if !ok {
				t.Errorf("%s has no keyword: give it one, and say how its values read", name)
			}
			seen[name] = true
			if keyword == inside {
				visit(f.Type)
			}
		}
	}
	for _, s := range []reflect.Type{
		reflect.TypeFor[config.Global](), reflect.TypeFor[config.Instance](), reflect.TypeFor[config.SyncGroup](),
		reflect.TypeFor[config.Script](), reflect.TypeFor[config.Check](), reflect.TypeFor[config.Process](), reflect.TypeFor[config.TrackedFile](),
	} {
		visit(s)
	}
	for name := range keywords {
		if !seen[name] {
			t.Errorf("%s is not in the configuration", name)
		}
	}
	for _, table := range []map[string]bool{secrets, keysOf(restarts)} {
		for name := range table {
			if !seen[name] {
				t.Errorf("%s is in a table, but not in the configuration", name)
			}
		}
	}
	for _, name := range identifying {
		if _, ok := keywords["Instance."+name]; !ok {
			t.Errorf("an instance has no %s", name)
		}
	}
}

func keysOf(m map[string]string) map[string]bool {
	out := make(map[string]bool)
	for k := range m {
		out[k] = true
	}
	return out
}

// Fields that a plan does not look at by themselves, and why.
var overlooked = map[string]string{
	"Files":                  "which files they are is not part of what they say",
	"LeftOut":                "a configuration with any is not taken; what was left out before is added",
	"Instances.StartupDelay": "it is the global one, and does not begin again",
}

// TestNoFieldIsForgotten changes every single value of a configuration that has
// everything, and expects that a plan sees it and tells the two apart in words.
func TestNoFieldIsForgotten(t *testing.T) {
	changed := 0
	everyChange(func(path string, change func(*config.Config)) {
		changed++
		next := full()
		change(next)
		p := Compute(full(), next)
		top, _, _ := strings.Cut(fieldOf(path), ".")
		if why := overlooked[fieldOf(path)] + overlooked[top]; why != "" {
			if !p.Empty() {
				t.Errorf("%s: %s, but %s", path, why, p.String())
			}
			return
		}
		if strings.HasSuffix(fieldOf(path), "Pos") || strings.Contains(path, ".Pos.") {
			if !p.Empty() {
				t.Errorf("a position makes a difference: %s: %s", path, p.String())
			}
			return
		}
		if p.Empty() {
			t.Errorf("%s changes, and the plan does not see it", path)
		}
		for _, c := range changes(&p) {
			told := c.Old != c.New || !slices.Equal(c.Added, c.Removed)
			if c.Keyword == "" || !c.Secret && !told {
				t.Errorf("%s changes, and cannot be told from what it was: %+v", path, c)
			}
			if c.Secret && c.Old+c.New+strings.Join(slices.Concat(c.Added, c.Removed), "") != "" {
				t.Errorf("%s is told: %+v", path, c)
			}
		}
	})
	if changed < 150 {
		t.Errorf("only %d values were changed", changed)
	}
}

func changes(p *Plan) []Change {
	out := slices.Clone(p.Global)
	for _, o := range p.Objects {
		out = append(out, o.Changes...)
	}
	for _, x := range p.Instances {
		out = append(out, x.Changes...)
	}
	for _, g := range p.Groups {
		out = append(out, g.Changes...)
	}
	return out
}

// fieldOf returns a path without indexes.
func fieldOf(path string) string { return regexp.MustCompile(`\[[^]]*\]`).ReplaceAllString(path, "") }

// full returns a configuration in which everything is set.
func full() *config.Config {
	c := new(config.Config)
	fill(reflect.ValueOf(c).Elem())
	c.Instances[0].Group = netip.MustParseAddr("224.0.0.18")
	c.SyncGroups[0].Members = []string{c.Instances[0].Name}
	c.Instances[0].VIPLease = config.Lease{Mode: config.LeaseFixed, Length: time.Second} // only that has a length
	// The family is that of a gateway; one more, and it is IPv6.
	c.Checks[0].ICMP.Address, c.Checks[0].ICMP.Family = netip.Addr{}, 5
	return c
}

// fill sets a value, and all there is in it, to something.
func fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.1")
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("192.0.2.1/24")
		return
	case **regexp.Regexp:
		*x = regexp.MustCompile("x")
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	default:
		if v.CanInt() {
			v.SetInt(1)
		} else {
			v.SetUint(1)
		}
	}
}

// everyChange calls f with everything that can be changed in a full
// configuration.
func everyChange(f func(path string, change func(*config.Config))) {
	var visit func(path string, at func(*config.Config) reflect.Value, v reflect.Value)
	visit = func(path string, at func(*config.Config) reflect.Value, v reflect.Value) {
		if alter(v) {
			f(path, func(c *config.Config) { alter(at(c)) })
		}
		if v = v.Addr().Elem(); v.Type().PkgPath() == "net/netip" || v.Type() == reflect.TypeFor[*regexp.Regexp]() {
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				name := strings.TrimPrefix(path+"."+v.Type().Field(i).Name, ".")
				visit(name, func(c *config.Config) reflect.Value { return at(c).Field(i) }, v.Field(i))
			}
		case reflect.Pointer:
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
				fill(v.Elem())
			}
			visit(path+"[*]", func(c *config.Config) reflect.Value { return at(c).Elem() }, v.Elem())
		case reflect.Slice, reflect.Array:
			for i := range min(v.Len(), 1) {
				visit(fmt.Sprintf("%s[%d]", path, i), func(c *config.Config) reflect.Value { return at(c).Index(i) }, v.Index(i))
			}
		}
	}
	visit("", func(c *config.Config) reflect.Value { return reflect.ValueOf(c).Elem() }, reflect.ValueOf(full()).Elem())
}

// alter makes another value of one, if it is one by itself.
func alter(v reflect.Value) bool {
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.9")
		return true
	case *netip.Prefix:
		*x = netip.MustParsePrefix("192.0.2.1/25")
		return true
	case **regexp.Regexp:
		*x = regexp.MustCompile("y")
		return true
	case *time.Duration:
		*x += time.Millisecond
		return true
	}
	switch {
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.Kind() == reflect.String:
		v.SetString(v.String() + "y")
	case v.Kind() == reflect.Pointer:
		v.SetZero()
	case v.Kind() == reflect.Slice:
		more := reflect.New(v.Type().Elem()).Elem()
		fill(more)
		v.Set(reflect.Append(v, more))
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	default:
		return false
	}
	return true
}

// TestAFieldThatIsNotKnownIsComparedAllTheSame is what happens to a field that
// the tables do not have yet.
func TestAFieldThatIsNotKnownIsComparedAllTheSame(t *testing.T) {
	type novel struct{ Setting int }
	got := differences(&novel{1}, &novel{2})
	want := []Change{{Keyword: "novel.Setting", Old: "1", New: "2"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
