package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolSet issues one of the ethtool commands that carry a single value.
func ethtoolSet(fd int, name string, cmd, value uint32) error {
	v := struct{ cmd, data uint32 }{cmd, value}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the kernel's union
	}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	req.data = unsafe.Pointer(&v)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}
