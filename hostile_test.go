package weir_test

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
)

// tap is a device in front of another: what crosses is kept as examples to spoil.
type tap struct {
	link.Device
	mu   sync.Mutex
	seen [][]byte
}

func (d *tap) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	for _, p := range batch {
		d.keep(p)
	}
	return d.Device.WritePackets(queue, batch)
}

func (d *tap) keep(p *packet.Packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.seen) < 5000 {
		var b []byte
		for _, part := range p.Vec(nil) {
			b = append(b, part...)
		}
		d.seen = append(d.seen, b)
	}
}

// TestHostilePackets throws random, truncated and corrupted packets at a stack that does all a stack does, and demands that it serves
// afterwards and has kept nothing. With -long there are ten million of them.
func TestHostilePackets(t *testing.T) {
	total := 200_000
	if testing.Short() || raceEnabled {
		total = 20_000
	}
	if *long {
		total = 10_000_000
	}
	pool := buffer.NewPool(buffer.Options{})
	s := newStack(t, weir.Config{Buffers: pool, Forward: true, Memory: 64 << 20})
	far, near := pipe.New(pipe.Options{NoOffload: true})
	join(t, s, weir.InterfaceConfig{Name: "eth0", Device: near, Addrs: prefixes(addrB4, addrB6), AnyDestination: true, Gateway4: addrA4, Gateway6: addrA6})
	l := serveEverything(t, s)
	defer l.Close()
	h := &hostile{t: t, dev: far, rand: rand.New(rand.NewPCG(1, 2)), packets: packet.NewPool(nil)}
	h.examples = examples(t)
	if err := far.Attach(link.Sink{Deliver: h.take}); err != nil {
		t.Fatal(err)
	}
	for i := range total {
		if i%1_000_000 == 999_999 {
			t.Logf("%d packets", i+1)
		}
		h.throw()
	}
	far.Close()
	st := s.Stats()
	t.Logf("%+v", st)
	if st.TCP.PassiveOpens < uint64(total/1000) || st.TCP.BadSegments == 0 || st.IP.InHdrErrors == 0 || st.IP.ReasmReqds == 0 || st.UDP.DatagramsIn == 0 {
		t.Error("the packets do not reach all parts of the stack")
	}
	for _, i := range s.Interfaces()[1:] {
		i.Close()
	}
	da, db := pipe.New(pipe.Options{})
	a := newStack(t, weir.Config{})
	join(t, a, weir.InterfaceConfig{Device: da, Addrs: prefixes(addrA4, addrA6)})
	join(t, s, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4, addrB6)})
	for _, address := range []string{"192.0.2.2:80", "[2001:db8::2]:80"} {
		c, err := a.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte("still there?"))
		c.(*weir.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "still there?" || err != nil {
			t.Errorf("%s: %q, %v", address, got, err)
		}
		c.Close()
	}
	s.Close()
	a.Close()
	if err := pool.Leaked(); err != nil {
		t.Error(err)
	}
}

// serveEverything has s listen, accept requests, and answer.
func serveEverything(t *testing.T, s *weir.Stack) io.Closer {
	l, err := s.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				c.SetDeadline(time.Now().Add(30 * time.Second))
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	u, err := s.ListenUDP(netip.AddrPortFrom(netip.Addr{}, 53))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1500)
		for {
			_, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			u.WriteToUDPAddrPort(b[:10], from)
		}
	}()
	s.HandleTCP(func(r *weir.TCPRequest) { r.Reject(nil) })
	s.HandleUDP(func(r *weir.UDPRequest) { r.Reject(nil) })
	s.HandleEcho(func(r *weir.EchoRequest) { r.Reply(r.Data()) })
	return l
}

// examples are packets of honest traffic, from A to B.
func examples(t *testing.T) [][]byte {
	t.Helper()
	a, b := newStack(t, weir.Config{}), newStack(t, weir.Config{})
	da, db := pipe.New(pipe.Options{NoOffload: true})
	tapped := &tap{Device: da}
	join(t, a, weir.InterfaceConfig{Device: tapped, Addrs: prefixes(addrA4, addrA6)})
	join(t, b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4, addrB6)})
	l := serveEverything(t, b)
	defer l.Close()
	for _, ip := range []netip.Addr{addrB4, addrB6} {
		c, err := a.DialTCP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(ip, 80))
		if err != nil {
			t.Fatal(err)
		}
		c.Write(make([]byte, 20_000))
		c.CloseWrite()
		io.ReadAll(c)
		c.Close()
		for _, port := range []uint16{53, 54} {
			u, err := a.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(ip, port))
			if err != nil {
				t.Fatal(err)
			}
			u.Write(make([]byte, 20))
			u.Write(make([]byte, 5000)) // fragments
			u.Close()
		}
		c2, err := a.Dial("ip:icmp", ip.String())
		if err != nil {
			t.Fatal(err)
		}
		c2.Write(echo(ip.Is6(), 1))
		c2.Close()
	}
	a.Dial("tcp", "192.0.2.2:81")
	tapped.mu.Lock()
	defer tapped.mu.Unlock()
	return slices.Clone(tapped.seen) // late replies still cross
}

// hostile is what sends the packets. It answers some of what comes back, so that handshakes complete and connections have state to spoil.
type hostile struct {
	t        *testing.T
	dev      link.Device
	rand     *rand.Rand
	packets  *packet.Pool
	examples [][]byte

	mu     sync.Mutex
	recent [64][]byte // of what the stack has sent
	came   int
}

// take keeps what the stack sends.
func (h *hostile) take(_ int, batch []*packet.Packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range batch {
		b := h.recent[h.came%len(h.recent)][:0]
		for _, part := range p.Vec(nil) {
			b = append(b, part...)
		}
		h.recent[h.came%len(h.recent)] = b
		if flags, ok := tcpFlags(b); !ok || flags&4 == 0 { // a RST leads nowhere
			h.came++
		}
		p.Release()
	}
}

// tcpFlags are those of a TCP segment without IP options.
func tcpFlags(b []byte) (flags byte, ok bool) {
	switch {
	case len(b) >= 40 && b[0] == 0x45 && b[9] == 6:
		return b[33], true
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == 6:
		return b[53], true
	}
	return 0, false
}

// timestamps is the option that answers the one of a segment, if it has one.
func timestamps(seg []byte) []byte {
	for o := seg[20:min(len(seg), int(seg[12]>>4)*4)]; len(o) >= 2; {
		switch {
		case o[0] == 1:
			o = o[1:]
			continue
		case o[0] == 8 && len(o) >= 10:
			reply := []byte{1, 1, 8, 10, 0, 0, 0, 0, o[2], o[3], o[4], o[5]}
			binary.BigEndian.PutUint32(reply[4:], binary.BigEndian.Uint32(o[6:])+1)
			return reply
		case o[1] < 2 || int(o[1]) > len(o):
			return nil
		}
		o = o[o[1]:]
	}
	return nil
}

// dial is a SYN from a random port.
func (h *hostile) dial() []byte {
	for {
		b := h.examples[h.rand.IntN(len(h.examples))]
		if flags, ok := tcpFlags(b); ok && flags&2 != 0 {
			b = slices.Clone(b)
			at := 20
			if b[0]>>4 == 6 {
				at = 40
			}
			binary.BigEndian.PutUint16(b[at:], uint16(h.rand.Uint32()))
			return b
		}
	}
}

// answer turns a recent packet of the stack's round, and makes it acknowledge what it carried.
func (h *hostile) answer() []byte {
	h.mu.Lock()
	b := slices.Clone(h.recent[h.rand.IntN(len(h.recent))])
	h.mu.Unlock()
	if len(b) < 20 {
		return b
	}
	ip, addr := int(b[0]&15)*4, 4
	proto := b[9]
	src := 12
	if b[0]>>4 == 6 {
		ip, addr, src, proto = 40, 16, 8, b[6]
	}
	if len(b) < ip+8 {
		return b
	}
	for k := range addr {
		b[src+k], b[src+addr+k] = b[src+addr+k], b[src+k]
	}
	seg := b[ip:]
	seg[0], seg[1], seg[2], seg[3] = seg[2], seg[3], seg[0], seg[1]
	if proto != 6 || len(seg) < 20 {
		return b
	}
	seq, ack := binary.BigEndian.Uint32(seg[4:]), binary.BigEndian.Uint32(seg[8:])
	size := uint32(len(seg) - int(seg[12]>>4)*4)
	if seg[13]&3 != 0 { // SYN or FIN
		size++
	}
	binary.BigEndian.PutUint32(seg[4:], ack)
	binary.BigEndian.PutUint32(seg[8:], seq+size)
	seg[13] = []byte{0x10, 0x10, 0x18, 0x18, 0x11, 0x12, 0x14, 0x38}[h.rand.IntN(8)]
	options := timestamps(seg)
	b = append(b[:ip+20], options...)
	b[ip+12] = byte(5+len(options)/4) << 4
	return append(b, make([]byte, h.rand.IntN(2000))...)
}

// throw sends one packet.
func (h *hostile) throw() {
	r := h.rand
	var b []byte
	switch r.IntN(10) {
	case 0: // noise
		b = make([]byte, r.IntN(200))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if len(b) > 0 && r.IntN(4) > 0 {
			b[0] = []byte{0x45, 0x46, 0x4f, 0x60}[r.IntN(4)]
		}
	case 1:
		if b = h.dial(); r.IntN(8) == 0 {
			h.spoil(&b)
		}
	case 2, 3, 4, 5:
		if b = h.answer(); r.IntN(3) == 0 {
			h.spoil(&b)
		}
	default:
		e := h.examples[r.IntN(len(h.examples))]
		b = append(b, e...)
		h.spoil(&b)
	}
	if r.IntN(8) > 0 {
		mend(b)
	}
	p := h.packets.Get()
	p.Data().Append(b)
	if n, err := h.dev.WritePackets(0, []*packet.Packet{p}); n != 1 || err != nil {
		h.t.Fatal(n, err)
	}
	if r.IntN(256) == 0 {
		runtime.Gosched()
	}
}

// spoil changes some bytes, most often of headers, or the length.
func (h *hostile) spoil(b *[]byte) {
	r := h.rand
	for range r.IntN(4) {
		p := *b
		if len(p) == 0 {
			return
		}
		at := r.IntN(min(len(p), 1+r.IntN(120)))
		switch r.IntN(6) {
		case 0:
			p[at] = byte(r.Uint32())
		case 1:
			p[at] ^= 1 << r.IntN(8)
		case 2:
			p[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		case 3:
			*b = p[:r.IntN(len(p)+1)]
		case 4:
			n := r.IntN(60)
			*b = append(p[:at:at], append(make([]byte, n), p[at:]...)...)
		case 5: // another port or sequence number
			if len(p) > 28 {
				binary.BigEndian.PutUint16(p[20+2*r.IntN(4):], uint16(r.Uint32()))
			}
		}
	}
}

// mend makes lengths and checksums right again, so that the packet gets further than the first check.
func mend(b []byte) {
	if len(b) < 20 {
		return
	}
	proto, start := b[9], 20
	var src, dst netip.Addr
	switch {
	case b[0]>>4 == 4:
		start = int(b[0]&15) * 4
		if start < 20 || start > len(b) {
			return
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^checksum.Sum(b[:start], 0))
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return // a fragment has its checksum elsewhere
		}
	case b[0]>>4 == 6 && len(b) >= 40:
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		proto, start = b[6], 40
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	default:
		return
	}
	at, pseudo := start+16, checksum.PseudoHeader(src, dst, proto, len(b)-start)
	switch proto {
	case 17:
		at = start + 6
		if len(b) >= start+6 {
			binary.BigEndian.PutUint16(b[start+4:], uint16(len(b)-start))
		}
	case 1:
		at, pseudo = start+2, 0
	case 58:
		at = start + 2
	case 6:
	default:
		return
	}
	if at+2 <= len(b) {
		b[at], b[at+1] = 0, 0
		binary.BigEndian.PutUint16(b[at:], ^checksum.Sum(b[start:], pseudo))
	}
}
