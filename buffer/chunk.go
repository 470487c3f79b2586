package buffer

import "sync/atomic"

// Chunk is one block of memory with a reference count. References may be taken and given back from any goroutine. When the last is
// given back the memory returns to the pool that it came from, and nobody may touch it any more.
type Chunk struct {
	data  []byte
	pool  *Pool       // nil: from the heap, and back to it
	check *chunkCheck // nil except in a checking pool
	refs  atomic.Int32
	class int8  // size class, or notPooled
	shard uint8 // which of the pool's counters counts it
}

const notPooled = -1

// Wrap makes a chunk, with one reference, of memory that the caller gives up. The garbage collector has it after the last Release.
func Wrap(b []byte) *Chunk {
	c := &Chunk{data: b[:len(b):len(b)], class: notPooled}
	c.refs.Store(1)
	return c
}

// Data returns all of the chunk's memory. Which of its bytes may be written is for the holders of references to agree on; bytes in a
// Buffer that has shared them may not.
func (c *Chunk) Data() []byte {
	if c.refs.Load() <= 0 {
		panic("buffer: use of a chunk after its release")
	}
	return c.data
}

// Cap returns the chunk's size in bytes.
func (c *Chunk) Cap() int { return len(c.data) }

// Retain takes one more reference.
func (c *Chunk) Retain() {
	if c.refs.Add(1) <= 1 {
		c.refs.Add(-1)
		panic("buffer: Retain of a chunk after its release")
	}
}

// Release gives one reference back. More Releases than references panic where that can be seen: always in a checking pool, else until
// the chunk is given out again.
func (c *Chunk) Release() {
	if c.check != nil {
		c.pool.check.beforeRelease(c)
	}
	switch n := c.refs.Add(-1); {
	case n == 0:
		c.pool.put(c)
	case n < 0:
		panic("buffer: Release of a chunk that was released before")
	}
}

// exclusive says that the caller's reference is the only one: nobody else can see any byte of the chunk.
func (c *Chunk) exclusive() bool { return c.refs.Load() == 1 }
