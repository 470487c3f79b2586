package buffer

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/weirnet/weir/checksum"
)

// world is a few ropes over one checking pool, each with a model of the bytes it must hold. Both fuzzing and rapid drive it by numbers.
type world struct {
	t     fataler
	pool  *Pool
	ropes [3]*Buffer
	model [3][]byte
	fresh byte // so that every written byte differs from the one before
	log   []string
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newWorld(t fataler) *world {
	w := &world{t: t, pool: NewPool(Options{Check: true})}
	for i := range w.ropes {
		w.ropes[i] = &Buffer{}
		w.ropes[i].SetPool(w.pool)
	}
	return w
}

func (w *world) bytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		w.fresh++
		p[i] = w.fresh
	}
	return p
}

// sizes are the lengths that operations use: around every boundary there is.
var sizes = []int{0, 1, 2, 3, 7, 63, 64, 65, 200, 255, 256, 257, 500, 1448, 2047, 2048, 2049, 4000, 16383, 16384, 16385, 40000, 66048, 66049, 70000}

type reader struct{ p []byte }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.p) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.p)
	r.p = r.p[n:]
	return n, nil
}

// step does one operation: op says which, x and y where.
func (w *world) step(op byte, x, y uint16) {
	i := int(op>>5) % len(w.ropes)
	j := int(op>>6+1+op>>5) % len(w.ropes)
	b, m := w.ropes[i], w.model[i]
	n := sizes[int(y)%len(sizes)]
	off := int(x) % (len(m) + 2) // one past the end too
	inside := off+n <= len(m)
	w.log = append(w.log, fmt.Sprintf("op %d rope %d other %d off %d n %d size %d", op%24, i, j, off, n, len(m)))
	switch op % 24 {
	case 0:
		b.TrimFront(n)
		m = m[min(n, len(m)):]
	case 1:
		if b.Remove(off, n) != inside {
			w.t.Fatalf("Remove(%d, %d) of %d", off, n, len(m))
		}
		if inside {
			m = append(bytes.Clone(m[:off]), m[off+n:]...)
		}
	case 2:
		b.Truncate(n)
		m = m[:min(n, len(m))]
	case 3:
		b.Grow(n, true)
		m = append(m[:len(m):len(m)], make([]byte, max(0, n-len(m)))...)
	case 4:
		p := w.bytes(n)
		b.Prepend(p)
		m = append(bytes.Clone(p), m...)
	case 5, 6, 7:
		p := w.bytes(n % 5000)
		b.Append(p)
		m = append(m[:len(m):len(m)], p...)
	case 8:
		p := w.bytes(n)
		m = append(m[:len(m):len(m)], p...)
		b.AppendOwned(p)
	case 9:
		p, ok := b.PullUp(off, n)
		if ok != inside || ok && !bytes.Equal(p, m[off:off+n]) {
			w.t.Fatalf("PullUp(%d, %d) of %d: %v", off, n, len(m), ok)
		}
	case 10:
		if x&1 == 0 {
			p := make([]byte, n)
			k, err := b.Read(p)
			if k != min(n, len(m)) || !bytes.Equal(p[:k], m[:k]) || (err == io.EOF) != (n > 0 && len(m) == 0) {
				w.t.Fatalf("Read %d of %d: %d, %v", n, len(m), k, err)
			}
			m = m[k:]
			break
		}
		if !bytes.Equal(b.Flatten(), m) {
			w.t.Fatalf("Flatten of %d", len(m))
		}
	case 11:
		c := b.Clone()
		w.equal(c, m)
		w.ropes[i].Release()
		w.ropes[i] = c
	case 12:
		b.Merge(w.ropes[j])
		if i != j {
			m = append(m[:len(m):len(m)], w.model[j]...)
			w.model[j] = nil
		}
	case 13:
		p := w.bytes(n)
		got, err := b.WriteFromReader(iotest.HalfReader(&reader{p}), int64(n))
		if got != int64(n) || err != nil {
			w.t.Fatalf("WriteFromReader %d: %d, %v", n, got, err)
		}
		m = append(m[:len(m):len(m)], p...)
	case 14:
		p := w.bytes(n)
		if got, err := b.ReadFrom(&reader{p}); got != int64(n) || err != nil {
			w.t.Fatalf("ReadFrom %d: %d, %v", n, got, err)
		}
		m = append(m[:len(m):len(m)], p...)
	case 15:
		var out bytes.Buffer
		if got, err := b.ReadToWriter(&out, int64(n)); got != int64(min(n, len(m))) || err != nil || !bytes.Equal(out.Bytes(), m[:min(n, len(m))]) {
			w.t.Fatalf("ReadToWriter %d of %d: %d, %v", n, len(m), got, err)
		}
	case 16:
		c := w.pool.Get(n)
		at := 0
		if c.Cap() > n {
			at = off % (c.Cap() - n)
		}
		p := w.bytes(n)
		copy(c.Data()[at:], p)
		b.AppendChunk(c, at, n, x&1 == 0)
		m = append(m[:len(m):len(m)], p...)
	case 17, 18:
		if b.ShareTo(w.ropes[j], off, n) != inside {
			w.t.Fatalf("ShareTo(%d, %d) of %d", off, n, len(m))
		}
		if inside {
			w.model[j] = append(w.model[j][:len(w.model[j]):len(w.model[j])], m[off:off+n]...)
			m = w.model[i]
			if i != j {
				break
			}
		}
	case 19:
		k := b.MoveTo(w.ropes[j], n)
		if i != j {
			if k != min(n, len(m)) {
				w.t.Fatalf("MoveTo %d of %d: %d", n, len(m), k)
			}
			w.model[j] = append(w.model[j][:len(w.model[j]):len(w.model[j])], m[:k]...)
			m = m[k:]
		} else if k != 0 {
			w.t.Fatalf("moved %d to itself", k)
		}
	case 20, 21:
		if i == j {
			j = (i + 1) % len(w.ropes)
		}
		if op%24 == 20 {
			b.Publish(w.ropes[j])
		} else {
			w.ropes[j].Queue(b)
		}
		w.model[j] = append(w.model[j][:len(w.model[j]):len(w.model[j])], m...)
		m = nil
	case 22:
		if b.Writable(off, n) != inside {
			w.t.Fatalf("Writable(%d, %d) of %d", off, n, len(m))
		}
		if inside {
			m = bytes.Clone(m)
			at := off
			b.SubApply(off, n, func(p []byte) {
				copy(p, w.bytes(len(p)))
				at += copy(m[at:], p)
			})
			if at != off+n {
				w.t.Fatalf("SubApply(%d, %d) visited %d", off, n, at-off)
			}
		}
	case 23:
		b.Release()
		m = nil
		if b.grown != nil || b.head != b.tail {
			w.t.Fatalf("Release left something")
		}
	}
	w.model[i] = m
	for k := range w.ropes {
		w.equal(w.ropes[k], w.model[k])
		if len(w.model[k]) > 1<<20 {
			w.ropes[k].Truncate(1000)
			w.model[k] = w.model[k][:1000]
		}
	}
}

// equal demands that b holds want, by every way of looking at it, and that its structure is sound.
func (w *world) equal(b *Buffer, want []byte) {
	w.t.Helper()
	if b.Size() != len(want) {
		w.t.Fatalf("size %d, want %d\n%v", b.Size(), len(want), w.log)
	}
	at, foot := 0, 0
	s := b.pieces()
	for i := range s {
		p := &s[i]
		if p.begin() > p.end() || p.end() > p.chunk.Cap() || p.chunk.refs.Load() < 1 {
			w.t.Fatalf("piece %d is corrupt: [%d, %d) of %d, %d references", i, p.begin(), p.end(), p.chunk.Cap(), p.chunk.refs.Load())
		}
		if p.len() == 0 && (len(s) > 1 || len(p.backRoom()) == 0) {
			w.t.Fatalf("piece %d of %d is empty\n%v", i, len(s), w.log)
		}
		if i > 0 && s[i-1].joins(p) {
			w.t.Fatalf("pieces %d and %d should be one\n%v", i-1, i, w.log)
		}
		if i == 0 || s[i-1].chunk != p.chunk {
			foot += p.chunk.Cap()
		}
		if !bytes.Equal(p.bytes(), want[at:at+p.len()]) {
			w.t.Fatalf("piece %d at %d differs\n%v", i, at, w.log)
		}
		at += p.len()
	}
	if at != len(want) || b.Footprint() != foot {
		w.t.Fatalf("%d bytes in pieces of %d, footprint %d of %d\n%v", at, len(want), b.Footprint(), foot, w.log)
	}
	for i, slots := 0, b.slots(); i < len(slots); i++ {
		if (i < int(b.head) || i >= int(b.tail)) && slots[i] != (piece{}) {
			w.t.Fatalf("free slot %d of [%d, %d) still refers to a chunk\n%v", i, b.head, b.tail, w.log)
		}
	}
	if len(want) == 0 {
		return
	}
	off := len(want) / 3
	got := make([]byte, len(want)-off+1)
	if n, err := b.ReadAt(got, int64(off)); n != len(got)-1 || err != io.EOF || !bytes.Equal(got[:n], want[off:]) {
		w.t.Fatalf("ReadAt %d: %d, %v", off, n, err)
	}
	if sum := b.Sum(off, len(want)-off, 7); sum != checksum.Sum(want[off:], 7) {
		w.t.Fatalf("Sum from %d: %04X", off, sum)
	}
}

// close releases all and demands that nothing is out.
func (w *world) close() {
	w.t.Helper()
	for _, b := range w.ropes {
		b.Release()
	}
	if err := w.pool.Leaked(); err != nil {
		w.t.Fatalf("%v\n%v", err, w.log)
	}
}

// drive runs a program: five bytes a step.
func (w *world) drive(program []byte) {
	for ; len(program) >= 5; program = program[5:] {
		w.step(program[0], uint16(program[1])<<8|uint16(program[2]), uint16(program[3])<<8|uint16(program[4]))
	}
	w.close()
}

func FuzzRope(f *testing.F) {
	f.Add([]byte{5, 0, 0, 0, 9, 20, 0, 0, 0, 0, 5, 0, 0, 0, 1, 20, 0, 0, 0, 0, 32, 0, 5, 0, 3})
	f.Add([]byte{8, 0, 0, 0, 13, 17, 0, 9, 0, 8, 49, 0, 3, 0, 7, 1, 0, 5, 0, 2, 9, 0, 2, 0, 9, 22, 0, 1, 0, 4})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 5*200 {
			return
		}
		newWorld(t).drive(program)
	})
}
