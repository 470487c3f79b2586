package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes are those of an init.
func attributes(pidns bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		// A process that is not root loses, on exec, what it was given with its namespace. The program is not to have them: it is
		// executed without.
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN},
	}
	if pidns {
		// Without it the init must live long enough to kill one by one: it hears of our end by the end of the socket's stream.
		a.Cloneflags |= unix.CLONE_NEWPID
		a.Pdeathsig = syscall.SIGKILL
	}
	if all, ok := allIDs(); ok {
		a.UidMappings, a.GidMappings = all[0], all[1]
		groups, _ := os.ReadFile("/proc/self/setgroups")
		a.GidMappingsEnableSetgroups = strings.TrimSpace(string(groups)) == "allow" // what is denied here cannot be allowed there
		return a
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	return a
}

// allIDs are mappings of every user and group to itself, for those who may have that (root): programs that change to another user work
// then. False for all others, who keep their own.
func allIDs() (maps [2][]syscall.SysProcIDMap, ok bool) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	const needed = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	if unix.Capget(&header, &caps[0]) != nil || caps[0].Effective&needed != needed {
		return maps, false
	}
	for i, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(file)
		if err != nil {
			return maps, false
		}
		if maps[i] = identity(string(b)); maps[i] == nil {
			return maps, false
		}
	}
	return maps, true
}

// identity maps every id to itself that the given uid_map, of lines "inside outside size", knows. Nil if it is not one.
func identity(idMap string) (ids []syscall.SysProcIDMap) {
	lines := bufio.NewScanner(strings.NewReader(idMap))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			return nil
		}
		first, err := strconv.Atoi(f[0])
		size, sizeErr := strconv.Atoi(f[2])
		if err != nil || sizeErr != nil {
			return nil
		}
		ids = append(ids, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: size})
	}
	return ids
}

// explain makes of an error of launch what its user can do something about.
func explain(err error) error {
	var f *failure
	if !errors.As(err, &f) {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return namespacesMissing(errno, readSetting)
		}
		return err
	}
	switch f.Step {
	case stepTUN:
		return &MissingError{What: "/dev/net/tun", Err: f, Fix: f.Fix}
	case stepMount:
		if f.Errno == unix.EPERM || f.Errno == unix.EACCES { // a namespace in which one has no rights: AppArmor's way to say no
			return namespacesMissing(f.Errno, readSetting)
		}
	}
	return fmt.Errorf("sandbox: %w", f)
}

// readSetting reads a sysctl, by its name. "" if there is no such.
func readSetting(name string) string {
	b, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	return strings.TrimSpace(string(b))
}

// namespacesMissing says why there are no namespaces for us, and what mends it. setting reads a sysctl.
func namespacesMissing(errno syscall.Errno, setting func(name string) string) error {
	e := &MissingError{What: "user namespaces", Err: errno}
	switch {
	case errno == unix.ENOSPC || errno == unix.EUSERS:
		for _, name := range []string{"user.max_user_namespaces", "user.max_net_namespaces", "user.max_mnt_namespaces", "user.max_pid_namespaces"} {
			if setting(name) == "0" {
				e.What = strings.ReplaceAll(strings.TrimPrefix(name, "user.max_"), "_", " ")
				e.Fix = "sudo sysctl -w " + name + "=15000"
				return e
			}
		}
		e.Fix = "end other programs that use namespaces, or sudo sysctl -w user.max_user_namespaces=100000"
	case setting("kernel.unprivileged_userns_clone") == "0":
		e.Fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case setting("kernel.apparmor_restrict_unprivileged_userns") == "1":
		e.Fix = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case errno == unix.EPERM || errno == unix.EACCES:
		e.Fix = "if this is a container, start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
	case errno == unix.EINVAL:
		e.Fix = "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS"
	default: // no memory, no processes left: nothing to do with namespaces
		return fmt.Errorf("sandbox: starting the init process: %w", errno)
	}
	return e
}
