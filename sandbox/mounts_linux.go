package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownMounts makes what is mounted from now on invisible outside. What the host mounts is still seen inside.
func ownMounts() error {
	err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	if errors.Is(err, unix.EINVAL) {
		return nil // in a chroot "/" is no mount; the kernel made all mounts slaves anyway when it copied them into our user namespace
	}
	return mountError("making mounts private", err)
}

// freshProc mounts a /proc of our PID namespace.
func freshProc() error {
	return mountError("mounting a fresh /proc", unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
}

func mountError(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// services are sockets of the host's services that look up names for programs. They would answer past the sandbox's name server, with
// what it does not know and without what it does: the C library turns to that when nobody listens there.
var services = [...]string{
	"/run/nscd/socket",                          // nscd
	"/run/systemd/resolve/io.systemd.Resolve",   // nss-resolve
	"/run/avahi-daemon/socket",                  // nss-mdns
	"/var/run/nscd/socket",                      // where /var/run is no link to /run
	"/run/systemd/resolve.hook/io.systemd.Hook", // hooks of nss-resolve
}

// nameService puts a resolv.conf of our own in front of the host's, and an empty file in front of its services' sockets. The files lie in
// a file system of their own, which nobody sees but through these mounts.
func (s *supervisor) nameService() error {
	// Any directory would do to have it mounted at for a moment; this one is there.
	const at = "/proc"
	if err := unix.Mount("weir", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k,nr_inodes=8"); err != nil {
		return mountError("mounting a tmpfs for "+resolvConf, err)
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }()
	resolv, empty := at+"/resolv.conf", at+"/empty"
	if err := errors.Join(os.WriteFile(resolv, []byte(s.order.Resolv), 0o644), os.WriteFile(empty, nil, 0o644)); err != nil {
		return err
	}
	_ = os.Chmod(resolv, 0o644) // whatever the umask is
	if err := cover(resolvConf, resolv); err != nil {
		s.notice(fmt.Sprintf("names will not be found: %v; to mend it: sudo touch %s", err, resolvConf))
	}
	for _, service := range services {
		if err := cover(service, empty); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.notice(fmt.Sprintf("the host's name service %s stays in reach: %v", service, err))
		}
	}
	return nil
}

// cover mounts file over path, or what that is a symbolic link to.
func cover(path, file string) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return mountError("covering "+target, unix.Mount(file, target, "", unix.MS_BIND, ""))
}
