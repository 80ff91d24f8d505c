// Package legacytest reads the files of package legacy as public tools read
// keepalived's: by prefixes, indentation and the place of a "=" or ":".
package legacytest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An Exported is what a Prometheus exporter makes of an instance.
type Exported struct {
	State, Want, GARPDelay, VRID int
	Interface                    string
	VIPs, Excluded               []string
}

var stateWords = []string{"INIT", "BACKUP", "MASTER", "FAULT"}

// ReadData reads the data dump as keepalived-exporter does: a line with one
// blank in front starts an instance, three are a field, five belong to the field
// before; anything else ends the instance.
func ReadData(text string) (map[string]*Exported, error) {
	found := make(map[string]*Exported)
	var inst *Exported
	field := ""
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		name, isInstance := strings.CutPrefix(line, " VRRP Instance = ")
		switch {
		case isInstance:
			inst = &Exported{}
			found[name] = inst
			continue
		case strings.HasPrefix(line, " VRRP Version"), strings.HasPrefix(line, " VRRP Script"):
			continue
		case inst == nil || !strings.HasPrefix(line, "   "):
			inst = nil
			continue
		}
		value := ""
		if strings.HasPrefix(line, "     ") {
			value = strings.TrimSpace(line)
		} else {
			sep := "="
			if !strings.Contains(line, "=") {
				if sep = ":"; !strings.Contains(line, ":") {
					continue
				}
			}
			parts := strings.Split(strings.TrimSpace(line), sep)
			field, value = strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1])
		}
		var err error
		switch {
		case strings.HasPrefix(field, "Virtual IP (") && value != "":
			inst.VIPs = append(inst.VIPs, value)
		case strings.HasPrefix(field, "Virtual IP Excluded") && value != "":
			inst.Excluded = append(inst.Excluded, value)
		case field == "State":
			if inst.State = slices.Index(stateWords, value); inst.State < 0 {
				err = fmt.Errorf("unknown state %q", value)
			}
		case field == "Wantstate":
			if inst.Want = slices.Index(stateWords, value); inst.Want < 0 {
				err = fmt.Errorf("unknown state %q", value)
			}
		case field == "Interface":
			inst.Interface = value
		case field == "Gratuitous ARP delay":
			inst.GARPDelay, err = strconv.Atoi(value)
		case field == "Virtual Router ID":
			inst.VRID, err = strconv.Atoi(value)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// ReadScripts returns the status and the state of every script.
func ReadScripts(text string) map[string][2]string {
	found := make(map[string][2]string)
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n, ok := strings.CutPrefix(line, " VRRP Script = "); ok {
			name = n
			found[name] = [2]string{}
			continue
		}
		if !strings.HasPrefix(line, "   ") {
			name = ""
		}
		if name == "" || !strings.Contains(line, "=") {
			continue
		}
		parts := strings.Split(strings.TrimSpace(line), "=")
		got := found[name]
		switch strings.TrimSpace(parts[0]) {
		case "Status":
			got[0] = strings.TrimSpace(parts[1])
		case "State":
			got[1] = strings.TrimSpace(parts[1])
		}
		found[name] = got
	}
	return found
}

// ReadStatistics returns the counters by "section/name". Every value must be a
// number, or the exporter throws all away.
func ReadStatistics(text string) (map[string]map[string]int, error) {
	found := make(map[string]map[string]int)
	var counters map[string]int
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "VRRP Instance:"); ok {
			counters = make(map[string]int)
			found[strings.TrimSpace(name)] = counters
			continue
		}
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || counters == nil {
			return nil, fmt.Errorf("%q is out of place", line)
		}
		if value == "" {
			section = key
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(line, "    ") {
			key = section + "/" + key
		}
		counters[key] = n
	}
	return found, nil
}

// A JSONInstance is what Go programs decode; a field of another type is an error
// for them.
type JSONInstance struct {
	Data struct {
		Name              string   `json:"iname"`
		State             int      `json:"state"`
		Want              int      `json:"wantstate"`
		Interface         string   `json:"ifp_ifname"`
		GARPDelay         int      `json:"garp_delay"`
		VRID              int      `json:"vrid"`
		BasePriority      int      `json:"base_priority"`
		EffectivePriority int      `json:"effective_priority"`
		LastTransition    float64  `json:"last_transition"`
		VIPs              []string `json:"vips"`
		Excluded          []string `json:"evips"`
	} `json:"data"`
	Stats map[string]int `json:"stats"`
}

// ReadJSON reads the first version of the JSON.
func ReadJSON(text string) ([]JSONInstance, error) {
	var found []JSONInstance
	return found, json.Unmarshal([]byte(text), &found)
}

// Flatten does what metric collectors do to JSON: every object of the list is a
// sample, its numbers are fields named by their path, everything else is left
// out.
func Flatten(text string) ([]map[string]float64, error) {
	var list []map[string]any
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	var samples []map[string]float64
	for _, object := range list {
		fields := make(map[string]float64)
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				for k, v := range v {
					walk(strings.TrimPrefix(path+"_"+k, "_"), v)
				}
			case float64:
				fields[path] = v
			}
		}
		walk("", object)
		samples = append(samples, fields)
	}
	return samples, nil
}
