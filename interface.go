package weir

import (
	"net/netip"

	"github.com/weirnet/weir/internal/during"
	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/link"
)

// InterfaceConfig says what an interface is. Device is required.
type InterfaceConfig struct {
	// Name is what Info, zones, Dialer.Interface and Route.Interface call it; empty: "eth" and a number.
	Name string
	// Device carries the packets. It is the stack's from now on, who closes it.
	Device link.Device
	// Addrs are our addresses with the prefix that is on link there.
	Addrs []netip.Prefix
	// Gateway4 and Gateway6 are where a default route leads; not valid: there is none by this interface.
	Gateway4, Gateway6 netip.Addr
	// AnyDestination makes unicast for any address ours (never loopback, unspecified, multicast, broadcast, link-local): what a
	// forwarder of other hosts' traffic needs. Sockets that listen on all addresses do not take it, see ListenConfig.Transparent;
	// handlers do.
	AnyDestination bool
	// Isolated makes the interface a world of its own: its addresses may be the same as others', its flows never mix with theirs, and
	// nothing is forwarded to or from it.
	Isolated bool
	// Down adds the interface without taking it up.
	Down bool
}

// Interface is one interface of a Stack.
type Interface struct{ inner *stack.Interface }

// AddInterface attaches a device to the stack. Errors: the name is taken (syscall.EEXIST), an address or gateway makes no sense, the
// device refuses, net.ErrClosed.
func (s *Stack) AddInterface(c InterfaceConfig) (*Interface, error) {
	i, err := s.inner.AddInterface(stack.InterfaceConfig{
		Name: c.Name, Device: c.Device, Addrs: c.Addrs, Gateway4: c.Gateway4, Gateway6: c.Gateway6,
		AnyDestination: c.AnyDestination, Isolated: c.Isolated, Down: c.Down,
	})
	if err != nil {
		return nil, during.Error("weir", err)
	}
	return &Interface{i}, nil
}

// Interfaces returns the interfaces in the order in which they were added; the first is the loopback.
func (s *Stack) Interfaces() []*Interface {
	var all []*Interface
	for _, i := range s.inner.Interfaces() {
		all = append(all, &Interface{i})
	}
	return all
}

// Interface returns the interface of that name, nil if there is none.
func (s *Stack) Interface(name string) *Interface {
	if i := s.inner.InterfaceByName(name); i != nil {
		return &Interface{i}
	}
	return nil
}

// InterfaceInfo describes an interface and what crossed it. Packets are counted as the device sees them: a super-segment is one.
type InterfaceInfo struct {
	Name                               string
	Index, MTU                         int // MTU in bytes
	Up                                 bool
	Addrs                              []netip.Prefix
	Gateway4, Gateway6                 netip.Addr
	AnyDestination, Isolated, Loopback bool
	Offloads                           link.Offload
	RxPackets, RxBytes                 uint64
	TxPackets, TxBytes, TxDropped      uint64
}

// Info returns what the interface is now.
func (i *Interface) Info() InterfaceInfo { return InterfaceInfo(i.inner.Info()) }

// Name returns the interface's name.
func (i *Interface) Name() string { return i.inner.Name() }

// SetAddrs replaces the addresses. Connections from an address that is no longer ours find no way and time out.
func (i *Interface) SetAddrs(addrs ...netip.Prefix) error {
	if err := i.inner.SetAddrs(addrs); err != nil {
		return during.Error("weir: set addresses of interface "+i.Name(), err)
	}
	return nil
}

// SetUp takes the interface up or down.
func (i *Interface) SetUp(up bool) error {
	if err := i.inner.SetUp(up); err != nil {
		return during.Error("weir: set interface "+i.Name()+" up or down", err)
	}
	return nil
}

// Close takes the interface out of the stack and closes its device. Sockets that used it find another way or time out. It must not
// be called from inside the device. Closing twice does nothing.
func (i *Interface) Close() error { return i.inner.Close() }
