package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// model is what a packet must be: its bytes, how many of them are headers, and where each header is.
type model struct {
	p       *Packet
	bytes   []byte
	cur     int
	headers [kinds]struct{ at, n int }
	net     int // the network header that Deliverable forgot; -1: none
	// Header slices that were handed out, and what they must show until the packet is released.
	slices []slice
}

type slice struct{ got, want []byte }

type world struct {
	t       fataler
	buffers *buffer.Pool
	pool    *Pool
	all     []*model
	fresh   byte
}

func newWorld(t fataler) *world {
	w := &world{t: t, buffers: buffer.NewPool(buffer.Options{Check: true})}
	w.pool = NewPool(w.buffers)
	w.all = []*model{{p: w.pool.Get(), net: -1}}
	return w
}

func (w *world) text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		w.fresh += 7
		b[i] = w.fresh
	}
	return b
}

// lengths of headers and data: usual, at the block's edges, and far beyond.
var lengths = []int{0, 1, 8, 14, 20, 20, 20, 40, 60, 143, 144, 145, 288, 300, 1448, 3000}

func (w *world) step(op byte, x uint16) {
	m := w.all[int(op>>4)%len(w.all)]
	k := Kind(x % uint16(kinds))
	n := lengths[int(x>>2)%len(lengths)]
	unread := len(m.bytes) - m.cur
	switch op % 16 {
	case 0, 1:
		room := int(m.p.front)
		b := m.p.Push(k, n)
		if (b != nil) != (n <= room) {
			w.t.Fatalf("Push %d with room for %d: %v", n, room, b != nil)
		}
		if b == nil {
			return
		}
		text := w.text(n)
		copy(b, text)
		m.bytes = append(bytes.Clone(text), m.bytes...)
		m.cur += n
		for i := range m.headers {
			m.headers[i].at += n
		}
		if m.net >= 0 {
			m.net += n
		}
		m.headers[k].at, m.headers[k].n = 0, n
		m.keep(b)
	case 2, 3, 4:
		b, ok := m.p.Consume(k, n)
		if ok != (n <= unread) || ok && !bytes.Equal(b, m.bytes[m.cur:m.cur+n]) {
			w.t.Fatalf("Consume %d of %d: %v %x", n, unread, ok, b)
		}
		if ok {
			m.headers[k].at, m.headers[k].n = m.cur, n
			m.cur += n
			m.keep(b)
		}
	case 5:
		b, ok := m.p.Peek(n)
		if ok != (n <= unread) || ok && !bytes.Equal(b, m.bytes[m.cur:m.cur+n]) {
			w.t.Fatalf("Peek %d of %d: %v", n, unread, ok)
		}
	case 6, 7:
		text := w.text(n)
		m.p.Data().Append(text)
		m.bytes = append(m.bytes, text...)
	case 8:
		text := w.text(n)
		m.p.Data().AppendOwned(bytes.Clone(text))
		m.bytes = append(m.bytes, text...)
	case 9:
		var away buffer.Buffer
		n = m.p.Data().MoveTo(&away, n)
		m.bytes = append(bytes.Clone(m.bytes[:m.cur]), m.bytes[m.cur+n:]...)
		away.Release()
	case 10:
		if len(w.all) < 4 {
			q := *m
			q.p = m.p.Clone()
			q.bytes = bytes.Clone(m.bytes)
			q.slices = nil
			if q.p.Meta != m.p.Meta {
				w.t.Fatalf("Clone changed metadata")
			}
			w.all = append(w.all, &q)
		}
	case 11:
		if h := m.headers[Network]; h.n > 0 {
			m.net = -1
			if m.p.headers[Network].off < block {
				m.net = h.at
			}
		}
		m.p.Deliverable()
		m.cur, m.headers = 0, [kinds]struct{ at, n int }{}
		m.slices = nil // they are payload now, and may be read into other places
	case 12:
		var dst buffer.Buffer
		ok := m.p.PayloadSince(k, &dst)
		want := m.bytes[m.headers[k].at:]
		if ok != (m.headers[k].n > 0) || ok && !bytes.Equal(dst.Flatten(), want) || !ok && dst.Size() != 0 {
			w.t.Fatalf("PayloadSince: %v, %d bytes of %d", ok, dst.Size(), len(want))
		}
		dst.Release()
	case 13:
		w.strip(m, k)
	case 14:
		m.p.WritableHeaders()
		if h := m.p.Header(k); h != nil {
			text := w.text(len(h))
			copy(h, text)
			copy(m.bytes[m.headers[k].at:], text)
			m.slices = nil
		}
	case 15:
		w.finish(m, x)
	}
	w.check()
}

func (m *model) keep(b []byte) {
	if m.p.asideSize() == 0 {
		m.slices = append(m.slices, slice{b, bytes.Clone(b)})
	}
}

func (w *world) strip(m *model, k Kind) {
	h := m.headers[k]
	if ok := m.p.StripBefore(k); ok != (h.n > 0) {
		w.t.Fatalf("StripBefore: %v", ok)
	}
	if h.n == 0 {
		return
	}
	m.bytes, m.cur, m.net = bytes.Clone(m.bytes[h.at:]), m.cur-h.at, -1
	for i := range m.headers {
		if m.headers[i].at < h.at {
			m.headers[i].n = 0
		}
		m.headers[i].at = max(0, m.headers[i].at-h.at)
	}
	m.slices = nil
}

func (w *world) finish(m *model, x uint16) {
	start, offset := int(x%97), int(x>>7%23)
	m.p.Checksum, m.p.CsumStart, m.p.CsumOffset = ChecksumPartial, uint16(start), uint16(offset)
	from := m.cur
	if m.headers[Network].n > 0 {
		from = m.headers[Network].at
	} else if m.net >= 0 {
		from = m.net
	}
	at := from + start + offset
	ok := m.p.FinishChecksum()
	if ok != (at+2 <= len(m.bytes)) || ok != (m.p.Checksum == ChecksumNone) {
		w.t.Fatalf("FinishChecksum of field %d of %d: %v", at, len(m.bytes), ok)
	}
	if ok {
		sum := ^checksum.Sum(m.bytes[from+start:], 0)
		if sum == 0 && offset == 6 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(m.bytes[at:], sum)
		m.slices = nil
	}
	m.p.Checksum = ChecksumNone
}

// check demands that every packet is as its model says.
func (w *world) check() {
	w.t.Helper()
	for i, m := range w.all {
		var got []byte
		for _, b := range m.p.Vec(nil) {
			got = append(got, b...)
		}
		if !bytes.Equal(got, m.bytes) || m.p.Size() != len(m.bytes) || m.p.HeaderSize() != m.cur {
			w.t.Fatalf("packet %d: %d bytes, %d of headers; want %d, %d", i, m.p.Size(), m.p.HeaderSize(), len(m.bytes), m.cur)
		}
		for k, h := range m.headers {
			if !bytes.Equal(m.p.Header(Kind(k)), m.bytes[h.at:h.at+h.n]) {
				w.t.Fatalf("packet %d: header %d is %x, want %x", i, k, m.p.Header(Kind(k)), m.bytes[h.at:h.at+h.n])
			}
		}
		for _, s := range m.slices {
			if !bytes.Equal(s.got, s.want) {
				w.t.Fatalf("packet %d: a header that was handed out became %x, was %x", i, s.got, s.want)
			}
		}
	}
}

func (w *world) close() {
	for _, m := range w.all {
		m.p.Release()
	}
	if n := w.pool.Outstanding(); n != 0 {
		w.t.Fatalf("%d packets are out", n)
	}
	if err := w.buffers.Leaked(); err != nil {
		w.t.Fatalf("%v", err)
	}
}

func TestPacketAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			w.step(rapid.Byte().Draw(t, "op"), rapid.Uint16().Draw(t, "x"))
		}
		w.close()
	})
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{0, 0, 21, 0, 0, 18, 11, 0, 0, 2, 0, 17, 6, 0, 50, 2, 0, 22})
	f.Add([]byte{6, 0, 60, 2, 0, 52, 2, 0, 19, 10, 0, 0, 13, 0, 1, 15, 1, 7})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 3*200 {
			return
		}
		w := newWorld(t)
		for ; len(program) >= 3; program = program[3:] {
			w.step(program[0], binary.BigEndian.Uint16(program[1:]))
		}
		w.close()
	})
}
