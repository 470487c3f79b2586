package buffer

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"unsafe"
)

// rope returns a rope over p of the given pieces, each in a chunk of its own, and what it holds.
func rope(p *Pool, parts ...string) (*Buffer, string) {
	b := &Buffer{}
	b.SetPool(p)
	for _, s := range parts {
		c := p.Get(len(s))
		copy(c.Data(), s)
		b.AppendChunk(c, 0, len(s), false)
	}
	return b, strings.Join(parts, "")
}

// text returns what b holds without changing it.
func text(b *Buffer) string {
	var s strings.Builder
	b.Apply(func(p []byte) { s.Write(p) })
	return s.String()
}

func checked(t *testing.T) *Pool {
	p := NewPool(Options{Check: true})
	t.Cleanup(func() {
		if err := p.Leaked(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Buffer{}); n > 88 {
		t.Errorf("a Buffer takes %d bytes; a connection, which has two, has room for 88 each", n)
	}
	if n := unsafe.Sizeof(piece{}); n != 16 {
		t.Errorf("a piece takes %d bytes, not 16", n)
	}
}

// What is out of range is refused, and changes nothing.
func TestRefusals(t *testing.T) {
	p := checked(t)
	b, want := rope(p, "abc", "defg", "h")
	defer b.Release()
	var dst Buffer
	for _, r := range []struct{ off, n int }{
		{-1, 1}, {0, -1}, {9, 0}, {0, 9}, {8, 1}, {3, 6}, {math.MaxInt, 1}, {1, math.MaxInt}, {math.MaxInt, math.MaxInt}, {math.MinInt, 1}, {8, math.MinInt},
	} {
		if b.Remove(r.off, r.n) {
			t.Errorf("Remove(%d, %d) was not refused", r.off, r.n)
		}
		if _, ok := b.PullUp(r.off, r.n); ok {
			t.Errorf("PullUp(%d, %d) was not refused", r.off, r.n)
		}
		if b.SubApply(r.off, r.n, func([]byte) { t.Errorf("SubApply(%d, %d) called", r.off, r.n) }) {
			t.Errorf("SubApply(%d, %d) was not refused", r.off, r.n)
		}
		if b.ShareTo(&dst, r.off, r.n) || dst.Size() != 0 {
			t.Errorf("ShareTo(%d, %d) was not refused", r.off, r.n)
		}
		if b.Writable(r.off, r.n) {
			t.Errorf("Writable(%d, %d) was not refused", r.off, r.n)
		}
	}
	b.TrimFront(-1)
	b.Truncate(-1)
	b.Truncate(9)
	b.Grow(-1, true)
	b.Grow(8, true)
	if n := b.MoveTo(&dst, -1) + b.MoveTo(&dst, 0) + b.MoveTo(b, 3); n != 0 {
		t.Errorf("moved %d", n)
	}
	b.Merge(b)
	b.Publish(b)
	b.Queue(b)
	if got := text(b); got != want || b.count() != 3 {
		t.Errorf("b became %q in %d pieces, was %q in 3", got, b.count(), want)
	}
}

// Empty ranges inside a rope, its two ends too, are no error; on the zero Buffer everything works.
func TestEmpty(t *testing.T) {
	p := checked(t)
	full, want := rope(p, "abc", "defg")
	defer full.Release()
	for _, b := range []*Buffer{full, {}} {
		for _, off := range []int{0, b.Size() / 2, b.Size()} {
			s, ok := b.PullUp(off, 0)
			if !ok || s == nil || len(s) != 0 || !b.Remove(off, 0) || !b.Writable(off, 0) || !b.ShareTo(&Buffer{}, off, 0) ||
				!b.SubApply(off, 0, func([]byte) { t.Error("SubApply of nothing called") }) || b.Sum(off, 0, 5) != 5 {
				t.Errorf("an empty range at %d of %d was refused", off, b.Size())
			}
		}
	}
	if got := text(full); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	var b Buffer
	b.TrimFront(1)
	b.Truncate(0)
	b.Append(nil)
	b.Prepend(nil)
	b.AppendOwned(nil)
	b.Merge(&Buffer{})
	b.Publish(full)
	b.Queue(&Buffer{})
	b.AppendChunk(p.Get(1), 0, 0, true)
	if b.Size() != 0 || b.count() != 0 || b.Footprint() != 0 || b.Flatten() == nil || len(b.Flatten()) != 0 || b.Vec(nil) != nil {
		t.Errorf("an empty rope has %d bytes in %d pieces", b.Size(), b.count())
	}
	b.Append([]byte("x")) // and still takes bytes
	if text(&b) != "x" {
		t.Errorf("%q", text(&b))
	}
}

func TestAppendChunkOutOfRangePanics(t *testing.T) {
	p := checked(t)
	c := p.Get(256)
	defer c.Release()
	for _, r := range [][2]int{{-1, 1}, {0, 257}, {256, 1}, {1, math.MaxInt}} {
		func() {
			var b Buffer
			defer func() {
				if recover() == nil || b.Size() != 0 {
					t.Errorf("AppendChunk(%d, %d) did not panic", r[0], r[1])
				}
			}()
			b.AppendChunk(c, r[0], r[1], false)
		}()
	}
}

func TestRemoveJoinsWhatTouches(t *testing.T) {
	p := checked(t)
	one, _ := rope(p, "abcdef")
	var b Buffer
	one.ShareTo(&b, 0, 3)
	b.Append([]byte("..."))
	one.ShareTo(&b, 3, 3)
	one.Release()
	defer b.Release()
	if b.count() != 3 || !b.Remove(3, 3) || b.count() != 1 || text(&b) != "abcdef" || b.Footprint() != class256 {
		t.Errorf("%q in %d pieces, footprint %d", text(&b), b.count(), b.Footprint())
	}
}

func TestRemoveEverywhere(t *testing.T) {
	p := checked(t)
	for off := range 12 {
		for n := 0; off+n <= 12; n++ {
			b, was := rope(p, "abc", "defg", "h", "ijkl")
			if !b.Remove(off, n) || text(b) != was[:off]+was[off+n:] {
				t.Errorf("Remove(%d, %d): %q", off, n, text(b))
			}
			b.Release()
		}
	}
}

func TestPullUpEverywhere(t *testing.T) {
	p := checked(t)
	for off := range 12 {
		for n := 1; off+n <= 12; n++ {
			b, was := rope(p, "abc", "defg", "h", "ijkl")
			s, ok := b.PullUp(off, n)
			again, _ := b.PullUp(off, n)
			if !ok || string(s) != was[off:off+n] || cap(s) != n || text(b) != was || &again[0] != &s[0] {
				t.Errorf("PullUp(%d, %d): %q of %q", off, n, s, text(b))
			}
			b.Release()
		}
	}
}

// PullUp and Flatten of what is contiguous give the bytes themselves, not a copy.
func TestPullUpIsFreeInOnePiece(t *testing.T) {
	p := checked(t)
	c := p.Get(10)
	b := &Buffer{}
	b.AppendChunk(c, 3, 6, false)
	defer b.Release()
	if s, _ := b.PullUp(2, 4); &s[0] != &c.Data()[5] {
		t.Error("PullUp copied")
	}
	if s := b.Flatten(); &s[0] != &c.Data()[3] {
		t.Error("Flatten copied")
	}
}

// Bytes that others can see are never written: an Append goes elsewhere unless the room is the rope's own.
func TestRoomHasOneOwner(t *testing.T) {
	p := checked(t)
	a := &Buffer{}
	a.SetPool(p)
	a.Append([]byte("abc"))
	b := a.Clone()
	b.Append([]byte("B"))
	b.Prepend([]byte("b"))
	a.Append([]byte("A"))
	a.Prepend([]byte("a"))
	if text(a) != "aabcA" || text(b) != "babcB" {
		t.Errorf("%q and %q", text(a), text(b))
	}
	if b.count() != 3 {
		t.Errorf("the one that shares has %d pieces, want its own before and behind", b.count())
	}
	if n := a.last().len(); n != len("abcA") {
		t.Errorf("the original did not keep its room: last piece of %d bytes", n)
	}
	a.Release()
	b.Release()
}

// Room that truncating or trimming makes is only the rope's own if nobody has a reference to the bytes that were there.
func TestRoomOfDroppedBytes(t *testing.T) {
	p := checked(t)
	a := &Buffer{}
	a.SetPool(p)
	a.Append([]byte("abcdef"))
	b := a.Clone()
	a.Truncate(3)
	a.Append([]byte("XYZ"))
	a.TrimFront(1)
	a.Prepend([]byte("!"))
	if text(a) != "!bcXYZ" || text(b) != "abcdef" {
		t.Errorf("%q and %q", text(a), text(b))
	}
	a.Release()
	b.Truncate(3) // alone now, but never had the right to extend
	b.Append([]byte("123"))
	if text(b) != "abc123" {
		t.Errorf("%q", text(b))
	}
	b.Release()

	a.Append([]byte("abcdef"))
	a.Truncate(2)
	a.Append([]byte("g"))
	a.TrimFront(2)
	a.Prepend([]byte("h"))
	if text(a) != "hg" || a.count() != 1 {
		t.Errorf("alone: %q in %d pieces, want the room to be used again", text(a), a.count())
	}
	a.Release()
}

// An AppendChunk's room is the rope's own only if the caller says so.
func TestAppendChunkRoom(t *testing.T) {
	p := checked(t)
	for _, owned := range []bool{false, true} {
		c := p.Get(256)
		c.Retain()
		var b Buffer
		b.SetPool(p)
		b.AppendChunk(c, 10, 5, owned)
		behind := c.Data()[15]
		b.Append([]byte{^behind})
		if changed := c.Data()[15] != behind; changed != owned {
			t.Errorf("owned %v: room used %v", owned, changed)
		}
		b.Release()
		c.Release()
	}
}

// Publishes of a byte each give one piece a chunk.
func TestPublishJoins(t *testing.T) {
	p := checked(t)
	var w, q Buffer
	w.SetPool(p)
	for i := range class256 {
		w.Append([]byte{byte(i)})
		w.Publish(&q)
		if w.Size() != 0 || q.count() != 1 || q.Size() != i+1 {
			t.Fatalf("after %d: %d left, %d bytes in %d pieces", i, w.Size(), q.Size(), q.count())
		}
	}
	if w.count() != 0 {
		t.Error("a full chunk is kept")
	}
	w.Append([]byte("x"))
	w.Publish(&q)
	if w.Footprint() != class256 || q.count() != 2 {
		t.Errorf("footprint %d, %d pieces", w.Footprint(), q.count())
	}
	q.Release()
	if chunks, _ := p.Outstanding(); chunks != 1 {
		t.Errorf("%d chunks out, want the one kept", chunks)
	}
	w.Release()
	if w.Footprint() != 0 || w.grown != nil || w.count() != 0 {
		t.Error("Release left the room")
	}
}

// The room that Publish keeps is no piece: what comes from elsewhere takes its place.
func TestKeptRoom(t *testing.T) {
	p := checked(t)
	for name, fill := range map[string]func(b, from *Buffer){
		"AppendOwned": func(b, _ *Buffer) { b.AppendOwned(bytes.Repeat([]byte("x"), class256+1)) },
		"AppendChunk": func(b, _ *Buffer) { b.AppendChunk(p.Get(5), 0, 5, false) },
		"Prepend":     func(b, _ *Buffer) { b.Prepend([]byte("y")) },
		"MoveTo":      func(b, from *Buffer) { from.MoveTo(b, 2) },
		"Merge":       func(b, from *Buffer) { b.Merge(from) },
		"ShareTo":     func(b, from *Buffer) { from.ShareTo(b, 1, 3) },
	} {
		from, _ := rope(p, "abc", "def")
		var b, q Buffer
		b.SetPool(p)
		b.Append([]byte("published"))
		b.Publish(&q)
		b.Append(nil)
		b.Truncate(0)
		b.TrimFront(9)
		if b.count() != 1 {
			t.Errorf("%s: the room is gone already", name)
		}
		fill(&b, from)
		s := b.pieces()
		for i := range s {
			if s[i].len() == 0 {
				t.Errorf("%s: piece %d is empty", name, i)
			}
		}
		if len(text(&b)) != b.Size() || text(&q) != "published" {
			t.Errorf("%s: %q", name, text(&b))
		}
		b.Release()
		q.Release()
		from.Release()
	}
}

// With datagrams of a byte that wait in chunks of 2 KiB a queue does not pin the chunks.
func TestQueueCopiesWhatIsSmall(t *testing.T) {
	p := checked(t)
	var q Buffer
	q.SetPool(p)
	const n = 5000
	for i := range n {
		var in Buffer
		in.AppendChunk(p.Get(2048), i%2000, 1, false)
		q.Queue(&in)
		if in.Size() != 0 || in.count() != 0 {
			t.Fatal("something is left in the source")
		}
	}
	if q.Size() != n || q.Footprint() > 2*n+class16K {
		t.Errorf("%d bytes pin %d", q.Size(), q.Footprint())
	}
	if _, capacity := p.Outstanding(); capacity != int64(q.Footprint()) {
		t.Errorf("%d are out, the queue says %d", capacity, q.Footprint())
	}
	q.Release()

	for _, c := range []struct{ n, want int }{{511, class2K}, {512, class2K}, {100, class256}} {
		var in Buffer
		chunk := p.Get(2048)
		in.AppendChunk(chunk, 0, c.n, false)
		q.Queue(&in)
		if moved := q.pieces()[0].chunk == chunk; moved != (4*c.n >= 2048) || q.Footprint() != c.want {
			t.Errorf("%d of 2048: moved %v, footprint %d", c.n, moved, q.Footprint())
		}
		q.Release()
	}
}

// What goes on in the same chunk is joined, however small, because it pins nothing more.
func TestQueueJoins(t *testing.T) {
	p := checked(t)
	c := p.Get(class64K)
	var q Buffer
	q.SetPool(p)
	var first Buffer
	first.AppendChunk(c, 0, 20000, false)
	for at := 20000; at < 30000; at += 1000 {
		c.Retain()
		q.Queue(&first)
		first.AppendChunk(c, at, 1000, false)
	}
	q.Queue(&first)
	if q.count() != 1 || q.Size() != 30000 {
		t.Errorf("%d bytes in %d pieces", q.Size(), q.count())
	}
	q.Release()
}

func TestFootprint(t *testing.T) {
	p := checked(t)
	b, _ := rope(p, "abc", "defg")
	b.AppendOwned(make([]byte, 1000))
	if want := 2*class256 + 1000; b.Footprint() != want {
		t.Errorf("%d, want %d", b.Footprint(), want)
	}
	b.ShareTo(b, 0, 2) // not consecutive: counts again
	if want := 3*class256 + 1000; b.Footprint() != want {
		t.Errorf("%d, want %d", b.Footprint(), want)
	}
	b.TrimFront(3)
	b.Truncate(4)
	if want := class256; b.Footprint() != want {
		t.Errorf("%d, want %d", b.Footprint(), want)
	}
	b.Truncate(0)
	if b.Footprint() != 0 {
		t.Errorf("%d of an empty rope", b.Footprint())
	}
}

// Writable copies what others see, only that, and gives a rope that may be changed without their noticing.
func TestWritable(t *testing.T) {
	p := checked(t)
	b, was := rope(p, "abc", "defg", "hij")
	if _, capacity := p.Outstanding(); b.Writable(0, 10) {
		if _, now := p.Outstanding(); now != capacity {
			t.Error("copied what nobody shares")
		}
	}
	other := &Buffer{}
	b.ShareTo(other, 3, 4)
	if !b.Writable(2, 3) {
		t.Fatal("refused")
	}
	b.SubApply(2, 3, func(s []byte) { copy(s, "XXX") })
	if text(b) != "abXXXfghij" || text(other) != was[3:7] {
		t.Errorf("%q and %q", text(b), text(other))
	}
	if s, _ := b.PullUp(3, 2); string(s) != "XX" {
		t.Errorf("%q", s)
	}
	b.Release()
	other.Release()
}

// Many pieces come and go at the two ends without a new array for them.
func TestPiecesAreAQueue(t *testing.T) {
	p := NewPool(Options{})
	q, _ := rope(p, "a", "b", "c", "d", "e")
	defer q.Release()
	src := full(p, 1<<20)
	defer src.Release()
	i := 0
	step := func() {
		i++
		src.ShareTo(q, (i%15)*65536, 1448)
		q.TrimFront(q.pieces()[0].len())
	}
	for range 100 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 || len(q.slots()) > 16 {
		t.Errorf("%v allocations a step, %d slots for %d pieces", n, len(q.slots()), q.count())
	}
}

// Clear keeps the slots of the usual rope, not those of one that was once large.
func TestClearKeepsLittle(t *testing.T) {
	for _, n := range []int{3, 1000} {
		b, _ := rope(nil, strings.Split(strings.Repeat("x", n), "")...)
		b.Clear()
		if kept := b.grown != nil; kept != (n < maxKept) || b.Size() != 0 || b.Footprint() != 0 {
			t.Errorf("%d pieces: slots kept %v", n, kept)
		}
	}
}

func TestAppendOwnedTakesTheBytes(t *testing.T) {
	p := checked(t)
	var b Buffer
	b.SetPool(p)
	mine := bytes.Repeat([]byte("x"), 1000)
	b.AppendOwned(mine)
	if s := b.Flatten(); &s[0] != &mine[0] {
		t.Error("copied")
	}
	b.Append([]byte("tail"))
	before := b.count()
	b.AppendOwned([]byte("small"))
	if b.count() != before {
		t.Error("what is small was not copied into the room")
	}
	b.Release()
}

// A Buffer's growing chunks: many small Appends end up in few chunks, a large one in large chunks.
func TestChunkChoice(t *testing.T) {
	p := checked(t)
	var b Buffer
	b.SetPool(p)
	for range 20000 {
		b.Append([]byte("x"))
	}
	if b.count() > 4 || b.Footprint() > 2*b.Size() {
		t.Errorf("%d bytes one by one: %d pieces, footprint %d", b.Size(), b.count(), b.Footprint())
	}
	b.Release()
	for _, c := range []struct{ n, pieces, footprint int }{
		{1, 1, class256}, {257, 1, class2K}, {16384, 1, class16K}, {20000, 2, 2 * class16K}, {65536, 1, class64K}, {131072, 2, 2 * class64K},
	} {
		b.Append(make([]byte, c.n))
		if b.count() != c.pieces || b.Footprint() != c.footprint {
			t.Errorf("%d at once: %d pieces, footprint %d, want %d and %d", c.n, b.count(), b.Footprint(), c.pieces, c.footprint)
		}
		b.Release()
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets at random under the race detector")
	}
	p := NewPool(Options{})
	src := full(p, 1<<18)
	defer src.Release()
	var w, q, dst Buffer
	w.SetPool(p)
	q.SetPool(p)
	buf := make([]byte, 1448)
	var v Vec
	sum := 0
	visit := func(s []byte) { sum += len(s) }
	for name, f := range map[string]func(){
		"Append, Publish, TrimFront": func() { w.Append(buf); w.Publish(&q); q.TrimFront(q.Size() / 2) },
		"ReadAt, TrimFront":          func() { w.Append(buf); w.ReadAt(buf[:20], 0); w.TrimFront(w.Size()) },
		"Read":                       func() { w.Append(buf); w.Read(buf) },
		"ShareTo, Clear":             func() { src.ShareTo(&dst, 65530, 1448); dst.Clear() },
		"MoveTo":                     func() { src.ShareTo(&dst, 65530, 1448); dst.MoveTo(&q, 1000); q.Clear(); dst.Clear() },
		"Queue":                      func() { src.ShareTo(&dst, 65530, 1448); q.Queue(&dst); q.Clear() },
		"Apply, SubApply, Sum, Vec": func() {
			src.Apply(visit)
			src.SubApply(1, 1<<17, visit)
			sum += int(src.Sum(1, 1<<17, 0))
			v = src.Vec(v[:0])
		},
		"PullUp, Remove": func() { w.Append(buf); w.PullUp(5, 10); w.Remove(7, 7); w.Clear() },
	} {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A byte that comes in a chunk of the smallest size is shared by an empty queue, and copied behind others.
func TestQueueMovesTheFirstSmallChunk(t *testing.T) {
	pool := NewPool(Options{})
	var queue Buffer
	queue.SetPool(pool)
	for i, want := range []int{1, 2, 2} { // the first, the copy of the second, and that again
		var writer, src Buffer
		writer.SetPool(pool)
		writer.Append([]byte{byte(i)})
		writer.ShareTo(&src, 0, 1)
		queue.Queue(&src)
		writer.Clear()
		if n, _ := pool.Outstanding(); n != want || queue.Footprint() != want*class256 {
			t.Errorf("%d bytes in %d chunks, footprint %d, want %d", i+1, n, queue.Footprint(), want)
		}
	}
	if got := queue.Flatten(); !bytes.Equal(got, []byte{0, 1, 2}) {
		t.Error(got)
	}
	queue.Clear()
}
