package weir

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// The errors that package net has under these names and does not export.
var (
	errMissingAddress    = errors.New("missing address")
	errWrongAddress      = errors.New("address of another network")
	errNoSuitableAddress = errors.New("no suitable address found")
)

// wrap gives an error the form that package net gives it: errno inside os.SyscallError, named for the call that a kernel's socket
// would have failed in.
func wrap(call string, err error) error {
	if e, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError(call, portable(e))
	}
	return err
}

// orClosed is net.ErrClosed once the stack closes: what ended a call then was that.
func (s *Stack) orClosed(err error) error {
	if s.inner.Closed() {
		return net.ErrClosed
	}
	return err
}

// mapContext turns the end of a context into the error that package net has for it.
func mapContext(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return timeoutError{}
	case errors.Is(err, context.Canceled):
		return canceledError{}
	}
	return err
}

// timeoutError is a Dial whose time was up.
type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// Is makes it both what a context's and what a connection's deadline gives.
func (timeoutError) Is(err error) bool {
	return err == context.DeadlineExceeded || err == os.ErrDeadlineExceeded
}

// canceledError is a Dial whose context was cancelled.
type canceledError struct{}

func (canceledError) Error() string     { return "operation was canceled" }
func (canceledError) Is(err error) bool { return err == context.Canceled }

// tcpAddr is nil for an address that is not there.
func tcpAddr(a netip.AddrPort) net.Addr {
	if !a.IsValid() {
		return nil
	}
	return net.TCPAddrFromAddrPort(a)
}

// udpAddr is nil for an address that is not there.
func udpAddr(a netip.AddrPort) net.Addr {
	if !a.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(a)
}

// ipAddr is nil for an address that is not there.
func ipAddr(a netip.Addr) net.Addr {
	if !a.IsValid() {
		return nil
	}
	return &net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()}
}
