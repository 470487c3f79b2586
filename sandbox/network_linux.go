package sandbox

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/capture"
	"github.com/weirnet/weir/link/tun"
	"github.com/weirnet/weir/sandbox/relay"
)

// network is what is behind the TUN device.
type network struct {
	serve     func(tun *os.File) (stop func(), err error) // what tests put in place of the stack
	published []netip.AddrPort
}

// start puts a stack behind the TUN device, and joins it to the host, until stop is called.
func (n *network) start(c *Cmd, file *os.File) (stop func(), err error) {
	if n.serve != nil {
		return n.serve(file)
	}
	s, err := weir.New(weir.Config{})
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if err := addInterface(s, c, file); err != nil {
		s.Close()
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	r, err := relay.Start(s, relay.Options{
		Gateway4: netip.MustParseAddr(Gateway4), Gateway6: netip.MustParseAddr(Gateway6),
		AllowHostLoopback: c.AllowHostLoopback, Resolvers: c.Resolvers, Log: c.notice,
	})
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	stop = func() {
		r.Close()
		s.Close()
	}
	for _, p := range c.Publish {
		at, err := r.Publish(p, netip.MustParseAddr(Guest4), netip.MustParseAddr(Guest6))
		if err != nil {
			stop()
			return nil, fmt.Errorf("sandbox: %w", err)
		}
		n.published = append(n.published, at)
	}
	return stop, nil
}

// addInterface gives the stack the TUN device.
func addInterface(s *weir.Stack, c *Cmd, file *os.File) error {
	d, err := tun.FromFile(file, tun.Options{MTU: c.mtu()})
	if err != nil {
		return err
	}
	var device link.Device = d
	if c.Capture != nil {
		device = capture.NewWriter(c.Capture).Wrap(d, capture.Options{Name: interfaceName})
	}
	_, err = s.AddInterface(weir.InterfaceConfig{
		Name: interfaceName, Device: device, AnyDestination: true,
		Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.MustParseAddr(Gateway4), onLink4),
			netip.PrefixFrom(netip.MustParseAddr(Gateway6), onLink6),
		},
	})
	if err != nil {
		device.Close()
	}
	return err
}

// Published returns the addresses of the host that Publish's ports are published at, in their order. It is for those whose host port is 0.
func (c *Cmd) Published() []netip.AddrPort { return c.network.published }
