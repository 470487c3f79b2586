package stack

import (
	"net"
	"net/netip"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Datagram is one of those that ReadBatch takes or WriteBatch sends, or several of one size that are treated as one.
type Datagram struct {
	// Data is the payload to send, or the room into which one is read.
	Data []byte
	// Addr is whence a datagram came, or whither it goes. WriteBatch on a connected socket wants the zero AddrPort or the socket's.
	Addr netip.AddrPort
	// N is the number of bytes of Data that ReadBatch has filled.
	N int
	// Segment says that Data is several datagrams: all of Segment bytes, but for the last, which may be shorter. 0: it is one. ReadBatch
	// sets it, only after SetGRO(true).
	Segment int
	// ECN is the codepoint in the IP header (RFC 3168 §5): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. For WriteBatch, 0 means what SetTOS says.
	ECN uint8
	// Truncated says that the datagram was larger than Data: the rest of it is lost.
	Truncated bool
}

// SetReadBuffer sets the limit of the receive queue in bytes of chunk capacity.
func (u *UDP) SetReadBuffer(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.limit = max(n, 4<<10)
}

// SetGRO says whether ReadBatch may give several datagrams as one (UDP_GRO).
func (u *UDP) SetGRO(on bool) { u.gro.Store(on) }

// Waiting reports whether ReadFrom would return at once.
func (u *UDP) Waiting() bool {
	u.read.Lock()
	defer u.read.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.closed || u.err != nil || u.out.n+u.in.n > 0
}

// ReadFrom takes the next datagram: what does not fit into p is dropped, and truncated says so. Errors: ErrWouldBlock, one that an ICMP
// message brought (connected sockets, once), net.ErrClosed.
func (u *UDP) ReadFrom(p []byte) (n int, src netip.AddrPort, truncated bool, err error) {
	n, src, _, truncated, err = u.ReadFromECN(p)
	return n, src, truncated, err
}

// ReadFromECN is ReadFrom that tells the ECN codepoint with which the datagram came as well (RFC 3168 §5): a protocol above UDP that sends
// ECT, by Traffic.TOS, must hear of CE.
func (u *UDP) ReadFromECN(p []byte) (n int, src netip.AddrPort, ecn uint8, truncated bool, err error) {
	u.read.Lock()
	if u.out.n == 0 || u.event.Load() {
		if err = u.refill(); err != nil {
			u.read.Unlock()
			return 0, src, 0, false, err
		}
	}
	g := u.out.first()
	src, ecn = g.src, g.ecn
	size := u.out.read(p, false)
	u.settle()
	u.read.Unlock()
	return min(size, len(p)), src, ecn, size > len(p), nil
}

// ReadBatch takes the datagrams that are there, at most one for each of ds, and says how many; errors as ReadFrom's, only if there is none.
func (u *UDP) ReadBatch(ds []Datagram) (n int, err error) {
	whole := u.gro.Load()
	u.read.Lock()
	defer u.read.Unlock()
	for n < len(ds) {
		if u.out.n == 0 || n == 0 && u.event.Load() {
			if err = u.refill(); err != nil {
				break
			}
		}
		d, g := &ds[n], u.out.first()
		d.Addr, d.ECN, d.Segment = g.src, g.ecn, 0
		if whole && g.segs() > 1 {
			d.Segment = int(g.segment)
		}
		size := u.out.read(d.Data, whole)
		d.N, d.Truncated = min(size, len(d.Data)), size > len(d.Data)
		n++
	}
	u.settle()
	if n > 0 {
		err = nil
	}
	return n, err
}

// refill makes sure that there is something in out, or says why there is not; u.read is held. An error that it reports is reported.
func (u *UDP) refill() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		return net.ErrClosed
	case u.err != nil:
		err := u.err
		u.err = nil
		u.event.Store(false)
		return err
	case u.out.n > 0:
		return nil
	case u.in.n == 0:
		return ErrWouldBlock
	}
	u.out.uncharge() // what a batch has read so far
	u.out.take(&u.in)
	u.outHeld.Store(int64(u.out.charged))
	return nil
}

// lazy is how many bytes of what was read may stay charged for a while, so that not each read touches what those who deliver look at.
const lazy = 8 << 10

// settle gives back what is charged for datagrams that have been read, if it is much or the last; u.read is held.
func (u *UDP) settle() {
	if u.out.n == 0 || u.out.charged-u.out.held() > lazy {
		u.out.uncharge()
		u.outHeld.Store(int64(u.out.charged))
	}
}

// take queues a datagram that came in or, with a segment size, several in one packet.
func (u *UDP) take(p *packet.Packet, src netip.AddrPort, ttl uint8, segment uint16, b *batch) bool {
	size, _ := p.Unread()
	u.mu.Lock()
	if ttl < u.traffic.MinTTL {
		u.mu.Unlock()
		u.stack.stats.minTTLDrops.Add(uint64(segments(size, int(segment))))
		return true
	}
	ok := !u.closed && u.in.add(p, src, segment, u.limit, int(u.outHeld.Load()))
	u.mu.Unlock()
	if !ok {
		u.stack.stats.udpOverflow.Add(uint64(segments(size, int(segment))))
		return true
	}
	b.wake(u.notifier, ReadReady)
	return true
}

// parseUDP takes the header of a datagram, or of several in one packet, and cuts off what is behind. Segment is the size of each of
// several, else 0. False: it is malformed.
func parseUDP(p *packet.Packet) (h wire.UDP, segment uint16, ok bool) {
	size := p.Size() - p.HeaderSize()
	hb, ok := p.Consume(packet.Transport, wire.UDPLen)
	if !ok {
		return nil, 0, false
	}
	if h = wire.UDP(hb); h.DstPort() == 0 {
		return nil, 0, false
	}
	switch n := h.Length(); {
	case p.GSO.UDP():
		return h, p.GSOSize, p.GSOSize > 0
	case p.GSO != packet.GSONone || n < wire.UDPLen || n > size:
		return nil, 0, false
	case n < size:
		p.Data().Truncate(n - wire.UDPLen)
	}
	return h, 0, true
}

// deliverUDP finds whose datagram it is; false: port unreachable.
func (s *Stack) deliverUDP(now sched.Time, p *packet.Packet, m *ip.Meta, b *batch) bool {
	h, segment, ok := parseUDP(p)
	if !ok {
		s.stats.udpBad.Add(1)
		return drop(p)
	}
	src, dst := netip.AddrPortFrom(s.zoned(m.Src, m.Scope), h.SrcPort()), netip.AddrPortFrom(m.Dst, h.DstPort())
	k := makeKey(protoUDP, dst, src, m.Scope)
	size, _ := p.Unread()
	segs := uint64(segments(size, int(segment)))
	s.stats.udpIn.Add(segs)
	if o, ok := s.udpOwner(&k, dst, m, b).(datagramTaker); ok {
		return o.take(p, src, m.TTL, segment, b) && drop(p)
	}
	if ask := s.handlers.udp.Load(); ask != nil && !m.Multi && !s.closed.Load() {
		(*ask)(now, p, k, m, segment)
		return true
	}
	s.stats.udpNoPort.Add(segs)
	return m.Multi && drop(p)
}

// lastUDP is the socket that took the last datagram of a batch, and what made it that one: most that come are of the same flow.
type lastUDP struct {
	sock    *UDP
	key     flowKey
	iface   int
	foreign bool
	changes uint64 // Stack.udpChanges before it was looked up
}

// udpOwner finds whose datagram it is, nil if nobody's.
func (s *Stack) udpOwner(k *flowKey, dst netip.AddrPort, m *ip.Meta, b *batch) flowOwner {
	changes := s.udpChanges.Load()
	if l := &b.udp; l.sock != nil && l.changes == changes && l.iface == m.Iface && l.foreign == m.Foreign && l.key == *k {
		return l.sock
	}
	owner, _ := s.flows.find(k)
	if owner == nil {
		owner = s.binds.find(protoUDP, dst, k.remoteAddr(), m.Iface, m.Foreign)
	}
	if u, ok := owner.(*UDP); ok {
		b.udp = lastUDP{u, *k, m.Iface, m.Foreign, changes}
	}
	return owner
}

// drop releases p and reports that it is taken care of.
func drop(p *packet.Packet) bool {
	p.Release()
	return true
}
