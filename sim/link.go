package sim

import (
	"net/netip"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// LinkConfig says what a link is. The zero value is a perfect one with an MTU of 1500. Seed and Clock of the directions are the world's.
type LinkConfig struct {
	MTU         int         // of the interfaces at both ends, which their stacks know; 0: 1500
	There, Back emul.Config // from the first host to the second, and from the second to the first
}

// Both is a LinkConfig that is the same in both directions.
func Both(c emul.Config) LinkConfig { return LinkConfig{There: c, Back: c} }

// Link joins two hosts.
type Link struct {
	There, Back *Way
	world       *World
	number      int
}

// Way is one direction of a Link.
type Way struct {
	// Meddle is called for every TCP segment that is sent this way, before anything else happens to it; false: it is lost. It may change
	// the segment's Window. Nil: nobody meddles.
	Meddle func(e *Event) bool

	emul *emul.Device
	far  *port
}

// port is a host's end of a link: a device that looks at what passes.
type port struct {
	way          *Way // what leaves goes through it
	peer         *port
	host         *Host
	link         *Link
	sink         link.Sink
	mtu          int
	addr4, addr6 netip.Addr // addr6 is not valid where the MTU is too small
	bytes        int64      // of IP packets that have come in
	batch        []*packet.Packet
}

// Link joins two hosts. Hosts that are not joined directly reach each other over routers.
func (w *World) Link(a, b *Host, c LinkConfig) *Link {
	if c.MTU == 0 {
		c.MTU = pipe.DefaultMTU
	}
	l := &Link{world: w, number: len(w.links) + 1}
	w.links = append(w.links, l)
	da, db := pipe.New(pipe.Options{MTU: 65535, NoOffload: true})
	there := &port{host: a, link: l, mtu: c.MTU}
	back := &port{host: b, link: l, mtu: c.MTU, peer: there}
	there.peer = back
	l.There, l.Back = &Way{emul: w.impair(da, c.There), far: back}, &Way{emul: w.impair(db, c.Back), far: there}
	there.way, back.way = l.There, l.Back
	for i, p := range []*port{there, back} {
		p.addr4 = netip.AddrFrom4([4]byte{198, 18 + byte(l.number>>8), byte(l.number), byte(1 + i)})
		addrs := []netip.Prefix{netip.PrefixFrom(p.addr4, 24)}
		if c.MTU >= 1280 {
			p.addr6 = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(l.number >> 8), byte(l.number), 15: byte(1 + i)})
			addrs = append(addrs, netip.PrefixFrom(p.addr6, 64))
		}
		p.host.ports = append(p.host.ports, p)
		if _, err := p.host.stack.AddInterface(stack.InterfaceConfig{Device: p, Addrs: addrs}); err != nil {
			w.Fail("link %s to %s: %w", a.Name, b.Name, err)
		}
	}
	w.unrouted = true
	return l
}

func (w *World) impair(d link.Device, c emul.Config) *emul.Device {
	c.Seed, c.Clock = w.random.Uint64(), w.clock
	w.corrupts = w.corrupts || c.Corrupt > 0
	return emul.Wrap(d, c).(*emul.Device)
}

// routes are those to the link by way of a neighbour.
func (l *Link) routes(via *port) []ip.Route {
	p := l.There.far
	r := []ip.Route{{Prefix: netip.PrefixFrom(p.addr4, 24).Masked(), Gateway: via.addr4}}
	if p.addr6.IsValid() && via.addr6.IsValid() {
		r = append(r, ip.Route{Prefix: netip.PrefixFrom(p.addr6, 64).Masked(), Gateway: via.addr6})
	}
	return r
}

// SetMTU changes the MTU of the interfaces at both ends: a router then answers what is too long with ICMP. (A Way's Config.MTU is a black
// hole.) IPv6 stays away from links of less than 1280.
func (l *Link) SetMTU(mtu int) {
	for _, p := range []*port{l.There.far, l.Back.far} {
		p.mtu = mtu
		p.sink.Changed(p.Info())
	}
}

// Cut loses everything on the link, both ways, until Mend.
func (l *Link) Cut() { l.setDown(true) }

// Mend ends a Cut.
func (l *Link) Mend() { l.setDown(false) }

func (l *Link) setDown(down bool) {
	for _, w := range []*Way{l.There, l.Back} {
		c := w.Config()
		c.Down = down
		w.Set(c)
	}
}

// Set changes what the direction does to packets that are sent from now on.
func (w *Way) Set(c emul.Config) {
	world := w.far.host.world
	world.corrupts = world.corrupts || c.Corrupt > 0
	w.emul.SetConfig(c)
}

// Config returns what the direction does to packets.
func (w *Way) Config() emul.Config { return w.emul.Config() }

// Stats counts packets.
func (w *Way) Stats() emul.Stats { return w.emul.Stats() }

// Waiting is how many bytes are in the queue.
func (w *Way) Waiting() int { return w.emul.Waiting() }

// Bytes is how many bytes of IP packets have arrived at the far end.
func (w *Way) Bytes() int64 { return w.far.bytes }

// Attach, Info, WritePackets and Close make a port a link.Device.
func (p *port) Attach(s link.Sink) error {
	p.sink = s
	own := s
	own.Deliver = p.deliver
	own.Changed = nil
	return p.way.emul.Attach(own)
}

// Info describes the device, with the MTU of the link.
func (p *port) Info() link.Info {
	i := p.way.emul.Info()
	i.MTU = p.mtu
	return i
}

// Close closes the device.
func (p *port) Close() error { return p.way.emul.Close() }

// WritePackets sends packets of the host. It takes all of them: what goes no further is released.
func (p *port) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	p.batch = p.batch[:0]
	for _, pk := range batch {
		if p.leaves(pk) {
			p.batch = append(p.batch, pk)
		} else {
			pk.Release()
		}
	}
	n, _ := p.way.emul.WritePackets(queue, p.batch)
	for _, pk := range p.batch[n:] { // the device is closed
		pk.Release()
	}
	clear(p.batch)
	return len(batch), nil
}

// leaves looks at a packet that the host sends; false if it goes no further.
func (p *port) leaves(pk *packet.Packet) bool {
	h, meddle := p.host, p.way.Meddle
	if h.config.Forward && h.world.config.Trace == nil && meddle == nil {
		return true
	}
	var v view
	if !v.parseOutbound(pk) {
		return true
	}
	h.sends(&v)
	if meddle == nil {
		return true
	}
	e := h.event(true, &v)
	window := e.Window
	if !meddle(&e) {
		return false
	}
	if e.Window != window {
		pk.WritableHeaders()
		t := wire.TCP(pk.Header(packet.Transport))
		t.SetChecksum(checksum.Update16(t.Checksum(), window, e.Window))
		t.SetWindow(e.Window)
	}
	return true
}

// deliver takes packets for the host.
func (p *port) deliver(queue int, batch []*packet.Packet) {
	if p.host.world.config.Batches {
		for _, pk := range batch {
			p.bytes += int64(pk.Size())
			p.host.arrives(pk)
		}
		p.sink.Deliver(queue, batch)
		return
	}
	for i, pk := range batch {
		if i > 0 {
			p.host.world.check()
		}
		p.bytes += int64(pk.Size())
		p.host.arrives(pk)
		p.sink.Deliver(queue, batch[i:i+1])
	}
}
