package managers

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"vipd/config"
)

// eth is the interface of most tests.
var eth = Interface{Name: "eth0.100", Index: 5, Leased: true}

// A host is the files of one, by path without the first slash.
type host map[string]string

// root makes a file system of them. The value of what ends in ns/net is the target
// of a link.
func (h host) root() fs.FS {
	root := fstest.MapFS{"proc/self/ns/net": &fstest.MapFile{Data: []byte("net:[1]"), Mode: fs.ModeSymlink}}
	for name, text := range h {
		root[name] = &fstest.MapFile{Data: []byte(text)}
		if path.Base(path.Dir(name)) == "ns" {
			root[name].Mode = fs.ModeSymlink
		}
	}
	return root
}

// with adds files to those of a host, and processes by their names.
func (h host) with(more host, processes ...string) host {
	out := host{}
	for i, name := range processes {
		dir := "proc/" + string(rune('1'+i)) + "00"
		out[dir+"/comm"], out[dir+"/ns/net"] = name+"\n", "net:[1]"
	}
	for _, files := range []host{h, more} {
		for name, text := range files {
			out[name] = text
		}
	}
	return out
}

// managed is what systemd-networkd 252 notes about an interface, shortened.
const managed = `# This is private data. Do not parse.
ADMIN_STATE=configured
OPER_STATE=routable
ACTIVATION_POLICY=up
NETWORK_FILE=/etc/systemd/network/20-100.network
DNS=
`

const network = "[Match]\nName=eth0.100\n[Network]\nAddress=192.0.2.1/24\n"

func TestNetworkdIsSuspectedWhereItDoesNotKeepWhatItFinds(t *testing.T) {
	const link, file = "run/systemd/netif/links/5", "etc/systemd/network/20-100.network"
	plain := host{link: managed, file: network}.with(nil, "systemd", "systemd-network")
	netplan := strings.Replace(managed, "/etc/systemd/network/20-100.network", "/run/systemd/network/10-netplan-eth0.100.network", 1)
	unleased := eth
	unleased.Leased = false
	for _, tt := range []struct {
		name string
		host host
		on   Interface
		want string // what is in the finding; empty: there is none
	}{
		{"it keeps nothing", plain, eth,
			"eth0.100: systemd-networkd removes virtual addresses when it is restarted, and when it reconfigures the interface: write the lines [Network] and KeepConfiguration=yes into /etc/systemd/network/20-100.network.d/vipd.conf"},
		{"it does not run", host{link: managed, file: network}.with(nil, "systemd"), eth, ""},
		{"it runs in another network namespace", plain.with(host{"proc/200/ns/net": "net:[2]"}), eth, ""},
		{"it does not know the interface", host{}.with(nil, "systemd-network"), eth, ""},
		{"it leaves the interface alone", plain.with(host{link: "ADMIN_STATE=unmanaged\nOPER_STATE=routable\n"}), eth, ""},
		{"it is told to leave the interface alone", plain.with(host{link: strings.Replace(managed, "configured", "unmanaged", 1)}), eth, ""},
		{"it is about another interface", plain, Interface{Name: "eth0.100", Index: 6, Leased: true}, ""},
		{"it keeps all", plain.with(host{file: network + "KeepConfiguration=yes\n"}), eth, ""},
		{"it keeps all, in other words", plain.with(host{file: network + " KeepConfiguration = TRUE \n"}), eth, ""},
		{"a drop-in keeps all", plain.with(host{file + ".d/vipd.conf": "[Network]\nKeepConfiguration=yes\n"}), eth, ""},
		{"a drop-in in /run keeps all", plain.with(host{"run/systemd/network/20-100.network.d/vipd.conf": "[Network]\nKeepConfiguration=yes\n"}), eth, ""},
		{"a drop-in that is hidden by one of the same name", plain.with(host{
			"run/systemd/network/20-100.network.d/vipd.conf": "[Network]\nKeepConfiguration=yes\n", file + ".d/vipd.conf": "",
		}), eth, "removes"},
		{"the last drop-in counts", plain.with(host{
			file + ".d/a.conf": "[Network]\nKeepConfiguration=yes\n", file + ".d/b.conf": "[Network]\nKeepConfiguration=no\n",
		}), eth, "removes"},
		{"another file's drop-in", plain.with(host{"etc/systemd/network/20-200.network.d/vipd.conf": "[Network]\nKeepConfiguration=yes\n"}), eth, "removes"},
		{"the words are in another section", plain.with(host{file: network + "[DHCPv4]\nKeepConfiguration=yes\n"}), eth, "removes"},
		{"the words are a comment", plain.with(host{file: network + "# KeepConfiguration=yes\n;KeepConfiguration=yes\n"}), eth, "removes"},
		{"it keeps what has no lifetime, and the addresses have one", plain.with(host{file: network + "KeepConfiguration=static\n"}), eth,
			"(KeepConfiguration=static is for addresses without a lifetime)"},
		{"it keeps what has no lifetime, as the addresses", plain.with(host{file: network + "KeepConfiguration=static\n"}), unleased, ""},
		{"it keeps what DHCP gave", plain.with(host{file: network + "KeepConfiguration=dhcp\n"}), eth, "removes"},
		{"its file cannot be read", plain.with(host{link: strings.Replace(managed, "/etc", "/usr/lib", 1)}), eth, "/etc/systemd/network/20-100.network.d/vipd.conf"},
		{"netplan made its file", plain.with(host{
			link: netplan, "run/systemd/network/10-netplan-eth0.100.network": network,
			"etc/netplan/50-cloud-init.yaml": "network:\n  version: 2\n  ethernets:\n    eth0: {}\n",
			"etc/netplan/60-vlans.yaml":      "network:\n  version: 2\n  vlans:\n    eth0.100: {id: 100, link: eth0}\n",
			"etc/netplan/70-broken.yaml":     "network: [eth0.100\n",
		}), eth, "write `critical: true` for eth0.100 in /etc/netplan/60-vlans.yaml, then netplan apply"},
		{"netplan made its file from one that is not there any more", plain.with(host{
			link: netplan, "run/systemd/network/10-netplan-eth0.100.network": network,
		}), eth, "in its file in /etc/netplan"},
		{"netplan made its file, with the old word", plain.with(host{
			link: netplan, "run/systemd/network/10-netplan-eth0.100.network": network + "\n[DHCP]\nCriticalConnection=true\n",
		}), eth, ""},
		{"netplan made its file, and it keeps all", plain.with(host{
			link: netplan, "run/systemd/network/10-netplan-eth0.100.network": network + "KeepConfiguration=true\n",
		}), eth, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, Look(tt.host.root(), []Interface{tt.on}), tt.want)
		})
	}
}

func TestWhatNetworkdHasNotReadDoesNotCount(t *testing.T) {
	const link, file = "run/systemd/netif/links/5", "etc/systemd/network/20-100.network"
	const dropIn, other = file + ".d/vipd.conf", file + ".d/dns.conf"
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name    string
		changed map[string]time.Duration
		want    string
	}{
		{"written before networkd noted something", map[string]time.Duration{link: time.Second}, ""},
		{"written after it", map[string]time.Duration{dropIn: time.Second},
			"eth0.100: systemd-networkd has not read /etc/systemd/network/20-100.network.d/vipd.conf since that was changed, and removes virtual addresses when it reconfigures the interface: networkctl reload"},
		{"another file written after it", map[string]time.Duration{file: time.Second, other: time.Second}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := host{link: managed, file: network, dropIn: "[Network]\nKeepConfiguration=yes\n", other: "[Network]\nDNS=192.0.2.53\n"}.with(nil, "systemd-network").root().(fstest.MapFS)
			for name := range root {
				root[name].ModTime = start.Add(tt.changed[name])
			}
			expect(t, Look(root, []Interface{eth}), tt.want)
		})
	}
}

// expect compares findings with what the only one is to say.
func expect(t *testing.T, found []Finding, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("got %v, want nothing", found)
	case want != "" && (len(found) != 1 || !strings.Contains(found[0].String(), want)):
		t.Errorf("got  %v\nwant %s", found, want)
	}
}

func TestWhatCannotBeKnownOfAProcessIsTakenAsHere(t *testing.T) {
	// As an unprivileged user sees it: the links of others may not be read.
	closed := closedLinks{host{"run/systemd/netif/links/5": managed}.with(nil, "systemd-network").root()}
	expect(t, Look(closed, []Interface{eth}), "systemd-networkd removes")
}

// closedLinks is a file system in which no link may be read but a process's own.
type closedLinks struct{ fs.FS }

func (c closedLinks) ReadLink(name string) (string, error) {
	if strings.HasPrefix(name, "proc/self/") {
		return fs.ReadLink(c.FS, name)
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrPermission}
}

func (c closedLinks) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(c.FS, name) }

func TestTheAdviceNamesWhoRemovesAddressesAndTheCure(t *testing.T) {
	known := host{"run/systemd/netif/links/5": managed}
	for _, tt := range []struct {
		running []string
		want    []string
		not     string
	}{
		{nil, nil, "here"},
		{[]string{"sshd", "systemd"}, nil, "here"},
		{[]string{"NetworkManager"}, []string{"NetworkManager runs here", "unmanaged"}, "networkd"},
		{[]string{"systemd-network"}, []string{"eth0.100: systemd-networkd removes", "KeepConfiguration=yes"}, "runs here"},
		{[]string{"systemd-network", "NetworkManager"}, []string{"eth0.100: systemd-networkd removes", "; NetworkManager runs here"}, "networkd runs here"},
		{[]string{"NetworkManager", "dhclient"}, []string{"NetworkManager runs here", "; dhclient runs here"}, "networkd"},
		{[]string{"dhcpcd"}, []string{"denyinterfaces"}, "dhclient"},
		{[]string{"connmand"}, []string{"NetworkInterfaceBlacklist"}, "NetworkManager"},
		{[]string{"wickedd"}, []string{"wicked runs here"}, "NetworkManager"},
	} {
		got := Advise(known.with(nil, tt.running...).root(), []Interface{eth})
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("where %q run: %q does not say %q", tt.running, got, want)
			}
		}
		if strings.Contains(got, tt.not) || tt.want == nil && got != "" {
			t.Errorf("where %q run: %q says %q", tt.running, got, tt.not)
		}
	}
}

func TestTheInterfacesAreThoseThatAddressesAreOn(t *testing.T) {
	on := func(names ...string) (addrs []config.Address) {
		for _, n := range names {
			addrs = append(addrs, config.Address{Interface: n})
		}
		return addrs
	}
	off := config.Lease{Mode: config.LeaseOff}
	cfg := &config.Config{Instances: []config.Instance{
		{Interface: "eth9", Addresses: on("eth2", "eth1"), VIPLease: off},
		{Addresses: on("eth1", "eth1"), Excluded: on("eth3", "elsewhere")},
		{Addresses: on("elsewhere", "eth2"), VIPLease: off},
	}}
	got := Interfaces(cfg, func(name string) (int, bool) {
		n := map[string]int{"eth1": 1, "eth2": 2, "eth3": 3}[name]
		return n, n != 0
	})
	want := []Interface{{"eth2", 2, false}, {"eth1", 1, true}, {"eth3", 3, true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// connected is what NetworkManager 1.42 notes about a VLAN of one of its profiles.
const connected = `[device]
managed=true
perm-hw-addr-fake=02:00:00:00:00:01
connection-uuid=ceb5e5cf-73c9-3117-8b5f-6dfac0ca0fb5
nm-owned=true
route-metric-default-effective=401
`

func TestNetworkManagerIsSuspectedWhereAConnectionOfItsIsActive(t *testing.T) {
	const device, shown = "run/NetworkManager/devices/5", "run/NetworkManager/system-connections/eth0.100.nmconnection"
	plain := host{device: connected}.with(nil, "NetworkManager")
	made := "[connection]\nid=eth0.100\nuuid=ceb5e5cf-73c9-3117-8b5f-6dfac0ca0fb5\n\n[.nmmeta]\nnm-generated=true\nvolatile=true\nexternal=true\n"
	for _, tt := range []struct {
		name string
		host host
		want string
	}{
		{"a profile", plain, "eth0.100: NetworkManager removes virtual addresses when its connection is activated or reapplied (nmcli connection up, nmcli device reapply): vipd failover --all before that, or nmcli device set eth0.100 managed no"},
		{"it does not run", host{device: connected}.with(nil, "systemd"), ""},
		{"it does not know the interface", host{}.with(nil, "NetworkManager"), ""},
		{"unmanaged by its configuration", plain.with(host{device: "[device]\nperm-hw-addr-fake=02:00:00:00:00:01\nnm-owned=true\n"}), ""},
		{"unmanaged by nmcli", plain.with(host{device: strings.Replace(connected, "managed=true", "managed=false", 1)}), ""},
		{"no connection", plain.with(host{device: "[device]\nmanaged=true\n"}), ""},
		{"it only shows what something else configures", plain.with(host{shown: made}), ""},
		{"it only shows what something else configures on another interface", plain.with(host{shown: strings.Replace(made, "ceb5", "0000", 1)}), "removes"},
		{"a profile that is gone at the next boot", plain.with(host{shown: strings.Replace(made, "external=true\n", "", 1)}), "removes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, Look(tt.host.root(), []Interface{eth}), tt.want)
		})
	}
	unreadable := plain.with(host{shown: ""}).root().(fstest.MapFS)
	expect(t, Look(closedFiles{unreadable}, []Interface{eth}), "")
}

// closedFiles is a file system in which the connections may not be read.
type closedFiles struct{ fstest.MapFS }

func (c closedFiles) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, ".nmconnection") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return c.MapFS.ReadFile(name)
}

func TestBothManagersOfAnInterfaceAreNamed(t *testing.T) {
	both := host{"run/NetworkManager/devices/5": connected, "run/systemd/netif/links/5": managed}.with(nil, "NetworkManager", "systemd-network")
	var names []string
	for _, f := range Look(both.root(), []Interface{eth, {Name: "eth0.200", Index: 6}}) {
		names = append(names, f.Interface+" "+f.Manager)
	}
	if want := []string{"eth0.100 systemd-networkd", "eth0.100 NetworkManager"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}
