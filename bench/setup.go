package main

import (
	"net"
	"slices"
	"strings"
	"time"
)

// options of one measurement.
type options struct {
	MTU     int           `json:"mtu,omitempty"`     // 0: super-segments
	Streams int           `json:"streams,omitempty"` // bulk: connections at once
	Clients int           `json:"clients,omitempty"` // crr: clients at once
	Conns   int           `json:"conns,omitempty"`   // idle, gc, million, cost: connections
	Reverse bool          `json:"reverse,omitempty"` // bulk: who accepted sends
	GRO     bool          `json:"gro,omitempty"`     // udpbatch: the receiver takes several datagrams as one
	Loss    float64       `json:"loss,omitempty"`    // lossy: 0…1
	Time    time.Duration `json:"time,omitempty"`    // how long is measured
	Profile string        `json:"profile,omitempty"` // where a CPU profile of the measured time is written to
}

// setup is one implementation in one arrangement.
type setup struct {
	name      string
	about     string // one sentence
	namespace bool   // needs a user and network namespace of its own
	open      func(o options) (world, error)
}

// world is two hosts and what joins them. It lasts as long as the process, which is why nobody closes it.
type world interface {
	listen(port uint16) (net.Listener, error) // on the far host
	dial(port uint16) (net.Conn, error)       // from the near one
	packets() (client, server net.Conn, err error)
}

// dropCounter is a world that counts the datagrams that it dropped.
type dropCounter interface{ drops() uint64 }

const (
	tcpPort = 80
	udpPort = 53
)

const tuned = "SACK, CUBIC, 4 MiB default and 16 MiB largest buffers, receive-buffer moderation"

// kernelControl is true of the kernel's sockets in all works but lossy: pacing, which some machines' default asks of it, is by timers.
const kernelControl = "CUBIC, whatever the machine's default is"

var setups = []setup{
	{"weir", "two weir stacks with the zero Config over link/pipe; with an MTU NoOffload: real packets, checksums computed and verified", false, openWeir},
	{"weir/tun", "a weir stack and this kernel (CUBIC too) over link/tun with the virtio-net header, MTU 1500", true, openWeirTUN},
	{"weir/tun-plain", "a weir stack and this kernel (CUBIC too) over link/tun with NoOffload, MTU 1500: a system call a packet", true, openWeirTUN},
	{"gvisor/pipe", "two gVisor stacks over its link/pipe as shipped (no GSO, no GRO); " + tuned, false, openGvisorPipe},
	{"gvisor/channel", "two gVisor stacks over its link/channel, a goroutine each way that carries packets over; no GSO, no GRO; " + tuned, false, openGvisorChannel},
	{"gvisor/gso", "as gvisor/channel, with its software GSO (real packets on the link, checksums computed and verified) and its GRO over each batch; " + tuned, false, openGvisorGSO},
	{"gvisor/host-gso", "as gvisor/channel, with GSO and checksums left to the link as to a NIC, which hands super-segments of up to 64 KiB over whole; " + tuned, false, openGvisorHostGSO},
	{"gvisor/fdbased", "a gVisor stack and this kernel (CUBIC too) over TUN by its link/fdbased (which knows the virtio-net header for sockets only), MTU 1500, no GRO, as shipped; " + tuned, true, openGvisorFdbased},
	{"gvisor/fdbased-gro", "as gvisor/fdbased, with its GRO; " + tuned, true, openGvisorFdbasedGRO},
	{"gvisor/vnet", "a gVisor stack and this kernel (CUBIC too) over TUN with the virtio-net header by a link of ours: 64 KiB super-segments and partial checksums both ways, writes from the sender's goroutine, readv straight into pooled views; MTU 1500; " + tuned, true, openGvisorVnet},
	{"kernel/lo", "Linux over its loopback interface as it comes, by Go's net without MPTCP; " + kernelControl, true, openKernelLo},
	{"kernel/veth", "Linux over a veth pair between two namespaces, offloads as they come, by Go's net without MPTCP; " + kernelControl, true, openKernelVeth},
	{"kernel/veth-plain", "Linux over a veth pair between two namespaces, checksum, segmentation and receive offloads off, by Go's net without MPTCP; " + kernelControl, true, openKernelVethPlain},
	{"kernel/emul", "Linux in two namespaces, each with a plain TUN, joined by weir's link/emul", true, nil},
	{"weir/emul", "two weir stacks over link/pipe behind link/emul, in real time", false, nil},
	{"weir/sim", "two weir stacks in package sim, in virtual time", false, nil},
	{"limit/read", "TUN without offloads: a loop of plain reads and nothing else, while another thread keeps the device full of 1500-byte packets (UDP, cut by the kernel)", true, nil},
	{"limit/write", "TUN without offloads: a loop of plain writes of one 1500-byte UDP packet and nothing else, for a socket whose buffer is full", true, nil},
	{"weir/time-wait", "two weir stacks over link/pipe; the server closes first, and is weighed", false, nil},
	{"weir/time-wait-client", "two weir stacks over link/pipe; the client closes first, and is weighed: its local ports are shared by connections to several ports of the server", false, nil},
	{"weir/handshake", "a weir stack and SYNs that nobody follows up", false, nil},
	{"weir/wheel", "sched.Timers, the timer wheel of weir, alone: each operation moves one deadline", false, nil},
	{"go/timers", "time.Timer of the Go runtime, which gVisor uses, alone: each operation is a Reset", false, nil},
	{"kernel/net", "a program with Go's net", false, nil},
	{"nothing", "a program without network", false, nil},
	{"limit/tcp-in", "TUN without offloads: this kernel sends a stream to a loop that reads, and acknowledges every 32 packets at most, and does nothing else", true, nil},
	{"limit/tcp-out", "TUN without offloads: a loop that writes the segments of a stream to this kernel's TCP as far as its window goes, and does nothing else", true, nil},
	{"chan", "two goroutines and two Go channels, one byte each way: what the wake-ups alone cost", false, nil},
	{"chan/work", "as chan, and each computes before it sends, so that a round trip takes as long as weir's: what of the tail is the scheduler's", false, nil},
}

func findSetup(name string) (setup, bool) {
	i := slices.IndexFunc(setups, func(s setup) bool { return s.name == name })
	if i < 0 {
		return setup{}, false
	}
	return setups[i], true
}

// matches says whether a set-up's name is meant: by itself, or by the part in front of its slash.
func matches(pattern, name string) bool {
	return name == pattern || strings.HasPrefix(name, pattern+"/")
}
