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
	ds := [1]Datagram{{Data: p, Addr: dst}}
	_, err := u.write(ds[:])
	return err
}

// Write is WriteTo to the remote address of a connected socket.
func (u *UDP) Write(p []byte) error {
	if !u.connected {
		return syscall.EDESTADDRREQ
	}
	return u.WriteTo(p, u.flow.key.remoteAddr())
}

// WriteBatch sends datagrams, and says how many. If that is not all of them, the error says why the next was not sent: errors as WriteTo's,
// and EINVAL for a Segment that is out of range. Datagrams that follow upon one another and differ in nothing but their bytes (and, the last
// of them, in being shorter) leave as one super-segment.
func (u *UDP) WriteBatch(ds []Datagram) (n int, err error) { return u.write(ds) }

func (u *UDP) write(ds []Datagram) (n int, err error) {
	s := u.stack
	segs := 0
	u.mu.Lock()
	for n < len(ds) {
		var m, k int
		if m, k, err = u.send(ds[n:]); err != nil {
			break
		}
		n += m
		segs += k
	}
	u.mu.Unlock()
	if segs > 0 {
		s.stats.udpOut.Add(uint64(segs))
	}
	if segs > 0 || err == ErrWouldBlock { // who waits for room flushes, too: see txQueue.wait
		s.flushAll()
	}
	return n, err
}

// send sends the first datagram, and those behind it that can go with it: n of ds, which are segs of the wire; u.mu is held.
func (u *UDP) send(ds []Datagram) (n, segs int, err error) {
	s, d := u.stack, &ds[0]
	dst := d.Addr
	if u.connected && !dst.IsValid() {
		dst = u.flow.key.remoteAddr()
	}
	path, err := u.way(dst)
	if err != nil {
		return 0, 0, err
	}
	size, segment := len(d.Data), d.Segment
	if n = 1; segment == 0 {
		if n, size = u.alike(ds, path); n > 1 {
			segment = len(d.Data)
		}
	}
	if err := checkSize(size, segment, path); err != nil {
		return 0, 0, err
	}
	i := s.iface(path.Iface)
	if i == nil {
		return 0, 0, syscall.ENETUNREACH
	}
	q := i.queue(u.queueHash(i, path, dst.Port()))
	if !q.room() {
		u.waiting = u.waiting || q.wait(u)
		if !u.waiting {
			return 0, 0, syscall.ENETDOWN
		}
		return 0, 0, ErrWouldBlock
	}
	p := s.cfg.Packets.Get()
	fill(p, ds[:n], size)
	segs = segments(size, segment)
	return n, segs, u.transmit(q, p, path, dst.Port(), size, segment, d.ECN)
}

// queueHash chooses the transmit queue of a datagram's flow; u.mu is held.
func (u *UDP) queueHash(i *Interface, path *ip.Path, dstPort uint16) uint32 {
	if len(i.queues) == 1 {
		return 0
	}
	k := makeKey(protoUDP, netip.AddrPortFrom(path.Src, u.LocalAddr().Port()), netip.AddrPortFrom(path.Dst, dstPort), 0)
	return u.stack.flowHash(&k)
}

// alike returns how many of ds, from the first on, can leave as one super-segment, and their size.
func (u *UDP) alike(ds []Datagram, path *ip.Path) (n, size int) {
	first := &ds[0]
	segment := len(first.Data)
	size = segment
	if len(ds) == 1 || segment == 0 || checkSize(size, segment, path) != nil {
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

// fill makes the payloads of ds, of size bytes in all, that of p.
func fill(p *packet.Packet, ds []Datagram, size int) {
	if len(ds) == 1 {
		p.Place(ds[0].Data)
		return
	}
	data := p.Data()
	c := p.Pool().Buffers().Get(size)
	at := 0
	for i := range ds {
		at += copy(c.Data()[at:], ds[i].Data)
	}
	data.AppendChunk(c, 0, size, false)
}

// transmit puts the headers on a datagram, or a super-segment, and queues it; u.mu is held.
func (u *UDP) transmit(q *txQueue, p *packet.Packet, path *ip.Path, dstPort uint16, size, segment int, ecn uint8) error {
	s := u.stack
	is4 := path.Dst.Is4()
	h := p.Push(packet.Transport, wire.UDPLen)
	length := wire.UDPLen + size
	wire.PutUDP(h, wire.UDPFields{SrcPort: u.LocalAddr().Port(), DstPort: dstPort, Length: length})
	s.partial(p, path, protoUDP, h, udpChecksum, length)
	header := u.header(path, dstPort, ecn)
	if segment > 0 && size > segment {
		p.GSO = packet.GSOUDP6
		if is4 {
			p.GSO = packet.GSOUDP4
		}
		p.GSOSize, p.Segs = uint16(segment), uint16(segments(size, segment))
		header.DF = true // RFC 6864 §4.1: so that the identifications of what it is cut into mean nothing
	} else if length+headerSize(is4)-20 > path.MTU {
		return s.ip.Send(s.now(), p, path, header)
	}
	s.ip.Push(p, path, header)
	q.append(p)
	return nil
}

// way returns the path for a datagram, or why there is none; u.mu is held.
func (u *UDP) way(dst netip.AddrPort) (*ip.Path, error) {
	if u.closed {
		return nil, net.ErrClosed
	}
	if err := u.err; err != nil {
		u.err = nil
		u.event.Store(false)
		return nil, err
	}
	if !dst.IsValid() || dst.Port() == 0 {
		return nil, syscall.EINVAL
	}
	gen := u.stack.ip.Generation()
	addr, zone, err := u.stack.unzoned(dst.Addr())
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
	return &u.path, nil
}

// header is the IP header of a datagram; u.mu is held.
func (u *UDP) header(path *ip.Path, dstPort uint16, ecn uint8) ip.Header {
	var w manner
	k := makeKey(protoUDP, netip.AddrPortFrom(path.Src, u.LocalAddr().Port()), netip.AddrPortFrom(path.Dst, dstPort), 0)
	w.use(u.stack, &k, u.traffic)
	return w.header(protoUDP, cmp.Or(ecn, u.traffic.TOS))
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
