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
	var record *capture.Writer
	if c.Capture != nil {
		record = capture.NewWriter(c.Capture)
	}
	if err := addInterface(s, c.mtu(), file, record); err != nil {
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
		if record != nil && record.Err() != nil {
			c.notice("the capture is not complete: " + record.Err().Error())
		}
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

// addInterface gives the stack the TUN device, which is recorded if record is not nil.
func addInterface(s *weir.Stack, mtu int, file *os.File, record *capture.Writer) error {
	d, err := tun.FromFile(file, tun.Options{MTU: mtu})
	if err != nil {
		return err
	}
	var device link.Device = d
	if record != nil {
		device = record.Wrap(d, capture.Options{Name: interfaceName})
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
