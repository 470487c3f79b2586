package main

import (
	"errors"
	"net"
	"net/netip"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
)

const (
	tcpPort = 80
	udpPort = 53
)

var (
	hostA = netip.MustParseAddr("192.0.2.1")
	hostB = netip.MustParseAddr("192.0.2.2")
)

type weirWorld struct{ a, b *weir.Stack }

// openWeir joins two stacks by a pipe.
func openWeir(mtu int) (world, error) {
	o := pipe.Options{MTU: mtu, NoOffload: mtu != 0}
	if mtu == 0 {
		o.MTU = 65535
	}
	da, db := pipe.New(o)
	a, err := weirHost(da, hostA)
	if err != nil {
		return nil, err
	}
	b, err := weirHost(db, hostB)
	if err != nil {
		a.Close()
		return nil, err
	}
	return &weirWorld{a, b}, nil
}

func weirHost(dev link.Device, addr netip.Addr) (*weir.Stack, error) {
	s, err := weir.New(weir.Config{})
	if err != nil {
		return nil, err
	}
	_, err = s.AddInterface(weir.InterfaceConfig{Device: dev, Addrs: []netip.Prefix{netip.PrefixFrom(addr, 24)}})
	return s, errors.Join(err)
}

func (w *weirWorld) listen() (net.Listener, error) {
	return w.b.ListenTCP(netip.AddrPortFrom(hostB, tcpPort))
}

func (w *weirWorld) dial() (net.Conn, error) {
	return w.a.Dial("tcp", netip.AddrPortFrom(hostB, tcpPort).String())
}

func (w *weirWorld) packets() (client, server net.Conn, err error) {
	l, err := w.b.ListenUDP(netip.AddrPortFrom(hostB, udpPort))
	if err != nil {
		return nil, nil, err
	}
	client, err = w.a.Dial("udp", netip.AddrPortFrom(hostB, udpPort).String())
	return client, l, err
}

func (w *weirWorld) close() {
	w.a.Close()
	w.b.Close()
}
