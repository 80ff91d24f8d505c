package managers

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// networkd judges an interface by systemd-networkd's notes about it.
func networkd(root fs.FS, ifi Interface) (Finding, bool) {
	link := "run/systemd/netif/links/" + strconv.Itoa(ifi.Index)
	notes := settings(root, link)
	file := notes["NETWORK_FILE"]
	if file == "" || notes["ADMIN_STATE"] == "unmanaged" {
		return Finding{}, false
	}
	keep, from := keepConfiguration(root, file)
	f := Finding{
		Interface: ifi.Name, Manager: "systemd-networkd", comm: networkdComm,
		Does: "removes virtual addresses when it is restarted, and when it reconfigures the interface",
	}
	if truth(keep) || keep == "static" && !ifi.Leased {
		// It notes something when it has read a changed file, as it configures the
		// interface anew then.
		if !newer(root, from, link) {
			return Finding{}, false
		}
		f.Does = fmt.Sprintf("has not read /%s since that was changed, and removes virtual addresses when it reconfigures the interface", from)
		f.Cure = "networkctl reload"
		return f, true
	}
	if keep == "static" {
		f.Does += " (KeepConfiguration=static is for addresses without a lifetime)"
	}
	if id, ok := strings.CutPrefix(path.Base(file), netplanPrefix); ok && strings.HasPrefix(file, "/run/") {
		id = strings.TrimSuffix(id, ".network")
		f.Cure = fmt.Sprintf("write `critical: true` for %s in %s, then netplan apply", id, cmp.Or(netplanFile(root, id), "its file in /etc/netplan"))
		return f, true
	}
	f.Cure = fmt.Sprintf("write the lines [Network] and KeepConfiguration=yes into /etc/systemd/network/%s.d/vipd.conf, then networkctl reload", path.Base(file))
	return f, true
}

// truth reports whether a value is one of those that systemd takes for yes.
func truth(value string) bool {
	switch strings.ToLower(value) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}

// networkdDirs are where drop-ins may be: of two of the same name the one in the
// earlier directory counts (systemd.network(5)).
var networkdDirs = []string{"etc/systemd/network", "run/systemd/network", "usr/local/lib/systemd/network", "usr/lib/systemd/network", "lib/systemd/network"}

// newer reports whether a file was changed after another one.
func newer(root fs.FS, file, than string) bool {
	a, err := fs.Stat(root, file)
	if err != nil {
		return false
	}
	b, err := fs.Stat(root, than)
	return err == nil && a.ModTime().After(b.ModTime())
}

// keepConfiguration returns what a .network file and its drop-ins have last, and
// which of them that is in.
func keepConfiguration(root fs.FS, file string) (keep, from string) {
	dropIns := make(map[string]string) // path by name
	for _, dir := range slices.Backward(networkdDirs) {
		names, _ := fs.Glob(root, dir+"/"+quoted(path.Base(file))+".d/*.conf")
		for _, name := range names {
			dropIns[path.Base(name)] = name
		}
	}
	files := []string{strings.TrimPrefix(path.Clean(file), "/")}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		files = append(files, dropIns[name])
	}
	for _, name := range files {
		if b, err := fs.ReadFile(root, name); err == nil {
			if last := lastKeep(string(b)); last != "" {
				keep, from = last, name
			}
		}
	}
	return keep, from
}

// quoted returns a name as a pattern that matches nothing else.
func quoted(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// lastKeep returns the last KeepConfiguration= in the sections [Network] of a file,
// or nothing. CriticalConnection= is its old name, which netplan 0.106 writes and
// systemd 252 reads.
func lastKeep(text string) string {
	keep, section := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		switch section + strings.TrimSpace(key) {
		case "[Network]KeepConfiguration", "[DHCP]CriticalConnection", "[DHCPv4]CriticalConnection":
			keep = cmp.Or(strings.TrimSpace(value), keep)
		}
	}
	return keep
}

// netplanPrefix begins the names of the files that netplan makes for networkd.
const netplanPrefix = "10-netplan-"

// netplanFile returns the file of netplan's that says something of an interface;
// of several, the one that is read last.
func netplanFile(root fs.FS, id string) string {
	files := make(map[string]string) // path by name: /run hides /etc, which hides /lib
	for _, dir := range []string{"lib/netplan", "etc/netplan", "run/netplan"} {
		names, _ := fs.Glob(root, dir+"/*.yaml")
		for _, name := range names {
			files[path.Base(name)] = name
		}
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(files))) {
		b, err := fs.ReadFile(root, files[name])
		if err == nil && mentions(b, id) {
			return "/" + files[name]
		}
	}
	return ""
}

// mentions reports whether a YAML file of netplan's defines an interface: they
// stand below network, and there below what they are, as ethernets or vlans.
func mentions(text []byte, id string) bool {
	var doc struct {
		Network map[string]yaml.Node `yaml:"network"`
	}
	if yaml.Unmarshal(text, &doc) != nil {
		return false
	}
	for _, kind := range doc.Network {
		var defined map[string]yaml.Node
		if kind.Decode(&defined) != nil {
			continue // such as version and renderer
		}
		if _, ok := defined[id]; ok {
			return true
		}
	}
	return false
}
