// Package link is the contract between the stack and the devices that carry its packets.
package link

import (
	"errors"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// Offload says what a device does itself, so that the stack need not.
type Offload uint16

const (
	TxChecksum Offload = 1 << iota // finishes partial checksums of TCP and UDP
	TxTSO4                         // cuts TCP over IPv4 super-segments
	TxTSO6                         // cuts TCP over IPv6 super-segments
	TxUSO                          // cuts UDP super-segments
	TxACE                          // cuts TCP super-segments with packet.Meta.KeepCWR as that says
	RxJoined                       // delivers super-segments itself where it can: GRO would find little to join
)

// HardwareAddr is an Ethernet address. The zero value: none, packets are bare IP.
type HardwareAddr [6]byte

// Info describes a device. It is small and copied.
type Info struct {
	MTU      int // bytes of network-layer packet that fit into one frame
	Addr     HardwareAddr
	Offloads Offload
	Queues   int  // transmit queues, at least 1
	GSOMax   int  // bytes of the largest super-segment, network header included; 0: 65535
	Down     bool // no carrier
}

// Sink is where a device puts what comes from it.
type Sink struct {
	// Deliver hands in packets that came in on a queue. The packets become the callee's, the slice is borrowed.
	// It may run from many goroutines at once.
	Deliver func(queue int, batch []*packet.Packet)
	// Writable says that a queue which answered ErrFull takes packets again.
	Writable func(queue int)
	// Changed says that the device's Info is another one now.
	Changed func(Info)
	// Packets is the pool from which the device takes the packets it delivers (it may deliver others).
	Packets *packet.Pool
	// Clock gives Packet.Received.
	Clock sched.Clock
}

// Device is a network interface.
//
// WritePackets never blocks. batch[:n] belongs to the device now (sent or dropped), batch[n:] stays the caller's; n < len(batch) with
// ErrFull means wait for Writable. The slice itself is only borrowed, both ways. Deliver may run from many goroutines at once and
// re-enters WritePackets of the same device: no device or wrapper holds a lock across WritePackets, Deliver, Writable or Changed.
// After Close returns none of them is called; Close is never called from inside one. Packets written before the far end is attached
// are dropped and counted.
type Device interface {
	Attach(Sink) error // once
	WritePackets(queue int, batch []*packet.Packet) (n int, err error)
	Info() Info
	Close() error
}

// ErrFull is what WritePackets answers when a queue takes no more now.
var ErrFull = errors.New("link: transmit queue full")

// ErrClosed is what a closed device answers.
var ErrClosed = errors.New("link: device closed")

// ErrAttached is what Attach answers the second time.
var ErrAttached = errors.New("link: device already attached")
