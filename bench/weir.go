package main

import (
	"context"
	"net"
	"net/netip"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/link/tun"
)

var (
	hostA = netip.MustParseAddr("192.0.2.1")
	hostB = netip.MustParseAddr("192.0.2.2")
)

// weirWorld is two stacks; far is the second one's address.
type weirWorld struct {
	a, b *weir.Stack
	far  netip.Addr
}

// openWeir joins two stacks by a pipe.
func openWeir(o options) (world, error) {
	p := pipe.Options{MTU: 65535}
	if o.MTU != 0 {
		p = pipe.Options{MTU: o.MTU, NoOffload: true}
	}
	da, db := pipe.New(p)
	return weirPair(da, db, weir.Config{})
}

func weirPair(da, db link.Device, c weir.Config) (*weirWorld, error) {
	a, err := weirHost(da, hostA, c)
	if err != nil {
		return nil, err
	}
	b, err := weirHost(db, hostB, c)
	return &weirWorld{a, b, hostB}, err
}

func weirHost(dev link.Device, addr netip.Addr, c weir.Config) (*weir.Stack, error) {
	s, err := weir.New(c)
	if err != nil {
		return nil, err
	}
	return s, weirInterface(s, dev, addr)
}

func weirInterface(s *weir.Stack, dev link.Device, addr netip.Addr) error {
	_, err := s.AddInterface(weir.InterfaceConfig{Device: dev, Addrs: []netip.Prefix{netip.PrefixFrom(addr, 24)}})
	return err
}

func (w *weirWorld) listen(port uint16) (net.Listener, error) {
	return w.b.ListenTCP(netip.AddrPortFrom(w.far, port))
}

func (w *weirWorld) dial(port uint16) (net.Conn, error) {
	return w.a.DialTCP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(w.far, port))
}

func (w *weirWorld) packets() (client, server net.Conn, err error) {
	to := netip.AddrPortFrom(w.far, udpPort)
	if server, err = w.b.ListenUDP(to); err != nil {
		return nil, nil, err
	}
	client, err = w.a.DialUDP(context.Background(), netip.AddrPort{}, to)
	return client, server, err
}

func (w *weirWorld) segments() int64 {
	return int64(w.a.Stats().TCP.SegmentsOut + w.b.Stats().TCP.SegmentsOut)
}

func (w *weirWorld) drops() uint64 {
	a, b := w.a.Stats(), w.b.Stats()
	return a.IP.OutDiscards + b.UDP.Overflow + b.IP.InDiscards
}

// weirTUN is this kernel near, and a stack far.
type weirTUN struct {
	kernelWorld
	b *weir.Stack
}

func openWeirTUN(o options) (world, error) {
	dev, err := tun.Open(tunName, tun.Options{NoOffload: o.MTU != 0})
	if err != nil {
		return nil, err
	}
	if err := configure(tunName, hostA); err != nil {
		return nil, err
	}
	b, err := weirHost(dev, hostB, weir.Config{})
	return &weirTUN{kernelWorld{addr: hostB}, b}, err
}

func (w *weirTUN) listen(port uint16) (net.Listener, error) {
	return w.b.ListenTCP(netip.AddrPortFrom(hostB, port))
}
