//go:build !linux

package tun

import (
	"errors"
	"os"
	"runtime"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// Device is a TUN device. There are none on this system: nothing gives one out.
type Device struct{}

func unsupported(op, name string) error {
	return &Error{Op: op, Device: name, Err: errors.ErrUnsupported, Fix: "use Linux (this is " + runtime.GOOS + ")"}
}

// Open answers an error that wraps errors.ErrUnsupported.
func Open(name string, _ Options) (*Device, error) { return nil, unsupported("open", name) }

// OpenFile answers an error that wraps errors.ErrUnsupported.
func OpenFile(name string, _ Options) (*os.File, error) { return nil, unsupported("open", name) }

// OpenFiles answers an error that wraps errors.ErrUnsupported.
func OpenFiles(name string, _ Options) ([]*os.File, error) { return nil, unsupported("open", name) }

// FromFiles answers an error that wraps errors.ErrUnsupported.
func FromFiles(files []*os.File, _ Options) (*Device, error) {
	return nil, unsupported("use files", "")
}

// FromFile answers an error that wraps errors.ErrUnsupported.
func FromFile(f *os.File, _ Options) (*Device, error) { return nil, unsupported("use", f.Name()) }

// Attach is link.Device's.
func (*Device) Attach(link.Sink) error { return errors.ErrUnsupported }

// WritePackets is link.Device's.
func (*Device) WritePackets(int, []*packet.Packet) (int, error) { return 0, link.ErrClosed }

// Info is link.Device's.
func (*Device) Info() link.Info { return link.Info{} }

// Name is the name of the interface.
func (*Device) Name() string { return "" }

// Stats returns the counters.
func (*Device) Stats() Stats { return Stats{} }

// Close is link.Device's.
func (*Device) Close() error { return nil }
