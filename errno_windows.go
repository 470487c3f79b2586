package weir

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// errno is an error number that package syscall invents on Windows, and the WSA number which a socket there would give.
type errno syscall.Errno

// portable is e in a form that is both numbers to errors.Is.
func portable(e syscall.Errno) error { return errno(e) }

// Error is the message of Windows if it has one.
func (e errno) Error() string {
	if w, ok := wsa(syscall.Errno(e)); ok {
		return w.Error()
	}
	return syscall.Errno(e).Error()
}

func (e errno) Timeout() bool   { return syscall.Errno(e).Timeout() }
func (e errno) Temporary() bool { return syscall.Errno(e).Temporary() }

// Is holds for both numbers, and for those of package os's errors that the portable one stands for.
func (e errno) Is(target error) bool {
	if n, ok := target.(syscall.Errno); ok {
		w, known := wsa(syscall.Errno(e))
		return n == syscall.Errno(e) || known && n == w
	}
	return syscall.Errno(e).Is(target)
}

// wsa is the number of Windows Sockets for one of package syscall's.
func wsa(e syscall.Errno) (syscall.Errno, bool) {
	switch e {
	case syscall.EACCES:
		return windows.WSAEACCES, true
	case syscall.EADDRINUSE:
		return windows.WSAEADDRINUSE, true
	case syscall.EADDRNOTAVAIL:
		return windows.WSAEADDRNOTAVAIL, true
	case syscall.EAFNOSUPPORT:
		return windows.WSAEAFNOSUPPORT, true
	case syscall.ECONNABORTED:
		return windows.WSAECONNABORTED, true
	case syscall.ECONNREFUSED:
		return windows.WSAECONNREFUSED, true
	case syscall.ECONNRESET:
		return windows.WSAECONNRESET, true
	case syscall.EDESTADDRREQ:
		return windows.WSAEDESTADDRREQ, true
	case syscall.EHOSTUNREACH:
		return windows.WSAEHOSTUNREACH, true
	case syscall.EINVAL:
		return windows.WSAEINVAL, true
	case syscall.EMSGSIZE:
		return windows.WSAEMSGSIZE, true
	case syscall.ENETDOWN:
		return windows.WSAENETDOWN, true
	case syscall.ENETUNREACH:
		return windows.WSAENETUNREACH, true
	case syscall.ENOBUFS:
		return windows.WSAENOBUFS, true
	case syscall.ENOTCONN:
		return windows.WSAENOTCONN, true
	case syscall.EPIPE:
		return windows.WSAESHUTDOWN, true
	case syscall.EPROTONOSUPPORT:
		return windows.WSAEPROTONOSUPPORT, true
	case syscall.ETIMEDOUT:
		return windows.WSAETIMEDOUT, true
	}
	return 0, false
}
