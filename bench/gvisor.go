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

type gvisorWorld struct{ a, b *stack.Stack }

// openGvisor joins two stacks by gVisor's own link/pipe, in the configuration that has served it best here: SACK, CUBIC, large buffers,
// receive-buffer moderation.
func openGvisor(mtu int) (world, error) {
	if mtu == 0 {
		mtu = 65535
	}
	ea, eb := pipe.New("\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", uint32(mtu))
	a, err := gvisorHost(ea, hostA)
	if err != nil {
		return nil, err
	}
	b, err := gvisorHost(eb, hostB)
	if err != nil {
		return nil, err
	}
	return &gvisorWorld{a, b}, nil
}

const nicID = 1

func gvisorHost(ep stack.LinkEndpoint, addr netip.Addr) (*stack.Stack, error) {
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
	if err := s.CreateNIC(nicID, ep); err != nil {
		return nil, fmt.Errorf("gvisor: create the NIC: %s", err)
	}
	own := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: 24},
	}
	if err := s.AddProtocolAddress(nicID, own, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("gvisor: add the address: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	return s, nil
}

func gvisorAddr(addr netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom4(addr.As4()), Port: port}
}

func (w *gvisorWorld) listen() (net.Listener, error) {
	return gonet.ListenTCP(w.b, gvisorAddr(hostB, tcpPort), ipv4.ProtocolNumber)
}

func (w *gvisorWorld) dial() (net.Conn, error) {
	return gonet.DialContextTCP(context.Background(), w.a, gvisorAddr(hostB, tcpPort), ipv4.ProtocolNumber)
}

func (w *gvisorWorld) packets() (client, server net.Conn, err error) {
	to := gvisorAddr(hostB, udpPort)
	l, err := gonet.DialUDP(w.b, &to, nil, ipv4.ProtocolNumber)
	if err != nil {
		return nil, nil, err
	}
	client, err = gonet.DialUDP(w.a, nil, &to, ipv4.ProtocolNumber)
	return client, l, err
}

func (w *gvisorWorld) close() {
	for _, s := range []*stack.Stack{w.a, w.b} {
		s.RemoveNIC(nicID)
		s.Close()
	}
}
