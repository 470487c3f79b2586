package stack

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// hostile is a stack with sockets in many states, on interfaces of many kinds, in the hands of a fuzzer.
type hostile struct {
	*host
	taps  []*tap
	seen  [][]byte // what the stack has written: seeds for what might be an answer
	tcp   []*TCP
	udp   []*UDP
	pings []*Ping

	ways    ways
	makeTCP func() *TCP
}

func newHostile(t testing.TB, mode byte) *hostile {
	c := &tcp.Config{SynCookies: tcp.CookieMode(mode % 3), AbortOnOverflow: mode&4 != 0, NoRFC1337: mode&8 != 0, ECN: tcp.ECNMode(mode >> 4 % 5)}
	h := &hostile{host: newHost(t, Config{TCP: c, Memory: leastMemory, MaxPending: 8, Backlog: 4, Forward: true})}
	for _, c := range []InterfaceConfig{{}, {AnyDestination: true}, {Isolated: true}} {
		_, d := h.attach(c, "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64")
		d.info.Offloads |= link.RxJoined
		h.taps = append(h.taps, d)
	}
	newTCP := func() *TCP {
		c := newSocket(&app{})
		h.tcp = append(h.tcp, c)
		return c
	}
	newUDP := func() *UDP {
		u := &UDP{}
		u.SetNotifier(&app{})
		h.udp = append(h.udp, u)
		return u
	}
	for _, local := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		l, err := h.ListenTCP(port(local), ListenOptions{Make: newTCP, FastOpen: 3})
		if err != nil {
			t.Fatal(err)
		}
		l.notifier = &app{run: func(Ready) { _, _ = l.Accept() }}
	}
	h.listenMore(newTCP)
	h.ListenUDP(newUDP(), port("[::]:53"), ListenOptions{})
	h.ConnectUDP(newUDP(), port("192.0.2.9:7"), Bound{})
	for _, proto := range []wire.Protocol{wire.ProtoICMP, wire.ProtoICMPv6} {
		p := &Ping{}
		h.OpenPing(p, proto, netip.Addr{}, netip.Addr{}, 0)
		h.pings = append(h.pings, p)
	}
	decisions := 0
	h.SetTCPHandler(func(r *TCPRequest) {
		switch decisions++; decisions % 5 {
		case 0:
			_ = r.Accept(newTCP(), nil)
		case 1:
			_ = r.Reject(nil)
		case 2:
			_ = r.Reject(syscall.ETIMEDOUT)
		case 3:
			_ = r.Reject(syscall.EHOSTUNREACH)
		} // else nothing: it ends by its time
	})
	h.SetUDPHandler(func(r *UDPRequest) {
		switch decisions++; decisions % 4 {
		case 0:
			_ = r.Accept(newUDP())
		case 1:
			_ = r.Reject(nil)
		case 2:
			_ = r.Reject(syscall.ETIMEDOUT)
		}
	})
	h.SetEchoHandler(func(r *EchoRequest) {
		if decisions++; decisions%2 == 0 {
			_ = r.Reply(r.Data())
			return
		}
		_ = r.Reject(syscall.EHOSTUNREACH)
	})
	// Connections of ours: half open, open with data in flight, half closed, closing.
	for n := range 4 {
		c := newTCP()
		b := Bound{FastOpen: n < 2}
		if n == 0 {
			h.knownServers(func(c *tcp.FastOpenCache) { c.Note(0, addr("192.0.2.9"), tcp.FastOpenResult{Cookie: someCookie}) })
			b.Data = []byte("with the SYN")
		}
		if h.ConnectTCP(c, netip.AddrPortFrom(addr("192.0.2.9"), uint16(8000+n)), b) != nil || n == 0 {
			continue
		}
		_, _ = c.Write([]byte("x")) // a SYN that waits for it
		p := &peer{t: t, d: h.taps[0], src: c.RemoteAddr(), dst: c.LocalAddr(), seq: 1000}
		h.collect()
		p.ack = binary.BigEndian.Uint32(parse(h.seen[len(h.seen)-1]).body[4:]) + 1
		p.send(wire.SYN|wire.ACK, "")
		_, _ = c.Write(make([]byte, 100_000))
		if n == 2 {
			_ = c.CloseWrite()
		} else if n == 3 {
			_ = c.Close()
		}
	}
	h.collect()
	return h
}

// collect keeps some of what was written.
func (h *hostile) collect() {
	for _, d := range h.taps {
		for _, b := range d.take() {
			if len(h.seen) < 256 {
				h.seen = append(h.seen, b)
			} else {
				h.seen[len(b)%len(h.seen)] = b
			}
		}
	}
}

// step does one thing that the bytes of in choose, and returns the rest.
func (h *hostile) step(in []byte) []byte {
	next := func() (b byte) {
		if len(in) > 0 {
			b, in = in[0], in[1:]
		}
		return b
	}
	d := h.taps[int(next())%len(h.taps)]
	switch op := next(); op % 12 {
	case 0: // what comes
		n := int(next())
		if op&16 != 0 {
			n *= 6
		}
		n = min(n, len(in))
		h.deliver(d, in[:n], op)
		in = in[n:]
	case 1, 2, 3: // an answer to what was sent, or it itself, changed
		if len(h.seen) == 0 {
			break
		}
		b := append([]byte(nil), h.seen[int(next())%len(h.seen)]...)
		if op%12 != 3 {
			turn(b)
		}
		for range next() % 4 {
			at := int(next())<<8 | int(next())
			b[at%min(len(b), 80)] ^= next()
		}
		if next()%4 != 0 {
			mend(b)
		}
		h.deliver(d, b, op)
	case 4: // a fresh segment or datagram, well formed
		flags := wire.TCPFlags(next())
		if flags&3 == 0 {
			flags = wire.SYN
		}
		src, dst := netip.AddrPortFrom(addr("192.0.2.9"), 8000+uint16(next()%8)), port("192.0.2.1:80")
		if op&64 != 0 {
			dst = port("198.18.0.1:443")
		}
		if op&16 != 0 {
			h.deliver(d, udpPacket(src, netip.AddrPortFrom(dst.Addr(), 50+uint16(next()%8)), string(in[:min(len(in), 30)])), op&^96)
			break
		}
		if op&128 != 0 {
			h.deliver(d, icmpPacket(src.Addr(), dst.Addr(), uint8(wire.ICMPv4Echo), 0, 1, nil), op&^96)
			break
		}
		if op&8 != 0 {
			h.deliver(d, h.fastSYN(src, dst, next(), string(in[:min(len(in), 30)])), op&^96)
			break
		}
		h.deliver(d, tcpPacket(src, dst, flags, uint32(next())<<3, uint32(next()), string(in[:min(len(in), 30)])), op&^96)
	case 5: // an ICMP error about what was sent
		if len(h.seen) == 0 {
			break
		}
		quoted := h.seen[int(next())%len(h.seen)]
		about, typ := parse(quoted), next()%16
		if about.src.Is6() {
			typ = next() % 5
		}
		h.deliver(d, icmpPacket(about.dst, about.src, typ, next()%16, uint32(next())<<8|uint32(next()), quoted), op)
	case 6: // time passes
		h.clock.Advance(time.Duration(next()) * time.Duration(next()) * time.Millisecond)
	case 7: // the application does something
		h.use(next(), next())
	case 11:
		h.openStep(d, next, string(in[:min(len(in), 30)]))
	default: // what a peer would answer to a segment
		if len(h.seen) == 0 {
			break
		}
		to := h.seen[len(h.seen)-1-int(next()/16)%len(h.seen)]
		if in := parse(to); in.proto == protoTCP {
			h.deliver(d, answer(in, next()), op&^96)
		}
	}
	h.collect()
	return in
}

// fastSYN is a SYN with data and a Fast Open option: a good cookie, a bad one, or none.
func (h *hostile) fastSYN(src, dst netip.AddrPort, what byte, data string) []byte {
	cookie := h.fastKeys(h.now()).Cookie(dst.Addr(), src.Addr())
	o := &wire.TCPOptions{HasMSS: true, MSS: 1400, TS: what&1 != 0, TSVal: uint32(what), HasFastOpen: true, FastOpen: cookie[:]}
	switch what >> 5 {
	case 0:
		cookie[0]++
	case 1:
		o.FastOpen = nil
	}
	f := wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Seq: uint32(what) << 4, Flags: wire.SYN, Window: 65535, Options: o}
	if what&2 != 0 {
		f.Flags |= wire.FIN
	}
	b := make([]byte, f.HeaderLen())
	wire.PutTCP(b, f)
	return ipPacket(protoTCP, src.Addr(), dst.Addr(), append(b, data...), tcpChecksum)
}

// use lets the application act on some socket.
func (h *hostile) use(which, what byte) {
	b := make([]byte, 5000)
	c := h.tcp[int(which)%len(h.tcp)]
	u := h.udp[int(which)%len(h.udp)]
	switch what % 10 {
	case 0, 1:
		_, _ = c.Read(b)
	case 2:
		_, _ = c.Write(b)
	case 3:
		_ = c.CloseWrite()
	case 4:
		_ = c.CloseRead()
	case 5:
		_ = c.Close()
	case 6:
		_, _, _, _ = u.ReadFrom(b)
	case 7:
		_ = u.WriteTo(b[:1200], port("192.0.2.9:7"))
	case 8:
		_, _, _, _ = h.pings[int(which)%2].ReadFrom(b)
	case 9:
		for _, d := range h.taps {
			d.setFull(!d.full)
		}
	}
}

// deliver delivers b as one packet, with metadata as a device might give it.
func (h *hostile) deliver(d *tap, b []byte, op byte) {
	p := d.sink.Packets.Get()
	half := len(b) / 2
	p.Data().Append(b[:half])
	p.Data().AppendOwned(append([]byte(nil), b[half:]...))
	if op&32 != 0 {
		p.Checksum = packet.ChecksumVerified
	}
	if op&64 != 0 && len(b) > 60 {
		p.GSO, p.GSOSize, p.Segs = packet.GSO(1+op>>7), 500, 3
	}
	d.sink.Deliver(0, []*packet.Packet{p})
}

// answer is a segment that acknowledges all of one of the stack's, with what a peer might say besides.
func answer(in parsed, what byte) []byte {
	h := in.tcp()
	ack := h.Seq() + uint32(len(h)-h.DataOffset())
	if h.Flags()&(wire.SYN|wire.FIN) != 0 {
		ack++
	}
	seq, flags, data := h.Ack(), wire.TCPFlags(wire.ACK), ""
	if h.Flags()&(wire.SYN|wire.ACK) == wire.SYN {
		seq, flags = 1000, wire.SYN|wire.ACK
	}
	switch what % 8 {
	case 1:
		data = "some data"
	case 2:
		flags |= wire.FIN
	case 3:
		flags |= wire.FIN
		data = "the last data"
	case 4:
		data = string(make([]byte, 1400))
		seq += uint32(what) * 100
	case 5:
		if what > 200 {
			flags |= wire.RST
		}
	}
	return tcpPacket(netip.AddrPortFrom(in.dst, h.DstPort()), netip.AddrPortFrom(in.src, h.SrcPort()), flags, seq, ack, data)
}

// turn swaps the ends of a packet.
func turn(b []byte) {
	swap := func(x, y []byte) {
		for i := range x {
			x[i], y[i] = y[i], x[i]
		}
	}
	in := parse(b)
	if in.src.Is4() {
		swap(b[12:16], b[16:20])
	} else {
		swap(b[8:24], b[24:40])
	}
	if (in.proto == protoTCP || in.proto == protoUDP) && len(in.body) >= 4 {
		swap(in.body[:2], in.body[2:4])
	}
	if in.proto == protoTCP && len(in.body) >= 12 {
		swap(in.body[4:8], in.body[8:12])
	}
}

// mend gives a packet the checksums that it should have, as far as it is one.
func mend(b []byte) {
	if wire.IPVersion(b) == 4 || len(b) < wire.IPv6Len {
		b[0] = 0x45
		h := wire.IPv4(b)
		h.SetTotalLen(len(b))
		h.SetChecksum(h.ComputeChecksum())
	} else {
		b[0] = 0x60 | b[0]&15
		wire.IPv6(b).SetPayloadLen(len(b) - wire.IPv6Len)
	}
	in := parse(b)
	at, least := tcpChecksum, wire.TCPMinLen
	switch in.proto {
	case protoTCP:
	case protoUDP:
		at, least = udpChecksum, wire.UDPLen
	case wire.ProtoICMP, wire.ProtoICMPv6:
		at, least = 2, wire.ICMPv4Len
	default:
		return
	}
	if len(in.body) >= least {
		copy(b, ipPacket(in.proto, in.src, in.dst, in.body, at)[:len(b)-len(in.body)])
	}
}

// FuzzDeliver has anything come in by any interface of a stack with sockets in many states, while applications use them and time goes on.
// Nothing may panic, and after Close nothing may be left (see newHost).
func FuzzDeliver(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h := newHostile(t, byte(len(in)))
		for len(in) > 0 {
			in = h.step(in)
		}
		h.finish(t)
	})
}

// finish sees that the stack still serves and has kept to its budget, and closes the sockets.
func (h *hostile) finish(t *testing.T) {
	if used, budget := h.Memory(); used > budget+1<<17 {
		t.Errorf("%d bytes are used of a budget of %d", used, budget)
	}
	for _, d := range h.taps {
		d.setFull(false)
	}
	h.clock.Advance(time.Second)
	h.collect()
	for c := range h.Conns() {
		_ = c.State
	}
	d := h.taps[0]
	d.inject(icmpPacket(addr("192.0.2.77"), addr("192.0.2.1"), uint8(wire.ICMPv4Echo), 0, 0, []byte("still there?")))
	if len(d.take()) == 0 {
		t.Error("an echo request is not answered")
	}
	h.Close()
	for _, c := range h.tcp {
		_ = c.Close()
	}
}

// A long run of the same, in every test.
func TestHostilePackets(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	runs := 100
	if raceEnabled {
		runs = 20
	}
	var reached [5]uint64
	for n := range runs {
		h := newHostile(t, byte(n))
		in := make([]byte, 20_000)
		for i := range in {
			in[i] = byte(random.Uint32())
		}
		for len(in) > 0 {
			in = h.step(in)
		}
		st := h.Stats().TCP
		for i, n := range []uint64{st.PassiveOpens, st.SynCookiesReceived, st.FastOpenPassive, st.AuthBad, st.AuthMissing} {
			reached[i] += n
		}
		h.finish(t)
	}
	t.Log("passive opens, cookies, Fast Opens, bad digests, missing ones:", reached)
	if slices.Contains(reached[:], 0) {
		t.Errorf("not all was reached: %d", reached)
	}
}
