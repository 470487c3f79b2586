// Package tun is the TUN device: packets that an operating system routes to a network interface come out of it, and what is written to
// it the system takes as received on that interface.
//
// On Linux the device negotiates the virtio-net header with the kernel. With it super-segments of up to 64 KiB and partial checksums
// cross in both directions: one read and one write serve forty wire packets. Where the kernel lacks it, or Options.NoOffload asks for
// none of it, the packets are plain ones of at most MTU bytes with complete checksums.
//
// The package opens the device, moves packets, sets the MTU and brings the interface up. Addresses and routes are the caller's: they are
// the host's configuration, not the device's.
package tun

import (
	"fmt"
	"strings"
)

// Options of a device. The zero value takes everything that the kernel offers.
type Options struct {
	// MTU is in bytes of IP packet. 0 leaves what the interface has: 1500 if it is a new one. See FromFile for what it means there.
	MTU int
	// Queues is the number of queues, each with a goroutine that reads it; 0 means 1. Of several, the kernel sends a flow by the one on
	// which it was last heard from. The interface has to be made for several (`ip tuntap add … multi_queue`) if it is not made here.
	// FromFiles has as many as it is given files.
	Queues int
	// NoOffload has plain packets cross: no super-segments, complete checksums.
	NoOffload bool
}

// check refuses what no device can be opened with.
func (o Options) check(name string) error {
	if o.Queues < 0 || o.Queues > maxQueues {
		return &Error{Op: "open", Device: name, Err: fmt.Errorf("Options.Queues is %d", o.Queues), Fix: fmt.Sprintf("choose one of 0 to %d", maxQueues)}
	}
	if o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU) {
		return &Error{Op: "open", Device: name, Err: fmt.Errorf("Options.MTU is %d", o.MTU), Fix: fmt.Sprintf("choose one of %d to %d", minMTU, maxMTU)}
	}
	return nil
}

// The MTU of a TUN interface: what Linux accepts.
const (
	minMTU = 68 // RFC 791: every internet module must be able to forward a datagram of 68 octets
	maxMTU = 65535
)

// maxQueues is how many queues Linux lets a TUN interface have.
const maxQueues = 256

// maxName is the longest name of an interface, in bytes.
const maxName = 15

// checkName refuses names that the kernel would refuse less clearly, or cut short.
func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return &Error{Op: "open", Device: name, Err: fmt.Errorf("the name has %d bytes", len(name)), Fix: fmt.Sprintf("choose one of at most %d", maxName)}
	case name == ".", name == "..", strings.ContainsAny(name, "/: \t\n\x00"):
		return &Error{Op: "open", Device: name, Err: fmt.Errorf("%q cannot name an interface", name), Fix: `choose letters and digits, or "" for a free name`}
	}
	return nil
}

// Error says what was tried on which device, what came of it, and what to do about it.
type Error struct {
	Op     string // what was tried: "open /dev/net/tun", "create the interface"
	Device string // name of the interface, "" if it was to get one
	Err    error  // what the system said; errors.Is sees it
	Fix    string // what mends it, a command to type where there is one; "" if nobody knows
}

// Error is "tun: Op Device: Err; to mend it: Fix".
func (e *Error) Error() string {
	s := "tun: " + e.Op
	if e.Device != "" {
		s += " " + e.Device
	}
	s += ": " + e.Err.Error()
	if e.Fix != "" {
		s += "; to mend it: " + e.Fix
	}
	return s
}

// Unwrap returns what the system said.
func (e *Error) Unwrap() error { return e.Err }

// Stats counts what crossed a device since it was opened. A super-segment is one packet.
type Stats struct {
	RxPackets uint64 // came out of the kernel and were delivered
	RxBytes   uint64 // their IP bytes
	RxBad     uint64 // dropped: the virtio-net header in front of them contradicted them, or they were empty
	TxPackets uint64 // taken by the kernel
	TxBytes   uint64 // their IP bytes
	TxDropped uint64 // refused by the kernel (interface down or gone, no memory, malformed)
	TxFull    uint64 // times the kernel had no room and WritePackets answered link.ErrFull
}
