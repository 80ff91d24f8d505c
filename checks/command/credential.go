package command

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
)

// A Credential is who runs a program.
type Credential struct {
	Name     string // of the user, for people to read
	UID, GID uint32
	// Groups are all groups besides GID. The daemon's own are never passed on.
	Groups []uint32
	Home   string // its home directory; empty: none is known
}

// String returns the name of the user, or the number if there is none.
func (c Credential) String() string {
	if c.Name != "" {
		return c.Name
	}
	return strconv.FormatUint(uint64(c.UID), 10)
}

// An UnknownUserError is a user or group that the host does not have.
type UnknownUserError struct {
	Name  string
	Group bool
}

func (e *UnknownUserError) Error() string {
	if e.Group {
		return fmt.Sprintf("there is no group %q", e.Name)
	}
	return fmt.Sprintf("there is no user %q", e.Name)
}

// Lookup finds a user and a group by their names or numbers. An empty group is
// the user's own. With supplementary it adds the other groups that the user is a
// member of.
func Lookup(userName, group string, supplementary bool) (Credential, error) {
	u, err := user.Lookup(userName)
	if errors.As(err, new(user.UnknownUserError)) && isNumber(userName) {
		u, err = user.LookupId(userName)
		if errors.As(err, new(user.UnknownUserIdError)) {
			// A number needs no entry, as with chown. Without one the group
			// of the same number is the least surprising that is not root's.
			u, err = &user.User{Uid: userName, Gid: userName, Username: userName}, nil
		}
	}
	if errors.As(err, new(user.UnknownUserError)) {
		return Credential{}, &UnknownUserError{Name: userName}
	} else if err != nil {
		return Credential{}, fmt.Errorf("command: looking up user %q: %w", userName, err)
	}
	c := Credential{Name: u.Username, Home: u.HomeDir}
	if c.UID, err = parseID(u.Uid); err != nil {
		return Credential{}, fmt.Errorf("command: looking up user %q: %w", userName, err)
	}
	gid := u.Gid
	if group != "" {
		if gid, err = lookupGroup(group); err != nil {
			return Credential{}, err
		}
	}
	if c.GID, err = parseID(gid); err != nil {
		return Credential{}, fmt.Errorf("command: looking up the group of user %q: %w", userName, err)
	}
	if !supplementary {
		return c, nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return Credential{}, fmt.Errorf("command: looking up the groups of user %q: %w", userName, err)
	}
	for _, id := range ids {
		n, err := parseID(id)
		if err != nil {
			return Credential{}, fmt.Errorf("command: looking up the groups of user %q: %w", userName, err)
		}
		if n != c.GID && !slices.Contains(c.Groups, n) {
			c.Groups = append(c.Groups, n)
		}
	}
	return c, nil
}

func lookupGroup(name string) (gid string, err error) {
	g, err := user.LookupGroup(name)
	if errors.As(err, new(user.UnknownGroupError)) {
		if isNumber(name) {
			return name, nil
		}
		return "", &UnknownUserError{Name: name, Group: true}
	}
	if err != nil {
		return "", fmt.Errorf("command: looking up group %q: %w", name, err)
	}
	return g.Gid, nil
}

func isNumber(s string) bool {
	_, err := parseID(s)
	return err == nil
}

// parseID refuses the largest number: to the kernel that is -1 and means "leave
// as it is".
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not the number of a user or group", s)
	}
	return uint32(n), nil
}

// Own returns who runs this process.
func Own() Credential {
	c := Credential{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		c.Name, c.Home = u.Username, u.HomeDir
	}
	groups, err := os.Getgroups()
	if err != nil {
		return c
	}
	for _, g := range groups {
		if uint32(g) != c.GID {
			c.Groups = append(c.Groups, uint32(g))
		}
	}
	return c
}

// root reports whether it can change what is root's: as that user, or as a member
// of its group.
func (c Credential) root() bool { return c.UID == 0 || c.in(0) }

// login returns the variables that say who somebody is and where at home: a
// program that runs as another user must not take the daemon's files for its own.
func (c Credential) login() []string {
	return []string{"HOME=" + cmp.Or(c.Home, "/"), "USER=" + c.String(), "LOGNAME=" + c.String()}
}

// in reports whether the user is a member of a group.
func (c Credential) in(gid uint32) bool { return c.GID == gid || slices.Contains(c.Groups, gid) }
