package drill

import (
	"net/netip"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// hostConfig is what command lines have set before the host is made, and what sockets take as defaults.
type hostConfig struct {
	tcp                  tcp.Config
	backlog, maxOrphans  int
	fastOpen             int64
	keepIdle, keepInterv time.Duration
	keepCount            int
	minPathMTU           int
	noPathMTU            bool // packets may be fragmented
}

func defaultHostConfig() hostConfig {
	return hostConfig{
		keepIdle: 2 * time.Hour, keepInterv: 75 * time.Second, keepCount: 9, fastOpen: fastOpenClient | fastOpenServer,
		tcp: tcp.Config{FirstSendBuffer: 4 << 20}, // a script writes what it likes at once, unless it sets tcp_wmem
	}
}

// sentPacket is a packet that the host has sent.
type sentPacket struct {
	at    sched.Time
	bytes []byte
}

// device is the link to the peer, which is the script: it has no offloads, so that what it keeps are packets of the wire.
type device struct {
	clock sched.Clock
	mtu   int
	sink  link.Sink
	sent  []sentPacket
	note  func([]byte) // is told what is sent
	gone  bool
}

func (d *device) Attach(s link.Sink) error {
	d.sink = s
	return nil
}

func (d *device) Info() link.Info { return link.Info{MTU: d.mtu, Queues: 1} }

func (d *device) Close() error {
	d.gone = true
	return nil
}

func (d *device) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	for _, p := range batch {
		var b []byte
		for _, piece := range p.Vec(nil) {
			b = append(b, piece...)
		}
		if !d.gone {
			d.sent = append(d.sent, sentPacket{d.clock.Now(), b})
			d.note(b)
		}
		p.Release()
	}
	return len(batch), nil
}

// inject delivers one packet to the host.
func (d *device) inject(b []byte) {
	p := d.sink.Packets.Get()
	p.Data().Append(b)
	p.Received = d.clock.Now()
	d.sink.Deliver(0, []*packet.Packet{p})
}

// rand is a generator (SplitMix64) whose numbers are the same in each run.
type rand struct{ state uint64 }

func (r *rand) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// deviceName is the name of the host's interface.
const deviceName = "tun0"

// makeHost makes the host under test.
func (r *runner) makeHost() error {
	if r.host != nil {
		return nil
	}
	set := &r.script.set
	seed := rand{state: 1}
	pool := buffer.NewPool(buffer.Options{Check: true})
	var iss func() tcp.Seq
	if set.iss != nil {
		iss = func() tcp.Seq { return tcp.Seq(*set.iss) }
	}
	r.host = stack.New(stack.Config{
		ISS:   iss,
		Clock: r.clock, Rand: seed.next, Spawn: func(fn func()) { fn() }, Packets: packet.NewPool(pool), TCP: &r.config.tcp,
		Backlog: r.config.backlog, MaxOrphans: r.config.maxOrphans, MinPathMTU: r.config.minPathMTU,
	})
	r.dev = &device{clock: r.clock, mtu: set.mtu}
	r.dev.note = func(b []byte) { r.note(r.clock.Now(), ">", r.describe(b, nil, false)) }
	c := stack.InterfaceConfig{Name: deviceName, Device: r.dev, Addrs: []netip.Prefix{netip.PrefixFrom(set.local4, set.bits4)}}
	c.Gateway4 = set.gateway
	if !set.gateway.IsValid() || !set.gateway.Is4() {
		c.Gateway4 = set.local4.Next()
	}
	if set.mtu >= 1280 { // RFC 8200 §5: less carries no IPv6
		c.Addrs = append(c.Addrs, netip.PrefixFrom(set.local6, 48))
		c.Gateway6 = set.local6.Next()
		if set.gateway.Is6() {
			c.Gateway6 = set.gateway
		}
	}
	i, err := r.host.AddInterface(c)
	if err == nil {
		r.iface = i.Index()
	}
	return err
}

// closeHost ends the host and looks for what it has not given back.
func (r *runner) closeHost() error {
	if r.host == nil {
		return nil
	}
	r.dev.gone = true // what the end of the host sends is of no account
	r.host.Close()
	pool := r.host.Packets()
	switch used, _ := r.host.Memory(); {
	case pool.Outstanding() != 0:
		return r.plain("the host has kept %d packets after its end", pool.Outstanding())
	case used != 0:
		return r.plain("the host still charges %d bytes after its end", used)
	}
	if err := pool.Buffers().Leaked(); err != nil {
		return r.plain("the host has kept memory after its end: %v", err)
	}
	return nil
}
