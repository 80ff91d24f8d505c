package managers

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// nmDir is where NetworkManager notes what its next start needs to know.
const nmDir = "run/NetworkManager"

// networkManager judges an interface by NetworkManager's notes about it.
func networkManager(root fs.FS, ifi Interface) (Finding, bool) {
	notes := settings(root, nmDir+"/devices/"+strconv.Itoa(ifi.Index))
	connection := notes["connection-uuid"]
	if !truth(notes["managed"]) || connection == "" || external(root, connection) {
		return Finding{}, false
	}
	return Finding{
		Interface: ifi.Name, Manager: "NetworkManager", comm: nmComm,
		Does: "removes virtual addresses when its connection is activated or reapplied (nmcli connection up, nmcli device reapply)",
		Cure: fmt.Sprintf("vipd failover --all before that, or nmcli device set %s managed no as long as vipd runs", ifi.Name),
	}, true
}

// external reports whether a connection is one that NetworkManager has made up, in
// order to show an interface that something else configures: it leaves that alone.
// So it is if that cannot be known, as its file is root's.
func external(root fs.FS, uuid string) bool {
	names, _ := fs.Glob(root, nmDir+"/system-connections/*.nmconnection")
	for _, name := range names {
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return true
		}
		is, made := false, false
		for line := range strings.Lines(string(b)) {
			switch strings.TrimSpace(line) {
			case "uuid=" + uuid:
				is = true
			case "external=true":
				made = true
			}
		}
		if is && made {
			return true
		}
	}
	return false
}
