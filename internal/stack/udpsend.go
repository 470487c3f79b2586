package stack

import (
	"cmp"
	"net"
	"net/netip"
	"syscall"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// WriteTo sends a datagram. Errors: EMSGSIZE, ENETUNREACH, one that an ICMP message brought (once), ErrWouldBlock while the transmit
// queue is full, net.ErrClosed.
func (u *UDP) WriteTo(p []byte, dst netip.AddrPort) error {
	if !dst.IsValid() {
		return syscall.EINVAL
	}
	return u.writeOne(&Datagram{Data: p, Addr: dst})
}

// Write is WriteTo to the remote address of a connected socket.
func (u *UDP) Write(p []byte) error {
	if !u.connected {
		return syscall.EDESTADDRREQ
	}
	return u.writeOne(&Datagram{Data: p})
}

func (u *UDP) writeOne(d *Datagram) error {
	u.mu.Lock()
	out, err := u.packet(d)
	claimed := err == nil && out.q != nil && out.q.claim([]*packet.Packet{out.p})
	u.mu.Unlock()
	if err == nil {
		u.stack.stats.udpOut.Add(uint64(out.segs))
	}
	switch {
	case claimed:
		out.q.flushClaimed()
	case err == nil || err == ErrWouldBlock: // who waits for room flushes, too: see txQueue.wait
		u.stack.flushAll()
	}
	return err
}

// WriteBatch sends datagrams, and says how many. If that is not all of them, the error says why the next was not sent: errors as WriteTo's,
// and EINVAL for a Segment that is out of range. Datagrams that follow upon one another and differ in nothing but their bytes (and, the last
// of them, in being shorter) leave as one super-segment.
func (u *UDP) WriteBatch(ds []Datagram) (n int, err error) {
	var w outgoing
	u.mu.Lock()
	for n < len(ds) {
		var out outbound
		if out, err = u.packets(ds[n:]); err != nil {
			break
		}
		n += out.n
		w.add(out)
	}
	claimed := w.queue()
	u.mu.Unlock()
	if w.segs > 0 {
		u.stack.stats.udpOut.Add(uint64(w.segs))
	}
	if claimed {
		w.q.flushClaimed()
	}
	if w.queued || err == ErrWouldBlock {
		u.stack.flushAll()
	}
	return n, err
}

// outbound is a packet with all its headers, and its queue. Both are nil of what left in fragments.
type outbound struct {
	q       *txQueue
	p       *packet.Packet
	n, segs int // of a batch, and of the wire
}

// outgoing is what one call sends, collected for the queue.
type outgoing struct {
	q      *txQueue
	ps     [16]*packet.Packet
	n      int // of ps
	bytes  int
	segs   int
	queued bool // some are in a queue and not flushed
}

// add collects a packet, and queues what was collected when it is much or this goes another way; the socket's lock is held.
func (w *outgoing) add(o outbound) {
	w.segs += o.segs
	if o.q != w.q || w.n == len(w.ps) || w.bytes > txBurst {
		w.put()
	}
	if o.q == nil {
		w.queued = true
		return
	}
	w.q, w.ps[w.n] = o.q, o.p
	w.n++
	w.bytes += o.p.Size()
}

// put queues what was collected.
func (w *outgoing) put() {
	for _, p := range w.ps[:w.n] {
		w.q.append(p)
	}
	w.queued = w.queued || w.n > 0
	w.q, w.n, w.bytes = nil, 0, 0
}

// queue queues the last of it, and answers true if its queue is the caller's to flush by flushClaimed.
func (w *outgoing) queue() bool {
	if w.n == 0 {
		return false
	}
	if w.q.claim(w.ps[:w.n]) {
		return true
	}
	w.queued = true
	return false
}

// packet makes the packet of a datagram, or of one with a Segment; u.mu is held.
func (u *UDP) packet(d *Datagram) (outbound, error) {
	path, port, err := u.way(d.Addr)
	if err != nil {
		return outbound{}, err
	}
	size := len(d.Data)
	if err := checkSize(size, d.Segment, path); err != nil {
		return outbound{}, err
	}
	q, err := u.room(path, port)
	if err != nil {
		return outbound{}, err
	}
	p := u.stack.cfg.Packets.Get()
	p.Place(d.Data)
	return u.outbound(q, p, path, port, size, d.Segment, d.ECN)
}

// packets makes the packet of the first of a batch, and of those behind it that can go with it; u.mu is held.
func (u *UDP) packets(ds []Datagram) (outbound, error) {
	first := &ds[0]
	if first.Segment != 0 || len(ds) == 1 || len(ds[1].Data) > len(first.Data) {
		return u.packet(first)
	}
	path, port, err := u.way(first.Addr)
	if err != nil {
		return outbound{}, err
	}
	n, size := alike(ds, path)
	if n == 1 {
		return u.packet(first)
	}
	q, err := u.room(path, port)
	if err != nil {
		return outbound{}, err
	}
	p := u.stack.cfg.Packets.Get()
	c := u.stack.cfg.Packets.Buffers().Get(size)
	at := 0
	for i := range ds[:n] {
		at += copy(c.Data()[at:], ds[i].Data)
	}
	p.Data().AppendChunk(c, 0, size, false)
	out, err := u.outbound(q, p, path, port, size, len(first.Data), first.ECN)
	out.n = n
	return out, err
}

// room is the queue for a flow's path; u.mu is held. ErrWouldBlock: it is full, and u waits.
func (u *UDP) room(path *ip.Path, port uint16) (*txQueue, error) {
	i := u.stack.iface(path.Iface)
	if i == nil {
		return nil, syscall.ENETUNREACH
	}
	q := i.queue(u.queueHash(i, path, port))
	if q.room() {
		return q, nil
	}
	u.waiting = u.waiting || q.wait(u)
	if !u.waiting {
		return nil, syscall.ENETDOWN
	}
	return nil, ErrWouldBlock
}

// queueHash chooses the transmit queue of a datagram's flow; u.mu is held.
func (u *UDP) queueHash(i *Interface, path *ip.Path, dstPort uint16) uint32 {
	if len(i.queues) == 1 {
		return 0
	}
	k := makeKey(protoUDP, netip.AddrPortFrom(path.Src, u.port()), netip.AddrPortFrom(path.Dst, dstPort), 0)
	return u.stack.flowHash(&k)
}

// alike returns how many of ds, from the first on, can leave as one super-segment, and their size.
func alike(ds []Datagram, path *ip.Path) (n, size int) {
	first := &ds[0]
	segment := len(first.Data)
	size = segment
	if segment == 0 || checkSize(size, segment, path) != nil {
		return 1, size
	}
	for n = 1; n < min(len(ds), packet.SentUDPSegs); n++ {
		d := &ds[n]
		more := len(d.Data)
		if more == 0 || more > segment || d.Segment != 0 || d.Addr != first.Addr || d.ECN != first.ECN || size+more > maxDatagram(path.Dst.Is4()) {
			break
		}
		if size += more; more < segment {
			return n + 1, size
		}
	}
	return n, size
}

// checkSize reports what is wrong with sending size bytes of payload in datagrams of segment bytes (0: in one). Only one that is sent as one is
// fragmented to fit the path (as with Linux's UDP_SEGMENT).
func checkSize(size, segment int, path *ip.Path) error {
	is4 := path.Dst.Is4()
	switch {
	case segment < 0 || segment > 0 && segments(size, segment) > packet.SentUDPSegs:
		return syscall.EINVAL
	case size > maxDatagram(is4) || segment > 0 && headerSize(is4)-20+wire.UDPLen+min(size, segment) > path.MTU:
		return syscall.EMSGSIZE
	}
	return nil
}

// outbound puts the headers on a datagram or a super-segment; u.mu is held. What has to be fragmented it sends.
func (u *UDP) outbound(q *txQueue, p *packet.Packet, path *ip.Path, port uint16, size, segment int, ecn uint8) (outbound, error) {
	s := u.stack
	is4 := path.Dst.Is4()
	out := outbound{q: q, p: p, n: 1, segs: 1}
	h := p.Push(packet.Transport, wire.UDPLen)
	length := wire.UDPLen + size
	wire.PutUDP(h, wire.UDPFields{SrcPort: u.port(), DstPort: port, Length: length})
	s.partial(p, path, protoUDP, h, udpChecksum, length)
	header := u.header(path, port, ecn)
	if segment > 0 && size > segment {
		p.GSO = packet.GSOUDP6
		if is4 {
			p.GSO = packet.GSOUDP4
		}
		out.segs = segments(size, segment)
		p.GSOSize, p.Segs = uint16(segment), uint16(out.segs)
		header.DF = true // RFC 6864 §4.1: so that the identifications of what it is cut into mean nothing
	} else if length+headerSize(is4)-20 > path.MTU {
		return outbound{n: 1, segs: 1}, s.ip.Send(s.now(), p, path, header)
	}
	s.ip.Push(p, path, header)
	return out, nil
}

// port is our port.
func (u *UDP) port() uint16 {
	if u.connected {
		return u.flow.key.localPort
	}
	return u.bind.addr.Port()
}

// way returns the path and the port for a datagram, or why there is none; u.mu is held. The zero AddrPort is a connected socket's peer.
func (u *UDP) way(dst netip.AddrPort) (*ip.Path, uint16, error) {
	if u.closed {
		return nil, 0, net.ErrClosed
	}
	if err := u.err; err != nil {
		u.err = nil
		u.event.Store(false)
		return nil, 0, err
	}
	gen := u.stack.ip.Generation()
	if u.connected && !dst.IsValid() {
		if u.pathGen == gen && u.toPeer {
			return &u.path, u.flow.key.remotePort, nil
		}
		dst = u.flow.key.remoteAddr()
	}
	if !dst.IsValid() || dst.Port() == 0 {
		return nil, 0, syscall.EINVAL
	}
	path, err := u.lookUp(dst.Addr(), gen)
	u.toPeer = u.connected && err == nil && dst == u.flow.key.remoteAddr()
	return path, dst.Port(), err
}

// lookUp returns the path to an address; u.mu is held.
func (u *UDP) lookUp(dst netip.Addr, gen uint64) (*ip.Path, error) {
	addr, zone, err := u.stack.unzoned(dst)
	if err != nil {
		return nil, err
	}
	iface := cmp.Or(u.bind.iface, zone)
	if u.pathGen == gen && u.path.Dst == addr && (iface == 0 || iface == u.path.Iface) {
		return &u.path, nil
	}
	var src netip.Addr
	switch {
	case u.connected:
		src = u.flow.key.localAddr().Addr()
	case !u.bind.wildcard():
		src = u.bind.addr.Addr()
	case u.bind.family == IPv4 && !addr.Is4(), u.bind.family == IPv6 && addr.Is4():
		return nil, syscall.EAFNOSUPPORT
	}
	if src.IsValid() && src.Is4() != addr.Is4() {
		return nil, syscall.EAFNOSUPPORT
	}
	path, err := u.stack.ip.Path(src, addr, iface, u.transparent)
	if err != nil {
		return nil, err
	}
	u.path, u.pathGen = path, gen
	u.labelPort = 0
	return &u.path, nil
}

// header is the IP header of a datagram; u.mu is held.
func (u *UDP) header(path *ip.Path, port uint16, ecn uint8) ip.Header {
	h := ip.Header{Protocol: protoUDP, TTL: u.traffic.TTL, TOS: u.traffic.TOS}
	if ecn != 0 {
		h.TOS = h.TOS&^ecnBits | ecn&ecnBits
	}
	if !path.Dst.Is4() {
		if u.labelPort != port {
			var w manner
			k := makeKey(protoUDP, netip.AddrPortFrom(path.Src, u.port()), netip.AddrPortFrom(path.Dst, port), 0)
			w.use(u.stack, &k, u.traffic)
			u.label, u.labelPort = w.label>>12, port
		}
		h.FlowLabel = u.label
	}
	return h
}

// maxDatagram is the largest payload that the 16-bit lengths of UDP and IPv4 allow.
func maxDatagram(is4 bool) int {
	if is4 {
		return 65535 - 20 - wire.UDPLen
	}
	return 65535 - wire.UDPLen
}

func (u *UDP) resume(sched.Time) {
	u.mu.Lock()
	u.waiting = false
	u.mu.Unlock()
	if u.notifier != nil {
		u.notifier.Notify(WriteReady)
	}
}

func (u *UDP) nextWaiter() *txWaiter { return &u.next }
