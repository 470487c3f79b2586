// Package buffer is pooled, counted memory (Chunk) and the rope made of it (Buffer).
package buffer

import "io"

// Pool gives out chunks in a few size classes (256 B, 2 KiB, 16 KiB, 64 KiB + headroom). Bounded sharded free lists with a sync.Pool
// behind them; one per stack; safe for concurrent use. A nil *Pool is ready: it allocates from the heap, and lets the garbage
// collector have what is released.
type Pool struct{}

// Options of a Pool. Check is for tests: memory is poisoned on release, shared bytes are summed and compared (a changed published
// byte panics), Release twice or use after release panics, and Leaked reports what is still out.
type Options struct{ Check bool }

func NewPool(o Options) *Pool { panic("stub") }

// Get returns a chunk of capacity at least n with one reference.
func (p *Pool) Get(n int) *Chunk { panic("stub") }

// Outstanding returns how many chunks are out, and their capacity in bytes. (exact under Check; may be approximate otherwise)
func (p *Pool) Outstanding() (chunks int, bytes int64) { panic("stub") }

// Chunk is one block of counted memory.
type Chunk struct{ data []byte }

// Wrap makes a chunk of memory that the caller gives up.
func Wrap(b []byte) *Chunk { panic("stub") }

func (c *Chunk) Data() []byte { return c.data } // all of its capacity
func (c *Chunk) Cap() int     { return len(c.data) }
func (c *Chunk) Retain()      { panic("stub") }
func (c *Chunk) Release()     { panic("stub") }

// Piece is a range of one chunk, a reference held.
type piece struct {
	chunk      *Chunk
	begin, end uint32 // flags for "this rope may extend at the back / front" live in spare bits or a field
}

// Buffer is a rope of pieces. The zero Buffer is empty and ready. It must not be copied once used, is not safe for concurrent use,
// holds a reference to each piece's chunk, and owes a Release. Adjacent ranges of one chunk join into one piece. A Buffer that has
// become empty keeps no chunk and no grown slice... (see RetainEmpty: grown piece slices may be kept while in use, dropped by Release)
type Buffer struct {
	pool   *Pool
	pieces []piece
	head   int
	size   int
	inline [2]piece
}

// SetPool says where new chunks come from.
func (b *Buffer) SetPool(p *Pool) { b.pool = p }

func (b *Buffer) Size() int                                   { return b.size }
func (b *Buffer) TrimFront(n int)                             { panic("stub") } // n > Size: empties
func (b *Buffer) Remove(off, n int) bool                      { panic("stub") }
func (b *Buffer) ReadAt(p []byte, off int64) (int, error)     { panic("stub") }
func (b *Buffer) Truncate(n int)                              { panic("stub") }
func (b *Buffer) Grow(n int, zero bool)                       { panic("stub") }
func (b *Buffer) Prepend(p []byte)                            { panic("stub") }
func (b *Buffer) Append(p []byte)                             { panic("stub") }
func (b *Buffer) AppendOwned(p []byte)                        { panic("stub") }
func (b *Buffer) PullUp(off, n int) ([]byte, bool)            { panic("stub") }
func (b *Buffer) Flatten() []byte                             { panic("stub") }
func (b *Buffer) Clone() *Buffer                              { panic("stub") }
func (b *Buffer) Apply(fn func([]byte))                       { panic("stub") }
func (b *Buffer) SubApply(off, n int, fn func([]byte))        { panic("stub") }
func (b *Buffer) Merge(o *Buffer)                             { panic("stub") }
func (b *Buffer) WriteFromReader(r io.Reader, n int64) (int64, error) { panic("stub") }
func (b *Buffer) ReadToWriter(w io.Writer, n int64) (int64, error)    { panic("stub") }
func (b *Buffer) ReadFrom(r io.Reader) (int64, error)         { panic("stub") }
func (b *Buffer) WriteTo(w io.Writer) (int64, error)          { panic("stub") }

// Vec appends the pieces to v (borrowed: valid until the next change of b).
func (b *Buffer) Vec(v Vec) Vec { panic("stub") }

// Release drops every reference. b is empty and ready again.
func (b *Buffer) Release() { panic("stub") }

// AppendChunk appends c.Data()[off:off+n] and takes over one reference of the caller's. Room behind the range becomes b's to extend
// only if owned is true (the caller says that nobody else may fill it).
func (b *Buffer) AppendChunk(c *Chunk, off, n int, owned bool) { panic("stub") }

// ShareTo appends references to the range [off, off+n) to dst, copying nothing; false (and nothing done) if out of range.
func (b *Buffer) ShareTo(dst *Buffer, off, n int) bool { panic("stub") }

// MoveTo detaches the first n bytes (all, if fewer) to the end of dst, copying nothing, and returns how many.
func (b *Buffer) MoveTo(dst *Buffer, n int) int { panic("stub") }

// Publish moves all bytes to the end of dst, but the room behind the last byte stays b's to fill: the next Append to b goes into the
// same chunk, and the next Publish joins it to the piece in dst. It is how a writer fills a chunk of which earlier parts are already
// queued or sent.
func (b *Buffer) Publish(dst *Buffer) { panic("stub") }

// Queue moves src to the end of b as a socket queue wants it: a piece that fills less than a quarter of its chunk is copied (into the
// room of b's last piece if b may extend it, else into a right-sized chunk), others are moved.
func (b *Buffer) Queue(src *Buffer) { panic("stub") }

// Footprint returns the capacity, in bytes, of the chunks that b holds: what a queue charges. O(1) if it can be, else O(pieces).
func (b *Buffer) Footprint() int { panic("stub") }

// Writable makes [off, off+n) safe to change in place, copying the chunks there that others share; false if out of range.
// WritableSlice-like access is then by PullUp/SubApply.
func (b *Buffer) Writable(off, n int) bool { panic("stub") }

// Sum returns checksum.Sum over [off, off+n), at any split.
func (b *Buffer) Sum(off, n int, initial uint16) uint16 { panic("stub") }

// Vec is a borrowed scatter list.
type Vec [][]byte
