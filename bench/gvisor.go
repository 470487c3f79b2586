package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// gvisorWorld is two stacks; far is the second one's address.
type gvisorWorld struct {
	a, b *stack.Stack
	far  netip.Addr
}

const nicID = 1

// MAC addresses, which gVisor's links want even where nobody uses them.
const (
	macA = tcpip.LinkAddress("\x02\x00\x00\x00\x00\x01")
	macB = tcpip.LinkAddress("\x02\x00\x00\x00\x00\x02")
)

func gvisorMTU(o options) uint32 {
	if o.MTU == 0 {
		return 65535
	}
	return uint32(o.MTU)
}

func openGvisorPipe(o options) (world, error) {
	ea, eb := pipe.New(macA, macB, gvisorMTU(o))
	return gvisorPair(ea, eb)
}

func gvisorPair(ea, eb stack.LinkEndpoint) (world, error) {
	a, err := gvisorHost(ea, hostA)
	if err != nil {
		return nil, err
	}
	b, err := gvisorHost(eb, hostB)
	return &gvisorWorld{a, b, hostB}, err
}

// gvisorHost is a stack in the configuration that has served it best here.
func gvisorHost(ep stack.LinkEndpoint, addr netip.Addr) (*stack.Stack, error) {
	s, err := gvisorStack()
	if err != nil {
		return nil, err
	}
	if err := gvisorNIC(s, nicID, ep, addr); err != nil {
		return nil, err
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	return s, nil
}

func gvisorStack() (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	sack, moderate, cubic := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.CongestionControlOption("cubic")
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 4 << 20, Max: 16 << 20}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: 4 << 20, Max: 16 << 20}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &cubic, &receive, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return nil, fmt.Errorf("gvisor: set %T: %s", o, err)
		}
	}
	return s, nil
}

func gvisorNIC(s *stack.Stack, id tcpip.NICID, ep stack.LinkEndpoint, addr netip.Addr) error {
	if err := s.CreateNIC(id, ep); err != nil {
		return fmt.Errorf("gvisor: create the NIC: %s", err)
	}
	own := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: 24},
	}
	if err := s.AddProtocolAddress(id, own, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("gvisor: add the address: %s", err)
	}
	return nil
}

func gvisorAddr(addr netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom4(addr.As4()), Port: port}
}

func (w *gvisorWorld) listen(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(w.b, gvisorAddr(w.far, port), ipv4.ProtocolNumber)
}

func (w *gvisorWorld) dial(port uint16) (net.Conn, error) {
	return gonet.DialContextTCP(context.Background(), w.a, gvisorAddr(w.far, port), ipv4.ProtocolNumber)
}

func (w *gvisorWorld) packets() (client, server net.Conn, err error) {
	to := gvisorAddr(w.far, udpPort)
	l, err := gonet.DialUDP(w.b, &to, nil, ipv4.ProtocolNumber)
	if err != nil {
		return nil, nil, err
	}
	client, err = gonet.DialUDP(w.a, nil, &to, ipv4.ProtocolNumber)
	return client, l, err
}

func (w *gvisorWorld) segments() int64 {
	return int64(w.a.Stats().TCP.SegmentsSent.Value() + w.b.Stats().TCP.SegmentsSent.Value())
}
