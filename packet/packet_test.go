package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
)

// pool returns a checking pool, and makes sure at the end of the test that nothing of it is out.
func pool(t *testing.T) *Pool {
	bufs := buffer.NewPool(buffer.Options{Check: true})
	p := NewPool(bufs)
	t.Cleanup(func() {
		if n := p.Outstanding(); n != 0 {
			t.Errorf("%d packets were not released", n)
		}
		if err := bufs.Leaked(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// all returns the packet's bytes, as a device would write them.
func all(p *Packet) string {
	var s strings.Builder
	for _, b := range p.Vec(nil) {
		s.Write(b)
	}
	return s.String()
}

func rope(b *buffer.Buffer) string {
	var s strings.Builder
	b.Apply(func(p []byte) { s.Write(p) })
	return s.String()
}

// push puts text on as a header.
func push(t *testing.T, p *Packet, k Kind, text string) {
	t.Helper()
	b := p.Push(k, len(text))
	if b == nil {
		t.Fatalf("no room for %q", text)
	}
	copy(b, text)
}

func consume(t *testing.T, p *Packet, k Kind, want string) []byte {
	t.Helper()
	b, ok := p.Consume(k, len(want))
	if !ok || string(b) != want {
		t.Fatalf("consumed %q, %v; want %q", b, ok, want)
	}
	return b
}

func TestPushInAnyOrder(t *testing.T) {
	pool := pool(t)
	for _, order := range [][]Kind{{Transport, Network, Link}, {Link, Network, Transport}, {Network, Link, Transport}, {Network}, {Link, Transport}, {}} {
		p := pool.Get()
		p.Data().Append([]byte("payload"))
		want := "payload"
		for i, k := range order {
			h := fmt.Sprintf("<header %d %d>", k, i)
			push(t, p, k, h)
			want = h + want
		}
		if all(p) != want || p.Size() != len(want) || p.HeaderSize() != len(want)-7 || rope(p.Data()) != "payload" {
			t.Errorf("%v: %q, want %q", order, all(p), want)
		}
		for i, k := range order {
			if h := fmt.Sprintf("<header %d %d>", k, i); string(p.Header(k)) != h {
				t.Errorf("%v: header %d is %q, want %q", order, k, p.Header(k), h)
			}
		}
		p.Release()
	}
}

func TestPushOfOneKindTwiceRemembersTheOuter(t *testing.T) {
	p := pool(t).Get()
	defer p.Release()
	push(t, p, Network, "inner")
	push(t, p, Network, "outer")
	if string(p.Header(Network)) != "outer" || all(p) != "outerinner" {
		t.Errorf("%q of %q", p.Header(Network), all(p))
	}
}

func TestPushRoom(t *testing.T) {
	p := pool(t).Get()
	defer p.Release()
	if p.Push(Link, Headroom+1) != nil || p.Push(Link, -1) != nil || p.Header(Link) != nil {
		t.Error("what has no room was pushed")
	}
	if b := p.Push(Transport, 60); len(b) != 60 || cap(b) != 60 {
		t.Errorf("%d bytes of %d", len(b), cap(b))
	}
	if p.Push(Network, Headroom-59) != nil || p.HeaderSize() != 60 {
		t.Error("what has no room was pushed")
	}
	if b := p.Push(Network, Headroom-60); len(b) != Headroom-60 {
		t.Error("the last of the room was refused")
	}
}

// Bytes may lie in the block, in the payload, or across: what is read is the same.
func TestConsumeWhereverBytesLie(t *testing.T) {
	pool := pool(t)
	const text = "LinkNetworkTransportPayload"
	for inBlock := 0; inBlock <= len(text); inBlock++ {
		for cut := inBlock; cut <= len(text); cut++ {
			p := pool.Get()
			if inBlock > 0 {
				push(t, p, Network, text[:inBlock])
			}
			p.Deliverable()
			p.Data() // puts what is unread into the rope at once
			p.Data().AppendOwned([]byte(text[inBlock:cut]))
			p.Data().AppendOwned([]byte(text[cut:]))
			if cut%2 == 0 { // another way to the same bytes: left in the block
				p.Release()
				p = pool.Get()
				p.Data().AppendOwned([]byte(text[inBlock:cut]))
				p.Data().AppendOwned([]byte(text[cut:]))
				push(t, p, Network, text[:inBlock])
				p.Deliverable()
			}
			if b, ok := p.Peek(11); !ok || string(b) != "LinkNetwork" {
				t.Fatalf("%d, %d: Peek %q", inBlock, cut, b)
			}
			link := consume(t, p, Link, "Link")
			network := consume(t, p, Network, "Network")
			transport := consume(t, p, Transport, "Transport")
			if _, ok := p.Consume(Link, 8); ok {
				t.Error("consumed more than there is")
			}
			if _, ok := p.Peek(8); ok {
				t.Error("peeked at more than there is")
			}
			if rope(p.Data()) != "Payload" || all(p) != text || p.HeaderSize() != 20 || p.Size() != len(text) {
				t.Errorf("%d, %d: data %q of %q", inBlock, cut, rope(p.Data()), all(p))
			}
			// Headers outlive the payload.
			var queue buffer.Buffer
			p.Data().MoveTo(&queue, 7)
			queue.Release()
			if string(link) != "Link" || string(network) != "Network" || string(transport) != "Transport" ||
				string(p.Header(Link)) != "Link" || string(p.Header(Network)) != "Network" || string(p.Header(Transport)) != "Transport" {
				t.Errorf("%d, %d: %q %q %q", inBlock, cut, link, network, transport)
			}
			p.Release()
		}
	}
}

func TestConsumeRefusals(t *testing.T) {
	p := pool(t).Get()
	defer p.Release()
	p.Data().Append([]byte("abc"))
	for _, n := range []int{-1, 4, math.MaxInt} {
		if _, ok := p.Consume(Network, n); ok {
			t.Errorf("Consume(%d) was not refused", n)
		}
		if _, ok := p.Peek(n); ok {
			t.Errorf("Peek(%d) was not refused", n)
		}
	}
	if b, ok := p.Peek(0); !ok || b == nil {
		t.Error("Peek(0) was refused")
	}
	if p.Header(Network) != nil || p.HeaderSize() != 0 || rope(p.Data()) != "abc" {
		t.Error("a refusal changed the packet")
	}
}

// A chain of IPv6 extension headers may be far larger than the block; all holds for it too.
func TestHeadersThatDoNotFit(t *testing.T) {
	pool := pool(t)
	for _, split := range []bool{false, true} {
		p := pool.Get()
		big := strings.Repeat("extension header.", 40)
		if split {
			push(t, p, Link, "Li")
			p.Deliverable()
			p.Data().AppendOwned([]byte("nk"))
		} else {
			p.Data().AppendOwned([]byte("Link"))
		}
		p.Data().AppendOwned([]byte(big[:100]))
		p.Data().AppendOwned([]byte(big[100:] + "TransportPay"))
		p.Data().AppendOwned([]byte("load"))
		consume(t, p, Link, "Link")
		consume(t, p, Network, big)
		transport := consume(t, p, Transport, "Transport")
		q := p.Clone()
		p.WritableHeaders()
		copy(p.Header(Network), "EXT")
		copy(p.Header(Link), "LINK")
		if want := "LinkextTransportPayload"; string(q.Header(Link))+string(q.Header(Network)[:3])+string(q.Header(Transport))+rope(q.Data()) != want {
			t.Errorf("the clone became %q", all(q))
		}
		if want := "LINKEXT" + big[3:] + "TransportPayload"; all(p) != want || p.HeaderSize() != 4+len(big)+9 {
			t.Errorf("%q, want %q", all(p), want)
		}
		if string(transport) != "Transport" {
			t.Errorf("transport became %q", transport)
		}
		var dst buffer.Buffer
		if !q.PayloadSince(Network, &dst) || rope(&dst) != big+"TransportPayload" {
			t.Errorf("PayloadSince: %q", rope(&dst))
		}
		dst.Release()
		if !q.PayloadSince(Transport, &dst) || rope(&dst) != "TransportPayload" {
			t.Errorf("PayloadSince: %q", rope(&dst))
		}
		dst.Release()
		if !q.StripBefore(Network) || all(q) != big+"TransportPayload" || q.Header(Link) != nil || string(q.Header(Transport)) != "Transport" {
			t.Errorf("StripBefore: %q", all(q))
		}
		p.Deliverable()
		if p.HeaderSize() != 0 || p.Size() != 4+len(big)+16 {
			t.Errorf("Deliverable: %d of %d", p.HeaderSize(), p.Size())
		}
		consume(t, p, Link, "LINK")
		q.Release()
		p.Release()
	}
}

func TestStripBefore(t *testing.T) {
	p := pool(t).Get()
	defer p.Release()
	p.Data().AppendOwned([]byte("EtherIP.TCP.data"))
	consume(t, p, Link, "Ether")
	consume(t, p, Network, "IP.")
	if p.StripBefore(Transport) || p.HeaderSize() != 8 {
		t.Error("stripped before a header that is not there")
	}
	if !p.StripBefore(Network) || all(p) != "IP.TCP.data" || p.Header(Link) != nil || string(p.Header(Network)) != "IP." {
		t.Errorf("%q", all(p))
	}
	push(t, p, Link, "ether2")
	if all(p) != "ether2IP.TCP.data" || p.HeaderSize() != 9 {
		t.Errorf("%q", all(p))
	}
}

func TestCloneIsIndependent(t *testing.T) {
	pool := pool(t)
	p := pool.Get()
	p.Data().Append([]byte("payload"))
	push(t, p, Transport, "TCP")
	push(t, p, Network, "IP")
	q := p.Clone()
	copy(p.Header(Network), "xx")
	push(t, p, Link, "Eth")
	p.Data().Append([]byte("+"))
	push(t, q, Link, "Wifi")
	q.Data().Append([]byte("-"))
	if all(p) != "EthxxTCPpayload+" || all(q) != "WifiIPTCPpayload-" {
		t.Errorf("%q and %q", all(p), all(q))
	}
	p.Release()
	if all(q) != "WifiIPTCPpayload-" {
		t.Errorf("the clone became %q", all(q))
	}
	q.Release()
}

// Get gives an empty packet, whatever the one before was.
func TestGetIsFresh(t *testing.T) {
	pool := NewPool(buffer.NewPool(buffer.Options{}))
	for range 3 {
		p := pool.Get()
		if p.Meta != (Meta{}) || p.Size() != 0 || p.HeaderSize() != 0 || p.Header(Network) != nil {
			t.Fatal("a packet came with something in it")
		}
		p.Data().Append(make([]byte, 1000))
		p.Consume(Network, 900)
		push(t, p, Link, "Eth")
		p.Deliverable()
		p.Meta = Meta{Iface: 1, Segs: 2, Checksum: ChecksumVerified}
		p.Release()
	}
}

func TestReleasedPacket(t *testing.T) {
	p := pool(t).Get()
	h := p.Push(Network, 4)
	p.Release()
	if !bytes.Equal(h, []byte{poison, poison, poison, poison}) {
		t.Errorf("header after release is %x, not poison", h)
	}
	for name, f := range map[string]func(){
		"Release": p.Release, "Push": func() { p.Push(Link, 1) }, "Consume": func() { p.Consume(Link, 1) }, "Peek": func() { p.Peek(1) },
		"Header": func() { p.Header(Link) }, "Data": func() { p.Data() }, "Clone": func() { p.Clone() }, "Deliverable": p.Deliverable,
		"Vec": func() { p.Vec(nil) }, "FinishChecksum": func() { p.FinishChecksum() }, "WritableHeaders": p.WritableHeaders,
		"StripBefore": func() { p.StripBefore(Link) }, "PayloadSince": func() { p.PayloadSince(Link, nil) },
	} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.HasPrefix(s, "packet: ") {
					t.Errorf("%s: %q", name, s)
				}
			}()
			f()
		}()
	}
}

func TestNilPool(t *testing.T) {
	for _, pool := range []*Pool{nil, NewPool(nil)} {
		p := pool.Get()
		p.Data().Append([]byte("data"))
		push(t, p, Network, "IP")
		q := p.Clone()
		p.Release()
		if all(q) != "IPdata" || pool.Buffers() != nil {
			t.Errorf("%q", all(q))
		}
		q.Release()
		if pool.Outstanding() != 0 {
			t.Errorf("%d are out", pool.Outstanding())
		}
	}
}

func TestPoolConcurrently(t *testing.T) {
	pool := NewPool(buffer.NewPool(buffer.Options{}))
	ch := make(chan *Packet, 32)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for range 5000 {
				p := pool.Get()
				p.Iface = int32(i)
				binary.BigEndian.PutUint32(p.Push(Network, 4), uint32(i))
				p.Data().Append([]byte{byte(i)})
				p.Deliverable()
				ch <- p
			}
		})
	}
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for p := range ch {
				h, _ := p.Consume(Network, 4)
				if binary.BigEndian.Uint32(h) != uint32(p.Iface) || p.Data().Flatten()[0] != byte(p.Iface) {
					t.Error("a packet was mixed up with another")
				}
				p.Release()
			}
		})
	}
	wg.Wait()
	close(ch)
	readers.Wait()
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d are out", n)
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets at random under the race detector")
	}
	bufs := buffer.NewPool(buffer.Options{})
	pool := NewPool(bufs)
	var queue buffer.Buffer
	queue.SetPool(bufs)
	queue.Append(make([]byte, 200000))
	vec := make(buffer.Vec, 0, 16)
	for name, f := range map[string]func(){
		"push": func() {
			p := pool.Get()
			queue.ShareTo(p.Data(), 1000, 150000)
			p.Push(Transport, 32)
			p.Push(Network, 40)
			vec = p.Vec(vec[:0])
			p.Checksum, p.CsumStart, p.CsumOffset = ChecksumPartial, 40, 16
			p.FinishChecksum()
			p.Clone().Release()
			p.Release()
		},
		"deliver": func() {
			p := pool.Get()
			queue.ShareTo(p.Data(), 1000, 1448)
			p.Push(Transport, 32)
			p.Push(Network, 20)
			p.Deliverable()
			p.Peek(20)
			p.Consume(Network, 20)
			p.Consume(Transport, 32)
			p.Data().MoveTo(&queue, 1448)
			queue.Truncate(200000)
			p.Release()
		},
		"read": func() {
			p := pool.Get()
			p.Data().AppendChunk(bufs.Get(2048), 0, 2048, false)
			p.Data().AppendChunk(bufs.Get(65536), 0, 3000, false)
			p.Consume(Network, 20)
			p.Consume(Transport, 32)
			p.Header(Network)
			p.Release()
		},
	} {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestPacketSize(t *testing.T) {
	if n := unsafe.Sizeof(Packet{}); n > 512 {
		t.Errorf("a Packet takes %d bytes, and so the next size class", n)
	}
}

// header fields of the packets that the checksum tests make: link 14, network 20, transport 8 (UDP) with the field at 6, or 20 (TCP), 16.
type shape struct {
	link, transport, field int
}

// build makes an outbound packet with a partial checksum, and returns the bytes that it must have when that is finished.
func build(t *testing.T, pool *Pool, s shape, payload []byte) (*Packet, string) {
	p := pool.Get()
	p.Data().AppendOwned(bytes.Clone(payload[:len(payload)/3]))
	p.Data().AppendOwned(bytes.Clone(payload[len(payload)/3:]))
	const pseudo = 0x1234
	header := bytes.Repeat([]byte{0x5a}, s.transport)
	binary.BigEndian.PutUint16(header[s.field:], pseudo)
	push(t, p, Transport, string(header))
	push(t, p, Network, strings.Repeat("N", 20))
	if s.link > 0 {
		push(t, p, Link, strings.Repeat("L", s.link))
	}
	p.Checksum, p.CsumStart, p.CsumOffset = ChecksumPartial, 20, uint16(s.field)
	ck := ^checksum.Sum(append(bytes.Clone(header), payload...), 0)
	binary.BigEndian.PutUint16(header[s.field:], ck)
	return p, strings.Repeat("L", s.link) + strings.Repeat("N", 20) + string(header) + string(payload)
}

var shapes = map[string]shape{"TCP": {0, 20, 16}, "UDP": {0, 8, 6}, "TCP on Ethernet": {14, 20, 16}, "odd": {14, 21, 16}}

func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i + 3)
	}
	return b
}

// Every state of the checksum survives every way of handing a packet on, and only a partial one is finished.
func TestChecksumStates(t *testing.T) {
	for name, s := range shapes {
		for _, state := range []Checksum{ChecksumNone, ChecksumPartial, ChecksumVerified} {
			for way, hand := range map[string]func(t *testing.T, p *Packet) *Packet{
				"as it is": func(t *testing.T, p *Packet) *Packet { return p },
				"Clone":    func(t *testing.T, p *Packet) *Packet { q := p.Clone(); p.Release(); return q },
				"Deliverable": func(t *testing.T, p *Packet) *Packet {
					p.Deliverable()
					return p
				},
				"Deliverable, headers in the rope": func(t *testing.T, p *Packet) *Packet {
					p.Deliverable()
					if s.link > 0 {
						p.Consume(Link, s.link)
					}
					p.Data()
					return p
				},
				"Deliverable, consumed": func(t *testing.T, p *Packet) *Packet {
					p.Deliverable()
					if s.link > 0 {
						p.Consume(Link, s.link)
					}
					p.Consume(Network, 20)
					return p
				},
				"Clone of Deliverable, consumed whole": func(t *testing.T, p *Packet) *Packet {
					p.Deliverable()
					q := p.Clone()
					p.Release()
					if s.link > 0 {
						q.Consume(Link, s.link)
					}
					q.Consume(Network, 20)
					q.Consume(Transport, s.transport)
					return q
				},
				"PayloadSince the first header, as if read": func(t *testing.T, p *Packet) *Packet {
					q := p.pool.Get()
					q.Meta = p.Meta
					first := Network
					if s.link > 0 {
						first = Link
					}
					if !p.PayloadSince(first, q.Data()) {
						t.Fatal("no such header")
					}
					p.Release()
					if s.link > 0 {
						q.Consume(Link, s.link)
					}
					return q
				},
			} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, state, way), func(t *testing.T) {
					p, finished := build(t, pool(t), s, payload(1001))
					raw := all(p)
					p.Checksum = state
					p = hand(t, p)
					if p.Checksum != state || p.CsumStart != 20 || int(p.CsumOffset) != s.field || all(p) != raw {
						t.Errorf("became state %d, start %d, offset %d", p.Checksum, p.CsumStart, p.CsumOffset)
					}
					want, wantState := raw, state
					if state == ChecksumPartial {
						want, wantState = finished, ChecksumNone
					}
					if !p.FinishChecksum() || all(p) != want || p.Checksum != wantState {
						t.Errorf("FinishChecksum: state %d, bytes right %v", p.Checksum, all(p) == want)
					}
					p.Release()
				})
			}
		}
	}
}

// Sum is the same wherever bytes lie: block, headers that did not fit it, payload.
func TestSum(t *testing.T) {
	pool := pool(t)
	big := strings.Repeat("extension", 100)
	for _, n := range []int{0, 9, len(big)} {
		p := pool.Get()
		push(t, p, Link, "Lin")
		p.Deliverable()
		p.Data().AppendOwned([]byte("k" + big))
		p.Data().AppendOwned([]byte("odd"))
		consume(t, p, Link, "Link")
		consume(t, p, Network, big[:n])
		whole := []byte(all(p))
		for from := -1; from <= len(whole)+1; from++ {
			if got, want := p.Sum(from), checksum.Sum(whole[min(max(from, 0), len(whole)):], 0); got != want {
				t.Fatalf("%d consumed, from %d: %04x, want %04x", n, from, got, want)
			}
		}
		p.Release()
	}
}

// The field of a clone whose headers lie in shared payload is finished without the other's noticing.
func TestFinishChecksumDoesNotWriteSharedPayload(t *testing.T) {
	p, finished := build(t, pool(t), shapes["TCP"], payload(100))
	p.Deliverable()
	p.Data()
	q := p.Clone()
	raw := all(p)
	if !p.FinishChecksum() || all(p) != finished || all(q) != raw {
		t.Errorf("right %v, other unchanged %v", all(p) == finished, all(q) == raw)
	}
	p.Release()
	q.Release()
}

// RFC 768: a UDP checksum that comes out as zero is sent as all ones, because zero says that there is none. Only UDP's.
func TestFinishChecksumOfZero(t *testing.T) {
	pool := pool(t)
	for _, c := range []struct {
		offset int
		want   uint16
	}{{6, 0xffff}, {16, 0}} {
		p := pool.Get()
		h := p.Push(Transport, 20)
		clear(h)
		h[0], h[1] = 0xff, 0xff // sums to 0xffff, complement 0
		clear(p.Push(Network, 20))
		p.Checksum, p.CsumStart, p.CsumOffset = ChecksumPartial, 20, uint16(c.offset)
		p.FinishChecksum()
		if got := binary.BigEndian.Uint16(p.Header(Transport)[c.offset:]); got != c.want {
			t.Errorf("field at %d: %04x, want %04x", c.offset, got, c.want)
		}
		p.Release()
	}
}

func TestFinishChecksumRefusals(t *testing.T) {
	for name, change := range map[string]func(*Packet){
		"start beyond the packet":  func(p *Packet) { p.CsumStart = 65535 },
		"offset beyond the packet": func(p *Packet) { p.CsumOffset = 65535 },
		"half a field":             func(p *Packet) { p.CsumOffset = 20 + 10 - 1 },
		"super-segment":            func(p *Packet) { p.GSO = GSOTCP4 },
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := build(t, pool(t), shapes["TCP"], payload(10))
			raw := all(p)
			change(p)
			if p.FinishChecksum() || p.Checksum != ChecksumPartial || all(p) != raw {
				t.Error("was not refused")
			}
			p.Release()
		})
	}
}
