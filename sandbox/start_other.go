//go:build !linux

package sandbox

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
)

type running struct{}

type network struct{}

// Init does nothing on this system: there are no sandboxes.
func Init() {}

// Start answers an error that wraps errors.ErrUnsupported.
func (c *Cmd) Start() error {
	return fmt.Errorf("sandbox: running a program on a stack of its own needs Linux, and this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Wait answers an error: nothing was started.
func (c *Cmd) Wait() error { return errors.New("sandbox: Wait without Start") }

// Published returns nothing: nothing was started.
func (c *Cmd) Published() []netip.AddrPort { return nil }

// Signal answers an error: nothing was started.
func (c *Cmd) Signal(os.Signal) error { return errors.New("sandbox: Signal without Start") }
