package stack

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// checkClosed looks for what a closed stack has not given back.
func checkClosed(t testing.TB, s *Stack) {
	t.Helper()
	used, _ := s.Memory()
	ports := 0
	for i := range s.flows.locals.shards {
		ports += len(s.flows.locals.shards[i].blocks) + len(s.flows.locals.shards[i].more)
	}
	for what, n := range map[string]int64{
		"packets out": int64(s.Packets().Outstanding()), "bytes charged to the memory budget": used,
		"flows in the table": int64(s.flows.len()), "requests pending": s.pending.Load(), "requests counted": s.asked.Load(),
		"handshakes counted": s.openings.Load(), "orphans": s.orphans.Load(), "requests of Fast Open": int64(len(s.fast.pending)),
		"bindings": int64(len(s.binds.m)), "ports counted": int64(ports), "listeners known": int64(len(s.listeners.m)),
		"refusals remembered": s.refusals.Load(), "TIME-WAIT records": s.timeWaits.Load(), "ICMP sockets": int64(len(s.pings.list)),
	} {
		if n != 0 {
			t.Errorf("%d %s after Close", n, what)
		}
	}
	if err := s.Packets().Buffers().Leaked(); err != nil {
		t.Error(err)
	}
}

// tap is a device in a test's hands: it keeps what the stack writes, and injects what the test likes.
type tap struct {
	info link.Info
	sink link.Sink
	see  func(*packet.Packet) // looks at what is written; nil: nobody does

	mu     sync.Mutex
	sent   [][]byte
	full   bool // WritePackets answers ErrFull
	closed bool
}

func newTap() *tap { return &tap{info: link.Info{MTU: 1500, Queues: 1}} }

func (d *tap) Attach(s link.Sink) error {
	d.sink = s
	return nil
}

func (d *tap) Info() link.Info { return d.info }

func (d *tap) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

func (d *tap) WritePackets(_ int, batch []*packet.Packet) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return 0, link.ErrClosed
	case d.full:
		return 0, link.ErrFull
	}
	for _, p := range batch {
		if d.see != nil {
			d.see(p)
		}
		d.sent = append(d.sent, bytes.Join(p.Vec(nil), nil))
		p.Release()
	}
	return len(batch), nil
}

// setFull makes the device full, or writable.
func (d *tap) setFull(full bool) {
	d.mu.Lock()
	d.full = full
	d.mu.Unlock()
	if !full {
		d.sink.Writable(0)
	}
}

// take returns what was written since the last call.
func (d *tap) take() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sent
	d.sent = nil
	return s
}

// one returns the only packet that was written since the last call.
func (d *tap) one(t *testing.T) []byte {
	t.Helper()
	all := d.take()
	if len(all) != 1 {
		t.Fatalf("%d packets were written, want 1: %x", len(all), all)
	}
	return all[0]
}

// inject delivers packets, in one batch.
func (d *tap) inject(packets ...[]byte) {
	batch := make([]*packet.Packet, len(packets))
	for i, b := range packets {
		batch[i] = d.sink.Packets.Get()
		batch[i].Data().Append(b)
	}
	d.sink.Deliver(0, batch)
}

// host is one stack under a virtual clock, whose devices are taps.
type host struct {
	*Stack
	t     testing.TB
	clock *sched.Virtual
}

func newHost(t testing.TB, c Config) *host {
	h := &host{t: t, clock: sched.NewVirtual(testEpoch)}
	c.Clock, c.Rand = h.clock, rand.New(rand.NewPCG(1, 0)).Uint64
	c.Packets = packet.NewPool(buffer.NewPool(buffer.Options{Check: true}))
	h.Stack = New(c)
	t.Cleanup(func() {
		h.Close()
		checkClosed(t, h.Stack)
	})
	return h
}

// attach adds an interface.
func (h *host) attach(c InterfaceConfig, addrs ...string) (*Interface, *tap) {
	h.t.Helper()
	d, ok := c.Device.(*tap)
	if !ok {
		d = newTap()
		c.Device = d
	}
	for _, a := range addrs {
		c.Addrs = append(c.Addrs, netip.MustParsePrefix(a))
	}
	i, err := h.AddInterface(c)
	if err != nil {
		h.t.Fatal(err)
	}
	return i, d
}

// ipPacket is an IP packet round a transport header and payload, whose checksum it fills in at the given offset.
func ipPacket(proto wire.Protocol, src, dst netip.Addr, transport []byte, sumAt int) []byte {
	sum := checksum.PseudoHeader(src, dst, uint8(proto), len(transport))
	if proto == wire.ProtoICMP {
		sum = 0
	}
	transport[sumAt], transport[sumAt+1] = 0, 0
	ck := ^checksum.Sum(transport, sum)
	transport[sumAt], transport[sumAt+1] = byte(ck>>8), byte(ck)
	if src.Is4() {
		b := make([]byte, wire.IPv4MinLen, wire.IPv4MinLen+len(transport))
		wire.PutIPv4(b, wire.IPv4Fields{TotalLen: cap(b), TTL: 64, Protocol: proto, Src: src, Dst: dst})
		return append(b, transport...)
	}
	b := make([]byte, wire.IPv6Len, wire.IPv6Len+len(transport))
	wire.PutIPv6(b, wire.IPv6Fields{PayloadLen: len(transport), HopLimit: 64, NextHeader: proto, Src: src, Dst: dst})
	return append(b, transport...)
}

func udpPacket(src, dst netip.AddrPort, data string) []byte {
	b := make([]byte, wire.UDPLen)
	wire.PutUDP(b, wire.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: len(b) + len(data)})
	return ipPacket(protoUDP, src.Addr(), dst.Addr(), append(b, data...), udpChecksum)
}

// tcpPacket is a segment; one with SYN announces an MSS of 1400.
func tcpPacket(src, dst netip.AddrPort, flags wire.TCPFlags, seq, ack uint32, data string) []byte {
	f := wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Seq: seq, Ack: ack, Flags: flags, Window: 65535}
	if flags.Has(wire.SYN) {
		f.Options = &wire.TCPOptions{HasMSS: true, MSS: 1400}
	}
	b := make([]byte, f.HeaderLen())
	wire.PutTCP(b, f)
	return ipPacket(protoTCP, src.Addr(), dst.Addr(), append(b, data...), tcpChecksum)
}

func icmpPacket(src, dst netip.Addr, typ, code uint8, rest uint32, body []byte) []byte {
	b := append([]byte{typ, code, 0, 0, byte(rest >> 24), byte(rest >> 16), byte(rest >> 8), byte(rest)}, body...)
	proto := wire.Protocol(wire.ProtoICMP)
	if src.Is6() {
		proto = wire.ProtoICMPv6
	}
	return ipPacket(proto, src, dst, b, 2)
}

// parsed is what a packet says.
type parsed struct {
	src, dst netip.Addr
	proto    wire.Protocol
	body     []byte // the transport header and what follows
}

func parse(b []byte) parsed {
	if wire.IPVersion(b) == 4 {
		h := wire.IPv4(b)
		return parsed{h.Src(), h.Dst(), h.Protocol(), b[h.HeaderLen():]}
	}
	h := wire.IPv6(b)
	return parsed{h.Src(), h.Dst(), h.NextHeader(), b[wire.IPv6Len:]}
}

func (p parsed) tcp() wire.TCP { return wire.TCP(p.body) }

func port(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// open makes an unconnected UDP socket.
func (h *host) openUDP(local string, o ListenOptions) (*UDP, *app) {
	h.t.Helper()
	u, a := &UDP{}, &app{}
	u.SetNotifier(a)
	if err := h.ListenUDP(u, port(local), o); err != nil {
		h.t.Fatal(err)
	}
	return u, a
}

// connectUDP makes a connected UDP socket.
func (h *host) connectUDP(remote string, b Bound) (*UDP, *app) {
	h.t.Helper()
	u, a := &UDP{}, &app{}
	u.SetNotifier(a)
	if err := h.ConnectUDP(u, port(remote), b); err != nil {
		h.t.Fatal(err)
	}
	return u, a
}

// readUDP reads one datagram, "" if there is none.
func readUDP(t testing.TB, u *UDP) (data string, src netip.AddrPort) {
	t.Helper()
	b := make([]byte, 2048)
	n, src, _, err := u.ReadFrom(b)
	if err != nil && err != ErrWouldBlock {
		t.Fatal(err)
	}
	return string(b[:n]), src
}

// peer is the far end of a TCP connection in a test's hands, beyond a tap.
type peer struct {
	t        testing.TB
	d        *tap
	src, dst netip.AddrPort
	seq, ack uint32
}

// send sends a segment.
func (p *peer) send(flags wire.TCPFlags, data string) {
	p.d.inject(tcpPacket(p.src, p.dst, flags, p.seq, p.ack, data))
	p.seq += uint32(len(data))
}

// receive returns the next segment of the connection that the stack has written, which must be the only one, and acknowledges it with
// the next that is sent.
func (p *peer) receive() wire.TCP {
	p.t.Helper()
	all := p.d.take()
	if len(all) != 1 {
		p.t.Fatalf("%d packets were written, want 1: %x", len(all), all)
	}
	in := parse(all[0])
	h := in.tcp()
	if in.src != p.dst.Addr() || in.dst != p.src.Addr() || h.SrcPort() != p.dst.Port() || h.DstPort() != p.src.Port() {
		p.t.Fatalf("%x was written, which is not from %v to %v", all[0], p.dst, p.src)
	}
	p.ack = h.Seq() + uint32(len(h)-h.DataOffset())
	if h.Flags()&(wire.SYN|wire.FIN) != 0 {
		p.ack++
	}
	return h
}

// dial opens a connection to a listener beyond the tap.
func (h *host) dial(d *tap, src, dst string) *peer {
	h.t.Helper()
	p := &peer{t: h.t, d: d, src: port(src), dst: port(dst), seq: 1000}
	p.send(wire.SYN, "")
	p.seq++
	if f := p.receive().Flags(); f != wire.SYN|wire.ACK {
		h.t.Fatalf("%v in answer to a SYN", f)
	}
	p.send(wire.ACK, "")
	return p
}

// connect opens a connection of ours to a peer beyond the tap.
func (h *host) connect(d *tap, remote string, b Bound) (*TCP, *peer) {
	h.t.Helper()
	c := newSocket(&app{})
	if err := h.ConnectTCP(c, port(remote), b); err != nil {
		h.t.Fatal(err)
	}
	p := &peer{t: h.t, d: d, src: port(remote), dst: c.LocalAddr(), seq: 1000}
	p.dst = netip.AddrPortFrom(p.dst.Addr().WithZone(""), p.dst.Port())
	if f := p.receive().Flags(); f != wire.SYN {
		h.t.Fatalf("%v, want a SYN", f)
	}
	p.send(wire.SYN|wire.ACK, "")
	p.seq++
	if f := p.receive().Flags(); f != wire.ACK || c.Connected() != nil {
		h.t.Fatalf("%v in answer to a SYN-ACK, and %v", f, c.Connected())
	}
	return c, p
}

// listenTCP opens a listener, and returns a function that accepts.
func (h *host) listenTCP(local string, o ListenOptions) (*Listener, func() *TCP) {
	h.t.Helper()
	o.Make = func() *TCP { return newSocket(&app{}) }
	l, err := h.ListenTCP(port(local), o)
	if err != nil {
		h.t.Fatal(err)
	}
	return l, func() *TCP {
		h.t.Helper()
		c, err := l.Accept()
		if err != nil {
			h.t.Fatal(err)
		}
		return c
	}
}
